"""The course's figures: pure functions, arrays and tables in, a matplotlib Figure out.

Nothing here computes a mask, reads a file or keeps a state, so a figure in a notebook, its widget and a test are the
same picture. One palette for all of them (from Okabe and Ito's, which colour-blind people can tell apart): what sounds
is orange everywhere, in masks, bars and curves, and what is silent or deaf is blue. Figures are 6.4 inches wide at most
and their letters large, to be read on a page of 400 pixels.
"""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from gavs_lib.audio import second_examples

SOUNDING = "#FF8C00"
SILENT = "#0072B2"
TRAINED = "#009E73"
FROZEN = "#7F7F7F"
GUESS = "#A6A6A6"

WIDTH = 6.4  # inches
MOST_COLUMNS = 5
_STYLE = {
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "font.size": 13,
    "axes.titlesize": 13,
    "axes.labelsize": 13,
    "figure.titlesize": 14,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "legend.fontsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 2.2,
}

_MARKS = (  # of models in one axis, the first ones first
    (SOUNDING, "o"),
    (SILENT, "s"),
    (TRAINED, "D"),
    (FROZEN, "^"),
    ("#CC79A7", "v"),
    ("#000000", "X"),
    ("#56B4E9", "P"),
    ("#A6761D", "*"),
)


def overlay(frame: np.ndarray, mask: np.ndarray | None, color: str = SOUNDING) -> np.ndarray:
    """Tint the marked pixels of a picture, outline them, and fade the rest a little.

    Args:
        frame: [H, W, 3] uint8 RGB.
        mask: [H, W] bool; None leaves the picture as it is.
        color: any matplotlib colour.

    Returns:
        [H, W, 3] float, 0-1.

    Raises:
        ValueError: the mask has another size than the frame.
    """
    frame = np.asarray(frame)
    picture = frame[..., :3].astype(np.float64) / 255
    if mask is None:
        return picture
    mask = np.asarray(mask, dtype=bool)
    if mask.shape != frame.shape[:2]:
        raise ValueError(
            f"mask is {list(mask.shape)}, its frame {list(frame.shape[:2])}; expected one size (upsample the logits)."
        )
    tint = np.asarray(to_rgb(color))
    grey = picture.mean(axis=2, keepdims=True)
    faded = 0.45 * picture + 0.35 * grey
    result = np.where(mask[..., None], 0.55 * picture + 0.45 * tint, faded)
    result[_edge(mask, max(1, min(mask.shape) // 90))] = tint
    return result


def clip_sheet(
    frames: np.ndarray,
    rows: Mapping[str, np.ndarray | None],
    title: str,
    truth: np.ndarray | None = None,
) -> Figure:
    """One clip, second by second: a column a second, a row for each set of masks.

    Args:
        frames: [T, H, W, 3] uint8 RGB. Of more than five seconds, five evenly spaced ones are shown.
        rows: name -> masks [T, H, W] bool, or None for the plain pictures.
        title: of the figure.
        truth: [T, H, W] bool, drawn as a white outline over every row with masks.
    """
    seconds = _spread(len(frames), MOST_COLUMNS)
    row = 1.2 * float(np.clip(frames.shape[1] / frames.shape[2], 0.6, 1.8))  # inches; 1.2 for square pictures
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            len(rows), len(seconds), figsize=(WIDTH, 0.75 + row * len(rows)), squeeze=False, layout="constrained"
        )
        for number, (name, masks) in enumerate(rows.items()):
            for axis, second in zip(axes[number], seconds):
                outline = None if truth is None or masks is None else truth[second]
                _show(axis, frames[second], None if masks is None else masks[second], outline)
                if number == 0:
                    axis.set_title(f"{second} s")
            axes[number, 0].set_ylabel(name)
        return _finish(figure, title)


def sound(
    waveform: np.ndarray, sample_rate: int, title: str, sounding: Mapping[str, Sequence[bool]] | None = None
) -> Figure:
    """A sound as a wave and as the log-mel picture that VGGish gets, with the seconds marked.

    Args:
        waveform: [samples] float, about -1 to 1.
        sample_rate: in Hz.
        title: of the figure.
        sounding: name -> flags, one a second: who sounds when, drawn as bars over the wave.
    """
    waveform = np.asarray(waveform)
    seconds = max(1, len(waveform) // sample_rate)
    # [T, 1, 96, 64] -> [64, T * 96]; of each second the last 25 ms are not heard.
    patches = second_examples(waveform, sample_rate, seconds)[:, 0].flatten(0, 1).T.numpy()
    sounding = sounding or {}
    heights = [0.28 * len(sounding), 1.2, 1.6] if sounding else [1.2, 1.6]
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            len(heights),
            1,
            figsize=(WIDTH, 1.2 + sum(heights)),
            sharex=True,
            height_ratios=heights,
            layout="constrained",
        )
        for row, flags in enumerate(sounding.values()):
            axes[0].broken_barh(
                [(second + 0.02, 0.96) for second, on in enumerate(flags) if on], (row - 0.35, 0.7), facecolors=SOUNDING
            )
        if sounding:
            axes[0].set(yticks=range(len(sounding)), yticklabels=list(sounding), ylim=(len(sounding) - 0.5, -0.5))
            axes[0].spines[:].set_visible(False)
            axes[0].tick_params(bottom=False, left=False, labelsize=11)
        wave, mel = axes[-2:]
        step = max(1, len(waveform) // 4000)
        wave.plot(np.arange(0, len(waveform), step) / sample_rate, waveform[::step], color=FROZEN, linewidth=0.8)
        limit = max(1e-3, float(np.abs(waveform).max()))
        wave.set(ylim=(-1.1 * limit, 1.1 * limit), ylabel="amplitude")
        image = mel.imshow(patches, origin="lower", aspect="auto", cmap="cividis", extent=(0, seconds, 0, 64))
        for second in range(1, seconds):
            mel.axvline(second, color="white", linewidth=1)
        mel.set(xlabel="time (s)", ylabel="mel band", xticks=range(seconds + 1), yticks=[0, 32, 64])
        figure.colorbar(image, ax=mel, label="log energy")
        return _finish(figure, title)


def voices(
    frame: np.ndarray,
    names: Sequence[str],
    rows: Mapping[str, np.ndarray],
    title: str,
    truth: np.ndarray | None = None,
) -> Figure:
    """The swap test in one picture: the same frame, a column for each voice that is played.

    Args:
        frame: [H, W, 3] uint8 RGB.
        names: K names of what is played.
        rows: model -> masks [K, H, W] bool, one a voice.
        title: of the figure.
        truth: [K, H, W] bool, where the toy of each voice stands: a white outline.
    """
    columns = len(names)
    side = min(2.1, WIDTH / columns)
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            len(rows),
            columns,
            figsize=(max(4.2, side * columns), 0.9 + (side + 0.05) * len(rows) + 0.35),
            squeeze=False,
            layout="constrained",
        )
        for number, (model, masks) in enumerate(rows.items()):
            for column, axis in enumerate(axes[number]):
                _show(axis, frame, masks[column], None if truth is None else truth[column])
                if number == 0:
                    axis.set_title("plays:\n" + _two_lines(names[column]), fontsize=12)
            axes[number, 0].set_ylabel(model)
        return _finish(figure, title)


def pictures(images: Mapping[str, np.ndarray], title: str, columns: int = 3, colorbar: str | None = None) -> Figure:
    """Pictures side by side, each under its name.

    Args:
        images: name -> [H, W, 3] (uint8 or float 0-1) or [H, W] (numbers in 0-1, as shades of the sounding colour).
        title: of the figure.
        columns: pictures in a row.
        colorbar: what the numbers are, beside a scale; None: no scale.
    """
    columns = min(columns, len(images))
    lines = -(-len(images) // columns)
    side = WIDTH / columns
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            lines, columns, figsize=(WIDTH, 0.6 + (side + 0.25) * lines), squeeze=False, layout="constrained"
        )
        shades = None
        for axis, (name, image) in zip(axes.flat, images.items()):
            image = np.asarray(image)
            if image.ndim == 2:
                shades = axis.imshow(image.astype(float), cmap="YlOrBr", vmin=0, vmax=1, interpolation="nearest")
            else:
                axis.imshow(image)
            axis.set_title(name)
        for axis in axes.flat:
            _bare(axis)
        for axis in axes.flat[len(images) :]:
            axis.set_visible(False)
        if colorbar is not None and shades is not None:
            figure.colorbar(shades, ax=axes, label=colorbar, shrink=0.7)
        return _finish(figure, title)


def scores(table: pd.DataFrame, title: str, xlabel: str = "mean IoU") -> Figure:
    """Scores as bars, one panel a group: orange for a model that hears, blue for a deaf one, grey for a guess.

    Args:
        table: columns group, name, value, low, high (an interval), kind ("hears", "deaf" or "guess").
        title: of the figure.
        xlabel: what the values are; they lie in 0-1.

    Raises:
        ValueError: a column is missing, or a kind unknown.
    """
    missing = {"group", "name", "value", "low", "high", "kind"} - set(table.columns)
    colors = {"hears": SOUNDING, "deaf": SILENT, "guess": GUESS}
    unknown = set() if missing else set(table["kind"]) - set(colors)
    if missing or unknown:
        raise ValueError(
            f"the table lacks columns {sorted(missing)} or has kinds {sorted(unknown)}; expected group, name, value, "
            f"low, high and kind ({', '.join(colors)})."
        )
    with plt.rc_context(_STYLE):
        figure, panels = _panels(table)
        for axis, rows in panels:
            rows = rows.iloc[::-1]
            below, above = rows["value"] - rows["low"], rows["high"] - rows["value"]
            axis.barh(rows["name"], rows["value"], color=[colors[kind] for kind in rows["kind"]])
            axis.errorbar(
                rows["value"], rows["name"], xerr=[below.clip(0), above.clip(0)], fmt="none", ecolor="black", capsize=3
            )
            for name, value, high in zip(rows["name"], rows["value"], rows["high"]):
                axis.text(max(value, high) + 0.02, name, f"{value:.2f}", va="center", fontsize=12)
            axis.set_xlim(0, 1.12)
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axis.set_xlabel(xlabel)
        return _finish(figure, title)


def curves(runs: Mapping[str, Sequence[Mapping]], title: str, margin: float | None = None) -> Figure:
    """Training curves, epoch by epoch: the segmentation loss, validation mIoU and, with a margin, the semantic loss.

    Args:
        runs: name -> epochs as in log.jsonl (epoch, segmentation, semantic, miou). The first is drawn orange, the
            second blue.
        title: of the figure.
        margin: m of eq. 10, drawn as a line. None leaves the semantic loss out.
    """
    panels = [("segmentation", "segmentation\nloss (8)"), ("miou", "validation\nmIoU")]
    if margin is not None:
        panels.append(("semantic", "semantic\nloss (10)"))
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            len(panels), 1, figsize=(WIDTH, 0.9 + 1.65 * len(panels)), sharex=True, layout="constrained"
        )
        for axis, (column, label) in zip(axes, panels):
            for (name, epochs), color, dash in zip(
                runs.items(), (SOUNDING, SILENT, TRAINED, FROZEN), ("-", "--", ":", "-.")
            ):
                points = [(row["epoch"], row[column]) for row in epochs if row[column] is not None]
                if points:
                    axis.plot(*zip(*points), dash, color=color, marker="o", markersize=4, label=name)
            axis.set_ylabel(label)
        axes[0].legend(frameon=False)
        axes[1].set_ylim(0, 1)
        if margin is not None:
            axes[2].axhline(margin, color="black", linewidth=1)
            axes[2].text(0, margin, " margin m", va="bottom", fontsize=11, transform=axes[2].get_yaxis_transform())
            axes[2].set_ylim(bottom=0)
        axes[-1].set_xlabel("epoch")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
        return _finish(figure, title)


def similarities(matrix: np.ndarray, title: str) -> Figure:
    """Cosine similarities of pictures (rows) and sounds (columns) as a heat map; the diagonal is who belongs together.

    Args:
        matrix: [N, N], -1 to 1; the colours span its own range.
        title: of the figure.
    """
    matrix = np.asarray(matrix)
    count = len(matrix)
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(5.2, 4.4), layout="constrained")
        image = axis.imshow(matrix, cmap="cividis")
        for i in range(count):
            axis.add_patch(plt.Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=SOUNDING, linewidth=2))
        ticks = range(0, count, -(-count // 8))
        axis.set(xticks=ticks, yticks=ticks, xlabel="sound of clip j", ylabel="picture of clip i")
        figure.colorbar(image, ax=axis, label="cosine similarity s")
        return _finish(figure, title)


def mask_at(
    frame: np.ndarray, probability: np.ndarray, truth: np.ndarray | None, threshold: float, title: str
) -> Figure:
    """What a threshold makes of a probability map, and the IoU it would have had at every other one.

    Args:
        frame: [H, W, 3] uint8 RGB.
        probability: [H, W], 0-1.
        truth: [H, W] bool. None where it is not known: then the share of marked pixels stands in place of the IoU.
        threshold: in 0-1; strictly greater counts.
        title: of the figure.
    """
    probability, tried = np.asarray(probability), np.linspace(0, 1, 41)
    if truth is None:
        name, label, value = "mask", "marked share", lambda mask: float(mask.mean())
    else:
        truth = np.asarray(truth, dtype=bool)
        name, label, value = "mask; white: truth", "IoU", lambda mask: _iou(mask, truth)
    with plt.rc_context(_STYLE):
        figure, (picture, curve) = plt.subplots(
            1, 2, figsize=(WIDTH, 3.3), width_ratios=[1, 1.25], layout="constrained"
        )
        _show(picture, frame, probability > threshold, truth)
        picture.set_title(name)
        curve.plot(tried, [value(probability > t) for t in tried], color=SOUNDING)
        here = value(probability > threshold)
        curve.axvline(threshold, color="black", linewidth=1)
        curve.plot([threshold], [here], "o", color="black")
        curve.set_title(f"{label} {here:.2f} at {threshold:.2f}")
        curve.set(xlabel="threshold", ylabel=label, xlim=(-0.02, 1.02), ylim=(0, 1.02))
        return _finish(figure, title)


def over_seconds(loudness: Sequence[float], shares: Mapping[str, Sequence[float]], title: str) -> Figure:
    """How loud each second of a film is, and how much of its picture is marked.

    Args:
        loudness: a number a second, in decibels below full scale.
        shares: name -> marked share of the picture in each second, 0-1. The first is drawn orange, the second blue.
        title: of the figure.
    """
    seconds = len(loudness)
    styles = ((SOUNDING, "-", "o"), (SILENT, "--", "s"), (TRAINED, ":", "^"), (FROZEN, "-.", "v"))
    with plt.rc_context(_STYLE):
        figure, (sound, marked) = plt.subplots(
            2, 1, figsize=(WIDTH, 4.6), height_ratios=[1, 1.7], sharex=True, layout="constrained"
        )
        lowest = min(-60.0, *loudness)
        sound.bar(range(seconds), np.asarray(loudness) - lowest, bottom=lowest, color=FROZEN, width=0.9)
        sound.set(ylabel="loudness (dB)", ylim=(lowest, 0))
        for (name, values), (color, dash, marker) in zip(shares.items(), styles):
            marked.plot(range(seconds), 100 * np.asarray(values), dash, color=color, marker=marker, label=name)
        marked.set(xlabel="second", ylabel="marked (% of pixels)")
        marked.set_ylim(0, max(1.0, 1.05 * marked.get_ylim()[1]))
        marked.xaxis.get_major_locator().set_params(integer=True)
        figure.legend(loc="outside lower center", ncols=len(shares), frameon=False)
        return _finish(figure, title)


def contact_sheet(
    images: Sequence[Sequence[np.ndarray]], rows: Sequence[str], columns: Sequence[str], title: str
) -> Figure:
    """A table of pictures, each row and each column with its name.

    Args:
        images: rows x columns of pictures [H, W, 3] (uint8, or float 0-1), or of spectrograms [H, W] with low bands
            first, which are drawn to one colour scale.
        rows, columns: their names.
        title: of the figure.

    Raises:
        ValueError: names and pictures differ in number.
    """
    shape = (len(images), *{len(row) for row in images})
    if shape != (len(rows), len(columns)):
        raise ValueError(f"images are {list(shape)} (rows, columns), the names {[len(rows), len(columns)]}.")
    heard = np.asarray(images[0][0]).ndim == 2
    height = 0.72 if heard else (WIDTH - 0.4) / len(columns)
    settings = {"cmap": "cividis", "origin": "lower", "aspect": "auto"} if heard else {}
    if heard:
        settings |= {"vmin": min(np.min(i) for row in images for i in row)}
        settings |= {"vmax": max(np.max(i) for row in images for i in row)}
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            len(rows), len(columns), figsize=(WIDTH, 1.2 + height * len(rows)), squeeze=False, layout="constrained"
        )
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
        for line, images_of_row, name in zip(axes, images, rows):
            for axis, image in zip(line, images_of_row):
                axis.imshow(np.asarray(image), **settings)
                _bare(axis)
            line[0].set_ylabel(name)
        for axis, name in zip(axes[0], columns):
            axis.set_title(name, fontsize=12)
        return _finish(figure, title)


def over_thresholds(
    values: Mapping[str, Sequence[float]], title: str, ylabel: str, marks: Mapping[str, float] | None = None
) -> Figure:
    """Scores at every threshold, from 0 to 1.

    Args:
        values: name -> scores in 0-1 at evenly spaced thresholds. The first curve is orange, the second blue.
        title: of the figure.
        ylabel: what the scores are.
        marks: name -> threshold, drawn as an upright line.
    """
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
        for (name, each), color, dash in zip(
            values.items(), (SOUNDING, SILENT, TRAINED, FROZEN), ("-", "--", ":", "-.")
        ):
            axis.plot(np.linspace(0, 1, len(each)), each, dash, color=color, label=name)
        for (name, threshold), dash in zip((marks or {}).items(), (":", "-", "--", "-.")):
            axis.axvline(threshold, color="black", linestyle=dash, linewidth=1.2, label=f"{name}: {threshold:g}")
        axis.set(xlabel="threshold on the probability", ylabel=ylabel, xlim=(-0.02, 1.02), ylim=(0, 1.02))
        axis.legend(loc="lower center", framealpha=1, edgecolor="white")
        return _finish(figure, title)


def prompt_parts(
    frame: np.ndarray,
    mask: np.ndarray,
    kept: Mapping[str, bool],
    title: str,
    truth: np.ndarray | None = None,
) -> Figure:
    """Prompt surgery: which parts of the audio prompt are left, and the mask that the token still gives.

    Args:
        frame: [H, W, 3] uint8 RGB.
        mask: [H, W] bool, the model's.
        kept: name of each part -> False where zeros stand in its place; drawn from above in this order.
        title: of the figure.
        truth: [H, W] bool: a white outline, and the IoU beside the mask.
    """
    mask = np.asarray(mask, dtype=bool)
    with plt.rc_context(_STYLE):
        figure, (parts, picture) = plt.subplots(
            1, 2, figsize=(WIDTH, 3.3), width_ratios=[1.15, 1], layout="constrained"
        )
        parts.set(xlim=(0, 10), ylim=(-len(kept) + 0.4, 0.6))
        parts.axis("off")
        middle = (1 - len(kept)) / 2
        for row, (name, there) in enumerate(kept.items()):
            parts.add_patch(
                FancyBboxPatch(
                    (0.3, -row - 0.28),
                    5.0,
                    0.56,
                    boxstyle="round,pad=0.08",
                    facecolor=(*to_rgb(TRAINED), 0.28) if there else "white",
                    edgecolor=TRAINED if there else FROZEN,
                    linestyle="-" if there else "--",
                    linewidth=1.8,
                )
            )
            parts.text(2.8, -row, name if there else f"{name}:\nzeros", ha="center", va="center", fontsize=12)
            arrow = {"arrowstyle": "-|>", "linewidth": 1.6, "color": "black" if there else "lightgrey"}
            parts.annotate("", (7.2, middle), (5.5, -row), arrowprops=arrow)
        parts.text(8.5, middle, "one\ntoken", ha="center", va="center", fontsize=12)
        _show(picture, frame, mask, truth)
        picture.set_title("mask" if truth is None else f"mask: IoU {_iou(mask, np.asarray(truth, dtype=bool)):.2f}")
        return _finish(figure, title)


def mixing(
    frame: np.ndarray,
    levels: Mapping[str, float],
    mask: np.ndarray,
    title: str,
    toys: np.ndarray | None = None,
) -> Figure:
    """A mixing desk: how loud each toy is, and the mask that the mixture gives.

    Args:
        frame: [H, W, 3] uint8 RGB.
        levels: name of each toy -> 0 (out) to 1 (as in the clip), drawn from above in this order.
        mask: [H, W] bool, the model's.
        title: of the figure.
        toys: [K, H, W] bool, where each toy stands, in the order of `levels`: a white outline around those that are
            turned up.
    """
    values = list(levels.values())
    up = None if toys is None else np.asarray(toys, dtype=bool)[np.array(values) > 0].any(axis=0)
    with plt.rc_context(_STYLE):
        figure, (desk, picture) = plt.subplots(1, 2, figsize=(WIDTH, 3.3), width_ratios=[1, 1.1], layout="constrained")
        rows = range(len(values))
        desk.barh(rows, [1] * len(values), color="#EFEFEF", height=0.6)
        desk.barh(rows, values, color=SOUNDING, height=0.6)
        desk.set_yticks(rows, [_two_lines(name) for name in levels])
        desk.set(xlabel="level", xlim=(0, 1), ylim=(len(values) - 0.4, -0.6))
        _show(picture, frame, mask, up)
        picture.set_title("mask" if toys is None else "mask; white: is heard")
        return _finish(figure, title)


def pixel_loss(title: str) -> Figure:
    """Binary cross-entropy of one pixel against its logit (eq. 8), for a sounding, a silent and a half covered one.

    Args:
        title: of the figure.
    """
    logit = np.linspace(-6, 6, 121)
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(WIDTH, 3.2), layout="constrained")
        styles = (
            ("sounding, y = 1", 1.0, SOUNDING, "-"),
            ("silent, y = 0", 0.0, SILENT, "--"),
            ("half, y = 0.5", 0.5, FROZEN, ":"),
        )
        for name, target, color, dash in styles:
            axis.plot(logit, np.logaddexp(0, logit) - target * logit, dash, color=color, label=name)
        axis.set(xlabel="logit x", ylabel="loss of the pixel", ylim=(0, 6.2))
        axis.legend(frameon=False, loc="upper center")
        return _finish(figure, title)


def mel_steps(
    samples: np.ndarray, magnitudes: np.ndarray, filters: np.ndarray, bands: np.ndarray, sample_rate: int, title: str
) -> Figure:
    """One frame of sound on its way to VGGish: samples, magnitude spectrum, mel filters, log of each filter's sum.

    Args:
        samples: [window] the frame, multiplied by its window.
        magnitudes: [bins] of its spectrum, from 0 Hz to half the sample rate.
        filters: [bins, bands] the mel filters; every sixth is drawn.
        bands: [bands] the logarithms.
        sample_rate: in Hz.
        title: of the figure.
    """
    kilohertz = np.linspace(0, sample_rate / 2000, len(magnitudes))
    milliseconds = np.arange(len(samples)) / sample_rate * 1000
    with plt.rc_context(_STYLE):
        figure, (wave, spectrum, triangles, result) = plt.subplots(4, 1, figsize=(WIDTH, 8.0), layout="constrained")
        wave.plot(milliseconds, samples, color=FROZEN, linewidth=1.2)
        wave.set_title(f"1. {len(samples)} samples, faded in and out", loc="left")
        wave.set(xlabel="time (ms)", ylabel="amplitude")
        spectrum.plot(kilohertz, magnitudes, color=SOUNDING, linewidth=1.5)
        spectrum.set_title(f"2. magnitude spectrum: {len(magnitudes)} frequencies", loc="left")
        spectrum.set(xlabel="frequency (kHz)", ylabel="magnitude", ylim=(0, None))
        triangles.plot(kilohertz, np.asarray(filters)[:, ::6], color=FROZEN, linewidth=1.5)
        triangles.set_title(f"3. every sixth of the {len(bands)} mel filters", loc="left")
        triangles.set(xlabel="frequency (kHz)", ylabel="weight", ylim=(0, 1.05))
        result.bar(np.arange(len(bands)), bands - np.min(bands), bottom=np.min(bands), color=SOUNDING, width=0.8)
        result.set_title(f"4. {len(bands)} numbers: log of each filter's sum", loc="left")
        result.set(xlabel="mel band", ylabel="log energy", xticks=range(0, len(bands) + 1, 16))
        return _finish(figure, title)


def patch_drift(
    starts: Mapping[str, Sequence[float]], length: float, difference: Sequence[float], typical: float, title: str
) -> Figure:
    """Which stretch of sound each frame of a clip gets, and what that does to the embedding.

    Args:
        starts: name -> where the patch of frame i starts, in seconds.
        length: of a patch, in seconds.
        difference: for each frame, how far the embeddings of the two ways lie apart.
        typical: the same distance for neighbouring seconds, drawn as a line.
        title: of the figure.
    """
    seconds = len(difference)
    with plt.rc_context(_STYLE):
        figure, (spans, bars) = plt.subplots(
            2,
            1,
            figsize=(WIDTH, 2.6 + 0.75 * len(starts)),
            height_ratios=[0.75 * len(starts), 1.9],
            layout="constrained",
        )
        for row, begins in enumerate(starts.values()):
            for number, begin in enumerate(begins):
                shade = (*to_rgb(SOUNDING), 0.75 if number % 2 else 0.4)
                spans.broken_barh([(begin, length)], (row - 0.3, 0.6), facecolors=shade)
                spans.text(begin + length / 2, row, str(number), ha="center", va="center", fontsize=12)
        for second in range(seconds + 1):
            spans.axvline(second, color="black", linewidth=0.8, zorder=0)
        spans.set(yticks=range(len(starts)), yticklabels=list(starts), ylim=(len(starts) - 0.5, -0.5))
        spans.set(xlim=(0, seconds), xticks=range(seconds + 1), xlabel="time (s)")
        spans.set_title("the sound that frame i gets", loc="left")
        bars.bar(np.arange(seconds), difference, color=FROZEN)
        bars.axhline(typical, color="black", linewidth=1.5, linestyle="--", label="from one second to the next")
        bars.set(xlabel="frame i", xticks=range(seconds), ylabel="distance", xlim=(-0.6, seconds - 0.4))
        bars.set_ylim(0, 1.45 * max(typical, float(np.max(difference)), 1e-6))
        bars.set_title("difference between the two embeddings", loc="left")
        bars.legend(frameon=False, loc="upper left")
        return _finish(figure, title)


def embeddings(rows: Mapping[str, np.ndarray], title: str) -> Figure:
    """Audio embeddings second by second: a line of coloured cells a second; orange is positive, purple negative.

    Args:
        rows: name -> [T, D]; all are drawn in one scale, which is symmetric about zero.
        title: of the figure.
    """
    arrays = {name: np.asarray(values) for name, values in rows.items()}
    # Single large values would leave all others pale.
    limit = max(1e-6, *(float(np.quantile(np.abs(values), 0.98)) for values in arrays.values()))
    heights = [0.5 + 0.24 * len(values) for values in arrays.values()]
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            len(arrays),
            1,
            figsize=(WIDTH, 1.2 + sum(heights)),
            squeeze=False,
            height_ratios=heights,
            sharex=True,
            layout="constrained",
        )
        for axis, (name, values) in zip(axes[:, 0], arrays.items()):
            image = axis.imshow(values, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
            axis.set_title(name, loc="left")
            axis.set(ylabel="second", yticks=range(0, len(values), max(1, len(values) // 5)))
        axes[-1, 0].set(xlabel="number in the embedding", xticks=range(0, values.shape[1] + 1, 32))
        figure.colorbar(image, ax=axes[:, 0], label="value", extend="both")
        return _finish(figure, title)


def similarity_map(
    frame: np.ndarray, similarity: np.ndarray, place: tuple[int, int], title: str, truth: np.ndarray | None = None
) -> Figure:
    """A place in a picture, and how much the encoder's features at all other places resemble those there.

    Args:
        frame: [H, W, 3] uint8 RGB.
        similarity: [h, w] cosine similarities on the encoder's grid; the colours span -0.5 to 1.
        place: row and column on that grid, framed in orange in both panels.
        title: of the figure.
        truth: [H, W] bool, objects to outline in white over the map.
    """
    similarity = np.asarray(similarity)
    height, width = np.asarray(frame).shape[:2]
    cell = height / similarity.shape[0], width / similarity.shape[1]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    with plt.rc_context(_STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.5), layout="constrained")
        _show(left, frame, None, None)
        image = right.imshow(similarity, cmap="cividis", vmin=-0.5, vmax=1, extent=extent, interpolation="nearest")
        if truth is not None:
            right.contour(np.asarray(truth, dtype=float), levels=[0.5], colors="white", linewidths=1.5)
        _bare(right)
        for axis in (left, right):
            corner = place[1] * cell[1] - 0.5, place[0] * cell[0] - 0.5
            axis.add_patch(plt.Rectangle(corner, cell[1], cell[0], fill=False, edgecolor=SOUNDING, linewidth=2.5))
        left.set_title("the chosen place")
        right.set_title("similarity to it")
        bar = figure.colorbar(image, ax=[left, right], label="cosine", orientation="horizontal", shrink=0.6, aspect=30)
        bar.set_ticks([-0.5, 0, 0.5, 1])
        return _finish(figure, title)


def probes(table: pd.DataFrame, title: str) -> Figure:
    """What a linear reader reads off frozen features: one panel an encoder, bars a factor, black lines for chance.

    Args:
        table: columns encoder, factor, name, value, chance; at most three names.
        title: of the figure.

    Raises:
        ValueError: a column is missing, or there are more than three names.
    """
    missing = {"encoder", "factor", "name", "value", "chance"} - set(table.columns)
    names = [] if missing else list(dict.fromkeys(table["name"]))
    if missing or len(names) > 3:
        raise ValueError(
            f"the table lacks columns {sorted(missing)} or has {len(names)} names; expected at most three."
        )
    colors = dict(zip(names, (TRAINED, "#8FD3BE", GUESS)))
    encoders, factors = list(dict.fromkeys(table["encoder"])), list(dict.fromkeys(table["factor"]))
    height = 0.8 / len(names)
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            len(encoders),
            1,
            figsize=(WIDTH, 1.5 + len(encoders) * (0.35 + 0.27 * len(names) * len(factors))),
            squeeze=False,
            sharex=True,
            layout="constrained",
        )
        for axis, encoder in zip(axes[:, 0], encoders):
            for row in table[table["encoder"] == encoder].itertuples():
                y = factors.index(row.factor) + (names.index(row.name) - (len(names) - 1) / 2) * height
                first = row.factor == factors[0]
                axis.barh(y, row.value, 0.92 * height, color=colors[row.name], label=row.name if first else None)
                axis.text(row.value + 0.015, y, f"{row.value:.2f}", va="center", fontsize=11)
                axis.plot([row.chance] * 2, [y - height / 2, y + height / 2], color="black", linewidth=2.2)
            axis.set(yticks=range(len(factors)), yticklabels=factors, ylim=(len(factors) - 0.5, -0.5), xlim=(0, 1.12))
            axis.set_title(encoder, loc="left")
        axis.set(xlabel="right answers (black line: chance)", xticks=[0, 0.25, 0.5, 0.75, 1])
        handles, labels = axis.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=1 if len(names) > 2 else 2, frameon=False)
        return _finish(figure, title)


def attention(
    frame: np.ndarray,
    names: Sequence[str],
    rows: Mapping[str, np.ndarray],
    title: str,
    truth: np.ndarray | None = None,
    top: float | None = None,
) -> Figure:
    """Attention maps over one picture: the deeper the orange, the more of the attention lies there.

    Args:
        frame: [H, W, 3] uint8 RGB.
        names: K names of the columns.
        rows: name -> maps [K, h, w], one a column, each at least 0 with sum 1; h and w may be smaller than H and W.
        title: of the figure.
        truth: [K, H, W] bool: a white outline in each column.
        top: what the deepest orange stands for, in multiples of an even spread. None: the highest hundredth of all
            cells shown.

    Raises:
        ValueError: a row has another number of maps than there are columns.
    """
    spread = {name: np.asarray(maps) * np.prod(np.shape(maps)[1:]) for name, maps in rows.items()}
    for name, maps in spread.items():
        if len(maps) != len(names):
            raise ValueError(f"{name} has {len(maps)} maps for {len(names)} columns; expected one map a column.")
    if top is None:
        top = max(1.0, float(np.quantile(np.stack(list(spread.values())), 0.99)))
    clear_to_orange = LinearSegmentedColormap.from_list("attention", [(*to_rgb(SOUNDING), a) for a in (0.0, 0.95)])
    grey = np.asarray(frame)[..., :3].mean(axis=2) / 255
    height, width = grey.shape
    side = min(1.9, (WIDTH - 1.6) / len(names))
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            len(rows),
            len(names),
            figsize=(WIDTH, 1.2 + (side + 0.02) * len(rows)),
            squeeze=False,
            layout="constrained",
        )
        for number, (name, maps) in enumerate(spread.items()):
            for column, axis in enumerate(axes[number]):
                picture = np.repeat(0.15 + 0.6 * grey[..., None], 3, axis=2)
                if truth is not None:
                    picture[_edge(np.asarray(truth[column], dtype=bool), 1)] = 1
                axis.imshow(picture, interpolation="nearest")
                box = (-0.5, width - 0.5, height - 0.5, -0.5)
                shades = axis.imshow(maps[column], cmap=clear_to_orange, vmin=0, vmax=top, extent=box)
                _bare(axis)
                if number == 0:
                    axis.set_title(names[column], fontsize=12)
            axes[number, 0].set_ylabel(name)
        bar = figure.colorbar(shades, ax=axes, shrink=0.8, extend="max")
        bar.set_label("attention\n(even spread = 1)", fontsize=12)
        return _finish(figure, title)


def lines(
    runs: Mapping[str, Sequence[float]],
    title: str,
    xlabel: str = "step",
    ylabel: str = "loss",
    x: Sequence[float] | None = None,
    bottom: float | None = 0,
) -> Figure:
    """Curves over steps 1, 2, 3, ... or over `x`; each with a colour and a dash of its own.

    Args:
        runs: name -> values; the first is drawn orange, the second blue. At most six.
        title: of the figure.
        xlabel, ylabel: of the axes, with units.
        x: where the values stand, marked by dots; None: at 1, 2, 3, ...
        bottom: where the vertical axis begins; None: below the lowest value.
    """
    styles = ((SOUNDING, "-"), (SILENT, "--"), (TRAINED, ":"), (FROZEN, "-."), ("#CC79A7", "-"), ("#000000", "--"))
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
        for (name, values), (color, dash) in zip(runs.items(), styles):
            steps = range(1, len(values) + 1) if x is None else x
            axis.plot(steps, values, dash, color=color, label=name, marker="" if x is None else "o")
        axis.set(xlabel=xlabel, ylabel=ylabel)
        if bottom is not None:  # room above is a share of all that is shown, or it would cut the highest dots in half
            axis.update_datalim([(0, bottom)], updatex=False)
            axis.autoscale_view()
            axis.set_ylim(bottom=bottom)
        axis.xaxis.get_major_locator().set_params(integer=True)
        figure.legend(loc="outside lower center", ncols=min(3, len(runs)), frameon=False)
        return _finish(figure, title)


def factor_readout(readings: np.ndarray, truth: np.ndarray, names: Sequence[str], title: str) -> Figure:
    """What is read off an ear, factor by factor: orange bars for what is really heard, blue for what is not.

    Args:
        readings: [F] numbers, about 0 (no) to 1 (yes); bars end at the edge of -0.1 to 1.1.
        truth: [F] bool.
        names: of the factors.
        title: of the figure.

    Raises:
        ValueError: readings, truth and names differ in number.
    """
    counts = [len(readings), len(truth), len(names)]
    if len(set(counts)) != 1:
        raise ValueError(f"found {counts} readings, truths and names; expected one of each for every factor.")
    rows = np.arange(len(names))
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(WIDTH, 1.5 + 0.26 * len(names)), layout="constrained")
        for there, color, label in ((True, SOUNDING, "heard"), (False, SILENT, "not heard")):
            which = np.asarray(truth, dtype=bool) == there
            axis.barh(rows[which], np.clip(readings, -0.1, 1.1)[which], color=color, label=label)
        axis.axvline(0.5, color="black", linewidth=1, linestyle="--")
        axis.set(yticks=rows, yticklabels=names, ylim=(len(names) - 0.5, -0.5), xlim=(-0.1, 1.1))
        axis.set(xticks=[0, 0.5, 1], xlabel="reading (0: no, 1: yes)")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        return _finish(figure, title)


def rule_or_table(table: pd.DataFrame, title: str) -> Figure:
    """Ears by how much of their layout is a sum of factors, and how often a link to the eye is right on unseen toys.

    Args:
        table: columns name, additive (1 at best, below 0 if worse than a mean), right (0-1), chance (0-1); a row a
            point, at most six names.
        title: of the figure.

    Raises:
        ValueError: a column is missing, or there are more than six names.
    """
    missing = {"name", "additive", "right", "chance"} - set(table.columns)
    names = [] if missing else list(dict.fromkeys(table["name"]))
    if missing or len(names) > 6:
        raise ValueError(f"the table lacks columns {sorted(missing)} or has {len(names)} names; expected at most six.")
    styles = ((FROZEN, "D"), (SOUNDING, "*"), (TRAINED, "o"), (SILENT, "s"), ("#000000", "X"), ("#CC79A7", "^"))
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")
        for name, (color, marker) in zip(names, styles):
            rows = table[table["name"] == name]
            axis.scatter(rows["additive"], rows["right"], s=110, color=color, marker=marker, label=name, alpha=0.8)
        axis.axhline(table["chance"].mean(), color="black", linewidth=1, linestyle="--", label="chance")
        axis.set(ylim=(0, 1.05), xlabel="share of the unseen class means that is\na sum of factors ($R^2$)")
        axis.set_ylabel("right toy, unseen\ncombinations")
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        return _finish(figure, title)


def hard_cases(table: pd.DataFrame, title: str) -> Figure:
    """Models side by side over the hard cases: mIoU where a toy sounds (left), what is marked where none does (right).

    On the right the first line, "own sound", is what a model marks when a toy of the picture does sound: the scale
    for what it marks by mistake below. Bars are intervals. A model with "deaf" in its name is blue.

    Args:
        table: of one kind of classes and one run a model, from ``lab.hard_cases.summarize``: columns model, case,
            figure, value, low, high. At most six models; the figures miou, marked area and false-positive area are
            drawn, in the order of the rows.
        title: of the figure.

    Raises:
        ValueError: a column is missing, there are more than six models, nothing to draw, or two rows for one place
            (seen and unseen classes, say, or two seeds).
    """
    missing = {"model", "case", "figure", "value", "low", "high"} - set(table.columns)
    models = [] if missing else list(dict.fromkeys(table["model"]))
    if missing or not 1 <= len(models) <= 6:
        raise ValueError(f"the table lacks columns {sorted(missing)} or has {len(models)} models; expected one to six.")
    twice = table[table.duplicated(["model", "case", "figure"])]
    if len(twice):
        raise ValueError(
            f"{', '.join(twice.iloc[0][['model', 'case', 'figure']])}: more than one row; expected one, so choose one "
            "kind of classes, one rotation and one seed."
        )
    own = table[table["figure"] == "marked area"].assign(case="own sound")
    sides = [
        ("a toy sounds", "mean IoU", 1, table[table["figure"] == "miou"]),
        (
            "what is marked",
            "marked, % of picture",
            100,
            pd.concat([own, table[table["figure"] == "false-positive area"]]),
        ),
    ]
    others = iter(
        ((SOUNDING, "o"), (TRAINED, "D"), ("#000000", "^"), ("#CC79A7", "v"), (FROZEN, "X"), ("#56B4E9", "P"))
    )
    styles = {model: (SILENT, "s") if "deaf" in model else next(others) for model in models}
    counts = [rows["case"].nunique() for _, _, _, rows in sides]
    if min(counts) == 0:
        raise ValueError("the table has no rows of miou or none of marked or false-positive area; expected both.")
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            1, 2, figsize=(WIDTH, 1.9 + max(counts) * (0.22 + 0.13 * len(models))), layout="constrained"
        )
        for axis, (name, xlabel, scale, rows) in zip(axes, sides):
            cases = list(dict.fromkeys(rows["case"]))
            for number, (model, (color, marker)) in enumerate(styles.items()):
                points = rows[rows["model"] == model]
                height = [cases.index(case) + 0.7 * ((number + 0.5) / len(models) - 0.5) for case in points["case"]]
                value, low, high = (scale * points[column].to_numpy() for column in ("value", "low", "high"))
                around = np.clip([value - low, high - value], 0, None)
                axis.errorbar(
                    value,
                    height,
                    xerr=around,
                    fmt=marker,
                    color=color,
                    label=model,
                    markersize=6,
                    capsize=2,
                    linewidth=1.6,
                )
            for line in range(1, len(cases)):
                axis.axhline(line - 0.5, color="0.85", linewidth=1)
            labels = [case.replace(" ", "\n") for case in cases]
            axis.set(yticks=range(len(cases)), yticklabels=labels, ylim=(len(cases) - 0.5, -0.5), xlabel=xlabel)
            axis.tick_params(left=False)
            axis.set_title(name, loc="left")
        axes[0].set(xlim=(0, 1), xticks=[0, 0.5, 1])
        axes[1].set_xlim(left=-0.5)
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(2, len(models)), frameon=False)
        return _finish(figure, title)


def architecture(title: str) -> Figure:
    """GAVS as boxes and arrows: what is frozen (grey) and what trains (green).

    Args:
        title: of the figure.
    """
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")
        axis.set(xlim=(0, 9.8), ylim=(-0.8, 8.2))
        axis.axis("off")
        boxes = {
            "frames": (1.5, 7.5, 2.6, 1.0, "picture", "white"),
            "early": (1.5, 5.75, 2.6, 1.2, "SAM encoder\nearly blocks", FROZEN),
            "late": (1.5, 3.7, 2.6, 1.5, "later blocks\n+ visual\nadapters", TRAINED),
            "sound": (7.9, 7.5, 3.4, 1.0, "1 s of sound", "white"),
            "vggish": (7.9, 5.75, 3.4, 1.2, "VGGish\n→ $F_A$", FROZEN),
            "sap": (7.9, 3.7, 3.4, 1.5, "audio prompt SAP:\n$[F_C; F_N; F_A]$\n→ one token", TRAINED),
            "decoder": (4.6, 1.45, 8.8, 1.2, "SAM mask decoder + correlation adapters (ColA)", TRAINED),
            "mask": (4.6, -0.1, 4.4, 0.9, "mask of this second", SOUNDING),
        }
        for x, y, width, height, text, color in boxes.values():
            axis.add_patch(
                FancyBboxPatch(
                    (x - width / 2, y - height / 2),
                    width,
                    height,
                    boxstyle="round,pad=0.08",
                    facecolor=color if color in ("white", SOUNDING) else (*to_rgb(color), 0.28),
                    edgecolor="black" if color in ("white", SOUNDING) else color,
                    linewidth=1.8,
                )
            )
            axis.text(x, y, text, ha="center", va="center", fontsize=12)
        for start, end, label in (
            ((1.5, 6.92), (1.5, 6.43), ""),
            ((1.5, 5.07), (1.5, 4.53), ""),
            ((7.9, 6.92), (7.9, 6.43), ""),
            ((7.9, 5.07), (7.9, 4.53), ""),
            ((2.9, 3.7), (6.1, 3.7), "average of $F_V$"),
            ((1.5, 2.87), (1.5, 2.13), "  $F_V$"),
            ((7.9, 2.87), (7.9, 2.13), "  prompt"),
            ((4.6, 0.77), (4.6, 0.43), ""),
        ):
            axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "linewidth": 1.6, "color": "black"})
            across = start[1] == end[1]
            axis.text(
                (start[0] + end[0]) / 2,
                (start[1] + end[1]) / 2 + (0.28 if across else 0),
                label,
                ha="center" if across else "left",
                va="center",
                fontsize=12,
            )
        axis.text(4.6, 7.5, "grey: frozen\ngreen: trains", ha="center", va="center", fontsize=12)
        return _finish(figure, title)


def class_grid(
    images: Sequence[Sequence[np.ndarray]],
    roles: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
) -> Figure:
    """A table of pictures, each in a frame that tells the role of its class.

    Args:
        images: rows x columns of pictures [H, W, 3].
        roles: likewise, the name of each one's role. The first that occurs gets a green solid frame, the second a pink
            dashed one, the third a black dotted one.
        rows, columns: their names.
        title: of the figure.

    Raises:
        ValueError: names, roles and pictures differ in number, or there are more than three roles.
    """
    shapes = {(len(table), *{len(row) for row in table}) for table in (images, roles)}
    names = list(dict.fromkeys(role for row in roles for role in row))
    if shapes != {(len(rows), len(columns))} or len(names) > 3:
        raise ValueError(
            f"images and roles are {sorted(shapes)} (rows, columns), the names {(len(rows), len(columns))}, and there "
            f"are {len(names)} roles; expected one size and at most three roles."
        )
    styles = dict(zip(names, ((TRAINED, "-"), ("#CC79A7", "--"), ("#000000", ":"))))
    height = (WIDTH - 0.4) / len(columns)
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            len(rows), len(columns), figsize=(WIDTH, 1.6 + height * len(rows)), squeeze=False, layout="constrained"
        )
        for line, images_of_row, roles_of_row, name in zip(axes, images, roles, rows):
            for axis, image, role in zip(line, images_of_row, roles_of_row):
                axis.imshow(np.asarray(image))
                axis.set(xticks=[], yticks=[])
                for spine in axis.spines.values():
                    spine.set(visible=True, color=styles[role][0], linestyle=styles[role][1], linewidth=4)
            line[0].set_ylabel(name)
        for axis, name in zip(axes[0], columns):
            axis.set_title(name, fontsize=12)
        handles = [
            plt.Line2D([], [], color=color, linestyle=dash, linewidth=4, label=role)
            for role, (color, dash) in styles.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
        return _finish(figure, title)


def by_class(table: pd.DataFrame, title: str, xlabel: str = "mean IoU") -> Figure:
    """One line a class, with a dot and an interval for each model: circle, square, diamond in order of appearance.

    Args:
        table: columns label, name, value, low, high; values lie in 0-1, and at most three names.
        title: of the figure.
        xlabel: what the values are.

    Raises:
        ValueError: a column is missing, or there are more than three names.
    """
    missing = {"label", "name", "value", "low", "high"} - set(table.columns)
    names = [] if missing else list(dict.fromkeys(table["name"]))
    if missing or len(names) > 3:
        raise ValueError(
            f"the table lacks columns {sorted(missing)} or has {len(names)} names; expected at most three."
        )
    labels = list(dict.fromkeys(table["label"]))
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(WIDTH, 1.5 + 0.36 * len(labels)), layout="constrained")
        for place, (name, color, marker) in enumerate(zip(names, (SOUNDING, TRAINED, SILENT), "osD")):
            rows = table[table["name"] == name]
            y = rows["label"].map(labels.index) + 0.26 * (place - (len(names) - 1) / 2)
            bars = [(rows["value"] - rows["low"]).clip(0), (rows["high"] - rows["value"]).clip(0)]
            axis.errorbar(
                rows["value"], y, xerr=bars, fmt=marker, color=color, ecolor=color, elinewidth=1.5, label=name
            )
        axis.set(yticks=range(len(labels)), yticklabels=labels, ylim=(len(labels) - 0.5, -0.5), xlim=(-0.02, 1.02))
        axis.set(xlabel=xlabel, xticks=[0, 0.25, 0.5, 0.75, 1])
        axis.grid(axis="y", color="#DDDDDD", linewidth=0.8)
        axis.set_axisbelow(True)
        figure.legend(loc="outside lower center", ncols=len(names), frameon=False)
        return _finish(figure, title)


def class_similarities(matrices: Mapping[str, np.ndarray], groups: Mapping[str, int], title: str) -> Figure:
    """Cosine similarities of classes' pictures (rows) and sounds (columns), one heat map beside the other.

    Args:
        matrices: name -> [N, N], -1 to 1; one colour scale for all, symmetric around 0.
        groups: name -> how many of the N classes in a row belong to it; lines part them.
        title: of the figure.

    Raises:
        ValueError: a matrix has another size than the groups together.
    """
    count = sum(groups.values())
    for name, matrix in matrices.items():
        if np.shape(matrix) != (count, count):
            raise ValueError(f"{name} is {list(np.shape(matrix))}; the groups have {count} classes.")
    limit = max(float(np.abs(matrix).max()) for matrix in matrices.values())
    ends = np.cumsum(list(groups.values()))
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(1, len(matrices), figsize=(WIDTH, 4.7), squeeze=False, layout="constrained")
        for axis, (name, matrix) in zip(axes[0], matrices.items()):
            image = axis.imshow(matrix, cmap="cividis", vmin=-limit, vmax=limit)
            for end in ends[:-1]:
                axis.axhline(end - 0.5, color="white", linewidth=1.5)
                axis.axvline(end - 0.5, color="white", linewidth=1.5)
            middles = [end - size / 2 - 0.5 for end, size in zip(ends, groups.values())]
            axis.set(xticks=middles, xticklabels=list(groups), xlabel="sound", yticks=middles, title=name)
            axis.set_yticklabels(list(groups), rotation=90, va="center")
            axis.tick_params(length=0)
        axes[0, 0].set_ylabel("picture")
        figure.colorbar(image, ax=axes, label="cosine similarity", orientation="horizontal", shrink=0.6, aspect=30)
        return _finish(figure, title)


def rivals(table: pd.DataFrame, title: str) -> Figure:
    """Models as rows of boxes: what stays as it was (grey), what trains (green), and where the sound enters (a note).

    Args:
        table: columns name, stage, trained (values that train there; 0: frozen; NaN: the model has no such stage),
            sound (bool: enters here); one row for each model and stage.
        title: of the figure.

    Raises:
        ValueError: a column is missing, or a model has not every stage once.
    """
    missing = {"name", "stage", "trained", "sound"} - set(table.columns)
    if missing:
        raise ValueError(f"the table lacks columns {sorted(missing)}; expected name, stage, trained and sound.")
    names, stages = list(dict.fromkeys(table["name"])), list(dict.fromkeys(table["stage"]))
    if table.duplicated(["name", "stage"]).any() or len(table) != len(names) * len(stages):
        raise ValueError(f"{len(table)} rows for {len(names)} models and {len(stages)} stages; expected one for each.")
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(WIDTH, 1.3 + 0.62 * len(names)), layout="constrained")
        axis.set(xlim=(-0.5, len(stages) + 0.35), ylim=(len(names) - 0.4, -1.0))
        axis.axis("off")
        for column, stage in enumerate([*stages, "all"]):
            axis.text(column, -0.72, stage, ha="center", va="center", fontsize=12)
        for line, name in enumerate(names):
            of_model = table[table["name"] == name]
            axis.text(-0.62, line, name, ha="right", va="center", fontsize=12)
            axis.text(len(stages), line, _thousands(of_model["trained"].sum()), ha="center", va="center", fontsize=12)
            for row in of_model.itertuples():
                column, color = stages.index(row.stage), TRAINED if row.trained > 0 else FROZEN
                there = not np.isnan(row.trained)
                axis.add_patch(
                    FancyBboxPatch(
                        (column - 0.36, line - 0.26),
                        0.72,
                        0.52,
                        boxstyle="round,pad=0.04",
                        facecolor=(*to_rgb(color), 0.28) if there else "none",
                        edgecolor=color if there else "0.8",
                        linestyle="-" if there else ":",
                        linewidth=1.6,
                    )
                )
                told = _thousands(row.trained) if row.trained > 0 else "frozen" if there else "none"
                shade = "black" if there else "0.5"
                axis.text(column + 0.1 * row.sound, line, told, ha="center", va="center", fontsize=11, color=shade)
                if row.sound:
                    axis.text(
                        column - 0.3, line, "♪", ha="center", va="center", fontsize=17, color="#B35F00", weight="bold"
                    )
        return _finish(figure, title)


def estimates(table: pd.DataFrame, title: str, xlabel: str, line_label: str | None = None) -> Figure:
    """Estimates with their intervals, one panel a group, beside a line that they may lie on either side of.

    Filled: the interval lies wholly on one side of the line, in green above it, in blue below. Hollow and grey: not.

    Args:
        table: columns group, name, value, low, high; NaN in value: not yet measured, and so it says. With a column
            line: where a group's line stands, instead of at 0. With a column decided: false for what is drawn hollow
            wherever its interval lies.
        title: of the figure.
        xlabel: what the values are, with their unit.
        line_label: what the line stands for; None: nothing is written.

    Raises:
        ValueError: a column is missing, or there is no row.
    """
    missing = {"group", "name", "value", "low", "high"} - set(table.columns)
    if missing or table.empty:
        raise ValueError(
            f"the table lacks columns {sorted(missing)} or has no row ({len(table)}); expected group, name, value, "
            "low and high."
        )
    table = pd.DataFrame({"line": 0.0, "decided": True}, table.index).assign(**table)
    with plt.rc_context(_STYLE):
        figure, panels = _panels(table)
        for axis, rows in panels:
            axis.axvline(rows["line"].iloc[0], color="black", linewidth=1.2, label=line_label)
            for place, row in enumerate(rows.itertuples()):
                if np.isnan(row.value):
                    axis.annotate(
                        "not yet measured", (row.line, place), (6, 0), textcoords="offset points", va="center"
                    )
                    continue
                clear = row.decided and (row.low > row.line or row.high < row.line)
                color = FROZEN if not clear else TRAINED if row.low > row.line else SILENT
                axis.plot([row.low, row.high], [place, place], color=color, linewidth=2.2)
                axis.plot(row.value, place, "o", color=color, markerfacecolor=color if clear else "white", markersize=8)
            axis.set(yticks=range(len(rows)), yticklabels=rows["name"], ylim=(len(rows) - 0.5, -0.5))
            axis.tick_params(left=False)
            axis.xaxis.set_major_locator(MaxNLocator(6))  # long names leave little room
        axis.set_xlabel(xlabel)
        if line_label is not None:
            figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", frameon=False)
        return _finish(figure, title)


def clip_by_clip(
    first: np.ndarray,
    second: np.ndarray,
    names: tuple[str, str],
    difference: tuple[float, float, float],
    title: str,
    xlabel: str = "mean IoU",
) -> Figure:
    """Two models on the same clips: a dot a clip (left), and how the differences spread (right).

    Args:
        first, second: [N] scores, 0-1, of the same clips in the same order.
        names: of the two.
        difference: mean of first - second, and the bounds of its interval, drawn as an orange bar.
        title: of the figure.
        xlabel: what the scores are.

    Raises:
        ValueError: the two differ in number, or there are none.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.shape != second.shape or first.size == 0:
        raise ValueError(f"found {len(first)} and {len(second)} scores; expected one of each for every clip.")
    mean, low, high = (100 * value for value in difference)
    with plt.rc_context(_STYLE):
        figure, (dots, bars) = plt.subplots(1, 2, figsize=(WIDTH, 3.6), layout="constrained")
        dots.plot([0, 1], [0, 1], color="black", linewidth=1)
        dots.scatter(second, first, s=22, color=FROZEN, alpha=0.6, linewidths=0)
        dots.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], aspect="equal")
        dots.set(xlabel=f"{names[1]}\n({xlabel})", ylabel=names[0])
        points = 100 * (first - second)
        most = max(10.0, float(np.abs(points).max()))
        bars.hist(points, bins=np.linspace(-most, most, 31), color=GUESS)
        bars.axvline(0, color="black", linewidth=1)
        bars.axvspan(low, high, color=SOUNDING, alpha=0.45)
        bars.axvline(mean, color=SOUNDING)
        bars.set(xlabel="difference (points)", ylabel="clips", yscale="symlog")
        bars.set_ylim(bottom=0)
        bars.yaxis.set_major_formatter("{x:g}")
        bars.set_title(f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]")
        return _finish(figure, title)


def _thousands(number: float) -> str:
    """131712 -> "132 k"."""
    return f"{number / 1000:.0f} k" if number >= 1000 else f"{number:.0f}"


def draws(drawn: Sequence[Sequence[int]], names: Sequence[str], title: str) -> Figure:
    """Who learns and who is tested: a row a class, a cell a clip in the order of the draw; the earlier, the deeper.

    Args:
        drawn: for each class and clip the smallest number of shots at which the clip is one of them; 0: never, so that
            it is tested whatever that number is (blue).
        names: of the classes.
        title: of the figure.

    Raises:
        ValueError: not one name a class.
    """
    if len(drawn) != len(names):
        raise ValueError(f"found {len(drawn)} rows and {len(names)} names; expected one name a row.")
    numbers = sorted({k for row in drawn for k in row} - {0})
    orange = np.asarray(to_rgb(SOUNDING))
    colors = {k: 1 - (1 - orange) * (1 - 0.65 * i / max(1, len(numbers) - 1)) for i, k in enumerate(numbers)}
    colors |= {0: to_rgb(SILENT)}
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(WIDTH, 1.7 + 0.27 * len(names)), layout="constrained")
        for k, color in colors.items():
            places = [(x, y) for y, row in enumerate(drawn) for x, first in enumerate(row) if first == k]
            x, y = np.asarray(places, dtype=float).reshape(-1, 2).T
            label = f"a shot from {k}-shot on" if k else "tested at any number"
            axis.barh(y, 0.9, 0.8, left=x + 0.55, color=color, label=label)
        axis.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
        axis.set_xlabel("clip of the class, in the order of its hash")
        axis.xaxis.get_major_locator().set_params(integer=True)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        return _finish(figure, title)


def bands(table: pd.DataFrame, title: str, xlabel: str, ylabel: str = "mean IoU") -> Figure:
    """Curves with bands of one standard deviation, one panel a group; a control is dashed, in its model's colour.

    Args:
        table: columns panel, name, x, mean, sd (missing: no band) and control (bool); at most six names, and the first
            is orange.
        title: of the figure.
        xlabel, ylabel: of the axes, with units.

    Raises:
        ValueError: a column is missing, or there are more than six names.
    """
    missing = {"panel", "name", "x", "mean", "sd", "control"} - set(table.columns)
    names = [] if missing else list(dict.fromkeys(table["name"]))
    if missing or len(names) > 6:
        raise ValueError(f"the table lacks columns {sorted(missing)} or has {len(names)} names; expected at most six.")
    styles = dict(zip(names, _MARKS))
    panels = list(dict.fromkeys(table["panel"]))
    entries = -(-len(table[["name", "control"]].drop_duplicates()) // 2)  # lines of the legend
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(WIDTH, 3.8 + 0.3 * entries), squeeze=False, sharey=True, layout="constrained"
        )
        labelled: set = set()
        for axis, panel in zip(axes[0], panels):
            for (name, control), rows in table[table["panel"] == panel].groupby(["name", "control"], sort=False):
                rows, (color, marker) = rows.sort_values("x"), styles[name]
                x, mean, sd = (rows[column].to_numpy(dtype=float) for column in ("x", "mean", "sd"))
                label = f"{name}, control" if control else name
                axis.fill_between(x, mean - sd, mean + sd, color=color, alpha=0.18, linewidth=0)
                known, dash = "_" if label in labelled else "", "--" if control else "-"
                axis.plot(x, mean, dash, color=color, marker=marker, label=known + label, alpha=0.6 if control else 1)
                labelled.add(label)
            axis.set(xlabel=xlabel, xticks=sorted(set(table["x"])))
            axis.set_title(panel)
        axes[0, 0].set_ylabel(ylabel)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        return _finish(figure, title)


def trainings(table: pd.DataFrame, title: str, xlabel: str) -> Figure:
    """Every training as a dot, a line for each variant; fused models in blue, prompted ones in orange.

    Args:
        table: columns name, kind ("prompt" or "fusion") and value; names are drawn in order of appearance.
        title: of the figure.
        xlabel: what the values are, with their unit.

    Raises:
        ValueError: a column is missing, there is no row, or an unknown kind.
    """
    kinds = {"prompt": (SOUNDING, "o", "sound as a prompt"), "fusion": (SILENT, "s", "sound fused with the picture")}
    missing = {"name", "kind", "value"} - set(table.columns)
    if missing or table.empty or not set(table["kind"]) <= set(kinds):
        raise ValueError(
            f"the table lacks columns {sorted(missing)}, has no row ({len(table)}) or a kind other than "
            f"{' and '.join(kinds)}; expected name, kind and value."
        )
    names = list(dict.fromkeys(table["name"]))
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(WIDTH, 1.5 + 0.3 * len(names)), layout="constrained")
        for kind, (color, marker, label) in kinds.items():
            rows = table[table["kind"] == kind]
            axis.plot(
                rows["value"], rows["name"].map(names.index), marker, color=color, alpha=0.75, label=label, markersize=7
            )
        axis.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5), xlabel=xlabel)
        axis.grid(axis="y", color="#DDDDDD", linewidth=0.8)
        axis.set_axisbelow(True)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        return _finish(figure, title)


def trade_off(table: pd.DataFrame, title: str, xlabel: str, ylabel: str) -> Figure:
    """Quality against cost: a dot a training recipe, with its spread; those of one family share a colour and a line.

    Args:
        table: columns name (short: it is written beside the dot, or once above all that share it), family (told by the
            legend), x, y and sd (of y; NaN: no bar). At most eight families; the first is orange.
        title: of the figure.
        xlabel, ylabel: of the axes, with units; x is drawn on a logarithmic scale.

    Raises:
        ValueError: a column is missing, there is no row, more than eight families, or a cost of 0 or less.
    """
    missing = {"name", "family", "x", "y", "sd"} - set(table.columns)
    families = [] if missing else list(dict.fromkeys(table["family"]))
    if missing or not 0 < len(families) <= 8 or (table["x"] <= 0).any():
        raise ValueError(
            f"the table lacks columns {sorted(missing)}, has {len(families)} families (1 to 8), or a cost is not above "
            "0; expected name, family, x, y and sd."
        )
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(WIDTH, 4.8), layout="constrained")
        for family, (color, marker) in zip(families, _MARKS):
            rows = table[table["family"] == family].sort_values("x")
            spread = rows["sd"].fillna(0)
            axis.errorbar(
                rows["x"], rows["y"], yerr=spread, fmt=marker + ":", color=color, capsize=3, markersize=8, label=family
            )
        for name, rows in table.groupby("name", sort=False):
            place = np.exp(np.log(rows["x"]).mean()), (rows["y"] + rows["sd"].fillna(0)).max()
            axis.annotate(name, place, (0, 8), textcoords="offset points", ha="center", fontsize=12)
        axis.set(xlabel=xlabel, ylabel=ylabel, xscale="log")
        axis.margins(x=0.18, y=0.15)
        low, high = axis.get_xlim()
        ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if low <= tick <= high]
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
        wide = {"ncols": min(4, len(families)), "columnspacing": 1.2, "handletextpad": 0.4}
        figure.legend(loc="outside lower center", frameon=False, **wide)
        return _finish(figure, title)


def changes(table: pd.DataFrame, title: str, names: Sequence[str], xlabel: str = "mean IoU") -> Figure:
    """What became of each row: a grey dot for before, an arrow to an orange one for after, a blue ring for a control.

    Args:
        table: columns name, before, after and, optionally, control.
        title: of the figure.
        names: what before, after and control are called.

    Raises:
        ValueError: a column is missing, or a column has no name.
    """
    columns = [column for column in ("before", "after", "control") if column in table.columns]
    missing = {"name", "before", "after"} - set(table.columns)
    if missing or len(names) != len(columns):
        raise ValueError(f"the table lacks columns {sorted(missing)}, or {list(names)} do not name {columns}.")
    places = np.arange(len(table))
    looks = ({"color": FROZEN}, {"color": SOUNDING}, {"facecolors": "none", "edgecolors": SILENT, "linewidths": 2})
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(WIDTH, 1.8 + 0.3 * len(table)), layout="constrained")
        axis.hlines(places, table["before"], table["after"], color=SOUNDING, linewidth=2)
        for column, name, look in zip(columns, names, looks):
            axis.scatter(table[column], places, s=70, label=name, zorder=3, **look)
        axis.set(yticks=places, yticklabels=table["name"], ylim=(len(table) - 0.5, -0.5), xlabel=xlabel)
        figure.legend(loc="outside lower center", ncols=len(columns), frameon=False)
        return _finish(figure, title)


def _panels(table: pd.DataFrame) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """A panel for each group of a table, one below the other and as high as its rows need, titled with its name."""
    parts = dict(tuple(table.groupby("group", sort=False)))
    heights = [len(rows) for rows in parts.values()]
    figure, axes = plt.subplots(
        len(parts),
        1,
        figsize=(WIDTH, 1.1 + 0.35 * sum(heights) + 0.37 * len(parts)),
        squeeze=False,
        sharex=True,
        height_ratios=heights,
        layout="constrained",
    )
    for axis, group in zip(axes[:, 0], parts):
        axis.set_title(group, loc="left")
    return figure, list(zip(axes[:, 0], parts.values()))


def _show(axis: Axes, frame: np.ndarray, mask: np.ndarray | None, truth: np.ndarray | None) -> None:
    picture = overlay(frame, mask)
    if truth is not None:
        picture = picture.copy()
        picture[_edge(np.asarray(truth, dtype=bool), 1)] = 1
    axis.imshow(picture, interpolation="nearest")
    _bare(axis)


def _bare(axis: Axes) -> None:
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)


def _edge(mask: np.ndarray, width: int) -> np.ndarray:
    """The outermost `width` pixels of a mask."""
    core = mask
    for _ in range(width):
        padded = np.pad(core, 1)
        core = core & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~core


def _iou(prediction: np.ndarray, truth: np.ndarray) -> float:
    """IoU of one frame with AVSBench's rule for an empty truth."""
    if not truth.any():
        return float((~prediction).mean())
    return float((prediction & truth).sum() / (prediction | truth).sum())


def _spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers 0 ... count - 1, evenly spaced, the first among them."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, most)).round()})


def _two_lines(name: str) -> str:
    """ "small-glass-bell" -> "small glass\\nbell"."""
    words: Iterable[str] = name.replace("_", " + ").split("-")
    *first, last = words
    return " ".join(first) + ("\n" if first else "") + last


def _finish(figure: Figure, title: str) -> Figure:
    figure.suptitle(title)
    # Closed for pyplot, which would show it a second time at the end of the cell; the figure itself stays usable.
    plt.close(figure)
    # IPython puts this beside the picture in a notebook; pages made of it take it for people who cannot see pictures.
    figure._repr_mimebundle_ = lambda **_: ({}, {"image/png": {"alt": title}})
    return figure
