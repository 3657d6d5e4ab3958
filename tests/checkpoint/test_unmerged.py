"""Checkpoints that orbax left unmerged, in a path with brackets, are no damage and are read again from another path."""

import json
import logging
import shutil
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore
from ml_collections import ConfigDict

from alexnet_jax import commands
from alexnet_jax.checkpoint import checksums, unmerged
from alexnet_jax.checkpoint.manager import CheckpointManager
from alexnet_jax.errors import UserError


def state(seed):
    rng = np.random.default_rng(seed)
    names = ('parameters', 'velocity')
    return {name: {'conv1': {'kernel': jax.numpy.asarray(rng.normal(size=(2, 9, 300)), 'float32')}} for name in names}


def restored(directory, read_only=False, step=None):
    checkpoints = CheckpointManager(directory, read_only=read_only)
    return checkpoints.restore(state(0), step)


def assert_equal_trees(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def saved_by_orbax(directory, step, tree):
    """Save as version 0.2 did, which let orbax write to any path."""
    content = {'record': {'seen': step}, 'leaves': checksums.array_digests(tree)}
    items = ocp.args.Composite(
        state=ocp.args.StandardSave(tree),
        record=ocp.args.JsonSave({**content, 'sha256': checksums.json_digest(content)}),
    )
    with ocp.CheckpointManager(directory, item_names=('state', 'record')) as manager:
        manager.save(step, args=items)


@pytest.fixture
def lost(tmp_path):
    """Return a folder of checkpoints with an unmerged one of step 3, moved from a path with brackets."""
    saved_by_orbax(tmp_path / 'run [1]' / 'checkpoints', 3, state(3))
    (tmp_path / 'run [1]').rename(tmp_path / 'run')
    directory = tmp_path / 'run' / 'checkpoints'
    assert unmerged.is_unmerged(directory / '3')
    return directory


@pytest.mark.parametrize('name', ['3', '3.damaged'])
def test_an_unmerged_checkpoint_is_read_again_to_the_bit(lost, name, caplog):
    (lost / '3').rename(lost / name)
    caplog.set_level(logging.INFO)
    for _ in range(2):
        step, arrays, record = restored(lost)
        assert (step, record) == (3, {'seen': 3})
        assert_equal_trees(arrays, state(3))
    assert caplog.text.count('Merged the arrays of the checkpoint of step 3') == 1


def test_the_arrays_of_several_processes_are_merged(lost):
    """What a second process wrote is a store of its own; both are needed."""
    stores = []
    for process in (0, 1):
        path = f'{lost}/3/state/ocdbt.process_{process}/'
        spec = {'driver': 'ocdbt', 'base': {'driver': 'file', 'path': path}}
        stores.append(tensorstore.KvStore.open(spec).result())
    for key in [key for key in stores[0].list().result() if key.startswith(b'velocity')]:
        stores[1].write(key, stores[0].read(key).result().value).result()
        stores[0].write(key, None).result()
    assert_equal_trees(restored(lost)[1], state(3))


def test_arrays_that_a_backslash_led_elsewhere_are_read_when_they_were_moved_back(tmp_path):
    """CHANGELOG.md says how."""
    saved_by_orbax(tmp_path / 'a\\b' / 'checkpoints', 3, state(3))
    directory = (tmp_path / 'a\\b').rename(tmp_path / 'run') / 'checkpoints'
    with pytest.raises(UserError, match='its arrays are missing; where a path has a backslash'):
        restored(directory, read_only=True, step=3)
    elsewhere = tmp_path / 'a' / 'b' / 'checkpoints' / '3.orbax-checkpoint-tmp' / 'state.orbax-checkpoint-tmp'
    (elsewhere / 'ocdbt.process_0').rename(directory / '3' / 'state' / 'ocdbt.process_0')
    assert_equal_trees(restored(directory)[1], state(3))


def test_who_only_reads_changes_nothing_and_says_what_does(lost):
    with pytest.raises(UserError, match='The checkpoint of step 3 .* a training from a path without them merges them'):
        restored(lost, read_only=True, step=3)
    (lost / '3').rename(lost / '3.damaged')
    with pytest.raises(UserError, match=r'is left in .*, but 3\.damaged can be mended: its arrays were not merged'):
        restored(lost, read_only=True)
    assert unmerged.is_unmerged(lost / '3.damaged')


def test_an_unmerged_checkpoint_with_wrong_bytes_is_damaged_all_the_same(lost):
    # Where the byte falls decides whether the stores can still be joined, and so which of two sentences it is.
    for file in (lost / '3' / 'state' / 'ocdbt.process_0' / 'd').iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 16
        file.write_bytes(content)
    with pytest.raises(UserError, match=r'No whole checkpoint is left in .*3\.damaged'):
        restored(lost)


def test_a_store_that_vanished_from_a_checkpoint_that_was_whole_is_damage(tmp_path):
    checkpoints = CheckpointManager(tmp_path)
    checkpoints.save(1, state(1), {})
    checkpoints.close()
    (tmp_path / '1' / 'state' / 'manifest.ocdbt').unlink()
    assert not unmerged.is_unmerged(tmp_path / '1') and not unmerged.explain_missing_arrays(tmp_path / '1')
    with pytest.raises(UserError, match=r'No whole checkpoint is left in .* \(damaged: 1\.damaged\)'):
        restored(tmp_path)


@pytest.mark.parametrize(
    'name, cause', [('run [1]', 'a training from a path without them merges them'), ('a\\b', 'a path has a backslash')]
)
def test_a_save_into_such_a_path_is_not_blamed_on_the_disk(tmp_path, name, cause):
    checkpoints = CheckpointManager(tmp_path / name / 'checkpoints')
    checkpoints.save(1, state(1), {})
    with pytest.raises(UserError, match='this is due to the path .* Rename it and run the same') as raised:
        checkpoints.wait()
    assert cause in str(raised.value) and 'Earlier' not in str(raised.value) and 'disk' not in str(raised.value)


@pytest.mark.slow
def test_a_training_that_lost_its_checkpoint_so_goes_on_to_the_same_end(trained, tmp_path, without_plots):
    config, whole = ConfigDict(trained[0].to_dict()), Path(trained[1])
    config.checkpoint.every_steps = 3
    folder = tmp_path / 'run*[1]'
    shutil.copytree(whole / 'dataset', folder / 'dataset')
    with pytest.raises(UserError, match='due to the path'):
        commands.run('train', config, str(folder))
    moved = folder.rename(tmp_path / 'run')
    assert [path.name for path in (moved / 'checkpoints').glob('[0-9]*')] == ['3.damaged']
    commands.run('train', config, str(moved))
    leaves = [json.loads((run / 'checkpoints/6/record/metadata').read_text())['leaves'] for run in (moved, whole)]
    assert leaves[0] == leaves[1]
    starts = [json.loads(row)['step'] for row in (moved / 'metrics.jsonl').read_text().splitlines()]
    assert starts == sorted(starts)
