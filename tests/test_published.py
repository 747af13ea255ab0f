"""Counts of the published annotation files, where somebody has them: set GAVS_ANNOTATIONS to their folder.

The folder holds `avs_v3/` (AVS-V3's lists with AVSBench-semantic's metadata.csv) and `vggss.json`.
"""

import os
from pathlib import Path

import pandas as pd
import pytest

from gavs_lib.data import VGGSS, read_v3, v3_split
from gavs_lib.data.vggss import whole_picture

FOLDER = Path(os.environ.get("GAVS_ANNOTATIONS", ""))
pytestmark = pytest.mark.skipif(
    "GAVS_ANNOTATIONS" not in os.environ, reason="the published files are not part of the repository"
)


def test_the_rule_gives_the_published_split():
    split = v3_split(FOLDER / "avs_v3" / "metadata.csv")
    assert {name: len(table) for name, table in split.items()} == {"unseen": 758, "seen": 5342, "discarded": 324}
    assert split["unseen"]["label"].value_counts().to_dict() == {"v2": 726, "v1m": 32}
    published = pd.read_csv(FOLDER / "avs_v3" / "meta_v3_unseen.csv")
    assert set(split["unseen"]["uid"]) == set(published["uid"])


def test_the_published_lists_have_the_papers_counts():
    lists = read_v3(FOLDER / "avs_v3")
    assert lists.origin == "published"
    clips = lists.counts()["clips"].to_dict()
    assert clips == {
        "seen_train": 4807,
        "seen_val": 535,
        "v3_0_shot_test": 758,
        "v3_1_shot_train": 11,
        "v3_1_shot_test": 532,
        "v3_3_shot_train": 33,
        "v3_3_shot_test": 510,
        "v3_5_shot_train": 55,
        "v3_5_shot_test": 488,
    }


def test_the_flaws_of_the_published_boxes_are_counted_and_marking_everything_scores_what_it_scores():
    boxes = VGGSS(FOLDER / "vggss.json")
    counts = boxes.counts()
    told = {name: counts[name] for name in ("entries", "classes", "absurd", "degenerate", "empty")}
    assert told == {"entries": 5158, "classes": 221, "absurd": 12, "degenerate": 18, "empty": 2}
    everything = whole_picture(boxes)
    assert everything.mean_iou == pytest.approx(0.312, abs=5e-4)
    assert everything.success_rate == pytest.approx(0.219, abs=5e-4)
