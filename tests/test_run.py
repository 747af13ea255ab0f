"""Running notebooks: which parameters reach them, what is refused before anything runs, what a failure says."""

import json
import os
import sys

import pytest

import gavs_lib
from gavs_lib.course.__main__ import main
from gavs_lib.course.run import REPOSITORY, Outcome, SettingError, plan, results_table, run
from gavs_lib.course.sync import sync

PASSES = """\
# %% [markdown]
# # Measure something

# %% tags=["parameters"]
steps: int = 3  # how many
rate: float = 0.5  # how fast
name: str = "toy"
ear_checkpoint: str = "mini"
sizes: list = [1, 2]
settings: dict = {"steps": 30}
output_dir: str = "nowhere"

# %%
import json, sys
from pathlib import Path
import gavs_lib

print("steps are", steps)

# %%
import matplotlib

figures = matplotlib.get_backend()
facts = {"metrics": {"iou": steps / 4, "python": sys.executable, "library": gavs_lib.__file__}, "name": name}
facts["figures"] = figures
Path(output_dir, "00_passes.json").write_text(json.dumps(facts))
"""
FAILS = """\
# %% tags=["parameters"]
seed: int = 0
output_dir: str = "nowhere"

# %% [markdown]
# ## Nothing wrong so far

# %%
total = 0

# %%
# a comment
total / seed
"""
DIES = """\
# %%
import os, signal
# %%
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def notebooks(tmp_path):
    folder = tmp_path / "notebooks"
    (folder / "params").mkdir(parents=True)
    (folder / "00_passes.py").write_text(PASSES)
    (folder / "01_fails.py").write_text(FAILS)
    (folder / "02_dies.py").write_text(DIES)
    assert sync(folder) == 0
    (folder / "params" / "smoke.yaml").write_text("all:\n  seed: 1\n  steps: 2\n00_passes:\n  rate: 1e-3\n01_fails:\n")
    return folder


@pytest.mark.parametrize("profile", ["smoke", "full"])
def test_every_shipped_profile_names_only_parameters_that_its_notebooks_have(profile):
    assert plan(REPOSITORY / "notebooks", profile)


def test_sections_win_over_all_and_overrides_over_both(notebooks):
    (notebooks / "params" / "full.yaml").write_text("all: {steps: 2, seed: 1}\n00_passes: {steps: 5}\n")
    passes, fails, _ = plan(notebooks, "full")
    assert passes.parameters == {"steps": 5} and fails.parameters == {"seed": 1}
    assert plan(notebooks, "full", "00", {"steps": "9"})[0].parameters == {"steps": 9}
    assert plan(notebooks, "quick", "00")[0].parameters == {}


def test_values_are_typed_as_yaml_and_exponents_are_numbers(notebooks):
    values = {"rate": "1e-3", "sizes": "[3, 4]", "name": "007"}
    assert plan(notebooks, "quick", "", values)[0].parameters == {"rate": 0.001, "sizes": [3, 4], "name": "007"}
    assert plan(notebooks, "smoke", "00")[0].parameters["rate"] == 0.001


def test_a_folder_typed_where_the_user_stands_means_the_same_in_the_notebook(notebooks, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for text in ("results", "here/results"):
        steps = plan(notebooks, "quick", "00", {"output_dir": text, "name": "toy"})
        assert steps[0].parameters == {"output_dir": str(tmp_path / text), "name": "toy"}
    (tmp_path / "ear.pth").touch()
    (tmp_path / "toy").mkdir()  # a name that is no path stays a name
    settings = {"ear_checkpoint": "ear.pth", "name": "toy"}
    expected = {"ear_checkpoint": str(tmp_path / "ear.pth"), "name": "toy"}
    assert plan(notebooks, "quick", "00", settings)[0].parameters == expected
    assert plan(notebooks, "quick", "00", {"ear_checkpoint": "mini"})[0].parameters == {"ear_checkpoint": "mini"}
    assert plan(notebooks, "quick", "00", {"name": "files/toy"})[0].parameters["name"] == str(tmp_path / "files/toy")
    assert plan(notebooks, "quick", "00", {"name": ""})[0].parameters["name"] == ""


@pytest.mark.parametrize("wanted", ["0", "00", "00_passes", "notebooks/00_passes.ipynb"])
def test_a_notebook_is_selected_by_number_name_or_file(notebooks, wanted):
    assert [step.name for step in plan(notebooks, "quick", wanted)] == ["00_passes"]


def test_several_notebooks_run_in_their_own_order(notebooks):
    assert [step.name for step in plan(notebooks, "quick", "01, 00")] == ["00_passes", "01_fails"]


def test_an_override_that_is_a_mapping_leaves_the_other_entries(notebooks):
    (notebooks / "params" / "row.yaml").write_text("00_passes: {settings: {epochs: 60, lr: 1e-3}}\n")

    def settings(profile, text):
        return plan(notebooks, profile, "00", {"settings": text})[0].parameters["settings"]

    assert settings("row", "{lr: 0.1, accumulate: 4}") == {"epochs": 60, "lr": 0.1, "accumulate": 4}
    assert settings("quick", "{accumulate: 4}") == {"steps": 30, "accumulate": 4}
    assert plan(notebooks, "row", "00", {})[0].parameters["settings"] == {"epochs": 60, "lr": 1e-3}, (
        "no default's steps"
    )


@pytest.mark.parametrize(
    ("profile", "wanted", "overrides", "message"),
    [
        ("smoke", "", {"step": "5"}, "have no parameter 'step'. Did you mean steps"),
        ("smoke", "01", {"steps": "5"}, "01_fails has no parameter 'steps'.* Known: output_dir, seed"),
        ("smoke", "passing", {}, "no notebook 'passing'"),
        ("smok", "", {}, "no profile 'smok'. Did you mean smoke"),
        ("quick", "", {"steps": "many"}, "00_passes: steps is of type int .*found 'many' of type str"),
        ("quick", "", {"steps": "true"}, "steps is of type int .*found True of type bool"),
        ("quick", "", {"steps": "[1"}, "-p steps: not YAML"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_could(notebooks, profile, wanted, overrides, message):
    with pytest.raises(SettingError, match=message):
        plan(notebooks, profile, wanted, overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("all:\n  sede: 1\n", "profile full, all: no notebook has a parameter 'sede'. Did you mean seed"),
        (
            "00_passes:\n  seed: 1\n",
            "00_passes has no parameter 'seed'. Known: steps, rate, name, ear_checkpoint, sizes, settings, output_dir",
        ),
        ("00_pases:\n  steps: 1\n", "section '00_pases', but there is no such notebook. Did you mean 00_passes"),
        ("- 1\n", "expected sections"),
    ],
)
def test_a_profile_is_checked_even_where_it_concerns_other_notebooks(notebooks, text, message):
    (notebooks / "params" / "full.yaml").write_text(text)
    with pytest.raises(SettingError, match=message):
        plan(notebooks, "full", "02")


def test_an_unknown_parameter_stops_the_command_before_anything_runs(capsys):
    assert main(["run", "-p", "no_such_parameter", "1"]) == 2
    captured = capsys.readouterr()
    assert "no_such_parameter" in captured.err and captured.out == ""


def test_a_notebook_runs_in_this_interpreter_and_its_metrics_reach_the_table(notebooks, tmp_path, monkeypatch, capsys):
    # A user's own kernel of the same name, left by another environment, must not be taken.
    kernel = tmp_path / "data" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(json.dumps({"argv": ["/gone"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    monkeypatch.setenv("MPLBACKEND", "agg")  # as batch systems do; figures would then be drawn for nobody
    monkeypatch.chdir(tmp_path)

    assert run("smoke", "00", {"name": "5"}, notebooks=notebooks, build=tmp_path / "build") == 0

    facts = json.loads((tmp_path / "build" / "smoke" / "00_passes.json").read_text())
    assert facts["name"] == "5" and "inline" in facts["figures"]
    assert facts["metrics"] == {"iou": 0.5, "python": sys.executable, "library": gavs_lib.__file__}
    executed = json.loads((tmp_path / "build" / "smoke" / "00_passes.ipynb").read_text())
    assert any(cell.get("outputs") for cell in executed["cells"])
    out = capsys.readouterr().out
    assert "[1/1] 00_passes" in out and "Measure something" in out and "steps are 2" in out
    assert "iou 0.500" in out[out.index("notebook  ") :]


def test_a_failure_names_notebook_and_cell_and_nothing_runs_after_it(notebooks, tmp_path, capsys):
    stale = tmp_path / "build" / "quick" / "01_fails.json"
    stale.parent.mkdir(parents=True)
    stale.write_text('{"metrics": {"iou": 1.0}}')

    assert run("quick", "01 02", notebooks=notebooks, build=tmp_path / "build") == 1

    captured = capsys.readouterr()
    # Cells of the source: 0 parameters, 1 heading, 2 total = 0, 3 the division; papermill's own cell does not count.
    assert "01_fails stopped in cell 3 (counted from 0), which begins '# a comment'" in captured.err
    assert "ZeroDivisionError: division by zero" in captured.err
    assert "01_fails" in captured.out and "FAILED" in captured.out and "02_dies" not in captured.out
    assert sorted(os.listdir(tmp_path / "build" / "quick")) == ["01_fails.html", "01_fails.ipynb", "report.html"]


def test_a_kernel_that_dies_is_a_failure_with_a_reason(notebooks, tmp_path, capsys):
    assert run("quick", "02", notebooks=notebooks, build=tmp_path / "build") == 1
    captured = capsys.readouterr().err
    assert "02_dies stopped in cell 1" in captured and "kernel died" in captured


def test_the_results_table_wraps_between_metrics_never_within_one():
    outcome = Outcome("05_training", 3.25, {f"metric_number_{i}": i / 10 for i in range(9)})
    lines = results_table([outcome, Outcome("06_zero_shot", 0.5)]).splitlines()
    assert lines[0].split() == ["notebook", "minutes", "metrics"]
    assert lines[1].startswith("05_training       3.2  metric_number_0 0.000; metric_number_1 0.100;")
    assert lines[-1].split() == ["06_zero_shot", "0.5", "(none)"]
    assert all(line.strip().rstrip(";").split()[-1][0].isdigit() for line in lines[2:-1])
