"""Tables beside pictures: CSV files with a header, written atomically."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from typing import Any

from alexnet_jax.runtime import atomic_io


def write_csv(file: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows that all have the fields of the first one, in its order; floats in full. No rows: an empty file."""
    with atomic_io.write_atomic(file) as opened:
        writer = csv.DictWriter(opened, list(rows[0]) if rows else [], lineterminator='\n')
        if rows:
            writer.writeheader()
        writer.writerows(rows)
