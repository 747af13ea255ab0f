"""Scores and deaf controls: a model that hears must pass, one that does not must be found out."""

import numpy as np
import pytest
import torch
from torch import nn

from gavs_lib.gavs import Output
from gavs_lib.lab.evaluate import (
    MixingDesk,
    box_prompted,
    guesses,
    interval,
    nearest_distractor,
    sam_oracle,
    score,
    score_boxes,
    shuffled,
    silent,
    swap_test,
)
from gavs_lib.lab.features import extract_features
from gavs_lib.lab.toyshop import toyshop_features
from gavs_lib.lab.twin import twin_clips
from gavs_lib.metrics import summarize_iou
from gavs_lib.sam import build_sam
from gavs_lib.vggish import VGGish
from gavs_lib.world.folder import ClipRecipe, recipes
from gavs_lib.world.objects import Toy
from gavs_lib.world.scenes import PlacedToy, Scene, mix, render_frames, render_stems, sounding_mask


class Pretender(nn.Module):
    """Answers with masks it was given, cut to the decoder's size: [toys or clips, T, 128, 128] bool."""

    caches_prefix = True

    def __init__(self, answers=None):
        super().__init__()
        self.sam = build_sam("mini")
        self.tune_from = 0
        self.answers = answers

    def encode_prefix(self, images):
        return torch.zeros(*images.shape[:2], 16, 16, 128)

    def forward(self, images, audio, prefix=None):
        logits = torch.as_tensor(self.answers).float()[..., ::2, ::2] * 20 - 10
        return Output(logits, None, torch.zeros(logits.shape[:2]))


def scene_of(*toys, sounding=0):
    placed = tuple(PlacedToy(toy, 45 * (i % 2), 60 * (i // 2), 100 + i) for i, toy in enumerate(toys))
    on = tuple((i == sounding,) * 5 for i in range(len(toys)))
    return ClipRecipe("v1s", "test", 0, Scene(placed, on, 3, 20.0, False))


@pytest.fixture(scope="module")
def two():
    return scene_of(Toy("bell", "small", "wood"), Toy("drum", "small", "glass"))


def test_a_model_that_follows_the_voice_passes_the_swap_test(two):
    model = Pretender(render_frames(two.scene).masks)
    (row,) = swap_test(model, VGGish.mini(), [two]).to_dict("records")
    assert row["moves"] and row["follows_first"] and row["follows_second"]
    assert row["voiced"] > 0.8 and row["factors_apart"] == 2 and not row["same_family"]


def test_one_mask_for_every_voice_never_moves(two):
    masks = render_frames(two.scene).masks
    for fixed in (masks[0], masks[1], masks.any(0), np.zeros_like(masks[0])):
        (row,) = swap_test(Pretender(np.stack([fixed, fixed])), VGGish.mini(), [two]).to_dict("records")
        assert not row["moves"]


def test_answers_given_to_the_wrong_voices_do_not_count(two):
    (row,) = swap_test(Pretender(render_frames(two.scene).masks[::-1].copy()), VGGish.mini(), [two]).to_dict("records")
    assert not row["follows_first"] and not row["follows_second"]


def test_a_swap_test_has_a_row_for_every_pair(two):
    three = scene_of(*two.scene.toys, Toy("bell", "large", "wood"))
    table = swap_test(Pretender(render_frames(three.scene).masks), VGGish.mini(), [three])
    assert len(table) == 3 and table["same_family"].sum() == 1
    assert table.set_index("same_family").loc[True, "factors_apart"] == 1


def test_guesses_by_hand(two):
    masks = render_frames(two.scene).masks
    areas = masks.sum((2, 3)).astype(float)  # [2 toys, 5 frames], disjoint
    (row,) = guesses([two]).to_dict("records")
    # The first toy sounds: naming it scores 1, naming the other 0; both together score area / total area, per frame.
    assert row["random"] == pytest.approx(0.5, abs=1e-6)
    assert row["largest"] == pytest.approx(float(areas[0].sum() > areas[1].sum()), abs=1e-6)
    assert row["everything"] == pytest.approx((areas[0] / areas.sum(0)).mean(), abs=1e-4)


def test_exclusion_names_the_toys_of_unseen_classes():
    # Rotation 0: of the bells, small wood, small metal, large glass are seen (classes.py).
    seen, unseen = Toy("bell", "small", "wood"), Toy("bell", "large", "wood")
    assert guesses([scene_of(seen, unseen, sounding=1)])["exclusion"][0] == pytest.approx(1)
    assert guesses([scene_of(seen, unseen, sounding=0)])["exclusion"][0] == pytest.approx(0)


def test_nearest_distractor_by_hand():
    bell = Toy("bell", "small", "wood")
    assert nearest_distractor(scene_of(bell, Toy("drum", "small", "wood"))) == "other family"
    assert nearest_distractor(scene_of(bell, Toy("bell", "large", "wood"))) == "differing in one factor"
    assert nearest_distractor(scene_of(bell, Toy("bell", "small", "glass"))) == "differing in one factor"
    assert nearest_distractor(scene_of(bell, Toy("bell", "large", "glass"))) == "same family"


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    parts = {("v1s", "test"): 6, ("v1m", "test"): 4}
    return toyshop_features(parts, Pretender(), VGGish.mini(), tmp_path_factory.mktemp("cache"))


def test_perfect_masks_score_one_and_no_masks_score_the_silent_seconds(features):
    made, clips = features
    truth = [sounding_mask(r.scene, render_frames(r.scene).masks) for r in made]
    perfect = score(Pretender(np.stack(truth)), clips, batch_size=len(clips))
    assert (perfect["miou"] > 0.85).all()  # the decoder has half the resolution
    empty = score(Pretender(np.zeros((len(clips), 5, 128, 128))), clips, batch_size=len(clips))
    silent_share = [np.mean([not mask.any() for mask in masks]) for masks in truth]
    assert empty["miou"].to_numpy() == pytest.approx(silent_share, abs=1e-6)


def test_shuffled_sound_shares_no_class_and_silence_is_one_embedding(features):
    made, clips = features
    other = shuffled(clips, seed=1)
    for row, recipe in enumerate(made):
        donors = [i for i in range(len(made)) if torch.equal(clips.audio[i], other.audio[row])]
        assert donors and all(not set(made[d].scene.heard) & set(recipe.scene.heard) for d in donors)
    flat = silent(clips, VGGish.mini()).audio.flatten(0, 1)
    assert torch.equal(flat, flat[:1].expand_as(flat))


def test_shuffling_clips_that_all_share_a_class_is_refused(features):
    made, clips = features
    with pytest.raises(ValueError, match="add clips"):
        shuffled(clips.subset([0]))


def test_a_box_needs_one_toy_and_gives_a_score():
    clips = list(recipes("v1s", "test", 2))
    assert box_prompted(build_sam("mini"), clips)["miou"].between(0, 1).all()
    with pytest.raises(ValueError, match="one box takes one toy"):
        box_prompted(build_sam("mini"), list(recipes("v1m", "test", 1)))


def test_the_oracle_picks_sams_best_mask_of_each_frame(two, monkeypatch):
    masks = render_frames(two.scene).masks  # [2 toys, 5 frames], disjoint; the first toy sounds
    half = masks[0].copy()
    half[:, ::2] = False
    offers = iter(
        [
            [masks[1, 0], masks[0, 0]],  # the right one among others: 1
            [masks[1, 1]],  # nothing right: an empty mask scores no less, 0
            [],  # nothing at all: 0
            [half[3], masks[1, 3]],  # every other row
            [masks[:, 4].any(0)],  # both toys as one
        ]
    )
    monkeypatch.setattr(
        "segment_anything.SamAutomaticMaskGenerator.generate",
        lambda generator, frame: [{"segmentation": mask} for mask in next(offers)],
    )
    (row,) = sam_oracle(build_sam("mini"), [two]).to_dict("records")
    rows, both = half[3].sum() / masks[0, 3].sum(), masks[0, 4].sum() / masks[:, 4].sum()
    assert row["miou"] == pytest.approx((1 + 0 + 0 + rows + both) / 5, abs=1e-5)
    assert row["masks"] == pytest.approx(6 / 5) and row["uid"] == two.uid


def test_the_oracle_is_right_where_nothing_sounds(two, monkeypatch):
    monkeypatch.setattr(
        "segment_anything.SamAutomaticMaskGenerator.generate",
        lambda generator, frame: [{"segmentation": np.ones(frame.shape[:2], dtype=bool)}],
    )
    assert sam_oracle(build_sam("mini"), [scene_of(*two.scene.toys, sounding=-1)])["miou"][0] == 1


def test_sams_automatic_masks_hold_the_toy_but_not_at_sams_own_thresholds():
    clips, sam = list(recipes("v1s", "test", 1, seed=3)), build_sam("mini", "shipped")
    ours, official = sam_oracle(sam, clips), sam_oracle(sam, clips, quality=0.88, stability=0.95)
    assert ours["miou"][0] > 0.6 and ours["masks"][0] > 3
    assert official["masks"][0] < 1


def test_the_interval_of_equal_values_is_a_point_and_grows_with_spread():
    assert interval([0.5] * 20) == (0.5, 0.5)
    low, high = interval([0, 1] * 50)
    assert 0.35 < low < 0.5 < high < 0.65


def test_the_releases_threshold_reaches_the_score(tmp_path):
    unsure = Pretender(torch.full((2, 5, 128, 128), 0.49))  # a logit of -0.2, a probability of 0.45, everywhere
    _, features = toyshop_features({("v1s", "test"): 2}, unsure, VGGish.mini(), tmp_path)
    assert (score(unsure, features)["miou"] == 0).all()
    assert (score(unsure, features, threshold=0.4)["miou"] > 0).all()


# ------------------------------------------------------------------------------------------- mixing desk


def test_a_voice_alone_on_the_desk_is_the_toy_playing_alone(two):
    desk = MixingDesk(Pretender(render_frames(two.scene).masks), VGGish.mini(), two)
    heard, probability = desk.play(np.eye(2))
    for toy in range(2):
        assert np.array_equal(heard[toy], mix(two.scene.playing(toy)))
    assert probability.shape == (2, 5, 128, 128)


def test_with_every_voice_out_the_noise_is_left(two):
    desk = MixingDesk(Pretender(np.zeros((1, 5, 128, 128))), VGGish.mini(), two)
    assert np.array_equal(desk.play([[0, 0]])[0][0], mix(two.scene.playing(None)))


def test_the_desk_adds_what_the_levels_say(two):
    desk = MixingDesk(Pretender(np.zeros((1, 5, 128, 128))), VGGish.mini(), two)
    heard = desk.play([[0.5, 0.25]])[0][0]
    first, second = render_stems(two.scene)
    noise = mix(two.scene.playing(None))
    assert np.allclose(heard, 0.5 * first + 0.25 * second + noise, atol=1e-6)


@pytest.mark.parametrize("levels", [[[1.0]], [[1.0, -0.1]], [[1.0, float("nan")]], [[1.0, float("inf")]], [1.0, 0.0]])
def test_levels_that_the_desk_does_not_have_are_refused(two, levels):
    desk = MixingDesk(Pretender(), VGGish.mini(), two)
    with pytest.raises(ValueError, match="expected settings of 2 levels, 0 or more, one for each of small-wood-bell"):
        desk.play(levels)


# ---- boxes -----------------------------------------------------------------------------------------------------------


class Drawer(nn.Module):
    """Answers with the logits it was given, [clips, 1, h, w]."""

    caches_prefix = True
    encode_prefix = Pretender.encode_prefix

    def __init__(self, logits):
        super().__init__()
        self.sam = build_sam("mini")
        self.tune_from = 0
        self.logits = logits

    def forward(self, images, audio, prefix=None):
        return Output(self.logits, None, torch.zeros(self.logits.shape[:2]))


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    _, clips = twin_clips(3)
    return clips, extract_features(clips, Pretender(), VGGish.mini(), tmp_path_factory.mktemp("boxes"), progress=False)


def test_box_scores_are_those_of_counting_pixels(boxed):
    """Against a slow reference: 224 x 224 pixels one by one, of logits that need no enlarging."""
    clips, features = boxed
    logits = torch.randn(3, 1, 224, 224, generator=torch.Generator().manual_seed(0)) - 0.5
    table = score_boxes(Drawer(logits), features, batch_size=3)
    for row, clip, values in zip(table.to_dict("records"), clips, logits[:, 0].flatten(1).tolist()):
        inside = clip.masks[0].flatten().tolist()
        median = sorted(values)[len(values) // 2]
        for name, marked in (("iou", [v > 0 for v in values]), ("iou_median", [v > median for v in values])):
            both = sum(a and b for a, b in zip(marked, inside))
            either = sum(a or b for a, b in zip(marked, inside))
            assert row[name] == pytest.approx(both / either, abs=1e-9), name
        assert row["whole_picture"] == pytest.approx(sum(inside) / 224**2, abs=1e-9)
        assert (row["uid"], row["label"]) == (clip.uid, clip.a_obj)
    high = score_boxes(Drawer(logits), features, threshold=0.9, batch_size=3)
    assert (high["iou"] != table["iou"]).all() and (high["iou_median"] == table["iou_median"]).all()


def test_the_filled_boxes_themselves_score_one(boxed):
    clips, features = boxed
    logits = torch.from_numpy(np.stack([clip.masks for clip in clips])).float() * 20 - 10
    table = score_boxes(Drawer(logits), features, batch_size=3)
    assert summarize_iou(torch.tensor(table["iou"].to_numpy())) == (1.0, 1.0, 1.0)
    nothing = score_boxes(Drawer(torch.full_like(logits, -10)), features, batch_size=3)
    assert (nothing["iou"] == 0).all()


def test_clips_of_several_seconds_are_not_scored_by_boxes(features):
    made, clips = features
    model = Pretender(np.stack([sounding_mask(r.scene, render_frames(r.scene).masks) for r in made]))
    with pytest.raises(ValueError, match="5 labelled frames; expected the one picture"):
        score_boxes(model, clips, batch_size=len(clips))
