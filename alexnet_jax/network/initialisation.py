"""Where weights begin: named choices, each a rule from a layer's name and fan-in to a deviation and a bias.

Knows shapes and names, not the forward pass. Weights are normal with mean zero; each layer draws from a key of its own,
so that adding a layer leaves the draws of the others alone.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

_ONES = {
    'conv2',
    'conv4',
    'conv5',
    'fc6',
    'fc7',
}  # biases of one, so that their ReLUs begin alive (paper, section 5)

_PIXELS = 60.0  # deviation of mean-free pixels of photographs, in grey levels


def _paper(name: str, fan_in: int) -> tuple[float, float]:
    """Krizhevsky et al. 2012, section 5."""
    return 0.01, float(name in _ONES)


def _source2012(name: str, fan_in: int) -> tuple[float, float]:
    """layers/layers-145.cfg: as the paper says but for 0.03 in conv3 to conv5 (and conv6)."""
    return 0.03 if name in {'conv3', 'conv4', 'conv5', 'conv6'} else 0.01, float(name in _ONES | {'conv6'})


def _he(name: str, fan_in: int) -> tuple[float, float]:
    """He et al. 2015: keeps a variance of one through ReLUs; not the paper's, and named so.

    He assumes inputs that deviate by one, and pixels deviate by about 60, so conv1 begins that much smaller. Its
    gradient is then as much larger: a rate factor of 1 / 60^2 for conv1 makes all as if pixels were divided by 60.
    """
    return math.sqrt(2.0 / fan_in) / (_PIXELS if name == 'conv1' else 1.0), 0.0


INITIALISATIONS: Mapping[str, Callable[[str, int], tuple[float, float]]] = {
    'paper': _paper,
    'source2012': _source2012,
    'he': _he,
}


def kernel_and_bias(
    name: str, shape: tuple[int, ...], columns: int, key: jax.Array, initialisation: str
) -> tuple[jax.Array, jax.Array]:
    """First values of a layer: kernel (columns, *shape) and bias (columns, shape[-1]), float32."""
    deviation, bias = INITIALISATIONS[initialisation](name, math.prod(shape[:-1]))
    key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    kernel = deviation * jax.random.normal(key, (columns, *shape), jnp.float32)
    return kernel, jnp.full((columns, shape[-1]), bias, jnp.float32)
