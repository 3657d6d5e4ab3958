"""CIFAR-10 as its authors ship it in binary: cifar-10-binary.tar.gz (Krizhevsky 2009), read where it lies.

A record is a byte for the label and 3,072 for the pixels: 32 rows of red, then of green, then of blue.
"""

import collections
import dataclasses
from pathlib import Path, PurePosixPath

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources import checksums, tar
from alexnet_jax.prepare.sources.base import Source, Wanted, made
from alexnet_jax.prepare.splits import Item, LabeledImage, assign_splits

MD5 = 'c32a1d4ab5d03f1284b67883e8d87530'  # of the archive, as its authors publish it
FETCH = 'fetch it from https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz'
SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE  # bytes
FILES = {**{f'data_batch_{number}.bin': 'train' for number in range(1, 6)}, 'test_batch.bin': 'test'}
NAMES = 'batches.meta.txt'


@dataclasses.dataclass(frozen=True)
class InCifar:
    """Reads records, best in the archive's order: `location` is offset and size of the pixels in what is unpacked."""

    archive: tar.InPacked

    @property
    def identity(self) -> str:
        return f'InCifar(archive={self.archive.identity})'

    def __call__(self, item: Item) -> np.ndarray:
        planes = np.frombuffer(self.archive(item), np.uint8).reshape(3, SIDE, SIDE)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))


def open_cifar10(path: Path, wanted: Wanted) -> Source:
    """50,000 images to train on, of which a share becomes the validation split, and 10,000 to test.

    The whole archive is held against its MD5 sum, unless any is expected: a part of it, or one that was packed anew.
    """
    if not path.is_file():
        raise UserError(f'{path} is no archive; {FETCH}.')
    if wanted.expect != 'any':
        checksums.check_file(
            path, MD5, otherwise=f'{FETCH}, or take it as it is with --config.prepare.expected_counts=any'
        )
    members = {PurePosixPath(member.name).name: member for member in tar.members(path)}
    if missing := [name for name in (*FILES, NAMES) if name not in members]:
        raise UserError(f'{path} lacks {", ".join(missing)}; {FETCH}.')
    names = tar.contents(path, members[NAMES]).decode(errors='replace').split()
    images = collections.defaultdict(list)
    for name, split in FILES.items():
        start, labels = members[name].offset, _labels(path, members[name], len(names))
        images[split] += [
            LabeledImage(f'{name[:-4]}/{number:05d}', names[label], (start + number * RECORD + 1, RECORD - 1))
            for number, label in enumerate(labels)
        ]
    arrangement = assign_splits(images, origin=str(path), seed=wanted.seed, shares=wanted.shares)
    reader = InCifar(tar.InPacked(str(path), tar.version(path)))
    return made('cifar10', arrangement, wanted, reader, note=arrangement.note, streamed=True)


def _labels(path: Path, member: tar.Member, classes: int) -> list[int]:
    """The labels of a file's records. Raises UserError where it is no file of records."""
    data = np.frombuffer(tar.contents(path, member), np.uint8)
    if len(data) != member.size or len(data) % RECORD or data[::RECORD].max(initial=0) >= classes:
        raise UserError(f'{path}: {member.name} is not of records of {RECORD:,} bytes with labels; {FETCH}.')
    return data[::RECORD].tolist()
