"""Grade a folder of submissions: points as CSV, feedback as HTML, nothing taken on trust.

For every submission: its answers are put into the notebook that was released (`restore`), nbgrader puts the locked
cells and the checks, hidden ones included, back to what its gradebook holds, the cells run apart under limits
(`gavs_lib.course.submission`), and nbgrader turns what the checks showed into points and a feedback page. A damaged,
looping or tampering submission costs its author points, and nobody else anything.
"""

import argparse
import csv
import hashlib
import html
import logging
import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import ClearHiddenTests, NbGraderPreprocessor
from nbgrader.utils import is_grade, is_locked, is_solution
from traitlets import Float, Integer, Unicode
from traitlets.config import Config

from gavs_lib.course.assignments import BUILD, AssignmentError, make_course, nbgrader_at_work, source_of
from gavs_lib.course.submission import Cell, Limits, run_apart
from gavs_lib.course.sync import generate

SEED_VARIABLE = "COURSE_SEED"
MOST_BYTES = 20 * 2**20  # of a submitted file
MOST_CELLS = 500


@dataclass
class Submission:
    """Whose it is, where it lies (None: not there, `remark` says why), and what became of it.

    `state` is "graded", "cut short" (points for what was done until then) or "not graded" (no points); `points` maps
    each task to its points.
    """

    student: str
    path: Path | None
    remark: str = ""
    state: str = "not graded"
    points: dict[str, float] = field(default_factory=dict)
    page: str = ""  # name of the feedback page, and of the student in nbgrader's gradebook


# ------------------------------------------------------------------------------------------- what was handed in


def collect(folder: Path, name: str) -> list[Submission]:
    """Find the submissions in a folder, one a student, sorted by name.

    `STUDENT.ipynb`, or a folder `STUDENT/` with one notebook anywhere in it; among several the one called NAME.ipynb
    counts. Hidden files and folders (.ipynb_checkpoints, __MACOSX) are passed over, links are not followed. Other files
    beside the submissions belong to nobody: see `strays`.

    Raises:
        AssignmentError: there is no such folder, or it holds no submission.
    """
    if not folder.is_dir():
        raise AssignmentError(f"{folder}: no such folder of submissions")
    found: dict[str, Submission] = {}
    for entry in sorted(folder.iterdir()):
        student = entry.stem if _is_notebook(entry) else entry.name
        if _is_hidden(entry.name) or not (_is_notebook(entry) or entry.is_dir()):
            continue
        if student in found:
            found[student] = Submission(student, None, f"handed in twice: {student}.ipynb and {student}/; keep one")
        elif entry.is_symlink():
            found[student] = Submission(student, None, "is a link, not a file")
        elif entry.is_dir():
            found[student] = _in_folder(entry, name)
        else:
            found[student] = Submission(student, entry)
    if not found:
        raise AssignmentError(f"{folder}: no submissions here; expected STUDENT.ipynb or STUDENT/{name}.ipynb")
    pages: set[str] = set()
    for submission in found.values():
        page = re.sub(r"[^\w-]+", "_", submission.student).strip("_") or "student"
        if page.lower() in pages:  # another name that differs in what a file's name cannot show
            page += "-" + hashlib.sha256(submission.student.encode()).hexdigest()[:8]
        pages.add(page.lower())
        submission.page = page
    return list(found.values())


def strays(folder: Path) -> list[str]:
    """Names of files in a folder of submissions that are none: an archive nobody unpacked, a platform's own list."""
    files = [path for path in sorted(folder.iterdir()) if not path.is_dir()]
    return [path.name for path in files if not _is_notebook(path) and not _is_hidden(path.name)]


def _is_notebook(path: Path) -> bool:
    return path.suffix.lower() == ".ipynb"


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"  # the latter in archives made on macOS


def _in_folder(folder: Path, name: str) -> Submission:
    inside = [path for path in sorted(folder.rglob("*")) if not path.is_symlink() and path.is_file()]
    inside = [path for path in inside if not any(map(_is_hidden, path.relative_to(folder).parts))]
    notebooks = [path for path in inside if _is_notebook(path)]
    named = [path for path in notebooks if path.stem == name]
    if len(named or notebooks) == 1:
        return Submission(folder.name, (named or notebooks)[0])
    shown = ", ".join(path.relative_to(folder).as_posix() for path in (notebooks or inside)[:5])
    if notebooks:
        return Submission(folder.name, None, f"several notebooks ({shown}), expected one {name}.ipynb")
    return Submission(folder.name, None, f"no notebook in its folder ({shown or 'empty'})")


def read(path: Path) -> NotebookNode:
    """A submitted notebook.

    Raises:
        AssignmentError: it is none, or too large to be one.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise AssignmentError(f"the file is too large ({size / 2**20:.0f} MiB; clear its outputs)")
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # whatever the parser makes of a broken text
        raise AssignmentError(f"not a notebook that can be read ({type(error).__name__})") from error
    if len(notebook.cells) > MOST_CELLS:
        raise AssignmentError(f"the notebook has {len(notebook.cells)} cells, more than {MOST_CELLS}")
    return notebook


def restore(released: NotebookNode, submitted: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """The released notebook with the submission's answers, and its added cells where they stood.

    Cells are known by nbgrader's id. Locked ones that were deleted or changed are as released, the order is that of the
    release. A deleted answer cell does not come back: its stub would undo an answer in an added cell. Of two cells with
    one id (a cell that was split or copied) the first is the answer and the other an added cell.

    Returns:
        The notebook, and in words what was altered that should not have been.

    Raises:
        AssignmentError: no answer cell of the assignment is in it.
    """
    ours = {_id(cell): cell for cell in released.cells if _id(cell)}
    texts: dict[str, str] = {}
    added: dict[str, list[NotebookNode]] = {"": []}
    place = ""
    for cell in submitted.cells:
        name = _id(cell)
        if name in ours and name not in texts:
            place = name
            texts[name] = cell.source
            added[name] = []
        else:
            new = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
            added[place].append(new(cell.source))
    if not any(is_solution(ours[name]) for name in texts):
        raise AssignmentError("another notebook, or a copy of its text: no answer cell of this assignment is in it")

    altered = []
    cells = list(added[""])
    for name, cell in ours.items():
        cell = nbformat.from_dict(cell)
        if name not in texts:
            altered.append(f"{name} deleted")
            if is_solution(cell) and not is_grade(cell):
                continue
        elif is_solution(cell):
            cell.source = texts[name]
        elif texts[name].strip() != cell.source.strip():
            altered.append(f"{name} changed")
        cells += [cell, *added.get(name, [])]
    whole = nbformat.v4.new_notebook(cells=cells, metadata=released.metadata)
    for number, cell in enumerate(whole.cells):
        cell.id = f"cell-{number}"
    return whole, altered


def _is_check(cell: NotebookNode) -> bool:
    """A cell that gives points by itself (not an answer that somebody reads and marks)."""
    return is_grade(cell) and not is_solution(cell)


def _id(cell: NotebookNode) -> str:
    told = cell.metadata.get("nbgrader", {})
    name = told.get("grade_id") if isinstance(told, dict) else None
    return name if isinstance(name, str) else ""


# ----------------------------------------------------------------------------------------------------- grading


class ExecuteApart(NbGraderPreprocessor):
    """nbgrader's Execute, but in another process, where the student's cells and the checks are kept from each other."""

    cell_seconds = Integer(Limits.cell_seconds).tag(config=True)
    total_seconds = Integer(Limits.total_seconds).tag(config=True)
    memory_gb = Float(Limits.memory_gb).tag(config=True)
    seed = Unicode("").tag(config=True)
    log_file = Unicode(os.devnull).tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        limits = Limits(self.cell_seconds, self.total_seconds, self.memory_gb)
        nb.metadata["gavs"] = {"stopped": _run(nb, self.seed, limits, Path(self.log_file))}
        return nb, resources


def _run(notebook: NotebookNode, seed: str, limits: Limits, log: Path) -> str:
    """Fill in the outputs of a notebook that has the hidden checks; returns why it was cut short, or nothing."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    roles = ["check" if _is_check(cell) else "setup" if is_locked(cell) else "student" for cell in code]
    outputs, stopped = run_apart([Cell(role, cell.source) for role, cell in zip(roles, code)], seed, limits, log)
    for cell, shown in zip(code, outputs):
        cell.outputs = [nbformat.from_dict(output) for output in shown]
    return stopped


def try_own_answers(source: Path, seed: str, limits: Limits, log: Path) -> None:
    """Run an assignment's own answers as if they were handed in.

    Else a mistake in a hidden check, a broken installation or limits too tight for this machine would cost every
    student points, and look like the students' fault.

    Raises:
        AssignmentError: they do not pass its checks here.
    """
    notebook = generate(source)
    stopped = _run(notebook, seed, limits, log)
    for cell in notebook.cells:
        for output in cell.get("outputs", []) if is_locked(cell) else []:
            if output.output_type == "error":
                reason = (stopped or output.evalue).rstrip(".")
                raise AssignmentError(
                    f"{source.name}: its own answers do not pass {_id(cell)} on this machine: {reason}. Nobody was "
                    f"graded. Is there a mistake in that cell, is a limit too tight, or does {log} say more?"
                )


def grade(
    folder: Path, name: str = "", build: Path = BUILD, seed: str = "", limits: Limits | None = None
) -> list[Submission]:
    """Grade every submission in a folder.

    Writes `build`/grades.csv, `build`/feedback/STUDENT.html and `build`/grading.log, and leaves nbgrader's course
    with its gradebook in `build`/course (hidden checks included: for instructors only). What an earlier call left
    there is replaced. The table grows with every submission, so what was graded before an interruption is kept.

    Args:
        folder: see `collect`.
        name: the assignment; empty if there is only one.
        seed: the course's private word, from which the hidden checks draw their inputs.
        limits: what each submission may use.

    Raises:
        AssignmentError: no seed, no such assignment or folder, something else lies where the results go, or the
            assignment's own answers do not pass; the results of an earlier grading are still there.
    """
    if not seed:
        raise AssignmentError(
            f"{SEED_VARIABLE} is not set. The hidden checks draw their inputs from it, so choose a word that your "
            f"students do not know, and keep it: with the same word the same submissions get the same points. "
            f"{SEED_VARIABLE}=... make grade SUBMISSIONS={folder}"
        )
    source = source_of(name)
    submissions = collect(folder, source.stem)
    root, pages, log = build / "course", build / "feedback", build / "grading.log"
    for old in (root, pages):
        if old.exists() and not (root / "gradebook.db").exists():
            raise AssignmentError(f"{old} is not from an earlier grading: remove it, or choose another --build")
    limits = limits or Limits()
    print(f"trying the checks with the answers of {source.name}", flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    try_own_answers(source, seed, limits, log)
    for old in (pages, root):
        if old.exists():
            shutil.rmtree(old)
    (build / "grades.csv").unlink(missing_ok=True)
    pages.mkdir(parents=True)
    with nbgrader_at_work(log):
        course = make_course(source, root.resolve())
        config = _config(seed, limits, log)
        released = nbformat.read(_notebook(course, course.release_directory, "."), as_version=4)
        with Gradebook(course.db_url) as book:
            most = _by_task(
                {cell.name: cell.max_score for cell in book.find_notebook(source.stem, source.stem).grade_cells}
            )
        for number, submission in enumerate(submissions, start=1):
            print(f"[{number}/{len(submissions)}] {submission.student}", flush=True)
            submission.points = dict.fromkeys(most, 0.0)
            _grade_one(submission, released, course, config)
            _write_page(submission, course, config, pages / f"{submission.page}.html")
            _write_csv(build / "grades.csv", submissions[:number], most)  # each time: a run that is killed loses one
    print("\n" + grades_table(submissions, most))
    if strays(folder):
        print(f"\nnot graded, for neither notebooks nor folders: {', '.join(strays(folder))}")
    return submissions


def _config(seed: str, limits: Limits, log: Path) -> Config:
    config = Config()
    apart = config.ExecuteApart
    apart.cell_seconds, apart.total_seconds = limits.cell_seconds, limits.total_seconds
    apart.memory_gb, apart.seed, apart.log_file = limits.memory_gb, seed, str(log.resolve())
    config.Autograde.autograde_preprocessors = [
        ExecuteApart if step.__name__ == "Execute" else step for step in Autograde.autograde_preprocessors.default()
    ]
    # nbgrader's page would show the hidden checks, and run whatever script a submission displays.
    config.GenerateFeedback.preprocessors = [*GenerateFeedback.preprocessors.default(), ClearHiddenTests]
    config.HTMLExporter.template_name = "feedback"
    config.HTMLExporter.sanitize_html = True
    # A player or table stands there as its text: disarmed HTML would be a megabyte of raw signs.
    config.NbConvertBase.display_data_priority = ["image/png", "image/jpeg", "text/plain"]
    return config


def _grade_one(submission: Submission, released: NotebookNode, course: CourseDirectory, config: Config) -> None:
    if submission.path is None:
        return
    try:
        whole, altered = restore(released, read(submission.path))
    except (AssignmentError, OSError) as error:
        submission.remark = str(error)
        return
    target = _notebook(course, course.submitted_directory, submission.page)
    target.parent.mkdir(parents=True)
    nbformat.write(whole, target)
    course.student_id = submission.page
    try:
        Autograde(coursedir=course, config=config, force=True).start()
    except Exception:  # whatever it is, it must not cost the others their grades
        logging.getLogger("traitlets").exception("%s could not be graded", submission.student)
        submission.remark = "nbgrader could not grade it; grading.log says why"
        return
    graded = nbformat.read(_notebook(course, course.autograded_directory, submission.page), as_version=4)
    stopped = graded.metadata.get("gavs", {}).get("stopped", "")
    with Gradebook(course.db_url) as book:
        sheet = book.find_submission_notebook(target.stem, course.assignment_id, submission.page)
        submission.points |= _by_task({mark.name: mark.score for mark in sheet.grades})
    submission.state = "cut short" if stopped else "graded"
    changes = f"altered cells: {', '.join(altered)}" if altered else ""
    submission.remark = "; ".join(part for part in (stopped, changes) if part)


def _by_task(scores: dict[str, float]) -> dict[str, float]:
    """Points of each task; the checks of task t are called t_something."""
    tasks: dict[str, float] = {}
    for name, score in sorted(scores.items()):
        task = name.split("_")[0]
        tasks[task] = tasks.get(task, 0.0) + (score or 0.0)
    return tasks


def _notebook(course: CourseDirectory, step: str, student: str) -> Path:
    name = course.assignment_id
    return Path(course.format_path(step, student, name)) / f"{name}.ipynb"


# ---------------------------------------------------------------------------------------------------- results


def _write_page(submission: Submission, course: CourseDirectory, config: Config, page: Path) -> None:
    if submission.state != "not graded":
        try:
            GenerateFeedback(coursedir=course, config=config, force=True).start()
            made = _notebook(course, course.feedback_directory, submission.page).with_suffix(".html")
            shutil.copyfile(made, page)
            return
        except Exception:
            logging.getLogger("traitlets").exception("no feedback page for %s", submission.student)
            submission.remark += "; no feedback page could be made, grading.log says why"
    student, remark = html.escape(submission.student), html.escape(submission.remark)
    head = f'<!doctype html><meta charset="utf-8"><title>{student}</title>'
    page.write_text(f"{head}<h1>{student}</h1><p>Not graded: {remark}.</p>\n", encoding="utf-8")


def _write_csv(path: Path, submissions: list[Submission], most: dict[str, float]) -> None:
    temporary = path.with_suffix(".csv.part")
    with open(temporary, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["student", *most, "total", "of", "state", "remark", "feedback"])
        for one in submissions:
            points = [f"{one.points[task]:g}" for task in most]
            total, of = f"{sum(one.points.values()):g}", f"{sum(most.values()):g}"
            rows.writerow([one.student, *points, total, of, one.state, one.remark, f"feedback/{one.page}.html"])
    temporary.replace(path)


def grades_table(submissions: list[Submission], most: dict[str, float]) -> str:
    """What is printed at the end: a line for each student."""
    widest = max(len("student"), *(len(one.student) for one in submissions))
    lines = [f"{'student':<{widest}}  " + "  ".join(most) + "  total  remark"]
    for one in submissions:
        points = "  ".join(f"{one.points[task]:>{len(task)}g}" for task in most)
        remark = ": ".join(part for part in (one.state if one.state != "graded" else "", one.remark) if part)
        lines.append(f"{one.student:<{widest}}  {points}  {sum(one.points.values()):>5g}  {remark}".rstrip())
    best = "  ".join(f"{points:>{len(task)}g}" for task, points in most.items())
    return "\n".join([*lines, f"{'(of)':<{widest}}  {best}  {sum(most.values()):>5g}"])


def main(argv: list[str] | None = None) -> int:
    """`python -m gavs_lib.course grade DIR`: grade a folder of submissions."""
    parser = argparse.ArgumentParser(
        prog="python -m gavs_lib.course grade",
        description=f"Grade submissions. The environment variable {SEED_VARIABLE} is the course's private word.",
    )
    parser.add_argument("submissions", type=Path, nargs="?", help="folder of STUDENT.ipynb or STUDENT/NOTEBOOK.ipynb")
    parser.add_argument("--assignment", default="", metavar="NAME", help="which one, if there are several")
    parser.add_argument("--build", type=Path, default=BUILD, help="folder to write to (default: %(default)s)")
    parser.add_argument("--cell-seconds", type=int, default=Limits.cell_seconds, help="default: %(default)s")
    parser.add_argument("--total-seconds", type=int, default=Limits.total_seconds, help="default: %(default)s")
    parser.add_argument("--memory-gb", type=float, default=Limits.memory_gb, help="default: %(default)s")
    chosen = parser.parse_args(argv)
    limits = Limits(chosen.cell_seconds, chosen.total_seconds, chosen.memory_gb)
    if chosen.submissions is None:
        print("error: grade what? make grade SUBMISSIONS=folder", file=sys.stderr)
        return 2
    if sys.platform == "win32":
        print(
            "error: grading limits what a submission may use, as Windows cannot; use Linux, macOS or WSL.",
            file=sys.stderr,
        )
        return 2
    try:
        grade(chosen.submissions, chosen.assignment, chosen.build, os.environ.get(SEED_VARIABLE, ""), limits)
    except AssignmentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; who was graded by then stands in {chosen.build / 'grades.csv'}", file=sys.stderr)
        return 130
    print(f"\npoints: {chosen.build / 'grades.csv'}; feedback: {chosen.build / 'feedback'}")
    return 0
