"""The toys of the miniature world: how they look.

A toy is family x size x material, and each factor means the same in every other combination: the family is the
drawing, the size is the scale it is drawn at (nothing else), the material is palette and texture. No two individuals
are alike: proportions, tilt, mirroring, hue, light and wear are drawn anew for each. `sounds` gives the same toys
their voices and `scenes` puts both together; nothing here knows about either.

A toy is first a list of outlines (`drawing`), then three grey layers (coverage, tone, seams), and is coloured last. Who
draws is a `Hand`: the toy shop's own one is here, another one in `sketches`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from gavs_lib.world.drawing import (
    Part,
    Surface,
    both_sides,
    circle,
    ellipse,
    fit_area,
    hsv,
    polyline,
    pose,
    rounded,
    surface,
    tone_and_seams,
    toned,
)

FAMILIES = ("bell", "drum", "guitar", "car", "bird", "horn")
SIZES = ("small", "large")
MATERIALS = ("wood", "metal", "glass")

AREA = {"small": (0.022, 0.045), "large": (0.075, 0.14)}
"""Range of a toy's area as a share of the (square) frame, by size; drawn uniformly."""

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
class Hand:
    """Who draws.

    Attributes:
        outlines: of each family, a function of a generator that gives the parts of an individual, back to front.
        marks: a function of a generator that gives what is drawn on top of any toy.
        paints: of each material, a function of a `Surface` and a generator that gives colours [h, w, 3] in 0..1.
    """

    outlines: Mapping[str, Callable[[np.random.Generator], list[Part]]]
    marks: Callable[[np.random.Generator], list[Part]]
    paints: Mapping[str, Callable[[Surface, np.random.Generator], np.ndarray]]


def draw_toy(toy: Toy, rng: np.random.Generator, frame: int = 128) -> np.ndarray:
    """Draw one individual of a toy as the toy shop does; arguments, returns and errors are those of `draw_by`."""
    return draw_by(_TOYMAKER, toy, rng, frame)


def draw_by(hand: Hand, toy: Toy, rng: np.random.Generator, frame: int = 128) -> np.ndarray:
    """Draw one individual of a toy.

    Args:
        hand: who draws it.
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
    parts = pose(hand.outlines[toy.family](rng) + hand.marks(rng), rng)
    pixels_per_unit, cover = fit_area(parts, target, low, high)
    tone, seam = tone_and_seams(parts, pixels_per_unit, cover.shape, see_through=toy.material == "glass")
    colour = hand.paints[toy.material](surface(cover, tone, seam, pixels_per_unit, rng), rng)
    sprite = np.dstack((colour * 255, cover * 255))
    sprite = (np.clip(sprite, 0, 255) + 0.5).astype(np.uint8)
    rows, columns = np.flatnonzero(sprite[..., 3].any(1)), np.flatnonzero(sprite[..., 3].any(0))
    return np.ascontiguousarray(sprite[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


# ---------------------------------------------------------------------------------------------- outlines


def _bell(rng: np.random.Generator) -> list[Part]:
    waist, lip, flare = rng.uniform(0.38, 0.46), rng.uniform(0.74, 0.84), rng.uniform(0.5, 0.6)
    profile = rounded(
        polyline((0.12, -0.72), (0.30, -0.62), (waist - 0.03, -0.4), (waist + 0.03, -0.02), (flare, 0.3), (lip, 0.56)),
        closed=False,
    )
    bead = rng.uniform(0.17, 0.21)
    return [
        Part(ellipse(0, -0.84, 0.2, 0.18), -0.1),
        Part(ellipse(0, -0.84, 0.08, 0.07), -0.75, solid=False, seam=False),
        Part(ellipse(0, 0.76, bead, bead), -0.25),
        Part(both_sides(np.concatenate((profile, polyline((lip, 0.68)))))),
        Part(polyline((-lip, 0.56), (lip, 0.56), (lip + 0.03, 0.7), (-lip - 0.03, 0.7)), 0.15),
        Part(polyline((-waist - 0.02, -0.1), (waist + 0.02, -0.1)), -0.45, width=0.07, solid=False, seam=False),
        Part(polyline((-flare - 0.02, 0.33), (flare + 0.02, 0.33)), -0.45, width=0.07, solid=False, seam=False),
    ]


def _drum(rng: np.random.Generator) -> list[Part]:
    rx, ry, top, bottom = rng.uniform(0.72, 0.84), rng.uniform(0.2, 0.27), -0.3, rng.uniform(0.5, 0.68)
    arc = circle(28)[:15] * (rx, ry)  # lower half, from right to left
    side = np.concatenate((arc + (0, bottom), polyline((-rx, top), (rx, top))))
    parts = [Part(side)]
    zigzag = np.linspace(-0.86, 0.86, 8) * rx
    sag = ry * np.sqrt(1 - (zigzag / rx) ** 2)
    heights = np.where(np.arange(8) % 2, top + 0.12, bottom - 0.12) + sag
    parts.append(Part(np.stack((zigzag, heights), 1), -0.55, width=0.07, solid=False, seam=False))
    for y, tone in ((bottom - 0.02, -0.3), (top + 0.04, -0.3)):
        parts.append(Part(arc + (0, y), tone, width=0.13))
    parts.append(Part(ellipse(0, top, rx, ry), 0.45))
    for direction in (-1, 1):
        reach = rng.uniform(0.5, 0.62)
        stick = polyline((direction * 0.15, top + 0.05), (-direction * reach, top - 0.62))
        parts.append(Part(stick, -0.2, width=0.1))
        parts.append(Part(ellipse(*stick[1], 0.12, 0.12), -0.2))
    return parts


def _guitar(rng: np.random.Generator) -> list[Part]:
    upper, waist, lower = rng.uniform(0.42, 0.5), rng.uniform(0.29, 0.35), rng.uniform(0.58, 0.66)
    neck = rng.uniform(-0.66, -0.54)
    right = polyline(
        (0.1, -0.2),
        (upper - 0.06, -0.16),
        (upper, 0.04),
        (waist, 0.3),
        (lower, 0.66),
        (lower * 0.75, 0.96),
        (0.12, 1.04),
    )
    parts = [
        Part(rounded(both_sides(right))),
        Part(ellipse(0, 0.32, 0.17, 0.17), -0.75, solid=False, seam=False),
        Part(polyline((-0.24, 0.74), (0.24, 0.74)), -0.6, width=0.1, solid=False, seam=False),
        Part(polyline((-0.1, neck), (0.1, neck), (0.11, 0.2), (-0.11, 0.2)), -0.4),
        Part(polyline((-0.12, neck), (0.12, neck), (0.18, neck - 0.34), (-0.18, neck - 0.34)), -0.15),
    ]
    for y in (neck - 0.1, neck - 0.26):
        for side in (-1, 1):
            parts.append(Part(ellipse(side * 0.22, y, 0.075, 0.065), -0.3, seam=False))
    for x in (-0.035, 0.035):
        parts.append(Part(polyline((x, neck), (x, 0.74)), 0.6, width=0.028, solid=False, seam=False))
    return parts


def _car(rng: np.random.Generator) -> list[Part]:
    nose, tail, roof = rng.uniform(0.9, 1.0), -rng.uniform(0.88, 0.98), rng.uniform(-0.62, -0.5)
    front, back = rng.uniform(0.25, 0.4), -rng.uniform(0.5, 0.7)
    wheel = rng.uniform(0.23, 0.27)
    hood = polyline((nose - 0.2, -0.06), (nose, 0.06), (nose, 0.3), (nose - 0.1, 0.36))
    trunk = polyline((tail + 0.1, 0.36), (tail, 0.3), (tail - 0.02, 0.0), (tail + 0.12, -0.1))
    body = rounded(np.concatenate((trunk, polyline((0, -0.12)), hood, polyline((0, 0.37)))))
    cabin = polyline((back - 0.12, -0.05), (back + 0.08, roof), (front - 0.12, roof), (front + 0.2, -0.05))
    middle = (back + front) / 2
    parts = [Part(cabin), Part(body)]
    for left, right, slant_l, slant_r in (
        (back + 0.02, middle - 0.05, 0.1, 0.0),
        (middle + 0.05, front + 0.03, 0.0, -0.18),
    ):
        window = polyline((left, -0.12), (left + slant_l, roof + 0.1), (right + slant_r, roof + 0.1), (right, -0.12))
        parts.append(Part(window, -0.6, solid=False, seam=False))
    parts.append(Part(ellipse(nose - 0.08, 0.08, 0.07, 0.08), 0.75, solid=False, seam=False))
    for x in (tail + 0.4, nose - 0.42):
        parts.append(Part(ellipse(x, 0.38, wheel, wheel), -0.7))
        parts.append(Part(ellipse(x, 0.38, wheel * 0.42, wheel * 0.42), 0.4, solid=False, seam=False))
    return parts


def _bird(rng: np.random.Generator) -> list[Part]:
    plump, head = rng.uniform(0.46, 0.56), rng.uniform(0.29, 0.34)
    body = rounded(
        polyline(
            (-0.75, 0.02), (-0.3, -plump * 0.55), (0.25, -0.38), (0.58, -0.1), (0.45, 0.3), (0.05, plump), (-0.4, 0.34)
        )
    )
    tail_up = rng.uniform(-0.3, 0.05)
    wing = rounded(polyline((0.28, -0.12), (0.2, 0.18), (-0.2, 0.26), (-0.62, 0.1), (-0.2, -0.14)))
    hx, hy = 0.52, -0.42
    parts = []
    for x in (-0.02, 0.2):
        parts.append(Part(polyline((x, 0.35), (x + 0.02, 0.78), (x + 0.16, 0.8)), -0.5, width=0.09, seam=False))
    parts += [
        Part(
            polyline((-0.5, -0.12), (-1.0, tail_up - 0.2), (-0.9, tail_up), (-1.04, tail_up + 0.16), (-0.5, 0.22)),
            -0.25,
        ),
        Part(
            polyline((hx + head * 0.6, hy - 0.13), (hx + head + 0.28, hy + 0.06), (hx + head * 0.6, hy + 0.16)), -0.45
        ),
        Part(body),
        Part(ellipse(hx, hy, head, head), 0.0, seam=False),
        Part(wing, -0.3),
        Part(polyline((-0.45, 0.1), (0.05, 0.06)), 0.3, width=0.05, solid=False, seam=False),
        Part(ellipse(hx + 0.08, hy - 0.06, 0.1, 0.1), 0.85, solid=False, seam=False),
        Part(ellipse(hx + 0.1, hy - 0.06, 0.06, 0.06), -0.95, solid=False, seam=False),
    ]
    return parts


def _horn(rng: np.random.Generator) -> list[Part]:
    mouth, tube, drop = rng.uniform(0.52, 0.62), 0.1, rng.uniform(0.48, 0.58)
    flare = rounded(
        polyline((-0.1, -tube), (0.22, -tube - 0.05), (0.5, -0.24), (0.72, -mouth * 0.72), (0.8, -mouth)), closed=False
    )
    bell = np.concatenate((flare, flare[::-1] * (1, -1)))
    loop = rounded(
        polyline((-0.6, 0.0), (-0.74, drop * 0.5), (-0.56, drop), (0.16, drop), (0.32, drop * 0.5), (0.18, 0.0)),
        steps=5,
    )
    loop = np.concatenate((loop, loop[:2]))
    parts = [
        Part(loop, -0.15, width=0.17),
        Part(polyline((-0.9, 0), (0.1, 0)), 0.0, width=2 * tube),
        Part(polyline((-1.02, -0.17), (-0.88, -0.1), (-0.88, 0.1), (-1.02, 0.17)), -0.35),
    ]
    for x in (-0.44, -0.21, 0.02):
        parts.append(Part(polyline((x, -0.32), (x, drop * 0.7)), -0.1, width=0.14))
        parts.append(Part(polyline((x - 0.09, -0.36), (x + 0.09, -0.36)), 0.35, width=0.11))
    parts.append(Part(bell))
    parts.append(Part(ellipse(0.8, 0, 0.12, mouth), -0.5))
    return parts


def _scratches(rng: np.random.Generator) -> list[Part]:
    """What play leaves on a toy: up to three short marks, wherever they fall."""
    marks = []
    for _ in range(rng.integers(4)):
        start, reach = rng.uniform(-0.6, 0.6, 2), rng.uniform(-0.25, 0.25, 2)
        tone = rng.choice((-0.3, 0.3))
        marks.append(Part(np.stack((start, start + reach)), tone, width=0.04, solid=False, seam=False))
    return marks


# ---------------------------------------------------------------------------------------------- materials


def _wood(s: Surface, rng: np.random.Generator) -> np.ndarray:
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
    light = hsv(hue + 6, saturation * 0.6, min(1.0, value * 1.3))
    colour = toned(hsv(hue, saturation, value), s.tone, light)
    shade = (1.05 - depth * grain) * (1 + 0.04 * s.blotch) * (1 + 0.18 * s.relief)
    shade *= (1 - 0.5 * s.seam) * (1 - 0.3 * s.rim)
    return colour * shade[..., None]


def _metal(s: Surface, rng: np.random.Generator) -> np.ndarray:
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
    colour = toned(hsv(hue, saturation, value), s.tone, np.full(3, 0.95, np.float32))
    shade = (1 - rng.uniform(0.3, 0.45) * dark + 0.05 * streak) * (1 + 0.3 * s.relief)
    shade *= (1 - 0.6 * s.seam) * (1 - 0.25 * s.rim)
    shine = rng.uniform(0.5, 0.8) * bright * (1 + np.minimum(s.tone, 0)) + 0.5 * np.clip(s.relief - 0.45, 0, 1)
    colour = colour * shade[..., None]
    return colour + (1 - colour) * (np.clip(shine, 0, 0.9) * (1 - 0.6 * s.seam))[..., None]


def _glass(s: Surface, rng: np.random.Generator) -> np.ndarray:
    """Opaque to the mask, clear to the eye: pale inside, deep at the edge, a bright line where the edge bends."""
    hue, saturation, value = rng.uniform(155, 212), rng.uniform(0.16, 0.48), rng.uniform(0.68, 0.86)
    pale = hsv(hue - 6, saturation * 0.3, 0.96)
    colour = toned(hsv(hue, saturation, value), s.tone * 0.8, pale)
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


_TOYMAKER = Hand(
    outlines={"bell": _bell, "drum": _drum, "guitar": _guitar, "car": _car, "bird": _bird, "horn": _horn},
    marks=_scratches,
    paints={"wood": _wood, "metal": _metal, "glass": _glass},
)
