"""A loss that stays at ln(classes) is reported once, with the likeliest cause first; any other is not."""

import math

import numpy as np
import pytest

from alexnet_jax.train.stalled_loss import StalledLossDetector

LEVEL = math.log(10)


def warning_steps(losses, steps=100, **options):
    """Return the steps, counted from 1, at which it warned."""
    detector = StalledLossDetector(10, steps, **options)
    return [step for step, loss in enumerate(losses, 1) if detector.update(loss)]


@pytest.mark.parametrize('steps', [1, 7, 10, 100, 1000])
def test_it_speaks_once_after_so_many_steps_at_the_level_of_guessing(steps):
    assert warning_steps([LEVEL] * 5 * steps, steps) == [-(-steps // 10) * -(-steps // -(-steps // 10))]


def test_single_steps_may_scatter():
    losses = LEVEL * (1 + np.random.default_rng(0).normal(0, 0.005, 300))
    assert warning_steps(losses) == [100]


@pytest.mark.parametrize('factor', [0.994, 1.006, 0.5, 3])
def test_a_loss_half_a_percent_away_is_no_guessers(factor):
    assert warning_steps([LEVEL * factor] * 500) == []
    assert warning_steps([LEVEL * (1 + (factor > 1) * 0.004 - (factor < 1) * 0.004)] * 500) == [100]


def test_a_loss_that_falls_in_time_is_left_alone_and_a_plateau_that_begins_late_is_not():
    falling = list(LEVEL - 0.0004 * np.arange(300))  # below the band after thirty steps
    assert warning_steps(falling) == []
    assert warning_steps(falling + [LEVEL] * 200) == [400]


def test_a_loss_that_leaves_the_level_makes_it_count_anew():
    assert warning_steps([LEVEL] * 90 + [LEVEL / 2] * 10 + [LEVEL] * 100) == [200]


def test_the_causes_come_in_order_and_the_papers_initialization_first_where_it_is_used():
    message = str(StalledLossDetector(1000, 2000))
    places = [message.index(word) for word in ('2,000 steps', '6.9078', '1. the paper', 'wait', 'source2012 or he')]
    places += [message.index(word) for word in ('2. a --config.train.learning_rate', '3. labels', '4. pixels')]
    assert places == sorted(places)
    assert '1. the initialization source2012' in str(StalledLossDetector(10, 1, initialization='source2012'))
    assert '1. a --config.train.learning_rate' in str(StalledLossDetector(10, 1, initialization='he'))
