"""Plateaus, options of the optimizer, stalled losses and traces; an interrupted run equals the uninterrupted one."""

import contextlib
import os
import signal

import jax
import numpy as np
import pytest
from tiny_run import tiny_config

from alexnet_jax import commands
from alexnet_jax.checkpoint import manager
from alexnet_jax.commands import factories, run_dir, training_plan
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import signals
from alexnet_jax.train import metrics_writer, stalled_loss
from alexnet_jax.train.profiler import Profiler

pytestmark = pytest.mark.usefixtures('module_without_plots')


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    """A dataset for all runs of this file."""
    config, directory = tiny_config(), tmp_path_factory.mktemp('prepared')
    commands.run('prepare', config, str(directory))
    return str(directory / 'dataset')


def stalling(prepared, **values):
    """A run whose validation error never falls by 0.9, so that every evaluation except the first makes a plateau."""
    config = tiny_config()
    config.data.directory = prepared
    fields = {
        'train.schedule': 'plateau',
        'train.patience': 1,
        'train.min_delta': 0.9,
        'train.num_epochs': 6.0,
        'evaluate.every_epochs': 0.5,
    }
    config.update_from_flattened_dict(fields | values)
    return config


def state_of(workdir, config, step):
    data = factories.open_or_prepare_dataset(config, workdir)
    arch = factories.make_architecture(config, data)
    like = factories.abstract_checkpoint(config, arch, factories.make_device_mesh(config, arch))
    _, state, record = manager.CheckpointManager(f'{workdir}/checkpoints').restore(like, step)
    return jax.tree.map(np.asarray, state), record


def test_a_run_is_steered_by_its_plateaus_and_an_interrupted_one_is_the_same(prepared, tmp_path, monkeypatch, capsys):
    config = stalling(prepared)
    whole, broken = str(tmp_path / 'whole'), str(tmp_path / 'broken')
    result = commands.run('train', config, whole)
    assert result['checkpoint_step'] == 15  # of 36: evaluated every 3 steps, the first sets the mark, four stall
    said = capsys.readouterr().out
    assert said.count('the learning rate is divided by ten') == 3 and said.count('this is the end of the run') == 1
    rows = metrics_writer.read_metrics(whole)
    decisions = [row for row in rows if 'plateaus' in row]
    assert [(row['step'], row['plateaus']) for row in decisions] == [(6, 1), (9, 2), (12, 3), (15, 4)]
    assert [row['next_rate'] for row in decisions] == pytest.approx([1e-4, 1e-5, 1e-6, 0])
    rates = {row['step']: row['rate'] for row in rows if 'rate' in row}
    assert [rates[step] for step in (4, 6, 8, 10, 14)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5, 1e-6])

    bar = metrics_writer.MetricsWriter.update_progress

    def interrupted(self, done, total, **shown):
        if done in (3, 8):  # heard after the next step: between evaluations, and with one
            os.kill(os.getpid(), signal.SIGTERM)
        bar(self, done, total, **shown)

    monkeypatch.setattr(metrics_writer.MetricsWriter, 'update_progress', interrupted)
    ends = 0
    while ends < 10:
        try:
            commands.run('train', config, broken)
            break
        except signals.StoppedGracefully:
            ends += 1
    assert ends == 2
    files = [open(f'{workdir}/{metrics_writer.METRICS_FILE}', 'rb').read() for workdir in (whole, broken)]
    assert files[0] == files[1]
    states = [state_of(workdir, config, 15) for workdir in (whole, broken)]
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert states[0][1]['plateau']['found'] == 4

    capsys.readouterr()
    assert commands.run('train', config, broken)['checkpoint_step'] == 15  # an ended run does not begin again
    assert 'images/s' not in capsys.readouterr().out


def test_steering_by_validation_without_a_validation_split_is_refused_before_the_first_step(tmp_path):
    config = stalling('')
    config.data.directory = str(tmp_path / 'dataset')
    photographs = tmp_path / 'photographs'
    from PIL import Image

    for name in ('a', 'b'):
        (photographs / name).mkdir(parents=True)
        for number in range(8):
            Image.new('RGB', (64, 64), (number, 0, 0)).save(photographs / name / f'{number}.png')
    config.prepare.source, config.prepare.path = 'folder', str(photographs)
    config.prepare.validation_fraction = 0.0
    config.prepare.test_fraction = 0.0
    with pytest.raises(UserError, match='needs a validation split, but the source photographs has only train'):
        commands.run('train', config, str(tmp_path / 'run'))
    assert not (tmp_path / 'dataset').exists()  # nothing was prepared for it
    config.train.schedule = 'step'
    commands.run('prepare', config)
    config.train.schedule = 'plateau'
    with pytest.raises(UserError, match='needs a validation split, but the dataset has only train'):
        commands.run('train', config, str(tmp_path / 'run'))
    assert not (tmp_path / 'run').exists()


def test_the_options_of_the_biases_reach_the_rule(prepared, monkeypatch):
    monkeypatch.setattr(factories, 'paper_sgd', lambda layers, **settings: settings)
    for decays in (True, False):
        fields = {'train.decay_biases': decays, 'train.bias_lr_multiplier': 2.0, 'train.weight_decay': 0.25}
        config = stalling(prepared, **fields)
        data = factories.open_or_prepare_dataset(config, '')
        arch = factories.make_architecture(config, data)
        expected = {'momentum': 0.9, 'weight_decay': 0.25, 'decay_biases': decays}
        assert factories.make_optimizer(config, arch) == expected
    mesh = factories.make_device_mesh(config, arch)
    train_data = factories.make_train_pipeline(config, data, arch, mesh)
    schedule = training_plan.make_loop_schedule(config, train_data, arch.parameter_counts())
    rates = schedule.learning_rates(0)
    np.testing.assert_allclose(rates[:, 1], 2 * rates[:, 0])
    assert rates[1, 0] == np.float32(config.train.learning_rate)


def test_a_network_that_guesses_is_told_so_once_with_what_may_be_behind_it(prepared, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(stalled_loss, 'TOLERANCE', 0.2)  # batches of eight scatter
    config = stalling(prepared, **{'train.schedule': 'step', 'train.num_epochs': 2.0, 'train.learning_rate': 1e-9})
    config.model.initialization = 'paper'
    config.log.stalled_loss_steps = 8
    commands.run('train', config, str(tmp_path / 'run'))
    said = capsys.readouterr().out
    assert said.count('Likely causes, in this order: 1. the paper') == 1
    assert 'step 8  warning: for 8 steps the loss has stayed within half a percent of 2.3026' in said


def test_a_run_is_trained_and_scored_with_the_mean_it_asks_for(prepared, tmp_path):
    losses = {}
    for kind in ('image', 'channel'):
        config = stalling(prepared, **{'train.schedule': 'step', 'augment.mean': kind, 'log.every_steps': 1})
        config.train.num_epochs = 0.5
        commands.run('train', config, str(tmp_path / kind))
        rows = metrics_writer.read_metrics(str(tmp_path / kind))
        losses[kind] = [rows[0]['loss'], rows[-1]['validation_loss']]
    assert all(a != b for a, b in zip(losses['image'], losses['channel'], strict=True))


def test_the_steps_that_are_asked_for_are_traced_into_the_workdir(prepared, tmp_path, capsys):
    config = stalling(prepared, **{'train.schedule': 'step', 'train.num_epochs': 0.5, 'train.profile_steps': '2:3'})
    commands.run('train', config, str(tmp_path))
    (trace,) = tmp_path.glob('profile/plugins/profile/*/*.xplane.pb')
    assert trace.stat().st_size > 0 and 'traced steps 2 to 3' in capsys.readouterr().out


def test_a_trace_is_closed_where_a_run_ends_within_it(tmp_path):
    with contextlib.suppress(ZeroDivisionError), Profiler((1, 9), tmp_path) as traced:
        with traced.trace_step(1):
            jax.numpy.zeros(3).block_until_ready()
        assert traced.after_step(1, ()) == ''
        raise ZeroDivisionError
    assert list(tmp_path.glob('plugins/profile/*/*.xplane.pb'))
    with Profiler((3, 4), tmp_path / 'none') as resumed:
        with resumed.trace_step(5):  # behind its beginning
            pass
    assert not (tmp_path / 'none').exists()


def test_a_disk_without_room_for_the_checkpoints_is_told_before_the_first_step(tmp_path, monkeypatch):
    nearly_full = os.statvfs_result((4096, 4096, 9, 9, 9, 9, 9, 9, 0, 255))
    monkeypatch.setattr(os, 'statvfs', lambda path: nearly_full)
    with pytest.raises(UserError, match=r'needs 16 MB and .* has 0 MB free; free some space'):
        run_dir.require_checkpoint_space(str(tmp_path / 'not' / 'yet'), numbers=10**6)
    run_dir.require_checkpoint_space(str(tmp_path), numbers=100)
    (tmp_path / 'checkpoints' / '3').mkdir(parents=True)
    run_dir.require_checkpoint_space(str(tmp_path), numbers=9 * 4096 // 4 // 3)  # three more
    with pytest.raises(UserError, match='need'):
        run_dir.require_checkpoint_space(str(tmp_path), numbers=9 * 4096 // 4 // 3 + 1)
