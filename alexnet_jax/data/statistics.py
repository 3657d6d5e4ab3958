"""Statistics of a training split, computed from integer sums: the mean image and the PCA basis of its colors."""

from typing import NamedTuple

import numpy as np


class PcaBasis(NamedTuple):
    """The principal components of RGB pixels in 0..255, in the order of the ascending eigenvalues."""

    eigenvalues: np.ndarray  # float64 (3,)
    eigenvectors: np.ndarray  # float64 (3, 3), as columns


# The sources of the basis that the lighting draws along.
PCA_BASES = ('dataset', 'imagenet2012')
# Of ImageNet's training images at 256 pixels, from the input_meta of cuda-convnet2's make-data: standard deviations in
# gray levels of 0..255, and directions as columns, rows red, green and blue.
IMAGENET_STD = np.array([19.721, 37.094, 121.780])
IMAGENET_EIGENVECTORS = np.array(
    [[0.41796, -0.71258, -0.56351], [-0.81698, -0.02354, -0.57618], [0.39731, 0.70120, -0.59200]]
)


def select_pca_basis(choice: str, own: PcaBasis) -> PcaBasis:
    """Return the basis for a choice of PCA_BASES: the dataset's `own`, or the published one of ImageNet."""
    return PcaBasis(IMAGENET_STD**2, IMAGENET_EIGENVECTORS) if choice == 'imagenet2012' else own


def compute_statistics(total: np.ndarray, products: np.ndarray, images: int) -> dict[str, np.ndarray]:
    """Return the arrays of a dataset's statistics file, from int64 sums over `images` uint8 images.

    `total` (side, side, 3) is the sum of the images, `products` (3, 3) the sum of color times color over all their
    pixels. The covariance is that of RGB over all pixels of all images, as in the paper (section 4.1); its
    eigenvectors are columns, in the order of the ascending eigenvalues, each with the sign that makes its largest
    entry positive.
    """
    sums = [int(value) for value in total.sum(axis=(0, 1))]
    pixels = images * total.shape[0] * total.shape[1]
    # In Python's integers and divided once, so exact but for the last rounding.
    covariance = np.array(
        [[(pixels * int(products[a, b]) - sums[a] * sums[b]) / pixels**2 for b in range(3)] for a in range(3)]
    )
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    largest = np.abs(eigenvectors).argmax(axis=0)
    return {
        'mean': (total / images).astype(np.float32),
        'covariance': covariance,
        'eigenvalues': eigenvalues,
        'eigenvectors': eigenvectors * np.sign(eigenvectors[largest, range(3)]),
    }
