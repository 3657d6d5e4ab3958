"""A diary: what is in force at which epoch; logged as it comes, kept in checkpoints, refused when its past changes."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import tiny_config

from alexnet_jax.commands import resume_point, training_plan
from alexnet_jax.config import build, parse, validate
from alexnet_jax.data import augment, pipeline
from alexnet_jax.data.dataset import RecordSource
from alexnet_jax.data.statistics import PcaBasis
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import signals
from alexnet_jax.train import loop, metrics_writer
from alexnet_jax.train.diary import Diary

TEXT = '1: learning_rate=0.001; 2.5: conv1=0.1, lighting=off; 3: conv1=0, lighting=on'
LAYERS = ('conv1', 'conv2')


class Records(RecordSource):
    """Four images, so that two steps of two are an epoch."""

    def __len__(self):
        return 4

    def __getitem__(self, record):
        return np.zeros((8, 8, 3), np.uint8), record, str(record)


def planned(text, schedule='diary', **train):
    config = tiny_config()
    config.train.update({'diary': text, 'schedule': schedule, 'num_epochs': 4.0, 'batch_size': 2, **train})
    config.train.learning_rate, config.train.warmup_epochs, config.train.layer_lr_multipliers = 0.01, 0.0, ''
    config.train.bias_lr_multiplier, config.augment.lighting = 2.0, 'deviations'
    basis = PcaBasis(np.array([400.0, 1400.0, 14800.0]), np.eye(3))
    data = pipeline.TrainPipeline(Records(), build.augmentation(config, basis, 8), seed=1, batch_size=2)
    return training_plan.make_loop_schedule(config, data, LAYERS), data


def test_rates_follow_the_entries_from_their_epochs_on():
    plan, _ = planned(TEXT)
    conv1 = [plan.learning_rates(step)[0, 0] for step in range(8)]
    np.testing.assert_allclose(conv1, [0.01, 0.01, 1e-3, 1e-3, 1e-3, 1e-4, 0, 0], rtol=1e-6)
    conv2 = [plan.learning_rates(step)[1] for step in range(8)]
    np.testing.assert_allclose(conv2, [[0.01, 0.02]] * 2 + [[1e-3, 2e-3]] * 6, rtol=1e-6)


def test_layers_are_edited_beside_another_schedule():
    plan, _ = planned('2: conv1=0', 'step', milestones='1,3')
    np.testing.assert_allclose([plan.learning_rates(2)[0, 0], plan.learning_rates(4)[0, 0]], [1e-3, 0], rtol=1e-6)
    np.testing.assert_allclose(plan.learning_rates(6)[1, 0], 1e-4, rtol=1e-6)


def test_lighting_changes_with_the_first_epoch_that_begins_then():
    _, data = planned('1: lighting=off; 2.5: lighting=on')
    assert [bool(data.batch(step)['lighting'].any()) for step in range(8)] == [True] * 2 + [False] * 4 + [True] * 2
    _, plain = planned('')
    np.testing.assert_array_equal(data.batch(7)['lighting'], plain.batch(7)['lighting'])


def test_each_entry_is_logged_with_the_step_that_it_comes_with(tmp_path, capsys):
    plan, _ = planned(TEXT)
    sums = {'loss': jnp.float32(8), 'top1': jnp.float32(1), 'images': jnp.float32(8), 'gradient_norm': jnp.float32(1)}

    class Feed:
        wait_seconds = 0.0

        def __next__(self):
            return {}

    def run(first, last):
        with metrics_writer.MetricsWriter(tmp_path, tensorboard=False) as writer, signals.SignalHandler() as stop:
            writer.truncate_after(first)
            part = loop.LoopSchedule(**{**vars(plan), 'num_steps': last, 'evaluate_every': 0})
            loop.TrainLoop(
                lambda state, batch, rates, number: (state, sums),
                Feed(),
                part,
                writer,
                first,
                metrics=loop.MetricAccumulator(),
                evaluate=lambda state, done: None,
                save=lambda *given, **named: None,
                stop_signal=stop,
            ).run(None)

    run(0, 3)
    run(2, 8)  # killed after the checkpoint of step 2
    rows = [row for row in metrics_writer.read_metrics(tmp_path) if 'diary_entries' in row]
    assert [(row['step'], row['diary_entries']) for row in rows] == [(3, 1), (6, 2), (7, 3)]
    assert 'step 6  diary: from epoch 2.5: conv1=0.1, lighting=off' in capsys.readouterr().out


def test_the_past_of_a_diary_cannot_change_and_its_future_can():
    plan, data = planned(TEXT)
    context = SimpleNamespace(config=tiny_config(), plateau=None)
    start = resume_point.ResumePoint(0, None, loop.MetricAccumulator(), data, plan)
    recorded = resume_point.make_record(context, start, 6, loop.MetricAccumulator(), unvalidated=False)['diary']
    assert recorded == ['1: learning_rate=0.001', '2.5: conv1=0.1, lighting=off']
    later, _ = planned('1: learning_rate=0.001; 2.5: conv1=0.1, lighting=off; 3.5: learning_rate=0.0001')
    resume_point._require_same_diary(recorded, later.diary_entries(5), 6)
    other, _ = planned('1: learning_rate=0.002; 2.5: conv1=0.1, lighting=off')
    with pytest.raises(UserError, match="step 6 is '1: learning_rate=0.001; .* config.train.diary has .*0.002"):
        resume_point._require_same_diary(recorded, other.diary_entries(5), 6)


def test_a_diary_survives_being_written_and_read():
    diary = Diary(parse.diary(TEXT))
    assert parse.diary('; '.join(diary.describe())) == diary.entries


def test_the_rate_grows_with_the_batch_and_falls_by_the_square_of_what_is_left():
    for scaling, factor in (('none', 1), ('linear', 1 / 64), ('square_root', 1 / 8)):
        plan, _ = planned('', 'polynomial', batch_scaling=scaling)
        rates = [plan.learning_rate(step) for step in (0, 4, 6)]
        np.testing.assert_allclose(rates, [0.01 * factor, 0.0025 * factor, 0.000625 * factor])


@pytest.mark.parametrize(
    'text',
    ['23', '23:', '23: x', '5: a=1; 4: a=2', '-1: a=1', '3: lighting=0', '3: learning_rate=0', '3: a=1, a=2', 'x: a=1'],
)
def test_a_malformed_diary_is_refused(text):
    config = tiny_config()
    config.train.diary = text
    with pytest.raises(UserError, match='config.train.diary is .*; expected empty, or entries such as'):
        validate.validate_config(config)


def test_edits_that_do_not_fit_are_refused():
    config = tiny_config()
    config.train.diary = '3: conv9=0'
    with pytest.raises(UserError, match='edits of learning_rate, lighting or layers with weights: conv1'):
        validate.validate_config(config)
    config.train.diary = '3: learning_rate=0.1'
    with pytest.raises(UserError, match='sets learning_rate, which config.train.schedule=.* decides'):
        validate.validate_config(config)


def test_images_are_scaled_while_there_is_lighting():
    basis = PcaBasis(np.ones(3), np.eye(3))
    lit = augment.Augmentation(8, True, 'deviations', 0.1, basis, True, 1, ((2.0, False),))
    np.testing.assert_allclose(lit.image_scale(np.array([0, 1, 2, 3])), [1 / 1.1, 1 / 1.1, 1, 1], rtol=1e-6)
    data = pipeline.TrainPipeline(Records(), lit, seed=1, batch_size=2)
    assert data.batch(0)['scale'].tolist() == [np.float32(1 / 1.1)] * 2 and data.batch(4)['scale'].tolist() == [1, 1]
