"""--mode=verify names every damaged file of a run or a dataset, and finds nothing wrong with whole ones."""

import shutil

import pytest
from tiny_run import tiny_config

from alexnet_jax import commands
from alexnet_jax.errors import UserError


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a run that has ended, to be damaged."""
    shutil.copytree(trained[1], tmp_path / 'run')
    return tmp_path / 'run'


def flipped(path, place=-20):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def tree(folder):
    return {str(path): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_a_sound_run_is_read_whole_and_left_as_it_is(run, capsys, caplog):
    (run / 'checkpoints' / '9.orbax-checkpoint-tmp').mkdir()
    (run / 'checkpoints' / '9.orbax-checkpoint-tmp' / 'half').write_bytes(b'half')
    before = tree(run)
    with caplog.at_level('INFO', 'alexnet_jax'):
        numbers = commands.run('verify', tiny_config(), str(run))
    assert numbers['damaged'] == 0 and tree(run) == before
    for name in ('run.json', 'metrics.jsonl', 'manifest.json', 'array_record', 'statistics.npz', '/state/'):
        assert any(name in line and line.startswith('sound') for line in caplog.messages), name
    assert sum(line.startswith('sound') for line in caplog.messages) == numbers['sound']
    assert any('9.orbax-checkpoint-tmp' in line and line.startswith('unused') for line in caplog.messages)


@pytest.mark.parametrize(
    'pattern, words',
    [
        ('dataset/*train.array_record*', 'SHA-256'),
        ('dataset/statistics.npz', 'SHA-256'),
        ('dataset/manifest.json', 'damaged'),
        ('checkpoints/*/state/_METADATA', 'SHA-256'),
        ('checkpoints/*/record/metadata', 'SHA-256'),
        ('checkpoints/*/_CHECKPOINT_METADATA', 'SHA-256'),
        ('checkpoints/*/files.json', 'cannot be relied on'),
        ('metrics.jsonl', 'Line 1'),
        ('run.json', 'cannot be read'),
    ],
)
def test_a_damaged_file_is_named(run, pattern, words, caplog):
    victim = sorted(run.glob(pattern))[-1]
    flipped(victim, 0 if victim.name in ('metrics.jsonl', 'run.json') else -20)
    with caplog.at_level('INFO', 'alexnet_jax'), pytest.raises(UserError, match=r'1 of \d+ files are damaged'):
        commands.run('verify', tiny_config(), str(run))
    (told,) = (line for line in caplog.messages if line.startswith('DAMAGED'))
    assert str(victim) in told and words in told


def test_a_missing_and_a_shortened_file_are_named(run, caplog):
    newest = max((run / 'checkpoints').iterdir(), key=lambda path: int(path.name))
    (newest / 'state' / 'manifest.ocdbt').unlink()
    shard = next((run / 'dataset').glob('*test.array_record*'))
    shard.write_bytes(shard.read_bytes()[:-1])
    with caplog.at_level('INFO', 'alexnet_jax'), pytest.raises(UserError, match='2 of'):
        commands.run('verify', tiny_config(), str(run))
    told = [line for line in caplog.messages if line.startswith('DAMAGED')]
    assert 'manifest.ocdbt: is missing' in told[0] and 'bytes instead of' in told[1]


def test_a_checkpoint_that_was_killed_before_its_manifest_is_judged_by_its_values(run, caplog):
    newest = max((run / 'checkpoints').iterdir(), key=lambda path: int(path.name))
    (newest / 'files.json').unlink()
    commands.run('verify', tiny_config(), str(run))
    flipped(max((newest / 'state').rglob('d/*'), key=lambda path: path.stat().st_size), 7_777)
    with caplog.at_level('INFO', 'alexnet_jax'), pytest.raises(UserError):
        commands.run('verify', tiny_config(), str(run))
    assert any(line.startswith('DAMAGED') and 'the values of' in line for line in caplog.messages)


def test_a_dataset_alone_is_verified_wherever_it_is_given(run, tmp_path):
    alone = str(run / 'dataset')
    config = tiny_config()
    config.data.directory = alone
    assert (
        commands.run('verify', tiny_config(), alone)
        == commands.run('verify', config, '')
        == {'sound': 10, 'damaged': 0}
    )
    with pytest.raises(UserError, match='neither a run nor a dataset'):
        commands.run('verify', tiny_config(), str(tmp_path))


def test_a_run_whose_dataset_is_gone_is_not_sound(run):
    shutil.rmtree(run / 'dataset')
    with pytest.raises(UserError, match='manifest.json'):
        commands.run('verify', tiny_config(), str(run))
