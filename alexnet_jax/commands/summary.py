"""Mode summary: a network on one screen, from arithmetic alone. Needs no dataset, no workdir and no device."""

from __future__ import annotations

import dataclasses
import logging
import textwrap
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.config import validate
from alexnet_jax.models import presets
from alexnet_jax.models.architecture import (
    Architecture,
    Convolution,
    Dense,
    Dropout,
    Pooling,
    ResponseNormalization,
)

WIDTH = 80  # characters of a narrow terminal
HEADINGS = ('layers', 'output', 'each sees', 'parameters', 'multiply-adds', 'exchanged')

log = logging.getLogger(__name__)


def summary(config: ConfigDict, workdir: str = '') -> dict[str, Any]:
    """Totals of what is shown; classes from model.num_classes, else the preset's own."""
    del workdir
    shape = presets.get(
        config.model.preset, classes=config.model.num_classes or None, **validate.variations(config)
    )
    log.info('%s', '\n'.join(lines(shape)))
    return {
        'network': shape.name,
        'columns': shape.columns,
        'crop': shape.crop,
        'classes': shape.classes,
        'parameters': sum(shape.parameters().values()),
        'multiply_adds': sum(shape.multiply_adds().values()),
        'exchanged': sum(shape.exchanged().values()),
    }


def lines(shape: Architecture) -> list[str]:
    """The screen: a heading, a table with a row for each shape on the way, totals, and what the table leaves out."""
    parameters, products, exchanged = shape.parameters(), shape.multiply_adds(), shape.exchanged()
    others = (
        f' (also {", ".join(map(str, shape.other_crops))})' if shape.crop not in shape.other_crops else ''
    )
    columns = 'one column' if shape.columns == 1 else f'{shape.columns} columns'
    rows = [HEADINGS, *_rows(shape), _row('total', '', '', *map(_sum, (parameters, products, exchanged)))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ['  '.join(_placed(row, widths)).rstrip() for row in rows]
    rule = '-' * max(map(len, table))
    return [
        f'{shape.name}: {columns}, crops of {shape.crop} pixels{others if shape.other_crops else ""}, '
        f'{shape.classes:,} classes',
        '',
        table[0],
        rule,
        *table[1:-1],
        rule,
        table[-1],
        '',
        *(part for note in _notes(shape) for part in textwrap.wrap(note, WIDTH, subsequent_indent='  ')),
    ]


def _rows(shape: Architecture) -> list[tuple[str, ...]]:
    """One for each layer with weights or another shape; those that leave the shape as it is stand beside it."""
    parameters, products, exchanged = shape.parameters(), shape.multiply_adds(), shape.exchanged()
    points, kernels, rows = shape.points(), shape.kernel_shapes(), []
    for layer in shape.layers:
        name = layer.name
        if not isinstance(layer, Convolution | Dense | Pooling):
            rows[-1] = (f'{rows[-1][0]} {name}', *rows[-1][1:])
            continue
        sees = [str(layer.window)] * 2 if isinstance(layer, Pooling) else map(str, kernels[name][:-1])
        stride = '' if isinstance(layer, Dense) or layer.stride == 1 else f' /{layer.stride}'
        numbers = (each.get(name, 0) for each in (parameters, products, exchanged))
        rows.append(_row(name, 'x'.join(map(str, points[name])), 'x'.join(sees) + stride, *numbers))
    rows[-1] = (f'{rows[-1][0]} prob', *rows[-1][1:])
    return rows


def _row(name: str, output: str, sees: str, *numbers: int) -> tuple[str, ...]:
    return name, output, sees, *(f'{number:,}' if number else '' for number in numbers)


def _sum(numbers: dict[str, int]) -> int:
    return sum(numbers.values())


def _placed(row: tuple[str, ...], widths: list[int]) -> list[str]:
    """Words to the left, numbers to the right."""
    return [
        cell.rjust(width) if place > 2 else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _notes(shape: Architecture) -> list[str]:
    """What the table cannot show: how it normalizes and drops out, what it weighs, what the last heading means."""
    notes = []
    for norm, names in _alike(shape, ResponseNormalization).items():
        divided = ' divided by n' if norm.divided else ''
        over = '' if shape.columns == 1 else ", within each column's maps"
        notes.append(
            f'{names}: k {norm.k:g}, n {norm.n}, alpha {norm.alpha:g}{divided}, beta {norm.beta:g}{over}'
        )
    for pool, names in _alike(shape, Pooling).items():
        kind = {'max': 'the largest number', 'average': 'the mean'}[pool.kind]
        notes.append(f'{names}: {kind} of each window')
    for drop, names in _alike(shape, Dropout).items():
        way = (
            f'divides by {drop.keep:g} in training'
            if drop.inverted
            else f'multiplies by {drop.keep:g} at test'
        )
        notes.append(f'{names}: keeps each number with probability {drop.keep:g}; {way}')
    mebibytes = 4 * _sum(shape.parameters()) / 2**20
    notes.append(f'parameters: {mebibytes:,.1f} MiB in float32; a checkpoint holds their velocity too')
    if shape.exchanged():
        others = 'the other' if shape.columns == 2 else 'the others'
        notes.append(
            f'exchanged: what each column sends to {others} for each image, forward; as many gradients come back'
        )
    return notes


def _alike(shape: Architecture, record: type) -> dict[Any, str]:
    """The layers of a kind by their settings, with the names of those that share them."""
    found: dict[Any, str] = {}
    for layer in shape.layers:
        if isinstance(layer, record):
            settings = dataclasses.replace(layer, name='')
            found[settings] = f'{found[settings]}, {layer.name}' if settings in found else layer.name
    return found
