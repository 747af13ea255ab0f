"""Seeded few-shot draws where no list is published: which clips of each class a model may learn from.

A clip's place in the draw is the hash of the seed and its name. So the draw is the same on every machine, does not
depend on the order of a file, and hardly changes when clips are missing from a user's copy.
"""

import hashlib
from collections.abc import Iterable, Sequence

SHOTS = (1, 3, 5)  # what AVS-V3 and VGG-SS-Sub report


def seeded_order(names: Sequence[str], seed: int) -> list[int]:
    """Indices of the names, in the order of the SHA-256 of "seed:name"."""
    return sorted(range(len(names)), key=lambda i: hashlib.sha256(f"{seed}:{names[i]}".encode()).digest())


def draw_shots(
    names: Sequence[str], classes: Sequence[str], shots: Iterable[int] = SHOTS, seed: int = 0
) -> dict[int, list[int]]:
    """Draw k clips of every class, for each k; the draws are nested: who is in the 1-shot list is in the 3-shot list.

    Args:
        names: of the clips, no two alike.
        classes: one for each name.
        shots: values of k.
        seed: other seeds give other draws.

    Returns:
        k -> indices of the clips drawn, ascending.

    Raises:
        ValueError: a k below 1, names that repeat, or a class with too few clips to leave one beside the draw.

    Example:
        >>> draw_shots(["a", "b", "c", "d"], ["dog", "dog", "cat", "cat"], shots=[1])
        {1: [0, 3]}
    """
    shots = sorted(set(shots))
    if not shots or shots[0] < 1:
        raise ValueError(f"shots are {shots}; expected numbers of clips per class, each at least 1.")
    if len(set(names)) != len(names):
        raise ValueError(f"{len(names) - len(set(names))} of the names repeat; expected every clip once.")
    members: dict[str, list[int]] = {}
    for i in seeded_order(names, seed):
        members.setdefault(classes[i], []).append(i)
    small = sorted(name for name, clips in members.items() if len(clips) <= shots[-1])
    if small:
        raise ValueError(
            f"{len(small)} classes have no more than {shots[-1]} clips, such as {small[0]!r} with "
            f"{len(members[small[0]])}: nothing would be left to test on. Leave them out, or draw fewer."
        )
    return {k: sorted(i for clips in members.values() for i in clips[:k]) for k in shots}
