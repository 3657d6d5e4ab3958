"""Several real processes on this machine run one command together: what they compute is what one would."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_jax import modes
from alexnet_jax.training import journal
from configs import quickstart

ROOT = Path(__file__).resolve().parent.parent
FIELDS = {
    'prepare.counts': '80,20,21',  # 21 images to score: no batch divides them
    'train.batch': 16,
    'train.epochs': 1.0,
    'evaluate.batch': 8,
    'evaluate.views': 1,
    'checkpoint.every_steps': 3,
    'log.every_steps': 1,
    'log.tensorboard': False,
}


def config_of(**fields):
    config = quickstart.get_config()
    config.update_from_flattened_dict(FIELDS | fields)
    return config


def free_port():
    with socket.socket() as taken:
        taken.bind(('localhost', 0))
        return taken.getsockname()[1]


def started(count, workdir, *words, mode='train', **fields):
    """`count` processes of the real command, each to become a process of one pod."""
    port = free_port()
    settings = [f'--config.{name}={value}' for name, value in (FIELDS | fields).items()]
    return [
        subprocess.Popen(
            [
                sys.executable,
                str(ROOT / 'main.py'),
                f'--mode={mode}',
                f'--workdir={workdir}',
                *settings,
                *words,
            ]
            + [f'--coordinator=localhost:{port}', f'--processes={count}', f'--process={index}'],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {'JAX_PLATFORMS': 'cpu'},
        )
        for index in range(count)
    ]


def ended(processes, timeout=400):
    """(status, standard output, standard error) of each."""
    said = [process.communicate(timeout=timeout) for process in processes]
    return [(process.returncode, *words) for process, words in zip(processes, said, strict=True)]


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    """The run of one process with two devices; its folder, where the dataset of all lies."""
    workdir = tmp_path_factory.mktemp('alone')
    modes.train(config_of(mesh='1,2'), str(workdir))
    return workdir


def losses(workdir):
    return {row['step']: row['loss'] for row in journal.read_metrics(workdir) if 'loss' in row}


def check(workdir, alone, shape):
    """The losses are those of one process, and one process scores what several left as they did, image for image."""
    assert losses(workdir) == pytest.approx(losses(alone), rel=1e-5)
    result = json.loads((workdir / 'result.json').read_text())
    again = modes.evaluate(config_of(mesh=shape, **{'data.directory': str(alone / 'dataset')}), str(workdir))
    assert (result['images'], result['top1_error'], result['top5_error']) == (
        again['images'],
        again['top1_error'],
        again['top5_error'],
    )
    assert result['images'] == 21
    assert result['loss'] == pytest.approx(again['loss'], rel=1e-5)


@pytest.mark.parametrize(
    'processes, devices, mesh',
    [
        (2, 1, '1,2'),  # a column in each process, both with all images
        (2, 2, '2,2'),  # both columns in each process, half the images
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
    assert len(journal.read_metrics(tmp_path)) == len(journal.read_metrics(alone))  # written by one alone
