"""The results file of a benchmark: a JSON object per line, kept through kills, and what it was measured on.

Used by the scripts beside it, which go on with what is missing.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def read_rows(results: Path) -> list[dict]:
    """The lines of the results file, without one that a kill has torn."""
    rows = []
    for line in results.read_text().splitlines() if results.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def append_row(results: Path, row: dict) -> None:
    """One more line, on the disk when this returns."""
    results.parent.mkdir(parents=True, exist_ok=True)
    torn = results.exists() and not results.read_bytes().endswith(b'\n')
    with open(results, 'a') as file:
        file.write('\n' * torn + json.dumps(row) + '\n')
        file.flush()
        os.fsync(file.fileno())


def describe_environment(packages: Sequence[str] = ('jax', 'jaxlib', 'flax', 'numpy')) -> dict:
    """When, what and on which machine: a line of its own before the results of this process."""
    import jax

    commit = subprocess.run(
        ['git', 'rev-parse', 'HEAD'], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return {
        'date': datetime.date.today().isoformat(),
        'command': ' '.join(['python', *sys.argv]),
        'commit': commit.stdout.strip(),
        'versions': {name: importlib.metadata.version(name) for name in packages}
        | {'python': platform.python_version()},
        'devices': [device.device_kind for device in jax.devices()],
        'machine': f'{cpu_name()}, {os.cpu_count()} cores, {platform.platform()}',
    }


def cpu_name() -> str:
    """The processor's name, where Linux tells it."""
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.machine()
