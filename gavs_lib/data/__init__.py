"""Readers: AVSBench (semantic, object), AVS-V3, VGG-SS, COCO with ESC-50, the user's own files, the papers' tables.

No training.
"""

import importlib

from gavs_lib.data.avsbench import SUBSETS, AVSBench, Clip, read_rows, tokens
from gavs_lib.data.avsobject import MS3, S4
from gavs_lib.data.material import LabelledPicture, LabelledSound, find_pictures, find_sounds
from gavs_lib.data.media import read_clip, write_masks, write_overlay_video
from gavs_lib.data.papers import paper_table

# Entered on first use: these are commands too, and `python -m` warns of a module that its package has imported already.
_COMMANDS = {
    "compose": ("compose_clips", "compose_folders"),
    "public": ("compose_public",),
    "v3": ("UNSEEN_TOKENS", "V3Lists", "derive_v3", "read_v3", "v3_split"),
    "vggss": ("VGGSS", "FewShot"),
}
_HOME = {name: module for module, names in _COMMANDS.items() for name in names}

__all__ = [
    "MS3",
    "S4",
    "SUBSETS",
    "UNSEEN_TOKENS",
    "VGGSS",
    "AVSBench",
    "Clip",
    "FewShot",
    "LabelledPicture",
    "LabelledSound",
    "V3Lists",
    "compose_clips",
    "compose_folders",
    "compose_public",
    "derive_v3",
    "find_pictures",
    "find_sounds",
    "paper_table",
    "read_clip",
    "read_rows",
    "read_v3",
    "tokens",
    "v3_split",
    "write_masks",
    "write_overlay_video",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(f"gavs_lib.data.{_HOME[name]}"), name)
    raise AttributeError(f"module 'gavs_lib.data' has no attribute {name!r}")
