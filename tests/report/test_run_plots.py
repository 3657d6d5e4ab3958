"""Plots: whole PNG files whose pixels show the data, without pyplot's global state."""

import os
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib import _pylab_helpers
from matplotlib.figure import Figure
from PIL import Image

from alexnet_jax.evaluate.evaluator import Predictions
from alexnet_jax.report.plots import run, style

CLASSES = ('disc', 'a $price$ of 5_000 %', 'black-and-tan coonhound, a hound', 'x' * 60)
GREEN, RED = (0x00, 0x78, 0x5A), (0xC4, 0x4A, 0x00)
SHOWN = (255, 128, 128), (128, 128, 0), (128, 128, 128)  # only red, the opposite of blue, nothing
TRAIN, VALIDATION = (0x2F, 0x6D, 0xB3), (0xD9, 0x62, 0x2B)


@pytest.fixture(autouse=True)
def nothing_else_changes(tmp_path):
    """No figure is left with pyplot, no setting is changed, no warning is given, no file is left aside."""
    settings = dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        yield
    assert dict(matplotlib.rcParams) == settings
    assert not _pylab_helpers.Gcf.get_all_fig_managers()
    assert all(name.endswith('.png') and not name.startswith('.') for name in os.listdir(tmp_path))


def read_pixels(file):
    with Image.open(file) as picture:
        picture.load()
        assert picture.format == 'PNG'
        return np.asarray(picture.convert('RGB')).astype(int)


def count_pixels(picture, color, tolerance=12):
    """Return how many pixels have that color."""
    return int((np.abs(picture - np.array(color)).max(axis=2) <= tolerance).sum())


def metric_rows(steps, validation=True):
    """As metrics.jsonl has them: an error that falls, validated every tenth row."""
    found = []
    for number in range(1, steps + 1):
        error = 0.9 * 0.97**number
        found.append(
            {
                'step': 10 * number,
                'epoch': number / 2,
                'rate': 0.01,
                'loss': 2.3 * error,
                'top1_error': error,
                'gradient_norm': 1.0,
            }
        )
        if validation and number % 10 == 0:
            measured = {'validation_loss': 2.4 * error, 'validation_top1_error': error, 'validation_images': 100}
            found.append({'step': 10 * number, **measured})
    return found


@pytest.mark.parametrize('steps', [20, 200])
def test_curves_show_training_and_validation(tmp_path, steps):
    run.plot_curves(metric_rows(steps), tmp_path / 'both.png', num_classes=10, baseline=0.8, title='$5 % run')
    run.plot_curves(metric_rows(steps, validation=False), tmp_path / 'training.png', num_classes=10)
    both, training = read_pixels(tmp_path / 'both.png'), read_pixels(tmp_path / 'training.png')
    assert both.shape[1] > 1200
    assert count_pixels(both, TRAIN) > 500 and count_pixels(both, VALIDATION) > 500
    assert count_pixels(training, TRAIN) > 500 and count_pixels(training, VALIDATION) == 0


def test_rows_without_epoch_get_it_from_the_steps_around_them():
    epochs, values = run.read_series(metric_rows(30), 'validation_loss')
    np.testing.assert_allclose(epochs, [5, 10, 15])
    np.testing.assert_allclose(values, [2.4 * 0.9 * 0.97**number for number in (10, 20, 30)])


def test_curves_of_runs_hardly_begun_or_no_longer_finite(tmp_path):
    run.plot_curves([], tmp_path / 'none.png', num_classes=10)
    run.plot_curves(metric_rows(1), tmp_path / 'one.png', num_classes=2)
    broken = [*metric_rows(3), {'step': 40, 'epoch': 2.0, 'rate': 0.0, 'loss': 'NaN', 'top1_error': 'Infinity'}]
    run.plot_curves(broken, tmp_path / 'broken.png', num_classes=10)
    for name in ('none', 'one', 'broken'):
        assert read_pixels(tmp_path / f'{name}.png').shape[1] > 1200


def test_kernels_stand_by_column_each_in_its_own_range_about_gray(tmp_path):
    kernel = np.zeros((2, 5, 5, 3, 8))
    kernel[0, ..., 0, :], kernel[1, ..., 2, :] = 1e-6, -300.0  # column a red, column b the opposite of blue
    kernel[0, ..., 7] = 0  # a kernel of nothing is gray, and no division by zero
    run.plot_filters(kernel, tmp_path / 'kernels.png')
    picture = read_pixels(tmp_path / 'kernels.png')
    red, no_blue, gray = ((np.abs(picture - color).max(axis=2) <= 2) for color in SHOWN)
    assert red.sum() > 7 * 100**2 and no_blue.sum() > 8 * 100**2
    assert np.flatnonzero(red.any(axis=1)).max() < np.flatnonzero(no_blue.any(axis=1)).min()  # a above b
    assert 100**2 < gray.sum() < red.sum() / 6


@pytest.mark.parametrize('shape', [(2, 11, 11, 3, 48), (1, 11, 11, 3, 64), (1, 3, 3, 3, 3), (3, 5, 5, 3, 17)])
def test_kernels_of_any_architecture_fit(tmp_path, shape):
    run.plot_filters(np.random.default_rng(0).normal(size=shape), tmp_path / 'kernels.png', title='conv1')
    height, width, _ = read_pixels(tmp_path / 'kernels.png').shape
    assert 900 < width < 1700 and 200 < height < 2500


def test_columns_beyond_the_alphabet_go_by_their_numbers(tmp_path):
    assert [style.name_column(column) for column in (0, 25, 26)] == ['a', 'z', '27']
    run.plot_filters(np.ones((27, 1, 1, 3, 1)), tmp_path / 'kernels.png')
    assert read_pixels(tmp_path / 'kernels.png').shape[0] > 27 * 50


@pytest.mark.parametrize('number', [1, 9])
def test_examples_show_their_pixels_lit_beyond_white_clipped(tmp_path, number):
    images = np.full((number, 7, 7, 3), (200.4, 300.0, -50.0), np.float32)
    run.plot_examples(images, [2] * number, CLASSES, tmp_path / 'examples.png')
    assert count_pixels(read_pixels(tmp_path / 'examples.png'), (200, 255, 0), 1) > number * 150**2


def test_answers_are_framed_green_where_right_and_red_where_wrong(tmp_path):
    images = np.full((8, 6, 6, 3), (20, 30, 200), np.uint8)
    labels, predicted = np.array([0, 1, 2, 3, 0, 1, 2, 3]), np.array([0, 1, 2, 3, 3, 2, 1, 0])
    for name, answers in (('both', predicted), ('right', labels), ('wrong', (labels + 1) % 4)):
        predictions = Predictions(np.arange(8), labels, answers, np.linspace(0, 1, 8), labels * 0)
        run.plot_predictions(images, predictions, CLASSES, tmp_path / f'{name}.png')
    both, right, wrong = (read_pixels(tmp_path / f'{name}.png') for name in ('both', 'right', 'wrong'))
    assert count_pixels(both, (20, 30, 200), 1) > 8 * 180**2
    frame = 4 * 200 * 4  # pixels at least
    assert count_pixels(both, GREEN) > 4 * frame and count_pixels(both, RED) > 4 * frame
    assert count_pixels(right, GREEN) > 8 * frame and count_pixels(right, RED) == 0
    assert count_pixels(wrong, RED) > 8 * frame and count_pixels(wrong, GREEN) == 0


@pytest.mark.parametrize(
    ('right', 'wrong', 'shown'),
    [(80, 20, (12, 12)), (98, 2, (22, 2)), (3, 97, (3, 21)), (5, 5, (5, 5)), (40, 0, (24, 0)), (0, 9, (0, 9))],
)
def test_some_of_both_are_chosen_where_there_are_both(right, wrong, shown):
    labels = np.zeros(right + wrong, np.int32)
    predicted = np.random.default_rng(0).permutation(np.repeat([0, 1], [right, wrong]))
    predictions = Predictions(np.arange(len(labels)), labels, predicted, np.ones(len(labels)), labels * 0)
    sample = run.sample_predictions(predictions, number=24, seed=1)
    hits = sample.label == sample.predicted
    assert (hits.sum(), (~hits).sum()) == shown
    assert len(set(sample.id.tolist())) == len(sample.id)
    assert hits.tolist() == sorted(hits.tolist(), reverse=True)
    np.testing.assert_array_equal(sample, run.sample_predictions(predictions, number=24, seed=1))


def test_the_same_picture_has_the_same_bytes(tmp_path):
    for name in ('a', 'b'):
        run.plot_curves(metric_rows(20), tmp_path / f'{name}.png', num_classes=10)
    assert (tmp_path / 'a.png').read_bytes() == (tmp_path / 'b.png').read_bytes()


def test_a_picture_that_fails_leaves_the_old_one_whole(tmp_path, monkeypatch):
    run.plot_curves(metric_rows(5), tmp_path / 'curves.png', num_classes=10)
    old = (tmp_path / 'curves.png').read_bytes()

    def half(figure, file, **options):
        file.write(b'\x89PNG')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Figure, 'savefig', half)
    with pytest.raises(OSError, match='No space'):
        run.plot_curves(metric_rows(9), tmp_path / 'curves.png', num_classes=10)
    assert (tmp_path / 'curves.png').read_bytes() == old
