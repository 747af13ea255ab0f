"""The two baselines of GAVS's Table 1 that share its foundation models: what does the prompt bring?

The footnotes of the table are all the paper says of them; what they leave open is named below. Both are called as
GAVS is, and give the same `Output` (without a visual cue, so without a semantic loss).
"""

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn

from gavs_lib.gavs import GAVS, FrozenSAM, GAVSConfig


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
        config = config or GAVSConfig()
        only_the_projection = GAVSConfig(
            tune_from=config.tune_from,
            prompt_hidden=config.prompt_hidden,
            audio_dim=config.audio_dim,
            adapter_width=0,
            cola_width=0,
            cue=False,
            noise="none",
        )
        super().__init__(sam, only_the_projection)


class SAMFusion(FrozenSAM):
    """SAM-Fusion: "set up similar to GAVS, but fuse the audio and visual modalities without prompting before the Audio
    Source Decoder" (Table 1, double dagger).

    Visual adapters, trained LayerNorms and ColA are GAVS's. Sound enters through the picture's features (`AudioFusion`)
    and the decoder gets no prompt token. How the two are fused is not printed. Attention from the pixels to the sound,
    the usual choice, would do little here: over the single audio vector of a frame a softmax is 1 everywhere, and
    every pixel gets the same. So each pixel's features are scaled and shifted by the sound instead.

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
        self.outward = nn.Conv2d(visual_dim, visual_dim, kernel_size=1)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)

    def forward(self, image_embedding: Tensor, audio: Tensor) -> Tensor:
        scale, shift = self.audio(audio)[:, :, None, None].chunk(2, dim=1)
        return image_embedding + self.outward(scale * self.inward(image_embedding) + shift)
