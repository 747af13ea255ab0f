"""Few-shot draws: nested, repeatable, and the same whatever the order of the file."""

import doctest

import pytest

from gavs_lib.data import shots
from gavs_lib.data.shots import draw_shots, seeded_order

NAMES = [f"{kind}{i}" for kind in ("dog", "cat", "owl") for i in range(8)]
CLASSES = [name[:3] for name in NAMES]


def drawn_names(names, classes, **options):
    return {k: {names[i] for i in items} for k, items in draw_shots(names, classes, **options).items()}


def test_the_example_of_the_docstring_runs():
    assert doctest.testmod(shots).attempted == 1 and doctest.testmod(shots).failed == 0


def test_each_class_gives_k_clips_and_the_lists_are_nested():
    drawn = drawn_names(NAMES, CLASSES)
    assert list(drawn) == [1, 3, 5]
    for k, names in drawn.items():
        assert sorted(name[:3] for name in names) == ["cat"] * k + ["dog"] * k + ["owl"] * k
    assert drawn[1] < drawn[3] < drawn[5]


def test_the_draw_depends_on_seed_and_names_not_on_their_order():
    assert drawn_names(NAMES, CLASSES) == drawn_names(NAMES[::-1], CLASSES[::-1])
    assert drawn_names(NAMES, CLASSES, seed=1) != drawn_names(NAMES, CLASSES)


def test_a_clip_that_is_missing_changes_nothing_but_its_own_place():
    (lost,) = drawn_names(NAMES, CLASSES, shots=[1])[1] & set(NAMES[:8])
    left = [name for name in NAMES if name != lost]
    before, after = drawn_names(NAMES, CLASSES), drawn_names(left, [name[:3] for name in left])
    for k in (1, 3, 5):
        assert before[k] - after[k] == {lost} and len(after[k] - before[k]) == 1


def test_the_order_is_the_documented_hash():
    # printf '0:a' | sha256sum begins with 9df3c5fa; '0:b' gives e02192fd, '0:c' be086d93
    assert seeded_order(["a", "b", "c"], seed=0) == [0, 2, 1]


def test_classes_too_small_to_leave_a_test_clip_are_refused():
    with pytest.raises(ValueError, match="2 classes have no more than 8 clips, such as 'cat' with 8"):
        draw_shots([*NAMES, "dog8"], [*CLASSES, "dog"], shots=[8])
    with pytest.raises(ValueError, match=r"shots are \[0, 1\]; expected"):
        draw_shots(NAMES, CLASSES, shots=[1, 0])
    with pytest.raises(ValueError, match="1 of the names repeat"):
        draw_shots(["a", "a", "b"], ["x"] * 3, shots=[1])
