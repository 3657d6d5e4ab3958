"""Exit statuses of main.py."""

import enum


class ExitCode(enum.IntEnum):
    """An exit status of the process. README.md, docs/trust.md and the help text say what each means."""

    OK = 0
    INTERNAL_ERROR = 1
    USER_ERROR = 2
    STOPPED = 3
    NONFINITE_LOSS = 4
    PEER_LOST = 5
    INTERRUPTED = 130  # 128 + SIGINT
    TERMINATED = 143  # 128 + SIGTERM
