"""The miniature's counterpart of AVS-Synthetic: pictures and sounds of the sketchbook that were never made together.

AVS-Synthetic joins pictures of objects with their masks, and recordings of the same class from elsewhere; models are
trained on it first, and then on real clips (SAMA-AVS; SAVE, Tables 2 and 6). Here the sketchbook (`gavs_lib.world`),
drawn by another hand and played by other instruments than the toy shop, gives pictures of single toys and recordings of
other toys of their class, and `gavs_lib.data.compose` joins them, as it joins a user's own.

Only seen classes of a rotation take part, so that unseen ones stay unseen. A model that was trained on it has met the
sketchbook: the twin of VGG-SS (`lab.twin`), which is of that style too, is strange to it no more.
"""

import os
from functools import partial
from pathlib import Path

import numpy as np

from gavs_lib.data import AVSBench
from gavs_lib.data.compose import compose_clips
from gavs_lib.data.material import LabelledPicture, LabelledSound
from gavs_lib.world.boxes import STYLE
from gavs_lib.world.classes import class_split
from gavs_lib.world.objects import Toy
from gavs_lib.world.scenes import FRAME, SAMPLE_RATE, Scene, mix, render_frames, sample_scene

SUBSET = "v1s"
VAL_SHARE = 1 / 7  # of the clips; the others train
DISTRACTORS = 2


def sketchbook_material(
    rotation: int, per_class: int, seed: int = 0
) -> tuple[list[LabelledPicture], list[LabelledSound]]:
    """Pictures of one toy each and recordings of one toy each, of every seen class; no scene gives both."""
    toys = class_split(rotation).seen
    pictures, sounds = [], []
    for place, toy in enumerate(toys):
        for number in range(per_class):
            name = f"{toy.name} {number}"
            pictures.append(
                LabelledPicture(toy.name, name, partial(_picture, toy, (seed, 71, rotation, place, number)))
            )
            sounds.append(LabelledSound(toy.name, name, partial(_sound, toy, (seed, 72, rotation, place, number))))
    return pictures, sounds


def synthetic_clips(
    root: str | os.PathLike, rotation: int, train: int, seed: int = 0, progress: bool = False
) -> tuple[AVSBench, AVSBench]:
    """Clips to train on first, and a sixth as many to choose the epoch; the folder is written if it is not there.

    Args:
        root: an AVSBench-semantic folder, written by an earlier call with the same arguments, or a new one.
        rotation: whose seen classes take part.
        train: clips that train, rounded up to equal numbers of each class.
        seed: other seeds give other material.
        progress: show progress bars.
    """
    classes = len(class_split(rotation).seen)
    per_class = max(2, round(train / classes / (1 - VAL_SHARE) + 0.5))
    compose_clips(
        *sketchbook_material(rotation, per_class, seed),
        root,
        distractors=DISTRACTORS,
        splits={"train": 1 - VAL_SHARE, "val": VAL_SHARE},
        longest_side=FRAME,
        seed=seed,
        progress=progress,
    )
    return tuple(AVSBench(Path(root), SUBSET, split) for split in ("train", "val"))


def _alone(toy: Toy, chance: tuple[int, ...]) -> Scene:
    return sample_scene(np.random.default_rng(chance), "v1s", (toy,), (toy,), style=STYLE)  # nobody beside it


def _picture(toy: Toy, chance: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    pictures = render_frames(_alone(toy, chance))
    return pictures.frames[0], pictures.masks[0, 0]


def _sound(toy: Toy, chance: tuple[int, ...]) -> tuple[np.ndarray, int]:
    return mix(_alone(toy, chance)), SAMPLE_RATE
