"""The project's file of weights: it explains itself, the library alone reads it, the same bits come back."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from slim_networks import CLASSES, NAMES, assert_same_bits, slim_architecture, slim_weights

from alexnet_jax import weights as weight_files
from alexnet_jax.errors import UserError
from alexnet_jax.models.presets import PRESETS
from alexnet_jax.weights import foreign, layout
from alexnet_jax.weights.architecture_json import architecture_from_dict
from alexnet_jax.weights.model_weights import ModelWeights


def content_of(path):
    """(metadata, header without it, bytes of the tensors) of a safetensors file, by its description."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], 'little')
    header = json.loads(data[8 : 8 + length])
    return header.pop('__metadata__'), header, data[8 + length :]


def write_content(path, metadata, header, tensors):
    encoded = json.dumps({'__metadata__': metadata, **header}).encode()
    path.write_bytes(len(encoded).to_bytes(8, 'little') + encoded + tensors)


@pytest.mark.parametrize('name', NAMES)
def test_the_same_bits_come_back(name, tmp_path):
    weights = slim_weights(name)
    path = tmp_path / 'network.safetensors'
    weight_files.write_weights(path, weights)
    assert_same_bits(weight_files.read_weights(path), weights)
    again = tmp_path / 'again.safetensors'
    weight_files.write_weights(again, weight_files.read_weights(path))
    assert again.read_bytes() == path.read_bytes()


def test_the_file_explains_itself_to_the_library_alone(tmp_path):
    weights, path = slim_weights('paper'), tmp_path / 'network.safetensors'
    weight_files.write_weights(path, weights)
    tensors = safetensors.numpy.load_file(path)
    expected = layout.to_torch_layout(weights.arch, weights.parameters)
    assert set(tensors) == {*expected, 'preprocessing.mean'}
    for name, tensor in expected.items():
        np.testing.assert_array_equal(tensors[name], tensor, strict=True)
    metadata, header, data = content_of(path)
    assert list(header) == [*expected, 'preprocessing.mean']
    assert (metadata['format'], metadata['format_version']) == ('alexnet_jax', '1')
    assert architecture_from_dict(json.loads(metadata['architecture'])) == weights.arch
    assert json.loads(metadata['class_names']) == [f'n{number}' for number in range(CLASSES)]
    assert metadata['sha256'] == hashlib.sha256(data).hexdigest()
    prepared = json.loads(metadata['preprocessing'])
    assert prepared['image_size'], prepared['crop_size'] == (256, 224)
    assert prepared['channel_order'] == 'RGB' and prepared['range'] == [0, 255]
    np.testing.assert_array_equal(np.array(prepared['std'], np.float32), weights.preprocessing.std)
    np.testing.assert_allclose(prepared['mean'], weights.preprocessing.mean.mean((0, 1)), rtol=1e-5)


@pytest.mark.parametrize('mean_kind', ['image', 'channel'])
def test_torchvision_names_hold_the_same_network(mean_kind, tmp_path):
    weights, path = slim_weights('torchvision', mean_kind), tmp_path / 'network.safetensors'
    weight_files.write_weights(path, weights, tensor_names='torchvision')
    tensors = safetensors.numpy.load_file(path)
    assert sorted(tensors) == sorted(
        f'{layer}.{part}'
        for layer in ['features.0', 'features.3', 'features.6', 'features.8', 'features.10']
        + ['classifier.1', 'classifier.4', 'classifier.6']
        for part in ('weight', 'bias')
    )
    assert_same_bits(weight_files.read_weights(path), weights)


def test_torchvision_has_no_names_for_the_paper(tmp_path):
    with pytest.raises(UserError, match="paper is not torchvision's network"):
        weight_files.write_weights(tmp_path / 'a.safetensors', slim_weights('paper'), tensor_names='torchvision')
    assert list(tmp_path.iterdir()) == []


def test_every_flipped_byte_of_the_header_is_seen(tmp_path):
    path = tmp_path / 'network.safetensors'
    weight_files.write_weights(path, slim_weights('miniature', 'channel'))
    data = path.read_bytes()
    length = int.from_bytes(data[:8], 'little')
    chance = np.random.default_rng(0)
    places = [*range(8), *chance.integers(8, 8 + length, 60), *chance.integers(8 + length, len(data), 10)]
    for place in places:
        if data[place : place + 1] == b' ':
            continue
        changed = bytearray(data)
        changed[place] ^= 1 << int(chance.integers(8))
        path.write_bytes(changed)
        try:
            weights = weight_files.read_weights(path)
        except UserError:
            continue
        assert_same_bits(weights, slim_weights('miniature', 'channel'))


@pytest.mark.parametrize(
    'change, message',
    [
        ({'class_names': '["a", "b"]'}, '2 class names for the 7 outputs'),
        ({'class_names': json.dumps(['a'] * CLASSES)}, 'Class names occur twice: a'),
        ({'class_descriptions': '[]'}, '0 class descriptions for the 7 outputs'),
        ({'format_version': '99'}, 'has version 99 of the format'),
        ({'architecture': '{}'}, 'The fields of the architecture must be'),
        ({'architecture': 'nonsense'}, 'metadata that this package did not write'),
        ({'preprocessing': '{}'}, 'metadata that this package did not write'),
        ({'notes': '3'}, 'metadata that this package did not write'),
    ],
)
def test_metadata_that_does_not_fit_is_named(change, message, tmp_path, monkeypatch):
    from alexnet_jax.weights import own_metadata

    path = tmp_path / 'network.safetensors'
    weight_files.write_weights(path, slim_weights('miniature', 'channel'))
    metadata, header, data = content_of(path)
    write_content(path, metadata | change, header, data)
    with pytest.raises(UserError, match='damaged|has version 99'):
        weight_files.read_weights(path)
    # Whoever made it also made its sums.
    monkeypatch.setattr(own_metadata, 'metadata_checksum', lambda metadata, tensors: metadata['metadata_sha256'])
    with pytest.raises(UserError, match=message):
        weight_files.read_weights(path)


def test_a_file_of_other_software_is_torchvisions_by_its_names(tmp_path):
    path = tmp_path / 'model.safetensors'
    arch = PRESETS['torchvision']
    tensors = {f'features.{number}.weight': np.zeros((1,), np.float32) for number in (0, 3)}
    safetensors.numpy.save_file(tensors, path)
    with pytest.raises(UserError, match=f'do not fit {arch.name}: missing: conv1.bias'):
        weight_files.read_weights(path)


def test_shapes_that_several_networks_have_need_a_preset():
    tensors = {
        name: np.broadcast_to(np.float32(0), shape) for name, shape in layout.tensor_shapes(PRESETS['caffe']).items()
    }
    with pytest.raises(UserError) as error:
        foreign.find_architecture(tensors)
    for name in ('paper', 'caffe', 'caffenet', '--config.weights.preset'):
        assert name in str(error.value)
    assert foreign.find_architecture(tensors, 'caffenet') == PRESETS['caffenet']
    merged = {
        name: np.broadcast_to(np.float32(0), shape) for name, shape in layout.tensor_shapes(PRESETS['merged']).items()
    }
    assert foreign.find_architecture(merged) == PRESETS['merged']
    with pytest.raises(UserError, match='those of no network here'):
        foreign.find_architecture({'a': np.zeros(3, np.float32)})


def test_what_does_not_fit_together_is_no_network():
    weights = slim_weights('miniature', 'channel')
    for field, value, message in (
        ('class_names', ('a',) * CLASSES, 'occur twice'),
        ('class_descriptions', (), '0 class descriptions'),
        ('parameters', {}, 'weights of none'),
        ('arch', slim_architecture('torchvision'), 'smaller than the crops'),
    ):
        with pytest.raises(UserError, match=message):
            dataclasses.replace(weights, **{field: value})
    zero_std = dataclasses.replace(weights.preprocessing, std=np.zeros(3, np.float32))
    with pytest.raises(UserError, match='three positive numbers'):
        dataclasses.replace(weights, preprocessing=zero_std)
    assert isinstance(weights, ModelWeights)
