"""The names of torchvision and Caffe, against their own definitions."""

import pytest

from alexnet_jax.errors import UserError
from alexnet_jax.models.presets import PRESETS
from alexnet_jax.weights import names

# models/bvlc_alexnet/deploy.prototxt of BVLC/caffe: layer, type, bottom, top.
BVLC_ALEXNET = """
conv1 Convolution data conv1
relu1 ReLU conv1 conv1
norm1 LRN conv1 norm1
pool1 Pooling norm1 pool1
conv2 Convolution pool1 conv2
relu2 ReLU conv2 conv2
norm2 LRN conv2 norm2
pool2 Pooling norm2 pool2
conv3 Convolution pool2 conv3
relu3 ReLU conv3 conv3
conv4 Convolution conv3 conv4
relu4 ReLU conv4 conv4
conv5 Convolution conv4 conv5
relu5 ReLU conv5 conv5
pool5 Pooling conv5 pool5
fc6 InnerProduct pool5 fc6
relu6 ReLU fc6 fc6
drop6 Dropout fc6 fc6
fc7 InnerProduct fc6 fc7
relu7 ReLU fc7 fc7
drop7 Dropout fc7 fc7
fc8 InnerProduct fc7 fc8
prob Softmax fc8 prob
"""
CAFFE_TYPES = {
    'Convolution': 'Convolution',
    'ReLU': 'Activation',
    'LRN': 'ResponseNormalization',
    'Pooling': 'Pooling',
    'InnerProduct': 'Dense',
    'Dropout': 'Dropout',
}


def test_caffe_has_these_layers_and_its_blobs_hold_these_points():
    rows = [line.split() for line in BVLC_ALEXNET.split('\n') if line]
    ours = [(layer.name, type(layer).__name__) for layer in PRESETS['caffe'].layers]
    assert ours == [(layer, CAFFE_TYPES[kind]) for layer, kind, _, _ in rows if kind != 'Softmax']
    # A blob holds what was written to it last.
    last = {top: layer for layer, _, _, top in rows}
    assert names.caffe_points(PRESETS['caffe']) == {layer: blob for blob, layer in last.items()}


def test_torchvision_has_these_modules():
    torchvision_alexnet = import_torchvision_alexnet()
    modules = dict(torchvision_alexnet(num_classes=2).named_modules())
    points = names.torchvision_points(PRESETS['torchvision'])
    kinds = {
        'Conv2d': 'Convolution',
        'ReLU': 'Activation',
        'MaxPool2d': 'Pooling',
        'Linear': 'Dense',
        'Dropout': 'Dropout',
    }
    for layer in PRESETS['torchvision'].layers:
        module = modules.pop(points[layer.name])
        assert kinds[type(module).__name__] == type(layer).__name__
        if hasattr(layer, 'kernel_size'):
            assert module.kernel_size == (layer.kernel_size,) * 2
            assert module.padding == (layer.pad,) * 2
            assert module.out_channels == layer.features
    assert set(modules) == {'', 'features', 'avgpool', 'classifier'}


def import_torchvision_alexnet():
    pytest.importorskip('torch')
    try:
        from torchvision.models import alexnet
    except (ImportError, RuntimeError) as error:  # no torchvision, or one of another torch
        pytest.skip(f'torchvision cannot be imported ({error})')
    return alexnet


def test_other_networks_have_no_names_there():
    for name in ('paper', 'caffe', 'merged', 'miniature'):
        with pytest.raises(UserError, match='torchvision has no names'):
            names.torchvision_points(PRESETS[name])
