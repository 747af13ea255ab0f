"""Longest-side padding: as SAM does it, and the padding counts nowhere."""

import numpy as np
import torch
from segment_anything.utils.transforms import ResizeLongestSide
from small_models import lively_sam

from gavs_lib.data import Clip
from gavs_lib.gavs import GAVS, GAVSConfig
from gavs_lib.lab.features import extract_features
from gavs_lib.lab.padding import crop_to_picture, masks_on_square, pad_frames, padded_extent, picture_places
from gavs_lib.lab.train import FitConfig, collate, fit, predict_masks
from gavs_lib.losses import segmentation_loss, soft_iou_loss
from gavs_lib.vggish import VGGish

SHAPES = [(48, 90), (90, 61), (64, 64)]


def clips(shapes=SHAPES):
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate(shapes):
        frames = rng.integers(0, 255, (2, height, width, 3), dtype=np.uint8)
        masks = np.zeros((2, height, width), dtype=bool)
        masks[:, : height // 2, width // 3 :] = True
        wave = rng.normal(0, 0.1, 32000).astype(np.float32)
        yield Clip(f"clip{i}", frames, masks, np.ones(2, bool), wave, 16000, "bell", None)


def test_frames_are_padded_as_sam_pads_them():
    sam = lively_sam()
    for clip in clips():
        mine = (pad_frames(clip.frames, 128, sam.pixel_mean) - sam.pixel_mean) / sam.pixel_std
        # The way of SamPredictor, which rounds to grey levels after resizing. (Its other way, `apply_image_torch`,
        # takes the numbers of pictures and channels for the size of the picture in the published package.)
        resized = np.stack([ResizeLongestSide(128).apply_image(frame) for frame in clip.frames])
        theirs = sam.preprocess(torch.from_numpy(resized).permute(0, 3, 1, 2).float())
        assert (mine - theirs).abs().max() < 1.5 / 57  # a grey level and a half


def test_masks_are_cut_out_as_sam_cuts_them():
    sam = lively_sam()
    for height, width in SHAPES:
        logits = torch.randn(3, 32, 32)
        extent = padded_extent(height, width, 128)
        mine = crop_to_picture(logits, torch.tensor(extent), 128)
        mine = torch.nn.functional.interpolate(mine[None], (height, width), mode="bilinear", align_corners=False)[0]
        assert torch.allclose(mine, sam.postprocess_masks(logits[:, None], extent, (height, width))[:, 0], atol=1e-5)


def test_places_of_the_picture_by_hand():
    places = picture_places(torch.tensor([[8, 4], [3, 8]]), size=8, side=4)
    assert places[0].tolist() == [[True, True, False, False]] * 4
    # Rows end at pixel 3; the second place covers pixels 2 and 3, its centre is at 3, on the edge: not inside.
    assert places[1].tolist() == [[True] * 4, [False] * 4, [False] * 4, [False] * 4]


def test_a_mask_lies_on_the_square_where_the_picture_does():
    masks = [torch.ones(1, 4, 8)]
    placed = masks_on_square(masks, torch.tensor([[64, 128]]), size=128, side=8)
    assert placed.shape == (1, 1, 8, 8) and placed[0, 0, :4].eq(1).all() and placed[0, 0, 4:].eq(0).all()


def test_the_losses_look_at_the_picture_only():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 8, 8), torch.rand(2, 3, 8, 8).round()
    visible = torch.zeros(2, 8, 8, dtype=torch.bool)
    visible[:, :5] = True
    for loss in (lambda *a, **k: segmentation_loss(*a, dice_weight=1.0, **k), soft_iou_loss):
        cut = loss(logits[:, :, :5], target[:, :, :5])
        assert torch.allclose(loss(logits, target, visible=visible), cut)
        spoilt = logits.clone()
        spoilt[:, :, 5:] = 50
        assert torch.allclose(loss(spoilt, target, visible=visible), cut)


def test_training_and_prediction_on_pictures_of_several_shapes(tmp_path):
    model = GAVS(lively_sam(), GAVSConfig(adapter_width=8, cola_width=8))
    vggish = VGGish.mini()
    for budget in (20e9, 0):  # from the cached activations, and from images
        features = extract_features(
            list(clips()), model, vggish, tmp_path / "cache", pad=True, cache_budget=budget, progress=False
        )
        batch = collate([features[i] for i in range(3)])
        assert batch["extent"].tolist() == [[68, 128], [128, 87], [128, 128]]
        masks = predict_masks(model, batch)
        assert [tuple(mask.shape) for mask in masks] == [(2, *shape) for shape in SHAPES]
    fit(model, features, features, FitConfig(steps=2, batch_size=3, dice_weight=1.0), tmp_path / "run", progress=False)
    square = extract_features(list(clips()), model, vggish, tmp_path / "cache", progress=False)
    assert "extent" not in square[0] and features.inputs["pad"] and not square.inputs["pad"]


def test_the_extent_is_that_of_the_frame_where_masks_have_a_size_of_their_own(tmp_path):
    (clip,) = clips([(48, 90)])
    clip.masks = np.zeros((2, 224, 224), dtype=bool)  # as VGG-SS draws them
    model, vggish = GAVS(lively_sam(), GAVSConfig(adapter_width=8, cola_width=8)), VGGish.mini()
    for _ in range(2):  # computed, and found in the cache
        features = extract_features([clip], model, vggish, tmp_path, pad=True, progress=False)
        assert features[0]["extent"].tolist() == [68, 128]
        assert features[0]["masks"].shape == (2, 224, 224)


def test_what_is_on_the_padding_changes_no_prediction_for_the_picture_but_through_the_encoder():
    model = GAVS(lively_sam(), GAVSConfig(adapter_width=8, cola_width=8))
    embedding, audio = torch.randn(1, 128, 16, 16), torch.randn(1, 128)
    places = picture_places(torch.tensor([[64, 128]]), 128, 16)
    with torch.no_grad():
        _, cue = model.prompt(embedding, audio, places)
        embedding[:, :, 8:] += 3
        _, spoilt = model.prompt(embedding, audio, places)
    assert torch.equal(cue, spoilt)
