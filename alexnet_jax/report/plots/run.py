"""Pictures: a run as PNG files, from plain arrays. Knows neither the network nor where the numbers come from.

Drawn through matplotlib's object interface, without pyplot and its global state, so that a notebook's own pictures stay
as they are. Each file is written aside and renamed: a picture that is there is whole.
"""

from __future__ import annotations

import os
import string
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from alexnet_jax.runtime import atomic_io

DPI = 160
TEXT, MUTED, GRID = '#20242b', '#747b86', '#e3e6ea'  # text, text that stands back, thin lines
TRAIN, VALIDATION, LEARNING_RATE = '#2f6db3', '#d9622b', '#5d6b78'
RIGHT, WRONG = '#1f9d55', '#d23b3b'
SMOOTH_ABOVE = 60  # with more points than this, a running mean is drawn over them
MOSAIC_WIDTH = 1440  # pixels across all kernels of a row
File = str | os.PathLike[str]


def plot_curves(
    rows: Sequence[Mapping[str, Any]],
    file: File,
    *,
    classes: int,
    baseline: float | None = None,
    title: str = 'Training',
) -> None:
    """Loss, top-1 error and rate over the epochs, from the rows of metrics.jsonl, each with its 'step'.

    Drawn are 'loss', 'top1_error' and 'rate' of training, 'validation_loss' and 'validation_top1_error', where a row
    has them. A row without 'epoch' gets its own from the steps around it. Chance is a dashed line, and so is the error
    `baseline` of what needs no network, where it is given.
    """
    figure = Figure(figsize=(10, 5.2), dpi=DPI, facecolor='white')
    draw_title(figure, title, 'training: augmented images, with dropout; validation: center view, without')
    grid = figure.add_gridspec(
        2, 2, height_ratios=(4, 1), left=0.06, right=0.98, top=0.82, bottom=0.1, hspace=0.3, wspace=0.17
    )
    loss, rate, error = (figure.add_subplot(place) for place in (grid[0, 0], grid[1, 0], grid[:, 1]))
    for prefix, color, name in (('', TRAIN, 'training'), ('validation_', VALIDATION, 'validation')):
        _plot_series(loss, *_series(rows, f'{prefix}loss'), color, name + ' {:.2f}')
        _plot_series(error, *_series(rows, f'{prefix}top1_error'), color, name + ' {:.1%}')
    epochs, rates = _series(rows, 'rate')
    rate.plot(epochs, rates, color=LEARNING_RATE, linewidth=1.6)
    chance = 1 - 1 / classes
    _draw_hline(loss, np.log(classes), 'chance')
    _draw_hline(error, chance, 'chance', below=baseline is not None and baseline > chance)
    if baseline is not None:
        _draw_hline(error, baseline, 'nearest neighbors', below=baseline <= chance)
    last = max([*epochs, *_series(rows, 'validation_loss')[0]], default=1.0)
    for axes, name in ((loss, 'loss'), (error, 'top-1 error'), (rate, 'rate')):
        _style_axes(axes, name, last)
    loss.tick_params(labelbottom=False)
    # A jump at the start would flatten all the rest.
    loss.set_ylim(0, min(1.08 * loss.dataLim.y1, 3 * np.log(classes)))
    top = max([*rates], default=1.0) or 1.0
    rate.set(ylim=(0, 1.1 * top), yticks=(0, top), yticklabels=('0', f'{top:.2g}'))
    error.set_ylim(0, 1.04)
    error.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=' %'))
    for axes in (rate, error):
        axes.set_xlabel('epoch', color=MUTED, fontsize=9)
    save_figure(figure, file)


def plot_filters(kernel: np.ndarray, file: File, *, title: str = 'The kernels of conv1') -> None:
    """The kernels of the first layer (columns, height, width, 3, maps), column above column as in the paper's figure 3.

    Each kernel is scaled by its own largest weight, so that zero is middle gray and nothing is clipped.
    """
    columns, height, width, _, maps = kernel.shape
    across = max((n for n in range(8, 17) if maps % n == 0), default=min(16, maps))
    mosaics = [_filter_mosaic(column, across) for column in np.asarray(kernel, np.float64)]
    wide, high = mosaics[0].shape[1] / DPI, mosaics[0].shape[0] / DPI
    edge, top, between = 0.3, 0.95, 0.42  # inches
    size = (max(wide, 6) + 2 * edge, top + columns * high + (columns - 1) * between + edge)
    figure = Figure(figsize=size, dpi=DPI, facecolor='white')
    many = f'{columns} x {maps}' if columns > 1 else str(maps)
    draw_title(figure, title, f'{many} kernels of {height}x{width} pixels, each in its own range about grey')
    for number, mosaic in enumerate(mosaics):
        low = edge + (columns - 1 - number) * (high + between)
        axes = figure.add_axes((edge / size[0], low / size[1], wide / size[0], high / size[1]))
        axes.imshow(mosaic, interpolation='nearest', aspect='auto')
        axes.set_axis_off()
        label = f'column {string.ascii_lowercase[number]}: ' if columns > 1 else ''
        label += f'{color_share(kernel[number]):.0%} of the squared weights lie in color, the rest in grey'
        axes.set_title(label.replace('%', ' %'), loc='left', color=TEXT, fontsize=9, pad=5)
    save_figure(figure, file)


def color_share(kernel: np.ndarray) -> float:
    """Of the squared weights (height, width, 3, maps) the share off the gray axis: 0 gray alone, 1 opposed colors."""
    weights = np.asarray(kernel, np.float64)
    whole = (weights**2).sum()
    return float(1 - (weights.sum(axis=2) ** 2).sum() / 3 / whole) if whole else 0.0


def plot_examples(
    images: np.ndarray,
    labels: Sequence[int],
    classes: Sequence[str],
    file: File,
    *,
    title: str = 'What the network sees',
) -> None:
    """A grid of training examples with their classes: images (N, crop, crop, 3) in 0..255, uint8 or float.

    As augmentation leaves them: cropped, mirrored, and lit where they are float; the mean image not yet subtracted.
    """
    cells = [[(truncate_name(classes[label], 16), TEXT)] for label in labels]
    _draw_image_grid(images, cells, file, title, 'training images after crop, mirror and lighting', per_row=8)


def plot_predictions(
    images: np.ndarray,
    truths: Sequence[int],
    predicted: Sequence[int],
    probabilities: Sequence[float],
    classes: Sequence[str],
    file: File,
    *,
    title: str = 'What the network answered',
    subtitle: str = '',
) -> None:
    """Images uint8 (N, side, side, 3) with the network's answer, its probability and the truth.

    Right answers are framed green, wrong ones red. Which images, `choose` can tell.
    """
    right = np.asarray(truths) == np.asarray(predicted)
    cells, frames = [], []
    for truth, answer, probability in zip(truths, predicted, probabilities, strict=True):
        color, mark = (RIGHT, '\N{CHECK MARK}') if truth == answer else (WRONG, '\N{BALLOT X}')
        said = f'{mark} {truncate_name(classes[answer], 14)}  {probability:.0%}'.replace('%', ' %')
        told = '' if truth == answer else f'truth: {truncate_name(classes[truth], 15)}'
        cells.append([(said, color), (told, MUTED)])
        frames.append(color)
    counted = f'{right.sum()} right answers, {(~right).sum()} wrong ones, each with its probability'
    _draw_image_grid(images, cells, file, title, subtitle or counted, per_row=6, frames=frames)


def sample_predictions(truths: np.ndarray, predicted: np.ndarray, *, number: int = 24, seed: int = 0) -> np.ndarray:
    """Which answers to show: places in the two arrays, half of them right and half wrong as far as there are, right
    ones first. By chance, from `seed`, and so not the most flattering.
    """
    order = np.random.default_rng(seed).permutation(len(truths))
    right = np.asarray(truths)[order] == np.asarray(predicted)[order]
    wrongs = min(int((~right).sum()), max(number // 2, number - int(right.sum())))
    return np.concatenate([order[right][: number - wrongs], order[~right][:wrongs]])


def _series(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values of the rows that have that number."""
    known = [(row['step'], row['epoch']) for row in rows if 'epoch' in row]
    steps, epochs = np.array(known or [(0, 0), (1, 1)], np.float64).T
    found = [(row['step'], float(row[name])) for row in rows if name in row]
    at, values = np.array(found, np.float64).reshape(-1, 2).T
    return np.interp(at, steps, epochs), values


def _plot_series(axes: Axes, x: np.ndarray, y: np.ndarray, color: str, name: str) -> None:
    """A line, its last value formatted into `name`; where there are many points, their running mean over them."""
    if not len(x):
        return
    if len(x) > SMOOTH_ABOVE:
        axes.plot(x, y, color=color, linewidth=0.7, alpha=0.3)
        x, y = _running_mean(x, y, len(x) // 30)
    marker = 'o' if len(x) <= 25 else None
    label = name.format(y[-1]).replace('%', ' %')
    axes.plot(x, y, color=color, linewidth=1.8, marker=marker, markersize=3.2, label=label)


def _running_mean(x: np.ndarray, y: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over `width` neighbors."""
    window = np.ones(width) / width
    return np.convolve(x, window, mode='valid'), np.convolve(y, window, mode='valid')


def _draw_hline(axes: Axes, value: float, name: str, *, below: bool = False) -> None:
    """A dashed line across, with its name above or below it."""
    axes.axhline(value, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.annotate(
        name, (1, value), xycoords=axes.get_yaxis_transform(), xytext=(-2, -2 if below else 2),
        textcoords='offset points', ha='right', va='top' if below else 'bottom', color=MUTED, fontsize=8,
    )  # fmt: skip


def _style_axes(axes: Axes, name: str, last: float) -> None:
    """The looks that all axes share."""
    axes.set_title(name, loc='left', color=TEXT, fontsize=10, fontweight='bold', pad=5)
    axes.set_xlim(0, 1.01 * last)
    axes.spines[['top', 'right', 'left']].set_visible(False)
    axes.spines['bottom'].set_color(MUTED)
    axes.grid(axis='y', color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=8, length=0)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9, labelcolor=TEXT, loc='lower left')


def _filter_mosaic(column: np.ndarray, across: int) -> np.ndarray:
    """All kernels of a column (height, width, 3, maps) side by side, enlarged, on white: floats in [0, 1]."""
    height, width, _, maps = column.shape
    gap, down = 10, -(-maps // across)
    scale = max(1, (MOSAIC_WIDTH // across - gap) // width)
    tall, wide = height * scale + gap, width * scale + gap
    picture = np.ones((down * tall - gap, across * wide - gap, 3))
    for number in range(maps):
        one = column[..., number]
        shown = 0.5 + 0.5 * one / (np.abs(one).max() or 1)
        top, left = number // across * tall, number % across * wide
        large = shown.repeat(scale, axis=0).repeat(scale, axis=1)
        picture[top : top + tall - gap, left : left + wide - gap] = large
    return picture


def _draw_image_grid(
    images: np.ndarray,
    cells: Sequence[Sequence[tuple[str, str]]],
    file: File,
    title: str,
    subtitle: str,
    *,
    per_row: int,
    frames: Sequence[str] = (),
) -> None:
    """Images in rows, under each its lines of (text, color), around each its frame."""
    lines = max((len(cell) for cell in cells), default=1)
    across, down = min(per_row, max(len(images), 1)), -(-len(images) // per_row)
    side, gap, text, edge, top = 9.2 / per_row, 0.16, 0.16, 0.3, 0.85  # inches
    high = side + lines * text + gap
    size = (max(across * (side + gap) - gap, 5) + 2 * edge, top + down * high + edge / 2)
    figure = Figure(figsize=size, dpi=DPI, facecolor='white')
    draw_title(figure, title, subtitle)
    for number, image in enumerate(images):
        left, low = edge + number % across * (side + gap), size[1] - top - number // across * high - side
        axes = figure.add_axes((left / size[0], low / size[1], side / size[0], side / size[1]))
        axes.imshow(np.clip(np.rint(image), 0, 255).astype(np.uint8))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=bool(frames), color=frames[number] if frames else None, linewidth=3)
        for line, (words, color) in enumerate(cells[number]):
            axes.annotate(
                words, (0.5, 0), xycoords='axes fraction', xytext=(0, -5 - line * text * 72),
                textcoords='offset points', ha='center', va='top', color=color, fontsize=8, parse_math=False,
            )  # fmt: skip
    save_figure(figure, file)


def draw_title(figure: Figure, title: str, subtitle: str) -> None:
    """Title and subtitle at the upper left, the same distance from the edge in every picture."""
    width, height = figure.get_size_inches()
    looks = ((title, 0.2, 14, TEXT, 'bold'), (subtitle, 0.48, 9.5, MUTED, 'normal'))
    for text, down, size, color, weight in looks:
        place = (0.3 / width, 1 - down / height)
        figure.text(*place, text, fontsize=size, color=color, fontweight=weight, va='top', parse_math=False)


def truncate_name(name: str, longest: int) -> str:
    """A class name of so many characters at most; of WordNet's lists of synonyms the first."""
    name = name.split(',')[0]
    return name if len(name) <= longest else name[: longest - 1].rstrip() + '\N{HORIZONTAL ELLIPSIS}'


def save_figure(figure: Figure, file: File) -> None:
    """As PNG, written aside and renamed; the same bytes for the same picture."""
    with atomic_io.write_atomic(file, 'wb') as stream:
        figure.savefig(stream, format='png', metadata={'Software': None})
