"""Cut-outs: the same on every machine, balanced, from photographs of their own, and told apart by form alone."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from alexnet_jax.prepare.sources import cutouts

SIDE = 32
RADIUS = 30.0


def made(split='train', count=40, side=SIDE, seed=0):
    return [cutouts.make_cutout(split, index, seed, side) for index in range(count)]


def seen(monkeypatch, split, count):
    """What the images were laid together from: ground, figure and cover of each."""
    parts = []
    lay = cutouts._composite
    monkeypatch.setattr(cutouts, '_composite', lambda *given: parts.append(given) or lay(*given))
    made(split, count)
    return parts


def test_an_image_depends_on_its_arguments_alone():
    together = made(count=6)
    for index in (5, 2, 0):
        image, label = cutouts.make_cutout('train', index, 0, SIDE)
        np.testing.assert_array_equal(image, together[index][0])
        assert label == together[index][1]


def test_every_argument_changes_the_image():
    image = cutouts.make_cutout('train', 3, 0, SIDE)[0]
    for other in (('train', 13, 0), ('train', 3, 1), ('validation', 3, 0), ('test', 3, 0)):
        assert not np.array_equal(image, cutouts.make_cutout(*other, SIDE)[0])


def digest(count=12):
    content = hashlib.sha256()
    for split in cutouts.PHOTOGRAPHS:
        for image, _ in made(split, count):
            content.update(image.tobytes())
    return content.hexdigest()


def test_the_bytes_are_those_of_every_other_machine():
    assert digest() == 'aeeec57d6d6a8fc8594f50050ce3ffc87ad626e8d31bfe59da4ce9e0d18ea7bb'


def test_another_process_makes_the_same_bytes():
    script = 'import sys; sys.path[:0] = ["tests/prepare/sources"]; import test_cutouts; print(test_cutouts.digest(2))'
    root = Path(__file__).parents[3]
    other = subprocess.run([sys.executable, '-c', script], cwd=root, capture_output=True, text=True, check=True)
    assert other.stdout.split()[-1] == digest(2)


def test_the_photographs_of_the_splits_are_different_ones():
    names = [name for split in cutouts.PHOTOGRAPHS.values() for name in split]
    assert len(names) == len(set(names)) == 13
    assert list(cutouts.PHOTOGRAPHS) == ['train', 'validation', 'test']


@pytest.mark.parametrize('split', cutouts.PHOTOGRAPHS)
def test_every_split_has_color_and_gray(split):
    assert {getattr(skimage.data, name)().ndim for name in cutouts.PHOTOGRAPHS[split]} == {2, 3}


@pytest.mark.parametrize('split', cutouts.PHOTOGRAPHS)
def test_pieces_come_from_the_photographs_of_their_split(split, monkeypatch):
    used = set()
    scales = cutouts._scaled_photographs
    monkeypatch.setattr(cutouts, '_scaled_photographs', lambda name, side: used.add(name) or scales(name, side))
    made(split, 60)
    assert used == set(cutouts.PHOTOGRAPHS[split])


def test_the_ten_classes_are_balanced():
    labels = [label for _, label in made(count=50)]
    assert np.bincount(labels).tolist() == [5] * len(cutouts.CLASSES) == [5] * 10


@pytest.mark.parametrize('split', cutouts.PHOTOGRAPHS)
def test_figure_and_ground_differ_where_the_figure_lies(split, monkeypatch):
    for ground, figure, cover in seen(monkeypatch, split, 30):
        rows, columns = np.nonzero(cover[:, :, 0])
        # The shape's circle is wider than the shape: about it the difference holds, within it nearly.
        box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        difference = np.abs(ground[box].mean(axis=(0, 1)) - figure[box].mean(axis=(0, 1))).max()
        assert difference > cutouts.CONTRAST / 2


def test_contrast_is_of_mean_colors_in_one_channel():
    ground, figure = np.zeros((2, 4, 4, 3), np.uint8)
    figure[:, :, 1] = cutouts.CONTRAST - 1
    assert not cutouts._has_contrast(ground, figure)
    figure[0, 0, 1] += 16
    assert cutouts._has_contrast(ground, figure) and cutouts._has_contrast(figure, ground)


def test_no_random_crop_of_seven_eighths_cuts_a_figure(monkeypatch):
    margin = SIDE // 16
    for _, _, cover in seen(monkeypatch, 'train', 60):
        inner = cover[margin : SIDE - margin, margin : SIDE - margin]
        assert inner.sum() == cover.sum() > 0


def test_ground_lies_outside_figure_inside_and_between_them_a_mixture():
    ground, figure = np.full((1, 3, 3), 250, np.uint8), np.full((1, 3, 3), 10, np.uint8)
    cover = np.array([0, cutouts.ALPHA_MAX // 2, cutouts.ALPHA_MAX], np.int16).reshape(1, 3, 1)
    assert cutouts._composite(ground, figure, cover)[0, :, 0].tolist() == [250, 130, 10]


def cover(name, angle=0.0, side=96):
    tangent = np.tan(np.radians(angle) / 2)
    label = cutouts.CLASSES.index(name)
    return cutouts._coverage(label, side, (side / 2, side / 2), RADIUS, tangent)[:, :, 0] / cutouts.ALPHA_MAX


@pytest.mark.parametrize(
    'name, area',
    [
        ('disc', np.pi * 0.82**2),
        ('square', 1.44**2),
        ('triangle', 0.95 * 1.65),
        ('cross', 4 * 0.6 * 0.92 - 0.6**2),
        ('ring', np.pi * (0.9**2 - 0.5**2)),
        ('semicircle', np.pi * 0.95**2 / 2),
        ('arrow', 0.78 * 0.9 + 0.6 * 1.05),
    ],
)
def test_shapes_cover_the_area_that_geometry_gives(name, area):
    assert cover(name).sum() == pytest.approx(area * RADIUS**2, rel=0.01)
    assert cover(name, 20).sum() == pytest.approx(area * RADIUS**2, rel=0.01)


def test_shapes_are_antialiased_and_of_ten_forms():
    masks = np.array([cover(name) for name in cutouts.CLASSES])
    between = ((masks > 0.02) & (masks < 0.98)).sum(axis=(1, 2))
    assert (between > 20).all()
    for first in range(10):
        for second in range(first):
            assert np.abs(masks[first] - masks[second]).sum() > 0.15 * masks[[first, second]].sum(axis=(1, 2)).max()


def test_a_turn_goes_as_far_as_asked():
    down, right = np.nonzero(cover('arrow', 25) > 0.5)
    tip = down.argmin()
    angle = np.degrees(np.arctan2(right[tip] - 47.5, 47.5 - down[tip]))
    assert abs(angle) == pytest.approx(25, abs=3)
    assert np.degrees(2 * np.arctan(cutouts.MAX_TAN_HALF_ANGLE)) == pytest.approx(25, abs=0.01)


def test_colors_do_not_tell_the_class():
    images = np.array([image for image, _ in made(count=1500)], np.float64)
    labels = np.arange(1500) % 10
    colors = np.concatenate([images.mean(axis=(1, 2)), images.std(axis=(1, 2))], axis=1)
    distances = ((colors[1000:, None] - colors[None, :1000]) ** 2).sum(axis=2)
    right = (labels[:1000][distances.argmin(axis=1)] == labels[1000:]).mean()
    assert right < 0.18  # chance is 0.1, its standard deviation 0.013


@pytest.mark.parametrize('side', [8, 50, 310])
def test_images_have_the_side_that_was_asked_for_even_beyond_a_photograph(side):
    image, _ = cutouts.make_cutout('train', 0, 0, side)
    assert image.shape == (side, side, 3) and image.dtype == np.uint8
    assert cutouts._scaled_photographs('clock', side)[0].shape[0] >= side
