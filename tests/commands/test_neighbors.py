"""--mode=neighbors: arrays, JSON lines and pictures of the nearest images, by the features that lie beside them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_run import tiny_config

from alexnet_jax import commands
from alexnet_jax.analysis.feature_files import open_features
from alexnet_jax.data import dataset
from alexnet_jax.errors import UserError


def neighbors_config(directory, **fields):
    config = tiny_config()
    config.features.directory, config.features.layers = str(directory), 'fc7,pool5'
    config.neighbors.update(fields)
    return config


def test_the_nearest_of_a_dataset_are_those_of_its_features(trained, tmp_path, caplog):
    caplog.set_level('INFO', 'alexnet_jax')
    result = commands.run('neighbors', neighbors_config(tmp_path / 'f', count=3), trained[1])
    assert result == {'directories': [str(tmp_path / 'f' / 'neighbors')], 'queries': 20}
    features, folder = open_features(tmp_path / 'f'), Path(result['directories'][0])
    for layer in ('fc7', 'pool5'):
        rows, distances = (np.load(folder / f'{layer}_{name}.npy') for name in ('rows', 'distances'))
        flat = features[layer].reshape(20, -1).astype(np.float64)
        pairs = np.linalg.norm(flat[:, None] - flat[None], axis=2)
        np.fill_diagonal(pairs, np.inf)
        np.testing.assert_array_equal(rows, np.argsort(pairs, axis=1, kind='stable')[:, :3])
        np.testing.assert_allclose(distances, np.sort(pairs, axis=1)[:, :3], rtol=1e-9)
        lines = [json.loads(line) for line in (folder / f'{layer}.jsonl').read_text().splitlines()]
        assert [line['id'] for line in lines] == list(features.ids)
        assert [near['id'] for near in lines[4]['neighbors']] == [features.ids[row] for row in rows[4]]
        with Image.open(folder / f'{layer}.png') as picture:
            assert picture.width > 600 and picture.height > 1200
    names = features.metadata['class_names']
    rows = np.load(folder / 'fc7_rows.npy')
    share = np.mean(features.labels[rows[:, 0]] == features.labels)
    assert lines[0]['class'] == names[features.labels[0]]
    assert any(
        f'in fc7 (euclidean) are in {folder}. The nearest is of the same class for {share:.1%}'.replace('%', ' %') in m
        for m in caplog.messages
    )


def test_queries_are_sought_among_the_images(trained, tmp_path):
    """Two photographs of the dataset find themselves at distance zero, or all but."""
    data = dataset.open_dataset(f'{trained[1]}/dataset')
    (tmp_path / 'mine').mkdir()
    for record in (11, 5):
        Image.fromarray(data.split('test')[record][0]).save(tmp_path / 'mine' / f'{record}.png')
    config = neighbors_config(tmp_path / 'f', count=2, queries=str(tmp_path / 'mine'), metric='cosine')
    result = commands.run('neighbors', config, trained[1])
    assert result['queries'] == 2
    lines = [json.loads(line) for line in (tmp_path / 'f' / 'neighbors' / 'fc7.jsonl').read_text().splitlines()]
    assert [line['id'] for line in lines] == ['11.png', '5.png'] and lines[0]['class'] is None
    ids = open_features(tmp_path / 'f').ids
    assert [line['neighbors'][0]['id'] for line in lines] == [ids[11], ids[5]]
    assert all(line['neighbors'][0]['distance'] < 1e-9 < line['neighbors'][1]['distance'] for line in lines)


def test_more_neighbors_than_images_are_refused(trained, tmp_path):
    with pytest.raises(UserError, match='20 neighbors cannot be found among 19 images'):
        commands.run('neighbors', neighbors_config(tmp_path / 'f', count=20), trained[1])
