"""Scores: sums and counts from logits and labels; errors from sums. Knows neither files, devices nor the network.

Everything goes by comparison with the label's own logit, so logits whose classes lie on several devices are never
gathered: what crosses between them is a few numbers per image.

B batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

TOP = 5  # the second error that ILSVRC reports
DEVIATIONS = 1.959963984540054  # of a normal distribution, within which 95 % of it lie


def score(logits: jax.Array, label: jax.Array, real: jax.Array) -> dict[str, jax.Array]:
    """Sums over the images of a batch that are `real`: 'loss' float32, 'top1', 'top5' and 'images' int32.

    `logits` float (B, K) need not be normalized, `label` int (B,), `real` bool (B,). The loss is the negative
    logarithm of the label's probability (nats) and differentiable. An image counts for top-1 or top-5 by its label's
    rank: a tie counts against it, and so does a NaN. With fewer than five classes, top-5 means all of them.
    """
    classes = logits.shape[1]
    logits_BK = jnp.where(
        real[:, None], logits, 0
    )  # what the filling gave, NaN included, touches no sum or gradient
    right_BK = jnp.arange(classes)[None] == label[:, None]
    label_B = jnp.sum(jnp.where(right_BK, logits_BK, 0), axis=1)
    loss_B = jax.nn.logsumexp(logits_BK, axis=1) - label_B
    ahead_BK = ~(logits_BK < label_B[:, None]) & ~right_BK
    rank_B = jnp.where(jnp.isfinite(label_B), jnp.sum(ahead_BK, axis=1), classes)
    return {
        'loss': jnp.sum(jnp.where(real, loss_B, 0)),
        'top1': jnp.sum((rank_B < 1) & real),
        'top5': jnp.sum((rank_B < min(TOP, classes)) & real),
        'images': jnp.sum(real),
    }


def mean_of_views(logits: jax.Array) -> jax.Array:
    """Logarithms of the probabilities averaged over views: (views, B, K) to (B, K), as fit for `score` as logits are.

    The paper averages the softmax outputs (section 4.1), the 2012 source takes the loss of that average too. In
    logarithms no small probability becomes zero, which would tie with others.
    """
    return jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=0) - math.log(len(logits))


def rates(sums: Mapping[str, Any]) -> dict[str, float]:
    """Mean 'loss', 'top1_error' and 'top5_error' (shares of one), and the number of 'images', from sums of `score`."""
    images = int(sums['images'])
    return {
        'loss': float(sums['loss']) / images,
        'top1_error': (images - int(sums['top1'])) / images,
        'top5_error': (images - int(sums['top5'])) / images,
        'images': images,
    }


def interval(errors: int, images: int) -> tuple[float, float]:
    """The 95 % confidence interval (low, high) of an error rate of `errors` among `images`, after Wilson (1927)."""
    rate, weight = errors / images, DEVIATIONS**2 / images
    middle = rate + weight / 2
    half = DEVIATIONS * math.sqrt(rate * (1 - rate) / images + weight / (4 * images))
    low, high = (middle - half) / (1 + weight), (middle + half) / (1 + weight)
    # At no errors and at all of them rounding would leave the rate itself outside.
    return max(0.0, min(low, rate)), min(1.0, max(high, rate))
