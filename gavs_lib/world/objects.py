"""The toys of the miniature world: how they look.

A toy is family x size x material, and each factor means the same in every other combination: the family is the
drawing, the size is the scale it is drawn at (nothing else), the material is palette and texture. No two individuals
are alike: proportions, tilt, mirroring, hue, light and wear are drawn anew for each. `sounds` gives the same toys
their voices and `scenes` puts both together; nothing here knows about either.

A toy is first a list of outlines in its own units (about -1 to 1, y downwards), then three grey layers drawn at four
times the resolution (coverage, tone, seams), and is coloured only after these have been averaged down.
"""

import functools
import itertools
import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

FAMILIES = ("bell", "drum", "guitar", "car", "bird", "horn")
SIZES = ("small", "large")
MATERIALS = ("wood", "metal", "glass")

AREA = {"small": (0.022, 0.045), "large": (0.075, 0.14)}
"""Range of a toy's area as a share of the (square) frame, by size; drawn uniformly."""

_SUPERSAMPLING = 4
_MAX_TILT = math.radians(12)
_MIN_FRAME = 64


@dataclass(frozen=True, order=True)
class Toy:
    """One class of the world: a family in a size and a material.

    Args:
        family: one of `FAMILIES`.
        size: one of `SIZES`.
        material: one of `MATERIALS`.

    Raises:
        ValueError: a factor has a value that is not in its tuple.

    >>> Toy("bell", "small", "wood").name
    'small-wood-bell'
    """

    family: str
    size: str
    material: str

    def __post_init__(self) -> None:
        for factor, values in (("family", FAMILIES), ("size", SIZES), ("material", MATERIALS)):
            value = getattr(self, factor)
            if value not in values:
                raise ValueError(f"unknown {factor} {value!r} of a toy; expected one of {', '.join(values)}.")

    @property
    def name(self) -> str:
        """`size-material-family`, never with an underscore: AVSBench joins the classes of a clip by "_"."""
        return f"{self.size}-{self.material}-{self.family}"

    @classmethod
    def from_name(cls, name: str) -> "Toy":
        """The toy of a `name` such as "small-wood-bell".

        Raises:
            ValueError: `name` does not have three parts, or one of them is not a value of its factor.
        """
        parts = name.split("-") if isinstance(name, str) else []
        if len(parts) != 3:
            raise ValueError(f"toy name {name!r} does not read as size-material-family; expected e.g. small-wood-bell.")
        size, material, family = parts
        return cls(family, size, material)


TOYS = tuple(Toy(*factors) for factors in product(FAMILIES, SIZES, MATERIALS))


@dataclass(frozen=True)
class _Part:
    """One outline of a drawing.

    points: [n, 2] in toy units; tone: -1 (black) to 1 (white), 0 is the bare material; width: 0 for a filled polygon,
    else the width of a stroke along the points; solid: whether the part belongs to the silhouette (details drawn on
    top of it do not); seam: whether an edge is drawn around it.
    """

    points: np.ndarray
    tone: float = 0.0
    width: float = 0.0
    solid: bool = True
    seam: bool = True


def draw_toy(toy: Toy, rng: np.random.Generator, frame: int = 128) -> np.ndarray:
    """Draw one individual of a toy.

    Args:
        toy: what to draw.
        rng: source of everything that differs between individuals; the same state gives the same sprite.
        frame: side of the square frame the sprite is meant for, in pixels, at least 64.

    Returns:
        uint8 `[h, w, 4]`, RGBA with straight alpha, cropped to its bounding box. Pixels with alpha >= 128 are the
        toy's mask; their number over `frame` squared lies within `AREA[toy.size]`.

    Raises:
        ValueError: `frame` is too small for a small toy to be recognised.
    """
    if frame < _MIN_FRAME:
        raise ValueError(f"frame is {frame} pixels; a toy needs a frame of at least {_MIN_FRAME} to be recognisable.")
    low, high = (share * frame * frame for share in AREA[toy.size])
    target = rng.uniform(low, high)
    parts = _pose(_DRAWINGS[toy.family](rng) + _scratches(rng), rng)
    pixels_per_unit, cover = _fit(parts, target, low, high)
    tone, seam = _tone_and_seams(parts, pixels_per_unit, cover.shape, see_through=toy.material == "glass")
    colour = _MATERIALS[toy.material](_surface(cover, tone, seam, pixels_per_unit, rng), rng)
    sprite = np.dstack((colour * 255, cover * 255))
    sprite = (np.clip(sprite, 0, 255) + 0.5).astype(np.uint8)
    rows, columns = np.flatnonzero(sprite[..., 3].any(1)), np.flatnonzero(sprite[..., 3].any(0))
    return np.ascontiguousarray(sprite[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


# ---------------------------------------------------------------------------------------------- outlines


def _points(*xy: tuple[float, float]) -> np.ndarray:
    return np.array(xy, np.float64)


@functools.lru_cache(maxsize=64)
def _circle(count: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack((np.cos(angle), np.sin(angle)), 1)


def _ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> np.ndarray:
    points = _circle(28) * (rx, ry)
    if turn:
        points = points @ _rotation(turn)
    return points + (x, y)


def _rotation(angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array(((cos, sin), (-sin, cos)))


def _smooth(points: np.ndarray, closed: bool = True, steps: int = 4) -> np.ndarray:
    """A Catmull-Rom curve through the points."""
    if closed:
        p0, p1, p2, p3 = (np.roll(points, shift, axis=0) for shift in (1, 0, -1, -2))
    else:
        padded = np.concatenate((points[:1], points, points[-1:]))
        p0, p1, p2, p3 = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = (np.arange(steps) / steps)[None, :, None]
    p0, p1, p2, p3 = (p[:, None] for p in (p0, p1, p2, p3))
    curve = p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate((curve, points[-1:]))


def _both_sides(right: np.ndarray) -> np.ndarray:
    """The closed outline of a shape that is symmetric about x = 0, from its right half."""
    return np.concatenate((right, right[::-1] * (-1, 1)))


def _bell(rng: np.random.Generator) -> list[_Part]:
    waist, lip, flare = rng.uniform(0.38, 0.46), rng.uniform(0.74, 0.84), rng.uniform(0.5, 0.6)
    profile = _smooth(
        _points((0.12, -0.72), (0.30, -0.62), (waist - 0.03, -0.4), (waist + 0.03, -0.02), (flare, 0.3), (lip, 0.56)),
        closed=False,
    )
    bead = rng.uniform(0.17, 0.21)
    return [
        _Part(_ellipse(0, -0.84, 0.2, 0.18), -0.1),
        _Part(_ellipse(0, -0.84, 0.08, 0.07), -0.75, solid=False, seam=False),
        _Part(_ellipse(0, 0.76, bead, bead), -0.25),
        _Part(_both_sides(np.concatenate((profile, _points((lip, 0.68)))))),
        _Part(_points((-lip, 0.56), (lip, 0.56), (lip + 0.03, 0.7), (-lip - 0.03, 0.7)), 0.15),
        _Part(_points((-waist - 0.02, -0.1), (waist + 0.02, -0.1)), -0.45, width=0.07, solid=False, seam=False),
        _Part(_points((-flare - 0.02, 0.33), (flare + 0.02, 0.33)), -0.45, width=0.07, solid=False, seam=False),
    ]


def _drum(rng: np.random.Generator) -> list[_Part]:
    rx, ry, top, bottom = rng.uniform(0.72, 0.84), rng.uniform(0.2, 0.27), -0.3, rng.uniform(0.5, 0.68)
    arc = _circle(28)[:15] * (rx, ry)  # lower half, from right to left
    side = np.concatenate((arc + (0, bottom), _points((-rx, top), (rx, top))))
    parts = [_Part(side)]
    zigzag = np.linspace(-0.86, 0.86, 8) * rx
    sag = ry * np.sqrt(1 - (zigzag / rx) ** 2)
    heights = np.where(np.arange(8) % 2, top + 0.12, bottom - 0.12) + sag
    parts.append(_Part(np.stack((zigzag, heights), 1), -0.55, width=0.07, solid=False, seam=False))
    for y, tone in ((bottom - 0.02, -0.3), (top + 0.04, -0.3)):
        parts.append(_Part(arc + (0, y), tone, width=0.13))
    parts.append(_Part(_ellipse(0, top, rx, ry), 0.45))
    for direction in (-1, 1):
        reach = rng.uniform(0.5, 0.62)
        stick = _points((direction * 0.15, top + 0.05), (-direction * reach, top - 0.62))
        parts.append(_Part(stick, -0.2, width=0.1))
        parts.append(_Part(_ellipse(*stick[1], 0.12, 0.12), -0.2))
    return parts


def _guitar(rng: np.random.Generator) -> list[_Part]:
    upper, waist, lower = rng.uniform(0.42, 0.5), rng.uniform(0.29, 0.35), rng.uniform(0.58, 0.66)
    neck = rng.uniform(-0.66, -0.54)
    right = _points(
        (0.1, -0.2),
        (upper - 0.06, -0.16),
        (upper, 0.04),
        (waist, 0.3),
        (lower, 0.66),
        (lower * 0.75, 0.96),
        (0.12, 1.04),
    )
    parts = [
        _Part(_smooth(_both_sides(right))),
        _Part(_ellipse(0, 0.32, 0.17, 0.17), -0.75, solid=False, seam=False),
        _Part(_points((-0.24, 0.74), (0.24, 0.74)), -0.6, width=0.1, solid=False, seam=False),
        _Part(_points((-0.1, neck), (0.1, neck), (0.11, 0.2), (-0.11, 0.2)), -0.4),
        _Part(_points((-0.12, neck), (0.12, neck), (0.18, neck - 0.34), (-0.18, neck - 0.34)), -0.15),
    ]
    for y in (neck - 0.1, neck - 0.26):
        for side in (-1, 1):
            parts.append(_Part(_ellipse(side * 0.22, y, 0.075, 0.065), -0.3, seam=False))
    for x in (-0.035, 0.035):
        parts.append(_Part(_points((x, neck), (x, 0.74)), 0.6, width=0.028, solid=False, seam=False))
    return parts


def _car(rng: np.random.Generator) -> list[_Part]:
    nose, tail, roof = rng.uniform(0.9, 1.0), -rng.uniform(0.88, 0.98), rng.uniform(-0.62, -0.5)
    front, back = rng.uniform(0.25, 0.4), -rng.uniform(0.5, 0.7)
    wheel = rng.uniform(0.23, 0.27)
    hood = _points((nose - 0.2, -0.06), (nose, 0.06), (nose, 0.3), (nose - 0.1, 0.36))
    trunk = _points((tail + 0.1, 0.36), (tail, 0.3), (tail - 0.02, 0.0), (tail + 0.12, -0.1))
    body = _smooth(np.concatenate((trunk, _points((0, -0.12)), hood, _points((0, 0.37)))))
    cabin = _points((back - 0.12, -0.05), (back + 0.08, roof), (front - 0.12, roof), (front + 0.2, -0.05))
    middle = (back + front) / 2
    parts = [_Part(cabin), _Part(body)]
    for left, right, slant_l, slant_r in (
        (back + 0.02, middle - 0.05, 0.1, 0.0),
        (middle + 0.05, front + 0.03, 0.0, -0.18),
    ):
        window = _points((left, -0.12), (left + slant_l, roof + 0.1), (right + slant_r, roof + 0.1), (right, -0.12))
        parts.append(_Part(window, -0.6, solid=False, seam=False))
    parts.append(_Part(_ellipse(nose - 0.08, 0.08, 0.07, 0.08), 0.75, solid=False, seam=False))
    for x in (tail + 0.4, nose - 0.42):
        parts.append(_Part(_ellipse(x, 0.38, wheel, wheel), -0.7))
        parts.append(_Part(_ellipse(x, 0.38, wheel * 0.42, wheel * 0.42), 0.4, solid=False, seam=False))
    return parts


def _bird(rng: np.random.Generator) -> list[_Part]:
    plump, head = rng.uniform(0.46, 0.56), rng.uniform(0.29, 0.34)
    body = _smooth(
        _points(
            (-0.75, 0.02), (-0.3, -plump * 0.55), (0.25, -0.38), (0.58, -0.1), (0.45, 0.3), (0.05, plump), (-0.4, 0.34)
        )
    )
    tail_up = rng.uniform(-0.3, 0.05)
    wing = _smooth(_points((0.28, -0.12), (0.2, 0.18), (-0.2, 0.26), (-0.62, 0.1), (-0.2, -0.14)))
    hx, hy = 0.52, -0.42
    parts = []
    for x in (-0.02, 0.2):
        parts.append(_Part(_points((x, 0.35), (x + 0.02, 0.78), (x + 0.16, 0.8)), -0.5, width=0.09, seam=False))
    parts += [
        _Part(
            _points((-0.5, -0.12), (-1.0, tail_up - 0.2), (-0.9, tail_up), (-1.04, tail_up + 0.16), (-0.5, 0.22)), -0.25
        ),
        _Part(
            _points((hx + head * 0.6, hy - 0.13), (hx + head + 0.28, hy + 0.06), (hx + head * 0.6, hy + 0.16)), -0.45
        ),
        _Part(body),
        _Part(_ellipse(hx, hy, head, head), 0.0, seam=False),
        _Part(wing, -0.3),
        _Part(_points((-0.45, 0.1), (0.05, 0.06)), 0.3, width=0.05, solid=False, seam=False),
        _Part(_ellipse(hx + 0.08, hy - 0.06, 0.1, 0.1), 0.85, solid=False, seam=False),
        _Part(_ellipse(hx + 0.1, hy - 0.06, 0.06, 0.06), -0.95, solid=False, seam=False),
    ]
    return parts


def _horn(rng: np.random.Generator) -> list[_Part]:
    mouth, tube, drop = rng.uniform(0.52, 0.62), 0.1, rng.uniform(0.48, 0.58)
    flare = _smooth(
        _points((-0.1, -tube), (0.22, -tube - 0.05), (0.5, -0.24), (0.72, -mouth * 0.72), (0.8, -mouth)), closed=False
    )
    bell = np.concatenate((flare, flare[::-1] * (1, -1)))
    loop = _smooth(
        _points((-0.6, 0.0), (-0.74, drop * 0.5), (-0.56, drop), (0.16, drop), (0.32, drop * 0.5), (0.18, 0.0)), steps=5
    )
    loop = np.concatenate((loop, loop[:2]))
    parts = [
        _Part(loop, -0.15, width=0.17),
        _Part(_points((-0.9, 0), (0.1, 0)), 0.0, width=2 * tube),
        _Part(_points((-1.02, -0.17), (-0.88, -0.1), (-0.88, 0.1), (-1.02, 0.17)), -0.35),
    ]
    for x in (-0.44, -0.21, 0.02):
        parts.append(_Part(_points((x, -0.32), (x, drop * 0.7)), -0.1, width=0.14))
        parts.append(_Part(_points((x - 0.09, -0.36), (x + 0.09, -0.36)), 0.35, width=0.11))
    parts.append(_Part(bell))
    parts.append(_Part(_ellipse(0.8, 0, 0.12, mouth), -0.5))
    return parts


_DRAWINGS = {"bell": _bell, "drum": _drum, "guitar": _guitar, "car": _car, "bird": _bird, "horn": _horn}


def _scratches(rng: np.random.Generator) -> list[_Part]:
    """What play leaves on a toy: up to three short marks, wherever they fall."""
    marks = []
    for _ in range(rng.integers(4)):
        start, reach = rng.uniform(-0.6, 0.6, 2), rng.uniform(-0.25, 0.25, 2)
        tone = rng.choice((-0.3, 0.3))
        marks.append(_Part(np.stack((start, start + reach)), tone, width=0.04, solid=False, seam=False))
    return marks


def _pose(parts: list[_Part], rng: np.random.Generator) -> list[_Part]:
    """Stretch, mirror and tilt a drawing as a whole, and move its corner to the origin."""
    stretch = rng.uniform(0.92, 1.08)
    matrix = np.diag((stretch * rng.choice((-1.0, 1.0)), 1 / stretch)) @ _rotation(rng.uniform(-_MAX_TILT, _MAX_TILT))
    moved = [part.points @ matrix for part in parts]
    corner = np.min(
        [points.min(0) - part.width for points, part in zip(moved, parts, strict=True) if part.solid], axis=0
    )
    return [
        _Part(points - corner, part.tone, part.width, part.solid, part.seam)
        for points, part in zip(moved, parts, strict=True)
    ]


# ---------------------------------------------------------------------------------------------- layers


def _stamp(draw: ImageDraw.ImageDraw, part: _Part, scale: float, value: int) -> None:
    points = (part.points * scale).ravel().tolist()
    if part.width:
        # round joints are slow, and only wide strokes gape without them
        joint = "curve" if part.width >= 0.13 else None
        draw.line(points, value, max(1, round(part.width * scale)), joint=joint)
    else:
        draw.polygon(points, value)


def _fit(parts: list[_Part], target: float, low: float, high: float) -> tuple[float, np.ndarray]:
    """Find the scale at which the silhouette has the target area in pixels; returns it with the coverage [h, w]."""
    solid = [part for part in parts if part.solid]
    extent = np.max([part.points.max(0) + part.width for part in solid], axis=0)
    scale = math.sqrt(target / (0.45 * extent[0] * extent[1]))
    middle = (low + high) / 2
    for attempt in itertools.count(1):
        width, height = (math.ceil(side * scale) + 1 for side in extent)
        layer = Image.new("L", (width * _SUPERSAMPLING, height * _SUPERSAMPLING))
        draw = ImageDraw.Draw(layer)
        for part in solid:
            _stamp(draw, part, scale * _SUPERSAMPLING, 255)
        cover = np.asarray(layer.reduce(_SUPERSAMPLING))
        area = np.count_nonzero(cover >= 128)
        if low <= area <= high and abs(area / target - 1) < 0.02 * attempt:
            break
        scale *= math.sqrt(target / area)
        # strokes are whole pixels wide, so the area jumps and may skip the target: aim further inside, less strictly
        target += 0.1 * (middle - target)
    return scale, cover.astype(np.float32) / 255


def _tone_and_seams(
    parts: list[_Part], pixels_per_unit: float, shape: tuple[int, int], see_through: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Tone in [-1, 1] and seams in [0, 1], both [h, w]; the seams behind a part show if it is see-through."""
    scale = pixels_per_unit * _SUPERSAMPLING
    size = (shape[1] * _SUPERSAMPLING, shape[0] * _SUPERSAMPLING)
    tones, seams = Image.new("L", size, 128), Image.new("L", size)
    tone_draw, seam_draw = ImageDraw.Draw(tones), ImageDraw.Draw(seams)
    thickness = max(2, round(0.045 * scale))
    for part in parts:
        _stamp(tone_draw, part, scale, round(128 + 127 * part.tone))
        if not part.seam:
            continue
        if part.width:
            if not see_through:
                _stamp(seam_draw, _Part(part.points, width=part.width + 0.09), scale, 255)
                _stamp(seam_draw, part, scale, 0)
            continue
        points = (part.points * scale).ravel().tolist()
        if not see_through:
            seam_draw.polygon(points, 0)
        seam_draw.line(points + points[:4], 255, thickness)
    tone = np.asarray(tones.reduce(_SUPERSAMPLING)).astype(np.float32) / 127 - 128 / 127
    seam = np.asarray(seams.reduce(_SUPERSAMPLING)).astype(np.float32) / 255
    return tone, seam


@dataclass(frozen=True)
class _Surface:
    """What a material colours, every array [h, w] float32.

    cover in [0, 1]; tone in [-1, 1]; seam in [0, 1]; rim: 1 at the silhouette's edge, falling to 0 inside; relief:
    about -1 to 1, how far the surface turns to the light; u, v: place on the toy, about 0 to 2; blotch: smooth noise
    of about unit deviation.
    """

    cover: np.ndarray
    tone: np.ndarray
    seam: np.ndarray
    rim: np.ndarray
    relief: np.ndarray
    u: np.ndarray
    v: np.ndarray
    blotch: np.ndarray


def _surface(
    cover: np.ndarray, tone: np.ndarray, seam: np.ndarray, pixels_per_unit: float, rng: np.random.Generator
) -> _Surface:
    height, width = cover.shape
    pillow = Image.fromarray((cover * (1 - 0.7 * seam) * 255).astype(np.uint8))
    blurred = np.asarray(pillow.filter(ImageFilter.GaussianBlur(0.07 * pixels_per_unit)), np.float32) / 255
    down, right = np.gradient(blurred)
    light = rng.uniform(-0.75, 0.75) - np.pi / 2  # from above, more or less
    relief = -(right * math.cos(light) + down * math.sin(light)) * (0.35 * pixels_per_unit)
    silhouette = Image.fromarray((cover * 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(0.06 * pixels_per_unit))
    rim = np.clip(2 - 2 * np.asarray(silhouette, np.float32) / 255, 0, 1)
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[:height, :width].astype(np.float32) / np.float32(pixels_per_unit)
    noise = rng.standard_normal((7, 7)).astype(np.float32)
    blotch = np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return _Surface(cover, tone, seam, rim, np.clip(relief, -1, 1), u, v, blotch)


# ---------------------------------------------------------------------------------------------- materials


def _hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """Colour [3] in [0, 1] from hue in degrees, saturation and value."""
    k = (np.array((5.0, 3.0, 1.0)) + hue / 60) % 6
    return (value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1)).astype(np.float32)


def _toned(base: np.ndarray, tone: np.ndarray, light: np.ndarray) -> np.ndarray:
    """The base colour [3], darkened where tone [h, w] is negative, mixed with a light colour where positive."""
    tone = tone[..., None]
    return np.where(tone < 0, base * (1 + 0.8 * tone), base + (light - base) * (0.75 * tone))


def _wood(s: _Surface, rng: np.random.Generator) -> np.ndarray:
    """Matte browns from driftwood to cherry, with the lines of the years."""
    hue, saturation, value = rng.uniform(22, 39), rng.uniform(0.3, 0.66), rng.uniform(0.5, 0.84)
    period, depth = rng.uniform(0.15, 0.24), rng.uniform(0.25, 0.5)
    u, v = s.u - s.u.mean(), s.v - s.v.mean()
    if rng.random() < 0.6:  # sawn along the trunk: long, slightly wavy lines
        ring = v + 0.035 * s.blotch + 0.05 * np.sin(2.5 * u + rng.uniform(0, 6))
    else:  # sawn across it: rings about a point on or beside the toy
        centre = rng.uniform(-0.7, 0.7, 2)
        ring = np.hypot(0.75 * (u - centre[0]), v - centre[1]) + 0.025 * s.blotch
    phase = (ring / period + rng.uniform()) % 1
    grain = phase * np.clip((1 - phase) / 0.2, 0, 1)  # each year darkens slowly and ends at a sharp line
    light = _hsv(hue + 6, saturation * 0.6, min(1.0, value * 1.3))
    colour = _toned(_hsv(hue, saturation, value), s.tone, light)
    shade = (1.05 - depth * grain) * (1 + 0.04 * s.blotch) * (1 + 0.18 * s.relief)
    shade *= (1 - 0.5 * s.seam) * (1 - 0.3 * s.rim)
    return colour * shade[..., None]


def _metal(s: _Surface, rng: np.random.Generator) -> np.ndarray:
    """Steel, now and then with a breath of brass: hard bands of mirrored light and dark over brushed streaks."""
    if rng.random() < 0.3:
        hue, saturation = rng.uniform(40, 52), rng.uniform(0.05, 0.19)
    else:
        hue, saturation = rng.uniform(190, 240), rng.uniform(0.02, 0.2)
    value = rng.uniform(0.52, 0.74)
    period = rng.uniform(0.55, 0.9)
    bands = np.sin(2 * np.pi * s.u / period + 0.6 * s.relief + 0.08 * s.blotch + rng.uniform(0, 6))
    bands += 0.35 * np.sin(4 * np.pi * s.u / period + rng.uniform(0, 6))  # no two bands are equally wide
    bright, dark = np.clip(bands - 0.35, 0, 0.75) / 0.75, np.clip(-bands, 0, 1)
    streak = np.interp(s.u, np.linspace(-3, 4, 160), rng.standard_normal(160)).astype(np.float32)
    colour = _toned(_hsv(hue, saturation, value), s.tone, np.full(3, 0.95, np.float32))
    shade = (1 - rng.uniform(0.3, 0.45) * dark + 0.05 * streak) * (1 + 0.3 * s.relief)
    shade *= (1 - 0.6 * s.seam) * (1 - 0.25 * s.rim)
    shine = rng.uniform(0.5, 0.8) * bright * (1 + np.minimum(s.tone, 0)) + 0.5 * np.clip(s.relief - 0.45, 0, 1)
    colour = colour * shade[..., None]
    return colour + (1 - colour) * (np.clip(shine, 0, 0.9) * (1 - 0.6 * s.seam))[..., None]


def _glass(s: _Surface, rng: np.random.Generator) -> np.ndarray:
    """Opaque to the mask, clear to the eye: pale inside, deep at the edge, a bright line where the edge bends."""
    hue, saturation, value = rng.uniform(155, 212), rng.uniform(0.16, 0.48), rng.uniform(0.68, 0.86)
    pale = _hsv(hue - 6, saturation * 0.3, 0.96)
    colour = _toned(_hsv(hue, saturation, value), s.tone * 0.8, pale)
    # light gathers on the side away from the lamp, as in a filled bottle
    clear = np.clip(rng.uniform(0.25, 0.45) + 0.12 * s.blotch - 0.6 * s.relief, 0, 0.85) * (1 - s.rim)
    colour = colour + (pale - colour) * clear[..., None]
    colour = colour * (1 - 0.55 * np.clip(1.6 * s.rim - 0.6, 0, 1))[..., None]
    along = s.u - s.u.mean() - rng.uniform(-0.35, 0.35)
    window = np.exp(-((along / 0.08) ** 2)) + 0.6 * np.exp(-(((along - 0.24) / 0.04) ** 2))
    bend = np.clip(1 - np.abs(s.rim - 0.35) / 0.25, 0, 1)
    gleam = (
        0.5 * window * (1 - s.rim)
        + 0.45 * bend
        + 0.9 * np.clip(s.relief - 0.45, 0, 1) * bend
        + 0.55 * s.seam * (1 - s.rim)
    )
    return colour + (1 - colour) * np.clip(gleam, 0, 0.92)[..., None]


_MATERIALS = {"wood": _wood, "metal": _metal, "glass": _glass}
