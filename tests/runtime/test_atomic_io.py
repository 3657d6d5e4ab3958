"""Atomic writes, the cleanup of what interrupted ones left, locks and free space."""

import os
import shutil
import subprocess
import sys

import pytest

from alexnet_jax.errors import UserError
from alexnet_jax.runtime import atomic_io


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / 'a.json'
    with atomic_io.write_atomic(path) as file:
        file.write('é\n')
        assert not path.exists()
    assert path.read_bytes() == 'é\n'.encode()
    with atomic_io.write_atomic(path, 'wb') as file:
        file.write(b'\0')
    assert path.read_bytes() == b'\0' and os.listdir(tmp_path) == ['a.json']


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    atomic_io.write_json(tmp_path / 'a.json', {'b': 1, 'a': [2]})
    with pytest.raises(KeyboardInterrupt), atomic_io.write_atomic(tmp_path / 'a.json') as file:
        file.write('half')
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match='not JSON compliant'):
        atomic_io.write_json(tmp_path / 'a.json', float('nan'), allow_nan=False)
    assert (tmp_path / 'a.json').read_text() == '{\n  "a": [\n    2\n  ],\n  "b": 1\n}\n'
    assert os.listdir(tmp_path) == ['a.json']


def test_what_a_kill_leaves_is_cleared_and_nothing_else(tmp_path):
    script = (
        'import os, sys; from alexnet_jax.runtime import atomic_io\n'
        'with atomic_io.write_atomic(sys.argv[1]): os.kill(os.getpid(), 9)'
    )
    for name in ('curves.png', 'cutouts-train.array_record-00000-of-00001', 'any name'):
        subprocess.run([sys.executable, '-c', script, tmp_path / name], check=False)
    left = os.listdir(tmp_path)
    assert len(left) == 3 and all(atomic_io.is_temp(name) for name in left)
    kept = {'notes.partial', '.notes.json.1', '.run.json', '.result.json.mine', 'a.new'}
    for name in kept:
        (tmp_path / name).touch()
    atomic_io.clean_temp(tmp_path)
    atomic_io.clean_temp(tmp_path / 'missing')
    assert set(os.listdir(tmp_path)) == kept


def test_what_another_process_is_writing_stays_until_it_is_done_or_killed(tmp_path):
    script = (
        'import sys; from alexnet_jax.runtime import atomic_io\n'
        'with atomic_io.atomic_path(sys.argv[1]) as temp:\n'
        '    temp.write_text("half"); print(flush=True); sys.stdin.read(); temp.write_text("whole")'
    )
    words, pipe = [sys.executable, '-c', script], subprocess.PIPE
    writers = [subprocess.Popen([*words, tmp_path / name], stdin=pipe, stdout=pipe) for name in 'ab']
    for writer in writers:
        writer.stdout.readline()
    atomic_io.clean_temp(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ['half', 'half']
    writers[1].kill()
    writers[1].wait()
    atomic_io.clean_temp(tmp_path)
    writers[0].communicate(timeout=20)
    assert writers[0].returncode == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {'a': 'whole'}


def test_a_lock_that_another_holds_is_refused_with_the_message(tmp_path):
    with atomic_io.lock_file(tmp_path / 'lock', 'busy'):
        with pytest.raises(UserError, match='busy'), atomic_io.lock_file(tmp_path / 'lock', 'busy'):
            pass
    with atomic_io.lock_file(tmp_path / 'lock'):
        pass


def test_a_disk_without_space_is_refused_with_both_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: shutil._ntuple_diskusage(10, 0, 3e9))
    atomic_io.require_free_space(tmp_path / 'a' / 'b', 3e9, subject='It', hint='go')
    with pytest.raises(UserError, match=f'It needs 3.1 GB and {tmp_path} has 3.0 GB free; .*, or go.'):
        atomic_io.require_free_space(tmp_path / 'a' / 'b', 3.1e9, subject='It', hint='go')
