"""The course's widgets: controls over the pure functions of `gavs_lib.course.plots`.

A widget holds what was computed before (masks, sounds) and only draws, so it answers within a fraction of a second; the
mixing desk alone asks a model, whose pictures are encoded already. A widget's picture is one Image widget whose bytes
are replaced: running the cell again makes a new widget and leaves none of the old pictures behind. Every control is a
plain Dropdown, slider, check box or button, which Tab reaches and the arrow keys or the space bar move.
"""

import io
import itertools
from collections.abc import Callable, Mapping, Sequence

import ipywidgets
import numpy as np
import pandas as pd
import soundfile
from matplotlib.figure import Figure

from gavs_lib.course import plots
from gavs_lib.lab.statistics import paired, side_by_side


def png(figure: Figure) -> bytes:
    """A figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return buffer.getvalue()


def voice_player(
    frames: np.ndarray,
    names: Sequence[str],
    masks: Mapping[str, np.ndarray],
    sounds: Sequence[np.ndarray],
    sample_rate: int,
    truth: np.ndarray | None = None,
) -> ipywidgets.VBox:
    """Choose whose voice is played and which second is shown; the masks of each model stand side by side.

    The static twin is `plots.voices`, which shows one second of all voices at once.

    Args:
        frames: [T, H, W, 3] uint8 RGB.
        names: K names of the toys that can be played.
        masks: model -> [K, T, H, W] bool: its masks for each voice.
        sounds: K waveforms [samples], what is heard with each voice.
        sample_rate: in Hz.
        truth: [K, T, H, W] bool, where the toy of each voice stands: a white outline.

    Returns:
        A box with the attributes `voice` (Dropdown), `second` (IntSlider), `sound` (Audio) and `picture` (Image).

    Raises:
        ValueError: names, masks and sounds differ in number.
    """
    counts = {"names": len(names), "sounds": len(sounds)} | {f"masks of {k}": len(v) for k, v in masks.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"expected one of each for every voice; found {counts}.")
    waves = [_wav(sound, sample_rate) for sound in sounds]
    voice = ipywidgets.Dropdown(options=[(name, k) for k, name in enumerate(names)], value=0, description="plays")
    second = ipywidgets.IntSlider(value=0, min=0, max=len(frames) - 1, description="second")
    player = ipywidgets.Audio(value=waves[0], format="wav", autoplay=False, loop=False)

    def draw() -> Figure:
        k, t = voice.value, second.value
        shown = {model: plots.overlay(frames[t], each[k][t]) for model, each in masks.items()}
        if truth is not None:
            shown["truth"] = plots.overlay(frames[t], truth[k][t])
        return plots.pictures(shown, f"second {t}, the {names[k]} plays")

    def play(change: dict) -> None:
        player.value = waves[change["new"]]

    voice.observe(play, names="value")
    return _box(draw, player, voice=voice, second=second)


def mask_explorer(frames: np.ndarray, probabilities: np.ndarray, truth: np.ndarray | None) -> ipywidgets.VBox:
    """Choose a second and a threshold; see the mask, and the IoU (without a truth: the share) at every other threshold.

    The static twin is `plots.mask_at`.

    Args:
        frames: [T, H, W, 3] uint8 RGB.
        probabilities: [T, H, W], 0-1.
        truth: [T, H, W] bool; None where it is not known.

    Returns:
        A box with the attributes `second` (IntSlider), `threshold` (FloatSlider) and `picture` (Image).
    """
    second = ipywidgets.IntSlider(value=0, min=0, max=len(frames) - 1, description="second")
    threshold = ipywidgets.FloatSlider(value=0.5, min=0.0, max=1.0, step=0.05, description="threshold")

    def draw() -> Figure:
        t = second.value
        outline = None if truth is None else truth[t]
        return plots.mask_at(frames[t], probabilities[t], outline, threshold.value, f"second {t}")

    return _box(draw, second=second, threshold=threshold)


def place_explorer(frames: np.ndarray, embeddings: np.ndarray, second: int = 0) -> ipywidgets.VBox:
    """Choose a second and a place in its picture; see how much the features at all other places resemble those there.

    The static twin is `plots.similarity_map`.

    Args:
        frames: [T, H, W, 3] uint8 RGB.
        embeddings: [T, C, h, w], what an encoder makes of them.
        second: shown first; the place is the middle.

    Returns:
        A box with the attributes `second`, `row`, `column` (IntSlider) and `picture` (Image).

    Raises:
        ValueError: frames and embeddings differ in number.
    """
    if len(frames) != len(embeddings):
        raise ValueError(
            f"expected one embedding a frame; found {len(frames)} frames and {len(embeddings)} embeddings."
        )
    features = np.asarray(embeddings, dtype=np.float64)
    features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    height, width = features.shape[2:]
    time = ipywidgets.IntSlider(value=second, min=0, max=len(frames) - 1, description="second")
    row = ipywidgets.IntSlider(value=height // 2, min=0, max=height - 1, description="row")
    column = ipywidgets.IntSlider(value=width // 2, min=0, max=width - 1, description="column")

    def draw() -> Figure:
        t, place = time.value, (row.value, column.value)
        similarity = np.einsum("chw,c->hw", features[t], features[t][:, place[0], place[1]])
        return plots.similarity_map(frames[t], similarity, place, f"second {t}, row {place[0]}, column {place[1]}")

    return _box(draw, second=time, row=row, column=column)


def prompt_surgery(
    frames: np.ndarray, masks: Mapping[tuple[bool, ...], np.ndarray], parts: Sequence[str], truth: np.ndarray
) -> ipywidgets.VBox:
    """Take parts out of the audio prompt, and see the mask that the rest still gives.

    The static twin is `plots.prompt_parts`.

    Args:
        frames: [T, H, W, 3] uint8 RGB.
        masks: for every choice of parts kept (a flag a part, in their order) -> the masks [T, H, W] bool.
        parts: names of the parts, such as "cue", "noise" and "audio".
        truth: [T, H, W] bool.

    Returns:
        A box with the attributes `second` (IntSlider), `picture` (Image), and a Checkbox named like each part.

    Raises:
        ValueError: some choice of parts has no masks.
    """
    missing = set(itertools.product((True, False), repeat=len(parts))) - set(masks)
    if missing:
        raise ValueError(
            f"masks are missing for {sorted(missing)}; expected one entry for each choice of {list(parts)}."
        )
    boxes = {part: ipywidgets.Checkbox(value=True, description=part, indent=False) for part in parts}
    second = ipywidgets.IntSlider(value=0, min=0, max=len(frames) - 1, description="second")

    def draw() -> Figure:
        kept, t = {part: box.value for part, box in boxes.items()}, second.value
        return plots.prompt_parts(frames[t], masks[tuple(kept.values())][t], kept, f"second {t}", truth[t])

    return _box(draw, **boxes, second=second)


def mixing_desk(
    frames: np.ndarray,
    names: Sequence[str],
    play: Callable[[list[float]], tuple[np.ndarray, np.ndarray]],
    sample_rate: int,
    toys: np.ndarray | None = None,
    levels: Sequence[float] | None = None,
) -> ipywidgets.VBox:
    """Turn each toy's voice up and down; hear the mixture and see the mask that it gives.

    The static twin is `plots.mixing`.

    Args:
        frames: [T, H, W, 3] uint8 RGB.
        names: K names of the toys.
        play: called with K levels (0 to 1); returns what is heard [samples] and the masks [T, H, W] bool.
        sample_rate: of what is heard, in Hz.
        toys: [K, T, H, W] bool, where each toy stands: a white outline around those that are turned up.
        levels: at the start; None: the first toy at 1, the others at 0.

    Returns:
        A box with the attributes `levels` (one FloatSlider a toy, in a list), `second` (IntSlider), `sound` (Audio) and
        `picture` (Image).

    Raises:
        ValueError: names and levels differ in number.
    """
    levels = [1.0] + [0.0] * (len(names) - 1) if levels is None else [float(level) for level in levels]
    if len(levels) != len(names):
        raise ValueError(f"expected one level for every toy; found {len(names)} names and {len(levels)} levels.")
    # The names stand in the picture and, in full, beside the sliders.
    wide = {"layout": ipywidgets.Layout(width="28em"), "style": {"description_width": "12em"}}
    sliders = [
        # Answers when the slider is let go: while it is drawn, each step would ask the model.
        ipywidgets.FloatSlider(value=level, min=0, max=1, step=0.1, description=name, continuous_update=False, **wide)
        for name, level in zip(names, levels)
    ]
    second = ipywidgets.IntSlider(value=0, min=0, max=len(frames) - 1, description="second", **wide)
    player = ipywidgets.Audio(format="wav", autoplay=False, loop=False)
    now = {}

    def listen(_: dict | None = None) -> None:
        heard, now["masks"] = play([slider.value for slider in sliders])
        player.value = _wav(heard, sample_rate)

    def draw() -> Figure:
        t = second.value
        shown = {name: slider.value for name, slider in zip(names, sliders)}
        places = None if toys is None else toys[:, t]
        return plots.mixing(frames[t], shown, now["masks"][t], f"second {t}", places)

    listen()
    for slider in sliders:
        slider.observe(listen, names="value")  # before the box's own redraw, which shows what this computes
    box = _box(draw, player, **{f"level_{k}": slider for k, slider in enumerate(sliders)}, second=second)
    box.levels = sliders
    return box


def attention_explorer(
    frame: np.ndarray,
    names: Sequence[str],
    layers: Sequence[str],
    maps: Mapping[str, np.ndarray],
    truth: np.ndarray | None = None,
) -> ipywidgets.VBox:
    """Choose a layer and whose voice is played; see where each model's token attends, side by side.

    The static twin is `plots.attention`, which shows several layers and voices at once. One scale holds for all
    choices.

    Args:
        frame: [H, W, 3] uint8 RGB.
        names: K names of the toys that can be played.
        layers: L names of the places where the token attends to the picture.
        maps: model -> [L, K, h, w], each map at least 0 with sum 1.
        truth: [K, H, W] bool, where the toy of each voice stands: a white outline.

    Returns:
        A box with the attributes `layer` (Dropdown), `voice` (Dropdown) and `picture` (Image).

    Raises:
        ValueError: a model's maps are not one for each layer and voice.
    """
    for model, each in maps.items():
        if np.shape(each)[:2] != (len(layers), len(names)):
            raise ValueError(
                f"maps of {model} are {list(np.shape(each))}; expected [{len(layers)}, {len(names)}, h, w], one map "
                "for each layer and voice."
            )
    everything = np.stack(list(maps.values()))
    top = max(1.0, float(np.quantile(everything, 0.99)) * np.prod(everything.shape[-2:]))
    layer = ipywidgets.Dropdown(options=[(name, i) for i, name in enumerate(layers)], value=0, description="layer")
    voice = ipywidgets.Dropdown(options=[(name, k) for k, name in enumerate(names)], value=0, description="plays")

    def draw() -> Figure:
        i, k = layer.value, voice.value
        shown = {layers[i]: np.stack([each[i][k] for each in maps.values()])}
        outline = None if truth is None else np.stack([truth[k]] * len(maps))
        return plots.attention(frame, list(maps), shown, f"The {names[k]} plays", outline, top)

    return _box(draw, layer=layer, voice=voice)


def variant_explorer(table: pd.DataFrame, first: str | None = None, second: str | None = None) -> ipywidgets.VBox:
    """Choose two variants and where they are tested; see their scores clip by clip, and their paired difference.

    The static twin is `plots.clip_by_clip`.

    Args:
        table: columns variant, classes, rotation, seed and scores (an array of scores by clip), see `lab.statistics`.
        first, second: the variants at the start; None: the first two of the table.

    Returns:
        A box with the attributes `first`, `second`, `classes` (Dropdown) and `picture` (Image).

    Raises:
        ValueError: the table has fewer than two variants, or there is no unit (rotation, seed) that all of them have.
    """
    variants = list(dict.fromkeys(table["variant"]))
    if len(variants) < 2:
        raise ValueError(f"the table has the variants {variants}; expected two at least, to compare.")
    units = [set(zip(rows["rotation"], rows["seed"])) for _, rows in table.groupby(["variant", "classes"])]
    if not set.intersection(*units):
        raise ValueError("no unit (rotation, seed) is shared by all variants; leave out those that lack the others'.")
    chosen = {"first": first or variants[0], "second": second or variants[1]}
    boxes = {
        name: ipywidgets.Dropdown(options=variants, value=value, description=name) for name, value in chosen.items()
    }
    classes = ipywidgets.Dropdown(options=list(dict.fromkeys(table["classes"])), description="classes")

    def draw() -> Figure:
        names = boxes["first"].value, boxes["second"].value
        a, b = (table[(table["variant"] == name) & (table["classes"] == classes.value)] for name in names)
        found = paired(a, b)
        title = f"{classes.value} classes, trainings of each: {len(found.units)}"
        return plots.clip_by_clip(*side_by_side(a, b), names, (found.mean, found.low, found.high), title)

    return _box(draw, **boxes, classes=classes)


def ear_explorer(
    clips: Sequence[str],
    sounds: Sequence[np.ndarray],
    sample_rate: int,
    readings: Mapping[str, np.ndarray],
    truth: np.ndarray,
    factors: Sequence[str],
) -> ipywidgets.VBox:
    """Choose a clip, an ear and a second; hear the clip, and see which factors are read off the ear.

    The static twin is `plots.factor_readout`.

    Args:
        clips: K names of clips.
        sounds: K waveforms [samples].
        sample_rate: in Hz.
        readings: ear -> [K, T, F], about 0 (no) to 1 (yes).
        truth: [K, T, F] bool: the factors that are heard.
        factors: F names.

    Returns:
        A box with the attributes `clip`, `ear` (Dropdown), `second` (IntSlider), `sound` (Audio) and `picture` (Image).

    Raises:
        ValueError: clips, sounds, readings or truth differ in number.
    """
    truth = np.asarray(truth, dtype=bool)
    shapes = {ear: np.shape(each) for ear, each in readings.items()} | {"truth": truth.shape}
    expected = (len(clips), truth.shape[1], len(factors))
    if set(shapes.values()) != {expected} or len(sounds) != len(clips):
        raise ValueError(f"found {len(sounds)} sounds and {shapes}; expected {len(clips)} sounds and {list(expected)}.")
    waves = [_wav(sound, sample_rate) for sound in sounds]
    clip = ipywidgets.Dropdown(options=[(name, k) for k, name in enumerate(clips)], value=0, description="clip")
    ear = ipywidgets.Dropdown(options=list(readings), description="ear")
    second = ipywidgets.IntSlider(value=0, min=0, max=expected[1] - 1, description="second")
    player = ipywidgets.Audio(value=waves[0], format="wav", autoplay=False, loop=False)

    def draw() -> Figure:
        k, t = clip.value, second.value
        return plots.factor_readout(readings[ear.value][k, t], truth[k, t], factors, f"{ear.value}, second {t}")

    def play(change: dict) -> None:
        player.value = waves[change["new"]]

    clip.observe(play, names="value")
    return _box(draw, player, clip=clip, ear=ear, second=second)


def clip_browser(
    names: Sequence[str],
    frames: np.ndarray,
    masks: Mapping[str, np.ndarray],
    truth: np.ndarray,
    sounds: Sequence[np.ndarray],
    sample_rate: int,
) -> ipywidgets.VBox:
    """Choose a clip by its class, and a second; hear it, and see each model's mask beside the truth.

    The static twin is `plots.contact_sheet`, which shows several clips at once.

    Args:
        names: N classes; clips of one class are counted, and all of them sorted by name.
        frames: [N, T, H, W, 3] uint8 RGB.
        masks: model -> [N, T, H, W] bool.
        truth: [N, T, H, W] bool.
        sounds: N waveforms [samples].
        sample_rate: in Hz.

    Returns:
        A box with the attributes `clip` (Dropdown), `second` (IntSlider), `sound` (Audio) and `picture` (Image).

    Raises:
        ValueError: names, frames, masks, truth and sounds differ in number.
    """
    counts = {"names": len(names), "frames": len(frames), "truth": len(truth), "sounds": len(sounds)}
    counts |= {f"masks of {model}": len(each) for model, each in masks.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"expected one of each for every clip; found {counts}.")
    order = sorted(range(len(names)), key=lambda i: (names[i], i))
    options = [(f"{names[i]} {1 + list(names[:i]).count(names[i])}", i) for i in order]
    clip = ipywidgets.Dropdown(options=options, value=order[0], description="clip")
    second = ipywidgets.IntSlider(value=0, min=0, max=frames.shape[1] - 1, description="second")
    player = ipywidgets.Audio(value=_wav(sounds[order[0]], sample_rate), format="wav", autoplay=False, loop=False)

    def draw() -> Figure:
        i, t = clip.value, second.value
        shown = {model: plots.overlay(frames[i, t], each[i, t]) for model, each in masks.items()}
        shown["truth"] = plots.overlay(frames[i, t], truth[i, t])
        return plots.pictures(shown, f"second {t}: the {names[i]} plays")

    def play(change: dict) -> None:
        player.value = _wav(sounds[change["new"]], sample_rate)

    clip.observe(play, names="value")
    return _box(draw, player, clip=clip, second=second)


def before_and_after(
    clips: Sequence[str], frames: np.ndarray, truth: np.ndarray, masks: Mapping[str, np.ndarray]
) -> ipywidgets.VBox:
    """Choose a clip, a model and a second; see the mask of the first model, that of the chosen one, and the truth.

    The static twin is `plots.pictures`.

    Args:
        clips: K names of clips.
        frames: [K, T, H, W, 3] uint8 RGB.
        truth: [K, T, H, W] bool.
        masks: model -> [K, T, H, W] bool; the first is "before" and always shown, the others can be chosen.

    Returns:
        A box with the attributes `clip`, `model` (Dropdown), `second` (IntSlider) and `picture` (Image).

    Raises:
        ValueError: fewer than two models, or clips, truth or masks do not fit the frames.
    """
    expected = np.shape(frames)[:-1]
    shapes = {"truth": np.shape(truth)} | {name: np.shape(each) for name, each in masks.items()}
    if set(shapes.values()) != {expected} or len(clips) != expected[0] or len(masks) < 2:
        raise ValueError(f"found {len(clips)} names and {shapes}; expected two models or more, and {list(expected)}.")
    before, *others = masks
    clip = ipywidgets.Dropdown(options=[(name, k) for k, name in enumerate(clips)], value=0, description="clip")
    model = ipywidgets.Dropdown(options=others, value=others[-1], description="after")
    second = ipywidgets.IntSlider(value=0, min=0, max=expected[1] - 1, description="second")

    def draw() -> Figure:
        k, t = clip.value, second.value
        shown = {before: masks[before], model.value: masks[model.value], "truth": truth}
        return plots.pictures(
            {name: plots.overlay(frames[k, t], each[k, t]) for name, each in shown.items()},
            f"{clips[k]}, second {t}",
        )

    return _box(draw, clip=clip, model=model, second=second)


def _box(
    draw: Callable[[], Figure], sound: ipywidgets.Audio | None = None, **controls: ipywidgets.Widget
) -> ipywidgets.VBox:
    """Controls above a picture that is drawn again whenever one of them changes."""
    picture = ipywidgets.Image(value=png(draw()), format="png", layout=ipywidgets.Layout(max_width="100%"))

    def redraw(_: dict) -> None:
        picture.value = png(draw())

    for control in controls.values():
        control.observe(redraw, names="value")
    box = ipywidgets.VBox([*controls.values(), *([sound] if sound is not None else []), picture])
    box.picture, box.sound = picture, sound
    for name, control in controls.items():
        setattr(box, name, control)
    return box


def _wav(waveform: np.ndarray, sample_rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.asarray(waveform), sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
