"""A user's own pictures with masks, and sounds, sorted by class in folders: what `gavs_lib.data.compose` composes.

    PICTURES/<class>/<name>.jpg        jpg, jpeg, png, webp or bmp; a folder a class. The mask of a picture is
    PICTURES/<class>/<name>.png          - the PNG of the same name beside a picture of another format, or
    MASKS/<class>/<name>.png             - in a second tree, by default the folder `masks` beside PICTURES, or
                                         - the picture's own transparency (marked where it is more than half opaque).
    SOUNDS/<class>/*.wav               wav, flac, ogg, mp3 or aiff, any rate and number of channels

A mask file is black outside the object, and any other colour marks it; one that has transparent parts, such as the
object cut out, marks what is not transparent. Photographs that a phone stored sideways are turned upright first. Where
a picture is transparent, the colours stored there show.
Class names are matched without regard to case; every run of other characters than letters and digits counts as one
hyphen: `Fire Truck` and `fire_truck` are both `fire-truck`, and no class holds the "_" that joins classes in `a_obj`.
"""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from gavs_lib.data.avsbench import UNSEEABLE, is_plain_name, open_image, read_audio

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")


@dataclass(frozen=True)
class LabelledPicture:
    """A picture of one class, read when it is needed (twice: to check it, and to write it).

    Attributes:
        label: its class.
        name: what messages and `sources.csv` call it; unique among the pictures.
        load: returns image [H, W, 3] uint8 RGB and mask [H, W] bool, true on the object. A ValueError or OSError it
            raises says what is wrong with the picture.
        source: pictures of one source stay in one split (several objects cut from one photograph, say). "": those of
            equal content.
        also: other classes that the picture shows without marking them. When one of those sounds, this picture is not
            the ground: its own would sound, unmarked.
    """

    label: str
    name: str
    load: Callable[[], tuple[np.ndarray, np.ndarray]]
    source: str = ""
    also: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LabelledSound:
    """A recording of one class; attributes as in `LabelledPicture`, without `also`.

    Attributes:
        load: returns waveform [samples] floating point, mono, about -1 to 1, and its sampling rate in Hz.
    """

    label: str
    name: str
    load: Callable[[], tuple[np.ndarray, int]]
    source: str = ""


def find_pictures(folder: str | os.PathLike, masks_dir: str | os.PathLike | None = None) -> list[LabelledPicture]:
    """The pictures of a folder with a folder a class, each with its mask; see the module for the forms.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: two folders of one class; two pictures, or two masks, of one name.
    """
    folder = Path(folder)
    if masks_dir is not None and not Path(masks_dir).is_dir():
        raise FileNotFoundError(f"{masks_dir}: no such folder; expected masks/<class>/<name of the picture>.png.")
    masks = Path(masks_dir) if masks_dir is not None else folder.absolute().parent / "masks"
    masks_of = _class_folders(masks) if masks.is_dir() else {}
    found = []
    for label, place in _class_folders(folder).items():
        files = [path for path in _files(place) if path.suffix.lower() in PICTURE_SUFFIXES]
        by_stem = defaultdict(list)
        for path in files:
            by_stem[path.stem].append(path)
        aside = _files(masks_of[label]) if label in masks_of else []
        elsewhere = {path.stem: path for path in aside if path.suffix.lower() == ".png"}
        for stem, same in by_stem.items():
            beside = [path for path in same if path.suffix.lower() == ".png"] if len(same) > 1 else []
            own = [path for path in same if path not in beside]
            if len(own) != 1 or len(beside) > 1:
                raise ValueError(
                    f"{place}: {' and '.join(path.name for path in same)} have the same name; expected one picture, "
                    "and beside it one PNG at most, its mask. Rename the others, and their masks."
                )
            mask = beside[0] if beside else elsewhere.get(stem)
            name = own[0].relative_to(folder).as_posix()
            found.append(LabelledPicture(place.name, name, partial(_open_picture, own[0], mask, masks)))
    return found


def find_sounds(folder: str | os.PathLike) -> list[LabelledSound]:
    """The sound files of a folder with a folder a class.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: two folders of one class.
    """
    folder = Path(folder)
    return [
        LabelledSound(place.name, path.relative_to(folder).as_posix(), partial(read_audio, path))
        for place in _class_folders(folder).values()
        for path in _files(place)
        if path.suffix.lower() in SOUND_SUFFIXES
    ]


def not_used(folder: str | os.PathLike, suffixes: tuple[str, ...]) -> list[str]:
    """Files that are of other types, or do not lie in the folder of a class; hidden ones are passed over."""
    folder = Path(folder)
    below = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [
        path.as_posix()
        for path in below
        if not any(part.startswith(".") for part in path.parts)
        and (len(path.parts) != 2 or path.suffix.lower() not in suffixes)
    ]


def class_name(label: str) -> str:
    """A class as AVSBench would write it: "Fire_Truck" -> "fire-truck".

    Raises:
        ValueError: the name could lead out of a folder, has no letter or digit, or means something else to AVSBench.
    """
    if not is_plain_name(label) or label.strip().startswith("."):
        raise ValueError(f"class {label!r} is no plain name; it could lead out of the folder. Rename it.")
    text = unicodedata.normalize("NFKC", label).casefold()
    name = "-".join("".join(c if c.isalnum() else " " for c in text).split())
    if not name or name in UNSEEABLE:
        raise ValueError(
            f"class {label!r} cannot be used: expected letters or digits, and not {' or '.join(UNSEEABLE)}."
        )
    return name


def _class_folders(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected one with a folder for each class.")
    found: dict[str, Path] = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."):
        label = class_name(place.name)
        if label in found:
            raise ValueError(f"{folder}: {found[label].name!r} and {place.name!r} are one class, {label}. Join them.")
        found[label] = place
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")


def _open_picture(path: Path, mask_path: Path | None, masks: Path) -> tuple[np.ndarray, np.ndarray]:
    """A picture file with its mask: [H, W, 3] uint8 and [H, W] bool."""
    picture = ImageOps.exif_transpose(open_image(path, "picture"))
    if picture.mode[0] in "IF":  # Pillow would make them white wherever a value exceeds 255
        raise ValueError(
            f"{path}: picture has more than 8 bits a pixel in one channel (mode {picture.mode}); expected 8 bits. "
            "Export it as JPEG or 8-bit PNG."
        )
    mask = _opaque(picture)
    if mask_path is not None:
        drawn = open_image(mask_path, "mask")
        mask = _opaque(drawn)
        if mask is None:
            mask = np.asarray(drawn.convert("RGB")).any(axis=2)
        if mask.shape[::-1] != picture.size:
            raise ValueError(
                f"{mask_path}: mask is {drawn.width}x{drawn.height}, its picture {path.name} is "
                f"{picture.width}x{picture.height}; expected one size. Export the mask at the picture's own size."
            )
    if mask is None:
        places = [f"{masks / path.parent.name / path.stem}.png", "transparency in the picture itself"]
        if path.suffix.lower() != ".png":
            places.insert(0, f"{path.stem}.png beside it")
        raise ValueError(f"{path}: has no mask; expected {', or '.join(places)}.")
    return np.asarray(picture.convert("RGB")), mask


def _opaque(image: Image.Image) -> np.ndarray | None:
    """Where an image is more than half opaque, [H, W] bool; None where nothing in it is transparent."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return None
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    return None if (alpha == 255).all() else alpha >= 128
