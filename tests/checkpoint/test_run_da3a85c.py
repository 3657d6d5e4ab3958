"""A run that commit da3a85c wrote is restored to the bit and goes on as it did, though fields and folders were renamed.

run_da3a85c/run.tar.gz is its folder, stopped by SIGTERM after step 13 of 25, with a plateau and metric sums under way;
expected.json and final_arrays.npz are what that commit itself came to when it resumed and when it never stopped.
"""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from alexnet_jax.checkpoint import checksums
from alexnet_jax.checkpoint.manager import CheckpointManager
from alexnet_jax.commands import run_dir
from alexnet_jax.config.schema import FIELDS

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = Path(__file__).with_name('run_da3a85c')
EXPECTED = json.loads((WRITTEN / 'expected.json').read_text())
# The commands run with the miniature at a few features per layer, to keep the files small.
SCRIPT = """
import dataclasses, json, sys
from alexnet_jax.models import presets
from alexnet_jax.models.architecture import Convolution, Dense

def small(layer):
    if isinstance(layer, Convolution):
        return dataclasses.replace(layer, features=8)
    return dataclasses.replace(layer, features=16) if isinstance(layer, Dense) and layer.name != 'fc8' else layer

miniature = presets.PRESETS['miniature']
presets.PRESETS['miniature'] = dataclasses.replace(miniature, layers=tuple(map(small, miniature.layers)))
import main
for args in json.loads(sys.argv[1]):
    status = main.main(['main.py', *args])
    assert status == 0, (args, status)
"""
TRAIN = """--config.model.lrn_alpha_over_n=true --config.model.dropout=inverted --config.model.dropout_position=after
--config.model.crop_size=32 --config.prepare.num_cutouts=40,10,10 --config.prepare.image_size=36
--config.prepare.encoding=jpeg --config.prepare.jpeg_quality=70 --config.augment.mean=center
--config.train.batch_size=8 --config.train.num_epochs=5 --config.train.learning_rate=0.02
--config.train.schedule=plateau --config.train.patience=1 --config.train.warmup_epochs=0
--config.evaluate.every_epochs=1 --config.evaluate.batch_size=8 --config.evaluate.views=1
--config.log.every_steps=3 --config.log.tensorboard=False --config.mesh=1,2""".split()


def unpack(workdir):
    with tarfile.open(WRITTEN / 'run.tar.gz') as archive:
        archive.extractall(workdir, filter='data')
    return workdir


@pytest.fixture(scope='module')
def resumed(tmp_path_factory):
    """(workdir, output) after the run was resumed, evaluated and asked for a prediction."""
    workdir = unpack(tmp_path_factory.mktemp('run_da3a85c'))
    flags = [f'--workdir={workdir}', '--config.mesh=1,2', '--config.evaluate.views=1', '--config.evaluate.batch_size=8']
    commands = [
        [f'--workdir={workdir}', *TRAIN],
        ['--mode=evaluate', *flags],
        ['--mode=predict', f'--images={ROOT}/docs/quickstart.png', *flags],
    ]
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT, json.dumps(commands)],
        cwd=ROOT,
        env=os.environ | {'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': '2'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return workdir, done.stdout


def assert_equal(found, expected):
    """Assert equality to 1e-4 of the largest entry.

    Sums in another order since then, and other processors, round otherwise (4e-7 after these twelve steps); a mask, a
    mean, a rate or a momentum that were not those of the run would be beyond 1e-2.
    """
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.max(np.abs(expected)))


def test_it_is_restored_to_the_bit(tmp_path):
    """The arrays of step 13 have the SHA-256 that the commit wrote beside them, column by column."""
    checkpoints = CheckpointManager(unpack(tmp_path) / 'checkpoints')
    written = json.loads((tmp_path / 'checkpoints' / '13' / 'record' / 'metadata').read_text())
    step, state, record = checkpoints.restore(checksums.tree_from_spec(written['leaves']))
    checkpoints.close()
    assert (step, record) == (13, written['record']) and len(written['leaves']) == 32
    for name, leaf in written['leaves'].items():
        kind, layer, part = name.split('/')
        array = np.asarray(state[kind][layer][part])
        assert [hashlib.sha256(column.tobytes()).hexdigest() for column in array] == leaf['sha256'], name


def test_it_ends_with_the_same_arrays(resumed):
    state = ocp.PyTreeCheckpointer().restore(resumed[0] / 'checkpoints' / '25' / 'state', restore_args=None)
    with np.load(WRITTEN / 'final_arrays.npz', allow_pickle=False) as expected:
        assert len(expected.files) == 32
        for name in expected.files:
            kind, layer, part = name.split('/')
            assert_equal(np.asarray(state[kind][layer][part]), expected[name])


def test_it_ends_with_the_same_rows_and_figures(resumed):
    rows = [json.loads(line) for line in (resumed[0] / 'metrics.jsonl').read_text().splitlines()]
    assert [row.keys() for row in rows] == [row.keys() for row in EXPECTED['metrics']]
    for row, expected in zip(rows, EXPECTED['metrics'], strict=True):
        assert_equal(list(row.values()), list(expected.values()))
    for file in ('result.json', 'evaluation.json'):
        result = json.loads((resumed[0] / file).read_text())
        for name in ('loss', 'top1_error', 'top5_error', 'images', 'checkpoint_step'):
            assert_equal(result[name], EXPECTED['result'][name])


def test_it_predicts(resumed):
    lines = resumed[1].splitlines()
    assert len(lines[lines.index(f'{ROOT}/docs/quickstart.png') + 1 :]) == 5


def test_its_fields_are_kept_under_the_names_of_today(resumed):
    fields = run_dir.read_run(resumed[0])['deciding']
    assert set(fields) - {'dataset'} <= set(FIELDS)
    assert fields == json.loads((resumed[0] / 'run.json').read_text())['deciding']
    assert (fields['model.lrn_alpha_over_n'], fields['augment.mean']) == ('true', 'center')


def test_it_is_small_and_names_no_machine():
    assert sum(file.stat().st_size for file in WRITTEN.iterdir()) < 400_000
    with tarfile.open(WRITTEN / 'run.tar.gz') as archive:
        contents = [archive.extractfile(member).read() for member in archive if member.isfile()]
    assert not any(word in content for content in contents for word in (b'/tmp', b'/root', b'/home', b'/work'))
