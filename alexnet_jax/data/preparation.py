"""Preparation: a source becomes a dataset, in shards that are each written aside, synced and renamed.

Killed at any moment and started again, it goes on with the shards that are missing; the bytes depend neither
on that nor on the number of processes. The manifest comes last: before it is there, nothing takes the
directory for a dataset. Joins sources, shards and statistics; training knows nothing of it.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from alexnet_jax.data import dataset, labour, shards, statistics
from alexnet_jax.data.sources import SPLITS, Item, Source
from alexnet_jax.mistakes import Mistake

ENCODINGS = ('jpeg', 'raw')
SHARD = 1024  # images; more where a split would otherwise have more than so many shards
ASIDE = '.preparing'  # a folder for the accounts of whole shards and the lock; gone when the dataset is whole
LOCK = 'lock'
OTHERS = (*dataset.DESCRIPTION, dataset.STATISTICS)
NAMES = rf'\w+-\w+\.array_record-\d{{5,}}-of-\d{{5,}}|{"|".join(map(re.escape, (*OTHERS, dataset.MANIFEST)))}'
OURS = re.compile(rf'({NAMES})({re.escape(shards.PARTIAL)})?')
PACKAGES = ('array_record', 'numpy', 'pillow', 'scikit-image', 'simplejpeg', 'tensorflow-datasets')
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
    """Writes a dataset into `directory`: {'train': images, ..., 'classes': n, 'side': pixels, 'seconds': s}.

    Of every image the centre square, `side` pixels, as JPEG of that quality or raw; over the training split the
    mean image and the covariance of the colours, of the pixels as they are stored. By so many `workers`: one is
    this very process, more are new ones. Where the same dataset lies already, nothing is done.
    Raises Mistake where another dataset or foreign files lie there, while another process prepares it, and for
    images that cannot be read: all of them are named at the end, and what was made is kept for the next time.
    """
    began = time.monotonic()
    _check(source, side, encoding, quality, workers)
    directory = Path(directory).absolute()
    settings = _settings(source, side, encoding, quality)
    manifest = _same(directory, settings)
    if manifest is None:
        _claim(directory)
        with _alone(directory):
            jobs = _jobs(source, directory, side, encoding, quality)
            # Another process may have ended it between our look and our lock.
            manifest = _same(directory, settings)
            if manifest is None:
                _make(directory, jobs, workers, progress)
                manifest = _finish(directory, source, settings, jobs)
    shutil.rmtree(directory / ASIDE, ignore_errors=True)  # also what a kill at this very place left
    seconds = time.monotonic() - began
    return {**manifest['counts'], 'classes': len(manifest['classes']), 'side': side, 'seconds': seconds}


def _check(source: Source, side: int, encoding: str, quality: int, workers: int) -> None:
    if encoding not in ENCODINGS:
        raise Mistake(f'Unknown encoding {encoding!r}; there are: {", ".join(ENCODINGS)}.')
    if side < 1 or workers < 1 or not 1 <= quality <= 100:
        raise Mistake(
            f'Side ({side}) and workers ({workers}) must be at least 1, the quality ({quality}) 1 to 100.'
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


def _same(directory: Path, settings: dict) -> dict | None:
    """The manifest of the dataset that is there, if one is: it has to be sound and the one that was asked for."""
    if not (directory / dataset.MANIFEST).exists():
        return None
    dataset.open_dataset(directory)
    manifest = dataset.read_manifest(directory)
    different = [key for key, value in settings.items() if manifest[key] != value]
    if different:
        shown = [f'{key} {manifest[key]}, not {settings[key]}' for key in different if key != 'listing']
        raise Mistake(
            f'{directory} holds another dataset ({"; ".join(shown) or "other images"}); '
            'give another directory, or delete this one to prepare it anew.'
        )
    return manifest


def _claim(directory: Path) -> None:
    """Makes the directory ours, unless it is somebody's."""
    try:
        if directory.exists() and not (directory / ASIDE).exists():
            foreign = sorted(name for name in os.listdir(directory) if not OURS.fullmatch(name))
            if foreign:
                raise Mistake(
                    f'{directory} holds other things, such as {foreign[0]!r}; give an empty or a new directory.'
                )
        (directory / ASIDE).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f'{directory} cannot become a dataset ({error}); give another directory.') from error


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Holds the directory against a second preparation; however this process ends, the system lets go of it."""
    with open(directory / ASIDE / LOCK, 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Mistake(f'{directory} is being prepared by another process; wait for it to end.') from None
        yield


def _clear(directory: Path, jobs: dict[str, list[shards.Job]]) -> None:
    """Removes what killed preparations left half done, and shards that the present one does not have."""
    wanted = {path for split in jobs.values() for job in split for path in (job.path, job.account)}
    for folder in (directory, directory / ASIDE):
        for path in folder.iterdir():
            ours = OURS.fullmatch(path.name) if folder == directory else path.name != LOCK
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


def _make(directory: Path, jobs: dict[str, list[shards.Job]], workers: int, progress: bool) -> None:
    """Makes all shards that are not there yet. Raises Mistake where there are images that cannot be read."""
    _clear(directory, jobs)
    unreadable = labour.make([job for split in jobs.values() for job in split], workers, progress)
    if unreadable:
        more = [f'... and {len(unreadable) - LISTED} more.'] if len(unreadable) > LISTED else []
        raise Mistake('\n'.join([f'{len(unreadable)} images cannot be read:', *unreadable[:LISTED], *more]))


# The end


def _finish(directory: Path, source: Source, settings: dict, jobs: dict[str, list[shards.Job]]) -> dict:
    """Writes the statistics, TFDS's description, and last the manifest, which it gives back."""
    files, payloads = {}, dict.fromkeys(jobs, 0)
    total, products = np.int64(0), np.int64(0)  # of the training split
    for split, job in [(split, job) for split, of_split in jobs.items() for job in of_split]:
        account = shards.read_account(job.account)  # as large as an image, so one after the other
        files[os.path.basename(job.path)] = {'bytes': account.bytes, 'sha256': account.sha256}
        payloads[split] += account.payload
        if split == 'train':
            total, products = total + account.total, products + account.products
    with shards.whole(directory / dataset.STATISTICS) as file:
        np.savez(file, **statistics.from_sums(total, products, settings['counts']['train']))
    dataset.describe(
        directory,
        name=source.name,
        classes=source.classes,
        side=settings['side'],
        encoding=settings['encoding'],
        note=source.note,
        shard_lengths={split: [len(job.items) for job in jobs[split]] for split in jobs},
        payloads=payloads,
    )
    for path in sorted(directory.iterdir()):
        if path.is_file() and path.name in OTHERS:
            shards.sync(path)
            files[path.name] = {'bytes': path.stat().st_size, 'sha256': dataset.file_checksum(path)}
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
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
