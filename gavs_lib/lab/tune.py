"""Which settings train the models: a few variants, judged on validation clips and never on test clips.

``val`` clips show seen classes; ``unseen_val`` clips sound one class of each family that nothing trained on. Seen
validation alone cannot choose a zero-shot recipe: what is best on known classes may be so because it knows them by
heart. ``python -m gavs_lib.lab.tune`` adds the missing rows to ``data/results/tuning.csv``.

Every model that is compared with GAVS gets as many trials as GAVS: three learning rates of the zero-shot training and
three of the k-shot training, which goes on from there with shots of unseen-validation classes. The same rule chooses
for all (`chosen`): the first rate of the list, unless another one leads by more than a point. A lead below that is what
another seed gives. Three further settings were tried for GAVS alone, and none was taken.

SAVE, its relatives and what is joined with them (`lab.joint`) are compared in small pictures, with trials of their own
there: four rates for GAVS, SAVE, SAMA-AVS and AP-SAM, the paper's among them, five of the k-shot training for GAVS and
SAVE (shots at 3e-4 harm SAVE), and one trial for each attempt to join them, three for the attempt that stands closest
to SAVE, which wants a lower rate than GAVS. The other baselines keep in small pictures the rates that they chose in
large ones.
"""

import argparse
import dataclasses
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from gavs_lib.gavs import GAVSConfig
from gavs_lib.lab.evaluate import score, swap_test
from gavs_lib.lab.experiment import FEW_SHOT_EPOCHS, FEW_SHOT_RATE, Bench, Experiment
from gavs_lib.lab.joint import JointConfig
from gavs_lib.lab.shipped import (
    FROZEN_ENCODER,
    MINI_CONFIG,
    MINI_JOINT,
    MINI_POINTS,
    MINI_SAMA,
    MINI_SAVE,
    MINI_TRAINING,
    POINTS_TRAINING,
    SAVE_TRAINING,
    SMALL,
    ModelConfig,
    Recipe,
    record,
    train_shipped,
)
from gavs_lib.lab.toyshop import toyshop_features
from gavs_lib.lab.train import FitConfig
from gavs_lib.world.folder import DEFAULT_COUNTS, fingerprint

RATES = {"base": MINI_TRAINING.lr, "lr 5e-4": 5e-4, "lr 2e-3": 2e-3}
FEW_SHOT_RATES = {"few-shot lr 3e-4": FEW_SHOT_RATE, "few-shot lr 1e-4": 1e-4, "few-shot lr 1e-3": 1e-3}
FEW_SHOTS = (1, 5)  # on which these are judged
FEW_SHOT_POOL = 100  # clips of unseen-validation classes
LEAD = 0.01

COMPARED = ("gavs", "sam_fusion", "audio_sam", "av_sam", "tpavi")
WITH_SHOTS = ("gavs", "sam_fusion", "audio_sam", "tpavi")  # AV-SAM is compared zero-shot only

SMALL_RATES = {
    "64 pixels": 1e-3,
    "64 pixels, lr 5e-4": 5e-4,
    "64 pixels, lr 2e-4": 2e-4,
    "64 pixels, lr 1e-4": 1e-4,
}
SMALL_COMPARED = {
    "gavs": (MINI_CONFIG, MINI_TRAINING),
    "ap_sam": (MINI_SAVE, SAVE_TRAINING),
    "sama_avs": (MINI_SAMA, SAVE_TRAINING),
    "save": (MINI_SAVE, SAVE_TRAINING),
}
SMALL_WITH_SHOTS = ("gavs", "save")
SMALL_FEW_SHOT_RATES = {
    "64 pixels, few-shot lr 3e-4": FEW_SHOT_RATE,
    "64 pixels, few-shot lr 1e-4": 1e-4,
    "64 pixels, few-shot lr 3e-5": 3e-5,
    "64 pixels, few-shot lr 1e-5": 1e-5,
    "64 pixels, few-shot lr 1e-3": 1e-3,
}
ATTEMPTS: dict[str, tuple[JointConfig, FitConfig]] = {
    "early": (MINI_JOINT, MINI_TRAINING),
    "early, context": (replace(MINI_JOINT, context=True), MINI_TRAINING),
    "early, points": (replace(MINI_JOINT, points=2), POINTS_TRAINING),
    "points": (replace(MINI_JOINT, early=False, points=2), POINTS_TRAINING),
    "points, decoder": (MINI_POINTS, POINTS_TRAINING),
    "early, decoder": (replace(MINI_JOINT, cola_width=0, whole_decoder=True), replace(MINI_TRAINING, lr=5e-4)),
}

EARLY_RATES = {"64 pixels, early": 1e-3, "64 pixels, early, lr 5e-4": 5e-4, "64 pixels, early, lr 2e-4": 2e-4}

VARIANTS: dict[tuple[str, str], tuple[GAVSConfig, FitConfig]] = {
    (kind, name): (FROZEN_ENCODER if kind in ("audio_sam", "av_sam") else MINI_CONFIG, replace(MINI_TRAINING, lr=rate))
    for kind in COMPARED
    for name, rate in RATES.items()
} | {
    ("gavs", "gaussian noise"): (replace(MINI_CONFIG, noise="gaussian"), MINI_TRAINING),
    ("gavs", "no cue"): (replace(MINI_CONFIG, cue=False), MINI_TRAINING),
    ("gavs", "twice the epochs"): (MINI_CONFIG, replace(MINI_TRAINING, epochs=2 * MINI_TRAINING.epochs)),
}
SMALL_VARIANTS = {
    (kind, name): (config, replace(training, lr=rate))
    for kind, (config, training) in SMALL_COMPARED.items()
    for name, rate in SMALL_RATES.items()
}
SMALL_VARIANTS |= {("joint", f"64 pixels, {name}"): settings for name, settings in ATTEMPTS.items()}
SMALL_VARIANTS |= {("joint", name): (MINI_JOINT, replace(MINI_TRAINING, lr=rate)) for name, rate in EARLY_RATES.items()}
PARTS = [("v1s", "val"), ("v1m", "val"), ("v1s", "unseen_val"), ("v1m", "unseen_val")]


def chosen(results: str | Path, kind: str, rates: Mapping[str, float] = RATES) -> float:
    """The learning rate that the trials choose for a model, by the mean of what each scored on validation clips.

    Args:
        results: the CSV of the trials.
        kind: of model.
        rates: `RATES`, `FEW_SHOT_RATES`, or those of small pictures.

    Raises:
        ValueError: a trial of this model is missing.
    """
    table = pd.read_csv(results)
    rows = table[(table["model"] == kind) & table["variant"].isin(rates)].set_index("variant")
    if len(rows) != len(rates):
        raise ValueError(f"{results}: {kind} has {len(rows)} of {len(rates)} trials; run python -m gavs_lib.lab.tune.")
    means = rows.filter(regex="^miou ").mean(axis=1)  # of the columns that are filled
    first = next(iter(rates))
    return rates[means.idxmax() if means.max() > means[first] + LEAD else first]


def main(argv: list[str] | None = None) -> None:
    """Train and judge the variants that have no row yet."""
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.lab.tune", description=main.__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/train"))
    parser.add_argument("--results", type=Path, default=Path("data/results/tuning.csv"))
    parser.add_argument("--models", nargs="+", help="only these")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(argv)
    few_shot = {(kind, name): (None, None) for kind in WITH_SHOTS for name in FEW_SHOT_RATES}
    few_shot |= {(kind, name): (None, None) for kind in SMALL_WITH_SHOTS for name in SMALL_FEW_SHOT_RATES}
    trials = VARIANTS | SMALL_VARIANTS | few_shot  # these last: they go on with the rates that the others chose
    models = {kind for kind, _ in trials}
    if not set(asked.models or ()) <= models:
        parser.error(f"--models: there are {', '.join(sorted(models))}")
    for (kind, name), trial in trials.items():
        table = pd.read_csv(asked.results)
        done = (table["model"] == kind) & (table["variant"] == name) & (table["seed"] == asked.seed)
        if done.any() or (asked.models and kind not in asked.models):
            continue
        begun = time.monotonic()
        row = {"model": kind, "variant": name, "seed": asked.seed}
        if (kind, name) in few_shot:
            row |= _few_shot(kind, name, asked.results, asked.work, asked.seed)
        else:
            size = SMALL if (kind, name) in SMALL_VARIANTS else None
            row |= _zero_shot(kind, name, *trial, asked.work, asked.seed, size)
        row |= {"minutes": (time.monotonic() - begun) / 60, "world": fingerprint(), "torch": torch.__version__}
        rounded = pd.DataFrame([row]).round({name: 4 for name in row if name != "lr"})
        record(asked.results, rounded, ("model", "variant", "seed"))
        print(row, flush=True)


def _zero_shot(
    kind: str,
    name: str,
    config: ModelConfig,
    training: FitConfig,
    work: Path,
    seed: int,
    image_size: int | None,
) -> dict:
    cache = work / "cache"
    folder = work / "tuning" / f"{kind}-{name.replace(' ', '-')}"
    model, vggish = train_shipped(kind, seed, folder, 0, Recipe(config, training, image_size), cache, progress=False)
    row = {"lr": training.lr, "epochs": training.epochs}
    for part in PARTS:
        made, features = toyshop_features({part: DEFAULT_COUNTS[part]}, model, vggish, cache)
        row["miou " + " ".join(part)] = score(model, features)["miou"].mean()
        if part == ("v1s", "unseen_val"):
            pairs = swap_test(model, vggish, made)
            row["swap, unseen_val, within a family"] = pairs[pairs["same_family"]]["moves"].mean()
            row["swap, unseen_val, across families"] = pairs[~pairs["same_family"]]["moves"].mean()
    return row


def _few_shot(kind: str, name: str, results: Path, work: Path, seed: int) -> dict:
    small = name in SMALL_FEW_SHOT_RATES
    config, training = SMALL_COMPARED[kind] if small else VARIANTS[kind, "base"]
    loss = {part: getattr(training, part) for part in ("dice_weight", "iou_weight", "semantic_weight")}
    rate = (SMALL_FEW_SHOT_RATES if small else FEW_SHOT_RATES)[name]
    trial = Experiment(
        kind,
        dataclasses.asdict(config),
        loss | {"lr": chosen(results, kind, SMALL_RATES if small else RATES)},
        {"lr": rate},
        seed=seed,
        shots=FEW_SHOTS,
        pool=FEW_SHOT_POOL,
        image_size=SMALL if small else 0,
    )
    folder = f"{kind}-few-shot" + (f"-{SMALL}" if small else "")
    bench = Bench(trial, work / "tuning" / folder, work / "cache").train()
    part = "v1s unseen_val"
    rows = bench.few_shot_on(bench.protocol.shots(FEW_SHOTS, "unseen_val"), part).table()
    scores = rows[(rows["part"] == part) & (rows["state"] == "best")].set_index("shots")["value"]
    return {"lr": rate, "epochs": FEW_SHOT_EPOCHS} | {f"miou v1s unseen_val, {k} shots": scores[k] for k in FEW_SHOTS}


if __name__ == "__main__":
    main()
