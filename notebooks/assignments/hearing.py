# %% [markdown]
# # Assignment · Does it hear?
#
# *Meant for an afternoon; the page itself computes for less than a minute on a two-core laptop, offline. 20 points.*
#
# **What you will do.** Four tasks about scores and about hearing. None of the answers is in the library, but the library may be used for all of them. Notebooks 00 and 01 are what you need to have read.
#
# 1. a score that looks at the border of a mask (5 points),
# 2. a colleague's function with a mistake in it: find it, prove it, repair it (5 points),
# 3. four experiments with a trained model, each of them predicted first (5 points),
# 4. a measure of hearing of your own, and how likely chance explains it (5 points).
#
# **How it is graded.** Write only where it says `YOUR CODE HERE`, and delete the line that raises `NotImplementedError`. You may add cells of your own. Behind each task stands a cell of *checks*: run it, it says in words what is not right yet (2 points a task). Other checks are hidden and use other inputs (3 points a task). Checks and set-up are put back before grading, so changing them changes nothing. A cell may take one minute. Before you hand in, choose *Restart kernel and run all cells*.
#
# **Reads:** the miniature weights that come with the course; nothing is downloaded. **Writes:** nothing.

# %% [markdown]
# ## Set-up
# The first cell matters on Colab only.

# %%
# Only on Colab: install the library. (`make stamp` writes this cell; elsewhere it does nothing.)
import importlib.util
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("gavs_lib") is None:
    raise RuntimeError("This copy is not published yet; [tool.gavs] in its pyproject.toml waits for an address.")

# %% nbgrader={"grade": false, "grade_id": "setup_imports", "locked": true, "schema_version": 3, "solution": false, "task": false}
import math

import numpy as np
import torch
from torch.nn import functional as F

from gavs_lib.lab.features import embed_sound, resize_frames
from gavs_lib.lab.shipped import load_model
from gavs_lib.metrics import mask_iou
from gavs_lib.vggish import load_vggish
from gavs_lib.world.folder import recipe, recipes
from gavs_lib.world.scenes import mix, render_frames, render_stems

# %% [markdown]
# A clip for tasks 2 and 3: five seconds, a small metal bell and a small metal bird. `listen(waveform)` plays any sound of five seconds over the pictures to a trained GAVS and returns its logits `[T, 64, 64]`.

# %% nbgrader={"grade": false, "grade_id": "setup_clip", "locked": true, "schema_version": 3, "solution": false, "task": false}
story = recipe("v1s", "test", 14, seed=7)
rate, scene, pictures = 16000, story.scene, render_frames(story.scene)
bell, bird = (np.asarray(mix(scene.playing(k), render_stems(scene))) for k in range(2))  # their voices, 5 s each
gavs, vggish = load_model("gavs")[0], load_vggish("mini")


def listen(waveform: np.ndarray) -> torch.Tensor:
    """Logits [T, 64, 64] of GAVS for the pictures of the clip and this sound."""
    frames = resize_frames(pictures.frames, gavs.sam.image_encoder.img_size)[None]
    heard = torch.as_tensor(np.array(waveform), dtype=torch.float32)
    with torch.no_grad():
        return gavs(frames, embed_sound(vggish, heard, rate, scene.seconds)[None]).mask_logits[0]


# %% [markdown]
# ## 1. A score that looks at the border
# IoU hardly notices a ragged border when the toy is large: most of its pixels lie inside. *Boundary IoU* (Cheng et al., 2021) compares the borders only. The border of width $w$ of a mask $M$ holds those of its pixels that have background close by:
#
# $$B_w(M) = \{\, (y, x) \in M : \text{some } (y', x') \notin M \text{ has } |y - y'| \le w \text{ and } |x - x'| \le w \,\}, \qquad \mathrm{BIoU} = \frac{|B_w(P) \cap B_w(G)|}{|B_w(P) \cup B_w(G)|}.$$
#
# - What lies outside of the picture counts as background: a toy cut off by the frame has a border there.
# - If both borders are empty (no mask, nothing predicted), the score is 1.
#
# **Write** `boundary_iou(predicted, truth, width)`: two masks `[T, H, W]` of type bool and a width of at least one pixel; it returns a tensor `[T]`, one score a second. (`F.max_pool2d` looks at all the neighbours of a pixel at once. How does it treat what lies outside?)


# %% nbgrader={"grade": false, "grade_id": "task1", "locked": false, "schema_version": 3, "solution": true, "task": false}
def boundary_iou(predicted: torch.Tensor, truth: torch.Tensor, width: int) -> torch.Tensor:
    """Boundary IoU of each second."""

    ### BEGIN SOLUTION
    def border(mask):
        outside = F.pad((~mask).float()[:, None], (width,) * 4, value=1.0)
        return mask & (F.max_pool2d(outside, 2 * width + 1, stride=1)[:, 0] > 0)

    ours, theirs = border(predicted), border(truth)
    shared = (ours & theirs).sum(dim=(1, 2)).float()
    either = (ours | theirs).sum(dim=(1, 2)).float()
    return torch.where(either > 0, shared / either.clamp(min=1), 1.0)
    ### END SOLUTION


# %% [markdown]
# Worked out by hand: a square of 4 × 4 pixels has a border of 12 pixels at $w = 1$. Moved by one column, the two borders share 6 pixels and cover 18 together: 1/3. (The plain IoU is 12/20 = 0.6.)

# %% nbgrader={"grade": true, "grade_id": "task1_visible", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
square = torch.zeros(1, 8, 8, dtype=torch.bool)
square[0, 2:6, 2:6] = True
full, empty = torch.ones(1, 4, 4, dtype=torch.bool), torch.zeros(1, 4, 4, dtype=torch.bool)
ring = full.clone()
ring[0, 1:3, 1:3] = False

score = boundary_iou(square.roll(1, dims=2), square, 1)
assert isinstance(score, torch.Tensor) and score.shape == (1,), "the result must be a tensor [T], one score a second"
assert abs(score.item() - 0.6) > 1e-4, "0.6 is the plain IoU: only the pixels of the border count"
assert abs(score.item() - 1 / 3) < 1e-4, f"the moved square scores 6/18 = 0.333, yours is {score.item():.3f}"
assert abs(boundary_iou(square, square, 2).item() - 1) < 1e-4, "a mask compared with itself scores 1 at any width"
score = boundary_iou(ring, full, 1).item()
assert abs(score - 1) < 1e-4, (
    f"outside of the picture is background: full picture and its rim score 1, yours {score:.3f}"
)
score = boundary_iou(empty, empty, 1).item()
assert abs(score - 1) < 1e-4, f"two empty masks agree, so they score 1; yours is {score} (0/0 must not happen)"
score = boundary_iou(empty, full, 1).item()
assert abs(score) < 1e-4, f"nothing predicted although something is there scores 0; yours is {score}"

# %% nbgrader={"grade": true, "grade_id": "task1_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden checks: other shapes, seconds and widths.
### BEGIN HIDDEN TESTS
import hashlib
import os

number = int(hashlib.sha256(f"task1 {os.environ.get('COURSE_SEED', '')}".encode()).hexdigest()[:8], 16)
draw = torch.Generator().manual_seed(number)


def slow_border(mask, width):
    height, breadth = mask.shape
    found = torch.zeros_like(mask)
    for y in range(height):
        for x in range(breadth):
            inside = y >= width and x >= width and y + width < height and x + width < breadth
            window = mask[max(y - width, 0) : y + width + 1, max(x - width, 0) : x + width + 1]
            found[y, x] = mask[y, x] and not (inside and bool(window.all()))
    return found


for width in (1, 2, 3):
    coarse = torch.randn(2, 4, 1, 4, 5, generator=draw)
    smooth = F.interpolate(coarse.flatten(0, 1), (17, 22), mode="bilinear").view(2, 4, 17, 22)
    mine, yours = smooth > -0.3
    mine[0], yours[1] = False, False
    mine[3], yours[3] = False, False
    got = boundary_iou(mine, yours, width)
    for t in range(4):
        a, b = slow_border(mine[t], width), slow_border(yours[t], width)
        want = float((a & b).sum()) / float((a | b).sum()) if bool((a | b).any()) else 1.0
        assert abs(float(got[t]) - want) < 1e-4, f"at width {width} a second scores {float(got[t]):.3f}, not {want:.3f}"
### END HIDDEN TESTS

# %% [markdown]
# ## 2. A colleague's mistake
# A colleague turns logits into masks with the function below.


# %% nbgrader={"grade": false, "grade_id": "setup_colleague", "locked": true, "schema_version": 3, "solution": false, "task": false}
def colleague_masks(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Which pixels are marked: logits [T, h, w] in, masks [T, *size] out."""
    logits = F.interpolate(logits[:, None], tuple(size), mode="bilinear", align_corners=False)[:, 0]
    probability = logits.sigmoid()
    low = probability.amin(dim=(1, 2), keepdim=True)
    high = probability.amax(dim=(1, 2), keepdim=True)
    probability = (probability - low) / (high - low + 1e-8)
    return probability > 0.5


# %% [markdown]
# With the bell's voice the masks look right. In silence nothing should be marked; look closely.

# %%
from gavs_lib.course import plots

played = {"bell": bell, "silence": np.zeros_like(bell)}
rows = {name: colleague_masks(listen(sound), (128, 128)).numpy() for name, sound in played.items()}
plots.clip_sheet(pictures.frames, {"picture": None, **rows}, "The colleague's masks: the bell's voice, and silence")

# %% [markdown]
# Four properties one may ask of a function that makes masks (`size` being the size of the logits, so that nothing is enlarged):
#
# | Name | Property |
# |---|---|
# | `"seconds"` | Each second is treated by itself: put the seconds in another order, and the masks come in that order. |
# | `"rising"` | Raise the logit of one pixel, and this pixel does not lose its mark. |
# | `"alone"` | Change the logit of one pixel, and no *other* pixel's mark changes. |
# | `"silence"` | Where all the logits are below −2 (probability 0.12), nothing is marked. |
#
# **Write** three things.
#
# - `violated`: the set of the names of all the properties that `colleague_masks` does not have, such as `{"seconds", "rising"}`. Find out by trying, not by guessing.
# - `witness()`: a proof. It returns two tensors of logits `[1, h, w]`, `before` and `after`, that differ in exactly one pixel, while `colleague_masks` changes the mark of *another* pixel.
# - `careful_masks(logits, size)`: the function repaired. It has all four properties, and it still enlarges the logits before anything else, as the course's metrics do.

# %% nbgrader={"grade": false, "grade_id": "task2", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
violated = {"alone", "silence"}


def witness() -> tuple[torch.Tensor, torch.Tensor]:
    """The brightest pixel sets the scale for all the others: raise it, and the second pixel goes out."""
    return torch.tensor([[[-5.0, -1.0, -1.0]]]), torch.tensor([[[-5.0, -1.0, 5.0]]])


def careful_masks(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Masks at the fixed threshold 0.5 on the probability, which is 0 on the logit."""
    enlarged = F.interpolate(logits[:, None], tuple(size), mode="bilinear", align_corners=False)[:, 0]
    return enlarged.sigmoid() > 0.5


### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "task2_visible", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
names = {"seconds", "rising", "alone", "silence"}
assert isinstance(violated, set) and violated <= names, f"violated must be a set of names out of {sorted(names)}"
assert violated, "violated is empty, but the function has a mistake"

before, after = witness()
assert before.shape == after.shape and before.ndim == 3 and len(before) == 1, "before and after must both be [1, h, w]"
changed = before != after
assert changed.sum() == 1, f"before and after must differ in exactly one pixel; they differ in {int(changed.sum())}"
size = before.shape[1:]
others = (colleague_masks(before, size) != colleague_masks(after, size)) & ~changed
assert others.any(), "with your witness no other pixel's mark changes, so it proves nothing"

quiet = torch.linspace(-6, -3, 64).view(1, 8, 8)
masks = careful_masks(quiet, (4, 9))
assert masks.dtype == torch.bool and masks.shape == (1, 4, 9), "careful_masks must return bool [T, *size]"
share = careful_masks(quiet, (8, 8)).float().mean().item()
assert share == 0, f"no probability is above 0.05 here, and careful_masks marks {share:.0%} of the picture"
loud = careful_masks(-quiet, (8, 8)).float().mean().item()
assert loud == 1, f"every probability is above 0.95 here, and careful_masks marks only {loud:.0%} of the picture"
assert careful_masks(torch.full((1, 2, 2), 0.2), (2, 2)).all(), "the logit 0.2 is the probability 0.55, above 0.5"
masks = careful_masks(torch.tensor([[[-1.0, 4.0]]]), (1, 4))
assert masks.sum() == 3, "enlarge the logits first (-1, 0.25, 2.75, 4), then apply the threshold: 3 pixels are marked"

# %% nbgrader={"grade": true, "grade_id": "task2_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden checks: which properties you found, and your function on other logits.
### BEGIN HIDDEN TESTS
import hashlib
import os

number = int(hashlib.sha256(f"task2 {os.environ.get('COURSE_SEED', '')}".encode()).hexdigest()[:8], 16)
draw = torch.Generator().manual_seed(number)
broken = {"alone", "silence"}
assert not broken - violated, "violated lacks a property that the function does not have"
assert not violated - broken, "violated names a property that the function does have"
for level in (-4.0, -0.5, 0.0, 1.5):
    logits = level + 2 * torch.randn(3, 6, 7, generator=draw)
    want = F.interpolate(logits[:, None], (15, 13), mode="bilinear", align_corners=False)[:, 0] > 0
    assert torch.equal(careful_masks(logits, (15, 13)), want), "careful_masks differs on logits that are not shown"
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Predict, then test
# GAVS looks at the bell and the bird and hears what you let it hear. `outcome(waveform)` plays a sound of five seconds over the pictures and says which of the toys the mask (threshold 0.5 on the probability) covers by more than half **in second 1**, the one from 1.0 s to 2.0 s: `"bell"`, `"bird"`, `"both"` or `"neither"`.


# %% nbgrader={"grade": false, "grade_id": "setup_outcome", "locked": true, "schema_version": 3, "solution": false, "task": false}
def outcome(waveform: np.ndarray) -> str:
    """Which toy the mask covers in second 1 when this sound is played: "bell", "bird", "both" or "neither"."""
    enlarged = F.interpolate(listen(waveform)[:, None], pictures.frames.shape[1:3], mode="bilinear")[:, 0]
    covered = [(enlarged[1] > 0)[torch.from_numpy(mask[1])].float().mean().item() > 0.5 for mask in pictures.masks]
    return {(True, False): "bell", (False, True): "bird", (True, True): "both"}.get(tuple(covered), "neither")


# %%
from IPython.display import Audio, display

display(Audio(bell, rate=rate), Audio(bird, rate=rate))
print("the bell's voice:", outcome(bell), "| the bird's voice:", outcome(bird))

# %% [markdown]
# Four other sounds, all of them as long as the bell's voice:
#
# | Name | What is played |
# |---|---|
# | `"both"` | the two voices at once (their sum) |
# | `"late"` | two seconds of zeros, then the bell's voice from its beginning, as much of it as fits |
# | `"quiet"` | the bell's voice, 40 dB quieter (20 dB are a factor of ten in amplitude) |
# | `"backwards"` | the bell's voice played backwards in time |
#
# **Predict first.** Fill in `predicted` before you run anything: for each name one of the four outcomes. Points do not depend on your being right, so an honest guess costs nothing, and a wrong one teaches more.

# %% nbgrader={"grade": false, "grade_id": "task3_predicted", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
predicted = {"both": "both", "late": "neither", "quiet": "bell", "backwards": "bell"}
### END SOLUTION

# %% [markdown]
# **Now test.** Write `sound_of(name, voice, other, rate)`, which makes those sounds from two arrays `[samples]`, the voice and the other toy's voice, and returns an array of the same length. Then set `held`: for each name, `True` if your prediction came true and `False` if it did not.


# %% nbgrader={"grade": false, "grade_id": "task3", "locked": false, "schema_version": 3, "solution": true, "task": false}
def sound_of(name: str, voice: np.ndarray, other: np.ndarray, rate: int) -> np.ndarray:
    """The sound of an experiment."""
    ### BEGIN SOLUTION
    if name == "both":
        return voice + other
    if name == "late":
        return np.concatenate([np.zeros(2 * rate, voice.dtype), voice])[: len(voice)]
    return voice / 100 if name == "quiet" else voice[::-1].copy()
    ### END SOLUTION


### BEGIN SOLUTION
held = {name: outcome(sound_of(name, bell, bird, rate)) == predicted[name] for name in predicted}
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "task3_visible", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
names = {"both", "late", "quiet", "backwards"}
assert isinstance(predicted, dict) and set(predicted) == names, f"predicted needs one entry for each of {sorted(names)}"
assert set(predicted.values()) <= {"bell", "bird", "both", "neither"}, f"unknown outcome in {predicted}"
voice, other = np.arange(1.0, 6.0), np.full(5, 10.0)
sounds = {name: np.asarray(sound_of(name, voice, other, 1)) for name in sorted(names)}  # one sample a second
lengths = {name: len(sound) for name, sound in sounds.items()}
assert set(lengths.values()) == {5}, f"every sound must be as long as the voice, 5 samples; yours are {lengths}"
assert not np.allclose(sounds["both"], [5.5, 6, 6.5, 7, 7.5]), "'both' is the sum of the voices, not their mean"
assert np.allclose(sounds["both"], [11, 12, 13, 14, 15]), f"'both' must be [11 12 13 14 15], not {sounds['both']}"
assert not np.allclose(sounds["late"], [4, 5, 1, 2, 3]), "'late': the end has come round to the front; begin with zeros"
assert np.allclose(sounds["late"], [0, 0, 1, 2, 3]), f"'late' must be [0 0 1 2 3], not {sounds['late']}"
factor = float(voice[0] / sounds["quiet"][0])
assert abs(factor - 100) < 1e-3, f"40 dB are 20 dB twice, so the amplitude is divided by 100; yours by {factor:.4g}"
assert np.allclose(sounds["backwards"], [5, 4, 3, 2, 1]), "'backwards' must end with the first sample"
assert isinstance(held, dict) and set(held) == names, f"held needs one entry for each of {sorted(names)}"
assert all(isinstance(value, bool) for value in held.values()), "held takes True or False"

# %% nbgrader={"grade": true, "grade_id": "task3_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden checks: your sounds from other voices, and whether `held` says what the model really did.
### BEGIN HIDDEN TESTS
import hashlib
import os

number = int(hashlib.sha256(f"task3 {os.environ.get('COURSE_SEED', '')}".encode()).hexdigest()[:8], 16)
rng = np.random.default_rng(number)


def right_sound(name, voice, other, rate):
    late = np.concatenate([np.zeros(2 * rate), voice[: len(voice) - 2 * rate]])
    return {"both": voice + other, "late": late, "quiet": voice * 0.01, "backwards": voice[::-1]}[name]


for samples_a_second in (3, 7, 50):
    first, second_voice = rng.standard_normal((2, 5 * samples_a_second))
    for name in ("both", "late", "quiet", "backwards"):
        got = np.asarray(sound_of(name, first, second_voice, samples_a_second))
        want = right_sound(name, first, second_voice, samples_a_second)
        assert got.shape == want.shape and np.allclose(got, want, atol=1e-5), f"{name!r} is wrong for other voices"
for name in ("both", "late", "quiet", "backwards"):
    seen = outcome(np.ascontiguousarray(right_sound(name, bell, bird, rate)))
    came_true = predicted[name] == seen
    assert held[name] == came_true, f"{name!r}: you predicted {predicted[name]!r} and the model marked {seen!r}"
### END HIDDEN TESTS

# %% [markdown]
# What surprised you, and what do you think is the reason? (Two or three sentences. They carry no points, and they are what you will remember.)

# %% [markdown] nbgrader={"grade": true, "grade_id": "task3_why", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}
# The bell played backwards is not heard as a bell at all, in spite of having the same frequencies and the same loudness: what makes a bell is the stroke that rings out, and backwards it swells instead. At 40 dB less the log-mel front end, which adds 0.01 before the logarithm, sees next to nothing.

# %% [markdown]
# ## 4. A measure of hearing
# Your last task is a number that says how much a model *listens*, and another that says whether chance could explain it.
#
# A clip shows $K \ge 2$ toys. Each toy's voice is played alone in turn; $P_k$ are the masks with the voice of toy $k$, and $G_k$ the true masks of toy $k$. A model that listens marks toy $k$ better with its own voice than with the others'. The **swap gain** of the clip is
#
# $$g = \frac{1}{K} \sum_{k=1}^{K} \Big( \mathrm{IoU}(P_k, G_k) - \frac{1}{K - 1} \sum_{j \ne k} \mathrm{IoU}(P_j, G_k) \Big).$$
#
# A deaf model, whose masks are always the same, has $g = 0$, however good they are. `iou(masks, truth)` below is the mean over the seconds, by the course's rules.


# %% nbgrader={"grade": false, "grade_id": "setup_iou", "locked": true, "schema_version": 3, "solution": false, "task": false}
def iou(masks: torch.Tensor, truth: torch.Tensor) -> float:
    """Mean IoU over the seconds of two masks [T, H, W] of type bool."""
    return mask_iou(masks.float() * 20 - 10, truth).mean().item()


# %% [markdown]
# Whether gains $g_1, \dots, g_n$ of $n$ clips could be chance, the **sign test** answers. Were the model deaf, every gain that is not 0 would be positive or negative with probability 1/2 each. Leave out the gains that are exactly 0; of the $n$ that are left let $m$ be positive. The two-sided p-value is the probability of a count at least as lopsided:
#
# $$p = \min\Big(1,\; 2 \sum_{i=0}^{\min(m,\, n - m)} \binom{n}{i} 2^{-n}\Big), \qquad p = 1 \text{ for } n = 0.$$
#
# **Write** `swap_gain(played, toys)`, both `[K, T, H, W]` of type bool, which returns a number and raises a `ValueError` if there are fewer than two toys, and `sign_test(gains)`, which takes a list of numbers and returns $p$.


# %% nbgrader={"grade": false, "grade_id": "task4", "locked": false, "schema_version": 3, "solution": true, "task": false}
def swap_gain(played: torch.Tensor, toys: torch.Tensor) -> float:
    """How much better each toy is marked with its own voice than with the voices of the others."""
    ### BEGIN SOLUTION
    count = len(toys)
    if count < 2:
        raise ValueError(f"{count} toy: a swap needs at least two")
    table = np.array([[iou(masks, truth) for masks in played] for truth in toys])  # [toy, voice]
    own = np.trace(table) / count
    return float(own - (table.sum() - np.trace(table)) / (count * (count - 1)))
    ### END SOLUTION


def sign_test(gains: list[float]) -> float:
    """Two-sided p-value of the sign test."""
    ### BEGIN SOLUTION
    signs = [gain > 0 for gain in gains if gain != 0]
    fewer = min(sum(signs), len(signs) - sum(signs))
    return min(1.0, 2 * sum(math.comb(len(signs), i) for i in range(fewer + 1)) / 2 ** len(signs))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "task4_visible", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
toys = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
toys[0, 0, :2], toys[1, 0, 2:] = True, True  # the upper and the lower half
gain = swap_gain(toys, toys)
assert abs(gain - 0.5) > 1e-4, "perfect hearing must gain 1, yours gains 0.5: the own voice is none of the others"
assert abs(gain - 1) < 1e-4, f"perfect masks for each voice must gain 1, yours gain {gain:.3f}"
gain = swap_gain(torch.ones_like(toys), toys)
assert abs(gain) < 1e-4, f"a model that marks everything with every voice is deaf and gains 0, yours gains {gain:.3f}"
gain = swap_gain(toys.flip(0), toys)
assert abs(gain + 1) < 1e-4, f"a model that always marks the wrong toy gains -1, yours gains {gain:.3f}"
try:
    swap_gain(toys[:1], toys[:1])
    raise AssertionError("with one toy there is nothing to swap: raise a ValueError")
except ValueError:
    pass

p = sign_test([0.1, 0.2, 0.3, 0.4, 0.5])
assert abs(p - 1 / 32) > 1e-6, "1/32 is one-sided: five losses out of five would be as lopsided as five gains"
assert abs(p - 1 / 16) < 1e-6, f"five gains of five: p = 2/32 = 0.0625, yours is {p:.4f}"
p = sign_test([0.1, 0.2, 0.3, -0.1, 0.0])
assert abs(p - 0.625) < 1e-6, f"three gains, one loss (the 0 is left out): p = 2 (1 + 4)/16 = 0.625, yours is {p:.4f}"
p = sign_test([0.1, -0.1])
assert p <= 1, f"a probability is at most 1, yours is {p}"
assert sign_test([]) == 1 and sign_test([0.0]) == 1, "without any gain or loss p is 1"

# %% nbgrader={"grade": true, "grade_id": "task4_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden checks: clips with three and four toys, and longer lists of gains.
### BEGIN HIDDEN TESTS
import hashlib
import os

number = int(hashlib.sha256(f"task4 {os.environ.get('COURSE_SEED', '')}".encode()).hexdigest()[:8], 16)
rng = np.random.default_rng(number)
for count in (2, 3, 4):
    shape = (count, 3, 6, 6)
    guess, truth = (torch.from_numpy(rng.random(shape) < share) for share in (0.6, 0.4))
    want = 0.0
    for k in range(count):
        rest = [iou(guess[j], truth[k]) for j in range(count) if j != k]
        want += (iou(guess[k], truth[k]) - sum(rest) / len(rest)) / count
    got = float(swap_gain(guess, truth))
    assert abs(got - want) < 1e-4, f"with {count} toys the gain is {got:.4f}, not {want:.4f}"
for size in (1, 6, 11, 20):
    gains = [float(value) for value in rng.normal(0.4, 1, size)] + [0.0] * int(rng.integers(0, 3))
    up, down = sum(value > 0 for value in gains), sum(value < 0 for value in gains)
    tail = sum(math.factorial(size) // (math.factorial(i) * math.factorial(size - i)) for i in range(min(up, down) + 1))
    want, got = min(1.0, 2 * tail * 0.5**size), float(sign_test(gains))
    assert abs(got - want) < 1e-6, f"{up} gains and {down} losses give p = {want:.4f}, not {got:.4f}"
### END HIDDEN TESTS

# %% [markdown]
# **Use it.** Eight fresh clips, GAVS and its deaf twin. What do you expect for each?

# %%
from gavs_lib.lab.evaluate import play_each

for kind in ("gavs", "gavs_deaf"):
    gains = []
    for clip in recipes("v1s", "test", 8, seed=2):
        voices = play_each(load_model(kind)[0], vggish, clip) > 0.5
        gains.append(swap_gain(voices, torch.from_numpy(render_frames(clip.scene).masks)))
    print(
        f"{kind:9}  mean swap gain {np.mean(gains):+.2f}, positive in {sum(g > 0 for g in gains)} of 8 clips,", end=" "
    )
    print(f"p = {sign_test(gains):.4f}")

# %% [markdown]
# Note who the deaf twin is here: it was trained with silence and now hears for the first time. Its gain need not be 0, but it has no reason to point in one direction.
#
# ## Hand in
# *Restart kernel and run all cells*, save, and hand in this file. If you work on parts only, leave the other answers as they are: each task is graded by itself. (*Run all* then stops at the first of them; run the cells behind it one by one.)
#
# ## References
# - B. Cheng, R. Girshick, P. Dollár, A. Berg, A. Kirillov, *Boundary IoU: Improving Object-Centric Image Segmentation Evaluation*, CVPR 2021.
# - Y. Wang et al., *Prompting Segmentation with Sound Is Generalizable Audio-Visual Source Localizer* (GAVS), AAAI 2024.
