"""One training of the laboratory, and all that is measured after it; `lab.grid` runs many, and notebooks one.

    zero-shot   train on clips of seen classes, keep the epoch that is best on other clips of seen classes, test on
                seen and on unseen ones
    k-shot      from there ten more epochs on k clips of each unseen class; test on clips that were in no list. A shot
                is labelled as all v1s training clips are: its first second
    start       before all that, train on other clips (`start`): synthetic ones, v1s for a model that learns v1m, or
                one after the other; what the first of these alone gives is the state "start"
    twin        the same on another data set, the twin of VGG-SS: zero-shot, and k-shot with k entries of every class
                and boxes for masks (GAVS, Tables 3 and 4)
    control     from there as many steps on as many new clips of *seen* classes: what is gained by training longer

The epoch that is best on seen validation counts (AVS-V3 does the same); of a k-shot training the last one is reported
too. VGG-SS has nothing to validate on, and the toy shop cannot speak for the twin: there the last epoch counts. No test
clip chooses anything.

A row of the result holds a mean over clips and, in ``by_clip``, what each clip scored, so that two models can be
compared clip by clip (`lab.statistics`).
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader

from gavs_lib.data.shots import seeded_order
from gavs_lib.lab.evaluate import score, score_boxes, shuffled, silent, swap_test, with_one_of
from gavs_lib.lab.features import FeatureSet, extract_features
from gavs_lib.lab.protocols import STARTS, DiskData, Pool, Toyshop, one_sound
from gavs_lib.lab.shipped import MINI_TRAINING, MODELS, ModelConfig, default_config
from gavs_lib.lab.statistics import text_of
from gavs_lib.lab.train import FitConfig, FitResult, collate, fit
from gavs_lib.lab.weights import load_trained
from gavs_lib.losses import clip_average, semantic_loss
from gavs_lib.metrics import summarize_iou
from gavs_lib.vggish import VGGish
from gavs_lib.world.folder import DEFAULT_COUNTS

FEW_SHOT_EPOCHS = 10  # as AVS-V3 has it
FEW_SHOT_RATE = 3e-4  # a third of the zero-shot one; see `lab.tune`
SWAPS = {"swap, one family": True, "swap, other families": False}  # figure -> whether the two toys are of one family

# Settings that came when rows had been recorded already: at these values they leave the key of a row as it was.
_LATER = {"start": "", "start_clips": DEFAULT_COUNTS["v1s", "train"], "swaps": 0}
_LATER_IN_TRAINING = {"region_weight": 0.0, "accumulate": 1, "checkpointing": False}


@dataclass(frozen=True)
class Experiment:
    """What is trained on what, and what is measured then.

    Attributes:
        model: a kind of `lab.shipped.MODELS`.
        config: settings of the model that differ from the course's (`lab.shipped.default_config`).
        training: settings of the training that differ from the course's (`MINI_TRAINING`), except the seed.
        few_shot: settings of the k-shot trainings that differ from `few_shot_config`'s own.
        final_relu: of VGGish.
        rotation: which classes are seen, 0 to 3.
        seed: of the weights at the start and the order of the clips.
        share: of the training clips that are used, 0-1, the smaller in the larger; the number of steps stays that of
            all clips.
        shots: values of k.
        control: values of k at which the control trains as well.
        train, val: number of clips of v1s and of v1m.
        test: clips of each test part; of v1s with unseen classes `pool` instead, from which the shots are drawn.
        pool: see `test`.
        twin: entries of VGG-SS's miniature twin (`lab.twin`) to measure on; 0: not measured.
        twin_shots: values of k at which k entries of every class of the twin (or of VGG-SS) train; the control is that
            of `control`.
        image_size: side of the square that SAM-mini sees, in pixels; 0: 128.
        start: what is trained on first, with the same settings: "synthetic" (`lab.synthetic`, or a folder of your own),
            "v1s", "synthetic, v1s" for one after the other (as SAVE's Table 2 does for MS3), or "" for nothing.
        start_clips: how many clips of that; on a disk all of them.
        swaps: clips of v1s, with seen classes and with unseen ones, on which the swap test is made; 0: it is not made.
        data: empty: the toy shop. Otherwise settings of `lab.protocols.DiskData`, whose lists and encoders stand in
            its place; rotation must be 0, and the numbers of clips, from `train` to `twin`, do not count. It has an
            image_size of its own.
    """

    model: str = "gavs"
    config: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    few_shot: Mapping[str, Any] = field(default_factory=dict)
    final_relu: bool = False
    rotation: int = 0
    seed: int = 0
    share: float = 1.0
    shots: Sequence[int] = ()
    control: Sequence[int] = ()
    train: Sequence[int] = (DEFAULT_COUNTS["v1s", "train"], DEFAULT_COUNTS["v1m", "train"])
    val: Sequence[int] = (DEFAULT_COUNTS["v1s", "val"], DEFAULT_COUNTS["v1m", "val"])
    test: int = 80
    pool: int = 140
    twin: int = 252
    twin_shots: Sequence[int] = ()
    image_size: int = 0
    start: str = ""
    start_clips: int = _LATER["start_clips"]
    swaps: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"model is {self.model!r}; expected one of {', '.join(MODELS)}.")
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}; expected more than 0 and at most 1.")
        if not set(self.control) <= {*self.shots, *self.twin_shots}:
            raise ValueError(f"control is {list(self.control)}; expected some of the shots {list(self.shots)}.")
        if "seed" in {*self.training, *self.few_shot}:
            raise ValueError("the seed is a field of its own, not one of the training's settings.")
        if not set(self.starts) <= set(STARTS) or len(set(self.starts)) < len(self.starts):
            raise ValueError(f"start is {self.start!r}; expected one of {', '.join(STARTS)}, both, or nothing.")
        if self.data and self.swaps:
            raise ValueError(f"swaps is {self.swaps}; only in the toy shop each toy has a sound of its own.")
        if self.data and self.image_size:
            raise ValueError(f"image_size is {self.image_size}; with data of your own, set it there.")
        if self.data and self.rotation:
            raise ValueError(f"rotation is {self.rotation}; a data set on a disk has one division of classes, 0.")
        # Unknown settings and impossible values:
        _ = self.model_config, self.fit_config, self.few_shot_config, self.protocol

    @property
    def starts(self) -> list[str]:
        """What `start` names, in order."""
        return [name.strip() for name in self.start.split(",")] if self.start else []

    @property
    def model_config(self) -> ModelConfig:
        return _changed("config", default_config(self.model), self.config)

    @property
    def fit_config(self) -> FitConfig:
        return replace(_changed("training", MINI_TRAINING, self.training), seed=self.seed)

    @property
    def few_shot_config(self) -> FitConfig:
        own = {"epochs": FEW_SHOT_EPOCHS, "lr": FEW_SHOT_RATE, "steps": None, "schedule": "constant", "warmup_steps": 0}
        return _changed("few_shot", replace(self.fit_config, **own), self.few_shot)

    @property
    def protocol(self) -> Toyshop | DiskData:
        if not self.data:
            counts = self.train, self.val, self.test, self.pool, self.twin
            return Toyshop(self.rotation, *counts, self.image_size)
        unknown = sorted(set(self.data) - {entry.name for entry in dataclasses.fields(DiskData)})
        if unknown or "root" not in self.data:
            raise ValueError(f"data has no setting {unknown[0]!r}; see DiskData." if unknown else "data has no root.")
        return DiskData(**self.data)

    @property
    def key(self) -> str:
        """Sixteen hex digits for all that decides the result: settings, defaults included, data and encoders."""
        parts = _unless_default(dataclasses.asdict(self), _LATER)
        del parts["data"]  # the same data may lie elsewhere: its contents count
        parts |= {"config": dataclasses.asdict(self.model_config)}
        trainings = {"training": self.fit_config, "few_shot": self.few_shot_config}
        parts |= {name: _unless_default(vars(config), _LATER_IN_TRAINING) for name, config in trainings.items()}
        for name in trainings:
            parts[name].pop("checkpointing", None)  # it changes where activations are kept, not what comes out
        parts |= self.protocol.identity
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _changed(name: str, defaults, changes: Mapping[str, Any]):
    unknown = sorted(set(changes) - {entry.name for entry in dataclasses.fields(defaults)})
    if unknown:
        raise ValueError(f"{name} has no setting {unknown[0]!r}; see {type(defaults).__name__}.")
    return replace(defaults, **changes)


def _unless_default(settings: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in later or value != later[name]}


class Bench:
    """An experiment at work: what it trains on, the model, and the rows it has measured.

    Args:
        experiment: what to do.
        work: folder of the trainings; they resume.
        cache: folder of the feature cache.
        device: where the model is.
        progress: show progress bars.
        cache_budget: bytes; see `extract_features`.

    Attributes:
        protocol: which clips train, choose and test.
        model, vggish: as they are by now.
        rows: measured so far, a list of dictionaries (see `table`).
    """

    def __init__(
        self,
        experiment: Experiment,
        work: Path,
        cache: Path,
        device: str | torch.device = "cpu",
        progress: bool = False,
        cache_budget: float = 20e9,
    ) -> None:
        self.experiment, self.work, self.cache, self.progress = experiment, Path(work), Path(cache), progress
        self.cache_budget = cache_budget
        self.protocol = experiment.protocol
        if experiment.data:
            self.protocol.refuse(experiment.shots, experiment.twin_shots)
        # A clip of 1024 pixels takes gigabytes; and a disk is read ahead where nothing of its pictures is cached.
        self.scored_at_once, self.readers = (1, min(2, os.cpu_count() or 1)) if experiment.data else (16, 0)
        torch.manual_seed(experiment.seed)
        self.model = self.protocol.build(experiment.model, experiment.model_config).to(device)
        self.vggish: VGGish = self.protocol.ear(experiment.final_relu).to(device)
        self.deaf = experiment.model == "gavs_deaf"
        self.rows: list[dict] = []

    def features(self, clips: Sequence) -> FeatureSet:
        """What the model takes of these clips; a deaf model's are silent."""
        side = self.model.sam.image_encoder.img_size
        features = extract_features(
            clips,
            self.model,
            self.vggish,
            self.cache,
            cache_budget=self.cache_budget,
            batch_frames=32 if side < 512 else 4 * 1024**2 // side**2,  # 4 at 1024 pixels: half a gigabyte each
            progress=self.progress,
        )
        return silent(features, self.vggish) if self.deaf else features

    def train(self) -> "Bench":
        """Zero-shot: train on seen classes."""
        experiment, config = self.experiment, self.experiment.fit_config
        # "world" says that weights know the toy shop.
        notes = {"protocol" if experiment.data else "world": self.protocol.world, "rotation": experiment.rotation}
        for start in experiment.starts:
            first, choosing = self.protocol.starting(start, experiment.start_clips, self.cache)
            sets = self.features(first), self.features(choosing)
            if start == experiment.starts[0]:
                self._fit(*sets, config, self.work / "start", notes)
                self._test("start")
            else:
                self._fit(*sets, config, self.work / f"start-{start}", notes)
        training, val = self.features(self.protocol.training()), self.features(self.protocol.validation())
        if experiment.share < 1:
            steps = config.steps or config.epochs * -(-len(training) // config.batch_size)
            order = seeded_order(training.uids, seed=0)
            kept = sorted(order[: max(1, round(experiment.share * len(order)))])
            every = max(1, round(config.val_every / experiment.share))
            training, config = training.subset(kept), replace(config, steps=steps, val_every=every)
        result = self._fit(training, val, config, self.work / "zero-shot", notes)
        self.model.eval()
        self._add(0, "best", "training", "validation mIoU", [result.best_score])
        self._add(0, "best", "training", "trained values", [float(self.model.trainable_summary().trained)])
        if getattr(getattr(self.model, "prompt", None), "cue", None) is not None:
            self._measure_cue(val)
        return self

    def test(self) -> "Bench":
        """Zero-shot: measure on seen and unseen classes, with the sound of other clips beside it."""
        self._test("best")
        entries = self.protocol.boxes()
        if entries is not None:
            self._score_boxes(0, "best", self.features(entries), range(len(entries)))
        if self.experiment.swaps:
            self._measure_swaps()
        return self

    def few_shot(self) -> "Bench":
        """k-shot and its control, each from the zero-shot weights: on unseen classes, then on another data set."""
        if self.experiment.shots:
            self.few_shot_on(self.protocol.shots(self.experiment.shots), self.protocol.unseen, self.protocol.remembered)
        return self.few_shot_on_boxes()

    def few_shot_on(self, pool: Pool, part: str, remembered: str | None = None) -> "Bench":
        """Learn shots of unseen classes; measure on the other clips of the pool.

        Args:
            pool: of `protocol.shots`.
            part: the name it gets in the rows.
            remembered: a test part of seen classes on which the best epoch of the shots is measured too.
        """
        candidates = self.features(pool.clips)
        seen = self.features(self.protocol.tests()[remembered]) if remembered else None
        shots = {k: candidates.subset(chosen) for k, chosen in pool.train.items()}
        seconds = self.protocol.labelled_seconds
        if seconds:
            shots = {k: lesson.labelled_first(seconds) for k, lesson in shots.items()}
        val = self.features(self.protocol.brief_validation())
        for k, state in self._taught(part.split()[-1], shots, val):
            tested = pool.test[k]
            scores = self._score(candidates.subset(tested))
            self._add(k, state, part, "mIoU", scores["miou"], tested)
            if self.experiment.data:  # the papers print it; the toy shop's rows were recorded without
                self._add(k, state, part, "F", scores["f"], tested)
            if seen is not None and state == "best":
                self._add(k, state, remembered, "mIoU", self._score(seen)["miou"])
        return self

    def few_shot_on_boxes(self) -> "Bench":
        """k entries of *every* class of another data set, their filled boxes as masks (VGG-SS-Sub; GAVS, Table 4)."""
        if self.experiment.twin_shots:
            pool = self.protocol.box_shots(self.experiment.twin_shots)
            entries = self.features(pool.clips)
            shots = {k: entries.subset(chosen) for k, chosen in pool.train.items()}
            if self.experiment.data:  # zero-shot on what the shots leave over: what theirs can be compared with
                tested = pool.test[max(shots)]
                scores = self._score_with_boxes(entries.subset(tested))
                self._add(0, "best", "vggss sub", "IoU with boxes", scores, tested)
            for k, state in self._taught("twin", shots):
                self._score_boxes(k, state, entries, pool.test[k])
        return self

    def table(self) -> pd.DataFrame:
        """The rows measured so far.

        Columns: shots (0: zero-shot), state ("best" or "last" epoch; "control": the control's best; "start": after
        what comes first), part (such as
        "v1s unseen_test"), figure, value (mean over clips), n (clips), by_clip (thousandths, blank-separated, "-" for
        a clip of the part that was not tested; empty where there is one value only).
        """
        return pd.DataFrame(self.rows)

    def _test(self, state: str) -> None:
        self.model.eval()
        for part, clips in self.protocol.tests().items():
            features = self.features(clips)
            scores = self._score(features)
            self._add(0, state, part, "mIoU", scores["miou"])
            self._add(0, state, part, "F", scores["f"])
            if not self.deaf:
                self._add(0, state, part, "mIoU, shuffled sound", self._score(shuffled(features))["miou"])

    def _score(self, features: FeatureSet) -> pd.DataFrame:
        return score(self.model, features, self.experiment.fit_config.threshold, self.scored_at_once)

    def _score_with_boxes(self, features: FeatureSet) -> pd.Series:
        return score_boxes(self.model, features, self.experiment.fit_config.threshold, self.scored_at_once)["iou"]

    def _fit(self, clips: FeatureSet, val: FeatureSet | None, config: FitConfig, folder: Path, notes=None) -> FitResult:
        readers = 0 if clips.caches_prefix else self.readers
        return fit(self.model, clips, val, config, folder, progress=self.progress, num_workers=readers, notes=notes)

    def _measure_swaps(self) -> None:
        """Does the mask move when the voice does? A row by figure of `SWAPS`, a value for each pair of toys."""
        protocol = self.protocol
        for part, clips in protocol.tests().items():
            if part not in (protocol.remembered, protocol.unseen):
                continue
            pairs = swap_test(self.model, self.vggish, clips.recipes[: self.experiment.swaps])
            if part == protocol.unseen:
                pairs = with_one_of(pairs, protocol.unseen_names)
            for figure, same_family in SWAPS.items():
                moves = pairs.loc[pairs["same_family"] == same_family, "moves"]
                if len(moves):
                    self._add(0, "best", part, figure, moves)

    def _score_boxes(self, shots: int, state: str, entries: FeatureSet, tested: Sequence[int]) -> None:
        """Rows for each part; "shuffled sound" beside it, for who draws well need not have listened."""
        tested = list(tested)
        here, parts = entries.subset(tested), self.protocol.box_parts(entries.labels)
        played = {"IoU with boxes": here}
        if not self.deaf:
            played["IoU with boxes, shuffled sound"] = shuffled(here)
        for figure, features in played.items():
            scores = self._score_with_boxes(features).set_axis(tested)
            for part, places in parts.items():
                rows = scores[scores.index.isin(places)]
                if len(rows):
                    self._add(shots, state, part, figure, rows, list(rows.index))
                if len(rows) and self.experiment.data and figure == "IoU with boxes":
                    summary = summarize_iou(torch.from_numpy(rows.to_numpy()))
                    self._add(shots, state, part, "AUC", [summary.auc])
                    self._add(shots, state, part, "success rate", [summary.success_rate])

    def _taught(
        self, where: str, shots: dict[int, FeatureSet], val: FeatureSet | None = None
    ) -> Iterator[tuple[int, str]]:
        """Train on each k's shots and, where asked for, its control; yield k and the state that the model is in.

        States are the "best" epoch of the shots (if there is a validation set), their "last", and the "control" (its
        best epoch, or the last). At the end the model is as it was after the zero-shot training.
        """
        experiment, zero_shot = self.experiment, self.work / "zero-shot" / "best.safetensors"
        epochs = ("best", "last") if val is not None else ("last",)
        most = max(map(len, shots.values()))
        new = self.features(self.protocol.more_seen(most)) if experiment.control else None
        for k, lesson in shots.items():
            lessons = {f"{k}-shot": (lesson, {epoch: epoch for epoch in epochs})}
            if k in experiment.control:
                lessons[f"control {k}"] = (new.subset(range(len(lesson))), {epochs[0]: "control"})
            for name, (clips, states) in lessons.items():
                # The rate is part of the name: where settings are chosen, trainings with several rates share a start.
                folder = self.work / f"{where} {name} lr {experiment.few_shot_config.lr:g}".replace(" ", "-")
                load_trained(zero_shot, self.model)
                self._fit(clips, val, experiment.few_shot_config, folder)
                for epoch, state in states.items():
                    load_trained(folder / f"{epoch}.safetensors", self.model)
                    self.model.eval()
                    yield k, state
        load_trained(zero_shot, self.model)

    def _measure_cue(self, features: FeatureSet) -> None:
        """Does the visual cue mean what the sound means? The semantic loss, and finding a clip's sound by its cue."""
        cues, sounds = clip_cues(self.model, features, self.scored_at_once)
        config = self.experiment.fit_config
        batches = range(0, len(cues) - config.batch_size + 1, config.batch_size)
        labels = features.labels
        alike = [label or uid for label, uid in zip(labels, features.uids)]  # as in training
        losses = []
        for first in batches:
            here = slice(first, first + config.batch_size)
            same = alike[here] if config.exclude_same_class else None
            losses.append(semantic_loss(cues[here], sounds[here], config.margin, same).item())
        if losses:
            self._add(0, "best", "training", "semantic loss", [float(np.mean(losses))])
        single = one_sound(labels)
        if single:  # none where only v1m trains
            found = retrieved(cues[single], sounds[single], [labels[i] for i in single])
            self._add(0, "best", self.protocol.seen_val, "sound found by its cue", found)

    def _add(self, shots: int, state: str, part: str, figure: str, values, clips: Sequence[int] | None = None) -> None:
        values = [float(value) for value in values]
        row = {"shots": shots, "state": state, "part": part, "figure": figure}
        row |= {"value": round(sum(values) / len(values), 5), "n": len(values), "by_clip": ""}
        if len(values) > 1:
            row["by_clip"] = text_of(values, clips)
        self.rows.append(row)


@torch.no_grad()
def clip_cues(model: nn.Module, features: FeatureSet, batch_size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Averages of F_C and F_A over each clip (eq. 9): two tensors [N, audio_dim]."""
    model.eval()
    device = next(model.parameters()).device
    cues, sounds = [], []
    for batch in DataLoader(features, batch_size=batch_size, collate_fn=collate):
        given = {name: batch[name].to(device) for name in ("images", "prefix") if name in batch}
        given["prefix"] = given["prefix"].float() if "prefix" in given else None
        output = model(given.get("images"), batch["audio"].to(device), prefix=given["prefix"])
        cues.append(clip_average(output.visual_cue.cpu(), batch["frame_valid"]))
        sounds.append(clip_average(batch["audio"], batch["frame_valid"]))
    return torch.cat(cues), torch.cat(sounds)


def retrieved(cues: torch.Tensor, sounds: torch.Tensor, labels: Sequence[str]) -> list[float]:
    """For each clip: is the sound that is most like its cue one of its own class? 1 or 0.

    Args:
        cues, sounds: [N, D].
        labels: the N clips' classes. One whose class no clip shares counts as well: it must find its own sound.
    """
    likeness = nn.functional.normalize(cues, dim=1) @ nn.functional.normalize(sounds, dim=1).T
    return [float(labels[best] == label) for label, best in zip(labels, likeness.argmax(dim=1).tolist())]
