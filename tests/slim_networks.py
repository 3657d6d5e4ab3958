"""The presets with a sixteenth of their features, random weights and real photographs."""

import dataclasses
import functools

import jax
import numpy as np
from flax import nnx

from alexnet_jax.data import image_io
from alexnet_jax.models.alexnet import AlexNet, with_parameters
from alexnet_jax.models.architecture import Convolution, Dense
from alexnet_jax.models.presets import PRESETS
from alexnet_jax.weights.model_weights import ModelWeights, Preprocessing

NAMES = ('paper', 'caffe', 'caffenet', 'torchvision', 'miniature')
CLASSES = 7
SHRINK = 16


def slim_architecture(name):
    """The preset with features divided by 16 (the miniature by 4) and 7 classes, which 2 columns do not divide."""
    arch = PRESETS[name]
    divisor = 4 if name == 'miniature' else SHRINK

    def shrink(layer):
        if layer is arch.layers[-1]:
            return dataclasses.replace(layer, features=CLASSES)
        if isinstance(layer, Convolution | Dense):
            return dataclasses.replace(layer, features=layer.features // divisor)
        return layer

    return dataclasses.replace(arch, layers=tuple(map(shrink, arch.layers)))


@functools.cache
def slim_weights(name, mean_kind='image', std=(58.4, 57.1, 57.4)):
    """Random weights of the slim preset, at the scale that keeps activations near one."""
    return random_weights(slim_architecture(name), mean_kind, std, seed=len(name))


def random_weights(arch, mean_kind='image', std=(58.4, 57.1, 57.4), seed=0):
    """Random weights at the scale that keeps activations near one, a mean image, and names of classes."""
    chance, side = np.random.default_rng(seed), image_side(arch)
    parameters = {
        layer: {
            'kernel': chance.normal(size=(arch.columns, *shape)).astype(np.float32) * np.sqrt(2 / np.prod(shape[:-1])),
            'bias': chance.normal(size=(arch.columns, shape[-1])).astype(np.float32) / 10,
        }
        for layer, shape in arch.kernel_shapes().items()
    }
    parameters = {name: {part: np.float32(x) for part, x in parts.items()} for name, parts in parameters.items()}
    # The surplus output of the last column is zero, as a file has none.
    surplus = -arch.num_classes % arch.columns
    if surplus:
        parameters['fc8']['kernel'][-1, :, -surplus:] = parameters['fc8']['bias'][-1, -surplus:] = 0
    mean = chance.uniform(90, 140, (side, side, 3)).astype(np.float32)
    mean = mean if mean_kind != 'channel' else mean[0, 0]
    names = tuple(f'n{number}' for number in range(arch.num_classes))
    preprocessing = Preprocessing(side, mean, np.array(std, np.float32), mean_kind)
    return ModelWeights(arch, parameters, preprocessing, names, tuple(f'{name}, words' for name in names), {'a': 'b'})


def image_side(arch):
    return arch.crop_size * 8 // 7


@functools.cache
def photographs():
    """Three photographs of scikit-image, as uint8 arrays of their own sizes."""
    import skimage.data

    return [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]


def network_inputs(weights):
    """The center crops of the photographs as the network's input, float64, by NumPy."""
    arch, preprocessing = weights.arch, weights.preprocessing
    side, crop = preprocessing.image_size, arch.crop_size
    squares = np.stack([image_io.resize_and_crop(photo, side) for photo in photographs()]).astype(np.float64)
    edge = (side - crop) // 2
    window = np.s_[..., edge : edge + crop, edge : edge + crop, :]
    mean = preprocessing.mean.astype(np.float64)
    return (squares[window] - (mean[window] if mean.ndim == 3 else mean)) / preprocessing.std


@functools.cache
def _compile_package(arch):
    model = nnx.eval_shape(lambda: AlexNet(arch, key=jax.random.key(0)))
    return jax.jit(lambda parameters, inputs: with_parameters(model, parameters)(inputs)[1])


def run_package(weights, inputs):
    """Every activation (N, rows, columns, maps) by this package, float32."""
    return jax.device_get(_compile_package(weights.arch)(dict(weights.parameters), np.float32(inputs)))


def assert_same_activations(actual, expected, *, tolerance=1e-5):
    """Relative error: the largest difference over the largest absolute entry of that array."""
    assert set(expected) <= set(actual)
    for name, array in expected.items():
        assert actual[name].shape == array.shape, name
        error = np.abs(actual[name] - array).max() / np.abs(array).max()
        assert error < tolerance, f'{name}: {error:.2e}'


def assert_same_bits(first, second):
    """Two networks are the same: records, arrays, preprocessing, classes and notes."""
    assert first.arch == second.arch
    assert list(first.parameters) == list(second.parameters)
    for name, parts in first.parameters.items():
        for part, array in parts.items():
            np.testing.assert_array_equal(array, second.parameters[name][part], strict=True)
    ours, theirs = first.preprocessing, second.preprocessing
    np.testing.assert_array_equal(ours.mean, theirs.mean, strict=True)
    np.testing.assert_array_equal(ours.std, theirs.std, strict=True)
    assert (ours.image_size, ours.mean_kind) == (theirs.image_size, theirs.mean_kind)
    assert (first.class_names, first.class_descriptions) == (second.class_names, second.class_descriptions)
    assert dict(first.notes) == dict(second.notes)
