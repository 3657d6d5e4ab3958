"""Measure the input pipeline alone: images per second from records to batches, beside bare decoding and reading.

    python benchmarks/input_rates.py --workdir=/tmp/input_rates [--path=imagenette-part.tar]

Prepares 256-pixel records as JPEG and as raw pixels, of cut-outs or of the archive at --path, once; then, in turn and
over several rounds, decodes or reads them bare, and makes training batches of them (crop, flip, lighting drawn), with
one thread, one per core, and one process per core. Reading from the disk is measured apart: the shards are dropped from
the page cache before. The last line is the figure.
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

from alexnet_jax.runtime import environment
from configs import default

# The allocator, as main.py sets it.
machine = default.get_config().machine
environment.configure_environment(**{name: machine[name] for name in environment.SETTINGS})

import numpy as np
import simplejpeg

from alexnet_jax import commands
from alexnet_jax.data import dataset, pipeline
from alexnet_jax.data.augment import Augmentation

CROP_SIZE, BATCH_SIZE = 224, 128
CORES = os.cpu_count() or 1


def prepare_dataset(workdir: Path, encoding: str, path: str, images: int) -> str:
    """Return the folder of the dataset, which is prepared if it is not there yet."""
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


def open_train_data(directory: str, threads: int = 1) -> pipeline.TrainPipeline:
    """Return the training batches of that dataset, as a run makes them."""
    data = dataset.open_dataset(directory)
    augmentation = Augmentation(CROP_SIZE, True, 'eigenvalues', 0.1, data.pca_basis)
    return pipeline.TrainPipeline(data.split('train'), augmentation, seed=0, batch_size=BATCH_SIZE, threads=threads)


def measure_rate(work: Callable[[], int]) -> float:
    """Return images per second of work that returns how many it did."""
    began = time.perf_counter()
    images = work()
    return images / (time.perf_counter() - began)


def make_batches(train_data: pipeline.TrainPipeline, first: int, count: int) -> int:
    """Make `count` batches from number `first` on and return the number of their images."""
    return sum(len(batch['label']) for batch in train_data.batches(first, first + count))


_opened: dict[str, pipeline.TrainPipeline] = {}


def make_batches_in_process(directory: str, first: int, count: int) -> int:
    """Do the same in a process of its own, which opens the dataset once."""
    if directory not in _opened:
        _opened[directory] = open_train_data(directory)
    return make_batches(_opened[directory], first, count)


def measure_processes(directory: str, count: int) -> float:
    """Return images per second of one process per core, without their start."""
    with multiprocessing.get_context('spawn').Pool(CORES) as pool:
        # Imports, opens, warms up.
        pool.starmap(make_batches_in_process, [(directory, 0, 4)] * 4 * CORES, chunksize=1)
        share = count // CORES
        shares = [(directory, worker * share, share) for worker in range(CORES)]
        return measure_rate(lambda: sum(pool.starmap(make_batches_in_process, shares, chunksize=1)))


def measure_bare(directory: str, images: int) -> tuple[float, float]:
    """Return images per second of one thread, and of one per core, that only decodes (or, of raw pixels, reads)."""
    data = dataset.open_dataset(directory)
    records = data.split('train')
    numbers = [number % len(records) for number in range(images)]
    if data.encoding == 'jpeg':
        encoded = [records.encoded(number)[0] for number in range(min(images, len(records)))]

        def read(number: int) -> None:
            simplejpeg.decode_jpeg(encoded[number])
    else:

        def read(number: int) -> None:
            records[number]

    def read_all(share: list[int]) -> int:
        for number in share:
            read(number)
        return len(share)

    with ThreadPoolExecutor(CORES) as pool:
        shares = [numbers[core::CORES] for core in range(CORES)]
        all_cores = measure_rate(lambda: sum(pool.map(read_all, shares)))
    return measure_rate(lambda: read_all(numbers)), all_cores


def measure_disk(directory: str, images: int) -> float:
    """Return undecoded records per second, in training order, from shards of which the page cache holds nothing."""
    for shard in Path(directory).glob('*.array_record-*'):
        with open(shard, 'rb') as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    records = dataset.open_dataset(directory).split('train')
    epochs, places = np.divmod(np.arange(images // BATCH_SIZE * BATCH_SIZE), len(records))
    order = pipeline.epoch_order(0, epochs, places, len(records)).tolist()

    def read_in_order() -> int:
        for number in order:
            records.encoded(number)
        return len(order)

    return measure_rate(read_in_order)


def measure_medians(directory: str, rounds: int, count: int) -> dict[str, float]:
    """Return images per second of each way, the medians over rounds."""
    one_thread, all_threads = open_train_data(directory), open_train_data(directory, CORES)
    make_batches(all_threads, 0, count)  # the page cache, and the first imports
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        bare, bare_threads = measure_bare(directory, count * BATCH_SIZE)
        row = {
            'bare, one thread': bare,
            'batches, one thread': measure_rate(lambda: make_batches(one_thread, 0, count)),
            f'bare, {CORES} threads': bare_threads,
            f'batches, {CORES} threads': measure_rate(lambda: make_batches(all_threads, 0, count)),
            f'batches, {CORES} processes': measure_processes(directory, count),
        }
        for name, value in row.items():
            rates.setdefault(name, []).append(value)
    return {name: statistics.median(values) for name, values in rates.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--workdir', type=Path, required=True)
    parser.add_argument('--path', default='', help='an archive of images; empty: cut-outs')
    parser.add_argument('--images', type=int, default=2000, help='cut-outs to make')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--batches', type=int, default=24, help='in each turn')
    args = parser.parse_args()
    figures = []
    for encoding in ('jpeg', 'raw'):
        directory = prepare_dataset(args.workdir, encoding, args.path, args.images)
        rates = measure_medians(directory, args.rounds, args.batches)
        rates['undecoded from the disk, one thread'] = measure_disk(directory, args.batches * BATCH_SIZE)
        for name, value in rates.items():
            print(f'{encoding}: {name}: {value:,.0f} images/s')
        share = rates[f'batches, {CORES} threads'] / rates[f'bare, {CORES} threads']
        figures.append(f'{encoding}: {rates["batches, one thread"]:,.0f} images/s a core, {share:.0%} of bare')
    print('; '.join(figures))


if __name__ == '__main__':
    main()
