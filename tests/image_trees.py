"""Writes the same few images as a folder, a tar and a zip, for the tests of those sources."""

import io
import tarfile
import zipfile

from archives import write_files
from hostile_files import tar_member

from alexnet_jax.prepare import sources

FILES = {
    'train/dog/b.jpg': b'one',
    'train/dog/a.JPEG': b'two',
    'train/cat/c.png': b'three',
    'val/cat/d.webp': b'four',
    'val/dog/e.jpg': b'five',
    'test/cat/f.jpg': b'six',
}
LITTER = {'train/.DS_Store': b'', 'train/dog/._b.jpg': b'', '__MACOSX/train/dog/b.jpg': b'', 'labels.csv': b''}


def write_tar(path, files, *others):
    mode = 'w' if path.suffix == '.tar' else 'w:gz'
    with tarfile.open(path, mode) as archive:
        for info, content in [*(tar_member(name, content) for name, content in files.items()), *others]:
            archive.addfile(info, io.BytesIO(content))
    return path


def write_zip(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def open_form(form, tmp_path, files, wrapper=''):
    """Write the files in a form, in a folder `wrapper`, and open them."""
    tmp_path.mkdir(exist_ok=True)
    files = {f'{wrapper}{path}': content for path, content in files.items()}
    if form == 'folder':
        write_files(tmp_path / 'pets', files)
        return sources.open_source('folder', str(tmp_path / 'pets'))
    if form == 'zip':
        return sources.open_source('zip', str(write_zip(tmp_path / 'pets.zip', files)))
    return sources.open_source('tar', str(write_tar(tmp_path / f'pets.{form}', files)))
