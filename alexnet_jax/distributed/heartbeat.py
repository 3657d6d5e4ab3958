"""Peers: the processes of a pod tell one another where they stand, so that one that is missing or silent is named.

Each writes every second a few words into a file of its own in a folder that all share, and reads those of the others.
jax alone would wait for ever in a collective, or end this process without a sentence. Knows nothing of what runs.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from alexnet_jax.distributed.peer import Peer, read
from alexnet_jax.errors import UserError

FOLDER = '.peers'
LOST = 5  # the exit status
SIZE = 1024  # bytes of a file: written in one piece, whole or not at all
AT_ONCE = (1, 2, 130, 143)  # a peer that ended so leaves the others nothing to wait for
LINGER = 5  # seconds that process 0, with which jax's own service goes, leaves the others for their sentences

_watch: Watch | None = None


class Watch(threading.Thread):
    """Tells the others where this process stands and looks after them; ends the process where one is lost."""

    def __init__(
        self,
        folder: Path,
        process: int | None,
        processes: int | None,
        *,
        join: float,
        limit: float,
        stuck: float = 0,
    ):
        super().__init__(name='peers', daemon=True)
        self.folder, self.processes, self.limit, self._join = folder, processes, limit, join
        self.at, self.joined, self.verdict = 'joining', False, ''
        self.moves, self.still, self._stuck_limit = (
            0,
            0.0,
            stuck,
        )  # places, and seconds of this watch in the last one
        self._left: tuple[int, str] | None = None
        self._beats, self._beat, self._run = 0, min(1.0, limit / 8), secrets.token_hex(4)
        self._others: dict[str, Peer] = {}
        self._lock = threading.Lock()
        self.over = threading.Event()
        self.name_of_file = f'{socket.gethostname()}-{os.getpid()}' if process is None else str(process)
        self.process = process
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._tell()
        except OSError as error:
            raise UserError(
                f'{folder} cannot be written ({error}); give a --workdir that all processes share.'
            ) from error

    def run(self) -> None:
        """A look at the others with every beat, until this process ends."""
        waited, last = 0.0, time.monotonic()
        while not self.over.wait(self._beat):
            # Where this process itself was held, the others may have been, and their silence is not counted.
            seconds = min(time.monotonic() - last, 2 * self._beat)
            last = time.monotonic()
            waited += seconds
            self.still += seconds
            try:
                self._tell()
                self._look(seconds)
            except OSError:  # the folder is away for a moment; the others count our silence
                continue
            if not self.joined and waited > self._join:
                self.end(LOST, self._missing())
            if self.joined and (found := self._lost() or self._stuck()):
                self.end(*found)

    def leave(self, status: int, sentence: str) -> None:
        """The last word of this process to the others."""
        self._left = (status, sentence)
        self._tell()

    def end(self, status: int, sentence: str) -> NoReturn:
        """Ends this process with its sentence and where all stood. Also from a thread: the main one may be stuck."""
        self.verdict = sentence
        lines = [' '.join(sentence.split()), *(f'  {line}' for line in self._stood())]
        os.write(2, ('\n'.join(lines) + '\n').encode())
        self.quit(status, sentence)

    def quit(self, status: int, sentence: str) -> NoReturn:
        """Ends without waiting for anybody at jax's own barrier, which those who are lost never reach."""
        try:
            self.leave(status, sentence)
            self._linger()
        finally:
            os._exit(status)

    def _linger(self) -> None:
        for _ in range(int(LINGER / self._beat) if self.process == 0 else 0):
            self._look(self._beat)
            if all(peer.left is not None or peer.silent > self.limit for peer in self._others.values()):
                return
            time.sleep(self._beat)

    def _tell(self) -> None:
        with self._lock:
            status, sentence = self._left or (None, '')
            words = {
                'run': self._run,
                'beat': self._beats,
                'host': socket.gethostname(),
                'pid': os.getpid(),
                'at': self.at[:200],
                'moves': self.moves,
                'still': self.still,
                'left': status,
                'sentence': sentence[:400],
            }
            self._beats += 1
            # In place, in one piece and closed: so NFS shows it to whoever opens the file next.
            file = os.open(self.folder / self.name_of_file, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(file, json.dumps(words).encode()[:SIZE].ljust(SIZE), 0)
            finally:
                os.close(file)

    def _look(self, seconds: float) -> None:
        if self.processes is None or self.process is None:
            names = {path.name for path in self.folder.iterdir()}
        else:
            names = {str(process) for process in range(self.processes)}
        for name in names - {self.name_of_file}:
            self._others.setdefault(name, Peer()).hear(read(self.folder / name), seconds)

    def _missing(self) -> str:
        here = [name for name, peer in self._others.items() if peer.come]
        away = (
            sorted(self._others.keys() - here, key=int) if self.processes and self.process is not None else []
        )
        came = ', '.join(self._called(name) for name in sorted([self.name_of_file, *here])) or 'none'
        who = (
            f'process{"es" * (len(away) > 1)} {", ".join(away)} of {self.processes}'
            if away
            else 'others of this pod'
        )
        return (
            f'In {self._join:.0f} seconds {who} did not come to {self.folder}; here {"are" if here else "is"} '
            f'{came}. Start all with the same command, each where it sees the same --workdir; '
            'config.machine.join_timeout says how long they wait.'
        )

    def _lost(self) -> tuple[int, str] | None:
        for name, peer in self._others.items():
            if peer.left == 0 or (self._left and self._left[0] == 0 and peer.left is not None):
                continue
            if peer.left is not None and (peer.left in AT_ONCE or peer.silent > self.limit):
                status = peer.left if peer.left in (2, 3) else LOST
                return status, f'{self._called(name)} ended with status {peer.left}: {peer.said["sentence"]}'
            if peer.left is None and peer.silent > self.limit:
                return LOST, (
                    f'{self._called(name)} is lost: it has said nothing for {self.limit:.0f} seconds '
                    '(config.machine.peer_timeout). Run the same command again everywhere; it goes on from the '
                    'last checkpoint.'
                )
        return None

    def _stuck(self) -> tuple[int, str] | None:
        """Who has come least far, where a main thread has not moved for too long; those it holds up do not either."""
        said = {
            name: each.said for name, each in self._others.items() if each.come and each.left in (None, LOST)
        }
        if self._left is None:  # who is done may wait for the others
            said[self.name_of_file] = {'moves': self.moves, 'still': self.still}
        if not 0 < self._stuck_limit < max((each['still'] for each in said.values()), default=0):
            return None
        still = [name for name, each in said.items() if each['still'] > self._stuck_limit / 2]
        name = min(still, key=lambda name: (said[name]['moves'], name))
        return LOST, (
            f'{self._called(name)} is alive and stands still: it has not left its place for {said[name]["still"]:.0f} '
            'seconds (config.machine.stall_timeout). Run the same command again everywhere; it goes on from the last '
            'checkpoint.'
        )

    def _called(self, name: str) -> str:
        peer = self._others.get(name)
        host = peer.said.get('host', '?') if peer else socket.gethostname()
        return f'process {name} ({host})' if name.isdecimal() else name

    def _stood(self) -> list[str]:
        mine = [f'{self._called(self.name_of_file)}, which says this, stood at: {self.at}']
        return mine + [
            f'{self._called(name)} stood at: {peer.said.get("at", "nothing that was heard")}, '
            f'{peer.silent:.0f} s ago'
            for name, peer in sorted(self._others.items())
        ]


def begin(folder: Path, process: int | None, processes: int | None, **seconds: float) -> None:
    """From here on this process tells the others where it stands.

    It waits for them no longer than `join` seconds, is silent for no longer than `limit`, and stays at one place for no
    longer than `stuck`, if that is not 0.
    """
    global _watch
    _watch = Watch(folder / FOLDER, process, processes, **seconds)
    _hold_aborts(_watch)
    _watch.start()


def joined(process: int, processes: int) -> None:
    """All have come: from here on a silence of the limit's length is a loss."""
    assert _watch is not None
    if _watch.process is None:
        (_watch.folder / _watch.name_of_file).unlink(missing_ok=True)
        _watch.name_of_file, _watch.process, _watch.processes = str(process), process, processes
        _watch._others = {}
    for peer in _watch._others.values():
        peer.silent = 0.0
    _watch.joined = True


def alone() -> None:
    """There are no others after all."""
    global _watch
    if _watch is not None:
        _watch.over.set()
        _watch = None


def at(place: str) -> None:
    """Where this process stands, as the others will tell it if it is lost. Costs nothing; alone it does nothing."""
    if _watch is not None:
        _watch.at, _watch.still = place, 0.0
        _watch.moves += 1


def check() -> None:
    """For who waits in Python for what the first process makes: raises nothing, but ends where that one has ended."""
    if _watch is not None:
        _watch.still = 0.0
    if _watch is not None and (first := _watch._others.get('0')) is not None and first.left not in (None, 0):
        _watch.end(first.left if first.left in (2, 3) else LOST, f'Process 0 ended: {first.said["sentence"]}')


def first_at() -> str:
    """Where the first process stands, as far as it was heard."""
    first = _watch._others.get('0') if _watch is not None else None
    return first.said.get('at', '') if first is not None and first.come else ''


def leave(status: int, sentence: str = '', error: BaseException | None = None) -> None:
    """The end of the mode. Of a pod's process it tells the others, and does not return unless all end together.

    Where an `error` is nobody's sentence it may come of a lost peer: then the watch speaks, and not a traceback.
    """
    if _watch is None:
        return
    if error is not None:
        time.sleep(_watch.limit + 4 * _watch._beat)  # the watch ends this process, or there is no loss
        traceback.print_exception(error)
    elif status not in (0, 3):
        print(' '.join(sentence.split()), file=sys.stderr)
    if status not in (0, 3):
        sys.stderr.flush()
        _watch.quit(status, sentence)
    _watch.leave(status, sentence)


def _hold_aborts(watch: Watch) -> None:
    """Where jax's service goes with process 0, jax aborts this one at once: held until the watch has spoken."""

    def wait(_: int) -> None:
        signal.alarm(int(3 * watch.limit) + 60)  # should even this be stuck
        time.sleep(watch.limit + LINGER + 4)

    global _held
    _held = ctypes.CFUNCTYPE(None, ctypes.c_int)(wait)
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(_held, ctypes.c_void_p))


_held: Any = None  # what C calls must not be collected
