"""AVSBench-object, the first release: S4 and MS3 as they lie on a user's disk, one clip at a time.

    <root>/Single-source/s4_meta_data.csv     name, start, category, split
    <root>/Single-source/s4_data/…            below, S4 has <split>/<category>/ before every <name>, as here:
        visual_frames/test/<category>/<name>/<name>_1.png … <name>_5.png   one RGB frame a second, 224 x 224
        gt_masks/test/<category>/<name>/<name>_1.png … <name>_5.png        white where something sounds
        audio_wav/test/<category>/<name>.wav                               the sound of the five seconds

    <root>/Multi-sources/ms3_meta_data.csv    name, split
    <root>/Multi-sources/ms3_data/…
        visual_frames/<name>/<name>.mp4_1.png … <name>.mp4_5.png           without <split>, and with .mp4
        gt_masks/<split>/<name>/<name>_1.png … <name>_5.png
        audio_wav/<split>/<name>.wav

S4 (one source) and MS3 (several) are what most papers report. AVSBench-semantic holds the same videos as v1s and v1m,
at their own size and with revised labels (`gavs_lib.data.avsbench`): scores on one are not scores on the other. In the
training part of S4 only the first frame of a clip is labelled. The released `audio_log_mel/*.pkl` are pickles, which
can run code when they are opened; they are never opened here, the sound is in the wav files.
"""

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
import torch

from gavs_lib.data.avsbench import Clip, ClipFiles, is_plain_name, key_of_files, read_files, read_rows, select

SPLITS = ("train", "val", "test")
SECONDS = 5  # of every clip, and frames


class _Part(torch.utils.data.Dataset):
    """What S4 and MS3 share. They say where a clip's files are, and complete the table by a_obj and labelled."""

    subset: str  # "s4": s4_meta_data.csv beside s4_data
    place: str  # the folder of both
    columns: tuple[str, ...]  # of the CSV besides the first one, the name

    def __init__(self, root: str | os.PathLike, split: str | Sequence[str], uids: Iterable[str] | None = None):
        splits = (split,) if isinstance(split, str) else tuple(split)
        unknown = [name for name in splits if name not in SPLITS]
        if unknown or not splits:
            raise ValueError(f"split is {split!r}; {self.subset} has {', '.join(SPLITS)}.")
        path = self.table_path(root)
        self.root = path.parent
        table = self._read_table(path)
        rows = table[table["split"].isin(splits)]
        if rows.empty:
            raise ValueError(f"{path}: no row of split {' or '.join(splits)}. Take the file as published.")
        if uids is not None:
            rows = select(rows, uids, f"{self.subset} {' or '.join(splits)}")
        self.rows = rows.reset_index(drop=True)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Clip:
        row = self.rows.iloc[index]
        return read_files(self.files(row), row)

    def key(self, index: int) -> str:
        """What tells a clip from every other, without reading it; see `avsbench.key_of_files`."""
        row = self.rows.iloc[index]
        return key_of_files(self.files(row), row["a_obj"])

    @classmethod
    def table_path(cls, root: str | os.PathLike) -> pathlib.Path:
        """Where the CSV that lists the clips is looked for."""
        root = pathlib.Path(root)
        return (root / cls.place if (root / cls.place).is_dir() else root) / f"{cls.subset}_meta_data.csv"

    @property
    def data_path(self) -> pathlib.Path:
        """The folder that holds `visual_frames`, `gt_masks` and `audio_wav`."""
        return self.root / f"{self.subset}_data"

    def _read_table(self, path: pathlib.Path) -> pd.DataFrame:
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file. Expected AVSBench-object: a folder with {self.place}/, or {self.place} itself, "
                f"with {path.name} beside {self.subset}_data/. `python -m gavs_lib.data.check ROOT` says what a folder "
                "has."
            )
        table = read_rows(path, ("name", *self.columns))
        missing = [column for column in self.columns if column not in table]
        if missing:
            raise ValueError(f"{path}: column {', '.join(missing)} is missing; found {', '.join(table.columns)}.")
        table = table.assign(uid=table.iloc[:, 0], label=self.subset)  # every public reader takes column 0 for the name
        for column in ("uid", *self.columns):
            for name in table[column]:
                if not is_plain_name(name):
                    raise ValueError(
                        f"{path}: {column} {name!r} is no plain folder name; it could lead out of the data. "
                        "Correct the row."
                    )
        for row in table[~table["split"].isin(SPLITS)].itertuples():
            raise ValueError(f"{path}: clip {row.uid!r} has split {row.split!r}; expected {', '.join(SPLITS)}.")
        for row in table[table.duplicated(["uid", "split"])].itertuples():
            raise ValueError(f"{path}: clip {row.uid!r} stands in {row.split} more than once. Remove the doubled row.")
        return self._described(table)


class S4(_Part):
    """The clips of S4, one source each, as `Clip`; files are read when a clip is asked for.

    A clip's `a_obj` is its category written as AVSBench-semantic writes a class, with "-" for "_" (so that `tokens`
    takes "male_speech" for one class, not for two).

    Args:
        root: the folder that holds `Single-source`, or `Single-source` itself.
        split: "train", "val" or "test", or several of them.
        uids: keep only these clips, in this order; default all, in the order of `s4_meta_data.csv`.

    Attributes:
        rows: table with the columns of the CSV, and uid (its first column), label ("s4"), a_obj, and labelled: how many
            frames of the clip, from the first on, have a mask.

    Raises:
        FileNotFoundError: no `s4_meta_data.csv`; on access, a clip's file is missing.
        ValueError: an unknown split or uid, a table that is not S4's, a name that is a path; on access, a file that
            cannot be read, a mask of another size than its frame, a sound that is empty or not finite. The message
            names the file.
    """

    subset, place, columns = "s4", "Single-source", ("category", "split")

    def _described(self, table: pd.DataFrame) -> pd.DataFrame:
        labelled = table["split"].map({"train": 1, "val": SECONDS, "test": SECONDS})
        return table.assign(a_obj=table["category"].str.replace("_", "-"), labelled=labelled)

    def files(self, row: Mapping) -> ClipFiles:
        """Where the files of a clip, one of `rows`, are looked for."""
        name, below = row["uid"], pathlib.Path(row["split"], row["category"])
        frames, masks = (self.data_path / kind / below / name for kind in ("visual_frames", "gt_masks"))
        return ClipFiles(
            frames,
            [frames / f"{name}_{second}.png" for second in range(1, SECONDS + 1)],
            [masks / f"{name}_{second}.png" for second in range(1, row["labelled"] + 1)],
            self.data_path / "audio_wav" / below / f"{name}.wav",
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The `a_obj` that occur in these clips, sorted: 23 in the published S4."""
        return tuple(sorted(set(self.rows["a_obj"])))


class MS3(_Part):
    """The clips of MS3, several sources each, as `Clip`; files are read when a clip is asked for.

    The published table names no classes, so a clip's `a_obj` is "".

    Args:
        root: the folder that holds `Multi-sources`, or `Multi-sources` itself.
        split: "train", "val" or "test", or several of them.
        uids: keep only these clips, in this order; default all, in the order of `ms3_meta_data.csv`.

    Attributes:
        rows: table with the columns of the CSV, and uid (its first column), label ("ms3"), a_obj ("") and labelled (5).

    Raises:
        FileNotFoundError, ValueError: as `S4`.
    """

    subset, place, columns = "ms3", "Multi-sources", ("split",)

    def _described(self, table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(a_obj="", labelled=SECONDS)

    def files(self, row: Mapping) -> ClipFiles:
        """Where the files of a clip, one of `rows`, are looked for."""
        name, data = row["uid"], self.data_path
        frames, masks = data / "visual_frames" / name, data / "gt_masks" / row["split"] / name
        return ClipFiles(
            frames,
            [frames / f"{name}.mp4_{second}.png" for second in range(1, SECONDS + 1)],
            [masks / f"{name}_{second}.png" for second in range(1, SECONDS + 1)],
            data / "audio_wav" / row["split"] / f"{name}.wav",
        )
