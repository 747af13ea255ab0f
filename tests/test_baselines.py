"""Audio-SAM and SAM-Fusion: each is what its footnote says, and called as GAVS is."""

import pytest
import torch
from small_models import clip, lively_sam, randomize_trained
from test_gavs import gradients_within_two_steps, sam_decodes

from gavs_lib.baselines import AudioFusion, AudioSAM, SAMFusion
from gavs_lib.gavs import GAVS, GAVSConfig


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


@pytest.mark.parametrize("kind", [AudioSAM, SAMFusion])
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


def test_the_three_models_share_one_prefix():
    images, _ = clip()
    prefixes = [kind(lively_sam()).encode_prefix(images) for kind in (GAVS, AudioSAM, SAMFusion)]
    assert all(torch.equal(prefix, prefixes[0]) for prefix in prefixes)
