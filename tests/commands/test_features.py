"""--mode=features: files of activations of a trained network, resumable, of images in folders and of datasets."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_run import tiny_config

import alexnet_jax
from alexnet_jax import commands
from alexnet_jax.analysis import feature_writer
from alexnet_jax.analysis.feature_files import open_features
from alexnet_jax.commands import evaluate, factories
from alexnet_jax.data import dataset
from alexnet_jax.errors import UserError


def with_features(images='', directory='', **fields):
    config = tiny_config()
    config.predict.images, config.features.directory = str(images), str(directory)
    config.features.update(fields)
    return config


@pytest.fixture(scope='module')
def photographs(tmp_path_factory, trained):
    """A folder of 20 images in folders of two of the run's classes, one that is no image, and another file."""
    root = tmp_path_factory.mktemp('photographs')
    data = dataset.open_dataset(f'{trained[1]}/dataset')
    for number in range(20):
        pixels, _, _ = data.split('test')[number]
        folder = root / data.class_names[number % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.tile(pixels, (1, 1 + number % 3, 1))).save(folder / f'{number:02}.png')
    return root


def test_features_of_a_dataset_are_those_of_the_evaluation(trained, tmp_path):
    """The logits give the probabilities that the evaluator has, in the order of the records."""
    _, workdir = trained
    result = commands.run(
        'features', with_features(directory=tmp_path / 'f', layers='fc8,conv1', space='mean'), workdir
    )
    assert result == {'directories': [str(tmp_path / 'f')], 'images': 20}
    features = open_features(tmp_path / 'f')
    config, info = evaluate.read_trained_run(tiny_config(), workdir)
    run = evaluate.load_run(config, info, workdir)
    evaluator = factories.make_evaluator(config, info, run.model, run.mesh, views=1, num_images=8)
    records = dataset.open_dataset(f'{workdir}/dataset').split('test')
    images, labels, names = zip(*(records[number] for number in range(20)), strict=True)
    expected = np.concatenate([evaluator.probabilities(run.params, np.stack(images[i : i + 8])) for i in (0, 8, 16)])
    logits = np.asarray(features['fc8'], np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(exponentials / exponentials.sum(axis=1, keepdims=True), expected, rtol=1e-4, atol=1e-6)
    assert features['conv1'].shape == (20, 32) and features['conv1'].dtype == np.float32
    assert features.ids == names and features.labels.tolist() == list(labels)


def test_what_is_known_of_the_features_stands_beside_them(trained, photographs, tmp_path):
    _, workdir = trained
    commands.run('features', with_features(photographs, tmp_path / 'f', layers='features.12,fc7', column='a'), workdir)
    metadata = json.loads((tmp_path / 'f' / 'features.json').read_text())
    assert metadata['layers'] == {'pool5': [3, 3, 32], 'fc7': [128]} and metadata['column'] == 'a'
    assert metadata['checkpoint_step'] == 6 and len(metadata['weights_sha256']) == 64
    assert metadata['preprocessing']['image_size'] == 64 and metadata['notes']['images'] == str(photographs)
    features = open_features(tmp_path / 'f')
    assert list(features.ids) == sorted(path.relative_to(photographs).as_posix() for path in photographs.rglob('*.png'))
    names = metadata['class_names']
    assert [names[label] for label in features.labels] == [name.split('/')[0] for name in features.ids]
    assert sorted(path.name for path in (tmp_path / 'f').iterdir()) == [
        'fc7.npy', 'features.json', 'images.json', 'pool5.npy',
    ]  # fmt: skip


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_stopped_extraction_goes_on_and_gives_the_same_bits(trained, photographs, tmp_path, monkeypatch):
    _, workdir = trained
    commands.run('features', with_features(photographs, tmp_path / 'whole', layers='conv1,fc7'), workdir)
    monkeypatch.setattr(feature_writer, 'SECONDS_BETWEEN_RECORDS', 0)
    append, record = feature_writer.FeatureWriter.append, feature_writer.FeatureWriter.record_progress
    calls = []

    def append_and_die(writer, *arguments):
        append(writer, *arguments)
        calls.append(writer.images_done)
        if len(calls) == 2:
            # What a kill leaves: more bytes than the record counts.
            for file in writer._open_files.values():
                file.write(b'half a row')
            monkeypatch.setattr(feature_writer.FeatureWriter, 'record_progress', lambda writer: None)
            raise KeyboardInterrupt

    config = with_features(photographs, tmp_path / 'parts', layers='conv1,fc7')
    monkeypatch.setattr(feature_writer.FeatureWriter, 'append', append_and_die)
    with pytest.raises(KeyboardInterrupt):
        commands.run('features', config, workdir)
    monkeypatch.setattr(feature_writer.FeatureWriter, 'record_progress', record)
    with pytest.raises(UserError, match='has unfinished features'):
        open_features(tmp_path / 'parts')
    commands.run('features', config, workdir)
    assert calls == [8, 16, 20]
    assert files_of(tmp_path / 'parts') == files_of(tmp_path / 'whole')
    commands.run('features', config, workdir)
    assert calls == [8, 16, 20]


def test_other_features_in_the_same_folder_are_refused(trained, photographs, tmp_path):
    _, workdir = trained
    commands.run('features', with_features(photographs, tmp_path / 'f'), workdir)
    for changes, name in [
        ({'layers': 'fc6'}, 'layers'),
        ({'dtype': 'float16'}, 'dtype'),
        ({'images': ''}, 'images_sha256'),
    ]:
        config = with_features(**({'images': photographs, 'directory': tmp_path / 'f'} | changes))
        with pytest.raises(UserError, match=f'holds other features: .*{name}.* differ'):
            commands.run('features', config, workdir)


def test_an_image_that_cannot_be_read_is_named_and_left_out(trained, photographs, tmp_path, caplog):
    caplog.set_level('INFO', 'alexnet_jax')
    _, workdir = trained
    shutil.copytree(photographs, tmp_path / 'images')
    broken = sorted((tmp_path / 'images').rglob('*.png'))[3]
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(UserError, match='^1 images could not be read; they are named above and left out'):
        commands.run('features', with_features(tmp_path / 'images', tmp_path / 'f'), workdir)
    assert any(message.startswith(str(broken)) for message in caplog.messages)
    commands.run('features', with_features(photographs, tmp_path / 'all'), workdir)
    some, every = open_features(tmp_path / 'f'), open_features(tmp_path / 'all')
    assert some.ids == every.ids[:3] + every.ids[4:]
    np.testing.assert_allclose(some['fc7'], np.delete(every['fc7'], 3, axis=0), rtol=1e-5, atol=1e-5)


def test_all_runs_and_checkpoints_that_a_pattern_names_are_taken(trained, photographs, tmp_path):
    _, workdir = trained
    for seed in (0, 1):
        shutil.copytree(workdir, tmp_path / f'seed{seed}', ignore=shutil.ignore_patterns('dataset'))
    result = commands.run('features', with_features(photographs), str(tmp_path / 'seed*'))
    assert result['directories'] == [str(tmp_path / f'seed{seed}' / 'features' / '6') for seed in (0, 1)]
    shutil.rmtree(tmp_path / 'seed0' / 'features')
    config = with_features(photographs, tmp_path / 'all' / '{run}-{step}')
    result = commands.run('features', config, str(tmp_path / 'seed*' / 'checkpoints' / '*'))
    steps = sorted(int(path.name) for path in (tmp_path / 'seed0' / 'checkpoints').iterdir() if path.name.isdecimal())
    expected = [tmp_path / 'all' / f'seed{seed}-{step}' for seed in (0, 1) for step in steps]
    assert result['directories'] == list(map(str, expected))
    assert not np.array_equal(open_features(expected[0])['fc7'], open_features(expected[1])['fc7']) or len(steps) == 1
    with pytest.raises(UserError, match='is one folder for 2 networks; write {run} and {step} into it'):
        commands.run('features', with_features(photographs, tmp_path / 'one'), str(tmp_path / 'seed*'))


def test_layers_are_listed_with_their_names_elsewhere(trained, caplog):
    caplog.set_level('INFO', 'alexnet_jax')
    config = tiny_config()
    config.model.preset, config.features.layers = 'paper', 'list'
    assert 'pool5' in commands.run('features', config)['layers']
    rows = {line.split()[0]: line.split() for line in caplog.messages[-1].splitlines()[1:]}
    assert rows['pool5'] == 'pool5 6 x 6 x 256 6 x 6 x 128 features.12 pool5'.split()
    assert rows['conv1'][-2:] == ['features.0', '-'] and rows['relu1'][-2:] == ['features.1', 'conv1']
    assert rows['norm1'][-2:] == ['-', 'norm1']
    commands.run('features', config, trained[1])
    assert 'fc8' in caplog.messages[-1] and ' 10 ' in caplog.messages[-1]


def test_a_checkpoint_is_loaded_by_its_path(trained, photographs):
    _, workdir = trained
    run, checkpoint = (alexnet_jax.load(path) for path in (workdir, f'{workdir}/checkpoints/6'))
    assert checkpoint.weights.notes['checkpoint_step'] == '6'
    np.testing.assert_array_equal(run.weights.parameters['fc8']['bias'], checkpoint.weights.parameters['fc8']['bias'])
    with pytest.raises(UserError, match='has no checkpoint of step 5; existing steps: '):
        alexnet_jax.load(workdir, checkpoint='5')


@pytest.mark.parametrize(
    'fields, workdir, message',
    [
        ({'layers': 'conv9'}, '', 'miniature has no conv9; its layers are conv1'),
        ({'layers': ' '}, '', 'No layers were named'),
        ({}, 'elsewhere', 'elsewhere has no trained run'),
        ({}, 'else*', r'else\* names no run and no checkpoint'),
    ],
)
def test_mistakes_get_a_sentence(trained, photographs, tmp_path, fields, workdir, message):
    with pytest.raises(UserError, match=message):
        commands.run(
            'features',
            with_features(photographs, tmp_path / 'f', **fields),
            workdir and str(tmp_path / workdir) or trained[1],
        )
    assert not (tmp_path / 'f').exists()
