"""Hard cases: what a mean over test clips hides, one difficulty at a time.

Ten cases of two kinds, on pictures of three toys.

In five of them one toy sounds, and the mask can be right (figure: mIoU). All five show the same source in the same
place on the same floor and play the same sound, sample by sample. They differ in one silent toy only:

    plain         it is of another family, and no toy covers another
    overlap       the same toy, moved: one of the two covers 15 to 30 % of the other (where they are put down; from then
                  on they tremble by a pixel, as all toys do)
    near voices   it is of the class whose voice is nearest to the source's for VGGish (`nearest_voices`)
    same family   it is of the source's family, of the other size and another material
    one factor    it is of the source's family and differs in size or in material, not in both

In the other five nothing in the picture sounds, and every marked pixel is wrong (figure: false-positive area, the
share of the picture that is marked). The pictures are those of "plain":

    silence       digital zeros
    room noise    the clip's own background noise, 8 to 25 dB below a toy
    white noise   as loud as a toy (RMS 0.1, 20 dB below full scale)
    off-screen    a class that is not in the picture, in the clip's own room and noise
    shuffled      the sound of another clip, of a class that is not in the picture

The clips are new ones, of no split: toys stand wholly in the picture, sources take turns, and silent toys come from all
36 classes, whether the source is of a seen class or of an unseen one.

    python -m gavs_lib.lab.hard_cases --models gavs audio_sam     # rows for data/results/hard_cases.csv
"""

import argparse
import itertools
import os
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import binary_dilation
from torch import nn
from torch.utils.data import DataLoader

from gavs_lib.audio import second_examples
from gavs_lib.lab.evaluate import interval, score, silent
from gavs_lib.lab.features import FeatureSet, embed_sound, extract_features
from gavs_lib.lab.shipped import KINDS, MODELS, load_model, record
from gavs_lib.lab.toyshop import ToyshopClips
from gavs_lib.lab.train import collate, predict_masks
from gavs_lib.metrics import AVSBENCH_THRESHOLD, false_positive_area
from gavs_lib.vggish import load_vggish
from gavs_lib.world.classes import class_split
from gavs_lib.world.folder import ClipRecipe, fingerprint
from gavs_lib.world.objects import TOYS, Toy
from gavs_lib.world.scenes import (
    FRAME,
    SAMPLE_RATE,
    PlacedToy,
    Scene,
    mix,
    silhouette,
    with_off_screen,
)
from gavs_lib.world.sounds import RMS, synthesize

SOUNDING_CASES = ("plain", "overlap", "near voices", "same family", "one factor")
SILENT_CASES = ("silence", "room noise", "white noise", "off-screen", "shuffled")
CLASSES = ("seen", "unseen")
OVERLAP = (0.15, 0.30)  # of the covered toy; the world's own scenes allow up to the second
CLIP_SECONDS = 2  # the seconds of a v1s clip are much alike, and what an interval needs is clips
WHITE_NOISE_RMS = RMS  # of a toy's voice, on average

_STREAM = 4077  # keeps these draws apart from those of the splits
_TREMBLE = 2  # pixels by which camera and tremor move a toy, and one toy against another along each axis
_REDRAW = 10  # attempts at placing the same drawings, before new ones are made


def nearest_voices(vggish: nn.Module, voices: int = 8) -> dict[Toy, Toy]:
    """For each class, the other class whose voice VGGish can least tell from it.

    Nearest by the cosine of class means: of each class, ``voices`` sounds of two seconds without room or noise. For
    VGGish-mini it is of the same family in the other size for 16 of the 36 classes, of the same family in another
    material for 12, and of another family in the same size and material for 8.
    """
    means = []
    for number, toy in enumerate(TOYS):
        waves = [synthesize(toy, 2, np.random.default_rng([_STREAM, number, voice])) for voice in range(voices)]
        patches = torch.cat([second_examples(wave, SAMPLE_RATE, 2) for wave in waves])
        with torch.no_grad():
            means.append(vggish(patches.to(next(vggish.parameters()).device)).mean(dim=0).cpu())
    means = nn.functional.normalize(torch.stack(means), dim=1)
    nearness = (means @ means.T).fill_diagonal_(-2)
    return {toy: TOYS[other] for toy, other in zip(TOYS, nearness.argmax(dim=1).tolist())}


def hard_scenes(
    index: int, classes: str, nearest: Mapping[Toy, Toy], rotation: int = 0, seed: int = 0
) -> dict[str, Scene]:
    """The scenes of one group: case -> scene, alike but for one silent toy. They depend on nothing but the arguments.

    The silent toy keeps its drawing's and voice's seed in all of them, and its centre in all but "overlap". A scene's
    toys stand back to front; the source is behind the moved toy in about half of the groups.

    Args:
        index: of the group; every class of the sounding kind is the source in turn.
        classes: "seen" or "unseen" (the unseen-test classes of the rotation): which ones sound.
        nearest: from ``nearest_voices``.
        rotation: which classes are seen.
        seed: other seeds give other scenes.

    Raises:
        ValueError: ``classes`` is neither, or there is no such rotation.
    """
    if classes not in CLASSES:
        raise ValueError(f"classes is {classes!r}; expected one of {', '.join(CLASSES)}: those that sound.")
    split = class_split(rotation)
    sources = split.seen if classes == "seen" else split.unseen_test
    stream = [_STREAM, seed, rotation, CLASSES.index(classes)]
    source = sources[np.random.default_rng(stream).permutation(len(sources))[index % len(sources)]]
    rng = np.random.default_rng([*stream, index])

    def draw(allowed) -> Toy:
        choices = [toy for toy in TOYS if allowed(toy)]
        return choices[rng.integers(len(choices))]

    near = nearest[source]
    plain = draw(lambda toy: toy.family != source.family and toy != near)
    changing = {
        "plain": plain,
        "near voices": near,
        "same family": draw(lambda toy: _apart(toy, source) == (False, True, True)),
        "one factor": draw(lambda toy: _apart(toy, source) in ((False, True, False), (False, False, True))),
    }
    third = draw(lambda toy: toy.family not in {source.family, plain.family, near.family})
    behind = bool(rng.integers(2))
    room = {
        "seed": int(rng.integers(2**31)),
        "snr_db": float(rng.uniform(8, 25)),
        "reverberant": bool(rng.integers(2)),
    }
    heard, stays, spots = _place(rng, source, third, changing, behind)
    scenes = {}
    for case in SOUNDING_CASES:
        placed = (heard, spots[case]) if behind else (spots[case], heard)
        sounding = tuple((place is heard,) * CLIP_SECONDS for place in (*placed, stays))
        scenes[case] = Scene(placed=(*placed, stays), sounding=sounding, **room)
    return scenes


def wrong_sounds(scene: Scene, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What is played to a scene's pictures although no toy in them sounds, but for "shuffled" (see ``donors``).

    Returns:
        case -> float32 ``[seconds * 16000]``.
    """
    samples = scene.seconds * SAMPLE_RATE
    return {
        "silence": np.zeros(samples, dtype=np.float32),
        "room noise": mix(scene.playing(None)),
        "white noise": WHITE_NOISE_RMS * rng.standard_normal(samples, dtype=np.float32),
        "off-screen": mix(with_off_screen(scene, rng)),
    }


def donors(scenes: Sequence[Scene], rng: np.random.Generator) -> list[int]:
    """For each scene another one, drawn by chance, none of whose sounding classes is in the picture.

    Raises:
        ValueError: for some scene there is none.
    """
    chosen = []
    for index, scene in enumerate(scenes):
        strangers = [i for i, other in enumerate(scenes) if not set(other.heard) & set(scene.toys)]
        if not strangers:
            raise ValueError(
                f"scene {index} of {len(scenes)}: every other one sounds a class that is in its picture, so no sound "
                "can be shuffled to it; ask for more clips (count)."
            )
        chosen.append(strangers[rng.integers(len(strangers))])
    return chosen


def measure_hard_cases(
    model: nn.Module,
    vggish: nn.Module,
    cache: str | os.PathLike | None = None,
    count: int = 40,
    rotation: int = 0,
    seed: int = 0,
    deaf: bool = False,
) -> pd.DataFrame:
    """Measure a model on all cases, for seen and for unseen classes.

    Args:
        model: any model of this library.
        vggish: that it was trained with.
        cache: folder of the feature cache; None: a temporary one.
        count: clips of each case, for each of seen and unseen.
        rotation: that the model was trained on.
        seed: of the clips.
        deaf: every sound is replaced by the embedding of silence, as the deaf twin was trained.

    Returns:
        One row a clip and figure: classes ("seen" or "unseen": those that sound, or would), case, figure, uid (equal
        for the clips of one group, so that cases can be compared pairwise) and value. Figures, averaged over the
        seconds of a clip:

        miou: of the sounding cases.
        false-positive area: share of the picture that is marked, of the silent cases.
        marked area: the same share of "plain", where a toy does sound: the scale for the false one.
        anything marked: 1 if a pixel is marked in any second, else 0; of the silent cases and of "plain".
        marked of the source: share of the pixels of the toy that "plain" sounds; of the silent cases and of "plain".

    Raises:
        ValueError: ``count`` is below 1 or too small to shuffle sounds (``donors``).
    """
    if count < 1:
        raise ValueError(f"count is {count}; expected at least 1 clip a case.")
    if cache is None:
        with tempfile.TemporaryDirectory() as folder:
            return measure_hard_cases(model, vggish, folder, count, rotation, seed, deaf)
    nearest = nearest_voices(vggish)
    tables = []
    for classes in CLASSES:
        groups = [hard_scenes(index, classes, nearest, rotation, seed) for index in range(count)]
        scenes = [group["plain"] for group in groups]
        rng = np.random.default_rng([_STREAM, seed, rotation, len(CLASSES) + CLASSES.index(classes)])
        played = [wrong_sounds(scene, rng) for scene in scenes]
        others = donors(scenes, rng)
        for case in SOUNDING_CASES:
            made = [ClipRecipe("v1s", f"hard_{classes}", i, group[case]) for i, group in enumerate(groups)]
            features = extract_features(ToyshopClips(made), model, vggish, cache, progress=False)
            heard = silent(features, vggish) if deaf else features
            table = score(model, heard)[["uid", "miou"]].melt("uid", var_name="figure")
            tables.append(table.assign(classes=classes, case=case))
            if case == "plain":
                plain = features
                table = _marked(model, heard).replace({"figure": {"false-positive area": "marked area"}})
                tables.append(table.assign(classes=classes, case=case))
        for case in SILENT_CASES:
            if case == "shuffled":
                audio = plain.audio[others]
            else:
                audio = torch.stack([embed_sound(vggish, p[case], SAMPLE_RATE, CLIP_SECONDS) for p in played])
            features = silent(plain, vggish) if deaf else plain.with_audio(audio)
            tables.append(_marked(model, features).assign(classes=classes, case=case))
    return pd.concat(tables, ignore_index=True)[["classes", "case", "figure", "uid", "value"]]


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Means over clips with 95 % bootstrap intervals, from the rows of ``measure_hard_cases``.

    A further figure, "miou less plain", is the mean of the differences between a case and "plain" on the same group:
    the two clips share source, place and sound, so its interval is narrower than that of the two means.

    Returns:
        Columns classes, case, figure, value, low, high, n.
    """
    scores = table[table["figure"] == "miou"]
    groups = scores.pivot(index=["classes", "uid"], columns="case", values="value")
    less = groups.sub(groups["plain"], axis=0).drop(columns="plain").melt(ignore_index=False, value_name="value")
    table = pd.concat([table, less.reset_index().assign(figure="miou less plain")])
    rows = []
    for (classes, case, figure), values in table.groupby(["classes", "case", "figure"], sort=False)["value"]:
        low, high = interval(values)
        rows.append((classes, case, figure, values.mean(), low, high, len(values)))
    return pd.DataFrame(rows, columns=["classes", "case", "figure", "value", "low", "high", "n"])


def _marked(model: nn.Module, features: FeatureSet) -> pd.DataFrame:
    """What a model marks of clips whose sound belongs to nothing in them; columns uid, figure, value."""
    rows = []
    for batch in DataLoader(features, batch_size=16, collate_fn=collate):
        for uid, logits, source in zip(batch["uid"], predict_masks(model, batch), batch["masks"]):
            logits, source = logits.cpu(), source.bool()
            area = false_positive_area(logits, torch.zeros_like(source))
            marked = logits.sigmoid() > AVSBENCH_THRESHOLD
            of_source = (marked & source).sum((1, 2)) / source.sum((1, 2))
            rows.append((uid, "false-positive area", area.mean().item()))
            rows.append((uid, "anything marked", float(marked.any())))
            rows.append((uid, "marked of the source", of_source.mean().item()))
    return pd.DataFrame(rows, columns=["uid", "figure", "value"])


def _apart(a: Toy, b: Toy) -> tuple[bool, bool, bool]:
    """Whether two toys differ in family, size and material."""
    return a.family != b.family, a.size != b.size, a.material != b.material


def _place(
    rng: np.random.Generator, source: Toy, third: Toy, changing: Mapping[str, Toy], behind: bool
) -> tuple[PlacedToy, PlacedToy, dict[str, PlacedToy]]:
    """Places of the source, the third toy and, by case, the changing one; start over when they do not fit."""
    for attempt in itertools.count():
        if attempt % _REDRAW == 0:
            seeds = [int(seed) for seed in rng.integers(2**31, size=3)]
            first, last = _Drawing(source, seeds[0]), _Drawing(third, seeds[1])
            others = {case: _Drawing(toy, seeds[2]) for case, toy in changing.items()}
        spot = _pick(rng, first.centres(np.ones((FRAME, FRAME), dtype=bool)))
        if spot is None:
            continue
        heard = first.at(*spot)
        at_source = silhouette(heard)
        spot = _pick(rng, last.centres(last.shared(_around(at_source)) == 0))
        if spot is None:
            continue
        stays = last.at(*spot)
        at_third = silhouette(stays)
        taken = _around(at_source | at_third)
        free = _pick(rng, np.all([each.centres(each.shared(taken) == 0) for each in others.values()], axis=0))
        moving = others["plain"]
        share = moving.shared(at_source) / (at_source if behind else moving.solid).sum()
        covers = (share >= OVERLAP[0]) & (share <= OVERLAP[1]) & (moving.shared(_around(at_third)) == 0)
        moved = _pick(rng, moving.centres(covers))
        if free is not None and moved is not None:
            return (
                heard,
                stays,
                {case: each.at(*free) for case, each in others.items()} | {"overlap": moving.at(*moved)},
            )


class _Drawing:
    """A toy drawn, not placed yet; maps ``[H, W]`` over the frame say where it may stand."""

    def __init__(self, toy: Toy, seed: int) -> None:
        self.toy, self.seed = toy, seed
        self.solid = silhouette(PlacedToy(toy, 0, 0, seed))
        self.width, self.height = (int(np.flatnonzero(self.solid.any(axis))[-1]) + 1 for axis in (0, 1))

    def at(self, x: int, y: int) -> PlacedToy:
        """The toy with the middle of its box at (x, y)."""
        return PlacedToy(self.toy, x - self.width // 2, y - self.height // 2, self.seed)

    def shared(self, ground: np.ndarray) -> np.ndarray:
        """For every corner (y, x) of the toy, how many pixels it has in common with ``ground``."""
        product = np.fft.rfft2(ground) * np.conj(np.fft.rfft2(self.solid))
        return np.rint(np.fft.irfft2(product, ground.shape)).astype(int)

    def centres(self, corners: np.ndarray) -> np.ndarray:
        """The middles of those corners at which the toy stays in the picture however it trembles."""
        inside = np.zeros_like(corners)
        bottom, right = (max(0, FRAME - _TREMBLE - side + 1) for side in (self.height, self.width))
        inside[_TREMBLE:bottom, _TREMBLE:right] = True
        return np.roll(corners & inside, (self.height // 2, self.width // 2), axis=(0, 1))


def _around(mask: np.ndarray) -> np.ndarray:
    """The mask, and the pixels so near that a trembling toy there may touch it."""
    return binary_dilation(mask, np.ones((2 * _TREMBLE + 1,) * 2))


def _pick(rng: np.random.Generator, allowed: np.ndarray) -> tuple[int, int] | None:
    """One of the true places as (x, y), each equally likely; None where there is none."""
    places = np.argwhere(allowed)
    if len(places) == 0:
        return None
    y, x = places[rng.integers(len(places))]
    return int(x), int(y)


def main(argv: list[str] | None = None) -> None:
    """Measure trained models on the hard cases and record what they score."""
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.lab.hard_cases", description=main.__doc__)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(KINDS))
    parser.add_argument("--weights", type=Path, help="of the one model named; without: the shipped ones")
    parser.add_argument("--name", help="what the rows of the one model named are called; without: its kind")
    parser.add_argument("--count", type=int, default=40, help="clips a case, for each of seen and unseen classes")
    parser.add_argument("--cache", type=Path, help="folder of the feature cache; without: a temporary one")
    parser.add_argument("--results", type=Path, default=Path("data/results/hard_cases.csv"))
    chosen = parser.parse_args(argv)
    for option, given in (("--weights", chosen.weights), ("--name", chosen.name)):
        if given is not None and len(chosen.models) != 1:
            parser.error(f"{option} is of one model, but --models names {len(chosen.models)}.")
    world, vggish = fingerprint(), load_vggish("mini")
    for kind in chosen.models:
        model, notes = load_model(kind, chosen.weights)
        if notes["world"] != world:
            raise ValueError(
                f"{kind} was trained in a toy shop of fingerprint {notes['world']}, this one is {world}; train it anew."
            )
        rotation = notes["rotation"]
        command = f"python -m gavs_lib.lab.hard_cases --models {kind} --count {chosen.count}"
        if chosen.weights is not None:
            command += f" --weights {chosen.weights.name}"
        if chosen.name is not None:
            command += f" --name {shlex.quote(chosen.name)}"
        table = measure_hard_cases(model, vggish, chosen.cache, chosen.count, rotation, deaf=kind == "gavs_deaf")
        rows = summarize(table).assign(
            model=chosen.name or kind,
            seed=notes["seed"] if "seed" in notes else notes["fit"]["seed"],
            rotation=rotation,
            world=world,
            torch=torch.__version__,
            command=command,
        )
        columns = ["model", "seed", "rotation", "classes", "case", "figure", "value", "low", "high", "n"]
        record(chosen.results, rows[[*columns, "world", "torch", "command"]].round(4), ("model", "seed", "rotation"))
        print(f"{kind}\n{rows[columns[3:]].round(3).to_string(index=False)}", flush=True)


if __name__ == "__main__":
    main()
