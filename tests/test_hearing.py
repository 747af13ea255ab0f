"""The shipped models hear: asserted on clips that no training and no choice has seen.

Bounds are the course's promises; other seeds draw other clips, so the tests leave room for chance in neither direction
but measure enough clips that a promise kept on average is kept here.
"""

import pytest
import torch

from gavs_lib._shipped import shipped_weights
from gavs_lib.lab.evaluate import box_prompted, guesses, nearest_distractor, score, shuffled, silent, swap_test
from gavs_lib.lab.shipped import KINDS, SMALL, load_model
from gavs_lib.lab.toyshop import toyshop_features
from gavs_lib.lab.train import collate
from gavs_lib.lab.weights import hash_tensors, load_tensors, verify_shipped
from gavs_lib.sam import build_sam
from gavs_lib.vggish import load_vggish
from gavs_lib.world.classes import class_split
from gavs_lib.world.folder import fingerprint

SEED = 20261  # of the test clips; nothing was trained or chosen on it
CLIPS = 80


@pytest.fixture(scope="module")
def ear():
    return load_vggish("mini")


@pytest.fixture(scope="module")
def models():
    return {kind: load_model(kind)[0] for kind in ("gavs", "gavs_deaf")}


@pytest.fixture(scope="module")
def drawn(models, ear, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    parts = [("v1s", "test"), ("v1m", "test"), ("v1s", "unseen_test")]
    return {part: toyshop_features({part: CLIPS}, models["gavs"], ear, cache, seed=SEED) for part in parts}


@pytest.fixture(scope="module")
def hearing(models, drawn):
    return {part: score(models["gavs"], features)["miou"].mean() for part, (_, features) in drawn.items()}


@pytest.fixture(scope="module")
def deaf(models, drawn, ear):
    return {
        part: score(models["gavs_deaf"], silent(features, ear))["miou"].mean() for part, (_, features) in drawn.items()
    }


@pytest.fixture(scope="module")
def pairs(models, drawn, ear):
    """Swap tests on scenes with a same-family pair or two, and enough of other pairs."""
    return {split: swap_test(models["gavs"], ear, drawn["v1s", split][0]) for split in ("test", "unseen_test")}


def test_every_shipped_file_is_whole_and_knows_this_world():
    assert verify_shipped() == []
    stale = [
        name
        for name in ("sam_mini", "vggish_mini", *KINDS)
        if load_tensors(shipped_weights(name))[1]["world"] != fingerprint()
    ]
    ear = hash_tensors(load_vggish("mini").state_dict())
    others = [name for name in KINDS if load_tensors(shipped_weights(name))[1]["inputs"]["vggish"] != ear]
    assert not others, f"trained with another VGGish-mini than the shipped one: {', '.join(others)}"
    assert not stale, f"made in another world than {fingerprint()}: {', '.join(stale)}; train them again"


def test_what_ships_stays_small():
    sizes = {name: shipped_weights(name).stat().st_size for name in ("sam_mini", "vggish_mini", *KINDS)}
    assert all(sizes[kind] <= 2_000_000 for kind in KINDS), sizes
    assert sum(sizes.values()) <= 20_000_000, sizes


@pytest.mark.parametrize("kind, least", [("save", 0.58), ("sama_avs", 0.55), ("joint", 0.62)])
def test_save_and_its_relatives_hear_in_small_pictures(kind, least, ear, tmp_path):
    model, notes = load_model(kind)
    assert model.sam.image_encoder.img_size == SMALL == notes["inputs"]["image_size"]
    made, features = toyshop_features({("v1s", "test"): CLIPS}, model, ear, tmp_path, seed=SEED)
    right = score(model, features)["miou"].mean()
    assert right >= least
    assert score(model, shuffled(features))["miou"].mean() < right - 0.25
    assert score(model, silent(features, ear))["miou"].mean() < right - 0.25
    moved = swap_test(model, ear, made[:40]).query("not same_family")["moves"]
    assert len(moved) > 40 and moved.mean() >= 0.7


@pytest.mark.parametrize(
    "kind, unseen, several, moving",
    [("save", 0.52, 0.58, 0.7), ("sama_avs", 0.45, 0.53, 0.65), ("joint", 0.58, 0.6, 0.75)],
)
def test_save_and_its_relatives_hear_unseen_classes_several_sounds_and_members_of_a_family(
    kind, unseen, several, moving, ear, tmp_path
):
    model = load_model(kind)[0]
    made, features = toyshop_features({("v1s", "unseen_test"): CLIPS}, model, ear, tmp_path, seed=SEED)
    right = score(model, features)["miou"].mean()
    assert right >= unseen
    assert score(model, shuffled(features))["miou"].mean() < right - 0.25
    _, of_several = toyshop_features({("v1m", "test"): CLIPS}, model, ear, tmp_path, seed=SEED)
    assert score(model, of_several)["miou"].mean() >= several
    of_one_family = swap_test(model, ear, made).query("same_family")["moves"]
    assert len(of_one_family) >= 20 and of_one_family.mean() >= moving


def test_the_joint_model_looks_where_the_sound_is(ear, tmp_path):
    model = load_model("joint")[0]
    _, features = toyshop_features({("v1s", "unseen_test"): CLIPS}, model, ear, tmp_path, seed=SEED)
    batch = collate([features[i] for i in range(CLIPS)])
    with torch.no_grad():
        places = model(None, batch["audio"], prefix=batch["prefix"].float()).region.exp()
    assert torch.allclose(places.sum(dim=(2, 3)), torch.ones(()), atol=1e-3)
    covered = torch.nn.functional.interpolate(batch["masks"].float(), size=places.shape[-2:], mode="area")
    assert (places * covered).sum(dim=(2, 3)).mean() > 3 * covered.mean(), "of unseen classes as well"


def test_gavs_scores_30_points_more_than_its_deaf_twin_on_single_sources(hearing, deaf):
    assert hearing["v1s", "test"] - deaf["v1s", "test"] >= 0.30


def test_gavs_scores_15_points_more_than_its_deaf_twin_on_several_sources(hearing, deaf):
    assert hearing["v1m", "test"] - deaf["v1m", "test"] >= 0.15


def test_wrong_sound_and_silence_cost_gavs_its_score(models, drawn, hearing, ear):
    _, features = drawn["v1s", "test"]
    assert score(models["gavs"], shuffled(features))["miou"].mean() < hearing["v1s", "test"] - 0.3
    assert score(models["gavs"], silent(features, ear))["miou"].mean() < hearing["v1s", "test"] - 0.3


def test_gavs_closes_most_of_the_gap_to_sam_prompted_by_the_true_box(drawn, hearing, deaf):
    made, _ = drawn["v1s", "test"]
    ceiling = box_prompted(build_sam("mini", checkpoint="shipped"), made)["miou"].mean()
    low = deaf["v1s", "test"]
    assert (hearing["v1s", "test"] - low) / (ceiling - low) >= 0.7


def test_the_mask_moves_to_the_toy_that_is_played(pairs):
    across = pairs["test"].query("not same_family")
    assert len(across) > 60
    assert across["moves"].mean() >= 0.85


def test_gavs_finds_toys_of_unseen_combinations(drawn, hearing):
    made, _ = drawn["v1s", "unseen_test"]
    assert hearing["v1s", "unseen_test"] >= 0.70
    assert hearing["v1s", "unseen_test"] > guesses(made)["exclusion"].mean() + 0.1


def test_the_mask_moves_between_unseen_toys_of_one_family(pairs):
    unseen = {toy.name for toy in class_split(0).unseen_test}
    within = pairs["unseen_test"]
    within = within[within["same_family"] & (within["first"].isin(unseen) | within["second"].isin(unseen))]
    assert len(within) >= 20
    assert within["moves"].mean() >= 0.80


def test_an_unseen_toy_beside_its_kin_is_still_found(models, drawn):
    made, features = drawn["v1s", "unseen_test"]
    kin = [i for i, recipe in enumerate(made) if nearest_distractor(recipe) != "other family"]
    assert len(kin) >= 15
    assert score(models["gavs"], features.subset(kin))["miou"].mean() >= 0.70


def test_two_loads_of_a_shipped_model_agree(models):
    again, notes = load_model("gavs")
    assert notes["kind"] == "GAVS" and notes["seed"] == 0
    audio, prefix = torch.randn(1, 1, 128), torch.randn(1, 1, 16, 16, 128)
    with torch.no_grad():
        assert torch.equal(
            again(None, audio, prefix=prefix).mask_logits, models["gavs"](None, audio, prefix=prefix).mask_logits
        )
