"""Named initializations: each a rule from a layer's name and fan-in to the distribution of its first values.

Each layer draws from its own key, so that adding a layer leaves the draws of the others alone.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Layers whose biases are one, so that their ReLUs are active at the start (paper, section 5).
_BIAS_ONE_LAYERS = {'conv2', 'conv4', 'conv5', 'fc6', 'fc7'}

# Standard deviation of mean-free pixels of photographs, in gray levels.
_PIXEL_STD = 60.0


class InitSpec(NamedTuple):
    """First values of a layer. Normal: weights N(0, std^2), every bias `bias`. Uniform: weights within +-`std`, biases
    within +-`bias`.
    """

    std: float
    bias: float
    uniform: bool = False


def _paper(name: str, fan_in: int) -> InitSpec:
    """Krizhevsky et al. 2012, section 5."""
    return InitSpec(0.01, float(name in _BIAS_ONE_LAYERS))


def _source2012(name: str, fan_in: int) -> InitSpec:
    """layers/layers-145.cfg: as in the paper but for 0.03 in conv3 to conv5 (and conv6)."""
    return InitSpec(
        0.03 if name in {'conv3', 'conv4', 'conv5', 'conv6'} else 0.01, float(name in _BIAS_ONE_LAYERS | {'conv6'})
    )


def _caffe(name: str, fan_in: int) -> InitSpec:
    """models/bvlc_alexnet: 0.005 in fc6 and fc7, and 0.1 for the paper's biases of one, which gave a flat loss."""
    return InitSpec(0.005 if name in {'fc6', 'fc7'} else 0.01, 0.1 if name in _BIAS_ONE_LAYERS else 0.0)


def _caffenet(name: str, fan_in: int) -> InitSpec:
    """models/bvlc_reference_caffenet: as bvlc_alexnet but for biases of one."""
    return _caffe(name, fan_in)._replace(bias=float(name in _BIAS_ONE_LAYERS))


def _cuda_convnet(name: str, fan_in: int) -> InitSpec:
    """example-layers/layers-conv-local-13pct.cfg of cuda-convnet, for pixels of 0 to 255 less their mean."""
    return InitSpec({'conv1': 1e-4, 'conv3': 0.04, 'conv4': 0.04}.get(name, 0.01), 0.0)


def _torch(name: str, fan_in: int) -> InitSpec:
    """torch.nn.Conv2d and Linear, which torchvision leaves as they are: within 1 / sqrt(fan-in), biases too.

    torchvision divides pixels by their standard deviation, this package does not; conv1's weights are divided instead.
    """
    bound = 1.0 / math.sqrt(fan_in)
    return InitSpec(bound / (_PIXEL_STD if name == 'conv1' else 1.0), bound, uniform=True)


def _he(name: str, fan_in: int) -> InitSpec:
    """He et al. 2015: keeps a variance of one through ReLUs. Not the paper's.

    He assumes inputs of variance one; pixels deviate by about 60, so conv1's weights are divided by that. Its gradient
    is then as much larger: a learning rate multiplier of 1 / 60^2 for conv1 is equivalent to dividing the pixels.
    """
    return InitSpec(math.sqrt(2.0 / fan_in) / (_PIXEL_STD if name == 'conv1' else 1.0), 0.0)


INITIALIZATIONS: Mapping[str, Callable[[str, int], InitSpec]] = {
    'paper': _paper,
    'source2012': _source2012,
    'caffe': _caffe,
    'caffenet': _caffenet,
    'cuda_convnet': _cuda_convnet,
    'torch': _torch,
    'he': _he,
}


def init_kernel_and_bias(
    name: str, shape: tuple[int, ...], columns: int, key: jax.Array, initialization: str
) -> tuple[jax.Array, jax.Array]:
    """Return the first values of a layer: kernel (columns, *shape) and bias (columns, shape[-1]), float32."""
    spec = INITIALIZATIONS[initialization](name, math.prod(shape[:-1]))
    key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    bias_shape = (columns, shape[-1])
    if spec.uniform:
        kernel = jax.random.uniform(key, (columns, *shape), jnp.float32, -spec.std, spec.std)
        bias_key = jax.random.fold_in(key, 1)
        return kernel, jax.random.uniform(bias_key, bias_shape, jnp.float32, -spec.bias, spec.bias)
    kernel = spec.std * jax.random.normal(key, (columns, *shape), jnp.float32)
    return kernel, jnp.full(bias_shape, spec.bias, jnp.float32)
