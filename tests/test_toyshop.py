"""Clips of the toy shop in memory: drawn when they are looked at, and known by their recipe before."""

import numpy as np
import pytest
import torch

import gavs_lib.lab.toyshop as toyshop
from gavs_lib.gavs import GAVS, GAVSConfig
from gavs_lib.lab.features import extract_features
from gavs_lib.lab.toyshop import ToyshopClips, scene_clip, toyshop_clips, toyshop_features
from gavs_lib.sam import build_sam
from gavs_lib.vggish import VGGish
from gavs_lib.world.folder import recipes

PARTS = {("v1s", "train"): 2, ("v1m", "test"): 1}


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return GAVS(build_sam("mini"), GAVSConfig(tune_from=0)), VGGish.mini()


def test_clips_are_those_of_the_recipes_by_number_slice_and_loop():
    made, clips = toyshop_clips(PARTS)
    drawn = [scene_clip(r) for r in made]
    assert len(clips) == 3 and [c.uid for c in clips] == [r.uid for r in made] == [c.uid for c in clips[:]]
    assert np.array_equal(clips[-1].frames, drawn[2].frames) and np.array_equal(clips[0].waveform, drawn[0].waveform)
    with pytest.raises(IndexError):
        clips[3]


def test_a_clip_is_drawn_once_and_not_before_it_is_looked_at(monkeypatch):
    calls = []
    monkeypatch.setattr(toyshop, "scene_clip", lambda recipe: calls.append(recipe.uid) or recipe.uid)
    made, clips = toyshop_clips(PARTS)
    assert not calls and clips[1] == clips[1] == made[1].uid and calls == [made[1].uid]


def test_cached_features_are_found_without_drawing_and_equal_those_of_drawn_clips(tmp_path, networks, monkeypatch):
    made, features = toyshop_features(PARTS, *networks, tmp_path / "a")
    drawn = extract_features([scene_clip(r) for r in made], *networks, tmp_path / "b", progress=False)
    assert features.fingerprint == drawn.fingerprint and torch.equal(features[1]["masks"], drawn[1]["masks"])

    def refuse(recipe):
        raise AssertionError(f"{recipe.uid} is drawn again")

    refuse.__module__ = toyshop.__name__  # part of the key: the program that draws
    monkeypatch.setattr(toyshop, "scene_clip", refuse)
    assert toyshop_features(PARTS, *networks, tmp_path / "a")[1].fingerprint == features.fingerprint


def test_the_key_tells_seeds_rotations_labels_and_drawing_programs_apart(monkeypatch):
    sets = [("v1s", "train", 1), ("v1s", "test", 1), ("v1s", "train", 1, 1), ("v1s", "train", 1, 0, 1)]
    keys = {ToyshopClips(list(recipes(*each))).key(0) for each in sets}
    assert len(keys) == 4
    monkeypatch.setattr(toyshop, "_drawing_program", lambda module: "another pen")
    assert ToyshopClips(list(recipes(*sets[0]))).key(0) not in keys
