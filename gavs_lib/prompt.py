"""Semantic-aware audio prompt (SAP): what SAM is told to look for (GAVS, eq. 1-2)."""

import torch
from torch import Tensor, nn

NOISE_FORMS = ("parameter", "gaussian", "none")


class SemanticAwareAudioPrompt(nn.Module):
    """Turn a second of sound, and the picture it goes with, into one prompt token for SAM.

        F_C  = MLP(GAP(F_V))          (1)  the visual cue
        F_A' = [F_C; F_N; F_A]        (2)
        token = MLP(F_A')

    The paper calls F_N "learnable adaptive noise" and does not define it further, so there are three forms:

    - "parameter": one learned vector, the same for every clip. Concatenated before a linear layer it can add nothing
      but a bias to that layer; it is the paper's wording taken literally.
    - "gaussian": sigma * epsilon with a learned sigma; epsilon is drawn anew for each frame in training and is zero
      in evaluation, so that evaluation is deterministic.
    - "none": left out.

    Args:
        visual_dim: channels of the image embedding F_V, and of SAM's prompt tokens (256; mini: 128).
        audio_dim: size of the audio embedding F_A, and of F_C.
        noise_dim: size of F_N.
        hidden: hidden width of both MLPs.
        noise: "parameter", "gaussian" or "none".
        cue: False leaves F_C out: with noise "none" the token is a projection of the audio alone.

    Shapes:
        image_embedding: [N, visual_dim, H, W]; audio: [N, audio_dim]
        visible: [N, H, W], nonzero where the picture is and zero on padding; None: all of it is picture
        returns: token [N, 1, visual_dim], and F_C [N, audio_dim] (None without the cue)

    Raises:
        ValueError: an unknown form of noise.
    """

    def __init__(
        self,
        visual_dim: int = 256,
        audio_dim: int = 128,
        noise_dim: int = 128,
        hidden: int = 512,
        noise: str = "parameter",
        cue: bool = True,
    ) -> None:
        super().__init__()
        if noise not in NOISE_FORMS:
            raise ValueError(f"noise is {noise!r}; expected one of {', '.join(NOISE_FORMS)}.")
        self.noise_form = noise
        self.cue = _mlp(visual_dim, hidden, audio_dim) if cue else None
        if noise == "parameter":
            self.noise = nn.Parameter(torch.randn(noise_dim))
        elif noise == "gaussian":
            self.sigma = nn.Parameter(torch.full((noise_dim,), 0.1))
        width = (audio_dim if cue else 0) + (noise_dim if noise != "none" else 0) + audio_dim
        self.projection = _mlp(width, hidden, visual_dim)

    def forward(
        self, image_embedding: Tensor, audio: Tensor, visible: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        parts = []
        visual_cue = None
        if self.cue is not None:
            visual_cue = self.cue(global_average_pool(image_embedding, visible))
            parts.append(visual_cue)
        if self.noise_form == "parameter":
            parts.append(self.noise.expand(len(audio), -1))
        elif self.noise_form == "gaussian":
            sigma = self.sigma.expand(len(audio), -1)
            parts.append(sigma * torch.randn_like(sigma) if self.training else torch.zeros_like(sigma))
        parts.append(audio)
        token = self.projection(torch.cat(parts, dim=1))
        return token[:, None], visual_cue


def global_average_pool(image_embedding: Tensor, visible: Tensor | None = None) -> Tensor:
    """Mean of [N, C, H, W] over the picture -> [N, C]; `visible` [N, H, W] is zero where there is only padding."""
    if visible is None:
        return image_embedding.mean(dim=(2, 3))
    weight = visible[:, None].to(image_embedding.dtype)
    return (image_embedding * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3)).clamp(min=1)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
