"""Every protocol on numbers worked out by hand, and against slow passes that follow its description."""

import doctest
import math

import pytest
import torch
from torch.nn import functional as F

from gavs_lib import meters, metrics
from gavs_lib.metrics import (
    DatasetIoU,
    FalsePositiveArea,
    FMeasure,
    LocalizationMetric,
    MeanIoU,
    boxes_to_mask,
    dataset_iou,
    f_curve,
    f_measure,
    false_positive_area,
    localization,
    localization_iou,
    mask_iou,
    summarize_iou,
)


def slow_iou(logits, target, threshold=0.5):
    scores = []
    for frame, truth in zip(logits, target.bool(), strict=True):
        if frame.shape != truth.shape:
            frame = F.interpolate(frame[None, None], size=truth.shape, mode="bilinear", align_corners=False)[0, 0]
        predicted = torch.sigmoid(frame) > threshold
        if truth.any():
            scores.append((predicted & truth).sum().item() / ((predicted | truth).sum().item() + 1e-7))
        else:
            scores.append((~predicted).sum().item() / truth.numel())
    return torch.tensor(scores)


def slow_f_curve(logits, target):
    curves = []
    for frame, truth in zip(logits, target.bool(), strict=True):
        if not truth.any():
            continue
        p, curve = torch.sigmoid(frame), []
        for t in torch.linspace(0, 1 - 1e-10, 255):
            predicted = p >= t
            hits = (predicted & truth).sum().float()
            precision, recall = hits / (predicted.sum().float() + 1e-20), hits / truth.sum()
            f = 1.3 * precision * recall / (0.3 * precision + recall)
            curve.append(torch.zeros(()) if f.isnan() else f)
        curves.append(torch.stack(curve))
    return torch.stack(curves).mean(dim=0) if curves else torch.zeros(255)


def slow_localization(ious):
    rates = [sum(20 * hit >= k * union for hit, union in ious) / len(ious) for k in range(21)]
    auc = sum((rates[k] + rates[k + 1]) / 2 * 0.05 for k in range(20))
    return rates[10], auc, sum(hit / union for hit, union in ious) / len(ious)


def video(seed, frames=4, size=12, silent=(), scale=3.0):
    g = torch.Generator().manual_seed(seed)
    target = torch.rand(frames, size, size, generator=g) > 0.7
    for t in silent:
        target[t] = False
    return scale * torch.randn(frames, size, size, generator=g) + target, target


def logits_of(probabilities):
    return torch.logit(torch.tensor(probabilities))


@pytest.mark.parametrize(
    "name",
    ["mask_iou", "f_measure", "boxes_to_mask", "localization", "summarize_iou", "MeanIoU", "DatasetIoU", "FMeasure"]
    + ["FalsePositiveArea", "LocalizationMetric"],
)
def test_the_example_of_each_docstring_runs(name):
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(getattr(metrics, name), name, globs={**vars(metrics), **vars(meters)})
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


# ---- IoU


def test_mask_iou_by_hand():
    logits = torch.tensor([[[5.0, 5.0, -5.0, -5.0]], [[5.0, 5.0, 5.0, -5.0]]])
    target = torch.tensor([[[0, 1, 1, 0]], [[1, 1, 1, 0]]])
    assert mask_iou(logits, target).tolist() == pytest.approx([1 / 3, 3 / 3])


def test_empty_ground_truth_scores_background_fraction():
    logits = torch.tensor([[[5.0, -5.0, -5.0, -5.0]], [[-5.0] * 4], [[5.0] * 4]])
    assert mask_iou(logits, torch.zeros(3, 1, 4)).tolist() == [3 / 4, 1.0, 0.0]


def test_a_score_equal_to_the_threshold_is_background():
    logits, target = torch.tensor([[[0.0, 0.1]]]), torch.tensor([[[1, 1]]])  # sigmoid(0) = 0.5 exactly
    assert mask_iou(logits, target).tolist() == pytest.approx([1 / 2])
    assert mask_iou(logits, target, metrics.GAVS_RELEASE_THRESHOLD).tolist() == pytest.approx([1.0])


def test_the_release_threshold_predicts_more():
    logits = logits_of([[[0.39, 0.41, 0.49, 0.51]]])
    target = torch.tensor([[[0, 1, 1, 1]]])
    assert mask_iou(logits, target, 0.5).item() == pytest.approx(1 / 3)
    assert mask_iou(logits, target, 0.4).item() == pytest.approx(3 / 3)


@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.5, 1.0])
@pytest.mark.parametrize("size", [12, 7, 30])
def test_mask_iou_equals_a_loop_over_frames(threshold, size):
    logits, target = video(1, silent=(2,))
    logits = torch.randn(4, size, size, generator=torch.Generator().manual_seed(size))
    torch.testing.assert_close(mask_iou(logits, target, threshold), slow_iou(logits, target, threshold))


def test_logits_are_upsampled_before_the_threshold_and_the_ground_truth_is_left_alone():
    logits = torch.tensor([[[-1.0, 3.0]]])  # bilinear to 1 x 4: -1, 0, 2, 3, of which 0 is not above a half
    target = torch.tensor([[[0, 1, 1, 1]]])
    assert mask_iou(logits, target).item() == pytest.approx(2 / 3)
    # 0.1 more crosses the threshold between the two cells; cells thresholded first would not change
    assert mask_iou(logits + 0.1, target).item() == pytest.approx(3 / 3)


def test_infinite_logits_are_certain_pixels_also_when_upsampled():
    logits = torch.tensor([[[math.inf, -math.inf], [math.inf, -math.inf]]])
    assert mask_iou(logits, torch.tensor([[[1, 0], [1, 0]]])).item() == pytest.approx(1.0)
    target = torch.zeros(1, 4, 4)
    target[:, :, :2] = 1
    assert mask_iou(logits, target).item() == pytest.approx(1.0)
    assert f_measure(logits, target).item() == pytest.approx(1.0)


def test_half_precision_logits_score_like_float32():
    logits, target = video(5)
    assert torch.equal(mask_iou(logits.half(), target), mask_iou(logits.half().float(), target))


def test_dataset_iou_weighs_pixels_and_mean_iou_weighs_frames():
    logits = torch.tensor([[[5.0, 5.0, 5.0, 5.0]], [[5.0, -5.0, -5.0, -5.0]]])
    target = torch.tensor([[[1, 1, 1, 1]], [[0, 1, 0, 0]]])
    assert dataset_iou(logits, target).item() == pytest.approx((4 + 0) / (4 + 2))
    assert mask_iou(logits, target).mean().item() == pytest.approx((4 / 4 + 0 / 2) / 2)


def test_per_video_and_per_frame_means_differ_where_lengths_mix():
    right, wrong = 9 * torch.ones(10, 2, 2), -9 * torch.ones(5, 2, 2)
    per_video, per_frame = MeanIoU(), MeanIoU(per_frame=True)
    for metric in (per_video, per_frame):
        metric.update(right, torch.ones(10, 2, 2))
        metric.update(wrong, torch.ones(5, 2, 2))
    assert per_video.compute().item() == pytest.approx((1 + 0) / 2)
    assert per_frame.compute().item() == pytest.approx((10 * 1 + 5 * 0) / 15)


# ---- false positives


def test_false_positive_area_looks_only_at_frames_where_nothing_sounds():
    logits = torch.tensor([[[5.0, -5.0, -5.0, -5.0]], [[5.0] * 4], [[5.0, 5.0, -5.0, -5.0]]])
    target = torch.tensor([[[0, 0, 0, 0]], [[1, 0, 0, 0]], [[0, 0, 0, 0]]])
    assert false_positive_area(logits, target).tolist() == [1 / 4, 2 / 4]
    metric = FalsePositiveArea()
    metric.update(logits, target)
    assert metric.compute().item() == pytest.approx((1 / 4 + 2 / 4) / 2)


# ---- F


def test_f_measure_by_hand():
    logits = logits_of([[[0.9, 0.6, 0.3, 0.1]]])
    target = torch.tensor([[[1, 0, 1, 0]]])
    # cut above .6: P = 1, R = 1/2: 1.3 * .5 / (.3 + .5) = .8125; above .1: P = 2/3, R = 1: 1.3 * 2/3 / 1.2 = .7222
    assert f_measure(logits, target).item() == pytest.approx(0.8125)


def test_the_maximum_is_taken_after_averaging_over_frames():
    logits = logits_of([[[0.9, 0.8]], [[0.3, 0.2]]])
    target = torch.tensor([[[1, 0]], [[1, 0]]])
    # each frame alone reaches F = 1, at different thresholds; together at a cut in (.2, .3]:
    # (1.3 * .5 * 1 / (.3 * .5 + 1) + 1) / 2 = (.565217 + 1) / 2 = .782609
    assert f_measure(logits, target).item() == pytest.approx(0.782609, abs=1e-6)
    assert f_measure(logits[:1], target[:1]).item() == f_measure(logits[1:], target[1:]).item() == 1.0


@pytest.mark.parametrize("silent", [(), (1,), (0, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("scale", [0.5, 3.0, 60.0])
def test_the_histogram_equals_255_passes_exactly(silent, scale):
    logits, target = video(3, silent=silent, scale=scale)
    curve = f_curve(logits, target)
    assert curve.shape == (255,)
    assert torch.equal(curve, slow_f_curve(logits, target))
    assert f_measure(logits, target) == curve.max()


def test_scores_exactly_on_the_thresholds_are_counted_as_255_passes_count_them(monkeypatch):
    thresholds = torch.linspace(0, 1 - 1e-10, 255)
    beside = torch.cat([torch.nextafter(thresholds, torch.tensor(side)) for side in (-1.0, 2.0)]).clamp(0, 1)
    scores = torch.cat([thresholds, beside, thresholds[:3]]).view(1, 24, 32)
    target = torch.rand(1, 24, 32, generator=torch.Generator().manual_seed(0)) > 0.5
    monkeypatch.setattr(torch.Tensor, "sigmoid", lambda self: self)  # no float32 logit reaches most thresholds
    monkeypatch.setattr(torch, "sigmoid", lambda x: x)
    assert torch.equal(f_curve(scores, target), slow_f_curve(scores, target))


def test_saturated_and_infinite_logits_reach_both_ends_of_the_curve():
    logits = torch.tensor([[[math.inf, 200.0, -200.0, -math.inf]], [[0.0, 0.0, 1.0, -1.0]]])
    target = torch.tensor([[[1, 0, 1, 0]], [[1, 0, 0, 1]]])
    assert torch.equal(f_curve(logits, target), slow_f_curve(logits, target))
    # threshold 0 predicts everything: P = 1/2, R = 1; threshold 1 the two saturated pixels: P = R = 1/2
    first = f_curve(logits[:1], target[:1])
    assert first[0].item() == pytest.approx(1.3 * 0.5 / 1.15)
    assert first[254].item() == pytest.approx(0.5)


def test_a_video_without_any_sounding_object_has_f_zero_and_counts():
    logits, target = video(2)
    metric = FMeasure()
    metric.update(logits, target)
    metric.update(logits, torch.zeros_like(target))
    assert f_measure(logits, torch.zeros_like(target)).item() == 0
    assert metric.compute().item() == pytest.approx((f_measure(logits, target).item() + 0) / 2)


# ---- VGG-SS


def test_boxes_are_drawn_with_truncated_corners_and_united():
    mask = boxes_to_mask([[0.25, 0.5, 0.5, 0.999], [0.0, 0.0, 0.13, 0.26]], size=8)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[4:7, 2:4] = True  # y: int(4), int(7.99); x: int(2), int(4)
    expected[0:2, 0:1] = True  # y: 0, int(2.08); x: 0, int(1.04)
    assert torch.equal(mask, expected)


def test_absurd_and_degenerate_boxes_are_cut_or_add_nothing():
    assert boxes_to_mask([[-2.9e16, -2.9e16, 0.5, 0.5]], size=4).sum().item() == 4
    assert boxes_to_mask([[0.5, 0.5, 3e16, 1.5]], size=4).sum().item() == 4
    assert boxes_to_mask([[-0.3, -0.3, 0.5, 0.5]], size=4).sum().item() == 4  # -1 must not count from the far side
    nothing = [[0.5, 0.1, 0.5, 0.9], [0.8, 0.1, 0.2, 0.9], [-5.0, 0.0, -1.0, 1.0]]
    assert boxes_to_mask(nothing).sum().item() == 0
    assert boxes_to_mask([]).shape == (224, 224) and not boxes_to_mask([]).any()
    assert torch.equal(boxes_to_mask(torch.tensor([[0.0, 0.0, 0.5, 1.0]])), boxes_to_mask([[0.0, 0.0, 0.5, 1.0]]))


@pytest.mark.parametrize("boxes", [[0.1, 0.2, 0.3, 0.4], [[0.1, 0.2, 0.3]], [[0.0, 0.0, math.nan, 1.0]]])
def test_what_is_not_a_list_of_boxes_is_refused(boxes):
    with pytest.raises(ValueError, match="four finite numbers"):
        boxes_to_mask(boxes)


def test_a_heat_map_is_binarised_above_its_own_median():
    target = torch.tensor([[0, 0, 0], [0, 1, 1], [1, 1, 1]])
    heat = torch.arange(9.0).view(3, 3)  # median 4: predicted 5, 6, 7, 8, all inside the 5 true ones
    assert localization_iou(heat, target).tolist() == [4 / 5]
    assert localization_iou(100 + 7 * heat, target).tolist() == [4 / 5]
    wide = torch.tensor([[0.0, 1.0, 1.0, 1.0]])  # the median reaches the maximum, which still counts
    assert localization_iou(wide, torch.tensor([[0, 0, 1, 1]])).tolist() == [2 / 3]
    assert localization_iou(torch.full((3, 3), 2.0), target).tolist() == [0.0]


def test_masks_and_logits_are_localised_without_the_median():
    target = torch.tensor([[[0, 0, 1, 1]]])
    assert localization_iou(torch.ones(1, 1, 4, dtype=torch.bool), target).tolist() == [2 / 4]
    logits = torch.tensor([[[-9.0, -9.0, -9.0, 9.0]]])
    assert localization_iou(logits, target, "threshold").tolist() == [1 / 2]
    assert localization_iou(logits, torch.zeros(1, 1, 4), "threshold").tolist() == [0.0]
    assert localization_iou(-logits.abs(), torch.zeros(1, 1, 4), "threshold").tolist() == [0.0]  # 0 / 0


def test_localization_summarises_ious_exactly_at_the_steps():
    # IoUs hit / 20 on 1 x 20 pictures whose ground truth is everything; 3/20 lies below 0.05 * 3 in floating point
    hits = [3, 10, 9, 20, 0, 14]
    pred = torch.stack([torch.arange(20)[None] < hit for hit in hits])
    result = localization(pred, torch.ones(6, 1, 20))
    assert result == pytest.approx(slow_localization([(hit, 20) for hit in hits]))
    assert result.success_rate == pytest.approx(3 / 6)  # 10, 20, 14
    assert result.mean_iou == pytest.approx(56 / 120)
    # sum over images of the trapezoid of a step that ends at k = hit: (hit + 1/2) / 20, but 20 / 20 for a full hit
    assert result.auc == pytest.approx((3.5 + 10.5 + 9.5 + 20 + 0.5 + 14.5) / 20 / 6)


def test_pieces_scored_one_by_one_sum_up_to_the_whole():
    pred, target = torch.rand(5, 8, 8), torch.rand(5, 8, 8) > 0.5
    pieces = [localization_iou(pred[:2], target[:2]), localization_iou(pred[2:], target[2:])]
    assert summarize_iou(torch.cat(pieces)) == localization(pred, target)
    for bad in (torch.zeros(0), torch.zeros(2, 2), torch.tensor([0.5, math.nan]), torch.tensor([31.2])):
        with pytest.raises(ValueError, match=r"iou has shape .*; expected \[N\], at least one, all in \[0, 1\]"):
            summarize_iou(bad)


def test_heat_maps_are_resized_to_the_ground_truth():
    heat, target = torch.rand(2, 7, 7), torch.rand(2, 28, 28) > 0.5
    large = F.interpolate(heat[:, None], size=(28, 28), mode="bilinear", align_corners=False)[:, 0]
    assert torch.equal(localization_iou(heat, target), localization_iou(large, target))
    with pytest.raises(ValueError, match=r"mask \[2, 7, 7\], target \[2, 28, 28\]"):
        localization_iou(heat > 0.5, target)
    with pytest.raises(ValueError, match="binarize is 'mean'"):
        localization(heat, target, binarize="mean")


# ---- accumulation and errors

METRICS = [
    MeanIoU,
    lambda: MeanIoU(metrics.GAVS_RELEASE_THRESHOLD, per_frame=True),
    DatasetIoU,
    FMeasure,
    FalsePositiveArea,
    LocalizationMetric,
]


@pytest.mark.parametrize("make", METRICS)
def test_two_halves_merged_equal_one(make):
    videos = [video(seed, frames=3 + seed % 3, silent=(1,)) for seed in range(7)]
    whole, first, second = make(), make(), make()
    for number, (logits, target) in enumerate(videos):
        whole.update(logits, target)
        (first if number < 3 else second).update(logits, target)
    first.merge_state(second)
    assert tuple(torch.as_tensor(first.compute()).flatten().tolist()) == pytest.approx(
        torch.as_tensor(whole.compute()).flatten().tolist(), abs=1e-12
    )


def test_classes_equal_their_functions():
    logits, target = video(9, silent=(0,))
    for metric, expected in [
        (MeanIoU(), mask_iou(logits, target).mean().item()),
        (DatasetIoU(), dataset_iou(logits, target).item()),
        (FMeasure(), f_measure(logits, target).item()),
        (FalsePositiveArea(), false_positive_area(logits, target).mean().item()),
        (LocalizationMetric("threshold"), localization(logits, target, "threshold")),
    ]:
        metric.update(logits, target)
        assert metric.compute() == pytest.approx(expected, abs=1e-6)


def test_sums_stay_in_double_precision_and_survive_reset():
    metric = MeanIoU().half()
    assert metric.total.dtype == torch.float64
    metric.update(torch.ones(1, 2, 2), torch.ones(1, 2, 2))
    metric.reset()
    assert metric.total.item() == metric.count.item() == 0


@pytest.mark.parametrize("score", [mask_iou, dataset_iou, f_measure, f_curve, false_positive_area, localization])
@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (torch.zeros(2, 4, 4), torch.zeros(3, 4, 4), r"\[2, 4, 4\].*\[3, 4, 4\].*same T"),
        (torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), r"\[1, 2, 4, 4\].*one video"),
        (torch.zeros(0, 4, 4), torch.zeros(0, 4, 4), r"\[0, 4, 4\].*none of them 0"),
        (torch.zeros(1, 2, 2), torch.full((1, 2, 2), 255, dtype=torch.uint8), r"\[1, 2, 2\].*maximum is 255"),
        (torch.full((1, 2, 2), math.nan), torch.zeros(1, 2, 2), r"\[1, 2, 2\] hold 4 NaN"),
    ],
)
def test_bad_input_is_refused_by_every_score(score, logits, target, message):
    with pytest.raises(ValueError, match=message):
        score(logits, target)


def test_a_threshold_must_be_a_probability():
    with pytest.raises(ValueError, match="threshold is -1.2"):
        mask_iou(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), -1.2)


def test_a_mask_stored_as_numbers_is_the_mask_it_is():
    target = torch.zeros(2, 8, 8)
    target[:, :4] = 1
    for whole in (torch.ones(2, 8, 8), torch.ones(2, 8, 8, dtype=torch.uint8), torch.ones(2, 8, 8, dtype=torch.bool)):
        assert localization(whole, target).mean_iou == 0.5
