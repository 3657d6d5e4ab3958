"""The table of an ablation study, as Markdown and as CSV: errors by seed, and paired differences from the base."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence

import numpy as np

from alexnet_jax.experiments.paired_difference import PairedDifference, estimate_difference, judge_difference
from alexnet_jax.experiments.published import PublishedDifference

# Name of the network that all others are compared with.
BASE = 'base'
# Errors by seed, each top-1 and top-5, from 0 to 1.
ErrorsBySeed = Mapping[int, tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class AblationRow:
    """A network of the study: errors of its finished runs, and its differences from the base at the seeds of both.

    `top1` and `top5` are in points of error (percent), None for the base and where no seed is in both.
    """

    name: str
    errors: ErrorsBySeed
    published: PublishedDifference | None = None
    top1: PairedDifference | None = None
    top5: PairedDifference | None = None

    @property
    def verdict(self) -> str:
        """Return in words what the difference of the top-1 errors says; '' for the base."""
        if self.top1 is None:
            return '' if self.name == BASE else 'not run yet'
        return judge_difference(self.top1, published=self.published is not None)


def make_rows(
    errors: Mapping[str, ErrorsBySeed], published: Mapping[str, PublishedDifference | None]
) -> list[AblationRow]:
    """Return a row for each network, the base first, in the order of `published`."""
    base, rows = errors[BASE], [AblationRow(BASE, errors[BASE])]
    for name, figures in published.items():
        own, both = errors[name], sorted(errors[name].keys() & base.keys())
        pairs = [
            estimate_difference([100 * base[s][k] for s in both], [100 * own[s][k] for s in both]) if both else None
            for k in (0, 1)
        ]
        rows.append(AblationRow(name, own, figures, *pairs))
    return rows


def format_markdown(rows: Sequence[AblationRow], heading: str) -> str:
    """Return the table as Markdown under a heading of one line."""
    lines = [
        heading,
        '',
        '| network | seeds | top-1 error | top-5 error | top-1 difference | top-5 difference | published | verdict |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for row in rows:
        cells = (
            row.name,
            str(len(row.errors)),
            *(_format_errors(row.errors, k) for k in (0, 1)),
            format_difference(row.top1),
            format_difference(row.top5),
            row.published.text if row.published else '' if row.name == BASE else '-',
            row.verdict,
        )
        lines.append(f'| {" | ".join(cells)} |')
    lines += [
        '',
        'Errors in percent: mean and standard deviation over seeds. Differences from the base in points: mean over '
        'pairs of runs with the same seed, and its 95 % interval (Student). Published: top-1 / top-5. The verdict is '
        'about the sign of the top-1 difference.',
    ]
    return '\n'.join(lines) + '\n'


def _format_errors(errors: ErrorsBySeed, which: int) -> str:
    if not errors:
        return '-'
    values = 100 * np.array([each[which] for each in errors.values()])
    return f'{values.mean():.2f}' + (f' ± {values.std(ddof=1):.2f}' if len(values) > 1 else '')


def format_difference(difference: PairedDifference | None) -> str:
    """Return '+1.20 [0.35, 2.05]' for a mean with its interval, '+1.20' for one pair and '' for none."""
    if difference is None:
        return ''
    interval = '' if math.isnan(difference.low) else f' [{difference.low:.2f}, {difference.high:.2f}]'
    return f'{difference.mean:+.2f}{interval}'


def format_csv(rows: Sequence[AblationRow]) -> str:
    """Return a line per network with every figure in points of error, and the errors of each seed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    parts = [f'{top}_difference{end}' for top in ('top1', 'top5') for end in ('', '_std', '_low', '_high')]
    writer.writerow(['network', 'seeds', 'top1_by_seed', 'top5_by_seed', 'pairs', *parts, 'published', 'verdict'])
    for row in rows:
        seeds = sorted(row.errors)
        by_seed = [' '.join(f'{100 * row.errors[seed][which]:.6g}' for seed in seeds) for which in (0, 1)]
        figures = [
            '' if pair is None or math.isnan(value) else f'{value:.6g}'
            for pair in (row.top1, row.top5)
            for value in (pair[:4] if pair else (math.nan,) * 4)
        ]
        published = row.published.text if row.published else ''
        pairs = row.top1.num_pairs if row.top1 else ''
        seed_list = ' '.join(map(str, seeds))
        writer.writerow([row.name, seed_list, *by_seed, pairs, *figures, published, row.verdict])
    return text.getvalue()
