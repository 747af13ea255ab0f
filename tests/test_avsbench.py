"""The AVSBench-semantic reader and checker on a small folder written here, with the published quirks and damage."""

import csv
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from gavs_lib.data import AVSBench, tokens
from gavs_lib.data.check import check_folder, main

COLUMNS = ("vid", "uid", "s_min", "s_sec", "a_obj", "split", "label")
ROWS = [
    ("aa", "aa_0_5000", 0, 0, "bird", "train", "v1s"),
    ("bb", "bb_0_5000", 0, 0, "h orse", "test", "v1s"),
    ("NA", "NA", 0, 0, "guitar_man", "train", "v1m"),
    ("cc", "cc_0_10000", 0, 0, "emergency-car_background_off-the-screen", "test", "v2"),
]
INDEX = {"background": 0, "bird": 1, "horse": 2, "guitar": 3, "man": 4, "emergency-car": 5}
WIDTH, HEIGHT = 24, 16


def write_clip(root, uid, split, label, rate=16000):
    """A clip whose frame i is a grey of 20 i and whose mask i is the first i + 1 columns, all of class 1 or 3."""
    folder, seconds = root / label / uid, 10 if label == "v2" else 5
    for name in ("frames", "labels_rgb", "labels_semantic"):
        (folder / name).mkdir(parents=True)
    for i in range(seconds):
        Image.new("RGB", (WIDTH, HEIGHT), (20 * i,) * 3).save(folder / "frames" / f"{i}.jpg")
    for i in range(1 if (label, split) == ("v1s", "train") else seconds):
        colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        colours[:, : i + 1] = (0, 64, 128)
        Image.fromarray(colours).save(folder / "labels_rgb" / f"{i}.png")
        numbers = np.where(colours.any(axis=2), 1 if label == "v1s" else 3, 0).astype(np.uint8)
        Image.fromarray(numbers).save(folder / "labels_semantic" / f"{i}.png")
    left = np.full(seconds * rate, 0.5, np.float32)
    soundfile.write(folder / "audio.wav", np.stack([left, 0 * left], axis=1), rate, subtype="PCM_16")
    return folder


def write_metadata(root, rows):
    with (root / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


@pytest.fixture
def root(tmp_path):
    write_metadata(tmp_path, ROWS)
    (tmp_path / "label2idx.json").write_text(json.dumps(INDEX))
    for row in ROWS:
        write_clip(tmp_path, row[1], row[5], row[6])
    return tmp_path


def test_a_clip_has_the_frames_masks_and_sound_of_its_folder(root):
    clip = AVSBench(root, "v1m", "train")[0]
    assert (clip.uid, clip.a_obj, clip.sample_rate, clip.seconds) == ("NA", "guitar_man", 16000, 5)
    assert clip.path == root / "v1m" / "NA"
    assert clip.frames.shape == (5, HEIGHT, WIDTH, 3) and clip.frames.dtype == np.uint8
    assert [int(frame.mean()) for frame in clip.frames] == [0, 20, 40, 60, 80]
    assert clip.masks.dtype == bool and clip.has_mask.all()
    assert [int(mask.sum()) for mask in clip.masks] == [HEIGHT * (i + 1) for i in range(5)]
    assert clip.waveform.shape == (80000,) and clip.waveform.dtype == np.float32
    assert np.allclose(clip.waveform, 0.25, atol=1e-4)  # the mean of 0.5 left and 0 right


def test_v1s_train_labels_the_first_frame_only(root):
    clip = AVSBench(root, "v1s", "train")[0]
    assert clip.has_mask.tolist() == [True, False, False, False, False]
    assert clip.masks[0].any() and not clip.masks[1:].any()
    assert AVSBench(root, "v1s", "test")[0].has_mask.all()


def test_v2_has_ten_frames(root):
    assert len(AVSBench(root, "v2", "test")[0].frames) == 10


def test_masks_are_where_the_grey_of_the_colour_label_is_above_zero(root):
    colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colours[0, 0], colours[0, 1] = (0, 0, 128), (255, 255, 255)
    palette = Image.fromarray(colours).quantize(4)  # some tools write palette images
    for picture in (Image.fromarray(colours), palette):
        picture.save(root / "v1s" / "aa_0_5000" / "labels_rgb" / "0.png")
        mask = AVSBench(root, "v1s", "train")[0].masks[0]
        assert mask.sum() == 2 and mask[0, :2].all()


def test_several_subsets_and_a_choice_of_uids(root):
    both = AVSBench(root, ("v1s", "v2"), "test")
    assert [clip.uid for clip in both] == ["bb_0_5000", "cc_0_10000"]
    assert AVSBench(root, ("v1s", "v2"), "test", uids=["cc_0_10000"])[-1].uid == "cc_0_10000"
    with pytest.raises(ValueError, match="'aa_0_5000'"):
        AVSBench(root, ("v1s", "v2"), "test", uids=["aa_0_5000"])


def test_the_misspelt_horse_is_mended_and_unseeable_tokens_are_no_classes(root):
    assert AVSBench(root, "v1s", "test")[0].a_obj == "horse"
    assert AVSBench(root, "v2", "test").classes == ("emergency-car",)
    assert tokens("guitar_h orse_off-the-screen") == ("guitar", "horse", "off-the-screen")
    assert tokens("") == ()


def test_v3_lists_with_empty_columns_are_joined_on_uid(root):
    listed = root / "train.csv"
    listed.write_text(
        "vid,uid,s_min,s_sec,a_obj,split,label\ncc,cc_0_10000,,,,v3_1_shot_train,v2\nNA,NA,,,,v3_1_shot_train,v1m\n"
    )
    for rows in (
        listed,
        pd.read_csv(listed, keep_default_na=False),
        pd.read_csv(listed, na_values=[""], keep_default_na=False),
    ):
        dataset = AVSBench.from_rows(root, rows)
        assert [clip.uid for clip in dataset] == ["cc_0_10000", "NA"]
        assert dataset.rows["a_obj"].tolist() == ["emergency-car_background_off-the-screen", "guitar_man"]
        assert set(dataset.rows["split"]) == {"v3_1_shot_train"}
    # Which frames are labelled is a matter of the clip's original split, whatever the list calls it.
    assert AVSBench.from_rows(root, [{"uid": "aa_0_5000", "split": "mine"}])[0].has_mask.sum() == 1


def test_class_numbers_are_read_where_they_are_asked_for(root):
    dataset = AVSBench(root, "v1m", "train", semantic=True)
    clip = dataset[0]
    assert dataset.index == INDEX and clip.semantic.dtype == np.uint8 and clip.semantic.shape == clip.masks.shape
    assert set(np.unique(clip.semantic)) == {0, INDEX["guitar"]} and ((clip.semantic > 0) == clip.masks).all()
    assert AVSBench(root, "v1m", "train")[0].semantic is None
    assert AVSBench.from_rows(root, [{"uid": "cc_0_10000"}], semantic=True)[0].semantic.shape[0] == 10
    once = AVSBench(root, "v1s", "train", semantic=True)[0].semantic
    assert once[0].any() and not once[1:].any(), "v1s train labels the first frame only"


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        (lambda p: p.unlink(), FileNotFoundError, "map of classes is missing"),
        (lambda p: cut(p), ValueError, "map of classes cannot be read"),
        (lambda p: resave(p), ValueError, "map of classes is 26x16, the clip's first frame is 24x16"),
        (lambda p: Image.new("RGB", (WIDTH, HEIGHT)).save(p), ValueError, "a picture of mode RGB"),
        (lambda p: Image.new("L", (WIDTH, HEIGHT), 9).save(p), ValueError, "holds the class number 9"),
    ],
)
def test_damaged_class_numbers_are_named_by_reader_and_checker(root, damage, error, says):
    path = root / "v1m" / "NA" / "labels_semantic" / "2.png"
    damage(path)
    with pytest.raises(error, match=says) as caught:
        AVSBench(root, "v1m", "train", semantic=True)[0]
    assert str(path) in str(caught.value)
    assert [says in problem and str(path) in problem for problem in check_folder(root, deep=True).problems] == [True]
    assert AVSBench(root, "v1m", "train")[0].masks.any(), "who asks for masks alone does not mind"


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        (None, FileNotFoundError, "mean nothing without it"),
        ("{", ValueError, "not readable as JSON"),
        ("[]", ValueError, "expected an object"),
        ('{"bird": 256}', ValueError, "numbers from 0 to 255"),
        ('{"bird": "1"}', ValueError, "numbers from 0 to 255"),
    ],
)
def test_a_list_of_classes_that_is_none_is_refused_at_once(root, text, error, says):
    path = root / "label2idx.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(error, match=says):
        AVSBench(root, "v1m", "train", semantic=True)
    assert len(AVSBench(root, "v1m", "train")) == 1


def test_the_key_of_a_clip_follows_its_files_and_its_classes(root):
    dataset = AVSBench(root, "v1m", "train")
    key = dataset.key(0)
    assert key == AVSBench(root, "v1m", "train", semantic=True).key(0) != AVSBench(root, "v1s", "train").key(0)
    resave(root / "v1m" / "NA" / "labels_rgb" / "2.png")
    changed = dataset.key(0)
    dataset.rows["a_obj"] = "man"
    assert len({key, changed, dataset.key(0)}) == 3
    (root / "v1m" / "NA" / "audio.wav").unlink()
    with pytest.raises(FileNotFoundError, match="audio.wav: missing"):
        dataset.key(0)


def test_lists_for_another_data_set_are_refused(root):
    with pytest.raises(ValueError, match="'zz' is not in"):
        AVSBench.from_rows(root, [{"uid": "zz"}])
    with pytest.raises(ValueError, match="of v2 is not in"):
        AVSBench.from_rows(root, [{"uid": "NA", "label": "v2"}])
    with pytest.raises(ValueError, match="column 'uid'"):
        AVSBench.from_rows(root, [{"name": "zz"}])
    with pytest.raises(FileNotFoundError):
        AVSBench.from_rows(root, root / "none.csv")


def test_unknown_subsets_and_splits_name_what_there_is(root):
    with pytest.raises(ValueError, match="v1s, v1m, v2"):
        AVSBench(root, "s4", "train")
    with pytest.raises(ValueError, match="v1m train, v1s test, v1s train, v2 test"):
        AVSBench(root, "v1m", "val")


def test_a_folder_without_metadata_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metadata\.csv: no such file"):
        AVSBench(tmp_path, "v1s", "train")


@pytest.mark.parametrize("uid", ["../v1s/aa", "..", "", "a/b", "a\\b", "/etc", "C:x"])
def test_a_uid_that_leads_elsewhere_is_refused(tmp_path, uid):
    write_metadata(tmp_path, [("x", uid, 0, 0, "bird", "test", "v2")])
    with pytest.raises(ValueError, match="plain folder name"):
        AVSBench(tmp_path, "v2", "test")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a readable CSV"),
        ("vid,uid\na,b\n", "column s_min"),
        ("vid,uid,s_min,s_sec,a_obj,split,label\na,b,0,0,c,test,s4\n", "label 's4'"),
        ("vid,uid,s_min,s_sec,a_obj,split,label\n" + 2 * "a,b,0,0,c,test,v2\n", "more than once"),
    ],
)
def test_broken_metadata_is_refused(tmp_path, text, says):
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(ValueError, match=says):
        AVSBench(tmp_path, "v2", "test")


def cut(path, share=0.6):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def resave(path, size=(WIDTH + 2, HEIGHT)):
    with Image.open(path) as image:
        image.resize(size).save(path)


DAMAGE = [
    ("frames/3.jpg", lambda p: p.unlink(), FileNotFoundError, "frame is missing"),
    ("frames/3.jpg", cut, ValueError, "cannot be read"),
    ("frames/3.jpg", lambda p: p.write_text("no picture"), ValueError, "cannot be read"),
    ("frames/3.jpg", resave, ValueError, "frame is 26x16, the clip's first frame is 24x16"),
    ("labels_rgb/2.png", lambda p: p.unlink(), FileNotFoundError, "mask is missing"),
    ("labels_rgb/2.png", cut, ValueError, "cannot be read"),
    ("labels_rgb/2.png", resave, ValueError, "mask is 26x16, the clip's first frame is 24x16"),
    ("audio.wav", lambda p: p.unlink(), FileNotFoundError, "sound is missing"),
    ("audio.wav", cut, ValueError, "cut short"),
    ("audio.wav", lambda p: p.write_text("no sound"), ValueError, "not a readable sound"),
    ("audio.wav", lambda p: soundfile.write(p, np.zeros(0), 16000), ValueError, "empty"),
    ("audio.wav", lambda p: soundfile.write(p, np.full(9, np.nan), 16000, subtype="FLOAT"), ValueError, "NaN"),
]


@pytest.mark.parametrize(("name", "damage", "error", "says"), DAMAGE)
def test_damage_is_named_by_reader_and_checker(root, capsys, name, damage, error, says):
    path = root / "v1m" / "NA" / name
    damage(path)
    with pytest.raises(error, match=says) as caught:
        AVSBench(root, "v1m", "train")[0]
    assert str(path) in str(caught.value)
    assert main([str(root), "--deep"]) == 1
    printed = capsys.readouterr().out
    assert str(path) in printed and says in printed
    report = check_folder(root, deep=True)
    assert report.counts.loc[("v1m", "train")].tolist() == [1, 0, 296, "."]
    assert report.counts["whole"].sum() == 3


@pytest.mark.parametrize("rate", [8000, 96000])
def test_other_sampling_rates_are_kept(root, rate):
    soundfile.write(root / "v1m" / "NA" / "audio.wav", np.full(5 * rate, 0.1), rate)
    clip = AVSBench(root, "v1m", "train")[0]
    assert clip.sample_rate == rate and len(clip.waveform) == 5 * rate


def test_a_whole_folder_passes_the_check(root):
    done = subprocess.run(
        [sys.executable, "-m", "gavs_lib.data.check", str(root)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "whole" in done.stdout and "note" not in done.stdout


def test_the_check_lists_every_problem_and_what_is_odd(root, capsys):
    (root / "v1m" / "NA" / "frames" / "0.jpg").unlink()
    (root / "v1m" / "NA" / "labels_rgb" / "0.png").unlink()
    (root / "v1m" / "NA" / "audio.wav").unlink()
    (root / "v1m" / "stranger").mkdir()
    (root / "label2idx.json").unlink()
    soundfile.write(root / "v2" / "cc_0_10000" / "audio.wav", np.zeros(16000), 16000)
    report = check_folder(root, deep=True)
    assert len(report.problems) == len(report.missing) == 3
    assert len(report.remarks) == 4  # a short sound, a silent sound, a folder not listed, no label2idx.json
    assert main([str(root), "--deep"]) == 1
    printed = capsys.readouterr().out
    assert all(message in printed for message in report.problems + report.remarks)


def test_a_clip_folder_that_is_missing_is_one_problem(root):
    (root / "v2" / "cc_0_10000").rename(root / "elsewhere")
    assert [p for p in check_folder(root).problems if "folder is missing" in p and "cc_0_10000" in p]
