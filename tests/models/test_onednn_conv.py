"""oneDNN's convolution equals XLA's in value and gradients, alone and in two columns on a mesh."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.distributed.mesh import make_mesh
from alexnet_jax.models import layers
from alexnet_jax.models.alexnet import AlexNet, get_parameters, with_parameters
from alexnet_jax.models.architecture import Architecture, Convolution, Dense
from alexnet_jax.models.custom_vjp import onednn_conv, select_ops

NETWORK = Architecture(
    'three convolutions',
    columns=2,
    crop_size=12,
    layers=(
        Convolution('conv1', 8, kernel_size=5, stride=2, input_from='image', pad_after=1),
        Convolution('conv2', 8, kernel_size=3, pad=1),
        Convolution('conv3', 8, kernel_size=3, pad=1, input_from='all'),
        Dense('fc', 4),
    ),
)
onednn_only = pytest.mark.skipif(not onednn_conv.is_supported(), reason='not tried with this jaxlib or processor')


@pytest.fixture(autouse=True)
def cache_as_before():
    seconds = jax.config.jax_persistent_cache_min_compile_time_secs
    yield
    jax.config.update('jax_persistent_cache_min_compile_time_secs', seconds)


def assert_near(found, expected, tolerance=3e-6):
    for mine, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=tolerance * np.abs(other).max())


@onednn_only
@pytest.mark.parametrize(
    'size, kernel, stride, padding',
    [
        (13, 3, 1, ((1, 1), (1, 1))),
        (14, 5, 1, ((2, 2), (2, 2))),
        (16, 7, 2, ((0, 1), (0, 1))),
        (9, 1, 1, ((0, 0),) * 2),
    ],
)
def test_value_and_gradients(size, kernel, stride, padding):
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = (2, size, size, 6), (kernel, kernel, 6, 10), (10,)
    arrays = [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]

    @functools.partial(jax.jit, static_argnums=0)
    def gradients(conv, *arrays):
        value, transpose = jax.vjp(functools.partial(conv, stride=stride, padding=padding), *arrays)
        return value, transpose(jax.random.normal(jax.random.key(1), value.shape))

    assert 'onednn' in gradients.lower(onednn_conv.conv, *arrays).as_text()
    assert_near(gradients(onednn_conv.conv, *arrays), gradients(layers.conv, *arrays))


@onednn_only
@pytest.mark.parametrize('shape', [(1, 1), (2, 2)])
def test_two_columns_on_a_mesh(shape):
    model = AlexNet(NETWORK, key=jax.random.key(0), initialization='he')
    images, mesh = jax.random.normal(jax.random.key(1), (4, 12, 12, 3)), make_mesh(shape, columns=2, batch_size=4)

    def loss(parameters, mesh, use_onednn):
        logits, _ = with_parameters(model, parameters)(images, mesh=mesh, use_onednn=use_onednn)
        return jnp.sum(jax.nn.log_softmax(logits)[:, 0])

    gradients = jax.jit(jax.value_and_grad(loss), static_argnums=(1, 2))
    parameters = get_parameters(model)
    assert 'onednn' in gradients.lower(parameters, mesh, True).as_text()
    assert_near(gradients(parameters, mesh, True), gradients(parameters, None, False))


@onednn_only
def test_its_programs_are_never_written_to_the_cache_on_disk():
    arrays = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 2)), jnp.ones(2)
    jax.jit(functools.partial(onednn_conv.conv, stride=1, padding=((0, 0), (0, 0)))).lower(*arrays)
    assert jax.config.jax_persistent_cache_min_compile_time_secs == math.inf


def test_other_types_and_jaxlibs_take_xlas(monkeypatch):
    arrays = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 2)), jnp.ones(2)
    conv = functools.partial(onednn_conv.conv, stride=1, padding=((0, 0), (0, 0)))
    assert 'onednn' not in jax.jit(conv).lower(*(array.astype(jnp.bfloat16) for array in arrays)).as_text()
    monkeypatch.setattr(onednn_conv, 'is_supported', lambda: False)
    assert 'onednn' not in jax.jit(conv).lower(*arrays).as_text()
    assert select_ops('gpu', use_onednn=True)['conv'] is layers.conv
