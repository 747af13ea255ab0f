"""Every check in the notebooks can fail: break what it checks, and see this very check fail."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from breakages import BREAKAGES

from gavs_lib.course.run import plan
from gavs_lib.course.sync import NOTEBOOKS

TESTS = Path(__file__).parent
STEPS = {step.name: step for step in plan(NOTEBOOKS, "smoke")}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the broken copies are forks")
@pytest.mark.parametrize("name", list(STEPS))
def test_every_check_fails_when_what_it_checks_is_broken(name, tmp_path):
    settings = {**STEPS[name].parameters, "device": "cpu", "output_dir": str(tmp_path / "output")}
    results = tmp_path / "results.jsonl"
    done = subprocess.run(
        [sys.executable, TESTS / "run_breakages.py", STEPS[name].path, json.dumps(settings), results],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert told
    survived = [each for each in told if each.get("failed") != each["check"]]
    assert not survived, f"{len(survived)} of {len(told)} checks did not fail:\n" + "\n".join(map(str, survived))
    written = set(BREAKAGES[name])
    assert all(any(each["check"].startswith(known) for each in told) for known in written), "a breakage without a check"
