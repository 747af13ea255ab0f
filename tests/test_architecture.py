"""The shape of the library: which room may import which, and how large the core may grow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gavs_lib

LIBRARY = Path(gavs_lib.__file__).parent
CORE_LINES = 2500
# What a room may import beside itself; everything may import the core.
BELOW = {
    "core": set(),
    "data": {"core"},
    "world": {"core"},
    "lab": {"core", "data", "world"},
    "course": {"core", "data", "world", "lab"},
}
CORE_DEPENDENCIES = {"torch", "segment_anything", "torchmetrics", "numpy"}
# Inside a function that needs them, the core may also ask for these: to read a shipped weights file, to resample.
CORE_WHEN_CALLED = {"safetensors", "torchaudio"}
FOREIGN_TO_THE_CORE = {"pandas", "matplotlib", "IPython", "accelerate", "scipy", "soundfile", "av", "PIL", "papermill"}

MODULES = sorted(path for path in LIBRARY.rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(LIBRARY).parts
    return parts[0] if len(parts) > 1 else "core"


def imports_of(path: Path) -> list[tuple[int, str, bool]]:
    """(line, absolute dotted name, at the top of the module?) of every import; `from a import b` counts as a.b."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ["gavs_lib", *path.relative_to(LIBRARY).parts[:-1]]
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            names = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        found += [(node.lineno, name, id(node) not in inside) for name in names]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_imports_run_one_way(path):
    room = room_of(path)
    assert room in BELOW, f"{path}: a room the design does not know; add it to BELOW"
    for line, name, _ in imports_of(path):
        parts = name.split(".")
        if parts[0] != "gavs_lib" or path == LIBRARY / "__init__.py":
            continue
        target = parts[1] if len(parts) > 1 and (LIBRARY / parts[1]).is_dir() else "core"
        assert target == room or target in BELOW[room], f"{path.name}:{line}: {room} must not import {name}"


@pytest.mark.parametrize("path", sorted(LIBRARY.glob("*.py")), ids=lambda path: path.name)
def test_the_core_names_no_dependency_beyond_its_three(path):
    for line, name, at_top in imports_of(path):
        package = name.split(".")[0]
        if package == "gavs_lib" or package in sys.stdlib_module_names:
            continue
        allowed = CORE_DEPENDENCIES if at_top else CORE_DEPENDENCIES | CORE_WHEN_CALLED
        assert package in allowed, f"{path.name}:{line}: the core must not import {package}"


def test_importing_the_core_loads_nothing_that_its_three_dependencies_do_not_load():
    # torchmetrics loads matplotlib where there is one; hence the difference, not the whole of sys.modules.
    core = [f"gavs_lib.{path.stem}" for path in sorted(LIBRARY.glob("*.py")) if path.stem != "__init__"]
    script = (
        "import importlib, sys, torch, segment_anything, torchmetrics\n"
        "before = set(sys.modules)\n"
        f"for name in {core!r}: importlib.import_module(name)\n"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=LIBRARY.parent)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & FOREIGN_TO_THE_CORE == set()


def test_the_core_can_be_read_in_an_afternoon():
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in LIBRARY.glob("*.py")}
    assert sum(lines.values()) <= CORE_LINES, lines


def test_there_is_no_drawer_for_everything():
    drawers = [path for path in MODULES if path.stem in {"utils", "util", "helpers", "common", "misc"}]
    assert drawers == []
