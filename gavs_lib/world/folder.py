"""The toy shop written to disk exactly as AVSBench-semantic lies on a user's disk.

    <root>/<v1s|v1m|v2>/<uid>/frames/{0..}.jpg  audio.wav  labels_rgb/{0..}.png  labels_semantic/{0..}.png
    <root>/metadata.csv   vid,uid,s_min,s_sec,a_obj,split,label
    <root>/label2idx.json
    <root>/v3/rotation_<r>/meta_v3_{seen_train,seen_val,unseen_val,unseen}.csv

A folder holds the clips of one rotation. ``train``, ``val`` and ``test`` show seen classes only, sounding or silent;
``unseen_val`` and ``unseen_test`` sound unseen ones, and most of the silent toys there are unseen too, so that "the
toy I have never met" is no answer.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from PIL import Image
from tqdm.auto import tqdm

from gavs_lib.world.classes import ROTATIONS, class_split
from gavs_lib.world.objects import TOYS
from gavs_lib.world.scenes import SECONDS, Scene, mix, render_frames, sample_scene
from gavs_lib.world.sounds import SAMPLE_RATE

SPLITS = ("train", "val", "test", "unseen_val", "unseen_test")

# Clips per subset and split of the default folder: enough to train on, small enough to draw in under a minute.
DEFAULT_COUNTS = {
    ("v1s", "train"): 360,
    ("v1s", "val"): 60,
    ("v1s", "test"): 100,
    ("v1s", "unseen_val"): 60,
    ("v1s", "unseen_test"): 100,
    ("v1m", "train"): 240,
    ("v1m", "val"): 40,
    ("v1m", "test"): 60,
    ("v1m", "unseen_val"): 30,
    ("v1m", "unseen_test"): 60,
    ("v2", "train"): 24,
    ("v2", "test"): 24,
}
_UNSEEN_DISTRACTOR_WEIGHT = 5.0
_ABANDONED_SECONDS = 600


@dataclass(frozen=True)
class ClipRecipe:
    """One clip to be: which subset and split it belongs to, its number there, and its scene."""

    subset: str
    split: str
    index: int
    scene: Scene

    @property
    def vid(self) -> str:
        return f"toy-{self.subset}-{self.split.replace('_', '-')}-{self.index:05d}"

    @property
    def uid(self) -> str:
        return f"{self.vid}_0_{self.scene.seconds * 1000}"

    @property
    def a_obj(self) -> str:
        """The classes heard, joined by underscores, as AVSBench writes them."""
        return "_".join(toy.name for toy in self.scene.heard)


def recipe(subset: str, split: str, index: int, rotation: int = 0, seed: int = 0, style: str = "shop") -> ClipRecipe:
    """Clip ``index`` of a split; it depends on nothing but the arguments.

    Raises:
        ValueError: an unknown subset, split, rotation or style.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; the toy shop has {', '.join(SPLITS)}")
    if subset not in SECONDS:
        raise ValueError(f"subset is {subset!r}; the toy shop has {', '.join(SECONDS)}")
    classes = class_split(rotation)
    rng = np.random.default_rng([seed, rotation, list(SECONDS).index(subset), SPLITS.index(split), index])
    if split.startswith("unseen"):
        sources = classes.unseen_val if split == "unseen_val" else classes.unseen_test
        weights = np.array([_UNSEEN_DISTRACTOR_WEIGHT if toy in classes.unseen else 1.0 for toy in TOYS])
        scene = sample_scene(rng, subset, sources, TOYS, weights, style)
    else:
        scene = sample_scene(rng, subset, classes.seen, style=style)
    return ClipRecipe(subset, split, index, scene)


def recipes(subset: str, split: str, count: int, rotation: int = 0, seed: int = 0) -> Iterator[ClipRecipe]:
    """The first ``count`` clips of a split, one after the other."""
    return (recipe(subset, split, index, rotation, seed) for index in range(count))


def write_folder(
    root: str | os.PathLike,
    rotation: int = 0,
    seed: int = 0,
    counts: dict[tuple[str, str], int] | None = None,
    progress: bool = True,
) -> Path:
    """Write the toy shop under ``root``; a second call finishes what a first one left undone.

    Args:
        root: folder to write; created. A folder of another rotation or seed is refused.
        rotation: which classes are seen, 0 to 3.
        seed: other seeds give other clips of the same world.
        counts: clips by (subset, split); default ``DEFAULT_COUNTS``.
        progress: show a progress bar.

    Returns:
        ``root`` as a path.

    Raises:
        ValueError: ``root`` holds a folder of other settings, or something else.
    """
    root = Path(root)
    counts = DEFAULT_COUNTS if counts is None else counts
    settings = {"rotation": rotation, "seed": seed, "world": fingerprint()}
    claim_folder(root, "toy shop", settings)
    rows = []
    todo = [(subset, split, index) for (subset, split), count in counts.items() for index in range(count)]
    for subset, split, index in tqdm(todo, desc="drawing the toy shop", unit="clip", disable=not progress):
        clip = recipe(subset, split, index, rotation, seed)
        target = root / subset / clip.uid
        if not target.exists():
            _write_clip(target, clip)
        rows.append((clip.vid, clip.uid, 0, 0, clip.a_obj, split, subset))
    table = pd.DataFrame(rows, columns=["vid", "uid", "s_min", "s_sec", "a_obj", "split", "label"])
    write_text(root / "metadata.csv", table.to_csv(index=False))
    write_text(root / "label2idx.json", json.dumps(label_index(), indent=1))
    _write_v3(root, table, rotation)
    return root


def label_index() -> dict[str, int]:
    """Class name -> grey value in ``labels_semantic``; 0 is the background."""
    return {"background": 0} | {toy.name: i + 1 for i, toy in enumerate(TOYS)}


def fingerprint(style: str = "shop") -> str:
    """Sixteen hex digits that change when the drawings, the voices or the scenes of a style do.

    A hash of 64 clips after strong quantisation (block means of the pictures, loudness by tenths of a second), so that
    another machine's last digit does not change it.

    Raises:
        ValueError: there is no such style.
    """
    if style not in _FINGERPRINTS:
        digest = hashlib.sha256()
        for index in range(64):
            split = SPLITS[index % len(SPLITS)]
            clip = recipe(("v1s", "v1m")[index % 2], split, index, index % ROTATIONS, 977, style)
            frame = render_frames(clip.scene).frames[0].astype(np.float64)
            blocks = frame.reshape(8, 16, 8, 16, 3).mean(axis=(1, 3))
            sound = mix(clip.scene)[: 2 * SAMPLE_RATE].reshape(20, -1)
            level = 10 * np.log10((sound.astype(np.float64) ** 2).mean(axis=1) + 1e-6)
            digest.update(np.round(blocks / 4).astype(np.int16).tobytes())
            digest.update(np.round(level).astype(np.int16).tobytes())
        _FINGERPRINTS[style] = digest.hexdigest()[:16]
    return _FINGERPRINTS[style]


_FINGERPRINTS: dict[str, str] = {}


def claim_folder(root: Path, what: str, settings: dict) -> None:
    """Make a folder and mark it with its settings, or refuse one that is marked otherwise; sweep up old drafts.

    Args:
        root: the folder.
        what: is in it, such as "toy shop"; `toyshop.json` will hold the settings.
        settings: what decides the content, as JSON can hold it.

    Raises:
        ValueError: the folder holds the same made with other settings, or something else.
    """
    note = root / f"{what.replace(' ', '')}.json"
    if note.exists():
        found = json.loads(note.read_text())
        if found != settings:
            raise ValueError(
                f"{root} holds a {what} made with {found}, you asked for {settings}. "
                "Choose another folder, or delete this one."
            )
    elif root.exists() and any(root.iterdir()):
        raise ValueError(f"{root} is not empty and holds no {what}. Choose another folder, or an empty one.")
    else:
        root.mkdir(parents=True, exist_ok=True)
        write_text(note, json.dumps(settings))
    for draft in root.glob("*/.*.part"):  # of a killed run; one that is at work writes a clip in far less than this
        if time.time() - draft.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(draft, ignore_errors=True) if draft.is_dir() else draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    draft.write_text(text)
    draft.replace(path)


def _write_clip(target: Path, clip: ClipRecipe) -> None:
    """Write a clip's folder under another name and move it into place when it is whole."""
    pictures = render_frames(clip.scene)
    on = np.array(clip.scene.sounding)
    labelled = 1 if (clip.subset, clip.split) == ("v1s", "train") else clip.scene.seconds
    index = label_index()
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        for name in ("frames", "labels_rgb", "labels_semantic"):
            (draft / name).mkdir(parents=True)
        for t, frame in enumerate(pictures.frames):
            Image.fromarray(frame).save(draft / "frames" / f"{t}.jpg", quality=95, subsampling=0)
        for t in range(labelled):
            semantic = np.zeros(pictures.masks.shape[2:], dtype=np.uint8)
            for i, toy in enumerate(clip.scene.toys):
                if on[i, t]:
                    semantic[pictures.masks[i, t]] = index[toy.name]
            Image.fromarray(semantic).save(draft / "labels_semantic" / f"{t}.png")
            Image.fromarray(_PALETTE[semantic]).save(draft / "labels_rgb" / f"{t}.png")
        soundfile.write(draft / "audio.wav", mix(clip.scene), SAMPLE_RATE, subtype="PCM_16")
        draft.replace(target)
    except OSError as error:
        raise OSError(error.errno, f"cannot write this clip ({error.strerror or error})", str(target)) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_v3(root: Path, table: pd.DataFrame, rotation: int) -> None:
    """The V3-style lists of this folder's rotation: what trains, what chooses, what is tested."""
    folder = root / "v3" / f"rotation_{rotation}"
    folder.mkdir(parents=True, exist_ok=True)
    names = {"train": "seen_train", "val": "seen_val", "unseen_val": "unseen_val", "unseen_test": "unseen"}
    for split, name in names.items():
        rows = table[table["split"] == split].assign(split=name)
        write_text(folder / f"meta_v3_{name}.csv", rows.to_csv(index=False))


def _palette() -> np.ndarray:
    """One colour a class, black for the background; none is so dark that its grey value rounds to zero."""
    colours = np.random.default_rng(36).integers(64, 256, size=(len(TOYS) + 1, 3))
    colours[0] = 0
    return colours.astype(np.uint8)


_PALETTE = _palette()
