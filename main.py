"""Starts a mode: reads the flags, sets what holds for the whole process, and turns the end into an exit status.

Knows neither network nor data: alexnet_jax/modes has the modes, configs/default.py the fields of --config.
"""

import logging
import sys

from absl import flags
from ml_collections import config_flags

from alexnet_jax import mistakes, peers, recipe
from alexnet_jax.mistakes import Mistake
from alexnet_jax.process import hear_callbacks, leave, settings

QUICKSTART = str(recipe.CARDS / 'quickstart.py')


def read(argv: list[str]) -> flags.FlagValues:
    """The flags, `config` among them with its overridden fields; Mistake for all that is wrong with them."""
    from alexnet_jax import modes

    first, given = flags.FlagValues(), flags.FlagValues()
    flags.DEFINE_string('config', QUICKSTART, '', flag_values=first)
    flags.DEFINE_bool('help', False, 'shows this', short_name='h', flag_values=given)
    flags.DEFINE_string('mode', 'train', f'what to do: {", ".join(modes.MODES)}', flag_values=given)
    flags.DEFINE_string('workdir', '', 'the folder of this run; made where it is missing', flag_values=given)
    flags.DEFINE_string('images', '', 'for --mode=predict: images and folders', flag_values=given)
    flags.DEFINE_string('coordinator', '', 'HOST:PORT of process 0; docs/pods.md', flag_values=given)
    flags.DEFINE_integer('processes', 0, 'how many run this together; 0: as found', flag_values=given)
    flags.DEFINE_integer('process', -1, 'which of them this is, from 0; -1: as found', flag_values=given)
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


def start(argv: list[str]) -> None:
    """From the words of the command line to the end of the mode."""
    given = read(argv)
    if given.help:
        return print(__doc__, given.get_help(), sep='\n')
    recipe.check_values(given.config)
    given.config.predict.images = given.images or given.config.predict.images
    lines = settings(given.config.machine)

    from alexnet_jax import modes

    if (mode := modes.MODES.get(given.mode)) is None:
        raise Mistake(f'There is no mode {given.mode!r}; the modes are {", ".join(modes.MODES)}.')
    recipe.check(given.config, images=given.mode in modes.PREPARES, trains=given.mode in modes.TRAINS)
    recipe.check_images(given.images, given.mode, modes.WITH_IMAGES)
    recipe.check_workdir(given.workdir, mode)
    if given.mode in modes.TOGETHER:
        modes.join(given.config, given.workdir, given.coordinator, given.processes, given.process)
    logging.getLogger('alexnet_jax').info('\n'.join(lines))
    mode(given.config, given.workdir)


def ending(error: BaseException) -> tuple[str, int] | None:
    """The sentence and the exit status of an end that is nobody's bug; None for a bug of ours."""
    if isinstance(error, Mistake):
        return str(error), 2
    if isinstance(error, KeyboardInterrupt):
        return 'Interrupted.', 130
    if sentence := mistakes.of_the_system(error):
        return sentence, 2
    from alexnet_jax.training import loop, signals

    statuses = {signals.Stopped: 3, loop.NotFinite: 4}
    return (str(error), statuses[type(error)]) if type(error) in statuses else None


def main(argv: list[str]) -> int:
    """The exit status: 0 done, 2 wrong input, 3 stopped with all saved, 4 the loss was not finite, 130 interrupted."""
    try:
        start(argv)
        peers.leave(0)
        return 0
    except BaseException as error:
        if (end := ending(error)) is None:
            peers.leave(1, f'{type(error).__name__}: {error}', error)
            raise
    peers.leave(*end[::-1])
    print(' '.join(end[0].split()), file=sys.stderr)
    return end[1]


if __name__ == '__main__':
    hear_callbacks()
    leave(main(sys.argv))
