"""The project's own file of weights: safetensors, in PyTorch's layout, which explains itself in its metadata.

A safetensors file is a length (8 bytes, little-endian), a JSON header of that length, and the tensors' bytes. It is
written here, since the library sorts tensors by name and a reader expects the order of the forward pass; it is read by
the library, which trusts no byte of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors

from alexnet_jax.errors import UserError, first_line
from alexnet_jax.runtime import atomic_io
from alexnet_jax.weights.model_weights import ModelWeights
from alexnet_jax.weights.own_metadata import pack_weights, weights_from_content

_ALIGNMENT = 8


def write_safetensors(path: str | os.PathLike[str], weights: ModelWeights, *, tensor_names: str = '') -> None:
    """Write the network to one file, atomically: the same bytes for the same network.

    `tensor_names` 'torchvision' names the tensors as torchvision.models.alexnet does; the metadata stays. Raises
    UserError if the network is not torchvision's then.
    """
    metadata, tensors = pack_weights(weights, tensor_names=tensor_names)
    header = {'__metadata__': metadata, **_header_entries(tensors)}
    encoded = json.dumps(header, separators=(',', ':')).encode()
    encoded += b' ' * (-len(encoded) % _ALIGNMENT)
    with atomic_io.write_atomic(path, 'wb') as file:
        file.write(len(encoded).to_bytes(8, 'little') + encoded)
        for tensor in tensors.values():
            file.write(tensor.astype('<f4', copy=False).tobytes())


def read_safetensors(path: str | os.PathLike[str], *, preset: str = '', partial: bool = False) -> ModelWeights:
    """Return the network in a safetensors file: this package's own, or one with torchvision's or this package's names.

    A file of this package has everything in it; of another one, `preset` says which network it is where its shapes do
    not. Raises UserError if the file is damaged, its sums are wrong, or it does not fit.
    """
    metadata, tensors = _read_file(path)
    return weights_from_content(path, metadata, tensors, preset=preset, partial=partial)


def _header_entries(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    entries, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        entries[name] = {'dtype': 'F32', 'shape': list(tensor.shape), 'data_offsets': [offset, end]}
        offset = end
    return entries


def _read_file(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Return metadata and tensors, in the order of their bytes. Raises UserError if the library refuses the file."""
    try:
        with safetensors.safe_open(path, framework='numpy') as file:
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in file.offset_keys()}
    except OSError:
        raise
    except Exception as error:  # the library's own, and NumPy's for types that it lacks
        raise UserError(
            f'{path} cannot be read as safetensors ({first_line(error)}); fetch or export it again.'
        ) from error
