"""Checks a run once, at the door: the fields of its config, the words of the rooms, and what contradicts what.

Rooms never see the config: they take plain arguments, and what it writes as text is read in `lists`. Nothing heavy is
imported until the words of the rooms are asked for.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import runpy
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from ml_collections import ConfigDict

from alexnet_jax.fields import DECIDING, FIELDS, MACHINE
from alexnet_jax.lists import counts, drops, layer_rates, mesh_shape, profile, variations, wrong
from alexnet_jax.mistakes import Mistake

CARDS = Path(__file__).resolve().parent.parent / 'configs'


def try_card(card: str) -> None:
    """Runs a config file by itself. Raises Mistake with file and line, which config_flags would lose."""
    if not os.path.isfile(card):
        names = [path.stem for path in CARDS.glob('[!_]*.py')]
        near = difflib.get_close_matches(Path(card).stem, names, 1)
        hint = f'did you mean configs/{near[0]}.py?' if near else 'give one such as configs/imagenet.py.'
        raise Mistake(f'There is no config file {card or "of no name"}; {hint}')
    try:
        config = runpy.run_path(card).get('get_config', lambda: None)()
    except Exception as error:
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == card
        ]
        where, why = [card, *lines[-1:]], error.args[0] if error.args else ''
        if isinstance(error, SyntaxError):
            where, why = [error.filename, error.lineno], error.msg
        raise Mistake(
            f'{", line ".join(map(str, where))}: {type(error).__name__}: {" ".join(str(why).split())}.'
        ) from error
    if not isinstance(config, ConfigDict):
        raise Mistake(
            f'{card} needs a get_config() that returns the config of configs/default.py, changed; it gave {config!r}.'
        )


def check_names(words: Iterable[str]) -> None:
    """Every --config.<field> among the words of a command line names a field. Raises Mistake."""
    for word in words:
        name = re.match(r'--?(?:no)?config\.([^=]*)', word)
        if name and name[1] not in FIELDS:
            raise Mistake(unknown(name[1]))


def check_workdir(workdir: str, mode: Callable) -> None:
    """The folder is there for a mode whose `workdir` has no default, and can be written or made. Raises Mistake."""
    if not workdir and inspect.signature(mode).parameters['workdir'].default is inspect.Parameter.empty:
        raise Mistake('This mode writes to a folder of its own; give one such as --workdir=/tmp/alexnet.')
    if re.match(r'\w+://', workdir):
        raise Mistake(
            f'--workdir={workdir} is no folder on a disk, which checkpoints and logs are written to; a dataset alone '
            'may lie in an object store (--config.data.directory).'
        )
    there = Path(workdir).absolute()
    while not os.path.lexists(there):
        there = there.parent
    if workdir and not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise Mistake(
            f'--workdir={workdir} cannot be written, since {there} is no folder that you may write to; give another.'
        )


def check_images(images: str, mode: str, takers: Collection[str]) -> None:
    """--images is given to a mode that takes images alone. Raises Mistake."""
    if images and mode not in takers:
        raise Mistake(f'--images is for --mode={" or ".join(takers)}; --mode={mode} takes none.')


def check(config: ConfigDict, *, images: bool = True, trains: bool = True) -> None:
    """Everything that can be known before any work: values, the rooms' words, contradictions. Raises Mistake.

    Unless `images`, nothing is asked of those that it would prepare; unless it `trains`, nothing of its steps.
    """
    check_values(config)
    values = flat(config)
    for field, words in _words().items():
        if values[field] not in words:
            empty = " or '' for the preset's own" if '' in words else ''
            raise wrong(field, values[field], 'one of ' + ', '.join(filter(None, words)) + empty)
    _check_network(config, images)
    for contradicts, sentence in [*_contradictions(config), *(_of_training(config) if trains else ())]:
        if contradicts:
            raise Mistake(sentence)


def check_values(config: ConfigDict) -> None:
    """The part that needs no room: all fields are there, and none but they; types, ranges, lists. Imports no jax."""
    values = flat(config)
    for field in values:
        if field not in FIELDS:
            raise Mistake(unknown(field))
    for field, expected in FIELDS.items():
        if field not in values:
            raise Mistake(
                f'config.{field} is missing; a card begins with default.get_config() of configs/default.py.'
            )
        if not expected.admits(values[field]):
            raise wrong(field, values[field], expected)
    step = config.evaluate.checkpoint
    if step not in ('final', 'best') and not step.isdecimal():
        raise wrong('evaluate.checkpoint', step, 'final, best or the number of a step')
    for read in (drops, layer_rates, counts, mesh_shape, profile):
        read(config)


def flat(config: ConfigDict) -> dict[str, object]:
    """The fields with their sections before them: {'train.batch': 128, ...}."""

    def walk(section: Mapping, before: str):
        for name, value in section.items():
            if isinstance(value, Mapping):
                yield from walk(value, f'{before}{name}.')
            else:
                yield f'{before}{name}', value

    return dict(walk(config.to_dict(), ''))


def deciding(config: ConfigDict) -> dict[str, object]:
    """The fields that decide the result, flat: what a workdir keeps and compares."""
    return {field: value for field, value in flat(config).items() if field in DECIDING}


def machine_fields() -> frozenset[str]:
    """The fields that may change between a run and its resumption."""
    return frozenset(MACHINE)


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
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


def unknown(name: str) -> str:
    """The sentence about a field that does not exist, with the names that come near."""
    own = [field for field in FIELDS if field.startswith(f'{name}.')]
    if own:
        return f'config.{name} is a section and not a field; its fields are {", ".join(own)}.'
    near = _near(name) or difflib.get_close_matches(name, FIELDS, 2)
    hint = (
        f'did you mean {" or ".join(f"config.{field}" for field in near)}?'
        if near
        else 'configs/default.py has them all.'
    )
    return f'There is no field config.{name}; {hint}'


def _near(name: str) -> list[str]:
    """Fields whose last word is that of `name`."""
    return [field for field in FIELDS if field.rpartition('.')[2] == name.rpartition('.')[2]]


def flag_mistake(error: Exception) -> Mistake:
    """absl's complaint about the command line as a Mistake, with what the field expects where it is about a field."""
    if isinstance(error, Mistake):
        return error
    field = re.match(r'flag --(?:no)?config\.([\w.]+)=(.*?): ', str(error), re.DOTALL)
    if field:
        return wrong(field[1], field[2], FIELDS[field[1]])
    word = re.match(r"Unknown command line flag '([\w.]+)'", str(error))
    if word and (near := _near(word[1])):
        return Mistake(f'There is no flag --{word[1]}; did you mean --config.{near[0]}=...?')
    if word and '.' in word[1]:  # a section and what is none of its fields
        return Mistake(
            f'There is no flag --{word[1]}; fields are given as --config.train.batch=64. {unknown(word[1])}'
        )
    return Mistake(f'{error} (--help lists the flags).')


def _words() -> dict[str, Collection[str]]:
    """The words that the rooms offer. Imported here: types and ranges are checked without waiting for jax."""
    from alexnet_jax.data import augment, preparation, sources, statistics
    from alexnet_jax.network import initialisation, presets, variations
    from alexnet_jax.training import schedule

    return {
        'network.preset': presets.PRESETS,
        'network.activation': ('', *variations.ACTIVATIONS),
        'network.pooling': ('', *variations.POOLINGS),
        'network.alpha': ('', *variations.ALPHAS),
        'network.dropout': ('', *variations.DROPOUTS),
        'network.dropout_place': ('', *variations.DROPOUT_PLACES),
        'network.initialisation': initialisation.INITIALISATIONS,
        'prepare.source': sources.KINDS,
        'prepare.encoding': preparation.ENCODINGS,
        'prepare.expect': sources.EXPECTATIONS,
        'augment.lighting': augment.LIGHTINGS,
        'augment.colours': statistics.COLOURS,
        'augment.mean': augment.MEANS,
        'train.schedule': schedule.SCHEDULES,
    }


def _check_network(config: ConfigDict, images: bool) -> None:
    """The crop fits the layers, the factors name layers, the mesh divides the columns."""
    from alexnet_jax.network import presets

    shape = presets.get(config.network.preset, classes=config.network.classes or 2, **variations(config))
    for layer in layer_rates(config):
        if layer not in shape.parameters():
            known = ', '.join(shape.parameters())
            raise wrong(
                'train.layer_rates', config.train.layer_rates, f'factors of layers with weights: {known}'
            )
    if images and not config.data.directory and shape.crop > config.prepare.side:
        raise Mistake(
            f'Crops of {shape.crop} pixels cannot be taken from images of {config.prepare.side}; '
            'raise config.prepare.side or lower config.network.crop.'
        )
    column = (mesh_shape(config) or (1, 1))[1]
    if shape.columns % column:
        raise wrong(
            'mesh', config.mesh, f'a column axis that divides the {shape.columns} columns of {shape.name}'
        )


def _contradictions(config: ConfigDict) -> list[tuple[bool, str]]:
    """Pairs of fields that cannot both be meant, each with its sentence."""
    from alexnet_jax.data import stores

    prepare = config.prepare
    return [
        (
            prepare.validation_share + prepare.test_share >= 1,
            f'config.prepare.validation_share {prepare.validation_share} and test_share {prepare.test_share} leave '
            'nothing to train on; their sum must be below 1.',
        ),
        (
            prepare.source == 'cutouts' and bool(prepare.path),
            f'config.prepare.path is {prepare.path!r}, but cutouts are made and not read; '
            'give config.prepare.source=folder or tar, or no path.',
        ),
        (
            stores.is_store(prepare.path),
            f'config.prepare.path is {prepare.path!r}, but images are read where they lie, on a disk; copy them there '
            'first, or give config.data.directory for a dataset that is prepared already.',
        ),
    ]


def _of_training(config: ConfigDict) -> list[tuple[bool, str]]:
    """Likewise, of fields that only training reads."""
    from alexnet_jax.data import sources

    prepare, train, every = config.prepare, config.train, config.checkpoint.every_steps
    data, keep = (mesh_shape(config) or (1, 1))[0], config.checkpoint.keep_every_steps
    return [
        (
            train.warmup_epochs >= train.epochs,
            f'config.train.warmup_epochs is {train.warmup_epochs}, which is no less than the {train.epochs} epochs '
            'of the run; shorten the warm-up.',
        ),
        (
            train.schedule == 'plateau' and config.evaluate.every_epochs == 0,
            'config.train.schedule is plateau, which steers by the validation error, and config.evaluate.every_epochs '
            'is 0, so that nothing is validated on the way; give it above 0, or train.schedule=drops.',
        ),
        (
            train.schedule == 'plateau'
            and prepare.validation_share == 0
            and prepare.source in sources.UNSTEERED
            and not config.data.directory,
            'config.train.schedule is plateau, which steers by the validation error, and config.prepare.'
            f'validation_share is 0, which leaves {prepare.source} without a validation split; give it above 0, or '
            'train.schedule=drops.',
        ),
        (
            train.batch % data != 0,
            f'A batch of {train.batch} images cannot be shared evenly by the {data} devices along data of '
            f'config.mesh {config.mesh!r}; give config.train.batch as a multiple of {data}.',
        ),
        (
            train.batch % (data * train.accumulate) != 0,
            f'config.train.accumulate is {train.accumulate}, but {train.batch} images on {data} devices along data '
            f'cannot be cut into so many equal parts; give a config.train.batch that is a multiple of '
            f'{data * train.accumulate}.',
        ),
        (
            keep > 0 and (every == 0 or keep % every != 0),
            f'config.checkpoint.keep_every_steps is {keep}, but checkpoints are written every {every} steps; '
            'give a multiple of config.checkpoint.every_steps.',
        ),
    ]
