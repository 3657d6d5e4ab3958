"""How the processes of a pod come together: they meet, compare what each was given, and say who differs in what."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import secrets
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.commands import prepare
from alexnet_jax.commands import run_dir as folder
from alexnet_jax.config import validate
from alexnet_jax.distributed import heartbeat, initialize
from alexnet_jax.errors import UserError

NONCE = 'nonce'  # a file that shows whether a folder is the same one everywhere
OWN = (
    'data.directory',
    'data.num_threads',
    'data.prefetch',
    'machine.compilation_cache',
    'machine.keep_memory',
)  # may differ by host


def join(config: ConfigDict, workdir: str, coordinator: str, processes: int, process: int) -> None:
    """Makes this process one of its pod, where there is one; UserError on all of them where they do not fit together."""
    where = initialize.place(coordinator, processes, process)
    if where is None:
        return
    shared = Path(workdir) if workdir else prepare.locate_dataset(config, workdir)
    limits = config.machine
    heartbeat.begin(
        shared,
        where.process,
        where.processes,
        join=limits.join_seconds,
        limit=limits.peer_seconds,
        stuck=limits.stuck_seconds,
    )
    if not initialize.join(where, limits.join_seconds):
        heartbeat.alone()
        return
    heartbeat.joined(*initialize.numbers())
    heartbeat.at('comparing what each process was given')
    check_shared(shared, limits.peer_seconds / 2)
    compare(given(config))
    if config.data.directory and not config.predict.images:  # to predict takes no dataset
        check_dataset(prepare.locate_dataset(config, workdir), limits.peer_seconds / 2)
    heartbeat.at('making ready')


def given(config: ConfigDict) -> dict[str, Any]:
    """What must be the same in all processes: fields, versions and this package's own source."""
    fields = {name: value for name, value in validate.flat(config).items() if name not in OWN}
    versions = {name: importlib.metadata.version(name) for name in folder.PACKAGES}
    digest = hashlib.sha256()
    root = Path(validate.__file__).parent
    for file in sorted(root.rglob('*.py')):
        digest.update(str(file.relative_to(root)).encode() + b'\0' + file.read_bytes())
    return {
        **{f'config.{name}': value for name, value in fields.items()},
        **versions,
        'python': platform.python_version(),
        'the source of alexnet_jax (its sum)': digest.hexdigest()[:12],
    }


def compare(mine: Mapping[str, Any]) -> None:
    """Raises the same UserError in all processes where they do not all have the same; all must call it at one place."""
    if not initialize.many():
        return
    hosts = gather({'host': socket.gethostname(), 'given': dict(mine)})
    first = hosts[0]['given']
    sentences = []
    for index, each in enumerate(hosts[1:], 1):
        for name in [*first, *(name for name in each['given'] if name not in first)]:
            there, here = each['given'].get(name, 'missing'), first.get(name, 'missing')
            if there != here:
                sentences.append(
                    f'{name} is {there!r} for process {index} ({each["host"]}) and {here!r} for process 0'
                )
    if sentences:
        more = f', and {len(sentences) - 10} more' if len(sentences) > 10 else ''
        raise UserError(
            f'The processes of this pod were not given the same: {"; ".join(sentences[:10])}{more}. '
            f'Start all of them from the same files with the same command; process 0 is on {hosts[0]["host"]}.'
        )


def check_shared(shared: Path, seconds: float) -> None:
    """Raises the same UserError in all processes where the folder does not prove the same for all within `seconds`."""
    nonce, file = secrets.token_hex(8), shared / heartbeat.FOLDER / NONCE
    if initialize.leads():
        file.write_text(nonce)
    expected = gather(nonce)[0]
    until = time.monotonic() + seconds
    while not (seen := _reads(file) == expected) and time.monotonic() < until:
        time.sleep(0.2)
    hosts = gather({'host': socket.gethostname(), 'seen': seen})
    if blind := [f'process {i} ({each["host"]})' for i, each in enumerate(hosts) if not each['seen']]:
        raise UserError(
            f'{shared} is not one folder for all: {", ".join(blind)} do not see there what process 0 '
            f'({hosts[0]["host"]}) writes; give a --workdir on a disk that all hosts share.'
        )


def check_dataset(directory: Path, seconds: float) -> None:
    """Raises the same UserError in all processes where one of them would wait for a dataset that nobody makes there.

    Process 0 alone prepares. What it has the others must see within `seconds`; where it has none, those who have none
    must name its folder.
    """
    mine = {'host': socket.gethostname(), 'directory': str(directory.absolute())}

    def look() -> list[dict[str, Any]]:
        return gather(mine | {'there': prepare.has_dataset(directory)})

    first, *others = look()
    if first['there'] and not all(each['there'] for each in others):  # a shared disk may show it late
        until = time.monotonic() + seconds
        while not prepare.has_dataset(directory) and time.monotonic() < until:
            time.sleep(0.2)
        first, *others = look()
    lacking = [
        f'process {i} ({each["host"]}) has none in {each["directory"]}'
        for i, each in enumerate(others, 1)
        if not each['there'] and (first['there'] or each['directory'] != first['directory'])
    ]
    if lacking:
        state = 'has its dataset' if first['there'] else 'would prepare the dataset'
        raise UserError(
            f'Process 0 ({first["host"]}) {state} in {first["directory"]}, and {"; ".join(lacking)}; prepare or copy '
            'it there before, or give a --config.data.directory that all hosts share.'
        )


def gather(mine: Any) -> list[Any]:
    """What each process of the pod gives, anything that JSON holds, in their order."""
    from jax.experimental import multihost_utils

    words = np.frombuffer(json.dumps(mine).encode(), np.uint8)
    longest = int(np.max(multihost_utils.process_allgather(np.array(len(words)))))
    padded = np.full(longest, ord(' '), np.uint8)
    padded[: len(words)] = words
    return [json.loads(row.tobytes()) for row in np.asarray(multihost_utils.process_allgather(padded))]


def _reads(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ''
