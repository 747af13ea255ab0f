"""The two halves of a notebook: what sync writes, what check-sync finds."""

import os

import nbformat
import pytest

from gavs_lib.course.sync import NOTEBOOKS, check_sync, differences, generate, pairs, sync

SOURCE = """\
# %% [markdown]
# # A title

# %% tags=["parameters"]
steps: int = 3  # how many

# %%
print(steps)

# %%
print(steps)
"""


@pytest.fixture
def pair(tmp_path):
    source = tmp_path / "00_one.py"
    source.write_text(SOURCE)
    assert sync(tmp_path) == 0
    return source, tmp_path / "00_one.ipynb"


def test_the_notebooks_of_this_repository_agree_with_their_sources():
    assert [line for pair in pairs(NOTEBOOKS) for line in differences(*pair)] == []


def test_sync_writes_cells_tags_kernel_and_no_outputs(pair):
    notebook = nbformat.read(pair[1], as_version=4)
    nbformat.validate(notebook)
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "code", "code"]
    assert notebook.cells[1].metadata.tags == ["parameters"]
    assert notebook.metadata.kernelspec.language == "python"
    assert all(cell.outputs == [] and cell.execution_count is None for cell in notebook.cells[1:])
    assert len({cell.id for cell in notebook.cells}) == 4  # two cells have the same text


def test_a_second_sync_changes_nothing(pair):
    before, stamp = pair[1].read_bytes(), pair[1].stat().st_mtime_ns
    assert sync(pair[0].parent) == 0
    assert pair[1].read_bytes() == before and pair[1].stat().st_mtime_ns == stamp


def test_the_same_source_gives_the_same_bytes_on_another_machine(pair):
    before = pair[1].read_bytes()
    pair[1].unlink()
    sync(pair[0].parent)
    assert pair[1].read_bytes() == before


def test_editing_one_cell_leaves_the_ids_of_the_others(pair):
    before = [cell.id for cell in nbformat.read(pair[1], as_version=4).cells]
    pair[0].write_text(SOURCE.replace("steps: int = 3", "steps: int = 4"))
    _older(pair[1])
    assert sync(pair[0].parent) == 0
    after = [cell.id for cell in nbformat.read(pair[1], as_version=4).cells]
    assert [old == new for old, new in zip(before, after)] == [True, False, True, True]


def test_ids_given_by_jupyter_survive_where_the_text_does(pair):
    notebook = nbformat.read(pair[1], as_version=4)
    notebook.cells[2].id, notebook.cells[3].id = "third", "fourth"
    again = generate(pair[0], notebook)
    assert [cell.id for cell in again.cells[2:]] == ["third", "fourth"]


def test_check_sync_names_the_cell_that_differs_and_sync_repairs_it(pair, capsys):
    pair[0].write_text(SOURCE.replace("how many", "how few"))
    _older(pair[1])
    assert check_sync(pair[0].parent) == 1
    assert "00_one.ipynb: cell 1 differs from 00_one.py" in capsys.readouterr().out
    assert sync(pair[0].parent) == 0 and check_sync(pair[0].parent) == 0


def test_outputs_are_a_difference_and_sync_clears_them(pair, capsys):
    notebook = nbformat.read(pair[1], as_version=4)
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", name="stdout", text="3\n")]
    notebook.cells[2].execution_count = 1
    nbformat.write(notebook, pair[1])
    assert check_sync(pair[0].parent) == 1
    assert "outputs in cells 2" in capsys.readouterr().out
    assert sync(pair[0].parent) == 0 and check_sync(pair[0].parent) == 0


def test_half_a_pair_is_reported(pair, capsys):
    pair[1].rename(pair[1].with_name("01_alone.ipynb"))
    assert check_sync(pair[0].parent) == 1
    out = capsys.readouterr().out
    assert "00_one.ipynb is missing" in out and "01_alone.py is missing" in out
    assert sync(pair[0].parent) == 1  # it can write the .ipynb, not invent the .py
    assert pair[1].exists()


def test_an_edit_made_in_jupyter_alone_is_not_overwritten(pair, capsys):
    notebook = nbformat.read(pair[1], as_version=4)
    notebook.cells[3].source = "print('an afternoon of work')"
    nbformat.write(notebook, pair[1])
    _older(pair[0])
    assert sync(pair[0].parent) == 1
    assert "jupytext --to py:percent" in capsys.readouterr().out
    assert "afternoon" in pair[1].read_text()


def test_a_broken_notebook_file_is_reported_and_rewritten(pair, capsys):
    pair[1].write_text("{")
    assert check_sync(pair[0].parent) == 1
    assert "cannot be read as a notebook" in capsys.readouterr().out
    assert sync(pair[0].parent) == 0 and check_sync(pair[0].parent) == 0


def _older(path):
    """Make `path` ten seconds older than it is, as if the other half had been written later."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - 10**10))
