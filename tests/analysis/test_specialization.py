"""Color share, orientation selectivity and the shuffled null, against plain sums and all permutations."""

import cmath
import itertools
import math

import numpy as np
import pytest

from alexnet_jax.analysis import specialization
from alexnet_jax.errors import UserError


def grating(size, angle, frequency=0.2, colors=(1, 1, 1)):
    """A kernel (size, size, 3) that varies along `angle` (degrees from the columns' direction)."""
    rows, columns = np.mgrid[:size, :size]
    along = columns * math.cos(math.radians(angle)) + rows * math.sin(math.radians(angle))
    return np.cos(2 * math.pi * frequency * along)[..., None] * np.array(colors, float)


def blob(size, colors):
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    return np.exp(-(rows**2 + columns**2) / 4)[..., None] * np.array(colors, float)


def selectivity_by_sums(kernel, points):
    """The definition, frequency by frequency, by a transform written out."""
    resultant, total = 0, 0
    size = len(kernel)
    weights = kernel - kernel.mean(axis=(0, 1))
    for u, v in itertools.product(range(points), repeat=2):
        # The same frequencies as signed ones, in periods per pixel.
        fu, fv = (((f + points // 2) % points - points // 2) / points for f in (u, v))
        if not 0 < math.hypot(fu, fv) <= 0.5:
            continue
        power = 0
        for color in range(3):
            waves = (
                weights[i, j, color] * cmath.exp(-2j * math.pi * (fu * i + fv * j))
                for i in range(size)
                for j in range(size)
            )
            power += abs(sum(waves)) ** 2
        resultant += power * cmath.exp(2j * math.atan2(fu, fv))
        total += power
    return abs(resultant) / total


def test_selectivity_is_its_definition(monkeypatch):
    monkeypatch.setattr(specialization, 'TRANSFORM_SIZE', 8)
    kernels = np.random.default_rng(0).normal(size=(4, 4, 3, 3))
    expected = [selectivity_by_sums(kernels[..., number], 8) for number in range(3)]
    np.testing.assert_allclose(specialization.orientation_selectivity(kernels), expected, rtol=1e-9)


@pytest.mark.parametrize('angle', [0, 30, 45, 90, 110])
def test_a_grating_has_an_orientation_and_a_blob_none(angle):
    kernels = np.stack([grating(11, angle), grating(11, angle, colors=(1, -1, 0)), blob(11, (1, 1, 1))], axis=-1)
    oriented, colored, round_one = specialization.orientation_selectivity(kernels)
    assert oriented > 0.8 and colored > 0.8 and round_one < 1e-6


def test_gratings_across_each_other_cancel():
    plaid = (grating(11, 20) + grating(11, 110))[..., None]
    assert specialization.orientation_selectivity(plaid) < 0.1


def test_the_share_of_color_is_what_lies_off_the_gray_axis():
    gray, opposed = np.ones((2, 2, 3, 4)), np.zeros((2, 2, 3, 4))
    opposed[..., 0, :], opposed[..., 2, :] = 1, -1
    assert specialization.color_share(gray) == pytest.approx(0, abs=1e-12)
    assert specialization.color_share(opposed) == 1
    assert specialization.color_share(gray * np.sqrt(2 / 3) + opposed) == pytest.approx(0.5)
    assert specialization.color_share(np.zeros((2, 2, 3, 4))) == 0
    both = np.concatenate([gray[..., :1], opposed[..., :2], np.zeros((2, 2, 3, 1))], axis=-1)
    np.testing.assert_allclose(specialization.kernel_color_shares(both), [0, 1, 1, 0], atol=1e-12)
    chance = np.random.default_rng(0).normal(size=(2, 7, 7, 3, 200))
    assert specialization.kernel_color_shares(chance).mean() == pytest.approx(2 / 3, abs=0.01)


def test_the_null_is_that_of_all_permutations():
    values = np.random.default_rng(3).normal(size=(2, 4))
    pool, differences = values.ravel(), []
    for chosen in itertools.combinations(range(8), 4):
        rest = [number for number in range(8) if number not in chosen]
        differences.append(abs(pool[list(chosen)].mean() - pool[rest].mean()))
    measured = abs(values[0].mean() - values[1].mean())
    exact = np.mean(np.array(differences) >= measured - 1e-12)
    found = specialization.compare_column_means(values, permutations=20_000)
    assert found.difference == pytest.approx(measured)
    assert found.p_value == pytest.approx(exact, abs=0.015)
    assert found.null.mean() == pytest.approx(np.mean(differences), rel=0.02)


def test_p_values_of_columns_that_do_not_differ_are_even():
    chance = np.random.default_rng(0)
    found = [
        specialization.compare_column_means(chance.normal(size=(2, 16)), permutations=400).p_value for _ in range(300)
    ]
    assert abs(np.mean(np.array(found) <= 0.05) - 0.05) < 0.04
    assert abs(np.mean(found) - 0.5) < 0.06
    assert specialization.compare_column_means(np.ones((2, 5)), permutations=50).p_value == 1


def test_a_color_column_beside_a_gray_one_is_found():
    chance = np.random.default_rng(1)
    gray = np.stack([grating(7, angle) for angle in chance.uniform(0, 180, 12)], axis=-1)
    colored = np.stack([blob(7, (1, -0.5, -0.5)) for _ in range(12)], axis=-1)
    noise = chance.normal(size=(2, 7, 7, 3, 12)) / 20
    found = specialization.measure_specialization(np.stack([gray, colored]) + noise, permutations=999)
    assert {name: test.p_value for name, test in found.differences.items()} == {
        'color': 0.001,
        'orientation': 0.001,
        'color - orientation': 0.001,
    }
    assert found.measures['color'].shape == (2, 12) and found.differences['color'].means[1] > 0.9
    mixed = np.stack([np.concatenate([gray[..., :6], colored[..., :6]], axis=-1)] * 2) + noise
    assert specialization.measure_specialization(mixed, permutations=999).differences['color'].p_value > 0.5


@pytest.mark.parametrize('shape', [(1, 7, 7, 3, 4), (2, 7, 7, 1, 4), (7, 7, 3, 4)])
def test_kernels_of_one_column_or_other_colors_are_refused(shape):
    with pytest.raises(UserError, match='two or more columns over three colors'):
        specialization.measure_specialization(np.ones(shape))
