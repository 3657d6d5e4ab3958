"""Write a network as a program in StableHLO: from prepared images to their probabilities, without this package.

    import jax.export
    program = jax.export.deserialize(bytearray(open('network.stablehlo', 'rb').read()))
    probabilities = program.call(images)

`images` are uint8 (any number, side, side, 3), RGB: shorter side resized to `program.in_avals[0].shape[1]` pixels,
center square kept. The answer is float32 (any number, classes), averaged over the paper's ten views. The mean and the
weights are in the program, which runs on CPUs, NVIDIA GPUs and TPUs.
"""

from __future__ import annotations

import os

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from flax import nnx

from alexnet_jax.data.augment import select_mean
from alexnet_jax.evaluate.evaluator import Evaluator, ViewOptions
from alexnet_jax.models.alexnet import AlexNet, with_parameters
from alexnet_jax.runtime import atomic_io
from alexnet_jax.weights.model_weights import ModelWeights

PLATFORMS = ('cpu', 'cuda', 'tpu')
NUM_VIEWS = 10


def write_stablehlo(path: str | os.PathLike[str], weights: ModelWeights) -> None:
    """Write the program to one file, atomically; jax.export's serialization around StableHLO."""
    exported = export_program(weights)
    with atomic_io.write_atomic(path, 'wb') as file:
        file.write(exported.serialize())


def export_program(weights: ModelWeights) -> jax.export.Exported:
    """Return the ten-view answer to any number of images, in the reference formulation, for all PLATFORMS."""
    preprocessing = weights.preprocessing
    model = nnx.eval_shape(lambda: AlexNet(weights.arch, key=jax.random.key(0), use_reference_ops=True))

    def forward(parameters, images):
        return with_parameters(model, parameters)(images)[0]

    std = tuple(map(float, preprocessing.std))
    options = ViewOptions(weights.arch.crop_size, NUM_VIEWS, preprocessing.mean_kind, std)
    image = preprocessing.mean_image()
    evaluator = Evaluator(forward, image, options, batch_size=1)
    mean, _ = select_mean(image, preprocessing.mean_kind, weights.arch.crop_size)

    @jax.jit
    def predict_probabilities(images):
        # GPUs and TPUs would round the factors of float32 products.
        with jax.default_matmul_precision('float32'):
            return jnp.exp(evaluator.log_probabilities(weights.parameters, images, jnp.asarray(mean)))

    (batch,) = jax.export.symbolic_shape('batch')
    shape = (batch, preprocessing.image_size, preprocessing.image_size, 3)
    return jax.export.export(predict_probabilities, platforms=PLATFORMS)(jax.ShapeDtypeStruct(shape, np.uint8))
