"""What a model costs: measured, in turn, and memory in a process of its own."""

import numpy as np
import pandas as pd
import pytest

from gavs_lib._shipped import shipped_results
from gavs_lib.lab import cost
from gavs_lib.lab.cost import FAMILY, FULL, OFFICIAL, Costed, measure_cost
from gavs_lib.lab.shipped import MODELS, SMALL
from gavs_lib.world.folder import fingerprint


def test_times_memory_and_trained_values_of_each_model_side_by_side():
    models = {"small": Costed("audio_sam", None, SMALL), "large": Costed("gavs", None, FULL)}
    table = measure_cost(models, frames=4, rounds=1).set_index("name")
    assert list(table.index) == ["small", "large"] and list(table["image_size"]) == [SMALL, FULL]
    assert (table[["ms_frame", "ms_step"]] > 0).all(axis=None)
    assert table.loc["large", "mb_step"] > table.loc["small", "mb_step"] > 0, "what a step keeps grows with the picture"
    for name, each in models.items():
        assert table.loc[name, "trained"] == each.build().trainable_summary().trained
    assert measure_cost({"small": models["small"]}, 1, 1, memory=False)["mb_use"].isna().all()


def test_a_measured_step_leaves_no_gradient_and_use_trains_nothing():
    model = Costed("gavs", None, SMALL).build()
    given = cost._inputs(model, 2)
    assert cost._step(model, *given) > 0 and all(p.grad is None for p in model.parameters())
    assert cost._use(model, *given) > 0 and not model.training


def test_the_recorded_costs_are_of_this_family_and_world():
    table = pd.read_csv(shipped_results("cost"))
    assert set(table["name"]) == set(FAMILY) and set(table["kind"]) <= set(MODELS)
    assert set(table["world"]) == {fingerprint()} and table["threads"].nunique() == 1
    for name, row in table.set_index("name").iterrows():
        assert row["trained"] == FAMILY[name].build().trainable_summary().trained, name
    kinds = table.pivot(index="kind", columns="image_size", values="ms_frame")
    assert (kinds[SMALL] < kinds[FULL]).all()


@pytest.mark.parametrize("size", [SMALL, FULL])
def test_inputs_fit_the_model_at_every_size(size):
    images, audio = cost._inputs(Costed("save", None, size).build(), 3)
    assert images.shape == (1, 3, 3, size, size) and audio.shape == (1, 3, 128)
    assert np.isfinite(audio.numpy()).all() and 0 <= images.min() and images.max() <= 255


def test_a_step_of_gavs_with_vit_b_at_1024_fits_into_the_memory_that_notebook_11_states():
    recorded = pd.read_csv(shipped_results("official_cost")).set_index("name")
    assert set(recorded.index) == set(OFFICIAL) and (recorded["frames"] == 1).all()
    _, step = cost._memory(OFFICIAL["GAVS, vit_b, 1024"], frames=1)
    assert 100 < step < 1.2 * recorded.loc["GAVS, vit_b, 1024", "mb_step"]


def test_what_is_asked_for_is_measured_and_recorded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cost, "OFFICIAL", {"small": Costed("audio_sam", None, SMALL)})
    asked = ["--official", "--frames", "3", "--results", str(tmp_path / "cost.csv")]
    cost.main(asked)
    table = pd.read_csv(tmp_path / "cost.csv")
    assert table["frames"].tolist() == [3] and "small" in capsys.readouterr().out
    assert table["command"].tolist() == [f"python -m gavs_lib.lab.cost {' '.join(asked)}"]
