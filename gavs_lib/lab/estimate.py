"""How long a training takes: on GPUs that nobody has yet an estimate, on this machine from a step that is measured.

Two things go into it. The operations of a step are counted, not estimated: torch's counter follows every matrix product
and convolution of the model, on tensors without memory, so that a ViT-H at 1024 pixels is counted in seconds on a
laptop. What share of its printed peak a GPU reaches is the uncertain part. Segment-anything-fast prints pictures a
second of ViT-B at 1024 pixels on an A100: 39.8 in bf16 alone is 12 % of the peak, 73.2 with fused attention as well
is 23 %. These two are the limits given here, for all four GPUs; reading data from a slow disk comes on top. On the
machine at hand nothing need be assumed: `measure_speed` takes the time of a step, and divides.
"""

import time
from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from gavs_lib.lab.shipped import MODELS, ModelConfig
from gavs_lib.lab.train import accelerator_for
from gavs_lib.losses import segmentation_loss
from gavs_lib.sam import build_sam

SHARE = (0.12, 0.23)  # of a GPU's peak: the least and the most that is assumed


# Operations a second in half precision without sparsity, as their maker prints them.
GPUS = {"T4": 65e12, "L4": 121e12, "A100": 312e12, "H100": 989e12}


@dataclass(frozen=True)
class Operations:
    """Operations of a model for one frame; a multiplication and an addition are two.

    Attributes:
        prefix: up to the first block that is tuned; computed once where it is cached.
        use: from there to the mask.
        step: the same with the gradients of everything that trains.
    """

    prefix: int
    use: int
    step: int


def count_operations(
    kind: str, config: ModelConfig | None = None, sam: str = "vit_b", image_size: int | None = None
) -> Operations:
    """Count what a model does for one frame; nothing is computed and no weights are needed.

    Args:
        kind: of `lab.shipped.MODELS`.
        config: its settings; None: the model's own.
        sam: "mini", "vit_b", "vit_l" or "vit_h".
        image_size: side of the square that SAM sees, in pixels; None: SAM's own.
    """
    with FakeTensorMode():
        model = MODELS[kind](build_sam(sam, image_size=image_size), config)
        side, audio_dim = model.sam.image_encoder.img_size, model.config.audio_dim
        images, audio = torch.zeros(1, 1, 3, side, side), torch.zeros(1, 1, audio_dim)
        counted = {}
        with torch.no_grad():
            with FlopCounterMode(display=False) as counter:
                prefix = model.encode_prefix(images)
            counted["prefix"] = counter.get_total_flops()
            with FlopCounterMode(display=False) as counter:
                model(None, audio, prefix=prefix)
            counted["use"] = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            model.train()(None, audio, prefix=prefix).mask_logits.sum().backward()
        counted["step"] = counter.get_total_flops()
    return Operations(**counted)


def measure_speed(
    model: nn.Module, operations: Operations, frames: int = 1, precision: str = "auto", rounds: int = 3
) -> float:
    """Operations a second that a training step reaches here; the model stays as it is.

    Args:
        model: on its device.
        operations: of `count_operations` for this model.
        frames: that go through together; they must fit into the device's memory.
        precision: as in `lab.train.FitConfig`.
        rounds: steps that are measured, after one that warms up; the fastest counts.
    """
    anchor, training = next(model.parameters()), model.training
    side, audio_dim = model.sam.image_encoder.img_size, model.config.audio_dim
    images, audio = anchor.new_full((frames, 1, 3, side, side), 128.0), anchor.new_zeros(frames, 1, audio_dim)
    autocast = accelerator_for(anchor.device, precision).autocast
    model.train()
    taken = []
    with torch.no_grad(), autocast():
        prefix = model.encode_prefix(images)
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        with autocast():
            logits = model(None, audio, prefix=prefix).mask_logits
        segmentation_loss(logits, torch.zeros_like(logits)).backward()
        if anchor.device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begun)
        model.zero_grad(set_to_none=True)
    model.train(training)
    return frames * operations.step / min(taken[1:])


def training_hours(
    operations: Operations,
    frames: int,
    taught: int,
    validated: int,
    epochs: float,
    validations: float,
    cached: bool,
    here: float | None = None,
) -> pd.DataFrame:
    """Hours of a training on each GPU, least and most.

    Args:
        operations: of `count_operations`.
        frames: of all clips that train or choose.
        taught: frames of an epoch that go through a training step.
        validated: frames of one validation.
        epochs, validations: how often.
        cached: the prefix is computed once; otherwise with every frame that passes.
        here: of `measure_speed`; None: this machine has no row.

    Returns:
        A row a GPU: gpu, hours_least, hours_most; the last one, if asked for, is "this machine" with equal hours.
    """
    passes = epochs * taught + validations * validated
    total = (frames if cached else passes) * operations.prefix
    total += epochs * taught * operations.step + validations * validated * operations.use
    hours = {name: [total / (peak * share) / 3600 for share in reversed(SHARE)] for name, peak in GPUS.items()}
    if here is not None:
        hours["this machine"] = [total / here / 3600] * 2
    return pd.DataFrame([(name, *each) for name, each in hours.items()], columns=["gpu", "hours_least", "hours_most"])
