"""The papers' tables as parameter files: one for each row that can be trained here (`notebooks/params/paper`).

A preset is a profile of notebook 11: ``make run PROFILE=paper/gavs-table1-gavs-v1s NOTEBOOK=11`` trains that row on a
data set of your own disk. A plan of the grid may name it as well (``{preset: gavs-table1-gavs-v1s}``). Each setting is
marked by where it comes from: *paper*, *release* (GAVS's public code) or *ours*. `expected` says which printed figures
the result is to stand beside; none of them has been measured by us.
"""

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from gavs_lib.data.papers import paper_table
from gavs_lib.lab.kernels import REPOSITORY

PRESETS = REPOSITORY / "notebooks" / "params" / "paper"
SECTION = "11_official_weights"


def read_preset(name: str, folder: Path = PRESETS) -> dict[str, Any]:
    """Settings of `lab.experiment.Experiment` that a preset holds.

    Raises:
        ValueError: there is no such preset.
    """
    return {key: copy.deepcopy(value) for key, value in _section(name, folder).items() if key != "expected"}


def with_preset(settings: Mapping[str, Any], folder: Path = PRESETS) -> dict[str, Any]:
    """Settings over those of the preset they name under "preset"; of a setting that is a mapping, entry by entry.

    Raises:
        ValueError: there is no such preset.
    """
    if "preset" not in settings:
        return dict(settings)
    merged = read_preset(settings["preset"], folder)
    for key, value in settings.items():
        if key != "preset":
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, Mapping) else value
    return merged


def printed_figures(expected: Mapping[str, Any]) -> pd.DataFrame:
    """The figures that a paper prints for a preset's row: rows of `gavs_lib.data.paper_table`.

    Args:
        expected: of a preset: the paper, the table's number, and values of its columns that single out the row.

    Raises:
        ValueError: no row of the table is meant by it.
    """
    table = paper_table(expected["paper"], expected["table"])
    table = table[~table["metric"].str.contains("gain")]
    for column, value in expected.items():
        if column not in ("paper", "table"):
            table = table[table[column] == value]
    if table.empty:
        raise ValueError(f"no printed figure is meant by {dict(expected)}; see gavs_lib.data.paper_table.")
    return table.reset_index(drop=True)


def preset_names(folder: Path = PRESETS) -> list[str]:
    """The names of all presets, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


@functools.lru_cache
def _section(name: str, folder: Path) -> dict[str, Any]:
    path = folder / f"{name}.yaml"
    if name not in preset_names(folder):
        raise ValueError(f"there is no preset {name!r} in {folder}; there are {', '.join(preset_names(folder))}.")
    return yaml.safe_load(path.read_text(encoding="utf-8"))[SECTION]
