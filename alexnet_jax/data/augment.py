"""Augmentation of training images: the random crop, flip and color shift of each, and the mean that is subtracted.

Every draw is a function of (seed, epoch, record) alone, so any example can be made again by itself. Only Philox's raw
words are used: NumPy promises those from release to release, but not the output of `Generator.normal` and its like.

N examples, C colors (red, green, blue), K principal components. Functions without draws take NumPy and JAX arrays.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from alexnet_jax.data.statistics import PcaBasis
from alexnet_jax.errors import UserError

LIGHTING_KINDS = ('eigenvalues', 'deviations', 'none')
MEAN_KINDS = ('image', 'center', 'channel')
# Of 64 bits for each example: top, left, mirror and one normal for each component.
WORDS_PER_SAMPLE = 6


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The random changes of a run's training images, and their strength."""

    crop_size: int
    horizontal_flip: bool
    lighting: str  # one of LIGHTING_KINDS
    lighting_std: float
    pca_basis: PcaBasis
    # Divide the images less the mean by 1 + lighting_std while there is lighting (2012 source, convdata_jpeg.py).
    lighting_rescale: bool = False
    # So many examples in a row of an epoch share one crop and one flip; 32 in the 2012 source.
    crop_block: int = 1
    # (epoch, on): from the first epoch that begins at or after that on, there is lighting or not.
    lighting_edits: tuple[tuple[float, bool], ...] = ()

    def has_lighting(self, epochs: np.ndarray) -> np.ndarray:
        """Return bool (N,): whether images of these epochs are lit."""
        lit = np.full(np.shape(epochs), self.lighting != 'none')
        for epoch, on in self.lighting_edits:
            lit = np.where(np.asarray(epochs) >= epoch, on and self.lighting != 'none', lit)
        return lit

    def image_scale(self, epochs: np.ndarray) -> np.ndarray:
        """Return float32 (N,): what the images of these epochs, less the mean, are multiplied by."""
        return np.where(self.has_lighting(epochs), 1 / (1 + self.lighting_std), 1.0).astype(np.float32)


class AugmentParams(NamedTuple):
    """The drawn parameters of N examples: corner of the crop in pixels, flip, RGB shift in gray levels of 0..255."""

    top: np.ndarray  # int32 (N,)
    left: np.ndarray  # int32 (N,)
    mirror: np.ndarray  # bool (N,)
    lighting: np.ndarray  # float32 (N, 3)


def sample_augmentations(
    seed: int,
    epochs: np.ndarray,
    records: np.ndarray,
    augmentation: Augmentation,
    *,
    image_size: int,
    places: np.ndarray | None = None,
) -> AugmentParams:
    """Draw the parameters of N examples, `records[i]` in `epochs[i]`, each as it would be drawn alone.

    `places` (N,) are where they stand in their epochs, which decides the crop and flip of blocks (crop_block).

    Offsets are uniform on 0 .. image_size - crop_size inclusive: 33 each way for 256 and 224, as in the 2012 source
    (the paper's text counts 32). Lighting is section 4.1's shift, once per image and epoch. Raises UserError if the
    crop does not fit or the lighting is not one of LIGHTING_KINDS.
    """
    require_crop_fits(augmentation.crop_size, image_size)
    components_CK = augmentation.lighting_std * pca_components(augmentation.lighting, augmentation.pca_basis)
    words_NW = _philox_words(seed, epochs, records)
    if augmentation.crop_block > 1:
        if places is None:
            raise ValueError('Crops that blocks share need the places of the examples.')
        # The third word of the counter keeps these apart from the words of a record and of an epoch's order.
        blocks = np.asarray(places) // augmentation.crop_block
        words_NW[:, :3] = _philox_words(seed, epochs, blocks, stream=2)[:, :3]
    offsets = np.uint64(image_size - augmentation.crop_size + 1)
    corners_N2 = ((words_NW[:, :2] >> np.uint64(32)) * offsets) >> np.uint64(32)
    top_N, left_N = np.ascontiguousarray(corners_N2.T.astype(np.int32))
    mirror_N = (words_NW[:, 2] >> np.uint64(63)).astype(bool) & augmentation.horizontal_flip
    if augmentation.lighting == 'none':
        return AugmentParams(top_N, left_N, mirror_N, np.zeros((len(words_NW), 3), np.float32))
    shift_NC = _pca_shift(_standard_normal(words_NW[:, 3:]), components_CK)
    if augmentation.lighting_edits:
        shift_NC *= augmentation.has_lighting(epochs)[:, None]
    return AugmentParams(top_N, left_N, mirror_N, shift_NC)


def require_crop_fits(crop_size: int, image_size: int) -> None:
    """Raise UserError unless a crop of that size fits into square images of `image_size` pixels."""
    if not 0 < crop_size <= image_size:
        raise UserError(
            f'A crop of {crop_size} pixels does not fit into images of {image_size} pixels; choose 1 to {image_size}.'
        )


def pca_components(lighting: str, pca_basis: PcaBasis) -> np.ndarray:
    """Return (C, K), the RGB shift in gray levels that a draw of one makes along each principal component.

    `eigenvalues` is the paper's formula, which only makes sense for pixels in [0, 1]: the shift is computed there and
    scaled back to 0..255. `deviations` is the 2012 source's: square roots, about twice as strong.
    """
    if lighting not in LIGHTING_KINDS:
        raise UserError(f'Unknown lighting {lighting!r}; choose one of {", ".join(LIGHTING_KINDS)}.')
    # Rounding can leave -1e-13.
    variances_K = np.maximum(np.asarray(pca_basis.eigenvalues, np.float64), 0.0)
    size_K = {'eigenvalues': variances_K / 255.0**2 * 255.0, 'deviations': np.sqrt(variances_K), 'none': np.zeros(3)}[
        lighting
    ]
    return np.asarray(pca_basis.eigenvectors, np.float64) * size_K[None, :]


def select_mean(mean: np.ndarray, kind: str, crop_size: int) -> tuple[np.ndarray, bool]:
    """Return the mean to subtract, float32, and whether it is static: the same (crop, crop, 3) for every crop.

    `mean` is the mean image (side, side, 3). `image` is the paper's text: the mean image is cropped and mirrored as
    each image is, so the whole of it is returned and not static. `center` is the 2012 source's: its center, for crops
    of any offset, mirrored or not. `channel` is three numbers, the mean red, green and blue. Raises UserError for
    another kind.
    """
    if kind not in MEAN_KINDS:
        raise UserError(f'Unknown mean {kind!r}; choose one of {", ".join(MEAN_KINDS)}.')
    if kind == 'image':
        return np.asarray(mean, np.float32), False
    if kind == 'center':
        edge = (len(mean) - crop_size) // 2
        return np.ascontiguousarray(mean[edge : edge + crop_size, edge : edge + crop_size], np.float32), True
    colors_C = mean.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    return np.broadcast_to(colors_C, (crop_size, crop_size, 3)).copy(), True


def add_lighting(images: Any, lighting: Any) -> Any:
    """Return float32 images (N, H, W, 3) with the RGB shifts `lighting` (N, 3) added."""
    return images.astype(np.float32) + lighting[:, None, None, :]


def mirror_images(images: Any, mirror: Any) -> Any:
    """Return images (N, H, W, C) with those flipped left to right for which `mirror` (N,) or () is true."""
    where = images.__array_namespace__().where
    return where(mirror.reshape(-1, 1, 1, 1), images[:, :, ::-1], images)


def preview_images(batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return uint8 (N, crop, crop, 3), the examples of a training batch as the network sees them, mean included."""
    images = mirror_images(add_lighting(batch['image'], batch['lighting']), batch['mirror'])
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def _philox_words(seed: int, epochs: np.ndarray, records: np.ndarray, *, stream: int = 0) -> np.ndarray:
    """Return uint64 (N, WORDS_PER_SAMPLE), drawn under the key (seed, epoch) with record and stream in the counter."""
    epochs_N, records_N = np.asarray(epochs).tolist(), np.asarray(records).tolist()
    words_NW = np.empty((len(records_N), WORDS_PER_SAMPLE), np.uint64)
    philox = np.random.Philox(key=0)
    # Setting the state of one generator costs a fifth of making one for each record.
    state = philox.state
    counter, key = state['state']['counter'], state['state']['key']
    key[0] = seed
    for i, (epoch, record) in enumerate(zip(epochs_N, records_N, strict=True)):
        key[1], counter[1], counter[2] = epoch, record, stream
        philox.state = state
        words_NW[i] = philox.random_raw(WORDS_PER_SAMPLE)
    return words_NW


def _standard_normal(words: np.ndarray) -> np.ndarray:
    """Return standard normal float64 of the same shape: the quantile at the middle of one of 2^52 equal steps."""
    from scipy.special import ndtri

    return ndtri(((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)


def _pca_shift(normal_NK: np.ndarray, components_CK: np.ndarray) -> np.ndarray:
    """Return float32 (N, C). Summed term by term: a matrix product may round differently with the number of rows."""
    terms = [normal_NK[:, k, None] * components_CK[None, :, k] for k in range(3)]
    return (terms[0] + terms[1] + terms[2]).astype(np.float32)
