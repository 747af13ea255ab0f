"""The paper's claims, asked of the recorded trainings: the tables of docs/laboratory.md.

    python -m gavs_lib.lab.claims

prints them as Markdown. Notebooks 06 to 08 ask the same questions step by step and draw them; the families of
questions, whose intervals hold all at once, are the same there and here.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gavs_lib.lab.statistics import ENOUGH, UNIT, Difference, on_shared_clips, paired, read_results

RIVALS = {"sam_fusion": "SAM-Fusion", "audio_sam": "Audio-SAM", "tpavi": "TPAVI"}
SHOTS = (0, 1, 3, 5)
TOLERANCE = 0.02  # by how much GAVS may lack and still "match" (set beforehand)
TABLE_5 = {
    "ColA (e - a)": ("5e ColA", "5a freeze"),
    "visual adapters (i - h)": ("5i visual adapters", "5e ColA"),
    "the semantic-aware prompt (j - i)": ("gavs", "5i visual adapters"),
}
UNSEEN, SEEN = "v1s unseen_test", "v1s test"
UNIT_OF_VARIANT = ["variant", *UNIT]


@dataclass(frozen=True)
class Question:
    """Is a ahead of b?

    Attributes:
        a, b: rows, one for each training.
        lack: by how much a may be behind, 0-1.
        shared_clips: all rotations were tested on the same clips.
    """

    a: pd.DataFrame
    b: pd.DataFrame
    lack: float = 0.0
    shared_clips: bool = False

    def answer(self, comparisons: int, draws: int | None = None) -> Difference | None:
        """The paired difference, one of so many comparisons; None: no training has both."""
        if self.a.merge(self.b, on=UNIT).empty:
            return None
        return paired(self.a, self.b, comparisons, draws, shared_clips=self.shared_clips)


def verdict(found: Difference | None, lack: float = 0.0) -> str:
    """What an interval says, in the words of the notebooks."""
    if found is None:
        return "not yet measured"
    if found.low + lack <= 0 <= found.high + lack:
        return "not decided"
    held = "holds" if found.low + lack > 0 else "does not hold"
    return held + (", provisionally" if len(found.units) < ENOUGH else "")


def told(found: Difference | None, lack: float = 0.0) -> str:
    """A cell of a table, in points; bold where the interval decides, with a star where it does so provisionally."""
    if found is None:
        return "not yet measured"
    numbers = f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    judged = verdict(found, lack)
    if judged == "not decided":
        return numbers
    return f"**{numbers}**" + ("\\*" if "provisionally" in judged else "")


def questions_of_shots(table: pd.DataFrame) -> dict[tuple[str, str, int], Question]:
    """The questions of notebook 07: (what is asked, of whom, at how many shots or of which clips) -> question."""
    scores = table[table["figure"] == "mIoU"]
    models = ["gavs", *RIVALS]
    here = on_shared_clips(scores[scores["variant"].isin(models) & (scores["part"] == UNSEEN)])
    there = _on_boxes(table[table["variant"].isin([*models, "adapter on F_V"])])  # the clips that 07 compares them on
    zero_shot = scores[(scores["shots"] == 0) & (scores["state"] == "best")]

    def at(variant: str, k: int, state: str = "best", of: pd.DataFrame = here) -> pd.DataFrame:
        return of[(of["variant"] == variant) & (of["shots"] == k) & (of["state"] == state)]

    def share(variant: str, percent: int, part: str) -> pd.DataFrame:
        name = variant if percent == 100 else f"{variant}, {percent} %"
        rows = zero_shot[(zero_shot["variant"] == name) & (zero_shot["part"] == part)]
        return rows[rows["rotation"] == 0]  # shares were taken in one rotation only

    asked = {}
    for rival in RIVALS:
        for k in SHOTS:
            asked["ahead", rival, k] = Question(at("gavs", k), at(rival, k))
            state = "last" if k else "best"
            sides = at("gavs", k, state, there), at(rival, k, state, there)
            asked["ahead in the twin", rival, k] = Question(*sides, shared_clips=True)
        asked["3 shots ahead of 5", rival, 0] = Question(at("gavs", 3), at(rival, 5))
        for part, kind in ((SEEN, "seen"), (UNSEEN, "unseen")):
            if rival != "tpavi":  # trained on all clips only
                asked["10 % ahead of 30 %", rival, kind] = Question(share("gavs", 10, part), share(rival, 30, part))
            half = share("gavs", 50, part), share(rival, 100, part)
            asked["50 % matches 100 %", rival, kind] = Question(*half, lack=TOLERANCE)
    for model, counts in {"gavs": SHOTS[1:], **dict.fromkeys(RIVALS, SHOTS[-1:])}.items():
        for k in counts:
            asked["ahead of control", model, k] = Question(at(model, k), at(model, k, "control"))
    return asked


def questions_of_table_5(table: pd.DataFrame) -> dict[tuple[str, str], Question]:
    """The questions of notebook 08 to the paper's Table 5: (step, classes) -> question."""
    scores = table[(table["figure"] == "mIoU") & (table["shots"] == 0) & (table["state"] == "best")]
    asked = {}
    for classes, parts in (("seen", [SEEN, "v1m test"]), ("unseen", [UNSEEN, "v1m unseen_test"])):
        rows = _joined(scores[scores["part"].isin(parts)], UNIT_OF_VARIANT)
        for step, sides in TABLE_5.items():
            asked[step, classes] = Question(*(rows[rows["variant"] == side] for side in sides))
    return asked


def _joined(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The scores of several parts as one row for each training."""
    rows = []
    for place, parts in table.groupby(by, sort=False):
        scores = np.concatenate(parts.sort_values("part")["scores"].tolist())
        rows.append((*place, np.nanmean(scores), scores))
    return pd.DataFrame(rows, columns=[*by, "value", "scores"])


def _on_boxes(table: pd.DataFrame) -> pd.DataFrame:
    """Of trainings with shots of the twin, scores on the entries that are nobody's shots, one row for each state."""
    rows, unit = [], [*UNIT_OF_VARIANT, "shots", "state"]
    for place, parts in table[table["figure"] == "IoU with boxes"].groupby(unit, sort=False):
        # A part holds its own places of one list of entries, and NaN at the others'.
        whole = np.full(max(map(len, parts["scores"])), np.nan)
        for scores in parts["scores"]:
            whole[: len(scores)][np.isfinite(scores)] = scores[np.isfinite(scores)]
        rows.append((*place, whole))
    entries = pd.DataFrame(rows, columns=[*unit, "scores"])
    taught = entries.loc[entries["shots"] > 0, UNIT_OF_VARIANT].drop_duplicates()
    return on_shared_clips(entries.merge(taught).assign(value=np.nan)) if len(taught) else entries.assign(value=np.nan)


def summary(table: pd.DataFrame, draws: int | None = None) -> str:
    """All tables as Markdown.

    Args:
        table: of `read_results`.
        draws: of each bootstrap; None: as many as its interval needs.
    """
    shots, ladder = questions_of_shots(table), questions_of_table_5(table)
    answers = {place: question.answer(len(shots), draws) for place, question in shots.items()}
    steps = {place: question.answer(len(ladder), draws) for place, question in ladder.items()}

    def cell(place: tuple, lack: float) -> str:
        return told(answers[place], lack) if place in answers else ""

    def rows(asked: str, columns: tuple, name: Callable[[str], str], lack: float = 0.0) -> list[list[str]]:
        models = dict.fromkeys(model for question, model, _ in answers if question == asked)
        return [[name(model), *(cell((asked, model, column), lack) for column in columns)] for model in models]

    header = ["", *(f"{k} shots" if k != 1 else "1 shot" for k in SHOTS)]
    by_shots = rows("ahead", SHOTS, lambda m: f"GAVS less {RIVALS[m]}")
    by_shots += rows("ahead in the twin", SHOTS, lambda m: f"the same in the sketchbook, less {RIVALS[m]}")
    by_shots += rows("ahead of control", SHOTS, lambda m: f"{RIVALS.get(m, 'GAVS')} less its control")
    three = [[f"GAVS with 3 shots less {RIVALS[m]} with 5", told(answers["3 shots ahead of 5", m, 0])] for m in RIVALS]
    kinds = ("seen", "unseen")
    shares = rows("10 % ahead of 30 %", kinds, lambda m: f"GAVS with 10 % of the clips less {RIVALS[m]} with 30 %")
    shares += rows("50 % matches 100 %", kinds, lambda m: f"GAVS with 50 % less {RIVALS[m]} with all", TOLERANCE)
    added = [[step, *(told(steps[step, kind]) for kind in kinds)] for step in TABLE_5]
    return "\n\n".join(
        [
            f"*{len(shots)} questions, whose intervals hold all at once in 95 % of repetitions:*",
            _markdown(header, by_shots),
            _markdown(["unseen classes", "points"], three),
            _markdown(["share of the training clips", *(f"{kind} classes" for kind in kinds)], shares),
            f"*{len(ladder)} questions of Table 5, a family of their own:*",
            _markdown(["what is added", *(f"{kind} classes" for kind in kinds)], added),
        ]
    )


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])


def main(argv: list[str] | None = None) -> None:
    """Print what the recorded trainings say about the paper's claims, as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.lab.claims", description=main.__doc__)
    parser.add_argument("--results", type=Path, help="a table that gavs_lib.lab.grid wrote; none: the recorded one")
    print(summary(read_results(parser.parse_args(argv).results)))


if __name__ == "__main__":
    main()
