"""Statistics of a training split from whole-number sums: the mean image and the principal colours. Pure NumPy."""

import numpy as np


def from_sums(total: np.ndarray, products: np.ndarray, images: int) -> dict[str, np.ndarray]:
    """What dataset.Dataset holds, from int64 sums over `images` uint8 images: pixels in 0..255.

    `total` (side, side, 3) is the sum of the images, `products` (3, 3) the sum of colour times colour over all their
    pixels. The covariance is that of RGB over all pixels of all images, as in the paper (section 4.1); its
    eigenvectors are columns, in the order of the ascending eigenvalues, and of the two signs the one that makes the
    largest entry positive.
    """
    sums = [int(value) for value in total.sum(axis=(0, 1))]
    pixels = images * total.shape[0] * total.shape[1]
    # In Python's whole numbers and divided once, so exact but for the last rounding.
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
