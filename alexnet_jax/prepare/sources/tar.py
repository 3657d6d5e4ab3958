"""Tar archives: read where they lie, nothing is unpacked to disk; and those of class folders as a source.

What an archive says of itself is checked before it is believed: kinds, names, sizes and number of its members.
"""

import dataclasses
import functools
import gzip
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources.base import Source, SourceOptions, archive_kind, is_hidden, source_from_paths
from alexnet_jax.prepare.sources.folder import read_class_words
from alexnet_jax.prepare.splits import Item

MAX_HEADER_BYTES = 2**20  # bytes that a name and such may take; tarfile reads them whole
MAX_UNPACKED_RATIO, MIN_UNPACKED_LIMIT = 200, 2**30  # unpacked to packed bytes; so many bytes may come of any archive
MAX_MEMBERS = 20_000_000  # members; ImageNet's largest release has 14.2 million images


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A plain file in an archive: its name, and where its bytes lie in the file that holds them, unpacked."""

    name: str
    offset: int
    size: int


@dataclasses.dataclass(frozen=True)
class TarReader:
    """Reads from plain archives under a root: `location` is path, version, offset and size."""

    root: str

    @property
    def identity(self) -> str:
        return f'InArchives(root={self.root!r})'

    def __call__(self, item: Item) -> bytes:
        path, _, offset, size = item.location
        return _read_range(_open_archive(os.path.join(self.root, path), packed=False), offset, size)


@dataclasses.dataclass(frozen=True)
class GzippedTarReader:
    """Reads from a gzipped archive, best in its own order: `location` is offset and size of what is unpacked."""

    path: str
    version: tuple[int, int]

    @property
    def identity(self) -> str:
        return f'InPacked(path={self.path!r}, version={self.version})'

    def __call__(self, item: Item) -> bytes:
        offset, size = item.location
        return _read_range(_open_archive(self.path, packed=True), offset, size)


def _read_range(file: IO[bytes], offset: int, size: int) -> bytes:
    size = min(size, image_io.MAX_FILE_BYTES + 1)  # one more than decode takes: it will say so
    file.seek(offset)  # where it is packed this unpacks all that is before
    data = file.read(size)
    if len(data) < size:
        raise EOFError('the archive ends within it')
    return data


@functools.lru_cache(maxsize=4)
def _open_archive(path: str, packed: bool) -> IO[bytes]:
    """The archive's bytes, unpacked on the way; opened once in each process."""
    return cast(IO[bytes], gzip.open(path, 'rb')) if packed else open(path, 'rb')


def file_version(path: Path) -> tuple[int, int]:
    """Size and time: whether an archive is still the same when a preparation goes on."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def is_gzipped(path: Path) -> bool:
    """Whether it is gzipped."""
    with open(path, 'rb') as file:
        return file.read(2) == image_io.GZIP_MAGIC


def open_tar(path: Path, wanted: SourceOptions) -> Source:
    """split/class/image or class/image within a tar, tar.gz or tgz."""
    if not path.is_file():
        raise UserError(f'{path} is no archive; for a folder choose --config.prepare.source=folder.')
    if archive_kind(path) == 'zip':
        raise UserError(f'{path} is a zip archive; choose --config.prepare.source=zip.')
    found, others = image_members(iter_members(path), path)
    if is_gzipped(path):
        unpacked = {member.name: (member.offset, member.size) for member in found}
        reader = GzippedTarReader(str(path), file_version(path))
        return source_from_paths(path, unpacked, others, wanted, reader, words=read_class_words(path.parent), streamed=True)
    place = path.name, file_version(path)
    where = {member.name: (*place, member.offset, member.size) for member in found}
    reader = TarReader(str(path.parent))
    return source_from_paths(path, where, others, wanted, reader, words=read_class_words(path.parent))


def image_members(found: Iterable[Member], origin: str | Path) -> tuple[list[Member], list[str]]:
    """The members that are images by their names, and the names of the others. Raises UserError for what is too large."""
    chosen, others = [], []
    for member in found:
        if not member.name.lower().endswith(image_io.IMAGE_EXTENSIONS):
            others.append(member.name)
        elif member.size > image_io.MAX_FILE_BYTES:
            raise UserError(
                f'{origin} holds {member.name!r} of {member.size:,} bytes, more than the {image_io.MAX_FILE_BYTES:,} that '
                'an image may have; make it again without it.'
            )
        else:
            chosen.append(member)
    return chosen, others


def iter_members(path: Path, within: Member | None = None) -> Iterator[Member]:
    """The plain files of an archive, hidden ones apart, or of the archive that is its member `within`.

    Raises UserError, that names it, for links, devices, ways out of it and names that come twice, as well as for an
    archive that is damaged, cut off, or unpacks to far more than it has.
    """
    origin = f'{path}, {within.name}' if within else str(path)
    try:
        with _BoundedFile(path, within) as part, tarfile.open(fileobj=cast(IO[bytes], part), mode='r:') as archive:
            yield from _checked_members(archive, part, origin)
    except UserError:
        raise
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f'{origin} is no whole tar or tar.gz archive ({error}); fetch it again.') from error


def read_member(path: Path, member: Member) -> bytes:
    """The bytes of a small member, such as a list of labels."""
    with gzip.open(path, 'rb') if is_gzipped(path) else open(path, 'rb') as file:
        return _read_range(file, member.offset, member.size)


def _checked_members(archive: tarfile.TarFile, part: '_Part', origin: str) -> Iterator[Member]:
    """The members one by one, none kept in memory but its name."""
    names: set[str] = set()
    for member in archive:
        name = PurePosixPath(member.name)
        is_plain = (member.isdir() or member.isreg()) and not member.issparse()
        if not is_plain or name.is_absolute() or '..' in name.parts:
            raise UserError(
                f'{origin} holds {member.name!r}, which is a link, a device, or leads out of it; '
                'make it again with plain files alone.'
            )
        if member.size < 0:
            raise tarfile.ReadError(f'a file of {member.size:,} bytes')
        if len(names) >= MAX_MEMBERS:
            raise UserError(f'{origin} holds more than {MAX_MEMBERS:,} files; divide it.')
        if not member.isdir() and not any(map(is_hidden, name.parts)):
            if str(name) in names:
                raise UserError(f'{origin} holds {member.name!r} twice; make it again.')
            names.add(str(name))
            yield Member(str(name), part.start + member.offset_data, member.size)
        archive.members = []  # type: ignore[attr-defined]  # where tarfile would keep every member
    # To tarfile a damaged or cut header is the end like any other; the true one is a block of zeros.
    part.seek(archive.offset)
    if part.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f'damaged or cut off at byte {archive.offset:,}')


class _BoundedFile:
    """What tarfile sees of a file: the part that is an archive, unpacked, and no more of it than is reasonable."""

    def __init__(self, path: Path, within: Member | None):
        packed = not within and is_gzipped(path)
        self._file = gzip.open(path, 'rb') if packed else open(path, 'rb')
        self.start = within.offset if within else 0
        size = path.stat().st_size
        self._end = max(MIN_UNPACKED_LIMIT, MAX_UNPACKED_RATIO * size) if packed else within.size if within else size
        self._at, self._packed = 0, packed

    def __enter__(self) -> '_Part':
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def tell(self) -> int:
        return self._at

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or place < 0:
            raise ValueError(f'a way to byte {place:,}')
        self._at = place
        return place

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise ValueError(f'a header of {size:,} bytes')
        if self._packed and self._at + size > self._end:
            raise ValueError(f'it unpacks to more than {MAX_UNPACKED_RATIO} times its size')
        self._file.seek(self.start + min(self._at, self._end))
        data = self._file.read(max(0, min(size, self._end - self._at)))
        self._at += len(data)
        return data
