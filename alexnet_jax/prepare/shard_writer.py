"""One shard: images in, an ArrayRecord file out, with sums for the statistics and an account of it.

Made by any process, in any order, any number of times: the same bytes. Knows nothing of other shards.
"""

import collections
import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from alexnet_jax.data import dataset, example_proto, image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources import Item, Source
from alexnet_jax.runtime import atomic_io

# Records can be read one by one; photographs hardly shrink, and unpacking would take longer than reading.
WRITER_OPTIONS = 'group_size:1,uncompressed'


@dataclasses.dataclass(frozen=True)
class ShardJob:
    """All that a process needs to make a shard."""

    path: str  # of the shard
    account: str  # of the file that says it is whole, written after it
    source: Source  # for its reader; without its splits, which may be millions of items
    items: tuple[Item, ...]
    side: int
    encoding: str
    quality: int

    def fingerprint(self) -> str:
        """SHA-256 over everything that decides the shard's bytes."""
        source = self.source
        deciding = (source.reader, source.upright, self.items, self.side, self.encoding, self.quality)
        return hashlib.sha256(repr((dataset.FORMAT_VERSION, WRITER_OPTIONS, *deciding)).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class ShardMetadata:
    """What is known of a whole shard. The sums are whole numbers: in which order they are added is the same."""

    fingerprint: str
    bytes: int
    sha256: str
    records: int
    payload: int  # bytes of its records
    total: np.ndarray  # int64 (side, side, 3): the sum of its images
    products: np.ndarray  # int64 (3, 3): the sum over its pixels of color times color
    digests: np.ndarray  # uint64, of each record's image as it is stored: equal ones show the same
    forms: dict[str, int]  # JPEG, PNG or WEBP -> images
    odd: dict[str, list[str]]  # a word of images.ODD -> ids
    left_out: dict[str, str]  # the id of an image that cannot be read -> a sentence about it


def write_shard(job: ShardJob, tick: Callable[[int], None]) -> list[str]:
    """Makes the shard unless it is there and whole; `tick` is told how many more images were dealt with.

    The answer is a sentence for each image that cannot be read; these are left out of the shard.
    """
    fingerprint = job.fingerprint()
    if is_shard_complete(job, fingerprint):
        tick(len(job.items))
        return []
    payload, total, products = 0, np.zeros((job.side, job.side, 3), np.int64), np.zeros((3, 3), np.int64)
    digests, forms, left_out = [], collections.Counter(), {}
    odd = collections.defaultdict(list)
    with atomic_io.atomic_path(job.path) as partial:
        with open_record_writer(partial) as write:
            for item in job.items:
                try:
                    stored, image, opened = _encode_image(job, item)
                except image_io.UnreadableImage as mistake:
                    left_out[item.id] = str(mistake)
                else:
                    record = example_proto.encode_example(stored, item.label, item.id)
                    write(record)
                    payload += len(record)
                    total += image
                    products += _color_products(image)
                    digests.append(hashlib.blake2b(stored, digest_size=8).digest())
                    for word in opened.odd if opened else ():
                        odd[word].append(item.id)
                    forms.update([opened.form] if opened else [])
                tick(1)
        size, checksum = os.path.getsize(partial), atomic_io.file_checksum(partial)
    # Kept in place of a dictionary for each image.
    digests = np.frombuffer(b''.join(digests), np.dtype('<u8'))
    account = ShardMetadata(
        fingerprint,
        size,
        checksum,
        len(digests),
        payload,
        total,
        products,
        digests,
        dict(forms),
        dict(odd),
        left_out,
    )
    write_shard_metadata(job.account, account)
    return list(left_out.values())


@contextlib.contextmanager
def open_record_writer(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Takes the records of an ArrayRecord file. Raises UserError if it cannot be written."""
    writer = ArrayRecordWriter(str(path), WRITER_OPTIONS)
    try:
        yield writer.write
        writer.close()  # a full disk is often noticed only here
    except (OSError, RuntimeError) as error:
        raise UserError(f'{path} cannot be written ({error}); make room and run it again.') from error


def _encode_image(job: ShardJob, item: Item) -> tuple[bytes, np.ndarray, image_io.DecodedImage | None]:
    """What is stored of an image, the pixels that readers will see, and its file as it was found, if there is one."""
    found, opened = job.source.read(item), None
    if isinstance(found, bytes):
        found, opened = image_io.decode_center_square(found, job.side, name=item.id, upright=job.source.upright)
    square = image_io.resize_and_crop(found, job.side)
    if job.encoding == 'raw':
        return square.tobytes(), square, opened
    stored = image_io.encode_jpeg(square, job.quality)
    return stored, image_io.decode_image(stored), opened


def _color_products(image: np.ndarray) -> np.ndarray:
    """Color times color over the pixels of an image, int64 (3, 3). Exact: whole numbers far below 2 ** 53."""
    planes = np.ascontiguousarray(image.reshape(-1, 3).T, dtype=np.float64)
    # Not by BLAS: its threads wait for one another by spinning, and where other programs want the cores as well, each
    # of these small products then takes a hundred times as long.
    red, green, blue = planes
    pairs = (red, red), (red, green), (red, blue), (green, green), (green, blue), (blue, blue)
    rr, rg, rb, gg, gb, bb = (np.einsum('i,i->', a, b) for a, b in pairs)
    return np.array([[rr, rg, rb], [rg, gg, gb], [rb, gb, bb]]).astype(np.int64)


def is_shard_complete(job: Any, fingerprint: str) -> bool:
    """Whether the shard lies there as an earlier preparation of the same images accounted for it.

    One that had to do without some of its images does not count: they may have been mended.
    """
    try:
        account = read_shard_metadata(job.account)
        same = account.fingerprint == fingerprint and not account.left_out
        return same and atomic_io.file_checksum(job.path) == account.sha256
    except Exception:  # zipfile and NumPy answer damage with nearly every kind of exception there is
        return False


def read_shard_metadata(path: str) -> ShardMetadata:
    """The account of a whole shard."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return ShardMetadata(**json.loads(arrays.pop('rest').item()), **arrays)


def write_shard_metadata(path: str, account: ShardMetadata) -> None:
    """Appears under its name when it is whole."""
    fields = vars(account)
    arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in fields.items() if name not in arrays}
    with atomic_io.write_atomic(path, 'wb') as file:
        np.savez(file, rest=json.dumps(rest), **arrays)
