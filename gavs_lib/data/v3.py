"""AVS-V3: which clips are zero-shot (GAVS, section 4): a split by class instead of by clip.

V3 joins v1m and v2, forgets their splits, and keeps 14 classes out of training. A clip belongs to

* `unseen` when its only sounding class is one of them (or when it is `girl_boy`, the one pair V3 admits);
* `seen` when none of its classes is one of them, visible or not;
* `discarded` otherwise: a seen and an unseen class sound together, so it can neither train nor test.

From the published metadata.csv this gives the published 758 unseen, 5,342 seen and 324 discarded clips (`v3_split`).
How V3 divides `seen` into training and validation, and which clips are the few shots, no rule says: the published
CSVs do. `read_v3` reads and checks them; `derive_v3` draws a replacement where they are missing, and says that it is
one. Either way

    zero-shot: train on seen_train, choose on seen_val, test on zero_shot_test (758 clips, 14 classes)
    k-shot:    train ten more epochs on few_shot_train[k], choose on seen_val, test on few_shot_test[k]

The two test sets differ. Harp, bell and squirrel have no few-shot lists, and few_shot_train[k] with few_shot_test[k]
are the other 543 unseen clips: a 0-shot score on zero_shot_test is no base line for a k-shot score on few_shot_test[k].

`python -m gavs_lib.data.v3 FOLDER` checks a folder of the published CSVs and prints what each list holds.
"""

import argparse
import math
import os
import pathlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from gavs_lib.data.avsbench import COLUMNS, read_rows, tokens
from gavs_lib.data.shots import SHOTS, draw_shots, seeded_order

SUBSETS = ("v1m", "v2")
UNSEEN_TOKENS = (
    "guzheng", "harp", "emergency-car", "bell", "baby", "squirrel", "tiger", "helicopter", "clock", "leopard", "hen",
    "donkey", "girl", "boy",
)  # fmt: skip
UNSEEN_PAIRS = ("girl_boy",)
WITHOUT_SHOTS = ("harp", "bell", "squirrel")  # tested zero-shot only
VALIDATION_SHARE = 0.1  # of the seen clips in the published lists: 535 of 5,342, rounded up


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
            "lists leave it so. Join them on uid with metadata.csv first: read_v3 and AVSBench.from_rows do."
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


@dataclass(frozen=True)
class V3Lists:
    """The lists of AVS-V3, as tables that `AVSBench.from_rows` takes.

    Every table has the columns of `metadata.csv` (vid, uid, s_min, s_sec, a_obj, split, label) with nothing left empty;
    its `split` is the list's name: "seen_train", "seen_val", "v3_0_shot_test", "v3_1_shot_train", "v3_1_shot_test", ….

    Attributes:
        origin: "published", or "derived, not the published lists (seed 0)". Report it with every score.
        seen_train, seen_val: clips without any unseen class.
        zero_shot_test: all unseen clips, with the three classes that have no few-shot lists.
        few_shot_train: k -> k clips of each class; nested.
        few_shot_test: k -> the unseen clips of the same classes that are not in few_shot_train[k].
    """

    origin: str
    seen_train: pd.DataFrame
    seen_val: pd.DataFrame
    zero_shot_test: pd.DataFrame
    few_shot_train: Mapping[int, pd.DataFrame]
    few_shot_test: Mapping[int, pd.DataFrame]

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every list under the name that its `split` column has."""
        tables = {"seen_train": self.seen_train, "seen_val": self.seen_val, "v3_0_shot_test": self.zero_shot_test}
        for k in self.few_shot_train:
            tables |= {f"v3_{k}_shot_train": self.few_shot_train[k], f"v3_{k}_shot_test": self.few_shot_test[k]}
        return tables

    def counts(self) -> pd.DataFrame:
        """One row a list: its clips, how many are of v1m and of v2, and the classes that sound in them."""
        rows = {
            name: {
                "clips": len(table),
                **{subset: int((table["label"] == subset).sum()) for subset in SUBSETS},
                "classes": len({token for a_obj in table["a_obj"] for token in tokens(a_obj)}),
            }
            for name, table in self.tables().items()
        }
        return pd.DataFrame.from_dict(rows, orient="index")


def read_v3(folder: str | os.PathLike, metadata_csv: str | os.PathLike | None = None) -> V3Lists:
    """Read the published lists of AVS-V3, join them on uid with `metadata.csv`, and check them against its classes.

        <folder>/meta_v3_seen_train.csv  meta_v3_seen_val.csv  meta_v3_unseen.csv
        <folder>/v3_1_shot/train.csv  test.csv,  and v3_3_shot, v3_5_shot

    The few-shot files leave s_min, s_sec and a_obj empty, and call themselves v3_1_shot_train throughout; the join
    fills the former, and the name of the file counts instead of the latter.

    Args:
        folder: of these CSVs.
        metadata_csv: AVSBench-semantic's; default `metadata.csv` in the folder.

    Raises:
        FileNotFoundError: one of the files is missing.
        ValueError: a list names a clip twice, or one that `metadata.csv` lacks or describes otherwise; the seen or
            unseen clips are not those of `v3_split`; lists that must be nested or apart are not. Nothing is mended.
    """
    folder = pathlib.Path(folder)
    metadata_csv = folder / "metadata.csv" if metadata_csv is None else pathlib.Path(metadata_csv)
    files = {
        "seen_train": folder / "meta_v3_seen_train.csv",
        "seen_val": folder / "meta_v3_seen_val.csv",
        "v3_0_shot_test": folder / "meta_v3_unseen.csv",
    }
    for k in SHOTS:
        files |= {f"v3_{k}_shot_{part}": folder / f"v3_{k}_shot" / f"{part}.csv" for part in ("train", "test")}
    absent = [path for path in files.values() if not path.is_file()]
    if absent:
        raise FileNotFoundError(
            f"{absent[0]}: no such file ({len(absent)} of the {len(files)} lists of AVS-V3 are missing). Get them from "
            "GAVS's authors, or draw replacements with derive_v3(metadata_csv), which are not the published lists."
        )
    rule = v3_split(metadata_csv)
    known = _by_uid(metadata_csv)
    lists = _assemble("published", {name: _joined(path, name, known, metadata_csv) for name, path in files.items()})
    _check(lists, rule, folder)
    return lists


def derive_v3(metadata_csv: str | os.PathLike, seed: int = 0) -> V3Lists:
    """Draw lists like AVS-V3's from `metadata.csv` alone. They are not the published lists; `origin` says so.

    Zero-shot test clips follow from the classes and equal the published ones. Drawn are: a tenth of the seen clips,
    rounded up, for validation; and of every unseen class but harp, bell and squirrel the first k of its clips in which
    it sounds alone, in the order of `gavs_lib.data.shots`. With the published metadata.csv all lists have the published
    sizes.

    Args:
        metadata_csv: AVSBench-semantic's.
        seed: other seeds give other draws.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as `v3_split`, or too few clips of a class.
    """
    rule = v3_split(metadata_csv)
    seen, unseen = rule["seen"], rule["unseen"]
    if seen.empty or unseen.empty:
        raise ValueError(
            f"{metadata_csv}: {len(seen)} seen and {len(unseen)} unseen clips in v1m and v2; expected some of each. "
            "Is it AVSBench-semantic's metadata.csv?"
        )
    in_validation = seen.index.isin(seeded_order(seen["uid"].tolist(), seed)[: math.ceil(VALIDATION_SHARE * len(seen))])
    parts = unseen["a_obj"].map(tokens)
    pool = unseen[parts.map(set(WITHOUT_SHOTS).isdisjoint)]
    alone = pool[parts[pool.index].map(len) == 1]
    drawn = draw_shots(alone["uid"].tolist(), alone["a_obj"].tolist(), SHOTS, seed)
    tables = {"seen_train": seen[~in_validation], "seen_val": seen[in_validation], "v3_0_shot_test": unseen}
    for k, items in drawn.items():
        taken = pool.index.isin(alone.index[items])
        tables |= {f"v3_{k}_shot_train": pool[taken], f"v3_{k}_shot_test": pool[~taken]}
    tables = {name: table.assign(split=name).reset_index(drop=True) for name, table in tables.items()}
    return _assemble(f"derived, not the published lists (seed {seed})", tables)


def _assemble(origin: str, tables: Mapping[str, pd.DataFrame]) -> V3Lists:
    return V3Lists(
        origin,
        tables["seen_train"],
        tables["seen_val"],
        tables["v3_0_shot_test"],
        {k: tables[f"v3_{k}_shot_train"] for k in SHOTS},
        {k: tables[f"v3_{k}_shot_test"] for k in SHOTS},
    )


def _by_uid(metadata_csv: str | os.PathLike) -> dict[str, dict]:
    """The rows of v1m and v2 by uid, which names one clip there."""
    table = read_rows(metadata_csv)
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise ValueError(f"{metadata_csv}: column {', '.join(missing)} is missing; found {', '.join(table.columns)}.")
    table = table[table["label"].isin(SUBSETS)]
    twice = table.loc[table.duplicated("uid"), "uid"]
    if len(twice):
        raise ValueError(f"{metadata_csv}: clip {twice.iloc[0]!r} stands in v1m and v2 more than once; expected once.")
    return {row["uid"]: row for row in table[list(COLUMNS)].to_dict("records")}


def _joined(path: pathlib.Path, name: str, known: Mapping[str, dict], metadata_csv: pathlib.Path) -> pd.DataFrame:
    """The rows of `metadata.csv` that a list names, in the list's order."""
    listed = read_rows(path)
    if "uid" not in listed or listed.empty:
        raise ValueError(f"{path}: expected rows with a column 'uid'; found columns {list(listed.columns)}.")
    twice = listed.loc[listed.duplicated("uid"), "uid"]
    if len(twice):
        raise ValueError(f"{path}: clip {twice.iloc[0]!r} stands in it more than once. Take the file as published.")
    rows = []
    for given in listed.to_dict("records"):
        row = known.get(given["uid"])
        if row is None:
            raise ValueError(
                f"{path}: clip {given['uid']!r} is not among the v1m and v2 clips of {metadata_csv}. "
                "Is the metadata.csv complete?"
            )
        for column in ("a_obj", "label"):
            if given.get(column) and tokens(given[column]) != tokens(row[column]):
                raise ValueError(
                    f"{path}: clip {given['uid']!r} has {column} {given[column]!r}, {metadata_csv} says "
                    f"{row[column]!r}. Take both from one release."
                )
        rows.append({**row, "split": name})
    return pd.DataFrame(rows)


def _check(lists: V3Lists, rule: Mapping[str, pd.DataFrame], folder: pathlib.Path) -> None:
    """Are the lists those of the rule, apart where they must be, and nested where they must be?"""
    uids = {name: set(table["uid"]) for name, table in lists.tables().items()}
    _same(uids["v3_0_shot_test"], set(rule["unseen"]["uid"]), f"{folder / 'meta_v3_unseen.csv'}: the unseen clips")
    seen = f"{folder / 'meta_v3_seen_train.csv'} with meta_v3_seen_val.csv: the seen clips"
    _same(uids["seen_train"] | uids["seen_val"], set(rule["seen"]["uid"]), seen)
    _apart(uids, "seen_train", "seen_val", folder)
    pool = uids["v3_1_shot_train"] | uids["v3_1_shot_test"]
    strangers = pool - uids["v3_0_shot_test"]
    if strangers:
        raise ValueError(f"{folder / 'v3_1_shot'}: clip {min(strangers)!r} is not in meta_v3_unseen.csv.")
    smaller: set[str] = set()
    for k, table in lists.few_shot_train.items():
        _apart(uids, f"v3_{k}_shot_train", f"v3_{k}_shot_test", folder)
        _same(
            uids[f"v3_{k}_shot_train"] | uids[f"v3_{k}_shot_test"],
            pool,
            f"{folder / f'v3_{k}_shot'}: train and test together",
            "v3_1_shot",
        )
        if not smaller <= uids[f"v3_{k}_shot_train"]:
            raise ValueError(
                f"{folder / f'v3_{k}_shot' / 'train.csv'}: clip {min(smaller - uids[f'v3_{k}_shot_train'])!r} of a "
                "smaller few-shot list is not in it; expected nested lists."
            )
        smaller = uids[f"v3_{k}_shot_train"]
        uneven = {name: count for name, count in table["a_obj"].value_counts().items() if count != k}
        if uneven:
            name, count = min(uneven.items())
            raise ValueError(
                f"{folder / f'v3_{k}_shot' / 'train.csv'}: {count} clips of {name!r}; expected {k} of each class."
            )


def _same(found: set[str], expected: set[str], what: str, reference: str = "the rule by class") -> None:
    if found != expected:
        odd = min(found ^ expected)
        raise ValueError(
            f"{what} are {len(found)}, by {reference} {len(expected)}: {len(found - expected)} too many, "
            f"{len(expected - found)} missing, such as {odd!r}. Take lists and metadata.csv from one release."
        )


def _apart(uids: Mapping[str, set[str]], first: str, second: str, folder: pathlib.Path) -> None:
    both = uids[first] & uids[second]
    if both:
        raise ValueError(f"{folder}: {len(both)} clips are in {first} and in {second}, such as {min(both)!r}.")


def main(arguments: list[str] | None = None) -> int:
    """Print what the lists of a folder hold; 0 when they are whole and consistent, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m gavs_lib.data.v3",
        description="Check the published lists of AVS-V3 and count their clips; with metadata.csv alone, derive lists.",
    )
    parser.add_argument("folder", type=pathlib.Path, help="holds meta_v3_*.csv and v3_*_shot/, or metadata.csv alone")
    parser.add_argument("--metadata", type=pathlib.Path, help="AVSBench-semantic's metadata.csv; default in the folder")
    given = parser.parse_args(arguments)
    metadata_csv = given.metadata or given.folder / "metadata.csv"
    published = [*given.folder.glob("meta_v3_*.csv"), *given.folder.glob("v3_*_shot")]
    try:
        split = v3_split(metadata_csv)
        lists = read_v3(given.folder, metadata_csv) if published else derive_v3(metadata_csv)
    except (OSError, ValueError) as error:
        print(error)
        return 1
    print(f"by class, from {metadata_csv}: " + ", ".join(f"{len(table)} {name}" for name, table in split.items()))
    print(f"lists: {lists.origin}")
    print(lists.counts().to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
