"""What a config writes as text, read: lists of numbers, factors by layer, a mesh, the departures of a network.

Lists are comma-separated in a config, so that they can be given on the command line. Knows the fields, not the rooms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from alexnet_jax.errors import UserError

if TYPE_CHECKING:
    from alexnet_jax.data.augment import Augmentation
    from alexnet_jax.data.statistics import PcaBasis
    from alexnet_jax.models.architecture import Architecture

MOST = 10_000_000  # cut-outs of a split


def drops(config: ConfigDict) -> tuple[float, ...]:
    """Epochs at which the rate is divided by ten, rising: '30,60,80' is (30.0, 60.0, 80.0)."""
    epochs = _numbers(
        'train.milestones', config.train.milestones, float, 'epochs that rise, such as 30,60,80'
    )
    if any(a >= b for a, b in zip((0.0, *epochs), epochs, strict=False)):
        raise wrong('train.milestones', config.train.milestones, 'epochs that rise, such as 30,60,80')
    return epochs


def layer_rates(config: ConfigDict) -> dict[str, float]:
    """Factors by layer: 'conv1=0.1,fc8=2' is {'conv1': 0.1, 'fc8': 2.0}."""
    text, factors, expected = (
        config.train.layer_lr_multipliers,
        {},
        "factors by layer such as 'conv1=0.1,fc8=2', from 0 up",
    )
    for part in filter(None, text.split(',')):
        name, _, number = part.partition('=')
        factor, layer = _numbers('train.layer_lr_multipliers', number, float, expected, text), name.strip()
        if not layer or layer in factors or len(factor) != 1 or factor[0] < 0:
            raise wrong('train.layer_lr_multipliers', text, expected)
        factors[layer] = factor[0]
    return factors


def preset_architecture(config: ConfigDict, num_classes: int | None = None) -> Architecture:
    """Return the architecture that section `model` asks for, with `num_classes`, else the config's, else the preset's.

    Raises UserError if an override does not fit the preset.
    """
    # Imported here: models imports jax.
    from alexnet_jax.models.overrides import ArchitectureOverrides
    from alexnet_jax.models.presets import get_architecture

    model = config.model
    exchange = tuple(filter(None, map(str.strip, model.exchange_layers.split(','))))
    overrides = ArchitectureOverrides(
        crop_size=model.crop_size,
        exchange_layers=() if exchange == ('none',) else exchange or None,
        activation=model.activation,
        pooling=model.pooling,
        alpha_over_n=model.lrn_alpha_over_n,
        dropout=model.dropout,
        dropout_position=model.dropout_position,
    )
    return get_architecture(
        model.preset, num_classes=num_classes or model.num_classes or None, overrides=overrides
    )


def augmentation(config: ConfigDict, dataset_basis: PcaBasis, crop_size: int) -> Augmentation:
    """Return the random changes of training images that section `augment` asks for."""
    from alexnet_jax.data.augment import Augmentation
    from alexnet_jax.data.statistics import select_pca_basis

    return Augmentation(
        crop_size=crop_size,
        horizontal_flip=config.augment.horizontal_flip,
        lighting=config.augment.lighting,
        lighting_std=config.augment.lighting_std,
        pca_basis=select_pca_basis(config.augment.pca_basis, dataset_basis),
    )


def counts(config: ConfigDict) -> tuple[int, int, int]:
    """How many cut-outs to make: '8000,1000,1000' is (8000, 1000, 1000) for train, validation and test."""
    expected = (
        f'three whole numbers from 1 to {MOST:,} for train, validation and test, such as 8000,1000,1000'
    )
    numbers = _numbers('prepare.num_cutouts', config.prepare.num_cutouts, int, expected)
    if len(numbers) != 3 or min(numbers) < 1 or max(numbers) > MOST:
        raise wrong('prepare.num_cutouts', config.prepare.num_cutouts, expected)
    return numbers


def profile(config: ConfigDict) -> tuple[int, int] | None:
    """The first and the last step to trace: '10:15' is (10, 15), an empty text None."""
    text, expected = (
        config.train.profile_steps,
        'nothing, or the first and the last step to trace such as 10:15',
    )
    if not text:
        return None
    steps = _numbers('train.profile_steps', text.replace(':', ','), int, expected, text)
    if len(steps) != 2 or not 1 <= steps[0] <= steps[1] or text.count(':') != 1:
        raise wrong('train.profile_steps', text, expected)
    return steps


def mesh_shape(config: ConfigDict) -> tuple[int, int] | None:
    """Devices along data and column: '4,2' is (4, 2), 'auto' is None."""
    if config.mesh == 'auto':
        return None
    expected = "auto, or the numbers of devices along data and column such as '4,2'"
    numbers = _numbers('mesh', config.mesh, int, expected)
    if len(numbers) != 2 or min(numbers) < 1:
        raise wrong('mesh', config.mesh, expected)
    return numbers


def _numbers(field: str, text: str, kind: Callable[[str], float], expected: str, whole: str = '') -> tuple:
    """A comma-separated list as numbers; an empty one is ()."""
    try:
        numbers = tuple(kind(part) for part in text.split(',')) if text.strip() else ()
    except ValueError:
        raise wrong(field, whole or text, expected) from None
    if not all(map(math.isfinite, numbers)):
        raise wrong(field, whole or text, expected)
    return numbers


def wrong(field: str, value: object, expected: object) -> UserError:
    """A field of the config does not hold what it should."""
    return UserError(f'config.{field} is {value!r}; expected was {expected}.')
