"""Pictures and sounds, matched by class, as an AVSBench-semantic folder: what is written, and what is refused."""

import hashlib
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from gavs_lib.data import AVSBench, LabelledPicture, LabelledSound, compose_clips, compose_folders, find_pictures
from gavs_lib.data import compose as room
from gavs_lib.data.check import check_folder
from gavs_lib.data.compose import main
from gavs_lib.data.material import class_name

WIDTH, HEIGHT, RATE = 40, 30, 8000
COLOURS = {"dog": (200, 40, 40), "cat": (40, 200, 40), "fire-truck": (40, 40, 200)}
HERTZ = {"dog": 200, "cat": 800, "fire-truck": 2000}


def picture(label: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """A coloured 10 x 8 box on grey; `number` moves it."""
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[4 + number : 12 + number, 5 + number : 15 + number] = True
    image[mask] = COLOURS[label]
    return image, mask


def tone(hertz: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def save_picture(path: Path, label: str, number: int, mask: str = "beside") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image, marked = picture(label, number)
    white = Image.fromarray(marked.astype(np.uint8) * 255)
    if mask == "alpha":
        Image.fromarray(np.dstack([image, np.asarray(white)])).save(path.with_suffix(".png"))
        return
    Image.fromarray(image).save(path, quality=95)
    if mask == "beside":
        white.save(path.with_suffix(".png"))
    elif mask == "tree":
        target = path.parents[2] / "masks" / path.parent.name / f"{path.stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        white.save(target)


def save_sound(path: Path, wave: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate)


@pytest.fixture
def mine(tmp_path) -> Path:
    """Three classes; each form of mask, two sound formats, folders that write a name in different ways."""
    for n in range(4):
        save_picture(tmp_path / "pictures" / "Dog" / f"rex {n}.jpg", "dog", n)
        save_picture(tmp_path / "pictures" / "cat" / f"tom{n}.jpg", "cat", n, mask="tree")
        save_picture(tmp_path / "pictures" / "Fire Truck" / f"t{n}.png", "fire-truck", n, mask="alpha")
    for n, seconds in enumerate((8, 1.5, 5, 6)):
        save_sound(tmp_path / "sounds" / "dog" / f"{n}.wav", tone(HERTZ["dog"] + n, seconds))
        save_sound(tmp_path / "sounds" / "Cat" / f"{n}.flac", np.stack([tone(HERTZ["cat"] + n, seconds)] * 2, 1))
        save_sound(
            tmp_path / "sounds" / "fire_truck" / f"{n}.ogg", tone(HERTZ["fire-truck"] + n, seconds, 44100), 44100
        )
    return tmp_path


def made(mine: Path, name: str = "out", **options):
    return compose_folders(mine / "pictures", mine / "sounds", mine / name, progress=False, **options)


def files_of(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def clips_of(root: Path, subset: str = "v1s") -> list:
    return [clip for split in ("train", "val", "test") for clip in AVSBench(root, subset, split)]


# ------------------------------------------------------------------------------------------------ what is made


def test_the_reader_reads_and_the_check_accepts_what_is_composed(mine):
    composed = made(mine)
    assert composed.subset == "v1s" and composed.remarks == []
    # 4 pictures a class: one each to train, test and val, the fourth to train, which has the largest share.
    assert composed.counts.to_dict("index") == {c: {"train": 2, "val": 1, "test": 1} for c in sorted(COLOURS)}
    report = check_folder(composed.root)
    assert report.problems == [] and report.remarks == []
    assert report.counts["whole"].sum() == 12
    clips = clips_of(composed.root)
    assert {clip.a_obj for clip in clips} == set(COLOURS)
    for clip in clips:
        assert clip.frames.shape == (5, HEIGHT, WIDTH, 3) and (clip.frames == clip.frames[0]).all()
        assert clip.masks[0].sum() == 80 and (clip.masks[clip.has_mask] == clip.masks[0]).all()
        assert np.abs(np.median(clip.frames[0][clip.masks[0]], 0) - COLOURS[clip.a_obj]).max() < 30
        assert clip.sample_rate == 16000 and len(clip.waveform) == 80000
    train = AVSBench(composed.root, "v1s", "train")[0]
    assert train.has_mask.tolist() == [True, False, False, False, False]
    assert [path.name for path in (train.path / "labels_semantic").iterdir()] == ["0.png"]


def test_picture_and_sound_of_a_clip_are_of_one_class(mine):
    for clip in clips_of(made(mine).root):
        spectrum = np.abs(np.fft.rfft(clip.waveform))
        assert abs(np.argmax(spectrum) * 16000 / len(clip.waveform) - HERTZ[clip.a_obj]) < 5


def test_no_picture_and_no_sound_is_in_two_splits(mine):
    made(mine, clips_per_class=20, distractors=1)
    table = pd.read_csv(mine / "out" / "sources.csv", keep_default_na=False)
    table["split"] = table["uid"].str.split("-").str[-2]
    for column in ("picture", "sound"):
        assert (table.groupby(column)["split"].nunique() == 1).all()
    shown = pd.concat([table[["picture", "split"]], table[["silent", "split"]].rename(columns={"silent": "picture"})])
    assert (shown[shown["picture"] != ""].groupby("picture")["split"].nunique() == 1).all()
    assert table["picture"].nunique() == 12 and table["sound"].nunique() == 12, "every file is used"


def test_a_copy_of_a_picture_under_another_name_stays_in_its_split(mine):
    for n in range(3):
        for suffix in (".jpg", ".png"):
            original = mine / "pictures" / "Dog" / f"rex {n}{suffix}"
            (mine / "pictures" / "Dog" / f"copy {n}{suffix}").write_bytes(original.read_bytes())
    made(mine)
    table = pd.read_csv(mine / "out" / "sources.csv")
    split = dict(zip(table["picture"], table["uid"].str.split("-").str[-2]))
    assert all(split[f"Dog/rex {n}.jpg"] == split[f"Dog/copy {n}.jpg"] for n in range(3))


def test_a_picture_that_shows_the_sounding_class_unmarked_is_never_its_ground(tmp_path):
    pictures = [
        LabelledPicture(label, f"{label} {n}", partial(picture, label, n), also=frozenset(also))
        for n in range(4)
        for label, also in (("dog", ["Fire Truck"]), ("cat", []), ("fire-truck", []))
    ]
    sounds = [
        LabelledSound(label, f"{label} {n}", lambda h=hertz + n: (tone(h, 5), RATE))
        for label, hertz in HERTZ.items()
        for n in range(4)
    ]
    compose_clips(pictures, sounds, tmp_path / "out", clips_per_class=15, distractors=1, progress=False)
    table = pd.read_csv(tmp_path / "out" / "sources.csv")
    beside = set(zip(table["picture"].str.split().str[0], table["silent"].str.split().str[0]))
    # The other way round a dog may sound beside a fire truck.
    assert beside == {
        ("dog", "cat"),
        ("dog", "fire-truck"),
        ("cat", "dog"),
        ("cat", "fire-truck"),
        ("fire-truck", "cat"),
    }


def test_one_seed_gives_the_same_bytes_and_another_gives_others(mine):
    first = files_of(made(mine, "a", seed=np.int64(3), distractors=1).root)
    assert files_of(made(mine, "b", seed=3, distractors=1).root) == first
    assert files_of(made(mine, "c", seed=4, distractors=1).root) != first


def test_a_second_call_leaves_the_folder_as_it_is_and_other_settings_are_refused(mine):
    made(mine)
    before = {path: path.stat().st_mtime_ns for path in (mine / "out").rglob("*")}
    made(mine)
    assert {path: path.stat().st_mtime_ns for path in (mine / "out").rglob("*")} == before
    with pytest.raises(ValueError, match="composed with another seed. Choose another folder"):
        made(mine, seed=1)
    save_picture(mine / "pictures" / "Dog" / "new.jpg", "dog", 5)
    with pytest.raises(ValueError, match="composed with another material"):
        made(mine)


def test_clips_per_class_and_ten_seconds_and_shares(mine):
    composed = made(mine, seconds=10, clips_per_class=10, splits={"train": 3, "test": 1})
    # Cumulative shares of 10: 0, 7.5 -> 8, 10.
    assert composed.counts.to_dict("index") == {c: {"train": 8, "test": 2} for c in sorted(COLOURS)}
    clip = AVSBench(composed.root, "v2", "train")[0]
    assert clip.seconds == 10 and clip.has_mask.all() and len(clip.waveform) == 160000
    assert check_folder(composed.root).problems == []


def test_a_long_recording_is_cut_and_a_short_one_repeated():
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 0.9, 20 * 16000, dtype=np.float32)
    cut, start = room._stretch(ramp, 16000, 5, rng)
    assert len(cut) == 80000 and np.array_equal(cut, ramp[round(start * 16000) :][:80000])
    short = np.cos(2 * np.pi * 441 * np.arange(8000) / 16000).astype(np.float32) * 0.3  # from 0.3 to -0.3
    repeated, start = room._stretch(short, 16000, 5, rng)
    assert np.array_equal(repeated[:8000], repeated[8000:16000])  # again every 0.5 s
    same = np.abs(repeated[:8000] - np.roll(short, -round(start * 16000))) < 1e-6
    assert same.sum() >= 8000 - 320  # but for the 10 ms at both ends that are faded
    assert np.abs(np.diff(repeated)).max() < 0.06  # no click where the ends meet: 0.3 * 2 pi * 440 / 16000 = 0.052


def test_a_stretch_of_a_pause_is_never_taken():
    wave = np.zeros(60 * 8000, np.float32)
    wave[40 * 8000 : 41 * 8000] = tone(440, 1)
    for seed in range(20):
        cut, start = room._stretch(wave, 8000, 5, np.random.default_rng(seed))
        assert np.abs(cut).max() > 0.2 and 35 <= start <= 41


def test_large_pictures_are_made_smaller_and_phone_photographs_turned_upright(mine):
    image = Image.fromarray(picture("dog", 0)[0].repeat(30, 0).repeat(30, 1))  # 1200 x 900, lying
    turned = image.getexif()
    turned[0x0112] = 6  # to be shown a quarter turn clockwise
    image.save(mine / "pictures" / "Dog" / "phone.jpg", exif=turned)
    upright = np.rot90(picture("dog", 0)[1], -1).repeat(30, 0).repeat(30, 1)
    Image.fromarray(upright.astype(np.uint8) * 255).save(mine / "pictures" / "Dog" / "phone.png")
    seen = {item.name: item for item in find_pictures(mine / "pictures")}["Dog/phone.jpg"]
    frame, mask = room._read_picture(seen, 400)
    assert frame.shape == (400, 300, 3)
    assert np.abs(frame[mask].mean(0) - COLOURS["dog"]).max() < 15
    assert mask.mean() == pytest.approx(80 / 1200, rel=0.05)


def mask_read(folder: Path, mask: Image.Image, name: str = "masks/dog/rex.png") -> np.ndarray:
    save_picture(folder / "pictures" / "dog" / "rex.jpg", "dog", 1, mask="none")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    mask.save(folder / name)
    (found,) = find_pictures(folder / "pictures")
    return found.load()[1]


def test_any_colour_but_black_marks_and_a_cut_out_marks_what_is_not_transparent(tmp_path):
    image, marked = picture("dog", 1)
    darkest_blue = Image.fromarray(np.where(marked[..., None], (0, 0, 1), 0).astype(np.uint8))
    assert np.array_equal(mask_read(tmp_path / "a", darkest_blue), marked)
    assert np.array_equal(mask_read(tmp_path / "b", Image.fromarray(marked), "masks/dog/rex.PNG"), marked)
    assert np.array_equal(mask_read(tmp_path / "c", Image.fromarray(marked.astype(np.uint16) * 40000)), marked)
    image[8, 8] = 0  # a black spot on the dog, and grey, invisible, around it
    cut_out = np.dstack([image, marked.astype(np.uint8) * 255])
    assert np.array_equal(mask_read(tmp_path / "d", Image.fromarray(cut_out), "pictures/dog/rex.png"), marked)
    opaque = np.dstack([marked.astype(np.uint8) * 255] * 3 + [np.full_like(marked, 255, np.uint8)])
    assert np.array_equal(mask_read(tmp_path / "e", Image.fromarray(opaque)), marked)


# ------------------------------------------------------------------------------------------------ distractors


def test_distractors_are_of_other_classes_and_the_truth_marks_the_sounding_object_alone(mine):
    composed = made(mine, clips_per_class=12, distractors=2)
    table = pd.read_csv(composed.root / "sources.csv", keep_default_na=False).set_index("uid")
    moved = 0
    for clip in clips_of(composed.root):
        silent = [class_name(name.split("/")[0]) for name in table.loc[clip.uid, "silent"].split("|") if name]
        assert clip.a_obj not in silent and len(set(silent)) == len(silent)
        mask, frame = clip.masks[0], clip.frames[0].astype(int)
        assert mask.sum() >= 0.7 * 0.4 * 80  # at most 30 % covered, and smaller only where there is no room
        assert np.abs(np.median(frame[mask], 0) - COLOURS[clip.a_obj]).max() < 25
        for other in silent:
            seen = np.abs(frame - COLOURS[other]).max(-1) < 40
            assert seen.sum() > 20, "the silent object is there"
            assert not (seen & mask).any(), "and not marked"
        number = int(table.loc[clip.uid, "picture"].split(".")[0][-1])
        moved += not (mask & ~picture(clip.a_obj, number)[1]).sum() == 0
    # The sounding object stands in its own picture in a third of the clips: else "not pasted" would tell it.
    assert 12 <= moved <= 34, moved
    assert check_folder(composed.root).problems == []


def test_where_there_is_no_room_a_distractor_is_left_out_and_counted(mine):
    image, mask = np.full((HEIGHT, WIDTH, 3), 200, np.uint8), np.ones((HEIGHT, WIDTH), bool)
    mask[0, 0] = False
    full = [LabelledPicture(c, f"{c}{n}", lambda n=n: (image - n, mask)) for c in ("a", "b") for n in range(3)]
    heard = [LabelledSound(c, f"{c}{n}", lambda n=n: (tone(200 + n, 5), RATE)) for c in ("a", "b") for n in range(3)]
    composed = compose_clips(full, heard, mine / "out", distractors=3, progress=False)
    assert composed.remarks == [
        "6 of 6 clips have fewer than 3 distractors: there was no room, or no further class in their split."
    ]


def test_two_objects_of_one_photograph_never_meet_in_a_scene(tmp_path):
    # Another class's share of a photograph, as base, would show the sounding object once more, unmarked.
    classes = ("dog", "cat", "fire-truck")
    shown = [
        LabelledPicture(c, f"{c}{n}", lambda c=c, n=n: picture(c, n), f"photo {n}") for c in classes for n in (0, 1)
    ]
    shown += [LabelledPicture("dog", "dog2", lambda: picture("dog", 2))]
    heard = [
        LabelledSound(c, f"{c}{n}", lambda c=c, n=n: (tone(HERTZ[c] + n, 5), RATE)) for c in classes for n in (0, 1)
    ]
    options = {"splits": {"train": 1}, "clips_per_class": 20, "distractors": 1, "progress": False}
    table = pd.read_csv(compose_clips(shown, heard, tmp_path / "out", **options).root / "sources.csv")
    assert len(table) == 60 and table["silent"].notna().all()
    assert (table["picture"].str[-1] != table["silent"].str[-1]).all()


def test_distractors_need_a_second_class(mine):
    one = [LabelledPicture("a", str(n), lambda n=n: picture("dog", n)) for n in range(3)]
    heard = [LabelledSound("a", str(n), lambda n=n: (tone(200 + n, 5), RATE)) for n in range(3)]
    with pytest.raises(ValueError, match="only 'a'"):
        compose_clips(one, heard, mine / "out", distractors=1, progress=False)


# ------------------------------------------------------------------------------------------------ in memory


def test_material_in_memory_needs_no_folder_and_a_source_stays_in_one_split(tmp_path):
    # Two objects from each of four photographs, one a class.
    shown = [
        LabelledPicture(c, f"{c}{n}", lambda c=c, n=n: picture(c, n), f"photo {n}")
        for c in ("dog", "cat")
        for n in range(4)
    ]
    heard = [
        LabelledSound(c, f"{c}{n}", lambda c=c, n=n: (tone(HERTZ[c] + n, 5), RATE))
        for c in ("dog", "cat")
        for n in range(4)
    ]
    compose_clips(reversed(shown), iter(heard), tmp_path / "out", progress=False)
    table = pd.read_csv(tmp_path / "out" / "sources.csv")
    table["split"] = table["uid"].str.split("-").str[-2]
    assert (table.groupby(table["picture"].str[3:])["split"].nunique() == 1).all() and len(table) == 8
    compose_clips(shown, heard, tmp_path / "again", progress=False)
    assert files_of(tmp_path / "again") == files_of(tmp_path / "out"), "the order in which they are given is no matter"


@pytest.mark.parametrize(
    ("label", "name"), [("Fire_Truck", "fire-truck"), ("  dog -- 2 ", "dog-2"), ("Ｖögel, laut", "vögel-laut")]
)
def test_class_names_are_written_as_avsbench_writes_them(label, name):
    assert class_name(label) == name


@pytest.mark.parametrize(
    "label", ["../dog", "..", "a/b", "a\\b", "C:x", ".hidden", "___", "", "Background", "off the screen"]
)
def test_class_names_that_lead_elsewhere_or_mean_something_else_are_refused(tmp_path, label):
    with pytest.raises(ValueError, match="class "):
        compose_clips([LabelledPicture(label, "x", lambda: picture("dog", 0))], [], tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_two_items_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="two pictures are called 'x'"):
        compose_clips([LabelledPicture("dog", "x", lambda: picture("dog", 0))] * 2, [], tmp_path / "o", progress=False)


# ------------------------------------------------------------------------------------------------ bad days


def test_classes_without_a_partner_are_named(mine):
    save_picture(mine / "pictures" / "horses" / "h.jpg", "dog", 1)
    save_sound(mine / "sounds" / "horse" / "h.wav", tone(300, 5))
    save_sound(mine / "sounds" / "rain" / "r.wav", tone(300, 5))
    assert made(mine).remarks == [
        "classes with pictures only, not used: horses.",
        "classes with sounds only, not used: horse, rain.",
        "these look alike, but count as different classes: horses (pictures) and horse (sounds).",
    ]


def test_pictures_without_any_matching_sound_are_an_error_that_lists_both(tmp_path):
    save_picture(tmp_path / "pictures" / "dogs" / "rex.jpg", "dog", 0)
    save_sound(tmp_path / "sounds" / "dog" / "bark.wav", tone(300, 5))
    with pytest.raises(ValueError) as caught:
        made(tmp_path)
    told = str(caught.value)
    assert "No class has both pictures and sounds" in told
    assert "with pictures: dogs" in told and "with sounds: dog" in told and "alike: dogs (pictures) and dog" in told
    assert not (tmp_path / "out").exists()


def test_files_that_are_not_used_are_counted(mine):
    (mine / "sounds" / "dog" / "phone.m4a").write_text("sound of another kind")
    (mine / "sounds" / "readme.txt").write_text("mine")
    save_picture(mine / "pictures" / "Dog" / "more" / "deep.jpg", "dog", 6)
    (mine / "pictures" / "Dog" / ".DS_Store").write_text("hidden")
    told = made(mine).remarks
    assert len(told) == 2
    assert "pictures: 2 files not used, such as Dog/more/deep.jpg" in told[0]
    assert "sounds: 2 files not used, such as dog/phone.m4a" in told[1]


def test_a_class_with_few_files_is_in_fewer_splits_and_that_is_said(mine):
    save_picture(mine / "pictures" / "owl" / "o.jpg", "dog", 6)
    save_picture(mine / "pictures" / "owl" / "p.jpg", "dog", 7)
    for n in range(3):
        save_sound(mine / "sounds" / "owl" / f"{n}.wav", tone(300 + n, 5))
    composed = made(mine)
    assert composed.counts.loc["owl"].to_dict() == {"train": 1, "val": 0, "test": 1}
    assert composed.remarks == ["owl has no clip in val: 2 pictures and 3 sounds, and no file serves two splits."]
    assert made(mine, "few", clips_per_class=1).remarks == [
        *(f"{name} has no clip in val and test: clips_per_class is too small." for name in sorted(COLOURS)),
        "owl has no clip in val and test: 2 pictures and 3 sounds, and no file serves two splits.",
    ]


DAMAGE = [
    (
        "pictures/Dog/rex 1.png",
        lambda p: Image.new("L", (9, 9), 255).save(p),
        "mask is 9x9, its picture rex 1.jpg is 40x30",
    ),
    ("pictures/Dog/rex 1.png", lambda p: Image.new("L", (WIDTH, HEIGHT), 0).save(p), "mask marks no pixel"),
    ("pictures/Dog/rex 1.png", lambda p: Image.new("L", (WIDTH, HEIGHT), 255).save(p), "mask marks every pixel"),
    ("pictures/Dog/rex 1.png", lambda p: p.unlink(), "has no mask; expected rex 1.png beside it, or "),
    ("pictures/Dog/rex 1.png", lambda p: p.write_text("no mask"), "the mask cannot be read"),
    ("pictures/Fire Truck/t1.png", lambda p: Image.new("RGBA", (9, 9), "red").save(p), "t1.png: has no mask; expected"),
    (
        "pictures/Dog/rex 1.png",  # a second picture of 16-bit grey, and the first has lost its mask
        lambda p: (Image.new("I;16", (9, 9), 999).save(p), p.with_suffix(".jpg").unlink()),
        "rex 1.png: picture has more than 8 bits a pixel in one channel",
    ),
    ("pictures/Dog/rex 1.jpg", lambda p: p.write_bytes(p.read_bytes()[:400]), "the picture cannot be read"),
    ("sounds/dog/1.wav", lambda p: p.write_bytes(p.read_bytes()[:4000]), "cut short"),
    ("sounds/dog/1.wav", lambda p: p.write_text("no sound"), "not a readable sound"),
    ("sounds/dog/1.wav", lambda p: save_sound(p, np.zeros(40000)), "silent from end to end"),
    ("sounds/dog/1.wav", lambda p: save_sound(p, tone(300, 0.1)), "lasts 0.10 s; expected at least 0.25 s"),
]


@pytest.mark.parametrize(("name", "damage", "says"), DAMAGE)
def test_what_cannot_be_used_is_named_and_nothing_is_written(mine, name, damage, says):
    damage(mine / name)
    before = files_of(mine)
    with pytest.raises(ValueError) as caught:
        made(mine)
    assert says in str(caught.value) and Path(name).stem in str(caught.value)
    assert "1 file cannot be used; nothing was written" in str(caught.value)
    assert files_of(mine) == before and not list(mine.glob(".out*"))
    composed = made(mine, skip_broken=True)
    assert len(composed.remarks) == 1 and says in composed.remarks[0] and composed.remarks[0].startswith("left out: ")
    assert check_folder(composed.root).problems == []


def test_all_broken_files_are_told_at_once(mine):
    for n in range(4):
        (mine / "sounds" / "dog" / f"{n}.wav").write_text("no sound")
    with pytest.raises(ValueError, match="4 files cannot be used"):
        made(mine)
    composed = made(mine, skip_broken=True)
    assert list(composed.counts.index) == ["cat", "fire-truck"]
    assert "classes with pictures only, not used: dog." in composed.remarks


def test_folders_and_files_that_could_be_confused_are_refused(mine):
    (mine / "pictures" / "fire-truck").mkdir()
    with pytest.raises(ValueError, match="'Fire Truck' and 'fire-truck' are one class"):
        made(mine)
    (mine / "pictures" / "fire-truck").rmdir()
    save_picture(mine / "pictures" / "Dog" / "rex 1.jpeg", "dog", 1, mask="none")
    with pytest.raises(ValueError, match="Dog: rex 1.jpeg and rex 1.jpg and rex 1.png have the same name; expected"):
        made(mine)
    (mine / "pictures" / "Dog" / "rex 1.jpeg").unlink()
    (mine / "pictures" / "Dog" / "rex 1.jpg").rename(mine / "pictures" / "Dog" / "rex 1.PNG")
    with pytest.raises(ValueError, match="rex 1.PNG and rex 1.png have the same name; expected one picture"):
        made(mine)
    (mine / "pictures" / "Dog" / "rex 1.PNG").unlink()
    with pytest.raises(FileNotFoundError, match="no such folder"):
        compose_folders(mine / "nowhere", mine / "sounds", mine / "out")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        compose_folders(mine / "pictures", mine / "sounds", mine / "out", masks_dir=mine / "nowhere")


def test_a_folder_of_another_origin_is_refused_and_untouched(mine):
    (mine / "out").mkdir()
    (mine / "link").symlink_to(mine / "out")
    made(mine, "link")  # an empty one is fine, and so is a link to it
    assert (mine / "out" / "metadata.csv").is_file()
    (mine / "other").mkdir()
    (mine / "other" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="not empty and was not composed here"):
        made(mine, "other")
    with pytest.raises(ValueError, match="is a file"):
        compose_folders(mine / "pictures", mine / "sounds", mine / "other" / "letter.txt")
    assert files_of(mine / "other").keys() == {"letter.txt"}


def test_a_full_disk_leaves_nothing(mine, monkeypatch):
    written = []

    def failing(*args):
        if len(written) == 7:
            raise OSError(28, "No space left on device")
        written.append(genuine(*args))
        return written[-1]

    genuine = room._write_clip
    monkeypatch.setattr(room, "_write_clip", failing)
    before = sorted(mine.iterdir())
    with pytest.raises(OSError, match="No space left on device.*nothing was left"):
        made(mine)
    assert sorted(mine.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seconds": 7}, "clips of 5"),
        ({"seconds": 5.0}, "seconds is 5.0; expected a whole number"),
        ({"clips_per_class": 0}, "at least 1"),
        ({"clips_per_class": 2.5}, "whole number"),
        ({"distractors": -1}, "at least 0"),
        ({"longest_side": 3}, "at least 16"),
        ({"seed": -1}, "seed is -1; expected a whole number, at least 0"),
        ({"splits": {"train": float("inf"), "test": 1}}, "shares, 0 or more"),
        ({"splits": {"train": 1, "exam": 1}}, "shares, 0 or more, of train, val, test"),
        ({"splits": {"train": 0.0}}, "shares, 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(mine, options, says):
    with pytest.raises(ValueError, match=says):
        made(mine, **options)


def test_the_command_composes_and_says_what_it_made(mine, capsys):
    words = [str(mine / name) for name in ("pictures", "sounds", "out")]
    done = subprocess.run([sys.executable, "-m", "gavs_lib.data.compose", *words], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "fire-truck" in done.stdout and "12 clips" in done.stdout
    assert (
        main([*words[:2], str(mine / "more"), "--distractors", "1", "--seconds", "10", "--split", "1", "0", "1"]) == 0
    )
    assert "v2" in capsys.readouterr().out and check_folder(mine / "more").problems == []
    assert main([words[1], words[0], str(mine / "third")]) == 1
    assert "No class has both" in capsys.readouterr().out
