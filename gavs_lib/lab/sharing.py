"""A trained model as a folder that others can use: what was trained, every setting, and a card that people read.

    model.safetensors    the trained parameters (`lab.weights.save_trained`), without the frozen SAM
    config.json          what the header of that file says: kind, settings, origin, and what the model stands on
    README.md            the model card: what it is, data, figures, licence, how to load it

Who loads it needs the same SAM and the same VGGish, in files of their own: the folder names both files with their
SHA-256, and `from_pretrained` compares their weights with those the model was trained on. It need not be told which
model the folder holds.
"""

import json
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from torch import nn

from gavs_lib._shipped import shipped_weights
from gavs_lib.lab.extract import UNKNOWN, load_ear
from gavs_lib.lab.shipped import model_for
from gavs_lib.lab.weights import OWN_FIELDS, load_tensors, load_trained, save_trained, sha256, write_atomically
from gavs_lib.sam import SAM_SIZES
from gavs_lib.vggish import VGGish

FILES = (WEIGHTS, CONFIG, CARD) = "model.safetensors", "config.json", "README.md"
_SHIPPED = {"sam": "sam_mini", "vggish": "vggish_mini"}


@dataclass(frozen=True)
class ModelCard:
    """What people must know of a model and no file of weights can say.

    Attributes:
        title: a name in a few words.
        summary: what it does and what it is not fit for; Markdown, as the next.
        data: what it was trained, chosen and tested on, and whose data these are.
        metrics: the rows of a table, dictionaries with the same keys: which test, which figure, which protocol.
        seeds: of the trainings behind the figures.
        licence: of the trained parameters, such as "MIT".

    Raises:
        ValueError: one of them is empty, or the rows have different keys.
    """

    title: str
    summary: str
    data: str
    metrics: Sequence[Mapping[str, object]]
    seeds: Sequence[int]
    licence: str

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not (value.strip() if isinstance(value, str) else list(value)):
                raise ValueError(f"{entry.name} of the model card is empty; say it, people will ask.")
        columns = list(self.metrics[0])
        for number, row in enumerate(self.metrics):
            if list(row) != columns or not columns:
                raise ValueError(
                    f"row {number} of the card's metrics has the columns {list(row)}; expected {columns}, at least one."
                )


def save_pretrained(
    folder: str | os.PathLike,
    model: nn.Module,
    *,
    card: ModelCard,
    notes: Mapping,
    sam: str | os.PathLike | None = None,
    vggish: str | os.PathLike | None = None,
) -> None:
    """Write a trained model as a folder to share.

    Before anything appears, the model is loaded once more from what was written and from the files given, so what
    could not be loaded by others is not saved. This takes the memory of a second SAM.

    Args:
        folder: new, or one that this function wrote, whose three files are replaced; others in it are left alone.
        model: of a kind of `lab.shipped.MODELS`, without parts of your own.
        card: for people to read.
        notes: what the training says of itself: what `load_trained` returns for its weights file. `inputs` must be
            among it, the `FeatureSet`'s.
        sam, vggish: the files of the foundation models it was trained with; None: those that come with the library.

    Example:
        >>> notes = load_trained("run/best.safetensors", model)
        >>> save_pretrained("gavs-v1s", model, card=card, notes=notes, sam="sam_vit_b_01ec64.pth",
        ...                 vggish="vggish-10086976.pth")

    Raises:
        FileNotFoundError: a file of a foundation model is missing.
        ValueError: the folder holds files of others under these names; notes say nothing of the inputs, or name a seed
            that is not the card's; or it could not be loaded again: with the SAM or VGGish given, or because of a class
            or parts of your own.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    _refuse_foreign(folder)
    if not (notes.get("inputs") or {}).get("vggish"):
        raise ValueError(
            "notes say nothing of the inputs, so nobody could embed a sound for this model. Give what load_trained "
            "returns for the training's weights file, or {'inputs': features.inputs}."
        )
    if _seed_of(notes) not in (None, *card.seeds):
        raise ValueError(
            f"the card's seeds are {', '.join(map(str, card.seeds))}, and these weights are of seed {_seed_of(notes)}. "
            "Give the card of their training."
        )
    if vggish is None and notes["inputs"]["vggish"] == UNKNOWN:
        raise ValueError("the embeddings do not say which VGGish made them; give its file as vggish.")
    given = {"sam": sam, "vggish": vggish}
    paths = {name: Path(path or shipped_weights(_SHIPPED[name])) for name, path in given.items()}
    foundation = {name: {"file": path.name, "sha256": sha256(path)} for name, path in paths.items()}
    foundation["sam"]["name"] = _name_of(model.sam)
    metadata = {name: value for name, value in notes.items() if name not in OWN_FIELDS}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        draft = Path(temporary)
        save_trained(draft / WEIGHTS, model, {**metadata, "foundation": foundation})
        header = load_tensors(draft / WEIGHTS)[1]
        write_atomically(draft / CONFIG, json.dumps(header, indent=1, sort_keys=True).encode())
        write_atomically(draft / CARD, _text(card, header, model.trainable_summary().trained).encode())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what is unknown of the embeddings stands in the card
                from_pretrained(draft, sam, vggish)
        except ValueError as error:
            reason = str(error).replace(str(draft), folder.name)
            raise ValueError(
                f"{folder}: could not be loaded again with {paths['sam']} and {paths['vggish']}, so nothing was "
                f"written. Are these the files it was trained with? {reason}"
            ) from error
        folder.mkdir(exist_ok=True)
        for name in FILES:
            os.replace(draft / name, folder / name)


def from_pretrained(
    folder: str | os.PathLike,
    sam: str | os.PathLike | None = None,
    vggish: str | os.PathLike | None = None,
    image_size: int | None = None,
) -> tuple[nn.Module, VGGish, dict]:
    """Load a model that `save_pretrained` wrote, whichever it is, with its ear.

    Args:
        folder: with model.safetensors and config.json.
        sam, vggish: the files of the foundation models that the card names, or others with the same weights; None:
            those that come with the library, where the model was trained on them.
        image_size: side of the model's input in pixels; None: as it was trained.

    Returns:
        the model and VGGish, in evaluation mode on the CPU, and the notes of config.json. Sounds are to be embedded as
        `notes["inputs"]` says: `embed_sound(vggish, ..., audio_timing=notes["inputs"]["audio_timing"])`.

    Raises:
        FileNotFoundError: no such folder, or a file is missing.
        ValueError: the folder's files are damaged or not of one model, a foundation model must be given, or is another
            one than the model was trained on.
    """
    folder = Path(folder)
    config = _read_config(folder)
    header = load_tensors(folder / WEIGHTS)[1]
    if json.dumps(header, sort_keys=True) != json.dumps(config, sort_keys=True):
        raise ValueError(f"{folder}: {CONFIG} is not of this {WEIGHTS}. Take both from the same model.")
    wanted = config["foundation"]
    for name, given in (("sam", sam), ("vggish", vggish)):
        if given is None and not _is_shipped(name, wanted):
            raise ValueError(
                f"{folder}: trained with {wanted[name]['file']} (SHA-256 {wanted[name]['sha256']}), which neither this "
                f"folder nor the library has. Give the path of that file as {name}."
            )
    model, _ = model_for(folder / WEIGHTS, wanted["sam"]["name"], sam or "shipped", image_size)
    try:
        load_trained(folder / WEIGHTS, model)
    except ValueError as error:
        raise ValueError(
            f"{error} The file it was trained with: {wanted['sam']['file']}, SHA-256 {wanted['sam']['sha256']}."
        ) from error
    ear, inputs = load_ear(vggish or "mini", config["inputs"], folder / WEIGHTS)
    return model.eval(), ear, {**config, "inputs": inputs}


def _seed_of(notes: Mapping) -> int | None:
    """Of the training, if the notes are those of `fit`."""
    return (notes.get("fit") or {}).get("seed")


def _name_of(sam: nn.Module) -> str:
    """Which of the SAM family this is, by its width and depth."""
    found = sam.image_encoder.pos_embed.shape[-1], len(sam.image_encoder.blocks)
    names = [name for name, size in SAM_SIZES.items() if (size.dim, size.depth) == found]
    if not names:
        raise ValueError(
            f"a SAM of {found[1]} blocks, {found[0]} wide, is none of {', '.join(SAM_SIZES)}; only these can be shared."
        )
    return names[0]


def _refuse_foreign(folder: Path) -> None:
    there = [name for name in FILES if (folder / name).exists()]
    if there:
        try:
            _read_config(folder)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{folder}: holds {' and '.join(there)}, which save_pretrained did not write. Choose another folder."
            ) from error


def _read_config(folder: Path) -> dict:
    """config.json, if it is one of ours."""
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a folder that save_pretrained wrote.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not readable as JSON ({error}). Copy or download it again.") from error
    lacking = {*OWN_FIELDS, "inputs", "foundation"} - set(config if isinstance(config, dict) else ())
    if lacking:
        raise ValueError(f"{path}: says nothing of {', '.join(sorted(lacking))}; expected what save_pretrained wrote.")
    needed = {"sam": {"file", "sha256", "name"}, "vggish": {"file", "sha256"}}
    if not all(names <= set(config["foundation"].get(part, ())) for part, names in needed.items()):
        raise ValueError(f"{path}: does not name its SAM and VGGish; expected what save_pretrained wrote.")
    return config


def _is_shipped(name: str, foundation: Mapping) -> bool:
    """Whether a foundation model, "sam" or "vggish", is the one that comes with the library."""
    return foundation[name]["sha256"] == sha256(shipped_weights(_SHIPPED[name]))


def _text(card: ModelCard, header: dict, trained: int) -> str:
    """README.md."""
    foundation, inputs = header["foundation"], header["inputs"]
    names = {"sam": f"SAM {foundation['sam']['name']}", "vggish": "VGGish"}
    files = [(names[part], f"`{foundation[part]['file']}`", f"`{foundation[part]['sha256']}`") for part in names]
    given = [f'{part}="{foundation[part]["file"]}"' for part in names if not _is_shipped(part, foundation)]
    arguments = ", ".join(['"path/of/this/folder"', *given])
    columns = list(card.metrics[0])
    return "\n\n".join(
        [
            f"# {card.title}",
            card.summary,
            f"`{WEIGHTS}` holds the {trained:,} trained parameters of a {header['kind']}, and nothing else. The "
            "foundation models that it stands on are not in this folder, and come under licences of their own:",
            _table(("", "file", "SHA-256"), files),
            "Loading compares their weights with those of the training. Fingerprint of what is frozen in the model: "
            f"`{header['frozen']}`; of VGGish: `{inputs['vggish']}`.",
            "## How to load it",
            "```python\nfrom gavs_lib.lab.sharing import from_pretrained\n\n"
            f"model, vggish, notes = from_pretrained({arguments})\n```",
            "## Inputs",
            _table(("setting", "value"), [(f"`{name}`", value) for name, value in inputs.items() if name != "vggish"]),
            f"All settings stand in `{CONFIG}`.",
            "## Data",
            card.data,
            "## Figures",
            _table(columns, [[row[column] for column in columns] for row in card.metrics]),
            f"Seeds of the trainings: {', '.join(map(str, card.seeds))}."
            + (f" These weights are of seed {_seed_of(header)}." if _seed_of(header) is not None else ""),
            "## Licence",
            f"{card.licence}\n",
        ]
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in (columns, *rows)]
    lines.insert(1, ["---"] * len(columns))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
