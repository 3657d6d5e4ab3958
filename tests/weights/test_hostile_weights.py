"""Damaged and hostile files of weights are refused in a sentence that names the file, in little time and memory."""

import io
import json
import struct
import zipfile
import zlib

import foreign_files
import numpy as np
import pytest
import safetensors.numpy
import scipy.io
from slim_networks import slim_weights

from alexnet_jax.errors import UserError
from alexnet_jax.models import presets
from alexnet_jax.weights import read_weights, write_weights
from alexnet_jax.weights.layout import to_torch_layout

SLIM = {name: slim_weights(name).arch for name in ('caffe', 'caffenet', 'torchvision', 'onnx_zoo', 'miniature')}


@pytest.fixture(autouse=True)
def slim_presets(monkeypatch):
    """Files are matched with the presets at a sixteenth of their features."""
    for name, arch in SLIM.items():
        monkeypatch.setitem(presets.PRESETS, name, arch)


def tensors_of(name='caffe'):
    return dict(to_torch_layout(slim_weights(name).arch, slim_weights(name).parameters))


def refused(path, *words):
    """The message of the refusal, which names the file and has these words."""
    with pytest.raises(UserError) as found:
        read_weights(path)
    message = str(found.value)
    assert str(path) in message or all(word in message for word in words), message
    for word in words:
        assert word in message, message
    assert len(message) < 1500
    return message


def write_bytes(path, data):
    path.write_bytes(data)
    return path


# Of every format.


def own_file(folder, ending):
    path = folder / f'a{ending}'
    if ending == '.onnx':
        pytest.importorskip('onnx', reason='needs requirements-onnx.txt')
    if ending == '.caffemodel':
        path.write_bytes(foreign_files.make_caffe_net('caffe', tensors_of()).SerializeToString())
    elif ending == '.mat':
        foreign_files.write_matconvnet(path, 'caffe', tensors_of())
    elif ending == '.pth':
        torch = pytest.importorskip('torch', reason='needs requirements-torch.txt')
        torch.save({name: torch.from_numpy(array) for name, array in tensors_of('miniature').items()}, path)
    else:
        write_weights(path, slim_weights('miniature'))
    return path


ENDINGS = ['.safetensors', '.npz', '.onnx', '.caffemodel', '.mat', '.pth']


@pytest.mark.parametrize('ending', ENDINGS)
def test_a_truncated_file_is_refused(ending, tmp_path):
    whole = own_file(tmp_path, ending).read_bytes()
    for share in (0.001, 0.3, 0.9, 0.9999):
        refused(write_bytes(tmp_path / f'b{ending}', whole[: int(share * len(whole))]), f'b{ending}')


@pytest.mark.parametrize('ending', ENDINGS)
@pytest.mark.parametrize(
    'content', [b'', b'\0' * 1000, b'<!DOCTYPE html><html>404</html>', b'name: "AlexNet"\nlayer {']
)
def test_what_is_no_file_of_weights_is_refused(ending, content, tmp_path):
    if ending == '.pth':
        pytest.importorskip('torch', reason='needs requirements-torch.txt')
    refused(write_bytes(tmp_path / f'a{ending}', content), f'a{ending}')


def test_nan_is_refused_by_the_tensors_name_in_every_format(tmp_path):
    tensors = tensors_of('torchvision')
    tensors['conv3.weight'] = tensors['conv3.weight'].copy()
    tensors['conv3.weight'][0, 0, 0, 0] = np.nan
    np.savez(tmp_path / 'a.npz', **tensors)
    safetensors.numpy.save_file(tensors, tmp_path / 'a.safetensors')
    foreign_files.write_matconvnet(tmp_path / 'a.mat', 'torchvision', tensors)
    caffe = tensors_of()
    caffe['conv3.weight'] = np.full_like(caffe['conv3.weight'], np.inf)
    net = foreign_files.make_caffe_net('caffe', caffe)
    (tmp_path / 'a.caffemodel').write_bytes(net.SerializeToString())
    for file in ('a.npz', 'a.safetensors', 'a.mat', 'a.caffemodel'):
        refused(tmp_path / file, 'conv3.weight has NaN or infinite entries')


# safetensors.


def safetensors_bytes(header, body):
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(encoded)) + encoded + body


@pytest.mark.parametrize(
    'header',
    [
        {'a': {'dtype': 'F32', 'shape': [2], 'data_offsets': [-8, 0]}},
        {'a': {'dtype': 'F32', 'shape': [2], 'data_offsets': [8, 0]}},
        {
            'a': {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]},
            'b': {'dtype': 'F32', 'shape': [2], 'data_offsets': [4, 12]},
        },
        {'a': {'dtype': 'F32', 'shape': [2], 'data_offsets': [4, 12]}},
        {'a': {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 2**60]}},
        {'a': {'dtype': 'F32', 'shape': [2**40, 2**40], 'data_offsets': [0, 8]}},
        {'a': {'dtype': 'F32', 'shape': [-2], 'data_offsets': [0, 8]}},
        {'a': {'dtype': 'object', 'shape': [2], 'data_offsets': [0, 8]}},
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "a": {"dtype": "F32", "shape": [1], '
        b'"data_offsets": [8, 12]}}',
        b'[' * 100_000,
    ],
    ids='negative backward overlapping hole beyond overflow shape dtype twice nested'.split(),
)
def test_offsets_and_shapes_of_safetensors_that_do_not_add_up_are_refused(header, tmp_path):
    refused(write_bytes(tmp_path / 'a.safetensors', safetensors_bytes(header, b'\0' * 12)), 'a.safetensors')


@pytest.mark.parametrize('length', [2**63, 2**40, 100_000_001])
def test_a_huge_header_of_safetensors_is_refused(length, tmp_path):
    refused(write_bytes(tmp_path / 'a.safetensors', struct.pack('<Q', length) + b'{}'), 'cannot be read as safetensors')


def test_classes_of_another_number_are_refused(tmp_path):
    names = tuple(f'n{number}' for number in range(8))
    with pytest.raises(UserError, match='8 class names for the 7 outputs'):
        foreign_files.write_matconvnet(tmp_path / 'a.mat', 'caffe', tensors_of(), classes=names)
        read_weights(tmp_path / 'a.mat')


# .npz.


def npy(dtype, shape, body):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b'\n'
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(header)) + header + body


@pytest.mark.parametrize(
    'content, word',
    [
        (npy('<f4', '(1099511627776,)', b'\0' * 8), '8 bytes'),
        (npy('<f4', '(-2,)', b'\0' * 8), 'shape'),
        (npy('<f4', '(-1, -2)', b'\0' * 8), 'shape'),
        (npy('|O', '(1,)', b'\x80\x04N.'), 'no pickled objects'),
        (npy('<i8', '(1,)', b'\0' * 8), 'only floating-point numbers'),
        (b'\x93NUMPY\x01\x00\xff\xff', 'damaged'),
        (b'cos\nsystem\n(S"true"\ntR.', 'damaged'),
    ],
    ids='large negative negatives object integers header pickle'.split(),
)
def test_arrays_of_npz_that_do_not_add_up_are_refused(content, word, tmp_path):
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as archive:
        archive.writestr('conv1.weight.npy', content)
    refused(tmp_path / 'a.npz', word)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w', zipfile.ZIP_DEFLATED) as archive:
        with archive.open('conv1.weight.npy', 'w') as file:
            for _ in range(100):
                file.write(b'\0' * 2**20)
    assert 'would become' in refused(tmp_path / 'a.npz', 'is packed')


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_two_arrays_of_one_name_are_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(1, np.float32))
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as archive:
        archive.writestr('conv1.bias.npy', buffer.getvalue())
        archive.writestr('conv1.bias.npy', buffer.getvalue())
    refused(tmp_path / 'a.npz', 'two arrays of the name')


# Protobuf: Caffe and ONNX.


@pytest.mark.parametrize('ending', ['.caffemodel', '.onnx'])
@pytest.mark.parametrize(
    'content, word',
    [
        (b'\xa2\x06\x00' * 2_000_000, 'more than 100,000 fields'),
        (b'\x08' + b'\xff' * 100, 'an integer has no end'),
        (b'\xa2\x06\xff\xff\xff\xff\x0f', 'has only 0 left'),
        (b'\x0b' * 10, 'wire type 3'),
    ],
    ids='bomb varint length group'.split(),
)
def test_protobuf_that_is_none_is_refused(ending, content, word, tmp_path):
    refused(write_bytes(tmp_path / f'a{ending}', content), word)


def test_deep_nesting_costs_nothing(tmp_path):
    content = b''
    for _ in range(3000):
        size, length = len(content), b''
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        content = b'\x3a' + length + bytes([size]) + content
    refused(write_bytes(tmp_path / 'a.onnx', content), 'a.onnx')


def change_caffe(change):
    net = foreign_files.make_caffe_net('caffe', tensors_of())
    change(net)
    return net.SerializeToString()


def layer_of(net, name):
    return next(layer for layer in net.layer if layer.name == name)


def double_layer(net):
    net.layer.add().CopyFrom(layer_of(net, 'fc8'))


CAFFE_CHANGES = {
    'topology': (lambda net: net.layer.remove(layer_of(net, 'relu3')), 'is none of', 'nothing instead of relu3'),
    'stride': (lambda net: layer_of(net, 'conv1').convolution.stride.__setitem__(0, 2), 'fc6 has weights of'),
    'unknown': (lambda net: setattr(layer_of(net, 'relu3'), 'type', 'BatchNorm'), "relu3 is of the type 'BatchNorm'"),
    'shape': (lambda net: layer_of(net, 'fc6').blobs[0].shape.dim.__setitem__(0, 3), 'fc6 has an array of the shape'),
    'negative': (lambda net: layer_of(net, 'fc6').blobs[0].shape.dim.__setitem__(0, -1), 'fc6 has an array'),
    'overflow': (lambda net: layer_of(net, 'fc6').blobs[0].shape.dim.extend([2**62] * 9), 'fc6 has an array'),
    'groups': (lambda net: setattr(layer_of(net, 'conv2').convolution, 'group', 3), 'conv2 has 3 groups'),
    'no weights': (lambda net: layer_of(net, 'conv2').ClearField('blobs'), 'conv2 has 0 arrays'),
    'twice': (double_layer, 'fc8'),
    'dilated': (lambda net: layer_of(net, 'conv2').convolution.dilation.append(2), 'is dilated'),
    'window': (lambda net: setattr(layer_of(net, 'pool1').pooling, 'kernel_size', 10**6), 'pool1'),
    'pad': (lambda net: setattr(layer_of(net, 'pool1').pooling, 'pad', 2**31), 'pool1'),
    'input': (lambda net: setattr(layer_of(net, 'data').transform, 'crop_size', 2**31), 'its input'),
    'leaky': (lambda net: setattr(layer_of(net, 'relu3').relu, 'negative_slope', 0.1), 'relu3 is a leaky ReLU'),
    'branch': (lambda net: layer_of(net, 'conv4').bottom.__setitem__(0, 'pool1'), "conv4 reads 'pool1'"),
    'empty': (lambda net: net.ClearField('layer'), 'has no layers of Caffe'),
    'V0': (
        lambda net: (net.ClearField('layer'), setattr(net.layers.add().layer, 'name', 'conv1')),
        'upgrade_net_proto_binary',
    ),
}


@pytest.mark.parametrize('kind', CAFFE_CHANGES)
def test_caffemodels_that_are_no_network_of_this_family_are_refused(kind, tmp_path):
    change, *words = CAFFE_CHANGES[kind]
    refused(write_bytes(tmp_path / 'a.caffemodel', change_caffe(change)), *words)


# ONNX.


def change_onnx(path, change):
    onnx = pytest.importorskip('onnx', reason='needs requirements-onnx.txt')
    model = onnx.load(own_file(path.parent, '.onnx'))
    change(onnx, model)
    path.write_bytes(model.SerializeToString())
    return path


def node_of(model, name):
    return next(node for node in model.graph.node if node.name == name)


def use_external_data(onnx, model):
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value='/etc/passwd')


def append_constant(onnx, model, side=2**40):
    shape = onnx.numpy_helper.from_array(np.array([side, side], np.int64), 'huge.shape')
    model.graph.initializer.append(shape)
    model.graph.node.append(onnx.helper.make_node('ConstantOfShape', ['huge.shape'], ['huge']))


ONNX_CHANGES = {
    'external data': (use_external_data, 'external data'),
    'operator': (lambda onnx, model: setattr(node_of(model, 'relu3'), 'op_type', 'Loop'), "operator 'Loop'"),
    'domain': (lambda onnx, model: setattr(node_of(model, 'relu3'), 'domain', 'com.evil'), 'operator'),
    'topology': (lambda onnx, model: setattr(node_of(model, 'relu3'), 'op_type', 'Identity'), 'It differs from'),
    'branch': (lambda onnx, model: node_of(model, 'relu3').input.__setitem__(0, 'conv1'), 'is no chain of layers'),
    'name collision': (
        lambda onnx, model: setattr(model.graph.initializer[2], 'name', model.graph.initializer[0].name),
        'two tensors named',
    ),
    'value collision': (
        lambda onnx, model: node_of(model, 'relu3').output.__setitem__(0, 'conv3.weight'),
        'two values named',
    ),
    'shape': (lambda onnx, model: model.graph.initializer[0].dims.__setitem__(0, 3), 'is damaged'),
    'negative': (lambda onnx, model: model.graph.initializer[0].dims.__setitem__(0, -3), 'which is not read'),
    'strings': (lambda onnx, model: setattr(model.graph.initializer[0], 'data_type', 8), 'which is not read'),
    'huge constant': (append_constant, 'cannot be computed'),
    'two inputs': (
        lambda onnx, model: model.graph.input.append(onnx.helper.make_tensor_value_info('more', 1, [1])),
        'has 2 inputs',
    ),
    'other input': (
        lambda onnx, model: setattr(model.graph.input[0].type.tensor_type.shape.dim[3], 'dim_value', 57),
        'not (batch, 3, size, size)',
    ),
    'weights changed': (
        lambda onnx, model: setattr(
            model.graph.initializer[0], 'raw_data', b'\0' * len(model.graph.initializer[0].raw_data)
        ),
        'sha256',
    ),
    'mean changed': (
        lambda onnx, model: [
            each.CopyFrom(onnx.numpy_helper.from_array(np.array([0, 0], np.int64), each.name))
            for each in model.graph.initializer
            if each.name == 'input.starts'
        ],
        'prepares its input in another way',
    ),
    'dilated': (
        lambda onnx, model: node_of(model, 'conv2').attribute.append(onnx.helper.make_attribute('dilations', [2, 2])),
        'dilations',
    ),
    'same padding': (
        lambda onnx, model: node_of(model, 'conv2').attribute.append(
            onnx.helper.make_attribute('auto_pad', 'SAME_UPPER')
        ),
        'SAME_UPPER',
    ),
    'classes': (
        lambda onnx, model: [
            setattr(each, 'value', '["one"]') for each in model.metadata_props if each.key == 'class_names'
        ],
        'metadata_sha256',
    ),
}


@pytest.mark.parametrize('kind', ONNX_CHANGES)
def test_onnx_files_that_are_no_network_of_this_family_are_refused(kind, tmp_path):
    change, *words = ONNX_CHANGES[kind]
    refused(change_onnx(tmp_path / 'b.onnx', change), *words)


# .mat.


def mat_element(kind, data):
    return struct.pack('<II', kind, len(data)) + data + b'\0' * (-len(data) % 8)


def mat_matrix(array_class, dims, content, name=b'layers'):
    flags = mat_element(6, struct.pack('<II', array_class, 0))
    return mat_element(
        14, flags + mat_element(5, struct.pack(f'<{len(dims)}i', *dims)) + mat_element(1, name) + content
    )


MAT_HEAD = b'MATLAB 5.0 MAT-file'.ljust(124) + b'\x00\x01IM'
NESTED = mat_matrix(6, [1, 1], mat_element(9, struct.pack('<d', 1.0)))
for _ in range(40):
    NESTED = mat_matrix(1, [1, 1], NESTED)


@pytest.mark.parametrize(
    'content, word',
    [
        (mat_matrix(1, [2**31 - 1, 1], b''), 'of 2,147,483,647 elements'),
        (mat_matrix(1, [-1, -1], b''), 'dimensions'),
        (mat_matrix(6, [2**31 - 1, 2**31 - 1], mat_element(9, b'\0' * 8)), 'has 1 numbers'),
        (mat_matrix(2, [1, 1], mat_element(5, struct.pack('<i', 0)) + mat_element(1, b'a')), 'field names'),
        (mat_matrix(2, [1, 1], mat_element(5, struct.pack('<i', 1)) + mat_element(1, b'aa')), 'two fields'),
        (NESTED, 'nested'),
        (mat_element(14, b'\0' * 8) * 60_000, 'is damaged'),
        (mat_element(99, b'1234'), 'of the type 99'),
        (struct.pack('<II', 14, 2**32 - 1), 'is cut off'),
        (struct.pack('<II', 15, 4) + b'1234', 'cannot be unpacked'),
        (NESTED[:0] + mat_matrix(6, [1, 1], mat_element(9, struct.pack('<d', 1.0))) * 2, 'occurs twice'),
        (mat_matrix(6, [1, 1], mat_element(9, struct.pack('<d', 1.0)), b'x'), 'has no cells "layers"'),
    ],
    ids='cells negative numbers width fields nested many type size zlib twice none'.split(),
)
def test_mat_files_that_do_not_add_up_are_refused(content, word, tmp_path):
    refused(write_bytes(tmp_path / 'a.mat', MAT_HEAD + content), word)


def test_a_bomb_in_a_mat_file_is_refused_before_it_is_unpacked(tmp_path):
    packed = zlib.compress(b'\0' * 2**27, 9)
    content = struct.pack('<II', 15, len(packed)) + packed
    assert 'would become' in refused(write_bytes(tmp_path / 'a.mat', MAT_HEAD + content), 'is packed')


def test_other_versions_of_mat_files_are_named(tmp_path):
    refused(write_bytes(tmp_path / 'a.mat', b'\x89HDF\r\n\x1a\n' + b'\0' * 200), 'version 7.3')
    refused(write_bytes(tmp_path / 'b.mat', b'MATLAB 7.3 MAT-file'.ljust(200)), 'version 7.3')
    scipy.io.savemat(tmp_path / 'c.mat', {'layers': np.zeros(3)}, format='4')
    refused(tmp_path / 'c.mat', 'is no .mat file of version 5 to 7')


MAT_LAYERS = {
    'unknown': ({'type': 'bnorm'}, "of the type 'bnorm'"),
    'pooling': ({'type': 'pool', 'method': 'sum', 'pool': np.ones((1, 2))}, "pools by 'sum'"),
    'weights': ({'type': 'conv', 'weights': 'none'}, 'has no weights and biases'),
    'fraction': ({'type': 'pool', 'pool': np.array([[2.5, 2.5]])}, '2.5 where a whole number is needed'),
    'nan': ({'type': 'pool', 'pool': np.array([[np.nan, 3]])}, 'nan where a whole number is needed'),
    'pad': ({'type': 'pool', 'pool': np.array([[3.0, 3]]), 'pad': np.array([[1.0, 1, 1]])}, '3 paddings'),
    'normalization': ({'type': 'lrn', 'param': np.ones((1, 3))}, 'four parameters'),
    'no type': ({'name': 'conv1'}, 'has no cells "layers"'),
}


@pytest.mark.parametrize('kind', MAT_LAYERS)
def test_layers_of_matconvnet_that_are_unknown_are_refused(kind, tmp_path):
    layer, word = MAT_LAYERS[kind]
    cells = np.empty((1, 1), object)
    cells[0, 0] = layer
    scipy.io.savemat(tmp_path / 'a.mat', {'layers': cells})
    refused(tmp_path / 'a.mat', word)
