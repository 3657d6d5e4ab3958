"""Finish a dataset whose shards are written: statistics, TFDS metadata, report, README, and last the manifest."""

import importlib.metadata
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.data import dataset, statistics
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import dataset_readme, output_dir, shard_writer
from alexnet_jax.prepare.dataset_report import ReportBuilder
from alexnet_jax.prepare.sources import Source
from alexnet_jax.runtime import atomic_io

PACKAGES = ('array_record', 'numpy', 'pillow', 'scikit-image', 'simplejpeg', 'tensorflow-datasets')

ShardJobs = Mapping[str, Sequence[shard_writer.ShardJob]]  # by split, in order


def finalize_dataset(
    directory: Path, source: Source, identity: Mapping[str, Any], jobs: ShardJobs, read_jobs: ShardJobs
) -> dict:
    """Write all files but the shards of `jobs`, and return the manifest, of which `identity` is a part.

    Sums and findings are in the metadata of `read_jobs`. Raises UserError if a class has lost all its training images.
    """
    report = _write_statistics(directory, source, read_jobs)
    files, lengths, payloads = _collect_shards(jobs)
    counts = {split: sum(of_split) for split, of_split in lengths.items()}
    if counts != report['images']:
        raise RuntimeError(f'{counts} records of {report["images"]} images')
    manifest = {
        'format': dataset.FORMAT_VERSION,
        **identity,
        'counts': counts,
        'words': list(source.class_descriptions),
        'note': source.note,
        'versions': {package: importlib.metadata.version(package) for package in PACKAGES},
        'files': files,
    }
    dataset.write_tfds_metadata(directory, manifest, shard_lengths=lengths, num_bytes=payloads)
    texts = {
        output_dir.REPORT_FILE: json.dumps(report, indent=1),
        output_dir.README_FILE: dataset_readme.format_readme(manifest, report),
    }
    for name, text in texts.items():
        with atomic_io.write_atomic(directory / name) as file:
            file.write(text)
    for name in sorted(output_dir.METADATA_FILES):
        path = directory / name
        atomic_io.sync_to_disk(path)
        files[name] = {'bytes': path.stat().st_size, 'sha256': atomic_io.file_checksum(path)}
    manifest['checksum'] = dataset.manifest_checksum(manifest)
    with atomic_io.write_atomic(directory / dataset.MANIFEST_FILE) as file:
        file.write(json.dumps(manifest, indent=1))
    return manifest


def _write_statistics(directory: Path, source: Source, jobs: ShardJobs) -> dict[str, Any]:
    """Write the statistics of the training split; return the report."""
    builder = ReportBuilder(source.class_names)
    total, products = np.int64(0), np.int64(0)
    for split, of_split in jobs.items():
        for job in of_split:
            # Its sum is as large as an image, so one after the other.
            metadata = shard_writer.read_shard_metadata(job.metadata_path)
            builder.add_shard(split, job.items, metadata)
            if split == 'train':
                total, products = total + metadata.total, products + metadata.products
    report = builder.build()
    trained = {source.class_names[item.label] for job in jobs['train'] for item in job.items}
    if lost := sorted(name for name in trained if not report['images_by_class'][name]['train']):
        raise UserError(
            f'All training images of {len(lost)} classes are unreadable ({", ".join(lost[:5])}). Repair or remove them.'
        )
    with atomic_io.write_atomic(directory / dataset.STATISTICS_FILE, 'wb') as file:
        np.savez(file, **statistics.compute_statistics(total, products, report['images']['train']))
    return report


def _collect_shards(jobs: ShardJobs) -> tuple[dict[str, dict], dict[str, list[int]], dict[str, int]]:
    """Return size and checksum of each shard by name; by split, the records of each shard and the bytes of all."""
    files, lengths, payloads = {}, {}, {}
    for split, of_split in jobs.items():
        lengths[split], payloads[split] = [], 0
        for job in of_split:
            metadata = shard_writer.read_shard_metadata(job.metadata_path)
            files[os.path.basename(job.path)] = {'bytes': metadata.bytes, 'sha256': metadata.sha256}
            lengths[split].append(metadata.records)
            payloads[split] += metadata.payload
    return files, lengths, payloads
