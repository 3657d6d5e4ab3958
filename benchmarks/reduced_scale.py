"""Measure what decoding large JPEGs at a reduced scale changes and saves, against decoding them at full size.

    python benchmarks/reduced_scale.py --photographs=photographs.tar --shorter=1600,2048,3072

The photographs of a tar are tiled into mosaics whose shorter side has so many pixels, so that there is detail in every
pixel, as in pictures of large cameras; stored as JPEG of quality 90. Differences are in gray levels between the two
squares; next to them is what storing a square as JPEG of quality 95 changes. The last line is the figure.
"""

import argparse
import io
import math
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from alexnet_jax.data import image_io  # noqa: E402

NUM_MOSAICS = 6  # of each size


def make_mosaic(photographs: list[np.ndarray], shorter: int, number: int) -> bytes:
    """Return a JPEG of 4:3 tiled with photographs, which begins with other ones for each number."""
    high, wide = shorter, shorter * 4 // 3 // 8 * 8
    image = np.zeros((high, wide, 3), np.uint8)
    index, top = 5 * number, 0
    while top < high:
        left, row = 0, 0
        while left < wide:
            tile = photographs[index % len(photographs)][: high - top, : wide - left]
            image[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
            left, row, index = left + tile.shape[1], max(row, tile.shape[0]), index + 1
        top += row
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'JPEG', quality=90)
    return file.getvalue()


def absolute_difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other.astype(int))


def measure_seconds(work) -> float:
    """Return the duration of `work()`, the best of three."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photographs', type=Path, required=True)
    parser.add_argument('--shorter', default='1600,2048,3072')
    parser.add_argument('--image_size', type=int, default=256)
    args = parser.parse_args()
    with tarfile.open(args.photographs) as tar:
        files = [tar.extractfile(info).read() for info in tar if info.isreg()]  # type: ignore[union-attr]
    photographs = [image_io.decode_image(data) for data in files]
    photographs = [image for image in photographs if min(image.shape[:2]) >= 300]
    all_reduced, stored, times = [], [], [0.0, 0.0]
    for shorter in map(int, args.shorter.split(',')):
        reduced, spent = [], [0.0, 0.0]
        for number in range(NUM_MOSAICS):
            data = make_mosaic(photographs, shorter, number)
            whole = image_io.resize_and_crop(image_io.decode_image(data), args.image_size)
            square, decoded = image_io.decode_center_square(data, args.image_size)
            reduced.append(absolute_difference(square, whole))
            stored.append(absolute_difference(image_io.decode_image(image_io.encode_jpeg(whole, 95)), whole))
            spent[0] += measure_seconds(
                lambda data=data: image_io.resize_and_crop(image_io.decode_image(data), args.image_size)
            )
            spent[1] += measure_seconds(lambda data=data: image_io.decode_center_square(data, args.image_size))
        all_reduced += reduced
        times = [total + more for total, more in zip(times, spent, strict=True)]
        print(
            f'{shorter} pixels on the shorter side, decoded {decoded.downscale} times smaller: {summarize(reduced)}; '
            f'{spent[0] / NUM_MOSAICS * 1e3:.0f} ms whole, {spent[1] / NUM_MOSAICS * 1e3:.0f} ms reduced'
        )
    print(f'storing as JPEG of quality 95: {summarize(stored)}')
    print(f'all: {summarize(all_reduced)}; {times[0] / times[1]:.1f} times as fast')


def summarize(differences: list[np.ndarray]) -> str:
    levels = np.concatenate([each.ravel() for each in differences])
    decibels = 10 * math.log10(255**2 / np.mean(levels.astype(float) ** 2)) if levels.any() else math.inf
    return (
        f'mean difference {levels.mean():.2f}, 99th percentile {np.percentile(levels, 99):.0f}, largest '
        f'{levels.max()}, {decibels:.0f} dB'
    )


if __name__ == '__main__':
    main()
