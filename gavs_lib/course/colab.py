"""The set-up cell of every notebook: on Colab it installs the library, everywhere else it does nothing.

The cell must run where the library is not yet, so its text stands in the notebooks; `make stamp` writes it there, with
the address and the tag from the one place that knows them, `[tool.gavs]` in pyproject.toml. It fetches the library
alone, and the library then adds what it lacks. What Colab has installed is not touched, above all torch and numpy: its
torch fits its driver, and a package that is exchanged under a running kernel breaks it.

At import this module needs nothing but Python: on Colab it runs before its neighbours' packages are there.
"""

import importlib
import importlib.metadata
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MARKER = "# Only on Colab: install the library. (`make stamp` writes this cell; elsewhere it does nothing.)"
# Stands in pyproject.toml until somebody publishes the course; with it, the cell says so instead of asking git.
UNPUBLISHED = "https://github.com/OWNER/REPOSITORY"
# What an installation of something else must not exchange, even where pip thinks it should.
KEPT = ("torch", "torchvision", "torchaudio", "numpy")
_EXTRA = "notebook"  # of pyproject.toml: what the notebooks import beside the library's own requirements
_CELL = f"""{MARKER}
import importlib.util
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("gavs_lib") is None:
{{body}}"""
_INSTALL = """\
    import subprocess

    SOURCE = "git+{repository}@{tag}"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", SOURCE], check=True)
    importlib.invalidate_caches()
if "google.colab" in sys.modules:
    from gavs_lib.course.colab import install_missing

    install_missing()
"""
_REFUSE = """\
    raise RuntimeError("This copy is not published yet; [tool.gavs] in its pyproject.toml waits for an address.")
"""
_WRITTEN = re.compile(rf"^{re.escape(MARKER)}\n(?:(?!# %%).*\n)*?(?=\n*# %%|\Z)", re.MULTILINE)


def install_missing() -> list[str]:
    """Install those requirements of the installed library that are not there, and nothing else.

    Of `KEPT`, what is installed is held at its version. A package that is there in a version the course is not tested
    with is left alone, and named.

    Returns:
        the requirements that were installed.

    Raises:
        RuntimeError: pip could not; its own words stand above.
    """
    wanted = _requirements()
    known = [each for each in importlib.metadata.distributions() if each.metadata["Name"]]  # else: a broken rest
    installed = {_normal(each.metadata["Name"]): each.version for each in known}
    missing = [text for name, text in wanted.items() if name not in installed]
    if missing:
        with tempfile.TemporaryDirectory() as folder:
            held = Path(folder, "held.txt")
            held.write_text("".join(f"{name}=={installed[name]}\n" for name in KEPT if name in installed))
            done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-c", str(held), *missing])
        if done.returncode:
            raise RuntimeError(
                f"pip could not install {', '.join(missing)} beside what is here (its words stand above). A new Colab "
                "session (Runtime > Disconnect and delete runtime) has its packages as Colab ships them; try there."
            )
        importlib.invalidate_caches()
    from packaging.specifiers import SpecifierSet  # comes with matplotlib

    for name, text in wanted.items():
        span = text[re.match(r"[\w.-]+", text).end() :]
        if name in installed and not SpecifierSet(span).contains(installed[name], prereleases=True):
            print(f"{name} {installed[name]} is installed; the course is tested with {span}. It is left as it is.")
    return missing


def drive_folder(name: str = "gavs") -> Path:
    """A folder of the user's Google Drive, which outlives the Colab session; Drive is mounted, and asks for leave.

    Raises:
        RuntimeError: this is not Colab.
    """
    if "google.colab" not in sys.modules:
        raise RuntimeError("This is not Colab, so there is no Google Drive to write to; choose an output_dir instead.")
    from google.colab import drive

    drive.mount("/content/drive")
    return Path("/content/drive/MyDrive") / name


def cell(project: Path = REPOSITORY / "pyproject.toml") -> str:
    """The text of the set-up cell, with the address and tag of `project`; with `UNPUBLISHED`, one that refuses.

    Raises:
        ValueError: `[tool.gavs]` lacks them, or they cannot stand in an address.
    """
    import tomllib  # Python 3.11; only who stamps needs it

    told = tomllib.loads(project.read_text(encoding="utf-8")).get("tool", {}).get("gavs", {})
    repository, tag = told.get("repository", ""), told.get("tag", "")
    if not re.fullmatch(r"(https|file)://[^\s\"'@\\]+", repository) or not re.fullmatch(r"[\w.+/-]+", tag):
        raise ValueError(
            f"{project}: [tool.gavs] has repository = {repository!r} and tag = {tag!r}; expected an https:// address "
            'that git can clone, and the tag or branch to fetch, such as "v0.1.0".'
        )
    body = _REFUSE if repository == UNPUBLISHED else _INSTALL.format(repository=repository, tag=tag)
    return _CELL.format(body=body)


def stamp(notebooks: Path = REPOSITORY / "notebooks", project: Path = REPOSITORY / "pyproject.toml") -> list[Path]:
    """Write the set-up cell into every notebook source that has one, assignments included.

    Returns:
        the sources that changed; `make sync` brings their .ipynb into step.

    Raises:
        ValueError: as in `cell`, or a notebook NN_name.py has no such cell.
    """
    text, changed = cell(project), []
    for source in sorted(notebooks.rglob("*.py")):
        old = source.read_text(encoding="utf-8")
        new, count = _WRITTEN.subn(lambda _: text, old)
        if not count and source.parent == notebooks:
            raise ValueError(f"{source}: has no set-up cell. Start a code cell with the line\n{MARKER}")
        if new != old:
            source.write_text(new, encoding="utf-8")
            changed.append(source)
    return changed


def _requirements() -> dict[str, str]:
    """Normalised name -> requirement with its range, of the library and its notebooks, as installed."""
    found = {}
    for line in importlib.metadata.requires("gavs-lib") or []:
        text, _, marker = (part.strip() for part in line.partition(";"))
        if not marker or re.fullmatch(rf"extra == ['\"]{_EXTRA}['\"]", marker):
            found[_normal(re.match(r"[\w.-]+", text)[0])] = text
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
