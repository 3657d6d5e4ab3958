"""The timings of the loop, with a step that costs nothing."""

import time

import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.commands import final_report
from alexnet_jax.runtime import signals
from alexnet_jax.train import loop, metrics_writer


class Feed:
    """Batches without images, never waited for."""

    wait_seconds = 0.0

    def __next__(self):
        return {}


def plan(last, evaluate_every=0):
    return loop.LoopSchedule(
        num_steps=last,
        log_every=2,
        evaluate_every=evaluate_every,
        save_every=0,
        learning_rate=lambda n: 0.1,
        learning_rates=lambda n: np.zeros(1),
        epoch=float,
    )


def test_reading_a_save_back_is_time_of_checkpoints_and_not_of_steps(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, 'perf_counter', lambda: now[0])
    sums = {'loss': 8.0, 'top1': 1.0, 'images': 8.0, 'gradient_norm': 1.0}

    def step(state, batch, learning_rates, number):
        now[0] += 1.0
        return state, {name: jnp.float32(value) for name, value in sums.items()}

    def check():
        now[0] += 10.0

    with metrics_writer.MetricsWriter(tmp_path, tensorboard=False) as written, signals.SignalHandler() as stop:
        run = loop.TrainLoop(
            step,
            Feed(),
            plan(6),
            written,
            0,
            metrics=loop.MetricAccumulator(),
            evaluate=lambda state, done: None,
            save=lambda *given, **named: None,
            stop_signal=stop,
            raise_if_save_failed=check,
        )
        run.run(None)
    rows = metrics_writer.read_timings(tmp_path)
    paced = [row for row in rows if 'seconds' in row]
    assert [row['step'] for row in paced] == [2, 4, 6]
    # A row is read one step late; the first step compiles.
    assert sum(row['seconds'] for row in paced) == pytest.approx(5, abs=1e-6)
    assert sum(row.get('checkpoint_seconds', 0) for row in rows) + run.timer.drain()[
        'checkpoint_seconds'
    ] == pytest.approx(60)


def test_pictures_are_drawn_when_an_evaluation_is_written_and_its_state_saved(tmp_path):
    sums, done = {'loss': 8.0, 'top1': 1.0, 'images': 8.0, 'gradient_norm': 1.0}, []

    def draw(state, step):
        rows = metrics_writer.read_metrics(tmp_path)
        assert [row['step'] for row in rows if 'validation_loss' in row][-1] == step
        done.append(('draw', state, step))

    with metrics_writer.MetricsWriter(tmp_path, tensorboard=False) as written, signals.SignalHandler() as stop:
        run = loop.TrainLoop(
            lambda state, *given: (state + 1, {name: jnp.float32(value) for name, value in sums.items()}),
            Feed(),
            plan(5, evaluate_every=2),
            written,
            0,
            metrics=loop.MetricAccumulator(),
            evaluate=lambda state, step: {'loss': 1.0, 'top1_error': 0.5},
            save=lambda state, step, *given, **named: done.append(('save', state, step)),
            stop_signal=stop,
            draw_pictures=draw,
        )
        run.run(0)
    assert done == [(what, step, step) for step in (2, 4, 5) for what in ('save', 'draw')]
    assert run.timer.drain()['pictures_seconds'] > 0


def test_the_pace_of_a_checkpoint_is_of_the_steps_before_it():
    rows = [
        {'step': 0, 'compile_seconds': 9.0},
        {'step': 10, 'seconds': 2.0, 'images': 100},
        {'step': 20, 'seconds': 3.0, 'images': 100},
        {'step': 30, 'seconds': 5.0, 'images': 100},
    ]
    assert final_report.training_throughput(rows, 20) == (5.0, 40.0)
    assert final_report.training_throughput(rows, 30) == (10.0, 30.0)
