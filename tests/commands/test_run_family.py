"""Runs and checkpoints by one path pattern: which, in what order, and where their files go."""

from pathlib import Path

import pytest

from alexnet_jax.commands.run_dir import RUN_FILE
from alexnet_jax.commands.run_family import RunAddress, common_folder, find_runs, parse_address, rows_of_each_run
from alexnet_jax.errors import UserError


@pytest.fixture
def family(tmp_path):
    """Two runs with two checkpoints each, one of them quarantined, and a folder that is no run."""
    for seed in (2, 10):
        for name in ('90', '450', '90.damaged'):
            (tmp_path / f'seed{seed}' / 'checkpoints' / name).mkdir(parents=True)
        (tmp_path / f'seed{seed}' / 'run.json').touch()
    (tmp_path / 'seed_notes').mkdir()
    return tmp_path


def test_a_pattern_names_runs_by_number(family):
    assert find_runs(f'{family}/seed*') == [RunAddress(f'{family}/seed2'), RunAddress(f'{family}/seed10')]


def test_a_pattern_names_checkpoints_by_number(family):
    expected = [RunAddress(f'{family}/seed{seed}', step) for seed in (2, 10) for step in ('90', '450')]
    assert find_runs(f'{family}/seed*/checkpoints/*') == expected
    assert find_runs(f'{family}/seed2/checkpoints/90') == expected[:1]


def test_a_folder_called_like_a_pattern_is_itself(family):
    (family / 'seed[2]').mkdir()
    (family / 'seed[2]' / 'run.json').touch()
    assert find_runs(f'{family}/seed[2]') == [RunAddress(f'{family}/seed[2]')]


def test_what_is_no_run_is_left_to_the_mode_but_a_pattern_without_any_is_refused(family):
    assert parse_address(f'{family}/seed_notes') is None
    assert find_runs(f'{family}/nowhere') == [RunAddress(f'{family}/nowhere')]
    with pytest.raises(UserError, match='notes. names no run and no checkpoint'):
        find_runs(f'{family}/*notes*')


def test_placeholders_are_filled_in(family):
    address = RunAddress(f'{family}/seed2/', '90')
    assert address.expand('/f/{run}/{step}-{other}', step='90') == '/f/seed2/90-{other}'
    assert address.expand('{workdir}/features', step='') == f'{family}/seed2//features'


def test_of_the_checkpoints_of_a_run_the_last_has_all_its_rows():
    rows = [{'step': step} for step in (2, 4, 6)]
    members = [(Path('a'), rows[:1]), (Path.cwd() / 'a', rows), (Path('b'), rows[:2])]
    assert rows_of_each_run(members) == [rows, rows[:2]]


def test_what_is_written_beside_runs_never_lies_in_a_checkpoint(tmp_path):
    def common(*paths):
        return common_folder([parse_address(f'{tmp_path}/{path}') for path in paths])

    for path in ('a/checkpoints/5', 'a/checkpoints/9', 'b'):
        (tmp_path / path).mkdir(parents=True)
    for run in 'ab':
        (tmp_path / run / RUN_FILE).touch()
    assert common('a', 'b') == common('a/checkpoints/5', 'b') == tmp_path
    assert common('a/checkpoints/5') == common('a/checkpoints/5', 'a/checkpoints/9') == tmp_path / 'a'
