"""Feeds mutated inputs to every reader of user-supplied files: each must be read, or refused by a named error.

    python benchmarks/robustness/fuzz.py --inputs=100000 --seed=0 --results=benchmarks/results/fuzz.jsonl

Images, records, shard metadata, manifests, metrics files and config values. The corpus is generated, small and the
same on every machine; an input is one of it with some bytes flipped, cut, repeated, inserted, or spliced with another.
It fails on any other exception, a crash, an input that takes longer than MAX_CPU_SECONDS, or a process that grows by
more than MAX_GROWTH_BYTES: inputs run in chunks, each in its own process. Damaged checkpoints are damage.py's, files of
weights fuzz_weights.py's.

Every chunk is a line of the results file; the same command continues with the missing ones. The exit status is 0 only
if nothing failed; a failing input is in its line, in base64. The last line is the figure.
"""

from __future__ import annotations

import argparse
import base64
import collections
import gzip
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'benchmarks')]

from results_file import append_row, read_rows  # noqa: E402

from alexnet_jax.checkpoint import manifest
from alexnet_jax.config import build, validate  # noqa: E402
from alexnet_jax.data import dataset, example_proto, exif, image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import shard_writer
from alexnet_jax.train import metrics_writer
from configs import default

CHUNK_SIZE = 1000
FIELDS = (
    'train.milestones',
    'train.layer_lr_multipliers',
    'prepare.num_cutouts',
    'mesh',
    'train.profile_steps',
    'model.exchange_layers',
    'model.preset',
)
MAX_CPU_SECONDS = 10  # for an input
MAX_WALL_SECONDS = 600  # for an input that waits for something
MAX_GROWTH_BYTES = 3 * 2**30  # of address space, from the start of a chunk
Reader = Callable[[bytes], Any]


def make_image(image_format: str, mode: str = 'RGB', size: tuple[int, int] = (21, 17), **options: Any) -> bytes:
    """Return a small image of noise as a file of a Pillow format."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), np.uint8)
    image = Image.fromarray(noise, 'RGBA').convert('RGB')
    image = image.convert(mode) if mode != 'I;16' else Image.fromarray(noise[:, :, 0].astype(np.uint16) * 257)
    if options.pop('animated', False):
        options |= {'save_all': True, 'append_images': [image.rotate(90)]}
    image.save(file := io.BytesIO(), image_format, **options)
    return file.getvalue()


def make_corpus(folder: Path) -> dict[str, list[bytes]]:
    """Return valid inputs by reader."""
    exif_tags = Image.Exif()
    exif_tags[274] = 6
    images = [
        make_image('JPEG'),
        make_image('JPEG', 'L'),
        make_image('JPEG', 'CMYK'),
        make_image('JPEG', progressive=True, quality=30),
        make_image('JPEG', exif=exif_tags.tobytes()),
        make_image('JPEG', subsampling=0, restart_marker_blocks=1),
        make_image('PNG'),
        make_image('PNG', 'P'),
        make_image('PNG', 'LA'),
        make_image('PNG', '1'),
        make_image('PNG', 'I;16'),
        make_image('PNG', 'RGBA', exif=exif_tags.tobytes()),
        make_image('WEBP'),
        make_image('WEBP', lossless=True),
        make_image('WEBP', 'RGBA', animated=True),
        gzip.compress(make_image('JPEG'), mtime=0),
    ]
    record = [
        example_proto.encode_example(each, label, f'n{label:08d}_{label}.JPEG') for label, each in enumerate(images[:3])
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'shard').write_bytes(b'1234')
    shard_writer.write_shard_metadata(
        shard_job(folder),
        records=1,
        payload=4,
        total=np.ones((2, 2, 3), np.int64),
        products=np.eye(3, dtype=np.int64),
        digests=np.ones(1, np.uint64),
    )
    (folder / 'listed').mkdir(exist_ok=True)
    (folder / 'listed' / 'file').write_bytes(b'1234')
    manifest.write_manifest(folder / 'listed')
    listing = {'format': dataset.FORMAT_VERSION, 'files': {'a': {'bytes': 1, 'sha256': 'b'}}, 'counts': {'train': 3}}
    listing['checksum'] = dataset.manifest_checksum(listing)
    rows = b'{"step": 2, "loss": 2.5}\n{"step": 4, "loss": "NaN"}\n{"step": 6, "loss": 1e-3, "rate": 0.01}\n'
    words = b'30,60,80 conv1=0.1,fc8=2 8000,1000,1000 4,2 10:15 conv3,fc6 auto paper'.split()
    return {
        'image': images,
        'record': record,
        'exif': [exif_tags.tobytes(), exif_tags.tobytes()[6:], images[4]],
        'shard metadata': [(folder / 'shard metadata').read_bytes()],
        'dataset manifest': [json.dumps(listing).encode()],
        'checkpoint manifest': [(folder / 'listed' / manifest.MANIFEST_FILE).read_bytes()],
        'metrics': [rows],
        'config': words,
    }


def shard_job(folder: Path) -> SimpleNamespace:
    """Return what the shard writer needs of a job."""
    files = {'path': str(folder / 'shard'), 'metadata_path': str(folder / 'shard metadata')}
    return SimpleNamespace(**files, fingerprint=lambda: 'f')


def make_readers(folder: Path) -> dict[str, Reader]:
    """Return functions of bytes that may raise only EXPECTED_ERRORS."""

    def file_reader(name: str, read: Callable[[], Any]) -> Reader:
        def reader(data: bytes) -> Any:
            (folder / name).write_bytes(data)
            return read()

        return reader

    (folder / 'made').mkdir(parents=True, exist_ok=True)
    (folder / 'run').mkdir(exist_ok=True)
    (folder / 'again').mkdir(exist_ok=True)
    return {
        'image': image_io.decode_image,
        'record': example_proto.decode_example,
        'exif': lambda data: (exif.parse_orientation(data), exif.find_exif(data)),
        'shard metadata': file_reader('shard metadata', lambda: shard_writer.is_shard_complete(shard_job(folder))),
        'dataset manifest': file_reader(
            f'made/{dataset.MANIFEST_FILE}', lambda: dataset.find_problems(folder / 'made')
        ),
        'checkpoint manifest': file_reader(
            f'again/{manifest.MANIFEST_FILE}', lambda: manifest.find_problems(folder / 'again')
        ),
        'metrics': file_reader(
            f'run/{metrics_writer.METRICS_FILE}', lambda: metrics_writer.read_metrics(folder / 'run')
        ),
        'config': read_config_value,
    }


def read_config_value(data: bytes) -> None:
    """Set the text as the value of each of FIELDS; raises UserError if all refuse it."""
    word = data.decode('utf-8', 'replace')
    refused = 0
    for field in FIELDS:
        config = default.get_config()
        config.update_from_flattened_dict({field: word})
        try:
            validate.validate_values(config)
            build.preset_architecture(config)
        except UserError:
            refused += 1
    if refused == len(FIELDS):
        raise UserError(f'{word!r} is the value of no field.')


EXPECTED_ERRORS: dict[str, tuple[type[Exception], ...]] = collections.defaultdict(lambda: (UserError,))
EXPECTED_ERRORS |= {'record': (ValueError,), 'image': (image_io.UnreadableImage,), 'exif': ()}
PERCENTAGES = {
    'image': 45,
    'record': 20,
    'exif': 5,
    'shard metadata': 8,
    'dataset manifest': 6,
    'checkpoint manifest': 4,
    'metrics': 4,
    'config': 8,
}


class Suite(NamedTuple):
    """What is fed to which readers, made in a folder; the errors that each may raise, and its share of the inputs."""

    make_corpus: Callable[[Path], dict[str, list[bytes]]]
    make_readers: Callable[[Path], dict[str, Reader]]
    expected_errors: Mapping[str, tuple[type[Exception], ...]]
    percentages: Mapping[str, int]


SUITE = Suite(make_corpus, make_readers, EXPECTED_ERRORS, PERCENTAGES)


def mutate(seeds: list[bytes], rng: random.Random) -> bytes:
    """Return one of the seeds, changed in one to four ways."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, size = rng.randrange(len(data) + 1), 1 + int(rng.random() ** 3 * 40)
        way = rng.randrange(8)
        if way == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif way == 1:
            data[at : at + size] = rng.randbytes(size)
        elif way == 2:
            del data[at : at + size]
        elif way == 3:
            data[at:at] = data[at : at + size]
        elif way == 4:
            data[at:at] = rng.randbytes(size)
        elif way == 5:
            data[at : at + 4] = rng.choice((b'\0\0\0\0', b'\xff\xff\xff\xff', b'\x7f\xff\xff\xff', b'\x80\0\0\0'))
        elif way == 6:
            del data[at:]
        else:
            other = rng.choice(seeds)
            data[at:] = other[rng.randrange(len(other) + 1) :]
    return bytes(data)


class TimedOut(BaseException):
    """A reader took too long."""


def run_reader(reader: Reader, expected_errors: tuple[type[Exception], ...], data: bytes) -> str:
    """Return 'read' or 'refused', or what went wrong."""

    def time_out(*_: Any) -> None:
        raise TimedOut

    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, MAX_CPU_SECONDS),
        signal.SIGALRM: (signal.ITIMER_REAL, MAX_WALL_SECONDS),
    }
    before = {number: signal.signal(number, time_out) for number in timers}
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    try:
        reader(data)
        return 'read'
    except expected_errors:
        return 'refused'
    except TimedOut:
        return f'longer than {MAX_CPU_SECONDS} s'
    except Exception as error:
        return f'{type(error).__name__}: {error}'[:300]
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


def run_chunk(suite: Suite, name: str, number: int, seed: int, size: int, folder: Path) -> dict[str, Any]:
    """Run `size` inputs in this process and return their row of the results."""
    seeds, reader = suite.make_corpus(folder / 'corpus')[name], suite.make_readers(folder)[name]
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MAX_GROWTH_BYTES, used + MAX_GROWTH_BYTES))
    rng, counts, wrong = random.Random(f'{seed} {name} {number}'), collections.Counter(), []
    for _ in range(size):
        data = mutate(seeds, rng)
        (folder / 'last').write_bytes(data)  # read if this process dies
        found = run_reader(reader, suite.expected_errors[name], data)
        counts[found if found in ('read', 'refused') else 'wrong'] += 1
        if found not in ('read', 'refused'):
            wrong.append({'what': found, 'input': base64.b64encode(data).decode()})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {'reader': name, 'chunk': number, 'seed': seed, **counts, 'peak_mib': peak, 'failures': wrong[:5]}


def run_chunk_in_process(suite: Suite, name: str, number: int, seed: int, size: int, folder: Path) -> dict[str, Any]:
    """Run a chunk in its own process; the row has the last input if the process dies."""
    answer = folder / 'answer'
    answer.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        try:
            answer.write_text(json.dumps(run_chunk(suite, name, number, seed, size, folder)))
        finally:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if answer.exists():
        return json.loads(answer.read_text())
    last = base64.b64encode((folder / 'last').read_bytes()).decode()
    failure = {'what': f'the process ended with {status}', 'input': last}
    return {'reader': name, 'chunk': number, 'seed': seed, 'wrong': 1, 'failures': [failure]}


def main(suite: Suite = SUITE) -> int:
    """Run the missing chunks and return the exit status."""
    parser = argparse.ArgumentParser(description='Feeds mutated inputs to readers.')
    parser.add_argument('--inputs', type=int, default=10_000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--results', type=Path, default=Path('fuzz.jsonl'))
    args = parser.parse_args()
    rows = [row for row in read_rows(args.results) if row.get('seed') == args.seed]
    done = {(row['reader'], row['chunk']) for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        for name, percentage in suite.percentages.items():
            for number in range(-(-args.inputs * percentage // 100 // CHUNK_SIZE)):
                if (name, number) not in done:
                    rows.append(run_chunk_in_process(suite, name, number, args.seed, CHUNK_SIZE, Path(folder)))
                    append_row(args.results, rows[-1])
                    for failure in rows[-1]['failures']:
                        print(f'{name}: {failure["what"]}', flush=True)
    counts = {word: sum(row.get(word, 0) for row in rows) for word in ('read', 'refused', 'wrong')}
    peak = max(row.get('peak_mib', 0) for row in rows)
    print(
        f'{sum(counts.values()):,} inputs to {len(suite.percentages)} readers: {counts["read"]:,} read, '
        f'{counts["refused"]:,} refused by name, {counts["wrong"]} otherwise; at most {peak} MiB'
    )
    return int(counts['wrong'] > 0)


if __name__ == '__main__':
    sys.exit(main())
