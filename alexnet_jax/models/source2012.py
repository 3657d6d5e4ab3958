"""Networks of the 2012 source release (computerhistory/AlexNet-Source-Code) that differ from the paper's text.

They carry the numbers of their runs. Sizes are rounded up, norm1 and pool1 come before relu1, pool5 before relu5, alpha
is divided by n, and norm2b follows norm2. Where a layer of the source lists column b's own half first, column a is
first here, which renumbers inputs only.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from alexnet_jax.models.architecture import (
    Activation,
    Architecture,
    Convolution,
    Dense,
    Dropout,
    Pooling,
    ResponseNormalization,
    SpatialResponseNormalization,
)

# layers/layers-145.cfg: the published network.
SOURCE145 = Architecture(
    name='source145',
    columns=2,
    crop_size=224,
    equivalent_crops=(227,),
    layers=(
        Convolution('conv1', 96, kernel_size=11, stride=4, input_from='image', rounding='ceil'),
        ResponseNormalization('norm1', alpha_over_n=True),
        Pooling('pool1', rounding='ceil'),
        Activation('relu1'),
        Convolution('conv2', 256, kernel_size=5, pad=2, rounding='ceil'),
        Activation('relu2'),
        ResponseNormalization('norm2', alpha_over_n=True),
        SpatialResponseNormalization('norm2b'),
        Pooling('pool2', rounding='ceil'),
        Convolution('conv3', 384, kernel_size=3, pad=1, input_from='all', rounding='ceil'),
        Activation('relu3'),
        Convolution('conv4', 384, kernel_size=3, pad=1, rounding='ceil'),
        Activation('relu4'),
        Convolution('conv5', 256, kernel_size=3, pad=1, rounding='ceil'),
        Pooling('pool5', rounding='ceil'),
        Activation('relu5'),
        Dense('fc6', 4096),
        Activation('relu6'),
        Dropout('drop6'),
        Dense('fc7', 4096),
        Activation('relu7'),
        Dropout('drop7'),
        Dense('fc8', 1000),
    ),
)


def _edit_layers(name: str, columns: int = 2, **edits: dict[str, Any]) -> Architecture:
    """Return run 145 under another name, with other fields of the named layers."""
    layers = tuple(dataclasses.replace(layer, **edits.get(layer.name, {})) for layer in SOURCE145.layers)
    return dataclasses.replace(SOURCE145, name=name, columns=columns, layers=layers)


# layers-145-half.cfg: what one GPU held, with conv5 and the dense layers whole (paper, section 3.2).
SOURCE145_HALF = _edit_layers(
    'source145_half',
    columns=1,
    conv1={'features': 48},
    conv2={'features': 128},
    conv3={'features': 192},
    conv4={'features': 192},
)

# layers-146-2012-2011.cfg: "an extra sixth convolutional layer over the last pooling layer" (paper, section 6).
SOURCE146 = dataclasses.replace(
    SOURCE145,
    name='source146',
    layers=(
        *SOURCE145.layers[:16],
        Convolution('conv6', 256, kernel_size=3, pad=1, input_from='all', rounding='ceil'),
        Activation('relu_conv6'),
        *SOURCE145.layers[16:],
    ),
)

# layers-147.cfg: windows that do not overlap (paper, section 3.4), with paddings for them: 55, 28, 26, 13, 11, 6.
SOURCE147 = _edit_layers(
    'source147', conv2={'pad': 1}, conv5={'pad': 0}, **{name: {'window': 2} for name in ('pool1', 'pool2', 'pool5')}
)

# layers-150.cfg: columns that meet at fc8 alone.
SOURCE150 = _edit_layers(
    'source150',
    conv2={'features': 320},
    conv3={'input_from': 'own'},
    fc6={'features': 8192, 'input_from': 'own'},
    fc7={'input_from': 'own'},
)
