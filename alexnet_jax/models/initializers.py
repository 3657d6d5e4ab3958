"""Where weights begin: named choices, each a rule from a layer's name and fan-in to how its first values are drawn.

Knows shapes and names, not the forward pass. Each layer draws from a key of its own, so that adding a layer leaves the
draws of the others alone.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Biases that are not zero, so that their ReLUs begin alive (paper, section 5).
_ALIVE = {'conv2', 'conv4', 'conv5', 'fc6', 'fc7'}

_PIXELS = 60.0  # deviation of mean-free pixels of photographs, in gray levels


class Start(NamedTuple):
    """First values of a layer: weights N(0, weight^2) and biases all `bias`, or, where uniform, both within +-."""

    weight: float
    bias: float
    uniform: bool = False


def _paper(name: str, fan_in: int) -> Start:
    """Krizhevsky et al. 2012, section 5."""
    return Start(0.01, float(name in _ALIVE))


def _source2012(name: str, fan_in: int) -> Start:
    """layers/layers-145.cfg: as the paper says but for 0.03 in conv3 to conv5 (and conv6)."""
    return Start(
        0.03 if name in {'conv3', 'conv4', 'conv5', 'conv6'} else 0.01, float(name in _ALIVE | {'conv6'})
    )


def _caffe(name: str, fan_in: int) -> Start:
    """models/bvlc_alexnet: 0.005 in fc6 and fc7, and 0.1 where the paper has biases of one, which gave a flat loss."""
    return Start(0.005 if name in {'fc6', 'fc7'} else 0.01, 0.1 if name in _ALIVE else 0.0)


def _caffenet(name: str, fan_in: int) -> Start:
    """models/bvlc_reference_caffenet: as bvlc_alexnet but for biases of one."""
    return _caffe(name, fan_in)._replace(bias=float(name in _ALIVE))


def _torch(name: str, fan_in: int) -> Start:
    """torch.nn.Conv2d and Linear, which torchvision leaves as they are: within 1 / sqrt(fan-in), biases too.

    torchvision's pixels are divided by their deviation and these are not, so conv1's weights begin that much smaller.
    """
    bound = 1.0 / math.sqrt(fan_in)
    return Start(bound / (_PIXELS if name == 'conv1' else 1.0), bound, uniform=True)


def _he(name: str, fan_in: int) -> Start:
    """He et al. 2015: keeps a variance of one through ReLUs; not the paper's, and named so.

    He assumes inputs that deviate by one, and pixels deviate by about 60, so conv1 begins that much smaller. Its
    gradient is then as much larger: a rate factor of 1 / 60^2 for conv1 makes all as if pixels were divided by 60.
    """
    return Start(math.sqrt(2.0 / fan_in) / (_PIXELS if name == 'conv1' else 1.0), 0.0)


INITIALIZATIONS: Mapping[str, Callable[[str, int], Start]] = {
    'paper': _paper,
    'source2012': _source2012,
    'caffe': _caffe,
    'caffenet': _caffenet,
    'torch': _torch,
    'he': _he,
}


def kernel_and_bias(
    name: str, shape: tuple[int, ...], columns: int, key: jax.Array, initialization: str
) -> tuple[jax.Array, jax.Array]:
    """First values of a layer: kernel (columns, *shape) and bias (columns, shape[-1]), float32."""
    start = INITIALIZATIONS[initialization](name, math.prod(shape[:-1]))
    key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    if start.uniform:
        kernel = jax.random.uniform(key, (columns, *shape), jnp.float32, -start.weight, start.weight)
        bias_key = jax.random.fold_in(key, 1)
        return kernel, jax.random.uniform(
            bias_key, (columns, shape[-1]), jnp.float32, -start.bias, start.bias
        )
    kernel = start.weight * jax.random.normal(key, (columns, *shape), jnp.float32)
    return kernel, jnp.full((columns, shape[-1]), start.bias, jnp.float32)
