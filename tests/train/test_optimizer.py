"""The optimizer is the paper's rule, step by step, with rates that change and layers that are frozen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.train import optimizer

LAYERS = ('conv1', 'fc8')


def random_tree(rng):
    return {
        name: {
            'kernel': rng.normal(size=(2, 3, 4)).astype(np.float32),
            'bias': rng.normal(size=(2, 4)).astype(np.float32),
        }
        for name in LAYERS
    }


@pytest.mark.parametrize('decay_biases', [True, False])
def test_ten_steps_with_changing_rates_equal_the_rule_written_by_hand(decay_biases):
    rng = np.random.default_rng(0)
    momentum, decays = 0.9, {'kernel': 0.0005, 'bias': 0.0005 if decay_biases else 0.0}
    rule = optimizer.paper_sgd(LAYERS, momentum=momentum, weight_decay=0.0005, decay_biases=decay_biases)
    parameters = random_tree(rng)
    state = rule.init(jax.tree.map(jnp.asarray, parameters))
    w = {(layer, part): np.float64(parameters[layer][part]) for layer in LAYERS for part in ('kernel', 'bias')}
    v = {name: np.zeros_like(each) for name, each in w.items()}
    held = jax.tree.map(jnp.asarray, parameters)
    for number in range(10):
        rate = 0.1 if number < 4 else 0.01  # a drop: the velocity keeps what the old rate put in
        rates = np.array([[rate, 2 * rate], [0.0 if number > 6 else rate, rate]], np.float32)
        gradients = random_tree(rng)
        held, state = rule.update(jax.tree.map(jnp.asarray, gradients), state, held, rates)
        for row, layer in enumerate(LAYERS):
            for column, part in enumerate(('kernel', 'bias')):
                epsilon, name = float(rates[row, column]), (layer, part)
                pull = decays[part] * w[name] + gradients[layer][part]
                v[name] = momentum * v[name] - epsilon * pull
                w[name] = w[name] + v[name]
    velocity = state['velocity']
    for layer, part in w:
        np.testing.assert_allclose(held[layer][part], w[layer, part], rtol=2e-6, atol=1e-6)
        np.testing.assert_allclose(velocity[layer][part], v[layer, part], rtol=2e-5, atol=1e-6)


def test_lars_scales_each_kernel_to_a_fraction_of_its_norm_and_leaves_biases():
    """Two steps by hand, in float64; both columns of a kernel have one norm together, and a frozen layer stays."""
    rng = np.random.default_rng(1)
    rule = optimizer.layerwise_adaptive_sgd(
        LAYERS, momentum=0.9, weight_decay=0.01, trust_coefficient=0.001, decay_biases=False
    )
    parameters = random_tree(rng)
    held = jax.tree.map(jnp.asarray, parameters)
    state = rule.init(held)
    w = {(layer, part): np.float64(parameters[layer][part]) for layer in LAYERS for part in ('kernel', 'bias')}
    v = {name: np.zeros_like(each) for name, each in w.items()}
    rates = np.array([[5.0, 0.1], [0.0, 0.2]], np.float32)
    for _ in range(2):
        gradients = random_tree(rng)
        held, state = rule.update(jax.tree.map(jnp.asarray, gradients), state, held, rates)
        for row, layer in enumerate(LAYERS):
            pull = gradients[layer]['kernel'] + 0.01 * w[layer, 'kernel']
            pull = pull * 0.001 * np.linalg.norm(w[layer, 'kernel']) / np.linalg.norm(pull)
            for column, (part, step) in enumerate((('kernel', pull), ('bias', gradients[layer]['bias']))):
                v[layer, part] = 0.9 * v[layer, part] - float(rates[row, column]) * step
                w[layer, part] = w[layer, part] + v[layer, part]
    for layer, part in w:
        np.testing.assert_allclose(held[layer][part], w[layer, part], rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(held['fc8']['kernel'], parameters['fc8']['kernel'])
