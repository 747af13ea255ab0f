"""The joint model: what of it is GAVS and SAM while untrained, its parts by hand, what trains, bad settings."""

import copy
import math

import pytest
import torch
from small_models import clip, lively_sam, randomize_trained
from test_gavs import gradients_within_two_steps

from gavs_lib import GAVS, GAVSConfig, build_sam
from gavs_lib.lab.joint import ClipContext, Joint, JointConfig, PointingPrompt, region_loss
from gavs_lib.lab.shipped import build_model, load_model
from gavs_lib.lab.weights import save_trained
from gavs_lib.prompt import SemanticAwareAudioPrompt

NARROW = {"adapter_width": 8, "cola_width": 8, "prompt_hidden": 16}
SWITCHES = {
    "early": {},
    "early, context": {"context": True},
    "early, points": {"points": 2},
    "points": {"early": False, "points": 1},
}


def joint(size=64, **changes):
    torch.manual_seed(3)
    return Joint(lively_sam(size), JointConfig(**NARROW, **changes))


@pytest.mark.parametrize("changes", SWITCHES.values(), ids=SWITCHES)
def test_an_untrained_model_encodes_exactly_as_sam_whatever_it_hears(changes):
    images, audio = clip(1, 2, 64)
    model, sam = joint(**changes), lively_sam(64)
    with torch.no_grad():
        expected = sam.image_encoder((images[0] - sam.pixel_mean) / sam.pixel_std)
        assert torch.equal(model._encode(images, audio, None, None)[0][0], expected)


def test_with_nothing_switched_on_it_is_gavs():
    images, audio = clip(1, 2, 64)
    torch.manual_seed(3)
    gavs = GAVS(lively_sam(64), GAVSConfig(**NARROW))
    with torch.no_grad():
        assert torch.equal(joint(early=False)(images, audio).mask_logits, gavs(images, audio).mask_logits)


def test_residuals_are_added_after_the_tuned_blocks_and_only_there():
    images, audio = clip(1, 2, 64)
    model = joint()
    randomize_trained(model)
    encoder = model.sam.image_encoder
    with torch.no_grad():
        x = model.encode_prefix(images)[0]
        for block, residual in zip(encoder.blocks[3:], model.audio_adapters(audio[0]), strict=True):
            x = block(x) + residual.view(2, 1, 1, 128)
        expected = encoder.neck(x.permute(0, 3, 1, 2))
        torch.testing.assert_close(model._encode(images, audio, None, None)[0][0], expected)
        assert torch.equal(model.encode_prefix(images), GAVS(lively_sam(64)).encode_prefix(images)), (
            "the prefix is deaf"
        )


@pytest.mark.parametrize("changes", SWITCHES.values(), ids=SWITCHES)
def test_gradients_reach_exactly_what_trains_within_two_steps(changes):
    model = joint(128, **changes)
    assert gradients_within_two_steps(model) == set(model.trainable_summary().names)


@pytest.mark.parametrize("changes", SWITCHES.values(), ids=SWITCHES)
def test_a_prefix_gives_the_same_as_the_pictures(changes):
    images, audio = clip(2, 3, 64)
    model = joint(**changes)
    randomize_trained(model)
    model.eval()
    with torch.no_grad():
        whole, cached = model(images, audio), model(None, audio, prefix=model.encode_prefix(images))
        assert torch.equal(whole.mask_logits, cached.mask_logits)


def test_context_hears_the_clip_and_nothing_that_does_not_exist():
    torch.manual_seed(0)
    context = ClipContext(8)
    audio = torch.randn(1, 4, 8)
    assert torch.equal(context(audio), audio), "untrained, it changes nothing"
    torch.nn.init.normal_(context.attention.out_proj.weight)
    exists = torch.tensor([[True, True, True, False]])
    other = audio.clone()
    other[0, 3] = 7.0
    heard = context(audio, exists)
    torch.testing.assert_close(context(other, exists)[0, :3], heard[0, :3])
    torch.testing.assert_close(context(audio[:, :3])[0], heard[0, :3])
    other = audio.clone()
    other[0, 2] = 7.0
    assert not torch.allclose(context(other, exists)[0, 0], heard[0, 0]), "another second of the clip is heard"
    order = [2, 0, 1]
    torch.testing.assert_close(context(audio[:, order])[0], context(audio[:, :3])[0][order])


def test_only_a_model_with_context_mixes_frames():
    images, audio = clip(1, 3, 64)
    changed = audio.clone()
    changed[0, 2] += 3.0
    for name, changes in SWITCHES.items():
        model = joint(**changes)
        randomize_trained(model)
        model.eval()
        with torch.no_grad():
            same = torch.allclose(model(images, audio).mask_logits[0, 0], model(images, changed).mask_logits[0, 0])
        assert same == model.framewise == (name != "early, context")


def pointing(points=1):
    torch.manual_seed(1)
    sam = lively_sam(64)
    prompt = PointingPrompt(SemanticAwareAudioPrompt(128, 128, 128, 16), sam.prompt_encoder, 128, points)
    return prompt, sam


def test_the_point_lies_where_the_sound_fits():
    prompt, sam = pointing()
    embedding = torch.randn(1, 128, 8, 8)
    with torch.no_grad():
        prompt.look.weight.copy_(torch.eye(128)[:, :, None, None])
        prompt.look.bias.zero_()
        prompt.hear[2].weight.zero_()
        prompt.hear[2].bias.copy_(embedding[0, :, 5, 2])  # what it listens for stands in row 5, column 2
        prompt.sharpness.fill_(math.log(1000.0))
        tokens, cue = prompt(embedding, torch.randn(1, 128))
        place = sam.prompt_encoder.get_dense_pe()[0, :, 5, 2]
        torch.testing.assert_close(tokens[0, 1], place + sam.prompt_encoder.point_embeddings[1].weight[0])
        token, expected_cue = prompt.sap(embedding[:, :, 5:6, 2:3], torch.zeros(1, 128))
        torch.testing.assert_close(cue, expected_cue)
    assert prompt.region[0].argmax() == 5 * 8 + 2


def test_what_the_sound_looks_for_is_a_distribution_over_the_picture_without_its_padding():
    prompt, _ = pointing(points=3)
    visible = torch.zeros(2, 8, 8)
    visible[:, :, :5] = 1
    tokens, _ = prompt(torch.randn(2, 128, 8, 8), torch.randn(2, 128), visible)
    assert tokens.shape == (2, 4, 128)
    shares = prompt.region.exp()
    torch.testing.assert_close(shares.sum(dim=(1, 2)), torch.ones(2), atol=1e-5, rtol=0)
    assert shares[:, :, 5:].max() < 1e-7


def test_the_region_loss_by_hand():
    uniform = torch.full((1, 2, 2, 2), math.log(0.25))
    masks = torch.zeros(1, 2, 4, 4)
    masks[0, 0, :2, :2] = 1  # one of four places
    labelled = torch.tensor([[True, True]])
    assert region_loss(uniform, masks, labelled).item() == pytest.approx(-math.log(0.25)), "the empty frame is left out"
    masks[0, 1, :2] = 1  # two of four places
    assert region_loss(uniform, masks, labelled).item() == pytest.approx(-(math.log(0.25) + math.log(0.5)) / 2)
    assert region_loss(uniform, masks, torch.tensor([[False, True]])).item() == pytest.approx(-math.log(0.5))
    sharp = torch.tensor([[[1 - 3e-8, 1e-8], [1e-8, 1e-8]]]).log()[None]
    half = torch.zeros(1, 1, 4, 4)
    half[0, 0, 0, :2] = 1  # it covers its place by half, and no map can do better than to point there
    assert region_loss(sharp, half, torch.ones(1, 1)).item() == pytest.approx(0, abs=1e-6)
    assert region_loss(uniform, torch.zeros(1, 2, 4, 4), labelled).item() == 0


def test_saved_and_loaded_it_draws_the_same(tmp_path):
    config = JointConfig(**NARROW, context=True, points=2)
    model = build_model("joint", config)
    randomize_trained(model)
    model.eval()
    save_trained(tmp_path / "joint.safetensors", model, {})
    again, _ = load_model("joint", tmp_path / "joint.safetensors")
    assert again.config == config
    images, audio = clip(1, 2)
    with torch.no_grad():
        assert torch.equal(model(images, audio).mask_logits, again(images, audio).mask_logits)


def test_early_injection_needs_a_block():
    with pytest.raises(ValueError, match="no block is tuned"):
        joint(tune_from=6)
    assert joint(tune_from=6, early=False).audio_adapters is None


def test_between_steps_no_graph_is_kept():
    images, audio = clip(1, 2, 64)
    model = joint(points=1)
    assert model(images, audio).region.requires_grad
    assert model.prompt.region is None and copy.deepcopy(model) is not model


@pytest.mark.parametrize(
    "changes, message", [({"points": -1}, "points is -1"), ({"points": 1, "cue": False}, "cue is False")]
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Joint(build_sam("mini"), JointConfig(**changes))
