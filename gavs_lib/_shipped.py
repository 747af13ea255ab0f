"""Where the miniature weights that come with the library lie, in a checkout and in an installed wheel."""

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
    file_name = f"{name}.safetensors"
    if pathlib.PurePath(file_name).name != file_name:
        raise ValueError(f"{name!r} is a path; expected the plain name of a shipped weights file, such as 'sam_mini'.")
    package = pathlib.Path(str(importlib.resources.files("gavs_lib")))
    candidates = [package.parent / "data" / "weights" / file_name, package / "weights" / file_name]
    for path in candidates:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"no shipped weights {name!r}: looked for {candidates[0]} and {candidates[1]}. "
        "In a checkout run `make pretrain` (or `git checkout -- data/weights`); otherwise reinstall the package."
    )
