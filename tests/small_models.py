"""Small models for the tests of the core: random weights in every tensor, so that nothing hides behind a zero."""

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn

from gavs_lib.sam import build_sam


def lively_sam(image_size: int = 128, seed: int = 0) -> Sam:
    """SAM-mini whose position embeddings, zero at first in SAM, are random as well."""
    torch.manual_seed(seed)
    sam = build_sam("mini", image_size=image_size)
    for name, parameter in sam.named_parameters():
        if "pos" in name:
            nn.init.normal_(parameter, std=0.2)
    return sam


def clip(clips: int = 1, frames: int = 2, image_size: int = 128, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Images [B, T, 3, S, S] in 0-255 and audio [B, T, 128]."""
    generator = torch.Generator().manual_seed(seed)
    images = 255 * torch.rand(clips, frames, 3, image_size, image_size, generator=generator)
    return images, torch.randn(clips, frames, 128, generator=generator)


def randomize_trained(model: nn.Module, seed: int = 2) -> None:
    """Move every trained parameter away from where it started, zeros included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
