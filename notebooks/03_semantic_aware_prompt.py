# %% [markdown]
# # 03 · The semantic-aware audio prompt: telling SAM by sound what to segment
#
# *About a minute on a two-core laptop without GPU, offline. Nothing is trained but one vector.*
#
# **What you will do**
#
# 1. prompt SAM as it was made to be prompted, with a click and with a box, and see what such a prompt is inside,
# 2. find by gradient descent a prompt that no click could give,
# 3. build the prompt that GAVS makes of a sound, equations 1 and 2, and see why its *adaptive noise* can be less than it seems,
# 4. ask whether the triplet loss of equations 9 and 10 aligned pictures with sounds, and measure what that is worth,
# 5. take parts out of the trained prompt, and see which of them the masks come from.
#
# **Reads:** the miniature weights that come with the course; nothing is downloaded. **Writes:** `03_semantic_aware_prompt.json` (the measured figures) and a small cache, both in `output_dir`.
#
# Equation numbers are those of the GAVS paper. This page needs no other one to have been run before.

# %% tags=["parameters"]
seed: int = 2024  # which clips are drawn, and every random choice below
clips: int = 36  # clips for retrieval and for surgery
place_clips: int = 12  # clips on which SAM is prompted by click and by box
token_steps: int = 120  # gradient steps that look for a token
galleries: int = 40  # random galleries, with one clip a class, in which pictures look for their sounds
margin: float = 0.3  # m of equation 10, as in the training of the shipped weights
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
import itertools
import json
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from IPython.display import display

started = time.perf_counter()
if device == "auto":
    device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(seed)
print(f"Python {platform.python_version()}, torch {torch.__version__}, device {device}, seed {seed}")

# %%
from gavs_lib import build_sam, load_vggish
from gavs_lib.course import plots, widgets
from gavs_lib.decoder import decode_masks
from gavs_lib.lab.evaluate import box_prompted, interval, play_each, score, shuffled, silent
from gavs_lib.lab.features import embed_sound, resize_frames
from gavs_lib.lab.shipped import build_model, load_model
from gavs_lib.lab.toyshop import toyshop_features
from gavs_lib.lab.train import collate
from gavs_lib.losses import clip_average, segmentation_loss, semantic_loss
from gavs_lib.metrics import mask_iou
from gavs_lib.prompt import NOISE_FORMS, SemanticAwareAudioPrompt
from gavs_lib.world.folder import fingerprint, recipes
from gavs_lib.world.scenes import SAMPLE_RATE, mix, render_frames, render_stems

# %%
output = Path(output_dir)
output.mkdir(parents=True, exist_ok=True)
cache = Path(cache_dir) if cache_dir else output / "cache"

# %% [markdown]
# ## 1. How SAM is prompted: a click, a box
# SAM works in two halves. The image encoder, large and slow, turns a picture into the *image embedding* $F_V$, without knowing what will be asked. The mask decoder, small and fast, gets $F_V$ and a *prompt* that says which of all the things in the picture is meant. So one $F_V$ serves any number of prompts.
#
# A prompt is a list of *tokens*: vectors as long as $F_V$ has channels (256 in the official SAM, 128 in SAM-mini). A click at $(x, y)$ becomes
#
# $$\mathrm{token} = \mathrm{PE}(x, y) + e_{\text{inside}},$$
#
# a fixed position code of the place (`pe_layer`) and a learned vector (`point_embeddings[1]`) that means "this is inside". SAM adds a second, empty token where there is no box. A box gives two tokens, one for each of its corners.

# %%
sam = build_sam("mini", "shipped").to(device).requires_grad_(False)
story = next(recipe for recipe in recipes("v1s", "test", 200, seed=seed) if len(recipe.scene.toys) == 3)
drawn, names, second = render_frames(story.scene), [toy.name for toy in story.scene.toys], 2
size = drawn.frames.shape[1:3]  # (128, 128), also what SAM-mini takes: no place needs rescaling
pixels = (resize_frames(drawn.frames, sam.image_encoder.img_size).to(device) - sam.pixel_mean) / sam.pixel_std
with torch.no_grad():
    F_V = sam.image_encoder(pixels)  # [T, C, 16, 16]
position = sam.prompt_encoder.get_dense_pe()  # [1, C, 16, 16]
_, no_mask = sam.prompt_encoder(None, None, None)  # SAM's way to say that no mask was drawn
print(f"F_V of {len(F_V)} pictures: {F_V.shape[1]} channels on a grid of {F_V.shape[2]} x {F_V.shape[3]} places")


# %%
def find_places(masks: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """For each mask [K, H, W] the visible pixel nearest to its centre, [K, 1, 2], and its box, [K, 4]."""
    points, corners = [], []
    for mask in masks:
        y, x = np.nonzero(mask)
        nearest = ((x - x.mean()) ** 2 + (y - y.mean()) ** 2).argmin()
        points.append([[x[nearest], y[nearest]]])
        corners.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
    return tuple(torch.tensor(np.array(found), dtype=torch.float32, device=device) for found in (points, corners))


points, corners = find_places(drawn.masks[:, second])
inside = torch.ones(len(points), 1, device=device)  # 1: the click is on what is meant; 0: it is not
clicks, _ = sam.prompt_encoder((points, inside), None, None)  # [K, 2, C]
boxes, _ = sam.prompt_encoder(None, corners, None)  # [K, 2, C]

# %% [markdown]
# **We expect** that the click's first token is the sum above. (SAM adds half a pixel: a click means the middle of its pixel.)

# %%
places = sam.prompt_encoder.pe_layer.forward_with_coords(points + 0.5, size)  # [K, 1, C]
by_hand = places[:, 0] + sam.prompt_encoder.point_embeddings[1].weight
assert torch.allclose(by_hand, clicks[:, 0], atol=1e-5), "a click is a position code and a learned vector"


# %%
def draw_masks(embedding: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Logits [K, H, W] of the untouched SAM for K prompts [K, tokens, C]; embedding [K or 1, C, 16, 16]."""
    embedding = embedding.expand(len(tokens), -1, -1, -1)
    logits, _ = decode_masks(sam.mask_decoder, embedding, position, tokens, no_mask)  # [K, 64, 64]
    return F.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]


by_click = draw_masks(F_V[second : second + 1], clicks).sigmoid().cpu().numpy() > 0.5
by_box = draw_masks(F_V[second : second + 1], boxes).sigmoid().cpu().numpy() > 0.5

# %%
shown = {}
for name, mask, (x, y) in zip(names, by_click, points[:, 0].int().tolist()):
    shown[f"click on the\n{name}"] = picture = plots.overlay(drawn.frames[second], mask)
    picture[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4] = 0
    picture[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = 1
for name, mask, (left, top, right, bottom) in zip(names, by_box, corners.int().tolist()):
    shown[f"box around the\n{name}"] = picture = plots.overlay(drawn.frames[second], mask)
    picture[[top, bottom - 1], left:right] = 1
    picture[top:bottom, [left, right - 1]] = 1
plots.pictures(shown, "One picture, six prompts: white is what SAM was told")

# %% [markdown]
# How good is that? We prompt SAM in fresh clips at the toy that sounds. **We expect** the box to do a little better than the click, since it also tells how large the thing is (in few clips the order may be the other way round). And we expect the same score as `box_prompted`, the library's measure of what a prompt can reach at best.


# %%
@torch.no_grad()
def place_scores(recipe) -> tuple[float, float]:
    """Mean IoU over a clip's seconds, for a click and for a box on the toy that sounds."""
    pictures = render_frames(recipe.scene)
    truth = pictures.masks[recipe.scene.toys.index(recipe.scene.heard[0])]  # [T, H, W]
    images = resize_frames(pictures.frames, sam.image_encoder.img_size).to(device)
    embedding = sam.image_encoder((images - sam.pixel_mean) / sam.pixel_std)
    points, corners = find_places(truth)
    click, _ = sam.prompt_encoder((points, torch.ones(len(points), 1, device=device)), None, None)
    box, _ = sam.prompt_encoder(None, corners, None)
    found = [mask_iou(draw_masks(embedding, tokens).cpu(), torch.from_numpy(truth)) for tokens in (click, box)]
    return found[0].mean().item(), found[1].mean().item()


# %%
some = list(recipes("v1s", "test", place_clips, seed=seed))
placed = np.array([place_scores(recipe) for recipe in some])  # [clips, 2]
miou_click, miou_box = placed.mean(axis=0)
from_library = box_prompted(build_sam("mini", "shipped"), some)["miou"].mean()
print(f"mean IoU over {place_clips} clips: click {miou_click:.3f}, box {miou_box:.3f} (library: {from_library:.3f})")
assert abs(miou_box - from_library) < 0.01, "the box, by hand and by the library"
assert miou_box > 0.7 and miou_click > 0.5, "SAM-mini knows what a box and a click mean"

# %% [markdown]
# **What we see.** A click or a box says *where*. A sound says *what*, and nothing about where. Can a token say that?
#
# ## 2. A token that is no click
# The decoder does not ask where its tokens come from; to it, a prompt is a point in a space of 128 dimensions. Clicks reach only few of its points: a plane of places, bent into it. We look for others by gradient descent: SAM stays frozen, and one token for each toy, zero at the start, is changed until the decoder draws that toy.
#
# **We expect** that a token is found for each toy. What it means is another question, so we try it on the *mirrored* picture, where the toy stands in another place. If the token says "there", the mask stays; if it says "such a toy", the mask moves along.

# %%
truth = torch.from_numpy(drawn.masks[:, second]).to(device)  # [K, H, W], one mask a toy
free = torch.zeros(len(names), 1, F_V.shape[1], device=device, requires_grad=True)  # one token a toy
optimizer = torch.optim.Adam([free], lr=0.1)
here = F_V[second : second + 1].expand(len(names), -1, -1, -1)
for _ in range(token_steps):
    logits, _ = decode_masks(sam.mask_decoder, here, position, free, no_mask)
    loss = segmentation_loss(logits[None], truth[None].float(), dice_weight=1.0)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
with torch.no_grad():
    mirrored = sam.image_encoder(pixels[second : second + 1].flip(-1))
    found = draw_masks(here, free)
    moved = draw_masks(mirrored, free)
iou_found, iou_moved, iou_stayed = mask_iou(found, truth), mask_iou(moved, truth.flip(-1)), mask_iou(moved, truth)

# %%
shown = {name: plots.overlay(drawn.frames[second], mask) for name, mask in zip(names, found.cpu().numpy() > 0)}
flipped = drawn.frames[second][:, ::-1]
shown |= {f"{name},\nmirrored": plots.overlay(flipped, mask) for name, mask in zip(names, moved.cpu().numpy() > 0)}
display(plots.pictures(shown, "One found token for each toy; below: mirrored picture"))
results = {"found for": iou_found, "mirrored: moved along": iou_moved, "mirrored: stayed": iou_stayed}
display(pd.DataFrame({name: values.cpu() for name, values in results.items()}, index=names).round(2))
assert iou_found.mean() > 0.6, "one free token is enough to tell the decoder what to draw"

# %% [markdown]
# **What we see.** One free token is enough: the decoder can be told of each toy by a point in 128 numbers that nobody clicked. But look at the lower row: on the mirrored picture some of these tokens are lost (how many depends on the picture). The mask then neither stays nor moves along, it is gone. Gradient descent cut a key for one lock. What we want is a *rule* that makes a token which works in any picture, and a rule has to be learned from many pictures.
#
# Say it openly: SAM-mini's decoder met single tokens that name things in its pre-training (sums of "large", "glass", "bell"), beside points and boxes. So it knows what a token with a meaning is. (SAM's authors tried prompts made of text too, but published weights for points, boxes and masks only.) What no pre-training told it is which *sound* goes with which token.

# %% [markdown]
# ## 3. A sound as a prompt token
# So the idea of GAVS is: leave SAM's prompt encoder aside, and let a small network make the token, from what is heard. The **semantic-aware audio prompt** (SAP) makes it of three parts:
#
# $$F_C = \mathrm{MLP}(\mathrm{GAP}(F_V)) \quad (1) \qquad F_A' = [F_C; F_N; F_A], \quad \mathrm{token} = \mathrm{MLP}(F_A') \quad (2)$$
#
# - $F_A$, the **audio**: the 128 numbers that VGGish makes of this second of sound.
# - $F_C$, the **visual cue**: the average of $F_V$ over the picture (GAP), sent through a small network to 128 numbers. The same sound can come from things that look different; the cue is meant to say which sort of picture this one is.
# - $F_N$, the **adaptive noise**: the paper calls it learnable and says no more.
#
# ### 3a. The cue, equation 1
# We load the trained GAVS. Its encoder has trained adapters, so its $F_V$ differs from SAM's.

# %%
gavs, notes = load_model("gavs")
gavs, vggish = gavs.to(device), load_vggish("mini").to(device)
sap = gavs.prompt
stems = render_stems(story.scene)  # each toy's voice
waves = [torch.from_numpy(mix(story.scene.playing(k), stems)) for k in range(len(names))]
F_A = torch.stack([embed_sound(vggish, wave, SAMPLE_RATE, story.scene.seconds)[second] for wave in waves]).to(device)
with torch.no_grad():
    F_V = gavs.sam.image_encoder(pixels)[second : second + 1].expand(len(names), -1, -1, -1)  # [K, C, 16, 16]
    average = F_V.mean(dim=(2, 3))  # GAP: [K, C]
    F_C = sap.cue[2](torch.relu(sap.cue[0](average)))  # (1): [K, 128]
    scattered = F_V.flatten(2)[:, :, torch.randperm(F_V[0, 0].numel())].view_as(F_V)  # every place somewhere else
    cue_of_scattered = sap(scattered, F_A)[1]

# %% [markdown]
# An average forgets where things are, and mixes all that is in the picture: toys that sound, toys that do not, and the floor. **We expect** the cue to stay the same when all places of $F_V$ change seats. So it can say what *sort* of picture this is, never where something is, and never which of the toys sounds.

# %%
largest = (F_C - cue_of_scattered).abs().max().item()
print(
    f"largest change of the cue when every place of F_V moves: {largest:.1e} (the cue's own numbers: {F_C.std():.2f})"
)
assert largest < 1e-3 * F_C.abs().max(), "the cue is an average over the picture"

# %% [markdown]
# ### 3b. The noise, three ways
# "Learnable adaptive noise" can be read in more than one way, so the library has three forms: `"parameter"`, one learned vector (the paper's words taken literally; the shipped weights use it); `"gaussian"`, $F_N = \sigma \odot \varepsilon$ with a learned $\sigma$ and an $\varepsilon$ that is drawn anew for each frame in training and is zero in evaluation; and `"none"`.
#
# Look at the first. A learned vector is the same for every picture and every sound, and what comes next is a linear layer. Cut its weights into three blocks of columns, one for each part:
#
# $$W F_A' + b = W_C F_C + W_N F_N + W_A F_A + b = W_C F_C + W_A F_A + \underbrace{(b + W_N F_N)}_{\text{a constant}}.$$
#
# The last bracket depends on no input: it is another bias. **We expect**: a prompt *without* noise, whose bias is $b + W_N F_N$, makes the same tokens.

# %%
first, last = sap.projection[0], sap.projection[2]  # the two layers of the MLP in equation 2
W_C, W_N, W_A = first.weight.split([F_C.shape[1], len(sap.noise), F_A.shape[1]], dim=1)
plain = SemanticAwareAudioPrompt(F_V.shape[1], hidden=first.out_features, noise="none").to(device)
with torch.no_grad():
    plain.cue.load_state_dict(sap.cue.state_dict())
    plain.projection[2].load_state_dict(last.state_dict())
    plain.projection[0].weight.copy_(torch.cat([W_C, W_A], dim=1))
    plain.projection[0].bias.copy_(first.bias + W_N @ sap.noise)
    with_noise, without_noise = sap(F_V, F_A)[0], plain(F_V, F_A)[0]  # both [K, 1, C]
noise_difference = (with_noise - without_noise).abs().max().item()
print(f"largest difference between the tokens: {noise_difference:.1e} (their own numbers: {with_noise.std():.2f})")
assert noise_difference < 1e-4 * with_noise.abs().max(), "a learned vector in front of a linear layer is a bias"

# %% [markdown]
# So in this form the noise cannot make the model express anything new. (It can change how training goes: gradients reach the same bias by one more way.) The Gaussian form is different: it blurs the token in training, so that the decoder must cope with tokens that are a little off.
#
# **We expect**, for one and the same picture and sound given forty times to an untrained prompt: tokens that differ with `"gaussian"` in training, and only there.

# %%
rows = []
for form in NOISE_FORMS:
    prompt = SemanticAwareAudioPrompt(F_V.shape[1], noise=form).to(device)
    with torch.no_grad():
        many = [prompt.train(on)(F_V[:1].expand(40, -1, -1, -1), F_A[:1].expand(40, -1))[0] for on in (True, False)]
    spread = [(tokens - tokens[:1]).abs().max().item() for tokens in many]
    rows.append((form, sum(p.numel() for p in prompt.parameters()), *spread))
forms = pd.DataFrame(rows, columns=["noise", "learned numbers", "training", "evaluation"]).set_index("noise")
print("largest difference between two of the forty tokens")
display(forms.map(lambda number: f"{number:.1e}" if isinstance(number, float) else f"{number:,}"))
assert forms.loc["gaussian", "training"] > 1e-3 > 10 * forms.drop("gaussian")["training"].max()
assert forms["evaluation"].max() < 1e-4, "evaluation is deterministic"

# %% [markdown]
# ### 3c. The token, equation 2, and its mask
# Join the three, project them, and hand the token to SAM's decoder where a click's tokens went before. We do it for one picture and the voice of each of its toys. **We expect** our token to be the library's, the masks to be those of the whole model, and each mask to lie on the toy whose voice is played.

# %%
with torch.no_grad():
    F_N = sap.noise.expand(len(names), -1)  # [K, 128]
    joined = torch.cat([F_C, F_N, F_A], dim=1)  # F_A': [K, 384]
    token = last(torch.relu(first(joined)))[:, None]  # (2): [K, 1, C]
    from_library, cue = sap(F_V, F_A)
    logits, _ = decode_masks(gavs.sam.mask_decoder, F_V, gavs.sam.prompt_encoder.get_dense_pe(), token, no_mask)
    logits = F.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]  # [K, H, W]
assert torch.allclose(token, from_library, atol=1e-4) and torch.allclose(F_C, cue, atol=1e-4)
whole_model = play_each(gavs, vggish, story)[:, second]  # [K, H, W], probabilities
assert torch.allclose(logits.sigmoid().cpu(), whole_model, atol=1e-3), "our chain is the model's forward pass"

# %% tags=["report"]
heard = {"GAVS": logits.cpu().numpy() > 0}
iou_heard = mask_iou(logits, truth)
print("IoU with the toy that is played:", ", ".join(f"{name} {iou:.2f}" for name, iou in zip(names, iou_heard)))
plots.voices(drawn.frames[second], names, heard, "One picture, three sounds, one token each", drawn.masks[:, second])

# %% [markdown]
# **What we see.** Same picture, same cue, same noise; only the sound differs, and the mask goes where the sound belongs. Now the test which the tokens of section 2 failed: the mirrored picture. **We expect** the masks to move along.

# %%
with torch.no_grad():
    mirrored_pixels = pixels[second : second + 1].flip(-1)
    F_V_mirrored = gavs.sam.image_encoder(mirrored_pixels).expand(len(names), -1, -1, -1)
    for source, made_from in (("this picture", F_V), ("the mirrored one", F_V_mirrored)):
        tokens, _ = sap(made_from, F_A)
        logits, _ = decode_masks(gavs.sam.mask_decoder, F_V_mirrored, position, tokens, no_mask)
        logits = F.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]
        iou_mirrored = mask_iou(logits, truth.flip(-1))
        print(f"token made of sound and {source}: mean IoU in the mirrored picture {iou_mirrored.mean():.2f}")
print(f"found by gradient descent in section 2: {iou_moved.mean():.2f}")
assert iou_mirrored.mean() > 0.5, "a token made of sound means the toy, wherever it stands"

# %% [markdown]
# A token that is made of sound does not know the place, and need not: it says *what*, and the decoder finds *where*.

# %% [markdown]
# ## 4. What the token depends on
# The token is made of a picture's cue and a sound. Which of the two decides what it becomes? We draw fresh clips, take the cue of each and the sound of each, and make the token of **every pair**: $t_{ij}$ of picture $i$ and sound $j$. Then we split how much these tokens vary, as one does with a table of two factors:
#
# $$\overline{\lVert t_{ij} - \bar t \rVert^2} = \underbrace{\overline{\lVert \bar t_{\cdot j} - \bar t \rVert^2}}_{\text{by sound}} + \underbrace{\overline{\lVert \bar t_{i \cdot} - \bar t \rVert^2}}_{\text{by picture}} + \text{rest},$$
#
# where a dot stands for an average over that index. The rest is what depends on the pair.
#
# **We expect** the sound to decide most of it, for it alone tells toys apart; and the picture to have a smaller share, but one worth the paper's trouble.

# %%
made, features = toyshop_features({("v1s", "test"): clips}, gavs, vggish, cache, seed=seed)


@torch.no_grad()
def cues_of(network) -> torch.Tensor:
    """F_C of every second of every clip, [N, T, 128]."""
    cues = []
    for start in range(0, len(features), 8):
        batch = collate([features[i] for i in range(start, min(start + 8, len(features)))])
        cues.append(network(None, batch["audio"].to(device), prefix=batch["prefix"].to(device)).visual_cue.cpu())
    return torch.cat(cues)


cues, sounds = cues_of(gavs), features.audio  # both [N, T, 128]

# %%
n = len(features)
with torch.no_grad():
    of_picture, of_sound = cues[:, None, second].expand(n, n, -1), sounds[None, :, second].expand(n, n, -1)
    pairs = torch.cat([of_picture, sap.noise.cpu().expand(n, n, -1), of_sound], dim=2)  # F_A' of every pair
    t = sap.projection(pairs.to(device)).cpu()  # [N pictures, N sounds, C]
middle = t.mean(dim=(0, 1))
total = (t - middle).square().sum(dim=2).mean()
by_sound = ((t.mean(dim=0) - middle).square().sum(dim=1).mean() / total).item()
by_picture = ((t.mean(dim=1) - middle).square().sum(dim=1).mean() / total).item()
rest = 1 - by_sound - by_picture
print(f"of the tokens' variation, {by_sound:.3%} is by sound, {by_picture:.3%} by picture, {rest:.3%} the rest")

# %%
assert by_sound > by_picture, "the prompt must tell sounds apart, more than pictures"

# %% [markdown]
# **What we see** is not what we expected: the share of the picture is next to nothing. Why? Look at what reaches the first layer of equation 2.

# %%
inputs = {"cue": cues[:, second].to(device), "audio": sounds[:, second].to(device)}
rows = []
for name, weight in (("cue", W_C), ("audio", W_A)):
    with torch.no_grad():
        reaches = inputs[name] @ weight.T  # this part's summand in the first layer, [N, hidden]
    moves = (reaches - reaches.mean(dim=0)).square().sum(dim=1).mean().sqrt().item()
    rows.append((name, inputs[name].std().item(), weight.norm().item(), moves))
columns = ["part", "its numbers (std)", "its weights (norm)", "moves the first layer by"]
sizes = pd.DataFrame(rows, columns=columns).set_index("part")
display(sizes.round(2))
louder = (sizes.loc["audio"] / sizes.loc["cue"])["moves the first layer by"]
print(f"the audio is {louder:.0f} times as loud as the cue")
assert louder > 5, "the audio outshouts the cue"

# %% [markdown]
# The weights are about equally large, but the cue's own numbers are tiny beside those of the audio embedding. Nothing in the training made them larger: the triplet loss looks at *cosines*, which do not change with length, and the masks could be learned without the cue. So a cue may mean something and still not be heard. Is it so? First we ask what it means.

# %% [markdown]
# ## 5. Are pictures and sounds aligned?
# The paper wants the cue to be *semantic*: it adds a triplet loss that pulls a clip's cue towards its own sound, and away from the nearest sound of another clip. Both are averaged over the clip's seconds (9), $v = \frac1T\sum_t F_C^t$ and $a = \frac1T\sum_t F_A^t$; with the cosine similarity $s$ and a margin $m$,
#
# $$\ell_i = \Big[\,m - s(v_i, a_i) + \max_{j \ne i} s(v_i, a_j)\Big]_+ \quad (10)$$
#
# ($[x]_+$ is $x$ where it is positive, and 0 elsewhere.) If all cues are alike, or point nowhere in particular, then $s(v_i, a_i)$ is never above the largest of the others, and $\ell_i \ge m$. [Notebook 05](05_training.ipynb) trains with this loss; there it only just leaves its margin. Here we ask what the full training reached.
#
# To be fair to the loss, each clip below stands for a class of its own: with two clips of the same class, one could not tell their sounds apart, nor should one.

# %%
torch.manual_seed(seed)
untrained = build_model("gavs").to(device).eval()  # SAM's own encoder, and a prompt of random weights
one_each = [features.labels.index(label) for label in sorted(set(features.labels))][:12]  # one clip a class
v = {"untrained": clip_average(cues_of(untrained)), "trained": clip_average(cues)}
a = clip_average(sounds)
s = {name: F.cosine_similarity(vectors[:, None], a[None], dim=2) for name, vectors in v.items()}  # [N, N]
display(plots.similarities(s["untrained"][one_each][:, one_each], "Before training: pictures and sounds"))
plots.similarities(s["trained"][one_each][:, one_each], "After training: pictures and sounds")

# %% [markdown]
# First the loss, by hand and by the library.

# %%
losses = {}
for name, matrix in s.items():
    chosen = matrix[one_each][:, one_each]
    own = chosen.diagonal()
    others = chosen.masked_fill(torch.eye(len(own), dtype=torch.bool), -1).amax(dim=1)
    losses[name] = torch.relu(margin - own + others).mean().item()
    from_library = semantic_loss(v[name][one_each], a[one_each], margin).item()
    print(f"{name}: equation 10 by hand {losses[name]:.4f}, the library's {from_library:.4f}; margin {margin}")
    assert abs(losses[name] - from_library) < 1e-4, "equation 10"
assert losses["trained"] > margin / 2, "an average over the picture cannot say which of its toys sounds"

# %% [markdown]
# **What we see.** Before training there are stripes: every picture resembles the same sounds, whatever it shows. After training there is a diagonal, with some bright places beside it. And yet the loss of equation 10, on these fresh clips, is still at the margin or above it; with some seeds it is even higher than before training. How can that be? The loss counts the *nearest* wrong sound only, of a dozen here (training compared eight clips at a time), and a picture shows silent toys as well. If the cue resembles the sounds of all its toys alike, the loss is at least $m$, however well the cue knows them.
#
# So we leave out of the negatives the sounds of toys that stand in the picture. **We expect** that to lower the loss after training, if the cue knows these toys, and to make next to no difference before.

# %%
shows = torch.tensor(
    [[label in {toy.name for toy in recipe.scene.toys} for label in features.labels] for recipe in made]
)
absent_only = {}
for name, matrix in s.items():
    chosen, present = matrix[one_each][:, one_each], shows[one_each][:, one_each]
    nearest = chosen.masked_fill(present, -1).amax(dim=1)  # its own toy is among those present
    absent_only[name] = torch.relu(margin - chosen.diagonal() + nearest).mean().item()
    print(
        f"{name}: {losses[name]:.3f} with all negatives, {absent_only[name]:.3f} without sounds of toys in the picture"
    )
relief = {name: losses[name] - absent_only[name] for name in losses}
assert relief["trained"] > relief["untrained"] + 0.01, "after training, the silent toys must be what holds the loss up"

# %% [markdown]
# A loss is hard to judge. *Retrieval* is easier: put a picture before a gallery of sounds, one of each class, take the sound whose $a_j$ its cue resembles most, and count how often it is the right one: **recall@1**. The same picture may be asked for two things:
#
# - its **own** sound: which of its toys does one hear? No picture can tell; the best it could do is to choose one of its toys, so it can be right in one case of two to four.
# - the sound of **any** of its toys: does the cue at least know what is in the picture?

# %%
rng, rows = np.random.default_rng(seed), []
for _ in range(galleries):
    gallery = list({features.labels[i]: i for i in rng.permutation(n)}.values())  # one clip a class
    present = shows[gallery][:, gallery].float()  # [pictures, sounds]: is this sound's toy in that picture?
    rows += [(i, "chance", 1 / len(gallery), p.mean().item()) for i, p in zip(gallery, present)]
    rows += [(i, "one of its toys", 1 / p.sum().item(), 1.0) for i, p in zip(gallery, present)]
    for name, matrix in s.items():
        best = matrix[gallery][:, gallery].argmax(dim=1)
        hits = (best == torch.arange(len(gallery))).float()
        rows += [(i, name, h.item(), p[b].item()) for i, h, p, b in zip(gallery, hits, present, best)]
found = (
    pd.DataFrame(rows, columns=["clip", "name", "own sound", "any toy in the picture"]).groupby(["name", "clip"]).mean()
)

# %%
kinds = {"chance": "guess", "untrained": "deaf", "trained": "hears", "one of its toys": "guess"}
table = []
for group, name in itertools.product(found.columns, kinds):
    values = found.loc[name, group]
    low, high = interval(values)
    table.append(dict(group=group, name=name, kind=kinds[name], value=values.mean(), low=low, high=high))
retrieval = pd.DataFrame(table)
recall = retrieval.set_index(["group", "name"])["value"]
print(f"galleries of {len(gallery)} sounds, one a class")
plots.scores(retrieval, "Which sound does the cue of a picture choose?", "share of the pictures (recall@1)")

# %%
gained = recall["any toy in the picture", "trained"] - recall["any toy in the picture", "chance"]
assert gained > 0.25, "the cue must find the sound of some toy in the picture far more often than by chance"

# %% [markdown]
# **What we see.** The triplet loss did align the two: pictures and sounds were never pre-trained together, and now the average of a picture finds the sound of something in it most of the time. Own sounds are found not much less often than one can hope: "one of its toys" is someone who knows all toys of the picture and picks one at random. (The untrained cue can do worse than chance: with stripes, nearly all pictures choose the same sound, and that is right for few.) More cannot be had, for nothing in these pictures tells which toy sounds. Two lessons: judge a loss by what it is about, not by its distance from zero; and an average over a picture is a list of its contents at best.

# %% [markdown]
# ## 6. Prompt surgery: what each part contributes
# A trained prompt can be operated on: replace one part before the three are joined, and see what the masks lose. Zeros are the crudest replacement, but a vector of zeros may be something that the network never met, and then it fails for being surprised, not for lack of information. So the cue is also replaced by its average over all clips (nothing surprising, nothing said), and by that of another frame (nothing surprising, something wrong said). The noise is a constant, so its "average" is itself; and for the audio we take the sound of a clip in which other classes sound.
#
# A module with the same call as the library's prompt can take its place in the model.


# %%
class OperatedPrompt(torch.nn.Module):
    """A trained prompt in which some parts are replaced: name of the part -> what is made of it."""

    def __init__(self, prompt: SemanticAwareAudioPrompt, **replace):
        super().__init__()
        self.prompt, self.replace = prompt, replace

    def forward(self, image_embedding, audio):
        cue = self.prompt.cue(image_embedding.mean(dim=(2, 3)))
        parts = {"cue": cue, "noise": self.prompt.noise.expand(len(audio), -1), "audio": audio}
        for name, change in self.replace.items():
            parts[name] = change(parts[name])
        return self.prompt.projection(torch.cat(list(parts.values()), dim=1))[:, None], cue


# %%
bank = cues.flatten(0, 1).to(device)  # the cues of all frames, [N * T, 128]
chance = torch.Generator().manual_seed(seed)


def average_cue(cue):
    return bank.mean(dim=0).expand_as(cue)


def another_cue(cue):
    return bank[torch.randint(len(bank), (len(cue),), generator=chance)]


# %%
other_sound, no_sound, zeros = shuffled(features, seed), silent(features, vggish), torch.zeros_like
operations = {  # name -> (replaced parts, clips)
    "whole prompt": ({}, features),
    "cue: average": ({"cue": average_cue}, features),
    "cue: other frame's": ({"cue": another_cue}, features),
    "cue: zeros": ({"cue": zeros}, features),
    "noise: zeros": ({"noise": zeros}, features),
    "audio alone": ({"cue": zeros, "noise": zeros}, features),
    "audio: other clip's": ({}, other_sound),
    "audio: silence": ({}, no_sound),
    "audio: zeros": ({"audio": zeros}, features),
}

# %% [markdown]
# **We expect**, from section 4, that the audio decides nearly everything, and that the cue, for all it knows, can be taken out without harm. As a floor stands the *deaf twin*, the same model trained without sound.

# %%
each = {}
for name, (replace, heard_clips) in operations.items():
    gavs.prompt = OperatedPrompt(sap, **replace)
    each[name] = score(gavs, heard_clips, batch_size=4)["miou"]
gavs.prompt = sap
deaf, _ = load_model("gavs_deaf")
each["deaf twin"] = score(deaf.to(device), no_sound, batch_size=4)["miou"]
unoperated = score(gavs, features.subset(range(4)), batch_size=4)["miou"]
assert np.allclose(each["whole prompt"][:4], unoperated, atol=1e-3), "the operation itself does no harm"

# %% tags=["report"]
table = []
for name, values in each.items():
    low, high = interval(values)
    kind = "deaf" if name.startswith(("audio: ", "deaf")) else "hears"
    table.append(dict(group="one toy sounds", name=name, kind=kind, value=values.mean(), low=low, high=high))
surgery = pd.DataFrame(table).set_index("name")
surgery["change"] = surgery["value"] - surgery.loc["whole prompt", "value"]
surgery["interval of the change"] = [
    "{:+.2f} to {:+.2f}".format(*interval(values - each["whole prompt"])) for values in each.values()
]
display(surgery[["value", "change", "interval of the change"]].rename(columns={"value": "mean IoU"}).round(2))
plots.scores(surgery.reset_index(), f"Surgery on the trained prompt, {clips} clips")

# %%
value = surgery["value"]
assert value["whole prompt"] - value["audio: other clip's"] > 0.3, "the masks must come from the sound"
assert value["whole prompt"] > value["deaf twin"] + 0.15, "and hearing must be worth something"

# %% [markdown]
# **What we see.** The masks come from the audio alone. Taking out the cue, or giving it wrong, changes the score by nothing that could be measured. Taking out the noise changes little; and what it changes says only that a bias is missing, to which the rest was tuned. (Another clip's sound gives almost nothing, since it usually belongs to a toy that is not there. Silence gives nothing: such an embedding says "nothing sounds". Zeros are not silence but a vector that no sound gives, and the model then marks some toy or other, as well as the deaf twin does.)
#
# Does that mean that the cue is useless? Two cautions.
#
# - *Surgery is not training.* It says what **this** model uses. What a model could do that was never given the part, only training it without can tell. The course has done that: in `data/results/tuning.csv` compare the rows `base`, `no cue` and `gaussian noise`. They differ by no more than chance, so both methods agree here.
# - *This is the toy shop.* A sound names one toy here, by family, size and material, and what makes it always looks the same. Real sounds do not: a dog and a wolf, a car seen from within. On AVSBench V2 the paper finds its whole prompt (cue, noise and triplet loss together, Table 5) better than the audio alone; it does not take the three apart. The question to take along to real data is that of section 4: is the cue loud enough to be heard?

# %% [markdown]
# ### Operate yourself
# The same with the picture of section 1 and all of its seconds. First all eight choices at once, for one second; then one of them, with what is left of the prompt drawn beside the mask; then the same figure with controls. (Tab reaches the controls, the space bar and the arrow keys change them.)

# %%
parts = ("cue", "noise", "audio")
own_voice = torch.stack([wave for toy, wave in zip(story.scene.toys, waves) if toy in story.scene.heard])[0]
audio = embed_sound(vggish, own_voice, SAMPLE_RATE, story.scene.seconds)[None].to(device)  # [1, T, 128]
prefix = gavs.encode_prefix(resize_frames(drawn.frames, gavs.sam.image_encoder.img_size)[None].to(device))
left = {}
for kept in itertools.product((True, False), repeat=len(parts)):
    gavs.prompt = OperatedPrompt(sap, **{part: zeros for part, there in zip(parts, kept) if not there})
    with torch.no_grad():
        logits = gavs(None, audio, prefix=prefix).mask_logits
    left[kept] = (F.interpolate(logits, size, mode="bilinear", align_corners=False)[0] > 0).cpu().numpy()  # [T, H, W]
gavs.prompt = sap

# %%
sounding = drawn.masks[[toy in story.scene.heard for toy in story.scene.toys]].any(axis=0)  # [T, H, W]
shown = {}
for kept, masks in left.items():
    name = " + ".join(part for part, there in zip(parts, kept) if there)
    shown[{3: "whole", 0: "nothing"}.get(sum(kept), name)] = plots.overlay(drawn.frames[second], masks[second])
plots.pictures(shown, f"The {story.a_obj} sounds: what is left in the prompt", columns=4)

# %%
kept = {"cue": False, "noise": True, "audio": True}
mask = left[tuple(kept.values())][second]
plots.prompt_parts(drawn.frames[second], mask, kept, f"second {second}, without the cue", sounding[second])

# %%
begun = time.perf_counter()
operate = widgets.prompt_surgery(drawn.frames, left, parts, sounding)
operate.cue.value = False
operate.cue.value = True
print(f"the widget drew three pictures in {time.perf_counter() - begun:.2f} s")
operate

# %% [markdown]
# ## Results
# The figures of this page, as JSON, for the table that `make run` prints.

# %%
metrics = {
    "miou_click": float(miou_click),
    "miou_box": float(miou_box),
    "token_share_sound": by_sound,
    "token_share_picture": by_picture,
    "semantic_untrained": losses["untrained"],
    "semantic_trained": losses["trained"],
    "semantic_trained_absent_only": absent_only["trained"],
    "recall_own_trained": recall["own sound", "trained"],
    "recall_own_chance": recall["own sound", "chance"],
    "recall_any_trained": recall["any toy in the picture", "trained"],
    "recall_any_chance": recall["any toy in the picture", "chance"],
}

# %%
metrics |= {"miou_" + name.replace(": ", "_").replace(" ", "_").replace("'", ""): value[name] for name in each}
over = {"miou_" + name.replace(": ", "_").replace(" ", "_").replace("'", ""): values for name, values in each.items()}
over |= {"miou_click": placed[:, 0], "miou_box": placed[:, 1]}
over |= {"recall_own_trained": found.loc["trained", "own sound"]}
over |= {f"recall_any_{name}": found.loc[name, "any toy in the picture"] for name in ("trained", "chance")}
intervals = {name: interval(values) for name, values in over.items()}  # 95 %, over clips
facts = {"metrics": metrics, "intervals": intervals, "seed": seed, "clips": clips}
facts |= {"world": fingerprint(), "torch": torch.__version__}
Path(output, "03_semantic_aware_prompt.json").write_text(json.dumps(facts, indent=1))
print(f"this page took {time.perf_counter() - started:.0f} s")
pd.Series(metrics).round(3)

# %% [markdown]
# ## Summary
# - To SAM's decoder a prompt is a few vectors. A click is a position code and a learned vector; GAVS makes one vector of a sound.
# - The semantic-aware audio prompt joins a visual cue (an average of the picture's features), noise and the audio embedding, and projects them to one token.
# - A learned vector in front of a linear layer is a bias. As "adaptive noise" it adds nothing that can be expressed.
# - The triplet loss aligned pictures and sounds, although its value hardly tells: a picture shows silent toys too, and an average cannot say which toy sounds.
# - In the shipped model the cue knows much and says little: the token is decided by the audio. To find such a thing one has to measure what a part *does*, not only what it *knows*.
#
# ## Quiz
# 1. Could the cue alone, without any audio, make a good prompt?
#    <details><summary>Answer</summary>Not for telling which toy sounds: it is the same whichever of them does. At best it could prompt for what usually sounds, like the deaf twin.</details>
# 2. Somebody replaces the learned vector $F_N$ by $F_N = W_N' F_A$, a linear function of the audio. Does that add anything?
#    <details><summary>Answer</summary>Not to what the first layer can express: $W_N W_N' F_A$ is one more linear function of $F_A$, and $W_A F_A$ is one already.</details>
# 3. In a batch, two clips show the same two toys; in each, another of them sounds. What is the least that equation 10 can be for the pair?
#    <details><summary>Answer</summary>If the two cues are equal, then $s(v, a_1)$ and $s(v, a_2)$ are the same two numbers for both clips. What one clip gains, the other loses: before the hinge the two losses add up to $2m$, so their mean is at least $m$. That is one reason why the value stays near the margin.</details>
# 4. You set the cue to zero and the score falls by 0.3. Does the model need the information in the cue?
#    <details><summary>Answer</summary>Perhaps not: it may just never have met zeros. Replace the cue by its average too. If the score stays up then, the information was not needed.</details>
# 5. How could one make the cue louder without touching the loss?
#    <details><summary>Answer</summary>Normalise both $F_C$ and $F_A$ before they are joined (a LayerNorm each, say). Whether it helps is a question for a training, with and without: <code>GAVS(sam, config, prompt=your_module)</code> takes a prompt of your own.</details>
#
# ## References
# - Y. Wang et al., *Prompting Segmentation with Sound Is Generalizable Audio-Visual Source Localizer* (GAVS), AAAI 2024.
# - A. Kirillov et al., *Segment Anything*, ICCV 2023.
# - F. Schroff et al., *FaceNet: A Unified Embedding for Face Recognition and Clustering* (triplet loss), CVPR 2015.
# - M. Tancik et al., *Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains* (SAM's position code), NeurIPS 2020.
#
# ## Next
# [05 · Training](05_training.ipynb): where these weights come from. Set `semantic_weight` to 0 there, and see whether the masks miss it. To see the finished model listen, [00 · Quick start](00_quick_start.ipynb).
