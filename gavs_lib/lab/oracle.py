"""What SAM's own masks could score at best, recorded beside the trainings of the laboratory.

Somebody who knows the truth picks, in each frame, the best of the masks that SAM finds without a prompt
(`lab.evaluate.sam_oracle`; "SAM" in GAVS's and SAVE's tables). Nothing is trained, so a row is told by rotation alone;
its seed is 0, and its variant "sam_oracle" or "sam_oracle, 64", as other variants are called. The clips are the first
of those that `lab.experiment` tests on.

    python -m gavs_lib.lab.oracle      data/results/oracle.csv, which `lab.statistics.read_results` reads
"""

import argparse
import sys
from pathlib import Path

import pandas as pd
import torch

from gavs_lib.lab.evaluate import sam_oracle
from gavs_lib.lab.experiment import Experiment
from gavs_lib.lab.grid import UNIT
from gavs_lib.lab.shipped import SMALL, record
from gavs_lib.lab.statistics import text_of
from gavs_lib.sam import build_sam
from gavs_lib.world.classes import ROTATIONS
from gavs_lib.world.folder import fingerprint


def measure_oracle(rotation: int, clips: int, image_size: int | None = None) -> pd.DataFrame:
    """The oracle on the first clips of each test part of a rotation: rows as those of `lab.grid`.

    Args:
        rotation: which classes are unseen, 0 to 3.
        clips: of each part.
        image_size: side of the square that SAM-mini sees, in pixels; None: 128.

    Returns:
        One row a part, with the columns of `lab.grid` but for key and minutes, since nothing was trained.
    """
    sam = build_sam("mini", "shipped", image_size)
    variant = "sam_oracle" + (f", {image_size}" if image_size else "")
    rows = []
    for part, tested in Experiment(rotation=rotation).protocol.tests().items():
        scores = sam_oracle(sam, tested.recipes[:clips])["miou"]
        found = {"figure": "mIoU", "value": scores.mean(), "n": len(scores), "by_clip": text_of(scores)}
        rows.append(
            {"variant": variant, "rotation": rotation, "seed": 0, "shots": 0, "state": "best", "part": part} | found
        )
    notes = {"key": "", "world": fingerprint(), "torch": torch.__version__}
    return pd.DataFrame(rows).assign(**notes, command="python -m gavs_lib.lab.oracle")


def main(argv: list[str] | None = None) -> int:
    """Record the oracle in all rotations, at both sizes."""
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.lab.oracle", description=main.__doc__)
    parser.add_argument("-n", "--clips", type=int, default=20, help="of each test part")
    parser.add_argument("--results", type=Path, default=Path("data/results/oracle.csv"))
    asked = parser.parse_args(argv)
    if asked.clips < 1:
        print(f"--clips {asked.clips}: expected at least one.", file=sys.stderr)
        return 2
    for size in (SMALL, None):
        for rotation in range(ROTATIONS):
            rows = measure_oracle(rotation, asked.clips, size)
            record(asked.results, rows, UNIT)
            told = ", ".join(f"{row.part} {100 * row.value:.1f}" for row in rows.itertuples())
            print(f"{rows['variant'].iloc[0]}, rotation {rotation}: {told}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
