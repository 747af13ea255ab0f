"""Your own pictures and sounds, matched by class, become an AVSBench-semantic folder.

    python -m gavs_lib.data.compose PICTURES SOUNDS OUT        (--help lists the options)

This is how AVS-Synthetic was made (Liu et al., SAMA-AVS, 2024): pictures of objects with their masks, and recordings
that were never made together with them, joined because both are called "dog". Expected are

    PICTURES/<class>/<name>.jpg   with its mask: <name>.png beside it, or masks/<class>/<name>.png, or transparency
    SOUNDS/<class>/*.wav          or flac, ogg, mp3, aiff

(`gavs_lib.data.material` says it in full.)

What is made: clips of `v1s` (5 s) or `v2` (10 s) in which one object sounds throughout. The picture stands still: the
frames of a clip are equal, because an invented camera movement would teach nothing about the object. The sound is a
random stretch of a recording, or a short recording repeated, at 16 kHz mono. Clips in which several objects sound by
turns (`v1m`) are not made: who sounds when would be invented as well. Every file serves one split only.

With one object in each picture nobody needs to listen: whoever marks the object is right. `distractors=n` puts `n`
objects of other classes beside it, cut out by their masks. Any of them may be the one that stands in its own
photograph, so that "what is not pasted sounds" is no answer either.

`compose_folders` reads such folders. `compose_clips` below it takes any labelled pictures and sounds, such as those of
published data sets (`gavs_lib.data.public`).
"""

import argparse
import difflib
import hashlib
import io
import json
import os
import shutil
import sys
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from PIL import Image
from tqdm.auto import tqdm

from gavs_lib.audio import SAMPLE_RATE, mono_16k
from gavs_lib.data.avsbench import COLUMNS, SUBSETS
from gavs_lib.data.material import (
    PICTURE_SUFFIXES,
    SOUND_SUFFIXES,
    LabelledPicture,
    LabelledSound,
    class_name,
    find_pictures,
    find_sounds,
    not_used,
)

SUBSET_OF = {5: "v1s", 10: "v2"}  # by seconds
SPLITS = {"train": 0.7, "val": 0.15, "test": 0.15}
SHORTEST_SOUND = 0.25  # seconds; repeated more often than twenty times in a clip, a sound becomes another one
MAX_OVERLAP = 0.3  # of an object may be covered by a pasted one
MAX_SIDE = 0.6  # of the picture's height and width for a pasted object

_NOTE, _SOURCES = "composed.json", "sources.csv"
_MOST_CLASSES = 255  # labels_semantic has eight bits
_MOST_SHOWN = 20
_PLACING_TRIES = 60
_FADE = 0.01  # seconds, at both ends of a recording that is repeated
_QUIET = 0.01  # of a recording's peak; a stretch below that holds nothing to hear
_ABANDONED_SECONDS = 3600
_PALETTE = np.random.default_rng(70).integers(64, 256, size=(_MOST_CLASSES + 1, 3)).astype(np.uint8)
_PALETTE[0] = 0


@dataclass
class Composed:
    """What `compose_clips` made.

    Attributes:
        root: the folder, for `gavs_lib.data.AVSBench`.
        subset: "v1s" or "v2".
        counts: clips, a row a class, a column a split.
        remarks: what was left aside, and where a class or a split has less than one might expect.
    """

    root: Path
    subset: str
    counts: pd.DataFrame
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Plan:
    """One clip to be."""

    uid: str
    split: str
    label: str
    picture: LabelledPicture
    photograph: str  # the picture's source
    also: frozenset[str]  # the picture's, written like `label`
    sound: LabelledSound


def compose_folders(
    pictures_dir: str | os.PathLike,
    sounds_dir: str | os.PathLike,
    root: str | os.PathLike,
    masks_dir: str | os.PathLike | None = None,
    **options,
) -> Composed:
    """Compose clips from a folder of pictures with masks and a folder of sounds, laid out as the module says.

    Args:
        pictures_dir, sounds_dir: a folder a class in each.
        root: the folder to write.
        masks_dir: where masks are that are not beside their pictures; None: `masks` beside `pictures_dir`, if there.
        options: those of `compose_clips`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError, OSError: as `compose_clips`; two folders of one class; two pictures that would share one mask.
    """
    composed = compose_clips(find_pictures(pictures_dir, masks_dir), find_sounds(sounds_dir), root, **options)
    for folder, suffixes in ((pictures_dir, PICTURE_SUFFIXES), (sounds_dir, SOUND_SUFFIXES)):
        aside = not_used(folder, suffixes)
        if aside:
            composed.remarks.append(
                f"{folder}: {len(aside)} files not used, such as {aside[0]}; expected <class>/<name> and one of "
                f"{', '.join(suffixes)}."
            )
    return composed


def compose_clips(
    pictures: Iterable[LabelledPicture],
    sounds: Iterable[LabelledSound],
    root: str | os.PathLike,
    *,
    seconds: int = 5,
    clips_per_class: int | None = None,
    distractors: int = 0,
    splits: Mapping[str, float] = SPLITS,
    longest_side: int = 640,
    seed: int = 0,
    skip_broken: bool = False,
    progress: bool = True,
) -> Composed:
    """Write an AVSBench-semantic folder of clips, each a picture with a recording of the same class.

    The folder appears whole or not at all. Beside what AVSBench has it holds `sources.csv` (which files made which
    clip) and `composed.json` (the settings, and a fingerprint of the material). The same material and settings give
    the same bytes; a second call leaves such a folder as it is.

    Args:
        pictures, sounds: in any order.
        root: the folder to write: a new one, an empty one, or the same as before.
        seconds: of a clip: 5 or 10.
        clips_per_class: over all splits; None: as many as there are pictures. Pictures and recordings take turns.
        distractors: how many silent objects of other classes stand beside the sounding one, where there is room.
        splits: train, val and test -> share of each class's pictures and recordings; 0 leaves a split out. Of two
            files of a class, one is for training and one for the test; with a third, validation gets one too.
        longest_side: in pixels; larger pictures are made smaller.
        seed: of the splits, the pairs, the stretches of sound and the places of distractors.
        skip_broken: leave out what cannot be used, and say so in `remarks`, instead of raising an error.
        progress: show progress bars.

    Raises:
        ValueError: no class has both pictures and sounds; material that cannot be used (a mask of another size or
            without a marked pixel, silence, ...), the first 20 named; a class name that leads elsewhere or means
            something else to AVSBench; a folder of another origin or other settings; settings out of range.
        OSError: `root` cannot be written, or the disk is full. Nothing is left behind.
    """
    settings = _checked_settings(seconds, clips_per_class, distractors, splits, longest_side, seed)
    shares, root = settings["splits"], Path(root).resolve()
    _refuse_foreign(root)
    remarks: list[str] = []
    seen, heard = _by_class(pictures, "picture"), _by_class(sounds, "sound")
    _match(seen, heard, remarks)

    digest = hashlib.sha256()
    broken: list[str] = []
    sources: dict[str, dict[str, str]] = {}
    for kind, material in (("picture", seen), ("sound", heard)):
        read = partial(_read_picture, longest_side=longest_side) if kind == "picture" else _read_sound
        sources[kind] = _examine(kind, material, read, digest, broken, progress)
    if broken:
        told = "\n".join(f"  {line}" for line in broken[:_MOST_SHOWN])
        told += f"\n  and {len(broken) - _MOST_SHOWN} more" if len(broken) > _MOST_SHOWN else ""
        if not skip_broken:
            raise ValueError(
                f"{len(broken)} file{'s' * (len(broken) > 1)} cannot be used; nothing was written.\n{told}\n"
                "Mend or remove them, or leave them out with skip_broken=True (--skip-broken)."
            )
        remarks += [f"left out: {line}" for line in broken]
        _match(seen, heard, remarks)

    settings["material"] = digest.hexdigest()[:16]

    pool = {
        "picture": _divide(seen, sources["picture"], shares, seed),
        "sound": _divide(heard, sources["sound"], shares, seed),
    }
    plans = _pairs(pool, sources["picture"], settings)
    if not plans:
        raise ValueError(f"no class has a picture and a sound in one split; splits are {dict(splits)}. Add files.")
    counts = pd.DataFrame(0, index=sorted(seen), columns=[name for name in SPLITS if name in shares])
    for plan in plans:
        counts.loc[plan.label, plan.split] += 1
    remarks += _lacks(counts, pool)
    if distractors and len(seen) < 2:
        raise ValueError(f"distractors are objects of other classes, but there is only {next(iter(seen))!r}.")

    composed = Composed(root, SUBSET_OF[seconds], counts, remarks)
    if not _already_there(root, settings):
        _write(composed, plans, settings, progress)
    if distractors:
        made = pd.read_csv(root / _SOURCES, dtype=str, keep_default_na=False)["silent"]
        fewer = sum(len(names.split("|")) - (names == "") < distractors for names in made)
        if fewer:
            remarks.append(
                f"{fewer} of {len(made)} clips have fewer than {distractors} distractors: there was no room, or no "
                "further class in their split."
            )
    return composed


# ------------------------------------------------------------------------------------------------ what is there


def _by_class(items: Iterable, kind: str) -> dict[str, list]:
    """Sorted by class and name, so that nothing depends on the order in which they were listed."""
    classes = defaultdict(list)
    names = Counter()
    for item in items:
        classes[class_name(item.label)].append(item)
        names[item.name] += 1
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(f"two {kind}s are called {twice[0]!r}; expected a name for each.")
    return {label: sorted(classes[label], key=lambda item: item.name) for label in sorted(classes)}


def _match(seen: dict[str, list], heard: dict[str, list], remarks: list[str]) -> None:
    """Leave in both what is in both, and say what was not."""
    both = sorted(set(seen) & set(heard))
    lonely = {"pictures": sorted(set(seen) - set(heard)), "sounds": sorted(set(heard) - set(seen))}
    alike = [
        f"{mine} (pictures) and {yours} (sounds)"
        for mine in lonely["pictures"]
        for yours in difflib.get_close_matches(mine, lonely["sounds"], n=2)
    ]
    if not both:
        raise ValueError(
            "No class has both pictures and sounds.\n"
            f"  Classes with pictures: {', '.join(seen) or 'none'}\n"
            f"  Classes with sounds: {', '.join(heard) or 'none'}\n"
            + (f"  Look alike: {'; '.join(alike)}\n" if alike else "")
            + f"Expected PICTURES/<class>/<name> ({', '.join(PICTURE_SUFFIXES)}) and SOUNDS/<class>/<name> "
            f"({', '.join(SOUND_SUFFIXES)}). Name the folders of a class alike."
        )
    for kind, labels in lonely.items():
        if labels:
            remarks.append(f"classes with {kind} only, not used: {', '.join(labels)}.")
    if alike:
        remarks.append(f"these look alike, but count as different classes: {'; '.join(alike)}.")
    for material in (seen, heard):
        for label in set(material) - set(both):
            del material[label]


def _examine(kind: str, material: dict[str, list], read: Callable, digest, broken: list[str], progress: bool) -> dict:
    """Read everything once: drop from `material` what cannot be used, and tell which items are of one source."""
    sources = {}
    items = [(label, item) for label, each in material.items() for item in each]
    for label, item in tqdm(items, desc=f"reading {kind}s", unit="file", disable=not progress):
        try:
            parts = [np.ascontiguousarray(part).tobytes() for part in read(item)]
        except (OSError, ValueError) as error:
            broken.append(" ".join(str(error).split()))
            material[label].remove(item)
            continue
        content = [hashlib.sha256(part).hexdigest() for part in parts]
        sources[item.name] = item.source or content[0]  # the image or the waveform; a second mask makes no other photo
        also = sorted(item.also) if kind == "picture" else []
        digest.update(" ".join([kind, label, item.name, item.source, *content, *also]).encode())
    for label in [label for label, each in material.items() if not each]:
        del material[label]
    return sources


def _lacks(counts: pd.DataFrame, pool: dict[str, dict]) -> list[str]:
    """A sentence for every class that is missing from a split."""
    told = []
    for label, row in counts.iterrows():
        absent = [name for name in counts if not row[name]]
        if not absent:
            continue
        why = "clips_per_class is too small"
        if not all(items[label, name] for name in absent for items in pool.values()):
            have = [f"{sum(len(items[label, name]) for name in counts)} {kind}s" for kind, items in pool.items()]
            why = f"{' and '.join(have)}, and no file serves two splits"
        told.append(f"{label} has no clip in {' and '.join(absent)}: {why}.")
    return told


def _checked_settings(seconds, clips_per_class, distractors, splits, longest_side, seed) -> dict:
    """The settings as they are written down; `splits` are shares of 1, without those that are 0."""
    settings = {"made_by": "gavs_lib.data.compose", "seconds": seconds, "clips_per_class": clips_per_class}
    settings |= {"distractors": distractors, "longest_side": longest_side, "seed": seed}
    least = {"seconds": 5, "clips_per_class": 1, "distractors": 0, "longest_side": 16, "seed": 0}
    for name, lowest in least.items():
        value = settings[name]
        if name == "clips_per_class" and value is None:
            continue
        if not isinstance(value, Integral) or value < lowest:
            raise ValueError(f"{name} is {value!r}; expected a whole number, at least {lowest}.")
        settings[name] = int(value)
    if seconds not in SUBSET_OF:
        raise ValueError(f"seconds is {seconds!r}; AVSBench has clips of 5 (v1s) and 10 (v2).")
    total = sum(splits.values())
    if not set(splits) <= set(SPLITS) or min(splits.values(), default=0) < 0 or not 0 < total < np.inf:
        raise ValueError(f"splits are {dict(splits)}; expected shares, 0 or more, of {', '.join(SPLITS)}.")
    return settings | {"splits": {name: splits[name] / total for name in SPLITS if splits.get(name)}}


# ----------------------------------------------------------------------------------------- one picture, one sound


def _read_picture(picture: LabelledPicture, longest_side: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its mask, checked, at the size at which they are written."""
    image, mask = (np.asarray(part) for part in picture.load())
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or mask.dtype != bool:
        raise ValueError(
            f"{picture.name}: image is {image.dtype} {list(image.shape)}, mask {mask.dtype}; expected uint8 [H, W, 3] "
            "and bool [H, W]."
        )
    if mask.shape != image.shape[:2]:
        raise ValueError(f"{picture.name}: mask is {list(mask.shape)}, its image {list(image.shape[:2])}.")
    height, width = mask.shape
    if max(height, width) > longest_side:
        scale = longest_side / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image, mask = _resized(image, mask, size)
    if not mask.any() or mask.all():
        found = "marks no pixel" if not mask.any() else "marks every pixel"
        raise ValueError(
            f"{picture.name}: its mask {found}; expected the object marked, and black around it. Draw it anew."
        )
    return image, mask


def _resized(image: np.ndarray, mask: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    picture = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    cover = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(picture), np.asarray(cover) >= 128


def _read_sound(sound: LabelledSound) -> tuple[np.ndarray, int]:
    """A recording, checked, at its own rate."""
    waveform, sample_rate = sound.load()
    waveform = np.asarray(waveform, dtype=np.float32)
    if waveform.ndim != 1 or not np.isfinite(waveform).all():
        raise ValueError(f"{sound.name}: waveform is {list(waveform.shape)}; expected [samples], finite, mono.")
    if len(waveform) < SHORTEST_SOUND * sample_rate:
        raise ValueError(
            f"{sound.name}: lasts {len(waveform) / sample_rate:.2f} s; expected at least {SHORTEST_SOUND} s. "
            "Take a longer recording."
        )
    if not waveform.any():
        raise ValueError(f"{sound.name}: is silent from end to end; expected something to hear. Record it again.")
    return waveform, sample_rate


def _stretch(
    waveform: np.ndarray, sample_rate: int, seconds: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """`seconds` of a recording at 16 kHz, from a random moment on, and that moment; a short one is repeated."""
    length = seconds * sample_rate
    if len(waveform) < length:
        fade = max(1, int(_FADE * sample_rate))
        ramp = np.minimum(1, np.arange(1, len(waveform) + 1) / fade).astype(np.float32)
        start = int(rng.integers(len(waveform)))
        cut = np.resize(np.roll(waveform * ramp * ramp[::-1], -start), length)
    else:
        start = int(rng.integers(len(waveform) - length + 1))
        loudest = int(np.abs(waveform).argmax())
        audible = _QUIET * abs(waveform[loudest])
        if np.abs(waveform[start : start + length]).max() < audible:  # a pause: take the surroundings of the peak
            start = int(np.clip(loudest - length // 2, 0, len(waveform) - length))
        cut = waveform[start : start + length]
    wave = mono_16k(cut, sample_rate).numpy()[: seconds * SAMPLE_RATE]
    wave = np.pad(wave, (0, seconds * SAMPLE_RATE - len(wave)))
    return wave / max(1.0, float(np.abs(wave).max())), start / sample_rate


# -------------------------------------------------------------------------------------------------- who meets whom


def _divide(material: dict[str, list], sources: dict[str, str], shares: dict[str, float], seed: int) -> dict:
    """(class, split) -> items; a source is in one split, whatever classes it serves."""
    split_of: dict[str, str] = {}
    for label, items in material.items():
        rng = np.random.default_rng([seed, zlib.crc32(label.encode())])
        mine = sorted({sources[item.name] for item in items})
        have = Counter(split_of[source] for source in mine if source in split_of)
        # By name, not by content: the order in which a seed shuffles is that of the files.
        first = {sources[item.name]: item.name for item in reversed(items)}
        new = sorted((source for source in mine if source not in split_of), key=first.get)
        for source in (new[i] for i in rng.permutation(len(new))):
            empty = [name for name in ("train", "test", "val") if name in shares and not have[name]]
            lacks = {name: share * len(mine) - have[name] for name, share in shares.items()}
            split_of[source] = empty[0] if empty else max(lacks, key=lacks.get)
            have[split_of[source]] += 1
    pool = defaultdict(list)
    for label, items in material.items():
        for item in items:
            pool[label, split_of[sources[item.name]]].append(item)
    return pool


def _pairs(pool: dict, photographs: dict[str, str], settings: dict) -> list[_Plan]:
    """Decide which picture meets which recording, in every split and class."""
    shares, clips_per_class = settings["splits"], settings["clips_per_class"]
    plans = []
    edges = np.cumsum([0.0, *shares.values()])
    for number, split in enumerate(shares):
        for label in sorted({label for label, _ in pool["picture"]}):
            pictures, sounds = pool["picture"][label, split], pool["sound"][label, split]
            if not pictures or not sounds:
                continue
            count = len(pictures)
            if clips_per_class is not None:
                count = round(edges[number + 1] * clips_per_class) - round(edges[number] * clips_per_class)
            rng = np.random.default_rng([settings["seed"], zlib.crc32(f"{label} {split}".encode())])
            pairs = zip(_in_turns(pictures, count, rng), _in_turns(sounds, count, rng))
            for index, (picture, sound) in enumerate(pairs):
                uid = f"{label}-{split}-{index:05d}_0_{settings['seconds'] * 1000}"
                also = frozenset(map(class_name, picture.also))
                plans.append(_Plan(uid, split, label, picture, photographs[picture.name], also, sound))
    return plans


def _in_turns(items: Sequence, count: int, rng: np.random.Generator) -> list:
    """`count` items, none used again before all others were; in another order each round."""
    rounds = [rng.permutation(len(items)) for _ in range(-(-count // len(items)))]
    return [items[i] for order in rounds for i in order][:count]


def _companions(plan: _Plan, others: Sequence[_Plan], count: int, rng: np.random.Generator) -> list[_Plan]:
    """Clips of other classes of the same split whose objects stand by silently: so each class is silent about as often
    as it sounds. Of one photograph only one object comes in: the others are seen in it already. And any photograph may
    become the ground, so none shows an unmarked object of the class that sounds."""
    chosen: list[_Plan] = []
    for _ in range(count):
        here = [plan, *chosen]
        labels, photographs = {each.label for each in here}, {each.photograph for each in here}
        free = [
            other
            for other in others
            if other.label not in labels and other.photograph not in photographs and plan.label not in other.also
        ]
        if free:
            chosen.append(free[int(rng.integers(len(free)))])
    return chosen


# ------------------------------------------------------------------------------------------------------ the picture


def _scene(shown: list[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator) -> tuple[np.ndarray, list]:
    """Put several objects into one of their pictures, drawn by chance.

    Args:
        shown: image and mask of each object; the first must be in the scene, the others where there is room.

    Returns:
        the frame [H, W, 3] uint8, and the visible mask [H, W] bool of each object, None of those without room.
    """
    bottom = int(rng.integers(len(shown)))
    for base in (bottom, 0):
        frame, masks = shown[base][0].copy(), [None] * len(shown)
        masks[base] = shown[base][1].copy()
        whole = {base: masks[base].sum()}
        for number in [0, *range(1, len(shown))]:
            if number != base:
                masks[number] = _paste(frame, masks, whole, *shown[number], rng)
                whole[number] = 0 if masks[number] is None else masks[number].sum()
        if masks[0] is not None:
            break
    return frame, masks


def _paste(frame, masks: list, whole: dict, image, mask, rng: np.random.Generator) -> np.ndarray | None:
    """Paste an object into `frame` where it covers little of the others (`masks`, which lose what is covered)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    height, width = frame.shape[:2]
    same_share = max(height, width) / max(mask.shape)  # of this picture's side as of its own
    image, mask = image[box], mask[box]
    fit = min(MAX_SIDE * height / mask.shape[0], MAX_SIDE * width / mask.shape[1])
    for shrink in (1.0, 0.7, 0.5):
        scale = min(same_share, fit) * shrink
        size = max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale))
        picture, solid = _resized(image, mask, size) if size != mask.shape[::-1] else (image, mask)
        if not solid.any():
            return None
        for _ in range(_PLACING_TRIES):
            y, x = rng.integers(height - size[1] + 1), rng.integers(width - size[0] + 1)
            here = np.zeros((height, width), dtype=bool)
            here[y : y + size[1], x : x + size[0]] = solid
            left = {i: each & ~here for i, each in enumerate(masks) if each is not None}
            if all(each.sum() >= (1 - MAX_OVERLAP) * whole[i] for i, each in left.items()):
                frame[here] = picture[solid]
                for i, each in left.items():
                    masks[i] = each
                return here
    return None


# ------------------------------------------------------------------------------------------------------- the folder


def _refuse_foreign(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise ValueError(f"{root} is a file; expected a folder to write. Choose another name.")
    if root.is_dir() and any(root.iterdir()) and not (root / _NOTE).is_file():
        raise ValueError(f"{root} is not empty and was not composed here. Choose another folder, or an empty one.")


def _already_there(root: Path, settings: dict) -> bool:
    if not (root / _NOTE).is_file():
        return False
    try:
        found = json.loads((root / _NOTE).read_text())
    except ValueError as error:
        raise ValueError(
            f"{root / _NOTE}: cannot be read ({error}). Delete the folder and compose it again."
        ) from error
    if found != settings:
        other = [name for name in settings if not isinstance(found, dict) or found.get(name) != settings[name]]
        raise ValueError(
            f"{root} was composed with another {' and '.join(other)}. Choose another folder, or delete this one."
        )
    return True


def _write(composed: Composed, plans: list[_Plan], settings: dict, progress: bool) -> None:
    """Write everything under another name, and move it into place when it is whole."""
    root, index = composed.root, {"background": 0} | {name: i + 1 for i, name in enumerate(composed.counts.index)}
    if len(index) > _MOST_CLASSES + 1:
        raise ValueError(f"{len(index) - 1} classes; an AVSBench-semantic folder can number {_MOST_CLASSES}.")
    draft = root.with_name(f".{root.name}.{os.getpid()}.part")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        for left in root.parent.glob(f".{root.name}.*.part"):  # by a killed run; a live one touches its own
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        (draft / composed.subset).mkdir(parents=True)
        by_split = {split: [plan for plan in plans if plan.split == split] for split in settings["splits"]}
        rows, sources = [], []
        for plan in tqdm(plans, desc="writing clips", unit="clip", disable=not progress):
            sources.append(_write_clip(draft, composed.subset, plan, by_split[plan.split], settings, index))
            rows.append((plan.uid.split("_")[0], plan.uid, 0, 0, plan.label, plan.split, composed.subset))
            os.utime(draft)
        pd.DataFrame(rows, columns=COLUMNS).to_csv(draft / "metadata.csv", index=False)
        pd.DataFrame(sources).to_csv(draft / _SOURCES, index=False)
        (draft / "label2idx.json").write_text(json.dumps(index, indent=1))
        (draft / _NOTE).write_text(json.dumps(settings, indent=1))
        if _already_there(root, settings):
            return  # another process was faster
        if root.is_dir():
            root.rmdir()  # empty, or this fails
        draft.replace(root)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot write the composed clips ({error.strerror or error}); nothing was left", str(root)
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_clip(
    draft: Path, subset: str, plan: _Plan, others: list[_Plan], settings: dict, index: dict[str, int]
) -> dict:
    """Write a clip's folder; its row of `sources.csv`."""
    rng = np.random.default_rng([settings["seed"], zlib.crc32(plan.uid.encode())])
    companions = _companions(plan, others, settings["distractors"], rng)
    shown = [plan, *companions]
    frame, masks = _scene([_read_picture(each.picture, settings["longest_side"]) for each in shown], rng)
    wave, start = _stretch(*_read_sound(plan.sound), settings["seconds"], rng)

    folder = draft / subset / plan.uid
    for name in ("frames", "labels_rgb", "labels_semantic"):
        (folder / name).mkdir(parents=True)
    semantic = np.where(masks[0], index[plan.label], 0).astype(np.uint8)
    still = _encoded(frame, "JPEG", quality=95, subsampling=0)
    labels = {"labels_rgb": _encoded(_PALETTE[semantic], "PNG"), "labels_semantic": _encoded(semantic, "PNG")}
    labelled = 1 if (subset, plan.split) == ("v1s", "train") else SUBSETS[subset]
    for t in range(SUBSETS[subset]):
        (folder / "frames" / f"{t}.jpg").write_bytes(still)
        for name, picture in labels.items() if t < labelled else ():
            (folder / name / f"{t}.png").write_bytes(picture)
    sound = io.BytesIO()
    soundfile.write(sound, wave, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    (folder / "audio.wav").write_bytes(sound.getvalue())
    silent = [each.picture.name for each, mask in zip(companions, masks[1:]) if mask is not None]
    row = {"uid": plan.uid, "picture": plan.picture.name, "sound": plan.sound.name, "sound_start": f"{start:.3f}"}
    return row | {"silent": "|".join(silent)}


def _encoded(picture: np.ndarray, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def main(arguments: list[str] | None = None) -> int:
    """Compose a folder and say what is in it; 0 when it is there, else 1."""
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.data.compose", description=__doc__.splitlines()[0])
    parser.add_argument("pictures_dir", metavar="PICTURES", help="PICTURES/<class>/<name>.jpg, with masks")
    parser.add_argument("sounds_dir", metavar="SOUNDS", help="SOUNDS/<class>/*.wav")
    parser.add_argument("root", metavar="OUT", help="folder to write")
    parser.add_argument(
        "--masks", dest="masks_dir", metavar="DIR", help="MASKS/<class>/<name>.png (default: masks beside PICTURES)"
    )
    parser.add_argument("--seconds", type=int, default=5, choices=list(SUBSET_OF), help="default: %(default)s")
    parser.add_argument("--clips-per-class", type=int, metavar="N", help="default: one for each picture")
    parser.add_argument(
        "--distractors", type=int, default=0, metavar="N", help="silent objects beside the sounding one"
    )
    parser.add_argument(
        "--split",
        nargs=3,
        type=float,
        default=list(SPLITS.values()),
        metavar=tuple(name.upper() for name in SPLITS),
        help="shares of each class's files; 0 leaves a split out (default: %(default)s)",
    )
    parser.add_argument("--longest-side", type=int, default=640, metavar="PIXELS", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--skip-broken", action="store_true", help="leave out files that cannot be used, and list them")
    options = vars(parser.parse_args(arguments))
    options["splits"] = dict(zip(SPLITS, options.pop("split")))
    try:
        composed = compose_folders(**options, progress=sys.stderr.isatty())
    except (OSError, ValueError) as error:
        print(error)
        return 1
    print(composed.counts.to_string())
    for remark in composed.remarks:
        print(f"note: {remark}")
    print(f'{composed.root}: {composed.counts.to_numpy().sum()} clips, AVSBench(root, "{composed.subset}", "train").')
    return 0


if __name__ == "__main__":
    sys.exit(main())
