"""Time for memory: activations that are computed again instead of being kept (Chen et al. 2016, arXiv 1604.06174).

A training step keeps what every layer computed until the backward pass has used it. At 1024 pixels that, not the
weights, is what fills a GPU. With gradient checkpointing a block keeps only what entered it and, when its turn comes in
the backward pass, runs forward once more: the memory of one block at a time, for up to half as much time again (a
backward pass through frozen weights takes about as long as a forward one). The numbers are the same ones, computed
twice, so the gradients are equal.
"""

import contextlib
import functools
from collections.abc import Iterator

from torch import nn
from torch.utils.checkpoint import checkpoint

from gavs_lib.gavs import FrozenSAM


@contextlib.contextmanager
def recompute_activations(model: nn.Module) -> Iterator[None]:
    """While it is open, the tuned parts of SAM keep only their inputs for the backward pass; use it with `with`.

    These are the encoder blocks from `tune_from` on, the layers of the mask decoder's transformer and its upscaling.
    Names, parameters and results of the model stay as they are; a part that draws random numbers draws the same again.
    (TPAVI has a decoder of its own, which keeps its activations.)

    Args:
        model: GAVS, SAVE or another model built on `FrozenSAM`; changed in place and put back at the end.

    Raises:
        ValueError: a model without a SAM.
    """
    if not isinstance(model, FrozenSAM):
        raise ValueError(
            f"{type(model).__name__} is not built on FrozenSAM, so it is not known which of its blocks to compute "
            "again; train it with checkpointing=False."
        )
    decoder = model.sam.mask_decoder
    parts = [*model.sam.image_encoder.blocks[model.tune_from :], *decoder.transformer.layers, decoder.output_upscaling]
    for part in parts:
        part.forward = functools.partial(checkpoint, part.forward, use_reentrant=False)
    try:
        yield
    finally:
        for part in parts:
            del part.forward  # the class's own is seen again
