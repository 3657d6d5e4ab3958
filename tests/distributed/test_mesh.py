import itertools
import types

import jax
import numpy as np
import pytest

from alexnet_jax.distributed.initialize import is_primary
from alexnet_jax.distributed.mesh import describe_mesh, make_mesh, per_device_batch, process_batch_slice
from alexnet_jax.distributed.sharding import batch_sharding, replicated_sharding
from alexnet_jax.errors import UserError


@pytest.mark.parametrize(
    'columns, count, shape', [(2, 8, (4, 2)), (1, 8, (8, 1)), (2, 1, (1, 1)), (2, 3, (3, 1)), (4, 2, (1, 2))]
)
def test_the_automatic_mesh_has_two_along_column_where_columns_and_devices_are_even(monkeypatch, columns, count, shape):
    monkeypatch.setattr(jax, 'device_count', lambda: count)
    mesh = make_mesh(None, columns=columns)
    assert tuple(mesh.shape.items()) == (('data', shape[0]), ('column', shape[1]))


@pytest.mark.parametrize('shape', [(1, 1), (1, 2), (2, 1), (2, 2), (4, 2), (8, 1)])
def test_a_mesh_has_the_shape_that_was_asked_for_and_its_axes_are_automatic(shape):
    mesh = make_mesh(shape, columns=2, batch_size=8)
    assert mesh.devices.shape == shape
    assert set(mesh.axis_types) == {jax.sharding.AxisType.Auto}


@pytest.mark.parametrize(
    'shape, batch, words',
    [
        ((8, 2), None, 'needs 16 devices, but there are 8'),
        ((2, 4), None, '2 columns'),
        ((4, 2), 6, 'A batch of 6 images'),
    ],
)
def test_a_mesh_that_cannot_be_is_refused_with_its_numbers(shape, batch, words):
    with pytest.raises(UserError, match=words):
        make_mesh(shape, columns=2, batch_size=batch)


def test_several_processes_refuse_a_mesh_that_leaves_devices_out(monkeypatch):
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    with pytest.raises(UserError, match='all 8 devices'):
        make_mesh((2, 2), columns=2)


def test_a_backend_that_does_not_start_is_no_traceback(monkeypatch):
    def device_count():
        raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setattr(jax, 'device_count', device_count)
    monkeypatch.setattr(type(jax.config), 'jax_platforms', '')
    with pytest.raises(UserError, match="JAX finds no device: Unable to initialize backend 'cuda'"):
        make_mesh(None, columns=2)


@pytest.mark.parametrize(
    'platform, error, said',
    [
        ('cuda', AssertionError(), 'JAX_PLATFORMS is cuda, but jax finds no such device; install'),
        ('gpu', RuntimeError("Unable to initialize backend 'rocm': unknown"), 'is gpu, but .* no such device; install'),
        ('tpu', RuntimeError("Unable to initialize backend 'tpu': no libtpu.so (set JAX_PLATFORMS='' to choose)"),
         r"is tpu, but .* no such device \(Unable to initialize backend 'tpu': no libtpu.so\); install"),
    ],
)  # fmt: skip
def test_a_platform_that_this_jax_does_not_have_is_named_as_it_was_given(monkeypatch, platform, error, said):
    def device_count():
        raise error

    monkeypatch.setattr(jax, 'device_count', device_count)
    monkeypatch.setattr(type(jax.config), 'jax_platforms', platform)
    with pytest.raises(UserError, match=said):
        make_mesh(None, columns=2)


class Chip(types.SimpleNamespace):
    """A TPU device with the attributes that meshes read."""

    platform, core_on_chip = 'tpu', 0

    def __hash__(self):
        return self.id


def slices(monkeypatch, kind, bounds, count=1):
    """Make slices of hosts with 2 x 2 chips the devices of jax; return them."""
    per_row, per_plane = bounds[0] // 2, bounds[0] * bounds[1] // 4
    chips = []
    for number, z, y, x in itertools.product(range(count), *map(range, reversed(bounds))):
        host = number * bounds[2] * per_plane + z * per_plane + y // 2 * per_row + x // 2
        place = {'coords': (x, y, z), 'process_index': host, 'slice_index': number}
        chips.append(Chip(id=len(chips), device_kind=kind, **place))
    monkeypatch.setattr(jax, 'devices', lambda: chips)
    monkeypatch.setattr(jax, 'device_count', lambda: len(chips))
    monkeypatch.setattr(jax, 'process_count', lambda: len(chips) // 4)
    return chips


@pytest.mark.parametrize(
    'kind, bounds, count',
    [
        ('TPU v4', (4, 4, 4), 1),  # a column of 2 fits no axis of the torus
        ('TPU v5p', (4, 4, 8), 1),
        ('TPU v6 lite', (8, 8, 1), 1),
        ('TPU v5 lite', (8, 8, 1), 1),  # jax splits its axes
        ('TPU v4', (2, 2, 2), 1),
        ('TPU v4', (2, 2, 2), 2),  # several slices: no torus at all
        ('TPU v5 lite', (4, 4, 1), 2),
        ('TPU v4', (4, 4, 4), 2),
    ],
)
def test_every_slice_has_a_mesh_whose_columns_are_neighbors_on_one_host(monkeypatch, kind, bounds, count):
    chips = slices(monkeypatch, kind, bounds, count)
    mesh = make_mesh(None, columns=2, batch_size=len(chips) // 2)
    assert mesh.devices.shape == (len(chips) // 2, 2)
    assert {chip.id for chip in mesh.devices.flat} == {chip.id for chip in chips}
    for a, b in mesh.devices:
        assert a.process_index == b.process_index
        assert sum(abs(one - other) for one, other in zip(a.coords, b.coords, strict=True)) == 1
    assert process_batch_slice(mesh) == (0, len(chips) // 4)


@pytest.mark.parametrize('error', [NotImplementedError, ValueError, AssertionError])
def test_where_jax_lays_no_mesh_the_order_of_the_processes_does(monkeypatch, error):
    def fail(*_, **__):
        raise error('no way')

    monkeypatch.setattr(jax, 'make_mesh', fail)
    mesh = make_mesh((2, 2), columns=2)  # of eight devices
    assert [[device.id for device in row] for row in mesh.devices] == [[0, 1], [2, 3]]
    assert set(mesh.axis_types) == {jax.sharding.AxisType.Auto}


def test_a_share_names_the_field_that_does_not_divide():
    mesh = make_mesh((4, 2), columns=2)
    assert per_device_batch(128, mesh) == 32
    assert per_device_batch(128, mesh, microbatches=4) == 8
    with pytest.raises(
        UserError, match='128 images in 3 microbatches cannot be .* over 4 devices; .* a multiple of 12'
    ):
        per_device_batch(128, mesh, microbatches=3)
    with pytest.raises(UserError, match='make config.evaluate.batch_size a multiple of 4'):
        per_device_batch(10, mesh, field='config.evaluate.batch_size')


def test_a_batch_is_shared_out_along_data_and_whole_along_column():
    mesh = make_mesh((4, 2), columns=2)
    images = np.arange(8 * 3).reshape(8, 3)
    shared = jax.device_put(images, batch_sharding(mesh))
    for shard in shared.addressable_shards:
        row = np.argwhere(mesh.devices == shard.device)[0][0]
        np.testing.assert_array_equal(shard.data, images[2 * row : 2 * row + 2])
    assert jax.device_put(images, replicated_sharding(mesh)).is_fully_replicated


def test_the_description_says_on_which_device_each_column_lives():
    assert describe_mesh(make_mesh((1, 1), columns=2), columns=2) == 'columns a and b on cpu:0'
    mesh = make_mesh((2, 2), columns=2)
    a, b = mesh.devices[:, 0], mesh.devices[:, 1]
    line = f'column a on cpu:{a[0].id}, cpu:{a[1].id}; column b on cpu:{b[0].id}, cpu:{b[1].id}'
    assert describe_mesh(mesh, columns=2) == line
    assert describe_mesh(make_mesh((8, 1), columns=1), columns=1).endswith('... (8 in all)')


def test_one_process_alone_writes(monkeypatch):
    assert is_primary()
    monkeypatch.setattr(jax.distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(jax, 'process_index', lambda: 1)
    assert not is_primary()
