"""Plots of answers, confusions, curves, specialization and rows of images, from plain arrays."""

import warnings

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.report.plots import image_rows, run_curves, style, top_five
from alexnet_jax.report.plots.confusion import plot_confusions
from alexnet_jax.report.plots.specialization import MeasuredDifference, plot_specialization, plot_specialization_of_runs

NAMES = ('disc', 'a $price$ of 5_000 %', 'black-and-tan coonhound, a hound', 'x' * 60, '猫', 'b_c', '<b>bold</b>')


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        yield


def read_pixels(file):
    with Image.open(file) as picture:
        return np.asarray(picture.convert('RGB')).astype(int)


def count_pixels(picture, color, tolerance=4):
    return int((np.abs(picture - np.array(color)).max(axis=2) <= tolerance).sum())


def hex_color(text):
    return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))


def test_the_bar_of_the_right_class_alone_has_the_color_of_right_ones(tmp_path):
    images = np.full((3, 8, 8, 3), (20, 30, 200), np.uint8)
    probabilities = np.zeros((3, 7))
    probabilities[:, 3], probabilities[:, 1] = 0.6, 0.4
    lengths = []
    for labels in ([3, 3, 3], [1, 1, 1], [0, 0, 0], [-1, -1, -1]):
        top_five.plot_top_five(images, labels, probabilities, NAMES, tmp_path / 'a.png')
        lengths.append(count_pixels(read_pixels(tmp_path / 'a.png'), (0x8F, 0xD3, 0xBD)))
    # Text covers some of the bars.
    assert lengths[0] / lengths[1] == pytest.approx(1.5, abs=0.25) and lengths[3] == 0
    assert lengths[2] == 0 and lengths[1] > 1000
    assert count_pixels(read_pixels(tmp_path / 'a.png'), (20, 30, 200)) > 3 * (0.9 * top_five.SIDE * style.DPI) ** 2


def test_confusions_of_few_and_of_grouped_classes(tmp_path):
    counts = np.diag([30, 20, 10, 5, 5, 5, 5])
    counts[0, 1] = 7
    pairs = [(0, 1, 7, 7 / 37)]
    plot_confusions(counts, [[n] for n in range(7)], pairs, NAMES, tmp_path / 'few.png', subtitle='s')
    picture = read_pixels(tmp_path / 'few.png')
    assert count_pixels(picture, hex_color(style.WRONG), 8) > 1000
    plot_confusions(counts, [[n] for n in range(7)], [], NAMES, tmp_path / 'none.png')
    assert count_pixels(read_pixels(tmp_path / 'none.png'), hex_color(style.WRONG), 8) == 0
    many = [f'class {n}' for n in range(1000)]
    groups = np.array_split(np.arange(1000), 30)
    many_pairs = [(n, n + 1, 50 - n, 0.5) for n in range(50)]
    shares = np.random.default_rng(0).integers(0, 9, (30, 30))
    plot_confusions(shares, [list(g) for g in groups], many_pairs, many, tmp_path / 'many.png')
    height, width, _ = read_pixels(tmp_path / 'many.png').shape
    assert width < 2700 and height < 2000


def seeds(number, steps=40, offset=0.0):
    chance = np.random.default_rng(number)
    return [
        {
            'step': step,
            'epoch': step / 4,
            'loss': 2.3 * 0.95**step + 0.05 * chance.uniform() + offset,
            'top1_error': 0.9 * 0.95**step,
            **({'validation_loss': 2.0, 'validation_top1_error': 0.5} if step % 8 == 0 else {}),
        }
        for step in range(1, steps + 1)
    ]


def test_a_band_is_the_mean_and_the_range_of_the_seeds():
    runs = [seeds(number) for number in range(3)]
    band = run_curves.make_band(runs, 'loss')
    losses = np.array([[row['loss'] for row in run] for run in runs])
    np.testing.assert_allclose(band.mean, losses.mean(axis=0))
    np.testing.assert_allclose(band.lowest, losses.min(axis=0))
    np.testing.assert_allclose(band.highest, losses.max(axis=0))
    np.testing.assert_allclose(band.epoch, np.arange(1, 41) / 4)
    assert band.seeds == 3 and run_curves.make_band(runs, 'nothing') is None
    shorter = run_curves.make_band([seeds(0), seeds(1, steps=20)], 'loss')
    assert shorter.epoch[-1] == 5
    validation = run_curves.make_band(runs[:1], 'validation_loss')
    np.testing.assert_allclose(validation.epoch, [2, 4, 6, 8, 10])


def test_each_kind_of_run_has_a_line_and_its_seeds_a_band(tmp_path):
    groups = {'paper': [seeds(0), seeds(1)], 'without': [seeds(3, offset=0.4)]}
    bands = run_curves.plot_run_curves(groups, tmp_path / 'c.png', num_classes=10)
    assert list(bands) == ['paper', 'without'] and list(bands['paper']) == list(run_curves.SERIES_NAMES)
    picture = read_pixels(tmp_path / 'c.png')
    assert all(count_pixels(picture, hex_color(color)) > 500 for color in style.SERIES[:2])
    assert count_pixels(picture, hex_color(style.SERIES[2])) == 0
    run_curves.plot_run_curves({'begun': [[]]}, tmp_path / 'none.png', num_classes=10)


def measured(difference, p_value):
    return MeasuredDifference(difference, np.abs(np.random.default_rng(0).normal(size=500)) / 10, p_value)


def test_specialization_of_one_run_and_of_several(tmp_path):
    chance = np.random.default_rng(0)
    tests = {'color': measured(0.4, 0.001), 'orientation': measured(0.02, 0.9)}
    plot_specialization(chance.uniform(size=(2, 48)), chance.uniform(size=(2, 48)), tests, tmp_path / 'one.png')
    picture = read_pixels(tmp_path / 'one.png')
    assert all(count_pixels(picture, hex_color(color), 8) > 300 for color in style.SERIES[:2])
    plot_specialization_of_runs([('a', tests), ('b' * 80, tests)], tmp_path / 'runs.png', title='Runs')
    assert read_pixels(tmp_path / 'runs.png').shape[1] == 11 * style.DPI


def test_names_of_runs_keep_what_tells_them_apart():
    assert style.shorten_run_name('exchange_layers=conv3,fc8 seed 0', 34) == 'exchange_layers=conv3,fc8 seed 0'
    names = [f'exchange_layers=conv3,fc6,fc7,fc8 seed {seed}' for seed in (0, 1)]
    assert [style.shorten_run_name(name, 34) for name in names] == [
        f'exchange_layers=…c6,fc7,fc8 seed {seed}' for seed in (0, 1)
    ]


def test_rows_of_runs_have_two_lines_for_their_names(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(style, 'save_figure', lambda figure, file: saved.append(figure))
    difference = {'color': MeasuredDifference(0.1, np.zeros(9), 0.5)}
    names = [f'exchange_layers={layers} seed 0 step 90000' for layers in ('conv3,fc6,fc7,fc8', 'conv3,fc8')]
    plot_specialization_of_runs([(name, difference) for name in names], tmp_path / 'runs.png', title='Runs')
    shown = [label.get_text() for label in saved[0].axes[0].get_yticklabels()]
    assert [text.replace('\n', ' ') for text in shown] == names and all('\n' in text for text in shown)


def test_the_legend_has_the_whole_name_of_each_run(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(style, 'save_figure', lambda figure, file: saved.append(figure))
    rows = [{'step': 1, 'epoch': 1.0, 'loss': 2.0}, {'step': 2, 'epoch': 2.0, 'loss': 1.0}]
    names = ['exchange_layers=conv3,fc6,fc7,fc8', 'exchange_layers=conv3,fc8', 'seed0, step 500']
    run_curves.plot_run_curves({name: [rows] for name in names}, tmp_path / 'curves.png', num_classes=10)
    assert [text.get_text() for text in saved[0].legends[0].get_texts()] == names


def test_rows_of_images_with_names_boxes_and_marks(tmp_path):
    tile = np.full((10, 10, 3), (20, 30, 200), np.uint8)
    rows = [[image_rows.Tile(tile, name, same) for name, same in zip(NAMES, (None, True, False), strict=False)]] * 2
    image_rows.draw_image_rows(rows, tmp_path / 'plain.png', title='t', subtitle='s', names=['one\ntwo'])
    picture = read_pixels(tmp_path / 'plain.png')
    assert count_pixels(picture, (20, 30, 200)) > 6 * (0.97 * image_rows.IMAGE_SIZE * style.DPI) ** 2
    assert (
        count_pixels(picture, hex_color(style.CORRECT), 8) > 20
        and count_pixels(picture, hex_color(style.WRONG), 8) > 20
    )
    framed = [[image_rows.Tile(tile, box=(2, 2, 8, 8))]]
    image_rows.draw_image_rows(framed, tmp_path / 'box.png', title='t', subtitle='s')
    white = (read_pixels(tmp_path / 'box.png')[-200:, :250] == 255).all(axis=2).sum()
    image_rows.draw_image_rows([[image_rows.Tile(tile)]], tmp_path / 'box.png', title='t', subtitle='s')
    assert white > (read_pixels(tmp_path / 'box.png')[-200:, :250] == 255).all(axis=2).sum() + 200


def test_a_map_goes_from_black_to_bright():
    pixels = image_rows.color_map_pixels(np.array([[-3.0, 0], [1, 2]]))
    lightness = pixels.astype(int).sum(axis=2)
    assert lightness[0, 0] == lightness[0, 1] < lightness[1, 0] < lightness[1, 1] and pixels.dtype == np.uint8
    assert image_rows.color_map_pixels(np.zeros((2, 2))).sum(axis=2).max() < 20
