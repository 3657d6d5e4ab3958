"""The inventory of a folder: its files with their sizes and SHA-256, and whether they are still what they were.

Knows nothing of what is in the files.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from alexnet_jax.runtime import atomic_io

NAME = 'files.json'
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def write(folder: Path) -> None:
    """Lists the files that lie in `folder` now, in a file that appears there when it is whole."""
    files = {str(path.relative_to(folder)): _of(path) for path in _files(folder)}
    aside = folder / f'.{NAME}.new'
    with open(aside, 'w', encoding='utf-8') as stream:
        json.dump({'files': files, 'sha256': _sum(files)}, stream, indent=1)
    atomic_io.put_in_place(aside, folder / NAME)


def faults(folder: Path) -> dict[str, str] | None:
    """What is wrong with each file, by its path within `folder`, '' where nothing is; None where nobody listed them."""
    if not (folder / NAME).exists():
        return None
    try:
        files = _listed(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {NAME: f'cannot be relied on ({error})'}
    return {NAME: ''} | {name: _fault(folder / name, expected) for name, expected in files.items()}


def sound(folder: Path) -> bool | None:
    """Whether every file is what was listed; None where no list can be relied on. Raises OSError of what is closed."""
    try:
        files = _listed(folder)
    except (*_MISSING, ValueError, KeyError, TypeError):
        return None
    try:
        return all(_of(folder / name) == expected for name, expected in files.items())
    except _MISSING:
        return False


def _listed(folder: Path) -> dict[str, Any]:
    held = json.loads((folder / NAME).read_text())
    if held['sha256'] != _sum(held['files']):
        raise ValueError('its checksum is not right')
    return held['files']


def _files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob('*') if path.is_file() and not path.name.startswith(f'.{NAME}')
    )


def _of(path: Path) -> dict[str, Any]:
    with open(path, 'rb') as file:
        return {'bytes': path.stat().st_size, 'sha256': hashlib.file_digest(file, 'sha256').hexdigest()}


def _fault(path: Path, expected: dict[str, Any]) -> str:
    try:
        found = _of(path)
    except FileNotFoundError:
        return 'is missing'
    except OSError as error:
        return f'cannot be read ({error.strerror})'
    if found['bytes'] != expected['bytes']:
        return f'has {found["bytes"]:,} bytes instead of {expected["bytes"]:,}'
    return '' if found == expected else 'is damaged: its SHA-256 is not that of the inventory'


def _sum(files: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
