"""The models that come with the course: how they were trained, what they score, and how to load them.

All stand on SAM-mini and VGGish-mini and the same clips: ``gavs``; ``gavs_deaf``, the same with the embedding of
silence in place of every sound, in training and in tests; the baselines ``audio_sam`` and ``sam_fusion``; and, in small
pictures of 64 pixels, ``save``, ``sama_avs`` and ``joint``, which notebook 09 recommends there.
``make train`` repeats it: three seeds a kind, rows in ``data/results/shipped.csv``, the first seed's parameters in
``data/weights/``. Further kinds can be trained by the same recipe and are not shipped: the baselines ``av_sam`` and
``tpavi``, and with other settings (``table_5``) the rows of the paper's ablation.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from gavs_lib._shipped import shipped_weights
from gavs_lib.baselines import AVSAM, TPAVI, AudioSAM, SAMFusion
from gavs_lib.gavs import GAVS, GAVSConfig
from gavs_lib.lab.evaluate import (
    box_prompted,
    guesses,
    interval,
    nearest_distractor,
    score,
    shuffled,
    silent,
    swap_test,
    with_one_of,
)
from gavs_lib.lab.joint import Joint, JointConfig
from gavs_lib.lab.official import named_weights
from gavs_lib.lab.toyshop import toyshop_features
from gavs_lib.lab.train import FitConfig, fit
from gavs_lib.lab.weights import load_tensors, load_trained, save_trained, write_atomically, write_checksums
from gavs_lib.sam import build_sam, fuse_attention
from gavs_lib.save import APSAM, SAMAAVS, SAVE, SAMAConfig, SAVEConfig
from gavs_lib.vggish import VGGish, load_vggish
from gavs_lib.world.classes import class_split
from gavs_lib.world.folder import DEFAULT_COUNTS, fingerprint

KINDS = ("gavs", "gavs_deaf", "audio_sam", "sam_fusion", "save", "sama_avs", "joint")  # these are shipped
MODELS = {
    "gavs": GAVS,
    "gavs_deaf": GAVS,
    "audio_sam": AudioSAM,
    "sam_fusion": SAMFusion,
    "av_sam": AVSAM,
    "tpavi": TPAVI,
    "save": SAVE,
    "sama_avs": SAMAAVS,
    "ap_sam": APSAM,
    "joint": Joint,
}
ModelConfig = GAVSConfig | SAVEConfig | SAMAConfig  # settings of one of these

# Variants were compared on validation clips (seen and unseen-validation), one seed each: data/results/tuning.csv. None
# led on all four kinds of clips, so this is the plain form of the paper, with Dice added.
MINI_CONFIG = GAVSConfig(adapter_width=32, cola_width=32)
# For models that leave SAM's encoder as it is: all of it is prefix, so that it is computed once for all of them.
FROZEN_ENCODER = replace(MINI_CONFIG, adapter_width=0, tune_from=6)
# The paper's adapters with fewer channels: with the encoder's own they would be nearly as large as all of SAM-mini.
MINI_SAVE = SAVEConfig(adapter_channels=32)
MINI_SAMA = SAMAConfig(injection_width=128)  # as wide as the encoder
MINI_JOINT = JointConfig(adapter_width=32, cola_width=32)
MINI_TRAINING = FitConfig(
    epochs=6,
    batch_size=8,
    lr=1e-3,
    schedule="cosine",
    warmup_steps=20,
    dice_weight=1.0,
    semantic_weight=0.1,
    margin=0.3,
    exclude_same_class=True,
    labelled_frames_only=True,
    val_every=2,
    precision="bf16",  # half the time of a step, on a CPU that has it; any other emulates it
)
SAVE_RATE, SAMA_RATE = 2e-4, 1e-3  # what their trials chose (data/results/tuning.csv); the first is the paper's too
# The loss of SAVE and SAMA-AVS: BCE and soft IoU.
SAVE_TRAINING = replace(MINI_TRAINING, dice_weight=0.0, iou_weight=1.0, semantic_weight=0.0)
# The joint model that notebook 09 recommends: points, SAM's decoder trained in place of ColA, no early injection.
MINI_POINTS = replace(MINI_JOINT, early=False, points=2, cola_width=0, whole_decoder=True)
POINTS_TRAINING = replace(MINI_TRAINING, region_weight=0.2)
SMALL = 64  # pixels: half of what SAM-mini was pre-trained with, in each direction (SAVE: a quarter)


@dataclass(frozen=True)
class Recipe:
    """How a kind is trained.

    Attributes:
        config, training: its settings, and those of its training.
        image_size: side of its pictures in pixels; None: 128.
        half: rounded to half precision before it is measured and shipped.
    """

    config: ModelConfig
    training: FitConfig = MINI_TRAINING
    image_size: int | None = None
    half: bool = False


TRAIN_PARTS = {part: DEFAULT_COUNTS[part] for part in (("v1s", "train"), ("v1m", "train"))}
VAL_PARTS = {part: DEFAULT_COUNTS[part] for part in (("v1s", "val"), ("v1m", "val"))}
TEST_PARTS = [("v1s", "test"), ("v1m", "test"), ("v1s", "unseen_test"), ("v1m", "unseen_test")]


def table_5(config: GAVSConfig = MINI_CONFIG) -> dict[str, tuple[str, GAVSConfig]]:
    """The rows of the paper's Table 5, "a" to "j": each one's kind and settings, for ``train_shipped``.

    Rows a to f and h have a prompt of sound alone and no visual adapters; h is e under another name, a is Audio-SAM.

    Args:
        config: of the full model, row j. Adapters behind the decoder's attentions get the width of its ColA.
    """
    width = config.cola_width
    cola = replace(config, adapter_width=0, cue=False, noise="none")
    freeze = replace(cola, cola_width=0)
    return {
        "a": ("gavs", freeze),
        "b": ("gavs", replace(freeze, whole_decoder=True)),
        "c": ("gavs", replace(freeze, av_width=width)),
        "d": ("gavs", replace(freeze, va_width=width)),
        "e": ("gavs", cola),
        "f": ("gavs", replace(cola, av_width=width, va_width=width)),
        "g": ("sam_fusion", replace(config, adapter_width=0)),
        "h": ("gavs", cola),
        "i": ("gavs", replace(config, cue=False, noise="none")),
        "j": ("gavs", config),
    }


def default_config(kind: str) -> ModelConfig:
    """The course's settings of a kind of model, one of ``MODELS``."""
    own = {SAVEConfig: MINI_SAVE, SAMAConfig: MINI_SAMA, JointConfig: MINI_JOINT}
    return own.get(MODELS[kind].Config, MINI_CONFIG)


def shipped_recipe(kind: str) -> Recipe:
    """How the shipped model of a kind is trained; of a kind that is not shipped, how it would be."""
    small = {
        # In half precision and narrower than the laboratory's, so that no file has more than two megabytes.
        "save": Recipe(replace(MINI_SAVE, adapter_channels=4), replace(SAVE_TRAINING, lr=SAVE_RATE), SMALL, half=True),
        "sama_avs": Recipe(MINI_SAMA, replace(SAVE_TRAINING, lr=SAMA_RATE), SMALL, half=True),
        "joint": Recipe(replace(MINI_POINTS, prompt_hidden=256), POINTS_TRAINING, SMALL, half=True),
    }
    return small.get(kind, Recipe(default_config(kind)))


def build_model(kind: str, config: ModelConfig | None = None, image_size: int | None = None) -> nn.Module:
    """An untrained model of a kind, on the shipped SAM-mini.

    Args:
        kind: one of ``MODELS``.
        config: its settings; None: the course's.
        image_size: side of the square that SAM-mini sees, in pixels; None: 128.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in MODELS:
        raise ValueError(f"model {kind!r} is unknown; expected one of {', '.join(MODELS)}.")
    return MODELS[kind](build_sam("mini", "shipped", image_size), config or default_config(kind))


def load_model(kind: str = "gavs", path: str | Path | None = None) -> tuple[nn.Module, dict]:
    """A trained model of a kind, in evaluation mode, and its file's notes (world, seed, figures).

    Args:
        kind: one of ``MODELS``.
        path: a file of your own training; None: the shipped one (of ``KINDS`` only).

    Raises:
        ValueError: an unknown kind, or a file of another model.
        FileNotFoundError: there is no such file.
    """
    if kind not in MODELS:
        raise ValueError(f"model {kind!r} is unknown; expected one of {', '.join(MODELS)}.")
    if path is None and kind not in KINDS:
        raise ValueError(f"model {kind!r} is not shipped ({', '.join(KINDS)} are); train it, and give path its file.")
    path = shipped_weights(kind) if path is None else Path(path)
    model, notes = model_for(path)
    if type(model) is not MODELS[kind]:
        raise ValueError(f"{path}: this file holds {notes['kind']}, you asked for {MODELS[kind].__name__}.")
    load_trained(path, model)
    return model.eval(), notes


def model_for(
    path: str | Path, sam: str = "mini", checkpoint: str | Path = "shipped", image_size: int | None = None
) -> tuple[nn.Module, dict]:
    """An untrained model of the kind and settings that a weights file names, for ``load_trained``; the file's notes.

    Args:
        path: of ``save_trained``.
        sam, checkpoint: what it stands on, as for ``build_sam``; "official": the published file (``lab.official``).
        image_size: side of the model's input in pixels; None: as it was trained.

    Raises:
        FileNotFoundError: no such weights file or checkpoint.
        ValueError: a file that is damaged or names no model of ``MODELS``, or a checkpoint of another SAM.
    """
    _, notes = load_tensors(path)
    kinds = {model.__name__: model for model in MODELS.values()}
    if notes.get("kind") not in kinds:
        raise ValueError(
            f"{path}: holds {notes.get('kind', 'tensors that name no model')}; expected the trained parameters of "
            f"{', '.join(kinds)}, as save_trained writes them."
        )
    kind = kinds[notes["kind"]]
    # A setting that this version does not know is refused, by name, when the parameters are loaded.
    config = {name: value for name, value in notes["config"].items() if name in kind.Config.__dataclass_fields__}
    foundation = build_sam(
        sam, named_weights(checkpoint, sam), image_size or (notes.get("inputs") or {}).get("image_size")
    )
    if sam != "mini":
        fuse_attention(foundation)  # at 1024 pixels, attention as SAM writes it fills the memory of most GPUs
    return kind(foundation, kind.Config(**config)), notes


def train_shipped(
    kind: str,
    seed: int,
    work: Path,
    rotation: int = 0,
    recipe: Recipe | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> tuple[nn.Module, VGGish]:
    """Train one model on the default clips of the toy shop, or pick up where a killed run stopped.

    Args:
        work: folder of the run; the feature cache lies in it unless ``cache`` names another place.
        recipe: how; None: as the shipped model of its kind.
    """
    recipe = recipe or shipped_recipe(kind)
    torch.manual_seed(seed)
    model, vggish = build_model(kind, recipe.config, recipe.image_size), load_vggish("mini")
    sets = [
        toyshop_features(parts, model, vggish, cache or work / "cache", rotation, progress=progress)[1]
        for parts in (TRAIN_PARTS, VAL_PARTS)
    ]
    if kind == "gavs_deaf":
        sets = [silent(features, vggish) for features in sets]
    training = replace(recipe.training, seed=seed)
    notes = {"world": fingerprint(), "rotation": rotation}
    fit(model, *sets, training, work / f"{kind}-rotation{rotation}-seed{seed}", progress=progress, notes=notes)
    return model.eval(), vggish


def measure(
    kind: str,
    model: nn.Module,
    vggish: nn.Module,
    cache: Path,
    parts: list[tuple[str, str]] = TEST_PARTS,
    count: int = 80,
    rotation: int = 0,
    seed: int = 0,
    swaps: int = 60,
) -> pd.DataFrame:
    """What a model scores on freshly drawn clips: rows of (subset, split, figure, value, low, high, n).

    Figures: miou and f; miou with silence and with shuffled sound; on v1s the swap test (share of the pairs in which
    the mask moves, across families and within one) and the score by the nearest distractor; all with 95 % bootstrap
    intervals over clips or pairs.
    """
    rows = []

    def add(subset: str, split: str, figure: str, values) -> None:
        values = list(values)
        if values:
            low, high = interval(values)
            rows.append(
                {
                    "subset": subset,
                    "split": split,
                    "figure": figure,
                    "value": sum(map(float, values)) / len(values),
                    "low": low,
                    "high": high,
                    "n": len(values),
                }
            )

    for subset, split in parts:
        made, features = toyshop_features({(subset, split): count}, model, vggish, cache, rotation, seed)
        if kind == "gavs_deaf":
            features = silent(features, vggish)
        scores = score(model, features)
        add(subset, split, "miou", scores["miou"])
        add(subset, split, "f", scores["f"])
        if kind != "gavs_deaf":
            add(subset, split, "miou, shuffled sound", score(model, shuffled(features))["miou"])
            add(subset, split, "miou, silence", score(model, silent(features, vggish))["miou"])
        if subset == "v1s":
            likeness = [nearest_distractor(recipe) for recipe in made]
            for kin, values in scores["miou"].groupby(likeness):
                add(subset, split, f"miou, distractor: {kin}", values)
            if kind != "gavs_deaf":
                pairs = swap_test(model, vggish, made[:swaps])
                if split.startswith("unseen"):
                    pairs = with_one_of(pairs, {toy.name for toy in class_split(rotation).unseen_test})
                for same_family, group in pairs.groupby("same_family"):
                    where = "within a family" if same_family else "across families"
                    add(subset, split, f"swap test, {where}", group["moves"])
                    directions = pd.concat([group["follows_first"], group["follows_second"]])
                    add(subset, split, f"swap test by direction, {where}", directions)
                add(subset, split, "swap test, chance (at most)", [0.25])
                add(subset, split, "swap test by direction, chance (at most)", [0.5])
    return pd.DataFrame(rows)


def measure_guesses(
    cache: Path, parts: list[tuple[str, str]] = TEST_PARTS, count: int = 80, rotation: int = 0, seed: int = 0
) -> pd.DataFrame:
    """Guesses that need no model, and box-prompted SAM-mini, on the clips that ``measure`` draws; rows alike."""
    model, vggish = build_model("audio_sam"), load_vggish("mini")
    rows = []
    for subset, split in parts:
        made, _ = toyshop_features({(subset, split): count}, model, vggish, cache, rotation, seed)
        table = guesses(made, rotation).drop(columns="uid")
        if subset == "v1s":
            table["box-prompted SAM-mini"] = box_prompted(build_sam("mini", checkpoint="shipped"), made)["miou"]
        for figure, values in table.items():
            low, high = interval(values)
            rows.append(
                {
                    "subset": subset,
                    "split": split,
                    "figure": f"miou, {figure}",
                    "value": values.mean(),
                    "low": low,
                    "high": high,
                    "n": len(values),
                }
            )
    return pd.DataFrame(rows)


def record(results: Path, rows: pd.DataFrame, run: Sequence[str] = ("model", "seed")) -> None:
    """Put rows into a results file, in place of those of the same run, and of any other world's.

    Args:
        results: CSV file; made if it is not there.
        rows: with the columns of ``run`` and world.
        run: the columns that tell one run from another.
    """
    run = list(run)
    if results.exists():  # read each time: another process may have added to it meanwhile
        kept = pd.read_csv(results, dtype={"key": str}, keep_default_na=False)
        same = kept.set_index(run).index.isin(rows.set_index(run).index)
        rows = pd.concat([kept[~same & (kept["world"] == rows["world"].iloc[0])], rows])
    write_atomically(results, rows.to_csv(index=False).encode())


def summary(results: str | Path) -> str:
    """The recorded results as two Markdown tables: mean and standard deviation over seeds, in percent.

    First what each model and control scores on the four kinds of test clips, and how often its mask moves in the swap
    test; then the scores on unseen combinations by the nearest distractor.
    """
    table = pd.read_csv(results)
    parts = {f"{s}, {'unseen' if 'unseen' in p else 'seen'}": (s, p) for s, p in TEST_PARTS}

    def told(model: str, figure: str, part: tuple[str, str]) -> str:
        rows = table[(table["model"] == model) & (table["figure"] == figure)]
        values = 100 * rows[(rows["subset"] == part[0]) & (rows["split"] == part[1])]["value"]
        if values.empty:
            return ""
        return f"{values.mean():.1f}" + (f" ± {values.std():.1f}" if len(values) > 1 else "")

    lines = [("GAVS", "gavs", "miou"), ("Audio-SAM", "audio_sam", "miou"), ("SAM-Fusion", "sam_fusion", "miou")]
    small = {"Joint": "joint", "SAVE": "save", "SAMA-AVS": "sama_avs"}
    lines += [(f"{name}, {SMALL} pixels", kind, "miou") for name, kind in small.items()]
    lines += [
        ("GAVS, another clip's sound", "gavs", "miou, shuffled sound"),
        ("GAVS, silence", "gavs", "miou, silence"),
    ]
    lines += [("GAVS trained without sound", "gavs_deaf", "miou")]
    lines += [("SAM-mini, prompted by the true box", "guess", "miou, box-prompted SAM-mini")]
    lines += [("true mask of a random toy", "guess", "miou, random"), ("of the largest toy", "guess", "miou, largest")]
    lines += [("of all toys", "guess", "miou, everything")]
    lines += [("of a toy of no seen class", "guess", "miou, exclusion")]
    swaps = {
        "swap, other families": ("swap test, across families", ("v1s", "test")),
        "swap, one family": ("swap test, within a family", ("v1s", "test")),
        "swap, one family, unseen": ("swap test, within a family", ("v1s", "unseen_test")),
    }
    rows = [["", *parts, *swaps], ["---"] * (1 + len(parts) + len(swaps))]
    for name, model, figure in lines:
        hears = figure == "miou" and model != "gavs_deaf"
        moves = [told(model, *swap) if hears else "" for swap in swaps.values()]
        rows.append([name, *(told(model, figure, part) for part in parts.values()), *moves])
    kin = ("other family", "same family", "differing in one factor")
    rows += [[], ["v1s, unseen, by the nearest distractor", *kin], ["---"] * 4]
    for name, model, _ in (line for line in lines if line[1] in KINDS and line[2] == "miou"):
        rows.append([name, *(told(model, f"miou, distractor: {k}", ("v1s", "unseen_test")) for k in kin)])
    return "\n".join("| " + " | ".join(row) + " |" if row else "" for row in rows)


def main(argv: list[str] | None = None) -> None:
    """``make train``: train every shipped kind with every seed, measure, and write weights and results."""
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.course train", description=main.__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/train"), help="runs and cache; resumable")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rotation", type=int, default=0)
    parser.add_argument("--weights", type=Path, default=Path("data/weights"), help="where the first seed is written")
    parser.add_argument("--results", type=Path, default=Path("data/results/shipped.csv"))
    parser.add_argument("--summary", action="store_true", help="only print the recorded results as Markdown")
    chosen = parser.parse_args(argv)
    if chosen.summary:
        print(summary(chosen.results))
        return
    command = f"python -m gavs_lib.course train --rotation {chosen.rotation}"
    notes = {"world": fingerprint(), "rotation": chosen.rotation, "torch": torch.__version__, "command": command}

    guessed = measure_guesses(chosen.work / "cache", rotation=chosen.rotation)
    record(chosen.results, guessed.round(4).assign(model="guess", seed=-1, **notes))
    for seed in chosen.seeds:
        for kind in chosen.kinds:
            begun = time.monotonic()
            half = shipped_recipe(kind).half
            model, vggish = train_shipped(kind, seed, chosen.work, chosen.rotation)
            if half:
                model.load_trained_state({name: value.half() for name, value in model.trained_state().items()})
            table = measure(kind, model, vggish, chosen.work / "cache", rotation=chosen.rotation)
            record(chosen.results, table.round(4).assign(model=kind, seed=seed, **notes))
            print(f"{kind}, seed {seed}: {time.monotonic() - begun:.0f} s")
            print(table[["subset", "split", "figure", "value", "n"]].round(3).to_string(index=False), flush=True)
            if seed == chosen.seeds[0]:
                figures = {f"{r.subset} {r.split} {r.figure}": round(r.value, 4) for r in table.itertuples()}
                run = chosen.work / f"{kind}-rotation{chosen.rotation}-seed{seed}"
                trained = load_tensors(run / "best.safetensors")[1]
                origin = {name: trained[name] for name in ("inputs", "fit", "epoch")}
                save_trained(
                    chosen.weights / f"{kind}.safetensors",
                    model,
                    {**notes, **origin, "seed": seed, "figures": figures},
                    half,
                )
    write_checksums(chosen.weights)


if __name__ == "__main__":
    main()
