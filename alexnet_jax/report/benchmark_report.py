"""The report of a benchmark as lines for a terminal: the time and the memory of a training step."""

from __future__ import annotations

from typing import Any

from alexnet_jax.models.architecture import Architecture
from alexnet_jax.report import memory
from alexnet_jax.report.memory import format_bytes
from alexnet_jax.report.text import format_table

MEMORY_BUDGETS = (4, 8)  # GiB


def format_report(report: dict[str, Any], arch: Architecture) -> list[str]:
    """Return lines about the step, each layer, what devices send, and the memory of this network and of all presets."""
    return [
        *_format_step(report),
        '',
        *_format_layers(report),
        '',
        _format_communication(report),
        '',
        *_format_memory(report),
        *(_fit_advice(report, arch, gibibytes) for gibibytes in MEMORY_BUDGETS),
    ]


def _format_step(report: dict[str, Any]) -> list[str]:
    step, machine = report['step'], report['machine']
    products = ', '.join(f'{name} {rate / 1e9:,.0f}' for name, rate in machine['products'].items())
    lines = [
        f'{report["network"]}: a step of {report["batch"]} images in {report["compute"]} on {report["device"]}',
        f'  step            {format_milliseconds(step["median"])} median, {format_milliseconds(step["least"])} to '
        f'{format_milliseconds(step["most"])}; compiled in {report["compile"]:.1f} s',
        f'  images          {report["images_per_second"]:,.0f} per second',
        f'  arithmetic      {report["flop_per_second"] / 1e9:,.0f} GFLOP/s, {report["share"]:.0%} of the rate of '
        'matrix products',
        f'  machine         matrix products {products} GFLOP/s; memory {machine["bytes_per_second"] / 1e9:,.0f} GB/s',
    ]
    if report['input']:
        alone, whole = report['input'], report['whole']
        lines += [
            f'  input alone     {alone["images_per_second"]:,.0f} images per second, {alone["share"]:.1%} of a step',
            f'  with input      {format_milliseconds(whole["step"])} per step, {whole["waiting"]:.1%} of it waiting '
            'for input',
        ]
    return lines


def _format_layers(report: dict[str, Any]) -> list[str]:
    """Return a row for each layer, their sum, and what the whole step takes beyond it."""
    rows = [('each layer alone, ms', 'forward', 'floor', 'backward', 'floor', 'of the floor')]
    parts = ('forward', 'forward_floor', 'backward', 'backward_floor')
    total = {part: sum(layer[part] for layer in report['layers']) for part in parts}
    for layer in [*report['layers'], {'name': 'sum', **total}]:
        floor = layer['forward_floor'] + layer['backward_floor']
        seconds = layer['forward'] + layer['backward']
        cells = (f'{1e3 * layer[part]:.2f}' for part in parts)
        rows.append((layer['name'], *cells, f'{seconds / floor:.1f} times' if floor else ''))
    rest = report['step']['median'] - total['forward'] - total['backward']
    comparison = (
        'more (update, loss, dropout masks, exchange)'
        if rest >= 0
        else 'less (layers alone are not compiled as one program)'
    )
    return [*format_table(rows), f'the step takes {format_milliseconds(abs(rest))} {comparison}']


def _format_communication(report: dict[str, Any]) -> str:
    sent = report['exchanged']
    return (
        f'a device sends {format_bytes(sent["columns"])} per step between columns and '
        f'{format_bytes(sent["data"])} over data'
    )


def _format_memory(report: dict[str, Any]) -> list[str]:
    """Return the memory of the step as estimated, compiled and measured, and a table of estimates for all presets."""
    sizes = report['memory']
    estimate, program, peak = sizes['predicted'], sizes['program'], sizes['most']
    parts = ', '.join(f'{name} {format_bytes(size)}' for name, size in estimate.items() if name != 'all')
    lines = [f'memory estimated: {format_bytes(estimate["all"])} ({parts})']
    if program:
        lines.append(f'  by the compiler: {format_bytes(program["all"])}')
    lines.append(
        f'  measured: {format_bytes(sizes["base"])} without weights, {format_bytes(sizes["compiled"])} before the '
        f'first step, peak {format_bytes(peak["process"])}'
        + (f'; on the device {format_bytes(peak["device"])}' if 'device' in peak else '')
    )
    batch_sizes = list(next(iter(report['presets'].values())))
    rows = [('preset', *(f'batch {batch_size}' for batch_size in batch_sizes))]
    for preset, estimates in report['presets'].items():
        rows.append((preset, *(format_bytes(estimates[batch_size]) for batch_size in batch_sizes)))
    return [*lines, '', 'estimated for a step, beyond what the process takes before it:', *format_table(rows)]


def _fit_advice(report: dict[str, Any], arch: Architecture, gibibytes: int) -> str:
    """Return whether a step fits into that much memory, and with how many gradient accumulation steps."""
    sizes = report['memory']
    steps = memory.min_accumulation_steps(
        arch,
        report['batch'],
        gibibytes * 2**30,
        sizes['base'],
        mesh=report['mesh'],
        itemsize=sizes['itemsize'],
        devices_sharing_memory=sizes['sharing'],
    )
    if steps is None:
        return f'{gibibytes} GiB are too little for a step of {arch.name}, even image by image.'
    how = f' with --config.train.grad_accumulation={steps}: the same numbers' if steps > 1 else ''
    return f'{gibibytes} GiB are enough for a step of {report["batch"]} images{how}.'


def format_milliseconds(seconds: float) -> str:
    """Return a time in milliseconds, or in seconds if it is ten or more."""
    return f'{1e3 * seconds:,.1f} ms' if seconds < 10 else f'{seconds:,.1f} s'
