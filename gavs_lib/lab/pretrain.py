"""How the miniature foundation models are taught: each modality alone, and factors only, never classes.

SAM-mini and VGGish-mini stand in for models that were trained on a million pictures and two million sounds. Both see
all 36 combinations of family, size and material, but neither sees the other's world: pictures and sounds are drawn
independently, and the factors are numbered in a different, shuffled order for each, so nothing links a drawn bell to a
heard one except the audio-visual training that comes later.

What they are told are *factors* (this is large, this is glass), not classes (this is a large glass bell). A network
taught classes keeps a table of them, and a table says nothing about a combination that the audio-visual training
leaves out.
"""

import argparse
import functools
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor, nn
from tqdm.auto import tqdm

from gavs_lib.audio import second_examples
from gavs_lib.lab.weights import save_tensors, write_checksums
from gavs_lib.sam import build_sam
from gavs_lib.vggish import EMBEDDING_DIM, VGGish
from gavs_lib.world.classes import ROTATIONS, class_split
from gavs_lib.world.folder import fingerprint
from gavs_lib.world.objects import FAMILIES, MATERIALS, SIZES, TOYS, Toy
from gavs_lib.world.scenes import SAMPLE_RATE, mix, render_frames, sample_scene

FACTORS = (FAMILIES, SIZES, MATERIALS)
FACTOR_COUNT = sum(map(len, FACTORS))
PICTURE_ORDER = np.random.default_rng(1).permutation(FACTOR_COUNT)
SOUND_ORDER = np.random.default_rng(2).permutation(FACTOR_COUNT)
"""Place k of the ear's tags is factor ``SOUND_ORDER[k]``; of the eye's prompts and readings, ``PICTURE_ORDER[k]``."""
_SAVE_EVERY = 100  # steps


def factor_vector(toy: Toy) -> np.ndarray:
    """The toy's family, size and material as three ones among eleven, float32 ``[11]``, in the order of ``FACTORS``."""
    vector = np.zeros(FACTOR_COUNT, dtype=np.float32)
    offset = 0
    for values, value in zip(FACTORS, (toy.family, toy.size, toy.material)):
        vector[offset + values.index(value)] = 1
        offset += len(values)
    return vector


FACTOR_TABLE = np.stack([factor_vector(toy) for toy in TOYS])


@dataclass(frozen=True)
class PretrainConfig:
    """All *ours*: what the encoders are trained on, and how long.

    ``clips`` five-second sound clips and ``pictures`` single frames are drawn once from ``seed``. A batch is shared
    among ``workers`` processes of one thread each, which on two cores takes two thirds of the time that one process
    with two threads does. ``autocast`` computes matrix products in bfloat16; ``compile`` needs a C++ compiler and
    halves the time of a step.
    """

    seed: int = 7
    clips: int = 8000
    sound_steps: int = 5000
    sound_batch: int = 64
    sound_lr: float = 1e-3
    pictures: int = 14000
    picture_steps: int = 4500
    picture_batch: int = 16
    picture_lr: float = 1e-3
    factor_prompts: int = 3
    workers: int = 2
    autocast: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("sound_batch", "picture_batch"):
            if self.workers < 1 or getattr(self, name) % self.workers:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a multiple of workers, {self.workers}.")


# ------------------------------------------------------------------------------------------------ sounds


def draw_heard(count: int, seed: int, workers: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Log-mel patches of independent clips, and which toys are heard in each second.

    Returns:
        patches float16 ``[5 count, 1, 96, 64]`` and heard float32 ``[5 count, 36]``, ones and zeros in the order of
        ``TOYS``.
    """
    parts = _in_parallel(_draw_sound, [(seed, i) for i in range(count)], workers, "drawing sounds")
    return tuple(np.concatenate(column) for column in zip(*parts))


def draw_sounds(count: int, seed: int, workers: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """What the ear is taught on: patches as in ``draw_heard``, with tags as in ``factor_tags``."""
    patches, heard = draw_heard(count, seed, workers)
    return patches, factor_tags(heard)


def factor_tags(heard: np.ndarray) -> np.ndarray:
    """The factors of all that is heard, float32 ``[N, 11]`` in the ear's own order, for heard ``[N, 36]``."""
    return (heard @ FACTOR_TABLE > 0)[:, SOUND_ORDER].astype(np.float32)


def _draw_sound(job: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    seed, index = job
    rng = np.random.default_rng([seed, 11, index])
    scene = sample_scene(rng, "v1m" if index % 2 else "v1s", TOYS)
    patches = second_examples(torch.from_numpy(mix(scene)), SAMPLE_RATE, scene.seconds)
    on = np.array(scene.sounding)  # [toys, T]
    heard = np.zeros((scene.seconds, len(TOYS)), dtype=np.float32)
    heard[:, [TOYS.index(t) for t in scene.toys]] = on.T
    return patches.half().numpy(), heard


def pretrain_vggish(config: PretrainConfig, work: Path) -> VGGish:
    """Teach VGGish-mini to tag the factors it hears, mixtures included (multi-label cross-entropy)."""
    draw = functools.partial(draw_sounds, config.clips, config.seed)
    model = _teach(_teach_ear, _hearing(), draw, config.sound_steps, config, work / "vggish_mini")
    return model["ear"].eval().requires_grad_(False)


def teach_ear(patches: np.ndarray, tags: np.ndarray, config: PretrainConfig) -> tuple[nn.ModuleDict, list[float]]:
    """The recipe of ``pretrain_vggish`` in this process and in memory, with any tags: for short experiments.

    Args:
        patches: ``[N, 1, 96, 64]``, as from ``draw_heard``.
        tags: float32 ``[N, K]``, ones and zeros: K yes-or-no questions.
        config: ``sound_steps``, ``sound_batch``, ``sound_lr``, ``seed`` and ``autocast`` count; ``workers`` does not.

    Returns:
        The ``"ear"`` and its linear ``"head"`` (128 to K), and the loss of each step. The same seed begins with the
        same ear, and draws the same batches, whatever the tags are.

    Raises:
        ValueError: patches and tags differ in number, or are fewer than a batch.
    """
    if not config.sound_batch <= len(patches) == len(tags):
        raise ValueError(
            f"found {len(patches)} patches and {len(tags)} tags; expected one tag a patch, and at least "
            f"{config.sound_batch} of them (sound_batch)."
        )
    torch.manual_seed(config.seed)
    model = _hearing(tags.shape[1])
    optimizer, schedule = _optimizer(model, config.sound_lr, config.sound_steps)
    team = _Team(1, 0)
    losses = []
    for step in range(config.sound_steps):
        rng = np.random.default_rng([config.seed, 12, step, 0])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.autocast):
            loss = _sound_loss(model, torch.from_numpy(patches), torch.from_numpy(tags), config.sound_batch, rng)
        losses.append(_descend(model, loss, optimizer, schedule, team))
    return model.eval().requires_grad_(False), losses


def _hearing(tags: int = FACTOR_COUNT) -> nn.ModuleDict:
    return nn.ModuleDict({"ear": VGGish.mini(), "head": nn.Linear(EMBEDDING_DIM, tags)})


def _teach_ear(rank: int, config: PretrainConfig, folder: Path, team: "_Team") -> None:
    patches, tags = (torch.from_numpy(array) for array in team.join(rank, folder))
    torch.manual_seed(config.seed)
    model = _hearing()

    def loss_at(step: int) -> Tensor:
        rng = np.random.default_rng([config.seed, 12, step, rank])
        return _sound_loss(model, patches, tags, config.sound_batch // config.workers, rng)

    _train(model, loss_at, config.sound_steps, config.sound_lr, config, folder, "ear", team)


def _sound_loss(model: nn.ModuleDict, patches: Tensor, tags: Tensor, count: int, rng) -> Tensor:
    rows = torch.from_numpy(rng.choice(len(patches), count, replace=False))
    batch = patches[rows].float()
    batch = batch + torch.from_numpy(rng.normal(0, 0.4, (count, 1, 1, 1)).astype(np.float32))  # loudness
    return F.binary_cross_entropy_with_logits(model["head"](model["ear"](batch)), tags[rows])


# ---------------------------------------------------------------------------------------------- pictures


def draw_pictures(count: int, seed: int, workers: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Single frames of independent scenes.

    Returns:
        frames uint8 ``[count, 128, 128, 3]``; owner uint8 ``[count, 128, 128]``, 0 for the floor and i + 1 for the
        scene's toy i; classes int8 ``[count, 5]``, each toy's number in ``TOYS``, -1 where there is none.
    """
    parts = _in_parallel(_draw_picture, [(seed, i) for i in range(count)], workers, "drawing pictures")
    return tuple(np.stack(column) for column in zip(*parts))


def _draw_picture(job: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    seed, index = job
    scene = sample_scene(np.random.default_rng([seed, 21, index]), "v1m" if index % 2 else "v1s", TOYS)
    pictures = render_frames(replace(scene, sounding=tuple((False,) for _ in scene.placed)))
    owner = np.zeros(pictures.masks.shape[2:], dtype=np.uint8)
    for i, mask in enumerate(pictures.masks[:, 0]):
        owner[mask] = i + 1
    classes = np.full(5, -1, dtype=np.int8)
    classes[: len(scene.placed)] = [TOYS.index(t) for t in scene.toys]
    return pictures.frames[0], owner, classes


class PromptedSam(nn.Module):
    """SAM-mini with what pre-training adds and does not keep: an embedding a factor, and a factor reading a pixel."""

    def __init__(self, sam: Sam):
        super().__init__()
        self.sam = sam
        width = sam.prompt_encoder.embed_dim
        self.factors = nn.Parameter(torch.randn(FACTOR_COUNT, width) * 0.5)
        self.reader = nn.Conv2d(width, FACTOR_COUNT, 1)

    def decode(self, embedding: Tensor, sparse: Tensor) -> tuple[Tensor, Tensor]:
        """Mask logits ``[N, 4, 64, 64]`` and quality ``[N, 4]`` for N embeddings, each with its own prompt."""
        decoder, prompts = self.sam.mask_decoder, self.sam.prompt_encoder
        output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([output.expand(len(sparse), -1, -1), sparse], dim=1)
        source = embedding + prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        position = prompts.get_dense_pe().expand(len(sparse), -1, -1, -1)
        hidden, keys = decoder.transformer(source, position, tokens)
        upscaled = decoder.output_upscaling(keys.transpose(1, 2).reshape(source.shape))
        weights = torch.stack([mlp(hidden[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1)
        return torch.einsum("nkc,nchw->nkhw", weights, upscaled), decoder.iou_prediction_head(hidden[:, 0])


def pretrain_sam(config: PretrainConfig, work: Path) -> Sam:
    """Teach SAM-mini to segment what points, boxes and summed factor prompts ask for.

    A factor prompt is the sum of the embeddings of some factors ("large" + "glass"), its mask everything that satisfies
    all of them; with several values of one factor ("bell" + "drum" + "large") any of them will do. Some prompts ask for
    what is not there: the mask is empty. A dense loss reads the factors off the image embedding, pixel by pixel.
    """
    draw = functools.partial(draw_pictures, config.pictures, config.seed)
    model = _teach(_teach_eye, PromptedSam(build_sam("mini")), draw, config.picture_steps, config, work / "sam_mini")
    return model.sam.eval().requires_grad_(False)


def _teach_eye(rank: int, config: PretrainConfig, folder: Path, team: "_Team") -> None:
    frames, owner, classes = team.join(rank, folder)
    torch.manual_seed(config.seed)
    model = PromptedSam(build_sam("mini"))
    model.sam.requires_grad_(True)
    if config.compile:
        model.sam.image_encoder.compile()
        model.sam.mask_decoder.transformer.compile(dynamic=False)

    def loss_at(step: int) -> Tensor:
        rng = np.random.default_rng([config.seed, 22, step, rank])
        rows = rng.choice(len(frames), config.picture_batch // config.workers, replace=False)
        flip = rng.random(len(rows)) < 0.5
        pictures = np.stack([f[:, ::-1] if turn else f for f, turn in zip(frames[rows], flip)])
        owners = np.stack([o[:, ::-1] if turn else o for o, turn in zip(owner[rows], flip)])
        return _picture_loss(model, pictures, owners, classes[rows], config, rng)

    _train(model, loss_at, config.picture_steps, config.picture_lr, config, folder, "eye", team)


def _picture_loss(model: PromptedSam, pictures, owners, classes, config: PretrainConfig, rng) -> Tensor:
    sam = model.sam
    images = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float()
    embedding = sam.image_encoder((images - sam.pixel_mean) / sam.pixel_std)
    owners = np.ascontiguousarray(owners)

    # Dense: which factors belong to what lies under each of the 16 x 16 places, as shares of the place's area.
    under = np.zeros((*owners.shape, FACTOR_COUNT), dtype=np.float32)
    for b in range(len(owners)):
        table = np.vstack([np.zeros(FACTOR_COUNT, np.float32), FACTOR_TABLE[classes[b]]])
        under[b] = table[owners[b]]
    side = embedding.shape[-1]
    shares = F.adaptive_avg_pool2d(torch.from_numpy(under).permute(0, 3, 1, 2), side)
    reading = F.binary_cross_entropy_with_logits(
        model.reader(embedding), shares[:, PICTURE_ORDER.copy()], reduction="none"
    )
    # Most of a picture is floor; unweighted, learning to say "nothing here" would drown the factors.
    weight = 0.1 + shares.sum(1, keepdim=True)
    dense = (reading * weight).sum() / (weight.sum() * FACTOR_COUNT)

    factor_hot, factor_masks = zip(*[factor_prompts(o, c, config.factor_prompts, rng) for o, c in zip(owners, classes)])
    hot = torch.from_numpy(np.concatenate(factor_hot))[:, PICTURE_ORDER.copy()]
    sparse = (hot @ model.factors).unsqueeze(1)
    which = torch.arange(len(images)).repeat_interleave(config.factor_prompts)
    logits, quality = model.decode(embedding[which], sparse)
    loss = mask_loss(logits[:, :1], quality[:, :1], torch.from_numpy(np.concatenate(factor_masks)))

    points, boxes, object_masks = zip(*[place_prompts(o, rng) for o in owners])
    targets = torch.from_numpy(np.stack(object_masks))
    if rng.random() < 0.5:
        point = torch.tensor(np.stack(points))[:, None]
        by_place, _ = sam.prompt_encoder((point, torch.ones(len(point), 1)), None, None)
    else:
        by_place, _ = sam.prompt_encoder(None, torch.tensor(np.stack(boxes)), None)
    logits, quality = model.decode(embedding, by_place)  # all four mask tokens learn here
    loss = loss + 0.7 * mask_loss(logits, quality, targets)
    return loss + 2 * dense


def factor_prompts(owner: np.ndarray, classes: np.ndarray, count: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Random factor prompts for a picture: multi-hot float32 ``[count, 11]``, masks bool ``[count, 128, 128]``."""
    present = [i for i, c in enumerate(classes) if c >= 0 and (owner == i + 1).any()]
    toys = FACTOR_TABLE[classes[present]]
    groups = np.split(np.arange(FACTOR_COUNT), np.cumsum([len(v) for v in FACTORS])[:-1])
    hot = np.zeros((count, FACTOR_COUNT), dtype=np.float32)
    masks = np.zeros((count, *owner.shape), dtype=bool)
    for k in range(count):
        if rng.random() < 0.85:
            chosen = toys[rng.choice(len(toys), min(len(toys), 1 + (rng.random() < 0.3)), replace=False)].max(axis=0)
        else:
            chosen = FACTOR_TABLE[rng.integers(len(TOYS))].copy()
        # Half of the prompts name all three factors, as a sound does; the others leave some out.
        named = np.ones(3, dtype=bool) if rng.random() < 0.5 else rng.random(3) < 0.6
        if not named.any():
            named[rng.integers(3)] = True
        satisfied = np.ones(len(present), dtype=bool)
        for group, is_named in zip(groups, named):
            if is_named:
                hot[k, group] = chosen[group]
                satisfied &= (toys[:, group] * chosen[group]).any(axis=1)
        masks[k] = np.isin(owner, [present[i] + 1 for i in np.flatnonzero(satisfied)])
    return hot, masks


def place_prompts(owner: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A point on a random toy ``[2]`` (x, y), a loose box around it ``[4]``, and its mask."""
    mask = owner == rng.choice(np.unique(owner[owner > 0]))
    rows, columns = np.nonzero(mask)
    k = rng.integers(len(rows))
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=np.float32)
    return np.array([columns[k], rows[k]], dtype=np.float32) + 0.5, box + rng.normal(0, 1.5, 4).astype(np.float32), mask


def mask_loss(logits: Tensor, quality: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy and Dice for every mask token, and the squared error of the quality that SAM predicts for it."""
    shares = F.interpolate(targets[:, None].float(), size=logits.shape[-2:], mode="area").expand_as(logits)
    bce = F.binary_cross_entropy_with_logits(logits.float(), shares)
    p = logits.float().sigmoid()
    overlap = (p * shares).sum((-2, -1))
    dice = 1 - (2 * overlap + 1) / (p.sum((-2, -1)) + shares.sum((-2, -1)) + 1)
    with torch.no_grad():
        chosen, wanted = logits > 0, shares > 0.5
        union = (chosen | wanted).sum((-2, -1))
        iou = torch.where(
            union > 0, (chosen & wanted).sum((-2, -1)) / union.clamp(min=1), torch.ones_like(p[..., 0, 0])
        )
    return 4 * bce + dice.mean() + 0.2 * F.mse_loss(quality.float(), iou)


# ------------------------------------------------------------------------------------------------ shared


def _in_parallel(work: Callable, jobs: list, workers: int, what: str) -> list:
    """Map over worker processes (one: in this process) with a progress bar; results in the order of the jobs."""
    if workers == 1:
        return [work(job) for job in tqdm(jobs, desc=what)]
    with multiprocessing.get_context("spawn").Pool(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(tqdm(pool.imap(work, jobs, chunksize=32), total=len(jobs), desc=what))


class _Team:
    """Processes that share every batch: each writes its gradient to common memory, and all read the mean."""

    def __init__(self, size: int, parameters: int):
        self.size = size
        context = torch.multiprocessing.get_context("spawn")
        self._gradients = torch.zeros(size, parameters if size > 1 else 0).share_memory_()
        self._everyone = context.Barrier(size) if size > 1 else None

    def join(self, rank: int, folder: Path) -> list[np.ndarray]:
        """Take a place and open what was drawn."""
        self.rank = rank
        if self.size > 1:
            torch.set_num_threads(1)
        return [np.load(folder / f"drawn_{i}.npy", mmap_mode="c") for i in range(len(list(folder.glob("drawn_*.npy"))))]

    def average(self, model: nn.Module) -> None:
        """Replace the model's gradients by their mean over all processes."""
        if self.size == 1:
            return
        parameters = list(model.parameters())
        for p in parameters:
            if p.grad is None:  # a part that only one process used in this step
                p.grad = torch.zeros_like(p)
        self._gradients[self.rank] = nn.utils.parameters_to_vector([p.grad for p in parameters])
        self._everyone.wait()
        nn.utils.vector_to_parameters(self._gradients.mean(0), [p.grad for p in parameters])
        self._everyone.wait()


def _teach(
    worker: Callable, model: nn.Module, draw: functools.partial, steps: int, config: PretrainConfig, folder: Path
) -> nn.Module:
    """Draw (once), train in ``config.workers`` processes, and put what was learned into the model."""
    folder.mkdir(parents=True, exist_ok=True)
    state_file = folder / "state.pt"
    step = torch.load(state_file, weights_only=True)["step"] if state_file.exists() else 0
    if step < steps:
        # Written last, so that it stands for whole files of just this drawing.
        note, drawing = folder / "drawn.json", json.dumps([draw.func.__name__, *draw.args, fingerprint()])
        if not note.exists() or note.read_text() != drawing:
            note.unlink(missing_ok=True)
            for i, array in enumerate(draw()):
                np.save(folder / f"drawn_{i}.npy", array)
            note.write_text(drawing)
        team = _Team(config.workers, sum(p.numel() for p in model.parameters()))
        if config.workers == 1:
            worker(0, config, folder, team)
        else:
            torch.multiprocessing.spawn(worker, (config, folder, team), nprocs=config.workers)
    model.load_state_dict(torch.load(state_file, weights_only=True)["model"])
    return model


def _optimizer(model: nn.Module, lr: float, steps: int):
    """AdamW, with warm-up and cosine decay."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01, fused=True)
    warm_up = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * min(1, s / steps))) + 1e-3)
    )
    return optimizer, schedule


def _descend(model: nn.Module, loss: Tensor, optimizer, schedule, team: _Team) -> float:
    """One step along the gradient of everybody's loss; returns this process's."""
    optimizer.zero_grad()
    loss.backward()
    team.average(model)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    return loss.item()


def _train(
    model: nn.Module, loss_at, steps: int, lr: float, config: PretrainConfig, folder: Path, what: str, team: _Team
):
    """Descend, saving as it goes. ``loss_at(step)`` draws its own batch: a resumed run sees the same ones."""
    state_file = folder / "state.pt"
    optimizer, schedule = _optimizer(model, lr, steps)
    first = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["step"]
    begun, mean = time.monotonic(), None
    leads = team.rank == 0
    bar = tqdm(
        range(first, steps), initial=first, total=steps, desc=f"teaching the {what}", mininterval=5, disable=not leads
    )
    for step in bar:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.autocast):
            loss = loss_at(step)
        value = _descend(model, loss, optimizer, schedule, team)
        mean = value if mean is None else 0.98 * mean + 0.02 * value
        bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
        if leads and ((step + 1) % _SAVE_EVERY == 0 or step + 1 == steps):
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "step": step + 1,
            }
            torch.save(state, state_file.with_suffix(".part"))
            os.replace(state_file.with_suffix(".part"), state_file)
            with open(folder / "log.jsonl", "a") as log:
                row = {"step": step + 1, "loss": mean, "seconds": round(time.monotonic() - begun, 1)}
                log.write(json.dumps(row) + "\n")


# ------------------------------------------------------------------------------------------------ probes


def probe(sam: Sam, vggish: VGGish, rotation: int = 0, clips: int = 600, seed: int = 1) -> list[dict]:
    """Do the encoders know family, size and material of combinations that a linear reader never saw?

    A linear reader is fitted on frozen features of the rotation's seen classes and tested on its unseen-test classes:
    on sound, the embedding of a second in which one toy sounds; on pictures, F_V averaged over the toy's pixels.

    Returns:
        Rows of encoder, factor, accuracy on fresh seen and on unseen classes, and chance.
    """
    split = class_split(rotation)
    rows = []
    for name, features in (("SAM-mini", picture_features(sam)), ("VGGish-mini", sound_features(vggish))):
        sets = [
            features(toys, count, [seed, k])
            for k, (toys, count) in enumerate(
                [(split.seen, clips), (split.seen, clips // 2), (split.unseen_test, clips // 2)]
            )
        ]
        for factor, values in zip(("family", "size", "material"), FACTORS):
            answers = [torch.tensor([values.index(getattr(toy, factor)) for toy in toys]) for _, toys in sets]
            inputs = [x for x, _ in sets]
            correct = linear_reader(inputs, answers, len(values))
            rows.append(
                {"encoder": name, "factor": factor, "seen": correct[0], "unseen": correct[1], "chance": 1 / len(values)}
            )
    return rows


def linear_reader(inputs: list[Tensor], answers: list[Tensor], classes: int) -> list[float]:
    """Ridge regression to one-hot answers on the first set; accuracy on the others."""
    mean, spread = inputs[0].mean(0), inputs[0].std(0) + 1e-6
    x = [torch.cat([(v - mean) / spread, torch.ones(len(v), 1)], dim=1).double() for v in inputs]
    gram = x[0].T @ x[0] + 1.0 * torch.eye(x[0].shape[1], dtype=torch.double)
    weights = torch.linalg.solve(gram, x[0].T @ F.one_hot(answers[0], classes).double())
    return [((v @ weights).argmax(1) == a).double().mean().item() for v, a in zip(x[1:], answers[1:])]


def sound_features(vggish: VGGish, style: str = "shop") -> Callable:
    """A function of (toys, count, seed numbers) that draws scenes and gives embeddings ``[count, 128]`` and the toys.

    In each scene one of the toys sounds; the embedding is that of the first second.
    """

    def draw(toys: tuple[Toy, ...], count: int, seed: list[int]) -> tuple[Tensor, list[Toy]]:
        rng = np.random.default_rng([*seed, 31])
        scenes = [sample_scene(rng, "v1s", toys, style=style) for _ in range(count)]
        patches = torch.cat([second_examples(torch.from_numpy(mix(s)[:SAMPLE_RATE]), SAMPLE_RATE, 1) for s in scenes])
        with torch.no_grad():
            return vggish(patches), [s.heard[0] for s in scenes]

    return draw


def picture_features(sam: Sam, style: str = "shop") -> Callable:
    """As ``sound_features``, for F_V averaged over the visible pixels of the toy that sounds ``[count, channels]``."""

    def draw(toys: tuple[Toy, ...], count: int, seed: list[int]) -> tuple[Tensor, list[Toy]]:
        rng = np.random.default_rng([*seed, 32])
        features, found = [], []
        for _ in range(count):
            scene = sample_scene(rng, "v1s", toys, style=style)
            pictures = render_frames(replace(scene, sounding=tuple((v[0],) for v in scene.sounding)))
            image = torch.from_numpy(pictures.frames).permute(0, 3, 1, 2).float()
            with torch.no_grad():
                embedding = sam.image_encoder((image - sam.pixel_mean) / sam.pixel_std)[0]
            which = [on[0] for on in scene.sounding].index(True)
            share = F.adaptive_avg_pool2d(torch.from_numpy(pictures.masks[which]).float(), embedding.shape[-1])[0]
            features.append((embedding * share).sum((1, 2)) / share.sum())
            found.append(scene.toys[which])
        return torch.stack(features), found

    return draw


# -------------------------------------------------------------------------------------------------- ship


def ship(encoder: nn.Module, name: str, config: PretrainConfig, folder: Path, figures: dict) -> Path:
    """Write an encoder in half precision, with where it comes from in the file's header.

    The position code's random matrix stays in float32: it is multiplied by 2 pi x and turned into phases, where half
    precision is heard far away.
    """
    state = {
        key: value.clone() if "gaussian_matrix" in key else value.half() for key, value in encoder.state_dict().items()
    }
    header = {
        "kind": name,
        "world": fingerprint(),
        "pretraining": asdict(config),
        "command": "python -m gavs_lib.course pretrain",
        "torch": torch.__version__,
        "figures": figures,
        "labels": "factors only (family, size, material); independent pictures and sounds of all combinations",
    }
    path = folder / f"{name}.safetensors"
    save_tensors(path, state, header)
    return path


def main(argv: list[str] | None = None) -> None:
    """``make pretrain``: teach both encoders, probe them, and write their weights."""
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.course pretrain", description=main.__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"), help="states for resuming, and logs")
    parser.add_argument("--weights", type=Path, default=Path("data/weights"), help="where the encoders are written")
    parser.add_argument("--results", type=Path, default=Path("data/results/probes.csv"))
    parser.add_argument("--only", choices=["eye", "ear"], help="teach one of the two; nothing is probed")
    for name, value in asdict(PretrainConfig()).items():
        kind = (lambda text: text.lower() in ("1", "true", "yes")) if isinstance(value, bool) else type(value)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=value)
    arguments = vars(parser.parse_args(argv))
    work, weights, results, only = (arguments.pop(name) for name in ("work", "weights", "results", "only"))
    config = PretrainConfig(**arguments)
    if only != "eye":
        vggish = pretrain_vggish(config, work)
    if only != "ear":
        sam = pretrain_sam(config, work)
    if only is None:
        rows = [row | {"rotation": r} for r in range(ROTATIONS) for row in probe(sam, vggish, r)]
        results.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).assign(world=fingerprint()).round(4).to_csv(results, index=False)
        for encoder, name in ((sam, "SAM-mini"), (vggish, "VGGish-mini")):
            mine = [row for row in rows if row["encoder"] == name]
            figures = {
                f"linear probe, {f}, unseen": round(float(np.mean([r["unseen"] for r in mine if r["factor"] == f])), 4)
                for f in ("family", "size", "material")
            }
            print(f"{name}: {figures}")
            ship(encoder, {"SAM-mini": "sam_mini", "VGGish-mini": "vggish_mini"}[name], config, weights, figures)
        write_checksums(weights)


if __name__ == "__main__":
    main()
