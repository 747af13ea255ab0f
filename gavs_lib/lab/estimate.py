"""How long a training takes on which GPU, before anybody has one: an estimate, to be replaced by what is measured.

Two things go into it. The operations of a step are counted, not estimated: torch's counter follows every matrix product
and convolution of the model, on tensors without memory, so that a ViT-H at 1024 pixels is counted in seconds on a
laptop. What share of its printed peak a GPU reaches is the uncertain part. Segment-anything-fast prints pictures a
second of ViT-B at 1024 pixels on an A100: 39.8 in bf16 alone is 12 % of the peak, 73.2 with fused attention as well
is 23 %. These two are the limits given here, for all four GPUs; reading data from a slow disk comes on top.
"""

from dataclasses import dataclass

import pandas as pd
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from gavs_lib.gavs import GAVSConfig
from gavs_lib.lab.shipped import MODELS
from gavs_lib.sam import build_sam
from gavs_lib.save import SAVEConfig

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
    kind: str, config: GAVSConfig | SAVEConfig | None = None, sam: str = "vit_b", image_size: int | None = None
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


def training_hours(
    operations: Operations, frames: int, taught: int, validated: int, epochs: int, validations: int, cached: bool
) -> pd.DataFrame:
    """Hours of a training on each GPU, least and most.

    Args:
        operations: of `count_operations`.
        frames: of all clips that train or choose.
        taught: frames of an epoch that go through a training step.
        validated: frames of one validation.
        epochs, validations: how often.
        cached: the prefix is computed once; otherwise with every frame that passes.

    Returns:
        A row a GPU: gpu, hours_least, hours_most.
    """
    passes = epochs * taught + validations * validated
    total = (frames if cached else passes) * operations.prefix
    total += epochs * taught * operations.step + validations * validated * operations.use
    hours = {name: [total / (peak * share) / 3600 for share in reversed(SHARE)] for name, peak in GPUS.items()}
    return pd.DataFrame([(name, *each) for name, each in hours.items()], columns=["gpu", "hours_least", "hours_most"])
