"""The toy shop as clips in memory: what trainings, tests and notebooks take without writing a folder first."""

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL
import scipy
from torch import nn

import gavs_lib.world
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


class ToyshopClips(Sequence):
    """Clips that are drawn when they are first looked at, and then kept.

    Args:
        made: the recipes, one a clip.
        draw: makes a clip of a recipe; None: `scene_clip`.

    Attributes:
        recipes: as given, a list.
    """

    def __init__(self, made: Sequence, draw: Callable[..., Clip] | None = None) -> None:
        self.recipes = list(made)
        self._draw = draw or scene_clip
        self._drawn: dict[int, Clip] = {}

    def __len__(self) -> int:
        return len(self.recipes)

    def __getitem__(self, item: int | slice) -> "Clip | list[Clip]":
        if isinstance(item, slice):
            return [self[i] for i in range(*item.indices(len(self)))]
        item = range(len(self))[item]
        if item not in self._drawn:
            self._drawn[item] = self._draw(self.recipes[item])
        return self._drawn[item]

    def key(self, item: int) -> str:
        """What tells a clip from every other, known before it is drawn: its recipe and the program that draws it."""
        return hashlib.sha256(f"{_drawing_program(self._draw.__module__)} {self.recipes[item]!r}".encode()).hexdigest()


@functools.cache
def _drawing_program(module: str) -> str:
    digest = hashlib.sha256(f"{np.__version__} {scipy.__version__} {PIL.__version__}".encode())
    for file in [*sorted(Path(gavs_lib.world.__file__).parent.glob("*.py")), Path(sys.modules[module].__file__)]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def toyshop_clips(
    counts: dict[tuple[str, str], int], rotation: int = 0, seed: int = 0
) -> tuple[list[ClipRecipe], ToyshopClips]:
    """The first clips of some (subset, split) parts, with the recipes they are made from."""
    made = [r for (subset, split), count in counts.items() for r in recipes(subset, split, count, rotation, seed)]
    return made, ToyshopClips(made)


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
