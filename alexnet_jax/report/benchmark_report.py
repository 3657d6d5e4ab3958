"""Tables: where the time and the memory of a training step go, as lines for a terminal."""

from __future__ import annotations

from typing import Any

from alexnet_jax.models.architecture import Architecture
from alexnet_jax.report import memory

MEMORY_BUDGETS = (4, 8)  # GiB that a person may have


def format_report(report: dict[str, Any], arch: Architecture) -> list[str]:
    """The step, each layer, the bytes that move, and the memory of this network and of all presets."""
    return [
        *_format_step(report),
        '',
        *_format_layers(report),
        '',
        *_format_communication(report),
        '',
        *_format_memory(report, arch),
    ]


def _format_step(report: dict[str, Any]) -> list[str]:
    step, machine = report['step'], report['machine']
    products = ', '.join(f'{name} {rate / 1e9:,.0f}' for name, rate in machine['products'].items())
    found = [
        f'{report["network"]}: a step of {report["batch"]} images in {report["compute"]} on {report["device"]}',
        f'  step            {format_milliseconds(step["median"])} median, {format_milliseconds(step["least"])} to '
        f'{format_milliseconds(step["most"])}; compiled in {report["compile"]:.1f} s',
        f'  images          {report["images_per_second"]:,.0f} a second',
        f'  arithmetic      {report["flop_per_second"] / 1e9:,.0f} GFLOP/s, {report["share"]:.0%} of the rate of '
        'matrix products',
        f'  the machine     matrix products {products} GFLOP/s; memory {machine["bytes_per_second"] / 1e9:,.0f} GB/s',
    ]
    if report['input']:
        alone, whole = report['input'], report['whole']
        found += [
            f'  input alone     {alone["images_per_second"]:,.0f} images a second, {alone["share"]:.1%} of a step',
            f'  all together    {format_milliseconds(whole["step"])} a step, {whole["waiting"]:.1%} of it waiting for input',
        ]
    return found


def _format_layers(report: dict[str, Any]) -> list[str]:
    """A row for each layer and their sum."""
    rows = [('each layer alone, ms', 'forward', 'floor', 'backward', 'floor', 'of the floor')]
    parts = ('forward', 'forward_floor', 'backward', 'backward_floor')
    total = {part: sum(each[part] for each in report['layers']) for part in parts}
    for each in [*report['layers'], {'name': 'sum', **total}]:
        least = each['forward_floor'] + each['backward_floor']
        spent = each['forward'] + each['backward']
        cells = (f'{1e3 * each[part]:.2f}' for part in parts)
        rows.append((each['name'], *cells, f'{spent / least:.1f} times' if least else ''))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        '  '.join([row[0].ljust(widths[0]), *(map(str.rjust, row[1:], widths[1:]))]).rstrip() for row in rows
    ]
    rest = report['step']['median'] - total['forward'] - total['backward']
    beside = 'more' if rest >= 0 else 'less: layers alone are not those of one program'
    note = f'the step takes {format_milliseconds(abs(rest))} {beside}' + (
        ' (update, loss, dropout masks, exchange)' if rest >= 0 else ''
    )
    return [*table, note]


def _format_communication(report: dict[str, Any]) -> list[str]:
    moved = report['exchanged']
    return [
        f'a device sends {memory.format_bytes(moved["columns"])} a step between columns and '
        f'{memory.format_bytes(moved["data"])} over data'
    ]


def _format_memory(report: dict[str, Any], arch: Architecture) -> list[str]:
    found = report['memory']
    predicted, program = found['predicted'], found['program']
    parts = ', '.join(f'{name} {memory.format_bytes(size)}' for name, size in predicted.items() if name != 'all')
    lines = [f'memory predicted by arithmetic: {memory.format_bytes(predicted["all"])} ({parts})']
    if program:
        lines.append(f'  by the compiler: {memory.format_bytes(program["all"])}')
    most = found['most']
    lines.append(
        f'  measured: {memory.format_bytes(found["base"])} without weights, '
        f'{memory.format_bytes(found["compiled"])} before the first step, {memory.format_bytes(most["process"])} at most'
        + (f'; its device {memory.format_bytes(most["device"])}' if 'device' in most else '')
    )
    batches = list(next(iter(report['presets'].values())))
    rows = [('preset', *(f'batch {batch}' for batch in batches))]
    for name, sizes in report['presets'].items():
        rows.append((name, *(memory.format_bytes(sizes[batch]) for batch in batches)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ['', 'predicted for a step, beside what the process takes before it:']
    lines += [
        '  '.join([row[0].ljust(widths[0]), *(map(str.rjust, row[1:], widths[1:]))]).rstrip() for row in rows
    ]
    return [*lines, *(_fit_advice(report, arch, room) for room in MEMORY_BUDGETS)]


def _fit_advice(report: dict[str, Any], arch: Architecture, room: int) -> str:
    held = report['memory']
    parts = memory.min_accumulation_steps(
        arch,
        report['batch'],
        room * 2**30,
        held['base'],
        mesh=report['mesh'],
        itemsize=held['itemsize'],
        devices_sharing_memory=held['sharing'],
    )
    if parts is None:
        return f'{room} GiB do not hold a step of {arch.name}, not even image by image.'
    how = (
        'as it is'
        if parts == 1
        else f'with --config.train.grad_accumulation={parts}, which gives the same numbers'
    )
    return f'{room} GiB hold a step of {report["batch"]} images {how}.'


def format_milliseconds(seconds: float) -> str:
    """As people read them; above ten seconds in seconds."""
    return f'{1e3 * seconds:,.1f} ms' if seconds < 10 else f'{seconds:,.1f} s'
