"""Lookup or rule: what an ear's labels do to combinations that the audio-visual training leaves out.

The same ear is taught twice, on the same sounds, with the same batches and steps: once told factors ("bell", "large",
"glass"), once told classes ("large glass bell"). Then a small network, the *link*, learns which of the toys in a
picture is the one that is heard. That is GAVS in vectors: the sound becomes a query as in the semantic-aware prompt,
the toys are what SAM-mini makes of them, and only seen combinations are trained on. What it says of unseen ones depends
on how the ear has laid out its 128 numbers.

``python -m gavs_lib.lab.labels`` adds the missing rows to ``data/results/pretraining_labels.csv``.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor, nn

from gavs_lib.audio import second_examples
from gavs_lib.lab.pretrain import (
    FACTORS,
    PretrainConfig,
    draw_heard,
    factor_tags,
    factor_vector,
    linear_reader,
    teach_ear,
)
from gavs_lib.lab.weights import write_atomically
from gavs_lib.sam import build_sam
from gavs_lib.vggish import load_vggish
from gavs_lib.world.classes import ClassSplit, class_split
from gavs_lib.world.folder import fingerprint, recipes
from gavs_lib.world.objects import TOYS, Toy
from gavs_lib.world.scenes import SAMPLE_RATE, mix, render_frames

MOST_TOYS = 5  # in a scene
# Ears by what they are told, and for how many times the steps. Classes are the harder lesson: with the same steps it is
# learned less well, so a longer one stands beside it.
LESSONS = {"factors": ("factors", 1), "classes": ("classes", 1), "classes, longer": ("classes", 3)}
# The recorded runs: a quarter of the shipped ear's clips, and two to four minutes for each ear.
RECORDED = PretrainConfig(clips=2000, sound_steps=1500, sound_batch=32, workers=1)


@dataclass(frozen=True)
class Pairs:
    """Seconds of v1s clips: what is heard, and the toys that are seen.

    Attributes:
        patches: log-mel, ``[N, 1, 96, 64]``.
        objects: the image embedding averaged over each toy's visible pixels, ``[N, 5, 128]``; zeros beyond the toys.
        present: which of the five places hold a toy, bool ``[N, 5]``.
        answer: the place of the toy that sounds, int64 ``[N]``.
        toys: the toys that sound.
    """

    patches: Tensor
    objects: Tensor
    present: Tensor
    answer: Tensor
    toys: tuple[Toy, ...]

    @property
    def chance(self) -> float:
        """Right answers, 0 to 1, of somebody who points at one of the toys without looking or listening."""
        return (1 / self.present.sum(dim=1)).mean().item()


def draw_pairs(sam: Sam, split: str, count: int, rotation: int = 0, seed: int = 0) -> Pairs:
    """The first second of the first clips of ``v1s``.

    Args:
        sam: whose eye sees the toys.
        split: such as ``"train"`` (seen combinations) or ``"unseen_test"``.
        count, rotation, seed: as in ``gavs_lib.world.folder.recipes``.
    """
    patches, objects, answers, toys = [], [], [], []
    for made in recipes("v1s", split, count, rotation, seed):
        scene = made.scene
        patches.append(second_examples(mix(scene)[:SAMPLE_RATE], SAMPLE_RATE, 1))
        pictures = render_frames(replace(scene, sounding=tuple(on[:1] for on in scene.sounding)))
        image = torch.from_numpy(pictures.frames).permute(0, 3, 1, 2).float().to(sam.pixel_mean.device)
        with torch.no_grad():
            embedding = sam.image_encoder((image - sam.pixel_mean) / sam.pixel_std)[0].cpu()  # [128, 16, 16]
        share = F.adaptive_avg_pool2d(torch.from_numpy(pictures.masks[:, 0]).float(), embedding.shape[-1])
        seen = torch.einsum("chw,khw->kc", embedding, share) / share.sum(dim=(1, 2))[:, None]
        objects.append(F.pad(seen, (0, 0, 0, MOST_TOYS - len(seen))))
        answers.append([on[0] for on in scene.sounding].index(True))
        toys.append(scene.toys)
    present = torch.tensor([[k < len(each) for k in range(MOST_TOYS)] for each in toys])
    heard = tuple(each[k] for each, k in zip(toys, answers))
    return Pairs(torch.cat(patches), torch.stack(objects), present, torch.tensor(answers), heard)


def hear(ear: nn.Module, pairs: Pairs) -> Tensor:
    """What the ear makes of the sounds, ``[N, 128]``."""
    with torch.no_grad():
        return torch.cat([ear(part) for part in pairs.patches.split(256)])


def tell_factors(pairs: Pairs) -> Tensor:
    """In place of an ear: the true factors, ``[N, 11]``. A rule needs no more."""
    return torch.from_numpy(np.stack([factor_vector(toy) for toy in pairs.toys]))


def tell_classes(pairs: Pairs) -> Tensor:
    """In place of an ear: the true class, one of 36, ``[N, 36]``. Of a class never linked, it says nothing."""
    return F.one_hot(torch.tensor([TOYS.index(toy) for toy in pairs.toys]), len(TOYS)).float()


class Link(nn.Module):
    """From a sound to the toy that makes it: the sound becomes a query, the answer is the toy that fits it best.

    Two layers, 256 units between, as in GAVS's prompt. Sounds and toys are brought to mean 0 and spread 1 by those
    that it learns from.

    Args:
        heard: what it will learn from, ``[N, D]``.
        pairs: the same N seconds.
    """

    def __init__(self, heard: Tensor, pairs: Pairs):
        super().__init__()
        toys = pairs.objects[pairs.present]
        for name, values in (("heard", heard), ("toys", toys)):
            self.register_buffer(f"{name}_mean", values.mean(dim=0))
            self.register_buffer(f"{name}_spread", values.std(dim=0) + 1e-6)
        self.query = nn.Sequential(nn.Linear(heard.shape[1], 256), nn.ReLU(), nn.Linear(256, toys.shape[1]))

    def forward(self, heard: Tensor, pairs: Pairs) -> Tensor:
        """Scores ``[N, 5]``; minus infinity where no toy stands."""
        query = self.query((heard - self.heard_mean) / self.heard_spread)
        toys = (pairs.objects - self.toys_mean) / self.toys_spread
        scores = torch.einsum("nd,nkd->nk", query, toys) / toys.shape[-1] ** 0.5
        return scores.masked_fill(~pairs.present, -torch.inf)

    def right(self, heard: Tensor, pairs: Pairs) -> Tensor:
        """Whether the answer is the toy that sounds, bool ``[N]``."""
        with torch.no_grad():
            return self(heard, pairs).argmax(dim=1) == pairs.answer


def fit_link(heard: Tensor, pairs: Pairs, steps: int = 300, seed: int = 0) -> Link:
    """Train a link on all pairs at once (AdamW, 1e-3): cross-entropy between its scores and who sounds."""
    torch.manual_seed(seed)
    link = Link(heard, pairs)
    optimizer = torch.optim.AdamW(link.parameters(), lr=1e-3, weight_decay=0.01)
    for _ in range(steps):
        loss = F.cross_entropy(link(heard, pairs), pairs.answer)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return link.eval()


def additive_share(vectors: Tensor, toys: Sequence[Toy], split: ClassSplit) -> tuple[float, float]:
    """How much of the class means is a sum of one vector a factor: R^2 on seen and on unseen-test classes.

    The sum is fitted to the means of the 18 seen classes (nine free vectors, so 18 means drawn at random give about
    0.47) and carried over to the 12 unseen ones. 1: every mean is the sum; 0: no better than the mean of all seen
    means; below 0: worse.

    Args:
        vectors: ``[N, D]``.
        toys: the class of each.
        split: which classes are seen.

    Raises:
        ValueError: a class of the split has no vector.
    """
    numbers = torch.tensor([TOYS.index(toy) for toy in toys])

    def means(classes: tuple[Toy, ...]) -> tuple[Tensor, Tensor]:
        absent = [toy.name for toy in classes if toy not in toys]
        if absent:
            raise ValueError(f"no vector for {', '.join(absent)}; expected at least one of every class. Draw more.")
        factors = torch.from_numpy(np.stack([[*factor_vector(toy), 1] for toy in classes])).double()
        return factors, torch.stack([vectors[numbers == TOYS.index(toy)].double().mean(dim=0) for toy in classes])

    factors, seen = means(split.seen)
    weights = torch.linalg.pinv(factors) @ seen
    middle = seen.mean(dim=0)
    shares = []
    for given, wanted in ((factors, seen), means(split.unseen_test)):
        shares.append(1 - ((wanted - given @ weights) ** 2).sum().item() / ((wanted - middle) ** 2).sum().item())
    return shares[0], shares[1]


def measure(heard: Sequence[Tensor], pairs: Sequence[Pairs], split: ClassSplit, seed: int = 0) -> dict[str, float]:
    """What an ear's numbers are good for.

    Args:
        heard: what it makes of the three sets of ``pairs``, each ``[N, D]``.
        pairs: seen combinations to learn from, fresh clips of them, unseen-test combinations.
        split: of the same rotation.
        seed: of the link's first weights.

    Returns:
        Right answers of the link (``link_seen``, ``link_unseen``), its chance (``link_chance``, on unseen), the
        additive share of the class means (``additive_seen``, ``additive_unseen``) and right answers of linear probes
        on unseen combinations (``probe_family``, ``probe_size``, ``probe_material``); all 1 at best.
    """
    learn, fresh, unseen = zip(heard, pairs)
    link = fit_link(*learn, seed=seed)
    found = {"link_seen": link.right(*fresh).float().mean().item()}
    found |= {"link_unseen": link.right(*unseen).float().mean().item(), "link_chance": unseen[1].chance}
    toys = [toy for each in pairs for toy in each.toys]
    found["additive_seen"], found["additive_unseen"] = additive_share(torch.cat(list(heard)), toys, split)
    for factor, values in zip(("family", "size", "material"), FACTORS):
        answers = [torch.tensor([values.index(getattr(toy, factor)) for toy in each.toys]) for each in pairs]
        found[f"probe_{factor}"] = linear_reader(list(heard), answers, len(values))[1]
    return found


def main(argv: list[str] | None = None) -> None:
    """Teach ears factors and classes, a pair of them a seed, and record what each is good for."""
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.lab.labels", description=main.__doc__)
    parser.add_argument("--results", type=Path, default=Path("data/results/pretraining_labels.csv"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rotations", type=int, nargs="+", default=[0, 1])
    for name, default in (("clips", RECORDED.clips), ("steps", RECORDED.sound_steps), ("pairs", 400)):
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = parser.parse_args(argv)
    table = pd.read_csv(chosen.results) if chosen.results.exists() else pd.DataFrame({"ear": [], "seed": []})
    done = set(zip(table["ear"], table["seed"]))
    sam = build_sam("mini", "shipped")
    parts = (("train", chosen.pairs), ("test", chosen.pairs // 2), ("unseen_test", chosen.pairs // 2))
    pairs = {r: [draw_pairs(sam, split, count, r) for split, count in parts] for r in chosen.rotations}
    settings = {"pairs": chosen.pairs, "world": fingerprint(), "torch": torch.__version__}

    def record(ear: str, seed: int, listen, **more) -> None:
        rows = [
            {"ear": ear, "seed": seed, "rotation": r}
            | measure([listen(part) for part in pairs[r]], pairs[r], class_split(r), seed)
            for r in chosen.rotations
        ]
        rows = pd.DataFrame(rows).assign(**more, **settings).round(4)
        before = [pd.read_csv(chosen.results)] if chosen.results.exists() else []
        rows = pd.concat([*before, rows])
        counts = {name: "Int64" for name in ("clips", "steps", "batch") if name in rows}  # empty without a lesson
        write_atomically(chosen.results, rows.astype(counts).to_csv(index=False).encode())
        print(rows[rows["ear"] == ear].to_string(), flush=True)

    shipped = load_vggish("mini")
    for ear, listen in (
        ("told factors", tell_factors),
        ("told class", tell_classes),
        ("shipped", lambda p: hear(shipped, p)),
    ):
        if (ear, 0) not in done:
            record(ear, 0, listen)
    for seed in chosen.seeds:
        config = replace(RECORDED, clips=chosen.clips, sound_steps=chosen.steps, seed=seed)
        todo = [ear for ear in LESSONS if (ear, seed) not in done]
        if todo:
            patches, heard = draw_heard(config.clips, seed, config.workers)
        for ear in todo:
            begun = time.monotonic()
            told, times = LESSONS[ear]
            config = replace(config, sound_steps=times * chosen.steps)
            model, losses = teach_ear(patches, factor_tags(heard) if told == "factors" else heard, config)
            more = {"clips": config.clips, "steps": config.sound_steps, "batch": config.sound_batch}
            more |= {"loss": float(np.mean(losses[-100:])), "minutes": (time.monotonic() - begun) / 60}
            record(ear, seed, lambda p, taught=model["ear"]: hear(taught, p), **more)


if __name__ == "__main__":
    main()
