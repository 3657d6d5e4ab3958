"""A trained network as a value: architecture, parameters, preprocessing and classes, whatever file it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.models.architecture import Architecture

# {layer: {'kernel', 'bias'}}, float32, the column first in every array, as models.alexnet has them.
NumpyParameters = Mapping[str, Mapping[str, np.ndarray]]
MAX_LISTED = 5


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The way from an image to the network's input: (pixels - mean) / std, all in gray levels of 0..255, RGB.

    The shorter side is resized to `image_size` pixels and the center square is kept; the views are crops of it.
    """

    image_size: int
    # float32 (image_size, image_size, 3), or (3,): the same for every pixel.
    mean: np.ndarray
    # float32 (3,); ones where a network divides by nothing.
    std: np.ndarray
    # As config.augment.mean: image, center or channel.
    mean_kind: str = 'channel'

    def mean_image(self) -> np.ndarray:
        """Return the mean as float32 (image_size, image_size, 3)."""
        shape = (self.image_size, self.image_size, 3)
        return np.broadcast_to(np.asarray(self.mean, np.float32), shape).copy()


@dataclasses.dataclass(frozen=True)
class ModelWeights:
    """All that a trained network is. Raises UserError if its parts do not fit one another, or weights are no numbers.

    `notes` are sentences about it: its figure with the command, its license, where it comes from.
    """

    arch: Architecture
    parameters: NumpyParameters
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    class_descriptions: tuple[str, ...]
    notes: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_classes(self.arch, self.class_names, self.class_descriptions)
        _check_preprocessing(self.arch, self.preprocessing)
        _check_parameters(self.arch, self.parameters)


def list_some(names: list[str], separator: str = ', ') -> str:
    """Return the first few names as a list in a sentence."""
    return separator.join(names[:MAX_LISTED]) + (f' and {len(names) - MAX_LISTED} more' if names[MAX_LISTED:] else '')


def _check_classes(arch: Architecture, names: tuple[str, ...], descriptions: tuple[str, ...]) -> None:
    for what, entries in (('class names', names), ('class descriptions', descriptions)):
        if len(entries) != arch.num_classes:
            raise UserError(
                f'There are {len(entries):,} {what} for the {arch.num_classes:,} outputs of {arch.name}; give one for '
                'each output, in order.'
            )
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise UserError(f'Class names occur twice: {list_some(twice)}. Give each class a name of its own.')


def _check_preprocessing(arch: Architecture, preprocessing: Preprocessing) -> None:
    size, mean, std = preprocessing.image_size, preprocessing.mean, preprocessing.std
    if size < arch.crop_size:
        raise UserError(
            f'Images of {size} pixels are smaller than the crops of {arch.crop_size} that {arch.name} sees.'
        )
    if mean.shape not in ((3,), (size, size, 3)) or not np.isfinite(mean).all():
        raise UserError(f'The mean is {mean.shape}; it must be (3,) or ({size}, {size}, 3), of finite numbers.')
    if std.shape != (3,) or not (np.isfinite(std) & (std > 0)).all():
        raise UserError('The standard deviation of the preprocessing must be three positive numbers.')


def _check_parameters(arch: Architecture, parameters: NumpyParameters) -> None:
    expected = arch.kernel_shapes()
    if list(parameters) != list(expected):
        raise UserError(
            f'{arch.name} has the layers {", ".join(expected)}, but there are weights of '
            f'{", ".join(parameters) or "none"}.'
        )
    for name, kernel in expected.items():
        shapes = {'kernel': (arch.columns, *kernel), 'bias': (arch.columns, kernel[-1])}
        for part, shape in shapes.items():
            array = parameters[name][part]
            if array.shape != shape or array.dtype != np.float32:
                raise UserError(f'{name}.{part} is {array.dtype} {array.shape}, but {arch.name} needs float32 {shape}.')
            if not np.isfinite(array).all():
                raise UserError(f'{name}.{part} has NaN or infinite entries; a network with them gives no answer.')
