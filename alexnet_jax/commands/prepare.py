"""Mode prepare: a source of images becomes a prepared dataset."""

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

from alexnet_jax.config import validate
from alexnet_jax.distributed import heartbeat, initialize
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import signals

if TYPE_CHECKING:
    from alexnet_jax.data.dataset import Dataset
    from alexnet_jax.prepare.sources import Source

POLL_SECONDS = 2.0  # seconds between two looks at what another process makes
PREPARED = 'the dataset is prepared'  # where process 0 says it stands, and after which the others see it, or never will

log = logging.getLogger(__name__)


def locate_dataset(config: ConfigDict, workdir: str) -> Path:
    """Where the prepared dataset of a run lies: data.directory, else `dataset` in the workdir.

    One in an object store is read from a copy, which lies in the workdir.
    """
    if config.data.directory and not _remote_url(config):
        return Path(config.data.directory).expanduser()
    if not workdir:
        wanted = '--workdir=...' if _remote_url(config) else '--config.data.directory=... or --workdir=...'
        raise UserError(f'Nothing says where the dataset goes on this machine; give {wanted}.')
    return Path(workdir) / 'dataset'


def _remote_url(config: ConfigDict) -> str:
    """The address of the dataset in an object store, if it is to lie in one."""
    from alexnet_jax.data import remote_storage

    return config.data.directory if remote_storage.is_remote_url(config.data.directory) else ''


def ensure_local(config: ConfigDict, target: Path) -> bool:
    """Whether the dataset is in `target`, to which it is copied where it lies in an object store."""
    from alexnet_jax.data import remote_storage

    url = _remote_url(config)
    if url and not has_dataset(target) and remote_storage.remote_dataset_exists(url):
        log.info('Copying the dataset from %s to %s.', url, target)
        remote_storage.download_dataset(url, target)
    return has_dataset(target)


def has_dataset(target: Path) -> bool:
    """Whether a whole dataset lies in a folder on a disk."""
    from alexnet_jax.data import dataset

    return (target / dataset.MANIFEST_FILE).exists()


def check_num_classes(config: ConfigDict, classes: int, where: str) -> None:
    """The images have as many classes as the network is to tell apart. Raises UserError."""
    if config.model.num_classes not in (0, classes):
        missing = '' if config.prepare.source == 'cutouts' else ', or fetch the images that are missing'
        raise UserError(
            f'config.model.num_classes is {config.model.num_classes} and {where} has {classes} classes; give '
            f'--config.model.num_classes=0, which takes as many as there are{missing}.'
        )


def check_plateau_split(config: ConfigDict, splits: Collection[str], where: str) -> None:
    """A schedule that steers by the validation error has images to validate on. Raises UserError."""
    if config.train.schedule == 'plateau' and 'validation' not in splits:
        raise UserError(
            f'config.train.schedule is plateau, which steers by a validation split, and {where} has only '
            f'{", ".join(splits)}; give --config.train.schedule=step, or prepare it with --config.prepare.'
            'validation_share above 0.'
        )


def prepare(config: ConfigDict, workdir: str = '') -> dict[str, Any]:
    """Counts by split, classes and seconds; a dataset that is there already, of the same source, is kept as it is.

    Ends with a sentence about what was found, and a contact sheet in the dataset's folder. Of a pod's processes the
    first prepares, and the others wait. A dataset that is to lie in an object store is
    sent there at the end.
    """
    from alexnet_jax.data import dataset, remote_storage
    from alexnet_jax.prepare import builder, dataset_report, output_dir, sources

    wanted = config.prepare
    target = locate_dataset(config, workdir)
    ensure_local(config, target)
    if not initialize.leads():
        return _wait_for_primary(config, target)
    source = sources.open_source(
        wanted.source,
        os.path.expanduser(wanted.path),
        side=wanted.side,
        seed=wanted.seed,
        validation_share=wanted.validation_share,
        test_share=wanted.test_share,
        counts=validate.counts(config),
        expect=wanted.expect,
        md5=wanted.md5,
    )
    check_num_classes(config, len(source.classes), wanted.path or f'the source {source.name}')
    check_plateau_split(config, source.splits, f'the source {source.name}')
    log.info('Preparing %s in %s: %s', source.name, target, source.note)
    asked = signals.at_once('what is prepared so far is kept; run the same command to go on.')
    with _remove_if_empty_on_error(target.parent), asked:
        numbers = builder.prepare_dataset(
            source,
            target,
            side=wanted.side,
            encoding=wanted.encoding,
            quality=wanted.quality,
            workers=wanted.workers,
            unreadable=wanted.unreadable,
        )
    report = json.loads((target / output_dir.REPORT_FILE).read_text())
    log.info('%s', dataset_report.summarize_report(report))
    _draw_contact_sheet(config, dataset.open_dataset(target), source, report, target / output_dir.CONTACT_SHEET_FILE)
    if url := _remote_url(config):
        remote_storage.upload_dataset(target, url)
        log.info('The dataset is in %s.', url)
    heartbeat.at(PREPARED)
    return numbers


def _wait_for_primary(config: ConfigDict, target: Path) -> dict[str, Any]:
    """Counts by split, when the one process of the pod that prepares has made the dataset."""
    from alexnet_jax.data import dataset

    heartbeat.at(f'waiting for the dataset in {target}')
    since = None  # when process 0 was first heard to have it
    while not ensure_local(config, target):
        heartbeat.check()
        if heartbeat.first_at() == PREPARED:
            since = since or time.monotonic()
            if time.monotonic() - since > config.machine.peer_timeout:  # a shared disk shows it in less
                raise UserError(
                    f'Process 0 has prepared the dataset, and {target} on {socket.gethostname()} has none; prepare or '
                    'copy it there, or give a --config.data.directory that all hosts share.'
                )
        time.sleep(POLL_SECONDS)
    return dict(dataset.open_dataset(target).counts)


@contextlib.contextmanager
def _remove_if_empty_on_error(folder: Path) -> Iterator[None]:
    """A mistake leaves no empty folder that was not there before."""
    was_there = folder.exists()
    try:
        yield
    except UserError:
        if not was_there:
            with contextlib.suppress(OSError):  # where it was not made, or is not empty
                folder.rmdir()
        raise


def _draw_contact_sheet(config: ConfigDict, data: Dataset, source: Source, report: dict[str, Any], file: Path) -> None:
    """The contact sheet: of some classes some images, spread over the training split."""
    from alexnet_jax.models import presets
    from alexnet_jax.report.plots import contact_sheet

    shape = presets.get(config.model.preset, classes=len(data.classes), **validate.variations(config))
    crop = min(shape.crop, data.side)
    places = collections.defaultdict(list)
    kept = (item for item in source.splits['train'] if item.id not in report['left_out'])
    for record, item in enumerate(kept):
        places[item.label].append(record)
    counts = [len(places[label]) for label in range(len(data.classes))]
    rows, chosen = [], contact_sheet.chosen(counts)
    for label in chosen:
        spread = np.linspace(0, counts[label] - 1, min(contact_sheet.IMAGES, counts[label])).astype(int)
        seen = _augmented_samples(config, data, np.array(places[label], np.int64)[spread], crop)
        rows.append(contact_sheet.Row(data.words[label], counts[label], seen))
    title = f'{data.name}: {sum(counts):,} training images of {len(counts):,} classes'
    subtitle = f'as the network will see them: {crop} of {data.side} pixels, mirrored and lit by chance'
    if len(chosen) < len(counts):
        subtitle += f'; {len(chosen)} of the classes, from the smallest to the largest'
    contact_sheet.sheet(rows, data.mean, max(counts), file, title=title, subtitle=subtitle)
    log.info('What the network will see of it: %s', file)


def _augmented_samples(config: ConfigDict, data: Dataset, numbers: np.ndarray, crop: int) -> list[np.ndarray]:
    """Training images by their records as the first epoch shows them, uint8 (crop, crop, 3), the mean left in."""
    from alexnet_jax.data import augment, statistics

    settings, records = config.augment, data.split('train')
    eigenvalues, eigenvectors = statistics.select_pca_basis(settings.colors, data.eigenvalues, data.eigenvectors)
    drawn = augment.sample_augmentations(
        config.seed,
        np.zeros_like(numbers),
        numbers,
        side=data.side,
        crop=crop,
        mirror=settings.mirror,
        lighting=settings.lighting,
        deviation=settings.lighting_deviation,
        eigenvalues=eigenvalues,
        eigenvectors=eigenvectors,
    )
    seen = []
    for place, record in enumerate(numbers):
        top, left, mirror, lighting = drawn.one(place)
        image = augment.cut(records[int(record)][0], top, left, mirror, np.empty((crop, crop, 3), np.uint8))
        seen.append(np.clip(np.rint(image + lighting), 0, 255).astype(np.uint8))
    return seen
