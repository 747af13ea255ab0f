"""The recorded oracle: its rows read as those of the laboratory, and are of today's world."""

import numpy as np
import pandas as pd

from gavs_lib._shipped import shipped_results
from gavs_lib.lab import oracle
from gavs_lib.lab.evaluate import sam_oracle
from gavs_lib.lab.experiment import Experiment
from gavs_lib.lab.statistics import read_results
from gavs_lib.sam import build_sam
from gavs_lib.world.folder import fingerprint


def test_rows_are_of_the_first_clips_that_the_laboratory_tests_on(tmp_path, monkeypatch, capsys):
    asked = []

    def quick(sam, made):
        asked.append((sam.image_encoder.img_size, [recipe.uid for recipe in made]))
        return pd.DataFrame({"miou": [0.25, 0.5][: len(made)]})

    monkeypatch.setattr(oracle, "sam_oracle", quick)
    monkeypatch.setattr(oracle, "ROTATIONS", 1)
    path = tmp_path / "oracle.csv"
    assert oracle.main(["-n", "2", "--results", str(path)]) == 0
    assert "sam_oracle, 64, rotation 0: v1s test 37.5" in capsys.readouterr().out
    tests = Experiment().protocol.tests()
    first = [[recipe.uid for recipe in clips.recipes[:2]] for clips in tests.values()]
    assert asked == [(side, uids) for side in (64, 128) for uids in first]
    table = read_results(path)
    assert table.value_counts("variant").to_dict() == {"sam_oracle": 4, "sam_oracle, 64": 4}
    assert set(table["part"]) == set(tests) and (table["value"] == 0.375).all() and (table["n"] == 2).all()
    assert all(scores.tolist() == [0.25, 0.5] for scores in table["scores"])


def test_one_row_is_what_the_oracle_scores():
    row = oracle.measure_oracle(2, 1, 64).set_index("part").loc["v1s unseen_test"]
    recipe = Experiment(rotation=2).protocol.tests()["v1s unseen_test"].recipes[:1]
    assert row["value"] == sam_oracle(build_sam("mini", "shipped", 64), recipe)["miou"].iloc[0]


def test_no_clips_are_refused(capsys):
    assert oracle.main(["-n", "0"]) == 2
    assert "--clips 0: expected at least one" in capsys.readouterr().err


def test_the_recorded_rows_are_of_this_world_in_all_rotations_at_both_sizes():
    table = read_results(shipped_results("oracle"))
    assert set(table["world"]) == {fingerprint()}
    assert table.groupby("variant")["rotation"].nunique().to_dict() == {"sam_oracle": 4, "sam_oracle, 64": 4}
    means = table.pivot_table(index="part", columns="variant", values="value")
    assert (means["sam_oracle"] > means["sam_oracle, 64"]).all(), "in small pictures SAM's masks are worse"
    assert np.isclose(table["value"], [np.mean(each) for each in table["scores"]], atol=1e-3).all()
