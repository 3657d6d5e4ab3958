"""A trained network belongs to its classes: its run keeps what it needs of its dataset, and no other is mixed in."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_run import tiny_config

from alexnet_jax import commands
from alexnet_jax.commands import factories, run_dir
from alexnet_jax.data import dataset, dataset_info
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import atomic_io


@pytest.fixture
def light(trained, tmp_path):
    """A copy of a trained run without its dataset."""
    return shutil.copytree(trained[1], tmp_path / 'light', ignore=shutil.ignore_patterns('dataset'))


def edited_dataset(trained, folder, **changes):
    """Return a copy of the run's dataset with another manifest."""
    shutil.copytree(f'{trained[1]}/dataset', folder)
    manifest = json.loads((folder / 'manifest.json').read_text()) | changes
    manifest['checksum'] = dataset.manifest_checksum(manifest)
    (folder / 'manifest.json').write_text(json.dumps(manifest))
    return str(folder)


def config_for(tmp_path, directory=''):
    """Return a config that predicts an image, with a dataset of its own if one is given."""
    Image.fromarray(np.arange(60 * 80 * 3, dtype=np.uint8).reshape(60, 80, 3)).save(tmp_path / 'a.png')
    config = tiny_config()
    config.predict.images, config.data.directory = str(tmp_path / 'a.png'), directory
    return config


def test_a_run_predicts_without_its_dataset(trained, light, tmp_path, caplog):
    caplog.set_level('INFO', 'alexnet_jax')
    without_shards = edited_dataset(trained, tmp_path / 'without_shards')
    for shard in (tmp_path / 'without_shards').glob('*.array_record*'):
        shard.unlink()
    answers = []
    for workdir, directory in ((trained[1], ''), (str(light), ''), (str(light), without_shards)):
        commands.run('predict', config_for(tmp_path, directory), workdir)
        answers.append(caplog.messages[-1])
    assert answers[0] == answers[1] == answers[2] and '%' in answers[0]
    assert not (light / 'dataset').exists()


def test_a_prediction_with_a_dataset_of_other_classes_is_refused(trained, light, tmp_path):
    other = edited_dataset(trained, tmp_path / 'other', classes=[f'bird {number}' for number in range(10)])
    with pytest.raises(UserError, match='other has other classes .*: the network has no class bird 0, bird 1'):
        commands.run('predict', config_for(tmp_path, other), str(light))


def test_an_evaluation_on_other_classes_is_refused_with_the_difference(trained, tmp_path):
    names = list(dataset.open_dataset(f'{trained[1]}/dataset').class_names)
    for number, (changes, message) in enumerate(
        [
            (
                {'classes': ['moon', *names[1:]]},
                f'the network has no class moon and the dataset has no class {names[0]}',
            ),
            ({'classes': [f'b{n}' for n in range(10)]}, r'no class b0, b1, b2, \.\.\. and'),
            ({'classes': names[::-1]}, 'they are in another order'),
            ({'side': 71}, r'has images of 71 pixels.* Prepare them with --config.prepare.image_size='),
        ]
    ):
        directory = edited_dataset(trained, tmp_path / str(number), **changes)
        with pytest.raises(UserError, match=message):
            commands.run('evaluate', config_for(tmp_path, directory), trained[1])


def test_other_images_of_the_same_classes_are_scored_with_the_runs_mean(trained, light, tmp_path, caplog, monkeypatch):
    config = config_for(tmp_path, str(tmp_path / 'other'))
    config.prepare.seed = 7
    commands.run('prepare', config)
    means, make = [], factories.make_evaluator
    monkeypatch.setattr(
        factories,
        'make_evaluator',
        lambda config, info, *rest, **k: means.append(info.mean) or make(config, info, *rest, **k),
    )
    result = commands.run('evaluate', config, str(light))
    assert 'is another dataset than the network was trained on' in caplog.text
    assert 'another dataset' in json.loads((light / 'evaluation.json').read_text())['note']
    np.testing.assert_array_equal(means[0], dataset.open_dataset(f'{trained[1]}/dataset').mean)
    assert not np.array_equal(means[0], dataset.open_dataset(tmp_path / 'other').mean)
    assert result['images'] == 20
    checksum = dataset.open_dataset(tmp_path / 'other').checksum
    assert result['dataset'] == checksum and f',{checksum}\n' in (light / 'predictions.csv').read_text()
    # On its own dataset there is nothing to say.
    shutil.copytree(f'{trained[1]}/dataset', light / 'dataset')
    assert commands.run('evaluate', config_for(tmp_path), str(light))['note'] == ''


def test_a_run_of_an_older_version_works_from_its_dataset_alone(trained, light, tmp_path):
    (light / run_dir.DATASET_INFO_FILE).unlink()
    begun = json.loads((light / 'run.json').read_text())
    own = f'{trained[1]}/dataset'
    begun['deciding']['dataset'] = dataset.open_dataset(own).manifest_checksum
    (light / 'run.json').write_text(json.dumps(begun))
    assert commands.run('predict', config_for(tmp_path, own), str(light))['images'] == 1
    other = edited_dataset(trained, tmp_path / 'other', classes=[f'bird {number}' for number in range(10)])
    for mode in ('predict', 'evaluate'):
        with pytest.raises(UserError, match='is not the dataset that the run in .* was trained on'):
            commands.run(mode, config_for(tmp_path, other), str(light))
        with pytest.raises(UserError, match='does not exist; prepare one'):
            commands.run(mode, config_for(tmp_path), str(light))
    # Resuming it makes it a run of today.
    data = dataset.open_dataset(own)
    run_dir.init_or_validate(str(light), trained[0], data)
    assert run_dir.read_run(str(light))['deciding']['dataset'] == data.checksum
    assert commands.run('predict', config_for(tmp_path), str(light))['images'] == 1


def test_what_a_run_keeps_of_its_dataset_is_what_was_written_or_refused(trained, light, tmp_path):
    file = light / run_dir.DATASET_INFO_FILE
    info, data = dataset_info.read_dataset_info(file), dataset.open_dataset(f'{trained[1]}/dataset')
    for field in ('name', 'class_names', 'class_descriptions', 'image_size', 'checksum'):
        assert getattr(info, field) == getattr(data, field)
    np.testing.assert_array_equal(info.mean, data.mean)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r'dataset_info\.npz is damaged .* run the training command again'):
        commands.run('predict', config_for(tmp_path), str(light))
    shutil.copytree(f'{trained[1]}/dataset', light / 'dataset')
    with pytest.raises(UserError, match=r'1 of \d+ files are damaged: .*dataset_info\.npz'):
        commands.run('verify', tiny_config(), str(light))


def test_a_run_that_one_may_only_read_is_read(trained, light, tmp_path, caplog, monkeypatch):
    """Predict and verify write nothing there, and evaluate says that its figure is not kept."""
    shutil.copytree(f'{trained[1]}/dataset', light / 'dataset')
    caplog.set_level('INFO', 'alexnet_jax')

    def deny(path, content):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr(atomic_io, 'write_json', deny)
    before = {path: path.stat().st_mtime_ns for path in light.rglob('*')}
    for mode in ('predict', 'verify', 'evaluate'):
        commands.run(mode, config_for(tmp_path), str(light))
        assert not commands.MODES[mode].writes
    assert {path: path.stat().st_mtime_ns for path in light.rglob('*')} == before
    assert 'Top-1 error' in caplog.messages[-3]
    assert 'evaluation.json was not written (Permission denied)' in caplog.messages[-1]
