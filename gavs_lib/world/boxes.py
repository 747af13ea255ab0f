"""The sketchbook written to disk exactly as VGG-SS lies there: one picture a clip, ten seconds of sound, boxes.

    <root>/vggss.json            [{"file": ..., "class": ..., "bbox": [[xmin, ymin, xmax, ymax]]}, ...]
    <root>/frames/<file>.jpg     the picture in the middle of the clip
    <root>/audio/<file>.wav      the sound of all ten seconds

As VGG-SS is to AVSBench, so is this set to the toy shop: the same 36 classes, drawn by another hand, played by other
instruments, and annotated by boxes only, drawn around the visible part of what sounds. It is for testing, and for
learning from a few examples. Which classes are unseen in it is a matter of the rotation that a model was trained in
(`classes.class_split`). `gavs_lib.data.VGGSS(root / "vggss.json", root)` reads it.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image
from tqdm.auto import tqdm

from gavs_lib.world.folder import claim_folder, fingerprint, write_text
from gavs_lib.world.objects import TOYS, Toy
from gavs_lib.world.scenes import SAMPLE_RATE, Scene, mix, render_frames, sample_scene, sounding_mask

STYLE = "sketchbook"
SECONDS = 10
MOMENT = 5  # the second of which the picture is annotated
ALONE_SHARE = 0.25  # of the entries show the sounding toy and no other


@dataclass(frozen=True)
class BoxRecipe:
    """One entry to be: its number in the set, and its scene of ten seconds in which one toy sounds throughout."""

    index: int
    scene: Scene

    @property
    def uid(self) -> str:
        """The name of its files, without a suffix."""
        return f"sketch_{self.index:05d}"

    @property
    def toy(self) -> Toy:
        return self.scene.heard[0]


def box_recipe(index: int, seed: int = 0) -> BoxRecipe:
    """Entry `index` of the set; it depends on nothing but the arguments.

    Of every 36 entries in a row that begin at a multiple of 36, each class sounds in one. A quarter of the entries
    show the sounding toy alone; the others have one to three silent toys of any class beside it, by the rules of v1s.

    Raises:
        ValueError: a negative index.
    """
    if index < 0:
        raise ValueError(f"index is {index}; entries are numbered from 0.")
    block, place = divmod(index, len(TOYS))
    toy = TOYS[np.random.default_rng([seed, 61, block]).permutation(len(TOYS))[place]]
    rng = np.random.default_rng([seed, 62, index])
    scene = sample_scene(rng, "v1s", (toy,), TOYS, style=STYLE)
    shown = list(zip(scene.placed, scene.sounding))
    if rng.random() < ALONE_SHARE:
        shown = [(place, on) for place, on in shown if any(on)]
    return BoxRecipe(
        index,
        replace(
            scene,
            placed=tuple(place for place, _ in shown),
            sounding=tuple((any(on),) * SECONDS for _, on in shown),
        ),
    )


def box_recipes(count: int, seed: int = 0) -> Iterator[BoxRecipe]:
    """The first `count` entries, one after the other."""
    return (box_recipe(index, seed) for index in range(count))


def draw_entry(recipe: BoxRecipe) -> tuple[np.ndarray, list[float]]:
    """The picture, uint8 `[H, W, 3]` RGB, and the box around the visible part of what sounds, as in `visible_box`."""
    pictures = render_frames(recipe.scene)
    return pictures.frames[MOMENT], visible_box(sounding_mask(recipe.scene, pictures.masks)[MOMENT])


def visible_box(mask: np.ndarray) -> list[float]:
    """The smallest box around the pixels of a mask, bool `[H, W]`, as shares of width and height.

    Returns:
        [xmin, ymin, xmax, ymax]: the outer edges of the outermost pixels, so a full mask gives [0, 0, 1, 1].

    Raises:
        ValueError: no pixel is set.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        raise ValueError(f"the mask {list(mask.shape)} holds no pixel; a box needs something to stand around.")
    height, width = mask.shape
    return [
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    ]


def write_boxes(root: str | os.PathLike, count: int, seed: int = 0, progress: bool = True) -> Path:
    """Write the first `count` entries under `root`; a second call finishes what a first one left undone.

    Args:
        root: folder to write; created. A folder of another seed, or of another sketchbook, is refused.
        count: entries, at least 1. More than before adds some; `vggss.json` always lists the first `count`.
        seed: other seeds give other entries.
        progress: show a progress bar.

    Returns:
        the path of `vggss.json`, which is written last.

    Raises:
        ValueError: a count below 1; `root` holds a set of other settings, or something else.
        OSError: a file cannot be written; none is left half-written.
    """
    if count < 1:
        raise ValueError(f"count is {count}; expected at least 1 entry.")
    root = Path(root)
    claim_folder(root, "sketchbook", {"seed": seed, "world": fingerprint(STYLE)})
    entries = []
    for recipe in tqdm(box_recipes(count, seed), "drawing the sketchbook", count, unit="entry", disable=not progress):
        picture, sound = root / "frames" / f"{recipe.uid}.jpg", root / "audio" / f"{recipe.uid}.wav"
        frame, box = draw_entry(recipe)
        if not picture.exists():
            _write(picture, lambda to, frame=frame: Image.fromarray(frame).save(to, "jpeg", quality=95, subsampling=0))
        if not sound.exists():
            _write(
                sound,
                lambda to, scene=recipe.scene: soundfile.write(to, mix(scene), SAMPLE_RATE, "PCM_16", format="wav"),
            )
        entries.append({"file": recipe.uid, "class": recipe.toy.name, "bbox": [box]})
    annotations = root / "vggss.json"
    write_text(annotations, json.dumps(entries, indent=1))
    return annotations


def _write(path: Path, save: Callable[[Path], None]) -> None:
    """Let `save` write a file under another name, and move it into place when it is whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(exist_ok=True)
        save(draft)
        draft.replace(path)
    except (OSError, soundfile.LibsndfileError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(getattr(error, "errno", None), f"cannot write this entry ({reason})", str(path)) from error
    finally:
        draft.unlink(missing_ok=True)
