"""The result of a run: the content of result.json, and the same as one sentence."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet_jax.evaluate import metrics
from alexnet_jax.evaluate.view_places import Views, describe_views
from alexnet_jax.report.text import format_percent
from alexnet_jax.runtime import atomic_io
from alexnet_jax.train.timing import format_duration

RESULT_FILE, EVALUATION_FILE = 'result.json', 'evaluation.json'
BASELINE_NAMES = {'statistics': 'color and gradient statistics', 'pixels': '16x16 pixels'}


@dataclasses.dataclass(frozen=True)
class TrainingCost:
    """The training up to the checkpoint that is reported."""

    checkpoint_step: int
    epochs: float
    seconds: float
    images_per_second: float


def build_result(
    error_rates: Mapping[str, float],
    cost: TrainingCost,
    *,
    baseline: Mapping[str, Any],
    num_classes: int,
    split: str,
    views: Views,
    note: str = '',
) -> dict[str, Any]:
    """Return the content of result.json.

    `error_rates` are an Evaluator's on `split`, `baseline` is nearest_neighbor.baseline_errors on the same split, both
    0 to 1. `note` says how the split limits the figure. A loss that is not finite becomes None.
    """
    low, high = metrics.top1_interval(error_rates)
    return {
        'top1_error': error_rates['top1_error'],
        'top5_error': error_rates['top5_error'],
        'loss': error_rates['loss'] if math.isfinite(error_rates['loss']) else None,
        'split': split,
        'views': views,
        'images': int(error_rates['images']),
        'interval': {'low': low, 'high': high},
        'baseline': dict(baseline),
        **dataclasses.asdict(cost),
        'classes': num_classes,
        'note': note,
    }


def beats_baseline(result: Mapping[str, Any]) -> bool:
    """Return whether the whole 95 % interval of the top-1 error is below the baseline's error."""
    return bool(result['interval']['high'] < result['baseline']['best'])


def summarize_result(result: Mapping[str, Any]) -> str:
    """Return the result as one sentence, which says so if the error is not clearly below the baseline's."""
    baseline, interval = result['baseline'], result['interval']
    comparison = 'below' if beats_baseline(result) else 'NOT clearly below'
    note = f' ({result["note"].rstrip(".")})' if result['note'] else ''
    return (
        f'{format_percent(result["top1_error"])} top-1 error on {result["images"]:,} {result["split"]} images '
        f'({describe_views(result["views"])}, 95 % interval {format_percent(interval["low"])} to '
        f'{format_percent(interval["high"])}; chance {format_percent(1 - 1 / result["classes"])}) after '
        f'{result["epochs"]:.3g} epochs in {format_duration(result["seconds"])}, {comparison} the '
        f'{format_percent(baseline["best"])} of nearest neighbors on {BASELINE_NAMES[baseline["kind"]]}{note}.'
    )


def write_result(workdir: str | os.PathLike[str], result: Mapping[str, Any]) -> Path:
    """Write result.json into `workdir` atomically; return its path."""
    file = Path(workdir) / RESULT_FILE
    atomic_io.write_json(file, result, allow_nan=False)
    return file
