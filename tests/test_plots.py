"""The course's figures: what they show, that they are labelled, and that they refuse what does not fit."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from gavs_lib.course import plots
from gavs_lib.course.widgets import png

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, size=(5, 32, 32, 3), dtype=np.uint8)
MASKS = np.zeros((5, 32, 32), dtype=bool)
MASKS[:, 8:24, 8:24] = True
MAPS = np.full((2, 8, 8), 1 / 64)
MAPS[1] = 0
MAPS[1, 4, 4] = 1
SCORES = pd.DataFrame(
    [
        ("v1s", "GAVS", 0.8, 0.7, 0.9, "hears"),
        ("v1s", "deaf twin", 0.3, 0.2, 0.4, "deaf"),
        ("v1m", "GAVS", 0.7, 0.6, 0.8, "hears"),
        ("v1m", "random", 0.4, 0.4, 0.4, "guess"),
    ],
    columns=["group", "name", "value", "low", "high", "kind"],
)
PROBES = pd.DataFrame(
    [
        (encoder, factor, name, 0.6 + 0.1 * (name == "trained"), chance)
        for encoder in ("eye", "ear")
        for factor, chance in (("family", 1 / 6), ("size", 1 / 2))
        for name in ("trained", "untrained")
    ],
    columns=["encoder", "factor", "name", "value", "chance"],
)
COSTS = pd.DataFrame(
    [
        ("64", "GAVS", 3.0, 60.0, 1.0),
        ("128", "GAVS", 11.0, 80.0, 1.0),
        ("64 px", "SAVE", 4.0, 66.0, np.nan),
    ],
    columns=["name", "family", "x", "y", "sd"],
)
STARTS = {"second": range(10), "published": [0.96 * i for i in range(10)]}
RAMP = np.linspace(-1, 1, 640)
WAVE = np.sin(np.arange(400) / 9)
EPOCHS = [{"epoch": e, "segmentation": 1 / e, "semantic": 0.3, "miou": None if e == 1 else 0.1 * e} for e in (1, 2, 3)]
EARS = pd.DataFrame(
    [("told factors", 1.0, 0.99, 0.4), ("told class", -0.45, 0.38, 0.36), ("told class", -0.45, 0.4, 0.36)],
    columns=["name", "additive", "right", "chance"],
)
HARD = pd.DataFrame(
    [
        (model, case, figure, value, value - 0.02, value + 0.02)
        for model, shift in (("GAVS", 0), ("GAVS, deaf", -0.1))
        for case, figure, value in (
            ("plain", "miou", 0.8),
            ("near voices", "miou", 0.6),
            ("plain", "marked area", 0.16),
            ("silence", "false-positive area", 0.12),
            ("plain", "anything marked", 1.0),
        )
        for value in [value + shift]
    ],
    columns=["model", "case", "figure", "value", "low", "high"],
)
ROLES = [["seen", "unseen"], ["unseen", "seen"]]
PER_CLASS = pd.DataFrame(
    [("bell", "GAVS", 0.8, 0.7, 0.9), ("bell", "rival", 0.5, 0.5, 0.5), ("car", "GAVS", 0.2, 0.1, 0.4)],
    columns=["label", "name", "value", "low", "high"],
)
RIVALS = pd.DataFrame(
    [
        ("GAVS", "encoder", 27000.0, False),
        ("GAVS", "prompt", 395000.0, True),
        ("Audio-SAM", "encoder", 0.0, False),
        ("Audio-SAM", "prompt", 650.0, True),
        ("SAM", "encoder", 0.0, False),
        ("SAM", "prompt", np.nan, False),
    ],
    columns=["name", "stage", "trained", "sound"],
)
DIFFERENCES = pd.DataFrame(
    [("seen", "a - b", 1.0, 0.4, 1.6), ("seen", "c - b", 0.1, -0.3, 0.5), ("unseen", "a - b", -2.0, -3.0, -1.0)],
    columns=["group", "name", "value", "low", "high"],
)
SHOTS = pd.DataFrame(
    [
        ("here", "GAVS", 0, 0.5, 0.1, False),
        ("here", "GAVS", 5, 0.7, 0.1, False),
        ("here", "GAVS", 5, 0.6, np.nan, True),
        ("paper", "AVSBench", 5, 0.4, np.nan, False),
        ("paper", "GAVS", 5, 0.6, np.nan, False),
    ],
    columns=["panel", "name", "x", "mean", "sd", "control"],
)
TRAININGS = pd.DataFrame(
    [("GAVS", "prompt", 79.0), ("SAM-Fusion", "fusion", 81.0), ("GAVS", "prompt", 66.0)],
    columns=["name", "kind", "value"],
)
CHANGES = pd.DataFrame(
    [("bell", 0.2, 0.6, 0.3), ("car", 0.5, 0.4, 0.5)], columns=["name", "before", "after", "control"]
)
KEPT = {"cue": True, "noise": False, "audio": True}
FIGURES = {
    "clip_sheet": lambda: plots.clip_sheet(FRAMES, {"picture": None, "GAVS": MASKS}, "a clip", truth=MASKS),
    "sound": lambda: plots.sound(np.sin(np.arange(32000) / 9), 16000, "a sound", {"bell": [True, False]}),
    "voices": lambda: plots.voices(FRAMES[0], ["small-wood-bell", "drum"], {"GAVS": MASKS[:2]}, "voices", MASKS[:2]),
    "pictures": lambda: plots.pictures({"one": FRAMES[0], "two": MASKS[0]}, "pictures", colorbar="share"),
    "scores": lambda: plots.scores(SCORES, "scores"),
    "curves": lambda: plots.curves({"GAVS": EPOCHS, "deaf twin": EPOCHS}, "training", margin=0.3),
    "similarities": lambda: plots.similarities(np.eye(12) - 0.2, "similarities"),
    "mask_at": lambda: plots.mask_at(FRAMES[0], 0.8 * MASKS[0], MASKS[0], 0.5, "threshold"),
    "mask_without_truth": lambda: plots.mask_at(FRAMES[0], 0.8 * MASKS[0], None, 0.5, "threshold"),
    "over_seconds": lambda: plots.over_seconds([-20, -90, -25], {"own": [0.1, 0, 0.2], "silence": [0, 0, 0]}, "a film"),
    "contact_sheet": lambda: plots.contact_sheet([FRAMES[:3], FRAMES[2:]], ["bell", "car"], list("abc"), "a sheet"),
    "over_thresholds": lambda: plots.over_thresholds({"one": [0, 0.5, 0]}, "thresholds", "IoU", {"release": 0.4}),
    "prompt_parts": lambda: plots.prompt_parts(FRAMES[0], MASKS[0], KEPT, "surgery", truth=MASKS[0]),
    "pixel_loss": lambda: plots.pixel_loss("one pixel"),
    "mel_steps": lambda: plots.mel_steps(WAVE, abs(np.fft.rfft(WAVE, 512)), np.eye(257, 64), RAMP[:64], 16000, "mel"),
    "patch_drift": lambda: plots.patch_drift(STARTS, 0.975, RAMP[:10], 0.5, "drift"),
    "embeddings": lambda: plots.embeddings({"F_A": RAMP.reshape(5, 128), "ReLU": abs(RAMP.reshape(5, 128))}, "F_A"),
    "similarity_map": lambda: plots.similarity_map(FRAMES[0], np.eye(16), (2, 7), "places", MASKS[0]),
    "probes": lambda: plots.probes(PROBES, "probes"),
    "attention": lambda: plots.attention(
        FRAMES[0], ["before", "after"], {"layer 1": MAPS, "last": MAPS}, "a", MASKS[:2]
    ),
    "mixing": lambda: plots.mixing(FRAMES[0], {"small-wood-bell": 1, "car": 0.4}, MASKS[0], "desk", MASKS[:2]),
    "lines": lambda: plots.lines({"with": [2, 1, 0.5], "without": [2, 2, 2]}, "losses"),
    "factor_readout": lambda: plots.factor_readout(
        RAMP[:11], RAMP[:11] > -0.99, [f"factor {i}" for i in range(11)], "f"
    ),
    "rule_or_table": lambda: plots.rule_or_table(EARS, "rule or table"),
    "hard_cases": lambda: plots.hard_cases(HARD, "hard cases"),
    "class_grid": lambda: plots.class_grid(
        [FRAMES[:2], FRAMES[2:4]], ROLES, ["bell", "car"], ["small", "large"], "roles"
    ),
    "by_class": lambda: plots.by_class(PER_CLASS, "classes"),
    "class_similarities": lambda: plots.class_similarities({"before": np.eye(5)}, {"seen": 3, "unseen": 2}, "cues"),
    "rivals": lambda: plots.rivals(RIVALS, "rivals"),
    "estimates": lambda: plots.estimates(DIFFERENCES.assign(line=0.5), "differences", "points", "a margin"),
    "clip_by_clip": lambda: plots.clip_by_clip(
        np.array([0.5, 0.9]), np.array([0.4, 0.2]), ("a", "b"), (0.4, 0.1, 0.7), "two"
    ),
    "draws": lambda: plots.draws([[1, 3, 0], [1, 3, 0, 0]], ["bell", "car"], "draws"),
    "trade_off": lambda: plots.trade_off(COSTS, "quality and cost", "milliseconds a frame", "mean IoU"),
    "trainings": lambda: plots.trainings(TRAININGS, "trainings", "mean IoU (%)"),
    "bands": lambda: plots.bands(SHOTS, "few shots", "shots"),
    "changes": lambda: plots.changes(CHANGES, "changes", ["before", "after", "control"]),
    "architecture": lambda: plots.architecture("GAVS"),
}


def texts(figure: Figure) -> str:
    """Everything that is written in a figure."""
    found = [figure.get_suptitle()]
    for axis in figure.axes:
        found += [axis.get_title(), axis.get_title("left"), axis.get_xlabel(), axis.get_ylabel()]
        found += [text.get_text() for text in axis.texts]
    return "\n".join(found)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_a_title_fits_a_narrow_page_and_is_left_to_the_caller(name):
    before = plt.get_fignums()
    figure = FIGURES[name]()
    assert isinstance(figure, Figure) and figure.get_suptitle()
    assert figure.get_figwidth() <= plots.WIDTH
    assert plt.get_fignums() == before, "an open figure would be shown twice"
    figure.canvas.draw()
    written = [text for text in figure.findobj(plt.Text) if text.get_text() and text.get_visible()]
    # 6.4 inches shown 400 pixels wide: 11 points become 9.5 pixels.
    assert min(text.get_fontsize() for text in written) >= 11


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_input_gives_the_same_picture(name):
    assert png(FIGURES[name]()) == png(FIGURES[name]())


def test_an_overlay_is_orange_at_the_edge_and_fades_the_rest():
    shown = plots.overlay(FRAMES[0], MASKS[0])
    assert shown.shape == (32, 32, 3) and 0 <= shown.min() and shown.max() <= 1
    assert np.allclose(shown[8, 8], to_rgb(plots.SOUNDING))
    inside = 0.55 * FRAMES[0, 16, 16] / 255 + 0.45 * np.array(to_rgb(plots.SOUNDING))
    assert np.allclose(shown[16, 16], inside)
    picture = FRAMES[0, 0, 0] / 255
    assert np.allclose(shown[0, 0], 0.45 * picture + 0.35 * picture.mean())


def test_an_overlay_without_a_mask_is_the_picture():
    assert np.allclose(plots.overlay(FRAMES[0], None), FRAMES[0] / 255)


def test_an_overlay_refuses_a_mask_of_another_size():
    with pytest.raises(ValueError, match=r"\[16, 16\].*\[32, 32\]"):
        plots.overlay(FRAMES[0], MASKS[0, ::2, ::2])


def test_functions_leave_their_input_alone():
    frames, masks = FRAMES.copy(), MASKS.copy()
    plots.clip_sheet(frames, {"GAVS": masks}, "a clip", truth=masks)
    assert np.array_equal(frames, FRAMES) and np.array_equal(masks, MASKS)


def test_a_long_clip_shows_five_evenly_spaced_seconds():
    figure = plots.clip_sheet(np.repeat(FRAMES, 2, axis=0), {"picture": None}, "ten seconds")
    assert [axis.get_title() for axis in figure.axes] == ["0 s", "2 s", "4 s", "7 s", "9 s"]


def test_the_swap_figure_names_every_voice():
    assert "plays:\nsmall wood\nbell" in texts(FIGURES["voices"]())


def test_bars_are_orange_for_hearing_and_blue_for_deaf():
    figure = plots.scores(SCORES, "scores")
    colors = [to_rgb(bar.get_facecolor()) for bar in figure.axes[0].patches]  # drawn from below
    assert colors == [to_rgb(plots.SILENT), to_rgb(plots.SOUNDING)]
    assert "0.80" in texts(figure) and "v1m" in texts(figure)


def test_scores_refuse_a_table_that_lacks_a_column_or_has_an_unknown_kind():
    with pytest.raises(ValueError, match="lacks columns.*low"):
        plots.scores(SCORES.drop(columns="low"), "scores")
    with pytest.raises(ValueError, match="kinds.*blind"):
        plots.scores(SCORES.assign(kind="blind"), "scores")


def test_curves_leave_out_epochs_that_were_not_validated():
    figure = plots.curves({"GAVS": EPOCHS}, "training")
    assert len(figure.axes) == 2, "without a margin there is no semantic panel"
    line = figure.axes[1].lines[0]
    assert list(line.get_xdata()) == [2, 3]


def test_the_threshold_figure_writes_the_iou_there():
    probability = np.zeros((32, 32))
    probability[8:24, 8:16] = 0.9  # half of the mask
    probability[8:24, 16:24] = 0.4  # the other half
    assert "IoU 0.50 at 0.50" in texts(plots.mask_at(FRAMES[0], probability, MASKS[0], 0.5, "threshold"))
    assert "IoU 1.00 at 0.30" in texts(plots.mask_at(FRAMES[0], probability, MASKS[0], 0.3, "threshold"))


def test_without_a_truth_the_threshold_figure_writes_the_marked_share():
    # 16 * 16 of 32 * 32 pixels exceed 0.5, none exceeds 0.8
    assert "marked share 0.25 at 0.50" in texts(FIGURES["mask_without_truth"]())
    assert "marked share 0.00 at 0.80" in texts(plots.mask_at(FRAMES[0], 0.8 * MASKS[0], None, 0.8, "threshold"))


def test_loudness_and_marked_shares_stand_above_each_other_second_by_second():
    sound, marked = FIGURES["over_seconds"]().axes[:2]
    assert [bar.get_y() + bar.get_height() for bar in sound.patches] == [-20, -90, -25]
    assert [list(line.get_ydata()) for line in marked.lines] == [[10, 0, 20], [0, 0, 0]]
    assert [line.get_color() for line in marked.lines] == [plots.SOUNDING, plots.SILENT]


def test_a_similarity_map_frames_the_same_place_in_both_panels():
    figure = plots.similarity_map(FRAMES[0], np.zeros((16, 16)), (2, 7), "places")  # a cell is 2 x 2 pixels
    for axis in figure.axes[:2]:
        assert [patch.get_bbox().bounds for patch in axis.patches] == [(13.5, 3.5, 2, 2)]  # x = 7 * 2, y = 2 * 2


def test_patches_are_drawn_where_they_start():
    spans = plots.patch_drift(STARTS, 0.975, np.ones(10), 0.5, "drift").axes[0]
    begins = [collection.get_paths()[0].vertices[:, 0].min() for collection in spans.collections]
    assert np.allclose(begins, [*range(10), *(0.96 * i for i in range(10))])
    assert [text.get_text() for text in spans.texts] == 2 * [str(i) for i in range(10)]


def test_embeddings_share_one_scale_about_zero():
    figure = plots.embeddings({"small": RAMP.reshape(5, 128), "large": 3 * RAMP.reshape(5, 128)}, "F_A")
    limits = {axis.images[0].get_clim() for axis in figure.axes[:2]}
    (low, high) = limits.pop()
    assert not limits and low == -high and 1 < high <= 3


def test_probe_bars_are_written_out_and_chance_is_marked():
    figure = plots.probes(PROBES, "probes")
    assert [axis.get_title("left") for axis in figure.axes] == ["eye", "ear"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.70", "0.60"] * 2
    assert sorted({line.get_xdata()[0] for line in figure.axes[0].lines}) == [1 / 6, 1 / 2]


def test_probes_refuse_a_table_that_lacks_a_column():
    with pytest.raises(ValueError, match="lacks columns.*chance"):
        plots.probes(PROBES.drop(columns="chance"), "probes")


def test_the_surgery_figure_says_what_was_taken_out_and_writes_the_iou():
    written = texts(plots.prompt_parts(FRAMES[0], MASKS[0], KEPT, "surgery", truth=MASKS[0]))
    assert "noise:\nzeros" in written and "cue:\nzeros" not in written and "IoU 1.00" in written
    half = MASKS[0].copy()
    half[:, 16:] = False  # 128 of the 256 pixels
    assert "IoU 0.50" in texts(plots.prompt_parts(FRAMES[0], half, KEPT, "surgery", truth=MASKS[0]))
    assert "IoU" not in texts(plots.prompt_parts(FRAMES[0], half, KEPT, "surgery"))


def test_attention_is_measured_against_an_even_spread():
    figure = plots.attention(FRAMES[0], ["even", "one cell"], {"layer": MAPS}, "attention")
    even, one = (axis.images[1].get_array() for axis in figure.axes[:2])
    assert np.allclose(even, 1)
    assert one[4, 4] == 64 and one.sum() == 64  # all of it in one of 8 * 8 cells


def test_attention_wants_a_map_for_each_column():
    with pytest.raises(ValueError, match="layer has 2 maps for 3 columns"):
        plots.attention(FRAMES[0], ["a", "b", "c"], {"layer": MAPS}, "attention")


def test_lines_start_at_step_one():
    line = plots.lines({"loss": [3.0, 2.0]}, "losses").axes[0].lines[0]
    assert list(line.get_xdata()) == [1, 2] and list(line.get_ydata()) == [3, 2]


def test_an_empty_truth_scores_the_share_left_unmarked():
    empty = np.zeros((32, 32), dtype=bool)
    # 16 * 16 of 32 * 32 pixels are marked: 1 - 1/4
    assert "IoU 0.75" in texts(plots.mask_at(FRAMES[0], MASKS[0].astype(float), empty, 0.5, "threshold"))


def test_the_colours_of_sounding_and_silent_differ_in_brightness_too():
    def brightness(color: str) -> float:
        return float(np.dot(to_rgb(color), (0.299, 0.587, 0.114)))

    assert abs(brightness(plots.SOUNDING) - brightness(plots.SILENT)) > 0.2


def test_a_contact_sheet_names_rows_and_columns_and_counts_them():
    assert {"bell", "car", "a", "b", "c"} <= set(texts(FIGURES["contact_sheet"]()).splitlines())
    with pytest.raises(ValueError, match=r"\[2, 3\].*\[2, 1\]"):
        plots.contact_sheet([FRAMES[:3], FRAMES[2:]], ["bell", "car"], ["a"], "a sheet")


def test_spectrograms_of_a_sheet_share_one_scale_with_low_bands_below():
    axes = plots.contact_sheet([[np.zeros((4, 6)), np.ones((4, 6))]], ["bell"], ["a", "b"], "voices").axes
    assert {axis.images[0].get_clim() for axis in axes} == {(0, 1)}
    assert {axis.images[0].origin for axis in axes} == {"lower"}


def test_curves_over_thresholds_span_zero_to_one_and_mark_what_is_named():
    axis = FIGURES["over_thresholds"]().axes[0]
    assert list(axis.lines[0].get_xdata()) == [0, 0.5, 1]
    assert list(axis.lines[1].get_xdata()) == [0.4, 0.4]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["one", "release: 0.4"]


def test_lines_stand_where_x_says():
    line = plots.lines({"share": [0.1, 0.9]}, "levels", "level [dB]", "share", [-20, 0]).axes[0].lines[0]
    assert list(line.get_xdata()) == [-20, 0] and list(line.get_ydata()) == [0.1, 0.9]


def test_the_mixing_desk_shows_each_level_and_outlines_only_toys_that_are_turned_up():
    toys = np.zeros((2, 32, 32), dtype=bool)
    toys[0, 2:10, 2:10] = toys[1, 20:30, 20:30] = True
    grey, nothing = np.full((32, 32, 3), 90, dtype=np.uint8), np.zeros((32, 32), dtype=bool)
    figure = plots.mixing(grey, {"bell": 0.4, "car": 0.0}, nothing, "desk", toys)
    desk, picture = figure.axes
    assert [bar.get_width() for bar in desk.patches] == [1, 1, 0.4, 0.0]
    assert "bell" in desk.get_yticklabels()[0].get_text() and desk.yaxis_inverted()
    shown = picture.get_images()[0].get_array()
    assert (shown[2, 2] == 1).all() and not (shown[20, 20] == 1).all()


def test_a_factor_is_orange_where_it_is_heard_and_blue_where_it_is_not():
    figure = plots.factor_readout(
        np.array([0.9, 0.2, 1.7]), np.array([True, False, False]), ["bell", "car", "wood"], "f"
    )
    bars = {round(bar.get_y() + bar.get_height() / 2): bar for bar in figure.axes[0].patches}
    assert [bars[k].get_facecolor()[:3] == to_rgb(plots.SOUNDING) for k in range(3)] == [True, False, False]
    assert [bars[k].get_width() for k in range(3)] == pytest.approx([0.9, 0.2, 1.1])  # cut off at the edge
    with pytest.raises(ValueError, match=r"found \[2, 3, 3\] readings, truths and names"):
        plots.factor_readout(np.zeros(2), np.zeros(3), ["a", "b", "c"], "f")


def test_ears_stand_where_their_figures_say_with_chance_as_a_line():
    axis = plots.rule_or_table(EARS, "rule or table").axes[0]
    first, second = (points.get_offsets().data.tolist() for points in axis.collections)
    assert first == [[1.0, 0.99]] and second == [[-0.45, 0.38], [-0.45, 0.4]]
    assert axis.lines[0].get_ydata()[0] == pytest.approx((0.4 + 0.36 + 0.36) / 3)
    with pytest.raises(ValueError, match="lacks columns.*additive"):
        plots.rule_or_table(EARS.drop(columns="additive"), "rule or table")


def test_hard_cases_stand_side_by_side_with_the_deaf_in_blue_and_areas_in_percent():
    left, right = FIGURES["hard_cases"]().axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["plain", "near\nvoices"]
    assert [label.get_text() for label in right.get_yticklabels()] == ["own\nsound", "silence"]
    drawn = {(bars.get_label(), axis): bars.lines[0] for axis in (left, right) for bars in axis.containers}
    assert list(drawn["GAVS", left].get_xdata()) == pytest.approx([0.8, 0.6])
    assert list(drawn["GAVS, deaf", right].get_xdata()) == pytest.approx([6, 2])
    assert list(drawn["GAVS", left].get_ydata()) == pytest.approx([-0.175, 0.825])  # 0.7 * (1/4 - 1/2)
    assert {name: line.get_color() for (name, _), line in drawn.items()} == {
        "GAVS": plots.SOUNDING,
        "GAVS, deaf": plots.SILENT,
    }


def test_hard_cases_refuse_what_they_cannot_place():
    with pytest.raises(ValueError, match="lacks columns.*low"):
        plots.hard_cases(HARD.drop(columns="low"), "hard cases")
    with pytest.raises(ValueError, match="GAVS, plain, miou: more than one row.*choose one kind of classes"):
        plots.hard_cases(pd.concat([HARD, HARD]), "hard cases")
    with pytest.raises(ValueError, match="no rows of miou or none of"):
        plots.hard_cases(HARD[HARD["figure"] == "miou"], "hard cases")
    with pytest.raises(ValueError, match="has 7 models; expected one to six"):
        plots.hard_cases(pd.concat([HARD.assign(model=str(i)) for i in range(7)]), "hard cases")


def test_the_frame_of_a_class_tells_its_role():
    figure = plots.class_grid([FRAMES[:2], FRAMES[2:4]], ROLES, ["bell", "car"], ["small", "large"], "roles")
    green = to_rgb(plots.TRAINED)
    frames = [axis.spines["left"].get_edgecolor()[:3] for axis in figure.axes]
    assert [color == green for color in frames] == [True, False, False, True]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["seen", "unseen"]
    with pytest.raises(ValueError, match="expected one size and at most three roles"):
        plots.class_grid([FRAMES[:2]], ROLES, ["bell"], ["small", "large"], "roles")


def test_each_class_has_a_dot_for_each_model_on_its_line():
    axis = plots.by_class(PER_CLASS, "classes").axes[0]
    first, second = (container.lines[0] for container in axis.containers)
    assert list(first.get_xdata()) == [0.8, 0.2] and list(first.get_ydata()) == pytest.approx([-0.13, 0.87])
    assert list(second.get_xdata()) == [0.5] and list(second.get_ydata()) == pytest.approx([0.13])
    with pytest.raises(ValueError, match="lacks columns.*high"):
        plots.by_class(PER_CLASS.drop(columns="high"), "classes")


def test_similarities_of_classes_share_a_scale_and_part_their_groups():
    figure = plots.class_similarities({"a": np.eye(5), "b": -0.5 * np.eye(5)}, {"seen": 3, "unseen": 2}, "cues")
    assert [axis.images[0].get_clim() for axis in figure.axes[:2]] == [(-1, 1), (-1, 1)]
    assert list(figure.axes[0].lines[0].get_ydata()) == [2.5, 2.5]
    assert list(figure.axes[0].get_xticks()) == [1.0, 3.5]
    with pytest.raises(ValueError, match=r"a is \[5, 5\]; the groups have 4 classes"):
        plots.class_similarities({"a": np.eye(5)}, {"seen": 3, "unseen": 1}, "cues")


def test_lines_may_go_below_zero():
    assert plots.lines({"one": [-1, 1]}, "cosines").axes[0].get_ylim()[0] == 0
    assert plots.lines({"one": [-1, 1]}, "cosines", bottom=None).axes[0].get_ylim()[0] < -1


def test_rivals_show_what_trains_where_the_sound_enters_and_their_sums():
    axis = FIGURES["rivals"]().axes[0]
    written = [text.get_text() for text in axis.texts]
    assert written.count("♪") == 2 and written.count("frozen") == 2 and written.count("none") == 1
    assert {"27 k", "395 k", "422 k", "650"} <= set(written)  # 27 + 395; 650 alone, in its box and as the sum
    boxes = [patch.get_edgecolor()[:3] for patch in axis.patches]
    assert boxes[:3] == [to_rgb(plots.TRAINED), to_rgb(plots.TRAINED), to_rgb(plots.FROZEN)]
    with pytest.raises(ValueError, match="lacks columns.*sound"):
        plots.rivals(RIVALS.drop(columns="sound"), "rivals")
    with pytest.raises(ValueError, match="5 rows for 3 models and 2 stages"):
        plots.rivals(RIVALS[:5], "rivals")


def test_an_estimate_is_filled_where_its_interval_lies_on_one_side_of_the_line():
    seen, unseen = plots.estimates(DIFFERENCES, "differences", "points").axes
    dots = [line for axis in (seen, unseen) for line in axis.lines if line.get_marker() == "o"]
    assert [dot.get_markerfacecolor() for dot in dots] == [plots.TRAINED, "white", plots.SILENT]
    assert list(seen.lines[0].get_xdata()) == [0, 0] and seen.yaxis_inverted()
    missing = plots.estimates(DIFFERENCES.assign(value=[np.nan, 0.1, -2.0]), "differences", "points").axes[0]
    assert [text.get_text() for text in missing.texts] == ["not yet measured"]
    few = plots.estimates(DIFFERENCES.assign(decided=False, line=0.2), "differences", "points").axes[0]
    assert few.lines[2].get_markerfacecolor() == "white" and list(few.lines[0].get_xdata()) == [0.2, 0.2]
    with pytest.raises(ValueError, match="no row"):
        plots.estimates(DIFFERENCES[:0], "differences", "points")
    with pytest.raises(ValueError, match="lacks columns.*low"):
        plots.estimates(DIFFERENCES.drop(columns="low"), "differences", "points")


def test_clip_by_clip_has_the_first_model_upright_and_counts_each_difference():
    dots, bars = FIGURES["clip_by_clip"]().axes
    assert dots.collections[0].get_offsets().data.tolist() == [[0.4, 0.5], [0.2, 0.9]]
    assert dots.get_ylabel() == "a" and "b" in dots.get_xlabel()
    # 0.5 - 0.4 = 10 points, 0.9 - 0.2 = 70 points; all bars are there, those of no clip without height
    edges = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars.patches if bar.get_height() == 1]
    assert any(low <= 10 <= high for low, high in edges) and any(low <= 70 <= high for low, high in edges)
    assert sum(bar.get_height() == 1 for bar in bars.patches) == 3  # two of them bars, one the interval
    assert bars.get_title() == "+40.0 [+10.0, +70.0]"
    with pytest.raises(ValueError, match="found 1 and 2 scores"):
        plots.clip_by_clip(np.zeros(1), np.zeros(2), ("a", "b"), (0, 0, 0), "two")


def test_a_draw_shows_each_clip_once_the_first_drawn_deepest_and_the_never_drawn_blue():
    axis = FIGURES["draws"]().axes[0]
    by_number = {bars.get_label(): list(bars) for bars in axis.containers}
    counts = {"a shot from 1-shot on": 2, "a shot from 3-shot on": 2, "tested at any number": 3}
    assert {name: len(bars) for name, bars in by_number.items()} == counts
    assert by_number["a shot from 1-shot on"][0].get_facecolor()[:3] == pytest.approx(to_rgb(plots.SOUNDING))
    assert by_number["tested at any number"][0].get_facecolor()[:3] == pytest.approx(to_rgb(plots.SILENT))
    assert [label.get_text() for label in axis.get_yticklabels()] == ["bell", "car"]
    with pytest.raises(ValueError, match="2 rows and 1 names"):
        plots.draws([[1], [1]], ["bell"], "draws")


def test_bands_keep_a_models_colour_in_every_panel_and_dash_its_control():
    here, paper = FIGURES["bands"]().axes
    curves = {line.get_label(): line for axis in (here, paper) for line in axis.lines}
    assert curves["GAVS"].get_ydata().tolist() == [0.5, 0.7]
    assert curves["GAVS, control"].get_linestyle() == "--" and curves["GAVS"].get_linestyle() == "-"
    orange = [curves[name].get_color() for name in ("GAVS", "GAVS, control", "_GAVS")]
    assert orange == [plots.SOUNDING] * 3 and curves["AVSBench"].get_color() == plots.SILENT
    assert (here.get_title(), paper.get_title()) == ("here", "paper")
    with pytest.raises(ValueError, match="lacks columns.*control"):
        plots.bands(SHOTS.drop(columns="control"), "few shots", "shots")


def test_changes_point_from_before_to_after_row_by_row():
    axis = FIGURES["changes"]().axes[0]
    before, after, control = (dots.get_offsets().data.tolist() for dots in axis.collections[1:])
    assert before == [[0.2, 0], [0.5, 1]] and after == [[0.6, 0], [0.4, 1]] and control == [[0.3, 0], [0.5, 1]]
    with pytest.raises(ValueError, match=r"\['before', 'after'\] do not name"):
        plots.changes(CHANGES, "changes", ["before", "after"])


def test_every_training_is_a_dot_on_the_line_of_its_variant():
    axis = FIGURES["trainings"]().axes[0]
    prompted, fused = axis.lines
    assert prompted.get_xydata().tolist() == [[79, 0], [66, 0]] and fused.get_xydata().tolist() == [[81, 1]]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["GAVS", "SAM-Fusion"]
    for wrong in (TRAININGS.drop(columns="kind"), TRAININGS[:0], TRAININGS.assign(kind="both")):
        with pytest.raises(ValueError, match="expected name, kind and value"):
            plots.trainings(wrong, "t", "x")


def test_a_trade_off_names_every_model_and_joins_those_of_a_family():
    axis = FIGURES["trade_off"]().axes[0]
    assert [text.get_text() for text in axis.texts] == list(COSTS["name"]) and axis.get_xscale() == "log"
    crowded = plots.trade_off(COSTS.assign(name="64", family=["a", "b", "c"]), "t", "x", "y").axes[0]
    assert [text.get_text() for text in crowded.texts] == ["64"], "a name that all share is written once"
    gavs, save = (line for line in axis.lines if len(line.get_xdata()) in (1, 2) and line.get_linestyle() == ":")
    assert list(gavs.get_xdata()) == [3, 11] and list(gavs.get_ydata()) == [60, 80]
    assert gavs.get_color() == plots.SOUNDING != save.get_color()
    for wrong in (COSTS.drop(columns="sd"), COSTS[:0], COSTS.assign(x=0.0)):
        with pytest.raises(ValueError, match="expected name, family, x, y and sd"):
            plots.trade_off(wrong, "t", "x", "y")
