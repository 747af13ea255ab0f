"""Lookup or rule: the live lesson is the recipe, the link learns what its input allows, sums are told from tables."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from gavs_lib._shipped import shipped_results
from gavs_lib.lab import labels, pretrain
from gavs_lib.lab.labels import MOST_TOYS, Pairs
from gavs_lib.lab.pretrain import PretrainConfig
from gavs_lib.sam import build_sam
from gavs_lib.world.classes import class_split
from gavs_lib.world.folder import fingerprint, recipes
from gavs_lib.world.objects import TOYS

TINY = PretrainConfig(clips=2, sound_steps=3, sound_batch=4, picture_batch=2, workers=1, autocast=False)
SPLIT = class_split(0)


@pytest.fixture(autouse=True)
def drawn_in_this_process(monkeypatch):
    monkeypatch.setattr(pretrain, "_in_parallel", lambda work, jobs, workers, what: [work(job) for job in jobs])


def made_up_pairs(toys, seed: int) -> Pairs:
    """Each toy of `toys` four times, with three others of them, in an eye that sees factors and some noise."""
    rng = np.random.default_rng(seed)
    eye = np.random.default_rng(0).normal(size=(11, 128))
    answer = np.tile(np.arange(4), len(toys))
    sounding = np.repeat(np.arange(len(toys)), 4)
    objects = np.zeros((len(answer), MOST_TOYS, 128), dtype=np.float32)
    for n, (place, who) in enumerate(zip(answer, sounding)):
        others = list(rng.choice([k for k in range(len(toys)) if k != who], 3, replace=False))
        shown = [*others[:place], who, *others[place:]]
        objects[n, :4] = np.stack([pretrain.factor_vector(toys[k]) @ eye for k in shown])
        objects[n, :4] += rng.normal(0, 0.1, (4, 128))
    present = torch.arange(MOST_TOYS).expand(len(answer), -1) < 4
    heard = tuple(toys[k] for k in sounding)
    return Pairs(torch.zeros(len(answer), 1), torch.from_numpy(objects), present, torch.from_numpy(answer), heard)


def test_an_ear_taught_in_memory_is_the_one_that_the_recipe_makes(tmp_path):
    recipe = pretrain.pretrain_vggish(TINY, tmp_path).state_dict()
    patches, tags = pretrain.draw_sounds(TINY.clips, TINY.seed, 1)
    model, losses = pretrain.teach_ear(patches, tags, TINY)
    assert len(losses) == TINY.sound_steps
    assert all(torch.equal(recipe[name], value) for name, value in model["ear"].state_dict().items())


def test_the_tags_decide_what_is_learned_and_not_where_it_begins():
    patches, heard = pretrain.draw_heard(TINY.clips, 1, 1)
    unmoved = replace(TINY, sound_lr=0.0)
    by_factor, _ = pretrain.teach_ear(patches, pretrain.factor_tags(heard), unmoved)
    by_class, _ = pretrain.teach_ear(patches, heard, unmoved)
    assert by_factor["head"].out_features == 11 and by_class["head"].out_features == 36
    assert torch.equal(by_factor["ear"].features[0].weight, by_class["ear"].features[0].weight)
    by_class, _ = pretrain.teach_ear(patches, heard, TINY)
    assert not torch.equal(by_factor["ear"].features[0].weight, by_class["ear"].features[0].weight)


def test_an_ear_is_not_taught_with_tags_of_other_sounds():
    patches, heard = np.zeros((8, 1, 96, 64), dtype=np.float16), np.zeros((7, 36), dtype=np.float32)
    with pytest.raises(ValueError, match="found 8 patches and 7 tags"):
        pretrain.teach_ear(patches, heard, TINY)
    with pytest.raises(ValueError, match=r"found 2 patches and 2 tags.*at least 4"):
        pretrain.teach_ear(patches[:2], heard[:2], TINY)


def test_a_pair_is_a_sound_and_the_toys_of_its_picture():
    pairs = labels.draw_pairs(build_sam("mini"), "unseen_test", 3, rotation=1, seed=4)
    assert pairs.patches.shape == (3, 1, 96, 64) and pairs.objects.shape == (3, MOST_TOYS, 128)
    for n, made in enumerate(recipes("v1s", "unseen_test", 3, rotation=1, seed=4)):
        toys = made.scene.toys
        assert toys[pairs.answer[n]] == pairs.toys[n] == made.scene.heard[0]
        assert pairs.present[n].tolist() == [k < len(toys) for k in range(MOST_TOYS)]
        assert (pairs.objects[n, len(toys) :] == 0).all() and (pairs.objects[n, : len(toys)] != 0).any(dim=1).all()


def test_chance_is_one_of_the_toys_that_are_there():
    pairs = made_up_pairs(SPLIT.seen, 0)
    assert pairs.chance == pytest.approx(0.25)
    present = pairs.present.clone()
    present[::2, 2:] = False  # half of the pictures with two toys: (1/2 + 1/4) / 2
    assert replace(pairs, present=present).chance == pytest.approx(0.375)


def test_a_link_from_factors_is_a_rule_and_one_from_classes_a_table():
    learn, fresh, unseen = (made_up_pairs(t, k) for k, t in enumerate((SPLIT.seen, SPLIT.seen, SPLIT.unseen_test)))
    for told, least, most in ((labels.tell_factors, 0.95, 1.0), (labels.tell_classes, 0.0, 0.6)):
        link = labels.fit_link(told(learn), learn)
        assert link.right(told(fresh), fresh).float().mean() > 0.95
        assert least <= link.right(told(unseen), unseen).float().mean() <= most


def test_a_link_never_points_where_no_toy_stands():
    pairs = made_up_pairs(SPLIT.seen, 0)
    link = labels.Link(labels.tell_factors(pairs), pairs)
    scores = link(labels.tell_factors(pairs), pairs)
    assert torch.isinf(scores[:, 4]).all() and torch.isfinite(scores[:, :4]).all()


def test_sums_of_factors_are_additive_and_a_table_is_not():
    toys = SPLIT.seen + SPLIT.unseen_test
    sums = torch.from_numpy(np.stack([pretrain.factor_vector(toy) for toy in toys]))
    assert labels.additive_share(sums, toys, SPLIT) == pytest.approx((1, 1))
    # One direction a class: 18 points with 17 free directions about their mean, of which the factors' 8 are fitted.
    table = torch.eye(36)[[TOYS.index(toy) for toy in toys]]
    seen, unseen = labels.additive_share(table, toys, SPLIT)
    assert seen == pytest.approx(8 / 17) and unseen < 0


def test_a_class_without_a_vector_is_named():
    toys = SPLIT.seen + SPLIT.unseen_test[1:]
    with pytest.raises(ValueError, match=f"no vector for {SPLIT.unseen_test[0].name}"):
        labels.additive_share(torch.ones(len(toys), 2), toys, SPLIT)


def test_measures_of_the_true_factors_are_all_one():
    parts = [made_up_pairs(t, k) for k, t in enumerate((SPLIT.seen, SPLIT.seen, SPLIT.unseen_test))]
    found = labels.measure([labels.tell_factors(part) for part in parts], parts, SPLIT)
    assert found.pop("link_chance") == pytest.approx(0.25)
    assert min(found.values()) > 0.95


def test_recorded_ears_are_not_taught_again(tmp_path, monkeypatch):
    calls = []

    def teach(patches, tags, config):
        calls.append((config.seed, tags.shape[1], config.sound_steps))
        return {"ear": torch.nn.Identity()}, [0.5]

    monkeypatch.setattr(labels, "teach_ear", teach)
    monkeypatch.setattr(labels, "draw_heard", lambda *_: (np.zeros((4, 1)), np.zeros((4, 36))))
    monkeypatch.setattr(labels, "draw_pairs", lambda *_: None)
    monkeypatch.setattr(labels, "hear", lambda *_: None)
    monkeypatch.setattr(labels, "tell_factors", lambda *_: None)
    monkeypatch.setattr(labels, "tell_classes", lambda *_: None)
    monkeypatch.setattr(labels, "measure", lambda *_: {"link_unseen": 1.0})
    results = tmp_path / "labels.csv"
    command = ["--results", str(results), "--rotations", "0", "--steps", "10", "--seeds"]
    labels.main([*command, "0"])
    labels.main([*command, "0", "1"])
    assert calls == [(seed, tags, steps) for seed in (0, 1) for tags, steps in ((11, 10), (36, 10), (36, 30))]
    table = pd.read_csv(results)
    assert list(table["ear"]) == ["told factors", "told class", "shipped", *labels.LESSONS, *labels.LESSONS]
    assert set(table["world"]) == {fingerprint()}


def test_recorded_tables_are_found_by_name_and_those_missing_are_named():
    assert {"encoder", "unseen"} <= set(pd.read_csv(shipped_results("probes")).columns)
    with pytest.raises(FileNotFoundError, match=r"no shipped results 'nothing'.*git checkout -- data/results"):
        shipped_results("nothing")
    with pytest.raises(ValueError, match="'../probes' is a path"):
        shipped_results("../probes")


def test_the_recorded_ears_are_of_this_world():
    table = pd.read_csv(shipped_results("pretraining_labels"))
    assert set(table["world"]) == {fingerprint()}, "the toy shop has changed: python -m gavs_lib.lab.labels, anew"
    assert set(labels.LESSONS) <= set(table["ear"])
