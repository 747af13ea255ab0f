"""What a stranger installs: the wheel with its weights, the versions, the Makefile."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)$")


def pins(lines) -> dict[str, str]:
    found = {}
    for line in lines:
        match = PIN.match(line.strip())
        if match:
            found[_normal(match[1])] = match[2]
    return found


def direct_dependencies() -> dict[str, str]:
    """Normalised name -> its range in pyproject.toml, extras included."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    project = text[text.index("\ndependencies = [") : text.index("[tool.hatch")]
    return {_normal(name): span for name, span in re.findall(r'"([A-Za-z0-9_-]+)([<>=][^"]*)"', project)}


@pytest.fixture(scope="module")
def constraints() -> dict[str, str]:
    return pins((REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("gavs_lib-*.whl"))


def test_every_direct_dependency_has_an_exact_version_within_its_range(constraints):
    from packaging.specifiers import SpecifierSet

    ranges = direct_dependencies()
    assert {"torch", "segment-anything", "papermill", "nbgrader", "pytest"} <= ranges.keys()
    for name, span in ranges.items():
        assert name in constraints, f"{name} has no version in constraints.txt"
        assert SpecifierSet(span).contains(constraints[name]), f"{name}: {constraints[name]} is not in {span}"


def test_torch_has_a_range_that_holds_the_tested_trio(constraints):
    assert "<" in direct_dependencies()["torch"] and "==" not in direct_dependencies()["torch"]
    assert [constraints[name] for name in ("torch", "torchvision", "torchaudio")] == ["2.11.0", "0.26.0", "2.11.0"]


def test_environment_yml_has_the_versions_of_constraints_for_every_direct_dependency(constraints):
    conda = yaml.safe_load((REPOSITORY / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert "python=3.11" in conda
    pip = next(entry["pip"] for entry in conda if isinstance(entry, dict))
    assert pins(pip) == {name: constraints[name] for name in direct_dependencies()}


def test_the_wheel_holds_the_library_the_weights_the_results_and_the_papers_tables_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for kind in ("weights", "results", "papers"):
        kept = {path.name for path in (REPOSITORY / "data" / kind).iterdir() if path.is_file()}
        assert {Path(name).name for name in names if name.startswith(f"gavs_lib/{kind}/")} == kept
    assert "gavs_lib/weights/sam_mini.safetensors" in names and "gavs_lib/results/probes.csv" in names
    assert {"gavs_lib/papers/gavs.csv", "gavs_lib/papers/save.csv"} <= set(names)
    assert {name.split("/")[0] for name in names} == {"gavs_lib", "gavs_lib-0.1.0.dist-info"}
    assert not [name for name in names if "__pycache__" in name]
    for path in (REPOSITORY / "gavs_lib").rglob("*.py"):
        assert str(path.relative_to(REPOSITORY)) in names


def test_the_installed_wheel_builds_sam_mini_from_its_own_weights(wheel, tmp_path):
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    script = (
        "import gavs_lib, torch\n"
        "random, shipped = gavs_lib.build_sam('mini'), gavs_lib.build_sam('mini', checkpoint='shipped')\n"
        "name = 'image_encoder.blocks.0.attn.qkv.weight'\n"
        "assert not torch.equal(random.state_dict()[name], shipped.state_dict()[name])\n"
        "print(gavs_lib.__file__)"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(site)  # not the checkout, nor an editable installation of it


def test_every_make_target_is_listed_by_help():
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())
    assert targets == set(re.findall(r"^  make ([a-z-]+)  +\S", _make("help"), re.MULTILINE))
    wanted = "help env lab run test lint format sync check-sync data pretrain train predict clean"
    assert set(wanted.split()) <= targets


def test_variables_of_the_environment_do_not_steer_make_run():
    planned = _make("--dry-run", "run", "NOTEBOOK=05", PROFILE="full", NOTEBOOK="99", ARGS="--nonsense")
    assert planned.rstrip().endswith('gavs_lib.course run --profile "quick" --notebook "05"')


def _make(*words: str, **variables: str) -> str:
    """What make prints, with these environment variables and without those by which a `make test` around it speaks."""
    kept = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    command = ["make", "--no-print-directory", *words]
    environment = {**kept, **variables}
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY, env=environment).stdout


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
