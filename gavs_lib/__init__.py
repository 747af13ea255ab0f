"""GAVS, a course you can run: sound-prompted segmentation with a frozen SAM.

The names below are loaded when they are first used, so `import gavs_lib` costs nothing and each room brings only what
it needs.
"""

import importlib

_HOME = {
    "build_sam": "sam",
    "fuse_attention": "sam",
    "VGGish": "vggish",
    "load_vggish": "vggish",
    "log_mel_examples": "audio",
    "GAVS": "gavs",
    "GAVSConfig": "gavs",
    "SAVE": "save",
    "SAVEConfig": "save",
    "SAMAAVS": "save",
    "SAMAConfig": "save",
    "APSAM": "save",
    "AudioSAM": "baselines",
    "AVSAM": "baselines",
    "SAMFusion": "baselines",
    "TPAVI": "baselines",
}
_ROOMS = ("losses", "metrics", "data", "world")

__all__ = [*_HOME, *_ROOMS]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(f"gavs_lib.{_HOME[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"gavs_lib.{name}")
    raise AttributeError(f"module 'gavs_lib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
