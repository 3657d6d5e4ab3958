"""Damage to any file of a checkpoint or a dataset is detected: the short form of benchmarks/robustness/damage.py."""

import shutil
import sys
from pathlib import Path

import jax
import pytest

from alexnet_jax.checkpoint.manager import CheckpointManager
from alexnet_jax.commands import factories

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'benchmarks' / 'robustness'))

import damage  # noqa: E402


@pytest.fixture(scope='module')
def run(trained, tmp_path_factory):
    """A copy of a finished run, to be damaged and repaired again."""
    workdir = tmp_path_factory.mktemp('damaged') / 'run'
    shutil.copytree(trained[1], workdir)
    config, data = trained[0], factories.open_or_prepare_dataset(trained[0], str(workdir))
    arch = factories.make_architecture(config, data)
    held = CheckpointManager(workdir / 'checkpoints')
    step, state, record = held.restore(
        factories.abstract_checkpoint(config, arch, factories.make_device_mesh(config, arch))
    )
    held.save(step + 1, jax.tree.map(lambda x: x * 2, state), record, top1_error=0.5)  # one to fall back from
    held.close()
    return damage.Run(workdir)


def test_of_fifty_damaged_files_each_is_named_or_makes_no_difference(run):
    files, verdicts = run.files(), []
    for number in range(50):
        # Prime steps: all files and all kinds come up.
        path, kind, chance = damage.draw_case(files, 0, 13 * number)
        verdicts.append((str(path.relative_to(run.workdir)), kind, run.verdict(path, kind, chance)))
    assert [each for each in verdicts if each[2] not in damage.SOUND] == []
    assert len({kind for _, kind, _ in verdicts}) == 4 and len({name for name, _, _ in verdicts}) > 15
    assert sum(verdict == 'detected' for _, _, verdict in verdicts) > 20


def test_what_is_silently_wrong_would_be_seen(run):
    """With other values expected, an undamaged run is a wrong one."""
    path, kind, chance = damage.draw_case(run.files(), 0, 0)
    newest = run.steps[-1]
    step, state, record = run.content[newest]
    run.content[newest] = step, state, {**record, 'tally': 'other'}
    harmless = run.checkpoints / str(newest) / 'commit_success.txt'
    try:
        assert run.verdict(harmless, 'zeroed', chance) == 'silently wrong'
    finally:
        run.content[newest] = step, state, record
