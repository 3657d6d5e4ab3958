"""Starts a mode: reads the flags, sets what holds for the whole process, and turns the end into an exit status.

Knows neither network nor data: alexnet_jax/modes.py has the modes, configs/default.py the fields of --config.
"""

import ctypes
import logging
import os
import platform
import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from alexnet_jax import recipe
from alexnet_jax.mistakes import Mistake

QUICKSTART = str(Path(__file__).resolve().parent / 'configs' / 'quickstart.py')


def read(argv: list[str]) -> flags.FlagValues:
    """The flags, `config` among them with its overridden fields; Mistake for all that is wrong with them."""
    first, given = flags.FlagValues(), flags.FlagValues()
    flags.DEFINE_string('config', QUICKSTART, '', flag_values=first)
    flags.DEFINE_bool('help', False, 'shows this', short_name='h', flag_values=given)
    flags.DEFINE_string('mode', 'train', 'what to do: a name in alexnet_jax/modes.py', flag_values=given)
    flags.DEFINE_string('workdir', '', 'the folder of this run; made where it is missing', flag_values=given)
    flags.DEFINE_string('images', '', 'for --mode=predict: images and folders', flag_values=given)
    for each in (first, given):
        each.set_gnu_getopt()  # flags are flags even behind a word that is none
    try:
        first(argv, known_only=True)
        recipe.try_card(first.config)
        recipe.check_names(first.read_flags_from_files(argv, force_gnu=False))
        card = 'a config file such as configs/imagenet.py; its fields by name: --config.train.batch=64'
        config_flags.DEFINE_config_file('config', QUICKSTART, card, flag_values=given, sys_argv=argv)
        if rest := given(argv)[1:]:
            raise Mistake(f'{rest[0]!r} has no meaning here; every word is a flag, such as --mode=train.')
    except (flags.Error, ValueError) as error:
        raise recipe.flag_mistake(error) from error
    return given


def settings(machine: ConfigDict) -> list[str]:
    """Makes what holds for the whole process, before jax is imported; a line about each."""
    os.environ['JAX_NUM_CPU_DEVICES'] = str(machine.cpu_devices)
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    sys.stdout.reconfigure(line_buffering=True)
    logging.basicConfig(format='%(message)s', stream=sys.stdout)
    logging.getLogger('alexnet_jax').setLevel(logging.INFO)
    logging.getLogger('absl').setLevel(logging.ERROR)
    memory = 'left out, it needs glibc' if machine.keep_memory else 'off'
    if machine.keep_memory and platform.libc_ver()[0] == 'glibc':
        # M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX: freed pages are kept instead of being faulted in at every step
        made = [ctypes.CDLL(None).mallopt(*option) for option in ((-4, 0), (-1, 2**31 - 1), (-8, 1))]
        memory = 'on, glibc keeps freed memory' if all(made) else 'refused by glibc'
    devices = f'machine.cpu_devices: {machine.cpu_devices}, where there is no accelerator'
    return [devices, f'machine.keep_memory: {memory}', 'log level: of absl, TFDS, orbax and XLA errors alone']


def start(argv: list[str]) -> None:
    """From the words of the command line to the end of the mode."""
    given = read(argv)
    if given.help:
        return print(__doc__, given.get_help(), sep='\n')
    recipe.check_values(given.config)
    given.config.predict.images = given.images or given.config.predict.images
    lines = settings(given.config.machine)
    recipe.check(given.config, images=given.mode != 'summary')

    from alexnet_jax import modes

    if (mode := modes.MODES.get(given.mode)) is None:
        raise Mistake(f'There is no mode {given.mode!r}; the modes are {", ".join(modes.MODES)}.')
    recipe.check_images(given.images, given.mode, modes.WITH_IMAGES)
    recipe.check_workdir(given.workdir, mode)
    logging.getLogger('alexnet_jax').info('\n'.join(lines))
    mode(given.config, given.workdir)


def main(argv: list[str]) -> int:
    """The exit status: 0 done, 2 wrong input, 3 stopped with everything saved, 4 the loss was not finite."""
    try:
        start(argv)
        return 0
    except Mistake as mistake:
        end, status = mistake, 2
    except BaseException as other:
        from alexnet_jax.training import loop, signals

        if not isinstance(other, signals.Stopped | loop.NotFinite):
            raise
        end, status = other, 3 if isinstance(other, signals.Stopped) else 4
    print(' '.join(str(end).split()), file=sys.stderr)
    return status


if __name__ == '__main__':
    sys.exit(main(sys.argv))
