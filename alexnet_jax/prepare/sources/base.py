"""What every kind of source gives, and how one made of paths (folders, archives) is put together."""

import dataclasses
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from alexnet_jax.data import image_io
from alexnet_jax.prepare.sources import expected_counts
from alexnet_jax.prepare.splits import (
    Item,
    SplitAssignment,
    assign_splits,
    find_labels,
    sibling_folders,
    skipped_files_note,
)


class Reader(Protocol):
    """Reads the items of one source; plain data, so that it can go to other processes."""

    @property
    def identity(self) -> str:
        """Return the text that stands for the reader in fingerprints of shards.

        It never changes, whatever the class and its fields are called: a preparation that was killed goes on
        with the shards whose fingerprints are still the same.
        """

    def __call__(self, item: Item) -> bytes | np.ndarray:
        """Return what `Source.read` returns; raises OSError, EOFError or zlib.error if that fails."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Images with labels, in splits. Everything is plain data, so that it can go to other processes."""

    name: str  # letters, digits and underscores: datasets' files are called by it
    classes: tuple[str, ...]  # label -> name
    splits: dict[str, tuple[Item, ...]]  # of SPLITS those that exist
    note: str  # how the splits came about, and what was passed over
    seed: int  # that decided what was left to chance
    reader: Reader
    upright: bool = False  # whether images are turned as their EXIF orientation asks
    words: tuple[str, ...] = ()  # label -> what the class is called, where that is more than its name
    streamed: bool = False  # whether items are best read in the order of `location`, others costing a new start

    def read(self, item: Item) -> bytes | np.ndarray:
        """The file's bytes, or the pixels (uint8, height x width x 3) where there is no file.

        Raises images.Unreadable, with the item's id, where the file has gone or cannot be read.
        """
        try:
            return self.reader(item)
        except (OSError, EOFError, zlib.error) as error:
            raise image_io.UnreadableImage(f'{item.id}: cannot be read ({error}); mend or remove it.') from error


USTAR = slice(257, 262)  # where a tar's first header says what it is
COUNT_CHECKS = ('official', 'listed', 'any')


@dataclasses.dataclass(frozen=True)
class SourceOptions:
    """What is asked of a source beside its path; each kind takes what concerns it."""

    seed: int  # decides seeded splits
    shares: Mapping[
        str, float
    ]  # of the training images, for the splits 'validation' and 'test' where there are none
    expect: str = 'official'  # how many images ImageNet's own forms must hold: a word of EXPECTATIONS


def source_from_paths(
    path: Path,
    found: Mapping[str, tuple],
    others: Iterable[str],
    wanted: SourceOptions,
    reader: Reader,
    *,
    words: Mapping[str, str] | None = None,
    streamed: bool = False,
) -> Source:
    """The source of images found in a folder or archive (path -> where), in the order of their ids.

    `others` are the paths of files that are no images, to be counted in the note; `words` what classes are called.
    With the 1,000 classes of ImageNet and official counts expected, the images have to be as many.
    """
    images, as_found = find_labels(found, origin=str(path))
    others, label = list(others), next(iter(images.values()))[0].label
    if wanted.expect == 'official':
        expected_counts.check_imagenet_counts(images, str(path))
    arrangement = assign_splits(
        images,
        origin=str(path),
        seed=wanted.seed,
        shares=wanted.shares,
        as_found=as_found,
        without=sibling_folders(found, others, label),
    )
    note = arrangement.note + skipped_files_note(others)
    return build_source(source_name(path), arrangement, wanted, reader, note=note, words=words, streamed=streamed)


def build_source(
    name: str,
    arrangement: SplitAssignment,
    wanted: SourceOptions,
    reader: Reader,
    *,
    note: str,
    words: Mapping[str, str] | None = None,
    streamed: bool = False,
) -> Source:
    """The source of what is arranged already. ImageNet's photographs are used as they are stored, others upright."""
    return Source(
        name=name,
        classes=arrangement.classes,
        splits=arrangement.splits,
        note=note,
        seed=wanted.seed,
        reader=reader,
        upright=not arrangement.is_imagenet,
        words=tuple(words.get(name, name) for name in arrangement.classes) if words else (),
        streamed=streamed,
    )


def source_name(path: Path) -> str:
    """A source's name from that of its folder or archive."""
    name = re.sub(r'\W+', '_', path.name.split('.')[0].lower(), flags=re.ASCII).strip('_')
    return name if name[:1].isalpha() else f'images_{name}'.strip('_')


def unique_class_names(names: Sequence[str]) -> list[str]:
    """Names of classes, by label, as folders could bear them; the label comes before where two are the same."""
    numbered = (f'{label:04d} {name}' if names.count(name) > 1 else name for label, name in enumerate(names))
    return [name.replace('/', '-') for name in numbered]


def archive_kind(path: Path) -> str:
    """The source that an archive is of, 'zip' or 'tar', by its first bytes; empty for what seems to be neither."""
    if not path.is_file():
        return ''
    with open(path, 'rb') as file:
        head = file.read(USTAR.stop)
    if head.startswith(b'PK'):
        return 'zip'
    return 'tar' if head.startswith(image_io.GZIP_MAGIC) or head[USTAR] == b'ustar' else ''


def is_hidden(name: str) -> bool:
    """What systems leave lying about: .DS_Store, ._cat.jpg, __MACOSX."""
    return name.startswith('.') or name == '__MACOSX'
