"""Loss, top-1 and top-5: sums over a batch from logits and labels, and error rates with their intervals from sums.

All of it compares with the label's own logit, so that logits whose classes are on several devices are never gathered:
a few numbers per image cross between devices.

B batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

TOP_K = 5  # the second error that ILSVRC reports
Z_95 = 1.959963984540054  # standard deviations of a normal distribution that 95 % of it lie within


def sum_metrics(logits: jax.Array, label: jax.Array, valid: jax.Array) -> dict[str, jax.Array]:
    """Return sums over the `valid` images of a batch: 'loss' float32, 'top1', 'top5' and 'images' int32.

    `logits` float (B, K) need not be normalized, `label` int (B,), `valid` bool (B,). The loss is the negative
    logarithm of the label's probability (nats) and differentiable. An image counts for top-1 or top-5 by its label's
    rank: a tie counts against it, and so does a NaN. With fewer than five classes, top-5 means all of them.
    """
    num_classes = logits.shape[1]
    # Logits of padding, NaN included, touch no sum or gradient.
    logits_BK = jnp.where(valid[:, None], logits, 0)
    correct_BK = jnp.arange(num_classes)[None] == label[:, None]
    label_logit_B = jnp.sum(jnp.where(correct_BK, logits_BK, 0), axis=1)
    loss_B = jax.nn.logsumexp(logits_BK, axis=1) - label_logit_B
    rank_B = rank_labels(logits_BK, label)
    return {
        'loss': jnp.sum(jnp.where(valid, loss_B, 0)),
        'top1': jnp.sum((rank_B < 1) & valid),
        'top5': jnp.sum((rank_B < min(TOP_K, num_classes)) & valid),
        'images': jnp.sum(valid),
    }


def rank_labels(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Return how many other classes have a logit that is not below the label's, int32 (B,).

    `logits` (B, K) need not be normalized. A label whose logit is not finite has rank K.
    """
    correct_BK = jnp.arange(logits.shape[1])[None] == label[:, None]
    label_logit_B = jnp.sum(jnp.where(correct_BK, logits, 0), axis=1)
    ahead_BK = ~(logits < label_logit_B[:, None]) & ~correct_BK
    return jnp.where(jnp.isfinite(label_logit_B), jnp.sum(ahead_BK, axis=1), logits.shape[1])


def error_rates(sums: Mapping[str, Any]) -> dict[str, float]:
    """Return the mean 'loss', 'top1_error' and 'top5_error' (0 to 1) and the number of 'images', from `sum_metrics`."""
    images = int(sums['images'])
    return {
        'loss': float(sums['loss']) / images,
        'top1_error': (images - int(sums['top1'])) / images,
        'top5_error': (images - int(sums['top5'])) / images,
        'images': images,
    }


def wilson_interval(errors: int, images: int) -> tuple[float, float]:
    """Return the 95 % confidence interval (low, high) of an error rate of `errors` among `images` (Wilson 1927)."""
    rate, weight = errors / images, Z_95**2 / images
    middle = rate + weight / 2
    half = Z_95 * math.sqrt(rate * (1 - rate) / images + weight / (4 * images))
    low, high = (middle - half) / (1 + weight), (middle + half) / (1 + weight)
    # Rounding would leave a rate of 0 or 1 outside its own interval.
    return max(0.0, min(low, rate)), min(1.0, max(high, rate))


def top1_interval(errors: Mapping[str, float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of the 'top1_error' that `error_rates` returned."""
    images = int(errors['images'])
    return wilson_interval(round(errors['top1_error'] * images), images)
