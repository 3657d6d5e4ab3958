"""Build a dataset from a source, in shards that are each written atomically.

Killed at any moment and run again, it continues with the missing shards; the bytes depend neither on that nor on the
number of processes. The manifest is written last: until it exists, nothing takes the directory for a dataset.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import operator
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from alexnet_jax.data import dataset
from alexnet_jax.data.encoding import EncodingSpec
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import finalize, output_dir, reorder_shards, shard_writer, worker_pool
from alexnet_jax.prepare.finalize import ShardJobs
from alexnet_jax.prepare.output_dir import STAGING_DIR
from alexnet_jax.prepare.sources import SPLITS, Item, Source

MIN_SHARD_SIZE = 1024  # images; more if a split would otherwise have more than this many shards
MAX_LISTED = 10  # unreadable images named in the message
MAX_EXTRA_FAILURES = 100  # unreadable images beyond those allowed at which the build stops early
MIN_SHARDS_TO_KEEP = 10  # fewer finished shards are deleted when a build fails because of unreadable images


def prepare_dataset(
    source: Source,
    directory: str | os.PathLike,
    spec: EncodingSpec,
    *,
    num_workers: int = 1,
    max_unreadable: int = 0,
    progress: bool = True,
) -> dict:
    """Write a dataset to `directory`; return {'train': images, ..., 'classes': n, 'image_size': pixels, 'seconds': s}.

    Stores the center square of every image as `spec` says, and the mean image and the covariance of the colors over the
    training split, of the pixels as they are stored. One worker is this process, more are new processes. If the
    same dataset is there already, does nothing. At most `max_unreadable` unreadable images are left out; more raise
    UserError, which names them, and what is done is kept for the next run, unless it is little.

    Raises UserError if another dataset or foreign files are in the directory, if another process is preparing it, or if
    the disk is too small.
    """
    start = time.monotonic()
    if num_workers < 1:
        raise UserError(f'The number of workers must be at least 1, not {num_workers}.')
    if not source.splits.get('train'):
        raise UserError(f'The source {source.name!r} has no training images.')
    directory = Path(directory).absolute()
    identity = dataset_identity(source, spec)
    manifest = _existing_manifest(directory, identity)
    if manifest is None:
        num_images, in_read_order = sum(identity['found'].values()), _is_in_read_order(source)
        # Shards in the order of reading are kept until those in the order of ids are written.
        copies = 1 if in_read_order else 2
        output_dir.require_space_for_dataset(directory, num_images, spec, copies)
        output_dir.claim_output_dir(directory)
        with output_dir.lock_output_dir(directory):
            # Another process may have finished it between the first look and the lock.
            manifest = _existing_manifest(directory, identity)
            if manifest is None:
                jobs = read_jobs = _plan_shards(source, directory, spec)
                if not in_read_order:
                    read_jobs = _plan_shards(source, directory, spec, read_order=True)
                run = functools.partial(worker_pool.run_jobs, num_workers=num_workers, progress=progress)
                _write_shards(directory, jobs, read_jobs, run, max_unreadable)
                manifest = finalize.finalize_dataset(directory, source, identity, jobs, read_jobs)
    output_dir.remove_staging_dir(directory)
    return {
        **manifest['counts'],
        'classes': len(manifest['classes']),
        'image_size': spec.image_size,
        'seconds': time.monotonic() - start,
    }


def dataset_identity(source: Source, spec: EncodingSpec) -> dict[str, Any]:
    """Return what two equal datasets have in common, under the manifest's keys: ids, labels, splits and encoding."""
    listing = hashlib.sha256()
    for split in SPLITS:
        for item in source.splits.get(split, ()):
            listing.update(f'{split}\0{item.label}\0{item.id}\n'.encode())
    return {
        'name': source.name,
        'classes': list(source.class_names),
        'found': {split: len(source.splits[split]) for split in SPLITS if source.splits.get(split)},
        'listing': listing.hexdigest(),
        'seed': source.seed,
        'side': spec.image_size,
        'encoding': spec.encoding,
        'quality': spec.effective_quality,
    }


def _existing_manifest(directory: Path, identity: dict[str, Any]) -> dict | None:
    """Return the manifest of the dataset in `directory`, None if there is none.

    Raises UserError if it is damaged or another dataset.
    """
    if not (directory / dataset.MANIFEST_FILE).exists():
        return None
    dataset.open_dataset(directory)
    manifest = dataset.read_manifest(directory)
    different = [key for key, value in identity.items() if manifest.get(key) != value]
    if different:
        shown = [f'{key} {manifest.get(key)}, not {identity[key]}' for key in different if key != 'listing']
        raise UserError(
            f'{directory} holds another dataset ({"; ".join(shown) or "other images"}). '
            'Choose another directory, or delete this one to prepare it again.'
        )
    return manifest


def _plan_shards(source: Source, directory: Path, spec: EncodingSpec, *, read_order: bool = False) -> ShardJobs:
    """Return the shards of each split: in the order of ids in `directory`, or in `read_order` in the staging folder."""
    reader = dataclasses.replace(source, splits={}, class_descriptions=())
    jobs = {}
    for split in filter(source.splits.get, SPLITS):
        items = source.splits[split]
        chunks = _divide_into_shards(sorted(items, key=_location) if read_order else items)
        prefix = f'read-{split}' if read_order else f'{source.name}-{split}'
        names = [f'{prefix}.array_record-{i:05d}-of-{len(chunks):05d}' for i in range(len(chunks))]
        staging = directory / STAGING_DIR
        folder = staging if read_order else directory
        jobs[split] = [
            shard_writer.ShardJob(str(folder / name), str(staging / f'{name}.npz'), reader, tuple(chunk), spec)
            for name, chunk in zip(names, chunks, strict=True)
        ]
    return jobs


_location = operator.attrgetter('location')


def _is_in_read_order(source: Source) -> bool:
    """Return whether items can be read in the order of their ids without starting an archive anew."""
    if not source.sequential:
        return True
    locations = [[item.location for item in items] for items in source.splits.values()]
    return all(of_split == sorted(of_split) for of_split in locations)


def _divide_into_shards(items: Sequence[Item]) -> list[Sequence[Item]]:
    size = max(MIN_SHARD_SIZE, -(-len(items) // MIN_SHARD_SIZE))
    return [items[start : start + size] for start in range(0, len(items), size)]


def _write_shards(
    directory: Path, jobs: ShardJobs, read_jobs: ShardJobs, run: Callable[..., list[str]], max_unreadable: int
) -> None:
    """Write the missing shards of `read_jobs`, and if these are others than `jobs`, reorder them into those."""
    every = [*_all_jobs(jobs), *_all_jobs(read_jobs)]
    output_dir.clean_output_dir(directory, {path for job in every for path in (job.path, job.metadata_path)})
    limit = max_unreadable + MAX_EXTRA_FAILURES
    failures = sorted(run(shard_writer.write_shard, list(_all_jobs(read_jobs)), max_failures=limit))
    if len(failures) > max_unreadable:
        _clean_after_failure(directory, read_jobs)
        more = [f'... and {len(failures) - MAX_LISTED} more.'] if len(failures) > MAX_LISTED else []
        count = f'{len(failures)} image{"s" if len(failures) > 1 else ""}'
        first = f'{count} cannot be read (--config.prepare.max_unreadable={max_unreadable}):'
        raise UserError('\n'.join([first, *failures[:MAX_LISTED], *more]))
    if read_jobs is not jobs:
        reordering = [reorder_shards.plan_reordering(jobs[split], read_jobs[split]) for split in jobs]
        run(reorder_shards.reorder_shard, list(itertools.chain(*reordering)))


def _all_jobs(jobs: ShardJobs) -> Iterator[shard_writer.ShardJob]:
    return itertools.chain.from_iterable(jobs.values())


def _clean_after_failure(directory: Path, jobs: ShardJobs) -> None:
    """Delete everything that was written, unless enough shards are finished to be worth keeping."""
    if sum(os.path.exists(job.metadata_path) for job in _all_jobs(jobs)) < MIN_SHARDS_TO_KEEP:
        output_dir.clean_output_dir(directory, ())
        output_dir.remove_staging_dir(directory)
        # Fails if the folder was there before and has other files in it.
        with contextlib.suppress(OSError):
            directory.rmdir()
