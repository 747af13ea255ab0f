"""The paper's claims in docs/laboratory.md: computed from the recorded rows, counted as in notebooks 06 to 08."""

import re
from pathlib import Path

import pandas as pd
import pytest

from gavs_lib.lab.claims import questions_of_shots, questions_of_table_5, summary, told, verdict
from gavs_lib.lab.statistics import ENOUGH, Difference, read_results

PAGE = Path(__file__).resolve().parents[1] / "docs" / "laboratory.md"


@pytest.fixture(scope="module")
def recorded():
    return read_results()


def difference(mean, low, high, units):
    return Difference(mean, low, high, 0.95, pd.Series([mean] * units), 10.0)


@pytest.mark.parametrize(
    "low, high, units, lack, judged, cell",
    [
        (0.01, 0.03, ENOUGH, 0.0, "holds", "**+2.0 [+1.0, +3.0]**"),
        (-0.01, 0.03, ENOUGH, 0.0, "not decided", "+2.0 [-1.0, +3.0]"),
        (-0.01, 0.03, ENOUGH, 0.02, "holds", "**+2.0 [-1.0, +3.0]**"),  # behind by one point at most, two allowed
        (-0.05, -0.01, ENOUGH, 0.0, "does not hold", "**+2.0 [-5.0, -1.0]**"),
        (0.01, 0.03, ENOUGH - 1, 0.0, "holds, provisionally", "**+2.0 [+1.0, +3.0]**\\*"),
    ],
)
def test_an_interval_decides_where_it_excludes_zero_and_provisionally_with_few_trainings(
    low, high, units, lack, judged, cell
):
    found = difference(0.02, low, high, units)
    assert verdict(found, lack) == judged and told(found, lack) == cell


def test_questions_without_rows_are_counted_and_say_so(recorded):
    whole, less = questions_of_shots(recorded), questions_of_shots(recorded[recorded["variant"] != "tpavi"])
    assert len(whole) == len(less) == 43, "those of notebook 07"
    assert less["ahead", "tpavi", 0].answer(43) is None and told(None) == "not yet measured"
    assert len(questions_of_table_5(recorded)) == 6, "those of notebook 08"


def test_a_pair_is_a_mean_over_trainings_of_differences_over_shared_clips(recorded):
    question = questions_of_shots(recorded)["ahead", "tpavi", 5]
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
