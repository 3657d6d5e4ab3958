"""Rate of `--mode=predict` beside that of an evaluation of the same images, and its memory by the number of files.

    python benchmarks/predict.py --workdir=RUN --files=/tmp/files --results=predict.jsonl

RUN is a trained run with its dataset. The images of its test split are written as JPEG files once; predict reads and
decodes them, while the evaluation takes them from the dataset's records. Both use the same network, views and threads,
in one process, in rounds of A B A B, so that what others do on the machine meets both. Then main.py predicts a list of
files on standard input, 1,000 and 10,000 long, in processes whose peak memory is read. The last line printed is the
figure.
"""

from __future__ import annotations

import argparse
import collections
import os
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import quiet, results_file

ROOT = Path(__file__).resolve().parent.parent
COUNTS = (1000, 10_000)


def parse_args() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--results', type=Path, default=Path('predict.jsonl'))
    parser.add_argument('--workdir', type=Path, required=True)
    parser.add_argument('--files', type=Path, required=True, help='folder for the images')
    parser.add_argument('--rounds', type=int, default=5)
    return parser.parse_args()


def write_files(records, folder: Path) -> list[str]:
    """Return the paths of the images as JPEG files, written unless they are there."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f'{number:05d}.jpg' for number in range(len(records))]
    for number, file in enumerate(files):
        if not file.exists():
            Image.fromarray(records[number][0]).save(file, quality=95)
    return list(map(str, files))


def compare_rates(workdir: Path, folder: Path, *, rounds: int) -> tuple[list[str], dict[str, list[float]]]:
    """Return the files, and images/s of evaluation and prediction by number of views and round."""
    from alexnet_jax.commands import evaluate, factories
    from alexnet_jax.evaluate.image_files import ImageFiles
    from alexnet_jax.evaluate.predict import predict_files
    from configs import quickstart

    config, info = evaluate.read_trained_run(quickstart.get_config(), str(workdir))
    run = evaluate.load_run(config, info, str(workdir))
    data = factories.open_prepared_dataset(config, str(workdir))
    files = write_files(data.split('test'), folder)
    images = ImageFiles(files, '', info.image_size, info.class_names)
    rates: dict[str, list[float]] = {}
    for views in (1, 10):
        evaluator = factories.make_evaluator(
            config, info, run.model, run.mesh, views=views, num_images=data.counts['test']
        )

        def score(evaluator=evaluator):
            evaluator.evaluate(run.params, factories.make_eval_pipeline(config, data, 'test', run.mesh))

        def predict(evaluator=evaluator):
            threads = config.data.num_threads
            found = predict_files(evaluator, run.params, images, info.class_names, threads=threads)
            collections.deque(found, maxlen=0)

        runners = {f'evaluate, {views} views': score, f'predict, {views} views': predict}
        for runner in runners.values():
            # Compiles.
            runner()
        for _ in range(rounds):
            for name, runner in runners.items():
                seconds, others = quiet.time_call(runner)
                rates.setdefault(name, []).append(len(files) / seconds)
                print({'name': name, 'images_per_second': len(files) / seconds, 'cores_of_others': others}, flush=True)
    return files, rates


def measure_memory(workdir: Path, files: list[str], count: int) -> float:
    """Return the peak memory in MiB of main.py on a list of so many files."""
    listed = [files[number % len(files)] for number in range(count)]
    command = [sys.executable, 'main.py', '--mode=predict', f'--workdir={workdir}', '--images=-']
    command += ['--config.evaluate.views=1', '--config.predict.json=-']
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write('\n'.join(listed))
    process.stdin.close()
    lines = sum(1 for _ in process.stdout)
    _, status, usage = os.wait4(process.pid, 0)
    if status or lines != count:
        raise RuntimeError(f'predict ended with status {status} after {lines} of {count} lines')
    return usage.ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    args = parse_args()
    results_file.append_row(args.results, results_file.describe_environment(('jax', 'jaxlib', 'numpy')))
    files, rates = compare_rates(args.workdir, args.files, rounds=args.rounds)
    results_file.append_row(args.results, {'images': len(files), 'load': os.getloadavg()[0], 'rates': rates})
    peaks = {count: measure_memory(args.workdir, files, count) for count in COUNTS}
    results_file.append_row(args.results, {'peak_mib': {str(count): peak for count, peak in peaks.items()}})
    medians = {name: statistics.median(values) for name, values in rates.items()}
    by_name = ', '.join(f'{name} {median:,.0f}' for name, median in medians.items())
    memory = ', '.join(f'{peak:,.0f} MiB for {count:,} files' for count, peak in peaks.items())
    print(f'images/s: {by_name}; peak memory {memory}')


if __name__ == '__main__':
    main()
