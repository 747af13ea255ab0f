"""Which settings train the shipped GAVS: a few variants, judged on validation clips and never on test clips.

``val`` clips show seen classes; ``unseen_val`` clips sound one class of each family that nothing trained on. Seen
validation alone cannot choose a zero-shot recipe: what is best on known classes may be so because it knows them by
heart. ``python -m gavs_lib.lab.tune`` adds the missing rows to ``data/results/tuning.csv``.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from gavs_lib.gavs import GAVSConfig
from gavs_lib.lab.evaluate import score, swap_test
from gavs_lib.lab.shipped import MINI_CONFIG, MINI_TRAINING, train_shipped
from gavs_lib.lab.toyshop import toyshop_features
from gavs_lib.lab.train import FitConfig
from gavs_lib.world.folder import DEFAULT_COUNTS, fingerprint

BASE_CONFIG = GAVSConfig(adapter_width=32, cola_width=32)
BASE_TRAINING = replace(MINI_TRAINING, lr=1e-3, dice_weight=1.0, semantic_weight=0.1, margin=0.3)

VARIANTS: dict[str, tuple[GAVSConfig, FitConfig]] = {
    "base": (BASE_CONFIG, BASE_TRAINING),
    "lr 5e-4": (BASE_CONFIG, replace(BASE_TRAINING, lr=5e-4)),
    "lr 2e-3": (BASE_CONFIG, replace(BASE_TRAINING, lr=2e-3)),
    "gaussian noise": (replace(BASE_CONFIG, noise="gaussian"), BASE_TRAINING),
    "no noise": (replace(BASE_CONFIG, noise="none"), BASE_TRAINING),
    "no semantic loss": (BASE_CONFIG, replace(BASE_TRAINING, semantic_weight=0.0)),
    "no cue": (replace(BASE_CONFIG, cue=False), BASE_TRAINING),
    "no visual adapters": (replace(BASE_CONFIG, adapter_width=0), BASE_TRAINING),
    "pure BCE": (BASE_CONFIG, replace(BASE_TRAINING, dice_weight=0.0)),
    "twice the epochs": (BASE_CONFIG, replace(BASE_TRAINING, epochs=2 * BASE_TRAINING.epochs)),
    "chosen": (MINI_CONFIG, MINI_TRAINING),
}
PARTS = [("v1s", "val"), ("v1m", "val"), ("v1s", "unseen_val"), ("v1m", "unseen_val")]


def main(argv: list[str] | None = None) -> None:
    """Train and judge the variants that have no row yet."""
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.lab.tune", description=main.__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/train"))
    parser.add_argument("--results", type=Path, default=Path("data/results/tuning.csv"))
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(argv)
    for name in chosen.variants:
        table = pd.read_csv(chosen.results) if chosen.results.exists() else pd.DataFrame({"variant": [], "seed": []})
        if ((table["variant"] == name) & (table["seed"] == chosen.seed)).any():
            continue
        begun = time.monotonic()
        config, training = VARIANTS[name]
        work = chosen.work / "tuning" / name.replace(" ", "-")
        model, vggish = train_shipped("gavs", chosen.seed, work, 0, config, training, cache=chosen.work / "cache")
        row = {"variant": name, "seed": chosen.seed, "lr": training.lr, "epochs": training.epochs}
        for part in PARTS:
            made, features = toyshop_features({part: DEFAULT_COUNTS[part]}, model, vggish, chosen.work / "cache")
            row["miou " + " ".join(part)] = score(model, features)["miou"].mean()
            if part == ("v1s", "unseen_val"):
                pairs = swap_test(model, vggish, made)
                row["swap, unseen_val, within a family"] = pairs[pairs["same_family"]]["moves"].mean()
                row["swap, unseen_val, across families"] = pairs[~pairs["same_family"]]["moves"].mean()
        row |= {"minutes": (time.monotonic() - begun) / 60, "world": fingerprint(), "torch": torch.__version__}
        chosen.results.parent.mkdir(parents=True, exist_ok=True)
        # Read again: another process may have finished a variant meanwhile.
        table = pd.read_csv(chosen.results) if chosen.results.exists() else table
        pd.concat([table, pd.DataFrame([row])]).round(4).to_csv(chosen.results, index=False)
        print(row, flush=True)


if __name__ == "__main__":
    main()
