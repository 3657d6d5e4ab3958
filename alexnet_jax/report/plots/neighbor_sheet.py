"""A picture of nearest images: a query at the left of each row, its neighbors beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from alexnet_jax.report.plots import style

# Inches.
IMAGE_SIZE = 1.1
GAP = 0.1
# Between the query and its neighbors.
QUERY_GAP = 0.3
CAPTION = 0.2
MARGIN = 0.3
TOP = 0.85


@dataclasses.dataclass(frozen=True)
class Tile:
    """An image, uint8 (side, side, 3), its caption, and whether it is of the query's class; None: not known."""

    image: np.ndarray
    caption: str
    same_class: bool | None = None


def draw_neighbor_sheet(rows: Sequence[Sequence[Tile]], file: style.FilePath, *, title: str, subtitle: str) -> None:
    """Draw a row for each query: the query, then its neighbors, the caption green or red by their class."""
    across = max(len(row) for row in rows)
    width = 2 * MARGIN + across * IMAGE_SIZE + (across - 2) * GAP + QUERY_GAP
    height = TOP + len(rows) * (IMAGE_SIZE + CAPTION + GAP) + MARGIN
    figure = style.make_figure(width, height, title, subtitle)
    for number, row in enumerate(rows):
        bottom = height - TOP - (number + 1) * (IMAGE_SIZE + GAP) - number * CAPTION
        for place, tile in enumerate(row):
            left = MARGIN + place * (IMAGE_SIZE + GAP) + (QUERY_GAP - GAP) * (place > 0)
            axes = figure.add_axes((left / width, bottom / height, IMAGE_SIZE / width, IMAGE_SIZE / height))
            axes.set_axis_off()
            axes.imshow(tile.image)
            color = {None: style.MUTED, True: style.CORRECT, False: style.WRONG}[tile.same_class]
            caption = style.truncate_name(tile.caption, 18)
            axes.text(0, -0.03, caption, color=color, fontsize=7, va='top', transform=axes.transAxes, parse_math=False)
    style.save_figure(figure, file)
