# %% [markdown]
# # 04 · ColA, the correlation adapter
#
# *About a minute and a half on a two-core laptop without GPU, offline; most of it is twelve very short trainings.*
#
# **What you will do**
#
# 1. build an adapter, the small part that trains inside a large frozen network, and count what it costs,
# 2. check that it starts as *exactly nothing*, and see why no activation may stand behind its last layer,
# 3. walk through SAM's mask decoder, equations 3 to 7, in a few lines, and find the place of the *correlation adapter* ColA,
# 4. see what ColA does in a trained model, by switching it off,
# 5. look at what the decoder's prompt token attends to, with one voice and with another, before training and after,
# 6. train six ways to tune the decoder, the paper's Table 5 in small, and learn how little a small difference says.
#
# **Reads:** the miniature weights that come with the course; nothing is downloaded. **Writes** to `output_dir`: `04_cola.json` (the measured figures), the runs in `04_cola_runs/`, and a cache of features.
#
# Equation numbers are those of the GAVS paper. This page needs no other one to have been run before; the toy shop is shown in [00 · Quick start](00_quick_start.ipynb).

# %% tags=["parameters"]
cola_width: int = 32  # bottleneck of ColA and of the other adapters in the decoder (the release: 128)
steps: int = 40  # optimiser steps of each training in section 6
repeats: int = 2  # trainings of each variant, which differ in their seed
train_clips: int = 36  # training clips in which one toy sounds; a third as many more in which several do
test_clips: int = 20  # clips of each kind that are scored
attention_clips: int = 8  # clips over which attention is averaged
batch_size: int = 4  # clips a step
lr: float = 1e-3  # AdamW's learning rate (the release's), the same for all variants
seed: int = 4  # of the clips, the weights at the start and the order of training
device: str = "cpu"  # "cpu", "cuda", or "auto": the GPU if there is one
output_dir: str = "build"  # where the results go
cache_dir: str = ""  # where computed features are kept; "": a folder in output_dir

# %% [markdown]
# ## Set-up
# The first cell matters on Colab only. The second says what everything below ran on.

# %%
# Only on Colab: install the library. (`make stamp` writes this cell; elsewhere it does nothing.)
import importlib.util
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("gavs_lib") is None:
    raise RuntimeError("This copy is not published yet; [tool.gavs] in its pyproject.toml waits for an address.")

# %%
import copy
import json
import platform
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from IPython.display import display
from torch import nn

started = time.perf_counter()
if device == "auto":
    device = "cuda" if torch.cuda.is_available() else "cpu"

# %%
from gavs_lib import GAVS, GAVSConfig, build_sam, load_vggish
from gavs_lib.adapters import BottleneckAdapter
from gavs_lib.course import plots, widgets
from gavs_lib.decoder import decode_masks
from gavs_lib.lab.evaluate import guesses, interval, play_each, score
from gavs_lib.lab.features import embed_sound, resize_frames
from gavs_lib.lab.shipped import build_model, load_model
from gavs_lib.lab.toyshop import scene_clip, toyshop_features
from gavs_lib.lab.train import FitConfig, collate, fit
from gavs_lib.losses import segmentation_loss
from gavs_lib.prompt import SemanticAwareAudioPrompt
from gavs_lib.world.folder import fingerprint, recipes
from gavs_lib.world.scenes import render_frames

# %%
torch.manual_seed(seed)
output = Path(output_dir)
output.mkdir(parents=True, exist_ok=True)
cache = Path(cache_dir) if cache_dir else output / "cache"
print(f"Python {platform.python_version()}, torch {torch.__version__}, device {device}, seed {seed}")

# %% [markdown]
# ## 1. Tuning little: the adapter
# SAM learned from a billion masks. To teach it a new task there are three ways. **Freeze** it, and train only what is put in front of it. **Fine-tune** it: all of its values move, and with few examples they forget what they knew. Or, between the two, *parameter-efficient tuning*: leave every old value alone, add a few new ones in the right places, and train only those.
#
# The new part is nearly always the same, a *bottleneck adapter* (Houlsby et al. 2019):
#
# $$x \;\mapsto\; x + W_2\,\mathrm{act}(W_1 x + b_1) + b_2 .$$
#
# $W_1$ (`adapter.down`) takes $x$ from $d$ numbers down to a few, $W_2$ (`adapter.up`) back up to $d$. $W_2$ and $b_2$ **start at zero**. In ColA, act is GELU; in the adapters of SAM's picture encoder it is ReLU.
#
# **We expect**: a new adapter returns its input, to the last bit; with other weights, our line computes what the library computes.

# %%
adapter = BottleneckAdapter(128, cola_width, nn.GELU)
x = torch.randn(6, 128)  # six tokens, as in the decoder
W1, b1, W2, b2 = adapter.down.weight, adapter.down.bias, adapter.up.weight, adapter.up.bias
assert torch.equal(x + adapter(x), x), "an untrained adapter adds exactly nothing"
nn.init.normal_(W2)
nn.init.normal_(b2)
by_hand = x + F.gelu(x @ W1.T + b1) @ W2.T + b2
print(f"largest difference from the library: {(by_hand - (x + adapter(x))).abs().max().item():.1e}")
assert torch.allclose(by_hand, x + adapter(x), atol=1e-4)

# %% [markdown]
# What does it cost? ColA puts one adapter behind the MLP of each of the decoder's two layers. We count in the miniature and in the official ViT-B. (The latter is built on PyTorch's *meta* device: shapes without numbers, so that nothing is stored.)
#
# **We expect** a few percent of the decoder, and far less of the whole.

# %%
with torch.device("meta"):
    official = GAVS(build_sam("vit_b"))
torch.manual_seed(seed)
untrained = build_model("gavs", GAVSConfig(adapter_width=32, cola_width=cola_width)).to(device).eval()
rows = {}
for name, network in (("SAM-mini", untrained), ("SAM ViT-B", official)):
    of_cola = sum(network.trainable_summary().groups["ColA"].values())
    of_decoder = sum(p.numel() for p in network.sam.mask_decoder.parameters()) - of_cola
    of_sam = sum(p.numel() for p in network.sam.parameters())
    rows[name] = {"ColA": of_cola, "decoder": of_decoder, "SAM with adapters": of_sam}
counted = pd.DataFrame(rows).T
display(counted.assign(share_of_decoder=(counted["ColA"] / counted["decoder"]).round(3)))
assert (counted["ColA"] < 0.1 * counted["decoder"]).all(), "ColA is small beside the decoder it tunes"

# %% [markdown]
# ## 2. It starts as exactly nothing
# Because each adapter starts as nothing, the whole of an untrained GAVS is SAM: the same features $F_V$ and, *for the same prompt token*, the same masks. Training starts from all that SAM knows. (The token itself comes from an untrained audio prompt and means nothing yet. SAM would draw nonsense for it just as well.)
#
# **We expect** equality to the last bit, not only up to rounding.

# %%
story = next(r for r in recipes("v1s", "test", 200, seed=seed) if len(r.scene.toys) == 3)
clip, names = scene_clip(story), [toy.name for toy in story.scene.toys]
vggish = load_vggish("mini").to(device)
images = resize_frames(clip.frames, untrained.sam.image_encoder.img_size).to(device)  # [T, 3, 128, 128]
F_A = embed_sound(vggish, clip.waveform, clip.sample_rate, clip.seconds).to(device)  # [T, 128]
sam = build_sam("mini", "shipped").to(device)  # untouched
with torch.no_grad():
    pixels = (images - sam.pixel_mean) / sam.pixel_std
    F_V = untrained.sam.image_encoder(pixels)  # [T, 128, 16, 16]
    assert torch.equal(F_V, sam.image_encoder(pixels)), "an untrained GAVS sees as SAM does"
    token, _ = untrained.prompt(F_V, F_A)  # [T, 1, 128]
    given = (F_V[:1], sam.prompt_encoder.get_dense_pe(), token[:1], sam.prompt_encoder(None, None, None)[1])
    of_sam, _ = sam.mask_decoder(*given, multimask_output=False)
    assert torch.equal(decode_masks(untrained.sam.mask_decoder, *given)[0], of_sam[:, 0]), "and draws as SAM does"

# %% [markdown]
# ### Why nothing may stand behind $W_2$
# It looks harmless to put one more activation at the end: $x + \mathrm{ReLU}(W_2\,\mathrm{act}(W_1 x))$ also starts as nothing. But a gradient has to come back through that ReLU, and the ReLU's input is exactly 0, where PyTorch takes its slope as 0:
#
# $$\frac{\partial \mathcal L}{\partial W_2} = \underbrace{\mathrm{ReLU}'(0)}_{0} \cdot \dots = 0 .$$
#
# So $W_2$ stays 0, the ReLU's input stays 0, and this adapter stays nothing **for ever**. No error is raised; the model merely never gets better. GELU has the slope ½ at 0: there the gradient passes, halved.
#
# We let three adapters learn the same small task. **We expect** the one with the ReLU to lie flat on its first loss.

# %%
x = torch.randn(256, 16)
wanted = x + torch.tanh(x @ torch.randn(16, 16) / 4)
losses, first_gradient = {}, {}
for name, tail in (("nothing behind it", nn.Identity()), ("GELU behind it", nn.GELU()), ("ReLU behind it", nn.ReLU())):
    torch.manual_seed(seed)
    adapter = BottleneckAdapter(16, 32, nn.GELU)
    optimizer = torch.optim.Adam(adapter.parameters(), lr=1e-2)
    losses[name] = []
    for _ in range(100):
        loss = F.mse_loss(x + tail(adapter(x)), wanted)
        optimizer.zero_grad()
        loss.backward()
        first_gradient.setdefault(name, adapter.up.weight.grad.abs().max().item())
        optimizer.step()
        losses[name].append(loss.item())

# %%
print(pd.Series(first_gradient, name="largest gradient of W2 in the first step").to_string())
free, relu = losses["nothing behind it"], losses["ReLU behind it"]
assert first_gradient["ReLU behind it"] == 0 and len(set(relu)) == 1, "a ReLU at zero stops all learning"
assert np.isclose(first_gradient["GELU behind it"], first_gradient["nothing behind it"] / 2, rtol=1e-3)
assert free[-1] < 0.5 * free[0], "without it the adapter learns"
plots.lines(losses, "An adapter that starts at zero learns, or never", ylabel="mean squared error")

# %% [markdown]
# **What we saw.** Three adapters that are equal at the start, and one that no number of steps will move. The one with the GELU learns, but stops early, for another reason: GELU lets no value below about −0.17 through, and this task needs some. A test of the library looks for a gradient in every trained tensor within two steps, since this mistake is otherwise invisible.

# %% [markdown]
# ## 3. SAM's decoder, equations 3 to 7
# The decoder gets the picture's features $F_V$ and six tokens $F_P$: one for the quality of the mask (IoU), four for masks, and the **prompt token** that the sound became. In each of its two layers
#
# - the tokens talk to each other (self-attention),
# - the tokens look at the picture, by cross-modal attention CMA: $F_{ctx} = F_P + \mathrm{CMA}(F_P, F_V)$ (3),
# - an MLP works on each token, and here **ColA** steps in: $F_{P'} = \mathrm{ColA}(\mathrm{MLP}(F_{ctx})) + \mathrm{MLP}(F_{ctx})$ (4),
# - $K = F_{ctx} + F_{P'}$ (5),
# - the picture looks at the tokens: $F_{V'} = F_V + \mathrm{CMA}(F_V, K)$ (6).
#
# In the end a mask token is multiplied with the enlarged picture features: $M = F_{up} \times \mathrm{MLP}(F_P[1])$ (7). The paper leaves out SAM's norms and position codes; our code has them (`norm1` to `norm4`, `query_pe`, `key_pe`).
#
# **Why there?** The paper's argument: the two attentions already know how prompts and pictures belong together, and should stay as they are. The tokens between them, the *core context*, are where what was heard (the prompt) and what was seen (the first attention) meet, and all that the second attention gets. So ColA tunes just these.
#
# First the attention. Each token's query is compared with the key of every cell of the picture; the softmax makes *weights* of it, and we shall look at these in section 5. **We expect** our two functions to compute what SAM's own attention does.


# %%
def attention_weights(attention, q, k):
    """How much each query attends to each key: [N, heads, queries, keys], each row with sum 1."""
    q, k = attention.q_proj(q), attention.k_proj(k)
    q, k = (each.unflatten(2, (attention.num_heads, -1)).transpose(1, 2) for each in (q, k))
    return (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(dim=-1)


def attend(attention, q, k, v):
    """CMA: the values, mixed by these weights."""
    v = attention.v_proj(v).unflatten(2, (attention.num_heads, -1)).transpose(1, 2)
    mixed = attention_weights(attention, q, k) @ v  # [N, heads, queries, channels]
    return attention.out_proj(mixed.transpose(1, 2).flatten(2))


probe = sam.mask_decoder.transformer.layers[0].cross_attn_token_to_image
q, k, v = (torch.randn(2, count, 128, device=device) for count in (6, 256, 256))
assert torch.allclose(attend(probe, q, k, v), probe(q=q, k=k, v=v), atol=1e-5)


# %% [markdown]
# Now one layer. `queries` are the tokens, `keys` the picture's cells.


# %%
def two_way(layer, first, queries, keys, query_pe, key_pe):
    """One layer of the decoder: tokens [N, 6, C] and cells [N, H*W, C] -> K and F_V'."""
    if first:
        queries = layer.norm1(attend(layer.self_attn, queries, queries, queries))
    else:
        q = queries + query_pe
        queries = layer.norm1(queries + attend(layer.self_attn, q, q, queries))
    seen = attend(layer.cross_attn_token_to_image, queries + query_pe, keys + key_pe, keys)
    F_context = layer.norm2(queries + seen)  # (3)
    mlp = layer.mlp.lin2(F.relu(layer.mlp.lin1(F_context)))
    cola = layer.mlp.adapter
    F_P = cola.up(F.gelu(cola.down(mlp))) + mlp  # (4)
    K = layer.norm3(F_context + F_P)  # (5)
    told = attend(layer.cross_attn_image_to_token, keys + key_pe, K + query_pe, K)
    return K, layer.norm4(keys + told)  # (6)


# %% [markdown]
# And the whole decoder, of the **trained** GAVS that comes with the course, on the clip from above. **We expect** the masks of the library's `decode_masks`, and of the whole model, up to rounding.

# %%
model, notes = load_model("gavs")
model = model.to(device)
decoder = model.sam.mask_decoder
with torch.no_grad():
    F_V = model.sam.image_encoder(pixels)
    token, _ = model.prompt(F_V, F_A)
    image_pe = model.sam.prompt_encoder.get_dense_pe()
    _, no_mask = model.sam.prompt_encoder(None, None, None)
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])  # five of the six tokens are SAM's
    query_pe = torch.cat([own.expand(len(token), -1, -1), token], dim=1)  # F_P: [T, 6, C]
    queries, keys, key_pe = query_pe, (F_V + no_mask).flatten(2).mT, image_pe.flatten(2).mT
    for number, layer in enumerate(decoder.transformer.layers):
        queries, keys = two_way(layer, number == 0, queries, keys, query_pe, key_pe)

# %%
with torch.no_grad():
    last = attend(decoder.transformer.final_attn_token_to_image, queries + query_pe, keys + key_pe, keys)
    queries = decoder.transformer.norm_final_attn(queries + last)
    F_up = decoder.output_upscaling(keys.mT.reshape(F_V.shape))  # [T, C/8, 64, 64]
    M = torch.einsum("tc,tchw->thw", decoder.output_hypernetworks_mlps[0](queries[:, 1]), F_up)  # (7)
    of_library, _ = decode_masks(decoder, F_V, image_pe, token, no_mask)
    of_model = model(images[None], F_A[None]).mask_logits[0]
decoder_difference = (M - of_library).abs().max().item() / of_library.abs().max().item()
print(f"largest difference between our walk and the library's decoder, relative: {decoder_difference:.1e}")
assert decoder_difference < 1e-4, "equations 3 to 7 are the library's decoder"
assert torch.allclose(of_library, of_model, rtol=1e-3, atol=1e-3), "and that is what the model uses"
drawn = {"picture": clip.frames[2], "by hand": M[2].sigmoid().cpu(), "library": of_library[2].sigmoid().cpu()}
plots.pictures(drawn, f"The {clip.a_obj} sounds", colorbar="probability")

# %% [markdown]
# ## 4. What ColA does in the trained model
# In a trained model we can look at ColA from two sides. How large is what it adds, beside the MLP's own output? And what remains when we switch it off, by setting its $W_2$ and $b_2$ back to zero? (That is no fair contest: the rest was trained *with* ColA. It shows how much the trained model relies on it, not how good a model without it could be. Section 6 asks that.)
#
# **We expect** more than nothing: logits that change and, one would think, worse masks.

# %%
sizes, off = {}, copy.deepcopy(model)
for number, (layer, switched) in enumerate(zip(decoder.transformer.layers, off.sam.mask_decoder.transformer.layers)):

    def measure_size(mlp, given, number=number):
        y = mlp.lin2(mlp.act(mlp.lin1(given[0])))
        sizes[f"layer {number + 1}"] = (mlp.adapter(y).norm(dim=-1) / y.norm(dim=-1)).mean(dim=0)  # of each token

    hook = layer.mlp.register_forward_pre_hook(measure_size)
    with torch.no_grad():
        model(images[None], F_A[None])
    hook.remove()
    nn.init.zeros_(switched.mlp.adapter.up.weight)
    nn.init.zeros_(switched.mlp.adapter.up.bias)

# %%
token_names = ["IoU", "mask (used)", "mask 2", "mask 3", "mask 4", "prompt"]
display(pd.DataFrame({name: each.cpu() for name, each in sizes.items()}, index=token_names).round(2))
made, features = toyshop_features({("v1s", "test"): test_clips}, model, vggish, cache, seed=seed)
with_cola, without_cola = score(model, features)["miou"], score(off, features)["miou"]
print(f"mean IoU {with_cola.mean():.2f} with ColA, {without_cola.mean():.2f} with ColA switched off")
assert all(each.min() > 0 for each in sizes.values()), "a trained ColA adds something to every token"
with torch.no_grad():
    change = (off(images[None], F_A[None]).mask_logits[0] - of_model).abs().max().item()
print(f"the largest change of a logit on the clip above: {change:.1f}")
assert change > 0.5, "the trained model makes use of its ColA"

# %%
played = {"GAVS": play_each(model, vggish, story), "ColA off": play_each(off, vggish, story)}
masks_of = {name: (each[:, 2] > 0.5).numpy() for name, each in played.items()}
pictures = render_frames(story.scene)
plots.voices(pictures.frames[2], names, masks_of, "ColA switched off, the rest as trained", pictures.masks[:, 2])

# %% [markdown]
# **What we see.** The table gives the length of what ColA adds as a share of the length of the MLP's own output, for each token. It is no small correction, and it is largest for the very token that draws the mask. And yet, with ColA switched off, the masks survive: see the two figures of mean IoU, and the two rows above, which you may have to compare twice. In this miniature it seems to be the prompt and the visual adapters that do most of the work. So do not expect too much of the contest in section 6.

# %% [markdown]
# ## 5. What the prompt token attends to
# Three times the tokens look at the picture: in each of the two layers (equation 3), and once more at the end. We catch the weights of these attentions with a *hook*, a function that PyTorch calls just before a module runs, and average over the heads. What remains is a map: where in the picture the **prompt token** looks. We do it for the untrained model and for the trained one, with the voice of each toy on the same picture.
#
# **We expect** another voice, which is another token, to give another map even before training, but without any aim. What should the maps show after training? One might hope: the toy that plays.


# %%
def attention_maps(network, recipe):
    """Attention to the picture, heads averaged: [places, voices, T, tokens, 16, 16]."""
    caught = []

    def catch(attention, _, given):
        caught.append(attention_weights(attention, given["q"], given["k"]).mean(dim=1))

    transformer = network.sam.mask_decoder.transformer
    places = [layer.cross_attn_token_to_image for layer in transformer.layers]
    hooks = [
        p.register_forward_pre_hook(catch, with_kwargs=True) for p in (*places, transformer.final_attn_token_to_image)
    ]
    play_each(network, vggish, recipe)
    for hook in hooks:
        hook.remove()
    maps = torch.stack(caught).cpu().unflatten(1, (len(recipe.scene.toys), -1))
    return maps.unflatten(-1, (16, 16))


# %% tags=["report"]
PLACES, PROMPT = ["layer 1", "layer 2", "final"], 5
networks = {"before": untrained, "after": model}
maps = {name: attention_maps(network, story)[:, :, 2, PROMPT].numpy() for name, network in networks.items()}
assert all(np.allclose(each.sum(axis=(2, 3)), 1, atol=1e-4) for each in maps.values()), "attention sums to one"
two = [f"{when}:\n{names[k].replace('-', ' ', 1).replace('-', chr(10))}" for when in maps for k in (0, 1)]
shown = {place: np.concatenate([each[i, :2] for each in maps.values()]) for i, place in enumerate(PLACES)}
outlines = np.concatenate([pictures.masks[:2, 2]] * 2)
plots.attention(pictures.frames[2], two, shown, "Where the prompt token looks", outlines)

# %% [markdown]
# White is the toy whose voice is played. The same with controls, for every voice of this clip: choose the layer and who plays. (Tab reaches the controls, the arrow keys move them.)

# %%
widgets.attention_explorer(pictures.frames[2], names, PLACES, maps, pictures.masks[:, 2])

# %% [markdown]
# Pictures of attention are seductive, and one clip proves nothing. So we count, over `attention_clips` clips and all their voices: what share of the prompt token's attention lies on the toy that plays, and what share on each of the others? An even spread would give every toy the share of the picture that it covers.

# %%
rows, moved = [], []
stories = [r for r in recipes("v1s", "test", 4 * attention_clips, seed=seed) if len(r.scene.toys) > 1][:attention_clips]
for recipe in stories:
    cells = F.adaptive_avg_pool2d(torch.from_numpy(render_frames(recipe.scene).masks).float(), (16, 16))
    right = torch.eye(len(cells), dtype=torch.bool)
    for when, network in networks.items():
        each = attention_maps(network, recipe)[:, :, :, PROMPT]  # [places, voices, T, 16, 16]
        on = torch.einsum("pvtyx,jtyx->pvj", each, cells) / each.shape[2]  # on toy j, while v plays
        for place, values, by_voice in zip(PLACES, on, each):
            rows.append((place, f"{when}: the toy that plays", "hears", values[right].mean().item()))
            rows.append((place, f"{when}: another toy", "deaf", values[~right].mean().item()))
            moved.append((place, when, 0.5 * (by_voice[0] - by_voice[1]).abs().sum(dim=(1, 2)).mean().item()))
    rows += [(place, "an even spread", "guess", cells.mean().item()) for place in PLACES]

# %%
shares = pd.DataFrame(rows, columns=["group", "name", "kind", "share"]).groupby(["group", "name", "kind"], sort=False)
attended = shares["share"].agg(value="mean", low=lambda v: interval(v)[0], high=lambda v: interval(v)[1]).reset_index()
plots.scores(attended, "How much of its attention the prompt token gives to ...", "share of the attention")

# %%
moved = pd.DataFrame(moved, columns=["layer", "model", "moved"]).groupby(["layer", "model"])["moved"].mean().unstack()
moved = moved.loc[PLACES, ["before", "after"]]
display(moved.round(3))
share = attended.set_index(["group", "name"])["value"]
found = share["layer 2", "after: the toy that plays"]
assert (moved["after"] > moved["before"]).all(), "after training the attention depends more on the voice"
assert found > share["layer 2", "after: another toy"] + 0.1, "in layer 2 the trained token looks at the toy that plays"
assert found > share["layer 2", "before: the toy that plays"] + 0.1, "which the untrained one does not"

# %% [markdown]
# The table says how much of the attention moves to other cells when another toy of the same picture plays: 0 is none of it, 1 all.
#
# **What we see.** Before training the token prefers toys to the floor (the two upper bars lie above the even spread), for SAM-mini knows what an object is; but which of them plays makes no difference. After training compare layer 1 with layer 2. In layer 1 there is hardly a preference for the toy that plays; in layer 2 the token has turned to it. That fits what the token can know: at its first look it carries little but the sound. Then come the first MLP with its ColA, and the picture is told; at the second look, what was heard has met what was seen.
#
# It *fits*; it is no proof. Attention tells where a token reads, not what it does with it, and the token that draws the mask is another one, $F_P[1]$. The proof that the sound decides is the swap test of notebook 00.
#
# ## 6. Six ways to tune the decoder: Table 5 in small
# The paper compares, on AVSBench-semantic (V2), six ways to tune the decoder, with nothing but an audio prompt in front (no visual adapters, no visual cue, no noise):
#
# | | what trains in the decoder | paper: mIoU (%) |
# |---|---|---|
# | a | nothing: *freeze* | 57.41 |
# | b | everything: *fine-tune* | 62.08 |
# | c | adapters behind the audio-to-visual attention (tokens look at the picture): *AV* | 62.11 |
# | d | adapters behind the visual-to-audio attention (the picture looks at tokens): *VA* | 61.84 |
# | e | *ColA* | 63.35 |
# | f | *ColA + AV + VA* | 62.09 |
#
# All six are settings of `GAVSConfig`. In c, d and f the same bottleneck as ColA's stands behind the attentions (the paper does not say where in them; this is our reading).
#
# No block of the picture encoder trains (`tune_from=6`, its depth), so that all of them are cached. All six get the same prompt, the same start of it, the same clips in the same order and the same learning rate.

# %%
VARIANTS = {
    "freeze": {},
    "fine-tune": {"whole_decoder": True},
    "AV": {"av_width": cola_width},
    "VA": {"va_width": cola_width},
    "ColA": {"cola_width": cola_width},
    "ColA + AV + VA": {"cola_width": cola_width, "av_width": cola_width, "va_width": cola_width},
}


def variant(name: str, start: int) -> GAVS:
    """One of the six, untrained; the prompt of all six starts alike."""
    torch.manual_seed(start)
    prompt = SemanticAwareAudioPrompt(visual_dim=128, cue=False, noise="none")  # a projection of F_A alone
    frozen = GAVSConfig(tune_from=6, adapter_width=0, cola_width=0, cue=False, noise="none")
    return GAVS(build_sam("mini", "shipped"), replace(frozen, **VARIANTS[name]), prompt=prompt).to(device)


# %% [markdown]
# Before we claim what trains in which, we look: at what is marked to train (`requires_grad`, which `trainable_summary` lists); and at gradients, which tell what the masks reach.
#
# **We expect** six models that draw the very same masks before training, and one alone in which much trains: SAM's own decoder. Even there a part stays frozen, since no loss on masks reaches it: the head that estimates the IoU, and the MLPs of the three mask tokens that are not used.

# %%
parts = {("v1s", "train"): train_clips, ("v1m", "train"): train_clips // 3}
_, train_set = toyshop_features(parts, variant("freeze", seed), vggish, cache, seed=seed)
batch = collate([train_set[i] for i in range(4)])
counts, starts = [], []
for name in VARIANTS:
    network = variant(name, seed)
    logits = network(None, batch["audio"].to(device), prefix=batch["prefix"].to(device)).mask_logits
    segmentation_loss(logits, batch["masks"].to(device), batch["has_mask"].to(device)).backward()
    starts.append(logits.detach())
    listed = [p for k, p in network.named_parameters() if p.requires_grad and k.startswith("sam.")]
    # A layer behind one that is still zero gets a gradient, but zeros: it begins in the second step.
    unreached = sum(p.numel() for p in listed if p.grad is None)
    whole = sum(p.numel() for p in network.sam.mask_decoder.parameters())
    counts.append((name, sum(p.numel() for p in listed), unreached, whole))

# %%
counts = pd.DataFrame(counts, columns=["variant", "trains", "without gradient", "decoder"]).set_index("variant")
display(counts)
assert all(torch.equal(starts[0], other) for other in starts), "all six start as the same model"
trains = counts["trains"]
assert trains["freeze"] == 0 and trains["fine-tune"] > counts.loc["fine-tune", "decoder"] / 2
assert (counts["without gradient"] == 0).all(), "masks reach all that is listed"
assert trains["ColA"] < 0.1 * trains["fine-tune"]
share_that_trains = (trains / counts["decoder"]).rename("value").reset_index()
share_that_trains = share_that_trains.rename(columns={"variant": "name"}).assign(group="mask decoder", kind="guess")
share_that_trains[["low", "high"]] = share_that_trains[["value", "value"]].to_numpy()
plots.scores(share_that_trains, "How much of the decoder trains", "share of its values")

# %% [markdown]
# ### Train them
# Each variant trains `repeats` times from another seed. No validation, no choosing: the last step counts. After each training we check that whatever is not listed as trained is what it was, to the last bit.

# %%
paces = {"steps": steps, "batch_size": batch_size, "lr": lr, "schedule": "cosine", "warmup_steps": steps // 10}
# Without a visual cue there is nothing to align: no semantic loss.
training = FitConfig(**paces, dice_weight=1.0, semantic_weight=0.0, labelled_frames_only=True)
kinds = {"one toy sounds": "v1s", "several sound": "v1m"}
frozen, tests, rows = variant("freeze", seed), {}, []
for kind, subset in kinds.items():
    made, tests[kind] = toyshop_features({(subset, "test"): test_clips}, frozen, vggish, cache, seed=seed)
    chance = guesses(made)["random"]
    low, high = interval(chance)
    rows.append(dict(group=kind, name="random toy, true mask", value=chance.mean(), low=low, high=high, kind="guess"))
guessed = pd.DataFrame(rows)

# %%
results, histories = [], {}
for repeat in range(repeats):
    for name in VARIANTS:
        network, settings = variant(name, seed + repeat), replace(training, seed=seed + repeat)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        folder = output / "04_cola_runs" / f"{name.replace(' ', '')}-{repeat}"
        done = fit(network, train_set, None, settings, folder, resume=False, progress=False)
        changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
        assert changed <= set(network.trainable_summary().names), "what is frozen must stay as it was"
        histories.setdefault(name, [row["segmentation"] for row in done.history])
        assert len(done.history) == 1 or histories[name][-1] < histories[name][0], "training lowers the loss"
        for kind, clips in tests.items():
            each = score(network.eval(), clips)["miou"].to_numpy()
            results.append({"group": kind, "name": name, "repeat": repeat, "each": each, "miou": each.mean()})
    print(f"repeat {repeat + 1}: {time.perf_counter() - started:.0f} s since the start of the page")

# %%
plots.lines(histories, "Training, first seed", xlabel="epoch", ylabel="segmentation loss (8)")

# %% [markdown]
# ### What came out
# **What would we expect?** The paper's order: freeze last, ColA first. But its differences, other than to *freeze*, are about one point, of thousands of clips and full trainings. Ours are a few dozen clips and steps.
#
# The bars are means over the repeats; the lines on the orange ones reach from the worst repeat to the best. Grey is somebody who is given the true masks of all toys and picks one at random (its line: 95 % over clips).

# %% tags=["report"]
results = pd.DataFrame(results)
grouped = results.groupby(["group", "name"], sort=False)["miou"]
table = grouped.agg(value="mean", low="min", high="max").reset_index().assign(kind="hears")
order = {name: i for i, name in enumerate([*kinds, *VARIANTS])}
table = table.sort_values(["group", "name"], key=lambda column: column.map(order))
table = pd.concat([table, guessed], ignore_index=True)
plots.scores(table, f"Six ways to tune, {steps} steps each")

# %% [markdown]
# Is a difference a difference? Two things blur it: the *seed* (train again, and it moves) and the *clips* (take others, and it moves). We compare ColA with each of the others clip by clip, and show both: the difference in each repeat, and a 95 % interval over clips. Only where all repeats agree in sign **and** the interval leaves out zero do we call it a difference at all.

# %%
rows = []
for other in [name for name in VARIANTS if name != "ColA"]:
    pick = {name: results[results["name"] == name].sort_values(["repeat", "group"]) for name in ("ColA", other)}
    gains = np.stack(pick["ColA"]["each"].tolist()) - np.stack(pick[other]["each"].tolist())  # [repeats * kinds, clips]
    gains = gains.reshape(repeats, -1)  # [repeats, clips of both kinds]
    low, high = interval(gains.mean(axis=0))
    by_repeat = gains.mean(axis=1)
    agree = repeats > 1 and len(set(np.sign(by_repeat))) == 1
    verdict = "no" if not agree or low <= 0 <= high else "ColA better" if low > 0 else "ColA worse"
    rows.append((other, *by_repeat.round(3), round(low, 3), round(high, 3), verdict))
titles = ["ColA against", *(f"repeat {i + 1}" for i in range(repeats)), "low", "high", "a difference?"]
display(pd.DataFrame(rows, columns=titles).set_index("ColA against"))

# %% [markdown]
# **What we see.** First compare orange with grey in the group where one toy sounds: only a bar well above grey belongs to a model that has begun to listen. Then read the last column of the table. *No* does not mean that two ways are equally good; it means that so few steps, seeds and clips cannot tell. Even the other answers are weak: with two repeats the signs agree half of the time by luck, and we ask five times.
#
# When this page was written, we ran it with two settings, on both kinds of clips. The page's own put *fine-tune* first; 90 steps, with twice the clips, put *freeze* first. Neither gave the paper's order, and ColA led in neither. Reasons that we think likely, none of them tested here:
#
# - SAM-mini was pre-trained with prompts that *mean* something (a family, a size, a material). Even frozen, its decoder knows how to answer such a token, and the audio prompt only has to learn to speak to it. The official SAM knows points and boxes; there, the paper has *freeze* far behind.
# - The steps are few. Adapters start as nothing and may pay off later.
# - All six have one learning rate, which need not be the best for each. The paper does not say how it chose.
#
# What remains certain is what was checked: six ways that start as the same model, of which four train less than a tenth of what the fine-tuned one trains, and leave every value of SAM as it was.

# %% [markdown]
# ## Results
# The figures of this page, as JSON, for the table that `make run` prints.

# %%
miou, metrics = table.set_index(["group", "name"])["value"], {}
for kind, subset in kinds.items():
    for name in VARIANTS:
        key = name.lower().replace(" + ", "_").replace("-", "_")
        metrics[f"miou_{subset}_{key}"] = float(miou[kind, name])
metrics |= {"shipped_miou_v1s": float(with_cola.mean()), "shipped_miou_v1s_cola_off": float(without_cola.mean())}
metrics |= {"decoder_difference": decoder_difference, "cola_values": int(counts.loc["ColA", "trains"])}
for place in PLACES:
    for when in networks:
        metrics[f"attention_{place.replace(' ', '_')}_{when}"] = float(share[place, f"{when}: the toy that plays"])

# %%
over = {"shipped_miou_v1s": with_cola, "shipped_miou_v1s_cola_off": without_cola}
for (kind, name), runs in results.groupby(["group", "name"])["each"]:
    key = name.lower().replace(" + ", "_").replace("-", "_")
    over[f"miou_{kinds[kind]}_{key}"] = np.mean(runs.tolist(), axis=0)  # each clip's mean over the repeats
intervals = {name: interval(values) for name, values in over.items()}  # 95 %, over clips
bounds = attended.set_index(["group", "name"])[["low", "high"]]
for place in PLACES:
    for when in networks:
        low_high = bounds.loc[(place, f"{when}: the toy that plays")].tolist()
        intervals[f"attention_{place.replace(' ', '_')}_{when}"] = low_high
facts = {"metrics": metrics, "intervals": intervals, "seed": seed, "steps": steps, "repeats": repeats}
facts |= {"world": fingerprint(), "torch": torch.__version__}
Path(output, "04_cola.json").write_text(json.dumps(facts, indent=1))
print(f"this page took {time.perf_counter() - started:.0f} s")
pd.Series(metrics).round(3)

# %% [markdown]
# ## Summary
# - An adapter is $x + W_2\,\mathrm{act}(W_1 x)$; with $W_2 = 0$ it starts as exactly nothing, so training starts from SAM.
# - Nothing may stand behind the layer that starts at zero, or it may never move.
# - ColA is such an adapter behind the MLP of both decoder layers: on the tokens, between the two attentions.
# - After training the prompt token turns to the toy that plays, at its second look at the picture.
# - Whether ColA beats freezing or fine-tuning is a question for many clips and several seeds. A short contest cannot answer it, and here it does not give the paper's order.
#
# ## Quiz
# 1. Someone sets both $W_1$ and $W_2$ of an adapter to zero at the start. What happens?
#    <details><summary>Answer</summary>With $b_1 = 0$ too, act(0) = 0 for ReLU and GELU, so $W_2$ gets no gradient; and $W_1$ gets none through $W_2 = 0$. Only $b_2$ learns: the adapter is a constant for ever. One of the two must be random.</details>
# 2. The untrained GAVS equals SAM to the last bit, yet its masks are nonsense. Why is that no contradiction?
#    <details><summary>Answer</summary>It equals SAM <em>for the same prompt token</em>. The token comes from an untrained audio prompt, and SAM itself would draw the same nonsense for it.</details>
# 3. In the first step of training, does $W_1$ of ColA get a gradient?
#    <details><summary>Answer</summary>No: it comes back through $W_2$, which is zero. $W_2$ moves in the first step, $W_1$ from the second on. This is why the gradient check of notebook 05 takes two steps.</details>
# 4. A trained model loses much of its score when ColA is switched off. Does that prove that ColA was needed?
#    <details><summary>Answer</summary>No. The other parts were trained to work with it. Whether one can do without is asked by training without it, as in section 6.</details>
#
# ## References
# - Y. Wang et al., *Prompting Segmentation with Sound Is Generalizable Audio-Visual Source Localizer* (GAVS), AAAI 2024 (ColA: equations 3 to 7, Table 5; the text also spells it CoLA).
# - N. Houlsby et al., *Parameter-Efficient Transfer Learning for NLP* (adapters), ICML 2019.
# - A. Kirillov et al., *Segment Anything*, ICCV 2023.
# - S. Jain and B. C. Wallace, *Attention is not Explanation*, NAACL 2019.
#
# ## Next
# [05 · Training](05_training.ipynb): all parts together, trained. To see how far section 6 can be trusted, run this page with `repeats=5`, or with `--profile full`.
