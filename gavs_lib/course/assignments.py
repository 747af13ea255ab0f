"""Assignments: what students get is made from `notebooks/assignments/NAME.py`, by nbgrader, and searched for solutions.

A source is a py:percent notebook with nbgrader's cell metadata; it holds the solutions and the hidden checks. Nothing
but the .py is kept: an .ipynb beside it would be copied into nbgrader's release folder, solutions and all. Whatever
has the text of a solution in it is never written to the release folder (`leaks`).
"""

import argparse
import contextlib
import json
import logging
import os
import re
import shutil
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.converters import GenerateAssignment
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from gavs_lib.course.sync import NOTEBOOKS, generate

REPOSITORY = NOTEBOOKS.parent
SOURCES = NOTEBOOKS / "assignments"
BUILD = REPOSITORY / "build" / "assignments"
SHORTEST_SECRET = 12  # characters of a solution's line from which on it counts as the solution's own

_BEGIN = re.compile(r"BEGIN (SOLUTION|HIDDEN TESTS)")
_END = re.compile(r"END (SOLUTION|HIDDEN TESTS)")


class AssignmentError(ValueError):
    """An assignment that does not exist, or that cannot be released or graded as it is."""


def sources_in(folder: Path = SOURCES) -> list[Path]:
    """The sources of all assignments, sorted; AssignmentError if there are none."""
    found = sorted(folder.glob("*.py"))
    if not found:
        raise AssignmentError(f"{folder}: no assignments here. They live in a checkout of the course.")
    return found


def source_of(name: str, sources: Path = SOURCES) -> Path:
    """The source of an assignment; an empty name means the only one.

    Raises:
        AssignmentError: there is no such assignment, or the name is needed because there are several.
    """
    known = {path.stem: path for path in sources_in(sources)}
    if not name and len(known) > 1:
        raise AssignmentError(f"there are several assignments, name one of them: {', '.join(known)}")
    if name and name not in known:
        raise AssignmentError(f"there is no assignment {name!r}; there are: {', '.join(known)}")
    return known[name or next(iter(known))]


def make_release(source: Path, build: Path = BUILD) -> Path:
    """Write the student version of one assignment to `build`/release/NAME/NAME.ipynb, and nothing else there.

    Args:
        source: the instructor's .py.
        build: nbgrader works in a folder of its own that is gone afterwards; only a searched release arrives here.

    Returns:
        The notebook to hand out.

    Raises:
        AssignmentError: nbgrader refuses the source, or the release would show a line of a solution or hidden check.
    """
    with tempfile.TemporaryDirectory(prefix="gavs-release-") as folder:
        course = make_course(source, Path(folder))
        released = Path(course.format_path(course.release_directory, ".", source.stem))
        files = sorted(path for path in released.rglob("*") if path.is_file())
        if [path.relative_to(released).as_posix() for path in files] != [f"{source.stem}.ipynb"]:
            raise AssignmentError(
                f"{source.name}: the release holds {[path.name for path in files]}, expected one file"
            )
        found = leaks(generate(source), files[0].read_text(encoding="utf-8"))
        if found:
            raise AssignmentError(f"{source.name}: nothing was released, for it would show {found[0]!r}")
        target = build / "release" / source.stem
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        return Path(shutil.copyfile(files[0], target / files[0].name))


def make_course(source: Path, root: Path) -> CourseDirectory:
    """An nbgrader course of one assignment in the empty folder `root`: source, release and gradebook.

    Raises:
        AssignmentError: nbgrader refuses the source; its log says why.
    """
    name = source.stem
    notebook = root / "source" / name / f"{name}.ipynb"
    notebook.parent.mkdir(parents=True)
    nbformat.write(generate(source), notebook)
    config = Config()
    config.CourseDirectory.root = str(root)
    config.CourseDirectory.assignment_id = name
    course = CourseDirectory(config=config)
    try:
        GenerateAssignment(coursedir=course, config=config, force=True).start()
    except NbGraderException as error:
        raise AssignmentError(
            f"nbgrader does not accept {source.name}; the log in the build folder says why"
        ) from error
    return course


def leaks(source: NotebookNode, released: str) -> list[str]:
    """Lines of `source` that are a solution's or a hidden check's alone, and that the text of a released file shows.

    Args:
        source: the instructor's notebook.
        released: the released file's text; in JSON every string is searched, metadata and outputs included.
    """
    secret, public = set(), set()
    for cell in source.cells:
        for line, hidden in _marked_lines(cell):
            (secret if hidden else public).add(line.strip())
    shown = released + "\n" + "\n".join(_strings(json.loads(released)))
    found = sorted(line for line in secret - public if len(line) >= SHORTEST_SECRET and line in shown)
    return found + [marker for marker in ("BEGIN SOLUTION", "BEGIN HIDDEN TESTS") if marker in shown]


def _marked_lines(cell: NotebookNode) -> Iterator[tuple[str, bool]]:
    """Each line of a cell, and whether students must not see it."""
    # An answer cell without a marked region is replaced as a whole.
    whole = cell.metadata.get("nbgrader", {}).get("solution", False) and not _BEGIN.search(cell.source)
    inside = False
    for line in cell.source.splitlines():
        if _BEGIN.search(line):
            inside = True
        elif _END.search(line):
            inside = False
        else:
            yield line, inside or whole


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


@contextlib.contextmanager
def nbgrader_at_work(log: Path) -> Iterator[None]:
    """nbgrader's surroundings: what it tells goes to a file, and it finds its database's command.

    It looks for `alembic` on the search path, where that of an environment that is not activated is missing.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    search_path = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), search_path])
    handler = logging.FileHandler(log, encoding="utf-8")  # appends, as do the processes that run submissions
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("traitlets")
    before = logger.handlers, logger.level, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"nbgrader\.")  # of its database layer, about itself
            yield
    finally:
        os.environ["PATH"] = search_path
        handler.close()
        logger.handlers, logger.propagate = before[0], before[2]
        logger.setLevel(before[1])


def main(argv: list[str] | None = None) -> int:
    """`python -m gavs_lib.course assignments`: release every assignment."""
    parser = argparse.ArgumentParser(
        prog="python -m gavs_lib.course assignments", description="Write what students get, without solutions."
    )
    parser.add_argument("--build", type=Path, default=BUILD, help="folder to write to (default: %(default)s)")
    build = parser.parse_args(argv).build
    try:
        with nbgrader_at_work(build / "release.log"):
            for source in sources_in(SOURCES):
                print(f"hand out {make_release(source, build)}")
    except (AssignmentError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
