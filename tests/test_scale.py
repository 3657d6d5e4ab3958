"""The planner: its model says what it was told, and the crossovers that follow by arithmetic."""

import dataclasses

import pytest

from alexnet_jax.models import presets
from benchmarks import plan_meshes, scale

PAPER = presets.get_architecture('paper')
DEVICE = scale.Device(fixed=0.0, per_image=1e-3)


def link(speed, latency=0.0, hidden=0.0):
    return scale.Link(speed, latency, hidden)


def test_the_line_goes_through_two_measured_steps_and_never_below_nothing():
    device = scale.fit_device([(32, 0.95), (128, 3.59)])
    assert device.fixed + 32 * device.per_image == pytest.approx(0.95)
    assert device.fixed + 128 * device.per_image == pytest.approx(3.59)
    assert scale.fit_device([(32, 0.1), (128, 0.5)]).fixed == 0
    with pytest.raises(ValueError, match='at least two batch sizes'):
        scale.fit_device([(32, 0.95), (32, 0.96)])


@pytest.mark.parametrize('way', ['data', 'dense layers'])
def test_one_device_takes_what_was_measured(way):
    device = scale.Device(0.07, 0.0275)
    assert scale.step_seconds(PAPER, way, 1, 128, device, link(1e9, 1e-3)) == pytest.approx(0.07 + 128 * 0.0275)


def test_without_a_price_of_communication_all_ways_scale_perfectly():
    for way in scale.STRATEGIES:
        seconds = scale.step_seconds(PAPER, way, 8, 1024, DEVICE, link(1e30))
        assert seconds == pytest.approx(1024 * DEVICE.per_image / 8)


def test_on_two_devices_columns_move_less_than_gradients_below_a_thousand_images():
    """60,965,224 parameters over the 60,672 numbers that an image exchanges there and back: 1,004.8."""
    slow = link(1e9)

    def cheaper(batch):
        times = {way: scale.step_seconds(PAPER, way, 2, batch, DEVICE, slow) for way in ('data', 'columns')}
        return min(times, key=times.get)

    assert (cheaper(1004), cheaper(1006)) == ('columns', 'data')


def test_a_reduction_in_a_ring_sends_twice_the_parameters_but_for_one_share():
    seconds = scale.step_seconds(PAPER, 'data', 4, 4, scale.Device(0, 0), link(4.0))
    assert seconds == pytest.approx(2 * 3 / 4 * sum(PAPER.parameter_counts().values()))
    assert scale.step_seconds(PAPER, 'data', 4, 4, scale.Device(0, 0), link(4.0, hidden=1)) == 0


def test_a_pair_exchanges_over_its_own_link():
    free = scale.Device(0, 0)
    slow, fast = link(1e9), scale.Link(1e9, 0, 0, pair_speed=1e10)
    times = [scale.step_seconds(PAPER, 'columns', 2, 128, free, each) for each in (slow, fast)]
    assert times[0] == pytest.approx(10 * times[1])


def test_what_cannot_be_shared_is_not_offered():
    torchvision = presets.get_architecture('torchvision')
    assert set(scale.seconds_by_strategy(torchvision, 2, 128, DEVICE, link(1e9))) == {'data', 'dense layers'}
    assert scale.seconds_by_strategy(PAPER, 3, 128, DEVICE, link(1e9)) == {}
    assert set(scale.seconds_by_strategy(PAPER, 1, 128, DEVICE, link(1e9))) == {'data', 'dense layers'}


def test_dense_layers_see_what_the_network_has_before_them():
    assert scale.dense_inputs(PAPER) == {'fc6': 9216, 'fc7': 4096, 'fc8': 4096}


def test_the_last_line_names_the_ways_by_ranges():
    best = [(1, 'data'), (2, 'columns'), (4, 'columns'), (8, 'data')]
    assert scale.format_best_ranges(best) == 'best by devices: columns at 2 to 4; data at 8'


def compiled_report(batch, memory, mesh=(1, 1), *, moved=30_336, **training):
    """What benchmarks read of a report of mode compile."""
    parts = {'arithmetic': 1e-3, 'memory': memory, 'columns': 0.0, 'data': 0.0}
    kinds = ('all-gather', 'reduce-scatter') if mesh == (1, 2) else ()
    collectives = [{'kind': kind, 'numbers': moved * batch, 'times': 1} for kind in kinds]
    return {
        'target': 'cuda:h100:1',
        'network': 'paper',
        'mesh': dict(zip(('data', 'column'), mesh, strict=True)),
        'batch': batch,
        'compute': 'bfloat16',
        'training': {'estimate': {'parts': parts}, 'collectives': collectives, **training},
    }


def test_compiled_programs_are_devices_with_published_links():
    device, links = scale.read_compiled([compiled_report(128, 2e-3), compiled_report(1024, 9e-3)])
    assert device.fixed + 128 * device.per_image == pytest.approx(2e-3)
    assert device.fixed + 1024 * device.per_image == pytest.approx(9e-3)
    assert links == {1: 450e9, 9: 50e9}
    # Without a pair's programs each of two columns takes half.
    assert device.of_a_pair().fixed == device.fixed / 2
    # Two columns exchange half as many bytes in bfloat16 as in float32.
    small, large = (scale.Device(0, 0, size) for size in (2, 4))
    times = [scale.step_seconds(PAPER, 'columns', 2, 128, each, link(1e9)) for each in (small, large)]
    assert times[1] == pytest.approx(2 * times[0])
    with pytest.raises(ValueError, match='mesh of one device or of two'):
        scale.read_compiled([compiled_report(128, 2e-3, mesh=(2, 1))])


def test_programs_of_two_columns_are_the_pair_and_must_exchange_what_layers_say():
    alone = [compiled_report(128, 2e-3), compiled_report(1024, 9e-3, largest_batch=5000)]
    pair = [compiled_report(128, 1.5e-3, (1, 2)), compiled_report(1024, 5e-3, (1, 2))]
    device, _ = scale.read_compiled([*alone, *pair])
    assert device.most_images == 5000
    seconds = scale.step_seconds(PAPER, 'columns', 2, 1024, device, link(1e30))
    assert seconds == pytest.approx(5e-3)
    with pytest.raises(ValueError, match='moves 30,335 numbers an image, not 30,336'):
        scale.read_compiled([*alone, compiled_report(128, 1.5e-3, (1, 2), moved=30_335)])


def test_a_plan_names_the_fastest_mesh_that_divides_and_fits():
    device = scale.Device(1e-3, 1e-5, 2, scale.Device(0.4e-3, 0.6e-5), most_images=1000)
    plan = plan_meshes.plan_meshes(PAPER, device, lambda devices: link(1e12), [1, 2, 4, 256], [128, 2048])
    assert set(plan) == {(1, 128), (2, 128), (4, 128), (256, 128), (2, 2048), (4, 2048), (256, 2048)}
    # Half the update outweighs the slower image on a pair; of 2,048 images a single device has no room for half.
    assert plan[2, 128][1] == '1,2' and plan[2, 2048][1] == '1,2'
    for (devices, batch), (seconds, mesh) in plan.items():
        data, columns = map(int, mesh.split(','))
        assert data * columns == devices
        way = {1: 'data', 2: 'columns'}[columns]
        assert seconds == scale.step_seconds(PAPER, way, devices, batch, device, link(1e12))
    *table, small, large = plan_meshes.format_plan(plan, images=2048 * 3600)
    assert table[1].split() == [
        '1',
        '1,1',
        f'{1e3 * plan[1, 128][0]:.2f}',
        'ms',
        f'{16 * plan[1, 128][0]:.3f}',
        'h',
        '-',
    ]
    # Where the images do not even fit one by one, no mesh is offered.
    full = dataclasses.replace(device, most_images=0)
    assert set(plan_meshes.plan_meshes(PAPER, full, lambda devices: link(1e12), [1], [128])) == set()
    fastest = min((1, 2, 4, 256), key=lambda devices: plan[devices, 128][0])
    assert small.startswith(f'batch 128: fastest on {fastest} ')
    assert large.startswith('batch 2,048: fastest on ')
