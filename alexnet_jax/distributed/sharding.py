"""The axes of the mesh, and how each kind of array is laid out over them.

Images of a batch are split over `data`, columns of the network over `column`.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

DATA_AXIS, COLUMN_AXIS = 'data', 'column'
AXES = (DATA_AXIS, COLUMN_AXIS)

# Parameters and their momentum (columns, ...), batches (batch, ...) and dropout masks (columns, batch, ...).
PARAM_SPEC = PartitionSpec(COLUMN_AXIS)
BATCH_SPEC = PartitionSpec(DATA_AXIS)
MASK_SPEC = PartitionSpec(COLUMN_AXIS, DATA_AXIS)


def activation_spec(rank: int) -> PartitionSpec:
    """Return the spec of an activation (batch, ..., features) of that rank."""
    return PartitionSpec(DATA_AXIS, *(None,) * (rank - 2), COLUMN_AXIS)


def param_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding of parameters and their momentum: by column, replicated over `data`."""
    return NamedSharding(mesh, PARAM_SPEC)


def mask_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding of dropout masks (columns, batch, ...)."""
    return NamedSharding(mesh, MASK_SPEC)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding of arrays whose first axis is the batch: split over `data`, replicated over `column`."""
    return NamedSharding(mesh, BATCH_SPEC)


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding of arrays that every device holds in full."""
    return NamedSharding(mesh, PartitionSpec())


def place_array(array: Any, sharding: NamedSharding) -> Any:
    """Return the array on the devices of that sharding; its shape there if they can only be compiled for."""
    # What distributed/targets.py makes; jax has no other way to ask.
    if type(sharding.mesh.devices.flat[0].client).__name__ == 'CompileOnlyPyClient':
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)
    return jax.device_put(array, sharding)


def gather_to_host(array: jax.Array, mesh: Mesh) -> np.ndarray:
    """Return all values of an array on the mesh, on every process; all processes must call it."""
    if not array.is_fully_addressable:
        array = jax.jit(lambda x: x, out_shardings=replicated_sharding(mesh))(array)
    return np.asarray(array)
