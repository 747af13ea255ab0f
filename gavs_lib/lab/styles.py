"""Whom does a strange style cost more: a strange picture, or a strange sound?

In the twin of VGG-SS (`lab.twin`) both are strange at once, drawn by another hand and played by other instruments. Here
each is exchanged alone: the same toys in the same places, drawn in the style of the shop or of the sketchbook, and
sounding in the style of the shop or of the sketchbook. All entries are annotated by boxes, so that at home, too, scores
are those of boxes.

    python -m gavs_lib.lab.styles      every finished training of the laboratory whose weights are there: styles.csv
"""

import argparse
import itertools
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch

from gavs_lib.data import Clip
from gavs_lib.lab.evaluate import score_boxes
from gavs_lib.lab.experiment import Bench
from gavs_lib.lab.grid import PLAN, RESULTS, UNIT, finished, read_plan
from gavs_lib.lab.shipped import record
from gavs_lib.lab.statistics import text_of
from gavs_lib.lab.toyshop import ToyshopClips
from gavs_lib.lab.twin import twin_clip
from gavs_lib.lab.weights import load_trained
from gavs_lib.world.boxes import STYLE, BoxRecipe, box_recipes

HOME = "shop"
STYLES = (HOME, STYLE)
ENTRIES = 144  # four of every class


@dataclass(frozen=True)
class MixedRecipe:
    """An entry of the twin with the styles of its picture and of its sound."""

    entry: BoxRecipe
    pictures: str
    sounds: str


def mixed_clip(recipe: MixedRecipe) -> Clip:
    """As `lab.twin.twin_clip`, each half in its own style."""
    seen, heard = (
        twin_clip(replace(recipe.entry, scene=replace(recipe.entry.scene, style=style)))
        for style in (recipe.pictures, recipe.sounds)
    )
    return replace(seen, waveform=heard.waveform, sample_rate=heard.sample_rate)


def mixed_clips(count: int, pictures: str, sounds: str, seed: int = 0) -> ToyshopClips:
    """The first entries of the twin in any mixture of styles.

    Args:
        count: entries.
        pictures, sounds: "shop" or "sketchbook".
        seed: other seeds give other entries.
    """
    return ToyshopClips([MixedRecipe(entry, pictures, sounds) for entry in box_recipes(count, seed)], mixed_clip)


def measure_styles(bench: Bench, count: int = ENTRIES) -> pd.DataFrame:
    """The scores of a bench's model in the four mixtures of styles.

    Args:
        bench: with a trained model of the toy shop.
        count: entries.

    Returns:
        Rows of pictures, sounds, part ("twin seen": entries that sound a class that trained; "twin unseen_test"),
        value (mean IoU with the filled boxes), n, and by_clip as in `lab.experiment`.
    """
    rows = []
    for pictures, sounds in itertools.product(STYLES, STYLES):
        features = bench.features(mixed_clips(count, pictures, sounds))
        scores = score_boxes(bench.model, features)["iou"]
        for part, places in bench.protocol.box_parts(features.labels).items():
            row = {"pictures": pictures, "sounds": sounds, "part": part, "value": round(scores[places].mean(), 5)}
            rows.append(row | {"n": len(places), "by_clip": text_of(scores[places], places)})
    return pd.DataFrame(rows)


def main(argv: list[str] | None = None) -> int:
    """Measure what has no rows yet.

    Returns:
        exit code: 0 done, 1 there is nothing to measure.
    """
    description = main.__doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.lab.styles", description=description)
    parser.add_argument("--variants", nargs="+", default=["gavs", "sam_fusion", "audio_sam"])
    parser.add_argument("--work", type=Path, default=Path("build/grid"), help="where lab.grid has trained")
    parser.add_argument("--grid", type=Path, default=RESULTS, help="its table")
    parser.add_argument("--results", type=Path, default=Path("data/results/styles.csv"))
    asked = parser.parse_args(argv)
    units = [unit for unit in read_plan(PLAN, ["generalization"]) if unit.variant in asked.variants]
    states = finished(units, asked.grid)
    units = [unit for unit in units if states[unit.place] == "finished"]
    trained = [(unit, asked.work / unit.folder / "zero-shot" / "best.safetensors") for unit in units]
    trained = [(unit, weights) for unit, weights in trained if weights.exists()]
    if not trained:
        print(f"{asked.work}: no weights of a finished training; run python -m gavs_lib.lab.grid.", file=sys.stderr)
        return 1
    for unit, weights in trained:
        keys = pd.read_csv(asked.results, dtype=str)["key"] if asked.results.exists() else []
        if unit.experiment.key in set(keys):
            continue
        bench = Bench(unit.experiment, weights.parents[1], asked.work / "cache")
        load_trained(weights, bench.model)
        table = measure_styles(bench).assign(**dict(zip(UNIT, unit.place)))
        notes = {"key": unit.experiment.key, "world": bench.protocol.world, "torch": torch.__version__}
        table = table.assign(**notes, command="python -m gavs_lib.lab.styles")
        record(asked.results, table[[*UNIT, *table.columns.drop(UNIT)]], UNIT)
        print(f"{unit}\n{table[['pictures', 'sounds', 'part', 'value']].round(3).to_string(index=False)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
