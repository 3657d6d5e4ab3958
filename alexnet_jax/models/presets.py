"""The networks by name, each a value with its source, and `get_architecture`, which also applies overrides."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from alexnet_jax.errors import UserError
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
from alexnet_jax.models.cuda_convnet import FOUR_LAYERS
from alexnet_jax.models.overrides import (
    ArchitectureOverrides,
    apply_overrides,
    derive_feature_multipliers,
    derive_overrides,
    insert_after,
)
from alexnet_jax.models.source2012 import SOURCE145, SOURCE145_HALF, SOURCE146, SOURCE147, SOURCE150

# 224 pixels are read as 227: three zeros below and to the right (2012 source, modulesX rounds up).
_CONV1_PAD_AFTER = 3


def _add_relus(*layers: Layer) -> tuple[Layer, ...]:
    """Return the layers with a ReLU after each one with weights but the last: relu1 after conv1, relu6 after fc6."""
    result = []
    for layer in layers:
        result.append(layer)
        if isinstance(layer, Convolution | Dense) and layer is not layers[-1]:
            # conv6 shares its number with fc6, so its ReLU has the layer's whole name.
            result.append(Activation('relu_conv6' if layer.name == 'conv6' else f'relu{layer.name[-1]}'))
    return tuple(result)


def _classifier(
    features: int = 4096, num_classes: int = 1000, *, keep_prob: float = 0.5, inverted: bool = False
) -> tuple[Layer, ...]:
    """Return fc6 to fc8 with dropout after the hidden ones."""
    return (
        Dense('fc6', features),
        Dropout('drop6', keep_prob, inverted),
        Dense('fc7', features),
        Dropout('drop7', keep_prob, inverted),
        Dense('fc8', num_classes),
    )


# Krizhevsky et al. 2012, section 3.5: norm1 follows relu1 as in section 3.3, drop6 follows relu6.
PAPER = Architecture(
    name='paper',
    columns=2,
    crop_size=224,
    equivalent_crops=(227,),
    layers=_add_relus(
        Convolution('conv1', 96, kernel_size=11, stride=4, input_from='image', pad_after=_CONV1_PAD_AFTER),
        ResponseNormalization('norm1'),
        Pooling('pool1'),
        Convolution('conv2', 256, kernel_size=5, pad=2),
        ResponseNormalization('norm2'),
        Pooling('pool2'),
        Convolution('conv3', 384, kernel_size=3, pad=1, input_from='all'),
        Convolution('conv4', 384, kernel_size=3, pad=1),
        Convolution('conv5', 256, kernel_size=3, pad=1),
        Pooling('pool5'),
        *_classifier(),
    ),
)

# The paper's one-GPU net of section 3.2 (layers/layers-145-half.cfg): conv1 to conv4 halved, the rest as it was.
ONE_GPU = Architecture(
    name='one_gpu',
    columns=1,
    crop_size=224,
    equivalent_crops=(227,),
    layers=_add_relus(
        Convolution('conv1', 48, kernel_size=11, stride=4, input_from='image', pad_after=_CONV1_PAD_AFTER),
        ResponseNormalization('norm1'),
        Pooling('pool1'),
        Convolution('conv2', 128, kernel_size=5, pad=2),
        ResponseNormalization('norm2'),
        Pooling('pool2'),
        Convolution('conv3', 192, kernel_size=3, pad=1),
        Convolution('conv4', 192, kernel_size=3, pad=1),
        Convolution('conv5', 256, kernel_size=3, pad=1),
        Pooling('pool5'),
        *_classifier(),
    ),
)

# Section 6, "an extra sixth convolutional layer over the last pooling layer" (run 146: all inputs, 128 maps a column).
SIX_CONVOLUTIONS = dataclasses.replace(
    PAPER,
    name='six_convolutions',
    layers=insert_after(
        PAPER.layers,
        'pool5',
        Convolution('conv6', 256, kernel_size=3, pad=1, input_from='all'),
        Activation('relu_conv6'),
    ),
)

# One column without groups and without normalization: what most notes on the paper draw.
MERGED = Architecture(
    name='merged',
    columns=1,
    crop_size=224,
    equivalent_crops=(227,),
    layers=tuple(layer for layer in PAPER.layers if not isinstance(layer, ResponseNormalization)),
)


def _caffe_architecture(name: str, *, pool_before_norm: bool) -> Architecture:
    """Return one of BVLC's models (train_val.prototxt): k 1, alpha over n, over all maps, which mixes the groups."""

    def norm_and_pool(number: int) -> tuple[Layer, ...]:
        norm = ResponseNormalization(f'norm{number}', k=1.0, alpha_over_n=True)
        pool = Pooling(f'pool{number}')
        return (pool, norm) if pool_before_norm else (norm, pool)

    layers = _add_relus(
        Convolution('conv1', 96, kernel_size=11, stride=4, input_from='image'),
        *norm_and_pool(1),
        Convolution('conv2', 256, kernel_size=5, pad=2, groups=2),
        *norm_and_pool(2),
        Convolution('conv3', 384, kernel_size=3, pad=1),
        Convolution('conv4', 384, kernel_size=3, pad=1, groups=2),
        Convolution('conv5', 256, kernel_size=3, pad=1, groups=2),
        Pooling('pool5'),
        *_classifier(inverted=True),
    )
    return Architecture(name=name, columns=1, crop_size=227, layers=layers)


# bvlc_alexnet and bvlc_reference_caffenet.
CAFFE = _caffe_architecture('caffe', pool_before_norm=False)
CAFFENET = _caffe_architecture('caffenet', pool_before_norm=True)

# The ONNX model zoo's bvlc_alexnet: Caffe's, but fed 224 pixels of which conv1 and two poolings drop the last ones.
# pool5 hangs over the edge instead, so that fc6 still sees 6x6.
_ZOO_ROUNDING = {'conv1': 'floor', 'pool1': 'floor', 'pool2': 'floor', 'pool5': 'ceil'}
ONNX_ZOO = dataclasses.replace(
    CAFFE,
    name='onnx_zoo',
    crop_size=224,
    layers=tuple(
        dataclasses.replace(layer, rounding=_ZOO_ROUNDING[layer.name])
        if isinstance(layer, Convolution | Pooling) and layer.name in _ZOO_ROUNDING
        else layer
        for layer in CAFFE.layers
    ),
)

# torchvision/models/alexnet.py. Its adaptive pooling to 6x6 is the identity at 224; at other crops fc6 differs here.
TORCHVISION = Architecture(
    name='torchvision',
    columns=1,
    crop_size=224,
    layers=_add_relus(
        Convolution('conv1', 64, kernel_size=11, stride=4, pad=2, input_from='image', rounding='floor'),
        Pooling('pool1', rounding='floor'),
        Convolution('conv2', 192, kernel_size=5, pad=2),
        Pooling('pool2', rounding='floor'),
        Convolution('conv3', 384, kernel_size=3, pad=1),
        Convolution('conv4', 256, kernel_size=3, pad=1),
        Convolution('conv5', 256, kernel_size=3, pad=1),
        Pooling('pool5', rounding='floor'),
        Dropout('drop5', inverted=True),
        Dense('fc6', 4096),
        Dropout('drop6', inverted=True),
        Dense('fc7', 4096),
        Dense('fc8', 1000),
    ),
)

# Every part of the paper at a size that a laptop trains in minutes; not of the paper. Its 256 hidden features do not
# stand the loss of half of them.
MINIATURE = Architecture(
    name='miniature',
    columns=2,
    crop_size=56,
    equivalent_crops=(57,),
    layers=_add_relus(
        Convolution('conv1', 32, kernel_size=7, stride=2, input_from='image', pad_after=1),
        ResponseNormalization('norm1'),
        Pooling('pool1', rounding='ceil'),
        Convolution('conv2', 64, kernel_size=5, pad=2),
        ResponseNormalization('norm2'),
        Pooling('pool2'),
        Convolution('conv3', 96, kernel_size=3, pad=1, input_from='all'),
        Convolution('conv4', 96, kernel_size=3, pad=1),
        Convolution('conv5', 64, kernel_size=3, pad=1),
        Pooling('pool5', rounding='ceil'),
        *_classifier(256, 10, keep_prob=0.9),
    ),
)

PRESETS: Mapping[str, Architecture] = {
    arch.name: arch
    for arch in (
        PAPER,
        SOURCE145,
        SOURCE145_HALF,
        SOURCE146,
        SOURCE147,
        SOURCE150,
        ONE_GPU,
        SIX_CONVOLUTIONS,
        MERGED,
        CAFFE,
        CAFFENET,
        ONNX_ZOO,
        TORCHVISION,
        MINIATURE,
        FOUR_LAYERS,
    )
}


def get_architecture(
    preset: str, *, num_classes: int | None = None, overrides: ArchitectureOverrides | None = None
) -> Architecture:
    """Return the preset of that name, for `num_classes` and with the overrides.

    Raises UserError if there is no such preset or an override does not fit it.
    """
    if preset not in PRESETS:
        raise UserError(f'Unknown network {preset!r}. Choose one of {", ".join(PRESETS)}.')
    arch = apply_overrides(PRESETS[preset], overrides or ArchitectureOverrides())
    if num_classes is not None:
        last = dataclasses.replace(arch.layers[-1], features=num_classes)
        arch = dataclasses.replace(arch, layers=(*arch.layers[:-1], last))
    try:
        # Windows that do not tile the crop raise here, before anything is built.
        arch.activation_shapes()
    except UserError as error:
        crops = ' and '.join(map(str, (PRESETS[preset].crop_size, *PRESETS[preset].equivalent_crops)))
        raise UserError(f'{error} Crops that fit {preset}: {crops}.') from None
    return arch


def find_preset(arch: Architecture) -> tuple[str, ArchitectureOverrides]:
    """Return the preset, and the fewest overrides, that give a network equal to `arch` but for its name.

    Raises UserError, with the differences from the nearest preset, if there is none.
    """
    derived = {name: derive_overrides(arch, preset) for name, preset in PRESETS.items()}
    candidates = sorted(derived.items(), key=lambda each: each[0] != arch.name)
    if arch.name in PRESETS:
        # Other widths are looked for only in the network's own preset: any network is another with enough of them.
        multipliers = derive_feature_multipliers(arch, PRESETS[arch.name])
        candidates.append((arch.name, dataclasses.replace(derived[arch.name], feature_multipliers=multipliers)))
    for preset, overrides in candidates:
        if not _differing_layers(preset, overrides, arch):
            for field in dataclasses.fields(overrides):
                fewer = dataclasses.replace(overrides, **{field.name: field.default})
                overrides = overrides if _differing_layers(preset, fewer, arch) else fewer
            return preset, overrides
    differences = {preset: _differing_layers(preset, derived[preset], arch) for preset in PRESETS}
    nearest = min(differences, key=lambda preset: len(differences[preset]))
    raise UserError(
        f'The network is none of {", ".join(PRESETS)}, nor one of them with overrides; from {nearest} it differs in '
        f'{", ".join(differences[nearest])}.'
    )


def _differing_layers(preset: str, overrides: ArchitectureOverrides, arch: Architecture) -> list[str]:
    """Return in which layers the preset with the overrides differs from `arch`, or that it does not exist."""
    try:
        built = get_architecture(preset, num_classes=arch.num_classes, overrides=overrides)
    except UserError as error:
        return [str(error)] * (len(arch.layers) + 1)
    if (built.columns, built.channels) != (arch.columns, arch.channels):
        return [f'{each.name} ({arch.columns} columns)' for each in arch.layers]
    if built.crop_size != arch.crop_size:
        return [f'its crop of {arch.crop_size} pixels']
    ours, theirs = ({layer.name: layer for layer in each.layers} for each in (built, arch))
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return names or ([] if list(ours) == list(theirs) else ['the order of its layers'])
