"""SAVE, SAMA-AVS and AP-SAM: exactness against SAM, the equations on hand-computed cases, what trains, bad settings."""

import pytest
import torch
from small_models import clip, lively_sam, randomize_trained
from test_gavs import gradients_within_two_steps, sam_decodes
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gavs_lib import APSAM, SAMAAVS, SAVE, SAMAConfig, SAVEConfig, build_sam
from gavs_lib.save import AudioEncoderAdapter, ImageEncoderAdapter, ResidualAudioAdapter

NARROW = SAVEConfig(adapter_channels=8)
THIN = SAMAConfig(injection_width=24)


def all_encode(model, images, audio):
    """F_V of a model, [N, C, H, W]."""
    return model._encode(images, audio, None, None)[0].flatten(0, 1)


@pytest.mark.parametrize("size", [128, 64, 120])
@pytest.mark.parametrize("build, config", [(SAVE, NARROW), (SAMAAVS, THIN), (APSAM, NARROW)])
def test_an_untrained_model_encodes_exactly_as_sam_whatever_it_hears(build, config, size):
    images, audio = clip(1, 2, size)
    model, sam = build(lively_sam(size), config), lively_sam(size)
    with torch.no_grad():
        expected = sam.image_encoder((images[0] - sam.pixel_mean) / sam.pixel_std)
        assert torch.equal(all_encode(model, images, audio), expected)


def test_an_untrained_save_decodes_as_sam_for_the_same_tokens():
    images, audio = clip(1, 1)
    model = SAVE(lively_sam(), NARROW)
    with torch.no_grad():
        tokens = model.listen(torch.zeros(1, 128, 16, 16), audio[0], None)[1]
        masks, iou = sam_decodes(lively_sam(), images[0, 0], tokens)
        output = model(images, audio)
    assert torch.equal(output.mask_logits, masks) and torch.equal(output.iou, iou)
    assert output.visual_cue is None


def test_sama_gives_the_decoder_no_prompt():
    images, audio = clip(1, 1)
    with torch.no_grad():
        masks, _ = sam_decodes(lively_sam(), images[0, 0], torch.empty(1, 0, 128))
        assert torch.equal(SAMAAVS(lively_sam())(images, audio).mask_logits, masks)


def test_equation_two_by_hand():
    # One number wide, three blocks, a = F_A; PE_i(x) = w_i max(x, 0) + x.
    adapter = ResidualAudioAdapter(audio_dim=1, dim=1, depth=3, layers=2)
    with torch.no_grad():
        adapter.project.weight.fill_(1.0)
        for weight, encoder in zip((1.0, 0.5, -2.0), adapter.encoders):
            first, _, last = encoder.mlp
            first.weight.fill_(1.0), first.bias.zero_(), last.weight.fill_(weight)
        residuals = adapter(torch.tensor([[2.0], [-1.0]]))
    # a = 2:  PE_1(2) = 4;  PE_2(2 + 4) = 9;  PE_2(2) = 3, so PE_3(2 + 3) = -2 * 5 + 5 = -5
    # a = -1: below zero every PE is the identity: -1, -1 - 1, -1 - 1
    assert residuals[:, :, 0].T.tolist() == [[4.0, 9.0, -5.0], [-1.0, -2.0, -2.0]]


def test_residuals_are_added_after_their_blocks_and_the_prompt_is_made_of_their_sum():
    images, audio = clip(1, 2)
    model = SAVE(lively_sam(), NARROW)
    randomize_trained(model)
    encoder = model.sam.image_encoder
    with torch.no_grad():
        x = encoder.patch_embed((images[0] - model.sam.pixel_mean) / model.sam.pixel_std) + encoder.pos_embed
        total = torch.zeros(2, 128)
        for i, block in enumerate(encoder.blocks):
            residual = model.audio_adapters(audio[0])[i]
            x = block(x) + residual.view(2, 1, 1, 128)
            total = total + residual
        expected = encoder.neck(x.permute(0, 3, 1, 2))
        torch.testing.assert_close(all_encode(model, images, audio), expected)
        torch.testing.assert_close(model.listen(expected, audio[0], None)[1], model.prompt(total)[:, None])


def test_samas_injections_come_before_their_blocks_through_one_shared_layer():
    images, audio = clip(1, 1)
    model = SAMAAVS(lively_sam(), THIN)
    randomize_trained(model)
    encoder, (injections, shared) = model.sam.image_encoder, model.injections.values()
    with torch.no_grad():
        x = encoder.patch_embed((images[0] - model.sam.pixel_mean) / model.sam.pixel_std) + encoder.pos_embed
        for block, hidden in zip(encoder.blocks, injections):
            added = nn.functional.gelu(audio[0] @ hidden[0].weight.T + hidden[0].bias) @ shared.weight.T + shared.bias
            x = block(x + added.view(1, 1, 1, 128))
        torch.testing.assert_close(all_encode(model, images, audio), encoder.neck(x.permute(0, 3, 1, 2)))


def test_the_image_adapter_stands_beside_the_mlp_on_its_normalised_input():
    model = SAVE(lively_sam(), NARROW)
    randomize_trained(model)
    block = model.sam.image_encoder.blocks[1]
    x = torch.randn(2, 16, 16, 128)
    with torch.no_grad():
        attended = block(x) - block.mlp(block.norm2(_attended(block, x)))
        n = block.norm2(_attended(block, x))
        untouched = block.mlp.lin2(block.mlp.act(block.mlp.lin1(n)))
        torch.testing.assert_close(block(x), attended + untouched + block.mlp.adapter(n), rtol=1e-4, atol=1e-4)


def _attended(block, x):
    """What the block adds its MLP to: x_i^a of equation 1."""
    seen = {}
    hook = block.norm2.register_forward_pre_hook(lambda _, given: seen.update(x=given[0]))
    block(x)
    hook.remove()
    return seen["x"]


def test_the_image_adapter_by_hand():
    adapter = ImageEncoderAdapter(dim=1, channels=1)
    with torch.no_grad():
        for layer in (adapter.gate[0], adapter.gate[2], adapter.down, adapter.up):
            layer.weight.zero_(), layer.bias.zero_()
        adapter.down.weight[0, 0, 1, 1] = 1.0  # takes every second pixel
        adapter.up.weight[0, 0, 1, 1] = 10.0  # and puts it back
        x = torch.arange(9.0).view(1, 3, 3, 1)
        out = adapter(x)[0, :, :, 0]
    # The gate is sigmoid(0) = 1/2 for every channel.
    assert out.tolist() == [[0, 0, 10], [0, 0, 0], [30, 0, 40]]


@pytest.mark.parametrize("height, width", [(15, 15), (16, 14), (1, 1), (14, 15)])
def test_every_grid_comes_back_at_its_size(height, width):
    adapter = ImageEncoderAdapter(8, 4)
    nn.init.normal_(adapter.up.weight)
    assert adapter(torch.randn(2, height, width, 8)).shape == (2, height, width, 8)


def test_samas_injections_are_as_large_as_those_of_its_public_code():
    with FakeTensorMode():  # sizes only
        trained = SAMAAVS(build_sam("vit_h", image_size=224)).trainable_summary().groups["injections"]
    # ViT-H: 32 layers from 128 to 512, and one from 512 to 1280, with their biases
    assert sum(trained.values()) == 32 * (128 * 512 + 512) + 512 * 1280 + 1280


@pytest.mark.parametrize("build, config", [(SAVE, NARROW), (SAMAAVS, THIN), (APSAM, NARROW)])
def test_gradients_reach_exactly_what_trains_within_two_steps(build, config):
    model = build(lively_sam(), config)
    assert gradients_within_two_steps(model) == set(model.trainable_summary().names)
    frozen = {name for name, p in model.sam.image_encoder.named_parameters() if not p.requires_grad}
    assert not any("adapter" in name for name in frozen) and "neck.0.weight" in frozen


@pytest.mark.parametrize("layers", [2, 3])
def test_an_audio_encoder_adapter_has_as_many_layers_as_asked_for_and_starts_as_the_identity(layers):
    adapter = AudioEncoderAdapter(16, layers)
    assert sum(isinstance(layer, nn.Linear) for layer in adapter.mlp) == layers
    x = torch.randn(3, 16)
    assert torch.equal(adapter(x), x)


def test_the_switches_of_table_seven_and_what_is_saved():
    plain, whole = SAVE(lively_sam(), SAVEConfig(image_adapters=False)), SAVE(lively_sam(), NARROW)
    assert "visual adapters" not in plain.trainable_summary().groups
    assert {"visual adapters", "audio_adapters", "prompt", "mask decoder"} == set(whole.trainable_summary().groups)
    wide = SAVE(lively_sam()).trainable_summary().groups["visual adapters"]
    assert wide["sam.image_encoder.blocks.0.mlp.adapter.down.weight"] == 128 * 128 * 9, "the channels of the encoder"
    randomize_trained(whole)
    again = SAVE(lively_sam(), NARROW)
    again.load_trained_state(whole.trained_state())
    images, audio = clip(1, 1)
    with torch.no_grad():
        assert torch.equal(again(images, audio).mask_logits, whole(images, audio).mask_logits)


def test_frames_do_not_influence_each_other_and_a_prefix_gives_the_same():
    images, audio = clip(2, 2)
    model = SAVE(lively_sam(), NARROW)
    randomize_trained(model)
    with torch.no_grad():
        whole = model(images, audio).mask_logits
        torch.testing.assert_close(model(images[1:], audio[1:]).mask_logits, whole[1:], rtol=1e-4, atol=1e-4)
        assert torch.equal(model(None, audio, prefix=model.encode_prefix(images)).mask_logits, whole)
        assert not torch.allclose(model(images, -audio).mask_logits, whole, atol=1e-3), "it hears"


@pytest.mark.parametrize("size", [224, 256, 1024])
@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_every_sam_takes_it_at_every_size_of_the_paper(name, size):
    with FakeTensorMode():  # shapes only: ViT-H has 600 million values
        model = SAVE(build_sam(name, image_size=size), SAVEConfig(mlp_layers=3))
        output = model(torch.zeros(1, 2, 3, size, size), torch.zeros(1, 2, 128))
        output.mask_logits.sum().backward()
        adapter = model.sam.image_encoder.blocks[0].mlp.adapter
        depth = len(model.sam.image_encoder.blocks)
    assert output.mask_logits.shape == (1, 2, size // 4, size // 4) and output.iou.shape == (1, 2)
    assert len(model.audio_adapters.encoders) == depth == {"vit_b": 12, "vit_l": 24, "vit_h": 32}[name]
    assert adapter.down.weight.grad.shape == adapter.down.weight.shape, "also where 14 or 16 tokens are halved"


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="mlp_layers is 4"):
        SAVEConfig(mlp_layers=4)
    with pytest.raises(ValueError, match="adapter_channels is -1"):
        SAVEConfig(adapter_channels=-1)
    with pytest.raises(ValueError, match="injection_width is 0"):
        SAMAConfig(injection_width=0)
    sam = build_sam("mini")
    SAVE(sam, NARROW)
    with pytest.raises(ValueError, match="carries adapters already"):
        SAVE(sam, NARROW)


def test_vit_b_at_224_keeps_its_official_names_and_takes_the_adapters():
    model = SAVE(build_sam("vit_b", image_size=224), SAVEConfig(adapter_channels=8))
    assert "sam.image_encoder.blocks.11.mlp.lin1.weight" in model.state_dict()
    images, audio = clip(1, 1, 224)
    with torch.no_grad():
        assert model(images, audio).mask_logits.shape == (1, 1, 56, 56)
