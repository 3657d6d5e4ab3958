"""Tar archives: read in place, with nothing unpacked to disk; and those of class folders as a source.

Kinds, names, sizes and number of the members are checked before anything is read.
"""

import dataclasses
import functools
import itertools
import os
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources import advice
from alexnet_jax.prepare.sources.base import Source, SourceOptions, SourceSpec, is_hidden, source_from_paths
from alexnet_jax.prepare.sources.compression import UNPACK_ERRORS, detect_compression, open_unpacked
from alexnet_jax.prepare.sources.folder import iter_files, read_synonyms
from alexnet_jax.prepare.sources.tiny_imagenet import VALIDATION_LIST
from alexnet_jax.prepare.splits import Item

MAX_HEADER_BYTES = 2**20  # of a name and the like, which tarfile reads at once
# An archive may unpack to this many times its size, and to this many bytes in any case.
MAX_UNPACKED_RATIO, MIN_UNPACKED_LIMIT = 200, 2**30
MAX_MEMBERS = 20_000_000  # ImageNet's largest release has 14.2 million images
_READ_ERRORS: tuple[type[Exception], ...] = (tarfile.TarError, ValueError, *UNPACK_ERRORS)


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive: its name, and offset and size of its bytes in the unpacked outer file."""

    name: str
    offset: int
    size: int


@dataclasses.dataclass(frozen=True)
class TarReader:
    """Reads from uncompressed archives under a root: `location` is path, version, offset and size."""

    root: str

    @property
    def identity(self) -> str:
        return f'InArchives(root={self.root!r})'

    def __call__(self, item: Item) -> bytes:
        path, _, offset, size = item.location
        return _read_range(_open_archive(os.path.join(self.root, path), unpacked=False), offset, size)


@dataclasses.dataclass(frozen=True)
class CompressedTarReader:
    """Reads from a compressed archive, fast in its own order: `location` is offset and size, unpacked."""

    path: str
    version: tuple[int, int]

    @property
    def identity(self) -> str:
        return f'InPacked(path={self.path!r}, version={self.version})'

    def __call__(self, item: Item) -> bytes:
        offset, size = item.location
        return _read_range(_open_archive(self.path, unpacked=True), offset, size)


def _read_range(file: IO[bytes], offset: int, size: int) -> bytes:
    size = min(size, image_io.MAX_FILE_BYTES + 1)  # one more than the decoder accepts: it raises
    file.seek(offset)  # of a compressed file this unpacks everything before
    data = file.read(size)
    if len(data) < size:
        raise EOFError('the archive ends within it')
    return data


@functools.lru_cache(maxsize=4)
def _open_archive(path: str, unpacked: bool) -> IO[bytes]:
    """Open an archive once in each process."""
    return open_unpacked(path) if unpacked else open(path, 'rb')


def file_version(path: Path) -> tuple[int, int]:
    """Return size and time, which show if a file has changed when an interrupted preparation continues."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def open_tar(path: Path, options: SourceOptions) -> Source:
    """Open split/class/image or class/image in a tar, compressed or not."""
    check_archive_kind(path, 'tar')
    members, skipped = image_members(iter_members(path), path, also=VALIDATION_LIST)
    version, synonyms = file_version(path), read_synonyms(path.parent)
    if detect_compression(path):
        packed: dict[str, tuple] = {member.name: (member.offset, member.size) for member in members}
        reader = CompressedTarReader(str(path), version)
        return source_from_paths(path, packed, skipped, options, reader, synonyms=synonyms, sequential=True)
    found = {member.name: (path.name, version, member.offset, member.size) for member in members}
    return source_from_paths(path, found, skipped, options, TarReader(str(path.parent)), synonyms=synonyms)


def check_archive_kind(path: Path, kind: str) -> None:
    """Raise UserError, with the source that reads it, if a path is a folder or a file of another kind."""
    if not path.is_file():
        names = itertools.islice((name for name, _ in iter_files(path, ())), advice.MAX_NAMES)
        remedy = advice.advise_on_names(names) or 'set --config.prepare.path to the archive itself'
        raise UserError(f'{path} is no archive but a folder; {remedy}.')
    if advice.archive_kind(path) not in ('', kind) or advice.is_foreign_archive(path):
        raise UserError(f'{path} is no {kind} archive; {advice.advise_on_file(path)}.')


def image_members(found: Iterable[Member], origin: str | Path, also: str = '') -> tuple[list[Member], list[str]]:
    """Return the members with an image's extension or named `also`, and the others' names.

    Raises UserError if one is too large.
    """
    images, others = [], []
    for member in found:
        name = PurePosixPath(member.name).name
        if not name.lower().endswith(image_io.IMAGE_EXTENSIONS) and name != also:
            others.append(member.name)
        elif member.size > image_io.MAX_FILE_BYTES:
            raise UserError(
                f'{origin} holds {member.name!r} of {member.size:,} bytes, more than the '
                f'{image_io.MAX_FILE_BYTES:,} that an image may have; make it again without it.'
            )
        else:
            images.append(member)
    return images, others


def iter_members(path: Path, within: Member | None = None) -> Iterator[Member]:
    """Yield the regular, not hidden files of an archive, or of the archive that is its member `within`.

    Raises UserError, naming the archive, for links, devices, paths that lead out of it and duplicate names, and for
    an archive that is damaged, cut off, goes on after its end, or unpacks to far more than its size.
    """
    origin = f'{path}, {within.name}' if within else str(path)
    try:
        with _BoundedFile(path, within) as file, tarfile.open(fileobj=cast(IO[bytes], file), mode='r:') as archive:
            yield from _checked_members(archive, file, origin)
    except UserError:
        raise
    except _READ_ERRORS as error:
        raise UserError(f'{origin} is no whole tar archive ({error}); download it again.') from error


def read_member(path: Path, member: Member) -> bytes:
    """Return the bytes of a small member, such as a list of labels."""
    with open_unpacked(path) as file:
        return _read_range(file, member.offset, member.size)


def _checked_members(archive: tarfile.TarFile, file: '_BoundedFile', origin: str) -> Iterator[Member]:
    """Yield the members one by one, keeping only their names in memory."""
    names: set[str] = set()
    for member in archive:
        name = PurePosixPath(member.name)
        is_regular = (member.isdir() or member.isreg()) and not member.issparse()
        if not is_regular or name.is_absolute() or '..' in name.parts:
            raise UserError(
                f'{origin} holds {member.name!r}, which is a link, a device, or leads out of it; '
                'make it again with regular files only.'
            )
        if member.size < 0:
            raise tarfile.ReadError(f'a file of {member.size:,} bytes')
        if len(names) >= MAX_MEMBERS:
            raise UserError(f'{origin} holds more than {MAX_MEMBERS:,} files; divide it.')
        if not member.isdir() and not any(map(is_hidden, name.parts)):
            if str(name) in names:
                raise UserError(f'{origin} holds {member.name!r} twice; make it again.')
            names.add(str(name))
            yield Member(str(name), file.start + member.offset_data, member.size)
        # tarfile would keep every member here.
        archive.members = []  # type: ignore[attr-defined]
    # tarfile takes a damaged or cut header for the end; the real end is a block of zeros.
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f'damaged or cut off at byte {archive.offset:,}')
    while data := file.read(tarfile.RECORDSIZE):
        if data.strip(b'\0'):
            raise UserError(
                f'{origin} goes on after its end at byte {archive.offset:,}, as joined archives do. Unpack all of it '
                'by `tar --ignore-zeros -xf` and set --config.prepare.source=folder, or make it again.'
            )


class _BoundedFile:
    """The unpacked bytes of an archive for tarfile, or of its member `within`, up to a reasonable size."""

    def __init__(self, path: Path, within: Member | None):
        compressed = not within and bool(detect_compression(path))
        self._file = open_unpacked(path) if compressed else open(path, 'rb')
        self.start = within.offset if within else 0
        size = path.stat().st_size
        if compressed:
            self._end = max(MIN_UNPACKED_LIMIT, MAX_UNPACKED_RATIO * size)
        else:
            self._end = within.size if within else size
        self._position, self._compressed = 0, compressed

    def __enter__(self) -> '_BoundedFile':
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or position < 0:
            raise ValueError(f'a seek to byte {position:,}')
        self._position = position
        return position

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise ValueError(f'a header of {size:,} bytes')
        if self._compressed and self._position + size > self._end:
            raise ValueError(f'it unpacks to more than {MAX_UNPACKED_RATIO} times its size')
        self._file.seek(self.start + min(self._position, self._end))
        data = self._file.read(max(0, min(size, self._end - self._position)))
        self._position += len(data)
        return data


SPEC = SourceSpec('tar', 'a tar of class folders, also compressed by gzip, bzip2 or xz', open_tar)
