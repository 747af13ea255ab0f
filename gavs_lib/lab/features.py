"""What never changes during training, computed once: audio embeddings, and the activation that enters the tuned blocks.

`extract_features` turns clips into a `FeatureSet` for `gavs_lib.lab.train.fit`. Two entries lie in the cache folder:

    audio-<key>/   audio.npy [N, T, 128] float32; the clips' names, labels and frame counts
    frames-<key>/  prefix.npy [frames, h, w, C]; masks.bits (one bit a pixel, each mask at its own size)

A key is a hash of everything the entry depends on: the weights used (VGGish; SAM's encoder up to block `tune_from`),
the settings, and the clips. Clips in memory are hashed by content, every byte of frames, sound and masks. Clips of
AVSBench's folders, and files of embeddings (`lab.extract`), are identified by path, size and modification time (in
nanoseconds) of each file, as `make` does: decoding and hashing 60,000 frames would cost as much as what the cache
saves. A file that is changed in place and keeps its size and its time goes unnoticed; only intent does that.

An entry is written under a temporary name and renamed when it is whole. Processes that fill the same cache do not
disturb each other (the first to finish wins, the others take its entry), and a killed one leaves nothing that could be
mistaken for data. Checksums are verified when an entry is opened; a damaged one is computed again.
"""

import copy
import errno
import hashlib
import json
import os
import shutil
import sys
import time
import uuid
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from gavs_lib.data.avsbench import AVSBench, read_audio, read_frame
from gavs_lib.data.avsobject import MS3, S4
from gavs_lib.lab.extract import (
    AUDIO_TIMINGS,
    SWITCHES_FILE,
    UNKNOWN,
    ear_of,
    embed_patches,
    embedding_path,
    read_embedding,
    read_switches,
)
from gavs_lib.lab.padding import pad_frames, padded_extent
from gavs_lib.lab.weights import hash_tensors

_FORMAT = 1  # part of every key: raise it when the meaning of a file changes
_MANIFEST = "manifest.json"
_PATCH_BATCH = 64
_BLOCK = 1 << 24
# A writer touches its files with every batch; one that has not for so long was killed.
_ABANDONED_SECONDS = 3600.0
# numpy has no bfloat16: such activations are stored as the 16-bit integers with the same bits.
_STORED_AS = {torch.float32: np.float32, torch.float16: np.float16, torch.bfloat16: np.int16}


class FeatureSet(Dataset):
    """Clips as the models take them: a dataset of dictionaries, made by `extract_features`.

    `features[i]` has
        uid, label: str (label: the clip's `a_obj`)
        prefix: [T, h, w, C] in the cache's type; or, where no prefix is cached, images: [T, 3, S, S] float32, 0-255
        audio: [T, 128] float32
        masks: [T, H, W] uint8, zeros and ones, at their own size; zeros where unlabelled
        has_mask, frame_valid: [T] bool (frame_valid is all true here; `collate` adds the false ones)
        extent: [2] int, only of padded frames: rows and columns of the square that are picture (`lab.padding`)

    Attributes:
        uids, labels: lists of N str
        audio: [N, T, 128] float32, zeros behind the end of clips that are shorter than the longest
        frame_valid, has_mask: [N, T] bool
        fingerprint: a hash of the clips' names, labels, masks (where cached) and audio; training records it
        caches_prefix: False where items hold images
        inputs: what made the audio and the pictures: vggish (a hash), final_relu, audio_timing, image_size, pad; of
            embeddings from files also quantised, and "unknown" for what they do not say.
            Weights trained on these features record it, for they mean nothing to another ear
    """

    def __init__(self, index: list[dict], audio: Tensor, frames: "_FrameStore | _ClipFrames", inputs: dict):
        self.inputs = inputs
        self._index = index
        self._rows = list(range(len(index)))
        self._audio = audio
        self._frames = frames

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, item: int) -> dict:
        if not -len(self) <= item < len(self):
            raise IndexError(f"clip {item} of {len(self)}")
        row = self._rows[item]
        entry = self._index[row]
        frames = entry["frames"]
        name, pictures, masks = self._frames.read(row)
        has_mask = torch.tensor(entry["has_mask"])
        padded = {}
        if self.inputs["pad"]:
            shape = entry.get("frame_shape", (entry["mask_height"], entry["mask_width"]))
            extent = padded_extent(*shape, self.inputs["image_size"])
            padded["extent"] = torch.tensor(extent)
        return {
            **padded,
            "uid": entry["uid"],
            "label": entry["label"],
            name: pictures,
            "audio": self._audio[item, :frames],
            "masks": masks * has_mask[:, None, None],
            "has_mask": has_mask,
            "frame_valid": torch.ones(frames, dtype=torch.bool),
        }

    @property
    def uids(self) -> list[str]:
        return [self._index[row]["uid"] for row in self._rows]

    @property
    def labels(self) -> list[str]:
        return [self._index[row]["label"] for row in self._rows]

    @property
    def audio(self) -> Tensor:
        return self._audio

    @property
    def frame_valid(self) -> Tensor:
        frames = torch.tensor([self._index[row]["frames"] for row in self._rows])
        return torch.arange(self._audio.shape[1]) < frames[:, None]

    @property
    def has_mask(self) -> Tensor:
        flags = torch.zeros(self._audio.shape[:2], dtype=torch.bool)
        for item, row in enumerate(self._rows):
            flags[item, : self._index[row]["frames"]] = torch.tensor(self._index[row]["has_mask"])
        return flags

    @property
    def caches_prefix(self) -> bool:
        return isinstance(self._frames, _FrameStore)

    @property
    def fingerprint(self) -> str:
        entries = [self._index[row] for row in self._rows]
        masks = _checksum(self._frames.folder / "masks.bits") if self.caches_prefix else None
        return _key(clips=entries, masks=masks, audio=hash_tensors({"audio": self._audio}))

    def subset(self, items: Sequence[int]) -> "FeatureSet":
        """Some of the clips, in the order given, from the same cache: a few-shot list, say.

        Raises:
            IndexError: an item is not in 0 .. N-1.
        """
        items = [int(item) for item in items]
        outside = [item for item in items if not 0 <= item < len(self)]
        if outside:
            raise IndexError(f"items {outside[:5]} are not among the {len(self)} clips (0 to {len(self) - 1}).")
        chosen = copy.copy(self)
        chosen._rows = [self._rows[item] for item in items]
        chosen._audio = self._audio[items]
        return chosen

    def labelled_first(self, seconds: int) -> "FeatureSet":
        """The same clips with no more than their first masks, as v1s training clips have one.

        Raises:
            ValueError: no second would be labelled.
        """
        if seconds < 1:
            raise ValueError(f"seconds is {seconds}; expected at least 1, or nothing is labelled.")
        other = copy.copy(self)
        other._index = [
            {**entry, "has_mask": [flag and second < seconds for second, flag in enumerate(entry["has_mask"])]}
            for entry in self._index
        ]
        return other

    def with_audio(self, audio: Tensor) -> "FeatureSet":
        """The same clips with other sound: silence, shuffled, swapped. Pictures and masks are shared.

        Args:
            audio: [N, T, 128] or one embedding for all, [128] or [1, 1, 128].

        Raises:
            ValueError: another shape, or values that are not finite.
        """
        audio = torch.as_tensor(audio, dtype=torch.float32).detach().cpu()
        if audio.numel() == self._audio.shape[2]:
            audio = audio.reshape(1, 1, -1).expand(self._audio.shape)
        if audio.shape != self._audio.shape:
            raise ValueError(
                f"audio is {list(audio.shape)}; expected {list(self._audio.shape)}, as `.audio` of this set, or one "
                f"embedding [{self._audio.shape[2]}] for all frames."
            )
        if not torch.isfinite(audio).all():
            raise ValueError("audio holds NaN or infinite values; expected finite embeddings.")
        other = copy.copy(self)
        other._audio = audio
        return other


def extract_features(
    clips: Sequence,
    model: nn.Module,
    vggish: nn.Module | None,
    cache_dir: str | os.PathLike,
    *,
    audio_dir: str | os.PathLike | None = None,
    dtype: torch.dtype = torch.float32,
    cache_budget: float = 20e9,
    batch_frames: int = 32,
    audio_timing: str = "second",
    pad: bool = False,
    progress: bool = True,
) -> FeatureSet:
    """Compute, or find in the cache, what training and evaluation need of these clips.

    Args:
        clips: any sequence of `Clip` (`gavs_lib.data.AVSBench`, or a list of clips in memory). One with a method `key`
            (item -> str, another one for every other content) is not read where the cache has its clips already.
        model: GAVS, a baseline or another model with `sam`, `tune_from` and `encode_prefix`. A model with
            `caches_prefix = False` (all blocks train) gets images; only its audio is cached.
        vggish: computes the audio embeddings; both models compute where their parameters are. With `audio_dir` it
            computes nothing and may be None; one that is given must be the one that made the files, where these say so.
        cache_dir: folder of the cache; several processes may use it at the same time.
        audio_dir: folder of embeddings to read instead of computing them: of `lab.extract`, or as the GAVS release has
            them. Its own `features.json` says then how they were made, not `audio_timing`.
        dtype: of the cached activation. float32 equals the direct computation. float16 and bfloat16 halve the cache
            and round by up to 2^-11 and 2^-8 of each value; on a GPU the encoder then also computes in them.
        cache_budget: bytes. If activations and masks need more, neither is cached: items hold images, and the model
            computes the prefix again in every step, without gradients.
        batch_frames: frames that go through the encoder together.
        audio_timing: "second": the sound of frame i starts at i s; "published": frame i takes VGGish patch i, 0.96 s
            apart, as in published AVSBench features.
        pad: scale the longest side of a frame to the model's input and pad the rest, as SAM was trained, instead of
            resizing it to a square.
        progress: show progress bars and say what is cached.

    Raises:
        ValueError: no clips; a clip without frames or sound, with NaN in its sound, or with masks of another number;
            embeddings of another shape, not finite, or made by another VGGish.
        FileNotFoundError: a clip's file is missing, or that of its embeddings.
        OSError: the disk is full or cannot be written; nothing is left behind.
    """
    if dtype not in _STORED_AS:
        raise ValueError(f"dtype is {dtype}; expected torch.float32, torch.float16 or torch.bfloat16.")
    if audio_timing not in AUDIO_TIMINGS:
        raise ValueError(f"audio_timing is {audio_timing!r}; expected one of {', '.join(AUDIO_TIMINGS)}.")
    if batch_frames < 1:
        raise ValueError(f"batch_frames is {batch_frames}; expected at least 1.")
    if len(clips) == 0:
        raise ValueError("There are no clips: check the subset, the split and the folder.")
    heard = _how_heard(vggish, audio_timing, audio_dir)
    cache = Path(cache_dir)
    cache.mkdir(parents=True, exist_ok=True)
    _sweep(cache)

    clip_keys = [_clip_key(clips, item) for item in tqdm(range(len(clips)), "identify clips", disable=not progress)]
    parts = {"timing" if name == "audio_timing" else name: value for name, value in heard.items()}
    files: list[Path] = []
    if audio_dir is not None:
        files = [_embedding_path(Path(audio_dir).absolute(), clips, item) for item in range(len(clips))]
        parts["embeddings"] = [_file_key(path, "`python -m gavs_lib.lab.extract` computes it") for path in files]
    audio_entry = _Entry(cache / f"audio-{_key(format=_FORMAT, clips=clip_keys, **parts)}")
    manifest = audio_entry.manifest()
    if manifest is None:
        if files:
            manifest = _fill(audio_entry, lambda folder: _copy_audio(folder, clips, files, progress))
        else:
            manifest = _fill(audio_entry, lambda folder: _write_audio(folder, clips, vggish, audio_timing, progress))
    index = manifest["clips"]
    audio = torch.from_numpy(np.load(audio_entry.path / "audio.npy"))

    image_size = model.sam.image_encoder.img_size
    inputs = {**heard, "image_size": image_size, "pad": pad}
    colour = model.sam.pixel_mean if pad else None
    without_prefix = FeatureSet(index, audio, _ClipFrames(clips, image_size, colour), inputs)
    if not getattr(model, "caches_prefix", True):
        return without_prefix

    grid, channels = model.sam.image_encoder.pos_embed.shape[2:]
    frames = sum(entry["frames"] for entry in index)
    shape = (frames, grid, grid, channels)
    frame_bytes = grid * grid * channels * torch.empty((), dtype=dtype).element_size()
    mask_bytes = sum(entry["frames"] * -(-entry["mask_height"] * entry["mask_width"] // 8) for entry in index)
    needed = frames * frame_bytes + mask_bytes
    fits = needed <= cache_budget
    if progress:
        print(
            f"prefix cache: {frame_bytes / 1e6:.3g} MB x {frames} frames + {mask_bytes / 1e6:.3g} MB of masks = "
            f"{needed / 1e9:.3g} GB, "
            + ("within" if fits else "above")
            + f" the budget of {cache_budget / 1e9:.3g} GB"
            + ("" if fits else ": the prefix is computed again in every step"),
            file=sys.stderr,
        )
    if not fits:
        return without_prefix

    frames_key = _key(format=_FORMAT, clips=clip_keys, dtype=str(dtype), pad=pad, **_prefix_identity(model, dtype))
    frames_entry = _Entry(cache / f"frames-{frames_key}")
    if frames_entry.manifest() is None:
        free = shutil.disk_usage(cache).free
        if free < needed:
            raise _disk_full(frames_entry.path, f"{needed / 1e9:.3g} GB are needed, {free / 1e9:.3g} GB are free")
        _fill(
            frames_entry,
            lambda folder: _write_frames(folder, clips, index, model, shape, dtype, batch_frames, pad, progress),
        )
    return FeatureSet(index, audio, _FrameStore(frames_entry.path, index, dtype), inputs)


def embed_sound(vggish: nn.Module, waveform, sample_rate: int, seconds: int, audio_timing: str = "second") -> Tensor:
    """F_A of one sound: [seconds, 128] float32 on the CPU. For silence: a waveform of zeros.

    Args:
        waveform: [samples] or [channels, samples], about -1 to 1.
        audio_timing: see `extract_features`.

    Raises:
        ValueError: the sound is empty, not finite, or of another shape.
    """
    return embed_patches(vggish, AUDIO_TIMINGS[audio_timing](waveform, sample_rate, seconds))


def resize_frames(frames: np.ndarray, size: int, pad_colour: Tensor | None = None) -> Tensor:
    """Frames as the models take them: uint8 [T, H, W, 3] -> float32 [T, 3, size, size], 0-255, plain square resize.

    Bilinear with antialiasing, not rounded afterwards; frames that have the size already are left as they are. With a
    `pad_colour` the shape is kept and the rest padded (`gavs_lib.lab.padding.pad_frames`).
    """
    if pad_colour is not None:
        return pad_frames(frames, size, pad_colour)
    images = torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float()
    if images.shape[2:] == (size, size):
        return images.contiguous()
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


class _FrameStore:
    """Activations and masks of an entry of the cache, mapped from disk."""

    def __init__(self, folder: Path, index: list[dict], dtype: torch.dtype):
        self.folder = folder
        self.dtype = dtype
        frames = [entry["frames"] for entry in index]
        self.starts = np.concatenate([[0], np.cumsum(frames)]).tolist()
        self.sizes = [(entry["frames"], entry["mask_height"], entry["mask_width"]) for entry in index]
        self.mask_starts = np.concatenate([[0], np.cumsum([t * -(-h * w // 8) for t, h, w in self.sizes])]).tolist()
        self._open()

    def _open(self) -> None:
        self.prefix = np.load(self.folder / "prefix.npy", mmap_mode="r")
        self.masks = np.memmap(self.folder / "masks.bits", dtype=np.uint8, mode="r")

    def __getstate__(self) -> dict:
        # A data loader's worker opens the files itself; pickled, a memory map would carry all of its data along.
        return {name: value for name, value in self.__dict__.items() if name not in ("prefix", "masks")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._open()

    def read(self, row: int) -> tuple[str, Tensor, Tensor]:
        prefix = torch.from_numpy(np.array(self.prefix[self.starts[row] : self.starts[row + 1]]))
        frames, height, width = self.sizes[row]
        packed = self.masks[self.mask_starts[row] : self.mask_starts[row + 1]].reshape(frames, -1)
        masks = np.unpackbits(packed, axis=1, count=height * width).reshape(frames, height, width)
        return "prefix", prefix.view(self.dtype), torch.from_numpy(masks)


class _ClipFrames:
    """Images and masks read from the clips themselves, where no prefix is cached."""

    def __init__(self, clips: Sequence, image_size: int, pad_colour: Tensor | None):
        self.clips = clips
        self.image_size = image_size
        self.pad_colour = None if pad_colour is None else pad_colour.cpu()

    def read(self, row: int) -> tuple[str, Tensor, Tensor]:
        clip = self.clips[row]
        masks, _ = _masks_of(clip)
        return (
            "images",
            resize_frames(clip.frames, self.image_size, self.pad_colour),
            torch.from_numpy(masks.astype(np.uint8)),
        )


class _Entry:
    """A folder of the cache, whole or not there."""

    def __init__(self, path: Path):
        self.path = path

    def manifest(self) -> dict | None:
        """What the entry holds; None if it is not there, or was damaged (it is then removed)."""
        try:
            text = (self.path / _MANIFEST).read_bytes()
        except FileNotFoundError:
            if self.path.exists():
                self._discard(f"{_MANIFEST} is missing")
            return None
        try:
            manifest = json.loads(text)
            for name, (size, checksum) in manifest["files"].items():
                found = (self.path / name).stat().st_size
                if found != size:
                    raise ValueError(f"{name} has {found} bytes instead of {size}")
                if _checksum(self.path / name) != checksum:
                    raise ValueError(f"{name} has another checksum than when it was written")
            return manifest
        except (ValueError, KeyError, TypeError, AttributeError, FileNotFoundError) as error:
            self._discard(str(error))
            return None

    def _discard(self, reason: str) -> None:
        print(f"{self.path}: damaged ({reason}); computing it again.", file=sys.stderr)
        # Renamed first: another process sees the whole entry or none.
        aside = _temporary(self.path)
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:  # another process has put it aside
            return
        shutil.rmtree(aside, ignore_errors=True)


def _fill(entry: _Entry, write) -> dict:
    """Let `write(folder) -> manifest` make an entry under a temporary name, and put it in place."""
    folder = _temporary(entry.path)
    try:
        folder.mkdir(parents=True)
        manifest = write(folder)
        names = sorted(path.name for path in folder.iterdir())
        manifest["files"] = {name: [(folder / name).stat().st_size, _checksum(folder / name)] for name in names}
        with (folder / _MANIFEST).open("w") as file:
            json.dump(manifest, file)
            _sync(file)
        for _ in range(3):
            try:
                os.rename(folder, entry.path)
                break
            except OSError as error:
                # Only a folder with something in it stands in the way of a rename: another process was first.
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.EACCES) or not entry.path.is_dir():
                    raise
                others = entry.manifest()
                if others is not None:
                    return others
        return manifest
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _disk_full(entry.path, error.strerror) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_audio(folder: Path, clips: Sequence, vggish: nn.Module, timing: str, progress: bool) -> dict:
    """Embed the clips' sounds; the manifest lists the clips."""
    index: list[dict] = []
    patches: list[Tensor] = []
    embeddings: list[Tensor] = []
    for item in tqdm(range(len(clips)), "listen", disable=not progress, unit="clip"):
        entry, waveform, sample_rate = _read_sound(clips, item)
        index.append(entry)
        try:
            patches.append(AUDIO_TIMINGS[timing](waveform, sample_rate, entry["frames"]))
        except ValueError as error:
            raise ValueError(f"{entry['uid']}: its sound cannot be used. {error}") from error
        if sum(len(patch) for patch in patches) >= _PATCH_BATCH or item == len(clips) - 1:
            embeddings.append(embed_patches(vggish, torch.cat(patches)))
            patches.clear()
            os.utime(folder)  # nothing is written before the end; still, this writer is alive
    return _save_audio(folder, index, torch.cat(embeddings))


def _copy_audio(folder: Path, clips: Sequence, files: list[Path], progress: bool) -> dict:
    """Read the clips' embeddings from files; the manifest lists the clips."""
    index: list[dict] = []
    embeddings: list[Tensor] = []
    for item, path in enumerate(tqdm(files, "read embeddings", disable=not progress, unit="clip")):
        index.append(_list_clip(clips, item))
        embeddings.append(torch.from_numpy(read_embedding(path, index[-1]["frames"])))
        os.utime(folder)
    return _save_audio(folder, index, torch.cat(embeddings))


def _save_audio(folder: Path, index: list[dict], flat: Tensor) -> dict:
    audio = torch.zeros(len(index), max(entry["frames"] for entry in index), flat.shape[1])
    start = 0
    for item, entry in enumerate(index):
        audio[item, : entry["frames"]] = flat[start : start + entry["frames"]]
        start += entry["frames"]
    with (folder / "audio.npy").open("wb") as file:
        np.save(file, audio.numpy())
        _sync(file)
    return {"clips": index}


def _write_frames(
    folder: Path,
    clips: Sequence,
    index: list[dict],
    model: nn.Module,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    batch_frames: int,
    pad: bool,
    progress: bool,
) -> dict:
    """Encode the clips' frames up to the tuned blocks, `batch_frames` at a time across clips, and pack their masks."""
    device = model.sam.pixel_mean.device
    half_on_gpu = device.type == "cuda" and dtype != torch.float32
    stored = np.dtype(_STORED_AS[dtype])
    header = {"descr": np.lib.format.dtype_to_descr(stored), "fortran_order": False, "shape": shape}
    was_training = model.training
    model.eval()
    colour = model.sam.pixel_mean if pad else None
    waiting: list[Tensor] = []

    def encode(images: Tensor) -> None:
        with torch.no_grad(), torch.autocast(device.type, dtype=dtype, enabled=half_on_gpu):
            prefix = model.encode_prefix(images[None].to(device))[0]
        if not torch.isfinite(prefix).all() or (dtype == torch.float16 and prefix.abs().max() > 65504):
            raise ValueError(
                f"the encoder's activations are not finite, or do not fit {dtype}; use dtype=torch.float32."
            )
        prefix = prefix.to(dtype).cpu().contiguous()
        if dtype == torch.bfloat16:
            prefix = prefix.view(torch.int16)
        # Plain writes: on a full disk they raise, where a write through a memory map kills the process.
        prefix_file.write(prefix.numpy())

    try:
        with (folder / "prefix.npy").open("wb") as prefix_file, (folder / "masks.bits").open("wb") as mask_file:
            np.lib.format.write_array_header_1_0(prefix_file, header)
            with tqdm(total=shape[0], desc="encode frames", disable=not progress, unit="frame") as bar:
                for item, expected in enumerate(index):
                    clip = clips[item]
                    if _describe(clip) != expected:
                        raise ValueError(f"{clip.uid}: changed while its features were computed. Run again.")
                    masks, _ = _masks_of(clip)
                    mask_file.write(np.packbits(masks.reshape(len(masks), -1), axis=1))
                    waiting.extend(resize_frames(clip.frames, model.sam.image_encoder.img_size, colour))
                    while len(waiting) >= batch_frames or (waiting and item == len(index) - 1):
                        encode(torch.stack(waiting[:batch_frames]))
                        bar.update(len(waiting[:batch_frames]))
                        del waiting[:batch_frames]
            _sync(prefix_file)
            _sync(mask_file)
    finally:
        model.train(was_training)
    return {"shape": list(shape), "dtype": str(dtype)}


def _how_heard(vggish: nn.Module | None, audio_timing: str, audio_dir: str | os.PathLike | None) -> dict:
    """The switches behind the embeddings: of VGGish as it is given, or of a folder of files."""
    if audio_dir is None:
        if vggish is None:
            raise ValueError("vggish is None; give a VGGish, or audio_dir, a folder of embeddings.")
        return {**ear_of(vggish), "audio_timing": audio_timing}
    said = read_switches(audio_dir)
    given = {} if vggish is None else ear_of(vggish)
    others = [name for name, value in given.items() if said[name] not in (UNKNOWN, value)]
    if others:
        raise ValueError(
            f"{Path(audio_dir) / SWITCHES_FILE}: {others[0]} is {said[others[0]]}, that of the VGGish given is "
            f"{given[others[0]]}. Give the one that made these embeddings, or None."
        )
    return said


def _read_sound(clips: Sequence, item: int) -> tuple[dict, np.ndarray, int]:
    """A clip's line in the manifest, and its sound; from a folder, without decoding its pictures."""
    if not isinstance(clips, AVSBench | S4 | MS3):
        clip = clips[item]
        return _describe(clip), clip.waveform, clip.sample_rate
    row = clips.rows.iloc[item]
    return _list_clip(clips, item), *read_audio(clips.files(row).audio)


def _list_clip(clips: Sequence, item: int) -> dict:
    """A clip's line in the manifest; from a folder, by the size of its first frame."""
    if not isinstance(clips, AVSBench | S4 | MS3):
        return _describe(clips[item])
    row = clips.rows.iloc[item]
    paths = clips.files(row).frames
    frames = len(paths)
    height, width = read_frame(paths[0]).shape[:2]
    return {
        "uid": row["uid"],
        "label": row["a_obj"],
        "frames": frames,
        "has_mask": [bool(number < row["labelled"]) for number in range(frames)],
        "mask_height": height,
        "mask_width": width,
    }


def _describe(clip) -> dict:
    """Check a clip's shapes; its line in the manifest."""
    frames = np.asarray(clip.frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(
            f"{clip.uid}: frames are {frames.dtype} {list(frames.shape)}; expected uint8 [T, H, W, 3], none of them 0."
        )
    masks, has_mask = _masks_of(clip)
    entry = {
        "uid": clip.uid,
        "label": clip.a_obj,
        "frames": len(frames),
        "has_mask": [bool(flag) for flag in has_mask],
        "mask_height": masks.shape[1],
        "mask_width": masks.shape[2],
    }
    # Noted only where it is another: VGG-SS draws its masks on a square of its own.
    return entry if frames.shape[1:3] == masks.shape[1:] else {**entry, "frame_shape": list(frames.shape[1:3])}


def _masks_of(clip) -> tuple[np.ndarray, np.ndarray]:
    """Masks bool [T, H, W] and has_mask bool [T]; a clip without masks has zeros and no label."""
    frames = len(clip.frames)
    if clip.masks is None:
        return np.zeros(np.asarray(clip.frames).shape[:3], dtype=bool), np.zeros(frames, dtype=bool)
    masks = np.asarray(clip.masks)
    has_mask = np.ones(frames, dtype=bool) if clip.has_mask is None else np.asarray(clip.has_mask, dtype=bool)
    if masks.ndim != 3 or len(masks) != frames or 0 in masks.shape:
        raise ValueError(f"{clip.uid}: masks are {list(masks.shape)}; expected one [H, W] for each of {frames} frames.")
    if has_mask.shape != (frames,):
        raise ValueError(
            f"{clip.uid}: has_mask is {list(has_mask.shape)}; expected one flag for each of {frames} frames."
        )
    return masks.astype(bool), has_mask


def _embedding_path(audio_dir: Path, clips: Sequence, item: int) -> Path:
    if isinstance(clips, AVSBench | S4 | MS3):
        row = clips.rows.iloc[item]
        return embedding_path(audio_dir, row["uid"], row["label"])
    return embedding_path(audio_dir, clips[item].uid)


def _clip_key(clips: Sequence, item: int) -> str:
    """What tells a clip from every other: what the clips say themselves, or the content."""
    if hasattr(clips, "key"):
        return clips.key(item)
    clip = clips[item]
    masks, has_mask = _masks_of(clip)
    digest = hashlib.sha256()
    for array in (clip.frames, clip.waveform, masks, has_mask):
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    digest.update(json.dumps([clip.uid, clip.a_obj, int(clip.sample_rate)]).encode())
    return digest.hexdigest()


def _file_key(path: Path, remedy: str) -> list:
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: missing; {remedy}.") from None
    return [str(path), stat.st_size, stat.st_mtime_ns]


def _prefix_identity(model: nn.Module, dtype: torch.dtype) -> dict:
    """Everything the activation depends on, besides the clips."""
    encoder = model.sam.image_encoder
    tuned = tuple(f"blocks.{number}." for number in range(model.tune_from, len(encoder.blocks)))
    weights = {
        name: tensor
        for name, tensor in encoder.state_dict().items()
        if not name.startswith(tuned) and not name.startswith("neck.")
    }
    weights |= {"pixel_mean": model.sam.pixel_mean, "pixel_std": model.sam.pixel_std}
    return {
        "weights": hash_tensors(weights),
        "windows": [
            (block.window_size, block.attn.num_heads, type(block.attn).__name__)
            for block in encoder.blocks[: model.tune_from]
        ],
        "image_size": encoder.img_size,
        "tune_from": model.tune_from,
        "autocast": dtype != torch.float32 and model.sam.pixel_mean.device.type == "cuda",
    }


def _key(**parts) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _sync(file) -> None:
    file.flush()
    os.fsync(file.fileno())


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")


def _sweep(cache: Path) -> None:
    """Remove what killed processes left behind."""
    for folder in cache.glob(".*.tmp"):
        try:
            newest = max(path.stat().st_mtime for path in [folder, *folder.iterdir()])
        except (FileNotFoundError, NotADirectoryError):  # its writer has just finished
            continue
        if time.time() - newest > _ABANDONED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _disk_full(path: Path, detail: str) -> OSError:
    return OSError(
        errno.ENOSPC,
        f"the disk is too full for this cache ({detail}); nothing was left behind. Free some space, give another "
        "cache_dir, use dtype=torch.float16, or lower cache_budget: the prefix is then computed again in every step",
        str(path),
    )
