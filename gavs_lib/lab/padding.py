"""SAM's longest-side padding: the picture keeps its shape in the upper left of the square, and the rest counts nowhere.

The default of this library is the plain square resize; with `pad=True` in `extract_features` frames are scaled as SAM's
own `ResizeLongestSide` does and padded with the mean colour, which is zero after normalisation. The visual cue then
averages over the picture only (`picture_places`), the loss counts only its pixels (`masks_on_square`), and predictions
are cut to it (`crop_to_picture`). How much of the square is picture is the clip's `extent`: rows and columns in pixels.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def padded_extent(height: int, width: int, size: int) -> tuple[int, int]:
    """Rows and columns that a picture of `height` x `width` takes in a square of `size` pixels, as SAM rounds them."""
    scale = size / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def pad_frames(frames: np.ndarray, size: int, colour: Tensor) -> Tensor:
    """Frames uint8 [T, H, W, 3] -> float32 [T, 3, size, size], 0-255: longest side scaled to `size`, then padded.

    Args:
        colour: of the padding, three numbers in 0-255; SAM's `pixel_mean` becomes zero in its encoder.
    """
    images = torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float()
    extent = padded_extent(*images.shape[2:], size)
    if images.shape[2:] != extent:
        images = F.interpolate(images, size=extent, mode="bilinear", antialias=True, align_corners=False)
    square = colour.detach().cpu().float().reshape(1, 3, 1, 1).repeat(len(images), 1, size, size)
    square[:, :, : extent[0], : extent[1]] = images
    return square


def picture_places(extent: Tensor, size: int, side: int) -> Tensor:
    """Which places of a `side` x `side` map over the square have their centre in the picture: [B, 2] -> bool [B, s, s].

    Args:
        extent: rows and columns of the picture, in pixels of the square.
        size: the square's side in pixels.
    """
    centre = (torch.arange(side, device=extent.device) + 0.5) * (size / side)
    inside = centre < extent[:, :, None]  # [B, 2, side]
    return inside[:, 0, :, None] & inside[:, 1, None, :]


def masks_on_square(masks: Tensor | Sequence[Tensor], extent: Tensor, size: int, side: int) -> Tensor:
    """Masks at their own sizes, B times [T, H, W] -> [B, T, side, side] where a map over the square has them.

    Area-averaged, as the loss does it; zero on the padding.
    """
    placed = []
    for mask, (rows, columns) in zip(masks, extent.tolist()):
        inner = (max(1, round(rows * side / size)), max(1, round(columns * side / size)))
        scaled = F.interpolate(mask[None].float(), size=inner, mode="area")[0]
        placed.append(F.pad(scaled, (0, side - inner[1], 0, side - inner[0])))
    return torch.stack(placed)


def crop_to_picture(logits: Tensor, extent: Tensor, size: int) -> Tensor:
    """Logits [T, h, w] over the square, brought to its `size` and cut to the picture, [T, *extent], as SAM does it."""
    rows, columns = extent.tolist()
    square = F.interpolate(logits[None], size=(size, size), mode="bilinear", align_corners=False)[0]
    return square[:, :rows, :columns]
