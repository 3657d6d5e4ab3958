"""The command line: which config file it names, errors about its flags, and the text of --help."""

from __future__ import annotations

import codecs
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

from alexnet_jax.config.field_errors import invalid_field_error, suggest_fields, unknown_field_error
from alexnet_jax.config.migration import renamed_field_message
from alexnet_jax.config.schema import FIELDS
from alexnet_jax.errors import UserError
from alexnet_jax.exit_codes import ExitCode

CONFIG_DIR = Path(__file__).resolve().parent.parent / 'configs'
# What other trainers call our flags and fields whose name is near to that of another flag.
FLAG_ALIASES: Mapping[str, str] = {
    **dict.fromkeys(('out', 'output', 'output_dir', 'log_dir', 'logdir', 'save_dir'), 'workdir'),
    **dict.fromkeys(('image', 'input'), 'images'),
    'model': 'config.model.preset',
}
# Hyphens, dashes and minus signs of Unicode that are not the keyboard's.
LONG_DASHES = '\u2010-\u2015\u2212\ufe58\ufe63\uff0d'
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


def resolve_config_flag(args: list[str]) -> list[str]:
    """Return the arguments with --config=FILE in one word.

    A file that does not exist here is looked for beside main.py. Raises UserError if --config is given twice or after
    its fields, or if the file is wrong.
    """
    indices = [i for i, arg in enumerate(args) if re.fullmatch(r'--?config(=.*)?', arg, re.DOTALL)]
    if not indices:
        return args
    if len(indices) > 1:
        raise UserError('--config is given twice; give it once.')
    (index,) = indices
    if any(re.match(r'--?(no)?config\.', arg) for arg in args[:index]):
        raise UserError('Give --config before its fields.')
    flag, equals, file = args[index].partition('=')
    end = index + 1 if equals else index + 2
    file = expand_home('--config', file if equals else ''.join(args[index + 1 : end]))
    if not os.path.isfile(file) and (CONFIG_DIR.parent / file).is_file():
        file = str(CONFIG_DIR.parent / file)
    load_config_or_raise(file)
    return [*args[:index], f'{flag}={file}', *args[end:]]


def expand_home(flag: str, path: str) -> str:
    """Return the path of a flag with its ~ as the user's home folder, which a shell leaves after '='.

    Raises UserError if there is no such user or home.
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith('~'):
        raise UserError(
            f'{flag}={path} begins with {path.partition("/")[0]}, and no home folder of that user is known; give the '
            f'whole path, or ./{path} for a folder of that name.'
        )
    return expanded


def load_config_or_raise(file: str) -> ConfigDict:
    """Return the config of a config file. Raises UserError with file and line, which config_flags would lose."""
    if not os.path.isfile(file):
        cards = {path.stem: path.relative_to(CONFIG_DIR.parent) for path in CONFIG_DIR.rglob('[!_]*.py')}
        cards |= {path.stem: path.relative_to(CONFIG_DIR.parent) for path in CONFIG_DIR.glob('[!_]*.py')}
        near = difflib.get_close_matches(Path(file).stem, cards, 1)
        hint = f'did you mean {cards[near[0]].as_posix()}?' if near else 'choose one such as configs/imagenet.py.'
        raise UserError(f'There is no config file {file!r}; {hint}')
    _check_config_format(file)
    try:
        config = runpy.run_path(file).get('get_config', lambda: None)()
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        where, reason = [file, *(frame.lineno for frame in frames[-1:])], error.args[0] if error.args else ''
        if isinstance(error, SyntaxError):
            where, reason = [error.filename, error.lineno], error.msg
        message = f'{type(error).__name__}: {" ".join(str(reason).split())}.'
        if isinstance(error, AttributeError | KeyError) and frames:
            message = _old_name_in(frames[-1].line or '') or message
        raise UserError(f'{", line ".join(map(str, where))}: {message}') from error
    if not isinstance(config, ConfigDict):
        raise UserError(
            f'{file} needs a get_config() that returns the config of configs/default.py, changed; '
            f'it returned {config!r}.'
        )
    return config


def _check_config_format(file: str) -> None:
    """Raise UserError unless a config file is Python in UTF-8, as far as its name and first bytes tell."""
    suffix = Path(file).suffix.lower()
    if suffix in ('.json', '.yaml', '.yml', '.toml', '.ini', '.cfg', '.txt'):
        raise UserError(
            f'{file} is no Python file; a config file is one with a get_config(), such as configs/imagenet.py. Write '
            'one, or give its fields as flags: --config.train.batch_size=64.'
        )
    with open(file, 'rb') as stream:
        source = stream.read()
    if source.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b'\0' in source:
        raise UserError(
            f'{file} is not in UTF-8 (UTF-16, as PowerShell writes with >, or no text at all); save it as UTF-8.'
        )


def _old_name_in(line: str) -> str:
    """Return the message about an old field or section that a line of a config file uses; '' if there is none."""
    names = re.findall(r'\w+\.((\w+)(?:\.\w+)*)', line)
    return next(filter(None, (renamed_field_message(name) for pair in names for name in pair)), '')


def check_flag_names(args: Iterable[str]) -> None:
    """Raise UserError unless all --config.<field> among the arguments name fields, and no flag begins with a long dash.

    Word processors and web pages make one of two hyphens.
    """
    for arg in args:
        if dashes := re.match(rf'-?[{LONG_DASHES}][{LONG_DASHES}-]*(?=\w)', arg):
            raise UserError(
                f'{arg} begins with a long dash ({dashes[0]!r}), as pasted text often does; flags begin with two '
                f'hyphens: --{arg[dashes.end() :]}.'
            )
        name = re.match(r'--?(?:no)?config\.([^=]*)', arg)
        if name and name[1] not in FIELDS:
            raise unknown_field_error(name[1])


def flag_error(error: Exception) -> UserError:
    """Return an error of absl as a UserError, with the expected values of a field or the flag that was meant."""
    if isinstance(error, UserError):
        return error
    if field := re.match(r'flag --(?:no)?config\.([\w.]+)=(.*?): ', str(error), re.DOTALL):
        return invalid_field_error(field[1], field[2])
    if not isinstance(error, flags.UnrecognizedFlagError):
        return UserError(f'{error} (--help shows the flags).')
    name = error.flagname
    problem = f'There is no flag {"-" if len(name) == 1 else "--"}{name}'
    if name.lower() in RESUME_FLAGS:
        return UserError(
            f'{problem}, and none is needed: the same command with the same --workdir resumes from its newest '
            'checkpoint.'
        )
    if name in FLAG_ALIASES:
        return UserError(f'{problem}; did you mean --{FLAG_ALIASES[name]}=...?')
    if near := re.search(r'Did you mean: (\w+) \?', str(error)):
        return UserError(f'{problem}; did you mean --{near[1]}?')
    if fields := [f'--config.{field}=...' for field in suggest_fields(name)]:
        return UserError(f'{problem}; did you mean {" or ".join(fields)}?')
    return UserError(
        f'{problem}; fields are given as --config.<section>.<field>=..., such as --config.train.batch_size=64, and '
        '--help shows the flags.'
    )


def positional_argument_error(rest: list[str], mode: str, images: str, modes: Mapping[str, Any]) -> UserError:
    """Return the error about arguments that are not flags; `images` is what --images holds already."""
    problem = f'{rest[0]!r} is not a flag; '
    if mode in modes and modes[mode].takes_images:
        named = [each for each in (images, *rest) if each]
        hint = ' for all of them' if len(named) > 1 else ''
        return UserError(f'{problem}use --images={",".join(named[:3])}{",..." * (len(named) > 3)}{hint}.')
    if rest[0] in modes:
        return UserError(f'{problem}did you mean --mode={rest[0]}?')
    return UserError(f'{problem}every argument is one, such as --mode=train; --help shows the flags.')


def unknown_mode_error(name: str, modes: Collection[str]) -> UserError:
    """Return the error about an unknown mode, with the nearest one."""
    near = difflib.get_close_matches(name.lower(), modes, 1)
    hint = f'did you mean {near[0]}? The' if near else 'the'
    return UserError(f'There is no mode {name!r}; {hint} modes are {", ".join(modes)}.')


def copy_flags(args: flags.FlagValues, config: ConfigDict) -> None:
    """Set the fields that have a flag of their own, where it is given."""
    config.predict.images = args.images or config.predict.images
    config.features.layers = args.layers or config.features.layers


def refuse_unused_flags(args: flags.FlagValues, mode: Any, modes: Mapping[str, Any]) -> None:
    """Raise UserError if --images or --layers is given to a mode that takes none."""
    for flag in ('images', 'layers'):
        if args[flag].value and not getattr(mode, f'takes_{flag}'):
            takers = [name for name, each in modes.items() if getattr(each, f'takes_{flag}')]
            raise UserError(f'--{flag} is for --mode={" or ".join(takers)}; --mode={mode.name} takes none.')


def help_text(args: flags.FlagValues, modes: Mapping[str, Any]) -> str:
    """Return the text of --help: usage, modes, flags and exit statuses."""
    help_by_mode = {name: mode.help for name, mode in modes.items()}
    own = args.flags_by_module_dict()[args.find_module_defining_flag('mode')]
    return '\n'.join(
        [
            'Usage: python main.py [--config=FILE] [--mode=MODE] --workdir=FOLDER [--config.SECTION.FIELD=VALUE]',
            '',
            'Without --config this trains the quickstart; the same command again resumes it.',
            *_table('Modes', help_by_mode),
            *_table('Flags', {f'--{flag.name}': str(flag.help) for flag in own}),
            *_table('Exit statuses', {str(int(code)): text for code, text in EXIT_CODE_HELP.items()}),
            '',
            'Config files are in configs/; docs/config.md lists every field.',
        ]
    )


def _table(title: str, rows: Mapping[str, str]) -> list[str]:
    width = max(map(len, rows)) + 4
    lines = ['', f'{title}:']
    for name, text in rows.items():
        lines += textwrap.wrap(
            ' '.join(text.split()), 100, initial_indent=f'  {name}'.ljust(width), subsequent_indent=' ' * width
        )
    return lines
