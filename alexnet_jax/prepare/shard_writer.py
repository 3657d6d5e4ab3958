"""Write one shard: an ArrayRecord file of encoded images, and the metadata that say it is complete.

Any process may write any shard at any time and any number of times: the bytes are the same.
"""

import collections
import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from alexnet_jax.data import dataset, example_proto, image_io
from alexnet_jax.data.encoding import RAW, EncodingSpec
from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources import Item, Source
from alexnet_jax.runtime import atomic_io

# Records can be read one by one; photographs hardly shrink, and unpacking would take longer than reading.
WRITER_OPTIONS = 'group_size:1,uncompressed'


@dataclasses.dataclass(frozen=True)
class ShardJob:
    """All that a process needs to write a shard."""

    path: str  # of the shard
    metadata_path: str  # written after the shard
    source: Source  # for its reader; without its splits, which may be millions of items
    items: tuple[Item, ...]
    spec: EncodingSpec

    def fingerprint(self) -> str:
        """Return the SHA-256 of everything that decides the shard's bytes.

        Its text is a format: a build that was killed continues with the shards that have the fingerprint it expects.
        """
        spec = self.spec
        items = [f'Item(id={item.id!r}, label={item.label!r}, where={item.location!r})' for item in self.items]
        listing = f'({items[0]},)' if len(items) == 1 else f'({", ".join(items)})'
        text = (
            f'({dataset.FORMAT_VERSION}, {WRITER_OPTIONS!r}, {self.source.reader.identity}, {self.source.upright}, '
            f'{listing}, {spec.image_size}, {spec.encoding!r}, {spec.effective_quality})'
        )
        return hashlib.sha256(text.encode()).hexdigest()


def _no_numbers() -> np.ndarray:
    return np.zeros(0, np.int64)


@dataclasses.dataclass(frozen=True)
class ShardMetadata:
    """One complete shard's metadata, under the names of the file's entries. Sums are exact in any order of addition.

    Shards that were reordered have neither sums nor findings: those of the shards they were made of count.
    """

    fingerprint: str
    bytes: int
    sha256: str
    records: int
    payload: int  # bytes of its records
    # Sum of the images, int64 (image_size, image_size, 3); sum of color times color over their pixels, int64 (3, 3).
    total: np.ndarray = dataclasses.field(default_factory=_no_numbers)
    products: np.ndarray = dataclasses.field(default_factory=_no_numbers)
    # Of each record's image as it is stored, uint64: equal images have equal ones.
    digests: np.ndarray = dataclasses.field(default_factory=_no_numbers)
    forms: dict[str, int] = dataclasses.field(default_factory=dict)  # JPEG, PNG or WEBP -> images
    odd: dict[str, list[str]] = dataclasses.field(default_factory=dict)  # an anomaly of image_io -> ids
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)  # id of an unreadable image -> a sentence


def write_shard(job: ShardJob, report_progress: Callable[[int], None]) -> list[str]:
    """Write the shard unless it is complete; return a sentence for each unreadable image, which is left out.

    `report_progress` gets the number of images handled since its last call.
    """
    if is_shard_complete(job):
        report_progress(len(job.items))
        return []
    size = job.spec.image_size
    payload, total, products = 0, np.zeros((size, size, 3), np.int64), np.zeros((3, 3), np.int64)
    digests, forms, left_out = [], collections.Counter(), {}
    odd = collections.defaultdict(list)
    with open_record_writer(job.path) as write:
        for item in job.items:
            try:
                stored, image, decoded = _encode_image(job, item)
            except image_io.UnreadableImage as error:
                left_out[item.id] = str(error)
            else:
                record = example_proto.encode_example(stored, item.label, item.id)
                write(record)
                payload += len(record)
                total += image
                products += _color_products(image)
                digests.append(hashlib.blake2b(stored, digest_size=8).digest())
                for anomaly in decoded.anomalies if decoded else ():
                    odd[anomaly].append(item.id)
                forms.update([decoded.format] if decoded else [])
            report_progress(1)
    write_shard_metadata(
        job,
        records=len(digests),
        payload=payload,
        total=total,
        products=products,
        digests=np.frombuffer(b''.join(digests), np.dtype('<u8')),
        forms=dict(forms),
        odd=dict(odd),
        left_out=left_out,
    )
    return list(left_out.values())


@contextlib.contextmanager
def open_record_writer(path: str) -> Iterator[Callable[[bytes], object]]:
    """Yield a function that writes a record to the ArrayRecord file `path`, which appears when the block ends.

    Raises UserError if the file cannot be written.
    """
    with atomic_io.atomic_path(path) as temp:
        writer = ArrayRecordWriter(str(temp), WRITER_OPTIONS)
        try:
            yield writer.write
            # A full disk is often noticed only here.
            writer.close()
        except (OSError, RuntimeError) as error:
            raise UserError(f'{path} cannot be written ({error}). Free some disk space and run it again.') from error


def _encode_image(job: ShardJob, item: Item) -> tuple[bytes, np.ndarray, image_io.DecodedImage | None]:
    """Return the bytes to store, the pixels that readers will see, and the decoded file, if the image came in one."""
    found, decoded = job.source.read(item), None
    size = job.spec.image_size
    if isinstance(found, bytes):
        found, decoded = image_io.decode_center_square(found, size, name=item.id, upright=job.source.upright)
    square = image_io.resize_and_crop(found, size)
    if job.spec.encoding == RAW:
        return square.tobytes(), square, decoded
    stored = image_io.encode_jpeg(square, job.spec.jpeg_quality)
    return stored, image_io.decode_image(stored), decoded


def _color_products(image: np.ndarray) -> np.ndarray:
    """Return the sum over pixels of color times color, int64 (3, 3). Exact: whole numbers far below 2 ** 53."""
    planes = np.ascontiguousarray(image.reshape(-1, 3).T, dtype=np.float64)
    # Not by BLAS: its threads wait for one another by spinning, and where other programs want the cores as well, each
    # of these small products then takes a hundred times as long.
    red, green, blue = planes
    pairs = (red, red), (red, green), (red, blue), (green, green), (green, blue), (blue, blue)
    rr, rg, rb, gg, gb, bb = (np.einsum('i,i->', a, b) for a, b in pairs)
    return np.array([[rr, rg, rb], [rg, gg, gb], [rb, gb, bb]]).astype(np.int64)


def is_shard_complete(job: Any) -> bool:
    """Return whether the files of a ShardJob or ReorderJob are there and intact, from the same images and settings.

    A shard with images left out does not count: they may have been repaired.
    """
    try:
        metadata = read_shard_metadata(job.metadata_path)
        same = metadata.fingerprint == job.fingerprint() and not metadata.left_out
        return same and atomic_io.file_checksum(job.path) == metadata.sha256
    except Exception:  # zipfile and NumPy answer damage with nearly every kind of exception there is
        return False


def read_shard_metadata(path: str) -> ShardMetadata:
    """Read what `write_shard_metadata` wrote."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return ShardMetadata(**json.loads(arrays.pop('rest').item()), **arrays)


def write_shard_metadata(job: Any, **fields: Any) -> None:
    """Write the metadata of a ShardJob's or ReorderJob's finished shard: `fields` are those about its records."""
    size, checksum = os.path.getsize(job.path), atomic_io.file_checksum(job.path)
    metadata = vars(ShardMetadata(fingerprint=job.fingerprint(), bytes=size, sha256=checksum, **fields))
    arrays = {name: value for name, value in metadata.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in metadata.items() if name not in arrays}
    with atomic_io.write_atomic(job.metadata_path, 'wb') as file:
        np.savez(file, rest=json.dumps(rest), **arrays)
