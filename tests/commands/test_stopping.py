"""A signal in every phase of a run: it stops within seconds with all saved, and resumes to the same bits."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from tiny_run import tiny_config

import main
from alexnet_jax import commands
from alexnet_jax.checkpoint import manager, quarantine
from alexnet_jax.commands import run_dir
from alexnet_jax.data import dataset, example_proto, pipeline, prefetch
from alexnet_jax.evaluate import evaluator, nearest_neighbor
from alexnet_jax.prepare import builder
from alexnet_jax.runtime import signals
from alexnet_jax.train import metrics_writer, train_step

pytestmark = pytest.mark.usefixtures('module_without_plots')

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30  # a few, on a machine that is busy with other things


def steered(directory):
    """Six steps, validated after the third and the last, so that the schedule has a state of its own."""
    config = tiny_config()
    config.data.directory = str(directory)
    fields = {'train.schedule': 'plateau', 'train.patience': 1, 'evaluate.every_epochs': 0.5}
    config.update_from_flattened_dict(fields)
    return config


@pytest.fixture(scope='module')
def directory(tmp_path_factory):
    """A dataset for all runs of this file."""
    where = tmp_path_factory.mktemp('prepared')
    commands.run('prepare', steered(where / 'dataset'))
    return where / 'dataset'


@pytest.fixture(scope='module')
def whole(directory, tmp_path_factory):
    """A run that nothing interrupted: its folder."""
    workdir = tmp_path_factory.mktemp('whole')
    commands.run('train', steered(directory), str(workdir))
    return workdir


def newest(workdir):
    held = manager.CheckpointManager(Path(workdir) / run_dir.CHECKPOINTS_DIR, read_only=True)
    (step_number,) = held.steps()[-1:] or (0,)
    held.close()
    return step_number


def end_of(workdir):
    """Rows, the record of the newest checkpoint with all its sums, and the figures."""
    record = Path(workdir) / run_dir.CHECKPOINTS_DIR / str(newest(workdir)) / 'record' / 'metadata'
    result = json.loads((Path(workdir) / 'result.json').read_text())
    figures = {name: value for name, value in result.items() if name not in ('seconds', 'images_per_second')}
    return (Path(workdir) / metrics_writer.METRICS_FILE).read_text(), json.loads(record.read_text()), figures


def asks():
    """Return a function that sends this process a signal, once, and records when."""
    times = []

    def ask():
        if not times:
            times.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGTERM)

    ask.times = times
    return ask


def at_call(monkeypatch, owner, name, ask, nth=1, where=lambda *given: True):
    """Send a signal during the nth call of `name` that `where` accepts."""
    original, count = getattr(owner, name), []

    def hooked(*given, **named):
        if where(*given):
            count.append(given)
            if len(count) == nth:
                ask()
        return original(*given, **named)

    monkeypatch.setattr(owner, name, hooked)


PHASES = {
    'starting': (lambda m, ask: at_call(m, metrics_writer.MetricsWriter, 'truncate_after', ask), 0),
    'compiling': (lambda m, ask: at_call(m, train_step.CompiledStep, '__call__', ask), 0),
    'a step': (lambda m, ask: at_call(m, train_step.CompiledStep, '__call__', ask, 2), 2),
    'validation': (lambda m, ask: at_call(m, evaluator.Evaluator, '_to_device', ask, 2), 3),
    'the last validation': (lambda m, ask: at_call(m, evaluator.Evaluator, '_to_device', ask, 4), 6),
    'saving': (lambda m, ask: at_call(m, manager.CheckpointManager, 'save', ask), 3),
    'reading back': (lambda m, ask: at_call(m, manager.CheckpointManager, '_verify_last_save', ask, 2), 3),
    'the end': (lambda m, ask: at_call(m, nearest_neighbor, 'baseline_errors', ask), 6),
}


@pytest.mark.parametrize('phase', PHASES)
def test_a_signal_in_any_phase_stops_with_all_saved_and_the_run_goes_on_to_the_same_bits(
    phase, directory, whole, tmp_path, monkeypatch
):
    hook, step_number = PHASES[phase]
    ask = asks()
    with monkeypatch.context() as hooks:
        hook(hooks, ask)
        with pytest.raises(signals.StoppedGracefully, match='Received SIGTERM; .*[Rr]un the same command') as end:
            commands.run('train', steered(directory), str(tmp_path))
    assert time.monotonic() - ask.times[0] < SECONDS
    late = 3 if phase == 'reading back' else 0  # which comes when the save is whole, so many steps later at most
    assert step_number <= newest(tmp_path) <= step_number + late
    assert phase not in ('a step', 'saving') or f'up to step {newest(tmp_path)} is saved' in str(end.value)
    commands.run('train', steered(directory), str(tmp_path))
    assert end_of(tmp_path) == end_of(whole)


def test_a_signal_while_data_do_not_come_saves_what_is_there_and_leaves(directory, whole, tmp_path, monkeypatch):
    """The disk hangs, in the middle of the fourth batch and for ever."""
    batch, ask, hangs = pipeline.TrainPipeline.batch, asks(), threading.Event()

    def hanging(self, number):
        if number == 3:
            hangs.wait()
        return batch(self, number)

    monkeypatch.setattr(pipeline.TrainPipeline, 'batch', hanging)
    at_call(monkeypatch, prefetch.Prefetcher, '__next__', lambda: threading.Timer(0.3, ask).start(), 4)
    monkeypatch.setattr('alexnet_jax.data.prefetch.CLOSE_TIMEOUT', 0.2)
    config = steered(directory)
    config.checkpoint.every_steps = 1000
    config.evaluate.every_epochs = 0.5
    try:
        with pytest.raises(signals.StoppedGracefully, match='up to step 3 is saved'):
            commands.run('train', config, str(tmp_path))
        assert time.monotonic() - ask.times[0] < SECONDS
        assert newest(tmp_path) == 3
    finally:
        hangs.set()
    monkeypatch.undo()
    commands.run('train', config, str(tmp_path))
    assert end_of(tmp_path) == end_of(whole)


@pytest.mark.parametrize('workers', [1, 2])
def test_a_signal_while_preparing_keeps_what_is_whole_and_leaves_nothing_half(
    workers, directory, tmp_path, monkeypatch
):
    config = steered(tmp_path / 'dataset')
    config.prepare.num_workers = workers
    monkeypatch.setattr(builder, 'MIN_SHARD_SIZE', 16)
    with monkeypatch.context() as hooks:
        ask = asks()
        if workers == 1:
            at_call(hooks, example_proto, 'encode_example', ask, 20)
        else:
            threading.Timer(1.0, ask).start()
        with pytest.raises(signals.StoppedGracefully, match='finished shards are kept'):
            commands.run('prepare', config)
    assert time.monotonic() - ask.times[0] < SECONDS
    left = [path.name for path in (tmp_path / 'dataset').rglob('*') if path.is_file()]
    assert 'manifest.json' not in left and not [name for name in left if name.endswith('.partial')]
    assert workers > 1 or any('array_record' in name for name in left)
    commands.run('prepare', config)
    assert not any(dataset.find_problems(tmp_path / 'dataset').values())


def test_a_signal_while_a_run_is_scored_again_is_a_stop(trained, monkeypatch):
    at_call(monkeypatch, evaluator.Evaluator, '_to_device', asks())
    with pytest.raises(signals.StoppedGracefully, match='nothing was written'):
        commands.run('evaluate', *trained)


def test_a_library_that_does_not_come_back_is_not_waited_for():
    script = textwrap.dedent("""
        import ctypes
        from alexnet_jax.runtime import signals
        signals.GRACE_SECONDS = 0.5
        libc = ctypes.CDLL(None)
        libc.sem_init(semaphore := ctypes.create_string_buffer(64), 0, 0)
        with signals.interrupt_immediately('nothing is lost.'):
            libc.siginterrupt(15, 0)
            print('ready', flush=True)
            libc.sem_wait(semaphore)
    """)
    child = subprocess.Popen(
        [sys.executable, '-c', script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout.readline() == 'ready\n'
    time.sleep(0.2)
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 3
    assert child.stderr.read() == 'Received a signal; nothing is lost.\n'


def test_a_thread_that_hangs_in_a_read_does_not_keep_the_process():
    script = 'import threading as t; from alexnet_jax.runtime import environment; '
    script += 't.Thread(target=t.Event().wait).start(); environment.exit_process(3, 0.2)'
    began = time.monotonic()
    done = subprocess.run([sys.executable, '-c', script], cwd=ROOT, timeout=60)
    assert done.returncode == 3 and time.monotonic() - began < 30


def test_one_of_several_processes_leaves_nothing_alone():
    with signals.SignalHandler(multi_process=True) as stop, stop.interruptible('never'):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.02)
    assert stop.received == 'SIGTERM'


@pytest.mark.parametrize('failing, number', [(3, errno.ENOSPC), (6, errno.EROFS)])
def test_a_save_that_fails_ends_the_run_loudly_and_costs_no_older_checkpoint(
    failing, number, directory, whole, tmp_path, monkeypatch
):
    """The disk fills up, or is closed to us, while the first or the last checkpoint is being written."""
    rename = os.rename

    def full(source, target, **named):
        if f'/checkpoints/{failing}' in os.fspath(target) and os.fspath(target).endswith(str(failing)):
            raise OSError(number, os.strerror(number), os.fspath(target))
        return rename(source, target, **named)

    config = steered(directory)
    with monkeypatch.context() as hooks:
        hooks.setattr(os, 'rename', full)
        with pytest.raises(Exception) as end:
            commands.run('train', config, str(tmp_path))
    sentence, status = main.exit_message(end.value)
    assert status == 2 and ('No space is left' if number == errno.ENOSPC else 'Read-only') in sentence
    assert newest(tmp_path) == (0 if failing == 3 else 3)
    assert not (tmp_path / 'result.json').exists()
    commands.run('train', config, str(tmp_path))
    assert end_of(tmp_path) == end_of(whole)
    assert not list((tmp_path / run_dir.CHECKPOINTS_DIR).glob(quarantine.TEMP_PATTERN))


def test_what_kills_left_beside_the_files_of_a_run_is_cleared_and_nothing_else(directory, whole, tmp_path):
    shutil.copytree(whole, tmp_path / 'run')
    run = tmp_path / 'run'
    # What is written atomically, by this version and by those before it.
    jsons = ('run', 'config', 'result', 'evaluation', 'exploded', 'benchmark')
    images = ('examples', 'curves', 'kernels', 'answers', 'benchmark')
    names = [*(f'{name}.json' for name in jsons), *(f'{name}.png' for name in images)]
    leftovers = [f'.{name}.123' for name in names] + ['metrics.jsonl.new', 'timings.jsonl.new']
    leftovers += [f'.{name}.7.partial' for name in [*names, 'metrics.jsonl', 'timings.jsonl']]
    leftovers += [f'checkpoints/6/.files.json.{ending}' for ending in ('new', '7.partial')]
    leftovers += ['dataset/.contact.png.7.partial', 'dataset/.contact.png.7']
    (run / 'dataset').mkdir()
    for name in leftovers:
        (run / name).write_text('half')
    (run / run_dir.CHECKPOINTS_DIR / '9.orbax-checkpoint-tmp').mkdir()
    kept = ('.run.json', '.notes.json.1', 'notes.txt', '.result.json.mine', 'checkpoints/notes')
    for name in kept:
        (run / name).write_text('mine')
    commands.run('train', steered(directory), str(run))
    left = {str(path.relative_to(run)) for path in run.rglob('*')}
    assert set(kept) <= left
    assert not {*leftovers, 'checkpoints/9.orbax-checkpoint-tmp'} & left
