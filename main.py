"""Starts a mode: reads the flags, sets what holds for the whole process, and turns the end into an exit status.

Knows neither network nor data: alexnet_jax/modes has the modes, configs/default.py the fields of --config.
"""

import sys

from absl import flags
from ml_collections import config_flags

from alexnet_jax import cli, errors
from alexnet_jax.config import validate
from alexnet_jax.distributed import heartbeat
from alexnet_jax.errors import UserError
from alexnet_jax.runtime.environment import hear_callbacks, leave, open_with, say, settings

QUICKSTART = str(cli.CARDS / 'quickstart.py')


def read(argv: list[str]) -> flags.FlagValues:
    """The flags, `config` among them with its overridden fields; UserError for all that is wrong with them."""
    from alexnet_jax import commands

    files, given = flags.FlagValues(), flags.FlagValues()
    flags.DEFINE_string('mode', 'train', f'what to do: {", ".join(commands.MODES)}', flag_values=given)
    flags.DEFINE_string('workdir', '', 'the folder of this run; made where it is missing', flag_values=given)
    flags.DEFINE_string('images', '', 'for --mode=predict: images and folders', flag_values=given)
    flags.DEFINE_string('coordinator', '', 'HOST:PORT of process 0; docs/pods.md', flag_values=given)
    flags.DEFINE_integer('processes', 0, 'how many run this together; 0: as found', flag_values=given)
    flags.DEFINE_integer('process', -1, 'which of them this is, from 0; -1: as found', flag_values=given)
    flags.DEFINE_bool('help', False, 'shows this', short_name='h', flag_values=given)
    for each in (files, given):
        each.set_gnu_getopt()  # flags are flags even behind a word that is none
    try:
        words, own = cli.with_card(files.read_flags_from_files(argv, force_gnu=False))
        if own is not None:
            cli.try_card(own)
        cli.check_names(words)
        card = (
            'a config file such as configs/imagenet.py, and its fields by name: --config.train.batch_size=64'
        )
        config_flags.DEFINE_config_file('config', QUICKSTART, card, flag_values=given, sys_argv=words)
        if rest := given(words)[1:]:
            raise cli.leftover(rest, given.mode, given.images, commands.MODES)
    except (flags.Error, ValueError) as error:
        raise cli.flag_mistake(error) from error
    return given


def start(argv: list[str]) -> None:
    """From the words of the command line to the end of the mode."""
    from alexnet_jax import commands

    given = read(argv)
    if given.help:
        return say(cli.screen(given, commands.MODES))
    validate.check_values(given.config)
    given.config.predict.images = given.images or given.config.predict.images
    open_with(settings(given.config.machine))
    if (mode := commands.MODES.get(given.mode)) is None:
        raise cli.no_mode(given.mode, commands.MODES)
    validate.check(given.config, images=mode.prepares, trains=mode.trains)
    cli.check_images(given.images, mode, commands.MODES)
    validate.check_workdir(given.workdir, needed=mode.needs_workdir)
    if mode.multi_process:
        from alexnet_jax.commands import consistency

        consistency.join(given.config, given.workdir, given.coordinator, given.processes, given.process)
    mode.run(given.config, given.workdir)


def ending(error: BaseException) -> tuple[str, int] | None:
    """The sentence and the exit status of an end that is nobody's bug; None for a bug of ours."""
    if isinstance(error, UserError):
        return str(error), 2
    if isinstance(error, KeyboardInterrupt):
        return 'Interrupted.', 130
    if sentence := errors.describe_system_error(error):
        return sentence, 2
    from alexnet_jax.runtime import signals
    from alexnet_jax.train import loop

    statuses = {signals.Stopped: 3, loop.NonFiniteLoss: 4}
    return (str(error), statuses[type(error)]) if type(error) in statuses else None


def main(argv: list[str]) -> int:
    """The exit status: 0 done, 2 wrong input, 3 stopped with all saved, 4 the loss was not finite, 130 interrupted."""
    try:
        start(argv)
        heartbeat.leave(0)
        return 0
    except BaseException as error:
        if (end := ending(error)) is None:
            heartbeat.leave(1, f'{type(error).__name__}: {error}', error)
            raise
    heartbeat.leave(*end[::-1])
    print(' '.join(end[0].split()), file=sys.stderr)
    return end[1]


if __name__ == '__main__':
    hear_callbacks()
    leave(main(sys.argv))
