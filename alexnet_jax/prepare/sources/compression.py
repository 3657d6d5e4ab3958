"""Open compressed files with what this Python can read, by their first bytes."""

import contextlib
import importlib
import zlib
from pathlib import Path
from types import ModuleType
from typing import IO

from alexnet_jax.data import file_format
from alexnet_jax.errors import UserError

# Format -> the tool that unpacks it.
UNPACK_TOOLS = {
    'gzip': 'gunzip',
    'bzip2': 'bunzip2',
    'xz': 'unxz',
    'zstd': 'unzstd',
    'lz4': 'unlz4',
    'compress': 'uncompress',
    'lzip': 'lunzip',
}
# Format -> the standard module that reads it; a Python may lack some. That of zstd came with 3.14.
MODULES = {'gzip': 'gzip', 'bzip2': 'bz2', 'xz': 'lzma', 'zstd': 'compression.zstd'}


def import_decompressor(name: str) -> ModuleType | None:
    """Return the module that reads a format; None if this Python has none."""
    with contextlib.suppress(ImportError, KeyError):
        return importlib.import_module(MODULES[name])
    return None


# What reading a damaged compressed file may raise.
UNPACK_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    zlib.error,
    getattr(import_decompressor('xz'), 'LZMAError', OSError),
    getattr(import_decompressor('zstd'), 'ZstdError', OSError),
)


def detect_compression(path: Path | str) -> str:
    """Return a file's compression, a key of UNPACK_TOOLS; '' if it has none."""
    with open(path, 'rb') as file:
        name = file_format.detect_format(file.read(file_format.SIGNATURE_BYTES))
    return name if name in UNPACK_TOOLS else ''


def check_uncompressed(path: Path | str) -> None:
    """Raise UserError, naming the tool that unpacks it, if a file is compressed."""
    if name := detect_compression(path):
        raise UserError(
            f'{path} is compressed by {name}, and here it must not be; unpack it by `{UNPACK_TOOLS[name]} {path}`.'
        )


def open_unpacked(path: Path | str) -> IO[bytes]:
    """Open a file's content, unpacked if it is compressed; reading raises UNPACK_ERRORS.

    Raises UserError, naming the tool that unpacks it, if this Python cannot.
    """
    name = detect_compression(path)
    if not name:
        return open(path, 'rb')
    module = import_decompressor(name)
    if module is None:
        raise UserError(
            f'{path} is compressed by {name}, which this Python cannot read; '
            f'unpack it by `{UNPACK_TOOLS[name]} {path}` and name the result.'
        )
    return module.open(path, 'rb')
