"""Bottleneck adapters and the wrappers that put them behind SAM's MLPs and attentions."""

import torch
from segment_anything.modeling.common import MLPBlock
from segment_anything.modeling.transformer import Attention
from torch import nn

from gavs_lib.adapters import AdaptedAttention, AdaptedMLP, BottleneckAdapter


def test_an_adapter_is_w2_act_w1():
    adapter = BottleneckAdapter(3, 2)
    with torch.no_grad():
        adapter.down.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 1]]))
        adapter.down.bias.copy_(torch.tensor([0.5, -4.0]))
        adapter.up.weight.copy_(torch.tensor([[2.0, 1], [-3, 1], [0, 1]]))
    # W1 x + b1 = [1 + 0.5, 2 + 1 - 4] = [1.5, -1]; ReLU: [1.5, 0]; W2: [3, -4.5, 0]
    assert adapter(torch.tensor([1.0, 2, 1])).tolist() == [3.0, -4.5, 0.0]


def test_an_untrained_adapter_leaves_the_mlp_as_it_is_bit_for_bit():
    mlp = MLPBlock(16, 32)
    x = torch.randn(2, 5, 5, 16)
    expected = mlp(x)
    assert torch.equal(AdaptedMLP(mlp, BottleneckAdapter(16, 8))(x), expected)


def test_a_trained_adapter_is_added_to_the_output_of_the_mlp():
    mlp, adapter = MLPBlock(16, 32), BottleneckAdapter(16, 8, nn.GELU)
    nn.init.normal_(adapter.up.weight)
    x = torch.randn(7, 16)
    y = mlp(x)
    expected = y + nn.functional.gelu(y @ adapter.down.weight.T + adapter.down.bias) @ adapter.up.weight.T
    torch.testing.assert_close(AdaptedMLP(mlp, adapter)(x), expected)


def test_an_adapter_beside_the_mlp_gets_what_the_mlp_gets():
    mlp, adapter = MLPBlock(16, 32), BottleneckAdapter(16, 8, nn.GELU)
    x = torch.randn(7, 16)
    expected = mlp(x)
    beside = AdaptedMLP(mlp, adapter, beside=True)
    assert torch.equal(beside(x), expected)
    nn.init.normal_(adapter.up.weight)
    torch.testing.assert_close(beside(x), expected + adapter(x))


def test_the_wrapped_mlp_keeps_its_names_and_parameters():
    mlp = MLPBlock(16, 32)
    before = dict(mlp.named_parameters())
    wrapped = dict(AdaptedMLP(mlp, BottleneckAdapter(16, 8)).named_parameters())
    assert all(wrapped[name] is parameter for name, parameter in before.items())
    added = {f"adapter.{layer}.{kind}" for layer in ("down", "up") for kind in ("weight", "bias")}
    assert wrapped.keys() - before.keys() == added


def test_no_activation_follows_the_layer_that_starts_at_zero():
    adapter = BottleneckAdapter(4, 2)
    nn.init.constant_(adapter.up.bias, -1.0)
    assert adapter(torch.randn(3, 4)).max() == -1  # a ReLU would have hidden it, a GELU changed it


def test_an_adapter_behind_an_attention_adds_to_its_output_and_nothing_at_first():
    attention, adapter = Attention(16, 2, downsample_rate=2), BottleneckAdapter(16, 8, nn.GELU)
    before = dict(attention.named_parameters())
    q, k, v = torch.randn(3, 6, 16), torch.randn(3, 10, 16), torch.randn(3, 10, 16)
    y = attention(q=q, k=k, v=v)
    wrapped = AdaptedAttention(attention, adapter)
    assert torch.equal(wrapped(q=q, k=k, v=v), y)
    nn.init.normal_(adapter.up.weight)
    torch.testing.assert_close(wrapped(q=q, k=k, v=v), y + adapter(y))
    after = dict(wrapped.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    assert after.keys() - before.keys() == {f"adapter.{name}" for name, _ in adapter.named_parameters()}
