"""Rows of captioned images: neighbors, feature maps, saliency, images that excite a map."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from alexnet_jax.report.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inches.
IMAGE_SIZE = 1.15
GAP = 0.1
# Between the first image of a row and the others, where it is another kind of thing.
FIRST_GAP = 0.32
CAPTION = 0.22
MARGIN = 0.3
TOP = 0.85
NAME_WIDTH = 1.35


@dataclasses.dataclass(frozen=True)
class Tile:
    """An image, uint8 (side, side, 3), its caption, whether it is of the class that it should be (None: not known).

    `box` is drawn on it: top, left, bottom, right in pixels.
    """

    image: np.ndarray
    caption: str = ''
    same_class: bool | None = None
    box: tuple[int, int, int, int] | None = None


def draw_image_rows(
    rows: Sequence[Sequence[Tile]],
    file: style.FilePath,
    *,
    title: str,
    subtitle: str,
    names: Sequence[str] = (),
    is_first_apart: bool = False,
) -> None:
    """Draw a row of images for each of `rows`, its name (lines of text) at the left where `names` has one.

    Right and wrong captions differ by a mark and by color. `is_first_apart` sets the first image of each row apart.
    """
    across = max(len(row) for row in rows)
    first_gap = FIRST_GAP - GAP if is_first_apart else 0
    name_width = NAME_WIDTH if any(names) else 0
    width = max(5.5, 2 * MARGIN + name_width + across * (IMAGE_SIZE + GAP) - GAP + first_gap)
    height = TOP + len(rows) * (IMAGE_SIZE + CAPTION + GAP) + MARGIN / 2
    figure = style.make_figure(width, height, title, subtitle)
    for number, row in enumerate(rows):
        top = TOP + number * (IMAGE_SIZE + CAPTION + GAP)
        if number < len(names):
            axes = style.place_axes(figure, MARGIN, top, name_width, IMAGE_SIZE)
            axes.text(
                0, 0.5, names[number], color=style.TEXT, fontsize=9.5, va='center', linespacing=1.3, parse_math=False
            )
        for place, tile in enumerate(row):
            left = MARGIN + name_width + place * (IMAGE_SIZE + GAP) + first_gap * (place > 0)
            axes = style.place_axes(figure, left, top, IMAGE_SIZE, IMAGE_SIZE)
            axes.imshow(tile.image)
            if tile.box:
                _draw_box(axes, tile.box)
            mark = {None: '', True: f'{style.CORRECT_MARK} ', False: f'{style.WRONG_MARK} '}[tile.same_class]
            color = {None: style.TEXT, True: style.CORRECT, False: style.WRONG}[tile.same_class]
            caption = mark + style.truncate_name(tile.caption, 18 - len(mark))
            axes.text(
                0, -0.04, caption, color=color, fontsize=8.5, va='top', transform=axes.transAxes, parse_math=False
            )
    style.save_figure(figure, file)


def color_map_pixels(values: np.ndarray, *, highest: float | None = None) -> np.ndarray:
    """Return numbers (height, width) as uint8 pixels, black for zero and less, bright for the largest, or `highest`."""
    import matplotlib

    top = float(values.max()) if highest is None else highest
    scaled = np.clip(values / top, 0, 1) if top > 0 else np.zeros_like(values)
    # A map that grows evenly in lightness: readable in gray and by color-blind readers.
    return (matplotlib.colormaps['inferno'](np.asarray(scaled, np.float64))[..., :3] * 255).round().astype(np.uint8)


def _draw_box(axes: Axes, box: tuple[int, int, int, int]) -> None:
    """Draw a frame in two colors, which stands out on any image."""
    from matplotlib.patches import Rectangle

    top, left, bottom, right = box
    for color, line in (('black', 3.0), ('white', 1.4)):
        axes.add_patch(
            Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor=color, linewidth=line)
        )
