"""The instrument maker's tools: decaying sines, stored periods, bodies that ring.

Everything random comes from the generator that is passed in; waves are float32 at 16 kHz.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

SAMPLE_RATE = 16000
HIGHEST_PARTIAL = 7600.0  # Hz; partials above are left out, so that none folds back at 8 kHz
TABLE = 2048  # samples of one stored period


@dataclass(frozen=True)
class Material:
    """What a body is made of, for the ear.

    Attributes:
        ring: seconds in which a struck partial at 500 Hz falls by 60 dB.
        damping: exponent with which that time shrinks with frequency (wood loses its highs first).
        tilt: dB per octave laid over the whole spectrum.
        modes: lowest and highest frequency of the body's own modes, in Hz.
        mode_count: how many modes.
        mode_ring: seconds in which a body mode falls by 60 dB.
        mode_level: energy of the modes' ringing against the direct sound, in dB.
        release: seconds in which a held note falls by 60 dB after it ends.
    """

    ring: float
    damping: float
    tilt: float
    modes: tuple[float, float]
    mode_count: int
    mode_ring: float
    mode_level: float
    release: float


def whole_seconds(seconds) -> int:
    """So many seconds in samples; ValueError if that is no whole number from 1."""
    if isinstance(seconds, bool) or int(seconds) != seconds or seconds < 1:
        raise ValueError(f"seconds is {seconds!r}; expected a whole number from 1, the world works in whole seconds.")
    return int(seconds) * SAMPLE_RATE


def spread(rng, half_width, size=None):
    """Uniform in -half_width to half_width."""
    return rng.uniform(-half_width, half_width, size)


def rms(wave) -> float:
    """Root mean square of a wave [samples]."""
    return float(np.sqrt(np.dot(wave, wave) / wave.size))


def individual(material: Material, rng) -> Material:
    """One specimen of a material: no two pieces of wood ring alike."""
    return Material(
        ring=material.ring * 2.0 ** spread(rng, 0.6),
        damping=material.damping,
        tilt=material.tilt + spread(rng, 2.0),
        modes=material.modes,
        mode_count=material.mode_count,
        mode_ring=material.mode_ring * 2.0 ** spread(rng, 0.6),
        mode_level=material.mode_level + spread(rng, 5.0),
        release=material.release * 2.0 ** spread(rng, 0.4),
    )


def decaying_sines(frequency, ring, level, phase, length) -> np.ndarray:
    """Sum of exponentially decaying sinusoids, float32 [length].

    With z = exp(-decay + i w), sample 256 a + b of each is z^(256 a) z^b: two short tables per sinusoid, and the sum
    over sinusoids becomes one matrix product.

    Args:
        frequency, ring, level, phase: [modes] in Hz, seconds to fall by 60 dB, linear amplitude, radians.
    """
    keep = frequency < HIGHEST_PARTIAL
    rate = -np.log(1000.0) / (ring[keep] * SAMPLE_RATE) + 2j * np.pi * frequency[keep] / SAMPLE_RATE
    start = level[keep] * np.exp(1j * (phase[keep] if np.ndim(phase) else phase))
    rows = -(-length // 256)
    coarse = np.exp(np.outer(np.arange(rows) * 256, rate)) * start
    fine = np.exp(np.outer(rate, np.arange(256)))
    left = np.concatenate([coarse.real, -coarse.imag], axis=1).astype(np.float32)
    right = np.concatenate([fine.real, fine.imag], axis=0).astype(np.float32)
    return (left @ right).ravel()[:length]


def partial_ring(frequency, material: Material) -> np.ndarray:
    """Seconds in which struck partials at these frequencies (Hz) fall by 60 dB in a material."""
    return material.ring * np.clip(frequency / 500.0, 0.3, 16.0) ** -material.damping


def draw_onsets(length, tempo, jitter, rng) -> np.ndarray:
    """Sample numbers at which events begin, at `tempo` a second with uneven gaps; the first within 0.4 s."""
    count = int(length / SAMPLE_RATE * tempo * (1 + jitter)) + 2
    gaps = (1 + spread(rng, jitter, count)) / tempo
    times = rng.uniform(0.0, min(0.4, 1.0 / tempo)) + np.concatenate([[0.0], np.cumsum(gaps)])
    onsets = (times * SAMPLE_RATE).astype(int)
    return onsets[onsets < length]


def play(templates, order, onsets, levels, length) -> np.ndarray:
    """Overlap-add: at onsets[k] begins templates[order[k]] with amplitude levels[k]."""
    wave = np.zeros(length, np.float32)
    for onset, which, level in zip(onsets, order, levels, strict=True):
        event = templates[which][: length - onset]
        wave[onset : onset + event.size] += np.float32(level) * event
    return wave


def noise_burst(length, seconds, rng) -> np.ndarray:
    """White noise that falls by a factor e in so many seconds, float32 [length]."""
    burst = rng.standard_normal(length, dtype=np.float32)
    burst *= np.exp(-np.arange(length, dtype=np.float32) / np.float32(seconds * SAMPLE_RATE))
    return burst


def one_period(levels, rng) -> np.ndarray:
    """One period of a harmonic tone, float32 [2048], harmonic k at levels[k - 1], random phases, scaled to peak 1."""
    spectrum = np.zeros(TABLE // 2 + 1, np.complex64)
    spectrum[1 : levels.size + 1] = levels * np.exp(2j * np.pi * rng.random(levels.size))
    table = fft.irfft(spectrum, TABLE)
    return table / np.abs(table).max()


def look_up(table, phase) -> np.ndarray:
    """The stored period read at `phase`, in periods (float64 [samples], any range from 0)."""
    return table.take((phase * TABLE).astype(np.int64) & (TABLE - 1))


def slow_swing(points, length) -> np.ndarray:
    """A slow curve through evenly spaced points, float32 [length]."""
    return np.interp(np.arange(length, dtype=np.float32), np.linspace(0, length, points.size), points).astype(
        np.float32
    )


@lru_cache(maxsize=16)
def octaves_from_700(length) -> np.ndarray:
    """log2(f / 700 Hz) of every bin of a real transform, flat below 60 Hz; float32 [length // 2 + 1]."""
    frequency = np.maximum(fft.rfftfreq(length, 1 / SAMPLE_RATE), 60.0)
    return np.log2(frequency / 700.0).astype(np.float32)


@lru_cache(maxsize=16)
def _passband(length) -> np.ndarray:
    """Cuts what no toy should have, below 40 Hz and above the highest partial; float32 [length // 2 + 1]."""
    frequency = fft.rfftfreq(length, 1 / SAMPLE_RATE)
    return (np.clip(frequency / 40.0, 0, 1) ** 2 * np.clip((7900.0 - frequency) / 300.0, 0, 1)).astype(np.float32)


def ring_in_body(excitation, material: Material, rng) -> np.ndarray:
    """The body's answer: spectral tilt, and its own modes set ringing by the excitation; float32, same length."""
    length = excitation.size
    # Modes spread evenly over their range in octaves, each moved by chance within its share.
    place = (np.arange(material.mode_count) + rng.random(material.mode_count)) / material.mode_count
    low, high = material.modes
    frequency = low * (high / low) ** place
    ring = material.mode_ring * 2.0 ** spread(rng, 0.4, material.mode_count)
    response = decaying_sines(frequency, ring, rng.uniform(0.4, 1.0, frequency.size), -np.pi / 2, 8192)
    padded = fft.next_fast_len(length + response.size, real=True)
    direct = fft.rfft(excitation, padded)
    direct *= _passband(padded)
    modes = direct * fft.rfft(response, padded)
    direct *= np.exp2(np.float32(material.tilt / 6.02) * octaves_from_700(padded))
    energy = np.vdot(direct, direct).real / max(np.vdot(modes, modes).real, 1e-20)
    modes *= np.float32(np.sqrt(energy) * 10 ** (material.mode_level / 20))
    direct += modes
    return fft.irfft(direct, padded)[:length]


def held_note(sounding, release, attack, material) -> np.ndarray:
    """Envelope of a held note: a raised-cosine attack (seconds), a plateau, the material's release; float32."""
    envelope = np.ones(sounding + release, np.float32)
    rise = min(int(attack * SAMPLE_RATE), sounding)
    envelope[:rise] = 0.5 - 0.5 * np.cos(np.pi * np.arange(rise, dtype=np.float32) / rise)
    fall = np.arange(release, dtype=np.float32)
    envelope[sounding:] = np.exp(fall * np.float32(-np.log(1000.0) / (material.release * SAMPLE_RATE)))
    last = min(release, 160)
    envelope[envelope.size - last :] *= np.linspace(1, 0, last, dtype=np.float32)
    return envelope
