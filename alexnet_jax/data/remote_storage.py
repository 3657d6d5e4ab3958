"""Object stores: a dataset at gs:// or s3:// comes to a disk before it is read, and goes there when it is whole.

Records are read at random, which a store answers slowly and ArrayRecord not at all: so its files are copied once, each
held against its SHA-256, the manifest last. Speaks with stores through etils.epath alone; knows no records.
"""

import contextlib
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
CHUNK_BYTES = 2**23  # bytes that are copied at a time
LOCK_FILE = '.fetching'


def is_remote_url(path: str) -> bool:
    """Whether a path is an address and none on a disk."""
    return re.match(r'\w+://', path) is not None


def remote_dataset_exists(url: str) -> bool:
    """Whether a whole dataset lies there. Raises UserError where the store cannot be reached."""
    with _store_errors(url):
        return _remote_path(url, dataset.MANIFEST_FILE).exists()


def download_dataset(url: str, directory: str | os.PathLike) -> None:
    """Copies the dataset at `url` into a directory; files that are there already are kept, as a kill leaves them.

    Raises UserError where there is none, where another dataset lies in the directory, where the disk has no room, and for
    a file that is not as the manifest says.
    """
    directory = Path(directory).absolute()
    with _store_errors(url):
        if not remote_dataset_exists(url):
            raise UserError(
                f'{url} holds no whole dataset; prepare one with "python main.py --mode=prepare ...".'
            )
        manifest = _remote_path(url, dataset.MANIFEST_FILE).read_bytes()
    files, checksum = _parse_manifest(manifest, url)
    if (directory / dataset.MANIFEST_FILE).exists():
        _check_same_dataset(directory, dataset.read_manifest(directory)['checksum'], url, checksum)
        return
    directory.mkdir(parents=True, exist_ok=True)
    with atomic_io.lock_file(directory / LOCK_FILE):  # the others wait, and find all files there
        atomic_io.clean_temp(directory)
        if (directory / dataset.MANIFEST_FILE).exists():  # another process copied it while this one waited
            _check_same_dataset(directory, dataset.read_manifest(directory)['checksum'], url, checksum)
            return
        lacking = {name: file for name, file in files.items() if not _is_up_to_date(directory / name, file)}
        atomic_io.require_free_space(
            directory,
            sum(file['bytes'] for file in lacking.values()),
            subject=f'The dataset at {url}',
            hint='choose another --workdir',
        )
        for name, file in lacking.items():
            _fetch_file(url, directory, name, file)
        with atomic_io.write_atomic(directory / dataset.MANIFEST_FILE, 'wb') as out:
            out.write(manifest)


def upload_dataset(directory: str | os.PathLike, url: str) -> None:
    """Copies a whole dataset to `url`, its manifest last; one that lies there already is kept.

    Raises UserError where another lies there, and where the store cannot be reached or written.
    """
    directory, manifest = Path(directory), dataset.read_manifest(directory)
    with _store_errors(url):
        if remote_dataset_exists(url):
            _, there = _parse_manifest(_remote_path(url, dataset.MANIFEST_FILE).read_bytes(), url)
            _check_same_dataset(url, there, directory, manifest['checksum'])
            return
        others = [path.name for path in directory.iterdir() if path.suffix == '.png']  # the contact sheet
        _remote_path(url).mkdir(parents=True, exist_ok=True)
        for name in (*manifest['files'], *others, dataset.MANIFEST_FILE):
            with open(directory / name, 'rb') as file, _remote_path(url, name).open('wb') as out:
                shutil.copyfileobj(file, out, CHUNK_BYTES)


def _remote_path(url: str, *names: str) -> Any:
    from etils import epath

    return epath.Path(url, *names)


@contextlib.contextmanager
def _store_errors(url: str) -> Iterator[None]:
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


def _parse_manifest(manifest: bytes, url: str) -> tuple[dict[str, dict], str]:
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
        raise UserError(f'{url}/{dataset.MANIFEST_FILE} is damaged; prepare the dataset again.')
    return files, checksum


def _check_same_dataset(place: str | Path, there: str, wanted: str | Path, checksum: str) -> None:
    if there != checksum:
        raise UserError(f'{place} holds another dataset than {wanted}; delete it, or give another place.')


def _is_up_to_date(path: Path, file: dict) -> bool:
    with contextlib.suppress(OSError):
        return path.stat().st_size == file['bytes'] and atomic_io.file_checksum(path) == file['sha256']
    return False


def _fetch_file(url: str, directory: Path, name: str, file: dict) -> None:
    with _store_errors(url), _remote_path(url, name).open('rb') as source, atomic_io.write_atomic(directory / name, 'wb') as out:
        if _copy_with_digest(source, out, file['bytes']) != file['sha256']:
            raise UserError(
                f'{url}/{name} is damaged: its SHA-256 is not that of the manifest; prepare it again.'
            )


def _copy_with_digest(source: IO[bytes], out: IO[bytes], size: int) -> str:
    """The SHA-256 of what was copied, of which there is no more than one part beyond `size`."""
    digest, copied = hashlib.sha256(), 0
    while copied <= size and (part := source.read(CHUNK_BYTES)):
        out.write(part)
        digest.update(part)
        copied += len(part)
    return digest.hexdigest()
