"""Heartbeats and consistency checks: a missing, lost or stuck process is named in time."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from alexnet_jax.commands import prepare
from alexnet_jax.distributed import connection, consistency, heartbeat
from alexnet_jax.distributed.peer import Timeouts
from alexnet_jax.errors import UserError
from configs import quickstart

LIMIT = 2
CHILD = """
import pathlib, sys, time
from alexnet_jax.distributed import heartbeat
from alexnet_jax.distributed.peer import Timeouts
folder, process, processes, join, comes = pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:6])
heartbeat.start_heartbeat(folder, process, processes, Timeouts(join, {limit}, {stuck}))
time.sleep(0.8)
if comes:
    heartbeat.mark_joined(process, processes, *sys.argv[6:])
heartbeat.set_phase(f'step 7 of process {{process}}')
print('ready', flush=True)
{then}
"""


def started(folder, process, processes, then='time.sleep(60)', join=60, comes=1, stuck=0, address=''):
    words = [str(word) for word in (folder, process, processes, join, comes, address)]
    return subprocess.Popen(
        [sys.executable, '-c', CHILD.format(limit=LIMIT, then=then, stuck=stuck), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )


def pair(folder, then='time.sleep(60)', count=2):
    children = [started(folder, process, count, then) for process in range(count)]
    for child in children:
        assert child.stdout.readline().strip() == 'ready'
    time.sleep(1)  # for each to have heard where the other stands
    return children


def ends(child, status, *words):
    _, complaint = child.communicate(timeout=60)
    assert child.returncode == status, complaint
    for word in words:
        assert word in complaint
    return complaint


def test_a_peer_that_stands_still_is_named_with_where_all_stood(tmp_path):
    first, second = pair(tmp_path)
    second.send_signal(signal.SIGSTOP)
    ends(
        first,
        5,
        'process 1 (',
        f'no heartbeat for {LIMIT} s',
        'was at: step 7 of process 0',
        'was at: step 7 of process 1',
    )
    second.kill()


def test_where_one_dies_all_that_are_left_speak_before_process_0_goes(tmp_path):
    children = pair(tmp_path, count=3)
    children[1].kill()
    for child in (children[0], children[2]):
        ends(child, 5, 'process 1 (')


def test_one_that_never_comes_is_named_with_those_who_did(tmp_path):
    (tmp_path / heartbeat.HEARTBEAT_DIR).mkdir()  # of an earlier run: it does not count as having come
    (tmp_path / heartbeat.HEARTBEAT_DIR / '2').write_text(
        json.dumps({'run': 'old', 'count': 9, 'host': 'x', 'exit_status': None})
    )
    children = [started(tmp_path, process, 3, join=3, comes=0) for process in (0, 1)]
    for child in children:
        ends(
            child,
            5,
            'Timed out after 3 s (config.machine.join_timeout) waiting for process 2 of 3 in',
            'process 0 (',
            'process 1 (',
        )


def test_where_all_are_here_and_cannot_join_that_is_said(monkeypatch, tmp_path):
    beat = heartbeat.Heartbeat(tmp_path / heartbeat.HEARTBEAT_DIR, 0, 2, Timeouts(7, LIMIT))
    beat.advice = 'Start the others.', 'A proxy is set.'
    for count in (1, 2):
        record = {'run': 'new', 'count': count, 'host': 'node2', 'exit_status': None}
        (tmp_path / heartbeat.HEARTBEAT_DIR / '1').write_text(json.dumps(record))
        beat._poll(1.0)
        said = beat._missing_message()
        assert ('waiting for process 1 of 2' in said) == said.endswith('Start the others.') == (count == 1)
    assert 'all 2 processes are here' in said and said.endswith('A proxy is set.')
    assert beat.hosts() == {'node2'}


def test_one_that_ends_with_a_mistake_ends_the_others_with_its_sentence(tmp_path):
    first = started(tmp_path, 0, 2)
    second = started(tmp_path, 1, 2, then="heartbeat.announce_exit(2, 'This disk is full.')")
    ends(second, 2, 'This disk is full.')
    ends(first, 2, 'process 1 (', 'exited with status 2: This disk is full.')


def test_those_who_are_done_wait_for_one_another_in_peace(tmp_path):
    first = started(tmp_path, 0, 2, then=f'time.sleep({1.4 * LIMIT}); heartbeat.announce_exit(0)')
    second = started(tmp_path, 1, 2, then='heartbeat.announce_exit(0)')
    ends(second, 0)
    ends(first, 0)


def test_an_abort_of_jax_is_held_until_the_watch_has_named_the_lost(tmp_path):
    first = started(tmp_path, 0, 2, then='time.sleep(0.8)\nimport os\nos.abort()')
    second = started(tmp_path, 1, 2)
    for child in (first, second):
        assert child.stdout.readline().strip() == 'ready'
    time.sleep(0.5)
    second.kill()
    ends(first, 5, 'process 1 (')


def test_an_error_that_a_lost_peer_caused_is_no_traceback(tmp_path):
    raised = "time.sleep(1)\nheartbeat.announce_exit(1, 'x', RuntimeError('Connection closed by peer'))"
    first, second = started(tmp_path, 0, 2, then=raised), started(tmp_path, 1, 2)
    for child in (first, second):
        assert child.stdout.readline().strip() == 'ready'
    time.sleep(0.3)
    second.kill()
    assert 'Traceback' not in ends(first, 5, 'process 1 (')


def test_a_cut_connection_is_named_by_both_although_both_write_their_heartbeats(tmp_path):
    """A listener with a full queue drops what comes, as a cut cable does."""
    with socket.create_server(('127.0.0.1', 0), backlog=0) as server, contextlib.ExitStack() as stack:
        address = server.getsockname()
        for _ in range(2):
            attempt = stack.enter_context(socket.socket())
            attempt.setblocking(False)
            attempt.connect_ex(address)
        began = time.monotonic()
        children = [started(tmp_path, process, 2, address=f'127.0.0.1:{address[1]}') for process in (0, 1)]
        for child in children:
            sentence = ends(child, 5, f'127.0.0.1:{address[1]} does not answer', 'was at: step 7 of process 1')
            assert re.match(r'The connection between process 1 \(.*\) and process 0 \(.*\) was lost: ', sentence)
    assert time.monotonic() - began < 60


def test_an_address_that_refuses_is_reached_and_one_unknown_is_not_probed():
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
    probe = connection.start_probe(f'127.0.0.1:{port}', 0.05)
    time.sleep(0.3)
    assert probe.failures == 0
    assert connection.start_probe('nowhere.invalid:1', 1) is None and connection.start_probe('', 1) is None


@pytest.mark.parametrize(
    'text, lost',
    [
        ('INTERNAL: Gloo AllReduce failed: [tcp/pair.cc:525] Read error: Connection reset by peer', True),
        ('FAILED_PRECONDITION: Gloo context: recv timed out after 30000ms', True),
        ('UNAVAILABLE: failed to connect to all addresses', True),
        ('INTERNAL: Gloo AllReduce failed: unsupported element type', False),
        ('INVALID_ARGUMENT: shapes do not match', False),
    ],
)
def test_what_a_lost_connection_raised_is_told_from_other_errors(text, lost):
    assert connection.is_connection_error(jax.errors.JaxRuntimeError(text)) is lost
    assert not connection.is_connection_error(ValueError(text))


GLOO = """
import jax
time.sleep(0.4)
error = jax.errors.JaxRuntimeError('INTERNAL: Gloo AllReduce failed: Connection reset by peer')
heartbeat.announce_exit(1, 'x', error)
"""


def test_an_error_of_a_connection_between_two_that_live_is_a_sentence_and_no_traceback(tmp_path):
    first, second = started(tmp_path, 0, 2, then=GLOO), started(tmp_path, 1, 2)
    for child in (first, second):
        said = ends(child, 5, 'The connection between process 0', 'Connection reset by peer')
        assert 'Traceback' not in said


STEPS = """
for step in range(8, {last}):
    heartbeat.set_phase(f'step {{step}} of process {{process}}')
    time.sleep(0.2)
time.sleep({then})  # in a collective, or in a read that never comes back
"""


@pytest.mark.parametrize('hangs', [0, 1])
def test_one_whose_work_hangs_while_it_speaks_is_named_by_all(tmp_path, hangs):
    lasts = [13, 12] if hangs else [12, 13]  # the other is a step further, and waits there
    children = [
        started(tmp_path, process, 2, stuck=2, then=STEPS.format(last=last, then=60))
        for process, last in enumerate(lasts)
    ]
    for child in children:
        said = ends(child, 5, f'process {hangs} (', 'was at: step 11', 'was at: step 12')
        assert said.startswith(f'process {hangs} (') and 'is alive but made no progress for' in said
        assert 'stall_timeout' in said


def test_a_place_may_be_left_slowly_and_who_is_done_may_wait(tmp_path):
    done = started(tmp_path, 0, 2, stuck=2, then='heartbeat.announce_exit(0)\ntime.sleep(3.6)')
    slow = 'time.sleep(1.4)\nheartbeat.exit_if_primary_exited()\ntime.sleep(1.4)\nheartbeat.announce_exit(0)'
    slow = started(tmp_path, 1, 2, stuck=2, then=STEPS.format(last=10, then=0) + slow)
    ends(slow, 0)
    ends(done, 0)


@pytest.mark.slow
def test_who_was_held_itself_blames_nobody(tmp_path):
    children = pair(tmp_path)
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for child in children:
            child.send_signal(number)
        time.sleep(1.5 * LIMIT)
    assert [child.poll() for child in children] == [None, None]
    for child in children:
        child.kill()


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='cannot be written .* that all processes share'):
        heartbeat.start_heartbeat(tmp_path / 'file', 0, 2, Timeouts(join=1, peer=1))


def test_alone_all_of_it_does_nothing():
    heartbeat.set_phase('anywhere')
    heartbeat.exit_if_primary_exited()
    heartbeat.announce_exit(2, 'a sentence')


def several(monkeypatch, *others):
    monkeypatch.setattr(consistency, 'is_multi_process', lambda: True)
    monkeypatch.setattr(consistency, 'all_gather_json', lambda mine: [mine, *others])


def test_hosts_that_differ_are_named_with_what_they_differ_in(monkeypatch):
    mine = {'config.train.learning_rate': 0.1, 'jax': '0.10.2'}
    several(
        monkeypatch,
        {'host': 'b', 'values': mine},
        {'host': 'c', 'values': {'config.train.learning_rate': 0.2, 'numpy': '2'}},
    )
    with pytest.raises(UserError) as mistake:
        consistency.assert_equal_across_hosts(mine)
    said = str(mistake.value)
    assert 'config.train.learning_rate is 0.2 for process 2 (c) and 0.1 for process 0' in said
    assert "jax is 'missing' for process 2 (c)" in said and "numpy is '2' for process 2" in said
    assert '(b)' not in said


def test_hosts_that_were_given_the_same_go_on(monkeypatch):
    several(monkeypatch, {'host': 'b', 'values': {'jax': '1'}})
    consistency.assert_equal_across_hosts({'jax': '1'})


def test_a_folder_that_another_host_does_not_see_is_said(monkeypatch, tmp_path):
    (tmp_path / heartbeat.HEARTBEAT_DIR).mkdir()
    replies = iter([['the nonce'], [{'host': 'a', 'seen': True}, {'host': 'b', 'seen': False}]])
    monkeypatch.setattr(consistency, 'is_primary', lambda: True)
    monkeypatch.setattr(consistency, 'all_gather_json', lambda mine: next(replies))
    with pytest.raises(UserError, match=r'is not shared by all hosts: process 1 \(b\) cannot see'):
        consistency.assert_shared_folder(tmp_path, 0.1)


@pytest.mark.parametrize(
    'first, second, said',
    [
        (('/data', True), ('/scratch', True), ''),  # copies of their own
        (('/data', False), ('/data', False), ''),  # process 0 prepares where all look
        (('/data', False), ('/scratch', True), ''),
        (
            ('/data', True),
            ('/data', False),
            r'0 \(.*\) has its dataset in /data, and process 1 \(b\) has none in /data',
        ),
        (('/data', True), ('/scratch', False), r'and process 1 \(b\) has none in /scratch; prepare or copy it there'),
        (('/data', False), ('/scratch', False), r'would prepare .* /data, and process 1 \(b\) has none in /scratch'),
    ],
)
def test_a_dataset_that_one_host_would_wait_for_in_vain_is_said(monkeypatch, first, second, said):
    other = {'host': 'b', 'directory': second[0], 'prepared': second[1]}
    monkeypatch.setattr(consistency, 'all_gather_json', lambda mine: [mine, other])
    if not said:
        return consistency.assert_dataset_everywhere(Path(first[0]), lambda _: first[1], 0.1)
    with pytest.raises(UserError, match=said):
        consistency.assert_dataset_everywhere(Path(first[0]), lambda _: first[1], 0.1)


def test_a_dataset_that_a_shared_disk_shows_late_is_waited_for(monkeypatch):
    looks = iter([False, False, True, True])
    first = {'host': 'a', 'directory': '/data', 'prepared': True}
    monkeypatch.setattr(consistency, 'all_gather_json', lambda mine: [first, mine])
    consistency.assert_dataset_everywhere(Path('/data'), lambda _: next(looks), 60)
    assert next(looks, None) is None


def test_a_dataset_that_process_0_has_prepared_and_another_does_not_see_is_said(monkeypatch, tmp_path):
    """One path is two disks; the heartbeat stays silent, as both processes live."""
    config = quickstart.get_config()
    config.data.directory, config.machine.peer_timeout = str(tmp_path), 1
    monkeypatch.setattr(prepare.initialize, 'is_primary', lambda: False)
    monkeypatch.setattr(prepare, 'POLL_SECONDS', 0.1)
    standing, began = iter(['making ready'] * 5 + [prepare.PREPARED] * 100), time.monotonic()
    monkeypatch.setattr(heartbeat, 'primary_phase', lambda: next(standing))
    with pytest.raises(UserError, match=f'Process 0 has prepared the dataset, but {tmp_path} on .* has none'):
        prepare.prepare(config)
    assert time.monotonic() - began > 1.5  # the limit counts from when process 0 had it


def test_what_the_first_process_says_is_heard(tmp_path):
    child = started(
        tmp_path, 1, 2, then='time.sleep(2.5)\nprint(heartbeat.primary_phase(), flush=True)\nheartbeat.announce_exit(0)'
    )
    first = started(tmp_path, 0, 2, then='time.sleep(2.5); heartbeat.announce_exit(0)')
    assert child.stdout.readline().strip() == 'ready'
    assert child.stdout.readline().strip() == 'step 7 of process 0'
    ends(child, 0)
    ends(first, 0)
