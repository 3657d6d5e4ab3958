"""Cutouts, the embedded dataset: a shape cut out of one photograph and laid on another; the class is the shape.

A fresh machine has no images, so the first run makes its own from thirteen photographs in scikit-image's wheel (each
public domain, CC0 or without known restriction by its docstring). Figure and ground are pieces of photographs at random
position and scale, the shape has random size, position and angle: color and texture say nothing of the class, only form
does. Training, validation and test images come from different photographs.

Every image is a pure function of (split, index, seed, image_size): uniform draws from a counter-based generator, then
only arithmetic that IEEE 754 fixes (no sines, no floating-point sums in an order of the machine's choosing), so that
the bytes are the same on every machine.
"""

import dataclasses
import functools

import numpy as np

from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources.base import Source, SourceOptions, SourceSpec
from alexnet_jax.prepare.split_names import SPLITS
from alexnet_jax.prepare.splits import Item

CLASSES = ('disc', 'square', 'triangle', 'star', 'cross', 'ring', 'crescent', 'heart', 'arrow', 'semicircle')
PHOTOGRAPHS = {
    'train': ('astronaut', 'chelsea', 'clock', 'coins', 'grass', 'hubble_deep_field', 'immunohistochemistry'),
    'validation': ('brick', 'rocket'),
    'test': ('camera', 'coffee', 'gravel', 'retina'),
}
SCALES = (1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8)  # of a photograph's shorter edge, in image sizes
# Of the circle around the shape, in image sizes: no shape fills the image, none is a speck.
RADIUS = (0.22, 0.38)
MARGIN = 1 / 16  # of the image size, free of the figure: a random crop of 7/8 does not cut it
MAX_TAN_HALF_ANGLE = 0.2217  # tan(25 degrees / 2): shapes are rotated by up to 25 degrees either way
CONTRAST = 30  # gray levels between the mean colors of figure and ground in one channel: a person sees it
# Tables of signed distances cover [-SDF_EXTENT, SDF_EXTENT] squared, shapes about the unit circle.
SDF_EXTENT = 1.3
ALPHA_MAX = 128  # opaque; differences of two pixels times it fit 16 bits


@dataclasses.dataclass(frozen=True)
class CutoutReader:
    """Makes cutouts: `location` is split and index."""

    seed: int
    image_size: int

    @property
    def identity(self) -> str:
        return f'_Drawn(seed={self.seed}, side={self.image_size})'

    def __call__(self, item: Item) -> np.ndarray:
        split, index = item.location
        return make_cutout(split, index, self.seed, self.image_size)[0]


def open_cutouts(path: None, options: SourceOptions) -> Source:
    """Open options.num_cutouts images of options.image_size pixels for train, validation and test."""
    seed, counts = options.seed, options.num_cutouts
    if len(counts) != len(SPLITS) or counts[0] < 1 or min(counts) < 0:
        raise UserError(
            f'config.prepare.num_cutouts is {counts}; expected three numbers, the first above 0, none negative.'
        )
    splits = {
        split: tuple(Item(f'{split}/{i:06d}', i % len(CLASSES), (split, i)) for i in range(count))
        for split, count in zip(SPLITS, counts, strict=True)
        if count
    }
    # Part of the dataset's files, and so of its checksum: the wording stays.
    note = f'Cut-outs made from seed {seed}; each split from photographs of its own.'
    return Source('cutouts', CLASSES, splits, note, seed, CutoutReader(seed, options.image_size))


SPEC = SourceSpec('cutouts', 'nothing (cutouts are generated)', open_cutouts, needs_path=False)


def make_cutout(split: str, index: int, seed: int, image_size: int) -> tuple[np.ndarray, int]:
    """Return image `index` of a split, uint8 (image_size, image_size, 3), and its label, index % 10."""
    label = index % len(CLASSES)
    number = len(PHOTOGRAPHS) * index + tuple(PHOTOGRAPHS).index(split)
    rng = np.random.Generator(np.random.Philox(key=[seed, number]))
    size, row, column, rotation = rng.random(4)
    radius = (RADIUS[0] + size * (RADIUS[1] - RADIUS[0])) * image_size
    first, last = radius + MARGIN * image_size, image_size - radius - MARGIN * image_size
    row, column = first + row * (last - first), first + column * (last - first)
    # The same square for every class: were it the shape itself, what is rejected would depend on the class.
    box = tuple(slice(round(center - radius), round(center + radius)) for center in (row, column))
    while True:
        ground, figure = _random_crop(split, image_size, rng), _random_crop(split, image_size, rng)
        if _has_contrast(ground[box], figure[box]):
            break
    tangent = (2 * rotation - 1) * MAX_TAN_HALF_ANGLE
    coverage = _coverage(label, image_size, (row, column), radius, tangent)
    return _composite(ground, figure, coverage), label


def _random_crop(split: str, image_size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a square of one photograph of the split, at random position and scale, mirrored or not."""
    photograph, scale, top, left, mirror = rng.random(5)
    names = PHOTOGRAPHS[split]
    scales = _scaled_photographs(names[int(photograph * len(names))], image_size)
    image = scales[int(scale * len(scales))]
    height, width, _ = image.shape
    top, left = int(top * (height - image_size + 1)), int(left * (width - image_size + 1))
    crop = image[top : top + image_size, left : left + image_size]
    return crop[:, ::-1] if mirror < 0.5 else crop


@functools.cache
def _scaled_photographs(name: str, image_size: int) -> tuple[np.ndarray, ...]:
    """Return a photograph at its scales, smallest first, uint8 (height, width, 3)."""
    # Slow to import, and no other source needs it.
    import skimage.data

    pixels = getattr(skimage.data, name)()
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    shorter = min(pixels.shape[:2])
    # Upscaling adds no detail: only if the photograph is smaller than the image it is needed.
    scales = [scale for scale in SCALES if scale * image_size <= shorter] or [1.25]
    sizes = [
        [max(image_size, round(edge * scale * image_size / shorter)) for edge in pixels.shape[:2]] for scale in scales
    ]
    return tuple(image_io.resize_image(pixels, *size) for size in sizes)


def _has_contrast(ground: np.ndarray, figure: np.ndarray) -> bool:
    """Return whether the mean colors of two (height, width, 3) differ by CONTRAST in a channel; in whole numbers."""
    sums = [image.sum(axis=(0, 1), dtype=np.int64) for image in (ground, figure)]
    return bool(np.abs(sums[0] - sums[1]).max() >= CONTRAST * ground.shape[0] * ground.shape[1])


def _composite(ground: np.ndarray, figure: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """Return the ground where `coverage` is 0, the figure where it is ALPHA_MAX, rounded in between: uint8."""
    below = ground.astype(np.int16)
    return (below + (((figure - below) * coverage + ALPHA_MAX // 2) // ALPHA_MAX)).astype(np.uint8)


def _coverage(label: int, image_size: int, center: tuple[float, float], radius: float, tangent: float) -> np.ndarray:
    """Return how much of each pixel the shape covers, 0 to ALPHA_MAX, int16 (image_size, image_size, 1).

    A pixel's center half a pixel inside the edge is covered, half a pixel outside it is not: the distance is the
    antialiasing. `tangent` is that of half the angle, which gives sine and cosine without either. `center` is (row,
    column).
    """
    # So many cells that the nearest one is a tenth of a pixel off at most.
    table = _distance_table(label, cells=4 * image_size + 256)
    cells = len(table)
    sine, cosine = 2 * tangent / (1 + tangent**2), (1 - tangent**2) / (1 + tangent**2)
    per_pixel = cells / (2 * SDF_EXTENT * radius)
    down = ((np.arange(image_size) + 0.5 - center[0]) * per_pixel)[:, None]
    right = ((np.arange(image_size) + 0.5 - center[1]) * per_pixel)[None, :]
    y = np.clip(down * cosine - right * sine + cells / 2, 0, cells - 1).astype(np.int32)
    x = np.clip(down * sine + right * cosine + cells / 2, 0, cells - 1).astype(np.int32)
    distances = table.reshape(-1).take(y * cells + x)
    covered = np.clip((0.5 - distances * np.float32(radius)) * ALPHA_MAX, 0, ALPHA_MAX)
    return np.rint(covered).astype(np.int16)[:, :, None]


@functools.cache
def _distance_table(label: int, cells: int) -> np.ndarray:
    """Return the signed distance of each cell's center from the shape's edge, negative inside, (cells, cells)."""
    centers = ((np.arange(cells) + 0.5) / cells * 2 - 1) * SDF_EXTENT
    return SHAPES[CLASSES[label]](centers[None, :], centers[:, None]).astype(np.float32)


# The shapes, as signed distances at x (to the right) and y (down). Where shapes are united or cut, the distance is
# correct near the edge, which is where it is used.


def _disc(x, y, radius, right=0.0, down=0.0):
    return np.sqrt((x - right) ** 2 + (y - down) ** 2) - radius


def _polygon(x, y, corners):
    """Return the distance to the nearest side; its sign is by how often a ray to the right crosses the outline."""
    nearest, inside = np.inf, False
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        along_x, along_y = x1 - x0, y1 - y0
        fraction = np.clip(((x - x0) * along_x + (y - y0) * along_y) / (along_x**2 + along_y**2), 0, 1)
        nearest = np.minimum(nearest, (x - x0 - fraction * along_x) ** 2 + (y - y0 - fraction * along_y) ** 2)
        if y0 != y1:
            inside ^= ((y < y0) != (y < y1)) & (x < x0 + (y - y0) / along_y * along_x)
    return np.where(inside, -1, 1) * np.sqrt(nearest)


def _mirror_outline(right):
    """Return a closed outline, symmetric about the vertical, from its right half, listed from top to bottom."""
    return tuple(right) + tuple((-x, y) for x, y in reversed(right) if x)


STAR = _mirror_outline(((0, -1), (0.247, -0.340), (0.951, -0.309), (0.399, 0.130), (0.588, 0.809), (0, 0.42)))
CROSS = _mirror_outline(((0.3, -0.92), (0.3, -0.3), (0.92, -0.3), (0.92, 0.3), (0.3, 0.3), (0.3, 0.92)))
ARROW = _mirror_outline(((0, -1), (0.78, -0.1), (0.3, -0.1), (0.3, 0.95)))
HEART = _mirror_outline(((0, -0.30), (0.788, -0.012), (0, 0.93)))  # touches the two discs
SHAPES = {
    'disc': lambda x, y: _disc(x, y, 0.82),
    'square': lambda x, y: _polygon(x, y, _mirror_outline(((0.72, -0.72), (0.72, 0.72)))),
    'triangle': lambda x, y: _polygon(x, y, _mirror_outline(((0, -0.95), (0.95, 0.7)))),
    'star': lambda x, y: _polygon(x, y, STAR),
    'cross': lambda x, y: _polygon(x, y, CROSS),
    'ring': lambda x, y: np.abs(_disc(x, y, 0.7)) - 0.2,
    'crescent': lambda x, y: np.maximum(_disc(x, y, 0.92), -_disc(x, y, 0.78, right=0.45)),
    'heart': lambda x, y: np.minimum(
        np.minimum(_disc(x, y, 0.48, 0.42, -0.32), _disc(x, y, 0.48, -0.42, -0.32)), _polygon(x, y, HEART)
    ),
    'arrow': lambda x, y: _polygon(x, y, ARROW),
    'semicircle': lambda x, y: np.maximum(_disc(x, y, 0.95, down=0.4), y - 0.4),
}
