"""Operations, counted, against a sum by hand; hours, by hand."""

import pytest
import torch

from gavs_lib import GAVSConfig
from gavs_lib.lab.estimate import GPUS, SHARE, Operations, count_operations, measure_speed, training_hours
from gavs_lib.lab.shipped import MODELS, build_model
from gavs_lib.sam import SAM_SIZES


def encoder_products(name: str, image_size: int) -> float:
    """Multiplications of SAM's image encoder up to its neck: linear layers, attention and its relative positions."""
    size = SAM_SIZES[name]
    side, dim = image_size // size.patch, size.dim
    tokens = side * side
    total = tokens * dim * 3 * size.patch**2  # patches
    for block in range(size.depth):
        across = side if block in size.global_blocks else size.window
        windows = 1 if block in size.global_blocks else (-(-side // size.window)) ** 2
        inside = across * across
        total += windows * inside * dim * dim * 4  # query, key, value and projection
        total += windows * 2 * inside * inside * dim  # attention
        total += windows * 2 * inside * across * dim  # its relative positions
        total += tokens * dim * dim * 8  # MLP
    return total


@pytest.mark.parametrize("name, image_size", [("mini", 128), ("vit_b", 224), ("vit_b", 512)])
def test_the_count_of_an_encoder_is_the_sum_by_hand(name, image_size):
    depth = SAM_SIZES[name].depth
    plain = GAVSConfig(tune_from=depth, adapter_width=0)
    half = GAVSConfig(tune_from=depth // 2, adapter_width=0)
    whole, cut = (count_operations("audio_sam", config, name, image_size) for config in (plain, half))
    assert whole.prefix + whole.use == cut.prefix + cut.use and cut.prefix < whole.prefix
    assert whole.prefix == pytest.approx(2 * encoder_products(name, image_size), rel=0.001)
    assert whole.use < whole.step < 3 * whole.use


def test_a_smaller_picture_costs_fewer_operations_and_save_more_than_gavs():
    sizes = [count_operations("gavs", None, "mini", size) for size in (64, 128)]
    assert 3.5 < sizes[1].step / sizes[0].step < 5
    save = count_operations("save", None, "mini", 64)
    assert save.prefix < sizes[0].prefix and save.prefix + save.use > sizes[0].prefix + sizes[0].use


def test_hours_by_hand():
    operations = Operations(prefix=2e12, use=1e12, step=4e12)
    given = dict(frames=100, taught=50, validated=20, epochs=10, validations=5)
    cached = 100 * 2e12 + 500 * 4e12 + 100 * 1e12
    table = training_hours(operations, **given, cached=True).set_index("gpu")
    assert list(table.index) == list(GPUS)
    for name, peak in GPUS.items():
        assert table.loc[name, "hours_most"] == pytest.approx(cached / (peak * SHARE[0]) / 3600)
        assert table.loc[name, "hours_least"] == pytest.approx(cached / (peak * SHARE[1]) / 3600)
    again = training_hours(operations, **given, cached=False).set_index("gpu")
    grown = (cached - 100 * 2e12 + 600 * 2e12) / cached
    assert again.loc["A100", "hours_most"] == pytest.approx(grown * table.loc["A100", "hours_most"])
    here = training_hours(operations, **given, cached=True, here=1e12).set_index("gpu")
    assert here.drop("this machine").equals(table) and list(here.index)[-1] == "this machine"
    assert here.loc["this machine"].tolist() == pytest.approx([cached / 1e12 / 3600] * 2)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_a_measured_step_gives_a_speed_and_changes_nothing(kind):
    model = build_model(kind, None, 64).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    operations = count_operations(kind, None, "mini", 64)
    assert 1e7 < measure_speed(model, operations, 2, rounds=1) < 1e14
    assert not model.training and all(each.grad is None for each in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_speed_is_operations_over_the_fastest_step(monkeypatch):
    model = build_model("audio_sam", None, 64)
    clock = iter([0.0, 50.0, 100.0, 104.0, 200.0, 202.0, 300.0, 303.0])  # steps of 50 (to warm up), 4, 2 and 3 s
    monkeypatch.setattr("gavs_lib.lab.estimate.time.perf_counter", lambda: next(clock))
    assert measure_speed(model, Operations(prefix=1, use=1, step=10), frames=3) == 15
