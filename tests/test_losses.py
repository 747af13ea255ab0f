"""Equations 8-11 on numbers worked out by hand, and against loops that follow the text."""

import math
import warnings

import pytest
import torch
from torch.nn import functional as F

from gavs_lib import losses
from gavs_lib.losses import clip_average, segmentation_loss, semantic_loss, soft_iou_loss


def bce(logit, target):
    p = 1 / (1 + math.exp(-logit))
    return -(target * math.log(p) + (1 - target) * math.log(1 - p))


def random_batch(seed=0, b=2, t=3, h=4, size=8):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(b, t, h, h, generator=g, requires_grad=True)
    target = torch.rand(b, t, size, size, generator=g) > 0.6
    has_mask = torch.tensor([[True, False, True], [True, False, False]])
    return logits, target, has_mask


def test_segmentation_loss_of_one_frame_by_hand():
    logits = torch.tensor([[[[2.0, -1.0]]]])
    target = torch.tensor([[[[1, 0]]]])
    # (ln(1 + e^-2) + ln(1 + e^-1)) / 2 = (0.126928 + 0.313262) / 2 = 0.220095
    assert segmentation_loss(logits, target).item() == pytest.approx(0.220095, abs=1e-6)


def test_masks_are_area_averaged_to_the_decoders_size():
    logits = torch.tensor([[[[0.7, -0.3]]]])
    target = torch.tensor([[[[1, 0, 1, 1], [0, 0, 1, 1]]]])  # two 2 x 2 cells: 1/4 and 4/4 covered
    expected = (bce(0.7, 0.25) + bce(-0.3, 1.0)) / 2
    assert segmentation_loss(logits, target).item() == pytest.approx(expected, abs=1e-6)


def test_segmentation_loss_is_the_mean_over_labelled_frames_not_over_clips():
    logits, target, has_mask = random_batch()
    frames = []
    for b in range(2):
        for t in range(3):
            if has_mask[b, t]:
                cells = F.adaptive_avg_pool2d(target[b, t].float()[None], (4, 4))[0]
                frames.append(
                    sum(bce(logits[b, t, y, x].item(), cells[y, x].item()) for y in range(4) for x in range(4)) / 16
                )
    assert len(frames) == 3
    assert segmentation_loss(logits, target, has_mask).item() == pytest.approx(sum(frames) / 3, abs=1e-6)


def test_dice_is_added_per_frame_with_its_weight():
    logits = torch.zeros(1, 1, 2, 2)
    target = torch.tensor([[[[1, 1], [0, 0]]]])
    # p = 1/2 everywhere: overlap 1, sums 2 and 2; Dice = 1 - (2*1 + 1) / (2 + 2 + 1) = 2/5
    expected = math.log(2) + 0.5 * 2 / 5
    assert segmentation_loss(logits, target, dice_weight=0.5).item() == pytest.approx(expected, abs=1e-6)


def test_soft_iou_by_hand_and_smoothed_for_an_empty_mask():
    logits = torch.zeros(1, 2, 2, 2)
    target = torch.tensor([[[[1, 1], [0, 0]], [[0, 0], [0, 0]]]])
    # frame 0: overlap 1, union 2 + 2 - 1 = 3: 1 - 2/4 = 1/2;  frame 1: overlap 0, union 2: 1 - 1/3 = 2/3
    assert soft_iou_loss(logits, target).item() == pytest.approx((1 / 2 + 2 / 3) / 2, abs=1e-6)
    assert soft_iou_loss(logits, target, torch.tensor([[True, False]])).item() == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("loss", [segmentation_loss, soft_iou_loss])
def test_no_labelled_frame_gives_zero_with_zero_gradients(loss):
    logits, target, _ = random_batch()
    value = loss(logits, target, torch.zeros(2, 3, dtype=torch.bool))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))
    assert loss(logits, target, torch.zeros(2, 3, dtype=torch.bool), label_count=0).item() == 0


def test_unlabelled_frames_cannot_spoil_the_loss_or_its_gradients():
    logits, target, has_mask = random_batch()
    clean = segmentation_loss(logits, target, has_mask, dice_weight=1.0)
    (clean_grad,) = torch.autograd.grad(clean, logits)
    holes = torch.where(has_mask[..., None, None], logits.detach(), math.nan).requires_grad_()
    garbage = torch.where(has_mask[..., None, None], target.float(), 255.0)
    dirty = segmentation_loss(holes, garbage, has_mask, dice_weight=1.0)
    (dirty_grad,) = torch.autograd.grad(dirty, holes)
    assert torch.equal(clean, dirty)
    assert torch.equal(clean_grad, dirty_grad)
    assert not clean_grad[~has_mask].any()


def test_with_a_common_label_count_the_parts_of_a_batch_add_up():
    logits, target, has_mask = random_batch()
    whole = segmentation_loss(logits, target, has_mask, dice_weight=1.0)
    (whole_grad,) = torch.autograd.grad(whole, logits)
    labelled = has_mask.sum()
    # Summed gradients: the count of the whole batch. Averaged over two processes: half of it.
    for count, scale in [(labelled, 1.0), (3, 1.0), (labelled / 2, 0.5)]:
        parts = [
            segmentation_loss(logits[i : i + 1], target[i : i + 1], has_mask[i : i + 1], 1.0, count) for i in (0, 1)
        ]
        total = scale * sum(parts)
        assert total.item() == pytest.approx(whole.item(), abs=1e-6)
        torch.testing.assert_close(torch.autograd.grad(total, logits)[0], whole_grad)


def test_half_precision_logits_are_scored_in_float32():
    logits, target, _ = random_batch()
    loss = segmentation_loss((40 * logits).half(), target)
    assert loss.dtype == torch.float32 and loss.isfinite()


@pytest.mark.parametrize(
    ("logits", "target", "options", "message"),
    [
        ((2, 3, 4, 4), (2, 2, 8, 8), {}, r"\[2, 3, 4, 4\].*\[2, 2, 8, 8\]"),
        ((3, 4, 4), (3, 8, 8), {}, r"\[B, T, h, w\]"),
        ((1, 0, 4, 4), (1, 0, 8, 8), {}, "none of them 0"),
        ((1, 2, 4, 4), (1, 2, 8, 8), {"has_mask": torch.ones(2, 1)}, r"has_mask is \[2, 1\].*\[1, 2\]"),
        ((1, 2, 4, 4), (1, 2, 8, 8), {"label_count": 0}, "label_count is 0, but 2 frames"),
    ],
)
def test_mask_losses_refuse_what_does_not_fit(logits, target, options, message):
    for loss in (segmentation_loss, soft_iou_loss):
        with pytest.raises(ValueError, match=message):
            loss(torch.zeros(logits), torch.zeros(target), **options)


def test_masks_of_grey_levels_are_refused():
    with pytest.raises(ValueError, match="from 0 to 255.*divide by 255"):
        segmentation_loss(torch.zeros(1, 1, 2, 2), torch.tensor([[[[0, 255], [0, 0]]]], dtype=torch.uint8))


VISUAL = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
AUDIO = torch.tensor([[2.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
# cosines s(v_i, a_j):    a_0   a_1   a_2
#                   v_0   1.0   0.6   0.0
#                   v_1   0.0   0.8   1.0
#                   v_2   0.6   1.0   0.8


def test_semantic_loss_by_hand():
    # margin 0.5: row 0: .5 - 1 + .6 = .1;  row 1: .5 - .8 + 1 = .7;  row 2: .5 - .8 + 1 = .7
    assert semantic_loss(VISUAL, AUDIO, 0.5).item() == pytest.approx((0.1 + 0.7 + 0.7) / 3, abs=1e-6)
    # margin 0.1: row 0 is below zero and counts 0
    assert semantic_loss(VISUAL, AUDIO, 0.1).item() == pytest.approx((0 + 0.3 + 0.3) / 3, abs=1e-6)


def test_triplet_ignores_the_positive_pair():
    perfect = torch.eye(4)
    assert semantic_loss(perfect, perfect, 1.0).item() == 0  # j = i among the negatives would give the margin


def test_negatives_are_sounds_not_pictures():
    visual, audio = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # rows: [.2 - 1 + 0]_+ = 0 and .2 - 0 + 1 = 1.2; with negatives over pictures: .2 - 1 + 1 and .2 - 0 + 0
    assert semantic_loss(visual, audio, 0.2).item() == pytest.approx(0.6, abs=1e-6)


@pytest.mark.parametrize("labels", [["dog", "cat", "cat"], torch.tensor([7, 3, 3])])
def test_clips_of_the_same_class_are_no_negatives(labels):
    # row 0: .5 - 1 + max(.6, 0) = .1;  row 1: .5 - .8 + 0 = -.3 -> 0;  row 2: .5 - .8 + .6 = .3
    assert semantic_loss(VISUAL, AUDIO, 0.5, labels).item() == pytest.approx((0.1 + 0 + 0.3) / 3, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_semantic_loss_equals_a_loop_over_pairs(seed):
    g = torch.Generator().manual_seed(seed)
    visual, audio = torch.randn(6, 5, generator=g), torch.randn(6, 5, generator=g)
    labels = ["a", "b", "a", "c", "b", "a"]
    rows = []
    for i in range(6):
        s = [F.cosine_similarity(visual[i], audio[j], dim=0).item() for j in range(6)]
        rows.append(max(0.0, 0.3 - s[i] + max(s[j] for j in range(6) if labels[j] != labels[i])))
    assert semantic_loss(visual, audio, 0.3, labels).item() == pytest.approx(sum(rows) / 6, abs=1e-6)


def test_a_row_without_a_negative_contributes_zero_and_no_gradient():
    visual = torch.randn(3, 4, requires_grad=True)
    loss = semantic_loss(visual, torch.randn(3, 4), 0.5, ["dog", "dog", "dog"])
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(visual.grad, torch.zeros(3, 4))


def test_a_batch_of_one_gives_zero_and_says_so_once():
    losses._warn_no_negative.cache_clear()
    visual = torch.randn(1, 4, requires_grad=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values = [semantic_loss(visual, torch.randn(1, 4), 0.5) for _ in range(3)]
    assert [str(w.message) for w in caught] == [
        "semantic_loss: a batch of one clip has no negative, the loss is 0 (eq. 10)."
    ]
    assert caught[0].filename == __file__
    values[0].backward()
    assert values[0].item() == 0 and torch.equal(visual.grad, torch.zeros(1, 4))


def test_a_silent_embedding_of_zeros_keeps_the_loss_finite():
    visual = torch.randn(3, 4, requires_grad=True)
    loss = semantic_loss(visual, torch.zeros(3, 4), 0.5)  # every cosine 0: [0.5 - 0 + 0]_+
    loss.backward()
    assert loss.item() == pytest.approx(0.5)
    assert visual.grad.isfinite().all()


@pytest.mark.parametrize(
    ("visual", "audio", "margin", "labels", "message"),
    [
        ((3, 4), (2, 4), 0.5, None, r"\[3, 4\].*\[2, 4\]"),
        ((3, 2, 4), (3, 2, 4), 0.5, None, "clip_average"),
        ((0, 4), (0, 4), 0.5, None, r"\[0, 4\]"),
        ((3, 4), (3, 4), -0.1, None, "margin is -0.1"),
        ((3, 4), (3, 4), 0.5, ["dog"], "found 1, expected one for each of the 3 clips"),
        ((3, 4), (3, 4), 0.5, torch.zeros(3, 2), r"found \[3, 2\]"),
    ],
)
def test_semantic_loss_refuses_what_does_not_fit(visual, audio, margin, labels, message):
    with pytest.raises(ValueError, match=message):
        semantic_loss(torch.ones(visual), torch.ones(audio), margin, labels)


def test_clip_average_is_over_valid_frames_only():
    x = torch.tensor([[[1.0, 2.0], [3.0, 6.0]], [[5.0, 7.0], [math.nan, math.nan]]])
    valid = torch.tensor([[True, True], [True, False]])
    assert clip_average(x, valid).tolist() == [[2.0, 4.0], [5.0, 7.0]]  # (1+3)/2, (2+6)/2; 5, 7
    assert torch.equal(clip_average(x[:1]), torch.tensor([[2.0, 4.0]]))


def test_clip_average_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"clips \[1\] of the batch have no valid frame"):
        clip_average(torch.ones(2, 3, 4), torch.tensor([[1, 0, 0], [0, 0, 0]]))
    with pytest.raises(ValueError, match=r"frame_valid is \[3, 2\]"):
        clip_average(torch.ones(2, 3, 4), torch.ones(3, 2))
    with pytest.raises(ValueError, match=r"x is \[2, 4\]"):
        clip_average(torch.ones(2, 4))


def test_double_precision_stays_double_and_its_gradients_are_right():
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    target = torch.rand(1, 2, 8, 8, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: segmentation_loss(x, target, dice_weight=0.5), [logits])
    visual = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    audio = torch.randn(4, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: semantic_loss(v, audio, 0.5), [visual])


def test_autocast_does_not_blur_the_semantic_loss():
    torch.manual_seed(0)
    visual, audio = torch.randn(5, 128), torch.randn(5, 128)
    expected = semantic_loss(visual, audio, 0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(semantic_loss(visual, audio, 0.5), expected)
    assert clip_average(torch.randn(2, 3, 4).half()).dtype == torch.float32
