"""Test that the wrong source names the right one, and that no advice leads back to where it came from."""

import re
from pathlib import Path

import archives
import pytest

from alexnet_jax.errors import UserError
from alexnet_jax.prepare import sources

FOUND = archives.make_images()
IMAGES = {'cat/1.jpg': b'x', 'dog/2.jfif': b'y'}
CLASS_TARS = {f'{name}.tar': archives.pack_tar({f'{name}.jpe': b'x'}) for name in ('cat', 'dog')}


def write_all(root):
    """Write what people have, each under its name; return name -> (the source that reads it, what the others say)."""
    archives.write_files(root / 'images', IMAGES)
    archives.write_files(root / 'class_tars', CLASS_TARS)
    archives.write_parquet(root / 'parquet', FOUND)
    archives.write_parquet(root / 'whole', FOUND, files=1)
    for split in ('validation', 'test'):
        (root / 'whole' / 'data' / f'{split}-00000-of-00001.parquet').unlink()
    archives.write_files(root, {
        'images.tar': archives.pack_tar(IMAGES),
        'class_tars.tar': archives.pack_tar(CLASS_TARS),
    })  # fmt: skip
    archives.write_class_zip(root / 'zip', FOUND)
    return {
        'images': 'folder',
        'class_tars': 'synsets',
        'parquet': 'parquet',
        'whole/data/train-00000-of-00001.parquet': 'parquet',
        'images.tar': 'tar',
        'class_tars.tar': 'synsets',
        'zip/images.zip': 'zip',
    }


def follow(path, name, seen=()):
    """Return the sources that are named one after the other, until one opens."""
    assert name not in seen, f'{(*seen, name)} goes round in a circle'
    options = sources.SourceOptions(expected_counts='any', validation_fraction=0, test_fraction=0)
    try:
        sources.open_source(name, str(path), options)
    except UserError as error:
        advised = re.search(r'--config\.prepare\.source=(\w+)', str(error))
        assert advised, f'{name} says nothing about {path.name}: {error}'
        return follow(path, advised[1], (*seen, name))
    return (*seen, name)


@pytest.mark.parametrize('name', ['folder', 'tar', 'zip', 'synsets', 'parquet'])
def test_each_source_leads_to_the_right_one(name, tmp_path):
    for path, right in write_all(tmp_path).items():
        steps = follow(tmp_path / path, name)
        assert steps[-1] == right and len(steps) <= 3, f'{path}: {steps}'


@pytest.mark.parametrize(
    'files, name, sentence',
    [
        ({'a.HEIC': b'', 'b.heic': b'', 'README': b''}, 'folder', r'no image \(its files: \.heic 2, no extension 1\)'),
        ({}, 'folder', r'holds no image; expected split/class/image'),
        ({'ILSVRC2012_img_train.tar': b''}, 'tar', 'source=imagenet2012'),
        ({'deep/ILSVRC2010_images_train.tar': b''}, 'folder', 'source=imagenet2010'),
        ({'LOC_val_solution.csv': b''}, 'folder', 'source=kaggle'),
        ({'cats-train.tfrecord-00000-of-00001': b''}, 'zip', 'source=tfds'),
        ({'cats-train.array_record-00000-of-00001': b''}, 'parquet', 'source=tfds'),
        ({'cat.tar.xz': b'', 'dog.tar.xz': b''}, 'synsets', 'the archive itself and .*source=tar; .* unpack them'),
        ({'pets.zip': b''}, 'folder', 'path to the archive itself and --config.prepare.source=zip'),
    ],
)
def test_what_a_folder_holds_is_said_with_what_to_do(files, name, sentence, tmp_path):
    (tmp_path / 'mine').mkdir()
    archives.write_files(tmp_path / 'mine', files)
    with pytest.raises(UserError, match=sentence):
        sources.open_source(name, str(tmp_path / 'mine'))


@pytest.mark.parametrize('name', ['folder', 'tar', 'zip'])
@pytest.mark.parametrize('start, kind', [(b'7z\xbc\xaf\x27\x1c', '7z'), (b'Rar!\x1a\x07\x01', 'rar')])
def test_archives_that_nothing_reads_are_to_be_unpacked(name, start, kind, tmp_path):
    path = Path(tmp_path / 'pets')
    path.write_bytes(start + bytes(500))
    with pytest.raises(UserError, match=f'a {kind} archive cannot be read: unpack it and set .*source=folder'):
        sources.open_source(name, str(path))


def test_archives_in_an_archive_are_to_be_unpacked_first(tmp_path):
    archives.write_files(tmp_path, {'a.tar': archives.pack_tar({'pets.zip': b'', 'more.zip': b''})})
    with pytest.raises(UserError, match=r'a.tar holds no image \(its files: .zip 2\); unpack it and set .*source=zip'):
        sources.open_source('tar', str(tmp_path / 'a.tar'))
