"""Two hosts in network namespaces on this machine, and the link between them, which can be cut, delayed and lossy.

Needs root and iproute2 (`ip`, `tc`). Delay and loss are `tc netem`'s; where the kernel lacks it, a relay between the
two ends holds back and drops the frames instead. Each host has its own name and addresses; both see the same disk.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17  # linux/sockios.h, linux/ethtool.h
MTU = 9000  # fewer frames for the relay
NETNS_DIR = Path('/etc/netns')  # ip-netns(8): files that stand for those of /etc in a namespace


def ip(*words: str) -> None:
    """Run `ip`. Raises CalledProcessError with its message."""
    subprocess.run(['ip', *words], check=True, capture_output=True, text=True)


def missing_requirement() -> str:
    """Return why this machine cannot have two hosts; empty if it can."""
    if sys.platform != 'linux' or os.geteuid() != 0:
        return 'Network namespaces need root on Linux.'
    if absent := [tool for tool in ('ip', 'tc', 'unshare') if shutil.which(tool) is None]:
        return f'{", ".join(absent)} not found; install iproute2 and util-linux.'
    name = f'probe{os.getpid()}'
    try:
        ip('netns', 'add', name)
        ip('netns', 'delete', name)
    except subprocess.CalledProcessError as error:
        return f'Network namespaces cannot be made here: {error.stderr.strip()}.'
    return ''


class TwoHosts:
    """Two namespaces with a link; a context manager that removes exactly what it made."""

    def __init__(self) -> None:
        tag = f'{os.getpid() % 0xFFFFF:x}'
        self.names = [f'host{index}-{tag}' for index in (0, 1)]
        self.addresses = ['10.77.0.1', '10.77.0.2']
        self._links = [f'a{tag}', f'b{tag}']
        self._wire = f'wire-{tag}'
        self._relay: subprocess.Popen | None = None
        self._children: list[subprocess.Popen] = []
        self.emulator = ''

    def __enter__(self) -> TwoHosts:
        try:
            self._make_hosts()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for child in [*self._children, *([self._relay] if self._relay else [])]:
            child.kill()
            child.wait()
        for name in [*self.names, self._wire]:
            subprocess.run(['ip', 'netns', 'delete', name], capture_output=True)
            shutil.rmtree(NETNS_DIR / name, ignore_errors=True)

    def _make_hosts(self) -> None:
        hosts = ['127.0.0.1 localhost', *map(' '.join, zip(self.addresses, self.names, strict=True))]
        for name in [*self.names, self._wire]:
            ip('netns', 'add', name)
            (NETNS_DIR / name).mkdir(parents=True)
            (NETNS_DIR / name / 'hosts').write_text('\n'.join(hosts) + '\n')
        first, second = self._links
        ip('link', 'add', first, 'netns', self.names[0], 'type', 'veth', 'peer', second, 'netns', self.names[1])
        self.emulator = 'netem' if self._netem('delay', '1ms') else 'relay'
        self._netem()
        if self.emulator == 'relay':
            ip('-n', self.names[0], 'link', 'delete', first)
            for name, link in zip(self.names, self._links, strict=True):
                ends = ['type', 'veth', 'peer', f'{link}w', 'netns', self._wire]
                ip('link', 'add', link, 'netns', name, *ends)
                ip('-n', self._wire, 'link', 'set', f'{link}w', 'mtu', str(MTU), 'up')
        for name, link, address in zip(self.names, self._links, self.addresses, strict=True):
            ip('-n', name, 'address', 'add', f'{address}/24', 'dev', link)
            ip('-n', name, 'link', 'set', link, 'mtu', str(MTU), 'up')
            ip('-n', name, 'link', 'set', 'lo', 'up')
        if self.emulator == 'relay':
            self._start_relay()

    def _netem(self, *words: str) -> bool:
        """Set netem's parameters on both ends, none: remove it; return whether the kernel knows them."""
        for name, link in zip(self.names, self._links, strict=True):
            change = ['replace' if words else 'delete', 'dev', link, 'root', *(['netem'] if words else []), *words]
            if subprocess.run(['tc', '-n', name, 'qdisc', *change], capture_output=True).returncode and words:
                return False
        return True

    def _start_relay(self) -> None:
        for name, link in zip(self.names, self._links, strict=True):
            command = ['ip', 'netns', 'exec', name, sys.executable, __file__, 'checksums', link]
            subprocess.run(command, check=True)
        links = [f'{link}w' for link in self._links]
        command = ['ip', 'netns', 'exec', self._wire, sys.executable, __file__, 'relay', *links]
        self._relay = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)

    def impair(self, delay_ms: float = 0, loss: float = 0) -> None:
        """Delay every frame and lose a share of them from now on, in both directions; 0 and 0: neither."""
        if self._relay:
            self._relay.stdin.write(f'{delay_ms / 1e3} {loss}\n')
            self._relay.stdin.flush()
        else:
            self._netem(*(['delay', f'{delay_ms}ms', 'loss', f'{100 * loss}%'] if delay_ms or loss else []))

    def set_link(self, host: int, up: bool) -> None:
        """Take the end of the link at a host down, or up again."""
        ip('-n', self.names[host], 'link', 'set', self._links[host], 'up' if up else 'down')

    def set_own_name(self, host: int, address: str) -> None:
        """Have a host's own name mean `address` to it, as the line of /etc/hosts that Debian writes does."""
        lines = ['127.0.0.1 localhost']
        for index, name in enumerate(self.names):
            lines.append(f'{address if index == host else self.addresses[index]} {name}')
        (NETNS_DIR / self.names[host] / 'hosts').write_text('\n'.join(lines) + '\n')

    def start(self, host: int, command: list[str], log: Path) -> subprocess.Popen:
        """Start a command on a host, its output appended to a file."""
        name = self.names[host]
        inside = ['unshare', '--uts', 'sh', '-c', 'hostname "$0" && exec "$@"', name, *command]
        with open(log, 'ab') as file:
            child = subprocess.Popen(['ip', 'netns', 'exec', name, *inside], stdout=file, stderr=file)
        self._children.append(child)
        return child


def compute_checksums_in_software(link: str) -> None:
    """Have the kernel fill in checksums, which it leaves to the hardware otherwise; a relayed frame has none."""
    value = ctypes.create_string_buffer(struct.pack('II', ETHTOOL_STXCSUM, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        fcntl.ioctl(opened, SIOCETHTOOL, struct.pack('16sP16x', link.encode(), ctypes.addressof(value)))


def relay_frames(links: list[str]) -> None:
    """Carry frames between two links; each line of standard input is the delay in seconds and the share to lose."""
    every_protocol = socket.htons(3)
    ends = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, every_protocol) for _ in links]
    for end, link in zip(ends, links, strict=True):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        end.bind((link, 0))
    delay, loss, chance, number = 0.0, 0.0, random.Random(0), 0
    held: list[tuple[float, int, int, bytes]] = []
    while True:
        wait = max(0.0, held[0][0] - time.monotonic()) if held else None
        for ready in select.select([0, *ends], [], [], wait)[0]:
            if ready == 0:
                line = os.read(0, 100)
                if not line:
                    return
                delay, loss = map(float, line.splitlines()[-1].split())
                continue
            frame, address = ready.recvfrom(1 << 16)
            if address[2] != socket.PACKET_OUTGOING and chance.random() >= loss:
                number += 1
                heapq.heappush(held, (time.monotonic() + delay, number, 1 - ends.index(ready), frame))
        while held and held[0][0] <= time.monotonic():
            *_, end, frame = heapq.heappop(held)
            try:
                ends[end].send(frame)
            except OSError:  # the link is down
                continue


if __name__ == '__main__':
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.argv[1] == 'relay':
        relay_frames(sys.argv[2:])
    else:
        compute_checksums_in_software(sys.argv[2])
