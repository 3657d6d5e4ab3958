"""Sources: where images come from, as classes, splits and items in a fixed order, read one by one.

Knows the embedded cut-outs, folders and tar archives; neither decodes, resizes nor writes anything.
"""

import dataclasses
import functools
import gzip
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from alexnet_jax.data import images
from alexnet_jax.data.arrangement import SPLITS, Item, arrange, passed_over
from alexnet_jax.mistakes import Mistake


@dataclasses.dataclass(frozen=True)
class Source:
    """Images with labels, in splits. Everything is plain data, so that it can go to other processes."""

    name: str  # letters, digits and underscores: datasets' files are called by it
    classes: tuple[str, ...]  # label -> name
    splits: dict[str, tuple[Item, ...]]  # of SPLITS those that exist
    note: str  # how the splits came about, and what was passed over
    seed: int  # that decided what was left to chance
    reader: Callable[[Item], bytes | np.ndarray]
    upright: bool = False  # whether images are turned as their EXIF orientation asks

    def read(self, item: Item) -> bytes | np.ndarray:
        """The file's bytes, or the pixels (uint8, height x width x 3) where there is no file.

        Raises images.Unreadable, with the item's id, where the file has gone or cannot be read.
        """
        try:
            return self.reader(item)
        except (OSError, EOFError, zlib.error) as error:
            raise images.Unreadable(f'{item.id}: cannot be read ({error}); mend or remove it.') from error


def open_source(
    kind: str,
    path: str = '',
    *,
    side: int,
    seed: int = 0,
    validation_share: float = 0.1,
    test_share: float = 0.1,
    counts: tuple[int, int, int] = (8000, 1000, 1000),
) -> Source:
    """The source of a kind (KINDS) at a path.

    cutouts: made here (cutouts.py), `side` pixels, so many for train, validation and test as `counts` says.
    folder, tar (also gzipped): split/class/image or class/image; arrangement.py tells what becomes of them, and to
    which images `seed` and the two shares apply.
    Raises Mistake where there is nothing to be found, and tells what was expected.
    """
    if kind not in KINDS:
        raise Mistake(f'Unknown source {kind!r}; there are: {", ".join(KINDS)}.')
    if seed < 0:
        raise Mistake(f'The seed (--config.prepare.seed) must be at least 0, not {seed}.')
    if kind == 'cutouts':
        return _cutouts(side, seed, counts)
    if not path or not os.path.exists(path):
        raise Mistake(f'The source {kind!r} needs an existing path (--config.prepare.path), not {path!r}.')
    if validation_share < 0 or test_share < 0 or validation_share + test_share >= 1:
        raise Mistake(
            f'The shares {validation_share} for validation and {test_share} for test must be at least 0 and '
            'together less than 1.'
        )
    return AT_PATH[kind](Path(path).absolute(), seed, {'validation': validation_share, 'test': test_share})


# Cut-outs


@dataclasses.dataclass(frozen=True)
class _Drawn:
    seed: int
    side: int

    def __call__(self, item: Item) -> np.ndarray:
        from alexnet_jax.data import cutouts  # scikit-image, which no other source needs

        split, number = item.where
        return cutouts.example(split, number, self.seed, self.side)[0]


def _cutouts(side: int, seed: int, counts: tuple[int, int, int]) -> Source:
    from alexnet_jax.data import cutouts

    if len(counts) != len(SPLITS) or counts[0] < 1 or min(counts) < 0:
        raise Mistake(
            f'The counts of cut-outs must be three, none negative and the first not 0, not {counts}.'
        )
    splits = {
        split: tuple(
            Item(f'{split}/{number:06d}', number % len(cutouts.CLASSES), (split, number))
            for number in range(count)
        )
        for split, count in zip(SPLITS, counts, strict=True)
        if count
    }
    note = f'Cut-outs made from seed {seed}; each split from photographs of its own.'
    return Source('cutouts', cutouts.CLASSES, splits, note, seed, _Drawn(seed, side))


# Folders


@dataclasses.dataclass(frozen=True)
class _InFolder:
    root: str

    def __call__(self, item: Item) -> bytes:
        with open(os.path.join(self.root, item.where[0]), 'rb') as file:
            return file.read(images.LARGEST_FILE + 1)  # one more than decode takes: it will say so


def _folder(root: Path, seed: int, shares: dict[str, float]) -> Source:
    if not root.is_dir():
        raise Mistake(f'{root} is no folder; for an archive choose --config.prepare.source=tar.')
    found, others = {}, []
    try:
        entries = list(_files(root, ()))
    except OSError as error:
        raise Mistake(f'{root} cannot be read ({error}); mend it or leave it out.') from error
    for path, entry in entries:
        if path.lower().endswith(images.ENDINGS) and entry.is_file():
            status = entry.stat()
            # Size and time tell whether the file is still the same when a preparation goes on.
            found[path] = (path, status.st_size, status.st_mtime_ns)
        else:
            others.append(path)
    found = {path: found[path] for path in sorted(found)}
    return _arranged(root, found, others, seed, shares, _InFolder(str(root)), upright=True)


def _files(folder: Path, above: tuple[str, ...]) -> Iterator[tuple[str, os.DirEntry]]:
    """Every file under a folder, hidden ones apart, with its path from the first folder; links are followed."""
    above = (*above, os.path.realpath(folder))
    with os.scandir(folder) as entries:
        for entry in entries:
            if _hidden(entry.name):
                continue
            if not entry.is_dir():
                yield entry.name, entry
            elif os.path.realpath(entry.path) not in above:  # a link to where we come from would never end
                for path, inner in _files(Path(entry.path), above):
                    yield f'{entry.name}/{path}', inner


def _hidden(name: str) -> bool:
    """What systems leave lying about: .DS_Store, ._cat.jpg, __MACOSX."""
    return name.startswith('.') or name == '__MACOSX'


# Archives: read where they lie, nothing is unpacked to disk


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


def _tar(path: Path, seed: int, shares: dict[str, float]) -> Source:
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
    return _arranged(path, found, others, seed, shares, reader, upright=False)


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
            if member.isdir() or any(_hidden(part) for part in name.parts):
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


def _arranged(path: Path, found, others, seed, shares, reader, *, upright: bool) -> Source:
    """The source of images found in a folder or archive (path -> where), in the order in which they come."""
    arrangement = arrange(found, origin=str(path), seed=seed, shares=shares)
    name = re.sub(r'\W+', '_', path.name.split('.')[0].lower(), flags=re.ASCII).strip('_')
    return Source(
        name=name if name[:1].isalpha() else f'images_{name}'.strip('_'),
        classes=arrangement.classes,
        splits=arrangement.splits,
        note=arrangement.note + passed_over(others),
        seed=seed,
        reader=reader,
        upright=upright,
    )


AT_PATH = {'folder': _folder, 'tar': _tar}
KINDS = ('cutouts', *AT_PATH)
