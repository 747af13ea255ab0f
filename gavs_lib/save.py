"""SAVE (2024): sound enters SAM's encoder after every block, and what was added becomes the prompt as well.

    sound --> a --> r_1 ... r_N   (residual audio encoder adapter, eq. 2)
                     |       |
    frames --> block 1 + r_1 ... block N + r_N --> neck --> F_V --> SAM's mask decoder, trained --> masks
               each with an image encoder adapter (eq. 1)             ^
                                   r_1 + ... + r_N --> MLP --> token -'

SAMA-AVS, from which SAVE starts, and AP-SAM, which comes with it, stand beside it. Of SAVE there is no public code:
what the paper leaves open is decided here, and marked *ours*; what it prints, *paper*.
"""

from dataclasses import dataclass

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn

from gavs_lib.adapters import AdaptedMLP, start_at_zero
from gavs_lib.gavs import FrozenSAM, GAVSConfig

GATE_RATIO = 0.25  # of the channel gate's bottleneck (paper)


@dataclass(frozen=True)
class SAVEConfig:
    """Settings of SAVE; the defaults are the paper's where it prints them.

    Attributes:
        image_adapters: image encoder adapters stand in every block (*paper*; False: Table 7, one star).
        adapter_channels: channels of the adapters' smaller map. 0: as many as the encoder has, "the same number of
            channels as the input" (*paper*); fewer are *ours*, for small models.
        mlp_layers: of each audio encoder adapter's MLP, 2 (*paper*) or 3 (Table 9).
        audio_dim: of F_A, VGGish's.
    """

    image_adapters: bool = True
    adapter_channels: int = 0
    mlp_layers: int = 2
    audio_dim: int = 128

    def __post_init__(self) -> None:
        if self.mlp_layers not in (2, 3):
            raise ValueError(f"mlp_layers is {self.mlp_layers}; expected 2 or 3.")
        if self.adapter_channels < 0:
            raise ValueError(f"adapter_channels is {self.adapter_channels}; expected 0 (the encoder's) or a number.")


@dataclass(frozen=True)
class SAMAConfig:
    """Settings of SAMA-AVS; the defaults are those of its public code.

    Attributes:
        injection_width: hidden width of the MLPs through which sound enters the blocks.
        audio_dim: of F_A, VGGish's.
    """

    injection_width: int = 512
    audio_dim: int = 128

    def __post_init__(self) -> None:
        if self.injection_width < 1:
            raise ValueError(f"injection_width is {self.injection_width}; expected at least 1.")


class _DecoderTrains(FrozenSAM):
    """What the models of this file share: SAM's encoder is frozen and bare, its decoder trains.

    Args:
        tune_from: the first block that has something to train or to add.
    """

    Config = SAVEConfig

    def __init__(self, sam: Sam, config: SAVEConfig | SAMAConfig | None, tune_from: int = 0) -> None:
        config = config or self.Config()
        bare = GAVSConfig(
            tune_from=tune_from, adapter_width=0, cola_width=0, whole_decoder=True, audio_dim=config.audio_dim
        )
        super().__init__(sam, bare)
        self.config = config


class SAVE(_DecoderTrains):
    """Segment anything with audio-visual embeddings injected block by block.

    Trained: the adapters, the prompt's MLP and SAM's mask decoder; the encoder is frozen, its LayerNorms too. (That
    the decoder trains is our reading: SAMA-AVS, which SAVE builds on, trains it. That the prompt is *one* token is ours
    too: the paper gives its shape as that of a map.) The loss of the paper is
    `losses.segmentation_loss` plus `losses.soft_iou_loss`. Every block has something to train, so that only what enters
    the first one is a prefix.

    Args:
        sam: from `build_sam`; changed in place (see `FrozenSAM`). The paper uses vit_h at 256 (V2, V3: 224) or 1024.
        config: settings; None: the defaults.

    Example:
        >>> model = SAVE(build_sam("mini"), SAVEConfig(adapter_channels=16))
        >>> model(torch.rand(1, 2, 3, 128, 128) * 255, torch.randn(1, 2, 128)).mask_logits.shape
        torch.Size([1, 2, 64, 64])
    """

    def __init__(self, sam: Sam, config: SAVEConfig | None = None) -> None:
        super().__init__(sam, config)
        config, encoder = self.config, sam.image_encoder
        dim, prompt_dim = encoder.pos_embed.shape[-1], sam.prompt_encoder.embed_dim
        if config.image_adapters:
            for block in encoder.blocks:
                adapter = ImageEncoderAdapter(dim, config.adapter_channels or dim)
                block.mlp = AdaptedMLP(block.mlp, adapter, beside=True)
        self.audio_adapters = ResidualAudioAdapter(config.audio_dim, dim, len(encoder.blocks), config.mlp_layers)
        self.prompt = nn.Sequential(nn.Linear(dim, prompt_dim), nn.ReLU(), nn.Linear(prompt_dim, prompt_dim))

    def listen(self, image_embedding: Tensor, audio: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor, None]:
        token = self.prompt(self.audio_adapters(audio).sum(dim=0))
        return image_embedding, token[:, None], None

    def _finish_encoding(self, x: Tensor, audio: Tensor) -> Tensor:
        return encode_with_residuals(self.sam.image_encoder, x, self.audio_adapters(audio))


class SAMAAVS(_DecoderTrains):
    """SAMA-AVS (Liu et al. 2024), on which SAVE builds: an MLP of the sound for each block, added *before* the block.

    Followed, by its public code: the MLPs have a hidden layer each and share the last one; a block's output is added to
    all tokens; no prompt token; the mask decoder trains and the encoder is frozen; the loss is SAVE's. Ours: the shared
    layer starts at zero, so that an untrained model is SAM (there it starts near zero). Built as `SAVE` is.
    """

    Config = SAMAConfig

    def __init__(self, sam: Sam, config: SAMAConfig | None = None) -> None:
        super().__init__(sam, config)
        width, encoder = self.config.injection_width, sam.image_encoder
        hidden = [nn.Sequential(nn.Linear(self.config.audio_dim, width), nn.GELU()) for _ in encoder.blocks]
        shared = start_at_zero(nn.Linear(width, encoder.pos_embed.shape[-1]))
        self.injections = nn.ModuleDict({"hidden": nn.ModuleList(hidden), "shared": shared})

    def listen(self, image_embedding: Tensor, audio: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor, None]:
        return image_embedding, image_embedding.new_empty(len(audio), 0, image_embedding.shape[1]), None

    def _finish_encoding(self, x: Tensor, audio: Tensor) -> Tensor:
        encoder = self.sam.image_encoder
        x = x.to(encoder.pos_embed.dtype)
        for block, hidden in zip(encoder.blocks, self.injections["hidden"]):
            x = block(x + self.injections["shared"](hidden(audio))[:, None, None])
        return encoder.neck(x.permute(0, 3, 1, 2))


class APSAM(_DecoderTrains):
    """AP-SAM, "audio-prompted SAM", the simpler model of the SAMA-AVS paper, as far as it is described there.

    Sound becomes SAM's sparse prompt and the mask decoder trains; the encoder is untouched. How wide the MLP is that
    makes the prompt is not printed: two layers as wide as the prompt are ours. (Audio-SAM is the same with a frozen
    decoder; GAVS's Table 5, row b, trains the decoder as well.) Built as `SAVE` is; of the settings audio_dim counts.
    """

    def __init__(self, sam: Sam, config: SAVEConfig | None = None) -> None:
        super().__init__(sam, config, tune_from=len(sam.image_encoder.blocks))
        width = sam.prompt_encoder.embed_dim
        self.prompt = nn.Sequential(nn.Linear(self.config.audio_dim, width), nn.ReLU(), nn.Linear(width, width))

    def listen(self, image_embedding: Tensor, audio: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor, None]:
        return image_embedding, self.prompt(audio)[:, None], None


class ImageEncoderAdapter(nn.Module):
    """What an encoder block adds to its MLP: a channel gate, then down to half the resolution and up again (eq. 1).

        x' = x * sigmoid(W2 relu(W1 GAP(x)));   up(relu(down(x')))

    The transposed convolution starts at zero, so that an untrained adapter adds nothing. (Kernels of 3, the two ReLUs
    and the zero are *ours*. The caption of Table 7 puts the adapter at the end of the block; equation 1 puts it beside
    the MLP, and so do we.) It sees the whole map, as SAM's MLP does: windows are a matter of the attention only.

    Args:
        dim: channels of the encoder.
        channels: of the smaller map.

    Shapes:
        x: [N, H, W, dim], any H and W; returns the same
    """

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        squeezed = max(1, round(GATE_RATIO * dim))
        self.gate = nn.Sequential(nn.Linear(dim, squeezed), nn.ReLU(), nn.Linear(squeezed, dim), nn.Sigmoid())
        self.down = nn.Conv2d(dim, channels, kernel_size=3, stride=2, padding=1)
        self.up = start_at_zero(nn.ConvTranspose2d(channels, dim, kernel_size=3, stride=2, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = (x * self.gate(x.mean(dim=(1, 2), keepdim=True))).permute(0, 3, 1, 2)
        # Both 15 and 16 halve to 8: the size to come back to must be said.
        return self.up(torch.relu(self.down(x)), output_size=x.shape[2:]).permute(0, 2, 3, 1)


class AudioEncoderAdapter(nn.Module):
    """PE(x) = MLP(x) + x, the MLP's last layer zero at first; as wide as the encoder throughout (*ours*)."""

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__()
        hidden = [layer for _ in range(layers - 1) for layer in (nn.Linear(dim, dim), nn.ReLU())]
        self.mlp = nn.Sequential(*hidden, start_at_zero(nn.Linear(dim, dim)))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x) + x


def encode_with_residuals(encoder: nn.Module, x: Tensor, residuals: Tensor) -> Tensor:
    """The last blocks of SAM's encoder, each followed by its residual, [depth, N, dim], and the neck: F_V."""
    x = x.to(encoder.pos_embed.dtype)
    for block, residual in zip(encoder.blocks[-len(residuals) :], residuals):
        x = block(x) + residual[:, None, None]
    return encoder.neck(x.permute(0, 3, 1, 2))


class ResidualAudioAdapter(nn.Module):
    """What is added after each block, r_1 = PE_1(a), r_i = PE_i(a + PE_{i-1}(a)); the prompt is of their sum (eq. 2).

    The inner PE works on `a` itself, as printed, not on the residual before. `a` is F_A as wide as the encoder: the
    paper says nothing of how it gets there; a linear layer is *ours*, and starts at zero, so that an untrained SAVE
    encodes as SAM does. (The figure takes the *last* residual as the prompt; equation 2 takes the sum, and so do we.)

    Args:
        audio_dim: of F_A.
        dim: channels of the encoder.
        depth: number of blocks.
        layers: of each MLP.

    Shapes:
        audio: [N, audio_dim]; returns [depth, N, dim]
    """

    def __init__(self, audio_dim: int, dim: int, depth: int, layers: int) -> None:
        super().__init__()
        self.project = start_at_zero(nn.Linear(audio_dim, dim))
        self.encoders = nn.ModuleList(AudioEncoderAdapter(dim, layers) for _ in range(depth))

    def forward(self, audio: Tensor) -> Tensor:
        a = self.project(audio)
        residuals = [self.encoders[0](a)]
        for before, encoder in zip(self.encoders, self.encoders[1:]):
            residuals.append(encoder(a + before(a)))
        return torch.stack(residuals)
