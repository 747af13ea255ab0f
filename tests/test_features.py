"""The feature cache: it holds what would be computed, knows what it depends on, and survives bad days."""

import dataclasses
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import gavs_lib.lab.features as features
from gavs_lib.audio import published_examples, second_examples
from gavs_lib.data.avsbench import AVSBench, Clip
from gavs_lib.gavs import GAVS, GAVSConfig
from gavs_lib.lab.features import embed_sound, extract_features, resize_frames
from gavs_lib.lab.train import FitConfig, collate, fit, predict_masks
from gavs_lib.sam import build_sam
from gavs_lib.vggish import VGGish

CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["torch", "gavs_lib.lab.train", "gavs_lib.lab.features", "gavs_lib.gavs"])


def make_clip(seed, frames=3, size=(128, 128), labelled=None):
    rng = np.random.default_rng(seed)
    has_mask = np.arange(frames) < (frames if labelled is None else labelled)
    return Clip(
        uid=f"clip{seed}",
        frames=rng.integers(0, 256, (frames, *size, 3), dtype=np.uint8),
        masks=(rng.random((frames, *size)) > 0.8) & has_mask[:, None, None],
        has_mask=has_mask,
        waveform=rng.normal(0, 0.1, 16000 * frames).astype(np.float32),
        sample_rate=16000,
        a_obj="bell_drum" if seed % 2 else "bell",
        path=Path(f"clip{seed}"),
    )


def make_clips():
    """Clips of 3 and 2 frames; the second is not square and has masks of its own size; the third has one label."""
    return [make_clip(0), make_clip(1, frames=2, size=(90, 121)), make_clip(2, labelled=1)]


def make_model(**config):
    torch.manual_seed(0)
    return GAVS(build_sam("mini"), GAVSConfig(**config))


def make_vggish(final_relu=False):
    torch.manual_seed(1)
    return VGGish.mini(final_relu)


@pytest.fixture(scope="module")
def model():
    return make_model(tune_from=2)


@pytest.fixture(scope="module")
def vggish():
    return make_vggish()


def entries(cache):
    return {path.name: (path / "manifest.json").stat().st_mtime_ns for path in cache.iterdir()}


def get(cache, model, vggish, clips=None, **options):
    return extract_features(make_clips() if clips is None else clips, model, vggish, cache, progress=False, **options)


# ---- what is in it


def test_the_cached_activation_is_the_computed_one_bit_for_bit(tmp_path, model, vggish):
    clips = make_clips()
    cached = get(tmp_path, model, vggish, clips, batch_frames=3)
    # The same frames in the same batches of three, across clips.
    images = torch.cat([resize_frames(clip.frames, 128) for clip in clips])
    direct = torch.cat([model.encode_prefix(images[None, start : start + 3])[0] for start in range(0, 8, 3)])
    assert torch.equal(torch.cat([item["prefix"] for item in cached]), direct)
    assert cached.caches_prefix and direct.dtype == torch.float32


def test_the_model_gives_the_same_masks_from_the_cache_as_from_images(tmp_path, model, vggish):
    cached = get(tmp_path, model, vggish)
    direct = get(tmp_path, model, vggish, cache_budget=0)
    assert not direct.caches_prefix and direct[1]["images"].shape == (2, 3, 128, 128)
    from_cache = predict_masks(model, collate([cached[0], cached[1]]))
    from_images = predict_masks(model, collate([direct[0], direct[1]]))
    for left, right in zip(from_cache, from_images):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


def test_audio_is_vggish_of_the_patch_under_each_frame(tmp_path, model, vggish):
    clips = make_clips()
    cached = get(tmp_path, model, vggish, clips)
    assert cached.audio.shape == (3, 3, 128) and not cached.audio[1, 2].any()
    for number, clip in enumerate(clips):
        frames = len(clip.frames)
        with torch.no_grad():
            expected = torch.cat([vggish(patch[None]) for patch in second_examples(clip.waveform, 16000, frames)])
        torch.testing.assert_close(cached[number]["audio"], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(embed_sound(vggish, clip.waveform, 16000, frames), expected, rtol=1e-4, atol=1e-5)
    published = get(tmp_path, model, vggish, clips, audio_timing="published")
    with torch.no_grad():
        expected = vggish(published_examples(clips[0].waveform, 16000, 3))
    torch.testing.assert_close(published[0]["audio"], expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(published[0]["audio"][2], cached[0]["audio"][2])


def test_masks_names_and_flags_come_back_at_their_own_size(tmp_path, model, vggish):
    clips = make_clips()
    cached = get(tmp_path, model, vggish, clips)
    for source in (cached, get(tmp_path, model, vggish, clips, cache_budget=0)):
        assert source.uids == ["clip0", "clip1", "clip2"] and source.labels == ["bell", "bell_drum", "bell"]
        assert source.frame_valid.tolist() == [[True] * 3, [True, True, False], [True] * 3]
        assert source.has_mask.tolist() == [[True] * 3, [True, True, False], [True, False, False]]
        for item, clip in zip(source, clips):
            assert item["masks"].dtype == torch.uint8 and np.array_equal(item["masks"].numpy(), clip.masks)
            assert item["has_mask"].tolist() == clip.has_mask.tolist() and item["frame_valid"].all()


def test_a_clip_without_masks_is_unlabelled(tmp_path, model, vggish):
    clip = dataclasses.replace(make_clip(0, size=(64, 96)), masks=None, has_mask=None)
    item = get(tmp_path, model, vggish, [clip])[0]
    assert item["masks"].shape == (3, 64, 96) and not item["masks"].any() and not item["has_mask"].any()


@pytest.mark.parametrize("dtype, rounding", [(torch.float16, 2.0**-11), (torch.bfloat16, 2.0**-8)])
def test_half_precision_rounds_by_no_more_than_it_says(tmp_path, model, vggish, dtype, rounding):
    exact = get(tmp_path, model, vggish)[1]["prefix"]
    half = get(tmp_path, model, vggish, dtype=dtype)[1]["prefix"]
    assert half.dtype == dtype
    assert ((half.float() - exact).abs() <= rounding * exact.abs() + 1e-7).all()


def test_frames_of_another_size_are_resized_with_antialiasing():
    # A white column of one pixel in four: resized to a quarter, every pixel is a quarter white (triangle filter aside).
    frames = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    frames[:, :, ::4] = 255
    small = resize_frames(frames, 16)
    assert small.shape == (1, 3, 16, 16)
    torch.testing.assert_close(small[..., 1:-1], torch.full((1, 3, 16, 14), 255 / 4), rtol=0.05, atol=0)
    assert torch.equal(resize_frames(frames, 64)[0, 0], torch.from_numpy(frames[0, ..., 0]).float())


def test_a_model_that_trains_every_block_gets_images_and_caches_only_sound(tmp_path, vggish):
    encoder = SimpleNamespace(img_size=64)
    every_block = SimpleNamespace(caches_prefix=False, sam=SimpleNamespace(image_encoder=encoder))
    cached = get(tmp_path, every_block, vggish)
    assert cached[0]["images"].shape == (3, 3, 64, 64)
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == ["audio"]


def test_the_size_is_printed_before_caching_and_the_budget_kept(tmp_path, model, vggish, capsys):
    # A frame: 16 x 16 tokens x 128 channels x 4 bytes; masks: 6 frames of 128 x 128 and 2 of 90 x 121 bits.
    size = 8 * 16 * 16 * 128 * 4 + 6 * 128 * 128 // 8 + 2 * 1362
    fits = extract_features(make_clips(), model, vggish, tmp_path, cache_budget=size)
    assert "0.131 MB x 8 frames" in capsys.readouterr().err and fits.caches_prefix
    over = extract_features(make_clips(), model, vggish, tmp_path, cache_budget=size - 1)
    assert "above the budget" in capsys.readouterr().err and not over.caches_prefix


# ---- what it depends on


def test_a_second_call_computes_nothing(tmp_path, model, vggish, monkeypatch):
    first = get(tmp_path, model, vggish)
    monkeypatch.setattr(type(model), "encode_prefix", None)
    monkeypatch.setattr(features, "embed_patches", None)
    second = get(tmp_path, model, vggish)
    assert torch.equal(first[2]["prefix"], second[2]["prefix"]) and torch.equal(first.audio, second.audio)
    assert first.fingerprint == second.fingerprint


def changed(clip, name):
    value = getattr(clip, name).copy()
    value.reshape(-1)[-1] = not value.reshape(-1)[-1] if value.dtype == bool else value.reshape(-1)[-1] + 1
    return dataclasses.replace(clip, **{name: value})


@pytest.mark.parametrize("name", ["frames", "masks", "waveform"])
def test_one_pixel_or_sample_changed_is_other_data(tmp_path, model, vggish, name):
    clips = [make_clip(0)]
    get(tmp_path, model, vggish, clips)
    other = get(tmp_path, model, vggish, [changed(clips[0], name)])
    assert len(entries(tmp_path)) == 4
    assert np.array_equal(other[0]["masks"].numpy(), changed(clips[0], name).masks)


def test_weights_and_settings_change_the_key_of_what_they_change(tmp_path, vggish):
    model = make_model(tune_from=2)
    get(tmp_path, model, vggish)
    before = entries(tmp_path)

    def new(**options):
        nonlocal before
        get(tmp_path, options.pop("model", model), options.pop("vggish", vggish), **options)
        after = entries(tmp_path)
        kinds = sorted(name.split("-")[0] for name in after.keys() - before.keys())
        assert all(after[name] == time for name, time in before.items())
        before = after
        return kinds

    assert new() == []
    assert new(audio_timing="published") == ["audio"]
    assert new(vggish=make_vggish(final_relu=True)) == ["audio"]
    assert new(dtype=torch.float16) == ["frames"]
    assert new(model=make_model(tune_from=3)) == ["frames"]
    other_vggish = make_vggish()
    other_vggish.embeddings[4].bias.data[0] += 1e-3
    assert new(vggish=other_vggish) == ["audio"]
    # Nothing behind the prefix matters: adapters, norms of tuned blocks, decoder.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad or "mask_decoder" in name:
                parameter.add_(1.0)
    assert new() == []
    with torch.no_grad():
        model.sam.image_encoder.blocks[1].mlp.lin1.bias[0] += 1e-3
    assert new() == ["frames"]


def write_folder(root, seconds=5):
    """Two clips as AVSBench-semantic lays them out."""
    rows = []
    for number in range(2):
        clip = make_clip(number, frames=seconds, size=(40, 60), labelled=1)
        folder = root / "v1s" / clip.uid
        for name in ("frames", "labels_rgb"):
            (folder / name).mkdir(parents=True)
        for i, frame in enumerate(clip.frames):
            Image.fromarray(frame).save(folder / "frames" / f"{i}.jpg")
        Image.fromarray(clip.masks[0].astype(np.uint8) * 255).convert("RGB").save(folder / "labels_rgb" / "0.png")
        soundfile.write(folder / "audio.wav", clip.waveform, 16000)
        rows.append(f"{clip.uid},{clip.uid},0,{seconds},{clip.a_obj},train,v1s")
    (root / "metadata.csv").write_text("vid,uid,s_min,s_sec,a_obj,split,label\n" + "\n".join(rows) + "\n")
    return AVSBench(root, "v1s", "train")


def test_a_folder_gives_the_same_features_as_its_clips_in_memory(tmp_path, model, vggish):
    dataset = write_folder(tmp_path / "data")
    from_folder = get(tmp_path / "cache", model, vggish, dataset)
    in_memory = get(tmp_path / "other", model, vggish, [dataset[0], dataset[1]])
    for left, right in zip(from_folder, in_memory):
        assert left.keys() == right.keys()
        for name in left:
            same = (
                torch.equal(left[name], right[name])
                if isinstance(left[name], torch.Tensor)
                else left[name] == right[name]
            )
            assert same, name
    assert from_folder.fingerprint == in_memory.fingerprint


def test_a_file_of_a_folder_that_changes_is_read_again(tmp_path, model, vggish, monkeypatch):
    dataset = write_folder(tmp_path / "data")
    get(tmp_path / "cache", model, vggish, dataset)
    monkeypatch.setattr(AVSBench, "__getitem__", None)  # nothing is decoded the second time
    get(tmp_path / "cache", model, vggish, dataset)
    monkeypatch.undo()
    sound = tmp_path / "data" / "v1s" / "clip0" / "audio.wav"
    soundfile.write(sound, np.zeros(16000 * 5, dtype=np.float32), 16000)
    silent = embed_sound(vggish, np.zeros(16000, np.float32), 16000, 1)[0]
    torch.testing.assert_close(get(tmp_path / "cache", model, vggish, dataset).audio[0, 0], silent)
    sound.unlink()
    with pytest.raises(FileNotFoundError, match="audio.wav"):
        get(tmp_path / "cache", model, vggish, dataset)


# ---- other sound, some clips


def test_other_audio_shares_pictures_and_masks(tmp_path, model, vggish):
    cached = get(tmp_path, model, vggish)
    shuffled = cached.with_audio(cached.audio[[2, 0, 1]])
    assert shuffled._frames is cached._frames and torch.equal(shuffled[0]["prefix"], cached[0]["prefix"])
    assert torch.equal(shuffled[2]["audio"], cached.audio[1]) and torch.equal(shuffled.audio[0], cached.audio[2])
    silent = cached.with_audio(torch.ones(128))
    assert silent[1]["audio"].shape == (2, 128) and (silent[1]["audio"] == 1).all()
    assert len({cached.fingerprint, shuffled.fingerprint, silent.fingerprint}) == 3
    assert not (cached.audio == 1).any()
    with pytest.raises(ValueError, match=r"audio is \[3, 2, 128\]; expected \[3, 3, 128\]"):
        cached.with_audio(torch.zeros(3, 2, 128))
    with pytest.raises(ValueError, match="NaN"):
        cached.with_audio(torch.full((128,), torch.nan))


def test_fewer_labels_are_the_first_ones_and_other_data(tmp_path, model, vggish):
    features = extract_features(make_clips(), model, vggish, tmp_path, progress=False)
    first = features.labelled_first(1)
    assert first.has_mask.sum(1).tolist() == [1, 1, 1] and features.has_mask.sum(1).tolist() == [3, 2, 1]
    assert torch.equal(first[0]["masks"][0], features[0]["masks"][0]) and not first[0]["masks"][1:].any()
    assert first.fingerprint != features.fingerprint and features[0]["masks"][1:].any()
    assert features.labelled_first(2).has_mask.sum(1).tolist() == [2, 2, 1]
    with pytest.raises(ValueError, match="seconds is 0"):
        features.labelled_first(0)


def test_a_subset_has_the_chosen_clips_in_the_order_given(tmp_path, model, vggish):
    cached = get(tmp_path, model, vggish)
    some = cached.subset([2, 0]).with_audio(cached.audio[[0, 2]])
    assert some.uids == ["clip2", "clip0"] and len(some) == 2 and len(list(some)) == 2
    assert torch.equal(some[0]["prefix"], cached[2]["prefix"]) and torch.equal(some[0]["audio"], cached[0]["audio"])
    assert some.subset([1])[0]["uid"] == "clip0"
    with pytest.raises(IndexError, match="not among the 3 clips"):
        cached.subset([3])


def test_a_feature_set_crosses_to_another_process_without_its_data(tmp_path, model, vggish):
    cached = get(tmp_path, model, vggish)
    pickled = pickle.dumps(cached)
    assert len(pickled) < 20_000  # the activations are a megabyte
    assert torch.equal(pickle.loads(pickled)[1]["prefix"], cached[1]["prefix"])


def test_gavs_trains_from_the_cache(tmp_path, vggish):
    model = make_model(tune_from=4)
    cached = get(tmp_path / "cache", model, vggish)
    result = fit(model, cached, cached, FitConfig(epochs=2, batch_size=3), tmp_path / "run", progress=False)
    assert [row["epoch"] for row in result.history] == [1, 2] and 0 <= result.best_score <= 1
    with pytest.raises(ValueError, match="data.train_set.fingerprint"):
        fit(model, cached.with_audio(torch.zeros(128)), cached, FitConfig(epochs=2, batch_size=3), tmp_path / "run")


# ---- bad days


def damage_cut(folder):
    data = (folder / "prefix.npy").read_bytes()
    (folder / "prefix.npy").write_bytes(data[:-5])


def damage_bit(folder):
    with (folder / "prefix.npy").open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)[0]
        file.seek(5000)
        file.write(bytes([byte ^ 4]))


def damage_manifest(folder):
    (folder / "manifest.json").write_text('{"files": {"prefix.npy": [1')


def damage_missing(folder):
    (folder / "masks.bits").unlink()


def damage_empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize("damage", [damage_cut, damage_bit, damage_manifest, damage_missing, damage_empty])
def test_a_damaged_entry_is_computed_again_and_said_so(tmp_path, model, vggish, damage, capsys):
    before = [item["prefix"].clone() for item in get(tmp_path, model, vggish)]
    damage(next(tmp_path.glob("frames-*")))
    capsys.readouterr()
    after = get(tmp_path, model, vggish)
    assert "damaged" in capsys.readouterr().err
    assert all(torch.equal(left, right["prefix"]) for left, right in zip(before, after))
    assert len(entries(tmp_path)) == 2


def test_a_full_disk_is_an_error_that_leaves_nothing(tmp_path, model, vggish, monkeypatch):
    usage = SimpleNamespace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(OSError, match="too full.*cache_budget"):
            get(tmp_path, model, vggish)

    # The kernel refuses to write on in the middle of a file, as on a full disk.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        with pytest.raises(OSError, match="too full"):
            get(tmp_path, model, vggish, batch_frames=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == ["audio"]
    assert get(tmp_path, model, vggish).caches_prefix


def fill(cache, start, results):
    torch.set_num_threads(1)
    start.wait(60)
    cached = get(cache, make_model(tune_from=2), make_vggish(), [make_clip(seed) for seed in range(6)])
    results.put([cached[4]["prefix"].sum().item(), cached.fingerprint])


def test_processes_that_fill_one_cache_do_not_disturb_each_other(tmp_path):
    results, start = CHILDREN.Queue(), CHILDREN.Barrier(3)
    children = [CHILDREN.Process(target=fill, args=(tmp_path, start, results)) for _ in range(3)]
    for child in children:
        child.start()
    found = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert found[0] == found[1] == found[2]
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == ["audio", "frames"]


def die_while_filling(cache):
    torch.set_num_threads(1)
    model = make_model(tune_from=2)
    encode, calls = model.encode_prefix, 0

    def dying(images):
        nonlocal calls
        calls += 1
        if calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(images)

    model.encode_prefix = dying
    get(cache, model, make_vggish(), batch_frames=2)


def test_a_kill_while_filling_leaves_nothing_that_counts_and_is_swept_up_later(tmp_path, model, vggish):
    child = CHILDREN.Process(target=die_while_filling, args=(tmp_path,))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    (left,) = tmp_path.glob(".*.tmp")
    assert get(tmp_path, model, vggish, batch_frames=2).caches_prefix
    assert left.exists()  # another process may still be writing it
    for path in [*left.iterdir(), left]:
        os.utime(path, (time.time() - 7200,) * 2)
    get(tmp_path, model, vggish)
    assert not left.exists()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"waveform": np.full(48000, np.nan, np.float32)}, "clip0: its sound cannot be used.*NaN"),
        ({"waveform": np.zeros(0, np.float32)}, "clip0: its sound cannot be used.*empty"),
        ({"frames": np.zeros((3, 8, 8), np.uint8)}, r"clip0: frames are uint8 \[3, 8, 8\]"),
        ({"frames": np.zeros((3, 8, 8, 3), np.float32)}, "clip0: frames are float32"),
        ({"masks": np.zeros((2, 8, 8), bool)}, r"clip0: masks are \[2, 8, 8\]; expected one .* of 3 frames"),
        ({"has_mask": np.ones(2, bool)}, r"clip0: has_mask is \[2\]"),
    ],
)
def test_a_clip_that_cannot_be_used_is_named(tmp_path, model, vggish, change, message):
    with pytest.raises(ValueError, match=message):
        get(tmp_path, model, vggish, [dataclasses.replace(make_clip(0), **change)])
    assert list(tmp_path.iterdir()) == []


def test_a_sound_of_one_sample_stereo_and_other_rates_go_through(tmp_path, model, vggish):
    rng = np.random.default_rng(0)
    clips = [
        dataclasses.replace(make_clip(0), waveform=np.ones(1, np.float32)),
        dataclasses.replace(make_clip(1), waveform=rng.normal(0, 0.1, (2, 24000)).astype(np.float32), sample_rate=8000),
        dataclasses.replace(make_clip(2), waveform=rng.normal(0, 0.1, 288000).astype(np.float32), sample_rate=96000),
    ]
    assert torch.isfinite(get(tmp_path, model, vggish, clips).audio).all()


def test_settings_out_of_range_and_no_clips_are_refused(tmp_path, model, vggish):
    for options, message in (
        ({"dtype": torch.int8}, "dtype is torch.int8"),
        ({"audio_timing": "late"}, "audio_timing is 'late'"),
        ({"batch_frames": 0}, "batch_frames is 0"),
        ({"clips": []}, "no clips"),
    ):
        with pytest.raises(ValueError, match=message):
            get(tmp_path, model, vggish, **options)
