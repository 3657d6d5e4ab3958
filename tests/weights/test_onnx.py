"""ONNX: what is written is what onnxruntime runs, at every point; what is read is known by its graph. An extra."""

import dataclasses
import functools

import executor
import numpy as np
import pytest
from slim_networks import NAMES, assert_same_activations, assert_same_bits, network_inputs, run_package, slim_weights

from alexnet_jax.errors import UserError
from alexnet_jax.models import overrides, presets
from alexnet_jax.weights import read_weights, write_weights
from alexnet_jax.weights.layout import to_torch_layout
from alexnet_jax.weights.model_weights import ModelWeights

onnx = pytest.importorskip('onnx', reason='needs requirements-onnx.txt')
pytest.importorskip('onnxruntime', reason='needs requirements-onnx.txt')

from onnx_runner import center_crops, run_onnx  # noqa: E402

ZOO_FILE = 'backend/test/data/light/light_bvlc_alexnet'


@pytest.mark.parametrize(
    'name, mean_kind', [*((name, 'image') for name in NAMES), ('miniature', 'center'), ('miniature', 'channel')]
)
def test_onnxruntime_gives_the_same_at_every_point_and_the_same_bits_come_back(name, mean_kind, tmp_path):
    weights = slim_weights(name, mean_kind)
    write_weights(tmp_path / 'a.onnx', weights)
    model = onnx.load(tmp_path / 'a.onnx')
    found = run_onnx(model, center_crops(weights), weights.arch.activation_shapes())
    inputs = network_inputs(weights)
    assert_same_activations(found, run_package(weights, inputs))
    assert_same_activations(found, executor.run_chain(name, to_torch_layout(weights.arch, weights.parameters), inputs))
    assert_same_bits(read_weights(tmp_path / 'a.onnx'), weights)


def test_three_colors_alone_are_kept_of_a_mean_image_of_which_nothing_else_is_subtracted(tmp_path):
    weights = slim_weights('miniature')
    prepared = dataclasses.replace(weights.preprocessing, mean_kind='channel')
    weights = dataclasses.replace(weights, preprocessing=prepared)
    write_weights(tmp_path / 'a.onnx', weights)
    again = read_weights(tmp_path / 'a.onnx')
    np.testing.assert_allclose(again.preprocessing.mean, prepared.mean.mean((0, 1)), rtol=1e-6)
    assert again.preprocessing.mean.shape == (3,)


@pytest.mark.parametrize(
    'changes',
    [
        {'activation': 'tanh', 'pooling': 'average'},
        {'activation': 'abs_tanh', 'dropout': 'inverted', 'dropout_position': 'before'},
        {'activation': 'sigmoid', 'alpha_over_n': 'true', 'exchange_layers': ('conv3', 'fc8')},
    ],
    ids=lambda changes: ' '.join(changes),
)
def test_overrides_run_in_onnxruntime_and_come_back(changes, tmp_path):
    plain = slim_weights('miniature')
    arch = overrides.apply_overrides(plain.arch, overrides.ArchitectureOverrides(**changes))
    chance = np.random.default_rng(0)
    parameters = {
        name: {
            'kernel': np.float32(chance.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, (arch.columns, *shape))),
            'bias': np.float32(chance.normal(0, 0.1, (arch.columns, shape[-1]))),
        }
        for name, shape in arch.kernel_shapes().items()
    }
    parameters['fc8'] = {part: array.copy() for part, array in parameters['fc8'].items()}
    parameters['fc8']['kernel'][-1, :, -1] = parameters['fc8']['bias'][-1, -1] = 0
    weights = dataclasses.replace(plain, arch=arch, parameters=parameters)
    write_weights(tmp_path / 'a.onnx', weights)
    model = onnx.load(tmp_path / 'a.onnx')
    found = run_onnx(model, center_crops(weights), arch.activation_shapes())
    assert_same_activations(found, run_package(weights, network_inputs(weights)))
    assert_same_bits(read_weights(tmp_path / 'a.onnx'), weights)


def test_outputs_that_the_columns_do_not_share_evenly_and_windows_of_even_sizes_are_refused(tmp_path):
    plain = slim_weights('miniature')
    apart = dataclasses.replace(plain.arch.layers[-1], input_from='own')
    norm = plain.arch.layers[2]
    even = tuple(dataclasses.replace(each, n=4) if each is norm else each for each in plain.arch.layers)
    for layers, message in (
        ((*plain.arch.layers[:-1], apart), 'fc8 has 7 features'),
        (even, 'norm1 normalizes over 4 maps'),
    ):
        arch = dataclasses.replace(plain.arch, layers=layers)
        parameters = {
            name: {'kernel': np.zeros((2, *shape), np.float32), 'bias': np.zeros((2, shape[-1]), np.float32)}
            for name, shape in arch.kernel_shapes().items()
        }
        with pytest.raises(UserError, match=message):
            write_weights(tmp_path / 'a.onnx', dataclasses.replace(plain, arch=arch, parameters=parameters))


@functools.cache
def zoo_model():
    return onnx.load(f'{onnx.__path__[0]}/{ZOO_FILE}.onnx')


def slim_zoo_model(tensors):
    """The zoo's graph, as the package of onnx has it, with these tensors (RGB) as weights that take blue first."""
    model = onnx.ModelProto()
    model.CopyFrom(zoo_model())
    graph = model.graph
    nodes = [node for node in graph.node if node.op_type != 'ConstantOfShape']
    kept = [each for each in graph.initializer if not each.name.endswith('__SHAPE')]
    inputs = [graph.input[0], *(each for each in graph.input if each.name in {tensor.name for tensor in kept})]
    for name, array in tensors.items():
        layer, part = name.split('.')
        array = array[:, ::-1] if name == 'conv1.weight' else array
        kept.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), f'{layer}_{part[0]}_0'))
        inputs.append(onnx.helper.make_tensor_value_info(kept[-1].name, onnx.TensorProto.FLOAT, array.shape))
    shape = next(each for each in kept if each.name == 'OC2_DUMMY_1')
    width = tensors['fc6.weight'].shape[1]
    shape.CopyFrom(onnx.numpy_helper.from_array(np.array([-1, width], np.int64), 'OC2_DUMMY_1'))
    for field, values in (('node', nodes), ('initializer', kept), ('input', inputs)):
        del getattr(graph, field)[:]
        getattr(graph, field).extend(values)
    for value in (graph.input[0], graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = 'batch'
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(tensors['fc8.bias'])
    return model


def test_the_graph_of_the_zoo_imports_as_its_own_preset_and_runs_as_onnxruntime_runs_it(tmp_path, monkeypatch):
    source = slim_weights('onnx_zoo')
    monkeypatch.setitem(presets.PRESETS, 'onnx_zoo', source.arch)
    tensors = to_torch_layout(source.arch, source.parameters)
    model = slim_zoo_model(tensors)
    onnx.save(model, tmp_path / 'zoo.onnx')
    weights = read_weights(tmp_path / 'zoo.onnx')
    assert weights.arch == source.arch
    inputs = network_inputs(source)
    nodes = {node.output[0] for node in model.graph.node} - {'prob_1'}
    theirs = run_onnx(model, inputs[..., ::-1], [*sorted(nodes, key=lambda name: int(name[1:])), 'prob_1'])
    ours = run_package(weights, inputs)
    points = {name: ours[name] for name in weights.arch.activation_shapes() if not name.startswith('drop')}
    # Reshape and dropout repeat the point before them.
    for name in ('r15', 'r18', 'r22'):
        theirs.pop(name)
    assert_same_activations(dict(zip(points, theirs.values(), strict=True)), points)
    assert_same_activations(ours, executor.run_chain('onnx_zoo', tensors, inputs))


@pytest.mark.slow
def test_the_file_of_the_onnx_package_gives_the_output_beside_it():
    """Its weights are 0.02 everywhere, written as ConstantOfShape; the network is whole, 61 million parameters."""
    path = f'{onnx.__path__[0]}/{ZOO_FILE}.onnx'
    weights = read_weights(path)
    assert weights.arch == presets.get_architecture('onnx_zoo')
    assert weights.class_names[0] == 'n01440764' and len(weights.class_names) == 1000
    expected = onnx.TensorProto()
    with open(f'{onnx.__path__[0]}/{ZOO_FILE}_output_0.pb', 'rb') as file:
        expected.ParseFromString(file.read())
    # The test of the onnx package feeds this.
    chance = np.random.RandomState(0).rand(1, 3, 224, 224).astype(np.float32)
    found = run_package(weights, chance.transpose(0, 2, 3, 1)[..., ::-1])
    np.testing.assert_allclose(found['prob'], onnx.numpy_helper.to_array(expected), rtol=1e-5)
    theirs = run_onnx(onnx.load(path), chance.transpose(0, 2, 3, 1), ['r24'])
    # Thousands of equal positive numbers round the same way in every sum; in weights with signs it averages out.
    assert_same_activations({'fc8': found['fc8']}, {'fc8': theirs['r24']}, tolerance=1e-3)


def test_torchvisions_graph_imports_with_its_preprocessing(tmp_path, monkeypatch):
    """As torch.onnx.export writes it: no metadata, RGB, an average pooling of one pixel, names of modules."""
    source = slim_weights('torchvision')
    monkeypatch.setitem(presets.PRESETS, 'torchvision', source.arch)
    write_weights(tmp_path / 'a.onnx', source)
    model = onnx.load(tmp_path / 'a.onnx')
    del model.metadata_props[:]
    graph = model.graph
    nodes = [node for node in graph.node if not node.name.startswith('input.')]
    for node in nodes:
        for index, name in enumerate(node.input):
            if name.startswith('input.'):
                node.input[index] = 'pixels'
    place = next(index for index, node in enumerate(nodes) if node.name == 'pool5') + 1
    nodes[place].input[0] = 'avgpool'
    window = {'kernel_shape': [1, 1], 'strides': [1, 1]}
    nodes.insert(place, onnx.helper.make_node('AveragePool', ['pool5'], ['avgpool'], **window))
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, tmp_path / 'b.onnx')
    weights = read_weights(tmp_path / 'b.onnx')
    assert weights.arch == source.arch
    np.testing.assert_allclose(weights.preprocessing.std, [58.395, 57.12, 57.375], rtol=1e-6)
    for layer, parts in source.parameters.items():
        for part, array in parts.items():
            np.testing.assert_array_equal(weights.parameters[layer][part], array)


def test_the_network_is_a_model_weights_with_its_classes(tmp_path):
    weights = slim_weights('caffe')
    write_weights(tmp_path / 'a.onnx', weights)
    again = read_weights(tmp_path / 'a.onnx')
    assert isinstance(again, ModelWeights) and again.class_names == weights.class_names
