"""A run resumes with batches of another size after the examples it has seen."""

import os
import signal

import numpy as np
import pytest
from tiny_run import tiny_config

from alexnet_jax import commands
from alexnet_jax.commands import factories, run_dir
from alexnet_jax.data import pipeline
from alexnet_jax.data.augment import Augmentation
from alexnet_jax.runtime import atomic_io, signals
from alexnet_jax.train import metrics_writer

pytestmark = pytest.mark.usefixtures('module_without_plots')


def test_another_size_of_the_batch_begins_behind_the_examples_that_were_seen(trained):
    config, workdir = trained
    data = factories.open_or_prepare_dataset(config, workdir)
    augmentation = Augmentation(56, True, 'none', 0.0, data.pca_basis)
    small, large = (
        pipeline.TrainPipeline(data.split('train'), augmentation, seed=1, batch_size=size) for size in (4, 6)
    )
    large.rebase(5, small.position(5))
    assert (large.position(5), large.position(7)) == (20, 32) and large.epoch(7) == 32 / 48
    for name in ('id', 'top', 'image'):
        expected = np.concatenate([small.batch(step)[name] for step in (5, 6, 7)])
        np.testing.assert_array_equal(np.concatenate([large.batch(step)[name] for step in (5, 6)]), expected)


def test_a_run_goes_on_with_another_batch_and_says_so_once(trained, tmp_path, monkeypatch, caplog):
    config, workdir = tiny_config(), str(tmp_path)  # six steps of eight images
    config.data.directory = f'{trained[1]}/dataset'

    def bar(self, done, total, **shown):
        if done == 3 and stops:
            os.kill(os.getpid(), stops.pop())

    monkeypatch.setattr(metrics_writer.MetricsWriter, 'update_progress', bar)
    stops = [signal.SIGTERM]
    with pytest.raises(signals.StoppedGracefully, match='everything up to step 3'):
        commands.run('train', config, workdir)

    config.train.batch_size, stops = 12, []
    with caplog.at_level('WARNING'):
        result = commands.run('train', config, workdir)
    assert 'config.train.batch_size was 8 and is now 12: the run resumes after the 24 examples' in caplog.text
    assert (result['checkpoint_step'], result['epochs']) == (5, 1.0)  # three of eight, two of twelve: 48 images
    assert run_dir.read_run(workdir)['deciding']['train.batch_size'] == 8

    caplog.clear()
    again = commands.run('train', config, workdir)
    assert again['checkpoint_step'] == 5 and 'train.batch_size' not in caplog.text


def test_a_checkpoint_of_the_first_release_has_seen_its_runs_batches(tmp_path):
    atomic_io.write_json(tmp_path / run_dir.RUN_FILE, {'deciding': {'train.batch_size': 16}})
    assert run_dir.saved_batch(str(tmp_path), {'tally': {}}, 3) == (16, 48)
    assert run_dir.saved_batch(str(tmp_path), {'seen': {'batch': 8, 'examples': 40}}, 3) == (8, 40)
