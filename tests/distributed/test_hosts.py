"""Several real processes on this machine run one command: they compute what one process would."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alexnet_jax import commands
from alexnet_jax.runtime import signals
from alexnet_jax.train import metrics_writer
from configs import quickstart

ROOT = Path(__file__).resolve().parents[2]
FIELDS = {
    'prepare.num_cutouts': '80,20,21',  # 21 images to score: no batch divides them
    'train.batch_size': 16,
    'train.num_epochs': 2.0,  # ten steps
    # A rounding stays one, see tests/train/test_same_numbers.py.
    'train.learning_rate': 1e-3,
    'model.activation': 'tanh',
    'model.pooling': 'average',
    'evaluate.batch_size': 8,
    'evaluate.views': 1,
    'checkpoint.every_steps': 3,
    'log.every_steps': 1,
    'log.tensorboard': False,
    'machine.cpu_devices': 1,
}


def config_of(**fields):
    config = quickstart.get_config()
    config.update_from_flattened_dict(FIELDS | fields)
    return config


def free_port(first=0):
    """Return a port that nobody listens on, from `first` upwards."""
    while True:
        with contextlib.suppress(OSError), socket.socket() as taken:
            taken.bind(('localhost', first))
            return taken.getsockname()[1]
        first += 1


def by_slurm(index, count, job):
    """Return what srun sets. jax takes the coordinator's port from the job's number."""
    return {
        'SLURM_JOB_ID': str(job),
        'SLURM_STEP_NODELIST': 'localhost',
        'SLURM_NTASKS': str(count),
        'SLURM_PROCID': str(index),
        'SLURM_LOCALID': str(index),
    }


def started(count, workdir, each=None, slurm=False, **fields):
    """Start `count` processes of one run; `each` holds the fields of a process of its own."""
    port = free_port(61440 if slurm else 0)
    children = []
    for index in range(count):
        words = [
            f'--config.{name}={value}' for name, value in (FIELDS | fields | (each[index] if each else {})).items()
        ]
        if not slurm:
            words += [f'--coordinator=localhost:{port}', f'--processes={count}', f'--process={index}']
        variables = by_slurm(index, count, port - 61440) if slurm else {}
        children.append(
            subprocess.Popen(
                [sys.executable, str(ROOT / 'main.py'), f'--workdir={workdir}', *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | {'JAX_PLATFORMS': 'cpu'} | variables,
            )
        )
    return children


def ended(processes, timeout=400):
    """Return (status, standard output, standard error) of each."""
    said = [process.communicate(timeout=timeout) for process in processes]
    return [(process.returncode, *words) for process, words in zip(processes, said, strict=True)]


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    """Return the folder of a run of one process with two devices, and of the dataset that all read."""
    workdir = tmp_path_factory.mktemp('alone')
    commands.run('train', config_of(mesh='1,2'), str(workdir))
    return workdir


def losses(workdir):
    return {row['step']: row['loss'] for row in metrics_writer.read_metrics(workdir) if 'loss' in row}


def check(workdir, alone, shape):
    """Check that losses and scores are those of one process."""
    assert len(losses(workdir)) == 10 and losses(workdir) == pytest.approx(losses(alone), rel=1e-5)
    result = json.loads((workdir / 'result.json').read_text())
    again = commands.run('evaluate', config_of(mesh=shape, **{'data.directory': str(alone / 'dataset')}), str(workdir))
    assert (result['images'], result['top1_error'], result['top5_error']) == (
        again['images'],
        again['top1_error'],
        again['top5_error'],
    )
    assert result['images'] == 21
    assert result['loss'] == pytest.approx(again['loss'], rel=1e-5)


def begun(processes, workdir, rows):
    """Wait until `rows` rows are written."""
    until = time.monotonic() + 400
    while len(losses(workdir)) < rows:
        assert all(process.poll() is None for process in processes), ended(processes)
        assert time.monotonic() < until
        time.sleep(0.1)


LONG = {'train.num_epochs': 400.0, 'evaluate.every_epochs': 0.0, 'checkpoint.every_steps': 0}


def test_a_signal_to_one_stops_all_at_one_step_and_the_death_of_the_first_is_said_by_the_other(
    alone, tmp_path, monkeypatch
):
    fields = LONG | {'data.directory': str(alone / 'dataset'), 'mesh': '1,2', 'machine.peer_timeout': 10}
    stop_once = lambda _, done, *rest, **more: done == 2 and os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    monkeypatch.setattr(metrics_writer.MetricsWriter, 'update_progress', stop_once)
    with pytest.raises(signals.StoppedGracefully, match='up to step [12] '):
        commands.run('train', config_of(**fields | {'mesh': '1,1'}), str(tmp_path))
    # What one process began two go on with.
    pair = started(2, tmp_path, **fields)
    begun(pair, tmp_path, 4)
    pair[1].send_signal(signal.SIGTERM)
    steps = []
    for status, _, complaint in ended(pair):
        assert status == 3, complaint
        steps.append(re.search(r'Received SIGTERM; everything up to step (\d+) is saved', complaint)[1])
    assert steps[0] == steps[1] and (tmp_path / 'checkpoints' / steps[0]).is_dir()

    pair = started(2, tmp_path, **fields)
    begun(pair, tmp_path, int(steps[0]) + 2)
    pair[0].kill()
    _, (status, _, complaint) = ended(pair)
    assert status == 5, complaint
    assert re.search(r'process 0 \(.*\) is lost: no heartbeat for 10 s', complaint)
    assert re.search(r'process 0 \(.*\) was at: .*step \d+', complaint)


@pytest.mark.slow
def test_a_process_that_stands_still_is_lost(alone, tmp_path):
    fields = LONG | {'data.directory': alone / 'dataset', 'mesh': '2,1', 'machine.peer_timeout': 10}
    pair = started(2, tmp_path, **fields)
    begun(pair, tmp_path, 2)
    pair[1].send_signal(signal.SIGSTOP)
    ((status, _, complaint),) = ended(pair[:1])
    pair[1].kill()
    assert status == 5 and re.search(r'process 1 \(.*\) is lost', complaint)


def test_processes_that_slurm_joins_and_were_not_given_the_same_say_who_differs_in_what(tmp_path):
    for status, _, complaint in ended(started(2, tmp_path, each=[{}, {'train.learning_rate': 0.5}], slurm=True)):
        assert status == 2, complaint
        assert re.search(r'config.train.learning_rate is 0.5 for process 1 \(.*\) and 0.001 for process 0', complaint)
    assert not (tmp_path / 'run.json').exists()


@pytest.mark.parametrize(
    'processes, devices, mesh',
    [
        (2, 2, '2,2'),  # both columns in each process, half the images
        # a column in each process, both with all images
        pytest.param(2, 1, '1,2', marks=pytest.mark.slow),
        pytest.param(2, 1, '2,1', marks=pytest.mark.slow),
        pytest.param(4, 1, '2,2', marks=pytest.mark.slow),
        pytest.param(4, 2, '4,2', marks=pytest.mark.slow),
    ],
)
def test_several_processes_give_the_losses_and_the_counts_of_one(processes, devices, mesh, alone, tmp_path):
    fields = {'data.directory': alone / 'dataset', 'machine.cpu_devices': devices, 'mesh': mesh}
    for status, _, complaint in ended(started(processes, tmp_path, **fields)):
        assert status == 0, complaint
    check(tmp_path, alone, '1,1')
    for name in ('curves.png', 'kernels.png', 'examples.png', 'answers.png', 'metrics.jsonl'):
        assert (tmp_path / name).exists()
    assert len(metrics_writer.read_metrics(tmp_path)) == len(metrics_writer.read_metrics(alone))  # written by one alone


RESTORES = """
import shutil, sys
from pathlib import Path
import jax, numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from alexnet_jax.errors import UserError
from alexnet_jax.checkpoint.manager import CheckpointManager
port, rank, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
jax.config.update('jax_num_cpu_devices', 1)
jax.distributed.initialize(f'localhost:{port}', 2, rank)
mesh = jax.make_mesh((1, 2), ('data', 'column'), (AxisType.Auto,) * 2)
by_column = NamedSharding(mesh, PartitionSpec('column'))
def state(seed):
    whole = np.random.default_rng(seed).normal(size=(2, 100, 100)).astype(np.float32)
    return {'conv1': {'kernel': jax.make_array_from_callback(whole.shape, by_column, lambda at: whole[at])}}
for case in ('truncated', 'deleted', 'flipped'):
    checkpoints = CheckpointManager(folder / case)
    for step in (1, 2):
        checkpoints.save(step, state(step), {})
        checkpoints.wait()
    checkpoints.close()
    if rank == 0:  # what process 1 alone reads: its column
        files = [file for file in (folder / case / '2').rglob('d/*') if 'process_1' in str(file)]
        file = max(files, key=lambda file: file.stat().st_size)
        bytes_ = bytearray(file.read_bytes())
        bytes_[len(bytes_) // 2] ^= 1
        file.write_bytes(bytes_ if case == 'flipped' else bytes_[:100])
        if case == 'deleted':
            file.unlink()
    multihost_utils.sync_global_devices('damaged')
    checkpoints = CheckpointManager(folder / case)
    step, restored, _ = checkpoints.restore(state(0))
    mine = restored['conv1']['kernel'].addressable_data(0)
    print(case, step, bool((mine == state(1)['conv1']['kernel'].addressable_data(0)).all()), flush=True)
    checkpoints.close()
checkpoints = CheckpointManager(folder / 'lacking')
for step in (1, 2):
    checkpoints.save(step, state(step), {})
    checkpoints.wait()
restore = checkpoints._manager.restore
def lacks(step, args):
    if rank == 1 and 'state' in args.keys():
        raise MemoryError
    return restore(step, args=args)
checkpoints._manager.restore = lacks
try:
    checkpoints.restore(state(0))
except UserError as mistake:
    print('lacking', mistake, flush=True)
checkpoints._manager.restore = restore
print('lacking', checkpoints.restore(state(0))[0], flush=True)
checkpoints.close()
"""


def test_damage_that_one_process_alone_finds_sends_all_to_the_checkpoint_before(tmp_path):
    port = str(free_port())
    words = [[sys.executable, '-c', RESTORES, port, str(rank), str(tmp_path)] for rank in (0, 1)]
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    environment = os.environ | {'JAX_PLATFORMS': 'cpu'}
    for status, said, complaint in ended(
        [subprocess.Popen(each, **pipes, cwd=ROOT, env=environment) for each in words]
    ):
        assert status == 0, complaint
        for case in ('truncated', 'deleted', 'flipped'):
            assert f'{case} 1 True' in said
            assert (tmp_path / case / '2.damaged').is_dir()
        # What one of them lacks the memory for is told by all, and stays.
        assert 'lacking Could not read the checkpoint of step 2' in said
        assert 'No damage was found' in said and 'lacking 2' in said
