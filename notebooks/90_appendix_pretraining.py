# %% [markdown]
# # Appendix · How the miniature encoders were pre-trained
#
# *About a minute and a half on a two-core laptop without GPU, offline.*
#
# GAVS stands on two frozen encoders that somebody else has taught. In this course that somebody is us: SAM-mini and VGGish-mini were taught the toy shop before anything else began. This page shows how, repeats a small part of it live, and asks the question that decided the recipe: **does it matter what an encoder is *told* while it learns?**
#
# **What you will do**
#
# 1. look at what the ear is told about a sound, and teach a small ear for a few hundred steps,
# 2. look at what the eye is told about a picture, and find its vocabulary again by gradient descent,
# 3. teach the same ear twice on the same sounds, once told *factors* and once told *classes*, and see which of the two can be linked to the eye on combinations that the link never met,
# 4. check that no picture was ever seen together with its sound,
# 5. learn what all this stands in for, and how to repeat it.
#
# **Reads:** the miniature weights and two small tables of recorded results, which come with the course; nothing is downloaded. **Writes:** `90_appendix_pretraining.json` (the measured figures) in `output_dir`. This page needs no other one to have been run before.

# %% tags=["parameters"]
seed: int = 2024  # which sounds and pictures are drawn, and where the ears begin
clips: int = 320  # five-second clips that the ears are taught on
steps: int = 400  # of 16 seconds of sound, for each of two ears
pictures: int = 80  # single pictures; half of them find the eye's words, half test them
word_steps: int = 80  # gradient steps that look for the eye's words
pairs: int = 160  # seconds of sound with their picture that a link learns from; two smaller sets test it
rotation: int = 0  # which combinations the link sees, 0 to 3
device: str = "cpu"  # "cpu", "cuda", or "auto": the GPU if there is one; the ears are always taught on the CPU
output_dir: str = "build"  # where the results go
cache_dir: str = ""  # as on every page; nothing is cached here

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
from IPython.display import Audio, display

# %%
started = time.perf_counter()
if device == "auto":
    device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(seed)
output = Path(output_dir)
for folder in (output, Path(cache_dir) if cache_dir else output):
    folder.mkdir(parents=True, exist_ok=True)
print(f"Python {platform.python_version()}, torch {torch.__version__}, device {device}, seed {seed}")

# %%
from gavs_lib import build_sam, load_vggish
from gavs_lib._shipped import shipped_results
from gavs_lib.audio import second_examples
from gavs_lib.course import plots, widgets
from gavs_lib.lab import labels, pretrain
from gavs_lib.lab.pretrain import FACTORS, PICTURE_ORDER, SOUND_ORDER, PretrainConfig
from gavs_lib.metrics import mask_iou
from gavs_lib.vggish import VGGish
from gavs_lib.world.classes import class_split
from gavs_lib.world.folder import fingerprint, recipes
from gavs_lib.world.objects import TOYS
from gavs_lib.world.scenes import SAMPLE_RATE, mix

words = [value for values in FACTORS for value in values]  # the eleven factors: 6 families, 2 sizes, 3 materials

# %% [markdown]
# ## 1. What the ear is taught
# The shop has 36 kinds of toys: 6 families x 2 sizes x 3 materials. VGGish-mini heard 8,000 clips of five seconds, half of them mixtures, and was asked eleven yes-or-no questions about each second: is there a bell? a drum? ... something large? ... something of glass? It was never told *which* of the 36 it was.
#
# With $z$ the eleven outputs of a linear head on $F_A$ and $y_k = 1$ if factor $k$ is heard, the loss is
#
# $$\ell = -\frac{1}{11}\sum_{k=1}^{11} \big[y_k \log \sigma(z_k) + (1 - y_k) \log(1 - \sigma(z_k))\big].$$
#
# Here is a mixture, and what the ear would be told about it. If two toys sound at once, the tags are the union of both: nothing says which size belongs to which family.

# %%
mixtures = [made for made in recipes("v1m", "test", 40, seed=seed) if len(made.scene.heard) >= 2][:3]


def told_of(scene):
    """The factors of all that is heard in each second, [T, 11], in the order of `words`."""
    factors = np.stack([pretrain.factor_vector(toy) for toy in scene.toys])  # [toys, 11]
    return (np.array(scene.sounding).T.astype(float) @ factors) > 0


scene = mixtures[0].scene
sounding = {toy.name: on for toy, on in zip(scene.toys, scene.sounding) if any(on)}
display(Audio(mix(scene), rate=SAMPLE_RATE))
plots.sound(mix(scene), SAMPLE_RATE, "A mixture: five seconds, told by factors", sounding)

# %%
table = pd.DataFrame(told_of(scene).T, index=words).replace({True: "yes", False: ""})
table.columns.name = "second"
table

# %% [markdown]
# ### A few hundred steps, live
# `pretrain.draw_heard` draws independent clips of all 36 kinds; `pretrain.teach_ear` is the recipe of the shipped ear in small (smaller batches and a higher rate, since it is short). **We expect** the loss to fall below that of an ear that knows only how frequent each factor is; and that the ear after so few steps knows more than an untrained one and less than the shipped one.

# %%
patches, heard = pretrain.draw_heard(clips, seed, workers=1)  # [5 clips, 1, 96, 64], [5 clips, 36]
tags = pretrain.factor_tags(heard)  # [5 clips, 11], in the ear's own order
config = PretrainConfig(seed=seed, sound_steps=steps, sound_batch=16, sound_lr=3e-3, workers=1)
by_factors, loss_factors = pretrain.teach_ear(patches, tags, config)


def know_nothing(tags):
    """The loss of somebody who knows how frequent each tag is, and hears nothing."""
    share = torch.from_numpy(tags.mean(axis=0)).clamp(1e-6, 1 - 1e-6)
    return F.binary_cross_entropy(share.expand(len(tags), -1), torch.from_numpy(tags)).item()


# %%
def smooth(losses, width=10):
    return np.convolve(losses, np.ones(min(width, len(losses))) / min(width, len(losses)), mode="valid")


deaf_loss = know_nothing(tags)
curve = smooth(loss_factors)
shown = {"told factors": curve, "deaf: frequencies only": np.full(len(curve), deaf_loss)}
print(f"loss {curve[0]:.3f} at first, {curve[-1]:.3f} at the end; deaf {deaf_loss:.3f}")
assert curve[-1] < curve[0], "to be taught must lower the loss"
plots.lines(shown, "An ear is taught factors", xlabel="step (mean of ten)", ylabel="loss")

# %% [markdown]
# How much does it know now? We draw pairs: one second of sound in which one toy plays, and the picture that belongs to it (used from section 2 on). A linear reader, `pretrain.linear_reader`, is fitted to the ear's 128 numbers on sounds of the 18 *seen* combinations of a rotation, and asked about the 12 combinations of its unseen test. (The ears themselves have heard all 36; it is the reader that has not.)

# %%
eye = build_sam("mini", "shipped").to(device).requires_grad_(False)
split = class_split(rotation)
parts = (("train", pairs), ("test", max(1, pairs // 2)), ("unseen_test", max(1, pairs // 2)))
learn, fresh, unseen = sets = [labels.draw_pairs(eye, name, count, rotation, seed) for name, count in parts]
factor_names = ("family", "size", "material")


def read_off(features, encoder, name):
    """Rows for a figure: right answers on unseen combinations, for each factor."""
    rows = []
    for factor, values in zip(factor_names, FACTORS):
        answers = [torch.tensor([values.index(getattr(toy, factor)) for toy in each.toys]) for each in sets]
        right = pretrain.linear_reader(features, answers, len(values))[1]
        rows.append(dict(encoder=encoder, factor=factor, name=name, value=right, chance=1 / len(values)))
    return rows


# %%
shipped_ear = load_vggish("mini")
torch.manual_seed(seed)
ears = {"shipped": shipped_ear, f"here, {steps} steps": by_factors["ear"], "untrained": VGGish.mini()}
numbers = {name: [labels.hear(ear, each) for each in sets] for name, ear in ears.items()}
read = pd.DataFrame([row for name, each in numbers.items() for row in read_off(each, "VGGish-mini", name)])
means = read.groupby("name", sort=False)["value"].mean()
print(means.round(3).to_string())
assert means["shipped"] > means["untrained"] + 0.05, "the pre-training must have taught what a reader can use"
plots.probes(read, "Read off the ear on unseen combinations")

# %% [markdown]
# **What we see.** Untrained ears are no zero: pitch and loudness are in the raw sound, and random filters keep some of it. A few hundred steps are little, and on unseen combinations they need not beat even that; the shipped ear had 5,000 of four times the size. Section 3 will need that remark.
#
# ### Listen to what an ear reads
# The head that turned $F_A$ into eleven answers is not shipped: pre-training drops it, as VGGish's authors dropped theirs. A new one takes a second: least squares from $F_A$ to the tags of the sounds drawn above.

# %%
truth = np.stack([told_of(made.scene) for made in mixtures])  # [3, 5, 11]
sounds = [mix(made.scene) for made in mixtures]
mel = torch.cat([second_examples(sound, SAMPLE_RATE, 5) for sound in sounds])
targets = torch.from_numpy((heard @ pretrain.FACTOR_TABLE > 0).astype(np.float32))  # [5 clips, 11], order of `words`


def read_tags(ear):
    """Fit a linear head on the drawn sounds, and read the mixtures with it: [3, 5, 11]."""
    with torch.no_grad():
        known = torch.cat([ear(torch.from_numpy(part).float()) for part in np.array_split(patches, 8)])
        asked = ear(mel)
    X, Q = F.pad(known, (0, 1), value=1.0).double(), F.pad(asked, (0, 1), value=1.0).double()
    W = torch.linalg.solve(X.T @ X + torch.eye(X.shape[1]), X.T @ targets.double())
    return (Q @ W).unflatten(0, truth.shape[:2]).numpy()


# %%
readings = {name: read_tags(ears[name]) for name in ears}
right = {name: ((each > 0.5) == truth).mean() for name, each in readings.items()}
print("right answers on three mixtures:", {name: round(float(value), 3) for name, value in right.items()})
second = int(truth[0].sum(axis=1).argmax())  # the second with most to hear
plots.factor_readout(
    readings["shipped"][0, second], truth[0, second], words, f"Read off the shipped ear, second {second}"
)

# %% [markdown]
# For a perfect reader, every orange bar would end beyond the dashed line and every blue one before it. Where three toys play at once, the louder one hides the others, and some bars fail. The same with controls: choose a clip, an ear and a second (Tab reaches them, the arrow keys move them), and listen.

# %%
names = [" + ".join(toy.name for toy in made.scene.heard) for made in mixtures]
widgets.ear_explorer(names, sounds, SAMPLE_RATE, readings, truth, words)

# %% [markdown]
# ## 2. What the eye is taught
# SAM-mini saw 14,000 pictures, each with three kinds of tasks:
#
# - **a point or a box**: the mask of the toy that it is on, as for the real SAM;
# - **factor prompts**: the *sum* of learned vectors, $e_{\text{large}} + e_{\text{glass}}$ say; the mask is everything that satisfies all factors that are named. Half of the prompts name family, size and material, as a sound does; some name what is not there, and the mask is empty;
# - **a dense task**: say, at each of 16 x 16 places, which factors belong to what lies there, each as the share of the place that it covers.
#
# Below are such targets for one picture, drawn by pre-training's own functions. Where a prompt names two families, or both sizes, either will do.


# %%
def two_a_line(named):
    """The words of a prompt as a title: two a line."""
    lines = [" + ".join(named[k : k + 2]) for k in range(0, len(named), 2)]
    return "\n+ ".join(lines)


frames, owners, classes = pretrain.draw_pictures(pictures, seed, workers=1)  # owner: 0 the floor, i + 1 the toy i
chosen = int((classes >= 0).sum(axis=1)[: pictures // 2].argmax())  # the picture with most toys
rng = np.random.default_rng(seed)
asked, masks = pretrain.factor_prompts(owners[chosen], classes[chosen], 4, rng)
shown = {"the picture": frames[chosen]}
for prompt, mask in zip(asked, masks):
    shown[two_a_line([word for word, on in zip(words, prompt) if on])] = plots.overlay(frames[chosen], mask)
point, box, mask = pretrain.place_prompts(owners[chosen], rng)
shown[f"a point ({point[0]:.0f}, {point[1]:.0f})\nor a box"] = plots.overlay(frames[chosen], mask)
plots.pictures(shown, "What the eye is asked, and the right answers")

# %%
table = np.vstack([np.zeros(len(words), np.float32), pretrain.FACTOR_TABLE[classes[chosen]]])
under = torch.from_numpy(table[owners[chosen]]).permute(2, 0, 1)  # [11, 128, 128]
shares = F.adaptive_avg_pool2d(under, 16).numpy()
most = np.argsort(-shares.sum(axis=(1, 2)))[:6]
shown = {words[k]: shares[k] for k in sorted(most)}
plots.pictures(shown, "The dense task: six of its eleven maps", colorbar="share of the place")

# %% [markdown]
# ### What is left of the lesson
# The eleven vectors $e_k$ are not shipped, nor is the layer that answered the dense task: neither is part of SAM. But the decoder that understands the vectors is. So we look for eleven vectors by gradient descent, with every weight of SAM-mini frozen: 11 x 128 numbers, the same loss (`pretrain.mask_loss`), half of the pictures. On the other half we ask for each toy by its three factors.
#
# As controls: the three factors of *another* toy in the same picture, and the vectors as they were before the search.
#
# **We expect** that the found words point at their toy, and rarely at the other.

# %%
with torch.no_grad():
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float().to(device)
    F_V = torch.cat([eye.image_encoder((p - eye.pixel_mean) / eye.pixel_std) for p in images.split(20)])
speaker = pretrain.PromptedSam(eye).to(device)
for parameter in speaker.parameters():
    parameter.requires_grad_(parameter is speaker.factors)
before, half = speaker.factors.detach().clone(), pictures // 2

# %%
optimizer = torch.optim.Adam([speaker.factors], lr=0.05)
for _ in range(word_steps):
    rows = rng.choice(half, 8, replace=half < 8)
    drawn = [pretrain.factor_prompts(owners[i], classes[i], 2, rng) for i in rows]
    hot, wanted = (torch.from_numpy(np.concatenate(each)).to(device) for each in zip(*drawn))
    logits, quality = speaker.decode(F_V[rows].repeat_interleave(2, dim=0), (hot @ speaker.factors).unsqueeze(1))
    loss = pretrain.mask_loss(logits[:, :1], quality[:, :1], wanted)
    optimizer.zero_grad(), loss.backward(), optimizer.step()

# %%
tested = [(i, k) for i in range(half, pictures) for k in np.unique(owners[i][owners[i] > 0]) - 1]
where = torch.from_numpy(np.stack([owners[i] == k + 1 for i, k in tested]))  # [M, 128, 128]
own = np.array([classes[i][k] for i, k in tested])
siblings = [[k for j, k in tested if j == i and k != own_k] for i, own_k in tested]
other = np.array([classes[i][others[0]] for (i, _), others in zip(tested, siblings)])
which = torch.tensor([i for i, _ in tested])


def ask(vectors, numbers):
    """IoU [M] of the mask for the factors of toys `numbers` with the toy that is meant."""
    prompts = torch.from_numpy(pretrain.FACTOR_TABLE[numbers]).to(device) @ vectors
    with torch.no_grad():
        logits, _ = speaker.decode(F_V[which], prompts.unsqueeze(1))
    return mask_iou(logits[:, 0].cpu(), where)


# %%
corners = [
    np.flatnonzero(w.any(0))[[0, -1]].tolist() + np.flatnonzero(w.any(1))[[0, -1]].tolist() for w in where.numpy()
]
corners = torch.tensor([[x0, y0, x1 + 1, y1 + 1] for x0, x1, y0, y1 in corners], dtype=torch.float32, device=device)
with torch.no_grad():
    boxed, _ = speaker.decode(F_V[which], eye.prompt_encoder(None, corners, None)[0])
found = speaker.factors.detach()

# %%
iou = {
    "its box": mask_iou(boxed[:, 0].cpu(), where),
    "its factors, words found": ask(found, own),
    "another toy's factors": ask(found, other),
    "its factors, words random": ask(before, own),
}
iou = {name: values.mean().item() for name, values in iou.items()}
print(f"{len(tested)} toys in {pictures - half} pictures:", {name: round(value, 3) for name, value in iou.items()})
assert iou["its factors, words found"] > iou["another toy's factors"] + 0.15, "words must mean something"
assert iou["its factors, words found"] > iou["its factors, words random"] + 0.1, "and random ones nothing"

# %%
toys = [int(k) for k in np.unique(owners[half][owners[half] > 0]) - 1]
shown = {"the picture": frames[half]}
prompts = {TOYS[classes[half][k]].name.replace("-", " + "): pretrain.FACTOR_TABLE[classes[half][k]] for k in toys[:2]}
first = TOYS[classes[half][toys[0]]]
for word in (first.size, first.material, first.family):
    prompts[word] = np.eye(len(words), dtype=np.float32)[words.index(word)]
for name, prompt in prompts.items():
    with torch.no_grad():
        logits, _ = speaker.decode(F_V[half : half + 1], (torch.from_numpy(prompt).to(device) @ found)[None, None])
    large = F.interpolate(logits[:, :1].cpu(), size=frames.shape[1:3], mode="bilinear")[0, 0]
    shown[two_a_line(name.split(" + "))] = plots.overlay(frames[half], (large > 0).numpy())
plots.pictures(shown, "SAM-mini answers words that were found again")

# %% [markdown]
# **What we see.** The meaning sits in SAM-mini, not in the eleven vectors: a short search finds words that it understands, and their sum asks for *this* toy. Not every mask is right: single words are less sure than their sums, and a box is still the better prompt. With more patience the masks get better: at the end of pre-training the masks for a toy's own three factors had an IoU of .86 (`docs/pretraining.md`). This is what GAVS later relies on. Its prompt is also one vector, and training has to find out which vector a *sound* must become.
#
# ### On record
# Probes of both shipped encoders, fitted on 600 clips or pictures of seen combinations, mean of the four rotations (`data/results/probes.csv`); beside them the eye's features of the toys in our pairs, read here.

# %%
recorded = pd.read_csv(shipped_results("probes"))
assert set(recorded["world"]) == {fingerprint()}, "recorded in another toy shop"
features = [each.objects[torch.arange(len(each.answer)), each.answer] for each in sets]
in_figure = [dict(row, name="here, unseen") for row in read_off(features, "SAM-mini", "")]
in_figure += [dict(row, name="here, unseen") for row in read_off(numbers["shipped"], "VGGish-mini", "")]
for kind in ("unseen", "seen"):
    average = recorded.groupby(["encoder", "factor"], sort=False)[[kind, "chance"]].mean().reset_index()
    in_figure += [
        dict(encoder=r.encoder, factor=r.factor, name=f"recorded, {kind}", value=r[kind], chance=r.chance)
        for _, r in average.iterrows()
    ]
in_figure = pd.DataFrame(in_figure).sort_values("name", ascending=False, kind="stable")
plots.probes(in_figure, "Linear probes of the shipped encoders")

# %% [markdown]
# ## 3. Lookup or rule
# Now the question of this page. Suppose the ear had been told *classes*: "this is a large glass bell", one of 36, instead of "large, glass, bell". It is told more, not less: who knows the class knows the factors. What could be lost?
#
# The audio-visual training sees 18 of the 36 combinations. Whatever it learns is a link from what the ear says to what the eye sees. For a combination that it never met, this link must *follow from* the others:
#
# - if the ear says $F_A \approx a_{\text{large}} + a_{\text{glass}} + a_{\text{bell}}$, each part is known from other combinations: a **rule**;
# - if the ear has an own direction for each class, those of the unseen classes were never linked to anything: a **lookup table** with empty rows.
#
# **The link** (`labels.Link`) is GAVS in vectors: two layers make a query $q(F_A)$ of a second of sound; each toy $t$ in the picture is $v_t$, SAM-mini's features averaged over its pixels; the answer is the toy with the largest $q(F_A) \cdot v_t$, and
#
# $$\ell = -\log \frac{\exp(q(F_A) \cdot v_{t^*}/\sqrt{128})}{\sum_t \exp(q(F_A) \cdot v_t/\sqrt{128})}$$
#
# is trained on pairs of *seen* combinations only. No mask decoder, no adapters: seconds instead of minutes.
#
# ### The two extremes, without any ear
# Feed the link the true factors (11 ones and zeros), or the true class (36). **We expect** both to be nearly perfect on seen combinations; on unseen ones the first to stay so and the second to fall to chance.

# %%
extremes = {}
for name, tell in (("told factors", labels.tell_factors), ("told class", labels.tell_classes)):
    extremes[name] = labels.measure([tell(each) for each in sets], sets, split, seed)
extremes["shipped"] = labels.measure(numbers["shipped"], sets, split, seed)
rows = ["link_seen", "link_unseen", "link_chance", "additive_seen", "additive_unseen"]
display(pd.DataFrame(extremes).loc[rows].round(2))
factor_link, class_link = extremes["told factors"]["link_unseen"], extremes["told class"]["link_unseen"]
assert factor_link > 0.85, "factors are all that a rule needs"
assert class_link < extremes["told class"]["link_chance"] + 0.2, "of a row that was never filled a table says nothing"
assert extremes["shipped"]["link_unseen"] > 0.8, "the shipped ear, told factors, must be near the rule"

# %% [markdown]
# The last two rows measure the layout itself. Take the mean of each class's vectors, fit "one vector a factor, and their sum" to the 18 seen means, and ask what share $R^2$ of the variance the sums explain, on seen and on unseen classes. True factors: 1 and 1. A table: 8 of 17 directions on seen classes, by mere counting, and *worse than nothing* on unseen ones. The shipped ear lies near the rule.
#
# ### The same ear, told classes
# Live: the same beginning, the same sounds and batches, the same number of steps; only the tags differ.

# %%
by_classes, loss_classes = pretrain.teach_ear(patches, heard, config)
live = {}
for name, model in (("factors", by_factors), ("classes", by_classes)):
    live[name] = labels.measure([labels.hear(model["ear"], each) for each in sets], sets, split, seed)
display(pd.DataFrame(live).loc[[*rows, "probe_family", "probe_size", "probe_material"]].round(2))

# %%
shown = {
    "told factors": smooth(loss_factors) / know_nothing(tags),
    "told classes": smooth(loss_classes) / know_nothing(heard),
    "deaf": np.ones(len(curve)),
}
shown = {name: np.minimum(values, 1.5) for name, values in shown.items()}
title, ylabel = "Two lessons, same sounds (cut off at 1.5)", "loss / loss of a deaf guess"
plots.lines(shown, title, xlabel="step (mean of ten)", ylabel=ylabel)

# %% [markdown]
# Do not conclude much from that. It is one seed, and a short lesson: compare how far each curve has come below the line of a deaf guess, and compare `link_seen`, which says how well an ear is linked where nothing has to carry over. An ear that has hardly learned its classes cannot yet be a table of them. A fair comparison needs ears that *both* know their own lesson.
#
# ### On record: longer lessons, more seeds
# `python -m gavs_lib.lab.labels` has done this page's experiment with 2,000 clips and more steps, and with several seeds, each in two rotations (what one trains on, the other never sees). Classes are the harder lesson, so beside the ear with the same steps stands one that was told classes for three times as many. The rows are in `data/results/pretraining_labels.csv`.

# %%
runs = pd.read_csv(shipped_results("pretraining_labels"))
assert set(runs["world"]) == {fingerprint()}, "recorded in another toy shop"
kinds = ["told factors", "shipped", *labels.LESSONS, "told class"]
called = ["true factors", "shipped ear", "told factors", "told classes", "classes, 3x longer", "true class"]
names = dict(zip(kinds, called))
taught = runs[runs["ear"].isin(labels.LESSONS)]
display(taught.groupby("ear")[["clips", "steps", "batch", "loss", "minutes"]].mean().round(3))
columns = ["link_seen", "link_unseen", "additive_seen", "additive_unseen", *(f"probe_{f}" for f in factor_names)]
display(runs.groupby("ear")[columns].mean().loc[kinds].round(3))

# %% tags=["report"]
bars = []
for column, group in (("link_seen", "seen combinations, fresh clips"), ("link_unseen", "unseen combinations")):
    for kind in kinds:
        values = runs.loc[runs["ear"] == kind, column]
        how = "hears" if kind in ("shipped", *labels.LESSONS) else "guess"
        bars.append((group, names[kind], values.mean(), values.min(), values.max(), how))
    chance = runs["link_chance"].mean()
    bars.append((group, "any toy", chance, chance, chance, "guess"))
bars = pd.DataFrame(bars, columns=["group", "name", "value", "low", "high", "kind"])
plots.scores(bars, "The link finds the toy that sounds", xlabel="right toy (lines: lowest to highest run)")

# %% tags=["report"]
points = runs.assign(name=runs["ear"].map(names))
points = points.rename(columns={"additive_unseen": "additive", "link_unseen": "right", "link_chance": "chance"})
points = points.sort_values("ear", key=lambda ear: ear.map(kinds.index), kind="stable")
plots.rule_or_table(points, "Rule or table?")

# %%
by_seed = taught.pivot_table(index=["seed", "rotation"], columns="ear", values=["link_unseen", "additive_unseen"])
difference = by_seed["link_unseen"]["factors"] - by_seed["link_unseen"]["classes"]
display(by_seed.round(3))
longer = runs[runs["ear"] == "classes, longer"].set_index(["seed", "rotation"])["link_unseen"]
after = (by_seed["link_unseen"]["factors"] - longer).dropna()
for name, values in (("the same steps", difference), ("three times the steps", after)):
    spread = f"from {values.min():+.3f} to {values.max():+.3f} in {len(values)} pairs"
    print(f"factors minus classes with {name}, unseen: mean {values.mean():+.3f}, {spread}")
assert difference.min() > 0, "in every pair of runs, the ear that was told factors must be linked better"

# %% [markdown]
# **What we see.** With the same steps, the ear that was told factors is linked better on unseen combinations in each pair of runs, by .19 to .27. But look at the upper bars before you conclude: the other ear is also linked less well on **seen** combinations. So there are two effects, and the longer lesson takes them apart:
#
# - *Classes are the harder lesson.* With three times the steps (one seed only), the ear that was told classes is linked as well on seen combinations as the one that was told factors, and two thirds of its gap on unseen ones are gone.
# - *And they leave more of a table.* What stays of the gap, .89 against .97 in that seed, is there although nothing is missing on seen combinations. The layout tells the same: after three times the steps, no more of its class means is a sum of factors than before (about .3; the ear that was told factors: .8).
#
# Two more remarks. No ear is a pure table: the sounds themselves are made of factors (large toys are lower, glass rings brightly), and some of that survives any lesson; only the true class, the last row, is one. And the share of sums does not decide alone: the link has two layers and can use what is no sum, or the longer lesson could not have helped without changing that share.
#
# A feasibility trial for this course, in a smaller world and with whole GAVS models, had found a larger effect: there, *both* encoders were told classes, and the models heard well and failed on unseen combinations (`docs/pretraining.md`). That is why the labels are factors. Here the eye is the shipped one in all runs.

# %% [markdown]
# ## 4. Never on pairs
# If the encoders had met pictures *with* their sounds, "unseen combination" would mean nothing. Two things keep them apart.
#
# **Independent draws.** Sound number $i$ comes from a generator seeded with `[seed, 11, i]`, picture number $i$ from one seeded with `[seed, 21, i]`. So picture $i$ should hold the toys of sound $i$ no more often than those of any other sound. We count: how many toys that are heard in sound $i$ stand in picture $i$; and, as chance, the same for all pairs $i \neq j$. As a control that such a leak would be noticed, the same count for the toys that stand in the *scene* of sound $i$'s own clip is at least 1 by construction.

# %%
count = min(clips, pictures)
in_sound = heard.reshape(-1, 5, len(TOYS)).max(axis=1)[:count]  # [count, 36]: heard at some time in clip i
in_picture = np.zeros((count, len(TOYS)))
for i in range(count):
    in_picture[i, classes[i][classes[i] >= 0]] = 1
common = in_sound @ in_picture.T  # [count, count]: toys that sound i and picture j have in common
matched, elsewhere = np.diag(common), common[~np.eye(count, dtype=bool)]
error = elsewhere.std() / np.sqrt(count)
print(f"toys in common: {matched.mean():.3f} for i = j, {elsewhere.mean():.3f} otherwise (standard error {error:.3f})")
print(f"if they were drawn together, i = j would have {in_sound.sum(axis=1).mean():.2f} in common")
assert abs(matched.mean() - elsewhere.mean()) < 4 * error, "a picture must not know the sound of its number"
assert in_sound.sum(axis=1).mean() - elsewhere.mean() > 8 * error, "and a leak would have been noticed"

# %% [markdown]
# **Different orders.** "bell" is number 3 of the ear's questions, say, and number 7 of the eye's words. So no column of one can be matched with the same column of the other: not even the *numbering* tells what a bell looks like.

# %%
orders = pd.DataFrame({"ear": [words[k] for k in SOUND_ORDER], "eye": [words[k] for k in PICTURE_ORDER]})
orders.index.name = "number"
assert sorted(SOUND_ORDER) == sorted(PICTURE_ORDER) == list(range(len(words))), "each factor has one number in each"
same_number = int((SOUND_ORDER == PICTURE_ORDER).sum())
in_order = (heard @ pretrain.FACTOR_TABLE > 0).astype(np.float32)
assert np.array_equal(tags, in_order[:, SOUND_ORDER]), "the ear was taught in its own order"
print(f"{same_number} of {len(words)} factors happen to have the same number in both")
assert same_number <= 3, "the numbering of one must not tell that of the other"
orders.T

# %% [markdown]
# ## 5. What this stands in for
# | | the real ones | the miniatures |
# |---|---|---|
# | eye | SAM: 11 million pictures, 1.1 billion masks, asked by points and boxes | 14,000 drawn pictures; points, boxes, *and the factors of what is seen* |
# | ear | VGGish: the tags of millions of videos | 8,000 drawn clips; the factors of what is heard |
# | met each other | never | never |
#
# Be fair to the real ones: SAM was told where things end and never what they are. In a feasibility trial in a smaller world, a SAM-mini that was told points and boxes only gave a GAVS with good masks that ignored its sound. Ours was told. So results of this course show *that* and *why* prompting by sound carries over to unseen combinations **when the encoders are laid out by factors**. They do not show that SAM's and VGGish's are.
#
# To repeat the whole pre-training, interruptible at any moment:
#
# ```
# make pretrain ARGS="--compile true"      # about 50 minutes on two cores with a C++ compiler, twice that without
# python -m gavs_lib.lab.labels            # section 3's recorded rows
# ```
#
# After `make pretrain` comes `make train`: GAVS's weights belong to the encoders that they were trained with. What was tried on the way to this recipe, and what failed, is told in `docs/pretraining.md`.

# %% [markdown]
# ## Results
# The figures of this page, as JSON, for the table that `make run` prints.

# %%
average = runs.groupby("ear")["link_unseen"].mean()
metrics = {
    "loss_before": curve[0],
    "loss_after": curve[-1],
    "probe_shipped_unseen": means["shipped"],
    "probe_here_unseen": means[f"here, {steps} steps"],
    "probe_untrained_unseen": means["untrained"],
    "iou_words_found": iou["its factors, words found"],
    "iou_words_of_another_toy": iou["another toy's factors"],
    "link_unseen_true_factors": factor_link,
    "link_unseen_true_class": class_link,
    "link_unseen_shipped": extremes["shipped"]["link_unseen"],
    "recorded_link_unseen_factors": average["factors"],
    "recorded_link_unseen_classes": average["classes"],
}

# %%
metrics = {name: float(value) for name, value in metrics.items()}
facts = {"metrics": metrics, "seed": seed, "rotation": rotation, "world": fingerprint(), "torch": torch.__version__}
Path(output, "90_appendix_pretraining.json").write_text(json.dumps(facts, indent=1))
print(f"this page took {time.perf_counter() - started:.0f} s")
pd.Series(metrics).round(3)

# %% [markdown]
# ## Summary
# - The ear was asked eleven yes-or-no questions about each second, never for a class. The eye was asked by points, boxes and sums of factor words. Both met all 36 combinations, each alone.
# - What an encoder *can* tell and how it *lays it out* are two things. Trained on the same sounds, an ear that is told classes lays out more of a table, one that is told factors more of a rule; and classes take longer to learn.
# - A link that is trained on seen combinations carries over to unseen ones better from the ear that was told factors. True factors and true classes are the two ends of the scale.
# - Pictures and sounds were drawn independently, and numbered differently. What links them is learned later, from seen combinations only.
# - All this stands in for the experience of SAM and VGGish, and is stronger than theirs in one point: the factors were named.
#
# ## Quiz
# 1. The ear that was told classes gets *more* information: from the class, all three factors follow. Why can it be worse off?
#    <details><summary>Answer</summary>The lesson does not ask for more than 36 answers that a linear head can tell apart. Whether large glass bells lie near large glass drums is of no consequence for its loss, so nothing makes the layout a sum of factors. The head for factors can only be right if each factor can be read in the same direction in all classes.</details>
# 2. The additive share of random class means is about .47 on seen classes. Why not 0?
#    <details><summary>Answer</summary>Nine free vectors are fitted to 18 means. Counted from the mean of all, 8 of 17 directions can be met exactly, whatever the means are: 8 / 17 = .47. That is why only the share on unseen classes says something.</details>
# 3. A linear probe for "glass" is right in .9 of unseen combinations. Does that show that an ear was told factors?
#    <details><summary>Answer</summary>No. An untrained ear also allows probes better than chance (section 1), because brightness and decay are in the sound itself. A probe says what can be read, and not what a link will use.</details>
# 4. Somebody numbers the factors alike for eye and ear and says: they never met pairs, so nothing can leak. What could a model do?
#    <details><summary>Answer</summary>If heads or prompt vectors were kept, answer number k of the ear could be sent to word number k of the eye, and the picture of a bell would be linked with its sound without a single pair. Different orders rule that out.</details>
#
# ## References
# - A. Kirillov et al., *Segment Anything*, ICCV 2023.
# - S. Hershey et al., *CNN Architectures for Large-Scale Audio Classification* (VGGish), ICASSP 2017.
# - G. Alain, Y. Bengio, *Understanding Intermediate Layers Using Linear Classifier Probes*, ICLR workshop 2017.
# - J. Andreas, *Measuring Compositionality in Representation Learning*, ICLR 2019: how well vectors are explained as sums of parts.
# - Y. Wang et al., *Prompting Segmentation with Sound Is Generalizable Audio-Visual Source Localizer* (GAVS), AAAI 2024.
#
# ## Next
# This is the last page. What the encoders know, measured with probes: [02 · Feature extraction](02_feature_extraction.ipynb). What a prompt is: [03 · The semantic-aware prompt](03_semantic_aware_prompt.ipynb). Training GAVS on them: [05 · Training](05_training.ipynb).
