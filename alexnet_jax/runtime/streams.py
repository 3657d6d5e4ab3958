"""The standard streams: open, escaping what a terminal cannot show, and the handler that wraps log lines."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import textwrap
from typing import TextIO

# Width of a line where stdout is no terminal.
LINE_WIDTH = 100


def open_standard_streams() -> None:
    """Open what is closed of stdin, stdout and stderr on /dev/null; else the next file would take its number.

    Characters that the terminal's encoding lacks are escaped. Streams that are no files, as in a notebook, stay.
    """
    for number, name in enumerate(('stdin', 'stdout', 'stderr')):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            mode = 'r' if name == 'stdin' else 'w'
            setattr(sys, name, open(number, mode, encoding='utf-8', closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace', line_buffering=True)


def print_error(message: str) -> None:
    """Print a message on stderr, if anybody still reads it."""
    with contextlib.suppress(OSError, ValueError):
        print(message, file=sys.stderr, flush=True)


def discard_output(stream: TextIO) -> None:
    """Let what is still written to a stream go nowhere, as its reader exited."""
    # A stream without a number, as in a notebook, has nothing to discard.
    with contextlib.suppress(OSError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def log_to_stderr() -> None:
    """Let the log go to stderr from here on, as stdout is for data."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogHandler):
            handler.setStream(sys.stderr)


class LogHandler(logging.StreamHandler):
    """Log handler that wraps lines at the terminal's width. If their reader exits, work continues unseen."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's message, wrapped."""
        width = shutil.get_terminal_size((LINE_WIDTH, 24)).columns
        return '\n'.join(_wrap_line(line, width) for line in super().format(record).splitlines())

    def handleError(self, record: logging.LogRecord) -> None:
        """Discard all further output if its reader exited; otherwise report the error as logging does."""
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            return super().handleError(record)
        discard_output(self.stream)


def _wrap_line(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line.strip(),
        width,
        initial_indent=indent,
        subsequent_indent=f'{indent}  ',
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )
