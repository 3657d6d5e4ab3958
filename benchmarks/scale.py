"""Predict step time, scaling and hours of training on 1 to 1,024 devices, for three parallel strategies.

    python benchmarks/scale.py --step=32:0.93 --step=128:3.50 --link=1.25 --latency=20e-6 --batch=128

--step is a measured step of one device, as IMAGES:SECONDS, given for at least two batches (--mode=benchmark measures
them): a line through them is the model of the device. --link is what a device sends in one direction, in GB a second.
Without measured steps, --compiled takes reports of `--mode=compile` (compile.json) on a mesh of one device, two batch
sizes or more, and of two devices with a column each: their estimates are the steps, their collectives the exchange, and
the link is the published one, beyond a host of GPUs the network.
The assumptions are printed with the table and discussed in docs/scale.md. The last line names the fastest
strategy by ranges of devices.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from alexnet_jax.distributed.device_rates import RATES
from alexnet_jax.distributed.targets import parse_target
from alexnet_jax.models import presets
from alexnet_jax.models.architecture import Architecture, Convolution, Dense

# Gradients and parameters are float32.
FLOAT_BYTES = 4
GPUS_OF_A_HOST = 8
STRATEGIES = ('data', 'columns', 'dense layers')
ASSUMPTIONS = (
    'A step of one device takes a fixed time (the update of all parameters) and a time for each image.',
    'The fixed time is in proportion to the parameters that a device holds: all, those of its column, or its share.',
    'Reductions and gathers run in a ring at the full speed of the link, with its latency at every hop.',
    'Exchanges of activations block the computation; of the gradients the stated share hides behind it.',
    'No device waits for its input, and none is slower than another.',
)


@dataclasses.dataclass(frozen=True)
class Device:
    """One device's step: seconds for any batch, and seconds for each image of it."""

    fixed: float
    per_image: float
    # Of a number that columns or dense layers exchange.
    activation_bytes: int = FLOAT_BYTES
    # The step of each of two devices that hold a column each, and see the same images; None: half the seconds.
    pair: Device | None = None
    # The most images that a device has memory for, on each or on the pair; None where nobody knows.
    most_images: int | None = None

    def of_a_pair(self) -> Device:
        """Return the step of each of two devices that hold a column each."""
        return self.pair or Device(self.fixed / 2, self.per_image / 2)


@dataclasses.dataclass(frozen=True)
class Link:
    """A link between any two devices: bytes per second, and seconds until the first byte arrives."""

    speed: float
    latency: float
    # Share of the gradients' reduction that the backward pass hides.
    hidden: float = 0.0
    # Bytes per second between the two columns of a pair, which lie on one host; 0: those of any two devices.
    pair_speed: float = 0.0

    def ring(self, size: float, devices: int) -> float:
        """Return the seconds of a gather, or of half a reduction, that leaves `size` bytes on each device."""
        return (devices - 1) * (size / devices / self.speed + self.latency) if devices > 1 else 0.0


def fit_device(steps: Sequence[tuple[int, float]]) -> Device:
    """Fit a line through measured (images, seconds) by least squares; its intercept is not below 0."""
    if len({images for images, _ in steps}) < 2:
        raise ValueError(
            'Steps of at least two batch sizes are needed to separate the cost of a step from that of an image.'
        )
    count = len(steps)
    images, seconds = (sum(each[i] for each in steps) / count for i in range(2))
    slope = sum((i - images) * (s - seconds) for i, s in steps) / sum((i - images) ** 2 for i, _ in steps)
    return Device(max(0.0, seconds - slope * images), slope)


def read_compiled(reports: Sequence[dict]) -> tuple[Device, dict[int, float]]:
    """Return the device that reports of mode compile describe, and its links' bytes a second by devices from which on.

    The seconds of a step are the longer of computing and memory at published rates. Raises ValueError unless all are
    of one kind of device, alone or two with a column each, and what columns exchange is what the network's layers say.
    """
    kinds = {parse_target(report['target']).kind for report in reports}
    alone = [report for report in reports if report['mesh'] == {'data': 1, 'column': 1}]
    pairs = [report for report in reports if report['mesh'] == {'data': 1, 'column': 2}]
    if len(kinds) != 1 or len(alone) + len(pairs) < len(reports):
        raise ValueError(
            'Reports of one kind of device are needed, each on a mesh of one device or of two with a column each.'
        )
    for report in pairs:
        expected = sum(presets.get_architecture(report['network']).numbers_exchanged().values())
        for kind in ('all-gather', 'reduce-scatter'):
            moved = sum(
                each['numbers'] * each['times'] for each in report['training']['collectives'] if each['kind'] == kind
            )
            if moved != expected * report['batch']:
                raise ValueError(
                    f'{report["target"]} moves {moved / report["batch"]:,.0f} numbers an image, not {expected:,}.'
                )
    rates = RATES[kinds.pop()]
    itemsize = 2 if reports[0]['compute'] == 'bfloat16' else FLOAT_BYTES
    links = {1: rates.link} | ({GPUS_OF_A_HOST + 1: rates.network} if rates.network else {})
    pair = _fit_compiled(pairs) if pairs else None
    return dataclasses.replace(_fit_compiled(alone), activation_bytes=itemsize, pair=pair), links


def _fit_compiled(reports: Sequence[dict]) -> Device:
    """Fit a line through the estimates of reports on one mesh; the largest of them says what memory there is."""
    parts = [(report['batch'], report['training']['estimate']['parts']) for report in reports]
    device = fit_device([(batch, max(each['arithmetic'], each['memory'])) for batch, each in parts])
    largest = max(reports, key=lambda report: report['batch'])
    return dataclasses.replace(device, most_images=largest['training'].get('largest_batch'))


def step_seconds(
    arch: Architecture, strategy: str, devices: int, batch: int, device: Device, link: Link
) -> float | None:
    """Return the seconds of a step of `batch` images over all `devices`; None if the strategy is impossible."""
    # A pair of devices with a column each sees the same images.
    if batch % (devices // 2 if strategy == 'columns' and devices % 2 == 0 else devices):
        return None
    parameters = sum(arch.parameter_counts().values())
    work = device.per_image * batch / devices
    if strategy == 'data':
        return device.fixed + work + (1 - link.hidden) * 2 * link.ring(FLOAT_BYTES * parameters, devices)
    if strategy == 'columns':
        if arch.columns != 2 or devices % 2:
            return None
        pairs = devices // 2
        moved = (
            sum(arch.numbers_exchanged().values()) * batch / pairs * device.activation_bytes
        )  # by each device, in each direction
        exchanges = 2 * (moved / (link.pair_speed or link.speed) + len(arch.numbers_exchanged()) * link.latency)
        pair = device.of_a_pair()
        reduction = 2 * link.ring(FLOAT_BYTES * parameters / 2, pairs)
        return pair.fixed + pair.per_image * batch / pairs + exchanges + (1 - link.hidden) * reduction
    weights = arch.parameter_counts()
    convolutions = sum(weights[each.name] for each in arch.layers if isinstance(each, Convolution))
    dense = parameters - convolutions
    held = (convolutions + dense / devices) / parameters
    gathered = sum(dense_inputs(arch).values()) * batch * device.activation_bytes
    layers = len(dense_inputs(arch))
    exchanges = 2 * (link.ring(gathered, devices) + (layers - 1) * (devices - 1) * link.latency)
    reduction = 2 * link.ring(FLOAT_BYTES * convolutions, devices)
    return device.fixed * held + work + exchanges + (1 - link.hidden) * reduction


def dense_inputs(arch: Architecture) -> dict[str, int]:
    """Return the input size of each dense layer: what all devices need if they split its features."""
    sizes, previous = {}, ()
    for layer in arch.layers:
        if isinstance(layer, Dense):
            sizes[layer.name] = math.prod(previous)
        previous = arch.activation_shapes()[layer.name]
    return sizes


def seconds_by_strategy(arch: Architecture, devices: int, batch: int, device: Device, link: Link) -> dict[str, float]:
    """Return the seconds of a step by each strategy that is possible."""
    found = {strategy: step_seconds(arch, strategy, devices, batch, device, link) for strategy in STRATEGIES}
    return {strategy: seconds for strategy, seconds in found.items() if seconds is not None}


def parse_args() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--preset', default='paper', choices=presets.PRESETS)
    parser.add_argument('--step', action='append', default=[], metavar='IMAGES:SECONDS')
    parser.add_argument('--compiled', action='append', default=[], metavar='compile.json', help='instead of --step')
    parser.add_argument('--link', type=float, help='GB a second, one direction; needed with --step')
    parser.add_argument('--latency', type=float, default=20e-6, help='seconds')
    parser.add_argument('--hidden', type=float, default=0.0, help='share of the reduction of gradients, 0 to 1')
    parser.add_argument('--batch', type=int, default=128, help='images of a step on one device')
    parser.add_argument('--grow', action='store_true', help="--batch is each device's, not that of all together")
    parser.add_argument('--most', type=int, default=1024, help='devices')
    parser.add_argument('--images', type=int, default=1_281_167)
    parser.add_argument('--epochs', type=float, default=90.0)
    given = parser.parse_args()
    if bool(given.step) == bool(given.compiled) or (given.step and not given.link):
        parser.error('give --step with --link, or --compiled')
    return given


def main() -> None:
    given = parse_args()
    arch = presets.get_architecture(given.preset)
    steps = [(int(images), float(seconds)) for images, _, seconds in (each.partition(':') for each in given.step)]
    if given.compiled:
        device, speeds = read_compiled([json.loads(Path(file).read_text()) for file in given.compiled])
    else:
        device, speeds = fit_device(steps), {1: given.link * 1e9}
    if given.link:
        speeds = {1: given.link * 1e9}

    def link_of(devices: int) -> Link:
        return Link(speeds[max(first for first in speeds if first <= devices)], given.latency, given.hidden, speeds[1])

    for line in ASSUMPTIONS:
        print(f'- {line}')
    rates = ' or '.join(f'{speed / 1e9:g}' for speed in speeds.values())
    print(
        f'{arch.name}, one device: {1000 * device.fixed:.2f} ms per step and {1000 * device.per_image:.3f} ms per image'
        f'; {rates} GB/s, {1e6 * given.latency:g} us, {given.hidden:.0%} of the reduction hidden'
    )
    alone = step_seconds(arch, 'data', 1, given.batch, device, link_of(1))
    assert alone is not None
    print(f'{"devices":>7} {"batch":>7}  ' + '  '.join(f'{strategy:>28}' for strategy in STRATEGIES) + '  best')
    best: list[tuple[int, str]] = []
    for devices in itertools.takewhile(lambda n: n <= given.most, (2**n for n in itertools.count())):
        batch = given.batch * devices if given.grow else given.batch
        found = seconds_by_strategy(arch, devices, batch, device, link_of(devices))
        if not found:
            break
        cells = []
        for strategy in STRATEGIES:
            if strategy not in found:
                cells.append(f'{"-":>28}')
                continue
            rate = batch / found[strategy]
            hours = given.images * given.epochs / rate / 3600
            efficiency = rate / devices / (given.batch / alone)
            cells.append(f'{1000 * found[strategy]:9.2f} ms {efficiency:4.0%} {hours:8.{2 if hours < 10 else 1}f} h')
        winner = min(found, key=lambda strategy: found[strategy])
        best.append((devices, winner))
        print(f'{devices:>7} {batch:>7}  ' + '  '.join(f'{cell:>28}' for cell in cells) + f'  {winner}')
    print(format_best_ranges(best))


def format_best_ranges(best: Sequence[tuple[int, str]]) -> str:
    """Return which strategy is fastest, by ranges of devices."""
    parts = []
    for strategy, group in itertools.groupby(best[1:], key=lambda each: each[1]):
        counts = [devices for devices, _ in group]
        parts.append(f'{strategy} at {counts[0]}' + (f' to {counts[-1]}' if len(counts) > 1 else ''))
    return 'best by devices: ' + ('; '.join(parts) or 'one device alone')


if __name__ == '__main__':
    main()
