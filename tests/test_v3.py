"""AVS-V3 on rows written here: one for each case of the rule, and lists with the quirks of the published ones."""

import pytest

from gavs_lib.data import UNSEEN_TOKENS, AVSBench, derive_v3, read_v3, v3_split
from gavs_lib.data.v3 import main

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


# ---- the lists, published and derived

SHOT_CLASSES = [token for token in UNSEEN_TOKENS if token not in ("harp", "bell", "squirrel")]


def row(uid, a_obj, split, label):
    return f"x,{uid},0,7,{a_obj},{split},{label}\n"


@pytest.fixture
def folder(tmp_path):
    """A folder like the published one, with its quirks: 40 seen clips, 8 of each unseen class, 3 discarded ones."""
    folder = tmp_path / "avs_v3"
    seen = [
        (f"seen-{i}", ["guitar", "guitar_man", "h orse", "car"][i % 4], "v1m" if i % 5 == 0 else "v2")
        for i in range(40)
    ]
    unseen = [(f"{token}-{i}", token, "v1m" if i == 7 else "v2") for token in UNSEEN_TOKENS for i in range(8)]
    unseen.append(("pair-0", "girl_boy", "v2"))
    others = [(f"mixed-{i}", "girl_guitar", "v2") for i in range(3)] + [("single-0", "harp", "v1s")]
    folder.mkdir()
    splits = ("train", "val", "test")
    (folder / "metadata.csv").write_text(
        HEAD + "".join(row(uid, a, splits[i % 3], label) for i, (uid, a, label) in enumerate(seen + unseen + others))
    )

    def write(path, clips, split, empty=False):
        path.parent.mkdir(exist_ok=True)
        lines = [f"x,{u},,,,{split},{label}\n" if empty else row(u, a, split, label) for u, a, label in clips]
        path.write_text(HEAD + "".join(lines))

    write(folder / "meta_v3_seen_train.csv", seen[4:][::-1], "seen_train")  # shuffled, as published
    write(folder / "meta_v3_seen_val.csv", seen[:4], "seen_val")
    write(folder / "meta_v3_unseen.csv", unseen, "unseen")
    pool = [clip for clip in unseen if clip[1] not in ("harp", "bell", "squirrel")]
    for k in (1, 3, 5):
        train = [clip for clip in pool if clip[1] != "girl_boy" and int(clip[0][-1]) < k]
        for name, clips in (("train", train), ("test", [clip for clip in pool if clip not in train])):
            write(folder / f"v3_{k}_shot" / f"{name}.csv", clips, "v3_1_shot_train", empty=True)
    return folder


def test_the_published_lists_are_joined_on_uid_and_counted(folder):
    lists = read_v3(folder)
    assert lists.origin == "published"
    # 14 classes of 8 clips and a pair; 11 of these classes have few-shot lists: 11 * 8 + 1 = 89 clips
    assert lists.counts()["clips"].to_dict() == {
        "seen_train": 36, "seen_val": 4, "v3_0_shot_test": 113,
        "v3_1_shot_train": 11, "v3_1_shot_test": 78,
        "v3_3_shot_train": 33, "v3_3_shot_test": 56,
        "v3_5_shot_train": 55, "v3_5_shot_test": 34,
    }  # fmt: skip
    assert lists.counts().loc["v3_0_shot_test", ["v1m", "v2", "classes"]].tolist() == [14, 99, 14]
    for name, table in lists.tables().items():
        assert (table["split"] == name).all() and (table != "").all().all()
    assert set(lists.few_shot_train[3]["a_obj"]) == set(SHOT_CLASSES)
    assert lists.seen_train["uid"].tolist() == [f"seen-{i}" for i in range(39, 3, -1)]  # the list's own order


def test_the_zero_shot_test_set_is_not_a_few_shot_one(folder):
    for lists in (read_v3(folder), derive_v3(folder / "metadata.csv")):
        zero_shot = set(lists.zero_shot_test["uid"])
        assert zero_shot == set(v3_split(folder / "metadata.csv")["unseen"]["uid"])
        pools = [set(lists.few_shot_train[k]["uid"]) | set(lists.few_shot_test[k]["uid"]) for k in (1, 3, 5)]
        assert pools[0] == pools[1] == pools[2] < zero_shot
        assert {uid.split("-")[0] for uid in zero_shot - pools[0]} == {"harp", "bell", "squirrel"}


def test_the_lists_are_rows_for_the_reader(folder):
    lists = read_v3(folder)
    dataset = AVSBench.from_rows(folder, lists.few_shot_train[1])
    assert len(dataset) == 11 and set(dataset.classes) == set(SHOT_CLASSES)
    assert (dataset.rows["labelled"] == 10).all() and (dataset.rows["split"] == "v3_1_shot_train").all()
    assert "horse" in AVSBench.from_rows(folder, lists.seen_train).classes


def test_the_metadata_may_lie_elsewhere(folder, tmp_path):
    (folder / "metadata.csv").rename(tmp_path / "metadata.csv")
    assert len(read_v3(folder, tmp_path / "metadata.csv").seen_val) == 4
    with pytest.raises(FileNotFoundError, match="metadata.csv: no such file"):
        read_v3(folder)


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


DAMAGE = {
    "unknown clip": ("v3_1_shot/train.csv", "hen-0", "hen-9", "clip 'hen-9' is not among the v1m and v2 clips"),
    "clip of v1s": ("meta_v3_unseen.csv", "harp-1", "single-0", "clip 'single-0' is not among the v1m and v2 clips"),
    "twice": ("meta_v3_seen_val.csv", "seen-1,", "seen-2,", "seen_val.csv: clip 'seen-2' stands in it more than once"),
    "other class": ("meta_v3_unseen.csv", "0,7,tiger,", "0,7,clock,", "'tiger-0' has a_obj 'clock', .* says 'tiger'"),
    "other subset": ("v3_3_shot/test.csv", "train,v1m", "train,v2", "has label 'v2', .* says 'v1m'"),
    "not unseen": ("meta_v3_unseen.csv", "pair-0,0,7,girl_boy", "mixed-0,0,7,girl_guitar",
                   "the unseen clips are 113, by the rule by class 113: 1 too many, 1 missing, such as 'mixed-0'"),
    "seen missing": ("meta_v3_seen_val.csv", "x,seen-1,0,7,guitar_man", "x,seen-9,0,7,guitar_man",
                     "the seen clips are 39, by the rule by class 40: 0 too many, 1 missing, such as 'seen-1'"),
    "seen overlap": ("meta_v3_seen_val.csv", "label\n", "label\nx,seen-9,0,7,guitar_man,seen_val,v2\n",
                     "1 clips are in seen_train and in seen_val, such as 'seen-9'"),
    "shot in the test": ("v3_3_shot/test.csv", "hen-7,,,,v3_1_shot_train,v1m", "hen-0,,,,v3_1_shot_train,v2",
                         "1 clips are in v3_3_shot_train and in v3_3_shot_test, such as 'hen-0'"),
    "not nested": ("v3_1_shot/train.csv", "x,hen-0", "x,hen-3", "1 clips are in v3_1_shot_train and in v3_1_shot_test"),
    "shot missing": ("v3_3_shot/train.csv", "x,hen-0,,,,v3_1_shot_train,v2\n", "", "together are 88, by v3_1_shot 89"),
    "not a list": ("v3_5_shot/test.csv", "vid,uid", "vid,name", "expected rows with a column 'uid'"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_lists_that_contradict_the_rule_or_each_other_are_refused(folder, name):
    file, old, new, message = DAMAGE[name]
    change(folder / file, old, new)
    with pytest.raises(ValueError, match=message):
        read_v3(folder)


def swap(folder, k, first, second):
    """Exchange two clips between a few-shot list and its test set."""
    train, test = folder / f"v3_{k}_shot" / "train.csv", folder / f"v3_{k}_shot" / "test.csv"
    change(train, f"x,{first},", f"x,{second},")
    change(test, f"x,{second},", f"x,{first},")


def test_lists_that_are_not_nested_or_not_even_are_refused(folder):
    swap(folder, 3, "hen-0", "hen-4")
    with pytest.raises(ValueError, match="v3_3_shot.train.csv: clip 'hen-0' of a smaller few-shot list is not in it"):
        read_v3(folder)
    swap(folder, 3, "hen-4", "hen-0")
    swap(folder, 5, "hen-4", "boy-5")
    with pytest.raises(ValueError, match="v3_5_shot.train.csv: 6 clips of 'boy'; expected 5 of each class"):
        read_v3(folder)


def test_a_missing_list_is_named_with_what_can_be_done(folder):
    (folder / "v3_5_shot" / "test.csv").unlink()
    (folder / "meta_v3_seen_val.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"meta_v3_seen_val.csv: no such file \(2 of the 9 lists.*derive_v3"):
        read_v3(folder)


def test_derived_lists_have_the_sizes_of_published_ones_and_say_what_they_are(folder):
    derived, published = derive_v3(folder / "metadata.csv"), read_v3(folder)
    assert derived.origin == "derived, not the published lists (seed 0)"
    assert derived.counts()["clips"].to_dict() == published.counts()["clips"].to_dict()  # 40 seen: 10 % are 4
    train, val = set(derived.seen_train["uid"]), set(derived.seen_val["uid"])
    assert not train & val and train | val == {f"seen-{i}" for i in range(40)}
    smaller = set()
    for k, table in derived.few_shot_train.items():
        assert table["a_obj"].value_counts().to_dict() == dict.fromkeys(SHOT_CLASSES, k)
        assert smaller < set(table["uid"])
        smaller = set(table["uid"])


def test_derived_lists_repeat_and_change_with_the_seed(folder):
    first, again, other = (derive_v3(folder / "metadata.csv", seed) for seed in (0, 0, 1))
    for name, table in first.tables().items():
        assert table.equals(again.tables()[name])
    assert set(first.seen_val["uid"]) != set(other.seen_val["uid"])
    assert set(first.few_shot_train[1]["uid"]) != set(other.few_shot_train[1]["uid"])


def test_a_table_without_unseen_clips_gives_no_lists(tmp_path):
    (tmp_path / "metadata.csv").write_text(HEAD + row("a-0", "dog", "train", "v2"))
    with pytest.raises(ValueError, match="1 seen and 0 unseen clips in v1m and v2"):
        derive_v3(tmp_path / "metadata.csv")


def test_the_command_counts_the_lists_or_says_what_is_wrong(folder, tmp_path, capsys):
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert "113 unseen, 40 seen, 3 discarded" in out and "lists: published" in out
    assert ["v3_3_shot_test", "56", "11", "45", "11"] in [line.split() for line in out.splitlines()]
    (tmp_path / "bare").mkdir()
    (folder / "metadata.csv").rename(tmp_path / "bare" / "metadata.csv")
    assert main([str(tmp_path / "bare")]) == 0
    assert "derived, not the published lists" in capsys.readouterr().out
    assert main([str(folder)]) == 1
    assert "metadata.csv: no such file" in capsys.readouterr().out
    assert main([str(folder), "--metadata", str(tmp_path / "bare" / "metadata.csv")]) == 0
