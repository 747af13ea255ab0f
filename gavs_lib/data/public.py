"""Real pictures and sounds that need no registration: COCO's photographs with ESC-50's recordings.

    python -m gavs_lib.data.public OUT        (--help lists the options)

AVSBench is given on request only. These two sets anyone may fetch, so that a model can be trained on real material
today. COCO (Lin et al., 2014) marks every object of its 80 categories in photographs; ESC-50 (Piczak, 2015) holds 40
recordings of five seconds of each of 50 categories. `PAIRS` says which sounds belong to which object, and
`gavs_lib.data.compose` joins them, as AVS-Synthetic was made: a photograph and a recording of one class that were never
together. Written are two AVSBench-semantic folders:

    OUT/seen      train, val and test of eleven classes
    OUT/unseen    test of three more (`HELD_OUT`), for zero-shot

What sounds is marked as COCO marks it: the mask of a clip is the union of all objects of the class in the photograph,
since a recording does not tell which of three dogs barks. What is left out, and why:

- A photograph with a crowd of the class: COCO marks a crowd by a rough outline only.
- Objects that are very small or very large in their photograph (`SMALLEST`, `LARGEST`).
- For `seen`, every photograph that shows an object of a held-out class, marked or not, and every recording whose source
  also gave one of a held-out class. So `unseen` is new to the eye and to the ear: no photograph and no recording is in
  both folders, and no object of a held-out class is seen in training, not even as a silent bystander. What COCO has no
  category for (a helicopter, a guitar) may still be seen; nobody marked it.

The silent objects (`distractors`) are of other classes of the same folder. The photograph that lends the ground shows
no object of the sounding class but its own, because every one would have to be marked. It may show, and be silent
about, anything else: in `unseen` also objects of seen classes.

Many recordings of ESC-50 are a short sound, filled up with silence to five seconds. The silence at both ends is cut
off, and `compose` repeats what is left; otherwise a mask would say "this sounds" of seconds in which nothing does.
"""

import argparse
import io
import json
import math
import os
import sys
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from PIL import Image
from pycocotools import mask as coco_mask

from gavs_lib.data.avsbench import is_plain_name
from gavs_lib.data.compose import SPLITS, SUBSET_OF, Composed, compose_clips
from gavs_lib.data.fetch import Remote, cache_folder, fetch
from gavs_lib.data.material import LabelledPicture, LabelledSound

# Object of COCO -> categories of ESC-50. No category serves two objects: a sound must say which one is meant.
PAIRS: dict[str, tuple[str, ...]] = {
    "bird": ("chirping_birds", "crow"),  # a stretch: COCO's birds are gulls, ducks and parrots as well
    "cat": ("cat",),
    "cow": ("cow",),
    "dog": ("dog",),
    "sheep": ("sheep",),
    "airplane": ("airplane",),  # recorded in flight; some photographs show one on the ground
    "car": ("car_horn", "engine"),  # a stretch: not every engine of ESC-50 is a car's
    "train": ("train",),
    "clock": ("clock_tick", "clock_alarm"),  # a stretch: many of COCO's clocks are on towers, where none ticks aloud
    "keyboard": ("keyboard_typing",),
    "mouse": ("mouse_click",),  # the computer's
    "toilet": ("toilet_flush",),
    "toothbrush": ("brushing_teeth",),
    # What anybody's body does, of any age, without a tool. Not crying_baby: COCO does not tell babies from adults.
    "person": ("clapping", "coughing", "laughing", "sneezing"),
}
# An animal, a vehicle and a thing, each with relatives among the seen: dog; car and airplane; keyboard and mouse, which
# click as a clock ticks. AVS-V3 holds out clocks too. These three stand beside few of the others, so that little is
# lost by leaving them out of every seen photograph: the mouse would go with the keyboard.
HELD_OUT = ("cat", "train", "clock")
# Shares of the photograph. Below half a percent an object has 9 x 9 of the 128 x 128 cells in which SAM draws a mask at
# 512 pixels, and its outline is chance. Above 0.6, marking everything scores as well, and no second object finds room.
SMALLEST, LARGEST = 0.005, 0.6
QUIET = 0.001  # of full scale, -60 dB: ESC-50 fills up with zeros, whose edges Vorbis, its first format, has blurred
SHORTEST_SOUND = 0.5  # seconds that are left of a recording at least: a click is not repeated faster than that

# COCO publishes no checksums; sizes and SHA-256 are those that several independent users of the files report alike.
# The second addresses are the same store, over https.
COCO_PHOTOGRAPHS = Remote(
    "val2017.zip",
    (
        "http://images.cocodataset.org/zips/val2017.zip",
        "https://s3.amazonaws.com/images.cocodataset.org/zips/val2017.zip",
    ),
    size=815_585_330,
    sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
    licence="COCO's photographs: their photographers', under Flickr's terms of use",
)
COCO_ANNOTATIONS = Remote(
    "annotations_trainval2017.zip",
    (
        "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
        "https://s3.amazonaws.com/images.cocodataset.org/annotations/annotations_trainval2017.zip",
    ),
    size=252_907_541,
    sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
    licence="COCO's annotations: CC BY 4.0, COCO Consortium",
)
# Packed anew by the server whenever it is asked for, so neither size nor checksum is fixed: its contents are checked.
ESC50 = Remote(
    "ESC-50-master.zip",
    ("https://github.com/karolpiczak/ESC-50/archive/master.zip",),
    licence="ESC-50: CC BY-NC 3.0, not for commercial use, K. J. Piczak; authors of each recording in its LICENSE file",
)
_ABOUT = 646_000_000  # bytes of a public copy of ESC50; its README says about 600 MB

_PHOTOGRAPHS, _INSTANCES, _RECORDINGS = 5000, 36781, 2000
_SAMPLES, _RATE = 220_500, 44_100
_INSTANCES_JSON, _ESC50_CSV = "annotations/instances_val2017.json", "meta/esc50.csv"


def compose_public(
    out: str | os.PathLike,
    *,
    coco: str | os.PathLike | None = None,
    esc50: str | os.PathLike | None = None,
    agreed: bool = False,
    clips_per_class: int | None = 100,
    distractors: int = 1,
    splits: dict[str, float] = SPLITS,
    **options,
) -> tuple[Composed, Composed]:
    """Write `out/seen` and `out/unseen` from COCO val2017 and ESC-50, fetching them where no copy is given.

    A clip takes a megabyte or two (an estimate). Nothing is unpacked: pictures and sounds are read from the archives.

    Args:
        out: the folder to write; each of the two in it appears whole or not at all.
        coco: your copy, as `coco_pictures` takes it; None: fetched once, into `gavs_lib.data.fetch.cache_folder()`.
        esc50: your copy, as `esc50_sounds` takes it; None: fetched likewise.
        agreed: you have read the licences (`terms`), and the gigabytes may be fetched.
        clips_per_class: over all splits; None: as many as there are photographs, most of them of people.
        distractors: how many silent objects of other classes stand beside the sounding one, where there is room.
        splits: of `seen`; all of `unseen` is test.
        options: others of `compose_clips`: seconds, longest_side, seed, skip_broken, progress.

    Returns:
        what was made of the seen classes, and of the held-out ones.

    Raises:
        ValueError: something must be fetched and `agreed` is False; or as `coco_pictures`, `esc50_sounds`, `fetch` and
            `compose_clips`.
        OSError: as these; nothing could be fetched, or no room is left.
    """
    missing = to_fetch(coco, esc50)
    if missing and not agreed:
        raise ValueError(f"{terms(missing)}\nNothing was fetched. If you agree, say so: agreed=True (--yes).")
    showing = options.get("progress", True)
    if coco is None:
        coco = fetch(COCO_PHOTOGRAPHS, progress=showing).parent
        fetch(COCO_ANNOTATIONS, progress=showing)
    pictures = coco_pictures(coco)
    sounds = esc50_sounds(fetch(ESC50, progress=showing) if esc50 is None else esc50)

    strange = {sound.source for sound in sounds if sound.label in HELD_OUT}
    seen = compose_clips(
        [picture for picture in pictures if not {picture.label, *picture.also} & set(HELD_OUT)],
        [sound for sound in sounds if sound.source not in strange],
        Path(out) / "seen",
        clips_per_class=clips_per_class,
        distractors=distractors,
        splits=splits,
        **options,
    )
    unseen = compose_clips(
        [picture for picture in pictures if picture.label in HELD_OUT],
        [sound for sound in sounds if sound.label in HELD_OUT],
        Path(out) / "unseen",
        clips_per_class=clips_per_class,
        distractors=distractors,
        splits={"test": 1},
        **options,
    )
    return seen, unseen


def to_fetch(coco: str | os.PathLike | None = None, esc50: str | os.PathLike | None = None) -> list[Remote]:
    """What `compose_public` would fetch: files of which no copy is given, and none is in the cache."""
    wanted = [COCO_PHOTOGRAPHS, COCO_ANNOTATIONS] * (coco is None) + [ESC50] * (esc50 is None)
    return [remote for remote in wanted if not (cache_folder() / remote.name).is_file()]


def terms(remotes: Sequence[Remote] = (COCO_PHOTOGRAPHS, COCO_ANNOTATIONS, ESC50)) -> str:
    """Licence, address and gigabytes of each file, and the sum, as text."""
    lines = []
    for remote in remotes:
        size = f"{(remote.size or _ABOUT) / 1e9:.2f} GB" + " or so" * (remote.size is None)
        lines += [f"{remote.name}, {size}, from {remote.urls[0]}", f"    {remote.licence}"]
    total = sum(remote.size or _ABOUT for remote in remotes)
    return "\n".join([*lines, f"Together {total / 1e9:.1f} GB."])


def coco_pictures(folder: str | os.PathLike) -> list[LabelledPicture]:
    """The photographs of COCO val2017 that show an object of `PAIRS`: a picture for each photograph and class.

    Args:
        folder: holds val2017.zip, or val2017/ unpacked, and annotations_trainval2017.zip, or
            annotations/instances_val2017.json.

    Returns:
        pictures whose mask is the union of the objects of the class, drawn by COCO's own code; `source` is the
        photograph, `also` which other classes of `PAIRS` it shows. The module says which are left out.

    Raises:
        FileNotFoundError: neither folder nor archive is there.
        ValueError: an archive or the JSON cannot be read, is not that of val2017 or not whole, or names a file that
            could lie elsewhere. On access, a photograph that cannot be read, or has another size than noted.
    """
    files = _part(folder, "val2017", COCO_PHOTOGRAPHS)
    notes = _part(folder, _INSTANCES_JSON, COCO_ANNOTATIONS)
    where = f"{notes.path}: {_INSTANCES_JSON}"
    objects: dict[tuple[int, str], list[tuple[bool, list]]] = defaultdict(list)  # of a photograph and a class
    shows: dict[int, set[str]] = defaultdict(set)
    try:
        found = json.loads(notes.read(_INSTANCES_JSON))
        count = len(found["images"]), len(found["annotations"])
        if count != (_PHOTOGRAPHS, _INSTANCES):
            raise ValueError(
                f"{where} lists {count[0]} photographs with {count[1]} objects; that of val2017 lists {_PHOTOGRAPHS} "
                f"with {_INSTANCES}. Take the original file."
            )
        images = {each["id"]: (each["file_name"], each["height"], each["width"]) for each in found["images"]}
        name_of = {each["id"]: each["name"] for each in found["categories"]}
        for each in found["annotations"]:
            label = name_of[each["category_id"]]
            if label in PAIRS:
                objects[each["image_id"], label].append((each["iscrowd"], each["segmentation"]))
                shows[each["image_id"]].add(label)
        names = [images[number][0] for number in shows]
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{where} is not COCO's ({type(error).__name__}: {error}). Download it again.") from error
    _require(set(PAIRS), {label for _, label in objects}, f"{where} marks no")
    _require_files(files, "val2017/", names, where)

    pictures = []
    for (number, label), marked in sorted(objects.items()):
        if any(is_crowd for is_crowd, _ in marked):
            continue
        name, height, width = images[number]
        outline = _union([polygon for _, outlines in marked for polygon in outlines], height, width, f"{where}, {name}")
        if SMALLEST <= coco_mask.area(outline) / (height * width) <= LARGEST:
            load = partial(_photograph, files, f"val2017/{name}", outline)
            pictures.append(LabelledPicture(label, f"{label}/{name}", load, name, frozenset(shows[number] - {label})))
    return pictures


def esc50_sounds(path: str | os.PathLike) -> list[LabelledSound]:
    """The recordings of ESC-50 that belong to an object of `PAIRS`, without the silence at their ends.

    Clips that were cut from one source (`src_file`) have that `source`, so that one split gets them all. ESC-50's folds
    are made for the same reason; no model is compared here with those that are tested by fold, so they are not kept.

    Args:
        path: the archive from GitHub, or the folder that holds meta/ and audio/.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: the archive or esc50.csv cannot be read or is not whole, or names a file that could lie elsewhere.
            On access, a recording that cannot be read, or is not of 5 s at 44.1 kHz in one channel.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file or folder; expected {ESC50.name}, or a folder with {_ESC50_CSV}."
        )
    files = _Files(path)
    # GitHub packs everything into one folder, named after the branch.
    inside = [] if path.is_dir() else [name for name in files.names if name.endswith(f"/{_ESC50_CSV}")]
    top = inside[0].removesuffix(_ESC50_CSV) if inside else ""
    where = f"{path}: {top}{_ESC50_CSV}"
    try:
        table = pd.read_csv(io.BytesIO(files.read(top + _ESC50_CSV)), dtype=str, keep_default_na=False)
        rows = list(zip(table["filename"], table["category"], table["src_file"]))
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, KeyError) as error:
        raise ValueError(
            f"{where} is not ESC-50's ({error}); expected the columns filename, category, src_file. Download it again."
        ) from error
    if len(rows) != _RECORDINGS:
        raise ValueError(f"{where} has {len(rows)} rows; ESC-50 has {_RECORDINGS}. Download it again.")
    label_of = {category: label for label, categories in PAIRS.items() for category in categories}
    _require(set(label_of), {category for _, category, _ in rows}, f"{where} has no")
    _require_files(files, f"{top}audio/", [name for name, _, _ in rows], where)
    return [
        LabelledSound(
            label_of[category], f"{category}/{name}", partial(_recording, files, f"{top}audio/{name}"), source
        )
        for name, category, source in rows
        if category in label_of
    ]


# ------------------------------------------------------------------------------------------------ archives and folders


class _Files:
    """The files of an archive or of a folder, by their names in it. Nothing is written, whatever the names are."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._archive = None if path.is_dir() else zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise ValueError(f"{path}: not a whole zip archive ({error}). Delete it, and download it again.") from error
        self.names = set(self._archive.namelist()) if self._archive else None

    def __contains__(self, name: str) -> bool:
        return (self.path / name).is_file() if self.names is None else name in self.names

    def read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes() if self._archive is None else self._archive.read(name)
        except (OSError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{self.path}: {name} cannot be read ({error}). Download it again.") from error


def _part(folder: str | os.PathLike, unpacked: str, packed: Remote) -> _Files:
    folder = Path(folder)
    for path, holder in ((folder / unpacked, folder), (folder / packed.name, folder / packed.name)):
        if path.exists():
            return _Files(holder)
    raise FileNotFoundError(
        f"{folder}: holds neither {unpacked} nor {packed.name}; expected one of them. Get {packed.urls[0]}, or name no "
        "folder, and it is fetched."
    )


def _require(wanted: set[str], found: set[str], lack: str) -> None:
    if wanted - found:
        raise ValueError(f"{lack} {', '.join(sorted(wanted - found))}. Take the original file.")


def _require_files(files: _Files, folder: str, names: list[str], where: str) -> None:
    for name in names:
        if not is_plain_name(name):
            raise ValueError(f"{where} names the file {name!r}; expected a plain name. It could lead out of the data.")
    absent = [name for name in names if folder + name not in files]
    if absent:
        raise ValueError(
            f"{files.path}: {len(absent)} of {len(names)} files are missing, such as {folder}{absent[0]}. Download it "
            "again."
        )


# ----------------------------------------------------------------------------------------------- one picture, one sound


def _union(polygons: list, height: int, width: int, where: str) -> dict:
    """The run-length code of everything that polygons enclose, each a list x, y, x, y, …"""
    for polygon in polygons:
        # Of four numbers COCO's code would make a box.
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or not all(map(_is_finite, polygon)):
            raise ValueError(
                f"{where}: the outline of an object is {str(polygon)[:80]}; expected x and y of at least three points. "
                "Take the original file."
            )
    return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _photograph(files: _Files, name: str, outline: dict) -> tuple[np.ndarray, np.ndarray]:
    """A photograph [H, W, 3] uint8 and the mask [H, W] bool of an outline."""
    try:
        with Image.open(io.BytesIO(files.read(name))) as image:
            picture = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{files.path}: {name} cannot be read ({error}). Download it again.") from error
    mask = coco_mask.decode(outline).astype(bool)
    if picture.shape[:2] != mask.shape:
        raise ValueError(
            f"{files.path}: {name} is {picture.shape[1]}x{picture.shape[0]}, its annotation "
            f"{mask.shape[1]}x{mask.shape[0]}; expected one size. Take both from one release."
        )
    return picture, mask


def _recording(files: _Files, name: str) -> tuple[np.ndarray, int]:
    """A recording without the silence at its ends: [samples] float32, and 44100."""
    try:
        wave, rate = soundfile.read(io.BytesIO(files.read(name)), dtype="float32")
    except soundfile.SoundFileError as error:
        raise ValueError(f"{files.path}: {name} cannot be read ({error}). Download it again.") from error
    if wave.shape != (_SAMPLES,) or rate != _RATE:
        raise ValueError(
            f"{files.path}: {name} holds {list(wave.shape)} samples at {rate} Hz; ESC-50 has [{_SAMPLES}] at {_RATE}. "
            "Download it again."
        )
    loud = np.flatnonzero(np.abs(wave) > QUIET)
    if loud.size:
        least = round(SHORTEST_SOUND * _RATE)
        first = min(loud[0], _SAMPLES - least)
        wave = wave[first : max(loud[-1] + 1, first + least)]
    return wave, rate


def main(arguments: list[str] | None = None) -> int:
    """Show the licences, ask, and compose; 0 when both folders are there, else 1."""
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.data.public", description=__doc__.splitlines()[0])
    parser.add_argument("out", metavar="OUT", help="folder to write: OUT/seen and OUT/unseen")
    parser.add_argument("--coco", metavar="DIR", help="your COCO val2017: its two zips, or what is in them")
    parser.add_argument("--esc50", metavar="PATH", help="your ESC-50: its zip, or the folder with meta/ and audio/")
    parser.add_argument("--yes", action="store_true", help="fetch what is missing without asking")
    parser.add_argument("--clips-per-class", type=int, default=100, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--distractors", type=int, default=1, metavar="N", help="silent objects beside the sounding one (default: 1)"
    )
    parser.add_argument("--seconds", type=int, default=5, choices=list(SUBSET_OF), help="default: %(default)s")
    parser.add_argument("--longest-side", type=int, default=640, metavar="PIXELS", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--skip-broken", action="store_true", help="leave out files that cannot be used, and list them")
    options = vars(parser.parse_args(arguments))
    out, agreed = options.pop("out"), options.pop("yes")
    print("Pictures and sounds, and their licences:\n" + terms())
    missing = to_fetch(options["coco"], options["esc50"])
    if missing and not agreed:
        print("To be fetched: " + ", ".join(remote.name for remote in missing))
        if not sys.stdin.isatty():
            print("Nothing was fetched: nobody can be asked here. Give --yes, or your copies with --coco and --esc50.")
            return 1
        if input("Fetch them? [y/N] ").strip().lower() not in ("y", "yes"):
            print("Nothing was fetched.")
            return 1
    try:
        composed = compose_public(out, agreed=True, progress=sys.stderr.isatty(), **options)
    except (OSError, ValueError) as error:
        print(error)
        return 1
    for part in composed:
        print(part.counts.to_string())
        for remark in part.remarks:
            print(f"note: {remark}")
        print(f"{part.root}: {part.counts.to_numpy().sum()} clips of {part.subset}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
