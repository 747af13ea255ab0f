"""Recomputed activations: less is kept, and nothing else changes."""

import dataclasses

import pytest
import torch
from small_models import clip, lively_sam, randomize_trained
from torch import nn

from gavs_lib.gavs import GAVS, GAVSConfig
from gavs_lib.lab.joint import Joint, JointConfig
from gavs_lib.lab.memory import recompute_activations
from gavs_lib.lab.train import FitConfig, fit
from gavs_lib.lab.weights import load_tensors
from gavs_lib.sam import build_sam
from gavs_lib.save import SAVE, SAVEConfig

NARROW = {"adapter_width": 16, "cola_width": 16}
MODELS = {
    "gavs": lambda sam: GAVS(sam, GAVSConfig(**NARROW, noise="gaussian")),
    "a dropout of one's own": lambda sam: GAVS(
        sam, GAVSConfig(**NARROW), adapter=lambda dim: nn.Sequential(nn.Linear(dim, dim), nn.Dropout(0.5))
    ),
    "save": lambda sam: SAVE(sam, SAVEConfig(adapter_channels=8)),
    "joint": lambda sam: Joint(sam, JointConfig(**NARROW, points=1)),
}


def build(name):
    model = MODELS[name](lively_sam(64))
    randomize_trained(model)
    return model.train()


def gradients(model, half):
    torch.manual_seed(5)
    images, audio = clip(1, 2, 64)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        output = model(images, audio)
    loss = output.mask_logits.float().square().mean()
    if output.visual_cue is not None:
        loss = loss + output.visual_cue.float().square().mean()
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}


def kept(model):
    """Bytes that autograd keeps of a forward pass, parameters aside."""
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    storages = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    images, audio = clip(1, 2, 64)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = model(images, audio)
    assert output.mask_logits.requires_grad
    return sum(storages.values())


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_the_same_bits(name, half):
    model = build(name)
    expected = gradients(model, half)
    with recompute_activations(model):
        found = gradients(model, half)
    assert any(gradient.abs().max() > 0 for gradient in expected.values())
    for parameter, gradient in expected.items():
        assert torch.equal(found[parameter], gradient), parameter


@pytest.mark.parametrize("name", ["gavs", "save"])
def test_a_quarter_of_the_activations_at_most_is_kept(name):
    model = build(name)
    everything = kept(model)
    with recompute_activations(model):
        assert kept(model) < everything / 4
    assert kept(model) == everything, "and outside it all of them are"


def test_blocks_before_the_tuned_ones_are_left_alone_and_the_model_is_put_back_after_an_error():
    model = build("gavs")
    names, before = list(model.state_dict()), [set(vars(module)) for module in model.modules()]
    with pytest.raises(KeyboardInterrupt):
        with recompute_activations(model):
            changed = {name for name, module in model.named_modules() if "forward" in vars(module)}
            assert list(model.state_dict()) == names
            raise KeyboardInterrupt
    blocks = {f"sam.image_encoder.blocks.{i}" for i in (3, 4, 5)}
    layers = {f"sam.mask_decoder.transformer.layers.{i}" for i in (0, 1)}
    assert changed == blocks | layers | {"sam.mask_decoder.output_upscaling"}
    assert [set(vars(module)) for module in model.modules()] == before


def items():
    images, audio = clip(3, 2)
    ones = torch.ones(2, dtype=torch.bool)
    masks = (images[:, :, 0] > 200).to(torch.uint8)
    return [
        {"uid": f"{i}", "label": "bell", "images": images[i], "audio": audio[i], "masks": masks[i], "has_mask": ones,
         "frame_valid": ones}
        for i in range(3)
    ]  # fmt: skip


def test_a_training_in_parts_ends_with_the_same_bits_and_may_be_resumed_with_the_other_setting(tmp_path, monkeypatch):
    config = FitConfig(steps=2, batch_size=3, accumulate=2, save_every=1, precision="bf16")
    again = dataclasses.replace(config, checkpointing=True)
    for name, each in (("kept", config), ("recomputed", again)):
        torch.manual_seed(0)
        model = GAVS(build_sam("mini"), GAVSConfig(**NARROW, noise="gaussian"))
        fit(model, items(), None, each, tmp_path / name, progress=False)
    kept, recomputed = (load_tensors(tmp_path / name / "last.safetensors")[0] for name in ("kept", "recomputed"))
    assert kept.keys() == recomputed.keys() and all(torch.equal(kept[name], recomputed[name]) for name in kept)
    result = fit(model, items(), None, config, tmp_path / "recomputed", progress=False)
    assert result.history[-1]["step"] == 2


def test_a_model_without_a_sam_is_refused_before_anything_is_written(tmp_path):
    class Other(nn.Linear):
        def trained_state(self):
            return dict(self.named_parameters())

    with pytest.raises(ValueError, match="Other is not built on FrozenSAM.*checkpointing=False"):
        fit(Other(1, 1), items(), None, FitConfig(steps=1, checkpointing=True), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
