"""What decoding large JPEGs at a reduced scale changes and saves, against decoding them whole.

    python benchmarks/reduced_scale.py --photographs=photographs.tar --shorter=1600,2048,3072

The photographs of a tar are laid side by side into mosaics whose shorter side has so many pixels, so that there is
detail in every pixel, as large cameras' pictures have; stored as JPEG of quality 90. Differences are in gray levels
between the two squares; beside them what storing a square as JPEG of quality 95 changes. The last line is the figure.
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

MOSAICS = 6  # of each size


def mosaic(photographs: list[np.ndarray], shorter: int, number: int) -> bytes:
    """A JPEG of 4:3 with photographs beside and below one another, other ones first for each number."""
    high, wide = shorter, shorter * 4 // 3 // 8 * 8
    picture = np.zeros((high, wide, 3), np.uint8)
    place, top = 5 * number, 0
    while top < high:
        left, row = 0, 0
        while left < wide:
            tile = photographs[place % len(photographs)][: high - top, : wide - left]
            picture[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
            left, row, place = left + tile.shape[1], max(row, tile.shape[0]), place + 1
        top += row
    file = io.BytesIO()
    Image.fromarray(picture).save(file, 'JPEG', quality=90)
    return file.getvalue()


def differences(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other.astype(int))


def seconds(work) -> float:
    """The best of three."""
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--photographs', type=Path, required=True)
    parser.add_argument('--shorter', default='1600,2048,3072')
    parser.add_argument('--side', type=int, default=256)
    given = parser.parse_args()
    with tarfile.open(given.photographs) as tar:
        files = [tar.extractfile(info).read() for info in tar if info.isreg()]  # type: ignore[union-attr]
    photographs = [image_io.decode_image(data) for data in files]
    photographs = [image for image in photographs if min(image.shape[:2]) >= 300]
    every, stored, times = [], [], [0.0, 0.0]
    for shorter in map(int, given.shorter.split(',')):
        here, spent = [], [0.0, 0.0]
        for number in range(MOSAICS):
            data = mosaic(photographs, shorter, number)
            whole = image_io.resize_and_crop(image_io.decode_image(data), given.side)
            square, opened = image_io.decode_center_square(data, given.side)
            here.append(differences(square, whole))
            stored.append(differences(image_io.decode_image(image_io.encode_jpeg(whole, 95)), whole))
            spent[0] += seconds(
                lambda data=data: image_io.resize_and_crop(image_io.decode_image(data), given.side)
            )
            spent[1] += seconds(lambda data=data: image_io.decode_center_square(data, given.side))
        every += here
        times = [total + more for total, more in zip(times, spent, strict=True)]
        print(
            f'{shorter} pixels on the shorter side, decoded {opened.downscale} times smaller: {said(here)}; '
            f'{spent[0] / MOSAICS * 1e3:.0f} ms whole, {spent[1] / MOSAICS * 1e3:.0f} ms reduced'
        )
    print(f'storing as JPEG of quality 95: {said(stored)}')
    print(f'all: {said(every)}; {times[0] / times[1]:.1f} times as fast')


def said(found: list[np.ndarray]) -> str:
    levels = np.concatenate([each.ravel() for each in found])
    decibels = 10 * math.log10(255**2 / np.mean(levels.astype(float) ** 2)) if levels.any() else math.inf
    return (
        f'mean difference {levels.mean():.2f}, 99th percentile {np.percentile(levels, 99):.0f}, largest '
        f'{levels.max()}, {decibels:.0f} dB'
    )


if __name__ == '__main__':
    main()
