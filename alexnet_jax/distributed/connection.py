"""Checks that process 0 answers over the network, which heartbeats through a shared disk do not show."""

from __future__ import annotations

import re
import socket
import threading
import time

# Attempts in a row without an answer after which the connection counts as lost.
MAX_FAILURES = 4
# What jax raises where Gloo or NCCL lost a connection, or its own service did.
_CONNECTION_ERROR = re.compile(
    r'(gloo|nccl).*(timed ?out|timeout|connect|closed|reset|unreachable|remote)|UNAVAILABLE:|DEADLINE_EXCEEDED:',
    re.DOTALL | re.IGNORECASE,
)


class ConnectionProbe(threading.Thread):
    """Connects to an address again and again, and counts the attempts that had no answer.

    TCP retransmits for a quarter of an hour before it reports a cut network, and collectives wait as long.
    """

    def __init__(self, address: str, period: float):
        super().__init__(name='connection probe', daemon=True)
        host, _, port = address.rpartition(':')
        self.address, self._period, self.failures = address, period, 0
        # Looked up once, as a cut network has no name server either.
        self._endpoint = socket.getaddrinfo(host.strip('[]'), int(port), type=socket.SOCK_STREAM)[0]

    def run(self) -> None:
        """Try once in every period, and wait for an answer as long."""
        while True:
            began = time.monotonic()
            self.failures = 0 if self._is_answered() else self.failures + 1
            time.sleep(max(0.0, began + self._period - time.monotonic()))

    def _is_answered(self) -> bool:
        family, kind, protocol, _, address = self._endpoint
        with socket.socket(family, kind, protocol) as attempt:
            attempt.settimeout(self._period)
            try:
                attempt.connect(address)
            except ConnectionRefusedError:  # the host answers; the heartbeat tells about the process
                return True
            except OSError:
                return False
        return True


def start_probe(address: str, period: float) -> ConnectionProbe | None:
    """Begin to probe `host:port` once in `period` seconds; None if the address cannot be looked up."""
    try:
        probe = ConnectionProbe(address, period)
    except (OSError, ValueError):
        return None
    probe.start()
    return probe


def is_connection_error(error: BaseException) -> bool:
    """Return whether jax raised the error because a connection to another process was lost."""
    import jax

    return isinstance(error, jax.errors.JaxRuntimeError) and bool(_CONNECTION_ERROR.search(str(error)))
