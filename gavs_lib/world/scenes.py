"""Scenes: a few toys on a patterned floor, some of them sounding, drawn and mixed second by second.

A ``Scene`` is a recipe of plain numbers; ``render_frames`` and ``render_stems`` turn it into pictures and sounds. Each
toy keeps a sound of its own (a stem), so the same pictures can be played the voice of any of them: the swap test.
Nothing in a picture tells which toy sounds.

The same scene exists in two styles (`STYLES`): the toy shop, in which everything is trained, and the sketchbook, its
twin by another hand and with other instruments, for testing what carries over.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gavs_lib.world.objects import TOYS, Toy, draw_toy
from gavs_lib.world.sketches import paper, sketch_toy
from gavs_lib.world.sounds import background_noise, reverberate, synthesize
from gavs_lib.world.synthesis import SAMPLE_RATE
from gavs_lib.world.tapes import hall, hiss, play_on_tape, record

FRAME = 128
SECONDS = {"v1s": 5, "v1m": 5, "v2": 10}
SAME_FAMILY_SHARE = 0.4  # of the scenes hold a distractor of the sounding toy's family
MAX_OVERLAP = 0.3  # of a toy may be covered by others
MAX_CUT = 0.2  # of a toy may lie outside the frame
_PLACING_TRIES = 200


@dataclass(frozen=True)
class PlacedToy:
    """A toy and the place of its top left corner in pixels; ``seed`` fixes its drawing, its voice and its tremor."""

    toy: Toy
    x: int
    y: int
    seed: int


@dataclass(frozen=True)
class Scene:
    """A recipe for one clip.

    Attributes:
        placed: the toys, back to front.
        sounding: for each placed toy, whether it sounds in each second, ``[toys][seconds]``.
        seed: fixes floor, camera and noise.
        snr_db: level of the toys over the background noise.
        reverberant: whether the room echoes.
        off_screen: a toy that is heard throughout and not in the picture, or None.
        style: how it looks and sounds, a name in `STYLES`.

    Raises:
        ValueError: there is no such style.
    """

    placed: tuple[PlacedToy, ...]
    sounding: tuple[tuple[bool, ...], ...]
    seed: int
    snr_db: float
    reverberant: bool
    off_screen: Toy | None = None
    style: str = "shop"

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"style is {self.style!r}; the world has {', '.join(STYLES)}")

    @property
    def seconds(self) -> int:
        return len(self.sounding[0])

    @property
    def toys(self) -> tuple[Toy, ...]:
        return tuple(p.toy for p in self.placed)

    @property
    def heard(self) -> tuple[Toy, ...]:
        """The placed toys that sound in at least one second, in order of name."""
        return tuple(sorted(p.toy for p, on in zip(self.placed, self.sounding) if any(on)))

    def playing(self, index: int | None) -> "Scene":
        """The same pictures with toy ``index`` alone sounding throughout; None: with nothing sounding."""
        sounding = tuple((i == index,) * self.seconds for i in range(len(self.placed)))
        return replace(self, sounding=sounding, off_screen=None)


def sample_scene(
    rng: np.random.Generator,
    subset: str,
    sources: tuple[Toy, ...],
    distractors: tuple[Toy, ...] | None = None,
    distractor_weights: np.ndarray | None = None,
    style: str = "shop",
) -> Scene:
    """Draw a scene.

    Args:
        rng: source of chance.
        subset: ``"v1s"`` (one toy sounds for five seconds), ``"v1m"`` (two or three, changing by the second) or
            ``"v2"`` (ten seconds, either kind).
        sources: the classes that may sound.
        distractors: the classes that may stand by silently; default: those that may sound.
        distractor_weights: relative frequency of each of ``distractors``; default: equal.
        style: how it looks and sounds, a name in ``STYLES``.

    Returns:
        A scene of two to five different toys. No two are of one class, so the right answer is always unique.
    """
    if subset not in SECONDS:
        raise ValueError(f"subset is {subset!r}; the toy shop has {', '.join(SECONDS)}")
    if style not in STYLES:
        raise ValueError(f"style is {style!r}; the world has {', '.join(STYLES)}")
    seconds = SECONDS[subset]
    several = subset == "v1m" or (subset == "v2" and rng.random() < 0.5)
    count = int(rng.choice([2, 3], p=[0.7, 0.3])) if several else 1
    chosen = [sources[i] for i in rng.choice(len(sources), count, replace=False)]
    pool = sources if distractors is None else distractors
    weights = np.ones(len(pool)) if distractor_weights is None else np.asarray(distractor_weights, float)
    silent_count = int(rng.integers(0, 3)) if several else int(rng.integers(1, 4))
    silent: list[Toy] = []
    want_same_family = rng.random() < SAME_FAMILY_SHARE
    for slot in range(silent_count):
        same = np.array([t.family == chosen[0].family for t in pool])
        # The first place decides whether the family meets itself; the others stay out of that question.
        allowed = same if (slot == 0 and want_same_family) else ~same
        allowed = allowed & np.array([t not in chosen and t not in silent for t in pool])
        if not allowed.any():
            continue
        p = weights * allowed
        silent.append(pool[rng.choice(len(pool), p=p / p.sum())])

    toys = chosen + silent
    on = np.zeros((len(toys), seconds), dtype=bool)
    if several:
        while not (on[:count].any(1).all() and (on.sum(0) >= 2).any()):
            on[:count] = rng.random((count, seconds)) < 0.65
    else:
        on[0] = True
    order = rng.permutation(len(toys))
    placed = _place(rng, [toys[i] for i in order], style)
    return Scene(
        placed=placed,
        sounding=tuple(tuple(bool(v) for v in on[i]) for i in order),
        seed=int(rng.integers(2**31)),
        snr_db=float(rng.uniform(8, 25)),
        reverberant=bool(rng.random() < 0.5),
        style=style,
    )


def with_off_screen(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with all its toys silent and another class heard from outside the picture."""
    absent = [t for t in TOYS if t not in scene.toys]
    return replace(scene.playing(None), off_screen=absent[rng.integers(len(absent))])


@dataclass(frozen=True)
class Pictures:
    """A scene drawn: ``frames`` uint8 ``[T, H, W, 3]`` RGB; ``masks`` bool ``[toys, T, H, W]``, the visible parts."""

    frames: np.ndarray
    masks: np.ndarray


def render_frames(scene: Scene) -> Pictures:
    """Draw one picture a second, with a slightly shaky camera, and the visible part of every toy."""
    rng = np.random.default_rng([scene.seed, 0])
    seconds, count = scene.seconds, len(scene.placed)
    floor = STYLES[scene.style].floor(rng, FRAME)
    sprites = [_sprite(p.toy, p.seed, scene.style) for p in scene.placed]
    camera = rng.integers(-1, 2, size=(seconds, 2))
    tremor = rng.integers(-1, 2, size=(seconds, count, 2))
    light = rng.uniform(0.94, 1.06, size=(seconds, 1, 1, 1)) * rng.uniform(0.82, 1.12, size=3)  # flicker and tint
    grain = rng.uniform(1.0, 5.0)
    frames = np.empty((seconds, FRAME, FRAME, 3), dtype=np.uint8)
    masks = np.zeros((count, seconds, FRAME, FRAME), dtype=bool)
    for t in range(seconds):
        picture = np.roll(floor, camera[t], axis=(0, 1))
        for i, (place, sprite) in enumerate(zip(scene.placed, sprites)):
            y, x = place.y + camera[t, 0] + tremor[t, i, 0], place.x + camera[t, 1] + tremor[t, i, 1]
            target, source = _window(sprite.shape, x, y)
            cover = sprite[source]
            alpha = cover[..., 3:].astype(np.float32) / 255
            picture[target] = picture[target] * (1 - alpha) + cover[..., :3] * alpha
            solid = cover[..., 3] >= 128
            for below in masks[:i, t]:
                below[target] &= ~solid
            masks[i, t][target] = solid
        noise = rng.normal(0, grain, size=(FRAME, FRAME, 1)).astype(np.float32)
        frames[t] = np.clip(picture * light[t] + noise, 0, 255)
    return Pictures(frames, masks)


def render_stems(scene: Scene) -> np.ndarray:
    """The voice of every placed toy as if it sounded throughout, float32 ``[toys, seconds * 16000]``."""
    return np.stack([_voice(p.toy, scene.seconds, p.seed, scene.style) for p in scene.placed])


def silhouette(place: PlacedToy, style: str = "shop") -> np.ndarray:
    """The pixels of a toy where it was put down, before anything moves it: bool ``[H, W]``, cut at the frame."""
    solid = _sprite(place.toy, place.seed, style)[..., 3] >= 128
    target, source = _window(solid.shape, place.x, place.y)
    here = np.zeros((FRAME, FRAME), dtype=bool)
    here[target] = solid[source]
    return here


def mix(scene: Scene, stems: np.ndarray | None = None) -> np.ndarray:
    """What is heard: the sounding toys (and who is off screen), the room's echo, the noise, the recorder.

    Args:
        scene: says who sounds when.
        stems: ``render_stems`` of the same pictures, to save drawing the voices again.

    Returns:
        float32 ``[seconds * 16000]`` within -1..1; the noise alone where nothing sounds.
    """
    rng = np.random.default_rng([scene.seed, 1])
    style = STYLES[scene.style]
    samples = scene.seconds * SAMPLE_RATE
    dry = np.zeros(samples, dtype=np.float32)
    for i, (place, on) in enumerate(zip(scene.placed, scene.sounding)):
        if any(on):
            voice = _voice(place.toy, scene.seconds, place.seed, scene.style) if stems is None else stems[i]
            dry += voice * _gate(on)
    if scene.off_screen is not None:
        dry += _voice(scene.off_screen, scene.seconds, scene.seed, scene.style)
    wet = style.room(dry, rng) if scene.reverberant else dry
    noise = style.noise(scene.seconds, rng) * 10 ** (-scene.snr_db / 20)
    heard = style.recorder(wet + noise, rng)
    return (heard / max(1.0, float(np.abs(heard).max()))).astype(np.float32)


def sounding_mask(scene: Scene, masks: np.ndarray) -> np.ndarray:
    """The ground truth: pixels of the toys that sound, bool ``[T, H, W]``, from the toys' masks."""
    on = np.array(scene.sounding)
    return (masks & on[:, :, None, None]).any(axis=0)


def _voice(toy: Toy, seconds: int, seed: int, style: str) -> np.ndarray:
    return STYLES[style].voice(toy, seconds, np.random.default_rng([seed, 1]))


@functools.lru_cache(maxsize=64)  # placing and rendering a scene need the same drawings
def _sprite(toy: Toy, seed: int, style: str) -> np.ndarray:
    return STYLES[style].toy(toy, np.random.default_rng([seed, 0]), FRAME)


def _gate(on: tuple[bool, ...]) -> np.ndarray:
    """One where the toy sounds, zero elsewhere, with 10 ms ramps inside the silent seconds' neighbours."""
    gate = np.repeat(np.asarray(on, dtype=np.float32), SAMPLE_RATE)
    ramp = SAMPLE_RATE // 100
    padded = np.concatenate([np.repeat(gate[:1], ramp), gate, np.repeat(gate[-1:], ramp)])
    total = np.cumsum(padded, dtype=np.float64)
    smooth = (total[2 * ramp :] - total[: -2 * ramp]) / (2 * ramp)
    return np.minimum(smooth.astype(np.float32) * 2, 1) * gate


def _place(rng: np.random.Generator, toys: list[Toy], style: str) -> tuple[PlacedToy, ...]:
    """Find places where no toy is covered or cut off by more than the limits; start over when stuck."""
    while True:
        placed: list[PlacedToy] = []
        whole: list[int] = []  # pixels inside the frame
        visible: list[np.ndarray] = []
        for toy in toys:
            seed = int(rng.integers(2**31))
            solid = _sprite(toy, seed, style)[..., 3] >= 128
            for _ in range(_PLACING_TRIES):
                x, y = (int(rng.integers(-side // 5, FRAME - side + side // 5 + 1)) for side in solid.shape[::-1])
                target, source = _window(solid.shape, x, y)
                here = np.zeros((FRAME, FRAME), dtype=bool)
                here[target] = solid[source]
                inside = int(here.sum())
                uncovered = [v & ~here for v in visible]
                if inside >= (1 - MAX_CUT) * solid.sum() and all(
                    u.sum() >= (1 - MAX_OVERLAP) * w for u, w in zip(uncovered, whole)
                ):
                    placed.append(PlacedToy(toy, x, y, seed))
                    whole.append(inside)
                    visible = [*uncovered, here]
                    break
            else:
                break
        if len(placed) == len(toys):
            return tuple(placed)


def _window(shape: tuple[int, ...], x: int, y: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a sprite at (x, y) meets the frame: slices of the frame and of the sprite."""
    height, width = shape[:2]
    top, left = max(0, y), max(0, x)
    bottom, right = max(top, min(FRAME, y + height)), max(left, min(FRAME, x + width))
    return (slice(top, bottom), slice(left, right)), (slice(top - y, bottom - y), slice(left - x, right - x))


def _floor(rng: np.random.Generator, side: int) -> np.ndarray:
    """A patterned floor, float32 ``[side, side, 3]``: two muted colours under stripes, squares, clouds or a fading."""
    a, b = rng.uniform(50, 205, size=(2, 1, 1, 3)).astype(np.float32)
    a += (a.mean() - a) * rng.uniform(0.2, 0.8)
    b = a + (b - a) * rng.uniform(0.25, 0.7)
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    along = rows * np.sin(angle) + columns * np.cos(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    period = rng.uniform(10, 36)
    kind = rng.integers(4)
    if kind == 0:
        weight = (np.sin(along * 2 * np.pi / period) > 0).astype(np.float32)
    elif kind == 1:
        weight = ((np.sin(along * np.pi / period) > 0) ^ (np.sin(across * np.pi / period) > 0)).astype(np.float32)
    elif kind == 2:
        weight = _clouds(rng, side, int(rng.integers(4, 20)))
    else:
        weight = (along - along.min()) / np.ptp(along)
    weight = 0.75 * weight + 0.25 * _clouds(rng, side, 40)
    return a + (b - a) * weight[..., None]


def _clouds(rng: np.random.Generator, side: int, cells: int) -> np.ndarray:
    """Smooth noise in 0..1, ``[side, side]``, from a coarse grid, bilinearly."""
    grid = rng.random((cells + 1, cells + 1)).astype(np.float32)
    at = np.linspace(0, cells, side, endpoint=False, dtype=np.float32)
    low = at.astype(int)
    t = at - low
    t = t * t * (3 - 2 * t)
    lines = grid[low] * (1 - t)[:, None] + grid[low + 1] * t[:, None]
    return lines[:, low] * (1 - t) + lines[:, low + 1] * t


def _direct(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The toy shop's recorder: none at all."""
    return wave


@dataclass(frozen=True)
class Style:
    """How a world looks and sounds. Every function takes a generator, the source of all chance.

    Attributes:
        toy: draws a toy for a frame of so many pixels; as ``objects.draw_toy``.
        floor: paints what the toys stand on, float32 ``[side, side, 3]``.
        voice: lets a toy sound for so many seconds; as ``sounds.synthesize``.
        room: adds an echo to ``[samples]``; noise: of so many seconds, RMS 0.1; recorder: what is kept of it all.
    """

    toy: Callable[[Toy, np.random.Generator, int], np.ndarray]
    floor: Callable[[np.random.Generator, int], np.ndarray]
    voice: Callable[[Toy, int, np.random.Generator], np.ndarray]
    room: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    noise: Callable[[int, np.random.Generator], np.ndarray]
    recorder: Callable[[np.ndarray, np.random.Generator], np.ndarray]


STYLES = {
    "shop": Style(draw_toy, _floor, synthesize, reverberate, background_noise, _direct),
    "sketchbook": Style(sketch_toy, paper, play_on_tape, hall, hiss, record),
}
"""The toy shop, and its twin: the same classes, drawn by another hand and played by other instruments."""
