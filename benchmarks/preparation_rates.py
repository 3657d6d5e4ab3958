"""How fast photographs are prepared, against decoding alone, and the hours that the whole of ImageNet would take.

    python benchmarks/preparation_rates.py --photographs=photographs.tar --workdir=/tmp/rates --pixels=181503

The photographs of a tar are taken as they are, or made as large as those of ImageNet (on average 469 x 387 pixels, and
138 GB by 1,281,167 files are 108 KB), and lie in a tar of class folders under as many names as asked for. The last line
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
from alexnet_jax.prepare import builder, sources  # noqa: E402

WHOLE = 1_281_167 + 50_000  # images to prepare for ILSVRC-2012
CLASSES = 4


def made(photographs: list[bytes], factor: float, quality: int) -> list[bytes]:
    """The photographs so many times larger, as JPEGs of that quality."""
    found = []
    for data in photographs:
        picture = Image.open(io.BytesIO(data)).convert('RGB')
        file = io.BytesIO()
        size = [max(1, round(edge * factor)) for edge in picture.size]
        picture.resize(size, Image.Resampling.BICUBIC).save(file, 'JPEG', quality=quality)
        found.append(file.getvalue())
    return found


def of_size(photographs: list[bytes], pixels: float, kilobytes: float) -> list[bytes]:
    """The photographs with so many pixels on average, in the quality that comes nearest to the kilobytes."""
    sizes = [Image.open(io.BytesIO(data)).size for data in photographs]
    factor = (pixels / statistics.mean(width * height for width, height in sizes)) ** 0.5
    tried = ((quality, made(photographs, factor, quality)) for quality in range(84, 101, 2))
    return min(tried, key=lambda each: abs(statistics.mean(map(len, each[1])) - 1000 * kilobytes))[1]


def archive(file: Path, photographs: list[bytes], count: int) -> None:
    """A tar of class folders with so many images."""
    with tarfile.open(file, 'w') as tar:
        for number in range(count):
            info = tarfile.TarInfo(f'train/{number % CLASSES}/{number:06d}.jpg')
            info.size = len(photographs[number % len(photographs)])
            tar.addfile(info, io.BytesIO(photographs[number % len(photographs)]))


def decoding(photographs: list[bytes], rounds: int) -> float:
    """Images a second of one core that decodes and does nothing else; the best of three."""
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(rounds):
            for data in photographs:
                image_io.decode_image(data)
        taken.append(time.perf_counter() - began)
    return rounds * len(photographs) / min(taken)


def preparing(file: Path, directory: Path, workers: int, side: int) -> float:
    """Images a second of a whole preparation, its start and its end included."""
    source = sources.open_source('tar', str(file), sources.SourceOptions(validation_fraction=0.01, test_fraction=0))
    began = time.perf_counter()
    numbers = builder.prepare_dataset(source, directory, side=side, workers=workers, progress=False)
    return (numbers['train'] + numbers['validation']) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--photographs', type=Path, required=True)
    parser.add_argument('--workdir', type=Path, required=True)
    parser.add_argument('--pixels', type=float, default=0, help='mean of the images; 0: as they are')
    parser.add_argument(
        '--kilobytes', type=float, default=108, help='mean of the files, where --pixels is given'
    )
    parser.add_argument('--count', type=int, default=8192)
    parser.add_argument('--workers', default='1,2')
    parser.add_argument('--side', type=int, default=256)
    given = parser.parse_args()
    with tarfile.open(given.photographs) as tar:
        photographs = [tar.extractfile(info).read() for info in tar if info.isreg()]  # type: ignore[union-attr]
    if given.pixels:
        photographs = of_size(photographs, given.pixels, given.kilobytes)
    sizes = [Image.open(io.BytesIO(data)).size for data in photographs]
    print(
        f'{len(photographs)} photographs of {statistics.mean(map(len, photographs)) / 1000:.0f} KB and '
        f'{statistics.mean(w * h for w, h in sizes):,.0f} pixels on average, {given.count:,} images'
    )
    given.workdir.mkdir(parents=True, exist_ok=True)
    archive(given.workdir / 'images.tar', photographs, given.count)
    bare = decoding(photographs, max(1, 512 // len(photographs)))
    print(f'decoding alone: {bare:,.0f} images a second and core')
    said = ''
    for workers in map(int, given.workers.split(',')):
        rate = preparing(given.workdir / 'images.tar', given.workdir / f'by {workers}', workers, given.side)
        hours = WHOLE / rate / 3600
        said = (
            f'{workers} workers: {rate:,.0f} images a second, {rate / workers:,.0f} a core '
            f'({rate / workers / bare:.0%} of decoding alone); ImageNet in {hours:.1f} hours'
        )
        print(said, flush=True)


if __name__ == '__main__':
    main()
