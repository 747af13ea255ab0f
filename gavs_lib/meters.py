"""The scores of `gavs_lib.metrics` as torchmetrics classes: a state, an update, a compute, and sums over processes."""

import torch
from torch import Tensor
from torchmetrics import Metric

from gavs_lib.metrics import (
    AVSBENCH_THRESHOLD,
    Localization,
    _areas,
    _predict,
    _successes,
    _summarise,
    f_measure,
    false_positive_area,
    localization_iou,
    mask_iou,
)


class _Score(Metric):
    """A mean kept as its two sums, which add up over processes."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def _add(self, values: Tensor) -> None:
        self.total += values.to(self.total).sum()
        self.count += values.numel()

    def compute(self) -> Tensor:
        return self.total / self.count


class MeanIoU(_Score):
    """Mean over videos of each video's mean `mask_iou` (AVSBench, GAVS), or with `per_frame` the mean over all frames.

    Example:
        >>> metric, ones = MeanIoU(), torch.ones(2, 4, 4)
        >>> metric.update(9 * ones, ones.bool())  # both frames of one video: 1
        >>> metric.update(-9 * ones[:1], ones[:1].bool())  # the only frame of another: 0
        >>> round(metric.compute().item(), 4)  # 2/3 with per_frame=True
        0.5
    """

    def __init__(self, threshold: float = AVSBENCH_THRESHOLD, per_frame: bool = False, **kwargs) -> None:
        super().__init__(**kwargs)
        self.threshold, self.per_frame = threshold, per_frame

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add one video, [T, H, W]; only its labelled frames."""
        iou = mask_iou(logits, target, self.threshold).double()
        self._add(iou if self.per_frame else iou.mean())


class DatasetIoU(_Score):
    """`dataset_iou` over all videos: the summed intersection over the summed union.

    Example:
        >>> metric, ones = DatasetIoU(), torch.ones(1, 4, 4)
        >>> metric.update(9 * ones, ones)  # 16 of 16 pixels
        >>> metric.update(-9 * ones[:, :2, :2], ones[:, :2, :2])  # 0 of 4
        >>> round(metric.compute().item(), 4)
        0.8
    """

    def __init__(self, threshold: float = AVSBENCH_THRESHOLD, **kwargs) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add one video, [T, H, W]."""
        intersection, union = _areas(*_predict(logits, target, self.threshold))
        self.total += intersection.to(self.total).sum()
        self.count += union.to(self.count).sum()


class FMeasure(_Score):
    """Mean over videos of `f_measure`; videos without any sounding object count as 0, as in AVSBench.

    Example:
        >>> metric, target = FMeasure(), torch.tensor([[[1, 0], [0, 0]]])
        >>> metric.update(18.0 * target - 9, target)
        >>> metric.update(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2))
        >>> round(metric.compute().item(), 4)
        0.5
    """

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add one video, [T, H, W]."""
        self._add(f_measure(logits, target))


class FalsePositiveArea(_Score):
    """Mean `false_positive_area` over all frames in which nothing visible sounds; NaN if there is none.

    Example:
        >>> metric = FalsePositiveArea()
        >>> metric.update(torch.tensor([[[9.0, -9.0], [-9.0, -9.0]]]), torch.zeros(1, 2, 2))
        >>> round(metric.compute().item(), 4)
        0.25
    """

    higher_is_better = False

    def __init__(self, threshold: float = AVSBENCH_THRESHOLD, **kwargs) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add frames, [T, H, W]."""
        self._add(false_positive_area(logits, target, self.threshold))


class LocalizationMetric(_Score):
    """`localization` over all pictures.

    Example:
        >>> metric = LocalizationMetric()
        >>> metric.update(torch.tensor([[0.1, 0.2], [0.3, 0.9]]), torch.tensor([[0, 0], [1, 1]]))
        >>> metric.compute()
        Localization(success_rate=1.0, auc=0.525, mean_iou=0.5)
    """

    successes: Tensor

    def __init__(self, binarize: str = "median", threshold: float = 0.5, **kwargs) -> None:
        super().__init__(**kwargs)
        self.binarize, self.threshold = binarize, threshold
        self.add_state("successes", torch.zeros(21, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add pictures, [N, H, W] or one [H, W]."""
        iou = localization_iou(pred, target, self.binarize, self.threshold)
        self._add(iou)
        self.successes += _successes(iou).to(self.successes)

    def compute(self) -> Localization:
        return _summarise(self.successes, self.total, self.count)
