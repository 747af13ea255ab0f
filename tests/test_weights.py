"""Files of trained weights: they say what they are, arrive whole or not at all, and never run code."""

import errno
import os
import pickle

import pytest
import torch

from gavs_lib.baselines import SAMFusion
from gavs_lib.gavs import GAVS, GAVSConfig
from gavs_lib.lab import weights
from gavs_lib.lab.weights import load_trained, save_trained, sha256, verify_shipped, write_atomically, write_checksums
from gavs_lib.sam import build_sam


def build(kind=GAVS, seed=0, sam_seed=0, **config):
    torch.manual_seed(sam_seed)
    sam = build_sam("mini")
    torch.manual_seed(seed)
    model = kind(sam, GAVSConfig(**config))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
    return model


@pytest.fixture
def saved(tmp_path):
    model = build()
    path = tmp_path / "gavs.safetensors"
    save_trained(path, model, {"world": "abc", "seeds": [1, 2], "figures": {"miou": 0.5}})
    return path, model


def test_every_trained_parameter_comes_back_bit_for_bit_with_its_metadata(saved):
    path, model = saved
    other = build(seed=1)
    header = load_trained(path, other)
    assert header["kind"] == "GAVS" and header["world"] == "abc" and header["figures"] == {"miou": 0.5}
    assert header["config"]["adapter_width"] == 128 and header["versions"]["torch"]
    for name, tensor in model.trained_state().items():
        assert torch.equal(other.trained_state()[name], tensor), name


def test_the_same_weights_make_the_same_file(saved, tmp_path):
    path, model = saved
    again = tmp_path / "again.safetensors"
    save_trained(again, model, {"figures": {"miou": 0.5}, "seeds": [1, 2], "world": "abc"})
    assert sha256(again) == sha256(path)


def test_only_trained_parameters_are_in_the_file(saved):
    path, model = saved
    tensors, _ = weights.load_tensors(path)
    assert set(tensors) == set(model.trainable_summary().names)


def test_another_kind_of_model_is_refused_by_name(tmp_path):
    path = tmp_path / "fusion.safetensors"
    save_trained(path, build(SAMFusion), {})
    with pytest.raises(ValueError, match="this file holds SAMFusion, you asked for GAVS"):
        load_trained(path, build())


def test_another_configuration_is_refused_and_the_difference_named(saved):
    with pytest.raises(ValueError, match=r"tune_from None \(here 4\)"):
        load_trained(saved[0], build(tune_from=4))


def test_a_setting_that_is_younger_than_the_file_had_its_default(saved, tmp_path):
    tensors, header = weights.load_tensors(saved[0])
    del header["config"]["whole_decoder"]
    old = tmp_path / "old.safetensors"
    weights.save_tensors(old, tensors, header)
    load_trained(old, build(seed=1))
    with pytest.raises(ValueError, match=r"whole_decoder False \(here True\)"):
        load_trained(old, build(seed=1, whole_decoder=True))


def test_weights_trained_on_another_sam_are_refused_and_nothing_changes(saved):
    other = build(seed=1, sam_seed=5)
    before = {name: tensor.clone() for name, tensor in other.trained_state().items()}
    with pytest.raises(ValueError, match="other frozen weights"):
        load_trained(saved[0], other)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.trained_state().items())


def test_a_frozen_weight_changed_after_the_fingerprint_was_taken_is_noticed(saved):
    path, model = saved
    load_trained(path, model)
    with torch.no_grad():
        model.sam.image_encoder.blocks[0].mlp.lin1.weight.add_(1.0)
    with pytest.raises(ValueError, match="other frozen weights"):
        load_trained(path, model)


def test_trained_weights_serve_the_same_sam_at_another_input_size(saved, tmp_path):
    path, _ = saved
    torch.manual_seed(0)
    state = build_sam("mini").state_dict()
    checkpoint = tmp_path / "sam.pth"
    torch.save(state, checkpoint)
    load_trained(path, GAVS(build_sam("mini", checkpoint, image_size=64)))


def test_a_model_with_other_parts_is_refused_with_names(saved):
    class Prompt(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.own = torch.nn.Linear(128, 128)

    torch.manual_seed(0)
    with pytest.raises(ValueError, match="prompt.own.weight is missing"):
        load_trained(saved[0], GAVS(build_sam("mini"), prompt=Prompt()))


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_file_cut_short_is_refused(saved, kept):
    path, model = saved
    data = path.read_bytes()
    path.write_bytes(data[:kept])
    with pytest.raises(ValueError, match="cut short or damaged"):
        load_trained(path, model)


def test_a_pickle_is_refused_without_running_it(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trapped"),)

    path = tmp_path / "evil.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="holds a pickle"):
        load_trained(path, build())
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="holds a pickle"):
        load_trained(path, build())
    assert not (tmp_path / "trapped").exists()


def test_a_cut_file_whose_header_length_looks_like_the_start_of_a_pickle_is_called_cut(tmp_path):
    path = tmp_path / "cut.safetensors"
    path.write_bytes((0x0280).to_bytes(8, "little") + b'{"a":{"dtype":"F32"')
    with pytest.raises(ValueError, match="cut short or damaged"):
        load_trained(path, build())


def test_a_missing_file_a_foreign_file_and_a_wrong_suffix_are_told_apart(tmp_path):
    model = build()
    with pytest.raises(FileNotFoundError, match="no such weights file"):
        load_trained(tmp_path / "no.safetensors", model)
    weights.save_tensors(tmp_path / "plain.safetensors", {"a": torch.zeros(2)}, {})
    with pytest.raises(ValueError, match="does not say what model it holds"):
        load_trained(tmp_path / "plain.safetensors", model)
    with pytest.raises(ValueError, match="give the file that suffix"):
        save_trained(tmp_path / "model.pt", model, {})


def test_metadata_that_json_cannot_hold_or_that_would_lie_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        save_trained(tmp_path / "a.safetensors", build(), {"score": torch.zeros(1)})
    with pytest.raises(ValueError, match="must not give kind"):
        save_trained(tmp_path / "a.safetensors", build(), {"kind": "SAM"})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="free some space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_checksums_tell_changed_missing_and_unlisted_files(tmp_path):
    for name in "abcd":
        weights.save_tensors(tmp_path / f"{name}.safetensors", {"x": torch.full((3,), float(ord(name)))}, {})
    (tmp_path / "d.safetensors").rename(tmp_path / "d.aside")
    listing = write_checksums(tmp_path)
    assert verify_shipped(tmp_path) == []
    data = bytearray((tmp_path / "a.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "a.safetensors").write_bytes(bytes(data))
    (tmp_path / "b.safetensors").unlink()
    (tmp_path / "d.aside").rename(tmp_path / "d.safetensors")
    assert verify_shipped(tmp_path) == ["a.safetensors", "b.safetensors", "d.safetensors"]
    listing.write_text("nonsense\n")
    with pytest.raises(ValueError, match="line 1"):
        verify_shipped(tmp_path)
    listing.unlink()
    with pytest.raises(FileNotFoundError, match="SHA256SUMS"):
        verify_shipped(tmp_path)


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
