"""Layers with a custom gradient, and the table of which platform uses which.

Each equals its reference formulation in `layers` in value and gradient (tests/models/test_custom_vjp.py), and is
chosen only on platforms where it was measured to be faster inside the whole training step, or, on GPUs, to move fewer
bytes in the compiled step. The figures of CPUs are step time with the reference over step time with this one
(benchmarks/results/2026-11-21-formulations.md).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from alexnet_jax.models import layers
from alexnet_jax.models.custom_vjp import (
    dense,
    max_pooling,
    onednn_conv,
    recomputed_normalization,
    relu,
    response_normalization,
)

Ops = Mapping[str, Callable[..., Any]]

REFERENCE_OPS: Ops = {
    'conv': layers.conv,
    'dense': layers.dense,
    'response_normalization': layers.response_normalization,
    'spatial_response_normalization': layers.spatial_response_normalization,
    'max_pooling': layers.max_pooling,
    'average_pooling': layers.average_pooling,
}
FAST_OPS: Mapping[str, Ops] = {
    'cpu': {
        'dense': dense.dense,
        # 1.04 in paper, 1.14 in miniature.
        'response_normalization': response_normalization.response_normalization,
        # 1.06 in paper, 1.33 in miniature.
        'max_pooling': max_pooling.max_pooling,
    },
    # By the bytes that the step compiled for an H100 reads and writes, `paper` in bfloat16, 1,024 images: 36.2 MiB an
    # image with the reference, 19.8 with these. Not timed on a GPU yet (benchmarks/gpu.py;
    # benchmarks/results/2026-11-29-compile.md has the bytes of each).
    'gpu': {
        'response_normalization': recomputed_normalization.recomputed_normalization,
        'max_pooling': functools.partial(max_pooling.max_pooling, spread=False),
        'relu': relu.relu,
    },
    # In the step compiled for two TPU v5e with a column each, bfloat16: of 8 images 172 MiB an image by the reference,
    # 79 with this dense; of 128 images 20.9 with it and 15.9 with both. Not timed on a TPU.
    'tpu': {
        'dense': functools.partial(dense.dense, input_first=False),
        'response_normalization': functools.partial(recomputed_normalization.recomputed_normalization, by_product=True),
    },
}


@functools.cache
def select_ops(platform: str, use_reference: bool = False, use_onednn: bool = False) -> Ops:
    """Return the formulation of each layer for that platform ('cpu', 'gpu', 'tpu'), or the reference ones.

    `use_onednn` adds oneDNN's convolutions on CPUs: only for runs that are long enough, since XLA cannot cache them.
    """
    if use_reference:
        return REFERENCE_OPS
    onednn = {'conv': onednn_conv.conv} if use_onednn and platform == 'cpu' else {}
    return dict(REFERENCE_OPS) | dict(FAST_OPS.get(platform, {})) | onednn
