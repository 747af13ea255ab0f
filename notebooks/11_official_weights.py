# %% [markdown]
# # 11 · Official weights, real data, a GPU
#
# *Two minutes on a two-core laptop, as a rehearsal in the toy shop. With the official weights and real clips: hours on a GPU, and section 5 says how many.*
#
# **What you will do**
#
# 1. see what your machine can do,
# 2. get SAM's and VGGish's official weights, verified, and know what to do without a connection,
# 3. convince yourself that the model around them is still SAM, bit for bit,
# 4. check a data set before you train on it, whichever of the published layouts it has,
# 5. know what a training will take, in gigabytes and hours, before it begins,
# 6. train, test, and put your figures beside the printed ones,
# 7. share the result as a folder that others can load.
#
# **Reads:** nothing but the miniature weights, unless you say where real data lie; then these. **Fetches** nothing, unless you allow it (`gigabytes`). **Writes** to `output_dir`: the trainings, a folder to share, masks, and `11_official_weights.json`.
#
# This is the page for real experiments: each row of the papers' tables is a file of parameters for it (`notebooks/params/paper/`). For instance
#
#     make run NOTEBOOK=11 PROFILE=paper/gavs-table1-gavs-v1s \
#         ARGS="-p data_root AVSBench-semantic -p sam_checkpoint official -p vggish_checkpoint official -p gigabytes 0.7"
#
# trains GAVS as Table 1 has it and prints the paper's figures beside yours. Without AVSBench (its authors ask for a registration): `-p data_root public` composes clips from COCO's photographs and ESC-50's recordings, with three classes held out.

# %% tags=["parameters"]
data_root: str = ""  # folder of a data set; "public": COCO x ESC-50, composed; "": the toy shop, as a rehearsal
lists_root: str = ""  # folder of AVS-V3's published lists; "": they are drawn
vggss_checkpoint: str = ""  # VGG-SS's annotations, vggss.json; "": VGG-SS is not measured
vggss_root: str = ""  # folder of its pictures and sounds
synthetic_root: str = ""  # composed clips to train on first, where `start` is "synthetic"
sam_checkpoint: str = "shipped"  # "shipped" (mini only), "official", a path, or "" for random weights
vggish_checkpoint: str = "mini"  # "mini", "official" or a path
gigabytes: float = 0.0  # what this page may fetch from the net; if it needs more, it stops and says how much
drive: bool = False  # on Colab: keep everything that is written on Google Drive
model: str = "gavs"  # a kind of gavs_lib.lab.shipped.MODELS
config: dict = {}  # settings of the model other than the course's
training: dict = {"steps": 30, "val_every": 2}  # settings of the training other than the course's
few_shot: dict = {}  # settings of the k-shot trainings other than those of the first
final_relu: bool = False  # of VGGish
share: float = 1.0  # of the training clips
shots: list = []  # of AVS-V3, such as [1, 3, 5]
control: list = []  # of the shots: where training longer on seen classes stands beside
twin_shots: list = []  # of each class of VGG-SS
start: str = ""  # what is trained on first: "synthetic", "v1s", "synthetic, v1s", or nothing
data: dict = {}  # further settings of gavs_lib.lab.protocols.DiskData: protocol, subsets, sam, image_size, most
expected: dict = {}  # of a preset: which printed figures stand beside the result
rehearsal_clips: int = 32  # clips of v1s that the rehearsal trains on
shown_clips: int = 3  # of the test, in the gallery
cache_budget: float = 20e9  # bytes; if the cached features need more, they are computed again in each step
licence: str = "not yet decided"  # of the weights you train, for the model card; mind that of the data
seed: int = 0  # of the weights at the start and the order of the clips
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
import os
import platform
import shutil
import time
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
from segment_anything import SamPredictor

from gavs_lib import build_sam
from gavs_lib._shipped import shipped_results
from gavs_lib.course import plots, widgets
from gavs_lib.course.colab import drive_folder
from gavs_lib.data import SUBSETS, compose_public, write_masks
from gavs_lib.data.check import check_folder
from gavs_lib.data.fetch import cache_folder
from gavs_lib.data.public import terms, to_fetch

# %%
from gavs_lib.lab.cost import Costed, measure_cost
from gavs_lib.lab.estimate import count_operations, measure_speed, training_hours
from gavs_lib.lab.evaluate import interval
from gavs_lib.lab.experiment import Bench, Experiment
from gavs_lib.lab.official import OFFICIAL, named_weights, official_weights
from gavs_lib.lab.presets import printed_figures
from gavs_lib.lab.sharing import ModelCard, from_pretrained, save_pretrained
from gavs_lib.lab.shipped import MODELS
from gavs_lib.lab.statistics import scores_of
from gavs_lib.lab.toyshop import scene_clip
from gavs_lib.lab.train import collate, predict_masks
from gavs_lib.lab.weights import frozen_fingerprint, load_trained
from gavs_lib.world.folder import recipe, write_folder

# %% [markdown]
# ## 1. This machine
# Training GAVS on ViT-B at SAM's own 1024 pixels wants a GPU with 16 GB or more, a clip at a time; 224 or 512 pixels are content with less. SAVE on ViT-H wants far more at any size: as its paper has it, its adapters hold a thousand million values, which take 17 GB with their gradients and AdamW's moments before the first picture. A GPU that computes in bf16 is used so, an older one (a T4) in fp16; a CPU computes in float32 unless you say otherwise.

# %%
output = drive_folder() / Path(output_dir).name if drive else Path(output_dir)
output.mkdir(parents=True, exist_ok=True)
cache = Path(cache_dir) if cache_dir else Path(output_dir) / "cache"  # never on Drive: it can be computed again

# %%
machine = {"CPU cores": os.cpu_count(), "free disk, GB": shutil.disk_usage(output).free / 1e9}
if torch.cuda.is_available():
    card = torch.cuda.get_device_properties(0)
    machine |= {"GPU": card.name, "GPU memory, GB": card.total_memory / 1e9}
    machine |= {"bf16": torch.cuda.is_bf16_supported(including_emulation=False)}
display(pd.Series(machine))
assert machine["free disk, GB"] > 0.5, "features, checkpoints and masks need room; free some first"

# %% [markdown]
# ## 2. Official weights, and what may be fetched
# SAM's three sizes are Meta's; VGGish's PyTorch port is the one the field uses. Each file has a known size and checksum, and gets its name only when both are right. A download that breaks off goes on where it stopped. `GAVS_CACHE` says where files are kept, `GAVS_MIRROR` where else to ask.
#
# Nothing below goes to the net unless it fits into `gigabytes`. First, what there is:

# %%
shelf = {name: (each.name, each.size / 1e9, each.licence, each.sha256[:8]) for name, each in OFFICIAL.items()}
display(pd.DataFrame(shelf, index=["file", "GB", "licence", "SHA-256 begins"]).T)

# %% [markdown]
# Without a connection, the program says what to carry over by hand. **We expect** the address, the whole checksum and the place:

# %%
try:
    official_weights("vit_b", output / "nothing-here", offline=True)
except (OSError, ValueError) as error:
    advice = str(error)
print(advice)
for needed in (OFFICIAL["vit_b"].urls[0], OFFICIAL["vit_b"].sha256, "nothing-here"):
    assert needed in advice, f"the advice must name {needed}"

# %%
settings = {"protocol": "standard", "subsets": ["v1s"], "sam": "mini"} | data
if str(expected.get("dataset", "")).startswith("VGG-SS") and not vggss_checkpoint:
    raise RuntimeError("this row is measured on VGG-SS: set vggss_checkpoint (vggss.json) and vggss_root.")
wanted = {settings["sam"]: sam_checkpoint, "vggish": vggish_checkpoint}
shelved = [OFFICIAL[name] for name, word in wanted.items() if word == "official" and name in OFFICIAL]
missing = [each for each in shelved if not (cache_folder() / each.name).is_file()]
missing += to_fetch() if data_root == "public" else []
print(terms(missing) if missing else "nothing needs to be fetched")
needs = sum(each.size or 1e9 for each in missing) / 1e9  # of an archive that is packed on demand: less than this
if needs > gigabytes:
    raise RuntimeError(f"{needs:.2f} GB must be fetched, gigabytes allows {gigabytes}; read the licences and raise it.")

# %% [markdown]
# ## 3. It is still SAM
# GAVS puts adapters into SAM. While they are untrained, nothing may have changed: with a point or a box, `segment_anything`'s own predictor must draw the same masks from the SAM inside GAVS as from one that was never touched. **We expect** this to the last bit, for your checkpoint and your input size. (Training then exchanges SAM's attention for a faster one, `fuse_attention`, equal up to rounding.)


# %%
def new_sam():
    """SAM with the weights chosen above."""
    weights = named_weights(sam_checkpoint, settings["sam"])
    return build_sam(settings["sam"], weights or None, settings.get("image_size") or None)


# %%
toys = scene_clip(recipe("v1s", "test", 0, seed=seed))
scene, toy = toys.frames[0][8:], toys.masks[0][8:]  # 120 x 128 pixels: no square
rows, columns = np.nonzero(toy)
prompts = {"a point": {"point_coords": np.array([[columns[0], rows[0]]]), "point_labels": np.array([1])}}
prompts["a box"] = {"box": np.array([columns.min(), rows.min(), columns.max(), rows.max()])}


def draw(sam) -> dict[str, np.ndarray]:
    """Masks [3, H, W] that SAM's own predictor draws for each prompt."""
    predictor = SamPredictor(sam.eval())
    predictor.set_image(scene)
    return {name: predictor.predict(**prompt)[0] for name, prompt in prompts.items()}


# %%
torch.manual_seed(seed)  # "" for a checkpoint: random weights, and the same ones twice
untouched = draw(new_sam())
torch.manual_seed(seed)
inside = draw(MODELS[model](new_sam()).sam)
for name in prompts:
    assert np.array_equal(untouched[name], inside[name]), f"with {name}, SAM inside the model draws another mask"
print("identical:", ", ".join(prompts))
plots.pictures(
    {name: plots.overlay(scene, inside[name][0]) for name in prompts}, "SAM's own masks, drawn from inside the model"
)

# %% [markdown]
# ## 4. The data
# `check_folder` recognises AVSBench-semantic, S4 and MS3 as they are distributed, AVS-V3's lists and VGG-SS, and looks at every file that their lists name. Do this before a long training: data sets of this field are downloaded in pieces, and a piece is easily lost.
#
# The rehearsal writes the toy shop in AVSBench-semantic's layout, three toys of which may stand in a picture and one sounds.

# %%
where = {"lists": lists_root, "vggss": vggss_checkpoint, "vggss_root": vggss_root, "synthetic": synthetic_root}
if data_root == "public":
    seen, unseen = compose_public(output / "public", agreed=True)
    where |= {"root": str(seen.root), "unseen_root": str(unseen.root)}
elif data_root:
    where["root"] = data_root
else:
    counts = {("v1s", "train"): rehearsal_clips, ("v1s", "val"): 4, ("v1s", "test"): max(8, rehearsal_clips // 2)}
    where["root"] = str(write_folder(output / f"toyshop-{seed}", seed=seed, counts=counts))

# %%
report = check_folder(where["root"])
display(report.counts)
print("\n".join(report.remarks) or "no remarks")
broken = report.missing + report.unreadable + report.mismatched
print("\n".join(broken[:5]))
assert data_root or not broken, "what was just written must be whole"

# %% [markdown]
# *Published* is the number of clips in the published lists; a folder of your own has others. What is listed but broken is named above with what to do about it; a training would stop at it.
#
# Now the experiment: everything that decides the result is in one object, and its key tells two experiments apart.

# %%
settings |= {name: value for name, value in where.items() if value}
settings |= {"sam_checkpoint": sam_checkpoint, "vggish": vggish_checkpoint}

# %%
experiment = Experiment(
    model=model,
    config=config,
    training=training,
    few_shot=few_shot,
    final_relu=final_relu,
    seed=seed,
    share=share,
    shots=shots,
    control=control,
    twin_shots=twin_shots,
    start=start,
    data=settings,
)

# %%
clips = {"train": experiment.protocol.training(), "val": experiment.protocol.validation()}
clips |= experiment.protocol.tests()
print(", ".join(f"{part}: {len(each)} clips" for part, each in clips.items()))
print("key", experiment.key)
first = [clips["train"][i] for i in range(min(6, len(clips["train"])))]
plots.pictures(
    {
        each.a_obj.replace("_", "\n") + " " * i: plots.overlay(each.frames[0], each.masks[0])
        for i, each in enumerate(first)
    },
    "Training clips, first second: what sounds is orange",
)

# %% [markdown]
# ## 5. What it will take
# Before anything is trained: how many bytes will the cache hold? (A frame of ViT-B at 1024 pixels takes 12.6 MB in float32. What does not fit into `cache_budget` is computed again in each step.) How much memory does a training step take? How many operations is all of it? And how many hours, here and on which GPU?

# %%
run = output / f"run-{experiment.key[:8]}"  # other settings, another folder
bench = Bench(experiment, run, cache, device, progress=True, cache_budget=cache_budget)
frozen = frozen_fingerprint(bench.model)
bench.model.trainable_summary()

# %%
plan = experiment.fit_config
frames = {part: int(each.rows["label"].map(SUBSETS).fillna(5).sum()) for part, each in clips.items()}  # one a second
labelled = int(clips["train"].rows["labelled"].sum())
whole = not plan.labelled_frames_only or not getattr(bench.model, "framewise", True)
taught = frames["train"] if whole else labelled  # where whole clips are not needed, one labelled second costs one
epochs = plan.epochs if plan.steps is None else plan.steps * plan.batch_size / len(clips["train"])
grid, channels = bench.model.sam.image_encoder.pos_embed.shape[2:]
cache_bytes = frames["train"] * grid * grid * channels * 4  # of the largest set; each has the budget for itself
cached = cache_bytes <= cache_budget and getattr(bench.model, "caches_prefix", True)
state = bench.model.trainable_summary().trained * 16 / 1e9  # values, gradients and AdamW's two moments, in float32
print(f"{frames['train']} frames to train on, {labelled} of them labelled; {epochs:.1f} epochs")
print(f"cache: {cache_bytes / 1e9:.2f} GB, budget {cache_budget / 1e9:.0f} GB; " + ("kept" if cached else "not kept"))
print(f"what trains takes {state:.2f} GB of memory before any picture, and {state * 0.75:.2f} GB in a checkpoint")

# %% [markdown]
# Operations are counted, on tensors without memory. For *this machine* a training step is measured, of as many frames as will go through together, and its speed carried over to the whole training. What share of its peak another GPU reaches is an assumption: 12 to 23 %, as others reached with this encoder (`gavs_lib.lab.estimate`). So the hours of the four GPUs are **an estimate, not a measurement**; nobody has run this course's code on them yet. Not in it: tests, k-shot trainings, what is trained on first (`start`), and a disk that is slower than the GPU.

# %%
side = bench.model.sam.image_encoder.img_size
operations = count_operations(model, experiment.model_config, settings["sam"], side)
print(f"a frame: {operations.prefix / 1e9:.3g} GFLOP before the tuned blocks, {operations.step / 1e9:.3g} for a step")
assert 0 < operations.use < operations.step < 4 * operations.use, "a step is the way there, the way back and no more"
counts = frames["train"] + frames["val"], taught, frames["val"], epochs, epochs / plan.val_every, cached
together = max(1, round(plan.batch_size / plan.accumulate * taught / len(clips["train"])))  # frames
speed = measure_speed(bench.model, operations, together, plan.precision)
forecast = training_hours(operations, *counts, here=speed)
hours = {f"this page: {model} on {settings['sam']}, {side} pixels": forecast}
print(f"a step of {together} frames: {speed / 1e9:.3g} GFLOP a second; a training of {forecast.iloc[-1, 1]:.2g} hours")

# %% [markdown]
# A rehearsal takes seconds on any GPU, so it is replaced in the picture by two trainings that are worth one: GAVS on V1S as in the paper (1024 pixels, 3452 training clips of which one frame counts, 740 to validate, 60 epochs; the cache would take 217 GB, so nothing is kept), and on COCO x ESC-50 (512 pixels, about 770 clips, 20 epochs).

# %%
if not data_root:
    of_paper = count_operations("gavs", None, "vit_b", 1024), 5 * (3452 + 740), 3452, 5 * 740, 60, 60, False
    of_public = count_operations("gavs", None, "vit_b", 512), 5 * (770 + 165), 770, 5 * 165, 20, 10, True
    hours = {"GAVS, ViT-B, 1024 pixels, V1S": training_hours(*of_paper)}
    hours["GAVS, ViT-B, 512 pixels, COCO x ESC-50"] = training_hours(*of_public)

# %% tags=["report"]
bars = pd.concat(table.assign(group=name) for name, table in hours.items()).rename(columns={"gpu": "name"})
display(bars.set_index(["group", "name"]).round(2))
bars = bars.rename(columns={"hours_least": "low", "hours_most": "high"}).assign(decided=False)
bars = bars.assign(value=(bars["low"] * bars["high"]) ** 0.5)
plots.estimates(bars, "How long a training takes", "hours, estimated")

# %% [markdown]
# And the memory? One frame through this model, on this machine's CPU, and the memory that it takes; below it, what ViT-B takes (measured on another machine of two cores, `python -m gavs_lib.lab.cost --official`; times differ from machine to machine, memory hardly). A step of GAVS at 1024 pixels fits into a laptop's memory: slow, but it can be tried. On a GPU, count the same for each frame of a batch; `accumulate` in `training` splits a batch, and `checkpointing` keeps less of each frame, for about 1.4 times the time.

# %%
columns = ["name", "ms_frame", "ms_step", "mb_use", "mb_step"]
costs = [pd.read_csv(shipped_results("official_cost"))]
if device == "cpu" and settings["sam"] in ("mini", "vit_b"):  # a larger one would fill the memory of most machines
    here = Costed(model, experiment.model_config, side, settings["sam"])
    costs.insert(0, measure_cost({f"{model}, {settings['sam']}, {side}, here": here}, frames=1, rounds=1))
display(pd.concat(costs)[columns].set_index("name").round(0))

# %% [markdown]
# ## 6. Training
# The rehearsal trains for less than a minute and learns little. A training of yours may be interrupted at any time: run the page again with the same parameters, and it goes on from the last checkpoint (on Colab with `drive`, on another day).

# %%
begun = time.perf_counter()
bench.train()
seconds = time.perf_counter() - begun
if device == "cuda":
    print(f"largest memory on the GPU: {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")
print(f"features and training: {seconds:.0f} s; foreseen were {3600 * forecast.iloc[-1, 1]:.0f} s")

# %% tags=["report"]
lines = (run / "zero-shot" / "log.jsonl").read_text().splitlines()
log = [json.loads(line) for line in lines]
plots.curves({model: log}, "Training, epoch by epoch")

# %% [markdown]
# SAM and VGGish must be what they were: a training that touches a frozen parameter by mistake gives weights that nobody can load.

# %%
print(f"loss {log[0]['loss']:.3f} in the first epoch, {log[-1]['loss']:.3f} in the last of {len(log)}")
assert frozen_fingerprint(bench.model) == frozen, "training has changed something that is frozen"

# %% [markdown]
# ## 7. Tests, beside the printed figures
# Each test part with its own sound, and with the sound of another clip: what a model scores with that, it has from looking.

# %%
bench.test().few_shot()
rows = bench.table()
display(rows[rows["part"] != "training"].drop(columns="by_clip"))

# %% tags=["report"]
bars, over = [], {}
for row in rows[(rows["shots"] == 0) & (rows["state"] == "best")].itertuples():
    if row.figure in ("mIoU", "mIoU, shuffled sound", "IoU with boxes", "IoU with boxes, shuffled sound"):
        values = scores_of(row.by_clip) if row.by_clip else np.array([row.value])
        low, high = interval(values)
        deaf = "shuffled" in row.figure
        over[row.part, deaf] = values
        name, kind = ("another clip's sound", "deaf") if deaf else (model, "hears")
        bars.append(dict(group=row.part, name=name, kind=kind, value=row.value, low=low, high=high))
plots.scores(pd.DataFrame(bars), "Mean IoU on test clips")

# %%
if expected:
    printed = printed_figures(expected)
    display(printed[["source", "method", "dataset", "setting", "metric", "value", "note"]])
    print("The paper's figures; mIoU and cIoU are in percent. Yours stand above, as shares of 1.")
else:
    print("No row of a paper is asked for; PROFILE=paper/gavs-table1-gavs-v1s, for instance, asks for one.")

# %% [markdown]
# **How to read it.** Before you call a difference a finding: the same labels (AVSBench's were revised), the same threshold (0.5, but 0.4 in GAVS's release), masks at their own size, per-clip means? Several seeds? The printed figures are of one training each, and nobody printed their spread; in the toy shop, another seed alone moves a score by one to four points.

# %% [markdown]
# ## 8. Look at it
# White is the truth, orange what the model marks. Look at the worst clips too, they teach more.

# %%
if settings["protocol"] == "v3" and not lists_root:
    print("AVS-V3's lists were drawn here (lists_root is not set): not the published ones, so not the paper's clips.")
part = next(name for name in clips if name not in ("train", "val"))
tested = bench.features(clips[part])
worst = np.argsort(over[part, False])[:shown_clips] if len(over[part, False]) == len(tested) else range(shown_clips)
shown = [clips[part][int(i)] for i in worst]
probability = [predict_masks(bench.model, collate([tested[int(i)]]))[0].sigmoid().cpu().numpy() for i in worst]
for clip, marked in list(zip(shown, probability))[1:]:
    display(plots.clip_sheet(clip.frames, {model: marked > plan.threshold}, clip.a_obj, truth=clip.masks))
plots.clip_sheet(
    shown[0].frames, {model: probability[0] > plan.threshold}, f"{shown[0].a_obj}: the worst clip", truth=shown[0].masks
)

# %%
widgets.mask_explorer(shown[0].frames, probability[0], shown[0].masks)

# %% [markdown]
# ## 9. Share it
# What you trained of GAVS is a few megabytes; SAM and VGGish stay with their publishers. `save_pretrained` writes the parameters, every setting and a model card, and loads all of it once before anything appears. **We expect** whoever loads the folder to get the same masks.

# %%
best = run / "zero-shot" / "best.safetensors"
notes = load_trained(best, bench.model)
figures = [{"part": bar["group"], "sound": bar["name"], "mean IoU": round(bar["value"], 4)} for bar in bars]
source = data_root or "the toy shop, in a rehearsal"
model_card = ModelCard(
    title=f"{model} on {settings['sam']} at {side} pixels",
    summary="Marks the pixels of what sounds, one mask a second. " + ("" if data_root else "A rehearsal; of no use."),
    data=f"Trained, chosen and tested on parts of {Path(source).name}.",
    metrics=figures,
    seeds=[seed],
    licence=licence,
)

# %%
shared = output / "shared"
given = {"sam": (sam_checkpoint, settings["sam"]), "vggish": (vggish_checkpoint, "vggish")}
files = {
    part: None if word in ("shipped", "mini") else named_weights(word, name) for part, (word, name) in given.items()
}
if sam_checkpoint:
    save_pretrained(shared, bench.model, card=model_card, notes=notes, **files)
    print(*sorted(path.name for path in shared.iterdir()), sep=", ")
    print((shared / "README.md").read_text()[:600])
else:
    print("SAM's weights were random and are kept nowhere, so nobody could load this model; nothing is shared.")

# %%
batch = collate([tested[int(worst[0])]])
one = predict_masks(bench.model, batch)[0]
if sam_checkpoint:
    again, ear, _ = from_pretrained(shared, **files)
    other = predict_masks(again.to(device), batch)[0]
    assert torch.allclose(one, other, atol=0 if device == "cpu" else 1e-2), (
        "the shared model must draw what the trained one draws"
    )
    print(f"{sum(path.stat().st_size for path in shared.iterdir()) / 1e6:.1f} MB to share")
paths = write_masks(output / "masks", (one > 0).cpu())
print(f"{len(paths)} masks, such as {paths[0].name}")

# %% [markdown]
# ## Results
# The figures of this page, as JSON, for the table that `make run` prints.

# %%
metrics = {f"miou_{part}{'_other_sound' * deaf}": values.mean() for (part, deaf), values in over.items()}
metrics = {name.replace(" ", "_"): float(value) for name, value in metrics.items()}
metrics |= {"loss_last_epoch": log[-1]["loss"], "train_seconds": seconds}
metrics |= {"gflop_step": operations.step / 1e9}

# %%
facts = {"metrics": metrics, "key": experiment.key, "world": bench.protocol.world, "torch": torch.__version__}
facts |= {"seed": seed, "sam": settings["sam"], "image_size": side, "expected": expected}
Path(output, "11_official_weights.json").write_text(json.dumps(facts, indent=1))
rows.to_csv(output / "11_official_weights.csv", index=False)
print(f"this page took {time.perf_counter() - page_started:.0f} s")
pd.Series(metrics).round(3)

# %% [markdown]
# ## Summary
# - Weights are verified before they are used, and never run code.
# - An untrained GAVS is SAM, to the last bit, whatever the checkpoint and the size; the faster attention of training rounds differently.
# - A data set is checked before it is trained on, and its counts stand beside the published ones.
# - The operations of a training can be counted beforehand; hours on a GPU you do not have are an estimate.
# - A result is shared with everything that is needed to load it, and with its card.
#
# ## Quiz
# 1. Why is a checkpoint's SHA-256 compared before it gets its name, and not when it is loaded?
#    <details><summary>Answer</summary>So that a file with that name is always the right one: whoever else uses the folder, or comes back tomorrow, need not know that a download broke off.</details>
# 2. A `.pth` file is a pickle. What is the danger, and what does this library do about it?
#    <details><summary>Answer</summary>A pickle may run code when it is opened. It is read with `weights_only=True`, which takes tensors and nothing else; everything written here is safetensors, which cannot hold code.</details>
# 3. SAVE costs more to train than GAVS at the same size, and not only because its adapters are larger. Why?
#    <details><summary>Answer</summary>Its adapters stand in every block, so nothing in front of them can be computed once and kept; every step goes through the whole encoder, and back.</details>
# 4. A colleague reports an mIoU two points above the paper's. What do you ask?
#    <details><summary>Answer</summary>Which labels, which threshold, at which size, which mean; how many seeds; which clips chose the epoch; and what the model scores with another clip's sound.</details>
#
# ## References
# - A. Kirillov et al., *Segment Anything*, ICCV 2023.
# - S. Hershey et al., *CNN Architectures for Large-Scale Audio Classification* (VGGish), ICASSP 2017.
# - T.-Y. Lin et al., *Microsoft COCO: Common Objects in Context*, ECCV 2014.
# - K. J. Piczak, *ESC: Dataset for Environmental Sound Classification*, ACM MM 2015.
# - J. Zhou et al., *Audio-Visual Segmentation with Semantics* (AVSBench-semantic), IJCV 2024.
#
# ## Next
# On a GPU: `make run NOTEBOOK=11 PROFILE=public` fetches vit_b, VGGish, COCO val2017 and ESC-50 (2.4 GB), trains GAVS at 512 pixels and tests it on three classes it never met. With AVSBench on your disk, take a preset; `python -m gavs_lib.lab.grid table-1 --plan notebooks/grid/avsbench.yaml` runs many in a row.
