"""Run the notebooks from the command line: a profile's parameters in, executed notebooks and a report out.

Papermill executes; this module adds what a stranger who types `make run` needs. Parameter names are checked against
every notebook before anything starts (papermill alone only warns, an hour later), each section is announced, the
notebook's own printing appears as it happens, and a failure names the notebook and the cell.

A profile is a file `notebooks/params/<profile>.yaml`: a section `all:` and one section per notebook. The profile
`quick` has no file: it is what the notebooks' own parameters cells say.
"""

import ast
import difflib
import json
import os
import re
import shutil
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import papermill
import yaml
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from gavs_lib.course.report import number, write_report
from gavs_lib.lab.kernels import REPOSITORY, this_interpreters_kernel

OWN_PARAMETERS = "quick"
METRICS_ROOM = 60  # characters of the results table given to a notebook's metrics when the terminal is narrow


class SettingError(ValueError):
    """A profile, notebook or parameter that does not exist or has the wrong type; nothing has run yet."""


@dataclass(frozen=True)
class Step:
    """One notebook to run: its name, its file, and the parameters that differ from its own cell."""

    name: str
    path: Path
    parameters: dict[str, Any]


@dataclass
class Outcome:
    """What one notebook left: minutes of wall-clock, its metrics, and in words why it stopped (empty: it did not)."""

    name: str
    minutes: float
    metrics: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


def run(
    profile: str = OWN_PARAMETERS,
    wanted: str = "",
    overrides: dict[str, str] | None = None,
    notebooks: Path = REPOSITORY / "notebooks",
    build: Path = REPOSITORY / "build",
) -> int:
    """Run notebooks in order, stop at the first that fails, print a table of what they measured, write the report.

    Args:
        profile: "quick", or the name of a file in `notebooks`/params.
        wanted: names or numbers of notebooks, separated by blanks or commas; empty for all.
        overrides: parameter -> text of its value, over the profile; see `plan`.
        notebooks: the folder that holds NN_name.ipynb and params/.
        build: executed notebooks, metrics and report go to `build`/`profile`/, which is also their `output_dir`.

    Returns:
        exit code: 0 all ran, 1 one failed.

    Raises:
        SettingError: something asked for does not exist; nothing has run.
    """
    steps = plan(notebooks, profile, wanted, overrides or {})
    folder = (build / profile).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Profile {profile}; executed notebooks and their metrics go to {_shown(folder)}", flush=True)
    outcomes = []
    with this_interpreters_kernel():
        for number, step in enumerate(steps, start=1):
            changed = ", ".join(f"{name}={value!r}" for name, value in step.parameters.items())
            print(f"\n[{number}/{len(steps)}] {step.name}" + (f"  ({changed})" if changed else ""), flush=True)
            outcomes.append(_execute(step, folder))
            if outcomes[-1].failure:
                break
    print("\n" + results_table(outcomes))
    if outcomes[-1].failure:
        print(f"\n{outcomes[-1].failure}", file=sys.stderr)
    try:
        report = write_report(folder, {outcome.name: outcome.failure for outcome in outcomes if outcome.failure})
        print(f"\nThe report, to be opened in a browser: {_shown(report)}")
    except Exception as error:  # such as a full disk; what the notebooks did stands, and so does the exit code
        print(f"\nNo report could be written. {type(error).__name__}: {error}")
    return 1 if outcomes[-1].failure else 0


def plan(notebooks: Path, profile: str, wanted: str = "", overrides: dict[str, str] | None = None) -> list[Step]:
    """Decide what runs with which parameters, refusing everything unknown before anything starts.

    From weakest to strongest: the notebook's own cell, the profile's `all:`, the profile's section of the notebook, the
    overrides. A name in a section must be a parameter of that notebook. A name in `all:` must be a parameter of at
    least one notebook, and an override of at least one *selected* notebook; both go to those that have it and no
    others. An override that is a mapping changes the entries it names and leaves the others as they were. A value
    must have the type of the notebook's own default (an int may stand where a float does).

    Args:
        notebooks: the folder that holds NN_name.ipynb and params/.
        profile, wanted: as in `run`.
        overrides: parameter -> text, read as YAML ("0.5" is a number, "[1, 2]" a list) unless the default is a string.

    Raises:
        SettingError: names what is unknown, the names that are known, and those that look alike.
    """
    paths = {path.stem: path for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))}
    if not paths:
        raise SettingError(f"{notebooks}: no notebook NN_name.ipynb here. Notebooks live in a checkout of the course.")
    # All of them, not only the selected: a typo in a profile should be found by whoever runs it first.
    defaults = {name: _parameters_of(path) for name, path in paths.items()}
    sections = _read_profile(notebooks / "params", profile)

    shared = sections.pop("all", {})
    everywhere = sorted({parameter for own in defaults.values() for parameter in own})
    for parameter in shared:
        if parameter not in everywhere:
            raise SettingError(
                _unknown(f"profile {profile}, all", "no notebook has a parameter", parameter, everywhere)
            )
    for section, values in sections.items():
        if section not in paths:
            raise SettingError(
                f"profile {profile} has a section {section!r}, but there is no such notebook."
                f"{_alike(section, list(paths))} Sections: all, {', '.join(paths)}."
            )
        for parameter in values:
            if parameter not in defaults[section]:
                lacks = f"{section} has no parameter"
                raise SettingError(_unknown(f"profile {profile}", lacks, parameter, list(defaults[section])))

    selected = _select(list(paths), wanted)
    overrides = overrides or {}
    having = sorted({known for name in selected for known in defaults[name]})
    for parameter in overrides:
        if parameter not in having:
            lacks = (
                f"{' and '.join(selected)} have no parameter"
                if len(selected) > 1
                else f"{selected[0]} has no parameter"
            )
            raise SettingError(_unknown(f"-p {parameter}", lacks, parameter, having))

    steps = []
    for name in selected:
        own = defaults[name]
        merged = {parameter: value for parameter, value in shared.items() if parameter in own}
        merged.update(sections.get(name, {}))
        for parameter, text in overrides.items():
            if parameter in own:
                default = _literal(own[parameter])
                if isinstance(default, str):
                    merged[parameter] = _absolute(parameter, text)
                    continue
                value, before = _yaml(text, f"-p {parameter}"), merged.get(parameter, default)
                merged[parameter] = (
                    {**before, **value} if isinstance(value, dict) and isinstance(before, dict) else value
                )
        for parameter, value in merged.items():
            _check_type(name, parameter, value, _literal(own[parameter]), own[parameter])
        steps.append(Step(name, paths[name], merged))
    return steps


def results_table(outcomes: list[Outcome]) -> str:
    """The table printed at the end: notebook, minutes, and the metrics each wrote to `output_dir`/<name>.json."""
    widest = max(len("notebook"), *(len(outcome.name) for outcome in outcomes))
    room = max(METRICS_ROOM, shutil.get_terminal_size().columns - widest - 12)
    lines = [f"{'notebook':<{widest}}  minutes  metrics"]
    for outcome in outcomes:
        told = "FAILED" if outcome.failure else "; ".join(f"{k} {number(v)}" for k, v in outcome.metrics.items())
        # A name and its number stay on one line.
        wrapped = textwrap.wrap(told.replace(" ", "\0").replace(";\0", "; "), room, break_on_hyphens=False) or [
            "(none)"
        ]
        lines.append(f"{outcome.name:<{widest}}  {outcome.minutes:7.1f}  {wrapped[0]}")
        lines += [" " * (widest + 11) + more for more in wrapped[1:]]
    return "\n".join(lines).replace("\0", " ")


def _execute(step: Step, folder: Path) -> Outcome:
    """Run one notebook and read its metrics; says where it stopped instead of raising."""
    output_dir = Path(step.parameters.get("output_dir", folder)).resolve()
    metrics = output_dir / f"{step.name}.json"
    metrics.unlink(missing_ok=True)  # a failed run must not show the numbers of an earlier one
    parameters = dict(step.parameters)
    if "output_dir" in _parameters_of(step.path):
        parameters["output_dir"] = str(output_dir)

    source = json.loads(step.path.read_text(encoding="utf-8"))["cells"]
    position = {cell.get("id"): index for index, cell in enumerate(source)}
    executed = folder / f"{step.name}.ipynb"
    started = time.perf_counter()
    current = {"cell": None}

    def announce(cell, cell_index):
        if cell.cell_type == "code":
            current["cell"] = cell
            return
        heading = re.search(r"^#+\s+(.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else None
        if heading:
            seconds = time.perf_counter() - started
            done = 100 * position.get(cell.id, 0) // len(source)
            print(f"  {int(seconds // 60):2d}:{int(seconds % 60):02d} {done:3d} %  {heading[1].strip()}", flush=True)

    def stopped(reason: str) -> Outcome:
        cell = current["cell"]
        if cell is None:
            where = "before its first cell"
        else:
            first = next((line for line in cell.source.splitlines() if line.strip()), "")
            index = position.get(cell.id)
            named = f"cell {index}" if index is not None else "the cell of injected parameters"
            where = f"{named} (counted from 0), which begins {first.strip()!r}"
        failure = f"{step.name} stopped in {where}\n  {reason}\n  The notebook up to there: {_shown(executed)}"
        return Outcome(step.name, (time.perf_counter() - started) / 60, failure=failure)

    try:
        papermill.execute_notebook(
            step.path,
            executed,
            parameters=parameters,
            kernel_name="python3",
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            cwd=step.path.parent,
            on_cell_start=announce,
        )
    except PapermillExecutionError as error:
        return stopped(f"{error.ename}: {error.evalue}")
    except DeadKernelError:
        return stopped("The kernel died: out of memory, a crash in native code, or somebody ended the process.")
    minutes = (time.perf_counter() - started) / 60
    return Outcome(step.name, minutes, metrics=_read_metrics(metrics))


def _select(names: list[str], wanted: str) -> list[str]:
    """The notebooks that `wanted` names by number, name or file, in their own order; all if it is empty."""
    asked = wanted.replace(",", " ").split()
    chosen = set()
    for word in asked:
        stem = re.sub(r"\.(ipynb|py)$", "", Path(word).name)
        matches = [name for name in names if name == stem or name.split("_")[0] == stem.zfill(2)]
        if not matches:
            raise SettingError(f"there is no notebook {word!r}.{_alike(stem, names)} Notebooks: {', '.join(names)}.")
        chosen.update(matches)
    return [name for name in names if name in chosen] if asked else names


def _read_profile(folder: Path, profile: str) -> dict[str, dict[str, Any]]:
    """Section -> parameters of a profile's file; empty sections may be left blank in it."""
    if profile == OWN_PARAMETERS:
        return {}
    path = folder / f"{profile}.yaml"
    if not path.is_file():
        known = [OWN_PARAMETERS, *sorted(file.stem for file in folder.glob("*.yaml"))]
        raise SettingError(f"there is no profile {profile!r}.{_alike(profile, known)} Profiles: {', '.join(known)}.")
    sections = _yaml(path.read_text(encoding="utf-8"), str(path)) or {}
    if not isinstance(sections, dict) or not all(isinstance(v, dict | None) for v in sections.values()):
        raise SettingError(
            f"{path}: expected sections (all:, 05_training:, ...) of `name: value` lines, found another form of YAML."
        )
    return {str(section): values or {} for section, values in sections.items()}


def _parameters_of(path: Path) -> dict[str, str]:
    """Parameter -> the text of its default, from the cell tagged `parameters`."""
    return {name: found["default"] for name, found in papermill.inspect_notebook(path).items()}


class _NumbersAsPeopleWriteThem(yaml.SafeLoader):
    """YAML 1.1, which PyYAML reads, takes 1e-3 for a string; YAML 1.2 and everybody else for a number."""


_NumbersAsPeopleWriteThem.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _NumbersAsPeopleWriteThem)
    except yaml.YAMLError as error:
        raise SettingError(f"{where}: not YAML: {error}") from error


def _literal(text: str) -> Any:
    """The value of a default that is a literal; None, which goes with every type, for one that is not."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None


def _check_type(notebook: str, parameter: str, value: Any, default: Any, shown: str) -> None:
    if default is None or value is None:
        return
    fits = {float: (int, float), list: (list, tuple), tuple: (list, tuple)}.get(type(default), type(default))
    # bool is a subclass of int, and `steps: true` is a mistake.
    if not isinstance(value, fits) or isinstance(value, bool) != isinstance(default, bool):
        raise SettingError(
            f"{notebook}: {parameter} is of type {type(default).__name__} (its own value is {shown}), "
            f"found {value!r} of type {type(value).__name__}."
        )


def _absolute(parameter: str, text: str) -> str:
    """A path typed where the user stands must mean the same in the notebook, which runs in its own folder.

    Where a word such as "mini" may stand as well, a bare name is a path if there is such a file or folder.
    """
    path = Path(text).expanduser()
    is_path = parameter.endswith("_dir") or os.sep in text
    may_be = parameter.endswith(("_root", "_checkpoint", "clip", "weights"))
    return str(path.resolve()) if text and (is_path or (may_be and path.exists())) else text


def _unknown(source: str, lacks: str, parameter: str, known: list[str]) -> str:
    return f"{source}: {lacks} {parameter!r}.{_alike(parameter, known)} Known: {', '.join(known) or 'none'}."


def _alike(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=3)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def _read_metrics(path: Path) -> dict[str, Any]:
    """The `metrics` of a notebook's JSON; a notebook that measures nothing leaves none."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["metrics"])
    except (ValueError, KeyError, TypeError) as error:
        return {f"{path.name} unreadable": f'expected {{"metrics": {{name: value}}}} ({type(error).__name__}: {error})'}


def _shown(path: Path) -> str:
    """Relative to where the user stands, if it is below; absolute otherwise."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
