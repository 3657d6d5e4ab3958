"""Numbers and tables as text."""

from __future__ import annotations

from collections.abc import Sequence


def format_percent(fraction: float, digits: int = 1) -> str:
    """Return 0.175 as '17.5 %'."""
    return f'{100 * fraction:.{digits}f} %'


def format_table(rows: Sequence[Sequence[str]], *, left_columns: int = 1) -> list[str]:
    """Return one line per row; the first `left_columns` columns are aligned to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [
        [
            cell.ljust(width) if column < left_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    return ['  '.join(cells).rstrip() for cells in aligned]
