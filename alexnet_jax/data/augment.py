"""Augmentation: what chance decides about one presentation of one image, and what that does to its pixels.

Knows neither files nor the order of records. Every draw is a function of (seed, epoch, record) alone, so any
example can be made again by itself. Only Philox's raw words are used: NumPy promises those from release to
release, and does not promise what `Generator.normal` and its like make of them.

N draws, C colors (red, green, blue), K principal components.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from alexnet_jax.errors import UserError

LIGHTING_KINDS = ('eigenvalues', 'deviations', 'none')
MEAN_KINDS = ('image', 'center', 'channel')
WORDS_PER_SAMPLE = 6  # of 64 bits per draw: top, left, mirror and one normal for each component


class Draw(NamedTuple):
    """Where the crop begins, in pixels; whether it is mirrored; the RGB shift in gray levels of 0..255."""

    top: int
    left: int
    mirror: bool
    lighting: np.ndarray  # float32 (3,)


class AugmentParams(NamedTuple):
    """N draws side by side."""

    top: np.ndarray  # int32 (N,)
    left: np.ndarray  # int32 (N,)
    mirror: np.ndarray  # bool (N,)
    lighting: np.ndarray  # float32 (N, 3)

    def one(self, i: int) -> Draw:
        """The i-th of them."""
        return Draw(int(self.top[i]), int(self.left[i]), bool(self.mirror[i]), self.lighting[i])


def sample_augmentations(
    seed: int,
    epochs: np.ndarray,
    records: np.ndarray,
    *,
    side: int,
    crop: int,
    mirror: bool,
    lighting: str,
    deviation: float,
    eigenvalues: np.ndarray,
    eigenvectors: np.ndarray,
) -> AugmentParams:
    """The draws of N presentations, `records[i]` in `epochs[i]`, each as it would come out alone.

    Offsets are uniform on 0 .. side - crop inclusive: 33 each way for 256 and 224, as in the 2012 source
    (the paper's text counts 32). Lighting is section 4.1's shift, once per image and presentation, of
    normal draws with this `deviation`; `eigenvalues` (3,) and `eigenvectors` (3, 3), as columns, are those
    of the RGB covariance of pixels in 0..255. A lighting unknown to LIGHTINGS, or a crop that does not fit,
    is a UserError.
    """
    if not 0 < crop <= side:
        raise UserError(
            f'A crop of {crop} pixels does not fit into images of {side} pixels; give 1 to {side}.'
        )
    words_NW = _philox_words(seed, epochs, records)
    offsets_N2 = ((words_NW[:, :2] >> np.uint64(32)) * np.uint64(side - crop + 1)) >> np.uint64(32)
    top_N, left_N = np.ascontiguousarray(offsets_N2.T.astype(np.int32))
    mirror_N = (words_NW[:, 2] >> np.uint64(63)).astype(bool) & mirror
    components_CK = deviation * pca_components(lighting, eigenvalues, eigenvectors)
    return AugmentParams(top_N, left_N, mirror_N, _pca_shift(_standard_normal(words_NW[:, 3:]), components_CK))


def draw(seed: int, epoch: int, record: int, **augmentation) -> Draw:
    """One draw alone, with the keywords of `draws`: equal to its row in any batch."""
    return sample_augmentations(seed, np.array([epoch]), np.array([record]), **augmentation).one(0)


def pca_components(lighting: str, eigenvalues: np.ndarray, eigenvectors: np.ndarray) -> np.ndarray:
    """(C, K): the RGB shift in gray levels that a draw of one along each principal component makes.

    `eigenvalues` is the paper's formula, which only makes sense for pixels in [0, 1]: the shift is reckoned
    there and brought back to 0..255. `deviations` is the 2012 source's: square roots, about twice as
    strong.
    """
    if lighting not in LIGHTING_KINDS:
        raise UserError(f'No lighting is called {lighting!r}; there are {", ".join(LIGHTING_KINDS)}.')
    variances_K = np.maximum(np.asarray(eigenvalues, np.float64), 0.0)  # rounding can leave -1e-13
    size_K = {
        'eigenvalues': variances_K / 255.0**2 * 255.0,
        'deviations': np.sqrt(variances_K),
        'none': np.zeros(3),
    }[lighting]
    return np.asarray(eigenvectors, np.float64) * size_K[None, :]


def cut(image: np.ndarray, top: int, left: int, mirror: bool, out: np.ndarray) -> np.ndarray:
    """Write the crop of `image` (side, side, 3) there, mirrored or not, into `out` (crop, crop, 3)."""
    crop = out.shape[0]
    window = image[top : top + crop, left : left + crop]
    if mirror:
        window = window[:, ::-1]
        for color in range(3):  # by color: three times faster than reversed rows of three-byte pixels
            out[..., color] = window[..., color]
    else:
        out[...] = window
    return out


def static_mean(mean: np.ndarray, kind: str, crop: int) -> np.ndarray | None:
    """What is subtracted of every crop alike, float32 (crop, crop, 3), from the mean image (side, side, 3).

    `image` is the paper's text: the mean image is cropped and mirrored as each image is, so there is none (None).
    `center` is the 2012 source's: the mean's center, for crops of any offset, mirrored or not. `channel` has three
    numbers, the mean red, green and blue. A kind unknown to MEANS is a UserError.
    """
    if kind not in MEAN_KINDS:
        raise UserError(f'No mean is called {kind!r}; there are {", ".join(MEAN_KINDS)}.')
    if kind == 'image':
        return None
    if kind == 'center':
        edge = (len(mean) - crop) // 2
        return np.ascontiguousarray(mean[edge : edge + crop, edge : edge + crop], np.float32)
    colors_C = mean.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    return np.broadcast_to(colors_C, (crop, crop, 3)).copy()


def apply(
    image: np.ndarray, draw: Draw, mean: np.ndarray, *, crop: int, mean_kind: str = 'image'
) -> np.ndarray:
    """One finished example, float32 (crop, crop, 3): cut from `image` (side, side, 3), lit, free of the mean.

    `mean` is the mean image (side, side, 3), `mean_kind` one of MEANS. The shift is added first and the mean
    subtracted then, in float32, which is the training step's order: both give the same numbers to the bit.
    """
    top, left, mirror, shift = draw
    pixels = cut(image, top, left, mirror, out=np.empty((crop, crop, 3), np.float32))
    background = static_mean(mean, mean_kind, crop)
    if background is None:
        background = cut(mean, top, left, mirror, out=np.empty((crop, crop, 3), np.float32))
    return pixels + shift[None, None, :] - background


def _philox_words(seed: int, epochs: np.ndarray, records: np.ndarray) -> np.ndarray:
    """uint64 (N, WORDS): Philox under the key (seed, epoch), its counter's second word being the record."""
    epochs_N, records_N = np.asarray(epochs).tolist(), np.asarray(records).tolist()
    words_NW = np.empty((len(records_N), WORDS_PER_SAMPLE), np.uint64)
    philox = np.random.Philox(key=0)
    state = philox.state  # setting the state of one generator costs a fifth of making one for each record
    counter, key = state['state']['counter'], state['state']['key']
    key[0] = seed
    for i, (epoch, record) in enumerate(zip(epochs_N, records_N, strict=True)):
        key[1], counter[1] = epoch, record
        philox.state = state
        words_NW[i] = philox.random_raw(WORDS_PER_SAMPLE)
    return words_NW


def _standard_normal(words: np.ndarray) -> np.ndarray:
    """Standard normal float64 of the same shape: the quantile at the middle of one of 2^52 equal steps."""
    return ndtri(((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)


def _pca_shift(normal_NK: np.ndarray, components_CK: np.ndarray) -> np.ndarray:
    """float32 (N, C). Summed term by term: a matrix product may round differently with the number of rows."""
    terms = [normal_NK[:, k, None] * components_CK[None, :, k] for k in range(3)]
    return (terms[0] + terms[1] + terms[2]).astype(np.float32)
