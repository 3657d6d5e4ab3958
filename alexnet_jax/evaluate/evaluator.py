"""Evaluate a network on a split: each image counts exactly once, on any number of devices.

B batch, V views, K classes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from alexnet_jax.data import augment, normalize
from alexnet_jax.data.pipeline import Batch, EvalPipeline
from alexnet_jax.distributed.mesh import per_device_batch
from alexnet_jax.distributed.sharding import batch_sharding, place_array, replicated_sharding
from alexnet_jax.evaluate import metrics, ten_crop
from alexnet_jax.evaluate.view_places import Views

Forward = Callable[[Any, jax.Array], jax.Array]


class Predictions(NamedTuple):
    """The network's answers: arrays of one length, in the order of the split."""

    id: np.ndarray  # int32, the record's number
    label: np.ndarray  # int32
    predicted: np.ndarray  # int32
    probability: np.ndarray  # float32, of the predicted class, averaged over the views
    rank: np.ndarray  # int32, how many other classes are not less probable than the label


@dataclasses.dataclass(frozen=True)
class ViewOptions:
    """The crops that the network sees of an image, and what is subtracted from their colors and divides them."""

    crop_size: int
    views: Views = 1
    mean_kind: str = 'image'  # one of augment.MEAN_KINDS
    std: normalize.Std = normalize.NO_STD


class Evaluator:
    """Error rates and predictions of a network, compiled once for all splits and parameters."""

    def __init__(
        self,
        forward: Forward,
        mean: np.ndarray,
        options: ViewOptions,
        *,
        batch_size: int,
        mesh: Mesh | None = None,
        compiler_options: Mapping[str, Any] | None = None,
    ):
        """Prepare `forward(params, images) -> logits`: float32 (B, crop, crop, 3), mean subtracted, to (B, K).

        `mean` is the mean image (side, side, 3). The views go through one after another, so that memory is that of
        one. `batch_size` counts the images on all processes; on a `mesh` they are split over its axis `data`.
        `compiler_options` go to jax.jit. Raises UserError if the devices cannot share a batch evenly, the crop does
        not fit, or the views or the kind of mean are unknown.
        """
        self._forward, self._crop_size, self._std = forward, options.crop_size, options.std
        self.batch_size, self._image_size = batch_size, len(mean)
        views = ten_crop.make_views(options.views, len(mean), options.crop_size)
        # As arrays (V,), over which lax.map goes on the device.
        self._views = ten_crop.View(*(np.array(column) for column in zip(*views, strict=True)))
        self._data_sharding = self._replicated = None
        if mesh is not None:
            per_device_batch(batch_size, mesh, field='evaluate.batch_size')
            self._data_sharding, self._replicated = batch_sharding(mesh), replicated_sharding(mesh)
        selected, self._static_mean = augment.select_mean(mean, options.mean_kind, options.crop_size)
        self._mean = jax.device_put(selected) if mesh is None else place_array(selected, self._replicated)
        compiled = functools.partial(
            jax.jit, out_shardings=self._replicated, compiler_options=dict(compiler_options or {})
        )
        self._score = compiled(self._score_step, static_argnames='with_predictions')
        self._probabilities = compiled(lambda *args: jnp.exp(self.log_probabilities(*args)))

    def evaluate(self, params: Any, batches: EvalPipeline) -> dict[str, float]:
        """Return 'loss', 'top1_error', 'top5_error' and 'images' over all `batches`."""
        sums, _ = self._run(params, batches, with_predictions=False)
        return metrics.error_rates(sums)

    def evaluate_and_predict(self, params: Any, batches: EvalPipeline) -> tuple[dict[str, float], Predictions]:
        """Return what `evaluate` does, and the prediction for each image; the same on all processes."""
        sums, parts = self._run(params, batches, with_predictions=True)
        columns = zip(*parts, strict=True)
        return metrics.error_rates(sums), Predictions(*(np.concatenate(column) for column in columns))

    def lower(self, params: Any, batch: Any) -> Any:
        """Return the program that scores a batch, for parameters and a batch of these shapes."""
        return self._score.lower(params, batch, self._mean, with_predictions=False)

    def probabilities(self, params: Any, images: np.ndarray) -> np.ndarray:
        """Return float32 (n, K), averaged over the views, of uint8 images (n, side, side, 3), equal on all processes.

        At most `batch_size` of them at a time; fewer are padded, so that nothing is compiled anew.
        """
        return next(self.iterate_probabilities(params, [images]))

    def iterate_probabilities(self, params: Any, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield what `probabilities` returns for each batch; the next one is computed in the meantime."""
        pending = None
        for images in batches:
            current = len(images), self._start_probabilities(params, images)
            if pending is not None:
                yield _fetch_probabilities(*pending)
            pending = current
        if pending is not None:
            yield _fetch_probabilities(*pending)

    def no_images(self) -> np.ndarray:
        """Return a batch without images, uint8 (0, side, side, 3)."""
        return np.zeros((0, self._image_size, self._image_size, 3), np.uint8)

    def _start_probabilities(self, params: Any, images: np.ndarray) -> jax.Array:
        """Begin to compute the probabilities of a batch, padding included (batch_size, K)."""
        padded = np.zeros((self.batch_size, self._image_size, self._image_size, 3), np.uint8)
        padded[: len(images)] = images
        if self._data_sharding is None:
            placed = jax.device_put(padded)
        else:  # every process has all of them
            placed = jax.make_array_from_callback(padded.shape, self._data_sharding, lambda index: padded[index])
        return self._probabilities(params, placed, self._mean)

    def log_probabilities(self, params: Any, images: jax.Array, mean: jax.Array) -> jax.Array:
        """Return the logarithms of the probabilities averaged over the views (B, K), to be traced by jax.

        `images` are uint8 (B, side, side, 3) and `mean` is what augment.select_mean returns.
        """

        def view_logits(view):
            pixels = ten_crop.crop_view(images, view, self._crop_size).astype(jnp.float32)
            view_mean = mean[None] if self._static_mean else ten_crop.crop_view(mean[None], view, self._crop_size)
            return self._forward(params, normalize.divide_by_std(pixels - view_mean, self._std))

        return ten_crop.average_views(jax.lax.map(view_logits, self._views))

    def _run(
        self, params: Any, batches: EvalPipeline, *, with_predictions: bool
    ) -> tuple[dict[str, Any], list[Predictions]]:
        """Return sums and predictions over all batches; the numbers of each are fetched while the next one runs."""
        sums, parts, pending = {'loss': 0.0, 'top1': 0, 'top5': 0, 'images': 0}, [], None
        for batch in batches.batches():
            numbers = self._score(params, self._to_device(batch), self._mean, with_predictions=with_predictions)
            if pending is not None:
                _accumulate(sums, parts, *jax.device_get(pending))
            pending = numbers
        if pending is not None:
            _accumulate(sums, parts, *jax.device_get(pending))
        return sums, parts

    def _to_device(self, batch: Batch) -> dict[str, jax.Array]:
        """Return this process's arrays as its share of global ones."""
        if self._data_sharding is None:
            return jax.device_put(dict(batch))
        return {name: jax.make_array_from_process_local_data(self._data_sharding, part) for name, part in batch.items()}

    def _score_step(self, params, batch, mean, *, with_predictions: bool):
        """Return a batch's sums and, if asked for, its predictions and which of them are valid."""
        log_probs_BK = self.log_probabilities(params, batch['image'], mean)
        sums = metrics.sum_metrics(log_probs_BK, batch['label'], batch['valid'])
        if not with_predictions:
            return sums, None
        predicted, probability = jnp.argmax(log_probs_BK, axis=1), jnp.exp(jnp.max(log_probs_BK, axis=1))
        rank = metrics.rank_labels(log_probs_BK, batch['label'])
        return sums, (Predictions(batch['id'], batch['label'], predicted, probability, rank), batch['valid'])


def _fetch_probabilities(count: int, padded: jax.Array) -> np.ndarray:
    return jax.device_get(padded)[:count]


def _accumulate(sums: dict[str, Any], parts: list[Predictions], numbers: dict[str, np.ndarray], answers: Any) -> None:
    """Add one batch: counts as integers, the loss in float64."""
    for name in ('top1', 'top5', 'images'):
        sums[name] += int(numbers[name])
    sums['loss'] += float(numbers['loss'])
    if answers is not None:
        predictions, valid = answers
        parts.append(Predictions(*(part[valid] for part in predictions)))
