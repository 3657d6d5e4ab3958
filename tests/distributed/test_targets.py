"""Machines by name, the packages that compile for them, and meshes over the devices that they describe."""

import importlib.metadata
import importlib.util

import jax
import pytest

from alexnet_jax.distributed import device_rates, targets
from alexnet_jax.distributed.mesh import describe_neighbors, make_mesh
from alexnet_jax.errors import UserError

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec('libtpu') is None, reason='requirements-tpu-compile.txt is not installed'
)
needs_cuda = pytest.mark.skipif(
    importlib.util.find_spec('jax_cuda13_plugin') is None, reason='requirements-cuda-compile.txt is not installed'
)


@pytest.mark.parametrize(
    'text, kind, sizes, devices',
    [
        ('tpu:v5e:16x16', 'tpu:v5e', (16, 16), 256),
        ('TPU:v5p:4x4x8', 'tpu:v5p', (4, 4, 8), 128),
        ('cuda:h100:8', 'cuda:h100', (8,), 8),
        ('cuda:h100:2x8', 'cuda:h100', (2, 8), 16),
        ('cpu:8', 'cpu', (8,), 8),
    ],
)
def test_a_target_is_a_kind_and_sizes(text, kind, sizes, devices):
    target = targets.parse_target(text)
    assert (target.kind, target.sizes, target.num_devices) == (kind, sizes, devices)
    assert str(target) == text.lower()


@pytest.mark.parametrize(
    'text', ['', 'tpu', 'tpu:v5e', 'tpu:v9:2x2', 'cuda:h100:0', 'tpu:v5e:4', 'cuda:h100:1x2x3', 'cpu:65']
)
def test_what_is_no_target_is_named_beside_examples(text):
    with pytest.raises(UserError, match=r'expected a machine such as .*tpu:v5e:16x16.*=list shows them'):
        targets.parse_target(text)


def test_missing_packages_and_those_of_another_jax_are_a_sentence(monkeypatch):
    found = {'jax-cuda13-plugin': '0.10.2', 'jax-cuda13-pjrt': '0.10.1', 'libtpu': '0.0.420'}

    def version(package):
        if package not in found:
            raise importlib.metadata.PackageNotFoundError
        return found[package]

    monkeypatch.setattr(importlib.metadata, 'version', version)
    monkeypatch.setattr(jax, '__version__', '0.10.2')
    with pytest.raises(UserError, match='install nvidia-cuda-nvcc: pip install --no-deps -r requirements-cuda-compile'):
        targets.check_extras('cuda')
    found['nvidia-cuda-nvcc'] = '13.5.37'
    with pytest.raises(UserError, match='jax-cuda13-pjrt 0.10.1 does not belong to jax 0.10.2'):
        targets.check_extras('cuda')
    with pytest.raises(
        UserError, match='libtpu 0.0.420 does not belong to jax 0.10.2, which compiles by libtpu 0.0.42;'
    ):
        targets.check_extras('tpu')
    found['libtpu'] = '0.0.42.1'
    targets.check_extras('tpu')
    # A jax that was not tried: its plugin must still be its own.
    monkeypatch.setattr(jax, '__version__', '0.11.0')
    with pytest.raises(UserError, match='plugin 0.10.2 does not belong to jax 0.11.0'):
        targets.check_extras('cuda')


def test_the_list_has_every_machine_with_its_rates():
    lines = '\n'.join(targets.format_targets())
    assert all(kind in lines for kind in targets.EXAMPLES)
    assert '16 GB at 819 GB/s, 197 TFLOP/s bfloat16' in lines and '80 GB at 3,352 GB/s, 989 TFLOP/s' in lines


def test_rates_follow_the_precision_of_products():
    v5e = device_rates.RATES['tpu:v5e']
    assert v5e.flops('bfloat16', 'float32') == v5e.flops('float32', 'bfloat16') == 197e12
    assert v5e.flops('float32', 'float32') == pytest.approx(197e12 / 6)
    assert device_rates.RATES['cuda:h100'].flops('float32', 'tensorfloat32') == 494.7e12


SLICES = (
    'v4:1x1x1 v4:2x2x1 v4:2x2x4 v4:4x4x4 v5e:1x1 v5e:2x2 v5e:2x4 v5e:4x2 v5e:4x8 v5e:16x16 v5p:2x2x1 v5p:2x2x2 '
    'v5p:4x4x4 v5p:4x4x8 v6e:1x1 v6e:2x2 v6e:4x4 v6e:16x16'
).split()


@needs_libtpu
@pytest.mark.parametrize('name', SLICES)
def test_on_every_slice_columns_are_neighbors_and_rows_belong_to_whole_processes(name):
    devices = targets.make_devices(targets.parse_target(f'tpu:{name}'))
    mesh = make_mesh(None, columns=2, devices=devices)
    assert {device.id for device in mesh.devices.flat} == {device.id for device in devices}
    assert_whole_processes(mesh)
    if len(devices) == 1:
        assert mesh.devices.shape == (1, 1)
        return
    assert mesh.devices.shape == (len(devices) // 2, 2)
    assert describe_neighbors(mesh) == 'columns on neighboring chips of one host'
    # One column, or both on each device: every device is a row.
    assert_whole_processes(make_mesh((len(devices), 1), columns=2, devices=devices))


@needs_libtpu
def test_devices_that_are_half_a_chip_or_in_several_slices_have_meshes_too():
    from jax.experimental import topologies

    for name, options in [('v4:2x2x1', {}), ('v5e:2x4', {'num_slices': 2}), ('v5p:2x2x2', {'num_slices': 2})]:
        devices = topologies.get_topology_desc(platform='tpu', topology_name=name, **options).devices
        mesh = make_mesh(None, columns=2, devices=devices)
        assert_whole_processes(mesh)
        assert describe_neighbors(mesh).endswith('of one host')


def assert_whole_processes(mesh):
    """The rows of each process follow each other, all have as many, and process 0 has the first."""
    holders = [{device.process_index for device in row} for row in mesh.devices]
    assert all(len(each) == 1 for each in holders)
    order = [next(iter(each)) for each in holders]
    changes = sum(one != other for one, other in zip(order[:-1], order[1:], strict=True))
    assert order[0] == 0 and changes == len(set(order)) - 1
    assert len({order.count(process) for process in order}) == 1


@needs_libtpu
def test_a_slice_that_does_not_exist_is_a_sentence():
    with pytest.raises(UserError, match='no devices for config.compile.target=tpu:v5e:3x3'):
        targets.make_devices(targets.parse_target('tpu:v5e:3x3'))


@needs_cuda
def test_gpus_of_several_hosts():
    devices = targets.make_devices(targets.parse_target('cuda:h200:2x4'))
    assert [device.process_index for device in devices] == [0] * 4 + [1] * 4
    mesh = make_mesh(None, columns=2, devices=devices)
    assert mesh.devices.shape == (4, 2)
    assert describe_neighbors(mesh) == 'columns on devices of one host'
    assert_whole_processes(mesh)


def test_cpus_are_those_that_jax_has():
    assert targets.make_devices(targets.parse_target('cpu:2')) == jax.devices()[:2]
    with pytest.raises(UserError, match='cpu:64 needs as many CPU devices, but jax has started with 8'):
        targets.make_devices(targets.parse_target('cpu:64'))
