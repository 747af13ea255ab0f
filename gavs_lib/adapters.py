"""Bottleneck adapters (Houlsby et al. 2019), and the wrappers that put one behind an MLP or an attention of SAM.

GAVS uses them twice: behind the MLPs of the image encoder's later blocks, and as ColA behind the MLPs of the mask
decoder (eq. 4); its ablation also puts them behind the decoder's attentions. The wrappers keep SAM's key names, so an
official checkpoint loads before and after wrapping: `...mlp.lin1.weight` stays what it was, and the adapter's own
parameters stand beside it as `...mlp.adapter.*`.
"""

from collections.abc import Callable

from segment_anything.modeling.common import MLPBlock
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn


def start_at_zero(layer: nn.Module) -> nn.Module:
    """The layer, with weights and bias zero: what ends in it adds nothing while untrained."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class BottleneckAdapter(nn.Module):
    """W2 act(W1 x), with W2 and its bias zero at first: an untrained adapter adds nothing.

    The residual is the caller's (`AdaptedMLP`), and no activation follows W2: at zero it would stop the gradient.

    Args:
        dim: width of the input and the output.
        width: width of the bottleneck.
        activation: class of the nonlinearity; ReLU in the image encoder, GELU in ColA.

    Shapes:
        x: [..., dim]; returns [..., dim]
    """

    def __init__(self, dim: int, width: int, activation: Callable[[], nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.down = nn.Linear(dim, width)
        self.activation = activation()
        self.up = start_at_zero(nn.Linear(width, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.activation(self.down(x)))


class AdaptedMLP(MLPBlock):
    """An MLP of SAM followed by an adapter: y + adapter(y), where y = mlp(x).

    It takes over the layers of `mlp` (the same parameters, under the same names) and runs SAM's own forward.

    Args:
        mlp: the MLPBlock of an encoder block or of a decoder layer.
        adapter: module from [..., dim] to [..., dim]; should return zeros at first.
        beside: the adapter stands beside the MLP instead, and gets what the MLP gets: y + adapter(x).
    """

    def __init__(self, mlp: MLPBlock, adapter: nn.Module, beside: bool = False) -> None:
        nn.Module.__init__(self)  # not MLPBlock's: the layers exist already
        self.lin1, self.lin2, self.act = mlp.lin1, mlp.lin2, mlp.act
        self.adapter = adapter
        self.beside = beside

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y + self.adapter(x if self.beside else y)


class AdaptedAttention(Attention):
    """An attention of SAM's mask decoder followed by an adapter: y + adapter(y), where y = attention(q, k, v).

    It takes over the projections of `attention` as `AdaptedMLP` does those of an MLP.

    Args:
        attention: of a two-way layer.
        adapter: module from [..., dim] to [..., dim]; should return zeros at first.
    """

    def __init__(self, attention: Attention, adapter: nn.Module) -> None:
        nn.Module.__init__(self)  # not Attention's: the layers exist already
        self.num_heads = attention.num_heads
        self.q_proj, self.k_proj, self.v_proj = attention.q_proj, attention.k_proj, attention.v_proj
        self.out_proj = attention.out_proj
        self.adapter = adapter

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        y = super().forward(q=q, k=k, v=v)
        return y + self.adapter(y)
