"""A model as a folder to share: it comes back as it was, with its ear, and its card says what is needed."""

import json
import os
import re
import warnings
from pathlib import Path

import pytest
import torch
from small_models import clip, randomize_trained
from torch import nn

from gavs_lib._shipped import shipped_weights
from gavs_lib.course.predict import load_predictor
from gavs_lib.gavs import GAVS, GAVSConfig
from gavs_lib.lab.extract import ear_of
from gavs_lib.lab.sharing import FILES, ModelCard, from_pretrained, save_pretrained
from gavs_lib.lab.shipped import MODELS, build_model, load_model, model_for
from gavs_lib.lab.weights import load_tensors, save_tensors, save_trained, sha256
from gavs_lib.sam import build_sam
from gavs_lib.vggish import VGGish, load_vggish

CARD = ModelCard(
    title="GAVS of a test",
    summary="Marks what sounds; knows nothing.",
    data="Nothing at all.",
    metrics=[{"test": "v1s | seen", "mIoU": 0.5, "F": 0.625}, {"test": "v1s,\nunseen", "mIoU": 0.25, "F": 0.5}],
    seeds=(3, 4),
    licence="MIT",
)


def inputs_of(vggish: VGGish, **changes) -> dict:
    return {**ear_of(vggish), "audio_timing": "second", "image_size": 64, "pad": False, **changes}


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> dict[str, Path]:
    """Foundation models of somebody's own."""
    folder = tmp_path_factory.mktemp("own")
    torch.manual_seed(0)
    files = {"sam": folder / "sam_own.safetensors", "vggish": folder / "vggish_own.safetensors"}
    save_tensors(files["sam"], build_sam("mini").state_dict(), {})
    save_tensors(files["vggish"], VGGish.mini().state_dict(), {})
    return files


@pytest.fixture(scope="module")
def model(own) -> GAVS:
    model = GAVS(build_sam("mini", own["sam"], image_size=64), GAVSConfig(adapter_width=8, cola_width=8))
    randomize_trained(model)
    return model.eval()


@pytest.fixture(scope="module")
def notes(own) -> dict:
    return {
        "inputs": inputs_of(load_vggish(own["vggish"], True), audio_timing="published"),
        "fit": {"lr": 1e-3, "seed": 4},
    }


@pytest.fixture
def folder(tmp_path, own, model, notes) -> Path:
    save_pretrained(tmp_path / "shared", model, card=CARD, notes=notes, **own)
    return tmp_path / "shared"


# ---- there and back


def test_a_model_comes_back_with_its_ear_and_its_notes(folder, own, model, notes):
    loaded, ear, told = from_pretrained(folder, **own)
    images, audio = clip(1, 2, 64)
    with torch.no_grad():
        assert torch.equal(loaded(images, audio).mask_logits, model(images, audio).mask_logits)
    assert type(loaded) is GAVS and not loaded.training and loaded.config == model.config
    assert ear.final_relu and not ear.training and ear_of(ear)["vggish"] == notes["inputs"]["vggish"]
    assert told["fit"] == {"lr": 1e-3, "seed": 4} and told["inputs"]["audio_timing"] == "published"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["shared"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert from_pretrained(folder, **own, image_size=128)[0].sam.image_encoder.img_size == 128


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "gavs_deaf"])
def test_every_kind_on_the_shipped_encoders_comes_back_without_being_named(tmp_path, kind):
    model = build_model(kind, image_size=64)
    randomize_trained(model)
    save_pretrained(tmp_path / kind, model, card=CARD, notes={"inputs": inputs_of(load_vggish("mini"))})
    loaded, _, _ = from_pretrained(tmp_path / kind)
    assert type(loaded) is MODELS[kind]
    state = model.trained_state()
    assert all(torch.equal(value, state[name]) for name, value in loaded.trained_state().items())


def test_what_is_shared_is_shared_on_from_the_notes_it_came_with(folder, tmp_path, own):
    loaded, _, told = from_pretrained(folder, **own)
    save_pretrained(tmp_path / "deep" / "again", loaded, card=CARD, notes=told, **own)
    before, after = (load_tensors(path / "model.safetensors") for path in (folder, tmp_path / "deep" / "again"))
    assert all(torch.equal(value, after[0][name]) for name, value in before[0].items())
    assert after[1] | {"inputs": None} == before[1] | {"inputs": None}


def test_predict_takes_the_weights_of_a_shared_folder(folder, own):
    loaded, ear, _ = load_predictor(folder / "model.safetensors", "mini", own["sam"], own["vggish"])
    assert type(loaded) is GAVS and ear.final_relu and loaded.sam.image_encoder.img_size == 64


def test_saving_again_replaces_the_three_files_and_leaves_others_alone(folder, own, model, notes):
    (folder / "figure.png").write_bytes(b"picture")
    other = ModelCard(**{**vars(CARD), "title": "Another title"})
    save_pretrained(folder, model, card=other, notes=notes, **own)
    assert (folder / "README.md").read_text().startswith("# Another title\n")
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "figure.png"])


def test_an_ear_that_nobody_knows_is_said_in_the_card_and_when_loading(tmp_path, own, model):
    unknown = {name: "unknown" for name in ("vggish", "final_relu", "audio_timing", "quantised")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_pretrained(tmp_path / "shared", model, card=CARD, notes={"inputs": unknown | {"image_size": 64}}, **own)
    assert "| `final_relu` | unknown |" in (tmp_path / "shared" / "README.md").read_text()
    with pytest.warns(UserWarning, match="do not say their audio_timing, final_relu, quantised, vggish"):
        from_pretrained(tmp_path / "shared", **own)
    with pytest.raises(ValueError, match="do not say which VGGish made them"):
        save_pretrained(
            tmp_path / "b", model, card=CARD, notes={"inputs": unknown | {"image_size": 64}}, sam=own["sam"]
        )


# ---- the card


def test_the_card_says_what_is_needed(folder, own, model, notes):
    text = (folder / "README.md").read_text(encoding="utf-8")
    header = load_tensors(folder / "model.safetensors")[1]
    trained = f"{model.trainable_summary().trained:,}"
    for words in (
        "# GAVS of a test\n",
        CARD.summary,
        CARD.data,
        f"the {trained} trained parameters of a GAVS",
        f"| SAM mini | `sam_own.safetensors` | `{sha256(own['sam'])}` |",
        f"| VGGish | `vggish_own.safetensors` | `{sha256(own['vggish'])}` |",
        f"`{header['frozen']}`",
        f"`{notes['inputs']['vggish']}`",
        "| `audio_timing` | published |\n| `final_relu` | True |\n| `image_size` | 64 |\n| `pad` | False |",
        "| test | mIoU | F |\n| --- | --- | --- |\n| v1s \\| seen | 0.5 | 0.625 |\n| v1s, unseen | 0.25 | 0.5 |",
        "Seeds of the trainings: 3, 4. These weights are of seed 4.",
        "## Licence\n\nMIT\n",
    ):
        assert words in text, words
    assert str(folder.parent) not in text


def load_as_the_card_says(folder: Path, beside: Path, monkeypatch) -> dict:
    (code,) = re.findall("```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.S)
    assert len([line for line in code.splitlines() if line]) <= 3
    names: dict = {}
    monkeypatch.chdir(beside)
    exec(compile(code.replace("path/of/this/folder", str(folder)), "README.md", "exec"), names)
    return names


def test_the_lines_of_the_card_load_the_model(folder, tmp_path, own, model, monkeypatch):
    names = load_as_the_card_says(folder, own["sam"].parent, monkeypatch)
    assert names["model"].config == model.config and names["vggish"].final_relu
    shipped, _ = load_model("save")
    notes = {"inputs": inputs_of(load_vggish("mini"))}
    save_pretrained(tmp_path / "save", shipped, card=CARD, notes=notes)
    assert type(load_as_the_card_says(tmp_path / "save", tmp_path, monkeypatch)["model"]) is MODELS["save"]
    assert "sam=" not in (tmp_path / "save" / "README.md").read_text()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"licence": "  "}, "licence of the model card is empty"),
        ({"data": ""}, "data of the model card is empty"),
        ({"seeds": ()}, "seeds of the model card is empty"),
        ({"metrics": []}, "metrics of the model card is empty"),
        ({"metrics": [{}]}, "at least one"),
        (
            {"metrics": [{"mIoU": 1}, {"F": 1}]},
            r"row 1 of the card's metrics has the columns \['F'\]; expected \['mIoU'\]",
        ),
    ],
)
def test_a_card_with_gaps_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ModelCard(**{**vars(CARD), **changes})


# ---- what must not be saved


class OwnPrompt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Linear(128, 128)


class OwnKind(GAVS):
    pass


def test_what_could_not_be_loaded_again_is_not_written(tmp_path, own, model, notes):
    sams, config = [build_sam("mini", own["sam"], 64) for _ in range(2)], GAVSConfig(adapter_width=8, cola_width=8)
    only = {"inputs": notes["inputs"]}
    for changes, message in (
        (
            {"sam": None},
            r"trained on other frozen weights .* trained with: sam_mini.safetensors, SHA-256 [0-9a-f]{64}\.",
        ),
        ({"vggish": None}, "another VGGish than the shipped VGGish-mini"),
        ({"sam": own["vggish"]}, "vggish_own.safetensors"),
        ({"model": GAVS(sams[0], config, prompt=OwnPrompt())}, "does not fit this GAVS .*own parts"),
        ({"model": OwnKind(sams[1], config)}, "holds OwnKind; expected the trained parameters of GAVS"),
    ):
        given = {"model": model, "card": CARD, "notes": only, **own, **changes}
        with pytest.raises(ValueError, match=f"shared: could not be loaded again with .*{message}"):
            save_pretrained(tmp_path / "shared", **given)
    with pytest.raises(ValueError, match="notes say nothing of the inputs"):
        save_pretrained(tmp_path / "shared", model, card=CARD, notes={"fit": {}}, **own)
    with pytest.raises(ValueError, match="the card's seeds are 3, 4, and these weights are of seed 5"):
        save_pretrained(tmp_path / "shared", model, card=CARD, notes=only | {"fit": {"seed": 5}}, **own)
    with pytest.raises(FileNotFoundError):
        save_pretrained(tmp_path / "shared", model, card=CARD, notes=notes, sam=tmp_path / "none.pth")
    assert list(tmp_path.iterdir()) == []


def test_a_sam_of_no_known_size_is_refused(tmp_path, model, notes):
    sam = build_sam("mini")
    sam.image_encoder.blocks = sam.image_encoder.blocks[:4]
    with pytest.raises(ValueError, match="a SAM of 4 blocks, 128 wide, is none of vit_b, vit_l, vit_h, mini"):
        save_pretrained(tmp_path / "shared", GAVS(sam, GAVSConfig(tune_from=2)), card=CARD, notes=notes)


@pytest.mark.parametrize("name", FILES)
def test_files_of_others_are_not_overwritten(tmp_path, own, model, notes, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match=f"holds {name}, which save_pretrained did not write"):
        save_pretrained(tmp_path, model, card=CARD, notes=notes, **own)
    assert (tmp_path / name).read_text() == "{}" and len(list(tmp_path.iterdir())) == 1


# ---- what cannot be loaded


def test_another_foundation_model_is_refused_and_the_right_one_named(folder, own, tmp_path):
    with pytest.raises(
        ValueError, match="trained with sam_own.safetensors .SHA-256 .* Give the path of that file as sam"
    ):
        from_pretrained(folder)
    with pytest.raises(ValueError, match="trained with vggish_own.safetensors .* Give the path of that file as vggish"):
        from_pretrained(folder, own["sam"])
    other = shipped_weights("sam_mini")
    with pytest.raises(ValueError, match=f"trained on other frozen weights .*sam_own.*{sha256(own['sam'])}"):
        from_pretrained(folder, other, own["vggish"])
    with pytest.raises(ValueError, match="another VGGish than the shipped VGGish-mini"):
        from_pretrained(folder, own["sam"], "mini")
    with pytest.raises(FileNotFoundError, match="none.pth"):
        from_pretrained(folder, tmp_path / "none.pth", own["vggish"])


def test_official_encoders_are_asked_for_by_the_name_of_their_file(folder, own):
    for name in ("model.safetensors", "config.json"):
        change_foundation(folder / name, name="vit_b", file="sam_vit_b_01ec64.pth", sha256="ec2d" * 16)
    with pytest.raises(ValueError, match="trained with sam_vit_b_01ec64.pth .SHA-256 ec2dec2d"):
        from_pretrained(folder, vggish=own["vggish"])
    with pytest.raises(ValueError, match="vit_b"):  # SAM-mini in place of vit_b
        from_pretrained(folder, **own)


def change_foundation(path: Path, **changes) -> None:
    tensors, header = load_tensors(path) if path.suffix == ".safetensors" else ({}, json.loads(path.read_text()))
    header["foundation"]["sam"] |= changes
    if tensors:
        save_tensors(path, tensors, header)
    else:
        path.write_text(json.dumps(header))


def test_files_that_are_not_of_one_model_are_refused(folder, own):
    change_foundation(folder / "config.json", file="another.pth")
    with pytest.raises(ValueError, match="config.json is not of this model.safetensors"):
        from_pretrained(folder, **own)


def test_a_folder_that_does_not_name_what_it_stands_on_is_refused(folder, own):
    config = json.loads((folder / "config.json").read_text()) | {"foundation": {"vggish": {"file": "a", "sha256": "b"}}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not name its SAM and VGGish"):
        from_pretrained(folder, **own)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    "name, damage, error, message",
    [
        ("config.json", Path.unlink, FileNotFoundError, "config.json: no such file; expected a folder"),
        ("config.json", cut, ValueError, "config.json: not readable as JSON"),
        ("config.json", lambda path: path.write_text("[]"), ValueError, "says nothing of config, foundation, frozen"),
        ("config.json", lambda path: path.write_text('{"kind": 1}'), ValueError, "says nothing of config, foundation"),
        ("model.safetensors", Path.unlink, FileNotFoundError, "no such weights file"),
        ("model.safetensors", cut, ValueError, "cut short or damaged"),
    ],
)
def test_a_damaged_folder_is_refused_by_file(folder, own, name, damage, error, message):
    damage(folder / name)
    with pytest.raises(error, match=message):
        from_pretrained(folder, **own)


# ---- what loading shares with the shipped models


def test_a_file_of_another_kind_than_asked_for_is_refused(tmp_path):
    save_trained(tmp_path / "own.safetensors", build_model("audio_sam"), {})
    with pytest.raises(ValueError, match="this file holds AudioSAM, you asked for GAVS"):
        load_model("gavs", tmp_path / "own.safetensors")
    assert type(model_for(tmp_path / "own.safetensors")[0]) is MODELS["audio_sam"]


def test_a_setting_of_a_later_version_is_refused_by_name(tmp_path):
    path = tmp_path / "own.safetensors"
    save_trained(path, build_model("gavs"), {})
    tensors, header = load_tensors(path)
    header["config"]["telepathy"] = 3
    save_tensors(path, tensors, header)
    with pytest.raises(ValueError, match=r"telepathy 3 \(here None\)"):
        load_model("gavs", path)
