"""The papers' claims, asked of the recorded trainings: the tables of docs/laboratory.md.

    python -m gavs_lib.lab.claims

prints them as Markdown. Notebooks 06 to 09 ask these questions step by step and draw them; what they count as one
family of questions is one here.
"""

import argparse
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gavs_lib.lab.statistics import UNIT, Difference, gap, joined, on_shared_clips, over_parts, paired, read_results

RIVALS = {"sam_fusion": "SAM-Fusion", "audio_sam": "Audio-SAM", "tpavi": "TPAVI"}
SHOTS = (0, 1, 3, 5)
TOLERANCE = 0.02  # by how much GAVS may lack and still "match" (set beforehand)
SEEN, UNSEEN = "v1s test", "v1s unseen_test"
GROUPS = {"seen": [SEEN, "v1m test"], "unseen": [UNSEEN, "v1m unseen_test"]}
UNSEEN_PARTS = {  # part -> what it is called, and its figure
    UNSEEN: ("one toy sounds", "mIoU"),
    "v1m unseen_test": ("several sound", "mIoU"),
    "twin unseen_test": ("sketchbook", "IoU with boxes"),
}
# Notebook 08's families: what is asked -> which variant, less which.
TABLE_5 = {
    "ColA (e - a)": ("5e ColA", "5a freeze"),
    "ColA (e - Audio-SAM at its own rate)": ("5e ColA", "audio_sam"),
    "visual adapters (i - h)": ("5i visual adapters", "5e ColA"),
    "the semantic-aware prompt (j - i)": ("gavs", "5i visual adapters"),
}
PROMPT = {
    "noise, beside the cue": ("gavs", "cue, no noise"),
    "cue, beside the noise": ("gavs", "noise, no cue"),
    "noise that is learned, for noise that is drawn": ("gavs", "gaussian noise"),
}
LOSSES = {
    "no semantic loss": ("no semantic loss", "gavs"),
    "ten times the semantic loss": ("semantic loss x 10", "gavs"),
    "margin 0.1 for 0.3": ("margin 0.1", "gavs"),
    "margin 1 for 0.3": ("margin 1", "gavs"),
    "same class is a negative": ("same class is a negative", "gavs"),
    "final ReLU on VGGish": ("final ReLU", "gavs"),
    "pure BCE, no Dice": ("pure BCE", "gavs"),
}
# Notebook 09's, in pictures of 64 pixels where nothing else is said, and the parts on which they are asked.
SMALL_PARTS = {SEEN: "seen, one sounds", "v1m test": "seen, several sound", UNSEEN: "unseen, one sounds"}
RELATIVES = {
    "SAVE - Audio-SAM": ("save, 64", "audio_sam, 64"),
    "SAVE - AP-SAM": ("save, 64", "ap_sam, 64"),
    "SAVE - GAVS": ("save, 64", "gavs, 64"),
    "SAVE - SAM-Fusion": ("save, 64", "sam_fusion, 64"),
    "SAVE - SAMA-AVS": ("save, 64", "sama_avs, 64"),
    "SAVE - AV-SAM": ("save, 64", "av_sam, 64"),
}
MODULES = {
    "image adapters, small": ("save, 64", "save, 64, no image adapters"),
    "image adapters, large": ("save, 128", "save, 128, no image adapters"),
    "third layer, small": ("save, 64, three layers", "save, 64"),
    "third layer, large": ("save, 128, three layers", "save, 128"),
    "SAVE - SAMA-AVS, large": ("save, 128", "sama_avs, 128"),
    "SAVE - AP-SAM, large": ("save, 128", "ap_sam, 128"),
    "SAVE - GAVS, large": ("save, 128", "gavs"),
    "large - small, SAVE": ("save, 128", "save, 64"),
    "large - small, AP-SAM": ("ap_sam, 128", "ap_sam, 64"),
    "large - small, GAVS": ("gavs", "gavs, 64"),
}
SWAPPED_LOSS = {  # "Dice": the course's loss, BCE and Dice; "soft IoU": SAVE's and AP-SAM's, BCE and soft IoU
    "SAVE: Dice for soft IoU": ("save, 64, Dice", "save, 64"),
    "AP-SAM: Dice for soft IoU": ("ap_sam, 64, Dice", "ap_sam, 64"),
    "GAVS: soft IoU for Dice": ("gavs, 64, soft IoU", "gavs, 64"),
    "SAVE - GAVS, both with Dice": ("save, 64, Dice", "gavs, 64"),
    "SAVE - GAVS, both with soft IoU": ("save, 64", "gavs, 64, soft IoU"),
    "joint - AP-SAM, both with Dice": ("joint, points, decoder", "ap_sam, 64, Dice"),
}
STARTS = {
    "synthetic first, for v1s": ("save, synthetic, v1s", "save, v1s"),
    "synthetic first, against v1s twice": ("save, synthetic, v1s", "save, v1s, v1s"),
    "v1s first, for v1m": ("save, v1s, v1m", "save, v1m"),
    "synthetic before v1s, for v1m": ("save, synthetic, v1s, v1m", "save, v1s, v1m"),
}
JOINT = {  # set when the joint model's first seed had been scored: therefore asked of the later seeds alone, too
    "joint - GAVS": ("joint, points, decoder", "gavs, 64"),
    "joint - SAVE": ("joint, points, decoder", "save, 64"),
    "joint - AP-SAM": ("joint, points, decoder", "ap_sam, 64"),
    "joint - GAVS, decoder trained": ("joint, points, decoder", "gavs, 64, decoder"),
}
IDEAS = {  # each with and without; "beside" says what else is switched on
    "trained decoder, alone": ("gavs, 64, decoder", "gavs, 64"),
    "early, alone": ("joint, early", "gavs, 64"),
    "early, beside points": ("joint, points", "joint, points alone"),
    "context, beside early": ("joint, context", "joint, early"),
    "points, alone": ("joint, points alone", "gavs, 64"),
    "points, beside early": ("joint, points", "joint, early"),
    "points, beside a trained decoder": ("joint, points, decoder", "gavs, 64, decoder"),
}
JOINT_AND_OTHERS = {  # asked afterwards
    "joint - SAM-Fusion": ("joint, points, decoder", "sam_fusion, 64"),
    "joint - AV-SAM": ("joint, points, decoder", "av_sam, 64"),
    "joint - Audio-SAM": ("joint, points, decoder", "audio_sam, 64"),
    "joint - SAMA-AVS": ("joint, points, decoder", "sama_avs, 64"),
    "joint - GAVS, large": ("joint, 128", "gavs"),
    "joint - AP-SAM, large": ("joint, 128", "ap_sam, 128"),
}


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


def told(found: Difference | None, lack: float = 0.0) -> str:
    """A cell of a table, in points; bold where the interval decides, with a star where it does so provisionally."""
    if found is None:
        return "not yet measured"
    numbers = f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    verdict = found.verdict(lack)
    return numbers if verdict == "not decided" else f"**{numbers}**" + ("\\*" if "provisionally" in verdict else "")


def zero_shot_questions(table: pd.DataFrame) -> dict[tuple[str, str], Question]:
    """Notebook 06's: is GAVS ahead of a rival on a part with unseen classes? (part, rival) -> question."""
    rows = _zero_shot(table)
    asked = {}
    for part, (_, figure) in UNSEEN_PARTS.items():
        here = rows[(rows["part"] == part) & (rows["figure"] == figure)]
        for rival in RIVALS:
            asked[part, rival] = Question(_of(here, "gavs"), _of(here, rival), shared_clips=part.startswith("twin"))
    return asked


def gap_questions(table: pd.DataFrame) -> dict[tuple[str, str], Question]:
    """Notebook 06's: does a rival lose more than GAVS from seen to unseen classes? (unseen part, rival) -> question."""
    rows = _zero_shot(table)
    rows = rows[rows["figure"] == "mIoU"]
    asked = {}
    for seen, unseen in zip(GROUPS["seen"], GROUPS["unseen"]):
        lost = {
            model: gap(*(_of(rows[rows["part"] == part], model) for part in (seen, unseen)))
            for model in ("gavs", *RIVALS)
        }
        asked |= {(unseen, rival): Question(lost[rival], lost["gavs"]) for rival in RIVALS}
    return asked


def shots_questions(table: pd.DataFrame) -> dict[tuple[str, str, Hashable], Question]:
    """Notebook 07's: (what is asked, of whom, at how many shots or of which classes) -> question."""
    scores = table[table["figure"] == "mIoU"]
    models = ["gavs", *RIVALS]
    here = on_shared_clips(scores[scores["variant"].isin(models) & (scores["part"] == UNSEEN)])
    boxes = table[table["variant"].isin([*models, "adapter on F_V"]) & (table["figure"] == "IoU with boxes")]
    there = over_parts(boxes)
    taught = there.loc[there["shots"] > 0, ["variant", *UNIT]].drop_duplicates()
    there = on_shared_clips(there.merge(taught)) if len(taught) else there
    one_rotation = _zero_shot(scores)[lambda rows: rows["rotation"] == 0]  # shares were taken in one only

    def at(variant: str, k: int, state: str = "best", of: pd.DataFrame = here) -> pd.DataFrame:
        return of[(of["variant"] == variant) & (of["shots"] == k) & (of["state"] == state)]

    def share(variant: str, percent: int, part: str) -> pd.DataFrame:
        name = variant if percent == 100 else f"{variant}, {percent} %"
        return _of(one_rotation[one_rotation["part"] == part], name)

    asked: dict[tuple[str, str, Hashable], Question] = {}
    for rival in RIVALS:
        for k in SHOTS:
            asked["ahead", rival, k] = Question(at("gavs", k), at(rival, k))
            state = "last" if k else "best"
            sides = at("gavs", k, state, there), at(rival, k, state, there)
            asked["ahead in the twin", rival, k] = Question(*sides, shared_clips=True)
        asked["3 shots ahead of 5", rival, "unseen"] = Question(at("gavs", 3), at(rival, 5))
        for part, classes in ((SEEN, "seen"), (UNSEEN, "unseen")):
            if rival != "tpavi":  # trained on all clips only
                asked["10 % ahead of 30 %", rival, classes] = Question(share("gavs", 10, part), share(rival, 30, part))
            half = share("gavs", 50, part), share(rival, 100, part)
            asked["50 % matches 100 %", rival, classes] = Question(*half, lack=TOLERANCE)
    for model, counts in {"gavs": SHOTS[1:], **dict.fromkeys(RIVALS, SHOTS[-1:])}.items():
        for k in counts:
            asked["ahead of control", model, k] = Question(at(model, k), at(model, k, "control"))
    return asked


def ablation_questions(table: pd.DataFrame, family: Mapping[str, tuple[str, str]]) -> dict[tuple[str, str], Question]:
    """Notebook 08's: (what is asked, seen or unseen classes) -> question.

    Args:
        table: of `read_results`.
        family: `TABLE_5`, `PROMPT` or `LOSSES`.
    """
    rows = joined(_zero_shot(table)[lambda rows: rows["figure"] == "mIoU"], GROUPS)
    return _each(rows, family, "classes", GROUPS)


def part_questions(
    table: pd.DataFrame, family: Mapping[str, tuple[str, str]], parts: Iterable[str] = SMALL_PARTS
) -> dict[tuple[str, str], Question]:
    """Notebook 09's: (what is asked, part) -> question.

    Args:
        table: of `read_results`.
        family: `RELATIVES`, `SWAPPED_LOSS`, `MODULES`, `STARTS`, `IDEAS`, `JOINT` or `JOINT_AND_OTHERS`.
        parts: of clips, each asked by itself.
    """
    rows = _zero_shot(table)[lambda rows: rows["figure"] == "mIoU"]
    return _each(rows, family, "part", parts)


def small_shots_questions(table: pd.DataFrame, part: str = UNSEEN) -> dict[tuple[str, int], Question]:
    """Notebook 09's, in small pictures: (what is asked, number of shots) -> question.

    Args:
        table: of `read_results`.
        part: of clips with unseen classes.
    """
    rows = table[(table["figure"] == "mIoU") & (table["part"] == part)]
    rows = on_shared_clips(rows[rows["variant"].isin(["gavs, 64, shots", "save, 64, shots"])])

    def at(variant: str, k: int, state: str = "best") -> pd.DataFrame:
        return rows[(rows["variant"] == variant) & (rows["shots"] == k) & (rows["state"] == state)]

    asked = {("SAVE - GAVS", k): Question(at("save, 64, shots", k), at("gavs, 64, shots", k)) for k in SHOTS}
    for name, variant in {"GAVS": "gavs, 64, shots", "SAVE": "save, 64, shots"}.items():
        asked |= {(f"{name} - itself without shots", k): Question(at(variant, k), at(variant, 0)) for k in SHOTS[1:]}
        asked[f"{name} - its control", 5] = Question(at(variant, 5), at(variant, 5, "control"))
    return asked


def _each(
    rows: pd.DataFrame, family: Mapping[str, tuple[str, str]], column: str, places: Iterable[str]
) -> dict[tuple[str, str], Question]:
    """Every question of a family in every place: (what is asked, place in the column) -> question."""
    return {
        (name, place): Question(*(_of(rows[rows[column] == place], side) for side in sides))
        for place in places
        for name, sides in family.items()
    }


def _zero_shot(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["shots"] == 0) & (table["state"] == "best")]


def _of(table: pd.DataFrame, variant: str) -> pd.DataFrame:
    return table[table["variant"] == variant]


def summary(table: pd.DataFrame, draws: int | None = None) -> str:
    """All tables as Markdown, each family of questions under a line that counts it.

    Args:
        table: of `read_results`.
        draws: of each bootstrap; None: as many as its interval needs.
    """

    def answers(asked: Mapping[tuple, Question]) -> dict[tuple, str]:
        return {place: told(each.answer(len(asked), draws), each.lack) for place, each in asked.items()}

    def counted(what: str, cells: Mapping[tuple, str]) -> str:
        return f"*{what}: {len(cells)} questions, one family.*"

    def less(step: str) -> str:
        return step.replace(" - ", " less ")

    pieces, classes = [], list(GROUPS)
    header_of_shots = ["", "0 shots", "1 shot", "3 shots", "5 shots"]
    zero = answers(zero_shot_questions(table))
    header = ["unseen classes", *(name for name, _ in UNSEEN_PARTS.values())]
    rows = [[f"GAVS less {name}", *(zero[part, rival] for part in UNSEEN_PARTS)] for rival, name in RIVALS.items()]
    pieces += [counted("Zero-shot", zero), _markdown(header, rows)]
    gaps = answers(gap_questions(table))
    header = ["lost from seen to unseen classes", *(UNSEEN_PARTS[part][0] for part in GROUPS["unseen"])]
    rows = [[f"{name} less GAVS", *(gaps[part, rival] for part in GROUPS["unseen"])] for rival, name in RIVALS.items()]
    pieces += [counted("Who loses more", gaps), _markdown(header, rows)]

    shots = answers(shots_questions(table))

    def of_shots(asked: str, columns: tuple, name: Callable[[str], str]) -> list[list[str]]:
        models = dict.fromkeys(model for question, model, _ in shots if question == asked)
        return [[name(model), *(shots.get((asked, model, column), "") for column in columns)] for model in models]

    rows = of_shots("ahead", SHOTS, lambda m: f"GAVS less {RIVALS[m]}, unseen classes")
    rows += of_shots("ahead in the twin", SHOTS, lambda m: f"GAVS less {RIVALS[m]}, sketchbook, all classes")
    rows += of_shots("ahead of control", SHOTS, lambda m: f"{RIVALS.get(m, 'GAVS')} less its control, unseen classes")
    pieces += [counted("Shots and shares", shots), _markdown(header_of_shots, rows)]
    rows = of_shots("3 shots ahead of 5", tuple(classes), lambda m: f"GAVS, 3 shots, less {RIVALS[m]}, 5 shots")
    rows += of_shots("10 % ahead of 30 %", tuple(classes), lambda m: f"GAVS, 10 % of the clips, less {RIVALS[m]}, 30 %")
    rows += of_shots("50 % matches 100 %", tuple(classes), lambda m: f"GAVS, 50 %, less {RIVALS[m]}, all (may lack 2)")
    pieces.append(_markdown(["", *(f"{kind} classes" for kind in classes)], rows))

    for name, family in (("Table 5", TABLE_5), ("The prompt", PROMPT), ("The losses, less the course's", LOSSES)):
        found = answers(ablation_questions(table, family))
        rows = [[step, *(found[step, kind] for kind in classes)] for step in family]
        pieces += [counted(name, found), _markdown(["", *(f"{kind} classes" for kind in classes)], rows)]

    small = {
        "SAVE and its relatives, 64 pixels": RELATIVES,
        "Or is it the loss? 64 pixels": SWAPPED_LOSS,
        "What each module brings": MODULES,
        "What it brings to train on something else first": STARTS,
        "Beyond both, 64 pixels": IDEAS,
    }
    for name, family in small.items():
        found = answers(part_questions(table, family))
        rows = [[less(step), *(found[step, part] for part in SMALL_PARTS)] for step in family]
        pieces += [counted(name, found), _markdown(["", *SMALL_PARTS.values()], rows)]
    few = answers(small_shots_questions(table))
    rows = [[less(step), *(few.get((step, k), "") for k in SHOTS)] for step in dict.fromkeys(step for step, _ in few)]
    pieces += [counted("Shots, 64 pixels, unseen classes", few), _markdown(header_of_shots, rows)]
    found, later = (answers(part_questions(rows, JOINT, [UNSEEN])) for rows in (table, table[table["seed"] > 0]))
    rows = [[less(step), found[step, UNSEEN], later[step, UNSEEN]] for step in JOINT]
    pieces.append(counted("The joint model, 64 pixels, one toy of an unseen class sounds; in either column", found))
    pieces.append(_markdown(["", "all trainings", "seeds 1 and 2 alone"], rows))
    found = answers(part_questions(table, JOINT_AND_OTHERS, [UNSEEN]))
    rows = [[less(step), found[step, UNSEEN]] for step in JOINT_AND_OTHERS]
    pieces += [counted("Asked afterwards", found), _markdown(["", "all trainings"], rows)]
    return "\n\n".join(pieces)


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])


def main(argv: list[str] | None = None) -> None:
    """Print what the recorded trainings say about the papers' claims, as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.lab.claims", description=main.__doc__)
    parser.add_argument("--results", type=Path, help="a table that gavs_lib.lab.grid wrote; none: the recorded one")
    print(summary(read_results(parser.parse_args(argv).results)))


if __name__ == "__main__":
    main()
