"""Mode compile on CPUs: from shapes alone, the columns' exchange in its report, and what is wrong as a sentence."""

import dataclasses
import json

import jax
import pytest

import main
from alexnet_jax import commands
from alexnet_jax.distributed import device_rates
from alexnet_jax.models import presets
from configs import default


def make_config(target, **fields):
    config = default.get_config()
    config.model.preset, config.model.num_classes = 'miniature', 10
    config.train.batch_size = config.evaluate.batch_size = 8
    config.evaluate.views = 1
    config.compile.target = target
    for name, value in fields.items():
        section, _, field = name.partition('__')
        config[section][field] = value
    return config


def test_a_step_compiles_from_shapes_alone(tmp_path, caplog):
    caplog.set_level('INFO')
    config = make_config('cpu:4', compile__evaluation=True, train__grad_accumulation=2)
    report = commands.run('compile', config, str(tmp_path / 'run'))
    assert report['mesh'] == {'data': 2, 'column': 2} and report['training']['images'] == 4
    exchanged = presets.get_architecture('miniature', num_classes=10).numbers_exchanged()
    for part, kinds in (('training', {'all-gather', 'reduce-scatter'}), ('evaluation', {'all-gather'})):
        for kind in kinds:
            found = {
                each['layer']: each['numbers'] * each['times'] / 4
                for each in report[part]['collectives']
                if (each['kind'], each['axes']) == (kind, 'column')
            }
            assert found == exchanged
    assert report['training']['bytes'] == sum(map(sum, report['training']['bytes_by_layer'].values()))
    written = json.loads((tmp_path / 'run' / 'compile.json').read_text())
    assert written['training']['bytes'] == report['training']['bytes']
    assert (tmp_path / 'run' / 'compile.png').read_bytes()[:4] == b'\x89PNG'
    assert {path.name for path in (tmp_path / 'run').iterdir()} == {'compile.json', 'compile.png'}
    total = f'{sum(exchanged.values()):,}'
    assert f'between columns {total} numbers an image forward, {total} back' in caplog.text
    assert 'Compiled, not run' in caplog.text


def test_images_may_be_in_the_device_cache():
    """Of the images only the crops of a batch are read, however many there are."""
    few, many = (
        commands.run('compile', make_config('cpu:1', data__device_cache=True, compile__num_images=count))['training']
        for count in (100, 3000)
    )
    assert many['bytes'] == few['bytes'] and many['memory']['arguments'] > few['memory']['arguments']


def test_cached_images_leave_less_room_for_a_batch_and_make_none_of_its_images_larger(monkeypatch):
    memory = 10 * 10**9
    rates = device_rates.RATES
    monkeypatch.setitem(rates, 'cpu', dataclasses.replace(rates['cuda:h100'], memory=memory))
    cache = {'data__device_cache': True, 'compile__num_images': 20_000}
    config = make_config('cpu:1')
    without = commands.run('compile', config)['training']['largest_batch']
    found = commands.run('compile', make_config('cpu:1', **cache))['training']['largest_batch']
    cached = 20_000 * 3 * config.prepare.image_size**2
    assert found == pytest.approx(without * (memory - cached) / memory, rel=0.1)


def test_the_list_needs_no_devices(caplog, monkeypatch):
    caplog.set_level('INFO')
    monkeypatch.setattr(jax, 'devices', None)
    monkeypatch.setattr(main.environment, 'configure_environment', lambda **_: [])
    assert main.main(['main.py', '--mode=compile']) == 0
    assert 'tpu:v5e:16x16' in caplog.text


@pytest.mark.parametrize(
    'flags, said',
    [
        (['--config.compile.target=tpu:v9:1'], "config.compile.target is 'tpu:v9:1'; expected a machine such as"),
        (['--config.compile.target=cpu:2', '--config.mesh=4,2'], 'A mesh of 4 x 2 needs 8 devices, but there are 2'),
    ],
)
def test_a_mistake_is_a_sentence(flags, said, capsys, monkeypatch):
    monkeypatch.setattr(main.environment, 'configure_environment', lambda **_: [])
    assert main.main(['main.py', '--mode=compile', *flags]) == 2
    assert said in ' '.join(capsys.readouterr().err.split())
