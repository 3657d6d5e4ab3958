"""One shard: images in, an ArrayRecord file out, with sums for the statistics and an account of it.

Made by any process, in any order, any number of times: the same bytes. Knows nothing of other shards.
"""

import contextlib
import dataclasses
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from alexnet_jax.data import dataset, images, records
from alexnet_jax.data.sources import Item, Source
from alexnet_jax.mistakes import Mistake

PARTIAL = '.partial'  # the ending of what is being written; killed preparations leave such files behind
# Records can be read one by one; photographs hardly shrink, and unpacking would take longer than reading.
OPTIONS = 'group_size:1,uncompressed'


@dataclasses.dataclass(frozen=True)
class Job:
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
        return hashlib.sha256(repr((dataset.FORMAT, OPTIONS, *deciding)).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Account:
    """What is known of a whole shard. The sums are whole numbers: in which order they are added is the same."""

    fingerprint: str
    bytes: int
    sha256: str
    payload: int  # bytes of its records
    total: np.ndarray  # int64 (side, side, 3): the sum of its images
    products: np.ndarray  # int64 (3, 3): the sum over its pixels of colour times colour


def make(job: Job, tick: Callable[[int], None]) -> list[str]:
    """Makes the shard unless it is there and whole; `tick` is told how many more images were dealt with.

    The answer is a sentence for each image that cannot be read; where there are any, there is no shard.
    """
    fingerprint = job.fingerprint()
    if _is_whole(job, fingerprint):
        tick(len(job.items))
        return []
    partial = job.path + PARTIAL
    payload, total, products = 0, np.zeros((job.side, job.side, 3), np.int64), np.zeros((3, 3), np.int64)
    unreadable = []
    with _written(partial) as write:
        for item in job.items:
            try:
                stored, image = _image(job, item)
            except images.Unreadable as mistake:
                unreadable.append(str(mistake))
            else:
                record = records.pack(stored, item.label, item.id)
                write(record)
                payload += len(record)
                total += image
                products += _products(image)
            tick(1)
    if unreadable:
        os.unlink(partial)
        return unreadable
    size, checksum = os.path.getsize(partial), dataset.file_checksum(partial)
    put_in_place(partial, job.path)
    _write_account(job.account, Account(fingerprint, size, checksum, payload, total, products))
    return []


@contextlib.contextmanager
def _written(path: str) -> Iterator[Callable[[bytes], object]]:
    """Takes the records of an ArrayRecord file; what goes wrong leaves no file behind."""
    writer = ArrayRecordWriter(path, OPTIONS)
    try:
        yield writer.write
        writer.close()  # a full disk is often noticed only here
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(path)
        if isinstance(error, (OSError, RuntimeError)):
            raise Mistake(f'{path} cannot be written ({error}); make room and run it again.') from error
        raise


def _image(job: Job, item: Item) -> tuple[bytes, np.ndarray]:
    """What is stored of an image, and the pixels that readers will see."""
    found = job.source.read(item)
    if isinstance(found, bytes):
        found = images.decode(found, name=item.id, upright=job.source.upright)
    square = images.resize_and_crop(found, job.side)
    if job.encoding == 'raw':
        return square.tobytes(), square
    stored = images.encode_jpeg(square, job.quality)
    return stored, images.decode(stored)


def _products(image: np.ndarray) -> np.ndarray:
    """Colour times colour over the pixels of an image, int64 (3, 3). Exact: whole numbers far below 2 ** 53."""
    planes = np.ascontiguousarray(image.reshape(-1, 3).T, dtype=np.float64)
    # Not by BLAS: its threads wait for one another by spinning, and where other programs want the cores as well, each
    # of these small products then takes a hundred times as long.
    return np.array([[np.einsum('i,i->', a, b) for b in planes] for a in planes]).astype(np.int64)


def _is_whole(job: Job, fingerprint: str) -> bool:
    """Whether the shard lies there as an earlier preparation of the same images accounted for it."""
    try:
        account = read_account(job.account)
        return account.fingerprint == fingerprint and dataset.file_checksum(job.path) == account.sha256
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return False


def read_account(path: str) -> Account:
    """The account of a whole shard."""
    with np.load(path, allow_pickle=False) as file:
        return Account(**{name: file[name] if file[name].ndim else file[name].item() for name in file.files})


def _write_account(path: str, account: Account) -> None:
    with whole(path) as file:
        np.savez(file, **dataclasses.asdict(account))


@contextlib.contextmanager
def whole(path: str | os.PathLike) -> Iterator:
    """A binary file that appears under its name when it is written and synced, and never half."""
    partial = os.fspath(path) + PARTIAL
    with open(partial, 'wb') as file:
        yield file
    put_in_place(partial, path)


def put_in_place(partial: str, path: str | os.PathLike) -> None:
    """Gives a finished file its name, once its bytes are on the disk; then the name is too."""
    sync(partial)
    os.rename(partial, path)
    sync(os.path.dirname(path))


def sync(path: str | os.PathLike) -> None:
    """Waits until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
