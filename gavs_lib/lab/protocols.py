"""Which clips train, choose and test: the toy shop's protocol, and those of AVSBench, AVS-V3 and VGG-SS on a disk.

A protocol also makes the models and VGGish, since toys are for miniature encoders and real clips for official ones.
`lab.experiment` trains and measures the same way on either:

    Toyshop     classes are divided by rotations; the twin of VGG-SS is drawn by another hand
    DiskData    AVS-V3 (zero-shot, k-shot), or AVSBench's own splits, semantic or object; VGG-SS where its annotations
                are given
"""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from torch import nn

from gavs_lib._shipped import shipped_weights
from gavs_lib.data import MS3, S4, VGGSS, AVSBench, derive_v3, read_v3, tokens
from gavs_lib.data.avsbench import SUBSETS, read_metadata
from gavs_lib.data.shots import draw_shots
from gavs_lib.data.v3 import V3Lists
from gavs_lib.lab.official import OFFICIAL, named_weights
from gavs_lib.lab.shipped import MODELS, TEST_PARTS, ModelConfig, build_model
from gavs_lib.lab.synthetic import synthetic_clips
from gavs_lib.lab.toyshop import ToyshopClips, toyshop_clips
from gavs_lib.lab.twin import twin_clips, twin_few_shot
from gavs_lib.lab.weights import sha256
from gavs_lib.sam import build_sam, fuse_attention
from gavs_lib.vggish import VGGish, load_vggish
from gavs_lib.world.classes import class_split
from gavs_lib.world.folder import fingerprint

CONTROL_SEED = 1  # of the toy shop's clips on which a control trains: of this world, and new to the model
V3, STANDARD = "v3", "standard"
OBJECT = {"s4": S4, "ms3": MS3}  # of AVSBench-object; the other subsets are of AVSBench-semantic
STARTS = (SYNTHETIC, V1S) = "synthetic", "v1s"  # what may be trained on first
_PATHS = ("root", "unseen_root", "lists", "vggss", "vggss_root", "synthetic", "sam_checkpoint", "vggish")


class Pool(NamedTuple):
    """Clips of which some are shots and others test, by their place among them."""

    clips: Sequence
    train: Mapping[int, Sequence[int]]  # k -> the shots
    test: Mapping[int, Sequence[int]]  # k -> clips that are tested after k shots


@dataclass(frozen=True)
class Toyshop:
    """The toy shop: 18 seen classes train, 12 unseen ones test, in one of four rotations.

    Attributes:
        rotation: which classes are seen, 0 to 3.
        train, val: number of clips of v1s and of v1m.
        test: clips of each test part; of v1s with unseen classes `pool` instead, from which the shots are drawn.
        pool: see `test`.
        twin: entries of VGG-SS's miniature twin (`lab.twin`); 0: none.
        image_size: side of the square that SAM-mini sees, in pixels; 0: 128.
    """

    rotation: int
    train: Sequence[int]
    val: Sequence[int]
    test: int
    pool: int
    twin: int
    image_size: int = 0

    unseen, remembered, seen_val = "v1s unseen_test", "v1s test", "v1s val"
    labelled_seconds = 1  # of a shot; as all v1s training clips are labelled

    @property
    def identity(self) -> dict:
        """What decides a result besides the settings: the world and the encoders."""
        encoders = {name: sha256(shipped_weights(name)) for name in ("sam_mini", "vggish_mini")}
        return {"world": self.world, **encoders}

    @property
    def world(self) -> str:
        return fingerprint()

    def build(self, kind: str, config: ModelConfig) -> nn.Module:
        return build_model(kind, config, self.image_size or None)

    def ear(self, final_relu: bool) -> VGGish:
        return load_vggish("mini", final_relu)

    def part(self, subset: str, split: str, count: int, seed: int = 0) -> ToyshopClips:
        """The first clips of a part of this rotation."""
        return toyshop_clips({(subset, split): count}, self.rotation, seed)[1]

    def training(self) -> Sequence:
        return self._both("train", self.train)

    def validation(self) -> Sequence:
        return self._both("val", self.val)

    def brief_validation(self) -> Sequence:
        """Half of the v1s clips: for trainings that are shorter than a validation on all of them."""
        return self.part("v1s", "val", max(1, self.val[0] // 2))

    def starting(self, start: str, count: int, folder: Path) -> tuple[Sequence, Sequence]:
        """What is trained on first, and what chooses its epoch.

        Args:
            start: one of `STARTS`.
            count: clips that train.
            folder: where a synthetic set is written.
        """
        if start == V1S:
            return self.part("v1s", "train", count), self.part("v1s", "val", max(1, count // 6))
        return synthetic_clips(folder / f"synthetic-rotation{self.rotation}-{count}", self.rotation, count)

    def tests(self) -> dict[str, Sequence]:
        """Part -> clips."""
        named = {" ".join(part): part for part in TEST_PARTS}
        return {name: self.part(*part, self.pool if name == self.unseen else self.test) for name, part in named.items()}

    @property
    def unseen_names(self) -> set[str]:
        """Of the classes that the unseen parts sound."""
        return {toy.name for toy in class_split(self.rotation).unseen_test}

    def more_seen(self, count: int) -> Sequence:
        """Clips of seen classes for a control to train on; the model has not met them."""
        return self.part("v1s", "train", count, CONTROL_SEED)

    def shots(self, counts: Sequence[int], split: str = "unseen_test") -> Pool:
        """Clips of unseen classes; "unseen_val" where settings are chosen."""
        clips = self.part("v1s", split, self.pool)
        names, labels = ([getattr(recipe, name) for recipe in clips.recipes] for name in ("uid", "a_obj"))
        drawn = draw_shots(names, labels, counts)
        return Pool(clips, drawn, {k: _others(len(clips), chosen) for k, chosen in drawn.items()})

    def boxes(self) -> Sequence | None:
        """Entries of another data set, annotated by boxes."""
        return twin_clips(self.twin)[1] if self.twin else None

    def box_parts(self, labels: Sequence[str]) -> dict[str, list[int]]:
        """Part -> places of its entries: those that sound a seen class, and one of the test's unseen ones."""
        split = class_split(self.rotation)
        parts = {"twin seen": split.seen, "twin unseen_test": split.unseen_test}
        names = {part: {toy.name for toy in toys} for part, toys in parts.items()}
        return {part: [i for i, label in enumerate(labels) if label in names[part]] for part in parts}

    def box_shots(self, counts: Sequence[int]) -> Pool:
        made, clips = twin_clips(self.twin)
        drawn = twin_few_shot([recipe.uid for recipe in made], [recipe.toy.name for recipe in made], counts)
        return Pool(clips, drawn.train, dict.fromkeys(drawn.train, drawn.test))

    def _both(self, split: str, counts: Sequence[int]) -> ToyshopClips:
        return toyshop_clips({("v1s", split): counts[0], ("v1m", split): counts[1]}, self.rotation)[1]


@dataclass(frozen=True)
class DiskData:
    """AVSBench and VGG-SS on a disk, with encoders to match.

    Attributes:
        root: folder of AVSBench-semantic (`gavs_lib.data.AVSBench`), or of AVSBench-object (`gavs_lib.data.S4`, `MS3`).
        protocol: "v3": AVS-V3, train on seen classes, test on unseen ones, 0-shot or k-shot. "standard": the splits of
            the data set.
        subsets: those of "standard" to train on and to test, each test apart: ("v1s",) and ("v1m",) are S4 and MS3 as
            GAVS takes them, all three the "V2" of the GAVS paper; ("s4",) or ("ms3",) those of AVSBench-object. V3 is
            made of v1m and v2 always.
        unseen_root: another such folder, whose test split holds classes that "standard" does not train on, as
            `data.compose_public` makes one; "": none.
        lists: folder of V3's published lists; "": drawn from metadata.csv (`data.derive_v3`), no published ones.
        vggss: VGG-SS's annotations, a JSON file; "": VGG-SS is not measured.
        vggss_root: folder of its pictures and sounds.
        synthetic: folder of `gavs_lib.data.compose`, to train on first.
        sam: "mini", "vit_b", "vit_l" or "vit_h".
        sam_checkpoint: the file of its weights; "official": fetched where it is not there yet (`lab.official`);
            "shipped" (mini only); "": random weights, to try something out.
        vggish: weights of VGGish; "official", as above; "mini": the course's, which knows toys only.
        image_size: side of the square that SAM sees, in pixels; 0: SAM's own.
        most: clips of each list that are used, to try something out; 0: all.

    Raises:
        ValueError: an unknown protocol or subset, VGG-SS without its folder, or official weights of SAM-mini.
    """

    root: str
    protocol: str = V3
    subsets: Sequence[str] = tuple(SUBSETS)
    unseen_root: str = ""
    lists: str = ""
    vggss: str = ""
    vggss_root: str = ""
    synthetic: str = ""
    sam: str = "vit_b"
    sam_checkpoint: str = ""
    vggish: str = ""
    image_size: int = 0
    most: int = 0

    unseen = "v3 unseen"
    remembered = None  # V3 has no test clips of seen classes: those that are not trained on choose the epoch
    labelled_seconds = None  # of a shot: all that the data set labels
    seen_val = "seen_val"

    def __post_init__(self) -> None:
        if self.protocol not in (V3, STANDARD):
            raise ValueError(f"protocol is {self.protocol!r}; expected {V3!r} or {STANDARD!r}.")
        several = not isinstance(self.subsets, str) and self.subsets and set(self.subsets) <= set(SUBSETS)
        one = self.protocol == STANDARD and list(self.subsets) in [[name] for name in OBJECT]
        if not several and not one:
            raise ValueError(
                f"subsets are {self.subsets!r}; expected some of {', '.join(SUBSETS)}, or, under {STANDARD!r}, one of "
                f"{', '.join(OBJECT)}."
            )
        if bool(self.vggss) != bool(self.vggss_root):
            raise ValueError("VGG-SS needs both: vggss, its JSON file, and vggss_root, the folder of its pictures.")
        if self.most < 0:
            raise ValueError(f"most is {self.most}; expected a number of clips, or 0 for all.")
        if self.sam_checkpoint == "official" and self.sam not in OFFICIAL:
            raise ValueError(f'SAM {self.sam!r} has no official checkpoint; "mini" has a shipped one.')

    @property
    def identity(self) -> dict:
        """What decides a result besides the settings: the lists' contents and the encoders' weights."""
        of_object = OBJECT.get(self.subsets[0])
        table = of_object.table_path(self.root) if of_object else Path(self.root) / "metadata.csv"
        files = {"metadata": table, "vggss": self.vggss}
        for name in ("synthetic", "unseen_root"):
            if getattr(self, name):
                files[name] = Path(getattr(self, name)) / "metadata.csv"
        files |= {"sam_checkpoint": self.sam_checkpoint, "vggish": self.vggish}
        if self.lists:
            files |= {str(path.relative_to(self.lists)): path for path in sorted(Path(self.lists).rglob("*.csv"))}
        known = {name: _hash_of(path) if Path(path).is_file() else str(path) for name, path in files.items()}
        # A published file is known by its published checksum, given by name or by path: it need not be fetched to tell
        # experiments apart.
        for name, file in {"sam_checkpoint": self.sam, "vggish": "vggish"}.items():
            published = OFFICIAL[file].sha256 if file in OFFICIAL else ""
            if known[name] == "official" or (published and known[name].startswith(published)):
                known[name] = published
        return known | {name: value for name, value in asdict(self).items() if name not in _PATHS}

    @property
    def world(self) -> str:
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]

    def build(self, kind: str, config: ModelConfig) -> nn.Module:
        sam = build_sam(self.sam, named_weights(self.sam_checkpoint, self.sam) or None, self.image_size or None)
        if self.sam != "mini":
            fuse_attention(sam)  # at 1024 pixels, attention as SAM writes it fills the memory of most GPUs
        return MODELS[kind](sam, config)

    def ear(self, final_relu: bool) -> VGGish:
        if not self.vggish:
            raise ValueError('vggish is not set: give the path of its weights, or "mini" to try something out.')
        return load_vggish(named_weights(self.vggish, "vggish"), final_relu)

    def refuse(self, shots: Sequence[int], box_shots: Sequence[int]) -> None:
        """ValueError, before hours of training, where there is nothing that these shots could be drawn from."""
        if shots and self.protocol != V3:
            raise ValueError(f"shots are those of AVS-V3; the protocol is {self.protocol!r}.")
        if box_shots and not self.vggss:
            raise ValueError("shots with boxes are those of VGG-SS; give vggss and vggss_root.")

    def training(self) -> Sequence:
        return self._clips(self._rows("train"))

    def validation(self) -> Sequence:
        return self._clips(self._rows("val"))

    brief_validation = validation

    def starting(self, start: str, count: int, folder: Path) -> tuple[Sequence, Sequence]:
        """Clips of `synthetic`, or of v1s (S4 for MS3): all of the split, whatever `count` says, without `folder`.

        Raises:
            ValueError: of AVS-V3, whose unseen classes would be met there, or without a folder of synthetic clips.
        """
        if self.protocol == V3:
            raise ValueError(f"start is {start!r}: what is trained on first may show classes that V3 calls unseen.")
        if start == V1S:
            single = "s4" if self.subsets[0] in OBJECT else "v1s"
            return tuple(self._clips(self._read(single, split).rows) for split in ("train", "val"))
        if not self.synthetic:
            raise ValueError("synthetic is not set: compose clips (python -m gavs_lib.data.compose), give the folder.")
        table = pd.read_csv(Path(self.synthetic) / "metadata.csv")
        return tuple(AVSBench(self.synthetic, table["label"].iloc[0], split) for split in ("train", "val"))

    def tests(self) -> dict[str, Sequence]:
        if self.protocol == V3:
            return {self.unseen: self._clips(self._lists.zero_shot_test)}
        parts = {f"{name} test": self._clips(self._read(name, "test").rows) for name in self.subsets}
        if self.unseen_root:
            subset = read_metadata(self.unseen_root)["label"].iloc[0]
            clips = AVSBench(self.unseen_root, subset, "test")
            parts[f"{subset} unseen"] = AVSBench.from_rows(self.unseen_root, clips.rows[: self.most or None])
        return parts

    def more_seen(self, count: int) -> Sequence:
        """Clips of seen classes for a control to train on: from the training set, for there are no others."""
        rows = self._rows("train")
        if count > len(rows):
            raise ValueError(f"the control needs {count} clips of seen classes; there are {len(rows)}.")
        return self._clips(rows, count)

    def shots(self, counts: Sequence[int]) -> Pool:
        """V3's few-shot lists, by their place in its 0-shot test, so that scores can be compared clip by clip."""
        self.refuse(counts, ())
        lists = self._lists
        unknown = sorted(set(counts) - set(lists.few_shot_train))
        if unknown:
            raise ValueError(f"AVS-V3 has no {unknown[0]}-shot list; it has {sorted(lists.few_shot_train)}.")
        clips = AVSBench.from_rows(self.root, lists.zero_shot_test)
        place = {uid: i for i, uid in enumerate(clips.rows["uid"])}
        train, test = (
            {k: sorted(place[uid] for uid in chosen[k]["uid"]) for k in counts}
            for chosen in (lists.few_shot_train, lists.few_shot_test)
        )
        return Pool(clips, train, {k: places[: self.most or None] for k, places in test.items()})

    def boxes(self) -> VGGSS | None:
        if not self.vggss:
            return None
        entries = VGGSS(self.vggss, self.vggss_root).present()
        return entries.subset(entries.rows["file"][: self.most]) if self.most else entries

    def box_parts(self, labels: Sequence[str]) -> dict[str, list[int]]:
        return {"vggss": list(range(len(labels)))}

    def box_shots(self, counts: Sequence[int]) -> Pool:
        self.refuse((), counts)
        everything = VGGSS(self.vggss, self.vggss_root)
        entries, drawn = everything.present(), everything.few_shot(counts)  # the shots do not depend on what is here
        place = {name: i for i, name in enumerate(entries.rows["file"])}
        here = {k: [name for name in chosen.rows["file"] if name in place] for k, chosen in drawn.train.items()}
        train = {k: [place[name] for name in names] for k, names in here.items()}
        test = [place[name] for name in drawn.test.rows["file"] if name in place][: self.most or None]
        return Pool(entries, train, dict.fromkeys(train, test))

    @functools.cached_property
    def _lists(self) -> V3Lists:
        metadata = Path(self.root) / "metadata.csv"
        return read_v3(self.lists, metadata) if self.lists else derive_v3(metadata)

    def _rows(self, split: str) -> pd.DataFrame:
        """The clips that train ("train"), or choose the epoch ("val")."""
        if self.protocol == V3:
            return self._lists.seen_train if split == "train" else self._lists.seen_val
        return pd.concat([self._read(name, split).rows for name in self.subsets])

    def _read(self, subset: str, split: str) -> AVSBench | S4 | MS3:
        return OBJECT[subset](self.root, split) if subset in OBJECT else AVSBench(self.root, subset, split)

    def _clips(self, rows: pd.DataFrame, count: int = 0) -> AVSBench | S4 | MS3:
        rows = rows[: count or self.most or None]
        of_object = OBJECT.get(rows["label"].iloc[0])
        if of_object:
            return of_object(self.root, rows["split"].iloc[0], rows["uid"])
        return AVSBench.from_rows(self.root, rows)


def with_absolute_paths(data: Mapping) -> dict:
    """Settings of `DiskData` that mean the same from every folder; "~" is the user's home."""
    absolute = {name: str(Path(data[name]).expanduser().absolute()) for name in _PATHS if data.get(name)}
    return {
        **data,
        **{name: path for name, path in absolute.items() if data[name] not in ("mini", "shipped", "official")},
    }


def one_sound(labels: Sequence[str]) -> list[int]:
    """Places of the clips in which one class sounds."""
    return [i for i, label in enumerate(labels) if len(tokens(label)) == 1]


@functools.lru_cache
def _hash_of(path: str | Path) -> str:
    return sha256(path)  # of a SAM of gigabytes, so once only


def _others(count: int, chosen: Sequence[int]) -> list[int]:
    return sorted(set(range(count)) - set(chosen))
