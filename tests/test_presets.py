"""The papers' tables as parameter files: whole, marked, beside the right figures, and able to run."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image
from test_avsobject import write_ms3, write_s4

from gavs_lib.data import UNSEEN_TOKENS, paper_table
from gavs_lib.lab.experiment import Bench, Experiment
from gavs_lib.lab.presets import PRESETS, SECTION, preset_names, printed_figures, read_preset, with_preset
from gavs_lib.lab.protocols import DiskData

NAMES = preset_names()
MARK = re.compile(r"  # (paper|release|ours)\b")
# Methods of the tables that cannot be trained here: no code of ours follows them, or nothing of them is trained.
NOT_OURS = {
    *("AVSegFormer", "AVSC", "AuTR", "HardWay", "EZ-VSL", "SLAVC", "MarginNCE", "AVIN-RN", "SAM"),
    *("LVS", "MSSL", "3DC", "SST", "iGAN", "LGVT", "ECMVAE", "AQFormer", "COMBO"),
}
# Rows that repeat a row of another table, or of the same one under another name.
TWICE = {("gavs", 5, "audio-prompt"), ("save", 1, "GAVS"), ("save", 1, "AV-SAM")}
TWICE |= {("save", table, method) for table in (2, 3, 4) for method in ("AVSBench", "GAVS")}
WITHOUT = "w/o F.T."  # Table 2 repeats these of Table 1
WHOLE = {  # what a preset says of a training, so that nobody has to look a default up
    *(
        "epochs",
        "batch_size",
        "accumulate",
        "lr",
        "weight_decay",
        "schedule",
        "warmup_steps",
        "clip_norm",
        "dice_weight",
    ),
    *("semantic_weight", "labelled_frames_only", "val_every", "threshold", "precision"),
}


def expected(name: str) -> dict:
    return yaml.safe_load((PRESETS / f"{name}.yaml").read_text())[SECTION]["expected"]


def test_every_row_that_can_be_trained_here_has_one_preset():
    wanted = set()
    for paper, tables in (("gavs", range(1, 6)), ("save", range(1, 5))):
        for number in tables:
            rows = paper_table(paper, number)
            rows = rows[~rows["metric"].str.contains("gain") & (rows["variant"] != WITHOUT)]
            for row in rows.itertuples():
                if row.method not in NOT_OURS and (paper, number, row.method) not in TWICE:
                    size = None if paper == "gavs" else int(row.size)
                    wanted.add((paper, number, row.method, row.dataset, size, row.variant))
    assert wanted == {place_of(expected(name)) for name in NAMES} and len(wanted) == len(NAMES)


def place_of(row: dict) -> tuple:
    return row["paper"], row["table"], row["method"], row["dataset"], row.get("size"), row.get("variant", "")


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_marked_by_where_it_comes_from_and_none_is_left_to_a_default(name):
    text = (PRESETS / f"{name}.yaml").read_text()
    settings = text.split(f"{SECTION}:\n")[1].splitlines()[2:]  # less the row and the model
    unmarked = [line for line in settings if not line.endswith(":") and not MARK.search(line)]
    assert not unmarked
    preset = read_preset(name)
    assert WHOLE <= set(preset["training"])
    assert preset["config"] and "final_relu" in preset and {"protocol", "sam", "image_size"} <= set(preset["data"])
    if preset["training"]["semantic_weight"]:
        assert {"margin", "exclude_same_class"} <= set(preset["training"]) and preset["training"]["batch_size"] > 1


@pytest.mark.parametrize("name", NAMES)
def test_the_printed_figures_stand_in_the_first_lines_and_are_those_of_the_paper(name):
    row, head = expected(name), (PRESETS / f"{name}.yaml").read_text().split("all:")[0]
    assert f"# {row['paper'].upper()}, Table {row['table']}: " in head and "Not yet measured here." in head
    figures = printed_figures(row)
    assert len(figures) == (8 if "shot" in figures["setting"].iloc[0].replace("zero-shot", "") else 2)
    told = re.search(r"# Printed: (.*)\. Not yet", head).group(1)
    for each in figures.itertuples():
        part = told if len(figures) == 2 else next(p for p in told.split("; ") if p.startswith(each.setting))
        value = re.search(rf"{each.metric} ([\d.]+)", part).group(1)
        assert float(value) == each.value, (each, value)


# ------------------------------------------------------------------------------------------------- they run


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """AVSBench in small, both releases: clips of every subset and split, and classes of AVS-V3."""
    root, rng = tmp_path_factory.mktemp("AVSBench"), np.random.default_rng(0)
    lines = ["vid,uid,s_min,s_sec,a_obj,split,label"]
    classes = [*UNSEEN_TOKENS] * 6 + ["dog", "guitar_man"] * 8
    wanted = [(subset, split, "dog") for subset in ("v1s", "v2") for split in ("train", "val", "test")]
    wanted += [("v1m", ("train", "val", "test")[i % 3], name) for i, name in enumerate(classes)]
    frame, label = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), np.zeros((24, 32, 3), np.uint8)
    label[4:12, 4:20] = 200
    for i, (subset, split, a_obj) in enumerate(wanted):
        uid, seconds = f"clip{i:03}_0_5000", 10 if subset == "v2" else 5
        lines.append(f"clip{i:03},{uid},0,0,{a_obj},{split},{subset}")
        for kind in ("frames", "labels_rgb"):
            (root / subset / uid / kind).mkdir(parents=True)
        for second in range(seconds):
            Image.fromarray(frame).save(root / subset / uid / "frames" / f"{second}.jpg")
            Image.fromarray(label).save(root / subset / uid / "labels_rgb" / f"{second}.png")
        soundfile.write(root / subset / uid / "audio.wav", 0.1 * rng.standard_normal(seconds * 16000), 16000)
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    write_s4(root)
    write_ms3(root)
    return root


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_finds_its_clips(name, root):
    preset = read_preset(name)
    data = {**preset["data"], "root": str(root), "synthetic": str(root)}
    protocol = Experiment(**{**preset, "data": data}).protocol
    parts = [protocol.training(), protocol.validation(), *protocol.tests().values()]
    assert all(map(len, parts)) and len(parts) == 3
    if preset.get("shots"):
        assert set(protocol.shots(preset["shots"]).train) == {1, 3, 5}


def test_a_row_that_lacks_its_data_is_refused_before_it_trains(root, tmp_path):
    preset = read_preset("gavs-table4-gavs-vggss-sub")
    data = {**preset["data"], "root": str(root), "sam": "mini", "sam_checkpoint": "shipped", "vggish": "mini"}
    preset["config"]["tune_from"] = 3
    assert read_preset("gavs-table4-gavs-vggss-sub")["config"]["tune_from"] == 6, "each reader has a copy"
    with pytest.raises(ValueError, match="give vggss and vggss_root"):
        Bench(Experiment(**{**preset, "data": data | {"image_size": 64}}), tmp_path / "work", tmp_path / "cache")


def models() -> list[str]:
    """One preset of each model with its settings; all of them if GAVS_ALL_PRESETS is set (twenty minutes)."""
    if os.environ.get("GAVS_ALL_PRESETS"):
        return NAMES
    first = {}
    for name in NAMES:
        preset = read_preset(name)
        first.setdefault(json.dumps([preset["model"], preset["config"]]), name)
    return sorted(first.values())


@pytest.mark.parametrize("name", models())
def test_a_dry_run_with_vit_b_at_224_trains_a_step_and_tests(name, root, tmp_path):
    preset = read_preset(name)
    data = {**preset["data"], "root": str(root), "sam": "vit_b", "image_size": 224, "vggish": "mini", "most": 2}
    data = data if data["protocol"] == "v3" else {**data, "subsets": ["v1m"]}
    training = {**preset["training"], "steps": 1, "precision": "no"}
    chosen = {"model": preset["model"], "config": preset["config"], "training": training, "data": data}
    bench = Bench(Experiment(**chosen), tmp_path / "work", tmp_path / "cache").train().test()
    rows = bench.table().set_index(["part", "figure"])["value"]
    part = DiskData.unseen if data["protocol"] == "v3" else "v1m test"
    assert 0 <= rows[part, "mIoU"] <= 1 and rows["training", "trained values"] > 0
    shutil.rmtree(tmp_path / "work")  # pytest keeps its folders, and all presets together would leave 30 GB


# ---------------------------------------------------------------------------------------------- bad input


def test_unknown_presets_and_rows_are_named():
    with pytest.raises(ValueError, match="there is no preset 'gavs-table9'"):
        with_preset({"preset": "gavs-table9"})
    with pytest.raises(ValueError, match="no printed figure is meant"):
        printed_figures({"paper": "gavs", "table": 1, "method": "GAVS", "dataset": "V3"})


def test_settings_go_over_those_of_a_preset_entry_by_entry():
    plain = read_preset("gavs-table1-gavs-v1s")
    merged = with_preset({"preset": "gavs-table1-gavs-v1s", "config": {"cue": False}, "share": 0.5})
    assert merged == {**plain, "config": {**plain["config"], "cue": False}, "share": 0.5}
    assert read_preset("gavs-table1-gavs-v1s") == plain, "the preset itself stays"
    assert with_preset({"model": "gavs"}) == {"model": "gavs"}
