"""Learning rates at given epochs, warm-up, cosine, plateaus of the validation error, and multipliers by layer."""

import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from alexnet_jax.train.schedule import LearningRateSchedule, ReduceOnPlateau, layer_learning_rates


def test_the_papers_three_drops_divide_by_ten():
    schedule = LearningRateSchedule('step', 0.01, 90, milestones=(30, 60, 80))
    assert [schedule.learning_rate(epoch) for epoch in (0, 29.99, 30, 59, 60, 80, 90)] == pytest.approx(
        [0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-5, 1e-5]
    )


def test_a_cosine_goes_from_the_rate_to_zero_behind_its_warm_up():
    schedule = LearningRateSchedule('cosine', 0.2, 10, warmup=2)
    assert [schedule.learning_rate(epoch) for epoch in (0, 1, 2, 6, 10, 11)] == pytest.approx([0, 0.1, 0.2, 0.1, 0, 0])


def test_factors_by_layer_and_a_frozen_layer():
    rates = layer_learning_rates(('conv1', 'conv2', 'fc8'), 0.01, {'conv1': 0, 'fc8': 2})
    assert rates.dtype == np.float32
    np.testing.assert_allclose(rates, [[0, 0], [0.01, 0.01], [0.02, 0.02]], rtol=1e-6)


def test_biases_may_learn_faster_than_weights():
    rates = layer_learning_rates(('conv1', 'fc8'), 0.01, {'fc8': 2}, bias_multiplier=2.0)
    np.testing.assert_allclose(rates, [[0.01, 0.02], [0.02, 0.04]], rtol=1e-6)


def test_three_plateaus_divide_the_rate_and_the_fourth_ends_the_run():
    plateau = ReduceOnPlateau(patience=2, min_delta=0.01)
    errors = [0.9, 0.8, 0.795, 0.8] + [0.79, 0.9, 0.9] + [0.785, 0.785, 0.9, 0.9]
    made = [plateau.step(error) for error in errors]
    # 0.795 is no improvement by a hundredth, 0.79 is, and 0.785 is none on that
    assert [i for i, each in enumerate(made) if each] == [3, 6, 8, 10]
    assert (plateau.num_plateaus, plateau.finished, plateau.best) == (4, True, 0.79)
    assert 'plateau 4 of 4' in str(plateau) and 'end of the run' in str(plateau)


def test_the_rate_falls_tenfold_at_each_plateau():
    plateau, factors = ReduceOnPlateau(patience=1, min_delta=0.0), []
    while not plateau.finished:
        plateau.step(0.5)
        factors.append(plateau.factor)
    assert factors[:5] == pytest.approx([1, 0.1, 0.01, 0.001, 0.0001]) and len(factors) == 5


def test_an_equal_error_is_no_improvement_even_where_any_improvement_counts():
    plateau = ReduceOnPlateau(patience=1, min_delta=0.0)
    assert [plateau.step(error) for error in (0.5, 0.5, 0.4999, 0.4999)] == [False, True, False, True]


@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(st.lists(st.integers(0, 20), max_size=30), st.integers(0, 30), st.integers(1, 4), st.integers(0, 3))
def test_a_plateau_goes_on_from_its_state_as_if_nothing_had_been(errors, cut, patience, delta):
    unbroken = ReduceOnPlateau(patience, delta / 20)
    made = [unbroken.step(error / 20) for error in errors]
    first = ReduceOnPlateau(patience, delta / 20)
    before = [first.step(error / 20) for error in errors[:cut]]
    second = ReduceOnPlateau(patience, delta / 20)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert before + [second.step(error / 20) for error in errors[cut:]] == made
    assert second == unbroken
