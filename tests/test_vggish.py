"""VGGish: key names, order of the flattened map, the final ReLU, and files that are no VGGish."""

import pickle

import numpy as np
import pytest
import safetensors.torch
import torch

from gavs_lib import _shipped
from gavs_lib.vggish import VGGish, load_vggish

PORT_KEYS = [f"features.{i}.{kind}" for i in (0, 3, 6, 8, 11, 13) for kind in ("weight", "bias")]
PORT_KEYS += [f"embeddings.{i}.{kind}" for i in (0, 2, 4) for kind in ("weight", "bias")]


@pytest.fixture(scope="module")
def mini():
    torch.manual_seed(0)
    return VGGish.mini().eval()


def test_keys_and_shapes_are_those_of_the_common_port():
    with torch.device("meta"):
        state = VGGish().state_dict()
    assert list(state) == PORT_KEYS
    assert [state[f"features.{i}.weight"].shape[:2] for i in (0, 3, 6, 8, 11, 13)] == [
        (64, 1), (128, 64), (256, 128), (256, 256), (512, 256), (512, 512),
    ]  # fmt: skip
    assert state["embeddings.0.weight"].shape == (4096, 12288)
    assert state["embeddings.2.weight"].shape == (4096, 4096)
    assert state["embeddings.4.weight"].shape == (128, 4096)


def test_mini_has_the_same_keys_and_about_a_third_of_a_million_parameters(mini):
    assert list(mini.state_dict()) == PORT_KEYS
    assert 250_000 < sum(p.numel() for p in mini.parameters()) < 350_000


def test_forward_equals_the_layers_written_out_with_channels_last(mini):
    patches = torch.randn(3, 1, 96, 64)
    state = mini.state_dict()
    x = patches
    for index in (0, 3, 6, 8, 11, 13):
        x = torch.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1).clamp(min=0)
        if index in (0, 3, 8, 13):
            x = x.unflatten(3, (-1, 2)).amax(4).unflatten(2, (-1, 2)).amax(3)
    x = torch.from_numpy(np.stack([np.moveaxis(m, 0, -1).ravel() for m in x.numpy()]))  # NHWC
    for index in (0, 2, 4):
        x = x @ state[f"embeddings.{index}.weight"].T + state[f"embeddings.{index}.bias"]
        x = x.clamp(min=0) if index < 4 else x
    with torch.no_grad():
        assert torch.allclose(mini(patches), x, atol=1e-5)


def test_final_relu_is_the_only_difference_between_the_two_conventions(mini):
    rectified = VGGish.mini(final_relu=True).eval()
    rectified.load_state_dict(mini.state_dict())
    patches = torch.randn(4, 1, 96, 64)
    with torch.no_grad():
        plain = mini(patches)
        assert (plain < 0).any()
        assert torch.equal(rectified(patches), plain.clamp(min=0))


def test_wrong_patches_are_refused_with_the_shape_expected(mini):
    with pytest.raises(ValueError, match=r"\[N, 1, 96, 64\]"):
        mini(torch.zeros(2, 5, 1, 96, 64))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_saved_mini_comes_back_frozen_and_equal(mini, tmp_path, suffix):
    path = tmp_path / f"ear{suffix}"
    if suffix == ".pth":
        torch.save(mini.state_dict(), path)
    else:
        safetensors.torch.save_file({k: v.half() for k, v in mini.state_dict().items()}, path)
    loaded = load_vggish(path, final_relu=True)
    assert loaded.final_relu and not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.allclose(tensor, mini.state_dict()[name], atol=0 if suffix == ".pth" else 1e-3)


def test_the_full_network_is_recognised_by_its_shapes(tmp_path):
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in VGGish().state_dict().items()}
    path = tmp_path / "vggish.safetensors"
    safetensors.torch.save_file({name: torch.zeros(shape, dtype=torch.float16) for name, shape in shapes.items()}, path)
    loaded = load_vggish(path)
    assert sum(p.numel() for p in loaded.parameters()) == 72_141_184


def test_mini_by_name_is_the_shipped_file(mini, tmp_path, monkeypatch):
    monkeypatch.setattr(_shipped.importlib.resources, "files", lambda package: tmp_path / package)
    with pytest.raises(FileNotFoundError, match="vggish_mini"):
        load_vggish("mini")
    for folder in (tmp_path / "gavs_lib" / "weights", tmp_path / "data" / "weights"):
        folder.mkdir(parents=True)
        safetensors.torch.save_file(mini.state_dict(), folder / "vggish_mini.safetensors")
        assert _shipped.shipped_weights("vggish_mini").parent == folder  # the checkout's goes first
    assert torch.equal(load_vggish("mini").embeddings[4].bias, mini.embeddings[4].bias)


def test_shipped_names_cannot_leave_the_folder():
    with pytest.raises(ValueError, match="plain name"):
        _shipped.shipped_weights("../secrets")


def test_a_missing_file_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected VGGish weights"):
        load_vggish(tmp_path / "none.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_another_models_checkpoint_lists_its_keys(tmp_path, suffix):
    path = tmp_path / f"other{suffix}"
    state = {"image_encoder.pos_embed": torch.zeros(1, 2)}
    torch.save(state, path) if suffix == ".pth" else safetensors.torch.save_file(state, path)
    with pytest.raises(ValueError, match=r"features\.0\.weight is missing.*more"):
        load_vggish(path)


def test_unexpected_and_misshapen_tensors_are_named(mini, tmp_path):
    path = tmp_path / "odd.pth"
    torch.save({**mini.state_dict(), "pproc.mean": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"pproc\.mean is unexpected"):
        load_vggish(path)
    torch.save({**mini.state_dict(), "embeddings.4.bias": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"embeddings\.4\.bias has shape \(3,\) instead of \(128,\)"):
        load_vggish(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_cut_short_is_refused(mini, tmp_path, suffix, share):
    path = tmp_path / f"cut{suffix}"
    torch.save(mini.state_dict(), path) if suffix == ".pth" else safetensors.torch.save_file(mini.state_dict(), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf"cut{suffix}.*Download"):
        load_vggish(path)


class _Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_code_in_a_pickle_never_runs(tmp_path):
    for name, save in (("zip.pth", torch.save), ("plain.pth", lambda o, p: p.write_bytes(pickle.dumps(o)))):
        save({"features.0.weight": _Trap(tmp_path / "ran")}, tmp_path / name)
        with pytest.raises(ValueError, match="never loaded"):
            load_vggish(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_pth_that_holds_no_state_dict_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="expected a state dict"):
        load_vggish(tmp_path / "list.pth")


def test_a_text_file_is_refused_by_name(tmp_path):
    (tmp_path / "notes.pth").write_text("these are no weights")
    with pytest.raises(ValueError, match="notes.pth"):
        load_vggish(tmp_path / "notes.pth")
