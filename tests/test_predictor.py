"""Official checkpoints and segment_anything's own predictor: the same masks, before and after adapters are put in."""

from functools import partial

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from gavs_lib import GAVS, SAVE, GAVSConfig, build_sam

WIDE = 255 * np.random.default_rng(0).random((60, 100, 3))  # no square
PICTURE = WIDE.astype(np.uint8)
PROMPTS = {
    "point": {"point_coords": np.array([[30.0, 20.0]]), "point_labels": np.array([1])},
    "box": {"box": np.array([10.0, 5.0, 70.0, 50.0])},
}


@pytest.fixture(scope="module")
def theirs() -> Sam:
    """ViT-B as segment_anything builds it, with weights of our own drawing: its own positions are all zero."""
    torch.manual_seed(0)
    sam = sam_model_registry["vit_b"]().eval()
    for name, parameter in sam.named_parameters():
        if name.endswith(("pos_embed", "rel_pos_h", "rel_pos_w")):
            nn.init.normal_(parameter, std=0.02)
    return sam


@pytest.fixture(scope="module")
def checkpoint(theirs, tmp_path_factory):
    """The file that it saves: the official key names."""
    path = tmp_path_factory.mktemp("official") / "sam_vit_b.pth"
    torch.save(theirs.state_dict(), path)
    return path


def vit_b(image_size: int) -> Sam:
    """segment_anything's classes put together as its own code does, for pictures of another size."""
    grid = image_size // 16
    encoder = ImageEncoderViT(
        img_size=image_size,
        embed_dim=768,
        depth=12,
        num_heads=12,
        global_attn_indexes=(2, 5, 8, 11),
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        qkv_bias=True,
        use_rel_pos=True,
        window_size=14,
    )
    prompts = PromptEncoder(256, (grid, grid), (image_size, image_size), mask_in_chans=16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
    decoder = MaskDecoder(transformer_dim=256, transformer=transformer)
    return Sam(encoder, prompts, decoder, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]).eval()


def predictions(sam: Sam) -> dict[str, tuple[np.ndarray, ...]]:
    """Masks, their estimated quality and low-resolution logits of both prompts."""
    predictor = SamPredictor(sam)
    predictor.set_image(PICTURE)
    return {name: predictor.predict(**prompt) for name, prompt in PROMPTS.items()}


def assert_identical(found: dict, expected: dict) -> None:
    for name in PROMPTS:
        assert found[name][0].shape == (3, 60, 100), "the masks have the picture's own shape"
        for ours, own in zip(found[name], expected[name]):
            assert np.array_equal(ours, own), name


def test_at_1024_pixels_masks_are_those_of_sam_predictor_bit_for_bit(theirs, checkpoint):
    sam = build_sam("vit_b", checkpoint)
    GAVS(sam)  # without it: the smaller sizes below; here an encoding takes ten seconds
    assert hasattr(sam.image_encoder.blocks[6].mlp, "adapter"), "the adapters are in"
    assert_identical(predictions(sam.eval()), predictions(theirs))


@pytest.mark.parametrize("size", [224, 256, 512])
def test_at_other_sizes_too_with_and_without_adapters(checkpoint, size):
    sam = build_sam("vit_b", checkpoint, size)
    own = vit_b(size)
    own.load_state_dict(sam.state_dict())
    expected = predictions(own)
    assert_identical(predictions(sam), expected)
    GAVS(sam, GAVSConfig(av_width=16, va_width=16))
    assert_identical(predictions(sam.eval()), expected)


def test_an_untrained_save_leaves_the_encoder_as_it_is(checkpoint):
    sam = build_sam("vit_b", checkpoint, 224)
    expected = predictions(sam)
    model = SAVE(sam).eval()
    images, audio = torch.rand(1, 1, 3, 224, 224) * 255, torch.randn(1, 1, 128)
    with torch.no_grad():
        x = model.encode_prefix(images)
        plain = build_sam("vit_b", checkpoint, 224).image_encoder((images[0] - sam.pixel_mean) / sam.pixel_std)
        assert torch.equal(model._finish_encoding(x.flatten(0, 1), audio.flatten(0, 1)), plain)
    assert_identical(predictions(sam.eval()), expected)
