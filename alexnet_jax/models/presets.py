"""The networks by name, each a value with its source; `get` hands one out, changed as a config asks.

What follows from a network (shapes, counts, exchanged numbers) is arithmetic and stands in `architecture`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from alexnet_jax.errors import UserError
from alexnet_jax.models import overrides
from alexnet_jax.models.architecture import (
    Activation,
    Architecture,
    Convolution,
    Dense,
    Dropout,
    Layer,
    Pooling,
    ResponseNormalization,
)

_OVERHANG = (
    3  # 224 pixels are read as 227: three zeros below and to the right (2012 source, modulesX rounds up)
)


def _with_relus(*layers: Layer) -> tuple[Layer, ...]:
    """Puts a ReLU behind each layer with weights but the last: relu1 behind conv1, relu6 behind fc6."""
    every = []
    for layer in layers:
        every.append(layer)
        if isinstance(layer, Convolution | Dense) and layer is not layers[-1]:
            # conv6 shares its number with fc6, so its ReLU bears its whole name.
            every.append(Activation('relu_conv6' if layer.name == 'conv6' else f'relu{layer.name[-1]}'))
    return tuple(every)


def _dense(
    units: int = 4096, classes: int = 1000, *, keep: float = 0.5, inverted: bool = False
) -> tuple[Layer, ...]:
    """fc6 to fc8 with dropout behind the hidden ones."""
    return (
        Dense('fc6', units),
        Dropout('drop6', keep, inverted),
        Dense('fc7', units),
        Dropout('drop7', keep, inverted),
        Dense('fc8', classes),
    )


# Krizhevsky et al. 2012, section 3.5: norm1 follows relu1 as in section 3.3, drop6 follows relu6.
PAPER = Architecture(
    name='paper',
    columns=2,
    crop=224,
    other_crops=(227,),
    layers=_with_relus(
        Convolution('conv1', 96, kernel=11, stride=4, sees='image', overhang=_OVERHANG),
        ResponseNormalization('norm1'),
        Pooling('pool1'),
        Convolution('conv2', 256, kernel=5, pad=2),
        ResponseNormalization('norm2'),
        Pooling('pool2'),
        Convolution('conv3', 384, kernel=3, pad=1, sees='all'),
        Convolution('conv4', 384, kernel=3, pad=1),
        Convolution('conv5', 256, kernel=3, pad=1),
        Pooling('pool5'),
        *_dense(),
    ),
)

# The paper's one-GPU net of section 3.2 (layers/layers-145-half.cfg): conv1 to conv4 halved, the rest as it was.
ONE_GPU = Architecture(
    name='one_gpu',
    columns=1,
    crop=224,
    other_crops=(227,),
    layers=_with_relus(
        Convolution('conv1', 48, kernel=11, stride=4, sees='image', overhang=_OVERHANG),
        ResponseNormalization('norm1'),
        Pooling('pool1'),
        Convolution('conv2', 128, kernel=5, pad=2),
        ResponseNormalization('norm2'),
        Pooling('pool2'),
        Convolution('conv3', 192, kernel=3, pad=1),
        Convolution('conv4', 192, kernel=3, pad=1),
        Convolution('conv5', 256, kernel=3, pad=1),
        Pooling('pool5'),
        *_dense(),
    ),
)

# Section 6, "an extra sixth convolutional layer over the last pooling layer" (run 146: all inputs, 128 maps a column).
SIX_CONVOLUTIONS = dataclasses.replace(
    PAPER,
    name='six_convolutions',
    layers=overrides.behind(
        PAPER.layers,
        'pool5',
        Convolution('conv6', 256, kernel=3, pad=1, sees='all'),
        Activation('relu_conv6'),
    ),
)

# One column without groups and without normalization: what most notes on the paper draw.
MERGED = Architecture(
    name='merged',
    columns=1,
    crop=224,
    other_crops=(227,),
    layers=tuple(layer for layer in PAPER.layers if not isinstance(layer, ResponseNormalization)),
)


def _caffe(name: str, *, pooled_first: bool) -> Architecture:
    """BVLC's models (train_val.prototxt): k 1, alpha divided by n, over all maps, which thereby mix the groups."""

    def pooled(number: int) -> tuple[Layer, ...]:
        norm, pool = ResponseNormalization(f'norm{number}', k=1.0, divided=True), Pooling(f'pool{number}')
        return (pool, norm) if pooled_first else (norm, pool)

    layers = _with_relus(
        Convolution('conv1', 96, kernel=11, stride=4, sees='image'),
        *pooled(1),
        Convolution('conv2', 256, kernel=5, pad=2, groups=2),
        *pooled(2),
        Convolution('conv3', 384, kernel=3, pad=1),
        Convolution('conv4', 384, kernel=3, pad=1, groups=2),
        Convolution('conv5', 256, kernel=3, pad=1, groups=2),
        Pooling('pool5'),
        *_dense(inverted=True),
    )
    return Architecture(name=name, columns=1, crop=227, layers=layers)


CAFFE = _caffe('caffe', pooled_first=False)  # bvlc_alexnet
CAFFENET = _caffe('caffenet', pooled_first=True)  # bvlc_reference_caffenet

# torchvision/models/alexnet.py. Its adaptive pooling to 6x6 is the identity at 224; at other crops fc6 differs here.
TORCHVISION = Architecture(
    name='torchvision',
    columns=1,
    crop=224,
    layers=_with_relus(
        Convolution('conv1', 64, kernel=11, stride=4, pad=2, sees='image', rounding='floor'),
        Pooling('pool1', rounding='floor'),
        Convolution('conv2', 192, kernel=5, pad=2),
        Pooling('pool2', rounding='floor'),
        Convolution('conv3', 384, kernel=3, pad=1),
        Convolution('conv4', 256, kernel=3, pad=1),
        Convolution('conv5', 256, kernel=3, pad=1),
        Pooling('pool5', rounding='floor'),
        Dropout('drop5', inverted=True),
        Dense('fc6', 4096),
        Dropout('drop6', inverted=True),
        Dense('fc7', 4096),
        Dense('fc8', 1000),
    ),
)

# Every part of the paper at a size that a laptop trains in minutes; not of the paper.
MINIATURE = Architecture(
    name='miniature',
    columns=2,
    crop=56,
    other_crops=(57,),
    layers=_with_relus(
        Convolution('conv1', 32, kernel=7, stride=2, sees='image', overhang=1),
        ResponseNormalization('norm1'),
        Pooling('pool1', rounding='ceil'),
        Convolution('conv2', 64, kernel=5, pad=2),
        ResponseNormalization('norm2'),
        Pooling('pool2'),
        Convolution('conv3', 96, kernel=3, pad=1, sees='all'),
        Convolution('conv4', 96, kernel=3, pad=1),
        Convolution('conv5', 64, kernel=3, pad=1),
        Pooling('pool5', rounding='ceil'),
        *_dense(256, 10, keep=0.9),  # 256 units do not bear the loss of half of them
    ),
)

PRESETS: Mapping[str, Architecture] = {
    each.name: each
    for each in (PAPER, ONE_GPU, SIX_CONVOLUTIONS, MERGED, CAFFE, CAFFENET, TORCHVISION, MINIATURE)
}


def get(
    preset: str,
    *,
    classes: int | None = None,
    crop: int = 0,
    exchange: Collection[str] | None = None,
    activation: str = '',
    pooling: str = '',
    alpha_over_n: str = '',
    dropout: str = '',
    dropout_position: str = '',
) -> Architecture:
    """The preset of that name, changed where something is given; UserError where the change does not fit it.

    `exchange` are the layers that see all columns; the words of the others are tables in `variations`.
    """
    if preset not in PRESETS:
        raise UserError(f'There is no network {preset!r}; give one of {", ".join(PRESETS)}.')
    chosen = PRESETS[preset]
    if exchange is not None:
        chosen = overrides.exchanging(chosen, exchange)
    for words, word in (
        (overrides.ACTIVATIONS, activation),
        (overrides.POOLINGS, pooling),
        (overrides.ALPHAS, alpha_over_n),
        (overrides.DROPOUTS, dropout),
        (overrides.DROPOUT_POSITIONS, dropout_position),
    ):
        if word:
            chosen = dataclasses.replace(chosen, layers=words[word](chosen.layers))
    last = chosen.layers[-1]
    if classes is not None:
        last = dataclasses.replace(last, units=classes)
    chosen = dataclasses.replace(chosen, crop=crop or chosen.crop, layers=(*chosen.layers[:-1], last))
    try:
        chosen.points()  # the arithmetic speaks up here, before anything is built
    except UserError as mistake:
        fitting = ' and '.join(map(str, (PRESETS[preset].crop, *PRESETS[preset].other_crops)))
        raise UserError(f'{mistake} Those of {preset} are {fitting}.') from None
    return chosen
