"""The trials on validation clips: every compared model gets as many, and one rule chooses for all."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import yaml

from gavs_lib.lab import tune
from gavs_lib.lab.experiment import Experiment
from gavs_lib.lab.grid import PLAN, RESULTS, read_plan
from gavs_lib.lab.shipped import SMALL, shipped_recipe
from gavs_lib.lab.tune import (
    ATTEMPTS,
    COMPARED,
    FEW_SHOT_RATES,
    LEAD,
    RATES,
    SMALL_COMPARED,
    SMALL_FEW_SHOT_RATES,
    SMALL_RATES,
    VARIANTS,
    chosen,
)

TUNING = Path(__file__).parents[1] / "data" / "results" / "tuning.csv"


def trials(path, base, low, high):
    rows = zip(RATES, (base, low, high))
    table = [
        {"model": "gavs", "variant": name, "miou v1s val": score - 0.1, "miou v1m val": score + 0.1}
        for name, score in rows
    ]
    pd.DataFrame(table).to_csv(path, index=False)
    return path


def test_every_compared_model_gets_the_same_trials():
    rates = {kind: sorted(VARIANTS[kind, name][1].lr for name in RATES) for kind in COMPARED}
    assert len({tuple(each) for each in rates.values()}) == 1


@pytest.mark.parametrize(
    "scores, rate", [((0.80, 0.805, 0.7), 1e-3), ((0.80, 0.79, 0.80 + LEAD + 0.001), 2e-3), ((0.80, 0.82, 0.83), 2e-3)]
)
def test_the_first_rate_stays_unless_another_leads_by_more_than_a_point(tmp_path, scores, rate):
    assert chosen(trials(tmp_path / "tuning.csv", *scores), "gavs") == rate


def test_nothing_is_chosen_before_all_trials_are_there(tmp_path):
    with pytest.raises(ValueError, match="tpavi has 0 of 3 trials"):
        chosen(trials(tmp_path / "tuning.csv", 0.8, 0.8, 0.8), "tpavi")


def test_the_laboratory_trains_each_compared_model_with_the_rates_its_trials_chose():
    plan = yaml.safe_load(PLAN.read_text())
    compared = {unit.variant: unit.experiment for unit in read_plan(PLAN) if unit.variant in COMPARED}
    assert set(compared) == set(COMPARED)
    trained = set(pd.read_csv(RESULTS)["variant"])  # nobody trains before the trials are made
    for kind, experiment in compared.items():
        if kind not in trained:
            continue
        assert experiment.fit_config.lr == chosen(TUNING, kind), kind
        if experiment.shots:
            assert experiment.few_shot_config.lr == chosen(TUNING, kind, FEW_SHOT_RATES), kind
    # Ablations of GAVS keep GAVS's rates, and so do smaller shares of the data.
    own = [Experiment(**settings) for settings in plan["variants"].values() if settings.get("model", "gavs") == "gavs"]
    assert {each.fit_config.lr for each in own} == {compared["gavs"].fit_config.lr}


def test_in_small_pictures_each_model_is_trained_with_the_rate_its_trials_there_chose():
    units = {unit.variant: unit.experiment for unit in read_plan(PLAN)}
    for kind in SMALL_COMPARED:
        rate = chosen(TUNING, kind, SMALL_RATES)
        for size in (SMALL, 128):
            experiment = units.get(f"{kind}, {size}")
            assert experiment is None or experiment.fit_config.lr == rate, (kind, size)
        with_shots = units.get(f"{kind}, {SMALL}, shots")
        if with_shots:
            assert with_shots.few_shot_config.lr == chosen(TUNING, kind, SMALL_FEW_SHOT_RATES), kind
    for kind in ("save", "sama_avs"):
        recipe = shipped_recipe(kind)
        assert recipe.training.lr == chosen(TUNING, kind, SMALL_RATES) and recipe.image_size == SMALL
        assert (recipe.training.iou_weight, recipe.training.dice_weight) == (1, 0), "the loss of its paper"


@pytest.mark.parametrize("name, side, iou", [("few-shot lr 1e-4", 0, 0.0), ("64 pixels, few-shot lr 1e-4", SMALL, 1.0)])
def test_a_trial_with_shots_goes_on_from_the_model_whose_rate_was_chosen_at_its_size(
    tmp_path, monkeypatch, name, side, iou
):
    asked = []

    class Stub:
        def __init__(self, trial, work, cache):
            asked.append((trial, work))
            self.protocol = trial.protocol

        def train(self):
            return self

        def few_shot_on(self, pool, part):
            return self

        def table(self):
            return pd.DataFrame({"part": "v1s unseen_val", "state": "best", "shots": [1, 5], "value": [0.4, 0.6]})

    monkeypatch.setattr(tune, "Bench", Stub)
    kind = "save" if side else "gavs"
    row = tune._few_shot(kind, name, TUNING, tmp_path, seed=0)
    (trial, work), rate = asked[0], chosen(TUNING, kind, SMALL_RATES if side else RATES)
    assert (trial.image_size, trial.fit_config.lr, trial.fit_config.iou_weight) == (side, rate, iou)
    assert trial.few_shot_config.lr == 1e-4 == row["lr"] and row["miou v1s unseen_val, 5 shots"] == 0.6
    assert work.name == ("save-few-shot-64" if side else "gavs-few-shot")


def test_the_attempts_of_the_plan_are_those_that_were_tried_on_validation_clips():
    planned = {unit.variant: unit.experiment for unit in read_plan(PLAN, ["beyond", "attempts"])}
    assert planned.pop("gavs, 64, decoder").model == "gavs", "what they are compared with"
    large, small = planned.pop("joint, 128"), planned["joint, points, decoder"]
    assert dataclasses.replace(large, image_size=SMALL, seed=small.seed, rotation=small.rotation) == small
    settings = [(each.model_config, dataclasses.replace(each.fit_config, seed=0)) for each in planned.values()]
    assert all(tried in settings for tried in ATTEMPTS.values()) and len(planned) == len(ATTEMPTS)
    assert {experiment.image_size for experiment in planned.values()} == {SMALL}
