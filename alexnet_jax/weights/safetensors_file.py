"""The project's own file of weights: safetensors, in PyTorch's layout, which explains itself in its metadata.

A safetensors file is a length (8 bytes, little-endian), a JSON header of that length, and the tensors' bytes. It is
written here, since the library sorts tensors by name and a reader expects the order of the forward pass; it is read by
the library, which trusts no byte of it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors

from alexnet_jax.errors import UserError, first_line
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.runtime import atomic_io
from alexnet_jax.weights import foreign, layout, names
from alexnet_jax.weights.architecture_json import architecture_from_dict, architecture_to_dict
from alexnet_jax.weights.model_weights import ModelWeights, Preprocessing

FORMAT, FORMAT_VERSION = 'alexnet_jax', '1'
MEAN_TENSOR = 'preprocessing.mean'
_ALIGNMENT = 8
RESIZE_RULE = 'shorter side to image_size by bicubic interpolation with antialiasing, then the center square'


def write_safetensors(path: str | os.PathLike[str], weights: ModelWeights, *, tensor_names: str = '') -> None:
    """Write the network to one file, atomically: the same bytes for the same network.

    `tensor_names` 'torchvision' names the tensors as torchvision.models.alexnet does; the metadata stays. Raises
    UserError if the network is not torchvision's then.
    """
    tensors = layout.to_torch_layout(weights.arch, weights.parameters)
    if tensor_names == 'torchvision':
        table = names.torchvision_layers(weights.arch)
        tensors = {names.rename_tensor(name, table): tensor for name, tensor in tensors.items()}
    # torchvision's strict loading would refuse a tensor more, so a mean image stands in the metadata then.
    has_mean_tensor = weights.preprocessing.mean.ndim == 3 and not tensor_names
    metadata = _describe(weights, has_mean_tensor=has_mean_tensor)
    if has_mean_tensor:
        tensors[MEAN_TENSOR] = np.ascontiguousarray(weights.preprocessing.mean, np.float32)
    metadata['sha256'] = tensor_checksum(tensors)
    metadata['metadata_sha256'] = _metadata_checksum(metadata, tensors)
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
    if metadata.get('format') == FORMAT:
        return _read_own(path, metadata, tensors, partial=partial)
    if names.has_torchvision_names(tensors):
        preset, tensors = preset or 'torchvision', names.from_torchvision_names(tensors)
    return foreign.weights_from_tensors(tensors, path, preset=preset, partial=partial)


def _describe(weights: ModelWeights, *, has_mean_tensor: bool) -> dict[str, str]:
    """Return the metadata, strings all of them, but for the sums; of a mean tensor its three colors."""
    preprocessing = weights.preprocessing
    mean = preprocessing.mean.mean((0, 1), np.float64) if has_mean_tensor else preprocessing.mean
    prepared = {
        'image_size': preprocessing.image_size,
        'resize': RESIZE_RULE,
        'crop_size': weights.arch.crop_size,
        'channel_order': 'RGB',
        'range': [0, 255],
        'input': '(pixels - mean) / std',
        'mean': mean.tolist(),
        'mean_tensor': MEAN_TENSOR if has_mean_tensor else '',
        'mean_kind': preprocessing.mean_kind,
        'std': preprocessing.std.tolist(),
    }
    return {
        'format': FORMAT,
        'format_version': FORMAT_VERSION,
        'architecture': json.dumps(architecture_to_dict(weights.arch)),
        'preprocessing': json.dumps(prepared),
        'class_names': json.dumps(list(weights.class_names)),
        'class_descriptions': json.dumps(list(weights.class_descriptions)),
        'notes': json.dumps(dict(weights.notes), sort_keys=True),
    }


def _header_entries(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    entries, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        entries[name] = {'dtype': 'F32', 'shape': list(tensor.shape), 'data_offsets': [offset, end]}
        offset = end
    return entries


def tensor_checksum(tensors: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of all tensors' bytes, which are those of the file behind its header."""
    digest = hashlib.sha256()
    for tensor in tensors.values():
        digest.update(np.ascontiguousarray(tensor))
    return digest.hexdigest()


def _metadata_checksum(metadata: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of all other metadata and the tensors' names and shapes, as JSON with sorted keys."""
    described = {name: text for name, text in metadata.items() if name != 'metadata_sha256'}
    content = [described, {name: list(tensor.shape) for name, tensor in tensors.items()}]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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


def _read_own(
    path: str | os.PathLike[str], metadata: Mapping[str, str], tensors: dict[str, np.ndarray], *, partial: bool
) -> ModelWeights:
    """Return the network of a file that this package wrote."""
    if metadata.get('format_version') != FORMAT_VERSION:
        raise UserError(
            f'{path} has version {str(metadata.get("format_version"))[:20]} of the format, but this package reads '
            f'{FORMAT_VERSION}; update this package, or export the file again.'
        )
    sums = {'sha256': tensor_checksum(tensors), 'metadata_sha256': _metadata_checksum(metadata, tensors)}
    if wrong := [name for name, value in sums.items() if metadata.get(name) != value]:
        raise UserError(f'{path} is damaged: its {" and ".join(wrong)} are not those of its bytes; fetch it again.')
    try:
        content = {name: json.loads(metadata[name]) for name in ('architecture', 'preprocessing', 'notes')}
        classes = [json.loads(metadata[name]) for name in ('class_names', 'class_descriptions')]
        class_names, class_descriptions = (tuple(map(str, each)) for each in classes)
        arch = architecture_from_dict(content['architecture'])
        preprocessing = _read_preprocessing(content['preprocessing'], tensors)
        notes = {str(name): str(text) for name, text in content['notes'].items()}
    except UserError as error:
        raise UserError(f'{path}: {error}') from None
    except Exception as error:  # JSON of any form
        raise UserError(
            f'{path} has metadata that this package did not write ({type(error).__name__}: {first_line(error)}).'
        ) from error
    tensors = {name: tensor for name, tensor in tensors.items() if name != MEAN_TENSOR}
    return ModelWeights(
        arch, _own_parameters(arch, tensors, partial=partial), preprocessing, class_names, class_descriptions, notes
    )


def _own_parameters(arch: Architecture, tensors: dict[str, np.ndarray], *, partial: bool) -> Any:
    if names.has_torchvision_names(tensors):
        tensors = names.from_torchvision_names(tensors)
    return layout.from_torch_layout(arch, tensors, partial=partial)


def _read_preprocessing(content: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Preprocessing:
    mean = tensors[MEAN_TENSOR] if content['mean_tensor'] else np.array(content['mean'], np.float32)
    image_size = content['image_size']
    if not isinstance(image_size, int) or not 0 < image_size <= 2**16:
        raise UserError(f'The preprocessing has images of {str(image_size)[:40]!r} pixels.')
    return Preprocessing(image_size, mean, np.array(content['std'], np.float32), str(content['mean_kind']))
