"""GAVS (Wang et al., AAAI 2024): a frozen SAM, told by sound what to segment.

    frames --> SAM's encoder, later blocks adapted --> F_V ------------------> SAM's mask decoder, with ColA --> masks
                                                        |                        ^
    sound --> VGGish (elsewhere) --> F_A ---------------+--> SAP: one token -----'

`FrozenSAM` is what GAVS and the baselines share; `GAVS` adds the prompt. Settings are marked by where they come from:
*paper*, *release* (the authors' first public code) or *ours*.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn

from gavs_lib.adapters import AdaptedAttention, AdaptedMLP, BottleneckAdapter
from gavs_lib.decoder import decode_masks, install_attention_adapters, install_cola, train_whole_decoder
from gavs_lib.prompt import NOISE_FORMS, SemanticAwareAudioPrompt


@dataclass(frozen=True)
class GAVSConfig:
    """Settings of GAVS; the defaults are the course's.

    Attributes:
        tune_from: first encoder block (zero-based) with an adapter and trained LayerNorms. None: half the depth, "the
            last six" of ViT-B's twelve, as an author advises (*ours* for other depths; *release*: 9). The depth
            itself: no block.
        adapter_width: bottleneck of the visual adapters (*release*: 128; not printed). 0: none of them, and the
            LayerNorms stay frozen too (the paper's Table 5, row h); `tune_from` then only says where the prefix ends.
        cola_width: bottleneck of ColA (*release*: 128; not printed). 0: the decoder stays SAM's (Table 5, row a).
        av_width: bottleneck of adapters behind the decoder's attention from tokens to image (row c; GAVS has none: 0).
        va_width: likewise behind its attention from image to tokens (row d). Rows c and d go without ColA, row f has
            all three (*paper*; the widths *ours*).
        whole_decoder: SAM's own mask decoder trains (row b, without ColA; see `train_whole_decoder`).
        cola_beside: ColA stands beside the decoder's MLPs instead of behind them (*ours*, to compare; paper: False).
        cue: the visual cue F_C is part of the prompt (*paper*; absent in the release).
        noise: form of the adaptive noise F_N, "parameter" (*paper*, read literally), "gaussian" (*ours*) or "none".
        noise_dim: d_N (*ours*; not printed).
        prompt_hidden: hidden width of the prompt's two MLPs (*release* for the projection, *ours* for the cue).
        audio_dim: d_m (*paper*).
        embedding_width: bottleneck of an adapter on F_V itself, behind the neck (*ours*, to compare: SAM-Fusion's
            convolutions adapt F_V in passing, GAVS leaves it alone: 0).
        mask_embedding_residual: add F_V to the mask embedding before it is upscaled (*ours*: a reading of one
            sentence of the paper, off unless measured).
    """

    tune_from: int | None = None
    adapter_width: int = 128
    cola_width: int = 128
    cue: bool = True
    noise: str = "parameter"
    noise_dim: int = 128
    prompt_hidden: int = 512
    audio_dim: int = 128
    mask_embedding_residual: bool = False
    av_width: int = 0
    va_width: int = 0
    whole_decoder: bool = False
    cola_beside: bool = False
    embedding_width: int = 0

    def __post_init__(self) -> None:
        if self.noise not in NOISE_FORMS:
            raise ValueError(f"noise is {self.noise!r}; expected one of {', '.join(NOISE_FORMS)}.")
        for name in ("adapter_width", "cola_width", "av_width", "va_width", "embedding_width"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 (leave it out) or a positive width.")


class Output(NamedTuple):
    """What the models return, for B clips of T frames of side S.

    Attributes:
        mask_logits: [B, T, 4S/patch, 4S/patch]; sigmoid gives the probability that a pixel belongs to what sounds.
        visual_cue: F_C, [B, T, audio_dim], for the semantic loss; None for models without a cue.
        iou: [B, T], SAM's frozen estimate of the mask's quality (never trained on sound: a hint at most); None for
            models without SAM's decoder.
        region: [B, T, h, w], log of where the sound was looked for, for models that look (`lab.joint`); else None.
    """

    mask_logits: Tensor
    visual_cue: Tensor | None
    iou: Tensor | None
    region: Tensor | None = None


@dataclass(frozen=True)
class TrainableSummary:
    """What trains, by group; prints as a table.

    Attributes:
        groups: group -> {parameter name: number of values}
        total: number of values in the whole model, trained and frozen.
    """

    groups: dict[str, dict[str, int]]
    total: int

    @property
    def names(self) -> list[str]:
        """Names of all trained parameters."""
        return [name for group in self.groups.values() for name in group]

    @property
    def trained(self) -> int:
        """Number of trained values."""
        return sum(sum(group.values()) for group in self.groups.values())

    def __str__(self) -> str:
        rows = [(name, len(group), sum(group.values())) for name, group in self.groups.items()]
        rows.append(("trained", len(self.names), self.trained))
        lines = [f"{'group':<28}{'tensors':>8}{'values':>14}"]
        lines += [f"{name:<28}{tensors:>8}{values:>14,}" for name, tensors, values in rows]
        lines.append(f"{'of the whole model':<28}{'':>8}{self.total:>14,}  ({100 * self.trained / self.total:.1f} %)")
        return "\n".join(lines)

    __repr__ = __str__


class FrozenSAM(nn.Module):
    """A frozen SAM with visual adapters and a tuned decoder, for clips: what GAVS and the baselines have in common.

    A subclass defines `listen`, which says what the sound does before the decoder; or, where SAM's decoder has no
    part in it, its own `forward`.

    The SAM given is changed in place (frozen, its MLPs wrapped) and belongs to the model from then on; for an untouched
    one, build another. `prefix` is the activation that enters block `tune_from`. Everything before it is frozen, so it
    can be computed once per frame (`encode_prefix`), stored, and given to `forward` instead of the images.

    Args:
        sam: from `build_sam`.
        config: all but the settings of the prompt (cue, noise, noise_dim, prompt_hidden) are used here. None: the
            defaults.
        adapter: the user's own visual adapters: called with the encoder's width, once per tuned block, it returns a
            module from [N, H, W, dim] to [N, H, W, dim], whose output is added to that of the block's MLP. Or such a
            module itself, of which every tuned block gets a copy. Its last layer should start at zero, so that training
            starts from SAM. None: `BottleneckAdapter`.

    Raises:
        ValueError: a SAM that carries adapters already, `tune_from` outside 0..depth, or an adapter for a width of 0.
    """

    Config = GAVSConfig  # of which the settings are, and a file of trained parameters tells them

    # Each frame is segmented by itself: a batch may leave frames out, or mix those of several clips. A model that says
    # False gets whole clips, and `frame_valid` [B, T] beside them: which frames exist.
    framewise = True

    def __init__(
        self,
        sam: Sam,
        config: GAVSConfig | None = None,
        adapter: Callable[[int], nn.Module] | nn.Module | None = None,
    ) -> None:
        super().__init__()
        config = config or GAVSConfig()
        if adapter is not None and not config.adapter_width:
            raise ValueError("adapter_width is 0, so no block is adapted, yet an adapter was given; leave out one.")
        if any(isinstance(module, AdaptedMLP | AdaptedAttention) for module in sam.modules()):
            raise ValueError("This SAM carries adapters already, from another model; build a new one with build_sam.")
        encoder = sam.image_encoder
        depth = len(encoder.blocks)
        self.tune_from = depth // 2 if config.tune_from is None else config.tune_from
        if not 0 <= self.tune_from <= depth:
            raise ValueError(f"tune_from is {self.tune_from}; this SAM has {depth} blocks, expected 0 to {depth}.")
        self.config = config
        self._audio_dim, self._mask_embedding_residual = config.audio_dim, config.mask_embedding_residual
        self.sam = sam.requires_grad_(False)
        self._sam_buffers = {f"sam.{name}" for name, _ in sam.named_buffers()}

        if config.adapter_width:
            for block in encoder.blocks[self.tune_from :]:
                dim = block.mlp.lin2.out_features
                if adapter is None:
                    own = BottleneckAdapter(dim, config.adapter_width)
                else:
                    own = copy.deepcopy(adapter) if isinstance(adapter, nn.Module) else adapter(dim)
                block.mlp = AdaptedMLP(block.mlp, own)
                block.norm1.requires_grad_(True)
                block.norm2.requires_grad_(True)
        if config.cola_width:
            install_cola(sam.mask_decoder, config.cola_width, config.cola_beside)
        install_attention_adapters(sam.mask_decoder, config.av_width, config.va_width)
        width = config.embedding_width
        self.embedding_adapter = BottleneckAdapter(sam.prompt_encoder.embed_dim, width) if width else None
        if config.whole_decoder:
            train_whole_decoder(sam.mask_decoder)

    def listen(
        self, image_embedding: Tensor, audio: Tensor, visible: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Let the sound act: F_V [N, C, H, W], F_A [N, D] -> (F_V for the decoder, prompt tokens [N, K, C], F_C)."""
        raise NotImplementedError

    def forward(
        self, images: Tensor | None, audio: Tensor, prefix: Tensor | None = None, visible: Tensor | None = None
    ) -> Output:
        """Segment what sounds, in every frame.

        Args:
            images: [B, T, 3, S, S], RGB, 0-255 (normalised here), S the size SAM was built for. None with a prefix.
            audio: F_A, [B, T, audio_dim].
            prefix: what `encode_prefix` returned for these frames; the images are then not looked at. Half precision
                is converted.
            visible: [B, T, S/patch, S/patch], nonzero where the picture is, for frames padded to a square: the visual
                cue then averages over the picture only. None: no padding.

        Raises:
            ValueError: shapes that do not fit this SAM or each other.
        """
        image_embedding, audio, visible = self._encode(images, audio, prefix, visible)
        clips, frames = audio.shape[:2]
        # All frames of all clips go through together: [B, T, ...] -> [B*T, ...]
        image_embedding, tokens, visual_cue = self.listen(
            image_embedding.flatten(0, 1), audio.flatten(0, 1), None if visible is None else visible.flatten(0, 1)
        )
        with torch.autocast(image_embedding.device.type, enabled=False):  # half precision would blur SAM's phases
            image_pe = self.sam.prompt_encoder.get_dense_pe()
        _, dense_prompt = self.sam.prompt_encoder(None, None, None)
        mask_logits, iou = decode_masks(
            self.sam.mask_decoder, image_embedding, image_pe, tokens, dense_prompt, self._mask_embedding_residual
        )
        return Output(
            mask_logits.unflatten(0, (clips, frames)),
            None if visual_cue is None else visual_cue.unflatten(0, (clips, frames)),
            iou.unflatten(0, (clips, frames)),
        )

    def _encode(
        self, images: Tensor | None, audio: Tensor, prefix: Tensor | None, visible: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Check what `forward` was given, and see: F_V [B, T, C, H, W], F_A in the model's type, and `visible`."""
        if prefix is None:
            if images is None:
                raise ValueError("Neither images nor a prefix was given; the model needs one of them.")
            prefix = self.encode_prefix(images)
        else:
            self._expect_prefix(prefix)
        clips, frames = prefix.shape[:2]
        self._expect("audio", audio, (clips, frames, self._audio_dim))
        if visible is not None:
            self._expect("visible", visible, tuple(prefix.shape[:4]))
        audio = audio.to(self.sam.pixel_mean.dtype)
        image_embedding = self._finish_encoding(prefix.flatten(0, 1), audio.flatten(0, 1))
        if self.embedding_adapter is not None:
            change = self.embedding_adapter(image_embedding.permute(0, 2, 3, 1))
            image_embedding = image_embedding + change.permute(0, 3, 1, 2)
        return image_embedding.unflatten(0, (clips, frames)), audio, visible

    @torch.no_grad()
    def encode_prefix(self, images: Tensor) -> Tensor:
        """The activation that enters block `tune_from`: images as in `forward` -> [B, T, S/patch, S/patch, dim]."""
        size = self.sam.image_encoder.img_size
        if images.ndim != 5 or images.shape[2:] != (3, size, size):
            raise ValueError(
                f"images are {list(images.shape)}; expected [B, T, 3, {size}, {size}], the size this SAM was built "
                "for. Resize them, or build the SAM with another image_size."
            )
        encoder = self.sam.image_encoder
        x = (images.flatten(0, 1).to(self.sam.pixel_mean.dtype) - self.sam.pixel_mean) / self.sam.pixel_std
        x = encoder.patch_embed(x) + encoder.pos_embed
        for block in encoder.blocks[: self.tune_from]:
            x = block(x)
        return x.unflatten(0, images.shape[:2])

    def _finish_encoding(self, x: Tensor, audio: Tensor) -> Tensor:
        """Run the tuned blocks and the neck: [N, H, W, dim] -> F_V [N, C, H, W]. Only a subclass needs the sound."""
        encoder = self.sam.image_encoder
        x = x.to(encoder.pos_embed.dtype)
        for block in encoder.blocks[self.tune_from :]:
            x = block(x)
        return encoder.neck(x.permute(0, 3, 1, 2))

    def trainable_summary(self) -> TrainableSummary:
        """What trains, by group; print it. Gradients reach exactly these parameters."""
        groups: dict[str, dict[str, int]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                groups.setdefault(_group(name), {})[name] = parameter.numel()
        return TrainableSummary(groups, sum(parameter.numel() for parameter in self.parameters()))

    def trained_state(self) -> dict[str, Tensor]:
        """What training changes, by name, detached (not copied): the part of the model worth shipping."""
        frozen = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        frozen |= self._sam_buffers
        return {name: value for name, value in self.state_dict().items() if name not in frozen}

    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `trained_state` returned, from a model with the same settings; nothing less, nothing more.

        Raises:
            ValueError: names or shapes differ; the model is then unchanged.
        """
        own = self.trained_state()
        problems = [f"{name} is missing" for name in own if name not in state]
        problems += [f"{name} is unknown here" for name in state if name not in own]
        problems += [
            f"{name} is {list(state[name].shape)}, expected {list(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ]
        if problems:
            raise ValueError(
                f"The trained parameters do not fit this {type(self).__name__}: {len(problems)} differences, first "
                f"{'; '.join(problems[:3])}. Build the model with the settings and the SAM it was trained with."
            )
        with torch.no_grad():
            for name, value in state.items():
                own[name].copy_(value)

    def _expect_prefix(self, prefix: Tensor) -> None:
        grid, dim = self.sam.image_encoder.pos_embed.shape[2:]
        if prefix.ndim != 5 or prefix.shape[2:] != (grid, grid, dim):
            raise ValueError(f"prefix is {list(prefix.shape)}; expected [B, T, {grid}, {grid}, {dim}].")

    @staticmethod
    def _expect(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} is {list(tensor.shape)}; expected {list(shape)}, to go with the frames.")


class GAVS(FrozenSAM):
    """Generalizable audio-visual segmentation: SAM prompted by the semantic-aware audio prompt.

    Args:
        sam: from `build_sam`; changed in place (see `FrozenSAM`).
        config: settings; None: the defaults.
        prompt: the user's own prompt, a module called as prompt(image_embedding [N, C, H, W], audio [N, audio_dim])
            (and, for padded frames, visible [N, H, W]) that returns tokens [N, K, C], or (tokens, visual cue
            [N, audio_dim] or None). Its parameters train. None: `SemanticAwareAudioPrompt`.
        adapter: the user's own visual adapters (see `FrozenSAM`).

    Example:
        >>> model = GAVS(build_sam("mini"), GAVSConfig(noise="gaussian"))
        >>> output = model(torch.rand(2, 5, 3, 128, 128) * 255, torch.randn(2, 5, 128))
        >>> output.mask_logits.shape
        torch.Size([2, 5, 64, 64])
    """

    def __init__(
        self,
        sam: Sam,
        config: GAVSConfig | None = None,
        prompt: nn.Module | None = None,
        adapter: Callable[[int], nn.Module] | nn.Module | None = None,
    ) -> None:
        super().__init__(sam, config, adapter)
        if prompt is None:
            prompt = SemanticAwareAudioPrompt(
                visual_dim=sam.prompt_encoder.embed_dim,
                audio_dim=self.config.audio_dim,
                noise_dim=self.config.noise_dim,
                hidden=self.config.prompt_hidden,
                noise=self.config.noise,
                cue=self.config.cue,
            )
        self.prompt = prompt

    def listen(
        self, image_embedding: Tensor, audio: Tensor, visible: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        picture = (image_embedding, audio) if visible is None else (image_embedding, audio, visible)
        told = self.prompt(*picture)
        tokens, visual_cue = (told, None) if isinstance(told, Tensor) else told
        count, width = image_embedding.shape[:2]
        if tokens.ndim != 3 or tokens.shape[0] != count or tokens.shape[2] != width:
            raise ValueError(f"the prompt's tokens are {list(tokens.shape)}; expected [{count}, K, {width}].")
        return image_embedding, tokens, visual_cue


def _group(name: str) -> str:
    """Group of a trained parameter, by its name."""
    if name.startswith("sam.image_encoder."):
        return "visual adapters" if ".adapter." in name else "layer norms of these blocks"
    if name.startswith("sam.mask_decoder."):
        if ".adapter." not in name:
            return "mask decoder"
        places = {"token_to_image": "AV adapters", "image_to_token": "VA adapters"}
        return next((group for place, group in places.items() if place in name), "ColA")
    return name.split(".")[0]
