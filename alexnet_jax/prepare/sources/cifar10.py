"""CIFAR-10 as its authors publish it in binary: cifar-10-binary.tar.gz (Krizhevsky 2009), read without unpacking.

A record is a byte for the label and 3,072 for the pixels: 32 rows of red, then of green, then of blue.
"""

import collections
import dataclasses
from pathlib import Path, PurePosixPath

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources import checksums, tar
from alexnet_jax.prepare.sources.base import Source, SourceOptions, SourceSpec, build_source
from alexnet_jax.prepare.splits import Item, LabeledImage, assign_splits

MD5 = 'c32a1d4ab5d03f1284b67883e8d87530'  # of the archive, as its authors publish it
DOWNLOAD_HINT = 'download it from https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz'
IMAGE_SIZE = 32
RECORD_BYTES = 1 + 3 * IMAGE_SIZE * IMAGE_SIZE
FILES = {**{f'data_batch_{number}.bin': 'train' for number in range(1, 6)}, 'test_batch.bin': 'test'}
CLASS_NAMES_FILE = 'batches.meta.txt'


@dataclasses.dataclass(frozen=True)
class Cifar10Reader:
    """Reads records, fast in the archive's order: `location` is offset and size of the pixels, unpacked."""

    archive: tar.CompressedTarReader

    @property
    def identity(self) -> str:
        return f'InCifar(archive={self.archive.identity})'

    def __call__(self, item: Item) -> np.ndarray:
        planes = np.frombuffer(self.archive(item), np.uint8).reshape(3, IMAGE_SIZE, IMAGE_SIZE)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))


def open_cifar10(path: Path, options: SourceOptions) -> Source:
    """Open 50,000 images to train on, a fraction of which becomes the validation split, and 10,000 to test.

    The MD5 sum of the archive is checked unless options.expected_counts is 'any' (a part, or one packed anew).
    """
    if not path.is_file():
        raise UserError(f'{path} is no archive; {DOWNLOAD_HINT}.')
    if options.expected_counts != 'any':
        hint = f'{DOWNLOAD_HINT}, or use it as it is with --config.prepare.expected_counts=any'
        checksums.check_md5(path, MD5, hint=hint)
    members = {PurePosixPath(member.name).name: member for member in tar.iter_members(path)}
    if missing := [name for name in (*FILES, CLASS_NAMES_FILE) if name not in members]:
        raise UserError(f'{path} lacks {", ".join(missing)}; {DOWNLOAD_HINT}.')
    names = tar.read_member(path, members[CLASS_NAMES_FILE]).decode(errors='replace').split()
    images = collections.defaultdict(list)
    for name, split in FILES.items():
        start, labels = members[name].offset, _read_labels(path, members[name], len(names))
        for number, label in enumerate(labels):
            location = start + number * RECORD_BYTES + 1, RECORD_BYTES - 1
            images[split].append(LabeledImage(f'{name[:-4]}/{number:05d}', names[label], location))
    assignment = assign_splits(images, origin=str(path), seed=options.seed, fractions=options.fractions)
    reader = Cifar10Reader(tar.CompressedTarReader(str(path), tar.file_version(path)))
    return dataclasses.replace(build_source('cifar10', assignment, options, reader), sequential=True)


def _read_labels(path: Path, member: tar.Member, num_classes: int) -> list[int]:
    """Return the labels of a file's records. Raises UserError if it is not a file of records."""
    data = np.frombuffer(tar.read_member(path, member), np.uint8)
    labels = data[::RECORD_BYTES]
    if len(data) != member.size or len(data) % RECORD_BYTES or labels.max(initial=0) >= num_classes:
        raise UserError(
            f'{path}: {member.name} does not consist of records of {RECORD_BYTES:,} bytes; {DOWNLOAD_HINT}.'
        )
    return labels.tolist()


SPEC = SourceSpec('cifar10', 'the file cifar-10-binary.tar.gz', open_cifar10, lacks_validation=True)
