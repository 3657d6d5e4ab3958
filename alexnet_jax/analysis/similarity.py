"""Similarity of representations: dissimilarity matrices and their correlation (RSA), and linear CKA.

Each function takes features of the same N images, (N, ...), as arrays or memory-mapped files (`open_features`). They
are read in parts of at most BLOCK_BYTES and summed in float64, so that memory is that of (N, N) matrices alone.

    features = open_features('/runs/paper/features/90')
    rdm_a, rdm_b = (correlation_rdm(features.column('conv2', column)) for column in 'ab')
    compare_rdms(rdm_a, rdm_b)
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from alexnet_jax.analysis.feature_files import FeatureFiles
from alexnet_jax.errors import UserError

BLOCK_BYTES = 2**26
# Below it the unbiased estimator divides by zero.
MIN_IMAGES = 4


def correlation_rdm(features: np.ndarray) -> np.ndarray:
    """Return the representational dissimilarity matrix (N, N), float64: 1 minus Pearson's correlation of two images.

    Kriegeskorte, Mur and Bandettini (2008). Raises UserError if an image has the same number everywhere, as no
    correlation is defined then.
    """
    flat = _flatten_images(features)
    means = sum(block.sum(axis=1) for block in _feature_blocks(flat)) / flat.shape[1]
    products = np.zeros((len(flat), len(flat)))
    for block in _feature_blocks(flat):
        centered = block - means[:, None]
        products += centered @ centered.T
    norms = np.sqrt(np.diag(products))
    # Of numbers that are equal in float32, what remains is rounding.
    constant = np.flatnonzero(norms <= 1e-12 * np.sqrt(flat.shape[1]) * np.abs(means))
    if len(constant):
        raise UserError(
            f'{len(constant)} of {len(flat)} images have the same number everywhere (the first is row {constant[0]}), '
            'so that their correlation is not defined. Leave them out, or choose another layer.'
        )
    rdm = 1 - products / np.outer(norms, norms)
    np.fill_diagonal(rdm, 0)
    return rdm


def compare_rdms(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation of two dissimilarity matrices (N, N), over their pairs of different images."""
    from scipy.stats import rankdata

    pairs = np.triu_indices(len(first), k=1)
    if first.shape != second.shape or len(pairs[0]) < 2:
        raise UserError(
            f'Dissimilarities of {first.shape} and {second.shape} cannot be compared; give two matrices of the same '
            '3 or more images.'
        )
    return float(np.corrcoef(rankdata(first[pairs]), rankdata(second[pairs]))[0, 1])


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Return linear CKA (Kornblith et al. 2019): |Y'X|^2 / (|X'X| |Y'Y|) of centered features, from 0 to 1.

    With fewer images than features it is near 1 even for chance: prefer `debiased_linear_cka`.
    """
    gram_x, gram_y = _double_center(gram_matrix(first)), _double_center(gram_matrix(second))
    return float((gram_x * gram_y).sum() / (np.linalg.norm(gram_x) * np.linalg.norm(gram_y)))


def debiased_linear_cka(first: np.ndarray, second: np.ndarray, *, batch_size: int = 0, seed: int = 0) -> float:
    """Return linear CKA by the unbiased estimator of HSIC (Song et al. 2012): about 0 for independent features.

    With a `batch_size` HSIC is averaged over batches of about that many images, drawn by `seed`, so that memory is
    (batch, batch), as Nguyen et al. (2021) do. Raises UserError for fewer than 4 images in a batch.
    """
    x, y, count = _flatten_images(first), _flatten_images(second), len(first)
    num_batches = math.ceil(count / batch_size) if batch_size else 1
    if len(y) != count or count // max(num_batches, 1) < MIN_IMAGES:
        raise UserError(
            f'Features of {count} and {len(y)} images in {num_batches} batches cannot be compared; give the same '
            f'images for both, and {MIN_IMAGES} or more to a batch.'
        )
    # Images in their order are often sorted by class; a batch must be a sample of all of them.
    order = np.random.default_rng(seed).permutation(count)
    sums = np.zeros(3)
    for rows in np.array_split(order, num_batches):
        gram_x, gram_y = (gram_matrix(features, np.sort(rows)) for features in (x, y))
        sums += [unbiased_hsic(gram_x, gram_y), unbiased_hsic(gram_x, gram_x), unbiased_hsic(gram_y, gram_y)]
    return float(sums[0] / np.sqrt(sums[1] * sums[2]))


def unbiased_hsic(first: np.ndarray, second: np.ndarray) -> float:
    """Return the unbiased estimate of HSIC of two Gram matrices (N, N): equation 5 of Song et al. (2012)."""
    count = len(first)
    first, second = (gram - np.diag(np.diag(gram)) for gram in (first, second))
    total = (first * second).sum()
    total += first.sum() * second.sum() / ((count - 1) * (count - 2))
    total -= 2 / (count - 2) * (first.sum(axis=0) @ second.sum(axis=0))
    return float(total / (count * (count - 3)))


def gram_matrix(features: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """Return the inner products (N, N) of the images' features, or of those in some rows alone, float64."""
    flat = _flatten_images(features)
    count = len(flat) if rows is None else len(rows)
    gram = np.zeros((count, count))
    for block in _feature_blocks(flat, rows):
        gram += block @ block.T
    return gram


def compare_columns(features: FeatureFiles) -> dict[str, dict[str, float]]:
    """Return by layer how alike the two columns are: 'rsa' (Spearman's correlation of their RDMs) and 'cka' (debiased).

    Raises UserError if the features are not those of both columns.
    """
    result = {}
    for layer in features.layers:
        column_a, column_b = features.column(layer, 'a'), features.column(layer, 'b')
        result[layer] = {
            'rsa': compare_rdms(correlation_rdm(column_a), correlation_rdm(column_b)),
            'cka': debiased_linear_cka(column_a, column_b),
        }
    return result


def _flatten_images(features: np.ndarray) -> np.ndarray:
    return features.reshape(len(features), -1)


def _feature_blocks(flat: np.ndarray, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield the features (N, D), or some rows of them, in float64, some columns at a time."""
    chosen = slice(None) if rows is None else rows
    step = max(1, BLOCK_BYTES // (8 * max(len(flat) if rows is None else len(rows), 1)))
    for start in range(0, flat.shape[1], step):
        # Rows and columns in one index: a file of features is read where they are, and no more is copied.
        yield np.asarray(flat[chosen, start : start + step], np.float64)


def _double_center(gram: np.ndarray) -> np.ndarray:
    """Return the Gram matrix of features from which their mean over the images is subtracted."""
    rows = gram.mean(axis=0)
    return gram - rows[None, :] - rows[:, None] + rows.mean()
