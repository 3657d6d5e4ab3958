"""The probabilities of a run for a set of images, over the views of config.evaluate, as files of features."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.analysis.feature_files import FeatureFiles, open_features
from alexnet_jax.analysis.feature_writer import FeatureWriter
from alexnet_jax.analysis.view_probabilities import LAYER, ViewProbabilities
from alexnet_jax.commands import evaluate, export, factories, features
from alexnet_jax.commands.run_family import RunAddress
from alexnet_jax.config import build
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.image_files import NO_LABEL
from alexnet_jax.evaluate.view_places import Views, describe_views
from alexnet_jax.prepare import wordnet

DEFAULT_DIRECTORY = '{workdir}/predictions/{step}'


class StoredProbabilities(NamedTuple):
    """A run's probabilities as files, the checkpoint that they are of, and the images."""

    address: RunAddress
    step: int
    files: FeatureFiles
    readable_class_names: tuple[str, ...]
    source: str  # of the images
    split: str  # '' for images that --images names

    @property
    def array(self) -> np.ndarray:
        """Return float32 (N, K), read from the disk when it is used."""
        return self.files[LAYER]

    @property
    def labels(self) -> np.ndarray | None:
        """Return int32 (N,), or None if some are not known."""
        return None if np.any(self.files.labels == NO_LABEL) else self.files.labels


def store_probabilities(config: ConfigDict, address: RunAddress) -> StoredProbabilities:
    """Write the probabilities of a run for the images of --images, else of its dataset's split, unless they are there.

    Raises UserError if an image cannot be read: each needs an answer.
    """
    if address.step:
        config = ConfigDict(config.to_dict())
        config.evaluate.checkpoint = address.step
    run_config, info = evaluate.read_trained_run(config, address.run_dir)
    # As a preparation of ImageNet takes them: published results ignore their EXIF.
    upright = not wordnet.are_wordnet_ids(info.class_names)
    images = features.open_images(config, run_config, info, address.run_dir, upright=upright)
    evaluate.check_same_classes(info, images.class_names, images.source)
    run, views = evaluate.load_run(run_config, info, address.run_dir), build.report_views(config)
    evaluator = factories.make_evaluator(run.config, info, run.model, run.mesh, views=views, num_images=len(images))
    extractor = ViewProbabilities(evaluator, num_classes=len(info.class_names), image_size=info.image_size)
    weights = export.run_weights(run, address.run_dir)
    metadata = features.describe_features(run, weights, extractor, images) | {'views': views}
    metadata['preprocessing']['crop'] = f'{describe_views(views)}, {run.model.arch.crop_size} pixels'
    template = f'{config.features.directory or DEFAULT_DIRECTORY}/{images.split or "images"}_{_name_views(views)}'
    writer = FeatureWriter(
        Path(address.expand(template, step=str(run.step))),
        metadata,
        extractor.shapes,
        extractor.options.dtype,
        num_images=len(images),
        notes={'run': str(Path(address.run_dir).absolute()), 'images': images.source},
    )
    with writer:
        features.write_features(writer, run, extractor, images, threads=config.data.num_threads)
    if unreadable := [*images.errors, *writer.unreadable]:
        raise UserError(
            f'{len(unreadable)} images could not be read, and each needs an answer: {unreadable[0]} Mend or remove '
            f'them, delete {writer.directory}, and run the same command again.'
        )
    files = open_features(writer.directory)
    return StoredProbabilities(address, run.step, files, info.readable_class_names, images.source, images.split)


def check_same_images(stored: Sequence[StoredProbabilities]) -> None:
    """Raise UserError unless all runs answered to the same images, labels and classes."""
    first = stored[0]
    for other in stored[1:]:
        if other.readable_class_names != first.readable_class_names:
            difference = 'other classes'
        elif other.files.ids != first.files.ids or not np.array_equal(other.files.labels, first.files.labels):
            difference = 'other images'
        else:
            continue
        raise UserError(
            f'{other.address.run_dir} has {difference} than {first.address.run_dir}, so they have no average. Name '
            'runs of one dataset, or the images by --images.'
        )


def _name_views(views: Views) -> str:
    """Return the views as part of a folder's name: '10', or eight characters that a list gives."""
    return str(views) if isinstance(views, int) else hashlib.sha256(views.encode()).hexdigest()[:8]
