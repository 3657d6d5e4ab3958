"""Layer times beside their roofline."""

import dataclasses

import jax
import pytest

from alexnet_jax.models import custom_vjp, presets
from alexnet_jax.models.architecture import (
    Activation,
    Architecture,
    Convolution,
    Dense,
    Dropout,
    Pooling,
    ResponseNormalization,
)
from alexnet_jax.report import layer_benchmark

SLOW = layer_benchmark.MachinePeak({'one': 1e6, 'other': 5e5}, bytes_per_second=1e3)
TINY = Architecture(
    name='tiny',
    columns=2,
    crop_size=9,
    layers=(
        Convolution('conv1', 8, kernel_size=3, input_from='image'),
        Activation('relu1'),
        ResponseNormalization('norm1'),
        Pooling('pool1'),
        Convolution('conv2', 8, kernel_size=3, pad=1),
        Dense('fc6', 6),
        Dropout('drop6'),
        Dense('fc8', 3),
    ),
)


def test_the_papers_step_is_four_gigaflop_an_image():
    arch = presets.get_architecture('paper')
    products = arch.macs()
    assert layer_benchmark.training_flops(arch) == 2 * (3 * sum(products.values()) - products['conv1'])
    assert layer_benchmark.training_flops(arch) == pytest.approx(4.136e9, rel=1e-3)


def test_the_floor_is_the_slower_of_products_and_memory():
    assert SLOW.flops == 1e6
    assert SLOW.min_seconds(flop=2e6, bytes_moved=1) == 2.0
    assert SLOW.min_seconds(flop=1, bytes_moved=3e3) == 3.0


def test_a_convolution_needs_its_products_once_forward_and_twice_backward_but_none_for_the_image():
    wide = layer_benchmark.MachinePeak({'one': 1.0}, bytes_per_second=1e12)
    shapes, conv1, conv2 = TINY.activation_shapes(), TINY.layers[0], TINY.layers[4]
    flop = {name: 2 * 5 * each for name, each in TINY.macs().items()}
    first = layer_benchmark.roofline_seconds(conv1, TINY, (9, 9, 3), shapes['conv1'], wide, 5, 4)
    second = layer_benchmark.roofline_seconds(conv2, TINY, shapes['pool1'], shapes['conv2'], wide, 5, 4)
    assert first == (flop['conv1'], flop['conv1'])
    assert second == (flop['conv2'], 2 * flop['conv2'])


def test_a_layer_without_products_needs_its_input_read_and_its_output_written():
    forward, backward = layer_benchmark.roofline_seconds(TINY.layers[1], TINY, (7, 7, 8), (7, 7, 8), SLOW, 2, 4)
    numbers = 2 * 7 * 7 * 8
    assert forward == 2 * 4 * numbers / 1e3
    assert backward == 3 * 4 * numbers / 1e3  # what it saw, the gradient that came and the one that goes


def test_every_layer_is_timed_alone_in_the_order_of_the_forward_pass():
    arch = dataclasses.replace(TINY, layers=TINY.layers[:2] + TINY.layers[-2:])
    found = layer_benchmark.time_layers(arch, SLOW, custom_vjp.select_ops('cpu'), batch_size=2, rounds=1)
    assert [each.name for each in found] == [layer.name for layer in arch.layers]
    assert all(each.forward > 0 and each.backward >= 0 for each in found)
    assert all(each.forward_floor > 0 and each.backward_floor > 0 for each in found)


def test_the_machines_rates_are_those_of_all_libraries_at_hand():
    found = layer_benchmark.measure_peak(matrix_size=32, rounds=1)
    assert set(found.matmul_flops) == ({'jax', 'numpy'} if jax.default_backend() == 'cpu' else {'jax'})
    assert found.flops == max(found.matmul_flops.values()) > 0 and found.bytes_per_second > 0


def test_calls_are_waited_for_and_the_first_does_not_count():
    calls = []
    assert len(layer_benchmark.time_calls(lambda: calls.append(0), rounds=3)) == 3
    assert len(calls) == 4
    assert layer_benchmark.summary_stats([3.0, 1.0, 2.0]) == {'median': 2.0, 'least': 1.0, 'most': 3.0}
