"""Validate a config before any work: unknown and missing fields, types and ranges, allowed values, and combinations."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from alexnet_jax.config import build, parse
from alexnet_jax.config.field_errors import invalid_field_error, unknown_field_error
from alexnet_jax.config.schema import FIELDS, RESULT_FIELDS
from alexnet_jax.errors import UserError

# In a path orbax takes them for a pattern, and would not find what it wrote, or find another run's.
GLOB_CHARACTERS = '*?['
# Sources whose libraries (pyarrow, array_record) take no path that is not UTF-8.
UTF8_SOURCES = ('parquet', 'tfds')


def validate_workdir(workdir: str, *, needed: bool, writes: bool = True, saves: bool = False) -> None:
    """Raise UserError unless --workdir is given, if it is `needed`, and can be written, if the mode `writes`.

    Raises it too for characters in its path that the libraries which read checkpoints, or `saves` them, cannot take.
    """
    if not workdir and needed:
        use = 'writes to a folder of its own' if writes else 'reads the folder of a run'
        raise UserError(f'This mode {use}; set one such as --workdir=/tmp/alexnet.')
    if re.match(r'\w+://', workdir):
        raise UserError(
            f'--workdir={workdir} is not a folder on a disk, which checkpoints and logs need. Only a dataset may be in '
            'an object store (--config.data.directory).'
        )
    if workdir:
        _check_path_characters(workdir, GLOB_CHARACTERS if saves else '')
    if not writes:
        return
    parent = Path(workdir).absolute()
    while not os.path.lexists(parent):
        parent = parent.parent
    if workdir and not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise UserError(
            f'--workdir={workdir} cannot be written: {parent} is not a folder that you may write to. Choose another.'
        )


def _check_path_characters(workdir: str, refused: str) -> None:
    """Raise UserError if the full path of --workdir is not UTF-8, or has a backslash or a character of `refused`."""
    path = os.path.abspath(workdir)
    if not _is_utf8_path(workdir):
        found = 'bytes that are not UTF-8'
    elif characters := ' '.join(character for character in '\\' + refused if character in path):
        found = characters
    else:
        return
    raise UserError(
        f'--workdir={workdir} cannot hold checkpoints: its full path {path} contains {found}, which the library that '
        'saves them (orbax) takes for something else. Rename that folder, or choose another --workdir.'
    )


def _is_utf8_path(path: str) -> bool:
    """Return whether the full path is UTF-8; Python keeps other bytes as surrogates."""
    path = os.path.abspath(path)
    return path == path.encode(errors='replace').decode()


def validate_config(config: ConfigDict, *, images: bool = True, trains: bool = True) -> None:
    """Raise UserError for all that is known to be wrong before any work: values, choices, combinations.

    Checks what concerns the preparation only if `images` may be prepared, and training only if the mode `trains`.
    """
    validate_values(config)
    for name, value in flatten_config(config).items():
        if isinstance(FIELDS[name].choices, str) and value not in FIELDS[name].all_choices():
            raise invalid_field_error(name, value)
    _validate_architecture(config, images)
    conflicts = _conflicts(config) + (_training_conflicts(config) if trains else [])
    for conflict, message in conflicts:
        if conflict:
            raise UserError(message)


def validate_values(config: ConfigDict) -> None:
    """Raise UserError unless the config has all fields and no others, with values of the right form.

    Does not import jax, so choices that a registry holds are left to `validate_config`.
    """
    values = flatten_config(config)
    for name in values:
        if name not in FIELDS:
            raise unknown_field_error(name)
    for name, field in FIELDS.items():
        if name not in values:
            raise UserError(
                f'config.{name} is missing; a config file begins with default.get_config() of configs/default.py.'
            )
        if not field.accepts(values[name]):
            raise invalid_field_error(name, values[name])


def flatten_config(config: ConfigDict) -> dict[str, object]:
    """Return the fields by full name: {'train.batch_size': 128, ...}."""

    def walk(section: Mapping, prefix: str):
        for name, value in section.items():
            if isinstance(value, Mapping):
                yield from walk(value, f'{prefix}{name}.')
            else:
                yield f'{prefix}{name}', value

    return dict(walk(config.to_dict(), ''))


def result_fields(config: ConfigDict) -> dict[str, object]:
    """Return the fields that decide the result, flat: what a run directory keeps and compares."""
    return {field: value for field, value in flatten_config(config).items() if field in RESULT_FIELDS}


def describe_differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return a sentence for each field in which two results of `result_fields` differ, in the order of the new one."""
    sentences = []
    for field in [*new, *(field for field in old if field not in new)]:
        name = f'config.{field}' if field in FIELDS else field
        if field not in old:
            sentences.append(f'{name} was not set and is now {new[field]!r}.')
        elif field not in new:
            sentences.append(f'{name} was {old[field]!r} and no longer exists.')
        elif old[field] != new[field]:
            sentences.append(f'{name} was {old[field]!r} and is now {new[field]!r}.')
    return sentences


def _validate_architecture(config: ConfigDict, images: bool) -> None:
    """Raise UserError unless multipliers name layers, the crop fits the images, and the mesh divides the columns."""
    arch = build.preset_architecture(config)
    layers = ', '.join(arch.parameter_counts())
    text = config.train.layer_lr_multipliers
    if not parse.layer_multipliers(text).keys() <= arch.parameter_counts().keys():
        raise invalid_field_error('train.layer_lr_multipliers', text, f'multipliers of layers with weights: {layers}')
    edited = {name for _, edits in parse.diary(config.train.diary) for name in edits}
    if not edited <= {'learning_rate', 'lighting', *arch.parameter_counts()}:
        expected = f'edits of learning_rate, lighting or layers with weights: {layers}'
        raise invalid_field_error('train.diary', config.train.diary, expected)
    if images and not (config.data.directory or config.finetune.adopt) and arch.crop_size > config.prepare.image_size:
        # An eighth of the side is left for the offsets, as in the paper: 256 for its 224.
        image_size = max(arch.crop_size, round(arch.crop_size * 8 / 7 / 16) * 16)
        raise UserError(
            f'Crops of {arch.crop_size} pixels do not fit images of {config.prepare.image_size}. '
            f'Raise config.prepare.image_size to {image_size} or lower config.model.crop_size.'
        )
    column = (parse.mesh_shape(config.mesh) or (1, 1))[1]
    if arch.columns % column:
        expected = f'a column axis that divides the {arch.columns} columns of {arch.name}'
        raise invalid_field_error('mesh', config.mesh, expected)


def _conflicts(config: ConfigDict) -> list[tuple[bool, str]]:
    """Return pairs (conflict, message) of fields that do not go together in any mode."""
    from alexnet_jax.data import remote_storage

    prepare = config.prepare
    return [
        (
            prepare.validation_fraction + prepare.test_fraction >= 1,
            f'config.prepare.validation_fraction {prepare.validation_fraction} and test_fraction '
            f'{prepare.test_fraction} leave nothing to train on; their sum must be below 1.',
        ),
        (
            prepare.source == 'cutouts' and bool(prepare.path),
            f'config.prepare.path is {prepare.path!r}, but cutouts are generated. Use --config=configs/folder.py for '
            'a folder with one folder per class, or leave the path empty.',
        ),
        (
            remote_storage.is_remote_url(prepare.path),
            f'config.prepare.path is {prepare.path!r}, but images are read from a disk. Copy them there first, or set '
            'config.data.directory to a prepared dataset.',
        ),
        (
            not _is_utf8_path(config.data.directory),
            f'config.data.directory is {config.data.directory!r}, and its full path has bytes that are not UTF-8, '
            'which the library that reads shards (array_record) does not take. Rename that folder, or choose another.',
        ),
        (
            prepare.source in UTF8_SOURCES and not _is_utf8_path(prepare.path),
            f'config.prepare.path is {prepare.path!r}, and its full path has bytes that are not UTF-8, which the '
            f'library that reads {prepare.source} does not take. Rename that folder.',
        ),
    ]


def _training_conflicts(config: ConfigDict) -> list[tuple[bool, str]]:
    """Return pairs (conflict, message) of fields that do not go together in training."""
    from alexnet_jax.prepare import sources

    prepare, train, every = config.prepare, config.train, config.checkpoint.every_steps
    data, keep = (parse.mesh_shape(config.mesh) or (1, 1))[0], config.checkpoint.keep_every_steps
    lacks_validation = (
        prepare.validation_fraction == 0
        and sources.SOURCES[prepare.source].lacks_validation
        and not config.data.directory
    )
    needs_fraction = (
        f'needs a validation split, and {prepare.source} has none at config.prepare.validation_fraction=0. '
        'Raise it, or set'
    )
    return [
        (
            train.warmup_epochs >= train.num_epochs,
            f'config.train.warmup_epochs={train.warmup_epochs} is not below the {train.num_epochs} epochs of the run; '
            'shorten the warm-up.',
        ),
        (
            train.schedule == 'plateau' and config.evaluate.every_epochs == 0,
            'config.train.schedule=plateau follows the validation error, and config.evaluate.every_epochs=0 never '
            'measures it. Raise it, or set config.train.schedule=step.',
        ),
        (
            train.schedule != 'diary' and any('learning_rate' in edits for _, edits in parse.diary(train.diary)),
            f'config.train.diary sets learning_rate, which config.train.schedule={train.schedule} decides. Set '
            'config.train.schedule=diary, or leave the learning rate out of the diary.',
        ),
        (
            train.schedule == 'plateau' and lacks_validation,
            f'config.train.schedule=plateau {needs_fraction} config.train.schedule=step.',
        ),
        (
            config.evaluate.checkpoint == 'best' and lacks_validation,
            f'config.evaluate.checkpoint=best {needs_fraction} config.evaluate.checkpoint=final.',
        ),
        # With an explicit mesh; `make_mesh` checks what an automatic one gives.
        (
            train.batch_size % data != 0,
            f'A batch of {train.batch_size} images cannot be split evenly over the {data} devices along data of '
            f'config.mesh={config.mesh}; set config.train.batch_size to a multiple of {data}.',
        ),
        (
            train.batch_size % (data * train.grad_accumulation) != 0,
            f'config.train.grad_accumulation={train.grad_accumulation} does not divide {train.batch_size} images on '
            f'{data} devices along data; set config.train.batch_size to a multiple of '
            f'{data * train.grad_accumulation}.',
        ),
        (
            keep > 0 and (every == 0 or keep % every != 0),
            f'config.checkpoint.keep_every_steps={keep} needs a multiple of config.checkpoint.every_steps, '
            f'which is {every}.',
        ),
    ]
