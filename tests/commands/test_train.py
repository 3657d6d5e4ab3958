"""The whole run, tiny, through its mode and through main.py: it learns, and how often it died does not show."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from alexnet_jax import commands
from alexnet_jax.checkpoint.manager import CheckpointManager
from alexnet_jax.commands import factories, run_dir
from alexnet_jax.data import dataset
from alexnet_jax.errors import UserError
from alexnet_jax.models import presets
from alexnet_jax.runtime import signals
from alexnet_jax.train import loop, metrics_writer
from configs import quickstart

ROOT = Path(__file__).resolve().parents[2]
CLOCKS = ('seconds', 'images_per_second')  # what differs from run to run; all else in result.json must not


def tiny(**fields):
    """Ten steps of sixteen cut-outs, dropout, crops, flips and lighting on, two columns on two devices."""
    config = quickstart.get_config()
    config.prepare.num_cutouts = '80,20,20'
    config.train.batch_size = 16
    config.train.num_epochs = 2.0
    config.evaluate.every_epochs = 1.0
    config.evaluate.batch_size = 20
    config.evaluate.views = 1
    config.checkpoint.every_steps = 3
    config.log.every_steps = 4
    config.log.tensorboard = False
    config.log.pictures = False
    config.mesh = '1,2'
    for name, value in fields.items():
        section, field = name.split('__')
        config[section][field] = value
    return config


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """The dataset of all these runs, prepared once."""
    directory = tmp_path_factory.mktemp('images')
    commands.run('prepare', tiny(data__directory=str(directory)))
    return str(directory)


@pytest.fixture(scope='module')
def whole(images, tmp_path_factory):
    """A run that nothing interrupted: its folder."""
    workdir = tmp_path_factory.mktemp('whole')
    commands.run('train', tiny(data__directory=images), str(workdir))
    return workdir


def held(workdir):
    """Parameters and velocity of the newest checkpoint, and its step."""
    checkpoints = CheckpointManager(Path(workdir) / run_dir.CHECKPOINTS_DIR)
    mesh = jax.make_mesh((1, 1), ('data', 'column'))
    step, state, _ = checkpoints.restore(
        factories.abstract_checkpoint(tiny(), presets.get_architecture('miniature'), mesh)
    )
    checkpoints.close()
    return step, jax.device_get(state)


def same(workdir, whole):
    """The two runs left the same arrays, the same rows and the same figures, to the bit."""
    (step, state), (expected_step, expected) = held(workdir), held(whole)
    assert step == expected_step
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    assert (Path(workdir) / 'metrics.jsonl').read_text() == (Path(whole) / 'metrics.jsonl').read_text()
    results = [json.loads((Path(each) / 'result.json').read_text()) for each in (workdir, whole)]
    for result in results:
        for clock in CLOCKS:
            del result[clock]
    assert results[0] == results[1]


def test_a_run_leaves_its_figure_its_pictures_and_how_it_came_about(whole):
    result = json.loads((whole / 'result.json').read_text())
    assert {'top1_error', 'top5_error', 'loss', 'split', 'views', 'images', 'interval', 'baseline'} <= result.keys()
    assert {'epochs', 'seconds', 'images_per_second', 'checkpoint_step'} <= result.keys()
    assert (result['split'], result['images'], result['checkpoint_step']) == ('test', 20, 10)
    for name in ('curves', 'kernels', 'examples', 'answers'):
        with Image.open(whole / f'{name}.png') as picture:
            assert min(picture.size) > 300
    run = json.loads((whole / 'run.json').read_text())
    assert run['versions']['jax'] == jax.__version__
    assert json.loads((whole / 'config.json').read_text())['train.batch_size'] == 16


def test_a_run_records_its_environment_and_commands_that_a_shell_takes(
    trained, tmp_path, monkeypatch, caplog, without_plots
):
    config, begun = trained
    folder = shutil.copytree(begun, tmp_path / 'my run')
    words = ['main.py', '--workdir=/my run', "--config.prepare.path=it's"]
    monkeypatch.setattr(sys, 'argv', words)
    monkeypatch.setenv('NVIDIA_TF32_OVERRIDE', '0')
    commands.run('train', config, str(folder))
    run = json.loads((folder / 'run.json').read_text())
    assert shlex.split(run['commands'][-1][1]) == words
    assert 'NVIDIA_TF32_OVERRIDE' not in run['environment']
    assert 'NVIDIA_TF32_OVERRIDE was not set and is 0' in caplog.text
    caplog.clear()
    # A run of a version that did not record them.
    (folder / 'run.json').write_text(json.dumps({key: run[key] for key in run if key != 'environment'}))
    commands.run('train', config, str(folder))
    assert 'NVIDIA_TF32_OVERRIDE' not in caplog.text
    assert json.loads((folder / 'run.json').read_text())['commands'][:-1] == run['commands']


def test_the_rows_of_a_run_are_those_of_its_steps(whole):
    rows = metrics_writer.read_metrics(whole)
    assert [row['step'] for row in rows if 'loss' in row] == [4, 8, 10]
    assert [row['step'] for row in rows if 'validation_loss' in row] == [5, 10]
    timings = metrics_writer.read_timings(whole)
    assert all(row['images_per_second'] > 0 for row in timings if 'images_per_second' in row)


@pytest.mark.extended
def test_a_run_from_the_device_cache_is_the_run_from_the_host(images, whole, tmp_path, without_plots):
    """To float32's rounding: it is another program."""
    commands.run('train', tiny(data__directory=images, data__device_cache=True), str(tmp_path))
    (step, state), (expected_step, expected) = held(tmp_path), held(whole)
    assert step == expected_step
    for found, wanted in zip(*map(jax.tree.leaves, (state['parameters'], expected['parameters'])), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    rows = (metrics_writer.read_metrics(each) for each in (tmp_path, whole))
    for row, wanted in zip(*rows, strict=True):
        assert row == pytest.approx(wanted, rel=1e-4)


# Before the first checkpoint, between two, between validation and row.
@pytest.mark.parametrize('at', [*(pytest.param(at, marks=pytest.mark.extended) for at in (1, 4)), 7])
def test_a_run_that_was_stopped_and_went_on_is_the_run_that_was_not(
    at, images, whole, tmp_path, monkeypatch, without_plots
):
    config, asked = tiny(data__directory=images), []

    def bar(self, done, total, **shown):
        if done == at and not asked:
            asked.append(os.kill(os.getpid(), signal.SIGTERM))

    monkeypatch.setattr(metrics_writer.MetricsWriter, 'update_progress', bar)
    with pytest.raises(signals.StoppedGracefully, match='Received SIGTERM; everything up to step'):
        commands.run('train', config, str(tmp_path))
    assert held(tmp_path)[0] in (at, at + 1)  # at most the step under way is still done
    commands.run('train', config, str(tmp_path))
    same(tmp_path, whole)


def test_a_finished_run_started_again_says_the_same(images, whole):
    before = (whole / 'metrics.jsonl').read_bytes()
    commands.run('train', tiny(data__directory=images), str(whole))
    assert (whole / 'metrics.jsonl').read_bytes() == before


def test_a_run_without_a_whole_checkpoint_is_refused_however_often_and_keeps_its_rows(images, whole, tmp_path):
    shutil.copytree(whole, tmp_path / 'run')
    rows = (tmp_path / 'run' / 'metrics.jsonl').read_bytes()
    for record in (tmp_path / 'run' / run_dir.CHECKPOINTS_DIR).glob('*/record/metadata'):
        record.write_text('{')
    for _ in range(2):
        with pytest.raises(UserError, match=r'No whole checkpoint is left in .*10\.damaged'):
            commands.run('train', tiny(data__directory=images), str(tmp_path / 'run'))
    shutil.rmtree(tmp_path / 'run' / run_dir.CHECKPOINTS_DIR)
    with pytest.raises(UserError, match='had saved checkpoints, and .* has none'):
        commands.run('train', tiny(data__directory=images), str(tmp_path / 'run'))
    assert (tmp_path / 'run' / 'metrics.jsonl').read_bytes() == rows


@pytest.mark.extended
def test_another_mesh_gives_the_same_losses(images, whole, tmp_path, without_plots):
    config = tiny(data__directory=images)
    config.mesh = '4,1'
    commands.run('train', config, str(tmp_path))
    for row, expected in zip(metrics_writer.read_metrics(tmp_path), metrics_writer.read_metrics(whole), strict=True):
        if 'loss' in row:
            # Later a rounding may have turned a ReLU: 1e-4 at this rate, on either side. train/test_same_numbers.py
            # has twenty steps at a rate at which roundings stay small.
            assert row['loss'] == pytest.approx(expected['loss'], rel=1e-5 if row['step'] <= 4 else 1e-3)


def test_another_runs_folder_is_refused_with_the_differences(images, whole):
    with pytest.raises(UserError, match=r'another run: .*train\.learning_rate.*0\.3'):
        commands.run('train', tiny(data__directory=images, train__learning_rate=0.3), str(whole))


def test_a_run_that_began_before_a_field_was_there_goes_on(images, whole, tmp_path):
    begun = json.loads((whole / 'run.json').read_text())
    assert begun['deciding'].pop('model.matmul_precision') == 'float32'
    (tmp_path / 'run.json').write_text(json.dumps(begun))
    config = tiny(data__directory=images)
    run_dir.init_or_validate(str(tmp_path), config, dataset.open_dataset(images))
    config.model.matmul_precision = 'tensorfloat32'
    (tmp_path / 'run.json').write_text(json.dumps(begun))
    with pytest.raises(UserError, match="model.matmul_precision was 'float32' and is now 'tensorfloat32'"):
        run_dir.init_or_validate(str(tmp_path), config, dataset.open_dataset(images))


def test_a_field_of_the_machine_may_change(images, whole, without_plots):
    result = commands.run('train', tiny(data__directory=images, data__num_threads=0, log__every_steps=5), str(whole))
    assert result['checkpoint_step'] == 10


def test_a_loss_that_explodes_stops_the_run_before_anything_of_it_is_saved(images, tmp_path, without_plots):
    with pytest.raises(loop.NonFiniteLoss, match='smaller train.learning_rate'):
        commands.run(
            'train', tiny(data__directory=images, train__learning_rate=1e30, train__warmup_epochs=0.0), str(tmp_path)
        )
    assert not CheckpointManager(tmp_path / run_dir.CHECKPOINTS_DIR).steps()


def test_two_processes_do_not_train_in_one_folder(images, tmp_path):
    with run_dir.lock_run_dir(str(tmp_path)), pytest.raises(UserError, match='Another process is training in'):
        commands.run('train', tiny(data__directory=images), str(tmp_path))


def test_evaluate_scores_the_checkpoint_that_was_asked_for(images, whole):
    config = tiny(data__directory=images)
    final = commands.run('evaluate', config, str(whole))
    trained = json.loads((whole / 'result.json').read_text())
    assert (final['top1_error'], final['loss'], final['checkpoint_step']) == (
        trained['top1_error'],
        trained['loss'],
        10,
    )
    config.evaluate.checkpoint = 'best'
    assert commands.run('evaluate', config, str(whole))['checkpoint_step'] in (5, 10)
    config.evaluate.split = 'train'
    assert commands.run('evaluate', config, str(whole))['images'] == 80


def test_a_folder_without_a_run_cannot_be_evaluated(tmp_path):
    with pytest.raises(UserError, match='no trained run'):
        commands.run('evaluate', tiny(), str(tmp_path))


def test_a_training_starts_without_what_only_its_end_needs():
    names = ('matplotlib', 'scipy', 'skimage', 'tensorboardX', 'tensorflow_datasets')
    code = f'import sys, alexnet_jax.commands.train; print([name for name in {names} if name in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == '[]\n', done.stderr


def started(workdir, images):
    """The real command, in a process of its own."""
    fields = [
        f'--config.data.directory={images}',
        '--config.prepare.num_cutouts=80,20,20',
        '--config.train.batch_size=16',
    ]
    fields += ['--config.train.num_epochs=2', '--config.evaluate.every_epochs=1', '--config.evaluate.batch_size=20']
    fields += ['--config.evaluate.views=1', '--config.checkpoint.every_steps=3', '--config.log.every_steps=4']
    fields += ['--config.log.tensorboard=false']
    command = [sys.executable, str(ROOT / 'main.py'), f'--workdir={workdir}', *fields]
    environment = os.environ | {'JAX_PLATFORMS': 'cpu'}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.extended
def test_killed_at_any_moment_and_started_again_ends_in_the_same_figures(images, tmp_path):
    """SIGKILL as soon as a checkpoint is there or is being written, then the same command.

    By default three kills of tests/robustness/test_chaos.py stand for it.
    """
    unbroken, broken = started(tmp_path / 'unbroken', images), started(tmp_path / 'broken', images)
    assert unbroken.wait(240) == 0, unbroken.stderr.read()
    deadline = time.monotonic() + 240
    while not list((tmp_path / 'broken').glob('checkpoints/*')) and broken.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    broken.kill()
    broken.wait()
    again = started(tmp_path / 'broken', images)
    said, complaint = again.communicate(timeout=240)
    assert again.returncode == 0, complaint
    same(tmp_path / 'broken', tmp_path / 'unbroken')
    assert 'top-1 error on 20 test images' in said
