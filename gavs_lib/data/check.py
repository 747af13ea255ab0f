"""Is a downloaded AVSBench-semantic folder whole? `python -m gavs_lib.data.check ROOT` reads every file and says.

Exit code 0: everything that `metadata.csv` lists can be read. 1: something cannot; each file is named, with what to do.
"""

import argparse
import os
import pathlib
import sys
from dataclasses import dataclass, field

import pandas as pd
from tqdm.auto import tqdm

from gavs_lib.data.avsbench import SUBSETS, frame_paths, mask_paths, read_audio, read_frame, read_mask, read_metadata


@dataclass
class Report:
    """What `check_folder` found.

    Attributes:
        counts: clips by subset and split: listed in `metadata.csv`, and whole on disk.
        problems: one message for each file, or clip folder, that is missing or cannot be used; none when it is whole.
        remarks: what is odd but hinders nothing.
    """

    counts: pd.DataFrame
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def check_folder(root: str | os.PathLike, progress: bool = False) -> Report:
    """Read every frame, mask and sound that `<root>/metadata.csv` lists.

    Raises:
        FileNotFoundError, ValueError: `metadata.csv` itself is missing or broken (see `read_metadata`).
    """
    root = pathlib.Path(root)
    table = read_metadata(root)
    report = Report(counts=pd.DataFrame())
    whole = []
    for row in tqdm(table.to_dict("records"), desc="reading", unit="clip", disable=not progress):
        before = len(report.problems)
        _check_clip(root / row["label"] / row["uid"], row, report)
        whole.append(len(report.problems) == before)
    report.counts = (
        table.assign(whole=whole).groupby(["label", "split"]).agg(listed=("uid", "size"), whole=("whole", "sum"))
    )
    for subset in SUBSETS:
        listed = set(table.loc[table["label"] == subset, "uid"])
        folder = root / subset
        extra = (
            sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name not in listed and p.name[0] != ".")
            if folder.is_dir()
            else []
        )
        if extra:
            report.remarks.append(f"{folder}: {len(extra)} folders are not in metadata.csv, such as {extra[0]}.")
    if not (root / "label2idx.json").is_file():
        report.remarks.append(f"{root / 'label2idx.json'} is missing; only semantic (by class) masks need it.")
    return report


def _check_clip(folder: pathlib.Path, row: dict, report: Report) -> None:
    if not folder.is_dir():
        report.problems.append(
            f"{folder}: the clip's folder is missing; metadata.csv lists it ({row['label']}, {row['split']}). "
            "Unpack or download that subset again."
        )
        return
    seconds = SUBSETS[row["label"]]
    masks = dict(enumerate(mask_paths(folder, row["labelled"])))
    first_size = None
    for i, path in enumerate(frame_paths(folder, seconds)):
        try:
            frame = read_frame(path)
            first_size = first_size or frame.shape
            if frame.shape != first_size:
                report.problems.append(
                    f"{path}: frame is {frame.shape[1]}x{frame.shape[0]}, the clip's first is "
                    f"{first_size[1]}x{first_size[0]}; expected one size in a clip. Extract the clip's frames again."
                )
            if i in masks:
                read_mask(masks.pop(i), frame)
        except (OSError, ValueError) as error:
            report.problems.append(str(error))
    # Masks whose frame could not be read are still to be there.
    report.problems += [f"{path}: the mask is missing." for path in masks.values() if not path.is_file()]
    try:
        samples, sample_rate = read_audio(folder / "audio.wav")
    except (OSError, ValueError) as error:
        report.problems.append(str(error))
        return
    if len(samples) < (seconds - 1) * sample_rate:
        report.remarks.append(
            f"{folder / 'audio.wav'}: lasts {len(samples) / sample_rate:.2f} s of {seconds}; "
            "the rest counts as silence."
        )
    if not samples.any():
        report.remarks.append(f"{folder / 'audio.wav'}: is silent from end to end.")


def main(arguments: list[str] | None = None) -> int:
    """Print what `check_folder` finds; 0 when the folder is whole, else 1."""
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.data.check", description=__doc__.splitlines()[0])
    parser.add_argument("root", help="the folder that holds metadata.csv, v1s/, v1m/ and v2/")
    root = parser.parse_args(arguments).root
    try:
        report = check_folder(root, progress=sys.stderr.isatty())
    except (OSError, ValueError) as error:
        print(error)
        return 1
    print(report.counts.to_string() if len(report.counts) else f"{root}: metadata.csv lists no clip.")
    for remark in report.remarks:
        print(f"note: {remark}")
    for problem in report.problems:
        print(f"broken: {problem}")
    if report.problems or not len(report.counts):
        print(f"{root}: {len(report.problems)} problems. What is listed as whole can be used already.")
        return 1
    print(f"{root}: whole.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
