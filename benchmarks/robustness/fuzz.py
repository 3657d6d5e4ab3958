"""Gives mutated inputs to every reader of what people hand us: each must be read, or refused by a named error.

    python benchmarks/robustness/fuzz.py --inputs=100000 --seed=0 --results=benchmarks/results/fuzz.jsonl

Images, records, shard metadata, manifests, inventories, journals and config words. The corpus is made here, small
and the same on every machine; an input is one of it with some bytes flipped, cut, doubled, inserted, or spliced with
another. No other exception, no crash, no input that takes longer than SECONDS, no process that grows beyond MEMORY:
inputs go through in chunks, each in a process of its own. Damaged checkpoints are damage.py's.

Every chunk is a line of the results file; the same command goes on with those that are missing. The exit status is 0
only where nothing went wrong; an input that did is in its line, in base64. The last line is the figure.
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
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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

CHUNK = 1000
FIELDS = (
    'train.milestones',
    'train.layer_lr_multipliers',
    'prepare.num_cutouts',
    'mesh',
    'train.profile_steps',
    'model.exchange_layers',
)
SECONDS = 10  # of processor time for an input
ASLEEP = 600  # seconds for one that waits for something
MEMORY = 3 * 2**30  # bytes of address space of a process beyond what it has at first
Reader = Callable[[bytes], Any]


def picture(form: str, mode: str = 'RGB', size: tuple[int, int] = (21, 17), **options: Any) -> bytes:
    """A small picture of noise as a file of that form."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), np.uint8)
    image = Image.fromarray(noise, 'RGBA').convert('RGB')
    image = image.convert(mode) if mode != 'I;16' else Image.fromarray(noise[:, :, 0].astype(np.uint16) * 257)
    if options.pop('animated', False):
        options |= {'save_all': True, 'append_images': [image.rotate(90)]}
    image.save(file := io.BytesIO(), form, **options)
    return file.getvalue()


def corpus(folder: Path) -> dict[str, list[bytes]]:
    """Sound inputs by reader."""
    turned = Image.Exif()
    turned[274] = 6
    pictures = [
        picture('JPEG'),
        picture('JPEG', 'L'),
        picture('JPEG', 'CMYK'),
        picture('JPEG', progressive=True, quality=30),
        picture('JPEG', exif=turned.tobytes()),
        picture('JPEG', subsampling=0, restart_marker_blocks=1),
        picture('PNG'),
        picture('PNG', 'P'),
        picture('PNG', 'LA'),
        picture('PNG', '1'),
        picture('PNG', 'I;16'),
        picture('PNG', 'RGBA', exif=turned.tobytes()),
        picture('WEBP'),
        picture('WEBP', lossless=True),
        picture('WEBP', 'RGBA', animated=True),
        gzip.compress(picture('JPEG'), mtime=0),
    ]
    record = [
        example_proto.encode_example(each, label, f'n{label:08d}_{label}.JPEG')
        for label, each in enumerate(pictures[:3])
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
    words = b'30,60,80 conv1=0.1,fc8=2 8000,1000,1000 4,2 10:15 conv3,fc6 auto paper -1e9'.split()
    return {
        'image': pictures,
        'record': record,
        'exif': [turned.tobytes(), turned.tobytes()[6:], pictures[4]],
        'shard metadata': [(folder / 'shard metadata').read_bytes()],
        'manifest': [json.dumps(listing).encode()],
        'inventory': [(folder / 'listed' / manifest.MANIFEST_FILE).read_bytes()],
        'journal': [rows],
        'config': words,
    }


def shard_job(folder: Path) -> SimpleNamespace:
    """Return what the shard writer needs of a job."""
    files = {'path': str(folder / 'shard'), 'metadata_path': str(folder / 'shard metadata')}
    return SimpleNamespace(**files, fingerprint=lambda: 'f')


def readers(folder: Path) -> dict[str, Reader]:
    """What reads each, and raises nothing but what `NAMED` says."""

    def of_file(name: str, read: Callable[[], Any]) -> Reader:
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
        'shard metadata': of_file('shard metadata', lambda: shard_writer.is_shard_complete(shard_job(folder))),
        'manifest': of_file(f'made/{dataset.MANIFEST_FILE}', lambda: dataset.find_problems(folder / 'made')),
        'inventory': of_file(f'again/{manifest.MANIFEST_FILE}', lambda: manifest.find_problems(folder / 'again')),
        'journal': of_file(
            f'run/{metrics_writer.METRICS_FILE}', lambda: metrics_writer.read_metrics(folder / 'run')
        ),
        'config': config_reader,
    }


def config_reader(data: bytes) -> None:
    """The words as the value of each field that is read as a list, and of some that are not."""
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


NAMED: dict[str, tuple[type[Exception], ...]] = collections.defaultdict(lambda: (UserError,))
NAMED |= {'record': (ValueError,), 'image': (image_io.UnreadableImage,), 'exif': ()}
WEIGHTS = {
    'image': 45,
    'record': 20,
    'exif': 5,
    'shard metadata': 8,
    'manifest': 6,
    'inventory': 4,
    'journal': 4,
    'config': 8,
}


def mutated(seeds: list[bytes], chance: random.Random) -> bytes:
    """One of the seeds, changed in one to four ways."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 2, 4))):
        at, size = chance.randrange(len(data) + 1), 1 + int(chance.random() ** 3 * 40)
        way = chance.randrange(8)
        if way == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif way == 1:
            data[at : at + size] = chance.randbytes(size)
        elif way == 2:
            del data[at : at + size]
        elif way == 3:
            data[at:at] = data[at : at + size]
        elif way == 4:
            data[at:at] = chance.randbytes(size)
        elif way == 5:
            data[at : at + 4] = chance.choice(
                (b'\0\0\0\0', b'\xff\xff\xff\xff', b'\x7f\xff\xff\xff', b'\x80\0\0\0')
            )
        elif way == 6:
            del data[at:]
        else:
            other = chance.choice(seeds)
            data[at:] = other[chance.randrange(len(other) + 1) :]
    return bytes(data)


class TooLong(BaseException):
    """An input that keeps its reader busy."""


def outcome(reader: Reader, named: tuple[type[Exception], ...], data: bytes) -> str:
    """'read' or 'refused', else what went wrong."""

    def late(*_: Any) -> None:
        raise TooLong

    timers = {signal.SIGPROF: (signal.ITIMER_PROF, SECONDS), signal.SIGALRM: (signal.ITIMER_REAL, ASLEEP)}
    before = {number: signal.signal(number, late) for number in timers}
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    try:
        reader(data)
        return 'read'
    except named:
        return 'refused'
    except TooLong:
        return f'longer than {SECONDS} s'
    except Exception as error:
        return f'{type(error).__name__}: {error}'[:300]
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


def chunk(name: str, number: int, seed: int, size: int, folder: Path) -> dict[str, Any]:
    """So many inputs, in this process; the row about them."""
    seeds, reader = corpus(folder / 'corpus')[name], readers(folder)[name]
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    chance, counts, wrong = random.Random(f'{seed} {name} {number}'), collections.Counter(), []
    for _ in range(size):
        data = mutated(seeds, chance)
        (folder / 'last').write_bytes(data)  # for who finds this process dead
        found = outcome(reader, NAMED[name], data)
        counts[found if found in ('read', 'refused') else 'wrong'] += 1
        if found not in ('read', 'refused'):
            wrong.append({'what': found, 'input': base64.b64encode(data).decode()})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {'reader': name, 'chunk': number, 'seed': seed, **counts, 'peak_mib': peak, 'failures': wrong[:5]}


def in_its_own(name: str, number: int, seed: int, size: int, folder: Path) -> dict[str, Any]:
    """A chunk in a process of its own; where that dies, the input at which it did."""
    answer = folder / 'answer'
    answer.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        try:
            answer.write_text(json.dumps(chunk(name, number, seed, size, folder)))
        finally:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if answer.exists():
        return json.loads(answer.read_text())
    last = base64.b64encode((folder / 'last').read_bytes()).decode()
    failure = {'what': f'the process ended with {status}', 'input': last}
    return {'reader': name, 'chunk': number, 'seed': seed, 'wrong': 1, 'failures': [failure]}


def main() -> int:
    """All chunks that are missing; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--inputs', type=int, default=10_000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--results', type=Path, default=Path('fuzz.jsonl'))
    given = parser.parse_args()
    rows = [row for row in read_rows(given.results) if row.get('seed') == given.seed]
    done = {(row['reader'], row['chunk']) for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        for name, weight in WEIGHTS.items():
            for number in range(-(-given.inputs * weight // 100 // CHUNK)):
                if (name, number) not in done:
                    rows.append(in_its_own(name, number, given.seed, CHUNK, Path(folder)))
                    append_row(given.results, rows[-1])
                    for failure in rows[-1]['failures']:
                        print(f'{name}: {failure["what"]}', flush=True)
    counts = {word: sum(row.get(word, 0) for row in rows) for word in ('read', 'refused', 'wrong')}
    peak = max(row.get('peak_mib', 0) for row in rows)
    print(
        f'{sum(counts.values()):,} inputs to {len(WEIGHTS)} readers: {counts["read"]:,} read, {counts["refused"]:,} '
        f'refused by name, {counts["wrong"]} otherwise; at most {peak} MiB'
    )
    return int(counts['wrong'] > 0)


if __name__ == '__main__':
    sys.exit(main())
