"""Where the miniature weights, the recorded results and the papers' tables lie, in a checkout and in a wheel."""

import importlib.resources
import pathlib


def shipped_weights(name: str) -> pathlib.Path:
    """Find a shipped weights file.

    Args:
        name: the file's name without its suffix, such as "sam_mini" or "vggish_mini".

    Returns:
        `data/weights/<name>.safetensors` of the checkout, or `gavs_lib/weights/<name>.safetensors` of an installed
        wheel.

    Raises:
        ValueError: the name is a path.
        FileNotFoundError: neither place has the file.
    """
    return _find("weights", f"{name}.safetensors", "`make pretrain` (or `git checkout -- data/weights`)")


def shipped_results(name: str) -> pathlib.Path:
    """Find a table of recorded results: `data/results/<name>.csv`, or `gavs_lib/results/<name>.csv` in a wheel.

    Args:
        name: the file's name without its suffix, such as "probes".

    Raises:
        ValueError: the name is a path.
        FileNotFoundError: neither place has the file.
    """
    return _find("results", f"{name}.csv", "`git checkout -- data/results`")


def shipped_papers(name: str) -> pathlib.Path:
    """Find the tables of a paper: `data/papers/<name>.csv`, or `gavs_lib/papers/<name>.csv` in a wheel.

    Args:
        name: "gavs" or "save".

    Raises:
        ValueError: the name is a path.
        FileNotFoundError: neither place has the file.
    """
    return _find("papers", f"{name}.csv", "`git checkout -- data/papers`")


def _find(kind: str, file_name: str, remedy: str) -> pathlib.Path:
    stem = file_name.rpartition(".")[0]
    if pathlib.PurePath(file_name).name != file_name:
        example = {"weights": "sam_mini", "results": "probes", "papers": "gavs"}[kind]
        raise ValueError(f"{stem!r} is a path; expected the plain name of a shipped {kind} file, such as {example!r}.")
    package = pathlib.Path(str(importlib.resources.files("gavs_lib")))
    candidates = [package.parent / "data" / kind / file_name, package / kind / file_name]
    for path in candidates:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"no shipped {kind} {stem!r}: looked for {candidates[0]} and {candidates[1]}. "
        f"In a checkout run {remedy}; otherwise reinstall the package."
    )
