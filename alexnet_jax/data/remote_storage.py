"""Download and upload of datasets at gs:// or s3://, through etils.epath.

Records are read at random, which a store answers slowly and ArrayRecord not at all: so the files of a dataset are
copied to a disk once, each checked against its SHA-256, the manifest last.
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
from alexnet_jax.runtime.atomic_io import clean_temp, file_checksum, lock_file, require_free_space, write_atomic

SCHEMES = {'gs://': 'gcsfs', 's3://': 's3fs'}  # and the package that fsspec needs to reach it
CHUNK_BYTES = 2**23  # copied at a time
LOCK_FILE = '.fetching'


def is_remote_url(path: str) -> bool:
    """Return whether a path is an address, not a path on a disk."""
    return re.match(r'\w+://', path) is not None


def remote_dataset_exists(url: str) -> bool:
    """Return whether a finished dataset is there. Raises UserError if the store cannot be reached."""
    with _store_errors(url):
        return _remote_path(url, dataset.MANIFEST_FILE).exists()


def download_dataset(url: str, directory: str | os.PathLike) -> None:
    """Copy the dataset at `url` into a directory; files that are there already, as after a kill, are kept.

    Raises UserError if there is no dataset, if the directory holds another one, if the disk has too little space, and
    for a file that differs from the manifest.
    """
    directory = Path(directory).absolute()
    with _store_errors(url):
        if not remote_dataset_exists(url):
            raise UserError(f'{url} holds no finished dataset; prepare one with "python main.py --mode=prepare ...".')
        manifest = _remote_path(url, dataset.MANIFEST_FILE).read_bytes()
    files, checksum = _parse_manifest(manifest, url)
    if _is_downloaded(directory, url, checksum):
        return
    directory.mkdir(parents=True, exist_ok=True)
    # One process at a time; the others wait, and find all files there.
    with lock_file(directory / LOCK_FILE):
        if _is_downloaded(directory, url, checksum):
            return
        clean_temp(directory)
        missing = {name: file for name, file in files.items() if not _is_up_to_date(directory / name, file)}
        require_free_space(
            directory,
            sum(file['bytes'] for file in missing.values()),
            subject=f'The dataset at {url}',
            hint='choose another --workdir',
        )
        for name, file in missing.items():
            _download_file(url, directory, name, file)
        with write_atomic(directory / dataset.MANIFEST_FILE, 'wb') as out:
            out.write(manifest)


def upload_dataset(directory: str | os.PathLike, url: str) -> None:
    """Copy a finished dataset to `url`, its manifest last; one that is there already is kept.

    Raises UserError if another dataset is there, and if the store cannot be reached or written.
    """
    directory, manifest = Path(directory), dataset.read_manifest(directory)
    with _store_errors(url):
        if remote_dataset_exists(url):
            _, checksum = _parse_manifest(_remote_path(url, dataset.MANIFEST_FILE).read_bytes(), url)
            _check_same_dataset(url, checksum, directory, manifest['checksum'])
            return
        pictures = [path.name for path in directory.iterdir() if path.suffix == '.png']  # the contact sheet
        _remote_path(url).mkdir(parents=True, exist_ok=True)
        for name in (*manifest['files'], *pictures, dataset.MANIFEST_FILE):
            with open(directory / name, 'rb') as file, _remote_path(url, name).open('wb') as out:
                shutil.copyfileobj(file, out, CHUNK_BYTES)


def _remote_path(url: str, *names: str) -> Any:
    from etils import epath

    return epath.Path(url, *names)


@contextlib.contextmanager
def _store_errors(url: str) -> Iterator[None]:
    """Turn the exceptions of stores and their packages into UserErrors."""
    package = next((package for scheme, package in SCHEMES.items() if url.startswith(scheme)), '')
    if not package:
        raise UserError(f'{url} is not in a supported store; choose one of {", ".join(SCHEMES)}.')
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        raise UserError(f'{url} cannot be reached without {package} ({error}); run: pip install {package}') from error
    except Exception as error:  # each store has its own exceptions
        raise UserError(
            f'{url} cannot be reached ({type(error).__name__}: {error}); check the address and your access rights.'
        ) from error


def _parse_manifest(manifest: bytes, url: str) -> tuple[dict[str, dict], str]:
    """Return size and checksum of each file by name, and the manifest's own checksum."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        content = json.loads(manifest)
        files, checksum = content['files'], content['checksum']
        plain = all(name == os.path.basename(name) and name not in ('', '.', '..') for name in files)
        if plain and checksum == dataset.manifest_checksum(content):
            return files, checksum
    raise UserError(f'{url}/{dataset.MANIFEST_FILE} is damaged; prepare the dataset again.')


def _check_same_dataset(place: str | Path, checksum: str, wanted: str | Path, wanted_checksum: str) -> None:
    if checksum != wanted_checksum:
        raise UserError(f'{place} holds another dataset than {wanted}; delete it, or choose another place.')


def _is_downloaded(directory: Path, url: str, checksum: str) -> bool:
    if not (directory / dataset.MANIFEST_FILE).exists():
        return False
    _check_same_dataset(directory, dataset.read_manifest(directory)['checksum'], url, checksum)
    return True


def _is_up_to_date(path: Path, file: dict) -> bool:
    with contextlib.suppress(OSError):
        return path.stat().st_size == file['bytes'] and file_checksum(path) == file['sha256']
    return False


def _download_file(url: str, directory: Path, name: str, file: dict) -> None:
    with _store_errors(url), _remote_path(url, name).open('rb') as source, write_atomic(directory / name, 'wb') as out:
        if _copy_with_digest(source, out, file['bytes']) != file['sha256']:
            raise UserError(
                f'{url}/{name} is damaged: its SHA-256 differs from the manifest; prepare the dataset again.'
            )


def _copy_with_digest(source: IO[bytes], out: IO[bytes], size: int) -> str:
    """Copy a file, at most one chunk beyond `size`, and return its SHA-256."""
    digest, copied = hashlib.sha256(), 0
    while copied <= size and (chunk := source.read(CHUNK_BYTES)):
        out.write(chunk)
        digest.update(chunk)
        copied += len(chunk)
    return digest.hexdigest()
