"""The second promise on the real compilers, with no device: TPU slices and NVIDIA GPUs.

    pip install -r requirements-tpu-compile.txt && pip install --no-deps -r requirements-cuda-compile.txt
    python -m pytest -m slow -n 0 tests/commands/test_compile_targets.py

Each test is skipped where its compiler is not installed. TPU programs take half a minute each on two idle cores.
"""

import importlib.util

import pytest

from alexnet_jax import commands
from alexnet_jax.distributed import targets
from alexnet_jax.models import presets
from configs import default

COMPILERS = {'tpu': 'libtpu', 'cuda': 'jax_cuda13_plugin'}
TWO_COLUMNS = [name for name, each in presets.PRESETS.items() if each.columns == 2]
SMALLEST = {'tpu': 'tpu:v5e:1x2', 'cuda': 'cuda:h100:2'}
pytestmark = pytest.mark.slow


def compile_report(target, preset='paper', images=8, **fields):
    """The report of mode compile, with so many images on each device."""
    if importlib.util.find_spec(COMPILERS[target.partition(':')[0]]) is None:
        pytest.skip('the compiler for it is not installed')
    config = default.get_config()
    config.model.preset, config.compile.target = preset, target
    config.evaluate.views = 1
    devices = targets.parse_target(target).num_devices
    config.train.batch_size = config.evaluate.batch_size = images * devices // 2
    for name, value in fields.items():
        section, _, field = name.partition('__')
        config[section][field] = value
    return config, commands.run('compile', config)


def assert_second_promise(report, arch, *, evaluation=False):
    """The columns' exchange as the layers say, as much back, gradients over data, and small reductions."""
    part = report['evaluation' if evaluation else 'training']
    images, found = part['images'], part['collectives']
    for kind in ('all-gather',) if evaluation else ('all-gather', 'reduce-scatter'):
        moved = [each for each in found if (each['kind'], each['axes']) == (kind, 'column')]
        by_layer = {each['layer']: each['numbers'] * each['times'] / images for each in moved}
        assert by_layer == arch.numbers_exchanged()
        assert len(moved) == len(by_layer)
    rest = [each for each in found if (each['kind'], each['axes']) not in EXCHANGES]
    assert {each['kind'] for each in rest} <= {'all-reduce'}
    across = sum(each['numbers'] * each['times'] for each in rest if each['axes'] != 'data')
    assert across <= 8 * images + 64
    over_data = sum(each['numbers'] * each['times'] for each in rest if each['axes'] == 'data')
    # Half of the parameters, the last layer's rounded up to whole columns; none in evaluation.
    mine = sum(arch.parameter_counts().values()) // 2
    reduced = report['mesh']['data'] > 1 and not evaluation
    assert (mine <= over_data <= 1.001 * mine + 4096) if reduced else over_data <= 8 * images + 64


EXCHANGES = {('all-gather', 'column'), ('reduce-scatter', 'column')}


@pytest.mark.parametrize(
    'target', ['tpu:v5e:1x2', 'tpu:v5e:2x4', 'tpu:v5e:16x16', 'cuda:h100:2', 'cuda:h100:8', 'cuda:h100:32x8']
)
def test_the_papers_step_moves_30336_numbers_an_image_and_direction(target):
    _, report = compile_report(target)
    assert_second_promise(report, presets.PAPER)
    training = report['training']
    moved = sum(each['numbers'] for each in training['collectives'] if each['kind'] == 'reduce-scatter')
    assert moved == 30_336 * training['images']
    assert training['memory']['all'] < training['memory_limit']
    assert training['flops'] == pytest.approx(training['expected_flops'], rel=0.15)


@pytest.mark.parametrize('name', TWO_COLUMNS)
@pytest.mark.parametrize('platform', ['tpu', 'cuda'])
def test_every_network_of_two_columns_moves_what_its_layers_say(name, platform):
    _, report = compile_report(SMALLEST[platform], name)
    assert_second_promise(report, presets.PRESETS[name])


@pytest.mark.parametrize('platform', ['tpu', 'cuda'])
@pytest.mark.parametrize(
    'fields',
    [
        {'model__compute_dtype': 'bfloat16', 'train__grad_accumulation': 2, 'compile__evaluation': True},
        {'model__matmul_precision': 'tensorfloat32', 'data__device_cache': True},
        {'model__matmul_precision': 'bfloat16', 'augment__mean': 'center'},
    ],
    ids=['bfloat16, accumulation, evaluation', 'tensorfloat32, device cache', 'products in bfloat16'],
)
def test_whatever_a_run_may_ask_for_compiles(platform, fields):
    _, report = compile_report(SMALLEST[platform], 'miniature', **fields)
    parts = fields.get('train__grad_accumulation', 1)
    moved = [each for each in report['training']['collectives'] if each['kind'] == 'all-gather']
    assert {each['times'] for each in moved} == {parts}
    exchanged = sum(presets.PRESETS['miniature'].numbers_exchanged().values())
    assert sum(each['numbers'] for each in moved) * parts == exchanged * report['training']['images']
    if 'compile__evaluation' in fields:
        assert_second_promise(report, presets.PRESETS['miniature'], evaluation=True)


def test_the_largest_batch_that_is_said_to_fit_is_near_what_the_compiler_counts():
    config, report = compile_report('cuda:h100:1', images=512, model__compute_dtype='bfloat16')
    largest = report['training']['largest_batch']
    config.train.batch_size = config.evaluate.batch_size = largest
    sizes = commands.run('compile', config)['training']['memory']
    assert sizes['all'] == pytest.approx(report['training']['memory_limit'], rel=0.1)
