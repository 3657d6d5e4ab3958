"""The picture of an ablation study: what is drawn where, and a file that is the same each time."""

import math

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.report.plots import style
from alexnet_jax.report.plots.paired_differences import DifferenceBar, plot_paired_differences

BARS = [
    DifferenceBar('no_dropout', (-0.4,), -0.4, math.nan, math.nan, None, 'one seed, which has no interval'),
    DifferenceBar('no_lrn', (0.9, 1.1, 1.0), 1.0, 0.75, 1.25, 1.4, 'reproduced'),
]


@pytest.fixture
def axes(monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(style, 'save_figure', lambda figure, file: figures.append(figure))
    plot_paired_differences(BARS, tmp_path / 'table.png', title='Ablations', subtitle='of a base')
    return figures[0].axes[0]


def test_each_row_has_its_seeds_mean_interval_and_published_difference(axes):
    lines = [np.array(line.get_xydata(), float) for line in axes.lines[:-1]]
    rows = [lines[:4], lines[4:]]
    for row, (drawn, bar) in enumerate(zip(rows, BARS, strict=True)):
        seeds, mean, published, interval = drawn
        np.testing.assert_allclose(seeds, [(each, row + 0.22) for each in bar.differences])
        np.testing.assert_allclose(mean, [(bar.mean, row)])
        np.testing.assert_allclose(published, [(math.nan if bar.published is None else bar.published, row)])
        np.testing.assert_allclose(interval, [(bar.low, row), (bar.high, row)])
    assert [label.get_text() for label in axes.get_yticklabels()] == ['no_dropout', 'no_lrn']
    assert axes.get_ylim() == (1.5, -0.5)
    assert [text.get_text() for text in axes.texts] == [bar.verdict for bar in BARS]


def test_the_same_study_gives_the_same_bytes(tmp_path):
    for name in ('a.png', 'b.png'):
        plot_paired_differences(BARS, tmp_path / name, title='Ablations', subtitle='of a base')
    assert (tmp_path / 'a.png').read_bytes() == (tmp_path / 'b.png').read_bytes()
    assert Image.open(tmp_path / 'a.png').width == 10 * style.DPI
