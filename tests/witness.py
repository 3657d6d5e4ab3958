"""A second AlexNet in plain NumPy, float64, written from the paper's section 3.5 and sharing no code with the package.

Arrays are (images, rows, columns, maps). Each function says in loops what its layer means; nothing here is fast.
"""

import numpy as np


def correlate(x, kernel, bias, stride, before, after):
    """Windows of x (zeros added on the edges) times the kernel (rows, columns, in, out), plus the bias."""
    rows, columns = kernel.shape[:2]
    x = np.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    high, wide = ((size - window) // stride + 1 for size, window in zip(x.shape[1:3], (rows, columns), strict=True))
    out = np.zeros((len(x), high, wide, kernel.shape[3]))
    for i in range(rows):
        for j in range(columns):
            seen = x[:, i : i + (high - 1) * stride + 1 : stride, j : j + (wide - 1) * stride + 1 : stride]
            out += np.tensordot(seen, kernel[i, j], axes=(3, 0))
    return out + bias


def normalize(x, k, n, alpha, beta):
    """Section 3.3: each number over a power of k plus alpha times the squares of its neighbors in n maps."""
    out = np.empty_like(x)
    maps = x.shape[-1]
    for i in range(maps):
        low, high = max(0, i - n // 2), min(maps - 1, i + n // 2)
        out[..., i] = x[..., i] / (k + alpha * np.sum(x[..., low : high + 1] ** 2, axis=-1)) ** beta
    return out


def pool(x, window, stride, pad_after=0):
    """The largest number of each window; windows may hang over the bottom and right edges."""
    x = np.pad(x, ((0, 0), (0, pad_after), (0, pad_after), (0, 0)), constant_values=-np.inf)
    high, wide = ((size - window) // stride + 1 for size in x.shape[1:3])
    out = np.empty((len(x), high, wide, x.shape[3]))
    for i in range(high):
        for j in range(wide):
            out[:, i, j] = x[:, i * stride : i * stride + window, j * stride : j * stride + window].max((1, 2))
    return out


def relu(x):
    return np.where(x > 0, x, 0)


def alexnet(weights, images, *, stride, pad_after, ceil=(0, 0, 0), keep_prob=0.5, masks=None):
    """Logits of the two-column network. `weights[layer]` is (kernel, bias), each with the column first.

    `pad_after`: zeros right and below conv1; `ceil`: how far the last window of each pooling hangs over.
    """

    def columns(layer, inputs, function):
        kernel, bias = weights[layer]
        return [function(x, kernel[c], bias[c]) for c, x in enumerate(inputs)]

    def each(xs, function):
        return [function(x) for x in xs]

    def norm(x):
        return normalize(x, 2, 5, 1e-4, 0.75)

    def padded(pad):
        return lambda x, kernel, bias: correlate(x, kernel, bias, 1, pad, pad)

    def units(xs, layer):
        together = np.concatenate(xs, axis=-1).reshape(len(images), -1)
        return columns(layer, [together, together], lambda x, kernel, bias: x @ kernel + bias)

    def drop(xs, layer):
        if masks is None:
            return each(xs, lambda x: keep_prob * x)
        return [x * mask for x, mask in zip(xs, masks[layer], strict=True)]

    x = columns('conv1', [images, images], lambda x, w, b: correlate(x, w, b, stride, 0, pad_after))
    x = each(each(each(x, relu), norm), lambda x: pool(x, 3, 2, ceil[0]))
    x = columns('conv2', x, padded(2))
    x = each(each(each(x, relu), norm), lambda x: pool(x, 3, 2, ceil[1]))
    both = np.concatenate(x, axis=-1)  # the first exchange
    x = each(columns('conv3', [both, both], padded(1)), relu)
    x = each(columns('conv4', x, padded(1)), relu)
    x = each(columns('conv5', x, padded(1)), relu)
    x = each(x, lambda x: pool(x, 3, 2, ceil[2]))
    x = drop(each(units(x, 'fc6'), relu), 'drop6')
    x = drop(each(units(x, 'fc7'), relu), 'drop7')
    return np.concatenate(units(x, 'fc8'), axis=-1)


def normalize_within_maps(x, k, n, scale, power):
    """Layer rnorm of the 2012 source: over k plus scale (already over n^2) times the squares of an n x n square."""
    out, half = np.empty_like(x), n // 2
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            square = x[:, max(0, i - half) : i + half + 1, max(0, j - half) : j + half + 1]
            out[:, i, j] = x[:, i, j] / (k + scale * np.sum(square**2, axis=(1, 2))) ** power
    return out


def overhang(size, window, stride, pad=0):
    """Rows that the last window reads past the edge, where outputs are 1 + ceil((2 pad + size - window) / stride)."""
    span = size + 2 * pad - window
    return -(-span // stride) * stride - span


def run145(weights, images, *, masks=None):
    """Logits of run 145 (layers-145.cfg, layer-params-145.cfg of the 2012 source); weights and masks as in `alexnet`.

    cmrnorm divides its scale by 5, rnorm by 25; neurons come last in a layer, so after the pooling where it has one.
    """

    def conv(name, inputs, stride, pad, neuron):
        kernel, bias = weights[name]
        after = pad + overhang(inputs[0].shape[1], kernel.shape[1], stride, pad)
        outputs = [correlate(x, kernel[c], bias[c], stride, pad, after) for c, x in enumerate(inputs)]
        return [relu(x) for x in outputs] if neuron else outputs

    def cmrnorm(inputs):
        return [normalize(x, 2, 5, 1e-4 / 5, 0.75) for x in inputs]

    def maxpool(inputs, neuron):
        outputs = [pool(x, 3, 2, overhang(x.shape[1], 3, 2)) for x in inputs]
        return [relu(x) for x in outputs] if neuron else outputs

    def hidden(inputs, name, dropout):
        both = np.concatenate(inputs, axis=-1).reshape(len(images), -1)
        kernel, bias = weights[name]
        outputs = [relu(both @ kernel[c] + bias[c]) for c in (0, 1)]
        return [0.5 * x if masks is None else x * masks[dropout][c] for c, x in enumerate(outputs)]

    x = maxpool(cmrnorm(conv('conv1', [images, images], 4, 0, neuron=False)), neuron=True)
    x = cmrnorm(conv('conv2', x, 1, 2, neuron=True))
    x = maxpool([normalize_within_maps(each, 1, 5, 1e-3 / 25, 0.75) for each in x], neuron=False)
    x = conv('conv3', [np.concatenate(x, axis=-1)] * 2, 1, 1, neuron=True)
    x = conv('conv5', conv('conv4', x, 1, 1, neuron=True), 1, 1, neuron=False)
    x = hidden(hidden(maxpool(x, neuron=True), 'fc6', 'drop6'), 'fc7', 'drop7')
    kernel, bias = weights['fc8']
    both = np.concatenate(x, axis=-1)
    return np.concatenate([both @ kernel[c] + bias[c] for c in (0, 1)], axis=-1)


def noisy_crops(crops, mean_image, noise, strength, flip):
    """Convdata_jpeg.py: crops, flipped, less the mean's unflipped center, plus strength times noise, over 1 + that."""
    edge, size = (len(mean_image) - crops.shape[1]) // 2, crops.shape[1]
    x = np.where(flip[:, None, None, None], crops[:, :, ::-1], crops).astype(np.float64)
    x -= mean_image[edge : edge + size, edge : edge + size]
    return (x + strength * noise[:, None, None, :]) / (1 + strength)


def chain(weights, images, steps):
    """Logits of a network of one column, given as words in order: 'conv2 pad=2 groups=2', 'relu', 'norm', 'fc6'.

    Pixels that no window reaches are left out; `norm` is Caffe's: k 1, 1e-4 divided by 5, over all maps.
    """
    x = images
    for word, *settings in map(str.split, steps):
        number = {'pad': 0, 'stride': 1, 'groups': 1} | {k: int(v) for k, v in (each.split('=') for each in settings)}
        if word.startswith('conv'):
            kernel, bias = (array[0] for array in weights[word])
            groups = zip(*(np.split(array, number['groups'], axis=-1) for array in (x, kernel, bias)), strict=True)
            x = np.concatenate([correlate(*group, number['stride'], *2 * [number['pad']]) for group in groups], axis=-1)
        elif word.startswith('fc'):
            kernel, bias = (array[0] for array in weights[word])
            x = x.reshape(len(x), -1) @ kernel + bias
        else:
            x = {'relu': relu, 'norm': lambda x: normalize(x, 1, 5, 2e-5, 0.75), 'pool': lambda x: pool(x, 3, 2)}[word](
                x
            )
    return x


def cross_entropy(logits, labels):
    """Mean negative log-probability of the labels."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    picked = shifted[np.arange(len(labels)), labels]
    return np.mean(np.log(np.sum(np.exp(shifted), axis=1)) - picked)


def slope(function, x, direction, step=1e-6):
    """Central difference of a scalar function along a direction."""
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)
