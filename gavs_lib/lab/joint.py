"""Beyond both papers: GAVS's prompt joined with SAVE's early injection, and two ideas that neither has.

Aimed at what both may miss, the right member of a family in a small picture. Three attempts, each a switch of
`JointConfig`, so that each can be measured with and without the others (notebook 09 says what became of them):

    early     sound enters the tuned encoder blocks as in SAVE, and SAP's token the decoder as in GAVS
    context   each second is heard in the context of its clip before it is used: seconds that sound alike are averaged,
              which takes away noise
    points    sound looks for its place: it is compared with every place of F_V, the places where it fits give SAP its
              cue (GAVS averages over the whole picture), and SAM a point to look at. `region_loss` teaches it, with
              everything else in the same picture as negatives, the brother of the same family among them

The last one, without early injection and with SAM's decoder trained in place of ColA, ships (`lab.shipped`).
"""

from dataclasses import dataclass

import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.prompt_encoder import PromptEncoder
from torch import Tensor, nn
from torch.nn import functional as F

from gavs_lib.gavs import GAVS, GAVSConfig, Output
from gavs_lib.prompt import SemanticAwareAudioPrompt
from gavs_lib.save import ResidualAudioAdapter, encode_with_residuals

FOREGROUND = 1  # which of SAM's point embeddings says "this belongs to it"
SHARPNESS = 10.0  # of the comparison at first: cosines from -1 to 1 become logits from -10 to 10


@dataclass(frozen=True)
class JointConfig(GAVSConfig):
    """Settings of the joint model: GAVS's, and which attempts are switched on.

    Attributes:
        early: residual audio adapters behind every block from `tune_from` on (SAVE's equation 2).
        context: hear each second in the context of its clip.
        points: number of places that the sound looks for; 0: none, and the cue is GAVS's.
    """

    early: bool = True
    context: bool = False
    points: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.points < 0:
            raise ValueError(f"points is {self.points}; expected 0 (leave them out) or a number of them.")
        if self.points and not self.cue:
            raise ValueError("points give the prompt its cue, but cue is False; switch one of them.")


class Joint(GAVS):
    """GAVS with SAVE's injection, and with what `JointConfig` switches on besides.

    What is new starts at zero where it can: with untrained parts of its own, the encoder is SAM's. Everything before
    `tune_from` stays a prefix that is computed once.

    Args:
        sam: from `build_sam`; changed in place (see `FrozenSAM`).
        config: settings; None: the defaults.

    Raises:
        ValueError: as `FrozenSAM`; early injection without a block to inject into.

    Example:
        >>> model = Joint(build_sam("mini", image_size=64), JointConfig(points=2))
        >>> model(torch.rand(1, 2, 3, 64, 64) * 255, torch.randn(1, 2, 128)).region.shape
        torch.Size([1, 2, 8, 8])
    """

    Config = JointConfig

    def __init__(self, sam: Sam, config: JointConfig | None = None) -> None:
        config = config or JointConfig()
        super().__init__(sam, config, self._own_prompt(sam, config) if config.points else None)
        encoder = sam.image_encoder
        dim, tuned = encoder.pos_embed.shape[-1], len(encoder.blocks) - self.tune_from
        if config.early and not tuned:
            raise ValueError(f"tune_from is {self.tune_from}, so no block is tuned that sound could enter (early).")
        self.audio_adapters = ResidualAudioAdapter(config.audio_dim, dim, tuned, 2) if config.early else None
        self.context = ClipContext(config.audio_dim) if config.context else None
        self.framewise = self.context is None

    @staticmethod
    def _own_prompt(sam: Sam, config: JointConfig) -> "PointingPrompt":
        sap = SemanticAwareAudioPrompt(
            visual_dim=sam.prompt_encoder.embed_dim,
            audio_dim=config.audio_dim,
            noise_dim=config.noise_dim,
            hidden=config.prompt_hidden,
            noise=config.noise,
        )
        return PointingPrompt(sap, sam.prompt_encoder, config.audio_dim, config.points)

    def forward(
        self,
        images: Tensor | None,
        audio: Tensor,
        prefix: Tensor | None = None,
        visible: Tensor | None = None,
        frame_valid: Tensor | None = None,
    ) -> Output:
        """As `FrozenSAM.forward`.

        Args:
            images, audio, prefix, visible: as there.
            frame_valid: [B, T], true where a frame exists; only the context of a clip looks at it. None: all do.
        """
        if self.context is not None:
            audio = self.context(audio, frame_valid)
        output = super().forward(images, audio, prefix, visible)
        if not self.config.points:
            return output
        region, self.prompt.region = self.prompt.region, None  # kept, it would hold the step's graph
        return output._replace(region=region.unflatten(0, audio.shape[:2]))

    def _finish_encoding(self, x: Tensor, audio: Tensor) -> Tensor:
        if self.audio_adapters is None:
            return super()._finish_encoding(x, audio)
        return encode_with_residuals(self.sam.image_encoder, x, self.audio_adapters(audio))


class ClipContext(nn.Module):
    """F_A + out(attention of each second to all seconds of its clip); `out` starts at zero.

    Shapes:
        audio: [B, T, audio_dim]; frame_valid: [B, T] or None; returns [B, T, audio_dim]
    """

    def __init__(self, audio_dim: int, heads: int = 4) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(audio_dim, heads, batch_first=True)
        nn.init.zeros_(self.attention.out_proj.weight)

    def forward(self, audio: Tensor, frame_valid: Tensor | None = None) -> Tensor:
        absent = None if frame_valid is None else ~frame_valid.bool()
        return audio + self.attention(audio, audio, audio, key_padding_mask=absent, need_weights=False)[0]


class PointingPrompt(nn.Module):
    """SAP whose cue is what stands where the sound fits, and a point for SAM at each such place.

        s_k(x, y) = sharpness * cos(V(F_V(x, y)), A_k(F_A)),   p_k = softmax over all places of s_k
        F_C = MLP(mean_k sum_xy p_k F_V)                       in place of GAP (eq. 1)
        point_k = sum_xy p_k PE(x, y) + SAM's "foreground"     what SAM is given for a point, averaged over the map

    Args:
        sap: makes the token and the cue.
        prompt_encoder: SAM's, for the code of places.
        audio_dim: of F_A.
        points: how many places.

    Attributes:
        region: [N, H, W], log of mean_k p_k, of the latest call, until the model takes it.

    Shapes:
        as `SemanticAwareAudioPrompt`, but for 1 + points tokens
    """

    def __init__(
        self, sap: SemanticAwareAudioPrompt, prompt_encoder: PromptEncoder, audio_dim: int, points: int
    ) -> None:
        super().__init__()
        self.sap, self._encoder, self.points = sap, [prompt_encoder], points  # in a list: SAM's, not this module's
        dim = prompt_encoder.embed_dim
        self.look = nn.Conv2d(dim, dim, kernel_size=1)
        self.hear = nn.Sequential(nn.Linear(audio_dim, dim), nn.ReLU(), nn.Linear(dim, points * dim))
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS).log())
        self.region: Tensor | None = None

    def forward(self, image_embedding: Tensor, audio: Tensor, visible: Tensor | None = None) -> tuple[Tensor, Tensor]:
        seen = F.normalize(self.look(image_embedding).flatten(2), dim=1)  # [N, C, HW]
        heard = F.normalize(self.hear(audio).unflatten(1, (self.points, -1)), dim=2)  # [N, K, C]
        fit = self.sharpness.exp() * (heard @ seen).float()
        if visible is not None:
            fit = fit.masked_fill(visible.flatten(1)[:, None] == 0, -torch.inf)
        place = fit.softmax(dim=2)  # [N, K, HW]
        self.region = (place.mean(dim=1) + 1e-8).log().unflatten(1, image_embedding.shape[2:])
        looks = (place @ image_embedding.flatten(2).transpose(1, 2).float()).mean(dim=1)  # [N, C]
        token, cue = self.sap(looks[:, :, None, None], audio)
        with torch.autocast(audio.device.type, enabled=False):  # half precision would blur SAM's phases
            code = self._encoder[0].get_dense_pe().flatten(2).transpose(1, 2)  # [1, HW, C]
            points = place @ code + self._encoder[0].point_embeddings[FOREGROUND].weight
        return torch.cat([token.float(), points], dim=1), cue


def region_loss(region: Tensor, masks: Tensor, has_mask: Tensor, frame_count: Tensor | None = None) -> Tensor:
    """-log of the share of a sound's map that lies on what sounds, averaged over frames in which something does.

    Args:
        region: [B, T, h, w], logarithms of shares that add up to 1 over the places of a frame.
        masks: [B, T, H, W], bool or 0-1.
        has_mask: [B, T], true where a frame is labelled.
        frame_count: what the sum over these frames is divided by, where they are a part of a step (as `label_count` of
            `losses.segmentation_loss`); None: their number.

    Returns:
        Scalar; 0 where no labelled frame shows anything that sounds.
    """
    share = F.interpolate(masks.float().to(region.device), size=region.shape[-2:], mode="area")
    inside = (region.float().exp() * share).sum(dim=(2, 3))
    # A mask may cover every place by half at most: the best that any map can reach is the largest share.
    best = share.amax(dim=(2, 3))
    counted = has_mask.to(region.device, torch.bool) & (best > 0)
    frames = -torch.log((inside / best.clamp(min=1e-6)).clamp(min=1e-6))
    count = counted.sum() if frame_count is None else frame_count
    return torch.where(counted, frames, 0.0).sum() / torch.where(count > 0, count, 1)
