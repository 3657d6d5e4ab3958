"""Preparations killed by SIGKILL continue to the same bytes: killed_preparations.py of benchmarks, in short."""

import importlib.util
import subprocess
from pathlib import Path

import archives
import pytest

FILE = Path(__file__).resolve().parents[2] / 'benchmarks' / 'robustness' / 'killed_preparations.py'
SIZES = {'image_size': 32, 'shard_size': 8}


@pytest.fixture(scope='module')
def script():
    spec = importlib.util.spec_from_file_location('killed_preparations', FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.extended
def test_killed_while_it_reads_reorders_or_finalizes_it_comes_to_the_same_bytes(script, tmp_path):
    images = {f'{"cat" if n % 2 else "dog"}/{n:02}.jpg': archives.make_jpeg(n, (900, 600)) for n in range(60)}
    path = tmp_path / 'pets.tar.gz'
    path.write_bytes(archives.pack_tar(images, 'w:gz', order=1))
    subprocess.run(script.preparation_command(path, tmp_path / 'undisturbed', workers=1, **SIZES), check=True)
    expected = script.checksums(tmp_path / 'undisturbed')
    assert 'manifest.json' in expected and sum('-of-' in name for name in expected) > 6
    rows = [
        script.run_trial(path, tmp_path / 'killed', phase, seed, expected, workers=2, **SIZES)
        for seed, phase in enumerate(script.PHASES)
    ]
    assert all(row['same'] for row in rows)
    assert [row['killed while'] for row in rows][0] == 'reading'
    assert rows[1]['killed while'] != 'reading' and rows[2]['killed while'] not in ('reading', 'reordering')


def test_what_a_kill_left_tells_what_was_under_way(script):
    read = {'read-train.array_record-00000-of-00002', 'read-train.array_record-00001-of-00002.partial'}
    assert script.interrupted_phase(read) == 'reading'
    ordered = read | {'pets-train.array_record-00000-of-00002'}
    assert script.interrupted_phase(ordered) == 'reordering'
    assert script.interrupted_phase(ordered | {'statistics.npz'}) == 'finalizing'
    assert script.interrupted_phase(ordered | {'statistics.npz', 'manifest.json'}) == 'after the manifest'


def test_other_bytes_and_a_folder_left_over_are_noticed(script, tmp_path):
    (tmp_path / 'd').mkdir()
    (tmp_path / 'd' / 'a').write_bytes(b'one')
    before = script.checksums(tmp_path / 'd')
    (tmp_path / 'd' / 'a').write_bytes(b'two')
    assert script.checksums(tmp_path / 'd') != before
    (tmp_path / 'd' / '.preparing').mkdir()
    assert script.checksums(tmp_path / 'd')['.preparing'] == 'a folder'
