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
# Before jax is imported.
machine.cpu_devices = 2 if '--columns=2' in sys.argv else 1
environment.configure_environment(**{name: machine[name] for name in environment.SETTINGS})

import quiet
import steps

from alexnet_jax.models import custom_vjp, presets

SHIPPED = 'as shipped'
ALL_REFERENCE = 'all reference'
XLA_CONV, YNNPACK_CONV = "XLA's convolutions", "YNNPACK's convolutions"
CHANGES = (
    'reference max pooling',
    'reference response normalization',
    'reference dense',
    XLA_CONV,
    YNNPACK_CONV,
    ALL_REFERENCE,
)


@contextmanager
def apply_change(change: str) -> Iterator[None]:
    """Trace steps inside the context with that change."""
    table = dict(
        custom_vjp.select_ops(
            'cpu', use_reference=change == ALL_REFERENCE, use_onednn=change not in (XLA_CONV, YNNPACK_CONV)
        )
    )
    for name in ('max_pooling', 'response_normalization', 'dense'):
        if change == f'reference {name.replace("_", " ")}':
            table[name] = custom_vjp.REFERENCE_OPS[name]
    with mock.patch.object(custom_vjp, 'select_ops', lambda *_, **__: table):
        yield


def make_stepper(preset: str, batch: int, change: str, mesh_shape: tuple[int, int]) -> Callable[[], float]:
    """Return a function that makes a step; traced, compiled and warm."""
    dots_only = change not in (YNNPACK_CONV, ALL_REFERENCE)
    made = steps.make_step_timer(preset, batch, mesh_shape=mesh_shape, dots_only=dots_only)
    with apply_change(change):
        made(1)
    made(1)
    return lambda: made(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--preset', default='paper', choices=presets.PRESETS)
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--steps', type=int, default=5, help='in each turn of a round')
    parser.add_argument('--columns', type=int, default=1, choices=(1, 2), help='CPU devices along the axis column')
    parser.add_argument('--only', default='', help='comma-separated changes; empty: all of them')
    given = parser.parse_args()
    changes = [each for each in CHANGES if not given.only or each in given.only.split(',')]
    turns = {name: make_stepper(given.preset, given.batch, name, (1, given.columns)) for name in (SHIPPED, *changes)}
    rounds, discarded = quiet.time_in_turn(turns, given.rounds, given.steps)
    print(
        f'{given.preset}, batch {given.batch}, {given.columns} devices, {given.rounds} rounds of {given.steps} steps, '
        f'{discarded} turns thrown away; as shipped: {format_times(quiet.seconds_of(rounds, SHIPPED))}'
    )
    for name in changes:
        ratio, low, high = quiet.compare_rounds(rounds, name, SHIPPED)
        print(f'{name}: {format_times(quiet.seconds_of(rounds, name))}, ratio {ratio:.3f} ({low:.3f} to {high:.3f})')


def format_times(seconds: list[float]) -> str:
    """Return median and fastest in milliseconds."""
    return f'{1000 * statistics.median(seconds):.0f} ms (fastest {1000 * min(seconds):.0f})'


if __name__ == '__main__':
    main()
