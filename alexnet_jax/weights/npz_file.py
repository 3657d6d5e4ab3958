"""NumPy's .npz: the tensors of the safetensors file, and its metadata as a text of JSON; nothing pickled is read.

with numpy.load('network.npz') as file:
    kernels = file['conv1.weight']
"""

from __future__ import annotations

import json
import math
import os
import zipfile

import numpy as np

from alexnet_jax.errors import UserError, first_line
from alexnet_jax.runtime import atomic_io
from alexnet_jax.weights.model_weights import ModelWeights
from alexnet_jax.weights.own_metadata import pack_weights, weights_from_content
from alexnet_jax.weights.size_limits import require_unpacked_fits

METADATA = 'metadata'
MAX_ARRAYS = 1000


def write_npz(path: str | os.PathLike[str], weights: ModelWeights, *, tensor_names: str = '') -> None:
    """Write the network to one file, atomically; `tensor_names` as `own_metadata.pack_weights` takes them."""
    metadata, tensors = pack_weights(weights, tensor_names=tensor_names)
    with atomic_io.write_atomic(path, 'wb') as file:
        np.savez(file, allow_pickle=False, **tensors, **{METADATA: np.array(json.dumps(metadata))})


def read_npz(path: str | os.PathLike[str], *, preset: str = '', partial: bool = False) -> ModelWeights:
    """Return the network in a .npz of this package, or of tensors with torchvision's or this package's names.

    Raises UserError if the file is damaged, holds anything but numbers, or does not fit.
    """
    arrays = _read_arrays(path)
    text = arrays.pop(METADATA, None)
    metadata = {}
    if text is not None:
        try:
            metadata = {str(name): str(value) for name, value in json.loads(str(text)).items()}
        except (ValueError, AttributeError, RecursionError) as error:
            raise UserError(f'{path} has metadata that is no JSON ({first_line(error)}); export it again.') from error
    return weights_from_content(path, metadata, arrays, preset=preset, partial=partial)


def _read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the arrays by name. No room is made for numbers that are not there."""
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MAX_ARRAYS:
                raise UserError(f'{path} has {len(members):,} arrays, where a network has some twenty.')
            require_unpacked_fits(path, sum(member.file_size for member in members), os.path.getsize(path))
            for member in members:
                name = member.filename.removesuffix('.npy')
                if name in arrays:
                    raise UserError(f'{path} has two arrays of the name {name[:40]!r}; export it again.')
                arrays[name] = _read_array(archive, member)
    except (UserError, PermissionError):
        raise
    except Exception as error:  # zip, zlib and NumPy raise many kinds of exceptions for damaged bytes
        raise UserError(
            f'{path} is damaged or no .npz ({type(error).__name__}: {first_line(error)}); fetch or export it again.'
        ) from error
    return arrays


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Return one array, whose header has to agree with the size of the member before room is made for it."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, by_columns, dtype = np.lib.format.read_array_header_2_0(file)
        if dtype.hasobject or dtype.kind not in 'fU':
            raise UserError(
                f'{archive.filename}: {member.filename[:40]!r} holds {dtype}, and only floating-point numbers are '
                'read, no pickled objects; save the arrays themselves.'
            )
        rest = file.read()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(rest):
        raise ValueError(f'{member.filename[:40]} of the shape {shape} has {len(rest):,} bytes')
    return np.frombuffer(rest, dtype).reshape(shape, order='F' if by_columns else 'C')
