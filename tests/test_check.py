"""What `gavs_lib.data.check` recognises, counts and names; one file's damage is in test_avsbench and test_avsobject."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from PIL import Image
from test_avsbench import ROWS, cut, write_clip, write_metadata
from test_avsobject import write_ms3, write_s4

from gavs_lib.data import UNSEEN_TOKENS, derive_v3
from gavs_lib.data.check import PUBLISHED, SHOWN, check_folder, main

RATE = 8000


def write_semantic(root):
    root.mkdir(parents=True, exist_ok=True)
    write_metadata(root, ROWS)
    (root / "label2idx.json").write_text(json.dumps({"background": 0, "bird": 1, "guitar": 3}))
    for row in ROWS:
        write_clip(root, row[1], row[5], row[6])
    return root


def write_v3(folder):
    """Lists as published: the few-shot ones with empty fields and a split of another name; their metadata.csv."""
    folder.mkdir()
    classes = [name for name in UNSEEN_TOKENS for _ in range(6)] + ["dog"] * 20
    rows = [(f"v{i}", f"v{i}_0_10000", 0, 0, name, "train", "v2") for i, name in enumerate(classes)]
    write_metadata(folder, rows)
    names = {"seen_train": "meta_v3_seen_train", "seen_val": "meta_v3_seen_val", "v3_0_shot_test": "meta_v3_unseen"}
    for name, table in derive_v3(folder / "metadata.csv").tables().items():
        if name in names:
            table.to_csv(folder / f"{names[name]}.csv", index=False)
        else:
            shots, part = name.rsplit("_", 1)
            (folder / shots).mkdir(exist_ok=True)
            table.assign(s_min="", s_sec="", a_obj="", split="v3_1_shot_train").to_csv(
                folder / shots / f"{part}.csv", index=False
            )
    return folder


def write_vggss(root):
    """Three entries: a picture with its sound, the same with a negative coordinate, and a video."""
    for name in ("frames", "audio", "videos"):
        (root / name).mkdir(parents=True)
    boxes = {"one": [0.1, 0.1, 0.5, 0.5], "two": [-0.2, 0.0, 0.5, 0.5], "three": [0.0, 0.0, 1.0, 1.0]}
    entries = [{"file": name, "class": "dog barking", "bbox": [box]} for name, box in boxes.items()]
    (root / "vggss.json").write_text(json.dumps(entries))
    for name in ("one", "two"):
        Image.new("RGB", (32, 24), (90, 80, 70)).save(root / "frames" / f"{name}.jpg")
        soundfile.write(root / "audio" / f"{name}.wav", np.full(10 * RATE, 0.1), RATE)
    (root / "videos" / "three.mp4").write_bytes(b"decoded with --deep only")
    return root


@pytest.fixture
def root(tmp_path):
    """Everything, in a folder that holds each data set at another depth."""
    write_semantic(tmp_path / "AVSS")
    write_s4(tmp_path / "AVSBench-object")
    write_ms3(tmp_path / "AVSBench-object")
    write_v3(tmp_path / "lists")
    write_vggss(tmp_path / "VGG-SS")
    return tmp_path


def test_all_data_sets_below_a_folder_are_recognised_and_counted(root, capsys):
    report = check_folder(root)
    assert report.found == [
        f"AVSBench-semantic (v1s, v1m, v2): {root / 'AVSS'}",
        f"S4 of AVSBench-object: {root / 'AVSBench-object' / 'Single-source'}",
        f"MS3 of AVSBench-object: {root / 'AVSBench-object' / 'Multi-sources'}",
        f"AVS-V3 (lists, whose clips are AVSBench-semantic's): {root / 'lists'}",
        f"VGG-SS (3 entries, 1 classes): {root / 'VGG-SS'}",
    ]
    assert report.problems == []
    assert [message for message in report.remarks if "1 boxes are absurd or degenerate" in message] == report.remarks
    counts = report.counts[["listed", "whole"]].apply(tuple, axis=1).to_dict()
    assert report.counts["published"].to_dict() == {place: PUBLISHED[place] for place in counts}
    assert counts[("v1s", "train")] == counts[("v2", "test")] == (1, 1)
    assert counts[("s4", "train")] == counts[("ms3", "test")] == (2, 2) and counts[("vggss", "test")] == (3, 3)
    # 14 classes of 6 clips, of which 3 have no few-shot lists; a tenth of 20 seen clips
    assert counts[("v3", "v3_0_shot_test")] == (84, 84) and counts[("v3", "seen_val")] == (2, 2)
    assert counts[("v3", "v3_3_shot_train")] == (33, 33) and counts[("v3", "v3_3_shot_test")] == (33, 33)
    assert main([str(root)]) == 0
    printed = capsys.readouterr().out
    assert all(line in printed for line in report.found) and "3452" in printed and "4807" in printed
    assert "Not all are the published lists" in printed and f"{root}: whole" in printed


def test_two_copies_of_a_data_set_are_counted_apart(root):
    shutil.copytree(root / "AVSS", root / "more" / "copy")
    rows = check_folder(root).counts.loc[("v2", "test")]
    assert rows["folder"].tolist() == ["AVSS", "more/copy"] and rows["listed"].tolist() == [1, 1]


def test_the_published_counts_add_up():
    total = {part: sum(n for (other, _), n in PUBLISHED.items() if other == part) for part in ("v1s", "v1m", "v2")}
    assert total == {"v1s": 4932, "v1m": 424, "v2": 6000}
    for split in ("train", "val", "test"):
        assert PUBLISHED["s4", split] == PUBLISHED["v1s", split]
        assert PUBLISHED["ms3", split] == PUBLISHED["v1m", split]
    assert {PUBLISHED["v3", f"v3_{k}_shot_train"] + PUBLISHED["v3", f"v3_{k}_shot_test"] for k in (1, 3, 5)} == {543}
    assert [PUBLISHED["v3", f"v3_{k}_shot_train"] for k in (1, 3, 5)] == [11, 33, 55]
    assert PUBLISHED["v3", "seen_train"] + PUBLISHED["v3", "seen_val"] + 758 + 324 == 424 + 6000


def test_published_counts_are_not_said_to_differ(tmp_path, capsys, monkeypatch):
    write_ms3(tmp_path)
    monkeypatch.setitem(PUBLISHED, ("ms3", "train"), 1)
    monkeypatch.setitem(PUBLISHED, ("ms3", "val"), 1)
    monkeypatch.setitem(PUBLISHED, ("ms3", "test"), 2)
    assert main([str(tmp_path)]) == 0
    assert "Not all" not in capsys.readouterr().out


def test_only_decoding_finds_damage_in_the_middle_and_bytes_behind_the_end_are_none(root):
    frames = root / "AVSS" / "v1m" / "NA" / "frames"
    (frames / "0.jpg").write_bytes((frames / "0.jpg").read_bytes() + b"\0\0\0")
    mask = root / "AVSS" / "v1m" / "NA" / "labels_rgb" / "0.png"
    data = bytearray(mask.read_bytes())
    data[len(data) // 2] ^= 0xFF
    mask.write_bytes(data)
    assert check_folder(root).problems == []
    report = check_folder(root, deep=True)
    broken = [mask, root / "VGG-SS" / "videos" / "three.mp4"]
    assert len(report.problems) == len(report.unreadable) == 2
    assert all(line.startswith(f"{path}: ") for path, line in zip(broken, report.unreadable))


def test_the_first_twenty_of_a_kind_are_printed_and_the_others_counted(root, capsys):
    for kind in ("frames", "labels_rgb", "labels_semantic"):
        for path in (root / "AVSS" / "v2" / "cc_0_10000" / kind).iterdir():
            path.unlink()
    (root / "AVSS" / "v1m" / "NA" / "frames" / "0.jpg").write_bytes(b"")
    assert len(check_folder(root).missing) == 30
    assert main([str(root)]) == 1
    printed = capsys.readouterr().out
    assert printed.count("is missing; expected") == SHOWN == 20 and "... and 10 more" in printed
    assert "missing: 30" in printed and "unreadable: 1" in printed and "31 problems" in printed


def test_a_part_that_is_not_there_is_one_message_that_names_its_archive(root):
    (root / "AVSS" / "v2").rename(root / "AVSS" / "v2-elsewhere")
    (root / "AVSBench-object" / "Multi-sources" / "ms3_data" / "audio_wav").rename(root / "sounds")
    report = check_folder(root)
    assert len(report.problems) == 2
    assert f"{root / 'AVSS' / 'v2'}: no such folder; metadata.csv lists 1 clips of it. Download" in report.missing[0]
    assert "audio_wav: no such folder; ms3_meta_data.csv lists 4 clips" in report.missing[1]
    assert report.counts.loc[("v2", "test"), "whole"] == 0 and report.counts.loc["ms3"]["whole"].sum() == 0
    (root / "AVSS" / "v2.zip").write_bytes(b"PK")
    assert "Unpack v2.zip, which lies there." in check_folder(root).missing[0]


def test_a_clip_whose_folder_is_missing_is_one_message(root):
    frames = root / "AVSBench-object" / "Multi-sources" / "ms3_data" / "visual_frames" / "gg"
    frames.rename(root / "elsewhere")
    report = check_folder(root)
    assert f"{frames}: the clip's folder is missing; ms3_meta_data.csv lists it (ms3, test)." in report.missing[0]
    assert len(report.problems) == 1 and report.counts.loc[("ms3", "test")].tolist()[:2] == [2, 1]


def test_class_numbers_may_be_missing_and_a_broken_list_of_them_is_told(root):
    for name in ("frames", "labels_semantic"):
        (root / "AVSS" / "v1m" / "NA" / name).rename(root / "AVSS" / "v1m" / "NA" / f"{name}-elsewhere")
    (root / "AVSS" / "v1m" / "NA" / "frames-elsewhere").rename(root / "AVSS" / "v1m" / "NA" / "frames")
    (root / "AVSS" / "label2idx.json").write_text("[")
    report = check_folder(root, deep=True)
    assert f"{root / 'AVSS'}: 1 clips have no labels_semantic; only class numbers (semantic=True) need it." in (
        report.remarks
    )
    assert "label2idx.json: not readable as JSON" in report.unreadable[0]


def test_a_broken_list_does_not_hide_the_other_data_sets(root):
    table = root / "AVSBench-object" / "Single-source" / "s4_meta_data.csv"
    table.write_text(table.read_text().replace("aa_1", "../aa_1"))
    (root / "AVSS" / "metadata.csv").unlink()
    report = check_folder(root)
    assert "'../aa_1' is no plain folder name" in report.unreadable[0]
    assert report.missing[0].startswith(f"{root / 'AVSS' / 'metadata.csv'}: no such file")
    assert len(report.problems) == 2 and report.counts.loc[("ms3", "test")].tolist()[:2] == [2, 2]


# ---- lists and boxes


def test_v3_lists_take_their_metadata_from_where_the_clips_are(root):
    (root / "lists" / "metadata.csv").rename(root / "metadata-of-lists.csv")
    problems = check_folder(root).problems
    assert (
        len(problems) == 1 and f"is not among the v1m and v2 clips of {root / 'AVSS' / 'metadata.csv'}" in problems[0]
    )
    (root / "AVSS" / "metadata.csv").write_text((root / "metadata-of-lists.csv").read_text())
    assert check_folder(root).counts.loc[("v3", "v3_0_shot_test")].tolist()[:2] == [84, 84]
    missing = check_folder(root / "lists").missing
    assert len(missing) == 1 and "joined with AVSBench-semantic's: copy it here" in missing[0]


def test_a_v3_list_that_is_missing_is_named(root):
    (root / "lists" / "v3_5_shot" / "test.csv").unlink()
    missing = check_folder(root / "lists").missing
    assert len(missing) == 1 and "v3_5_shot/test.csv: no such file (1 of the 9 lists" in missing[0]


def test_the_toy_shops_own_lists_are_not_v3s(root):
    (root / "lists" / "meta_v3_unseen_val.csv").write_text("uid\n")
    assert not any("V3" in line for line in check_folder(root).found)


def test_vggss_entries_that_are_missing_or_broken_are_named(root):
    files = root / "VGG-SS"
    (files / "frames" / "one.jpg").unlink()
    soundfile.write(files / "audio" / "two.wav", np.full(4 * RATE, 0.1), RATE)
    (files / "videos" / "three.mp4").write_bytes(b"")
    report = check_folder(files)
    assert "no picture of 'one'" in report.missing[0] and "VGGSS(annotations, root).present()" in report.missing[0]
    assert "two.wav: the sound lasts 4.00 s" in report.unreadable[0]
    assert "three.mp4: the video is empty" in report.unreadable[1]
    assert len(report.problems) == 3 and report.counts.loc[("vggss", "test")].tolist()[:2] == [3, 0]


def test_a_picture_of_vggss_that_is_cut_short_is_named(root):
    cut(root / "VGG-SS" / "frames" / "one.jpg")
    assert "one.jpg: the picture cannot be read" in check_folder(root / "VGG-SS").unreadable[0]


def test_vggss_boxes_alone_are_told(root):
    for name in ("frames", "audio", "videos"):
        (root / "VGG-SS" / name).rename(root / f"{name}-elsewhere")
    report = check_folder(root / "VGG-SS")
    assert "neither frames/ and audio/ nor videos/" in report.missing[0]
    assert report.counts.loc[("vggss", "test")].tolist()[:2] == [3, 0]


# ---- folders that hold no data set


@pytest.mark.parametrize(
    ("below", "parent", "name"),
    [
        ("AVSS/v1m", "AVSS", "AVSBench-semantic"),
        ("AVSS/v1m/NA/frames", "AVSS", "AVSBench-semantic"),
        ("AVSBench-object/Single-source/s4_data", "AVSBench-object/Single-source", "S4"),
        ("lists/v3_1_shot", "lists", "AVS-V3"),
        ("VGG-SS/frames", "VGG-SS", "VGG-SS"),
    ],
)
def test_a_folder_within_a_data_set_is_told_which(root, capsys, below, parent, name):
    assert main([str(root / below)]) == 1
    assert f"{root / below}: lies within {name}, {root / parent}. Check that folder" in capsys.readouterr().out


def test_what_is_not_unpacked_is_told(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "Single-source.zip").write_bytes(b"PK")
    with pytest.raises(FileNotFoundError, match=r"1 archives, such as .*Single-source\.zip\. Unpack them"):
        check_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"Single-source\.zip: no such folder: unpack it, and give the folder"):
        check_folder(tmp_path / "data" / "Single-source.zip")
    with pytest.raises(FileNotFoundError, match=r"none: no such folder\.$"):
        check_folder(tmp_path / "none")


def test_other_folders_are_told_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="up to two folders down. .*; found nothing"):
        check_folder(tmp_path)
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="; found holiday.jpg"):
        check_folder(tmp_path)
    write_metadata(tmp_path, ROWS)
    with pytest.raises(FileNotFoundError, match="has metadata.csv, but neither v1s/, v1m/ nor v2/"):
        check_folder(tmp_path)
    write_ms3(tmp_path / "one" / "two")
    with pytest.raises(FileNotFoundError, match="neither v1s/"):
        check_folder(tmp_path)
    assert check_folder(tmp_path / "one").problems == []


def test_a_list_that_nobody_published_has_no_number(tmp_path, capsys):
    write_metadata(tmp_path, [("aa", "aa", 0, 0, "bird", "unseen_test", "v1s")])
    write_clip(tmp_path, "aa", "unseen_test", "v1s")
    assert check_folder(tmp_path).counts["published"].isna().all()
    assert main([str(tmp_path)]) == 0
    assert "Not all are the published lists" in capsys.readouterr().out
