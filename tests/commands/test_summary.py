"""A network on one screen: what stands there, how wide it is, and that it needs nothing but the config."""

import re

import pytest

import main
from alexnet_jax import commands
from alexnet_jax.commands import summary
from alexnet_jax.models import presets
from alexnet_jax.models.overrides import ArchitectureOverrides
from configs import default


def config(**fields):
    made = default.get_config()
    for name, value in fields.items():
        made.model[name] = value
    return made


def test_the_papers_totals_are_returned():
    assert commands.run('summary', config()) == {
        'network': 'paper',
        'columns': 2,
        'crop': 224,
        'classes': 1000,
        'parameters': 60_965_224,
        'multiply_adds': 724_406_816,
        'exchanged': 30_336,
    }


@pytest.mark.parametrize('preset', presets.PRESETS)
def test_every_network_fits_a_screen_with_all_its_points(preset):
    arch = presets.get_architecture(preset)
    lines = summary.format_summary(arch)
    assert len(lines) <= 30 and max(map(len, lines)) <= 80
    table = lines[3 : next(place for place, line in enumerate(lines) if line.startswith('total'))]
    named = [name for line in table[1:-1] for name in re.split(' {2,}', line)[0].split()]
    assert named == list(arch.activation_shapes())
    total = next(line for line in lines if line.startswith('total')).split()
    numbers = [arch.parameter_counts(), arch.macs(), arch.numbers_exchanged()]
    assert total[1:] == [f'{sum(each.values()):,}' for each in numbers if each]


def test_each_row_says_what_its_layer_makes_sees_and_sends():
    lines = '\n'.join(summary.format_summary(presets.get_architecture('paper')))
    for row in (
        r'conv1 relu1 norm1 +55x55x96 +11x11x3 /4 +34,944 +105,415,200\n',
        r'pool1 +27x27x96 +3x3 /2\n',
        r'conv3 relu3 +13x13x384 +3x3x256 +885,120 +149,520,384 +21,632\n',
        r'fc8 prob +1000 +4096 +4,097,000 +4,096,000 +2,048\n',
    ):
        assert re.search(row, lines), row
    assert 'k 2, n 5, alpha 0.0001, beta 0.75' in lines and 'multiplies by 0.5 at test' in lines


def test_departures_show():
    made = config(
        preset='caffe',
        num_classes=7,
        activation='tanh',
        pooling='average',
        lrn_alpha_over_n='false',
        dropout_position='before',
    )
    assert commands.run('summary', made)['classes'] == 7
    lines = '\n'.join(
        summary.format_summary(
            presets.get_architecture(
                'caffe', num_classes=7, overrides=ArchitectureOverrides(activation='tanh', pooling='average')
            )
        )
    )
    assert 'tanh1' in lines and 'the mean of each window' in lines and 'divided by n' in lines
    assert 'exchanged:' not in lines  # one column


def test_neither_dataset_nor_workdir_is_needed_or_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(main.environment, 'configure_environment', lambda **_: [])
    # The quickstart's images have 64 pixels, which the network shown need not fit.
    assert main.main(['main.py', '--mode=summary', '--config.model.preset=torchvision']) == 0
    assert list(tmp_path.iterdir()) == []
    assert main.main(['main.py', '--mode=summary', '--config.model.crop_size=9']) == 2
    assert 'pool1: a window of 3 pixels does not fit into 2' in capsys.readouterr().err
    assert main.main(['main.py', '--mode=summary', '--config.summary.figure=missing/network']) == 2
    assert 'missing is not a folder that you may write to' in capsys.readouterr().err
