"""GAVS as a whole: exactness against SAM, the cached prefix, what trains, what is shipped, and wrong shapes."""

import pytest
import torch
from small_models import clip, lively_sam, randomize_trained
from torch import nn

from gavs_lib.adapters import BottleneckAdapter
from gavs_lib.decoder import decode_masks
from gavs_lib.gavs import GAVS, GAVSConfig


class FixedPrompt(nn.Module):
    """Tokens that depend on nothing, as a user's own prompt might be."""

    def __init__(self, tokens=1):
        super().__init__()
        self.tokens = nn.Parameter(torch.linspace(-2, 2, 128 * tokens).view(tokens, 128))

    def forward(self, image_embedding, audio):
        return self.tokens.expand(len(audio), -1, -1), None


def sam_decodes(sam, image, tokens):
    """Mask logits and IoU of one picture [3, S, S] by SAM's own modules, for given prompt tokens [1, K, C]."""
    embedding = sam.image_encoder(((image - sam.pixel_mean) / sam.pixel_std)[None])
    dense = sam.prompt_encoder(None, None, None)[1]
    return sam.mask_decoder(embedding, sam.prompt_encoder.get_dense_pe(), tokens, dense, multimask_output=False)


def test_untrained_adapters_leave_sam_unchanged_for_the_same_tokens():
    images, audio = clip(1, 1)
    model = GAVS(lively_sam(), prompt=FixedPrompt())
    with torch.no_grad():
        masks, iou = sam_decodes(lively_sam(), images[0, 0], model.prompt.tokens[None])
        output = model(images, audio)
    assert torch.equal(output.mask_logits, masks) and torch.equal(output.iou, iou)


@pytest.mark.parametrize("size", [64, 192])
def test_frames_of_a_batch_give_what_sam_gives_one_by_one_at_other_sizes(size):
    images, audio = clip(2, 2, size)
    model, sam = GAVS(lively_sam(size), prompt=FixedPrompt()), lively_sam(size)
    with torch.no_grad():
        output = model(images, audio)
        for b in range(2):
            for t in range(2):
                masks, iou = sam_decodes(sam, images[b, t], model.prompt.tokens[None])
                torch.testing.assert_close(output.mask_logits[b, t], masks[0, 0], rtol=1e-5, atol=1e-5)
                torch.testing.assert_close(output.iou[b, t], iou[0, 0], rtol=1e-5, atol=1e-5)


def test_clips_do_not_influence_each_other_and_the_output_is_named():
    images, audio = clip(2, 3)
    model = GAVS(lively_sam())
    randomize_trained(model)
    with torch.no_grad():
        output, alone = model(images, audio), model(images[1:], audio[1:])
    assert output.mask_logits.shape == (2, 3, 64, 64)
    assert output.visual_cue.shape == (2, 3, 128) and output.iou.shape == (2, 3)
    torch.testing.assert_close(output.mask_logits[1:], alone.mask_logits, rtol=1e-4, atol=1e-5)


def test_the_audio_reaches_the_mask():
    images, audio = clip(1, 1)
    model = GAVS(lively_sam())
    with torch.no_grad():
        assert not torch.allclose(model(images, audio).mask_logits, model(images, -audio).mask_logits, atol=1e-4)


@pytest.mark.parametrize("tune_from", [None, 0, 6])
def test_a_cached_prefix_gives_exactly_the_same(tune_from):
    images, audio = clip(2, 2)
    model = GAVS(lively_sam(), GAVSConfig(tune_from=tune_from))
    randomize_trained(model)
    prefix = model.encode_prefix(images)
    assert prefix.shape == (2, 2, 16, 16, 128) and not prefix.requires_grad
    whole, resumed = model(images, audio), model(None, audio, prefix=prefix)
    assert all(torch.equal(a, b) for a, b in zip(whole[:3], resumed[:3])) and whole.region is resumed.region is None
    whole.mask_logits.sum().backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    resumed.mask_logits.sum().backward()
    assert all(torch.equal(grads[name], p.grad) for name, p in model.named_parameters() if p.grad is not None)


def test_the_prefix_does_not_depend_on_what_trains_and_half_precision_is_taken():
    images, audio = clip()
    model = GAVS(lively_sam())
    before = model.encode_prefix(images)
    randomize_trained(model)
    assert torch.equal(model.encode_prefix(images), before)
    assert model(None, audio, prefix=before.half()).mask_logits.dtype == torch.float32


def gradients_within_two_steps(model):
    """Names of the parameters that received a gradient other than zero in either of two optimiser steps."""
    images, audio = clip(2, 2)
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(2, 2, 64, 64, generator=generator).round()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    reached = set()
    model.train()
    for _ in range(2):
        output = model(images, audio)
        loss = nn.functional.binary_cross_entropy_with_logits(output.mask_logits, target)
        if output.visual_cue is not None:
            loss = loss + (output.visual_cue - audio).square().mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
        reached |= {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        optimizer.step()
    return reached


@pytest.mark.parametrize("noise", ["parameter", "gaussian", "none"])
def test_gradients_reach_exactly_what_the_summary_lists(noise):
    model = GAVS(lively_sam(), GAVSConfig(noise=noise, mask_embedding_residual=noise == "none"))
    assert gradients_within_two_steps(model) == set(model.trainable_summary().names)


def test_training_changes_nothing_that_is_frozen():
    model, before = GAVS(lively_sam()), lively_sam().state_dict()
    gradients_within_two_steps(model)
    after = model.sam.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    norms = {f"image_encoder.blocks.{i}.norm{j}.{k}" for i in (3, 4, 5) for j in (1, 2) for k in ("weight", "bias")}
    assert changed == norms


def test_what_trains_is_the_prompt_cola_the_visual_adapters_and_their_norms():
    summary = GAVS(lively_sam(), GAVSConfig(tune_from=4)).trainable_summary()
    # blocks 4 and 5: two norms of 2 * 128; adapters 128 x 128 + 128 down and up; the same again in the decoder's layers
    assert {name: sum(group.values()) for name, group in summary.groups.items()} == {
        "layer norms of these blocks": 2 * 2 * 2 * 128,
        "visual adapters": 2 * 2 * (128 * 128 + 128),
        "ColA": 2 * 2 * (128 * 128 + 128),
        "prompt": 128 + (128 * 512 + 512) + (512 * 128 + 128) + (384 * 512 + 512) + (512 * 128 + 128),
    }
    assert "ColA" in str(summary) and f"{summary.trained:,}" in str(summary)


def test_an_adapter_on_the_embedding_starts_as_nothing_and_trains():
    images, audio = clip(1, 2)
    model, plain = GAVS(lively_sam(), GAVSConfig(embedding_width=8)), GAVS(lively_sam())
    plain.prompt.load_state_dict(model.prompt.state_dict())
    with torch.no_grad():
        assert torch.equal(model(images, audio).mask_logits, plain(images, audio).mask_logits)
    assert gradients_within_two_steps(model) == set(model.trainable_summary().names)
    assert sum(model.trainable_summary().groups["embedding_adapter"].values()) == 2 * 128 * 8 + 8 + 128


def test_ablations_leave_out_what_they_name():
    bare = GAVSConfig(adapter_width=0, cola_width=0, cue=False, noise="none")
    assert set(GAVS(lively_sam(), bare).trainable_summary().groups) == {"prompt"}
    whole_depth = GAVSConfig(tune_from=6)
    assert set(GAVS(lively_sam(), whole_depth).trainable_summary().groups) == {"prompt", "ColA"}


WAYS_TO_TUNE = {
    "freeze": {},
    "whole decoder": {"whole_decoder": True},
    "AV": {"av_width": 16},
    "VA": {"va_width": 16},
    "ColA": {"cola_width": 16},
    "all three": {"cola_width": 16, "av_width": 16, "va_width": 16},
}


def tuned(way, **settings):
    bare = {"adapter_width": 0, "cola_width": 0, "cue": False, "noise": "none"}
    return GAVSConfig(**(bare | WAYS_TO_TUNE[way] | settings))


@pytest.mark.parametrize("way", WAYS_TO_TUNE)
def test_however_its_decoder_is_tuned_an_untrained_model_is_sam_for_the_same_tokens(way):
    images, audio = clip(1, 1)
    model = GAVS(lively_sam(), tuned(way), prompt=FixedPrompt())
    with torch.no_grad():
        masks, iou = sam_decodes(lively_sam(), images[0, 0], model.prompt.tokens[None])
        output = model(images, audio)
    assert torch.equal(output.mask_logits, masks) and torch.equal(output.iou, iou)


@pytest.mark.parametrize("way", WAYS_TO_TUNE)
def test_however_the_decoder_is_tuned_gradients_reach_exactly_what_the_summary_lists(way):
    model = GAVS(lively_sam(), tuned(way))
    assert gradients_within_two_steps(model) == set(model.trainable_summary().names)


def test_ways_to_tune_the_decoder_train_what_they_name():
    counts = {}
    for way in WAYS_TO_TUNE:
        groups = GAVS(lively_sam(), tuned(way)).trainable_summary().groups
        counts[way] = {name: sum(group.values()) for name, group in groups.items() if name != "prompt"}
    bottlenecks = 2 * (2 * 128 * 16 + 128 + 16)  # in each of two layers: down, up and their biases
    decoder = lively_sam().mask_decoder
    # A head of three layers for each mask token: 128 -> 128 -> 128 -> 16; of the IoU: 128 -> 128 -> 128 -> 4.
    unread = 3 * (2 * (128 * 128 + 128) + 128 * 16 + 16) + 2 * (128 * 128 + 128) + 128 * 4 + 4
    assert counts == {
        "freeze": {},
        "whole decoder": {"mask decoder": sum(p.numel() for p in decoder.parameters()) - unread},
        "AV": {"AV adapters": bottlenecks},
        "VA": {"VA adapters": bottlenecks},
        "ColA": {"ColA": bottlenecks},
        "all three": {"ColA": bottlenecks, "AV adapters": bottlenecks, "VA adapters": bottlenecks},
    }


@pytest.mark.parametrize("way", ["whole decoder", "all three"])
def test_a_tuned_decoder_is_part_of_the_trained_state(way):
    images, audio = clip()
    trained, fresh = GAVS(lively_sam(), tuned(way)), GAVS(lively_sam(), tuned(way))
    randomize_trained(trained)
    fresh.load_trained_state(trained.trained_state())
    assert set(trained.trained_state()) == set(trained.trainable_summary().names)
    with torch.no_grad():
        assert torch.equal(trained(images, audio).mask_logits, fresh(images, audio).mask_logits)


def test_trained_state_carries_a_model_over_and_nothing_of_the_frozen_sam():
    images, audio = clip()
    trained, fresh = GAVS(lively_sam()), GAVS(lively_sam())
    randomize_trained(trained)
    state = trained.trained_state()
    assert set(state) == set(trained.trainable_summary().names)
    fresh.load_trained_state(state)
    with torch.no_grad():
        assert torch.equal(trained(images, audio).mask_logits, fresh(images, audio).mask_logits)


def test_a_trained_state_that_does_not_fit_is_refused_whole():
    model, narrow = GAVS(lively_sam()), GAVS(lively_sam(), GAVSConfig(cola_width=16))
    before = {name: value.clone() for name, value in model.trained_state().items()}
    other = narrow.trained_state()
    with pytest.raises(ValueError, match=r"adapter.down.weight is \[16, 128\], expected \[128, 128\]"):
        model.load_trained_state(other)
    with pytest.raises(ValueError, match="prompt.noise is missing"):
        model.load_trained_state({name: value for name, value in before.items() if name != "prompt.noise"})
    with pytest.raises(ValueError, match="surplus is unknown here"):
        model.load_trained_state(before | {"surplus": torch.zeros(1)})
    assert all(torch.equal(before[name], value) for name, value in model.trained_state().items())


def test_an_official_checkpoint_still_loads_under_its_own_names_after_wrapping():
    model, checkpoint = GAVS(lively_sam()), lively_sam(seed=5).state_dict()
    report = model.sam.load_state_dict(checkpoint, strict=False)
    assert not report.unexpected_keys
    assert all(".adapter." in name for name in report.missing_keys)


def test_the_users_own_parts_are_used_and_train():
    class Gate(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.gain = nn.Parameter(torch.zeros(dim))

        def forward(self, x):
            return self.gain * x

    model = GAVS(lively_sam(), prompt=FixedPrompt(tokens=2), adapter=Gate)
    expected = {"prompt.tokens"} | {f"sam.image_encoder.blocks.{i}.mlp.adapter.gain" for i in (3, 4, 5)}
    own = {name for name in model.trainable_summary().names if "tokens" in name or "gain" in name}
    assert own == expected
    assert gradients_within_two_steps(model) == set(model.trainable_summary().names)
    assert set(model.trained_state()) == set(model.trainable_summary().names)


def test_an_adapter_given_as_a_module_is_copied_for_each_block():
    mine = BottleneckAdapter(128, 8)
    model = GAVS(lively_sam(), adapter=mine)
    own = [block.mlp.adapter for block in model.sam.image_encoder.blocks[3:]]
    assert len({id(adapter) for adapter in [mine, *own]}) == 4
    assert all(torch.equal(adapter.down.weight, mine.down.weight) for adapter in own)
    assert gradients_within_two_steps(model) == set(model.trainable_summary().names)
    with pytest.raises(ValueError, match="adapter_width is 0"):
        GAVS(lively_sam(), GAVSConfig(adapter_width=0), adapter=mine)


def test_a_prompt_may_return_tokens_alone_and_wrong_ones_are_named():
    class Tokens(nn.Module):
        def __init__(self, shape):
            super().__init__()
            self.shape = shape
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, image_embedding, audio):
            return self.weight.expand(self.shape)

    images, audio = clip(2, 2)
    output = GAVS(lively_sam(), prompt=Tokens((4, 3, 128)))(images, audio)
    assert output.visual_cue is None and output.mask_logits.shape == (2, 2, 64, 64)
    with pytest.raises(ValueError, match=r"tokens are \[4, 128\]; expected \[4, K, 128\]"):
        GAVS(lively_sam(), prompt=Tokens((4, 128)))(images, audio)


def test_an_untrained_gavs_decodes_a_batch_as_sam_does_bit_for_bit():
    images, audio = clip(2, 2)
    model, sam = GAVS(lively_sam()), lively_sam()
    with torch.no_grad():
        embedding = sam.image_encoder((images.flatten(0, 1) - sam.pixel_mean) / sam.pixel_std)
        tokens, _ = model.prompt(embedding, audio.flatten(0, 1))
        _, dense = sam.prompt_encoder(None, None, None)
        masks, iou = decode_masks(sam.mask_decoder, embedding, sam.prompt_encoder.get_dense_pe(), tokens, dense)
        output = model(images, audio)
    assert torch.equal(output.mask_logits.flatten(0, 1), masks) and torch.equal(output.iou.flatten(), iou)


def test_bytes_and_double_precision_are_taken():
    images, audio = clip()
    model = GAVS(lively_sam())
    images = images.round()
    with torch.no_grad():
        expected = model(images, audio).mask_logits
        assert torch.equal(model(images.to(torch.uint8), audio).mask_logits, expected)
        assert torch.equal(model(images.double(), audio.double()).mask_logits, expected)


def test_padding_is_kept_out_of_the_visual_cue():
    images, audio = clip()
    model = GAVS(lively_sam())
    visible = torch.ones(1, 2, 16, 16)
    with torch.no_grad():
        all_of_it, none_given = model(images, audio, visible=visible), model(images, audio)
        visible[:, :, 8:] = 0
        half = model(images, audio, visible=visible)
    torch.testing.assert_close(all_of_it.visual_cue, none_given.visual_cue)
    assert not torch.allclose(half.visual_cue, none_given.visual_cue)


def test_wrong_shapes_are_named():
    images, audio = clip()
    model = GAVS(lively_sam())
    with pytest.raises(ValueError, match=r"images are \[1, 2, 3, 64, 64\]; expected \[B, T, 3, 128, 128\]"):
        model(images[..., :64, :64], audio)
    with pytest.raises(ValueError, match=r"images are \[2, 3, 128, 128\]"):
        model(images[0], audio)
    with pytest.raises(ValueError, match=r"audio is \[1, 1, 128\]; expected \[1, 2, 128\]"):
        model(images, audio[:, :1])
    with pytest.raises(ValueError, match=r"prefix is \[1, 2, 16, 16, 64\]; expected \[B, T, 16, 16, 128\]"):
        model(None, audio, prefix=torch.zeros(1, 2, 16, 16, 64))
    with pytest.raises(ValueError, match=r"visible is \[1, 2, 128, 128\]; expected \[1, 2, 16, 16\]"):
        model(images, audio, visible=torch.ones(1, 2, 128, 128))
    with pytest.raises(ValueError, match="Neither images nor a prefix"):
        model(None, audio)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="tune_from is 7; this SAM has 6 blocks, expected 0 to 6"):
        GAVS(lively_sam(), GAVSConfig(tune_from=7))
    with pytest.raises(ValueError, match="noise is 'pink'"):
        GAVSConfig(noise="pink")
    with pytest.raises(ValueError, match="cola_width is -1"):
        GAVSConfig(cola_width=-1)
    with pytest.raises(ValueError, match="va_width is -2; expected 0"):
        GAVSConfig(va_width=-2)
    for config in (GAVSConfig(), tuned("AV")):
        sam = lively_sam()
        GAVS(sam, config)
        with pytest.raises(ValueError, match="carries adapters already"):
            GAVS(sam)
