"""How good are the masks, and do they come from the sound?

A score alone does not say that a model listens: a picture often gives the answer away. Beside every score stand deaf
controls (silence, the sound of another clip, a model trained without sound), guesses that need no model, and the swap
test: the same pictures are played the voice of each toy in turn, and the mask has to follow.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gavs_lib.data import tokens
from gavs_lib.decoder import decode_masks
from gavs_lib.lab.features import FeatureSet, embed_sound, resize_frames
from gavs_lib.lab.train import collate, predict_masks
from gavs_lib.metrics import AVSBENCH_THRESHOLD, f_measure, false_positive_area, localization_iou, mask_iou
from gavs_lib.world.classes import class_split
from gavs_lib.world.folder import ClipRecipe
from gavs_lib.world.scenes import SAMPLE_RATE, mix, render_frames, render_stems, sounding_mask


def score(
    model: nn.Module, features: FeatureSet, threshold: float = AVSBENCH_THRESHOLD, batch_size: int = 16
) -> pd.DataFrame:
    """Score a model on clips, one row a clip.

    Returns:
        Columns uid, label, miou (mean over the labelled frames, AVSBench's protocol), f (F-measure of the clip) and
        false_positive (share of the silent pixels that are marked). ``.mean(numeric_only=True)`` gives per-video means.
    """
    rows = []
    for batch in DataLoader(features, batch_size=batch_size, collate_fn=collate):
        for item, logits in enumerate(predict_masks(model, batch)):
            labelled = batch["has_mask"][item, : len(logits)]
            logits, target = logits.cpu()[labelled], batch["masks"][item][: len(labelled)][labelled]
            rows.append(
                {
                    "uid": batch["uid"][item],
                    "label": batch["label"][item],
                    "miou": mask_iou(logits, target, threshold).mean().item(),
                    "f": f_measure(logits, target).item(),
                    "false_positive": false_positive_area(logits, target, threshold).mean().item(),
                }
            )
    return pd.DataFrame(rows)


def score_boxes(
    model: nn.Module, features: FeatureSet, threshold: float = AVSBENCH_THRESHOLD, batch_size: int = 16
) -> pd.DataFrame:
    """Score a model on entries that are annotated by boxes (VGG-SS, or its miniature twin), one row an entry.

    `summarize_iou(torch.tensor(table["iou"].to_numpy()))` gives success rate, AUC and mean IoU of a column.

    Returns:
        Columns uid, label, iou (of the mask cut at the threshold, with the filled boxes), iou_median (the classic
        protocol: the logits cut at their own median, so that half of the picture is always marked) and whole_picture
        (what marking everything scores: the boxes' share of the picture). No iou means anything that is not above it.

    Raises:
        ValueError: an entry has not exactly one labelled frame.
    """
    rows = []
    for batch in DataLoader(features, batch_size=batch_size, collate_fn=collate):
        for item, logits in enumerate(predict_masks(model, batch)):
            labelled = batch["has_mask"][item, : len(logits)]
            if labelled.sum() != 1:
                raise ValueError(
                    f"{batch['uid'][item]}: {int(labelled.sum())} labelled frames; expected the one picture of an "
                    "entry of VGG-SS. Clips of several seconds are scored by `score`."
                )
            logits, target = logits.cpu()[labelled], batch["masks"][item][: len(labelled)][labelled]
            rows.append(
                {
                    "uid": batch["uid"][item],
                    "label": batch["label"][item],
                    "iou": localization_iou(logits, target, "threshold", threshold).item(),
                    "iou_median": localization_iou(logits, target, "median").item(),
                    "whole_picture": localization_iou(torch.ones_like(target, dtype=torch.bool), target).item(),
                }
            )
    return pd.DataFrame(rows)


def interval(
    values: Sequence[float], confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval of a mean over clips."""
    values = np.asarray(values, dtype=float)
    picks = np.random.default_rng(seed).integers(len(values), size=(draws, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


# ----------------------------------------------------------------------------------------- deaf controls


def silent(features: FeatureSet, vggish: nn.Module) -> FeatureSet:
    """The clips with what VGGish makes of digital silence in place of their sound.

    A model trained and tested on such clips is the deaf twin: same pictures, same seed, no sound.
    """
    return features.with_audio(embed_sound(vggish, torch.zeros(SAMPLE_RATE), SAMPLE_RATE, 1)[0])


def shuffled(features: FeatureSet, seed: int = 0) -> FeatureSet:
    """The clips with the sound of another one of equal length that shares no sounding class.

    Raises:
        ValueError: for some clip there is no such other.
    """
    rng = np.random.default_rng(seed)
    heard = [set(tokens(label)) for label in features.labels]
    lengths = features.frame_valid.sum(1).tolist()
    donors = []
    for i, classes in enumerate(heard):
        others = [j for j in range(len(heard)) if lengths[j] == lengths[i] and not classes & heard[j]]
        if not others:
            raise ValueError(f"{features.uids[i]}: no other clip of its length is without its classes; add clips.")
        donors.append(int(rng.choice(others)))
    return features.with_audio(features.audio[donors])


# ----------------------------------------------------------------------------- guesses without a model


def guesses(made: Sequence[ClipRecipe], rotation: int = 0) -> pd.DataFrame:
    """What is scored by those who get the true masks of all toys and no sound, one row a clip.

    Columns: random toy (the expectation over the toys), largest toy, everything, and the toy of no seen class (the
    expectation over those toys; over all of them where every class is seen).
    """
    seen = set(class_split(rotation).seen)
    rows = []
    for recipe in made:
        masks = render_frames(recipe.scene).masks
        truth = torch.from_numpy(sounding_mask(recipe.scene, masks))
        each = [_iou(torch.from_numpy(mask), truth) for mask in masks]
        strangers = [i for i, toy in enumerate(recipe.scene.toys) if toy not in seen]
        rows.append(
            {
                "uid": recipe.uid,
                "random": float(np.mean(each)),
                "largest": each[int(masks.sum((1, 2, 3)).argmax())],
                "everything": _iou(torch.from_numpy(masks.any(0)), truth),
                "exclusion": float(np.mean([each[i] for i in strangers] or each)),
            }
        )
    return pd.DataFrame(rows)


def box_prompted(sam: Sam, made: Sequence[ClipRecipe]) -> pd.DataFrame:
    """What SAM itself scores when shown the true box of the sounding toy: the ceiling for a prompt. One row a clip.

    Args:
        sam: untouched by adapters.
        made: clips in which one toy sounds throughout (v1s).

    Raises:
        ValueError: another number of toys sounds in a clip.
    """
    rows = []
    for recipe in made:
        if len(recipe.scene.heard) != 1:
            raise ValueError(f"{recipe.uid}: {len(recipe.scene.heard)} toys sound; one box takes one toy.")
        pictures = render_frames(recipe.scene)
        truth = torch.from_numpy(sounding_mask(recipe.scene, pictures.masks))
        boxes = []
        for mask in truth:
            y, x = torch.nonzero(mask, as_tuple=True)
            boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
        images = resize_frames(pictures.frames, sam.image_encoder.img_size)
        scale = sam.image_encoder.img_size / truth.shape[-1]
        with torch.no_grad():
            embedding = sam.image_encoder((images - sam.pixel_mean) / sam.pixel_std)
            sparse, dense = sam.prompt_encoder(None, torch.tensor(boxes, dtype=torch.float32) * scale, None)
            position = sam.prompt_encoder.get_dense_pe()
            logits, _ = decode_masks(sam.mask_decoder, embedding, position, sparse, dense[:1])
        rows.append({"uid": recipe.uid, "miou": mask_iou(logits, truth).mean().item()})
    return pd.DataFrame(rows)


def sam_oracle(
    sam: Sam,
    made: Sequence[ClipRecipe],
    points_per_side: int = 8,
    quality: float = 0.5,
    stability: float = 0.5,
) -> pd.DataFrame:
    """What SAM scores without any prompt if somebody who knows the truth picks its best mask in each frame.

    SAM's automatic masks: every point of a grid is a prompt, masks that SAM itself doubts are dropped, and of those
    that overlap much one is kept. No mask at all may be picked too: it is right where nothing sounds. No single mask
    covers two toys that sound together, so v1m has a lower ceiling.

    SAM's own settings are made for ViT-H at 1024 pixels; ours for SAM-mini at 128. A point every 16 pixels is enough
    for toys of 18 pixels and more: four times as many points found nothing better on twenty validation clips. The
    thresholds are a half, because it is the oracle that chooses; SAM's own ones dropped nearly every mask, for SAM-mini
    is less sure of itself.

    Args:
        sam: untouched by adapters.
        made: clips of any kind; all their frames count.
        points_per_side: of the grid (SAM: 32).
        quality: least IoU that SAM predicts for a mask it keeps (SAM: 0.88).
        stability: least IoU between the masks cut at logits of +1 and -1 (SAM: 0.95).

    Returns:
        One row a clip: uid, miou, and masks, how many there are to choose from in a frame, on average.
    """
    generator = SamAutomaticMaskGenerator(
        sam, points_per_side, points_per_batch=256, pred_iou_thresh=quality, stability_score_thresh=stability
    )
    rows = []
    for recipe in made:
        pictures = render_frames(recipe.scene)
        truth = torch.from_numpy(sounding_mask(recipe.scene, pictures.masks))
        best, counts = [], []
        for frame, target in zip(pictures.frames, truth):
            found = [torch.from_numpy(mask["segmentation"]) for mask in generator.generate(frame)]
            choices = torch.stack([torch.zeros_like(target, dtype=torch.bool), *found])
            best.append(mask_iou(choices * 20.0 - 10, target.expand(len(choices), -1, -1)).max().item())
            counts.append(len(found))
        rows.append({"uid": recipe.uid, "miou": float(np.mean(best)), "masks": float(np.mean(counts))})
    return pd.DataFrame(rows)


# ---------------------------------------------------------------------------------------------- swap test


@torch.no_grad()
def swap_test(
    model: nn.Module,
    vggish: nn.Module,
    made: Sequence[ClipRecipe],
    threshold: float = AVSBENCH_THRESHOLD,
) -> pd.DataFrame:
    """Play the same pictures the voice of each of their toys in turn: does the mask follow?

    One row for every pair of toys A, B of a clip. ``follows_first`` says that with A's voice the mask overlaps A more
    than B (in IoU), ``follows_second`` the same for B; ``moves`` says both. A model that ignores sound draws one mask
    and never moves; one that picks a toy at random and independently each time moves in a quarter of the pairs at
    most. ``voiced`` is the IoU with the toy that is played, averaged over the two.

    Returns:
        Columns uid, first, second (class names), same_family, factors_apart (1-3), follows_first, follows_second,
        moves, voiced.
    """
    was_training = model.training
    model.eval()
    rows = []
    for recipe in made:
        scene = recipe.scene
        pictures = render_frames(scene)
        truth = torch.from_numpy(pictures.masks)  # [toys, T, H, W]
        predicted = play_each(model, vggish, recipe)
        iou = torch.tensor([[_iou(p > threshold, mask) for mask in truth] for p in predicted])
        for a in range(len(truth)):
            for b in range(a + 1, len(truth)):
                first, second = scene.toys[a], scene.toys[b]
                apart = sum(getattr(first, f) != getattr(second, f) for f in ("family", "size", "material"))
                to_first, to_second = bool(iou[a, a] > iou[a, b]), bool(iou[b, b] > iou[b, a])
                rows.append(
                    {
                        "uid": recipe.uid,
                        "first": first.name,
                        "second": second.name,
                        "same_family": first.family == second.family,
                        "factors_apart": apart,
                        "follows_first": to_first,
                        "follows_second": to_second,
                        "moves": to_first and to_second,
                        "voiced": float(iou[a, a] + iou[b, b]) / 2,
                    }
                )
    model.train(was_training)
    return pd.DataFrame(rows)


def with_one_of(pairs: pd.DataFrame, names: Collection[str]) -> pd.DataFrame:
    """The pairs of a `swap_test` in which at least one toy is of these classes: two seen toys say nothing of unseen."""
    return pairs[pairs["first"].isin(names) | pairs["second"].isin(names)]


@torch.no_grad()
def play_each(model: nn.Module, vggish: nn.Module, recipe: ClipRecipe) -> Tensor:
    """Probabilities ``[toys, T, H, W]`` on the CPU: the clip's pictures with the voice of each of its toys alone."""
    return MixingDesk(model, vggish, recipe).play(np.eye(len(recipe.scene.toys)))[1]


class MixingDesk:
    """A clip whose voices can be turned up and down; the pictures stay, and the model marks what it hears of them.

    Args:
        model: in evaluation mode for repeatable masks; as trained with `vggish`.
        vggish: frozen.
        recipe: the clip. Who sounds in it when does not count here; its echo and noise do.

    Attributes:
        names: of the toys.
        frames: ``[T, H, W, 3]`` uint8 RGB.
        masks: ``[toys, T, H, W]`` bool, the visible part of each toy.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module, vggish: nn.Module, recipe: ClipRecipe) -> None:
        scene = recipe.scene
        everybody = ((True,) * scene.seconds,) * len(scene.toys)
        self.names = [toy.name for toy in scene.toys]
        pictures = render_frames(scene)
        self.frames, self.masks = pictures.frames, pictures.masks
        self._scene = replace(scene, sounding=everybody, off_screen=None)
        self._stems = render_stems(scene)
        self._model, self._vggish, self._device = model, vggish, next(model.parameters()).device
        images = resize_frames(self.frames, model.sam.image_encoder.img_size)[None]
        self._prefix = model.encode_prefix(images.to(self._device))

    @torch.no_grad()
    def play(self, levels: Sequence[Sequence[float]]) -> tuple[np.ndarray, Tensor]:
        """Mix the voices and segment.

        Args:
            levels: ``[N, toys]``: N settings of the desk; 1 is a voice as it is in the clip, 0 takes it out.

        Returns:
            what is heard, float32 ``[N, samples]`` at 16 kHz, and the probabilities ``[N, T, H, W]`` on the CPU.

        Raises:
            ValueError: a setting has not one level a toy, or a level is negative or not finite.
        """
        levels = np.asarray(levels, dtype=np.float32)
        known = (levels >= 0) & np.isfinite(levels)
        if levels.ndim != 2 or levels.shape[1] != len(self.names) or not known.all():
            raise ValueError(
                f"levels are {levels.tolist()}; expected settings of {len(self.names)} levels, 0 or more, one for each "
                f"of {', '.join(self.names)}."
            )
        heard = np.stack([mix(self._scene, self._stems * each[:, None]) for each in levels])
        audio = torch.stack([embed_sound(self._vggish, wave, SAMPLE_RATE, len(self.frames)) for wave in heard])
        prefix = self._prefix.expand(len(levels), -1, -1, -1, -1)
        logits = self._model(None, audio.to(self._device), prefix=prefix).mask_logits
        size = self.frames.shape[1:3]
        logits = nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return heard, logits.sigmoid().cpu()


# -------------------------------------------------------------------------------------------- distractors


def nearest_distractor(recipe: ClipRecipe) -> str:
    """How alike the silent toy is that resembles a sounding one most.

    "differing in one factor" (of the same family), "same family" (differing in both others), or "other family".
    """
    heard = recipe.scene.heard
    quiet = [toy for toy in recipe.scene.toys if toy not in heard]
    kin = [(a, b) for a in heard for b in quiet if a.family == b.family]
    if any((a.size == b.size) != (a.material == b.material) for a, b in kin):
        return "differing in one factor"
    return "same family" if kin else "other family"


def _iou(prediction: Tensor, truth: Tensor) -> float:
    """Mean IoU over frames of two boolean masks ``[T, H, W]``, with AVSBench's rule for empty ground truth."""
    return mask_iou(prediction.float() * 20 - 10, truth).mean().item()
