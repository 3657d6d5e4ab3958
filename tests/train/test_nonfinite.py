"""A loss that is not finite is reported with its steps and examples; on request the run continues without them."""

import json
import os

import jax
import numpy as np
import pytest
from tiny_run import tiny_config

from alexnet_jax import commands
from alexnet_jax.checkpoint.manager import CheckpointManager
from alexnet_jax.data import pipeline
from alexnet_jax.data.augment import Augmentation
from alexnet_jax.data.dataset import RecordSource
from alexnet_jax.data.statistics import PcaBasis
from alexnet_jax.runtime import signals
from alexnet_jax.train import loop, metrics_writer, nonfinite

pytestmark = pytest.mark.usefixtures('module_without_plots')

POISON = 7  # the number of that batch


def config_of(directory, **fields):
    config = tiny_config()
    config.data.directory = str(directory)
    config.update_from_flattened_dict(
        {'train.num_epochs': 2.0, 'evaluate.every_epochs': 1.0, 'checkpoint.every_steps': 2, **fields}
    )
    return config


@pytest.fixture(scope='module')
def directory(tmp_path_factory):
    where = tmp_path_factory.mktemp('prepared') / 'dataset'
    commands.run('prepare', config_of(where))
    return where


@pytest.fixture
def poisoned(monkeypatch):
    """Make the loss of one batch, wherever it comes, infinite by its lighting."""
    made = pipeline.TrainPipeline.batch

    def batch(self, step):
        found = made(self, step)
        if self.position(step) == POISON * 8:
            found['lighting'] = np.full_like(found['lighting'], np.inf)
        return found

    monkeypatch.setattr(pipeline.TrainPipeline, 'batch', batch)


def arrays_of(workdir):
    held = CheckpointManager(workdir / 'checkpoints', read_only=True)
    record = json.loads((workdir / 'checkpoints' / str(held.steps()[-1]) / 'record' / 'metadata').read_text())
    held.close()
    return record


def test_it_stops_with_steps_rate_norm_and_the_examples_of_those_batches(directory, tmp_path, poisoned):
    config = config_of(directory)
    with pytest.raises(
        loop.NonFiniteLoss, match=r'At step 8 .*rate 0\.\d+.*The batches of steps 6 to 8 hold .* more examples'
    ):
        commands.run('train', config, str(tmp_path))
    (event,) = nonfinite.read_events(str(tmp_path))
    assert event['steps'] == [6, 8] and event['positions'] == [40, 64] and event['rate'] > 0
    assert list(event['examples']) == ['6', '7', '8']
    # The ids are those of the batches: made again, alone.
    from alexnet_jax.commands import factories

    data = factories.open_or_prepare_dataset(config, str(tmp_path))
    arch = factories.make_architecture(config, data)
    stream = factories.make_train_pipeline(config, data, arch, factories.make_device_mesh(config, arch))
    for number, names in event['examples'].items():
        records = stream.batch(int(number) - 1)['id']
        assert names == [data.split('train')[int(record)][2] for record in records]
    held = CheckpointManager(tmp_path / 'checkpoints')
    assert held.steps()[-1] <= 7
    held.close()


def test_on_request_the_run_goes_on_without_those_batches_and_again_just_so(directory, tmp_path, poisoned, monkeypatch):
    config = config_of(directory, **{'train.on_nonfinite': 'skip'})
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    assert commands.run('train', config, str(whole))['checkpoint_step'] == 12
    rows = metrics_writer.read_metrics(whole)
    assert [row for row in rows if 'skipped_examples' in row] == [
        {'step': 6, 'skipped_examples': 24, 'first_skipped': 40}
    ]
    assert [row['step'] for row in rows if 'loss' in row] == [2, 4, 6, 8, 10, 12]
    assert arrays_of(whole)['record']['skipped'] == [[40, 64]]

    # Stopped after the skipping, at another cadence, and gone on: the position is the checkpoint's.
    bar, asked = metrics_writer.MetricsWriter.update_progress, []

    def interrupted(self, done, total, **shown):
        if done == 7 and not asked and self is not None:
            asked.append(os.kill(os.getpid(), signals.SIGNALS[0]))
        bar(self, done, total, **shown)

    monkeypatch.setattr(metrics_writer.MetricsWriter, 'update_progress', interrupted)
    config.checkpoint.every_steps = 3
    with pytest.raises(signals.StoppedGracefully):
        commands.run('train', config, str(broken))
    commands.run('train', config, str(broken))
    assert (broken / metrics_writer.METRICS_FILE).read_text() == (whole / metrics_writer.METRICS_FILE).read_text()
    assert arrays_of(broken)['leaves'] == arrays_of(whole)['leaves']


def test_behind_a_change_of_the_batch_it_goes_back_to_what_that_checkpoint_had_seen(
    directory, tmp_path, poisoned, monkeypatch
):
    fields = {'train.on_nonfinite': 'skip', 'checkpoint.every_steps': 1, 'checkpoint.keep_every_steps': 2}
    config, asked, save = (config_of(directory, **fields, **{'train.batch_size': 16}), [], CheckpointManager.save)

    def interrupted(self, step, *given, **named):
        save(self, step, *given, **named)
        if step == 3 and not asked:
            asked.append(os.kill(os.getpid(), signals.SIGNALS[0]))

    monkeypatch.setattr(CheckpointManager, 'save', interrupted)
    with pytest.raises(signals.StoppedGracefully, match='up to step 3'):
        commands.run('train', config, str(tmp_path))
    config.train.batch_size = 8  # from example 48 on; the second batch explodes, and step 2 had seen 32
    assert commands.run('train', config, str(tmp_path))['checkpoint_step'] == 10  # 64 more in steps of eight
    rows = [row for row in metrics_writer.read_metrics(tmp_path) if 'skipped_examples' in row]
    assert rows == [{'step': 4, 'skipped_examples': 24, 'first_skipped': 40}]
    assert arrays_of(tmp_path)['record']['seen'] == {'batch': 8, 'examples': 120}


def test_what_stopped_can_be_gone_on_with_by_skipping(directory, tmp_path, poisoned):
    with pytest.raises(loop.NonFiniteLoss):
        commands.run('train', config_of(directory), str(tmp_path))
    skipping = config_of(directory, **{'train.on_nonfinite': 'skip'})
    assert commands.run('train', skipping, str(tmp_path))['checkpoint_step'] == 12


def test_where_skipping_does_not_help_it_stops(directory, tmp_path):
    config = config_of(directory, **{'train.on_nonfinite': 'skip', 'train.learning_rate': 1e30})
    with pytest.raises(loop.NonFiniteLoss, match='smaller train.learning_rate'):
        commands.run('train', config, str(tmp_path))
    assert 1 <= len(nonfinite.read_events(str(tmp_path)))


def stream(skipped, length=100):
    class Two(RecordSource):
        def __len__(self):
            return length

        def __getitem__(self, record):
            return np.zeros((4, 4, 3), np.uint8), 0, str(record)

    augmentation = Augmentation(4, True, 'none', 0.1, PcaBasis(np.ones(3), np.eye(3)))
    whole = pipeline.TrainPipeline(Two(), augmentation, seed=0, batch_size=4)
    return whole, whole.with_skips(skipped)


def test_later_batches_move_up_in_their_order():
    whole, short = stream(((8, 16), (20, 24)))
    assert [short.position(step) for step in range(5)] == [0, 4, 16, 24, 28]
    assert [short.skips_before(step) for step in range(4)] == [(0, 0), (0, 4), (8, 8), (4, 20)]
    for step, place in ((1, 1), (2, 4), (3, 6)):
        jax.tree.map(np.testing.assert_array_equal, short.batch(step), whole.batch(place))
    assert short.example_ids(2) == whole.example_ids(4) == [str(record) for record in whole.batch(4)['id']]


def test_a_range_before_a_change_of_the_batch_is_behind_it():
    _, short = stream(((8, 16),))
    short.rebase(3, 20)
    assert [short.position(step) for step in (3, 4)] == [20, 24] and short.skips_before(3) == (0, 20)


def test_a_range_that_holds_older_ones_takes_their_place_and_too_many_are_an_end():
    _, short = stream(((20, 32),))
    end = loop.NonFiniteLoss(6, float('nan'), float('nan'), 0.1)  # steps 4, 5, 6 stand at 16, 32, 36
    assert nonfinite.ranges_to_skip(end, short) == ((16, 40),)
    _, full = stream(tuple((each, each + 4) for each in range(0, 200, 40)))
    with pytest.raises(loop.NonFiniteLoss):
        nonfinite.ranges_to_skip(end, full)
