"""The recipes in docs/recipes satisfy the interfaces of Brain-Score and thingsvision; their packages, where installed.

Without them stand-ins call a model as the packages do (brain-score/vision c642dbe, ViCCo-Group/thingsvision 57e91c9).
"""

import importlib.util
import runpy
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import small_network as small
from PIL import Image

import alexnet_jax
from alexnet_jax.models.presets import PRESETS
from alexnet_jax.weights import write_weights
from alexnet_jax.weights.model_weights import ModelWeights
from alexnet_jax.weights.torch_module import write_torch_module

RECIPES = Path(__file__).resolve().parents[2] / 'docs' / 'recipes'


class ActivationsExtractorHelper:
    """Brain-Score's: pads the last batch by its last path, asks for all layers at once, and cuts the padding."""

    def __init__(self, get_activations, preprocessing, identifier=False, batch_size=64):
        self.get_activations, self.preprocess = get_activations, preprocessing or (lambda x: x)
        self.identifier, self.batch_size = identifier, batch_size

    def __call__(self, paths, layers):
        batches = []
        for start in range(0, len(paths), self.batch_size):
            inputs = np.array(paths[start : start + self.batch_size])
            padding = self.batch_size - len(inputs)
            padded = np.concatenate([inputs, np.repeat(inputs[-1:], padding)])
            activations = self.get_activations(list(self.preprocess(padded)), layers)
            assert isinstance(activations, OrderedDict)
            batches.append({layer: values[: len(inputs)] for layer, values in activations.items()})
        return {layer: np.concatenate([batch[layer] for batch in batches]) for layer in layers}


def get_extractor_from_model(model, device, preprocess=None, backend='pt'):
    """Return thingsvision's: modules by name, each output copied by a hook during a forward pass."""
    assert backend == 'pt'

    def extract_batch(batch, module_names):
        outputs, modules = {}, dict(model.named_modules())
        hooks = [
            modules[name].register_forward_hook(
                lambda _, __, out, name=name: outputs.update({name: out.clone().detach()})
            )
            for name in module_names
        ]
        model.to(device).eval()(batch)
        for hook in hooks:
            hook.remove()
        return {name: out.numpy() for name, out in outputs.items()}

    return types.SimpleNamespace(get_transformations=lambda: preprocess, extract_batch=extract_batch)


@pytest.fixture
def stand_in(monkeypatch):
    """Put modules of these names before the import, if the package is not there."""

    def install(name, **contents):
        if importlib.util.find_spec(name.partition('.')[0]):
            return False
        parts = name.split('.')
        for length in range(1, len(parts) + 1):
            module = types.ModuleType('.'.join(parts[:length]))
            monkeypatch.setitem(sys.modules, module.__name__, module)
        module.__dict__.update(contents)
        return True

    return install


@pytest.fixture
def paths(tmp_path):
    draw = np.random.default_rng(0)
    for number in range(5):
        Image.fromarray(draw.integers(0, 256, (70, 64 + 9 * number, 3), np.uint8)).save(tmp_path / f'{number}.png')
    return [str(tmp_path / f'{number}.png') for number in range(5)]


@pytest.fixture
def weights_file(tmp_path):
    path = tmp_path / 'small.safetensors'
    names = tuple(map(str, range(small.CLASSES)))
    weights = ModelWeights(small.ARCH, small.make_parameters(), small.make_preprocessing(), names, names)
    write_weights(path, weights)
    return path


def test_brain_score_gets_named_activations_of_paths(stand_in, weights_file, paths):
    stand_in('brainscore_vision.model_helpers.activations.core', ActivationsExtractorHelper=ActivationsExtractorHelper)
    recipe = runpy.run_path(str(RECIPES / 'brainscore_model.py'))
    model = recipe['make_activations_model'](weights_file, '', batch_size=2)
    layers = ['pool1', 'fc8']
    assert all(set(recipe['LAYERS']) <= set(PRESETS[name].activation_shapes()) for name in ('paper', 'torchvision'))
    got = model(paths, layers=layers)
    expected = alexnet_jax.load(weights_file).features(paths, layers)
    if isinstance(got, dict):
        assert got['pool1'].shape == (5, 6, 2, 2)
        units = {layer: got[layer].reshape(5, -1) for layer in layers}
    else:
        # Brain-Score's assembly: (presentation, neuroid), with the layer of each neuroid.
        units = {layer: got.values[:, got['layer'].values == layer] for layer in layers}
    for layer in layers:
        flat = np.moveaxis(expected[layer], -1, 1).reshape(5, -1)
        assert np.max(np.abs(units[layer] - flat)) < 1e-5 * np.max(np.abs(flat))


def test_thingsvision_gets_modules_by_name(stand_in, weights_file, paths, tmp_path):
    torch = pytest.importorskip('torch')
    is_stand_in = stand_in('thingsvision', get_extractor_from_model=get_extractor_from_model)
    network = alexnet_jax.load(weights_file)
    write_torch_module(tmp_path / 'small_torch.py', network.weights, weights_file.name)
    recipe = runpy.run_path(str(RECIPES / 'thingsvision_model.py'))
    size = network.preprocessing.image_size
    extractor = recipe['make_extractor'](str(tmp_path / 'small_torch.py'), image_size=size)
    layers = ['conv1', 'pool1', 'conv2', 'fc8']
    prepare = extractor.get_transformations()
    batch = torch.stack([prepare(Image.open(path)) for path in paths])
    if is_stand_in:
        got = extractor.extract_batch(batch, layers)
    else:
        with extractor.batch_extraction(module_names=layers, output_type='ndarray') as extraction:
            got = extraction.extract_batch(batch=batch, flatten_acts=False)
    expected = network.features(paths, layers)
    for layer in layers:
        maps = np.moveaxis(expected[layer], -1, 1)
        assert got[layer].shape == maps.shape
        assert np.max(np.abs(got[layer] - maps)) < 1e-5 * np.max(np.abs(maps)), layer
