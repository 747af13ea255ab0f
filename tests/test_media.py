"""Videos written here with PyAV, read by `read_clip`, and overlays read back."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from gavs_lib.data import media, read_clip, write_masks, write_overlay_video

WIDTH, HEIGHT, RATE = 64, 48, 25
# The colour on screen in second i.
COLOURS = np.array([[220, 40, 40], [40, 200, 60], [50, 70, 220], [210, 210, 40], [120, 120, 120]], np.uint8)


def tone(seconds, rate, hertz=440.0):
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_video(
    path, seconds=3.0, audio=True, sample_rate=44100, channels=2, fps=RATE, sound_delay=0.0, white_columns=0, **options
):
    """H.264 and AAC; the colour changes by the second; left channel a tone, right one silent."""
    with av.open(str(path), "w", **options) as container:
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = (
            container.add_stream("aac", rate=sample_rate, layout="stereo" if channels == 2 else "mono")
            if audio
            else None
        )
        for i in range(round(seconds * fps)):
            picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
            picture[:] = COLOURS[int(i / fps) % len(COLOURS)]
            picture[:, :white_columns] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio:
            wave = np.zeros((channels, round((seconds - sound_delay) * sample_rate)), np.float32)
            wave[0] = tone(seconds - sound_delay, sample_rate)
            frame = av.AudioFrame.from_ndarray(wave, "fltp", "stereo" if channels == 2 else "mono")
            frame.sample_rate, frame.time_base = sample_rate, Fraction(1, sample_rate)
            frame.pts = round(sound_delay * sample_rate)
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def loudest_hertz(wave, rate):
    return np.argmax(np.abs(np.fft.rfft(wave))) * rate / len(wave)


def test_one_frame_a_second_from_the_middle_of_each(tmp_path):
    clip = read_clip(write_video(tmp_path / "clip.mp4"))
    assert clip.uid == "clip" and clip.seconds == 3
    assert clip.frames.shape == (3, HEIGHT, WIDTH, 3) and clip.frames.dtype == np.uint8
    assert np.abs(clip.frames.astype(int) - COLOURS[:3, None, None]).max() < 12
    # Of 25 frames a second, number 12 is on screen at 0.5 s, from 0.48 to 0.52 s.
    assert np.allclose(clip.frame_times, [0.48, 1.48, 2.48], atol=1e-3)
    assert clip.masks is None and clip.has_mask is None


@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (8000, 1), (96000, 2)])
def test_the_sound_is_mono_at_its_own_rate(tmp_path, rate, channels):
    clip = read_clip(write_video(tmp_path / "clip.mp4", sample_rate=rate, channels=channels))
    assert clip.sample_rate == rate and clip.waveform.dtype == np.float32
    assert abs(len(clip.waveform) / rate - 3) < 0.15  # AAC fills its last packets
    middle = clip.waveform[rate : 2 * rate]
    assert abs(loudest_hertz(middle, rate) - 440) <= 1
    assert np.abs(middle).max() == pytest.approx(0.4 / channels, rel=0.1)  # the mean over channels


def test_a_last_part_of_a_second_is_dropped_but_one_second_stays(tmp_path):
    assert read_clip(write_video(tmp_path / "a.mp4", seconds=2.8)).seconds == 2
    assert read_clip(write_video(tmp_path / "b.mp4", seconds=2.96)).seconds == 3  # one frame short of three seconds
    assert read_clip(write_video(tmp_path / "c.mp4", seconds=0.4)).seconds == 1


def test_seconds_caps_picture_and_sound(tmp_path):
    path = write_video(tmp_path / "clip.mp4", seconds=4)
    whole, part = read_clip(path), read_clip(path, seconds=2)
    assert np.array_equal(part.frames, whole.frames[:2])
    assert np.array_equal(part.waveform, whole.waveform[: 2 * 44100])
    assert read_clip(path, seconds=9).seconds == 4
    with pytest.raises(ValueError, match="at least 1"):
        read_clip(path, seconds=0)


def test_a_clip_can_start_between_seconds(tmp_path):
    path = write_video(tmp_path / "clip.mp4", seconds=4)
    whole, part = read_clip(path), read_clip(path, seconds=1, start=1.5)
    # Its only frame is on screen at 2 s, 0.5 s after the start: the first one of second 2.
    assert part.frames.shape[0] == 1 and np.abs(part.frames[0].astype(int) - COLOURS[2]).max() < 12
    assert np.allclose(part.frame_times, [0.5])
    assert np.array_equal(part.waveform, whole.waveform[66150 : 66150 + 44100])
    rest = read_clip(path, start=1.5)
    assert rest.seconds == 2 and np.array_equal(rest.waveform, whole.waveform[66150:])
    assert np.array_equal(read_clip(path, start=1).frames, whole.frames[1:])


def test_a_start_outside_the_video_is_refused(tmp_path):
    path = write_video(tmp_path / "clip.mp4", seconds=2)
    with pytest.raises(ValueError, match="start is -1; expected seconds from the first frame on"):
        read_clip(path, start=-1)
    with pytest.raises(ValueError, match="clip.mp4: the picture ends after 2.00 s, before the start asked for, 4.5 s"):
        read_clip(path, seconds=1, start=4.5)


def test_sound_that_starts_late_is_preceded_by_silence(tmp_path):
    clip = read_clip(write_video(tmp_path / "clip.mkv", sound_delay=1.0, channels=1))
    quiet, loud = clip.waveform[: int(0.9 * 44100)], clip.waveform[int(1.1 * 44100) : int(2.9 * 44100)]
    assert np.abs(quiet).max() < 0.01
    assert np.abs(loud).max() > 0.3


def test_a_hole_in_the_sound_is_silence_and_what_follows_keeps_its_time(tmp_path):
    path = tmp_path / "hole.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for i in range(4 * RATE):
            frame = av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for start, hertz in ((0, 440.0), (3, 880.0)):
            wave = (tone(1, 8000, hertz) * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(wave, "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, start * 8000, Fraction(1, 8000)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    wave = read_clip(path).waveform
    assert len(wave) == pytest.approx(4 * 8000, abs=200)
    assert abs(loudest_hertz(wave[:7900], 8000) - 440) <= 2 and abs(loudest_hertz(wave[24100:], 8000) - 880) <= 2
    assert np.abs(wave[8200:23800]).max() < 1e-3


def test_a_cover_picture_is_no_film(tmp_path):
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=44100, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = WIDTH, HEIGHT, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), format="rgb24")
        container.mux(cover.encode(picture))
        frame = av.AudioFrame.from_ndarray(tone(1, 44100)[None], "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(ValueError, match="only a cover"):
        read_clip(path)


def test_other_containers_and_slow_videos_are_read(tmp_path):
    assert read_clip(write_video(tmp_path / "clip.mkv")).seconds == 3
    slow = read_clip(write_video(tmp_path / "slow.mp4", fps=1))  # frame i is on screen for the whole of second i
    assert np.abs(slow.frames.astype(int) - COLOURS[:3, None, None]).max() < 12


def test_a_video_recorded_upright_is_turned_upright(tmp_path):
    path = write_video(tmp_path / "phone.mp4", white_columns=16)
    data = bytearray(path.read_bytes())
    # The display matrix ends 8 bytes before the track header's end; this one turns a quarter clockwise.
    header = data.index(b"tkhd") - 4
    matrix = [0, 1 << 16, 0, -(1 << 16) & 0xFFFFFFFF, 0, 0, HEIGHT << 16, 0, 1 << 30]
    data[header + 48 : header + 84] = b"".join(value.to_bytes(4, "big") for value in matrix)
    path.write_bytes(data)
    clip = read_clip(path)
    assert clip.frames.shape == (3, WIDTH, HEIGHT, 3)
    assert clip.frames[:, :14].min() > 240 and clip.frames[:, 18:].mean() < 200  # what was left is now on top
    out = write_overlay_video(tmp_path / "out.mp4", path, np.zeros((3, 4, 4), bool), clip.waveform, clip.sample_rate)
    assert np.abs(read_clip(out).frames.astype(int) - clip.frames).mean() < 4


def test_a_clip_without_sound_says_so_and_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"quiet\.mp4: the clip has no sound.*add one"):
        read_clip(write_video(tmp_path / "quiet.mp4", audio=False))


def test_a_silent_sound_track_is_read_with_a_warning(tmp_path):
    source = write_video(tmp_path / "clip.mp4")
    write_overlay_video(tmp_path / "hush.mp4", source, np.ones((3, 4, 4), bool), np.zeros(3 * 44100, np.float32), 44100)
    with pytest.warns(UserWarning, match="silent from end to end"):
        assert not read_clip(tmp_path / "hush.mp4").waveform.any()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("options", [{}, {"options": {"movflags": "+faststart"}}])
def test_a_video_cut_short_is_refused(tmp_path, share, options):
    path = write_video(tmp_path / "cut.mp4", seconds=4, **options)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"cut\.mp4.*(ownload|ecord)"):
        read_clip(path)


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "text.mp4").write_text("this is no video\n" * 50)
    with pytest.raises(ValueError, match=r"text\.mp4: not a video"):
        read_clip(tmp_path / "text.mp4")
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_clip(tmp_path / "none.mp4")
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_clip(tmp_path)
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray((tone(1, 16000)[None] * 32767).astype(np.int16), "s16", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match="has no picture"):
        read_clip(tmp_path / "sound.wav")


def test_a_video_without_frames_is_refused(tmp_path):
    with pytest.raises(ValueError, match="empty.mkv"):
        read_clip(write_video(tmp_path / "empty.mkv", seconds=0.01, fps=10))


def half_masks(seconds=3):
    """Left half in even seconds, right half in odd ones."""
    masks = np.zeros((seconds, 12, 16), bool)
    masks[::2, :, :8] = True
    masks[1::2, :, 8:] = True
    return masks


def frames_and_sound(path):
    with av.open(str(path)) as container:
        assert [s.codec_context.name for s in container.streams] == ["h264", "aac"]
        frames = [(f.time, f.to_ndarray(format="rgb24").astype(int)) for f in container.decode(video=0)]
    with av.open(str(path)) as container:
        wave = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
        return frames, wave, container.streams.audio[0].codec_context.sample_rate


def test_an_overlay_keeps_every_frame_and_the_sound_and_tints_inside_the_mask(tmp_path):
    source = write_video(tmp_path / "clip.mp4", channels=1)
    clip = read_clip(source)
    out = write_overlay_video(tmp_path / "new" / "overlay.mp4", source, half_masks(), clip.waveform, clip.sample_rate)
    frames, wave, rate = frames_and_sound(out)
    assert np.allclose([time for time, _ in frames], np.arange(75) / 25, atol=1e-3)
    assert rate == 44100 and abs(len(wave) / rate - 3) < 0.15
    assert abs(loudest_hertz(wave[44100:88200], rate) - 440) <= 1
    tint = np.array([255, 140, 0])
    for time, picture in frames:
        plain = COLOURS[int(time + 1e-6)].astype(int)
        left, right = picture[20:28, 10:20].mean((0, 1)), picture[20:28, 44:54].mean((0, 1))
        inside, outside = (left, right) if int(time + 1e-6) % 2 == 0 else (right, left)
        assert np.abs(inside - (plain + tint) / 2).max() < 14
        assert np.abs(outside - plain).max() < 14
    assert [p.name for p in out.parent.iterdir()] == ["overlay.mp4"]


def test_an_overlay_of_a_part_stops_with_it_and_a_tail_keeps_the_last_mask(tmp_path):
    source = write_video(tmp_path / "clip.mp4", seconds=3.4)
    part = read_clip(source, seconds=2)
    out = write_overlay_video(tmp_path / "part.mp4", source, half_masks(2), part.waveform, part.sample_rate)
    assert len(frames_and_sound(out)[0]) == 50
    whole = read_clip(source)
    out = write_overlay_video(tmp_path / "whole.mp4", source, half_masks(3), whole.waveform, whole.sample_rate)
    frames = frames_and_sound(out)[0]
    assert len(frames) == 85
    assert np.abs(frames[-1][1][20:28, 10:20].mean((0, 1)) - (COLOURS[3].astype(int) + [255, 140, 0]) / 2).max() < 14


def test_an_overlay_of_frames_takes_odd_sizes_torch_masks_and_unusual_rates(tmp_path):
    frames = np.full((2, 33, 47, 3), 90, np.uint8)
    masks = torch.zeros(2, 33, 47, dtype=torch.bool)
    out = write_overlay_video(tmp_path / "still.mp4", frames, masks, tone(2, 11127), 11127)
    pictures, wave, rate = frames_and_sound(out)
    assert pictures[0][1].shape == (34, 48, 3) and pictures[-1][0] == pytest.approx(1.9, abs=1e-3)
    assert all(np.abs(picture - 90).max() < 10 for _, picture in pictures)  # empty masks tint nothing
    assert abs(len(wave) / rate - 2) < 0.15 and abs(loudest_hertz(wave[:rate], rate) - 440) <= 2


def test_a_failed_overlay_leaves_the_old_one_and_nothing_else(tmp_path):
    out = tmp_path / "overlay.mp4"
    out.write_bytes(b"old")
    source = write_video(tmp_path / "cut.mp4", seconds=4, options={"movflags": "+faststart"})
    source.write_bytes(source.read_bytes()[:200])
    with pytest.raises(ValueError, match="cut.mp4"):
        write_overlay_video(out, source, half_masks(), tone(3, 16000), 16000)

    def failing(*args):
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gavs_lib.data.media._Tint.__call__", failing)
        with pytest.raises(OSError, match="No space"):
            write_overlay_video(
                out, np.zeros((1, 32, 32, 3), np.uint8), np.ones((1, 4, 4), bool), tone(1, 16000), 16000
            )
    assert out.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.mp4", "overlay.mp4"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"path": "overlay.avi"}, "ends in .mp4"),
        ({"masks": np.zeros((1, 4, 4), np.float32)}, "bool"),
        ({"masks": np.zeros((0, 4, 4), bool)}, "at least one"),
        ({"source": np.zeros((2, 32, 32, 3), np.uint8)}, "one for each mask"),
        ({"source": np.zeros((1, 32, 32, 3), np.float32)}, "uint8"),
        ({"waveform": np.zeros((2, 9), np.float32)}, "waveform"),
        ({"waveform": np.full(9, np.nan, np.float32)}, "finite"),
    ],
)
def test_overlay_inputs_of_another_shape_are_refused(tmp_path, change, says):
    good = {
        "source": np.zeros((1, 32, 32, 3), np.uint8),
        "masks": np.ones((1, 4, 4), bool),
        "waveform": tone(1, 16000),
        "sample_rate": 16000,
    }
    arguments = {**good, **change, "path": tmp_path / change.get("path", "overlay.mp4")}
    with pytest.raises(ValueError, match=says):
        write_overlay_video(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_masks_are_written_as_black_and_white_pictures_and_replace_older_ones(tmp_path):
    write_masks(tmp_path / "masks", half_masks(5))
    paths = write_masks(tmp_path / "masks", torch.from_numpy(half_masks(3)))
    assert (
        [p.name for p in paths] == ["0.png", "1.png", "2.png"] == sorted(p.name for p in (tmp_path / "masks").iterdir())
    )
    for path, mask in zip(paths, half_masks(3)):
        assert np.array_equal(np.asarray(Image.open(path)), mask * np.uint8(255))
    assert [p.name for p in tmp_path.iterdir()] == ["masks"]


def test_a_folder_with_other_things_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"thesis\.txt"):
        write_masks(tmp_path, half_masks())
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_cover_beside_the_film_is_neither_read_nor_shown(tmp_path):
    path = write_video(tmp_path / "clip.mp4")
    with av.open(str(path)) as container:
        film = container.streams.video[0]
        assert media._film(path, container) is film

    class Cover:
        disposition = av.stream.Disposition.attached_pic

    class Both:
        class streams:  # the cover comes first, as in files of music shops
            video = [Cover(), film]

    assert media._film(path, Both) is film
