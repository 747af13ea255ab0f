# %% [markdown]
# # 01 · Data and metrics: what is seen, what is heard, and how a mask is scored
#
# *About one minute on a two-core laptop without GPU, offline.*
#
# **What you will do**
#
# 1. see and hear the *toy shop*, the miniature world of this course: families, sizes, materials,
# 2. look into a clip: who is in the picture, who sounds when, and what the truth is,
# 3. write clips in the layout of AVSBench-semantic, read them back, and have a damaged folder checked,
# 4. compute the scores of the field by hand: IoU, the F-measure, and their means,
# 5. find out what the small print changes: empty truths, the threshold, clips of different length,
# 6. see what somebody scores who does not listen at all.
#
# **Reads:** the miniature weights that come with the course; nothing is downloaded. **Writes** to `output_dir`: a folder of a few clips, `v3_example.csv`, a cache of features, and `01_data_and_metrics.json`. This page needs no other one to have been run before.

# %% tags=["parameters"]
seed: int = 11  # which toys and clips are drawn; another number gives others
folder_clips: int = 3  # clips of each part that are written to disk
clips: int = 24  # clips of five seconds that the shipped model is scored on, of each kind
long_clips: int = 12  # clips of ten seconds
guess_clips: int = 80  # clips on which guesses without a model are scored
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
import json
import platform
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from IPython.display import Audio, Markdown, display
from PIL import Image

# %%
page_started = time.perf_counter()
if device == "auto":
    device = "cuda" if torch.cuda.is_available() else "cpu"
output = Path(output_dir)
output.mkdir(parents=True, exist_ok=True)
cache = Path(cache_dir) if cache_dir else output / "cache"
print(f"Python {platform.python_version()}, torch {torch.__version__}, device {device}, seed {seed}")

# %%
from gavs_lib import load_vggish, metrics
from gavs_lib.audio import second_examples
from gavs_lib.course import plots, widgets
from gavs_lib.data import UNSEEN_TOKENS, AVSBench, v3_split
from gavs_lib.data import check as folder_check
from gavs_lib.lab.evaluate import guesses, interval, nearest_distractor
from gavs_lib.lab.shipped import load_model
from gavs_lib.lab.toyshop import scene_clip, toyshop_features
from gavs_lib.lab.train import collate, predict_masks
from gavs_lib.world.folder import fingerprint, recipes, write_folder
from gavs_lib.world.objects import FAMILIES, MATERIALS, SIZES, TOYS, Toy, draw_toy
from gavs_lib.world.scenes import FRAME, SAMPLE_RATE, render_frames, sounding_mask
from gavs_lib.world.sounds import synthesize

# %% [markdown]
# # Part one: data
# ## 1. The toy shop, seen
# Real data for this task takes a registration and a day of download. This course draws its own: a *toy* is a **family** (what it is), a **size** and a **material**. Six families, two sizes and three materials make 36 classes, and each individual of a class is drawn anew.

# %% tags=["report"]
rng = np.random.default_rng(seed)
drawn = {toy: draw_toy(toy, rng) for toy in TOYS}  # [h, w, 4]: RGB and what is covered, for a frame of 128 x 128
side = max(max(sprite.shape[:2]) for sprite in drawn.values()) + 4
variants = [(size, material) for size in SIZES for material in MATERIALS]
column_names = ["\n".join(variant) for variant in variants]


def on_paper(sprite: np.ndarray) -> np.ndarray:
    """A toy in the middle of a grey square."""
    paper, toy = Image.new("RGB", (side, side), (225, 225, 225)), Image.fromarray(sprite)
    paper.paste(toy, ((side - toy.width) // 2, (side - toy.height) // 2), toy)
    return np.asarray(paper)


table = [[on_paper(drawn[Toy(family, *variant)]) for variant in variants] for family in FAMILIES]
plots.contact_sheet(table, FAMILIES, column_names, "36 classes, drawn to one scale")

# %% [markdown]
# Read a column from top to bottom: the same size and the same material look alike in every family. That is what makes this world a fair test later: who knows drums, large things and glass *can* recognise a large glass drum without ever having met one.
#
# **We expect** the sizes never to overlap: each small toy covers less of the picture than each large one.

# %%
share = {toy: (sprite[..., 3] >= 128).sum() / FRAME**2 for toy, sprite in drawn.items()}
areas = pd.Series(share).groupby(lambda toy: toy.size).agg(["min", "max"])
display(areas.map("{:.1%}".format))
assert len({toy.name for toy in TOYS}) == 36, "36 different names"
assert areas.loc["small", "max"] < areas.loc["large", "min"], "the size can be read from the picture"

# %% [markdown]
# ## 2. The toy shop, heard
# The voices follow the same three factors. The family is *how* the sound is made: a struck bell or drum, a plucked string, an engine, chirps, a horn. The size is the pitch: small toys sound 1.4 octaves higher. The material is how the body answers: wood is dull and stops at once, metal rings longest, glass is brightest.
#
# A picture of a sound is its *log-mel spectrogram*: time to the right, pitch upwards (64 bands that follow the ear, from 125 to 7500 Hz), bright is loud. It is also all that a model gets to hear.


# %%
def log_mel(voice: np.ndarray) -> np.ndarray:
    """The spectrogram of a sound, [64 bands, 96 a second]."""
    seconds = len(voice) // SAMPLE_RATE
    return second_examples(voice, SAMPLE_RATE, seconds)[:, 0].flatten(0, 1).T.numpy()


voices = {toy: synthesize(toy, 2, rng) for toy in TOYS}
table = [[log_mel(voices[Toy(family, *variant)]) for variant in variants] for family in FAMILIES]
plots.contact_sheet(table, FAMILIES, column_names, "36 voices: 2 s to the right, 64 mel bands upwards")

# %% [markdown]
# Now listen to a few of them. First one guitar in both sizes, then one bell in all three materials.

# %%
for name in ("large-wood-guitar", "small-wood-guitar", "large-wood-bell", "large-metal-bell", "large-glass-bell"):
    display(Markdown(name.replace("-", " ")), Audio(voices[Toy.from_name(name)], rate=SAMPLE_RATE))

# %% [markdown]
# Can the factors be measured? Two numbers for a voice: its *centre*, the average mel band weighted with energy, and its *ring*, how loud the middle tenth of a second is against the loudest. We take five individuals of each class.
#
# **We expect** glass above metal above wood, and metal to ring more than wood. Where a toy holds a note (bell, bird, horn), the small one should lie above its large twin. A drum, a plucked string or an engine excites many pitches at once; there the body may have the last word.


# %%
def describe(voice: np.ndarray) -> dict:
    """Centre in mel bands, and ring: median over maximum of the loudness."""
    energy = np.exp(log_mel(voice)) - 0.01  # the spectrogram is log(mel + 0.01)
    loudness = energy.sum(axis=0)
    loudness = loudness[: len(loudness) // 12 * 12].reshape(-1, 12).mean(axis=1)  # 12 frames: 0.12 s
    centre = (energy.sum(axis=1) * np.arange(64)).sum() / energy.sum()
    return {"centre": centre, "ring": np.median(loudness) / loudness.max()}


many = [(toy, describe(synthesize(toy, 2, rng))) for toy in TOYS for _ in range(5)]
heard = pd.DataFrame([{"family": toy.family, "size": toy.size, "material": toy.material} | row for toy, row in many])
twins = heard.pivot_table(index=["family", "material"], columns="size", values="centre")
materials = heard.groupby("material")[["centre", "ring"]].mean()
display(twins.round(1), materials.round(2))
higher = (twins["small"] > twins["large"]).mean()

# %%
print(f"{higher:.0%} of the small toys lie above their large twins")
assert (twins["small"] > twins["large"])[["bell", "bird", "horn"]].all() and higher > 0.6, "the size can be heard"
assert materials["centre"].loc[["wood", "metal", "glass"]].is_monotonic_increasing, "and so can the material"
assert materials["ring"]["metal"] > materials["ring"]["wood"]

# %% [markdown]
# **What we see.** One number cannot tell three factors apart: glass drums lie above all bells, whatever their size, and some small toys even below their twins. The pitch is still there, in the lines of the spectrogram. That is why the model gets the whole spectrogram, and a network to read it.

# %% [markdown]
# ## 3. A clip: picture, sound and truth
# A clip is five or ten seconds with one picture a second. Some of its toys sound, the others stand by: *distractors*. The truth of a second is every pixel of what sounds in it. We take a clip in which several toys sound, and one second in which none does.


# %%
def has_a_quiet_second(scene) -> bool:
    """Does nothing sound in some second, and is some toy silent throughout?"""
    return not all(map(any, zip(*scene.sounding))) and len(scene.heard) < len(scene.toys)


story = next(found for found in recipes("v1m", "test", 1000, seed=seed) if has_a_quiet_second(found.scene))
scene, clip = story.scene, scene_clip(story)
display(Audio(clip.waveform, rate=clip.sample_rate))
plots.clip_sheet(clip.frames, {"picture": None, "truth": clip.masks}, "What sounds is orange")

# %%
who = {toy.name: flags for toy, flags in zip(scene.toys, scene.sounding)}
plots.sound(clip.waveform, clip.sample_rate, "Who sounds when", who)

# %% [markdown]
# The bars say who sounds in which second; compare them with the orange masks above. The sound is what a microphone would get: all voices added, often an echo, and always some noise.
#
# **We expect** the truth to be, second by second, the masks of the toys with a bar; and the pictures to tell nothing about it: they stay the same, pixel by pixel, when nobody plays.

# %%
pictures = render_frames(scene)  # frames [T, 128, 128, 3]; masks [toys, T, 128, 128], the visible part of each toy
by_hand = np.zeros_like(clip.masks)
for mask, flags in zip(pictures.masks, scene.sounding):
    for second, on in enumerate(flags):
        by_hand[second] |= mask[second] & on
assert np.array_equal(by_hand, clip.masks)
assert np.array_equal(by_hand, sounding_mask(scene, pictures.masks)), "the library's own function"
assert np.array_equal(render_frames(scene.playing(None)).frames, clip.frames), "nothing to see of who sounds"

# %% [markdown]
# ## 4. How it lies on disk
# The field's data set is **AVSBench-semantic**. It keeps each clip in a folder of its own:
#
#     <root>/metadata.csv                 one row a clip: vid, uid, s_min, s_sec, a_obj, split, label
#     <root>/label2idx.json               class name -> its number in labels_semantic
#     <root>/v1s/<uid>/frames/0.jpg ...   audio.wav   labels_rgb/0.png ...   labels_semantic/0.png ...
#
# There are three subsets: `v1s`, one sounding object in five seconds; `v1m`, several that change by the second; `v2`, ten seconds of either kind. The column `label` names the subset, and `a_obj` the classes heard, joined by `_`. `write_folder` draws the toy shop in this layout, so everything here and in the next notebooks runs on the real folder too.

# %%
parts = [("v1s", "train"), ("v1s", "test"), ("v1s", "unseen_test"), ("v1m", "train"), ("v1m", "test"), ("v2", "test")]
root = write_folder(output / f"folder-{seed}", seed=seed, counts={part: folder_clips for part in parts}, progress=False)
listed = pd.read_csv(root / "metadata.csv")
display(listed.groupby(["label", "split"]).size().rename("clips").to_frame())
display(listed[["uid", "a_obj", "split", "label"]].iloc[[0, -1]])
example = AVSBench(root, "v1m", "test")[0]  # a Clip: frames, masks, waveform, and what the table says
for place in ("frames", "labels_rgb", "labels_semantic"):
    print(place, *sorted(path.name for path in (example.path / place).iterdir()))

# %% [markdown]
# `labels_rgb` shows what sounds in a colour for each class, on black. The task of this course has two classes only, sounding and not: the mask is every pixel that is not black.
#
# **We expect** to read the same clip in six lines of our own.

# %%
numbers = range(example.seconds)
frames = [np.asarray(Image.open(example.path / "frames" / f"{t}.jpg").convert("RGB")) for t in numbers]
colours = [Image.open(example.path / "labels_rgb" / f"{t}.png").convert("RGB") for t in numbers]
masks = [np.asarray(colour.convert("L")) > 0 for colour in colours]  # "L": grey
waveform, sample_rate = soundfile.read(example.path / "audio.wav", dtype="float32")
assert np.array_equal(np.stack(frames), example.frames) and np.array_equal(np.stack(masks), example.masks)
assert np.array_equal(waveform, example.waveform) and sample_rate == example.sample_rate
t = max(numbers, key=lambda t: len(np.unique(np.asarray(colours[t]).reshape(-1, 3), axis=0)))  # most colours
shown = {f"frames/{t}.jpg": frames[t], f"labels_rgb/{t}.png": np.asarray(colours[t])}
plots.pictures(shown | {"mask": plots.overlay(frames[t], masks[t])}, "One second on disk")

# %% [markdown]
# One quirk has cost people weeks: **in the training part of `v1s` only the first second is labelled**. The reader says so in `has_mask`; the other four masks are empty because nobody drew them, not because nothing sounds.

# %%
first = AVSBench(root, "v1s", "train")[0]
print(
    "labelled seconds of a v1s training clip:", first.has_mask, "on disk:", len(list(first.path.glob("labels_rgb/*")))
)
assert first.has_mask.tolist() == [True, False, False, False, False]
assert AVSBench(root, "v1m", "train")[0].has_mask.all() and AVSBench(root, "v1s", "test")[0].has_mask.all()

# %% [markdown]
# ### 4a. V3: tests on classes that training never met
# GAVS adds a split by class, **V3**. It takes `v1m` and `v2`, forgets their splits, and keeps 14 classes out of training. A clip is *unseen* if its only sounding class is one of these (or if it is `girl_boy`, the one pair that V3 admits); *seen* if none of its classes is; all others, where known and unknown sound together, are *discarded*.
#
# **We expect** our three lines to agree with the library, `v3_split`.

# %%
names = ["guitar_man", "bell", "girl_boy", "girl_guitar", "baby_dog", "violin", "harp"]
pd.DataFrame({"uid": names, "a_obj": names, "label": "v1m"}).to_csv(output / "v3_example.csv", index=False)
split = v3_split(output / "v3_example.csv")


def fate(a_obj: str) -> str:
    """What V3 does with a clip."""
    unknown = [token in UNSEEN_TOKENS for token in a_obj.split("_")]
    alone = unknown == [True] or a_obj == "girl_boy"
    return "unseen" if alone else "discarded" if any(unknown) else "seen"


assert all(fate(a_obj) == part for part, rows in split.items() for a_obj in rows["a_obj"])
pd.DataFrame({"a_obj": names, "V3": map(fate, names)}).set_index("a_obj").T

# %% [markdown]
# How V3 divides the seen clips into training and validation cannot be computed: its published CSV lists say. `AVSBench.from_rows` reads such a list. The toy shop has lists of its own in `v3/rotation_0`, where whole classes (18 of the 36) are unseen.
#
# **We expect** that no class of the unseen list sounds in the training list.

# %%
lists = {
    name: AVSBench.from_rows(root, root / "v3" / "rotation_0" / f"meta_v3_{name}.csv")
    for name in ("seen_train", "unseen")
}
print({name: f"{len(each)} clips, {len(each.classes)} classes" for name, each in lists.items()})
assert set(lists["seen_train"].classes).isdisjoint(lists["unseen"].classes)

# %% [markdown]
# ### 4b. Is my folder whole?
# Downloads break. Before a training of a day, let the checker look at every file (with `--deep` it decodes them all):
#
#     python -m gavs_lib.data.check ROOT
#
# We call the same function here, then damage a copy: one picture is deleted, one sound cut short. **We expect** it to name both files.

# %%
assert folder_check.main([str(root)]) == 0, "the folder just written is whole"
with tempfile.TemporaryDirectory() as scratch:
    copy = Path(shutil.copytree(root, Path(scratch, "copy")))
    damaged = copy / "v1m" / example.uid
    (damaged / "frames" / "2.jpg").unlink()
    whole = (damaged / "audio.wav").read_bytes()
    (damaged / "audio.wav").write_bytes(whole[:-1000])
    problems = folder_check.check_folder(copy).problems
print(*(problem.replace(str(copy), "ROOT") for problem in problems), sep="\n")
assert len(problems) == 2 and "2.jpg" in problems[0] and "1000 bytes" in problems[1]

# %% [markdown]
# # Part two: metrics
# To score masks we need some. The shipped GAVS marks fresh test clips of the three subsets. For each pixel it gives a *logit* $x$; $\sigma(x)$ is the probability that the pixel sounds. (What the model is, the [quick start](00_quick_start.ipynb) shows.)

# %%
gavs, _ = load_model("gavs")
gavs, vggish = gavs.to(device), load_vggish("mini")
made, predicted = {}, {}  # recipes, and pairs of logits and truth, [T, 128, 128] each
for subset, count in {"v1s": clips, "v1m": clips, "v2": long_clips}.items():
    made[subset], features = toyshop_features({(subset, "test"): count}, gavs, vggish, cache, seed=seed)
    predicted[subset] = []
    for i in range(len(features)):
        logits = predict_masks(gavs, collate([features[i]]))[0].cpu()
        predicted[subset].append((logits, features[i]["masks"].bool()))

# %% [markdown]
# ## 5. IoU
# Let $P$ be the pixels predicted and $G$ those of the truth. Their *intersection over union* is
#
# $$\mathrm{IoU} = \frac{|P \cap G|}{|P \cup G| + 10^{-7}}, \qquad P = \{\sigma(x) > 0.5\}.$$
#
# It is 1 for a perfect mask and 0 if the two do not touch. The tiny number keeps the quotient finite.

# %%
logits, truth = predicted["v1s"][0]
P, G = logits.sigmoid() > 0.5, truth
intersection, union = (P & G).sum(dim=(1, 2)), (P | G).sum(dim=(1, 2))  # [T]: pixels in each second
iou_by_hand = intersection / (union + 1e-7)
assert torch.allclose(iou_by_hand, metrics.mask_iou(logits, truth), atol=1e-6)
print("IoU of the five seconds:", *(f"{value:.2f}" for value in iou_by_hand))
steps = {"predicted P": P, "truth G": G, "both: P ∩ G": P & G, "either: P ∪ G": P | G}
steps = {f"{name}\n{mask[0].sum()} pixels": mask[0].numpy() for name, mask in steps.items()}
plots.pictures(steps, f"IoU of one second: {iou_by_hand[0]:.2f}", columns=4)

# %% [markdown]
# In our run the model also marks a part of another toy. These pixels are in the union and not in the intersection, and the IoU pays for them.
#
# Masks are compared **at the size of the truth**: the logits are scaled up, never the truth down. A coarse truth would forgive coarse borders.

# %% [markdown]
# ## 6. When the truth is empty
# In some seconds nothing sounds, or what sounds is not in the picture. Then $G$ is empty and the quotient is 0 whatever is predicted, even if the model rightly marks nothing. A rule is needed. AVSBench's is: **the score is the share of pixels that are left unmarked**. Here it is on the quiet second of the clip above.

# %%
quiet = next(t for t in range(clip.seconds) if not clip.masks[t].any())
toys = pictures.masks[:, quiet]  # [toys, 128, 128]
smallest = toys[toys.sum(axis=(1, 2)).argmin()]
answers = {
    "nothing": smallest & False,
    "one toy": smallest,
    "all toys": toys.any(axis=0),
    "everything": smallest | True,
}
nobody, shown = torch.zeros(1, FRAME, FRAME), {}
for name, mask in answers.items():
    by_rule = metrics.mask_iou(torch.from_numpy(mask)[None] * 20.0 - 10, nobody).item()
    assert np.isclose(by_rule, 1 - mask.mean()), "the share left unmarked"
    shown[f"{name}:\n{by_rule:.2f}"] = plots.overlay(clip.frames[quiet], mask)
plots.pictures(shown, "Nothing sounds. What AVSBench gives for marking ...", columns=2)

# %% [markdown]
# Look at the second picture: to say that a silent toy sounds is plainly wrong, and it costs no more than the toy's area. So the rule is kind to false alarms, as toys (and most real things) are small. There are other rules. We score three answers under each of them, on the same clips, in which several toys sound: the shipped GAVS; *marks nothing*, ever; and *true masks of all toys*, sounding or not.


# %%
def under(rule: str, logits: torch.Tensor, truth: torch.Tensor) -> float:
    """The mean over a clip's seconds, under a rule for those with an empty truth."""
    iou, empty = metrics.mask_iou(logits, truth), ~truth.any(dim=2).any(dim=1)
    if rule == "left out":
        return iou[~empty].mean().item()
    if rule == "all or nothing: 1 only if nothing is marked":
        return torch.where(empty & (iou < 1), 0.0, iou).mean().item()
    if rule == "no rule: 0":
        return torch.where(empty, 0.0, iou).mean().item()
    return iou.mean().item()  # AVSBench


rules = ("AVSBench: share left unmarked", "all or nothing: 1 only if nothing is marked", "left out", "no rule: 0")

# %%
truths = [truth for _, truth in predicted["v1m"]]
everyone = [torch.from_numpy(render_frames(found.scene).masks.any(axis=0)) for found in made["v1m"]]
answers = {
    "GAVS": (predicted["v1m"], "hears"),
    "marks nothing": ([(truth * 0.0 - 10, truth) for truth in truths], "guess"),
    "all toys": ([(mask * 20.0 - 10, truth) for mask, truth in zip(everyone, truths)], "guess"),
}
rows = []
for rule in rules:
    for name, (pairs, kind) in answers.items():
        each = [under(rule, *pair) for pair in pairs]
        rows.append((rule, name, kind, np.mean(each), *interval(each)))
rows = pd.DataFrame(rows, columns=["group", "name", "kind", "value", "low", "high"])
plots.scores(rows, "Four rules for an empty truth (v1m)")

# %% [markdown]
# **We expect** "marks nothing" to score exactly the share of empty seconds under AVSBench's rule, and 0 where they are left out.

# %%
value = rows.set_index(["group", "name"])["value"]
empty_share = np.mean([(~truth.flatten(1).any(dim=1)).float().mean() for truth in truths])
print(f"empty: {empty_share:.1%} of the seconds; marks nothing: {value[rules[0], 'marks nothing']:.3f}")
print(f"GAVS, from AVSBench's rule to none: {value[rules[0], 'GAVS'] - value[rules[3], 'GAVS']:+.3f}")
assert np.isclose(value[rules[0], "marks nothing"], empty_share, atol=1e-6)
assert value[rules[2], "marks nothing"] == 0 and empty_share > 0
assert value[rules[0], "all toys"] > value[rules[1], "all toys"], "AVSBench's rule pays for false alarms"

# %% [markdown]
# **What we see.** GAVS keeps quiet when nothing sounds, so it hardly matters to it which of the first two rules is used. To a model that raises false alarms it does: "all toys" loses under the strict rule. And whoever never marks anything is given the share of empty seconds as a present, unless they are left out. None of this is a reason to invent a better rule: scores can only be compared under the same one. It is a reason to say which was used, and to report false alarms by themselves where silence matters. `false_positive_area` does: the share of the picture that is marked in seconds in which nothing visible sounds.
#
# The F-measure (section 8) has a quirk of its own here: a clip whose truth is empty throughout counts as **0**, even if the answer is perfect.

# %%
perfect = torch.full((5, FRAME, FRAME), -10.0)  # marks nothing, and nothing sounds
nothing = torch.zeros(5, FRAME, FRAME)
print(f"IoU {metrics.mask_iou(perfect, nothing).mean():.0f}, F {metrics.f_measure(perfect, nothing):.0f}")
assert metrics.mask_iou(perfect, nothing).mean() == 1 and metrics.f_measure(perfect, nothing) == 0
assert metrics.false_positive_area(perfect, nothing).mean() == 0, "no false alarm"

# %% [markdown]
# ## 7. The threshold: 0.5 or 0.4
# AVSBench marks a pixel above **0.5**. The code that the authors of GAVS published marks it above **0.4**. A lower threshold marks more, never less. Whether that helps depends on the model: does it miss pixels, or mark too many?
#
# **We expect** the best threshold of a well-trained model near 0.5, a flat curve around it, and so a small difference.


# %%
def mean_iou(pairs: list, threshold: float) -> float:
    """The mean over clips of each clip's mean over seconds."""
    return float(np.mean([metrics.mask_iou(*pair, threshold).mean() for pair in pairs]))


at = {subset: [mean_iou(predicted[subset], t) for t in np.linspace(0, 1, 21)] for subset in ("v1s", "v1m")}
both = {"GAVS release": metrics.GAVS_RELEASE_THRESHOLD, "AVSBench": metrics.AVSBENCH_THRESHOLD}
labels = {"v1s": "one toy sounds (v1s)", "v1m": "several sound (v1m)"}
plots.over_thresholds({labels[s]: at[s] for s in at}, "The shipped GAVS at every threshold", "mean IoU", both)

# %%
table = pd.DataFrame({name: {s: mean_iou(predicted[s], t) for s in at} for name, t in both.items()})
table["difference"] = table["GAVS release"] - table["AVSBench"]
display(table.round(4))
assert table["difference"].abs().max() < 0.03, "a flat curve"
pairs = [pair for subset in predicted for pair in predicted[subset]]
changes = [(metrics.mask_iou(*p, 0.4).mean() - metrics.mask_iou(*p, 0.5).mean()).item() for p in pairs]
silent = [(x, torch.zeros_like(x)) for x, _ in pairs]  # to an empty truth, all that is marked is a false alarm
marked = [torch.stack([metrics.false_positive_area(*p, t).mean() for p in silent]) for t in (0.4, 0.5)]  # [clips]
added = (marked[0] / marked[1] - 1).numpy()
print(f"0.4 marks {np.nanmedian(added):.1%} more pixels than 0.5 in the middle clip, {np.nanmax(added):.0%} at most")
print(f"change of a single clip from 0.5 to 0.4: {min(changes):+.3f} to {max(changes):+.3f}")
assert (marked[0] >= marked[1]).all(), "more pixels, never fewer"

# %% [markdown]
# A threshold is nothing but a number added to the logits: $\sigma(x) > 0.4$ is $x > \ln(0.4/0.6) \approx -0.405$. So a model that is *shy*, whose logits are all 0.405 too low, scores at 0.4 what the other scores at 0.5. **We expect** exactly that.

# %%
shift = float(np.log(0.4 / 0.6))
shy = [(logits + shift, truth) for logits, truth in predicted["v1s"]]
same = mean_iou(shy, 0.4)
print(f"the model at 0.5: {mean_iou(predicted['v1s'], 0.5):.4f}, the shy one at 0.4: {same:.4f}")
assert abs(same - mean_iou(predicted["v1s"], 0.5)) < 1e-4

# %% [markdown]
# Here is the clip on which the choice matters most. In most clips only a thin band of unsure pixels along the border changes sides (the percentage above). Where a score moves, look for more: in our run the model is in doubt whether a toy sounds *at all*, and the threshold decides how much of that toy is marked.

# %%
most = int(np.argmax(np.abs(changes)))
told = [found for subset in predicted for found in made[subset]][most]
moved, (logits, truth) = render_frames(told.scene).frames, pairs[most]
probability = logits.sigmoid().numpy()
gap = metrics.mask_iou(logits, truth, 0.4) - metrics.mask_iou(logits, truth, 0.5)
second = int(gap.abs().argmax())
plots.mask_at(moved[second], probability[second], truth[second].numpy(), 0.4, "The second that changes most, at 0.4")

# %% [markdown]
# Move the threshold yourself. (Tab reaches the controls, the arrow keys move them.)

# %%
widgets.mask_explorer(moved, probability, truth.numpy())

# %% [markdown]
# **What we see.** For this model the two thresholds differ by less than a point of mean IoU, in either direction: its probabilities are near 0 or near 1, and the curve is flat. That need not be so for another model, as the shy one shows. Chosen on the test clips, a threshold is one more parameter fitted to the test. So it is fixed beforehand and named; this course uses 0.5 unless it says otherwise.

# %% [markdown]
# ## 8. The F-measure
# AVSBench's second score tries all thresholds. With *precision* $p = |P \cap G| / |P|$ and *recall* $r = |P \cap G| / |G|$,
#
# $$F = \frac{(1 + \beta^2)\,p\,r}{\beta^2 p + r}, \qquad \beta^2 = 0.3,$$
#
# which weighs precision more. It is computed at 255 thresholds from 0 to 1, averaged over those seconds of the clip in which something sounds, and then its **maximum** over the thresholds is taken. As AVSBench's code does it, slowly:


# %%
def slow_curve(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """F at each threshold, one pass over all pixels for each."""
    curve, scored = [], truth.flatten(1).any(dim=1)
    for threshold in thresholds:
        marked = logits.sigmoid() >= threshold
        hits = (marked & truth).sum(dim=(1, 2)).float()
        precision = hits / (marked.sum(dim=(1, 2)) + 1e-20)
        recall = hits / truth.sum(dim=(1, 2))
        curve.append((1.3 * precision * recall / (0.3 * precision + recall)).nan_to_num(0.0)[scored].mean())
    return torch.stack(curve)


thresholds = torch.linspace(0, 1 - 1e-10, 255)

# %% [markdown]
# Now the quick way. Count **once** for each pixel how many of the 255 thresholds its probability reaches: that is one histogram of 256 bins for the pixels of the truth and one for all others. A pixel is marked at threshold $k$ if it reached more than $k$ of them, so summing a histogram from the top gives the counts at every threshold.


# %%
def quick_curve(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """F of one second at each threshold, from two histograms."""
    reached = torch.bucketize(logits.sigmoid(), thresholds, right=True)  # 0 ... 255
    inside = torch.bincount(reached[truth], minlength=256)
    outside = torch.bincount(reached[~truth], minlength=256)
    hits, false_alarms = (histogram.flip(0).cumsum(0).flip(0)[1:] for histogram in (inside, outside))
    precision = hits / (hits + false_alarms + 1e-20)
    recall = hits / truth.sum()
    return (1.3 * precision * recall / (0.3 * precision + recall)).nan_to_num(0.0)


# %% [markdown]
# **We expect** the two to agree, with each other and with the library's `f_curve`, and the second to be many times faster.

# %%
begun = time.perf_counter()
slow = slow_curve(logits, truth)
between = time.perf_counter()
quick = torch.stack([quick_curve(x, g) for x, g in zip(logits, truth) if g.any()]).mean(dim=0)
ended = time.perf_counter()
f_ratio = (between - begun) / (ended - between)
print(f"loop {1e3 * (between - begun):.0f} ms, histogram {1e3 * (ended - between):.0f} ms: {f_ratio:.0f} times as fast")
assert torch.allclose(slow, quick, atol=1e-5)
assert torch.allclose(quick, metrics.f_curve(logits, truth), atol=1e-5)
assert torch.isclose(quick.max(), metrics.f_measure(logits, truth)), "the F-measure is the maximum of the curve"
lines = {"loop over 255 thresholds": slow, "one histogram": quick}
plots.over_thresholds(lines, f"F of one clip; its maximum is {slow.max():.2f}", "F")

# %% [markdown]
# Because each clip may choose its own best threshold, and chooses it knowing the truth, the F-measure is kinder than IoU. It also depends on what is averaged before the maximum is taken. **We expect** the mean of the clips' maxima to be at least the maximum of their mean curve, and this at least the value at 0.5.

# %%
f_each = [metrics.f_measure(*pair).item() for pair in predicted["v1s"]]
f_v1s = np.mean(f_each)  # AVSBench, one clip at a time
together = [torch.cat(part) for part in zip(*predicted["v1s"])]  # as if all clips were one batch
f_together, f_at_half = metrics.f_measure(*together).item(), metrics.f_curve(*together)[127].item()
print(f"each clip's best: {f_v1s:.4f}; one best for all: {f_together:.4f}; at {thresholds[127]:.2f}: {f_at_half:.4f}")
print(f"mean IoU of the same clips: {mean_iou(predicted['v1s'], 0.5):.4f}")
assert f_v1s + 1e-6 >= f_together >= f_at_half

# %% [markdown]
# ## 9. Means of what?
# AVSBench averages over the seconds of each video, then over videos. Where all videos are equally long this is the mean over all frames. `v2` has ten seconds and the others five, and there the two part: a mean over frames counts a long video twice. A third way sums intersections and unions over the whole data set before it divides, so that large objects count more. Some papers print that one, under the same name.
#
# On paper: a video of 5 seconds with IoU 1.0 and one of 10 seconds with 0.4 give $(1.0 + 0.4)/2 = 0.70$ over videos, and $(5 \cdot 1.0 + 10 \cdot 0.4)/15 = 0.60$ over frames.


# %%
def three_means(pairs: list) -> dict:
    """The library's three, which are fed one video after the other."""
    meters = {
        "mean over videos": metrics.MeanIoU(),
        "mean over frames": metrics.MeanIoU(per_frame=True),
        "summed areas": metrics.DatasetIoU(),
    }
    for pair in pairs:
        for meter in meters.values():
            meter.update(*pair)
    return {name: meter.compute().item() for name, meter in meters.items()}


mixed = predicted["v1s"] + predicted["v2"]
missed = predicted["v1s"] + [(logits * 0 - 10, truth) for logits, truth in predicted["v2"]]
groups = {"5 s": predicted["v1s"], "5 s and 10 s": mixed, "the same, had it missed every clip of 10 s": missed}
means = pd.DataFrame({name: three_means(pairs) for name, pairs in groups.items()})

# %% [markdown]
# **We expect** no difference between videos and frames for equal lengths, and a clear one when the long clips are the bad ones.

# %%
each = [metrics.mask_iou(*pair) for pair in mixed]
assert np.isclose(means["5 s and 10 s"]["mean over videos"], np.mean([iou.mean() for iou in each]), atol=1e-5)
assert np.isclose(means["5 s and 10 s"]["mean over frames"], torch.cat(each).mean(), atol=1e-5)
assert np.isclose(means["5 s"]["mean over videos"], means["5 s"]["mean over frames"], atol=1e-5)
last = means.iloc[:, -1]
assert last["mean over videos"] > last["mean over frames"] + 0.02, "frames count long clips twice"
rows = [(group, name, "hears", means[group][name], np.nan, np.nan) for group in groups for name in means.index]
rows = pd.DataFrame(rows, columns=["group", "name", "kind", "value", "low", "high"])
plots.scores(rows, "One model, three ways to average its IoU", "IoU")

# %% [markdown]
# **What we see.** The same masks, and several numbers for them. On this model's own masks they lie close together, since it does about equally well on short and long clips, on small and large toys. The third group shows what happens when it does not; on real data the gap can be ten points (CAVP reports 89.4 for summed areas and 78.8 for the mean on AVSBench's single-source part, same weights). None is wrong; but only equal ones may be compared. In this library each has a name of its own, and "mIoU" means AVSBench's: over videos, at 0.5.

# %% [markdown]
# ## 10. What do you score without listening?
# A number needs a floor to stand on. Suppose somebody is *given* the true masks of all toys, but no sound, and then marks a random toy, or always the largest, or all of them. How much is that worth? The toy shop is built so that it is not much: there are distractors in each picture, often of the same family, and nothing tells who sounds.

# %%
stories = {subset: list(recipes(subset, "test", guess_clips, seed=seed)) for subset in ("v1s", "v1m")}
toys_shown = [len(found.scene.toys) for found in stories["v1s"]]
kin = pd.Series([nearest_distractor(found) for found in stories["v1s"]]).value_counts(normalize=True)
print(f"toys in a picture (v1s): {min(toys_shown)} to {max(toys_shown)}, {np.mean(toys_shown):.1f} on average")
print("the silent toy most like the sounding one:", {name: f"{part:.0%}" for name, part in kin.items()})
assert min(toys_shown) >= 2, "there is always something to confuse"
assert 0.2 < 1 - kin["other family"] < 0.6, "about 40 % of the pictures hold a toy of the same family"

# %% [markdown]
# `guesses` scores them. By hand, for the random toy of the first clip: the IoU of each toy's mask with the truth, averaged over the toys. **We expect** the same number, and all guesses far below the model.

# %%
floor = {subset: guesses(found) for subset, found in stories.items()}
scene = stories["v1s"][0].scene
each = torch.from_numpy(render_frames(scene).masks)  # [toys, T, 128, 128]
truth = torch.from_numpy(sounding_mask(scene, each.numpy()))
random_toy = np.mean([metrics.mask_iou(mask * 20.0 - 10, truth).mean() for mask in each])
assert np.isclose(random_toy, floor["v1s"]["random"][0], atol=1e-5)
rows = []
for subset, group in labels.items():
    own = [metrics.mask_iou(*pair).mean().item() for pair in predicted[subset]]
    rows.append((group, "GAVS", "hears", np.mean(own), *interval(own)))
    for name in ("random", "largest", "everything"):
        scored = floor[subset][name]
        rows.append(
            (group, f"{name} toy" if name != "everything" else "all toys", "guess", scored.mean(), *interval(scored))
        )

# %% tags=["report"]
rows = pd.DataFrame(rows, columns=["group", "name", "kind", "value", "low", "high"])
value = rows.set_index(["group", "name"])[["value", "low", "high"]]
best = value.loc[labels["v1s"]].drop("GAVS")["value"].max()
print(f"v1s: the best guess {best:.2f}, GAVS {value['value'][labels['v1s'], 'GAVS']:.2f}")
assert value["value"][labels["v1s"], "GAVS"] > best + 0.1, "the model must beat who only looks"
plots.scores(rows, "True masks, but no ears: guesses beside the model")

# %% [markdown]
# **What we see.** Where one toy sounds, even perfect masks are worth little to somebody who does not know which toy it is. The difficulty is real, and it is one of *hearing*. (The intervals say how far to trust a bar: "largest" is all or nothing in each clip, so it swings.) Where several sound, marking everything pays better: a second reason to look at both kinds. A model that scores like these guesses may draw beautiful masks, but it has not listened; the deaf twin of the [quick start](00_quick_start.ipynb) is the stricter test of the same thing.

# %% [markdown]
# ## Results
# The figures of this page, as JSON, for the table that `make run` prints.

# %%
measured = {f"miou_{subset}": table["AVSBench"][subset] for subset in labels}
measured |= {f"miou_{subset}_at_0.4": table["GAVS release"][subset] for subset in labels}
measured |= {"f_v1s": f_v1s, "histogram_times_as_fast": f_ratio, "empty_seconds_v1m": float(empty_share)}
measured |= {"miou_mixed_videos": means["5 s and 10 s"]["mean over videos"]}
measured |= {"miou_mixed_frames": means["5 s and 10 s"]["mean over frames"]}
measured |= {f"miou_guess_{name}": float(floor["v1s"][name].mean()) for name in ("random", "largest", "everything")}

# %%
over = {f"miou_guess_{name}": floor["v1s"][name] for name in ("random", "largest", "everything")}
for subset in labels:
    over[f"miou_{subset}"] = [metrics.mask_iou(*pair).mean().item() for pair in predicted[subset]]
    over[f"miou_{subset}_at_0.4"] = [metrics.mask_iou(*pair, 0.4).mean().item() for pair in predicted[subset]]
over |= {"f_v1s": f_each, "miou_mixed_videos": [metrics.mask_iou(*pair).mean().item() for pair in mixed]}
intervals = {name: interval(values) for name, values in over.items()}  # 95 %, over clips
settings = {"seed": seed, "clips": clips, "long_clips": long_clips, "guess_clips": guess_clips}
facts = {"metrics": measured, "intervals": intervals, **settings, "world": fingerprint(), "torch": torch.__version__}
Path(output, "01_data_and_metrics.json").write_text(json.dumps(facts, indent=1))
print(f"this page took {time.perf_counter() - page_started:.0f} s")
pd.Series(measured).round(3)

# %% [markdown]
# ## Summary
# - A toy is family × size × material, and each factor means the same to the eye and to the ear in every family.
# - An AVSBench-semantic folder holds one picture a second, the sound, and the truth in colours; the mask is what is not black. In the training part of `v1s` only the first second is labelled.
# - `python -m gavs_lib.data.check ROOT` says whether a folder is whole.
# - IoU needs a rule for empty truths, a threshold and a way to average. Each choice moves the score; a score without them cannot be compared.
# - The F-measure takes each clip's best threshold; one histogram gives it without 255 passes.
# - Guesses with perfect masks show what a score is worth that needed no ears.
#
# ## Quiz
# 1. A model marks a silent toy that covers 4 % of the picture in a second in which nothing sounds. What does AVSBench's IoU give, and what does `false_positive_area` say?
#    <details><summary>Answer</summary>0.96 and 0.04. The first reads like a success, the second is a false alarm of a whole toy.</details>
# 2. You want to raise a published score without touching the model. Which choices on this page would do it?
#    <details><summary>Answer</summary>Another threshold, chosen on the test clips; the mean over frames or the summed areas instead of the mean over videos; the F-measure with each clip's own threshold; another rule for empty truths. None of them makes a mask better, so each must be named.</details>
# 3. Can a threshold of 0.4 instead of 0.5 ever raise the precision of a frame?
#    <details><summary>Answer</summary>It only adds pixels. Recall cannot fall; precision can rise, but only if the added pixels are right more often than those marked before.</details>
# 4. `girl_guitar` is discarded in V3, `guitar_man` is seen. Why not train on the first?
#    <details><summary>Answer</summary>A girl would sound and be marked in training, and then be tested as a class that was never met.</details>
# 5. "True masks of all toys" scores better in `v1m` than in `v1s`. Is `v1m` the easier subset?
#    <details><summary>Answer</summary>For this guess, since more of what it marks does sound. A model that listens finds it harder: it has to hear two or three voices at once, and when each of them stops.</details>
#
# ## References
# - J. Zhou et al., *Audio-Visual Segmentation* (AVSBench, its two scores), ECCV 2022.
# - J. Zhou et al., *Audio-Visual Segmentation with Semantics* (AVSBench-semantic), IJCV 2024.
# - Y. Wang et al., *Prompting Segmentation with Sound Is Generalizable Audio-Visual Source Localizer* (GAVS, V3), AAAI 2024.
# - Y. Chen et al., *Unraveling Instance Associations: A Closer Look for Audio-Visual Segmentation* (CAVP), CVPR 2024.
# - R. Achanta et al., *Frequency-tuned Salient Region Detection* (the F-measure with $\beta^2 = 0.3$), CVPR 2009.
#
# ## Next
# Change `seed` and run the page again: which of the statements above survive other clips? Then 02, feature extraction, follows a second of sound through VGGish and a picture through SAM. How the model is trained on such folders, yours included, is in [05 · Training](05_training.ipynb).
