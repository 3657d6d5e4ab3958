"""Heartbeats: each process writes its phase to a shared folder, so that one that is missing, lost or stuck is named.

jax alone would wait forever in a collective, or end this process without a message.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import NoReturn

from alexnet_jax.distributed import connection, lost_peers
from alexnet_jax.distributed.peer import Peer, Timeouts, read_record, status_after, write_record
from alexnet_jax.errors import UserError, first_line
from alexnet_jax.exit_codes import ExitCode

HEARTBEAT_DIR = '.peers'
# How long process 0, whose exit ends jax's own service, waits for the others to print their messages.
LINGER_SECONDS = 5

_heartbeat: Heartbeat | None = None


class Heartbeat(threading.Thread):
    """Writes this process's record, watches the others', and ends the process if one of them is lost."""

    def __init__(self, folder: Path, process: int | None, num_processes: int | None, timeouts: Timeouts):
        super().__init__(name='heartbeat', daemon=True)
        self.process, self._num_processes = process, num_processes
        self._timeouts = timeouts
        self.phase, self._phase_count, self._seconds_in_phase = 'joining', 0, 0.0
        self._joined, self._exit = False, (None, '')
        self._probe: connection.ConnectionProbe | None = None
        self._is_disconnected = False
        self._run, self._count, self._interval = secrets.token_hex(4), 0, min(1.0, timeouts.peer / 8)
        self._peers: dict[str, Peer] = {}
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._folder = folder
        self.advice = ('', '')
        self._name = f'{socket.gethostname()}-{os.getpid()}' if process is None else str(process)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._write()
        except OSError as error:
            message = f'{folder} cannot be written ({error}); choose a --workdir that all processes share.'
            raise UserError(message) from error

    def run(self) -> None:
        """Write the own record and read the others' at every interval, until this process ends."""
        waited, last = 0.0, time.monotonic()
        while not self._stopped.wait(self._interval):
            # If this process was suspended, the others may have been too, and their silence does not count.
            seconds = min(time.monotonic() - last, 2 * self._interval)
            last = time.monotonic()
            waited += seconds
            self._seconds_in_phase += seconds
            try:
                self._write()
                self._poll(seconds)
            except OSError:  # the folder is away for a moment; the others count our silence
                continue
            if not self._joined and waited > self._timeouts.join:
                self.abort(ExitCode.PEER_LOST, self._missing_message())
            if self._joined and (failure := self._find_failure()):
                self.abort(*failure)
            if self._joined and (probe := self._probe) and probe.failures >= connection.MAX_FAILURES:
                reason = f'{probe.address} does not answer, although both write their heartbeats'
                self.abort_if_disconnected('0', reason)

    def stop(self) -> None:
        """Stop watching: there are no other processes."""
        self._stopped.set()
        signal.signal(signal.SIGABRT, signal.SIG_DFL)

    def mark_joined(self, process: int, num_processes: int, coordinator: str) -> None:
        """Count silence from here on, as all processes are there."""
        if self.process is None:
            (self._folder / self._name).unlink(missing_ok=True)
            self._name, self.process, self._num_processes = str(process), process, num_processes
            self._peers = {}
        for peer in self._peers.values():
            peer.silent_for = 0.0
        if process and coordinator:
            self._probe = connection.start_probe(coordinator, self._timeouts.peer / 8)
        self._joined = True

    def hosts(self) -> set[str]:
        """Return the names of the hosts of the other processes."""
        self._poll(0.0)
        return {peer.record['host'] for peer in self._peers.values() if 'host' in peer.record}

    def set_phase(self, phase: str) -> None:
        """Set what this process is doing."""
        self.phase = phase
        self._phase_count += 1
        self.reset_stall()

    def reset_stall(self) -> None:
        """Count from here how long the phase lasts."""
        self._seconds_in_phase = 0.0

    def primary(self) -> Peer:
        """Return what is known of process 0."""
        return self._peers.get('0') or Peer()

    def announce_exit(self, status: int, message: str) -> None:
        """Write the last record of this process."""
        self._exit = status, message
        self._write()

    def abort(self, status: int, message: str) -> NoReturn:
        """End this process with a message and all phases. Also from a thread, as the main one may be stuck."""
        lines = [' '.join(message.split()), *lost_peers.format_phases(self._name, self.phase, self._peers)]
        os.write(2, ('\n'.join(lines) + '\n').encode())
        self.exit(status, message)

    def exit(self, status: int, message: str) -> NoReturn:
        """End this process without waiting at jax's own barrier, which lost processes never reach."""
        try:
            self.announce_exit(status, message)
            self._wait_for_peers()
        finally:
            os._exit(status)

    def wait_for_verdict(self, error: BaseException) -> None:
        """Wait as long as it takes to notice a lost peer or connection, which ends this process."""
        time.sleep(self._timeouts.peer / 2)
        if connection.is_connection_error(error):
            names = [name for name in self._peers if name.isdecimal()]
            self.abort_if_disconnected(names[0] if len(names) == 1 else '', first_line(error))
        time.sleep(self._timeouts.peer / 2 + 4 * self._interval)

    def abort_if_disconnected(self, name: str, reason: str) -> None:
        """End this process for the lost connection to process `name` (empty: one of all), unless that is silent."""
        peers = [self._peers[name]] if name else self._peers.values()
        if any(peer.exit_status is not None or peer.silent_for > self._timeouts.peer / 4 for peer in peers):
            return
        self._is_disconnected = True
        message = lost_peers.disconnection_message(self._name, name, self._peers, reason)
        self.abort(ExitCode.PEER_LOST, message)

    def delay_sigabrt(self) -> None:
        """Delay the abort with which jax answers the exit of process 0, until the lost peer was named."""

        def wait(_: int) -> None:
            signal.alarm(int(3 * self._timeouts.peer) + 60)  # should even this be stuck
            time.sleep(self._timeouts.peer + LINGER_SECONDS + 4)

        # An attribute, as what C calls must not be collected.
        self._sigabrt_handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(wait)
        libc = ctypes.CDLL(None)
        libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
        libc.signal(signal.SIGABRT, ctypes.cast(self._sigabrt_handler, ctypes.c_void_p))

    def _find_failure(self) -> tuple[int, str] | None:
        status = self._exit[0]
        # Who is done may wait for the others.
        own = None if status is not None else (self._name, self._phase_count, self._seconds_in_phase)
        lost = lost_peers.find_lost(self._peers, self._timeouts, has_ended_well=status == 0)
        return lost or lost_peers.find_stuck(self._peers, self._timeouts, own)

    def _missing_message(self) -> str:
        folder, timeouts, advice = self._folder, self._timeouts, self.advice
        return lost_peers.missing_message(
            self._name, self._peers, self._num_processes, folder=folder, timeouts=timeouts, advice=advice
        )

    def _wait_for_peers(self) -> None:
        for _ in range(int(LINGER_SECONDS / self._interval) if self.process == 0 else 0):
            self._poll(self._interval)
            if all(
                peer.exit_status is not None or peer.silent_for > self._timeouts.peer for peer in self._peers.values()
            ):
                return
            time.sleep(self._interval)

    def _write(self) -> None:
        with self._lock:
            status, message = self._exit
            record = {
                'run': self._run,
                'count': self._count,
                'host': socket.gethostname(),
                'pid': os.getpid(),
                'phase': self.phase[:200],
                'phase_count': self._phase_count,
                'seconds_in_phase': self._seconds_in_phase,
                'exit_status': status,
                'message': message[:400],
                'disconnected': self._is_disconnected,
            }
            self._count += 1
            write_record(self._folder / self._name, record)

    def _poll(self, seconds: float) -> None:
        if self._num_processes is None or self.process is None:
            names = {path.name for path in self._folder.iterdir()}
        else:
            names = {str(process) for process in range(self._num_processes)}
        for name in names - {self._name}:
            self._peers.setdefault(name, Peer()).update(read_record(self._folder / name), seconds)


def start_heartbeat(
    folder: Path, process: int | None, num_processes: int | None, timeouts: Timeouts, advice: tuple[str, str] = ('', '')
) -> None:
    """Begin to exchange heartbeats in `folder`. Raises UserError if it cannot be written.

    `advice`: a sentence for when processes are missing, and one for when all are here and cannot join.
    """
    global _heartbeat
    _heartbeat = Heartbeat(folder / HEARTBEAT_DIR, process, num_processes, timeouts)
    _heartbeat.advice = advice
    _heartbeat.delay_sigabrt()
    _heartbeat.start()


def mark_joined(process: int, num_processes: int, coordinator: str = '') -> None:
    """Count silence from here on, as all processes are there; probe the connection to process 0 at `coordinator`."""
    assert _heartbeat is not None
    _heartbeat.mark_joined(process, num_processes, coordinator)


def peer_hosts() -> set[str]:
    """Return the names of the hosts of the other processes, which have joined."""
    assert _heartbeat is not None
    return _heartbeat.hosts()


def stop_heartbeat() -> None:
    """Stop: there are no other processes after all."""
    global _heartbeat
    if _heartbeat is not None:
        _heartbeat.stop()
        _heartbeat = None


def set_phase(phase: str) -> None:
    """Set what this process is doing, as the others will report it if it is lost. Does nothing in a single process."""
    if _heartbeat is not None:
        _heartbeat.set_phase(phase)


def exit_if_primary_exited() -> None:
    """End this process if process 0 has ended; for waits in Python for what process 0 makes."""
    if _heartbeat is None:
        return
    _heartbeat.reset_stall()
    primary = _heartbeat.primary()
    if primary.exit_status not in (None, 0):
        _heartbeat.abort(status_after(primary.exit_status), f'Process 0 ended: {primary.record["message"]}')


def primary_phase() -> str:
    """Return the last known phase of process 0; empty if unknown."""
    primary = _heartbeat.primary() if _heartbeat is not None else Peer()
    return primary.record.get('phase', '') if primary.joined else ''


def announce_exit(status: int, message: str = '', error: BaseException | None = None) -> None:
    """Tell the other processes how this one ends; unless it ends well, exit here.

    An `error` without a message for the user may come of a lost peer: then that is reported, and no traceback.
    """
    if _heartbeat is None:
        return
    if error is not None:
        _heartbeat.set_phase(f'failing with {first_line(error) or type(error).__name__}')
        _heartbeat.wait_for_verdict(error)
        traceback.print_exception(error)
    elif status not in (ExitCode.OK, ExitCode.STOPPED):
        print(message, file=sys.stderr)
    if status not in (ExitCode.OK, ExitCode.STOPPED):
        sys.stderr.flush()
        _heartbeat.exit(status, message)
    _heartbeat.announce_exit(status, message)
