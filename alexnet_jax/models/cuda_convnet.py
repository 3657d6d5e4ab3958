"""The authors' network for CIFAR-10, after the layer files of cuda-convnet (2011), to which section 3.3 refers.

The paper calls it a four-layer CNN. `layers-conv-local-13pct.cfg` is without response normalization,
`layers-conv-local-11pct.cfg` with it. Their third and fourth layer have kernels of their own at every place (type
local); here these are convolutions.
"""

from __future__ import annotations

from alexnet_jax.models.architecture import Activation, Architecture, Convolution, Dense, Pooling, ResponseNormalization

# alpha and power as in layers-conv-local-11pct.cfg; k is 1 in all of cuda-convnet, and n divides alpha.
_NORMALIZATION = {'k': 1.0, 'alpha': 1e-3, 'alpha_over_n': True}

FOUR_LAYERS = Architecture(
    name='four_layers',
    columns=1,
    crop_size=24,
    layers=(
        Convolution('conv1', 64, kernel_size=5, pad=2, input_from='image'),
        Activation('relu1'),
        ResponseNormalization('norm1', **_NORMALIZATION),
        Pooling('pool1', rounding='ceil'),
        Convolution('conv2', 64, kernel_size=5, pad=2),
        Activation('relu2'),
        ResponseNormalization('norm2', **_NORMALIZATION),
        Pooling('pool2', rounding='ceil'),
        Convolution('conv3', 32, kernel_size=3, pad=1),
        Activation('relu3'),
        Convolution('conv4', 32, kernel_size=3, pad=1),
        Activation('relu4'),
        Dense('fc5', 10),
    ),
)
