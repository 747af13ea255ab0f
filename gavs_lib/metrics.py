"""How masks are scored: every protocol of the field under its own name, as a function and as a torchmetrics class.

| Name                                     | Who reports it                                                       |
|------------------------------------------|----------------------------------------------------------------------|
| `mask_iou`, `MeanIoU`                    | AVSBench mIoU (threshold 0.5; the GAVS release takes 0.4): the mean  |
|                                          | over videos of each video's mean over frames                         |
| `MeanIoU(per_frame=True)`                | the mean over all frames (differs where 5 and 10 frames mix: V2, V3) |
| `dataset_iou`, `DatasetIoU`              | intersection and union summed over the data set (CAVP); much higher  |
| `f_measure`, `FMeasure`                  | AVSBench F-score, beta^2 = 0.3, one video at a time                  |
| `false_positive_area`, `FalsePositiveArea` | area predicted although nothing in the picture sounds              |
| `localization`, `LocalizationMetric`     | VGG-SS: success rate (the classic cIoU), AUC, mean IoU               |

Masks are scored at the ground truth's own size: logits of another size are upsampled bilinearly, then thresholded, and
the ground truth is never resized (AVSBench's S4 and MS3 are 224 x 224 by themselves; crop SAM's padding beforehand).
The classes (`gavs_lib.meters`, found here too) keep float64 or integer sums, so processes and halves of a data set add
up; update one video at a time.
"""

import importlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

AVSBENCH_THRESHOLD = 0.5
GAVS_RELEASE_THRESHOLD = 0.4
F_THRESHOLDS = 255
BETA_SQUARED = 0.3


def mask_iou(logits: Tensor, target: Tensor, threshold: float = AVSBENCH_THRESHOLD) -> Tensor:
    """IoU of each frame: |P & G| / (|P | G| + 1e-7) with P = sigmoid(logit) > threshold.

    A frame whose ground truth is empty scores the fraction of its pixels predicted background (AVSBench).

    Args:
        logits: [T, H, W] before the sigmoid, of any size; +-inf allowed.
        target: [T, H, W], bool or zeros and ones.
        threshold: on the probability, in [0, 1]; strictly greater counts as predicted.

    Returns:
        [T], float32, in [0, 1].

    Raises:
        ValueError: shapes do not match, logits hold NaN, or the target something else than 0 and 1.

    Example:
        >>> logits = torch.tensor([[[9.0, 9.0], [-9.0, -9.0]], [[9.0, -9.0], [-9.0, -9.0]]])
        >>> target = torch.tensor([[[1, 0], [0, 0]], [[0, 0], [0, 0]]])
        >>> mask_iou(logits, target)  # 1 of 2 pixels; 3 of 4 pixels are background
        tensor([0.5000, 0.7500])
    """
    prediction, truth = _predict(logits, target, threshold)
    intersection, union = _areas(prediction, truth)
    background = (~prediction).float().mean(dim=(1, 2))
    return torch.where(truth.any(dim=2).any(dim=1), intersection / (union + 1e-7), background)


def dataset_iou(logits: Tensor, target: Tensor, threshold: float = AVSBENCH_THRESHOLD) -> Tensor:
    """IoU accumulated over all frames given: sum of |P & G| / sum of |P | G|. Scalar; NaN where both sums are 0.

    Not comparable with `mask_iou`: large objects weigh more, and an empty ground truth only adds false positives.
    """
    intersection, union = _areas(*_predict(logits, target, threshold))
    return intersection.sum() / union.sum()


def false_positive_area(logits: Tensor, target: Tensor, threshold: float = AVSBENCH_THRESHOLD) -> Tensor:
    """Share of the picture predicted as sounding, for the E frames in which nothing visible sounds: [T, H, W] -> [E].

    For silence, noise and sounds from off-screen give a target of zeros (AVSBench-Robust). Frames with a sounding
    object are left out.
    """
    prediction, truth = _predict(logits, target, threshold)
    return prediction[~truth.any(dim=2).any(dim=1)].float().mean(dim=(1, 2))


def f_curve(logits: Tensor, target: Tensor) -> Tensor:
    """F of a video at each of the 255 thresholds of AVSBench: the mean over its frames with a non-empty ground truth.

    F = 1.3 P R / (0.3 P + R) with P = precision and R = recall of sigmoid(logit) >= threshold, 0 where both are 0.
    One histogram of the scores per frame replaces 255 passes over the pixels; the counts are the same integers.

    Returns:
        [255], float32; zeros if every ground truth is empty. Arguments and errors as in `mask_iou`.
    """
    logits, truth = _at_target_size(logits, target)
    sounding = truth.any(dim=2).any(dim=1)
    thresholds = _f_thresholds().to(logits.device)
    if not sounding.any():
        return torch.zeros_like(thresholds)
    score, truth = logits[sounding].sigmoid().flatten(1), truth[sounding].flatten(1)  # [N, pixels]
    bins = F_THRESHOLDS + 1
    passed = torch.bucketize(score, thresholds, right=True)  # how many thresholds are <= the score: 0 ... 255
    frame = torch.arange(len(score), device=score.device)[:, None]
    histogram = torch.bincount(((2 * frame + truth) * bins + passed).flatten(), minlength=2 * bins * len(score))
    # A pixel is predicted at threshold k if it passed more than k of them: sum the bins from the top.
    counts = histogram.view(-1, 2, bins).flip(-1).cumsum(-1).flip(-1)[..., 1:].float()  # [N, (G = 0, G = 1), 255]
    hits = counts[:, 1]
    precision = hits / (counts.sum(dim=1) + 1e-20)
    recall = hits / truth.sum(dim=1, keepdim=True)
    curve = (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
    return curve.nan_to_num(0.0).mean(dim=0)


def f_measure(logits: Tensor, target: Tensor) -> Tensor:
    """AVSBench's F-score of one video: the maximum of `f_curve`. Scalar; 0 if every ground truth is empty.

    The maximum is taken after averaging over frames, so the score depends on what is scored together: one video.

    Example:
        >>> f_measure(torch.tensor([[[4.0, -1.0], [1.0, -4.0]]]), torch.tensor([[[1, 1], [0, 0]]]))  # P = 1, R = 1/2
        tensor(0.8125)
    """
    return f_curve(logits, target).max()


class Localization(NamedTuple):
    """Scores on VGG-SS. GAVS's printed "cIoU" most likely is `mean_iou` (it nearly equals its AUC), the classic one
    `success_rate`; never compare one with the other."""

    success_rate: float  # share of images with IoU >= 0.5
    auc: float  # trapezoid of the success rates at IoU 0, 0.05, ..., 1
    mean_iou: float


def boxes_to_mask(boxes: Tensor | Sequence[Sequence[float]], size: int = 224) -> Tensor:
    """Union of normalised boxes [xmin, ymin, xmax, ymax], drawn with corners int(size * max(x, 0)): bool [size, size].

    VGG-SS has boxes that leave the picture (down to -2.9e16), which are cut, and boxes without area, which add nothing.

    Raises:
        ValueError: a box does not have four corners, or one is not finite.

    Example:
        >>> boxes_to_mask([[0.0, 0.0, 0.5, 1.0]], size=2)
        tensor([[ True, False],
                [ True, False]])
    """
    mask = torch.zeros(size, size, dtype=torch.bool)
    for box in boxes.tolist() if isinstance(boxes, Tensor) else boxes:
        corners = torch.as_tensor(box, dtype=torch.float64)
        if corners.shape != (4,) or not corners.isfinite().all():
            raise ValueError(f"box {box}: expected a list of boxes, each four finite numbers [xmin, ymin, xmax, ymax].")
        left, top, right, bottom = (int(min(size * max(x, 0.0), size)) for x in corners.tolist())
        mask[top:bottom, left:right] = True
    return mask


def localization_iou(pred: Tensor, target: Tensor, binarize: str = "median", threshold: float = 0.5) -> Tensor:
    """IoU of each picture of VGG-SS: [N, H, W] (or one picture [H, W]) -> [N], float64; 0 where nothing is predicted.

    Args:
        pred: bool, or zeros and ones of the target's size: taken as the mask itself. Other numbers are brought to the
            target's size and binarised:
        target: [N, H, W], bool or zeros and ones, as drawn by `boxes_to_mask`.
        binarize: "median": a heat map of any scale, above its own median (the classic protocol: half of the picture is
            always predicted; pixels at the maximum count even if the median reaches it; a constant map predicts
            nothing). "threshold": logits, sigmoid(logit) > threshold, as in `mask_iou`.
        threshold: for "threshold" only.

    Raises:
        ValueError: as `mask_iou`, an unknown `binarize`, or a bool mask of another size than its target.
    """
    if binarize not in ("median", "threshold"):
        raise ValueError(f'binarize is {binarize!r}; expected "median" (heat maps) or "threshold" (logits).')
    if pred.ndim == 2 and target.ndim == 2:
        pred, target = pred[None], target[None]
    if pred.shape == target.shape and binarize == "median" and ((pred == 0) | (pred == 1)).all():
        pred = pred.bool()  # a mask stored as numbers, of which the median of a full or nearly full one says nothing
    if pred.dtype == torch.bool:
        if pred.shape != target.shape:
            raise ValueError(f"mask {list(pred.shape)}, target {list(target.shape)}: give logits to have them resized.")
        prediction, truth = pred, _at_target_size(pred.float(), target)[1]
    elif binarize == "threshold":
        prediction, truth = _predict(pred, target, threshold)
    else:
        heat, truth = _at_target_size(pred, target)
        pixels = heat.flatten(1)
        # The upper median, and a maximum that always counts: VGG-SS scores a normalised map whose maximum is 1.
        median = pixels.sort(dim=1).values[:, pixels.shape[1] // 2, None, None]
        low, high = pixels.amin(dim=1)[:, None, None], pixels.amax(dim=1)[:, None, None]
        prediction = (heat > median) | ((heat == high) & (low < high))
    intersection, union = _areas(prediction.to(truth.device), truth)
    return intersection.cpu().double() / union.cpu().double().clamp(min=1)


def localization(pred: Tensor, target: Tensor, binarize: str = "median", threshold: float = 0.5) -> Localization:
    """Success rate, AUC and mean IoU over N pictures; arguments and errors are those of `localization_iou`.

    Beside any score belong those of the whole picture: `localization(torch.ones_like(target).bool(), target)`.

    Example:
        >>> localization(torch.tensor([[0.1, 0.2], [0.3, 0.9]]), torch.tensor([[0, 0], [1, 1]]))  # IoU 1/2
        Localization(success_rate=1.0, auc=0.525, mean_iou=0.5)
    """
    return summarize_iou(localization_iou(pred, target, binarize, threshold))


def summarize_iou(iou: Tensor) -> Localization:
    """Success rate, AUC and mean IoU of the IoUs [N] of `localization_iou`: to score a large set piece by piece.

    Example:
        >>> summarize_iou(torch.tensor([1.0, 0.5, 0.25, 0.0]))  # AUC: (1 + 10.5/20 + 5.5/20 + 0.5/20) / 4
        Localization(success_rate=0.5, auc=0.45625, mean_iou=0.4375)

    Raises:
        ValueError: no IoU at all, another shape, or values outside [0, 1] (NaN among them).
    """
    iou = iou.cpu().double()
    if iou.ndim != 1 or len(iou) == 0 or not ((iou >= 0) & (iou <= 1)).all():
        raise ValueError(f"iou has shape {list(iou.shape)}; expected [N], at least one, all in [0, 1].")
    return _summarise(_successes(iou), iou.sum(), len(iou))


_CLASSES = ("MeanIoU", "DatasetIoU", "FMeasure", "FalsePositiveArea", "LocalizationMetric")


def __getattr__(name: str) -> object:
    # The classes live in a room of their own, entered on first use: torchmetrics takes seconds and loads matplotlib.
    if name in _CLASSES:
        return getattr(importlib.import_module("gavs_lib.meters"), name)
    raise AttributeError(f"module 'gavs_lib.metrics' has no attribute {name!r}")


def _at_target_size(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Checked float32 logits, upsampled to the ground truth's size, and the ground truth as bool: both [T, H, W]."""
    if logits.ndim != 3 or target.ndim != 3 or len(logits) != len(target) or 0 in logits.shape + target.shape:
        raise ValueError(
            f"logits are {list(logits.shape)} and target {list(target.shape)}; expected [T, h, w] and [T, H, W] with "
            "the same T, none of them 0 (one video at a time)."
        )
    target = target.to(logits.device)
    if target.dtype != torch.bool and not ((target == 0) | (target == 1)).all():
        raise ValueError(
            f"target {list(target.shape)} must be bool or zeros and ones; its maximum is {target.max():g}."
        )
    logits = logits.detach().float()
    if logits.isnan().any():
        raise ValueError(f"logits {list(logits.shape)} hold {int(logits.isnan().sum())} NaN; a score would hide them.")
    if logits.shape != target.shape:
        finite = logits.clamp(-1e30, 1e30)  # interpolation would turn infinities into NaN (0 * inf)
        logits = F.interpolate(finite[:, None], size=target.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    return logits, target.bool()


def _predict(logits: Tensor, target: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}; it is a probability, in [0, 1].")
    logits, truth = _at_target_size(logits, target)
    return logits.sigmoid() > threshold, truth


def _areas(prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels of intersection and union of each frame, [T] integers."""
    return (prediction & truth).sum(dim=(1, 2)), (prediction | truth).sum(dim=(1, 2))


def _f_thresholds() -> Tensor:
    """AVSBench's: 0 ... 1 - 1e-10, which in float32 is 1."""
    return torch.linspace(0, 1 - 1e-10, F_THRESHOLDS)


def _successes(iou: Tensor) -> Tensor:
    """How many of the float64 IoUs reach 0, 0.05, ..., 1. Quotients k / 20: 0.05 * 3 would miss an IoU of 3/20."""
    return (iou[:, None] >= torch.arange(21, dtype=torch.float64) / 20).sum(dim=0)


def _summarise(successes: Tensor, iou_sum: Tensor, count: Tensor | int) -> Localization:
    rate = successes.double() / count
    return Localization(rate[10].item(), (torch.trapezoid(rate) / 20).item(), (iou_sum / count).item())
