"""The same toys played by other instruments, on an old tape. The sounds of the twin (`sketches` has its pictures).

The factors keep their meaning: the family is the excitation, the size is pitch and tempo, the material is ring, tilt
and body. Everything else differs from the toy shop: the same kinds of instrument are built otherwise (a bar for a bell,
two skins for a drum, a banjo, an engine of two cylinders, a whistling chick, a reed for a horn) and tuned otherwise,
their bodies are other pieces of wood, metal and glass, the room is larger, and a tape recorder lies over everything.
"""

import numpy as np
from scipy import fft, signal

from gavs_lib.world.objects import Toy
from gavs_lib.world.sounds import RMS, Band, play_by
from gavs_lib.world.synthesis import (
    HIGHEST_PARTIAL,
    SAMPLE_RATE,
    TABLE,
    Material,
    decaying_sines,
    draw_onsets,
    held_note,
    look_up,
    noise_burst,
    one_period,
    partial_ring,
    play,
    rms,
    slow_swing,
    spread,
    whole_seconds,
)

PITCHES = {"bell": 356.0, "drum": 80.0, "guitar": 143.0, "car": 52.0, "bird": 1190.0, "horn": 139.0}
"""Mean pitch of the large toy in Hz: each family three semitones above or below the toy shop's."""

TEMPOS = {
    "bell": (1.4, 1.7),
    "drum": (2.2, 3.4),
    "guitar": (2.8, 4.0),
    "car": (1.3, 1.8),
    "bird": (2.4, 3.6),
    "horn": (1.4, 1.7),
}

BODIES = {
    "wood": Material(0.22, 0.6, -3.5, (400.0, 1200.0), 3, 0.08, -5.0, 0.13),
    "metal": Material(1.1, 0.25, 0.0, (1300.0, 4200.0), 8, 0.50, -8.0, 0.42),
    "glass": Material(0.55, 0.1, 2.5, (3800.0, 6200.0), 3, 0.28, -8.0, 0.22),
}

TAPE_BAND_HZ = (90.0, 6200.0)
_WOW = 0.004  # of the speed, slowly up and down
_MAINS_HZ = 50

_BAR_RATIOS = np.array([1.0, 2.0, 2.756, 3.0, 5.404, 6.2, 8.933])  # a bar with free ends, and its tuned octave
_BAR_LEVELS = np.array([1.0, 0.35, 0.7, 0.3, 0.45, 0.2, 0.2])
# A drum's two skins: the modes of a membrane, the lowest one split in two by the air between them.
_SKIN_RATIOS = np.array([1.0, 1.32, 1.594, 2.136, 2.296, 2.653, 2.918, 3.6])


def play_on_tape(toy: Toy, seconds: int, rng: np.random.Generator) -> np.ndarray:
    """Let one toy sound on the twin's instruments; arguments, returns and errors are those of `sounds.play_by`."""
    return play_by(_PLAYERS, toy, seconds, rng)


def hall(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put a sound [samples] into a room with four early echoes and a dull tail of 0.3-0.7 s; same length and RMS."""
    wave = np.asarray(wave, dtype=np.float32)
    room = rng.standard_normal(int(SAMPLE_RATE * rng.uniform(0.3, 0.7)), dtype=np.float32)
    room *= np.exp(-np.log(1000.0) / room.size * np.arange(room.size)).astype(np.float32)
    room = signal.lfilter([0.4], [1, -0.6], room).astype(np.float32)
    room *= 10 ** (rng.uniform(-9.0, 0.0) / 20) / np.sqrt(np.sum(room**2))
    room[: int(0.012 * SAMPLE_RATE)] = 0
    room[rng.integers(80, 480, size=4)] += rng.uniform(0.1, 0.3, 4)
    room[0] = 1
    wet = signal.fftconvolve(wave, room)[: wave.size].astype(np.float32, copy=False)
    return wet * np.float32(rms(wave) / max(rms(wet), 1e-12))


def hiss(seconds: int, rng: np.random.Generator) -> np.ndarray:
    """A tape without a recording: hiss, and the mains' hum with its harmonics; float32 [seconds * 16000], RMS 0.1."""
    length = whole_seconds(seconds)
    noise = rng.standard_normal(length, dtype=np.float32)
    period = np.arange(SAMPLE_RATE // _MAINS_HZ) * (_MAINS_HZ / SAMPLE_RATE)
    harmonic = np.array([[1], [2], [3], [5]])
    level = rng.uniform(0.1, 0.5, harmonic.shape) / harmonic
    hum = (level * np.sin(2 * np.pi * (harmonic * period + rng.random(harmonic.shape)))).sum(0)
    noise += np.resize(hum.astype(np.float32), length)
    return noise * np.float32(RMS / rms(noise))


def record(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What the tape keeps: an uneven speed, peaks rounded, nothing below 90 Hz or above 6200 Hz; float32 [samples]."""
    turns = np.arange(wave.size) / SAMPLE_RATE
    rate, depth = rng.uniform(0.6, 1.6), rng.uniform(0.3, 1.0) * _WOW
    drift = depth / (2 * np.pi * rate) * np.sin(2 * np.pi * (rate * turns + rng.random()))
    at = np.clip(turns + drift, 0, turns[-1]) * SAMPLE_RATE
    wave = np.interp(at, np.arange(wave.size), wave).astype(np.float32)
    wave = np.tanh(1.6 * wave) / np.float32(1.6)
    low, high = TAPE_BAND_HZ
    padded = fft.next_fast_len(wave.size, real=True)
    frequency = fft.rfftfreq(padded, 1 / SAMPLE_RATE)
    kept = 1 / np.sqrt(1 + (low / np.maximum(frequency, 1.0)) ** 4) / np.sqrt(1 + (frequency / high) ** 16)
    return fft.irfft(fft.rfft(wave, padded) * kept.astype(np.float32), padded)[: wave.size]


# ---- families: the excitation, float32 [length] ----------------------------------------------------------------------


def _bell(length, pitch, tempo, material, rng):
    """A felt mallet on a tuned bar: few partials, far apart."""
    span = int(SAMPLE_RATE * min(1.5, 1.1 * material.ring + 0.05))
    tuning = pitch * _BAR_RATIOS * 2.0 ** spread(rng, 0.015, _BAR_RATIOS.size)
    templates = []
    for _ in range(2):
        level = _BAR_LEVELS * rng.uniform(0.5, 1.2, tuning.size)
        tone = decaying_sines(tuning, partial_ring(tuning, material), level, 2 * np.pi * rng.random(tuning.size), span)
        burst = noise_burst(640, 0.004, rng)
        tone[:640] += rng.uniform(0.15, 0.4) * burst[: tone[:640].size]
        templates.append(tone)
    onsets = draw_onsets(length, tempo, 0.08, rng)
    return play(templates, rng.integers(0, 2, onsets.size), onsets, rng.uniform(0.65, 1.0, onsets.size), length)


def _drum(length, pitch, tempo, material, rng):
    """A hand on two skins: the pitch falls a little after the blow, and there is less noise in it than in a stick's."""
    span = int(SAMPLE_RATE * min(1.2, 0.8 * material.ring + 0.1))
    templates = []
    for blow in (1.0, 1.0, 1.08):  # the third is struck nearer to the rim
        tuning = pitch * blow * _SKIN_RATIOS * 2.0 ** spread(rng, 0.02, _SKIN_RATIOS.size)
        ring = 0.7 * partial_ring(tuning, material) * _SKIN_RATIOS**-0.6
        level = _SKIN_RATIOS ** (-1.0 if blow == 1.0 else -0.4) * rng.uniform(0.4, 1.2, tuning.size)
        tone = 0.5 * decaying_sines(tuning, ring, level, 2 * np.pi * rng.random(tuning.size), span)
        burst = noise_burst(min(span, 2000), rng.uniform(0.008, 0.02), rng)
        tone[: burst.size] += rng.uniform(0.35, 0.7) * burst
        templates.append(tone)
    onsets = draw_onsets(length, tempo, 0.15, rng)
    pattern = rng.integers(0, 3, 3)[np.arange(onsets.size) % 3]
    accents = rng.uniform(0.5, 1.0, 3)[np.arange(onsets.size) % 3]
    return play(templates, pattern, onsets, accents * rng.uniform(0.85, 1.0, onsets.size), length)


def _guitar(length, pitch, tempo, material, rng):
    """A banjo: a string plucked with a nail near the bridge, so bright and quick to fade, in a rolling pattern."""
    notes = pitch * 2.0 ** (rng.permutation([-4.0, 0.0, 3.0, 8.0]) / 12)
    span = int(SAMPLE_RATE * min(1.0, 0.9 * material.ring + 0.1))
    pluck = rng.uniform(0.06, 0.14)
    templates = []
    for note in notes:
        harmonic = np.arange(1, max(2, min(40, int(HIGHEST_PARTIAL / note))) + 1)
        frequency = note * harmonic * np.sqrt(1 + 4e-4 * harmonic**2)
        ring = 0.8 * partial_ring(frequency, material) * harmonic**-0.2
        level = np.abs(np.sin(np.pi * pluck * harmonic)) / harmonic**0.8 * rng.uniform(0.6, 1.3, harmonic.size)
        tone = decaying_sines(frequency, ring, level, 2 * np.pi * rng.random(harmonic.size), span)
        tone[:240] += 0.3 * noise_burst(240, 0.002, rng)
        templates.append(tone)
    onsets = draw_onsets(length, tempo, 0.05, rng)
    order = rng.permutation(4)[np.arange(onsets.size) % 4]
    return play(templates, order, onsets, rng.uniform(0.6, 1.0, onsets.size), length)


def _car(length, pitch, tempo, material, rng):
    """An engine of two cylinders: it limps, and its exhaust puffs louder than it hums."""
    swell = slow_swing(spread(rng, 1.0, max(4, int(length / SAMPLE_RATE * tempo * 2))), length)
    phase = np.cumsum(pitch * np.exp2(0.12 * swell) / (2 * SAMPLE_RATE), dtype=np.float64) + rng.random()
    order = np.arange(1, int(min(TABLE // 4, 2 * HIGHEST_PARTIAL / (pitch * 1.09))) + 1)
    firing = order / 2
    level = np.exp(-firing / rng.uniform(5.0, 9.0)) / np.sqrt(0.5 + firing)
    level *= np.where(order % 2 == 0, 1.0, rng.uniform(0.3, 0.6)) * rng.uniform(0.5, 1.4, order.size)
    engine = look_up(one_period(level, rng), phase)
    breath = signal.lfilter([0.2], [1, -0.8], rng.standard_normal(length, dtype=np.float32)).astype(np.float32)
    puff = np.cos(2 * np.pi * np.arange(TABLE) * 2 / TABLE).astype(np.float32) * 0.5 + 0.5
    breath *= look_up(puff**3, phase)
    return (1 + 0.3 * swell) * (engine + np.float32(rng.uniform(0.8, 1.5)) * breath)


def _bird(length, pitch, tempo, material, rng):
    """Whistles of two kinds in turn: purer, longer and steadier than the toy shop's chirps."""
    onsets = draw_onsets(length, tempo, 0.12, rng)
    templates = []
    for _ in range(2):
        sounding = int(SAMPLE_RATE * rng.uniform(0.1, 0.18))
        release = int(SAMPLE_RATE * min(0.3, material.release))
        part = np.arange(sounding + release, dtype=np.float32) / sounding
        octaves = rng.uniform(0.12, 0.3) * rng.choice([-1.0, 1.0]) * (np.minimum(part, 1.2) ** 2 - 0.4)
        octaves += 0.03 * np.sin(2 * np.pi * rng.uniform(12, 22) * part * sounding / SAMPLE_RATE)
        phase = np.cumsum(pitch * np.exp2(octaves) / SAMPLE_RATE, dtype=np.float64) + rng.random()
        harmonics = np.array([1.0, rng.uniform(0.05, 0.2), rng.uniform(0.1, 0.3), 0.03])
        tone = look_up(one_period(harmonics[: max(1, int(HIGHEST_PARTIAL / (pitch * 1.3)))], rng), phase)
        tone += np.float32(rng.uniform(0.08, 0.18)) * rng.standard_normal(part.size, dtype=np.float32)
        templates.append(tone * held_note(sounding, release, 0.025, material))
    order = np.arange(onsets.size) % 2
    return play(templates, order, onsets, rng.uniform(0.6, 1.0, onsets.size), length)


def _horn(length, pitch, tempo, material, rng):
    """A reed: mostly odd harmonics, which do not brighten with loudness, notes held long, little vibrato."""
    onsets = draw_onsets(length, tempo, 0.06, rng)
    loudness = np.zeros(length, np.float32)
    rate = np.full(length, pitch)
    melody = pitch * 2.0 ** (rng.choice([-4.0, -2.0, 0.0, 3.0], onsets.size) / 12)
    ends = np.append(onsets[1:], length + int(0.1 * SAMPLE_RATE))
    for onset, end, note in zip(onsets, ends, melody, strict=True):
        gap = end - onset
        sounding = int(min(gap, 0.75 * SAMPLE_RATE) * rng.uniform(0.7, 0.85))
        envelope = held_note(sounding, gap - sounding, rng.uniform(0.03, 0.06), material)[: length - onset]
        loudness[onset : onset + envelope.size] = rng.uniform(0.75, 1.0) * envelope
        rate[onset:end] = note
    phase = np.cumsum(rate / SAMPLE_RATE, dtype=np.float64) + rng.random()
    harmonic = np.arange(1, int(HIGHEST_PARTIAL / (pitch * 1.25)) + 1)
    level = np.exp(-harmonic / rng.uniform(6.0, 9.0)) * harmonic**-0.3 * rng.uniform(0.7, 1.2, harmonic.size)
    level[1::2] *= rng.uniform(0.15, 0.4)
    breath = np.float32(rng.uniform(0.03, 0.07)) * rng.standard_normal(length, dtype=np.float32)
    return loudness * (look_up(one_period(level, rng), phase) + breath)


_PLAYERS = Band(
    pitches=PITCHES,
    tempos=TEMPOS,
    bodies=BODIES,
    excitations={"bell": _bell, "drum": _drum, "guitar": _guitar, "car": _car, "bird": _bird, "horn": _horn},
)
