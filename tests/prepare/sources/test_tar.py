"""Test tars that are compressed, joined, or taken for something that they are not."""

import bz2
import gzip
import lzma
import os

import archives
import pytest
from image_trees import FILES

from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import sources
from alexnet_jax.prepare.sources import compression

TAR = archives.pack_tar({name: os.urandom(3000) + content for name, content in FILES.items()})
OTHER = archives.pack_tar({f'train/emu/{number}.jpg': b'emu' for number in range(3)})
COMPRESSORS = {'gz': gzip.compress, 'bz2': bz2.compress, 'xz': lzma.compress}


def opened(path, data):
    path.write_bytes(data)
    return sources.open_source('tar', str(path))


def refused(path, data, sentence):
    with pytest.raises(UserError, match=sentence):
        opened(path, data)


def contents(source):
    return {item.id: source.read(item) for split in source.splits.values() for item in split}


@pytest.mark.parametrize('name', ['pets.tar.bz2', 'pets.tar.xz', 'pets.tbz2', 'pets'])
def test_compressed_tars_are_read_by_their_content_in_any_order(name, tmp_path):
    expected = contents(opened(tmp_path / 'pets.tar', TAR))
    for kind, compress in COMPRESSORS.items():
        (tmp_path / kind).mkdir()
        source = opened(tmp_path / kind / name, compress(TAR))
        items = [item for split in source.splits.values() for item in split]
        assert source.sequential
        assert contents(source) == expected == {item.id: source.read(item) for item in reversed(items)}


@pytest.mark.parametrize('kind', COMPRESSORS)
def test_a_damaged_compressed_tar_is_refused_and_an_image_that_was_damaged_later_named(kind, tmp_path):
    packed = COMPRESSORS[kind](TAR)
    refused(tmp_path / 'half', packed[: len(packed) // 2], 'half is no whole tar archive .*; download it again')
    source = opened(tmp_path / 'pets', packed)
    (tmp_path / 'pets').write_bytes(packed[:200] + bytes(len(packed) - 400) + packed[-200:])
    with pytest.raises(image_io.UnreadableImage, match='cannot be read'):
        contents(source)


@pytest.mark.parametrize(
    'start, name, tool',
    [
        (b'\x04\x22\x4d\x18', 'lz4', 'unlz4'),
        (b'\x1f\x9d\x90', 'compress', 'uncompress'),
        (b'\xfd7zXZ\0', 'xz', 'unxz'),
        (b'\x28\xb5\x2f\xfd', 'zstd', 'unzstd'),
    ],
)
def test_a_tool_is_named_for_what_this_python_cannot_unpack(start, name, tool, tmp_path, monkeypatch):
    monkeypatch.setattr(compression, 'MODULES', {'gzip': 'gzip', 'xz': 'module_not_built'})
    path = tmp_path / 'pets.tar.x'
    refused(path, start + TAR, f'is compressed by {name}, which this Python cannot read; unpack it by `{tool} {path}`')


@pytest.mark.parametrize('kind', ['', *COMPRESSORS])
def test_what_follows_the_end_of_a_tar_is_not_lost(kind, tmp_path):
    """As `cat 1.tar 2.tar` leaves it; compressed ones as members of one file, or joined before."""
    compress = COMPRESSORS.get(kind, bytes)
    for joined in (compress(TAR) + compress(OTHER), compress(TAR + OTHER), compress(TAR + bytes(2**20) + b'x')):
        refused(tmp_path / 'both', joined, 'both goes on after its end at byte .*as joined archives do')
    assert contents(opened(tmp_path / 'padded', compress(TAR + bytes(2**20)))).keys() == FILES.keys()


def test_what_follows_the_end_of_a_tar_within_a_tar_is_not_lost(tmp_path):
    classes = {f'{name}.tar': archives.pack_tar({f'{name}.jpg': b'x'}) for name in ('cat', 'dog', 'emu')}
    large = archives.pack_tar({**classes, 'dog.tar': classes['dog.tar'] + classes['cat.tar']})
    archives.write_files(tmp_path, {'large.tar': large})
    with pytest.raises(UserError, match='large.tar, dog.tar goes on after its end'):
        sources.open_source('synsets', str(tmp_path / 'large.tar'))


def test_tars_of_classes_must_not_be_compressed(tmp_path):
    classes = {f'{name}.tar': archives.pack_tar({f'{name}.jpg': b'x'}) for name in ('cat', 'dog')}
    archives.write_files(tmp_path / 'tars', {name: bz2.compress(data) for name, data in classes.items()})
    archives.write_files(tmp_path, {'large.tar.gz': archives.pack_tar(classes, 'w:gz')})
    for path, file, tool in (('tars', 'tars/cat.tar', 'bunzip2'), ('large.tar.gz', 'large.tar.gz', 'gunzip')):
        with pytest.raises(UserError, match=f'{file} is compressed by .*; unpack it by `{tool} {tmp_path}/{file}`'):
            sources.open_source('synsets', str(tmp_path / path))
