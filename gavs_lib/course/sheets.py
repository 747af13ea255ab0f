"""Sheets to look at: a clip second by second with its masks, and the pictures of the README and the documentation.

    python -m gavs_lib.course figures        (or: make figures)

draws those of `docs/` anew: every toy and every voice, in the toy shop and in its twin, and what the shipped GAVS marks
when the same pictures are played the voice of each of their toys.
"""

import argparse
import functools
import io
import os
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from gavs_lib.audio import HOP, MEL_BANDS, MEL_HIGH_HZ, MEL_LOW_HZ, SAMPLE_RATE, log_mel_examples
from gavs_lib.course.plots import SILENT, overlay
from gavs_lib.lab.evaluate import play_each
from gavs_lib.lab.shipped import load_model
from gavs_lib.lab.weights import write_atomically
from gavs_lib.metrics import AVSBENCH_THRESHOLD
from gavs_lib.vggish import load_vggish
from gavs_lib.world.folder import ClipRecipe, recipes
from gavs_lib.world.objects import FAMILIES, MATERIALS, SIZES, Toy
from gavs_lib.world.scenes import STYLES, mix, render_frames, render_stems

DOCS = Path("docs")
_CELL = 160  # pixels of a frame's longer side on a clip's sheet
_SHEET_COLUMNS = 5
_MOST_CELLS = 30
_SHOWN_SCENES = (("test", "toys seen in training"), ("unseen_test", "combinations never seen in training"))
_STYLE_NAMES = {"shop": "the toy shop", "sketchbook": "the sketchbook"}
_SHOWN_TOYS = 3
_SHOWN_SECOND = 2


def clip_sheet(frames: np.ndarray, masks: np.ndarray) -> Image.Image:
    """A clip at a glance: of each second the frame and, under it, the frame with its mask.

    Args:
        frames: [T, H, W, 3] uint8 RGB.
        masks: [T, H, W] bool.

    Returns:
        an RGB picture; of long clips, 30 seconds evenly spread.
    """
    count = len(frames)
    shown = np.unique(np.linspace(0, count - 1, min(count, _MOST_CELLS)).round().astype(int))
    height, width = frames.shape[1:3]
    scale = _CELL / max(height, width)
    cell_width, cell_height = max(1, round(width * scale)), max(1, round(height * scale))
    text, gap = 18, 6
    columns = min(_SHEET_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    step_x, step_y = cell_width + gap, text + 2 * cell_height + 2 * gap
    sheet = Image.new("RGB", (columns * step_x + gap, rows * step_y + gap), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for place, second in enumerate(shown):
        x, y = gap + place % columns * step_x, gap + place // columns * step_y
        frame = Image.fromarray(frames[second]).resize((cell_width, cell_height), Image.Resampling.BOX)
        mask = Image.fromarray(masks[second].astype(np.uint8) * 255).resize(frame.size)
        pen.text((x, y), f"{second}-{second + 1} s", fill="black", font=font)
        sheet.paste(frame, (x, y + text))
        tinted = (overlay(np.asarray(frame), np.asarray(mask) >= 128) * 255).round().astype(np.uint8)
        sheet.paste(Image.fromarray(tinted), (x, y + text + cell_height + gap // 2))
    return sheet


def save_picture(path: str | os.PathLike, picture: Image.Image) -> Path:
    """Write a picture as PNG; it appears whole or not at all."""
    path, data = Path(path), io.BytesIO()
    picture.save(data, format="png", optimize=True)
    write_atomically(path, data.getvalue())
    return path


def toys_figure(seed: int = 0, style: str = "shop") -> Figure:
    """Every toy of a style once, with its name: a row a family, a column a size and material, all to one scale."""
    figure, axes = _grid(9.6, 10.2)
    cells = _cells(axes)
    seeds = np.random.SeedSequence(seed).spawn(len(cells))
    sprites = [STYLES[style].toy(toy, np.random.default_rng(child), 256) for (toy, _), child in zip(cells, seeds)]
    side = max(max(sprite.shape[:2]) for sprite in sprites) + 8
    for (toy, ax), sprite in zip(cells, sprites):
        canvas = Image.new("RGB", (side, side), (232, 232, 232))
        drawing = Image.fromarray(sprite)
        canvas.paste(drawing, ((side - drawing.width) // 2, (side - drawing.height) // 2), drawing)
        ax.imshow(np.asarray(canvas))
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_title(toy.name, fontsize=9, pad=3)
    figure.suptitle(f"T{_STYLE_NAMES[style][1:]}: family x size x material, 36 classes", fontsize=13)
    return figure


def spectrograms_figure(seed: int = 0, seconds: int = 3, style: str = "shop") -> Figure:
    """The voice of every toy as VGGish's front end hears it: log-mel, one individual a class, without room or noise.

    The recorder of the style plays it back: none in the toy shop, a tape in its twin.
    """
    figure, axes = _grid(10.8, 9.0)
    for (toy, ax), child in zip(_cells(axes), np.random.SeedSequence(seed).spawn(axes.size)):
        rng = np.random.default_rng(child)
        voice = STYLES[style].voice(toy, seconds, rng)
        _draw_log_mel(ax, STYLES[style].recorder(voice, rng))
        ax.set_title(toy.name, fontsize=9, pad=3)
        if ax not in axes[-1]:
            ax.set_xticklabels([])
        if ax not in axes[:, 0]:
            ax.set_yticklabels([])
    for ax in axes[-1]:
        ax.set_xlabel("time in s", fontsize=8)
    for ax in axes[:, 0]:
        ax.set_ylabel("frequency in Hz", fontsize=8)
    figure.suptitle(f"The voices of {_STYLE_NAMES[style]}: log-mel spectrograms, brighter is louder", fontsize=13)
    return figure


def quickstart_figure() -> Figure:
    """What the shipped GAVS marks when the same picture is played the voice of each of its toys in turn.

    The scenes are the first of the test clips that show three toys; no look at the masks chose them.
    """
    model, _ = load_model("gavs")
    vggish = load_vggish("mini")
    heights = [0.34, 1.0] * len(_SHOWN_SCENES)
    figure, axes = _grid(10.4, 7.6, len(heights), 1 + _SHOWN_TOYS, height_ratios=heights)
    for number, (split, what) in enumerate(_SHOWN_SCENES):
        recipe = _first_with_toys(split, _SHOWN_TOYS)
        sounds, pictures = axes[2 * number], axes[2 * number + 1]
        scene, drawn = recipe.scene, render_frames(recipe.scene)
        frame, stems = drawn.frames[_SHOWN_SECOND], render_stems(recipe.scene)
        marked = (play_each(model, vggish, recipe)[:, _SHOWN_SECOND] > AVSBENCH_THRESHOLD).numpy()
        sounds[0].axis("off")
        sounds[0].text(0.5, 0.1, f"a picture of\n{what}", ha="center", va="bottom", fontsize=10)
        pictures[0].imshow(frame)
        for i, (above, below) in enumerate(zip(sounds[1:], pictures[1:])):
            _draw_log_mel(above, mix(scene.playing(i), stems)[: 3 * SAMPLE_RATE], labels=False)
            above.set_title(f"played: {scene.toys[i].name}", fontsize=10, pad=3)
            below.imshow(overlay(frame, marked[i]))
            below.contour(drawn.masks[i, _SHOWN_SECOND], [0.5], colors=SILENT, linewidths=1.2, linestyles="dashed")
        for ax in pictures:
            ax.set_xticks([])
            ax.set_yticks([])
    figure.suptitle("Same picture, another sound: what GAVS marks (orange), and the toy that is heard (dashed)")
    return figure


def main(argv: list[str] | None = None) -> int:
    """Draw the pictures of the README and the documentation anew.

    Returns:
        exit code: 0 done, 1 it could not be done (one line says why).
    """
    description = main.__doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.course figures", description=description)
    parser.add_argument("--out", type=Path, default=DOCS, metavar="FOLDER", help="default: %(default)s")
    out = parser.parse_args(argv).out
    figures = {
        "toys": toys_figure,
        "spectrograms": spectrograms_figure,
        "twin_toys": functools.partial(toys_figure, style="sketchbook"),
        "twin_spectrograms": functools.partial(spectrograms_figure, style="sketchbook"),
        "quickstart": quickstart_figure,
    }
    try:
        for name, draw in figures.items():
            print(save_picture(out / f"{name}.png", _rasterized(draw())))
    except (OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _grid(
    width: float,
    height: float,
    rows: int = len(FAMILIES),
    columns: int = len(SIZES) * len(MATERIALS),
    height_ratios: list[float] | None = None,
) -> tuple[Figure, np.ndarray]:
    """A figure of so many inches and its axes [rows, columns]."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, height_ratios=height_ratios)


def _rasterized(figure: Figure) -> Image.Image:
    """A figure as a picture of 128 colours: enough for it, and a quarter of the bytes."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100)
    return Image.open(data).convert("RGB").quantize(128, dither=Image.Dither.NONE)


def _cells(axes: np.ndarray) -> list[tuple[Toy, Axes]]:
    """The toys with their places: a row a family, a column a size and material."""
    kinds = [(size, material) for size in SIZES for material in MATERIALS]
    return [
        (Toy(family, size, material), axes[row, column])
        for row, family in enumerate(FAMILIES)
        for column, (size, material) in enumerate(kinds)
    ]


def _draw_log_mel(ax: Axes, wave: np.ndarray, labels: bool = True) -> None:
    """Log-mel spectrogram of 16 kHz sound, with hertz on a mel scale."""
    bands = log_mel_examples(torch.from_numpy(wave), SAMPLE_RATE).flatten(0, 2).T.numpy()  # [64, frames]
    ax.imshow(
        bands,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-4.5,
        vmax=3.5,
        extent=(0, bands.shape[1] * HOP / SAMPLE_RATE, 0, MEL_BANDS),
    )
    if not labels:
        ax.set_xticks([])
        ax.set_yticks([])
        return
    low, high = (1127 * np.log1p(edge / 700) for edge in (MEL_LOW_HZ, MEL_HIGH_HZ))
    hertz = np.array([250, 1000, 4000])
    ax.set_yticks((1127 * np.log1p(hertz / 700) - low) / (high - low) * MEL_BANDS, [str(f) for f in hertz])
    ax.tick_params(labelsize=7)


def _first_with_toys(split: str, count: int) -> ClipRecipe:
    return next(recipe for recipe in recipes("v1s", split, 1000) if len(recipe.scene.toys) == count)


if __name__ == "__main__":
    sys.exit(main())
