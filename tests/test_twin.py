"""The miniature twin of VGG-SS: balanced, boxed rightly, the same on a disk and in memory, and honestly probed."""

import json
import os
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from gavs_lib._shipped import shipped_results
from gavs_lib.data import VGGSS
from gavs_lib.data.vggss import whole_picture
from gavs_lib.lab import twin
from gavs_lib.lab.pretrain import FACTORS
from gavs_lib.lab.twin import main, probe_twin, twin_clip, twin_clips, twin_few_shot
from gavs_lib.world.boxes import (
    MOMENT,
    SECONDS,
    BoxRecipe,
    box_recipe,
    box_recipes,
    draw_entry,
    visible_box,
    write_boxes,
)
from gavs_lib.world.folder import fingerprint
from gavs_lib.world.objects import TOYS, Toy
from gavs_lib.world.scenes import FRAME, PlacedToy, Scene, render_frames

COUNT = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("twin") / "sketchbook"
    assert write_boxes(root, COUNT, progress=False) == root / "vggss.json"
    return root


@pytest.fixture(scope="module")
def recipes():
    return list(box_recipes(4 * len(TOYS)))


def test_every_class_sounds_in_one_of_every_thirty_six_entries(recipes):
    for first in range(0, len(recipes), len(TOYS)):
        assert sorted(r.toy for r in recipes[first : first + len(TOYS)]) == sorted(TOYS)
    orders = [[r.toy for r in recipes[first : first + len(TOYS)]] for first in (0, len(TOYS))]
    assert orders[0] != orders[1]


def test_one_toy_sounds_for_ten_seconds_and_a_quarter_of_the_entries_show_it_alone(recipes):
    for r in recipes:
        assert r.scene.seconds == SECONDS == 10 and r.scene.style == "sketchbook"
        assert [all(on) for on in r.scene.sounding].count(True) == 1 == sum(any(on) for on in r.scene.sounding)
    beside = Counter(len(r.scene.toys) - 1 for r in recipes)
    assert set(beside) == {0, 1, 2, 3}
    # 144 draws of a coin with p = .25 lie within three standard deviations, 3 sqrt(.25 .75 / 144) = .108.
    assert abs(beside[0] / len(recipes) - 0.25) < 0.108


def test_an_entry_depends_on_nothing_but_its_number_and_the_seed(recipes):
    assert box_recipe(40) == recipes[40] != box_recipe(40, seed=1)
    assert recipes[40].uid == "sketch_00040"
    with pytest.raises(ValueError, match="index is -1"):
        box_recipe(-1)


# ---- boxes -----------------------------------------------------------------------------------------------------------


def test_a_box_by_hand():
    mask = np.zeros((4, 8), bool)
    mask[1:3, 2:7] = True  # columns 2 to 6 of 8, rows 1 and 2 of 4
    assert visible_box(mask) == [2 / 8, 1 / 4, 7 / 8, 3 / 4]
    assert visible_box(np.ones((4, 8), bool)) == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="holds no pixel"):
        visible_box(np.zeros((4, 8), bool))


def test_boxes_stand_around_the_visible_pixels_of_the_toy_that_sounds(recipes):
    """Against a slow reference: the pixels one by one."""
    for r in recipes[:8]:
        frame, box = draw_entry(r)
        pictures = render_frames(r.scene)
        assert frame.shape == (FRAME, FRAME, 3) and np.array_equal(frame, pictures.frames[MOMENT])
        mask = pictures.masks[[any(on) for on in r.scene.sounding].index(True), MOMENT]
        inside = [(x, y) for y in range(FRAME) for x in range(FRAME) if mask[y, x]]
        left, right = min(x for x, _ in inside), max(x for x, _ in inside) + 1
        top, bottom = min(y for _, y in inside), max(y for _, y in inside) + 1
        assert box == [left / FRAME, top / FRAME, right / FRAME, bottom / FRAME]


def test_what_another_toy_covers_is_not_in_the_box():
    below, above = (
        PlacedToy(Toy("car", "large", "wood"), 30, 30, 1),
        PlacedToy(Toy("drum", "large", "glass"), 75, 20, 2),
    )
    scene = Scene((below, above), ((True,) * 10, (False,) * 10), 3, 20.0, False, style="sketchbook")
    _, box = draw_entry(BoxRecipe(0, scene))
    _, alone = draw_entry(BoxRecipe(0, replace(scene, placed=(below,), sounding=((True,) * 10,))))
    assert box[0] == pytest.approx(alone[0], abs=3 / FRAME)  # each toy trembles by a pixel
    assert box[2] < alone[2] - 4 / FRAME


# ---- on a disk and in memory -----------------------------------------------------------------------------------------


def test_the_reader_of_vggss_gives_back_the_entries_in_memory(folder):
    made, clips = twin_clips(COUNT)
    read = VGGSS(folder / "vggss.json", folder)
    assert len(read) == len(read.present()) == COUNT and len(read.flaws()) == 0 and read.empty() == ()
    for r, expected, clip in zip(made, clips, read):
        assert (clip.uid, clip.a_obj, clip.sample_rate) == (r.uid, r.toy.name, expected.sample_rate)
        assert clip.masks.shape == (1, 224, 224) and np.array_equal(clip.masks, expected.masks)
        assert clip.has_mask.tolist() == expected.has_mask.tolist() == [True]
        assert clip.frames.shape == expected.frames.shape == (1, FRAME, FRAME, 3)
        assert np.abs(clip.frames.astype(int) - expected.frames).mean() < 4  # JPEG
        assert clip.waveform.shape == expected.waveform.shape == (16000,)
        assert np.abs(clip.waveform - expected.waveform).max() <= 1 / 32767
    boxes = json.loads((folder / "vggss.json").read_text())
    assert [entry["bbox"] for entry in boxes] == [[draw_entry(r)[1]] for r in made]
    assert 0.02 < whole_picture(read).mean_iou < 0.4


def test_writing_again_finishes_what_is_missing_and_adds_what_is_new(folder):
    first = folder / "frames" / "sketch_00000.jpg"
    before = first.stat().st_mtime_ns
    lost = folder / "audio" / "sketch_00001.wav"
    content = lost.read_bytes()
    lost.unlink()
    for name, age in (("old", 3600), ("new", 0)):  # what a killed run left, and one that is at work
        draft = folder / "audio" / f".{name}.wav.1.part"
        draft.write_bytes(b"half")
        os.utime(draft, (time.time() - age,) * 2)
    write_boxes(folder, COUNT + 1, progress=False)
    assert lost.read_bytes() == content and first.stat().st_mtime_ns == before
    assert len(VGGSS(folder / "vggss.json", folder).present()) == COUNT + 1
    assert [path.name for path in folder.rglob("*.part")] == [".new.wav.1.part"]
    (folder / "audio" / ".new.wav.1.part").unlink()
    write_boxes(folder, COUNT, progress=False)
    assert len(VGGSS(folder / "vggss.json", folder)) == COUNT


def test_a_folder_of_another_seed_or_of_something_else_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="holds a sketchbook made with .*Choose another folder"):
        write_boxes(folder, COUNT, seed=5, progress=False)
    (tmp_path / "letter.txt").write_text("dear reader")
    with pytest.raises(ValueError, match="holds no sketchbook"):
        write_boxes(tmp_path, COUNT, progress=False)
    with pytest.raises(ValueError, match="count is 0"):
        write_boxes(tmp_path / "none", 0, progress=False)
    assert not (tmp_path / "none").exists()


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gavs_lib.world.boxes.soundfile.write", full)
    with pytest.raises(OSError, match="cannot write this entry .No space left.*sketch_00000.wav"):
        write_boxes(tmp_path / "full", 1, progress=False)
    assert not list((tmp_path / "full").rglob("*.part")) and not (tmp_path / "full" / "vggss.json").exists()


def test_the_command_writes_the_set_or_says_why_not(tmp_path, capsys):
    assert main(["--write", str(tmp_path / "set"), "--count", "1", "--seed", "2"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "set" / "vggss.json")
    assert main(["--write", str(tmp_path / "set"), "--count", "1"]) == 1
    assert "error: " in capsys.readouterr().err


def test_two_hundred_entries_are_drawn_in_fifteen_seconds(recipes):
    twin_clip(recipes[0])
    begun = time.process_time()
    for r in recipes[:10]:
        twin_clip(box_recipe(r.index, seed=3))
    # Twice the time that is promised: this must not fail because the machine is busy with something else.
    assert (time.process_time() - begun) / 10 < 2 * 15 / 200


# ---- few shots -------------------------------------------------------------------------------------------------------


def test_few_shot_lists_in_memory_are_those_of_the_reader(recipes, tmp_path):
    uids, labels = [r.uid for r in recipes], [r.toy.name for r in recipes]
    entries = [{"file": u, "class": c, "bbox": [[0.1, 0.1, 0.6, 0.6]]} for u, c in zip(uids, labels)]
    (tmp_path / "vggss.json").write_text(json.dumps(entries))
    expected = VGGSS(tmp_path / "vggss.json").few_shot([1, 3], seed=4)
    found = twin_few_shot(uids, labels, [1, 3], seed=4)
    assert {k: [uids[i] for i in items] for k, items in found.train.items()} == {
        k: list(part.rows["file"]) for k, part in expected.train.items()
    }
    assert [uids[i] for i in found.test] == list(expected.test.rows["file"])
    assert all(Counter(labels[i] for i in items) == dict.fromkeys(labels, k) for k, items in found.train.items())
    assert set(found.train[1]) < set(found.train[3])
    assert sorted(found.train[3] + found.test) == list(range(len(uids)))
    with pytest.raises(ValueError, match="36 classes have no more than 4 clips"):
        twin_few_shot(uids, labels, [4])


# ---- probes ----------------------------------------------------------------------------------------------------------


def test_the_recorded_probes_are_of_this_world_and_lie_between_chance_and_home():
    table = pd.read_csv(shipped_results("twin_probes"))
    again = "the sketchbook or the toy shop has changed: python -m gavs_lib.lab.twin --probes, anew"
    assert set(table["world"]) == {fingerprint()} and set(table["twin"]) == {fingerprint("sketchbook")}, again
    assert len(table) == 2 * 3 * 4
    means = table.groupby(["encoder", "factor"]).mean(numeric_only=True)
    for part in ("seen", "unseen"):
        assert (means[f"twin_{part}"] > means["chance"] + 0.15).all(), means
    assert means["twin_seen"].between(0.6, 0.92).all()
    assert (means["twin_seen"] < means["home_seen"] - 0.05).all(), means


def test_a_factor_that_is_there_is_read_and_noise_is_not(monkeypatch):
    """Features that are the factors themselves at home, and noise in the twin."""
    named = [(name, value) for name, values in zip(("family", "size", "material"), FACTORS) for value in values]

    def features(encoder, style="shop"):
        def draw(toys, count, seed):
            rng = np.random.default_rng(seed)
            drawn = [toys[i] for i in rng.integers(len(toys), size=count)]
            factors = [[getattr(toy, name) == value for name, value in named] for toy in drawn]
            return torch.tensor(factors if style == "shop" else rng.standard_normal((count, 11))).float(), drawn

        return draw

    monkeypatch.setattr(twin, "picture_features", features)
    monkeypatch.setattr(twin, "sound_features", features)
    table = probe_twin(None, None, fit=600, read=600)
    assert len(table) == 24 and (table["home_seen"] == 1).all() and (table["home_unseen"] == 1).all()
    assert (abs(table[["twin_seen", "twin_unseen"]].mean(axis=1) - table["chance"]) < 0.15).all()
