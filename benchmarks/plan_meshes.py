"""Say which mesh to take on 1 to 1,024 devices, by programs that were compiled for them and never run.

    python benchmarks/plan_meshes.py --compiled=/tmp/v5e_128/compile.json --compiled=/tmp/v5e_1024/compile.json \\
        --compiled=/tmp/v5e_pair_128/compile.json --compiled=/tmp/v5e_pair_1024/compile.json --latency=1e-6

--compiled takes reports of `--mode=compile`, as benchmarks/scale.py does, whose model and assumptions these are: on a
mesh of one device and of two with a column each, two batch sizes or more. Batches are those of all devices together.
The table has the fastest mesh that this package offers, (data, column), with its estimated step and hours of training;
"-" is a batch that no mesh divides or fits. The last lines say which number of devices to take.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from alexnet_jax.models import presets
from alexnet_jax.models.architecture import Architecture
from benchmarks import scale

# (seconds of a step, mesh) by devices and batch.
Plan = dict[tuple[int, int], tuple[float, str]]


def plan_meshes(
    arch: Architecture,
    device: scale.Device,
    link_of: Callable[[int], scale.Link],
    counts: Sequence[int],
    batches: Sequence[int],
) -> Plan:
    """Return the fastest mesh by devices and batch, without the cases that no mesh divides or has memory for."""
    plan = {}
    for count, batch in itertools.product(counts, batches):
        found = scale.seconds_by_strategy(arch, count, batch, device, link_of(count))
        pair = device.of_a_pair()
        offered = [
            (found[strategy], f'{data},{columns}')
            for strategy, data, columns, held in (
                ('data', count, 1, device.most_images),
                ('columns', count // 2, 2, pair.most_images),
            )
            if strategy in found and (held is None or batch / data <= held)
        ]
        if offered:
            plan[count, batch] = min(offered)
    return plan


def format_plan(plan: Plan, images: float) -> list[str]:
    """Return the table of a plan, with hours for `images`, and for each batch how many devices to take.

    Those are the number with the fewest hours, and the largest whose devices each do half of what they do in the
    smallest that the plan has.
    """
    counts, batches = (sorted({key[place] for key in plan}) for place in (0, 1))

    def hours(count: int, batch: int) -> float:
        return plan[count, batch][0] * images / batch / 3600

    lines = [f'{"devices":>7}' + ''.join(f'{f"batch {batch:,}":>28}' for batch in batches)]
    for count in counts:
        cells = [
            f'{plan[count, batch][1]:>7} {1000 * plan[count, batch][0]:7.2f} ms {hours(count, batch):7.3f} h'
            if (count, batch) in plan
            else '-'
            for batch in batches
        ]
        lines.append(f'{count:>7}' + ''.join(f'{cell:>28}' for cell in cells))
    for batch in batches:
        usable = [count for count in counts if (count, batch) in plan]
        rates = {count: 1 / (count * hours(count, batch)) for count in usable}
        fastest = min(usable, key=lambda count: hours(count, batch))
        worth = max(count for count in usable if rates[count] >= rates[usable[0]] / 2)
        lines.append(
            f'batch {batch:,}: fastest on {fastest} ({plan[fastest, batch][1]}), {hours(fastest, batch):.3f} h; each '
            f'does half of what it can or more up to {worth} ({plan[worth, batch][1]}), {hours(worth, batch):.3f} h'
        )
    return lines


def parse_args() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--compiled', action='append', required=True, metavar='compile.json')
    parser.add_argument('--batches', default='128,1024,2048,4096,8192', help='images of a step, of all devices')
    parser.add_argument('--latency', type=float, default=5e-6, help='seconds at each hop of a link')
    parser.add_argument('--hidden', type=float, default=0.0, help='share of the reduction of gradients, 0 to 1')
    parser.add_argument('--most', type=int, default=1024, help='devices')
    parser.add_argument('--images', type=int, default=1_281_167)
    parser.add_argument('--epochs', type=float, default=90.0)
    return parser.parse_args()


def main() -> None:
    given = parse_args()
    reports = [json.loads(Path(file).read_text()) for file in given.compiled]
    device, speeds = scale.read_compiled(reports)

    def link_of(devices: int) -> scale.Link:
        slowest = speeds[max(first for first in speeds if first <= devices)]
        return scale.Link(slowest, given.latency, given.hidden, pair_speed=speeds[1])

    for line in scale.ASSUMPTIONS:
        print(f'- {line}')
    rates = ' or '.join(f'{speed / 1e9:g}' for speed in speeds.values())
    for name, each in (('one device', device), ('each of a pair', device.of_a_pair())):
        print(
            f'{name}: {1000 * each.fixed:.3f} ms a step and {1e6 * each.per_image:.3f} us an image, at published rates'
        )
    print(f'links of {rates} GB/s, {1e6 * given.latency:g} us; {given.epochs:g} epochs of {given.images:,} images')
    counts = list(itertools.takewhile(lambda n: n <= given.most, (2**n for n in itertools.count())))
    arch = presets.get_architecture(reports[0]['network'])
    plan = plan_meshes(arch, device, link_of, counts, [int(batch) for batch in given.batches.split(',')])
    print('\n'.join(format_plan(plan, given.images * given.epochs)))


if __name__ == '__main__':
    main()
