"""The notebooks, end to end: each runs through the course's runner, measures something sane, and keeps to the form."""

import ast
import importlib
import inspect
import json
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import numpy as np
import pytest
import soundfile
from PIL import Image

import gavs_lib
from gavs_lib.course.run import plan, run
from gavs_lib.course.sync import NOTEBOOKS
from gavs_lib.data import AVSBench, write_overlay_video
from gavs_lib.world.folder import write_folder

SOURCES = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.py"))
NAMES = [source.stem for source in SOURCES]
MOST_LINES = 15
EVERYWHERE = {"seed", "device", "output_dir", "cache_dir"}


def cells(source: Path) -> list:
    return jupytext.read(source, fmt="py:percent").cells


def code_of(source: Path, parameters: bool = False) -> list[str]:
    """The code cells; with or without the one that is tagged `parameters`."""
    return [
        cell.source
        for cell in cells(source)
        if cell.cell_type == "code" and (parameters or "parameters" not in cell.metadata.get("tags", []))
    ]


def parameters_of(source: Path) -> str:
    tagged = [cell.source for cell in cells(source) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1, "papermill wants exactly one parameters cell"
    return tagged[0]


# ---------------------------------------------------------------------------------------------- they run


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """The notebooks in another directory, as somebody who copied them has them."""
    folder = tmp_path_factory.mktemp("elsewhere") / "my copies"
    (folder / "params").mkdir(parents=True)
    for path in NOTEBOOKS.glob("*.ipynb"):
        shutil.copy(path, folder)
    for path in (NOTEBOOKS / "params").glob("*.yaml"):
        shutil.copy(path, folder / "params")
    return folder


@pytest.fixture(scope="module", params=NAMES)
def executed(request, elsewhere, tmp_path_factory) -> tuple[str, Path]:
    """One notebook, executed by the course's runner with the smoke profile."""
    build = tmp_path_factory.mktemp("build")
    before = sorted(elsewhere.rglob("*"))
    # On the CPU, where a resumed training must end in the same bits.
    assert run("smoke", request.param, {"device": "cpu"}, notebooks=elsewhere, build=build) == 0
    assert sorted(elsewhere.rglob("*")) == before, "a notebook writes to output_dir, not beside itself"
    return request.param, build / "smoke"


def test_every_notebook_runs_from_another_directory_and_leaves_its_figures(executed):
    name, folder = executed
    facts = json.loads((folder / f"{name}.json").read_text())
    metrics, intervals = facts["metrics"], facts.get("intervals", {})
    assert intervals.keys() <= metrics.keys()
    assert all(low - 1e-6 <= metrics[key] <= high + 1e-6 for key, (low, high) in intervals.items())
    assert metrics and all(isinstance(value, int | float) for value in metrics.values())
    for key, value in metrics.items():
        if key.startswith(("miou", "shipped_miou", "swap", "shipped_swap")):
            assert 0 <= value <= 1, key
    if name == "00_quick_start":
        assert metrics["miou_v1s"] > metrics["miou_v1s_deaf_twin"]
        assert metrics["seconds_to_first_mask"] < 60
    if name == "07_few_shot":
        assert metrics["loss_after"] < metrics["loss_before"]
        assert metrics["library_difference"] < 0.001
        assert metrics["comparisons_measured"] <= metrics["comparisons"] == len(facts["verdicts"])
    if name == "10_your_own_data":
        assert metrics["film_marked_silence"] < metrics["film_marked"]
        assert metrics["miou_composed_2"] > metrics["miou_composed_2_deaf_twin"]
    if name == "90_appendix_pretraining":
        assert metrics["loss_after"] < metrics["loss_before"]
        assert metrics["iou_words_found"] > metrics["iou_words_of_another_toy"]
        assert metrics["link_unseen_true_factors"] > metrics["link_unseen_true_class"]
    if name == "05_training":
        assert metrics["loss_after"] < metrics["loss_before"]
        assert metrics["resume_difference"] == 0
        assert metrics["shipped_miou_v1s"] > metrics["miou_v1s_deaf_twin"]


def test_every_notebook_shows_figures_without_warnings(executed):
    name, folder = executed
    notebook = json.loads((folder / f"{name}.ipynb").read_text())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    shown = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(shown) >= 5
    bundles = [output["data"] for output in outputs if "data" in output]
    assert any("application/vnd.jupyter.widget-view+json" in bundle for bundle in bundles), "a widget"
    told = "".join("".join(output["text"]) for output in outputs if output.get("name") == "stderr")
    unexpected = [line for line in told.splitlines() if "Warning" in line and "batch of one clip" not in line]
    assert unexpected == []


def test_training_runs_on_a_folder_of_the_users_own(elsewhere, tmp_path, capfd):
    counts = {("v1s", "train"): 4, ("v1m", "train"): 3, ("v2", "train"): 2}
    counts |= {(subset, split): 3 for subset in ("v1s", "v1m", "v2") for split in ("val", "test")}
    root = write_folder(tmp_path / "AVSBench-semantic", seed=9, counts=counts, progress=False)
    settings = {"data_root": str(root), "subsets": "[v1s, v1m, v2]", "train_clips": "0", "steps": "2"}
    settings |= {"batch_size": "4", "seed": "3", "image_size": "64", "cola_width": "0"}  # 0: without ColA
    assert run("smoke", "05", settings, notebooks=elsewhere, build=tmp_path / "build") == 0
    facts = json.loads((tmp_path / "build" / "smoke" / "05_training.json").read_text())
    assert {"miou_v1s", "miou_v1m", "miou_v2"} <= set(facts["metrics"])
    assert "swap_test" not in facts["metrics"] and facts["world"] is None
    told = capfd.readouterr().out
    assert told.count("skipped, this is your folder") == 3
    assert not list((tmp_path / "build").rglob("toyshop-*")), "no toy shop is drawn beside the user's folder"
    assert len(AVSBench(root, ["v1s", "v1m", "v2"], "train")) == 9


def test_two_copies_at_once_on_one_cache_do_not_disturb_each_other(elsewhere, tmp_path):
    code = (
        "import sys; from pathlib import Path; from gavs_lib.course.run import run\n"
        "settings = {'device': 'cpu', 'cache_dir': sys.argv[2]}\n"
        "sys.exit(run('smoke', '05', settings, notebooks=Path(sys.argv[1]), build=Path(sys.argv[3])))"
    )
    cache = tmp_path / "cache"
    copies = [
        subprocess.Popen(
            [sys.executable, "-c", code, elsewhere, cache, tmp_path / copy],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for copy in ("first", "second")
    ]
    told = [copy.communicate()[0] for copy in copies]
    assert [copy.returncode for copy in copies] == [0, 0], "\n".join(told)
    first, second = (
        json.loads((tmp_path / copy / "smoke" / "05_training.json").read_text())["metrics"]
        for copy in ("first", "second")
    )
    assert first.keys() == second.keys()
    assert {name for name in first if first[name] != second[name]} <= {"train_seconds"}
    assert not list(cache.rglob("*.tmp*")) and not list(cache.rglob("*.part*")), "nothing half-written is left"


def test_notebook_10_takes_a_film_pictures_and_sounds_of_the_users_own(elsewhere, tmp_path, monkeypatch, capfd):
    rng = np.random.default_rng(0)
    street = rng.integers(0, 256, size=(3, 48, 80, 3), dtype=np.uint8)
    noise = (0.1 * rng.standard_normal(3 * 44100)).astype(np.float32)
    write_overlay_video(tmp_path / "street.mp4", street, np.zeros((3, 48, 80), dtype=bool), noise, 44100)  # H.264, AAC
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:30, 10:30] = True
    for label in ("dog", "cat"):
        for folder in ("pictures", "masks", "sounds"):
            (tmp_path / folder / label).mkdir(parents=True)
        for n in range(3):
            picture = rng.integers(0, 256, size=(40, 60, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / "pictures" / label / f"{n}.jpg")
            Image.fromarray(mask).save(tmp_path / "masks" / label / f"{n}.png")
            soundfile.write(tmp_path / "sounds" / label / f"{n}.flac", 0.1 * rng.standard_normal(20000), 8000)
    monkeypatch.chdir(tmp_path)  # the names are typed where the user stands
    settings = {"clip": "street.mp4", "pictures_dir": "pictures", "sounds_dir": "sounds", "clips": "4"}
    assert run("smoke", "10", settings, notebooks=elsewhere, build=tmp_path / "build") == 0
    facts = json.loads((tmp_path / "build" / "smoke" / "10_your_own_data.json").read_text())
    assert facts["film"] == "street.mp4" and facts["metrics"]["film_seconds"] == 3
    assert "miou_film" not in facts["metrics"], "nobody knows the truth of this film"
    masks = tmp_path / "build" / "smoke" / "your_film" / "masks"
    assert sorted(path.name for path in masks.iterdir()) == ["0.png", "1.png", "2.png"]
    assert np.asarray(Image.open(masks / "0.png")).shape == (48, 80)
    told = capfd.readouterr().out
    assert told.index("These weights know only the toy shop") < told.index("of all pixels are marked")
    assert "has no sound" in told and "No class has both pictures and sounds" in told
    (root,) = (tmp_path / "build" / "smoke").glob("composed-*-2")
    assert AVSBench(root, "v1s", "train").classes == ("cat", "dog")


# ----------------------------------------------------------------------------------- they keep to the form


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_the_parameters_are_typed_commented_literals_with_those_that_every_notebook_has(source):
    text = parameters_of(source)
    names = set()
    for node in ast.parse(text).body:
        assert isinstance(node, ast.AnnAssign), f"line {node.lineno}: `name: type = value`"
        value = ast.literal_eval(node.value)
        assert type(value).__name__ == node.annotation.id, node.target.id
        names.add(node.target.id)
    assert EVERYWHERE <= names
    assert all("  # " in line for line in text.splitlines())


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_every_parameter_is_used(source):
    used = {node.id for text in code_of(source) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    names = {node.target.id for node in ast.parse(parameters_of(source)).body}
    assert names <= used


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_a_cell_has_at_most_fifteen_lines_of_code(source):
    for text in code_of(source):
        lines = [line for line in text.splitlines() if line.strip()]
        assert len(lines) <= MOST_LINES, f"{len(lines)} lines in the cell that begins {lines[0]!r}"


def library_names() -> set[str]:
    """Every public function and class of gavs_lib."""
    names = set()
    for module in pkgutil.walk_packages(gavs_lib.__path__, "gavs_lib."):
        if not module.name.endswith("__main__"):
            loaded = importlib.import_module(module.name)
            for name, value in vars(loaded).items():
                own = getattr(value, "__module__", "") == loaded.__name__
                if own and not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
                    names.add(name)
    return names


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_no_notebook_redefines_the_library(source):
    known = library_names()
    assert {"GAVS", "semantic_loss", "fit"} <= known
    imported, defined, assigned = set(), set(), set()
    for text in code_of(source, parameters=True):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("gavs_lib"):
                imported |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                assigned.add(node.id)
    assert defined & known == set()
    assert assigned & imported == set(), "a name that was imported from the library means that to the end"


def test_the_set_up_for_colab_is_the_same_everywhere_and_does_nothing_here():
    found = {text for source in SOURCES for text in code_of(source) if "google.colab" in text}
    assert len(found) == 1
    exec(compile(found.pop(), "set-up", "exec"), {})


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_the_text_has_what_a_reader_looks_for(source):
    text = "\n".join(cell.source for cell in cells(source) if cell.cell_type == "markdown")
    for part in ("**Reads:**", "**Writes", "## Set-up", "## Summary", "## Quiz", "## References", "## Next"):
        assert part in text
    code = "\n".join(code_of(source))
    assert code.count("assert ") >= 4, "checks that can fail"


@pytest.mark.parametrize("profile", ["smoke", "quick", "full"])
def test_every_profile_names_parameters_that_exist(profile):
    assert [step.name for step in plan(NOTEBOOKS, profile)] == NAMES
