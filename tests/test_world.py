"""The toy shop's rules: which classes are seen, how hard the scenes are, what the folders look like."""

import json
import os
import time

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from gavs_lib.data import AVSBench, tokens
from gavs_lib.lab.evaluate import guesses
from gavs_lib.lab.toyshop import scene_clip
from gavs_lib.world import folder, scenes
from gavs_lib.world.classes import ROTATIONS, class_split
from gavs_lib.world.folder import fingerprint, label_index, recipe, recipes, write_folder
from gavs_lib.world.objects import FAMILIES, MATERIALS, SIZES, TOYS
from gavs_lib.world.scenes import (
    FRAME,
    MAX_OVERLAP,
    SAMPLE_RATE,
    mix,
    render_frames,
    render_stems,
    sounding_mask,
    with_off_screen,
)

COUNTS = {("v1s", "train"): 3, ("v1s", "val"): 1, ("v1s", "unseen_test"): 2, ("v1m", "test"): 2, ("v2", "test"): 1}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("world") / "shop", counts=COUNTS, progress=False)


@pytest.mark.parametrize("rotation", range(ROTATIONS))
def test_every_family_shows_both_sizes_and_all_materials_among_its_three_seen_classes(rotation):
    split = class_split(rotation)
    assert sorted(split.seen + split.unseen_val + split.unseen_test) == sorted(TOYS)
    for family in FAMILIES:
        seen = [toy for toy in split.seen if toy.family == family]
        assert {toy.size for toy in seen} == set(SIZES)
        assert {toy.material for toy in seen} == set(MATERIALS) and len(seen) == 3
        assert sum(toy.family == family for toy in split.unseen_val) == 1
        assert sum(toy.family == family for toy in split.unseen_test) == 2
    # No pair of size and material is new as such: each is seen in three of the six families.
    for size in SIZES:
        for material in MATERIALS:
            assert sum((toy.size, toy.material) == (size, material) for toy in split.seen) == 3


def test_the_four_rotations_differ_and_every_class_is_unseen_somewhere():
    splits = [class_split(rotation) for rotation in range(ROTATIONS)]
    assert len({split.seen for split in splits}) == ROTATIONS
    assert set().union(*(split.unseen for split in splits)) == set(TOYS)
    with pytest.raises(ValueError, match="rotations 0 to 3"):
        class_split(4)


def test_training_clips_hold_no_unseen_toy_sounding_or_silent():
    split = class_split(1)
    for subset in ("v1s", "v1m"):
        for clip in recipes(subset, "train", 40, rotation=1):
            assert set(clip.scene.toys) <= set(split.seen)
    for clip in recipes("v1s", "unseen_test", 40, rotation=1):
        assert set(clip.scene.heard) <= set(split.unseen_test)
    for clip in recipes("v1s", "unseen_val", 40, rotation=1):
        assert set(clip.scene.heard) <= set(split.unseen_val)


def test_a_clip_depends_on_nothing_but_its_name():
    first = recipe("v1s", "train", 7, seed=3)
    again = recipe("v1s", "train", 7, seed=3)
    assert first == again != recipe("v1s", "train", 7, seed=4)
    assert np.array_equal(render_frames(first.scene).frames, render_frames(again.scene).frames)
    assert np.array_equal(mix(first.scene), mix(again.scene))


@pytest.fixture(scope="module")
def hundred():
    return list(recipes("v1s", "test", 100, seed=11))


def test_v1s_scenes_hold_one_to_three_silent_toys_and_two_fifths_a_same_family_one(hundred):
    silent = [len(clip.scene.toys) - 1 for clip in hundred]
    assert set(silent) == {1, 2, 3}
    kin = [sum(t.family == clip.scene.heard[0].family for t in clip.scene.toys) > 1 for clip in hundred]
    # 100 draws of a coin with p = .4 lie within three standard deviations, 3 sqrt(.4 .6 / 100) = .147.
    assert abs(np.mean(kin) - 0.4) < 0.147


def test_toys_stay_visible_within_the_limits(hundred):
    shares, covered, on_border = [], [], 0
    for clip in hundred[:40]:
        masks = render_frames(clip.scene).masks[:, 0]
        shares += [mask.sum() / FRAME**2 for mask in masks]
        alone = [
            render_frames(
                type(clip.scene)((place,), (on,), clip.scene.seed, clip.scene.snr_db, clip.scene.reverberant)
            ).masks[0, 0]
            for place, on in zip(clip.scene.placed, clip.scene.sounding)
        ]
        covered += [1 - mask.sum() / whole.sum() for mask, whole in zip(masks, alone)]
        on_border += any(mask[[0, -1]].any() or mask[:, [0, -1]].any() for mask in masks)
    # A toy of 2.2 % may lose a fifth to the border and three tenths of the rest to its neighbours: 1.2 %.
    assert min(shares) > 0.012 and max(shares) < 0.15
    assert max(covered) < MAX_OVERLAP + 0.1  # each toy trembles by a pixel
    assert max(covered) > 0.1 and on_border > 3


def test_no_guess_without_sound_reaches_45_points_on_v1s(hundred):
    table = guesses(hundred)
    assert table[["random", "largest", "everything"]].mean().max() <= 0.45


def test_v1m_changes_by_the_second_and_has_seconds_with_two_voices():
    for clip in recipes("v1m", "train", 20):
        on = np.array(clip.scene.sounding)
        assert 2 <= len(clip.scene.heard) <= 3
        assert (on.sum(0) >= 2).any()
    changing = [np.ptp(np.array(c.scene.sounding).sum(0)) > 0 for c in recipes("v1m", "train", 20)]
    assert np.mean(changing) > 0.5


def test_the_mix_holds_the_sounding_toys_and_nothing_else():
    clip = next(c for c in recipes("v1s", "train", 50) if not c.scene.reverberant)
    stems = render_stems(clip.scene)
    which = clip.scene.toys.index(clip.scene.heard[0])
    assert np.corrcoef(mix(clip.scene), stems[which])[0, 1] > 0.9
    other = (which + 1) % len(stems)
    assert abs(np.corrcoef(mix(clip.scene), stems[other])[0, 1]) < 0.3
    assert np.corrcoef(mix(clip.scene.playing(other)), stems[other])[0, 1] > 0.9
    assert sounding_mask(clip.scene.playing(None), render_frames(clip.scene).masks).sum() == 0


def test_silence_is_noise_alone_and_off_screen_sound_has_no_mask():
    scene = recipe("v1s", "test", 0).scene
    loud, quiet = (np.sqrt((mix(s) ** 2).mean()) for s in (scene, scene.playing(None)))
    assert quiet < 0.6 * loud
    away = with_off_screen(scene, np.random.default_rng(0))
    assert away.off_screen not in scene.toys and away.heard == ()
    assert np.sqrt((mix(away) ** 2).mean()) > 1.5 * quiet
    assert not sounding_mask(away, render_frames(away).masks).any()


def test_the_folder_lies_where_an_avsbench_semantic_loader_looks(shop):
    rows = pd.read_csv(shop / "metadata.csv")
    assert list(rows.columns) == ["vid", "uid", "s_min", "s_sec", "a_obj", "split", "label"]
    assert len(rows) == sum(COUNTS.values())
    names = json.loads((shop / "label2idx.json").read_text())
    assert names == label_index() and names["background"] == 0 and len(names) == 37
    for row in rows.itertuples():
        folder = shop / row.label / row.uid
        seconds = 10 if row.label == "v2" else 5
        assert sorted(p.name for p in (folder / "frames").iterdir()) == sorted(f"{t}.jpg" for t in range(seconds))
        labelled = 1 if (row.label, row.split) == ("v1s", "train") else seconds
        for kind in ("labels_rgb", "labels_semantic"):
            assert len(list((folder / kind).iterdir())) == labelled
        semantic = np.array(Image.open(folder / "labels_semantic" / "0.png"))
        colour = np.array(Image.open(folder / "labels_rgb" / "0.png").convert("L"))
        assert np.array_equal(semantic > 0, colour > 0)
        assert {names[token] for token in row.a_obj.split("_")} >= set(np.unique(semantic)) - {0}
        info = soundfile.info(folder / "audio.wav")
        assert (info.samplerate, info.frames, info.channels) == (SAMPLE_RATE, seconds * SAMPLE_RATE, 1)
    assert not list(shop.rglob("*.part"))


def test_the_class_numbers_that_are_read_mark_what_the_masks_mark(shop):
    dataset = AVSBench(shop, ("v1m", "v2"), "test", semantic=True)
    names = {number: name for name, number in dataset.index.items()}
    for clip in dataset:
        assert ((clip.semantic > 0) == clip.masks).all()
        sounding = {names[number] for number in np.unique(clip.semantic)} - {"background"}
        assert sounding and sounding <= set(tokens(clip.a_obj))


def test_the_reader_gives_back_what_the_world_drew(shop):
    made = recipe("v1m", "test", 1)
    expected = scene_clip(made)
    clip = next(c for c in AVSBench(shop, "v1m", "test") if c.uid == made.uid)
    assert np.array_equal(clip.masks, expected.masks) and clip.a_obj == made.a_obj
    assert np.abs(clip.frames.astype(int) - expected.frames).mean() < 4  # JPEG
    assert np.abs(clip.waveform - expected.waveform).max() <= 1 / 32767


def test_v3_lists_name_this_rotations_clips(shop):
    for name, count in (("seen_train", 3), ("seen_val", 1), ("unseen_val", 0), ("unseen", 2)):
        assert len(pd.read_csv(shop / "v3" / "rotation_0" / f"meta_v3_{name}.csv")) == count


def test_writing_again_finishes_what_is_missing_and_touches_nothing_else(shop):
    uid = recipe("v1s", "train", 1).uid
    kept = shop / "v1s" / recipe("v1s", "train", 0).uid / "audio.wav"
    before = kept.stat().st_mtime_ns
    lost = shop / "v1s" / uid
    content = (lost / "audio.wav").read_bytes()
    for path in sorted(lost.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    lost.rmdir()
    write_folder(shop, counts=COUNTS, progress=False)
    assert (lost / "audio.wav").read_bytes() == content and kept.stat().st_mtime_ns == before


def test_a_folder_of_another_seed_or_of_something_else_is_refused(shop, tmp_path):
    with pytest.raises(ValueError, match="Choose another folder"):
        write_folder(shop, seed=5, counts=COUNTS, progress=False)
    (tmp_path / "letter.txt").write_text("dear reader")
    with pytest.raises(ValueError, match="holds no toy shop"):
        write_folder(tmp_path, counts=COUNTS, progress=False)


def test_the_fingerprint_can_be_computed_again_and_changes_with_the_world(monkeypatch):
    before = fingerprint()
    assert len(before) == 16 and int(before, 16) >= 0
    monkeypatch.setattr(folder, "_FINGERPRINTS", {})
    assert fingerprint() == before
    monkeypatch.setattr(folder, "_FINGERPRINTS", {})
    monkeypatch.setattr(scenes, "SAME_FAMILY_SHARE", 0.9)
    assert fingerprint() != before


@pytest.mark.parametrize("rotation", range(ROTATIONS))
def test_the_lists_of_each_rotation_sound_its_own_classes(tmp_path, rotation):
    counts = {("v1s", split): 3 for split in ("train", "val", "unseen_val", "unseen_test")}
    root = write_folder(tmp_path / "shop", rotation=rotation, counts=counts, progress=False)
    split = class_split(rotation)
    lists = {"seen_train": split.seen, "seen_val": split.seen, "unseen_val": split.unseen_val}
    for name, classes in (lists | {"unseen": split.unseen_test}).items():
        table = pd.read_csv(root / "v3" / f"rotation_{rotation}" / f"meta_v3_{name}.csv")
        assert len(table) == 3 and set(table["a_obj"]) <= {toy.name for toy in classes}


def test_a_core_draws_twenty_clips_a_second(tmp_path):
    fingerprint()
    begun = time.process_time()
    write_folder(tmp_path / "shop", counts={("v1s", "train"): 30, ("v1m", "train"): 10}, progress=False)
    # Twice the time that is promised: this must not fail because the machine is busy with something else.
    assert (time.process_time() - begun) / 40 < 2 / 20


def test_what_a_killed_run_left_is_swept_up(tmp_path):
    root = write_folder(tmp_path / "shop", counts={("v1s", "train"): 1}, progress=False)
    for name, age in ((".old.1.part", 3600), (".new.2.part", 0)):
        (root / "v1s" / name).mkdir()
        os.utime(root / "v1s" / name, (time.time() - age,) * 2)
    write_folder(root, counts={("v1s", "train"): 2}, progress=False)
    assert not (root / "v1s" / ".old.1.part").exists() and (root / "v1s" / ".new.2.part").exists()
