"""The same toys by another hand: ink and flat colours in a sketchbook. `tapes` gives them their sounds.

The factors keep their meaning: the family is the drawing, the size is its scale, the material is palette and texture.
Everything else differs from the toy shop: other models of each family (a hand bell, a barrel drum, a round banjo, a
van, a chick, a straight horn), ink outlines for shading, hatching for grain, other shades, and paper for a floor.
"""

import numpy as np

from gavs_lib.world.drawing import Part, Surface, both_sides, circle, ellipse, hsv, polyline, rounded, toned
from gavs_lib.world.objects import Hand, Toy, draw_by

_INK = np.array((0.13, 0.11, 0.16), np.float32)


def sketch_toy(toy: Toy, rng: np.random.Generator, frame: int = 128) -> np.ndarray:
    """Draw one individual of a toy in ink; arguments, returns and errors are those of `objects.draw_by`."""
    return draw_by(_PEN, toy, rng, frame)


def paper(rng: np.random.Generator, side: int) -> np.ndarray:
    """A sheet to draw on, float32 `[side, side, 3]`: plain, ruled, squared or dotted, in one of four tints."""
    tint = np.array(((244, 236, 214), (226, 232, 238), (208, 186, 152), (236, 220, 224)), np.float32)[rng.integers(4)]
    sheet = np.full((side, side, 3), tint * rng.uniform(0.82, 1.0), np.float32)
    sheet += rng.normal(0, rng.uniform(2, 6), (side, side, 1)).astype(np.float32)  # the paper's tooth
    kind, gap = rng.integers(4), int(rng.integers(9, 17))
    first_row, first_column = rng.integers(gap, size=2)
    rows, columns = np.zeros(side, bool), np.zeros(side, bool)
    rows[first_row::gap], columns[first_column::gap] = True, True
    printed = {
        0: np.zeros((side, side), bool),
        1: rows[:, None] | np.zeros(side, bool),
        2: rows[:, None] | columns,
        3: rows[:, None] & columns,
    }[int(kind)]
    sheet[printed] *= np.array(((0.72, 0.82, 0.95), (0.9, 0.74, 0.74)), np.float32)[rng.integers(2)]
    return sheet


# ---------------------------------------------------------------------------------------------- outlines


def _bell(rng: np.random.Generator) -> list[Part]:
    """A hand bell: a straight-sided cup under a grip."""
    shoulder, lip, grip = rng.uniform(0.3, 0.4), rng.uniform(0.66, 0.78), rng.uniform(0.35, 0.55)
    cup = rounded(polyline((0.1, -0.5), (shoulder, -0.42), (shoulder + 0.08, -0.1), (lip - 0.12, 0.42)), closed=False)
    cup = both_sides(np.concatenate((cup, polyline((lip, 0.64), (0.05, 0.7)))))
    return [
        Part(polyline((0, -0.46), (0, -0.5 - grip)), -0.35, width=0.2),
        Part(ellipse(0, -0.52 - grip, 0.15, 0.12), -0.35),
        Part(ellipse(0, 0.74, 0.15, 0.15), -0.5),
        Part(cup),
        Part(polyline((-lip + 0.1, 0.46), (lip - 0.1, 0.46)), 0.4, width=0.09, solid=False, seam=False),
    ]


def _drum(rng: np.random.Generator) -> list[Part]:
    """A barrel drum with upright staves, its stick lying across the skin."""
    rx, ry, belly, bottom = rng.uniform(0.56, 0.66), rng.uniform(0.17, 0.22), rng.uniform(0.06, 0.14), 0.62
    arc = circle(28)[:15] * (rx, ry)
    left = rounded(polyline((-rx, bottom), (-rx - belly, 0.1), (-rx, -0.42)), closed=False)
    shell = np.concatenate((arc + (0, bottom), left, left[::-1] * (-1, 1)))
    parts = [Part(shell)]
    for place in (-0.6, -0.2, 0.2, 0.6):
        sag = ry * np.sqrt(1 - place**2)
        stave = polyline(
            (place * rx, -0.36 + sag), (place * (rx + belly), 0.15 + sag), (place * rx, bottom - 0.06 + sag)
        )
        parts.append(Part(stave, -0.5, width=0.05, solid=False, seam=False))
    parts += [Part(arc + (0, y), -0.4, width=0.11) for y in (bottom - 0.03, -0.36)]
    parts.append(Part(ellipse(0, -0.42, rx, ry), 0.6))
    reach = rng.uniform(0.6, 0.8)
    parts.append(Part(polyline((-0.1, -0.44), (reach, -0.86)), -0.25, width=0.1))
    parts.append(Part(ellipse(-0.1, -0.44, 0.13, 0.11), -0.25))
    return parts


def _guitar(rng: np.random.Generator) -> list[Part]:
    """A round-bodied one, a banjo: a disc with a long neck."""
    lower, upper, neck = rng.uniform(0.52, 0.6), rng.uniform(0.4, 0.46), rng.uniform(-0.86, -0.72)
    body = rounded(
        polyline(
            (-0.1, -0.1),
            (0.1, -0.1),
            (upper, 0.16),
            (lower, 0.56),
            (0.3, 0.98),
            (-0.3, 0.98),
            (-lower, 0.56),
            (-upper, 0.16),
        )
    )
    parts = [
        Part(body),
        Part(ellipse(0, 0.4, 0.2, 0.2), -0.65, solid=False, seam=False),
        Part(polyline((-0.2, 0.76), (0.2, 0.76)), -0.6, width=0.08, solid=False, seam=False),
        Part(polyline((-0.09, neck), (0.09, neck), (0.09, 0.24), (-0.09, 0.24)), -0.35),
        Part(ellipse(0, neck - 0.1, 0.17, 0.18), -0.2),
    ]
    for side in (-1, 1):
        for y in (neck - 0.02, neck - 0.17):
            parts.append(Part(ellipse(side * 0.23, y, 0.07, 0.05), -0.4, seam=False))
    parts.append(Part(polyline((0, neck), (0, 0.76)), 0.7, width=0.03, solid=False, seam=False))
    return parts


def _car(rng: np.random.Generator) -> list[Part]:
    """A van: one box with a sloping front, and large wheels."""
    front, roof, wheel = rng.uniform(0.3, 0.5), rng.uniform(-0.6, -0.5), rng.uniform(0.24, 0.29)
    body = rounded(
        polyline((-0.92, 0.36), (-0.94, -0.2), (-0.84, roof), (front, roof), (0.78, -0.1), (0.98, 0.02), (0.98, 0.36)),
        steps=3,
    )
    parts = [Part(body)]
    for left, right, slant in ((-0.74, -0.3, 0.0), (-0.2, 0.16, 0.0), (0.24, front + 0.2, -0.2)):
        window = polyline((left, -0.12), (left, roof + 0.12), (right + slant, roof + 0.12), (right, -0.12))
        parts.append(Part(window, -0.55, solid=False, seam=False))
    parts.append(Part(polyline((-0.88, 0.08), (0.92, 0.1)), 0.5, width=0.05, solid=False, seam=False))
    for x in (-0.52, 0.56):
        parts.append(Part(ellipse(x, 0.4, wheel, wheel), -0.75))
        parts.append(Part(ellipse(x, 0.4, wheel * 0.5, wheel * 0.5), 0.5, solid=False, seam=False))
    return parts


def _bird(rng: np.random.Generator) -> list[Part]:
    """A chick: a round body, a head on it, a stub of a tail and an open beak."""
    plump, head, tail = rng.uniform(0.52, 0.6), rng.uniform(0.3, 0.36), rng.uniform(-0.3, -0.1)
    x, y = 0.42, -0.48
    parts = [
        Part(polyline((leg, 0.4), (leg + 0.02, 0.84), (leg + 0.18, 0.84)), -0.55, width=0.09, seam=False)
        for leg in (-0.12, 0.12)
    ]
    return parts + [
        Part(polyline((-0.42, -0.16), (-0.96, tail - 0.12), (-0.84, tail + 0.2), (-0.5, 0.2)), -0.3),
        Part(polyline((x + head * 0.7, y - 0.16), (x + head + 0.3, y - 0.08), (x + head * 0.7, y + 0.02)), -0.5),
        Part(polyline((x + head * 0.7, y), (x + head + 0.22, y + 0.12), (x + head * 0.7, y + 0.16)), -0.5),
        Part(ellipse(0, 0.04, 0.66, plump)),
        Part(ellipse(x, y, head, head), seam=False),
        Part(rounded(polyline((0.2, -0.1), (0.24, 0.16), (-0.14, 0.3), (-0.46, 0.06), (-0.1, -0.12))), -0.35),
        Part(ellipse(x + 0.1, y - 0.06, 0.08, 0.08), -0.95, solid=False, seam=False),
    ]


def _horn(rng: np.random.Generator) -> list[Part]:
    """A straight horn with one long coil and three keys."""
    mouth, drop = rng.uniform(0.5, 0.6), rng.uniform(0.34, 0.44)
    flare = rounded(polyline((-0.2, -0.09), (0.3, -0.12), (0.64, -0.28), (0.9, -mouth)), closed=False)
    coil = rounded(polyline((-0.5, 0), (-0.62, drop * 0.5), (-0.46, drop), (0.3, drop), (0.44, drop * 0.5), (0.3, 0.0)))
    parts = [
        Part(np.concatenate((coil, coil[:2])), -0.2, width=0.13),
        Part(polyline((-0.98, 0), (0.1, 0)), width=0.18),
        Part(ellipse(-1.0, 0, 0.08, 0.17), -0.4),
    ]
    for key in (-0.3, -0.08, 0.14):
        parts.append(Part(polyline((key, 0), (key, -0.3)), -0.1, width=0.1))
        parts.append(Part(ellipse(key, -0.32, 0.09, 0.07), 0.4))
    parts.append(Part(np.concatenate((flare, flare[::-1] * (1, -1)))))
    parts.append(Part(ellipse(0.9, 0, 0.1, mouth), -0.55))
    return parts


def _blots(rng: np.random.Generator) -> list[Part]:
    """Up to two drops of ink, wherever they fall."""
    return [
        Part(ellipse(*rng.uniform(-0.5, 0.5, 2), 0.04, 0.04), -0.9, solid=False, seam=False)
        for _ in range(rng.integers(3))
    ]


# ---------------------------------------------------------------------------------------------- materials


def _inked(s: Surface, colour: np.ndarray, weight: float) -> np.ndarray:
    """Contour and seams drawn over the colours [h, w, 3], strong at the contour."""
    ink = np.clip(np.clip(2.2 * s.rim - 0.9, 0, 1) + 0.8 * s.seam, 0, 1) * weight
    return colour + (_INK - colour) * ink[..., None]


def _hatch(along: np.ndarray, gap: float, width: float) -> np.ndarray:
    """Parallel strokes, 0..1 [h, w], at every `gap` of the coordinate, a share `width` of it wide."""
    return np.clip(1.5 - np.abs((along / gap) % 1 - 0.5) / (0.5 * width), 0, 1)


def _wood(s: Surface, rng: np.random.Generator) -> np.ndarray:
    """Straw to rust, or weathered grey, with wavy strokes along the grain."""
    colour = toned(hsv(rng.uniform(8, 58), rng.uniform(0.12, 0.6), rng.uniform(0.6, 0.95)), s.tone, np.full(3, 0.95))
    wave = s.v + 0.05 * np.sin(4 * s.u + rng.uniform(0, 6)) + 0.03 * s.blotch
    strokes = _hatch(wave, rng.uniform(0.2, 0.32), 0.3) * rng.uniform(0.3, 0.5)
    return _inked(s, colour * (1 - strokes)[..., None], 0.85)


def _metal(s: Surface, rng: np.random.Generator) -> np.ndarray:
    """Lead, slate or copper, crossed hatching in the shade, a bare stripe where it shines."""
    if rng.random() < 0.25:
        hue, saturation = rng.uniform(10, 45), rng.uniform(0.25, 0.5)
    else:
        hue, saturation = rng.uniform(170, 290), rng.uniform(0.03, 0.25)
    colour = toned(hsv(hue, saturation, rng.uniform(0.6, 0.85)), s.tone, np.ones(3))
    shade = np.clip(s.v - s.v.mean() + 0.1, 0, 0.5) * 2
    gap = rng.uniform(0.14, 0.2)
    strokes = np.maximum(_hatch(s.u + s.v, gap, 0.4), _hatch(s.u - s.v, gap, 0.4)) * shade * 0.6
    centre = rng.uniform(-0.35, 0.05)
    shine = np.clip(1.6 - np.abs(s.v - s.v.mean() - centre) / 0.1, 0, 1) * rng.uniform(0.6, 0.9)
    colour = colour * (1 - strokes)[..., None]
    return _inked(s, colour + (1 - colour) * (shine * (1 + np.minimum(s.tone, 0)))[..., None], 0.95)


def _glass(s: Surface, rng: np.random.Generator) -> np.ndarray:
    """A wash from bottle green to violet, nearly white in the middle; thin ink, and two slanted strokes of light."""
    hue, saturation = rng.uniform(100, 290), rng.uniform(0.2, 0.5)
    colour = toned(hsv(hue, saturation, rng.uniform(0.75, 0.9)), s.tone * 0.7, np.ones(3))
    pale = hsv(hue, 0.1, 0.97)
    wash = np.clip(0.55 - 0.6 * s.rim + 0.12 * s.blotch, 0, 0.8)
    colour = colour + (pale - colour) * wash[..., None]
    along = s.u - s.u.mean() - rng.uniform(-0.3, 0.3)
    light = np.clip(1.6 - np.abs(along) / 0.05, 0, 1) + np.clip(1.6 - np.abs(along - 0.18) / 0.03, 0, 1)
    colour = colour + (1 - colour) * np.clip(0.8 * light * (1 - s.rim), 0, 1)[..., None]
    return _inked(s, colour, 0.55)


_PEN = Hand(
    outlines={"bell": _bell, "drum": _drum, "guitar": _guitar, "car": _car, "bird": _bird, "horn": _horn},
    marks=_blots,
    paints={"wood": _wood, "metal": _metal, "glass": _glass},
)
