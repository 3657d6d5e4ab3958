"""Rates at given epochs, warm-up, cosine, and factors by layer."""

import numpy as np
import pytest

from alexnet_jax.training.schedule import Schedule, layer_rates


def test_the_papers_three_drops_divide_by_ten():
    schedule = Schedule('drops', 0.01, 90, drops=(30, 60, 80))
    assert [schedule.at(epoch) for epoch in (0, 29.99, 30, 59, 60, 80, 90)] == pytest.approx(
        [0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-5, 1e-5]
    )


def test_a_cosine_goes_from_the_rate_to_zero_behind_its_warm_up():
    schedule = Schedule('cosine', 0.2, 10, warmup=2)
    assert [schedule.at(epoch) for epoch in (0, 1, 2, 6, 10, 11)] == pytest.approx([0, 0.1, 0.2, 0.1, 0, 0])


def test_factors_by_layer_and_a_frozen_layer():
    rates = layer_rates(('conv1', 'conv2', 'fc8'), 0.01, {'conv1': 0, 'fc8': 2})
    assert rates.dtype == np.float32
    np.testing.assert_allclose(rates, [[0, 0], [0.01, 0.01], [0.02, 0.02]], rtol=1e-6)
