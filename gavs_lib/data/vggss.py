"""VGG-SS: boxes around what sounds, in 5,158 pictures of VGG-Sound (Chen et al., CVPR 2021). Made for testing only.

    vggss.json   [{"file": "zpWuikVorYg_000032", "class": "elk bugling", "bbox": [[xmin, ymin, xmax, ymax], ...]}, ...]

    <root>/frames/<file>.jpg    the annotated picture (or .jpeg, .png), with
    <root>/audio/<file>.wav     the sound of the whole clip (or .flac): how published code for VGG-SS keeps it;
    <root>/videos/<file>.mp4    or the clip itself (or .mkv, .webm), used where picture or sound is missing

A VGG-Sound clip lasts 10 s, and the frame in its middle is annotated, at 5 s (`MOMENT`). How the papers let their
models hear differs (Chen et al. the whole clip, later code 3 or 5 s of it) or is not said (GAVS). An item here is one
second: the picture at 5 s, and the sound from 4.5 to 5.5 s.

**Ground truth** is the union of the filled boxes. Coordinates are shares of width and height; as in the published
evaluation each corner is drawn at int(224 * max(x, 0)) of a 224 x 224 map. Some boxes have flaws, and none is mended:

* *absurd*: a coordinate lies outside the picture (below 0, above 1) or is not finite. The box is cut at the picture's
  border; with a coordinate that is not finite it is left out.
* *degenerate*: the box, cut, covers no pixel of the 224 x 224 map, and adds nothing.

An entry of which nothing is left keeps its place, with an empty ground truth: it scores 0 whatever is predicted, as in
the published evaluation. The published file has 12 absurd boxes (down to -2.9e16), 18 degenerate ones, the 12 among
them, and 2 empty entries. `python -m gavs_lib.data.vggss vggss.json` lists them.

VGG-Sound's videos vanish from the net: hardly anyone has all of them, and a score must say on how many it was
measured (`len(dataset.present())`).
"""

import argparse
import copy
import dataclasses
import json
import math
import os
import pathlib
import sys
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gavs_lib.data.avsbench import Clip, is_plain_name, read_audio, read_frame
from gavs_lib.data.media import read_clip
from gavs_lib.data.shots import SHOTS, draw_shots
from gavs_lib.metrics import Localization, boxes_to_mask, localization_iou, summarize_iou

SIZE = 224  # of the published evaluation's maps
MOMENT = 5.0  # seconds from the start of the clip to the annotated frame
LAYOUT = {
    "frames": (".jpg", ".jpeg", ".png"),
    "audio": (".wav", ".flac"),
    "videos": (".mp4", ".mkv", ".webm"),
}


class FewShot(NamedTuple):
    """A few-shot division of VGG-SS. Report `origin` with every score: no such lists are published."""

    origin: str
    train: Mapping[int, "VGGSS"]  # k -> k entries of every class, nested
    test: "VGGSS"  # entries of none of these lists: the same ones for every k, and for zero-shot beside them


class VGGSS(torch.utils.data.Dataset):
    """The entries of VGG-SS, as `Clip` where pictures and sounds are at hand, and as boxes without them.

    Item i, with a root, is a `Clip` of one frame [1, H, W, 3] at the picture's own size, its mask [1, 224, 224] (the
    ground truth drawn as published, whatever the picture's size: predictions are resized to it), one second of sound,
    `a_obj` the class, and `uid` the file's name.

    Args:
        annotations: the JSON file, as published.
        root: the folder that holds `frames` and `audio`, or `videos`; None for the annotations alone.

    Attributes:
        rows: table with the columns file, class and bbox (a list of boxes), in the file's order.
        listed: number of entries in the annotations, also after `present` or `subset` has left some out.

    Raises:
        FileNotFoundError: no such file; no such folder, or one of another layout; on access, an entry's files.
        ValueError: not VGG-SS's JSON, a file listed twice, a file name that is a path; on access without a root; on
            access, a picture, sound or video that cannot be read, or a sound that ends before the annotated moment.
    """

    def __init__(self, annotations: str | os.PathLike, root: str | os.PathLike | None = None):
        self.rows = _read_annotations(pathlib.Path(annotations))
        self.listed = len(self.rows)
        self.root = None if root is None else pathlib.Path(root)
        self._found = {} if self.root is None else _find_files(self.root, set(self.rows["file"]))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Clip:
        row = self.rows.iloc[index]
        name = row["file"]
        files = self.files(index)
        mask = self.target(index).numpy()[None]
        labelled = {"masks": mask, "has_mask": np.ones(1, dtype=bool), "a_obj": row["class"]}
        start = MOMENT - 0.5
        if len(files) == 1:
            clip = read_clip(files[0], seconds=1, start=start)
            refuse_if_short(files[0], start + len(clip.waveform) / clip.sample_rate)
            return dataclasses.replace(clip, **labelled)
        picture, sound = files
        waveform, sample_rate = read_audio(sound)
        refuse_if_short(sound, len(waveform) / sample_rate)
        first = round(start * sample_rate)
        return Clip(
            uid=name,
            frames=read_frame(picture)[None],
            waveform=waveform[first : first + sample_rate],
            sample_rate=sample_rate,
            path=picture,
            **labelled,
        )

    def files(self, index: int) -> tuple[pathlib.Path, ...]:
        """What an entry is read from: its picture and its sound, or, where one of them is missing, its video alone.

        Raises:
            FileNotFoundError: neither is there.
            ValueError: no root was given.
        """
        name = self.rows["file"].iloc[index]
        lacks = self._lacks(name)
        if lacks:
            raise FileNotFoundError(
                f"{self.root}: no {lacks} of {name!r}; expected frames/{name}.jpg and audio/{name}.wav, or "
                f"videos/{name}.mp4. Take the entries that are there: VGGSS(annotations, root).present()."
            )
        picture, sound = self._found["frames"].get(name), self._found["audio"].get(name)
        return (self._found["videos"][name],) if picture is None or sound is None else (picture, sound)

    def target(self, index: int, size: int = SIZE) -> Tensor:
        """Ground truth of an entry: bool [size, size]; 224 is the size of the published evaluation."""
        return boxes_to_mask([box for box in self.rows["bbox"].iloc[index] if all(map(math.isfinite, box))], size)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of these entries, sorted."""
        return tuple(sorted(set(self.rows["class"])))

    def flaws(self) -> pd.DataFrame:
        """Boxes that are not drawn as they stand: file, class, box, and reason ("absurd", "degenerate", or both)."""
        found = []
        for row in self.rows.to_dict("records"):
            for box in row["bbox"]:
                finite = all(map(math.isfinite, box))
                absurd = not finite or min(box) < 0 or max(box) > 1
                degenerate = not finite or not boxes_to_mask([box], SIZE).any()
                if absurd or degenerate:
                    reason = ", ".join(["absurd"] * absurd + ["degenerate"] * degenerate)
                    found.append({"file": row["file"], "class": row["class"], "box": box, "reason": reason})
        return pd.DataFrame(found, columns=["file", "class", "box", "reason"])

    def empty(self) -> tuple[str, ...]:
        """Files whose ground truth covers no pixel of the 224 x 224 map."""
        return tuple(self.rows["file"].iloc[i] for i in range(len(self)) if not self.target(i).any())

    def counts(self) -> dict[str, int]:
        """Entries, classes, boxes, absurd and degenerate boxes (a box can be both), and empty entries."""
        reasons = self.flaws()["reason"]
        return {
            "entries": len(self),
            "classes": len(self.classes),
            "boxes": int(self.rows["bbox"].map(len).sum()),
            "absurd": int(reasons.str.contains("absurd").sum()),
            "degenerate": int(reasons.str.contains("degenerate").sum()),
            "empty": len(self.empty()),
        }

    def missing(self) -> pd.DataFrame:
        """Entries that cannot be read for want of files: file, class, and what is missing ("picture", "sound", …).

        Raises:
            ValueError: no root was given.
        """
        found = [{"file": f, "class": c, "missing": self._lacks(f)} for f, c in self.rows[["file", "class"]].values]
        return pd.DataFrame([row for row in found if row["missing"]], columns=["file", "class", "missing"])

    def present(self) -> "VGGSS":
        """The entries whose files are there. Whether they can be read shows when they are.

        Raises:
            ValueError: no root was given, or nothing is there.
        """
        missing = set(self.missing()["file"])
        if len(missing) == len(self):
            raise ValueError(
                f"{self.root}: holds none of the {len(self)} entries; expected names such as "
                f"frames/{next(iter(self.rows['file']), '<file>')}.jpg."
            )
        return self.subset(file for file in self.rows["file"] if file not in missing)

    def subset(self, files: Iterable[str]) -> "VGGSS":
        """Some of the entries, by name, in the order given.

        Raises:
            ValueError: a file is not among the entries.
        """
        files = list(files)
        unknown = sorted(set(files) - set(self.rows["file"]))
        if unknown:
            raise ValueError(
                f"{len(unknown)} of the files are not among the {len(self)} entries, such as {unknown[0]!r}."
            )
        chosen = copy.copy(self)
        chosen.rows = self.rows.set_index("file", drop=False).loc[files].reset_index(drop=True)
        return chosen

    def few_shot(self, shots: Iterable[int] = SHOTS, seed: int = 0) -> FewShot:
        """Divide the entries for few-shot training. GAVS tests so on a "VGG-SS-Sub" whose lists are not published.

        Of every class the first k entries with a ground truth are drawn, in the order of `gavs_lib.data.shots`, so the
        lists are nested; what no list holds is for testing. The published file gives 221, 663 and 1,105 entries to
        train on (k = 1, 3, 5) and 4,053 to test on. Scores are comparable among themselves only, not with the paper's,
        and those on `test` not with those on all of VGG-SS.

        Raises:
            ValueError: a k below 1, or a class with no more entries than the largest k: draw before `present`, or
                leave that class out with `subset`.
        """
        rows = self.rows[~self.rows["file"].isin(self.empty())]
        names = rows["file"].tolist()
        drawn = draw_shots(names, rows["class"].tolist(), shots, seed)
        train = {k: self.subset(names[i] for i in items) for k, items in drawn.items()}
        taken = {names[i] for items in drawn.values() for i in items}
        test = self.subset(file for file in self.rows["file"] if file not in taken)
        return FewShot(f"drawn by gavs_lib, not a published split (seed {seed})", train, test)

    def _lacks(self, name: str) -> str:
        """What an entry has not: "", "picture", "sound", or "picture and sound"."""
        if self.root is None:
            raise ValueError(
                "this VGGSS was made without a root and knows boxes only. Give the folder of pictures and sounds, "
                "VGGSS(annotations, root), or draw the ground truth alone with target(index)."
            )
        if name in self._found["videos"]:
            return ""
        parts = {"picture": "frames", "sound": "audio"}
        return " and ".join(what for what, folder in parts.items() if name not in self._found[folder])


def whole_picture(dataset: VGGSS) -> Localization:
    """What is scored by marking the whole picture, always: no score means anything that is not above this."""
    ious = []
    for start in range(0, len(dataset), 256):
        target = torch.stack([dataset.target(i) for i in range(start, min(start + 256, len(dataset)))])
        ious.append(localization_iou(torch.ones_like(target), target))
    return summarize_iou(torch.cat(ious))


def _read_annotations(path: pathlib.Path) -> pd.DataFrame:
    """The checked entries of the JSON file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected VGG-SS's annotations, vggss.json.")
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error}). Download the file again.") from error
    if not isinstance(entries, list) or not entries:
        found = "an empty list" if entries == [] else f"a {type(entries).__name__}"
        raise ValueError(f"{path}: holds {found}; expected a list of entries, as VGG-SS has it.")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not {"file", "class", "bbox"} <= set(entry):
            raise ValueError(f"{path}: entry {number} is {str(entry)[:80]}; expected one with file, class and bbox.")
        name, boxes = entry["file"], entry["bbox"]
        if not is_plain_name(name):
            raise ValueError(
                f"{path}: file {name!r} is no plain name; it could lead out of the data. Correct entry {number}."
            )
        if not isinstance(entry["class"], str) or not isinstance(boxes, list) or not all(map(_is_box, boxes)):
            raise ValueError(
                f"{path}: {name!r} has class {entry['class']!r} and bbox {str(boxes)[:80]}; expected a name, and a "
                "list of boxes, each four numbers [xmin, ymin, xmax, ymax]."
            )
    table = pd.DataFrame([{key: entry[key] for key in ("file", "class", "bbox")} for entry in entries])
    twice = table.loc[table.duplicated("file"), "file"]
    if len(twice):
        raise ValueError(
            f"{path}: file {twice.iloc[0]!r} stands in it more than once; expected one entry with all boxes."
        )
    return table


def _is_box(box: object) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(type(x) in (int, float) for x in box)


def _find_files(root: pathlib.Path, names: set[str]) -> dict[str, dict[str, pathlib.Path]]:
    """The files of these names in each folder of the layout; the first suffix named there wins."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; expected one with frames and audio, or videos.")
    there = [name for name in LAYOUT if (root / name).is_dir()]
    if "videos" not in there and not {"frames", "audio"} <= set(there):
        raise FileNotFoundError(
            f"{root}: expected the folders frames and audio, or videos; found {' and '.join(there) or 'none of them'}."
        )
    found: dict[str, dict[str, pathlib.Path]] = {name: {} for name in LAYOUT}
    for name in there:
        files = [path for path in (root / name).iterdir() if path.stem in names]
        for suffix in reversed(LAYOUT[name]):
            found[name] |= {path.stem: path for path in files if path.suffix.lower() == suffix}
    return found


def refuse_if_short(path: pathlib.Path, seconds: float) -> None:
    """ValueError for a sound that ends before the annotated moment."""
    if seconds <= MOMENT:
        raise ValueError(
            f"{path}: the sound lasts {seconds:.2f} s; expected the whole clip of 10 s, whose picture at {MOMENT:g} s "
            "is annotated. Extract it from VGG-Sound's clip again."
        )


def main(arguments: list[str] | None = None) -> int:
    """Print what the annotations hold, their flaws, and what marking the whole picture scores; 1 if unreadable."""
    parser = argparse.ArgumentParser(
        prog="python -m gavs_lib.data.vggss", description="Count VGG-SS's entries and boxes, and name what is wrong."
    )
    parser.add_argument("annotations", help="vggss.json")
    parser.add_argument("--root", help="the folder with frames/ and audio/, or videos/: say what is missing there")
    given = parser.parse_args(arguments)
    try:
        dataset = VGGSS(given.annotations, given.root)
    except (OSError, ValueError) as error:
        print(error)
        return 1
    for name, count in dataset.counts().items():
        print(f"{name:12}{count:6}")
    flaws, empty = dataset.flaws(), dataset.empty()
    if len(flaws):
        print("\nboxes not drawn as they stand\n" + flaws.to_string(index=False))
    if empty:
        print("\nempty ground truth: " + ", ".join(empty))
    score = whole_picture(dataset)
    print(
        f"\nthe whole picture, always: success rate {100 * score.success_rate:.1f} % (IoU of 0.5 or more), "
        f"AUC {score.auc:.3f}, mean IoU {100 * score.mean_iou:.1f} %"
    )
    if dataset.root is not None:
        missing = dataset.missing()
        print(f"\n{dataset.root}: {len(dataset) - len(missing)} of {len(dataset)} entries are there")
        for row in missing.head(10).itertuples():
            print(f"missing: {row.missing} of {row.file}")
        if len(missing) > 10:
            print(f"... and {len(missing) - 10} more; VGGSS(annotations, root).missing() lists them all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
