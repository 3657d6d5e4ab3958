"""A network of two columns and five layers with weights of chance, and its activations in plain NumPy (float64)."""

import jax
import numpy as np
import witness
from flax import nnx

from alexnet_jax.models.alexnet import AlexNet
from alexnet_jax.models.architecture import (
    Activation,
    Architecture,
    Convolution,
    Dense,
    Dropout,
    Pooling,
    ResponseNormalization,
)
from alexnet_jax.weights.model_weights import Preprocessing

IMAGE_SIZE, CROP, MAPS, CLASSES = 14, 11, 6, 7
ARCH = Architecture(
    name='small',
    columns=2,
    crop_size=CROP,
    layers=(
        Convolution('conv1', MAPS, kernel_size=3, stride=2, input_from='image'),
        Activation('relu1'),
        Pooling('pool1', window=3, stride=2),
        Convolution('conv2', 4, kernel_size=1),
        Dense('fc8', CLASSES),
    ),
)

# Every kind of layer and of exchange once, to train: what a step or a mesh does with them shows in a second.
EVERY_LAYER = Architecture(
    name='every_layer',
    columns=2,
    crop_size=19,
    layers=(
        Convolution('conv1', 8, kernel_size=5, stride=2, input_from='image'),
        Activation('relu1'),
        ResponseNormalization('norm1'),
        Pooling('pool1', rounding='ceil'),
        Convolution('conv2', 8, kernel_size=3, pad=1),
        Activation('relu2'),
        Convolution('conv3', 16, kernel_size=3, pad=1, input_from='all'),
        Activation('relu3'),
        Dense('fc6', 32),
        Activation('relu6'),
        Dropout('drop6', keep_prob=0.9),
        Dense('fc8', 10),
    ),
)


def make_model():
    return nnx.eval_shape(lambda: AlexNet(ARCH, key=jax.random.key(0)))


def make_parameters(seed=0):
    """Return float32 weights by layer; the last column's surplus output is set, so that a leak of it would show."""
    chance = np.random.default_rng(seed)
    return {
        name: {
            'kernel': chance.normal(size=(2, *shape)).astype(np.float32) / 10,
            'bias': chance.normal(size=(2, shape[-1])).astype(np.float32),
        }
        for name, shape in ARCH.kernel_shapes().items()
    }


def make_preprocessing(mean_kind='image', std=(1, 1, 1), seed=0):
    chance = np.random.default_rng(seed)
    mean = chance.uniform(90, 140, (IMAGE_SIZE, IMAGE_SIZE, 3)).astype(np.float32)
    return Preprocessing(IMAGE_SIZE, mean, np.array(std, np.float32), mean_kind)


def make_images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)


def prepare(images, preprocessing):
    """The center crop minus the center of the mean image, or the mean color, over the deviation."""
    start = (IMAGE_SIZE - CROP) // 2
    window = np.s_[..., start : start + CROP, start : start + CROP, :]
    mean = preprocessing.mean[window].astype(np.float64)
    if preprocessing.mean_kind == 'channel':
        mean = preprocessing.mean.astype(np.float64).mean(axis=(0, 1))
    return (images[window] - mean) / preprocessing.std


def expected_activations(parameters, inputs):
    """Each activation of both columns, column a first, by the functions of tests/witness.py."""
    weights = {name: [(p['kernel'][c], p['bias'][c]) for c in (0, 1)] for name, p in parameters.items()}
    conv1 = [witness.correlate(inputs, *weights['conv1'][c], 2, 0, 0) for c in (0, 1)]
    relu1 = [witness.relu(x) for x in conv1]
    pool1 = [witness.pool(x, 3, 2) for x in relu1]
    conv2 = [witness.correlate(pool1[c], *weights['conv2'][c], 1, 0, 0) for c in (0, 1)]
    flat = np.concatenate(conv2, axis=-1).reshape(len(inputs), -1)
    fc8 = [flat @ kernel + bias for kernel, bias in weights['fc8']]
    both = {'conv1': conv1, 'relu1': relu1, 'pool1': pool1, 'conv2': conv2, 'fc8': fc8}
    joined = {name: np.concatenate(columns, axis=-1) for name, columns in both.items()}
    joined['fc8'] = joined['fc8'][:, :CLASSES]
    exponentials = np.exp(joined['fc8'] - joined['fc8'].max(axis=1, keepdims=True))
    joined['prob'] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return joined


def make_mesh(data, column):
    types = (jax.sharding.AxisType.Auto,) * 2
    return jax.make_mesh((data, column), ('data', 'column'), axis_types=types, devices=jax.devices()[: data * column])
