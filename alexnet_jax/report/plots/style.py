"""Colors, titles and saving that all plots share.

matplotlib is imported when a figure is made, and used without pyplot, so that a notebook's own figures and settings
stay as they are.
"""

from __future__ import annotations

import os
import string
from typing import TYPE_CHECKING

from alexnet_jax.report.plots import glyphs
from alexnet_jax.runtime import atomic_io

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 160
TEXT, MUTED, GRID = '#20242b', '#747b86', '#e3e6ea'
TRAIN, VALIDATION, LEARNING_RATE = '#2f6db3', '#d9622b', '#5d6b78'
# Bluish green and vermilion, which color-blind readers tell apart; a mark stands beside them all the same.
CORRECT, WRONG = '#00785a', '#c44a00'
CORRECT_MARK, WRONG_MARK = '\N{CHECK MARK}', '\N{BALLOT X}'
# Of several runs or columns in one plot: Okabe and Ito's palette, but for its yellow, which is too light for lines.
SERIES = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#20242b')
MARKERS = ('o', '^', 's', 'D', 'v', 'P', 'X')
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


def place_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Return axes without ticks or frame, their place in inches from the upper left corner of the figure."""
    wide, high = figure.get_size_inches()
    axes = figure.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high))
    axes.set_axis_off()
    return axes


def style_axes(axes: Axes, *, grid: str) -> None:
    """Keep only the lower spine, and draw the grid lines of the axis `grid` ('x', 'y' or 'both') behind the data."""
    axes.spines[['top', 'right', 'left']].set_visible(False)
    axes.spines['bottom'].set_color(MUTED)
    axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=8, length=0)


def name_column(column: int) -> str:
    """Return the letter of a column of the network, counted from 0; of the 27th and later the number from 1."""
    letters = string.ascii_lowercase
    return letters[column] if column < len(letters) else str(column + 1)


def truncate_name(name: str, length: int) -> str:
    """Return a class name that is at most `length` characters wide; of WordNet's lists of synonyms the first."""
    name = glyphs.drawable_text(name.partition(',')[0])
    if glyphs.display_width(name) <= length:
        return name
    while glyphs.display_width(name) >= length:
        name = name[:-1]
    return name.rstrip() + '\N{HORIZONTAL ELLIPSIS}'


def shorten_run_name(name: str, length: int) -> str:
    """Return a run's name that is at most `length` characters wide; what is left out is left out of its middle.

    Names of the runs in one plot differ at their beginning, by a field, or at their end, by a seed or a step.
    """
    name = glyphs.drawable_text(name)
    head, tail = name[: len(name) // 2], name[len(name) // 2 :]
    if glyphs.display_width(name) <= length:
        return name
    while glyphs.display_width(head) + glyphs.display_width(tail) >= length:
        head, tail = (head[:-1], tail) if len(head) >= len(tail) else (head, tail[1:])
    return f'{head.rstrip()}\N{HORIZONTAL ELLIPSIS}{tail.lstrip()}'


def save_figure(figure: Figure, file: FilePath) -> None:
    """Write a figure atomically, as PNG or as the ending .svg says; the same figure gives the same bytes.

    No character is drawn as a box.
    """
    import matplotlib
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        glyphs.use_drawable_text(text)
    is_svg = os.fspath(file).lower().endswith('.svg')
    metadata = {'Date': None, 'Creator': None} if is_svg else {'Software': None}
    # Letters stay letters, to search and to read aloud; without a salt the names inside are drawn at random.
    settings = {'svg.fonttype': 'none', 'svg.hashsalt': 'alexnet_jax'}
    with atomic_io.write_atomic(file, 'wb') as opened, matplotlib.rc_context(settings):
        figure.savefig(opened, format='svg' if is_svg else 'png', metadata=metadata)
