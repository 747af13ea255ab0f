"""The report of a run: one HTML file with every measured figure, its interval, and the most telling pictures.

It is made of what lies in the run's folder (executed notebooks and the JSON files they wrote), so it can be made again
at any time, and it also shows notebooks that were run on another day; each stands with its date. Beside it, every
executed notebook becomes a page of its own (see `gavs_lib.course.pages`). The report holds its pictures itself: moved
alone it is still whole, only the links to those pages then lead nowhere.

Its pictures are the outputs of the cells that a notebook tags `report`. Its intervals are what a notebook writes to its
JSON as `"intervals": {metric: [low, high]}`.
"""

import html
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
from nbformat import NotebookNode

from gavs_lib.course.pages import make_static, notebook_page, page, title_of

NAME = "report.html"
TAG = "report"
INTERVALS = (
    "Intervals are 95 % bootstrap intervals of a mean over test clips (or pairs of toys, toys, pictures: whatever the "
    "notebook averages over). They say how much the figure would move with other clips. How much it would move with "
    "another training is not in them. An interval without width only says that all the values were equal. Figures "
    "without an interval are no such means: losses, times, differences, shares of a whole."
)


@dataclass
class _Entry:
    """What the report says of one notebook."""

    name: str
    title: str
    when: str = ""
    minutes: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    pictures: list[tuple[str, str, str]] = field(default_factory=list)  # title, PNG in base64, id of the cell
    links: list[tuple[str, str]] = field(default_factory=list)  # words, address relative to the report
    trouble: str = ""


def write_report(folder: Path, failures: Mapping[str, str] | None = None) -> Path:
    """Write `folder`/report.html and a page for each executed notebook there.

    A notebook that cannot be read or shown is named in the report, with the reason; it stops nothing.

    Args:
        folder: of the run, such as build/quick; holds the executed NN_name.ipynb.
        failures: notebook -> why it stopped, for those that did; for others the notebook itself is asked.

    Returns:
        the report's path.

    Raises:
        FileNotFoundError: no executed notebook is there.
    """
    notebooks = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise FileNotFoundError(f"{folder}: no executed notebook NN_name.ipynb here. Run some first: make run")
    names = [path.stem for path in notebooks]
    entries = []
    for path in notebooks:
        try:
            entries.append(_entry(path, names, (failures or {}).get(path.stem, "")))
        except Exception as error:  # a broken file can fail in any of the libraries that read it
            trouble = f"{path.name} cannot be shown. {type(error).__name__}: {error}"
            entries.append(_Entry(path.stem, path.stem, trouble=trouble))
    report = folder / NAME
    _write(report, page(f"Report: {folder.name}", _body(folder.name, entries)))
    return report


def number(value: Any) -> str:
    """A measured value as people read it: three decimals, or a power of ten if these would all be zero."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f}" if value == 0 or not abs(value) < 0.001 else f"{value:.1e}"


def _entry(path: Path, names: list[str], failure: str) -> _Entry:
    """Read one executed notebook and its metrics, and write its page."""
    folder, name = path.parent, path.stem
    notebook = nbformat.read(path, as_version=4)
    static = make_static(notebook)
    _write(folder / f"{name}.html", notebook_page(static, name, names, home=NAME))

    ran = notebook.metadata.get("papermill", {})
    parameters = dict(ran.get("parameters", {}))
    output_dir = Path(parameters.pop("output_dir", folder))
    if output_dir == Path(ran.get("output_path") or "").parent:
        output_dir = folder  # beside the notebook, as usual; the two may have been moved since
    entry = _Entry(name, title_of(notebook, otherwise=name), trouble=failure or _stopped(notebook))
    entry.links.append(("page", f"{name}.html"))
    entry.pictures = _pictures(static)
    entry.settings = parameters
    if ran.get("start_time"):
        entry.when = datetime.fromisoformat(ran["start_time"]).astimezone().strftime("%Y-%m-%d %H:%M")
        entry.minutes = ran["duration"] / 60 if ran.get("duration") is not None else None
    facts_file = output_dir / f"{name}.json"
    if facts_file.is_file():
        entry.links.append(("metrics as JSON", quote(Path(os.path.relpath(facts_file, folder)).as_posix())))
        try:
            _add_facts(entry, json.loads(facts_file.read_text(encoding="utf-8")))
        except Exception as error:  # a file of any content; page and pictures are whole nevertheless
            told = f"{facts_file.name} is not what a notebook writes. {type(error).__name__}: {error}"
            entry.trouble = "\n".join(part for part in (entry.trouble, told) if part)
    return entry


def _add_facts(entry: _Entry, facts: dict[str, Any]) -> None:
    """Take over what the notebook wrote: metrics, their intervals, and whatever else as settings."""
    metrics, intervals = dict(facts.pop("metrics")), facts.pop("intervals", {})
    entry.intervals = {name: (float(low), float(high)) for name, (low, high) in intervals.items()}
    entry.metrics, entry.settings = metrics, facts | entry.settings


def _stopped(notebook: NotebookNode) -> str:
    """Why a notebook did not run to its end, if it did not, as far as the notebook itself knows."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                first = next((line for line in cell.source.splitlines() if line.strip()), "")
                return f"stopped in the cell that begins {first.strip()!r}\n  {output.ename}: {output.evalue}"
    if any(cell.cell_type == "code" and cell.source.strip() and not cell.execution_count for cell in notebook.cells):
        return "did not run to its end: it was interrupted, its kernel died, or it is still running."
    return ""


def _pictures(static: NotebookNode) -> list[tuple[str, str, str]]:
    """Title, PNG and cell of every picture in a cell tagged for the report."""
    return [
        (output.metadata["image/png"]["alt"], "".join(output.data["image/png"].split()), cell.id)
        for cell in static.cells
        if TAG in cell.metadata.get("tags", [])
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]


def _body(profile: str, entries: list[_Entry]) -> str:
    troubled = [entry.name for entry in entries if entry.trouble]
    parts = [
        f"<h1>What the notebooks measured: profile {html.escape(profile)}</h1>",
        f"<p>Made on {datetime.now().strftime('%Y-%m-%d at %H:%M')}. {len(entries) - len(troubled)} of {len(entries)} "
        "notebooks in this folder ran to their end. Scores are on the miniature world that comes with the course, "
        "unless a notebook was given other data.</p>",
    ]
    if troubled:
        parts.append(f'<p class="failed"><strong>Not complete:</strong> {html.escape(", ".join(troubled))}.</p>')
    rows = "".join(map(_rows, entries))
    parts.append(
        "<h2>Results</h2>\n<table>\n<thead><tr><th>measured</th>"
        '<th class="number">value</th><th class="number">95 % interval</th></tr></thead>\n'
        f'{rows}</table>\n<p class="small">{INTERVALS}</p>'
    )
    pictures = "".join(_figure(entry.name, *picture) for entry in entries for picture in entry.pictures)
    if pictures:
        parts.append(f"<h2>Figures</h2>\n{pictures}")
    return f"<main>\n{chr(10).join(parts)}\n</main>"


def _rows(entry: _Entry) -> str:
    """One notebook's part of the table: a line about the run, then a line for each metric."""
    links = " · ".join(f'<a href="{html.escape(file, quote=True)}">{words}</a>' for words, file in entry.links)
    ran = [f"{entry.minutes:.1f} minutes"] if entry.minutes is not None else []
    ran += [entry.when] if entry.when else []
    ran += [f"{name} {value}" for name, value in entry.settings.items()]
    about = f'<div class="small">{html.escape(", ".join(ran))}</div>' if ran else ""
    trouble = f'<div class="failed"><pre>{html.escape(entry.trouble)}</pre></div>' if entry.trouble else ""
    head = f"<strong>{html.escape(entry.title)}</strong> {links}{about}{trouble}"
    lines = [f'<tr class="notebook"><th colspan="3" scope="rowgroup">{head}</th></tr>']
    for name, value in entry.metrics.items():
        low_high = " to ".join(map(number, entry.intervals[name])) if name in entry.intervals else ""
        cells = f'<td class="number">{html.escape(number(value))}</td><td class="number">{html.escape(low_high)}</td>'
        lines.append(f"<tr><td>{html.escape(name)}</td>{cells}</tr>")
    return "<tbody>" + "\n".join(lines) + "</tbody>\n"


def _figure(notebook: str, title: str, data: str, cell: str) -> str:
    title, place = html.escape(title, quote=True), html.escape(f"{notebook}.html#cell-id={cell}", quote=True)
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{title}">'
        f'<figcaption>{title} (<a href="{place}">{html.escape(notebook)}</a>)</figcaption></figure>\n'
    )


def _write(path: Path, text: str) -> None:
    """All of it or nothing: a full disk must not leave half a page in place of a whole one."""
    partial = path.with_suffix(".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
