"""Report: what a run comes to, as result.json for programs and as one plain sentence for people.

Knows nothing of how the figures came about; whoever measured them hands them in.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet_jax.evaluate import metrics
from alexnet_jax.runtime import atomic_io

RESULT_FILE = 'result.json'
VIEW_NAMES = {1: 'the center view', 10: 'ten views'}
BASELINE_NAMES = {'statistics': 'color and gradient statistics', 'pixels': '16x16 pixels'}


def build_result(
    rates: Mapping[str, float],
    *,
    split: str,
    views: int,
    baseline: Mapping[str, Any],
    epochs: float,
    seconds: float,
    images_per_second: float,
    checkpoint_step: int,
    classes: int,
    note: str = '',
) -> dict[str, Any]:
    """All that result.json holds.

    `rates` are those of accuracy.Evaluator on `split`, `baseline` is baseline.baseline on the same split; errors
    are shares of one. `epochs`, `seconds` and `images_per_second` are those of training up to `checkpoint_step`.
    `note` says how the splits came about, where that limits the figure. A loss that is not finite becomes None.
    """
    images = int(rates['images'])
    low, high = metrics.wilson_interval(round(rates['top1_error'] * images), images)
    return {
        'top1_error': rates['top1_error'],
        'top5_error': rates['top5_error'],
        'loss': rates['loss'] if math.isfinite(rates['loss']) else None,
        'split': split,
        'views': views,
        'images': images,
        'interval': {'low': low, 'high': high},
        'baseline': dict(baseline),
        'epochs': epochs,
        'seconds': seconds,
        'images_per_second': images_per_second,
        'checkpoint_step': checkpoint_step,
        'classes': classes,
        'note': note,
    }


def beats_baseline(result: Mapping[str, Any]) -> bool:
    """Whether the whole 95 % interval of the top-1 error lies below what needs no network."""
    return bool(result['interval']['high'] < result['baseline']['best'])


def summarize_result(result: Mapping[str, Any]) -> str:
    """The result in one sentence, which says so where the figure does not clearly beat the baseline."""
    baseline, interval = result['baseline'], result['interval']
    views = VIEW_NAMES[result['views']]
    figure = (
        f'{_percent(result["top1_error"])} top-1 error on {result["images"]:,} {result["split"]} images ({views}, 95 % '
        f'interval {_percent(interval["low"])} to {_percent(interval["high"])}; chance '
        f'{_percent(1 - 1 / result["classes"])}) after {result["epochs"]:.3g} epochs in {_duration(result["seconds"])}'
    )
    neighbors = f'{_percent(baseline["best"])} of nearest neighbors on {BASELINE_NAMES[baseline["kind"]]}'
    against = 'against the' if beats_baseline(result) else 'which is NOT clearly below the'
    note = f' ({result["note"].rstrip(".")})' if result['note'] else ''
    return f'{figure}, {against} {neighbors} without a network{note}.'


def write_result(workdir: str | os.PathLike[str], result: Mapping[str, Any]) -> Path:
    """Writes result.json into `workdir`, aside first and then renamed, so that it is never half there; its path."""
    file = Path(workdir) / RESULT_FILE
    atomic_io.write_json(file, result, allow_nan=False)
    return file


def _percent(share: float) -> str:
    return f'{share:.1%}'.replace('%', ' %')


def _duration(seconds: float) -> str:
    """As people say it: 48 s, 3.8 min, 5.2 h."""
    for size, unit in ((3600, 'h'), (60, 'min')):
        if seconds >= size:
            return f'{seconds / size:.1f} {unit}'
    return f'{seconds:.0f} s'
