"""VGGish's embeddings of a whole data set as files: computed once, shared, and read back where sound is asked for.

    python -m gavs_lib.lab.extract ROOT OUT --vggish vggish-10086976.pth

writes `OUT/<subset>_vggish_embs/<uid>.npy` for each clip of an AVSBench-semantic folder: [T, 128] float32, one
embedding a second. Names and form are those of the GAVS release, whose own files are read as well:
`extract_features(..., audio_dir=OUT)`.

What a number in such a file means cannot be seen in it. Beside the files stands therefore `OUT/features.json`:

    vggish        fingerprint of the weights (`lab.weights.hash_tensors`), whatever file they come from
    final_relu    whether a ReLU follows the last layer
    audio_timing  "second": row i hears the sound from second i on; "published": from 0.96 i seconds on
    quantised     false: the 8-bit post-processing of the AudioSet release is never applied

One folder has one such set of switches. Files from elsewhere come without them, and count as "unknown"; who knows
better writes a `features.json` for them.

Several processes or machines share the work by `--shard 0/4` to `3/4`. Each file appears whole or not at all; a run
that was killed goes on where it was, for files that are whole are skipped (also when their sound has changed since).
"""

import argparse
import io
import json
import os
import re
import sys
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from gavs_lib.audio import published_examples, second_examples
from gavs_lib.data.avsbench import SUBSETS, read_audio, read_metadata
from gavs_lib.lab.official import named_weights
from gavs_lib.lab.weights import hash_tensors, write_atomically
from gavs_lib.vggish import EMBEDDING_DIM, VGGish, load_vggish

AUDIO_TIMINGS = {"second": second_examples, "published": published_examples}
SWITCHES_FILE = "features.json"
UNKNOWN = "unknown"

_PATCH_BATCH = 64
_COMMAND = "python -m gavs_lib.lab.extract"
# Switch -> what it may be, in words and as a test. Nothing here can quantise the sounds that come later.
_ALLOWED = {
    "vggish": (
        "a fingerprint of 64 hexadecimal digits",
        lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value),
    ),
    "final_relu": ("true or false", lambda value: isinstance(value, bool)),
    "audio_timing": (" or ".join(AUDIO_TIMINGS), lambda value: isinstance(value, str) and value in AUDIO_TIMINGS),
    "quantised": ("false", lambda value: value is False),
}
_OWN = {"final_relu": False, "audio_timing": "second", "quantised": False}  # ours, before we said so
_ASSUMED = _OWN | {"audio_timing": "published"}  # of embeddings from elsewhere, which do not say it


@dataclass
class Extracted:
    """What `extract_embeddings` did.

    Attributes:
        written: number of clips whose file is new.
        found: number of clips whose file was there already.
        broken: a message for each clip whose sound cannot be used; it has no file.
    """

    written: int = 0
    found: int = 0
    broken: list[str] = field(default_factory=list)


def extract_embeddings(
    root: str | os.PathLike,
    out: str | os.PathLike,
    vggish: VGGish,
    *,
    subsets: Sequence[str] | None = None,
    audio_timing: str = "second",
    shard: tuple[int, int] = (0, 1),
    progress: bool = True,
) -> Extracted:
    """Write the embeddings of an AVSBench-semantic folder's sounds, all splits, one file a clip.

    Args:
        root: the folder that holds `metadata.csv`, and v1s, v1m or v2.
        out: folder of the embeddings, new or of an earlier run with the same switches.
        vggish: computes them, where its parameters are.
        subsets: some of "v1s", "v1m" and "v2"; None: those that have a folder in `root`.
        audio_timing: "second" or "published", see the module.
        shard: (i, n): only the i-th of n parts, from 0. A clip's part follows from its name alone.
        progress: show a progress bar.

    Raises:
        FileNotFoundError, ValueError: `metadata.csv` is missing or broken.
        ValueError: nothing to do, an impossible shard, `out` holds embeddings that were made otherwise or nobody knows
            how, or VGGish's weights are damaged.
        OSError: `out` cannot be written.
    """
    if audio_timing not in AUDIO_TIMINGS:
        raise ValueError(f"audio_timing is {audio_timing!r}; expected one of {', '.join(AUDIO_TIMINGS)}.")
    part, parts = shard
    if not 0 <= part < parts:
        raise ValueError(f"shard is {part}/{parts}; expected i/n with i from 0 to n - 1, such as 0/4.")
    root, out = Path(root), Path(out)
    table = read_metadata(root)
    wanted = [name for name in SUBSETS if (root / name).is_dir()] if subsets is None else list(subsets)
    rows = table[table["label"].isin(wanted)]
    if rows.empty:
        raise ValueError(
            f"{root}: no clips of {' or '.join(wanted) or 'any subset'}; metadata.csv lists "
            f"{', '.join(sorted(set(table['label']))) or 'nothing'}, and clips of v1s lie in {root / 'v1s'}."
        )
    _claim(out, {**ear_of(vggish), "audio_timing": audio_timing, "quantised": False})

    done = Extracted()
    waiting: list[tuple[Path, Tensor]] = []

    def write_waiting() -> None:
        embeddings = embed_patches(vggish, torch.cat([patches for _, patches in waiting]))
        for (path, _), embedding in zip(waiting, embeddings.split([len(patches) for _, patches in waiting])):
            file = io.BytesIO()
            np.save(file, embedding.numpy())
            write_atomically(path, file.getvalue())
        done.written += len(waiting)
        waiting.clear()

    mine = [
        row for row in rows.to_dict("records") if zlib.crc32(f"{row['label']} {row['uid']}".encode()) % parts == part
    ]
    for row in tqdm(mine, "embed", unit="clip", disable=not progress):
        seconds, path = SUBSETS[row["label"]], embedding_path(out, row["uid"], row["label"])
        try:
            read_embedding(path, seconds)
            done.found += 1
            continue
        except (FileNotFoundError, ValueError):
            pass  # not there yet, or damaged
        try:
            waiting.append((path, _patches(root / row["label"] / row["uid"] / "audio.wav", seconds, audio_timing)))
        except (OSError, ValueError) as error:
            done.broken.append(str(error))
        if sum(len(patches) for _, patches in waiting) >= _PATCH_BATCH:
            write_waiting()
    if waiting:
        write_waiting()
    return done


def embedding_path(folder: str | os.PathLike, uid: str, subset: str = "") -> Path:
    """Where a clip's embeddings lie: `<subset>_vggish_embs/<uid>.npy`, else `<uid>.npy` in the folder itself."""
    alone = Path(folder) / f"{uid}.npy"
    in_subset = Path(folder) / f"{subset}_vggish_embs" / f"{uid}.npy"
    return in_subset if subset and (in_subset.is_file() or not alone.is_file()) else alone


def read_embedding(path: str | os.PathLike, seconds: int) -> np.ndarray:
    """Read and check a clip's embeddings: float32 [seconds, 128]. No pickle is ever opened.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no whole .npy file, or one that holds other numbers: of another shape, integers, not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected VGGish embeddings. `{_COMMAND} ROOT OUT` writes them.")
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"{path}: not a whole .npy file of numbers ({error}). Copy it again, or delete it and compute it again."
        ) from error
    if not isinstance(found, np.ndarray) or found.shape != (seconds, EMBEDDING_DIM) or found.dtype.kind != "f":
        what = f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else "an archive"
        raise ValueError(
            f"{path}: holds {what}; expected floating point [{seconds}, {EMBEDDING_DIM}], one embedding for each frame "
            "of the clip. Is it of another clip or subset?"
        )
    if not np.isfinite(found).all():
        raise ValueError(f"{path}: holds NaN or infinite values; expected finite embeddings. Compute it again.")
    return found.astype(np.float32)


def read_switches(folder: str | os.PathLike) -> dict:
    """How the embeddings of a folder were made: each switch of the module, "unknown" where its file does not say.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: its `features.json` cannot be read, or says something impossible.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected one of embeddings, as `{_COMMAND}` writes it.")
    path = folder / SWITCHES_FILE
    said = {}
    if path.is_file():
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: not readable as JSON ({error}). Correct it, or copy it again.") from error
    if not isinstance(said, dict) or not set(said) <= set(_ALLOWED):
        raise ValueError(f"{path}: holds {str(said)[:80]}; expected some of the switches {', '.join(_ALLOWED)}.")
    for name, value in said.items():
        words, allowed = _ALLOWED[name]
        if value != UNKNOWN and not allowed(value):
            raise ValueError(f"{path}: {name} is {json.dumps(value)}; expected {words}, or {json.dumps(UNKNOWN)}.")
    return {name: said.get(name, UNKNOWN) for name in _ALLOWED}


def ear_of(vggish: nn.Module) -> dict:
    """What tells an ear from every other: the fingerprint of its weights, and whether a ReLU follows the last layer."""
    return {"vggish": hash_tensors(vggish.state_dict()), "final_relu": getattr(vggish, "final_relu", None)}


def load_ear(vggish: str | os.PathLike, inputs: Mapping | None, source: str | os.PathLike) -> tuple[VGGish, dict]:
    """The VGGish that a model was trained with, to embed further sounds, and how they are to be embedded.

    Args:
        vggish: its weights, as for `load_vggish`; "official": the published file (`lab.official`).
        inputs: of the `FeatureSet` that the model was trained on, as its weights file says; None: it says nothing.
        source: the weights file, for messages.

    Returns:
        VGGish, and `inputs` with an assumption in place of what is unknown; a warning says so.

    Raises:
        FileNotFoundError, ValueError: as `load_vggish`.
        ValueError: the model was trained with another VGGish.
    """
    inputs = dict(inputs or {})
    unknown = [name for name, value in inputs.items() if value == UNKNOWN]
    if unknown:
        warnings.warn(
            f"{source}: trained on embeddings that do not say their {', '.join(unknown)}. Assumed: the VGGish given, "
            + ", ".join(f"{name} {_ASSUMED[name]}" for name in unknown if name in _ASSUMED),
            stacklevel=3,
        )
    assumed = {name: _ASSUMED[name] for name in unknown if name in _ASSUMED}
    inputs = _OWN | {name: value for name, value in inputs.items() if name not in unknown} | assumed
    ear = load_vggish(named_weights(vggish, "vggish"), bool(inputs["final_relu"]))
    if inputs.get("vggish") not in (None, hash_tensors(ear.state_dict())):
        raise ValueError(
            f"{source}: trained on the embeddings of another VGGish than "
            f"{'the shipped VGGish-mini' if vggish == 'mini' else vggish}. Give the one it was trained with, or train "
            "anew."
        )
    return ear, inputs


@torch.no_grad()
def embed_patches(vggish: nn.Module, patches: Tensor) -> Tensor:
    """F_A of log-mel patches [N, 1, 96, 64]: [N, 128] float32 on the CPU.

    Raises:
        ValueError: VGGish returned values that are not finite.
    """
    was_training = vggish.training
    vggish.eval()
    device = next(vggish.parameters()).device
    embedding = vggish(patches.to(device)).float().cpu()
    vggish.train(was_training)
    if not torch.isfinite(embedding).all():
        raise ValueError("VGGish returned NaN or infinite values; its weights are damaged. Load them again.")
    return embedding


def _patches(audio: Path, seconds: int, audio_timing: str) -> Tensor:
    waveform, sample_rate = read_audio(audio)
    try:
        return AUDIO_TIMINGS[audio_timing](waveform, sample_rate, seconds)
    except ValueError as error:
        raise ValueError(f"{audio}: its sound cannot be used. {error}") from error


def _claim(out: Path, switches: dict) -> None:
    """Write the switches into a new folder; refuse one of other switches, or of embeddings without any."""
    path = out / SWITCHES_FILE
    if path.is_file():
        found = read_switches(out)
        others = [f"{name} {found[name]} (here {value})" for name, value in switches.items() if found[name] != value]
        if others:
            raise ValueError(
                f"{path}: these embeddings were made with another {', '.join(others)}. Choose another folder for yours."
            )
    elif next(out.rglob("*.npy"), None):
        raise ValueError(
            f"{out}: holds embeddings without a {SWITCHES_FILE}, made who knows how. Choose another folder."
        )
    else:
        write_atomically(path, json.dumps(switches, indent=1).encode())


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no part of the work; expected i/n, such as 0/4")
    return int(found[1]), int(found[2])


def main(arguments: list[str] | None = None) -> int:
    """Compute VGGish's embeddings of a data set; 0 when every clip has its file, else 1."""
    parser = argparse.ArgumentParser(prog=_COMMAND, description=main.__doc__.split(";")[0] + ".")
    parser.add_argument("root", metavar="ROOT", help="the folder that holds metadata.csv, v1s/, v1m/ and v2/")
    parser.add_argument("out", metavar="OUT", help="folder of the embeddings")
    parser.add_argument(
        "--vggish", required=True, metavar="FILE", help="such as vggish-10086976.pth, 'official' or 'mini'"
    )
    parser.add_argument("--subset", nargs="+", choices=list(SUBSETS), help="default: those that are there")
    parser.add_argument("--final-relu", action="store_true", help="a ReLU after the last layer, as AVSBench has it")
    parser.add_argument("--timing", choices=list(AUDIO_TIMINGS), default="second", help="default: %(default)s")
    parser.add_argument("--shard", type=_shard, default=(0, 1), metavar="I/N", help="one of N parts, from 0/N on")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto: the GPU if there is one")
    chosen = parser.parse_args(arguments)
    device = chosen.device if chosen.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    try:
        done = extract_embeddings(
            chosen.root,
            chosen.out,
            load_vggish(named_weights(chosen.vggish, "vggish"), chosen.final_relu).to(device),
            subsets=chosen.subset,
            audio_timing=chosen.timing,
            shard=chosen.shard,
            progress=sys.stderr.isatty(),
        )
    except (OSError, RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    for message in done.broken:
        print(f"broken: {message}", file=sys.stderr)
    print(f"{chosen.out}: {done.written} clips written, {done.found} were there, {len(done.broken)} broken.")
    return 1 if done.broken else 0


if __name__ == "__main__":
    sys.exit(main())
