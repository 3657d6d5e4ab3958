"""Measure how fast photographs are prepared, against decoding alone, and the hours that all of ImageNet would take.

    python benchmarks/preparation_rates.py --photographs=photographs.tar --workdir=/tmp/rates --pixels=181503

The photographs of a tar are used as they are, or resized to those of ImageNet (on average 469 x 387 pixels, and 138 GB
by 1,281,167 files are 108 KB), and put into a tar of class folders under as many names as asked for. The last line
is the figure.
"""

import argparse
import io
import statistics
import sys
import tarfile
import time
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from alexnet_jax.data import image_io
from alexnet_jax.data.encoding import EncodingSpec
from alexnet_jax.prepare import builder, sources  # noqa: E402

IMAGENET_IMAGES = 1_281_167 + 50_000  # to prepare of ILSVRC-2012
NUM_CLASSES = 4


def resize_photographs(photographs: list[bytes], factor: float, quality: int) -> list[bytes]:
    """Return the photographs `factor` times larger, as JPEGs of that quality."""
    resized = []
    for data in photographs:
        image = Image.open(io.BytesIO(data)).convert('RGB')
        file = io.BytesIO()
        size = [max(1, round(edge * factor)) for edge in image.size]
        image.resize(size, Image.Resampling.BICUBIC).save(file, 'JPEG', quality=quality)
        resized.append(file.getvalue())
    return resized


def match_sizes(photographs: list[bytes], pixels: float, kilobytes: float) -> list[bytes]:
    """Return the photographs with that many pixels on average, in the quality whose files come nearest `kilobytes`."""
    sizes = [Image.open(io.BytesIO(data)).size for data in photographs]
    factor = (pixels / statistics.mean(width * height for width, height in sizes)) ** 0.5
    tried = ((quality, resize_photographs(photographs, factor, quality)) for quality in range(84, 101, 2))
    return min(tried, key=lambda each: abs(statistics.mean(map(len, each[1])) - 1000 * kilobytes))[1]


def write_tar(file: Path, photographs: list[bytes], count: int) -> None:
    """Write a tar of class folders with `count` images."""
    with tarfile.open(file, 'w') as tar:
        for number in range(count):
            info = tarfile.TarInfo(f'train/{number % NUM_CLASSES}/{number:06d}.jpg')
            info.size = len(photographs[number % len(photographs)])
            tar.addfile(info, io.BytesIO(photographs[number % len(photographs)]))


def measure_decoding(photographs: list[bytes], rounds: int) -> float:
    """Return the images per second of one core that only decodes; the best of three."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(rounds):
            for data in photographs:
                image_io.decode_image(data)
        seconds.append(time.perf_counter() - start)
    return rounds * len(photographs) / min(seconds)


def measure_preparation(file: Path, directory: Path, num_workers: int, image_size: int) -> float:
    """Return the images per second of a whole preparation, start and end included."""
    source = sources.open_source('tar', str(file), sources.SourceOptions(validation_fraction=0.01, test_fraction=0))
    start = time.perf_counter()
    numbers = builder.prepare_dataset(
        source, directory, EncodingSpec(image_size), num_workers=num_workers, progress=False
    )
    return (numbers['train'] + numbers['validation']) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photographs', type=Path, required=True)
    parser.add_argument('--workdir', type=Path, required=True)
    parser.add_argument('--pixels', type=float, default=0, help='mean of the images; 0: as they are')
    parser.add_argument('--kilobytes', type=float, default=108, help='mean of the files, where --pixels is given')
    parser.add_argument('--count', type=int, default=8192)
    parser.add_argument('--workers', default='1,2')
    parser.add_argument('--image_size', type=int, default=256)
    args = parser.parse_args()
    with tarfile.open(args.photographs) as tar:
        photographs = [tar.extractfile(info).read() for info in tar if info.isreg()]  # type: ignore[union-attr]
    if args.pixels:
        photographs = match_sizes(photographs, args.pixels, args.kilobytes)
    sizes = [Image.open(io.BytesIO(data)).size for data in photographs]
    print(
        f'{len(photographs)} photographs of {statistics.mean(map(len, photographs)) / 1000:.0f} KB and '
        f'{statistics.mean(w * h for w, h in sizes):,.0f} pixels on average, {args.count:,} images'
    )
    args.workdir.mkdir(parents=True, exist_ok=True)
    write_tar(args.workdir / 'images.tar', photographs, args.count)
    decoding = measure_decoding(photographs, max(1, 512 // len(photographs)))
    print(f'decoding alone: {decoding:,.0f} images a second and core')
    for workers in map(int, args.workers.split(',')):
        rate = measure_preparation(
            args.workdir / 'images.tar', args.workdir / f'by {workers}', workers, args.image_size
        )
        hours = IMAGENET_IMAGES / rate / 3600
        print(
            f'{workers} workers: {rate:,.0f} images a second, {rate / workers:,.0f} a core '
            f'({rate / workers / decoding:.0%} of decoding alone); ImageNet in {hours:.1f} hours',
            flush=True,
        )


if __name__ == '__main__':
    main()
