"""The inventory of a folder: its files with their sizes and SHA-256, and whether they are still what they were.

Knows nothing of what is in the files.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from alexnet_jax.runtime import atomic_io

MANIFEST_FILE = 'files.json'
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def write_manifest(folder: Path) -> None:
    """Lists the files that lie in `folder` now, in a file that appears there when it is whole."""
    files = {str(path.relative_to(folder)): _file_entry(path) for path in _list_files(folder)}
    with atomic_io.write_atomic(folder / MANIFEST_FILE) as file:
        json.dump({'files': files, 'sha256': _entries_digest(files)}, file, indent=1)


def find_problems(folder: Path) -> dict[str, str] | None:
    """What is wrong with each file, by its path within `folder`, '' where nothing is; None where nobody listed them."""
    if not (folder / MANIFEST_FILE).exists():
        return None
    try:
        files = _read_manifest(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {MANIFEST_FILE: f'cannot be relied on ({error})'}
    return {MANIFEST_FILE: ''} | {name: _check_file(folder / name, expected) for name, expected in files.items()}


def is_intact(folder: Path) -> bool | None:
    """Whether every file is what was listed; None where no list can be relied on. Raises OSError of what is closed."""
    try:
        files = _read_manifest(folder)
    except (*_MISSING, ValueError, KeyError, TypeError):
        return None
    try:
        return all(_file_entry(folder / name) == expected for name, expected in files.items())
    except _MISSING:
        return False


def _read_manifest(folder: Path) -> dict[str, Any]:
    held = json.loads((folder / MANIFEST_FILE).read_text())
    if held['sha256'] != _entries_digest(held['files']):
        raise ValueError('its checksum is not right')
    return held['files']


def _list_files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob('*') if path.is_file() and not path.name.startswith(f'.{MANIFEST_FILE}')
    )


def _file_entry(path: Path) -> dict[str, Any]:
    return {'bytes': path.stat().st_size, 'sha256': atomic_io.file_checksum(path)}


def _check_file(path: Path, expected: dict[str, Any]) -> str:
    try:
        found = _file_entry(path)
    except FileNotFoundError:
        return 'is missing'
    except OSError as error:
        return f'cannot be read ({error.strerror})'
    if found['bytes'] != expected['bytes']:
        return f'has {found["bytes"]:,} bytes instead of {expected["bytes"]:,}'
    return '' if found == expected else 'is damaged: its SHA-256 is not that of the inventory'


def _entries_digest(files: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
