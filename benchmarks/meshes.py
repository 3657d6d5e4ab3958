"""Step time, bytes moved and efficiency of every mesh (data, column) on the devices there are, or on fake ones.

    python benchmarks/meshes.py --preset=miniature --batch=128 --cpu_devices=4

The global batch is the same for all, and their turns follow one another in each round. Fake devices share this one's
cores: then efficiency tells what sharing costs, not what more devices would gain. The last line is the figure of the
columns: mesh (1,1) over (1,2).
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

from alexnet_jax.runtime.environment import configure_environment
from configs import default


def arguments() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--preset', default='miniature')
    parser.add_argument('--batch', type=int, default=128, help='over all devices')
    parser.add_argument('--cpu_devices', type=int, default=4, help='fake ones, where there is no accelerator')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--steps', type=int, default=4, help='in each turn of a round')
    parser.add_argument('--dots_only', action=argparse.BooleanOptionalAction, default=False)
    return parser.parse_args()


def moved(arch, mesh: tuple[int, int], batch: int) -> tuple[float, float]:
    """Bytes that each device sends in a step: of activations between columns, and of gradients over `data`."""
    data, column = mesh
    images = batch / data
    activations = 2 * sum(arch.numbers_exchanged().values()) * images * 4 if column > 1 else 0.0
    gradients = 2 * (data - 1) / data * sum(arch.parameter_counts().values()) / column * 4
    return activations, gradients


def main() -> None:
    given = arguments()
    machine = default.get_config().machine
    machine.cpu_devices = given.cpu_devices
    configure_environment(machine)

    import jax
    import steps

    from alexnet_jax.models import presets

    arch = presets.get_architecture(given.preset)
    columns = (1, 2) if arch.columns == 2 else (1,)
    count = jax.device_count()
    meshes = [(n, c) for c in columns for n in (1, 2, 4, 8, 16) if n * c <= count and not given.batch % n]
    turns = {
        mesh: steps.stepper(given.preset, given.batch, mesh=mesh, dots_only=given.dots_only)
        for mesh in meshes
    }
    for turn in turns.values():
        turn(2)
    seconds: dict[tuple[int, int], list[float]] = {mesh: [] for mesh in meshes}
    for _ in range(given.rounds):
        for mesh, turn in turns.items():
            seconds[mesh].append(turn(given.steps))
    print(f'{given.preset}, {given.batch} images a step, {count} devices ({jax.devices()[0].device_kind})')
    print(
        'mesh    step, ms (fastest)   images/s   to (1,1)   MB of activations, of gradients sent by a device'
    )
    for mesh, times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds[1, 1], times, strict=True))
        middle = statistics.median(times)
        activations, gradients = (size / 1e6 for size in moved(arch, mesh, given.batch))
        print(
            f'({mesh[0]},{mesh[1]})  {1000 * middle:9.1f} ({1000 * min(times):.1f})  {given.batch / middle:9.0f}  '
            f'{ratio:9.2f}  {activations:9.2f} {gradients:9.2f}'
        )
    if (1, 2) in seconds:
        ratios = [a / b for a, b in zip(seconds[1, 1], seconds[1, 2], strict=True)]
        print(f'(1,1) over (1,2): {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})')


if __name__ == '__main__':
    main()
