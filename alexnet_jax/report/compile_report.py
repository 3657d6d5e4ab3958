"""The report of a compiled program as lines for a terminal, and the estimate of its time from published rates."""

from __future__ import annotations

import math
from typing import Any

import jax

from alexnet_jax.distributed.device_rates import DeviceRates
from alexnet_jax.report.compiled_program import Program
from alexnet_jax.report.memory import format_bytes
from alexnet_jax.report.text import format_table

# Numbers of an image, and of a whole step, that a reduction of losses, errors and norms may have.
SMALL_PER_IMAGE, SMALL_PER_STEP = 8, 64


def bytes_on_device(shapes: Any) -> int:
    """Return the bytes that one device holds of arrays, given as shapes with their shardings."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes)
    )


def estimate_step(
    program: Program, flops: float, rates: DeviceRates, peak: float, *, crosses_hosts: bool
) -> dict[str, Any]:
    """Return the seconds of a step by roofline: what computing, memory and links take at their published rates.

    `flops` are those of one device, `peak` its FLOP/s. Of computing and memory the longer counts; what devices send is
    added, as if nothing of it were hidden. A reduction over n devices sends each number twice. Along `data` the network
    between hosts sets the pace where the rates name one.
    """

    def received(axes: str) -> float:
        found = [each for each in program.collectives if each.axes in (axes, 'both')]
        return sum(each.bytes * each.times * (2 if each.kind == 'all-reduce' else 1) for each in found)

    data_link = rates.network if crosses_hosts and rates.network else rates.link
    parts = {
        'arithmetic': flops / peak,
        'memory': program.bytes / rates.bandwidth,
        'columns': received('column') / rates.link,
        'data': received('data') / data_link,
    }
    seconds = max(parts['arithmetic'], parts['memory']) + parts['columns'] + parts['data']
    return {'seconds': seconds, 'parts': parts, 'bound_by': max(parts, key=lambda part: parts[part])}


def format_report(report: dict[str, Any]) -> list[str]:
    """Return the screen: target, mesh, memory, collectives, costs, the largest kernels and the estimate."""
    data, column = report['mesh'].values()
    versions = ', '.join(f'{name} {version}' for name, version in report['versions'].items())
    lines = [
        f'{report["network"]}, {report["classes"]:,} classes, a batch of {report["batch"]:,} in {report["compute"]}, '
        f'for {report["target"]} ({report["device"]}, {_format_count(report["hosts"], "host")}); {versions}',
        f'  mesh            data {data} x column {column}; {report["placement"]}',
        *_format_program(report['training'], 'training step', report['batch']),
    ]
    if 'evaluation' in report:
        found = report['evaluation']
        lines += ['', *_format_program(found, 'evaluation', found['images'] * data)]
    return [
        *lines,
        '',
        'Compiled, not run: times are estimates from published rates, bytes take no cache into account.',
    ]


def _format_program(found: dict[str, Any], what: str, batch: int) -> list[str]:
    images = found['images']
    lines = [
        f'  {what:15} compiles in {found["seconds"]:.1f} s; {_format_count(found["kernels"], "kernel")}, '
        f'{_format_count(images, "image")} a device',
        f'  an image        {found["flops"] / images / 1e9:,.2f} GFLOP ({found["expected_flops"] / images / 1e9:,.2f} '
        f'by the layers), {found["bytes"] / images / 2**20:,.1f} MiB read and written',
        *_format_memory(found),
        '',
        *_format_collectives(found),
        '',
        *_format_kernels(found),
    ]
    if estimate := found.get('estimate'):
        parts = ', '.join(f'{name} {1e3 * seconds:,.2f}' for name, seconds in estimate['parts'].items())
        lines += [
            '',
            f'estimate: {1e3 * estimate["seconds"]:,.2f} ms a step, {batch / estimate["seconds"]:,.0f} images/s, bound '
            f'by {estimate["bound_by"]} (ms: {parts})',
        ]
    return lines


def _format_memory(found: dict[str, Any]) -> list[str]:
    if not (sizes := found['memory']):
        return []
    limit = found.get('memory_limit')
    fits = f' of {format_bytes(limit)}' if limit else ''
    parts = ', '.join(f'{name} {format_bytes(size)}' for name, size in sizes.items() if name != 'all')
    lines = [f'  memory          {format_bytes(sizes["all"])}{fits} a device ({parts})']
    if 'largest_batch' in found:
        lines.append(f'  largest batch   about {found["largest_batch"]:,} images, by a line through this one')
    return lines


def _format_collectives(found: dict[str, Any]) -> list[str]:
    """Return a row per collective that moves more than a few numbers, and one for the rest."""
    images, small, rows = found['images'], 0, []
    for each in found['collectives']:
        if each['numbers'] <= SMALL_PER_IMAGE * images + SMALL_PER_STEP:
            small += each['times']
            continue
        name = each['kind'] + (f' x {each["times"]}' if each['times'] > 1 else '')
        an_image = f'{each["numbers"] * each["times"] / images:,.0f}' if each['axes'] == 'column' else ''
        rows.append((name, each['axes'], each['layer'], an_image, format_bytes(each['bytes'] * each['times'])))
    header = ('collective', 'along', 'layer', 'numbers an image', 'bytes a step')
    lines = format_table([header, *rows], left_columns=3) if rows else ['no collectives but small reductions']
    moved = {
        kind: sum(
            each['numbers'] * each['times']
            for each in found['collectives']
            if (each['kind'], each['axes']) == (kind, 'column')
        )
        for kind in ('all-gather', 'reduce-scatter')
    }
    if moved['all-gather']:
        lines.append(
            f'between columns {moved["all-gather"] / images:,.0f} numbers an image forward, '
            f'{moved["reduce-scatter"] / images:,.0f} back'
        )
    return [*lines, *([f'and {_format_count(small, "reduction")} of losses, errors and norms'] if small else [])]


def _format_kernels(found: dict[str, Any]) -> list[str]:
    rows = [('moves most', 'layer', 'pass', 'MiB', 'of all')]
    for each in found['largest_kernels']:
        moved = each['bytes'] * each['times']
        name = each['name'] + (f' x {each["times"]}' if each['times'] > 1 else '')
        direction = 'backward' if each['backward'] else 'forward'
        share = f'{moved / found["bytes"]:.1%}'
        rows.append((name[:44], each['layer'][:24] or '-', direction, f'{moved / 2**20:,.0f}', share))
    return format_table(rows, left_columns=3)


def _format_count(number: int, noun: str) -> str:
    return f'{number:,} {noun}{"s" if number != 1 else ""}'
