"""Neighbors for the figure: never the image itself, and a sentence where there are too few images."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny_run import open_source

from alexnet_jax.commands import image_figures
from alexnet_jax.errors import UserError


def use_pixels(source):
    """Let the mean colors of an image be its activations."""
    source.iterate_activations = lambda layers, batches: (
        {layer: batch.mean(axis=(1, 2)) for layer in layers} for batch in batches
    )


@pytest.mark.parametrize('split, kind', [('train', ''), ('test', 'training ')])
def test_an_image_is_not_its_own_neighbor(trained, split, kind):
    source = open_source(trained[1], split=split)
    use_pixels(source)
    found = image_figures.find_hidden_neighbors(source)
    assert len(found.table) == 5 * 6 and all(row['distance'] > 0 for row in found.table)
    count = 48 - 5 * (split == 'train')
    assert (
        found.description == f'left: {split} images; right: the nearest of {count} {kind}images by Euclidean distance'
    )


def test_too_few_images_have_no_neighbors(trained, tmp_path):
    shutil.copytree(trained[1], tmp_path / 'run', ignore=shutil.ignore_patterns('dataset'))
    source = open_source(tmp_path / 'run')
    use_pixels(source)
    (tmp_path / 'mine').mkdir()
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (80, 70, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'mine' / f'{number}.png')
    source.config.predict.images = str(tmp_path / 'mine')
    assert len(image_figures.find_hidden_neighbors(source).table) == 5
    source = open_source(source.folder)
    use_pixels(source)
    (tmp_path / 'mine' / '5.png').write_bytes(b'no image')
    source.config.predict.images = str(tmp_path / 'mine')
    with pytest.raises(UserError, match='shows the images nearest to 5 others, and .*mine has no more than'):
        image_figures.find_hidden_neighbors(source)


def test_the_description_names_the_split_that_is_shown():
    config = SimpleNamespace(predict=SimpleNamespace(images=''), evaluate=SimpleNamespace(split='test'))
    source = SimpleNamespace(config=config, images=SimpleNamespace(split='validation'))
    assert image_figures._describe_shown(source) == 'validation images'
