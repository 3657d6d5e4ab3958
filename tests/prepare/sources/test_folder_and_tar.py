"""Test that folders and archives give the same images in a fixed order, without unpacking."""

import gzip
import os
import pickle
import tarfile

import numpy as np
import pytest
from archives import write_files
from hostile_files import tar_member
from image_trees import FILES, LITTER, open_form, write_tar

from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import sources
from alexnet_jax.prepare.sources import cutouts


@pytest.mark.parametrize('wrapper', ['', 'download/'])
@pytest.mark.parametrize('form', ['folder', 'tar', 'tar.gz', 'tgz', 'zip'])
def test_folders_and_archives_give_the_same_images(form, wrapper, tmp_path):
    source = open_form(form, tmp_path, FILES | LITTER, wrapper)
    assert source.name == 'pets' and source.class_names == ('cat', 'dog')
    read = {split: {item.id: source.read(item) for item in items} for split, items in source.splits.items()}
    assert read == {
        'train': {'train/cat/c.png': b'three', 'train/dog/a.JPEG': b'two', 'train/dog/b.jpg': b'one'},
        'validation': {'val/cat/d.webp': b'four', 'val/dog/e.jpg': b'five'},
        'test': {'test/cat/f.jpg': b'six'},
    }
    assert '.csv 1' in source.note and 'DS_Store' not in source.note


@pytest.mark.parametrize('form', ['folder', 'tar', 'zip'])
def test_the_order_is_that_of_the_names(form, tmp_path):
    source = open_form(form, tmp_path, FILES)
    assert [item.id for item in source.splits['train']] == sorted(path for path in FILES if 'train' in path)


def test_a_packed_archive_is_best_read_in_its_own_order(tmp_path):
    source = open_form('tgz', tmp_path, FILES)
    assert source.sequential and not open_form('tar', tmp_path, FILES).sequential
    in_its_order = sorted(source.splits['train'], key=lambda item: item.location)
    assert [item.id for item in in_its_order] == [path for path in FILES if 'train' in path]


@pytest.mark.parametrize('form', ['folder', 'tar', 'tgz', 'zip'])
def test_images_are_read_in_any_order_and_from_another_process(form, tmp_path):
    source = pickle.loads(pickle.dumps(open_form(form, tmp_path, FILES)))
    items = [item for split in source.splits.values() for item in split]
    for item in (*reversed(items), *items):
        assert source.read(item) == FILES[item.id]


@pytest.mark.parametrize('form', ['folder', 'tar', 'tgz', 'zip'])
def test_ones_own_photographs_are_turned_upright_in_any_form_and_imagenets_in_none(form, tmp_path):
    assert open_form(form, tmp_path / 'own', FILES).upright
    named = {path.replace('cat', 'n00000001').replace('dog', 'n00000002'): FILES[path] for path in FILES}
    assert not open_form(form, tmp_path / 'imagenet', named).upright


@pytest.mark.parametrize(
    'name, expected', [('Katzen & Hunde', 'katzen_hunde'), ('2024', 'images_2024'), ('猫', 'images')]
)
def test_names_are_made_of_letters_digits_and_underscores(name, expected, tmp_path):
    root = tmp_path / name
    write_files(root, FILES)
    assert sources.open_source('folder', str(root)).name == expected


def test_links_in_a_folder_are_followed_but_not_round_in_circles(tmp_path):
    elsewhere = tmp_path / 'elsewhere'
    write_files(elsewhere, {'1.jpg': b'emu'})
    root = tmp_path / 'pets'
    write_files(root, {'cat/1.jpg': b'cat', 'dog/1.jpg': b'dog'})
    os.symlink(elsewhere, root / 'emu')
    os.symlink(root, root / 'cat' / 'again')
    source = sources.open_source('folder', str(root), sources.SourceOptions(validation_fraction=0, test_fraction=0))
    assert [item.id for item in source.splits['train']] == ['cat/1.jpg', 'dog/1.jpg', 'emu/1.jpg']
    assert source.read(source.splits['train'][2]) == b'emu'


@pytest.mark.parametrize(
    'extra',
    [
        tar_member('train/dog/link.jpg', type=tarfile.SYMTYPE, linkname='/etc/passwd'),
        tar_member('train/dog/hard.jpg', type=tarfile.LNKTYPE, linkname='train/dog/b.jpg'),
        tar_member('train/dog/device.jpg', type=tarfile.CHRTYPE),
        tar_member('train/dog/pipe.jpg', type=tarfile.FIFOTYPE),
        tar_member('/train/dog/absolute.jpg', b'x'),
        tar_member('train/../../outside.jpg', b'x'),
    ],
    ids=lambda extra: extra[0].name,
)
@pytest.mark.parametrize('form', ['tar', 'tgz'])
def test_archives_with_links_devices_or_ways_out_are_refused(form, extra, tmp_path):
    archive = write_tar(tmp_path / f'pets.{form}', FILES, extra)
    with pytest.raises(UserError, match='link, a device, or leads out'):
        sources.open_source('tar', str(archive))


def test_a_name_that_occurs_twice_is_refused(tmp_path):
    archive = write_tar(tmp_path / 'pets.tar', FILES, tar_member('train/dog/b.jpg', b'again'))
    with pytest.raises(UserError, match="'train/dog/b.jpg' twice"):
        sources.open_source('tar', str(archive))


@pytest.mark.parametrize('form', ['tar', 'tgz'])
@pytest.mark.parametrize('size', [0, 100, 512, 2000, 3 * 3584, 3 * 3584 + 100, 6 * 3584, 6 * 3584 + 511])
def test_half_an_archive_is_refused(form, size, tmp_path):
    large = {path: os.urandom(3000) for path in FILES}  # and 512 bytes for the header, padded to 3584
    archive = write_tar(tmp_path / f'pets.{form}', large)
    whole = gzip.decompress(archive.read_bytes()) if form == 'tgz' else archive.read_bytes()
    archive.write_bytes(gzip.compress(whole[:size]) if form == 'tgz' else whole[:size])
    with pytest.raises(UserError, match='no whole tar'):
        sources.open_source('tar', str(archive))


@pytest.mark.parametrize('share', [0.1, 0.5, 0.9])
def test_half_a_download_is_refused(share, tmp_path):
    archive = write_tar(tmp_path / 'pets.tgz', {path: os.urandom(3000) for path in FILES})
    archive.write_bytes(archive.read_bytes()[: int(share * archive.stat().st_size)])
    with pytest.raises(UserError, match='no whole tar'):
        sources.open_source('tar', str(archive))


@pytest.mark.parametrize('form', ['tar', 'tgz'])
def test_a_damaged_header_in_an_archive_is_not_taken_for_its_end(form, tmp_path):
    archive = write_tar(tmp_path / f'pets.{form}', {path: os.urandom(3000) for path in FILES})
    whole = bytearray(gzip.decompress(archive.read_bytes()) if form == 'tgz' else archive.read_bytes())
    whole[3 * 3584 + 50] ^= 1
    archive.write_bytes(gzip.compress(whole) if form == 'tgz' else whole)
    with pytest.raises(UserError, match='damaged or cut off at byte 10,752'):
        sources.open_source('tar', str(archive))


def test_nothing_is_written_while_archives_are_read(tmp_path):
    for form in ('tar', 'tgz', 'zip'):
        source = open_form(form, tmp_path, FILES)
        for item in source.splits['train']:
            source.read(item)
    assert sorted(os.listdir(tmp_path)) == ['pets.tar', 'pets.tgz', 'pets.zip']


def test_an_image_that_has_gone_is_named(tmp_path):
    source = open_form('folder', tmp_path, FILES)
    (tmp_path / 'pets/train/dog/b.jpg').unlink()
    with pytest.raises(image_io.UnreadableImage, match='train/dog/b.jpg'):
        source.read(source.splits['train'][2])


def test_an_image_beyond_the_end_of_its_archive_is_named(tmp_path):
    source = open_form('tar', tmp_path, FILES)
    (tmp_path / 'pets.tar').write_bytes(b'')
    with pytest.raises(image_io.UnreadableImage, match='train/cat/c.png'):
        source.read(source.splits['train'][0])


@pytest.mark.parametrize(
    'kind, path, options, sentence',
    [
        ('rar', 'pets', {}, "Unknown config.prepare.source 'rar'; expected one of cifar10, cutouts, folder"),
        ('folder', '', {}, 'needs a path; set --config.prepare.path to a folder that contains'),
        ('tar', 'nowhere.tar', {}, 'does not exist; for the source'),
        ('folder', 'pets/train/dog/b.jpg', {}, 'is no folder'),
        ('tar', 'pets', {}, 'is no archive'),
        ('zip', 'pets', {}, 'is no archive'),
        ('zip', 'pets/train/dog/b.jpg', {}, 'no whole zip'),
        ('cifar10', 'pets', {}, 'is no archive'),
        ('tar', 'pets/train/dog/b.jpg', {}, 'no whole tar'),
        ('folder', 'pets', {'validation_fraction': 0.6, 'test_fraction': 0.4}, 'together less than 1'),
        ('folder', 'pets', {'test_fraction': -0.1}, 'expected 0 or more'),
        ('folder', 'pets', {'seed': -1}, 'config.prepare.seed is -1; expected 0 or more'),
        ('cutouts', '', {'num_cutouts': (0, 1, 1)}, 'expected three numbers'),
        ('cutouts', '', {'num_cutouts': (10, 1)}, 'expected three numbers'),
        ('cutouts', '', {'num_cutouts': (10, 1, -1)}, 'expected three numbers'),
    ],
)
def test_what_cannot_be_opened_gets_a_sentence(kind, path, options, sentence, tmp_path):
    write_files(tmp_path / 'pets', FILES)
    with pytest.raises(UserError, match=sentence):
        sources.open_source(kind, path and str(tmp_path / path), sources.SourceOptions(**options))


def test_cutouts_are_a_source_like_any_other():
    source = sources.open_source(
        'cutouts', options=sources.SourceOptions(image_size=16, seed=3, num_cutouts=(20, 0, 10))
    )
    assert {split: len(items) for split, items in source.splits.items()} == {'train': 20, 'test': 10}
    assert source.class_names == cutouts.CLASSES
    item = source.splits['test'][7]
    image, label = cutouts.make_cutout('test', 7, 3, 16)
    np.testing.assert_array_equal(source.read(item), image)
    assert item.label == label
    assert len({item.id for items in source.splits.values() for item in items}) == 30
