"""Hard cases: each clip is what its case says, cases differ in one thing only, and figures are what a hand computes."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from gavs_lib._shipped import shipped_results
from gavs_lib.audio import second_examples
from gavs_lib.gavs import Output
from gavs_lib.lab import hard_cases
from gavs_lib.lab.hard_cases import (
    CLASSES,
    SILENT_CASES,
    SOUNDING_CASES,
    donors,
    hard_scenes,
    measure_hard_cases,
    nearest_voices,
    summarize,
    wrong_sounds,
)
from gavs_lib.lab.shipped import KINDS
from gavs_lib.sam import build_sam
from gavs_lib.vggish import VGGish, load_vggish
from gavs_lib.world.classes import class_split
from gavs_lib.world.folder import fingerprint
from gavs_lib.world.objects import TOYS, Toy, draw_toy
from gavs_lib.world.scenes import mix, render_frames, render_stems, silhouette, sounding_mask
from gavs_lib.world.sounds import synthesize

GROUPS = 12


@pytest.fixture(scope="module")
def nearest():
    return nearest_voices(load_vggish("mini"))


@pytest.fixture(scope="module")
def groups(nearest):
    return {classes: [hard_scenes(i, classes, nearest) for i in range(GROUPS)] for classes in CLASSES}


@pytest.fixture(scope="module")
def every(groups):
    """All groups, of seen and of unseen classes."""
    return groups["seen"] + groups["unseen"]


def source_of(scene):
    (index,) = [i for i, on in enumerate(scene.sounding) if any(on)]
    return index


def moving_of(scene):
    """The toy that the cases change: last in the list stands the third one, which never does."""
    return 1 - source_of(scene)


def put_down(place):
    """The toy's pixels, drawn and pasted by hand."""
    solid = draw_toy(place.toy, np.random.default_rng([place.seed, 0]))[..., 3] >= 128
    here = np.zeros((128, 128), dtype=bool)
    for y, x in np.argwhere(solid):
        here[place.y + y, place.x + x] = True  # no toy leaves the picture, so no index is out of range or negative
    return here


# ------------------------------------------------------------------------------------------------ the scenes


def test_a_silhouette_is_the_drawing_where_it_was_put(every):
    for place in every[0]["plain"].placed:
        assert place.x >= 0 and place.y >= 0 and np.array_equal(silhouette(place), put_down(place))


def test_the_cases_of_a_group_differ_in_one_silent_toy_only_and_sound_the_same(every):
    for group in every:
        assert list(group) == list(SOUNDING_CASES)
        plain, sound = group["plain"], mix(group["plain"])
        for scene in group.values():
            assert len(scene.placed) == 3 and len(set(scene.toys)) == 3 and scene.seconds == 2
            assert scene.placed[source_of(scene)] == plain.placed[source_of(plain)]
            assert source_of(scene) == source_of(plain) and scene.placed[2] == plain.placed[2]
            assert scene.placed[moving_of(scene)].seed == plain.placed[moving_of(plain)].seed
            assert np.array_equal(mix(scene), sound)


def test_the_silent_toy_is_of_the_class_that_the_case_names(every, nearest):
    def factors_apart(a, b):
        return [name for name in ("family", "size", "material") if getattr(a, name) != getattr(b, name)]

    for group in every:
        toys = {case: (s.toys[source_of(s)], s.toys[moving_of(s)], s.toys[2]) for case, s in group.items()}
        assert len({toy.family for toy in toys["plain"]}) == 3
        assert toys["overlap"] == toys["plain"]
        source, near, _ = toys["near voices"]
        assert near == nearest[source]
        assert factors_apart(*toys["same family"][:2]) == ["size", "material"]
        assert factors_apart(*toys["one factor"][:2]) in (["size"], ["material"])
        for source, _, third in toys.values():
            assert third.family != source.family


def test_only_in_overlap_does_a_toy_cover_another_and_no_toy_is_cut(every):
    for group in every:
        for case, scene in group.items():
            visible = render_frames(scene).masks.sum((2, 3))  # [toys, seconds], with camera and tremor
            whole = np.array([[put_down(place).sum()] for place in scene.placed])
            covered = (visible < whole).any(1)
            assert covered.tolist() == ([True, False, False] if case == "overlap" else [False] * 3), case


def test_in_overlap_15_to_30_percent_of_the_lower_toy_are_covered(every):
    shares = []
    for group in every:
        lower, upper = (put_down(place) for place in group["overlap"].placed[:2])
        assert 0.15 <= (lower & upper).sum() / lower.sum() <= 0.30
        shares.append(1 - render_frames(group["overlap"]).masks[0].sum((1, 2)).mean() / lower.sum())
    assert 0.08 < min(shares) and max(shares) < 0.38, "a pixel or two of tremor moves a share a little"
    assert {source_of(group["overlap"]) for group in every} == {0, 1}, "the source is covered, or covers"


def test_sources_take_turns_within_their_kind_of_classes(nearest):
    for classes, kind in (("seen", class_split(2).seen), ("unseen", class_split(2).unseen_test)):
        heard = [hard_scenes(i, classes, nearest, rotation=2)["plain"].heard[0] for i in range(len(kind))]
        assert sorted(heard) == sorted(kind)


def test_scenes_depend_on_their_arguments_and_on_nothing_else(nearest):
    first = hard_scenes(3, "seen", nearest)
    hard_scenes(4, "seen", nearest)
    assert hard_scenes(3, "seen", nearest) == first
    others = [
        hard_scenes(4, "seen", nearest),
        hard_scenes(3, "unseen", nearest),
        hard_scenes(3, "seen", nearest, rotation=1),
        hard_scenes(3, "seen", nearest, seed=1),
    ]
    assert len({scenes["plain"] for scenes in [first, *others]}) == 5


def test_unknown_classes_and_rotations_are_refused(nearest):
    with pytest.raises(ValueError, match="classes is 'all'; expected one of seen, unseen"):
        hard_scenes(0, "all", nearest)
    with pytest.raises(ValueError, match="rotations 0 to 3"):
        hard_scenes(0, "seen", nearest, rotation=4)


# ------------------------------------------------------------------------------------------------ the voices


class MeanSpectrum(nn.Module):
    """An ear that hears how strong each mel band is: [N, 1, 96, 64] -> [N, 64]."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, patches):
        return self.gain * patches.mean((1, 2))


def test_the_nearest_voice_is_the_one_of_the_highest_cosine_between_class_means():
    means = []
    for number, toy in enumerate(TOYS):
        waves = [synthesize(toy, 2, np.random.default_rng([4077, number, voice])) for voice in range(2)]
        means.append(np.mean([second_examples(w, 16000, 2).mean((0, 1, 2)).numpy() for w in waves], axis=0))
    found = nearest_voices(MeanSpectrum(), voices=2)
    for i, toy in enumerate(TOYS):
        cosine = {
            TOYS[j]: means[i] @ means[j] / np.linalg.norm(means[i]) / np.linalg.norm(means[j])
            for j in range(len(TOYS))
            if j != i
        }
        assert found[toy] == max(cosine, key=cosine.get)


def test_the_nearest_voices_of_vggish_mini_are_those_that_the_docstring_counts(nearest):
    kin = [(toy.family == near.family, toy.size == near.size) for toy, near in nearest.items()]
    size = sum(family and not size for family, size in kin)
    material = sum(family and size for family, size in kin)
    assert (size, material, 36 - size - material) == (16, 12, 8)
    assert all(t.size == n.size and t.material == n.material for t, n in nearest.items() if t.family != n.family)
    assert nearest[Toy("horn", "small", "metal")] == Toy("horn", "small", "glass")
    assert "16 of the 36" in nearest_voices.__doc__ and "12, and" in nearest_voices.__doc__


def test_wrong_sounds_hold_no_voice_of_the_picture(every):
    dry = [group["plain"] for group in every if not group["plain"].reverberant]
    assert len(dry) > 3
    for scene in dry:
        sounds = wrong_sounds(scene, np.random.default_rng(5))
        assert list(sounds) == [case for case in SILENT_CASES if case != "shuffled"]
        assert all(sound.shape == (32000,) and sound.dtype == np.float32 for sound in sounds.values())
        assert not sounds["silence"].any()
        # What the toy adds to the room noise is its voice, so the room noise held nothing of it; 8 to 25 dB lower.
        room, stem = sounds["room noise"], render_stems(scene)[source_of(scene)]
        heard = mix(scene)
        if np.abs(stem + room).max() < 1:  # louder ones are scaled down
            assert np.allclose(heard - room, stem, atol=1e-6)
        assert 0.1 * 10 ** (-25 / 20) <= room.std() <= 0.1 * 10 ** (-8 / 20)
        white = np.abs(np.fft.rfft(sounds["white noise"])) ** 2
        assert sounds["white noise"].std() == pytest.approx(0.1, rel=0.03)
        assert white[:8000].sum() / white.sum() == pytest.approx(0.5, abs=0.03)
        # Which of all the voices is it that comes from off-screen? None of the picture's.
        left = sounds["off-screen"] - room
        voices = {toy: synthesize(toy, 2, np.random.default_rng([scene.seed, 1])) for toy in TOYS}
        likeness = {toy: np.corrcoef(left, voice)[0, 1] for toy, voice in voices.items()}
        toy = max(likeness, key=likeness.get)
        assert likeness[toy] > 0.99 and toy not in scene.toys


def test_a_shuffled_sound_is_of_no_class_in_the_picture(groups):
    for made in groups.values():
        scenes = [group["plain"] for group in made]
        others = donors(scenes, np.random.default_rng(0))
        for scene, other in zip(scenes, others):
            assert scenes[other].heard[0] not in scene.toys
        assert len(set(others)) > 4
    with pytest.raises(ValueError, match=r"scene 0 of 1.*ask for more clips"):
        donors(scenes[:1], np.random.default_rng(0))


# ----------------------------------------------------------------------------------------------- the figures


class Marker(nn.Module):
    """Marks the whole picture wherever `when(audio [B, T, 128]) -> [B, T]` says so, and nothing elsewhere."""

    caches_prefix = True

    def __init__(self, when):
        super().__init__()
        self.sam = build_sam("mini")
        self.tune_from = 0
        self.when = when

    def encode_prefix(self, images):
        return torch.zeros(*images.shape[:2], 16, 16, 128)

    def forward(self, images, audio, prefix=None):
        logits = (20.0 * self.when(audio) - 10)[..., None, None].expand(-1, -1, 64, 64)
        return Output(logits, None, torch.zeros(audio.shape[:2]))


@pytest.fixture(scope="module")
def ear(nearest):
    """An untrained ear; which voices are near is not asked again for it, as that takes two seconds each time."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hard_cases, "nearest_voices", lambda vggish: nearest)
        yield VGGish.mini().eval()


def everywhere(audio):
    return torch.ones(audio.shape[:2])


def nowhere(audio):
    return torch.zeros(audio.shape[:2])


def by_case(table, figure):
    return table[table["figure"] == figure].groupby("case")["value"].agg(["min", "max", "size"])


@pytest.fixture(scope="module")
def all_marked(ear):
    return measure_hard_cases(Marker(everywhere), ear, count=6)


def test_who_marks_everything_scores_the_toys_share_of_the_picture_and_every_false_pixel(nearest, all_marked):
    scores = all_marked[all_marked["figure"] == "miou"].set_index(["classes", "case", "uid"])["value"]
    assert len(scores) == 2 * 5 * 6
    for classes in CLASSES:
        for case, scene in hard_scenes(4, classes, nearest).items():
            share = sounding_mask(scene, render_frames(scene).masks).mean()  # |G| / |picture|: P | G is all of it
            assert scores[classes, case, f"toy-v1s-hard-{classes}-00004_0_2000"] == pytest.approx(share, abs=1e-5)
    for figure in ("false-positive area", "anything marked", "marked of the source"):
        found = by_case(all_marked, figure).loc[list(SILENT_CASES)]
        assert (found["min"] == 1).all() and (found["max"] == 1).all() and (found["size"] == 12).all()
    assert by_case(all_marked, "marked area").to_dict("index") == {"plain": {"min": 1, "max": 1, "size": 12}}
    assert set(by_case(all_marked, "false-positive area").index) == set(SILENT_CASES)


def test_who_marks_nothing_scores_nothing_and_no_false_pixel(ear, tmp_path):
    table = measure_hard_cases(Marker(nowhere), ear, tmp_path, count=6)
    assert (table["value"] == 0).all() and len(table) == 2 * 6 * (5 + 3 + 5 * 3)
    assert list(tmp_path.iterdir()), "the cache that was named is used"


def test_each_case_is_played_its_own_sound_and_the_deaf_twin_hears_silence_in_all(ear):
    with torch.no_grad():
        silence = ear(second_examples(np.zeros(16000, dtype=np.float32), 16000, 1))[0]

    def when_silent(audio):
        return ((audio - silence).abs().amax(2) < 1e-6).float()

    model = Marker(when_silent)
    first = measure_hard_cases(model, ear, count=6)
    assert by_case(first, "false-positive area")["min"].to_dict() == {c: float(c == "silence") for c in SILENT_CASES}
    assert (first[first["figure"].isin(["miou", "marked area"])]["value"] == 0).all()
    deaf = measure_hard_cases(model, ear, count=6, deaf=True)
    assert (by_case(deaf, "false-positive area")["min"] == 1).all()
    assert (deaf[deaf["figure"] == "miou"]["value"] > 0).all()


def test_the_same_arguments_give_the_same_rows(ear, all_marked):
    pd.testing.assert_frame_equal(measure_hard_cases(Marker(everywhere), ear, count=6), all_marked)


def test_too_few_clips_are_refused(ear):
    with pytest.raises(ValueError, match="count is 0; expected at least 1"):
        measure_hard_cases(Marker(nowhere), ear, count=0)
    with pytest.raises(ValueError, match="no sound can be shuffled to it; ask for more clips"):
        measure_hard_cases(Marker(nowhere), ear, count=1)


def test_a_summary_compares_cases_within_their_groups():
    table = pd.DataFrame(
        [
            ("seen", "plain", "miou", "a", 0.9),
            ("seen", "plain", "miou", "b", 0.5),
            ("seen", "overlap", "miou", "b", 0.4),
            ("seen", "overlap", "miou", "a", 0.8),
            ("seen", "silence", "false-positive area", "a", 0.0),
            ("seen", "silence", "false-positive area", "b", 0.2),
        ],
        columns=["classes", "case", "figure", "uid", "value"],
    )
    found = summarize(table).set_index(["case", "figure"])
    assert found.loc[("overlap", "miou"), "value"] == pytest.approx(0.6)
    less = found.loc[("overlap", "miou less plain")]
    assert [less["value"], less["low"], less["high"]] == pytest.approx([-0.1] * 3)  # 0.1 less in both groups
    area = found.loc[("silence", "false-positive area")]
    assert area["value"] == pytest.approx(0.1) and area["low"] == 0 and area["high"] == 0.2 and area["n"] == 2
    assert len(found) == 4


# ---------------------------------------------------------------------------------------------- the command


def canned(model, vggish, cache, count, rotation, deaf):
    rows = [("seen", case, "miou", uid, 0.5 + 0.1 * deaf) for case in ("plain", "overlap") for uid in "ab"]
    return pd.DataFrame(rows, columns=["classes", "case", "figure", "uid", "value"])


def test_the_command_writes_tidy_rows_and_a_second_run_replaces_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hard_cases, "measure_hard_cases", canned)
    results = tmp_path / "hard_cases.csv"
    for _ in range(2):
        hard_cases.main(["--models", "gavs", "gavs_deaf", "--results", str(results)])
    table = pd.read_csv(results)
    assert list(table.columns) == (
        "model seed rotation classes case figure value low high n world torch command".split()
    )
    assert len(table) == 2 * 3 and set(table["figure"]) == {"miou", "miou less plain"}
    means = table[table["figure"] == "miou"].groupby("model")["value"].mean()
    assert means.to_dict() == pytest.approx({"gavs": 0.5, "gavs_deaf": 0.6})
    assert "overlap" in capsys.readouterr().out


def test_a_variant_of_a_kind_gets_rows_of_its_own_name(tmp_path, monkeypatch):
    monkeypatch.setattr(hard_cases, "measure_hard_cases", canned)
    results = tmp_path / "hard_cases.csv"
    hard_cases.main(["--models", "gavs", "--results", str(results)])
    hard_cases.main(["--models", "gavs", "--name", "no cue", "--results", str(results)])
    table = pd.read_csv(results).set_index("model")
    assert set(table.index) == {"gavs", "no cue"} and "--name 'no cue'" in table.loc["no cue", "command"].iloc[0]


def test_the_command_keeps_the_rows_of_another_rotation(tmp_path, monkeypatch):
    monkeypatch.setattr(hard_cases, "measure_hard_cases", canned)
    results = tmp_path / "hard_cases.csv"
    hard_cases.main(["--models", "gavs", "--results", str(results)])
    table = pd.read_csv(results)
    table.assign(rotation=1).to_csv(results, index=False)
    hard_cases.main(["--models", "gavs", "--results", str(results)])
    assert pd.read_csv(results)["rotation"].value_counts().to_dict() == {0: len(table), 1: len(table)}


def test_the_command_refuses_one_file_for_two_models_and_weights_of_another_world(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        hard_cases.main(["--models", "gavs", "audio_sam", "--weights", "mine.safetensors"])
    assert "--weights is of one model, but --models names 2" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        hard_cases.main(["--name", "mine"])
    assert "--name is of one model" in capsys.readouterr().err
    monkeypatch.setattr(hard_cases, "fingerprint", lambda: "0123")
    with pytest.raises(ValueError, match="gavs was trained in a toy shop of fingerprint .*, this one is 0123"):
        hard_cases.main(["--models", "gavs", "--results", str(tmp_path / "none.csv")])


def test_the_recorded_rows_are_of_this_world_and_hold_every_shipped_model_and_case():
    table = pd.read_csv(shipped_results("hard_cases"))
    assert set(table["world"]) == {fingerprint()}, "the toy shop has changed: python -m gavs_lib.lab.hard_cases, anew"
    rows = table[(table["rotation"] == 0) & (table["seed"] == 0)]
    counted = rows[rows["figure"].isin(["miou", "false-positive area"])].groupby(["model", "classes"])["case"].agg(list)
    assert all(set(cases) == {*SOUNDING_CASES, *SILENT_CASES} and len(cases) == 10 for cases in counted)
    assert set(counted.index) >= {(model, classes) for model in KINDS for classes in CLASSES}
    assert (rows["n"] == 40).all() and (rows["low"] <= rows["value"]).all() and (rows["value"] <= rows["high"]).all()
