"""Are the data sets in a folder whole? `python -m gavs_lib.data.check ROOT` recognises them and says what is wrong.

ROOT is the folder of a data set, or one that holds several, at most two folders down:

    AVSBench-semantic   metadata.csv beside v1s/, v1m/, v2/, or some of them
    S4, MS3             s4_meta_data.csv beside s4_data/, ms3_meta_data.csv beside ms3_data/ (AVSBench-object)
    AVS-V3              meta_v3_*.csv and v3_*_shot/: lists, whose clips are AVSBench-semantic's
    VGG-SS              vggss.json beside frames/ and audio/, or videos/

Looked at are the beginning and the end of every file that the data set's own list names. This finds what is missing,
empty, cut short or of another size, ten thousand clips in some seconds. Damage in the middle of a file, class numbers
that are not in label2idx.json and sounds that are silent or not finite are found with `--deep`, which decodes all of
them. (Videos are decoded with `--deep` only.)

Exit code 0: everything listed can be read. 1: something cannot; each file is named, with what to do.
"""

import argparse
import contextlib
import functools
import os
import pathlib
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd
import soundfile
from PIL import Image
from tqdm.auto import tqdm

from gavs_lib.data.avsbench import (
    MAP,
    SUBSETS,
    AVSBench,
    ClipFiles,
    missing_from_wav,
    open_existing,
    other_size,
    read_audio,
    read_metadata,
    read_semantic,
    semantic_paths,
)
from gavs_lib.data.avsobject import MS3, S4, SPLITS
from gavs_lib.data.v3 import read_v3
from gavs_lib.data.vggss import LAYOUT, VGGSS, refuse_if_short

# Clips in each published list: AVSBench's and VGG-SS's papers, and AVS-V3's files.
PUBLISHED = {
    **{("v1s", "train"): 3452, ("v1s", "val"): 740, ("v1s", "test"): 740},
    **{("v1m", "train"): 296, ("v1m", "val"): 64, ("v1m", "test"): 64},
    **{("v2", "train"): 4750, ("v2", "val"): 500, ("v2", "test"): 750},
    **{("s4", "train"): 3452, ("s4", "val"): 740, ("s4", "test"): 740},
    **{("ms3", "train"): 296, ("ms3", "val"): 64, ("ms3", "test"): 64},
    **{("v3", "seen_train"): 4807, ("v3", "seen_val"): 535, ("v3", "v3_0_shot_test"): 758},
    **{("v3", "v3_1_shot_train"): 11, ("v3", "v3_1_shot_test"): 532},
    **{("v3", "v3_3_shot_train"): 33, ("v3", "v3_3_shot_test"): 510},
    **{("v3", "v3_5_shot_train"): 55, ("v3", "v3_5_shot_test"): 488},
    ("vggss", "test"): 5158,
}
SHOWN = 20  # messages of a kind that are printed

_PNG_END, _JPEG_END = b"\0\0\0\0IEND\xaeB`\x82", b"\xff\xd9"
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
_NEVER_ENTERED = {*SUBSETS, *LAYOUT, "s4_data", "ms3_data"}  # thousands of clips, and no data set
_READERS = 16  # at once: on a disk in the net, a file is waited for much longer than it is looked at


@dataclass
class Report:
    """What `check_folder` found.

    Attributes:
        found: the data sets that were recognised, and where.
        counts: clips by part and split: listed, whole on disk, in the published list (missing where there is none), and
            the folder below the root, which tells several copies apart. Of AVS-V3, which is lists alone, all are whole.
        missing, unreadable, mismatched: one message for each file (or folder, or list) that is not there, that cannot
            be read, or that is of another size than the rest of its clip.
        remarks: what is odd but hinders nothing.
    """

    found: list[str]
    counts: pd.DataFrame
    missing: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """All that is missing, unreadable or mismatched; none when everything listed is whole."""
        return self.missing + self.unreadable + self.mismatched


Findings = list[tuple[str, str]]  # the Report's list that a message belongs to, and the message


def check_folder(root: str | os.PathLike, progress: bool = False, deep: bool = False) -> Report:
    """Recognise the data sets in a folder, and look at every file that they list.

    Args:
        root: the folder of a data set, or one that holds several, at most two folders down.
        progress: show progress bars.
        deep: decode every file, instead of looking at its beginning and its end.

    Raises:
        FileNotFoundError: no such folder, or no data set in it; the message says what is there instead.
    """
    root = pathlib.Path(root)
    if not root.is_dir():
        unpack = ": unpack it, and give the folder" if root.suffix in _ARCHIVES and root.is_file() else ""
        raise FileNotFoundError(f"{root}: no such folder{unpack}.")
    survey = _survey(root)
    places = [(name, folder) for name in _SIGNS for folder, inside in survey.items() if _SIGNS[name](inside)]
    if not places:
        raise FileNotFoundError(_advice(root, survey))
    report = Report(found=[], counts=pd.DataFrame())
    counts = []
    look = functools.partial(_look_at_all, report=report, progress=progress, deep=deep)
    for name, folder in places:
        try:
            if name == "AVSBench-semantic":
                found = _check_semantic(folder, report, look)
            elif name in _OBJECT:
                found = _check_object(_OBJECT[name], folder, report, look)
            elif name == "AVS-V3":
                beside = [other for kind, other in places if kind == "AVSBench-semantic"]
                found = _check_v3(folder, [folder, *beside], report)
            else:
                found = _check_vggss(folder, report, look)
            counts.append(found.assign(folder=folder.relative_to(root).as_posix()))
        except FileNotFoundError as error:
            report.missing.append(str(error))
        except ValueError as error:
            report.unreadable.append(str(error))
    if counts:
        table = pd.concat(counts)
        table = table.groupby(["label", "split", "folder"])["whole"].agg(listed="size", whole="sum")
        report.counts = table.reset_index("folder").assign(
            published=lambda each: pd.array([PUBLISHED.get(place) for place in each.index], dtype="Int64")
        )[["listed", "whole", "published", "folder"]]
    return report


# ------------------------------------------------------------------------------------------ what is it?

_OBJECT = {"S4": S4, "MS3": MS3}
# Data set -> is it this one that a folder with such names holds? In the order in which they are checked.
_SIGNS: dict[str, Callable[[set[str]], bool]] = {
    "AVSBench-semantic": lambda inside: bool(inside & {"v1s", "v1m"}) or {"metadata.csv", "v2"} <= inside,
    "S4": lambda inside: bool(inside & {"s4_meta_data.csv", "s4_data"}),
    "MS3": lambda inside: bool(inside & {"ms3_meta_data.csv", "ms3_data"}),
    # The toy shop's lists, which have one more, are its own.
    "AVS-V3": lambda inside: (
        any(name.startswith("meta_v3_") or (name.startswith("v3_") and name.endswith("_shot")) for name in inside)
        and "meta_v3_unseen_val.csv" not in inside
    ),
    "VGG-SS": lambda inside: "vggss.json" in inside,
}


def _survey(root: pathlib.Path) -> dict[pathlib.Path, set[str]]:
    """What is in a folder, in its folders, and in theirs."""
    survey: dict[pathlib.Path, set[str]] = {}
    level = [root]
    for _ in range(3):
        below = []
        for folder in level:
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except PermissionError:
                continue
            survey[folder] = {entry.name for entry in entries}
            below += [
                folder / entry.name
                for entry in entries
                if entry.name not in _NEVER_ENTERED and entry.name[0] != "." and entry.is_dir()
            ]
        level = below
    return survey


def _advice(root: pathlib.Path, survey: Mapping[pathlib.Path, set[str]]) -> str:
    """What to say of a folder in which nothing was recognised."""
    for parent in root.absolute().parents:
        inside = {path.name for path in parent.iterdir()} if os.access(parent, os.R_OK) else set()
        for name, sign in _SIGNS.items():
            if sign(inside):
                return f"{root}: lies within {name}, {parent}. Check that folder: it holds the list of the clips."
    archives = [str(folder / name) for folder, inside in survey.items() for name in sorted(inside) if _packed(name)]
    if archives:
        return (
            f"{root}: no data set was recognised, but {len(archives)} archives, such as {archives[0]}. Unpack them "
            "where they lie, and check again."
        )
    if "metadata.csv" in survey.get(root, ()):
        return f"{root}: has metadata.csv, but neither v1s/, v1m/ nor v2/ beside it. Unpack or download these parts."
    return (
        f"{root}: no data set was recognised, there or up to two folders down. Expected metadata.csv beside v1s/, v1m/ "
        "and v2/ (AVSBench-semantic), Single-source/ and Multi-sources/ (S4, MS3), meta_v3_*.csv (AVS-V3) or "
        f"vggss.json (VGG-SS); found {', '.join(sorted(survey.get(root, ()))[:5]) or 'nothing'}."
    )


def _packed(name: str) -> bool:
    return name.lower().endswith(_ARCHIVES)


# ------------------------------------------------------------------------------------------ each data set
# Each check says in the report what it found, and returns a table of the clips listed: label, split, whole.


def _check_semantic(root: pathlib.Path, report: Report, look: Callable) -> pd.DataFrame:
    there = [subset for subset in SUBSETS if (root / subset).is_dir()]
    report.found.append(f"AVSBench-semantic ({', '.join(there)}): {root}")
    listed = read_metadata(root)
    if listed.empty:
        raise ValueError(f"{root / 'metadata.csv'}: lists no clips. Take the file as published.")
    dataset = AVSBench.from_rows(root, listed)
    table, index = dataset.rows, {}
    if (root / "label2idx.json").is_file():
        try:
            index = dataset.index
        except ValueError as error:
            report.unreadable.append(str(error))
    else:
        report.remarks.append(f"{root / 'label2idx.json'} is missing; only class numbers (semantic=True) need it.")
    for subset in SUBSETS:
        listed = set(table.loc[table["label"] == subset, "uid"])
        if subset not in there:
            if listed:
                report.missing.append(_absent(root / subset, len(listed), "metadata.csv"))
            continue
        folders = {entry.name for entry in os.scandir(root / subset) if entry.is_dir() and entry.name[0] != "."}
        extra = sorted(folders - listed)
        if extra:
            report.remarks.append(f"{root / subset}: {len(extra)} folders are not in metadata.csv, such as {extra[0]}.")
    here = table["label"].isin(there)
    rows = table[here].to_dict("records")
    files = [dataset.files(row) for row in rows]
    maps = [semantic_paths(each.folder, row["labelled"]) for each, row in zip(files, rows)]
    bare = [each.folder.is_dir() and not paths[0].parent.is_dir() for each, paths in zip(files, maps)]
    if any(bare):
        report.remarks.append(
            f"{root}: {sum(bare)} clips have no labels_semantic; only class numbers (semantic=True) need it."
        )
    clips = [
        _Clip(each, row, [] if without else paths, index, "metadata.csv")
        for each, row, paths, without in zip(files, rows, maps, bare)
    ]
    whole = pd.Series(False, index=table.index)
    whole[here] = look(_look_at_clip, clips)
    return table[["label", "split"]].assign(whole=whole)


def _check_object(kind: type[S4 | MS3], root: pathlib.Path, report: Report, look: Callable) -> pd.DataFrame:
    report.found.append(f"{kind.__name__} of AVSBench-object: {root}")
    dataset = kind(root, SPLITS)
    name = dataset.table_path(root).name
    parts = [dataset.data_path / part for part in ("visual_frames", "gt_masks", "audio_wav")]
    absent = [_absent(part, len(dataset), name) for part in parts if not part.is_dir()]
    report.missing += absent
    clips = [_Clip(dataset.files(row), row, [], {}, name) for row in dataset.rows.to_dict("records")]
    return dataset.rows[["label", "split"]].assign(whole=False if absent else look(_look_at_clip, clips))


def _check_v3(folder: pathlib.Path, semantic: Sequence[pathlib.Path], report: Report) -> pd.DataFrame:
    report.found.append(f"AVS-V3 (lists, whose clips are AVSBench-semantic's): {folder}")
    metadata = [each / "metadata.csv" for each in semantic if (each / "metadata.csv").is_file()]
    if not metadata:
        raise FileNotFoundError(
            f"{folder / 'metadata.csv'}: no such file, here or beside v1s/, v1m/, v2/. AVS-V3's lists are joined with "
            "AVSBench-semantic's: copy it here."
        )
    lists = read_v3(folder, metadata[0])
    return pd.concat([table.assign(label="v3", whole=True) for table in lists.tables().values()])


def _check_vggss(root: pathlib.Path, report: Report, look: Callable) -> pd.DataFrame:
    with_files = any((root / name).is_dir() for name in LAYOUT)
    dataset = VGGSS(root / "vggss.json", root if with_files else None)
    report.found.append(f"VGG-SS ({len(dataset)} entries, {len(dataset.classes)} classes): {root}")
    flaws = len(dataset.flaws())
    if flaws:
        report.remarks.append(
            f"{root / 'vggss.json'}: {flaws} boxes are absurd or degenerate, as in the published file; `python -m "
            "gavs_lib.data.vggss` lists them."
        )
    if with_files:
        whole = look(_look_at_entry, [(dataset, i) for i in range(len(dataset))])
    else:
        whole = False
        report.missing.append(
            f"{root}: neither frames/ and audio/ nor videos/ beside vggss.json; expected the pictures and sounds of "
            "VGG-Sound's clips. Without them there are boxes alone."
        )
    return pd.DataFrame({"label": "vggss", "split": "test", "whole": whole}, index=range(len(dataset)))


def _absent(folder: pathlib.Path, clips: int, table: str) -> str:
    """What to say of a part of a data set that is not there."""
    packed = sorted(path.name for path in folder.parent.glob(f"{folder.name}*") if _packed(path.name))
    what_to_do = f"Unpack {packed[0]}, which lies there." if packed else "Download that part of the data set."
    return f"{folder}: no such folder; {table} lists {clips} clips of it. {what_to_do}"


# ------------------------------------------------------------------------------------------ each clip


class _Clip(NamedTuple):
    """A clip to be looked at."""

    files: ClipFiles
    row: dict
    maps: list[pathlib.Path]  # of class numbers
    index: dict[str, int]  # of label2idx.json
    table: str  # the name of the CSV that lists it


def _look_at_all(look: Callable, clips: Sequence, report: Report, progress: bool, deep: bool) -> list[bool]:
    """Look at many clips at once; whether each of them is whole."""
    whole = []
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(functools.partial(look, deep=deep), clips)
        for findings in tqdm(found, "looking at clips", len(clips), unit="clip", disable=not progress):
            for kind, message in findings:
                getattr(report, kind).append(message)
            whole.append(all(kind == "remarks" for kind, _ in findings))
    return whole


def _look_at_clip(clip: _Clip, deep: bool) -> Findings:
    files, row = clip.files, clip.row
    if not files.folder.is_dir():
        message = (
            f"{files.folder}: the clip's folder is missing; {clip.table} lists it ({row['label']}, {row['split']}). "
            "Unpack or download that part again."
        )
        return [("missing", message)]
    findings: Findings = []
    first = None
    for what, paths in {"frame": files.frames, "mask": files.masks, MAP: clip.maps}.items():
        for path in paths:
            with _noted(findings):
                size = picture_size(path, what, deep)
                first = first or size
                if size != first:
                    findings.append(("mismatched", other_size(path, what, size, first)))
                if deep and what == MAP and clip.index:
                    read_semantic(path, clip.index)
    with _noted(findings):
        seconds, silent = sound_length(files.audio, deep)
        if seconds < len(files.frames) - 1:
            message = f"{files.audio}: lasts {seconds:.2f} s of {len(files.frames)}; the rest counts as silence."
            findings.append(("remarks", message))
        if silent:
            findings.append(("remarks", f"{files.audio}: is silent from end to end."))
    return findings


def _look_at_entry(entry: tuple[VGGSS, int], deep: bool) -> Findings:
    dataset, i = entry
    findings: Findings = []
    with _noted(findings):
        files = dataset.files(i)
        if deep:
            _ = dataset[i]
        elif len(files) == 2:
            picture_size(files[0], "picture", deep)
            refuse_if_short(files[1], sound_length(files[1], deep)[0])
        elif files[0].stat().st_size == 0:
            raise ValueError(f"{files[0]}: the video is empty. Download it again.")
    return findings


@contextlib.contextmanager
def _noted(findings: Findings) -> Iterator[None]:
    """What a reader raises becomes a finding."""
    try:
        yield
    except FileNotFoundError as error:
        findings.append(("missing", str(error)))
    except (OSError, ValueError) as error:
        findings.append(("unreadable", str(error)))


def picture_size(path: pathlib.Path, what: str, deep: bool) -> tuple[int, int]:
    """(width, height) of a picture file. One that begins and ends as it should is decoded only if `deep`.

    Raises:
        FileNotFoundError, ValueError: as the readers of `avsbench`.
    """
    if not deep:
        try:
            with path.open("rb") as file:
                head = file.read(24)
                if head.startswith(b"\x89PNG"):  # most files are; Pillow would take three times as long
                    size, end = struct.unpack(">II", head[16:]), _PNG_END
                else:
                    size, end = Image.open(file).size, _JPEG_END
                file.seek(-len(end), os.SEEK_END)
                if file.read() == end:
                    return size
        except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError):
            pass  # decoding says what is wrong with it, if anything is
    return open_existing(path, what).size


def sound_length(path: pathlib.Path, deep: bool) -> tuple[float, bool]:
    """Seconds of a sound file, and whether it is known to be silent. It is decoded only if `deep`.

    Raises:
        FileNotFoundError, ValueError: as `avsbench.read_audio`.
    """
    if not deep:
        try:
            header = soundfile.info(path)
            if header.frames and missing_from_wav(path) <= 0:
                return header.duration, False
        except (OSError, soundfile.SoundFileError):
            pass  # as above
    samples, sample_rate = read_audio(path)
    return len(samples) / sample_rate, not samples.any()


# ------------------------------------------------------------------------------------------ the command


def _print(heading: str, messages: Sequence[str]) -> None:
    if messages:
        print(f"\n{heading}: {len(messages)}")
        print(*(f"  {message}" for message in messages[:SHOWN]), sep="\n")
        if len(messages) > SHOWN:
            print(f"  ... and {len(messages) - SHOWN} more")


def main(arguments: list[str] | None = None) -> int:
    """Print what `check_folder` finds; 0 when everything listed is whole, else 1."""
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.data.check", description=__doc__.splitlines()[0])
    parser.add_argument("root", help="the folder of a data set, or one that holds several")
    parser.add_argument("--deep", action="store_true", help="decode every file, instead of looking at its two ends")
    given = parser.parse_args(arguments)
    try:
        report = check_folder(given.root, progress=sys.stderr.isatty(), deep=given.deep)
    except OSError as error:
        print(error)
        return 1
    print(*report.found, sep="\n")
    if len(report.counts):
        print("\n" + report.counts.to_string(na_rep="-"))
        if (report.counts["listed"] != report.counts["published"].fillna(0)).any():
            print("Not all are the published lists: a part of them, another release, or a set of your own.")
    _print("note", report.remarks)
    for kind in ("missing", "unreadable", "mismatched"):
        _print(kind, getattr(report, kind))
    if report.problems:
        print(f"\n{given.root}: {len(report.problems)} problems. What is listed as whole can be used already.")
        return 1
    print(f"\n{given.root}: whole" + ("." if given.deep else ", by the two ends of each file; --deep decodes them."))
    return 0


if __name__ == "__main__":
    sys.exit(main())
