"""Tar archives of class folders, plain or gzipped: read where they lie, nothing is unpacked to disk."""

import dataclasses
import functools
import gzip
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from alexnet_jax.data import images
from alexnet_jax.data.arrangement import Item
from alexnet_jax.data.sources.source import Source, Wanted, arranged, hidden
from alexnet_jax.mistakes import Mistake


@dataclasses.dataclass(frozen=True)
class _InArchive:
    path: str
    packed: bool  # gzipped
    version: tuple[int, int]  # size and time: whether it is still the same when a preparation goes on

    def __call__(self, item: Item) -> bytes:
        offset, size = item.where
        file = _opened(self.path, self.packed)
        file.seek(offset)  # where it is packed this reads on to there, so items have the archive's order then
        data = file.read(min(size, images.LARGEST_FILE + 1))
        if len(data) < min(size, images.LARGEST_FILE + 1):
            raise EOFError('the archive ends within it')
        return data


@functools.lru_cache(maxsize=1)
def _opened(path: str, packed: bool) -> gzip.GzipFile | IO[bytes]:
    """The archive's bytes, unpacked on the way; opened once in each process."""
    return gzip.open(path, 'rb') if packed else open(path, 'rb')


def open_tar(path: Path, wanted: Wanted) -> Source:
    """split/class/image or class/image within a tar, tar.gz or tgz."""
    if not path.is_file():
        raise Mistake(f'{path} is no archive; for a folder choose --config.prepare.source=folder.')
    with open(path, 'rb') as file:
        packed = file.read(2) == b'\x1f\x8b'
    try:
        found, others = _members(path, packed)
    except Mistake:
        raise
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
        raise Mistake(f'{path} is no whole tar or tar.gz archive ({error}); fetch it again.') from error
    status = path.stat()
    reader = _InArchive(str(path), packed, (status.st_size, status.st_mtime_ns))
    if not packed:  # there the archive's own order is the one in which it can be read
        found = {name: found[name] for name in sorted(found)}
    return arranged(path, found, others, wanted, reader, upright=False)


def _members(path: Path, packed: bool) -> tuple[dict[str, tuple], list[str]]:
    """Name -> (offset, size) of the images, and the names of other files."""
    found, others = {}, []
    with tarfile.open(path, 'r:gz' if packed else 'r:') as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            is_plain = (member.isdir() or member.isreg()) and not member.issparse()
            if not is_plain or name.is_absolute() or '..' in name.parts:
                raise Mistake(
                    f'{path} holds {member.name!r}, which is a link, a device, or leads out of it; '
                    'make it again with plain files alone.'
                )
            if member.isdir() or any(hidden(part) for part in name.parts):
                continue
            if not name.name.lower().endswith(images.ENDINGS):
                others.append(str(name))
            elif str(name) in found:
                raise Mistake(f'{path} holds {member.name!r} twice; make it again.')
            else:
                found[str(name)] = (member.offset_data, member.size)
            archive.members = []  # type: ignore[attr-defined]  # where tarfile would keep every member
        # To tarfile a damaged or cut header is the end like any other; the true one is a block of zeros.
        assert archive.fileobj is not None
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f'damaged or cut off at byte {archive.offset:,}')
    return found, others
