import errno
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest

import main
from alexnet_jax import commands, errors
from alexnet_jax.commands import Mode
from alexnet_jax.errors import UserError
from alexnet_jax.exit_codes import ExitCode
from alexnet_jax.runtime import environment, signals, streams
from alexnet_jax.train import loop

ROOT = Path(main.__file__).resolve().parent
BEGIN = 'from configs import default\n\ndef get_config():\n    config = default.get_config()\n'


@pytest.fixture
def called(monkeypatch):
    """Return the arguments that the stand-ins for the modes were called with; nothing is set for this process."""
    calls = []
    modes = (
        Mode('train', '', trains=True, prepares=True),
        Mode('summary', '', takes_images=True, needs_workdir=False),
        Mode('features', '', takes_layers=True, needs_workdir=False),
    )
    monkeypatch.setattr(commands, 'MODES', {mode.name: mode for mode in modes})
    monkeypatch.setattr(Mode, 'run', lambda mode, *arguments: calls.append(arguments))
    monkeypatch.setattr(environment, 'configure_environment', lambda **settings: [])
    monkeypatch.setattr(environment, 'configure_logging', lambda: None)
    return calls


def ends_with(monkeypatch, error):
    """Make every mode raise an error."""

    def fail(*_):
        raise error

    monkeypatch.setattr(Mode, 'run', fail)


def run(*words) -> int:
    return main.main(['main.py', *map(str, words)])


def refused(capsys, *words) -> str:
    """Return the message that refuses the arguments: alone on stderr, in one line, with status 2."""
    assert run(*words) == 2
    said = capsys.readouterr()
    assert said.err.count('\n') == 1 and 'Traceback' not in said.err and said.out == ''
    return said.err


def test_a_mode_gets_the_config_with_its_overrides_and_the_workdir(called, tmp_path):
    card = ROOT / 'configs' / 'imagenet.py'
    words = [
        '--config',
        card,
        '--config.train.batch_size',
        64,
        '--config.train.learning_rate=1',
        '--noconfig.augment.horizontal_flip',
    ]
    assert run(*words, f'--workdir={tmp_path}') == 0
    ((config, workdir),) = called
    assert (config.name, config.train.batch_size, config.train.learning_rate, config.augment.horizontal_flip) == (
        'imagenet',
        64,
        1.0,
        False,
    )
    assert workdir == str(tmp_path)


def test_the_quickstart_is_the_default_wherever_one_stands(called, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run('--workdir=here') == 0
    assert called[0][0].name == 'quickstart'


@pytest.mark.parametrize('form', ['--config=configs/imagenet.py', '--config configs/imagenet.py'])
def test_a_card_is_found_beside_main_wherever_one_stands(called, tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    assert run(*form.split(), '--config.train.batch_size=64', '--workdir=here') == 0
    assert (called[0][0].name, called[0][0].train.batch_size) == ('imagenet', 64)
    (tmp_path / 'configs').mkdir()
    own = BEGIN + "    config.name = 'mine'\n    return config\n"
    (tmp_path / 'configs' / 'imagenet.py').write_text(own)
    assert run(*form.split(), '--workdir=here') == 0
    assert called[1][0].name == 'mine'


def test_images_set_the_field_of_their_section(called):
    assert run('--mode=summary', '--images=a.jpg,photographs') == 0
    assert called[0][0].predict.images == 'a.jpg,photographs'
    assert run('--mode=features', '--layers=conv1,fc7') == 0
    assert called[1][0].features.layers == 'conv1,fc7'


@pytest.mark.parametrize(
    'field', ['mesh=3,1', 'train.grad_accumulation=3', 'train.warmup_epochs=99', 'model.preset=paper']
)
def test_what_contradicts_itself_in_training_alone_is_asked_of_training_alone(called, capsys, field):
    refused(capsys, '--workdir=/tmp', f'--config.{field}')
    assert not called
    assert run('--mode=summary', f'--config.{field}') == 0


@pytest.mark.parametrize(
    'words, sentence',
    [
        (['--mod=train'], 'There is no flag --mod; did you mean --mode?'),
        (['--mode=summry'], "There is no mode 'summry'; did you mean summary? The modes are train, summary, features."),
        (['--mode=Train'], "There is no mode 'Train'; did you mean train?"),
        (['--lr=0.1'], 'There is no flag --lr; did you mean --config.train.learning_rate=...?'),
        (
            ['--batch_size=64'],
            'no flag --batch_size; did you mean --config.train.batch_size=... or --config.evaluate.batch',
        ),
        (
            ['--batch-size=64'],
            'no flag --batch-size; did you mean --config.train.batch_size=... or --config.evaluate.batch',
        ),
        (['--epochs=3'], 'no flag --epochs; did you mean --config.train.num_epochs=...?'),
        (['--epoch=3'], 'no flag --epoch; did you mean --config.train.num_epochs=...?'),
        (['--model=paper'], 'no flag --model; did you mean --config.model.preset=...?'),
        (['--out=/tmp'], 'no flag --out; did you mean --workdir=...?'),
        (['--resume'], 'no flag --resume, and none is needed: the same command with the same --workdir resumes'),
        (
            ['--version'],
            'fields are given as --config.<section>.<field>=..., such as --config.train.batch_size=64, and --help',
        ),
        (['-e', '3'], 'There is no flag -e; fields are given as'),
        (['help'], "'help' is not a flag; every argument is one, such as --mode=train; --help shows the flags."),
        (['--mode=summary', 'cat.jpg'], "'cat.jpg' is not a flag; use --images=cat.jpg."),
        (['--mode=summary', '--images=a.jpg', 'b.jpg', 'c.jpg', 'd.jpg'], 'use --images=a.jpg,b.jpg,c.jpg,... for'),
        (['--config=configs/imagenet.py', '--config', 'configs/folder.py'], '--config is given twice; give it once.'),
        (['--config.train.bathc=64'], 'no field config.train.bathc; did you mean config.train.batch_size?'),
        (['--mode=fly'], "There is no mode 'fly'; the modes are train, summary, features"),
        (['train'], "'train' is not a flag; did you mean --mode=train?"),
        (['--mode=train'], 'This mode writes to a folder of its own; set one such as --workdir='),
        (['--workdir=/dev/null/run'], '/dev/null is not a folder'),
        (['--config.train.bach=3'], 'no field config.train.bach; did you mean config.train.batch_size'),
        (['--config.train=3'], 'config.train is a section'),
        (['--config.train.rate=1'], 'config.train.rate was renamed to config.train.learning_rate.'),
        (['--config.network.preset=paper'], 'config.network.preset was renamed to config.model.preset.'),
        (['--config.augment.mean=centre'], 'augment.mean=centre was renamed to config.augment.mean=center.'),
        (['--config.train.batch_size=1.5'], "config.train.batch_size is '1.5'; expected a whole number from 1"),
        (
            ['--config.augment.horizontal_flip=maybe'],
            "config.augment.horizontal_flip is 'maybe'; expected True or False",
        ),
        (['--noconfig.augment.horizontal_flip=1'], 'does not take an argument'),
        (['--config.train.batch_size'], 'Missing value'),
        (['--config.train.batch_size=3', f'--config={ROOT}/configs/imagenet.py'], 'Give --config before its fields.'),
        (['--config.train.batch_size=0'], 'config.train.batch_size is 0; expected a whole number from 1'),
        (['--config.model.preset=papers'], 'one of paper, source145'),
        (['--config.train.num_epochs=1', '--config.train.warmup_epochs=2'], 'shorten the warm-up'),
        (['--config=/nowhere.py'], "There is no config file '/nowhere.py'"),
        (['--config=/nowhere.py', '--config.train.batch_size=3'], "There is no config file '/nowhere.py'"),
        (['--images=a.jpg', '--workdir=/tmp'], '--images is for --mode=summary; --mode=train takes none'),
        (['--layers=fc7', '--workdir=/tmp'], '--layers is for --mode=features; --mode=train takes none'),
        (['--flagfile=/nowhere'], 'Unable to open flagfile'),
        (['\u2014mode=summary'], 'begins with a long dash'),
        (['-\u2013workdir', '/tmp/a'], 'flags begin with two hyphens: --workdir.'),
        (['--workdir=~no_such_user/a'], '--workdir=~no_such_user/a begins with ~no_such_user, and no home folder'),
    ],
)
def test_a_mistake_of_the_flags_gets_one_sentence_and_no_work_is_done(called, capsys, words, sentence):
    said = refused(capsys, *words)
    assert sentence in said
    assert not called


@pytest.mark.parametrize(
    'source, sentence',
    [
        ('def get_config(:', 'card.py, line 1: SyntaxError: invalid syntax'),
        ('import nothing_like_it', "card.py, line 1: ModuleNotFoundError: No module named 'nothing_like_it'"),
        (BEGIN + "    config.train.batch_size = 'many'\n    return config", 'card.py, line 5: TypeError'),
        (BEGIN + '    config.trian.batch = 3\n    return config', 'Did you mean "train"'),
        (BEGIN + '    config.train.bach = 3\n    return config', 'did you mean config.train.batch_size'),
        (BEGIN + '    config.train.rate = 1.0\n    return config', 'config.train.rate was renamed to'),
        (BEGIN + '    config.train.rate *= 2\n    return config', 'line 5: config.train.rate was renamed to'),
        (BEGIN + '    config.network.preset = "caffe"\n', 'line 5: config.network.preset was renamed to config.model'),
        (BEGIN + '    config.network.update(dropout="none")', 'line 5: The section config.network was renamed to'),
        (BEGIN + '    raise ValueError("tired")', 'card.py, line 5: ValueError: tired'),
        (BEGIN, 'needs a get_config() that returns the config of configs/default.py, changed; it returned None'),
        ('x = 1', 'needs a get_config()'),
        (
            'from ml_collections import ConfigDict\nget_config = ConfigDict',
            'is missing; a config file begins with default',
        ),
    ],
)
def test_a_mistake_in_a_config_file_is_told_with_file_and_line(called, capsys, tmp_path, source, sentence):
    card = tmp_path / 'card.py'
    card.write_text(source)
    assert sentence in refused(capsys, f'--config={card}', f'--workdir={tmp_path}')
    assert not called


@pytest.mark.parametrize(
    'name, content, sentence',
    [
        ('card.toml', b'[train]', 'card.toml is no Python file'),
        ('run.YML', b'train: 1', 'run.YML is no Python file'),
        ('card.py', BEGIN.encode('utf-16'), 'card.py is not in UTF-8'),
        ('card.py', BEGIN.encode('utf-16-be'), 'card.py is not in UTF-8'),
    ],
)
def test_a_config_file_of_another_kind_is_told_what_it_should_be(called, capsys, tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    assert sentence in refused(capsys, f'--config={tmp_path / name}', f'--workdir={tmp_path}')
    assert not called


def test_a_tilde_is_the_home_folder_for_workdir_and_config(called, tmp_path, monkeypatch):
    """A shell leaves it as it is after '='."""
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'my_card.py').write_text(BEGIN + '    config.seed = 41\n    return config')
    assert run('--config=~/my_card.py', '--workdir=~/my_runs/b') == 0
    ((config, workdir),) = called
    assert (config.seed, workdir) == (41, str(tmp_path / 'my_runs/b'))


@pytest.mark.parametrize(
    'end, status',
    [
        (lambda: UserError('too few images'), 2),
        (lambda: signals.StoppedGracefully('stopped at step 7'), 3),
        (lambda: loop.NonFiniteLoss(7, float('nan'), 1.0, 0.1), 4),
    ],
)
def test_what_ends_a_run_has_its_exit_status_and_one_sentence(called, capsys, tmp_path, monkeypatch, end, status):
    ends_with(monkeypatch, end())
    assert run(f'--workdir={tmp_path}') == status
    assert capsys.readouterr().err == f'{end()}\n'


@pytest.mark.parametrize(
    'end, status, words',
    [
        (KeyboardInterrupt(), 130, '^Interrupted.$'),
        (OSError(errno.ENOSPC, 'No space left on device', '/full/file'), 2, 'No space is left .*/full/file'),
        (OSError(errno.EROFS, 'Read-only file system', '/cd'), 2, 'Read-only file system .*/cd'),
        (ValueError('RESOURCE_EXHAUSTED: writing: No space left on device'), 2, '^No space is left;'),
    ],
)
def test_what_nobody_did_wrong_gets_its_sentence_too(called, capsys, tmp_path, monkeypatch, end, status, words):
    error = end
    if isinstance(end, Exception):
        error = RuntimeError('a save failed')
        error.__cause__ = end
    ends_with(monkeypatch, error)
    assert run(f'--workdir={tmp_path}') == status
    said = capsys.readouterr().err
    assert re.search(words, said) and said.count('\n') == 1


FULL = 'RESOURCE_EXHAUSTED: '


def of_jax():
    """Make JAX itself run out of memory: 512 TiB."""
    import jax

    jax.block_until_ready(jax.jit(lambda: jax.numpy.zeros(2**47))())


def of_numpy():
    numpy.zeros(2**50)


@pytest.mark.parametrize('work', [of_jax, of_numpy])
def test_a_batch_too_large_for_the_memory_gets_a_sentence_that_says_what_to_lower(
    called, capsys, tmp_path, monkeypatch, work
):
    monkeypatch.setattr(Mode, 'run', lambda *_: work())
    assert run(f'--workdir={tmp_path}') == 2
    said = capsys.readouterr().err
    assert re.match(r'The memory is full \((RESOURCE_EXHAUSTED: Out of memory|Unable to) alloc', said)
    assert said.count('\n') == 1
    for field in ('train.batch_size', 'train.grad_accumulation', 'model.compute_dtype=bfloat16', 'evaluate.batch_size'):
        assert f'config.{field}' in said


@pytest.mark.parametrize(
    'error, is_full',
    [
        (RuntimeError(FULL + 'Out of memory while trying to allocate 83886080 bytes.\nBufferAssignment'), True),
        (RuntimeError(FULL + 'Attempting to allocate 1.2G. That was not possible.'), True),
        (RuntimeError(FULL + 'XLA:TPU compile permanent error. Ran out of memory in memory space hbm.'), True),
        (RuntimeError('INTERNAL: failed to allocate: CUDA_ERROR_OUT_OF_MEMORY: out of memory'), True),
        (OSError(errno.ENOMEM, 'Cannot allocate memory'), True),
        (RuntimeError('INTERNAL: something else of memory'), False),
        (RuntimeError(FULL + 'a message larger than 4194304 was received'), False),
        (KeyError('memory'), False),
    ],
)
def test_a_full_memory_is_known_by_its_words(error, is_full):
    sentence = errors.describe_system_error(error)
    assert sentence.startswith('The memory is full') == is_full and '\n' not in sentence


def test_a_bug_of_ours_keeps_its_traceback(called, tmp_path, monkeypatch):
    ends_with(monkeypatch, KeyError('ours'))
    with pytest.raises(KeyError):
        run(f'--workdir={tmp_path}')


def test_help_is_one_screen_with_the_usage_the_modes_the_flags_and_the_exit_statuses(monkeypatch, caplog):
    monkeypatch.setattr(environment, 'configure_logging', lambda: None)
    with caplog.at_level(logging.INFO):
        assert run('--help') == 0
    (text,) = caplog.messages
    assert text.startswith('Usage: python main.py ') and '`' not in text
    lines = text.splitlines()
    assert len(lines) <= 48 and max(map(len, lines)) <= 100
    words = {line.split()[0] for line in lines if line.startswith('  ')}
    assert {*commands.MODES, '--mode', '--config', '--workdir', '--images', '--verbose', '--help'} <= words
    assert {str(int(code)) for code in ExitCode} <= words


def python(*words, **environment) -> subprocess.CompletedProcess:
    """Run Python from another folder."""
    environment = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd='/', env=environment, capture_output=True, text=True, timeout=120
    )


def test_the_script_ends_with_status_2_and_one_sentence():
    done = python(ROOT / 'main.py', '--config.train.learning_rate=0')
    assert done.returncode == 2
    assert done.stderr == 'config.train.learning_rate is 0.0; expected a number above 0.\n'


@pytest.mark.parametrize('words', [['--help'], ['--mode=summary']])
def test_a_reader_that_leaves_is_no_error(words):
    """As `| head -1` does, though at once."""
    with subprocess.Popen(
        [sys.executable, str(ROOT / 'main.py'), *words],
        env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        started.stdout.close()
        complaint = started.stderr.read()
        assert (started.wait(), complaint) == (0, '')


def test_the_settings_of_the_machine_are_printed_with_verbose_alone():
    quiet, verbose = (
        python(ROOT / 'main.py', '--mode=summary'),
        python(ROOT / 'main.py', '--mode=summary', '--verbose'),
    )
    lines = verbose.stdout.splitlines()
    # A line that is wrapped goes on indented.
    names = [line.split(':')[0] for line in lines if line.startswith('machine.')]
    assert names == [f'machine.{name}' for name in environment.SETTINGS]
    assert verbose.stdout.endswith(quiet.stdout) and not quiet.stdout.startswith('machine.')
    assert max(map(len, lines)) <= streams.LINE_WIDTH


def test_a_refusal_is_alone(tmp_path):
    card, where = f'--config={ROOT}/configs/folder.py', f'--workdir={tmp_path}'
    done = python(ROOT / 'main.py', '--mode=prepare', card, where, '--config.prepare.path=/nowhere')
    assert (done.returncode, done.stdout) == (2, '')
    assert '/nowhere' in done.stderr


def test_settings_are_made_before_jax_is_imported_and_named():
    done = python(
        '-c',
        """
import sys, main
from alexnet_jax.runtime import environment
machine = main.parse_flags(['main.py', '--config.machine.cpu_devices=3']).config.machine
environment.configure_logging()
lines = environment.configure_environment(**{name: machine[name] for name in environment.SETTINGS})
assert 'jax' not in sys.modules
import jax
print(jax.device_count(), *lines, sep='\\n')
""",
    )
    assert done.returncode == 0, done.stderr
    count, *lines = done.stdout.splitlines()
    assert count == '3'
    assert 'JAX_NUM_CPU_DEVICES=3' in lines[4] and 'JAX_PLATFORMS=cpu' in lines[5]
    # A line that is wrapped goes on indented.
    names = [line.split(':')[0] for line in lines if line.startswith('machine.')]
    assert names == [f'machine.{name}' for name in environment.SETTINGS]


@pytest.mark.parametrize(
    'libc, wanted, word', [('musl', True, 'left out'), ('glibc', False, 'off'), ('glibc', True, 'on')]
)
def test_the_allocator_is_set_where_there_is_glibc_and_it_is_wanted(monkeypatch, libc, wanted, word):
    options = []
    monkeypatch.setattr(environment.platform, 'libc_ver', lambda: (libc, '2.36'))
    monkeypatch.setattr(
        environment.ctypes, 'CDLL', lambda name: SimpleNamespace(mallopt=lambda *option: options.append(option) or 1)
    )
    monkeypatch.setattr(environment.os, 'environ', {})
    settings = {'cpu_devices': 1, 'keep_memory': wanted, 'compilation_cache': '', 'deterministic': False}
    assert word in environment.configure_environment(**settings)[1]
    assert len(options) == (3 if word == 'on' else 0)
