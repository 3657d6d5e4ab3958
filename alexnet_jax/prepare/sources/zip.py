"""Zip archives of class folders: read in place, with nothing unpacked to disk; checked as tars are."""

import dataclasses
import functools
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources.base import Source, SourceOptions, SourceSpec, is_hidden, source_from_paths
from alexnet_jax.prepare.sources.folder import read_synonyms
from alexnet_jax.prepare.sources.tar import (
    MAX_MEMBERS,
    MAX_UNPACKED_RATIO,
    MIN_UNPACKED_LIMIT,
    Member,
    check_archive_kind,
    file_version,
    image_members,
)
from alexnet_jax.prepare.sources.tiny_imagenet import VALIDATION_LIST
from alexnet_jax.prepare.splits import Item

METHODS = {
    'stored': zipfile.ZIP_STORED,
    'deflated': zipfile.ZIP_DEFLATED,
    'bzip2': zipfile.ZIP_BZIP2,
    'lzma': zipfile.ZIP_LZMA,
}
ENCRYPTED_FLAG = 1


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
                return file.read(image_io.MAX_FILE_BYTES + 1)  # one more than the decoder accepts: it raises
        except (zipfile.BadZipFile, KeyError, RuntimeError) as error:
            raise OSError(f'the archive is damaged there: {error}') from error


@functools.lru_cache(maxsize=1)
def _open_archive(path: str, version: tuple[int, int]) -> zipfile.ZipFile:
    """Open the archive and read its list of members once in each process."""
    return zipfile.ZipFile(path)


def open_zip(path: Path, options: SourceOptions) -> Source:
    """Open split/class/image or class/image in a zip."""
    check_archive_kind(path, 'zip')
    try:
        with zipfile.ZipFile(path) as archive:
            members = list(_checked_members(archive, path))
    except UserError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f'{path} is no whole zip archive ({error}); download it again.') from error
    spelling = {member.name: info.filename for member, info in members}
    images, skipped = image_members((member for member, _ in members), path, also=VALIDATION_LIST)
    found = {member.name: (spelling[member.name],) for member in images}
    reader, synonyms = ZipReader(str(path), file_version(path)), read_synonyms(path.parent)
    return source_from_paths(path, found, skipped, options, reader, synonyms=synonyms)


def _checked_members(archive: zipfile.ZipFile, path: Path) -> Iterator[tuple[Member, zipfile.ZipInfo]]:
    """Yield the regular, not hidden files. Raises UserError for what no honest archive has."""
    infos, names = archive.infolist(), set()
    if len(infos) > MAX_MEMBERS:
        raise UserError(f'{path} holds more than {MAX_MEMBERS:,} files; divide it.')
    limit = max(MIN_UNPACKED_LIMIT, MAX_UNPACKED_RATIO * path.stat().st_size)
    if sum(info.file_size for info in infos) > limit:
        raise UserError(f'{path} unpacks to more than {MAX_UNPACKED_RATIO} times its size; make it again.')
    for info in infos:
        name = PurePosixPath(info.filename.replace('\\', '/'))  # as some programs for Windows write them
        kind = stat.S_IFMT(info.external_attr >> 16)
        leads_out = name.is_absolute() or PureWindowsPath(name).drive or '..' in name.parts
        if leads_out or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UserError(
                f'{path} holds {info.filename!r}, which is a link, a device, or leads out of it; make it again with '
                'regular files only.'
            )
        if info.is_dir() or any(map(is_hidden, name.parts)):
            continue
        if info.flag_bits & ENCRYPTED_FLAG or info.compress_type not in METHODS.values():
            encrypted = info.flag_bits & ENCRYPTED_FLAG
            reason = 'encrypted' if encrypted else f'packed by method {info.compress_type}'
            raise UserError(f'{path} holds {info.filename!r}, which is {reason}; make it again without.')
        if str(name) in names:
            raise UserError(f'{path} holds {info.filename!r} twice; make it again.')
        names.add(str(name))
        yield Member(str(name), info.header_offset, info.file_size), info


SPEC = SourceSpec('zip', 'a zip of class folders', open_zip)
