"""Old names of config fields and of their values, up to version 0.2: read in the files of a run, refused elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

from alexnet_jax.config.schema import FIELDS

# Fields of a section that got another name or another section; old name -> new.
RENAMED_FIELDS: Mapping[str, str] = {
    'network.preset': 'model.preset',
    'network.classes': 'model.num_classes',
    'network.crop': 'model.crop_size',
    'network.exchange': 'model.exchange_layers',
    'network.activation': 'model.activation',
    'network.pooling': 'model.pooling',
    'network.alpha': 'model.lrn_alpha_over_n',
    'network.dropout': 'model.dropout',
    'network.dropout_place': 'model.dropout_position',
    'network.initialisation': 'model.initialization',
    'network.compute': 'model.compute_dtype',
    'network.precision': 'model.matmul_precision',
    'network.plain': 'model.use_reference_ops',
    'data.threads': 'data.num_threads',
    'data.ahead': 'data.prefetch',
    'prepare.side': 'prepare.image_size',
    'prepare.quality': 'prepare.jpeg_quality',
    'prepare.validation_share': 'prepare.validation_fraction',
    'prepare.test_share': 'prepare.test_fraction',
    'prepare.counts': 'prepare.num_cutouts',
    'prepare.expect': 'prepare.expected_counts',
    'prepare.md5': 'prepare.verify_md5',
    'prepare.unreadable': 'prepare.max_unreadable',
    'prepare.workers': 'prepare.num_workers',
    'augment.mirror': 'augment.horizontal_flip',
    'augment.colours': 'augment.pca_basis',
    'augment.lighting_deviation': 'augment.lighting_std',
    'train.batch': 'train.batch_size',
    'train.accumulate': 'train.grad_accumulation',
    'train.epochs': 'train.num_epochs',
    'train.rate': 'train.learning_rate',
    'train.decay': 'train.weight_decay',
    'train.drops': 'train.milestones',
    'train.bias_rate': 'train.bias_lr_multiplier',
    'train.layer_rates': 'train.layer_lr_multipliers',
    'train.explosion': 'train.on_nonfinite',
    'train.profile': 'train.profile_steps',
    'evaluate.batch': 'evaluate.batch_size',
    'log.standstill_steps': 'log.stalled_loss_steps',
    'log.shares': 'log.time_breakdown',
    'machine.join_seconds': 'machine.join_timeout',
    'machine.peer_seconds': 'machine.peer_timeout',
    'machine.stuck_seconds': 'machine.stall_timeout',
    'machine.cache': 'machine.compilation_cache',
    'machine.dots_only': 'machine.ynnpack_dots_only',
}
# By new name of the field: old value -> new.
RENAMED_VALUES: Mapping[str, Mapping[str, str]] = {
    'train.schedule': {'drops': 'step'},
    'augment.mean': {'centre': 'center'},
    'model.dropout_position': {'behind': 'after'},
    'model.lrn_alpha_over_n': {'whole': 'false', 'divided': 'true'},
}


def migrate_fields(values: Mapping[str, object]) -> dict[str, object]:
    """Return fields as a run directory has them, {'train.rate': 0.01}, under their new names and with new values."""
    renamed = {RENAMED_FIELDS.get(name, name): value for name, value in values.items()}
    return {name: _renamed_value(name, value) or value for name, value in renamed.items()}


def renamed_field_message(name: str) -> str:
    """Return the sentence about a field or section under its old name; '' if it never had that name."""
    if new := RENAMED_FIELDS.get(name):
        return f'config.{name} was renamed to config.{new}.'
    sections = {old.partition('.')[0]: new.partition('.')[0] for old, new in RENAMED_FIELDS.items()}
    if name in sections and not any(field.startswith(f'{name}.') for field in FIELDS):
        return f'The section config.{name} was renamed to config.{sections[name]}.'
    return ''


def renamed_value_message(field: str, value: object) -> str:
    """Return the sentence about a value under its old name; '' if the field never had it."""
    new = _renamed_value(field, value)
    return f'config.{field}={value} was renamed to config.{field}={new}.' if new else ''


def _renamed_value(field: str, value: object) -> str:
    return RENAMED_VALUES.get(field, {}).get(value, '') if isinstance(value, str) else ''
