"""Mode summary: print a network on one screen, and draw it on request, without dataset, workdir or device."""

from __future__ import annotations

import dataclasses
import logging
import os
import textwrap
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.config import build
from alexnet_jax.errors import UserError
from alexnet_jax.models.architecture import (
    Architecture,
    Convolution,
    Dense,
    Dropout,
    Pooling,
    ResponseNormalization,
    SpatialResponseNormalization,
)
from alexnet_jax.report.plots.network import write_network_figure
from alexnet_jax.report.text import format_table

# Characters of a narrow terminal.
WIDTH = 80
HEADER = ('layers', 'output', 'each sees', 'parameters', 'multiply-adds', 'exchanged')

log = logging.getLogger(__name__)


def summary(config: ConfigDict, workdir: str = '') -> dict[str, Any]:
    """Log the network's table and return its totals; classes from model.num_classes, else the preset's own.

    Draws it into the files of config.summary.figure. Raises UserError where these cannot be written.
    """
    del workdir
    arch = build.preset_architecture(config)
    folder = Path(config.summary.figure).parent
    if config.summary.figure and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise UserError(
            f'--config.summary.figure={config.summary.figure} cannot be written: {folder} is not a folder that you may '
            'write to. Choose another.'
        )
    log.info('%s', '\n'.join(format_summary(arch)))
    if config.summary.figure:
        files = write_network_figure(arch, config.summary.figure)
        log.info('Drawn: %s', ', '.join(files))
    return {
        'network': arch.name,
        'columns': arch.columns,
        'crop': arch.crop_size,
        'classes': arch.num_classes,
        'parameters': sum(arch.parameter_counts().values()),
        'multiply_adds': sum(arch.macs().values()),
        'exchanged': sum(arch.numbers_exchanged().values()),
    }


def format_summary(arch: Architecture) -> list[str]:
    """Return the lines of the screen: a heading, a row per output shape, totals, and notes on the settings."""
    counts = arch.parameter_counts(), arch.macs(), arch.numbers_exchanged()
    total = _format_row('total', '', '', *(sum(by_layer.values()) for by_layer in counts))
    rows = [HEADER, *_layer_rows(arch), total]
    table = format_table(rows, left_columns=3)
    rule = '-' * max(map(len, table))
    columns = 'one column' if arch.columns == 1 else f'{arch.columns} columns'
    also = ''
    if arch.equivalent_crops and arch.crop_size not in arch.equivalent_crops:
        also = f' (also {", ".join(map(str, arch.equivalent_crops))})'
    return [
        f'{arch.name}: {columns}, crops of {arch.crop_size} pixels{also}, {arch.num_classes:,} classes',
        '',
        table[0],
        rule,
        *table[1:-1],
        rule,
        table[-1],
        '',
        *(line for note in _format_notes(arch) for line in textwrap.wrap(note, WIDTH, subsequent_indent='  ')),
    ]


def _layer_rows(arch: Architecture) -> list[tuple[str, ...]]:
    """Return a row per layer with a kernel or a window; the layers after it, which keep its shape, share its row."""
    counts = arch.parameter_counts(), arch.macs(), arch.numbers_exchanged()
    shapes, kernels, rows = arch.activation_shapes(), arch.kernel_shapes(), []
    for layer in arch.layers:
        name = layer.name
        if not isinstance(layer, Convolution | Dense | Pooling):
            joined = f'{rows[-1][0]} {name}'
            # A narrow terminal has no room for more.
            if len(joined) <= 21:
                rows[-1] = (joined, *rows[-1][1:])
            else:
                rows.append(_format_row(name, _format_shape(shapes[name]), '', *(0 for _ in counts)))
            continue
        sees = (layer.window, layer.window) if isinstance(layer, Pooling) else kernels[name][:-1]
        stride = '' if isinstance(layer, Dense) or layer.stride == 1 else f' /{layer.stride}'
        numbers = (by_layer.get(name, 0) for by_layer in counts)
        rows.append(_format_row(name, _format_shape(shapes[name]), _format_shape(sees) + stride, *numbers))
    rows[-1] = (f'{rows[-1][0]} prob', *rows[-1][1:])
    return rows


def _format_shape(shape: tuple[int, ...]) -> str:
    return 'x'.join(map(str, shape))


def _format_row(name: str, output: str, sees: str, *numbers: int) -> tuple[str, ...]:
    return name, output, sees, *(f'{number:,}' if number else '' for number in numbers)


def _format_notes(arch: Architecture) -> list[str]:
    """Return what the table cannot show: normalization, pooling, dropout, size, and what `exchanged` counts."""
    notes = []
    for norm, names in _group_by_settings(arch, ResponseNormalization).items():
        over_n = ' divided by n' if norm.alpha_over_n else ''
        within = '' if arch.columns == 1 else ", within each column's maps"
        notes.append(f'{names}: k {norm.k:g}, n {norm.n}, alpha {norm.alpha:g}{over_n}, beta {norm.beta:g}{within}')
    for norm, names in _group_by_settings(arch, SpatialResponseNormalization).items():
        window = f'{norm.n}x{norm.n} pixels of one map'
        alpha = f'alpha {norm.alpha:g} divided by {norm.n**2}'
        notes.append(f'{names}: k {norm.k:g}, {window}, {alpha}, beta {norm.beta:g}')
    for pool, names in _group_by_settings(arch, Pooling).items():
        kind = {'max': 'the largest number', 'average': 'the mean'}[pool.kind]
        notes.append(f'{names}: {kind} of each window')
    for dropout, names in _group_by_settings(arch, Dropout).items():
        keep = f'{dropout.keep_prob:g}'
        scaling = f'divides by {keep} in training' if dropout.inverted else f'multiplies by {keep} at test'
        notes.append(f'{names}: keeps each number with probability {keep}; {scaling}')
    mebibytes = 4 * sum(arch.parameter_counts().values()) / 2**20
    notes.append(f'parameters: {mebibytes:,.1f} MiB in float32; a checkpoint also holds their velocity')
    if arch.numbers_exchanged():
        others = 'the other' if arch.columns == 2 else 'the others'
        notes.append(
            f'exchanged: what each column sends to {others} per image in the forward pass; the backward pass sends as '
            'many gradients'
        )
    return notes


def _group_by_settings(arch: Architecture, kind: type) -> dict[Any, str]:
    """Return the layers of a kind by their settings, each with the names of those that share them."""
    names: dict[Any, str] = {}
    for layer in arch.layers:
        if isinstance(layer, kind):
            settings = dataclasses.replace(layer, name='')
            names[settings] = f'{names[settings]}, {layer.name}' if settings in names else layer.name
    return names
