"""Which clips train, choose and test: AVS-V3, AVSBench's splits and VGG-SS on folders of their shape; the toy shop."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from test_avsobject import write_ms3, write_s4

from gavs_lib._shipped import shipped_weights
from gavs_lib.data import S4, UNSEEN_TOKENS, VGGSS, derive_v3
from gavs_lib.data.fetch import Remote
from gavs_lib.data.v3 import WITHOUT_SHOTS
from gavs_lib.gavs import GAVSConfig
from gavs_lib.lab.experiment import Bench, Experiment
from gavs_lib.lab.grid import Unit, finished, run_grid
from gavs_lib.lab.official import OFFICIAL
from gavs_lib.lab.protocols import DiskData, Toyshop
from gavs_lib.lab.statistics import on_shared_clips, read_results
from gavs_lib.lab.synthetic import synthetic_clips
from gavs_lib.lab.weights import hash_tensors, sha256
from gavs_lib.world.boxes import write_boxes
from gavs_lib.world.classes import class_split
from gavs_lib.world.folder import write_folder

MINI = {"sam": "mini", "sam_checkpoint": "shipped", "vggish": "mini"}
QUICK = {"steps": 2, "warmup_steps": 1, "precision": "no", "batch_size": 4}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """AVSBench-semantic in small: six clips of each unseen class, fifty of seen ones, one that V3 discards."""
    root, rng = tmp_path_factory.mktemp("AVSBench"), np.random.default_rng(0)
    classes = [name for name in UNSEEN_TOKENS for _ in range(6)] + ["dog", "guitar_man"] * 25 + ["dog_tiger"]
    lines = ["vid,uid,s_min,s_sec,a_obj,split,label"]
    for i, a_obj in enumerate(classes):
        uid, split = f"clip{i:03}_0_5000", ("train", "val", "test")[i % 3]
        lines.append(f"clip{i:03},{uid},0,0,{a_obj},{split},v1m")
        for kind in ("frames", "labels_rgb"):
            (root / "v1m" / uid / kind).mkdir(parents=True)
        for second in range(5):
            Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(
                root / "v1m" / uid / "frames" / f"{second}.jpg"
            )
            label = np.zeros((24, 32, 3), np.uint8)
            label[4:12, 4 : 12 + i % 7] = 200
            Image.fromarray(label).save(root / "v1m" / uid / "labels_rgb" / f"{second}.png")
        soundfile.write(root / "v1m" / uid / "audio.wav", 0.1 * rng.standard_normal(5 * 16000), 16000)
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def lists(root, tmp_path_factory):
    """V3's lists in the published layout, empty columns and wrong names of splits included."""
    folder = tmp_path_factory.mktemp("v3")
    drawn = derive_v3(root / "metadata.csv", seed=3)
    names = {"seen_train": "meta_v3_seen_train", "seen_val": "meta_v3_seen_val", "v3_0_shot_test": "meta_v3_unseen"}
    for name, table in drawn.tables().items():
        if name in names:
            table.to_csv(folder / f"{names[name]}.csv", index=False)
        else:
            k, part = name.split("_")[1], name.split("_")[-1]
            (folder / f"v3_{k}_shot").mkdir(exist_ok=True)
            table = table.assign(s_min="", s_sec="", a_obj="", split="v3_1_shot_train")
            table.to_csv(folder / f"v3_{k}_shot" / f"{part}.csv", index=False)
    return folder, drawn


@pytest.fixture(scope="module")
def vggss(tmp_path_factory):
    return write_boxes(tmp_path_factory.mktemp("VGGSS"), 72, progress=False)


def uids(clips):
    return clips.rows["uid"].tolist()


def test_v3_trains_on_seen_clips_and_its_shots_and_tests_are_those_of_the_lists(root, lists):
    folder, drawn = lists
    data = DiskData(str(root), lists=str(folder))
    assert uids(data.training()) == drawn.seen_train["uid"].tolist()
    assert uids(data.validation()) == uids(data.brief_validation()) == drawn.seen_val["uid"].tolist()
    tests = data.tests()
    assert list(tests) == [data.unseen] and uids(tests[data.unseen]) == drawn.zero_shot_test["uid"].tolist()
    pool = data.shots([1, 5])
    assert uids(pool.clips) == uids(tests[data.unseen]), "one order of clips for every number of shots"
    for k in (1, 5):
        named = {"train": drawn.few_shot_train[k], "test": drawn.few_shot_test[k]}
        for places, table in ((pool.train[k], named["train"]), (pool.test[k], named["test"])):
            assert {uids(pool.clips)[i] for i in places} == set(table["uid"])
    without = {pool.clips.rows["a_obj"][i] for i in set(range(len(pool.clips))) - {*pool.train[1], *pool.test[1]}}
    assert without == set(WITHOUT_SHOTS), "tested zero-shot only"


def test_without_lists_v3_is_derived(root):
    data = DiskData(str(root))
    drawn = derive_v3(root / "metadata.csv")
    assert uids(data.training()) == drawn.seen_train["uid"].tolist()
    assert set(uids(data.more_seen(5))) <= set(uids(data.training())) and len(data.more_seen(5)) == 5
    with pytest.raises(ValueError, match="needs 500 clips of seen classes; there are 45"):
        data.more_seen(500)


def test_the_standard_protocol_takes_the_splits_of_the_table_and_tests_each_subset_apart(root):
    data = DiskData(str(root), protocol="standard", subsets=["v1m"])
    table = data.training().rows
    assert set(table["split"]) == {"train"} and set(data.validation().rows["split"]) == {"val"}
    assert list(data.tests()) == ["v1m test"] and len(data.tests()["v1m test"]) == 45
    assert len(DiskData(str(root), protocol="standard", subsets=["v1m"], most=4).training()) == 4
    with pytest.raises(ValueError, match="the protocol is 'standard'"):
        data.shots([1])
    with pytest.raises(ValueError, match="no row of subset v1s"):
        DiskData(str(root), protocol="standard").training()


def test_a_second_folder_is_tested_for_classes_that_nobody_trained_on(root, tmp_path):
    unseen = write_folder(tmp_path / "unseen", counts={("v1s", "test"): 3}, progress=False)
    data = DiskData(str(root), protocol="standard", subsets=["v1m"], unseen_root=str(unseen))
    tests = data.tests()
    assert list(tests) == ["v1m test", "v1s unseen"] and len(tests["v1s unseen"]) == 3
    assert tests["v1s unseen"][0].path.is_relative_to(unseen)
    assert data.world != DiskData(str(root), protocol="standard", subsets=["v1m"]).world
    one = replace(data, most=1).tests()
    assert [len(clips) for clips in one.values()] == [1, 1]


def test_s4_and_ms3_of_avsbench_object_train_choose_and_test_by_their_own_lists(tmp_path):
    write_s4(tmp_path), write_ms3(tmp_path)
    data = {"root": str(tmp_path), "protocol": "standard", "subsets": ["ms3"]}
    ms3 = DiskData(**data)
    assert [uids(ms3.training()), uids(ms3.validation())] == [["dd"], ["ee-1"]]
    assert {part: uids(clips) for part, clips in ms3.tests().items()} == {"ms3 test": ["ff", "gg"]}
    assert uids(DiskData(**data, most=1).tests()["ms3 test"]) == ["ff"]
    assert uids(ms3.more_seen(1)) == ["dd"]
    first, choosing = ms3.starting("v1s", 0, tmp_path)
    assert [uids(first), uids(choosing)] == [["aa_1", "NA"], ["bb_2"]], "as MS3 is fine-tuned from S4"
    s4 = DiskData(**{**data, "root": str(tmp_path / "Single-source"), "subsets": ["s4"]})
    assert uids(s4.training()) == ["aa_1", "NA"] and uids(s4.tests()["s4 test"]) == ["cc_3"]
    with pytest.raises(ValueError, match="the protocol is 'standard'"):
        ms3.shots([1])


def test_an_experiment_on_s4_knows_its_table_and_reads_cached_clips_no_more(tmp_path, monkeypatch):
    write_s4(tmp_path), write_ms3(tmp_path)
    data = {"root": str(tmp_path), "protocol": "standard", "subsets": ["s4"], **MINI}
    experiment = Experiment(data=data)
    there = replace(experiment, data=data | {"root": str(tmp_path / "Single-source")})
    assert there.key == experiment.key != replace(experiment, data=data | {"subsets": ["ms3"]}).key
    bench = Bench(experiment, tmp_path / "run", tmp_path / "cache")
    features = bench.features(bench.protocol.training())
    assert features.labels == ["male-speech", "horse-clip-clop"] and features.has_mask.sum(1).tolist() == [1, 1]
    in_memory = bench.features(list(bench.protocol.training()))
    assert features.fingerprint == in_memory.fingerprint and torch.equal(features.audio, in_memory.audio)
    monkeypatch.setattr(S4, "__getitem__", None)
    assert bench.features(bench.protocol.training()).fingerprint == features.fingerprint


def test_a_whole_experiment_on_disk_from_zero_shot_to_vggss_joins_a_table(root, lists, vggss, tmp_path):
    data = {"root": str(root), "lists": str(lists[0]), "vggss": str(vggss), "vggss_root": str(vggss.parent), **MINI}
    experiment = Experiment(
        shots=(1,), control=(1,), twin_shots=(1,), training=QUICK, few_shot={"epochs": 1}, data={**data, "most": 12}
    )
    unit = Unit("gavs on V3", experiment)
    assert not run_grid([unit], tmp_path / "real.csv", tmp_path / "work")
    table = read_results(tmp_path / "real.csv")
    assert finished([unit], tmp_path / "real.csv") == {unit.place: "finished"}
    assert set(table["world"]) == {experiment.protocol.world}
    scored = table[table["by_clip"] != ""].set_index(["part", "shots", "state", "figure"])["n"].to_dict()
    assert scored["v3 unseen", 0, "best", "mIoU"] == 12
    assert scored["v3 unseen", 1, "control", "mIoU"] == scored["v3 unseen", 1, "best", "mIoU"] == 12
    assert scored["vggss", 0, "best", "IoU with boxes"] == scored["vggss", 1, "last", "IoU with boxes"] == 12
    assert scored["v3 unseen", 1, "best", "F"] == 12, "printed beside the mIoU of every number of shots"
    boxes = table[(table["part"] == "vggss") & (table["shots"] == 0)].set_index("figure")["value"]
    assert boxes["AUC"] == pytest.approx(boxes["IoU with boxes"], abs=0.05), "the trapezoid is about the mean"
    assert 0 <= boxes["success rate"] <= 1
    assert scored["vggss sub", 0, "best", "IoU with boxes"] == 12, "of the same entries as after the shots"
    assert (table["figure"] == "sound found by its cue").any() and (table["figure"] == "semantic loss").any()
    rows = table[(table["part"] == "v3 unseen") & (table["figure"] == "mIoU")]
    shared = on_shared_clips(rows)
    assert 0 < shared["n"].min() < 12, "shots are among the first 0-shot clips and do not test"


def test_real_shots_keep_all_their_labels(root, tmp_path):
    data = {"root": str(root), **MINI, "most": 2}
    bench = Bench(Experiment(shots=(1,), data=data, training=QUICK), tmp_path, tmp_path / "cache")
    lesson = bench.features(bench.protocol.shots([1]).clips).subset([0, 1])
    assert lesson.has_mask.all() and bench.protocol.labelled_seconds is None


def test_the_key_follows_what_is_in_the_files_and_not_where_they_lie(root, lists, tmp_path):
    experiment = Experiment(data={"root": str(root), **MINI})
    (tmp_path / "copy").mkdir()
    metadata = (root / "metadata.csv").read_text()
    (tmp_path / "copy" / "metadata.csv").write_text(metadata)
    assert replace(experiment, data={"root": str(tmp_path / "copy"), **MINI}).key == experiment.key
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metadata.csv").write_text(metadata.replace("guitar_man", "guitar"))
    keys = {experiment.key, Experiment().key}
    keys |= {replace(experiment, data={"root": str(tmp_path / "other"), **MINI}).key}
    for change in (
        {"lists": str(lists[0])},
        {"most": 3},
        {"protocol": "standard"},
        {"image_size": 64},
        {"sam": "vit_b"},
        {"sam_checkpoint": ""},
        {"vggish": ""},
    ):
        keys.add(replace(experiment, data={"root": str(root), **MINI, **change}).key)
    assert len(keys) == 10


@pytest.fixture
def official(tmp_path, monkeypatch):
    """The miniature encoders in the place of official ones; and where fetched files are kept."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("GAVS_CACHE", str(cache))
    monkeypatch.setenv("GAVS_OFFLINE", "1")
    for name, file in {"mini": shipped_weights("sam_mini"), "vggish": shipped_weights("vggish_mini")}.items():
        checksum = sha256(file)[: 8 if name == "vggish" else 64]  # of VGGish only the beginning is published
        monkeypatch.setitem(OFFICIAL, name, Remote(file.name, (f"https://127.0.0.1/{file.name}",), sha256=checksum))
    return cache


def test_official_weights_are_fetched_for_a_model_and_not_for_a_key(root, official):
    by_name = DiskData(str(root), sam="mini", sam_checkpoint="official", vggish="official")
    files = {"sam_checkpoint": str(shipped_weights("sam_mini")), "vggish": str(shipped_weights("vggish_mini"))}
    assert by_name.identity == replace(by_name, **files).identity, "what is in a file counts, not how it is named"
    for build in (lambda: by_name.build("gavs", GAVSConfig()), lambda: by_name.ear(False)):
        with pytest.raises(FileNotFoundError, match="To get it by hand"):
            build()
    official.mkdir()
    for name in ("sam_mini", "vggish_mini"):
        shutil.copy(shipped_weights(name), official)
    shipped = DiskData(str(root), **MINI)
    for build in (lambda data: data.build("gavs", GAVSConfig()).sam.prompt_encoder, lambda data: data.ear(False)):
        assert hash_tensors(build(by_name).state_dict()) == hash_tensors(build(shipped).state_dict())


@pytest.mark.parametrize(
    "data, message",
    [
        ({"root": "x", "protocol": "v4"}, "protocol is 'v4'"),
        ({"root": "x", "subsets": ["s4"]}, "under 'standard', one of s4, ms3"),
        ({"root": "x", "protocol": "standard", "subsets": ["s4", "ms3"]}, "one of s4, ms3"),
        ({"root": "x", "protocol": "standard", "subsets": ["s4", "v1m"]}, "one of s4, ms3"),
        ({"root": "x", "protocol": "standard", "subsets": "s4"}, "subsets are 's4'"),
        ({"root": "x", "subsets": "v1s"}, "subsets are 'v1s'"),
        ({"root": "x", "vggss": "y.json"}, "needs both"),
        ({"root": "x", "most": -1}, "most is -1"),
        ({"root": "x", "sam": "mini", "sam_checkpoint": "official"}, "'mini' has no official checkpoint"),
        ({"root": "x", "folder": "y"}, "data has no setting 'folder'"),
        ({"protocol": "v3"}, "data has no root"),
    ],
)
def test_a_mistaken_data_set_is_refused_before_anything_runs(data, message):
    with pytest.raises(ValueError, match=message):
        Experiment(data=data)


def test_the_toy_shop_is_seen_at_the_size_asked_for(root, tmp_path):
    bench = Bench(Experiment(image_size=64), tmp_path, tmp_path / "cache")
    assert bench.model.sam.image_encoder.img_size == 64
    assert bench.features(bench.protocol.part("v1s", "test", 1))[0]["prefix"].shape[1:3] == (8, 8)
    with pytest.raises(ValueError, match="set it there"):
        Experiment(image_size=64, data={"root": str(root)})


def test_what_is_missing_on_disk_is_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="metadata.csv"):
        DiskData(str(tmp_path)).training()
    with pytest.raises(ValueError, match="one division of classes"):
        Experiment(rotation=1, data={"root": str(root)})
    with pytest.raises(ValueError, match="no 2-shot list"):
        DiskData(str(root)).shots([2])
    with pytest.raises(ValueError, match="vggish is not set"):
        DiskData(str(root)).ear(False)
    with pytest.raises(ValueError, match="those of VGG-SS"):
        DiskData(str(root)).box_shots([1])


def test_vggss_is_tested_on_entries_that_are_no_shots(root, vggss):
    data = DiskData(str(root), vggss=str(vggss), vggss_root=str(vggss.parent))
    pool = data.box_shots([1])
    names = pool.clips.rows["file"].tolist()
    drawn = VGGSS(vggss, vggss.parent).few_shot([1])
    assert [names[i] for i in pool.train[1]] == drawn.train[1].rows["file"].tolist()
    assert [names[i] for i in pool.test[1]] == drawn.test.rows["file"].tolist()
    assert len(data.boxes()) == 72 and data.box_parts(["a"] * 3) == {"vggss": [0, 1, 2]}
    assert len(json.loads(vggss.read_text())) == 72


def test_the_toy_shops_parts_are_of_the_classes_they_are_named_for():
    toys = Toyshop(1, (8, 4), (2, 2), 6, 80, 72)
    split = class_split(1)
    assert [len(toys.training()), len(toys.validation()), len(toys.brief_validation())] == [12, 4, 1]
    sounding = {
        part: {toy for recipe in clips.recipes for toy in recipe.scene.heard} for part, clips in toys.tests().items()
    }
    assert all(
        toys_heard <= set(split.unseen_test if "unseen" in part else split.seen)
        for part, toys_heard in sounding.items()
    )
    pool = toys.shots([1, 3])
    assert {recipe.split for recipe in pool.clips.recipes} == {"unseen_test"}
    assert {recipe.split for recipe in toys.shots([1], "unseen_val").clips.recipes} == {"unseen_val"}
    assert sorted([*pool.train[3], *pool.test[3]]) == list(range(80)) and set(pool.train[1]) < set(pool.train[3])
    new = {recipe.uid for recipe in toys.more_seen(5).recipes}
    assert (
        repr(toys.more_seen(5).recipes[0]) not in {repr(recipe) for recipe in toys.training().recipes} and len(new) == 5
    )
    parts = toys.box_parts([clip.toy.name for clip in toys.boxes().recipes])
    assert len(parts["twin seen"]) == 36 and len(parts["twin unseen_test"]) == 24


def test_on_disk_a_training_starts_from_v1s_or_from_composed_clips(root, tmp_path):
    toys = tmp_path / "toys"
    write_folder(toys, counts={(s, p): n for s in ("v1s", "v1m") for p, n in (("train", 6), ("val", 3), ("test", 3))})
    synthetic_clips(tmp_path / "composed", 0, 18)
    data = {"root": str(toys), "protocol": "standard", "subsets": ["v1m"], "synthetic": str(tmp_path / "composed")}
    for start in ("v1s", "synthetic"):
        experiment = Experiment(training=QUICK, start=start, data=data | MINI)
        first, choosing = experiment.protocol.starting(start, 0, tmp_path)
        assert len(first) >= 6 and len(choosing) >= 3 and not set(uids(first)) & set(uids(choosing))
        rows = Bench(experiment, tmp_path / start, tmp_path / "cache").train().test().table()
        tested = rows[rows["figure"] == "mIoU"].groupby("state")["part"].agg(list).to_dict()
        assert tested == {"start": ["v1m test"], "best": ["v1m test"]}
    other = Experiment(data=data | MINI | {"synthetic": ""})
    assert other.key != Experiment(data=data | MINI).key
    with pytest.raises(ValueError, match="synthetic is not set"):
        other.protocol.starting("synthetic", 0, tmp_path)
    with pytest.raises(ValueError, match="V3 calls unseen"):
        DiskData(str(root)).starting("v1s", 0, tmp_path)
