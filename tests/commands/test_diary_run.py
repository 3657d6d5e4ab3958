"""A whole run with the 2012 source's input and a diary: on devices that hold the images too, and resumed."""

import pytest
from tiny_run import tiny_config

from alexnet_jax import commands
from alexnet_jax.errors import UserError
from alexnet_jax.train.metrics_writer import read_metrics

pytestmark = pytest.mark.extended


def source_config(**fields):
    config = tiny_config()
    config.update_from_flattened_dict(
        {
            'augment.mean': 'center',
            'augment.lighting': 'deviations',
            'augment.lighting_rescale': True,
            'augment.crop_block': 4,
            'train.num_epochs': 1.5,
            'train.schedule': 'diary',
            'train.diary': '0.5: learning_rate=0.0005; 1: conv1=0, lighting=off',
            **fields,
        }
    )
    return config


def test_the_input_of_the_source_and_its_diary(tmp_path, without_plots):
    config, workdir = source_config(), str(tmp_path / 'run')
    commands.run('train', config, workdir)
    rows = read_metrics(workdir)
    entries = [(row['step'], row['diary_entries']) for row in rows if 'diary_entries' in row]
    assert entries == [(4, 1), (7, 2)]
    rates = {row['step']: row['rate'] for row in rows if 'rate' in row}
    assert rates == {2: 0.001, 4: 0.0005, 6: 0.0005, 8: 0.0005, 9: 0.0005}

    cached = source_config(**{'data.device_cache': True, 'data.directory': str(tmp_path / 'run' / 'dataset')})
    commands.run('train', cached, str(tmp_path / 'cached'))
    losses = [[row['loss'] for row in read_metrics(each) if 'loss' in row] for each in (workdir, tmp_path / 'cached')]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)

    # The future may change, the past may not.
    config.train.diary += '; 5: lighting=on'
    commands.run('train', config, workdir)
    config.train.diary = '0.5: learning_rate=0.002; 1: conv1=0, lighting=off'
    with pytest.raises(UserError, match='The diary of the checkpoint of step 9 is .* only those to come may change'):
        commands.run('train', config, workdir)
