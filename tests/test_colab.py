"""The set-up cell on Colab: a stand-in for google.colab, and environments that have no gavs_lib."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import types
import venv
import zipfile
from pathlib import Path

import pytest

from gavs_lib.course import colab
from gavs_lib.course.sync import NOTEBOOKS

REPOSITORY = Path(__file__).resolve().parents[1]
OTHERS = Path(importlib.metadata.distribution("torch").locate_file(""))  # the packages of this environment
ON_COLAB = "import sys, types\nsys.modules['google.colab'] = types.ModuleType('google.colab')\n"


def project(folder: Path, repository: str, tag: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(f'[tool.gavs]\nrepository = "{repository}"\ntag = "{tag}"\n')
    return path


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """The library as it stands here, in a repository that git can clone, under the tag v9."""
    folder = tmp_path_factory.mktemp("published")
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")  # the weights are not what is tested here
    shutil.copytree(REPOSITORY / "gavs_lib", folder / "gavs_lib", ignore=ignored)
    shutil.copytree(REPOSITORY / "data" / "weights", folder / "data" / "weights", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "As it stands"], ["tag", "v9"]):
        author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        subprocess.run(["git", "-C", folder, *author, *words], check=True, capture_output=True)
    return folder


def wheel(folder: Path, name: str, version: str, requires: str = "") -> None:
    """A package of one empty module, as pip installs it."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": metadata + (f"Requires-Dist: {requires}\n" if requires else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


class Session:
    """A Python like Colab's: torch and the others are there, gavs_lib and one of its requirements are not."""

    def __init__(self, folder: Path, lacks: str) -> None:
        venv.create(folder / "env", with_pip=False, symlinks=True)
        self.own = next((folder / "env").glob("lib/python*/site-packages"))
        others, self.index = folder / "others", folder / "index"
        others.mkdir()
        self.index.mkdir()
        for path in OTHERS.iterdir():
            if not re.match(rf"_?gavs|{lacks}\b|__pycache__|.*\.pth$", path.name):
                (others / path.name).symlink_to(path)
        (self.own / "others.pth").write_text(f"{others}\n")
        self.python = folder / "env" / "bin" / "python"

    def run(self, code: str) -> subprocess.CompletedProcess:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.index), "PIP_NO_BUILD_ISOLATION": "0"}
        pip |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CONFIG_FILE": os.devnull}
        return subprocess.run([self.python, "-c", code], capture_output=True, text=True, cwd="/", env={**kept, **pip})


def test_on_colab_the_cell_installs_the_library_and_what_is_missing_and_leaves_torch_alone(published, tmp_path):
    session = Session(tmp_path, lacks="tqdm")
    wheel(session.index, "tqdm", "4.99")
    wheel(session.index, "numpy", "99.0")  # younger ones to be had, which nobody asked for
    wheel(session.index, "torch", "99.0")
    cell = colab.cell(project(tmp_path, published.as_uri(), "v9"))
    told = "import gavs_lib, torch, tqdm\nfrom gavs_lib.course import plots\nprint(tqdm.__file__, gavs_lib.__file__)\n"
    done = session.run(ON_COLAB + cell + told)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(session.own / "tqdm.py"), str(session.own / "gavs_lib" / "__init__.py")]
    added = {path.name.split("-")[0] for path in session.own.glob("*.dist-info")}
    assert added == {"tqdm", "gavs_lib"}

    again = session.run(ON_COLAB + cell.replace("v9", "no-such-tag") + "print('done')")
    assert again.returncode == 0 and again.stdout == "done\n", "with the library there, nothing is fetched"


def test_a_missing_package_that_wants_another_numpy_is_refused_and_numpy_stays(published, tmp_path):
    session = Session(tmp_path, lacks="tqdm")
    wheel(session.index, "tqdm", "4.99", requires="numpy>=99")
    wheel(session.index, "numpy", "99.0")
    cell = ON_COLAB + colab.cell(project(tmp_path, published.as_uri(), "v9"))
    done = session.run(cell)
    assert done.returncode != 0
    assert "RuntimeError: pip could not install tqdm>=" in done.stderr
    assert not list(session.own.glob("numpy*"))

    wheel(session.index, "tqdm", "4.99")
    (session.own / "left-1.0.dist-info").mkdir()  # by an installation that broke off
    done = session.run(cell)
    assert done.returncode == 0, done.stderr
    assert (session.own / "tqdm.py").exists(), "run again, the cell adds what it could not add before"


def test_what_is_there_in_another_version_than_tested_is_named_and_left(monkeypatch, capsys):
    monkeypatch.setattr(colab, "_requirements", lambda: {"torch": "torch>=2.4,<2.5", "numpy": "numpy>=1.26"})
    assert colab.install_missing() == []
    told = capsys.readouterr().out
    version = importlib.metadata.version("torch")
    assert told == f"torch {version} is installed; the course is tested with >=2.4,<2.5. It is left as it is.\n"


def test_the_notebooks_requirements_are_the_librarys_and_those_of_the_extra():
    wanted = colab._requirements()
    assert {"torch", "segment-anything", "seaborn", "ipywidgets"} <= set(wanted)
    assert not {"papermill", "nbgrader", "pytest", "jupyterlab", "gavs-lib"} & set(wanted)


def test_elsewhere_the_cell_does_nothing(published, tmp_path):
    session = Session(tmp_path, lacks="tqdm")
    done = session.run(colab.cell(project(tmp_path, published.as_uri(), "v9")) + "print('done')")
    assert done.returncode == 0 and done.stdout == "done\n"
    assert not list(session.own.glob("gavs*"))


def test_every_notebook_has_the_cell_that_pyproject_describes():
    text = colab.cell()
    for source in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.py")):
        assert f"# %%\n{text}\n# %%" in source.read_text(encoding="utf-8"), f"{source.name}: make stamp"


def test_stamping_writes_address_and_tag_into_every_notebook_and_twice_changes_nothing(tmp_path):
    folder = tmp_path / "notebooks"
    (folder / "assignments").mkdir(parents=True)
    rest = "# %% [markdown]\n# # Title\n\n# %%\nimport torch\n\nprint(torch)\n"
    for name in ("00_first.py", "assignments/one.py"):
        (folder / name).write_text(f"# %%\n{colab.MARKER}\nold = 1\n\nold\n\n{rest}")
    settings = project(tmp_path, "https://example.org/course.git", "v2.0")
    assert [path.name for path in colab.stamp(folder, settings)] == ["00_first.py", "one.py"]
    for name in ("00_first.py", "assignments/one.py"):
        assert (folder / name).read_text() == f"# %%\n{colab.cell(settings)}\n{rest}"
    assert 'SOURCE = "git+https://example.org/course.git@v2.0"' in (folder / "00_first.py").read_text()
    assert colab.stamp(folder, settings) == []


def test_a_notebook_without_the_cell_is_named(tmp_path):
    (tmp_path / "00_first.py").write_text("# %%\nimport torch\n")
    with pytest.raises(ValueError, match="00_first.py: has no set-up cell"):
        colab.stamp(tmp_path, project(tmp_path, "https://example.org/course.git", "v2.0"))


@pytest.mark.parametrize(
    ("repository", "tag"), [("", "v1"), ("git@host:x", "v1"), ('https://a/"', "v1"), ("https://a/b", "")]
)
def test_an_address_that_cannot_be_fetched_is_refused(tmp_path, repository, tag):
    path = tmp_path / "pyproject.toml"
    path.write_text(f"[tool.gavs]\nrepository = '{repository}'\ntag = '{tag}'\n")
    with pytest.raises(ValueError, match="expected an https:// address"):
        colab.cell(path)


def test_an_unpublished_copy_says_so_on_colab(tmp_path):
    done = Session(tmp_path, lacks="tqdm").run(ON_COLAB + colab.cell(project(tmp_path, colab.UNPUBLISHED, "v1")))
    assert "RuntimeError: This copy is not published yet" in done.stderr


def test_drive_is_mounted_on_colab_and_refused_elsewhere(monkeypatch):
    with pytest.raises(RuntimeError, match="This is not Colab"):
        colab.drive_folder()
    mounted = []
    google, here, drive = (types.ModuleType(name) for name in ("google", "google.colab", "google.colab.drive"))
    here.drive, drive.mount = drive, mounted.append
    for name, module in (("google", google), ("google.colab", here), ("google.colab.drive", drive)):
        monkeypatch.setitem(sys.modules, name, module)
    assert colab.drive_folder("runs") == Path("/content/drive/MyDrive/runs") and mounted == ["/content/drive"]
