"""Which of the other processes are missing, lost or stuck by what their heartbeats show, and the messages about it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

from alexnet_jax.distributed.peer import Peer, Timeouts, status_after
from alexnet_jax.exit_codes import ExitCode

RERUN = 'Run the same command on all hosts; it continues from the last checkpoint.'


def find_lost(peers: Mapping[str, Peer], timeouts: Timeouts, *, has_ended_well: bool) -> tuple[int, str] | None:
    """Return status and message about a process that failed or fell silent; None if there is none.

    `has_ended_well`: this process did, and needs no process that has ended.
    """
    for name, peer in peers.items():
        status = peer.exit_status
        if status == 0 or (has_ended_well and status is not None):
            continue
        is_silent = peer.silent_for > timeouts.peer
        if status is not None and peer.record.get('disconnected'):
            return ExitCode.PEER_LOST, peer.record['message']
        if status is not None and (peer.has_failed or is_silent):
            message = f'{format_process(name, peers)} exited with status {status}: {peer.record["message"]}'
            return status_after(status), message
        if status is None and is_silent:
            return ExitCode.PEER_LOST, (
                f'{format_process(name, peers)} is lost: no heartbeat for {timeouts.peer:.0f} s '
                f'(config.machine.peer_timeout). {RERUN}'
            )
    return None


def find_stuck(
    peers: Mapping[str, Peer], timeouts: Timeouts, own: tuple[str, int, float] | None
) -> tuple[int, str] | None:
    """Return status and message about the process furthest behind if one stays too long in a phase; None if none does.

    Those that it holds up make no progress either. `own`: this process's name, number of phases and seconds in the
    last; None if it has ended.
    """
    progress = {
        name: (peer.record['phase_count'], peer.record['seconds_in_phase'])
        for name, peer in peers.items()
        if peer.joined and peer.exit_status in (None, ExitCode.PEER_LOST)
    }
    if own is not None:
        progress[own[0]] = own[1:]
    if not 0 < timeouts.stall < max((seconds for _, seconds in progress.values()), default=0):
        return None
    stalled = [name for name, (_, seconds) in progress.items() if seconds > timeouts.stall / 2]
    name = min(stalled, key=lambda name: (progress[name][0], name))
    return ExitCode.PEER_LOST, (
        f'{format_process(name, peers)} is alive but made no progress for {progress[name][1]:.0f} s '
        f'(config.machine.stall_timeout). {RERUN}'
    )


def missing_message(
    own: str,
    peers: Mapping[str, Peer],
    num_processes: int | None,
    *,
    folder: Path,
    timeouts: Timeouts,
    advice: tuple[str, str],
) -> str:
    """Return the message about those that have not come to `folder` in time, or have and cannot join.

    `own` is the number of this process, or a name if it does not know that; `advice` is a sentence for either case.
    """
    joined = [name for name, peer in peers.items() if peer.joined]
    missing = sorted(peers.keys() - joined, key=int) if num_processes and own.isdecimal() else []
    names = ', '.join(format_process(name, peers) for name in sorted([own, *joined]))
    timed_out = f'Timed out after {timeouts.join:.0f} s (config.machine.join_timeout)'
    if num_processes and not missing and len(joined) + 1 >= num_processes:
        return (
            f'{timed_out}: all {num_processes} processes are here ({names}), but they cannot connect to process 0. '
            f'{advice[1]}'
        )
    plural = 'es' if len(missing) > 1 else ''
    who = f'process{plural} {", ".join(missing)} of {num_processes}' if missing else 'others'
    return (
        f'{timed_out} waiting for {who} in {folder}; joined: {names}. '
        f'Start every process with the same command and a --workdir that all hosts share. {advice[0]}'
    )


def disconnection_message(own: str, other: str, peers: Mapping[str, Peer], reason: str) -> str:
    """Return the message about the lost connection to the process `other`; empty: to one of them."""
    between = f'{format_process(own, peers)} and {format_process(other, peers) if other else "another process"}'
    return f'The connection between {between} was lost: {reason}. Check the network. {RERUN}'


def format_process(name: str, peers: Mapping[str, Peer]) -> str:
    """Return 'process 1 (HOST)'; the name of a process without a number as it is."""
    peer = peers.get(name)
    host = peer.record.get('host', '?') if peer else socket.gethostname()
    return f'process {name} ({host})' if name.isdecimal() else name


def format_phases(own: str, phase: str, peers: Mapping[str, Peer]) -> list[str]:
    """Return a line about what each process was doing, this one's first."""
    return [f'  {format_process(own, peers)}, reporting, was at: {phase}'] + [
        f'  {format_process(name, peers)} was at: {peer.record.get("phase", "unknown")}, {peer.silent_for:.0f} s ago'
        for name, peer in sorted(peers.items())
    ]
