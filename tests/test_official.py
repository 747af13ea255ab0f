"""Official weights: the catalogue, and files of the official shape from a server to a model."""

import hashlib
import io
import os
from dataclasses import replace

import pytest
import torch
from segment_anything import sam_model_registry

from gavs_lib.lab.official import OFFICIAL, main, official_weights
from gavs_lib.sam import build_sam
from gavs_lib.vggish import VGGish, load_vggish

SAMS = ["vit_b", "vit_l", "vit_h"]


def official_shape(name: str) -> bytes:
    """A file with the published names and shapes, of a few hundred kilobytes: each tensor is one number, repeated."""
    with torch.device("meta"):
        model = VGGish() if name == "vggish" else sam_model_registry[name]()
    state = {key: torch.full((1,), 0.5).expand(value.shape) for key, value in model.state_dict().items()}
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=name != "vggish")  # the port's file is of the older format
    return file.getvalue()


@pytest.fixture
def publish(site, tmp_path, monkeypatch):
    """Put a content in the place of an official file, in the catalogue too; the cache is in `tmp_path`."""
    monkeypatch.setenv("GAVS_CACHE", str(tmp_path / "cache"))

    def published(name: str, content: bytes):
        file = OFFICIAL[name]
        site.files[file.name] = content
        checksum = hashlib.sha256(content).hexdigest()[: len(file.sha256)]
        here = replace(file, urls=(f"{site.address}/{file.name}",), size=len(content), sha256=checksum)
        monkeypatch.setitem(OFFICIAL, name, here)
        return tmp_path / "cache" / file.name

    return published


def test_the_catalogue_names_each_file_as_its_address_does_and_its_size_is_that_of_its_parameters():
    for name, file in OFFICIAL.items():
        assert file.urls[0].startswith("https://") and file.urls[0].endswith(f"/{file.name}")
        with torch.device("meta"):
            state = (VGGish() if name == "vggish" else build_sam(name)).state_dict()
        parameters = 4 * sum(tensor.numel() for tensor in state.values())
        assert 0 < file.size - parameters < 500 * len(state), (
            f"{name}: names and shapes of a tensor take some 300 bytes"
        )
    assert all(len(OFFICIAL[name].sha256) == 64 for name in SAMS)
    assert OFFICIAL["vggish"].name == f"vggish-{OFFICIAL['vggish'].sha256}.pth"


@pytest.mark.parametrize("name", SAMS)
@pytest.mark.parametrize("image_size", [224, 1024])
@pytest.mark.filterwarnings("ignore:.*meta parameter")
def test_a_sam_of_the_official_shape_comes_from_the_net_into_a_model(publish, name, image_size):
    path = publish(name, official_shape(name))
    assert official_weights(name, progress=False) == path
    with torch.device("meta"):  # names and shapes are compared, and no gigabytes filled
        sam = build_sam(name, official_weights(name), image_size)
    assert sam.image_encoder.img_size == image_size


def test_another_sam_than_asked_for_is_named_with_both(publish):
    publish("vit_l", official_shape("vit_l"))
    with pytest.raises(ValueError, match=r"sam_vit_l_0b3195\.pth: holds vit_l, you asked for vit_b"):
        build_sam("vit_b", official_weights("vit_l", progress=False))


def test_a_vggish_of_the_official_shape_comes_from_the_net_into_a_model(publish):
    publish("vggish", official_shape("vggish"))
    vggish = load_vggish(official_weights("vggish", progress=False))
    assert vggish.embeddings[4].weight.shape == (128, 4096) and (vggish.embeddings[4].bias == 0.5).all()


def test_a_file_of_the_right_name_with_another_content_is_refused(publish, tmp_path):
    path = publish("vit_b", official_shape("vit_b"))
    path.parent.mkdir()
    path.write_bytes(official_shape("vit_l"))
    with pytest.raises(ValueError, match=rf"{path.name}: has .*; expected sam_vit_b_01ec64\.pth"):
        official_weights("vit_b")
    path.unlink()
    assert official_weights("vit_b", tmp_path / "elsewhere", progress=False).parent == tmp_path / "elsewhere"


class _RunsCode:
    def __reduce__(self):
        return os.mkdir, (os.environ["FORBIDDEN_FOLDER"],)


@pytest.mark.parametrize("name, load", [("vit_b", lambda path: build_sam("vit_b", path)), ("vggish", load_vggish)])
def test_a_pickle_with_code_in_it_is_not_run_even_where_its_checksum_is_right(
    publish, tmp_path, monkeypatch, name, load
):
    monkeypatch.setenv("FORBIDDEN_FOLDER", str(tmp_path / "ran"))
    file = io.BytesIO()
    torch.save({"image_encoder.pos_embed": _RunsCode()}, file)
    publish(name, file.getvalue())
    with pytest.raises(ValueError, match="code"):
        load(official_weights(name, progress=False))
    assert not (tmp_path / "ran").exists()


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(
        ValueError, match=r"'mini'; there are vit_b, vit_l, vit_h, vggish\. The miniature models come with"
    ):
        official_weights("mini")


def test_the_command_prints_paths_and_says_before_it_fetches_how_much(publish, capsys):
    paths = [publish(name, b"x" * (1000 + i)) for i, name in enumerate(["vit_b", "vggish"])]
    assert main(["vit_b", "vggish"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(path) for path in paths]
    assert "Fetching sam_vit_b_01ec64.pth (1,000 bytes" in said.err and "licence: Apache-2.0" in said.err


def test_the_command_lists_what_there_is_and_fetches_nothing(publish, site, capsys):
    path = publish("vit_h", b"x")
    path.parent.mkdir()
    path.write_bytes(b"x")
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and "375,042,383 bytes  Apache-2.0" in lines[0] and lines[0].endswith("(not there)")
    assert lines[2].endswith(f"{path} (there)") and not site.requests


def test_what_cannot_be_done_is_said_and_is_the_exit_code(publish, site, tmp_path, capsys, monkeypatch):
    publish("vit_b", b"x")
    assert main(["vit_b", "--offline", "--folder", str(tmp_path / "own")]) == 1
    error = capsys.readouterr().err
    assert f"error: {tmp_path / 'own' / 'sam_vit_b_01ec64.pth'}: no such file" in error and "(1 bytes, SHA-256" in error
    assert main(["vit_c"]) == 1 and "'vit_c'; there are vit_b" in capsys.readouterr().err
    assert not site.requests
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("gavs_lib.lab.official.fetch", interrupt)
    assert main(["vit_b"]) == 130 and "goes on from there" in capsys.readouterr().err
