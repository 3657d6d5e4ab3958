"""The authors' network for CIFAR-10 against plain NumPy, and against what the files of cuda-convnet say."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import witness
from flax import nnx
from slim_networks import random_weights, slim_architecture

from alexnet_jax.models import overrides, presets
from alexnet_jax.models.alexnet import AlexNet, with_parameters
from alexnet_jax.models.architecture import ResponseNormalization
from alexnet_jax.models.initializers import INITIALIZATIONS


def expected_logits(weights, images, *, normalized, function):
    """layers-conv-local-11pct.cfg with convolutions in place of its local layers; -13pct.cfg if not normalized."""
    x = images
    for number, pad in ((1, 2), (2, 2), (3, 1), (4, 1)):
        x = function(witness.correlate(x, *weights[f'conv{number}'], 1, pad, pad))
        if number < 3:
            x = witness.normalize(x, 1, 5, 0.001 / 5, 0.75) if normalized else x
            x = witness.pool(x, 3, 2, witness.overhang(x.shape[1], 3, 2))
    kernel, bias = weights['fc5']
    return x.reshape(len(x), -1) @ kernel + bias


@pytest.mark.parametrize(('normalized', 'activation'), [(True, 'relu'), (False, 'tanh')])
def test_value_and_slope_are_those_of_plain_numpy(normalized, activation):
    arch = overrides.apply_overrides(
        slim_architecture('four_layers'),
        overrides.ArchitectureOverrides(
            normalization='' if normalized else 'none', activation=activation, crop_size=12
        ),
    )
    chance = np.random.default_rng(0)
    images, labels = 3 * chance.normal(size=(2, 12, 12, 3)), np.array([1, 4])
    parameters = jax.tree.map(np.float64, random_weights(arch).parameters)
    # So large that the normalization counts.
    parameters['conv1']['kernel'] *= 20 if normalized else 1
    model = nnx.eval_shape(lambda: AlexNet(arch, key=jax.random.key(0)))
    function = {'relu': witness.relu, 'tanh': np.tanh}[activation]
    weights = {name: (parts['kernel'][0], parts['bias'][0]) for name, parts in parameters.items()}

    def expected(images):
        return expected_logits(weights, images, normalized=normalized, function=function)

    def loss(images):
        logits = with_parameters(model, parameters)(images)[0]
        return jnp.mean(jax.nn.logsumexp(logits, axis=1) - logits[jnp.arange(2), labels]), logits

    with jax.enable_x64(True):
        slopes, logits = jax.jit(jax.grad(loss, has_aux=True))(jnp.asarray(images))
    np.testing.assert_allclose(logits, expected(images), rtol=0, atol=1e-10 * np.abs(expected(images)).max())
    direction = chance.normal(size=images.shape)
    slope = witness.slope(lambda x: witness.cross_entropy(expected(x), labels), images, direction)
    assert np.sum(np.asarray(slopes) * direction) == pytest.approx(slope, rel=1e-5)


def test_its_sizes_and_constants_are_those_of_the_files():
    arch = presets.get_architecture('four_layers')
    assert [arch.activation_shapes()[name] for name in ('conv1', 'pool1', 'conv2', 'pool2', 'conv4', 'fc5')] == [
        (24, 24, 64),
        (12, 12, 64),
        (12, 12, 64),
        (6, 6, 64),
        (6, 6, 32),
        (10,),
    ]
    norms = [layer for layer in arch.layers if isinstance(layer, ResponseNormalization)]
    assert [(each.k, each.n, each.alpha, each.alpha_over_n, each.beta) for each in norms] == [
        (1, 5, 0.001, True, 0.75)
    ] * 2
    first = {name: INITIALIZATIONS['cuda_convnet'](name, 1)[:2] for name in arch.kernel_shapes()}
    assert first == {'conv1': (1e-4, 0), 'conv2': (0.01, 0), 'conv3': (0.04, 0), 'conv4': (0.04, 0), 'fc5': (0.01, 0)}


def test_it_is_recognized_among_the_presets_with_a_layer_removed():
    """It has no conv5, which other presets may lack too."""
    for change in ({}, {'removed_layers': ('conv4',)}, {'normalization': 'none'}):
        arch = presets.get_architecture('four_layers', overrides=overrides.ArchitectureOverrides(**change))
        name, found = presets.find_preset(dataclasses.replace(arch, name='another'))
        assert name == 'four_layers' and presets.get_architecture(name, overrides=found) == arch
