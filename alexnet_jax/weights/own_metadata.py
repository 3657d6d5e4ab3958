"""Write beside tensors what they are, so that a file explains itself: metadata, all of it text, with its sums."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from alexnet_jax.errors import UserError, first_line
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.weights import foreign, layout, names
from alexnet_jax.weights.architecture_json import architecture_from_dict, architecture_to_dict
from alexnet_jax.weights.model_weights import ModelWeights, Preprocessing

FORMAT, FORMAT_VERSION = 'alexnet_jax', '1'
MEAN_TENSOR = 'preprocessing.mean'
RESIZE_RULE = 'shorter side to image_size by bicubic interpolation with antialiasing, then the center square'


def pack_weights(weights: ModelWeights, *, tensor_names: str = '') -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Return metadata, with its sums, and tensors in PyTorch's layout, which together are the network.

    `tensor_names` 'torchvision' names the tensors as torchvision.models.alexnet does; the metadata stays. Raises
    UserError if the network is not torchvision's then.
    """
    tensors = layout.to_torch_layout(weights.arch, weights.parameters)
    if tensor_names == 'torchvision':
        table = names.torchvision_layers(weights.arch)
        tensors = {names.rename_tensor(name, table): tensor for name, tensor in tensors.items()}
    # torchvision's strict loading would refuse a tensor more, so a mean image stands in the metadata then.
    has_mean_tensor = weights.preprocessing.mean.ndim == 3 and not tensor_names
    metadata = _describe_weights(weights, has_mean_tensor=has_mean_tensor)
    if has_mean_tensor:
        tensors[MEAN_TENSOR] = np.ascontiguousarray(weights.preprocessing.mean, np.float32)
    metadata['sha256'] = tensor_checksum(tensors)
    metadata['metadata_sha256'] = metadata_checksum(metadata, tensors)
    return metadata, tensors


def weights_from_content(
    path: str | os.PathLike[str],
    metadata: Mapping[str, str],
    tensors: dict[str, np.ndarray],
    *,
    preset: str = '',
    partial: bool = False,
) -> ModelWeights:
    """Return the network of a file's content: this package's own, or tensors under torchvision's or own names.

    A file of this package has everything in it; of another one, `preset` says which network it is where its shapes do
    not. Raises UserError if its sums are wrong or it does not fit.
    """
    if metadata.get('format') == FORMAT:
        return unpack_weights(path, metadata, tensors, partial=partial)
    if names.has_torchvision_names(tensors):
        preset, tensors = preset or 'torchvision', names.from_torchvision_names(tensors)
    return foreign.weights_from_tensors(tensors, path, preset=preset, partial=partial)


def unpack_weights(
    path: str | os.PathLike[str], metadata: Mapping[str, str], tensors: dict[str, np.ndarray], *, partial: bool
) -> ModelWeights:
    """Return the network of a file that this package wrote. Raises UserError if it is damaged or of a newer version."""
    if metadata.get('format_version') != FORMAT_VERSION:
        raise UserError(
            f'{path} has version {str(metadata.get("format_version"))[:20]} of the format, but this package reads '
            f'{FORMAT_VERSION}; update this package, or export the file again.'
        )
    sums = {'sha256': tensor_checksum(tensors), 'metadata_sha256': metadata_checksum(metadata, tensors)}
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


def _describe_weights(weights: ModelWeights, *, has_mean_tensor: bool) -> dict[str, str]:
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


def tensor_checksum(tensors: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of all tensors' bytes, which are those of the file behind its header."""
    digest = hashlib.sha256()
    for tensor in tensors.values():
        digest.update(np.ascontiguousarray(tensor))
    return digest.hexdigest()


def metadata_checksum(metadata: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of all other metadata and the tensors' names and shapes, as JSON with sorted keys."""
    described = {name: text for name, text in metadata.items() if name != 'metadata_sha256'}
    content = [described, {name: list(tensor.shape) for name, tensor in tensors.items()}]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
