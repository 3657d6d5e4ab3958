"""Files of weights as other programs write them, from chains of words (executor.py) and tensors in PyTorch's layout.

Caffe's by protobuf's own library from the fields of caffe.proto, MatConvNet's by scipy; nothing of the package's own.
"""

import executor
import numpy as np
import scipy.io
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_SCHEMA = {
    'BlobShape': {'dim': (1, 'packed int64')},
    'BlobProto': {
        'shape': (7, 'BlobShape'), 'data': (5, 'packed float'), 'diff': (6, 'packed float'),
        'double_data': (8, 'packed double'), 'num': (1, 'int32'), 'channels': (2, 'int32'), 'height': (3, 'int32'),
        'width': (4, 'int32'),
    },
    'Transformation': {'crop_size': (3, 'uint32'), 'mean_file': (4, 'string')},
    'Convolution': {
        'num_output': (1, 'uint32'), 'bias_term': (2, 'bool'), 'pad': (3, 'repeated uint32'),
        'kernel_size': (4, 'repeated uint32'), 'group': (5, 'uint32'), 'stride': (6, 'repeated uint32'),
        'kernel_h': (11, 'uint32'), 'kernel_w': (12, 'uint32'), 'dilation': (18, 'repeated uint32'),
    },
    'InnerProduct': {'num_output': (1, 'uint32'), 'transpose': (6, 'bool')},
    'LRN': {'local_size': (1, 'uint32'), 'alpha': (2, 'float'), 'beta': (3, 'float'), 'norm_region': (4, 'int32'),
            'k': (5, 'float')},
    'Pooling': {'pool': (1, 'int32'), 'kernel_size': (2, 'uint32'), 'stride': (3, 'uint32'), 'pad': (4, 'uint32')},
    'ReLU': {'negative_slope': (1, 'float')},
    'Dropout': {'dropout_ratio': (1, 'float')},
    'V0Layer': {'name': (1, 'string'), 'type': (2, 'string')},
    'V1Layer': {
        'layer': (1, 'V0Layer'), 'bottom': (2, 'repeated string'), 'top': (3, 'repeated string'), 'name': (4, 'string'),
        'type': (5, 'int32'), 'blobs': (6, 'repeated BlobProto'), 'convolution': (10, 'Convolution'),
        'dropout': (12, 'Dropout'), 'inner_product': (17, 'InnerProduct'), 'lrn': (18, 'LRN'),
        'pooling': (19, 'Pooling'), 'relu': (30, 'ReLU'), 'transform': (36, 'Transformation'),
    },
    'Layer': {
        'name': (1, 'string'), 'type': (2, 'string'), 'bottom': (3, 'repeated string'), 'top': (4, 'repeated string'),
        'blobs': (7, 'repeated BlobProto'), 'transform': (100, 'Transformation'), 'convolution': (106, 'Convolution'),
        'dropout': (108, 'Dropout'), 'inner_product': (117, 'InnerProduct'), 'lrn': (118, 'LRN'),
        'pooling': (121, 'Pooling'), 'relu': (123, 'ReLU'),
    },
    'Net': {
        'name': (1, 'string'), 'layers': (2, 'repeated V1Layer'), 'input': (3, 'repeated string'),
        'input_dim': (4, 'repeated int32'), 'input_shape': (8, 'repeated BlobShape'), 'layer': (100, 'repeated Layer'),
    },
}  # fmt: skip
_V1_NUMBERS = {'Convolution': 4, 'Data': 5, 'Dropout': 6, 'InnerProduct': 14, 'LRN': 15, 'Pooling': 17, 'ReLU': 18,
               'SoftmaxWithLoss': 21, 'Split': 22}  # fmt: skip
CROPS = {'caffe': 227, 'caffenet': 227, 'torchvision': 224}


def _make_messages():
    file = descriptor_pb2.FileDescriptorProto(name='caffe_of_tests.proto', package='caffe_of_tests', syntax='proto2')
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, (number, words) in fields.items():
            *modes, kind = words.split()
            added = message.field.add(name=field, number=number)
            added.label = added.LABEL_REPEATED if modes else added.LABEL_OPTIONAL
            if kind in _SCHEMA:
                added.type, added.type_name = added.TYPE_MESSAGE, f'.caffe_of_tests.{kind}'
            else:
                added.type = getattr(added, f'TYPE_{kind.upper()}')
            added.options.packed = 'packed' in modes
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName('caffe_of_tests.Net'))


Net = _make_messages()


def make_caffe_net(name, tensors, *, old=False):
    """The NetParameter of a training network: data, layers, loss; `old` is V1. Takes blue first, as Caffe does."""
    net = Net(name='AlexNet')
    if name == 'torchvision':
        raise ValueError("Caffe rounds up where torchvision rounds down, so torchvision's network is none of Caffe's")

    def add(layer_name, kind):
        layer = (net.layers if old else net.layer).add(name=layer_name, type=_V1_NUMBERS[kind] if old else kind)
        return layer

    data = add('data', 'Data')
    data.transform.crop_size = CROPS[name]
    data.top.extend(['data', 'label'])
    before = 'data'
    for point, settings in executor.parse_chain(name):
        kind = point.rstrip('0123456789')
        words = {'conv': 'Convolution', 'fc': 'InnerProduct', 'norm': 'LRN', 'pool': 'Pooling', 'drop': 'Dropout'}
        layer = add(point, words.get(kind, 'ReLU'))
        layer.bottom.append(before)
        # ReLU and dropout write where they read.
        before = before if kind in ('relu', 'drop') else point
        layer.top.append(before)
        if kind in ('conv', 'fc'):
            weight, bias = tensors[f'{point}.weight'], tensors[f'{point}.bias']
            _add_blob(layer, weight[:, ::-1] if point == 'conv1' else weight, old)
            _add_blob(layer, bias, old)
        if kind == 'conv':
            layer.convolution.num_output = len(weight)
            layer.convolution.kernel_size.append(weight.shape[2])
            for field in ('pad', 'stride'):
                if field in settings:
                    getattr(layer.convolution, field).append(int(settings[field]))
            if 'groups' in settings:
                layer.convolution.group = int(settings['groups'])
        elif kind == 'fc':
            layer.inner_product.num_output = len(weight)
        elif kind == 'norm':
            # Caffe divides alpha by local_size; beta and k are its defaults.
            layer.lrn.local_size, layer.lrn.alpha = 5, settings['alpha'] * 5
        elif kind == 'pool':
            layer.pooling.kernel_size, layer.pooling.stride = 3, 2
        elif kind == 'drop':
            layer.dropout.dropout_ratio = 0.5
    add('loss', 'SoftmaxWithLoss').bottom.extend([before, 'label'])
    return net


def _add_blob(layer, array, old):
    blob = layer.blobs.add()
    blob.data.extend(np.ascontiguousarray(array).reshape(-1))
    if old:
        blob.num, blob.channels, blob.height, blob.width = (1, 1, 1, 1, *array.shape)[-4:]
    else:
        blob.shape.dim.extend(array.shape)


def write_matconvnet(path, name, tensors, *, average_image=None, classes=(), compress=True, meta=True):
    """A SimpleNN network as MatConvNet's import-caffe.py writes it: RGB, dense layers as convolutions, cells."""
    layers, size = [], {'caffe': 227, 'caffenet': 227, 'torchvision': 224}[name]
    for point, settings in executor.parse_chain(name):
        kind = point.rstrip('0123456789')
        if kind == 'drop':
            continue
        layer = {'name': point}
        if kind in ('conv', 'fc'):
            weight = tensors[f'{point}.weight']
            if kind == 'fc':
                side = 6 if point == 'fc6' else 1
                weight = weight.reshape(len(weight), -1, side, side)
            cells = np.empty((1, 2), object)
            cells[0, 0], cells[0, 1] = weight.transpose(2, 3, 1, 0), tensors[f'{point}.bias'].reshape(1, -1)
            pad = float(settings.get('pad', 0))
            layer |= {'type': 'conv', 'weights': cells, 'stride': np.full((1, 2), settings.get('stride', 1.0))}
            layer['pad'] = np.full((1, 4), pad)
        elif kind == 'relu':
            layer['type'] = 'relu'
        elif kind == 'norm':
            layer |= {'type': 'lrn', 'param': np.array([[5.0, settings['k'], settings['alpha'], 0.75]])}
        else:
            layer |= {'type': 'pool', 'method': 'max', 'pool': np.array([[3.0, 3.0]]), 'stride': np.array([[2.0, 2.0]])}
            layer['pad'] = np.array([[0.0, 1.0, 0.0, 1.0]]) if name != 'torchvision' else np.zeros((1, 4))
        layers.append(layer)
    layers.append({'type': 'softmax', 'name': 'prob'})
    normalization = {'imageSize': np.array([[size, size, 3.0]]), 'border': np.array([[29.0, 29.0]])}
    if average_image is not None:
        normalization['averageImage'] = average_image
    described = {'normalization': normalization}
    if classes:
        described['classes'] = {
            'name': np.array(classes, object).reshape(1, -1),
            'description': np.array([f'{each}, words' for each in classes], object).reshape(1, -1),
        }
    cells = np.empty((1, len(layers)), object)
    cells[0, :] = layers
    variables = {'layers': cells} | ({'meta': described} if meta else described)
    scipy.io.savemat(path, variables, oned_as='row', do_compression=compress)
