"""Mode verify: a run's folder or a dataset, read whole; of each file whether it is sound. Changes nothing."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.checkpoint import manager, manifest, quarantine
from alexnet_jax.commands import prepare, run_dir
from alexnet_jax.data import dataset
from alexnet_jax.errors import UserError
from alexnet_jax.train import metrics_writer

JSON_FILES = (run_dir.RUN_FILE, run_dir.CONFIG_FILE, 'result.json', 'evaluation.json')  # JSON without checksums

log = logging.getLogger(__name__)


def verify(config: ConfigDict, workdir: str = '') -> dict[str, Any]:
    """How many files are 'sound' and 'damaged', with a line in the log for each. Raises UserError where any is damaged.

    With a run in `workdir` its files, its checkpoints and its dataset are read; else the dataset alone.
    """
    if not workdir and not config.data.directory:
        raise UserError('Nothing says what to verify; give --workdir or --config.data.directory.')
    found: dict[str, str] = {}
    if workdir and (Path(workdir) / run_dir.RUN_FILE).exists():
        found = check_run(Path(workdir))
    for directory in dataset_dirs(config, workdir):
        found |= {str(directory / name): fault for name, fault in dataset.find_problems(directory).items()}
    if not found:
        raise UserError(
            f'There is neither a run nor a dataset in {workdir or "no folder at all"}; give --workdir or '
            '--config.data.directory of one.'
        )
    for name, fault in found.items():
        log.info('%s  %s%s', 'DAMAGED' if fault else 'sound  ', name, f': {fault}' if fault else '')
    damaged = [name for name, fault in found.items() if fault]
    if damaged:
        raise UserError(
            f'{len(damaged)} of {len(found)} files are damaged: {"; ".join(damaged[:5])}; see the list above.'
        )
    log.info('All %d files are sound.', len(found))
    return {'sound': len(found), 'damaged': 0}


def dataset_dirs(config: ConfigDict, workdir: str) -> list[Path]:
    """Where the dataset lies: as the config says, as the run in `workdir` says, or `workdir` itself is one."""
    if workdir and (Path(workdir) / dataset.MANIFEST_FILE).exists():
        return [Path(workdir)]
    try:
        config = run_dir.restore_config(config, workdir) if workdir else config
    except UserError:  # run.json is damaged, which is told with the run's files
        log.info('Where the dataset of %s lies is not known; what the config says is looked at.', workdir)
    directory = prepare.locate_dataset(config, workdir)
    is_run = workdir and (Path(workdir) / run_dir.RUN_FILE).exists()
    return [directory] if is_run or directory.exists() else []


def check_run(workdir: Path) -> dict[str, str]:
    """What is wrong with each file of a run but its dataset's; '' where nothing is."""
    found = {}
    for name in JSON_FILES:
        if (workdir / name).exists():
            found[str(workdir / name)] = _check_json(workdir / name)
    for name, read in (
        (metrics_writer.METRICS_FILE, metrics_writer.read_metrics),
        (metrics_writer.TIMINGS_FILE, metrics_writer.read_timings),
    ):
        if (workdir / name).exists():
            found[str(workdir / name)] = _check_jsonl(read, workdir)
    if (workdir / run_dir.CHECKPOINTS_DIR).is_dir():
        found |= check_checkpoints(workdir / run_dir.CHECKPOINTS_DIR)
    return found


def check_checkpoints(directory: Path) -> dict[str, str]:
    """By file where an inventory lists them, by checkpoint where it was not written; set aside ones are only named."""
    found, held = {}, manager.CheckpointManager(directory, read_only=True)
    for step in held.steps():
        of_step = directory / str(step)
        fault = held.find_problem(step)
        files = manifest.find_problems(of_step)
        if files is None:
            found[str(of_step)] = fault
        else:
            found |= {str(of_step / name): fault for name, fault in files.items()}
            if fault and not any(files.values()):
                found[str(of_step)] = fault
    held.close()
    for leftover in sorted([*directory.glob(quarantine.TEMP_PATTERN), *directory.glob(f'*{quarantine.DAMAGED_SUFFIX}')]):
        log.info('unused   %s: of a save that was killed, or set aside', leftover)
    return found


def _check_json(path: Path) -> str:
    try:
        return '' if isinstance(json.loads(path.read_text()), dict) else 'holds no JSON object'
    except (OSError, ValueError) as error:
        return f'cannot be read ({error})'


def _check_jsonl(read: Any, workdir: Path) -> str:
    try:
        steps = [row['step'] for row in read(workdir)]
    except (UserError, OSError, ValueError) as error:
        return str(error)
    return '' if steps == sorted(steps) else 'its steps do not rise'
