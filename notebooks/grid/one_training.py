# %% [markdown]
# # One training of the laboratory
# *Two to ten minutes on one CPU core. Not a page to read first: the grid (`python -m gavs_lib.lab.grid`) runs it once for each row of its plan, and the executed page is that row's record.*
#
# Trains one model on the seen classes of the toy shop, tests it on seen and on unseen ones, then goes on with a few shots of the unseen ones. `gavs_lib.lab.experiment` says what each step is.
#
# - **Reads** nothing, clips are drawn; or, if `data` says where, AVSBench and VGG-SS.
# - **Writes** `rows.csv` to `output_dir`, beside the trainings' folders.

# %% tags=["parameters"]
model: str = "gavs"  # a kind of gavs_lib.lab.shipped.MODELS
config: dict = {}  # settings of the model other than the course's
training: dict = {}  # settings of the training other than the course's
few_shot: dict = {}  # settings of the k-shot trainings other than those of the first
final_relu: bool = False  # of VGGish
rotation: int = 0  # which classes are seen
share: float = 1.0  # of the training clips
shots: list = []  # clips of each unseen class, such as [1, 3, 5]
control: list = []  # of the shots: where training longer on seen classes stands beside
train: list = [360, 240]  # clips of v1s and v1m
val: list = [60, 40]  # likewise
test: int = 80  # clips of each test part
pool: int = 140  # clips of unseen classes from which the shots are drawn; the others are the test
twin: int = 252  # entries of VGG-SS's miniature twin; 0: it is not measured
twin_shots: list = []  # of each class of the twin
image_size: int = 0  # side of the square that SAM-mini sees, in pixels; 0: 128
start: str = ""  # what is trained on first: "synthetic", "v1s", "synthetic, v1s", or nothing
start_clips: int = 360  # how many clips of that
swaps: int = 0  # clips of v1s on which the swap test is made
data: dict = {}  # empty: the toy shop; or settings of gavs_lib.lab.protocols.DiskData, such as {root: "AVSBench"}
seed: int = 0  # of the weights and the order of the clips
device: str = "auto"  # "cpu", "cuda", or "auto": the GPU if there is one
output_dir: str = "build/one_training"  # where everything is written
cache_dir: str = ""  # where features are kept; "": a folder in output_dir

# %%
import time
from dataclasses import fields
from pathlib import Path

import pandas as pd
import torch
from IPython.display import display

from gavs_lib.course import plots
from gavs_lib.lab.experiment import Bench, Experiment
from gavs_lib.lab.weights import write_atomically

begun = time.perf_counter()
output = Path(output_dir)
cache = Path(cache_dir) if cache_dir else output / "cache"
experiment = Experiment(**{entry.name: globals()[entry.name] for entry in fields(Experiment)})  # by name, from above
print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; key {experiment.key}")

# %% [markdown]
# ## Zero-shot

# %%
if device == "auto":
    device = "cuda" if torch.cuda.is_available() else "cpu"
bench = Bench(experiment, output, cache, device).train()
bench.model.trainable_summary()

# %%
log = pd.read_json(output / "zero-shot" / "log.jsonl", lines=True)
display(log)
plots.curves({model: log.where(log.notna(), None).to_dict("records")}, f"{model}, rotation {rotation}, seed {seed}")

# %%
bench.test()
display(bench.table().drop(columns="by_clip"))

# %% [markdown]
# ## A few shots

# %%
bench.few_shot()
rows = bench.table()
display(rows[rows["shots"] > 0].drop(columns="by_clip"))

# %%
write_atomically(output / "rows.csv", rows.to_csv(index=False).encode())
print(f"{len(rows)} rows in {(time.perf_counter() - begun) / 60:.1f} minutes")
