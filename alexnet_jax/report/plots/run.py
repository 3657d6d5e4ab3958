"""Plots of a run, from plain arrays: curves, first-layer filters, training examples and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from alexnet_jax.evaluate.evaluator import Predictions
from alexnet_jax.report.plots import style
from alexnet_jax.report.text import format_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMOOTH_ABOVE = 60  # with more points than this, a running mean is drawn over them
MOSAIC_WIDTH = 1440  # pixels of all filters of a row
MARGIN, GAP, TEXT_LINE = 0.3, 0.16, 0.16  # inches of an image grid


def plot_curves(
    rows: Sequence[Mapping[str, Any]],
    file: style.FilePath,
    *,
    num_classes: int,
    baseline: float | None = None,
    title: str = 'Training',
) -> None:
    """Plot loss, top-1 error and learning rate over the epochs, from the rows of metrics.jsonl.

    Where rows have them: 'loss', 'top1_error' and 'rate' of training, 'validation_loss' and 'validation_top1_error'.
    A row without 'epoch' gets it from the 'step's around it. Chance, and the error `baseline` that needs no network,
    are dashed lines.
    """
    from matplotlib.ticker import PercentFormatter

    subtitle = 'training: augmented images, with dropout; validation: center view, without'
    figure = style.make_figure(10, 5.2, title, subtitle)
    grid = figure.add_gridspec(
        2, 2, height_ratios=(4, 1), left=0.06, right=0.98, top=0.82, bottom=0.1, hspace=0.3, wspace=0.17
    )
    loss, rate, error = (figure.add_subplot(place) for place in (grid[0, 0], grid[1, 0], grid[:, 1]))
    for prefix, color, name in (('', style.TRAIN, 'training'), ('validation_', style.VALIDATION, 'validation')):
        epochs, losses = read_series(rows, f'{prefix}loss')
        _plot_series(loss, epochs, losses, color, f'{name} {losses[-1]:.2f}' if len(losses) else name)
        epochs, errors = read_series(rows, f'{prefix}top1_error')
        label = f'{name} {format_percent(errors[-1])}' if len(errors) else name
        _plot_series(error, epochs, errors, color, label)
    epochs, learning_rates = read_series(rows, 'rate')
    rate.plot(epochs, learning_rates, color=style.LEARNING_RATE, linewidth=1.6)
    chance = 1 - 1 / num_classes
    _draw_hline(loss, np.log(num_classes), 'chance')
    _draw_hline(error, chance, 'chance', below=baseline is not None and baseline > chance)
    if baseline is not None:
        _draw_hline(error, baseline, 'nearest neighbors', below=baseline <= chance)
    last = max([*epochs, *read_series(rows, 'validation_loss')[0]], default=1.0)
    for axes, name in ((loss, 'loss'), (error, 'top-1 error'), (rate, 'learning rate')):
        style.style_axes(axes, grid='y')
        axes.set_title(name, loc='left', color=style.TEXT, fontsize=10, fontweight='bold', pad=5)
        axes.set_xlim(0, 1.01 * last)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False, fontsize=9, labelcolor=style.TEXT, loc='lower left')
    loss.tick_params(labelbottom=False)
    # A jump at the start would flatten all the rest.
    loss.set_ylim(0, min(1.08 * loss.dataLim.y1, 3 * np.log(num_classes)))
    top = max([*learning_rates], default=1.0) or 1.0
    rate.set(ylim=(0, 1.1 * top), yticks=(0, top), yticklabels=('0', f'{top:.2g}'))
    error.set_ylim(0, 1.04)
    error.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=' %'))
    for axes in (rate, error):
        axes.set_xlabel('epoch', color=style.MUTED, fontsize=9)
    style.save_figure(figure, file)


def plot_filters(
    kernel: np.ndarray, file: style.FilePath, *, color_shares: Sequence[float] = (), title: str = 'The filters of conv1'
) -> None:
    """Draw the filters of the first layer (columns, height, width, 3, channels), column above column as in figure 3.

    Each filter is scaled by its own largest weight, so that zero is middle gray and nothing is clipped. `color_shares`
    are those of the columns (analysis.specialization.color_share), which their labels then say.
    """
    columns, height, width, _, channels = kernel.shape
    across = max((n for n in range(8, 17) if channels % n == 0), default=min(16, channels))
    mosaics = [_filter_mosaic(column, across) for column in np.asarray(kernel, np.float64)]
    wide, high = mosaics[0].shape[1] / style.DPI, mosaics[0].shape[0] / style.DPI
    top, between = 0.95, 0.42  # inches
    figure_width = max(wide, 6) + 2 * MARGIN
    figure_height = top + columns * high + (columns - 1) * between + MARGIN
    number = f'{columns} x {channels}' if columns > 1 else str(channels)
    subtitle = f'{number} filters of {height}x{width} pixels, each scaled to its own range about gray'
    figure = style.make_figure(figure_width, figure_height, title, subtitle)
    for column, mosaic in enumerate(mosaics):
        low = MARGIN + (columns - 1 - column) * (high + between)
        axes = figure.add_axes((MARGIN / figure_width, low / figure_height, wide / figure_width, high / figure_height))
        axes.imshow(mosaic, interpolation='nearest', aspect='auto')
        axes.set_axis_off()
        label = f'column {style.name_column(column)}' if columns > 1 else ''
        if column < len(color_shares):
            label += ': ' * bool(label)
            label += f'{format_percent(color_shares[column], 0)} of the squared weights are color, the rest gray'
        axes.set_title(label, loc='left', color=style.TEXT, fontsize=9, pad=5)
    style.save_figure(figure, file)


def plot_examples(
    images: np.ndarray,
    labels: Sequence[int],
    class_names: Sequence[str],
    file: style.FilePath,
    *,
    title: str = 'What the network sees',
) -> None:
    """Draw a grid of training examples (N, crop, crop, 3) in 0..255, uint8 or float, with their classes."""
    captions = [[(style.truncate_name(class_names[label], 16), style.TEXT)] for label in labels]
    subtitle = 'training images after crop, mirror and lighting'
    _draw_image_grid(images, captions, file, title, subtitle, per_row=8)


def plot_predictions(
    images: np.ndarray,
    predictions: Predictions,
    class_names: Sequence[str],
    file: style.FilePath,
    *,
    title: str = 'What the network predicts',
    subtitle: str = '',
) -> None:
    """Draw images uint8 (N, side, side, 3) with prediction, probability and label; a mark says whether it is right."""
    correct = np.asarray(predictions.label) == np.asarray(predictions.predicted)
    captions, frames = [], []
    shown = predictions.label, predictions.predicted, predictions.probability
    for label, predicted, probability in zip(*shown, strict=True):
        color, mark = (style.CORRECT, style.CORRECT_MARK) if label == predicted else (style.WRONG, style.WRONG_MARK)
        answer = f'{mark} {style.truncate_name(class_names[predicted], 14)}  {format_percent(probability, 0)}'
        truth = '' if label == predicted else f'label: {style.truncate_name(class_names[label], 15)}'
        captions.append([(answer, color), (truth, style.MUTED)])
        frames.append(color)
    counts = f'{correct.sum()} correct and {(~correct).sum()} wrong predictions, each with its probability'
    _draw_image_grid(images, captions, file, title, subtitle or counts, per_row=6, frames=frames)


def sample_predictions(predictions: Predictions, *, number: int = 24, seed: int = 0) -> Predictions:
    """Return predictions drawn at random: half correct and half wrong as far as there are, the correct ones first."""
    order = np.random.default_rng(seed).permutation(len(predictions.label))
    correct = np.asarray(predictions.label)[order] == np.asarray(predictions.predicted)[order]
    num_wrong = min(int((~correct).sum()), max(number // 2, number - int(correct.sum())))
    places = np.concatenate([order[correct][: number - num_wrong], order[~correct][:num_wrong]])
    return Predictions(*(array[places] for array in predictions))


def read_series(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return epochs and values of the rows that have that number."""
    known = [(row['step'], row['epoch']) for row in rows if 'epoch' in row]
    known_steps, known_epochs = np.array(known or [(0, 0), (1, 1)], np.float64).T
    pairs = [(row['step'], float(row[name])) for row in rows if name in row]
    steps, values = np.array(pairs, np.float64).reshape(-1, 2).T
    return np.interp(steps, known_steps, known_epochs), values


def smooth_series(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the running mean of many points, a thirtieth of them at a time; few points as they are."""
    if len(x) <= SMOOTH_ABOVE:
        return x, y
    window = np.ones(len(x) // 30) / (len(x) // 30)
    smooth_x, smooth_y = (np.convolve(values, window, mode='valid') for values in (x, y))
    return smooth_x, smooth_y


def _plot_series(axes: Axes, x: np.ndarray, y: np.ndarray, color: str, label: str) -> None:
    """Plot a line if it has points; over many points, their running mean."""
    if not len(x):
        return
    if len(x) > SMOOTH_ABOVE:
        axes.plot(x, y, color=color, linewidth=0.7, alpha=0.3)
        x, y = smooth_series(x, y)
    marker = 'o' if len(x) <= 25 else None
    axes.plot(x, y, color=color, linewidth=1.8, marker=marker, markersize=3.2, label=label)


def _draw_hline(axes: Axes, value: float, name: str, *, below: bool = False) -> None:
    """Draw a dashed line across, with its name above or below it."""
    axes.axhline(value, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.annotate(
        name, (1, value), xycoords=axes.get_yaxis_transform(), xytext=(-2, -2 if below else 2),
        textcoords='offset points', ha='right', va='top' if below else 'bottom', color=style.MUTED, fontsize=8,
    )  # fmt: skip


def _filter_mosaic(column: np.ndarray, across: int) -> np.ndarray:
    """Return the filters of a column (height, width, 3, channels) side by side, enlarged, on white, in [0, 1]."""
    height, width, _, channels = column.shape
    gap, down = 10, -(-channels // across)
    scale = max(1, (MOSAIC_WIDTH // across - gap) // width)
    tall, wide = height * scale + gap, width * scale + gap
    mosaic = np.ones((down * tall - gap, across * wide - gap, 3))
    for number in range(channels):
        weights = column[..., number]
        pixels = 0.5 + 0.5 * weights / (np.abs(weights).max() or 1)
        top, left = number // across * tall, number % across * wide
        enlarged = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
        mosaic[top : top + tall - gap, left : left + wide - gap] = enlarged
    return mosaic


def _draw_image_grid(
    images: np.ndarray,
    captions: Sequence[Sequence[tuple[str, str]]],
    file: style.FilePath,
    title: str,
    subtitle: str,
    *,
    per_row: int,
    frames: Sequence[str] = (),
) -> None:
    """Draw images in rows, the (text, color) lines of its caption under each, its frame around it."""
    num_lines = max((len(caption) for caption in captions), default=1)
    across, down = min(per_row, max(len(images), 1)), -(-len(images) // per_row)
    side, top = 9.2 / per_row, 0.85  # inches
    row_height = side + num_lines * TEXT_LINE + GAP
    width = max(across * (side + GAP) - GAP, 5) + 2 * MARGIN
    height = top + down * row_height + MARGIN / 2
    figure = style.make_figure(width, height, title, subtitle)
    for number, image in enumerate(images):
        left = MARGIN + number % across * (side + GAP)
        low = height - top - number // across * row_height - side
        axes = figure.add_axes((left / width, low / height, side / width, side / height))
        axes.imshow(np.clip(np.rint(image), 0, 255).astype(np.uint8))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=bool(frames), color=frames[number] if frames else None, linewidth=3)
        for line, (text, color) in enumerate(captions[number]):
            axes.annotate(
                text, (0.5, 0), xycoords='axes fraction', xytext=(0, -5 - line * TEXT_LINE * 72),
                textcoords='offset points', ha='center', va='top', color=color, fontsize=8, parse_math=False,
            )  # fmt: skip
    style.save_figure(figure, file)
