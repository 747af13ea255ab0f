"""One training of the laboratory: what its key holds, what is trained on what, and what its rows say."""

import copy
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

from gavs_lib.data.shots import draw_shots
from gavs_lib.lab import experiment as module
from gavs_lib.lab import protocols
from gavs_lib.lab.evaluate import score, score_boxes, shuffled, swap_test
from gavs_lib.lab.experiment import SWAPS, Bench, Experiment, clip_cues, retrieved
from gavs_lib.lab.features import extract_features
from gavs_lib.lab.grid import PLAN, RESULTS, UNIT, read_plan
from gavs_lib.lab.toyshop import toyshop_features
from gavs_lib.lab.train import fit
from gavs_lib.lab.twin import twin_clips
from gavs_lib.losses import semantic_loss
from gavs_lib.world.classes import class_split

SMALL = Experiment(
    train=(10, 6),
    val=(6, 4),
    test=6,
    pool=52,
    twin=72,
    twin_shots=(1,),
    shots=(1,),
    control=(1,),
    training={"steps": 2, "warmup_steps": 1, "precision": "no"},
    few_shot={"epochs": 2},
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small experiment, with a record of every training it made: (folder's name, clips, configuration)."""
    folder, fits = tmp_path_factory.mktemp("experiment"), []

    def watched(model, train_set, val_set, config, output_dir, **more):
        fits.append((output_dir.name, train_set, val_set, config))
        return fit(model, train_set, val_set, config, output_dir, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "fit", watched)
        bench = Bench(SMALL, folder / "work", folder / "cache")
        bench.train().test().few_shot()
    return bench, fits


def test_the_key_follows_every_setting_the_defaults_and_the_world(monkeypatch):
    key = SMALL.key
    assert dataclasses.replace(SMALL, config={"cola_width": 32}).key == key, "so is a default"
    changes = [{"rotation": 1}, {"seed": 1}, {"final_relu": True}, {"share": 0.5}, {"config": {"cola_width": 16}}]
    changes += [
        {"training": {"steps": 5, "warmup_steps": 1}},
        {"few_shot": {"lr": 1e-4}},
        {"pool": 53},
        {"control": ()},
        {"twin_shots": ()},
        {"image_size": 64},
    ]
    keys = {dataclasses.replace(SMALL, **change).key for change in changes}
    assert len(keys | {key}) == len(changes) + 1
    assert Experiment(**json.loads(json.dumps(dataclasses.asdict(SMALL)))).key == key, "lists for tuples are the same"
    monkeypatch.setattr(protocols, "fingerprint", lambda: "another world")
    assert SMALL.key != key


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model": "gasv"}, "model is 'gasv'"),
        ({"config": {"cola": 3}}, "config has no setting 'cola'"),
        ({"training": {"learning_rate": 3}}, "training has no setting 'learning_rate'"),
        ({"training": {"seed": 3}}, "a field of its own"),
        ({"few_shot": {"epochs": 0}}, "epochs is 0"),
        ({"share": 0}, "share is 0"),
        ({"shots": (1,), "control": (1, 5)}, "some of the shots"),
    ],
)
def test_an_impossible_experiment_is_refused_before_anything_runs(change, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**change)


def test_shots_and_tests_share_no_clip_and_shots_are_unseen_classes_labelled_in_their_first_second(run):
    bench, fits = run
    (_, lesson, val, config) = next(each for each in fits if "unseen_test-1-shot" in each[0])
    unseen = {toy.name for toy in class_split(0).unseen_test}
    assert sorted(lesson.labels) == sorted(unseen), "one clip of each unseen class"
    assert lesson.has_mask.sum(1).tolist() == [1] * 12 and bool(lesson.has_mask[:, 0].all())
    assert not lesson[0]["masks"][1:].any() and lesson[0]["masks"][0].any()
    assert (config.epochs, config.steps, config.schedule, config.warmup_steps) == (2, None, "constant", 0)
    assert Experiment().few_shot_config.epochs == 10
    assert set(val.labels) <= {toy.name for toy in class_split(0).seen}, "no unseen class chooses an epoch"

    row = next(r for r in bench.rows if r["shots"] == 1 and r["state"] == "best" and r["part"] == "v1s unseen_test")
    cells = row["by_clip"].split(" ")
    candidates = bench.features(bench.protocol.part("v1s", "unseen_test", SMALL.pool))
    drawn = draw_shots(candidates.uids, candidates.labels, [1])[1]
    assert [i for i in range(SMALL.pool) if i >= len(cells) or cells[i] == "-"] == drawn
    assert row["n"] == SMALL.pool - len(drawn)


def test_the_control_trains_on_as_many_new_clips_of_seen_classes(run):
    _, fits = run
    names = {name: lesson for name, lesson, _, _ in fits}
    shots, control = (next(names[name] for name in names if word in name) for word in ("1-shot", "control-1"))
    assert len(control) == len(shots) and control.has_mask.sum() == shots.has_mask.sum()
    assert set(control.labels) <= {toy.name for toy in class_split(0).seen}
    trained = names["zero-shot"]
    assert not {item["audio"].sum().item() for item in control} & {item["audio"].sum().item() for item in trained}


def test_every_training_with_shots_starts_from_the_zero_shot_weights(run, tmp_path):
    bench, _ = run
    again = Bench(SMALL, tmp_path, bench.cache)
    again.work = bench.work  # its zero-shot training is there and returns at once
    again.train()
    values = score(again.model, again.features(again.protocol.part("v1s", "test", SMALL.test)))["miou"]
    row = next(r for r in bench.rows if r["shots"] == 0 and r["part"] == "v1s test" and r["figure"] == "mIoU")
    assert np.allclose([int(cell) / 1000 for cell in row["by_clip"].split()], values, atol=6e-4)
    after = score(bench.model, again.features(again.protocol.part("v1s", "test", SMALL.test)))["miou"]
    assert np.allclose(values, after), "and the bench ends with them"


def test_rows_name_all_that_was_measured_and_their_means_are_those_of_their_clips(run):
    bench, _ = run
    table = bench.table()
    assert not table.duplicated(["shots", "state", "part", "figure"]).any()
    for row in table[table["by_clip"] != ""].itertuples():
        cells = [int(cell) for cell in row.by_clip.split() if cell != "-"]
        assert len(cells) == row.n and abs(np.mean(cells) / 1000 - row.value) < 6e-4
    zero = table[table["shots"] == 0]
    assert set(zero[zero["figure"] == "mIoU, shuffled sound"]["part"]) == {
        "v1s test", "v1m test", "v1s unseen_test", "v1m unseen_test",
    }  # fmt: skip
    assert {"best", "last", "control"} == set(table[table["shots"] == 1]["state"])
    trained = table.set_index("figure").loc["trained values", "value"]
    assert trained == bench.model.trainable_summary().trained


def toys_at(clips, toys):
    """Places of the clips that sound one of the toys."""
    return [i for i, clip in enumerate(clips) if clip.a_obj in {toy.name for toy in toys}]


def test_the_twin_is_scored_by_its_boxes_for_seen_and_unseen_classes_apart(run):
    bench, _ = run
    _, clips = twin_clips(SMALL.twin)
    features = extract_features(clips, bench.model, bench.vggish, bench.cache, progress=False)
    scores = score_boxes(bench.model, features)["iou"]
    split = class_split(0)
    for name, toys in (("seen", split.seen), ("unseen_test", split.unseen_test)):
        rows = [row for row in bench.rows if row["part"] == f"twin {name}" and row["shots"] == 0]
        assert [row["figure"] for row in rows] == ["IoU with boxes", "IoU with boxes, shuffled sound"]
        mixed = score_boxes(bench.model, shuffled(features))["iou"]
        assert rows[1]["value"] == pytest.approx(mixed[toys_at(clips, toys)].mean(), abs=1e-4)
        row = rows[0]
        expected = [scores[i] for i in toys_at(clips, toys)]
        assert row["n"] == 2 * len(toys) and row["value"] == pytest.approx(np.mean(expected), abs=1e-4)
        assert [cell != "-" for cell in row["by_clip"].split()].count(True) == 2 * len(toys)


def test_on_the_twin_one_entry_of_every_class_trains_with_its_box_and_the_others_test(run):
    bench, fits = run
    names = {name: lesson for name, lesson, _, _ in fits}
    lesson, control = (
        next(names[name] for name in names if name.startswith(f"twin-{word}")) for word in ("1-shot", "control-1")
    )
    assert sorted(lesson.labels) == sorted({clip.a_obj for clip in twin_clips(SMALL.twin)[1]}), "all 36 classes"
    assert torch.equal(
        lesson[0]["masks"].bool(),
        torch.from_numpy(next(clip.masks for clip in twin_clips(SMALL.twin)[1] if clip.uid == lesson.uids[0])).bool(),
    )
    assert len(control) == len(lesson) and set(control.labels) <= {toy.name for toy in class_split(0).seen}
    taught = [row for row in bench.rows if row["part"].startswith("twin") and row["shots"] == 1]
    assert {(row["part"], row["state"]) for row in taught} == {
        (f"twin {part}", state) for part in ("seen", "unseen_test") for state in ("last", "control")
    }
    shown = {i for i, uid in enumerate(twin.uid for twin in twin_clips(SMALL.twin)[1]) if uid in set(lesson.uids)}
    for row in taught:
        cells = row["by_clip"].split()
        tested = {i for i, cell in enumerate(cells) if cell != "-"}
        assert len(tested) == row["n"] == {"twin seen": 18, "twin unseen_test": 12}[row["part"]]
        assert not tested & shown


def test_the_semantic_loss_of_the_table_is_the_losses_on_batches_in_order(run):
    bench, _ = run
    parts = {("v1s", "val"): SMALL.val[0], ("v1m", "val"): SMALL.val[1]}
    _, val = toyshop_features(parts, bench.model, bench.vggish, bench.cache)
    cues, sounds = clip_cues(bench.model, val, batch_size=3)
    one = bench.model(None, val[2]["audio"][None], prefix=val[2]["prefix"][None].float())
    assert torch.allclose(cues[2], one.visual_cue[0].mean(0), atol=1e-4)
    expected = semantic_loss(cues[:8], sounds[:8], 0.3, val.labels[:8]).item()  # ten clips: one whole batch of eight
    row = next(r for r in bench.rows if r["figure"] == "semantic loss")
    assert row["value"] == pytest.approx(expected, abs=1e-4)


def test_retrieval_by_hand():
    cues = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.1]])
    sounds = torch.tensor([[3.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    # Cosines: the first cue finds sound 0, the second sound 2; the third 2 (0.74) before 1 (0.74 > 0.67 of sound 0).
    assert retrieved(cues, sounds, ["bell", "drum", "bell"]) == [1.0, 0.0, 0.0]
    assert retrieved(cues, sounds, ["bell", "bell", "bell"]) == [1.0, 1.0, 1.0]


def test_a_share_of_the_clips_is_nested_and_takes_as_many_steps(tmp_path, monkeypatch):
    seen = {}

    def only_look(model, train_set, val_set, config, folder, **more):
        seen[folder.parent.name] = (set(train_set.uids), config.steps, config.val_every)
        raise InterruptedError

    monkeypatch.setattr(module, "fit", only_look)
    for share in (0.25, 0.5):
        small = dataclasses.replace(SMALL, share=share, training={"epochs": 3, "val_every": 2, "batch_size": 4})
        with pytest.raises(InterruptedError):
            Bench(small, tmp_path / str(share), tmp_path / "cache").train()
    assert len(seen["0.25"][0]) == 4 and len(seen["0.5"][0]) == 8 and seen["0.25"][0] < seen["0.5"][0]
    assert seen["0.25"][1:] == (12, 8) and seen["0.5"][1:] == (12, 4)


def test_a_deaf_model_hears_the_same_in_training_and_tests_and_has_no_shuffled_control(tmp_path):
    small = dataclasses.replace(SMALL, model="gavs_deaf", shots=(), control=(), pool=20, twin=0, twin_shots=())
    table = Bench(small, tmp_path / "work", tmp_path / "cache").train().test().few_shot().table()
    assert not (table["figure"] == "mIoU, shuffled sound").any()
    bench = Bench(small, tmp_path / "work", tmp_path / "cache")
    audio = bench.features(bench.protocol.part("v1s", "test", 3)).audio
    assert torch.equal(audio[0], audio[2])


def test_settings_that_came_later_leave_the_keys_of_recorded_rows_as_they_were():
    recorded = pd.read_csv(RESULTS, usecols=[*UNIT, "key"], dtype={"key": str}).drop_duplicates()
    keys = {(row.variant, row.rotation, row.seed): row.key for row in recorded.itertuples()}
    own = [unit for unit in read_plan(PLAN) if unit.place in keys]
    assert own and {unit.place: unit.experiment.key for unit in own} == {unit.place: keys[unit.place] for unit in own}
    later = ({"region_weight": 1.0}, {"accumulate": 2}, {"checkpointing": True})
    for change in ({"start": "v1s"}, {"swaps": 4}, *({"training": each} for each in later)):
        assert dataclasses.replace(SMALL, **change).key != SMALL.key


@pytest.mark.parametrize("start", ["v1s", "synthetic", "synthetic, v1s"])
def test_what_is_trained_on_first_is_measured_by_itself_and_gone_on_from(tmp_path, monkeypatch, start):
    fits = []

    def watched(model, train_set, val_set, config, folder, **more):
        before = {name: value.clone() for name, value in model.trained_state().items()}
        result = fit(model, train_set, val_set, config, folder, **more)
        fits.append((folder.name, train_set, val_set, before, copy.deepcopy(model.trained_state())))
        return result

    monkeypatch.setattr(module, "fit", watched)
    small = dataclasses.replace(SMALL, train=(0, 6), val=(0, 4), shots=(), control=(), twin=0, twin_shots=(), pool=8)
    small = dataclasses.replace(small, start=start, start_clips=18)
    table = Bench(small, tmp_path / "work", tmp_path / "cache").train().test().table()
    (_, clips, choosing, _, _), *_, (_, main, *_) = fits
    chain = ["start-v1s"] if "," in start else []
    assert [name for name, *_ in fits] == ["start", *chain, "zero-shot"]
    assert len(clips) >= 18 and len(main) == 6 and all("v1m" in uid for uid in main.uids)
    assert not set(clips.uids) & set(choosing.uids)
    assert set(clips.labels) <= {toy.name for toy in class_split(0).seen}
    for (*_, after), (*_, before, _) in zip(fits, fits[1:]):
        assert all(torch.equal(before[name], after[name]) for name in after), "each training starts where one ended"
    begun, done = (table[(table["state"] == state) & (table["figure"] == "mIoU")] for state in ("start", "best"))
    assert list(begun["part"]) == list(done["part"]) and list(begun["value"]) != list(done["value"])


def test_the_swap_test_is_a_row_by_kinship_with_a_value_for_each_pair(tmp_path):
    small = dataclasses.replace(SMALL, shots=(), control=(), twin=0, twin_shots=(), pool=12, test=10, swaps=10)
    bench = Bench(small, tmp_path / "work", tmp_path / "cache").train().test()
    rows = bench.table()[lambda table: table["figure"].isin(SWAPS)].set_index(["part", "figure"])
    unseen = {toy.name for toy in class_split(0).unseen_test}
    for part, split in (("v1s test", "test"), ("v1s unseen_test", "unseen_test")):
        pairs = swap_test(bench.model, bench.vggish, bench.protocol.part("v1s", split, 10).recipes)
        if split == "unseen_test":
            pairs = pairs[[a in unseen or b in unseen for a, b in zip(pairs["first"], pairs["second"])]]
        for figure, kin in (("swap, one family", True), ("swap, other families", False)):
            moves = pairs[pairs["same_family"] == kin]["moves"]
            assert rows.loc[(part, figure), "value"] == pytest.approx(moves.mean(), abs=1e-5)
            assert rows.loc[(part, figure), "n"] == len(moves) > 0
