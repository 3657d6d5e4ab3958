"""A trained run as the figures need it: its network on one device, its images, and what is computed of them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.analysis.center_view import CenterView
from alexnet_jax.analysis.features import FeatureExtractor, FeatureOptions, iterate_features
from alexnet_jax.analysis.image_set import ImageSet, dataset_image_set
from alexnet_jax.commands import evaluate, export, factories, prepare, run_dir
from alexnet_jax.commands.evaluate import LoadedRun
from alexnet_jax.commands.features import open_images
from alexnet_jax.commands.run_family import RunAddress
from alexnet_jax.config import build
from alexnet_jax.data.dataset import Dataset
from alexnet_jax.data.image_io import UnreadableImage
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.image_files import LabelledImage, read_batches
from alexnet_jax.models.architecture import Architecture, Dense
from alexnet_jax.report.predictions_file import PREDICTIONS_CSV, EvaluationKey, ScoredSplit, read_predictions
from alexnet_jax.runtime.xla_options import compiler_options
from alexnet_jax.train import metrics_writer
from alexnet_jax.weights.model_weights import ModelWeights

# Images that the pictures of single images show (paper, figure 4).
NUM_SHOWN = 8
# At once, where all activations of a layer are kept for the moment.
BATCH_SIZE = 32

log = logging.getLogger(__name__)


class ImageSample(NamedTuple):
    """Some images of a set: uint8 (N, side, side, 3), their labels (-1: not known) and ids, and their numbers."""

    pixels: np.ndarray
    labels: list[int]
    ids: list[str]
    rows: list[int]


class FigureSource:
    """A run in its folder. Whatever a figure does not ask for is neither read nor computed."""

    def __init__(self, config: ConfigDict, address: RunAddress):
        """Raises UserError if there is no trained run."""
        config = ConfigDict(config.to_dict())
        if address.step:
            config.evaluate.checkpoint = address.step
        self.folder, self.step = Path(address.run_dir), int(address.step) if address.step else None
        self.config, self.info = evaluate.read_trained_run(config, address.run_dir)
        self.arch: Architecture = build.preset_architecture(self.config, len(self.info.class_names))
        self.class_names = self.info.short_class_names

    @functools.cached_property
    def run(self) -> LoadedRun:
        """The network at the checkpoint of config.evaluate.checkpoint."""
        return evaluate.load_run(self.config, self.info, str(self.folder))

    @functools.cached_property
    def weights(self) -> ModelWeights:
        """The network on the host, all columns together."""
        return export.run_weights(self.run, str(self.folder))

    @functools.cached_property
    def parameters(self) -> dict[str, Any]:
        """The network's arrays on one device, which computes all columns."""
        return jax.device_put(dict(self.weights.parameters))

    @functools.cached_property
    def view(self) -> CenterView:
        """The crop of an image that the network sees, and its preparation."""
        return CenterView(self.weights.preprocessing, self.arch.crop_size)

    @functools.cached_property
    def images(self) -> ImageSet:
        """The images of --images, else the run's split of config.evaluate.split. Their classes are the network's."""
        images = open_images(self.config, self.config, self.info, str(self.folder))
        evaluate.check_same_classes(self.info, images.class_names, images.source)
        return images

    @functools.cached_property
    def dataset(self) -> Dataset | None:
        """The dataset of config.data.directory, else the run's own; None where it is not there."""
        if not prepare.has_dataset(prepare.locate_dataset(self.config, str(self.folder))):
            return None
        data = factories.open_prepared_dataset(self.config, str(self.folder))
        evaluate.check_same_classes(self.info, data.class_names, data.directory)
        return data

    @functools.cached_property
    def training_images(self) -> ImageSet | None:
        """The run's training images; None where its dataset is not there."""
        return dataset_image_set(self.dataset, 'train') if self.dataset else None

    @functools.cached_property
    def shown(self) -> ImageSample:
        """Eight images, drawn by config.figures.seed; of files given by --images the first eight that can be read."""
        is_given, count = bool(self.config.predict.images), len(self.images)
        rows = list(range(count)) if is_given else self._draw_rows(count, count)
        found: list[tuple[int, LabelledImage]] = []
        for row in rows:
            try:
                found.append((row, self.images.records[row]))
            except UnreadableImage as error:
                log.info('%s', error)
            if len(found) == NUM_SHOWN:
                break
        if not found:
            raise UserError(f'{self.images.source} has no image that can be read.')
        parts = [image for _, image in found]
        return ImageSample(
            np.stack([pixels for pixels, _, _ in parts]),
            [int(label) for _, label, _ in parts],
            [name for _, _, name in parts],
            [row for row, _ in found],
        )

    @functools.cached_property
    def evaluation_key(self) -> EvaluationKey:
        """Which evaluation the predictions are of: that of config.evaluate on the dataset at hand, or one assigned."""
        data, wanted = self.dataset, self.config.evaluate
        return EvaluationKey(
            evaluate.report_split(self.config, data.counts) if data else wanted.split,
            build.report_views(self.config),
            int(wanted.checkpoint) if wanted.checkpoint.isdecimal() else self.run.step,
            data.checksum if data else self.info.checksum,
        )

    @functools.cached_property
    def stored_predictions(self) -> ScoredSplit | None:
        """The predictions in the run's folder, if they are those of `evaluation_key`."""
        found = read_predictions(self.folder / PREDICTIONS_CSV, self.info.class_names)
        return found if found and found.key == self.evaluation_key else None

    @functools.cached_property
    def scored(self) -> ScoredSplit:
        """The prediction for each image of the evaluation of `evaluation_key`: stored, or computed.

        Raises UserError where they are not stored and the dataset or the checkpoint is not at hand.
        """
        if self.stored_predictions:
            return self.stored_predictions
        wanted = self.evaluation_key
        data = self.dataset or factories.open_prepared_dataset(self.config, str(self.folder))
        if data.checksum != wanted.dataset:
            raise UserError(f'{data.directory} is another dataset than the one that was evaluated.')
        if self.run.step != wanted.checkpoint_step:
            raise UserError(f'the checkpoint of step {wanted.checkpoint_step:,}, which was evaluated, is gone.')
        log.info('%s has no predictions of that evaluation; evaluating it again.', self.folder)
        evaluator = factories.make_evaluator(
            self.config,
            self.info,
            self.run.model,
            self.run.mesh,
            views=wanted.views,
            num_images=data.counts[wanted.split],
        )
        batches = factories.make_eval_pipeline(self.config, data, wanted.split, self.run.mesh)
        _, predictions = evaluator.evaluate_and_predict(self.run.params, batches)
        return ScoredSplit(predictions, *wanted)

    @functools.cached_property
    def metric_rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, up to the step if one was named; none for an imported network."""
        return metrics_writer.read_metrics(self.folder, last_step=self.step)

    @property
    def name(self) -> str:
        """The name of the run in plots."""
        return run_dir.display_name(str(self.folder))

    @property
    def hidden_layer(self) -> str:
        """The activation that the last layer sees."""
        return self.arch.layers[-2].name

    @property
    def chosen_layer(self) -> str:
        """The layer of config.figures.layer, else the last before the dense ones that has weights."""
        if self.config.figures.layer:
            return self.config.figures.layer
        with_weights = [layer for layer in self.arch.layers if layer.name in self.arch.kernel_shapes()]
        convolutions = [layer.name for layer in with_weights if not isinstance(layer, Dense)]
        return convolutions[-1] if convolutions else with_weights[0].name

    def sample_images(self, images: ImageSet) -> list[int]:
        """Return the numbers of at most config.figures.max_images images, in order."""
        return sorted(self._draw_rows(len(images), self.config.figures.max_images))

    def compute_activations(self, layers: Sequence[str], pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Return activations (N, ...) by layer of a few images, uint8 (N, side, side, 3)."""
        (parts,) = self.iterate_activations(layers, [pixels])
        return parts

    def iterate_activations(
        self, layers: Sequence[str], batches: Iterable[np.ndarray]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield activations by layer of each batch of at most BATCH_SIZE images."""
        extractor = FeatureExtractor(
            self.run.model,
            self.weights.preprocessing,
            layers,
            FeatureOptions(),
            batch_size=BATCH_SIZE,
            compiler_options=compiler_options(self.config.machine.ynnpack_dots_only),
        )
        return iterate_features(extractor, self.parameters, batches)

    def read_pixels(self, images: ImageSet, rows: Sequence[int], kept: list[int]) -> Iterator[np.ndarray]:
        """Yield the pixels of those images in batches; the numbers of those that could be read are added to `kept`."""
        records = _ChosenRecords(images, rows)
        for number, batch in enumerate(read_batches(records, BATCH_SIZE, threads=self.config.data.num_threads)):
            readable = [place for place, each in enumerate(batch) if not isinstance(each, UnreadableImage)]
            kept.extend(rows[number * BATCH_SIZE + place] for place in readable)
            if readable:
                yield np.stack([batch[place][0] for place in readable])

    def _draw_rows(self, count: int, wanted: int) -> list[int]:
        return np.random.default_rng(self.config.figures.seed).permutation(count)[:wanted].tolist()


class _ChosenRecords:
    """Some records of a set of images."""

    def __init__(self, images: ImageSet, rows: Sequence[int]):
        self._images, self._rows = images, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, record: int) -> LabelledImage:
        return self._images.records[self._rows[record]]
