"""The same few images as a folder, a tar and a zip: what the tests of those sources begin with."""

import io
import tarfile
import zipfile

from alexnet_jax.prepare import sources

FILES = {
    'train/dog/b.jpg': b'one',
    'train/dog/a.JPEG': b'two',
    'train/cat/c.png': b'three',
    'val/cat/d.webp': b'four',
    'val/dog/e.jpg': b'five',
    'test/cat/f.jpg': b'six',
}
LITTER = {
    'train/.DS_Store': b'',
    'train/dog/._b.jpg': b'',
    '__MACOSX/train/dog/b.jpg': b'',
    'labels.csv': b'',
}


def in_folder(root, files):
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def member(path, content=b'', **fields):
    info = tarfile.TarInfo(path)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def in_archive(path, files, *others):
    mode = 'w' if path.suffix == '.tar' else 'w:gz'
    with tarfile.open(path, mode) as archive:
        for info, content in [*(member(name, content) for name, content in files.items()), *others]:
            archive.addfile(info, io.BytesIO(content))
    return path


def in_zip(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def made(form, tmp_path, files, wrapper=''):
    tmp_path.mkdir(exist_ok=True)
    files = {f'{wrapper}{path}': content for path, content in files.items()}
    if form == 'folder':
        return sources.open_source('folder', str(in_folder(tmp_path / 'pets', files)))
    if form == 'zip':
        return sources.open_source('zip', str(in_zip(tmp_path / 'pets.zip', files)))
    return sources.open_source('tar', str(in_archive(tmp_path / f'pets.{form}', files)))
