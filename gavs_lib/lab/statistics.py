"""Comparisons of models that were measured on the same clips: differences in pairs, with bootstrap intervals.

The unit is a training, told by (rotation, seed). Two models are compared within each unit, clip by clip, since clips
differ far more than models do. What may vary if all were repeated is drawn anew: which rotations, which seeds of each,
which clips of each. Seeds and models of one rotation share its clips, so a draw of clips serves all of them.

**How far to trust an interval.** A bootstrap over n things underrates their spread by a factor of sqrt((n - 1) / n),
which is made good here; that a spread seen three or four times is itself uncertain is not. In simulations (300 to 400
repetitions each; rotations and seeds 3 or 6 points apart) intervals of 95 % hold the truth in 90 to 97 % of cases for
twelve trainings in four rotations, and for three trainings of one rotation in 98 % if their seeds are 2 points apart,
in 91 % if 6. At the confidence that one of 43 questions gets, nominally 99.9 %, 97 to 100 % hold: four rotations
cannot say how far a fifth may lie. So of a large family expect a wrong verdict now and then, most likely where a
bound lies close to zero; and a verdict from fewer than `ENOUGH` trainings is provisional.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gavs_lib._shipped import shipped_results

UNIT = ["rotation", "seed"]
ENOUGH = 6  # trainings, below which a verdict is provisional


@dataclass(frozen=True)
class Difference:
    """The mean of a - b, and how sure it is.

    Attributes:
        mean: of the units' differences, in the figure's own scale (mIoU: 0-1).
        low, high: bounds of its bootstrap interval.
        confidence: of the interval.
        units: for each unit (rotation, seed) the mean difference over its clips.
        clips: on how many clips each unit was compared, on average.
    """

    mean: float
    low: float
    high: float
    confidence: float
    units: pd.Series
    clips: float

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0

    def verdict(self, lack: float = 0.0, fewest: int = 1) -> str:
        """What the interval says to the claim that a is ahead of b.

        Args:
            lack: by how much a may be behind, in the figure's scale.
            fewest: trainings, below which nothing is decided.

        Returns:
            "holds", "does not hold" or "not decided"; of fewer trainings than `ENOUGH`, what is decided is so
            "provisionally".
        """
        if self.low + lack <= 0 <= self.high + lack or len(self.units) < fewest:
            return "not decided"
        decided = "holds" if self.low + lack > 0 else "does not hold"
        return decided + (", provisionally" if len(self.units) < ENOUGH else "")

    def __str__(self) -> str:
        return (
            f"{100 * self.mean:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}], "
            f"{(self.units > 0).sum()} of {len(self.units)} trainings above 0"
        )


def read_results(path: str | Path | None = None, aliases: Mapping[str, str] | None = None) -> pd.DataFrame:
    """A table of `lab.grid` with each row's scores by clip as an array (NaN where a clip was not tested).

    Args:
        path: the CSV; None: the recorded one, `data/results/grid.csv`.
        aliases: variants of the course's plan -> what this table has in their place, such as {"gavs": "gavs, V2"};
            the table's own rows of the former name, if there are any, are left out.

    Raises:
        ValueError: the table has no variant of such a name.
    """
    path = shipped_results("grid") if path is None else path
    table = pd.read_csv(path, dtype={"by_clip": str, "key": str}, keep_default_na=False)
    if aliases:
        for variant in aliases.values():
            select(table, variant=variant)
        table = table[~table["variant"].isin(set(aliases) - set(aliases.values()))]
        table = table.replace({"variant": {there: here for here, there in aliases.items()}})
    return table.assign(scores=[scores_of(text) for text in table["by_clip"]])


def scores_of(text: str) -> np.ndarray:
    """A `by_clip` cell as numbers, float64, NaN for "-".

    >>> scores_of("500 - 1000")
    array([0.5, nan, 1. ])
    """
    return np.array([np.nan if word == "-" else int(word) / 1000 for word in text.split()])


def text_of(scores: Sequence[float], places: Sequence[int] | None = None) -> str:
    """Scores as a `by_clip` cell, in thousandths.

    Args:
        scores: of the clips that were tested.
        places: of these clips among all; None: all were tested. A clip that was not gets "-", except at the end.

    >>> text_of([0.5, 1.0], [0, 2])
    '500 - 1000'
    """
    places = range(len(scores)) if places is None else places
    thousandths = dict(zip(places, (str(round(1000 * float(score))) for score in scores)))
    return " ".join(thousandths.get(i, "-") for i in range(max(thousandths, default=-1) + 1))


def select(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows in which each named column has the value given; ValueError, with the values there are, if none has."""
    rows = table
    for name, value in wanted.items():
        found = rows[rows[name] == value]
        if found.empty:
            known = ", ".join(sorted(map(str, rows[name].unique())))
            raise ValueError(f"no row with {name} {value!r}; there are: {known}.")
        rows = found
    return rows


def spread(table: pd.DataFrame, by: Sequence[str], units: Sequence[str] = UNIT) -> pd.DataFrame:
    """Mean, standard deviation over units and their number, for each group of rows.

    Args:
        table: rows with a column `value`, one for each unit in a group.
        by: columns that make a group.

    Returns:
        Columns `by`, mean, sd (NaN for one unit), units.

    Raises:
        ValueError: a unit occurs twice in a group.
    """
    twice = table.duplicated([*by, *units])
    if twice.any():
        raise ValueError(f"{int(twice.sum())} rows have the same {', '.join([*by, *units])} as another; select first.")
    grouped = table.groupby(list(by), sort=False)["value"]
    return grouped.agg(mean="mean", sd="std", units="count").reset_index()


def on_shared_clips(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with only those clips that all rows of a rotation were tested on: k-shot leaves other clips than 0-shot.

    Args:
        table: rows of `read_results` of one part, all with scores by clip.

    Returns:
        The same rows; `scores` is NaN for all other clips, `value` and `n` are of what is left.

    Raises:
        ValueError: a rotation has no such clip.
    """
    kept = []
    for rotation, rows in table.groupby("rotation", sort=False):
        size = min(map(len, rows["scores"]))  # clips at the end that were not tested are not written
        scores = np.stack([each[:size] for each in rows["scores"]])
        scores[:, np.isnan(scores).any(axis=0)] = np.nan
        if np.isnan(scores).all():
            raise ValueError(f"rotation {rotation}: no clip was tested in all {len(rows)} rows.")
        counted = np.isfinite(scores).sum(axis=1)
        kept.append(rows.assign(scores=list(scores), value=np.nanmean(scores, axis=1), n=counted))
    return pd.concat(kept).loc[table.index] if kept else table


def joined(table: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The scores of each training on all parts of a group, one part after another.

    Args:
        table: rows of `read_results` of one figure and state.
        groups: name, such as "seen" -> the parts that belong to it.

    Returns:
        Columns variant, classes (the group), rotation, seed, value, scores. A training that lacks a part is left out.
    """
    columns, rows = ["variant", "classes", *UNIT, "value", "scores"], []
    group_of = {part: name for name, parts in groups.items() for part in parts}
    here = table[table["part"].isin(group_of)]
    here = here.assign(classes=here["part"].map(group_of))
    for place, parts in here.groupby(columns[:4]):
        if len(parts) == len(groups[place[1]]):
            scores = np.concatenate(parts.sort_values("part")["scores"].tolist())
            rows.append((*place, np.nanmean(scores), scores))
    return pd.DataFrame(rows, columns=columns)


def over_parts(table: pd.DataFrame) -> pd.DataFrame:
    """The scores of each training and state on one list of clips, of which every part holds its own.

    Args:
        table: rows of `read_results` of one figure; a part's scores are NaN at the clips of the others.

    Returns:
        Columns variant, rotation, seed, shots, state, scores.
    """
    place, rows = ["variant", *UNIT, "shots", "state"], []
    for unit, parts in table.groupby(place, sort=False):
        whole = np.full(max(map(len, parts["scores"])), np.nan)
        for scores in parts["scores"]:
            whole[: len(scores)][np.isfinite(scores)] = scores[np.isfinite(scores)]
        rows.append((*unit, whole))
    return pd.DataFrame(rows, columns=[*place, "scores"])


def gap(seen: pd.DataFrame, unseen: pd.DataFrame) -> pd.DataFrame:
    """What each training scores less on unseen classes than on seen ones, as rows for `paired`.

    Clips are weighted so that the mean over all of them is mean(seen) - mean(unseen); a draw of clips is one of both.
    So the two sides of a pair must have been tested on the same clips.

    Args:
        seen, unseen: rows of `read_results` of one figure and one variant, one for each training.

    Returns:
        The seen rows of the trainings that both have, with such scores and value.
    """
    both = seen.merge(unseen[[*UNIT, "scores"]], on=UNIT, suffixes=("", " unseen"))
    weighted = []
    for one, other in zip(both["scores"], both["scores unseen"]):
        n, m = np.isfinite(one).sum(), np.isfinite(other).sum()
        weighted.append(np.concatenate([one * (n + m) / n, -other * (n + m) / m]))
    both = both.drop(columns="scores unseen").assign(scores=weighted)
    return both.assign(value=[float(np.nanmean(each)) for each in weighted])


def paired(
    a: pd.DataFrame,
    b: pd.DataFrame,
    comparisons: int = 1,
    draws: int | None = None,
    seed: int = 0,
    level: float = 0.95,
    shared_clips: bool = False,
) -> Difference:
    """The mean difference a - b over the units and clips that both were measured on.

    Args:
        a, b: rows of `read_results` of one figure, one for each unit.
        comparisons: how many such intervals are asked for together; each gets the confidence
            1 - (1 - level) / comparisons (Bonferroni), nominally so that all of them hold at once with the
            probability `level` (the module says how far that is true for few trainings).
        draws: of the bootstrap; None: 2000, or as many as leave 25 beyond each bound.
        seed: of the bootstrap.
        level: confidence of all intervals together.
        shared_clips: all rotations were tested on the same clips, as in the twin of VGG-SS; then a draw of clips
            serves all of them.

    Raises:
        ValueError: a unit occurs twice, they share no unit, or a shared unit has no clip that both were tested on.
    """
    differences: dict[int, list[np.ndarray]] = {}
    means = {}
    for (rotation, number), (one, other) in _matched(a, b).items():
        difference = one - other
        if np.isnan(difference).all():
            raise ValueError(f"rotation {rotation}, seed {number}: no clip was tested by both.")
        differences.setdefault(rotation, []).append(difference)
        means[rotation, number] = np.nanmean(difference)
    beyond = (1 - level) / comparisons / 2  # on either side
    draws = draws or max(2000, int(np.ceil(25 / beyond)))
    units, values = pd.Series(means).rename_axis(UNIT), _same_length(differences)
    mean, several = units.mean(), len(values) if len(values) > 1 else len(units)
    spread_seen = np.sqrt(several / (several - 1)) if several > 1 else 1  # of one training only clips can be drawn
    drawn = mean + spread_seen * (_bootstrap(values, draws, seed, shared_clips) - mean)
    # A bound is drawn, too. Moved outwards by two standard deviations of its rank, it decides nothing that another seed
    # of the bootstrap would take back.
    outwards = max(0.0, beyond - 2 * np.sqrt(beyond * (1 - beyond) / draws))
    low, high = np.quantile(drawn, [outwards, 1 - outwards])
    clips = np.mean([np.isfinite(rows).sum(axis=1).mean() for rows in values])
    return Difference(float(mean), float(low), float(high), 1 - 2 * beyond, units, float(clips))


def side_by_side(a: pd.DataFrame, b: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """What both scored on each clip that both were tested on: two arrays [N], units after each other.

    Args:
        a, b: as in `paired`.

    Raises:
        ValueError: as in `paired`, but that a unit may share no clip.
    """
    both = np.concatenate([np.stack(scores) for scores in _matched(a, b).values()], axis=1)
    return tuple(both[:, np.isfinite(both).all(axis=0)])


def compare(
    table: pd.DataFrame, pairs: Mapping[str, tuple[Mapping[str, object], Mapping[str, object]]], **common: object
) -> pd.DataFrame:
    """Many comparisons as a table: one row a pair, all of them one family, also those that have no rows yet.

    Args:
        table: of `read_results`.
        pairs: name -> what to select for a, and for b, besides `common`.
        common: columns and values that both sides share.

    Returns:
        Columns comparison, difference, low, high, units, above (units above 0), clips, clear. Where the two share no
        unit, units is 0 and the figures are NaN.
    """
    rows = []
    for name, sides in pairs.items():
        a, b = (_where(table, common | dict(side)) for side in sides)
        row = {"comparison": name, "difference": np.nan, "low": np.nan, "high": np.nan}
        row |= {"units": 0, "above": 0, "clips": np.nan, "clear": False}
        if len(a.merge(b, on=UNIT)):
            found = paired(a, b, comparisons=len(pairs))
            row |= {"difference": found.mean, "low": found.low, "high": found.high, "units": len(found.units)}
            row |= {"above": int((found.units > 0).sum()), "clips": found.clips, "clear": found.clear}
        rows.append(row)
    columns = ["comparison", "difference", "low", "high", "units", "above", "clips", "clear"]
    return pd.DataFrame(rows, columns=columns)


def _where(table: pd.DataFrame, wanted: Mapping[str, object]) -> pd.DataFrame:
    for name, value in wanted.items():
        table = table[table[name] == value]
    return table


def _matched(a: pd.DataFrame, b: pd.DataFrame) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
    """For each unit that both have, in order: the scores of a and of b on the same clips, two arrays of one length."""
    for name, rows in (("a", a), ("b", b)):
        if rows.duplicated(UNIT).any():
            raise ValueError(f"{name} has several rows for a unit (rotation, seed); select one figure, part and state.")
    first, second = a.set_index(UNIT)["scores"], b.set_index(UNIT)["scores"]
    shared = first.index.intersection(second.index).sort_values()
    if shared.empty:
        raise ValueError("a and b share no unit (rotation, seed), so that nothing can be paired.")
    matched = {}
    for unit in shared:
        size = min(len(first[unit]), len(second[unit]))  # clips at the end that were not tested are not written
        matched[unit] = first[unit][:size], second[unit][:size]
    return matched


def _same_length(differences: Mapping[int, list[np.ndarray]]) -> list[np.ndarray]:
    """For each rotation [seeds, clips], as many clips in all of them: NaN where one was not tested."""
    longest = max(len(row) for rows in differences.values() for row in rows)
    pad = {"mode": "constant", "constant_values": np.nan}
    return [np.stack([np.pad(row, (0, longest - len(row)), **pad) for row in rows]) for rows in differences.values()]


def _bootstrap(values: Sequence[np.ndarray], draws: int, seed: int, shared_clips: bool) -> np.ndarray:
    """Means of `draws` repetitions. values: for each rotation [seeds, clips], NaN where a clip was not tested."""
    rng = np.random.default_rng(seed)
    picked = rng.integers(len(values), size=(len(values), draws))  # a rotation for each place of each repetition
    serving_all = _times_drawn(np.concatenate(values), draws, rng) if shared_clips else None
    total, units = np.zeros(draws), np.zeros(draws)
    for place in picked:
        for rotation, rows in enumerate(values):
            here = place == rotation
            times = _times_drawn(rows, int(here.sum()), rng) if serving_all is None else serving_all[here]
            total[here] += len(rows) * _repeat(rows, times, rng)  # a unit counts as a unit
            units[here] += len(rows)
    return total / units


def _times_drawn(values: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """How often each repetition draws each clip, [draws, clips], among those that were tested."""
    tested = np.flatnonzero(np.isfinite(values).any(axis=0))
    drawn = tested[rng.integers(len(tested), size=(draws, len(tested)))]
    cells = drawn + values.shape[1] * np.arange(draws)[:, None]
    return np.bincount(cells.ravel(), minlength=draws * values.shape[1]).reshape(draws, values.shape[1])


def _repeat(values: np.ndarray, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means [draws] of one rotation's values [seeds, clips] with seeds drawn anew, and clips so many times."""
    known, times = np.isfinite(values).astype(float), times.astype(float)
    means = (np.nan_to_num(values) @ times.T) / np.maximum(known @ times.T, 1)  # [seeds, draws]
    seeds = rng.integers(len(values), size=(len(values), len(times)))
    return means[seeds, np.arange(len(times))].mean(axis=0)
