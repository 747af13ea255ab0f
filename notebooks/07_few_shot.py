# %% [markdown]
# # 07 · Few-shot: what one, three or five examples add
#
# *About two minutes on a two-core laptop without GPU, offline; one of them is training.*
#
# **What you will do**
#
# 1. draw *shots*, a few labelled clips of classes that a model never met, so that everybody draws the same ones, and see why a 0-shot and a 3-shot score of different test sets must not be compared,
# 2. teach the trained GAVS its unseen classes from one and from three clips each, in a few visible lines, and check that the laboratory's code does the same,
# 3. train a *control* for as many steps on clips of seen classes: what is gained by training longer is not learned from the shots,
# 4. see what changes, mask by mask and class by class, and what is forgotten,
# 5. set the laboratory's many trainings beside the paper: curves by shots, comparisons in pairs with a verdict each,
# 6. ask how much of the training data each model needs.
#
# **Reads:** the miniature weights that come with the course, and the recorded trainings in `data/results/grid.csv`. **Writes** to `output_dir`: four short trainings, a cache of features, and `07_few_shot.json`.
#
# This page needs no other one to have been run before.

# %% tags=["parameters"]
results: str = ""  # table of trainings, as `python -m gavs_lib.lab.grid` writes it; "": the recorded one
aliases: dict = {}  # what that table has in place of the course's variants, such as {"gavs": "gavs, VGG-SS"}
unseen_part: str = "v1s unseen_test"  # its test of unseen classes; of AVS-V3: "v3 unseen"
seen_part: str = "v1s test"  # its test of seen classes; AVS-V3 has none
shots: list = [1, 3]  # clips of each unseen class to learn from, in the trainings of this page
pool: int = 72  # clips of unseen classes, from which the shots are drawn; the others test
val_clips: int = 10  # of seen classes, to choose the best epoch with
seen_clips: int = 20  # of seen classes, to see what is forgotten
epochs: int = 10  # of the few-shot trainings, as AVS-V3 has it
rate: float = 0.0  # learning rate of the few-shot trainings; 0: what the trials on validation clips chose
gallery_clips: int = 4  # clips shown before and after
tolerance: float = 0.02  # mean IoU that a model may lack and still "match" another one
fewest: int = 3  # trainings, at least, for a verdict
draws: int = 0  # of each bootstrap; 0: so many that 25 lie beyond each bound
seed: int = 0  # of the order of training
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
import hashlib
import json
import platform
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from IPython.display import display

if device == "auto":
    device = "cuda" if torch.cuda.is_available() else "cpu"
page_started = time.perf_counter()
print(f"Python {platform.python_version()}, torch {torch.__version__}, device {device}, seed {seed}")

# %%
from gavs_lib._shipped import shipped_results
from gavs_lib.course import plots, widgets
from gavs_lib.data.papers import paper_table
from gavs_lib.data.shots import draw_shots
from gavs_lib.lab.evaluate import interval, score
from gavs_lib.lab.experiment import Bench, Experiment
from gavs_lib.lab.shipped import load_model

# %%
from gavs_lib.lab.statistics import on_shared_clips, over_parts, paired, read_results, scores_of, spread
from gavs_lib.lab.toyshop import scene_clip
from gavs_lib.lab.train import FitConfig, collate, fit, predict_masks
from gavs_lib.lab.tune import FEW_SHOT_RATES, chosen
from gavs_lib.lab.weights import load_trained, save_trained
from gavs_lib.losses import segmentation_loss
from gavs_lib.metrics import summarize_iou
from gavs_lib.world.classes import class_split
from gavs_lib.world.folder import fingerprint, recipes

# %% [markdown]
# ## 1. The protocol
# ### 1a. Which clips? A draw that everybody repeats
# A model that was trained on *seen* classes gets $k$ labelled clips of each *unseen* class, trains a little more, and is tested on other clips of those classes. $k$ is the number of **shots**. Which $k$ clips matters: with one example each, a lucky draw is worth points. AVS-V3 publishes lists. Where there are none, as in VGG-SS or here, we draw by a *hash*: a clip's place is the SHA-256 of `seed:name`, and the first $k$ of each class are its shots. No random generator and no order of a file has a say in it.
#
# **We expect** the rule, written by hand, to give what `draw_shots` gives; the draws to be *nested* (who is a shot at $k = 1$ is one at $k = 3$); and the same clips when the file is read backwards.

# %%
made = list(recipes("v1s", "unseen_test", pool))
names, classes = [clip.uid for clip in made], [clip.a_obj for clip in made]
lists = draw_shots(names, classes, shots)  # k -> indices of the clips drawn
ranked = sorted(range(pool), key=lambda i: hashlib.sha256(f"0:{names[i]}".encode()).digest())
by_class = {label: [i for i in ranked if classes[i] == label] for label in sorted(set(classes))}
nested = [set(lists[k]) for k in sorted(shots)]
assert all(small < large for small, large in zip(nested, nested[1:])), "the draws must be nested"
for k, drawn in lists.items():
    assert drawn == sorted(i for clips in by_class.values() for i in clips[:k]), "the first k of each class"
backwards = draw_shots(names[::-1], classes[::-1], shots)
assert {names[i] for i in lists[max(shots)]} == {names[::-1][i] for i in backwards[max(shots)]}, "whatever the order"

# %% tags=["report"]
first_drawn = {i: min(k for k in shots if i in lists[k]) for i in lists[max(shots)]}
rows = [[first_drawn.get(i, 0) for i in clips] for clips in by_class.values()]
short = [label.replace("-", " ") for label in by_class]
plots.draws(rows, short, f"{pool} clips of {len(rows)} unseen classes: who teaches, who tests")

# %% [markdown]
# ### 1b. Which scores may be compared?
# A clip that the model learned from must not test it. So **the test set shrinks as $k$ grows**, and a 0-shot score over all clips and a 5-shot score over those that are left are scores of two different tests. (In the published V3 lists, too, the 0-shot test set is not the $k$-shot one.) Only the clips that are blue above test at every $k$. We keep each model's scores clip by clip, `NaN` for a clip that does not test it, and compare on what all share.

# %%
sizes = pd.DataFrame({"learns from": {f"{k}-shot": len(lists[k]) for k in [*lists]}})
sizes.loc["0-shot"] = 0
sizes["may be tested on"] = pool - sizes["learns from"]
sizes["test clips in all"] = pool - sizes["learns from"].max()
shared_clips = [i for i in range(pool) if i not in first_drawn]
assert not set(shared_clips) & set().union(*lists.values()), "no clip may teach one model and test it"
display(sizes.sort_values("learns from"))

# %% [markdown]
# ### 1c. What is in a lesson, and what is in the control
# Each shot is labelled as all training clips of `v1s` are: in its **first second** only. The training goes on for ten epochs from the zero-shot weights. The epoch that is best on *seen* validation clips counts; the last one is reported beside it. Neither the unseen clips nor the test chooses anything.
#
# A model that trains longer may score better for that alone. The **control** trains for as many steps, with the same settings, on as many *new* clips of **seen** classes. What the shots add is the difference to this control, not to the model before.

# %%
output = Path(output_dir)
cache = Path(cache_dir) if cache_dir else output / "cache"
work = output / "07_few_shot"
shutil.rmtree(work, ignore_errors=True)  # every run of this page trains anew
trial = Experiment(shots=shots, control=shots, seed=seed, test=seen_clips, pool=pool)
trial = replace(trial, val=(2 * val_clips, 1))  # Bench validates few-shot trainings on half of them
bench = Bench(trial, work / "library", cache)
bench.model.to(device), bench.vggish.to(device)
toys = bench.protocol  # which clips train, choose and test
candidates = bench.features(toys.part("v1s", "unseen_test", pool))
val, seen = bench.features(toys.part("v1s", "val", val_clips)), bench.features(toys.part("v1s", "test", seen_clips))
new = bench.features(toys.more_seen(len(lists[max(shots)])))

# %%
lessons = {f"{k}-shot": candidates.subset(lists[k]).labelled_first(1) for k in lists}
control_name = f"control {max(shots)}"
lessons[control_name] = new  # v1s training clips: labelled in the first second as they are
for name, lesson in lessons.items():
    flags = lesson.has_mask
    assert flags[:, 0].all() and not flags[:, 1:].any(), "a lesson is labelled in its first second"
    print(f"{name}: {len(lesson)} clips of {len(set(lesson.labels))} classes, {int(flags.sum())} labelled seconds")
split = class_split(0)
unseen_names, seen_names = ({toy.name for toy in toys} for toys in (split.unseen, split.seen))
assert set(candidates.labels) <= unseen_names and set(new.labels) <= seen_names, "the control shows seen classes only"
assert len(new) == len(lists[max(shots)]), "and as many clips"

# %% [markdown]
# ## 2. Do it
# ### 2a. The step, in a few lines
# A few-shot training is an ordinary training with a small training set and a start. Learning rates were tried on clips of *unseen-validation* classes, which are neither seen nor tested (`data/results/tuning.csv`). The first rate of the list is taken unless another one leads by more than a point.

# %%
tried = pd.read_csv(shipped_results("tuning"))
tried = tried[(tried["model"] == "gavs") & tried["variant"].isin(FEW_SHOT_RATES)].set_index("variant")
display(tried[["lr", *(column for column in tried.columns if column.endswith("shots"))]])
lr = rate or chosen(shipped_results("tuning"), "gavs", FEW_SHOT_RATES)
config = FitConfig(
    epochs=epochs, batch_size=8, lr=lr, schedule="constant",
    dice_weight=1.0, semantic_weight=0.1, margin=0.3, exclude_same_class=True, labelled_frames_only=True,
    val_every=2, precision="bf16", seed=seed,
)  # fmt: skip
trial = replace(trial, few_shot={"epochs": epochs, "lr": lr})
assert config == trial.few_shot_config, "the laboratory's few-shot trainings have these settings"
print(f"{config.epochs} epochs at a learning rate of {lr:g}")


# %%
def fine_tune(name: str):
    """GAVS as it comes with the course, ten epochs on a lesson later; and the log of that."""
    model, _ = load_model("gavs")
    log = fit(model.to(device), lessons[name], val, config, work / name.replace(" ", "-"), progress=False)
    return model.eval(), log  # fit leaves the best epoch in the model


begun = time.perf_counter()
models, logs = {"0-shot": load_model("gavs")[0].to(device)}, {}
for name in lessons:
    models[name], logs[name] = fine_tune(name)
    steps, best = logs[name].history[-1]["step"], logs[name].best_epoch
    print(f"{name}: {steps} steps; epoch {best} is best on seen validation clips, {logs[name].best_score:.3f}")
most = f"{max(shots)}-shot"
print(f"{time.perf_counter() - begun:.0f} s of training")

# %%
assert logs[most].history[-1]["step"] == logs[control_name].history[-1]["step"], "the control takes as many steps"

# %% [markdown]
# **We expect** the training to have lowered the loss it minimises, on the very seconds it was shown. That is no merit yet: it could have learned them by heart.


# %%
def loss_on(model, lesson, at_most: int = 12) -> float:
    """Mean segmentation loss of the labelled seconds of a lesson's first clips."""
    losses = []
    for i in range(min(at_most, len(lesson))):
        batch = collate([lesson[i]])
        logits = predict_masks(model, batch)[0].cpu()[None]
        losses.append(segmentation_loss(logits, batch["masks"], batch["has_mask"], config.dice_weight).item())
    return float(np.mean(losses))


ended, _ = load_model("gavs")
load_trained(work / most / "last.safetensors", ended.to(device))
loss_before, loss_after = (loss_on(model, lessons[most]) for model in (models["0-shot"], ended.eval()))
print(f"loss on the shots: {loss_before:.3f} before, {loss_after:.3f} after the last epoch of {most}")
assert loss_after < loss_before, "training must lower the loss it minimises"

# %% tags=["report"]
plots.curves({name: logs[name].history for name in (most, control_name)}, f"{epochs} epochs more", margin=config.margin)

# %% [markdown]
# The validation score is of *seen* classes. Where it falls, the shots push out what was known. It cannot tell whether the unseen classes are learned, and nothing else may: clips of unseen classes are what we want to predict.
#
# ### 2b. The same by the laboratory
# `lab.experiment.Bench` does this for every model of the comparison below: draw, train, test. **We expect** its one-lesson training to score what ours does, clip by clip.


# %%
def tested_by(model, features) -> np.ndarray:
    """Mean IoU of each clip."""
    return score(model, features)["miou"].to_numpy()


save_trained(work / "library" / "zero-shot" / "best.safetensors", models["0-shot"], {})  # where Bench expects it
least = min(shots)
bench = Bench(replace(trial, shots=[least], control=[]), work / "library", cache)
bench.model.to(device), bench.vggish.to(device)
table = bench.few_shot().table()
display(table.drop(columns="by_clip"))

# %%
(row,) = table[(table["part"] == "v1s unseen_test") & (table["state"] == "best")].itertuples()
of_library = scores_of(row.by_clip)  # thousandths, NaN for the shots
of_ours = tested_by(models[f"{least}-shot"], candidates)
not_tested = np.flatnonzero(np.isnan(of_library))
apart = float(np.nanmax(abs(of_library - of_ours[: len(of_library)])))
print(f"{np.isfinite(of_library).sum()} clips tested; largest difference from ours {apart:.4f} (it keeps thousandths)")
assert set(not_tested) <= set(lists[least]), "only shots are left out"
assert apart <= (0.00051 if device == "cpu" else 0.2), "the laboratory must do what our few lines do"

# %% [markdown]
# ## 3. What changed?
# Each model marks all clips of the pool; then the shots of each are struck out, as they must not test it.

# %%
everything = {name: tested_by(model, candidates) for name, model in models.items()}
everything[f"{least}-shot"] = of_ours
scores = {name: values.copy() for name, values in everything.items()}
for k in lists:
    scores[f"{k}-shot"][lists[k]] = np.nan
of_seen = {name: tested_by(model, seen) for name, model in models.items()}
overview = pd.DataFrame(
    {
        "clips it may be tested on": {name: np.nanmean(values) for name, values in scores.items()},
        "clips all may be tested on": {name: values[shared_clips].mean() for name, values in everything.items()},
        "seen classes": {name: values.mean() for name, values in of_seen.items()},
    }
)
overview["its own shots"] = {f"{k}-shot": everything[f"{k}-shot"][lists[k]].mean() for k in lists}
display(overview.round(3))

# %% [markdown]
# Compare within the second column, not within the first. The last column is why a shot must not test: it was learned from, second 0 with its mask.
#
# **How to read the bars.** Orange is GAVS with 0 and more shots, grey the control; lines are 95 % intervals over clips. They are wide, as clips differ; so below we compare clip by clip.

# %% tags=["report"]
groups = {"unseen classes": {name: values[shared_clips] for name, values in everything.items()}}
groups["seen classes"] = of_seen
bars = [
    (group, name, "guess" if name == control_name else "hears", values.mean(), *interval(values))
    for group, each in groups.items()
    for name, values in each.items()
]
bars = pd.DataFrame(bars, columns=["group", "name", "kind", "value", "low", "high"])
plots.scores(bars, "One training each: unseen learned, seen forgotten?")

# %% [markdown]
# If the orange bars of the unseen classes fall, the lesson cost more than it taught: a few dozen pictures, shown epoch after epoch, move the weights away from what six hundred clips had taught, and the seen classes show the same. How far they move is a matter of the learning rate, and which way is partly chance. Hence the control, and many trainings.
#
# ### 3a. Clip by clip
# `lab.statistics.paired` takes differences on the clips that both were tested on. Its interval draws again what could have been otherwise: rotations, seeds, clips. Here there is one training of each, so **this interval knows of clips only**. Another seed may move all of them; section 4 has many trainings.
#
# **We expect** the mean to be the one we compute by hand.

# %%
live = pd.DataFrame([{"rotation": 0, "seed": seed, "name": name, "scores": each} for name, each in scores.items()])
asked = {f"{k} shots - 0": (f"{k}-shot", "0-shot") for k in lists}
asked[f"{max(shots)} shots - control"] = (most, control_name)
for name, (a, b) in asked.items():
    difference = paired(live[live["name"] == a], live[live["name"] == b], comparisons=len(asked))
    both = np.isfinite(scores[a]) & np.isfinite(scores[b])
    assert np.isclose(difference.mean, (scores[a] - scores[b])[both].mean()), "the mean over the clips they share"
    print(f"{name}: {100 * difference.mean:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}] points")
forgotten = of_seen[most] - of_seen["0-shot"]
low, high = interval(forgotten)
print(f"seen classes, {most} - 0-shot: {100 * forgotten.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] points")

# %% [markdown]
# ### 3b. Class by class
# Which classes gain? A class that was marked well before has little to gain. With a handful of test clips each (in brackets), single classes are anecdotes: look for the pattern, not for the winner.

# %% tags=["report"]
each_class = pd.DataFrame({name: values[shared_clips] for name, values in everything.items()})
sounding = [classes[i] for i in shared_clips]
each_class["name"] = [f"{label.replace('-', ' ')} ({sounding.count(label)})" for label in sounding]
gains = each_class.groupby("name").mean()
gains = gains.rename(columns={"0-shot": "before", most: "after", control_name: "control"}).sort_values("before")
told = ["0-shot", most, control_name]
plots.changes(gains.reset_index()[["name", "before", "after", "control"]], f"Unseen classes, {most}", told)

# %%
worse = gains["before"] < gains["before"].median()
gain = gains["after"] - gains["before"]
print(f"{(gain > 0).sum()} of {len(gain)} classes gain")
print(
    f"classes below the median before: {100 * gain[worse].mean():+.1f} points, the others {100 * gain[~worse].mean():+.1f}"
)

# %% [markdown]
# Beware of the last line: the classes with the lowest score *before* are partly those with unlucky clips or an unlucky start, and these would rise without any lesson (regression to the mean). The control is exposed to the same; compare the rings.
#
# ### 3c. Mask by mask
# The same unseen clips before and after. They are the first test clip of the first classes of the alphabet, not the best ones.

# %%
chosen_clips = [next(i for i in clips if i in shared_clips) for clips in by_class.values()][:gallery_clips]
drawn_clips = [scene_clip(made[i]) for i in chosen_clips]
frames, truth = (np.stack([getattr(clip, part) for clip in drawn_clips]) for part in ("frames", "masks"))
masks = {}  # model -> [clips, T, H, W]
for name, model in models.items():
    logits = [predict_masks(model, collate([candidates[i]]))[0] for i in chosen_clips]
    masks[name] = (torch.stack(logits) > 0).cpu().numpy()
assert masks[most].shape == truth.shape, "one mask a second, at the size of the picture"

# %% tags=["report"]
second = 2
columns = {"truth": truth, **masks}
images = [[plots.overlay(frames[i, second], each[i, second]) for each in columns.values()] for i in range(len(frames))]
titles = [classes[i].replace("-", "\n") for i in chosen_clips]
plots.contact_sheet(images, titles, [name.replace(" ", "\n") for name in columns], "Unseen classes, before and after")

# %% [markdown]
# One of them larger, and below the same with controls: choose the clip, the lesson and the second. (Tab reaches them, the arrow keys move them.)

# %%
shown = {"0-shot": masks["0-shot"], most: masks[most], "truth": truth}
name = classes[chosen_clips[0]].replace("-", " ")
one = {label: plots.overlay(frames[0, second], each[0, second]) for label, each in shown.items()}
plots.pictures(one, f"{name}, second {second}")

# %%
titles = [f"{n + 1}: {classes[i]}" for n, i in enumerate(chosen_clips)]
widgets.before_and_after(titles, frames, truth, masks)

# %% [markdown]
# ## 4. Many trainings
# One training proves little: with another seed or other classes held out the picture may turn. The laboratory trains each model with several seeds in four *rotations*, which hold out other classes, and does the above with 1, 3 and 5 shots. **All that follows is computed from the rows that its table has by now**; what is missing is called *not yet measured*.

# %%
models_of = {"gavs": "GAVS", "sam_fusion": "SAM-Fusion", "audio_sam": "Audio-SAM", "tpavi": "AVSBench (TPAVI)"}
shot_counts, with_adapter = [0, 1, 3, 5], "adapter on F_V"  # the latter: GAVS with one more adapter, see 4c
measurements = read_results(results or None, aliases)
recorded = measurements[measurements["figure"] == "mIoU"]
trainings = recorded[["variant", "rotation", "seed"]].drop_duplicates()
display(trainings.groupby("variant").agg(trainings=("seed", "size"), rotations=("rotation", "nunique")))

# %% [markdown]
# ### 4a. The curve
# On the clips that test at *every* number of shots. A band is one standard deviation over trainings (rotation, seed); the dashed curves are the controls. On the right stands what the paper prints for V3: **other data, other weights, other test sets at 0 and at more shots**. Compare the shapes of the two panels, not their heights.

# %%
of_shots = recorded[recorded["variant"].isin(models_of) & (recorded["part"] == unseen_part)]
of_shots = on_shared_clips(of_shots)
levels = spread(of_shots, ["variant", "shots", "state"])
order = [*models_of.values(), "AVSegFormer"]


def of_ours(levels: pd.DataFrame, state: str) -> pd.DataFrame:
    """Our curves by shots: k-shot trainings in the given state, and their controls."""
    start = levels[levels["shots"] == 0]
    controlled = start["variant"].isin(levels.loc[levels["state"] == "control", "variant"])
    taught = pd.concat([start, levels[(levels["state"] == state) & (levels["shots"] > 0)]]).assign(control=False)
    control = pd.concat([start[controlled], levels[levels["state"] == "control"]])  # it starts at the same weights
    both = pd.concat([taught, control.assign(control=True)]).replace({"variant": models_of})
    return both.rename(columns={"variant": "name", "shots": "x"})


# %%
def of_paper(table: int, metric: str) -> pd.DataFrame:
    """The curves of one of the paper's tables."""
    paper = paper_table("gavs", table).query("metric == @metric").replace({"method": {"AVSBench": "AVSBench (TPAVI)"}})
    paper = paper.assign(x=paper["setting"].str.split("-").str[0].astype(int), mean=paper["value"] / 100)
    return paper.rename(columns={"method": "name"}).assign(control=False, sd=np.nan)


def panels(levels: pd.DataFrame, state: str, name: str, table: int, metric: str) -> pd.DataFrame:
    """Ours and the paper's side by side, for `plots.bands`."""
    sides = [of_ours(levels, state).assign(panel=name), of_paper(table, metric).assign(panel="paper, real data")]
    both = pd.concat(sides).reset_index(drop=True)[["panel", "name", "x", "mean", "sd", "control", "units"]]
    both = both.astype({"x": float, "mean": float})
    return both.sort_values("name", key=lambda column: column.map(order.index), kind="stable")


# %% tags=["report"]
curves = panels(levels, "best", "this table" if results else "the toy shop", 2, "mIoU")
plots.bands(curves, "Unseen classes by number of shots", "shots")

# %% [markdown]
# In numbers: what $k$ shots add to the same model's 0 shots, in points. "Trainings" says on how many of ours a figure rests. Where that differs, so may the curves, for no other reason; the pairs of 4b never mix trainings.


# %%
def added(curves: pd.DataFrame) -> pd.DataFrame:
    """What k shots add to 0 shots, in points, and on how many of our trainings that rests."""
    gained = {}
    for panel, rows in curves[~curves["control"]].groupby("panel", sort=False):
        level = rows.pivot(index="name", columns="x", values="mean")
        for k in [k for k in shot_counts[1:] if k in level.columns]:
            gained[panel, f"{k} shots"] = 100 * (level[k] - level[0])
    ours = curves[~curves["control"] & (curves["x"] == 0) & (curves["panel"] != "paper, real data")]
    gained = pd.DataFrame(gained).reindex(order)
    gained["", "trainings"] = ours.set_index("name")["units"].reindex(order).fillna(0).astype(int)
    return gained.round(1)


display(added(curves))

# %% [markdown]
# And two things that the curve hides: what the *last* of the ten epochs scores, against the one that was best on seen validation clips; and what the seen classes lose or gain. In points; a gap is not yet measured.

# %%
level = levels.replace({"variant": models_of}).pivot(index="variant", columns=["state", "shots"], values="mean")
after = recorded[recorded["variant"].isin(models_of) & (recorded["part"] == seen_part) & (recorded["state"] == "best")]
on_seen = spread(after, ["variant", "shots"]).replace({"variant": models_of}).pivot(index="variant", columns="shots")
aside = {}
for k in [k for k in shot_counts[1:] if ("last", k) in level.columns]:
    aside[f"{k} shots", "last - best"] = 100 * (level["last", k] - level["best", k])
    if {("mean", 0), ("mean", k)} <= set(on_seen.columns):
        aside[f"{k} shots", "seen classes"] = 100 * (on_seen["mean", k] - on_seen["mean", 0])
display(pd.DataFrame(aside).round(1))

# %% [markdown]
# ### 4b. Three questions, in pairs
# The paper's Table 2 claims more than a curve. Each claim here becomes differences between two models, taken training by training and clip by clip:
#
# 1. **Is GAVS ahead at each number of shots?** Against each rival at 0, 1, 3 and 5 shots.
# 2. **Is GAVS with 3 shots ahead of the others with 5?** ("after 3-shot learning, our model surpasses other models' performance trained with 5-shot")
# 3. **Do the shots teach, or the steps?** $k$ shots against their control.
#
# Section 4c asks the first one again in another data set, and section 5 adds two about the amount of training data. The more one asks, the more often chance says yes: of 20 intervals of 95 %, one misses on average. So *all questions that get a verdict in section 6* are counted as one family, measured or not, and each interval is widened (Bonferroni) so that all of them hold at once in 95 % of repetitions, as far as a bootstrap of few trainings can promise that (`gavs_lib.lab.statistics`). (The live training above and the searches for a cause below are counted apart.)
#
# A verdict is computed, never typed: it **holds** if the interval lies above 0, **does not hold** if it lies below, and is otherwise **not decided** by these trainings; so it is, too, where there are fewer trainings than `fewest`, since an interval over two seeds knows nothing of seeds. One from fewer than six is **provisional**: three seeds agree by chance more often than an interval can tell (`gavs_lib.lab.statistics` has the numbers).


# %%
def at(variant: str, k: int, state: str = "best") -> pd.DataFrame:
    """One row a training: a model after k shots on unseen classes, on the clips that test at every k."""
    wanted = (of_shots["variant"] == variant) & (of_shots["shots"] == k) & (of_shots["state"] == state)
    return of_shots[wanted]


ahead, fewer, teaching = "GAVS ahead of the rival?", "GAVS, 3 shots, ahead of 5 shots?", "shots ahead of the control?"
rivals = [variant for variant in models_of if variant != "gavs"]
questions = []  # what is asked, of what, a, b, how much a may lack
for variant in rivals:
    questions += [(ahead, f"{models_of[variant]}, {k}", at("gavs", k), at(variant, k), 0) for k in shot_counts]
    questions.append((fewer, f"of {models_of[variant]}", at("gavs", 3), at(variant, 5), 0))
for variant, counts in [("gavs", [1, 3, 5]), *((variant, [5]) for variant in rivals)]:
    pairs = [(k, at(variant, k), at(variant, k, "control")) for k in counts]
    questions += [(teaching, f"{models_of[variant]}, {k}", a, b, 0) for k, a, b in pairs]

# %% [markdown]
# ### 4c. Shots from another data set
# The paper's Table 4 asks for more: shots, and tests, from VGG-SS, another data set, with *boxes* for masks. It takes k pictures of every class. Ours come from the sketchbook, VGG-SS's twin: the same classes drawn by another hand and played by other instruments, one frame and one second an entry ([06 · Zero-shot](06_zero_shot.ipynb) shows it). Here **all** 36 classes get k entries, for in another style all are new, in a way. (30 of them are tested; the six others are those that settings were chosen with.) Nothing is there to validate on, so the last epoch counts.
#
# **We expect** a steeper curve than above: style is what neither encoder has met. And the control says how much of it is *sketchbook*, for it trains as long on the toy shop.

# %%


def with_boxes(figure: str) -> pd.DataFrame:
    """One row for each training and state: its scores on the entries of all parts that are no shots of any k."""
    here = measurements[measurements["figure"] == figure]
    table = over_parts(here[here["variant"].isin([*models_of, with_adapter])])
    # Trainings without shots from the other data set would only leave fewer of the others to compare.
    learned = table.loc[table["shots"] > 0, ["variant", "rotation", "seed"]].drop_duplicates()
    return on_shared_clips(table.merge(learned)) if len(learned) else table.iloc[:0].assign(value=0.0)


on_twin = with_boxes("IoU with boxes")

# %% tags=["report"]
if on_twin.empty:
    print("not yet measured")
else:
    compared = on_twin[on_twin["variant"] != with_adapter]
    curves_of_twin = panels(
        spread(compared, ["variant", "shots", "state"]),
        "last",
        "this table" if results else "the sketchbook",
        4,
        "cIoU",
    )
    display(plots.bands(curves_of_twin, "Another data set, by number of shots", "shots", "mean IoU with boxes"))
    display(added(curves_of_twin))

# %% [markdown]
# A model can gain here without listening any better: by learning how this hand draws, and to mark whatever it finds. So we also play each entry the sound of another one. What the right sound is worth, is the distance between the two. In percent, on the entries that are nobody's shots:

# %%
unit = ["variant", "rotation", "seed", "shots", "state"]
both = on_twin.merge(with_boxes("IoU with boxes, shuffled sound"), on=unit, suffixes=(" own", " shuffled"))
both = both[(both["state"] != "control") & (both["variant"] != with_adapter)]
both["scores"] = [own - mixed for own, mixed in zip(both["scores own"], both["scores shuffled"])]
both["worth of the right sound"] = both["value own"] - both["value shuffled"]
means = both.groupby(["variant", "shots"])[["value own", "value shuffled", "worth of the right sound"]].mean()
display((100 * means).rename(index=models_of).round(1))


# %%
def against(table: pd.DataFrame, name: str, others: list, comparisons: int) -> pd.DataFrame:
    """What a variant scores more than others at each number of shots, in points, over the trainings of both."""
    rows = []
    for other in others:
        for k in shot_counts:
            here = table[(table["shots"] == k) & (table["state"] == ("last" if k else "best"))]
            a, b = (here[here["variant"] == variant] for variant in (name, other))
            if not a.merge(b, on=["rotation", "seed"]).empty:
                d = paired(a, b, comparisons=comparisons, draws=draws or None, shared_clips=True)
                rows.append((models_of[other], k, 100 * d.mean, 100 * d.low, 100 * d.high, len(d.units)))
    columns = ["minus", "shots", "value", "low", "high", "trainings"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[:2]).round(1)


print("the right sound is worth so many points more to GAVS than to a rival (nothing below: not yet measured):")
display(against(both, "gavs", rivals, len(rivals) * len(shot_counts)))

# %% [markdown]
# **Looking for the cause.** If a model is ahead with its own sound *and* with a wrong one, it is not the better listener but the better draughtsman. SAM-Fusion has something that GAVS has not: the convolutions by which sound enters also adapt the picture's features $F_V$ behind the encoder, whatever is heard. So a variant of GAVS was trained with an adapter in that place (`embedding_width`), and nothing of sound in it. **We expect**, if that is the cause, that the variant comes nearer to SAM-Fusion than GAVS does. The same trainings' pairs, in points (each interval stands for itself, at 95 %; one rotation, so that other classes are not accounted for):

# %%
print("GAVS with the adapter, minus (nothing below: not yet measured):")
display(against(on_twin, with_adapter, ["gavs", "sam_fusion"], 1))

# %% [markdown]
# **How to read it.** Above zero in the upper half and still below it in the lower: then that place explains a part of the distance, and another part is left. Note what the worth of the right sound said before: whoever draws better in a strange style need not listen better.

# %%
abroad = "in another data set: GAVS ahead?"
states = {k: "last" if k else "best" for k in shot_counts}
for variant in rivals:
    for k in shot_counts:
        here = on_twin[(on_twin["shots"] == k) & (on_twin["state"] == states[k])]
        pair = (here[here["variant"] == name] for name in ("gavs", variant))
        questions.append((abroad, f"{models_of[variant]}, {k}", *pair, 0))

# %%
learned = on_twin[on_twin["state"].isin(["best", "last"]) & on_twin["variant"].isin(list(models_of))]
auc = [summarize_iou(torch.from_numpy(each[np.isfinite(each)])).auc for each in learned["scores"]]
of_auc = learned.assign(value=auc).pivot_table(index="variant", columns="shots", values="value")
printed = paper_table("gavs", 4).query("metric == 'AUC'").pivot(index="method", columns="setting", values="value")
print("AUC of the same masks (mean over trainings), and the paper's, on VGG-SS:")
display(of_auc.reindex(list(models_of)).rename(index=models_of).round(3))
display(printed)

# %% [markdown]
# ## 5. How much training data?
# The same question before any shot: the models are trained on 10, 30, 50 and 100 % of the training clips, the smaller part in the larger, with **as many optimiser steps** each. So a small part is seen more often, not shorter. The paper draws this for V2 (its Figure 3) and says that GAVS is better with 10 % of the clips than the others with 30 %, and with half of them "equivalent to using 100 % of the data by other models".
#
# The first is a question of the kind above. "Equivalent" needs a bound, set beforehand: GAVS *matches* if the interval says that it lacks at most `tolerance`.

# %%
shares = [10, 30, 50, 100]
halved = [variant for variant in models_of if variant != "tpavi"]  # TPAVI was trained on all clips only


def trained_on(variant: str, share: int, part: str) -> pd.DataFrame:
    """One row a training: the 0-shot model trained on a share of the clips. Shares were taken in rotation 0 only."""
    name = variant if share == 100 else f"{variant}, {share} %"
    wanted = (recorded["variant"] == name) & (recorded["part"] == part) & (recorded["shots"] == 0)
    return recorded[wanted & (recorded["rotation"] == 0)]


kinds = {seen_part: "seen classes", unseen_part: "unseen classes"}
tenth, half = "GAVS, 10 %, ahead of the rival's 30 %?", "GAVS, 50 %, matches the rival's 100 %?"
for variant in rivals:
    for part, kind in kinds.items():
        told = f"{models_of[variant]}, {kind.split()[0]}"
        if variant in halved:
            questions.append((tenth, told, trained_on("gavs", 10, part), trained_on(variant, 30, part), 0))
        questions.append((half, told, trained_on("gavs", 50, part), trained_on(variant, 100, part), tolerance))

# %% tags=["report"]
points = []
for part, kind in kinds.items():
    for variant in models_of:
        rows = pd.concat([trained_on(variant, share, part).assign(x=share) for share in shares])
        points.append(spread(rows, ["x"]).assign(panel=kind, name=models_of[variant], control=False))
points = pd.concat(points, ignore_index=True)
if points.empty:
    print("not yet measured")
else:
    display(plots.bands(points.astype({"x": float}), "By share of the training clips", "training clips [%]"))

# %% [markdown]
# *(A single dot is a model that was trained on all clips only, so far.)* A flat curve says that the world has little more to teach than what a tenth of the clips shows: 18 classes made of a few factors.
#
# ## 6. The verdicts


# %%
def judge(question: str, name: str, a: pd.DataFrame, b: pd.DataFrame, lack: float) -> dict:
    """The difference a - b in points, and what it says."""
    row = {"group": question, "name": name, "bound": -100 * lack, "trainings": 0, "verdict": "not yet measured"}
    if a.merge(b, on=["rotation", "seed"]).empty:
        return row
    # The toy shop draws other clips in each rotation; the twin's entries are the same in all.
    d = paired(a, b, comparisons=len(questions), draws=draws or None, shared_clips=question == abroad)
    row |= {"value": 100 * d.mean, "low": 100 * d.low, "high": 100 * d.high, "trainings": len(d.units)}
    return row | {"verdict": d.verdict(lack, fewest), "above 0": int((d.units > 0).sum())}


# %%
blank = {"value": np.nan, "low": np.nan, "high": np.nan, "above 0": np.nan}
verdicts = pd.DataFrame([blank | judge(*question) for question in questions])
verdicts = verdicts.sort_values(
    "group", key=lambda c: c.map([ahead, fewer, teaching, abroad, tenth, half].index), kind="stable"
)
print(f"{len(questions)} comparisons; each interval has the confidence {1 - 0.05 / len(questions):.2%}")
display(verdicts[["group", "name", "value", "low", "high", "trainings", "above 0", "verdict"]].round(1))

# %% tags=["report"]
measured = verdicts[verdicts["verdict"] != "not yet measured"]
if measured.empty:
    print("not yet measured")
else:
    shown = measured.assign(line=measured["bound"], decided=measured["verdict"] != "not decided")
    display(plots.estimates(shown, "What these trainings say", "difference of mean IoU (points)"))

# %%
for question, rows in verdicts.groupby("group", sort=False):
    counts = rows["verdict"].value_counts()
    print(f"{question:42}", ", ".join(f"{verdict}: {n}" for verdict, n in counts.items()), f"(of {len(rows)})")
printed = 100 * curves[curves["panel"] == "paper, real data"].pivot(index="name", columns="x", values="mean")
others = printed.drop(index="GAVS")
print("paper, real data, one training each as far as is printed:")
print(f"  GAVS minus the best other, points: {(printed.loc['GAVS'] - others.max()).round(2).to_dict()}")
print(f"  GAVS at 3 shots minus the best other at 5: {printed.loc['GAVS', 3] - others[5].max():+.2f}")

# %% [markdown]
# **How to read it.** A green dot is a claim that holds in the toy shop, a blue one a claim whose contrary holds, and a hollow one leaves it open. The thin vertical line is what the interval is held against: 0, or for a match what may be lacking. What the paper found on real data is not refuted by a blue line here, nor confirmed by a green one. The two differ in what matters most for shots:
#
# - **What is there to learn.** An unseen toy is a *new combination of known factors*: the model knows other drums, other large toys, other toys of glass. What a large glass drum looks and sounds like can be inferred, so a model that has learned the rule has little left to learn from shots. V3's unseen classes (a guzheng, a harp) are new as a whole, and one example tells more.
# - **What was known before.** SAM-mini and VGGish-mini met all 36 toys in pre-training, apart from each other. That stands in for what the real ones have met.
# - **The test.** The paper's 0-shot score is of another test set than its $k$-shot scores, so its first step mixes two things. Ours are of one.
# - **The rivals.** TPAVI cannot tell which second of a still picture a sound belongs to (notebook 06). AVSBench's model stands on SAM-mini's encoder here, where AVSBench tunes a backbone of its own (`gavs_lib.baselines.TPAVI` says what else deviates). AVSegFormer is not built, and Audio-SAM has no figures for V3.
#
# The control is not in the paper. Where "shots ahead of the control?" is grey, do not say that the shots taught anything.

# %% [markdown]
# ## Results
# The figures of this page, as JSON, for the table that `make run` prints.

# %%
over = {f"miou_unseen_{name.replace(' ', '_')}": each[shared_clips] for name, each in everything.items()}
over |= {f"miou_seen_{name.replace(' ', '_')}": of_seen[name] for name in ("0-shot", most)}
metrics = {name: float(values.mean()) for name, values in over.items()}
intervals = {name: interval(values) for name, values in over.items()}  # 95 %, over clips
metrics |= {"loss_before": loss_before, "loss_after": loss_after, "library_difference": apart, "learning_rate": lr}
metrics |= {"comparisons": len(questions), "comparisons_measured": len(measured), "trainings": len(trainings)}
metrics |= {"comparisons_that_hold": int(verdicts["verdict"].str.startswith("holds").sum())}

# %%
facts = {"metrics": metrics, "intervals": intervals, "seed": seed, "shots": shots, "pool": pool}
facts |= {
    "verdicts": json.loads(verdicts.to_json(orient="records")),
    "world": fingerprint(),
    "torch": torch.__version__,
}
Path(output, "07_few_shot.json").write_text(json.dumps(facts, indent=1))
print(f"this page took {time.perf_counter() - page_started:.0f} s")
pd.Series(metrics).round(3)

# %% [markdown]
# ## Summary
# - Shots are drawn by a hash, nested, and never test; so only scores on the clips that all share may be compared.
# - A few-shot training is ten epochs from the zero-shot weights; the epoch is chosen on seen validation clips.
# - What the shots add is the difference to a control that trained as long on other clips.
# - One training is an anecdote. Differences are taken in pairs, over rotations, seeds and clips, and the more one asks, the wider each interval must be.
#
# ## Quiz
# 1. A model scores 0.70 with 0 shots on 160 clips and 0.74 with 5 shots on the remaining 100. What has it learned?
#    <details><summary>Answer</summary>That cannot be told: the 60 clips that became shots may have been the harder ones. Score both on the 100.</details>
# 2. Why is the epoch of a few-shot training not chosen on unseen-validation clips?
#    <details><summary>Answer</summary>Who has labelled clips of the new classes to validate with has more shots than k. The settings (the learning rate) were chosen on <em>other</em> unseen classes, which costs no label of the tested ones.</details>
# 3. Ten epochs of 1-shot are fewer steps than ten epochs of 5-shot. What does that do to the curve, and what answers it?
#    <details><summary>Answer</summary>Part of its rise may come from training longer. Each k has a control with as many steps.</details>
# 4. GAVS beats a rival by 1.5 points in one training, with an interval over clips of [0.4, 2.6]. Is it better?
#    <details><summary>Answer</summary>On these clips, with this seed, probably. The interval knows nothing of other seeds and other classes held out, and if it is one of twenty comparisons, one such is to be expected.</details>
#
# ## References
# - Y. Wang et al., *Prompting Segmentation with Sound Is Generalizable Audio-Visual Source Localizer* (GAVS), AAAI 2024: Table 2 (V3), Table 4 (VGG-SS-Sub), Figure 3 (training data).
# - J. Zhou et al., *Audio-Visual Segmentation* (AVSBench), ECCV 2022.
# - B. Efron and R. Tibshirani, *An Introduction to the Bootstrap*, 1993.
#
# ## Next
# Train what is missing in the table with `python -m gavs_lib.lab.grid --list` and `python -m gavs_lib.lab.grid generalization data`, and run this page again: the figures and the verdicts follow. Or give it another table with `results`. How the models compare without any shot, and where a trained model comes from: [05 · Training](05_training.ipynb).
