"""Checks that the processes of a run agree: the same values, one shared folder, a dataset that each can read."""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.distributed import heartbeat
from alexnet_jax.distributed.initialize import is_multi_process, is_primary
from alexnet_jax.errors import UserError

NONCE_FILE = 'nonce'


def source_checksum() -> str:
    """Return the first digits of a SHA-256 over this package's source files."""
    digest, root = hashlib.sha256(), Path(__file__).parents[1]
    for file in sorted(root.rglob('*.py')):
        digest.update(str(file.relative_to(root)).encode() + b'\0' + file.read_bytes())
    return digest.hexdigest()[:12]


def assert_equal_across_hosts(values: Mapping[str, Any]) -> None:
    """Raise the same UserError in all processes unless all have equal values; all must call it at the same place."""
    if not is_multi_process():
        return
    hosts = all_gather_json({'host': socket.gethostname(), 'values': dict(values)})
    expected = hosts[0]['values']
    differences = [
        f'{name} is {host["values"].get(name, "missing")!r} for process {index} ({host["host"]}) and '
        f'{expected.get(name, "missing")!r} for process 0'
        for index, host in enumerate(hosts)
        for name in expected | host['values']
        if host['values'].get(name, 'missing') != expected.get(name, 'missing')
    ]
    if differences:
        more = f', and {len(differences) - 10} more' if len(differences) > 10 else ''
        raise UserError(
            f'Processes disagree: {"; ".join(differences[:10])}{more}. '
            f'Start all of them from the same files with the same command; process 0 is on {hosts[0]["host"]}.'
        )


def assert_shared_folder(folder: Path, timeout: float) -> None:
    """Raise the same UserError in all processes unless each sees within `timeout` seconds what process 0 writes."""
    nonce, file = secrets.token_hex(8), folder / heartbeat.HEARTBEAT_DIR / NONCE_FILE
    if is_primary():
        file.write_text(nonce)
    expected = all_gather_json(nonce)[0]
    seen = _wait_until(lambda: _read_or_empty(file) == expected, timeout)
    hosts = all_gather_json({'host': socket.gethostname(), 'seen': seen})
    if blind := [f'process {i} ({host["host"]})' for i, host in enumerate(hosts) if not host['seen']]:
        raise UserError(
            f'{folder} is not shared by all hosts: {", ".join(blind)} cannot see there what process 0 '
            f'({hosts[0]["host"]}) writes; choose a --workdir on a disk that all hosts share.'
        )


def assert_dataset_everywhere(directory: Path, is_prepared: Callable[[Path], bool], timeout: float) -> None:
    """Raise the same UserError in all processes if one of them would wait for a dataset that is never built there.

    Only process 0 prepares. If it has a dataset, the others must have one within `timeout` seconds; if it has none,
    those without one must share its folder.
    """
    mine = {'host': socket.gethostname(), 'directory': str(directory.absolute())}

    def gather_states() -> list[dict[str, Any]]:
        return all_gather_json(mine | {'prepared': is_prepared(directory)})

    first, *others = gather_states()
    if first['prepared'] and not all(host['prepared'] for host in others):  # a shared disk may show it late
        _wait_until(lambda: is_prepared(directory), timeout)
        first, *others = gather_states()
    lacking = [
        f'process {i} ({host["host"]}) has none in {host["directory"]}'
        for i, host in enumerate(others, 1)
        if not host['prepared'] and (first['prepared'] or host['directory'] != first['directory'])
    ]
    if lacking:
        state = 'has its dataset' if first['prepared'] else 'would prepare the dataset'
        raise UserError(
            f'Process 0 ({first["host"]}) {state} in {first["directory"]}, and {"; ".join(lacking)}; prepare or copy '
            'it there first, or choose a --config.data.directory that all hosts share.'
        )


def all_gather_json(value: Any) -> list[Any]:
    """Return the `value` of each process, anything that JSON can hold, in the order of the processes."""
    from jax.experimental import multihost_utils

    encoded = np.frombuffer(json.dumps(value).encode(), np.uint8)
    longest = int(np.max(multihost_utils.process_allgather(np.array(len(encoded)))))
    padded = np.full(longest, ord(' '), np.uint8)
    padded[: len(encoded)] = encoded
    return [json.loads(row.tobytes()) for row in np.asarray(multihost_utils.process_allgather(padded))]


def _wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Return whether the condition holds within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return holds


def _read_or_empty(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ''
