"""What GAVS is compared with, on the same foundation models: what does the prompt bring?

    AudioSAM    encoder-prompt-decoder, the prompt made of sound alone (Table 1, dagger; Table 5, a)
    AVSAM       encoder-fusion-prompt-decoder, after Mo and Tian (2023)
    SAMFusion   encoder-fusion-decoder, with SAM's decoder (Table 1, double dagger; without visual adapters: Table 5, g)
    TPAVI       encoder-fusion-decoder, with a decoder trained from nothing, after AVSBench (Zhou et al. 2022)

Each docstring says what the model follows and where it deviates. All are called as GAVS is, and give the same `Output`
(without a visual cue, so without a semantic loss). In common they have SAM's encoder instead of the ResNets and PVTs of
their papers, and VGGish's embeddings for the sound; figures of those papers are not theirs.
"""

from dataclasses import replace

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F

from gavs_lib.adapters import start_at_zero
from gavs_lib.gavs import GAVS, FrozenSAM, GAVSConfig, Output
from gavs_lib.prompt import global_average_pool


def _without_gavs(config: GAVSConfig | None) -> GAVSConfig:
    """Where the prefix ends and how wide the audio's MLP is; of the rest of GAVS nothing, so that SAM stays frozen."""
    config = config or GAVSConfig()
    return GAVSConfig(
        tune_from=config.tune_from,
        prompt_hidden=config.prompt_hidden,
        audio_dim=config.audio_dim,
        adapter_width=0,
        cola_width=0,
        cue=False,
        noise="none",
    )


class AudioSAM(GAVS):
    """Audio-SAM: "we only replace the sparse prompt in SAM with audio inputs" (Table 1, dagger).

    An MLP turns the audio into SAM's one prompt token, and it alone trains: GAVS with everything else taken away.
    (The paper's ablation "a) freeze" has the same score, and is most likely the same model.) The hidden width is the
    release's, 512.

    Args:
        sam: from `build_sam`; frozen in place.
        config: tune_from (where the cached prefix ends; nothing trains behind it), prompt_hidden and audio_dim.
    """

    def __init__(self, sam: Sam, config: GAVSConfig | None = None) -> None:
        super().__init__(sam, _without_gavs(config))


class SAMFusion(FrozenSAM):
    """SAM-Fusion: "set up similar to GAVS, but fuse the audio and visual modalities without prompting before the Audio
    Source Decoder" (Table 1, double dagger).

    Visual adapters, trained LayerNorms and ColA are GAVS's. Sound enters through the picture's features (`AudioFusion`)
    and the decoder gets no prompt token. How the two are fused is not printed. Attention from the pixels to the sound,
    the usual choice, would do little here: over the single audio vector of a frame a softmax is 1 everywhere, and
    every pixel gets the same. So each pixel's features are scaled and shifted by the sound instead.

    With `adapter_width=0` it is our reading of the ablation's AV-fusion (Table 5, g): as SAM-Fusion, but like the other
    rows above "+visual-adapter" without one. The paper does not describe it; the two have different scores.

    Args:
        sam: from `build_sam`; changed in place (see `FrozenSAM`).
        config: settings, those of the prompt (cue, noise) aside; prompt_hidden is the width of the audio MLP.
    """

    def __init__(self, sam: Sam, config: GAVSConfig | None = None) -> None:
        super().__init__(sam, config)
        self.fusion = AudioFusion(sam.prompt_encoder.embed_dim, self.config.audio_dim, self.config.prompt_hidden)

    def listen(self, image_embedding: Tensor, audio: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor, None]:
        fused = self.fusion(image_embedding, audio)
        no_prompt = torch.empty(len(fused), 0, fused.shape[1], dtype=fused.dtype, device=fused.device)
        return fused, no_prompt, None


class AudioFusion(nn.Module):
    """F_V + out(scale * in(F_V) + shift), with (scale, shift) = MLP(F_A) per channel; out starts at zero.

    Shapes:
        image_embedding: [N, visual_dim, H, W]; audio: [N, audio_dim]; returns [N, visual_dim, H, W]
    """

    def __init__(self, visual_dim: int, audio_dim: int, hidden: int) -> None:
        super().__init__()
        self.audio = nn.Sequential(nn.Linear(audio_dim, hidden), nn.ReLU(), nn.Linear(hidden, 2 * visual_dim))
        self.inward = nn.Conv2d(visual_dim, visual_dim, kernel_size=1)
        self.outward = start_at_zero(nn.Conv2d(visual_dim, visual_dim, kernel_size=1))

    def forward(self, image_embedding: Tensor, audio: Tensor) -> Tensor:
        return image_embedding + self.outward(self.fuse(image_embedding, audio))

    def fuse(self, image_embedding: Tensor, audio: Tensor) -> Tensor:
        """What goes into `out`: scale * in(F_V) + shift, [N, visual_dim, H, W]."""
        scale, shift = self.audio(audio)[:, :, None, None].chunk(2, dim=1)
        return scale * self.inward(image_embedding) + shift


class AVSAM(FrozenSAM):
    """After AV-SAM (Mo and Tian 2023, arXiv 2305.01836): sound and picture fused pixel by pixel become SAM's prompt.

    It follows what the paper's abstract says: audio features are fused with the features of SAM's pre-trained image
    encoder at every pixel, and the fused features go through the prompt encoder to the mask decoder. (GAVS's authors
    call this encoder-fusion-prompt-decoder.) The rest is ours:

    - the fusion is SAM-Fusion's (`AudioFusion`), so that the two differ in what becomes of it;
    - SAM's prompt encoder takes points, boxes and a one-channel mask, not features. In its place a 1x1 convolution
      makes the dense prompt, beside SAM's "no mask" embedding, and an MLP of the picture's average the sparse one;
    - audio features are VGGish's instead of a ResNet18's, and all of SAM is frozen, as in Audio-SAM.

    Args:
        sam: from `build_sam`; frozen in place.
        config: tune_from (where the cached prefix ends; nothing trains behind it), prompt_hidden and audio_dim.
    """

    def __init__(self, sam: Sam, config: GAVSConfig | None = None) -> None:
        super().__init__(sam, _without_gavs(config))
        width, hidden = sam.prompt_encoder.embed_dim, self.config.prompt_hidden
        self.fusion = AudioFusion(width, self.config.audio_dim, hidden)
        self.prompt = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def listen(self, image_embedding: Tensor, audio: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor, None]:
        fused = self.fusion.fuse(image_embedding, audio)
        token = self.prompt(global_average_pool(fused, visible))[:, None]
        return image_embedding + self.fusion.outward(fused), token, None  # SAM adds a dense prompt to F_V


class TPAVI(FrozenSAM):
    """After the baseline of AVSBench (Zhou et al. 2022): fuse sound and picture over a clip, decode with convolutions.

    Followed: features at four scales, at each of them the temporal pixel-wise audio-visual interaction (TPAVI), and a
    decoder that adds up the scales from coarse to fine, trained from nothing. SAM's mask decoder and prompts have no
    part in it. Where it deviates:

    - the encoder is SAM, with GAVS's visual adapters, where AVSBench tunes all of a ResNet50 or PVT-v2 (adapter_width=0
      freezes it). It has one scale; the others are made of it: twice the grid by a transposed convolution, a half and a
      quarter by averaging. In the miniature they lie 4, 8, 16 and 32 pixels apart, as in AVSBench;
    - one 1x1 convolution a scale instead of a bank of dilated ones, one residual unit a scale instead of two, and half
      the width of F_V: about as many trained values as GAVS has;
    - no batch normalisation, so that a clip's masks depend on that clip alone; no AVM loss (the KL divergence between
      masked features and sound, which AVSBench adds where several sources sound): the loss is that of all baselines;
    - padded frames and padding are left out of the interaction.

    The frames of a clip mix, so masks depend on which frames are given together.

    Args:
        sam: from `build_sam`; changed in place (see `FrozenSAM`).
        config: tune_from, adapter_width and audio_dim.
    """

    framewise = False

    def __init__(self, sam: Sam, config: GAVSConfig | None = None) -> None:
        config = config or GAVSConfig()
        super().__init__(sam, replace(_without_gavs(config), adapter_width=config.adapter_width))
        channels = sam.prompt_encoder.embed_dim
        width = channels // 2
        self.scales = nn.ModuleList(nn.Conv2d(channels, width, kernel_size=1) for _ in range(3))
        self.scales.insert(0, nn.ConvTranspose2d(channels, width, kernel_size=2, stride=2))
        self.interaction = nn.ModuleList(PixelwiseInteraction(width, config.audio_dim) for _ in self.scales)
        self.decoder = nn.ModuleList(ResidualConvolutions(width) for _ in self.scales)
        self.head = nn.Sequential(
            nn.Conv2d(width, width // 2, kernel_size=3, padding=1), nn.ReLU(), nn.Conv2d(width // 2, 1, kernel_size=1)
        )

    def forward(
        self,
        images: Tensor | None,
        audio: Tensor,
        prefix: Tensor | None = None,
        visible: Tensor | None = None,
        frame_valid: Tensor | None = None,
    ) -> Output:
        """Segment what sounds, in every frame.

        Args:
            images, audio, prefix, visible: as in `FrozenSAM.forward`.
            frame_valid: [B, T], false for frames that only fill up a shorter clip; None: all frames exist. What the
                masks of such frames show means nothing.

        Raises:
            ValueError: shapes that do not fit this SAM or each other.
        """
        image_embedding, audio, visible = self._encode(images, audio, prefix, visible)
        clips, frames, _, height, width = image_embedding.shape
        counts = image_embedding.new_ones(clips, frames, height, width) if visible is None else visible
        if frame_valid is not None:
            self._expect("frame_valid", frame_valid, (clips, frames))
            counts = counts * frame_valid[:, :, None, None]
        counts = counts.to(image_embedding.dtype)

        image_embedding = image_embedding.flatten(0, 1)
        finest_first = []
        for level, (scale, interaction) in enumerate(zip(self.scales, self.interaction)):
            side = 2 ** max(0, level - 1)
            picture = scale(F.avg_pool2d(image_embedding, side, ceil_mode=True)).unflatten(0, (clips, frames))
            weight = F.interpolate(counts, size=picture.shape[-2:], mode="area")
            finest_first.append(interaction(picture, audio, weight).flatten(0, 1))
        x = torch.zeros_like(finest_first[-1])
        for picture, unit in zip(reversed(finest_first), self.decoder):
            x = unit(_resize(x, picture.shape[-2:]) + picture)
        mask_logits = self.head(_resize(x, (4 * height, 4 * width)))[:, 0]
        return Output(mask_logits.unflatten(0, (clips, frames)), visual_cue=None, iou=None)


class PixelwiseInteraction(nn.Module):
    """TPAVI: every pixel of a clip attends to the sounds of the clip, and gets what is seen where they are heard.

        alpha = theta(V) . phi(A) / N        V: T H W pixels;  A: the clip's sounds, each repeated at the H W pixels
        Z     = norm(V + mu(alpha g(V)))     of its frame;  N: T H W;  no softmax;  mu starts at zero

    Computed in another order, without an N x N matrix: a sound is the same for all pixels of its frame, so g(V) is
    summed over the frame first; and without a softmax the sum over frames can come before the pixel too. A clip thus
    becomes one matrix, the sum of phi(A_t) g_t, that is applied to every pixel of every frame. Which of the sounds is
    a frame's own is not told (nothing marks the time): over a still picture their order changes nothing.

    Shapes:
        picture: [B, T, dim, H, W]; audio: [B, T, audio_dim]; returns [B, T, dim, H, W]
        counts: [B, T, H, W], how much of a place is picture of a frame that exists, 0-1
    """

    def __init__(self, dim: int, audio_dim: int) -> None:
        super().__init__()
        inner = dim // 2
        self.audio = nn.Linear(audio_dim, dim)
        self.theta = nn.Conv2d(dim, inner, kernel_size=1)
        self.phi = nn.Linear(dim, inner)
        self.g = nn.Conv2d(dim, inner, kernel_size=1)
        self.mu = start_at_zero(nn.Conv2d(inner, dim, kernel_size=1))
        self.norm = nn.LayerNorm(dim)

    def forward(self, picture: Tensor, audio: Tensor, counts: Tensor) -> Tensor:
        clips, frames = picture.shape[:2]
        pixels = picture.flatten(0, 1)
        theta, g = (layer(pixels).unflatten(0, (clips, frames)) for layer in (self.theta, self.g))
        seen = (g * counts[:, :, None]).sum(dim=(3, 4))  # [B, T, inner]
        places = counts.sum(dim=(1, 2, 3)).clamp(min=1)  # N
        heard_and_seen = torch.einsum("btk,btv->bkv", self.phi(self.audio(audio)), seen) / places[:, None, None]
        attended = torch.einsum("btkhw,bkv->btvhw", theta, heard_and_seen)
        out = pixels + self.mu(attended.flatten(0, 1))
        return self.norm(out.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).unflatten(0, (clips, frames))


class ResidualConvolutions(nn.Module):
    """x + conv(relu(conv(relu(x)))), 3 x 3: [N, dim, H, W] -> the same."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(dim, dim, kernel_size=3, padding=1)
        self.second = nn.Conv2d(dim, dim, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
