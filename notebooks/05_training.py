# %% [markdown]
# # 05 · Training: GAVS, from a folder of clips to a model that listens
#
# *About five minutes on a two-core laptop without GPU, offline; three of them are training.*
#
# **What you will do**
#
# 1. write the toy shop as a folder in the layout of AVSBench-semantic, and read it with the very reader that reads the real data set,
# 2. compute once what never changes in training, and keep it,
# 3. build GAVS piece by piece, each piece in a few lines beside the library's,
# 4. see what trains, and check that gradients reach exactly that,
# 5. compute the losses, equations 8 to 11, by hand,
# 6. train GAVS and its *deaf twin*, interrupt a training and resume it without a trace,
# 7. measure both, with controls that a model which only looks cannot pass.
#
# **Reads:** the miniature weights that come with the course; or, if you set `data_root`, your own AVSBench-semantic folder, in the same cells. **Writes** to `output_dir`: the toy shop's folder, the runs, a cache of features, and `05_training.json`.
#
# Equation numbers are those of the GAVS paper. This page needs no other one to have been run before.

# %% tags=["parameters"]
data_root: str = ""  # folder of AVSBench-semantic (metadata.csv, v1s/, v1m/, v2/); "": the toy shop is drawn
subsets: list = ["v1s", "v1m"]  # which of its subsets
train_clips: int = 160  # clips of each subset to train on; 0: all
val_clips: int = 20  # to choose the best epoch with
test_clips: int = 30  # to measure
sam_name: str = "mini"  # "mini", "vit_b", "vit_l" or "vit_h"
sam_checkpoint: str = "shipped"  # "shipped" (mini only), "official" (fetched), a path, or "" for random weights
image_size: int = 0  # side of the square that SAM sees, in pixels; 0: SAM's own (mini 128, others 1024)
vggish_checkpoint: str = "mini"  # "mini", "official" (fetched), or the path of VGGish weights
adapter_width: int = 32  # bottleneck of the visual adapters (the release: 128)
cola_width: int = 32  # bottleneck of ColA (the release: 128)
steps: int = 240  # optimiser steps of each of the two trainings
batch_size: int = 8  # clips a step
lr: float = 1e-3  # AdamW's learning rate (the release's)
dice_weight: float = 1.0  # Dice beside the cross-entropy; 0 is the paper's loss
semantic_weight: float = 0.1  # lambda of equation 11
margin: float = 0.3  # m of equation 10
swap_clips: int = 15  # clips whose sounds are swapped (toy shop only)
cache_budget: float = 20e9  # bytes; if the cached features need more, they are computed again in each step
seed: int = 1  # of the clips, the weights at the start and the order of training
device: str = "auto"  # "cpu", "cuda", or "auto": the GPU if there is one
output_dir: str = "build"  # where everything is written
cache_dir: str = ""  # where features are kept; "": a folder in output_dir

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
import json
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from IPython.display import display

if device == "auto":
    device = "cuda" if torch.cuda.is_available() else "cpu"
page_started = time.perf_counter()
print(f"Python {platform.python_version()}, torch {torch.__version__}, device {device}, seed {seed}")

# %%
from gavs_lib import GAVS, GAVSConfig, build_sam, load_vggish
from gavs_lib.course import plots, widgets
from gavs_lib.data import AVSBench
from gavs_lib.lab.evaluate import interval, score, shuffled, silent, swap_test
from gavs_lib.lab.features import embed_sound, extract_features, resize_frames
from gavs_lib.lab.official import named_weights
from gavs_lib.lab.shipped import load_model
from gavs_lib.lab.toyshop import scene_clip, toyshop_features
from gavs_lib.lab.train import FitConfig, collate, fit, predict_masks
from gavs_lib.losses import clip_average, segmentation_loss, semantic_loss
from gavs_lib.sam import fuse_attention
from gavs_lib.world.folder import DEFAULT_COUNTS, fingerprint, recipe, recipes, write_folder

# %% [markdown]
# ## 1. The data: a folder of clips
# AVSBench-semantic keeps each clip in a folder of its own: one picture a second, the sound, and for labelled seconds a picture of what sounds.
#
#     <root>/metadata.csv                       vid, uid, s_min, s_sec, a_obj, split, label
#     <root>/v1s/<uid>/frames/0.jpg ... 4.jpg   audio.wav   labels_rgb/0.png ... 4.png
#
# `v1s` has one sounding object in a clip of five seconds, `v1m` several that change by the second, `v2` is ten seconds long. We draw the toy shop in this layout, unless you gave a folder of your own; from here on nothing below knows which of the two it reads.

# %%
output = Path(output_dir)
cache = Path(cache_dir) if cache_dir else output / "cache"
splits = {"train": train_clips, "val": val_clips, "test": test_clips}
toyshop = data_root == ""
if toyshop:
    counts = {
        (s, split): count or DEFAULT_COUNTS.get((s, split), 20) for s in subsets for split, count in splits.items()
    }
    root = write_folder(output / f"toyshop-{seed}", seed=seed, counts=counts)
else:
    root = Path(data_root)
    if "mini" in (sam_name, vggish_checkpoint):
        print("Warning: SAM-mini and VGGish-mini know toys only. For real data set sam_name, sam_checkpoint and")
        print("vggish_checkpoint to official weights; as it is, this page shows that your folder can be read, no more.")


# %%
def first_clips(split: str, most: int) -> AVSBench:
    """The first clips of a split, `most` of each subset; all if it is 0."""
    rows = AVSBench(root, subsets, split).rows
    return AVSBench.from_rows(root, rows.groupby("label").head(most) if most else rows)


data = {split: first_clips(split, most) for split, most in splits.items()}

# %%
summary = pd.concat(clips.rows.assign(split=split) for split, clips in data.items())
display(summary.groupby(["split", "label"])["labelled"].agg(clips="count", labelled_seconds="sum"))
shown = [data["train"][i] for i in range(0, len(data["train"]), max(1, len(data["train"]) // 5))][:6]
plots.pictures(
    {
        clip.a_obj.replace("_", "\n") + " " * i: plots.overlay(clip.frames[0], clip.masks[0])
        for i, clip in enumerate(shown)
    },
    "Training clips, first second: what sounds is orange",
)

# %% [markdown]
# Note the number of labelled seconds: in the training part of `v1s` only the first second of a clip is labelled, as in the real data set. In `v1m`, all are.
#
# **We expect** that the reader gives back what the program drew: the same masks, pixel by pixel.

# %%
clip = data["train"][0]
if toyshop:
    drawn = scene_clip(recipe(subsets[0], "train", 0, seed=seed))
    assert clip.uid == drawn.uid and np.array_equal(clip.masks, drawn.masks), "the folder holds what was drawn"
    assert np.array_equal(clip.has_mask, drawn.has_mask), "and labels the same seconds"
else:
    print("The comparison with the drawing program needs the toy shop; skipped, this is your folder.")
assert not clip.masks[~clip.has_mask].any(), "an unlabelled second has an empty mask, which must never be learned"

# %% [markdown]
# ## 2. What never changes is computed once
# Only the later blocks of SAM's encoder train. What enters the first of them, the *prefix*, is the same in every step, and so is the audio embedding $F_A$ that the frozen VGGish makes of each second. `extract_features` computes both once and keeps them on disk, under a name that hashes the weights, the settings and the clips.


# %%
def new_sam():
    """SAM as it was pre-trained."""
    sam = build_sam(sam_name, named_weights(sam_checkpoint, sam_name) or None, image_size or None)
    if sam_name != "mini":
        fuse_attention(sam)  # at 1024 pixels, attention as SAM writes it fills the memory of most GPUs
    return sam


def new_model() -> GAVS:
    """An untrained GAVS; the same at every call."""
    torch.manual_seed(seed)
    config = GAVSConfig(adapter_width=adapter_width, cola_width=cola_width, noise="parameter")
    return GAVS(new_sam(), config).to(device)


model, vggish = new_model(), load_vggish(named_weights(vggish_checkpoint, "vggish")).to(device)

# %%
for call in ("first", "second"):
    begun = time.perf_counter()
    features = {
        split: extract_features(clips, model, vggish, cache, cache_budget=cache_budget, progress=call == "first")
        for split, clips in data.items()
    }
    print(f"{call} call: {sum(map(len, features.values()))} clips in {time.perf_counter() - begun:.1f} s")
assert all(len(features[split]) == len(data[split]) for split in splits)

# %% [markdown]
# **We expect** the model to give the same masks from the prefix as from the pictures, and to be faster.

# %%
images = resize_frames(clip.frames, model.sam.image_encoder.img_size).to(device)  # [T, 3, S, S]
F_A = embed_sound(vggish, clip.waveform, clip.sample_rate, clip.seconds).to(device)  # [T, 128]
prefix = model.encode_prefix(images[None])  # [1, T, S/patch, S/patch, C]
seconds, masks_from = {"pictures": [], "prefix": []}, {}
with torch.no_grad():
    for _ in range(5):
        for name, given in (("pictures", (images[None], F_A[None])), ("prefix", (None, F_A[None], prefix))):
            begun = time.perf_counter()
            masks_from[name] = model(*given).mask_logits
            seconds[name].append(time.perf_counter() - begun)
ratio = np.median(seconds["pictures"]) / np.median(seconds["prefix"])
print(f"from the prefix a clip takes {np.median(seconds['prefix']) * 1e3:.0f} ms, {ratio:.1f} times as fast")
assert torch.allclose(*masks_from.values(), atol=1e-4), "the prefix must give the masks that the pictures give"

# %% [markdown]
# ## 3. The model, piece by piece
# ### 3a. Adapters: how a frozen network learns
# Behind the MLP of each later block stands a *bottleneck*: $y + W_2\,\mathrm{act}(W_1 y)$ with $y = \mathrm{MLP}(x)$. $W_1$ is `adapter.down`, $W_2$ is `adapter.up`. The image encoder uses ReLU. The mask decoder has the same thing behind its two MLPs, with GELU: the **correlation adapter** ColA, equation 4, $F_P' = \mathrm{ColA}(\mathrm{MLP}(F_{ctx})) + \mathrm{MLP}(F_{ctx})$.
#
# $W_2$ starts at zero. **We expect**: an untrained GAVS sees exactly as SAM does, to the last bit.

# %%
mlp = model.sam.image_encoder.blocks[-1].mlp
cola = model.sam.mask_decoder.transformer.layers[0].mlp
for name, block, activation in (("visual adapter", mlp, F.relu), ("ColA", cola, F.gelu)):
    if not hasattr(block, "adapter"):
        print(f"{name}: switched off, its width is 0")
        continue
    x = torch.randn(2, block.lin1.in_features, device=device)
    torch.nn.init.normal_(block.adapter.up.weight)  # something to see; put back below
    y = block.lin2(block.act(block.lin1(x)))  # SAM's own MLP
    by_hand = y + block.adapter.up(activation(block.adapter.down(y)))
    print(f"{name}: largest difference from the library {(by_hand - block(x)).abs().max().item():.1e}")
    assert torch.allclose(by_hand, block(x), atol=1e-4)
    torch.nn.init.zeros_(block.adapter.up.weight)

# %%
sam = new_sam().to(device)  # untouched
with torch.no_grad():
    pixels = (images - sam.pixel_mean) / sam.pixel_std
    F_V = model.sam.image_encoder(pixels)  # [T, C, S/patch, S/patch]
    assert torch.equal(F_V, sam.image_encoder(pixels)), "an untrained GAVS sees as SAM does"

# %% [markdown]
# ### 3b. The semantic-aware audio prompt
# What SAM gets instead of a click: one token, made of the sound and of the picture it goes with.
#
# $$F_C = \mathrm{MLP}(\mathrm{GAP}(F_V)) \quad (1) \qquad F_A' = [F_C; F_N; F_A], \quad \mathrm{token} = \mathrm{MLP}(F_A') \quad (2)$$
#
# GAP is the average over the picture; $F_C$, the *visual cue*, has the size of $F_A$, so that the two can be compared (equation 10 does). $F_N$ is a learned vector, which the paper calls adaptive noise.

# %%
sap = model.prompt
with torch.no_grad():
    F_C = sap.cue(F_V.mean(dim=(2, 3)))  # (1): [T, 128]
    F_N = sap.noise.expand(len(F_C), -1)  # [T, 128]
    token = sap.projection(torch.cat([F_C, F_N, F_A], dim=1))[:, None]  # (2): [T, 1, C]
    from_library, cue = sap(F_V, F_A)
assert torch.allclose(token, from_library, atol=1e-5) and torch.allclose(F_C, cue, atol=1e-5)
print(f"one prompt token of {token.shape[-1]} numbers for each of the {len(token)} seconds")

# %% [markdown]
# ### 3c. The decoder, and the whole model
# The token goes where SAM's click tokens go, and SAM's own mask decoder (with ColA inside) does the rest, equations 3 to 7. SAM decodes one picture at a time; the library sends all frames of all clips through together. **We expect** the same masks.

# %%
with torch.no_grad():
    positions = sam.prompt_encoder.get_dense_pe()
    _, no_mask = sam.prompt_encoder(None, None, None)  # SAM's way to say that no mask was drawn
    one_by_one = []  # T times [1, 4S/patch, 4S/patch]
    for t in range(len(F_V)):
        here = slice(t, t + 1)
        decoded, _ = model.sam.mask_decoder(F_V[here], positions, token[here], no_mask, multimask_output=False)
        one_by_one.append(decoded[:, 0])
    together = model(images[None], F_A[None]).mask_logits[0]
difference = (torch.cat(one_by_one) - together).abs().max().item()
print(f"largest difference between our chain and the library's forward pass: {difference:.1e}")
assert difference < 1e-3 * max(1.0, together.abs().max().item())

# %% [markdown]
# **What we saw.** That is all of GAVS: SAM's encoder with adapters, one token made of sound and picture, SAM's decoder with adapters. `GAVS.forward` is these steps for a whole batch.

# %% [markdown]
# ## 4. What trains
# Everything of SAM and VGGish is frozen, but for the LayerNorms of the blocks with adapters.

# %%
model.trainable_summary()

# %% [markdown]
# **We expect** gradients to reach each of these tensors and nothing else. Two steps are needed to see it: while $W_2 = 0$, nothing flows back to $W_1$.


# %%
def run_model(network: GAVS, batch: dict):
    """Forward pass of a batch as `collate` makes it, on the network's device."""
    given = {name: batch[name].to(device) if name in batch else None for name in ("images", "prefix")}
    return network(given["images"], batch["audio"].to(device), prefix=given["prefix"])


probe = new_model().train()
optimizer = torch.optim.AdamW([p for p in probe.parameters() if p.requires_grad], lr=1e-3)
batch = collate([features["train"][0]])
for _ in range(2):
    optimizer.zero_grad()
    segmentation_loss(run_model(probe, batch).mask_logits, batch["masks"], batch["has_mask"]).backward()
    optimizer.step()
reached = {name for name, p in probe.named_parameters() if p.grad is not None and p.grad.any()}
listed = set(probe.trainable_summary().names)
assert reached == listed, f"listed, not reached: {listed - reached}; reached, not listed: {reached - listed}"
print(f"gradients reach {len(reached)} tensors, exactly those listed above")

# %% [markdown]
# ## 5. The losses
# ### 5a. Masks: equation 8
# Each pixel with logit $x$, probability $p = \sigma(x)$ and truth $y$ costs the *binary cross-entropy*
#
# $$\ell = -\big(y \log p + (1 - y) \log(1 - p)\big),$$
#
# averaged over the pixels of the labelled frames. The truth is first averaged down to the size at which the decoder draws, so a cell that is half covered has $y = 0.5$.
#
# **We expect** an unsure pixel ($x = 0$) to cost $\ln 2 \approx 0.69$, whatever the truth, and a confident mistake to cost about $|x|$.

# %%
plots.pixel_loss("What one pixel costs (equation 8)")

# %%
batch = collate([features["val"][0]])
with torch.no_grad():
    logits = run_model(model, batch).mask_logits.cpu()  # [1, T, h, w]
masks, labelled = batch["masks"].float(), batch["has_mask"]
y = F.interpolate(masks, size=logits.shape[-2:], mode="area")
pixel = -(y * F.logsigmoid(logits) + (1 - y) * F.logsigmoid(-logits))  # log(1 - sigmoid(x)) = logsigmoid(-x)
bce = pixel.mean(dim=(2, 3))[labelled].mean()
print(f"equation 8 by hand {bce:.4f}, the library's {segmentation_loss(logits, masks, labelled):.4f}")
assert torch.isclose(bce, segmentation_loss(logits, masks, labelled), atol=1e-4)
second = int(masks[0].sum(dim=(1, 2)).argmax())
truths = {"mask as drawn": masks[0, second], "at the decoder's size": y[0, second]}
plots.pictures(truths, "The truth, as the loss gets it", colorbar="share that sounds", columns=2)

# %% [markdown]
# An unlabelled second must not teach anything, however wrong its mask looks. **We expect** the loss to stay the same when we change the logits there. The empty masks of unlabelled seconds would otherwise teach silence.
#
# Beside the cross-entropy this course adds *Dice*, $1 - (2\sum p\,y + 1) / (\sum p + \sum y + 1)$ for each frame: it counts the share of the object rather than of the picture, so small toys weigh as much as large ones. It is ours, not the paper's; `dice_weight=0` leaves it out.

# %%
flags = labelled.clone()
flags[0, 1:] = False  # as in v1s: only the first second is labelled
nonsense = logits.clone()
nonsense[~flags] = 50.0
assert segmentation_loss(logits, masks, flags) == segmentation_loss(nonsense, masks, flags)
p = logits.sigmoid()
dice = 1 - (2 * (p * y).sum(dim=(2, 3)) + 1) / (p.sum(dim=(2, 3)) + y.sum(dim=(2, 3)) + 1)  # [1, T]
by_hand = bce + dice[labelled].mean()
assert torch.isclose(by_hand, segmentation_loss(logits, masks, labelled, dice_weight=1.0), atol=1e-4)
print(
    f"cross-entropy {bce:.3f}, Dice {dice[labelled].mean():.3f}: a small object hides in the first, not in the second"
)

# %% [markdown]
# ### 5b. Picture and sound: equations 9 and 10
# The *semantic loss* asks the visual cue of a clip to resemble its own sound more than the sounds of other clips. First both are averaged over the clip's seconds (9), $v = \frac1T\sum_t F_C^t$ and $a = \frac1T\sum_t F_A^t$; then, with the cosine similarity $s$ and a margin $m$,
#
# $$\ell_i = \Big[\,m - s(v_i, a_i) + \max_{j \ne i} s(v_i, a_j)\Big]_+ \quad (10)$$
#
# is zero once a clip's own sound is closer than every other by $m$. (The paper prints the maximum over all $j$; with $j = i$ among them the loss could never fall below $m$.)
#
# **We expect**: before training the cues know nothing of sound, all similarities in a column look alike, and the loss lies near the margin or above it.


# %%
def cues_and_sounds(network: GAVS, clips, most: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Equation 9 for the first clips of a set: v and a, both [N, 128]."""
    v, a = [], []
    with torch.no_grad():
        for i in range(min(most, len(clips))):
            batch = collate([clips[i]])
            v.append(clip_average(run_model(network, batch).visual_cue.cpu(), batch["frame_valid"]))
            a.append(batch["audio"].mean(dim=1))
    return torch.cat(v), torch.cat(a)


v, a = cues_and_sounds(model.eval(), features["test"])
s = F.cosine_similarity(v[:, None], a[None], dim=2)  # [N, N]: picture i, sound j
plots.similarities(s, "Before training: pictures and sounds")

# %%
each = []
for i in range(len(s)):
    others = [s[i, j] for j in range(len(s)) if j != i]
    each.append(torch.relu(margin - s[i, i] + max(others)))
by_hand, from_library = torch.stack(each).mean(), semantic_loss(v, a, margin)
print(f"equation 10 by hand {by_hand:.4f}, the library's {from_library:.4f}, margin {margin}")
assert torch.isclose(by_hand, from_library, atol=1e-5)
alone = semantic_loss(v[:1], a[:1], margin)
assert alone == 0, (
    "a clip that is alone in its batch has no negative: the release, with one clip a batch, never saw this loss"
)

# %% [markdown]
# ### 5c. The sum: equation 11
# $\mathcal L = \mathcal L_{seg} + \lambda\,\mathcal L_{sem}$. The paper prints neither $\lambda$ nor $m$; `semantic_weight` and `margin` are ours; section 9 asks what this loss does. One more choice of ours: two clips in which the same classes sound are no negatives of each other.

# %%
total = segmentation_loss(logits, masks, labelled, dice_weight) + semantic_weight * semantic_loss(v, a, margin)
print(f"loss before training, of a clip's masks and {len(v)} clips' cues: {total:.3f}")
assert torch.isfinite(total)

# %% [markdown]
# ## 6. Training, with a twin that cannot hear
# `fit` shuffles the clips, computes this loss, takes an AdamW step, validates after each epoch and keeps the best. All of it is seeded, so the same call gives the same weights. Seconds without a label are left out of the steps (`labelled_frames_only`): they teach the masks nothing and would take most of the time.
#
# The **deaf twin** gets the same start, pictures, order and number of steps, but the embedding of silence for every sound. What it scores can be had by looking.

# %%
show = max(range(len(data["val"])), key=lambda i: data["val"].rows["labelled"].iloc[i])  # a clip labelled throughout


def marked(network: GAVS, clips) -> np.ndarray:
    """Probabilities [T, H, W] of the clip shown before and after training."""
    return predict_masks(network, collate([clips[show]]))[0].sigmoid().cpu().numpy()


def loss_on(network: GAVS, clips, most: int = 12) -> float:
    """Mean segmentation loss of the first clips."""
    with torch.no_grad():
        batches = [collate([clips[i]]) for i in range(min(most, len(clips)))]
        losses = [
            segmentation_loss(run_model(network, b).mask_logits.cpu(), b["masks"], b["has_mask"], dice_weight)
            for b in batches
        ]
    return torch.stack(losses).mean().item()


before, loss_before = marked(model, features["val"]), loss_on(model, features["train"])

# %%
training = FitConfig(
    steps=steps,
    batch_size=batch_size,
    lr=lr,
    schedule="cosine",
    warmup_steps=steps // 20,
    dice_weight=dice_weight,
    semantic_weight=semantic_weight,
    margin=margin,
    exclude_same_class=True,
    labelled_frames_only=True,
    seed=seed,
)

# %%
notes = {"world": fingerprint()} if toyshop else {}
result = fit(
    model.train(), features["train"], features["val"], training, output / "run-gavs", resume=False, notes=notes
)
print(f"GAVS: {result.seconds:.0f} s, best validation mIoU {result.best_score:.3f} in epoch {result.best_epoch}")

# %%
without_sound = {split: silent(clips, vggish) for split, clips in features.items()}
twin = new_model()
deaf = fit(twin, without_sound["train"], without_sound["val"], training, output / "run-deaf", resume=False, notes=notes)
print(f"deaf twin: {deaf.seconds:.0f} s, best validation mIoU {deaf.best_score:.3f} in epoch {deaf.best_epoch}")

# %% [markdown]
# Each run leaves a folder: `log.jsonl` with a line an epoch, the best and the last weights, and all that resuming needs. **We expect** the losses to fall, and the orange curve to leave the blue one behind where sound is needed: in the validation score.

# %% tags=["report"]
logs = {
    name: [json.loads(line) for line in Path(output, run, "log.jsonl").read_text().splitlines()]
    for name, run in (("GAVS", "run-gavs"), ("deaf twin", "run-deaf"))
}
plots.curves(logs, "Training, epoch by epoch", margin=margin)

# %%
model.eval(), twin.eval()
loss_after = loss_on(model, features["train"])
print(f"segmentation loss on training clips: {loss_before:.3f} before, {loss_after:.3f} after {steps} steps")
assert loss_after < loss_before, "training must lower the loss it minimises"
with torch.no_grad():
    batch = collate([features["val"][show]])
    deafened = collate([without_sound["val"][show]])
    heard = (run_model(model, batch).mask_logits - run_model(model, deafened).mask_logits).abs().max().item()
assert heard > 0, "the sound must reach the mask"

# %% [markdown]
# ### Masks before and after
# White is the truth. The prompt of an untrained GAVS means nothing to SAM, which marks whatever that happens to be: some toy, several, or none. The deaf twin learns to draw clean toys, but cannot know which of them sounds.

# %%
clip = data["val"][show]
after = marked(model, features["val"])
of_twin = marked(twin, without_sound["val"])
rows = {"before": before > 0.5, "GAVS": after > 0.5, "deaf twin": of_twin > 0.5}
plots.clip_sheet(clip.frames, rows, clip.a_obj.replace("_", ", "), truth=clip.masks)

# %% [markdown]
# The mask is where the probability exceeds a threshold, 0.5 by AVSBench's convention. How much does that choice matter? A flat curve is a sure model. (First the picture, then the same with controls.)

# %%
second = int(clip.masks.sum(axis=(1, 2)).argmax())
plots.mask_at(clip.frames[second], after[second], clip.masks[second], 0.5, f"GAVS after training, second {second}")

# %%
widgets.mask_explorer(clip.frames, after, clip.masks)

# %% [markdown]
# ## 7. Interrupted, resumed, identical
# A long training is interrupted sooner or later. Here we pull the plug in the middle of an epoch, call `fit` again with a fresh model, and compare with a training that was never interrupted. Nothing random lives from one step to the next (order and noise follow from seed and step), so **we expect** identical weights: on a CPU bit by bit.


# %%
class PullThePlug(torch.utils.data.Dataset):
    """Clips that can be read `reads` times; then the power fails."""

    def __init__(self, clips, reads: int):
        self.clips, self.reads, self.fingerprint = clips, reads, clips.fingerprint

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, item: int) -> dict:
        self.reads -= 1
        if self.reads < 0:
            raise KeyboardInterrupt
        return self.clips[item]


few = features["train"].subset(range(min(8, len(features["train"]))))
short = FitConfig(steps=6, batch_size=2, seed=seed, save_every=1)  # a checkpoint after each step

# %%
quiet = {"val_set": None, "config": short, "progress": False}
unbroken, interrupted, resumed = new_model(), new_model(), new_model()
fit(unbroken, few, output_dir=output / "run-unbroken", resume=False, **quiet)
try:
    fit(interrupted, PullThePlug(few, reads=7), output_dir=output / "run-resumed", resume=False, **quiet)
except KeyboardInterrupt:
    done = torch.load(output / "run-resumed" / "state.pt", weights_only=True)["step"]
    print(f"interrupted: {done} of {short.steps} steps are saved")
fit(resumed, few, output_dir=output / "run-resumed", **quiet)

# %%
pairs = zip(unbroken.trained_state().values(), resumed.trained_state().values())
apart = max((one - other).abs().max().item() for one, other in pairs)
print(f"largest difference between the two sets of weights: {apart:.1e}")
assert 0 < done < short.steps, "the plug was pulled on the way"
assert apart <= (0.0 if device == "cpu" else 2 * short.lr * short.steps), (
    "a resumed training must end where an unbroken one ends"
)

# %% [markdown]
# ## 8. Does it listen? Scores with deaf controls
# Test clips, which chose nothing. Beside GAVS: the same model with the sound of another clip and with silence, and the deaf twin that was trained without sound. This is *your* short training, so there is no figure it must reach; watch the order of the bars.

# %% tags=["report"]
subset_of = data["test"].rows["label"].to_numpy()
measured = {
    ("GAVS", "hears"): score(model, features["test"]),
    ("GAVS, other clip's sound", "deaf"): score(model, shuffled(features["test"], seed)),
    ("GAVS, silence", "deaf"): score(model, without_sound["test"]),
    ("deaf twin", "deaf"): score(twin, without_sound["test"]),
}
table = []
for subset in subsets:
    for (name, kind), scored in measured.items():
        values = scored["miou"][subset_of == subset]
        low, high = interval(values)
        table.append(dict(group=subset, name=name, kind=kind, value=values.mean(), low=low, high=high))
table = pd.DataFrame(table)
plots.scores(table, f"After {steps} steps: mean IoU on test clips")

# %%
own = table.set_index(["group", "name"])["value"]
assert own.between(0, 1).all()
display(pd.DataFrame({name: scored[["miou", "f"]].mean() for (name, _), scored in measured.items()}).T.round(3))

# %% [markdown]
# **How to read it.** Played the sound of another clip, a model that listens marks the wrong thing or nothing, so that bar should fall *below* the deaf twin's. So should silence, but silence is a weak control: the model never heard any in training, and may simply be at a loss. The fair opponent is the deaf twin, which was trained to do its best without sound. In `v1m` it does better than in `v1s`, because where several of the toys sound, a guess is right more often.
#
# ### The swap test
# The strictest control keeps the picture and plays each toy's voice in turn; the mask must follow. It needs pictures whose objects all have a sound of their own, so it needs the toy shop.

# %%
own_swap, over = None, {}  # over: metric -> the values that it is the mean of
if toyshop:
    swaps = swap_test(model, vggish, list(recipes("v1s", "test", swap_clips, seed=seed)))
    own_swap, over["swap_test"] = float(swaps["moves"].mean()), swaps["moves"]
    print(f"the mask follows the voice in {own_swap:.0%} of {len(swaps)} pairs (a random choice: at most 25 %)")
else:
    print("The swap test needs the toy shop, where each toy has a voice of its own; skipped, this is your folder.")

# %% [markdown]
# ## 9. Does the semantic loss leave its margin?
# A triplet loss can sit at its margin for ever: if all cues are alike, $s(v_i, a_i)$ equals the largest of the others and $\ell = m$. The paper does not say whether its own ever fell; its public code lacks this loss. So we look: at the lowest panel of the training curves, and at the similarities on test clips after training. (In that panel the deaf twin lies exactly on the margin: all of its sounds are one and the same, so its own is never closer than the next.)

# %%
v, a = cues_and_sounds(model, features["test"])
s = F.cosine_similarity(v[:, None], a[None], dim=2)
semantic_after = semantic_loss(v, a, margin).item()
epochs = [row["semantic"] for row in logs["GAVS"]]
print(f"semantic loss in training: {epochs[0]:.3f} in the first epoch, {epochs[-1]:.3f} in the last; margin {margin}")
print(f"on {len(v)} test clips, every other clip a negative: {semantic_after:.3f}")
plots.similarities(s, "After training: pictures and sounds")

# %% [markdown]
# **How to read it.** Stripes along the columns mean that all pictures resemble the same sounds: the cue tells nothing. A bright diagonal would mean that a picture resembles its own sound. Mind what is asked of the cue: it is an average over the whole picture, silent toys included, and says nothing about which of them sounds. A picture with three toys can at best resemble three sounds. So a loss that stays near its margin does not mean that the model is deaf: the audio itself enters the prompt directly, through equation 2.

# %% [markdown]
# ## 10. What a full training gives
# Your training was short. The weights in `data/weights/` come from the same code with more clips and steps (`make train`): GAVS and its deaf twin. We measure both on freshly drawn clips, in which one toy sounds.

# %%
full, full_swap = {}, None
if toyshop:
    (hearing, _), (not_hearing, _) = load_model("gavs"), load_model("gavs_deaf")
    hearing, not_hearing, mini_vggish = hearing.to(device), not_hearing.to(device), load_vggish("mini").to(device)
    fresh, clips = toyshop_features({("v1s", "test"): test_clips}, hearing, mini_vggish, cache, seed=seed + 1000)
    over["shipped_miou_v1s"] = score(hearing, clips)["miou"]
    full["GAVS"] = over["shipped_miou_v1s"].mean()
    full["deaf twin"] = score(not_hearing, silent(clips, mini_vggish))["miou"].mean()
    over["shipped_swap_test"] = swap_test(hearing, mini_vggish, fresh[:swap_clips])["moves"]
    full_swap = float(over["shipped_swap_test"].mean())
    print(f"mean IoU {full['GAVS']:.2f}, deaf twin {full['deaf twin']:.2f}; swap test {full_swap:.0%}")
    assert full["GAVS"] - full["deaf twin"] > 0.15, "the shipped GAVS must listen"
    assert full_swap > 0.5, "and follow the voice"
else:
    print("The shipped weights know only the toy shop; skipped, this is your folder.")

# %% [markdown]
# ## Results
# The figures of this page, as JSON, for the table that `make run` prints.

# %%
metrics = {f"miou_{subset}": own[subset, "GAVS"] for subset in subsets}
metrics |= {f"miou_{subset}_deaf_twin": own[subset, "deaf twin"] for subset in subsets}
metrics |= {"loss_before": loss_before, "loss_after": loss_after, "semantic_last_epoch": epochs[-1]}
metrics |= {"train_seconds": result.seconds, "resume_difference": apart}
if toyshop:
    metrics |= {"swap_test": own_swap, "shipped_miou_v1s": full["GAVS"], "shipped_swap_test": full_swap}

# %%
for subset in subsets:
    over[f"miou_{subset}"] = measured["GAVS", "hears"]["miou"][subset_of == subset]
    over[f"miou_{subset}_deaf_twin"] = measured["deaf twin", "deaf"]["miou"][subset_of == subset]
intervals = {name: interval(values) for name, values in over.items()}  # 95 %, over clips or pairs
settings = {"seed": seed, "steps": steps, "subsets": subsets, "sam": sam_name, "image_size": image_size}
facts = {"metrics": metrics, "intervals": intervals, **settings}
facts |= {"world": fingerprint() if toyshop else None, "torch": torch.__version__}
Path(output, "05_training.json").write_text(json.dumps(facts, indent=1))
print(f"this page took {time.perf_counter() - page_started:.0f} s")
pd.Series(metrics).round(3)

# %% [markdown]
# ## Summary
# - A frozen SAM, adapters that start as nothing, and one token made of sound and picture: that is GAVS.
# - What does not train is computed once.
# - The mask loss counts labelled seconds only; the semantic loss compares clips, so it needs more than one in a batch.
# - Training is seeded and can be interrupted at any moment.
# - A score without a deaf twin says little.
#
# ## Quiz
# 1. Why must no activation follow $W_2$ of an adapter?
#    <details><summary>Answer</summary>At $W_2 = 0$ its input is 0. Behind a ReLU, whose slope is taken as 0 there, no gradient would ever reach $W_2$, and the adapter would stay nothing for ever.</details>
# 2. `v1s` labels one second of five in training. What would happen if the other four counted as empty masks?
#    <details><summary>Answer</summary>Four labels of five would say that nothing sounds: the model would learn to mark little or nothing.</details>
# 3. The release trained with one clip in a batch. What does that mean for equation 10?
#    <details><summary>Answer</summary>There is no $j \ne i$: the loss is 0 and teaches nothing (the release does not have it at all).</details>
# 4. GAVS and its deaf twin have almost the same segmentation loss after ten steps. Is the training broken?
#    <details><summary>Answer</summary>Not yet: both first learn to draw clean toys instead of noise, which needs no ears. Which toy comes later.</details>
#
# ## References
# - Y. Wang et al., *Prompting Segmentation with Sound Is Generalizable Audio-Visual Source Localizer* (GAVS), AAAI 2024.
# - J. Zhou et al., *Audio-Visual Segmentation with Semantics* (AVSBench-semantic), IJCV 2024.
# - N. Houlsby et al., *Parameter-Efficient Transfer Learning for NLP* (adapters), ICML 2019.
# - F. Milletari et al., *V-Net* (Dice loss), 3DV 2016.
#
# ## Next
# Change `semantic_weight` to 0, `dice_weight` to 0 or `cola_width` to 0 and run the page again (it trains anew each time). With a GPU and the real data: set `data_root`, `sam_name="vit_b"`, `sam_checkpoint` and `vggish_checkpoint`; `batch_size=2`, or a smaller `image_size`, if memory runs out. The best weights are `run-gavs/best.safetensors` in `output_dir`, and `make predict` takes them. For a quick look at the finished model, see [00 · Quick start](00_quick_start.ipynb).
