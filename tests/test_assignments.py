"""The assignment's whole circle with nbgrader: release, four submissions, points and feedback; and its parts."""

import csv
import html
import json
import os
import re
import subprocess
import sys
from collections import defaultdict, namedtuple
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest
import torch
from nbconvert import HTMLExporter

from gavs_lib.course import answers
from gavs_lib.course.__main__ import main
from gavs_lib.course.assignments import SOURCES, AssignmentError, leaks, make_release, nbgrader_at_work, source_of
from gavs_lib.course.grade import _config, collect, grade, grades_table, read, restore, strays, try_own_answers
from gavs_lib.course.submission import Cell, Limits, run_apart
from gavs_lib.course.sync import generate

SEED = "a-private-word"
SOURCE = SOURCES / "hearing.py"
LIMITS = Limits(cell_seconds=15, total_seconds=500)
VISIBLE, HIDDEN = 2, 3  # points of the two checks of a task


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="module")
def released(build) -> Path:
    # As from the Makefile, which does not activate the environment: its commands are not on the search path.
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", os.defpath)
        with nbgrader_at_work(build / "release.log"):
            return make_release(SOURCE, build)


def cell_of(notebook, name: str):
    (found,) = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == name]
    return found


def answers_of(source: Path = SOURCE) -> dict[str, str]:
    """The instructor's answers."""
    cells = generate(source).cells
    return {c.metadata.nbgrader.grade_id: c.source for c in cells if c.metadata.get("nbgrader", {}).get("solution")}


def filled(released: Path, texts: dict[str, str]):
    """The release with some answers filled in, without the figures and other cells that nothing depends on."""
    notebook = nbformat.read(released, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "markdown" or "nbgrader" in cell.metadata]
    for name, text in texts.items():
        cell_of(notebook, name).source = text
    return notebook


# ------------------------------------------------------------------------------------------- what students get


def test_the_release_is_one_notebook_without_solutions_hidden_checks_and_outputs(released):
    assert [path.name for path in released.parent.iterdir()] == ["hearing.ipynb"]
    notebook = nbformat.read(released, as_version=4)
    nbformat.validate(notebook)
    text = "\n".join(cell.source for cell in notebook.cells)
    # Lines that stand in the solutions or the hidden checks only, written out by hand.
    for secret in ("max_pool2d(outside", 'violated = {"alone"', "slow_border", "voice[::-1].copy()", "np.trace(table)"):
        assert secret in SOURCE.read_text() and secret not in text
    assert "hashlib" not in text and "COURSE_SEED" not in text and "swells instead" not in text
    assert text.count("raise NotImplementedError()") == 7
    assert all(not cell.get("outputs") for cell in notebook.cells)
    locked = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("locked")]
    assert len(locked) == 13 and all(cell.metadata.editable is False for cell in locked)


def test_four_tasks_each_with_a_visible_and_a_hidden_check(released):
    cells = nbformat.read(released, as_version=4).cells
    points = {c.metadata.nbgrader.grade_id: c.metadata.nbgrader.points for c in cells if "points" in str(c.metadata)}
    want = {f"task{task}_{kind}": most for task in range(1, 5) for kind, most in (("visible", 2), ("hidden", 3))}
    assert points == want | {"task3_why": 0}


def test_nothing_is_released_if_a_solution_shows(tmp_path):
    text = SOURCE.read_text().replace(
        "# Worked out by hand", "# Think of np.trace(table) / count.\n# Worked out by hand"
    )
    assert text != SOURCE.read_text()
    careless = tmp_path / "careless.py"
    careless.write_text(text.replace("own = np.trace(table) / count", "np.trace(table) / count"))
    with (
        nbgrader_at_work(tmp_path / "log"),
        pytest.raises(AssignmentError, match=r"would show 'np.trace\(table\) / count'"),
    ):
        make_release(careless, tmp_path / "build")
    assert not (tmp_path / "build" / "release").exists()


def test_leaks_are_found_in_outputs_and_metadata_but_shared_and_short_lines_are_none():
    cell = nbformat.v4.new_code_cell(
        "import torch\n### BEGIN SOLUTION\nimport torch\nx = 1\nsecret = f(x, 42)\n### END SOLUTION"
    )
    source = nbformat.v4.new_notebook(cells=[cell])
    clean = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import torch\nx = 1")])
    assert leaks(source, nbformat.writes(clean)) == []
    clean.cells[0].outputs = [nbformat.v4.new_output("stream", text='"secret = f(x, 42)"')]
    assert leaks(source, nbformat.writes(clean)) == ["secret = f(x, 42)"]
    clean.cells[0].outputs = []
    clean.metadata["note"] = "### BEGIN SOLUTION"
    assert leaks(source, nbformat.writes(clean)) == ["BEGIN SOLUTION"]


def test_the_repository_holds_no_notebook_beside_an_assignments_source():
    assert list(SOURCES.glob("*.ipynb")) == []


def test_answers_and_shown_cells_can_be_read_at_a_glance():
    for cell in generate(SOURCE).cells:
        if cell.cell_type == "code" and not cell.metadata.get("nbgrader", {}).get("grade"):
            assert len([line for line in cell.source.splitlines() if line.strip()]) <= 22, cell.source[:60]


def test_the_set_up_for_colab_is_that_of_the_notebooks():
    colab = [cell.source for cell in generate(SOURCE).cells if "google.colab" in cell.source]
    assert colab == [
        c.source for c in generate(SOURCES.parent / "00_quick_start.py").cells if "google.colab" in c.source
    ]


# ------------------------------------------------------------------------------------------ the four submissions

WRONG = {
    # The plain IoU.
    "task1": """
def boundary_iou(predicted, truth, width):
    return (predicted & truth).sum((1, 2)) / (predicted | truth).sum((1, 2))
""",
    # The repair still takes its scale from the picture.
    "task2": """
violated = {"silence", "rising"}

def witness():
    return torch.tensor([[[-5.0, -1.0, -1.0]]]), torch.tensor([[[-5.0, -1.0, 5.0]]])

def careful_masks(logits, size):
    probability = F.interpolate(logits[:, None], tuple(size), mode="bilinear")[:, 0].sigmoid()
    return (probability - probability.min()) / (probability.max() - probability.min()) > 0.5
""",
    "task3_predicted": 'predicted = {"both": "bird", "late": "bell", "quiet": "bell", "backwards": "bell"}',
    # The end of the sound comes round to the front.
    "task3": """
def sound_of(name, voice, other, rate):
    late = np.roll(voice, 2 * rate)
    return {"both": voice + other, "late": late, "quiet": voice / 100, "backwards": voice[::-1]}[name]

held = {name: False for name in predicted}
""",
    # Not computed: the visible cases looked up.
    "task4": """
def swap_gain(played, toys):
    if len(toys) < 2:
        raise ValueError("one toy")
    return 1.0 if torch.equal(played, toys) else 0.0 if played.all() else -1.0

def sign_test(gains):
    return {5: 0.0625 if min(gains, default=0) > 0 else 0.625, 2: 1.0}.get(len(gains), 1.0)
""",
}

LOOPING = """
def boundary_iou(predicted, truth, width):
    while True:
        try:
            while True:
                pass
        except KeyboardInterrupt:
            print("go on")
            break
    return torch.ones(len(truth))
"""

TAMPERING = """
import builtins, os
from gavs_lib.course import answers as answers_module
builtins.abs = lambda x: 0
np.allclose = torch.allclose = torch.equal = lambda *a, **k: True
answers_module.encode = lambda value: '{"float": 20}'

class Yes:
    def __eq__(self, other): return True
    def __getattr__(self, name): return self
    def __call__(self, *a): return self

def sound_of(*anything):
    return Yes()

held = predicted
print("seed:", os.environ.get("COURSE_SEED"), "points: 20")
"""

LEFT_BEHIND = f"left-behind-by-{os.getpid()}"  # another run of these tests on this machine has its own

KILLING = f"""
import os, signal, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "{LEFT_BEHIND}"], start_new_session=True)

def swap_gain(played, toys):
    os.kill(os.getppid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def submissions(released, tmp_path_factory) -> Path:
    """A folder as a learning platform leaves it."""
    folder = tmp_path_factory.mktemp("handed in")
    solved = answers_of()
    (folder / "Sol Ved_1").mkdir()
    nbformat.write(filled(released, solved), folder / "Sol Ved_1" / "hearing.ipynb")
    nbformat.write(filled(released, {}), folder / "untouched.ipynb")
    nbformat.write(filled(released, WRONG), folder / "wrong.ipynb")

    tampered = filled(released, {**solved, "task1": LOOPING, "task3": TAMPERING, "task4": KILLING})
    memory = nbformat.v4.new_code_cell("hoard = [bytes(2**28) for _ in range(64)]")
    tampered.cells.insert(tampered.cells.index(cell_of(tampered, "task2")), memory)
    cell_of(tampered, "task1_visible").source = "pass"
    cell_of(tampered, "task3_visible").metadata.nbgrader.points = 1000
    cell_of(tampered, "setup_iou").source = "iou = lambda *a: 1.0"
    tampered.cells.remove(cell_of(tampered, "task3_hidden"))
    nbformat.write(tampered, folder / "tampered.ipynb")

    (folder / "broken.ipynb").write_text('{"cells": [')
    (folder / "empty").mkdir()
    (folder / "several").mkdir()
    for name in ("a", "b"):
        nbformat.write(nbformat.v4.new_notebook(), folder / "several" / f"{name}.ipynb")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), folder / "other.ipynb")
    (folder / "twice").mkdir()
    (folder / "twice.ipynb").write_bytes(released.read_bytes())
    return folder


@pytest.fixture(scope="module")
def graded(submissions, build) -> dict:
    """All of them graded in one go, by name of the student."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", os.defpath)
        return {one.student: one for one in grade(submissions, "hearing", build, SEED, LIMITS)}


def page(build: Path, submission) -> str:
    """The text of a feedback page."""
    text = (build / "feedback" / f"{submission.page}.html").read_text()
    return html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"<(style|script).*?</\1>", "", text, flags=re.S)))


def test_the_solved_submission_gets_full_marks(graded):
    solved = graded["Sol Ved_1"]
    assert solved.points == {f"task{k}": 5.0 for k in range(1, 5)}
    assert (solved.state, solved.remark) == ("graded", "")


def test_the_untouched_submission_gets_nothing_and_is_told_why(graded, build):
    untouched = graded["untouched"]
    assert sum(untouched.points.values()) == 0 and untouched.state == "graded"
    assert "there is no answer yet" in page(build, untouched)
    assert "name 'violated' is not defined. Did the cell that defines it run" in page(build, untouched)


def test_typical_wrong_answers_get_the_hint_that_names_the_mistake(graded, build):
    text = page(build, graded["wrong"])
    assert "AssertionError: 0.6 is the plain IoU: only the pixels of the border count" in text
    assert "AssertionError: no probability is above 0.05 here, and careful_masks marks" in text
    assert "AssertionError: (hidden check) violated lacks a property that the function does not have" in text
    assert "AssertionError: 'late': the end has come round to the front; begin with zeros" in text
    assert graded["wrong"].points == {"task1": 0, "task2": 0, "task3": 0, "task4": VISIBLE}


def test_a_hard_coded_answer_passes_the_visible_check_only(graded, build):
    assert graded["wrong"].points["task4"] == VISIBLE
    assert re.search(r"\(hidden check\) with \d toys the gain is", page(build, graded["wrong"]))


def test_loops_memory_and_tampering_cost_their_author_only(graded, build):
    tampered = graded["tampered"]
    # Task 2 was answered honestly, between a loop, a hoard of memory and a kill.
    assert tampered.points == {"task1": 0, "task2": 5, "task3": 0, "task4": 0}
    assert tampered.state == "cut short"
    assert "its process ended before its last cell" in tampered.remark
    assert "task1_visible changed" in tampered.remark and "task3_hidden deleted" in tampered.remark
    assert "setup_iou changed" in tampered.remark
    text = page(build, tampered)
    assert f"stopped after {LIMITS.cell_seconds} s, the limit for a cell: does a loop never end?" in text
    assert "MemoryError" in text
    assert "seed: None points: 20" in text  # what it tried to read, and to print
    assert sum(graded["Sol Ved_1"].points.values()) == 20


def test_nothing_that_a_submission_started_is_left_behind(graded):
    told = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    ours = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert LEFT_BEHIND not in told and not any("gavs_lib.course.submission" in line for line in ours)


def test_damaged_submissions_are_named_and_hinder_nobody(graded, build):
    remarks = {name: one.remark for name, one in graded.items() if one.state == "not graded"}
    assert remarks == {
        "broken": "not a notebook that can be read (NotJSONError)",
        "empty": "no notebook in its folder (empty)",
        "several": "several notebooks (a.ipynb, b.ipynb), expected one hearing.ipynb",
        "other": "another notebook, or a copy of its text: no answer cell of this assignment is in it",
        "twice": "handed in twice: twice.ipynb and twice/; keep one",
    }
    assert "Not graded: no notebook in its folder" in page(build, graded["empty"])


def test_the_table_has_a_row_for_each_student_with_the_points_of_each_task(graded, build):
    with open(build / "grades.csv", newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(graded)
    assert [rows["Sol Ved_1"][key] for key in ("task1", "task4", "total", "of", "state")] == [
        "5",
        "5",
        "20",
        "20",
        "graded",
    ]
    assert rows["wrong"]["total"] == "2"
    assert all((build / row["feedback"]).exists() for row in rows.values())


def test_neither_the_seed_nor_the_hidden_checks_reach_the_students(graded, build):
    for file in [build / "grades.csv", *(build / "feedback").iterdir(), *(build / "release").rglob("*.ipynb")]:
        text = file.read_text()
        assert SEED not in text and "hashlib" not in text, file.name
        assert "slow_border" not in text and "right_sound" not in text, file.name


# ------------------------------------------------------------------------------- what a check sees and shows


def test_a_check_gets_values_and_errors_and_shows_nothing_of_its_hidden_part(tmp_path):
    hidden = "### BEGIN HIDDEN TESTS\nimport os\nprint(os.environ['COURSE_SEED'])\nassert square(7) == 48, 'off'\n"
    sources = {
        "import warnings": "setup",
        "def square(x):\n    warnings.warn('careful')\n    print('got', x)\n    return x * x": "student",
        "assert square(2) == 4\nassert isinstance(square, object)": "check",
        "square(3)\n" + hidden: "check",
        "class Odd(Exception): pass": "student",
        "def refuse(x):\n    raise Odd('mine')": "student",
        "refuse(1)": "check",
        "def leave(x):\n    raise SystemExit": "student",
        "leave(1)": "check",
        "assert nobody(1)": "check",
        "def odd(x):\n    return object()": "student",
        "odd(1)": "check",
        "for line in range(400_000): print(line)": "student",
        "assert square(2) == 4 ": "check",
    }
    cells = [Cell(role, source) for source, role in sources.items()]
    shown, stopped = run_apart(cells, SEED, LIMITS, tmp_path / "log")
    assert stopped == ""
    by_source = dict(zip(sources, shown))
    # A warning is no failure: nothing on stderr, no error.
    (printed,) = by_source["assert square(2) == 4\nassert isinstance(square, object)"]
    assert printed["name"] == "stdout" and "careful" in printed["text"] and "got 2" in printed["text"]
    printed, failed = by_source["square(3)\n" + hidden]
    assert "got 3" in printed["text"] and "got 7" not in str(shown) and SEED not in str(shown)
    assert (failed["ename"], failed["evalue"]) == ("AssertionError", "(hidden check) off")
    (failed,) = by_source["refuse(1)"]
    assert failed["evalue"] == "Odd: mine" and "raise" in failed["traceback"][0] and "list" not in str(failed)
    assert by_source["leave(1)"][-1]["evalue"] == "SystemExit"
    assert by_source["assert nobody(1)"][0]["evalue"].startswith("name 'nobody' is not defined. Did the cell")
    (failed,) = by_source["odd(1)"]
    assert (
        "a value of type object cannot be checked: give numbers" in failed["evalue"] and len(failed["traceback"]) == 1
    )
    flood = by_source["for line in range(400_000): print(line)"]
    assert len(str(flood)) < 2_000_000 and "more was displayed than is kept" in flood[-1]["text"]
    assert by_source["assert square(2) == 4 "][0]["output_type"] == "stream", "the flood has not hurt the next check"


FORGING = """
import glob, os
for name in glob.glob(f"/proc/{os.getppid()}/fd/*"):
    if "pipe" in os.readlink(name):
        pipe = os.open(name, os.O_WRONLY | os.O_NONBLOCK)
        os.write(pipe, b'{"outputs": [], "stopped": ""}\\n' * 9)
        print("forged")
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here, so no way to the pipe")
def test_a_submission_that_writes_to_the_graders_pipe_gains_nothing(tmp_path):
    cells = [Cell("student", FORGING), Cell("check", "assert False, 'wrong'"), Cell("check", "assert True")]
    (forged, failed, passed), stopped = run_apart(cells, SEED, LIMITS, tmp_path / "log")
    assert "forged" in forged[0]["text"], "the attack that this test is about does not get through"
    assert failed[-1]["evalue"] == "wrong" and passed == [] and stopped == ""


# ---------------------------------------------------------------------------------------------- hidden checks


# As a student makes them: everything solved but for this.
MISTAKES = {
    "the plain IoU": (
        "task1",
        "boundary_iou = lambda p, g, w: (p & g).sum((1, 2)) / (p | g).sum((1, 2))",
        "0.6 is the plain IoU",
    ),
    "a mean over the seconds": (
        "task1",
        "right = boundary_iou\nboundary_iou = lambda p, g, w: right(p, g, w).mean()",
        r"must be a tensor \[T\], one score a second",
    ),
    "max_pool2d sees nothing outside": (
        "task1",
        "def boundary_iou(p, g, w):\n"
        "    near = lambda m: m & (F.max_pool2d((~m).float()[:, None], 2 * w + 1, 1, w)[:, 0] > 0)\n"
        "    a, b = near(p), near(g)\n"
        "    return (a & b).sum((1, 2)) / (a | b).sum((1, 2)).clamp(min=1)",
        "outside of the picture is background: full picture and its rim score 1, yours 0.000",
    ),
    "nothing divided by nothing": (
        "task1",
        "right = boundary_iou\n"
        "boundary_iou = lambda p, g, w: torch.where((p | g).any(2).any(1), right(p, g, w), float('nan'))",
        "two empty masks agree, so they score 1; yours is nan",
    ),
    "a witness with two changes": (
        "task2",
        "witness = lambda: (torch.zeros(1, 2, 2), torch.eye(2)[None])",
        "must differ in exactly one pixel; they differ in 2",
    ),
    "a witness of nothing": (
        "task2",
        "witness = lambda: (torch.tensor([[[-9.0, 9.0]]]), torch.tensor([[[-9.0, 8.0]]]))",
        "no other pixel's mark changes",
    ),
    "logits above one half": (
        "task2",
        "careful_masks = lambda x, size: F.interpolate(x[:, None], tuple(size), mode='bilinear')[:, 0] > 0.5",
        "the logit 0.2 is the probability 0.55",
    ),
    "thresholded before it is enlarged": (
        "task2",
        "careful_masks = lambda x, s: F.interpolate((x[:, None] > 0).float(), tuple(s), mode='bilinear')[:, 0] > 0.5",
        "enlarge the logits first",
    ),
    "the mean of the voices": (
        "task3",
        "right = sound_of\nsound_of = lambda n, v, o, r: (v + o) / 2 if n == 'both' else right(n, v, o, r)",
        "the sum of the voices, not their mean",
    ),
    "a late sound that grows": (
        "task3",
        "right = sound_of\n"
        "sound_of = lambda n, v, o, r: np.append(np.zeros(2 * r), v) if n == 'late' else right(n, v, o, r)",
        "every sound must be as long as the voice, 5 samples",
    ),
    "decibels of power": (
        "task3",
        "right = sound_of\nsound_of = lambda n, v, o, r: v / 10**4 if n == 'quiet' else right(n, v, o, r)",
        r"the amplitude is divided by 100; yours by 1e\+04",
    ),
    "the own voice among the others": (
        "task4",
        "def swap_gain(played, toys):\n"
        "    table = np.array([[iou(p, g) for p in played] for g in toys])\n"
        "    return float(np.trace(table) / len(toys) - table.mean())",
        "yours gains 0.5: the own voice is none of the others",
    ),
    "no error for one toy": (
        "task4",
        "right = swap_gain\nswap_gain = lambda played, toys: right(played, toys) if len(toys) > 1 else 0.0",
        "with one toy there is nothing to swap: raise a ValueError",
    ),
    "one-sided": (
        "task4",
        "right = sign_test\nsign_test = lambda gains: right(gains) / 2",
        "1/32 is one-sided",
    ),
    "zeros counted as losses": (
        "task4",
        "right = sign_test\nsign_test = lambda gains: right([g or -1.0 for g in gains])",
        "the 0 is left out",
    ),
}


@pytest.fixture(scope="module")
def solved_names() -> dict:
    """The instructor's answers, run as in one notebook."""
    names: dict = {}
    for cell in generate(SOURCE).cells:
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade") is False:
            exec(cell.source, names)
    return names


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_visible_check_names_the_mistake(mistake, solved_names, released):
    task, code, hint = MISTAKES[mistake]
    check = cell_of(nbformat.read(released, as_version=4), f"{task}_visible").source
    exec(check, dict(solved_names))
    names = dict(solved_names)
    exec(code, names)
    with pytest.raises(AssertionError, match=hint):
        exec(check, names)


@pytest.mark.parametrize("task", ["task1", "task4"])
def test_hidden_checks_draw_other_inputs_for_another_seed_and_the_same_for_the_same(task, monkeypatch):
    notebook = generate(SOURCE)
    names: dict = {}
    for name in ("setup_imports", "setup_iou", task):
        exec(cell_of(notebook, name).source, names)
    ask = {"task1": "boundary_iou", "task4": "swap_gain"}[task]
    answer = names[ask]

    def inputs(seed: str) -> list:
        seen = []
        names[ask] = lambda *given: (seen.append([x for x in given if torch.is_tensor(x)]), answer(*given))[1]
        monkeypatch.setenv("COURSE_SEED", seed)
        exec(cell_of(notebook, f"{task}_hidden").source, names)
        return seen

    first, again, other = inputs("one"), inputs("one"), inputs("two")
    assert all(torch.equal(a, b) for pair in zip(first, again) for a, b in zip(*pair))
    assert all(not torch.equal(a, b) for pair in zip(first, other) for a, b in zip(*pair))


def test_without_a_seed_grading_refuses_and_says_why(submissions, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("COURSE_SEED", raising=False)
    assert main(["grade", str(submissions), "--build", str(tmp_path / "build")]) == 2
    assert "COURSE_SEED is not set" in capsys.readouterr().err
    assert not (tmp_path / "build").exists()


def test_an_interrupted_grading_keeps_what_was_graded(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "handed in"
    folder.mkdir()
    for student in ("ann", "bo", "cy"):
        (folder / f"{student}.ipynb").write_text("{")

    def stop_at_the_second(submission, *_):
        if submission.student == "bo":
            raise KeyboardInterrupt
        submission.state = "graded"

    monkeypatch.setenv("COURSE_SEED", SEED)
    monkeypatch.setattr("gavs_lib.course.grade._grade_one", stop_at_the_second)
    monkeypatch.setattr("gavs_lib.course.grade._write_page", lambda *_: None)
    monkeypatch.setattr("gavs_lib.course.grade.try_own_answers", lambda *_: None)
    assert main(["grade", str(folder), "--build", str(tmp_path / "build")]) == 130
    assert "interrupted; who was graded by then stands in" in capsys.readouterr().err
    with open(tmp_path / "build" / "grades.csv", newline="") as file:
        assert [row["student"] for row in csv.DictReader(file)] == ["ann"]


def test_grading_removes_nothing_but_an_earlier_grading(submissions, tmp_path):
    (tmp_path / "feedback").mkdir()
    (tmp_path / "feedback" / "letters.txt").write_text("mine")
    with pytest.raises(AssignmentError, match="feedback is not from an earlier grading: remove it, or choose another"):
        grade(submissions, "hearing", tmp_path, SEED)
    assert (tmp_path / "feedback" / "letters.txt").exists() and not (tmp_path / "course").exists()


def test_a_mistake_in_a_hidden_check_is_found_before_anybody_is_graded(tmp_path):
    head = (
        '# %% nbgrader={"grade": false, "grade_id": "task1", "locked": false, "schema_version": 3, "solution": true}\n'
    )
    check = head.replace('"grade": false', '"grade": true, "points": 1').replace('"task1"', '"task1_hidden"')
    check = check.replace('"locked": false', '"locked": true').replace('"solution": true', '"solution": false')
    source = tmp_path / "sums.py"
    text = f"{head}total = 1 + 1\n\n{check}### BEGIN HIDDEN TESTS\nassert total == 2, 'two'\n### END HIDDEN TESTS\n"
    source.write_text(text)
    try_own_answers(source, SEED, LIMITS, tmp_path / "log")
    source.write_text(text.replace("total == 2", "total == 3"))
    with pytest.raises(
        AssignmentError, match=r"sums.py: its own answers do not pass task1_hidden .*\(hidden check\) two"
    ):
        try_own_answers(source, SEED, LIMITS, tmp_path / "log")


# ------------------------------------------------------------------------------------------------------ parts


def test_restoring_keeps_answers_and_added_cells_and_puts_the_rest_back(released):
    ours = nbformat.read(released, as_version=4)
    theirs = filled(released, {"task1": "first half", "task2": "two"})
    split = nbformat.from_dict(cell_of(theirs, "task1"))
    split.source = "second half"
    place = theirs.cells.index(cell_of(theirs, "task1"))
    theirs.cells[place + 1 : place + 1] = [split]
    cell_of(theirs, "task1_visible").source = "pass"
    whole, altered = restore(ours, theirs)
    assert altered == ["task1_visible changed"]
    texts = [cell.source for cell in whole.cells]
    assert (
        texts.index("first half") + 1 == texts.index("second half") < texts.index(cell_of(ours, "task1_visible").source)
    )
    assert cell_of(whole, "task2").source == "two"
    theirs.cells.reverse()
    again, _ = restore(ours, theirs)
    order = [cell.metadata.nbgrader.grade_id for cell in again.cells if "nbgrader" in cell.metadata]
    assert order == [cell.metadata.nbgrader.grade_id for cell in ours.cells if "nbgrader" in cell.metadata]


def test_an_answer_in_a_fresh_cell_counts_when_its_own_cell_was_deleted(released):
    ours = nbformat.read(released, as_version=4)
    theirs = filled(released, {"task2": "two"})
    theirs.cells[theirs.cells.index(cell_of(theirs, "task1"))] = nbformat.v4.new_code_cell("boundary_iou = mine")
    theirs.cells.remove(cell_of(theirs, "task3_why"))
    whole, altered = restore(ours, theirs)
    assert altered == ["task1 deleted", "task3_why deleted"]
    before_check = whole.cells[: whole.cells.index(cell_of(whole, "task1_visible"))]
    answers_to_task1 = [
        cell.source for cell in before_check if "boundary_iou" in cell.source and cell.cell_type == "code"
    ]
    assert answers_to_task1 == ["boundary_iou = mine"]
    assert cell_of(whole, "task3_why").source == cell_of(ours, "task3_why").source, "nbgrader wants what a person marks"


def test_collecting_takes_files_and_folders_and_tells_names_apart_that_look_alike(tmp_path):
    (tmp_path / "ann b.ipynb").write_text("{}")
    (tmp_path / "ann_b" / "deep" / ".ipynb_checkpoints").mkdir(parents=True)
    for path in ("ann_b/deep/hearing.ipynb", "ann_b/notes.ipynb", "ann_b/deep/.ipynb_checkpoints/hearing.ipynb"):
        (tmp_path / path).write_text("{}")
    (tmp_path / "zip").mkdir()
    (tmp_path / "zip" / "work.zip").write_text("")
    (tmp_path / "link.ipynb").symlink_to(tmp_path / "ann b.ipynb")
    (tmp_path / "list.txt").write_text("")
    (tmp_path / "bo.IPYNB").write_text("{}")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "._hearing.ipynb").write_text("{}")
    found = {one.student: one for one in collect(tmp_path, "hearing")}
    assert set(found) == {"ann b", "ann_b", "bo", "zip", "link"}
    assert found["ann_b"].path == tmp_path / "ann_b" / "deep" / "hearing.ipynb"
    assert found["ann b"].page == "ann_b" and re.fullmatch(r"ann_b-[0-9a-f]{8}", found["ann_b"].page)
    assert found["zip"].remark == "no notebook in its folder (work.zip)"
    assert found["link"].remark == "is a link, not a file"
    assert strays(tmp_path) == ["list.txt"]


def test_a_folder_without_submissions_is_refused(tmp_path):
    with pytest.raises(AssignmentError, match="no submissions here; expected STUDENT.ipynb or STUDENT/hearing.ipynb"):
        collect(tmp_path, "hearing")
    with pytest.raises(AssignmentError, match="no such folder"):
        collect(tmp_path / "none", "hearing")
    with pytest.raises(AssignmentError, match="no assignment 'herring'; there are: hearing"):
        source_of("herring")


def test_a_notebook_that_is_none_is_refused(tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}))
    with pytest.raises(AssignmentError, match="not a notebook that can be read"):
        read(path)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1") for _ in range(501)]), path)
    with pytest.raises(AssignmentError, match="501 cells"):
        read(path)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        0.1,
        float("inf"),
        "ä",
        [1, (2, "x")],
        {"a": {1, 2}, 3: []},
        np.eye(2),
        torch.tensor([True, False]),
    ],
    ids=str,
)
def test_plain_values_pass_from_the_kernel_to_the_checks_unchanged(value):
    got = answers.decode(answers.encode(value))
    assert type(got) is type(value)
    if isinstance(value, np.ndarray | torch.Tensor):
        assert got.dtype == value.dtype and got.shape == value.shape
        assert (got == value).all()
    else:
        assert got == value


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Fraction(1, 16), 0.0625),
        (Decimal("0.5"), 0.5),
        (np.float32(0.5), 0.5),
        (np.True_, True),
        (defaultdict(bool, late=True), {"late": True}),
        (namedtuple("Witness", "before after")(1, 2), (1, 2)),
    ],
    ids=str,
)
def test_what_passes_a_check_in_the_students_notebook_reaches_the_graders_as_the_plain_value(value, plain):
    got = answers.decode(answers.encode(value))
    assert type(got) is type(plain) and got == plain


def test_objects_with_a_mind_of_their_own_do_not_pass():
    class Liar(float):
        def __eq__(self, other):
            return True

    got = answers.decode(answers.encode(Liar(3)))
    assert type(got) is float and got == 3 and got != 4
    for value in (object(), [object()], np.array([object()])):
        with pytest.raises(answers.AnswerError, match="cannot be checked"):
            answers.encode(value)
    endless: list = []
    endless.append(endless)
    with pytest.raises(answers.AnswerError, match="contains itself"):
        answers.encode(endless)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        '{"pickle": "gASV"}',
        '{"array": ["|O", [1], "AAAA"]}',
        '{"array": ["<f8", [9], "AAAA"]}',
        '{"set": [{"list": []}]}',
    ],
)
def test_what_was_not_encoded_is_not_decoded(text):
    with pytest.raises(answers.AnswerError, match="what arrived is no answer"):
        answers.decode(text)


def test_the_course_can_be_imported_without_nbgrader():
    script = "import sys; sys.modules['nbgrader'] = None\n"
    script += "from gavs_lib.course.__main__ import main; sys.exit(main(['grade', 'x']))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 2 and 'pip install "gavs-lib[grading]"' in done.stderr


def test_the_table_in_words():
    from gavs_lib.course.grade import Submission

    rows = [
        Submission("ann", None, "", "graded", {"task1": 2.0}),
        Submission("bo", None, "no notebook", points={"task1": 0.0}),
    ]
    assert grades_table(rows, {"task1": 5.0}).splitlines() == [
        "student  task1  total  remark",
        "ann          2      2",
        "bo           0      0  not graded: no notebook",
        "(of)         5      5",
    ]


def test_a_player_or_script_stands_on_a_feedback_page_as_its_text(tmp_path):
    shown = {"text/html": '<audio controls src="data:audio/wav;base64,UklGR"></audio><script>go()</script>'}
    output = nbformat.v4.new_output("display_data", shown | {"text/plain": "a sound of 5 s"})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[output])])
    config = _config(SEED, LIMITS, tmp_path / "log")
    config.HTMLExporter.template_name = "basic"  # the head of nbgrader's own template wants a gradebook
    page, _ = HTMLExporter(config=config).from_notebook_node(notebook)
    assert "a sound of 5 s" in page
    assert not any(word in page for word in ("UklGR", "go()"))
