"""The toys' voices: what every sound keeps, and that each factor can be heard, also where it was never learned."""

import hashlib
import time

import numpy as np
import pytest
from scipy import signal

from gavs_lib.world.objects import FAMILIES, MATERIALS, SIZES, TOYS, Toy
from gavs_lib.world.sounds import SAMPLE_RATE, background_noise, reverberate, synthesize

SECONDS = 5


# ---- hand-written descriptors: what a listener would say, in numbers -------------------------------------------------


def describe(wave):
    """Dictionary of descriptors of a sound: float32 [samples] at 16 kHz, at least one second."""
    frequency, _, stft = signal.stft(wave, SAMPLE_RATE, nperseg=512, noverlap=352, boundary=None)
    power = np.abs(stft.astype(np.complex64)) ** 2 + 1e-12  # [257, frames], a frame every 10 ms
    spectrum = power.mean(1)
    share = spectrum / spectrum.sum()
    energy = power.sum(0)
    level = 10 * np.log10(np.maximum(energy, energy.max() * 1e-6))
    loud = energy > np.percentile(energy, 60)
    found = {}

    def between(low, high):
        return share[(frequency >= low) & (frequency < high)].sum()

    found["centroid"] = np.log2((share * frequency).sum())
    found["spread"] = np.log2(np.sqrt((share * (frequency - (share * frequency).sum()) ** 2).sum()))
    for low, high in ((0, 200), (200, 600), (600, 1500), (1500, 4000), (4000, 8000)):
        found[f"share {low}-{high}"] = np.log10(between(low, high) + 1e-4)
    cumulated = np.cumsum(share)
    found["rolloff"] = np.log2(frequency[np.searchsorted(cumulated, 0.85)] + 30)
    found["flatness"] = np.log10(np.exp(np.log(spectrum).mean()) / spectrum.mean())
    # Lines that stand out of their surroundings: modes and partials, not noise.
    decibel = 10 * np.log10(spectrum)
    found["peakiness"] = np.mean(np.abs(decibel - signal.medfilt(decibel, 9)))
    for low, high in ((1500, 4000), (4000, 7200)):
        band = decibel[(frequency >= low) & (frequency < high)]
        found[f"lines {low}-{high}"] = np.percentile(band, 97) - np.median(band)

    # Rise and fall of the level, in the whole and in two bands.
    steps = np.diff(level)
    found["attack"] = np.percentile(steps, 97)
    found["range"] = np.percentile(level, 95) - np.percentile(level, 10)
    for low, high in ((0, 1500), (1500, 4000), (4000, 7200)):
        band = power[(frequency >= low) & (frequency < high)].sum(0)
        band = 10 * np.log10(np.maximum(band, band.max() * 1e-6))
        falling = np.diff(band)
        found[f"decay {low}"] = np.log2(np.median(-falling[falling < 0]) + 0.02)
        found[f"range {low}"] = np.percentile(band, 95) - np.percentile(band, 15)
    flux = np.maximum(np.diff(10 * np.log10(power + 1e-9), axis=1), 0).mean(0)
    onsets, _ = signal.find_peaks(flux, height=flux.mean() + 1.5 * flux.std(), distance=12)
    found["onset rate"] = onsets.size / (wave.size / SAMPLE_RATE)
    found["onset strength"] = np.log2(flux.max() / np.median(flux))
    # Tempo by the envelope's own periodicity, between one and seven events a second.
    envelope = level - level.mean()
    periodicity = np.fft.irfft(np.abs(np.fft.rfft(envelope, 2048)) ** 2)[:100] / (envelope @ envelope)
    found["tempo"] = np.log2(100 / (14 + np.argmax(periodicity[14:])))
    found["roughness"] = np.log2(np.std(steps) + 0.05)

    # Pitch and harmonicity of 64 ms windows where it is loud, by autocorrelation; how the strongest line moves.
    starts = np.flatnonzero(loud)[:: max(1, loud.sum() // 60)] * 160
    starts = starts[starts + 1024 <= wave.size]
    windows = wave[starts[:, None] + np.arange(1024)] * np.hanning(1024).astype(np.float32)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(windows, 2048)) ** 2)[:, :512]
    correlation /= (
        correlation[:, :1] * np.fft.irfft(np.abs(np.fft.rfft(np.hanning(1024), 2048)) ** 2)[None, :512] + 1e-9
    )
    correlation /= correlation[:, :1]
    best = correlation[:, 4:320].max(1)
    lag = 4 + np.argmax(correlation[:, 4:320] > 0.9 * best[:, None], axis=1)
    found["harmonicity"] = np.median(best)
    found["pitch"] = np.median(np.log2(SAMPLE_RATE / lag))
    found["pitch movement"] = np.log2(np.std(np.log2(SAMPLE_RATE / lag)) + 0.02)
    strongest = np.log2(frequency[3 + power[3:, loud].argmax(0)])
    found["strongest line"] = np.median(strongest)
    found["line movement"] = np.log2(np.mean(np.minimum(np.abs(np.diff(strongest)), 0.3)) + 0.005)
    lowest = frequency[3 + np.argmax(spectrum[3:] > 0.05 * spectrum[3:].max())]
    found["lowest line"] = np.log2(lowest)
    return found


def individuals(count, seed):
    """Descriptors [36 * count, descriptors] and toys of `count` fresh individuals of every toy."""
    toys = [toy for toy in TOYS for _ in range(count)]
    rng = np.random.default_rng(seed)
    return np.array([list(describe(synthesize(toy, SECONDS, rng)).values()) for toy in toys]), toys


def nearest(train, labels, test):
    """Label of the nearest centroid, descriptors standardised by their spread inside the classes."""
    classes = sorted(set(labels))
    members = [train[[label == name for label in labels]] for name in classes]
    spread = np.sqrt(np.mean([rows.var(0) for rows in members], axis=0))
    centroids = np.stack([rows.mean(0) for rows in members])
    distance = (((test[:, None] - centroids) / spread) ** 2).sum(2)
    return [classes[k] for k in distance.argmin(1)]


@pytest.fixture(scope="module")
def heard():
    return individuals(8, seed=1), individuals(4, seed=2)


def test_family_is_recovered_by_the_nearest_of_six_centroids(heard):
    (train, known), (test, toys) = heard
    answer = nearest(train, [toy.family for toy in known], test)
    assert np.mean([a == toy.family for a, toy in zip(answer, toys)]) >= 0.9


@pytest.mark.parametrize("factor, least", [("family", 0.95), ("size", 0.85), ("material", 0.85)])
def test_every_factor_is_recovered_by_the_nearest_of_thirty_six_centroids(heard, factor, least):
    (train, known), (test, toys) = heard
    answer = nearest(train, [toy.name for toy in known], test)
    right = [getattr(Toy.from_name(a), factor) == getattr(toy, factor) for a, toy in zip(answer, toys)]
    assert np.mean(right) >= least


def test_material_is_heard_on_average_in_families_it_was_never_learned_on(heard):
    (train, known), (test, toys) = heard
    right = {}
    for family in FAMILIES:
        others = np.array([toy.family != family for toy in known])
        left_out = np.array([toy.family == family for toy in toys])
        answer = nearest(train[others], [toy.material for toy in known if toy.family != family], test[left_out])
        right[family] = np.mean([a == toy.material for a, toy in zip(answer, (t for t in toys if t.family == family))])
    assert np.mean(list(right.values())) >= 0.6, right  # chance: 1/3


def test_size_is_heard_in_combinations_it_was_never_learned_on(heard):
    (train, known), (test, toys) = heard
    right = []
    for material in MATERIALS:
        others = np.array([toy.material != material for toy in known])
        left_out = np.array([toy.material == material for toy in toys])
        labels = [(toy.family, toy.size) for toy in known if toy.material != material]
        answer = nearest(train[others], labels, test[left_out])
        right += [a[1] == toy.size for a, toy in zip(answer, (t for t in toys if t.material == material))]
    assert np.mean(right) >= 0.65  # chance: 1/2


# ---- what is promised of every sound ---------------------------------------------------------------------------------


@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.name)
def test_a_sound_is_float32_in_range_and_clear_in_every_second(toy):
    for seed in range(3):
        wave = synthesize(toy, SECONDS, np.random.default_rng(seed))
        assert wave.dtype == np.float32 and wave.shape == (SECONDS * SAMPLE_RATE,)
        assert np.abs(wave).max() <= 1
        seconds = np.sqrt(np.mean(wave.reshape(SECONDS, -1).astype(float) ** 2, axis=1))
        whole = np.sqrt(np.mean(seconds**2))
        # 0.1 +- 4 dB is 0.063 to 0.158; rounding the highest peaks of the shortest sounds takes a little away.
        assert 0.055 <= whole <= 0.16
        assert seconds.min() >= 0.3 * whole


def test_loudness_varies_by_several_decibels():
    toy = Toy("horn", "large", "wood")
    level = [20 * np.log10(np.std(synthesize(toy, 1, np.random.default_rng(seed)))) for seed in range(30)]
    assert 4 <= max(level) - min(level) <= 8.5


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "car"])
def test_events_begin_in_every_second(family):
    """Level of 20 ms frames: in every second it rises by 3 dB or more within 80 ms, or climbs from its quiet start."""
    for size in SIZES:
        for seed in range(5):
            wave = synthesize(Toy(family, size, "wood"), SECONDS, np.random.default_rng(seed))
            level = 10 * np.log10(np.mean(wave.reshape(SECONDS, 50, 320) ** 2, axis=2) + 1e-7)
            rise = np.max(level[:, 4:] - level[:, :-4], axis=1)
            assert rise.min() >= 3, (family, size, seed, rise)


def test_small_lies_more_than_an_octave_above_large():
    """The longest period of a horn, the one family with a steady tone, by autocorrelation of one second."""

    def pitch(size, seed):
        wave = synthesize(Toy("horn", size, "metal"), 1, np.random.default_rng(seed)).astype(float)
        wave = signal.sosfilt(signal.butter(4, 1200, output="sos", fs=SAMPLE_RATE), wave)
        same = np.fft.irfft(np.abs(np.fft.rfft(wave, 2 * wave.size)) ** 2)[:400]
        first = 20 + np.argmax(same[20:160] > 0.8 * same[20:160].max())
        return np.log2(SAMPLE_RATE / (first + np.argmax(same[first : first + 12])))

    small, large = (np.median([pitch(size, seed) for seed in range(12)]) for size in ("small", "large"))
    assert 1.0 < small - large < 1.8


def test_nothing_folds_back_at_the_nyquist_frequency():
    for toy in TOYS:
        spectrum = np.abs(np.fft.rfft(synthesize(toy, 1, np.random.default_rng(3)))) ** 2
        assert spectrum[7850:].sum() < 1e-3 * spectrum.sum(), toy.name


def test_same_generator_state_same_sound_other_state_another_individual():
    for toy in TOYS[::5]:
        once, again, other = (synthesize(toy, 2, np.random.default_rng(seed)) for seed in (7, 7, 8))
        assert np.array_equal(once, again)
        assert abs(np.corrcoef(once, other)[0, 1]) < 0.5


def test_all_thirty_six_toys_sound_different_from_one_seed():
    prints = {hashlib.sha256(synthesize(toy, 1, np.random.default_rng(0)).tobytes()).hexdigest() for toy in TOYS}
    assert len(prints) == len(TOYS)


def test_background_noise_is_between_white_and_pink():
    tilts = []
    for seed in range(20):
        noise = background_noise(2, np.random.default_rng(seed))
        assert noise.dtype == np.float32 and noise.shape == (2 * SAMPLE_RATE,)
        assert np.std(noise) == pytest.approx(0.1, rel=0.01)
        frequency, density = signal.welch(noise, SAMPLE_RATE, nperseg=1024)
        inner = (frequency > 200) & (frequency < 7000)
        tilts.append(np.polyfit(np.log2(frequency[inner]), 10 * np.log10(density[inner]), 1)[0])
    assert -3.5 < min(tilts) < -1.8 and -1.2 < max(tilts) < 0.5  # dB per octave: pink -3, white 0


def test_reverberation_keeps_length_level_and_the_direct_path():
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[100] = 1
    for seed in range(10):
        wet = reverberate(click, np.random.default_rng(seed))
        assert wet.dtype == np.float32 and wet.shape == click.shape
        assert np.sum(wet**2) == pytest.approx(1, rel=1e-3)
        assert np.argmax(np.abs(wet)) == 100 and wet[100] > 0.5  # tail energy at most the direct one's: 1/sqrt(2)
        assert np.abs(wet[:100]).max() < 1e-4  # nothing before the sound
        assert np.abs(wet[100 + 8200 :]).max() < 1e-4  # over after half a second


def test_reverberation_leaves_silence_silent():
    assert not reverberate(np.zeros(1000, np.float32), np.random.default_rng(0)).any()


@pytest.mark.parametrize("seconds", [0, -1, 1.5])
def test_a_length_that_is_no_whole_second_is_refused(seconds):
    for make in (lambda rng: synthesize(TOYS[0], seconds, rng), lambda rng: background_noise(seconds, rng)):
        with pytest.raises(ValueError, match="whole number"):
            make(np.random.default_rng(0))


def test_reverberation_refuses_two_channels():
    with pytest.raises(ValueError, match=r"\(2, 100\)"):
        reverberate(np.zeros((2, 100), np.float32), np.random.default_rng(0))


def test_five_seconds_take_milliseconds():
    """About 5 ms each on one core; the bound leaves room for a busy machine."""
    rng = np.random.default_rng(0)
    for toy in TOYS:
        synthesize(toy, SECONDS, rng)
    start = time.process_time()
    for toy in TOYS:
        synthesize(toy, SECONDS, rng)
    assert (time.process_time() - start) / len(TOYS) < 0.03
