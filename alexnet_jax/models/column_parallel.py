"""Collectives between columns: the only place in the network where numbers cross the mesh axis `column`.

A device on that axis holds (columns / size of the axis) columns and works through them one by one; it sees those of
other devices through `all_gather_columns`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh

from alexnet_jax.distributed.sharding import BATCH_SPEC, COLUMN_AXIS, DATA_AXIS, MASK_SPEC, PARAM_SPEC, activation_spec

# One array (B, ..., features of a column) for each column of this device.
Columns = tuple[jax.Array, ...]


def all_gather_columns(columns: Columns, *, columns_sharded: bool, dtype: str = '') -> jax.Array:
    """Return all columns' features side by side, (B, ..., features of all). Its gradient is a reduce-scatter.

    Unless the columns are sharded, this device holds them all, and nothing moves. With a `dtype` the features cross in
    it, and so do their gradients; a device's own are rounded too, so that the numbers are those of any mesh.
    """
    own = concat_columns(columns)
    if dtype:
        gathered = all_gather_columns((own.astype(dtype),), columns_sharded=columns_sharded)
        return gathered.astype(own.dtype)
    if not columns_sharded:
        return own
    # Along a new first axis, where every device's numbers are contiguous: gathered along the features themselves, XLA
    # lays the result out for the gather, and the next layer works on a transposed array.
    return concat_columns(tuple(lax.all_gather(own, COLUMN_AXIS)))


def concat_columns(columns: Columns) -> jax.Array:
    """Concatenate this device's columns along their last axis."""
    return columns[0] if len(columns) == 1 else jnp.concatenate(columns, axis=-1)


def split_columns(x: jax.Array, columns: int) -> Columns:
    """Split the last axis into equal columns: the inverse of `concat_columns`."""
    return tuple(jnp.split(x, columns, axis=-1)) if columns > 1 else (x,)


def shard_map_columns(
    body: Callable[..., dict[str, jax.Array]], mesh: Mesh, ranks: dict[str, int]
) -> Callable[..., Any]:
    """Return `body(parameters, images, masks) -> activations` as run by every device of the mesh on its share.

    Parameters are split by column and replicated over `data`, so the transpose reduces their gradients over `data`
    alone; the check that this is so (check_vma) stays on. They vary over `data` before `body` casts them to another
    dtype, so that the reduction is in their own.
    """

    def varying(parameters: Any, images: jax.Array, masks: Any) -> dict[str, jax.Array]:
        # The transpose of this cast is the all-reduce of the gradients over `data`.
        parameters = jax.tree.map(lambda x: lax.pcast(x, DATA_AXIS, to='varying'), parameters)
        return body(parameters, images, masks)

    return jax.shard_map(
        varying,
        mesh=mesh,
        in_specs=(PARAM_SPEC, BATCH_SPEC, MASK_SPEC),
        out_specs={name: activation_spec(rank) for name, rank in ranks.items()},
        check_vma=True,
    )
