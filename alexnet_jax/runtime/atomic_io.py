"""The disk: a file gets its name when all of its bytes are there, and neither is lost when the power goes."""

from __future__ import annotations

import os


def put_in_place(aside: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Gives a finished file its name, in place of what had it, once its bytes are on the disk; then the name is too."""
    sync(aside)
    os.replace(aside, path)
    sync(os.path.dirname(path) or '.')


def sync(path: str | os.PathLike[str]) -> None:
    """Waits until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
