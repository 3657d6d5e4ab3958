"""The words of a command line: which card they name, what a wrong one was meant to be, and the screen of --help.

Knows the names of fields, flags and modes, and nothing of what they do. Imports no jax.
"""

from __future__ import annotations

import difflib
import os
import re
import runpy
import textwrap
import traceback
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from alexnet_jax.config.parse import invalid_field_error
from alexnet_jax.config.schema import FIELDS
from alexnet_jax.errors import UserError
from alexnet_jax.exit_codes import ExitCode

CONFIG_DIR = Path(__file__).resolve().parent.parent / 'configs'
AS_FIELDS = 'fields are given as --config.<section>.<field>=..., such as --config.train.batch_size=64'
# What other trainers call what is a field, or a flag, here.
FLAG_ALIASES: Mapping[str, str] = {
    **dict.fromkeys(('lr', 'learning_rate', 'base_lr'), '--config.train.learning_rate'),
    **dict.fromkeys(('batch_size', 'bs', 'batchsize'), '--config.train.batch_size'),
    **dict.fromkeys(('num_epochs', 'max_epochs', 'n_epochs'), '--config.train.num_epochs'),
    **dict.fromkeys(('weight_decay', 'wd'), '--config.train.weight_decay'),
    **dict.fromkeys(('data', 'data_dir', 'data_path', 'dataset'), '--config.prepare.path'),
    **dict.fromkeys(('arch', 'model', 'net'), '--config.model.preset'),
    **dict.fromkeys(('dtype', 'amp'), '--config.model.compute_dtype'),
    **dict.fromkeys(('out', 'output', 'output_dir', 'log_dir', 'logdir', 'save_dir'), '--workdir'),
    **dict.fromkeys(('image', 'input'), '--images'),
    'num_classes': '--config.model.num_classes',
    'num_workers': '--config.data.num_threads',
    'image_size': '--config.prepare.image_size',
    'scheduler': '--config.train.schedule',
}
RESUME_FLAGS = ('resume', 'continue', 'restart', 'auto_resume')
EXIT_CODE_HELP = {
    ExitCode.OK: 'done',
    ExitCode.INTERNAL_ERROR: 'a bug of ours, with its traceback',
    ExitCode.USER_ERROR: 'wrong input, a full disk or memory, or damage that verify found: one sentence says what',
    ExitCode.STOPPED: 'stopped by a signal with everything saved: the same command goes on',
    ExitCode.NONFINITE_LOSS: 'the loss stopped being a finite number',
    ExitCode.PEER_LOST: 'another process was lost: run the same command on all hosts to continue',
    ExitCode.INTERRUPTED: 'interrupted by a second SIGINT',
    ExitCode.TERMINATED: 'terminated by a second SIGTERM',
}


def resolve_config_flag(words: list[str]) -> tuple[list[str], str | None]:
    """The words and their card, None where they name none. --config stands once, before its fields; UserError if not.

    A card that is not there where one stands is looked for beside main.py.
    """
    places = [place for place, word in enumerate(words) if re.fullmatch(r'--?config(=.*)?', word, re.DOTALL)]
    if not places:
        return words, None
    if len(places) > 1:
        raise UserError('--config is given twice; give one.')
    (place,) = places
    if any(re.match(r'--?(no)?config\.', word) for word in words[:place]):
        raise UserError('Give --config before its fields.')
    name, joined, card = words[place].partition('=')
    after = place + 1 if joined else place + 2
    card = card if joined else ''.join(words[place + 1 : after])
    if not os.path.isfile(card) and (CONFIG_DIR.parent / card).is_file():
        card = str(CONFIG_DIR.parent / card)
    return [*words[:place], f'{name}={card}', *words[after:]], card


def load_config_or_raise(card: str) -> ConfigDict:
    """The config that a file gives, run by itself. Raises UserError with file and line, which config_flags would lose."""
    if not os.path.isfile(card):
        names = [path.stem for path in CONFIG_DIR.glob('[!_]*.py')]
        near = difflib.get_close_matches(Path(card).stem, names, 1)
        hint = f'did you mean configs/{near[0]}.py?' if near else 'give one such as configs/imagenet.py.'
        raise UserError(f'There is no config file {card or "of no name"}; {hint}')
    try:
        config = runpy.run_path(card).get('get_config', lambda: None)()
    except Exception as error:
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == card
        ]
        where, why = [card, *lines[-1:]], error.args[0] if error.args else ''
        if isinstance(error, SyntaxError):
            where, why = [error.filename, error.lineno], error.msg
        raise UserError(
            f'{", line ".join(map(str, where))}: {type(error).__name__}: {" ".join(str(why).split())}.'
        ) from error
    if not isinstance(config, ConfigDict):
        raise UserError(
            f'{card} needs a get_config() that returns the config of configs/default.py, changed; it gave {config!r}.'
        )
    return config


def check_field_names(words: Iterable[str]) -> None:
    """Every --config.<field> among the words of a command line names a field. Raises UserError."""
    for word in words:
        name = re.match(r'--?(?:no)?config\.([^=]*)', word)
        if name and name[1] not in FIELDS:
            raise UserError(unknown_field_error(name[1]))


def unknown_field_error(name: str) -> str:
    """The sentence about a field that does not exist, with the names that come near."""
    own = [field for field in FIELDS if field.startswith(f'{name}.')]
    if own:
        return f'config.{name} is a section and not a field; its fields are {", ".join(own)}.'
    near = [word.removeprefix('--') for word in suggest_flags(name)]
    hint = f'did you mean {" or ".join(near)}?' if near else 'configs/default.py has them all.'
    return f'There is no field config.{name}; {hint}'


def suggest_flags(name: str) -> list[str]:
    """The flags that a name may have been meant for: a field of that last word, another's word for it, or the nearest.

    A second one is named where it comes as near as the first.
    """
    last = name.rpartition('.')[2].replace('-', '_').lower()
    if same := [field for field in FIELDS if field.rpartition('.')[2] == last]:
        return [f'--config.{field}' for field in same]
    if last in FLAG_ALIASES:
        return [FLAG_ALIASES[last]]
    whole = '.' in name
    near = {
        field: difflib.SequenceMatcher(None, name if whole else last, _compared(field, whole)).ratio()
        for field in FIELDS
    }
    best = max(near.values())
    return [f'--config.{field}' for field in FIELDS if near[field] >= max(0.7, best - 0.02)][:2]


def _compared(field: str, whole: bool) -> str:
    return field if whole else field.rpartition('.')[2]


def flag_error(error: Exception) -> UserError:
    """absl's complaint about the command line as a UserError, with what the field expects where it is about a field."""
    if isinstance(error, UserError):
        return error
    field = re.match(r'flag --(?:no)?config\.([\w.]+)=(.*?): ', str(error), re.DOTALL)
    if field:
        return invalid_field_error(field[1], field[2], FIELDS[field[1]])
    if not isinstance(error, flags.UnrecognizedFlagError):
        return UserError(f'{error} (--help shows the flags).')
    name = error.flagname
    if name.lower() in RESUME_FLAGS:
        return UserError(
            f'There is no flag --{name}, and none is needed: the same command with the same --workdir goes on from '
            'its newest checkpoint.'
        )
    near = re.search(r'Did you mean: (\w+) \?', str(error))  # absl's own, of the flags
    if near and name not in FLAG_ALIASES:
        return UserError(f'There is no flag --{name}; did you mean --{near[1]}?')
    if words := suggest_flags(name):
        hint = f'{" or ".join(f"{word}=..." for word in words)}?'
        return UserError(f'There is no flag --{name}; did you mean {hint}')
    return UserError(
        f'There is no flag {"-" if len(name) == 1 else "--"}{name}; {AS_FIELDS}, and --help shows the flags.'
    )


def positional_argument_error(rest: list[str], mode: str, images: str, modes: Mapping[str, Any]) -> UserError:
    """Return the error about arguments that are no flags; `images` is what --images holds already."""
    begin = f'{rest[0]!r} has no meaning here; '
    if mode in modes and modes[mode].takes_images:
        named = [each for each in (images, *rest) if each]
        together = ' for all of them' if len(named) > 1 else ''
        return UserError(f'{begin}give --images={",".join(named[:3])}{",..." * (len(named) > 3)}{together}.')
    if rest[0] in modes:
        return UserError(f'{begin}did you mean --mode={rest[0]}?')
    return UserError(f'{begin}every word is a flag, such as --mode=train; --help shows the flags.')


def unknown_mode_error(name: str, modes: Collection[str]) -> UserError:
    """About a mode that there is not, with the one that comes near."""
    near = difflib.get_close_matches(name.lower(), modes, 1)
    hint = f'did you mean {near[0]}? The' if near else 'the'
    return UserError(f'There is no mode {name!r}; {hint} modes are {", ".join(modes)}.')


def check_images(images: str, mode: Any, modes: Mapping[str, Any]) -> None:
    """Raise UserError where --images is given to a mode that takes none."""
    if images and not mode.takes_images:
        takers = [name for name, each in modes.items() if each.takes_images]
        raise UserError(f'--images is for --mode={" or ".join(takers)}; --mode={mode.name} takes none.')


def help_text(given: flags.FlagValues, modes: Mapping[str, Any]) -> str:
    """Return the text of --help: usage, modes, flags and exit statuses."""
    about = {name: mode.help for name, mode in modes.items()}
    own = given.flags_by_module_dict()[given.find_module_defining_flag('mode')]
    return '\n'.join(
        [
            'Usage: python main.py [--config=FILE] [--mode=MODE] --workdir=FOLDER [--config.SECTION.FIELD=VALUE]',
            '',
            'Without --config the quickstart is trained; the same command again goes on with its run.',
            *_table('Modes', about),
            *_table('Flags', {f'--{flag.name}': str(flag.help) for flag in own}),
            *_table('Exit statuses', {str(int(code)): text for code, text in EXIT_CODE_HELP.items()}),
            '',
            'The config files are in configs/; configs/default.py has every field with its reason or unit.',
        ]
    )


def _table(title: str, rows: Mapping[str, str]) -> list[str]:
    wide = max(map(len, rows)) + 4
    lines = ['', f'{title}:']
    for name, words in rows.items():
        lines += textwrap.wrap(
            ' '.join(words.split()), 100, initial_indent=f'  {name}'.ljust(wide), subsequent_indent=' ' * wide
        )
    return lines
