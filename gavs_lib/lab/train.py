"""Training: one loop for every model of this library, on one processor or many, that can be killed at any moment.

    output_dir/
        run.json            what this run is: configuration, model, data; another run is refused
        log.jsonl           a line per epoch
        best.safetensors    trained parameters of the epoch with the best validation mIoU (`gavs_lib.lab.weights`)
        last.safetensors    those of the last epoch, when the run is finished
        state.pt            all that resuming needs, in one file: two files could be torn apart by a kill between them

Resuming is exact. Nothing random lives from one step to the next: the order of the clips follows from (seed, epoch),
all random numbers of a step from (seed, step, process), and the learning rate from the step. So a checkpoint
holds parameters, AdamW's moments and the log, and an interrupted run ends with the weights of an unbroken one: bit for
bit on a CPU with the same number of threads.

One process trains on the device the model is on; `accelerate launch` gives each of several processes its device. A
step is then that of one process with all their clips: frames weigh alike, and the sounds of all are negatives. Several
machines must see the same output_dir. If the clips of an epoch do not fill the last step, its first ones come again.
"""

import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import math
import os
import pickle
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset
from tqdm.auto import tqdm

from gavs_lib.gavs import Output
from gavs_lib.lab.joint import region_loss
from gavs_lib.lab.memory import recompute_activations
from gavs_lib.lab.padding import crop_to_picture, masks_on_square, picture_places
from gavs_lib.lab.weights import frozen_fingerprint, load_trained, model_config, save_trained, write_atomically
from gavs_lib.losses import clip_average, segmentation_loss, semantic_loss, soft_iou_loss
from gavs_lib.metrics import AVSBENCH_THRESHOLD, mask_iou

SCHEDULES = ("constant", "cosine")
PRECISIONS = ("auto", "no", "bf16", "fp16")


@dataclass(frozen=True)
class FitConfig:
    """How to train; marked by where the defaults come from (*paper*, *release*: GAVS's public code, *ours*).

    Attributes:
        epochs: passes over the training clips (*release*: 60 to 80; ten more for few-shot, *paper*).
        steps: if given, the number of optimiser steps instead; the last epoch may then be a part of one.
        batch_size: clips a step, on each process (*release*: 1, with which the semantic loss is always 0).
        accumulate: parts into which these are split, for a GPU that cannot hold them all at once (*ours*). Their
            gradients add up to those of the undivided step, since frames are counted and sounds compared over all
            parts; only noise falls otherwise. Clips that do not divide evenly may make fewer parts. Validation takes
            as many clips at once as a part has.
        checkpointing: compute activations again in the backward pass instead of keeping them (`lab.memory`): less
            memory, more time, the same gradients (*ours*). A run may be resumed with the other value.
        lr: AdamW's learning rate (*release*).
        weight_decay: AdamW's (PyTorch's default, as in the *release*).
        schedule: "constant" (*release*) or "cosine", which falls to 0 at the last step.
        warmup_steps: steps in which the learning rate rises linearly to `lr`.
        clip_norm: largest norm of the gradient; None: no clipping (*ours*).
        dice_weight: weight of Dice beside BCE; 0 is the *paper*'s.
        iou_weight: weight of soft IoU beside BCE; 1 is that of SAVE and SAMA-AVS, 0 GAVS's.
        region_weight: weight of `lab.joint.region_loss`, for models that say where they looked (*ours*).
        semantic_weight: lambda of eq. 11; 0: no semantic loss (not printed: *ours*).
        margin: m of eq. 10 (not printed: *ours*).
        exclude_same_class: clips with equal labels are no negatives of each other (False: *paper*). Where the data set
            names no classes (MS3), all are.
        labelled_frames_only: leave frames without a mask out of the training steps (*ours*). They teach the
            segmentation nothing, and v1s labels one frame of five; the averages of eq. 9 then run over labelled frames.
            A model that mixes the frames of a clip (`framewise = False`) gets all of them nevertheless.
        seed: of everything random.
        threshold: probability above which validation counts a pixel as sounding (AVSBench's; *release*: 0.4).
        val_every: epochs between validations; the last epoch is always validated.
        save_every: optimiser steps between checkpoints inside an epoch; 0: at the end of each epoch only.
        precision: "auto": bf16 where the GPU has it, else fp16, and float32 on a CPU; or "no", "bf16", "fp16" (on a
            GPU only).
    """

    epochs: int = 20
    steps: int | None = None
    batch_size: int = 8
    accumulate: int = 1
    checkpointing: bool = False
    lr: float = 1e-3
    weight_decay: float = 0.01
    schedule: str = "constant"
    warmup_steps: int = 0
    clip_norm: float | None = 1.0
    dice_weight: float = 0.0
    iou_weight: float = 0.0
    region_weight: float = 0.0
    semantic_weight: float = 0.1
    margin: float = 0.5
    exclude_same_class: bool = False
    labelled_frames_only: bool = False
    seed: int = 0
    threshold: float = AVSBENCH_THRESHOLD
    val_every: int = 1
    save_every: int = 0
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "val_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1.")
        if not 1 <= self.accumulate <= self.batch_size:
            raise ValueError(f"accumulate is {self.accumulate}; expected 1 to {self.batch_size}, the clips of a step.")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps is {self.steps}; expected at least 1, or None to count in epochs.")
        for name in (
            "weight_decay",
            "dice_weight",
            "iou_weight",
            "region_weight",
            "semantic_weight",
            "margin",
            "warmup_steps",
            "save_every",
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a finite number, at least 0.")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr is {self.lr}; expected a positive number.")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm is {self.clip_norm}; expected a positive number, or None for no clipping.")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule is {self.schedule!r}; expected one of {', '.join(SCHEDULES)}.")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; expected one of {', '.join(PRECISIONS)}.")


@dataclass(frozen=True)
class FitResult:
    """What a training gave.

    Attributes:
        history: a dictionary per epoch, as in log.jsonl: epoch (from 1), step, loss, segmentation, semantic (means over
            the epoch's steps), miou (None where it was not validated), lr (of the last step), seconds (since the start)
        best_epoch: epoch with the best validation mIoU, the earliest of equals (without validation: the last)
        best_score: its mIoU, 0-1; None without validation
        seconds: time spent in training and validation, over all resumed parts
        output_dir: where the files are
    """

    history: list[dict]
    best_epoch: int
    best_score: float | None
    seconds: float
    output_dir: Path


def fit(
    model: nn.Module,
    train_set: Dataset,
    val_set: Dataset | None,
    config: FitConfig,
    output_dir: str | os.PathLike,
    resume: bool = True,
    progress: bool = True,
    num_workers: int = 0,
    notes: dict | None = None,
) -> FitResult:
    """Train what trains in a model (AdamW), keep the best epoch on validation, and leave the model in that state.

    Args:
        model: GAVS, a baseline or another with `trained_state` and `load_trained_state`, on its device.
        train_set: a `FeatureSet`, or any dataset of such dictionaries.
        val_set: likewise; None: no validation, the last epoch counts as the best.
        config: how to train.
        output_dir: see the module; created if missing.
        resume: go on where an earlier call with the same model, data and configuration was interrupted; a finished run
            returns at once. False: start again and overwrite.
        progress: show a progress bar.
        num_workers: processes that read clips ahead; worth it only where images are read from files.
        notes: what else the weights' files should say, such as the world's fingerprint.

    Raises:
        ValueError: nothing trains in the model, a set is empty or has no labelled frame, a clip has none and only
            labelled frames are to be used, output_dir holds a run of another configuration, model or data, or the
            device or the model lacks what the configuration asks for (fp16, checkpointing).
        FloatingPointError: the loss became NaN or infinite.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            f"{type(model).__name__} has no parameters that train (all have requires_grad=False); "
            "print(model.trainable_summary()) and check its configuration."
        )
    for name, dataset in (("train_set", train_set), ("val_set", val_set)):
        if dataset is not None and len(dataset) == 0:
            raise ValueError(f"{name} is empty; expected at least one clip. Check the subset and the split.")
        if dataset is not None and hasattr(dataset, "has_mask") and not dataset.has_mask.any():
            raise ValueError(f"{name} has no labelled frame, so there is nothing to compare masks with.")
    if config.labelled_frames_only and hasattr(train_set, "has_mask"):
        bare = [uid for uid, flags in zip(train_set.uids, train_set.has_mask) if not flags.any()]
        if bare:
            raise ValueError(
                f"train_set has {len(bare)} clips without a labelled frame, such as {bare[0]}; leave them out, or "
                "train with labelled_frames_only=False."
            )
    return _Run(model, train_set, val_set, config, Path(output_dir), resume, progress, num_workers, notes).fit()


def collate(items: list[dict]) -> dict:
    """Make a batch of `FeatureSet` items; shorter clips are filled up with zeros that `frame_valid` marks.

    Returns a dictionary with T the longest clip's number of frames:
        uid, label: lists of B str
        prefix [B, T, h, w, C], or images [B, T, 3, S, S]
        audio [B, T, 128]; has_mask, frame_valid [B, T] bool
        masks [B, T, H, W] uint8; a list of B tensors [T, H, W] if their sizes differ
        extent [B, 2] int, only of padded frames

    Raises:
        ValueError: some items hold a prefix and others images.
    """
    kinds = {tuple(sorted({"prefix", "images"} & set(item))) for item in items}
    if kinds not in ({("prefix",)}, {("images",)}):
        raise ValueError(f"a batch must hold either a prefix or images for all clips; found {sorted(kinds)}.")
    longest = max(len(item["audio"]) for item in items)
    padded = {
        name: [_pad_time(item[name], longest) for item in items]
        for name in (*kinds.pop(), "audio", "masks", "has_mask", "frame_valid")
    }
    same_size = len({masks.shape for masks in padded["masks"]}) == 1
    batch = {name: torch.stack(tensors) for name, tensors in padded.items() if name != "masks"}
    batch["masks"] = torch.stack(padded["masks"]) if same_size else padded["masks"]
    if any("extent" in item for item in items):
        batch["extent"] = torch.stack([item["extent"] for item in items])
    batch["uid"] = [item["uid"] for item in items]
    batch["label"] = [item["label"] for item in items]
    return batch


@torch.no_grad()
def predict_masks(model: nn.Module, batch: dict) -> list[Tensor]:
    """Mask logits of a batch, in evaluation mode, at the size of each clip's own masks.

    Args:
        model: any model of this library.
        batch: from `collate`; moved to the model's device here.

    Returns:
        B tensors [T_i, H_i, W_i] float32, on the model's device; T_i counts the clip's valid frames.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        logits = _forward(model, batch, device, batch["frame_valid"]).mask_logits.float()
    finally:
        model.train(was_training)
    return [
        F.interpolate(
            _of_picture(model, logits[item, : int(valid.sum())], batch, item)[None],
            size=masks.shape[-2:],
            mode="bilinear",
            align_corners=False,
        )[0]
        for item, (valid, masks) in enumerate(zip(batch["frame_valid"], batch["masks"]))
    ]


def learning_rate(config: FitConfig, step: int, total_steps: int) -> float:
    """Learning rate of a step (counted from 0) of a run of `total_steps`."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    done = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


class _Whole(NamedTuple):
    """What a part of a step must know of the whole step, on all processes.

    Attributes:
        labelled: labelled frames a process, on average
        sounding: those in which something sounds, likewise; None without the region loss
        audio: [N, D], average sound of every clip of all processes; None without the semantic loss
        labels: N names; clips with equal ones are no negatives of each other. None: every other clip is one
        first: place of this process's first clip among them
        surplus: what a part's semantic loss holds beside its share
    """

    labelled: Tensor
    sounding: Tensor | None
    audio: Tensor | None = None
    labels: list[str] | None = None
    first: int = 0
    surplus: Tensor | float = 0.0


class _Run:
    """One call of `fit`."""

    def __init__(
        self,
        model: nn.Module,
        train_set: Dataset,
        val_set: Dataset | None,
        config: FitConfig,
        folder: Path,
        resume: bool,
        progress: bool,
        num_workers: int,
        notes: dict | None,
    ):
        self.model = model
        self.notes = {"inputs": getattr(train_set, "inputs", None), **(notes or {})}
        self.config = config
        self.folder = folder
        self.resume = resume
        self.identity = _identity(model, train_set, val_set, config)
        self.accelerator = accelerator_for(next(model.parameters()).device, config.precision)
        self.main = self.accelerator.is_main_process
        self.progress = progress and self.main

        processes = self.accelerator.num_processes
        self.part_size = -(-config.batch_size // config.accumulate)
        self.batches = _Batches(len(train_set), config.batch_size, config.seed, processes)
        self.epoch_steps = -(-len(self.batches) // processes)
        self.total_steps = config.steps or config.epochs * self.epoch_steps
        self.epochs = -(-self.total_steps // self.epoch_steps)
        loading = {"collate_fn": collate, "num_workers": num_workers}
        # A generator of its own: by default a loader draws from the global one, each time it is started.
        self.loader = self.accelerator.prepare(
            DataLoader(train_set, batch_sampler=self.batches, generator=torch.Generator(), **loading)
        )
        self.val_loader = None
        if val_set is not None:
            self.val_loader = self.accelerator.prepare(
                DataLoader(val_set, self.part_size, generator=torch.Generator(), **loading)
            )

        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        # Only several processes need the model wrapped; `autocast` around the forward pass does the rest.
        self.network = self.accelerator.prepare(model) if processes > 1 else model
        self.optimizer = self.accelerator.prepare(
            torch.optim.AdamW(self.trained, lr=config.lr, weight_decay=config.weight_decay)
        )

        self.step = 0
        self.sums = {"loss": 0.0, "segmentation": 0.0, "semantic": 0.0}  # of the steps of the epoch so far
        self.history: list[dict] = []
        self.best_epoch = 0
        self.best_score: float | None = None
        self.seconds = 0.0

    def fit(self) -> FitResult:
        memory = recompute_activations(self.model) if self.config.checkpointing else contextlib.nullcontext()
        try:
            with memory:
                # Every process reads before the main one writes.
                self._begin()
                self.accelerator.wait_for_everyone()
                self._resume_or_start()
                if self.step < self.total_steps:
                    self._train()
        finally:
            if self.network is not self.model:
                self.accelerator.unwrap_model(self.network, keep_fp32_wrapper=False)
        self.accelerator.wait_for_everyone()
        load_trained(self.folder / "best.safetensors", self.model)
        return FitResult(self.history, self.best_epoch, self.best_score, self.seconds, self.folder)

    def _begin(self) -> None:
        """Refuse a folder that belongs to another run; with resume=False clear it."""
        run_file = self.folder / "run.json"
        if self.resume and run_file.is_file():
            try:
                found = json.loads(run_file.read_text())
                # A setting that is younger than the run had its default in it.
                found["config"] = _identifying(FitConfig()) | found["config"]
                differences = _differences(found, self.identity)
            except (ValueError, AttributeError, TypeError, KeyError) as error:
                raise ValueError(
                    f"{run_file}: cannot be read ({error}). Choose another output_dir, or pass resume=False."
                ) from error
            if differences:
                raise ValueError(
                    f"{self.folder} holds another run: {'; '.join(differences)}. Choose another output_dir, or pass "
                    "resume=False to overwrite it."
                )
        self.accelerator.wait_for_everyone()
        if self.main:
            if self.resume and run_file.is_file():
                return
            # The state goes first: without it the rest means nothing.
            for name in ("state.pt", "log.jsonl", "best.safetensors", "last.safetensors", "run.json"):
                (self.folder / name).unlink(missing_ok=True)
            write_atomically(run_file, json.dumps(self.identity, indent=2, sort_keys=True).encode())

    def _resume_or_start(self) -> None:
        state_file = self.folder / "state.pt"
        if not state_file.is_file():
            if self.main:
                write_atomically(self.folder / "log.jsonl", b"")
            # A notebook that is interrupted and runs the cell again brings a model that has moved on: keep the start.
            self._save_state()
            return
        try:
            state = torch.load(state_file, map_location="cpu", weights_only=True)
            self.model.load_trained_state(state["parameters"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.sums, self.history = state["step"], state["sums"], state["history"]
            self.best_epoch, self.best_score = state["best_epoch"], state["best_score"]
            self.seconds = state["seconds"]
            if self.accelerator.scaler is not None and state["scaler"] is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
        except (RuntimeError, EOFError, OSError, KeyError, ValueError, pickle.UnpicklingError) as error:
            raise ValueError(
                f"{state_file}: cannot be read ({error}); it is damaged or from another version. "
                "Pass resume=False to train from the start."
            ) from error
        if self.main:
            # A line written just before a kill, or half of one, belongs to an epoch that is run again.
            text = "".join(json.dumps(row) + "\n" for row in self.history)
            write_atomically(self.folder / "log.jsonl", text.encode())

    def _train(self) -> None:
        started = time.perf_counter() - self.seconds
        bar = tqdm(total=self.total_steps, initial=self.step, desc="train", unit="step", disable=not self.progress)
        with bar:
            while self.step < self.total_steps:
                epoch = self.step // self.epoch_steps
                self._train_epoch(epoch, bar, started)
                row = self._close_epoch(epoch + 1, started)
                miou = "" if row["miou"] is None else f" mIoU {row['miou']:.3f} (best {self.best_score:.3f})"
                bar.set_postfix_str(f"epoch {row['epoch']}/{self.epochs} loss {row['loss']:.3f}{miou}")

    def _train_epoch(self, epoch: int, bar: tqdm, started: float) -> None:
        self.network.train()
        done = self.step - epoch * self.epoch_steps
        end = min(self.epoch_steps, self.total_steps - epoch * self.epoch_steps)
        processes = self.accelerator.num_processes
        self.batches.start(epoch, first=done * processes, end=end * processes)
        for batch in self.loader:
            self._train_step(batch)
            self.step += 1
            bar.update()
            if self.config.save_every and self.step % self.config.save_every == 0 and self.step % self.epoch_steps:
                self.seconds = time.perf_counter() - started
                self._save_state()

    def _train_step(self, batch: dict) -> None:
        _seed_everything(self.config.seed, self.step, self.accelerator.process_index)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.step, self.total_steps)
        self.optimizer.zero_grad()
        whole, clips, values = self._look_ahead(batch), len(batch["uid"]), []
        for first in range(0, clips, self.part_size):
            part = {name: each[first : first + self.part_size] for name, each in batch.items()}
            last = first + self.part_size >= clips
            # Processes exchange their gradients once a step, with the last part.
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.network):
                segmentation, semantic = self._losses(part, whole, whole.first + first)
                loss = segmentation + self.config.semantic_weight * semantic
                self.accelerator.backward(loss)
            values.append(torch.stack([loss.detach(), segmentation.detach(), semantic.detach()]))
        values = self.accelerator.reduce(torch.stack(values).sum(dim=0), "mean").tolist()
        if not math.isfinite(values[0]):
            raise FloatingPointError(
                f"step {self.step} (epoch {self.step // self.epoch_steps + 1}): the loss is {values[0]} (segmentation "
                f"{values[1]}, semantic {values[2]}; clips {', '.join(batch['uid'])}). Lower lr ({self.config.lr}) or "
                f"clip_norm ({self.config.clip_norm}), or train with precision='no'; if it is so from the first "
                "step, look for NaN in the audio embeddings of these clips."
            )
        if self.config.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.trained, self.config.clip_norm)
        self.optimizer.step()
        for name, value in zip(self.sums, values):
            self.sums[name] += value

    def _look_ahead(self, batch: dict) -> _Whole:
        """What the parts of a step must know of the others and of other processes; no model is needed for it."""
        config, accelerator, processes = self.config, self.accelerator, self.accelerator.num_processes
        # Gradients are averaged over processes, so each divides by the average number of frames.
        labelled = accelerator.reduce(batch["has_mask"].sum().float(), "mean")
        sounding = None
        if config.region_weight:
            clips = zip(batch["masks"], batch["has_mask"])
            sounding = sum(masks[flags].flatten(1).any(dim=1).sum() for masks, flags in clips)
            sounding = accelerator.reduce(sounding.float(), "mean")
        if config.semantic_weight == 0:
            return _Whole(labelled, sounding)
        audio = clip_average(batch["audio"], self._used(batch))
        # A class that is not named is shared with nobody.
        names = [label or uid for label, uid in zip(batch["label"], batch["uid"])]
        first, labels = 0, names if config.exclude_same_class else None
        parts = -(-len(audio) // self.part_size)
        if processes > 1:
            # The last step of an epoch may hold a clip twice, which is no negative of itself.
            labels = gather_object(names if config.exclude_same_class else batch["uid"])
            first, audio = accelerator.process_index * len(audio), accelerator.gather(audio)
        surplus = 0.0
        if processes * parts > 1:
            surplus = (processes - 1 / parts) * semantic_loss(audio, audio, config.margin, labels)
        return _Whole(labelled, sounding, audio, labels, first, surplus)

    def _losses(self, part: dict, whole: _Whole, first: int) -> tuple[Tensor, Tensor]:
        """A part's segmentation loss and semantic loss; over all parts they add up to those of the whole step.

        Over processes the values and the gradients average to those of the whole. `first` is the place of the part's
        first clip among those of all processes.
        """
        config, processes = self.config, self.accelerator.num_processes
        used = self._used(part)
        with self.accelerator.autocast():
            output = _forward(self.network, part, self.accelerator.device, used)
        masks, visible = _targets(self.model, part, output.mask_logits.shape[-1])
        drawn = output.mask_logits, masks, part["has_mask"]
        segmentation = segmentation_loss(*drawn, config.dice_weight, label_count=whole.labelled, visible=visible)
        if config.iou_weight:
            segmentation = segmentation + config.iou_weight * soft_iou_loss(*drawn, whole.labelled, visible)
        if config.region_weight and output.region is not None:
            region = region_loss(output.region, masks, part["has_mask"], whole.sounding)
            segmentation = segmentation + config.region_weight * region
        if output.visual_cue is None or config.semantic_weight == 0:
            return segmentation, torch.zeros((), device=segmentation.device)
        visual = clip_average(output.visual_cue.float(), used)
        # A clip's loss needs its own cue and the sounds of all clips. Clips of other parts and processes stand in with
        # their sounds for cues: they bring no gradient, and what they add to the value is known, the surplus.
        cues = torch.cat([whole.audio[:first], visual, whole.audio[first + len(visual) :]])
        return segmentation, processes * semantic_loss(cues, whole.audio, config.margin, whole.labels) - whole.surplus

    def _used(self, batch: dict) -> Tensor:
        """Which frames [B, T] of a training batch go through the model."""
        return batch["has_mask"] if self.config.labelled_frames_only else batch["frame_valid"]

    def _close_epoch(self, epoch: int, started: float) -> dict:
        """Validate, keep the best, log, and only then commit: a kill before the commit repeats the epoch's end."""
        steps = self.step - (epoch - 1) * self.epoch_steps
        last = self.step == self.total_steps
        miou = None
        if self.val_loader is not None and (epoch % self.config.val_every == 0 or last):
            miou = self._validate()
        self.seconds = time.perf_counter() - started
        row = {"epoch": epoch, "step": self.step}
        row |= {name: total / steps for name, total in self.sums.items()}
        row |= {
            "miou": miou,
            "lr": learning_rate(self.config, self.step - 1, self.total_steps),
            "seconds": round(self.seconds, 3),
        }
        self.history.append(row)
        self.sums = dict.fromkeys(self.sums, 0.0)
        better = miou is not None and (self.best_score is None or miou > self.best_score)
        if better or (last and self.val_loader is None):
            self.best_epoch, self.best_score = epoch, miou
            self._save_weights("best", row)
        if last:
            self._save_weights("last", row)
        if self.main:
            with (self.folder / "log.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        self._save_state()
        return row

    def _validate(self) -> float:
        """Mean over videos of each video's mean IoU over its labelled frames."""
        scores = []
        self.network.eval()
        for batch in self.val_loader:
            with torch.no_grad(), self.accelerator.autocast():
                logits = _forward(self.model, batch, self.accelerator.device, batch["frame_valid"]).mask_logits
            videos = []
            for item, (masks, flags) in enumerate(zip(batch["masks"], batch["has_mask"])):
                # A video without a label scores NaN, and is left out below.
                scored = _of_picture(self.model, logits[item].float(), batch, item)
                iou = mask_iou(scored, masks, self.config.threshold)[flags]
                videos.append(iou.double().mean())
            scores.append(self.accelerator.gather_for_metrics(torch.stack(videos)).cpu())
        return torch.cat(scores).nanmean().item()

    def _save_weights(self, name: str, row: dict) -> None:
        if self.main:
            metadata = {"fit": dataclasses.asdict(self.config), "epoch": row, "data": self.identity["data"]}
            metadata |= self.notes
            save_trained(self.folder / f"{name}.safetensors", self.model, metadata)

    def _save_state(self) -> None:
        if not self.main:
            return
        scaler = self.accelerator.scaler
        buffer = io.BytesIO()
        torch.save(
            {
                "step": self.step,
                "sums": self.sums,
                "history": self.history,
                "best_epoch": self.best_epoch,
                "best_score": self.best_score,
                "seconds": self.seconds,
                "parameters": {name: tensor.cpu() for name, tensor in self.model.trained_state().items()},
                "optimizer": self.optimizer.state_dict(),
                "scaler": None if scaler is None else scaler.state_dict(),
            },
            buffer,
        )
        write_atomically(self.folder / "state.pt", buffer.getbuffer())  # not a copy: SAVE's is 13 GB


class _Batches(BatchSampler):
    """Which clips make a batch: a permutation that follows from (seed, epoch), and may be entered in the middle.

    Several processes take batches in turn, all of one size: for what is missing at the end, the first clips come again.
    """

    def __init__(self, clips: int, batch_size: int, seed: int, processes: int = 1):
        super().__init__(range(clips), batch_size, drop_last=False)
        self.seed, self.processes = seed, processes
        self.start(epoch=0, first=0, end=len(self))

    def start(self, epoch: int, first: int, end: int) -> None:
        """Iterate over the batches `first` to `end` - 1 of this epoch next."""
        self.epoch, self.first, self.end = epoch, first, end

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(_derive_seed(self.seed, "order", self.epoch))
        order = torch.randperm(len(self.sampler), generator=generator).tolist()
        if self.processes > 1:
            together = self.batch_size * self.processes
            order = [*itertools.islice(itertools.cycle(order), -(-len(order) // together) * together)]
        for batch in range(self.first, self.end):
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size]


def _forward(model: nn.Module, batch: dict, device: torch.device, used: Tensor) -> Output:
    """Run the model on the frames marked in `used` [B, T]; outputs of the others are zeros.

    Models that look at each frame by itself (`framewise`) get these frames as one long clip: neither padding nor, in
    training, frames without a mask are computed. Any other model gets whole clips; one that says `framewise = False`
    is told which of their frames exist (`frame_valid`).
    """
    inputs = {name: batch[name].to(device) for name in ("images", "prefix", "audio") if name in batch}
    used = used.to(device)
    if "extent" in batch:
        encoder = getattr(model, "module", model).sam.image_encoder
        places = picture_places(batch["extent"].to(device), encoder.img_size, encoder.pos_embed.shape[1])
        inputs["visible"] = places[:, None].expand(-1, used.shape[1], -1, -1)
    framewise = getattr(getattr(model, "module", model), "framewise", None)
    if framewise is False:
        inputs["frame_valid"] = batch["frame_valid"].to(device)
    left_out = bool(framewise) and not bool(used.all())
    if left_out:
        inputs = {name: tensor[used][None] for name, tensor in inputs.items()}
    if "prefix" in inputs:
        inputs["prefix"] = inputs["prefix"].float()
    inputs.setdefault("images", None)
    output = model(**inputs)
    if not left_out:
        return output
    return Output(*(None if values is None else _spread(values[0], used) for values in output))


def _spread(values: Tensor, used: Tensor) -> Tensor:
    """Put [N, ...] at the N places marked in `used` [B, T]: [B, T, ...], zeros elsewhere."""
    spread = values.new_zeros(*used.shape, *values.shape[1:])
    spread[used] = values
    return spread


def _targets(model: nn.Module, batch: dict, side: int) -> tuple[Tensor, Tensor | None]:
    """A batch's masks for the loss, and which pixels count; None: all.

    Masks of one size stay as they are; of several, they are area-averaged to the decoder's, as the loss itself would.
    """
    masks = batch["masks"]
    if "extent" in batch:
        size = model.sam.image_encoder.img_size
        return masks_on_square(masks, batch["extent"], size, side), picture_places(batch["extent"], size, side)
    if isinstance(masks, Tensor):
        return masks, None
    return torch.stack([F.interpolate(mask[None].float(), size=(side, side), mode="area")[0] for mask in masks]), None


def _of_picture(model: nn.Module, logits: Tensor, batch: dict, item: int) -> Tensor:
    """Logits [T, h, w] of a clip without its padding."""
    if "extent" not in batch:
        return logits
    return crop_to_picture(logits, batch["extent"][item], model.sam.image_encoder.img_size)


def _pad_time(tensor: Tensor, length: int) -> Tensor:
    padding = tensor.new_zeros(length - len(tensor), *tensor.shape[1:])
    return torch.cat([tensor, padding]) if len(padding) else tensor


def accelerator_for(device: torch.device, precision: str) -> Accelerator:
    """What places batches and chooses number formats.

    Args:
        device: of the model, where this is the only process; several take theirs from `accelerate launch`.
        precision: as in `FitConfig`.

    Raises:
        ValueError: "fp16" on a CPU.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        asked_for_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
        cpu = asked_for_cpu or not torch.cuda.is_available()
        on_gpu = not cpu
    else:
        # Accelerate keeps one state per process. A notebook trains several times, on other devices, in other precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        cpu, on_gpu = device.type == "cpu", device.type == "cuda"
    if precision == "auto":
        # PyTorch would count a GPU that only emulates bf16, such as a T4.
        native = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = ("bf16" if native else "fp16") if on_gpu else "no"
    if precision == "fp16" and cpu:  # accelerate would train in float32 without a word
        raise ValueError("precision is 'fp16', but this trains on a CPU; choose 'auto', 'no' or 'bf16'.")
    return Accelerator(
        mixed_precision=precision,
        cpu=cpu,
        # A user's own part may leave a parameter unused.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def _identity(model: nn.Module, train_set: Dataset, val_set: Dataset | None, config: FitConfig) -> dict:
    """What makes a run this run, as JSON."""
    shapes = {name: list(tensor.shape) for name, tensor in model.trained_state().items()}
    return json.loads(
        json.dumps(
            {
                "config": _identifying(config),
                "model": {
                    "kind": type(model).__name__,
                    "config": model_config(model),
                    "frozen": frozen_fingerprint(model),
                    "trained": hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest(),
                },
                "data": {
                    "train_set": _describe_set(train_set),
                    "val_set": None if val_set is None else _describe_set(val_set),
                },
            }
        )
    )


def _identifying(config: FitConfig) -> dict:
    """The settings that decide what a run ends with; where its activations are kept does not."""
    return {name: value for name, value in dataclasses.asdict(config).items() if name != "checkpointing"}


def _describe_set(dataset: Dataset) -> dict:
    return {"clips": len(dataset), "fingerprint": getattr(dataset, "fingerprint", None)}


def _differences(found: dict, asked: dict, path: str = "") -> list[str]:
    """ "config.lr is 0.001, you asked for 0.01", for every leaf in which two JSON dictionaries differ."""
    lines = []
    for name in sorted(found.keys() | asked.keys()):
        old, new = found.get(name), asked.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += _differences(old, new, f"{path}{name}.")
        elif old != new:
            lines.append(f"{path}{name} is {old!r}, you asked for {new!r}")
    return lines


def _derive_seed(*parts: int | str) -> int:
    """32 bits that look unrelated for neighbouring seeds, steps and processes."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def _seed_everything(seed: int, step: int, process: int) -> None:
    derived = _derive_seed(seed, "step", step, process)
    random.seed(derived)
    np.random.seed(derived)
    torch.manual_seed(derived)
