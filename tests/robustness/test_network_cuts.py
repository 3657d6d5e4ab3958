"""Two hosts whose network is cut both say so and resume to the same bits: the short form of network_cuts.py."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROBUSTNESS = Path(__file__).resolve().parents[2] / 'benchmarks' / 'robustness'
sys.path.insert(0, str(ROBUSTNESS))

import network_cuts  # noqa: E402
import two_hosts  # noqa: E402


@pytest.mark.slow
def test_a_cut_network_is_named_by_both_hosts_and_the_run_resumes_to_the_same_bits(tmp_path):
    if reason := two_hosts.missing_requirement():
        pytest.skip(reason)
    command = [sys.executable, ROBUSTNESS / 'network_cuts.py', f'--workdir={tmp_path}', '--trials=1', '--seed=3']
    done = subprocess.run([*command, '--kind=cut'], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = map(json.loads, (tmp_path / 'results.jsonl').read_text().splitlines())
    assert row['statuses'] == [5, 5] and row['faults'] == [] and max(row['seconds']) < row['peer_timeout']
    last = done.stdout.splitlines()[-1]
    assert re.match(r'1 disturbed runs: 1 cut \(1 with statuses \(5, 5\), .* s to the sentence\); 0 with', last)


@pytest.mark.slow
@pytest.mark.parametrize('host', [0, 1])
def test_a_host_whose_own_name_is_a_loopback_address_is_named_by_both(tmp_path, host):
    if reason := two_hosts.missing_requirement():
        pytest.skip(reason)
    with two_hosts.TwoHosts() as hosts:
        hosts.set_own_name(host, '127.0.1.1')
        processes = network_cuts.start_run(hosts, tmp_path / 'run', peer_timeout=20)
        assert network_cuts.wait_for_exit(processes)[0] == [2, 2]
        for each in (0, 1):
            said = network_cuts.host_log(tmp_path / 'run', each).read_text()
            assert f'Host {hosts.names[host]} calls itself 127.0.1.1, where other hosts cannot reach it' in said
            assert 'Traceback' not in said and 'Gloo' not in said


def test_without_root_or_iproute2_it_is_skipped_with_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(two_hosts.shutil, 'which', lambda tool: None)
    monkeypatch.setattr(two_hosts.os, 'geteuid', lambda: 0)
    assert network_cuts.main([]) == 0
    assert capsys.readouterr().out == 'Skipped: ip, tc, unshare not found; install iproute2 and util-linux.\n'
    monkeypatch.setattr(two_hosts.os, 'geteuid', lambda: 1000)
    assert network_cuts.main([]) == 0 and 'need root' in capsys.readouterr().out


def test_the_figure_counts_the_ends_of_each_kind():
    rows = [
        {'kind': 'cut', 'statuses': [5, 5], 'seconds': [8.5, 8.1], 'faults': []},
        {'kind': 'lossy', 'statuses': [0, 0], 'seconds': [3.0, 3.0], 'faults': ['metrics.jsonl differs']},
    ]
    assert network_cuts.summarize(rows) == (
        '2 disturbed runs: 1 cut (1 with statuses (5, 5), 8.1 to 8.5 s to the sentence); '
        '1 lossy (1 with statuses (0, 0)); 1 with another end than the undisturbed run'
    )
