"""What the README promises a stranger: that its example runs, and that what it names is there."""

import importlib.util
import re
from pathlib import Path

import pytest

from gavs_lib.lab.shipped import summary

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "data" / "README.md", REPOSITORY / "docs" / "real_data.md"]
PAGES += [REPOSITORY / "docs" / "laboratory.md"]


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[0].read_text(encoding="utf-8"), flags=re.M | re.S)


def test_the_library_example_runs_and_trains_what_it_says(capsys):
    (example,) = code_blocks("python")
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)
    output, model = names["output"], names["model"]
    assert output.mask_logits.shape == (2, 5, 64, 64)
    assert output.visual_cue.shape == (2, 5, 128) and output.iou.shape == (2, 5)
    assert names["patches"].shape == (2, 5, 1, 96, 64)
    assert any(parameter.grad is not None for parameter in model.parameters())
    assert "trained" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_to_files_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_exist(page):
    text = page.read_text(encoding="utf-8")
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.M))
    # In code only: prose may say "make of it what you like".
    code = "\n".join(re.findall(r"`+([^`]+)`+", text))
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)", code)) <= targets
    for module in re.findall(r"python -m (gavs_lib[\w.]*)", code):
        assert importlib.util.find_spec(module) is not None, module


@pytest.mark.parametrize("page", PAGES[:2], ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_files_in_tables_exist(page):
    rows = re.findall(r"^\| `([^`*]+)` \|", page.read_text(encoding="utf-8"), flags=re.M)
    folders = [REPOSITORY, *(REPOSITORY / "data" / kind for kind in ("weights", "results", "papers"))]
    missing = [row for row in rows if not any((folder / row).exists() for folder in folders)]
    assert rows and missing == []


def test_the_readme_is_read_in_five_minutes():
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) < 200


def test_the_results_are_those_on_record():
    text = PAGES[0].read_text(encoding="utf-8")
    (shown,) = re.findall(
        r"^<!-- python -m gavs_lib.course train --summary -->\n(.*?)\n<!-- end -->", text, re.M | re.S
    )
    assert shown == summary(REPOSITORY / "data" / "results" / "shipped.csv")
