"""Run 145's own layers in files for other software: the normalization within a map, and its place before the ReLU."""

import dataclasses

import numpy as np
import pytest
from slim_networks import (
    assert_same_activations,
    assert_same_bits,
    network_inputs,
    random_weights,
    run_package,
    slim_architecture,
)

from alexnet_jax.weights import read_weights, write_weights
from alexnet_jax.weights.torch_module import write_torch_module


@pytest.fixture(scope='module')
def weights():
    """At a crop whose windows hang over the edges, and with a normalization that is felt."""
    arch = dataclasses.replace(slim_architecture('source145'), crop_size=72)
    strong = {'norm2b': {'alpha': 0.5}}
    layers = tuple(dataclasses.replace(layer, **strong.get(layer.name, {})) for layer in arch.layers)
    return random_weights(dataclasses.replace(arch, layers=layers), mean_kind='center')


@pytest.mark.parametrize('ending', ['npz', 'safetensors', 'onnx'])
def test_the_same_bits_come_back(weights, ending, tmp_path):
    if ending == 'onnx':
        pytest.importorskip('onnx', reason='needs requirements-onnx.txt')
    write_weights(tmp_path / f'a.{ending}', weights)
    assert_same_bits(read_weights(tmp_path / f'a.{ending}'), weights)


def test_onnxruntime_computes_every_point(weights, tmp_path):
    onnx = pytest.importorskip('onnx', reason='needs requirements-onnx.txt')
    pytest.importorskip('onnxruntime', reason='needs requirements-onnx.txt')
    from onnx_runner import center_crops, run_onnx

    write_weights(tmp_path / 'a.onnx', weights)
    found = run_onnx(onnx.load(tmp_path / 'a.onnx'), center_crops(weights), weights.arch.activation_shapes())
    ours = run_package(weights, network_inputs(weights))
    assert np.abs(ours['norm2b'] - ours['norm2']).max() > 0.1 * np.abs(ours['norm2']).max()
    assert_same_activations(found, ours)


def test_pytorch_computes_every_point(weights, tmp_path):
    torch = pytest.importorskip('torch', reason='needs requirements-torch.txt')
    import importlib.util

    write_weights(tmp_path / 'network.safetensors', weights)
    write_torch_module(tmp_path / 'network_torch.py', weights, 'network.safetensors')
    spec = importlib.util.spec_from_file_location('network_torch', tmp_path / 'network_torch.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    inputs = network_inputs(weights)
    with torch.no_grad():
        outputs = module.load_network().activations(torch.from_numpy(np.float32(inputs)).permute(0, 3, 1, 2))
    theirs = {name: (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).numpy() for name, x in outputs.items()}
    assert_same_activations(theirs, {name: run_package(weights, inputs)[name] for name in theirs})
