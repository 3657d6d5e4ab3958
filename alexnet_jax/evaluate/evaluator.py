"""Accuracy: every image of a split through the network, each counted exactly once on any number of devices.

Knows the network only as a function from images to logits, and the images only as batches; reads no files.

B batch, V views, K classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from alexnet_jax.data import augment
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate import metrics, ten_crop

Batch = Mapping[str, np.ndarray]
Forward = Callable[[Any, jax.Array], jax.Array]


class Scoring(Protocol):
    """What is scored: this host's share of each batch, equally many on all hosts (data.pipeline.Scoring)."""

    def batches(self) -> Iterator[Batch]:
        """image uint8 (B, side, side, 3), label and id int32 (B,), real bool (B,), false for the filling."""
        ...


class Outcomes(NamedTuple):
    """What the network said to each image: arrays of one length, in the order of the split."""

    id: np.ndarray  # int32, the record's number
    label: np.ndarray  # int32
    predicted: np.ndarray  # int32
    probability: np.ndarray  # float32, of the predicted class, averaged over the views


class Evaluator:
    """Scores splits with `forward(parameters, images) -> logits`, which is compiled once for all of them."""

    def __init__(
        self,
        forward: Forward,
        mean: np.ndarray,
        *,
        mean_kind: str = 'image',
        crop: int,
        views: int,
        batch: int,
        mesh: Mesh | None = None,
        compiler_options: Mapping[str, Any] | None = None,
    ):
        """`forward` takes float32 (B, crop, crop, 3) free of the mean and gives (B, K); `mean` is (side, side, 3), and
        of it that is subtracted which `mean_kind` (augment.MEANS) says.

        `views` is 1 (center) or 10 (the paper's); they follow one another, so that memory is that of one. `batch` is
        the number of images over all hosts. On a `mesh` they are split over its axis `data`. Raises UserError for a
        batch that cannot be shared evenly, a crop that does not fit and another number of views. `compiler_options`
        go to jax.jit.
        """
        self._forward, self._crop, self.batch, self._side = forward, crop, batch, len(mean)
        self._views = _views(views, len(mean), crop)
        self._split = self._whole = None
        if mesh is not None:
            _check_batch(batch, mesh.shape['data'])
            self._split = NamedSharding(mesh, PartitionSpec('data'))
            self._whole = NamedSharding(mesh, PartitionSpec())
        background = augment.static_mean(mean, mean_kind, crop)
        self._still = background is not None
        self._mean = jax.device_put(
            np.asarray(mean if background is None else background, np.float32), self._whole
        )
        compiled = functools.partial(
            jax.jit, out_shardings=self._whole, compiler_options=dict(compiler_options or {})
        )
        self._score = compiled(self._scored, static_argnames='each')
        self._probable = compiled(lambda *given: jnp.exp(self._averaged(*given)))

    def rates(self, parameters: Any, scoring: Scoring) -> dict[str, float]:
        """'loss', 'top1_error', 'top5_error' and 'images' of all that is to be scored."""
        sums, _ = self._run(parameters, scoring, each=False)
        return metrics.rates(sums)

    def outcomes(self, parameters: Any, scoring: Scoring) -> tuple[dict[str, float], Outcomes]:
        """The rates, and beside them the answer to each image; the same on all hosts."""
        sums, parts = self._run(parameters, scoring, each=True)
        return metrics.rates(sums), Outcomes(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def probabilities(self, parameters: Any, images: np.ndarray) -> np.ndarray:
        """float32 (n, K), averaged over the views, of n uint8 images (n, side, side, 3), the same on all hosts.

        At most `batch` of them at a time; fewer are filled up, so that nothing is compiled anew.
        """
        whole = np.zeros((self.batch, self._side, self._side, 3), np.uint8)
        whole[: len(images)] = images
        if self._split is None:
            placed = jax.device_put(whole)
        else:  # every host holds all of them
            placed = jax.make_array_from_callback(whole.shape, self._split, lambda index: whole[index])
        return jax.device_get(self._probable(parameters, placed, self._mean))[: len(images)]

    def _run(self, parameters: Any, scoring: Scoring, *, each: bool) -> tuple[dict[str, Any], list[Outcomes]]:
        """Sums and outcomes over all batches, each read while the next one runs."""
        sums, parts, pending = {'loss': 0.0, 'top1': 0, 'top5': 0, 'images': 0}, [], None
        for batch in scoring.batches():
            numbers = self._score(parameters, self._placed(batch), self._mean, each=each)
            if pending is not None:
                _add(sums, parts, *jax.device_get(pending))
            pending = numbers
        if pending is not None:
            _add(sums, parts, *jax.device_get(pending))
        return sums, parts

    def _placed(self, batch: Batch) -> dict[str, jax.Array]:
        """This host's arrays as its share of global ones."""
        if self._split is None:
            return jax.device_put(dict(batch))
        return {
            name: jax.make_array_from_process_local_data(self._split, part) for name, part in batch.items()
        }

    def _scored(self, parameters, batch, mean, *, each: bool):
        """A batch's sums and, where `each` image is asked for, its outcomes with their `real`."""
        logits = self._averaged(parameters, batch['image'], mean)
        sums = metrics.score(logits, batch['label'], batch['real'])
        if not each:
            return sums, None
        answers = Outcomes(
            batch['id'], batch['label'], jnp.argmax(logits, axis=1), jnp.exp(jnp.max(logits, axis=1))
        )
        return sums, (answers, batch['real'])

    def _averaged(self, parameters, images, mean):
        """Logarithms of the averaged probabilities (B, K)."""

        def through(view):
            pixels = ten_crop.cut(images, view, self._crop).astype(jnp.float32)
            background = mean[None] if self._still else ten_crop.cut(mean[None], view, self._crop)
            return self._forward(parameters, pixels - background)

        return metrics.mean_of_views(jax.lax.map(through, self._views))


def _views(number: int, side: int, crop: int) -> ten_crop.View:
    """The views as arrays (V,), for walking through them on the device."""
    each = ten_crop.views(number, side, crop)
    return ten_crop.View(*(np.array(column) for column in zip(*each, strict=True)))


def _check_batch(batch: int, devices: int) -> None:
    if batch < 1 or batch % devices:
        raise UserError(
            f'evaluate.batch_size is {batch}, which cannot be shared evenly by the {devices} devices of the mesh axis '
            f'data; give a multiple of {devices}.'
        )


def _add(sums: dict[str, Any], parts: list[Outcomes], numbers: dict[str, np.ndarray], each: Any) -> None:
    """One batch more: counts as whole numbers, the loss in float64."""
    for name in ('top1', 'top5', 'images'):
        sums[name] += int(numbers[name])
    sums['loss'] += float(numbers['loss'])
    if each is not None:
        answers, real = each
        parts.append(Outcomes(*(part[real] for part in answers)))
