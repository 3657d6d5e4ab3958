"""Measure what each fast formulation gains in the whole training step, by taking each back alone.

    python benchmarks/formulations.py --preset=paper --batch=32 --rounds=7

A ratio is the median over rounds of (step time with the change) / (step time as shipped) within one round, so above 1
if the shipped formulation is faster. The last line is the figure: all reference formulations over the shipped ones.
"""

import os

os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

from alexnet_jax.runtime import environment
from configs import default

machine = default.get_config().machine
environment.configure_environment(**{name: machine[name] for name in environment.SETTINGS})

import steps

from alexnet_jax.models import custom_vjp, presets

SHIPPED = 'as shipped'
ALL_REFERENCE = 'all reference'
CHANGES = ('reference max pooling', 'reference response normalization', 'YNNPACK for convolutions too', ALL_REFERENCE)


@contextmanager
def apply_change(change: str) -> Iterator[None]:
    """Trace steps inside the context with that change."""
    table = dict(custom_vjp.select_ops('cpu', use_reference=change == ALL_REFERENCE))
    for name in ('max_pooling', 'response_normalization'):
        if change == f'reference {name.replace("_", " ")}':
            table[name] = custom_vjp.REFERENCE_OPS[name]
    with mock.patch.object(custom_vjp, 'select_ops', lambda *_, **__: table):
        yield


def make_stepper(preset: str, batch: int, change: str) -> Callable[[int], float]:
    """Return a function that makes so many steps and returns the seconds of each; traced, compiled and warm."""
    dots_only = change not in ('YNNPACK for convolutions too', ALL_REFERENCE)
    made = steps.make_step_timer(preset, batch, dots_only=dots_only)
    with apply_change(change):
        made(1)
    made(1)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--preset', default='paper', choices=presets.PRESETS)
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--steps', type=int, default=1, help='in each turn of a round')
    parser.add_argument('--only', default='', help='comma-separated changes; empty: all of them')
    given = parser.parse_args()
    changes = [each for each in CHANGES if not given.only or each in given.only.split(',')]
    turns = {name: make_stepper(given.preset, given.batch, name) for name in (SHIPPED, *changes)}
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(given.rounds):
        for name, turn in turns.items():
            seconds[name].append(turn(given.steps))
    print(f'{given.preset}, batch {given.batch}, {given.rounds} rounds; as shipped: {format_times(seconds[SHIPPED])}')
    for name in changes:
        ratios = [a / b for a, b in zip(seconds[name], seconds[SHIPPED], strict=True)]
        last = f'{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})'
        print(f'{name}: {format_times(seconds[name])}, ratio {last}')


def format_times(seconds: list[float]) -> str:
    """Return median and fastest in milliseconds."""
    return f'{1000 * statistics.median(seconds):.0f} ms (fastest {1000 * min(seconds):.0f})'


if __name__ == '__main__':
    main()
