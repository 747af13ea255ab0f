"""The second style of the world: another hand, other instruments, and each factor still means what it meant."""

import numpy as np
import pytest
from scipy import signal

from gavs_lib.world.folder import fingerprint, recipe
from gavs_lib.world.objects import AREA, FAMILIES, MATERIALS, SIZES, TOYS, Toy, draw_toy
from gavs_lib.world.scenes import STYLES, PlacedToy, Scene, mix, render_frames, sample_scene, with_off_screen
from gavs_lib.world.sketches import paper, sketch_toy
from gavs_lib.world.sounds import synthesize
from gavs_lib.world.synthesis import SAMPLE_RATE
from gavs_lib.world.tapes import PITCHES, hall, hiss, play_on_tape, record

SECONDS = 3


def test_the_toy_shop_is_the_one_that_everything_was_trained_in():
    assert fingerprint() == fingerprint("shop") == "ec142d39e157b599"
    assert fingerprint("sketchbook") != fingerprint()


def test_a_scene_is_of_the_toy_shop_unless_it_says_otherwise():
    first = recipe("v1s", "test", 3).scene
    assert first.style == "shop" and recipe("v1s", "test", 3, style="sketchbook").scene.style == "sketchbook"
    assert first.playing(0).style == "shop"
    twin = recipe("v1s", "test", 3, style="sketchbook").scene
    assert twin.playing(None).style == with_off_screen(twin, np.random.default_rng(0)).style == "sketchbook"


def test_the_same_toy_looks_and_sounds_otherwise_in_each_style():
    for toy in TOYS[::5]:
        shop, twin = (STYLES[name] for name in ("shop", "sketchbook"))
        a, b = (style.toy(toy, np.random.default_rng(3), 128) for style in (shop, twin))
        assert a.shape != b.shape
        a, b = (style.voice(toy, 1, np.random.default_rng(3)) for style in (shop, twin))
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.5
    assert np.array_equal(shop.toy(toy, np.random.default_rng(3), 128), draw_toy(toy, np.random.default_rng(3)))
    assert np.array_equal(shop.voice(toy, 1, np.random.default_rng(3)), synthesize(toy, 1, np.random.default_rng(3)))


def test_an_unknown_style_is_named_with_those_there_are():
    place = PlacedToy(TOYS[0], 10, 10, 1)
    for make in (
        lambda: Scene((place,), ((True,),), 0, 20.0, False, style="cartoon"),
        lambda: sample_scene(np.random.default_rng(0), "v1s", TOYS, style="cartoon"),
        lambda: recipe("v1s", "test", 0, style="cartoon"),
        lambda: fingerprint("cartoon"),
    ):
        with pytest.raises(ValueError, match="style is 'cartoon'; the world has shop, sketchbook"):
            make()


# ---- drawings --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sketches():
    rng = np.random.default_rng(11)
    return [(toy, sketch_toy(toy, rng)) for toy in TOYS for _ in range(8)]


def mask_of(sprite):
    return sprite[..., 3] >= 128


def nearest(train, labels, test):
    """Label of the nearest class mean, features standardised on the training rows."""
    labels = np.array(labels)
    mean, deviation = train.mean(0), train.std(0) + 1e-9
    names = sorted(set(labels))
    centroids = np.stack([((train - mean) / deviation)[labels == name].mean(0) for name in names])
    return np.array(names)[((((test - mean) / deviation)[:, None] - centroids) ** 2).sum(-1).argmin(1)]


def test_area_stays_within_the_range_of_its_size(sketches):
    for toy, sprite in sketches:
        low, high = AREA[toy.size]
        assert low <= mask_of(sprite).sum() / 128**2 <= high, toy.name
        assert sprite.dtype == np.uint8 and (sprite[..., 3] == 255).sum() > 0.6 * mask_of(sprite).sum(), toy.name


def test_size_changes_the_scale_and_nothing_else():
    for family in FAMILIES:
        for material in MATERIALS:
            small, large = (sketch_toy(Toy(family, size, material), np.random.default_rng(5)) for size in SIZES)
            grid = (np.arange(48) + 0.5) / 48
            masks = [
                mask_of(s)[np.ix_((grid * s.shape[0]).astype(int), (grid * s.shape[1]).astype(int))]
                for s in (small, large)
            ]
            overlap = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
            assert overlap > 0.75, (family, material, overlap)
            colours = [s[mask_of(s)][:, :3].mean(0) for s in (small, large)]
            assert np.abs(colours[0] - colours[1]).max() < 25, (family, material, colours)


def test_family_is_read_from_the_silhouette_in_the_other_size(sketches):
    def moments(sprite):
        y, x = np.nonzero(mask_of(sprite))
        n = len(x)
        x, y = (x - x.mean()) / n**0.5, (y - y.mean()) / n**0.5
        even = [np.mean(x**p * y**q) for p, q in ((2, 0), (0, 2), (0, 3), (2, 1), (4, 0), (2, 2), (0, 4))]
        odd = [abs(np.mean(x**p * y**q)) for p, q in ((1, 1), (3, 0), (1, 2))]  # their sign turns with the mirror image
        return np.array([*even, *odd, n / sprite[..., 3].size])

    features = np.array([moments(sprite) for _, sprite in sketches])
    families, sizes = (np.array([getattr(toy, name) for toy, _ in sketches]) for name in ("family", "size"))
    for size in SIZES:
        known = sizes != size
        answer = nearest(features[known], families[known], features[~known])
        assert np.mean(answer == families[~known]) >= 0.7  # chance: 1/6


def test_material_is_read_from_colour_by_who_knows_other_families_or_the_toy_shop_only(sketches):
    def statistics(sprite):
        inside = sprite[mask_of(sprite)][:, :3].astype(float)
        red, green, blue = inside.T
        grey = inside.mean(1)
        return np.array([(red - blue).mean(), (green - red).mean(), grey.mean(), grey.std()])

    features = np.array([statistics(sprite) for _, sprite in sketches])
    materials, families = (np.array([getattr(toy, name) for toy, _ in sketches]) for name in ("material", "family"))
    right = []
    for family in FAMILIES:
        known = families != family
        right.append(np.mean(nearest(features[known], materials[known], features[~known]) == materials[~known]))
    assert np.mean(right) >= 0.7, right  # chance: 1/3

    rng = np.random.default_rng(12)
    shop = np.array([statistics(draw_toy(toy, rng)) for toy, _ in sketches])
    assert 0.6 <= np.mean(nearest(shop, materials, features) == materials) <= 0.95


def test_the_same_generator_state_draws_the_same_sketch_and_paper():
    for draw in (lambda rng: sketch_toy(TOYS[7], rng), lambda rng: paper(rng, 128)):
        once, again, other = (draw(np.random.default_rng(seed)) for seed in (3, 3, 4))
        assert np.array_equal(once, again)
        assert once.shape != other.shape or not np.array_equal(once, other)
    assert paper(np.random.default_rng(0), 96).shape == (96, 96, 3)


# ---- sounds ----------------------------------------------------------------------------------------------------------


def test_a_sound_is_float32_in_range_and_clear_in_every_second():
    for toy in TOYS:
        wave = play_on_tape(toy, SECONDS, np.random.default_rng(1))
        assert wave.dtype == np.float32 and wave.shape == (SECONDS * SAMPLE_RATE,) and np.abs(wave).max() <= 1
        seconds = np.sqrt(np.mean(wave.reshape(SECONDS, -1).astype(float) ** 2, axis=1))
        assert 0.055 <= np.sqrt(np.mean(seconds**2)) <= 0.16, toy.name
        assert seconds.min() >= 0.3 * np.sqrt(np.mean(seconds**2)), toy.name


def test_small_lies_more_than_an_octave_above_large():
    """The longest period of a horn, the one family with a steady tone, by autocorrelation of one second."""

    def pitch(size, seed):
        wave = play_on_tape(Toy("horn", size, "metal"), 1, np.random.default_rng(seed)).astype(float)
        wave = signal.sosfilt(signal.butter(4, 1000, output="sos", fs=SAMPLE_RATE), wave)
        same = np.fft.irfft(np.abs(np.fft.rfft(wave, 2 * wave.size)) ** 2)[:400]
        first = 20 + np.argmax(same[20:200] > 0.8 * same[20:200].max())
        return np.log2(SAMPLE_RATE / (first + np.argmax(same[first : first + 12])))

    small, large = (np.median([pitch(size, seed) for seed in range(12)]) for size in SIZES)
    assert 1.0 < small - large < 1.8
    assert large == pytest.approx(np.log2(PITCHES["horn"]), abs=0.35)


def test_metal_rings_longest_and_wood_is_dull_in_every_struck_family():
    def ring(wave):
        """How slowly the level falls: the median fall of 20 ms frames that fall, in dB, sign turned."""
        level = 10 * np.log10(np.mean(wave.reshape(-1, 320).astype(float) ** 2, axis=1) + 1e-9)
        steps = np.diff(level[level > level.max() - 60])
        return np.median(steps[steps < 0])

    def brightness(wave):
        power = np.abs(np.fft.rfft(wave)) ** 2
        return (power * np.arange(power.size)).sum() / power.sum()

    for family in ("bell", "drum", "guitar"):
        for size in SIZES:
            voices = {
                material: [play_on_tape(Toy(family, size, material), 2, np.random.default_rng(s)) for s in range(6)]
                for material in MATERIALS
            }
            rings = {material: np.median([ring(wave) for wave in waves]) for material, waves in voices.items()}
            assert rings["wood"] < rings["glass"] < rings["metal"], (family, size, rings)
            bright = {material: np.median([brightness(wave) for wave in waves]) for material, waves in voices.items()}
            assert bright["wood"] < bright["metal"] < bright["glass"], (family, size, bright)


def test_the_tape_keeps_its_band_and_the_length():
    noise = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE).astype(np.float32) * 0.05
    kept = record(noise, np.random.default_rng(1))
    assert kept.dtype == np.float32 and kept.shape == noise.shape
    frequency, before = signal.welch(noise, SAMPLE_RATE, nperseg=1024)
    _, after = signal.welch(kept, SAMPLE_RATE, nperseg=1024)
    gain = 10 * np.log10(after / before)
    assert np.median(gain[(frequency > 7200) & (frequency < 7900)]) < -8  # the recorder's edge lies at 6200 Hz
    assert np.median(gain[(frequency > 300) & (frequency < 2000)]) > -1.5
    assert gain[(frequency > 10) & (frequency < 40)].mean() < -6
    assert not record(np.zeros(1000, np.float32), np.random.default_rng(0)).any()


def test_the_hall_keeps_length_and_level_and_leaves_silence_silent():
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[100] = 1
    for seed in range(5):
        wet = hall(click, np.random.default_rng(seed))
        assert wet.dtype == np.float32 and wet.shape == click.shape
        assert np.sum(wet**2) == pytest.approx(1, rel=1e-3)
        assert np.argmax(np.abs(wet)) == 100 and np.abs(wet[:100]).max() < 1e-4
    assert not hall(np.zeros(1000, np.float32), np.random.default_rng(0)).any()


def test_an_empty_tape_hums_at_the_mains_frequency_and_hisses():
    noise = hiss(2, np.random.default_rng(0))
    assert noise.dtype == np.float32 and noise.shape == (2 * SAMPLE_RATE,)
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(0.1, rel=1e-3)
    power = np.abs(np.fft.rfft(noise)) ** 2  # two bins a hertz
    assert all(power[100 * k] > 50 * np.median(power) for k in (1, 2, 3))
    with pytest.raises(ValueError, match="whole number"):
        hiss(1.5, np.random.default_rng(0))


def test_a_mixed_scene_of_the_twin_holds_its_toy_and_stays_in_range():
    scene = recipe("v1s", "test", 2, style="sketchbook").scene
    heard, quiet = mix(scene), mix(scene.playing(None))
    assert np.abs(heard).max() <= 1 and np.sqrt((heard**2).mean()) > 1.5 * np.sqrt((quiet**2).mean())
    assert np.array_equal(render_frames(scene).frames, render_frames(scene.playing(None)).frames)
