"""Paired comparisons, against hand-computed means and a slow bootstrap."""

import numpy as np
import pandas as pd
import pytest

from gavs_lib.lab.statistics import (
    ENOUGH,
    Difference,
    compare,
    gap,
    joined,
    on_shared_clips,
    over_parts,
    paired,
    read_results,
    scores_of,
    select,
    side_by_side,
    spread,
)


def rows(units, **columns):
    """One row for each (rotation, seed) with its scores by clip."""
    table = [
        {"rotation": r, "seed": s, "scores": np.array(values, float), **columns} for (r, s), values in units.items()
    ]
    return pd.DataFrame(table).assign(value=lambda t: [np.nanmean(v) for v in t["scores"]])


def test_a_cell_reads_as_thousandths_and_a_dash_as_not_tested():
    assert scores_of("")[:].shape == (0,)
    np.testing.assert_array_equal(scores_of("0 - 999"), [0, np.nan, 0.999])


def test_the_difference_is_paired_by_unit_and_clip():
    a = rows({(0, 0): [0.9, 0.5, 0.7], (1, 0): [0.4, 0.6, 0.2]})
    b = rows({(0, 0): [0.8, 0.6, 0.1], (1, 0): [0.1, 0.2, 0.0], (2, 0): [0, 0, 0]})
    found = paired(a, b)
    # rotation 0: (0.1 - 0.1 + 0.6) / 3 = 0.2; rotation 1: (0.3 + 0.4 + 0.2) / 3 = 0.3; rotation 2 has no partner
    assert found.mean == pytest.approx(0.25) and found.units.tolist() == pytest.approx([0.2, 0.3])
    assert found.low <= found.mean <= found.high and found.clips == 3


def test_only_clips_that_both_were_tested_on_count():
    a = rows({(0, 0): [0.9, np.nan, 0.7, 0.3]})
    b = rows({(0, 0): [0.8, 0.6, np.nan]})
    found = paired(a, b)
    assert found.mean == pytest.approx(0.1) and found.low == found.high == pytest.approx(0.1) and found.clips == 1


def test_the_interval_is_that_of_a_slow_bootstrap_over_rotations_seeds_and_clips():
    rng = np.random.default_rng(3)
    units = [(r, s) for r in range(3) for s in range(2)]
    difference = {(r, s): 0.1 * r + 0.05 * s + rng.normal(0, 0.3, 20) for r, s in units}
    found = paired(rows(difference), rows({unit: np.zeros(20) for unit in units}), draws=4000)
    means = []
    for _ in range(4000):
        repetition = []
        for r in rng.integers(3, size=3):
            clips = rng.integers(20, size=20)
            repetition += [difference[r, s][clips].mean() for s in rng.integers(2, size=2)]
        means.append(np.mean(repetition))
    low, high = found.mean + np.sqrt(3 / 2) * (np.quantile(means, [0.025, 0.975]) - found.mean)  # three rotations
    assert found.low == pytest.approx(low, abs=0.02) and found.high == pytest.approx(high, abs=0.02)


def test_clips_that_all_rotations_share_are_drawn_for_all_of_them_at_once():
    rng = np.random.default_rng(4)
    same = rng.normal(0, 0.3, 20)  # what a clip is worth in every rotation
    a, b = rows({(r, 0): same for r in range(4)}), rows({(r, 0): np.zeros(20) for r in range(4)})
    apart, together = paired(a, b), paired(a, b, shared_clips=True)
    assert together.high - together.low > 1.7 * (apart.high - apart.low)  # four drawn apart: half the spread
    means = [same[rng.integers(20, size=20)].mean() for _ in range(4000)]
    low, high = together.mean + np.sqrt(4 / 3) * (np.quantile(means, [0.025, 0.975]) - together.mean)
    assert together.low == pytest.approx(low, abs=0.02) and together.high == pytest.approx(high, abs=0.02)


def test_shared_clips_that_only_some_rotations_were_tested_on_are_drawn_too():
    a = rows({(0, 0): [0.4, np.nan, 0.4], (1, 0): [np.nan, 0.4, 0.4, 0.4]})
    found = paired(a, rows({(0, 0): [0.1] * 4, (1, 0): [0.1] * 4}), shared_clips=True)
    assert found.mean == pytest.approx(0.3) and found.clips == 2.5 and found.high <= 0.3 + 1e-9


def test_more_comparisons_make_wider_intervals_and_the_same_seed_the_same_ones():
    rng = np.random.default_rng(0)
    a, b = rows({(0, s): rng.random(40) for s in range(3)}), rows({(0, s): rng.random(40) for s in range(3)})
    one, ten = paired(a, b), paired(a, b, comparisons=10)
    assert ten.confidence == pytest.approx(0.995) and ten.low < one.low and ten.high > one.high
    assert (paired(a, b).low, paired(a, b).high) == (one.low, one.high)


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        a = rows({(0, s): 0.1 + rng.normal(0, 0.5, 60) for s in range(3)})
        found = paired(a, rows({(0, s): np.zeros(60) for s in range(3)}), draws=300)
        held += found.low <= 0.1 <= found.high
    assert 178 <= held <= 200  # 95 % of 200 is 190; three standard deviations are 9


@pytest.mark.parametrize("rotations, least, most", [(4, 0.87, 0.99), (1, 0.75, 0.93)])
def test_an_interval_of_few_trainings_that_differ_holds_the_truth_as_often_as_the_module_says(rotations, least, most):
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(150):
        units = {}
        for r in range(rotations):
            of_rotation = rng.normal(0, 0.06) if rotations > 1 else 0
            units |= {(r, s): of_rotation + rng.normal(0, 0.06) + rng.normal(0, 0.1, 60) for s in range(3)}
        found = paired(rows(units), rows({unit: np.zeros(60) for unit in units}), draws=400)
        held += found.low <= 0 <= found.high
    assert least <= held / 150 <= most


def test_there_are_enough_draws_beyond_each_bound():
    rng = np.random.default_rng(5)
    a, b = (rows({(0, s): rng.random(40) for s in range(3)}) for _ in range(2))
    by_seed = [paired(a, b, comparisons=40, seed=seed).low for seed in range(5)]
    assert np.ptp(by_seed) < 0.1 * (paired(a, b, comparisons=40).mean - by_seed[0])


def test_a_bound_lies_beyond_where_more_draws_would_put_it():
    rng = np.random.default_rng(6)
    a, b = (rows({(0, s): rng.random(40) for s in range(3)}) for _ in range(2))
    exact = paired(a, b, draws=100_000)
    by_seed = [paired(a, b, seed=seed) for seed in range(1, 21)]
    assert sum(found.low <= exact.low for found in by_seed) >= 18
    assert sum(found.high >= exact.high for found in by_seed) >= 18


@pytest.mark.parametrize(
    "low, high, units, lack, verdict",
    [
        (0.01, 0.03, ENOUGH, 0.0, "holds"),
        (-0.01, 0.03, ENOUGH, 0.0, "not decided"),
        (-0.01, 0.03, ENOUGH, 0.02, "holds"),  # behind by one point at most, two allowed
        (-0.05, -0.01, ENOUGH, 0.02, "not decided"),
        (-0.05, -0.03, ENOUGH, 0.02, "does not hold"),
        (0.01, 0.03, ENOUGH - 1, 0.0, "holds, provisionally"),
        (0.01, 0.03, 1, 0.0, "not decided"),  # fewer than two
    ],
)
def test_an_interval_decides_where_it_excludes_the_bound(low, high, units, lack, verdict):
    found = Difference(0.02, low, high, 0.95, pd.Series([0.02] * units), 10.0)
    assert found.verdict(lack, fewest=2) == verdict


def test_parts_are_joined_clip_by_clip_and_a_training_that_lacks_one_is_left_out():
    table = pd.concat(
        [
            rows({(0, 0): [0.2, 0.4]}, variant="a", part="v1s"),
            rows({(0, 0): [0.9]}, variant="a", part="v1m"),
            rows({(0, 1): [0.5]}, variant="a", part="v1s"),
            rows({(0, 0): [0.1]}, variant="a", part="other"),
        ]
    )
    found = joined(table, {"seen": ["v1s", "v1m"], "unseen": []})
    assert found[["variant", "classes", "rotation", "seed"]].to_numpy().tolist() == [["a", "seen", 0, 0]]
    assert found["scores"][0].tolist() == [0.9, 0.2, 0.4] and found["value"][0] == pytest.approx(0.5)


def test_parts_that_hold_their_own_clips_of_one_list_become_that_list():
    given = {"variant": "a", "shots": 0, "state": "best"}
    table = pd.concat([rows({(0, 0): [0.2, np.nan, 0.4]}, **given), rows({(0, 0): [np.nan, 0.9]}, **given)])
    found = over_parts(table)
    assert len(found) == 1 and found["scores"][0].tolist() == [0.2, 0.9, 0.4]


def test_a_gap_is_the_mean_on_seen_clips_less_that_on_unseen_ones():
    seen, unseen = rows({(0, 0): [0.8, 0.6, np.nan, 1.0], (0, 1): [0.5]}), rows({(0, 0): [0.1, 0.3]})
    found = gap(seen, unseen)
    assert found[["rotation", "seed"]].to_numpy().tolist() == [[0, 0]]
    assert found["value"][0] == pytest.approx(0.8 - 0.2) and np.isnan(found["scores"][0]).sum() == 1
    less = paired(found, gap(rows({(0, 0): [0.8, 0.8, np.nan, 0.8]}), rows({(0, 0): [0.5, 0.5]})))
    assert less.mean == pytest.approx(0.6 - 0.3)


def test_what_cannot_be_paired_is_refused():
    a = rows({(0, 0): [1.0, 0.5]})
    with pytest.raises(ValueError, match="share no unit"):
        paired(a, rows({(1, 0): [1.0, 0.5]}))
    with pytest.raises(ValueError, match="several rows for a unit"):
        paired(pd.concat([a, a]), a)
    with pytest.raises(ValueError, match="no clip was tested by both"):
        paired(a, rows({(0, 0): [np.nan, np.nan]}))


def test_selecting_what_is_not_there_names_what_is():
    table = rows({(0, 0): [1.0]}, variant="gavs")
    assert len(select(table, variant="gavs", rotation=0)) == 1
    with pytest.raises(ValueError, match="no row with variant 'gasv'; there are: gavs"):
        select(table, variant="gasv")


def test_a_table_may_call_the_courses_variants_by_other_names(tmp_path):
    path = tmp_path / "mine.csv"
    lines = ["variant,rotation,seed,by_clip,key", "gavs,0,0,1,a", '"gavs, V2",0,0,500 -,b', "tpavi,0,0,7,c"]
    path.write_text("\n".join(lines) + "\n")
    table = read_results(path, {"gavs": "gavs, V2"})
    assert table["variant"].tolist() == ["gavs", "tpavi"] and table["key"].tolist() == ["b", "c"]
    assert read_results(path)["variant"].tolist() == ["gavs", "gavs, V2", "tpavi"]
    with pytest.raises(ValueError, match="no row with variant 'gavs, V3'; there are: gavs, gavs, V2, tpavi"):
        read_results(path, {"gavs": "gavs, V3"})


def test_spread_is_mean_and_deviation_over_units():
    table = pd.concat([rows({(0, 0): [0.2], (0, 1): [0.4]}, variant="a"), rows({(0, 0): [0.9]}, variant="b")])
    found = spread(table, ["variant"]).set_index("variant")
    assert found.loc["a", "mean"] == pytest.approx(0.3) and found.loc["a", "sd"] == pytest.approx(0.02**0.5)
    assert found.loc["b", "units"] == 1 and np.isnan(found.loc["b", "sd"])
    with pytest.raises(ValueError, match="same variant, rotation, seed"):
        spread(pd.concat([table, table]), ["variant"])


def test_a_table_of_comparisons_takes_their_number_into_account():
    rng = np.random.default_rng(2)
    base = rng.random(50)
    table = pd.concat(
        rows({(0, s): np.clip(base + gain, 0, 2) for s in range(2)}, variant=name, shots=0)
        for name, gain in (("a", 0.2), ("b", 0.0), ("c", 0.0))
    )
    found = compare(
        table, {"a - b": ({"variant": "a"}, {"variant": "b"}), "c - b": ({"variant": "c"}, {"variant": "b"})}, shots=0
    )
    assert found["clear"].tolist() == [True, False] and found["above"].tolist() == [2, 0]
    assert found["difference"].tolist() == pytest.approx([0.2, 0.0])


def test_a_comparison_without_rows_counts_in_its_family_and_is_told():
    rng = np.random.default_rng(2)
    table = pd.concat(rows({(0, s): rng.random(50) for s in range(2)}, variant=name) for name in "ab")
    alone, family = ({"a - b": ({"variant": "a"}, {"variant": "b"})} for _ in range(2))
    family |= {f"a - {name}": ({"variant": "a"}, {"variant": name}) for name in "cdef"}
    one, five = compare(table, alone), compare(table, family)
    assert five["units"].tolist() == [2, 0, 0, 0, 0] and five["difference"].notna().tolist() == [True] + 4 * [False]
    assert five["low"][0] < one["low"][0] and five["high"][0] > one["high"][0]


def test_side_by_side_are_the_clips_that_both_were_tested_on_unit_after_unit():
    a = rows({(1, 0): [0.4, 0.6], (0, 0): [0.9, np.nan, 0.7, 0.3]})
    b = rows({(0, 0): [0.8, 0.6, 0.1], (1, 0): [np.nan, 0.2], (2, 0): [0.0]})
    first, second = side_by_side(a, b)
    assert first.tolist() == [0.9, 0.7, 0.6] and second.tolist() == [0.8, 0.1, 0.2]
    with pytest.raises(ValueError, match="share no unit"):
        side_by_side(a, rows({(3, 0): [0.1]}))


def test_rows_on_shared_clips_count_only_what_every_row_of_their_rotation_was_tested_on():
    table = pd.concat(
        [
            rows({(0, 0): [0.9, 0.5, 0.7, 0.1], (1, 0): [0.4, 0.6]}, shots=0),
            rows({(0, 0): [np.nan, 0.6, 0.8]}, shots=1),  # a last clip that was not tested is not written
        ],
        ignore_index=True,
    )
    shared = on_shared_clips(table)
    assert shared["shots"].tolist() == [0, 0, 1] and shared["n"].tolist() == [2, 2, 2]
    assert shared["value"].tolist() == pytest.approx([0.6, 0.5, 0.7])  # (0.5 + 0.7) / 2; rotation 1 has all of its own
    np.testing.assert_array_equal(shared["scores"][0], [np.nan, 0.5, 0.7])
    assert table["value"].tolist() == pytest.approx([0.55, 0.5, 0.7]), "the table given stays as it is"
    assert on_shared_clips(table[:0]).empty


def test_rows_without_a_shared_clip_are_refused():
    table = pd.concat([rows({(3, 0): [0.9, np.nan]}), rows({(3, 1): [np.nan, 0.5]})], ignore_index=True)
    with pytest.raises(ValueError, match="rotation 3: no clip was tested in all 2 rows"):
        on_shared_clips(table)
