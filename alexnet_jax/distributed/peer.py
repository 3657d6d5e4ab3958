"""The record of one process in its heartbeat file, and what another process knows by it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from alexnet_jax.exit_codes import ExitCode

# If a peer exited with one of these, there is nothing to wait for.
IMMEDIATE_EXIT_CODES = (ExitCode.INTERNAL_ERROR, ExitCode.USER_ERROR, ExitCode.INTERRUPTED, ExitCode.TERMINATED)
# Size of a heartbeat file, written in one piece; holds the longest record with every character escaped.
RECORD_BYTES = 4096


class Timeouts(NamedTuple):
    """Limits in seconds: of waiting for the others to join, of a peer's silence, of one phase (0: none)."""

    join: float
    peer: float
    stall: float = 0


class Peer:
    """Another process, as the records in its heartbeat file show it."""

    def __init__(self) -> None:
        self.record: dict[str, Any] = {}
        # Whether the file was seen to change: the first content may be of an earlier run.
        self.joined = False
        # Seconds of our own watching since it last changed.
        self.silent_for = 0.0

    def update(self, record: dict[str, Any] | None, seconds: float) -> None:
        """Take in what the file holds, `seconds` after the last look; None if it could not be read."""
        if record and record != self.record:
            self.joined = self.joined or bool(self.record)
            self.record, self.silent_for = record, 0.0
        else:
            self.silent_for += seconds

    @property
    def has_failed(self) -> bool:
        """True if the process ended in a way that leaves nothing to wait for."""
        return self.exit_status in IMMEDIATE_EXIT_CODES

    @property
    def exit_status(self) -> int | None:
        """The status with which the process ended, if it did."""
        return self.record.get('exit_status') if self.joined else None


def status_after(status: int) -> int:
    """Return the status of this process after a peer exited with `status`."""
    return status if status in (ExitCode.USER_ERROR, ExitCode.STOPPED) else ExitCode.PEER_LOST


def write_record(file: Path, record: dict[str, Any]) -> None:
    """Write the record to a file in place, in one piece, and close it: so NFS shows it to whoever opens it next."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, json.dumps(record).encode()[:RECORD_BYTES].ljust(RECORD_BYTES), 0)
    finally:
        os.close(descriptor)


def read_record(file: Path) -> dict[str, Any] | None:
    """Return the record in a file, or None if there is no complete one."""
    try:
        record = json.loads(file.read_bytes() or b'null')
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
