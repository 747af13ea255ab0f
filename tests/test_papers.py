"""The papers' tables: the figures known by heart, one row a figure, and clear refusals."""

import doctest

import pandas as pd
import pytest

from gavs_lib._shipped import shipped_papers
from gavs_lib.data import paper_table, papers
from gavs_lib.data.papers import TABLES

ALL = [(paper, table) for paper, last in TABLES.items() for table in range(1, last + 1)]
RANGES = {"percent": 100, "points": 100, "share": 1}  # from 0


def values(paper: str, table: int, **where) -> list[float]:
    """The figures of the rows whose columns have these values, in the order of print."""
    rows = paper_table(paper, table)
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    return rows["value"].tolist()


def test_the_example_of_the_docstring_runs():
    assert doctest.testmod(papers).attempted == 2 and doctest.testmod(papers).failed == 0


def test_gavs_scores_on_the_benchmarks_are_those_of_its_table_1():
    assert values("gavs", 1, method="GAVS", dataset="V1S") == [80.06, 0.902]
    assert values("gavs", 1, method="GAVS", dataset="V1M") == [63.70, 0.774]
    assert values("gavs", 1, method="GAVS", dataset="V2") == [67.70, 0.788]


def test_gavs_scores_on_unseen_classes_and_on_other_data_are_those_of_its_tables_2_and_3():
    assert values("gavs", 2, method="GAVS", metric="mIoU") == [54.71, 62.89, 66.28, 67.75]
    assert values("gavs", 2, method="GAVS", setting="3-shot") == [66.28, 0.774]
    assert values("gavs", 3, method="GAVS") == [41.07, 0.411]
    assert values("gavs", 4, method="GAVS", setting="5-shot") == [60.14, 0.602]


def test_the_ablations_stand_under_their_letters():
    rows = paper_table("gavs", 5)
    assert rows["row"].tolist() == [letter for letter in "abcdefghij" for _ in ("mIoU", "F")]
    miou = [57.41, 62.08, 62.11, 61.84, 63.35, 62.09, 59.69, 63.35, 65.92, 67.70]
    assert values("gavs", 5, metric="mIoU") == miou
    assert values("gavs", 5, metric="F") == [0.684, 0.714, 0.720, 0.715, 0.727, 0.721, 0.701, 0.727, 0.759, 0.788]
    assert rows["method"].tolist()[::2][:6] == [
        "freeze",
        "fine-tune",
        "AV-adapter",
        "VA-adapter",
        "CoLA",
        "CoLA + AV + VA",
    ]


def test_saves_best_scores_are_those_of_its_tables():
    best = {"method": "SAVE", "size": 1024, "variant": "w/ F.T. (Syn.)"}
    assert values("save", 2, **best, dataset="V1S") == [86.16, 0.921]
    assert values("save", 2, **best, dataset="V1M") == [70.83, 0.782]
    assert values("save", 3, method="SAVE", setting="") == [71.28, 0.795]
    assert values("save", 4, method="SAVE", metric="mIoU") == [67.45, 71.50, 74.61, 75.35]


def test_rows_that_both_papers_print_agree_but_for_the_one_with_a_note():
    """SAVE quotes what GAVS prints, on V1S, V1M, V2 and V3; AVSBench on V1S alone differs: 78.70 and 78.74."""
    key = ["method", "dataset", "setting", "metric"]
    printed = pd.concat([paper_table("gavs", 1), paper_table("gavs", 2)])
    quoted = pd.concat([paper_table("save", table) for table in (2, 3, 4)])
    both = printed.merge(quoted, on=key, suffixes=("", "_quoted"))
    differ = both[both["value"] != both["value_quoted"]]
    # AVSBench, AVSegFormer, AVSC, AuTR, GAVS on V1S and V1M; three of them on V2, and on V3 with 0, 1, 3, 5 shots
    assert len(both) == 2 * (2 * 5 + 3 + 4 * 3)  # mIoU and F of each
    assert differ[["method", "dataset", "value", "value_quoted"]].values.tolist() == [["AVSBench", "V1S", 78.70, 78.74]]
    assert differ["note"].item() == "SAVE, Table 2 prints 78.74"


def test_figures_of_save_that_contradict_each_other_carry_a_note():
    """One model, one data set, one size, and several tables: where they print two figures, every row says so."""
    plain = {"w/o F.T.", "w/o P.T.", "", "residual audio encoder adapter + image encoder adapter", "MLP of 2 layers"}
    rows = pd.concat([paper_table("save", table) for table in (1, 2, 6, 7, 9)])
    rows = rows[(rows["method"] == "SAVE") & rows["metric"].isin(["mIoU", "F"]) & rows["variant"].isin(plain)]
    rows = rows[rows["setting"].isin(["", "100 % of the real data"]) & (rows["size"] == 1024)]
    for (dataset, metric), group in rows.groupby(["dataset", "metric"]):
        contradicts = group["value"].nunique() > 1
        assert contradicts == ((dataset, metric) != ("V1M", "mIoU"))
        assert not contradicts or group["note"].str.contains("at 1024").all()
    wrong = paper_table("save", 7).query("value == 0.480")
    assert wrong["note"].tolist() == ["0.739 - 0.691 is 0.048"]


@pytest.mark.parametrize(("paper", "table"), ALL)
def test_each_figure_has_one_row_and_lies_in_the_range_of_its_unit(paper, table):
    rows = paper_table(paper, table)
    key = [column for column in rows.columns if column not in ("unit", "value", "note")]
    assert len(rows) and not rows.duplicated(key).any()
    assert set(rows["source"]) == {f"{paper.upper()}, Table {table}"} and set(rows["table"]) == {table}
    assert set(rows["dataset"]) <= {"V1S", "V1M", "V2", "V3", "VGG-SS", "VGG-SS-Sub", ""}
    for unit, top in RANGES.items():
        assert rows.loc[rows["unit"] == unit, "value"].between(0, top).all()
    units = {
        "mIoU": "percent",
        "cIoU": "percent",
        "F": "share",
        "AUC": "share",
        "mIoU gain": "points",
        "F gain": "share",
    }
    expected = units | {"batch size": "per GPU", "inference speed": "frames/s", "training time": "h"}
    assert (rows["unit"] == rows["metric"].map(expected)).all()
    assert not (rows.loc[rows["unit"] == "percent", "value"] <= 1).any(), "a share among percents"


def test_every_figure_of_every_table_is_there():
    """Counted in print: filled cells, in SAVE with the improvements below a table."""
    counts = {"gavs": [40, 32, 17, 32, 20], "save": [30, 82, 12, 40, 22, 28, 36, 12, 16]}
    assert [len(paper_table(*each)) for each in ALL] == counts["gavs"] + counts["save"]
    assert [sum(each) for each in counts.values()] == [len(pd.read_csv(shipped_papers(paper))) for paper in counts]


def test_what_does_not_exist_is_refused_with_what_does():
    with pytest.raises(ValueError, match="no paper 'tavis'; there are 'gavs', 'save'"):
        paper_table("tavis", 1)
    with pytest.raises(ValueError, match="'gavs' has no table 6; it has the tables 1 to 5"):
        paper_table("gavs", 6)
    with pytest.raises(ValueError, match="'save' has no table '2'; it has the tables 1 to 9"):
        paper_table("save", "2")
