"""AVSBench-semantic as it lies on a user's disk, one clip at a time.

    <root>/metadata.csv                        vid,uid,s_min,s_sec,a_obj,split,label
    <root>/<v1s|v1m|v2>/<uid>/frames/0.jpg…    one RGB frame a second: 5 (v1s, v1m) or 10 (v2)
    <root>/<v1s|v1m|v2>/<uid>/audio.wav        the sound of all those seconds
    <root>/<v1s|v1m|v2>/<uid>/labels_rgb/0.png…  what sounds, in the colour of its class; black elsewhere
    <root>/<v1s|v1m|v2>/<uid>/labels_semantic/0.png…  the same as class numbers, 0 where nothing sounds
    <root>/label2idx.json                      class name -> its number

The binary task marks every pixel of what sounds: mask = grey(labels_rgb) > 0. In the training part of v1s only the
first frame of a clip is labelled. The miniature world (`gavs_lib.world.folder`) writes the same layout.
"""

import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import soundfile
import torch
from PIL import Image

SUBSETS = {"v1s": 5, "v1m": 5, "v2": 10}  # frames, one a second
COLUMNS = ("vid", "uid", "s_min", "s_sec", "a_obj", "split", "label")
UNSEEABLE = ("background", "off-the-screen")  # entries of a_obj that name no visible class
MAP = "map of classes"  # what messages call a file of labels_semantic
_MISSPELT = {"h orse": "horse"}  # once in the published metadata.csv


@dataclass
class Clip:
    """A few seconds of picture and sound, one frame a second.

    Attributes:
        uid: the clip's name.
        frames: [T, H, W, 3] uint8, RGB.
        masks: [T, H, W] bool, true where something sounds; false throughout unlabelled frames; None for a plain video.
            Of the frames' size, but for VGG-SS, which draws them on 224 x 224.
        has_mask: [T] bool, which frames are labelled; None for a plain video.
        waveform: [samples] float32, mono, about -1 to 1.
        sample_rate: of the waveform, in Hz.
        a_obj: the sounding classes joined by "_", as AVSBench writes them (see `tokens`); "" when unknown.
        path: the clip's folder or file.
        frame_times: [T] float64, when each frame is shown, in seconds; None where the data set does not say.
        semantic: [T, H, W] uint8, the number of the class that sounds (`AVSBench.index`), 0 elsewhere and throughout
            unlabelled frames; None where class numbers were not asked for, or there are none.
    """

    uid: str
    frames: np.ndarray
    masks: np.ndarray | None
    has_mask: np.ndarray | None
    waveform: np.ndarray
    sample_rate: int
    a_obj: str
    path: pathlib.Path
    frame_times: np.ndarray | None = None
    semantic: np.ndarray | None = None

    @property
    def seconds(self) -> int:
        """How many seconds the clip has, which is also its number of frames."""
        return len(self.frames)


class ClipFiles(NamedTuple):
    """Where the files of a clip are looked for."""

    folder: pathlib.Path  # what stands for the clip as a whole
    frames: list[pathlib.Path]
    masks: list[pathlib.Path]  # of the labelled frames, the first ones
    audio: pathlib.Path


class AVSBench(torch.utils.data.Dataset):
    """The clips of one part of an AVSBench-semantic folder, as `Clip`; files are read when a clip is asked for.

    Args:
        root: the folder that holds `metadata.csv` and the subsets' folders.
        subset: "v1s" (one source), "v1m" (several) or "v2" (10 s), or several of them. The literature's "AVSS" or "V2"
            benchmark is all three together.
        split: "train", "val", "test", or any other value that the `split` column has.
        uids: keep only these clips, in this order; default all, in the order of `metadata.csv`.
        semantic: give every clip its map of class numbers as well (`Clip.semantic`).

    Raises:
        FileNotFoundError: no `metadata.csv`, or no `label2idx.json` where class numbers are asked for; on access, a
            clip's file is missing.
        ValueError: an unknown subset, split or uid, a uid that is a path, a `label2idx.json` that is none; on access, a
            file that cannot be read, a mask of another size than its frame, a class number that is not in
            `label2idx.json`, a sound that is empty or not finite. The message names the file.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        subset: str | Sequence[str],
        split: str,
        uids: Iterable[str] | None = None,
        semantic: bool = False,
    ):
        subsets = (subset,) if isinstance(subset, str) else tuple(subset)
        for name in subsets:
            if name not in SUBSETS:
                raise ValueError(f"subset is {name!r}; an AVSBench-semantic folder has {', '.join(SUBSETS)}.")
        table = read_metadata(root)
        rows = table[table["label"].isin(subsets) & (table["split"] == split)]
        if rows.empty:
            there = sorted({f"{row.label} {row.split}" for row in table[["label", "split"]].itertuples()})
            raise ValueError(
                f"{pathlib.Path(root) / 'metadata.csv'}: no row of subset {' or '.join(subsets)} and split {split!r}; "
                f"it has {', '.join(there) or 'no rows at all'}."
            )
        if uids is not None:
            rows = select(rows, uids, f"{' + '.join(subsets)} {split}")
        self._set(root, rows, semantic)

    @classmethod
    def from_rows(
        cls,
        root: str | os.PathLike,
        rows: "pd.DataFrame | str | os.PathLike | Iterable[dict]",
        semantic: bool = False,
    ) -> "AVSBench":
        """The clips of a list, such as AVS-V3's CSVs, whatever their subset and split.

        Args:
            root: as above.
            rows: a CSV, a table, or dicts, with `uid` at least. Every other column that is absent or empty (the
                few-shot files of AVS-V3 leave s_min, s_sec and a_obj so) is taken from `metadata.csv`.
            semantic: as above.

        Raises:
            FileNotFoundError: no such list, no `metadata.csv`, or no `label2idx.json` where it is needed.
            ValueError: the list has no `uid` or is empty, or a clip is not in `metadata.csv`.
        """
        source = rows if isinstance(rows, str | os.PathLike) else "the rows given"
        wanted = read_rows(rows) if isinstance(rows, str | os.PathLike) else _as_text(pd.DataFrame(rows))
        if "uid" not in wanted or wanted.empty:
            raise ValueError(f"{source}: expected rows with a column 'uid'; found columns {list(wanted.columns)}.")
        known: dict[str, dict] = {}
        for row in read_metadata(root).to_dict("records"):
            known[row["uid"]] = known[(row["label"], row["uid"])] = row
        joined = []
        for row in wanted.to_dict("records"):
            given = {column: row[column] for column in COLUMNS if row.get(column)}
            base = known.get((given["label"], row["uid"]) if "label" in given else row["uid"])
            if base is None:
                raise ValueError(
                    f"{source}: clip {row['uid']!r}{' of ' + given['label'] if 'label' in given else ''} is not in "
                    f"{pathlib.Path(root) / 'metadata.csv'}. Is the list made for another data set?"
                )
            joined.append({**base, **given, "labelled": base["labelled"]})
        dataset = cls.__new__(cls)
        dataset._set(root, pd.DataFrame(joined), semantic)
        return dataset

    def _set(self, root: str | os.PathLike, rows: pd.DataFrame, semantic: bool) -> None:
        self.root = pathlib.Path(root)
        self.rows = rows.reset_index(drop=True)
        self.semantic = semantic
        if semantic:
            _ = self.index  # what is wrong with it shows here, not in the first clip

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Clip:
        row = self.rows.iloc[index]
        files = self.files(row)
        clip = read_files(files, row)
        if self.semantic:
            clip.semantic = np.zeros(clip.masks.shape, dtype=np.uint8)
            for i, path in enumerate(semantic_paths(files.folder, row["labelled"])):
                clip.semantic[i] = _as_frame(read_semantic(path, self.index), path, MAP, clip.frames[i])
        return clip

    def files(self, row: Mapping) -> ClipFiles:
        """Where the files of a clip, one of `rows`, are looked for; those of class numbers apart."""
        folder = self.root / row["label"] / row["uid"]
        frames = frame_paths(folder, SUBSETS[row["label"]])
        return ClipFiles(folder, frames, mask_paths(folder, row["labelled"]), folder / "audio.wav")

    def key(self, index: int) -> str:
        """What tells a clip from every other, without reading it; see `key_of_files`."""
        row = self.rows.iloc[index]
        return key_of_files(self.files(row), row["a_obj"])

    @functools.cached_property
    def index(self) -> dict[str, int]:
        """Class name -> its number in `Clip.semantic`, from `label2idx.json`; 0 is the background.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is not a JSON object of names and numbers from 0 to 255.
        """
        path = self.root / "label2idx.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; the numbers in labels_semantic mean nothing without it.")
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: not readable as JSON ({error}). Copy the file again.") from error
        if not isinstance(index, dict) or not all(type(n) is int and 0 <= n < 256 for n in index.values()):
            raise ValueError(f"{path}: expected an object of class names and numbers from 0 to 255.")
        return index

    @property
    def classes(self) -> tuple[str, ...]:
        """Every visible class that sounds in these clips, sorted; without `background` and `off-the-screen`."""
        return tuple(sorted({token for a_obj in self.rows["a_obj"] for token in tokens(a_obj)} - set(UNSEEABLE)))


def tokens(a_obj: str) -> tuple[str, ...]:
    """The classes of an `a_obj` entry, in its order: "guitar_man" -> ("guitar", "man"). "h orse" reads as "horse"."""
    return tuple(_MISSPELT.get(token, token) for token in a_obj.split("_") if token)


def read_rows(path: str | os.PathLike, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Read a CSV of clips as text; empty fields stay empty strings, and a video called "NA" stays "NA".

    Args:
        path: the CSV.
        columns: that are expected, for messages.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a CSV.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a CSV with the columns {', '.join(columns)}.")
    try:
        return _as_text(pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig"))
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable CSV ({error}); expected the columns {', '.join(columns)}.") from error


def read_metadata(root: str | os.PathLike) -> pd.DataFrame:
    """Read and check `<root>/metadata.csv`.

    Returns:
        its columns as text, `a_obj` with the published misspelling mended, and `labelled`: how many frames of the clip,
        from the first on, have a mask (1 in the training part of v1s, else all).

    Raises:
        FileNotFoundError: no such file.
        ValueError: a column is missing, a subset unknown, a uid not a plain folder name, or listed twice.
    """
    path = pathlib.Path(root) / "metadata.csv"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file. Expected the root of an AVSBench-semantic folder: "
            "metadata.csv beside v1s/, v1m/ and v2/. "
            "`python -m gavs_lib.data.check ROOT` says what a folder has."
        )
    table = read_rows(path)
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise ValueError(f"{path}: column {', '.join(missing)} is missing; found {', '.join(table.columns)}.")
    for row in table[["label", "uid"]].itertuples():
        if row.label not in SUBSETS:
            raise ValueError(f"{path}: clip {row.uid!r} has label {row.label!r}; expected {', '.join(SUBSETS)}.")
        if not is_plain_name(row.uid):
            raise ValueError(
                f"{path}: uid {row.uid!r} is no plain folder name; it could lead out of the data. Correct the row."
            )
    twice = table[table.duplicated(["label", "uid"])]
    if not twice.empty:
        raise ValueError(f"{path}: clip {twice['uid'].iloc[0]!r} stands in it more than once. Remove the doubled row.")
    table["a_obj"] = ["_".join(tokens(a_obj)) for a_obj in table["a_obj"]]
    once = (table["label"] == "v1s") & (table["split"] == "train")
    table["labelled"] = np.where(once, 1, table["label"].map(SUBSETS))
    return table


def select(rows: pd.DataFrame, uids: Iterable[str], where: str) -> pd.DataFrame:
    """The rows of some clips, in the order asked for.

    Args:
        rows: with a column uid.
        uids: which clips.
        where: what `rows` are, for the message.

    Raises:
        ValueError: a clip is not among the rows.
    """
    wanted = list(uids)
    unknown = sorted(set(wanted) - set(rows["uid"]))
    if unknown:
        raise ValueError(f"{len(unknown)} of the uids asked for are not in {where}, such as {unknown[0]!r}.")
    return rows.set_index("uid", drop=False).loc[wanted]


def is_plain_name(name: object) -> bool:
    """Whether this can be the name of one file or folder, on every system; other names could lead out of the data."""
    return isinstance(name, str) and name not in ("", ".", "..") and not any(mark in name for mark in "/\\:\0")


def frame_paths(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """Where a clip's frames are looked for."""
    return [folder / "frames" / f"{i}.jpg" for i in range(count)]


def mask_paths(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """Where a clip's masks are looked for."""
    return [folder / "labels_rgb" / f"{i}.png" for i in range(count)]


def semantic_paths(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """Where a clip's maps of class numbers are looked for."""
    return [folder / "labels_semantic" / f"{i}.png" for i in range(count)]


def read_files(files: ClipFiles, row: Mapping) -> Clip:
    """Read the files of a clip.

    Args:
        files: where they are.
        row: uid, a_obj, and labelled: how many frames, from the first on, have a mask.

    Raises:
        FileNotFoundError, ValueError: as `AVSBench` on access.
    """
    frames = [read_frame(path) for path in files.frames]
    for path, frame in zip(files.frames, frames):
        if frame.shape != frames[0].shape:
            raise ValueError(other_size(path, "frame", _size(frame), _size(frames[0])))
    masks = np.zeros((len(frames), *frames[0].shape[:2]), dtype=bool)
    for i, path in enumerate(files.masks):
        masks[i] = read_mask(path, frames[i])
    waveform, sample_rate = read_audio(files.audio)
    return Clip(
        uid=row["uid"],
        frames=np.stack(frames),
        masks=masks,
        has_mask=np.arange(len(frames)) < row["labelled"],
        waveform=waveform,
        sample_rate=sample_rate,
        a_obj=row["a_obj"],
        path=files.folder,
    )


def key_of_files(files: ClipFiles, a_obj: str) -> str:
    """What tells a clip on a disk from every other without reading it: path, size and time of its files, as for `make`.

    Args:
        files: of the clip.
        a_obj: its classes, which no file holds.

    Raises:
        FileNotFoundError: one of them is missing.
    """
    stats = []
    for path in (files.audio, *files.frames, *files.masks):
        try:
            stat = path.stat()
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: missing; `python -m gavs_lib.data.check` lists what is.") from None
        stats.append([str(path.absolute()), stat.st_size, stat.st_mtime_ns])
    return hashlib.sha256(json.dumps([stats, a_obj]).encode()).hexdigest()[:32]


def open_image(path: pathlib.Path, what: str) -> Image.Image:
    """Open and decode a picture file, in its own mode. ValueError names the file as `what` it was to be."""
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: the {what} cannot be read ({error}). Copy or export the file again.") from error


def open_existing(path: pathlib.Path, what: str) -> Image.Image:
    """`open_image` of a file of a clip. FileNotFoundError says what is missing."""
    if not path.is_file():
        count = "one a second" if what == "frame" else "one for each labelled frame"
        raise FileNotFoundError(f"{path}: the {what} is missing; expected {count}. Copy the clip's files again.")
    return open_image(path, what)


def read_frame(path: pathlib.Path) -> np.ndarray:
    """Read a frame: [H, W, 3] uint8 RGB. FileNotFoundError or ValueError name the file."""
    return np.asarray(open_existing(path, "frame").convert("RGB"))


def read_mask(path: pathlib.Path, frame: np.ndarray) -> np.ndarray:
    """Read the binary mask of a frame: [H, W] bool. FileNotFoundError or ValueError name the file."""
    return _as_frame(np.asarray(open_existing(path, "mask").convert("L")) > 0, path, "mask", frame)


def read_semantic(path: pathlib.Path, index: Mapping[str, int]) -> np.ndarray:
    """Read a frame's map of class numbers: [H, W] uint8, each one of `index`. The errors name the file."""
    image = open_existing(path, MAP)
    if image.mode not in ("L", "P"):
        raise ValueError(
            f"{path}: a picture of mode {image.mode}; expected one channel of 8 bits, the class numbers. "
            "The coloured ones belong in labels_rgb."
        )
    numbers = np.asarray(image)
    unknown = set(np.unique(numbers).tolist()) - set(index.values())
    if unknown:
        raise ValueError(
            f"{path}: holds the class number {min(unknown)}, which label2idx.json does not name "
            f"(it has {len(index)} classes). Take both from the same release."
        )
    return numbers


def other_size(path: pathlib.Path, what: str, found: tuple[int, int], first: tuple[int, int]) -> str:
    """What is said of a picture of another size, (width, height), than its clip's first frame."""
    return (
        f"{path}: {what} is {found[0]}x{found[1]}, the clip's first frame is {first[0]}x{first[1]}; AVSBench has one "
        "size in a clip. Take frames and masks from the same release, or extract the clip's frames again."
    )


def read_audio(path: pathlib.Path) -> tuple[np.ndarray, int]:
    """Read a sound file: mono float32 [samples] (channels averaged), and its sampling rate.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no sound, cut short, empty, or holds NaN or infinite samples.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: the sound is missing; expected a WAV file of the whole clip. "
            "Extract it from the clip's video again."
        )
    missing_bytes = missing_from_wav(path)
    if missing_bytes > 0:
        raise ValueError(
            f"{path}: cut short, {missing_bytes} bytes are missing at its end. Copy or extract the file again."
        )
    try:
        samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise ValueError(f"{path}: not a readable sound file ({error}). Copy or extract the file again.") from error
    if samples.size == 0:
        raise ValueError(f"{path}: the sound is empty; expected the whole clip. Extract it again.")
    if not np.isfinite(samples).all():
        raise ValueError(
            f"{path}: the sound contains NaN or infinite samples; expected finite values. Extract it again."
        )
    return samples.mean(axis=1), int(sample_rate)


def missing_from_wav(path: pathlib.Path) -> int:
    """How many bytes a RIFF file announces beyond its end; libsndfile would read such a file without a word."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return 0
    announced = int.from_bytes(head[4:8], "little")
    if announced >= 0x7FFFFF00:  # written to a pipe: the size was never known
        return 0
    return announced + 8 - path.stat().st_size


def _as_frame(picture: np.ndarray, path: pathlib.Path, what: str, frame: np.ndarray) -> np.ndarray:
    """The picture, which must be of the frame's size."""
    if picture.shape != frame.shape[:2]:
        raise ValueError(other_size(path, what, _size(picture), _size(frame)))
    return picture


def _size(picture: np.ndarray) -> tuple[int, int]:
    return picture.shape[1], picture.shape[0]


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Every cell as a plain string, missing ones empty."""
    return table.astype(object).where(table.notna(), "").astype(str).astype(object)
