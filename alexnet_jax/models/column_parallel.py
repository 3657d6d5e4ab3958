"""The only place where columns meet: the mesh axes, what lies where, and the gathers between columns.

A device of the mesh axis `column` holds `mine` = columns / size of that axis columns and works through them one by one;
what it sees of the others comes through `between_columns`. Nothing else crosses that axis inside the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

DATA, COLUMN = 'data', 'column'
WEIGHTS = PartitionSpec(COLUMN)  # (columns, ...)
IMAGES = PartitionSpec(DATA)  # (batch, ...)
MASKS = PartitionSpec(COLUMN, DATA)  # (columns, batch, ...)
Columns = tuple[jax.Array, ...]  # one array (B, ..., maps of a column) for each column of this device


def point_spec(rank: int) -> PartitionSpec:
    """Where a named point of that rank lies: images over `data`, maps or units over `column`."""
    return PartitionSpec(DATA, *(None,) * (rank - 2), COLUMN)


def between_columns(columns: Columns, *, on_mesh: bool) -> jax.Array:
    """All columns' maps side by side, (B, ..., maps of all): the exchange. Its gradient is a reduce-scatter.

    A device alone on the axis `column` holds them all, and nothing moves.
    """
    mine = beside(columns)
    if not on_mesh:
        return mine
    # Along a new first axis, where every device's numbers lie in one piece: gathered along the maps themselves, XLA
    # lays the result out for the gather, and the layer behind it works on a transposed array.
    return beside(tuple(lax.all_gather(mine, COLUMN)))


def beside(columns: Columns) -> jax.Array:
    """This device's columns side by side along their last axis."""
    return columns[0] if len(columns) == 1 else jnp.concatenate(columns, axis=-1)


def apart(x: jax.Array, columns: int) -> Columns:
    """The reverse of `beside`: equal parts along the last axis."""
    return tuple(jnp.split(x, columns, axis=-1)) if columns > 1 else (x,)


def over_mesh(
    body: Callable[..., dict[str, jax.Array]], mesh: Mesh, ranks: dict[str, int]
) -> Callable[..., Any]:
    """`body(weights, images, masks) -> points` run by every device on its share.

    Weights come in by column and whole over `data`, so the transpose reduces their gradients over `data` alone;
    the check that this is so (check_vma) stays on. They vary over `data` before `body` casts them to anything, so that
    the reduction is in their own dtype.
    """

    def varying(weights: Any, images: jax.Array, masks: Any) -> dict[str, jax.Array]:
        weights = jax.tree.map(lambda each: lax.pcast(each, DATA, to='varying'), weights)
        return body(weights, images, masks)

    return jax.shard_map(
        varying,
        mesh=mesh,
        in_specs=(WEIGHTS, IMAGES, MASKS),
        out_specs={name: point_spec(rank) for name, rank in ranks.items()},
        check_vma=True,
    )


def weights_sharding(mesh: Mesh) -> NamedSharding:
    """Where parameters and their momentum live: by column, whole on every device of `data`."""
    return NamedSharding(mesh, WEIGHTS)


def masks_sharding(mesh: Mesh) -> NamedSharding:
    """Where dropout masks (columns, batch, ...) live."""
    return NamedSharding(mesh, MASKS)
