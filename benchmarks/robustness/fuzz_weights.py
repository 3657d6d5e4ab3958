"""Feeds mutated files of weights to the readers of every format: each must be read, or refused by a UserError.

    python benchmarks/robustness/fuzz_weights.py --inputs=10000 --seed=0 --results=benchmarks/results/fuzz_weights.jsonl

The corpus holds small networks in each format, of this package and of other programs, a few kilobytes each, so that
most bytes say something. `metadata` is what a file of this package says of itself, mutated under sums that fit it. How
inputs are made, and what fails, is in fuzz.py. Needs requirements-onnx.txt; .pth is left out without PyTorch.
"""

from __future__ import annotations

import collections
import dataclasses
import importlib.util
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests'), str(ROOT / 'benchmarks'), str(Path(__file__).parent)]

import foreign_files  # noqa: E402
import fuzz  # noqa: E402
import numpy as np  # noqa: E402
import safetensors.numpy  # noqa: E402
from slim_networks import random_weights  # noqa: E402

from alexnet_jax.errors import UserError
from alexnet_jax.models import presets
from alexnet_jax.models.architecture import Convolution, Dense
from alexnet_jax.weights import own_metadata, read_weights, write_weights
from alexnet_jax.weights.layout import to_torch_layout
from alexnet_jax.weights.names import rename_tensor, torchvision_layers

FEATURES = {
    'conv1': 2,
    'conv2': 4,
    'conv3': 4,
    'conv4': 4,
    'conv5': 4,
    'conv6': 4,
    'fc5': 3,
    'fc6': 4,
    'fc7': 4,
    'fc8': 3,
}
PERCENTAGES = {'.safetensors': 18, '.npz': 14, '.onnx': 22, '.caffemodel': 18, '.mat': 18, '.pth': 4, 'metadata': 6}
if importlib.util.find_spec('torch') is None:
    del PERCENTAGES['.pth']


def use_small_presets() -> None:
    """Put networks of a few maps in the place of the presets, for files to be matched with."""
    for name, arch in list(presets.PRESETS.items()):
        layers = tuple(
            dataclasses.replace(layer, features=FEATURES[layer.name])
            if isinstance(layer, Convolution | Dense)
            else layer
            for layer in arch.layers
        )
        presets.PRESETS[name] = dataclasses.replace(arch, layers=layers)


def make_corpus(folder: Path) -> dict[str, list[bytes]]:
    """Return valid files by format, of the presets as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    networks = {
        name: random_weights(presets.PRESETS[name], 'channel') for name in ('miniature', 'caffe', 'torchvision')
    }
    tensors = {name: to_torch_layout(each.arch, each.parameters) for name, each in networks.items()}
    table = torchvision_layers(networks['torchvision'].arch)
    tensors['torchvision'] = {rename_tensor(name, table): array for name, array in tensors['torchvision'].items()}

    def written(ending: str, write: Callable[[Path], Any]) -> bytes:
        write(folder / f'file{ending}')
        return (folder / f'file{ending}').read_bytes()

    corpus = {
        ending: [written(ending, lambda path, each=each: write_weights(path, each)) for each in networks.values()]
        for ending in ('.safetensors', '.npz', '.onnx')
    }
    corpus['.onnx'] += [strip_notes(data) for data in corpus['.onnx'][1:]]
    corpus['.safetensors'].append(safetensors.numpy.save(tensors['torchvision']))
    for save in (np.savez, np.savez_compressed):
        save(buffer := io.BytesIO(), **tensors['torchvision'])
        corpus['.npz'].append(buffer.getvalue())
    corpus['.caffemodel'] = [
        foreign_files.make_caffe_net('caffe', tensors['caffe'], old=old).SerializeToString() for old in (False, True)
    ]
    average = np.full((1, 1, 3), 120, np.float32)
    corpus['.mat'] = [
        written(
            '.mat',
            lambda path, compress=compress: foreign_files.write_matconvnet(
                path, 'caffe', tensors['caffe'], average_image=average, classes=('a', 'b', 'c'), compress=compress
            ),
        )
        for compress in (False, True)
    ]
    corpus['metadata'] = [json.dumps(own_metadata.pack_weights(networks['miniature'])[0]).encode()]
    if '.pth' in PERCENTAGES:
        corpus['.pth'] = [
            written('.pth', lambda path, old=old: save_by_torch(path, tensors, old)) for old in (False, True)
        ]
    return corpus


def strip_notes(data: bytes) -> bytes:
    """Return an ONNX network of this package as of another program: no metadata, no preprocessing, no sums."""
    onnx = importlib.import_module('onnx')
    model = onnx.load_from_string(data)
    del model.metadata_props[:]
    nodes = [node for node in model.graph.node if not node.name.startswith('input.')]
    nodes[0].input[0] = 'pixels'
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()


def save_by_torch(path: Path, tensors: dict[str, dict[str, np.ndarray]], old: bool) -> None:
    """Write torchvision's network as torch does, by its zip format or the one before."""
    torch = importlib.import_module('torch')
    state = {name: torch.from_numpy(array.copy()) for name, array in tensors['torchvision'].items()}
    torch.save(state, path, _use_new_zipfile_serialization=not old)


def make_readers(folder: Path) -> dict[str, fuzz.Reader]:
    """Return functions of bytes that may raise UserError alone."""

    def file_reader(ending: str) -> fuzz.Reader:
        def reader(data: bytes) -> Any:
            path = folder / f'mutated{ending}'
            path.write_bytes(data)
            return read_weights(path)

        return reader

    tensors = to_torch_layout(*_network('miniature'))
    folder.mkdir(parents=True, exist_ok=True)
    return {ending: file_reader(ending) for ending in PERCENTAGES if ending != 'metadata'} | {
        'metadata': lambda data: read_metadata(data, tensors, folder)
    }


def _network(name: str) -> tuple[Any, Any]:
    weights = random_weights(presets.PRESETS[name], 'channel')
    return weights.arch, weights.parameters


def read_metadata(data: bytes, tensors: dict[str, np.ndarray], folder: Path) -> Any:
    """Read a file's own words about itself; those that are no JSON of texts are none, and none are refused."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise UserError('It is no JSON.') from None
    if not isinstance(content, dict):
        raise UserError('It has no names.')
    (path := folder / 'metadata').write_bytes(data)
    metadata = {name: text for name, text in content.items() if isinstance(text, str)}
    metadata['sha256'] = own_metadata.tensor_checksum(tensors)
    metadata['metadata_sha256'] = own_metadata.metadata_checksum(metadata, tensors)
    return own_metadata.weights_from_content(path, metadata, dict(tensors), preset='miniature')


EXPECTED_ERRORS: dict[str, tuple[type[Exception], ...]] = collections.defaultdict(lambda: (UserError,))
SUITE = fuzz.Suite(make_corpus, make_readers, EXPECTED_ERRORS, PERCENTAGES)

if __name__ == '__main__':
    use_small_presets()
    sys.exit(fuzz.main(SUITE))
