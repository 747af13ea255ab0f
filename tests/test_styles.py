"""The four mixtures of styles: each half of an entry follows its own style, and the places are the same."""

import numpy as np
import pytest

from gavs_lib.lab import styles
from gavs_lib.lab.evaluate import score_boxes
from gavs_lib.lab.experiment import Bench, Experiment
from gavs_lib.lab.statistics import scores_of
from gavs_lib.lab.styles import MixedRecipe, main, measure_styles, mixed_clip, mixed_clips
from gavs_lib.lab.twin import twin_clips
from gavs_lib.world.boxes import box_recipe
from gavs_lib.world.classes import class_split


def test_in_the_sketchbooks_own_styles_an_entry_is_the_twins():
    mine, twins = mixed_clips(2, "sketchbook", "sketchbook")[1], twin_clips(2)[1][1]
    assert np.array_equal(mine.frames, twins.frames) and np.array_equal(mine.waveform, twins.waveform)
    assert np.array_equal(mine.masks, twins.masks) and mine.a_obj == twins.a_obj


def test_each_half_follows_its_own_style_and_its_own_alone():
    made = {(p, s): mixed_clip(MixedRecipe(box_recipe(0), p, s)) for p in styles.STYLES for s in styles.STYLES}
    for style, other in (("shop", "sketchbook"), ("sketchbook", "shop")):
        assert np.array_equal(made[style, style].frames, made[style, other].frames)
        assert np.array_equal(made[style, style].waveform, made[other, style].waveform)
        assert not np.array_equal(made[style, style].frames, made[other, style].frames)
        assert not np.array_equal(made[style, style].waveform, made[style, other].waveform)
    assert len({clip.a_obj for clip in made.values()}) == 1
    centres = [[np.argwhere(clip.masks[0]).mean(0) for clip in mixed_clips(8, style, style)] for style in styles.STYLES]
    apart = np.linalg.norm(np.subtract(*centres), axis=1)
    assert np.median(apart) < 12, "the same toys in the same places, of 224 pixels; some are half hidden"
    keys = {mixed_clips(1, p, s).key(0) for p in styles.STYLES for s in styles.STYLES}
    assert len(keys) == 4, "the cache tells them apart"


def test_scores_are_those_of_the_boxes_for_seen_and_unseen_classes_apart(tmp_path):
    bench = Bench(Experiment(rotation=2), tmp_path, tmp_path / "cache")
    table = measure_styles(bench, 12)
    assert len(table) == 8 and not table.duplicated(["pictures", "sounds", "part"]).any()
    clips = mixed_clips(12, "shop", "sketchbook")
    by_hand = score_boxes(bench.model, bench.features(clips))["iou"]
    unseen = {toy.name for toy in class_split(2).unseen_test}
    places = [i for i, clip in enumerate(clips) if clip.a_obj in unseen]
    row = table.set_index(["pictures", "sounds", "part"]).loc[("shop", "sketchbook", "twin unseen_test")]
    assert row["n"] == len(places) > 0 and row["value"] == pytest.approx(by_hand[places].mean(), abs=1e-4)
    scores = scores_of(row["by_clip"])
    assert np.flatnonzero(np.isfinite(scores)).tolist() == places
    assert np.allclose(scores[places], by_hand[places], atol=6e-4)


def test_without_weights_it_says_what_to_run(tmp_path, capsys):
    assert main(["--work", str(tmp_path), "--results", str(tmp_path / "styles.csv")]) == 1
    assert "gavs_lib.lab.grid" in capsys.readouterr().err and not (tmp_path / "styles.csv").exists()
