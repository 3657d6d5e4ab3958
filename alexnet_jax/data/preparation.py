"""Preparation: a source becomes a dataset, in shards that are each written aside, synced and renamed.

Killed at any moment and started again, it goes on with the shards that are missing; the bytes depend neither on that
nor on the number of processes. The manifest comes last: before it is there, nothing takes the directory for a dataset.
Joins sources, shards and statistics; training knows nothing of it.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path

import numpy as np
import tqdm

from alexnet_jax.data import dataset, shards
from alexnet_jax.data.sources import SPLITS, Item, Source
from alexnet_jax.mistakes import Mistake

ENCODINGS = ('jpeg', 'raw')
SHARD = 1024  # images; more where a split would otherwise have more than so many shards
ASIDE = '.preparing'  # accounts of whole shards and the lock; gone when the dataset is whole
SHARDS = re.compile(r'\w+-\w+\.array_record-\d{5,}-of-\d{5,}')
OURS = re.compile(
    rf'({SHARDS.pattern}|{"|".join(map(re.escape, dataset.OTHER_FILES))})({re.escape(shards.PARTIAL)})?'
)
PACKAGES = (
    'alexnet_jax',
    'array_record',
    'numpy',
    'pillow',
    'scikit-image',
    'simplejpeg',
    'tensorflow-datasets',
)
LINE_SECONDS = 10  # between lines of progress where there is no terminal
LISTED = 10  # unreadable images that are named one by one


def prepare(
    source: Source,
    directory: str | os.PathLike,
    *,
    side: int,
    encoding: str = 'jpeg',
    quality: int = 95,
    workers: int = 1,
    progress: bool = True,
) -> dict:
    """Writes the dataset into `directory`: {'train': images, ..., 'classes': n, 'side': pixels, 'seconds': s}.

    Every image's centre square, `side` pixels, as JPEG of that quality or raw; the mean image and the colours'
    covariance of what is stored. `workers` processes; one is this very process. Where the same dataset lies there
    already, nothing is done. Raises Mistake for another dataset, foreign files, or images that cannot be read: these
    are all named at the end, and what was made of the others is kept for the next time.
    """
    began = time.monotonic()
    _check(source, side, encoding, quality, workers)
    directory = Path(directory).absolute()
    settings = _settings(source, side, encoding, quality)
    _claim(directory)
    with _alone(directory):
        if (directory / dataset.MANIFEST).exists():
            manifest = _same(directory, settings)
        else:
            jobs = _jobs(source, directory, side, encoding, quality)
            _clear(directory, jobs)
            _refuse_unreadable(_made(jobs, workers, progress))
            manifest = _finished(directory, source, settings, jobs)
        shutil.rmtree(directory / ASIDE)
    seconds = time.monotonic() - began
    return {**manifest['counts'], 'classes': len(manifest['classes']), 'side': side, 'seconds': seconds}


def _check(source: Source, side: int, encoding: str, quality: int, workers: int) -> None:
    if encoding not in ENCODINGS:
        raise Mistake(f'Unknown encoding {encoding!r}; there are: {", ".join(ENCODINGS)}.')
    if side < 1 or workers < 1 or not 1 <= quality <= 100:
        raise Mistake(
            f'The side ({side}) and the workers ({workers}) must be at least 1, the quality ({quality}) 1 to 100.'
        )
    if not source.splits.get('train'):
        raise Mistake(f'The source {source.name!r} has no training images.')


def _settings(source: Source, side: int, encoding: str, quality: int) -> dict:
    """What makes two datasets the same: the images by their ids, labels and splits, and what is done to them."""
    listing = hashlib.sha256()
    for split in SPLITS:
        for item in source.splits.get(split, ()):
            listing.update(f'{split}\0{item.label}\0{item.id}\n'.encode())
    return {
        'name': source.name,
        'classes': list(source.classes),
        'counts': {split: len(source.splits[split]) for split in SPLITS if source.splits.get(split)},
        'listing': listing.hexdigest(),
        'seed': source.seed,
        'side': side,
        'encoding': encoding,
        'quality': quality if encoding == 'jpeg' else 0,
    }


# The directory


def _claim(directory: Path) -> None:
    """Makes the directory ours, unless it is somebody's."""
    if directory.exists() and not (directory / ASIDE).exists():
        foreign = sorted(name for name in os.listdir(directory) if not OURS.fullmatch(name))
        if foreign:
            raise Mistake(
                f'{directory} holds other things, such as {foreign[0]!r}; give an empty or a new directory.'
            )
    (directory / ASIDE).mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Holds the directory against a second preparation; the system lets go of it when this process ends, however."""
    with open(directory / ASIDE / 'lock', 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Mistake(f'{directory} is being prepared by another process; wait for it.') from None
        yield


def _same(directory: Path, settings: dict) -> dict:
    """The manifest of the dataset that is there, which has to be whole and the one that was asked for."""
    dataset.open_dataset(directory)
    manifest = dataset.read_manifest(directory)
    different = [key for key, value in settings.items() if manifest[key] != value]
    if different:
        shown = ', '.join(
            f'{key} {manifest[key]} (asked for: {settings[key]})' for key in different if key != 'listing'
        )
        raise Mistake(
            f'{directory} holds another dataset: {shown or "of other images"}; '
            'give another directory, or delete this one to prepare it anew.'
        )
    return manifest


def _clear(directory: Path, jobs: dict[str, list[shards.Job]]) -> None:
    """Removes what killed preparations left half done, and shards that the present one does not have."""
    wanted = {path for split in jobs.values() for job in split for path in (job.path, job.account)}
    for folder in (directory, directory / ASIDE):
        for path in folder.iterdir():
            ours = OURS.fullmatch(path.name) if folder == directory else path.name != 'lock'
            if ours and str(path) not in wanted:
                path.unlink()


# The work


def _jobs(
    source: Source, directory: Path, side: int, encoding: str, quality: int
) -> dict[str, list[shards.Job]]:
    """The shards of each split, in order."""
    reader = dataclasses.replace(source, splits={})
    jobs = {}
    for split in SPLITS:
        parts = _parts(source.splits.get(split, ()))
        names = [f'{source.name}-{split}.array_record-{i:05d}-of-{len(parts):05d}' for i in range(len(parts))]
        if parts:
            jobs[split] = [
                shards.Job(
                    path=str(directory / name),
                    account=str(directory / ASIDE / f'{name}.npz'),
                    source=reader,
                    items=items,
                    side=side,
                    encoding=encoding,
                    quality=quality,
                )
                for name, items in zip(names, parts, strict=True)
            ]
    return jobs


def _parts(items: tuple[Item, ...]) -> list[tuple[Item, ...]]:
    size = max(SHARD, -(-len(items) // SHARD))
    return [items[start : start + size] for start in range(0, len(items), size)]


def _made(jobs: dict[str, list[shards.Job]], workers: int, progress: bool) -> list[str]:
    """Makes all shards; the answer names the images that cannot be read."""
    in_order = [job for split in jobs.values() for job in split]
    with _counted(sum(len(job.items) for job in in_order), progress) as count:
        if workers == 1:
            return [sentence for job in in_order for sentence in shards.make(job, count)]
        return _made_by(workers, in_order, count)


def _made_by(workers: int, jobs: list[shards.Job], count: Callable[[int], None]) -> list[str]:
    """The same by several processes, started afresh: a fork would copy threads that hold locks."""
    context = multiprocessing.get_context('spawn')
    done = context.Value('q', 0)
    shown = 0
    pool = futures.ProcessPoolExecutor(min(workers, len(jobs)), context, _begin, (done,))
    try:
        made = [pool.submit(_make, job) for job in jobs]
        waiting = set(made)
        while waiting:
            _, waiting = futures.wait(waiting, timeout=0.2, return_when=futures.FIRST_EXCEPTION)
            count(done.value - shown)
            shown = done.value
            if any(future.done() and future.exception() for future in made):
                break
        return [sentence for future in made for sentence in future.result()]
    except BrokenProcessPool as error:
        raise Mistake(
            'A worker process died, perhaps for want of memory; run it again, if need be with fewer '
            '--config.prepare.workers: it goes on where it was.'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(done) -> None:
    """In a worker: where to count, and an eye on the parent, without which it would wait for work for ever."""
    global _done
    _done = done
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _make(job: shards.Job) -> list[str]:
    return shards.make(job, _tick)


def _tick(number: int) -> None:
    with _done.get_lock():
        _done.value += number


def _refuse_unreadable(sentences: list[str]) -> None:
    if sentences:
        more = [f'... and {len(sentences) - LISTED} more.'] if len(sentences) > LISTED else []
        raise Mistake('\n'.join([f'{len(sentences)} images cannot be read:', *sentences[:LISTED], *more]))


@contextlib.contextmanager
def _counted(total: int, progress: bool) -> Iterator[Callable[[int], None]]:
    """Shows how many images are done: a bar on a terminal, plain lines elsewhere."""
    if not progress:
        yield lambda number: None
        return
    if sys.stderr.isatty():
        with tqdm.tqdm(total=total, desc='preparing', unit=' images') as bar:
            yield bar.update
        return
    began = last = time.monotonic()
    done = 0

    def line(number: int) -> None:
        nonlocal done, last
        done += number
        now = time.monotonic()
        if done == total or now - last >= LINE_SECONDS:
            last = now
            rate = done / max(now - began, 1e-9)
            left = (total - done) / max(rate, 1e-9)
            print(
                f'prepared {done:,} of {total:,} images, {rate:,.0f} a second, {left:,.0f} s left',
                file=sys.stderr,
            )

    yield line


# The end


def _finished(directory: Path, source: Source, settings: dict, jobs: dict[str, list[shards.Job]]) -> dict:
    """Statistics, TFDS's description, and last the manifest."""
    accounts = {split: [shards.read_account(job.account) for job in jobs[split]] for split in jobs}
    with shards.whole(directory / dataset.STATISTICS) as file:
        np.savez(file, **_statistics(accounts['train'], settings['counts']['train']))
    dataset.describe(
        directory,
        name=source.name,
        classes=source.classes,
        side=settings['side'],
        encoding=settings['encoding'],
        note=source.note,
        shard_lengths={split: [len(job.items) for job in jobs[split]] for split in jobs},
        payloads={split: sum(account.payload for account in accounts[split]) for split in jobs},
    )
    files = {
        os.path.basename(job.path): {'bytes': account.bytes, 'sha256': account.sha256}
        for split in jobs
        for job, account in zip(jobs[split], accounts[split], strict=True)
    }
    for path in sorted(directory.iterdir()):
        if path.is_file() and path.name in dataset.OTHER_FILES:
            shards.sync(path)
            files[path.name] = {'bytes': path.stat().st_size, 'sha256': dataset.file_checksum(path)}
    versions = {package: _version(package) for package in PACKAGES}
    manifest = {
        'format': dataset.FORMAT,
        **settings,
        'note': source.note,
        'versions': versions,
        'files': files,
    }
    manifest['checksum'] = dataset.manifest_checksum(manifest)
    with shards.whole(directory / dataset.MANIFEST) as file:
        file.write(json.dumps(manifest, indent=1).encode())
    return manifest


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ''  # not installed, as this package itself in a plain clone


def _statistics(accounts: list[shards.Account], images: int) -> dict[str, np.ndarray]:
    """Mean image, covariance of the colours over all pixels, its eigenvalues (ascending) and eigenvectors (columns)."""
    total = sum(account.total for account in accounts)
    products = sum(account.products for account in accounts)
    sums = total.sum(axis=(0, 1))
    pixels = images * total.shape[0] * total.shape[1]
    # In Python's whole numbers, divided once: exact but for the last rounding.
    covariance = np.array(
        [
            [(pixels * int(products[a, b]) - int(sums[a]) * int(sums[b])) / pixels**2 for b in range(3)]
            for a in range(3)
        ]
    )
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    largest = np.abs(eigenvectors).argmax(axis=0)
    eigenvectors *= np.sign(
        eigenvectors[largest, range(3)]
    )  # either sign is right: the largest entry is positive
    mean = (total / images).astype(np.float32)
    return {'mean': mean, 'covariance': covariance, 'eigenvalues': eigenvalues, 'eigenvectors': eigenvectors}
