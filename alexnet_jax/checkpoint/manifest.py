"""The manifest of a folder: its files with their sizes and SHA-256."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alexnet_jax.checkpoint.checksums import json_digest
from alexnet_jax.runtime.atomic_io import file_checksum, write_atomic

MANIFEST_FILE = 'files.json'
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def write_manifest(folder: Path) -> None:
    """List the files that are in `folder` now; the manifest appears there when it is complete."""
    files = {str(path.relative_to(folder)): _file_entry(path) for path in _list_files(folder)}
    with write_atomic(folder / MANIFEST_FILE) as file:
        json.dump({'files': files, 'sha256': json_digest(files)}, file, indent=1)


def find_problems(folder: Path) -> dict[str, str] | None:
    """Return what is wrong with each listed file, '' if nothing; None without a manifest."""
    if not (folder / MANIFEST_FILE).exists():
        return None
    try:
        files = _read_manifest(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {MANIFEST_FILE: f'cannot be relied on ({error})'}
    return {MANIFEST_FILE: ''} | {name: _check_file(folder / name, entry) for name, entry in files.items()}


def is_intact(folder: Path) -> bool | None:
    """Return whether every listed file is unchanged; None without a valid manifest.

    Raises OSError if a file exists and cannot be read.
    """
    try:
        files = _read_manifest(folder)
    except (*_MISSING, ValueError, KeyError, TypeError):
        return None
    try:
        return all(_file_entry(folder / name) == entry for name, entry in files.items())
    except _MISSING:
        return False


def _read_manifest(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / MANIFEST_FILE).read_text())
    if content['sha256'] != json_digest(content['files']):
        raise ValueError('its checksum is wrong')
    return content['files']


def _list_files(folder: Path) -> list[Path]:
    temp_prefix = f'.{MANIFEST_FILE}'
    return sorted(path for path in folder.rglob('*') if path.is_file() and not path.name.startswith(temp_prefix))


def _file_entry(path: Path) -> dict[str, Any]:
    return {'bytes': path.stat().st_size, 'sha256': file_checksum(path)}


def _check_file(path: Path, expected: dict[str, Any]) -> str:
    try:
        entry = _file_entry(path)
    except FileNotFoundError:
        return 'is missing'
    except OSError as error:
        return f'cannot be read ({error.strerror})'
    if entry['bytes'] != expected['bytes']:
        return f'has {entry["bytes"]:,} bytes instead of {expected["bytes"]:,}'
    return '' if entry == expected else 'is damaged: its SHA-256 differs from the manifest'
