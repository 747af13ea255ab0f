"""COCO x ESC-50: generated archives of the official shape, composed; nothing real is fetched here."""

import dataclasses
import hashlib
import http.server
import io
import json
import shutil
import threading
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from gavs_lib.data import AVSBench
from gavs_lib.data import public as room
from gavs_lib.data.check import check_folder
from gavs_lib.data.public import HELD_OUT, PAIRS, coco_pictures, compose_public, esc50_sounds, main, terms

# pycocotools 2.0.11 under numpy 2: its own affair, and it returns what it should.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

WIDTH, HEIGHT, RATE, SECONDS = 60, 40, 4000, 5
CLASSES = sorted(PAIRS)
CATEGORIES = [category for categories in PAIRS.values() for category in categories]
JSON, CSV = "annotations/instances_val2017.json", "ESC-50-master/meta/esc50.csv"
COCO_80 = """
person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign
parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie
suitcase frisbee skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard
tennis_racket bottle wine_glass cup fork knife spoon bowl banana apple sandwich orange broccoli carrot
hot_dog pizza donut cake chair couch potted_plant bed dining_table toilet tv laptop mouse remote keyboard
cell_phone microwave oven toaster sink refrigerator book clock vase scissors teddy_bear hair_drier
toothbrush
""".split()
ESC_50 = """
dog rooster pig cow frog cat hen insects sheep crow rain sea_waves crackling_fire crickets chirping_birds
water_drops wind pouring_water toilet_flush thunderstorm crying_baby sneezing clapping breathing coughing
footsteps laughing brushing_teeth snoring drinking_sipping door_wood_knock mouse_click keyboard_typing
door_wood_creaks can_opening washing_machine vacuum_cleaner clock_alarm clock_tick glass_breaking helicopter
chainsaw siren car_horn engine train church_bells airplane fireworks hand_saw
""".split()


def colour(label: str) -> tuple[int, ...]:
    return tuple(hashlib.sha256(label.encode()).digest()[:3])


def box(x: float, y: float, width: float, height: float) -> list[float]:
    return [x, y, x + width, y, x + width, y + height, x, y + height]


class Scenes:
    """Photographs and their annotations, as COCO has them."""

    def __init__(self):
        names = [*CLASSES, "pizza"]
        self.found = {
            "images": [],
            "annotations": [],
            "categories": [{"id": i, "name": n} for i, n in enumerate(names)],
        }
        self.photographs: dict[str, bytes] = {}
        self.id_of = {name: i for i, name in enumerate(names)}

    def add(self, *objects: tuple[str, list | dict], mode: str = "RGB") -> str:
        number = len(self.photographs) + 1
        name, buffer = f"{number:012d}.jpg", io.BytesIO()
        picture = np.random.default_rng(number).integers(80, 100, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        for label, outline in objects:
            if isinstance(outline, list):
                x, y, right, bottom = (round(value) for value in (*outline[:2], *outline[4:6]))
                picture[y:bottom, x:right] = colour(label)
            note = {"image_id": number, "category_id": self.id_of[label], "iscrowd": int(not isinstance(outline, list))}
            note["segmentation"] = [outline] if isinstance(outline, list) else outline
            self.found["annotations"].append(note | {"id": len(self.found["annotations"])})
        Image.fromarray(picture).convert(mode).save(buffer, "JPEG", quality=95)
        self.photographs[name] = buffer.getvalue()
        self.found["images"].append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
        return name


CROWD = {"counts": [WIDTH * HEIGHT - 9, 9], "size": [HEIGHT, WIDTH]}


def scenes() -> tuple[Scenes, dict[str, str]]:
    """Four photographs of each class, six of people with birds, and some with a name of their own."""
    made = Scenes()
    for label in CLASSES:
        for n in range(4):
            made.add((label, box(3 + 4 * n, 5 + 3 * n, 20, 15)))
    for n in range(6):
        made.add(("bird", box(3 + n, 5, 10, 15)), ("person", box(40, 5 + n, 12, 20)))
    special = {
        "two": made.add(("dog", box(2, 3, 10, 6)), ("dog", box(8, 5, 10, 6)), ("pizza", box(30, 20, 9, 9))),
        "crowd": made.add(("dog", CROWD), ("person", box(10, 10, 12, 20))),
        "small": made.add(("dog", box(5, 5, 4, 2)), ("person", box(20, 10, 12, 20))),  # 8 of 2400 pixels: 0.33 %
        "large": made.add(("dog", box(2, 2, 50, 30))),  # 1500 of 2400: 62.5 %
        "smallest": made.add(("dog", box(5, 5, 4, 3))),  # 12: 0.5 %
        "largest": made.add(("dog", box(2, 2, 48, 30))),  # 1440: 60 %
        "held out": made.add(("dog", box(5, 5, 10, 10)), ("cat", box(30, 5, 10, 10)), ("person", box(45, 5, 10, 10))),
        "held out crowd": made.add(("dog", box(5, 5, 10, 10)), ("train", CROWD)),
        "grey": made.add(("cow", box(5, 5, 10, 10)), mode="L"),
    }
    return made, special


def wave(category: str, seconds: float = SECONDS) -> np.ndarray:
    tone = 0.3 * np.sin(2 * np.pi * (100 + 80 * CATEGORIES.index(category)) * np.arange(RATE * seconds) / RATE)
    return np.pad(tone, (0, RATE * SECONDS - len(tone))).astype(np.float32)


def as_wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def recordings() -> tuple[list[str], dict[str, bytes]]:
    """Four sources of each category, the last with two takes, and one source that barks and meows."""
    rows, files = ["filename,fold,target,category,esc10,src_file,take"], {}

    def add(category: str, source: int, take: str = "A") -> None:
        name = f"1-{source}-{take}-{len(files)}.wav"
        rows.append(f"{name},1,0,{category},False,{source},{take}")
        files[name] = as_wav(wave(category, 1 if take == "B" else SECONDS))

    for number, category in enumerate(CATEGORIES):
        for n in range(4):
            add(category, 1000 + 10 * number + n)
        add(category, 1000 + 10 * number + 3, "B")
    add("dog", 77)
    add("cat", 77)
    files["rain.wav"] = b"not read"
    rows.append("rain.wav,1,10,rain,True,5,A")
    return rows, files


def write_coco(folder: Path, made: Scenes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "val2017.zip", "w") as archive:
        archive.writestr("val2017/", "")
        for name, data in made.photographs.items():
            archive.writestr(f"val2017/{name}", data)
    with zipfile.ZipFile(folder / "annotations_trainval2017.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations/captions_val2017.json", "{}")
        archive.writestr(JSON, json.dumps(made.found))
    return folder


def write_esc50(path: Path, rows: list[str], files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ESC-50-master/README.md", "## ESC-50")
        archive.writestr(CSV, "\n".join(rows))
        for name, data in files.items():
            archive.writestr(f"ESC-50-master/audio/{name}", data)
    return path


@pytest.fixture(scope="module", autouse=True)
def of_the_size_of_these_tests():
    made, (rows, _) = scenes()[0], recordings()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "_PHOTOGRAPHS", len(made.found["images"]))
        patch.setattr(room, "_INSTANCES", len(made.found["annotations"]))
        patch.setattr(room, "_RECORDINGS", len(rows) - 1)
        patch.setattr(room, "_RATE", RATE)
        patch.setattr(room, "_SAMPLES", RATE * SECONDS)
        yield


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    """A folder with the three archives."""
    folder = write_coco(tmp_path_factory.mktemp("official"), scenes()[0])
    write_esc50(folder / "ESC-50-master.zip", *recordings())
    return folder


@pytest.fixture(scope="module")
def composed(official, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("composed")
    compose_public(out, coco=official, esc50=official / "ESC-50-master.zip", clips_per_class=8, progress=False)
    return out


@pytest.fixture
def unpacked(official, tmp_path) -> Path:
    for archive in official.glob("*.zip"):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(tmp_path)
    return tmp_path


def sources(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "sources.csv", dtype=str, keep_default_na=False)
    table["label"] = table["uid"].str.split("-").str[0]
    table["split"] = table["uid"].str.split("-").str[1]
    return table


def shown(folder: Path) -> set[str]:
    """Names of all photographs, with their class, that stand in a folder's clips."""
    table = sources(folder)
    return set(table["picture"]) | {name for names in table["silent"] for name in names.split("|")} - {""}


# ------------------------------------------------------------------------------------------------ who sounds like what


def test_pairs_name_categories_of_both_sets_and_a_sound_means_one_object():
    assert set(PAIRS) <= set(COCO_80) and len(set(COCO_80)) == 80
    assert set(CATEGORIES) <= set(ESC_50) and len(set(ESC_50)) == 50
    assert max(Counter(CATEGORIES).values()) == 1
    assert len(PAIRS) == 14 and set(HELD_OUT) < set(PAIRS)
    for kind in ({"cat", "dog", "cow"}, {"train", "airplane", "car"}, {"clock", "keyboard", "mouse"}):
        assert len(kind & set(HELD_OUT)) == 1 and kind <= set(PAIRS)


# ------------------------------------------------------------------------------------------------ what COCO marks


def test_a_mask_is_the_union_of_the_objects_of_a_class(official):
    two = scenes()[1]["two"]
    (picture,) = [each for each in coco_pictures(official) if each.source == two]
    image, mask = picture.load()
    # Columns 2-11 of rows 3-8, and columns 8-17 of rows 5-10: 60 + 60 - 4 x 4 in both.
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[3:9, 2:12] = expected[5:11, 8:18] = True
    assert expected.sum() == 104 and (mask == expected).all() and mask.dtype == bool
    assert image.shape == (HEIGHT, WIDTH, 3) and np.abs(image[mask].mean(0) - colour("dog")).max() < 20


def test_outlines_cover_the_pixels_whose_centres_they_enclose():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:50, :50] + 0.5
    for _ in range(20):
        a, b, c = rng.uniform(2, 48, (3, 2))
        mask = room.coco_mask.decode(room._union([[*a, *b, *c]], 50, 50, "here")).astype(bool)
        side = [(q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) for p, q in ((a, b), (b, c), (c, a))]
        inside = np.all([s > 0 for s in side], 0) | np.all([s < 0 for s in side], 0)
        outline = sum(np.hypot(*(q - p)) for p, q in ((a, b), (b, c), (c, a)))
        assert (mask ^ inside).sum() <= 0.1 * outline + 2  # COCO's code rounds the outline to fifths of a pixel


def test_crowds_and_objects_too_small_or_too_large_are_left_out_and_remembered(official):
    special = scenes()[1]
    found = {(each.source, each.label): each for each in coco_pictures(official)}
    for name in ("crowd", "small", "large"):
        assert (special[name], "dog") not in found
    assert (special["smallest"], "dog") in found and (special["largest"], "dog") in found
    assert found[special["crowd"], "person"].also == {"dog"} == found[special["small"], "person"].also
    assert found[special["held out"], "cat"].also == {"dog", "person"}
    assert found[special["two"], "dog"].also == set(), "a pizza makes no sound"
    assert found[special["grey"], "cow"].load()[0].shape == (HEIGHT, WIDTH, 3)
    assert {label for _, label in found} == set(PAIRS)


def test_archives_and_folders_give_the_same(official, unpacked):
    for packed, loose in (
        (coco_pictures(official), coco_pictures(unpacked)),
        (esc50_sounds(official / "ESC-50-master.zip"), esc50_sounds(unpacked / "ESC-50-master")),
    ):
        assert len(packed) > 50 and [(e.label, e.name, e.source) for e in packed] == [
            (e.label, e.name, e.source) for e in loose
        ]
        for one, other in zip(packed[::7], loose[::7]):
            assert all(np.array_equal(a, b) for a, b in zip(one.load(), other.load()))


# ------------------------------------------------------------------------------------------------ what ESC-50 plays


def test_silence_at_the_ends_is_cut_off_and_half_a_second_stays():
    class Dictionary(dict):
        path, read = Path("here"), dict.__getitem__

    def left(samples):
        found, rate = room._recording(Dictionary({"a.wav": as_wav(samples)}), "a.wav")
        assert rate == RATE
        return found

    full, silent = wave("dog"), np.zeros(RATE * SECONDS, np.float32)
    assert len(left(full)) in (len(full) - 1, len(full))  # a sine begins with a zero
    padded = silent.copy()
    padded[6000:9000] = 0.5
    assert np.allclose(left(padded), 0.5, atol=1e-4) and len(left(padded)) == 3000
    for place, expected in ((100, 100), (RATE * SECONDS - 10, RATE // 2 - 10)):
        click = silent.copy()
        click[place] = 0.5
        assert len(left(click)) == RATE // 2
        assert np.flatnonzero(left(click))[0] == (0 if place == 100 else expected)
    assert np.array_equal(left(silent), silent)  # for `compose` to refuse


def test_takes_of_one_source_stay_together(official):
    of = {each.name: each for each in esc50_sounds(official / "ESC-50-master.zip")}
    takes = [each for each in of.values() if each.source == "1003"]
    assert len(takes) == 2 and {each.label for each in takes} == {"bird"}
    assert sum(each.label == "person" for each in of.values()) == 4 * 5
    assert {name.split("/")[0] for name in of} == set(CATEGORIES), "it rains unheard"


# ------------------------------------------------------------------------------------------------ what is composed


def test_the_reader_reads_and_the_check_accepts_both_folders(composed):
    for part, splits in (("seen", ("train", "val", "test")), ("unseen", ("test",))):
        assert check_folder(composed / part).problems == []
        table = pd.read_csv(composed / part / "metadata.csv")
        assert set(table["split"]) == set(splits)
        assert set(table["a_obj"]) == (set(HELD_OUT) if part == "unseen" else set(PAIRS) - set(HELD_OUT))
        for split in splits:
            clip = AVSBench(composed / part, "v1s", split)[0]
            marked = clip.frames[0][clip.masks[0]]
            assert np.abs(np.median(marked, 0) - colour(clip.a_obj)).max() < 30
            peak = np.argmax(np.abs(np.fft.rfft(clip.waveform))) / SECONDS
            near = [abs(peak - 100 - 80 * CATEGORIES.index(category)) for category in PAIRS[clip.a_obj]]
            assert min(near) < 5, f"{clip.a_obj} sounds at {peak} Hz"


def test_no_photograph_and_no_recording_is_in_two_splits_or_in_both_folders(composed, official):
    source_of = {each.name: each.source for each in esc50_sounds(official / "ESC-50-master.zip")}
    rows = []
    for part in ("seen", "unseen"):
        for row in sources(composed / part).itertuples():
            photographs = [row.picture, *filter(None, row.silent.split("|"))]
            rows += [(part, row.split, name.split("/")[1]) for name in photographs]
            rows.append((part, row.split, source_of[row.sound]))
    places = pd.DataFrame(rows, columns=["part", "split", "source"]).drop_duplicates()
    assert len(places) > 60 and places["source"].is_unique


def test_held_out_classes_appear_nowhere_in_seen(composed):
    special = scenes()[1]
    assert not [name for name in shown(composed / "seen") if name.split("/")[0] in HELD_OUT]
    hidden = {special["held out"], special["held out crowd"]}
    assert not hidden & {name.split("/")[1] for name in shown(composed / "seen")}, "not even beside a seen object"
    assert f"cat/{special['held out']}" in shown(composed / "unseen")
    assert {name.split("/")[0] for name in shown(composed / "unseen")} == set(HELD_OUT)
    sounds = pd.concat([sources(composed / part).assign(part=part) for part in ("seen", "unseen")])
    assert set(sounds.loc[sounds["sound"].str.contains("-77-"), "sound"].str.split("/").str[0]) == {"cat"}


def test_every_clip_has_a_silent_object_and_its_ground_shows_no_unmarked_one_of_the_class(composed, official):
    also = {each.name: each.also for each in coco_pictures(official)}
    for part in ("seen", "unseen"):
        for row in sources(composed / part).itertuples():
            assert row.silent, row.uid
            assert row.label not in also[row.silent] and not row.silent.startswith(f"{row.label}/")


def test_the_same_seed_gives_the_same_bytes_and_a_second_call_nothing_new(official, unpacked, tmp_path):
    def files(name, coco, esc50, seed):
        options = {"clips_per_class": 2, "progress": False, "longest_side": 48, "splits": {"train": 1, "test": 1}}
        parts = compose_public(tmp_path / name, coco=coco, esc50=esc50, seed=seed, **options)
        assert [part.root.name for part in parts] == ["seen", "unseen"]
        assert parts[0].counts.shape == (11, 2) and (parts[1].counts["test"] == 2).all()
        every = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        return {str(path.relative_to(tmp_path / name)): hashlib.sha256(path.read_bytes()).digest() for path in every}

    first = files("a", official, official / "ESC-50-master.zip", 3)
    assert files("b", unpacked, unpacked / "ESC-50-master", 3) == first
    assert files("a", official, official / "ESC-50-master.zip", 3) == first
    assert files("c", official, official / "ESC-50-master.zip", 4) != first


# ------------------------------------------------------------------------------------------------ licences, the net


@pytest.fixture
def served(official, tmp_path, monkeypatch):
    """The archives behind a local server, with their own sizes and checksums; the list of what was asked for."""
    folder, asked = tmp_path / "served", []
    shutil.copytree(official, folder)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    for name in ("COCO_PHOTOGRAPHS", "COCO_ANNOTATIONS", "ESC50"):
        remote = getattr(room, name)
        data = (official / remote.name).read_bytes()
        own = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} if remote.size else {}
        urls = (f"http://127.0.0.1:{server.server_port}/{remote.name}",)
        monkeypatch.setattr(room, name, dataclasses.replace(remote, urls=urls, **own))
    monkeypatch.setenv("GAVS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GAVS_MIRROR", raising=False)
    monkeypatch.delenv("GAVS_OFFLINE", raising=False)
    yield folder, asked
    server.shutdown()
    server.server_close()


FEW = ["--clips-per-class", "2"]


def test_nothing_is_fetched_before_the_licences_are_agreed_to(served, tmp_path):
    with pytest.raises(ValueError, match="(?s)CC BY 4.0.*CC BY-NC 3.0.*Together 0.6 GB.*agreed=True"):
        compose_public(tmp_path / "out")
    assert served[1] == [] and not (tmp_path / "out").exists()


def test_what_is_missing_is_fetched_once_and_then_found_without_the_net(served, tmp_path, monkeypatch):
    compose_public(tmp_path / "out", agreed=True, clips_per_class=2, progress=False)
    assert sorted(served[1]) == ["/ESC-50-master.zip", "/annotations_trainval2017.zip", "/val2017.zip"]
    monkeypatch.setenv("GAVS_OFFLINE", "1")
    compose_public(tmp_path / "again", clips_per_class=2, progress=False)
    assert len(served[1]) == 3
    assert (tmp_path / "again" / "seen" / "sources.csv").read_bytes() == (
        tmp_path / "out" / "seen" / "sources.csv"
    ).read_bytes()


def test_the_official_archives_are_named_with_size_licence_and_checksum():
    text = terms()
    for part in ("0.82 GB", "0.25 GB", "0.65 GB or so", "1.7 GB", "Flickr", "CC BY 4.0", "CC BY-NC 3.0"):
        assert part in text
    for remote in (room.COCO_PHOTOGRAPHS, room.COCO_ANNOTATIONS):
        assert len(remote.sha256) == 64 and all(remote.name == url.split("/")[-1] for url in remote.urls)


def test_the_command_asks_on_a_terminal_only(served, tmp_path, monkeypatch, capsys):
    out = str(tmp_path / "out")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main([out]) == 1
    said = capsys.readouterr().out
    assert "CC BY-NC 3.0" in said and "nobody can be asked here. Give --yes" in said

    terminal = io.StringIO("")
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", terminal)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert main([out]) == 1 and "Nothing was fetched." in capsys.readouterr().out and served[1] == []
    monkeypatch.setattr("builtins.input", lambda question: "Y")
    assert main([out, *FEW]) == 0
    said = capsys.readouterr().out
    assert "toothbrush" in said and "unseen: 6 clips of v1s." in said
    assert main([str(tmp_path / "more"), *FEW, "--seed", "1"]) == 0, "nothing is asked when all is there"


def test_the_command_takes_copies_and_says_what_is_wrong(official, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    esc50 = str(official / "ESC-50-master.zip")
    assert main([str(tmp_path / "out"), "--coco", str(official), "--esc50", esc50, "--distractors", "0", *FEW]) == 0
    assert set(sources(tmp_path / "out" / "seen")["silent"]) == {""}
    assert main([str(tmp_path / "out"), "--coco", str(tmp_path), "--esc50", esc50]) == 1
    assert "holds neither val2017 nor val2017.zip" in capsys.readouterr().out


def test_an_archive_that_was_cut_short_on_its_way_is_named(served, tmp_path):
    folder, _ = served
    whole = (folder / "ESC-50-master.zip").read_bytes()
    (folder / "ESC-50-master.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="ESC-50-master.zip: not a whole zip archive .* Delete it, and download it"):
        compose_public(tmp_path / "out", agreed=True, progress=False)
    (folder / "val2017.zip").write_bytes(b"something else")
    (tmp_path / "cache" / "val2017.zip").unlink()
    with pytest.raises(ConnectionError, match="val2017.zip"):
        compose_public(tmp_path / "out", agreed=True, progress=False)
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------ bad files


def spoilt(change) -> Scenes:
    made = scenes()[0]
    change(made.found)
    return made


def set_first(key: str, value, of: str = "annotations"):
    return lambda found: found[of][0].update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.pop("categories"), r"is not COCO's \(KeyError: 'categories'\)"),
        (set_first("category_id", 99), r"is not COCO's \(KeyError: 99\)"),
        (set_first("image_id", 999), r"is not COCO's \(KeyError: 999\)"),
        (lambda found: found["images"].pop(), "lists 70 photographs .* that of val2017 lists 71"),
        (lambda found: found["annotations"].pop(), "lists 71 photographs with .* objects; that of val2017"),
        (lambda found: found["categories"][1].update(name="ornithopter"), "marks no bird. Take the original file"),
        (set_first("file_name", "../../secret.jpg", "images"), r"'../../secret.jpg'; expected a plain name"),
        (set_first("file_name", "gone.jpg", "images"), "1 of 71 files are missing, such as val2017/gone.jpg"),
        (set_first("segmentation", [[1, 2, 3, 4]]), r"000000000001.jpg: the outline of an object is \[1, 2, 3, 4\]"),
        (set_first("segmentation", [[1, 2, 3, 4, 5, 6, 7]]), "expected x and y of at least three points"),
        (set_first("segmentation", [[1, 2, 3, 4, 5, "6"]]), "expected x and y of at least three points"),
        (set_first("segmentation", [[1, 2, 3, 4, 5, float("nan")]]), "expected x and y of at least three points"),
        (set_first("segmentation", CROWD), "the outline of an object is counts"),
    ],
)
def test_annotations_that_are_not_those_of_val2017_are_refused(tmp_path, change, message):
    write_coco(tmp_path, spoilt(change))
    with pytest.raises(ValueError, match=message):
        coco_pictures(tmp_path)


def test_missing_and_unreadable_parts_of_coco_are_named(official, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds neither val2017 nor val2017.zip; expected one of them"):
        coco_pictures(tmp_path)
    shutil.copy(official / "val2017.zip", tmp_path)
    with pytest.raises(FileNotFoundError, match="holds neither annotations/instances_val2017.json nor annotations_tr"):
        coco_pictures(tmp_path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / JSON).write_text('{"images": [')
    with pytest.raises(ValueError, match=r"instances_val2017.json is not COCO's \(JSONDecodeError"):
        coco_pictures(tmp_path)
    shutil.rmtree(tmp_path / "annotations")
    (tmp_path / "annotations_trainval2017.zip").write_bytes((official / "val2017.zip").read_bytes())
    with pytest.raises(ValueError, match="annotations/instances_val2017.json cannot be read .*There is no item named"):
        coco_pictures(tmp_path)
    whole = (official / "val2017.zip").read_bytes()
    (tmp_path / "val2017.zip").write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="val2017.zip: not a whole zip archive"):
        coco_pictures(tmp_path)


def test_photographs_that_are_damaged_or_of_another_size_are_refused_when_they_are_read(unpacked):
    first = unpacked / "val2017" / "000000000001.jpg"
    picture = coco_pictures(unpacked)[0]
    Image.new("RGB", (HEIGHT, WIDTH)).save(first)
    with pytest.raises(ValueError, match=r"000000000001.jpg is 40x60, its annotation 60x40; expected one size"):
        picture.load()
    first.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="000000000001.jpg cannot be read .*Download it again"):
        picture.load()
    first.unlink()
    with pytest.raises(ValueError, match="000000000001.jpg cannot be read"):
        picture.load()


def test_a_damaged_member_of_an_archive_is_named_with_the_others_that_cannot_be_used(official, tmp_path):
    data = bytearray((official / "val2017.zip").read_bytes())
    with zipfile.ZipFile(official / "val2017.zip") as archive:
        start = archive.getinfo("val2017/000000000001.jpg").header_offset
    data[start + 200] ^= 0xFF  # inside the photograph: its checksum in the archive tells
    coco = tmp_path / "coco"
    coco.mkdir()
    (coco / "val2017.zip").write_bytes(data)
    shutil.copy(official / "annotations_trainval2017.zip", coco)
    options = {"coco": coco, "esc50": official / "ESC-50-master.zip", "clips_per_class": 2, "progress": False}
    with pytest.raises(
        ValueError, match="(?s)1 file cannot be used.*val2017/000000000001.jpg cannot be read.*skip_broken"
    ):
        compose_public(tmp_path / "out", **options)
    seen, _ = compose_public(tmp_path / "out", skip_broken=True, **options)
    assert any("000000000001.jpg cannot be read" in remark for remark in seen.remarks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.pop(), "has 102 rows; ESC-50 has 103. Download it again"),
        (lambda rows: rows.__setitem__(0, "filename,fold,target,label,esc10,src_file,take"), "ESC-50's .'category'"),
        (lambda rows: rows.clear(), "is not ESC-50's .No columns"),
        (lambda rows: rows.__setitem__(1, '"unfinished'), "is not ESC-50's"),
        (lambda rows: rows.__setitem__(1, "../x.wav,1,0,dog,True,1,A"), r"'../x.wav'; expected a plain name"),
        (lambda rows: rows.__setitem__(1, "gone.wav,1,0,dog,True,1,A"), "1 of 103 files are missing, such as ESC-50-m"),
        (
            lambda rows: rows.__setitem__(slice(None), [row.replace("mouse_click", "rain") for row in rows]),
            "has no mouse_click. Take the original file",
        ),
    ],
)
def test_a_list_that_is_not_that_of_esc50_is_refused(tmp_path, change, message):
    rows, files = recordings()
    change(rows)
    with pytest.raises(ValueError, match=message):
        esc50_sounds(write_esc50(tmp_path / "ESC-50-master.zip", rows, files))


def test_missing_and_unreadable_parts_of_esc50_are_named(unpacked, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder; expected ESC-50-master.zip, or a folder with"):
        esc50_sounds(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="meta/esc50.csv cannot be read"):
        esc50_sounds(tmp_path)
    sound = esc50_sounds(unpacked / "ESC-50-master")[0]
    file = unpacked / "ESC-50-master" / "audio" / sound.name.split("/")[1]
    for samples, rate in ((wave("dog")[:-1], RATE), (wave("dog"), 2 * RATE), (np.stack([wave("dog")] * 2, 1), RATE)):
        file.write_bytes(as_wav(samples, rate))
        with pytest.raises(ValueError, match=r"samples at \d+ Hz; ESC-50 has \[20000\] at 4000"):
            sound.load()
    file.write_bytes(b"no sound")
    with pytest.raises(ValueError, match="cannot be read .*Download it again"):
        sound.load()
