"""Every check in the notebooks can fail: break what it checks, and see this very check fail."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from breakages import BREAKAGES

from gavs_lib.course.run import plan
from gavs_lib.course.sync import NOTEBOOKS

TESTS = Path(__file__).parent
STEPS = {step.name: step for step in plan(NOTEBOOKS, "smoke")}
MOST_AT_ONCE = 4  # notebooks, each of which takes a core and about a gigabyte

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the broken copies are forks")


def run_broken(name: str, folder: Path) -> list[dict]:
    """What became of each check of a notebook, see run_breakages.py."""
    settings = {**STEPS[name].parameters, "device": "cpu", "output_dir": str(folder / "output")}
    results = folder / "results.jsonl"
    done = subprocess.run(
        [sys.executable, TESTS / "run_breakages.py", STEPS[name].path, json.dumps(settings), results],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory) -> Iterator[dict[str, Future]]:
    """The selected notebooks, several at once."""
    selected = [item.callspec.params["name"] for item in request.session.items if item.path == request.path]
    with ThreadPoolExecutor(min(MOST_AT_ONCE, os.cpu_count() or 1)) as pool:
        yield {name: pool.submit(run_broken, name, tmp_path_factory.mktemp(name)) for name in selected}


@pytest.mark.parametrize("name", list(STEPS))
def test_every_check_fails_when_what_it_checks_is_broken(name, outcomes):
    told = outcomes[name].result()
    assert told
    survived = [each for each in told if each.get("failed") != each["check"]]
    assert not survived, f"{len(survived)} of {len(told)} checks did not fail:\n" + "\n".join(map(str, survived))
    unused = [known for known in BREAKAGES[name] if not any(each["check"].startswith(known) for each in told)]
    assert not unused, "breakages without a check"
