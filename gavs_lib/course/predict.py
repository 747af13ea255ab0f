"""The course's main job as one command: a video file in, what sounds in it marked second by second.

    python -m gavs_lib.course predict clip.mp4        (or: make predict CLIP=clip.mp4)

leaves in `build/predict/<name of the clip>/`

    masks/0.png, 1.png, …    one mask a second, of the clip's own frame size: white where something sounds
    <name>_overlay.mp4       the clip with its sound, the masks laid over it
    <name>_sheet.png         every second at a glance: the frame, and under it the frame with its mask

The models and weights that come with the course know only the toy shop; what the weights know is said each time.
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm

from gavs_lib._shipped import shipped_weights
from gavs_lib.course.sheets import clip_sheet, save_picture
from gavs_lib.data import Clip, read_clip, write_masks, write_overlay_video
from gavs_lib.lab.extract import AUDIO_TIMINGS, load_ear
from gavs_lib.lab.features import resize_frames
from gavs_lib.lab.padding import crop_to_picture, padded_extent, picture_places
from gavs_lib.lab.shipped import model_for
from gavs_lib.lab.weights import load_trained
from gavs_lib.metrics import AVSBENCH_THRESHOLD
from gavs_lib.sam import SAM_SIZES
from gavs_lib.world.objects import FAMILIES, MATERIALS, SIZES, TOYS

DEFAULT_OUT = Path("build/predict")
CHUNK_SECONDS = 8  # seconds that go through the model together; TPAVI, which mixes them, mixes these


@dataclass(frozen=True)
class Prediction:
    """What `predict` made of a clip.

    Attributes:
        masks: [T, H, W] bool, one a second, of the clip's own frame size.
        folder: holds everything below.
        mask_files: T PNGs.
        overlay: the clip with its sound and the masks laid over it, MP4.
        sheet: the overview, PNG.
        notes: what the weights' file says of itself (kind, config, world, seed, figures, …).
    """

    masks: np.ndarray
    folder: Path
    mask_files: list[Path]
    overlay: Path
    sheet: Path
    notes: dict


def predict(
    clip: str | os.PathLike,
    weights: str | os.PathLike | None = None,
    out: str | os.PathLike = DEFAULT_OUT,
    threshold: float | None = None,
    *,
    seconds: int | None = None,
    sam: str = "mini",
    sam_checkpoint: str | os.PathLike | None = None,
    vggish: str | os.PathLike | None = None,
    image_size: int | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Prediction:
    """Mark what sounds in a video file, one mask a second, and write masks, overlay video and overview.

    Each file appears whole or not at all and replaces that of an earlier run. Frames and masks of the whole clip are
    held in memory at their own size (8 MB a second at 1920x1080); the model sees `CHUNK_SECONDS` at a time. It runs on
    the GPU where there is one.

    Args:
        clip: any video file that FFmpeg reads, with sound.
        weights: trained parameters that `gavs_lib.lab.weights.save_trained` wrote; None: the shipped GAVS. The file
            says which model it belongs to.
        out: the folder `<out>/<name of the clip>` is written.
        threshold: a pixel is marked where its probability exceeds this, between 0 and 1; None: as in the training.
        seconds: read at most so many; None: all. A last part of a second is left out.
        sam, sam_checkpoint, image_size: the foundation model that the weights were trained on, as for `build_sam`;
            None stands for the shipped SAM-mini, and for the size that the weights were trained at; "official": the
            checkpoint is fetched where it is not there yet (`gavs_lib.lab.official`).
        vggish: the ear that the weights were trained with, as for `load_vggish`; None: the shipped VGGish-mini;
            "official", as above.
        progress: show a progress bar.
        say: called with every line of the report.

    Raises:
        FileNotFoundError: no such clip, weights or checkpoint.
        ValueError: a clip without picture or sound, damaged or cut short; weights of another model or foundation
            model; a threshold outside 0 to 1.
        OSError: `out` cannot be written, or official weights cannot be fetched.
    """
    if threshold is not None and not 0 < threshold < 1:
        raise ValueError(f"threshold is {threshold}; expected a probability between 0 and 1, such as 0.5.")
    begun = time.monotonic()
    # The clip first: it is the likelier mistake, and the quicker one to find.
    film = read_clip(clip, seconds=seconds)
    read = time.monotonic()
    model, ear, notes = load_predictor(weights, sam, sam_checkpoint, vggish, image_size)
    height, width = film.frames.shape[1:3]
    say(f"{clip}: {film.seconds} s of {width}x{height}, sound at {film.sample_rate} Hz")
    say(f"Model: {notes['kind']}, {weights or 'shipped with the course'}. {known_world(notes)}")
    name = Path(clip).stem
    folder = Path(out) / name
    folder.mkdir(parents=True, exist_ok=True)  # before the work: a folder that cannot be written should not cost it
    inputs = notes["inputs"]
    if threshold is None:
        threshold = notes.get("fit", {}).get("threshold", AVSBENCH_THRESHOLD)
    masks = segment(film, model, ear, threshold, inputs["audio_timing"], inputs.get("pad", False), progress=progress)
    segmented = time.monotonic()

    mask_files = write_masks(folder / "masks", masks)
    sheet = save_picture(folder / f"{name}_sheet.png", clip_sheet(film.frames, masks))
    overlay = write_overlay_video(folder / f"{name}_overlay.mp4", Path(clip), masks, film.waveform, film.sample_rate)
    written = time.monotonic()

    say(f"masks    {folder / 'masks'}{os.sep}0.png to {len(masks) - 1}.png, {masks.mean():.1%} of all pixels marked")
    say(f"overlay  {overlay}")
    say(f"sheet    {sheet}")
    say(
        f"{written - begun:.1f} s: reading {read - begun:.1f}, "
        f"model and segmentation {segmented - read:.1f}, writing {written - segmented:.1f}"
    )
    return Prediction(masks, folder, mask_files, overlay, sheet, notes)


def load_predictor(
    weights: str | os.PathLike | None = None,
    sam: str = "mini",
    sam_checkpoint: str | os.PathLike | None = None,
    vggish: str | os.PathLike | None = None,
    image_size: int | None = None,
) -> tuple[nn.Module, nn.Module, dict]:
    """A trained model with its ear, in evaluation mode, on the GPU where there is one, and its file's notes.

    Arguments as in `predict`.

    Raises:
        FileNotFoundError, ValueError: as in `predict`.
    """
    if sam != "mini":
        missing = {"--weights": weights, "--sam-checkpoint": sam_checkpoint, "--vggish": vggish}
        absent = [option for option, value in missing.items() if value is None]
        if absent:
            raise ValueError(
                f"SAM {sam} has no shipped weights, nor have models on it: give {' and '.join(absent)} as well "
                "(as it was trained with; --sam-checkpoint and --vggish may be 'official', --vggish also 'mini')."
            )
    if weights is None:
        try:
            weights = shipped_weights("gavs")
        except FileNotFoundError as error:
            raise FileNotFoundError(
                "The GAVS that comes with the course is missing from data/weights. Get it back with "
                "`git checkout -- data/weights`, train it with `make train`, or give a file of your own with --weights."
            ) from error
    model, notes = model_for(weights, sam, sam_checkpoint or "shipped", image_size)
    ear, inputs = load_ear(vggish or "mini", notes.get("inputs"), weights)
    load_trained(weights, model)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return model.eval().to(device), ear.to(device), {**notes, "inputs": inputs}


def segment(
    film: Clip,
    model: nn.Module,
    vggish: nn.Module,
    threshold: float = AVSBENCH_THRESHOLD,
    audio_timing: str = "second",
    pad: bool = False,
    progress: bool = False,
) -> np.ndarray:
    """The masks of a clip: [T, H, W] bool, of the frames' own size, true where `probabilities` exceed the threshold."""
    return np.concatenate(
        [part > threshold for part in probabilities(film, model, vggish, audio_timing, pad, progress)]
    )


@torch.no_grad()
def probabilities(
    film: Clip,
    model: nn.Module,
    vggish: nn.Module,
    audio_timing: str = "second",
    pad: bool = False,
    progress: bool = False,
) -> Iterator[np.ndarray]:
    """How likely each pixel is to belong to what sounds: [t, H, W] float32, 0-1, `CHUNK_SECONDS` of the clip at a time.

    Logits are upsampled bilinearly to the frame's own size, as in `gavs_lib.metrics.mask_iou`.

    Args:
        film: at least its frames and sound.
        model: called with images [1, t, 3, S, S] and audio [1, t, 128].
        vggish: frozen, as the model was trained with.
        audio_timing, pad: as the model was trained with, see `extract_features`.
        progress: show a progress bar.
    """
    device = next(model.parameters()).device
    size = model.sam.image_encoder.img_size
    extent = torch.tensor([padded_extent(*film.frames.shape[1:3], size)], device=device)
    visible = picture_places(extent, size, model.sam.image_encoder.pos_embed.shape[1]) if pad else None
    listen = AUDIO_TIMINGS[audio_timing]
    patches = listen(film.waveform, film.sample_rate, film.seconds)  # [T, 1, 96, 64], 24 kB a second
    with tqdm(total=film.seconds, desc="segment", unit="s", disable=not progress) as bar:
        for start in range(0, film.seconds, CHUNK_SECONDS):
            part = slice(start, start + CHUNK_SECONDS)
            audio = vggish(patches[part].to(device))
            images = resize_frames(film.frames[part], size, model.sam.pixel_mean if pad else None).to(device)
            padding = {} if visible is None else {"visible": visible[:, None].expand(1, len(images), -1, -1)}
            logits = model(images[None], audio[None], **padding).mask_logits  # [1, t, h, w]
            if pad:
                logits = crop_to_picture(logits[0], extent[0], size)[None]
            logits = F.interpolate(logits, size=film.frames.shape[1:3], mode="bilinear", align_corners=False)[0]
            yield logits.sigmoid().cpu().numpy()
            bar.update(len(images))


def known_world(notes: dict) -> str:
    """What the weights can be expected to recognise, in a sentence or two, from their file's notes."""
    if "world" not in notes:
        return "Its file does not say what it was trained on: judge the masks by your own data."
    return (
        f"These weights know only the toy shop: {len(TOYS)} toys ({', '.join(FAMILIES)}; {' or '.join(SIZES)}; "
        f"{', '.join(MATERIALS[:-1])} or {MATERIALS[-1]}; world {notes['world']}). "
        "On other videos expect no meaningful masks."
    )


def main(argv: list[str] | None = None) -> int:
    """Segment what sounds in a video file.

    Returns:
        exit code: 0 done, 1 it could not be done (one line says why), 130 interrupted.
    """
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.course predict", description=main.__doc__.split("\n")[0])
    parser.add_argument("clip", nargs="?", help="a video file with sound")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help=".safetensors of a training; default: shipped GAVS"
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--threshold", type=float, metavar="P", help="probability; default: as in the training")
    parser.add_argument("--seconds", type=int, metavar="N", help="only the first N seconds")
    own = parser.add_argument_group("for weights that were trained on other foundation models than the shipped ones")
    own.add_argument("--sam", choices=list(SAM_SIZES), default="mini")
    own.add_argument("--sam-checkpoint", metavar="FILE", help="such as sam_vit_b_01ec64.pth, or 'official'")
    own.add_argument("--vggish", metavar="FILE", help="such as vggish-10086976.pth, 'official' or 'mini'")
    own.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="side of the model's input; default: as in the training"
    )
    chosen = parser.parse_args(argv)
    if chosen.clip is None:
        parser.error("no clip given: make predict CLIP=file.mp4")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
            predict(**vars(chosen))
    except (OSError, RuntimeError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; files that are there are whole", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
