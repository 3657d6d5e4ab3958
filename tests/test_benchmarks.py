"""Benchmarks go on from their own results and end with their figure."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

from alexnet_jax.network import layers

FOLDER = Path(__file__).resolve().parent.parent / 'benchmarks'


def script(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_line_torn_by_a_kill_is_passed_over_and_the_next_one_stands_alone(tmp_path):
    ledger, results = script('ledger'), tmp_path / 'folder' / 'results.jsonl'
    assert ledger.known(results) == []
    ledger.write(results, {'seed': 0})
    with open(results, 'a') as file:
        file.write('{"seed": 1, "sta')
    ledger.write(results, {'seed': 1})
    assert ledger.known(results) == [{'seed': 0}, {'seed': 1}]


def test_the_figure_counts_the_seeds_that_start_and_says_when():
    seeds = script('seeds_that_start')
    rows = [{'initialisation': 'he', 'started': started} for started in (30, None, 10, 50)]
    rows += [{'initialisation': 'paper', 'started': None}]
    assert seeds.figure(rows, ['he', 'paper']) == (
        'he: 3 of 4 start (after 10 to 50 steps, median 30); paper: 0 of 1 start'
    )


@pytest.mark.parametrize('shape', [(2, 13, 13, 8), (1, 6, 7, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize('edges', [((1, 1), (1, 1)), ((0, 0), (0, 0)), ((0, 1), (2, 1))])
def test_the_trial_by_winograd_is_the_plain_convolution(shape, edges):
    """In float64, value and both gradients, also where tiles hang over the edges."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        arguments = [rng.normal(size=size) for size in (shape, (3, 3, shape[3], 7), (7,))]
        results = []
        for convolution in (script('winograd').convolution, layers.convolution):
            value, transpose = jax.vjp(lambda *each, f=convolution: f(*each, stride=1, edges=edges), *arguments)
            results.append((value, *transpose(np.cos(np.arange(value.size)).reshape(value.shape))))
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
