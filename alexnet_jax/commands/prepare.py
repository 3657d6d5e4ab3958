"""--mode=prepare: write a dataset from a source of images, and draw what the network will see of it."""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.config import build, parse
from alexnet_jax.distributed import heartbeat, initialize
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import signals

if TYPE_CHECKING:
    from alexnet_jax.data.dataset import Dataset
    from alexnet_jax.data.encoding import EncodingSpec
    from alexnet_jax.prepare.sources import Source

POLL_SECONDS = 2.0  # between two checks for the dataset that another process prepares
PREPARED = 'the dataset is prepared'  # phase of process 0 from which on the others must see the dataset

log = logging.getLogger(__name__)


def locate_dataset(config: ConfigDict, workdir: str) -> Path:
    """Return the folder of the run's dataset: data.directory, else `dataset` in the workdir.

    A dataset in an object store is read from a copy in the workdir.
    """
    if config.data.directory and not _remote_url(config):
        return Path(os.path.expanduser(config.data.directory))
    if not workdir:
        missing = '--workdir=...' if _remote_url(config) else '--config.data.directory=... or --workdir=...'
        raise UserError(f'No folder is given for the dataset on this machine. Set {missing}.')
    return Path(workdir) / 'dataset'


def _remote_url(config: ConfigDict) -> str:
    """Return the dataset's address in an object store, empty if it is not in one."""
    from alexnet_jax.data import remote_storage

    return config.data.directory if remote_storage.is_remote_url(config.data.directory) else ''


def ensure_local(config: ConfigDict, dataset_dir: Path) -> bool:
    """Copy the dataset to `dataset_dir` if it is in an object store; return whether it is in `dataset_dir` now."""
    from alexnet_jax.data import remote_storage

    url = _remote_url(config)
    if url and not has_dataset(dataset_dir) and remote_storage.remote_dataset_exists(url):
        log.info('Copying the dataset from %s to %s.', url, dataset_dir)
        remote_storage.download_dataset(url, dataset_dir)
    return has_dataset(dataset_dir)


def has_dataset(dataset_dir: Path) -> bool:
    """Return whether `dataset_dir` holds a finished dataset."""
    from alexnet_jax.data import dataset

    return (dataset_dir / dataset.MANIFEST_FILE).exists()


def check_num_classes(config: ConfigDict, num_classes: int, subject: str) -> None:
    """Raise UserError unless model.num_classes fits the images of `subject`."""
    if config.model.num_classes not in (0, num_classes):
        missing = '' if config.prepare.source == 'cutouts' else ', or get the missing images'
        raise UserError(
            f'config.model.num_classes is {config.model.num_classes}, but {subject} has {num_classes} classes. '
            f'Set --config.model.num_classes=0 to take their number{missing}.'
        )


def check_plateau_split(config: ConfigDict, splits: Collection[str], subject: str) -> None:
    """Raise UserError if the schedule depends on the validation error and `subject` has no validation split."""
    if config.train.schedule == 'plateau' and 'validation' not in splits:
        raise UserError(
            f'config.train.schedule=plateau needs a validation split, but {subject} has only {", ".join(splits)}. '
            'Set --config.train.schedule=step, or prepare it with --config.prepare.validation_fraction above 0.'
        )


def prepare(config: ConfigDict, workdir: str = '') -> dict[str, Any]:
    """Write the dataset unless it is there; return its counts by split, classes and seconds.

    Logs a summary of what was found, draws a contact sheet and uploads the dataset if it belongs into an object store.
    In a run of several processes the first prepares and the others wait.
    """
    from alexnet_jax.data import dataset, remote_storage
    from alexnet_jax.prepare import builder, dataset_report, output_dir

    dataset_dir = locate_dataset(config, workdir)
    ensure_local(config, dataset_dir)
    if not initialize.is_primary():
        return _wait_for_primary(config, dataset_dir)
    fields, source = config.prepare, _open_source(config)
    check_num_classes(config, len(source.class_names), fields.path or f'the source {source.name}')
    check_plateau_split(config, source.splits, f'the source {source.name}')
    log.info('Preparing %s in %s: %s', source.name, dataset_dir, source.note)
    interruptible = signals.interrupt_immediately('finished shards are kept; rerun the same command to continue.')
    with _remove_if_empty_on_error(dataset_dir.parent), interruptible:
        summary = builder.prepare_dataset(
            source,
            dataset_dir,
            _encoding_spec(config),
            num_workers=fields.num_workers,
            max_unreadable=fields.max_unreadable,
        )
    report = json.loads((dataset_dir / output_dir.REPORT_FILE).read_text())
    log.info('%s', dataset_report.summarize_report(report))
    contact_sheet = dataset_dir / output_dir.CONTACT_SHEET_FILE
    _draw_contact_sheet(config, dataset.open_dataset(dataset_dir), source, report, contact_sheet)
    if url := _remote_url(config):
        remote_storage.upload_dataset(dataset_dir, url)
        log.info('Uploaded the dataset to %s.', url)
    heartbeat.set_phase(PREPARED)
    return summary


def check_same_images(config: ConfigDict, dataset_dir: str) -> None:
    """Raise UserError unless config.prepare.path has the images, classes and splits that the dataset was made of."""
    from alexnet_jax.data import dataset
    from alexnet_jax.prepare import builder

    identity = builder.dataset_identity(_open_source(config), _encoding_spec(config))
    manifest = dataset.read_manifest(dataset_dir)
    if any(identity[key] != manifest[key] for key in ('classes', 'found', 'listing')):
        raise UserError(
            f'config.prepare.path {config.prepare.path!r} has other images than the dataset of this run in '
            f'{dataset_dir}. Leave config.prepare.path empty to continue on that dataset, or choose another --workdir.'
        )


def _encoding_spec(config: ConfigDict) -> EncodingSpec:
    from alexnet_jax.data.encoding import EncodingSpec

    return EncodingSpec(config.prepare.image_size, config.prepare.encoding, config.prepare.jpeg_quality)


def _open_source(config: ConfigDict) -> Source:
    from alexnet_jax.prepare import sources

    fields = config.prepare
    options = sources.SourceOptions(
        seed=fields.seed,
        validation_fraction=fields.validation_fraction,
        test_fraction=fields.test_fraction,
        expected_counts=fields.expected_counts,
        verify_md5=fields.verify_md5,
        image_size=fields.image_size,
        num_cutouts=parse.split_counts(config.prepare.num_cutouts),
    )
    return sources.open_source(fields.source, os.path.expanduser(fields.path), options)


def _wait_for_primary(config: ConfigDict, dataset_dir: Path) -> dict[str, Any]:
    """Wait until process 0 has prepared the dataset; return its counts by split."""
    from alexnet_jax.data import dataset

    heartbeat.set_phase(f'waiting for the dataset in {dataset_dir}')
    since = None  # when process 0 was first seen to have it
    while not ensure_local(config, dataset_dir):
        heartbeat.exit_if_primary_exited()
        if heartbeat.primary_phase() == PREPARED:
            since = since or time.monotonic()
            # A shared disk shows it in less.
            if time.monotonic() - since > config.machine.peer_timeout:
                raise UserError(
                    f'Process 0 has prepared the dataset, but {dataset_dir} on {socket.gethostname()} has none. '
                    'Prepare or copy it there, or set --config.data.directory to a folder that all hosts share.'
                )
        time.sleep(POLL_SECONDS)
    return dict(dataset.open_dataset(dataset_dir).counts)


@contextlib.contextmanager
def _remove_if_empty_on_error(folder: Path) -> Iterator[None]:
    """Remove `folder` if the block created it, raises UserError and leaves nothing in it."""
    existed = folder.exists()
    try:
        yield
    except UserError:
        if not existed:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _draw_contact_sheet(config: ConfigDict, data: Dataset, source: Source, report: dict[str, Any], file: Path) -> None:
    """Draw some images of some classes, spread over the training split."""
    from alexnet_jax.report.plots import contact_sheet

    num_classes = len(data.class_names)
    arch = build.preset_architecture(config, num_classes)
    crop_size = min(arch.crop_size, data.image_size)
    records_by_class = collections.defaultdict(list)
    readable = (item for item in source.splits['train'] if item.id not in report['left_out'])
    for record, item in enumerate(readable):
        records_by_class[item.label].append(record)
    counts = [len(records_by_class[label]) for label in range(num_classes)]
    rows, labels = [], contact_sheet.select_classes(counts)
    for label in labels:
        spread = np.linspace(0, counts[label] - 1, min(contact_sheet.IMAGES_PER_CLASS, counts[label]))
        records = np.array(records_by_class[label], np.int64)[spread.astype(int)]
        images = _augmented_samples(config, data, records, crop_size)
        rows.append(contact_sheet.ClassRow(data.class_descriptions[label], counts[label], images))
    title = f'{data.name}: {sum(counts):,} training images of {num_classes:,} classes'
    subtitle = f'as the network will see them: {crop_size} of {data.image_size} pixels, randomly mirrored and lit'
    if len(labels) < num_classes:
        subtitle += f'; {len(labels)} of the classes, from the smallest to the largest'
    contact_sheet.draw_contact_sheet(rows, data.mean, max(counts), file, title=title, subtitle=subtitle)
    log.info('Drew what the network will see: %s', file)


def _augmented_samples(config: ConfigDict, data: Dataset, records: np.ndarray, crop_size: int) -> np.ndarray:
    """Return those training images as the first epoch shows them, uint8 (n, crop, crop, 3), but with the mean."""
    from alexnet_jax.data import augment, pipeline

    augmentation = build.augmentation(config, data.pca_basis, crop_size)
    train_data = pipeline.TrainPipeline(data.split('train'), augmentation, seed=config.seed, batch_size=1)
    return augment.preview_images(train_data.examples(np.zeros_like(records), records, np.arange(len(records))))
