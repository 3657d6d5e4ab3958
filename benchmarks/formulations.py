"""What each way of computing is worth in the whole training step: each taken back alone, in turn with all of them.

    python benchmarks/formulations.py --preset=paper --batch=32 --rounds=7

A ratio is the median over rounds of (step time with the change) / (step time as shipped) within one round, so above 1
where the shipped way wins. The last line is the figure: the plain formulation over the shipped one.
"""

import os

os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

from alexnet_jax.runtime.environment import configure_environment
from configs import default

configure_environment(default.get_config().machine)  # the allocator above all, and before jax

import steps
import winograd

from alexnet_jax.models import custom_vjp, layers, presets

SHIPPED = 'as shipped'
PLAIN = 'all plain'
CHANGES = (
    'max pooling plain',
    'response normalization plain',
    'YNNPACK for convolutions too',
    '3x3 convolutions by Winograd',
    PLAIN,
)


@contextmanager
def changed(change: str) -> Iterator[None]:
    """Within it a step is traced with that change."""
    table = dict(custom_vjp.select_ops('cpu', use_reference=change == PLAIN))
    for name in ('max_pooling', 'response_normalization'):
        if change == f'{name.replace("_", " ")} plain':
            table[name] = custom_vjp.REFERENCE_OPS[name]
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(custom_vjp, 'select_ops', lambda *_: table))
        if change == '3x3 convolutions by Winograd':
            stack.enter_context(mock.patch.object(layers, 'conv', winograd.convolution))
        yield


def stepper(preset: str, batch: int, change: str) -> Callable[[int], float]:
    """A function that makes so many steps and says the seconds of each; traced, compiled and warm."""
    dots_only = change not in ('YNNPACK for convolutions too', PLAIN)
    made = steps.stepper(preset, batch, dots_only=dots_only)
    with changed(change):
        made(1)
    made(1)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--preset', default='paper', choices=presets.PRESETS)
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--steps', type=int, default=1, help='in each turn of a round')
    parser.add_argument('--only', default='', help='comma-separated changes; empty: all of them')
    given = parser.parse_args()
    changes = [each for each in CHANGES if not given.only or each in given.only.split(',')]
    turns = {name: stepper(given.preset, given.batch, name) for name in (SHIPPED, *changes)}
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(given.rounds):
        for name, turn in turns.items():
            seconds[name].append(turn(given.steps))
    print(
        f'{given.preset}, batch {given.batch}, {given.rounds} rounds; as shipped: {report(seconds[SHIPPED])}'
    )
    for name in changes:
        ratios = [a / b for a, b in zip(seconds[name], seconds[SHIPPED], strict=True)]
        last = f'{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})'
        print(f'{name}: {report(seconds[name])}, ratio {last}')


def report(seconds: list[float]) -> str:
    """Median and fastest in milliseconds."""
    return f'{1000 * statistics.median(seconds):.0f} ms (fastest {1000 * min(seconds):.0f})'


if __name__ == '__main__':
    main()
