"""A peer: what one process of a pod knows of another, by the words in its file. Knows nothing of what they mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Peer:
    """What is known of another process."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}
        self.come = False  # its file was seen to change: it is not of an earlier run
        self.silent = 0.0  # seconds of our own watching since it last changed

    def hear(self, said: dict[str, Any] | None, seconds: float) -> None:
        """A look at its file, `seconds` after the last one; None where nothing could be read."""
        if said and said != self.said:
            self.come = self.come or bool(self.said)  # the first content may be of an earlier run
            self.said, self.silent = said, 0.0
        else:
            self.silent += seconds

    @property
    def left(self) -> int | None:
        """The status with which it ended, if it did."""
        return self.said.get('left') if self.come else None


def read(file: Path) -> dict[str, Any] | None:
    """The words, or None where there are none, or no whole ones."""
    try:
        said = json.loads(file.read_bytes() or b'null')
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None
