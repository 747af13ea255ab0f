"""The course's widgets: they show what the pure functions draw, follow their controls, and leave nothing behind."""

import io
import itertools
import statistics
import time

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from gavs_lib.course import plots, widgets
from gavs_lib.lab.evaluate import MixingDesk
from gavs_lib.lab.shipped import load_model
from gavs_lib.vggish import load_vggish
from gavs_lib.world.folder import recipes

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, size=(5, 128, 128, 3), dtype=np.uint8)
TRUTH = np.zeros((3, 5, 128, 128), dtype=bool)
for voice in range(3):
    TRUTH[voice, :, 40 * voice : 40 * voice + 30, 20:60] = True
NAMES = ["small-wood-bell", "large-glass-car", "small-metal-horn"]
SOUNDS = [np.full(16000, 0.1 * (voice + 1), dtype=np.float32) for voice in range(3)]
FEATURES = RNG.normal(size=(5, 8, 16, 16))
# Of processor time, which other programs do not lengthen; on an idle machine the answer takes as long at most.
ANSWER_SECONDS = 0.3
KEYBOARD = ipywidgets.Dropdown | ipywidgets.IntSlider | ipywidgets.FloatSlider | ipywidgets.Checkbox


@pytest.fixture
def one_thread():
    """A second thread that waits for the first would count as time spent."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def player() -> ipywidgets.VBox:
    return widgets.voice_player(FRAMES, NAMES, {"GAVS": TRUTH, "deaf twin": TRUTH[[0, 0, 0]]}, SOUNDS, 16000, TRUTH)


def explorer() -> ipywidgets.VBox:
    return widgets.mask_explorer(FRAMES, 0.7 * TRUTH[0], TRUTH[0])


def places() -> ipywidgets.VBox:
    return widgets.place_explorer(FRAMES, FEATURES)


def surgery() -> ipywidgets.VBox:
    choices = list(itertools.product((True, False), repeat=3))
    masks = {kept: np.roll(TRUTH[0], 4 * number, axis=2) for number, kept in enumerate(choices)}
    return widgets.prompt_surgery(FRAMES, masks, ["cue", "noise", "audio"], TRUTH[0])


def browser() -> ipywidgets.VBox:
    frames, names = np.stack([FRAMES, FRAMES[::-1], FRAMES]), ["drum", "bell", "drum"]
    return widgets.clip_browser(names, frames, {"GAVS": TRUTH, "deaf twin": TRUTH[[0, 0, 0]]}, TRUTH, SOUNDS, 16000)


def desk() -> ipywidgets.VBox:
    def play(levels):
        return sum(level * sound for level, sound in zip(levels, SOUNDS)), TRUTH[np.array(levels) > 0.3].any(0)

    return widgets.mixing_desk(FRAMES, NAMES, play, 16000, TRUTH)


def comparison() -> ipywidgets.VBox:
    masks = {"0-shot": TRUTH[[1, 2, 0]], "1-shot": TRUTH[[2, 0, 1]], "3-shot": TRUTH}
    return widgets.before_and_after(NAMES, np.stack([FRAMES] * 3), TRUTH, masks)


def test_choosing_a_voice_moves_the_mask_and_changes_the_sound():
    box = player()
    pictures, sounds = {box.picture.value}, {box.sound.value}
    for voice in (1, 2):
        box.voice.value = voice
        pictures.add(box.picture.value)
        sounds.add(box.sound.value)
        heard, rate = soundfile.read(io.BytesIO(box.sound.value))
        assert rate == 16000 and np.allclose(heard, SOUNDS[voice], atol=1e-4)
    assert len(pictures) == len(sounds) == 3
    box.voice.value = 0
    assert box.picture.value in pictures, "the same choice shows the same picture"


def test_the_player_shows_what_the_pure_functions_draw():
    box = player()
    box.voice.value, box.second.value = 2, 3
    shown = {"GAVS": TRUTH[2, 3], "deaf twin": TRUTH[0, 3], "truth": TRUTH[2, 3]}
    images = {name: plots.overlay(FRAMES[3], mask) for name, mask in shown.items()}
    assert box.picture.value == widgets.png(plots.pictures(images, "second 3, the small-metal-horn plays"))


def test_the_explorer_shows_what_the_pure_function_draws():
    box = explorer()
    box.second.value, box.threshold.value = 4, 0.8
    figure = plots.mask_at(FRAMES[4], 0.7 * TRUTH[0, 4], TRUTH[0, 4], 0.8, "second 4")
    assert box.picture.value == widgets.png(figure)


def test_the_explorer_needs_no_truth():
    box = widgets.mask_explorer(FRAMES, 0.7 * TRUTH[0], None)
    assert box.picture.value == widgets.png(plots.mask_at(FRAMES[0], 0.7 * TRUTH[0, 0], None, 0.5, "second 0"))


def test_the_place_explorer_shows_the_cosine_of_the_chosen_place_with_all_others():
    box = places()
    box.second.value, box.row.value, box.column.value = 3, 2, 11
    here = FEATURES[3][:, 2, 11]
    cosine = [
        [np.dot(FEATURES[3][:, r, c], here) / np.linalg.norm(FEATURES[3][:, r, c]) for c in range(16)]
        for r in range(16)
    ] / np.linalg.norm(here)
    figure = plots.similarity_map(FRAMES[3], cosine, (2, 11), "second 3, row 2, column 11")
    assert box.picture.value == widgets.png(figure)


def test_a_missing_embedding_is_named():
    with pytest.raises(ValueError, match="5 frames and 4 embeddings"):
        widgets.place_explorer(FRAMES, FEATURES[:4])


def test_each_choice_of_parts_shows_its_own_mask_as_the_pure_function_draws_it():
    box = surgery()
    seen = {box.picture.value}
    for name in ("cue", "noise", "audio"):
        getattr(box, name).value = False
        seen.add(box.picture.value)
        getattr(box, name).value = True
    assert len(seen) == 4
    box.noise.value, box.second.value = False, 3
    kept = {"cue": True, "noise": False, "audio": True}  # the third of the eight choices
    figure = plots.prompt_parts(FRAMES[3], np.roll(TRUTH[0], 8, axis=2)[3], kept, "second 3", TRUTH[0, 3])
    assert box.picture.value == widgets.png(figure)


def test_a_choice_of_parts_without_masks_is_named():
    with pytest.raises(ValueError, match=r"missing for \[\(False, False\)"):
        widgets.prompt_surgery(FRAMES, {(True, True): TRUTH[0], (True, False): TRUTH[0]}, ["cue", "audio"], TRUTH[0])


def test_the_browser_counts_the_clips_of_a_class_and_plays_the_chosen_one():
    box = browser()
    assert box.clip.options == (("bell 1", 1), ("drum 1", 0), ("drum 2", 2))
    first, shown = box.sound.value, box.picture.value
    box.clip.value = 2
    assert box.sound.value != first and box.picture.value != shown
    wave, rate = soundfile.read(io.BytesIO(box.sound.value))
    assert rate == 16000 and wave[0] == pytest.approx(0.3, abs=1e-3)
    with pytest.raises(ValueError, match="one of each for every clip; found .*'sounds': 2"):
        widgets.clip_browser(NAMES, np.stack([FRAMES] * 3), {"GAVS": TRUTH}, TRUTH, SOUNDS[:2], 16000)


def test_before_and_after_shows_the_first_model_the_chosen_one_and_the_truth():
    box = comparison()
    assert box.model.options == ("1-shot", "3-shot") and box.model.value == "3-shot"
    box.clip.value, box.model.value, box.second.value = 1, "1-shot", 4
    shown = {"0-shot": TRUTH[2, 4], "1-shot": TRUTH[0, 4], "truth": TRUTH[1, 4]}
    figure = plots.pictures(
        {name: plots.overlay(FRAMES[4], mask) for name, mask in shown.items()}, f"{NAMES[1]}, second 4"
    )
    assert box.picture.value == widgets.png(figure)


def test_before_and_after_needs_masks_for_every_clip():
    with pytest.raises(ValueError, match=r"'after': \(2, 5, 128, 128\)"):
        widgets.before_and_after(NAMES, np.stack([FRAMES] * 3), TRUTH, {"before": TRUTH, "after": TRUTH[:2]})


@pytest.mark.parametrize("make", [player, explorer, places, surgery, desk, browser, comparison])
def test_a_widget_answers_within_300_milliseconds(make):
    box = make()
    taken = []
    for second in (1, 2, 3, 4, 0):
        begun = time.process_time()
        box.second.value = second
        taken.append(time.process_time() - begun)
    assert statistics.median(taken) < ANSWER_SECONDS


@pytest.mark.parametrize("make", [player, explorer, places, surgery, desk, browser, comparison])
def test_making_a_widget_again_leaves_no_figure_and_shares_nothing(make):
    before = plt.get_fignums()
    first, second = make(), make()
    old = first.picture.value
    second.second.value = 4
    assert first.picture.value == old and first.second.value == 0
    assert len([child for child in second.children if isinstance(child, ipywidgets.Image)]) == 1
    assert plt.get_fignums() == before


@pytest.mark.parametrize("make", [player, explorer, places, surgery, desk, browser, comparison])
def test_every_control_is_one_that_the_keyboard_reaches_and_says_what_it_is(make):
    box = make()
    used = [child for child in box.children if not isinstance(child, ipywidgets.Image | ipywidgets.Audio)]
    assert used
    for control in used:
        assert isinstance(control, KEYBOARD)
        assert control.description and control.tabbable is not False


def test_sound_does_not_start_by_itself():
    assert player().sound.autoplay is False


def test_a_missing_sound_is_named():
    with pytest.raises(ValueError, match="'sounds': 2"):
        widgets.voice_player(FRAMES, NAMES, {"GAVS": TRUTH}, SOUNDS[:2], 16000)


def attention() -> ipywidgets.VBox:
    maps = {name: RNG.dirichlet(np.ones(64), size=(2, 3)).reshape(2, 3, 8, 8) for name in ("before", "after")}
    return widgets.attention_explorer(FRAMES[0], NAMES, ["layer 1", "layer 2"], maps, TRUTH[:, 0])


def test_choosing_a_layer_or_a_voice_shows_another_attention_map_and_answers_at_once():
    before = plt.get_fignums()
    box, taken = attention(), []
    pictures = {box.picture.value}
    for control, value in ((box.voice, 1), (box.voice, 2), (box.layer, 1), (box.voice, 0)):
        begun = time.process_time()
        control.value = value
        taken.append(time.process_time() - begun)
        pictures.add(box.picture.value)
    assert len(pictures) == 5
    assert statistics.median(taken) < ANSWER_SECONDS
    assert plt.get_fignums() == before


def test_the_attention_explorer_shows_what_the_pure_function_draws():
    maps = {name: RNG.dirichlet(np.ones(64), size=(2, 3)).reshape(2, 3, 8, 8) for name in ("before", "after")}
    box = widgets.attention_explorer(FRAMES[0], NAMES, ["layer 1", "layer 2"], maps, TRUTH[:, 0])
    box.layer.value, box.voice.value = 1, 2
    top = np.quantile(np.stack(list(maps.values())), 0.99) * 64
    shown = {"layer 2": np.stack([maps["before"][1, 2], maps["after"][1, 2]])}
    outlines = np.stack([TRUTH[2, 0]] * 2)
    figure = plots.attention(FRAMES[0], ["before", "after"], shown, f"The {NAMES[2]} plays", outlines, top)
    assert box.picture.value == widgets.png(figure)


def test_the_attention_explorer_wants_a_map_for_each_layer_and_voice():
    with pytest.raises(ValueError, match=r"maps of GAVS are \[1, 3, 8, 8\]; expected \[2, 3, h, w\]"):
        widgets.attention_explorer(FRAMES[0], NAMES, ["a", "b"], {"GAVS": np.ones((1, 3, 8, 8)) / 64})


def test_turning_a_voice_up_is_heard_and_seen():
    box = desk()
    heard, _ = soundfile.read(io.BytesIO(box.sound.value))
    assert np.allclose(heard, 0.1, atol=1e-4), "the first toy alone at the start"
    box.levels[2].value, box.second.value = 0.5, 3
    heard, _ = soundfile.read(io.BytesIO(box.sound.value))
    assert np.allclose(heard, 0.1 + 0.5 * 0.3, atol=1e-4)
    levels = dict(zip(NAMES, [1.0, 0.0, 0.5]))
    figure = plots.mixing(FRAMES[3], levels, (TRUTH[0] | TRUTH[2])[3], "second 3", TRUTH[:, 3])
    assert box.picture.value == widgets.png(figure)


def test_the_mixing_desk_of_a_real_clip_answers_within_300_milliseconds(one_thread):
    model, recipe = load_model("gavs")[0], next(recipes("v1m", "test", 1, seed=5))
    real = MixingDesk(model, load_vggish("mini"), recipe)

    def play(levels):
        heard, probability = real.play([levels])
        return heard[0], (probability[0] > 0.5).numpy()

    box, taken = widgets.mixing_desk(real.frames, real.names, play, 16000, real.masks), []
    for level in (0.1, 0.4, 0.7, 1.0, 0.2):
        begun = time.process_time()
        box.levels[0].value = level
        taken.append(time.process_time() - begun)
    assert statistics.median(taken[1:]) < ANSWER_SECONDS


def test_a_missing_level_is_named():
    with pytest.raises(ValueError, match="found 3 names and 2 levels"):
        widgets.mixing_desk(FRAMES, NAMES, lambda levels: None, 16000, levels=[1, 0])


READINGS = {"here": RNG.random((3, 5, 4)), "shipped": RNG.random((3, 5, 4))}
HEARD = RNG.random((3, 5, 4)) < 0.5


def ears() -> ipywidgets.VBox:
    return widgets.ear_explorer(NAMES, SOUNDS, 16000, READINGS, HEARD, ["bell", "car", "small", "large"])


def test_the_ear_explorer_plays_the_clip_and_shows_what_the_pure_function_draws():
    box = ears()
    first = box.sound.value
    box.clip.value, box.ear.value, box.second.value = 2, "shipped", 3
    heard, _ = soundfile.read(io.BytesIO(box.sound.value))
    assert box.sound.value != first and heard[0] == pytest.approx(0.3, abs=1e-3)
    figure = plots.factor_readout(
        READINGS["shipped"][2, 3], HEARD[2, 3], ["bell", "car", "small", "large"], "shipped, second 3"
    )
    assert box.picture.value == widgets.png(figure)
    for control in (box.clip, box.ear, box.second):
        assert isinstance(control, KEYBOARD) and control.description and control.tabbable is not False
    assert box.sound.autoplay is False


def test_the_ear_explorer_wants_a_reading_of_each_factor_in_each_second():
    with pytest.raises(ValueError, match=r"'here': \(3, 5, 4\).*expected 3 sounds and \[3, 5, 2\]"):
        widgets.ear_explorer(NAMES, SOUNDS, 16000, READINGS, HEARD, ["bell", "car"])


def variants() -> pd.DataFrame:
    rows = [
        (variant, classes, 0, seed, np.clip(level + 0.01 * np.arange(20), 0, 1))
        for variant, level in (("a", 0.5), ("b", 0.3), ("c", 0.1))
        for classes in ("seen", "unseen")
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows, columns=["variant", "classes", "rotation", "seed", "scores"])


def test_the_variant_explorer_shows_what_the_pure_function_draws():
    box = widgets.variant_explorer(variants(), "a", "c")
    box.second.value = "b"
    box.classes.value = "unseen"
    one, other = (np.tile(level + 0.01 * np.arange(20), 2) for level in (0.5, 0.3))
    difference = (0.2, 0.2, 0.2)
    drawn = plots.clip_by_clip(one, other, ("a", "b"), difference, "unseen classes, trainings of each: 2")
    assert box.picture.value == widgets.png(drawn)
    assert all(isinstance(control, ipywidgets.Dropdown) for control in (box.first, box.second, box.classes))


def test_the_variant_explorer_wants_two_variants_with_a_training_in_common():
    with pytest.raises(ValueError, match=r"variants \['a'\]; expected two"):
        widgets.variant_explorer(variants().query("variant == 'a'"))
    apart = variants().query("(variant == 'a' and seed == 0) or (variant == 'b' and seed == 1)")
    with pytest.raises(ValueError, match="no unit .* is shared"):
        widgets.variant_explorer(apart)
