"""Test zip archives: what holds for tars holds for them, and what no honest zip has is refused."""

import os
import stat
import zipfile

import pytest
from image_trees import FILES, open_form, write_zip

from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import sources


def opened(path):
    return sources.open_source('zip', str(path))


@pytest.mark.parametrize('compression', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_images_are_read_however_they_are_packed(compression, tmp_path):
    source = opened(write_zip(tmp_path / 'pets.zip', FILES, compression))
    assert {item.id: source.read(item) for items in source.splits.values() for item in items} == FILES


def test_names_as_some_programs_for_windows_write_them_are_paths_too(tmp_path):
    path = tmp_path / 'pets.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in FILES.items():
            info = zipfile.ZipInfo('x')
            info.filename = name.replace('/', '\\')
            archive.writestr(info, content)
        archive.writestr('train/dog/', b'')  # a folder
    source = opened(path)
    assert {item.id: source.read(item) for items in source.splits.values() for item in items} == FILES


def hostile(name, kind=stat.S_IFREG, content=b'x'):
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o644) << 16
    return info, content


@pytest.mark.parametrize(
    'extra, sentence',
    [
        (hostile('train/dog/link.jpg', stat.S_IFLNK, b'/etc/passwd'), 'link, a device, or leads out'),
        (hostile('train/dog/device.jpg', stat.S_IFCHR), 'link, a device, or leads out'),
        (hostile('train/dog/pipe.jpg', stat.S_IFIFO), 'link, a device, or leads out'),
        (hostile('/train/dog/absolute.jpg'), 'link, a device, or leads out'),
        (hostile('train/../../outside.jpg'), 'link, a device, or leads out'),
        (hostile('..\\outside.jpg'), 'link, a device, or leads out'),
        (hostile('C:\\train\\dog\\b.jpg'), 'link, a device, or leads out'),
        (hostile('train/dog/b.jpg'), "'train/dog/b.jpg' twice"),
        (hostile('train\\dog\\b.jpg'), 'twice'),
        (
            hostile('train/dog/large.jpg', content=bytes(image_io.MAX_FILE_BYTES + 1)),
            'more than the .* an image may have',
        ),
    ],
)
@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_links_devices_ways_out_and_doubles_are_refused(extra, sentence, tmp_path):
    path = write_zip(tmp_path / 'pets.zip', FILES)
    with zipfile.ZipFile(path, 'a', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(*extra)
    with pytest.raises(UserError, match=sentence):
        opened(path)


def changed(path, offset, value):
    """Change a byte of the first member's entry in the list, at an offset from the entry's start."""
    data = bytearray(path.read_bytes())
    data[data.index(b'PK\x01\x02') + offset] = value
    path.write_bytes(bytes(data))
    return path


def test_encrypted_and_oddly_packed_members_are_refused(tmp_path):
    with pytest.raises(UserError, match="'train/dog/b.jpg', which is encrypted; make it again"):
        opened(changed(write_zip(tmp_path / 'a.zip', FILES), 8, 1))
    with pytest.raises(UserError, match='which is packed by method 9; make it again'):
        opened(changed(write_zip(tmp_path / 'b.zip', FILES), 10, 9))


def test_a_bomb_is_refused_by_what_it_says_and_yields_no_more_than_that(tmp_path, monkeypatch):
    from alexnet_jax.prepare.sources import zip

    bomb = write_zip(tmp_path / 'bomb.zip', FILES | {'train/dog/zeros.jpg': bytes(10**6)})
    monkeypatch.setattr(zip, 'MIN_UNPACKED_LIMIT', 1000)
    with pytest.raises(UserError, match='unpacks to more than 200 times its size'):
        opened(bomb)
    lying = write_zip(tmp_path / 'lying.zip', FILES | {'train/dog/b.jpg': bytes(10**6)})
    changed(lying, 24, 5), changed(lying, 25, 0), changed(lying, 26, 0)  # says: five bytes
    source = opened(lying)
    (item,) = (item for item in source.splits['train'] if item.id == 'train/dog/b.jpg')
    with pytest.raises(image_io.UnreadableImage, match=r'train/dog/b.jpg: cannot be read .*damaged there'):
        source.read(item)


@pytest.mark.parametrize('share', [0.0, 0.3, 0.99])
def test_half_a_zip_is_refused(share, tmp_path):
    path = write_zip(tmp_path / 'pets.zip', {name: os.urandom(3000) for name in FILES})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match='no whole zip archive'):
        opened(path)


def test_a_damaged_image_is_named(tmp_path):
    path = write_zip(tmp_path / 'pets.zip', {name: os.urandom(3000) for name in FILES}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[100] ^= 1  # of the first
    path.write_bytes(bytes(data))
    source = opened(path)
    with pytest.raises(image_io.UnreadableImage, match='train/dog/b.jpg: cannot be read .*CRC'):
        source.read(source.splits['train'][-1])
    assert len(source.read(source.splits['train'][0])) == 3000


def test_a_zip_that_has_gone_is_told_of_the_image(tmp_path):
    from alexnet_jax.prepare.sources import zip

    source = open_form('zip', tmp_path, FILES)
    zip._open_archive.cache_clear()
    (tmp_path / 'pets.zip').unlink()
    with pytest.raises(image_io.UnreadableImage, match='train/cat/c.png'):
        source.read(source.splits['train'][0])
