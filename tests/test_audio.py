"""The front end against its formulas, written out slowly."""

import numpy as np
import pytest
import torch

from gavs_lib import audio


def slow_log_mel(wave):
    """VGGish's log-mel of a 16 kHz sound, frame by frame: [frames, 64], float64, from the formulas alone."""
    window = np.array([0.5 - 0.5 * np.cos(2 * np.pi * n / 400) for n in range(400)])
    angles = 2 * np.pi * np.outer(np.arange(257), np.arange(400)) / 512
    cosines, sines = np.cos(angles), np.sin(angles)

    def mel(hertz):
        return 1127 * np.log(1 + hertz / 700)

    step = (mel(7500) - mel(125)) / 65
    weights = np.zeros((64, 257))
    for band in range(64):
        for k in range(1, 257):  # DC has no weight
            # 0 at the left foot of the triangle, 1 at its peak, 2 at its right foot
            position = (mel(k * 16000 / 512) - mel(125) - band * step) / step
            weights[band, k] = max(0.0, min(position, 2 - position))
    frames = []
    for start in range(0, len(wave) - 400 + 1, 160):
        piece = wave[start : start + 400] * window
        magnitude = np.sqrt((cosines @ piece) ** 2 + (sines @ piece) ** 2)
        frames.append(np.log(weights @ magnitude + 0.01))
    return np.array(frames)


def noisy_tones(seconds, rate=16000, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * 440 * time) + 0.2 * np.sin(2 * np.pi * (200 + 300 * time) * time)
    return (wave + 0.02 * rng.standard_normal(len(time))).astype(np.float32)


@pytest.fixture(scope="module")
def ten_seconds():
    wave = noisy_tones(10)
    return wave, slow_log_mel(wave.astype(np.float64))


@pytest.mark.parametrize(("seconds", "patches"), [(0.975, 1), (1, 1), (3, 3), (5, 5), (10, 10)])
def test_log_mel_equals_the_formulas_frame_by_frame(ten_seconds, seconds, patches):
    wave, frames = ten_seconds
    examples = audio.log_mel_examples(wave[: round(seconds * 16000)], 16000)
    assert examples.shape == (patches, 1, 96, 64)
    assert examples.dtype == torch.float32
    np.testing.assert_allclose(examples.flatten(0, 2).numpy(), frames[: 96 * patches], atol=2e-4)


def test_the_incomplete_tail_is_dropped():
    wave = noisy_tones(5)
    # The second patch needs frames 96..191, so 400 + 191 * 160 samples.
    assert len(audio.log_mel_examples(wave[: 400 + 191 * 160], 16000)) == 2
    assert len(audio.log_mel_examples(wave[: 400 + 191 * 160 - 1], 16000)) == 1


def test_second_examples_start_at_whole_seconds(ten_seconds):
    wave, frames = ten_seconds
    examples = audio.second_examples(wave, 16000, 9)
    for second in range(9):  # a second is 100 hops
        np.testing.assert_allclose(examples[second, 0].numpy(), frames[100 * second : 100 * second + 96], atol=2e-4)


def test_second_examples_continue_a_short_sound_by_silence():
    wave = noisy_tones(2.4)
    padded = np.concatenate([wave, np.zeros(4 * 16000, np.float32)])
    examples = audio.second_examples(wave, 16000, 5)
    assert torch.equal(examples, audio.second_examples(padded, 16000, 5))
    assert torch.allclose(examples[4], torch.full((1, 96, 64), np.log(0.01)))


def test_second_examples_of_a_batch_equal_those_of_its_clips():
    batch = torch.from_numpy(np.stack([noisy_tones(3, seed=s) for s in range(3)])).unsqueeze(1)
    together = audio.second_examples(batch, 16000, 3)
    assert together.shape == (3, 3, 1, 96, 64)
    for clip, wave in zip(together, batch, strict=True):
        assert torch.allclose(clip, audio.second_examples(wave, 16000, 3), atol=1e-5)


def test_published_examples_drift_by_four_hundredths_of_a_second_per_frame(ten_seconds):
    wave, frames = ten_seconds
    examples = audio.published_examples(wave, 16000, 10)
    for i in range(10):  # 0.96 i seconds are 96 i hops
        np.testing.assert_allclose(examples[i, 0].numpy(), frames[96 * i : 96 * i + 96], atol=2e-4)


def test_published_examples_repeat_the_last_patch_of_a_short_clip():
    wave = noisy_tones(2.2)
    examples = audio.published_examples(wave, 16000, 5)
    plain = audio.log_mel_examples(wave, 16000)
    assert len(plain) == 2
    assert torch.equal(examples, plain[[0, 1, 1, 1, 1]])


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000, 11127])
def test_a_tone_keeps_its_band_at_any_sampling_rate(rate):
    time = np.arange(3 * rate) / rate
    tone = (0.5 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)
    wanted = audio.log_mel_examples(
        (0.5 * np.sin(2 * np.pi * 1000 * np.arange(48000) / 16000)).astype(np.float32), 16000
    )
    got = audio.log_mel_examples(tone, rate)
    assert got.shape == (3, 1, 96, 64)
    loud = wanted[1] > 0  # inside the clip, where the resampling filter has both sides
    assert (got[1][loud] - wanted[1][loud]).abs().max() < 0.02


def test_stereo_is_averaged():
    left, right = noisy_tones(1, seed=1), noisy_tones(1, seed=2)
    stereo = audio.log_mel_examples(np.stack([left, right]), 16000)
    assert torch.allclose(stereo, audio.log_mel_examples((left + right) / 2, 16000), atol=1e-5)


def test_torch_and_numpy_and_double_precision_give_the_same():
    wave = noisy_tones(1)
    reference = audio.log_mel_examples(wave, 16000)
    assert torch.equal(audio.log_mel_examples(torch.from_numpy(wave), 16000), reference)
    assert torch.equal(audio.log_mel_examples(wave.astype(np.float64), 16000), reference)


def test_one_sample_is_too_short_for_a_patch_but_a_second_of_near_silence():
    with pytest.raises(ValueError, match=r"0\.975 s.*second_examples"):
        audio.log_mel_examples(np.zeros(1, np.float32), 16000)
    assert audio.second_examples(np.zeros(1, np.float32), 16000, 1).shape == (1, 1, 96, 64)


@pytest.mark.parametrize(
    "function", [lambda w, r: audio.log_mel_examples(w, r), lambda w, r: audio.second_examples(w, r, 1)]
)
@pytest.mark.parametrize(
    ("wave", "rate", "says"),
    [
        (np.full(16000, np.nan, np.float32), 16000, "NaN"),
        (np.full(16000, np.inf, np.float32), 16000, "infinite"),
        (np.zeros(0, np.float32), 16000, "empty"),
        (np.zeros((2, 0), np.float32), 16000, "empty"),
        (np.zeros(16000, np.int16), 16000, "32768"),
        (np.zeros((16000, 2), np.float32), 16000, "Transpose"),
        (np.zeros((1, 1, 1, 16000), np.float32), 16000, "shape"),
        (np.float32(0), 16000, "shape"),
        (np.zeros(16000, np.float32), 0, "sample_rate"),
        (np.zeros(16000, np.float32), 44100.5, "sample_rate"),
    ],
)
def test_sounds_that_are_none_are_refused(function, wave, rate, says):
    with pytest.raises(ValueError, match=says):
        function(wave, rate)


def test_no_seconds_are_refused():
    with pytest.raises(ValueError, match="seconds"):
        audio.second_examples(noisy_tones(1), 16000, 0)
