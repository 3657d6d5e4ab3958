import logging

import jax
import numpy as np
import pytest

from alexnet_jax import devices
from alexnet_jax.mistakes import Mistake


@pytest.mark.parametrize(
    'columns, count, shape', [(2, 8, (4, 2)), (1, 8, (8, 1)), (2, 1, (1, 1)), (2, 3, (3, 1)), (4, 2, (1, 2))]
)
def test_the_automatic_mesh_has_two_along_column_where_columns_and_devices_are_even(
    monkeypatch, columns, count, shape
):
    monkeypatch.setattr(jax, 'device_count', lambda: count)
    mesh = devices.mesh(None, columns=columns)
    assert tuple(mesh.shape.items()) == (('data', shape[0]), ('column', shape[1]))


@pytest.mark.parametrize('shape', [(1, 1), (1, 2), (2, 1), (2, 2), (4, 2), (8, 1)])
def test_a_mesh_has_the_shape_that_was_asked_for_and_its_axes_are_automatic(shape):
    mesh = devices.mesh(shape, columns=2, batch=8)
    assert mesh.devices.shape == shape
    assert set(mesh.axis_types) == {jax.sharding.AxisType.Auto}


@pytest.mark.parametrize(
    'shape, batch, words',
    [
        ((8, 2), None, 'needs 16 devices and there are 8'),
        ((2, 4), None, '2 columns'),
        ((4, 2), 6, 'A batch of 6 images'),
    ],
)
def test_a_mesh_that_cannot_be_is_refused_with_its_numbers(shape, batch, words):
    with pytest.raises(Mistake, match=words):
        devices.mesh(shape, columns=2, batch=batch)


def test_several_processes_refuse_a_mesh_that_leaves_devices_out(monkeypatch):
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    with pytest.raises(Mistake, match='all 8 devices'):
        devices.mesh((2, 2), columns=2)


def test_a_backend_that_does_not_start_is_no_traceback(monkeypatch):
    def device_count():
        raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setattr(jax, 'device_count', device_count)
    with pytest.raises(Mistake, match="JAX finds no device: Unable to initialize backend 'cuda'"):
        devices.mesh(None, columns=2)


def test_a_share_names_the_field_that_does_not_divide():
    mesh = devices.mesh((4, 2), columns=2)
    assert devices.share(128, mesh) == 32
    assert devices.share(128, mesh, parts=4) == 8
    with pytest.raises(Mistake, match='128 images in 3 parts cannot be .* by 4 devices; .* a multiple of 12'):
        devices.share(128, mesh, parts=3)
    with pytest.raises(Mistake, match='make config.evaluate.batch a multiple of 4'):
        devices.share(10, mesh, field='config.evaluate.batch')


def test_a_batch_is_shared_out_along_data_and_whole_along_column():
    mesh = devices.mesh((4, 2), columns=2)
    images = np.arange(8 * 3).reshape(8, 3)
    shared = jax.device_put(images, devices.batch_sharding(mesh))
    for shard in shared.addressable_shards:
        row = np.argwhere(mesh.devices == shard.device)[0][0]
        np.testing.assert_array_equal(shard.data, images[2 * row : 2 * row + 2])
    assert jax.device_put(images, devices.replicated(mesh)).is_fully_replicated


def test_the_description_says_on_which_device_each_column_lives():
    assert devices.describe(devices.mesh((1, 1), columns=2), columns=2) == 'columns a and b on cpu:0'
    mesh = devices.mesh((2, 2), columns=2)
    a, b = mesh.devices[:, 0], mesh.devices[:, 1]
    line = f'column a on cpu:{a[0].id}, cpu:{a[1].id}; column b on cpu:{b[0].id}, cpu:{b[1].id}'
    assert devices.describe(mesh, columns=2) == line
    assert devices.describe(devices.mesh((8, 1), columns=1), columns=1).endswith('... (8 in all)')


def test_one_process_alone_writes(monkeypatch):
    assert devices.writer()
    monkeypatch.setattr(jax, 'process_index', lambda: 1)
    assert not devices.writer()


def test_compiler_options_are_taken_by_jit_and_change_no_value():
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)
    product = jax.jit(lambda x: x @ x.T, compiler_options=devices.compiler_options(True))
    np.testing.assert_allclose(product(x), x @ x.T, rtol=1e-6, atol=1e-6)
    assert devices.compiler_options(False) == {}


def test_compiler_options_are_dropped_with_a_word_where_jaxlib_does_not_know_them(monkeypatch, caplog):
    monkeypatch.setattr(devices, '_DOTS_ONLY', {'xla_no_such_option': 'yes'})
    with caplog.at_level(logging.WARNING):
        assert devices.compiler_options(True) == {}
    assert 'machine.dots_only: left out' in caplog.text and 'xla_no_such_option' in caplog.text


def test_compiler_options_are_for_cpus_alone(monkeypatch):
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    assert devices.compiler_options(True) == {}
