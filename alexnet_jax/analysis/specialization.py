"""Specialization of columns in conv1 (paper, figure 3): color against orientation, kernel by kernel, with its null.

Kernels are (columns, height, width, 3, K), K of each column, as the network's parameters have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from alexnet_jax.errors import UserError

# Points of the Fourier transform along each side: kernels are padded to them, so that small ones have angles enough.
TRANSFORM_SIZE = 32
PERMUTATIONS = 10_000


class ColumnDifference(NamedTuple):
    """The distance between the means of the columns, and that between those of shuffled columns.

    `means` is float64 (columns,), `difference` the largest mean less the smallest, `null` float64 (permutations,) the
    same with kernels shuffled between the columns, and `p_value` the share of these that are as large, the measured one
    counted among them.
    """

    means: np.ndarray
    difference: float
    null: np.ndarray
    p_value: float


class Specialization(NamedTuple):
    """The measures of each kernel, float64 (columns, K), and the difference between columns of each measure by name."""

    measures: Mapping[str, np.ndarray]
    differences: Mapping[str, ColumnDifference]


def measure_specialization(kernel: np.ndarray, *, permutations: int = PERMUTATIONS, seed: int = 0) -> Specialization:
    """Return color share, orientation selectivity and their difference for each kernel, tested between the columns.

    Raises UserError unless the kernels see three colors and belong to two or more columns.
    """
    if kernel.ndim != 5 or kernel.shape[3] != 3 or len(kernel) < 2:
        raise UserError(
            f'Specialization needs kernels of two or more columns over three colors, (columns, height, width, 3, K); '
            f'these are {kernel.shape}.'
        )
    color, orientation = kernel_color_shares(kernel), orientation_selectivity(kernel)
    measures = {'color': color, 'orientation': orientation, 'color - orientation': color - orientation}
    tested = {
        name: compare_column_means(values, permutations=permutations, seed=seed) for name, values in measures.items()
    }
    return Specialization(measures, tested)


def color_share(kernel: np.ndarray) -> float:
    """Return the share of squared weights (height, width, 3, K) off the gray axis: 0 gray, 1 opponent colors.

    Weights of chance have 2 / 3, as two of three directions of color are off it.
    """
    gray, total = _color_energies(kernel)
    return float(1 - gray.sum() / total.sum()) if total.any() else 0.0


def kernel_color_shares(kernel: np.ndarray) -> np.ndarray:
    """Return the color share of each kernel, float64 (..., K), of weights (..., height, width, 3, K)."""
    gray, total = _color_energies(kernel)
    return np.where(total > 0, 1 - gray / np.where(total > 0, total, 1), 0.0)


def orientation_selectivity(kernel: np.ndarray) -> np.ndarray:
    """Return how far the power spectrum of each kernel lies along one orientation, float64 (..., K), from 0 to 1.

    |sum P exp(2 i angle)| / sum P over the frequencies up to the finest that every orientation has, P the power of all
    three colors together, after each color's mean is subtracted: 1 for a grating, 0 for what looks the same turned by
    90 degrees, such as a blob. It is one less the circular variance by which the orientation tuning of neurons is told.
    """
    weights = np.asarray(kernel, np.float64)
    weights = weights - weights.mean(axis=(-4, -3), keepdims=True)
    spectrum = np.fft.fft2(weights, s=(TRANSFORM_SIZE, TRANSFORM_SIZE), axes=(-4, -3))
    power = (np.abs(spectrum) ** 2).sum(axis=-2)
    frequencies = np.fft.fftfreq(TRANSFORM_SIZE)
    rows, columns = np.meshgrid(frequencies, frequencies, indexing='ij')
    radius = np.hypot(rows, columns)
    inside = (radius > 0) & (radius <= 0.5)
    doubled_angles = np.where(inside, np.exp(2j * np.arctan2(rows, columns)), 0)
    resultant = np.abs((power * doubled_angles[..., None]).sum(axis=(-3, -2)))
    total = (power * inside[..., None]).sum(axis=(-3, -2))
    return np.where(total > 0, resultant / np.where(total > 0, total, 1), 0.0)


def compare_column_means(values: np.ndarray, *, permutations: int = PERMUTATIONS, seed: int = 0) -> ColumnDifference:
    """Return how far the means of `values` (columns, K) lie apart, and how far they do where columns are shuffled."""
    means = values.mean(axis=1, dtype=np.float64)
    shuffled = np.random.default_rng(seed).permuted(
        np.broadcast_to(values.reshape(1, -1), (permutations, values.size)), axis=1
    )
    null = np.ptp(shuffled.reshape(permutations, *values.shape).mean(axis=2, dtype=np.float64), axis=1)
    difference = float(np.ptp(means))
    # Sums in another order round differently; what is equal must count as equal.
    as_large = int((null >= difference * (1 - 1e-9)).sum())
    return ColumnDifference(means, difference, null, (1 + as_large) / (1 + permutations))


def _color_energies(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the squared weights of each kernel on the gray axis, and all of them, (..., K)."""
    weights = np.asarray(kernel, np.float64)
    gray = (weights.sum(axis=-2) ** 2).sum(axis=(-3, -2)) / 3
    return gray, (weights**2).sum(axis=(-4, -3, -2))
