"""The miniature's synthetic set: seen classes only, pictures and sounds that never belonged together."""

import pandas as pd
import pytest

from gavs_lib.lab.synthetic import DISTRACTORS, sketchbook_material, synthetic_clips
from gavs_lib.world.classes import class_split


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic") / "set"
    return root, *synthetic_clips(root, rotation=1, train=36)


def test_it_shows_and_sounds_seen_classes_of_its_rotation_only(made):
    _, train, val = made
    seen = {toy.name for toy in class_split(1).seen}
    assert {clip.a_obj for clip in train} == seen == {clip.a_obj for clip in val}
    assert len(train) >= 36 and len(val) >= 18


def test_no_picture_goes_with_its_own_sound_and_no_file_serves_two_splits(made):
    root, train, val = made
    sources = pd.read_csv(root / "sources.csv").set_index("uid")
    assert not set(sources.loc[train.rows["uid"], "picture"]) & set(sources.loc[val.rows["uid"], "picture"])
    assert not set(sources.loc[train.rows["uid"], "sound"]) & set(sources.loc[val.rows["uid"], "sound"])
    assert (sources["silent"].str.count(r"\|") == DISTRACTORS - 1).mean() > 0.8, "there is something to listen for"
    # A picture and a recording of one name were made from different scenes: the places and sizes differ.
    pictures, sounds = sketchbook_material(1, 2)
    assert pictures[0].name == sounds[0].name
    assert pictures[0].load.args[1] != sounds[0].load.args[1]


def test_a_training_clip_has_one_label_and_a_still_picture(made):
    _, train, val = made
    clip = train[0]
    assert clip.has_mask.tolist() == [True] + [False] * 4 and clip.masks[0].any()
    assert (clip.frames == clip.frames[:1]).all() and clip.frames.shape == (5, 128, 128, 3)
    assert val[0].has_mask.all()


def test_a_second_call_finds_it_and_another_seed_is_refused(made):
    root, train, _ = made
    before = (root / "metadata.csv").stat().st_mtime_ns
    again, _ = synthetic_clips(root, rotation=1, train=36)
    assert (root / "metadata.csv").stat().st_mtime_ns == before and len(again) == len(train)
    with pytest.raises(ValueError, match="another"):
        synthetic_clips(root, rotation=1, train=36, seed=1)
