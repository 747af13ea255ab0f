"""Keep every notebook's two halves equal: `NN_name.py` is the source, `NN_name.ipynb` is made from it.

The .py (jupytext's percent format) is what people edit, review and merge; the .ipynb is what Jupyter, Colab and
papermill open. `sync` writes the second from the first as `jupytext --update` would, but without outputs and with cell
ids that do not change from one run to the next, so that a commit shows only what somebody wrote.
"""

import copy
import hashlib
from pathlib import Path

import jupytext
import nbformat

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def pairs(notebooks: Path = NOTEBOOKS) -> list[tuple[Path, Path]]:
    """Every (source .py, generated .ipynb) in `notebooks` and its folder grid/, sorted; one of the two may be missing.

    Assignments are no pairs: a paired source would take its solutions along to the students.

    Raises:
        FileNotFoundError: there is no such folder (an installed wheel has no notebooks).
    """
    if not notebooks.is_dir():
        raise FileNotFoundError(
            f"{notebooks}: no such folder. Notebooks live in a checkout of the course; run from one."
        )
    patterns = ("*.py", "*.ipynb", "grid/*.py", "grid/*.ipynb")
    stems = {path.with_suffix("") for pattern in patterns for path in notebooks.glob(pattern)}
    return [(stem.parent / (stem.name + ".py"), stem.parent / (stem.name + ".ipynb")) for stem in sorted(stems)]


def generate(source: Path, old: nbformat.NotebookNode | None = None) -> nbformat.NotebookNode:
    """The notebook that `source` describes: no outputs, no trace of who wrote it, stable cell ids.

    A cell that `old` has with the same text keeps its id there; a new one gets the hash of its text. Either way a
    second call returns the same notebook.
    """
    notebook = jupytext.read(source, fmt="py:percent")
    metadata = {key: value for key, value in notebook.metadata.items() if key != "language_info"}
    # jupytext records its own version here, which would differ from one machine to the next.
    pairing = {key: value for key, value in metadata.pop("jupytext", {}).items() if key != "text_representation"}
    if pairing:
        metadata["jupytext"] = pairing
    metadata["kernelspec"] = KERNELSPEC
    notebook.metadata = nbformat.from_dict(metadata)
    notebook.nbformat, notebook.nbformat_minor = 4, 5

    kept: dict[tuple[str, str], list[str]] = {}
    for cell in old.cells if old else ():
        if "id" in cell:
            kept.setdefault((cell.cell_type, cell.source), []).append(cell.id)
    reserved = {name for names in kept.values() for name in names}
    used: set[str] = set()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        before = kept.get((cell.cell_type, cell.source), [])
        name = before.pop(0) if before else None
        count = 0
        while name is None or name in used or (count and name in reserved):
            name = hashlib.sha256(f"{cell.cell_type}\0{cell.source}\0{count}".encode()).hexdigest()[:8]
            count += 1
        used.add(name)
        cell.id = name
    return notebook


def differences(source: Path, generated: Path) -> list[str]:
    """In words, how `generated` differs from what `source` describes; empty when they agree. Cell ids do not count."""
    if not source.exists():
        return [f"{source.name} is missing: {generated.name} has no source (jupytext --to py:percent {generated.name})"]
    if not generated.exists():
        return [f"{generated.name} is missing (make sync)"]
    try:
        have = nbformat.read(generated, as_version=4)
    except Exception as error:  # nbformat raises whatever the broken text makes its parser raise
        return [
            f"{generated.name} cannot be read as a notebook ({type(error).__name__}: {error}); make sync rewrites it"
        ]
    want = generate(source)
    found = []
    if len(have.cells) != len(want.cells):
        found.append(f"{generated.name} has {len(have.cells)} cells, {source.name} has {len(want.cells)} (make sync)")
    for index, (ours, theirs) in enumerate(zip(want.cells, have.cells)):
        if _content(ours) != _content(theirs):
            first = (ours.source.strip().splitlines() or ["(empty)"])[0]
            found.append(
                f"{generated.name}: cell {index} differs from {source.name}, where it begins {first!r} (make sync)"
            )
            break
    with_outputs = [
        index for index, cell in enumerate(have.cells) if cell.get("outputs") or cell.get("execution_count")
    ]
    if with_outputs:
        found.append(f"{generated.name}: outputs in cells {', '.join(map(str, with_outputs))} (make sync clears them)")
    if have.metadata.get("kernelspec", {}).get("name") != KERNELSPEC["name"]:
        found.append(f"{generated.name}: its kernel is not {KERNELSPEC['name']!r} (make sync)")
    return found


def sync(notebooks: Path = NOTEBOOKS) -> int:
    """Write every .ipynb whose .py says something else; files that agree are not touched.

    Returns:
        exit code: 1 if an .ipynb has no .py, or was edited by itself and would lose that edit.
    """
    failed = False
    for source, generated in pairs(notebooks):
        if not source.exists():
            print(differences(source, generated)[0])
            failed = True
            continue
        old = None
        if generated.exists():
            try:
                old = nbformat.read(generated, as_version=4)
            except Exception:  # unreadable: differences() says so, and the source replaces it
                old = None
        new = generate(source, copy.deepcopy(old))
        text = nbformat.writes(new) + "\n"
        if generated.exists() and generated.read_text(encoding="utf-8") == text:
            continue
        if old is not None and _edited_alone(source, generated, new, old):
            print(
                f"{generated.name} was edited after {source.name}, and the edit is not in {source.name}. To keep it: "
                f"jupytext --to py:percent {generated}; to drop it: delete {generated.name} and sync again."
            )
            failed = True
            continue
        temporary = generated.with_suffix(".ipynb.part")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(generated)
        print(f"wrote {generated.relative_to(notebooks)}")
    return int(failed)


def check_sync(notebooks: Path = NOTEBOOKS) -> int:
    """Print every difference between the halves of a pair. Returns exit code 1 if there is one, else 0."""
    both = pairs(notebooks)
    found = [line for source, generated in both for line in differences(source, generated)]
    for line in found:
        print(line)
    print(f"{len(both)} notebooks, {len(found)} differences")
    return int(bool(found))


def _content(cell: nbformat.NotebookNode) -> tuple[str, str, dict]:
    """What of a cell its .py can say; Jupyter adds further metadata (scroll positions, times) that it cannot."""
    told = {key: value for key, value in cell.metadata.items() if key in ("tags", "title", "nbgrader", "slideshow")}
    return cell.cell_type, cell.source.strip("\n"), told


def _edited_alone(source: Path, generated: Path, new: nbformat.NotebookNode, old: nbformat.NotebookNode) -> bool:
    """Is the .ipynb the younger half, with text the .py lacks? (Run in Jupyter it is younger, but says the same.)"""
    if generated.stat().st_mtime <= source.stat().st_mtime:
        return False
    return [_content(cell) for cell in old.cells] != [_content(cell) for cell in new.cells]
