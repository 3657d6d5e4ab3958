"""Networks from other programs: the same activations at every point as an executor of their own files, in NumPy."""

import functools

import executor
import foreign_files
import numpy as np
import pytest
from slim_networks import assert_same_activations, network_inputs, run_package, slim_weights

from alexnet_jax.models import presets
from alexnet_jax.weights import read_weights
from alexnet_jax.weights.layout import to_torch_layout

# Made here, before the presets are replaced by them.
SLIM = {
    name: slim_weights(name).arch for name in ('paper', 'caffe', 'caffenet', 'onnx_zoo', 'torchvision', 'miniature')
}


@pytest.fixture(autouse=True)
def slim_presets(monkeypatch):
    """The presets with a sixteenth of their features: files are matched with these."""
    for name, arch in SLIM.items():
        monkeypatch.setitem(presets.PRESETS, name, arch)


@functools.cache
def expected_points(name):
    return executor.run_chain(name, tensors_of(name), network_inputs(slim_weights(name)))


def assert_imported(weights, name):
    """It is that preset, with the tensors' bits, and gives the activations of the chain."""
    inputs, tensors = network_inputs(slim_weights(name)).astype(np.float32), tensors_of(name)
    assert_same_activations(run_package(weights, inputs), expected_points(name))
    found = to_torch_layout(weights.arch, weights.parameters)
    assert weights.arch.name == name and list(found) == list(tensors)
    for tensor, array in tensors.items():
        np.testing.assert_array_equal(found[tensor], array, strict=True)


def tensors_of(name):
    return to_torch_layout(slim_weights(name).arch, slim_weights(name).parameters)


@pytest.mark.parametrize('old', [False, True], ids=['new', 'V1'])
@pytest.mark.parametrize('name', ['caffe', 'caffenet'])
def test_a_caffemodel_is_the_network_that_its_layers_say(name, old, tmp_path):
    path = tmp_path / 'a.caffemodel'
    path.write_bytes(foreign_files.make_caffe_net(name, tensors_of(name), old=old).SerializeToString())
    weights = read_weights(path)
    assert_imported(weights, name)
    # Caffe's mean pixel, in RGB, and as many classes as the file has outputs.
    np.testing.assert_allclose(weights.preprocessing.mean, [122.679, 116.669, 104.007], atol=1e-3)
    assert weights.preprocessing.image_size == 256 and len(weights.class_names) == 7


def test_doubles_and_four_dimensional_dense_weights_of_older_caffemodels_are_read(tmp_path):
    net = foreign_files.make_caffe_net('caffe', tensors_of('caffe'))
    for layer in net.layer:
        for blob in layer.blobs:
            blob.double_data.extend(blob.data)
            del blob.data[:]
            shape = list(blob.shape.dim)
            blob.ClearField('shape')
            blob.num, blob.channels, blob.height, blob.width = (1, 1, 1, 1, *shape)[-4:]
    (tmp_path / 'a.caffemodel').write_bytes(net.SerializeToString())
    assert_imported(read_weights(tmp_path / 'a.caffemodel'), 'caffe')


@pytest.mark.parametrize('name', ['caffe', 'caffenet', 'torchvision'])
def test_a_network_of_matconvnet_is_the_one_that_its_cells_say(name, tmp_path):
    foreign_files.write_matconvnet(tmp_path / 'a.mat', name, tensors_of(name))
    assert_imported(read_weights(tmp_path / 'a.mat'), name)


@pytest.mark.parametrize('meta', [True, False], ids=['meta', 'older'])
def test_matconvnets_average_image_and_classes_are_kept(meta, tmp_path):
    average = np.random.default_rng(0).uniform(90, 130, (227, 227, 3)).astype(np.float32)
    classes = tuple(f'n{number:08}' for number in range(7))
    options = {'average_image': average, 'classes': classes, 'meta': meta, 'compress': not meta}
    foreign_files.write_matconvnet(tmp_path / 'a.mat', 'caffe', tensors_of('caffe'), **options)
    weights = read_weights(tmp_path / 'a.mat')
    assert weights.class_names == classes and weights.class_descriptions[3] == 'n00000003, words'
    prepared = weights.preprocessing
    # The average of the center crop is subtracted from every crop of 256 pixels.
    assert (prepared.image_size, prepared.mean_kind) == (256, 'center')
    np.testing.assert_array_equal(prepared.mean[14:-15, 14:-15], average)
    (tmp_path / 'b.mat').unlink(missing_ok=True)
    foreign_files.write_matconvnet(tmp_path / 'b.mat', 'caffe', tensors_of('caffe'), average_image=average[:1, :1])
    pixel = read_weights(tmp_path / 'b.mat').preprocessing
    np.testing.assert_array_equal(pixel.mean, average[0, 0])
    assert pixel.mean_kind == 'channel'


def test_a_foreign_network_may_be_named_and_a_wrong_name_is_refused_with_the_differences(tmp_path):
    path = tmp_path / 'a.caffemodel'
    path.write_bytes(foreign_files.make_caffe_net('caffe', tensors_of('caffe')).SerializeToString())
    assert_imported(read_weights(path, preset='caffe'), 'caffe')
    with pytest.raises(ValueError, match='is not caffenet. It differs from caffenet: .*normalization') as found:
        read_weights(path, preset='caffenet')
    assert 'norm1' in str(found.value)


def test_a_part_of_a_network_is_taken_by_names_and_the_rest_is_drawn(tmp_path):
    """A network with another number of classes lends its convolutions."""
    tensors = tensors_of('caffe')
    path = tmp_path / 'a.caffemodel'
    net = foreign_files.make_caffe_net('caffe', tensors)
    next(layer for layer in net.layer if layer.name == 'fc8').name = 'fc8_flickr'
    path.write_bytes(net.SerializeToString())
    weights = read_weights(path, preset='caffe', partial=True)
    found = to_torch_layout(weights.arch, weights.parameters)
    for name in tensors:
        assert np.array_equal(found[name], tensors[name]) is (not name.startswith('fc8'))
    assert 'fc8' in weights.notes['drawn']
