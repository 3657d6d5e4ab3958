"""Checks a run once, at the door: the fields of its config, the words of the rooms, and what contradicts what.

Rooms never see the config: they take plain arguments, and what it writes as text is read in `lists`. Nothing heavy is
imported until the words of the rooms are asked for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from ml_collections import ConfigDict

from alexnet_jax.cli import unknown_field_error
from alexnet_jax.config.parse import split_counts, increasing_epochs, layer_multipliers, mesh_shape, preset_architecture, step_range, invalid_field_error
from alexnet_jax.config.schema import RESULT_FIELDS, FIELDS, RESUMABLE_FIELDS
from alexnet_jax.errors import UserError


def validate_workdir(workdir: str, *, needed: bool) -> None:
    """Check that --workdir is given where it is `needed` and that it can be written or made. Raises UserError."""
    if not workdir and needed:
        raise UserError('This mode writes to a folder of its own; give one such as --workdir=/tmp/alexnet.')
    if re.match(r'\w+://', workdir):
        raise UserError(
            f'--workdir={workdir} is no folder on a disk, which checkpoints and logs are written to; a dataset alone '
            'may lie in an object store (--config.data.directory).'
        )
    there = Path(workdir).absolute()
    while not os.path.lexists(there):
        there = there.parent
    if workdir and not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise UserError(
            f'--workdir={workdir} cannot be written, since {there} is no folder that you may write to; give another.'
        )


def validate_config(config: ConfigDict, *, images: bool = True, trains: bool = True) -> None:
    """Everything that can be known before any work: values, the rooms' words, contradictions. Raises UserError.

    Unless `images`, nothing is asked of those that it would prepare; unless it `trains`, nothing of its steps.
    """
    validate_values(config)
    values = flatten_config(config)
    for field, words in _words().items():
        if values[field] not in words:
            empty = " or '' for the preset's own" if '' in words else ''
            raise invalid_field_error(field, values[field], 'one of ' + ', '.join(filter(None, words)) + empty)
    _check_network(config, images)
    for contradicts, sentence in [*_contradictions(config), *(_of_training(config) if trains else ())]:
        if contradicts:
            raise UserError(sentence)


def validate_values(config: ConfigDict) -> None:
    """The part that needs no room: all fields are there, and none but they; types, ranges, lists. Imports no jax."""
    values = flatten_config(config)
    for field in values:
        if field not in FIELDS:
            raise UserError(unknown_field_error(field))
    for field, expected in FIELDS.items():
        if field not in values:
            raise UserError(
                f'config.{field} is missing; a card begins with default.get_config() of configs/default.py.'
            )
        if not expected.admits(values[field]):
            raise invalid_field_error(field, values[field], expected)
    step = config.evaluate.checkpoint
    if step not in ('final', 'best') and not step.isdecimal():
        raise invalid_field_error('evaluate.checkpoint', step, 'final, best or the number of a step')
    for read in (increasing_epochs, layer_multipliers, split_counts, mesh_shape, step_range):
        read(config)


def flatten_config(config: ConfigDict) -> dict[str, object]:
    """The fields with their sections before them: {'train.batch_size': 128, ...}."""

    def walk(section: Mapping, before: str):
        for name, value in section.items():
            if isinstance(value, Mapping):
                yield from walk(value, f'{before}{name}.')
            else:
                yield f'{before}{name}', value

    return dict(walk(config.to_dict(), ''))


def result_fields(config: ConfigDict) -> dict[str, object]:
    """The fields that decide the result, flat: what a workdir keeps and compares."""
    return {field: value for field, value in flatten_config(config).items() if field in RESULT_FIELDS}


def machine_fields() -> frozenset[str]:
    """The fields that may change between a run and its resumption."""
    return frozenset(RESUMABLE_FIELDS)


def describe_differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """A sentence for each field in which two results of `deciding` differ, in the order of the new one."""
    sentences = []
    for field in [*new, *(field for field in old if field not in new)]:
        name = f'config.{field}' if field in FIELDS else field
        if field not in old:
            sentences.append(f'{name} was not there and is now {new[field]!r}.')
        elif field not in new:
            sentences.append(f'{name} was {old[field]!r} and is there no more.')
        elif old[field] != new[field]:
            sentences.append(f'{name} was {old[field]!r} and is now {new[field]!r}.')
    return sentences


def _words() -> dict[str, Collection[str]]:
    """The words that the rooms offer. Imported here: types and ranges are checked without waiting for jax."""
    from alexnet_jax.data import augment, encoding, statistics
    from alexnet_jax.models import initializers, overrides, presets
    from alexnet_jax.prepare import sources
    from alexnet_jax.train import schedule

    return {
        'model.preset': presets.PRESETS,
        'model.activation': ('', *overrides.ACTIVATIONS),
        'model.pooling': ('', *overrides.POOLINGS),
        'model.lrn_alpha_over_n': ('', *overrides.ALPHA_OVER_N),
        'model.dropout': ('', *overrides.DROPOUTS),
        'model.dropout_position': ('', *overrides.DROPOUT_POSITIONS),
        'model.initialization': initializers.INITIALIZATIONS,
        'prepare.source': sources.SOURCES,
        'prepare.encoding': encoding.ENCODINGS,
        'prepare.expected_counts': sources.COUNT_CHECKS,
        'augment.lighting': augment.LIGHTING_KINDS,
        'augment.pca_basis': statistics.PCA_BASES,
        'augment.mean': augment.MEAN_KINDS,
        'train.schedule': schedule.SCHEDULES,
    }


def _check_network(config: ConfigDict, images: bool) -> None:
    """The crop fits the layers, the factors name layers, the mesh divides the columns."""
    arch = preset_architecture(config)
    for layer in layer_multipliers(config):
        if layer not in arch.parameter_counts():
            known = ', '.join(arch.parameter_counts())
            raise invalid_field_error(
                'train.layer_lr_multipliers',
                config.train.layer_lr_multipliers,
                f'factors of layers with weights: {known}',
            )
    if images and not config.data.directory and arch.crop_size > config.prepare.image_size:
        # An eighth of the side is left for the offsets, as in the paper: 256 for its 224.
        side = max(arch.crop_size, round(arch.crop_size * 8 / 7 / 16) * 16)
        raise UserError(
            f'Crops of {arch.crop_size} pixels cannot be taken from images of {config.prepare.image_size}; '
            f'raise config.prepare.image_size, to {side}, or lower config.model.crop_size.'
        )
    column = (mesh_shape(config) or (1, 1))[1]
    if arch.columns % column:
        raise invalid_field_error(
            'mesh', config.mesh, f'a column axis that divides the {arch.columns} columns of {arch.name}'
        )


def _contradictions(config: ConfigDict) -> list[tuple[bool, str]]:
    """Pairs of fields that cannot both be meant, each with its sentence."""
    from alexnet_jax.data import remote_storage

    prepare = config.prepare
    return [
        (
            prepare.validation_fraction + prepare.test_fraction >= 1,
            f'config.prepare.validation_fraction {prepare.validation_fraction} and test_share {prepare.test_fraction} leave '
            'nothing to train on; their sum must be below 1.',
        ),
        (
            prepare.source == 'cutouts' and bool(prepare.path),
            f'config.prepare.path is {prepare.path!r}, but cutouts are made and not read; '
            'give --config=configs/folder.py for a folder of your own with a folder for each class, or no path.',
        ),
        (
            remote_storage.is_remote_url(prepare.path),
            f'config.prepare.path is {prepare.path!r}, but images are read where they lie, on a disk; copy them there '
            'first, or give config.data.directory for a dataset that is prepared already.',
        ),
    ]


def _of_training(config: ConfigDict) -> list[tuple[bool, str]]:
    """Likewise, of fields that only training reads."""
    from alexnet_jax.prepare import sources

    prepare, train, every = config.prepare, config.train, config.checkpoint.every_steps
    data, keep = (mesh_shape(config) or (1, 1))[0], config.checkpoint.keep_every_steps
    no_share = prepare.validation_fraction == 0 and sources.SOURCES[prepare.source].lacks_validation
    unsteered = no_share and not config.data.directory
    return [
        (
            train.warmup_epochs >= train.num_epochs,
            f'config.train.warmup_epochs is {train.warmup_epochs}, which is no less than the {train.num_epochs} epochs '
            'of the run; shorten the warm-up.',
        ),
        (
            train.schedule == 'plateau' and config.evaluate.every_epochs == 0,
            'config.train.schedule is plateau, which steers by the validation error, and config.evaluate.every_epochs '
            'is 0, so that nothing is validated on the way; give it above 0, or train.schedule=step.',
        ),
        (
            train.schedule == 'plateau' and unsteered,
            'config.train.schedule is plateau, which steers by the validation error, and config.prepare.'
            f'validation_share is 0, which leaves {prepare.source} without a validation split; give it above 0, or '
            'train.schedule=step.',
        ),
        (
            config.evaluate.checkpoint == 'best' and unsteered,
            'config.evaluate.checkpoint is best, which the validation error chooses, and config.prepare.'
            f'validation_share is 0, which leaves {prepare.source} without a validation split; give it above 0, or '
            'evaluate.checkpoint=final.',
        ),
        (
            train.batch_size % data != 0,
            f'A batch of {train.batch_size} images cannot be shared evenly by the {data} devices along data of '
            f'config.mesh {config.mesh!r}; give config.train.batch_size as a multiple of {data}.',
        ),
        (
            train.batch_size % (data * train.grad_accumulation) != 0,
            f'config.train.grad_accumulation is {train.grad_accumulation}, but {train.batch_size} images on {data} devices along data '
            f'cannot be cut into so many equal parts; give a config.train.batch_size that is a multiple of '
            f'{data * train.grad_accumulation}.',
        ),
        (
            keep > 0 and (every == 0 or keep % every != 0),
            f'config.checkpoint.keep_every_steps is {keep}, but checkpoints are written every {every} steps; '
            'give a multiple of config.checkpoint.every_steps.',
        ),
    ]
