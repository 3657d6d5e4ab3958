"""Parses the flags, runs a mode and maps its end to an exit status."""

import logging
import sys

from absl import flags
from ml_collections import config_flags

from alexnet_jax import cli, commands, errors
from alexnet_jax.config import validate
from alexnet_jax.distributed import heartbeat
from alexnet_jax.exit_codes import ExitCode
from alexnet_jax.runtime import environment, streams

log = logging.getLogger('alexnet_jax')


def parse_flags(argv: list[str]) -> flags.FlagValues:
    """Return the flags, `config` among them with its overridden fields. Raises UserError for whatever is wrong."""
    files, args = flags.FlagValues(), flags.FlagValues()
    flags.DEFINE_string('mode', 'train', 'one of the modes above; train without it', flag_values=args)
    flags.DEFINE_string('workdir', '', 'folder of this run, created if missing', flag_values=args)
    flags.DEFINE_string(
        'images',
        '',
        'for predict, features, neighbors, figures, ensemble: images, folders; predict: - for a list',
        flag_values=args,
    )
    flags.DEFINE_string(
        'layers', '', 'for features and neighbors: conv1,pool5,fc7; features: list shows them', flag_values=args
    )
    flags.DEFINE_bool('verbose', False, 'also print the settings of the machine', flag_values=args)
    flags.DEFINE_string('coordinator', '', 'HOST:PORT of process 0; docs/pods.md', flag_values=args)
    flags.DEFINE_integer('processes', 0, 'number of processes; 0: detect', flag_values=args)
    flags.DEFINE_integer('process', -1, 'index of this process, from 0; -1: detect', flag_values=args)
    flags.DEFINE_bool('help', False, 'show this', short_name='h', flag_values=args)
    files.set_gnu_getopt()  # flags count even after a positional argument
    args.set_gnu_getopt()
    try:
        words = cli.resolve_config_flag(files.read_flags_from_files(argv, force_gnu=False))
        cli.check_flag_names(words[1:])
        help_text = 'file such as configs/imagenet.py; fields by name: --config.train.batch_size=64'
        default = str(cli.CONFIG_DIR / 'quickstart.py')
        config_flags.DEFINE_config_file('config', default, help_text, flag_values=args, sys_argv=words)
        if rest := args(words)[1:]:
            raise cli.positional_argument_error(rest, args.mode, args.images, commands.MODES)
    except (flags.Error, ValueError) as error:
        raise cli.flag_error(error) from error
    args.workdir = cli.expand_home('--workdir', args.workdir)
    return args


def run_command(argv: list[str]) -> None:
    """Run the mode that the command line asks for."""
    args = parse_flags(argv)
    environment.configure_logging()
    if args.help:
        return log.info(cli.help_text(args, commands.MODES))
    config = args.config
    validate.validate_values(config)
    cli.copy_flags(args, config)
    settings = {name: config.machine[name] for name in environment.SETTINGS}
    description = environment.configure_environment(**settings)
    if (mode := commands.MODES.get(args.mode)) is None:
        raise cli.unknown_mode_error(args.mode, commands.MODES)
    validate.validate_config(config, images=mode.prepares, trains=mode.trains)
    cli.refuse_unused_flags(args, mode, commands.MODES)
    validate.validate_workdir(args.workdir, needed=mode.needs_workdir, writes=mode.writes, saves=mode.trains)
    if args.verbose:
        log.info('\n'.join(description))
    if mode.multi_process:
        from alexnet_jax.commands import run_dir

        run_dir.join_processes(config, args.workdir, args.coordinator, args.processes, args.process)
    mode.run(config, args.workdir)


def exit_message(error: BaseException) -> tuple[str, ExitCode] | None:
    """Return the sentence and the exit status of an end that is not a bug; None for a bug."""
    if isinstance(error, KeyboardInterrupt):
        return 'Interrupted.', ExitCode.INTERRUPTED
    if isinstance(code := getattr(error, 'exit_code', None), ExitCode):
        return ' '.join(str(error).split()), code
    message = errors.describe_system_error(error)
    return (message, ExitCode.USER_ERROR) if message else None


def main(argv: list[str]) -> int:
    """Run the command; return its exit status. A bug keeps its traceback."""
    message, status = '', ExitCode.OK
    try:
        run_command(argv)
    except BaseException as error:
        if (end := exit_message(error)) is None:
            heartbeat.announce_exit(ExitCode.INTERNAL_ERROR, f'{type(error).__name__}: {error}', error)
            raise
        message, status = end
    heartbeat.announce_exit(status, message)
    if message:
        streams.print_error(message)
    return int(status)


if __name__ == '__main__':
    streams.open_standard_streams()
    environment.install_unraisable_hook()
    environment.exit_process(main(sys.argv))
