"""A trained or fresh network as an object, from a run directory, a file of weights or the name of a preset.

    network = alexnet_jax.load('/tmp/alexnet')
    network.predict(['cat.jpg']).classes[0]
    network.features(['cat.jpg'], layers=['conv1', 'fc7'])['fc7']

N images, K classes.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from alexnet_jax import weights as weight_files
from alexnet_jax.analysis.activation_names import resolve_layers
from alexnet_jax.analysis.features import FeatureExtractor, FeatureOptions, feature_shapes, iterate_features
from alexnet_jax.commands import finetune, resume_point
from alexnet_jax.distributed.mesh import make_mesh, padded_batch_size
from alexnet_jax.distributed.sharding import param_sharding
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.evaluator import Evaluator, ViewOptions
from alexnet_jax.evaluate.image_batches import ImageBatches, Images
from alexnet_jax.evaluate.view_places import Views
from alexnet_jax.models.alexnet import AlexNet, get_parameters, with_parameters
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.models.presets import PRESETS, get_architecture
from alexnet_jax.runtime.xla_options import compiler_options
from alexnet_jax.weights import foreign
from alexnet_jax.weights.model_weights import ModelWeights, Preprocessing

DEFAULT_BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The network's answers to N images, averaged over the views.

    `probabilities` is float32 (N, K), in the order of the network's class names; `labels` int (N, top_k), the most
    probable first; `classes` has for each image as many pairs of description and probability.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    classes: tuple[tuple[tuple[str, float], ...], ...]


class Network:
    """A network with its weights, preprocessing and classes, on one device or on a mesh.

    Images are given as paths of files and folders, as PIL images, as uint8 arrays (height, width, 3) or (N, height,
    width, 3) of any size, RGB, or as floating-point arrays (N, crop, crop, 3), which are the network's input as they
    are. A single one counts as N = 1. All but the last are prepared as the network's training images were: shorter side
    to `preprocessing.image_size`, center square, mean subtracted. They go through by batches, so that memory is
    bounded.
    """

    def __init__(self, weights: ModelWeights, *, mesh: Mesh | None = None, batch_size: int = DEFAULT_BATCH_SIZE):
        """Put the weights on the default device, or on a `mesh`; at most `batch_size` images go through at once."""
        self.weights = weights
        self._mesh, self._batch_size = mesh, batch_size
        self._model = _abstract_model(weights.arch)
        self._parameters = jax.device_put(dict(weights.parameters), param_sharding(mesh) if mesh else None)
        self._options = compiler_options(True)
        self._extractors: dict[tuple, FeatureExtractor] = {}
        self._evaluators: dict[tuple, Evaluator] = {}

    @property
    def architecture(self) -> Architecture:
        """Return the layers as records, with shapes, counts and names."""
        return self.weights.arch

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the name of each output, in order."""
        return self.weights.class_names

    @property
    def preprocessing(self) -> Preprocessing:
        """Return how an image becomes the network's input."""
        return self.weights.preprocessing

    def predict(self, images: Images, *, top_k: int = 5, views: Views = 10) -> Prediction:
        """Return the probabilities and the `top_k` most probable classes of each image.

        `views`: 10 averages over corners, center and their mirror images (paper, section 4.1), 1 is the center; or
        a list of places such as 'center,top_left+mirror,0:16'. A prepared array is one view, whatever `views` is.
        Raises UserError for images that cannot be read or have another shape.
        """
        batches = ImageBatches(images, self.architecture.crop_size, self.preprocessing.image_size, self._batch_size)
        if batches.prepared:
            parts = [part['prob'] for part in self._iterate_features(batches, ['prob'])]
        else:
            evaluator = self._evaluator(views, self._padded_size(batches))
            parts = list(evaluator.iterate_probabilities(self._parameters, batches))
        probabilities = np.concatenate(parts)
        labels = np.argsort(-probabilities, axis=1, kind='stable')[:, : max(1, top_k)]
        chosen = np.take_along_axis(probabilities, labels, axis=1)
        names = self.weights.class_descriptions
        classes = tuple(
            tuple((names[label], float(probability)) for label, probability in zip(*pair, strict=True))
            for pair in zip(labels, chosen, strict=True)
        )
        return Prediction(probabilities, labels, classes)

    def features(
        self, images: Images, layers: Sequence[str], *, column: str = 'both', space: str = 'whole'
    ) -> dict[str, np.ndarray]:
        """Return the activations of the center view by layer: float32 (N, height, width, maps), or (N, features).

        `layers` are names such as conv1, relu5, fc7, prob; torchvision's are understood too. `column` is both, a or b;
        `space` is whole, or mean for the average over places. Raises UserError for a layer that the network lacks.
        """
        names = resolve_layers(self.architecture, [layers] if isinstance(layers, str) else layers)
        batches = ImageBatches(images, self.architecture.crop_size, self.preprocessing.image_size, self._batch_size)
        options, done = FeatureOptions(column, space), 0
        shapes = feature_shapes(self.architecture, names, options)
        features = {name: np.empty((len(batches), *shape), np.float32) for name, shape in shapes.items()}
        for part in self._iterate_features(batches, names, options):
            size = len(part[names[0]])
            for name in names:
                features[name][done : done + size] = part[name]
            done += size
        return features

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to a file, which `load` reads: .safetensors, or another format by its ending."""
        weight_files.write_weights(path, self.weights)

    def _iterate_features(
        self, batches: ImageBatches, layers: Sequence[str], options: FeatureOptions | None = None
    ) -> Iterator[dict[str, np.ndarray]]:
        key = (tuple(layers), options, self._padded_size(batches))
        if key not in self._extractors:
            self._extractors[key] = FeatureExtractor(
                self._model,
                self.preprocessing,
                layers,
                options,
                batch_size=key[-1],
                mesh=self._mesh,
                compiler_options=self._options,
            )
        return iterate_features(self._extractors[key], self._parameters, batches)

    def _evaluator(self, views: Views, batch_size: int) -> Evaluator:
        key = (views, batch_size)
        if key not in self._evaluators:
            preprocessing = self.preprocessing
            red, green, blue = map(float, preprocessing.std)
            options = ViewOptions(self.architecture.crop_size, views, preprocessing.mean_kind, (red, green, blue))

            def forward(parameters: Any, images: jax.Array) -> jax.Array:
                return with_parameters(self._model, parameters)(images, mesh=self._mesh)[0]

            self._evaluators[key] = Evaluator(
                forward,
                preprocessing.mean_image(),
                options,
                batch_size=batch_size,
                mesh=self._mesh,
                compiler_options=self._options,
            )
        return self._evaluators[key]

    def _padded_size(self, batches: ImageBatches) -> int:
        return padded_batch_size(len(batches), self._batch_size, self._mesh)


def load_network(
    source: str | os.PathLike[str],
    *,
    seed: int = 0,
    preset: str = '',
    partial: bool = False,
    checkpoint: str = 'final',
    mesh: tuple[int, int] | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> Network:
    """Return the network in a run directory or a file of weights, or a fresh one of a preset.

    `source` is the folder of a run, of which `checkpoint` is taken ('final', 'best' or the number of a step), or the
    folder of one of its checkpoints; a file of weights (docs/weights.md), of which `preset` says the network where the
    file does not, and `partial` takes what fits; or the name of a preset, whose weights are those with which a training
    by `seed` begins. A folder called like a preset is given as './paper'. `mesh` is the number of devices along data
    and column, None for one device. `batch_size` images go through at once. Raises UserError if there is no such
    network.
    """
    if source in PRESETS:
        weights = fresh_weights(str(source), seed=seed)
    elif Path(source).is_dir() or weight_files.has_known_ending(source):
        weights = finetune.read_source(str(source), checkpoint=checkpoint, preset=preset, partial=partial)
    else:
        endings = ', '.join(weight_files.readable_endings())
        raise UserError(
            f'{source} is neither the folder of a run, nor a file of weights ({endings}), nor one of the presets '
            f'{", ".join(PRESETS)}.'
        )
    made = make_mesh(mesh, columns=weights.arch.columns) if mesh else None
    return Network(weights, mesh=made, batch_size=batch_size)


def fresh_weights(preset: str, *, seed: int = 0) -> ModelWeights:
    """Return a preset as a training by `seed` begins, drawn as in the paper, with ImageNet's mean color."""
    arch = get_architecture(preset)
    model = AlexNet(arch, key=resume_point.weights_key(seed))
    parameters = jax.device_get(get_parameters(model))
    names, descriptions = foreign.foreign_classes(arch.num_classes)
    notes = {'origin': f'fresh weights of the preset {preset}, seed {seed}'}
    return ModelWeights(arch, parameters, foreign.foreign_preprocessing(arch), names, descriptions, notes)


def _abstract_model(arch: Architecture) -> AlexNet:
    return nnx.eval_shape(lambda: AlexNet(arch, key=jax.random.key(0)))
