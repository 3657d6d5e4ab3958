"""Receptive fields: the part of the image that one place of an activation sees."""

from __future__ import annotations

from typing import NamedTuple

from alexnet_jax.errors import UserError
from alexnet_jax.models.architecture import Architecture, Convolution, Dense, Pooling, SpatialResponseNormalization


class ReceptiveField(NamedTuple):
    """Place (row, column) sees the `size` pixels from `start` + row * `stride`; what lies off the image is padding."""

    size: int
    stride: int
    start: int

    def clip(self, place: int, image_size: int) -> tuple[int, int]:
        """Return the first pixel and the one after the last that a place sees along one side of the image."""
        first = self.start + place * self.stride
        return max(0, first), min(image_size, first + self.size)


def receptive_field(arch: Architecture, layer: str) -> ReceptiveField:
    """Return what one place of a layer with maps sees of the image, along each side; of a dense layer, all of it.

    Raises UserError for an unknown layer.
    """
    if layer not in arch.activation_shapes():
        raise UserError(f'{arch.name} has no {layer}; its layers are {", ".join(arch.activation_shapes())}.')
    size, stride, start = 1, 1, 0
    for each in arch.layers:
        if isinstance(each, Dense):
            break
        if isinstance(each, Convolution | Pooling):
            window = each.kernel_size if isinstance(each, Convolution) else each.window
            start -= arch.padding(each)[0][0] * stride
            size += (window - 1) * stride
            stride *= each.stride
        elif isinstance(each, SpatialResponseNormalization):
            start -= each.n // 2 * stride
            size += (each.n - 1) * stride
        if each.name == layer:
            return ReceptiveField(size, stride, start)
    return ReceptiveField(arch.crop_size, arch.crop_size, 0)
