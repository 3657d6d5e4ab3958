"""Every format at full size: random weights, photographs, every point against another executor; the same bits back.

    python -m pytest -m slow -n 0 -s tests/weights/test_full_size.py

prints the largest relative error over all points for each network and format.
"""

import functools

import executor
import foreign_files
import numpy as np
import pytest
from slim_networks import NAMES, assert_same_bits, network_inputs, random_weights, run_package

from alexnet_jax.models.presets import PRESETS
from alexnet_jax.weights import read_weights, write_weights
from alexnet_jax.weights.layout import to_torch_layout
from alexnet_jax.weights.names import rename_tensor, torchvision_layers

pytestmark = pytest.mark.slow


@functools.lru_cache(maxsize=1)
def full_size(name):
    """(network, tensors, inputs, points by NumPy in float64), of one network at a time."""
    weights = random_weights(PRESETS[name])
    tensors, inputs = to_torch_layout(weights.arch, weights.parameters), network_inputs(weights)
    return weights, tensors, inputs, executor.run_chain(name, tensors, np.float32(inputs))


def largest_error(found, expected, name, what):
    """The largest relative error over all points, printed."""
    assert found.keys() == expected.keys()
    errors = {point: executor.relative_error(found[point], expected[point]) for point in expected}
    worst = max(errors, key=errors.get)
    print(f'\n{name}, {what}: {errors[worst]:.1e} at {worst}', flush=True)
    return errors[worst]


def assert_tensors_come_back(weights, name):
    """The tensors' bits, and the same activations as the executor's."""
    _, tensors, inputs, expected = full_size(name)
    found = to_torch_layout(weights.arch, weights.parameters)
    for tensor, array in tensors.items():
        np.testing.assert_array_equal(found[tensor], array, strict=True)
    assert largest_error(run_package(weights, inputs), expected, name, 'this package against NumPy (float64)') < 1e-5


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('ending', ['safetensors', 'npz', 'onnx'])
def test_what_is_written_comes_back(name, ending, tmp_path):
    weights = full_size(name)[0]
    write_weights(tmp_path / f'a.{ending}', weights)
    assert_same_bits(read_weights(tmp_path / f'a.{ending}'), weights)


@pytest.mark.parametrize('name', NAMES)
def test_onnxruntime_gives_the_same_at_every_point(name, tmp_path):
    onnx = pytest.importorskip('onnx', reason='needs requirements-onnx.txt')
    pytest.importorskip('onnxruntime', reason='needs requirements-onnx.txt')
    from onnx_runner import center_crops, run_onnx

    weights, _, inputs, expected = full_size(name)
    write_weights(tmp_path / 'a.onnx', weights)
    points = list(weights.arch.activation_shapes())
    found = run_onnx(onnx.load(tmp_path / 'a.onnx'), center_crops(weights), points)
    assert largest_error(found, expected, name, 'onnxruntime against NumPy (float64)') < 1e-5
    ours = run_package(weights, inputs)
    assert largest_error(found, ours, name, 'onnxruntime against this package') < 1e-5


@pytest.mark.parametrize('name', ['caffe', 'caffenet'])
@pytest.mark.parametrize('old', [False, True], ids=['new', 'V1'])
def test_a_caffemodel(name, old, tmp_path):
    net = foreign_files.make_caffe_net(name, full_size(name)[1], old=old)
    (tmp_path / 'a.caffemodel').write_bytes(net.SerializeToString())
    del net
    assert_tensors_come_back(read_weights(tmp_path / 'a.caffemodel'), name)


@pytest.mark.parametrize('name', ['caffe', 'caffenet', 'torchvision'])
def test_a_network_of_matconvnet(name, tmp_path):
    foreign_files.write_matconvnet(tmp_path / 'a.mat', name, full_size(name)[1])
    assert_tensors_come_back(read_weights(tmp_path / 'a.mat'), name)


def test_a_state_dict_of_torchvision(tmp_path):
    torch = pytest.importorskip('torch', reason='needs requirements-torch.txt')
    weights, tensors, *_ = full_size('torchvision')
    table = torchvision_layers(weights.arch)
    state = {rename_tensor(name, table): torch.from_numpy(array.copy()) for name, array in tensors.items()}
    torch.save(state, tmp_path / 'a.pth')
    assert_tensors_come_back(read_weights(tmp_path / 'a.pth'), 'torchvision')


@pytest.mark.parametrize('name', ['paper', 'miniature'])
def test_bare_tensors_of_a_named_preset(name, tmp_path):
    np.savez(tmp_path / 'a.npz', **full_size(name)[1])
    assert_tensors_come_back(read_weights(tmp_path / 'a.npz', preset=name), name)
