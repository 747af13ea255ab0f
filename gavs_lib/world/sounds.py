"""How the toys of the miniature world sound: one second after another, synthesised from simple physics.

A toy is family x size x material, and each factor does one thing, the same in every family (source-filter model):

    family    the excitation: struck bell partials, a drum's membrane, plucked strings, an engine, chirps, a horn
    size      the pitch: a small toy sounds 1.4 octaves above the large one (each varies by two semitones), and faster
    material  the body: how long an event rings, the tilt of the spectrum, and where the body's own modes lie

Because no rule mentions a combination, a model that has heard a large wooden drum and a small glass bell *can* know
how a large glass drum sounds. Everything random comes from the generator that is passed in.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft, signal

from gavs_lib.world.objects import Toy

SAMPLE_RATE = 16000
HIGHEST_PARTIAL = 7600.0  # Hz; partials above are left out, so that none folds back at 8 kHz
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
_TABLE = 2048  # samples of one stored period


def synthesize(toy: Toy, seconds: int, rng: np.random.Generator) -> np.ndarray:
    """Let one toy sound for some seconds.

    Args:
        toy: which toy; its family, size and material decide everything but the chance of the moment.
        seconds: length, at least 1.
        rng: source of every random choice (pitch, loudness, timing, timbre); same state, same sound.

    Returns:
        float32 [seconds * 16000] in [-1, 1]; RMS 0.1 give or take 4 dB; an event begins in every whole second.

    Raises:
        ValueError: the toy has a factor this world does not know, or `seconds` is not a whole number from 1.
    """
    if toy.family not in LARGE_PITCH or toy.material not in BODIES or toy.size not in ("small", "large"):
        raise ValueError(
            f"no sound for {toy}: expected a family of {', '.join(LARGE_PITCH)}, a size of small, large "
            f"and a material of {', '.join(BODIES)}. Take one of gavs_lib.world.objects.TOYS."
        )
    length = _samples(seconds)
    small = toy.size == "small"
    pitch = LARGE_PITCH[toy.family] * 2.0 ** (SIZE_OCTAVES * small + _spread(rng, PITCH_RANGE_SEMITONES) / 12)
    tempo = rng.uniform(*TEMPO[toy.family]) * (SMALL_TEMPO if small else 1.0)
    material = _individual(BODIES[toy.material], rng)
    wave = _ring_in_body(_EXCITATIONS[toy.family](length, pitch, tempo, material, rng), material, rng)
    loudness = RMS * 10 ** (_spread(rng, LOUDNESS_RANGE_DB) / 20)
    wave *= loudness / _rms(wave)
    peak = max(wave.max(), -wave.min())
    if peak > 0.95:
        # Rounds the few highest peaks (a stick on wood). Dividing instead would make short sounds the quieter ones.
        np.tanh(wave, out=wave)
    return wave


def background_noise(seconds: int, rng: np.random.Generator) -> np.ndarray:
    """Coloured noise of a random tilt between pink (-3 dB per octave) and white; float32 [seconds * 16000], RMS 0.1."""
    length = _samples(seconds)
    bins = length // 2 + 1
    spectrum = rng.standard_normal(2 * bins, dtype=np.float32).view(np.complex64)
    spectrum *= np.exp2(-0.5 * rng.uniform(0.0, 1.0) * _octaves(length)).astype(np.float32)
    spectrum[0] = 0
    noise = fft.irfft(spectrum, length)
    noise *= RMS / _rms(noise)
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
    wet *= _rms(wave) / max(_rms(wet), 1e-12)
    return wet


# ---- building blocks -------------------------------------------------------------------------------------------------


def _samples(seconds) -> int:
    if isinstance(seconds, bool) or int(seconds) != seconds or seconds < 1:
        raise ValueError(f"seconds is {seconds!r}; expected a whole number from 1, the world works in whole seconds.")
    return int(seconds) * SAMPLE_RATE


def _spread(rng, half_width, size=None):
    return rng.uniform(-half_width, half_width, size)


def _rms(wave) -> float:
    return float(np.sqrt(np.dot(wave, wave) / wave.size))


def _individual(material: Material, rng) -> Material:
    """One specimen of a material: no two pieces of wood ring alike."""
    return Material(
        ring=material.ring * 2.0 ** _spread(rng, 0.6),
        damping=material.damping,
        tilt=material.tilt + _spread(rng, 2.0),
        modes=material.modes,
        mode_count=material.mode_count,
        mode_ring=material.mode_ring * 2.0 ** _spread(rng, 0.6),
        mode_level=material.mode_level + _spread(rng, 5.0),
        release=material.release * 2.0 ** _spread(rng, 0.4),
    )


def _decaying_sines(frequency, ring, level, phase, length) -> np.ndarray:
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


def _partial_ring(frequency, material: Material) -> np.ndarray:
    return material.ring * np.clip(frequency / 500.0, 0.3, 16.0) ** -material.damping


def _onsets(length, tempo, jitter, rng) -> np.ndarray:
    """Sample numbers at which events begin, at `tempo` a second with uneven gaps; the first within 0.4 s."""
    count = int(length / SAMPLE_RATE * tempo * (1 + jitter)) + 2
    gaps = (1 + _spread(rng, jitter, count)) / tempo
    times = rng.uniform(0.0, min(0.4, 1.0 / tempo)) + np.concatenate([[0.0], np.cumsum(gaps)])
    onsets = (times * SAMPLE_RATE).astype(int)
    return onsets[onsets < length]


def _play(templates, order, onsets, levels, length) -> np.ndarray:
    """Overlap-add: at onsets[k] begins templates[order[k]] with amplitude levels[k]."""
    wave = np.zeros(length, np.float32)
    for onset, which, level in zip(onsets, order, levels, strict=True):
        event = templates[which][: length - onset]
        wave[onset : onset + event.size] += np.float32(level) * event
    return wave


def _noise_burst(length, seconds, rng) -> np.ndarray:
    burst = rng.standard_normal(length, dtype=np.float32)
    burst *= np.exp(-np.arange(length, dtype=np.float32) / np.float32(seconds * SAMPLE_RATE))
    return burst


def _period(levels, rng) -> np.ndarray:
    """One period of a harmonic tone, float32 [2048], harmonic k at levels[k - 1], random phases, scaled to peak 1."""
    spectrum = np.zeros(_TABLE // 2 + 1, np.complex64)
    spectrum[1 : levels.size + 1] = levels * np.exp(2j * np.pi * rng.random(levels.size))
    table = fft.irfft(spectrum, _TABLE)
    return table / np.abs(table).max()


def _look_up(table, phase) -> np.ndarray:
    """The stored period read at `phase`, in periods (float64 [samples], any range from 0)."""
    return table.take((phase * _TABLE).astype(np.int64) & (_TABLE - 1))


def _smooth(points, length) -> np.ndarray:
    """A slow curve through evenly spaced points, float32 [length]."""
    return np.interp(np.arange(length, dtype=np.float32), np.linspace(0, length, points.size), points).astype(
        np.float32
    )


@lru_cache(maxsize=16)
def _octaves(length) -> np.ndarray:
    """log2(f / 700 Hz) of every bin of a real transform, flat below 60 Hz; float32 [length // 2 + 1]."""
    frequency = np.maximum(fft.rfftfreq(length, 1 / SAMPLE_RATE), 60.0)
    return np.log2(frequency / 700.0).astype(np.float32)


@lru_cache(maxsize=16)
def _passband(length) -> np.ndarray:
    """Cuts what no toy should have, below 40 Hz and above the highest partial; float32 [length // 2 + 1]."""
    frequency = fft.rfftfreq(length, 1 / SAMPLE_RATE)
    return (np.clip(frequency / 40.0, 0, 1) ** 2 * np.clip((7900.0 - frequency) / 300.0, 0, 1)).astype(np.float32)


def _ring_in_body(excitation, material: Material, rng) -> np.ndarray:
    """The body's answer: spectral tilt, and its own modes set ringing by the excitation; float32, same length."""
    length = excitation.size
    # Modes spread evenly over their range in octaves, each moved by chance within its share.
    place = (np.arange(material.mode_count) + rng.random(material.mode_count)) / material.mode_count
    low, high = material.modes
    frequency = low * (high / low) ** place
    ring = material.mode_ring * 2.0 ** _spread(rng, 0.4, material.mode_count)
    response = _decaying_sines(frequency, ring, rng.uniform(0.4, 1.0, frequency.size), -np.pi / 2, 8192)
    padded = fft.next_fast_len(length + response.size, real=True)
    direct = fft.rfft(excitation, padded)
    direct *= _passband(padded)
    modes = direct * fft.rfft(response, padded)
    direct *= np.exp2(np.float32(material.tilt / 6.02) * _octaves(padded))
    energy = np.vdot(direct, direct).real / max(np.vdot(modes, modes).real, 1e-20)
    modes *= np.float32(np.sqrt(energy) * 10 ** (material.mode_level / 20))
    direct += modes
    return fft.irfft(direct, padded)[:length]


# ---- families: the excitation, float32 [length] ----------------------------------------------------------------------


def _bell(length, pitch, tempo, material, rng):
    """A clapper strikes inharmonic partials; every partial is a doublet, since no bell is perfectly round."""
    span = int(SAMPLE_RATE * min(1.7, 1.1 * material.ring + 0.05))
    templates = []
    tuning = _BELL_RATIOS * 2.0 ** _spread(rng, 0.02, _BELL_RATIOS.size)
    for _ in range(2):
        frequency = pitch * np.concatenate([tuning, tuning * (1 + rng.uniform(0.001, 0.004, tuning.size))])
        level = np.tile(_BELL_LEVELS, 2) * rng.uniform(0.4, 1.2, frequency.size)
        level[tuning.size :] *= 0.4
        tone = _decaying_sines(
            frequency, _partial_ring(frequency, material), level, 2 * np.pi * rng.random(level.size), span
        )
        burst = _noise_burst(480, 0.003, rng)
        tone[:480] += rng.uniform(0.3, 0.8) * burst[: tone[:480].size]
        templates.append(tone)
    onsets = _onsets(length, tempo, 0.08, rng)
    return _play(templates, rng.integers(0, 2, onsets.size), onsets, rng.uniform(0.65, 1.0, onsets.size), length)


def _drum(length, pitch, tempo, material, rng):
    """A stick on a round membrane: its modes, and a burst of noise, in a rhythm with accents."""
    span = int(SAMPLE_RATE * min(1.2, 0.7 * material.ring + 0.1))
    tuning = pitch * _DRUM_RATIOS * 2.0 ** _spread(rng, 0.015, _DRUM_RATIOS.size)
    templates = []
    for _ in range(3):
        # A membrane radiates well: its higher modes die much faster than its lowest.
        ring = 0.6 * _partial_ring(tuning, material) * _DRUM_RATIOS**-0.7
        level = _DRUM_RATIOS**-0.8 * rng.uniform(0.3, 1.2, tuning.size)
        tone = 0.5 * _decaying_sines(tuning, ring, level, 2 * np.pi * rng.random(level.size), span)
        burst = _noise_burst(min(span, 2400), rng.uniform(0.012, 0.03), rng)
        tone[: burst.size] += rng.uniform(0.5, 0.9) * burst
        templates.append(tone)
    onsets = _onsets(length, tempo, 0.12, rng)
    accents = rng.uniform(0.45, 1.0, 4)[np.arange(onsets.size) % 4]
    order = rng.integers(0, 3, 4)[np.arange(onsets.size) % 4]
    return _play(templates, order, onsets, accents * rng.uniform(0.85, 1.0, onsets.size), length)


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
        ring = 1 / (1 / (1.2 * _partial_ring(frequency, material)) + loop)
        level = np.abs(np.sin(np.pi * pluck * harmonic)) / harmonic**0.9 * rng.uniform(0.6, 1.3, harmonic.size)
        tone = _decaying_sines(frequency, ring, level, 2 * np.pi * rng.random(harmonic.size), span)
        burst = _noise_burst(320, 0.002, rng)
        tone[:320] += 0.4 * burst
        templates.append(tone)
    onsets = _onsets(length, tempo, 0.06, rng)
    order = rng.integers(0, 4, 6)[np.arange(onsets.size) % 6]
    return _play(templates, order, onsets, rng.uniform(0.6, 1.0, onsets.size), length)


def _car(length, pitch, tempo, material, rng):
    """A four-cylinder engine: unequal firings at a slowly wandering rate, throttle swells, and rumble between them."""
    swell = _smooth(_spread(rng, 1.0, max(4, int(length / SAMPLE_RATE * tempo * 2))), length)
    rate = pitch * np.exp2(swell * 0.09)
    phase = np.cumsum(rate / (4 * SAMPLE_RATE), dtype=np.float64) + rng.random()  # one turn of the table: four firings
    order = np.arange(1, int(min(_TABLE // 4, 4 * HIGHEST_PARTIAL / (pitch * 1.07))) + 1)
    firing = order / 4
    level = np.exp(-firing / rng.uniform(7.0, 12.0)) / np.sqrt(0.5 + firing)
    level *= np.where(order % 4 == 0, 1.0, rng.uniform(0.15, 0.4)) * rng.uniform(0.5, 1.4, order.size)
    engine = _look_up(_period(level, rng), phase)
    breath = signal.lfilter([0.12], [1, -0.88], rng.standard_normal(length, dtype=np.float32)).astype(np.float32)
    puff = np.cos(2 * np.pi * np.arange(_TABLE) * 4 / _TABLE).astype(np.float32) * 0.5 + 0.5
    breath *= _look_up(puff**2, phase)
    level = 1 + 0.35 * swell
    return level * (engine + np.float32(rng.uniform(0.5, 1.0)) * breath)


def _bird(length, pitch, tempo, material, rng):
    """Chirps: tones that sweep and warble, three kinds in a repeated song, with a breath of noise."""
    onsets = _onsets(length, tempo, 0.15, rng)
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
        tone = _look_up(_period(harmonics[: max(1, int(HIGHEST_PARTIAL / (pitch * 1.3)))], rng), phase)
        tone += np.float32(rng.uniform(0.05, 0.12)) * rng.standard_normal(time.size, dtype=np.float32)
        templates.append(tone * _hold(sounding, release, 0.015, material))
    order = rng.integers(0, 3, 5)[np.arange(onsets.size) % 5]
    return _play(templates, order, onsets, rng.uniform(0.6, 1.0, onsets.size), length)


def _horn(length, pitch, tempo, material, rng):
    """Blown notes: soft attack, vibrato, and brass that brightens as it grows louder."""
    onsets = _onsets(length, tempo, 0.08, rng)
    loudness = np.zeros(length, np.float32)
    rate = np.full(length, pitch)
    melody = pitch * 2.0 ** (rng.choice([-3.5, -1.5, 0.5, 2.5, 3.5], onsets.size) / 12)
    ends = np.append(onsets[1:], length + int(0.1 * SAMPLE_RATE))
    for onset, end, note in zip(onsets, ends, melody, strict=True):
        gap = end - onset
        sounding = int(min(gap, 0.7 * SAMPLE_RATE) * rng.uniform(0.62, 0.85))
        hold = _hold(sounding, gap - sounding, rng.uniform(0.05, 0.09), material)[: length - onset]
        loudness[onset : onset + hold.size] = rng.uniform(0.75, 1.0) * hold
        rate[onset:end] = note
    time = np.arange(length, dtype=np.float32)
    vibrato = np.sin(2 * np.pi * rng.uniform(4.5, 6.5) / SAMPLE_RATE * time + np.float32(2 * np.pi * rng.random()))
    phase = np.cumsum(rate * (1 + rng.uniform(0.004, 0.012) * vibrato) / SAMPLE_RATE, dtype=np.float64) + rng.random()
    harmonic = np.arange(1, int(HIGHEST_PARTIAL / (pitch * 1.25)) + 1)
    formant = np.exp(-harmonic / rng.uniform(4.0, 6.5)) * rng.uniform(0.6, 1.3, harmonic.size)
    mellow = _look_up(_period(formant * harmonic**-1.0, rng), phase)
    brassy = _look_up(_period(formant * harmonic**0.3, rng), phase)
    breath = np.float32(rng.uniform(0.02, 0.05)) * rng.standard_normal(length, dtype=np.float32)
    return loudness * (mellow + loudness * brassy + breath)


def _hold(sounding, release, attack, material) -> np.ndarray:
    """Envelope of a held note: a raised-cosine attack (seconds), a plateau, the material's release; float32."""
    envelope = np.ones(sounding + release, np.float32)
    rise = min(int(attack * SAMPLE_RATE), sounding)
    envelope[:rise] = 0.5 - 0.5 * np.cos(np.pi * np.arange(rise, dtype=np.float32) / rise)
    fall = np.arange(release, dtype=np.float32)
    envelope[sounding:] = np.exp(fall * np.float32(-np.log(1000.0) / (material.release * SAMPLE_RATE)))
    last = min(release, 160)
    envelope[envelope.size - last :] *= np.linspace(1, 0, last, dtype=np.float32)
    return envelope


_EXCITATIONS = {"bell": _bell, "drum": _drum, "guitar": _guitar, "car": _car, "bird": _bird, "horn": _horn}
