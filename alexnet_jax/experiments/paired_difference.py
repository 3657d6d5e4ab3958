"""The difference between two networks that were trained with the same seeds: its interval, and what it says.

A seed decides the order of examples, crops, flips and, where shapes agree, first weights of both runs of a pair, and
both are measured on the same images; differences within pairs vary less than the errors do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95
# Beyond it a number of seeds is not worth naming.
MAX_SEEDS = 1000


class PairedDifference(NamedTuple):
    """Mean difference over pairs, its standard deviation from pair to pair, and the interval of the mean.

    With one pair there is neither spread nor interval: NaN.
    """

    mean: float
    std: float
    low: float
    high: float
    num_pairs: int


def estimate_difference(base: Sequence[float], changed: Sequence[float]) -> PairedDifference:
    """Return the difference changed - base of paired figures, with Student's 95 % interval of its mean.

    Raises ValueError if there is no pair, or figures without a partner.
    """
    differences = np.subtract(changed, base, dtype=np.float64)
    if len(base) != len(changed) or not len(base):
        raise ValueError(f'{len(base)} and {len(changed)} figures are no pairs.')
    count, mean = len(differences), float(differences.mean())
    if count == 1:
        return PairedDifference(mean, math.nan, math.nan, math.nan, 1)
    std = float(differences.std(ddof=1))
    half_width = _half_width(std, count)
    return PairedDifference(mean, std, mean - half_width, mean + half_width, count)


def _half_width(std: float, count: int) -> float:
    """Return half the width of the interval of the mean of `count` numbers of that standard deviation."""
    from scipy import stats

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * std / math.sqrt(count)


def count_needed_seeds(difference: PairedDifference) -> int | None:
    """Return the fewest seeds whose interval would leave out zero if mean and spread stayed as they are.

    A run of so many seeds finds the sign about every second time, since the mean varies too. None: more than MAX_SEEDS,
    or unknown.
    """
    if math.isnan(difference.std):
        return None
    counts = range(2, MAX_SEEDS + 1)
    return next((count for count in counts if _half_width(difference.std, count) < abs(difference.mean)), None)


def judge_difference(difference: PairedDifference, *, published: bool) -> str:
    """Return in words what a difference of errors says, beside a published one that is positive, or none.

    'reproduced' and 'opposite' are about the sign: the whole interval lies on the published side of zero, or on the
    other.
    """
    if difference.num_pairs == 1:
        return 'one seed, which has no interval'
    if difference.low > 0:
        return 'reproduced' if published else 'worse'
    if difference.high < 0:
        return 'opposite' if published else 'better'
    needed = count_needed_seeds(difference)
    seeds = f'more than {MAX_SEEDS:,}' if needed is None else f'about {needed}'
    return f'not resolvable at this budget; it would take {seeds} seeds'
