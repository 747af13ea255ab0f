"""What can be trained by the recipe of the shipped models: the baselines, and the rows of the paper's ablation."""

from dataclasses import replace

import pytest
import torch

from gavs_lib.gavs import GAVSConfig
from gavs_lib.lab.shipped import KINDS, MINI_CONFIG, MODELS, build_model, load_model, table_5
from gavs_lib.lab.weights import save_trained

BOTTLENECKS = {"ColA", "AV adapters", "VA adapters"}


@pytest.fixture(scope="module")
def trained() -> dict[str, set[str]]:
    """What trains in each row of Table 5."""
    return {row: set(build_model(*choice).trainable_summary().groups) for row, choice in table_5().items()}


def test_table_5_trains_in_the_decoder_what_its_rows_are_called(trained):
    in_decoder = {row: groups & (BOTTLENECKS | {"mask decoder"}) for row, groups in trained.items()}
    assert {row: in_decoder[row] for row in "abcdef"} == {
        "a": set(),
        "b": {"mask decoder"},
        "c": {"AV adapters"},
        "d": {"VA adapters"},
        "e": {"ColA"},
        "f": BOTTLENECKS,
    }
    assert all(in_decoder[row] == {"ColA"} for row in "ghij")


def test_visual_adapters_come_with_row_i_and_the_cue_with_row_j(trained):
    rows = table_5()
    assert [row for row, groups in trained.items() if "visual adapters" in groups] == ["i", "j"]
    assert [row for row, (_, config) in rows.items() if config.cue and rows[row][0] == "gavs"] == ["j"]
    assert rows["j"] == ("gavs", MINI_CONFIG)
    assert rows["h"] == rows["e"], "the audio prompt with ColA stands in the table twice"
    assert "fusion" in trained["g"] and "prompt" not in trained["g"]


def test_row_a_is_audio_sam():
    row, baseline = build_model(*table_5()["a"]), build_model("audio_sam")
    assert row.trainable_summary().groups == baseline.trainable_summary().groups
    assert row.config == replace(baseline.config, noise_dim=row.config.noise_dim)


def test_the_rows_follow_the_width_of_the_full_model():
    rows = table_5(GAVSConfig(cola_width=7))
    assert rows["c"][1].av_width == rows["d"][1].va_width == rows["f"][1].av_width == rows["e"][1].cola_width == 7


@pytest.mark.parametrize("kind", MODELS)
def test_every_kind_is_built_and_loaded_from_a_file_of_ones_own(kind, tmp_path):
    model = build_model(kind)
    assert type(model) is MODELS[kind]
    save_trained(tmp_path / "own.safetensors", model, {"seed": 3})
    loaded, notes = load_model(kind, tmp_path / "own.safetensors")
    assert loaded.config == model.config and notes["seed"] == 3


def test_what_is_unknown_or_not_shipped_is_said():
    with pytest.raises(ValueError, match="model 'sam' is unknown; expected one of gavs, .*, tpavi"):
        build_model("sam")
    for kind in set(MODELS) - set(KINDS):
        with pytest.raises(ValueError, match=f"model '{kind}' is not shipped"):
            load_model(kind)


def test_a_file_in_half_precision_gives_the_rounded_values_and_the_size_it_was_trained_at(tmp_path):
    model = build_model("save", image_size=64)
    torch.nn.init.normal_(model.prompt[0].weight)
    save_trained(tmp_path / "half.safetensors", model, {"inputs": {"image_size": 64}}, half=True)
    save_trained(tmp_path / "whole.safetensors", model, {"inputs": {"image_size": 64}})
    loaded, _ = load_model("save", tmp_path / "half.safetensors")
    assert loaded.sam.image_encoder.img_size == 64
    state = model.trained_state()
    for name, value in loaded.trained_state().items():
        assert value.dtype == torch.float32 and torch.equal(value, state[name].half().float()), name
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.55 * sizes[1]
