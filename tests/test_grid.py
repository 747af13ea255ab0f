"""The grid: what a plan asks for, what is finished, what runs, and what becomes of a run that breaks."""

import dataclasses
import json
import re
import shlex
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml
from papermill import inspect_notebook

from gavs_lib.lab import grid
from gavs_lib.lab.experiment import Experiment
from gavs_lib.lab.grid import PLAN, REPOSITORY, RESULTS, UNIT, Unit, finished, main, read_plan, run_grid, verify
from gavs_lib.lab.shipped import record
from gavs_lib.lab.statistics import read_results

PLAN_TEXT = """
variants:
  plain: {}
  "wide ColA": {config: {cola_width: 64}}
grids:
  first: {variants: [plain, wide ColA], rotations: [0, 1], seeds: [0, 1]}
  second: {variants: [plain], rotations: [0], seeds: [2]}
"""

# Stands in for one_training: takes the same parameters, trains nothing, and breaks where it is told to.
QUICK = """
import csv, os
from pathlib import Path
if config.get("cola_width") == 64 and rotation == 1:
    raise OverflowError(f"too wide for rotation {rotation}")
with open(Path(output_dir) / "rows.csv", "w", newline="") as file:
    write = csv.writer(file).writerow
    write(["shots", "state", "part", "figure", "value", "n", "by_clip"])
    write([0, "best", "v1s test", "mIoU", 0.5 + seed / 10, 2, "500 -"])
    write([0, "best", "training", "threads", os.environ["OMP_NUM_THREADS"], 1, ""])
"""


def quick_notebook(folder):
    defaults = {field.name: None for field in dataclasses.fields(Experiment)} | {"config": {}}
    cell = nbformat.v4.new_code_cell("\n".join(f"{name} = {value!r}" for name, value in defaults.items()))
    cell.metadata["tags"] = ["parameters"]
    notebook = nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_code_cell(QUICK)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "quick.ipynb")
    return folder / "quick.ipynb"


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN_TEXT)
    return path


def test_a_plan_gives_every_training_once_first_seed_first(plan):
    units = read_plan(plan)
    assert [unit.experiment.seed for unit in units] == [0] * 4 + [1] * 4 + [2]
    assert len({unit.place for unit in units}) == 9
    assert [str(unit) for unit in read_plan(plan, ["second"])] == ["plain, rotation 0, seed 2"]
    assert len({unit.folder for unit in units}) == 9 and all("/" not in unit.folder for unit in units)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("variants: [plain]", "variants: [plane]", "asks for 'plane'"),
        ("plain: {}", "plain: {colour: red}", "no setting 'colour'"),
        ("plain: {}", "plain: {seed: 3}", "no setting 'seed'"),
        ("cola_width: 64", "cola: 64", "variant 'wide ColA': config has no setting 'cola'"),
        ("rotations: [0], seeds: [2]", "seeds: [2]", "grid 'second' has"),
        ("grids:", "nets:", "two sections"),
    ],
)
def test_a_plan_that_names_something_unknown_is_refused_before_anything_runs(plan, old, new, message, capsys):
    plan.write_text(PLAN_TEXT.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_plan(plan)
    assert main(["--plan", str(plan), "--list"]) == 2 and message in capsys.readouterr().err


def test_an_unknown_grid_is_named_beside_those_there_are(plan):
    with pytest.raises(ValueError, match="no grid 'third'; it has first, second"):
        read_plan(plan, ["third"])


def test_a_part_of_the_variants_may_be_asked_for(plan, capsys):
    assert main(["first", "--plan", str(plan), "--variants", "wide ColA", "--list"]) == 0
    assert capsys.readouterr().out.count("wide ColA") == 4
    assert main(["second", "--plan", str(plan), "--variants", "wide ColA", "--list"]) == 2
    assert "'wide ColA'" in capsys.readouterr().err


def test_what_is_finished_is_skipped_what_changed_runs_again_and_what_breaks_is_named(plan, tmp_path, capsys):
    results, notebook = tmp_path / "out" / "grid.csv", quick_notebook(tmp_path)
    units = read_plan(plan, ["first"])
    broken = run_grid(units, results, tmp_path / "work", jobs=2, notebook=notebook)
    assert set(broken) == {"wide ColA, rotation 1, seed 0", "wide ColA, rotation 1, seed 1"}
    reason = broken["wide ColA, rotation 1, seed 0"]
    assert "OverflowError: too wide for rotation 1" in reason and str(tmp_path / "work") in reason
    states = finished(units, results)
    assert sorted(states.values()) == ["finished"] * 6 + ["missing"] * 2
    table = pd.read_csv(results)
    assert len(table) == 12 and {"key", "world", "minutes", "torch", "command"} <= set(table.columns)

    capsys.readouterr()
    again = run_grid(units, results, tmp_path / "work", notebook=notebook)
    assert set(again) == set(broken) and "6 finished, 2 to do" in capsys.readouterr().out
    plan.write_text(PLAN_TEXT.replace("cola_width: 64", "cola_width: 48"))
    changed = read_plan(plan, ["first"])
    assert sorted(finished(changed, results).values()).count("outdated") == 2
    assert not run_grid(changed, results, tmp_path / "work", notebook=notebook)
    assert set(finished(changed, results).values()) == {"finished"}
    assert len(pd.read_csv(results)) == 16, "outdated rows are gone"


def test_rows_hold_scores_by_clip_and_read_back(plan, tmp_path):
    results, notebook = tmp_path / "grid.csv", quick_notebook(tmp_path)
    run_grid(read_plan(plan, ["second"]), results, tmp_path / "work", notebook=notebook)
    row = read_results(results).iloc[0]
    assert row["scores"][0] == 0.5 and row["scores"].shape == (2,) and row["value"] == pytest.approx(0.7)


def test_a_row_says_what_trains_it_again(plan, tmp_path):
    results, notebook = tmp_path / "grid.csv", quick_notebook(tmp_path)
    run_grid(read_plan(plan, ["second"])[:1], results, tmp_path / "work", notebook=notebook)
    command = pd.read_csv(results)["command"].unique().tolist()
    variant = read_plan(plan, ["second"])[0].variant
    assert command == [f"python -m gavs_lib.lab.grid --plan {plan.name} --variants {shlex.quote(variant)}"]
    assert {unit.command for unit in read_plan() if unit.variant == "5c AV"} == {
        "python -m gavs_lib.lab.grid --variants '5c AV'"
    }


def test_the_cores_are_divided_among_the_jobs(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(grid.os, "cpu_count", lambda: 8)
    results, notebook = tmp_path / "grid.csv", quick_notebook(tmp_path)
    run_grid(read_plan(plan, ["second"]), results, tmp_path / "work", jobs=4, notebook=notebook)
    assert pd.read_csv(results).set_index("figure").loc["threads", "value"] == 2


def test_verifying_sets_what_a_new_training_scores_beside_what_is_recorded(plan, tmp_path, monkeypatch):
    results, notebook = tmp_path / "grid.csv", quick_notebook(tmp_path)
    unit = read_plan(plan, ["second"])[0]
    run_grid([unit], results, tmp_path / "work", notebook=notebook)
    monkeypatch.setattr(grid, "NOTEBOOK", notebook)
    table = pd.read_csv(results)
    table.loc[table["figure"] == "mIoU", "value"] += 0.25
    table.to_csv(results, index=False)
    both = verify(unit, results).set_index("figure")
    assert both.loc["mIoU", "recorded"] == pytest.approx(0.95) and both.loc["mIoU", "again"] == pytest.approx(0.7)
    assert both.loc["mIoU", "difference"] == pytest.approx(0.25)
    verifying = ["second", "--plan", str(plan), "--results", str(results), "--verify"]
    assert main(verifying) == 1
    other_seed = table.assign(seed=5)
    other_seed.loc[other_seed["figure"] == "mIoU", "value"] -= 0.2
    pd.concat([table, other_seed]).to_csv(results, index=False)
    assert main(verifying) == 0, "0.25 is within twice what two recorded seeds differ by"
    table.loc[table["figure"] == "mIoU", "value"] -= 0.25
    table.to_csv(results, index=False)
    assert main(verifying) == 0


def test_two_writers_keep_each_others_rows(plan, tmp_path):
    results = tmp_path / "grid.csv"
    for seed in (0, 1, 0):
        rows = {
            "variant": ["plain"],
            "rotation": [0],
            "seed": [seed],
            "key": ["00"],
            "by_clip": ["1 2"],
            "value": [seed],
            "world": ["toys"],
        }
        record(results, pd.DataFrame(rows), UNIT)
    table = pd.read_csv(results, dtype={"key": str})
    assert sorted(table["seed"]) == [0, 1] and table["key"].tolist() == ["00", "00"]


def test_the_page_trains_one_unit_and_its_rows_say_what_the_library_says(tmp_path):
    experiment = Experiment(
        train=(4, 2), val=(2, 2), test=4, pool=4, twin=0, training={"steps": 2, "warmup_steps": 1, "precision": "no"}
    )
    assert not run_grid([Unit("small", experiment)], tmp_path / "grid.csv", tmp_path / "work")
    table = read_results(tmp_path / "grid.csv")
    parts = {"v1s test", "v1m test", "v1s unseen_test", "v1m unseen_test"}
    assert set(table[table["figure"] == "mIoU"]["part"]) == parts and set(table["key"]) == {experiment.key}
    executed = next((tmp_path / "work").glob("small-*/training.ipynb"))
    outputs = [o for cell in nbformat.read(executed, 4).cells for o in cell.get("outputs", [])]
    assert any("image/png" in o.get("data", {}) for o in outputs), "the training's curves are drawn"


def test_the_laboratorys_plan_is_whole_and_trains_all_models_that_are_compared_alike():
    units = read_plan(PLAN)
    plan = yaml.safe_load(PLAN.read_text())
    used = {variant for each in plan["grids"].values() for variant in each["variants"]}
    assert used == set(plan["variants"]), "every variant is in some grid"
    compared = [
        unit
        for unit in units
        if unit.place[1:] == (0, 0) and unit.variant in plan["grids"]["generalization"]["variants"]
    ]
    same = ("epochs", "batch_size", "dice_weight", "labelled_frames_only", "schedule", "precision")
    assert len({json.dumps([getattr(u.experiment.fit_config, name) for name in same]) for u in compared}) == 1
    assert len({tuple(u.experiment.train) + tuple(u.experiment.val) for u in compared}) == 1


def test_recorded_rows_belong_to_the_plan_of_today():
    units = read_plan(PLAN)
    states = finished(units, RESULTS)
    assert "outdated" not in states.values(), "rerun the grid: its settings, world or encoders have changed"
    recorded = set(read_results(RESULTS).set_index(["variant", "rotation", "seed"]).index)
    assert recorded <= set(states), "rows of trainings that no plan asks for"


def test_saves_plan_for_a_data_set_on_disk_has_the_papers_settings():
    plan = PLAN.parent / "save.yaml"
    units = {unit.variant: unit.experiment for unit in read_plan(plan, data={"root": "elsewhere", "synthetic": "made"})}
    assert set(yaml.safe_load(plan.read_text())["variants"]) == set(units), "every variant is in some grid"
    for name, each in units.items():
        config, side = each.fit_config, each.protocol.image_size
        assert side == (1024 if "1024" in name else 224 if "V" in name or name == "save" else 256), name
        if "V3" in name:  # GAVS's own settings but for the size
            assert each.protocol.protocol == "v3" and config.lr == 1e-3 and each.model in ("gavs", "joint")
            assert config.region_weight == (0.2 if each.model == "joint" else 0)
            continue
        if each.model in ("gavs", "av_sam"):  # whom the paper quotes
            assert each.protocol.subsets == ["s4" if "S4" in name else "ms3"]
            continue
        assert (config.lr, config.epochs, config.schedule) == (2e-4, 80, "cosine")
        assert config.batch_size == (4 if side == 1024 else 32), "of both GPUs"
        assert (config.iou_weight, config.dice_weight, config.semantic_weight) == (1, 0, 0)
        assert each.protocol.sam == "vit_h"
        by_name = [start for start in ("synthetic", "v1s") if start in name]
        by_caption = ["v1s"] if by_name == ["synthetic"] and "MS3" in name else []  # Table 2: synthetic, S4, MS3
        assert each.starts == by_name + by_caption, name
        if each.model == "save":
            assert each.model_config.adapter_channels == 0, "as many channels as the encoder"
    assert units["save"].protocol.protocol == "v3" and units["save, MS3"].protocol.subsets == ["ms3"]
    assert units["save, 1024, three layers, S4"].model_config.mlp_layers == 3


def test_a_plan_for_a_data_set_on_disk_says_where_it_lies_once_and_the_command_line_says_it_better(capsys):
    plan = PLAN.parent / "avsbench.yaml"
    units = {unit.variant: unit.experiment for unit in read_plan(plan, data={"root": "elsewhere", "most": 3})}
    assert {unit.experiment.data["root"] for unit in read_plan(plan)} == {str(Path("AVSBench").absolute())}
    assert {each.data["root"] for each in units.values()} == {str(Path("elsewhere").absolute())}
    assert units["gavs"].protocol.protocol == "v3" and units["gavs"].protocol.most == 3
    assert units["gavs, S4"].protocol.subsets == ["v1s"] and units["5a freeze"].protocol.protocol == "standard"
    assert units["sam_fusion"].shots == units["gavs"].shots and units["sam_fusion"].model == "sam_fusion"
    assert main(["--plan", str(plan), "--data", "rot=x", "--list"]) == 2
    assert main(["--plan", str(plan), "--data", "AVSBench", "--list"]) == 2
    assert main(["--plan", str(plan), "--list"]) == 2
    told = capsys.readouterr().err
    assert "would push the toy shop's rows" in told
    assert "no setting 'rot'" in told and "expected NAME=VALUE, such as root=AVSBench, not 'AVSBench'" in told


@pytest.mark.parametrize("name", ["avsbench.yaml", "save.yaml"])
def test_the_commands_above_a_plan_name_variants_and_parameters_that_there_are(name):
    plan = PLAN.parent / name
    variants, roles = (set(yaml.safe_load(path.read_text())["variants"]) for path in (plan, PLAN))
    commands = [line[1:].strip() for line in plan.read_text().splitlines() if line.startswith("#   make run")]
    assert commands
    for command in commands:
        _, _, notebook, passed = shlex.split(command)
        words = shlex.split(passed.removeprefix("ARGS="))
        given = {words[i + 1]: yaml.safe_load(words[i + 2]) for i, word in enumerate(words) if word == "-p"}
        source = next(PLAN.parents[1].glob(f"{notebook.removeprefix('NOTEBOOK=')}_*.ipynb"))
        assert set(given) <= set(inspect_notebook(str(source))), command
        aliases = given.get("aliases", {})
        assert set(aliases) <= roles and set(aliases.values()) <= variants, command


def test_a_word_for_weights_is_no_path_in_a_plan():
    plan = PLAN.parent / "avsbench.yaml"
    unit = read_plan(plan, ["table-1"], data={"root": "here", "sam_checkpoint": "official", "vggish": "official"})[0]
    assert (unit.experiment.data["sam_checkpoint"], unit.experiment.data["vggish"]) == ("official", "official")


def test_the_data_of_a_plan_go_into_its_trainings(tmp_path, capsys):
    (tmp_path / "plan.yaml").write_text(
        PLAN_TEXT + "data: {root: nowhere, sam: mini, sam_checkpoint: shipped, vggish: mini}\n"
    )
    given = ["--plan", str(tmp_path / "plan.yaml"), "--results", str(tmp_path / "r.csv"), "--data", "most=4"]
    assert main([*given, "--list"]) == 2
    assert "one division of classes" in capsys.readouterr().err, "the toy shop's rotations are none of theirs"


def test_the_line_that_a_reader_is_told_to_replace_stands_in_the_notebook_that_trains():
    told = (REPOSITORY / "notebooks" / "08_ablations.py").read_text(encoding="utf-8")
    quoted = re.search(r"Where it says `([^`]+)`", told).group(1)
    assert quoted in (REPOSITORY / "notebooks" / "grid" / "one_training.py").read_text(encoding="utf-8").splitlines()
