"""Step time, bytes sent and efficiency of every mesh (data, column) on the devices there are, or on fake ones.

    python benchmarks/meshes.py --preset=miniature --batch=128 --cpu_devices=4

The global batch is the same for all, and each round times the meshes one after another. Fake devices share the cores of
this machine: the efficiency then shows the cost of sharing, not the gain of more devices. The last line is the figure
of the columns: mesh (1,1) over (1,2).
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

from alexnet_jax.runtime import environment
from configs import default


def parse_args() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--preset', default='miniature')
    parser.add_argument('--batch', type=int, default=128, help='over all devices')
    parser.add_argument('--cpu_devices', type=int, default=4, help='fake ones, if there is no accelerator')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--steps', type=int, default=4, help='per mesh in a round')
    parser.add_argument('--dots_only', action=argparse.BooleanOptionalAction, default=False)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    machine = default.get_config().machine
    machine.cpu_devices = args.cpu_devices
    environment.configure_environment(**{name: machine[name] for name in environment.SETTINGS})

    import jax
    import steps

    from alexnet_jax.models import presets
    from alexnet_jax.report import memory

    arch = presets.get_architecture(args.preset)
    columns = (1, 2) if arch.columns == 2 else (1,)
    count = jax.device_count()
    meshes = [(n, c) for c in columns for n in (1, 2, 4, 8, 16) if n * c <= count and not args.batch % n]
    timers = {
        mesh: steps.make_step_timer(args.preset, args.batch, mesh_shape=mesh, dots_only=args.dots_only)
        for mesh in meshes
    }
    for time_steps in timers.values():
        time_steps(2)
    seconds: dict[tuple[int, int], list[float]] = {mesh: [] for mesh in meshes}
    for _ in range(args.rounds):
        for mesh, time_steps in timers.items():
            seconds[mesh].append(time_steps(args.steps))
    print(f'{args.preset}, {args.batch} images per step, {count} devices ({jax.devices()[0].device_kind})')
    print('mesh    step, ms (fastest)   images/s   to (1,1)   MB of activations, of gradients sent by a device')
    for mesh, times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds[1, 1], times, strict=True))
        median = statistics.median(times)
        sent = memory.bytes_communicated(arch, args.batch, {'data': mesh[0], 'column': mesh[1]})
        print(
            f'({mesh[0]},{mesh[1]})  {1000 * median:9.1f} ({1000 * min(times):.1f})  {args.batch / median:9.0f}  '
            f'{ratio:9.2f}  {sent["columns"] / 1e6:9.2f} {sent["data"] / 1e6:9.2f}'
        )
    if (1, 2) in seconds:
        ratios = [a / b for a, b in zip(seconds[1, 1], seconds[1, 2], strict=True)]
        print(f'(1,1) over (1,2): {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})')


if __name__ == '__main__':
    main()
