"""Files of trained weights: what they hold, whose they are, and that they arrived whole.

A file holds the trained parameters only (`model.trained_state()`); the frozen foundation model is not repeated in it.
Beside them, as JSON in the safetensors header, stands where they come from: the kind of model and its configuration, a
fingerprint of the frozen weights they were trained on, library versions, and whatever the caller adds (world, seeds,
command, figures).
Nothing here reads or writes a pickle.
"""

import dataclasses
import hashlib
import json
import os
import platform
import tempfile
import weakref
from importlib import metadata as installed
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from gavs_lib._shipped import shipped_weights

CHECKSUMS = "SHA256SUMS"
# One key for everything: safetensors writes several keys in no fixed order, and equal weights should be equal files.
_HEADER_KEY = "gavs"
OWN_FIELDS = ("kind", "config", "frozen", "versions")
_FINGERPRINTS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # model -> (state of its tensors, hash)
# These are interpolated for another input size; trained parameters do not depend on the size.
_SIZE_DEPENDENT = ("pos_embed", "rel_pos_h", "rel_pos_w")


def write_atomically(path: str | os.PathLike, data: bytes | memoryview) -> None:
    """Write a file so that its name always stands for a whole file: the old one or the new one, also after a power cut.

    Raises:
        OSError: the folder cannot be written or the disk is full; a file that was there stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write {len(data)} bytes ({error.strerror}); free some space or choose another folder",
            path,
        ) from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def save_tensors(path: str | os.PathLike, tensors: dict[str, Tensor], header: dict) -> None:
    """Write named tensors and a JSON header as one safetensors file, atomically.

    Args:
        path: ends in ".safetensors".
        tensors: names to tensors, on any device.
        header: anything that `json.dumps` takes.

    Raises:
        ValueError: another suffix, no tensors, or a header that JSON cannot hold.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: weights are written as .safetensors; give the file that suffix.")
    if not tensors:
        raise ValueError(f"{path}: there are no tensors to write.")
    try:
        text = json.dumps(header, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: the metadata cannot be written as JSON ({error}); use str, int, float, list, dict."
        ) from error
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}
    write_atomically(path, safetensors.torch.save(plain, {_HEADER_KEY: text}))


def load_tensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict]:
    """Read a file that `save_tensors` wrote; the header is {} for a safetensors file from elsewhere.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut short, damaged, or no safetensors file (a pickle, a zip).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file; expected a .safetensors file.")
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            text = (file.metadata() or {}).get(_HEADER_KEY, "{}")
            # Copies: the file may be replaced while its tensors are in use.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
        return tensors, json.loads(text)
    except (safetensors.SafetensorError, ValueError) as error:
        with path.open("rb") as file:
            start = file.read(9)
        # safetensors begins with eight bytes, the length of its header, which may be anything, and then the header.
        if start[8:] != b"{" and start.startswith((b"\x80", b"PK")):
            raise ValueError(
                f"{path}: holds a pickle (a .pth or .pt file), which can run code when it is opened and was not read; "
                "expected safetensors."
            ) from error
        raise ValueError(
            f"{path}: not a whole safetensors file, {path.stat().st_size} bytes ({error}). "
            "It was cut short or damaged: copy or download it again."
        ) from error


def save_trained(path: str | os.PathLike, model: nn.Module, metadata: dict, half: bool = False) -> None:
    """Write the parameters that a model trains, with their origin.

    Args:
        path: ends in ".safetensors".
        model: GAVS, a baseline or another module with `trained_state()`; its class and `config` are recorded.
        metadata: what else the file should say: the world's fingerprint, seeds, command, figures.
        half: in half precision. A model that is loaded from the file has the rounded values.

    Raises:
        ValueError: the metadata uses a name that is filled in here (kind, config, frozen, versions), or is no JSON.
    """
    taken = sorted(set(metadata) & set(OWN_FIELDS))
    if taken:
        raise ValueError(f"{path}: metadata must not give {', '.join(taken)}; these are filled in from the model.")
    header = dict(metadata)
    header["kind"] = type(model).__name__
    header["config"] = model_config(model)
    header["frozen"] = frozen_fingerprint(model)
    header["versions"] = {name: installed.version(name) for name in ("torch", "segment-anything", "safetensors")}
    header["versions"]["python"] = platform.python_version()
    state = model.trained_state()
    save_tensors(path, {name: value.half() for name, value in state.items()} if half else state, header)


def load_trained(path: str | os.PathLike, model: nn.Module) -> dict:
    """Put trained parameters into a model that was built the same way; nothing changes unless everything fits.

    Args:
        path: a file that `save_trained` wrote.
        model: of the same class, with the same configuration and the same frozen weights (at any input size).

    Returns:
        the file's metadata: kind, config, frozen, versions, and what was given when it was saved.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds another kind of model, was trained with another configuration or on
            another frozen foundation model, or its names and shapes do not fit.
    """
    tensors, header = load_tensors(path)
    kind = type(model).__name__
    if "kind" not in header:
        raise ValueError(f"{path}: does not say what model it holds; expected a file that save_trained wrote.")
    if header["kind"] != kind:
        raise ValueError(
            f"{path}: this file holds {header['kind']}, you asked for {kind}. Build the model that the file holds."
        )
    differences = _differences(_default_config(model) | header["config"], model_config(model))
    if differences:
        raise ValueError(
            f"{path}: trained with another configuration than this model's: {differences}. "
            "Build the model with the file's."
        )
    expected = {name: tuple(tensor.shape) for name, tensor in model.trained_state().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is unexpected" for name in found if name not in expected]
    problems += [
        f"{name} has shape {found[name]} instead of {expected[name]}"
        for name in expected
        if name in found and found[name] != expected[name]
    ]
    if problems:
        more = f", and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ValueError(
            f"{path}: does not fit this {kind} ({'; '.join(problems[:4])}{more}). "
            "Build it with the same SAM, configuration and own parts as when it was trained."
        )
    if header["frozen"] != frozen_fingerprint(model):
        raise ValueError(
            f"{path}: trained on other frozen weights than this {kind} has. Build its SAM from the checkpoint it was "
            "trained with (and cast to half precision only after loading); if the miniature encoders were pre-trained "
            "anew, train this model anew as well."
        )
    model.load_trained_state(tensors)
    return header


def model_config(model: nn.Module) -> dict:
    """A model's `config` dataclass as JSON would give it back; {} for a model without one."""
    config = getattr(model, "config", None)
    if not dataclasses.is_dataclass(config):
        return {}
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def _default_config(model: nn.Module) -> dict:
    """What a model's `config` is where nothing is set: a setting that is younger than a file had this value in it."""
    config = getattr(model, "config", None)
    if not dataclasses.is_dataclass(config):
        return {}
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    known = {name: value for name, value in defaults.items() if value is not dataclasses.MISSING}
    return json.loads(json.dumps(known, default=str))


def frozen_fingerprint(model: nn.Module) -> str:
    """SHA-256 of everything in a model that does not train (`state_dict` less `trained_state`).

    Position embeddings are left out: they are interpolated for other input sizes, which trained parameters do not mind.
    """
    trained = set(model.trained_state())
    frozen = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name not in trained and name.rpartition(".")[2] not in _SIZE_DEPENDENT
    }
    # A training saves its best epoch many times over; hashing a ViT-H takes seconds.
    state = [(name, tensor.data_ptr(), tensor._version) for name, tensor in frozen.items()]
    known = _FINGERPRINTS.get(model)
    if known is None or known[0] != state:
        known = _FINGERPRINTS[model] = (state, hash_tensors(frozen))
    return known[1]


def hash_tensors(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of named tensors: names, types, shapes and every byte; the order does not matter."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # numpy has no bfloat16; bytes are bytes. A scalar has no last dimension to view.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file, as `sha256sum` prints it."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_checksums(directory: str | os.PathLike) -> Path:
    """Write SHA256SUMS over a folder's .safetensors files, in the form that `sha256sum -c` reads.

    Raises:
        FileNotFoundError: the folder has no .safetensors file.
    """
    directory = Path(directory)
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{directory}: no .safetensors files to list.")
    path = directory / CHECKSUMS
    write_atomically(path, "".join(f"{sha256(file)}  {file.name}\n" for file in files).encode())
    return path


def verify_shipped(directory: str | os.PathLike | None = None) -> list[str]:
    """Names of weights files that are not what their SHA256SUMS says: changed, missing, or not listed.

    Args:
        directory: None for the weights that come with the library.

    Raises:
        FileNotFoundError: there is no SHA256SUMS.
        ValueError: a line of it cannot be read.
    """
    directory = shipped_weights("sam_mini").parent if directory is None else Path(directory)
    listing = directory / CHECKSUMS
    if not listing.is_file():
        raise FileNotFoundError(f"{listing}: no such file; write it with gavs_lib.lab.weights.write_checksums.")
    listed = {}
    for number, line in enumerate(listing.read_text().splitlines(), 1):
        digest, separator, name = line.partition("  ")
        if len(digest) != 64 or not separator or name != Path(name).name:
            raise ValueError(f"{listing}, line {number}: expected '<sha256>  <file name>', found {line!r}.")
        listed[name] = digest
    names = sorted(listed.keys() | {path.name for path in directory.glob("*.safetensors")})
    return [
        name
        for name in names
        if name not in listed or not (directory / name).is_file() or sha256(directory / name) != listed[name]
    ]


def _differences(stored: dict, current: dict) -> str:
    """ "lr 0.001 (here 0.01), ..." for the fields in which two JSON dictionaries differ; "" when they are equal."""
    names = sorted(name for name in stored.keys() | current.keys() if stored.get(name) != current.get(name))
    return ", ".join(f"{name} {stored.get(name)!r} (here {current.get(name)!r})" for name in names)
