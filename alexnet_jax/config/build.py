"""Build the values of other packages that a section of the config describes. Imported packages load when called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from alexnet_jax.config import parse

if TYPE_CHECKING:
    from alexnet_jax.data.augment import Augmentation
    from alexnet_jax.data.statistics import PcaBasis
    from alexnet_jax.evaluate.view_places import Views
    from alexnet_jax.models.architecture import Architecture
    from alexnet_jax.models.overrides import ArchitectureOverrides


def preset_architecture(config: ConfigDict, num_classes: int | None = None) -> Architecture:
    """Return the architecture that section `model` asks for, with `num_classes`, else the config's, else the preset's.

    Raises UserError if an override does not fit the preset.
    """
    from alexnet_jax.models.presets import get_architecture

    classes = num_classes or config.model.num_classes or None
    return get_architecture(config.model.preset, num_classes=classes, overrides=model_overrides(config))


def model_overrides(config: ConfigDict) -> ArchitectureOverrides:
    """Return the changes to its preset that section `model` asks for."""
    from alexnet_jax.models.overrides import ArchitectureOverrides

    model = config.model
    return ArchitectureOverrides(
        crop_size=model.crop_size,
        columns=model.columns,
        removed_layers=parse.layer_names(model.removed_layers) or (),
        feature_multipliers=parse.layer_multipliers(model.feature_multipliers),
        exchange_layers=parse.layer_names(model.exchange_layers),
        activation=model.activation,
        pooling=model.pooling,
        pool_overlap=model.pool_overlap,
        normalization=model.normalization,
        alpha_over_n=model.lrn_alpha_over_n,
        dropout=model.dropout,
        dropout_position=model.dropout_position,
    )


def model_fields(preset: str, overrides: ArchitectureOverrides) -> dict[str, object]:
    """Return the fields of section `model` that `preset_architecture` makes this preset with these overrides of."""
    exchange = overrides.exchange_layers
    return {
        'model.preset': preset,
        'model.num_classes': 0,
        'model.crop_size': overrides.crop_size,
        'model.columns': overrides.columns,
        'model.removed_layers': ','.join(overrides.removed_layers),
        'model.feature_multipliers': ','.join(
            f'{name}={multiplier!r}' for name, multiplier in (overrides.feature_multipliers or {}).items()
        ),
        'model.exchange_layers': '' if exchange is None else ','.join(exchange) or 'none',
        'model.activation': overrides.activation,
        'model.pooling': overrides.pooling,
        'model.pool_overlap': overrides.pool_overlap,
        'model.normalization': overrides.normalization,
        'model.lrn_alpha_over_n': overrides.alpha_over_n,
        'model.dropout': overrides.dropout,
        'model.dropout_position': overrides.dropout_position,
    }


def report_views(config: ConfigDict) -> Views:
    """Return the views of the final figure and of predictions: the list, if there is one, else their number."""
    return config.evaluate.view_list or config.evaluate.views


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
        lighting_rescale=config.augment.lighting_rescale,
        crop_block=config.augment.crop_block,
        lighting_edits=tuple(
            (epoch, edits['lighting'] == 'on')
            for epoch, edits in parse.diary(config.train.diary)
            if 'lighting' in edits
        ),
    )
