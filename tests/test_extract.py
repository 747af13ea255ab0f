"""Embeddings of a data set as files: what is in them, how they were made, who makes them, and reading them back."""

import errno
import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from gavs_lib.audio import published_examples, second_examples
from gavs_lib.data import AVSBench
from gavs_lib.gavs import GAVS, GAVSConfig
from gavs_lib.lab import extract
from gavs_lib.lab.extract import (
    UNKNOWN,
    Extracted,
    embedding_path,
    extract_embeddings,
    load_ear,
    main,
    read_embedding,
    read_switches,
)
from gavs_lib.lab.features import extract_features
from gavs_lib.lab.weights import hash_tensors, save_tensors
from gavs_lib.sam import build_sam
from gavs_lib.vggish import VGGish

SECONDS = {"v1s": 5, "v1m": 5, "v2": 10}
CLIPS = [("v1s", "a_0_5000", "train"), ("v1s", "b_0_5000", "test"), ("v1m", "c_0_5000", "val"), ("v2", "a_0", "train")]


def write_folder(root: Path, clips=CLIPS, rate: int = 16000) -> Path:
    """Clips as AVSBench-semantic has them, with sounds of chance and small grey pictures."""
    rows = [f"{uid[0]},{uid},0,0,dog,{split},{label}" for label, uid, split in clips]
    root.mkdir(exist_ok=True)
    (root / "metadata.csv").write_text("vid,uid,s_min,s_sec,a_obj,split,label\n" + "\n".join(rows) + "\n")
    for number, (label, uid, _) in enumerate(clips):
        folder = root / label / uid
        for name, suffix in (("frames", "jpg"), ("labels_rgb", "png")):
            (folder / name).mkdir(parents=True)
            for i in range(SECONDS[label]):
                Image.new("RGB", (24, 16), (90, 90, 90)).save(folder / name / f"{i}.{suffix}")
        wave = 0.1 * np.random.default_rng(number).standard_normal(SECONDS[label] * rate)
        soundfile.write(folder / "audio.wav", wave, rate, subtype="FLOAT")
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def vggish() -> VGGish:
    torch.manual_seed(0)
    return VGGish.mini()


def work(root, out, vggish, **options) -> Extracted:
    return extract_embeddings(root, out, vggish, progress=False, **options)


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.npy"))}


# ---- what is written


@pytest.mark.parametrize("timing, examples", [("second", second_examples), ("published", published_examples)])
@pytest.mark.parametrize("final_relu", [False, True])
def test_a_file_holds_what_vggish_makes_of_each_second(tmp_path, root, timing, examples, final_relu):
    torch.manual_seed(0)
    vggish = VGGish.mini(final_relu)
    assert work(root, tmp_path, vggish, audio_timing=timing) == Extracted(written=4)
    for label, uid, _ in CLIPS:
        rows = np.load(tmp_path / f"{label}_vggish_embs" / f"{uid}.npy")
        assert rows.dtype == np.float32 and rows.shape == (SECONDS[label], 128)
        wave, rate = soundfile.read(root / label / uid / "audio.wav", dtype="float32")
        with torch.no_grad():
            expected = torch.cat([vggish(patch[None]) for patch in examples(wave, rate, SECONDS[label])])
        torch.testing.assert_close(torch.from_numpy(rows), expected, rtol=1e-4, atol=1e-5)
        assert (rows.min() >= 0) == final_relu
    said = {"vggish": hash_tensors(vggish.state_dict()), "final_relu": final_relu, "audio_timing": timing}
    assert read_switches(tmp_path) == said | {"quantised": False}


def test_batches_that_end_within_a_clip_or_hold_several_give_the_same(tmp_path, root, vggish, monkeypatch):
    work(root, tmp_path / "one", vggish)
    monkeypatch.setattr(extract, "_PATCH_BATCH", 7)
    work(root, tmp_path / "two", vggish)
    for path in (tmp_path / "one").rglob("*.npy"):
        other = np.load(tmp_path / "two" / path.relative_to(tmp_path / "one"))
        np.testing.assert_allclose(np.load(path), other, rtol=1e-4, atol=1e-5)


def test_only_subsets_that_are_there_or_asked_for(tmp_path, vggish):
    root = write_folder(tmp_path / "data", CLIPS[:2])
    with (root / "metadata.csv").open("a") as table:
        table.write("z,z_0,0,0,dog,train,v2\n")  # listed, and never downloaded
    assert work(root, tmp_path / "out", vggish) == Extracted(written=2)
    (message,) = work(root, tmp_path / "out", vggish, subsets=["v2"]).broken
    assert str(root / "v2" / "z_0" / "audio.wav") in message and "missing" in message
    for subsets in ([], ["v1m"], ["v3"]):
        with pytest.raises(ValueError, match="no clips of .*metadata.csv lists v1s, v2"):
            work(root, tmp_path / "out", vggish, subsets=subsets)


# ---- shards, resuming


def test_shards_share_the_clips_and_a_clip_keeps_its_shard_whatever_else_is_listed(tmp_path, vggish):
    clips = [("v1s", f"clip{number}", "train") for number in range(12)]
    root = write_folder(tmp_path / "data", clips, rate=1000)
    parts = []
    for part in range(3):
        out = tmp_path / f"part{part}"
        assert work(root, out, vggish, shard=(part, 3)).broken == []
        parts.append(set(files(out)))
        assert read_switches(out) == read_switches(tmp_path / "part0")
    assert sum(map(len, parts)) == len(set.union(*parts)) == 12 and all(parts)

    lines = [f"x,{uid},0,0,dog,train,v1s" for _, uid, _ in clips[2:]]
    (root / "metadata.csv").write_text("vid,uid,s_min,s_sec,a_obj,split,label\n" + "\n".join(lines) + "\n")
    work(root, tmp_path / "fewer", vggish, shard=(1, 3))
    kept = {f"v1s_vggish_embs/{uid}.npy" for _, uid, _ in clips[2:]}
    assert set(files(tmp_path / "fewer")) == parts[1] & kept


def test_whole_files_are_left_alone_and_damaged_ones_written_again(tmp_path, root, vggish, monkeypatch):
    work(root, tmp_path, vggish)
    before = files(tmp_path)
    damaged = tmp_path / "v2_vggish_embs" / "a_0.npy"
    damaged.write_bytes(damaged.read_bytes()[:-4])
    assert work(root, tmp_path, vggish) == Extracted(written=1, found=3)
    assert files(tmp_path).keys() == before.keys()
    whole = np.load(io.BytesIO(before["v2_vggish_embs/a_0.npy"]))
    np.testing.assert_allclose(np.load(damaged), whole, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(extract, "embed_patches", None)  # nothing is left to compute
    assert work(root, tmp_path, vggish) == Extracted(found=4)


def test_a_run_that_is_stopped_anywhere_leaves_whole_files_only_and_goes_on(tmp_path, root, vggish, monkeypatch):
    work(root, tmp_path / "whole", vggish)
    monkeypatch.setattr(extract, "_PATCH_BATCH", 1)
    sync, calls = os.fsync, 0

    def stop(handle):
        nonlocal calls
        calls += 1
        if calls == 3:  # features.json, a clip, half of the next
            os.ftruncate(handle, 100)
            raise KeyboardInterrupt
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", stop)
        with pytest.raises(KeyboardInterrupt):
            work(root, tmp_path / "out", vggish)
    (one,) = (tmp_path / "out").rglob("*.npy")
    assert read_embedding(one, 5).shape == (5, 128)
    assert work(root, tmp_path / "out", vggish) == Extracted(written=3, found=1)
    assert files(tmp_path / "out").keys() == files(tmp_path / "whole").keys()


def test_a_full_disk_is_an_error_and_no_broken_sound(tmp_path, root, vggish, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="free some space"):
        work(root, tmp_path / "out", vggish)
    assert files(tmp_path / "out") == {}


# ---- broken sounds, and what cannot be done


def test_broken_sounds_are_named_the_rest_goes_on_and_repaired_ones_are_made_up_for(tmp_path, capsys):
    root, out = write_folder(tmp_path / "data"), tmp_path / "out"
    sounds = [root / label / uid / "audio.wav" for label, uid, _ in CLIPS]
    whole = sounds[1].read_bytes()
    sounds[0].unlink()
    sounds[1].write_bytes(whole[:-3000])
    soundfile.write(sounds[2], np.zeros(1000), 16000)  # too short for a patch of published features
    arguments = [str(root), str(out), "--vggish", "mini", "--timing", "published", "--device", "cpu"]
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert "1 clips written, 0 were there, 3 broken" in shown.out
    lines = [line for line in shown.err.splitlines() if line.startswith("broken: ")]
    assert [str(sound) in line for sound, line in zip(sounds, lines)] == [True] * 3 and len(lines) == 3
    assert "cut short" in lines[1] and "patch needs 0.975 s" in lines[2]

    for sound in sounds[:3]:
        sound.write_bytes(whole)
    assert main(arguments) == 0
    assert "3 clips written, 1 were there, 0 broken" in capsys.readouterr().out


def test_a_folder_of_other_switches_is_refused_by_name(tmp_path, root, vggish, capsys):
    ears = tmp_path / "own.safetensors", tmp_path / "out"
    save_tensors(ears[0], vggish.state_dict(), {})
    arguments = [str(root), str(ears[1]), "--vggish", str(ears[0]), "--subset", "v1s"]
    assert main(arguments) == 0
    before = files(ears[1])
    for changed, name in (("--final-relu", "final_relu"), ("--timing=published", "audio_timing")):
        assert main([*arguments, changed]) == 1
        line = capsys.readouterr().err
        assert f"made with another {name}" in line and str(ears[1] / "features.json") in line
    assert main([*arguments[:3], "mini"]) == 1
    assert "made with another vggish" in capsys.readouterr().err
    assert files(ears[1]) == before


def test_embeddings_that_nobody_knows_of_are_not_added_to(tmp_path, root, vggish):
    (tmp_path / "v1s_vggish_embs").mkdir()
    np.save(tmp_path / "v1s_vggish_embs" / "other.npy", np.zeros((5, 128), np.float32))
    with pytest.raises(ValueError, match="without a features.json, made who knows how"):
        work(root, tmp_path, vggish)


def test_a_damaged_vggish_writes_nothing(tmp_path, root):
    ear = VGGish.mini()
    ear.embeddings[4].bias.data[3] = torch.nan
    with pytest.raises(ValueError, match="VGGish returned NaN"):
        work(root, tmp_path, ear)
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"audio_timing": "late"}, "audio_timing is 'late'; expected one of second, published"),
        ({"shard": (4, 4)}, "shard is 4/4; expected i/n with i from 0"),
        ({"shard": (0, 0)}, "shard is 0/0"),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_written(tmp_path, root, vggish, options, message):
    with pytest.raises(ValueError, match=message):
        work(root, tmp_path / "out", vggish, **options)
    assert not (tmp_path / "out").exists()


def test_the_command_says_in_a_line_what_it_cannot_do(tmp_path, root, capsys):
    for arguments, message in (
        ([tmp_path / "none", tmp_path / "out", "--vggish", "mini"], "metadata.csv: no such file"),
        ([root, tmp_path / "out", "--vggish", tmp_path / "none.pth"], "expected VGGish weights"),
        ([root, tmp_path / "out", "--vggish", "mini", "--shard", "7/4"], "shard is 7/4"),
        ([root, tmp_path / "out", "--vggish", "mini", "--device", "toaster"], "toaster"),
    ):
        assert main([str(argument) for argument in arguments]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(root), str(tmp_path / "out"), "--vggish", "mini", "--shard", "half"])
    assert "'half' is no part of the work; expected i/n" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# ---- one file, one folder


def damaged_files(path: Path) -> dict[str, str]:
    """Make a damaged file of each kind; what is said of it."""
    trapped = path.parent / "trapped"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(trapped),)

    rows = np.zeros((5, 128), np.float32)
    np.save(path.with_name("code.npy"), np.array([Trap()], dtype=object), allow_pickle=True)
    path.with_name("pickle.npy").write_bytes(pickle.dumps(Trap()))
    np.savez(path.with_name("archive.npz"), rows)
    path.with_name("archive.npz").rename(path.with_name("archive.npy"))
    np.save(path.with_name("more.npy"), np.zeros((10, 128), np.float32))
    np.save(path.with_name("batch.npy"), rows[None])
    np.save(path.with_name("integers.npy"), rows.astype(np.uint8))
    np.save(path.with_name("nan.npy"), np.where(np.arange(128) == 7, np.nan, rows))
    np.save(path, rows)
    path.with_name("cut.npy").write_bytes(path.read_bytes()[:-1])
    path.with_name("empty.npy").write_bytes(b"")
    return {
        "code": "not a whole .npy file of numbers",
        "pickle": "not a whole .npy file of numbers",
        "cut": "not a whole .npy file of numbers",
        "empty": "not a whole .npy file of numbers",
        "archive": r"holds an archive; expected floating point \[5, 128\]",
        "more": r"holds float32 \[10, 128\]; expected floating point \[5, 128\]",
        "batch": r"holds float32 \[1, 5, 128\]",
        "integers": r"holds uint8 \[5, 128\]",
        "nan": "NaN or infinite",
    }


def test_a_file_that_is_not_what_it_should_be_is_refused_and_no_code_runs(tmp_path):
    for name, message in damaged_files(tmp_path / "whole.npy").items():
        with pytest.raises(ValueError, match=f"{name}.npy: {message}|{name}.npy: holds {message}"):
            read_embedding(tmp_path / f"{name}.npy", 5)
    with pytest.raises(FileNotFoundError, match="gavs_lib.lab.extract"):
        read_embedding(tmp_path / "none.npy", 5)
    assert not (tmp_path / "trapped").exists()
    np.save(tmp_path / "double.npy", np.full((5, 128), 0.1))
    assert read_embedding(tmp_path / "double.npy", 5).dtype == np.float32


def test_a_file_lies_in_the_folder_of_its_subset_or_in_the_folder_itself(tmp_path):
    assert embedding_path(tmp_path, "a", "v2") == tmp_path / "v2_vggish_embs" / "a.npy"
    assert embedding_path(tmp_path, "a") == tmp_path / "a.npy"
    (tmp_path / "a.npy").touch()
    assert embedding_path(tmp_path, "a", "v2") == tmp_path / "a.npy"
    (tmp_path / "v2_vggish_embs").mkdir()
    (tmp_path / "v2_vggish_embs" / "a.npy").touch()
    assert embedding_path(tmp_path, "a", "v2") == tmp_path / "v2_vggish_embs" / "a.npy"


def test_switches_that_are_not_said_are_unknown(tmp_path):
    assert set(read_switches(tmp_path).values()) == {UNKNOWN}
    (tmp_path / "features.json").write_text(json.dumps({"audio_timing": "published", "vggish": UNKNOWN}))
    said = {"vggish": UNKNOWN, "final_relu": UNKNOWN, "audio_timing": "published", "quantised": UNKNOWN}
    assert read_switches(tmp_path) == said


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "features.json: not readable as JSON"),
        ("[1]", r"features.json: holds \[1\]; expected some of the switches vggish, final_relu"),
        ('{"relu": true}', "expected some of the switches"),
        ('{"final_relu": "yes"}', 'final_relu is "yes"; expected true or false, or "unknown"'),
        ('{"audio_timing": "late"}', 'audio_timing is "late"; expected second or published'),
        ('{"audio_timing": ["second"]}', "audio_timing is"),
        ('{"vggish": "vggish-10086976.pth"}', "expected a fingerprint"),
        ('{"quantised": true}', "quantised is true; expected false"),
    ],
)
def test_impossible_switches_are_refused(tmp_path, text, message):
    (tmp_path / "features.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_switches(tmp_path)


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_switches(tmp_path / "none")


# ---- reading back where sound is asked for


@pytest.fixture(scope="module")
def model() -> GAVS:
    torch.manual_seed(0)
    return GAVS(build_sam("mini"), GAVSConfig())


def read_back(cache, clips, model, vggish=None, **options):
    return extract_features(clips, model, vggish, cache, progress=False, cache_budget=0, **options)


def test_features_read_from_files_are_those_computed(tmp_path, root, model, vggish):
    work(root, tmp_path / "out", vggish)
    for subset, split in (("v1s", "train"), ("v2", "train")):
        clips = AVSBench(root, subset, split)
        computed = read_back(tmp_path / "cache", clips, model, vggish)
        read = read_back(tmp_path / "cache", clips, model, audio_dir=tmp_path / "out")
        torch.testing.assert_close(read.audio, computed.audio, rtol=1e-4, atol=1e-5)
        assert read.inputs == computed.inputs | {"quantised": False}
        again = read_back(tmp_path / "cache", clips, model, vggish, audio_dir=tmp_path / "out")
        assert again.fingerprint == read.fingerprint
    in_memory = [clips[0]]
    in_memory[0].uid = "renamed"
    np.save(tmp_path / "out" / "renamed.npy", np.ones((10, 128), np.float32))
    assert (read_back(tmp_path / "cache", in_memory, model, audio_dir=tmp_path / "out").audio == 1).all()


def test_files_from_elsewhere_are_read_and_what_is_not_known_of_them_recorded(tmp_path, root, model, vggish):
    clips = AVSBench(root, "v1s", "train")
    path = tmp_path / "theirs" / "v1s_vggish_embs" / "a_0_5000.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.full((5, 128), 2.0, np.float32))
    features = read_back(tmp_path / "cache", clips, model, vggish, audio_dir=tmp_path / "theirs")
    assert (features.audio == 2).all()
    heard = {name: features.inputs[name] for name in ("vggish", "final_relu", "audio_timing", "quantised")}
    assert set(heard.values()) == {UNKNOWN} and features.inputs["image_size"] == 128

    np.save(path, np.full((5, 128), 3.0, np.float32))  # a changed file is other data
    os.utime(path, ns=(1, 1))
    assert (read_back(tmp_path / "cache", clips, model, audio_dir=tmp_path / "theirs").audio == 3).all()
    (tmp_path / "theirs" / "features.json").write_text('{"audio_timing": "published"}')
    known = read_back(tmp_path / "cache", clips, model, audio_dir=tmp_path / "theirs")
    assert known.inputs["audio_timing"] == "published" and len(list((tmp_path / "cache").iterdir())) == 3


def test_what_cannot_be_read_back_is_said(tmp_path, root, model, vggish):
    clips, out = AVSBench(root, "v1s", "train"), tmp_path / "out"
    work(root, out, vggish)
    with pytest.raises(ValueError, match="vggish is None; give a VGGish, or audio_dir"):
        read_back(tmp_path / "cache", clips, model)
    with pytest.raises(ValueError, match="features.json: final_relu is False, that of the VGGish given is True"):
        torch.manual_seed(0)
        read_back(tmp_path / "cache", clips, model, VGGish.mini(True), audio_dir=out)
    with pytest.raises(ValueError, match="features.json: vggish is .* Give the one that made these"):
        torch.manual_seed(1)
        read_back(tmp_path / "cache", clips, model, VGGish.mini(), audio_dir=out)
    path = out / "v1s_vggish_embs" / "a_0_5000.npy"
    np.save(path, np.zeros((10, 128), np.float32))
    with pytest.raises(ValueError, match=r"a_0_5000.npy: holds float32 \[10, 128\]"):
        read_back(tmp_path / "cache", clips, model, audio_dir=out)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="a_0_5000.npy: missing; .*lab.extract"):
        read_back(tmp_path / "cache", clips, model, audio_dir=out)
    assert list((tmp_path / "cache").iterdir()) == []


# ---- the ear of a model that was trained so


def test_the_ear_is_as_the_inputs_say_and_what_they_do_not_know_is_assumed_aloud(tmp_path, vggish):
    path = tmp_path / "ear.safetensors"
    save_tensors(path, vggish.state_dict(), {})
    said = {"vggish": hash_tensors(vggish.state_dict()), "final_relu": True, "audio_timing": "published", "pad": True}
    ear, inputs = load_ear(path, said, "model.safetensors")
    assert ear.final_relu and inputs == said | {"quantised": False}
    assert load_ear(path, None, "model.safetensors")[1]["audio_timing"] == "second"

    theirs = said | {"vggish": UNKNOWN, "final_relu": UNKNOWN, "audio_timing": UNKNOWN}  # as published
    with pytest.warns(
        UserWarning, match="model.safetensors: trained on .* do not say their vggish, final_relu, audio_timing. Assumed"
    ):
        ear, inputs = load_ear(path, theirs, "model.safetensors")
    assert not ear.final_relu and inputs["audio_timing"] == "published" and "vggish" not in inputs
    with pytest.raises(ValueError, match="another VGGish than the shipped VGGish-mini"):
        load_ear("mini", said, "model.safetensors")
