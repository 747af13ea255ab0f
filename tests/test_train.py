"""Training: what it minimises, what it keeps, and that a kill at any moment changes nothing."""

import dataclasses
import json
import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import gavs_lib
import gavs_lib.lab.train as train
from gavs_lib.baselines import TPAVI
from gavs_lib.gavs import GAVS, GAVSConfig, Output
from gavs_lib.lab.train import FitConfig, collate, fit, learning_rate, predict_masks
from gavs_lib.lab.weights import load_tensors, load_trained
from gavs_lib.losses import segmentation_loss, semantic_loss, soft_iou_loss
from gavs_lib.metrics import mask_iou
from gavs_lib.sam import build_sam

# Children start from a server that has imported torch once, and has never run a backward pass.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["torch", "gavs_lib.lab.train", "gavs_lib.gavs"])


class TinySegmenter(nn.Module):
    """A model as small as one can be: masks from a frozen and a trained linear map, with noise in training."""

    def __init__(self, seed=0, cue=True, noise=True):
        super().__init__()
        torch.manual_seed(seed)
        self.frozen = nn.Linear(6, 16).requires_grad_(False)
        self.pixel = nn.Linear(16, 16)
        self.sound = nn.Linear(128, 16)
        self.cue = nn.Linear(16, 128) if cue else None
        self.noise = noise

    def forward(self, images, audio, prefix=None):
        x = torch.tanh(self.frozen(prefix if images is None else images.permute(0, 1, 3, 4, 2)))
        sound = self.sound(audio)
        if self.training and self.noise:
            sound = sound + 0.1 * torch.randn_like(sound)
        logits = (self.pixel(x) * sound[:, :, None, None]).sum(-1)
        return Output(logits, self.cue(x.mean((2, 3))) if self.cue else None, logits.mean((2, 3)))

    def trained_state(self):
        return {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}

    def load_trained_state(self, state):
        with torch.no_grad():
            for name, value in self.trained_state().items():
                value.copy_(state[name])


class LookingSegmenter(TinySegmenter):
    """One that says where it looked, as `lab.joint` does."""

    def forward(self, images, audio, prefix=None):
        output = super().forward(images, audio, prefix)
        places = output.mask_logits.flatten(2).log_softmax(dim=2)
        return output._replace(region=places.view_as(output.mask_logits))


class Clips(Dataset):
    """Random clips whose masks follow from prefix and sound; every third is twice as long."""

    def __init__(self, count, seed, sizes=((8, 8),), labelled=1.0):
        generator = torch.Generator().manual_seed(seed)
        self.items = []
        for number in range(count):
            frames = 4 if number % 3 == 2 else 2
            prefix = torch.randn(frames, 4, 4, 6, generator=generator)
            audio = torch.randn(frames, 128, generator=generator)
            size = sizes[number % len(sizes)]
            masks = (prefix[..., 0] * audio[:, :1, None] > 0).float()
            masks = nn.functional.interpolate(masks[None], size=size)[0].to(torch.uint8)
            has_mask = torch.rand(frames, generator=generator) < labelled
            has_mask[0] = True
            self.items.append(
                {
                    "uid": f"clip{number}",
                    "label": "bell" if number % 2 else "drum",
                    "prefix": prefix,
                    "audio": audio,
                    "masks": masks * has_mask[:, None, None],
                    "has_mask": has_mask,
                    "frame_valid": torch.ones(frames, dtype=torch.bool),
                }
            )

    def __len__(self):
        return len(self.items)

    def __getitem__(self, item):
        return self.items[item]


CONFIG = FitConfig(
    epochs=3, batch_size=2, lr=1e-2, save_every=2, semantic_weight=0.5, schedule="cosine", warmup_steps=3
)


def run_tiny(folder, config=CONFIG, clips=10, seed=0, val=True, **options):
    model = TinySegmenter(seed)
    val_set = Clips(4, 2) if val else None
    return model, fit(model, Clips(clips, 1), val_set, config, folder, progress=False, **options)


def mini_gavs(noise="gaussian"):
    torch.manual_seed(0)
    model = GAVS(build_sam("mini"), GAVSConfig(noise=noise))
    generator = torch.Generator().manual_seed(3)
    items = []
    for number in range(4):
        images = torch.rand(1, 2, 3, 128, 128, generator=generator) * 255
        items.append(
            {
                "uid": f"clip{number}",
                "label": "bell",
                "prefix": model.encode_prefix(images)[0],
                "audio": torch.randn(2, 128, generator=generator),
                "masks": (torch.rand(2, 128, 128, generator=generator) > 0.9).to(torch.uint8),
                "has_mask": torch.tensor([True, number % 2 == 0]),
                "frame_valid": torch.ones(2, dtype=torch.bool),
            }
        )
    return model, items


def run_mini_gavs(folder, ready=None):
    torch.set_num_threads(1)
    model, items = mini_gavs()
    if ready:
        ready.set()
    fit(model, items, items[:1], FitConfig(epochs=5, batch_size=2, save_every=1), folder, progress=False)


def run_tiny_in_child(folder, ready=None):
    torch.set_num_threads(1)
    if ready:
        ready.set()
    run_tiny(folder)


def killed_at_the_nth_write(folder, n, after):
    """Train, and die right before or right after the n-th file is put in place."""
    replace, calls = os.replace, 0

    def counting(*arguments):
        nonlocal calls
        calls += 1
        if calls == n and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*arguments)
        if calls == n and after:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = counting
    run_tiny_in_child(folder)


def in_child(target, *arguments):
    """Run in a process of its own; returns its exit code."""
    child = CHILDREN.Process(target=target, args=arguments)
    child.start()
    child.join()
    return child.exitcode


def lives_until_done(target, folder, longest, seed):
    """Run again and again, SIGKILLed at a random moment up to `longest` s into training; steps saved at each death."""
    moments, deaths = random.Random(seed), []
    while len(deaths) < 30:
        ready = CHILDREN.Event()
        child = CHILDREN.Process(target=target, args=(folder, ready))
        child.start()
        assert ready.wait(60)
        child.join(moments.uniform(0, longest))
        child.kill()
        child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        state = folder / "state.pt"
        deaths.append(torch.load(state, weights_only=True)["step"] if state.exists() else 0)
    assert in_child(target, folder) == 0
    return deaths


def result_of(folder):
    """Everything a finished run leaves, without times."""
    state = torch.load(folder / "state.pt", weights_only=True)
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {
        "best": load_tensors(folder / "best.safetensors")[0],
        "last": load_tensors(folder / "last.safetensors")[0],
        "parameters": state["parameters"],
        "optimizer": state["optimizer"]["state"],
        "log": [{name: value for name, value in row.items() if name != "seconds"} for row in rows],
        "best epoch": (state["best_epoch"], state["best_score"]),
    }


def assert_equal(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            assert_equal(found[name], expected[name])
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)
    else:
        assert found == expected


# ---- kill and resume


@pytest.fixture(scope="module")
def unbroken_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    assert in_child(run_tiny_in_child, folder) == 0
    return folder


@pytest.fixture(scope="module")
def unbroken(unbroken_folder):
    return result_of(unbroken_folder)


def seconds_of(folder):
    return torch.load(folder / "state.pt", weights_only=True)["seconds"]


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_around_any_write_changes_no_bit(tmp_path, unbroken, after):
    # The lives die at their second to seventh write in turn, so that together they pass every kind of write.
    for lives in range(40):
        code = in_child(killed_at_the_nth_write, tmp_path, 2 + lives % 6, after)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert code == 0 and lives >= 3
    assert_equal(result_of(tmp_path), unbroken)


def test_kills_at_random_moments_change_no_bit(tmp_path, unbroken, unbroken_folder):
    deaths = lives_until_done(run_tiny_in_child, tmp_path, longest=0.5 * seconds_of(unbroken_folder), seed=4)
    assert deaths == sorted(deaths) and any(0 < step < 15 for step in deaths)
    assert_equal(result_of(tmp_path), unbroken)


def test_a_killed_training_of_the_real_gavs_ends_with_the_weights_of_an_unbroken_one(tmp_path):
    assert in_child(run_mini_gavs, tmp_path / "whole") == 0
    deaths = lives_until_done(run_mini_gavs, tmp_path / "killed", longest=0.5 * seconds_of(tmp_path / "whole"), seed=1)
    assert deaths == sorted(deaths) and any(0 < step < 10 for step in deaths)
    assert_equal(result_of(tmp_path / "killed"), result_of(tmp_path / "whole"))


def test_training_does_not_depend_on_the_random_state_it_finds(tmp_path, unbroken):
    torch.manual_seed(99)
    random.seed(99)
    model = TinySegmenter(0)
    torch.randn(7)
    fit(model, Clips(10, 1), Clips(4, 2), CONFIG, tmp_path, progress=False)
    assert_equal(result_of(tmp_path)["log"], unbroken["log"])


def test_another_seed_trains_otherwise(tmp_path, unbroken):
    run_tiny(tmp_path, dataclasses.replace(CONFIG, seed=1))
    assert result_of(tmp_path)["log"] != unbroken["log"]


def test_half_a_log_line_and_a_line_too_many_are_mended_on_resume(tmp_path):
    config = dataclasses.replace(CONFIG, epochs=2)
    run_tiny(tmp_path / "a", config)
    run_tiny(tmp_path / "b", config)
    with (tmp_path / "b" / "log.jsonl").open("a") as file:
        file.write('{"epoch": 3, "step": 15}\n{"epo')
    run_tiny(tmp_path / "b", config)
    assert_equal(result_of(tmp_path / "b"), result_of(tmp_path / "a"))


@pytest.mark.parametrize("step", [1, 8])
def test_an_interrupted_cell_that_is_run_again_on_the_same_model_ends_alike(tmp_path, unbroken, monkeypatch, step):
    model, steps = TinySegmenter(0), 0
    train_step = train._Run._train_step

    def interrupted(self, batch):
        nonlocal steps
        train_step(self, batch)
        steps += 1
        if steps == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(train._Run, "_train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(model, Clips(10, 1), Clips(4, 2), CONFIG, tmp_path, progress=False)
    fit(model, Clips(10, 1), Clips(4, 2), CONFIG, tmp_path, progress=False)
    assert_equal(result_of(tmp_path), unbroken)


# ---- folders


def test_a_finished_run_returns_at_once_with_its_best_weights(tmp_path, monkeypatch):
    model, result = run_tiny(tmp_path)
    monkeypatch.setattr(train._Run, "_train_step", None)  # calling it would fail
    again, repeated = run_tiny(tmp_path)
    assert repeated == result
    for name, tensor in model.trained_state().items():
        assert torch.equal(again.trained_state()[name], tensor)
    # A notebook cell that is run twice gives the model it has already trained.
    fit(model, Clips(10, 1), Clips(4, 2), CONFIG, tmp_path, progress=False)


def test_a_folder_of_another_run_is_refused_and_the_difference_named(tmp_path):
    run_tiny(tmp_path)
    with pytest.raises(ValueError, match=r"config.lr is 0.01, you asked for 0.1.*resume=False"):
        run_tiny(tmp_path, dataclasses.replace(CONFIG, lr=0.1))
    with pytest.raises(ValueError, match="data.train_set.clips is 10, you asked for 8"):
        run_tiny(tmp_path, clips=8)
    with pytest.raises(ValueError, match="model.frozen"):
        run_tiny(tmp_path, seed=1)
    result = run_tiny(tmp_path, dataclasses.replace(CONFIG, epochs=1), resume=False)[1]
    assert len(result.history) == 1 and len((tmp_path / "log.jsonl").read_text().splitlines()) == 1


def test_a_damaged_checkpoint_is_refused_with_a_way_out(tmp_path):
    run_tiny(tmp_path)
    data = (tmp_path / "state.pt").read_bytes()
    (tmp_path / "state.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"state.pt: cannot be read.*resume=False"):
        run_tiny(tmp_path)


def test_a_run_from_before_a_setting_existed_is_gone_on_with_where_it_has_its_default(tmp_path, monkeypatch):
    run_tiny(tmp_path)
    identity = json.loads((tmp_path / "run.json").read_text())
    del identity["config"]["accumulate"], identity["config"]["region_weight"]
    (tmp_path / "run.json").write_text(json.dumps(identity))
    monkeypatch.setattr(train._Run, "_train_step", None)  # calling it would fail
    run_tiny(tmp_path)
    with pytest.raises(ValueError, match="config.accumulate is 1, you asked for 2"):
        run_tiny(tmp_path, dataclasses.replace(CONFIG, accumulate=2))
    for damaged in ("[]", "{}", '{"config": 1}'):
        (tmp_path / "run.json").write_text(damaged)
        with pytest.raises(ValueError, match=r"run.json: cannot be read .*resume=False"):
            run_tiny(tmp_path)


def test_the_shipped_file_of_a_run_is_the_best_epoch_not_the_last(tmp_path):
    config = dataclasses.replace(CONFIG, epochs=8, lr=0.1, schedule="constant")
    model, result = run_tiny(tmp_path, config)
    scores = [row["miou"] for row in result.history]
    assert result.best_score == max(scores) and result.best_epoch == scores.index(max(scores)) + 1
    assert result.best_epoch < 8  # or this test shows nothing
    header = load_trained(tmp_path / "best.safetensors", TinySegmenter(0))
    assert header["epoch"]["epoch"] == result.best_epoch and header["fit"]["lr"] == 0.1
    best, last = load_tensors(tmp_path / "best.safetensors")[0], load_tensors(tmp_path / "last.safetensors")[0]
    assert torch.equal(model.pixel.weight, best["pixel.weight"])
    assert not torch.equal(best["pixel.weight"], last["pixel.weight"])
    # The best epoch's score can be measured again.
    ious = [mask_iou(predict_masks(model, collate([item]))[0], item["masks"]) for item in Clips(4, 2)]
    assert math.isclose(sum(iou.mean().item() for iou in ious) / 4, result.best_score, abs_tol=1e-6)


def test_without_validation_the_last_epoch_counts(tmp_path):
    _, result = run_tiny(tmp_path, val=False)
    assert result.best_epoch == 3 and result.best_score is None
    found = result_of(tmp_path)
    assert_equal(found["best"], found["last"])


# ---- what is minimised


def test_one_epoch_equals_a_loop_written_out_by_hand(tmp_path):
    config = FitConfig(
        epochs=1, batch_size=3, lr=0.02, clip_norm=0.5, semantic_weight=0.7, margin=0.4, dice_weight=0.3, seed=5,
        exclude_same_class=True, warmup_steps=2, iou_weight=0.6,
    )  # fmt: skip
    clips = Clips(7, 1, labelled=0.5)
    model = TinySegmenter(0, noise=False)
    result = fit(model, clips, None, config, tmp_path, progress=False)

    expected = TinySegmenter(0, noise=False)
    trained = [p for p in expected.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.02, weight_decay=0.01)
    order = [index for batch in train._Batches(7, 3, 5) for index in batch]
    assert sorted(order) == list(range(7))
    losses = []
    for step, lr in enumerate([0.01, 0.02, 0.02]):
        optimizer.param_groups[0]["lr"] = lr
        items = [clips[index] for index in order[3 * step : 3 * step + 3]]
        frame_losses, cues, sounds = [], [], []
        for item in items:
            output = expected(None, item["audio"][None], item["prefix"][None])
            for t in range(len(item["audio"])):
                if item["has_mask"][t]:
                    one = output.mask_logits[:, t : t + 1], item["masks"][None, t : t + 1]
                    frame_losses.append(segmentation_loss(*one, dice_weight=0.3) + 0.6 * soft_iou_loss(*one))
            cues.append(output.visual_cue[0].mean(0))
            sounds.append(item["audio"].mean(0))
        loss = torch.stack(frame_losses).mean()
        labels = [item["label"] for item in items]
        loss = loss + 0.7 * semantic_loss(torch.stack(cues), torch.stack(sounds), 0.4, labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 0.5)
        optimizer.step()
    for name, tensor in expected.trained_state().items():
        torch.testing.assert_close(model.trained_state()[name], tensor, rtol=1e-4, atol=1e-6)
    assert math.isclose(result.history[0]["loss"], sum(losses) / 3, rel_tol=1e-5)
    assert result.history[0]["lr"] == 0.02 and result.history[0]["step"] == 3


def test_clips_whose_classes_are_not_named_are_negatives_of_each_other(tmp_path):
    def loss(label, exclude):
        clips = Clips(6, 1)
        for item in clips.items:
            item["label"] = label
        config = dataclasses.replace(CONFIG, epochs=1, exclude_same_class=exclude)
        return fit(TinySegmenter(), clips, None, config, tmp_path / f"{label} {exclude}", progress=False).history

    unnamed, paper, drums = loss("", True), loss("", False), loss("drum", True)
    assert unnamed[0]["loss"] == paper[0]["loss"] > drums[0]["loss"]


def test_training_on_learnable_clips_learns(tmp_path):
    model, result = run_tiny(tmp_path, FitConfig(epochs=30, batch_size=3, lr=0.02, semantic_weight=0.0))
    assert result.history[-1]["loss"] < 0.6 * result.history[0]["loss"]
    assert result.history[0]["semantic"] == 0


def test_a_model_without_a_visual_cue_trains_without_the_semantic_loss(tmp_path):
    result = fit(TinySegmenter(cue=False), Clips(4, 1), None, FitConfig(epochs=1), tmp_path, progress=False)
    assert result.history[0]["semantic"] == 0
    assert result.history[0]["loss"] == result.history[0]["segmentation"]


def test_masks_of_several_sizes_give_the_loss_of_each_at_its_own(tmp_path):
    config = FitConfig(epochs=1, batch_size=4, clip_norm=None)
    mixed = fit(
        TinySegmenter(noise=False), Clips(4, 1, ((8, 8), (12, 16))), None, config, tmp_path / "mixed", progress=False
    )
    same = fit(TinySegmenter(noise=False), Clips(4, 1, ((8, 8),)), None, config, tmp_path / "same", progress=False)
    # The masks are blocks of the 4x4 grid, at any size: their area averages are equal.
    assert math.isclose(mixed.history[0]["segmentation"], same.history[0]["segmentation"], rel_tol=1e-6)


def test_half_precision_trains_and_leaves_the_process_as_it_was(tmp_path, unbroken):
    model, half = run_tiny(tmp_path / "half", dataclasses.replace(CONFIG, precision="bf16"))
    exact = run_tiny(tmp_path / "exact")[1]
    assert model.pixel.weight.dtype == torch.float32
    assert half.history[0]["loss"] != exact.history[0]["loss"]
    assert math.isclose(half.history[0]["loss"], exact.history[0]["loss"], rel_tol=0.05)
    assert_equal(result_of(tmp_path / "exact")["log"], unbroken["log"])


@pytest.mark.parametrize("native, chosen", [(True, "bf16"), (False, "fp16")])
def test_the_precision_of_a_device_is_one_it_does_not_emulate(monkeypatch, native, chosen):
    # PyTorch calls bf16 supported on a T4 as well, where it is emulated.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    monkeypatch.setattr(train, "Accelerator", lambda mixed_precision, **_: mixed_precision)
    assert train.accelerator_for(torch.device("cuda"), "auto") == chosen
    assert train.accelerator_for(torch.device("cpu"), "auto") == "no"
    assert train.accelerator_for(torch.device("cuda"), "no") == "no"


def test_fp16_is_refused_on_a_cpu(tmp_path):
    with pytest.raises(ValueError, match="precision is 'fp16'.*choose 'auto'"):
        run_tiny(tmp_path / "run", dataclasses.replace(CONFIG, precision="fp16"))
    assert not (tmp_path / "run").exists()


def test_a_clip_without_a_labelled_frame_is_named_where_only_such_frames_train(tmp_path, monkeypatch):
    clips = Clips(4, seed=0)
    monkeypatch.setattr(Clips, "uids", [item["uid"] for item in clips.items], raising=False)
    flags = torch.ones(4, 4, dtype=torch.bool)
    flags[2] = False
    monkeypatch.setattr(Clips, "has_mask", flags, raising=False)
    config = FitConfig(steps=1, batch_size=2, labelled_frames_only=True)
    with pytest.raises(ValueError, match="1 clips without a labelled frame, such as clip2"):
        fit(TinySegmenter(), clips, None, config, tmp_path / "run", progress=False)


def test_weights_say_what_they_were_trained_on(tmp_path):
    fit(TinySegmenter(), Clips(2, 0), None, FitConfig(steps=1), tmp_path, progress=False, notes={"world": "shop"})
    assert load_tensors(tmp_path / "best.safetensors")[1]["world"] == "shop"


def test_frozen_parameters_stay_as_they_are(tmp_path):
    model, _ = run_tiny(tmp_path)
    assert torch.equal(model.frozen.weight, TinySegmenter(0).frozen.weight)


def test_steps_end_a_run_inside_an_epoch_and_every_epoch_is_a_permutation(tmp_path):
    seen = []

    class Watched(Clips):
        def __getitem__(self, item):
            seen.append(item)
            return super().__getitem__(item)

    fit(TinySegmenter(), Watched(6, 1), None, FitConfig(steps=8, batch_size=2), tmp_path, progress=False)
    assert [sorted(seen[:6]), sorted(seen[6:12])] == [list(range(6))] * 2 and len(seen) == 16
    assert seen[:6] != seen[6:12]
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 3), (2, 6), (3, 8)]


def test_validation_every_other_epoch_and_always_at_the_end(tmp_path):
    _, result = run_tiny(tmp_path, dataclasses.replace(CONFIG, epochs=5, val_every=2))
    assert [row["miou"] is not None for row in result.history] == [False, True, False, True, True]


def test_learning_rates_by_hand():
    constant = FitConfig(lr=1.0, warmup_steps=4)
    assert [learning_rate(constant, step, 10) for step in (0, 1, 3, 4, 9)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    cosine = FitConfig(lr=1.0, warmup_steps=2, schedule="cosine")
    # Four steps after the warm-up: cos at 0, 1/4, 1/2, 3/4 of pi.
    expected = [0.5, 1.0, 1.0, 0.5 + math.sqrt(0.5) / 2, 0.5, 0.5 - math.sqrt(0.5) / 2]
    for step, value in enumerate(expected):
        assert math.isclose(learning_rate(cosine, step, 6), value, abs_tol=1e-12)


# ---- a step in parts


WHOLE = FitConfig(
    epochs=2, batch_size=5, lr=0.01, clip_norm=None, semantic_weight=0.7, dice_weight=0.3, iou_weight=0.6,
    region_weight=0.4, margin=1.2,  # so wide that a sound does not keep it from the other sounds either
)  # fmt: skip


def trained_on_nine(folder, config):
    """Two steps an epoch, of 5 clips and of 4; some frames are unlabelled."""
    model = LookingSegmenter(0, noise=False)
    return model, fit(model, Clips(9, 1, labelled=0.5), Clips(4, 2), config, folder, progress=False)


@pytest.mark.parametrize("changes", [{}, {"exclude_same_class": True}, {"labelled_frames_only": True}])
@pytest.mark.parametrize("parts", [2, 3, 5])
def test_the_parts_of_a_step_add_up_to_the_gradient_and_the_losses_of_the_whole(tmp_path, parts, changes):
    config = dataclasses.replace(WHOLE, **changes)
    models, results = [], []
    for name, accumulate, steps in (("1", 1, 1), ("2", parts, 1), ("3", 1, None), ("4", parts, None)):
        run = dataclasses.replace(config, accumulate=accumulate, steps=steps)
        model, result = trained_on_nine(tmp_path / name, run)
        models.append(model)
        results.append(result.history)
    gradients = [{name: p.grad for name, p in model.named_parameters() if p.requires_grad} for model in models]
    for name, gradient in gradients[0].items():  # of the first step
        assert gradient.abs().max() > 1e-3
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-6)
    for name, tensor in models[2].trained_state().items():  # after two epochs
        torch.testing.assert_close(models[3].trained_state()[name], tensor, rtol=0, atol=1e-5)
    for whole, in_parts in zip([*results[0], *results[2]], [*results[1], *results[3]], strict=True):
        assert 0 < whole["semantic"] < whole["loss"]
        for name in ("loss", "segmentation", "semantic", "miou"):
            assert math.isclose(whole[name], in_parts[name], rel_tol=1e-5), name


def test_no_more_clips_than_a_part_go_through_the_model_at_once(tmp_path):
    seen = {True: [], False: []}

    class Counting(TinySegmenter):
        def forward(self, images, audio, prefix=None):
            seen[self.training].append(len(audio))
            return super().forward(images, audio, prefix)

    config = FitConfig(epochs=1, batch_size=5, accumulate=3)
    fit(Counting(), Clips(9, 1), Clips(5, 2), config, tmp_path, progress=False)
    assert seen == {True: [2, 2, 1, 2, 2], False: [2, 2, 1]}


# ---- batches and predictions


def test_frames_left_out_change_no_mask_and_no_gradient_of_the_others():
    model = mini_gavs()[0].eval()
    device = torch.device("cpu")
    torch.manual_seed(3)
    size = model.sam.image_encoder.img_size
    batch = {"images": torch.rand(2, 3, 3, size, size) * 255, "audio": torch.randn(2, 3, 128)}
    used = torch.tensor([[True, False, True], [False, True, False]])

    def run(marked):
        model.zero_grad()
        output = train._forward(model, batch, device, marked)
        (output.mask_logits[used].square().mean() + output.visual_cue[used].square().mean()).backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        return output, gradients

    whole, expected = run(torch.ones_like(used))
    part, found = run(used)
    assert torch.allclose(part.mask_logits[used], whole.mask_logits[used], atol=1e-4)
    assert torch.allclose(part.visual_cue[used], whole.visual_cue[used], atol=1e-5)
    assert not part.mask_logits[~used].any()
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in zip(found, expected, strict=True))


def test_a_model_that_mixes_frames_gets_whole_clips_and_is_told_which_frames_exist():
    class Mixer(TinySegmenter):
        framewise = False

        def forward(self, images, audio, prefix=None, frame_valid=None):
            self.told = frame_valid, audio.shape
            return super().forward(images, audio, prefix)

    model = Mixer()
    batch = collate([Clips(3, 1)[0], Clips(3, 1)[2]])
    train._forward(model, batch, torch.device("cpu"), batch["has_mask"])
    assert torch.equal(model.told[0], batch["frame_valid"]) and model.told[1] == (2, 4, 128)


def test_tpavi_predicts_a_short_clip_alike_alone_and_beside_a_longer_one_and_learns(tmp_path):
    torch.manual_seed(0)
    model = TPAVI(build_sam("mini", image_size=32), GAVSConfig(tune_from=6, adapter_width=0))
    generator = torch.Generator().manual_seed(1)

    def item(frames):
        masks = torch.zeros(frames, 16, 16, dtype=torch.uint8)
        masks[:, :8] = 1
        return {
            "uid": f"clip{frames}",
            "label": "a",
            "prefix": torch.randn(frames, 4, 4, 128, generator=generator),
            "audio": torch.randn(frames, 128, generator=generator),
            "masks": masks,
            "has_mask": torch.arange(frames) < 1,
            "frame_valid": torch.ones(frames, dtype=torch.bool),
        }

    items = [item(2), item(4)]
    done = fit(model, items, None, FitConfig(epochs=12, batch_size=2, semantic_weight=0.0), tmp_path, progress=False)
    assert done.history[-1]["segmentation"] < 0.8 * done.history[0]["segmentation"]
    beside, alone = predict_masks(model, collate(items))[0], predict_masks(model, collate(items[:1]))[0]
    assert beside.shape == (2, 16, 16)
    torch.testing.assert_close(beside, alone, rtol=1e-4, atol=1e-4)


def test_collate_fills_short_clips_and_marks_what_is_real():
    batch = collate([Clips(3, 1)[0], Clips(3, 1)[2]])
    assert batch["prefix"].shape == (2, 4, 4, 4, 6) and batch["masks"].shape == (2, 4, 8, 8)
    assert batch["frame_valid"].tolist() == [[True, True, False, False], [True] * 4]
    assert batch["has_mask"].tolist() == [[True, True, False, False], [True] * 4]
    assert not batch["audio"][0, 2:].any() and batch["uid"] == ["clip0", "clip2"]
    mixed = collate([Clips(2, 1, ((8, 8), (4, 6)))[0], Clips(2, 1, ((8, 8), (4, 6)))[1]])
    assert [tuple(masks.shape) for masks in mixed["masks"]] == [(2, 8, 8), (2, 4, 6)]


def test_collate_refuses_images_beside_prefixes():
    with_images = dict(Clips(1, 1)[0])
    with_images["images"] = with_images.pop("prefix")
    with pytest.raises(ValueError, match="either a prefix or images"):
        collate([Clips(1, 1)[0], with_images])


def test_predictions_have_the_size_of_the_masks_and_leave_the_model_in_its_mode():
    model = TinySegmenter().train()
    clips = Clips(3, 1, ((8, 8), (8, 8), (5, 7)))
    batched = predict_masks(model, collate([clips[0], clips[2]]))
    assert model.training and [tuple(logits.shape) for logits in batched] == [(2, 8, 8), (4, 5, 7)]
    alone = predict_masks(model, collate([clips[0]]))[0]
    torch.testing.assert_close(batched[0], alone)


# ---- errors


def test_a_model_that_trains_nothing_and_an_empty_set_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no parameters that train"):
        fit(TinySegmenter().requires_grad_(False), Clips(2, 1), None, CONFIG, tmp_path)
    with pytest.raises(ValueError, match="train_set is empty"):
        fit(TinySegmenter(), Clips(0, 1), None, CONFIG, tmp_path)


def test_a_loss_that_is_not_finite_names_step_and_remedy(tmp_path):
    clips = Clips(4, 1)
    clips.items[2]["audio"][0, 0] = math.nan
    with pytest.raises(FloatingPointError, match=r"step \d .*the loss is nan.*Lower lr.*audio embeddings"):
        fit(TinySegmenter(), clips, None, CONFIG, tmp_path, progress=False)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"steps": 0}, {"lr": 0.0}, {"lr": math.nan}, {"schedule": "linear"}, {"margin": -1.0},
              {"clip_norm": 0.0}, {"precision": "int8"}, {"batch_size": 0}, {"val_every": 0}, {"accumulate": 0},
              {"accumulate": 9}]
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
        FitConfig(**wrong)


# ---- several processes


# Each of two processes computes its 4 clips in two parts; 3 clips have to fill two batches of 2; and GAVS itself.
DISTRIBUTED = """
import sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_train as t
torch.set_num_threads(1)
folder = Path(sys.argv[1])
model = t.LookingSegmenter(0, noise=False)
t.fit(model, t.Clips(16, 1, labelled=0.5), t.Clips(5, 2), t.ON_TWO, folder / "two", progress=False)
model = t.LookingSegmenter(0, noise=False)
t.fit(model, t.Clips(3, 1), None, t.FEW, folder / "few", progress=False)
config = t.FitConfig(steps=2, batch_size=2, accumulate=2, checkpointing=True)
t.fit(*t.mini_gavs(noise="parameter"), None, config, folder / "gavs", progress=False)
"""
ON_TWO = dataclasses.replace(WHOLE, batch_size=4, accumulate=2, clip_norm=0.5, save_every=1, exclude_same_class=True)
FEW = dataclasses.replace(ON_TWO, batch_size=2, exclude_same_class=False)


def assert_trained_alike(one, other, atol=1e-5):
    """Losses and weights to 1e-5, metrics to the last digit."""
    rows = [json.loads(line) for line in (other / "log.jsonl").read_text().splitlines()]
    for row, expected in zip(rows, one.history, strict=True):
        assert (row["step"], row["miou"]) == (expected["step"], expected["miou"])
        for name in ("loss", "segmentation", "semantic"):
            assert math.isclose(row[name], expected[name], rel_tol=1e-5), name
    found, expected = (load_tensors(each / "last.safetensors")[0] for each in (other, one.output_dir))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=atol)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    script = folder / "script.py"
    script.write_text(DISTRIBUTED)
    here = str(Path(__file__).parent)
    library = str(Path(gavs_lib.__file__).parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": library}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    subprocess.run([*command, str(folder), here], check=True, env=environment, timeout=100)
    return folder


def test_two_processes_train_as_one_with_batches_twice_the_size(two_processes, tmp_path):
    model = LookingSegmenter(0, noise=False)
    config = dataclasses.replace(ON_TWO, batch_size=8, accumulate=1)
    one = fit(model, Clips(16, 1, labelled=0.5), Clips(5, 2), config, tmp_path, progress=False)
    assert len({row["miou"] for row in one.history}) == 2 and one.history[0]["semantic"] > 0.1
    assert_trained_alike(one, two_processes / "two")


def test_a_clip_that_fills_the_last_batch_of_two_processes_is_no_negative_of_itself(two_processes, tmp_path):
    clips = Clips(3, 1)
    order = [index for batch in train._Batches(3, 2, WHOLE.seed, processes=2) for index in batch]
    assert len(order) == 4 and set(order) == {0, 1, 2}
    clips.items = [{**clips[index], "label": clips[index]["uid"]} for index in order]
    config = dataclasses.replace(ON_TWO, batch_size=4, accumulate=1, exclude_same_class=True)
    one = fit(LookingSegmenter(0, noise=False), clips, None, config, tmp_path, progress=False)
    assert_trained_alike(one, two_processes / "few")


def test_gavs_trains_on_two_processes_in_parts_and_recomputing_as_on_one(two_processes, tmp_path):
    model, items = mini_gavs(noise="parameter")
    one = fit(model, items, None, FitConfig(steps=2, batch_size=4), tmp_path, progress=False)
    # AdamW turns the rounding of a tiny gradient into a part of a whole step, which is 1e-3 here.
    assert_trained_alike(one, two_processes / "gavs", atol=1e-4)


def test_processes_take_full_batches_and_a_resumed_epoch_ends_with_the_same_ones():
    batches = train._Batches(7, 2, seed=5, processes=3)  # 7 clips make 4 batches of 2; two steps of 3 take 6
    batches.start(epoch=1, first=0, end=6)
    whole = list(batches)
    assert [len(batch) for batch in whole] == [2] * 6
    flat = [index for batch in whole for index in batch]
    assert sorted(flat[:7]) == list(range(7)) and flat[7:] == flat[:5]
    batches.start(epoch=1, first=3, end=6)
    assert list(batches) == whole[3:]
