"""The official weights: what Meta published of SAM, and the common PyTorch port of VGGish.

    sam = build_sam("vit_b", official_weights("vit_b"))
    vggish = load_vggish(official_weights("vggish"))

or, before a machine goes offline,

    python -m gavs_lib.lab.official vit_b vggish

which fetches what is missing and prints the paths. Where files are kept, mirrors, and what to do without a connection:
`gavs_lib.data.fetch`.
"""

import argparse
import sys
from pathlib import Path

from gavs_lib.data.fetch import Remote, cache_folder, fetch

_META = "https://dl.fbaipublicfiles.com/segment_anything"
_PORT = "https://github.com/harritaylor/torchvggish/releases/download/v0.1"

# Sizes and checksums are not printed by the publishers; these are what independent public downloaders agree on.
OFFICIAL = {
    "vit_b": Remote(
        "sam_vit_b_01ec64.pth",
        (f"{_META}/sam_vit_b_01ec64.pth",),
        size=375_042_383,
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        licence="Apache-2.0",
    ),
    "vit_l": Remote(
        "sam_vit_l_0b3195.pth",
        (f"{_META}/sam_vit_l_0b3195.pth",),
        size=1_249_524_607,
        sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        licence="Apache-2.0",
    ),
    "vit_h": Remote(
        "sam_vit_h_4b8939.pth",
        (f"{_META}/sam_vit_h_4b8939.pth",),
        size=2_564_550_879,
        sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        licence="Apache-2.0",
    ),
    "vggish": Remote(
        "vggish-10086976.pth",
        (f"{_PORT}/vggish-10086976.pth",),
        size=288_567_937,
        sha256="10086976",  # its name says no more, and the whole is published nowhere that we know of
        licence="Apache-2.0",
    ),
}


def official_weights(name: str, folder: Path | str | None = None, **options: object) -> Path:
    """The path of an official checkpoint, verified; it is fetched where it is not there yet.

    Args:
        name: "vit_b", "vit_l", "vit_h" or "vggish".
        folder, options: as of `gavs_lib.data.fetch.fetch`.

    Raises:
        ValueError: an unknown name; otherwise as `fetch`.
    """
    if name not in OFFICIAL:
        raise ValueError(
            f"there are no official weights {name!r}; there are {', '.join(OFFICIAL)}. "
            'The miniature models come with the library: SAM\'s "shipped", VGGish\'s "mini".'
        )
    return fetch(OFFICIAL[name], folder, **options)


def named_weights(word: Path | str, name: str) -> Path | str:
    """What a user calls the weights of `name`: "official" stands for `official_weights(name)`, all else for itself."""
    return official_weights(name) if str(word) == "official" else word


def main(argv: list[str] | None = None) -> int:
    """Fetch official weights and print where they are.

    Returns:
        exit code: 0 done, 1 it could not be done (the error stream says why), 130 interrupted.
    """
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.lab.official", description=main.__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(OFFICIAL))
    parser.add_argument(
        "--folder", type=Path, help="where they are kept (default: %(default)s)", default=cache_folder()
    )
    parser.add_argument("--offline", action="store_true", default=None, help="only what is there; the net is not used")
    parser.add_argument("--list", action="store_true", help="print sizes, licences and what is there; fetch nothing")
    chosen = parser.parse_args(argv)
    if chosen.list:
        for name, remote in OFFICIAL.items():
            there = "there" if (chosen.folder / remote.name).is_file() else "not there"
            print(f"{name:<7} {remote.size:>13,} bytes  {remote.licence}  {chosen.folder / remote.name} ({there})")
        return 0
    if not chosen.names:
        parser.error(f"no name given; expected some of {', '.join(OFFICIAL)}, or --list")
    try:
        for name in chosen.names:
            print(official_weights(name, chosen.folder, offline=chosen.offline))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what has arrived is kept, and the same command goes on from there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
