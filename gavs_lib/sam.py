"""SAM at any input size: the visual foundation model that GAVS prompts and SAVE adapts.

Every module is `segment_anything`'s own class, so official checkpoints load under their own key names. What is
added: a miniature member of the family ("mini") that a laptop trains in minutes, input sizes other than 1024, and an
attention that does not hold its N x N matrix in memory.

`Sam.forward` and `SamPredictor` expect images scaled to the encoder's size (`sam.image_encoder.img_size`); the models
of this library take square frames of that size directly.
"""

import pickle
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gavs_lib._shipped import shipped_weights


@dataclass(frozen=True)
class SamSize:
    """Numbers that tell the members of the SAM family apart; the defaults are those shared by ViT-B, L and H."""

    dim: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    image_size: int = 1024
    patch: int = 16
    window: int = 14
    prompt_dim: int = 256
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    iou_hidden: int = 256


SAM_SIZES = {
    "vit_b": SamSize(dim=768, depth=12, heads=12, global_blocks=(2, 5, 8, 11)),
    "vit_l": SamSize(dim=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23)),
    "vit_h": SamSize(dim=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31)),
    "mini": SamSize(
        dim=128,
        depth=6,
        heads=4,
        global_blocks=(1, 3, 5),
        image_size=128,
        patch=8,
        window=8,
        prompt_dim=128,
        decoder_heads=4,
        decoder_mlp=512,
        iou_hidden=128,
    ),
}


def build_sam(name: str, checkpoint: str | Path | None = None, image_size: int | None = None) -> Sam:
    """Build a SAM, in evaluation mode, for square images of `image_size` pixels.

    Args:
        name: "vit_b", "vit_l", "vit_h" (the official models) or "mini" (2 M parameters, 128 pixels, patch 8).
        checkpoint: None for random weights; "shipped" for the miniature weights that come with the package ("mini"
            only); or the path of a .pth or .safetensors file with the official key names. Weights stored in half
            precision become float32.
        image_size: side of the input in pixels, a multiple of the patch (16; mini: 8). None: 1024 (mini: 128).
            At another size than the checkpoint's own, position embeddings are interpolated (`resize_positions`),
            and the prompt encoder works on the new grid.

    Returns:
        segment_anything.modeling.Sam; image embeddings are [N, 256, image_size / 16, image_size / 16]
        (mini: [N, 128, image_size / 8, image_size / 8]).

    Raises:
        ValueError: an unknown name, a size that is no multiple of the patch, a file that holds another model, is cut
            short, or carries code.
        FileNotFoundError: there is no such file.
    """
    if name not in SAM_SIZES:
        raise ValueError(f"SAM {name!r} is unknown; expected one of {', '.join(SAM_SIZES)}.")
    size = SAM_SIZES[name]
    image_size = size.image_size if image_size is None else image_size
    if image_size <= 0 or image_size % size.patch:
        raise ValueError(f"image_size is {image_size}; {name} needs a positive multiple of its patch, {size.patch}.")
    if checkpoint == "shipped" and name != "mini":
        raise ValueError(f"Only 'mini' has shipped weights; for {name} give the path of an official checkpoint.")

    # The weights are read and judged first: a bad file should not cost the minutes a ViT-H takes to build.
    state = None
    if checkpoint is not None:
        path = shipped_weights("sam_mini") if checkpoint == "shipped" else Path(checkpoint)
        state = read_state_dict(path)
        _expect_model(state, name, path)

    grid = image_size // size.patch
    sam = Sam(
        image_encoder=ImageEncoderViT(
            img_size=image_size,
            patch_size=size.patch,
            embed_dim=size.dim,
            depth=size.depth,
            num_heads=size.heads,
            out_chans=size.prompt_dim,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=size.window,
            global_attn_indexes=size.global_blocks,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=size.prompt_dim,
            image_embedding_size=(grid, grid),
            input_image_size=(image_size, image_size),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=size.prompt_dim,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=size.prompt_dim, mlp_dim=size.decoder_mlp, num_heads=size.decoder_heads
            ),
            iou_head_hidden_dim=size.iou_hidden,
        ),
    )
    if state is not None:
        try:
            sam.load_state_dict(resize_positions(state, grid, size.global_blocks))
        except (RuntimeError, KeyError) as error:
            raise ValueError(f"{path}: not the weights of a SAM {name} under the official key names. {error}") from None
    return sam.eval()


def resize_positions(state: dict[str, Tensor], grid: int, global_blocks: tuple[int, ...]) -> dict[str, Tensor]:
    """Interpolate what depends on the number of patches: `pos_embed` and the global blocks' relative positions.

    Windowed blocks keep their relative positions: their windows do not grow with the image. Tensors that already
    fit are returned as they are. Relative positions are interpolated linearly, as SAM itself would at run time;
    `pos_embed` bicubically and antialiased (ours: SAM has no rule for it).

    Args:
        state: SAM's state dict; not modified.
        grid: image size / patch.
        global_blocks: indices of the blocks that attend over the whole image.
    """
    state = dict(state)
    pos_embed = state["image_encoder.pos_embed"]
    if pos_embed.shape[1:3] != (grid, grid):
        resized = F.interpolate(pos_embed.permute(0, 3, 1, 2), (grid, grid), mode="bicubic", antialias=True)
        state["image_encoder.pos_embed"] = resized.permute(0, 2, 3, 1)
    for index in global_blocks:
        for axis in ("h", "w"):
            key = f"image_encoder.blocks.{index}.attn.rel_pos_{axis}"
            if state[key].shape[0] != 2 * grid - 1:
                state[key] = F.interpolate(state[key].T[None], 2 * grid - 1, mode="linear")[0].T
    return state


def fuse_attention(sam: Sam) -> Sam:
    """Make the image encoder attend through PyTorch's fused kernels, in place; the SAM is returned.

    Results differ from SAM's own by rounding (relative 1e-4 at most). At 1024 pixels a global block of ViT-B attends
    between 4096 patches in 12 heads: 0.8 GB for one frame's attention matrix in float32, which is never stored here.
    """
    for block in sam.image_encoder.blocks:
        block.attn = FusedAttention(block.attn)
    return sam


class FusedAttention(Attention):
    """SAM's attention with relative positions, as one call of a fused kernel.

    SAM adds rel_h[q, row(k)] + rel_w[q, col(k)] to the logit of query q and key k. The same sum is a scalar product of
    longer vectors, [s q, rel_h, rel_w] and [k, onehot(row), onehot(col)], so the kernel needs no N x N bias.

    Takes over the parameters of `attention`, under the same names.
    """

    def __init__(self, attention: Attention) -> None:
        nn.Module.__init__(self)  # not Attention's: the layers exist already
        self.num_heads, self.scale = attention.num_heads, attention.scale
        self.qkv, self.proj = attention.qkv, attention.proj
        self.rel_pos_h, self.rel_pos_w = attention.rel_pos_h, attention.rel_pos_w

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, _ = x.shape
        # [N, H, W, 3 * heads * c] -> three of [N, heads, H*W, c]
        q, k, v = self.qkv(x).view(n, height * width, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        channels = q.shape[-1]

        grid_q = q.unflatten(2, (height, width))  # rel_h and rel_w come from the unscaled query
        rel_h = torch.einsum("nahwc,hkc->nahwk", grid_q, get_rel_pos(height, height, self.rel_pos_h))
        rel_w = torch.einsum("nahwc,wkc->nahwk", grid_q, get_rel_pos(width, width, self.rel_pos_w))
        rows = torch.eye(height, dtype=k.dtype, device=k.device).repeat_interleave(width, dim=0)
        columns = torch.eye(width, dtype=k.dtype, device=k.device).repeat(height, 1)
        positions = torch.cat([rows, columns], dim=1).expand(n, self.num_heads, -1, -1)
        q = torch.cat([q * self.scale, rel_h.flatten(2, 3).to(q.dtype), rel_w.flatten(2, 3).to(q.dtype)], dim=-1)
        k = torch.cat([k, positions], dim=-1)

        # The flash kernels want q, k and v of one width, a multiple of 8. Only kernels that never build the N x N
        # matrix are allowed: PyTorch would otherwise fall back to one that does, without a word.
        padded = -(-q.shape[-1] // 8) * 8
        q, k, v = (F.pad(t, (0, padded - t.shape[-1])) for t in (q, k, v))
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
            out = F.scaled_dot_product_attention(q, k, v, scale=1.0)[..., :channels]
        return self.proj(out.transpose(1, 2).reshape(n, height, width, -1))


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors file, or of a PyTorch file without ever running code from it.

    Floating-point tensors come back as float32, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut short, carries code, or holds something else than named tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file.")
    try:
        if path.suffix == ".safetensors":
            # Imported here: the core needs no safetensors until somebody brings such a file.
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: holds more than tensors (a pickle with code in it), or is damaged; nothing of it was run. "
            "Download it again from its official source, or convert it to .safetensors where you trust it."
        ) from error
    except Exception as error:  # RuntimeError, EOFError, SafetensorError and others: each reader has its own
        raise ValueError(
            f"{path}: cannot be read, {path.stat().st_size} bytes; most likely cut short. Download it again. ({error})"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: expected a state dict (names to tensors), found {type(state).__name__}.")
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def _expect_model(state: dict[str, Tensor], name: str, path: Path) -> None:
    """Tell which member of the family a checkpoint holds, by its width and depth, and refuse another one."""
    pos_embed = state.get("image_encoder.pos_embed")
    if pos_embed is None or pos_embed.ndim != 4:
        first = ", ".join(list(state)[:3])
        raise ValueError(f"{path}: not a SAM checkpoint (no image_encoder.pos_embed; it starts with {first}).")
    blocks = {key.split(".")[2] for key in state if key.startswith("image_encoder.blocks.")}
    found = (pos_embed.shape[3], len(blocks))
    if found == (SAM_SIZES[name].dim, SAM_SIZES[name].depth):
        return
    known = [other for other, size in SAM_SIZES.items() if (size.dim, size.depth) == found]
    holds = known[0] if known else f"a SAM of width {found[0]} with {found[1]} blocks"
    raise ValueError(f"{path}: holds {holds}, you asked for {name}. Ask for the model the file holds.")
