"""SHA-256 digests of a checkpoint's arrays and record, the same on any mesh."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

Tree = Any


def abstract_array(leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Return the shape, dtype and sharding of an array, without the array."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def json_digest(content: dict[str, Any]) -> str:
    """Return the SHA-256 of the content as JSON, which writes each float so that it comes back exactly."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _named_leaves(tree: Tree) -> list[tuple[str, jax.Array]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [('/'.join(str(key.key) for key in path), leaf) for path, leaf in leaves]


def tree_from_spec(leaves: dict[str, dict[str, Any]]) -> Tree:
    """Return the abstract arrays that a record describes, on one device."""
    tree: Tree = {}
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    for name, leaf in leaves.items():
        *path, last = name.split('/')
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[last] = jax.ShapeDtypeStruct(tuple(leaf['shape']), np.dtype(leaf['dtype']), sharding=device)
    return tree


def tree_spec(tree: Tree) -> dict[str, tuple[list[int], str]]:
    """Return {name: (shape, dtype)}."""
    return {name: (list(leaf.shape), str(leaf.dtype)) for name, leaf in _named_leaves(tree)}


def array_digests(state: Tree) -> dict[str, dict[str, Any]]:
    """Return {name: {shape, dtype, sha256: [one per column]}} of arrays whose first axis is the column."""
    named = _named_leaves(state)
    columns = max(leaf.shape[0] for _, leaf in named)
    digests = np.zeros((len(named), columns, 32), np.uint8)
    for row, (_, leaf) in enumerate(named):
        # The replicas of a column are equal, so one of this host is enough.
        shards = {shard.index[0].start or 0: shard for shard in leaf.addressable_shards[::-1]}
        for first, shard in shards.items():
            for column, values in enumerate(np.asarray(shard.data), first):
                digest = hashlib.sha256(np.ascontiguousarray(values)).digest()
                digests[row, column] = np.frombuffer(digest, np.uint8)
    # A process knows only its own columns.
    if jax.process_count() > 1:
        digests = np.max(multihost_utils.process_allgather(digests), axis=0)
    return {
        name: {
            'shape': list(leaf.shape),
            'dtype': str(leaf.dtype),
            'sha256': [row[c].tobytes().hex() for c in range(leaf.shape[0])],
        }
        for (name, leaf), row in zip(named, digests, strict=True)
    }


def first_difference(saved: dict[str, dict[str, Any]], restored: dict[str, dict[str, Any]]) -> str | None:
    """Return the name of the first restored array whose digest is not the saved one, None if all are equal."""
    return next((name for name, leaf in restored.items() if leaf != saved[name]), None)
