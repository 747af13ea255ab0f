"""VGG-SS on annotations, pictures, sounds and videos written here, with the flaws of the published boxes."""

import json

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from small_models import lively_sam
from test_media import COLOURS, write_video

from gavs_lib.data import VGGSS
from gavs_lib.data.vggss import main, whole_picture
from gavs_lib.gavs import GAVS, GAVSConfig
from gavs_lib.lab.features import extract_features
from gavs_lib.metrics import localization
from gavs_lib.vggish import VGGish

ABSURD = -28823037615171176.0
ENTRIES = [
    ("left", "dog barking", [[0.0, 0.0, 0.5, 1.0]]),
    ("quarter", "dog barking", [[0.5, 0.5, 1.0, 1.0]]),
    ("two", "female speech, woman speaking", [[0.0, 0.0, 0.5, 0.5], [0.25, 0.25, 0.75, 0.75]]),
    ("all", "dog barking", [[0.0, 0.0, 1.0, 1.0], [0.75, 0.5, ABSURD, 0.9]]),
    ("nothing", "playing cello", [[0.25, 1.0, 0.75, 1.0], [0.1, 0.2, 0.3, ABSURD]]),
    ("wide", "playing cello", [[-0.5, 0.0, 0.25, 1.5]]),
]
RATE = 8000


def write_json(path, entries=ENTRIES):
    path.write_text(json.dumps([{"file": file, "class": name, "bbox": boxes} for file, name, boxes in entries]))
    return path


@pytest.fixture
def annotations(tmp_path):
    return write_json(tmp_path / "vggss.json")


@pytest.fixture
def root(tmp_path):
    """Pictures and sounds of three entries, a picture alone, and the video of a fourth."""
    root = tmp_path / "data"
    for folder in ("frames", "audio", "videos"):
        (root / folder).mkdir(parents=True)
    for name, suffix in (("left", "jpg"), ("quarter", "png"), ("nothing", "JPEG"), ("two", "jpg")):
        Image.new("RGB", (48, 32), (200, 100, 50)).save(root / "frames" / f"{name}.{suffix}")
    for name in ("left", "quarter", "nothing"):
        steps = np.repeat(np.arange(20) / 20, RATE // 2).astype(np.float32)  # 10 s; half-second i sounds i / 20
        soundfile.write(root / "audio" / f"{name}.wav", np.stack([steps, steps], axis=1), RATE, subtype="FLOAT")
    write_video(root / "videos" / "all.mp4", seconds=6, sample_rate=44100, channels=1)
    (root / "frames" / "stranger.jpg").write_bytes(b"of no entry")
    return root


# ---- annotations


def test_every_entry_of_the_file_counts(annotations):
    dataset = VGGSS(annotations)
    assert len(dataset) == dataset.listed == 6
    assert dataset.classes == ("dog barking", "female speech, woman speaking", "playing cello")
    assert dataset.counts() == {
        "entries": 6, "classes": 3, "boxes": 9, "absurd": 3, "degenerate": 3, "empty": 1,
    }  # fmt: skip


def test_the_ground_truth_is_the_union_of_the_filled_boxes(annotations):
    dataset = VGGSS(annotations)
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[0:2, 0:2] = True
    expected[1:3, 1:3] = True
    assert torch.equal(dataset.target(2, size=4), expected)
    assert dataset.target(2).shape == (224, 224)
    # 112 x 112 pixels each, of which they share 56 x 56
    assert dataset.target(2).sum().item() == 2 * 112 * 112 - 56 * 56
    assert torch.equal(dataset.target(-6, size=2), torch.tensor([[True, False], [True, False]]))


def test_flawed_boxes_are_named_and_drawn_by_the_rule(annotations):
    dataset = VGGSS(annotations)
    assert dataset.flaws()[["file", "reason"]].values.tolist() == [
        ["all", "absurd, degenerate"],
        ["nothing", "degenerate"],
        ["nothing", "absurd, degenerate"],
        ["wide", "absurd"],
    ]
    assert dataset.flaws()["box"][0] == [0.75, 0.5, ABSURD, 0.9]
    assert dataset.target(3).all()  # its other box is whole
    assert dataset.empty() == ("nothing",) and not dataset.target(4).any()
    assert torch.equal(dataset.target(5, size=4), torch.arange(4).expand(4, 4) < 1)  # cut at three borders


def test_a_box_that_is_not_finite_is_left_out_and_one_beyond_the_border_is_cut(tmp_path):
    boxes = [[0.0, 0.0, float("nan"), 1.0], [0.0, 0.0, float("inf"), 1.0], [0.5, 0.0, 1.0, 1.0]]
    dataset = VGGSS(write_json(tmp_path / "odd.json", [("a", "dog", boxes), ("b", "dog", [[0.5, 0.0, 1.25, 1.0]])]))
    assert dataset.target(0, size=2).tolist() == [[False, True], [False, True]]
    assert torch.equal(dataset.target(1), dataset.target(0))  # beyond the right border: cut
    assert dataset.flaws()["reason"].tolist() == ["absurd, degenerate", "absurd, degenerate", "absurd"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "vggss.json: not readable as JSON"),
        ('{"file": 1}', "holds a dict; expected a list of entries"),
        ("[]", "holds an empty list; expected a list of entries"),
        ('[{"file": "a", "class": "dog"}]', "entry 0 is .*; expected one with file, class and bbox"),
        ('[{"file": "../a", "class": "dog", "bbox": []}]', "file '../a' is no plain name"),
        ('[{"file": "a", "class": "dog", "bbox": [0, 0, 1, 1]}]', "'a' has class 'dog' and bbox .*four numbers"),
        ('[{"file": "a", "class": "dog", "bbox": [[0, 0, 1]]}]', "four numbers"),
        ('[{"file": "a", "class": "dog", "bbox": [[0, 0, 1, null]]}]', "four numbers"),
        ('[{"file": "a", "class": "dog", "bbox": []}, {"file": "a", "class": "cat", "bbox": []}]', "more than once"),
    ],
)
def test_what_is_not_vggss_is_refused(tmp_path, text, message):
    (tmp_path / "vggss.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        VGGSS(tmp_path / "vggss.json")


def test_a_file_saved_with_a_byte_order_mark_is_read(annotations):
    annotations.write_bytes(b"\xef\xbb\xbf" + annotations.read_bytes())
    assert len(VGGSS(annotations)) == 6


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.json: no such file; expected VGG-SS's annotations"):
        VGGSS(tmp_path / "none.json")


# ---- scores


def test_the_whole_picture_scores_the_share_that_the_boxes_cover(tmp_path):
    entries = [("a", "x", [[0, 0, 0.5, 1]]), ("b", "x", [[0, 0, 0.5, 0.5]]), ("c", "x", [[0, 0, 1, 1]]), ("d", "x", [])]
    score = whole_picture(VGGSS(write_json(tmp_path / "four.json", entries)))
    # IoU 1/2, 1/4, 1 and 0. The success rates are a step from 1 to 0 behind each IoU k / 20; their trapezoid is
    # (k + 1/2) / 20, but 20 / 20 for an IoU of 1: (10.5 + 5.5 + 20 + 0.5) / 20 / 4.
    assert score.success_rate == 2 / 4
    assert score.mean_iou == pytest.approx((1 / 2 + 1 / 4 + 1 + 0) / 4)
    assert score.auc == pytest.approx(36.5 / 80)


def test_predictions_score_by_hand_on_boxes(annotations):
    dataset = VGGSS(annotations)
    target = torch.stack([dataset.target(i) for i in range(3)])
    predicted = torch.zeros(3, 224, 224, dtype=torch.bool)
    predicted[0, :, :112] = True  # the left half, exactly
    predicted[1, 112:, :] = True  # the lower half of the picture; the box is its right half
    predicted[2, :112, :112] = True  # the first of two boxes: 4 of the 7 quarters they cover together
    score = localization(predicted, target)
    assert score.mean_iou == pytest.approx((1 + 1 / 2 + 4 / 7) / 3)
    assert score.success_rate == 1.0
    assert score.auc == pytest.approx((20 + 10.5 + 11.5) / 20 / 3)  # 4/7 lies between 11/20 and 12/20


# ---- pictures and sounds


def test_an_item_is_the_annotated_picture_and_the_second_of_sound_around_it(annotations, root):
    clip = VGGSS(annotations, root)[1]
    assert (clip.uid, clip.a_obj, clip.sample_rate, clip.seconds) == ("quarter", "dog barking", RATE, 1)
    assert clip.frames.shape == (1, 32, 48, 3) and clip.frames.dtype == np.uint8
    assert clip.frames[0, 0, 0].tolist() == [200, 100, 50]
    assert clip.masks.shape == (1, 224, 224) and clip.masks.dtype == bool and clip.masks.sum() == 112 * 112
    assert clip.masks[0, 112:, 112:].all() and clip.has_mask.tolist() == [True]
    # From 4.5 s to 5.5 s: half-seconds 9 and 10.
    assert np.allclose(clip.waveform, np.repeat([9 / 20, 10 / 20], RATE // 2)) and clip.waveform.dtype == np.float32


def test_a_video_gives_the_frame_on_screen_at_five_seconds(annotations, root):
    clip = VGGSS(annotations, root)[3]
    assert (clip.uid, clip.a_obj, clip.sample_rate) == ("all", "dog barking", 44100)
    assert clip.frames.shape[0] == 1 and len(clip.waveform) == 44100
    assert np.abs(clip.frames[0].astype(int) - COLOURS[5 % len(COLOURS)]).max() < 12  # the first frame of second 5
    assert clip.masks.shape == (1, 224, 224) and clip.masks.all() and clip.path == root / "videos" / "all.mp4"


def test_an_empty_ground_truth_is_a_labelled_frame(annotations, root):
    clip = VGGSS(annotations, root)[4]
    assert clip.has_mask.all() and not clip.masks.any()


def test_what_is_missing_is_named_and_what_is_there_can_be_taken(annotations, root):
    dataset = VGGSS(annotations, root)
    assert dataset.missing().values.tolist() == [
        ["two", "female speech, woman speaking", "sound"],
        ["wide", "playing cello", "picture and sound"],
    ]
    with pytest.raises(FileNotFoundError, match="no sound of 'two'; expected frames/two.jpg and audio/two.wav"):
        dataset[2]
    there = dataset.present()
    assert (len(there), there.listed, len(there.missing())) == (4, 6, 0)
    assert [clip.uid for clip in there] == ["left", "quarter", "all", "nothing"]
    assert len(dataset) == 6
    for path in (root / "frames").iterdir():
        path.unlink()
    (root / "videos" / "all.mp4").unlink()
    with pytest.raises(ValueError, match="holds none of the 6 entries; expected names such as frames/left.jpg"):
        VGGSS(annotations, root).present()
    with pytest.raises(ValueError, match="holds none of the 0 entries"):
        dataset.subset([]).present()


def test_without_a_root_there_are_boxes_only(annotations):
    dataset = VGGSS(annotations)
    for ask in (lambda: dataset[0], dataset.missing, dataset.present):
        with pytest.raises(ValueError, match=r"without a root.*VGGSS\(annotations, root\)"):
            ask()


def test_folders_of_another_layout_are_refused(annotations, tmp_path):
    (tmp_path / "frames").mkdir()
    with pytest.raises(FileNotFoundError, match="expected the folders frames and audio, or videos; found frames"):
        VGGSS(annotations, tmp_path)
    (tmp_path / "bare").mkdir()
    with pytest.raises(FileNotFoundError, match="found none of them"):
        VGGSS(annotations, tmp_path / "bare")
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder; expected one with frames and audio"):
        VGGSS(annotations, tmp_path / "nowhere")


def test_media_that_end_before_the_annotated_moment_or_cannot_be_read_are_refused(annotations, root):
    soundfile.write(root / "audio" / "left.wav", np.full(5 * RATE, 0.1), RATE)
    with pytest.raises(ValueError, match="left.wav: the sound lasts 5.00 s; expected the whole clip of 10 s"):
        VGGSS(annotations, root)[0]
    write_video(root / "videos" / "all.mp4", seconds=4.8)
    with pytest.raises(ValueError, match=r"all.mp4: the sound lasts 4.\d+ s; expected the whole clip"):
        VGGSS(annotations, root)[3]
    (root / "frames" / "quarter.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="quarter.png: the frame cannot be read"):
        VGGSS(annotations, root)[1]


def test_features_are_extracted_from_entries_as_from_other_clips(annotations, root, tmp_path):
    there = VGGSS(annotations, root).present()
    model = GAVS(lively_sam(), GAVSConfig(adapter_width=8, cola_width=8))
    features = extract_features(there, model, VGGish.mini(), tmp_path / "cache", pad=True, progress=False)
    assert features.uids == ["left", "quarter", "all", "nothing"]
    item = features[0]
    assert item["masks"].shape == (1, 224, 224) and item["audio"].shape == (1, 128) and item["has_mask"].all()
    assert item["extent"].tolist() == [85, 128]  # of the picture, 32 x 48, not of the square mask


# ---- few-shot


@pytest.fixture
def many(tmp_path):
    """Three classes of 8, 7 and 8 entries; one of the last has no ground truth."""
    entries = [
        (f"{name}{i}", name, [[0, 0, 0.5, 0.5]]) for name, n in (("dog", 8), ("cat", 7), ("owl", 7)) for i in range(n)
    ]
    return VGGSS(write_json(tmp_path / "many.json", [*entries, ("owl7", "owl", [[0.5, 0, 0.5, 1]])]))


def test_few_shot_lists_are_nested_and_tested_on_what_none_of_them_holds(many):
    division = many.few_shot()
    assert division.origin == "drawn by gavs_lib, not a published split (seed 0)"
    files = {k: set(part.rows["file"]) for k, part in division.train.items()}
    assert {k: sorted(name[:3] for name in names) for k, names in files.items()} == {
        k: ["cat"] * k + ["dog"] * k + ["owl"] * k for k in (1, 3, 5)
    }
    assert files[1] < files[3] < files[5]
    assert len(division.test) == 23 - 15
    assert division.test.rows["file"].tolist() == [
        f for f in many.rows["file"] if f not in files[5]
    ]  # the file's order


def test_an_entry_without_ground_truth_is_never_drawn(many):
    for seed in range(20):
        division = many.few_shot(seed=seed)
        assert division.test.empty() == ("owl7",)


def test_another_seed_draws_others_and_small_classes_are_refused(many):
    assert set(many.few_shot(seed=1).train[1].rows["file"]) != set(many.few_shot(seed=0).train[1].rows["file"])
    with pytest.raises(ValueError, match="2 classes have no more than 7 clips, such as 'cat' with 7"):
        many.few_shot(shots=[7])


def test_a_subset_has_the_order_given_and_refuses_strangers(many):
    assert many.subset(["owl3", "dog0"]).rows["class"].tolist() == ["owl", "dog"]
    with pytest.raises(ValueError, match="1 of the files are not among the 23 entries, such as 'emu0'"):
        many.subset(["dog0", "emu0"])


# ---- the command


def test_the_command_counts_names_flaws_and_scores_the_whole_picture(annotations, root, capsys):
    assert main([str(annotations), "--root", str(root)]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    for count in (["entries", "6"], ["boxes", "9"], ["absurd", "3"], ["degenerate", "3"], ["empty", "1"]):
        assert count in lines
    # IoU 1/2, 1/4, 7/16, 1, 0, 1/4: two of six reach 1/2, the mean is 39/96
    assert "success rate 33.3 %" in out and "mean IoU 40.6 %" in out
    assert "empty ground truth: nothing" in out
    assert "4 of 6 entries are there" in out and "missing: sound of two" in out


def test_the_command_says_what_cannot_be_read(tmp_path, capsys):
    assert main([str(tmp_path / "none.json")]) == 1
    assert "none.json: no such file" in capsys.readouterr().out
