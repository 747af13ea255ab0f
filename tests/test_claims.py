"""The papers' claims in docs/laboratory.md: computed from the recorded rows, counted as in notebooks 06 to 09."""

import re
from pathlib import Path

import pandas as pd
import pytest

from gavs_lib.lab import claims
from gavs_lib.lab.claims import (
    ablation_questions,
    gap_questions,
    part_questions,
    shots_questions,
    small_shots_questions,
    summary,
    told,
    zero_shot_questions,
)
from gavs_lib.lab.grid import read_plan
from gavs_lib.lab.statistics import ENOUGH, Difference, read_results

PAGE = Path(__file__).resolve().parents[1] / "docs" / "laboratory.md"


@pytest.fixture(scope="module")
def recorded():
    return read_results()


@pytest.mark.parametrize(
    "low, units, lack, cell",
    [
        (0.01, ENOUGH, 0.0, "**+2.0 [+1.0, +3.0]**"),
        (-0.01, ENOUGH, 0.0, "+2.0 [-1.0, +3.0]"),
        (-0.01, ENOUGH, 0.02, "**+2.0 [-1.0, +3.0]**"),  # behind by one point at most, two allowed
        (0.01, ENOUGH - 1, 0.0, "**+2.0 [+1.0, +3.0]**\\*"),
    ],
)
def test_what_is_decided_is_bold_and_starred_where_that_is_provisional(low, units, lack, cell):
    assert told(Difference(0.02, low, 0.03, 0.95, pd.Series([0.02] * units), 10.0), lack) == cell
    assert told(None) == "not yet measured"


def test_questions_without_rows_are_counted(recorded):
    less = recorded[recorded["variant"] != "tpavi"]
    for ask, number in ((zero_shot_questions, 9), (gap_questions, 6), (shots_questions, 43)):
        assert len(ask(recorded)) == len(ask(less)) == number, "those of notebooks 06 and 07"
    assert shots_questions(less)["ahead", "tpavi", 0].answer(43) is None
    sizes = [len(ablation_questions(recorded, family)) for family in (claims.TABLE_5, claims.PROMPT, claims.LOSSES)]
    assert sizes == [8, 6, 14], "those of notebook 08"
    families = (claims.RELATIVES, claims.SWAPPED_LOSS, claims.MODULES, claims.STARTS, claims.IDEAS)
    sizes = [len(part_questions(less, family)) for family in families]
    sizes += [len(part_questions(less, j, [claims.UNSEEN])) for j in (claims.JOINT, claims.JOINT_AND_OTHERS)]
    assert [*sizes, len(small_shots_questions(less))] == [18, 18, 30, 12, 21, 4, 6, 12], "those of notebook 09"


def test_what_is_compared_is_in_the_plan():
    planned = {unit.variant for unit in read_plan()}
    families = [claims.TABLE_5, claims.PROMPT, claims.LOSSES]
    families += [claims.RELATIVES, claims.SWAPPED_LOSS, claims.MODULES, claims.STARTS]
    families += [claims.IDEAS, claims.JOINT, claims.JOINT_AND_OTHERS]
    asked = {side for family in families for sides in family.values() for side in sides}
    assert asked | set(claims.RIVALS) | {"gavs, 64, shots", "save, 64, shots"} <= planned


def test_a_pair_is_a_mean_over_trainings_of_differences_over_shared_clips(recorded):
    question = shots_questions(recorded)["ahead", "tpavi", 5]
    both = question.a.merge(question.b, on=["rotation", "seed"], suffixes=("_a", "_b"))
    differences = []
    for row in both.itertuples():
        size = min(len(row.scores_a), len(row.scores_b))
        each = [a - b for a, b in zip(row.scores_a[:size], row.scores_b[:size]) if a == a and b == b]
        differences.append(sum(each) / len(each))
    assert len(differences) == 12
    found = question.answer(43, draws=200)
    assert found.mean == pytest.approx(sum(differences) / 12) and found.low < found.mean < found.high


def test_the_page_says_what_the_rows_say(recorded):
    (shown,) = re.findall(
        r"^<!-- python -m gavs_lib.lab.claims -->\n(.*?)\n<!-- end -->", PAGE.read_text(encoding="utf-8"), re.M | re.S
    )
    assert shown == summary(recorded)
