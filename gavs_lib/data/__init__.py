"""Readers: AVSBench-semantic folders, the AVS-V3 class split, and the user's own video files. No training."""

from gavs_lib.data.avsbench import SUBSETS, AVSBench, Clip, read_rows, tokens
from gavs_lib.data.media import read_clip, write_masks, write_overlay_video
from gavs_lib.data.v3 import UNSEEN_TOKENS, v3_split

__all__ = [
    "SUBSETS",
    "UNSEEN_TOKENS",
    "AVSBench",
    "Clip",
    "read_clip",
    "read_rows",
    "tokens",
    "v3_split",
    "write_masks",
    "write_overlay_video",
]
