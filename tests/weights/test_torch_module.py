"""The PyTorch module beside a file of weights loads it strictly and computes the same; requirements-torch.txt."""

import dataclasses
import importlib.util

import executor
import numpy as np
import pytest
from slim_networks import NAMES, assert_same_activations, network_inputs, photographs, slim_architecture, slim_weights

from alexnet_jax import weights as weight_files
from alexnet_jax.data import image_io
from alexnet_jax.models.alexnet import get_parameters
from alexnet_jax.models.overrides import ArchitectureOverrides
from alexnet_jax.models.presets import get_architecture
from alexnet_jax.network import Network, fresh_weights
from alexnet_jax.weights import layout
from alexnet_jax.weights.torch_module import format_torch_module, write_torch_module

CHANGED = get_architecture(
    'miniature',
    num_classes=7,
    overrides=ArchitectureOverrides(
        activation='abs_tanh', pooling='average', exchange_layers=['conv2'], dropout_position='before'
    ),
)


def import_module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written_network(weights, folder):
    """The network that a process without this package has of an exported folder."""
    pytest.importorskip('torch')
    weight_files.write_weights(folder / 'network.safetensors', weights)
    write_torch_module(folder / 'network_torch.py', weights, 'network.safetensors')
    assert 'import alexnet_jax' not in (folder / 'network_torch.py').read_text()
    return import_module(folder / 'network_torch.py').load_network()


def torch_activations(network, pixels):
    """Activations by name in this package's layout, of uint8 squares (N, side, side, 3)."""
    import torch

    with torch.no_grad():
        outputs = network.activations(network.preprocessing(torch.from_numpy(pixels).permute(0, 3, 1, 2)))
    return {
        name: (output.permute(0, 2, 3, 1) if output.ndim == 4 else output).numpy() for name, output in outputs.items()
    }


@pytest.mark.parametrize('mean_kind', ['image', 'channel'])
@pytest.mark.parametrize('name', NAMES)
def test_the_module_gives_every_activation_of_real_photographs(name, mean_kind, tmp_path):
    weights = slim_weights(name, mean_kind)
    network = written_network(weights, tmp_path)
    side = weights.preprocessing.image_size
    squares = np.stack([image_io.resize_and_crop(photo, side) for photo in photographs()])
    theirs = torch_activations(network, squares)
    assert list(theirs) == [layer.name for layer in weights.arch.layers]
    if mean_kind == 'image':
        ours = Network(weights).features(squares, list(theirs))
    else:
        tensors = layout.to_torch_layout(weights.arch, weights.parameters)
        ours = executor.run_chain(name, tensors, network_inputs(weights))
    assert_same_activations(theirs, {layer: ours[layer] for layer in theirs})


def test_dense_layers_by_column_average_pooling_and_tanh_are_in_it_too(tmp_path):
    fresh = fresh_weights('miniature')
    import jax

    from alexnet_jax.models.alexnet import AlexNet

    parameters = jax.device_get(get_parameters(AlexNet(CHANGED, key=jax.random.key(3), initialization='he')))
    names = tuple('abcdefg')
    weights = dataclasses.replace(
        fresh, arch=CHANGED, parameters=parameters, class_names=names, class_descriptions=names
    )
    network = written_network(weights, tmp_path)
    squares = np.stack([image_io.resize_and_crop(photo, 64) for photo in photographs()])
    theirs = torch_activations(network, squares)
    assert_same_activations(theirs, Network(weights).features(squares, list(theirs)))


@pytest.mark.parametrize('name', NAMES)
def test_weights_of_a_torch_module_come_in(name, tmp_path):
    network = written_network(slim_weights(name), tmp_path)
    import torch

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    arch = slim_architecture(name)
    state = {key: value.numpy() for key, value in network.state_dict().items() if not key.startswith('preprocessing')}
    weights = dataclasses.replace(slim_weights(name), parameters=layout.from_torch_layout(arch, state))
    side = weights.preprocessing.image_size
    squares = np.stack([image_io.resize_and_crop(photo, side) for photo in photographs()])
    theirs = torch_activations(network, squares)
    assert_same_activations(theirs, Network(weights).features(squares, list(theirs)))


def test_the_module_of_a_network_is_text_without_torch():
    text = format_torch_module(slim_weights('paper'), module='network', weights_file='network.safetensors')
    assert 'self.conv2 = nn.Conv2d(6, 16, 5, stride=1, padding=2, groups=2)' in text
    assert 'self.conv1 = PaddedConv2d(3, 6, 11, stride=4, zeros=(0, 3, 0, 3), groups=1)' in text
    assert 'ColumnLinear' not in text
    compile(text, 'network.py', 'exec')


@pytest.mark.slow
def test_torchvision_loads_its_names_strictly_and_answers_the_same(tmp_path):
    """Both ways with the whole network: 61 million weights."""
    torch = pytest.importorskip('torch')
    from safetensors.torch import load_file, save_file
    from weights.test_names import import_torchvision_alexnet

    twin = import_torchvision_alexnet()().eval()
    weights = fresh_weights('torchvision')
    squares = np.stack([image_io.resize_and_crop(photo, 256) for photo in photographs()])
    weight_files.write_weights(tmp_path / 'ours.safetensors', weights, tensor_names='torchvision')

    def compare(network):
        inputs = torch.from_numpy(network_inputs(network.weights).astype(np.float32)).permute(0, 3, 1, 2)
        with torch.no_grad():
            theirs = twin(inputs).numpy()
        ours = network.features(squares, ['classifier.6'])['fc8']
        assert np.abs(ours - theirs).max() / np.abs(theirs).max() < 1e-5

    save_file(twin.state_dict(), tmp_path / 'theirs.safetensors')
    compare(Network(weight_files.read_weights(tmp_path / 'theirs.safetensors')))
    twin.load_state_dict(load_file(tmp_path / 'ours.safetensors'), strict=True)
    compare(Network(weights))
