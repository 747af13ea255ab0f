"""The user's own videos: a file in, one frame a second and its sound out; masks and an overlay video back to disk."""

import itertools
import math
import os
import pathlib
import shutil
import warnings
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from PIL import Image

from gavs_lib.data.avsbench import Clip

# A clip that misses a full second by less than this still has it: 149 frames at 29.97 a second are "five seconds".
_NEARLY_A_SECOND = 0.05
# The sound's frames follow each other; time stamps that jump by more than this leave a hole, filled with silence.
_HOLE = 0.05
_LONGEST_HOLE = 3600.0
# A stream that ends this much before the end its file announces was cut short.
_CUT_SECONDS = 0.5
_MOST_BYTES = 4 << 30
_STILL_RATE = 10  # frames a second of an overlay made from one picture a second: some players stumble below that
_TICKS = 90000  # time base of written video; holds every usual frame rate without rounding
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_SOUND_PIECE = 4096
_BT709, _LIMITED_RANGE = 1, 1  # as ITU-T H.273 numbers them
_OVERLAY_COLOR = (255, 140, 0)


def read_clip(path: str | os.PathLike, seconds: int | None = None, start: float = 0.0) -> Clip:
    """Read a video file as the model wants it: one frame a second, and the sound.

    Frame i is the one on screen in the middle of second i, at i + 0.5 s; the sound of second i is what VGGish hears
    for it (`gavs_lib.audio.second_examples`). Time counts from the first frame; sound that starts later is preceded by
    silence. A sound track that is there but silent from end to end is read, with a warning.

    Args:
        path: any video file that FFmpeg reads, with sound.
        seconds: read at most so many; default all. A last part of a second is dropped, but a clip has at least one.
        start: where second 0 begins, in seconds from the first frame; what lies before is left out of picture, sound
            and `frame_times`.

    Returns:
        a `Clip` without masks: `masks` and `has_mask` are None, `a_obj` is "". The waveform is mono, at the file's own
        rate, and holds all the sound up to `seconds`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a video, no sound, no frame, cut short, or damaged; seconds below 1; a start that is negative or
            behind the end of picture or sound; frames of more than 4 GiB.
    """
    path = pathlib.Path(path)
    if seconds is not None and (int(seconds) != seconds or seconds < 1):
        raise ValueError(f"seconds is {seconds!r}; expected a whole number, at least 1.")
    if not 0 <= start < math.inf:
        raise ValueError(f"start is {start!r}; expected seconds from the first frame on, 0 or more.")
    with _open(path) as container:
        video, sound = _streams(path, container)
        video.thread_type = "AUTO"
        picker = _FramePicker(path, start)
        resampler = av.AudioResampler(format="fltp")  # planar floats; channels and rate stay as they are
        pieces: list[np.ndarray] = []
        sound_start, sample_rate, samples, whole_file = 0.0, 1, 0, True
        for frame in _decoded(path, container, video, sound):
            if isinstance(frame, av.VideoFrame):
                picker.see(frame)
            else:
                if not pieces:
                    sound_start = frame.time or 0.0
                elif frame.time is not None:
                    # Recorders leave out silence, and editors leave holes: what follows must keep its time.
                    hole = frame.time - (sound_start + samples / sample_rate)
                    if hole > _LONGEST_HOLE:
                        raise ValueError(f"{path}: the sound's time stamps jump by {hole:.0f} s. Re-encode the file.")
                    if hole > _HOLE:
                        pieces.append(np.zeros(round(hole * sample_rate), dtype=np.float32))
                        samples += len(pieces[-1])
                for piece in resampler.resample(frame):
                    pieces.append(piece.to_ndarray().mean(axis=0))
                    sample_rate = piece.sample_rate
                    samples += piece.samples
            sound_end = sound_start + samples / sample_rate - picker.start
            if seconds is not None and min(picker.end, sound_end) >= start + seconds:
                whole_file = False
                break
        if not picker.seen:
            raise ValueError(f"{path}: the video has no frames; expected at least one. Record or download it again.")
        if not samples:
            raise ValueError(f"{path}: the clip's sound track is empty. {_SOUND_REMEDY}")
        if whole_file:
            _refuse_if_cut(path, "picture", picker.end, video)
            _refuse_if_cut(path, "sound", samples / sample_rate, sound)
        if picker.end <= start:
            raise ValueError(
                f"{path}: the picture ends after {picker.end:.2f} s, before the start asked for, {start:g} s."
            )
    waveform = np.concatenate(pieces).astype(np.float32, copy=False)
    if not np.isfinite(waveform).all():
        raise ValueError(f"{path}: the sound contains NaN or infinite samples. Re-encode the file.")
    offset = round((sound_start - picker.start - start) * sample_rate)
    waveform = np.pad(waveform, (offset, 0)) if offset > 0 else waveform[-offset:]
    count = max(1, math.floor(picker.end - start + _NEARLY_A_SECOND))
    if seconds is not None:
        count = min(count, int(seconds))
        waveform = waveform[: int(seconds) * sample_rate]
    if waveform.size == 0:
        begin = f"the start asked for, {start:g} s" if start else "the picture begins"
        raise ValueError(f"{path}: the sound ends before {begin}. {_SOUND_REMEDY}")
    if not waveform.any():
        part = f"in its first {seconds} s" if start == 0 else f"from {start:g} s on"
        where = "from end to end" if whole_file and start == 0 else part
        warnings.warn(
            f"{path}: the sound track is silent {where}; masks made from it tell nothing about hearing. "
            "Take a clip with audible sound.",
            stacklevel=2,
        )
    frames, times = picker.finish(count)
    return Clip(
        uid=path.stem,
        frames=frames,
        masks=None,
        has_mask=None,
        waveform=waveform,
        sample_rate=sample_rate,
        a_obj="",
        path=path,
        frame_times=times,
    )


def write_masks(folder: str | os.PathLike, masks) -> list[pathlib.Path]:
    """Write one PNG a second, `0.png`, `1.png`, …: white where something sounds, black elsewhere.

    The folder appears whole or not at all; one of an earlier run is replaced.

    Args:
        folder: where to.
        masks: [T, h, w] bool, numpy or torch.

    Returns:
        the files' paths, in order.

    Raises:
        ValueError: masks of another shape or type, or the folder holds something else than such PNGs.
    """
    folder = pathlib.Path(folder)
    masks = _checked_masks(masks)
    if folder.exists():
        strangers = [p.name for p in sorted(folder.iterdir()) if not (p.suffix == ".png" and p.stem.isdigit())]
        if strangers:
            raise ValueError(
                f"{folder}: holds {strangers[0]!r}; expected a new folder, or one of masks. Choose another one."
            )
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        draft.mkdir()
        for i, mask in enumerate(masks):
            Image.fromarray(mask.astype(np.uint8) * 255).save(draft / f"{i}.png")
        if folder.exists():
            shutil.rmtree(folder)
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return [folder / f"{i}.png" for i in range(len(masks))]


def write_overlay_video(
    path: str | os.PathLike,
    source: "str | os.PathLike | np.ndarray",
    masks,
    waveform: np.ndarray,
    sample_rate: int,
    color: tuple[int, int, int] = _OVERLAY_COLOR,
) -> pathlib.Path:
    """Write a video with its sound in which the masks are tinted and outlined: MP4, H.264 and AAC, for any player.

    Args:
        path: the `.mp4` to write; it appears whole or not at all, and replaces an earlier one.
        source: the video file the masks belong to, of which every frame is kept; or frames [T, H, W, 3] uint8 RGB, one
            a second.
        masks: [T, h, w] bool, numpy or torch, one a second, of any size. What is left of the source after the last
            whole second keeps the last mask; a source of which only the first T seconds were read is cut there.
        waveform: [samples] floating point, mono, from the first frame on (`Clip.waveform`).
        sample_rate: in Hz.
        color: of tint and outline, RGB 0-255.

    Returns:
        the path written.

    Raises:
        FileNotFoundError: no such source.
        ValueError: the source is no video; another suffix than `.mp4`; frames, masks or waveform of another shape.
        RuntimeError: this PyAV was built without H.264 encoding.
    """
    path = pathlib.Path(path)
    masks = _checked_masks(masks)
    waveform = np.asarray(waveform, dtype=np.float32)
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"{path}: expected a name that ends in .mp4; other containers are not written.")
    if waveform.ndim != 1 or waveform.size == 0 or not np.isfinite(waveform).all():
        raise ValueError(f"the waveform has shape {waveform.shape}; expected [samples], finite, at least one.")
    if "libx264" not in av.codecs_available:
        raise RuntimeError("this PyAV has no libx264 and cannot write H.264. Install the wheel: pip install av.")
    if isinstance(source, str | os.PathLike):
        rate, pictures = (
            _source_rate(pathlib.Path(source)),
            _source_pictures(pathlib.Path(source), len(masks), len(waveform) / sample_rate),
        )
    else:
        rate, pictures = Fraction(_STILL_RATE), _still_pictures(_checked_frames(source, len(masks)))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with av.open(str(draft), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            _encode(container, pictures, rate, _Tint(masks, color), waveform, int(sample_rate))
        os.replace(draft, path)
    finally:
        pictures.close()
        draft.unlink(missing_ok=True)
    return path


_SOUND_REMEDY = (
    "Sound-prompted segmentation needs to hear something: take a clip with sound, "
    "or add one: ffmpeg -i CLIP -i SOUND.wav -c:v copy -shortest OUT.mp4"
)


class _FramePicker:
    """Keeps, of a stream of frames, those on screen in the middle of each second, counted from `skip` seconds on."""

    def __init__(self, path: pathlib.Path, skip: float):
        self.path = path
        self.skip = skip
        self.start = 0.0  # the file's time of the first frame
        self.end = 0.0  # when the last frame seen so far leaves the screen, from the first frame on
        self._last: tuple[float, av.VideoFrame] | None = None
        self._picked: list[tuple[float, np.ndarray]] = []
        self.seen = 0

    def see(self, frame: av.VideoFrame) -> None:
        time, length = _time_of(frame, self.seen)
        if not self.seen:
            self.start = time
        time -= self.start
        self.seen += 1
        if self._last is not None:
            while self.skip + len(self._picked) + 0.5 < time:
                self._pick()
        self._last = (time, frame)
        self.end = max(self.end, time + length)

    def _pick(self) -> None:
        time, frame = self._last
        if self._picked and self._picked[-1][0] == time:
            self._picked.append(self._picked[-1])  # a still longer than a second
            return
        picture = _upright(frame)
        if self._picked and picture.shape != self._picked[0][1].shape:
            height, width = self._picked[0][1].shape[:2]
            picture = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))
        self._picked.append((time, picture))
        if len(self._picked) * picture.nbytes > _MOST_BYTES:
            raise ValueError(
                f"{self.path}: {len(self._picked)} s of {picture.shape[1]}x{picture.shape[0]} frames exceed "
                f"{_MOST_BYTES >> 30} GiB. Read a part: read_clip(path, seconds={len(self._picked) // 2})."
            )

    def finish(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        while len(self._picked) < count:
            self._pick()
        times, frames = zip(*self._picked[:count])
        return np.stack(frames), np.array(times) - self.skip


class _Tint:
    """Lays the mask of each second over its frames: half tint inside, full colour along the outline."""

    def __init__(self, masks: np.ndarray, color: tuple[int, int, int]):
        self.masks = masks
        self.color = np.asarray(color, dtype=np.uint8)
        self._second = -1

    def __call__(self, picture: np.ndarray, time: float) -> np.ndarray:
        second = min(int(time), len(self.masks) - 1)
        if second != self._second:
            self._second = second
            height, width = picture.shape[:2]
            mask = Image.fromarray(self.masks[second].astype(np.uint8) * 255)
            inside = np.asarray(mask.resize((width, height), Image.Resampling.BILINEAR)) >= 128
            core = inside
            for _ in range(max(1, min(height, width) // 240)):  # about a pixel of outline in 240
                padded = np.pad(core, 1)
                core = core & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
            rows, columns = inside.any(axis=1).nonzero()[0], inside.any(axis=0).nonzero()[0]
            if rows.size:  # only the mask's own rectangle is worked on
                self._box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            else:
                self._box = (slice(0), slice(0))
            self._inside, self._edge = inside[self._box][..., None], (inside & ~core)[self._box][..., None]
        tinted = picture.copy()
        below = picture[self._box]
        tinted[self._box] = np.where(
            self._edge, self.color, np.where(self._inside, below // 2 + self.color // 2, below)
        )
        return tinted


def _checked_masks(masks) -> np.ndarray:
    masks = np.asarray(masks)
    if masks.ndim != 3 or masks.dtype != bool or masks.size == 0:
        raise ValueError(
            f"masks have shape {masks.shape} and type {masks.dtype}; expected [T, h, w] bool, at least one. "
            "Threshold the logits first: mask_logits > 0."
        )
    return masks


def _open(path: pathlib.Path) -> av.container.InputContainer:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a video file.")
    try:
        return av.open(str(path), metadata_errors="replace")
    except av.FFmpegError as error:
        raise ValueError(
            f"{path}: not a video file that FFmpeg reads, or cut short ({error.strerror}). "
            "Download or export it again, as MP4."
        ) from error


def _film(path: pathlib.Path, container: av.container.InputContainer):
    """The video stream that moves; a cover picture is one too, as far as the container is concerned."""
    films = [v for v in container.streams.video if not v.disposition & av.stream.Disposition.attached_pic]
    if not films:
        what = "a cover" if container.streams.video else f"{len(container.streams)} other stream(s)"
        raise ValueError(f"{path}: has no picture, only {what}; expected a video.")
    return films[0]


def _streams(path: pathlib.Path, container: av.container.InputContainer):
    film = _film(path, container)
    if not container.streams.audio:
        raise ValueError(f"{path}: the clip has no sound. {_SOUND_REMEDY}")
    return film, container.streams.audio[0]


def _decoded(path: pathlib.Path, container: av.container.InputContainer, *streams) -> Iterator:
    try:
        yield from container.decode(*streams)
    except av.FFmpegError as error:
        raise ValueError(
            f"{path}: damaged or cut short ({error.strerror}). Download or export the file again."
        ) from error


def _refuse_if_cut(path: pathlib.Path, what: str, found: float, stream) -> None:
    if stream.duration is None or stream.time_base is None:
        return
    announced = float(stream.duration * stream.time_base)
    if found < announced - _CUT_SECONDS:
        raise ValueError(
            f"{path}: the {what} ends after {found:.2f} s, the file announces {announced:.2f} s: it was cut short. "
            "Download or export it again."
        )


def _time_of(frame: av.VideoFrame, index: int) -> tuple[float, float]:
    """When a frame comes on screen, and for how long, in seconds; streams without time stamps count their frames."""
    length = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.04
    return (index * length if frame.time is None else frame.time), length


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """[H, W, 3] uint8 RGB, turned as the recorder says it should be shown."""
    return np.rot90(frame.to_ndarray(format="rgb24"), k=round(getattr(frame, "rotation", 0) / 90) % 4)


def _source_rate(path: pathlib.Path) -> Fraction:
    with _open(path) as container:
        return Fraction(_film(path, container).average_rate or 25)


def _source_pictures(path: pathlib.Path, seconds: int, sound_seconds: float) -> Iterator[tuple[float, np.ndarray]]:
    """Every frame of a video with its time; only the first seconds, when a whole one or more would be left over.

    A container that does not know how long it is (a live recording) is shown as long as its sound was read.
    """
    with _open(path) as container:
        video = _film(path, container)
        video.thread_type = "AUTO"
        if container.duration is None:
            limit = max(seconds, sound_seconds)
        else:
            limit = seconds if container.duration / av.time_base >= seconds + 1 else math.inf
        start = 0.0
        for index, frame in enumerate(_decoded(path, container, video)):
            time, _ = _time_of(frame, index)
            if index == 0:
                start = time
            if time - start >= limit:
                return
            yield time - start, _upright(frame)


def _checked_frames(frames, seconds: int) -> np.ndarray:
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or len(frames) != seconds:
        raise ValueError(
            f"frames have shape {frames.shape} and type {frames.dtype}; "
            f"expected [{seconds}, H, W, 3] uint8, one for each mask."
        )
    return frames


def _still_pictures(frames: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    for i in range(len(frames) * _STILL_RATE):
        yield i / _STILL_RATE, frames[i // _STILL_RATE]


def _encode(container, pictures, rate: Fraction, tint: _Tint, waveform: np.ndarray, sample_rate: int) -> None:
    """Encode tinted pictures and the sound side by side into an open MP4."""
    first = next(pictures, None)
    if first is None:
        raise ValueError("the source has no frames; expected at least one.")
    height, width = first[1].shape[:2]
    odd = ((0, height % 2), (0, width % 2), (0, 0))  # yuv420p needs even sizes: repeat the last row or column
    video = container.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "veryfast"})
    video.width, video.height, video.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    context = video.codec_context
    context.time_base = Fraction(1, _TICKS)
    # Untagged video is guessed at, by its size, by some players.
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE
    audio = container.add_stream("aac", rate=sample_rate if sample_rate in _AAC_RATES else 48000, layout="mono")
    waveform = np.clip(waveform, -1.0, 1.0)
    written, last_tick = 0, -1

    def write_sound(until: int) -> None:
        nonlocal written
        while written < min(until, len(waveform)):
            piece = av.AudioFrame.from_ndarray(waveform[None, written : written + _SOUND_PIECE], "fltp", "mono")
            piece.sample_rate, piece.pts, piece.time_base = sample_rate, written, Fraction(1, sample_rate)
            container.mux(audio.encode(piece))
            written += piece.samples

    for time, picture in itertools.chain([first], pictures):
        tick = round(time * _TICKS)
        if tick <= last_tick or picture.shape != first[1].shape:
            continue  # a doubled time stamp, or a change of size in the middle of a stream: no player shows either
        last_tick = tick
        rgb = np.ascontiguousarray(np.pad(tint(picture, time), odd, mode="edge"))
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=av.video.reformatter.Colorspace.ITU709)
        frame.pts, frame.time_base = tick, context.time_base
        container.mux(video.encode(frame))
        write_sound(int((time + 1) * sample_rate))
    write_sound(len(waveform))
    container.mux(video.encode(None))
    container.mux(audio.encode(None))
