"""The recorded oracle: its rows read as those of the laboratory, and are of today's world."""

import numpy as np
import pytest

from gavs_lib._shipped import shipped_results
from gavs_lib.lab import oracle
from gavs_lib.lab.evaluate import sam_oracle
from gavs_lib.lab.experiment import Experiment
from gavs_lib.lab.statistics import read_results
from gavs_lib.sam import build_sam
from gavs_lib.world.folder import fingerprint


def test_rows_are_of_the_first_clips_that_the_laboratory_tests_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(oracle, "ROTATIONS", 1)
    monkeypatch.setattr(oracle, "SMALL", 64)
    path = tmp_path / "oracle.csv"
    assert oracle.main(["-n", "1", "--results", str(path)]) == 0
    assert "sam_oracle, 64, rotation 0: v1s test" in capsys.readouterr().out
    table = read_results(path)
    tests = Experiment().protocol.tests()
    assert set(table["part"]) == set(tests) and set(table["variant"]) == {"sam_oracle", "sam_oracle, 64"}
    by_hand = sam_oracle(build_sam("mini", "shipped", 64), tests["v1s unseen_test"].recipes[:1])["miou"].iloc[0]
    row = table[(table["variant"] == "sam_oracle, 64") & (table["part"] == "v1s unseen_test")].iloc[0]
    assert row["value"] == pytest.approx(by_hand) and row["scores"] == pytest.approx([by_hand], abs=1e-3)


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
