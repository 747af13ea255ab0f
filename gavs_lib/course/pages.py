"""An executed notebook as one HTML page, to be opened from a disk: no server, no network, no Jupyter, no script.

nbconvert does most of it, with its smallest template. Three things that it leaves to scripts from the network are done
here beforehand:

* Formulas. latex2mathml makes MathML of them, which Firefox, Safari, and Chrome and Edge from version 109 on draw by
  themselves. (The other way is to send MathJax along, a megabyte of script in each page.) What cannot be translated
  stays readable as TeX.
* Widgets. A page without Python behind it cannot move them, so the state in which the notebook left them is shown: the
  picture, the player, and what the controls were set to. nbclient keeps that state in the notebook's metadata.
* Alternative texts. A figure of `gavs_lib.course.plots` brings its title along; any other gets the heading above it.
"""

import copy
import html
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode, v4
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
# What a page can show of an output, the best first; nothing that would have to run.
SHOWN = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]
TEXTS = ("Label", "HTML", "HTMLMath")
BARS = ("FloatProgress", "IntProgress")
MOVES = "The controls move in JupyterLab; this is how the notebook left them."
# What browsers make too little of in latex2mathml's MathML: as it is -> as it should be.
REPAIRS = {
    # HTML needs no namespace, and nbconvert's way with headings makes a prefix of it that browsers do not understand.
    ' xmlns="http://www.w3.org/1998/Math/MathML"': "",
    # The bars of |x| and of a norm may open or close; taken for something between operands, they would get space.
    '<mo stretchy="false">&#x0007C;': '<mo stretchy="false" lspace="0" rspace="0">&#x0007C;',
    "<mo>&#x02016;": '<mo stretchy="false" lspace="0" rspace="0">&#x02016;',
    # A dash stays short above a long term; an overline grows with it.
    "&#x02015;": "&#x0203E;",
}

STYLE = """
:root { color-scheme: light dark; }
body { max-width: 64rem; margin: 0 auto; padding: 1rem; font: 1rem/1.55 system-ui, sans-serif;
  overflow-wrap: break-word; }
h1, h2, h3 { line-height: 1.25; margin: 2rem 0 0.6rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.35rem; } h3 { font-size: 1.12rem; }
a { color: light-dark(#0058a3, #7cb8f2); }
a.anchor-link { visibility: hidden; margin-left: 0.3em; text-decoration: none; }
:is(h1, h2, h3, h4):hover a.anchor-link, a.anchor-link:focus { visibility: visible; }
p, li, figcaption { max-width: 46rem; }
pre, code { font: 0.82rem/1.45 ui-monospace, monospace; }
pre { margin: 0; overflow-x: auto; }
.failed pre { white-space: pre-wrap; }
.input_area, .rendered_html pre { padding: 0.5rem 0.8rem; border-radius: 4px;
  background: light-dark(#f4f4f4, #1d2126); }
.prompt { font-size: 0.75rem; color: GrayText; }
.output_area, .rendered_html { margin: 0.7rem 0; overflow-x: auto; }
.output_error, .failed { padding: 0.5rem 0.8rem; border-left: 4px solid #d55e00; }
img, video { max-width: 100%; height: auto; }
img { background: white; }
audio { width: min(100%, 26rem); }
figure { margin: 1.5rem 0; }
figcaption, .small { font-size: 0.86rem; }
table { border-collapse: collapse; }
th, td { padding: 0.2rem 0.7rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid light-dark(#ddd, #444); }
td { overflow-wrap: anywhere; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.number { text-align: right; }
.dataframe { border: none; }
.dataframe :is(td, th) { text-align: right; }
tr.notebook th { padding-top: 1.4rem; font-weight: normal; }
@media (max-width: 36rem) { th, td { padding: 0.2rem 0.3rem; font-size: 0.86rem; } }
math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "Noto Sans Math", math; }
math[display="block"] { margin: 0.9rem 0; overflow-x: auto; overflow-y: hidden; }
"""


def page(title: str, body: str) -> str:
    """A whole HTML page: this `body` (HTML) under the course's stylesheet; `title` is plain text."""
    bright = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    colours = f"{bright}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n.highlight {{ background: none; }}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}{colours}\n</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def title_of(notebook: NotebookNode, otherwise: str = "") -> str:
    """The notebook's first heading as plain text."""
    for cell in notebook.cells:
        found = _headings(cell)
        if found:
            return found[0]
    return otherwise


def make_static(notebook: NotebookNode) -> NotebookNode:
    """A copy in which every widget is HTML and every picture has an alternative text (in its metadata, as `alt`)."""
    notebook = copy.deepcopy(notebook)
    models = notebook.metadata.pop("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    heading = ""
    for cell in notebook.cells:
        heading = (_headings(cell) or [heading])[-1]
        for index, output in enumerate(cell.get("outputs", [])):
            data = output.get("data", {})
            if WIDGET in data:
                still = still_widget(data[WIDGET].get("model_id", ""), models, heading)
                cell.outputs[index] = v4.new_output("display_data", {"text/html": still})
            for kind in ("image/png", "image/jpeg"):
                if kind in data:
                    described = output.metadata.setdefault(kind, NotebookNode())
                    described["alt"] = _plain(described.get("alt") or heading or "figure")
    return notebook


def still_widget(model_id: str, models: Mapping[str, Any], heading: str = "") -> str:
    """HTML of what a widget showed when the notebook ended.

    Boxes may be nested. Pictures, players, texts and what an output widget (`interactive`) caught are shown, controls
    are named with their values, progress bars are drawn; of any other kind the page says that it cannot show it.

    Args:
        model_id: of the outermost widget.
        models: model id -> what the notebook's metadata keeps of it (`model_name`, `state`, `buffers`).
        heading: of the section, for the alternative text of its pictures.
    """
    leaves = list(_leaves(model_id, models))
    settings = ", ".join(_setting(leaf) for leaf in leaves if _is_control(leaf))
    alternative = ": ".join(part for part in (heading, settings) if part) or "widget"
    parts = [f"<p>{html.escape(settings)}</p>"] if settings else []
    parts += [_shown(leaf, alternative) for leaf in leaves if not _is_control(leaf)]
    note = f"<figcaption>{MOVES}</figcaption>" if settings else ""
    return f'<figure class="widget">{"".join(parts)}{note}</figure>'


def notebook_page(static: NotebookNode, name: str, pages: Collection[str] = (), home: str = "") -> str:
    """The page of a notebook.

    Args:
        static: from `make_static`.
        name: of the notebook, without .ipynb.
        pages: names of all notebooks that have a page in the same folder; a link to one of them leads to its page, a
            link to any other notebook is left out and its words stay.
        home: file name of the page to lead back to, such as "report.html"; empty: none.
    """
    exporter = _Exporter(config=Config({"NbConvertBase": {"display_data_priority": SHOWN}}))
    exporter.pages = frozenset(pages)
    # nbconvert sends highlighted code through bleach, for a third of all its time; pygments has escaped it already.
    exporter.register_filter("clean_html", lambda code: code)
    body, _ = exporter.from_notebook_node(static)
    back = f'<nav><a href="{html.escape(home, quote=True)}">Report of this run</a></nav>\n' if home else ""
    return page(title_of(static, otherwise=name), f"{back}<main>\n{body}\n</main>")


# ----------------------------------------------------------------------------------------------- notebooks


class _Exporter(HTMLExporter):
    """nbconvert's HTML, with formulas as MathML and links between pages."""

    template_name = "basic"
    pages: frozenset = frozenset()

    def markdown2html(self, context, source):
        renderer = _Markdown(escape=False, attachments=context.get("cell", {}).get("attachments", {}))
        renderer.pages = self.pages
        return MarkdownWithMath(renderer=renderer).render(source)

    # Jinja hands the context over to functions that carry this mark.
    markdown2html.jinja_pass_arg = HTMLExporter.markdown2html.jinja_pass_arg


class _Markdown(IPythonRenderer):
    """Markdown to HTML; formulas become MathML."""

    pages: frozenset = frozenset()

    def block_math(self, body: str) -> str:
        return _mathml(body, "block")

    def inline_math(self, body: str) -> str:
        return _mathml(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return _mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

    def block_html(self, html: str) -> str:
        # Markdown leaves a block of HTML alone, such as the answers of a quiz; MathJax would find the formulas in it.
        return re.sub(
            r"<(code|pre|script|style)\b.*?</\1>|<[^>]*>|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+)\$",
            lambda found: (
                _mathml(found["block"], "block")
                if found["block"]
                else _mathml(found["inline"], "inline")
                if found["inline"]
                else found[0]
            ),
            super().block_html(html),
            flags=re.DOTALL,
        )

    def link(self, text: str, url: str, title: str | None = None) -> str:
        notebook = re.fullmatch(r"(?:\./)?([^/:]+)\.ipynb(#.*)?", url)
        if notebook is None:
            return super().link(text, url, title)
        if notebook[1] not in self.pages:
            return text
        return super().link(text, f"{notebook[1]}.html{notebook[2] or ''}", title)


def _mathml(tex: str, display: str) -> str:
    try:
        mathml = convert(tex.strip(), display=display)
    except Exception:  # its own and its parser's: whatever it stumbles over, the formula must stay readable
        return f"<code>{html.escape(tex)}</code>"
    for found, better in REPAIRS.items():
        mathml = mathml.replace(found, better)
    return mathml


def _headings(cell: NotebookNode) -> list[str]:
    """Headings of a markdown cell as plain text."""
    if cell.cell_type != "markdown":
        return []
    outside_code = re.sub(r"^```.*?^```", "", cell.source, flags=re.MULTILINE | re.DOTALL)
    return [_plain(found) for found in re.findall(r"^#{1,6}\s+(.+)$", outside_code, re.MULTILINE)]


def _plain(text: str) -> str:
    """Without line breaks, and without the signs that mark code, emphasis and formulas."""
    return " ".join(re.sub(r"[`*$]", "", text).split())


# ------------------------------------------------------------------------------------------------- widgets


def _leaves(model_id: str, models: Mapping[str, Any]) -> Iterator[Mapping[str, Any] | None]:
    """The widgets in a widget that is a box, in their order; else the widget itself. None: its state was not kept."""
    model = models.get(model_id)
    if model is None or "children" not in model["state"]:
        yield model
        return
    for child in model["state"]["children"]:
        yield from _leaves(child.removeprefix("IPY_MODEL_"), models)


def _kind(model: Mapping[str, Any]) -> str:
    return model["model_name"].removesuffix("Model")


def _is_control(model: Mapping[str, Any] | None) -> bool:
    """Is it something to set: a slider, a menu, a box to tick, a button?"""
    if model is None or _kind(model) in (*TEXTS, *BARS):
        return False
    return "description" in model["state"]


def _setting(model: Mapping[str, Any]) -> str:
    """What a control is called and set to. A menu knows the place in its list, all others their value."""
    state = model["state"]
    name = state["description"] or _kind(model)
    if "_options_labels" in state:
        places = state["index"] if isinstance(state["index"], list) else [state["index"]]
        return f"{name}: " + (" and ".join(state["_options_labels"][i] for i in places if i is not None) or "none")
    if "value" not in state:
        return name  # a button
    value = state["value"]
    return f"{name}: " + ({True: "on", False: "off"}[value] if isinstance(value, bool) else str(value))


def _shown(model: Mapping[str, Any] | None, alternative: str) -> str:
    """HTML of a widget that is no control."""
    if model is None:
        return "<p>A widget stands here whose state was not kept: the notebook did not run to its end.</p>"
    kind, state = _kind(model), model["state"]
    if kind in ("Image", "Audio", "Video"):
        data = next((buffer["data"] for buffer in model.get("buffers", []) if buffer["path"] == ["value"]), "")
        return _medium(f"{kind.lower()}/{state['format']}", data, alternative)
    if kind in TEXTS:
        return f"<span>{html.escape(state['value']) if kind == 'Label' else state['value']}</span>"
    if kind in BARS:  # as tqdm's, between two texts
        return f'<progress value="{state["value"] - state["min"]}" max="{state["max"] - state["min"]}"></progress>'
    if kind == "Output":  # what `interactive` draws into
        return "".join(_caught(output, alternative) for output in state.get("outputs", ()))
    return f"<p>A widget of the kind {html.escape(kind)} stands here, which a page cannot show.</p>"


def _caught(output: Mapping[str, Any], alternative: str) -> str:
    """An output as an output widget keeps it."""
    data = output.get("data", {})
    if "image/png" in data:
        return _medium("image/png", data["image/png"], alternative)
    return data.get("text/html") or f"<pre>{html.escape(output.get('text') or data.get('text/plain', ''))}</pre>"


def _medium(mime: str, data: str, alternative: str) -> str:
    """A picture or a player that carries its bytes (`data`, in base64) itself."""
    source = html.escape(f"data:{mime};base64,{''.join(data.split())}", quote=True)
    kind = mime.split("/")[0]
    if kind == "image":
        return f'<div><img src="{source}" alt="{html.escape(alternative, quote=True)}"></div>'
    return f'<div><{kind} controls src="{source}"></{kind}></div>'
