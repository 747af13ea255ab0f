"""The figures that the papers print, as tables: what a measured figure is to stand beside.

Every figure of GAVS's Tables 1 to 5 and of SAVE's Tables 1 to 9, one a row. SAVE's tables disagree with each other;
the column `note` says where, so quote the table with the figure. What the columns hold, and which of these figures
must not be compared, is told in data/README.md.
"""

import pandas as pd

from gavs_lib._shipped import shipped_papers

TABLES = {"gavs": 5, "save": 9}  # paper -> number of its last table; each begins with 1
NUMBERS = {"table": "int64", "size": "Int64", "value": "float64"}  # the other columns are text, "" where nothing stands


def paper_table(paper: str, table: int) -> pd.DataFrame:
    """Read one table of a paper.

    Args:
        paper: "gavs" (AAAI 2024) or "save" (the preprint).
        table: its number in the paper: 1 to 5 for GAVS, 1 to 9 for SAVE.

    Returns:
        One row for each printed figure, in the order of print, with the columns source ("GAVS, Table 5"), table, row,
        method, variant, audio_backbone, visual_backbone, size (pixels, missing where not printed), dataset, setting,
        metric, unit, value and note. Values are in the unit of print: IoU in percent, F and AUC as shares of 1.

    Raises:
        ValueError: no such paper, or no such table in it.
        FileNotFoundError: the package has come without its tables.

    Example:
        >>> cola = paper_table("gavs", 5).query("row == 'e'")
        >>> cola[["method", "metric", "value"]].values.tolist()
        [['CoLA', 'mIoU', 63.35], ['CoLA', 'F', 0.727]]
    """
    if paper not in TABLES:
        raise ValueError(f"no paper {paper!r}; there are {', '.join(map(repr, TABLES))}.")
    if table not in range(1, TABLES[paper] + 1):
        raise ValueError(f"{paper!r} has no table {table!r}; it has the tables 1 to {TABLES[paper]}.")
    path = shipped_papers(paper)
    text = pd.read_csv(path, dtype=str, keep_default_na=False)
    text["size"] = text["size"].replace("", pd.NA)
    figures = text.astype(NUMBERS)
    return figures[figures["table"] == table].reset_index(drop=True)
