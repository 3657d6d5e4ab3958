"""Python processes that stop when the process that started them ends, however it ends.

Run as a script this file is what such a process begins with.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# prctl(2): the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1


def start_script(
    script: Path, arguments: Sequence[str], log_file: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start `python script arguments`, its output appended to `log_file`; call this from the main thread.

    The process does not see signals of the terminal. On Linux it gets SIGTERM when this process ends, even by SIGKILL;
    elsewhere it goes on to its own end.
    """
    command = [sys.executable, str(Path(__file__).resolve()), str(os.getpid()), str(script), *arguments]
    with open(log_file, 'ab') as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(environment), start_new_session=True
        )


def follow_parent(parent: int) -> None:
    """Arrange that this process gets SIGTERM when the process `parent` ends; exit if it has ended already."""
    if sys.platform == 'linux':
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:
        raise SystemExit('The process that started this one has ended.')


def run_script(script: str, arguments: Sequence[str]) -> None:
    """Run a script as `python script arguments` would."""
    import runpy

    sys.argv = [script, *arguments]
    sys.path[0] = os.path.dirname(script)
    runpy.run_path(script, run_name='__main__')


if __name__ == '__main__':
    follow_parent(int(sys.argv[1]))
    run_script(sys.argv[2], sys.argv[3:])
