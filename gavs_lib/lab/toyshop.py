"""The toy shop as clips in memory: what trainings, tests and notebooks take without writing a folder first."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from gavs_lib.data import Clip
from gavs_lib.lab.features import FeatureSet, extract_features
from gavs_lib.world.folder import ClipRecipe, recipes
from gavs_lib.world.scenes import SAMPLE_RATE, mix, render_frames, sounding_mask


def scene_clip(recipe: ClipRecipe) -> Clip:
    """Draw and mix one clip; only the first mask of a v1s training clip is labelled, as in AVSBench."""
    pictures = render_frames(recipe.scene)
    masks = sounding_mask(recipe.scene, pictures.masks)
    has_mask = np.ones(len(masks), dtype=bool)
    if (recipe.subset, recipe.split) == ("v1s", "train"):
        has_mask[1:] = False
        masks[1:] = False
    waveform = mix(recipe.scene)
    return Clip(recipe.uid, pictures.frames, masks, has_mask, waveform, SAMPLE_RATE, recipe.a_obj, Path(recipe.uid))


def toyshop_clips(
    counts: dict[tuple[str, str], int], rotation: int = 0, seed: int = 0
) -> tuple[list[ClipRecipe], list[Clip]]:
    """The first clips of some (subset, split) parts, with the recipes they were made from."""
    made = [r for (subset, split), count in counts.items() for r in recipes(subset, split, count, rotation, seed)]
    return made, [scene_clip(r) for r in made]


def toyshop_features(
    counts: dict[tuple[str, str], int],
    model: nn.Module,
    vggish: nn.Module,
    cache_dir: str | os.PathLike,
    rotation: int = 0,
    seed: int = 0,
    progress: bool = False,
) -> tuple[Sequence[ClipRecipe], FeatureSet]:
    """Recipes and features of freshly drawn clips.

    Args:
        counts: clips by (subset, split), such as ``{("v1s", "test"): 60}``.
        model, vggish, cache_dir: as in ``extract_features``.
        rotation: which classes are seen.
        seed: other seeds give other clips of the same world.
    """
    made, clips = toyshop_clips(counts, rotation, seed)
    return made, extract_features(clips, model, vggish, cache_dir, progress=progress)
