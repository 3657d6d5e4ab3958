"""Student's interval of paired differences against integrated quantiles, scipy's paired test and a table in print."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from alexnet_jax.experiments.paired_difference import (
    MAX_SEEDS,
    PairedDifference,
    count_needed_seeds,
    estimate_difference,
    judge_difference,
)

# Two-sided 5 % points of Student's t by degrees of freedom, from the table in Fisher's "Statistical Methods".
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 19: 2.093, 29: 2.045}


def t_quantile(freedom, probability=0.975):
    """The quantile of Student's t by integrating its density over x = tan(angle), without scipy."""
    angles = np.linspace(0, math.pi / 2, 400_001)[:-1]
    x = np.tan(angles)
    log_scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom * math.pi) / 2
    density = np.exp(log_scale - (freedom + 1) / 2 * np.log1p(x**2 / freedom)) * (1 + x**2)
    below = 0.5 + np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(angles))])
    return float(np.interp(probability, below, x))


@pytest.mark.parametrize('freedom', TABLE)
def test_the_interval_is_as_wide_as_the_tables_say(freedom):
    differences = np.random.default_rng(freedom).normal(size=freedom + 1)
    found = estimate_difference(np.zeros(freedom + 1), differences)
    half_width = t_quantile(freedom) * math.sqrt(sum((differences - differences.mean()) ** 2) / freedom)
    half_width /= math.sqrt(freedom + 1)
    assert t_quantile(freedom) == pytest.approx(TABLE[freedom], abs=6e-4)
    assert found.high - found.mean == pytest.approx(half_width, rel=1e-4)
    assert found.mean - found.low == pytest.approx(half_width, rel=1e-4)


ERRORS = st.floats(0, 100)


@given(st.lists(st.tuples(ERRORS, ERRORS), min_size=2, max_size=20))
def test_it_is_the_interval_of_scipys_paired_test(pairs):
    base, changed = np.array(pairs).T
    found = estimate_difference(base, changed)
    assert found.num_pairs == len(pairs) and found.mean == pytest.approx(np.mean(changed - base), abs=1e-9)
    if np.ptp(changed - base) > 1e-6:
        low, high = stats.ttest_rel(changed, base).confidence_interval(0.95)
        assert (found.low, found.high) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))
    else:
        assert found.high - found.low < 1e-4


def test_differences_within_pairs_count_and_not_the_spread_of_the_errors():
    base = np.array([30.0, 35.0, 40.0, 45.0])
    found = estimate_difference(base, base + [1.0, 1.2, 0.8, 1.0])
    assert found.mean == pytest.approx(1.0) and found.low > 0.7 and found.high < 1.3


@pytest.mark.parametrize('base, changed', [([], []), ([1.0], [1.0, 2.0])])
def test_figures_without_a_partner_are_refused(base, changed):
    with pytest.raises(ValueError, match='no pairs'):
        estimate_difference(base, changed)


@pytest.mark.parametrize('mean, std', [(1.0, 1.0), (0.5, 1.0), (-0.4, 0.9), (0.11, 0.5)])
def test_so_many_seeds_leave_out_zero_and_one_less_does_not(mean, std):
    found = count_needed_seeds(PairedDifference(mean, std, mean - 9, mean + 9, 5))
    reaches = [abs(mean) > t_quantile(count - 1) * std / math.sqrt(count) for count in (found - 1, found)]
    assert reaches == [False, True]


@pytest.mark.parametrize('mean, std', [(0.0, 1.0), (1e-4, 1.0), (0.5, math.nan)])
def test_more_seeds_than_anyone_trains_are_not_counted(mean, std):
    assert count_needed_seeds(PairedDifference(mean, std, -1, 1, 5)) is None


@pytest.mark.parametrize(
    'differences, published, verdict',
    [
        ([1.0, 1.1, 0.9], True, 'reproduced'),
        ([-1.0, -1.1, -0.9], True, 'opposite'),
        ([1.0, 1.1, 0.9], False, 'worse'),
        ([-1.0, -1.1, -0.9], False, 'better'),
        # t of 95 % and 5 degrees of freedom: 2.571; the mean is 1 and the deviation 1: 2.571 / sqrt(6) = 1.05 > 1.
        ([0.0, 1.0, 2.0], True, 'not resolvable at this budget; it would take about 7 seeds'),
        ([-1.0, 0.0, 1.0], True, f'not resolvable at this budget; it would take more than {MAX_SEEDS:,} seeds'),
        ([0.3], True, 'one seed, which has no interval'),
    ],
)
def test_the_verdict_in_words(differences, published, verdict):
    found = estimate_difference([0.0] * len(differences), differences)
    assert judge_difference(found, published=published) == verdict


def test_the_interval_holds_the_true_difference_nineteen_times_in_twenty():
    chance = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        found = estimate_difference(chance.normal(40, 1, 5), chance.normal(41, 1, 5))
        held += found.low <= 1 <= found.high
    assert 0.935 < held / 2000 < 0.965
