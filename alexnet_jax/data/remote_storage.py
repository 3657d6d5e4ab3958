"""Object stores: a dataset at gs:// or s3:// comes to a disk before it is read, and goes there when it is whole.

Records are read at random, which a store answers slowly and ArrayRecord not at all: so its files are copied once, each
held against its SHA-256, the manifest last. Speaks with stores through etils.epath alone; knows no records.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from alexnet_jax.data import dataset
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import atomic_io

SCHEMES = {'gs://': 'gcsfs', 's3://': 's3fs'}  # and the package that fsspec needs to reach it
PART = 2**23  # bytes that are copied at a time
LOCK = '.fetching'


def is_store(path: str) -> bool:
    """Whether a path is an address and none on a disk."""
    return re.match(r'\w+://', path) is not None


def holds_dataset(url: str) -> bool:
    """Whether a whole dataset lies there. Raises UserError where the store cannot be reached."""
    with _reaching(url):
        return _at(url, dataset.MANIFEST).exists()


def fetch(url: str, directory: str | os.PathLike) -> None:
    """Copies the dataset at `url` into a directory; files that are there already are kept, as a kill leaves them.

    Raises UserError where there is none, where another dataset lies in the directory, where the disk has no room, and for
    a file that is not as the manifest says.
    """
    directory = Path(directory).absolute()
    with _reaching(url):
        if not holds_dataset(url):
            raise UserError(
                f'{url} holds no whole dataset; prepare one with "python main.py --mode=prepare ...".'
            )
        manifest = _at(url, dataset.MANIFEST).read_bytes()
    files, checksum = _files(manifest, url)
    if (directory / dataset.MANIFEST).exists():
        _refuse_another(directory, dataset.read_manifest(directory)['checksum'], url, checksum)
        return
    directory.mkdir(parents=True, exist_ok=True)
    with atomic_io.lock_file(directory / LOCK):  # the others wait, and find all files there
        atomic_io.clean_temp(directory)
        if (directory / dataset.MANIFEST).exists():  # another process copied it while this one waited
            _refuse_another(directory, dataset.read_manifest(directory)['checksum'], url, checksum)
            return
        lacking = {name: file for name, file in files.items() if not _is_there(directory / name, file)}
        atomic_io.require_free_space(
            directory,
            sum(file['bytes'] for file in lacking.values()),
            subject=f'The dataset at {url}',
            hint='choose another --workdir',
        )
        for name, file in lacking.items():
            _fetch_file(url, directory, name, file)
        with atomic_io.write_atomic(directory / dataset.MANIFEST, 'wb') as out:
            out.write(manifest)


def send(directory: str | os.PathLike, url: str) -> None:
    """Copies a whole dataset to `url`, its manifest last; one that lies there already is kept.

    Raises UserError where another lies there, and where the store cannot be reached or written.
    """
    directory, manifest = Path(directory), dataset.read_manifest(directory)
    with _reaching(url):
        if holds_dataset(url):
            _, there = _files(_at(url, dataset.MANIFEST).read_bytes(), url)
            _refuse_another(url, there, directory, manifest['checksum'])
            return
        others = [path.name for path in directory.iterdir() if path.suffix == '.png']  # the contact sheet
        _at(url).mkdir(parents=True, exist_ok=True)
        for name in (*manifest['files'], *others, dataset.MANIFEST):
            with open(directory / name, 'rb') as file, _at(url, name).open('wb') as out:
                shutil.copyfileobj(file, out, PART)


def _at(url: str, *names: str) -> Any:
    from etils import epath

    return epath.Path(url, *names)


@contextlib.contextmanager
def _reaching(url: str) -> Iterator[None]:
    """What stores and their packages complain of becomes a sentence."""
    package = next((package for scheme, package in SCHEMES.items() if url.startswith(scheme)), '')
    if not package:
        raise UserError(f'{url} is in no store that is known here; there are: {", ".join(SCHEMES)}.')
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f'{url} cannot be reached without {package} ({error}); pip install {package}.'
        ) from error
    except Exception as error:  # each store has exceptions of its own
        raise UserError(
            f'{url} cannot be reached ({type(error).__name__}: {error}); see to the address and to your rights there.'
        ) from error


def _files(manifest: bytes, url: str) -> tuple[dict[str, dict], str]:
    """What a manifest says of its files, and its checksum."""
    try:
        content = json.loads(manifest)
        files, checksum = content['files'], content['checksum']
        sound = checksum == dataset.manifest_checksum(content)
        sound = sound and all(
            name == os.path.basename(name) and name not in ('', '.', '..') for name in files
        )
    except (ValueError, TypeError, KeyError):
        sound = False
    if not sound:
        raise UserError(f'{url}/{dataset.MANIFEST} is damaged; prepare the dataset again.')
    return files, checksum


def _refuse_another(place: str | Path, there: str, wanted: str | Path, checksum: str) -> None:
    if there != checksum:
        raise UserError(f'{place} holds another dataset than {wanted}; delete it, or give another place.')


def _is_there(path: Path, file: dict) -> bool:
    with contextlib.suppress(OSError):
        return path.stat().st_size == file['bytes'] and atomic_io.file_checksum(path) == file['sha256']
    return False


def _fetch_file(url: str, directory: Path, name: str, file: dict) -> None:
    with _reaching(url), _at(url, name).open('rb') as source, atomic_io.write_atomic(directory / name, 'wb') as out:
        if _copied(source, out, file['bytes']) != file['sha256']:
            raise UserError(
                f'{url}/{name} is damaged: its SHA-256 is not that of the manifest; prepare it again.'
            )


def _copied(source: IO[bytes], out: IO[bytes], size: int) -> str:
    """The SHA-256 of what was copied, of which there is no more than one part beyond `size`."""
    digest, copied = hashlib.sha256(), 0
    while copied <= size and (part := source.read(PART)):
        out.write(part)
        digest.update(part)
        copied += len(part)
    return digest.hexdigest()
