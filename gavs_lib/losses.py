"""What GAVS is trained on: masks where they exist, and sound that must resemble its own picture (GAVS, eq. 8-11).

Equation 11, L = L_seg + lambda * L_sem, is the sum the training loop writes:

    loss = segmentation_loss(output.mask_logits, masks, has_mask)
    loss = loss + weight * semantic_loss(clip_average(output.visual_cue), clip_average(audio), margin)

SAVE trains on `segmentation_loss + soft_iou_loss` instead. All compute in float32 whatever the inputs' precision (in
float64 if they are).
"""

import functools
import math
import warnings

import torch
from torch import Tensor
from torch.nn import functional as F

SMOOTHING = 1.0  # in pixels of the decoder's map; keeps the ratios of Dice and soft IoU defined for empty masks (SAVE)


def segmentation_loss(
    logits: Tensor,
    target: Tensor,
    has_mask: Tensor | None = None,
    dice_weight: float = 0.0,
    label_count: Tensor | float | None = None,
    visible: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy between mask logits and masks, averaged over the labelled frames (eq. 8).

    The masks are area-averaged to the decoder's size, so a cell that is half covered has the target 0.5.

    Args:
        logits: [B, T, h, w], before the sigmoid.
        target: [B, T, H, W], bool or numbers in [0, 1]; unlabelled frames may hold anything.
        has_mask: [B, T], true where a frame exists and is labelled; None: every frame.
        dice_weight: weight of the soft Dice loss added to each frame's BCE; 0 is the paper's loss.
        label_count: what the sum over this process's labelled frames is divided by; None: their number. With several
            processes (or accumulated steps) give the same number to each: the number of labelled frames of the whole
            batch where gradients are summed, that number / processes where they are averaged (DistributedDataParallel,
            accelerate). A frame then weighs the same wherever it is computed.
        visible: [B, h, w] bool, true where the picture is, for frames padded to a square; None: no padding.

    Returns:
        Scalar. Without a labelled frame 0, with zero gradients (every process still takes part in the backward pass).

    Raises:
        ValueError: shapes differ, a labelled target leaves [0, 1], or `label_count` is a number that is not positive
            although frames are labelled.
    """
    logits, target, has_mask = _labelled(logits, target, has_mask)
    pixel_loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    if visible is None:
        frame_loss = pixel_loss.mean(dim=(-2, -1))  # [B, T]
    else:
        counted = _visible_pixels(visible, logits)
        frame_loss = (pixel_loss * counted).sum((-2, -1)) / counted.sum((-2, -1)).clamp(min=1)
    if dice_weight:
        overlap, prediction_sum, target_sum = _soft_sums(logits, target, visible)
        frame_loss = frame_loss + dice_weight * (
            1 - (2 * overlap + SMOOTHING) / (prediction_sum + target_sum + SMOOTHING)
        )
    return _average(frame_loss, has_mask, label_count)


def soft_iou_loss(
    logits: Tensor,
    target: Tensor,
    has_mask: Tensor | None = None,
    label_count: Tensor | float | None = None,
    visible: Tensor | None = None,
) -> Tensor:
    """1 - (sum p*g + 1) / (sum p + sum g - sum p*g + 1) per frame, averaged over the labelled frames (SAVE).

    Arguments, shapes and errors are those of `segmentation_loss`.
    """
    logits, target, has_mask = _labelled(logits, target, has_mask)
    overlap, prediction_sum, target_sum = _soft_sums(logits, target, visible)
    union = prediction_sum + target_sum - overlap
    return _average(1 - (overlap + SMOOTHING) / (union + SMOOTHING), has_mask, label_count)


def semantic_loss(visual: Tensor, audio: Tensor, margin: float, labels: Tensor | list[str] | None = None) -> Tensor:
    """Triplet loss between the clips' visual cues and sounds (eq. 10).

    l_i = [margin - s(v_i, a_i) + max over j != i of s(v_i, a_j)]_+ with the cosine similarity s; the mean over i.
    The paper prints the maximum over all j; with j = i among them the loss could never fall below the margin.

    Args:
        visual: [N, D], a clip's average visual cue (eq. 9); audio: [N, D], its average audio embedding.
        margin: >= 0; a difference of cosines, so more than 2 can never be reached.
        labels: N class names or [N] class numbers; clips whose labels are equal are no negatives of each other. None:
            every other clip is a negative (the paper).

    Returns:
        Scalar. A clip without a negative contributes 0 to the mean; so does a batch of one, which warns once.

    Raises:
        ValueError: shapes or the number of labels differ, or the margin is negative.
    """
    if visual.ndim != 2 or visual.shape != audio.shape or 0 in visual.shape:
        raise ValueError(
            f"visual is {list(visual.shape)} and audio {list(audio.shape)}; both must be [N, D], one row a clip "
            "(clip_average turns [B, T, D] into it)."
        )
    if not 0 <= margin < math.inf:
        raise ValueError(f"margin is {margin}; it must be a finite number >= 0.")
    clips = len(visual)
    if clips == 1:
        _warn_no_negative()
    with torch.autocast(visual.device.type, enabled=False):
        similarity = F.normalize(_full(visual), dim=1) @ F.normalize(_full(audio), dim=1).T  # [N visual, N audio]
    negatives = similarity.masked_fill(_same_class(labels, clips).to(similarity.device), -torch.inf)
    # A row without a negative has the maximum -inf: the hinge makes it 0 and stops its gradient.
    return F.relu(margin - similarity.diagonal() + negatives.amax(dim=1)).mean()


def clip_average(x: Tensor, frame_valid: Tensor | None = None) -> Tensor:
    """Average a clip's embeddings over its valid frames (eq. 9): [B, T, D] -> [B, D].

    Args:
        x: [B, T, D]; frames that are not valid may hold anything.
        frame_valid: [B, T], true where a frame exists (5- and 10-frame clips mix in a batch); None: every frame.

    Raises:
        ValueError: shapes do not match, or a clip has no valid frame.
    """
    if x.ndim != 3 or 0 in x.shape:
        raise ValueError(f"x is {list(x.shape)}; expected [B, T, D], none of them 0.")
    x = _full(x)
    if frame_valid is None:
        return x.mean(dim=1)
    valid = _frame_flags("frame_valid", frame_valid, x)
    frames = valid.sum(dim=1, keepdim=True)  # [B, 1]
    if (frames == 0).any():
        raise ValueError(f"clips {(frames[:, 0] == 0).nonzero()[:, 0].tolist()} of the batch have no valid frame.")
    return torch.where(valid[..., None], x, 0).sum(dim=1) / frames


def _labelled(logits: Tensor, target: Tensor, has_mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Checked float32 logits and masks, both [B, T, h, w], and flags [B, T]; unlabelled frames are blanked."""
    if logits.ndim != 4 or target.ndim != 4 or logits.shape[:2] != target.shape[:2] or 0 in logits.shape + target.shape:
        raise ValueError(
            f"logits are {list(logits.shape)} and target {list(target.shape)}; expected [B, T, h, w] and [B, T, H, W] "
            "with the same B and T, none of them 0."
        )
    flags = _frame_flags("has_mask", has_mask, logits)
    # Blank the inputs, not the loss: 0 * nan is nan, so padding could spoil the gradients of the labelled frames.
    logits = torch.where(flags[..., None, None], _full(logits), 0.0)
    target = torch.where(flags[..., None, None], target.to(logits.device, logits.dtype), 0.0)
    low, high = target.aminmax()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"target holds values from {low:g} to {high:g}; masks are bool or in [0, 1] (divide by 255?).")
    return logits, F.interpolate(target, size=logits.shape[-2:], mode="area"), flags


def _full(x: Tensor) -> Tensor:
    """At least single precision."""
    return x if x.dtype == torch.float64 else x.float()


def _frame_flags(name: str, flags: Tensor | None, frames: Tensor) -> Tensor:
    if flags is None:
        return torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
    if flags.shape != frames.shape[:2]:
        raise ValueError(f"{name} is {list(flags.shape)}, expected [B, T] = {list(frames.shape[:2])}.")
    return flags.to(frames.device, torch.bool)


def _visible_pixels(visible: Tensor, logits: Tensor) -> Tensor:
    if visible.shape != (len(logits), *logits.shape[-2:]):
        raise ValueError(
            f"visible is {list(visible.shape)}; expected [B, h, w] = {[len(logits), *logits.shape[-2:]]}, at the "
            "decoder's size."
        )
    return visible[:, None].to(logits.device, logits.dtype)


def _soft_sums(logits: Tensor, target: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Per frame [B, T]: the soft intersection, the prediction's area and the mask's area, in pixels."""
    prediction = logits.sigmoid()
    if visible is not None:
        counted = _visible_pixels(visible, logits)
        prediction, target = prediction * counted, target * counted
    return (prediction * target).sum((-2, -1)), prediction.sum((-2, -1)), target.sum((-2, -1))


def _average(frame_loss: Tensor, has_mask: Tensor, label_count: Tensor | float | None) -> Tensor:
    if label_count is None:
        label_count = has_mask.sum()
    elif not isinstance(label_count, Tensor) and not label_count > 0 and has_mask.any():
        raise ValueError(f"label_count is {label_count}, but {int(has_mask.sum())} frames are labelled here.")
    count = torch.as_tensor(label_count, dtype=frame_loss.dtype, device=frame_loss.device)
    total = torch.where(has_mask, frame_loss, 0.0).sum()
    return total / torch.where(count > 0, count, 1.0)  # no labelled frame anywhere: 0 / 1


def _same_class(labels: Tensor | list[str] | None, clips: int) -> Tensor:
    """[N, N], true where clip j is no negative of clip i: j = i, or the same label."""
    if labels is None:
        return torch.eye(clips, dtype=torch.bool)
    if len(labels) != clips or (isinstance(labels, Tensor) and labels.ndim != 1):
        found = list(labels.shape) if isinstance(labels, Tensor) else len(labels)
        raise ValueError(f"labels: found {found}, expected one for each of the {clips} clips.")
    if not isinstance(labels, Tensor):
        numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
        labels = torch.tensor([numbers[label] for label in labels])
    return labels[:, None] == labels[None, :]


@functools.cache  # once a process, even where the caller's filters repeat warnings
def _warn_no_negative() -> None:
    warnings.warn("semantic_loss: a batch of one clip has no negative, the loss is 0 (eq. 10).", stacklevel=3)
