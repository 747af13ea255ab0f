"""AVS-V3: which clips are zero-shot (GAVS, section 4): a split by class instead of by clip.

V3 joins v1m and v2, forgets their splits, and keeps 14 classes out of training. A clip belongs to

* `unseen` when its only sounding class is one of them (or when it is `girl_boy`, the one pair V3 admits);
* `seen` when none of its classes is one of them, visible or not;
* `discarded` otherwise: a seen and an unseen class sound together, so it can neither train nor test.

From the published metadata.csv this gives the published 758 unseen, 5,342 seen and 324 discarded clips. How V3 divides
`seen` into seen_train and seen_val cannot be derived; its CSVs say (`AVSBench.from_rows` reads them).
"""

import os
from collections.abc import Iterable, Mapping

import pandas as pd

from gavs_lib.data.avsbench import read_rows, tokens

SUBSETS = ("v1m", "v2")
UNSEEN_TOKENS = (
    "guzheng", "harp", "emergency-car", "bell", "baby", "squirrel", "tiger", "helicopter", "clock", "leopard", "hen",
    "donkey", "girl", "boy",
)  # fmt: skip
UNSEEN_PAIRS = ("girl_boy",)


def v3_split(
    metadata_csv: str | os.PathLike,
    unseen: Iterable[str] = UNSEEN_TOKENS,
    unseen_pairs: Iterable[str] = UNSEEN_PAIRS,
    subsets: Iterable[str] = SUBSETS,
) -> Mapping[str, pd.DataFrame]:
    """Split the clips of a `metadata.csv` by class, as AVS-V3 does.

    Args:
        metadata_csv: AVSBench-semantic's, or one with the columns `uid`, `a_obj` and `label`.
        unseen: classes kept out of training.
        unseen_pairs: entries of `a_obj` that count as unseen although several classes sound.
        subsets: values of `label` to take; rows of other subsets appear in none of the three tables.

    Returns:
        "unseen", "seen" and "discarded": tables with the file's columns (`uid` among them), in the file's order.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a column is missing, an `a_obj` is empty, or `unseen` is a single string.
    """
    if isinstance(unseen, str):
        raise ValueError(f"unseen is the string {unseen!r}; expected several class names, such as [{unseen!r}].")
    table = read_rows(metadata_csv)
    missing = [column for column in ("uid", "a_obj", "label") if column not in table]
    if missing:
        raise ValueError(f"{metadata_csv}: column {', '.join(missing)} is missing; found {', '.join(table.columns)}.")
    nameless = table.loc[table["a_obj"].str.strip() == "", "uid"]
    if len(nameless):
        raise ValueError(
            f"{metadata_csv}: a_obj is empty in {len(nameless)} rows, first {nameless.iloc[0]}; the published few-shot "
            "lists leave it so. Join them on uid with metadata.csv first: AVSBench.from_rows does."
        )
    unseen, unseen_pairs = set(unseen), set(unseen_pairs)
    table = table[table["label"].isin(set(subsets))]
    parts = table["a_obj"].map(tokens)
    is_unseen = parts.map(lambda names: (len(names) == 1 and names[0] in unseen) or "_".join(names) in unseen_pairs)
    is_seen = ~is_unseen & parts.map(unseen.isdisjoint)
    return {
        "unseen": table[is_unseen].reset_index(drop=True),
        "seen": table[is_seen].reset_index(drop=True),
        "discarded": table[~is_unseen & ~is_seen].reset_index(drop=True),
    }
