"""Layers with gradients of their own, and the table that says which platform uses which.

Each is equal to its plain formulation in `layers` in value and gradient (tests/models/test_custom_vjp.py), and is chosen only
where it was measured to win inside the whole training step; elsewhere the plain one runs. The figures are step time
of the plain formulation over this one's, everything else being equal (benchmarks/results/2026-11-21-formulations.md).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from alexnet_jax.models import layers
from alexnet_jax.models.custom_vjp import max_pooling, response_normalization

Kernels = Mapping[str, Callable[..., Any]]

PLAIN: Kernels = {
    'response_normalization': layers.response_normalization,
    'max_pooling': layers.max_pooling,
    'average_pooling': layers.average_pooling,
}
WINS: Mapping[str, Kernels] = {
    'cpu': {
        'response_normalization': response_normalization.response_normalization,  # 1.04 in paper, 1.14 in miniature
        'max_pooling': max_pooling.max_pooling,  # 1.06 and 1.33
    },
}


@functools.cache
def chosen(platform: str, plain: bool = False) -> Kernels:
    """The formulation of each layer on that platform ('cpu', 'gpu', 'tpu'); `plain` asks for the reference."""
    return PLAIN if plain else dict(PLAIN) | dict(WINS.get(platform, {}))
