"""Many trainings: variants x rotations x seeds of a plan, each through papermill, into one table.

The plan is a YAML file (``notebooks/grid/laboratory.yaml``):

    variants:                       # name -> fields of `lab.experiment.Experiment`
      gavs: {model: gavs, shots: [1, 3, 5]}
      no cue: {model: gavs, config: {cue: false}}
      ours: {preset: gavs-table1-gavs-v1s, share: 0.5}      # a row of a paper's table, changed (`lab.presets`)
    grids:                          # name -> which variants, in which rotations, with which seeds
      generalization: {variants: [gavs], rotations: [0, 1, 2, 3], seeds: [0, 1, 2]}

Each training runs ``notebooks/grid/one_training.ipynb`` in a process of its own, and its executed notebook stays as its
record. A finished one has rows in the results (``data/results/grid.csv``) with the key of its experiment, a hash of all
settings, of the world and of the encoders, and is skipped; if one of these has changed, it runs again and its old rows
go (all rows of another world, with the first of this one). A broken one is named, and the others go on. A killed grid
loses nothing but the minutes since the last checkpoint.

    python -m gavs_lib.lab.grid --list                     what is finished, missing, outdated
    python -m gavs_lib.lab.grid generalization -j 2        train what is missing of one grid, two at a time
    python -m gavs_lib.lab.grid v3 --plan notebooks/grid/avsbench.yaml --data root=AVSBench --results mine.csv
                                                           the same on a data set of your own disk
    python -m gavs_lib.lab.grid --verify                   train one finished row again and compare
"""

import argparse
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd
import torch
import yaml

from gavs_lib.lab.experiment import Experiment
from gavs_lib.lab.kernels import REPOSITORY, this_interpreters_kernel
from gavs_lib.lab.presets import with_preset
from gavs_lib.lab.protocols import with_absolute_paths
from gavs_lib.lab.shipped import record

PLAN = REPOSITORY / "notebooks" / "grid" / "laboratory.yaml"
NOTEBOOK = REPOSITORY / "notebooks" / "grid" / "one_training.ipynb"
RESULTS = REPOSITORY / "data" / "results" / "grid.csv"
UNIT = ["variant", "rotation", "seed"]
# A row trained again elsewhere: training on another processor ends at other weights, as with another seed. So what may
# differ is the mean of all scores, by this much, or by twice what the recorded seeds of the same variant differ by.
TOLERANCE = 0.05
SCORES = ("mIoU", "IoU with boxes")


@dataclass(frozen=True)
class Unit:
    """One training of a plan.

    Attributes:
        variant: its name there.
        experiment: its settings.
        plan: the plan's file; "": the laboratory's.
    """

    variant: str
    experiment: Experiment
    plan: str = ""

    @property
    def place(self) -> tuple[str, int, int]:
        return self.variant, self.experiment.rotation, self.experiment.seed

    @property
    def folder(self) -> str:
        """Name of its folder: readable, and another one for other settings."""
        letters = "".join(letter if letter.isalnum() else "-" for letter in self.variant)
        return f"{letters}-rotation{self.experiment.rotation}-seed{self.experiment.seed}-{self.experiment.key[:8]}"

    @property
    def command(self) -> str:
        """What trains it, among the other trainings of its variant."""
        plan = f" --plan {shlex.quote(self.plan)}" if self.plan else ""
        return f"python -m gavs_lib.lab.grid{plan} --variants {shlex.quote(self.variant)}"

    def __str__(self) -> str:
        return f"{self.variant}, rotation {self.experiment.rotation}, seed {self.experiment.seed}"


def read_plan(
    path: str | os.PathLike = PLAN, grids: Sequence[str] = (), data: Mapping[str, str] | None = None
) -> list[Unit]:
    """The trainings of a plan, each once; those of the first seed in all rotations first, then of the second.

    Args:
        path: the YAML file.
        grids: names of grids; empty: all.
        data: settings of `lab.protocols.DiskData` that go before those of the plan and of its variants.

    Raises:
        ValueError: the file does not read as a plan, or names something unknown; says where.
    """
    path = Path(path)
    plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(plan, dict) or not {"variants", "grids"} <= set(plan) <= {"data", "variants", "grids"}:
        raise ValueError(f"{path}: expected two sections, variants and grids, and at most a third, data.")
    everywhere = plan.get("data", {})
    unknown = sorted(set(grids) - set(plan["grids"]))
    if unknown:
        raise ValueError(f"{path} has no grid {unknown[0]!r}; it has {', '.join(plan['grids'])}.")
    known = {entry.name for entry in fields(Experiment)} - {"rotation", "seed"}
    units: dict[tuple, Unit] = {}
    whole = path.resolve()
    name_of_plan = str(whole.relative_to(REPOSITORY)) if whole.is_relative_to(REPOSITORY) else path.name
    name_of_plan = "" if whole == PLAN.resolve() else name_of_plan
    for name, grid in plan["grids"].items():
        if set(grid) != {"variants", "rotations", "seeds"}:
            raise ValueError(f"{path}: grid {name!r} has {sorted(grid)}; expected variants, rotations and seeds.")
        for variant in grid["variants"]:
            settings = plan["variants"].get(variant)
            if settings is None:
                raise ValueError(f"{path}: grid {name!r} asks for {variant!r}, which is not among the variants.")
            if not set(settings) <= known | {"preset"}:
                wrong = sorted(set(settings) - known)[0]
                raise ValueError(f"{path}: variant {variant!r} has no setting {wrong!r}; there are {sorted(known)}.")
        if grids and name not in grids:
            continue
        for seed in grid["seeds"]:
            for rotation in grid["rotations"]:
                for variant in grid["variants"]:
                    try:
                        settings = with_preset(plan["variants"][variant])
                        settings["data"] = with_absolute_paths(
                            {**everywhere, **settings.get("data", {}), **(data or {})}
                        )
                        experiment = Experiment(**settings, rotation=rotation, seed=seed)
                    except (TypeError, ValueError) as error:
                        raise ValueError(f"{path}: variant {variant!r}: {error}") from error
                    units.setdefault((variant, rotation, seed), Unit(variant, experiment, name_of_plan))
    return sorted(units.values(), key=lambda unit: unit.experiment.seed)


def finished(units: Iterable[Unit], results: str | os.PathLike) -> dict[tuple, str]:
    """State of each unit in a results file: (variant, rotation, seed) -> "finished", "outdated" or "missing"."""
    keys: dict[tuple, str] = {}
    if Path(results).exists():
        table = pd.read_csv(results, usecols=[*UNIT, "key"], dtype={"key": str}).drop_duplicates()
        keys = {(row.variant, row.rotation, row.seed): row.key for row in table.itertuples()}
    states = {}
    for unit in units:
        key = keys.get(unit.place)
        states[unit.place] = "missing" if key is None else "finished" if key == unit.experiment.key else "outdated"
    return states


def run_grid(
    units: Sequence[Unit],
    results: str | os.PathLike = RESULTS,
    work: str | os.PathLike = "build/grid",
    jobs: int = 1,
    notebook: str | os.PathLike = NOTEBOOK,
) -> dict[str, str]:
    """Train every unit that has no rows yet, and add its rows to the results as soon as it is finished.

    Args:
        units: from `read_plan`.
        results: the CSV; made if missing.
        work: folder of trainings, executed notebooks and the feature cache.
        jobs: trainings at a time; the processor's cores are divided among them.
        notebook: takes the fields of `Experiment` as parameters and writes rows.csv into output_dir.

    Returns:
        for each unit that broke: its name -> what went wrong, and where its notebook lies.
    """
    results, work = Path(results).resolve(), Path(work).resolve()
    states = finished(units, results)
    todo = [unit for unit in units if states[unit.place] != "finished"]
    print(f"{len(units)} trainings, {len(units) - len(todo)} finished, {len(todo)} to do", flush=True)
    broken: dict[str, str] = {}
    begun = time.monotonic()
    with this_interpreters_kernel(), ThreadPoolExecutor(max_workers=jobs) as pool:
        waiting = {pool.submit(_train, unit, work, jobs, Path(notebook).resolve()): unit for unit in todo}
        for number, done in enumerate(as_completed(waiting), start=1):
            unit, trouble = waiting[done], done.exception()
            if trouble is None:
                record(results, done.result(), UNIT)
            else:
                broken[str(unit)] = str(trouble)
            minutes = (time.monotonic() - begun) / 60
            print(f"[{number}/{len(todo)}, {minutes:.0f} min] {unit}: {trouble or 'finished'}", flush=True)
    return broken


def verify(unit: Unit, results: str | os.PathLike, work: str | os.PathLike | None = None) -> pd.DataFrame:
    """Train a finished unit again from nothing and set what it scores beside what is recorded.

    Returns:
        Rows of both: shots, state, part, figure, recorded, again, and their absolute difference.
    """
    table = pd.read_csv(results, dtype={"by_clip": str, "key": str}, keep_default_na=False)
    recorded = table.set_index(UNIT).loc[[unit.place]].reset_index()
    with tempfile.TemporaryDirectory() as folder, this_interpreters_kernel():
        again = _train(unit, Path(work or folder).resolve(), 1, NOTEBOOK)
    place = ["shots", "state", "part", "figure"]
    both = recorded[[*place, "value"]].merge(again[[*place, "value"]], on=place, suffixes=("_recorded", "_again"))
    if len(both) != len(recorded):
        raise ValueError(f"{unit} now gives {len(again)} rows, {len(recorded)} are recorded; run the grid again.")
    both = both.rename(columns={"value_recorded": "recorded", "value_again": "again"})
    return both.assign(difference=(both["recorded"] - both["again"]).abs())


def _train(unit: Unit, work: Path, jobs: int, notebook: Path) -> pd.DataFrame:
    """Run the notebook for one unit; its rows, complete. RuntimeError if it stops."""
    folder = work / unit.folder
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {entry.name: getattr(unit.experiment, entry.name) for entry in fields(Experiment)}
    parameters = json.loads(json.dumps(parameters))  # tuples become lists
    parameters |= {"output_dir": str(folder), "cache_dir": str(work / "cache")}
    (folder / "parameters.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")
    rows = folder / "rows.csv"
    rows.unlink(missing_ok=True)
    executed = folder / "training.ipynb"
    command = [sys.executable, "-m", "papermill", str(notebook), str(executed), "--kernel", "python3"]
    command += ["--parameters_file", str(folder / "parameters.yaml"), "--no-progress-bar", "--cwd", str(folder)]
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    begun = time.monotonic()
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": threads}, capture_output=True, text=True)
    if done.returncode or not rows.exists():
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise RuntimeError(f"{lines[-1]} (its notebook: {executed})")
    place = dict(zip(UNIT, unit.place))
    table = pd.read_csv(rows, dtype={"by_clip": str}, keep_default_na=False)
    notes = {
        "key": unit.experiment.key,
        "world": unit.experiment.protocol.world,
        "minutes": round((time.monotonic() - begun) / 60, 1),
    }
    notes |= {"torch": torch.__version__, "command": unit.command}
    return pd.DataFrame({**place, **dict(table.items()), **notes})


def main(argv: list[str] | None = None) -> int:
    """Train what has no rows yet, list what has, or train one again and compare."""
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.lab.grid", description=main.__doc__)
    parser.add_argument("grids", nargs="*", help="names of grids in the plan; none: all")
    parser.add_argument("--variants", nargs="+", help="only these of the grids' variants")
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--data", nargs="+", default=[], metavar="NAME=VALUE", help="of the plan's section data")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=Path("build/grid"))
    parser.add_argument("-j", "--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--list", action="store_true", help="say what is finished, missing or outdated; train nothing")
    parser.add_argument("--verify", action="store_true", help="train one finished row again and compare")
    asked = parser.parse_args(argv)
    try:
        units = read_plan(asked.plan, asked.grids, _settings(asked.data))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if asked.variants:
        unknown = sorted(set(asked.variants) - {unit.variant for unit in units})
        if unknown:
            print(f"no grid asked for has the variant {unknown[0]!r}", file=sys.stderr)
            return 2
        units = [unit for unit in units if unit.variant in asked.variants]
    if asked.results == RESULTS and any(unit.experiment.data for unit in units):
        print(f"--results: these would push the toy shop's rows out of {RESULTS}; name another file.", file=sys.stderr)
        return 2
    states = finished(units, asked.results)
    if asked.list:
        for unit in units:
            print(f"{states[unit.place]:10}{unit}")
        return 0
    if asked.verify:
        return _report(units, states, asked.results)
    broken = run_grid(units, asked.results, asked.work, asked.jobs)
    for name, reason in broken.items():
        print(f"broken: {name}: {reason}", file=sys.stderr)
    return 1 if broken else 0


def _settings(entries: Sequence[str]) -> dict[str, object]:
    """NAME=VALUE, as a plan would write "NAME: VALUE"."""
    for entry in entries:
        if "=" not in entry:
            raise ValueError(f"--data: expected NAME=VALUE, such as root=AVSBench, not {entry!r}.")
    pairs = (entry.split("=", 1) for entry in entries)
    return {name: yaml.safe_load(value) for name, value in pairs}


def _report(units: Sequence[Unit], states: dict[tuple, str], results: Path) -> int:
    """Verify one finished unit at random, and say how it went."""
    done = [unit for unit in units if states[unit.place] == "finished"]
    if not done:
        print("No row is finished, so none can be verified.", file=sys.stderr)
        return 2
    unit = random.choice(done)
    print(f"Training again: {unit}", flush=True)
    both = verify(unit, results)
    print(both.to_string(index=False))
    if both["difference"].max() == 0:
        print("Equal to the last digit.")
        return 0
    scores = both[both["figure"].isin(SCORES)]
    apart, allowed = abs(scores["recorded"].mean() - scores["again"].mean()), _allowed(unit, results)
    print(f"Mean of all scores: {apart:.4f} apart (allowed: {allowed:.4f}; on another machine none is equal)")
    return int(apart > allowed)


def _allowed(unit: Unit, results: Path) -> float:
    """How far the mean score of a training may be from the recorded one, see `TOLERANCE`."""
    table = pd.read_csv(results, usecols=[*UNIT, "figure", "value"])
    same = table[(table["variant"] == unit.variant) & (table["rotation"] == unit.experiment.rotation)]
    by_seed = same[same["figure"].isin(SCORES)].groupby("seed")["value"].mean()
    return max(TOLERANCE, 2 * float(by_seed.max() - by_seed.min()))


if __name__ == "__main__":
    sys.exit(main())
