"""What the first release wrote restores for ever, on any mesh and on none. tests/release_0_1 was written by 0.1.0."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec, SingleDeviceSharding

from alexnet_jax.checkpoint.manager import CheckpointManager

WRITTEN = Path(__file__).with_name('release_0_1')  # on a mesh (1, 2)
SHAPES = {'conv1': {'kernel': (2, 3, 3, 3, 4), 'bias': (2, 4)}, 'fc8': {'kernel': (2, 8, 5), 'bias': (2, 5)}}


def tree(make):
    """`make(shape, number)` for every array, the number being 1 for parameters and 2 for velocity."""
    return {
        name: {layer: {part: make(shape, number) for part, shape in parts.items()} for layer, parts in SHAPES.items()}
        for number, name in ((1, 'parameters'), (2, 'velocity'))
    }


def values(shape, number):
    """As they were when they were saved."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) * 0.125 - number


def over(*shape):
    devices = jax.devices()[: shape[0] * shape[1]]
    mesh = jax.make_mesh(shape, ('data', 'column'), (AxisType.Auto,) * 2, devices=devices)
    return NamedSharding(mesh, PartitionSpec('column'))


@pytest.mark.parametrize(
    'sharding',
    [lambda: over(1, 1), lambda: over(1, 2), lambda: over(4, 2), lambda: SingleDeviceSharding(jax.devices()[0])],
    ids=['1,1', '1,2', '4,2', 'no mesh'],
)
def test_its_checkpoint_restores_with_every_value(sharding, tmp_path):
    shutil.copytree(WRITTEN, tmp_path, dirs_exist_ok=True)
    lies = sharding()
    checkpoints = CheckpointManager(tmp_path / 'checkpoints')
    assert checkpoints.steps() == [3] and checkpoints.best() == 3
    step, state, record = checkpoints.restore(
        tree(lambda shape, _: jax.ShapeDtypeStruct(shape, np.float32, sharding=lies))
    )
    checkpoints.close()
    assert (step, record) == (3, {'tally': {'loss': 1.5, 'top1': 2.0, 'images': 16.0, 'steps': 2}})
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), tree(values))


def test_it_is_small_and_names_no_machine():
    files = [file for file in WRITTEN.rglob('*') if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 30_000
    assert not any(word in file.read_bytes() for file in files for word in (b'/tmp', b'/root', b'/home'))
