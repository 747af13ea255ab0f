"""The draughtsman's tools: from outlines to grey layers, which are coloured afterwards.

A drawing is a list of outlines (`Part`) in its own units (about -1 to 1, y downwards). `pose` turns it into an
individual, `fit_area` finds the scale at which its silhouette has the wanted area, and `tone_and_seams` and `surface`
draw the layers at four times the resolution and average them down.
"""

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

_SUPERSAMPLING = 4
_MAX_TILT = math.radians(12)


@dataclass(frozen=True)
class Part:
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


def polyline(*xy: tuple[float, float]) -> np.ndarray:
    """Corners (x, y), ... as points [n, 2]."""
    return np.array(xy, np.float64)


@functools.lru_cache(maxsize=64)
def circle(count: int) -> np.ndarray:
    """So many points on the unit circle, [count, 2], clockwise from the right as y points downwards."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack((np.cos(angle), np.sin(angle)), 1)


def ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> np.ndarray:
    """A closed outline [28, 2] about (x, y) with radii rx, ry, turned by some radians."""
    points = circle(28) * (rx, ry)
    if turn:
        points = points @ rotation(turn)
    return points + (x, y)


def rotation(angle: float) -> np.ndarray:
    """Matrix [2, 2] that turns row vectors by an angle in radians."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array(((cos, sin), (-sin, cos)))


def rounded(points: np.ndarray, closed: bool = True, steps: int = 4) -> np.ndarray:
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


def both_sides(right: np.ndarray) -> np.ndarray:
    """The closed outline of a shape that is symmetric about x = 0, from its right half."""
    return np.concatenate((right, right[::-1] * (-1, 1)))


def pose(parts: list[Part], rng: np.random.Generator) -> list[Part]:
    """Stretch, mirror and tilt a drawing as a whole, and move its corner to the origin."""
    stretch = rng.uniform(0.92, 1.08)
    matrix = np.diag((stretch * rng.choice((-1.0, 1.0)), 1 / stretch)) @ rotation(rng.uniform(-_MAX_TILT, _MAX_TILT))
    moved = [part.points @ matrix for part in parts]
    corner = np.min(
        [points.min(0) - part.width for points, part in zip(moved, parts, strict=True) if part.solid], axis=0
    )
    return [
        Part(points - corner, part.tone, part.width, part.solid, part.seam)
        for points, part in zip(moved, parts, strict=True)
    ]


def _stamp(draw: ImageDraw.ImageDraw, part: Part, scale: float, value: int) -> None:
    points = (part.points * scale).ravel().tolist()
    if part.width:
        # round joints are slow, and only wide strokes gape without them
        joint = "curve" if part.width >= 0.13 else None
        draw.line(points, value, max(1, round(part.width * scale)), joint=joint)
    else:
        draw.polygon(points, value)


def fit_area(parts: list[Part], target: float, low: float, high: float) -> tuple[float, np.ndarray]:
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


def tone_and_seams(
    parts: list[Part], pixels_per_unit: float, shape: tuple[int, int], see_through: bool
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
                _stamp(seam_draw, Part(part.points, width=part.width + 0.09), scale, 255)
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
class Surface:
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


def surface(
    cover: np.ndarray, tone: np.ndarray, seam: np.ndarray, pixels_per_unit: float, rng: np.random.Generator
) -> Surface:
    """What is painted on: the layers, and light, grain and blotches drawn from the generator."""
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
    return Surface(cover, tone, seam, rim, np.clip(relief, -1, 1), u, v, blotch)


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """Colour [3] in [0, 1] from hue in degrees, saturation and value."""
    k = (np.array((5.0, 3.0, 1.0)) + hue / 60) % 6
    return (value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1)).astype(np.float32)


def toned(base: np.ndarray, tone: np.ndarray, light: np.ndarray) -> np.ndarray:
    """The base colour [3], darkened where tone [h, w] is negative, mixed with a light colour where positive."""
    tone = tone[..., None]
    return np.where(tone < 0, base * (1 + 0.8 * tone), base + (light - base) * (0.75 * tone))
