"""The baselines: each is what its docstring says, and is called as GAVS is."""

import pytest
import torch
from small_models import clip, lively_sam, randomize_trained
from test_gavs import gradients_within_two_steps, sam_decodes

from gavs_lib.baselines import AVSAM, TPAVI, AudioFusion, AudioSAM, PixelwiseInteraction, SAMFusion
from gavs_lib.gavs import GAVS, GAVSConfig
from gavs_lib.lab.weights import load_trained, save_trained


def test_audio_sam_is_sam_with_the_projected_audio_as_its_sparse_prompt():
    images, audio = clip(1, 1)
    model, sam = AudioSAM(lively_sam()), lively_sam()
    randomize_trained(model)
    with torch.no_grad():
        token = model.prompt.projection(audio[0])
        masks, iou = sam_decodes(sam, images[0, 0], token[None])
        output = model(images, audio)
    assert torch.equal(output.mask_logits, masks) and torch.equal(output.iou, iou)
    assert output.visual_cue is None


def test_audio_sam_trains_its_projection_and_nothing_else():
    model = AudioSAM(lively_sam())
    assert set(model.trainable_summary().groups) == {"prompt"}
    assert all(name.startswith("prompt.projection.") for name in model.trainable_summary().names)
    assert gradients_within_two_steps(model) == set(model.trainable_summary().names)


def test_untrained_sam_fusion_is_sam_without_a_prompt():
    images, audio = clip(1, 1)
    model, sam = SAMFusion(lively_sam()), lively_sam()
    with torch.no_grad():
        masks, _ = sam_decodes(sam, images[0, 0], torch.empty(1, 0, 128))
        output = model(images, audio)
    assert torch.equal(output.mask_logits, masks)
    assert output.visual_cue is None


def test_sam_fusion_trains_what_gavs_trains_with_the_fusion_in_place_of_the_prompt():
    fusion, gavs = SAMFusion(lively_sam()), GAVS(lively_sam())
    groups, of_gavs = fusion.trainable_summary().groups, gavs.trainable_summary().groups
    assert set(groups) - set(of_gavs) == {"fusion"} and set(of_gavs) - set(groups) == {"prompt"}
    assert all(groups[name] == of_gavs[name] for name in groups if name != "fusion")
    assert gradients_within_two_steps(fusion) == set(fusion.trainable_summary().names)


def test_fusion_scales_and_shifts_every_pixel_by_the_sound():
    fusion = AudioFusion(visual_dim=4, audio_dim=3, hidden=5)
    torch.nn.init.normal_(fusion.outward.weight)
    torch.nn.init.normal_(fusion.outward.bias)
    picture, audio = torch.randn(2, 4, 3, 3), torch.randn(2, 3)
    fused = fusion(picture, audio)
    for n in range(2):
        scale, shift = fusion.audio(audio[n]).split(4)
        for y in range(3):
            for x in range(3):
                inward = fusion.inward.weight[:, :, 0, 0] @ picture[n, :, y, x] + fusion.inward.bias
                outward = fusion.outward.weight[:, :, 0, 0] @ (scale * inward + shift) + fusion.outward.bias
                torch.testing.assert_close(fused[n, :, y, x], picture[n, :, y, x] + outward)


def test_av_fusion_of_the_ablation_is_sam_fusion_without_visual_adapters():
    model = SAMFusion(lively_sam(), GAVSConfig(adapter_width=0))
    assert set(model.trainable_summary().groups) == {"ColA", "fusion"}
    assert gradients_within_two_steps(model) == set(model.trainable_summary().names)


# ---- AV-SAM


def test_untrained_av_sam_is_sam_prompted_by_its_token_alone():
    images, audio = clip(1, 1)
    model, sam = AVSAM(lively_sam()), lively_sam()
    with torch.no_grad():
        embedding = sam.image_encoder((images[0] - sam.pixel_mean) / sam.pixel_std)
        _, token, _ = model.listen(embedding, audio[0], None)
        masks, iou = sam_decodes(sam, images[0, 0], token)
        output = model(images, audio)
    assert torch.equal(output.mask_logits, masks) and torch.equal(output.iou, iou)
    assert output.visual_cue is None


def test_av_sam_gives_sam_a_dense_and_a_sparse_prompt_of_the_fused_features():
    images, audio = clip(1, 1)
    model, sam = AVSAM(lively_sam()), lively_sam()
    randomize_trained(model)
    with torch.no_grad():
        embedding = sam.image_encoder((images[0] - sam.pixel_mean) / sam.pixel_std)
        scale, shift = model.fusion.audio(audio[0])[:, :, None, None].chunk(2, dim=1)
        fused = scale * model.fusion.inward(embedding) + shift
        sparse = model.prompt(fused.mean(dim=(2, 3)))[:, None]
        dense = sam.prompt_encoder(None, None, None)[1] + model.fusion.outward(fused)
        position = sam.prompt_encoder.get_dense_pe()
        masks, _ = sam.mask_decoder(embedding, position, sparse, dense, multimask_output=False)
        output = model(images, audio)
    torch.testing.assert_close(output.mask_logits, masks, rtol=1e-4, atol=1e-4)


def test_av_sam_trains_its_fusion_and_its_prompt_and_nothing_of_sam():
    model = AVSAM(lively_sam())
    assert set(model.trainable_summary().groups) == {"fusion", "prompt"}
    assert gradients_within_two_steps(model) == set(model.trainable_summary().names)


def test_the_average_that_prompts_av_sam_leaves_out_padding():
    images, audio = clip(1, 1)
    model = AVSAM(lively_sam())
    visible = torch.ones(1, 1, 16, 16)
    visible[:, :, 8:] = 0
    with torch.no_grad():
        whole, half = model(images, audio), model(images, audio, visible=visible)
    assert not torch.allclose(whole.mask_logits, half.mask_logits, atol=1e-4)


# ---- TPAVI


def test_the_interaction_is_attention_of_every_pixel_of_the_clip_to_every_other():
    torch.manual_seed(0)
    module = PixelwiseInteraction(dim=6, audio_dim=5)
    torch.nn.init.normal_(module.mu.weight)
    torch.nn.init.normal_(module.mu.bias)
    picture, audio = torch.randn(2, 3, 6, 4, 2), torch.randn(2, 3, 5)
    found = module(picture, audio, torch.ones(2, 3, 4, 2))
    for b in range(2):
        pixels = picture[b].permute(0, 2, 3, 1).reshape(24, 6)  # T H W pixels
        sounds = audio[b].repeat_interleave(8, dim=0)  # the sound of its frame at each of them
        matrix = {name: getattr(module, name).weight[:, :, 0, 0] for name in ("theta", "g", "mu")}
        theta, g = pixels @ matrix["theta"].T + module.theta.bias, pixels @ matrix["g"].T + module.g.bias
        alpha = theta @ module.phi(module.audio(sounds)).T / 24  # [24, 24]
        expected = module.norm(pixels + (alpha @ g) @ matrix["mu"].T + module.mu.bias)
        torch.testing.assert_close(found[b].permute(0, 2, 3, 1).reshape(24, 6), expected)


def test_over_a_still_picture_the_order_of_the_sounds_changes_nothing():
    """What AVSBench's interaction cannot do; GAVS, which hears each frame's sound, can."""
    images, audio = clip(1, 3)
    still = images[:, :1].expand(-1, 3, -1, -1, -1)
    tpavi, gavs = TPAVI(lively_sam()), GAVS(lively_sam())
    for model in (tpavi, gavs):
        randomize_trained(model)
    with torch.no_grad():
        # Sums in another order: equal to 1e-5 of the largest logits, which are about 60 here.
        assert torch.allclose(tpavi(still, audio).mask_logits, tpavi(still, audio.flip(1)).mask_logits, atol=6e-4)
        assert not torch.allclose(tpavi(still, audio).mask_logits, tpavi(still, -audio).mask_logits, atol=1e-2)
        assert not torch.allclose(gavs(still, audio).mask_logits, gavs(still, audio.flip(1)).mask_logits, atol=1e-2)


@pytest.mark.parametrize("adapter_width", [0, 128])
def test_tpavi_trains_its_decoder_and_the_visual_adapters_and_nothing_else_of_sam(adapter_width):
    model = TPAVI(lively_sam(), GAVSConfig(adapter_width=adapter_width))
    adapters = {"visual adapters", "layer norms of these blocks"} if adapter_width else set()
    assert set(model.trainable_summary().groups) == {"scales", "interaction", "decoder", "head"} | adapters
    assert gradients_within_two_steps(model) == set(model.trainable_summary().names)


@pytest.mark.parametrize("size", [64, 72, 128])
def test_tpavi_gives_masks_four_times_as_fine_as_the_grid_and_nothing_else(size):
    output = TPAVI(lively_sam(size))(*clip(2, 3, size))
    assert output.mask_logits.shape == (2, 3, size // 2, size // 2)
    assert output.visual_cue is None and output.iou is None


def test_clips_of_a_batch_of_different_length_give_what_each_gives_alone():
    images, audio = clip(2, 3)
    model = TPAVI(lively_sam())
    randomize_trained(model)
    frame_valid = torch.tensor([[True, True, False], [True, True, True]])
    with torch.no_grad():
        both = model(images, audio, frame_valid=frame_valid).mask_logits
        short, long = model(images[:1, :2], audio[:1, :2]), model(images[1:], audio[1:])
        torch.testing.assert_close(both[0, :2], short.mask_logits[0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(both[1], long.mask_logits[0], rtol=1e-3, atol=1e-3)
        assert not torch.allclose(both[0, :2], model(images, audio).mask_logits[0, :2], atol=1e-2)


def test_what_lies_on_the_padding_reaches_no_other_place_through_the_interaction():
    module = PixelwiseInteraction(dim=6, audio_dim=5)
    torch.nn.init.normal_(module.mu.weight)
    picture, audio, counts = torch.randn(1, 2, 6, 4, 4), torch.randn(1, 2, 5), torch.ones(1, 2, 4, 4)
    counts[:, :, 3:] = 0
    other = picture.clone()
    other[:, :, :, 3:] += 10
    assert torch.equal(module(picture, audio, counts)[..., :3, :], module(other, audio, counts)[..., :3, :])


def test_wrong_shapes_are_named():
    images, audio = clip()
    model = TPAVI(lively_sam())
    with pytest.raises(ValueError, match=r"frame_valid is \[1, 3\]; expected \[1, 2\]"):
        model(images, audio, frame_valid=torch.ones(1, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"audio is \[1, 1, 128\]; expected \[1, 2, 128\]"):
        model(images, audio[:, :1])
    with pytest.raises(ValueError, match="Neither images nor a prefix"):
        model(None, audio)


# ---- all of them


@pytest.mark.parametrize("kind", [AudioSAM, AVSAM, SAMFusion, TPAVI])
def test_a_baseline_takes_a_cached_prefix_and_carries_its_trained_state(kind):
    images, audio = clip(2, 2)
    model, fresh = kind(lively_sam(), GAVSConfig(tune_from=3)), kind(lively_sam(), GAVSConfig(tune_from=3))
    randomize_trained(model)
    fresh.load_trained_state(model.trained_state())
    with torch.no_grad():
        whole = model(images, audio)
        resumed = fresh(None, audio, prefix=fresh.encode_prefix(images))
        assert torch.equal(whole.mask_logits, resumed.mask_logits)
        assert not torch.allclose(whole.mask_logits, model(images, -audio).mask_logits, atol=1e-4)


@pytest.mark.parametrize("kind", [AudioSAM, AVSAM, SAMFusion])
def test_frames_of_a_batch_give_what_they_give_one_by_one(kind):
    images, audio = clip(2, 2)
    model = kind(lively_sam())
    randomize_trained(model)
    with torch.no_grad():
        together = model(images, audio).mask_logits
        for b in range(2):
            for t in range(2):
                alone = model(images[b : b + 1, t : t + 1], audio[b : b + 1, t : t + 1]).mask_logits[0, 0]
                torch.testing.assert_close(together[b, t], alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [AudioSAM, AVSAM, SAMFusion, TPAVI])
def test_a_baseline_is_saved_and_loaded_with_its_configuration(kind, tmp_path):
    images, audio = clip()
    config = GAVSConfig(adapter_width=8, cola_width=8, prompt_hidden=32)
    model, fresh = kind(lively_sam(), config), kind(lively_sam(), config)
    randomize_trained(model)
    save_trained(tmp_path / "model.safetensors", model, {})
    notes = load_trained(tmp_path / "model.safetensors", fresh)
    assert notes["kind"] == kind.__name__
    assert kind(lively_sam(), GAVSConfig(**notes["config"])).config == model.config
    with torch.no_grad():
        assert torch.equal(model(images, audio).mask_logits, fresh(images, audio).mask_logits)


def test_baselines_train_about_as_much_as_gavs():
    """Audio-SAM alone has less than half: it is defined by its one MLP."""
    config = GAVSConfig(adapter_width=32, cola_width=32)
    gavs, *others = (kind(lively_sam(), config).trainable_summary().trained for kind in (GAVS, AVSAM, SAMFusion, TPAVI))
    assert all(0.5 < other / gavs < 2 for other in others)


def test_all_models_share_one_prefix():
    images, _ = clip()
    prefixes = [kind(lively_sam()).encode_prefix(images) for kind in (GAVS, AudioSAM, AVSAM, SAMFusion, TPAVI)]
    assert all(torch.equal(prefix, prefixes[0]) for prefix in prefixes)
