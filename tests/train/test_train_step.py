"""The training step in parts and in bfloat16: the same numbers in less memory, and how far rounding takes them."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from small_network import EVERY_LAYER, make_mesh

from alexnet_jax.models import custom_vjp
from alexnet_jax.models.alexnet import AlexNet, get_parameters, with_parameters
from alexnet_jax.models.overrides import ArchitectureOverrides, apply_overrides
from alexnet_jax.train import optimizer, train_step

BATCH, CROP = 16, EVERY_LAYER.crop_size
SIDE = CROP + 5


@functools.cache
def network(compute='float32', smooth=False):
    overrides = ArchitectureOverrides(activation='tanh', pooling='average') if smooth else ArchitectureOverrides()
    arch = apply_overrides(EVERY_LAYER, overrides)
    return AlexNet(arch, key=jax.random.key(3), initialization='he', compute_dtype=compute)


def batch(mesh, filling=3):
    """A batch as data.pipeline delivers it, the last images being filling."""
    rng = np.random.default_rng(0)
    arrays = {
        'image': rng.integers(0, 256, (BATCH, CROP, CROP, 3), np.uint8),
        'label': rng.integers(0, 10, BATCH).astype(np.int32),
        'id': np.arange(BATCH, dtype=np.int32),
        'top': rng.integers(0, SIDE - CROP + 1, BATCH).astype(np.int32),
        'left': rng.integers(0, SIDE - CROP + 1, BATCH).astype(np.int32),
        'mirror': rng.integers(0, 2, BATCH).astype(bool),
        'lighting': rng.normal(size=(BATCH, 3)).astype(np.float32),
        'valid': np.arange(BATCH) < BATCH - filling,
    }
    return jax.device_put(arrays, NamedSharding(mesh, PartitionSpec('data')))


def rule(net):
    return optimizer.paper_sgd(tuple(net.arch.parameter_counts()), momentum=0.9, weight_decay=0.0)


def made(mesh, net, grad_accumulation=1, std=(1.0, 1.0, 1.0)):
    mean = np.random.default_rng(1).uniform(90, 140, (SIDE, SIDE, 3)).astype(np.float32)
    options = train_step.StepOptions(grad_accumulation=grad_accumulation, std=std)
    return train_step.make_train_step(net, rule(net), mesh, mean=mean, key=jax.random.key(5), options=options)


def gradients_and_sums(mesh, net, dtype=np.float32, **settings):
    """At a rate of one and without decay the first velocity is minus the gradient."""
    rates = np.ones((len(net.arch.parameter_counts()), 2), dtype)
    state = jax.tree.map(lambda each: each.astype(dtype), train_step.init_train_state(net, rule(net), mesh))
    state, sums = made(mesh, net, **settings)(state, batch(mesh), rates, np.uint32(7))
    return jax.device_get((state.opt_state['velocity'], sums, state.params))


def furthest(found, expected):
    """Largest difference over the largest absolute entry of each array, and the worst array of all."""
    worst = jax.tree.map(lambda a, b: np.abs(a - b).max() / np.abs(b).max(), found, expected)
    return max(jax.tree.leaves(worst))


def assert_sums_agree(found, expected, *, relative):
    assert abs(found['loss'] - expected['loss']) / expected['loss'] < relative
    assert found['gradient_norm'] == pytest.approx(expected['gradient_norm'], rel=relative)
    for count in ('top1', 'top5', 'images'):
        assert found[count] == expected[count]
    assert expected['images'] == BATCH - 3


@pytest.mark.parametrize(('shape', 'parts'), [((2, 2), 8), ((8, 1), 2)])
def test_a_batch_in_parts_gives_the_loss_gradients_and_masks_of_the_whole_one(shape, parts):
    """To float32's rounding of sums in another order; masks of other images or another divisor would be far beyond."""
    mesh = make_mesh(*shape)
    whole, sums, _ = gradients_and_sums(mesh, network())
    found, found_sums, _ = gradients_and_sums(mesh, network(), grad_accumulation=parts)
    assert furthest(found, whole) < 5e-6
    assert_sums_agree(found_sums, sums, relative=1e-6)


def test_a_batch_in_parts_is_the_whole_one_but_for_rounding():
    with jax.enable_x64(True):
        mesh, net = make_mesh(1, 1), network('float64')
        whole, sums, _ = gradients_and_sums(mesh, net, np.float64)
        found, found_sums, _ = gradients_and_sums(mesh, net, np.float64, grad_accumulation=4)
    assert furthest(found, whole) < 1e-12
    assert_sums_agree(found_sums, sums, relative=1e-12)


def test_a_batch_in_parts_needs_less_memory_and_moves_no_images():
    mesh, net = make_mesh(2, 2), network()
    rates = np.ones((len(net.arch.parameter_counts()), 2), np.float32)
    arguments = (train_step.init_train_state(net, rule(net), mesh), batch(mesh), rates, np.uint32(0))
    whole, parts = (made(mesh, net, grad_accumulation=n).lower(*arguments).compile() for n in (1, 4))
    assert parts.memory_analysis().temp_size_in_bytes < 0.75 * whole.memory_analysis().temp_size_in_bytes
    kinds = r'(all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\('
    assert set(re.findall(kinds, parts.as_text())) == set(re.findall(kinds, whole.as_text()))
    assert 'all-to-all' not in parts.as_text() and 'collective-permute' not in parts.as_text()


# bfloat16.


@pytest.mark.parametrize('platform', ['plain', *custom_vjp.FAST_OPS])
def test_normalization_in_bfloat16_is_the_float32_one_rounded(platform):
    """Within half a unit in the last place, 2^-9 relative: nothing but the last rounding is lost.

    On GPUs and TPUs the summands of the gradient's window are kept in bfloat16 too, for fewer bytes: 2^-7 of the
    largest.
    """
    table = custom_vjp.REFERENCE_OPS if platform == 'plain' else custom_vjp.select_ops(platform)
    settings = {'k': 2.0, 'n': 5, 'alpha': 1e-4, 'beta': 0.75}
    # As large as relu1 becomes: there the sum of squares is far above k, and 8 bits of it would not do.
    x = jax.random.normal(jax.random.key(0), (4, 5, 5, 32), jnp.bfloat16) * 200
    g = jax.random.normal(jax.random.key(1), x.shape, jnp.bfloat16)

    def value_and_gradient(dtype):
        normalize = functools.partial(table['response_normalization'], **settings)
        value, transpose = jax.vjp(normalize, x.astype(dtype))
        assert value.dtype == dtype
        return value.astype(jnp.float32), transpose(g.astype(dtype))[0].astype(jnp.float32)

    value, gradient = value_and_gradient(jnp.float32)
    for found, expected in zip(value_and_gradient(jnp.bfloat16), (value, gradient), strict=True):
        coarse = platform in ('gpu', 'tpu') and expected is not value
        atol = 2.0**-7 * np.abs(expected).max() if coarse else 1e-6
        np.testing.assert_allclose(found, expected, rtol=2.0**-8, atol=atol)


def test_bfloat16_computes_in_bfloat16_and_leaves_logits_and_parameters_float32():
    net = network('bfloat16')
    logits, activations = jax.eval_shape(lambda x: net(x), jax.ShapeDtypeStruct((2, CROP, CROP, 3), jnp.float32))
    assert logits.dtype == activations['prob'].dtype == activations['fc8'].dtype == jnp.float32
    assert {array.dtype for name, array in activations.items() if name not in ('fc8', 'prob')} == {
        jnp.dtype('bfloat16')
    }
    velocity, sums, parameters = gradients_and_sums(make_mesh(2, 2), net)
    assert {each.dtype for each in jax.tree.leaves((velocity, parameters, sums['loss']))} == {np.dtype('float32')}


def test_bfloat16_gradients_are_those_of_float32_to_its_eight_bits():
    """Within 2 % of each array's largest entry (measured 1 %), where no ReLU and no maximum changes its mind."""
    expected, sums, _ = gradients_and_sums(make_mesh(1, 1), network(smooth=True))
    found, found_sums, _ = gradients_and_sums(make_mesh(1, 1), network('bfloat16', smooth=True))
    assert 0 < abs(found_sums['loss'] / sums['loss'] - 1) < 0.001
    assert 0 < furthest(found, expected) < 0.02


def test_bfloat16_gradients_of_relus_and_maxima_point_the_same_way():
    """Loss within 1 % (measured 0.1 %); some ReLUs turn, so gradients have a cosine above 0.99 (0.998)."""
    expected, sums, _ = gradients_and_sums(make_mesh(1, 1), network())
    found, found_sums, _ = gradients_and_sums(make_mesh(1, 1), network('bfloat16'))
    assert 0 < abs(found_sums['loss'] / sums['loss'] - 1) < 0.01
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b)) > 0.99


def test_bfloat16_gradients_are_reduced_over_data_in_float32():
    net, mesh = network('bfloat16'), make_mesh(4, 1)

    def loss(parameters, images):
        return jnp.sum(with_parameters(net, parameters)(images, mesh=mesh)[0])

    text = jax.jit(jax.grad(loss)).lower(get_parameters(net), jnp.zeros((4, CROP, CROP, 3))).as_text()
    reduced = re.findall(r'stablehlo.all_reduce.*?\) : \(tensor<(.*?)>\)', text, re.DOTALL)
    assert len(reduced) == 2 * len(net.arch.parameter_counts()) and all(each.endswith('xf32') for each in reduced)


def test_a_deviation_divides_what_larger_weights_multiply():
    """conv1's weights times the deviation of their color: the same loss, and gradients divided by it."""
    mesh, net, std = make_mesh(1, 1), network(), (58.0, 57.0, 40.0)
    rates = np.ones((len(net.arch.parameter_counts()), 2), np.float32)

    def step(scale, std):
        state = train_step.init_train_state(net, rule(net), mesh)
        state.params['conv1']['kernel'] = state.params['conv1']['kernel'] * scale
        after, sums = made(mesh, net, std=std)(state, batch(mesh), rates, 0)
        return sums['loss'], after.opt_state['velocity']

    scale = np.array(std, np.float32).reshape(1, 1, 1, 3, 1)
    (loss, velocity), (expected_loss, expected) = step(scale, std), step(np.ones_like(scale), (1.0, 1.0, 1.0))
    assert abs(loss - expected_loss) / abs(expected_loss) < 1e-5
    expected['conv1']['kernel'] = expected['conv1']['kernel'] / scale
    for name, parts in velocity.items():
        for part, array in parts.items():
            assert np.abs(array - expected[name][part]).max() / np.abs(expected[name][part]).max() < 1e-4
