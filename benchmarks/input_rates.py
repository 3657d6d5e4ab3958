"""The input alone: images a second from prepared records to batches, beside bare decoding and bare reading.

    python benchmarks/input_rates.py --workdir=/tmp/input_rates [--path=imagenette-part.tar]

Prepares 256-pixel records as JPEG and as raw pixels, of cut-outs or of the archive at --path, once; then, in turn and
over several rounds, decodes or reads them bare, and delivers them as training batches (crop, flip, lighting drawn), by
one thread, by one for each core, and by one process for each core. Reading from the disc is shown apart: the shards are
dropped from the page cache before. The last line is the figure.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from alexnet_jax.runtime.environment import configure_environment
from configs import default

configure_environment(default.get_config().machine)  # the allocator, as main.py sets it

import simplejpeg

from alexnet_jax import commands
from alexnet_jax.data import dataset, pipeline

CROP, BATCH = 224, 128
CORES = os.cpu_count() or 1


def prepared(workdir: Path, encoding: str, path: str, images: int) -> str:
    """The folder of the dataset, prepared where it is not there yet."""
    config = default.get_config()
    config.data.directory = str(workdir / encoding)
    config.prepare.encoding = encoding
    if path:
        config.prepare.source, config.prepare.path = 'tar', path
    else:
        config.prepare.source, config.prepare.num_cutouts = 'cutouts', f'{images},20,20'
    if not (workdir / encoding / dataset.MANIFEST_FILE).exists():
        commands.run('prepare', config)
    return config.data.directory


def stream(directory: str, threads: int = 1) -> pipeline.TrainPipeline:
    """The training batches of that dataset, as a run makes them."""
    data = dataset.open_dataset(directory)
    return pipeline.TrainPipeline(
        data.split('train'),
        seed=0,
        batch=BATCH,
        crop=CROP,
        mirror=True,
        lighting='eigenvalues',
        deviation=0.1,
        eigenvalues=data.eigenvalues,
        eigenvectors=data.eigenvectors,
        threads=threads,
    )


def rate(work: Callable[[], int]) -> float:
    """Images a second of work that says how many it did."""
    began = time.perf_counter()
    images = work()
    return images / (time.perf_counter() - began)


def made(batches: pipeline.TrainPipeline, first: int, count: int) -> int:
    """Makes so many batches from number `first` on; the images in them."""
    return sum(len(each['label']) for each in batches.batches(first, first + count))


_opened: dict[str, pipeline.TrainPipeline] = {}


def made_in_process(directory: str, first: int, count: int) -> int:
    """The same in a process of its own, which opens the dataset once."""
    if directory not in _opened:
        _opened[directory] = stream(directory)
    return made(_opened[directory], first, count)


def in_processes(directory: str, count: int) -> float:
    """Images a second of one process for each core, their start left out."""
    with multiprocessing.get_context('spawn').Pool(CORES) as pool:
        pool.starmap(made_in_process, [(directory, 0, 4)] * 4 * CORES, chunksize=1)  # imports, opens, warms
        share = count // CORES
        shares = [(directory, worker * share, share) for worker in range(CORES)]
        return rate(lambda: sum(pool.starmap(made_in_process, shares, chunksize=1)))


def bare(directory: str, images: int) -> tuple[float, float]:
    """Images a second of one thread, and of one for each core, that decodes (or, where raw, reads) and does no more."""
    data = dataset.open_dataset(directory)
    records = data.split('train')
    numbers = [number % len(records) for number in range(images)]
    if data.encoding == 'jpeg':
        held = [records.raw(number) for number in range(min(images, len(records)))]

        def each(number: int) -> None:
            simplejpeg.decode_jpeg(held[number])
    else:

        def each(number: int) -> None:
            records[number]

    def alone(share: list[int]) -> int:
        for number in share:
            each(number)
        return len(share)

    with ThreadPoolExecutor(CORES) as pool:
        together = rate(lambda: sum(pool.map(alone, [numbers[core::CORES] for core in range(CORES)])))
    return rate(lambda: alone(numbers)), together


def from_disc(directory: str, images: int) -> float:
    """Records a second, undecoded, in the order of training, from shards that the page cache holds nothing of."""
    for shard in Path(directory).glob('*.array_record-*'):
        with open(shard, 'rb') as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    records = dataset.open_dataset(directory).split('train')
    order = [
        int(number)
        for step in range(images // BATCH)
        for number in stream(directory)._draws(range(step * BATCH, (step + 1) * BATCH))[0]
    ]

    def read() -> int:
        for number in order:
            records.raw(number)
        return len(order)

    return rate(read)


def measured(directory: str, rounds: int, count: int) -> dict[str, float]:
    """Medians over rounds, images a second."""
    one, each_core = stream(directory), stream(directory, CORES)
    made(each_core, 0, count)  # the page cache, and the first imports
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        alone, together = bare(directory, count * BATCH)
        row = {
            'bare, one thread': alone,
            'batches, one thread': rate(lambda: made(one, 0, count)),
            f'bare, {CORES} threads': together,
            f'batches, {CORES} threads': rate(lambda: made(each_core, 0, count)),
            f'batches, {CORES} processes': in_processes(directory, count),
        }
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--workdir', type=Path, required=True)
    parser.add_argument('--path', default='', help='an archive of images; empty: cut-outs')
    parser.add_argument('--images', type=int, default=2000, help='cut-outs to make')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--batches', type=int, default=24, help='in each turn')
    given = parser.parse_args()
    figures = []
    for encoding in ('jpeg', 'raw'):
        directory = prepared(given.workdir, encoding, given.path, given.images)
        found = measured(directory, given.rounds, given.batches)
        found['undecoded from the disc, one thread'] = from_disc(directory, given.batches * BATCH)
        for name, value in found.items():
            print(f'{encoding}: {name}: {value:,.0f} images/s')
        share = found[f'batches, {CORES} threads'] / found[f'bare, {CORES} threads']
        figures.append(
            f'{encoding}: {found["batches, one thread"]:,.0f} images/s a core, {share:.0%} of bare'
        )
    print('; '.join(figures))


if __name__ == '__main__':
    main()
