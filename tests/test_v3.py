"""The AVS-V3 rule on rows written here, one for each case of the rule."""

import pytest

from gavs_lib.data import UNSEEN_TOKENS, v3_split

HEAD = "vid,uid,s_min,s_sec,a_obj,split,label\n"
ROWS = [
    # uid, a_obj, label, where it belongs
    ("alone", "harp", "v2", "unseen"),
    ("alone-v1m", "girl", "v1m", "unseen"),
    ("the-pair", "girl_boy", "v2", "unseen"),
    ("pair-turned-round", "boy_girl", "v2", "discarded"),
    ("two-unseen", "girl_donkey", "v2", "discarded"),
    ("mixed", "girl_guitar", "v2", "discarded"),
    ("mixed-second", "dog_baby", "v1m", "discarded"),
    ("three", "man_girl_boy", "v2", "discarded"),
    ("seen", "guitar", "v2", "seen"),
    ("seen-two", "guitar_man", "v1m", "seen"),
    ("car-is-no-emergency-car", "car", "v2", "seen"),
    ("emergency", "emergency-car", "v2", "unseen"),
    ("unseeable", "guitar_background_off-the-screen", "v2", "seen"),
    ("unseen-with-background", "harp_background", "v2", "discarded"),
    ("not-part-of-v3", "baby", "v1s", None),
]


@pytest.fixture
def metadata(tmp_path):
    path = tmp_path / "metadata.csv"
    splits = ("train", "val", "test")
    lines = [f"x,{uid},0,0,{a_obj},{splits[i % 3]},{label}" for i, (uid, a_obj, label, _) in enumerate(ROWS)]
    path.write_text(HEAD + "\n".join(lines) + "\n")
    return path


def test_every_case_of_the_rule(metadata):
    split = v3_split(metadata)
    assert set(split) == {"unseen", "seen", "discarded"}
    for name, table in split.items():
        assert table["uid"].tolist() == [uid for uid, _, _, belongs in ROWS if belongs == name]


def test_the_published_unseen_classes_are_fourteen():
    assert len(set(UNSEEN_TOKENS)) == 14


def test_another_world_names_its_own_unseen_classes(tmp_path):
    path = tmp_path / "metadata.csv"
    rows = ["small-wood-bell,v1s", "small-wood-bell_large-metal-car,v1m", "large-metal-car,v2"]
    path.write_text("uid,a_obj,label\n" + "".join(f"{i},{row}\n" for i, row in enumerate(rows)))
    split = v3_split(path, unseen=["small-wood-bell"], unseen_pairs=(), subsets=("v1s", "v1m", "v2"))
    assert {name: table["uid"].tolist() for name, table in split.items()} == {
        "unseen": ["0"],
        "discarded": ["1"],
        "seen": ["2"],
    }


def test_mistakes_are_refused(tmp_path, metadata):
    with pytest.raises(ValueError, match="several class names"):
        v3_split(metadata, unseen="harp")
    with pytest.raises(FileNotFoundError, match="none.csv"):
        v3_split(tmp_path / "none.csv")
    (tmp_path / "short.csv").write_text("vid,uid\na,b\n")
    with pytest.raises(ValueError, match="a_obj, label is missing"):
        v3_split(tmp_path / "short.csv")


def test_rows_without_a_class_are_refused_rather_than_taken_for_seen(tmp_path):
    (tmp_path / "meta.csv").write_text("uid,a_obj,label\na_0_5000,,v1s\nb_0_5000,dog,v1s\n")
    with pytest.raises(ValueError, match="a_obj is empty in 1 rows, first a_0_5000"):
        v3_split(tmp_path / "meta.csv")
