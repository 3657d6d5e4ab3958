"""Cut-outs, the embedded dataset: which shape was cut out of one photograph and laid on another?

A fresh machine has no images, so the first run makes its own from thirteen photographs that scikit-image's
wheel carries (each public domain, CC0 or without known restriction by its docstring). Figure and ground are
pieces of photographs at random place and scale, the shape has random size, place and turn: color and texture
say nothing of the class, only form does. Training, validation and test images come from different photographs.

Every image is a pure function of (split, index, seed, side): uniform draws from a counter-based generator, then
only arithmetic that IEEE 754 fixes (no sines, no floating sums in an order of the machine's choosing), so that
the bytes are the same on every machine. Knows neither files nor datasets.
"""

import functools

import numpy as np
import skimage.data

from alexnet_jax.data import image_io

CLASSES = ('disc', 'square', 'triangle', 'star', 'cross', 'ring', 'crescent', 'heart', 'arrow', 'semicircle')
PHOTOGRAPHS = {
    'train': ('astronaut', 'chelsea', 'clock', 'coins', 'grass', 'hubble_deep_field', 'immunohistochemistry'),
    'validation': ('brick', 'rocket'),
    'test': ('camera', 'coffee', 'gravel', 'retina'),
}
SCALES = (1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8)  # of a photograph's shorter edge, in sides
RADIUS = (0.22, 0.38)  # of the circle about the shape, in sides: no shape fills the image, none is a speck
MARGIN = 1 / 16  # sides that stay free of the figure: a random crop of 7/8 does not cut it
MAX_TAN_HALF_ANGLE = 0.2217  # tan(25 degrees / 2): shapes turn up to 25 degrees either way
CONTRAST = 30  # gray levels between the mean colors of figure and ground in one channel: a person sees it
SDF_EXTENT = 1.3  # the distance tables cover [-REACH, REACH] squared, the shapes about the unit circle
ALPHA_MAX = 128  # covered pixels count from 0 to this; differences of two pixels times it fit 16 bits


def make_cutout(split: str, index: int, seed: int, side: int) -> tuple[np.ndarray, int]:
    """Image number `index` of a split, uint8 (side, side, 3), and its label, index % 10: balanced classes."""
    label = index % len(CLASSES)
    number = len(PHOTOGRAPHS) * index + tuple(PHOTOGRAPHS).index(split)
    chance = np.random.Generator(np.random.Philox(key=[seed, number]))
    size, row, column, turn = chance.random(4)
    radius = (RADIUS[0] + size * (RADIUS[1] - RADIUS[0])) * side
    first, last = radius + MARGIN * side, side - radius - MARGIN * side
    row, column = first + row * (last - first), first + column * (last - first)
    # The same square for every class: were it the shape itself, what is refused would tell of the class.
    around = tuple(slice(round(center - radius), round(center + radius)) for center in (row, column))
    while True:
        ground, figure = _random_crop(split, side, chance), _random_crop(split, side, chance)
        if _has_contrast(ground[around], figure[around]):
            break
    cover = _coverage(label, side, row, column, radius, (2 * turn - 1) * MAX_TAN_HALF_ANGLE)
    return _composite(ground, figure, cover), label


def _random_crop(split: str, side: int, chance: np.random.Generator) -> np.ndarray:
    """A square of one photograph, at random scale and place, mirrored or not."""
    photograph, scale, top, left, mirror = chance.random(5)
    names = PHOTOGRAPHS[split]
    scales = _scaled_photographs(names[int(photograph * len(names))], side)
    picture = scales[int(scale * len(scales))]
    height, width, _ = picture.shape
    top, left = int(top * (height - side + 1)), int(left * (width - side + 1))
    piece = picture[top : top + side, left : left + side]
    return piece[:, ::-1] if mirror < 0.5 else piece


@functools.cache
def _scaled_photographs(name: str, side: int) -> tuple[np.ndarray, ...]:
    """A photograph at its scales, smallest first, uint8 (height, width, 3): to take a piece is then a slice."""
    pixels = getattr(skimage.data, name)()
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    shorter = min(pixels.shape[:2])
    # Enlarging adds no detail: only where the photograph is smaller than the image must it be.
    scales = [scale for scale in SCALES if scale * side <= shorter] or [1.25]
    sizes = [
        [max(side, round(edge * scale * side / shorter)) for edge in pixels.shape[:2]] for scale in scales
    ]
    return tuple(image_io.resize_image(pixels, *size) for size in sizes)


def _has_contrast(ground: np.ndarray, figure: np.ndarray) -> bool:
    """Whether mean colors are CONTRAST apart in some channel, of (height, width, 3) each; in whole numbers."""
    sums = [piece.sum(axis=(0, 1), dtype=np.int64) for piece in (ground, figure)]
    return bool(np.abs(sums[0] - sums[1]).max() >= CONTRAST * ground.shape[0] * ground.shape[1])


def _composite(ground: np.ndarray, figure: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Ground where `cover` (side, side, 1) is 0, figure where it is OPAQUE, rounded between: uint8."""
    below = ground.astype(np.int16)
    return (below + (((figure - below) * cover + ALPHA_MAX // 2) // ALPHA_MAX)).astype(np.uint8)


def _coverage(label: int, side: int, row: float, column: float, radius: float, tangent: float) -> np.ndarray:
    """How much of each pixel the shape covers, 0 to OPAQUE, int16 (side, side, 1).

    A pixel's center half a pixel inside the edge is covered, half a pixel outside it is not: the distance is the
    antialiasing. `tangent` is that of half the angle, which gives sine and cosine without either.
    """
    table = _distance_table(label, _num_cells(side))
    cells = len(table)
    sine, cosine = 2 * tangent / (1 + tangent**2), (1 - tangent**2) / (1 + tangent**2)
    per_pixel = cells / (2 * SDF_EXTENT * radius)
    down = ((np.arange(side) + 0.5 - row) * per_pixel)[:, None]
    right = ((np.arange(side) + 0.5 - column) * per_pixel)[None, :]
    y = np.clip(down * cosine - right * sine + cells / 2, 0, cells - 1).astype(np.int32)
    x = np.clip(down * sine + right * cosine + cells / 2, 0, cells - 1).astype(np.int32)
    distances = table.reshape(-1).take(y * cells + x)
    covered = np.clip((0.5 - distances * np.float32(radius)) * ALPHA_MAX, 0, ALPHA_MAX)
    return np.rint(covered).astype(np.int16)[:, :, None]


def _num_cells(side: int) -> int:
    """Cells along a distance table: so many that the nearest one is a tenth of a pixel off at most."""
    return 4 * side + 256


@functools.cache
def _distance_table(label: int, cells: int) -> np.ndarray:
    """Signed distance of each cell's center from the shape's edge, negative inside, float32 (cells, cells)."""
    places = ((np.arange(cells) + 0.5) / cells * 2 - 1) * SDF_EXTENT
    return SHAPES[CLASSES[label]](places[None, :], places[:, None]).astype(np.float32)


# The shapes, as signed distances at x (rightwards) and y (downwards). Where shapes are joined or cut, the distance
# is right near the edge, which is where it is used.


def _disc(x, y, radius, right=0.0, down=0.0):
    return np.sqrt((x - right) ** 2 + (y - down) ** 2) - radius


def _polygon(x, y, corners):
    """Distance to the nearest side, its sign by how often a ray to the right crosses the outline."""
    nearest, inside = np.inf, False
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        along_x, along_y = x1 - x0, y1 - y0
        share = np.clip(((x - x0) * along_x + (y - y0) * along_y) / (along_x**2 + along_y**2), 0, 1)
        nearest = np.minimum(nearest, (x - x0 - share * along_x) ** 2 + (y - y0 - share * along_y) ** 2)
        if y0 != y1:
            inside ^= ((y < y0) != (y < y1)) & (x < x0 + (y - y0) / along_y * along_x)
    return np.where(inside, -1, 1) * np.sqrt(nearest)


def _mirror_outline(right):
    """A closed outline, symmetric about the vertical: its right half from top to bottom, then back on the left."""
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
