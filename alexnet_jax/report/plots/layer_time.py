"""The plot of a benchmark: a bar for each layer, forward and backward, and its roofline."""

from __future__ import annotations

from collections.abc import Sequence

from alexnet_jax.report.layer_benchmark import LayerTiming
from alexnet_jax.report.plots import style

ROW_HEIGHT = 0.3  # inches


def plot_layer_times(layers: Sequence[LayerTiming], file: style.FilePath, *, title: str, subtitle: str) -> None:
    """Plot the milliseconds of each layer alone, the first at the top; a dark mark shows the machine's floor."""
    height = 1.7 + ROW_HEIGHT * len(layers)
    figure = style.make_figure(10, height, title, subtitle)
    axes = figure.add_axes((0.09, 0.55 / height, 0.87, 1 - 1.45 / height))
    longest = 1e3 * max(layer.forward + layer.backward for layer in layers)
    for row, layer in enumerate(layers):
        forward, backward = 1e3 * layer.forward, 1e3 * layer.backward
        floor = 1e3 * (layer.forward_floor + layer.backward_floor)
        labels = ('forward', 'backward', 'floor') if row == 0 else (None, None, None)
        axes.barh(row, forward, 0.62, color=style.TRAIN, label=labels[0])
        axes.barh(row, backward, 0.62, left=forward, color=style.VALIDATION, label=labels[1])
        axes.plot([floor] * 2, [row - 0.42, row + 0.42], color=style.TEXT, lw=2, label=labels[2])
        end = max(forward + backward, floor) + 0.008 * longest
        axes.text(end, row, f'{forward + backward:.3g}', va='center', fontsize=8, color=style.MUTED)
    style.style_axes(axes, grid='x')
    axes.set_yticks(range(len(layers)), [layer.name for layer in layers], fontsize=9, color=style.TEXT)
    axes.set(ylim=(len(layers) - 0.4, -0.6), xlim=(0, 1.08 * longest))
    axes.set_xlabel('milliseconds', color=style.MUTED, fontsize=9)
    axes.legend(frameon=False, fontsize=9, labelcolor=style.TEXT, loc='lower right')
    style.save_figure(figure, file)
