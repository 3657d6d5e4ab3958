"""Test CIFAR-10's own archive, made small: its MD5 sum, its records, and its config."""

import hashlib
import io
import tarfile

import numpy as np
import pytest

from alexnet_jax import commands
from alexnet_jax.data import dataset, image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import sources
from alexnet_jax.prepare.sources import cifar10
from configs import cifar10 as card

NAMES = 'airplane automobile bird cat deer dog frog horse ship truck'.split()


def pixels(file, number):
    return np.random.default_rng([file, number]).integers(0, 256, (32, 32, 3)).astype(np.uint8)


def records(file, count, first=0):
    """Return records as the authors describe them: <1 x label><3072 x pixel>, channel by channel, row by row."""
    return b''.join(
        bytes([(number + first) % 10]) + pixels(file, number).transpose(2, 0, 1).tobytes() for number in range(count)
    )


def archive(path, each=20, **changes):
    files = {'batches.meta.txt': ('\n'.join(NAMES) + '\n\n').encode(), 'readme.html': b'<html>'}
    files |= {f'data_batch_{file}.bin': records(file, each) for file in range(1, 6)}
    files |= {'test_batch.bin': records(6, each, first=3)}
    files |= {name.replace('_bin', '.bin'): data for name, data in changes.items()}
    with tarfile.open(path, 'w:gz') as tar:
        for name, data in files.items():
            if data is not None:
                info = tarfile.TarInfo(f'cifar-10-batches-bin/{name}')
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def opened(path, **options):
    return sources.open_source(
        'cifar10', str(path), sources.SourceOptions(**{'expected_counts': 'any', 'test_fraction': 0.0, **options})
    )


def test_records_are_images_with_their_labels_in_the_authors_splits(tmp_path):
    source = opened(archive(tmp_path / 'cifar-10-binary.tar.gz'))
    assert source.name == 'cifar10' and source.class_names == tuple(NAMES)
    assert len(source.splits['test']) == 20
    assert len(source.splits['train']) + len(source.splits['validation']) == 100 and source.splits['validation']
    for item in (*source.splits['train'], *source.splits['validation'], *source.splits['test']):
        name, number = item.id.split('/')
        file = 6 if name == 'test_batch' else int(name[-1])
        np.testing.assert_array_equal(source.read(item), pixels(file, int(number)))
        assert item.label == (int(number) + 3 * (file == 6)) % 10


def test_the_archive_is_held_against_its_sum_unless_another_one_is_wanted(tmp_path, monkeypatch):
    path = archive(tmp_path / 'cifar-10-binary.tar.gz')
    assert cifar10.MD5 == 'c32a1d4ab5d03f1284b67883e8d87530'
    with pytest.raises(UserError, match=r'MD5 sum [0-9a-f]{32}, expected c32a1d4ab5.*cifar-10-binary.tar.gz, or use'):
        opened(path, expected_counts='official')
    monkeypatch.setattr(cifar10, 'MD5', hashlib.md5(path.read_bytes()).hexdigest())
    assert len(opened(path, expected_counts='official').splits['test']) == 20


@pytest.mark.parametrize(
    'changes, sentence',
    [
        ({'data_batch_3_bin': None}, 'lacks data_batch_3.bin; download it from https'),
        ({'test_batch_bin': records(6, 20)[:-1]}, 'test_batch.bin does not consist of records of 3,073 bytes'),
        ({'data_batch_1_bin': bytes([10]) + bytes(3072)}, 'data_batch_1.bin does not consist of records'),
    ],
)
def test_what_is_not_of_that_form_is_refused(changes, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        opened(archive(tmp_path / 'cifar.tar.gz', **changes))


def test_the_card_prepares_it_at_the_size_its_network_sees(tmp_path):
    config = card.get_config()
    config.prepare.path = str(archive(tmp_path / 'cifar-10-binary.tar.gz'))
    config.prepare.expected_counts = 'any'
    counts = commands.run('prepare', config, str(tmp_path / 'run'))
    assert (counts['classes'], counts['test'], counts['train'] + counts['validation']) == (10, 20, 100)
    data = dataset.open_dataset(tmp_path / 'run/dataset')
    image, label, name = data.split('test')[7]
    expected = image_io.resize_and_crop(pixels(6, 7), 64)
    np.testing.assert_array_equal(image, expected)
    assert (label, name) == (0, 'test_batch/00007')
