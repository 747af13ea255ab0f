"""Which settings train the models: a few variants, judged on validation clips and never on test clips.

``val`` clips show seen classes; ``unseen_val`` clips sound one class of each family that nothing trained on. Seen
validation alone cannot choose a zero-shot recipe: what is best on known classes may be so because it knows them by
heart. ``python -m gavs_lib.lab.tune`` adds the missing rows to ``data/results/tuning.csv``.

Every model that is compared with GAVS gets as many trials as GAVS: three learning rates of the zero-shot training and
three of the k-shot training, which goes on from there with shots of unseen-validation classes. The same rule chooses
for all (`chosen`): the first rate of the list, unless another one leads by more than a point. A lead below that is what
another seed gives.
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
from gavs_lib.lab.experiment import FEW_SHOT_EPOCHS, Bench, Experiment
from gavs_lib.lab.shipped import FROZEN_ENCODER, MINI_TRAINING, train_shipped
from gavs_lib.lab.toyshop import toyshop_features
from gavs_lib.lab.train import FitConfig
from gavs_lib.lab.weights import write_atomically
from gavs_lib.world.folder import DEFAULT_COUNTS, fingerprint

BASE_CONFIG = GAVSConfig(adapter_width=32, cola_width=32)
BASE_TRAINING = replace(MINI_TRAINING, lr=1e-3, dice_weight=1.0, semantic_weight=0.1, margin=0.3)
RATES = {"base": 1e-3, "lr 5e-4": 5e-4, "lr 2e-3": 2e-3}
FEW_SHOT_RATES = {"few-shot lr 3e-4": 3e-4, "few-shot lr 1e-4": 1e-4, "few-shot lr 1e-3": 1e-3}
FEW_SHOTS = (1, 5)  # on which these are judged
FEW_SHOT_POOL = 100  # clips of unseen-validation classes
LEAD = 0.01

VARIANTS: dict[tuple[str, str], tuple[GAVSConfig, FitConfig]] = {
    (kind, name): (FROZEN_ENCODER if kind in ("audio_sam", "av_sam") else BASE_CONFIG, replace(BASE_TRAINING, lr=rate))
    for kind in ("gavs", "sam_fusion", "audio_sam", "av_sam", "tpavi")
    for name, rate in RATES.items()
} | {
    ("gavs", "gaussian noise"): (replace(BASE_CONFIG, noise="gaussian"), BASE_TRAINING),
    ("gavs", "no cue"): (replace(BASE_CONFIG, cue=False), BASE_TRAINING),
    ("gavs", "twice the epochs"): (BASE_CONFIG, replace(BASE_TRAINING, epochs=2 * BASE_TRAINING.epochs)),
}
PARTS = [("v1s", "val"), ("v1m", "val"), ("v1s", "unseen_val"), ("v1m", "unseen_val")]


def chosen(results: str | Path, kind: str, rates: Mapping[str, float] = RATES) -> float:
    """The learning rate that the trials choose for a model, by the mean of what each scored on validation clips.

    Args:
        results: the CSV of the trials.
        kind: of model.
        rates: `RATES` or `FEW_SHOT_RATES`.

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
    parser.add_argument("--models", nargs="+", choices=sorted({kind for kind, _ in VARIANTS}))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(argv)
    for (kind, name), (config, training) in VARIANTS.items():
        table = pd.read_csv(asked.results)
        done = (table["model"] == kind) & (table["variant"] == name) & (table["seed"] == asked.seed)
        if done.any() or (asked.models and kind not in asked.models):
            continue
        begun = time.monotonic()
        work = asked.work / "tuning" / f"{kind}-{name.replace(' ', '-')}"
        cache = asked.work / "cache"
        model, vggish = train_shipped(kind, asked.seed, work, 0, config, training, cache=cache, progress=False)
        row = {"model": kind, "variant": name, "seed": asked.seed, "lr": training.lr, "epochs": training.epochs}
        for part in PARTS:
            made, features = toyshop_features({part: DEFAULT_COUNTS[part]}, model, vggish, cache)
            row["miou " + " ".join(part)] = score(model, features)["miou"].mean()
            if part == ("v1s", "unseen_val"):
                pairs = swap_test(model, vggish, made)
                row["swap, unseen_val, within a family"] = pairs[pairs["same_family"]]["moves"].mean()
                row["swap, unseen_val, across families"] = pairs[~pairs["same_family"]]["moves"].mean()
        _add(asked.results, row, begun)
    for kind in asked.models or sorted({kind for kind, _ in VARIANTS}):
        for name, rate in FEW_SHOT_RATES.items():
            table = pd.read_csv(asked.results)
            if ((table["model"] == kind) & (table["variant"] == name) & (table["seed"] == asked.seed)).any():
                continue
            begun = time.monotonic()
            best = chosen(asked.results, kind)
            config = {} if kind in ("gavs", "sam_fusion", "tpavi") else dataclasses.asdict(FROZEN_ENCODER)
            trial = Experiment(
                kind, config, {"lr": best}, {"lr": rate}, seed=asked.seed, shots=FEW_SHOTS, pool=FEW_SHOT_POOL
            )
            bench = Bench(trial, asked.work / "tuning" / f"{kind}-few-shot", asked.work / "cache")
            rows = bench.train().few_shot_on("unseen_val", FEW_SHOT_POOL).table()
            rows = rows[(rows["part"] == "v1s unseen_val") & (rows["state"] == "best")].set_index("shots")["value"]
            row = {"model": kind, "variant": name, "seed": asked.seed, "lr": rate, "epochs": FEW_SHOT_EPOCHS}
            row |= {f"miou v1s unseen_val, {k} shots": rows[k] for k in FEW_SHOTS}
            _add(asked.results, row, begun)


def _add(results: Path, row: dict, begun: float) -> None:
    row |= {"minutes": (time.monotonic() - begun) / 60, "world": fingerprint(), "torch": torch.__version__}
    # Read here: another process may have finished a variant meanwhile.
    table = pd.concat([pd.read_csv(results), pd.DataFrame([row])]).round(4)
    write_atomically(results, table.to_csv(index=False).encode())
    print(row, flush=True)


if __name__ == "__main__":
    main()
