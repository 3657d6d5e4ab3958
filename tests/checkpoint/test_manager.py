"""What was saved is restored to the bit on any mesh, and what is damaged is named and never used."""

import errno
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from alexnet_jax.checkpoint import checksums
from alexnet_jax.checkpoint.manager import CheckpointManager
from alexnet_jax.errors import UserError

RNG = np.random.default_rng(0)


def placed(tree, shape=(1, 2)):
    devices = jax.devices()[: shape[0] * shape[1]]
    mesh = jax.make_mesh(shape, ('data', 'column'), (AxisType.Auto,) * 2, devices=devices)
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec('column')))


def state(seed=0, width=300):
    rng = np.random.default_rng(seed)
    return {
        'parameters': {
            'conv1': {'kernel': rng.normal(size=(2, 9, width)).astype(np.float32), 'bias': np.ones((2, 4), np.float32)}
        },
        'velocity': {
            'conv1': {'kernel': rng.normal(size=(2, 9, width)).astype(np.float32), 'bias': np.zeros((2, 4), np.float32)}
        },
    }


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def saved(directory, *steps, keep_every=0, errors=()):
    checkpoints = CheckpointManager(directory, keep_every=keep_every)
    for step, error in zip(steps, errors or (None,) * len(steps), strict=True):
        checkpoints.save(step, placed(state(step)), {'seen': step / 3}, top1_error=error)
    checkpoints.wait()
    return checkpoints


@pytest.mark.parametrize('shape', [(1, 1), (1, 2), (2, 2), (8, 1)])
def test_a_checkpoint_comes_back_to_the_bit_on_any_mesh(tmp_path, shape):
    saved(tmp_path, 7).close()
    checkpoints = CheckpointManager(tmp_path)
    step, restored, record = checkpoints.restore(placed(state(99), shape))
    assert (step, record) == (7, {'seen': 7 / 3})
    same(restored, state(7))
    assert restored['velocity']['conv1']['kernel'].sharding.mesh.shape == {'data': shape[0], 'column': shape[1]}


def test_a_save_is_of_the_moment_even_when_the_next_step_donates_its_arrays(tmp_path):
    checkpoints = CheckpointManager(tmp_path)
    arrays = placed(state(1))
    checkpoints.save(1, arrays, {})
    overwritten = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0, tree), donate_argnums=0)(arrays)
    jax.block_until_ready(overwritten)
    checkpoints.wait()
    same(checkpoints.restore(placed(state(0)))[1], state(1))


def test_a_record_is_of_the_moment_too(tmp_path):
    checkpoints, tally = CheckpointManager(tmp_path), {'loss': 1.0}
    for step in range(1, 6):
        checkpoints.save(step, placed(state(step)), {'tally': tally})
        tally['loss'] += 1.0  # the run goes on while orbax writes
    checkpoints.wait()
    assert [checkpoints.restore(placed(state(0)), step)[2]['tally']['loss'] for step in (4, 5)] == [4.0, 5.0]


def test_the_newest_two_the_best_and_every_fifth_are_kept(tmp_path):
    checkpoints = saved(tmp_path, *range(1, 10), keep_every=5, errors=(0.9, 0.5, 0.3, 0.4, 0.6, 0.7, 0.5, 0.5, 0.8))
    assert checkpoints.steps() == [3, 5, 8, 9]
    assert checkpoints.best() == 3
    checkpoints.close()
    again = saved(tmp_path, 10, keep_every=5, errors=(0.9,))  # a new process knows the best of the one before
    assert again.steps() == [3, 5, 9, 10]
    assert again.best() == 3


def test_of_equal_errors_the_latest_is_the_best(tmp_path):
    assert saved(tmp_path, 1, 2, 3, errors=(0.2, 0.2, 0.4)).best() == 2


def test_a_checkpoint_without_a_figure_is_not_the_best_and_goes_in_its_turn(tmp_path):
    checkpoints = saved(tmp_path, 1, 2, 3, 4, errors=(None, 0.4, None, None))
    assert checkpoints.steps() == [2, 3, 4]
    assert checkpoints.best() == 2


def flip_a_bit(path, place):
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << int(RNG.integers(8))
    path.write_bytes(content)


def array_files(directory):
    files = [path for path in directory.rglob('*') if path.is_file() and path.parent.name == 'd']
    return max(files, key=lambda path: path.stat().st_size)


@pytest.mark.parametrize('place', [2_000, 7_777, 20_000])
def test_one_flipped_bit_in_the_arrays_is_noticed_and_the_checkpoint_before_is_used(tmp_path, place, caplog):
    saved(tmp_path, 1, 2).close()
    flip_a_bit(array_files(tmp_path / '2'), place)
    checkpoints = CheckpointManager(tmp_path)
    with caplog.at_level(logging.WARNING):
        step, restored, _ = checkpoints.restore(placed(state(0)))
    assert step == 1
    same(restored, state(1))
    assert 'step 2 is damaged' in caplog.text
    assert (tmp_path / '2.damaged').exists()
    checkpoints.save(2, placed(state(2)), {})  # the run reaches that step again
    checkpoints.wait()
    assert checkpoints.steps() == [1, 2]


def test_damage_to_the_only_checkpoint_is_a_sentence(tmp_path):
    saved(tmp_path, 1).close()
    array_files(tmp_path / '1').write_bytes(b'')
    with pytest.raises(UserError, match=r'No whole checkpoint is left .* \(damaged: 1\.damaged\)'):
        CheckpointManager(tmp_path).restore(placed(state(0)))


def test_a_step_that_was_asked_for_is_not_replaced_by_another(tmp_path):
    saved(tmp_path, 1, 2).close()
    flip_a_bit(array_files(tmp_path / '2'), 7_777)
    checkpoints = CheckpointManager(tmp_path)
    with pytest.raises(UserError, match='step 2 .* is damaged'):
        checkpoints.restore(placed(state(0)), 2)
    with pytest.raises(UserError, match='no checkpoint of step 5; existing steps: 1, 2'):
        checkpoints.restore(placed(state(0)), 5)


def test_a_checkpoint_of_another_network_is_refused_with_the_difference(tmp_path):
    saved(tmp_path, 1).close()
    message = r'another network: parameters/conv1/kernel is float32 \(2, 9, 300\) there and float32 \(2, 9, 301\) here'
    with pytest.raises(UserError, match=message):
        CheckpointManager(tmp_path).restore(placed(state(0, width=301)))


def test_another_dtype_is_refused_and_not_cast(tmp_path):
    saved(tmp_path, 1).close()
    half = jax.tree.map(lambda x: x.astype(np.float16), state(0))
    with pytest.raises(UserError, match=r'float32 \(2, .*\) there and float16 \(2, .*\) here'):
        CheckpointManager(tmp_path).restore(placed(half))


def test_a_save_killed_midway_leaves_the_one_before_and_no_rubbish(tmp_path):
    script = textwrap.dedent(f"""
        import os, signal, sys
        sys.path.insert(0, 'tests/checkpoint')
        import jax
        jax.config.update('jax_num_cpu_devices', 2)
        import test_manager as t
        checkpoints = t.saved({str(tmp_path)!r}, 1)
        import orbax.checkpoint as ocp
        original = os.rename
        def killed(source, *rest, **named):  # at the moment before the folder gets its name
            if os.path.basename(source).startswith('2.orbax'):
                os.kill(os.getpid(), signal.SIGKILL)
            return original(source, *rest, **named)
        os.rename = killed
        checkpoints.save(2, t.placed(t.state(2, width=30_000)), {{}})
        checkpoints.wait()
    """)
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert list(tmp_path.glob('2.orbax-checkpoint-tmp*'))
    checkpoints = CheckpointManager(tmp_path)
    assert not list(tmp_path.glob('*.orbax-checkpoint-tmp*'))
    assert checkpoints.restore(placed(state(0)))[0] == 1


def test_a_flipped_bit_in_the_record_is_noticed_even_where_it_is_still_json(tmp_path):
    saved(tmp_path, 1, 2).close()
    record = tmp_path / '2' / 'record' / 'metadata'
    text = record.read_text()
    assert '0.6666666666666666' in text
    record.write_text(text.replace('0.6666666666666666', '0.2666666666666666'))
    assert CheckpointManager(tmp_path).restore(placed(state(0)))[0] == 1


def test_a_checkpoint_is_not_the_best_by_a_flipped_bit(tmp_path):
    saved(tmp_path, 1, 2, errors=(0.25, 0.5)).close()
    metrics = tmp_path / '2' / 'metrics' / 'metrics'
    metrics.write_text(metrics.read_text().replace('0.5', '0.1', 1))
    assert CheckpointManager(tmp_path).best() == 1


def test_a_record_of_the_first_version_which_has_no_sum_restores(tmp_path):
    saved(tmp_path, 1).close()
    record = tmp_path / '1' / 'record' / 'metadata'
    held = json.loads(record.read_text())
    del held['sha256']
    record.write_text(json.dumps(held))
    same(CheckpointManager(tmp_path).restore(placed(state(0)))[1], state(1))


def test_what_reads_back_differently_is_told_and_the_older_checkpoint_is_kept(tmp_path):
    checkpoints = saved(tmp_path, 1, 2)
    checkpoints.save(3, placed(state(3)), {})
    checkpoints._manager.wait_until_finished()
    flip_a_bit(array_files(tmp_path / '3'), 7_777)  # a disk that lies
    with pytest.raises(UserError, match='step 3 differs from what was written'):
        checkpoints.save(4, placed(state(4)), {})
    assert checkpoints.steps() == [2] and (tmp_path / '3.damaged').exists()
    same(checkpoints.restore(placed(state(0)))[1], state(2))


def test_a_save_that_fails_is_loud_at_the_next_step_and_costs_no_older_one(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path, 1, 2)
    rename = os.rename

    def full(source, *rest, **named):
        if '3.orbax' in os.fspath(source):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(source))
        return rename(source, *rest, **named)

    monkeypatch.setattr(os, 'rename', full)
    checkpoints.save(3, placed(state(3)), {})
    with pytest.raises(Exception, match='No space left'):
        for _ in range(2_000):  # steps that follow
            checkpoints.raise_if_save_failed()
            time.sleep(0.005)
    monkeypatch.undo()
    assert CheckpointManager(tmp_path, read_only=True).steps() == [1, 2]
    assert CheckpointManager(tmp_path).restore(placed(state(0)))[0] == 2


def test_who_only_reads_leaves_a_save_under_way_and_a_damaged_checkpoint_alone(tmp_path):
    saved(tmp_path, 1, 2).close()
    (tmp_path / '3.orbax-checkpoint-tmp').mkdir()
    flip_a_bit(array_files(tmp_path / '2'), 7_777)
    before = sorted(tmp_path.iterdir())
    assert CheckpointManager(tmp_path, read_only=True).restore(placed(state(0)))[0] == 1
    assert sorted(tmp_path.iterdir()) == before


OUTAGES = (
    MemoryError(),
    OSError(errno.EIO, os.strerror(errno.EIO), 'somewhere'),
    OSError(errno.ESTALE, os.strerror(errno.ESTALE)),
    PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
    jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes.'),
    ValueError('UNKNOWN: Error reading local file: [OS error 5: EIO Input/output error]'),
)


@pytest.mark.parametrize('error', OUTAGES, ids=repr)
@pytest.mark.parametrize('listed', [True, False])
def test_what_keeps_a_sound_checkpoint_from_being_read_is_told_and_sets_nothing_aside(
    error, listed, tmp_path, monkeypatch
):
    saved(tmp_path, 1, 2).close()
    if not listed:  # killed before it was read back
        (tmp_path / '2' / 'files.json').unlink()
    before = sorted(path for path in tmp_path.rglob('*'))
    checkpoints = CheckpointManager(tmp_path)

    def fails(*given, **named):
        raise ValueError('a library wraps it') from error

    monkeypatch.setattr(checkpoints._manager, 'restore', fails)
    with pytest.raises(UserError, match='Could not read the checkpoint of step 2 in .* nothing was changed'):
        checkpoints.restore(placed(state(0)))
    monkeypatch.undo()
    assert sorted(path for path in tmp_path.rglob('*')) == before
    assert checkpoints.restore(placed(state(0)))[0] == 2


def test_an_error_of_any_kind_convicts_no_checkpoint_whose_files_are_those_of_its_manifest(tmp_path, monkeypatch):
    saved(tmp_path, 1, 2).close()
    checkpoints = CheckpointManager(tmp_path)

    def fails(*given, **named):
        raise KeyError('a bug of a library')

    with monkeypatch.context() as hooks:
        hooks.setattr(checkpoints._manager, 'restore', fails)
        with pytest.raises(UserError, match='its files are unchanged; KeyError'):
            checkpoints.restore(placed(state(0)))
    array_files(tmp_path / '2').write_bytes(b'')  # and now they are not, whatever the error is

    def lacks(step, **named):
        if step == 2:
            raise MemoryError
        return restore(step, **named)

    restore = checkpoints._manager.restore
    with monkeypatch.context() as hooks:
        hooks.setattr(checkpoints._manager, 'restore', lacks)
        assert checkpoints.restore(placed(state(0)))[0] == 1
    assert (tmp_path / '2.damaged').is_dir()


def test_without_open_files_left_nothing_is_set_aside(tmp_path):
    script = textwrap.dedent(f"""
        import os, resource, sys
        sys.path.insert(0, 'tests/checkpoint')
        import jax
        jax.config.update('jax_num_cpu_devices', 2)
        import test_manager as t
        t.saved({str(tmp_path)!r}, 1, 2).close()
        checkpoints, limits = t.CheckpointManager({str(tmp_path)!r}), resource.getrlimit(resource.RLIMIT_NOFILE)
        like = t.placed(t.state(0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir('/proc/self/fd'))), limits[1]))
        try:
            checkpoints.restore(like)
        except t.UserError as mistake:
            said = str(mistake)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        print(checkpoints.restore(like)[0], said)
    """)
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, timeout=120)
    assert (
        done.stdout.startswith('2 Could not read the checkpoint of step 2') and 'Too many open files' in done.stdout
    ), done.stderr[-2000:]


def test_want_of_memory_while_reading_back_is_no_damage(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path, 1)
    checkpoints.save(2, placed(state(2)), {})
    with monkeypatch.context() as hooks:
        hooks.setattr(checkpoints._manager, 'restore', lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(UserError, match='step 2 .*no memory is left'):
            checkpoints.wait()
    assert CheckpointManager(tmp_path).restore(placed(state(0)))[0] == 2


def test_metrics_that_a_disk_does_not_give_set_nothing_aside(tmp_path, monkeypatch):
    saved(tmp_path, 1, errors=(0.5,)).close()
    read = Path.read_text

    def fails(self, *given, **named):
        if self.name == 'metrics':
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))
        return read(self, *given, **named)

    with monkeypatch.context() as hooks:
        hooks.setattr(Path, 'read_text', fails)
        with pytest.raises(UserError, match='step 1 .*Input/output error'):
            CheckpointManager(tmp_path)
    assert CheckpointManager(tmp_path).best() == 1


def test_before_the_first_checkpoint_there_is_none_yet(tmp_path):
    with pytest.raises(UserError, match='has no whole checkpoint yet'):
        CheckpointManager(tmp_path / 'new').restore(placed(state(0)))


def test_a_run_that_had_checkpoints_does_not_begin_afresh_unasked(tmp_path):
    of_run = tmp_path / 'checkpoints'
    CheckpointManager(of_run).require_fresh_run(has_rows=True)  # killed before its first save
    saved(of_run, 1).close()
    CheckpointManager(of_run).require_fresh_run(has_rows=True)
    array_files(of_run / '1').write_bytes(b'')
    for _ in range(2):  # it was set aside the first time
        with pytest.raises(UserError, match='No whole checkpoint is left'):
            checkpoints = CheckpointManager(of_run)
            checkpoints.require_fresh_run(has_rows=True)
            checkpoints.restore(placed(state(0)))
    with pytest.raises(UserError, match=r'\(damaged: 1\.damaged\)\. Restore one from a copy'):
        CheckpointManager(of_run).require_fresh_run(has_rows=False)
    shutil.rmtree(of_run)
    with pytest.raises(UserError, match='had saved checkpoints, and .* has none'):
        CheckpointManager(of_run).require_fresh_run(has_rows=True)
    CheckpointManager(of_run).require_fresh_run(has_rows=False)  # with nothing left of it


def test_a_run_whose_only_checkpoint_was_given_up_may_begin_afresh(tmp_path):
    checkpoints = saved(tmp_path / 'checkpoints', 5)
    checkpoints.delete_after(3)
    checkpoints.require_fresh_run(has_rows=True)


class Killed(BaseException):
    """Stands for the end of the process."""


def dead(*given, **named):
    raise Killed


def dies(monkeypatch, owner, name, place):
    """As if killed at the beginning of a call whose first or second path ends so."""
    original = getattr(owner, name)

    def hooked(*given, **named):
        there = name != 'rmtree' or Path(given[0]).exists()
        if there and any(str(each).endswith(place) for each in given[:2]):
            raise Killed
        return original(*given, **named)

    monkeypatch.setattr(owner, name, hooked)


@pytest.mark.parametrize(
    'owner, name, place',
    [
        (os, 'rename', '1.before'),  # as it is put by
        (checksums, 'array_digests', ''),  # it is put by, and the new one not begun
        (os, 'rename', f'{os.sep}1'),  # the new one has no name yet
        (os, 'replace', 'files.json'),  # it was not yet listed
        (shutil, 'rmtree', '-old'),  # the old one is being deleted
    ],
)
def test_while_a_step_is_saved_again_a_whole_checkpoint_of_it_is_there(owner, name, place, tmp_path, monkeypatch):
    saved(tmp_path, 1).close()
    checkpoints = CheckpointManager(tmp_path)
    checkpoints.restore(placed(state(0)))
    with monkeypatch.context() as hooks:
        dies(hooks, owner, name, place) if place else hooks.setattr(owner, name, dead)
        with pytest.raises((Killed, Exception)):  # a thread of orbax's passes it on in its own way
            checkpoints.save(1, placed(state(5)), {'new': True}, top1_error=0.5, overwrite=True)
            checkpoints.wait()
    found = CheckpointManager(tmp_path)
    step, restored, record = found.restore(placed(state(0)))
    assert step == 1
    same(restored, state(5 if record.get('new') else 1))
    assert bool(record.get('new')) is (found.best() == 1) is (name == 'rmtree')
    found.save(1, placed(state(5)), {'new': True}, top1_error=0.5, overwrite=True)
    found.wait()
    assert found.restore(placed(state(0)))[2] == {'new': True} and found.best() == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ['1']


@pytest.mark.parametrize('processes', [1, 2])
def test_each_column_is_hashed_once_on_a_host_however_many_replicas_it_holds(processes, monkeypatch):
    expected, counted, sha256 = checksums.array_digests(placed(state(0))), [], hashlib.sha256
    replicated = placed(state(0), (4, 2))
    monkeypatch.setattr(jax, 'process_count', lambda: processes)
    monkeypatch.setattr(checksums.multihost_utils, 'process_allgather', lambda numbers: numbers[None])
    monkeypatch.setattr(checksums.hashlib, 'sha256', lambda data: counted.append(data) or sha256(data))
    assert checksums.array_digests(replicated) == expected
    assert len(counted) == 4 * 2  # arrays and columns
