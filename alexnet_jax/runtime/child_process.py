"""Python processes that stop when the process that started them ends, however it ends.

Run as a script this file is what such a process begins with.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

# Seconds between two looks at whether the parent is still there.
POLL_SECONDS = 0.5


def start_script(
    script: Path, arguments: Sequence[str], log_file: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start `python script arguments`, its output appended to `log_file`.

    The process does not see signals of the terminal. It gets SIGTERM when this process ends, even by SIGKILL.
    """
    command = [sys.executable, str(Path(__file__).resolve()), str(os.getpid()), str(script), *arguments]
    with open(log_file, 'ab') as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(environment), start_new_session=True
        )


def follow_parent(parent: int) -> None:
    """Send this process SIGTERM, once, when the process `parent` has ended; exit if it has ended already.

    Linux's own PR_SET_PDEATHSIG sends a signal for each thread of a killed parent, and the second one is not graceful.
    """
    if os.getppid() != parent:
        raise SystemExit('The process that started this one has ended.')

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name='parent', daemon=True).start()


def run_script(script: str, arguments: Sequence[str]) -> None:
    """Run a script as `python script arguments` would."""
    sys.argv = [script, *arguments]
    sys.path[0] = os.path.dirname(script)
    runpy.run_path(script, run_name='__main__')


if __name__ == '__main__':
    follow_parent(int(sys.argv[1]))
    run_script(sys.argv[2], sys.argv[3:])
