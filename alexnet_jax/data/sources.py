"""Sources: where images come from, as classes, splits and items in a fixed order; the bytes are read one by one.

Knows the embedded cut-outs, folders and tar archives; neither decodes, resizes nor writes anything.
"""

import collections
import dataclasses
import functools
import hashlib
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from alexnet_jax.data import images
from alexnet_jax.mistakes import Mistake

SPLITS = ('train', 'validation', 'test')
FOLDERS = {
    'train': 'train',
    'val': 'validation',
    'valid': 'validation',
    'validation': 'validation',
    'test': 'test',
}
FORMS = 'split/class/image (the splits train, val and test) or class/image, the images JPEG, PNG or WebP'


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One image: its id, unique in the source and stable; its label; where its source's reader finds it."""

    id: str
    label: int
    where: tuple


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
    folder, tar (also gzipped): split/class/image or class/image. What splits are missing are made from the training
    images, each image by a hash of `seed` and its id, so that it stays where it is when others are added; where there
    are train and val but no test (Imagenette), val becomes the test split and validation is made.
    Raises Mistake where there is nothing to be found, and tells what was expected.
    """
    if kind not in KINDS:
        raise Mistake(f'Unknown source {kind!r}; there are: {", ".join(KINDS)}.')
    if kind == 'cutouts':
        return _cutouts(side, seed, counts)
    if not path or not os.path.exists(path):
        raise Mistake(f'The source {kind!r} needs an existing path (--config.prepare.path), not {path!r}.')
    if validation_share < 0 or test_share < 0 or validation_share + test_share >= 1:
        raise Mistake(
            f'The shares {validation_share} for validation and {test_share} for test must be at least 0 and '
            'together less than 1.'
        )
    return KINDS[kind](Path(path).absolute(), seed, {'validation': validation_share, 'test': test_share})


# Cut-outs


@dataclasses.dataclass(frozen=True)
class _Drawn:
    seed: int
    side: int

    def __call__(self, item: Item) -> np.ndarray:
        from alexnet_jax.data import cutouts  # scikit-image, which no other source needs

        return cutouts.example(*item.where, self.seed, self.side)[0]


def _cutouts(side: int, seed: int, counts: tuple[int, int, int]) -> Source:
    from alexnet_jax.data import cutouts

    if len(counts) != len(SPLITS) or counts[0] < 1 or min(counts) < 0:
        raise Mistake(
            f'The counts of cut-outs must be three, the first at least 1 and none negative, not {counts}.'
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
    for path, entry in _files(root, ()):
        if path.lower().endswith(images.ENDINGS) and entry.is_file():
            status = entry.stat()
            # Size and time are read by nobody: they tell a preparation that goes on whether the file is still the same.
            found[path] = (path, status.st_size, status.st_mtime_ns)
        else:
            others.append(path)
    return _arranged(root, found, others, seed, shares, reader=_InFolder(str(root)), upright=True)


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
    version: tuple[
        int, int
    ]  # size and time, which tell a preparation that goes on whether it is still the same

    def __call__(self, item: Item) -> bytes:
        offset, size = item.where
        file = _opened(self.path, self.packed)
        file.seek(
            offset
        )  # in a gzipped file this reads on to there: cheap in the archive's order, which items have
        data = file.read(min(size, images.LARGEST_FILE + 1))
        if len(data) < min(size, images.LARGEST_FILE + 1):
            raise EOFError('the archive ends within it')
        return data


@functools.lru_cache(maxsize=1)
def _opened(path: str, packed: bool) -> BinaryIO:
    """The archive's bytes, unpacked on the way; opened once in each process."""
    import gzip

    return gzip.open(path, 'rb') if packed else open(path, 'rb')


def _tar(path: Path, seed: int, shares: dict[str, float]) -> Source:
    if not path.is_file():
        raise Mistake(f'{path} is no archive; for a folder choose --config.prepare.source=folder.')
    with open(path, 'rb') as file:
        packed = file.read(2) == b'\x1f\x8b'
    try:
        found, others = _members(path, packed)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise Mistake(
            f'{path} is no whole tar or tar.gz archive ({error}); fetch or make it again.'
        ) from error
    status = path.stat()
    reader = _InArchive(str(path), packed, (status.st_size, status.st_mtime_ns))
    return _arranged(path, found, others, seed, shares, reader=reader, in_order=packed)


def _members(path: Path, packed: bool) -> tuple[dict[str, tuple], list[str]]:
    """Name -> (offset, size) of the images, and the names of other files."""
    found, others = {}, []
    with tarfile.open(path, 'r:gz' if packed else 'r:') as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            if (
                name.is_absolute()
                or '..' in name.parts
                or not (member.isdir() or member.isreg())
                or member.issparse()
            ):
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
            archive.members = []  # tarfile would keep a record of each member
    return found, others


# What folders and archives have in common: paths into classes and splits


def _arranged(path, found, others, seed, shares, *, reader, upright=False, in_order=False) -> Source:
    """The source of the images `found` (path -> where); `in_order` keeps the order in which they were found."""
    if not found:
        raise Mistake(f'{path} holds no image; expected was {FORMS}.')
    parts = _without_wrapper({name: tuple(name.split('/')) for name in found})
    named = {name: FOLDERS.get(part[0].lower()) for name, part in parts.items()}
    has_splits = _has_splits(path, parts, named)
    classes = tuple(sorted({part[1 if has_splits else 0] for part in parts.values()}))
    labels = {name: label for label, name in enumerate(classes)}
    items = collections.defaultdict(list)
    for name in found if in_order else sorted(found):
        part = parts[name]
        identity = '/'.join(part)
        if not identity.isprintable() or any('\ud800' <= letter <= '\udfff' for letter in identity):
            raise Mistake(f'{path}: the name {identity!r} is not plain text in UTF-8; rename it.')
        item = Item(identity, labels[part[1 if has_splits else 0]], found[name])
        items[named[name] if has_splits else 'train'].append(item)
    splits, note = _split(items, has_splits, seed, shares)
    _check(path, classes, splits, shares)
    if others:
        endings = collections.Counter(
            PurePosixPath(name).suffix.lower() or 'without ending' for name in others
        )
        kinds = ', '.join(f'{ending} {count}' for ending, count in sorted(endings.items()))
        note += f' Passed over, being neither JPEG, PNG nor WebP by name: {kinds}.'
    name = re.sub(r'\W+', '_', path.name.split('.')[0].lower(), flags=re.ASCII).strip('_') or 'images'
    return Source(
        name if name[0].isalpha() else f'images_{name}', classes, splits, note, seed, reader, upright
    )


def _without_wrapper(parts: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Paths without the folders that all have in common, such as imagenette2/ above train/ and val/."""
    while True:
        first = next(iter(parts.values()))[0]
        if first.lower() in FOLDERS or any(part[0] != first or len(part) < 3 for part in parts.values()):
            return parts
        parts = {name: part[1:] for name, part in parts.items()}


def _has_splits(path: Path, parts: dict[str, tuple[str, ...]], named: dict[str, str | None]) -> bool:
    """Whether the first folder names the split; a class may be called train, but then stands beside other classes."""
    for name, part in parts.items():
        if len(part) < 2:
            raise Mistake(f'{path}: the image {name} lies in no class folder; expected was {FORMS}.')
    splits = [name for name, split in named.items() if split]
    if len(splits) == len(parts):
        shallow = next((name for name in splits if len(parts[name]) < 3), None)
        if shallow is None:
            return True
        raise Mistake(
            f'{path}: the image {shallow} lies in no class folder within its split; expected was {FORMS}.'
        )
    if any(len(parts[name]) > 2 for name in splits):
        other = next(name for name, split in named.items() if not split)
        raise Mistake(f'{path}: {other} lies beside the splits, in none of them; expected was {FORMS}.')
    return False


def _split(items, has_splits, seed, shares) -> tuple[dict[str, tuple[Item, ...]], str]:
    """The splits there are, those that can be made, and the sentence that tells which is which."""
    splits = {split: tuple(items[split]) for split in SPLITS if items[split]}
    note = f'As the source has them: {", ".join(splits)}.' if has_splits else 'The source has no splits.'
    if 'validation' in splits and 'test' not in splits:
        splits['test'] = splits.pop('validation')
        note += " The source's validation split is the test split here."
    wanted = {
        split: share for split, share in shares.items() if split not in splits and share and 'train' in splits
    }
    if wanted:
        chances = {item: _chance(seed, item.id) for item in splits['train']}
        start = 0.0
        made = {}
        for split, share in wanted.items():
            made[split] = tuple(item for item, chance in chances.items() if start <= chance < start + share)
            start += share
        splits['train'] = tuple(item for item, chance in chances.items() if chance >= start)
        splits |= made
        shared = ' and '.join(f'{share:.0%} to {split}' for split, share in wanted.items())
        note += f' Of the training images {shared}, by a hash of seed {seed} and the id.'
    return {split: splits[split] for split in SPLITS if split in splits}, note


def _chance(seed: int, identity: str) -> float:
    """A number in [0, 1) that depends on the seed and the id alone."""
    digest = hashlib.blake2b(f'{seed}:{identity}'.encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'big') / 2**64


def _check(
    path: Path, classes: tuple[str, ...], splits: dict[str, tuple[Item, ...]], shares: dict[str, float]
) -> None:
    """Raises Mistake unless there is something to learn and, where shares were asked for, something to test."""
    if len(classes) < 2:
        raise Mistake(
            f'{path} holds one class alone, {classes[0]!r}; a classifier needs two. Expected was {FORMS}.'
        )
    if not splits.get('train'):
        raise Mistake(f'{path} holds no training images; expected was {FORMS}.')
    for split, share in shares.items():
        if share and not splits.get(split):
            raise Mistake(
                f'{path}: none of the images fell to {split}; give more images, another --config.prepare.seed, '
                f'or a larger share than {share} (0 for no such split).'
            )
    trained = {item.label for item in splits['train']}
    missing = [name for label, name in enumerate(classes) if label not in trained]
    if missing:
        raise Mistake(
            f'{path}: of the classes {", ".join(missing[:5])} ({len(missing)} in all) there is no training image; '
            'add some, or remove the classes.'
        )


KINDS: dict[str, Callable] = {'cutouts': _cutouts, 'folder': _folder, 'tar': _tar}
