"""Figure 4, left: test images with bars for their five most probable classes, the right one marked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alexnet_jax.evaluate.metrics import TOP_K
from alexnet_jax.report.plots import style

PER_ROW = 4
# Inches.
SIDE, BAR_HEIGHT, GAP, MARGIN, TOP = 2.1, 0.25, 0.3, 0.3, 0.9


def plot_top_five(
    images: np.ndarray,
    labels: Sequence[int],
    probabilities: np.ndarray,
    class_names: Sequence[str],
    file: style.FilePath,
    *,
    image_names: Sequence[str] = (),
    subtitle: str = '',
) -> None:
    """Draw images uint8 (N, side, side, 3), each with its class below it and its most probable classes as bars.

    `probabilities` is (N, classes); a label below 0 is not known, and the image then goes by its name in `image_names`.
    The bar of the right class is colored and has a check mark.
    """
    count = min(TOP_K, probabilities.shape[1])
    across, down = min(PER_ROW, len(images)), -(-len(images) // PER_ROW)
    row_height = SIDE + 0.34 + count * BAR_HEIGHT + GAP
    width, height = max(5.5, 2 * MARGIN + across * (SIDE + GAP) - GAP), TOP + down * row_height
    note = subtitle or f'the {count} most probable classes with their probabilities; the right one has a check mark'
    figure = style.make_figure(width, height, 'What the network answers', note)
    for number, (image, label, row) in enumerate(zip(images, labels, probabilities, strict=True)):
        left, top = MARGIN + number % across * (SIDE + GAP), TOP + number // across * row_height
        style.place_axes(figure, left, top, SIDE, SIDE).imshow(image)
        best = np.argsort(-row, kind='stable')[:count]
        caption = style.place_axes(figure, left, top + SIDE + 0.04, SIDE, 0.25)
        unknown = image_names[number] if image_names else 'class not known'
        name = style.truncate_name(class_names[label] if label >= 0 else unknown, 24)
        caption.text(
            0.5, 0.5, name, ha='center', va='center', fontsize=10.5, fontweight='bold', parse_math=False,
            color=style.TEXT,
        )  # fmt: skip
        axes = style.place_axes(figure, left, top + SIDE + 0.32, SIDE, count * BAR_HEIGHT)
        axes.set(xlim=(0, 1), ylim=(count - 0.5, -0.5))
        for place, answer in enumerate(best.tolist()):
            is_right = answer == label
            axes.barh(place, 1, 0.86, color='#f1f3f5')
            axes.barh(place, row[answer], 0.86, color='#8fd3bd' if is_right else '#c9cfd6')
            mark = f'{style.CORRECT_MARK} ' * is_right
            axes.text(
                0.02, place, mark + style.truncate_name(class_names[answer], 20 - len(mark)), va='center', fontsize=9,
                color=style.TEXT, fontweight='bold' if is_right else 'normal', parse_math=False,
            )  # fmt: skip
            percent = '<1 %' if row[answer] < 0.005 else f'{100 * row[answer]:.0f} %'
            axes.text(0.985, place, percent, va='center', ha='right', fontsize=8.5, color=style.TEXT)
    style.save_figure(figure, file)
