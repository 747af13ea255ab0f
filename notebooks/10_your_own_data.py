# %% [markdown]
# # 10 · Your own video, pictures and sounds
#
# *About one minute on a two-core laptop without GPU, offline.*
#
# **What you will do**
#
# 1. turn a video file into one mask a second, look at it, play it, and keep it,
# 2. find out whether masks come from the sound when nobody knows the right answer,
# 3. see what the library says when a file cannot be used,
# 4. make a data set of your own from a folder of pictures and a folder of sounds,
# 5. measure what such a set can teach, and what it cannot.
#
# **Reads:** your film, if you set `clip`; your pictures and sounds, if you set `pictures_dir` and `sounds_dir`. Otherwise the page makes all of them itself, from the toy shop, in the very form in which yours would lie on the disk. The weights are those that come with the course, or yours. **Writes** to `output_dir`: masks, overlay video, the composed folders and `10_your_own_data.json`.

# %% tags=["parameters"]
clip: str = ""  # path of your film; "": the page makes one
seconds: int = 10  # how many seconds of it are read, at most
pictures_dir: str = ""  # your pictures with their masks, a folder a class; "": the page draws some
sounds_dir: str = ""  # your sounds, a folder a class; give both or none
weights: str = ""  # trained parameters of yours (.safetensors); "": those that come with the course
sam_name: str = "mini"  # the SAM they were trained on: "mini", "vit_b", "vit_l" or "vit_h"
sam_checkpoint: str = ""  # its official checkpoint; "": the one that comes with the course
vggish_checkpoint: str = ""  # the VGGish they were trained with; "": the one that comes with the course
threshold: float = 0.5  # a pixel is marked where its probability is higher
classes: int = 10  # classes of the material that the page draws, 2 to 18
pictures_each: int = 4  # pictures of each class
sounds_each: int = 3  # and sounds
distractors: int = 2  # silent objects beside the sounding one, in the second data set
clips: int = 40  # clips of each data set that are scored
seed: int = 2024  # of everything that is drawn
device: str = "cpu"  # "cpu", "cuda", or "auto": the GPU if there is one
output_dir: str = "build"  # where everything is written
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
import hashlib
import json
import platform
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pandas as pd
import soundfile
import torch
from IPython.display import Video, display
from PIL import Image

# %%
from gavs_lib.course import plots, widgets
from gavs_lib.course.predict import known_world, load_predictor, probabilities
from gavs_lib.data import AVSBench, compose_folders, read_clip, write_masks, write_overlay_video
from gavs_lib.data.check import check_folder
from gavs_lib.lab.evaluate import interval, score, shuffled, silent
from gavs_lib.lab.features import extract_features
from gavs_lib.lab.shipped import load_model
from gavs_lib.metrics import mask_iou
from gavs_lib.world.classes import class_split
from gavs_lib.world.folder import fingerprint, recipes
from gavs_lib.world.objects import draw_toy
from gavs_lib.world.scenes import FRAME, PlacedToy, Scene, mix, render_frames, sounding_mask
from gavs_lib.world.sounds import SAMPLE_RATE

# %%
started = time.perf_counter()
if device == "auto":
    device = "cuda" if torch.cuda.is_available() else "cpu"
output = Path(output_dir)
output.mkdir(parents=True, exist_ok=True)
cache = Path(cache_dir) if cache_dir else output / "cache"
own_film, own_material, own_weights = clip != "", pictures_dir != "", weights != ""
if own_material != (sounds_dir != ""):
    raise ValueError("only one of pictures_dir and sounds_dir is set: give both, or none.")
print(f"Python {platform.python_version()}, torch {torch.__version__}, device {device}, seed {seed}")

# %% [markdown]
# # Part 1: your own film
# ## 1. A film, as any phone or camera writes it
# So that the page has a film even without yours, we make one: three toys, of which one plays in the first half and another in the second. The library's own writer encodes it as H.264 pictures and AAC sound in an MP4 file, with losses, as your phone does. From then on it is a file like any other.

# %%
story = next(recipe for recipe in recipes("v1s", "test", 200, seed=seed) if len(recipe.scene.toys) == 3)
half = max(1, seconds // 2)
turns = ((True,) * half + (False,) * half, (False,) * half + (True,) * half, (False,) * (2 * half))
scene = replace(story.scene, sounding=turns)
drawn = render_frames(scene)
untinted = np.zeros(drawn.frames.shape[:3], dtype=bool)
toy_film = write_overlay_video(output / "toy_film.mp4", drawn.frames, untinted, mix(scene), SAMPLE_RATE)
path = Path(clip) if own_film else toy_film
print(f"the film of this page: {path}, {path.stat().st_size / 1e3:.0f} kB" if path.is_file() else f"no film at {path}")

# %% [markdown]
# `read_clip` gives what the model takes: **one picture a second**, the one on screen in the middle of that second, and the sound of the whole film.

# %%
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    film = read_clip(path, seconds=seconds if own_film else 2 * half)
for warning in said:
    print(f"NOTE: {warning.message}")
height, width = film.frames.shape[1:3]
print(f"{film.seconds} s of {width}x{height} pixels, sound at {film.sample_rate} Hz, {len(film.waveform)} samples")
middle = np.arange(film.seconds) + 0.5
assert (film.frame_times <= middle + 1e-6).all(), "picture i is on screen in the middle of second i"
if not own_film:
    assert film.seconds == 2 * half, "the film is as long as what was drawn"
    assert (middle - film.frame_times < 0.1).all(), "of its ten pictures a second the nearest, and no earlier one"
    lost = np.abs(film.frames.astype(int) - drawn.frames).mean()
    assert lost < 12, f"the film shows what was drawn, give or take {lost:.1f} grey levels"

# %%
plots.clip_sheet(film.frames, {"picture": None}, f"{path.name}: pictures in the middle of seconds")

# %%
playing = None if own_film else {f"toy {'ABC'[i]}": flags for i, flags in enumerate(turns)}
plots.sound(film.waveform, film.sample_rate, f"{path.name}: the sound", playing)

# %% [markdown]
# ## 2. What do the weights know?
# Before the first mask, one question: what has this model ever seen and heard? The file of the weights says it.

# %%
model, vggish, notes = load_predictor(weights or None, sam_name, sam_checkpoint or None, vggish_checkpoint or None)
model, vggish = model.to(device), vggish.to(device)
trained_on = notes.get("inputs") or {}
timing, pad = trained_on.get("audio_timing", "second"), trained_on.get("pad", False)
name = notes["kind"]
print(f"{name}, {weights or 'the weights that come with the course'}.\n{known_world(notes)}")

# %% [markdown]
# Take that seriously. A model that knows toys only has no idea of a dog or a street. On a film of yours it may mark nothing, or something meaningless; either way the masks say nothing about the *method*. What this page does with them (reading, checking, writing) is the same for weights that you train on real data with a GPU (see the end).
#
# ## 3. One mask a second
# For every second $t$ and pixel $u$ the model gives a probability $p_t(u)$, from the picture of that second and the sound of that second. The mask is where it exceeds the threshold $\tau$ (`threshold`): $M_t = \{u : p_t(u) > \tau\}$.


# %%
def listen(waveform, sample_rate):
    """The probabilities [T, H, W] of the film's pictures with this sound."""
    given = replace(film, waveform=waveform, sample_rate=sample_rate)
    return np.concatenate(list(probabilities(given, model, vggish, timing, pad)))


def share(probability):
    """How much of the picture is marked in each second: [T]."""
    return (probability > threshold).mean(axis=(1, 2))


probability = listen(film.waveform, film.sample_rate)
masks = probability > threshold
assert masks.shape == film.frames.shape[:3], "one mask a second, as large as the picture"

# %% [markdown]
# **We expect**, for the film of this page, the mask on one toy in the first half and on another in the second (white: the truth, which is known here and only here). For a film of yours, look and judge.

# %%
truth = None if own_film else sounding_mask(scene, drawn.masks)
print(f"{masks.mean():.1%} of all pixels are marked")
plots.clip_sheet(film.frames, {"picture": None, name: masks}, f"{path.name}: what is marked", truth=truth)


# %%
def fits(probability, target):
    """Mean IoU of the masks over the seconds, with a known truth."""
    logits = torch.logit(torch.from_numpy(probability), eps=1e-6)
    return mask_iou(logits, torch.from_numpy(target), threshold).mean().item()


film_miou = None
if truth is not None and not own_weights:
    film_miou = fits(probability, truth)
    print(f"mean IoU with the truth: {film_miou:.2f}")
    assert film_miou > 0.3, f"mean IoU {film_miou:.2f}: compression must not spoil what the model sees and hears"

# %% [markdown]
# ## 4. To look at, to play, to keep
# `write_masks` writes a PNG a second (white on black, of the film's own size), `write_overlay_video` the film with the masks laid over it **and its sound kept**. Press play: watch when the orange moves, and listen.

# %%
kept = output / "your_film"
files = write_masks(kept / "masks", masks)
overlay = write_overlay_video(kept / "overlay.mp4", path, masks, film.waveform, film.sample_rate)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a silent film was reported above
    again = read_clip(overlay)
assert [file.name for file in files] == [f"{i}.png" for i in range(film.seconds)], "a PNG a second"
assert np.array_equal(np.asarray(Image.open(files[0])) > 0, masks[0]), "the PNG is the mask"
assert again.seconds == film.seconds, "the overlay is as long as what was read"
print(f"{kept}: masks/0.png to {film.seconds - 1}.png, overlay.mp4 ({overlay.stat().st_size / 1e3:.0f} kB)")
if overlay.stat().st_size < 8e6:  # the page carries the video within it
    display(Video(str(overlay), embed=True, width=min(480, 3 * width), html_attributes="controls"))

# %% [markdown]
# All of this is one command as well: `make predict CLIP=film.mp4`.
#
# ### Which threshold?
# Left the mask at `threshold`, right what every other threshold would give: the IoU where the truth is known, else the share of the picture that is marked. A steep curve means an undecided model. **We expect** a long level stretch for the film of this page.

# %%
step = max(1, max(height, width) // 256)  # large films are shown smaller
small = film.frames[:, ::step, ::step], probability[:, ::step, ::step]
small_truth = None if truth is None else truth[:, ::step, ::step]
moment = int(share(probability).argmax())
outline = None if truth is None else small_truth[moment]
plots.mask_at(small[0][moment], small[1][moment], outline, threshold, f"{path.name}, second {moment}")

# %% [markdown]
# The same with controls: choose a second and a threshold. (Tab reaches the controls, the arrow keys move them.)

# %%
widgets.mask_explorer(*small, small_truth)

# %% [markdown]
# ## 5. Does it listen? Checks that need no truth
# Nobody has drawn the right masks for your film. Still you can find out whether the masks come from the *sound*: keep the pictures, change the sound, and look at what the masks do.
#
# * **silence**: a listener finds nothing to mark;
# * **shifted**: the sound starts half the film later and goes on from the beginning. What a listener marks moves with it, where the sound changes;
# * **another sound**, here a toy that is silent in our film: a listener marks what makes *that* sound, if it is in the picture, or nothing.
#
# If the masks stay where they are, the model only looks.

# %% tags=["report"]
rate, length = film.sample_rate, film.seconds * film.sample_rate
played = np.pad(film.waveform, (0, length))[:length]  # as long as the pictures
later = film.seconds // 2 * rate or rate // 2
with_sound = {
    "own": probability,
    "silence": listen(np.zeros(rate, dtype=np.float32), rate),
    "shifted": listen(np.roll(played, later), rate),
    "another": listen(mix(scene.playing(2)), SAMPLE_RATE),
}
rows = {"picture": None} | {sound: each > threshold for sound, each in with_sound.items()}
plots.clip_sheet(film.frames, rows, f"{path.name} with other sounds")

# %% [markdown]
# The same in numbers: how loud each second is, and how much of its picture is marked with each sound. A model that marks as much in silence as with the sound does not listen. One that listens *may* follow the loudness, but need not: a quiet bell is still a bell.

# %%
power = np.square(played).reshape(film.seconds, rate).mean(axis=1)
loudness = 10 * np.log10(np.maximum(power, 1e-8))  # decibels below full scale; -80 stands for silence
shares = {sound: share(each) for sound, each in with_sound.items()}
plots.over_seconds(loudness, shares, f"{path.name}: what is heard, what is marked")

# %%
marked = {sound: float(each.mean()) for sound, each in shares.items()}
print("marked: " + ", ".join(f"{sound} {each:.1%}" for sound, each in marked.items()))
if marked["own"] < 0.001:
    print("Nothing is marked: the model hears nothing it knows, or does not see what makes the sound.")
elif marked["silence"] > 0.5 * marked["own"]:
    print("In silence it marks more than half as much: these masks come from the pictures, not from the sound.")
else:
    print(
        "In silence it marks less than half as much: the sound decides. Whether it decides rightly, only a truth can tell."
    )

# %% [markdown]
# For the film of this page the truth is known for *every* sound: with the halves exchanged the toys exchange their turns, and with the third toy's voice the third toy is right. **We expect** the masks to fit the truth of the sound that is played, and not that of the film.

# %%
if truth is not None and not own_weights:
    swapped = sounding_mask(replace(scene, sounding=(turns[1], turns[0], turns[2])), drawn.masks)
    third = sounding_mask(scene.playing(2), drawn.masks)
    fit = []
    for sound, target in (("shifted", swapped), ("another", third)):
        fit.append((fits(with_sound[sound], target), fits(with_sound[sound], truth)))
        print(f"{sound}: IoU {fit[-1][0]:.2f} with the truth of this sound, {fit[-1][1]:.2f} with that of the film")
    new, old = np.mean(fit, axis=0)
    assert new > old + 0.2, "the masks stay with the film's own truth; this model does not listen"
    assert marked["silence"] < 0.25 * marked["own"], "silence gives nothing to mark"

# %% [markdown]
# **What we see**, in the film of this page: with the halves exchanged, the orange changes places; in silence it is gone. One look at the sheet above says as much, and it needs no truth: you can do the same with any film. What it cannot show is whether the *right* thing is marked. For that somebody has to draw a mask: a few seconds of your film, in any drawing program, are enough for `fits` above.
#
# ## 6. When a file cannot be used
# Most surprises with one's own files are these. Nothing is guessed and nothing is half done: an error names the file, what was expected, and what to do. We make three such files.


# %%
def refused(attempt, *given, **options):
    """The message with which something is refused."""
    try:
        attempt(*given, **options)
    except (OSError, ValueError) as error:
        print(f"{type(error).__name__}: {error}\n")
        return str(error)
    raise AssertionError(f"{given}: expected an error")


# %%
mute, cut, missing = (output / f"{kind}.mp4" for kind in ("mute", "cut_short", "no_such_film"))
cut.write_bytes(toy_film.read_bytes()[: toy_film.stat().st_size // 2])
with av.open(str(toy_film)) as source, av.open(str(mute), "w") as target:
    stream = target.add_stream_from_template(source.streams.video[0])
    for packet in source.demux(source.streams.video[0]):
        if packet.dts is not None:
            packet.stream = stream
            target.mux(packet)

# %%
messages = {file.name: refused(read_clip, file) for file in (mute, cut, missing)}
assert all(file in message for file, message in messages.items()), "the message names the file"
for file, told in {mute: "has no sound", cut: "cut short", missing: "no such file"}.items():
    assert told in messages[file.name], f"{file.name}: the message says what is wrong"

# %% [markdown]
# # Part 2: your own pictures and sounds
# ## 7. Two folders
# To *train*, one film is not enough, and masks for films are expensive. There is a cheap way, with which AVS-Synthetic was made: take pictures of objects that have masks, take recordings, and join what has the same name. Picture and sound were never made together; that they belong together is all that is used.
#
#     pictures/<class>/<name>.jpg      with its mask: <name>.png beside it (white on black),
#                                      or masks/<class>/<name>.png, or transparency in the picture itself
#     sounds/<class>/<name>.wav        or flac, ogg, mp3; any rate, any length from a quarter of a second
#
# `Fire Truck`, `fire_truck` and `fire-truck` are one class. Without folders of yours the page makes two: toys photographed one at a time, voices recorded on another day. One class gets no sound, as will happen to you.

# %%
rng = np.random.default_rng(seed)
seen = class_split(0).seen
shelf = seen[:: max(1, len(seen) // classes)][:classes]  # toys that the weights have met
soundless = class_split(0).unseen_test[0]


def on_its_own(toy, number):
    """A scene with a single toy."""
    high, wide = draw_toy(toy, np.random.default_rng([number, 0]), FRAME).shape[:2]
    place = PlacedToy(toy, int(rng.integers(FRAME - wide + 1)), int(rng.integers(FRAME - high + 1)), number)
    return Scene((place,), ((True,) * 5,), number, snr_db=20.0, reverberant=False)


# %%
def draw_material(folder):
    """Pictures with masks, and sounds, as somebody might keep them."""
    for k, toy in enumerate([*shelf, soundless]):
        pictures = folder / "pictures" / toy.name.replace("-", " ").title()
        sounds = folder / "sounds" / toy.name.replace("-", "_")
        pictures.mkdir(parents=True)
        for n in range(pictures_each):
            shot = render_frames(on_its_own(toy, 1000 * seed + 20 * k + n))
            Image.fromarray(shot.frames[0]).save(pictures / f"photo {n}.jpg", quality=95)
            Image.fromarray(shot.masks[0, 0]).save(pictures / f"photo {n}.png")
        for n in range(sounds_each if toy != soundless else 0):
            sounds.mkdir(parents=True, exist_ok=True)
            soundfile.write(sounds / f"take {n}.wav", mix(on_its_own(toy, 1000 * seed + 500 + 20 * k + n)), SAMPLE_RATE)


# %%
things = output / f"things-{seed}-{len(shelf)}-{pictures_each}-{sounds_each}"
if not own_material and not things.exists():
    draft = Path(tempfile.mkdtemp(prefix="things-", dir=output))
    draw_material(draft)
    draft.replace(things)
pictures = Path(pictures_dir) if own_material else things / "pictures"
sounds = Path(sounds_dir) if own_material else things / "sounds"
for folder in (pictures, sounds):
    listed = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    print(f"{folder}: {len(listed)} files, such as\n  " + "\n  ".join(listed[:3]))

# %% [markdown]
# ## 8. Composed clips
# `compose_folders` matches the classes, and writes clips of five seconds in the layout of AVSBench-semantic: the picture, standing still, and a random stretch of a recording (a short one is repeated). Pictures and recordings are divided among training, validation and test *by file*, so that nothing is in two of them. In a shell the same is `python -m gavs_lib.data.compose PICTURES SOUNDS OUT`.
#
# We compose twice: each object on its own, and with silent objects of other classes beside it, cut out by their masks. Any of them may be the one that stands in its own photograph, so that pasted edges do not tell who sounds.

# %%
places = (pictures, sounds, pictures.parent / "masks")
stamp = [(file.as_posix(), file.stat().st_mtime_ns) for place in places for file in sorted(place.rglob("*"))]
key = hashlib.sha256(repr([stamp, seed]).encode()).hexdigest()[:8]  # other material, another folder
kinds = {"one object a picture": 0, f"{distractors} silent objects beside it": distractors}
composed = {
    kind: compose_folders(
        pictures, sounds, output / f"composed-{key}-{count}", distractors=count, seed=seed, progress=False
    )
    for kind, count in kinds.items()
}
for kind, made in composed.items():
    print(f"{kind}: {made.counts.to_numpy().sum()} clips in {made.root}")
    print("".join(f"  NOTE: {remark}\n" for remark in made.remarks))
made.counts

# %% [markdown]
# **We expect** that the course's check finds the folders whole, that the reader reads them, and that no file serves two splits.

# %%
folders, in_two_splits = {}, 0
for kind, made in composed.items():
    report = check_folder(made.root)
    assert report.problems == [], "the check finds every frame, mask and sound"
    assert report.counts["whole"].sum() == made.counts.to_numpy().sum(), "and every clip"
    splits = [split for split in made.counts if made.counts[split].any()]
    listed = pd.concat([AVSBench(made.root, made.subset, split).rows for split in splits])
    folders[kind] = AVSBench.from_rows(made.root, listed.sample(frac=1, random_state=seed).head(clips))
    files = pd.read_csv(made.root / "sources.csv").merge(listed, on="uid")
    for column in ("picture", "sound"):
        in_two_splits += int((files.groupby(column)["split"].nunique() > 1).sum())
assert in_two_splits == 0, f"{in_two_splits} files are in two splits: the test would be no test"
report.counts

# %%
shown = min(4, *(len(folder) for folder in folders.values()))
sheet = [
    [plots.overlay(each.frames[0], each.masks[0]) for each in (folder[i] for i in range(shown))]
    for folder in folders.values()
]
columns = [folders[kind].rows["a_obj"][i].replace("-", "\n") for i in range(shown)]
plots.contact_sheet(sheet, ["alone", "with others"], columns, "Composed clips: what sounds is orange")

# %% [markdown]
# ## 9. What can such a set tell, and teach?
# We let the model mark the clips of both sets, with its deaf controls: the sound of another class, silence, and (for the course's weights) the *deaf twin*, which was trained without any sound and does its best with its eyes alone.
#
# **We expect** that alone, the deaf twin does almost as well as the model that hears: there is only one thing to mark. With others beside it, it cannot.

# %%
deaf = None if own_weights else load_model("gavs_deaf")[0].to(device)
measured = []
for kind, folder in folders.items():
    features = extract_features(folder, model, vggish, cache, audio_timing=timing, pad=pad, progress=False)
    without_sound = silent(features, vggish)
    measured += [
        (kind, name, "hears", score(model, features, threshold)["miou"]),
        (kind, f"{name}, another sound", "deaf", score(model, shuffled(features, seed), threshold)["miou"]),
        (kind, f"{name}, silence", "deaf", score(model, without_sound, threshold)["miou"]),
    ]
    if deaf is not None:
        measured.append((kind, "deaf twin", "deaf", score(deaf, without_sound, threshold)["miou"]))

# %% tags=["report"]
table = pd.DataFrame(measured, columns=["group", "name", "kind", "each clip"])
table["value"] = table["each clip"].map(lambda values: values.mean())
table[["low", "high"]] = [interval(values) for values in table["each clip"]]
plots.scores(table, "Mean IoU on the composed clips")

# %%
value = table.set_index(["group", "name"])["value"]
alone, crowded = kinds
if deaf is not None and not own_material and distractors > 0:
    gain = {kind: value[kind, name] - value[kind, "deaf twin"] for kind in kinds}
    print(f"hearing brings {gain[alone]:+.2f} mean IoU alone, {gain[crowded]:+.2f} with others beside it")
    assert gain[alone] < 0.2, "one object a picture: nobody needs to listen"
    assert gain[crowded] > 0.2, f"with others beside it hearing must decide; it brings {gain[crowded]:.2f}"
    assert value[crowded, name] > value[crowded, f"{name}, another sound"] + 0.3, "and the right sound at that"

# %% [markdown]
# **What we see.** On pictures with one object the deaf twin is nearly as good as the model that hears. A high score on such a set does *not* show that a model listens, and a model trained on nothing else has no reason to learn it: such a set can teach to segment, not to listen. With silent objects in the picture the sound is the only way to know, and the deaf twin falls behind. (All this with the page's own material and the weights of the course, which know toys only.)
#
# With a wrong sound GAVS marks little, even where there is only one object. In the toy shop, where it was trained, something always stands silently by: to mark whatever is there did not pay.
#
# Two limits remain. Pasted objects have hard edges and the light of another photograph. And a picture that shows a second dog, unmarked, behind the marked one teaches that it is silent: mark all objects of the class.
#
# ## 10. Train on it
# The folder is an AVSBench-semantic folder, so notebook 05 takes it. This line starts it; `subsets` says that there is only `v1s`:

# %%
root = composed[crowded].root.resolve()
expected = {"metadata.csv", "label2idx.json", composed[crowded].subset}
assert expected <= {file.name for file in root.iterdir()}, "what AVSBench-semantic has at its root"
print(f'make run NOTEBOOK=05 ARGS="-p data_root {root} -p subsets [{composed[crowded].subset}] -p train_clips 0"')

# %% [markdown]
# With real pictures add `-p sam_name vit_b -p sam_checkpoint sam_vit_b_01ec64.pth -p vggish_checkpoint vggish-10086976.pth` and a GPU: the miniature models know toys only. The weights it leaves (`run-gavs/best.safetensors`) are what this page's `weights` takes, together with the same SAM and VGGish.
#
# ## 11. When pictures and sounds do not fit together
# The likeliest mistake: `dogs` here, `dog` there. The error lists both sides and what looks alike. The second: a mask that was exported at another size. Nothing is written in either case; broken files are listed together, the first twenty of them, and `skip_broken=True` leaves them out.

# %%
with tempfile.TemporaryDirectory() as folder:
    bench = Path(folder)
    for part in ("pictures/dogs", "sounds/dog"):
        (bench / part).mkdir(parents=True)
    Image.fromarray(drawn.frames[0]).save(bench / "pictures/dogs/rex.jpg")
    Image.fromarray(drawn.masks[0, 0][:50, :50]).save(bench / "pictures/dogs/rex.png")
    soundfile.write(bench / "sounds/dog/bark.wav", mix(scene), SAMPLE_RATE)
    unmatched = refused(compose_folders, bench / "pictures", bench / "sounds", bench / "out", progress=False)
    (bench / "sounds/dog").rename(bench / "sounds/dogs")
    misfit = refused(compose_folders, bench / "pictures", bench / "sounds", bench / "out", progress=False)
    assert not (bench / "out").exists(), "nothing is written"
assert "No class has both" in unmatched and "dogs (pictures) and dog (sounds)" in unmatched
assert "rex.png: mask is 50x50" in misfit

# %% [markdown]
# ## Results
# The figures of this page, as JSON, for the table that `make run` prints.

# %%
metrics = {"film_seconds": film.seconds, "film_marked": marked["own"], "film_marked_silence": marked["silence"]}
metrics |= {} if film_miou is None else {"miou_film": film_miou}
for kind, count in kinds.items():
    metrics[f"miou_composed_{count}"] = value[kind, name]
    metrics[f"miou_composed_{count}_another_sound"] = value[kind, f"{name}, another sound"]
    metrics |= {} if deaf is None else {f"miou_composed_{count}_deaf_twin": value[kind, "deaf twin"]}

# %%
bounds = table.set_index(["group", "name"])[["low", "high"]]
asked = {"": name, "_another_sound": f"{name}, another sound", "_deaf_twin": "deaf twin"}
intervals = {
    f"miou_composed_{count}{ending}": bounds.loc[(kind, who)].tolist()  # 95 %, over clips
    for kind, count in kinds.items()
    for ending, who in asked.items()
    if (kind, who) in bounds.index
}
facts = {"metrics": metrics, "intervals": intervals, "seed": seed, "film": path.name}
facts |= {"world": fingerprint(), "torch": torch.__version__}
Path(output, "10_your_own_data.json").write_text(json.dumps(facts, indent=1))
print(f"this page took {time.perf_counter() - started:.0f} s")
pd.Series(metrics).round(3)

# %% [markdown]
# ## Summary
# - A film becomes one picture and one second of sound at a time, and one mask a second; `make predict` does it in one line.
# - Without a truth you can still test for listening: silence, a shifted sound, another sound.
# - Weights know what they were trained on, and no more. Read it before you believe a mask.
# - Pictures with masks and recordings of the same classes make a data set. Put silent objects beside the sounding one, or nobody needs to listen.
# - Divide by file before you pair, not after.
#
# ## Quiz
# 1. Your model marks the speaker in your film perfectly. With silence in place of the sound it marks the same. What do you know?
#    <details><summary>Answer</summary>That it finds people, or large things in the middle. Nothing says that it listened.</details>
# 2. In your film the mask does not change when the sound is shifted. Does the model not listen?
#    <details><summary>Answer</summary>It may: if the same thing sounds from beginning to end, a shift changes nothing. Try silence and another sound before you decide.</details>
# 3. Why are pictures and sounds divided among the splits first, and paired afterwards?
#    <details><summary>Answer</summary>Paired first, the same picture could stand with one bark in training and with another in the test: the test would reward having seen the picture before.</details>
# 4. A set of dogs and cats, one animal a picture: a model reaches 0.9 mean IoU. What would you compose to see whether it tells barking from meowing?
#    <details><summary>Answer</summary>The same with one distractor: each picture then shows both, and only the sound tells which is meant.</details>
#
# ## References
# - J. Liu et al., *Annotation-free Audio-Visual Segmentation* (AVS-Synthetic, SAMA-AVS), WACV 2024.
# - Y. Wang et al., *Prompting Segmentation with Sound Is Generalizable Audio-Visual Source Localizer* (GAVS), AAAI 2024.
# - J. Zhou et al., *Audio-Visual Segmentation with Semantics* (AVSBench-semantic), IJCV 2024.
#
# ## Next
# Set `clip` to a film of yours: `make run NOTEBOOK=10 ARGS="-p clip film.mp4"`. Then [05 · Training](05_training.ipynb) on what you composed.
