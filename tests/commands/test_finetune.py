"""A run that begins with the layers of a trained network: which are copied, drawn, frozen, and what does not fit."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
from slim_networks import random_weights, slim_architecture, slim_weights
from tiny_run import tiny_config

import alexnet_jax
from alexnet_jax import commands
from alexnet_jax import weights as weight_files
from alexnet_jax.commands import finetune
from alexnet_jax.config import validate
from alexnet_jax.errors import UserError
from alexnet_jax.models.architecture import ResponseNormalization

CONVOLUTIONS = ('conv1', 'conv2', 'conv3', 'conv4', 'conv5')


def other_classes(arch, classes=4):
    last = dataclasses.replace(arch.layers[-1], features=classes)
    return dataclasses.replace(arch, layers=(*arch.layers[:-1], last))


def drawn(arch):
    return random_weights(arch, seed=99).parameters


def match(arch, weights, chosen):
    return finetune.match_layers(arch, drawn(arch), weights, chosen, 'a.npz')


def test_all_layers_of_the_same_network_are_copied():
    weights = slim_weights('miniature')
    copied = match(weights.arch, weights, None)
    assert copied == (tuple(weights.parameters), (), ())


def test_chosen_layers_are_copied_and_the_others_listed():
    weights = slim_weights('miniature')
    copied = match(other_classes(weights.arch), weights, CONVOLUTIONS)
    assert copied == (CONVOLUTIONS, ('fc6', 'fc7', 'fc8'), ('fc6', 'fc7', 'fc8'))
    copied = match(other_classes(weights.arch), weights, ())
    assert copied == ((*CONVOLUTIONS, 'fc6', 'fc7'), ('fc8',), ('fc8',))


def test_strictness_names_all_that_does_not_fit_and_the_layers_that_do():
    weights = slim_weights('miniature')
    arch = other_classes(weights.arch)
    sentence = r'a.npz do not fit miniature: fc8 is \(2, 64, 4\) instead of \(2, 64, 2\)\. .*layers=conv1,.*fc6,fc7;'
    with pytest.raises(UserError, match=sentence):
        match(arch, weights, None)
    with pytest.raises(UserError, match='the network has no layer conv6'):
        match(arch, weights, ('conv1', 'conv6'))
    less = dataclasses.replace(arch, layers=tuple(x for x in weights.arch.layers if x.name not in ('fc7', 'relu7')))
    with pytest.raises(UserError, match='fc7 is left over'):
        match(less, weights, None)
    with pytest.raises(UserError, match='No layer .* Choose the same --config.model.preset'):
        match(slim_architecture('torchvision'), slim_weights('miniature'), ())


def test_layers_that_do_something_else_are_named():
    arch = slim_architecture('miniature')
    assert finetune.differing_operations(arch, other_classes(arch)) == []
    other = dataclasses.replace(
        arch,
        layers=tuple(
            dataclasses.replace(layer, k=1.0) if isinstance(layer, ResponseNormalization) else layer
            for layer in arch.layers
        ),
    )
    assert finetune.differing_operations(arch, other) == ['norm1', 'norm2']
    swapped = dataclasses.replace(arch, layers=(*arch.layers[:2], arch.layers[3], arch.layers[2], *arch.layers[4:]))
    assert finetune.differing_operations(arch, swapped) == ['the order of its layers']


def test_the_parameters_are_those_of_the_file_and_of_the_draw(tmp_path, caplog):
    weights = slim_weights('miniature')
    weight_files.write_weights(tmp_path / 'a.npz', weights)
    config = tiny_config()
    config.finetune.update({'path': str(tmp_path / 'a.npz'), 'layers': 'fitting'})
    arch = other_classes(weights.arch)
    first = drawn(arch)
    with caplog.at_level(logging.INFO):
        start = finetune.load_start_weights(config, arch, first)
    assert list(start) == list(first)
    for name in start:
        expected = first if name == 'fc8' else weights.parameters
        np.testing.assert_array_equal(start[name]['kernel'], expected[name]['kernel'])
        np.testing.assert_array_equal(start[name]['bias'], expected[name]['bias'])
    assert 'loaded: conv1, conv2, conv3, conv4, conv5, fc6, fc7.' in caplog.text
    assert 'fresh: fc8.' in caplog.text and 'left over: fc8.' in caplog.text


@dataclasses.dataclass(frozen=True)
class Images:
    """What the preprocessing needs to know of a dataset."""

    image_size: int
    mean: np.ndarray
    std: np.ndarray
    directory: str = 'photographs'


def test_a_copied_first_layer_sees_its_images_as_before(tmp_path):
    weights = slim_weights('miniature')
    weight_files.write_weights(tmp_path / 'a.npz', weights)
    config, side = tiny_config(), weights.preprocessing.image_size
    config.finetune.path = str(tmp_path / 'a.npz')
    own = Images(side, np.zeros((side, side, 3), np.float32), np.ones(3, np.float32))
    found = finetune.adopt_preprocessing(config, own, str(tmp_path / 'run'))
    np.testing.assert_array_equal(found.mean, weights.preprocessing.mean)
    np.testing.assert_array_equal(found.std, weights.preprocessing.std)
    config.finetune.layers = 'fc6,fc7'
    assert finetune.adopt_preprocessing(config, own, str(tmp_path / 'run')) is own
    config.finetune.layers = ''
    with pytest.raises(UserError, match=f'saw images of {side} pixels.* Prepare them again with .*image_size={side}'):
        finetune.adopt_preprocessing(config, dataclasses.replace(own, image_size=20), str(tmp_path / 'run'))


def test_a_source_that_is_none_is_refused_before_any_work(tmp_path):
    config = tiny_config()
    config.finetune.path = str(tmp_path / 'none.npz')
    with pytest.raises(UserError, match=r'none\.npz'):
        commands.run('train', config, str(tmp_path / 'run'))
    config.finetune.path = str(tmp_path)
    with pytest.raises(UserError, match='has no trained run'):
        commands.run('train', config, str(tmp_path / 'run'))
    assert not (tmp_path / 'run').exists()


@pytest.mark.extended
def test_a_run_fine_tunes_another_and_goes_on_without_it(trained, tmp_path, without_plots):
    """From a trained run: conv1 is frozen, fc8 drawn, the rest moves; the source may vanish after the first save."""
    source_config, source = trained
    given, workdir = tmp_path / 'given', str(tmp_path / 'run')
    given.symlink_to(source)
    config = source_config.copy_and_resolve_references()
    config.name, config.model.preset = 'finetune', 'paper'  # the weights say which network it is
    config.seed = 5  # another draw of fc8
    config.finetune.update({'path': str(given), 'adopt': True, 'layers': 'conv1,conv2,conv3,conv4,conv5,fc6,fc7'})
    config.train.layer_lr_multipliers = 'conv1=0,fc8=10'
    validate.validate_config(config)
    commands.run('train', config, workdir)
    before, after = (alexnet_jax.load(each).weights for each in (source, workdir))
    assert after.arch.layers == before.arch.layers
    np.testing.assert_array_equal(after.preprocessing.mean, before.preprocessing.mean)
    np.testing.assert_array_equal(after.parameters['conv1']['kernel'], before.parameters['conv1']['kernel'])
    moved = {
        name: np.abs(after.parameters[name]['kernel'] - each['kernel']).max()
        for name, each in before.parameters.items()
    }
    assert all(0 < moved[name] < 0.05 for name in (*CONVOLUTIONS[1:], 'fc6', 'fc7')) and moved['fc8'] > 0.05, moved
    given.unlink()
    config.train.num_epochs = 2.0
    with pytest.raises(UserError, match='num_epochs was 1.0 and is now 2.0'):
        commands.run('train', config, workdir)
    config.train.num_epochs = 1.0
    commands.run('train', config, workdir)
    assert Path(workdir, 'result.json').exists()
