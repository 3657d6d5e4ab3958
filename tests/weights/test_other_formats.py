"""NumPy's and PyTorch's files: the same bits come back, nothing pickled is read."""

import json
import sys

import numpy as np
import pytest
from slim_networks import NAMES, assert_same_bits, slim_weights

from alexnet_jax.errors import UserError
from alexnet_jax.models import presets
from alexnet_jax.weights import read_weights, write_weights
from alexnet_jax.weights.layout import to_torch_layout
from alexnet_jax.weights.names import rename_tensor, torchvision_layers


@pytest.mark.parametrize('name', NAMES)
def test_the_same_bits_come_back_from_npz(name, tmp_path):
    weights = slim_weights(name)
    write_weights(tmp_path / 'a.npz', weights)
    assert_same_bits(read_weights(tmp_path / 'a.npz'), weights)
    with np.load(tmp_path / 'a.npz', allow_pickle=False) as file:
        for tensor, array in to_torch_layout(weights.arch, weights.parameters).items():
            np.testing.assert_array_equal(file[tensor], array, strict=True)
        assert json.loads(str(file['metadata']))['format'] == 'alexnet_jax'


@pytest.fixture
def torchvision_tensors(monkeypatch):
    """(network, its tensors under torchvision's names); the preset is as slim as the network."""
    weights = slim_weights('torchvision')
    monkeypatch.setitem(presets.PRESETS, 'torchvision', weights.arch)
    table = torchvision_layers(weights.arch)
    tensors = to_torch_layout(weights.arch, weights.parameters)
    return weights, {rename_tensor(name, table): tensor for name, tensor in tensors.items()}


def assert_same_parameters(found, expected):
    for layer, parts in expected.parameters.items():
        for part, array in parts.items():
            np.testing.assert_array_equal(found.parameters[layer][part], array, strict=True)


def test_an_npz_of_bare_tensors_is_read_by_their_names_and_shapes(tmp_path, torchvision_tensors):
    weights, tensors = torchvision_tensors
    np.savez(tmp_path / 'a.npz', **tensors)
    np.savez_compressed(tmp_path / 'b.npz', **{name: np.asfortranarray(x) for name, x in tensors.items()})
    for file in ('a.npz', 'b.npz'):
        found = read_weights(tmp_path / file)
        assert found.arch == weights.arch
        assert_same_parameters(found, weights)


def test_objects_in_an_npz_are_refused_without_unpickling_them(tmp_path):
    np.savez(tmp_path / 'a.npz', **{'conv1.weight': np.array([print], object)})
    with pytest.raises(UserError, match='no pickled objects'):
        read_weights(tmp_path / 'a.npz')


@pytest.mark.parametrize('wrap', ['plain', 'checkpoint', 'parallel', 'old'])
def test_a_state_dict_of_torch_is_read_by_its_weights_only_loader(wrap, tmp_path, torchvision_tensors):
    torch = pytest.importorskip('torch', reason='needs requirements-torch.txt')
    weights, tensors = torchvision_tensors
    state = {name: torch.from_numpy(tensor.copy()) for name, tensor in tensors.items()}
    if wrap == 'checkpoint':
        state = {'state_dict': {f'module.{name}': tensor for name, tensor in state.items()}, 'epoch': 90}
    elif wrap == 'parallel':
        state = {f'module.{name}': tensor for name, tensor in state.items()}
    torch.save(state, tmp_path / 'a.pth', _use_new_zipfile_serialization=wrap != 'old')
    assert_same_parameters(read_weights(tmp_path / 'a.pth'), weights)


def test_a_torch_file_with_code_in_it_is_refused(tmp_path):
    torch = pytest.importorskip('torch', reason='needs requirements-torch.txt')

    class Marker:
        def __reduce__(self):
            return (open, (str(tmp_path / 'ran'), 'w'))

    torch.save({'conv1.weight': Marker()}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match='weights-only loader'):
        read_weights(tmp_path / 'a.pth')
    assert not (tmp_path / 'ran').exists()


def test_a_tensor_that_claims_more_numbers_than_the_file_has_is_refused(tmp_path):
    torch = pytest.importorskip('torch', reason='needs requirements-torch.txt')
    torch.save({'conv1.weight': torch.zeros(1).expand(2**40)}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match='more numbers than the file'):
        read_weights(tmp_path / 'a.pth')


@pytest.mark.parametrize('package, file', [('torch', 'a.pth'), ('onnx', 'a.onnx')])
def test_a_missing_extra_is_one_sentence(package, file, tmp_path, monkeypatch):
    (tmp_path / 'a.pth').write_bytes(b'1234')
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f'not installed; run `pip install -r requirements-{package}.txt`'):
        if package == 'torch':
            read_weights(tmp_path / file)
        else:
            write_weights(tmp_path / file, slim_weights('miniature'))
    assert not (tmp_path / 'a.onnx').exists()
