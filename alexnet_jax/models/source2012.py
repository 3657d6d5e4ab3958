"""Networks of the 2012 source release (computerhistory/AlexNet-Source-Code) that differ from the paper's text."""

from __future__ import annotations

from alexnet_jax.models.architecture import (
    Activation,
    Architecture,
    Convolution,
    Dense,
    Dropout,
    Layer,
    Pooling,
    ResponseNormalization,
    SpatialResponseNormalization,
)


def _run145(
    name: str, *, conv2: int = 256, fc6: int = 4096, exchange: tuple[str, ...] = ('conv3', 'fc6', 'fc7', 'fc8')
) -> Architecture:
    """Return run 145 of the 2012 source (layers/layers-145.cfg), or a variant with other sizes and exchanges.

    norm1 and pool1 come before relu1, norm2b follows norm2, alpha is divided by n, and sizes are rounded up. In the
    source column b's fc7 lists its own half of fc6 first; here column a is always first, which renumbers inputs only.
    """

    def seen(layer: str) -> str:
        return 'all' if layer in exchange else 'own'

    layers: tuple[Layer, ...] = (
        Convolution('conv1', 96, kernel_size=11, stride=4, input_from='image', rounding='ceil'),
        ResponseNormalization('norm1', alpha_over_n=True),
        Pooling('pool1', rounding='ceil'),
        Activation('relu1'),
        Convolution('conv2', conv2, kernel_size=5, pad=2, rounding='ceil'),
        Activation('relu2'),
        ResponseNormalization('norm2', alpha_over_n=True),
        SpatialResponseNormalization('norm2b'),
        Pooling('pool2', rounding='ceil'),
        Convolution('conv3', 384, kernel_size=3, pad=1, input_from=seen('conv3'), rounding='ceil'),
        Activation('relu3'),
        Convolution('conv4', 384, kernel_size=3, pad=1, rounding='ceil'),
        Activation('relu4'),
        Convolution('conv5', 256, kernel_size=3, pad=1, rounding='ceil'),
        Pooling('pool5', rounding='ceil'),
        Activation('relu5'),
        Dense('fc6', fc6, input_from=seen('fc6')),
        Activation('relu6'),
        Dropout('drop6'),
        Dense('fc7', 4096, input_from=seen('fc7')),
        Activation('relu7'),
        Dropout('drop7'),
        Dense('fc8', 1000, input_from=seen('fc8')),
    )
    return Architecture(name=name, columns=2, crop_size=224, equivalent_crops=(227,), layers=layers)


# The published network as its authors ran it, and their run 150, whose columns meet at fc8 alone (layers-150.cfg).
SOURCE145 = _run145('source145')
NO_COMMUNICATION = _run145('no_communication', conv2=320, fc6=8192, exchange=('fc8',))
