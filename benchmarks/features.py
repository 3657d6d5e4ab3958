"""Extraction of features: memory by the number of images, a kill and its resumption, and images/s beside PyTorch's.

    python benchmarks/features.py --workdir=/tmp/features --results=features.jsonl

A fresh `paper` network takes conv1, pool5 and fc7 of cut-outs of photographs (scikit-image's; 256 pixels, JPEG), 32
at a time: of 500 and of 1,000 in a process whose peak memory is read; of 1,000 again in one that SIGKILL ends twice.
The rates are those of the forward pass to fc7 in one process, rounds of A B A B, on the same prepared images: PyTorch
runs the module that `--mode=export` writes, in its two memory layouts. Needs torch and safetensors. The last line
printed is the figure.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import results_file

ROOT = Path(__file__).resolve().parent.parent
LAYERS = 'conv1,pool5,fc7'
COUNTS = (500, 1000)
KILLS = 2


def parse_args() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--results', type=Path, default=Path('features.jsonl'))
    parser.add_argument('--workdir', type=Path, required=True)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--batch', type=int, default=64)
    return parser.parse_args()


def run_main(*flags: str) -> None:
    """Run main.py to its end. Raises CalledProcessError with its output on stderr."""
    subprocess.run([sys.executable, 'main.py', *flags], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def prepare_run(workdir: Path) -> tuple[Path, Path]:
    """Return the run directory of a fresh network and the folder that holds its datasets, made once."""
    import alexnet_jax

    run, weights = workdir / 'run', workdir / 'paper.safetensors'
    if not weights.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        alexnet_jax.load('paper', seed=0).save(weights)
    if not run.exists():
        run_main('--mode=import', f'--workdir={run}', f'--config.weights.path={weights}')
    for count in COUNTS:
        if not (workdir / f'images-{count}' / 'manifest.json').exists():
            run_main(
                '--mode=prepare',
                '--config=configs/default.py',
                f'--config.data.directory={workdir / f"images-{count}"}',
                '--config.prepare.source=cutouts',
                f'--config.prepare.num_cutouts=16,16,{count}',
            )
    return run, workdir


def start_extraction(run: Path, images: Path, out: Path) -> subprocess.Popen:
    """Return the process of --mode=features."""
    flags = (f'--workdir={run}', f'--images={images}', f'--layers={LAYERS}', f'--config.features.directory={out}')
    command = [sys.executable, 'main.py', '--mode=features', *flags, '--config.evaluate.batch_size=32']
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


def measure_extraction(run: Path, images: Path, out: Path) -> dict[str, float]:
    """Return seconds and peak memory in MiB of an extraction that nobody stops."""
    began, process = time.perf_counter(), start_extraction(run, images, out)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f'the extraction ended with status {status}')
    return {'seconds': time.perf_counter() - began, 'peak_mib': usage.ru_maxrss / 1024}


def kill_and_resume(run: Path, images: Path, out: Path) -> list[int]:
    """Kill an extraction as often as KILLS says, each time when it has recorded more, and let it end.

    Return how many images it had recorded at each kill.
    """
    recorded = [0]
    for _ in range(KILLS):
        process = start_extraction(run, images, out)
        while process.poll() is None:
            done = read_progress(out)
            if done > recorded[-1]:
                # Some time on, so that rows are lost that no record counts.
                time.sleep(2)
                process.send_signal(signal.SIGKILL)
                process.wait()
                recorded.append(done)
                break
            time.sleep(0.05)
    if start_extraction(run, images, out).wait():
        raise RuntimeError('the resumed extraction failed')
    return recorded[1:]


def read_progress(out: Path) -> int:
    """Return the number of images that progress.json counts."""
    try:
        return json.loads((out / 'progress.json').read_text())['images_done']
    except (OSError, ValueError):
        return 0


def same_files(first: Path, second: Path) -> bool:
    """Return whether two folders have the same files, byte by byte."""
    names = sorted(path.name for path in first.iterdir())
    if names != sorted(path.name for path in second.iterdir()):
        return False
    return all(subprocess.run(['cmp', '-s', first / name, second / name]).returncode == 0 for name in names)


def compare_rates(workdir: Path, *, batch: int, rounds: int) -> dict[str, list[float]]:
    """Return images/s of each implementation by round."""
    import jax
    import torch
    from flax import nnx

    import alexnet_jax
    from alexnet_jax.analysis.features import FeatureExtractor, FeatureOptions, iterate_features
    from alexnet_jax.models.alexnet import AlexNet
    from alexnet_jax.models.custom_vjp import onednn_conv
    from alexnet_jax.runtime.xla_options import compiler_options
    from alexnet_jax.weights.torch_module import write_torch_module

    torch.set_num_threads(os.cpu_count() or 1)
    network = alexnet_jax.load(workdir / 'paper.safetensors')
    write_torch_module(workdir / 'paper_torch.py', network.weights, 'paper.safetensors')
    twin = runpy.run_path(str(workdir / 'paper_torch.py'))['load_network']()
    parameters = jax.device_put(dict(network.weights.parameters))
    extractor = FeatureExtractor(
        nnx.eval_shape(lambda: AlexNet(network.architecture, key=jax.random.key(0))),
        network.preprocessing,
        ['fc7'],
        FeatureOptions(use_onednn=onednn_conv.is_supported()),
        batch_size=batch,
        compiler_options=compiler_options(True),
    )
    inputs = np.random.default_rng(0).normal(0, 60, (4 * batch, 224, 224, 3)).astype(np.float32)
    batches = [inputs[first : first + batch] for first in range(0, len(inputs), batch)]
    planes = [torch.from_numpy(each).permute(0, 3, 1, 2).contiguous() for each in batches]
    last = [each.contiguous(memory_format=torch.channels_last) for each in planes]

    def run_torch(tensors: list) -> list[np.ndarray]:
        with torch.inference_mode():
            return [forward_to(twin, each, 'fc7').numpy() for each in tensors]

    candidates: dict[str, Callable[[], list[np.ndarray]]] = {
        'ours': lambda: [part['fc7'] for part in iterate_features(extractor, parameters, batches)],
        'torch': lambda: run_torch(planes),
        'torch channels_last': lambda: run_torch(last),
    }
    answers = {name: np.concatenate(run()) for name, run in candidates.items()}
    for name, answer in answers.items():
        error = np.max(np.abs(answer - answers['torch'])) / np.max(np.abs(answers['torch']))
        if error > 1e-5:
            raise RuntimeError(f'{name} differs from torch by {error:.1e}')
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            began = time.perf_counter()
            run()
            rates[name].append(len(inputs) / (time.perf_counter() - began))
    return rates


def forward_to(network, inputs, layer: str):
    """Return the activation of a layer; later ones are not computed."""
    x = inputs
    for name, module in network.named_children():
        if name != 'preprocessing':
            x = module(x)
        if name == layer:
            return x
    raise KeyError(layer)


def format_figure(extractions: dict[str, dict[str, float]], equal: bool, rates: dict[str, list[float]]) -> str:
    """Return the last line: memory, equality after the kills, and the rates."""
    memory = ', '.join(f'{row["peak_mib"]:,.0f} MiB for {count} images' for count, row in extractions.items())
    medians = {name: statistics.median(values) for name, values in rates.items()}
    by_name = ', '.join(f'{name} {median:.1f}' for name, median in medians.items())
    return (
        f'peak memory {memory}; after {KILLS} kills {"equal" if equal else "NOT EQUAL"} to the bit; images/s: {by_name}'
    )


def main() -> None:
    """Measure and print."""
    args = parse_args()
    run, folder = prepare_run(args.workdir)
    results_file.append_row(args.results, results_file.describe_environment(('jax', 'jaxlib', 'numpy', 'torch')))
    extractions = {}
    for count in COUNTS:
        out = folder / f'features-{count}'
        subprocess.run(['rm', '-rf', str(out)], check=True)
        extractions[f'{count:,}'] = row = measure_extraction(run, folder / f'images-{count}', out)
        results_file.append_row(args.results, {'images': count, 'load': os.getloadavg()[0], **row})
        print({'images': count, **row}, flush=True)
    killed = folder / 'features-killed'
    subprocess.run(['rm', '-rf', str(killed)], check=True)
    recorded = kill_and_resume(run, folder / f'images-{COUNTS[-1]}', killed)
    equal = same_files(folder / f'features-{COUNTS[-1]}', killed)
    results_file.append_row(args.results, {'recorded_at_kills': recorded, 'equal': equal})
    print({'recorded_at_kills': recorded, 'equal': equal}, flush=True)
    rates = compare_rates(folder, batch=args.batch, rounds=args.rounds)
    results_file.append_row(args.results, {'batch': args.batch, 'load': os.getloadavg()[0], 'rates': rates})
    print(format_figure(extractions, equal, rates))


if __name__ == '__main__':
    main()
