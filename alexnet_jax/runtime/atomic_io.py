"""Atomic file writes, their cleanup after a kill, lock files, checksums and free-space checks."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from alexnet_jax.errors import UserError

_TEMP = r'\.(?P<name>.+)\.\d+\.partial'
# Names that version 0.2 and its predecessors gave to the files of a run while they wrote them.
_TEMP_BEFORE = (
    r'\.(run|config|result|evaluation|exploded|benchmark)\.json\.\d+'
    r'|\.(curves|kernels|examples|answers|benchmark|contact)\.png\.\d+'
    r'|(metrics|timings)\.jsonl\.new|\.files\.json\.new'
)


@contextlib.contextmanager
def write_atomic(path: str | os.PathLike[str], mode: str = 'w') -> Iterator[IO[Any]]:
    """Yield a file ('w': UTF-8 text, 'wb': bytes) that becomes `path` when the block ends; `path` is never incomplete.

    If the block raises, `path` is as it was before.
    """
    with atomic_path(path) as temp, open(temp, mode, encoding=None if 'b' in mode else 'utf-8') as file:
        yield file


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the name of a temporary file that becomes `path` when the block ends, for writers that open by name.

    The file exists, empty, and is locked meanwhile: so `clean_temp` of another process, on this host or another, leaves
    it. The number in its name is drawn, as processes in containers have the same ids.
    """
    path = Path(path)
    temp = path.with_name(f'.{path.name}.{secrets.randbelow(10**9)}.partial')
    with open(temp, 'wb') as held:
        _try_lock(held)
        try:
            yield temp
            replace_file(temp, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink(missing_ok=True)
            raise


def _try_lock(file: IO[Any]) -> bool:
    """Lock a file until it is closed or the process ends; return False if another one holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def write_json(path: str | os.PathLike[str], content: Any, *, allow_nan: bool = True) -> None:
    """Write `content` to `path` atomically, indented and with sorted keys. Raises ValueError for NaN unless allowed."""
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=allow_nan)
    with write_atomic(path) as file:
        file.write(text + '\n')


def replace_file(temp: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Rename the finished file `temp` to `path`; its bytes and then its name are on the disk before this returns."""
    sync_to_disk(temp)
    os.replace(temp, path)
    sync_to_disk(os.path.dirname(path) or '.')


def sync_to_disk(path: str | os.PathLike[str]) -> None:
    """Wait until the bytes of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_temp(name: str) -> bool:
    """Return whether a file of this name is what an interrupted write of this package, or of an older one, left."""
    return re.fullmatch(f'{_TEMP}|{_TEMP_BEFORE}', name) is not None


def clean_temp(folder: str | os.PathLike[str]) -> None:
    """Remove what interrupted writes left in `folder`, which may be missing; what is being written stays."""
    for path in Path(folder).glob('*'):
        if is_temp(path.name) and path.is_file():
            with contextlib.suppress(FileNotFoundError, PermissionError), open(path, 'rb') as file:
                if _try_lock(file):
                    path.unlink()


@contextlib.contextmanager
def lock_file(path: str | os.PathLike[str], message: str = '') -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, which is made. The kernel releases it however the process ends.

    If another process holds it, raises UserError(message); without a message waits for it.
    """
    with open(path, 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if message else 0))
        except OSError:
            raise UserError(message) from None
        yield


def nearest_existing_parent(path: str | os.PathLike[str]) -> Path:
    """Return `path` as an absolute path, or the nearest folder above it that exists."""
    path = Path(path).absolute()
    return path if os.path.lexists(path) else nearest_existing_parent(path.parent)


def require_folder_of(path: str | os.PathLike[str], flag: str) -> None:
    """Raise UserError unless a file can be made at `path`, which `flag` gives, as far as its folder tells."""
    folder = Path(path).absolute().parent
    if Path(path).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        problem = f'{path} is a folder' if Path(path).is_dir() else f'{folder} is no folder that you may write to'
        raise UserError(f'{flag}={path} cannot be written: {problem}. Choose another path.')


def require_free_space(folder: str | os.PathLike[str], needed: float, *, subject: str, hint: str) -> None:
    """Raise UserError if the disk of `folder`, which may not exist yet, has less than `needed` bytes free.

    `subject` begins the sentence and `hint` ends it: '{subject} needs 3.1 GB and /data has 2.0 GB free; free some
    space, or {hint}.'
    """
    parent = nearest_existing_parent(folder)
    try:
        free = shutil.disk_usage(parent).free
    except OSError as error:
        raise UserError(f'{parent} cannot be read ({error}); choose another folder.') from error
    if needed > free:
        raise UserError(
            f'{subject} needs {_format_size(needed)} and {parent} has {_format_size(free)} free; free some space, '
            f'or {hint}.'
        )


def _format_size(size: float) -> str:
    return f'{size / 1e9:,.1f} GB' if size >= 1e9 else f'{size / 1e6:,.0f} MB'


def file_checksum(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
