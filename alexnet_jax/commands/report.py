"""--mode=report: one HTML page about a run, or about several compared."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.commands.report_comparison import compare_runs
from alexnet_jax.commands.report_content import collect_run
from alexnet_jax.commands.run_facts import RunFacts
from alexnet_jax.commands.run_family import RunAddress, common_folder, find_runs
from alexnet_jax.config import validate
from alexnet_jax.report import page
from alexnet_jax.runtime import atomic_io, signals

PAGE_FILE = 'report.html'

log = logging.getLogger(__name__)


def report(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Write the page of the run, or the runs, that --workdir names; return its path and the number of runs."""
    page.require_jinja()
    validate.validate_workdir(workdir, needed=True, writes=False)
    addresses = find_runs(workdir)
    path = _page_path(config.report.path, addresses)
    atomic_io.require_folder_of(path, '--config.report.path')
    facts = [RunFacts(address) for address in addresses]
    with (
        signals.interrupt_immediately('no page was written; run the same command again.'),
        tempfile.TemporaryDirectory() as scratch,
    ):
        runs = [
            collect_run(config, address, each, Path(scratch)) for address, each in zip(addresses, facts, strict=True)
        ]
        comparison = compare_runs(facts, Path(scratch)) if len(runs) > 1 else None
    title = f'{len(runs)} runs compared' if comparison else f'The run {runs[0].name}'
    html = page.render_page(
        runs,
        title=title,
        subtitle=workdir if comparison else os.path.abspath(addresses[0].run_dir),
        footer='Made by alexnet_jax, --mode=report. The page is one file and needs no network.',
        comparison=comparison,
    )
    with atomic_io.write_atomic(path) as file:
        file.write(html)
    log.info('The page: %s (%.1f MB).', path, len(html.encode()) / 1e6)
    return {'page': str(path), 'runs': len(runs)}


def _page_path(given: str, addresses: Sequence[RunAddress]) -> Path:
    """Return where the page goes: where the config says, else into the run directory, or the folder of the runs."""
    if given:
        return Path(os.path.expanduser(given))
    return common_folder(addresses) / PAGE_FILE
