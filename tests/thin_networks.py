"""The presets with few maps, for tests of files of weights: the same graphs at a thousandth of the size."""

import dataclasses

import executor
import jax
import numpy as np
import skimage.data

from alexnet_jax.models import presets
from alexnet_jax.models.alexnet import AlexNet, get_parameters, with_parameters
from alexnet_jax.models.architecture import Convolution, Dense
from alexnet_jax.weights.layout import to_torch_layout
from alexnet_jax.weights.model_weights import ModelWeights, Preprocessing

MAPS = {'conv1': 12, 'conv2': 16, 'conv3': 20, 'conv4': 20, 'conv5': 16, 'conv6': 16, 'fc6': 24, 'fc7': 28, 'fc8': 11}


def make_thin(arch, maps=MAPS):
    """The architecture with these features."""
    layers = tuple(
        dataclasses.replace(layer, features=maps[layer.name]) if isinstance(layer, Convolution | Dense) else layer
        for layer in arch.layers
    )
    return dataclasses.replace(arch, layers=layers)


def use_thin_presets(maps=MAPS):
    """Put thin ones in the place of the presets; returns what was there."""
    before = dict(presets.PRESETS)
    presets.PRESETS.update({name: make_thin(arch, maps) for name, arch in before.items()})
    return before


def draw_weights(arch, seed=0, **preprocessing):
    """The network with random weights, biases among them, and a mean image from noise."""
    model = AlexNet(arch, key=jax.random.key(seed), initialization='he')
    rng = np.random.default_rng(seed)
    parameters = {
        name: {'kernel': np.asarray(parts['kernel']), 'bias': rng.normal(0, 0.1, parts['bias'].shape).astype(np.float32)}
        for name, parts in get_parameters(model).items()
    }
    last, each = arch.layers[-1].name, parameters[arch.layers[-1].name]
    surplus = arch.columns * each['bias'].shape[1] - arch.num_classes
    if surplus:
        each = {part: array.copy() for part, array in each.items()}
        each['kernel'][-1, ..., -surplus:] = each['bias'][-1, -surplus:] = 0
        parameters[last] = each
    size = arch.crop_size + 12
    mean = (120 + 10 * rng.normal(size=(size, size, 3))).astype(np.float32)
    prepared = {'image_size': size, 'mean': mean, 'std': np.ones(3, np.float32), 'mean_kind': 'image'} | preprocessing
    names = tuple(f'class_{number}' for number in range(arch.num_classes))
    return ModelWeights(arch, parameters, Preprocessing(**prepared), names, names, {'origin': 'a test'})


def torch_tensors(weights):
    """The tensors of a network in PyTorch's layout."""
    return to_torch_layout(weights.arch, weights.parameters)


def photographs(size):
    """uint8 (4, size, size, 3): squares of photographs, their middle."""
    squares = []
    for image in (skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket()):
        top, left = ((side - size) // 2 for side in image.shape[:2])
        squares.append(image[top : top + size, left : left + size])
    return np.stack(squares)


def run_network(weights, images):
    """Every point of this package's network by name, for float32 `images` free of the mean."""
    model = with_parameters(AlexNet(weights.arch, key=jax.random.key(0)), weights.parameters)
    return jax.device_get(jax.jit(lambda x: model(x)[1])(np.asarray(images, np.float32)))


def assert_same_points(found, expected, bound=1e-5):
    """Every point of one is in the other, and the same up to a relative error."""
    assert found.keys() == expected.keys()
    errors = {name: executor.relative_error(found[name], expected[name]) for name in expected}
    assert max(errors.values()) < bound, errors


def assert_same_bits(found, expected):
    """The parameters are the same to the bit."""
    assert found.keys() == expected.keys()
    for layer, parts in expected.items():
        for part, array in parts.items():
            assert np.array_equal(found[layer][part].view(np.uint32), np.asarray(array).view(np.uint32)), (layer, part)
