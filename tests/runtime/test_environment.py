"""Settings of the process: compilation cache, determinism, log lines; the cache changes no result."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import tiny_config

from alexnet_jax import commands
from alexnet_jax.runtime import environment, streams

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environ(monkeypatch, tmp_path):
    """Return a stand-in for os.environ."""
    own = {'HOME': str(tmp_path / 'home'), 'PATH': os.environ['PATH']}
    monkeypatch.setattr(environment.os, 'environ', own)
    monkeypatch.setattr(Path, 'home', lambda: Path(own['HOME']))
    return own


def configured(**settings):
    """Return the lines about the settings, by field."""
    defaults = {'cpu_devices': 1, 'keep_memory': False, 'compilation_cache': '', 'deterministic': False}
    lines = environment.configure_environment(**defaults | settings)
    return dict(line.split(': ', 1) for line in lines)


def kept(wanted):
    return configured(compilation_cache=wanted)['machine.compilation_cache']


def test_compiled_programs_are_kept_in_the_users_cache_by_processor(environ, tmp_path):
    assert str(tmp_path / 'home/.cache/alexnet_jax') in kept('auto')
    folder = Path(environ['JAX_COMPILATION_CACHE_DIR'])
    assert folder.is_dir() and folder.parent == tmp_path / 'home/.cache/alexnet_jax'
    del environ['JAX_COMPILATION_CACHE_DIR']
    environ['XDG_CACHE_HOME'] = str(tmp_path / 'xdg')
    assert str(tmp_path / 'xdg/alexnet_jax') in kept('auto')


def test_another_folder_may_be_given_and_none(environ, tmp_path):
    environ['JAX_COMPILATION_CACHE_DIR'] = '/theirs'
    assert str(tmp_path / 'mine') in kept(str(tmp_path / 'mine'))
    del environ['JAX_COMPILATION_CACHE_DIR']
    assert 'off' in kept('') and 'JAX_COMPILATION_CACHE_DIR' not in environ


def test_what_the_user_told_jax_itself_stays_unless_told_otherwise(environ):
    environ['JAX_COMPILATION_CACHE_DIR'] = '/theirs'
    assert '/theirs' in kept('auto')
    assert environ['JAX_COMPILATION_CACHE_DIR'] == '/theirs'


def test_a_folder_that_cannot_be_written_is_left_out_and_told(environ, tmp_path):
    (tmp_path / 'file').touch()
    assert 'cannot be written' in kept(str(tmp_path / 'file'))
    assert 'JAX_COMPILATION_CACHE_DIR' not in environ


def test_without_a_home_folder_nothing_is_kept(environ, monkeypatch):
    def fail():
        raise RuntimeError('Could not determine home directory.')

    monkeypatch.setattr(Path, 'home', fail)
    assert kept('auto').startswith('off, this user has no home folder')


@pytest.mark.parametrize('is_configured', [True, False])
def test_without_a_home_folder_matplotlib_is_silent_about_its_temporary_one(tmp_path, is_configured):
    begin = 'from alexnet_jax.runtime import environment; environment.configure_logging()' if is_configured else ''
    done = subprocess.run(
        [sys.executable, '-c', f'{begin}\nimport matplotlib; matplotlib.get_cachedir()'],
        env={'PATH': os.environ['PATH'], 'HOME': '/dev/null/nobody', 'TMPDIR': str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ('temporary' in done.stdout + done.stderr) is not is_configured


def test_deterministic_adds_its_flag_once_to_those_that_there_are(environ):
    environ['XLA_FLAGS'] = '--xla_dump_to=/theirs'
    for _ in range(2):
        line = configured(deterministic=True)['machine.deterministic']
        assert environ['XLA_FLAGS'] == '--xla_dump_to=/theirs --xla_gpu_deterministic_ops=true'
    assert 'on' in line and 'slower' in line


# A start of main.py that counts what jax finds in its cache, and what not.
RUN = """
import json, sys
import main
events, start = [], main.environment.configure_environment
def configure(**settings):
    lines = start(**settings)
    from jax import monitoring
    monitoring.register_event_listener(lambda event, **_: events.append(event.rpartition('/')[2]))
    return lines
main.environment.configure_environment = configure
status = main.main(sys.argv)
print(json.dumps([status, events.count('cache_hits'), events.count('cache_misses')]))
"""
FIELDS = {
    'prepare.num_cutouts': '48,16,20',
    'train.batch_size': 8,
    'train.num_epochs': 0.5,
    'train.learning_rate': 0.001,
    'train.warmup_epochs': 0.0,
    'evaluate.batch_size': 8,
    'evaluate.views': 1,
    'log.tensorboard': False,
}


@pytest.mark.extended
def test_the_second_start_compiles_from_the_cache_and_gives_the_same_bits(tmp_path):
    commands.run('prepare', tiny_config(), str(tmp_path))
    places = {'data.directory': tmp_path / 'dataset', 'machine.compilation_cache': tmp_path / 'cache'}

    def started(name):
        words = [f'--config.{field}={value}' for field, value in (FIELDS | places).items()]
        words = [sys.executable, '-c', RUN, f'--workdir={tmp_path / name}', *words]
        all_of_them = {'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'}
        done = subprocess.run(
            words, cwd=ROOT, env={**os.environ, **all_of_them}, capture_output=True, text=True, timeout=300
        )
        status, hits, misses = json.loads(done.stdout.splitlines()[-1])
        assert status == 0, done.stderr
        metrics = (tmp_path / name / 'metrics.jsonl').read_bytes()
        digests = (tmp_path / name / 'checkpoints/3/record/metadata').read_bytes()  # of all values
        return hits, misses, metrics, digests

    first, second = started('first'), started('second')
    assert first[1] > 0 and second[0] >= first[1] and second[1] == 0
    assert first[2:] == second[2:]


LOST = """
import os, signal, sys, weakref
from alexnet_jax.runtime import environment
signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts in the background is told to ignore it
environment.install_unraisable_hook()
class Thing: pass
thing = Thing()
reference = weakref.ref(thing, lambda _: exec(sys.argv[1]))
del thing
print('went on')
"""


@pytest.mark.parametrize(
    'what, status, out, err',
    [
        ('signal.raise_signal(signal.SIGINT)', 130, '', '^Interrupted.\n$'),
        ('raise ValueError("ours")', 0, 'went on\n', 'ValueError: ours'),
        ('raise RuntimeError("Event loop is closed")', 0, 'went on\n', '^$'),
    ],
)
def test_an_interrupt_that_a_callback_would_swallow_ends_the_process(what, status, out, err):
    done = subprocess.run([sys.executable, '-c', LOST, what], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (status, out)
    assert re.search(err, done.stderr)


def test_a_long_line_is_wrapped_at_the_terminals_width(monkeypatch):
    monkeypatch.setenv('COLUMNS', '40')
    line = '  a table  of  words and a path /of/more/than/forty/characters/in/one/word.png and more'
    record = logging.makeLogRecord({'msg': f'{line}\nshort'})
    *lines, last = streams.LogHandler().format(record).splitlines()
    assert lines[0] == '  a table  of  words and a path' and lines[1].startswith('    /of/more')
    assert last == 'short' and ' '.join(' '.join(lines).split()) == ' '.join(line.split())
