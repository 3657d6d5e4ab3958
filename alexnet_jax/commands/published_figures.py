"""Our error beside the published one of the config's row in docs/results.md: a table in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet_jax.experiments.published_errors import NUM_CLASSES, PublishedError
from alexnet_jax.report.paper_comparison import MeasuredError, compare_errors, describe_comparison, write_comparison


def compare_with_published(
    folder: str | Path, name: str, published: PublishedError | None, result: Mapping[str, Any], dataset: str
) -> str:
    """Write the comparison of the run of that name into `folder`; return it as a sentence. Without a figure: ''.

    `result` has top1_error, top5_error, views, split, images and classes; `dataset` names where the images are from.
    """
    if published is None:
        return ''
    ours = MeasuredError(
        result['top1_error'],
        result['top5_error'],
        result['views'],
        f'{result["split"]} images of {dataset}',
        int(result['images']),
    )
    reasons = []
    if (ours.num_images, result['classes']) != (published.num_images, NUM_CLASSES):
        reasons.append('other images')
    if ours.views != published.views:
        reasons.append('other views')
    theirs = MeasuredError(*published)
    write_comparison(folder, compare_errors(name, ours, theirs, reasons))
    return describe_comparison(ours, theirs, reasons)
