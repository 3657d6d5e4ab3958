"""The plot of a compiled program: a bar for each layer with the bytes that it reads and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alexnet_jax.report.plots import style

ROW_HEIGHT = 0.3  # inches
GIB = 2**30


def plot_layer_bytes(
    bytes_by_layer: Mapping[str, Sequence[int]], file: style.FilePath, *, title: str, subtitle: str
) -> None:
    """Plot the GiB (forward, backward) of each layer, the first at the top; '' is what belongs to no layer."""
    height = 1.7 + ROW_HEIGHT * len(bytes_by_layer)
    figure = style.make_figure(10, height, title, subtitle)
    axes = figure.add_axes((0.24, 0.55 / height, 0.72, 1 - 1.45 / height))
    longest = max(sum(parts) for parts in bytes_by_layer.values()) / GIB
    for row, (forward, backward) in enumerate(bytes_by_layer.values()):
        labels = ('forward', 'backward') if row == 0 else (None, None)
        axes.barh(row, forward / GIB, 0.62, color=style.TRAIN, label=labels[0])
        axes.barh(row, backward / GIB, 0.62, left=forward / GIB, color=style.VALIDATION, label=labels[1])
        total = (forward + backward) / GIB
        axes.text(total + 0.008 * longest, row, f'{total:.3g}', va='center', fontsize=8, color=style.MUTED)
    style.style_axes(axes, grid='x')
    names = [style.truncate_name(name or 'no layer', 24) for name in bytes_by_layer]
    axes.set_yticks(range(len(names)), names, fontsize=9, color=style.TEXT)
    axes.set(ylim=(len(names) - 0.4, -0.6), xlim=(0, 1.08 * longest))
    axes.set_xlabel('GiB a step', color=style.MUTED, fontsize=9)
    axes.legend(frameon=False, fontsize=9, labelcolor=style.TEXT, loc='lower right')
    style.save_figure(figure, file)
