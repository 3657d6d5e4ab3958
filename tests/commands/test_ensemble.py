"""--mode=ensemble: stored probabilities, their average against NumPy, weights from validation, the submission."""

import dataclasses
import json
import logging
from types import SimpleNamespace

import archives
import numpy as np
import pytest
from PIL import Image
from slim_networks import random_weights
from tiny_run import tiny_config

import alexnet_jax
from alexnet_jax import commands
from alexnet_jax import weights as weight_files
from alexnet_jax.analysis.feature_files import open_features
from alexnet_jax.commands import stored_probabilities
from alexnet_jax.data import dataset
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.averaging import GRID, search_weights
from alexnet_jax.evaluate.evaluator import Evaluator
from alexnet_jax.models.presets import get_architecture

VIEWS = 'center,0:8+mirror'


def import_run(root, seed, class_names, directory=''):
    """Leave a run in root/seed<seed> with random weights."""
    weights = random_weights(get_architecture('miniature', num_classes=len(class_names)), seed=seed)
    weights = dataclasses.replace(weights, class_names=tuple(class_names), class_descriptions=tuple(class_names))
    weight_files.write_weights(root / f'{seed}.npz', weights)
    config = tiny_config()
    config.weights.path, config.data.directory = str(root / f'{seed}.npz'), directory
    commands.run('import', config, str(root / f'seed{seed}'))


@pytest.fixture(scope='module')
def family(trained, tmp_path_factory):
    """Three untrained networks for the classes of a prepared dataset."""
    root, data = tmp_path_factory.mktemp('family'), dataset.open_dataset(f'{trained[1]}/dataset')
    for seed in range(3):
        import_run(root, seed, data.class_names, data.directory)
    return root, data


def configured(directory='', **fields):
    config = tiny_config()
    config.features.directory = f'{directory}/{{run}}' if directory else ''
    config.ensemble.directory = str(directory)
    config.evaluate.view_list = VIEWS
    config.update_from_flattened_dict(fields)
    return config


def test_the_average_is_that_of_numpy_over_every_view_and_run(family, tmp_path):
    root, data = family
    result = commands.run('ensemble', configured(tmp_path), f'{root}/seed*')
    records = [data.split('test')[number] for number in range(20)]
    images, labels = np.stack([image for image, _, _ in records]), np.array([label for _, label, _ in records])
    parts = []
    for seed in range(3):
        (folder,) = (tmp_path / f'seed{seed}').iterdir()
        files = open_features(folder)
        parts.append(np.asarray(files['prob'], np.float64))
        expected = alexnet_jax.load(root / f'seed{seed}').predict(images, views=VIEWS).probabilities
        np.testing.assert_allclose(parts[-1], expected, rtol=1e-4, atol=1e-7)
        assert files.ids == tuple(name for _, _, name in records) and files.metadata['views'] == VIEWS
        assert result['runs'][seed]['top1_error'] == np.mean(parts[-1].argmax(axis=1) != labels)
    average = (parts[0] + parts[1] + parts[2]) / 3
    assert result['average']['top1_error'] == np.mean(average.argmax(axis=1) != labels)
    loss = -np.log(average[np.arange(20), labels]).mean()
    assert result['average']['loss'] == pytest.approx(loss, rel=1e-6)
    assert result['mean']['top1_error'] == pytest.approx(np.mean([run['top1_error'] for run in result['runs']]))
    assert json.loads((tmp_path / 'ensemble.json').read_text()) == result
    assert (tmp_path / 'errors_by_class.csv').read_text().count('\n') == 1 + len(set(labels.tolist()))
    assert not (tmp_path / 'comparison.md').exists()


def test_weights_come_from_the_validation_images_and_cost_no_second_forward_pass(family, tmp_path, monkeypatch, caplog):
    root, data = family
    config = configured(tmp_path, **{'ensemble.weights': 'top1'})
    found = commands.run('ensemble', config, f'{root}/seed*')
    stored = [open_features(tmp_path / f'seed{seed}' / f'validation_{name_of_views()}') for seed in range(3)]
    assert len(stored[0]) == 16 and set(found['weights']) <= set(GRID.tolist())
    expected = search_weights([each['prob'] for each in stored], stored[0].labels, top_k=1)
    assert found['weights'] == expected.weights.tolist() and 'equal_weights' in found
    monkeypatch.setattr(Evaluator, 'probabilities', None)
    with caplog.at_level(logging.INFO):
        assert commands.run('ensemble', config, f'{root}/seed*') == found
    assert 'average, equal weights' in caplog.text and 'points below the mean of its networks' in caplog.text


def name_of_views():
    return stored_probabilities._name_views(VIEWS)


def test_weights_are_not_found_on_the_images_that_are_reported(family, tmp_path):
    root, data = family
    config = configured(tmp_path, **{'ensemble.weights': 'top5', 'evaluate.split': 'validation'})
    with pytest.raises(UserError, match='which are the ones to be reported'):
        commands.run('ensemble', config, f'{root}/seed*')
    # Nor where --images names the same dataset.
    config = configured(tmp_path, **{'ensemble.weights': 'top5', 'evaluate.split': 'validation'})
    config.predict.images = str(data.directory)
    with pytest.raises(UserError, match='which are the ones to be reported'):
        commands.run('ensemble', config, f'{root}/seed*')
    assert [path.name for path in tmp_path.iterdir()] == []


def test_images_without_labels_get_a_submission_in_the_order_of_their_names(tmp_path):
    """The kit numbers the classes against the order of their names."""
    for seed in (0, 1):
        import_run(tmp_path, seed, archives.CLASSES)
    kit = tmp_path / 'ILSVRC2012_devkit_t12.tar.gz'
    kit.write_bytes(archives.pack_devkit(2012, archives.make_images()))
    images = tmp_path / 'test'
    images.mkdir()
    for number in range(5):
        (images / f'ILSVRC2012_test_{number:08}.JPEG').write_bytes(archives.make_jpeg(number, size=(90, 70)))
    (images / 'ILSVRC2012_test_00000004.JPEG').write_bytes(archives.make_rotated_jpeg(9))
    config = configured(**{'predict.images': str(images), 'ensemble.devkit': str(kit)})
    result = commands.run('ensemble', config, f'{tmp_path}/seed*')
    assert 'average' not in result and result['images'] == 5
    # As they are stored, whatever the EXIF of the last one says.
    pixels = [np.asarray(Image.open(path)) for path in sorted(images.iterdir())]
    average = sum(
        alexnet_jax.load(tmp_path / f'seed{seed}').predict(pixels, views=VIEWS).probabilities for seed in (0, 1)
    )
    number_of = {wnid: number for number, wnid in archives.NUMBERS.items()}
    numbers = [number_of[wnid] for wnid in archives.CLASSES]
    expected = [' '.join(str(numbers[k]) for k in np.argsort(-row)) for row in average]
    assert (tmp_path / 'ensemble' / 'submission.txt').read_text().splitlines() == expected
    with pytest.raises(UserError, match='is no development kit'):
        commands.run('ensemble', configured(**{'ensemble.devkit': str(tmp_path / 'kit.tar')}), f'{tmp_path}/seed0')


def test_a_kit_without_the_networks_classes_is_refused_before_work(family, tmp_path):
    root, _ = family
    kit = tmp_path / 'ILSVRC2012_devkit_t12.tar.gz'
    kit.write_bytes(archives.pack_devkit(2012, archives.make_images()))
    config = configured(tmp_path / 'out', **{'ensemble.devkit': str(kit)})
    with pytest.raises(UserError, match='has no number for 10 of the 10 classes'):
        commands.run('ensemble', config, f'{root}/seed0')
    assert not (tmp_path / 'out').exists()


def test_runs_about_other_images_or_classes_have_no_average():
    def stored(name, ids=('a', 'b'), labels=(0, 1), classes=('x', 'y')):
        files = SimpleNamespace(ids=ids, labels=np.array(labels))
        return SimpleNamespace(address=SimpleNamespace(run_dir=name), files=files, readable_class_names=classes)

    stored_probabilities.check_same_images([stored('one'), stored('two')])
    for other, difference in (
        ({'ids': ('a', 'c')}, 'images'),
        ({'labels': (1, 1)}, 'images'),
        ({'classes': ('y', 'x')}, 'classes'),
    ):
        with pytest.raises(UserError, match=f'^two has other {difference} than one'):
            stored_probabilities.check_same_images([stored('one'), stored('two', **other)])
