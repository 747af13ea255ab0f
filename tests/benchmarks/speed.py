"""What the library's short cuts save, each measured side by side with the long way in one run.

    python tests/benchmarks/speed.py            all of them; a minute or two on two cores
    python tests/benchmarks/speed.py decoder    one

Prints the median seconds of both ways, taken in turn so that a busy machine slows both alike, and their ratio. That the
two give the same result is asserted here and, more sharply, in the tests.
"""

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from gavs_lib.decoder import decode_masks
from gavs_lib.gavs import GAVS, GAVSConfig
from gavs_lib.lab.memory import recompute_activations
from gavs_lib.lab.train import FitConfig, fit
from gavs_lib.losses import segmentation_loss
from gavs_lib.metrics import f_measure
from gavs_lib.sam import build_sam, fuse_attention


def side_by_side(name: str, short: Callable[[], object], long: Callable[[], object], rounds: int) -> float:
    """Time both in turn, print, and return how many times as long the long way takes."""
    seconds = {short: [], long: []}
    for _ in range(rounds + 1):  # the first round warms up
        for way in (short, long):
            begun = time.perf_counter()
            way()
            seconds[way].append(time.perf_counter() - begun)
    quick, slow = (statistics.median(taken[1:]) for taken in seconds.values())
    print(f"{name:<58} {quick * 1e3:8.0f} ms  instead of {slow * 1e3:8.0f} ms: {slow / quick:5.1f} times", flush=True)
    return slow / quick


def prefix(rounds: int, frames: int = 8) -> float:
    """A training step from the cached activation, against one from the pictures."""
    torch.manual_seed(0)
    model = GAVS(build_sam("mini"), GAVSConfig(adapter_width=32, cola_width=32))
    images, audio = 255 * torch.rand(1, frames, 3, 128, 128), torch.randn(1, frames, 128)
    stored, target = model.encode_prefix(images), torch.rand(1, frames, 128, 128).round()
    assert torch.equal(model(images, audio).mask_logits, model(None, audio, prefix=stored).mask_logits)

    def step(*given):
        segmentation_loss(model(*given).mask_logits, target).backward()

    name = f"prefix: a training step of {frames} frames from the cache"
    return side_by_side(name, lambda: step(None, audio, stored), lambda: step(images, audio), rounds)


@torch.no_grad()
def decoder(rounds: int, frames: int = 20) -> float:
    """All frames through SAM's decoder together, against SAM's own one picture at a time."""
    torch.manual_seed(0)
    sam = build_sam("mini")
    embedding, tokens = torch.randn(frames, 128, 16, 16), torch.randn(frames, 1, 128)
    position, (_, dense) = sam.prompt_encoder.get_dense_pe(), sam.prompt_encoder(None, None, None)

    def together():
        return decode_masks(sam.mask_decoder, embedding, position, tokens, dense)[0]

    def one_by_one():
        each = [
            sam.mask_decoder(embedding[i : i + 1], position, tokens[i : i + 1], dense, multimask_output=False)[0]
            for i in range(frames)
        ]
        return torch.cat(each)[:, 0]

    assert torch.allclose(together(), one_by_one(), atol=1e-4)
    return side_by_side(f"decoder: {frames} frames in one pass", together, one_by_one, rounds)


def attention(rounds: int, image_size: int = 512) -> float:
    """The encoder with attention that never holds its N x N matrix, against SAM's own: seconds and memory."""
    sams = [build_sam("mini", image_size=image_size) for _ in range(2)]
    sams[1].load_state_dict(sams[0].state_dict())
    fuse_attention(sams[0])
    image = torch.randn(1, 3, image_size, image_size)
    fused, eager = (lambda: sams[0].image_encoder(image)), (lambda: sams[1].image_encoder(image))
    with torch.no_grad():
        assert torch.allclose(fused(), eager(), atol=1e-3)
        ratio = side_by_side(f"attention: the encoder at {image_size} pixels, fused", fused, eager, rounds)
    peaks = [peak_in_a_process(way, image_size) for way in (True, False)]
    print(
        f"{'':<11}memory of a process that makes a training step: {peaks[0]:.2f} GB instead of {peaks[1]:.2f} GB",
        flush=True,
    )
    return ratio


def peak_in_a_process(fused: bool, image_size: int) -> float:
    """Gigabytes that a process holds at most while it makes a training step of the encoder."""
    with multiprocessing.get_context("spawn").Pool(1) as child:
        return child.apply(_peak_of_a_step, (fused, image_size))


def _peak_of_a_step(fused: bool, image_size: int) -> float:
    sam = build_sam("mini", image_size=image_size).requires_grad_(True)
    if fused:
        fuse_attention(sam)
    sam.image_encoder(torch.randn(1, 3, image_size, image_size)).sum().backward()
    return _peak()


def activations(rounds: int, clips: int = 8, image_size: int = 256) -> float:
    """A training step that keeps its activations, against one that computes them again (`memory`: what that saves)."""
    model, items = _to_train(clips, image_size)
    prefix, audio = (torch.stack([item[name] for item in items]) for name in ("prefix", "audio"))
    gradients = []

    def kept():
        model.zero_grad()
        model(None, audio, prefix).mask_logits.square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.requires_grad])

    def recomputed():
        with recompute_activations(model):
            kept()

    name = f"activations: a step of {clips} frames, {image_size} pixels, that keeps them"
    ratio = side_by_side(name, kept, recomputed, rounds)
    assert all(torch.equal(a, b) for a, b in zip(gradients[0], gradients[1], strict=True))
    return ratio


def memory(rounds: int, clips: int = 8, image_size: int = 256) -> float:
    """By how much a process grows that trains for two steps: as it is, in parts, recomputing, and both."""
    ways = {
        "as it is": {},
        "in four parts": {"accumulate": 4},
        "recomputing": {"checkpointing": True},
        "both": {"accumulate": 4, "checkpointing": True},
    }
    peaks = {}
    for name, changes in ways.items():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as child:
            peaks[name] = child.submit(_growth_of_a_training, clips, image_size, changes).result()
    said = "   ".join(f"{name} {peak:.2f} GB" for name, peak in peaks.items())
    print(f"memory: training on {clips} clips a step, {image_size} pixels: {said}", flush=True)
    return peaks["as it is"] / peaks["both"]


def _growth_of_a_training(clips: int, image_size: int, changes: dict) -> float:
    model, items = _to_train(clips, image_size)
    before = _peak()
    with tempfile.TemporaryDirectory() as folder:
        fit(model, items, None, FitConfig(steps=2, batch_size=clips, **changes), folder, progress=False)
    return _peak() - before


def _to_train(clips: int, image_size: int) -> tuple[GAVS, list[dict]]:
    """A GAVS with all blocks of SAM-mini tuned, and clips of one frame for it to train on."""
    torch.manual_seed(0)
    sam = fuse_attention(build_sam("mini", image_size=image_size))
    model = GAVS(sam, GAVSConfig(tune_from=0, adapter_width=32, cola_width=32))
    one = torch.ones(1, dtype=torch.bool)
    clip = {"label": "", "has_mask": one, "frame_valid": one, "masks": torch.ones(1, 64, 64, dtype=torch.uint8)}
    items = []
    for number in range(clips):
        prefix = model.encode_prefix(255 * torch.rand(1, 1, 3, image_size, image_size))[0]
        items.append({**clip, "uid": str(number), "prefix": prefix, "audio": torch.randn(1, 128)})
    return model, items


def _peak() -> float:
    """Gigabytes this process held at most."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux a new process inherits `ru_maxrss` from the one that started it
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def histogram(rounds: int, frames: int = 5, side: int = 224) -> float:
    """The curve of F from two histograms, against 255 passes over the picture."""
    torch.manual_seed(0)
    logits, target = torch.randn(frames, side, side), torch.rand(frames, side, side).round()
    thresholds = torch.linspace(0, 1 - 1e-10, 255)

    def passes():
        p, truth, beta = logits.sigmoid(), target.bool(), 0.3
        curve = torch.zeros(len(thresholds))
        for k, threshold in enumerate(thresholds):
            chosen = p >= threshold
            hit = (chosen & truth).sum((1, 2)).float()
            precision = hit / (chosen.sum((1, 2)) + 1e-20)
            recall = hit / (truth.sum((1, 2)) + 1e-20)
            f = (1 + beta) * precision * recall / (beta * precision + recall)
            curve[k] = f.nan_to_num(0).mean()
        return curve.max()

    assert abs(float(f_measure(logits, target)) - float(passes())) < 1e-5
    return side_by_side(f"histogram: F of {frames} frames", lambda: f_measure(logits, target), passes, rounds)


BENCHMARKS = {each.__name__: each for each in (prefix, decoder, attention, activations, memory, histogram)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    for name in chosen.names or BENCHMARKS:
        BENCHMARKS[name](chosen.rounds)


if __name__ == "__main__":
    main()
