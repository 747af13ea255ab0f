"""The main job as one command: a video file in, masks and an overlay video out."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from gavs_lib.baselines import TPAVI, SAMFusion
from gavs_lib.course import predict as room
from gavs_lib.course.__main__ import main as course
from gavs_lib.course.predict import load_predictor, main, predict, segment
from gavs_lib.course.sheets import clip_sheet
from gavs_lib.data import Clip, read_clip
from gavs_lib.data.fetch import Remote
from gavs_lib.gavs import GAVS, GAVSConfig, Output
from gavs_lib.lab.features import extract_features
from gavs_lib.lab.official import OFFICIAL
from gavs_lib.lab.toyshop import scene_clip
from gavs_lib.lab.weights import hash_tensors, load_tensors, save_tensors, save_trained, sha256
from gavs_lib.metrics import mask_iou
from gavs_lib.sam import build_sam
from gavs_lib.vggish import VGGish, load_vggish
from gavs_lib.world.folder import recipe, recipes
from gavs_lib.world.sounds import SAMPLE_RATE

RATE = 10  # frames a second of the films


def film(path: Path, frames: np.ndarray, waveform: np.ndarray | None) -> Path:
    """Encode frames [T, H, W, 3], each shown for a second, as H.264, and 16 kHz sound as AAC."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=Fraction(RATE), options={"crf": "18"})
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
        audio = None if waveform is None else container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for number in range(len(frames) * RATE):
            picture = av.VideoFrame.from_ndarray(frames[number // RATE], format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if audio is not None:
            sound = av.AudioFrame.from_ndarray(waveform[None].astype(np.float32), "fltp", "mono")
            sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(sound))
            container.mux(audio.encode(None))
    return path


def toy_film(path: Path, index: int = 0, sound: bool = True) -> Path:
    clip = scene_clip(recipe("v1s", "test", index, seed=11))
    return film(path, clip.frames, clip.waveform if sound else None)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> dict:
    """Somebody's own models, untrained: SAM-mini and VGGish-mini with random weights, and GAVS on them."""
    folder = tmp_path_factory.mktemp("own")
    torch.manual_seed(0)
    sam, vggish = build_sam("mini"), VGGish.mini()
    files = {"sam_checkpoint": folder / "sam.safetensors", "vggish": folder / "vggish.safetensors"}
    save_tensors(files["sam_checkpoint"], sam.state_dict(), {})
    save_tensors(files["vggish"], vggish.state_dict(), {})
    files["weights"] = folder / "gavs.safetensors"
    save_trained(files["weights"], GAVS(sam, GAVSConfig(adapter_width=8, cola_width=8)), {"world": "0123456789abcdef"})
    return files


def options(own: dict) -> list[str]:
    return [word for name, path in own.items() for word in (f"--{name.replace('_', '-')}", str(path))]


def streams(path: Path) -> dict[str, float]:
    """Seconds of each kind of stream, by decoding it."""
    ends = {}
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.video[0], container.streams.audio[0]):
            if isinstance(frame, av.VideoFrame):
                ends["video"] = frame.time + 1 / RATE
            else:
                ends["audio"] = frame.time + frame.samples / frame.sample_rate
    return ends


def test_a_film_becomes_a_mask_a_second_of_its_own_frame_size_an_overlay_with_sound_and_a_sheet(tmp_path, own, capsys):
    frames = np.random.default_rng(0).integers(0, 255, (11, 60, 90, 3)).astype(np.uint8)
    wave = 0.1 * np.random.default_rng(1).standard_normal(11 * 16000)
    clip = film(tmp_path / "my film.mp4", frames, wave)
    assert main([str(clip), "--out", str(tmp_path / "out"), "--threshold", "0.4", *options(own)]) == 0

    folder = tmp_path / "out" / "my film"
    assert sorted(p.name for p in folder.iterdir()) == ["masks", "my film_overlay.mp4", "my film_sheet.png"]
    assert sorted(p.name for p in (folder / "masks").iterdir()) == sorted(f"{i}.png" for i in range(11))
    for i in range(11):
        mask = np.asarray(Image.open(folder / "masks" / f"{i}.png"))
        assert mask.shape == (60, 90) and set(np.unique(mask)) <= {0, 255}
    lengths = streams(folder / "my film_overlay.mp4")
    assert lengths["video"] == pytest.approx(11, abs=0.01)
    assert lengths["audio"] == pytest.approx(11, abs=0.1)
    printed = capsys.readouterr().out
    for path in ("masks", "my film_overlay.mp4", "my film_sheet.png"):
        assert str(folder / path) in printed
    assert "only the toy shop: 36 toys" in printed and "0123456789abcdef" in printed
    assert "expect no meaningful masks" in printed and " s: reading" in printed


def test_masks_do_not_depend_on_how_many_seconds_go_through_the_model_together(own, monkeypatch):
    model, vggish, _ = load_predictor(**own)
    clip = scene_clip(recipe("v2", "test", 0))
    whole = segment(clip, model, vggish, threshold=0.5)
    monkeypatch.setattr(room, "CHUNK_SECONDS", 3)
    assert (segment(clip, model, vggish, threshold=0.5) == whole).mean() > 0.9999


def test_a_mask_is_where_the_upsampled_probability_exceeds_the_threshold():
    class Constant(torch.nn.Module):
        """Probability 0.7 in the left half of a 4 x 4 map, 0.2 in the right one."""

        def __init__(self):
            super().__init__()
            self.sam = build_sam("mini")

        def forward(self, images, audio):
            assert images.shape == (1, 2, 3, 128, 128) and audio.shape == (1, 2, 128)
            row = torch.logit(torch.tensor([0.7, 0.7, 0.2, 0.2]))
            return Output(row.expand(1, 2, 4, 4), None, torch.zeros(1, 2))

    silence = np.zeros(32000, dtype=np.float32)
    clip = Clip("x", np.zeros((2, 40, 80, 3), np.uint8), None, None, silence, 16000, "", Path("x"))
    masks = segment(clip, Constant(), VGGish.mini(), threshold=0.6)
    assert masks.shape == (2, 40, 80) and masks.dtype == bool
    assert masks[:, :, :30].all() and not masks[:, :, 50:].any()
    assert segment(clip, Constant(), VGGish.mini(), threshold=0.1).all()


def test_only_the_first_seconds_are_read_when_asked(tmp_path, own):
    clip = toy_film(tmp_path / "toys.mp4")
    made = predict(clip, out=tmp_path / "out", seconds=2, progress=False, say=lambda line: None, **own)
    assert made.masks.shape == (2, 128, 128) and len(made.mask_files) == 2
    assert streams(made.overlay)["video"] == pytest.approx(2, abs=0.01)


def test_a_second_run_replaces_the_first_and_leaves_nothing_else(tmp_path, own):
    clip = toy_film(tmp_path / "toys.mp4")
    for seconds in (None, 3):
        made = predict(clip, out=tmp_path / "out", seconds=seconds, progress=False, say=lambda line: None, **own)
    assert sorted(p.name for p in (made.folder / "masks").iterdir()) == ["0.png", "1.png", "2.png"]
    assert len(list(made.folder.iterdir())) == 3 and len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize("kind", [SAMFusion, TPAVI])
def test_the_weights_file_says_which_model_is_built(tmp_path, own, kind):
    model = kind(build_sam("mini", checkpoint=own["sam_checkpoint"]), GAVSConfig(adapter_width=4, cola_width=4))
    save_trained(tmp_path / "own.safetensors", model, {})
    files = own | {"weights": tmp_path / "own.safetensors"}
    loaded, _, notes = load_predictor(**files)
    assert type(loaded) is kind and loaded.config.adapter_width == 4 and not loaded.training
    assert "does not say what it was trained on" in room.known_world(notes)
    assert load_predictor(**files, image_size=256)[0].sam.image_encoder.img_size == 256


def test_a_model_that_mixes_seconds_and_has_no_estimate_of_its_quality_segments_a_film(own):
    clip = scene_clip(recipe("v1s", "test", 0))
    model = TPAVI(build_sam("mini", checkpoint=own["sam_checkpoint"]), GAVSConfig(adapter_width=0))
    assert segment(clip, model, load_vggish(own["vggish"])).shape == (5, 128, 128)


def refused(capsys, *words: object) -> str:
    """The one line that is printed instead of a traceback."""
    assert main([str(word) for word in words]) == 1
    line = capsys.readouterr().err
    assert line.startswith("error: ") and line.count("\n") == 1 and "Traceback" not in line
    return line


def test_what_cannot_be_done_is_said_in_one_line_and_leaves_nothing(tmp_path, own, capsys):
    out = ("--out", tmp_path / "out", *options(own))
    silent = toy_film(tmp_path / "silent.mp4", sound=False)
    assert "the clip has no sound" in refused(capsys, silent, *out)
    assert "no such file" in refused(capsys, tmp_path / "none.mp4", *out)
    text = tmp_path / "text.mp4"
    text.write_text("this is no video")
    assert "not a video file" in refused(capsys, text, *out)
    clip = toy_film(tmp_path / "toys.mp4")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert str(cut) in refused(capsys, cut, *out)
    assert "threshold is 1.5" in refused(capsys, clip, "--threshold", "1.5", *out)
    assert "seconds is 0" in refused(capsys, clip, "--seconds", "0", *out)
    assert not (tmp_path / "out").exists()


def test_a_sound_file_is_refused_because_it_has_no_picture(tmp_path, own, capsys):
    with av.open(str(tmp_path / "sound.m4a"), "w") as container:
        audio = container.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        sound.sample_rate, sound.pts, sound.time_base = 16000, 0, Fraction(1, 16000)
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    assert "has no picture" in refused(capsys, tmp_path / "sound.m4a", *options(own))


def test_a_silent_sound_track_is_segmented_with_a_warning_of_one_line(tmp_path, own, capsys):
    clip = film(tmp_path / "mute.mp4", np.zeros((2, 64, 64, 3), np.uint8), np.zeros(2 * SAMPLE_RATE))
    assert main([str(clip), "--out", str(tmp_path / "out"), *options(own)]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(lines) == 1 and "silent from end to end" in lines[0]


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path, own, capsys, monkeypatch):
    clip = toy_film(tmp_path / "toys.mp4")
    rest = {name: path for name, path in own.items() if name != "weights"}
    out = ("--out", tmp_path / "out", *options(rest))
    assert "no such weights file" in refused(capsys, clip, "--weights", tmp_path / "none.safetensors", *out)
    assert "name no model" in refused(capsys, clip, "--weights", own["vggish"], *out)
    tensors, notes = load_tensors(own["weights"])
    other = tmp_path / "other.safetensors"
    save_tensors(other, tensors, notes | {"kind": "Sam"})
    assert "holds Sam" in refused(capsys, clip, "--weights", other, *out)
    other.write_bytes(own["weights"].read_bytes()[:-1000])
    assert "cut short" in refused(capsys, clip, "--weights", other, *out)

    torch.manual_seed(5)
    save_tensors(tmp_path / "sam.safetensors", build_sam("mini").state_dict(), {})
    elsewhere = options(own | {"sam_checkpoint": tmp_path / "sam.safetensors"})
    assert "other frozen weights" in refused(capsys, clip, *elsewhere)

    monkeypatch.setattr(room, "shipped_weights", lambda name: (_ for _ in ()).throw(FileNotFoundError(name)))
    assert "`make train`" in refused(capsys, clip, *out)
    assert not (tmp_path / "out").exists()


def test_another_foundation_model_needs_its_files(tmp_path, capsys):
    clip = toy_film(tmp_path / "toys.mp4")
    line = refused(capsys, clip, "--sam", "vit_b", "--vggish", "mini")
    assert "--weights" in line and "--sam-checkpoint" in line and "--vggish and" not in line


def test_official_weights_are_fetched_by_name_once_the_models_own_are_read(own, site, tmp_path, monkeypatch):
    monkeypatch.setenv("GAVS_CACHE", str(tmp_path))
    for name, option in {"mini": "sam_checkpoint", "vggish": "vggish"}.items():
        path = own[option]
        site.files[path.name] = path.read_bytes()
        monkeypatch.setitem(OFFICIAL, name, Remote(path.name, (f"{site.address}/{path.name}",), sha256=sha256(path)))
    named = own | {"sam_checkpoint": "official", "vggish": "official"}
    with pytest.raises(FileNotFoundError, match="no such weights file"):
        load_predictor(**named | {"weights": tmp_path / "none.safetensors"})
    assert not site.requests
    models, theirs = load_predictor(**named)[:2], load_predictor(**own)[:2]
    assert len(site.requests) == 2
    assert [hash_tensors(m.state_dict()) for m in models] == [hash_tensors(m.state_dict()) for m in theirs]


def test_the_command_takes_the_word_official(tmp_path, own, capsys, monkeypatch):
    monkeypatch.setenv("GAVS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GAVS_OFFLINE", "1")
    words = ("--weights", own["weights"], "--sam", "vit_b", "--sam-checkpoint", "official", "--vggish", "official")
    assert "sam_vit_b_01ec64.pth: no such file" in refused(capsys, toy_film(tmp_path / "toys.mp4"), *words)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, own, capsys):
    clip = toy_film(tmp_path / "toys.mp4")
    taken = tmp_path / "taken"
    taken.write_text("a file, where the folder should be")
    assert str(taken) in refused(capsys, clip, "--out", taken, *options(own))


def test_no_clip_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as stopped:
        course(["predict"])
    assert stopped.value.code == 2 and "make predict CLIP=" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "height", "width"), [(1, 40, 90), (5, 128, 128), (200, 90, 40)])
def test_a_sheet_shows_at_most_thirty_seconds(seconds, height, width):
    frames = np.zeros((seconds, height, width, 3), dtype=np.uint8)
    sheet = clip_sheet(frames, np.ones((seconds, height, width), dtype=bool))
    assert sheet.mode == "RGB" and sheet.width < 900 and sheet.height < 6 * 400


def test_a_sheet_shows_the_frame_above_and_the_marked_frame_below():
    frames = np.full((1, 160, 160, 3), 100, dtype=np.uint8)
    mask = np.zeros((1, 160, 160), dtype=bool)
    mask[0, 40:120, 40:120] = True
    sheet = np.asarray(clip_sheet(frames, mask)).astype(int)
    above, below = sheet[30 + 80, 80], sheet[190 + 80, 80]
    assert above.tolist() == [100, 100, 100]
    assert below[0] > below[1] > below[2]  # orange


def test_the_shipped_gavs_marks_the_sounding_toy_of_compressed_films(tmp_path):
    scores = []
    for made in recipes("v1s", "test", 8, seed=11):
        truth = scene_clip(made)
        clip = film(tmp_path / f"{made.vid}.mp4", truth.frames, truth.waveform)
        masks = predict(clip, out=tmp_path / "out", progress=False, say=lambda line: None).masks
        logits = torch.from_numpy(masks).float() * 20 - 10
        scores.append(mask_iou(logits, torch.from_numpy(truth.masks)).mean().item())
    assert np.mean(scores) > 0.5, scores


def test_a_film_is_read_back_as_it_was_drawn(tmp_path):
    """The films above are only a fair test if compression leaves pictures and sound recognisable."""
    drawn = scene_clip(recipe("v1s", "test", 0, seed=11))
    seen = read_clip(film(tmp_path / "toys.mp4", drawn.frames, drawn.waveform))
    assert seen.frames.shape == drawn.frames.shape
    assert np.abs(seen.frames.astype(int) - drawn.frames).mean() < 12
    assert len(seen.waveform) == pytest.approx(len(drawn.waveform), abs=2048)
    loudness = [float(np.sqrt(np.mean(wave**2))) for wave in (seen.waveform, drawn.waveform)]
    assert loudness[0] == pytest.approx(loudness[1], rel=0.1)


def test_weights_that_were_trained_with_another_ear_are_refused_and_their_input_size_is_taken(tmp_path, own):
    model = GAVS(build_sam("mini", own["sam_checkpoint"], image_size=64), GAVSConfig(adapter_width=8, cola_width=8))
    clips = [scene_clip(recipe("v1s", "test", 0))]
    features = extract_features(clips, model, load_vggish(own["vggish"]), tmp_path / "cache", progress=False)
    mine = {**own, "weights": tmp_path / "mine.safetensors"}
    save_trained(mine["weights"], model, {"inputs": features.inputs})
    assert load_predictor(**mine)[0].sam.image_encoder.img_size == 64
    assert load_predictor(**mine, image_size=128)[0].sam.image_encoder.img_size == 128
    with pytest.raises(ValueError, match="another VGGish than the shipped"):
        load_predictor(**{**mine, "vggish": None})
    assert load_predictor(**mine)[1].final_relu is False
    save_trained(mine["weights"], model, {"inputs": {**features.inputs, "final_relu": True}})
    assert load_predictor(**mine)[1].final_relu is True  # the ear is given what the file says, not asked of the user
    save_trained(mine["weights"], model, {"inputs": {**features.inputs, "audio_timing": "unknown"}})
    with pytest.warns(UserWarning, match="do not say their audio_timing"):
        assert load_predictor(**mine)[2]["inputs"]["audio_timing"] == "published", "as embeddings from elsewhere are"
