# %% [markdown]
# # 08 · Ablations, baselines, and a variant of your own
#
# *About two minutes on a two-core laptop without GPU, offline; half of it is a short training of your own variant.*
#
# **What you will do**
#
# 1. see whom GAVS is compared with, where sound enters each of them, and whether the comparison is fair,
# 2. read the paper's Table 5 with paired differences and intervals beside it,
# 3. take the prompt apart, in training this time, and find out what its semantic loss can and cannot reach,
# 4. see how much width and depth of the adapters matter,
# 5. look at the cases that a mean over clips hides,
# 6. **write a prompt of your own in under thirty lines**, train it, save it, load it, and put it into the table without touching the library.
#
# **Reads:** the miniature weights, and two tables of trainings that were run before: `data/results/grid.csv` (what the laboratory, `python -m gavs_lib.lab.grid`, has trained) and `data/results/hard_cases.csv`. **Writes** to `output_dir`: two runs, your variant's weights, a cache, and `08_ablations.json`.
#
# *Recorded* means: trained by the laboratory with all clips, read from a table here. *Live* means: trained on this page, with few clips and few steps. The two are never compared with each other. Where the laboratory has not trained something yet, this page says so instead of showing it; `results` takes a table of your own.

# %% tags=["parameters"]
results: str = ""  # a table that gavs_lib.lab.grid wrote; "": the recorded one
aliases: dict = {}  # what that table has in place of the course's variants, such as {"gavs": "gavs, V2"}
seen_parts: list = ["v1s test", "v1m test"]  # its tests of seen classes; of AVSBench's V2: all three
unseen_parts: list = ["v1s unseen_test", "v1m unseen_test"]  # and of unseen ones; of AVSBench's V2: none
test_clips: int = 20  # fresh clips of seen classes, and as many of unseen ones, that live models are measured on
oracle_clips: int = 8  # on which somebody who knows the truth picks SAM's best mask (slow)
batches: int = 40  # random batches of eight clips in which the semantic loss is computed
train_clips: int = 96  # clips that the two live trainings see
val_clips: int = 6  # to choose their best epoch with
steps: int = 80  # optimiser steps of each live training; an epoch is an eighth of the clips
lr: float = 1e-3  # AdamW's learning rate
first_variant: str = "gavs"  # shown in the last figure, if they are recorded
second_variant: str = "5i visual adapters"  # likewise
seed: int = 8  # of the clips, the weights at the start and the order of training
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
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from IPython.display import display
from torch import nn

if device == "auto":
    device = "cuda" if torch.cuda.is_available() else "cpu"
page_started = time.perf_counter()
print(f"Python {platform.python_version()}, torch {torch.__version__}, device {device}, seed {seed}")

# %%
from gavs_lib import GAVS, build_sam, load_vggish
from gavs_lib._shipped import shipped_results
from gavs_lib.course import plots, widgets
from gavs_lib.data import paper_table
from gavs_lib.decoder import decode_masks
from gavs_lib.lab.evaluate import interval, sam_oracle, score
from gavs_lib.lab.experiment import Experiment, clip_cues

# %%
from gavs_lib.lab.features import embed_sound
from gavs_lib.lab.shipped import FROZEN_ENCODER, MINI_CONFIG, MINI_TRAINING, build_model, load_model
from gavs_lib.lab.statistics import ENOUGH, compare, joined, paired, read_results, side_by_side, spread
from gavs_lib.lab.toyshop import toyshop_clips, toyshop_features
from gavs_lib.lab.train import collate, fit, predict_masks
from gavs_lib.lab.tune import FEW_SHOT_RATES, RATES
from gavs_lib.lab.weights import load_trained, save_trained
from gavs_lib.losses import semantic_loss
from gavs_lib.prompt import global_average_pool
from gavs_lib.world.folder import DEFAULT_COUNTS, fingerprint, recipes
from gavs_lib.world.scenes import SAMPLE_RATE, mix, render_stems

# %%
output = Path(output_dir)
output.mkdir(parents=True, exist_ok=True)
cache = Path(cache_dir) if cache_dir else output / "cache"
vggish = load_vggish("mini").to(device)

# %% [markdown]
# ## 1. Who is compared with whom
# A claim such as "prompting is better than fusing" needs rivals that differ in nothing else. All models here stand on the same frozen SAM-mini and VGGish-mini, and are trained on the same clips for the same number of steps.
#
# | Model | How sound enters |
# |---|---|
# | **GAVS** | as SAM's prompt: one token made of sound and picture; adapters in encoder and decoder |
# | **Audio-SAM** | as SAM's prompt, made of sound alone; all of SAM stays as it is (in Table 5 this is row a, trained with GAVS's learning rate; the laboratory's Audio-SAM has half of that, which its own trials chose; the one that ships with the course, of which the oracle below and section 5 tell, still has GAVS's) |
# | **SAM-Fusion** | into the picture's features, which are scaled and shifted by it; no prompt; GAVS's adapters |
# | **AV-fusion** | as SAM-Fusion, without visual adapters (our reading of Table 5, row g) |
# | **AV-SAM** | into the picture's features, of which a prompt is then made; all of SAM stays as it is |
# | **TPAVI** | into the picture's features, over all seconds at once; a decoder of its own, trained from nothing |
#
# In the picture a note marks where the sound enters; numbers are the values that train there, counted in the models themselves.

# %%
rival_settings = {
    "GAVS": ("gavs", MINI_CONFIG),
    "Audio-SAM": ("audio_sam", FROZEN_ENCODER),
    "SAM-Fusion": ("sam_fusion", MINI_CONFIG),
    "AV-fusion": ("sam_fusion", replace(MINI_CONFIG, adapter_width=0)),
    "AV-SAM": ("av_sam", FROZEN_ENCODER),
    "TPAVI": ("tpavi", MINI_CONFIG),
}
stages = {
    "encoder": ("visual adapters", "layer norms of these blocks"),
    "fusion": ("fusion", "scales", "interaction"),
    "prompt": ("prompt",),
    "decoder": ("ColA", "decoder", "head"),
}

# %%
rows = []
for name, (kind, config) in rival_settings.items():
    groups = {g: sum(values.values()) for g, values in build_model(kind, config).trainable_summary().groups.items()}
    entry = "fusion" if "fusion" in groups or "interaction" in groups else "prompt"
    for stage, members in stages.items():
        trained = float(sum(groups.get(group, 0) for group in members))
        exists = trained > 0 or stage in ("encoder", "decoder")
        rows.append((name, stage, trained if exists else np.nan, stage == entry))
    assert set(groups) <= {group for members in stages.values() for group in members}, "every trained group is counted"
rivals = pd.DataFrame(rows, columns=["name", "stage", "trained", "sound"])

# %% tags=["report"]
plots.rivals(rivals, "Where sound enters (♪), and what trains (green)")

# %% [markdown]
# Two questions of fairness. *Capacity*: **we expect** each rival to train between half and twice as many values as GAVS, or else a reason. *Effort*: a model whose settings were tried ten times beats one that was tried once. The table counts the trials, on validation clips, in `data/results/tuning.csv`: learning rates of the first training and of the k-shot training after it, and other settings.

# %%
counts = rivals.groupby("name", sort=False)["trained"].sum()
reasons = {"Audio-SAM": "only its prompt may train"}
tried = pd.read_csv(shipped_results("tuning"))
tried = tried[~tried["variant"].str.startswith("64 pixels")]  # those of notebook 09
tried["rate"] = tried["variant"].isin([*RATES, *FEW_SHOT_RATES])
fairness = pd.DataFrame({"trained values": counts.astype(int), "times GAVS": (counts / counts["GAVS"]).round(2)})
fairness["why so few or many"] = [reasons.get(name, "") for name in counts.index]
for column, rate in (("rates tried", True), ("other settings tried", False)):
    trials = Counter(tried.loc[tried["rate"] == rate, "model"])
    fairness[column] = [trials[rival_settings[name][0]] for name in counts.index]
display(fairness)
outside = set(counts.index[~(counts / counts["GAVS"]).between(0.5, 2)])
assert outside <= set(reasons), f"more than a factor of two from GAVS, without a reason: {outside - set(reasons)}"

# %% [markdown]
# (AV-fusion shares the trials of SAM-Fusion. Where fewer rates have been tried than for GAVS, read the scores as a lower bound. The other settings were tried for GAVS alone and left it as it was; that cannot favour a rival.)
#
# **A bound from above.** What could *any* prompt reach? SAM can be asked for all masks it finds in a picture; somebody who knows the truth then picks the best of them in each frame. **We expect** this oracle above the models: it cannot mishear. It is a bound for SAM as it is; where SAM offers no good mask at all (a toy half hidden, or of its floor's colour), adapters may still draw a better one.

# %%
sam = build_sam("mini", "shipped")
made, _ = toyshop_clips({("v1s", "test"): oracle_clips}, seed=seed)
few_clips = {"SAM, best mask picked": (sam_oracle(sam, made)["miou"], "guess")}
for name, kind in (("GAVS", "gavs"), ("SAM-Fusion", "sam_fusion"), ("Audio-SAM", "audio_sam")):
    model = load_model(kind)[0].to(device)
    _, clips = toyshop_features({("v1s", "test"): oracle_clips}, model, vggish, cache, seed=seed)
    few_clips[name] = (score(model, clips, batch_size=4)["miou"], "hears")

# %%
rows = []
for name, (values, kind) in few_clips.items():
    low, high = interval(values)
    rows.append(dict(group="one toy sounds", name=name, kind=kind, value=values.mean(), low=low, high=high))
display(plots.scores(pd.DataFrame(rows), f"Shipped models and SAM's own ceiling, {oracle_clips} clips"))
oracle, by_ear = few_clips["SAM, best mask picked"][0], few_clips["GAVS"][0]
assert oracle.mean() > 0.5, "among SAM's own masks there is a good one: SAM is not what limits the models"
assert by_ear.mean() > 0.3, "the shipped GAVS finds it by ear in most clips"

# %% [markdown]
# The same bound on the first twenty of each part of the laboratory's test clips, recorded for all rotations (`python -m gavs_lib.lab.oracle`), in percent; mean and deviation over rotations. No single mask covers two toys that sound together, so `v1m` has a lower ceiling.

# %%
bound = spread(read_results(shipped_results("oracle")), ["variant", "part"])
bound["text"] = [f"{100 * row.mean:.1f} ± {100 * row.sd:.1f}" for row in bound.itertuples(index=False)]
bound.pivot(index="variant", columns="part", values="text")

# %% [markdown]
# With so few clips the intervals are wide; the point is that between the oracle and a model that hears well little room is left. What separates the models must then be sought where they fail: in hard cases (section 5) and on unseen classes.

# %% [markdown]
# ## 2. The paper's Table 5
# An ablation takes parts away, or adds them one by one. The paper's Table 5 has ten rows, trained and tested on AVSBench V2. Ours are trained on the toy shop with the course's settings, the ablations in rotation 0, section 1's models in more of them. We read the recorded trainings; "seen" are the test clips of `v1s` and `v1m` with classes that trained, "unseen" those with classes that did not, joined clip by clip. Means below are of rotation 0, where all variants have trainings; pairs use every training that both sides have.

# %%
recorded = read_results(results or None, aliases)
stale = set(recorded["world"]) - {fingerprint()}
if results:
    print("This table may be of other data than the toy shop: read its figures apart from those that are live here.")
else:
    assert not stale, f"rows of another toy shop than this one: {stale}; train them again"
zero_shot = recorded[(recorded["shots"] == 0) & (recorded["state"] == "best")]
print(f"{zero_shot.loc[zero_shot['rotation'] == 0, 'variant'].nunique()} variants are recorded in rotation 0")

# %%
groups = {"seen": seen_parts, "unseen": unseen_parts}  # the parts of each joined, clip by clip
miou, f_scores = (joined(zero_shot[zero_shot["figure"] == figure], groups) for figure in ("mIoU", "F"))
tested_kinds = [kind for kind, parts in (("seen", seen_parts), ("unseen", unseen_parts)) if parts]
here_miou, here_f = (each[each["rotation"] == 0] for each in (miou, f_scores))

# %% [markdown]
# ### The table
# The last two columns are the paper's, on real data with official weights, and no yardstick for ours: look at the *order* of rows, not at the figures. `trainings` says on how many seeds a row of ours rests; an empty row has not been trained yet.

# %%
TABLE_5 = {"a": "5a freeze", "b": "5b fine-tune", "c": "5c AV", "d": "5d VA", "e": "5e ColA"}
TABLE_5 |= {"f": "5f ColA + AV + VA", "g": "5g AV-fusion", "h": "5e ColA", "i": "5i visual adapters", "j": "gavs"}
table = paper_table("gavs", 5).pivot(index=["row", "method"], columns="metric", values="value").reset_index("method")
table.columns = ["paper's name", "F (paper, real data)", "mIoU % (paper, real data)"]
for name, each, scale in (("F", here_f, 1), ("mIoU %", here_miou, 100)):
    means = spread(each, ["variant", "classes"]).set_index(["variant", "classes"])
    for classes in ("unseen", "seen"):
        values = means["mean"].reindex([(TABLE_5[row], classes) for row in table.index])
        table.insert(1, f"{name}, {classes}", (scale * values.astype(float)).round(1 if scale == 100 else 3).to_numpy())
seeds_of = here_miou.groupby("variant")["seed"].nunique()
table["trainings"] = [seeds_of.get(TABLE_5[row], 0) for row in table.index]
trained_values = zero_shot[zero_shot["figure"] == "trained values"].groupby("variant")["value"].first()
table["trained values"] = [trained_values.get(TABLE_5[row], np.nan) for row in table.index]
table

# %% [markdown]
# ### Differences, in pairs
# Clips differ far more than models do, so models are compared clip by clip and training by training. The questions of one picture are one family, each asked of seen and of unseen classes: with $n$ of them, measured or not, each interval gets the confidence $1 - 0.05/n$ (Bonferroni), so that all of one family hold at once in 95 % of repetitions, as far as a bootstrap of few trainings can promise that (`gavs_lib.lab.statistics` says how far). **But three seeds in one rotation can agree by chance**, and no interval made of three can know that: where seeds differ much, it holds in nine cases of ten instead of 95 of a hundred. And other unseen classes are not accounted for at all. So a verdict from fewer than six trainings is called *provisional*; take it as a reason to look, not as a finding.


# %%
def ask(questions: dict[str, tuple[str, str]], subject: str) -> pd.DataFrame:
    """Paired differences a - b in points, seen and unseen, of every question (name -> a, b) that can be answered."""
    asked = [(kind, name) for kind in tested_kinds for name in questions]
    pairs = [tuple({"variant": side, "classes": kind} for side in questions[name]) for kind, name in asked]
    found = compare(miou, dict(zip(asked, pairs))).rename(columns={"difference": "value"})
    found[["value", "low", "high"]] *= 100
    found = found.assign(group=[kind for kind, _ in asked], name=[name for _, name in asked])
    missing = found.loc[found["units"] == 0, "name"].unique()
    print(f"{subject}: {len(asked)} questions; not yet measured: {', '.join(missing) or 'none'}")
    return found[found["units"] > 0]


# %%
def verdict(row) -> str:
    """What an interval says about a - b."""
    told = "clearly more" if row.low > 0 else "clearly less" if row.high < 0 else "not decided by these trainings"
    return told + (" (provisional)" if row.units < ENOUGH and (row.low > 0 or row.high < 0) else "")


def tell(found: pd.DataFrame) -> None:
    """One line an answer."""
    for row in found.itertuples():
        told = f"{row.value:+.1f} [{row.low:+.1f}, {row.high:+.1f}] points, {row.units} training(s)"
        print(f"{row.group:7} {row.name}: {told}: {verdict(row)}")


def draw(found: pd.DataFrame, title: str) -> None:
    """The same as a picture, if there is an answer."""
    if len(found):
        display(plots.estimates(found, title, "difference of mean IoU (points)"))


# %% [markdown]
# The paper reads its table thus: ColA adds to the frozen SAM (e - a), visual adapters add to that (i - h), and the semantic-aware prompt to both (j - i). **We expect** the first two to be harder to see here than there: SAM-mini was pre-trained on this very world, so there is little to adapt to. And of the third, notebook 03 found that in a trained GAVS the cue hardly reaches the token.

# %% tags=["report"]
own_rate = "ColA (e - Audio-SAM at its own rate)"  # a with the rate that its trials chose, instead of GAVS's
steps_up = {"ColA (e - a)": ("5e ColA", "5a freeze"), own_rate: ("5e ColA", "audio_sam")}
steps_up["+ visual adapters (i - h)"] = ("5i visual adapters", "5e ColA")
steps_up["+ semantic-aware prompt (j - i)"] = ("gavs", "5i visual adapters")
ladder = ask(steps_up, "Table 5")
tell(ladder)
draw(ladder, "What each step of Table 5 adds")

# %%
claim = {"clearly more": "holds", "clearly less": "the reverse holds"}
answers = {}
for row in ladder.itertuples():
    told, *caution = verdict(row).split(" (")
    answers[row.group, row.name] = " (".join([claim.get(told, told), *caution])
for name in list(steps_up)[2:]:
    for classes in ("seen", "unseen"):
        print(f"'{name} adds something', {classes} classes: {answers.get((classes, name), 'not yet measured')}")

# %% [markdown]
# **How to read it.** The paper's claim, "visual adapters and SAP each add to ColA", stands or falls by the last lines. Row a is Audio-SAM, trained here with GAVS's learning rate like every row; its own trials chose half of that, and against that training ColA's step is smaller. A part that adds something on seen classes and takes something away on unseen ones has learned *these* toys. Rows e and h of the paper print the same figures and are the same model, so there is one training for both.

# %% [markdown]
# ### The rivals among themselves
# Section 1's models beside the paper's Table 1: seen classes, one sound (V1S) and several (V1M), all trainings that are recorded. In the paper each column is a training of its own on real data; ours learn both kinds of clips at once. Again only the order may be compared.

# %%
in_paper = {"gavs": "GAVS", "audio_sam": "Audio-SAM", "sam_fusion": "SAM-Fusion", "av_sam": "AV-SAM"}
in_paper["tpavi"] = "AVSBench"
of_rivals = zero_shot[zero_shot["variant"].isin(list(in_paper)) & zero_shot["part"].isin(seen_parts)]
of_rivals = spread(of_rivals[of_rivals["figure"].isin(["mIoU", "F"])], ["variant", "part", "figure"])
of_rivals["text"] = [f"{row.mean:.3f} ± {row.sd:.3f}" for row in of_rivals.itertuples(index=False)]
beside = of_rivals.pivot(index="variant", columns=["part", "figure"], values="text")
beside["", "trainings"] = of_rivals.groupby("variant")["units"].max()
printed = paper_table("gavs", 1).query("dataset != 'V2'").assign(dataset=lambda rows: "paper, " + rows["dataset"])
printed = printed.pivot(index="method", columns=["dataset", "metric"], values="value")
beside.rename(index=in_paper).reindex(list(in_paper.values())).join(printed)

# %% [markdown]
# And the question of Table 5 for these models: is GAVS better than each of them, on seen classes and on unseen ones?

# %%
against = {"GAVS - Audio-SAM": "audio_sam", "GAVS - SAM-Fusion": "sam_fusion", "GAVS - AV-fusion": "5g AV-fusion"}
against |= {"GAVS - AV-SAM": "av_sam", "GAVS - TPAVI": "tpavi"}
duels = ask({name: ("gavs", variant) for name, variant in against.items()}, "Rivals")
tell(duels)
draw(duels, "GAVS and its rivals")

# %% [markdown]
# ## 3. The prompt, part by part
# Notebook 03 operated on a finished model. Here each variant was *trained* without the part, which answers another question: not what this model uses, but what a model needs.

# %%
prompt_questions = {  # neither cue nor noise: Table 5, j - i
    "whole prompt - no noise": ("gavs", "cue, no noise"),
    "whole prompt - no cue": ("gavs", "noise, no cue"),
    "noise learned - noise drawn": ("gavs", "gaussian noise"),
}
parts_found = ask(prompt_questions, "Prompt")
tell(parts_found)
draw(parts_found, "The prompt, part by part")

# %% [markdown]
# **How to read it.** Be suspicious where an interval says that the learned noise helps. A learned vector in front of a linear layer is nothing but a bias (notebook 03), so it cannot *mean* anything. Either the start matters, for with it the hidden layer begins with larger and more different biases; or it is chance: without it, each of three trainings happened to miss a class or two (section 4, below, shows how often that happens). *Provisional* is the word for this.
#
# ### The semantic loss
# It wants a clip's cue $v_i$ (an average over the picture) nearer to its own sound $a_i$ than to any other clip's, by a margin $m$:
#
# $$\ell_i = \big[m - s(v_i, a_i) + \max_{j \ne i} s(v_i, a_j)\big]_+ \quad (10)$$
#
# A loss that sits at its margin teaches nothing, or cannot. Three facts help to read it.
#
# - **Cues that say nothing.** If all cues are one vector, no clip is nearer to its own sound than the next. Were all sounds equally near, $\ell_i = m$; as they are not, one sound is the nearest for *every* clip, and the mean can only be larger. **We expect** $\ge m$.
# - **The best conceivable cue** would be the sound itself, $s = 1$. How near that comes to 0 depends on how much the sounds of different clips resemble each other.
# - **What can be had** lies between: the cue sees all toys of the picture and cannot tell which one sounds. The best it could do is to list them, so we also try the mean of the voices of all toys in the picture, as they would sound in this very clip.
#
# We compute it in random batches of eight fresh clips, for the shipped GAVS.

# %%
model, notes = load_model("gavs")
model, margin = model.to(device), notes["fit"]["margin"]
told, tested = toyshop_features({("v1s", "test"): test_clips}, model, vggish, cache, seed=seed)
v, a = clip_cues(model, tested)


def list_of_voices(recipe) -> torch.Tensor:
    """What a cue could say at best that knows all toys of a picture: the mean of their voices' embeddings, [128]."""
    scene, stems = recipe.scene, render_stems(recipe.scene)
    waves = [torch.from_numpy(mix(scene.playing(k), stems)) for k in range(len(scene.toys))]
    each = [embed_sound(vggish, wave, SAMPLE_RATE, scene.seconds).mean(dim=0).cpu() for wave in waves]
    return torch.stack([voice / voice.norm() for voice in each]).mean(dim=0)


# %%
torch.manual_seed(seed)
cue_of = {
    "all cues alike": v.mean(dim=0).expand_as(v),
    "another clip's cue": v.roll(1, dims=0),
    "untrained cue": clip_cues(build_model("gavs").to(device), tested)[0],
    "trained cue": v,
    "voices of all its toys": torch.stack([list_of_voices(recipe) for recipe in told]),
    "the sound itself": a,
}

# %%
rng, values = np.random.default_rng(seed), {name: [] for name in cue_of}
for _ in range(batches):
    chosen = rng.permutation(len(v))[:8]
    labels = [tested.labels[i] for i in chosen]
    for name, cues in cue_of.items():
        values[name].append(semantic_loss(cues[chosen], a[chosen], margin, labels).item())
semantic = pd.DataFrame(values)
edges = semantic.quantile([0.05, 0.95]).to_numpy()
rows = [("shipped GAVS", name, semantic[name].mean(), *edges[:, i]) for i, name in enumerate(semantic)]
by_cue = pd.DataFrame(rows, columns=["group", "name", "value", "low", "high"])
line = f"margin m = {margin} (bars: nine of ten batches)"
display(plots.estimates(by_cue.assign(line=margin), "The semantic loss of eq. 10", "loss", line))

# %%
assert (semantic["all cues alike"] >= margin - 1e-6).all(), "cues that say nothing cannot get below the margin"
assert semantic["trained cue"].mean() < semantic["another clip's cue"].mean(), "a trained cue fits its own clip best"
gained = semantic["all cues alike"].mean() - semantic["trained cue"].mean()
room = semantic["all cues alike"].mean() - semantic["the sound itself"].mean()
listing = semantic["all cues alike"].mean() - semantic["voices of all its toys"].mean()
place = "below" if semantic["trained cue"].mean() < margin else "not below"
print(f"The trained cue is {place} the margin: {semantic['trained cue'].mean():.3f}, margin {margin}.")
print("Of the way from cues that say nothing to the sound itself:")
print(f"  the trained cue has gone {gained / room:.0%}, a full list of the toys' voices would go {listing / room:.0%}")

# %% [markdown]
# **How to read it.** Measure a loss by what can be reached, from both ends. At the one end, cues that say nothing do not lie *at* the margin but above it, so a cue that has come down to the margin has learned something. At the other end, no cue that is made of the picture alone gets to the sound itself: two clips that show the same toys, of which different ones sound, *must* cost $2m$ together (notebook 03, quiz 3). Between the two, the trained cue has gone its part of the way; whether the masks need it is another question, which the recorded variants below answer. What a training does with this loss, epoch by epoch, is in the lowest panel of section 6's curves, with the margin as a line.
#
# ### Its settings
# Recorded variants: without the loss ($\lambda = 0$), with ten times its weight, other margins, clips of one class as each other's negatives (as the paper prints it), and a final ReLU on VGGish (then no number of $F_A$ is negative). Two figures beside the scores: the loss itself as a multiple of its margin, and how often a picture's cue finds a sound of its own class among all validation sounds.

# %%
margins = {"gavs": 0.3, "cue, no noise": 0.3, "gaussian noise": 0.3, "no semantic loss": 0.3, "semantic loss x 10": 0.3}
margins |= {"margin 0.1": 0.1, "margin 1": 1.0, "same class is a negative": 0.3, "final ReLU": 0.3}
names = Counter(clip.a_obj for clip in recipes("v1s", "val", DEFAULT_COUNTS["v1s", "val"]))
chance = sum(n * n for n in names.values()) / sum(names.values()) ** 2  # right by choosing any sound
of_cue = pd.DataFrame(index=list(margins))
for figure, name in (("semantic loss", "loss / margin"), ("sound found by its cue", "sound found")):
    measured = zero_shot[(zero_shot["figure"] == figure) & (zero_shot["rotation"] == 0)].groupby("variant")["value"]
    of_cue[[name, f"{name}, sd"]] = measured.agg(["mean", "std"]).reindex(of_cue.index).astype(float)
of_cue["trainings"] = measured.count().reindex(of_cue.index)
for name in ("loss / margin", "loss / margin, sd"):
    of_cue[name] /= pd.Series(margins)
for classes, here in here_miou.groupby("classes"):
    of_cue[f"mIoU %, {classes}"] = 100 * here.groupby("variant")["value"].mean().reindex(of_cue.index)
print(f"sound found by chance: {chance:.3f}")
of_cue.dropna(how="all").astype(float).round(3)

# %%
found_by_cue = zero_shot[zero_shot["figure"] == "sound found by its cue"]
cue_questions = {"with the loss - without": ("gavs", "no semantic loss")}
cue_questions["ten times the loss - once"] = ("semantic loss x 10", "gavs")
for name, sides in cue_questions.items():
    a_rows, b_rows = (found_by_cue[found_by_cue["variant"] == side] for side in sides)
    both = len(a_rows.merge(b_rows, on=["rotation", "seed"]))
    told = paired(a_rows, b_rows, comparisons=len(cue_questions)) if both else "not yet measured"
    print(f"sound found by its cue, {name}, in points: {told}")

# %%
loss_questions = {name: (name, "gavs") for name in margins if name not in ("gavs", "cue, no noise", "gaussian noise")}
loss_questions |= {"pure BCE (no Dice)": ("pure BCE", "gavs")}
loss_found = ask(loss_questions, "Losses, each less the course's setting")
tell(loss_found)
draw(loss_found, "Settings of the losses, less the course's")

# %% [markdown]
# **How to read it.** Two questions, easily confused. *Does the loss do what it says?* Compare "sound found" with and without it: this is what it trains. *Does that help the masks?* Compare the mIoU. (The loss of "same class is a negative" is measured as it was trained, with the stricter negatives, and so lies higher for that reason alone.) A margin of 1 trains all but the same model as 0.3: at both, nearly every clip is still short of it, and then the gradient does not depend on $m$. A cue can learn to name every toy of the picture and change no mask, because the decoder needs to know which one of them *sounds*, and that the audio says already. In real data, where one sound has many looks, the balance may be another.

# %% [markdown]
# ## 4. How wide, where, how deep
# Widths and depths are the settings that papers rarely print. Curves over ColA's width (without visual adapters, row e) and over the first tuned encoder block (of six; the course: 3).


# %%
def curve(places: dict[int, str], title: str, xlabel: str) -> None:
    """Mean IoU over a setting, if it is recorded for two of its values or more."""
    means = 100 * here_miou.groupby(["classes", "variant"])["value"].mean()
    there = [x for x, name in places.items() if ("seen", name) in means.index and ("unseen", name) in means.index]
    if len(there) < 2:
        return print(f"{title}: not yet measured")
    runs = {classes: [means[classes, places[x]] for x in there] for classes in ("seen", "unseen")}
    display(plots.lines(runs, title, xlabel, "mean IoU (%)", there))


widths = {16: "ColA 16", 32: "5e ColA", 64: "ColA 64", 128: "ColA 128", 256: "ColA 256"}
curve(widths, "How wide must ColA be?", "width of the bottleneck")
curve({1: "tune from 1", 3: "gavs", 4: "tune from 4", 5: "tune from 5"}, "Which blocks to tune", "first tuned block")

# %%
shape_questions = {name: (name, "5e ColA") for name in widths.values() if name != "5e ColA"}
shape_questions["ColA beside the MLP - behind it"] = ("ColA beside", "5e ColA")
shape_questions |= {name: (name, "gavs") for name in ("tune from 1", "tune from 4", "tune from 5")}
shape_questions["mask embedding added - not"] = ("mask embedding added", "gavs")
shapes_found = ask(shape_questions, "Shapes, each less the course's setting")
tell(shapes_found)
draw(shapes_found, "Widths, places, depths: less the course's")

# %% [markdown]
# **How to read it.** "Not decided" does not mean "no difference": it means that three trainings could not show one, and the section below says why three are so few. That "mask embedding added" is our reading of one sentence of the paper ("we directly add the mask embedding to $F_V$"); it is off unless this comparison says otherwise.

# %% [markdown]
# ### Why so little is decided: every training a dot
# A mean of three hides whether they agree. So here is each recorded training of rotation 0 by itself, on single sounds of unseen classes (of a table of yours: on its first such test). Variants are ordered by their worst training.

# %% tags=["report"]
place = (unseen_parts or seen_parts)[0]
fused = {"sam_fusion", "5g AV-fusion", "av_sam", "tpavi"} | {f"sam_fusion, {share} %" for share in (10, 30, 50)}
each = zero_shot[(zero_shot["part"] == place) & (zero_shot["figure"] == "mIoU") & (zero_shot["rotation"] == 0)]
elsewhere = each["variant"].str.contains("64|%|128|^joint|^save")  # smaller shares, and notebook 09's trainings
each = each[~elsewhere]
several = each.groupby("variant")["value"].transform("size") > 1
dots = each[several].assign(name=each["variant"], value=100 * each["value"])
dots = dots.assign(kind=np.where(dots["variant"].isin(fused), "fusion", "prompt"))
worst = dots.groupby("name")["value"].transform("min")
dots = dots.iloc[worst.argsort(kind="stable")[::-1]]
if len(dots):
    display(plots.trainings(dots, "Each training: single sounds of unseen classes", "mean IoU (%)"))
    print("standard deviation over seeds, median of the variants, in points:")
    print(dots.groupby(["kind", "name"])["value"].std().groupby("kind").median().round(1).to_string())

# %% [markdown]
# Most prompted variants have trainings that score like the best and, now and then, one far below. SAM-Fusion and its kin do not; TPAVI is lower, but steady. What happens in those? If everything were drawn a little worse, all classes would lose; if the model mishears *some* combinations, a few classes lose a lot. So we compare each class with what it usually scores (the median over all trainings above), and count the classes that miss it by more than 20 points.

# %%
if not results and len(dots):
    tested = Experiment().protocol.part("v1s", "unseen_test", Experiment().pool).recipes
    classes_of_clips = np.array([recipe.a_obj for recipe in tested])
    by_class = pd.DataFrame(
        {
            c: [np.nanmean(scores[classes_of_clips == c]) for scores in dots["scores"]]
            for c in sorted(set(classes_of_clips))
        }
    )
    short_of = by_class.median() - by_class
    counted = dots.reset_index(drop=True).assign(missed=(short_of > 0.2).sum(axis=1))
    shown = counted.groupby(["kind", "missed"])["value"].agg(["count", "mean", "min"]).round(1)
    display(shown.rename(columns={"count": "trainings", "mean": "mean score", "min": "worst"}))
    missing = (short_of > 0.2).sum().sort_values(ascending=False)
    print("missed most often:", ", ".join(f"{name} ({n})" for name, n in missing.head(4).items()))

# %% [markdown]
# **How to read it.** A training that misses no class scores about as well as any other; those that fall behind miss a few of the twelve classes and do well on the rest. So it is not the drawing that differs from seed to seed but the *hearing of single combinations*: the token is made of the sound, and where it lands for a combination that never trained is partly left to chance. A class or two cost a training three to seven points, and that is what three seeds cannot average away. (Why fusion is spared is not shown here. One guess: sound that scales and shifts whole channels of the picture's features has fewer ways to go astray than a token that must mean one of SAM's prompts.)
#
# **Can it be noticed beforehand?** Unseen classes must not choose anything. But a training that mishears new combinations may hear the known ones a little worse, too. So: of the three seeds of a variant and rotation, take the one that is best on *seen* validation clips, and look what it scores on unseen classes. **We expect**, if nothing can be noticed, the mean of the three.

# %%
on_val = zero_shot[zero_shot["figure"] == "validation mIoU"]
on_unseen = zero_shot[(zero_shot["part"] == place) & (zero_shot["figure"] == "mIoU")]
pair = on_unseen.merge(on_val, on=["variant", "rotation", "seed"], suffixes=("", " on seen validation"))
pair = pair[~pair["variant"].str.contains(", 64|%|, 128")]
choices = []
for (variant, _), rows in pair.groupby(["variant", "rotation"]):
    if len(rows) > 2:
        picked = rows.loc[rows["value on seen validation"].idxmax(), "value"]
        kind = "fusion" if variant in fused else "prompt"
        choices.append((variant, kind, 100 * rows["value"].mean(), 100 * picked, 100 * rows["value"].max()))

# %%
choices = pd.DataFrame(
    choices, columns=["variant", "kind", "mean of three", "best on seen validation", "best of three"]
)
if len(choices):
    apart = pair.groupby(["variant", "rotation"])[["value", "value on seen validation"]]
    alike = (pair[["value", "value on seen validation"]] - apart.transform("mean")).corr().iloc[0, 1]
    print(f"among seeds, scores on unseen classes and on seen validation clips correlate by {alike:.2f}")
    display(choices.groupby("kind").mean(numeric_only=True).assign(sets=choices["kind"].value_counts()).round(1))
    in_all_rotations = choices[choices["variant"].isin(["gavs", "audio_sam", "sam_fusion", "tpavi"])]
    display(in_all_rotations.groupby("variant").mean(numeric_only=True).round(1))

# %% [markdown]
# **How to read it.** Seen validation clips do notice. Whoever trains a prompted model three times, and keeps the training that is best on classes that *trained*, gets most of what the best of the three would give on classes that did not; SAM-Fusion gains nothing, for it has nothing to lose. So the difference between GAVS, Audio-SAM and SAM-Fusion is not what they *can* hear but how reliably a single training gets there. (All comparisons on this page are of single trainings, as the paper's are.)

# %% [markdown]
# ## 5. Hard cases
# A mean over test clips hides where a model fails. The recorded hard cases show the *same* source in the same place with the same sound; only one silent toy differs between the cases. On the right nothing in the picture sounds, and every marked pixel is wrong.

# %% tags=["report"]
hard = pd.read_csv(shipped_results("hard_cases"))
MODEL_NAMES = {"gavs": "GAVS", "gavs_deaf": "GAVS, deaf twin", "audio_sam": "Audio-SAM", "sam_fusion": "SAM-Fusion"}
MODEL_NAMES |= {"av_sam": "AV-SAM", "tpavi": "TPAVI", "av_fusion": "AV-fusion"}
hard = hard[hard["model"].isin(list(MODEL_NAMES))]  # those of this page; SAVE's family has its own, notebook 09
hard = hard.assign(model=hard["model"].replace(MODEL_NAMES))
assert set(hard["world"]) == {fingerprint()}, "hard cases of another toy shop than this one; measure them again"
first_runs = hard[(hard["seed"] == hard["seed"].min()) & (hard["rotation"] == 0)]
first_runs = first_runs[first_runs["model"] != "AV-fusion"]  # all but SAM-Fusion; it has its line below
clips_each = int(first_runs.loc[first_runs["figure"] == "miou", "n"].max())
plots.hard_cases(first_runs[first_runs["classes"] == "unseen"], f"Hard cases, unseen classes, {clips_each} clips each")

# %% [markdown]
# The picture shows one training of each. Who is fooled by a wrong sound, over all trainings that were measured? In percent of the picture, mean, least and most over seeds:

# %%
fooled = hard[(hard["figure"] == "false-positive area") & hard["case"].isin(["off-screen", "shuffled"])]
fooled = fooled.groupby(["case", "classes", "model"])["value"].agg(["mean", "min", "max", "count"])
display((100 * fooled[["mean", "min", "max"]]).round(1).assign(trainings=fooled["count"]))
ways = {"as a prompt": ["GAVS", "Audio-SAM"], "fused with the picture": ["SAM-Fusion", "AV-fusion", "AV-SAM", "TPAVI"]}
for way, names in ways.items():
    for case in ("off-screen", "shuffled"):
        marked = 100 * fooled["mean"].unstack("model").reindex(columns=names).loc[case]
        print(f"sound {way}, {case}: {marked.min(axis=None):.1f} to {marked.max(axis=None):.1f} % marked")

# %% [markdown]
# How much does a difficulty cost, clip by clip, beside the plain case? (Each interval stands for itself here, at 95 %: among many, one in twenty errs.)

# %%
costs = first_runs[(first_runs["figure"] == "miou less plain") & ~first_runs["model"].str.contains("deaf")]
costs = costs.rename(columns={"case": "name"}).sort_values(["classes", "model"], kind="stable")
costs[["value", "low", "high"]] *= 100
unseen_costs = costs[costs["classes"] == "unseen"].assign(group=lambda rows: rows["model"])
display(
    plots.estimates(unseen_costs, "What a difficulty costs, unseen classes", "mean IoU less the plain case (points)")
)
for name, rows in unseen_costs.groupby("model"):
    worst, clear = rows.loc[rows["value"].idxmin()], rows.loc[rows["high"] < 0, "name"]
    print(f"{name}: hurt by {', '.join(clear) or 'none for certain'}; worst: {worst['name']} ({worst['value']:+.1f})")

# %% [markdown]
# **How to read it.** "Near voices" tests the ear (VGGish can hardly tell the two toys), "overlap" the pencil (SAM's masks), "one factor" the link between the two. A model that is hurt by "near voices" only would gain from a better ear and from no decoder whatever. In these cases the right-hand panel's "off-screen" deserves a look: a model that marks *some* toy when it hears one that is not there has learned to guess.

# %% [markdown]
# ## 6. A variant of your own
# Notebook 03 left a suspicion: the cue is far *quieter* than the audio when the two are joined, so the token hardly depends on it. The obvious remedy takes a line: bring both to one loudness, with a LayerNorm each, before they are joined. Does it help?
#
# `GAVS(sam, config, prompt=...)` takes any module that turns $F_V$ `[N, C, H, W]` and the sound `[N, 128]` into tokens `[N, K, C]`, and may return a cue `[N, 128]` beside it for the semantic loss. **This is the whole variant:**


# %%
class LevelPrompt(nn.Module):
    """The prompt of equations 1 and 2 without noise; cue and sound are brought to one loudness first."""

    def __init__(self, visual_dim: int, audio_dim: int = 128, hidden: int = 512):
        super().__init__()
        self.cue = nn.Sequential(nn.Linear(visual_dim, hidden), nn.ReLU(), nn.Linear(hidden, audio_dim))
        self.level_cue, self.level_audio = nn.LayerNorm(audio_dim), nn.LayerNorm(audio_dim)
        self.projection = nn.Sequential(nn.Linear(2 * audio_dim, hidden), nn.ReLU(), nn.Linear(hidden, visual_dim))

    def forward(self, image_embedding, audio, visible=None):
        cue = self.cue(global_average_pool(image_embedding, visible))  # [N, 128]
        token = self.projection(torch.cat([self.level_cue(cue), self.level_audio(audio)], dim=1))
        return token[:, None], cue


# %%
CONFIG = replace(MINI_CONFIG, noise="none")  # a learned vector adds but a bias (notebook 03): one difference at a time


def fresh(own: bool) -> GAVS:
    """An untrained GAVS with the library's prompt, or with ours; the same at every call."""
    torch.manual_seed(seed)
    sam = build_sam("mini", "shipped")
    return GAVS(sam, CONFIG, prompt=LevelPrompt(sam.prompt_encoder.embed_dim) if own else None).to(device)


live = {"GAVS, no noise": fresh(False), "levelled prompt": fresh(True)}

# %% [markdown]
# ### Before training: is it wired as it should be?
# **We expect** three things. The variant trains what GAVS trains, and the weights and biases of two LayerNorms more. Untrained, its decoder is SAM's: for the same token an untouched SAM draws the same masks, bit by bit. And the cue is louder: if the *pictures* are exchanged among clips, the token changes by more than in GAVS, measured against what it changes by if the *sounds* are exchanged.

# %%
plain_names, own_names = ({n for n in m.trainable_summary().names if "prompt." not in n} for m in live.values())
plain_count, own_count = (m.trainable_summary().trained for m in live.values())
print(f"{own_count:,} values train, {own_count - plain_count} more than in GAVS without noise")
assert own_names == plain_names, "apart from the prompt the same things train"
assert own_count - plain_count == 4 * CONFIG.audio_dim, "a weight and a bias for each number of two LayerNorms"

# %%
shown, clips = toyshop_clips({("v1s", "test"): 8}, seed=seed)
images = torch.from_numpy(np.stack([clip.frames[0] for clip in clips])).permute(0, 3, 1, 2).float().to(device)
_, first_tested = toyshop_features({("v1s", "test"): 8}, live["levelled prompt"], vggish, cache, seed=seed)
sounds = first_tested.audio[:, 0].to(device)  # [8, 128]
own, untouched = live["levelled prompt"].eval(), build_sam("mini", "shipped").to(device)
with torch.no_grad():
    F_V = untouched.image_encoder((images - untouched.pixel_mean) / untouched.pixel_std)
    token, _ = own.prompt(F_V, sounds)
    _, no_mask = untouched.prompt_encoder(None, None, None)
    by_sam, _ = decode_masks(untouched.mask_decoder, F_V, untouched.prompt_encoder.get_dense_pe(), token, no_mask)
    by_own = own(images[:, None], sounds[:, None]).mask_logits[:, 0]
assert torch.equal(by_own, by_sam), "untrained, for the same token, it draws what SAM draws"


# %%
def loudness(model: GAVS) -> float:
    """Change of the token when pictures change places among clips, over its change when sounds do."""
    with torch.no_grad():
        F_V = model.sam.image_encoder((images - model.sam.pixel_mean) / model.sam.pixel_std)
        token = model.prompt(F_V, sounds)[0]
        by_picture = (model.prompt(F_V.roll(1, dims=0), sounds)[0] - token).norm(dim=-1).mean()
        by_sound = (model.prompt(F_V, sounds.roll(1, dims=0))[0] - token).norm(dim=-1).mean()
    return (by_picture / by_sound).item()


loud_before = {name: loudness(model.eval()) for name, model in live.items()}
print({name: f"{value:.3f}" for name, value in loud_before.items()})
assert loud_before["levelled prompt"] > loud_before["GAVS, no noise"], "levelled, the picture has more of a say"

# %% [markdown]
# ### Train both
# Few clips, few steps, one seed, everything else equal. **We expect** both losses to fall; who is ahead after so few steps may be luck.

# %%
training = replace(MINI_TRAINING, steps=steps, lr=lr, warmup_steps=max(1, steps // 10), seed=seed, precision="auto")
training = replace(training, val_every=3)
model = live["GAVS, no noise"]
_, train_set = toyshop_features({("v1s", "train"): train_clips}, model, vggish, cache, seed=seed)
_, val_set = toyshop_features({("v1s", "val"): val_clips}, model, vggish, cache, seed=seed)
notes, history = {"world": fingerprint()}, {}
begun = time.perf_counter()
for name, model in live.items():
    folder = output / f"08-{name.replace(', ', '-').replace(' ', '-')}"
    history[name] = fit(model, train_set, val_set, training, folder, resume=False, progress=False, notes=notes).history
train_seconds = time.perf_counter() - begun
print(f"two trainings of {steps} steps took {train_seconds:.0f} s")

# %% tags=["report"]
for name, epochs in history.items():
    print(f"{name}: segmentation loss {epochs[0]['segmentation']:.3f} to {epochs[-1]['segmentation']:.3f}")
    assert epochs[-1]["segmentation"] < epochs[0]["segmentation"], "training must lower the loss it minimises"
plots.curves(history, f"Two live trainings of {steps} steps", training.margin)

# %% [markdown]
# ### Save it, load it
# `save_trained` writes what trains, and from what: the configuration, a fingerprint of the frozen weights, whatever you add. The file does not hold your *code*, so it is loaded into a model that is built the same way. **We expect** the same masks, bit by bit; and that GAVS with the library's prompt refuses the file, rather than taking half of it.

# %%
model, path = live["levelled prompt"].eval(), output / "08_levelled_prompt.safetensors"
save_trained(path, model, {**notes, "prompt": "LevelPrompt", "steps": steps, "seed": seed})
again = fresh(True).eval()
load_trained(path, again)
batch = collate([val_set[i] for i in range(2)])
pairs = list(zip(predict_masks(model, batch), predict_masks(again, batch)))
assert all(torch.equal(one, other) for one, other in pairs), "saved and loaded, it draws the same masks"
try:
    load_trained(path, fresh(False))
    refused = ""
except ValueError as reason:
    refused = str(reason)
print(refused[refused.find(":") + 2 :])
assert "prompt.level_audio.bias is unexpected" in refused, "another prompt must not load as if nothing were missing"

# %% [markdown]
# ### Its row in the table
# Live models on fresh test clips, with the paired difference; below, apart from them, the recorded trainings of the laboratory. Read across only within a block.

# %%
rows, live_scores = [], []
for split, classes in (("test", "seen"), ("unseen_test", "unseen")):
    _, clips = toyshop_features({("v1s", split): test_clips}, live["GAVS, no noise"], vggish, cache, seed=seed)
    for name, model in live.items():
        values = score(model, clips, batch_size=4)["miou"].to_numpy()
        low, high = interval(values)
        live_scores.append((name, classes, 0, seed, values.mean(), values))
        rows.append(dict(group=f"{classes} classes", name=name, kind="hears", value=values.mean(), low=low, high=high))
live_scores = pd.DataFrame(live_scores, columns=["variant", "classes", "rotation", "seed", "value", "scores"])
plots.scores(pd.DataFrame(rows), f"Live, {steps} steps on {train_clips} clips, one seed")

# %%
ours = live_scores.pivot(index="variant", columns="classes", values="value").assign(trained=f"live, {steps} steps")
ours["picture's say"] = pd.Series({name: loudness(model.eval()) for name, model in live.items()})
theirs = miou.groupby(["variant", "classes"])["value"].mean().unstack("classes").reindex(["gavs", "cue, no noise"])
own_table = pd.concat([ours, theirs.dropna(how="all").assign(trained="recorded, all clips")]).astype({"trained": str})
display(own_table.round(3))
assert own_table[["seen", "unseen"]].stack().between(0, 1).all()
for classes, here in live_scores.groupby("classes"):
    a, b = (here[here["variant"] == name] for name in ("levelled prompt", "GAVS, no noise"))
    print(f"{classes}: levelled prompt less GAVS, live, in points: {paired(a, b, comparisons=2)}")

# %% [markdown]
# **How to read it.** One training of each, after a fraction of the usual steps: whatever the sign, this decides nothing, and `paired` cannot know how another seed would have come out. What it does show is that the variant runs, learns, and can be measured like any other. "Picture's say" is the ratio from above, after training: a louder cue is not yet a useful one.
#
# ### For a real comparison: give it to the laboratory
# Equal steps, all clips, three seeds, other rotations, in the background:
#
# 1. Copy `notebooks/grid/one_training.py` (and its `.ipynb`) and put the class into it. Where it says `bench = Bench(experiment, output, cache, device).train()`, write `bench = Bench(experiment, output, cache, device)`, then `bench.model.prompt = LevelPrompt(bench.model.sam.prompt_encoder.embed_dim).to(device)`, then `bench.train()`. Because the prompt has a part named `cue`, its semantic loss and its retrieval are measured too.
# 2. Write a plan `mine.yaml` in the form of `notebooks/grid/laboratory.yaml`, with the variants `levelled: {config: {noise: none}}` and, to compare with, `plain: {config: {noise: none}}` for the notebook as it was.
# 3. Run each with its own notebook, into a table and a work folder of your own: a row's key hashes the settings, and knows nothing of your class.
#
#        from gavs_lib.lab.grid import read_plan, run_grid
#        mine = [unit for unit in read_plan("mine.yaml") if unit.variant == "levelled"]
#        run_grid(mine, "mine.csv", "build/mine", notebook="one_training_levelled.ipynb")
#
#    and the same for `plain` with `notebook` left out.
#
# 4. `make run NOTEBOOK=08 ARGS="-p results $PWD/mine.csv -p first_variant levelled -p second_variant plain"` compares them below.

# %% [markdown]
# ## 7. Any two, clip by clip
# A mean difference can come from all clips or from five. Left, each dot is a clip: above the diagonal the first model is better. Right, how the differences spread; the orange bar is the interval of their mean (of this one comparison, at 95 %). First as a picture, then with controls. (Shown are the recorded variants whose first seed is there; where fewer than two are recorded, this page's live models.)

# %%
there = miou[(miou["rotation"] == 0) & (miou["seed"] == miou["seed"].min())].groupby("variant")["classes"].nunique()
choice = miou[miou["variant"].isin(there.index[there == 2])]
if choice["variant"].nunique() < 2:
    choice = live_scores
variants = list(dict.fromkeys(choice["variant"]))
pair = [first_variant, second_variant] if {first_variant, second_variant} <= set(variants) else variants[:2]
one, other = (choice[(choice["variant"] == name) & (choice["classes"] == "unseen")] for name in pair)
found = paired(one, other)
title = f"unseen classes, trainings of each: {len(found.units)}"
plots.clip_by_clip(*side_by_side(one, other), tuple(pair), (found.mean, found.low, found.high), title)

# %%
widgets.variant_explorer(choice, *pair)

# %% [markdown]
# ## 8. What follows, and what does not
# In one place, what the recorded trainings say about the paper's claims; computed, so that it changes when the table does. Each section is a family of its own, so among five families expect one that errs somewhere in every fourth or fifth repetition.

# %%
asked = {"Table 5": ladder, "rivals": duels, "prompt": parts_found, "losses": loss_found, "shapes": shapes_found}
everything = pd.concat([each.assign(section=name) for name, each in asked.items() if len(each)] or [pd.DataFrame()])
if len(everything):
    summary = everything.assign(verdict=[verdict(row) for row in everything.itertuples()])
    display(summary.set_index(["section", "name", "group"])[["value", "low", "high", "units", "verdict"]].round(1))
else:
    print("Nothing is recorded yet: python -m gavs_lib.lab.grid table-5")

# %% [markdown]
# **Where the miniature must differ from the paper, and why.**
#
# - *SAM-mini was pre-trained on the toys themselves*, all 36 classes, as the real SAM has met almost everything, but without the distance between SAM's photographs and AVSBench's films. Adapters are there to bridge that distance; here they have little to bridge.
# - *Seen and unseen clips are of one kind.* In the paper fusion falls behind prompting, most of all where test data differ in kind from training data. Here they differ in the classes only. But that excuses nothing: where data do differ in kind, in the sketchbook of notebook 06, SAM-Fusion's lead over GAVS grows.
# - *One toy, one look, one voice.* The visual cue is meant for sounds that many kinds of things could make. There are none here, so a cue that does nothing in this world may matter in another.
# - *Few seeds.* Where the intervals above are wider than the differences, the honest sentence is "not decided". A table with one training a row cannot even say that.

# %% [markdown]
# ## Results
# The figures of this page, as JSON, for the table that `make run` prints.

# %%
short = {"GAVS, no noise": "gavs", "levelled prompt": "levelled"}
metrics, over = {}, {}
for row in live_scores.itertuples():
    metrics[f"miou_live_{row.classes}_{short[row.variant]}"] = row.value
    over[f"miou_live_{row.classes}_{short[row.variant]}"] = row.scores
for name, values in (("miou_oracle", oracle), ("miou_gavs_oracle_clips", by_ear)):
    metrics[name], over[name] = values.mean(), values
metrics |= {f"picture_say_{short[name]}": ours.loc[name, "picture's say"] for name in live}
metrics |= {"semantic_trained": semantic["trained cue"].mean(), "semantic_margin": margin}
metrics |= {"semantic_all_alike": semantic["all cues alike"].mean(), "own_trained_values": own_count}
metrics |= {"train_seconds": train_seconds, "recorded_comparisons": len(everything)}

# %%
intervals = {name: interval(values) for name, values in over.items()}  # 95 %, over clips
for row in ladder[
    ladder["name"] != own_rate
].itertuples():  # what is recorded of Table 5, in points; the intervals hold all at once
    name = f"recorded_{row.name[-6:-1].replace(' - ', '_less_')}_{row.group}"
    metrics[name], intervals[name] = row.value, (row.low, row.high)
metrics = {name: float(value) for name, value in metrics.items()}
settings = {"seed": seed, "steps": steps, "train_clips": train_clips, "test_clips": test_clips, "results": results}
facts = {"metrics": metrics, "intervals": intervals, **settings, "world": fingerprint(), "torch": torch.__version__}
Path(output, "08_ablations.json").write_text(json.dumps(facts, indent=1))
print(f"this page took {time.perf_counter() - page_started:.0f} s")
pd.Series(metrics).round(3)

# %% [markdown]
# ## Summary
# - Rivals must share foundations, clips, steps, size and effort, or a table compares something else.
# - Differences are measured in pairs, with intervals that know how many questions were asked; "not decided" is a result.
# - A loss is judged by what can be reached: cues that say nothing lie at the margin or above, and a picture cannot tell which of its toys sounds.
# - A variant of your own is a module of a few lines: trained, saved, loaded and scored like GAVS, without touching the library.
#
# ## Quiz
# 1. Twenty settings are compared with the default at 95 % each, and one is "significantly better". What does that mean?
#    <details><summary>Answer</summary>About nothing: if none of the twenty mattered, one such finding would be expected. With Bonferroni each interval gets the confidence 1 - 0.05/20.</details>
# 2. Why is the difference of two models computed clip by clip, when the mean of the differences is the difference of the means?
#    <details><summary>Answer</summary>The mean is the same, its interval is not: hard clips are hard for both models, and in the difference that common part cancels.</details>
# 3. Row e of Table 5 leads row a by the same amount with three seeds as with one. What have the other seeds brought?
#    <details><summary>Answer</summary>That the lead is no accident of one start. From one training of each, an interval can only tell about other clips.</details>
# 4. The semantic loss of a training stays exactly at its margin from the first step to the last. Name two possible reasons.
#    <details><summary>Answer</summary>All sounds of a batch are alike (the deaf twin, which hears nothing but silence), or all cues are orthogonal to, or equally near, all sounds. In both cases own and other similarity are equal, and m remains.</details>
# 5. Your prompt has a part that the file of another prompt lacks. Why does <code>load_trained</code> refuse instead of filling in what fits?
#    <details><summary>Answer</summary>A model of which half is trained and half is random still draws masks. Nobody would notice until the scores were published.</details>
#
# ## References
# - Y. Wang et al., *Prompting Segmentation with Sound Is Generalizable Audio-Visual Source Localizer* (GAVS), AAAI 2024: Table 5.
# - S. Mo and Y. Tian, *AV-SAM: Segment Anything Model Meets Audio-Visual Localization and Segmentation*, 2023.
# - J. Zhou et al., *Audio-Visual Segmentation* (TPAVI), ECCV 2022.
# - J. L. Ba et al., *Layer Normalization*, 2016.
# - B. Efron and R. Tibshirani, *An Introduction to the Bootstrap*, 1993.
#
# ## Next
# Try another idea in section 6: two tokens instead of one, a cue that attends to the picture instead of averaging it, a gate that turns the cue up or down by the sound. Then give it to the laboratory. With a film of your own go on to [10 · Your own video](10_your_own_data.ipynb).
