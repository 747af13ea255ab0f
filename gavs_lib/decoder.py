"""The audio source decoder: SAM's mask decoder, tuned through ColA, for many frames at once (GAVS, eq. 3-7).

SAM's `MaskDecoder.forward` serves one picture with many prompts; a clip is many pictures with one prompt each. Here
SAM's own transformer, upscaling and heads run once over the whole batch, with the numbers SAM would give one by one.
"""

import torch
from segment_anything.modeling import MaskDecoder
from torch import Tensor, nn

from gavs_lib.adapters import AdaptedAttention, AdaptedMLP, BottleneckAdapter


def install_cola(mask_decoder: MaskDecoder, width: int, beside: bool = False) -> None:
    """Put a correlation adapter (ColA) behind the MLP of every two-way layer, in place.

    SAM's layer computes norm3(F_ctx + mlp(F_ctx)). With the wrapped MLP that becomes the paper's

        F_P' = ColA(MLP(F_ctx)) + MLP(F_ctx)        (4)
        K    = norm3(F_ctx + F_P')                  (5), and SAM's norm

    K is then both the keys (with the tokens' position added) and the values of the attention from image to tokens (6).

    Args:
        mask_decoder: SAM's.
        width: of the bottleneck.
        beside: ColA gets F_ctx instead of MLP(F_ctx): not the paper's, a form to compare it with.
    """
    for layer in mask_decoder.transformer.layers:
        bottleneck = BottleneckAdapter(mask_decoder.transformer_dim, width, nn.GELU)
        layer.mlp = AdaptedMLP(layer.mlp, bottleneck, beside)


def install_attention_adapters(mask_decoder: MaskDecoder, av_width: int, va_width: int) -> None:
    """Put bottlenecks like ColA's behind the cross-modal attentions of every two-way layer, in place.

    What ColA is compared with (Table 5, c and d). The paper does not say where in the attention its adapters sit;
    behind it is our reading.

    Args:
        mask_decoder: SAM's.
        av_width: bottleneck behind the attention from tokens to image, CMA of eq. 3; 0: none.
        va_width: bottleneck behind the attention from image to tokens, CMA of eq. 6; 0: none.
    """
    for layer in mask_decoder.transformer.layers:
        for name, width in (("cross_attn_token_to_image", av_width), ("cross_attn_image_to_token", va_width)):
            if width:
                adapter = BottleneckAdapter(mask_decoder.transformer_dim, width, nn.GELU)
                setattr(layer, name, AdaptedAttention(getattr(layer, name), adapter))


def train_whole_decoder(mask_decoder: MaskDecoder) -> None:
    """Let all of a mask decoder train that a loss on masks reaches (Table 5, b: fine-tune).

    The head that estimates the IoU, and those of the three mask tokens that are not read, stay frozen.
    """
    mask_decoder.requires_grad_(True)
    mask_decoder.iou_prediction_head.requires_grad_(False)
    mask_decoder.output_hypernetworks_mlps[1:].requires_grad_(False)


def decode_masks(
    mask_decoder: MaskDecoder,
    image_embedding: Tensor,
    image_pe: Tensor,
    sparse_prompt: Tensor,
    dense_prompt: Tensor,
    mask_embedding_residual: bool = False,
) -> tuple[Tensor, Tensor]:
    """Decode one mask for each of N frames, every frame with its own prompt.

    Args:
        mask_decoder: SAM's; with or without ColA.
        image_embedding: F_V, [N, C, H, W].
        image_pe: SAM's position code of the grid, [1, C, H, W].
        sparse_prompt: prompt tokens, [N, K, C]; K may be 0.
        dense_prompt: what SAM adds to the image embedding, its "no mask" embedding, [1, C, H, W].
        mask_embedding_residual: upscale F_M + F_V instead of F_M: our reading of "directly add the mask embedding
            from the two-way transformer to the image embedding F_V".

    Returns:
        mask logits [N, 4H, 4W] and predicted IoU [N], both of SAM's first mask token (F_P[1] in eq. 7, behind the IoU
        token), which SAM itself uses when asked for a single mask.
    """
    n, channels, height, width = image_embedding.shape
    output_tokens = torch.cat([mask_decoder.iou_token.weight, mask_decoder.mask_tokens.weight])
    tokens = torch.cat([output_tokens.expand(n, -1, -1), sparse_prompt], dim=1)  # F_P: [N, 1 + 4 + K, C]

    tokens, mask_embedding = mask_decoder.transformer(image_embedding + dense_prompt, image_pe, tokens)
    mask_embedding = mask_embedding.transpose(1, 2).view(n, channels, height, width)  # F_M
    if mask_embedding_residual:
        mask_embedding = mask_embedding + image_embedding
    upscaled = mask_decoder.output_upscaling(mask_embedding)  # F_up: [N, C/8, 4H, 4W]

    # All four mask tokens are multiplied, as in SAM, although one is read: a product with a single row goes through
    # another routine and differs in the last bits.
    heads = mask_decoder.output_hypernetworks_mlps
    queries = torch.stack([head(tokens[:, 1 + i]) for i, head in enumerate(heads)], dim=1)
    mask_logits = (queries @ upscaled.flatten(2))[:, 0].view(n, 4 * height, 4 * width)
    iou = mask_decoder.iou_prediction_head(tokens[:, 0])[:, 0]
    return mask_logits, iou
