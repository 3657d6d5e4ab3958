"""Paths with odd characters through everything that opens a file: it works, or it is refused before any work.

orbax and tensorstore (checkpoints), TFDS and array_record (datasets), TensorBoard, pyarrow, matplotlib, our own code.
"""

import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax import commands
from alexnet_jax.checkpoint.manager import CheckpointManager
from alexnet_jax.config import validate
from alexnet_jax.data import dataset
from alexnet_jax.errors import UserError
from alexnet_jax.train.metrics_writer import MetricsWriter, read_metrics
from configs import folder as folder_card

# What a run's folder may have in its path; a dataset and images may have the signs of patterns too.
ODD = 'a %20%s#é犬\u200b"\'\n\t\x01&;$HOME{c}(x)~:=,@10!^`|<>+'
ODDER = f'{ODD}[0:3]*?\\n'
NOT_UTF8 = os.fsdecode(b'caf\xe9')


def make_pictures(folder):
    rng = np.random.default_rng(0)
    for label, name in enumerate(('cat', 'd og')):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 255, (64, 64, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f'{label}_{number}.png')
    return sorted(folder.rglob('*.png'))


def make_source(form, base, pictures, whole):
    """Return the path of the same images in a form."""
    source = base / f'images.{form}'
    if form == 'folder':
        shutil.copytree(pictures[0].parent.parent, source)
    elif form == 'tar':
        with tarfile.open(source, 'w') as archive:
            archive.add(pictures[0].parent.parent, arcname='.')
    elif form == 'zip':
        with zipfile.ZipFile(source, 'w') as archive:
            for file in pictures:
                archive.write(file, f'{file.parent.name}/{file.name}')
    elif form == 'parquet':
        arrow, parquet = pytest.importorskip('pyarrow'), pytest.importorskip('pyarrow.parquet')
        table = {'image': [file.read_bytes() for file in pictures], 'label': [file.parent.name for file in pictures]}
        with open(source, 'wb') as file:
            parquet.write_table(arrow.table(table), file)
    else:
        shutil.copytree(Path(whole) / 'dataset', source)
    return source


@pytest.mark.parametrize('form', ['folder', 'tar', 'zip', 'parquet', 'tfds'])
def test_images_and_datasets_may_lie_in_any_path(form, tmp_path, trained):
    pictures = make_pictures(tmp_path / 'pictures')
    base = tmp_path / ODDER
    base.mkdir()
    config = folder_card.get_config()
    config.prepare.source, config.prepare.expected_counts = form, 'any'
    config.prepare.path = str(make_source(form, base, pictures, trained[1]))
    config.data.directory = str(base / 'dataset')
    validate.validate_config(config)
    commands.run('prepare', config, '')
    prepared = dataset.open_dataset(base / 'dataset')
    assert sum(prepared.counts.values()) == (84 if form == 'tfds' else 12)
    for split, count in prepared.counts.items():
        records = prepared.split(split)
        assert all(records[number][0].shape == (64, 64, 3) for number in range(count))
    assert os.listdir(tmp_path) in (['pictures', ODDER], [ODDER, 'pictures'])


def test_checkpoints_and_metrics_may_lie_in_any_path_that_is_not_refused(tmp_path):
    run, state = tmp_path / ODD / 'run', {'parameters': {'conv1': {'bias': jax.numpy.arange(6.0).reshape(2, 3)}}}
    validate.validate_workdir(str(run), needed=True, saves=True)
    run.mkdir(parents=True)
    with MetricsWriter(run, tensorboard=True) as writer:
        writer.write_metrics(1, loss=2.5)
    assert [row['loss'] for row in read_metrics(run)] == [2.5] and list(run.rglob('events*'))
    checkpoints = CheckpointManager(run / 'checkpoints')
    checkpoints.save(1, state, {'seen': 3})
    checkpoints.close()
    step, restored, record = CheckpointManager(run / 'checkpoints', read_only=True).restore(state)
    assert (step, record) == (1, {'seen': 3})
    np.testing.assert_array_equal(restored['parameters']['conv1']['bias'], state['parameters']['conv1']['bias'])
    assert os.listdir(tmp_path) == [ODD]


@pytest.mark.slow
def test_a_run_may_lie_in_any_path_that_is_not_refused(tmp_path, trained):
    config, whole = ConfigDict(trained[0].to_dict()), Path(trained[1])
    directory, workdir = tmp_path / ODDER / 'dataset', str(tmp_path / ODD / 'run')
    shutil.copytree(whole / 'dataset', directory)
    config.data.directory = str(directory)
    config.train.num_epochs = 1 / 3
    config.log.tensorboard = True
    validate.validate_config(config)
    validate.validate_workdir(workdir, needed=True, saves=True)
    commands.run('train', config, workdir)
    run = Path(workdir)
    assert list((run / 'tensorboard').glob('events*')) and (run / 'curves.png').is_file()
    config.data.directory = ''
    assert commands.run('evaluate', config, workdir)['checkpoint_step'] == 2
    config.predict.images = str(directory / 'contact.png')
    assert commands.run('predict', config, workdir) == {'images': 1, 'unreadable': 0}
    config.predict.images = ''
    commands.run('verify', config, workdir)
    assert sorted(os.listdir(tmp_path)) == sorted([ODD, ODDER])


@pytest.mark.parametrize(
    'field, source, sentence',
    [
        ('data.directory', 'folder', r'\(array_record\) does not take. Rename that folder, or choose another\.'),
        ('prepare.path', 'parquet', 'the library that reads parquet does not take. Rename that folder'),
        ('prepare.path', 'tfds', 'the library that reads tfds does not take'),
    ],
)
def test_a_path_that_is_not_utf8_is_refused_where_a_library_would_stumble(field, source, sentence):
    config = folder_card.get_config()
    config.update_from_flattened_dict({'prepare.source': source, field: f'/data/{NOT_UTF8}/images'})
    with pytest.raises(
        UserError, match=rf"config\.{field} is '/data/caf.udce9/images', and its full path .*{sentence}"
    ):
        validate.validate_config(config)


def test_images_may_lie_in_a_path_that_is_not_utf8(tmp_path):
    make_pictures(tmp_path / NOT_UTF8)
    config = folder_card.get_config()
    config.prepare.path, config.data.directory = str(tmp_path / NOT_UTF8), str(tmp_path / 'dataset')
    validate.validate_config(config)
    commands.run('prepare', config, '')
    assert sum(dataset.open_dataset(tmp_path / 'dataset').counts.values()) == 12
