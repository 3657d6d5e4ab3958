"""Activations of a network as arrays: any named point, one column or both, whole or averaged over space.

Images are prepared as for the center view of an evaluation.

N images, B batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from alexnet_jax.analysis.center_view import CenterView
from alexnet_jax.analysis.feature_files import column_slice
from alexnet_jax.distributed.mesh import per_device_batch
from alexnet_jax.distributed.sharding import batch_sharding, replicated_sharding
from alexnet_jax.errors import UserError
from alexnet_jax.models.alexnet import AlexNet, Parameters, with_parameters
from alexnet_jax.models.architecture import Architecture, Shape
from alexnet_jax.weights.model_weights import NumpyParameters, Preprocessing


@dataclasses.dataclass(frozen=True)
class FeatureOptions:
    """Which part of an activation is taken: the column, all places or their mean, and the type of its numbers.

    `use_onednn` convolves by oneDNN on CPUs, which pays where there are many images (AlexNet.__call__).
    """

    column: str = 'both'  # both, a or b
    space: str = 'whole'  # whole or mean
    dtype: str = 'float32'  # float32 or float16
    use_onednn: bool = False


def feature_shapes(arch: Architecture, layers: Sequence[str], options: FeatureOptions) -> dict[str, Shape]:
    """Return the shape of one image's features by layer: (height, width, maps), or (numbers,).

    Raises UserError for a layer that the network does not have, and for one column of a network that has no two.
    """
    shapes = arch.activation_shapes()
    if not layers:
        raise UserError(f'No layers were named. Name some of {", ".join(shapes)}.')
    if unknown := [layer for layer in layers if layer not in shapes]:
        raise UserError(f'{arch.name} has no {", ".join(unknown)}; its layers are {", ".join(shapes)}.')
    if options.column != 'both' and arch.columns == 1:
        raise UserError(f'{arch.name} has one column, so column {options.column} cannot be taken alone; take both.')
    chosen = {}
    for layer in layers:
        *space, maps = shapes[layer]
        part = column_slice(arch.columns, maps, options.column)
        chosen[layer] = (*(() if options.space == 'mean' else space), part.stop - part.start)
    return chosen


class Extractor(Protocol):
    """Computes arrays (B, ...) by layer, of these `shapes` for one image, of at most `batch_size` images."""

    shapes: Mapping[str, Shape]
    options: FeatureOptions
    batch_size: int
    image_size: int

    def __call__(self, parameters: Any, images: np.ndarray) -> Mapping[str, Any]:
        """Begin to compute the arrays of uint8 images (n, image_size, image_size, 3)."""
        ...


class FeatureExtractor:
    """The activations of a network at chosen layers, compiled once for all images and parameters."""

    def __init__(
        self,
        model: AlexNet,
        preprocessing: Preprocessing,
        layers: Sequence[str],
        options: FeatureOptions | None = None,
        *,
        batch_size: int = 128,
        mesh: Mesh | None = None,
        compiler_options: Mapping[str, Any] | None = None,
    ):
        """Prepare the forward pass of `model`, of which the shapes of its parameters are enough.

        Only what `layers` need is computed. On a `mesh` the batch is split over its axis `data` and the columns over
        `column`. `compiler_options` go to jax.jit. Raises UserError for an unknown layer, a column that does not exist,
        a crop that does not fit the images, and a batch that the devices cannot share evenly.
        """
        self._model, self._mesh, self.batch_size = model, mesh, batch_size
        self.options = options or FeatureOptions()
        self.shapes = feature_shapes(model.arch, layers, self.options)
        self._view = CenterView(preprocessing, model.arch.crop_size)
        self.image_size = preprocessing.image_size
        self._data_sharding = replicated = None
        if mesh is not None:
            per_device_batch(batch_size, mesh, field='config.evaluate.batch_size')
            self._data_sharding, replicated = batch_sharding(mesh), replicated_sharding(mesh)
        self._compute = jax.jit(
            self._compute_features, out_shardings=replicated, compiler_options=dict(compiler_options or {})
        )

    def __call__(self, parameters: Parameters | NumpyParameters, images: np.ndarray) -> dict[str, jax.Array]:
        """Begin to compute the features of at most `batch_size` images; return (B, ...) by layer, padding included.

        uint8 images (n, image_size, image_size, 3) are prepared first; floating-point ones (n, crop, crop, 3) are the
        network's input as they are. Fewer than `batch_size` are padded by zeros, so that nothing is compiled anew and
        an image in the same place gets the same bits. Raises UserError for images of another shape.
        """
        side = self.image_size if images.dtype == np.uint8 else self._view.crop_size
        if images.shape[1:] != (side, side, 3):
            kind = 'uint8 images' if images.dtype == np.uint8 else 'prepared images (floating point)'
            raise UserError(f'The images are {images.shape}; {kind} must be (n, {side}, {side}, 3).')
        padded = np.zeros((self.batch_size, side, side, 3), np.uint8 if images.dtype == np.uint8 else np.float32)
        padded[: len(images)] = images
        return self._compute(parameters, jax.device_put(padded, self._data_sharding))

    def _compute_features(self, parameters: Any, images: jax.Array) -> dict[str, jax.Array]:
        if images.dtype == jnp.uint8:
            images = self._view.prepare(images)
        model = with_parameters(self._model, parameters)
        _, activations = model(images, mesh=self._mesh, use_onednn=self.options.use_onednn)
        features = {}
        for layer, shape in self.shapes.items():
            values = activations[layer]
            values = values[..., column_slice(self._model.arch.columns, values.shape[-1], self.options.column)]
            if values.ndim == 4 and len(shape) == 1:
                values = jnp.mean(values.astype(jnp.float32), axis=(1, 2))
            features[layer] = values.astype(self.options.dtype)
        return features


def iterate_features(
    extractor: Extractor, parameters: Parameters | NumpyParameters, batches: Iterable[np.ndarray]
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the features (n, ...) by layer of each batch of n images; the next batch is computed in the meantime.

    Raises UserError if a number does not fit float16.
    """
    pending = None
    for images in batches:
        current = len(images), extractor(parameters, images)
        if pending is not None:
            yield _fetch_features(*pending)
        pending = current
    if pending is not None:
        yield _fetch_features(*pending)


def extract_features(
    extractor: FeatureExtractor, parameters: Parameters | NumpyParameters, images: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the features (N, ...) by layer of any number of images, which are sent to the devices by batches."""
    size, shapes = extractor.batch_size, extractor.shapes
    features = {layer: np.empty((len(images), *shape), extractor.options.dtype) for layer, shape in shapes.items()}
    parts = iterate_features(extractor, parameters, (images[i : i + size] for i in range(0, len(images), size)))
    for number, part in enumerate(parts):
        for layer, values in part.items():
            features[layer][number * size : number * size + len(values)] = values
    return features


def _fetch_features(count: int, features: Mapping[str, Any]) -> dict[str, np.ndarray]:
    fetched = {layer: values[:count] for layer, values in jax.device_get(features).items()}
    for layer, values in fetched.items():
        if values.dtype == np.float16 and np.isinf(values).any():
            raise UserError(
                f'{layer} has numbers beyond 65,504, the largest of float16; set --config.features.dtype=float32.'
            )
    return fetched
