"""Conclusion: all shards are there; now the statistics, TFDS's description, report and card, and last the manifest."""

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

Jobs = Mapping[str, Sequence[shard_writer.ShardJob]]  # by split, in order


def finalize_dataset(directory: Path, source: Source, settings: Mapping[str, Any], jobs: Jobs, made: Jobs) -> dict:
    """Writes all but the shards of `jobs`, and gives the manifest back. The accounts of `made` tell of the images.

    Raises UserError where a class has lost all its training images.
    """
    report = _write_statistics(directory, source, made)
    files, lengths, payloads = _collect_shards(jobs)
    counts = {split: sum(of_split) for split, of_split in lengths.items()}
    if counts != report['images']:
        raise RuntimeError(f'{counts} records of {report["images"]} images')
    dataset.write_tfds_metadata(
        directory,
        name=source.name,
        classes=source.classes,
        side=settings['side'],
        encoding=settings['encoding'],
        note=source.note,
        shard_lengths=lengths,
        payloads=payloads,
    )
    manifest = {
        'format': dataset.FORMAT_VERSION,
        **settings,
        'counts': counts,
        'words': list(source.words),
        'note': source.note,
        'versions': {package: importlib.metadata.version(package) for package in PACKAGES},
        'files': files,
    }
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


def _write_statistics(directory: Path, source: Source, made: Jobs) -> dict[str, Any]:
    """Writes the statistics of the training split; the answer is the report."""
    found = ReportBuilder(source.classes)
    total, products = np.int64(0), np.int64(0)
    for split, of_split in made.items():
        for job in of_split:
            account = shard_writer.read_shard_metadata(job.account)  # as large as an image, so one after the other
            found.add(split, job.items, account)
            if split == 'train':
                total, products = total + account.total, products + account.products
    report = found.report()
    learnt = {source.classes[item.label] for job in made['train'] for item in job.items}
    if lost := sorted(name for name in learnt if not report['images_by_class'][name]['train']):
        raise UserError(
            f'No training image of {len(lost)} classes can be read ({", ".join(lost[:5])}); mend or remove them.'
        )
    with atomic_io.write_atomic(directory / dataset.STATISTICS_FILE, 'wb') as file:
        np.savez(file, **statistics.compute_statistics(total, products, report['images']['train']))
    return report


def _collect_shards(jobs: Jobs) -> tuple[dict[str, dict], dict[str, list[int]], dict[str, int]]:
    """Of the shards, by name, size and checksum; and by split how many records each has, and the bytes of all."""
    files, lengths, payloads = {}, {}, {}
    for split, of_split in jobs.items():
        lengths[split], payloads[split] = [], 0
        for job in of_split:
            account = shard_writer.read_shard_metadata(job.account)
            files[os.path.basename(job.path)] = {'bytes': account.bytes, 'sha256': account.sha256}
            lengths[split].append(account.records)
            payloads[split] += account.payload
    return files, lengths, payloads
