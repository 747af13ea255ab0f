"""The report and its pages: whole in one file, nothing from the network, sounds and pictures intact, failures told."""

import base64
import io
import json
import re
from xml.etree import ElementTree

import ipywidgets
import nbformat
import numpy as np
import pytest
import soundfile
from bs4 import BeautifulSoup
from nbformat import v4
from PIL import Image

from gavs_lib.course import report as reporting
from gavs_lib.course import run as running
from gavs_lib.course import widgets
from gavs_lib.course.__main__ import main
from gavs_lib.course.pages import make_static, notebook_page, still_widget
from gavs_lib.course.report import number, write_report
from gavs_lib.course.run import run
from gavs_lib.course.sync import NOTEBOOKS, sync

SHOWS = """\
# %% [markdown]
# # 00 · Everything that a page must show
# A formula, $F_V$, and $$\\frac{a}{b} \\quad (1)$$
#
# Go on with [the next](01_stops.ipynb#there), [none](07_none.ipynb).

# %% tags=["parameters"]
seed: int = 3  # of the noise
output_dir: str = "nowhere"

# %%
import json
from pathlib import Path
import numpy as np
from IPython.display import Audio, HTML, display
from gavs_lib.course import plots, widgets

noise = np.random.default_rng(seed).uniform(-1, 1, 1600)
frames = np.zeros((2, 8, 8, 3), dtype=np.uint8)
display(HTML('<video controls src="data:video/mp4;base64,AAAA"></video>'))
Audio(noise, rate=16000)

# %% tags=["report"]
plots.pictures({"picture": frames[0]}, "A black <square>")

# %% [markdown]
# ## Not for the report
# %%
plots.pictures({"picture": frames[1]}, "Another $F_A$")

# %%
widgets.mask_explorer(frames, np.zeros((2, 8, 8)), np.zeros((2, 8, 8), dtype=bool))

# %%
facts = {"metrics": {"miou": 0.8191, "tiny": 3.2e-6, "count": 12}, "intervals": {"miou": [0.79, 0.8444]}}
Path(output_dir, "00_shows.json").write_text(json.dumps(facts | {"seed": seed, "world": "abc"}))
"""
STOPS = """\
# %% [markdown]
# # 01 · Stops
# ## there

# %% tags=["parameters"]
output_dir: str = "nowhere"

# %%
1 / 0
"""


# MathML Core's elements for formulas like ours.
MATHML = set("math mrow mi mn mo ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover".split())
MATHML |= set("mtable mtr mtd mstyle mpadded".split())


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A run of two notebooks of which the second fails: (its folder, its exit code, what it printed)."""
    notebooks = tmp_path_factory.mktemp("notebooks")
    (notebooks / "00_shows.py").write_text(SHOWS)
    (notebooks / "01_stops.py").write_text(STOPS)
    assert sync(notebooks) == 0
    build = tmp_path_factory.mktemp("build")
    patch = pytest.MonkeyPatch()
    printed = io.StringIO()
    with patch.context() as context:
        context.setattr("sys.stdout", printed)
        code = run("quick", "", {"seed": "5"}, notebooks=notebooks, build=build)
    return build / "quick", code, printed.getvalue()


def soup(path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def carried(element) -> bytes:
    """The bytes in the data: address of a picture or a player."""
    source = element.get("src") or element.find("source")["src"]
    return base64.b64decode(re.fullmatch(r"data:\w+/[\w+-]+;base64,(.*)", source)[1], validate=True)


# ------------------------------------------------------------------------------------------------ the pages


def test_pages_load_nothing_and_every_local_link_leads_somewhere(build):
    folder, _, _ = build
    files = sorted(folder.glob("*.html"))
    assert [file.name for file in files] == ["00_shows.html", "01_stops.html", "report.html"]
    for file in files:
        found = soup(file)
        assert found.html["lang"] == "en" and found.title.text
        assert not found.select("script, link, iframe, object, embed")
        assert "@import" not in file.read_text() and "url(" not in found.style.text
        for element in found.select("[src]"):
            assert element["src"].startswith("data:"), file.name
        for link in found.select("a[href]"):
            target, _, place = link["href"].partition("#")
            if "://" not in target:
                assert (folder / target).is_file() if target else True, link["href"]
                aimed = soup(folder / target) if target else found
                assert not place or aimed.find(id=place), link["href"]


def test_players_and_pictures_are_intact_and_pictures_are_described(build):
    folder, _, _ = build
    found = soup(folder / "00_shows.html")
    samples, rate = soundfile.read(io.BytesIO(carried(found.audio)))
    noise = np.random.default_rng(5).uniform(-1, 1, 1600)
    assert rate == 16000 and np.allclose(samples, noise / np.abs(noise).max(), atol=1e-3)  # IPython normalises
    assert found.video["src"] == "data:video/mp4;base64,AAAA" and found.video.has_attr("controls")
    texts = [picture["alt"] for picture in found.select("img")]
    assert texts == ["A black <square>", "Another F_A", "Not for the report: second: 0, threshold: 0.5"]
    for picture in found.select("img"):
        assert Image.open(io.BytesIO(carried(picture))).convert("L").getextrema()[0] == 0  # the square is black


def test_a_widget_stands_as_it_was_left_and_its_raw_text_nowhere(build):
    folder, _, _ = build
    text = soup(folder / "00_shows.html").get_text()
    assert "second: 0, threshold: 0.5" in text and "The controls move in JupyterLab" in text
    assert "children=" not in text and "mask_explorer" in text


def test_metrics_are_found_where_the_notebook_wrote_them_also_after_the_folder_was_moved(tmp_path):
    ran = {"parameters": {"output_dir": "/old/quick", "steps": 7}, "output_path": "/old/quick/00_a.ipynb"}
    notebook = v4.new_notebook(metadata={"papermill": ran})
    (tmp_path / "00_a.ipynb").write_text(nbformat.writes(notebook))
    (tmp_path / "00_a.json").write_text('{"metrics": {"iou": 0.25}}')
    notebook.metadata.papermill.parameters.output_dir = str(tmp_path / "else where #2")
    (tmp_path / "01_b.ipynb").write_text(nbformat.writes(notebook))
    (tmp_path / "else where #2").mkdir()
    (tmp_path / "else where #2" / "01_b.json").write_text('{"metrics": {"iou": 0.75}}')
    found = soup(write_report(tmp_path))
    assert [cell.get_text() for cell in found.select("td.number")] == ["0.250", "", "0.750", ""]
    assert [link["href"] for link in found.select("a")][1::2] == ["00_a.json", "else%20where%20%232/01_b.json"]
    assert "steps 7" in found.select_one("tr.notebook").get_text() and "/old" not in found.get_text()


def test_links_between_notebooks_lead_to_their_pages(build):
    folder, _, _ = build
    found = soup(folder / "00_shows.html")
    assert found.find("a", string="the next")["href"] == "01_stops.html#there"
    assert found.find("a", string="none") is None and "Go on with the next, none." in found.get_text()
    assert found.nav.a["href"] == "report.html"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")), ids=lambda path: path.stem)
def test_every_formula_of_the_course_becomes_mathml(path):
    notebook = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    text = re.sub(r"`[^`\n]*`", "", text)
    formulas = re.findall(r"\$\$.+?\$\$|(?<!\$)\$[^$\n]+\$(?!\$)", text, re.DOTALL)
    found = BeautifulSoup(notebook_page(make_static(notebook), path.stem), "html.parser")
    assert len(found.select("math")) == len(formulas)
    for formula in found.select("math"):
        parts = list(ElementTree.fromstring(str(formula)).iter())
        assert {part.tag for part in parts} <= MATHML, "what browsers know, without a prefix"
        assert not [part.text for part in parts if part.text and "\\" in part.text]
    for code in found.select("pre, code, .input_area"):
        code.decompose()
    assert "$" not in found.get_text(), "a formula that was left as TeX"


def test_formulas_in_the_answers_of_a_quiz_are_found_and_code_there_is_left_alone():
    answer = "<details><summary>Answer</summary>It is $x_1$, see <code>$HOME</code>.</details>"
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell(f"1. Why?\n   {answer}")])
    found = BeautifulSoup(notebook_page(make_static(notebook), "00_x"), "html.parser").details
    assert found.math.msub.get_text() == "x1" and found.code.get_text() == "$HOME"


def test_a_fraction_is_a_fraction_and_what_cannot_be_translated_stays_readable():
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell(r"$\frac{a}{b}$ and $\left( x$")])
    found = BeautifulSoup(notebook_page(make_static(notebook), "00_x"), "html.parser")
    assert [part.get_text() for part in found.math.mfrac.find_all("mi")] == ["a", "b"]
    assert r"\left( x" in found.code.get_text() and len(found.select("math")) == 1


# --------------------------------------------------------------------------------------------- still widgets


def still(widget) -> BeautifulSoup:
    models = ipywidgets.Widget.get_manager_state(drop_defaults=False)["state"]
    return BeautifulSoup(still_widget(widget.model_id, models, "Section"), "html.parser")


def test_the_sound_and_the_picture_of_a_widget_are_those_it_held():
    frames, masks = np.zeros((2, 8, 8, 3), dtype=np.uint8), {"GAVS": np.ones((2, 2, 8, 8), dtype=bool)}
    sounds = [np.zeros(800), np.linspace(-0.5, 0.5, 800)]
    player = widgets.voice_player(frames, ["bell", "drum"], masks, sounds, 16000)
    player.voice.value, player.second.value = 1, 1
    found = still(ipywidgets.HBox([ipywidgets.Label("on the <left>"), player]))
    assert found.p.get_text() == "plays: drum, second: 1"
    assert carried(found.img) == player.picture.value and found.img["alt"] == "Section: plays: drum, second: 1"
    samples, rate = soundfile.read(io.BytesIO(carried(found.audio)))
    assert rate == 16000 and np.allclose(samples, sounds[1], atol=1e-4)
    assert "on the <left>" in found.get_text()


def test_a_box_that_is_ticked_is_on():
    box = ipywidgets.VBox([ipywidgets.Checkbox(value=True, description="cue"), ipywidgets.Button(description="Draw")])
    box.children[0].value = False
    assert still(box).p.get_text() == "cue: off, Draw"


def test_interactive_shows_what_it_drew():
    drawn = ipywidgets.interactive(lambda depth: depth, depth=(0, 9))
    drawn.out.outputs = (
        {"output_type": "display_data", "data": {"image/png": "iVBORw0K\n", "text/plain": "<Figure>"}, "metadata": {}},
        {"output_type": "stream", "name": "stdout", "text": "depth < 5"},
    )
    found = still(drawn)
    assert found.p.get_text() == "depth: 4" and found.pre.get_text() == "depth < 5"
    assert found.img["src"] == "data:image/png;base64,iVBORw0K" and "children" not in found.get_text()


def test_a_progress_bar_stands_where_it_stopped_and_is_no_control():
    bar = ipywidgets.FloatProgress(value=3.0, min=1.0, max=5.0, description="x")
    found = still(ipywidgets.HBox([ipywidgets.HTML("train: <b>60%</b>"), bar, ipywidgets.Label("3/5 < 1")]))
    assert found.figure.get_text() == "train: 60%3/5 < 1" and found.b.get_text() == "60%"
    assert (found.progress["value"], found.progress["max"]) == ("2.0", "4.0")


def test_an_unknown_widget_and_one_without_state_get_a_plain_sentence():
    assert still(ipywidgets.Controller()).get_text() == (
        "A widget of the kind Controller stands here, which a page cannot show."
    )
    assert "state was not kept" in still_widget("gone", {})


# ----------------------------------------------------------------------------------------------- the report


def test_the_table_has_each_metric_with_its_interval_and_the_run_with_its_settings(build):
    folder, _, _ = build
    found = soup(folder / "report.html")
    rows = [[cell.get_text() for cell in row.select("td")] for row in found.select("tr") if row.select("td")]
    assert rows == [["miou", "0.819", "0.790 to 0.844"], ["tiny", "3.2e-06", ""], ["count", "12", ""]]
    head = found.select_one("tr.notebook").get_text()
    assert "00 · Everything that a page must show" in head and "seed 5" in head and "world abc" in head
    assert [link["href"] for link in found.select_one("tr.notebook").select("a")] == ["00_shows.html", "00_shows.json"]
    assert "95 % bootstrap intervals" in found.get_text() and "another training" in found.get_text()


def test_the_pictures_are_those_of_tagged_cells_with_their_titles(build):
    folder, _, _ = build
    (picture,) = soup(folder / "report.html").select("figure img")
    page = soup(folder / "00_shows.html")
    assert picture["alt"] == "A black <square>" and carried(picture) == carried(page.find("img", alt=picture["alt"]))


def test_a_failed_run_is_reported_and_keeps_its_exit_code(build):
    folder, code, printed = build
    assert code == 1
    text = soup(folder / "report.html").get_text()
    assert "Not complete: 01_stops" in text and "1 of 2 notebooks" in text
    assert "01_stops stopped in cell 2 (counted from 0), which begins '1 / 0'" in text
    assert "ZeroDivisionError" in soup(folder / "01_stops.html").select_one(".output_error").get_text()
    assert printed.splitlines()[-1].endswith("report.html") and str(folder) in printed.splitlines()[-1]


def test_made_again_from_the_disk_the_report_still_knows_what_failed(build):
    folder, _, _ = build
    before = (folder / "report.html").read_text()
    text = soup(write_report(folder)).get_text()
    assert "stopped in the cell that begins '1 / 0'" in text and "ZeroDivisionError: division by zero" in text
    assert not list(folder.glob("*.partial"))
    (folder / "report.html").write_text(before)


def test_a_notebook_that_cannot_be_read_is_named_and_the_others_are_shown(tmp_path):
    (tmp_path / "00_broken.ipynb").write_text('{"cells": [')
    (tmp_path / "01_half.ipynb").write_text(nbformat.writes(v4.new_notebook(cells=[v4.new_code_cell("x = 1")])))
    whole = v4.new_notebook(cells=[v4.new_code_cell("x = 1", execution_count=1)])
    for name in ("02_whole", "03_bare"):
        (tmp_path / f"{name}.ipynb").write_text(nbformat.writes(whole))
    (tmp_path / "02_whole.json").write_text(json.dumps({"metrics": {"iou": 0.5}}))
    rows = [row.get_text() for row in soup(write_report(tmp_path)).select("tr.notebook")]
    assert "00_broken.ipynb cannot be shown" in rows[0] and "did not run to its end" in rows[1]
    assert all(word not in rows[i] for i in (2, 3) for word in ("cannot", "did not"))


@pytest.mark.parametrize(
    "text", ["[1]", '{"metrics": ', '{"seed": 1}', '{"metrics": {"iou": 1.0}, "intervals": {"iou": null}}']
)
def test_metrics_of_another_form_are_named_and_page_and_pictures_still_shown(tmp_path, text):
    shown = v4.new_output("display_data", {"image/png": "iVBORw0K"})
    cell = v4.new_code_cell("draw()", execution_count=1, outputs=[shown], metadata={"tags": ["report"]})
    (tmp_path / "00_odd.ipynb").write_text(nbformat.writes(v4.new_notebook(cells=[cell])))
    (tmp_path / "00_odd.json").write_text(text)
    found = soup(write_report(tmp_path))
    assert "00_odd.json is not what a notebook writes" in found.select_one("tr.notebook").get_text()
    assert len(found.select("figure img")) == 1 and not found.select("td.number")
    assert (tmp_path / "00_odd.html").is_file()


def test_a_run_whose_report_fails_keeps_its_exit_code(tmp_path, monkeypatch, capsys):
    (tmp_path / "00_runs.py").write_text('# %% tags=["parameters"]\noutput_dir: str = "x"\n')
    sync(tmp_path)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(running, "write_report", full)
    assert run("quick", notebooks=tmp_path, build=tmp_path / "build") == 0
    assert "No report could be written. OSError: No space left" in capsys.readouterr().out


def test_the_command_says_what_to_do_where_nothing_was_run(capsys):
    assert main(["report", "--profile", "never"]) == 1
    told = capsys.readouterr().err
    assert "never: no executed notebook" in told and "make run" in told


def test_a_page_that_cannot_be_written_whole_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / "page.html").write_text("old")
    monkeypatch.setattr(reporting.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        reporting._write(tmp_path / "page.html", "new")
    assert (tmp_path / "page.html").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("value", "text"), [(0.8191, "0.819"), (0.0, "0.000"), (-3.2e-6, "-3.2e-06"), (12, "12"), (float("nan"), "nan")]
)
def test_numbers_are_written_for_people(value, text):
    assert number(value) == text
