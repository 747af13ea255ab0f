"""The sound front end: from a waveform to the log-mel patches that VGGish hears (F_A's first step, GAVS section 3).

One patch is 96 frames of 64 mel bands, 0.975 s of sound. Two ways to lay patches over the seconds of a clip:

* `second_examples`: patch i starts at exactly i seconds, under frame i of the clip. What this library trains and reads
  with.
* `published_examples`: patches lie edge to edge, 0.96 s apart, and frame i takes patch i, so its sound is from 0.04 i
  seconds earlier. What VGGish feature files published for AVSBench contain; kept to compare with them.

`log_mel_examples` is the plain VGGish front end below both. Constants are those of VGGish's release (Hershey et al.,
ICASSP 2017): 16 kHz, periodic Hann window of 25 ms every 10 ms, 512-point magnitude spectrum, 64 bands of 125-7500 Hz.
"""

import functools
import math

import torch
from torch import Tensor

SAMPLE_RATE = 16000
WINDOW = 400
HOP = 160
FFT_SIZE = 512
MEL_BANDS = 64
MEL_LOW_HZ = 125.0
MEL_HIGH_HZ = 7500.0
LOG_OFFSET = 0.01
PATCH_FRAMES = 96
PATCH_SAMPLES = WINDOW + (PATCH_FRAMES - 1) * HOP  # 15600, 0.975 s: the shortest sound that fills a patch

# A [samples, channels] array is the usual mistake; nothing recorded has this many channels.
_MOST_CHANNELS = 32
# Above this many phases a polyphase resampling kernel takes gigabytes (rates that share no factor with 16 kHz).
_MOST_PHASES = 2000


def log_mel_examples(waveform, sample_rate: int) -> Tensor:
    """Cut a sound into VGGish's log-mel patches, edge to edge, 0.96 s apart; an incomplete tail is dropped.

    Args:
        waveform: [samples] or [channels, samples], torch or numpy, floating point, about -1 to 1. Channels are
            averaged.
        sample_rate: in Hz; anything but 16000 is resampled.

    Returns:
        [N, 1, 96, 64] float32, log(mel + 0.01), frames by bands, low bands first. 0.975 s give one patch, 5 s five,
        10 s ten.

    Raises:
        ValueError: the sound is shorter than one patch (0.975 s), empty, not finite, not floating point, or has another
            number of dimensions. `second_examples` pads short sounds; this function never does.
    """
    mono = _mono_16k(waveform, sample_rate, dims=(1, 2))
    if mono.shape[-1] < PATCH_SAMPLES:
        raise ValueError(
            f"the waveform lasts {mono.shape[-1] / SAMPLE_RATE:.4f} s; "
            f"a VGGish patch needs {PATCH_SAMPLES / SAMPLE_RATE} s. "
            "Use second_examples(waveform, sample_rate, seconds), which pads with silence, or pad the waveform."
        )
    # Patches share no frame, and consecutive ones start 96 hops apart: [N, 15600] -> [N, 1, 96, 64].
    return _log_mel(mono.unfold(-1, PATCH_SAMPLES, PATCH_FRAMES * HOP)).unsqueeze(-3)


def second_examples(waveform, sample_rate: int, seconds: int) -> Tensor:
    """One log-mel patch per second of a clip; patch i hears the sound from i to i + 0.975 s.

    A sound that ends before the clip does is continued by silence (zeros); one that goes on longer is cut.

    Args:
        waveform: [samples], [channels, samples], or [batch, channels, samples] for waveforms of equal length; torch or
            numpy, floating point, about -1 to 1. Channels are averaged.
        sample_rate: in Hz; anything but 16000 is resampled.
        seconds: how many patches, at least 1.

    Returns:
        [seconds, 1, 96, 64] float32; with a batch [batch, seconds, 1, 96, 64].

    Raises:
        ValueError: seconds is below 1, or the waveform is empty, not finite, not floating point or of another shape.
    """
    seconds = _positive_integer("seconds", seconds)
    mono = _mono_16k(waveform, sample_rate, dims=(1, 2, 3))
    needed = (seconds - 1) * SAMPLE_RATE + PATCH_SAMPLES
    mono = mono[..., :needed]
    mono = torch.nn.functional.pad(mono, (0, needed - mono.shape[-1]))
    # A second is exactly 100 hops, so the patches are windows into one framing of the whole: [..., seconds, 15600].
    return _log_mel(mono.unfold(-1, PATCH_SAMPLES, SAMPLE_RATE)).unsqueeze(-3)


def published_examples(waveform, sample_rate: int, seconds: int) -> Tensor:
    """The patches as published AVSBench features lay them: frame i takes patch i of `log_mel_examples`.

    Patch i starts at 0.96 i s, not at i s. A clip with too few patches repeats its last one.

    Args, errors: as `log_mel_examples`, and `seconds` (at least 1).

    Returns:
        [seconds, 1, 96, 64] float32.
    """
    seconds = _positive_integer("seconds", seconds)
    patches = log_mel_examples(waveform, sample_rate)
    index = torch.arange(seconds, device=patches.device).clamp(max=len(patches) - 1)
    return patches[index]


def mono_16k(waveform, sample_rate: int) -> Tensor:
    """A sound as the patches above are cut from: float32 [samples] at 16 kHz, channels averaged.

    Args, errors: as `log_mel_examples`, but for any length from one sample on.
    """
    return _mono_16k(waveform, sample_rate, dims=(1, 2))


def _positive_integer(name: str, value) -> int:
    if isinstance(value, bool) or int(value) != value or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a whole number, at least 1.")
    return int(value)


def _mono_16k(waveform, sample_rate: int, dims: tuple[int, ...]) -> Tensor:
    """Check a waveform, average its channels and resample it: float32 [samples] or [batch, samples]."""
    sample_rate = _positive_integer("sample_rate", sample_rate)
    wave = torch.as_tensor(waveform)
    if not wave.is_floating_point():
        raise ValueError(
            f"the waveform holds {wave.dtype}; expected floating point from -1 to 1. "
            "Divide 16-bit samples by 32768 (soundfile.read and av's 'flt' formats do)."
        )
    if wave.ndim not in dims:
        shapes = {1: "[samples]", 2: "[channels, samples]", 3: "[batch, channels, samples]"}
        raise ValueError(
            f"the waveform has shape {tuple(wave.shape)}; expected {' or '.join(shapes[d] for d in dims)}."
        )
    if wave.numel() == 0:
        raise ValueError(f"the waveform is empty (shape {tuple(wave.shape)}); expected at least one sample.")
    if wave.ndim > 1 and wave.shape[-2] > _MOST_CHANNELS:
        raise ValueError(
            f"the waveform has shape {tuple(wave.shape)}, which reads as {wave.shape[-2]} channels; "
            "expected [channels, samples]. Transpose it."
        )
    if not torch.isfinite(wave).all():
        raise ValueError("the waveform contains NaN or infinite samples; expected finite values. Re-extract the sound.")
    wave = wave.to(torch.float32)
    if wave.ndim > 1:
        wave = wave.mean(dim=-2)
    return wave if sample_rate == SAMPLE_RATE else _resample(wave, sample_rate)


def _resample(wave: Tensor, sample_rate: int) -> Tensor:
    """Resample [..., samples] to 16 kHz."""
    if sample_rate // math.gcd(sample_rate, SAMPLE_RATE) <= _MOST_PHASES:
        import torchaudio.functional  # only sounds at other rates pay for this import

        return torchaudio.functional.resample(wave, sample_rate, SAMPLE_RATE)
    # A rate such as 11127 Hz: keep the spectrum below both Nyquist frequencies. irfft cuts or zero-fills the rest.
    samples = wave.shape[-1]
    resampled = max(1, round(samples * SAMPLE_RATE / sample_rate))
    return torch.fft.irfft(torch.fft.rfft(wave), n=resampled) * (resampled / samples)


def _log_mel(patches: Tensor) -> Tensor:
    """[..., 15600] samples at 16 kHz -> [..., 96, 64] log-mel, without centring or padding."""
    frames = patches.unfold(-1, WINDOW, HOP) * _hann().to(patches.device)  # [..., 96, 400]
    spectrum = torch.fft.rfft(frames, n=FFT_SIZE).abs()  # [..., 96, 257]
    return torch.log(spectrum @ _mel_weights().to(patches.device) + LOG_OFFSET)


@functools.cache
def _hann() -> Tensor:
    return torch.hann_window(WINDOW, periodic=True)


@functools.cache
def _mel_weights() -> Tensor:
    """[257, 64]: triangles that are straight in mel (not in Hz), each with peak 1, none of them touching DC."""

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    low, high = mel(torch.tensor([MEL_LOW_HZ, MEL_HIGH_HZ], dtype=torch.float64)).tolist()
    edges = torch.linspace(low, high, MEL_BANDS + 2, dtype=torch.float64)
    bins = mel(torch.linspace(0.0, SAMPLE_RATE / 2, FFT_SIZE // 2 + 1, dtype=torch.float64)).unsqueeze(1)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = torch.minimum(rising, falling).clamp(min=0.0)
    weights[0] = 0.0
    return weights.to(torch.float32)
