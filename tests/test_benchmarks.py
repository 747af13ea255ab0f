"""The benchmarks run, and the two ways that each compares agree (they assert it themselves)."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import speed


@pytest.mark.parametrize(
    ("name", "small"),
    [("prefix", {"frames": 1}), ("decoder", {"frames": 2}), ("histogram", {"frames": 1, "side": 32}),
     ("activations", {"clips": 1, "image_size": 64})],
)  # fmt: skip
def test_a_benchmark_prints_both_times_and_their_ratio(name, small, capsys):
    assert speed.BENCHMARKS[name](1, **small) > 0
    assert "instead of" in capsys.readouterr().out


def test_fused_attention_takes_less_memory():
    fused, eager = (speed.peak_in_a_process(way, 320) for way in (True, False))
    assert fused < eager - 0.1  # GB; the three global blocks' 1600 x 1600 matrices and their gradients


def test_the_training_whose_memory_is_measured_runs():
    assert speed._growth_of_a_training(2, 64, {"accumulate": 2, "checkpointing": True}) >= 0
