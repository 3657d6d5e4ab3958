"""A table of our error beside the published one, as Markdown for the run directory and as a sentence."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from alexnet_jax.evaluate.view_places import Views, describe_views
from alexnet_jax.report.text import format_percent
from alexnet_jax.runtime import atomic_io

COMPARISON_FILE = 'comparison.md'


class MeasuredError(NamedTuple):
    """Top-1 and top-5 error (0 to 1; None: not known) over those views of that many images, which `images` names."""

    top1: float
    top5: float | None
    views: Views
    images: str
    num_images: int


def compare_errors(name: str, ours: MeasuredError, published: MeasuredError, reasons: Sequence[str]) -> str:
    """Return the table as Markdown; `reasons` are why the two are not about the same."""
    rows = [
        f'# {name} beside what was published',
        '',
        '| | images | views | top-1 error | top-5 error |',
        '|---|---|---|---|---|',
        *(
            f'| {label} | {each.num_images:,} {each.images} | {describe_views(each.views)} | '
            f'{format_percent(each.top1, 2)} | {_format_optional(each.top5)} |'
            for label, each in (('published', published), ('ours', ours))
        ),
        f'| difference, points | | | {_format_points(ours.top1, published.top1)} | '
        f'{_format_points(ours.top5, published.top5)} |',
        '',
    ]
    rows += [f'Not the same: {reason}.' for reason in reasons] or ['As many images and classes, and the same views.']
    return '\n'.join(rows) + '\n'


def describe_comparison(ours: MeasuredError, published: MeasuredError, reasons: Sequence[str]) -> str:
    """Return the difference as one sentence."""
    note = f' (not the same: {"; ".join(reasons)})' if reasons else ''
    return (
        f'Published: {format_percent(published.top1, 2)} top-1 and {_format_optional(published.top5)} top-5 error; '
        f'ours differs by {_format_points(ours.top1, published.top1)} and '
        f'{_format_points(ours.top5, published.top5)} points{note}.'
    )


def write_comparison(folder: str | os.PathLike[str], text: str) -> Path:
    """Write the table into `folder` atomically; return the file's path."""
    file = Path(folder) / COMPARISON_FILE
    with atomic_io.write_atomic(file) as opened:
        opened.write(text)
    return file


def _format_optional(error: float | None) -> str:
    return '-' if error is None else format_percent(error, 2)


def _format_points(ours: float | None, published: float | None) -> str:
    return '-' if ours is None or published is None else f'{100 * (ours - published):+.2f}'
