"""The results file of a benchmark: one JSON object per line, safe against kills, so that a rerun measures the rest."""

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
    """Return the rows of the results file, without a line that a kill left incomplete."""
    rows = []
    for line in results.read_text().splitlines() if results.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def append_row(results: Path, row: dict) -> None:
    """Append a line, which is on the disk when this returns."""
    results.parent.mkdir(parents=True, exist_ok=True)
    torn = results.exists() and not results.read_bytes().endswith(b'\n')
    with open(results, 'a') as file:
        file.write('\n' * torn + json.dumps(row) + '\n')
        file.flush()
        os.fsync(file.fileno())


def describe_environment(packages: Sequence[str] = ('jax', 'jaxlib', 'flax', 'numpy')) -> dict:
    """Return the row that precedes the results of this process: date, command, versions and machine."""
    import jax

    commit = subprocess.run(['git', 'rev-parse', 'HEAD'], capture_output=True, text=True, cwd=Path(__file__).parent)
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
    """Return the processor's name on Linux, elsewhere its architecture."""
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.machine()
