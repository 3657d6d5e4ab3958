"""A picture of nearest images: a query at the left of each row, its neighbors beside it."""

from __future__ import annotations

from collections.abc import Sequence

from alexnet_jax.report.plots import style
from alexnet_jax.report.plots.image_rows import Tile, draw_image_rows


def draw_neighbor_sheet(rows: Sequence[Sequence[Tile]], file: style.FilePath, *, title: str, subtitle: str) -> None:
    """Draw a row for each query: the query, then its neighbors, whose captions say whether they are of its class."""
    draw_image_rows(rows, file, title=title, subtitle=subtitle, is_first_apart=True)
