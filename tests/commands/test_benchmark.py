"""Mode benchmark leaves its table, its figures and its picture."""

import json
import logging

import pytest
from PIL import Image
from tiny_run import tiny_config

from alexnet_jax import commands
from alexnet_jax.commands import benchmark, factories
from alexnet_jax.config import build
from alexnet_jax.models import presets
from alexnet_jax.report import benchmark_report, layer_benchmark
from alexnet_jax.train import optimizer


def test_a_run_of_the_mode_measures_step_layers_input_memory_and_what_is_sent(tmp_path, caplog):
    config = tiny_config()
    config.benchmark.steps, config.benchmark.rounds = 2, 1
    with caplog.at_level(logging.INFO, logger='alexnet_jax'):
        report = commands.run('benchmark', config, str(tmp_path))
    written = json.loads((tmp_path / 'benchmark.json').read_text())
    assert written == json.loads(json.dumps(report))
    arch = presets.get_architecture('miniature')
    assert [layer['name'] for layer in report['layers']] == [layer.name for layer in arch.layers]
    assert report['step']['least'] <= report['step']['median'] <= report['step']['most']
    assert report['images_per_second'] == config.train.batch_size / report['step']['median']
    assert 0 < report['share'] and report['compile'] > 0
    assert report['input']['images_per_second'] > 0 and 0 <= report['whole']['waiting'] <= 1
    assert report['exchanged'] == {'columns': 2 * 4 * 8 * 1696, 'data': 0}
    assert report['memory']['most']['process'] >= report['memory']['base'] > 0
    assert set(report['presets']) == set(presets.PRESETS)
    assert Image.open(tmp_path / 'benchmark.png').size[0] == 1600
    table = caplog.text
    assert 'of the rate of matrix products' in table and 'input alone' in table
    assert all(f'\n{name} ' in table for name in ('conv1', 'fc8', 'sum', *presets.PRESETS))
    assert max(map(len, benchmark_report.format_report(report, arch))) <= 120


def test_without_a_dataset_random_images_are_used(tmp_path, caplog):
    config = tiny_config()
    config.prepare.source, config.benchmark.steps = 'folder', 1
    with caplog.at_level(logging.INFO, logger='alexnet_jax'):
        data = benchmark.open_benchmark_dataset(config, str(tmp_path))
    assert data is None and 'random images are used instead' in caplog.text
    arch = build.preset_architecture(config)
    found = benchmark.time_train_step(config, arch, factories.make_device_mesh(config, arch), data, None)
    assert found['step']['median'] > 0 and 'whole' not in found


@pytest.mark.parametrize('decay_biases', [True, False])
def test_the_measured_step_is_the_config_s_and_honors_decay_biases(monkeypatch, decay_biases):
    config, used = tiny_config(), []
    config.train.decay_biases, config.benchmark.steps = decay_biases, 1

    def paper_sgd(*args, **settings):
        used.append(settings)
        return optimizer.paper_sgd(*args, **settings)

    monkeypatch.setattr(factories, 'paper_sgd', paper_sgd)
    monkeypatch.setattr(layer_benchmark, 'time_calls', lambda call, rounds: [1.0])
    arch = build.preset_architecture(config)
    benchmark.time_train_step(config, arch, factories.make_device_mesh(config, arch), None, None)
    assert used and all(settings['decay_biases'] is decay_biases for settings in used)
