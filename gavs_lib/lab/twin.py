"""The miniature twin of VGG-SS in memory, its few-shot lists, and the proof that it is near enough and far enough.

As VGG-SS is to AVSBench, so is the sketchbook (`gavs_lib.world.boxes`) to the toy shop: the same classes, drawn by
another hand, played by other instruments, annotated by boxes. Both encoders know the toy shop only.

    python -m gavs_lib.lab.twin --probes           how much of each factor the encoders still read: twin_probes.csv
    python -m gavs_lib.lab.twin --write FOLDER     the set as VGG-SS lies on a disk

How strong the change of style is was fixed by these probes and by looking, before any audio-visual model was scored.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from segment_anything.modeling import Sam

from gavs_lib.data import Clip
from gavs_lib.data.shots import SHOTS, draw_shots
from gavs_lib.lab.pretrain import FACTORS, linear_reader, picture_features, sound_features
from gavs_lib.lab.toyshop import ToyshopClips
from gavs_lib.lab.weights import write_atomically
from gavs_lib.metrics import boxes_to_mask
from gavs_lib.sam import build_sam
from gavs_lib.vggish import VGGish, load_vggish
from gavs_lib.world.boxes import MOMENT, STYLE, BoxRecipe, box_recipes, draw_entry, write_boxes
from gavs_lib.world.classes import ROTATIONS, class_split
from gavs_lib.world.folder import fingerprint
from gavs_lib.world.objects import TOYS
from gavs_lib.world.scenes import SAMPLE_RATE, mix

ENTRIES = 252  # of the default set: seven of every class, so that five shots leave two to test on


class FewShotItems(NamedTuple):
    """A few-shot division by place in the set: fits `FeatureSet.subset`."""

    train: dict[int, list[int]]  # k -> k entries of every class, nested
    test: list[int]  # entries of none of these lists: the same ones for every k


def twin_clip(recipe: BoxRecipe) -> Clip:
    """One entry as `gavs_lib.data.VGGSS` returns it from a disk, without JPEG's and WAV's rounding.

    One frame [1, 128, 128, 3], one second of sound around it, and the filled box as mask [1, 224, 224].
    """
    frame, box = draw_entry(recipe)
    first = round((MOMENT - 0.5) * SAMPLE_RATE)
    return Clip(
        uid=recipe.uid,
        frames=frame[None],
        masks=boxes_to_mask([box]).numpy()[None],
        has_mask=np.ones(1, dtype=bool),
        waveform=mix(recipe.scene)[first : first + SAMPLE_RATE],
        sample_rate=SAMPLE_RATE,
        a_obj=recipe.toy.name,
        path=Path(recipe.uid),
    )


def twin_clips(count: int = ENTRIES, seed: int = 0) -> tuple[list[BoxRecipe], ToyshopClips]:
    """The first entries of the set, with the recipes they are made from. One core draws about 20 a second."""
    made = list(box_recipes(count, seed))
    return made, ToyshopClips(made, twin_clip)


def twin_few_shot(
    uids: Sequence[str], labels: Sequence[str], shots: Iterable[int] = SHOTS, seed: int = 0
) -> FewShotItems:
    """Divide entries for few-shot training, as `VGGSS.few_shot` does for those on a disk.

    Args:
        uids, labels: of the entries: those of a `FeatureSet`, or the uid and a_obj of clips.
        shots: values of k.
        seed: other seeds give other lists.

    Raises:
        ValueError: as `gavs_lib.data.shots.draw_shots`: a class with no more entries than the largest k, among others.
    """
    train = draw_shots(uids, labels, shots, seed)
    taken = {item for items in train.values() for item in items}
    return FewShotItems(train, [item for item in range(len(uids)) if item not in taken])


def probe_twin(sam: Sam, vggish: VGGish, fit: int = 800, read: int = 400, seed: int = 1) -> pd.DataFrame:
    """What linear readers of the toy shop still read in the sketchbook.

    In each rotation a reader of each factor is fitted on features of the toy shop's seen classes, and reads fresh
    scenes of both worlds, whose classes it has seen or not. Features as in `pretrain.probe`: of sound, the embedding
    of a second in which one toy sounds; of pictures, F_V averaged over the pixels of the toy.

    Args:
        sam, vggish: the encoders, frozen.
        fit: scenes of all 36 classes to fit on; a rotation's reader is fitted on those of its seen classes.
        read: scenes to read in each world.
        seed: of the scenes.

    Returns:
        Rows of encoder, factor and rotation with the accuracies home_seen, home_unseen, twin_seen, twin_unseen, and
        chance.
    """
    rows = []
    for name, encoder, features in (("SAM-mini", sam, picture_features), ("VGGish-mini", vggish, sound_features)):
        home, twin = features(encoder), features(encoder, STYLE)
        drawn = [home(TOYS, fit, [seed, 0]), home(TOYS, read, [seed, 1]), twin(TOYS, read, [seed, 2])]
        for rotation in range(ROTATIONS):
            split = class_split(rotation)
            parts = [(0, split.seen), (1, split.seen), (1, split.unseen), (2, split.seen), (2, split.unseen)]
            for factor, values in zip(("family", "size", "material"), FACTORS):
                inputs, answers = [], []
                for which, classes in parts:
                    embeddings, toys = drawn[which]
                    chosen = [i for i, toy in enumerate(toys) if toy in classes]
                    inputs.append(embeddings[chosen])
                    answers.append(torch.tensor([values.index(getattr(toys[i], factor)) for i in chosen]))
                accuracies = linear_reader(inputs, answers, len(values))
                columns = dict(zip(("home_seen", "home_unseen", "twin_seen", "twin_unseen"), accuracies))
                row = {"encoder": name, "factor": factor, "rotation": rotation}
                rows.append(row | columns | {"chance": 1 / len(values)})
    return pd.DataFrame(rows)


def main(argv: list[str] | None = None) -> int:
    """Probe the twin, or write it to a folder.

    Returns:
        exit code: 0 done, 1 it could not be done (one line says why).
    """
    description = main.__doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.lab.twin", description=description)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--probes", action="store_true", help="linear probes of both encoders; about 2 minutes")
    task.add_argument("--write", type=Path, metavar="FOLDER", help="vggss.json, frames/ and audio/")
    parser.add_argument("--results", type=Path, default=Path("data/results/twin_probes.csv"), help="of --probes")
    parser.add_argument("--count", type=int, default=ENTRIES, help="entries of --write (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of --write")
    arguments = parser.parse_args(argv)
    try:
        if arguments.write:
            print(write_boxes(arguments.write, arguments.count, arguments.seed))
            return 0
        table = probe_twin(build_sam("mini", checkpoint="shipped"), load_vggish("mini"))
        table = table.assign(world=fingerprint(), twin=fingerprint(STYLE)).round(4)
        write_atomically(arguments.results, table.to_csv(index=False).encode())
    except (OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    means = table.drop(columns="rotation").groupby(["encoder", "factor"], sort=False).mean(numeric_only=True)
    print(means.round(2).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
