"""Colors, titles and saving that all plots share.

matplotlib is imported when a figure is made, and used without pyplot, so that a notebook's own figures and settings
stay as they are.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from alexnet_jax.report.plots import glyphs
from alexnet_jax.runtime import atomic_io

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 160
TEXT, MUTED, GRID = '#20242b', '#747b86', '#e3e6ea'
TRAIN, VALIDATION, LEARNING_RATE = '#2f6db3', '#d9622b', '#5d6b78'
CORRECT, WRONG = '#1f9d55', '#d23b3b'
FilePath = str | os.PathLike[str]


def make_figure(width: float, height: float, title: str, subtitle: str) -> Figure:
    """Return a white figure, its size in inches, with title and subtitle at the upper left."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor='white')
    looks = ((title, 0.2, 14, TEXT, 'bold'), (subtitle, 0.48, 9.5, MUTED, 'normal'))
    for text, top, size, color, weight in looks:
        corner = (0.3 / width, 1 - top / height)
        figure.text(*corner, text, fontsize=size, color=color, fontweight=weight, va='top', parse_math=False)
    return figure


def style_axes(axes: Axes, *, grid: str) -> None:
    """Keep only the lower spine, and draw the grid lines of the axis `grid` ('x' or 'y') behind the data."""
    axes.spines[['top', 'right', 'left']].set_visible(False)
    axes.spines['bottom'].set_color(MUTED)
    axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=8, length=0)


def truncate_name(name: str, length: int) -> str:
    """Return a class name that is at most `length` characters wide; of WordNet's lists of synonyms the first."""
    name = glyphs.drawable_text(name.split(',')[0])
    if glyphs.display_width(name) <= length:
        return name
    while glyphs.display_width(name) >= length:
        name = name[:-1]
    return name.rstrip() + '\N{HORIZONTAL ELLIPSIS}'


def save_figure(figure: Figure, file: FilePath) -> None:
    """Write a figure as PNG atomically; the same figure gives the same bytes. No character is drawn as a box."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        glyphs.use_drawable_text(text)
    with atomic_io.write_atomic(file, 'wb') as opened:
        figure.savefig(opened, format='png', metadata={'Software': None})
