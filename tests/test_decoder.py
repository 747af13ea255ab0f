"""The batched decoder against SAM's own, and against the paper's equations 3 to 7 written out."""

import math

import pytest
import torch
from small_models import lively_sam
from torch.nn import functional as F

from gavs_lib.decoder import decode_masks, install_attention_adapters, install_cola


@pytest.fixture()
def sam():
    return lively_sam().requires_grad_(False)


def parts(sam, n=3, tokens=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image_embedding = torch.randn(n, 128, 16, 16, generator=generator)
    prompt = torch.randn(n, tokens, 128, generator=generator)
    return image_embedding, sam.prompt_encoder.get_dense_pe(), prompt, sam.prompt_encoder(None, None, None)[1]


def sam_one_by_one(sam, image_embedding, image_pe, prompt, dense):
    pairs = [
        sam.mask_decoder(image_embedding[i : i + 1], image_pe, prompt[i : i + 1], dense, multimask_output=False)
        for i in range(len(image_embedding))
    ]
    return torch.cat([masks[:, 0] for masks, _ in pairs]), torch.cat([iou[:, 0] for _, iou in pairs])


@pytest.mark.parametrize("tokens", [0, 1, 3])
def test_a_batch_gives_what_sam_gives_one_by_one(sam, tokens):
    inputs = parts(sam, 5, tokens)
    masks, iou = decode_masks(sam.mask_decoder, *inputs)
    expected_masks, expected_iou = sam_one_by_one(sam, *inputs)
    assert masks.shape == (5, 64, 64) and iou.shape == (5,)
    torch.testing.assert_close(masks, expected_masks, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(iou, expected_iou, rtol=1e-5, atol=1e-5)


def test_one_frame_equals_sam_bit_for_bit(sam):
    inputs = parts(sam, 1)
    masks, iou = decode_masks(sam.mask_decoder, *inputs)
    expected_masks, expected_iou = sam_one_by_one(sam, *inputs)
    assert torch.equal(masks, expected_masks) and torch.equal(iou, expected_iou)


def test_many_prompts_for_one_picture_equal_sam_bit_for_bit(sam):
    image_embedding, image_pe, prompt, dense = parts(sam, 4)
    theirs, their_iou = sam.mask_decoder(image_embedding[:1], image_pe, prompt, dense, multimask_output=False)
    ours, iou = decode_masks(sam.mask_decoder, image_embedding[:1].expand(4, -1, -1, -1), image_pe, prompt, dense)
    assert torch.equal(ours, theirs[:, 0]) and torch.equal(iou, their_iou[:, 0])


def test_untrained_cola_leaves_the_decoder_unchanged_bit_for_bit(sam):
    inputs = parts(sam)
    before = decode_masks(sam.mask_decoder, *inputs)
    install_cola(sam.mask_decoder, 16)
    after = decode_masks(sam.mask_decoder, *inputs)
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])


def attend(attention, q, k, v):
    """Multi-head attention of single sequences, head by head, from the weights."""
    q, k, v = attention.q_proj(q), attention.k_proj(k), attention.v_proj(v)
    width = q.shape[1] // attention.num_heads
    heads = []
    for h in range(attention.num_heads):
        cut = slice(h * width, (h + 1) * width)
        weights = torch.softmax(q[:, cut] @ k[:, cut].T / math.sqrt(width), dim=1)
        heads.append(weights @ v[:, cut])
    return attention.out_proj(torch.cat(heads, dim=1))


def equations_3_to_7(decoder, f_v, key_pe, token, no_mask, residual):
    """One frame: f_v [C, H, W], key_pe [C, H, W], token [1, C] -> mask logits [4H, 4W]."""
    key_pe = key_pe.flatten(1).T
    query_pe = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight, token])  # F_P, six tokens
    q, keys = query_pe, (f_v + no_mask).flatten(1).T
    for index, layer in enumerate(decoder.transformer.layers):
        if index == 0:
            q = layer.norm1(attend(layer.self_attn, q, q, q))
        else:
            q = layer.norm1(q + attend(layer.self_attn, q + query_pe, q + query_pe, q))
        context = layer.norm2(q + attend(layer.cross_attn_token_to_image, q + query_pe, keys + key_pe, keys))  # (3)
        mlp = layer.mlp.lin2(torch.relu(layer.mlp.lin1(context)))
        cola = layer.mlp.adapter
        f_p = cola.up(F.gelu(cola.down(mlp))) + mlp  # (4)
        q = layer.norm3(context + f_p)  # (5): K
        attended = attend(layer.cross_attn_image_to_token, keys + key_pe, q + query_pe, q)  # values are K itself
        keys = layer.norm4(keys + attended)  # (6)
    last = attend(decoder.transformer.final_attn_token_to_image, q + query_pe, keys + key_pe, keys)
    q = decoder.transformer.norm_final_attn(q + last)
    f_m = keys.T.reshape(f_v.shape)
    f_up = decoder.output_upscaling((f_m + f_v if residual else f_m)[None])[0]
    query = decoder.output_hypernetworks_mlps[0](q[1])  # F_P[1]: the token behind the IoU token
    return (query[:, None, None] * f_up).sum(dim=0)  # (7)


@pytest.mark.parametrize("residual", [False, True])
def test_the_decoder_with_cola_is_equations_3_to_7(sam, residual):
    install_cola(sam.mask_decoder, 16)
    for layer in sam.mask_decoder.transformer.layers:
        torch.nn.init.normal_(layer.mlp.adapter.up.weight, std=0.3)
    image_embedding, image_pe, prompt, dense = parts(sam, 2)
    masks, _ = decode_masks(sam.mask_decoder, image_embedding, image_pe, prompt, dense, residual)
    for n in range(2):
        expected = equations_3_to_7(sam.mask_decoder, image_embedding[n], image_pe[0], prompt[n], dense[0], residual)
        torch.testing.assert_close(masks[n], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("av_width, va_width", [(16, 0), (0, 16), (16, 16)])
def test_adapters_behind_the_attentions_stand_where_they_are_named_and_add_nothing_untrained(sam, av_width, va_width):
    inputs = parts(sam)
    before = decode_masks(sam.mask_decoder, *inputs)
    install_attention_adapters(sam.mask_decoder, av_width, va_width)
    after = decode_masks(sam.mask_decoder, *inputs)
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])
    own = {name.split(".")[3] for name, _ in sam.mask_decoder.named_parameters() if ".adapter." in name}
    expected = {"cross_attn_token_to_image": av_width, "cross_attn_image_to_token": va_width}
    assert own == {name for name, width in expected.items() if width}
