"""Run one notebook's cells and, at each check, a copy of the process in which something is broken first.

`python tests/run_breakages.py notebooks/00_quick_start.ipynb '{"clips": 16}' RESULTS` writes a line of JSON for every
check: its text, and the check that failed in the copy (null: none did) or the error that came instead. The copies are
forks, so what leads up to a check runs once however many checks there are.
"""

import ast
import json
import os
import sys
import traceback
from pathlib import Path

import nbformat
import torch
from breakages import BREAKAGES


def checks_of(text: str) -> dict[int, str]:
    """Line -> what is asserted there, for every `assert` of a cell."""
    return {n.lineno: ast.unparse(n.test) for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Assert)}


def run_cell(text: str, name: str, namespace: dict) -> None:
    exec(compile(text, name, "exec"), namespace)


def broken_copy(cells: list[str], first: int, last: int, code: str, namespace: dict) -> dict:
    """In a fork: run `code`, then the cells from `first` to `last`; say how it ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        with os.fdopen(reading) as pipe:
            told = pipe.read()
        os.waitpid(child, 0)
        return json.loads(told) if told else {"error": "the copy died"}
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        run_cell(code, "breakage", namespace)
        for index in range(first, last + 1):
            run_cell(cells[index], f"cell {index}", namespace)
        outcome = {"failed": None}
    except AssertionError as error:
        place = traceback.extract_tb(error.__traceback__)
        # The innermost frame that is a cell: an assert within the library is not the notebook's check.
        here = place[-1]
        index = int(here.filename.removeprefix("cell ")) if here.filename.startswith("cell ") else None
        outcome = {"failed": None if index is None else checks_of(cells[index]).get(here.lineno)}
        if outcome["failed"] is None:
            outcome = {"error": f"assertion elsewhere, {here.filename}:{here.lineno}: {error}"}
    except BaseException as error:
        outcome = {"error": f"{type(error).__name__}: {error}"}
    os.write(writing, json.dumps(outcome).encode())
    os._exit(0)


def main(path: Path, settings: dict, results: Path) -> None:
    torch.set_num_threads(1)  # a fork inherits no threads
    notebook = nbformat.read(path, as_version=4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    tagged = [cell.metadata.get("tags", []) for cell in notebook.cells if cell.cell_type == "code"]
    parameters = next(index for index, tags in enumerate(tagged) if "parameters" in tags)
    cells[parameters] += "".join(f"\n{name} = {value!r}" for name, value in settings.items())

    plan: dict[int, list] = {}  # first cell of a copy -> (check's cell, its text, code)
    known = BREAKAGES.get(path.stem, {})
    for index, text in enumerate(cells):
        for check in checks_of(text).values():
            matching = [how for beginning, how in known.items() if check.startswith(beginning)]
            if len(matching) != 1:
                plan.setdefault(index, []).append((index, check, None))
                continue
            code, piece = matching[0] if isinstance(matching[0], tuple) else (matching[0], None)
            first = index if piece is None else next(i for i, cell in enumerate(cells) if piece in cell)
            plan.setdefault(first, []).append((index, check, code))

    namespace = {"__name__": "__main__"}
    with open(results, "w", encoding="utf-8") as told:
        for index, text in enumerate(cells):
            for where, check, code in plan.get(index, []):
                outcome = {"error": "no breakage is written down for it, or several"}
                if code is not None:
                    outcome = broken_copy(cells, index, where, code, namespace)
                told.write(json.dumps({"check": check, **outcome}) + "\n")
                told.flush()
            if index == max(plan, default=-1):
                break  # nothing is left to break
            run_cell(text, f"cell {index}", namespace)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]))
