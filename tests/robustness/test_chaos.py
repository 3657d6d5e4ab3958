"""A training that is killed anywhere ends as the uninterrupted one: the short form of robustness/chaos.py."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'benchmarks' / 'robustness'))

import kill_points  # noqa: E402


def chaos(folder, *words):
    """Run the harness as its command does."""
    return subprocess.run(
        [sys.executable, ROOT / 'benchmarks' / 'robustness' / 'chaos.py', f'--workdir={folder}', *words],
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize(
    'kills, most, points, seed',
    [(3, 3, 3, 1), pytest.param(10, 14, 5, 5, marks=pytest.mark.extended)],
    ids=['few', 'many'],
)
def test_killed_again_and_again_a_run_ends_in_the_same_bits(kills, most, points, seed, tmp_path):
    done = chaos(tmp_path, f'--kills={kills}', f'--seed={seed}', '--life', str(min(kills, 6)), str(most))
    last = done.stdout.splitlines()[-1]
    found = re.match(r'(\d+) kills at (\d+) points in \d+ runs .*: 0 differ from the uninterrupted run$', last)
    assert done.returncode == 0 and found and int(found[1]) >= kills and int(found[2]) >= points, (
        done.stdout + done.stderr
    )
    rows = [json.loads(line) for line in (tmp_path / 'results.jsonl').read_text().splitlines()]
    assert sum('point' in row for row in rows) == int(found[1])

    # What it finds equal it could have found different.
    whole = tmp_path / 'whole' / 'metrics.jsonl'
    whole.write_text(whole.read_text().replace('"step": 2,', '"step": 2, "odd": 1,'))
    life = max(row['life'] for row in rows) + 1
    again = chaos(
        tmp_path, f'--kills={int(found[1]) + 1}', f'--seed={seed}', '--point=the first step', '--life', '1', '1'
    )
    assert again.returncode == 1 and f'life {life}: ' in again.stdout
    assert 'metrics.jsonl' in again.stdout and '1 differ' in again.stdout.splitlines()[-1]


def test_the_points_that_are_calls_are_calls_of_what_is_there():
    calls = [point for point in kill_points.POINTS.values() if isinstance(point, kill_points.Call)]
    assert len(calls) > 8
    for point in calls:
        assert callable(getattr(*kill_points.find_owner(point.name)))


@pytest.mark.parametrize('when, there', [('before', False), ('after', True)])
def test_a_kill_comes_before_or_after_a_file_has_its_name(when, there, tmp_path):
    (tmp_path / 'aside').write_text('whole')
    child = os.fork()
    if not child:
        kill_points.Rename('*/named', when).install(1, 0)
        os.replace(tmp_path / 'aside', tmp_path / 'named')
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert (tmp_path / 'named').exists() is there
