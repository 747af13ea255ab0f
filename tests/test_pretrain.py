"""The unimodal pre-training: factors only, the right masks for a prompt, exact resume, faithful shipping."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gavs_lib.lab import pretrain
from gavs_lib.lab.pretrain import FACTOR_COUNT, FACTOR_TABLE, PretrainConfig
from gavs_lib.lab.weights import load_tensors
from gavs_lib.sam import build_sam
from gavs_lib.world.objects import TOYS, Toy

TINY = PretrainConfig(
    clips=2, sound_steps=4, sound_batch=4, pictures=4, picture_steps=4, picture_batch=2, workers=1, autocast=False
)


def test_labels_are_factors_and_never_classes():
    assert FACTOR_TABLE.shape == (36, 11)
    assert (FACTOR_TABLE.sum(1) == 3).all()  # one family, one size, one material
    # Linear in the factors: no direction is left for a class of its own. 36 classes, rank 1 + 5 + 1 + 2 = 9.
    assert np.linalg.matrix_rank(FACTOR_TABLE) == 9


def test_pictures_and_sounds_number_the_factors_differently():
    assert sorted(pretrain.PICTURE_ORDER) == sorted(pretrain.SOUND_ORDER) == list(range(FACTOR_COUNT))
    assert (pretrain.PICTURE_ORDER != pretrain.SOUND_ORDER).sum() >= 8


def test_a_factor_prompt_asks_for_every_toy_that_satisfies_all_its_factors():
    toys = [Toy("bell", "small", "wood"), Toy("bell", "large", "glass"), Toy("drum", "small", "wood")]
    owner = np.zeros((128, 128), dtype=np.uint8)
    for i in range(3):
        owner[:, 40 * i : 40 * i + 20] = i + 1
    classes = np.array([TOYS.index(toy) for toy in toys] + [-1, -1], dtype=np.int8)
    hot, masks = pretrain.factor_prompts(owner, classes, 200, np.random.default_rng(0))
    groups = [range(0, 6), range(6, 8), range(8, 11)]
    for prompt, mask in zip(hot, masks):
        expected = np.zeros_like(mask)
        for i, toy in enumerate(toys):
            vector = pretrain.factor_vector(toy)
            asked = [group for group in groups if prompt[list(group)].any()]
            if all((vector[list(group)] * prompt[list(group)]).any() for group in asked):
                expected |= owner == i + 1
        assert np.array_equal(mask, expected) and prompt.any()
    assert any(not mask.any() for mask in masks) and any(len(np.unique(owner[mask])) > 1 for mask in masks)


def test_tags_of_a_second_are_the_union_of_what_sounds_in_it():
    patches, heard = pretrain._draw_sound((7, 1))
    tags = pretrain.factor_tags(heard)
    assert patches.shape == (5, 1, 96, 64) and tags.shape == (5, 11)
    scene = pretrain.sample_scene(np.random.default_rng([7, 11, 1]), "v1m", TOYS)
    for t in range(5):
        heard = [toy for toy, on in zip(scene.toys, scene.sounding) if on[t]]
        expected = np.max([pretrain.factor_vector(toy) for toy in heard], axis=0) if heard else np.zeros(11)
        assert np.array_equal(tags[t], expected[pretrain.SOUND_ORDER])


def test_decoding_in_pretraining_is_what_the_models_do():
    from gavs_lib.decoder import decode_masks

    model = pretrain.PromptedSam(build_sam("mini")).eval()
    embedding, sparse = torch.randn(3, 128, 16, 16), torch.randn(3, 1, 128)
    with torch.no_grad():
        logits, quality = model.decode(embedding, sparse)
        _, dense = model.sam.prompt_encoder(None, None, None)
        position = model.sam.prompt_encoder.get_dense_pe()
        expected, expected_quality = decode_masks(model.sam.mask_decoder, embedding, position, sparse, dense)
    assert torch.allclose(logits[:, 0], expected, atol=1e-5)
    assert torch.allclose(quality[:, 0], expected_quality, atol=1e-5)


@pytest.mark.parametrize("encoder", ["eye", "ear"])
def test_an_interrupted_pretraining_ends_where_an_unbroken_one_does(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "_in_parallel", lambda work, jobs, workers, what: [work(job) for job in jobs])
    teach = pretrain.pretrain_sam if encoder == "eye" else pretrain.pretrain_vggish
    unbroken = teach(TINY, tmp_path / "whole").state_dict()

    calls = {"count": 0}
    plain = torch.nn.utils.clip_grad_norm_

    def fail_at_third_step(*args, **kwargs):
        calls["count"] += 1
        if calls["count"] == 3:
            raise KeyboardInterrupt
        return plain(*args, **kwargs)

    monkeypatch.setattr(pretrain, "_SAVE_EVERY", 2)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", fail_at_third_step)
    with pytest.raises(KeyboardInterrupt):
        teach(TINY, tmp_path / "broken")
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", plain)
    resumed = teach(TINY, tmp_path / "broken").state_dict()
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)


def test_processes_that_share_a_batch_step_along_the_mean_of_their_gradients(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "_in_parallel", lambda work, jobs, workers, what: [work(job) for job in jobs])
    config = replace(TINY, workers=2, sound_steps=1)
    taught = pretrain.pretrain_vggish(config, tmp_path).state_dict()

    patches, tags = (torch.from_numpy(np.load(tmp_path / "vggish_mini" / f"drawn_{i}.npy")) for i in range(2))
    torch.manual_seed(config.seed)
    model = pretrain._hearing()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.sound_lr, weight_decay=0.01)
    for rank in range(2):
        rng = np.random.default_rng([config.seed, 12, 0, rank])
        rows = torch.from_numpy(rng.choice(len(patches), 2, replace=False))
        batch = patches[rows].float() + torch.from_numpy(rng.normal(0, 0.4, (2, 1, 1, 1)).astype(np.float32))
        heard = model["head"](model["ear"](batch))
        (torch.nn.functional.binary_cross_entropy_with_logits(heard, tags[rows]) / 2).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    assert all(torch.allclose(taught[name], value, atol=1e-5) for name, value in model["ear"].state_dict().items())


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(ValueError, match="picture_batch is 16; expected a multiple of workers, 3"):
        PretrainConfig(workers=3, sound_batch=63)


def test_another_drawing_is_not_taken_for_the_one_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "_in_parallel", lambda work, jobs, workers, what: [work(job) for job in jobs])
    pretrain.pretrain_vggish(TINY, tmp_path)
    pretrain.pretrain_vggish(replace(TINY, clips=3, sound_steps=5), tmp_path)
    assert len(np.load(tmp_path / "vggish_mini" / "drawn_0.npy")) == 3 * 5


def test_a_shipped_encoder_keeps_its_masks_in_half_precision_and_its_position_code_exactly(tmp_path):
    sam = build_sam("mini")
    path = pretrain.ship(sam, "sam_mini", replace(TINY), tmp_path, {"figure": 1.0})
    again = build_sam("mini", checkpoint=path)
    assert torch.equal(sam.prompt_encoder.get_dense_pe(), again.prompt_encoder.get_dense_pe())
    image = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        first, second = sam.image_encoder(image), again.image_encoder(image)
    assert ((first - second).norm() / first.norm()) < 2e-3
    _, header = load_tensors(path)
    assert header["world"] and header["figures"] == {"figure": 1.0} and header["pretraining"]["seed"] == 7


def test_a_linear_reader_reads_what_is_linear_and_guesses_what_is_not_there():
    torch.manual_seed(0)
    answers = [torch.randint(0, 3, (300,)) for _ in range(2)]
    told = [torch.nn.functional.one_hot(a, 3).float() + 0.1 * torch.randn(300, 3) for a in answers]
    assert pretrain.linear_reader(told, answers, 3)[0] > 0.99
    blank = [torch.randn(300, 3) for _ in answers]
    assert pretrain.linear_reader(blank, answers, 3)[0] < 0.5
