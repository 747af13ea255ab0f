"""How the toys of the miniature world sound: one second after another, synthesised from simple physics.

A toy is family x size x material, and each factor does one thing, the same in every family (source-filter model):

    family    the excitation: struck bell partials, a drum's membrane, plucked strings, an engine, chirps, a horn
    size      the pitch: a small toy sounds 1.4 octaves above the large one (each varies by two semitones), and faster
    material  the body: how long an event rings, the tilt of the spectrum, and where the body's own modes lie

Because no rule mentions a combination, a model that has heard a large wooden drum and a small glass bell *can* know
how a large glass drum sounds. Everything random comes from the generator that is passed in.

What plays is a `Band`: the toy shop's own one is here, another one in `tapes`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import fft, signal

from gavs_lib.world.objects import Toy
from gavs_lib.world.synthesis import (
    HIGHEST_PARTIAL,
    SAMPLE_RATE,
    TABLE,
    Material,
    decaying_sines,
    draw_onsets,
    held_note,
    individual,
    look_up,
    noise_burst,
    octaves_from_700,
    one_period,
    partial_ring,
    play,
    ring_in_body,
    rms,
    slow_swing,
    spread,
    whole_seconds,
)

RMS = 0.1
LOUDNESS_RANGE_DB = 4.0
SIZE_OCTAVES = 1.4  # between the mean pitches of large and small
PITCH_RANGE_SEMITONES = 2.0
SMALL_TEMPO = 1.2  # small toys repeat this much faster

# Mean pitch of the large toy in Hz: a bell's prime, a membrane's lowest mode, an engine's firing rate, mean of a chirp.
LARGE_PITCH = {"bell": 300.0, "drum": 95.0, "guitar": 120.0, "car": 62.0, "bird": 1000.0, "horn": 165.0}

# Events per second of the large toy (lowest, highest). No gap between onsets exceeds 0.8 s: no second stays silent.
TEMPO = {
    "bell": (1.45, 1.9),
    "drum": (2.7, 4.2),
    "guitar": (2.2, 3.2),
    "car": (1.3, 1.8),
    "bird": (3.2, 4.8),
    "horn": (1.5, 2.1),
}


BODIES = {
    "wood": Material(0.27, 0.5, -4.5, (300.0, 1500.0), 5, 0.06, -6.0, 0.11),
    "metal": Material(1.4, 0.2, -0.5, (1500.0, 5000.0), 6, 0.60, -9.0, 0.48),
    "glass": Material(0.62, 0.1, 2.0, (4000.0, 7000.0), 4, 0.30, -9.0, 0.24),
}

# Church-bell partials against the prime (hum, prime, tierce, quint, nominal, and the octave family above) and levels.
_BELL_RATIOS = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 2.67, 3.0, 4.0, 5.33, 6.67, 8.1])
_BELL_LEVELS = np.array([0.5, 0.9, 0.8, 0.35, 1.0, 0.3, 0.35, 0.4, 0.45, 0.3, 0.2, 0.12])
# Zeros of the Bessel functions J_m over the first zero of J_0: the modes of an ideal circular membrane.
_DRUM_RATIOS = np.array([1.0, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501, 3.600, 4.060, 4.832, 5.412])


@dataclass(frozen=True)
class Band:
    """What plays.

    Attributes:
        pitches: mean pitch of the large toy of each family, in Hz.
        tempos: events per second of the large toy of each family (lowest, highest).
        bodies: what each material does to the sound.
        excitations: of each family, a function of (samples, pitch, tempo, material, generator) that gives the sound
            before it passes through the body, float32 [samples].
    """

    pitches: Mapping[str, float]
    tempos: Mapping[str, tuple[float, float]]
    bodies: Mapping[str, Material]
    excitations: Mapping[str, Callable[..., np.ndarray]]


def synthesize(toy: Toy, seconds: int, rng: np.random.Generator) -> np.ndarray:
    """Let one toy sound with the toy shop's voice; arguments, returns and errors are those of `play_by`."""
    return play_by(_TOYMAKER, toy, seconds, rng)


def play_by(band: Band, toy: Toy, seconds: int, rng: np.random.Generator) -> np.ndarray:
    """Let one toy sound for some seconds.

    Args:
        band: what plays.
        toy: which toy; its family, size and material decide everything but the chance of the moment.
        seconds: length, at least 1.
        rng: source of every random choice (pitch, loudness, timing, timbre); same state, same sound.

    Returns:
        float32 [seconds * 16000] in [-1, 1]; RMS 0.1 give or take 4 dB; an event begins in every whole second.

    Raises:
        ValueError: the toy has a factor this world does not know, or `seconds` is not a whole number from 1.
    """
    if toy.family not in band.pitches or toy.material not in band.bodies or toy.size not in ("small", "large"):
        raise ValueError(
            f"no sound for {toy}: expected a family of {', '.join(band.pitches)}, a size of small, large "
            f"and a material of {', '.join(band.bodies)}. Take one of gavs_lib.world.objects.TOYS."
        )
    length = whole_seconds(seconds)
    small = toy.size == "small"
    pitch = band.pitches[toy.family] * 2.0 ** (SIZE_OCTAVES * small + spread(rng, PITCH_RANGE_SEMITONES) / 12)
    tempo = rng.uniform(*band.tempos[toy.family]) * (SMALL_TEMPO if small else 1.0)
    material = individual(band.bodies[toy.material], rng)
    wave = ring_in_body(band.excitations[toy.family](length, pitch, tempo, material, rng), material, rng)
    loudness = RMS * 10 ** (spread(rng, LOUDNESS_RANGE_DB) / 20)
    wave *= loudness / rms(wave)
    peak = max(wave.max(), -wave.min())
    if peak > 0.95:
        # Rounds the few highest peaks (a stick on wood). Dividing instead would make short sounds the quieter ones.
        np.tanh(wave, out=wave)
    return wave


def background_noise(seconds: int, rng: np.random.Generator) -> np.ndarray:
    """Coloured noise of a random tilt between pink (-3 dB per octave) and white; float32 [seconds * 16000], RMS 0.1."""
    length = whole_seconds(seconds)
    bins = length // 2 + 1
    spectrum = rng.standard_normal(2 * bins, dtype=np.float32).view(np.complex64)
    spectrum *= np.exp2(-0.5 * rng.uniform(0.0, 1.0) * octaves_from_700(length)).astype(np.float32)
    spectrum[0] = 0
    noise = fft.irfft(spectrum, length)
    noise *= RMS / rms(noise)
    return noise


def reverberate(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put a sound into a random small room: the direct path and an exponentially decaying noise tail.

    The tail begins 2-8 ms after the direct sound, falls by 60 dB in 0.1-0.5 s and holds 10 dB less to as much energy.

    Args:
        wave: [samples] at 16 kHz.
        rng: source of the room.

    Returns:
        float32 [samples]: the same length (the tail is cut at the end) and the same RMS as `wave`; a single sample may
        exceed 1, so limit after mixing.

    Raises:
        ValueError: `wave` is not one-dimensional or is empty.
    """
    wave = np.asarray(wave, dtype=np.float32)
    if wave.ndim != 1 or not wave.size:
        raise ValueError(f"reverberate takes one channel, [samples]; got shape {wave.shape}. Pass channels one by one.")
    reverberation_time = rng.uniform(0.1, 0.5)
    delay = int(SAMPLE_RATE * rng.uniform(0.002, 0.008))
    tail = rng.standard_normal(int(SAMPLE_RATE * reverberation_time), dtype=np.float32)
    tail *= np.exp(-np.log(1000.0) / tail.size * np.arange(tail.size)).astype(np.float32)
    tail *= 10 ** (rng.uniform(-10.0, 0.0) / 20) / np.sqrt(np.sum(tail**2))
    room = np.concatenate([np.ones(1, np.float32), np.zeros(delay, np.float32), tail])
    wet = signal.fftconvolve(wave, room)[: wave.size].astype(np.float32, copy=False)
    wet *= rms(wave) / max(rms(wet), 1e-12)
    return wet


# ---- families: the excitation, float32 [length] ----------------------------------------------------------------------


def _bell(length, pitch, tempo, material, rng):
    """A clapper strikes inharmonic partials; every partial is a doublet, since no bell is perfectly round."""
    span = int(SAMPLE_RATE * min(1.7, 1.1 * material.ring + 0.05))
    templates = []
    tuning = _BELL_RATIOS * 2.0 ** spread(rng, 0.02, _BELL_RATIOS.size)
    for _ in range(2):
        frequency = pitch * np.concatenate([tuning, tuning * (1 + rng.uniform(0.001, 0.004, tuning.size))])
        level = np.tile(_BELL_LEVELS, 2) * rng.uniform(0.4, 1.2, frequency.size)
        level[tuning.size :] *= 0.4
        tone = decaying_sines(
            frequency, partial_ring(frequency, material), level, 2 * np.pi * rng.random(level.size), span
        )
        burst = noise_burst(480, 0.003, rng)
        tone[:480] += rng.uniform(0.3, 0.8) * burst[: tone[:480].size]
        templates.append(tone)
    onsets = draw_onsets(length, tempo, 0.08, rng)
    return play(templates, rng.integers(0, 2, onsets.size), onsets, rng.uniform(0.65, 1.0, onsets.size), length)


def _drum(length, pitch, tempo, material, rng):
    """A stick on a round membrane: its modes, and a burst of noise, in a rhythm with accents."""
    span = int(SAMPLE_RATE * min(1.2, 0.7 * material.ring + 0.1))
    tuning = pitch * _DRUM_RATIOS * 2.0 ** spread(rng, 0.015, _DRUM_RATIOS.size)
    templates = []
    for _ in range(3):
        # A membrane radiates well: its higher modes die much faster than its lowest.
        ring = 0.6 * partial_ring(tuning, material) * _DRUM_RATIOS**-0.7
        level = _DRUM_RATIOS**-0.8 * rng.uniform(0.3, 1.2, tuning.size)
        tone = 0.5 * decaying_sines(tuning, ring, level, 2 * np.pi * rng.random(level.size), span)
        burst = noise_burst(min(span, 2400), rng.uniform(0.012, 0.03), rng)
        tone[: burst.size] += rng.uniform(0.5, 0.9) * burst
        templates.append(tone)
    onsets = draw_onsets(length, tempo, 0.12, rng)
    accents = rng.uniform(0.45, 1.0, 4)[np.arange(onsets.size) % 4]
    order = rng.integers(0, 3, 4)[np.arange(onsets.size) % 4]
    return play(templates, order, onsets, accents * rng.uniform(0.85, 1.0, onsets.size), length)


def _guitar(length, pitch, tempo, material, rng):
    """Plucked strings in a short repeated pattern: Karplus and Strong's string (1983), written as its poles.

    Their loop y[n] = x[n] + g (y[n - N] + y[n - N - 1]) / 2 has one slowly decaying sinusoid at each harmonic f, which
    shrinks by g cos(pi f / sample rate) per period: summing those is the same string, and faster than the loop.
    """
    notes = pitch * 2.0 ** (rng.permutation([-3.5, -1.5, 0.5, 3.5]) / 12)
    span = int(SAMPLE_RATE * min(1.2, 1.2 * material.ring + 0.1))
    pluck = rng.uniform(0.12, 0.3)
    templates = []
    for note in notes:
        harmonic = np.arange(1, max(2, min(40, int(HIGHEST_PARTIAL / note))) + 1)
        frequency = note * harmonic * np.sqrt(1 + 2e-4 * harmonic**2)  # stiffness sharpens the upper ones
        loop = note * -np.log(np.cos(np.pi * np.minimum(frequency, 7900.0) / SAMPLE_RATE)) / np.log(1000.0)
        ring = 1 / (1 / (1.2 * partial_ring(frequency, material)) + loop)
        level = np.abs(np.sin(np.pi * pluck * harmonic)) / harmonic**0.9 * rng.uniform(0.6, 1.3, harmonic.size)
        tone = decaying_sines(frequency, ring, level, 2 * np.pi * rng.random(harmonic.size), span)
        burst = noise_burst(320, 0.002, rng)
        tone[:320] += 0.4 * burst
        templates.append(tone)
    onsets = draw_onsets(length, tempo, 0.06, rng)
    order = rng.integers(0, 4, 6)[np.arange(onsets.size) % 6]
    return play(templates, order, onsets, rng.uniform(0.6, 1.0, onsets.size), length)


def _car(length, pitch, tempo, material, rng):
    """A four-cylinder engine: unequal firings at a slowly wandering rate, throttle swells, and rumble between them."""
    swell = slow_swing(spread(rng, 1.0, max(4, int(length / SAMPLE_RATE * tempo * 2))), length)
    rate = pitch * np.exp2(swell * 0.09)
    phase = np.cumsum(rate / (4 * SAMPLE_RATE), dtype=np.float64) + rng.random()  # one turn of the table: four firings
    order = np.arange(1, int(min(TABLE // 4, 4 * HIGHEST_PARTIAL / (pitch * 1.07))) + 1)
    firing = order / 4
    level = np.exp(-firing / rng.uniform(7.0, 12.0)) / np.sqrt(0.5 + firing)
    level *= np.where(order % 4 == 0, 1.0, rng.uniform(0.15, 0.4)) * rng.uniform(0.5, 1.4, order.size)
    engine = look_up(one_period(level, rng), phase)
    breath = signal.lfilter([0.12], [1, -0.88], rng.standard_normal(length, dtype=np.float32)).astype(np.float32)
    puff = np.cos(2 * np.pi * np.arange(TABLE) * 4 / TABLE).astype(np.float32) * 0.5 + 0.5
    breath *= look_up(puff**2, phase)
    level = 1 + 0.35 * swell
    return level * (engine + np.float32(rng.uniform(0.5, 1.0)) * breath)


def _bird(length, pitch, tempo, material, rng):
    """Chirps: tones that sweep and warble, three kinds in a repeated song, with a breath of noise."""
    onsets = draw_onsets(length, tempo, 0.15, rng)
    templates = []
    for _ in range(3):
        sounding = int(SAMPLE_RATE * rng.uniform(0.07, 0.14))
        release = int(SAMPLE_RATE * min(0.3, material.release))
        time = np.arange(sounding + release, dtype=np.float32)
        sweep = rng.uniform(0.15, 0.3) * rng.choice([-1.0, 1.0])
        bend = rng.uniform(-0.12, 0.12)
        part = time / sounding
        octaves = sweep * (np.minimum(part, 1.3) - 0.5) + bend * np.cos(2 * np.pi * np.minimum(part, 1.3))
        octaves += 0.05 * np.sin(2 * np.pi * rng.uniform(25, 45) / SAMPLE_RATE * time)
        phase = np.cumsum(pitch * np.exp2(octaves) / SAMPLE_RATE, dtype=np.float64) + rng.random()
        harmonics = np.array([1.0, rng.uniform(0.15, 0.4), rng.uniform(0.05, 0.2), rng.uniform(0.02, 0.1)])
        tone = look_up(one_period(harmonics[: max(1, int(HIGHEST_PARTIAL / (pitch * 1.3)))], rng), phase)
        tone += np.float32(rng.uniform(0.05, 0.12)) * rng.standard_normal(time.size, dtype=np.float32)
        templates.append(tone * held_note(sounding, release, 0.015, material))
    order = rng.integers(0, 3, 5)[np.arange(onsets.size) % 5]
    return play(templates, order, onsets, rng.uniform(0.6, 1.0, onsets.size), length)


def _horn(length, pitch, tempo, material, rng):
    """Blown notes: soft attack, vibrato, and brass that brightens as it grows louder."""
    onsets = draw_onsets(length, tempo, 0.08, rng)
    loudness = np.zeros(length, np.float32)
    rate = np.full(length, pitch)
    melody = pitch * 2.0 ** (rng.choice([-3.5, -1.5, 0.5, 2.5, 3.5], onsets.size) / 12)
    ends = np.append(onsets[1:], length + int(0.1 * SAMPLE_RATE))
    for onset, end, note in zip(onsets, ends, melody, strict=True):
        gap = end - onset
        sounding = int(min(gap, 0.7 * SAMPLE_RATE) * rng.uniform(0.62, 0.85))
        hold = held_note(sounding, gap - sounding, rng.uniform(0.05, 0.09), material)[: length - onset]
        loudness[onset : onset + hold.size] = rng.uniform(0.75, 1.0) * hold
        rate[onset:end] = note
    time = np.arange(length, dtype=np.float32)
    vibrato = np.sin(2 * np.pi * rng.uniform(4.5, 6.5) / SAMPLE_RATE * time + np.float32(2 * np.pi * rng.random()))
    phase = np.cumsum(rate * (1 + rng.uniform(0.004, 0.012) * vibrato) / SAMPLE_RATE, dtype=np.float64) + rng.random()
    harmonic = np.arange(1, int(HIGHEST_PARTIAL / (pitch * 1.25)) + 1)
    formant = np.exp(-harmonic / rng.uniform(4.0, 6.5)) * rng.uniform(0.6, 1.3, harmonic.size)
    mellow = look_up(one_period(formant * harmonic**-1.0, rng), phase)
    brassy = look_up(one_period(formant * harmonic**0.3, rng), phase)
    breath = np.float32(rng.uniform(0.02, 0.05)) * rng.standard_normal(length, dtype=np.float32)
    return loudness * (mellow + loudness * brassy + breath)


_TOYMAKER = Band(
    pitches=LARGE_PITCH,
    tempos=TEMPO,
    bodies=BODIES,
    excitations={"bell": _bell, "drum": _drum, "guitar": _guitar, "car": _car, "bird": _bird, "horn": _horn},
)
