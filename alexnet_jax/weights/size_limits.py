"""Limits on the size of a file of weights and of what is packed in it, so that no small file fills the memory."""

from __future__ import annotations

import os
from pathlib import Path

from alexnet_jax.errors import UserError

# A network of this family has some 240 MB; protobuf's own limit.
MAX_FILE_BYTES = 2**31 - 1
# Trained weights are packed to nine tenths, constant ones to a thousandth.
MAX_RATIO = 20
SMALL_BYTES = 64 * 2**20


def read_bounded_file(path: str | os.PathLike[str], kind: str) -> bytes:
    """Return the bytes of a file; `kind` names its format. Raises UserError if it is empty or too large."""
    size = os.path.getsize(path)
    if not 0 < size <= MAX_FILE_BYTES:
        raise UserError(f'{path} has {size:,} bytes; a {kind} file of weights has 1 to {MAX_FILE_BYTES:,}.')
    return Path(path).read_bytes()


def require_unpacked_fits(path: str | os.PathLike[str], unpacked: int, packed: int) -> None:
    """Raise UserError if `packed` bytes of the file say that they become too many when they are unpacked."""
    if unpacked > max(SMALL_BYTES, MAX_RATIO * packed):
        raise UserError(
            f'{path} is packed: its {packed:,} bytes would become {unpacked:,}, which trained weights never do. '
            'Fetch or write it again, and compare its sum.'
        )
