"""What a model costs: trained values, milliseconds a frame, milliseconds a training step, memory.

Times are taken in turn, a round of all models after a round of all models, so that a busy machine slows all alike: they
are to be compared within one table and never between two. Memory is measured in a process of its own for each model.

    python -m gavs_lib.lab.cost              the models of notebook 09, at both sizes: data/results/cost.csv
    python -m gavs_lib.lab.cost --official   GAVS and SAVE on ViT-B, a frame at a time: data/results/official_cost.csv
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from gavs_lib.lab.shipped import (
    FROZEN_ENCODER,
    MINI_CONFIG,
    MINI_POINTS,
    MINI_SAVE,
    MODELS,
    SMALL,
    ModelConfig,
    build_model,
)
from gavs_lib.lab.weights import write_atomically
from gavs_lib.losses import segmentation_loss
from gavs_lib.sam import build_sam, fuse_attention
from gavs_lib.world.folder import fingerprint

FULL = 128  # pixels; SAM-mini's own


@dataclass(frozen=True)
class Costed:
    """A model to measure: its kind (`lab.shipped.MODELS`), its settings, the side of its pictures, its SAM."""

    kind: str
    config: ModelConfig | None = None
    image_size: int = FULL
    sam: str = "mini"  # another one: with random weights, which cost as much as its own

    def build(self) -> nn.Module:
        torch.manual_seed(0)
        if self.sam == "mini":
            return build_model(self.kind, self.config, self.image_size)
        sam = build_sam(self.sam, image_size=self.image_size)
        fuse_attention(sam)
        return MODELS[self.kind](sam, self.config)


FAMILY = {
    f"{name}, {size}": Costed(kind, config, size)
    for name, kind, config in (
        ("Audio-SAM", "audio_sam", FROZEN_ENCODER),
        ("AV-SAM", "av_sam", FROZEN_ENCODER),
        ("AP-SAM", "ap_sam", None),
        ("SAM-Fusion", "sam_fusion", MINI_CONFIG),
        ("GAVS", "gavs", MINI_CONFIG),
        ("SAMA-AVS", "sama_avs", None),
        ("SAVE", "save", MINI_SAVE),
        ("joint", "joint", MINI_POINTS),
    )
    for size in (SMALL, FULL)
}

# GAVS and SAVE on the smallest official SAM: what a laptop can try, one frame at a time.
OFFICIAL = {
    f"{kind.upper()}, vit_b, {size}": Costed(kind, None, size, "vit_b")
    for size in (224, 512, 1024)
    for kind in ("gavs", "save")
}


def measure_cost(models: Mapping[str, Costed], frames: int = 8, rounds: int = 5, memory: bool = True) -> pd.DataFrame:
    """Measure models side by side, in this process's number of threads, on the CPU.

    Args:
        models: name -> what to build.
        frames: that go through together.
        rounds: measured, after one that warms up; the fastest counts, as others on the machine only make it slower.
        memory: measure memory as well, which starts a process a model.

    Returns:
        A row a model: name, kind, image_size, trained (values), ms_frame (from picture to mask, as in use), ms_step (a
        training step, per frame, from the cached prefix where there is one), mb_use and mb_step (by how much the
        process's largest memory grows in each; NaN if not asked for), frames, threads.
    """
    built = {name: each.build() for name, each in models.items()}
    taken = {name: {"use": [], "step": []} for name in models}
    for _ in range(rounds + 1):
        for name, model in built.items():
            given = _inputs(model, frames)
            taken[name]["use"].append(_use(model, *given))
            taken[name]["step"].append(_step(model, *given))
    rows = []
    trained = {name: model.trainable_summary().trained for name, model in built.items()}
    del built, model  # memory is measured in processes of their own, which may need all there is
    for name, each in models.items():
        row = {"name": name, "kind": each.kind, "image_size": each.image_size, "trained": trained[name]}
        for what, seconds in taken[name].items():
            row[f"ms_{'frame' if what == 'use' else what}"] = 1e3 * min(seconds[1:]) / frames
        row["mb_use"], row["mb_step"] = _memory(each, frames) if memory else (float("nan"), float("nan"))
        rows.append(row | {"frames": frames, "threads": torch.get_num_threads()})
    return pd.DataFrame(rows)


def _inputs(model: nn.Module, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    size = model.sam.image_encoder.img_size
    generator = torch.Generator().manual_seed(0)
    images = 255 * torch.rand(1, frames, 3, size, size, generator=generator)
    return images, torch.randn(1, frames, 128, generator=generator)


def _use(model: nn.Module, images: torch.Tensor, audio: torch.Tensor) -> float:
    """Seconds from pictures to masks."""
    model.eval()
    begun = time.perf_counter()
    with torch.no_grad():
        model(images, audio)
    return time.perf_counter() - begun


def _step(model: nn.Module, images: torch.Tensor, audio: torch.Tensor) -> float:
    """Seconds of forward and backward from the activation that the cache holds; the optimiser's share is left out."""
    model.train()
    prefix = model.encode_prefix(images)
    begun = time.perf_counter()
    output = model(None, audio, prefix=prefix)
    segmentation_loss(output.mask_logits, torch.zeros_like(output.mask_logits)).backward()
    seconds = time.perf_counter() - begun
    model.zero_grad(set_to_none=True)
    return seconds


def _memory(model: Costed, frames: int) -> tuple[float, float]:
    """By how many MB the largest memory grows in use, and in a training step; in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_growth, model, frames, torch.get_num_threads()).result()


def _growth(model: Costed, frames: int, threads: int) -> tuple[float, float]:
    torch.set_num_threads(threads)
    built = model.build()
    given = _inputs(built, frames)
    grown = []
    for run in (_use, _step):
        before = _peak(reset=True)
        run(built, *given)
        grown.append(_peak() - before)
    return tuple(grown)


def _peak(reset: bool = False) -> float:
    """MB this process held at most; `reset` begins anew, from what it holds now (on Linux; elsewhere it cannot)."""
    status = Path("/proc/self/status")
    if not status.exists():
        import resource  # Unix has it

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 2**10


def main(argv: list[str] | None = None) -> None:
    """Measure SAVE, its relatives and GAVS at both sizes, side by side; or what a step on official SAMs takes."""
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.lab.cost", description=main.__doc__)
    parser.add_argument("--official", action="store_true", help="vit_b at 224 to 1024 pixels, one frame: minutes")
    parser.add_argument("--results", type=Path, help="default: cost.csv or official_cost.csv in data/results")
    parser.add_argument("--frames", type=int, help="that go through together (default: 8; of official SAMs, 1)")
    parser.add_argument("--rounds", type=int, help="that are measured (default: 9; of official SAMs, 1)")
    asked = parser.parse_args(argv)
    models, frames, rounds = (OFFICIAL, 1, 1) if asked.official else (FAMILY, 8, 9)
    table = measure_cost(models, asked.frames or frames, asked.rounds or rounds)
    command = " ".join(["python -m gavs_lib.lab.cost", *(sys.argv[1:] if argv is None else argv)])
    results = asked.results or Path("data/results", "official_cost.csv" if asked.official else "cost.csv")
    notes = {"world": fingerprint(), "torch": torch.__version__, "command": command}
    write_atomically(results, table.round(2).assign(**notes).to_csv(index=False).encode())
    print(table.round(2).to_string(index=False))


if __name__ == "__main__":
    main()
