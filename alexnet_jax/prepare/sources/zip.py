"""Zip archives of class folders: read where they lie, nothing is unpacked to disk; by the rules that hold for tars."""

import dataclasses
import functools
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources.base import Source, SourceOptions, archive_kind, is_hidden, source_from_paths
from alexnet_jax.prepare.sources.folder import read_class_words
from alexnet_jax.prepare.sources.tar import (
    MAX_MEMBERS,
    MAX_UNPACKED_RATIO,
    MIN_UNPACKED_LIMIT,
    Member,
    file_version,
    image_members,
)
from alexnet_jax.prepare.splits import Item

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ENCRYPTED_FLAG = 1  # a member's flag


@dataclasses.dataclass(frozen=True)
class ZipReader:
    """Reads the members of a zip: `location` is a name as the archive spells it."""

    path: str
    version: tuple[int, int]

    @property
    def identity(self) -> str:
        return f'InZip(path={self.path!r}, version={self.version})'

    def __call__(self, item: Item) -> bytes:
        try:
            with _open_archive(self.path, self.version).open(item.location[0]) as file:
                return file.read(image_io.MAX_FILE_BYTES + 1)  # one more than decode takes: it will say so
        except (zipfile.BadZipFile, KeyError, RuntimeError) as error:
            raise OSError(f'the archive is damaged there: {error}') from error


@functools.lru_cache(maxsize=1)
def _open_archive(path: str, version: tuple[int, int]) -> zipfile.ZipFile:
    """The archive, its list of members read once in each process."""
    return zipfile.ZipFile(path)


def open_zip(path: Path, wanted: SourceOptions) -> Source:
    """split/class/image or class/image within a zip."""
    if not path.is_file():
        raise UserError(f'{path} is no archive; for a folder choose --config.prepare.source=folder.')
    if archive_kind(path) == 'tar':
        raise UserError(f'{path} is a tar archive; choose --config.prepare.source=tar.')
    try:
        with zipfile.ZipFile(path) as archive:
            members = list(_checked_members(archive, path))
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f'{path} is no whole zip archive ({error}); fetch it again.') from error
    spelt = {member.name: info.filename for member, info in members}
    found, others = image_members((member for member, _ in members), path)
    where = {member.name: (spelt[member.name],) for member in found}
    return source_from_paths(path, where, others, wanted, ZipReader(str(path), file_version(path)), words=read_class_words(path.parent))


def _checked_members(archive: zipfile.ZipFile, path: Path) -> Iterator[tuple[Member, zipfile.ZipInfo]]:
    """The plain files, hidden ones apart, as tars know them. Raises UserError for what no honest archive has."""
    infos, names = archive.infolist(), set()
    if len(infos) > MAX_MEMBERS:
        raise UserError(f'{path} holds more than {MAX_MEMBERS:,} files; divide it.')
    if sum(info.file_size for info in infos) > max(MIN_UNPACKED_LIMIT, MAX_UNPACKED_RATIO * path.stat().st_size):
        raise UserError(
            f'{path} says that it unpacks to more than {MAX_UNPACKED_RATIO} times its size; make it again.'
        )
    for info in infos:
        name = PurePosixPath(info.filename.replace('\\', '/'))  # as some programs for Windows write them
        kind = stat.S_IFMT(info.external_attr >> 16)
        if (
            kind not in (0, stat.S_IFREG, stat.S_IFDIR)
            or name.is_absolute()
            or PureWindowsPath(name).drive
            or '..' in name.parts
        ):
            raise UserError(
                f'{path} holds {info.filename!r}, which is a link, a device, or leads out of it; make it again with '
                'plain files alone.'
            )
        if info.is_dir() or any(map(is_hidden, name.parts)):
            continue
        if info.flag_bits & ENCRYPTED_FLAG or info.compress_type not in METHODS:
            why = 'encrypted' if info.flag_bits & ENCRYPTED_FLAG else f'packed by method {info.compress_type}'
            raise UserError(f'{path} holds {info.filename!r}, which is {why}; make it again without.')
        if str(name) in names:
            raise UserError(f'{path} holds {info.filename!r} twice; make it again.')
        names.add(str(name))
        yield Member(str(name), info.header_offset, info.file_size), info
