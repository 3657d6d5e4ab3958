"""The names that torchvision and Caffe have for the points of their AlexNets, and this package's for them.

torchvision counts the modules of `features` and `classifier`. Caffe computes ReLU and dropout in place: after a forward
pass its blob of the name conv1 holds relu1, and fc6 holds drop6, which at test is relu6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.models.architecture import Activation, Architecture, Convolution, Dense, Dropout
from alexnet_jax.models.presets import CAFFE, TORCHVISION

# Between pool5 and the classifier: adaptive pooling to 6 x 6, the identity at 224 pixels.
TORCHVISION_AVGPOOL = 'avgpool'
_TENSOR = re.compile(r'(features|classifier)\.(\d+)\.(weight|bias)')


def torchvision_points(arch: Architecture) -> dict[str, str]:
    """Return point -> torchvision's name of it, such as relu1 -> features.1, for networks of torchvision's layers.

    Raises UserError for other networks: torchvision has no names for theirs.
    """
    if [type(layer) for layer in arch.layers] != [type(layer) for layer in TORCHVISION.layers] or arch.columns > 1:
        raise UserError(f"{arch.name} is not torchvision's network, and torchvision has no names for its layers.")
    points: dict[str, str] = {}
    counts = {'features': 0, 'classifier': 0}
    for layer in arch.layers:
        # Its classifier begins with the dropout before fc6.
        part = 'classifier' if counts['classifier'] or isinstance(layer, Dropout | Dense) else 'features'
        points[layer.name] = f'{part}.{counts[part]}'
        counts[part] += 1
    return points


def caffe_points(arch: Architecture = CAFFE) -> dict[str, str]:
    """Return point -> the blob of Caffe that holds it after a forward pass; points overwritten in place have none.

    Caffe's layers have this package's names already.
    """
    blobs: dict[str, str] = {}
    blob = 'data'
    for layer in arch.layers:
        if isinstance(layer, Activation | Dropout):
            blobs = {point: held for point, held in blobs.items() if held != blob}
        else:
            blob = layer.name
        blobs[layer.name] = blob
    return blobs | {'prob': 'prob'}


def torchvision_layers(arch: Architecture) -> dict[str, str]:
    """Return layer -> torchvision's name of it, for the layers with weights. Raises UserError for other networks."""
    points = torchvision_points(arch)
    return {layer.name: points[layer.name] for layer in arch.layers if isinstance(layer, Convolution | Dense)}


def rename_tensor(name: str, layers: Mapping[str, str]) -> str:
    """Return 'features.0.weight' for 'conv1.weight', by a table of layers."""
    layer, _, part = name.rpartition('.')
    return f'{layers.get(layer, layer)}.{part}'


def has_torchvision_names(tensors: Mapping[str, np.ndarray]) -> bool:
    """Return whether tensors are named as torchvision names those of its AlexNet."""
    return any(_TENSOR.fullmatch(name) for name in tensors)


def from_torchvision_names(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return tensors under this package's names; one that torchvision's network lacks keeps its own."""
    layers = {theirs: ours for ours, theirs in torchvision_layers(TORCHVISION).items()}
    return {rename_tensor(name, layers): tensor for name, tensor in tensors.items()}
