"""The leaderboard: what a search has found, as text and as files."""

import csv
import dataclasses
import io
import pathlib

from efficientnetv2.search import results, shared_file

CSV = "leaderboard.csv"
MARKDOWN = "leaderboard.md"
_PRINTED = 10
_COLUMNS = (
    "trial", "state", "reward", "accuracy %", "step", "step ms", "M params",
    "M mult-adds", "",
)  # fmt: skip


def _cells(row, on_front):
    def number(value, digits, factor=1):
        return "-" if value is None else f"{factor * value:.{digits}f}"

    return (
        str(row.trial),
        row.state,
        number(row.reward, 4),
        number(row.accuracy, 2, 100),
        number(row.step_ratio, 2),
        number(row.step_seconds, 1, 1000),
        number(row.parameters, 3, 1e-6),
        number(row.multiply_adds, 2, 1e-6),
        "front" if on_front else row.reason or "",
    )


def _table(found):
    front = {row.trial for row in results.front(found)}
    return [_cells(row, row.trial in front) for row in found]


def text(found, *, count=_PRINTED):
    """The best rows for a terminal.

    Args:
        found: Result of `results.rows`.
        count: How many of them.

    Returns:
        Text of several lines.
    """
    table = [_COLUMNS, *_table(found)[:count]]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if index != len(widths) - 1 else cell
            for index, (cell, width) in enumerate(
                zip(cells, widths, strict=True)
            )
        ).rstrip()
        for cells in table
    ]
    best = results.best(found)
    if best is not None:
        lines += ["", f"best: {best.blocks}"]
    return "\n".join(lines)


def markdown(found):
    """All rows as a Markdown table, with blocks and folders."""
    heads = (*_COLUMNS[:-1], "note", "model_dir", "blocks")
    lines = [
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
    ]
    for row, cells in zip(found, _table(found), strict=True):
        rest = (row.model_dir or "", f"`{row.blocks}`")
        lines.append(f"| {' | '.join((*cells, *rest))} |")
    return "\n".join(lines) + "\n"


def _csv(found):
    file = io.StringIO()
    names = [field.name for field in dataclasses.fields(results.Row)]
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in found)
    return file.getvalue()


def write(found, model_dir):
    """Writes leaderboard.csv and leaderboard.md.

    Args:
        found: Result of `results.rows`.
        model_dir: Folder of the search.
    """
    folder = pathlib.Path(model_dir)
    shared_file.write(folder / CSV, _csv(found))
    shared_file.write(folder / MARKDOWN, markdown(found))
