"""The second promise on the real compilers, with no device: TPU slices and NVIDIA GPUs.

    pip install -r requirements-tpu-compile.txt && pip install --no-deps -r requirements-cuda-compile.txt
    python -m pytest -m slow -n 0 tests/commands/test_compile_targets.py

Each test is skipped where its compiler is not installed. TPU programs take half a minute each on two idle cores.
"""

import importlib.util
import re

import jax
import pytest

from alexnet_jax import commands
from alexnet_jax.commands import compile_step, factories
from alexnet_jax.distributed import targets
from alexnet_jax.models import presets
from alexnet_jax.report.hlo_text import parse_computations
from configs import default

COMPILERS = {'tpu': 'libtpu', 'cuda': 'jax_cuda13_plugin'}
TWO_COLUMNS = [name for name, each in presets.PRESETS.items() if each.columns == 2]
SMALLEST = {'tpu': 'tpu:v5e:1x2', 'cuda': 'cuda:h100:2'}
pytestmark = pytest.mark.slow


def compile_report(target, preset='paper', images=8, **fields):
    """The report of mode compile, with so many images on each device."""
    config = make_config(target, preset, images, **fields)
    return config, commands.run('compile', config)


def make_config(target, preset, images, **fields):
    """The config of mode compile; skips the test where the compiler for the target is not installed."""
    if importlib.util.find_spec(COMPILERS[target.partition(':')[0]]) is None:
        pytest.skip('the compiler for it is not installed')
    config = default.get_config()
    config.model.preset, config.compile.target = preset, target
    config.evaluate.views = 1
    devices = targets.parse_target(target).num_devices
    config.train.batch_size = config.evaluate.batch_size = images * max(devices // 2, 1)
    for name, value in fields.items():
        section, _, field = name.partition('__')
        config[section][field] = value
    return config


def numbers_by_layer(part, kind):
    """The numbers an image that collectives of that kind bring across the columns, by layer."""
    found = {}
    for each in part['collectives']:
        if (each['kind'], each['axes']) == (kind, 'column'):
            found[each['layer']] = found.get(each['layer'], 0) + each['numbers'] * each['times'] / part['images']
    return found


def assert_second_promise(report, arch, *, evaluation=False, parts=1):
    """The columns' exchange as the layers say, as much back, gradients over data, and small reductions."""
    part = report['evaluation' if evaluation else 'training']
    images, found = part['images'], part['collectives']
    exchanged = arch.numbers_exchanged()
    assert numbers_by_layer(part, 'all-gather') == exchanged
    if not evaluation:
        back = numbers_by_layer(part, 'reduce-scatter')
        # Of few images a TPU pads the rows that it scatters, and sends the odd one on; small arrays it reduces whole.
        padded = report['device'].startswith('TPU') and images < 64
        whole = {name: count / 2 for name, count in numbers_by_layer(part, 'all-reduce').items() if name in exchanged}
        assert padded or not whole
        back |= {name: back.get(name, 0) + count for name, count in whole.items()}
        assert set(back) == set(exchanged)
        for layer, count in exchanged.items():
            assert count <= back[layer] <= (1.2 if padded else 1) * count
        sent_on = sum(numbers_by_layer(part, 'collective-permute').values())
        assert sent_on <= (0.05 if padded else 0) * sum(exchanged.values())
    rest = [each for each in found if (each['kind'], each['axes']) not in EXCHANGES]
    assert {each['kind'] for each in rest} <= {'all-reduce'}
    small = [each for each in rest if each['axes'] != 'data' and each['layer'] not in arch.numbers_exchanged()]
    across = sum(each['numbers'] * each['times'] for each in small)
    assert across <= 8 * images + 64 * parts
    over_data = sum(each['numbers'] * each['times'] for each in rest if each['axes'] == 'data')
    # Half of the parameters, the last layer's rounded up to whole columns; none in evaluation.
    mine = sum(arch.parameter_counts().values()) // 2
    reduced = report['mesh']['data'] > 1 and not evaluation
    assert (mine <= over_data <= 1.001 * mine + 4096) if reduced else over_data <= 8 * images + 64 * parts


EXCHANGES = {(kind, 'column') for kind in ('all-gather', 'reduce-scatter', 'collective-permute')}


@pytest.mark.parametrize('target', ['tpu:v5e:1x2', 'tpu:v5e:2x4', 'tpu:v5e:16x16'])
def test_the_papers_step_on_tpus_moves_30336_numbers_an_image_and_direction(target):
    _, report = compile_report(target, images=64, model__compute_dtype='bfloat16')
    assert_papers_exchange(report)


@pytest.mark.parametrize('target', ['cuda:h100:2', 'cuda:h100:8', 'cuda:h100:32x8'])
def test_the_papers_step_on_gpus_moves_30336_numbers_an_image_and_direction(target):
    _, report = compile_report(target)
    assert_papers_exchange(report)


def assert_papers_exchange(report):
    assert_second_promise(report, presets.PAPER)
    training = report['training']
    for kind in ('all-gather', 'reduce-scatter'):
        assert sum(numbers_by_layer(training, kind).values()) == 30_336
    assert training['memory']['all'] < training['memory_limit']
    assert training['flops'] == pytest.approx(training['expected_flops'], rel=0.15)


@pytest.mark.parametrize('name', TWO_COLUMNS)
@pytest.mark.parametrize('platform', ['tpu', 'cuda'])
def test_every_network_of_two_columns_moves_what_its_layers_say(name, platform):
    # A TPU's compiler takes minutes for float32, which it makes of six products.
    _, report = compile_report(SMALLEST[platform], name, model__compute_dtype='bfloat16' if platform == 'tpu' else '')
    assert_second_promise(report, presets.PRESETS[name])


@pytest.mark.parametrize('platform', ['tpu', 'cuda'])
@pytest.mark.parametrize(
    'fields',
    [
        {'model__compute_dtype': 'bfloat16', 'train__grad_accumulation': 2, 'compile__evaluation': True},
        {'model__matmul_precision': 'tensorfloat32', 'data__device_cache': True, 'compile__num_images': 1000},
        {'model__matmul_precision': 'bfloat16', 'augment__mean': 'center'},
    ],
    ids=['bfloat16, accumulation, evaluation', 'tensorfloat32, device cache', 'products in bfloat16'],
)
def test_whatever_a_run_may_ask_for_compiles(platform, fields):
    _, report = compile_report(SMALLEST[platform], 'miniature', **fields)
    assert_second_promise(report, presets.PRESETS['miniature'], parts=fields.get('train__grad_accumulation', 1))
    if 'compile__evaluation' in fields:
        assert_second_promise(report, presets.PRESETS['miniature'], evaluation=True)


@pytest.mark.parametrize('target, relaid', [('tpu:v5e:1x2', r'conv1|fc8'), ('cuda:h100:1', r'conv')])
def test_the_update_reads_and_writes_each_parameter_once(target, relaid):
    """In place, by one kernel, which alone reads the velocity; a few kernels of layers are copied to another layout."""
    config = make_config(target, 'paper', 8, model__compute_dtype='bfloat16')
    arch, machine = presets.PAPER, targets.parse_target(target)
    mesh = factories.make_device_mesh(config, arch, devices=targets.make_devices(machine))
    lowered, state = compile_step.lower_training(config, arch, mesh)
    text = lowered.compile(compiler_options=targets.compile_options(machine)).as_text()
    computations = dict(parse_computations(text))
    entry = next(each for name, each in computations.items() if name.startswith('ENTRY '))
    results = next(each for each in entry.values() if each.is_root).operands
    places = {
        int(re.search(r'parameter\((\d+)\)', each.line)[1]): each
        for each in entry.values()
        if each.opcode == 'parameter'
    }
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    for number, name in enumerate(names):
        assert places[number].op_name.replace('\\', '').endswith(name)
        written_by, copied = trace_back(entry, results[number])
        readers = [each for each in trace_forward(entry, places[number].name) if each.name == written_by.name]
        assert len(readers) == 1, name
        assert not copied or re.search(relaid, name), name
        if 'velocity' in name:
            assert trace_forward(entry, places[number].name) == readers, name


# They name an array, or move it to or from a TPU's vector memory.
SAME_ARRAY = ('bitcast', 'get-tuple-element', 'copy-start', 'copy-done', 'slice-start', 'slice-done')


def trace_forward(entry, name):
    """The operations that read an array, under whatever name."""
    found = {}
    for each in entry.values():
        if name in each.operands:
            through = trace_forward(entry, each.name) if each.opcode in SAME_ARRAY else [each]
            found |= {reader.name: reader for reader in through}
    return list(found.values())


def trace_back(entry, name):
    """The operation that writes an array, and whether a copy comes between."""
    instruction, copied = entry[name], False
    while instruction.opcode in (*SAME_ARRAY, 'copy'):
        copied |= instruction.opcode == 'copy'
        instruction = entry[instruction.operands[0]]
    return instruction, copied


def test_the_largest_batch_that_is_said_to_fit_is_near_what_the_compiler_counts():
    config, report = compile_report('cuda:h100:1', images=512, model__compute_dtype='bfloat16')
    largest = report['training']['largest_batch']
    config.train.batch_size = config.evaluate.batch_size = largest
    sizes = commands.run('compile', config)['training']['memory']
    assert sizes['all'] == pytest.approx(report['training']['memory_limit'], rel=0.1)
