"""A third reading of the networks: chains of words for each, run in NumPy, float64, with every named point.

Written from the paper, Caffe's prototxt files, torchvision's file and the graph of the ONNX zoo, not from the package.
Tensors are in PyTorch's layout, images and points (images, rows, columns, maps), as in witness.py.
"""

import numpy as np
import witness

_MIDDLE = 'conv3 pad=1, relu3, conv4 pad=1 {g}, relu4, conv5 pad=1 {g}, relu5, '
_GROUPED, _PLAIN = _MIDDLE.format(g='groups=2'), _MIDDLE.format(g='')
_CAFFE = 'norm{n} k=1 alpha=0.00002, pool{n}, '
_CAFFENET = 'pool{n}, norm{n} k=1 alpha=0.00002, '
_PAPER = 'norm{n} k=2 alpha=0.0001 parts=2, pool{n}, '
_DENSE = 'fc6, relu6, drop6, fc7, relu7, drop7, fc8'
_FIRST = 'conv1 stride=4, relu1, {}conv2 pad=2 groups=2, relu2, {}'
NETWORKS = {
    'paper': 'conv1 stride=4 after=3, relu1, '
    + _PAPER.format(n=1)
    + 'conv2 pad=2 groups=2, relu2, '
    + _PAPER.format(n=2)
    + _GROUPED
    + 'pool5, fc6, relu6, drop6 keep=0.5, fc7, relu7, drop7 keep=0.5, fc8',
    'caffe': _FIRST.format(_CAFFE.format(n=1), _CAFFE.format(n=2)) + _GROUPED + 'pool5, ' + _DENSE,
    'caffenet': _FIRST.format(_CAFFENET.format(n=1), _CAFFENET.format(n=2)) + _GROUPED + 'pool5, ' + _DENSE,
    'onnx_zoo': _FIRST.format(_CAFFE.format(n=1), _CAFFE.format(n=2)) + _GROUPED + 'pool5 over=1, ' + _DENSE,
    'torchvision': 'conv1 stride=4 pad=2, relu1, pool1, conv2 pad=2, relu2, pool2, '
    + _PLAIN
    + 'pool5, drop5, fc6, relu6, drop6, fc7, relu7, fc8',
    'miniature': 'conv1 stride=2 after=1, relu1, '
    + _PAPER.format(n=1).replace('pool1', 'pool1 over=1')
    + 'conv2 pad=2 groups=2, relu2, '
    + _PAPER.format(n=2)
    + _GROUPED
    + 'pool5 over=1, fc6, relu6, drop6 keep=0.9, fc7, relu7, drop7 keep=0.9, fc8',
}


def parse_chain(name):
    """[(point, {setting: number})] of a network, in order."""
    layers = []
    for words in NETWORKS[name].split(','):
        point, *settings = words.split()
        layers.append((point, {key: float(value) for key, value in (each.split('=') for each in settings)}))
    return layers


def run_chain(name, tensors, images):
    """Every point of the network by name, prob among them, for `images` free of the mean."""
    x, points = np.asarray(images, np.float64), {}
    for point, settings in parse_chain(name):
        x = points[point] = _apply(point, settings, tensors, x)
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    points['prob'] = powers / powers.sum(axis=1, keepdims=True)
    return points


def _apply(point, settings, tensors, x):
    def number(key, default):
        return settings.get(key, default)

    kind = point.rstrip('0123456789')
    if kind == 'conv':
        kernel = np.asarray(tensors[f'{point}.weight'], np.float64).transpose(2, 3, 1, 0)
        bias = np.asarray(tensors[f'{point}.bias'], np.float64)
        groups, pad = int(number('groups', 1)), int(number('pad', 0))
        stride, after = int(number('stride', 1)), int(number('after', 0))
        parts = zip(*(np.split(array, groups, axis=-1) for array in (x, kernel, bias)), strict=True)
        return np.concatenate(
            [witness.correlate(*part, stride=stride, before=pad, after=pad + after) for part in parts], axis=-1
        )
    if kind == 'fc':
        # Channel, height, width: PyTorch's order.
        flat = x.transpose(0, 3, 1, 2).reshape(len(x), -1) if x.ndim == 4 else x
        weight, bias = (np.asarray(tensors[f'{point}.{part}'], np.float64) for part in ('weight', 'bias'))
        return flat @ weight.T + bias
    if kind == 'norm':
        parts = np.split(x, int(number('parts', 1)), axis=-1)
        normalized = [witness.normalize(part, settings['k'], 5, settings['alpha'], 0.75) for part in parts]
        return np.concatenate(normalized, axis=-1)
    if kind == 'pool':
        return witness.pool(x, 3, 2, int(number('over', 0)))
    return x * number('keep', 1.0) if kind == 'drop' else witness.relu(x)


def relative_error(found, expected):
    """Largest difference over the largest absolute entry."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()
