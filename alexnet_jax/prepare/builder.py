"""Preparation: a source becomes a dataset, in shards that are each written aside, synced and renamed.

Killed at any moment and started again, it goes on with the shards that are missing; the bytes depend neither
on that nor on the number of processes. The manifest comes last: before it is there, nothing takes the
directory for a dataset. Joins sources, shards and statistics; training knows nothing of it.
"""

import contextlib
import dataclasses
import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet_jax.data import dataset
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import finalize, output_dir, reorder_shards, shard_writer, worker_pool
from alexnet_jax.prepare.output_dir import STAGING_DIR
from alexnet_jax.prepare.sources import SPLITS, Item, Source

ENCODINGS = ('jpeg', 'raw')
MIN_SHARD_SIZE = 1024  # images; more where a split would otherwise have more than so many shards
MAX_LISTED = 10  # unreadable images that are named one by one
MAX_EXTRA_FAILURES = 100  # unreadable images beyond those allowed, at which it is not worth going on
MIN_SHARDS_TO_KEEP = 10  # shards; where an end by unreadable images finds fewer made, they are not kept for the next time

ShardJobs = dict[str, list[shard_writer.ShardJob]]  # by split, in order


def prepare_dataset(
    source: Source,
    directory: str | os.PathLike,
    *,
    side: int,
    encoding: str = 'jpeg',
    quality: int = 95,
    workers: int = 1,
    unreadable: int = 0,
    progress: bool = True,
) -> dict:
    """Writes a dataset into `directory`: {'train': images, ..., 'classes': n, 'side': pixels, 'seconds': s}.

    Of every image the center square, `side` pixels, as JPEG of that quality or raw; over the training split the
    mean image and the covariance of the colors, of the pixels as they are stored. By so many `workers`: one is
    this very process, more are new ones. Where the same dataset lies already, nothing is done.
    Raises UserError where another dataset or foreign files lie there, while another process prepares it, where the disk
    has no room, and for more images that cannot be read than `unreadable`: they are named at the end, and what was
    made is kept for the next time, unless that is little. So many or fewer are left out.
    """
    began = time.monotonic()
    _check(source, side, encoding, quality, workers)
    directory = Path(directory).absolute()
    settings = _dataset_identity(source, side, encoding, quality)
    manifest = _existing_manifest(directory, settings)
    if manifest is None:
        twice = source.streamed and not _is_in_read_order(source)
        images = sum(settings['found'].values())
        output_dir.require_space_for_dataset(directory, images, side, encoding, quality, twice=twice)
        output_dir.claim_output_dir(directory)
        with output_dir.lock_output_dir(directory):
            # Another process may have ended it between our look and our lock.
            manifest = _existing_manifest(directory, settings)
            if manifest is None:
                jobs = _plan_shards(source, directory, settings)
                made = _write_shards(source, directory, jobs, settings, workers, progress, unreadable)
                manifest = finalize.finalize_dataset(directory, source, settings, jobs, made)
    output_dir.remove_staging_dir(directory)
    seconds = time.monotonic() - began
    return {**manifest['counts'], 'classes': len(manifest['classes']), 'side': side, 'seconds': seconds}


def _check(source: Source, side: int, encoding: str, quality: int, workers: int) -> None:
    if encoding not in ENCODINGS:
        raise UserError(f'Unknown encoding {encoding!r}; there are: {", ".join(ENCODINGS)}.')
    if side < 1 or workers < 1 or not 1 <= quality <= 100:
        raise UserError(
            f'Side ({side}) and workers ({workers}) must be at least 1, the quality ({quality}) 1 to 100.'
        )
    if not source.splits.get('train'):
        raise UserError(f'The source {source.name!r} has no training images.')


def _dataset_identity(source: Source, side: int, encoding: str, quality: int) -> dict:
    """What makes two datasets the same: the images by their ids, labels and splits, and what is done to them."""
    listing = hashlib.sha256()
    for split in SPLITS:
        for item in source.splits.get(split, ()):
            listing.update(f'{split}\0{item.label}\0{item.id}\n'.encode())
    return {
        'name': source.name,
        'classes': list(source.classes),
        'found': {split: len(source.splits[split]) for split in SPLITS if source.splits.get(split)},
        'listing': listing.hexdigest(),
        'seed': source.seed,
        'side': side,
        'encoding': encoding,
        'quality': quality if encoding == 'jpeg' else 0,
    }


def _existing_manifest(directory: Path, settings: dict) -> dict | None:
    """The manifest of the dataset that is there, if one is: it has to be sound and the one that was asked for."""
    if not (directory / dataset.MANIFEST_FILE).exists():
        return None
    dataset.open_dataset(directory)
    manifest = dataset.read_manifest(directory)
    different = [key for key, value in settings.items() if manifest.get(key) != value]
    if different:
        shown = [f'{key} {manifest.get(key)}, not {settings[key]}' for key in different if key != 'listing']
        raise UserError(
            f'{directory} holds another dataset ({"; ".join(shown) or "other images"}); '
            'give another directory, or delete this one to prepare it anew.'
        )
    return manifest


# The work


def _plan_shards(source: Source, directory: Path, settings: Mapping[str, Any], *, as_read: bool = False) -> ShardJobs:
    """The shards of each split, in order; or those of its records `as_read`, which lie aside."""
    reader = dataclasses.replace(source, splits={}, words=())
    form = {name: settings[name] for name in ('side', 'encoding', 'quality')}
    jobs = {}
    for split in settings['found']:
        items = source.splits[split]
        parts = _split_into_shards(sorted(items, key=_place) if as_read else items)
        prefix = f'read-{split}' if as_read else f'{source.name}-{split}'
        names = [f'{prefix}.array_record-{i:05d}-of-{len(parts):05d}' for i in range(len(parts))]
        folder, aside = directory / STAGING_DIR if as_read else directory, directory / STAGING_DIR
        jobs[split] = [
            shard_writer.ShardJob(str(folder / name), str(aside / f'{name}.npz'), reader, tuple(of_job), **form)
            for name, of_job in zip(names, parts, strict=True)
        ]
    return jobs


def _place(item: Item) -> tuple:
    return item.location


def _is_in_read_order(source: Source) -> bool:
    """Whether the order of the ids is one in which the source can be read from end to end."""
    places = [[item.location for item in items] for items in source.splits.values()]
    return all(of_split == sorted(of_split) for of_split in places)


def _split_into_shards(items: Sequence[Item]) -> list[Sequence[Item]]:
    size = max(MIN_SHARD_SIZE, -(-len(items) // MIN_SHARD_SIZE))
    return [items[start : start + size] for start in range(0, len(items), size)]


def _write_shards(
    source: Source,
    directory: Path,
    jobs: ShardJobs,
    settings: Mapping[str, Any],
    workers: int,
    progress: bool,
    unreadable: int,
) -> ShardJobs:
    """Makes all shards that are not there yet; the answer is those whose accounts tell of the images."""
    made = jobs
    if source.streamed and not _is_in_read_order(source):
        made = _plan_shards(source, directory, settings, as_read=True)
    every = [*_all_jobs(jobs), *_all_jobs(made)]
    output_dir.clean_output_dir(directory, {path for job in every for path in (job.path, job.account)})
    enough = unreadable + MAX_EXTRA_FAILURES
    sentences = sorted(
        worker_pool.run_jobs(shard_writer.write_shard, list(_all_jobs(made)), workers, progress, enough=enough)
    )
    if len(sentences) > unreadable:
        _clean_after_failure(directory, made)
        more = [f'... and {len(sentences) - MAX_LISTED} more.'] if len(sentences) > MAX_LISTED else []
        count = f'{len(sentences)} image{"s" if len(sentences) > 1 else ""}'
        told = f'{count} cannot be read, and --config.prepare.max_unreadable={unreadable} may be left out:'
        raise UserError('\n'.join([told, *sentences[:MAX_LISTED], *more]))
    if made is not jobs:
        in_order = [job for split in jobs for job in reorder_shards.plan_reordering(jobs[split], made[split])]
        worker_pool.run_jobs(reorder_shards.reorder_shard, in_order, workers, progress)
    return made


def _all_jobs(jobs: ShardJobs) -> Iterator[shard_writer.ShardJob]:
    return (job for of_split in jobs.values() for job in of_split)


def _clean_after_failure(directory: Path, made: ShardJobs) -> None:
    """Leaves nothing behind, unless what was made is worth being gone on with."""
    if sum(os.path.exists(job.account) for job in _all_jobs(made)) < MIN_SHARDS_TO_KEEP:
        output_dir.clean_output_dir(directory, ())
        output_dir.remove_staging_dir(directory)
        with contextlib.suppress(OSError):  # where it was there before, with pictures in it
            directory.rmdir()
