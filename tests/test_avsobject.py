"""S4 and MS3 on small folders written here, with the published names and quirks, and damage."""

import csv
import pickle

import numpy as np
import pytest
import soundfile
from PIL import Image
from test_avsbench import cut, resave

from gavs_lib.data import MS3, S4, tokens
from gavs_lib.data.check import check_folder
from gavs_lib.lab.features import _clip_key

SIZE = 24
S4_ROWS = [
    ("aa_1", 3, "male_speech", "train"),
    ("NA", 0, "horse_clip-clop", "train"),
    ("bb_2", 0, "helicopter", "val"),
    ("cc_3", 5, "male_speech", "test"),
]
MS3_ROWS = [("dd", "train"), ("ee-1", "val"), ("ff", "test"), ("gg", "test")]


class Bomb:
    """What a log-mel file must not be: code that runs when it is opened."""

    def __reduce__(self):
        return (pytest.fail, ("a .pkl was opened",))


def write_files(frames, masks, audio, seconds=5):
    """Frame i is a grey of 20 i; mask i has its first i + 1 columns white, in three forms of PNG; a second a sound."""
    for path in (*frames, *masks, audio):
        path.parent.mkdir(parents=True, exist_ok=True)
    for i, path in enumerate(frames):
        Image.new("RGB", (SIZE, SIZE), (20 * i,) * 3).save(path)
    for i, path in enumerate(masks):
        white = np.zeros((SIZE, SIZE), bool)
        white[:, : i + 1] = True
        Image.fromarray(white * np.uint8(255)).convert(("L", "1", "RGB")[i % 3]).save(path)
    soundfile.write(audio, np.full(seconds * 8000, 0.25), 8000)


def write_s4(root):
    """Single-source as it is unpacked: only the first mask of a training clip."""
    home = root / "Single-source"
    data = home / "s4_data"
    for name, _, category, split in S4_ROWS:
        place = f"{split}/{category}/{name}"
        write_files(
            [data / "visual_frames" / place / f"{name}_{i}.png" for i in range(1, 6)],
            [data / "gt_masks" / place / f"{name}_{i}.png" for i in range(1, 2 if split == "train" else 6)],
            data / "audio_wav" / f"{place}.wav",
        )
        pickled = data / "audio_log_mel" / f"{place}.pkl"
        pickled.parent.mkdir(parents=True, exist_ok=True)
        pickled.write_bytes(pickle.dumps(Bomb()))
    write_table(home / "s4_meta_data.csv", ("name", "start", "category", "split"), S4_ROWS)
    return home


def write_ms3(root):
    """Multi-sources as it is unpacked: frames without a split's folder, and with .mp4 in their names."""
    home = root / "Multi-sources"
    data = home / "ms3_data"
    for name, split in MS3_ROWS:
        write_files(
            [data / "visual_frames" / name / f"{name}.mp4_{i}.png" for i in range(1, 6)],
            [data / "gt_masks" / split / name / f"{name}_{i}.png" for i in range(1, 6)],
            data / "audio_wav" / split / f"{name}.wav",
        )
    write_table(home / "ms3_meta_data.csv", ("video_id", "split"), MS3_ROWS)  # public readers take the first column
    return home


def write_table(path, head, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])


@pytest.fixture
def root(tmp_path):
    write_s4(tmp_path)
    write_ms3(tmp_path)
    return tmp_path


READERS = [(S4, "Single-source", "cc_3"), (MS3, "Multi-sources", "ff")]


@pytest.mark.parametrize(("reader", "home", "first"), READERS)
def test_a_clip_is_read_from_the_folders_of_its_part(root, reader, home, first):
    for place in (root, str(root / home)):
        dataset = reader(place, "test")
        clip = dataset[0]
        assert len(dataset) == len(list(dataset)) and clip.uid == first
        assert clip.frames.shape == (5, SIZE, SIZE, 3) and [int(frame.mean()) for frame in clip.frames] == list(
            range(0, 100, 20)
        )
        assert clip.masks.dtype == bool and clip.has_mask.tolist() == [True] * 5 and clip.semantic is None
        assert [int(mask.sum()) for mask in clip.masks] == [SIZE * (i + 1) for i in range(5)]
        assert clip.sample_rate == 8000 and clip.waveform.shape == (40000,) and np.allclose(clip.waveform, 0.25)


def test_only_the_first_frame_of_an_s4_training_clip_is_labelled(root):
    for clip in S4(root, "train"):
        assert clip.has_mask.tolist() == [True, False, False, False, False]
        assert clip.masks[0].any() and not clip.masks[1:].any()
    assert S4(root, "val")[0].has_mask.all() and MS3(root, "train")[0].has_mask.all()


def test_a_category_is_one_class_and_ms3_names_none(root):
    dataset = S4(root, ("train", "test"))
    assert [clip.a_obj for clip in dataset] == ["male-speech", "horse-clip-clop", "male-speech"]
    assert all(len(tokens(clip.a_obj)) == 1 for clip in dataset)
    assert dataset.classes == ("horse-clip-clop", "male-speech")
    assert dataset.rows["category"].tolist() == ["male_speech", "horse_clip-clop", "male_speech"]
    assert [clip.a_obj for clip in MS3(root, "test")] == ["", ""]


def test_some_of_the_clips_in_the_order_asked_for(root):
    dataset = MS3(root, "test", uids=["gg", "ff"])
    assert [clip.uid for clip in dataset] == ["gg", "ff"] and dataset.rows["label"].tolist() == ["ms3", "ms3"]
    with pytest.raises(ValueError, match="1 of the uids asked for are not in ms3 test, such as 'dd'"):
        MS3(root, "test", uids=["ff", "dd"])


def test_a_clip_is_identified_by_its_files_and_its_class(root, monkeypatch):
    monkeypatch.setattr(S4, "__getitem__", None)  # nothing is decoded
    dataset = S4(root, ("train", "val", "test"))
    keys = {_clip_key(dataset, i) for i in range(4)}
    assert len(keys) == 4 and {_clip_key(S4(root / "Single-source", "test"), 0)} <= keys
    resave(root / "Single-source" / "s4_data" / "gt_masks" / "test" / "male_speech" / "cc_3" / "cc_3_5.png")
    assert {dataset.key(i) for i in range(4)} - keys == {S4(root, "test").key(0)}
    (root / "Single-source" / "s4_data" / "audio_wav" / "test" / "male_speech" / "cc_3.wav").unlink()
    with pytest.raises(FileNotFoundError, match="cc_3.wav: missing"):
        dataset.key(3)


FRAME, MASK = "visual_frames/{}_3.png", "gt_masks/{}_2.png"
DAMAGE = [
    ("frame", lambda p: p.unlink(), FileNotFoundError, "frame is missing"),
    ("frame", cut, ValueError, "frame cannot be read"),
    ("frame", resave, ValueError, "frame is 26x16, the clip's first frame is 24x24"),
    ("mask", lambda p: p.unlink(), FileNotFoundError, "mask is missing"),
    ("mask", cut, ValueError, "mask cannot be read"),
    ("mask", resave, ValueError, "mask is 26x16, the clip's first frame is 24x24"),
    ("sound", lambda p: p.unlink(), FileNotFoundError, "sound is missing"),
    ("sound", cut, ValueError, "cut short"),
    ("sound", lambda p: soundfile.write(p, np.zeros(0), 8000), ValueError, "empty"),
]


@pytest.mark.parametrize(("kind", "damage", "error", "says"), DAMAGE)
@pytest.mark.parametrize(("reader", "home", "first"), READERS)
def test_damage_is_named_by_reader_and_checker(root, reader, home, first, kind, damage, error, says):
    dataset = reader(root, "test")
    files = dataset.files(dataset.rows.iloc[0])
    path = {"frame": files.frames[2], "mask": files.masks[1], "sound": files.audio}[kind]
    damage(path)
    with pytest.raises(error, match=says) as caught:
        dataset[0]
    assert str(path) in str(caught.value)
    for deep in (False, True):
        report = check_folder(root, deep=deep)
        assert report.problems == [str(caught.value)]
        kinds = {"missing": report.missing, "the clip's": report.mismatched}
        assert next((kinds[word] for word in kinds if word in says), report.unreadable) == report.problems
        assert report.counts.loc[(reader.subset, "test")].tolist()[:2] == [len(dataset), len(dataset) - 1]


@pytest.mark.parametrize("reader", [S4, MS3])
def test_a_folder_of_something_else_is_told(tmp_path, reader):
    with pytest.raises(FileNotFoundError, match=rf"{reader.subset}_meta_data.csv: no such file. .* {reader.place}/"):
        reader(tmp_path, "train")


@pytest.mark.parametrize("split", ["v1s", (), ("train", "trian")])
def test_an_unknown_split_names_what_there_is(root, split):
    with pytest.raises(ValueError, match="s4 has train, val, test"):
        S4(root, split)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a readable CSV"),
        ("name,start,split\na,0,test\n", "column category is missing; found name, start, split"),
        ("name,start,category,split\n../a,0,dog,test\n", "uid '../a' is no plain folder name"),
        ("name,start,category,split\na,0,..,test\n", "category '..' is no plain folder name"),
        ("name,start,category,split\na,0,,test\n", "category '' is no plain folder name"),
        ("name,start,category,split\na,0,dog,tset\n", "clip 'a' has split 'tset'"),
        ("name,start,category,split\n" + 2 * "a,0,dog,test\n", "clip 'a' stands in test more than once"),
        ("name,start,category,split\na,0,dog,train\n", "no row of split test"),
    ],
)
def test_a_broken_table_is_refused(tmp_path, text, says):
    (tmp_path / "s4_meta_data.csv").write_text(text)
    with pytest.raises(ValueError, match=says):
        S4(tmp_path, "test")
