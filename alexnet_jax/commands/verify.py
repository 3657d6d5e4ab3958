"""--mode=verify: reads a run or a dataset completely and names every damaged file, without changing any."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.checkpoint import manifest, quarantine
from alexnet_jax.checkpoint.manager import CheckpointManager
from alexnet_jax.commands import prepare, run_dir
from alexnet_jax.data import dataset, dataset_info
from alexnet_jax.errors import UserError
from alexnet_jax.report import run_result
from alexnet_jax.train import metrics_writer

# These have no checksums.
JSON_FILES = (run_dir.RUN_FILE, run_dir.CONFIG_FILE, run_result.RESULT_FILE, run_result.EVALUATION_FILE)
JSONL_FILES = {
    metrics_writer.METRICS_FILE: metrics_writer.read_metrics,
    metrics_writer.TIMINGS_FILE: metrics_writer.read_timings,
}
MAX_LISTED = 5  # damaged files that the error names

log = logging.getLogger(__name__)


def verify(config: ConfigDict, workdir: str = '') -> dict[str, Any]:
    """Log a line for each file; return how many are 'sound' and 'damaged'. Raises UserError if any is damaged.

    With a run in `workdir` its files, its checkpoints and its dataset are read, else the dataset alone.
    """
    if not workdir and not config.data.directory:
        raise UserError('Nothing to verify: set --workdir or --config.data.directory.')
    problems: dict[str, str] = {}
    if workdir and (Path(workdir) / run_dir.RUN_FILE).exists():
        problems = check_run(Path(workdir))
    for directory in dataset_dirs(config, workdir):
        by_file = dataset.find_problems(directory)
        problems |= {str(directory / name): problem for name, problem in by_file.items()}
    if not problems:
        raise UserError(
            f'{workdir or "The default folder"} has neither a run nor a dataset; set --workdir or '
            '--config.data.directory.'
        )
    for name, problem in problems.items():
        log.info('%s  %s%s', 'DAMAGED' if problem else 'sound  ', name, f': {problem}' if problem else '')
    damaged = [name for name, problem in problems.items() if problem]
    if damaged:
        raise UserError(
            f'{len(damaged)} of {len(problems)} files are damaged: {"; ".join(damaged[:MAX_LISTED])}; see the list '
            'above.'
        )
    log.info('All %d files are sound.', len(problems))
    return {'sound': len(problems), 'damaged': 0}


def dataset_dirs(config: ConfigDict, workdir: str) -> list[Path]:
    """Return the folder of the dataset: `workdir` itself, or that of the run in it, or that of the config."""
    if workdir and (Path(workdir) / dataset.MANIFEST_FILE).exists():
        return [Path(workdir)]
    try:
        config = run_dir.restore_config(config, workdir) if workdir else config
    except UserError:  # run.json is damaged, which is reported with the run's files
        log.info('The dataset of %s is unknown: checking the one of the config.', workdir)
    directory = prepare.locate_dataset(config, workdir)
    needs_dataset = workdir and (Path(workdir) / run_dir.RUN_FILE).exists() and not _is_imported(workdir)
    return [directory] if needs_dataset or directory.exists() else []


def _is_imported(workdir: str) -> bool:
    """Return whether the run began with imported weights, and so has no dataset of its own."""
    try:
        return bool((run_dir.read_run(workdir) or {}).get(run_dir.IMPORTED))
    except UserError:
        return False


def check_run(workdir: Path) -> dict[str, str]:
    """Return what is wrong with each file of a run except its dataset, '' if nothing."""
    problems = {}
    for name in JSON_FILES:
        if (workdir / name).exists():
            problems[str(workdir / name)] = _check_json(workdir / name)
    if (workdir / run_dir.DATASET_INFO_FILE).exists():
        problems[str(workdir / run_dir.DATASET_INFO_FILE)] = _check_dataset_info(workdir)
    for name, read in JSONL_FILES.items():
        if (workdir / name).exists():
            problems[str(workdir / name)] = _check_jsonl(read, workdir)
    if (workdir / run_dir.CHECKPOINTS_DIR).is_dir():
        problems |= check_checkpoints(workdir / run_dir.CHECKPOINTS_DIR)
    return problems


def check_checkpoints(directory: Path) -> dict[str, str]:
    """Return what is wrong, by file if a manifest lists them, else by checkpoint; log those in quarantine."""
    problems, checkpoints = {}, CheckpointManager(directory, read_only=True)
    for step in checkpoints.steps():
        folder = directory / str(step)
        problem, by_file = checkpoints.find_problem(step), manifest.find_problems(folder)
        if by_file:
            problems |= {str(folder / name): each for name, each in by_file.items()}
        if by_file is None or problem and not any(by_file.values()):
            problems[str(folder)] = problem
    checkpoints.close()
    for pattern in (quarantine.TEMP_PATTERN, f'*{quarantine.DAMAGED_SUFFIX}'):
        for leftover in sorted(directory.glob(pattern)):
            log.info('unused   %s: left by a killed save, or damaged before', leftover)
    return problems


def _check_json(path: Path) -> str:
    try:
        return '' if isinstance(json.loads(path.read_text()), dict) else 'holds no JSON object'
    except (OSError, ValueError) as error:
        return f'cannot be read ({error})'


def _check_dataset_info(workdir: Path) -> str:
    try:
        dataset_info.read_dataset_info(workdir / run_dir.DATASET_INFO_FILE)
    except (UserError, OSError) as error:
        return str(error)
    return ''


def _check_jsonl(read: Callable[[Path], list[dict[str, Any]]], workdir: Path) -> str:
    try:
        steps = [row['step'] for row in read(workdir)]
    except (UserError, OSError, ValueError) as error:
        return str(error)
    return '' if steps == sorted(steps) else 'its steps do not rise'
