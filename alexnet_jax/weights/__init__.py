"""Files of trained weights: one module per format, known by the file's ending and imported when it is used."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from alexnet_jax.errors import UserError
from alexnet_jax.weights import published

if TYPE_CHECKING:
    from alexnet_jax.weights.model_weights import ModelWeights


class WeightFormat(NamedTuple):
    """A format: the module of this folder that knows it, and its functions.

    `read(path, *, preset, partial) -> ModelWeights` and `write(path, weights)`; an empty name where there is none.
    `takes_names`: `write` also takes `tensor_names`.
    """

    module: str
    read: str = ''
    write: str = ''
    takes_names: bool = False


# What tensors can be called instead of this package's names.
TENSOR_NAMES = ('torchvision',)

FORMATS: Mapping[str, WeightFormat] = {
    '.safetensors': WeightFormat('safetensors_file', 'read_safetensors', 'write_safetensors', takes_names=True),
    '.npz': WeightFormat('npz_file', 'read_npz', 'write_npz', takes_names=True),
    '.onnx': WeightFormat('onnx_file', 'read_onnx', 'write_onnx'),
    '.caffemodel': WeightFormat('caffe_file', 'read_caffemodel'),
    '.mat': WeightFormat('matconvnet_file', 'read_matconvnet'),
    '.pth': WeightFormat('torch_file', 'read_torch_file'),
    '.pt': WeightFormat('torch_file', 'read_torch_file'),
    '.stablehlo': WeightFormat('stablehlo_file', write='write_stablehlo'),
}


def read_weights(path: str | os.PathLike[str], *, preset: str = '', partial: bool = False) -> ModelWeights:
    """Return the network in a file of any of the FORMATS.

    `preset` names the network where the file does not say which it is. `partial` takes the tensors that fit and draws
    the others by the preset's initialization. Raises UserError if there is no such file, it is damaged, or it does not
    fit.
    """
    file_format = require_readable(path)
    read = getattr(importlib.import_module(f'{__name__}.{file_format.module}'), file_format.read)
    return read(path, preset=preset, partial=partial)


def write_weights(path: str | os.PathLike[str], weights: ModelWeights, *, tensor_names: str = '') -> None:
    """Write the network to a file of the format of its ending, atomically.

    `tensor_names` is one of TENSOR_NAMES; '' is this package's. Raises UserError for an unknown ending, and for names
    that the format or the network does not have.
    """
    file_format = require_writable(path, tensor_names=tensor_names)
    write = getattr(importlib.import_module(f'{__name__}.{file_format.module}'), file_format.write)
    write(path, weights, **({'tensor_names': tensor_names} if tensor_names else {}))


def readable_endings() -> list[str]:
    """Return the endings of the formats that can be read."""
    return [ending for ending, each in FORMATS.items() if each.read]


def has_known_ending(path: str | os.PathLike[str]) -> bool:
    """Return whether a file of this name is one of weights that can be read."""
    return os.fspath(path).lower().endswith(tuple(readable_endings()))


def require_readable(path: str | os.PathLike[str]) -> WeightFormat:
    """Return the format of a file to read. Raises UserError if its ending is unknown or there is no such file."""
    file_format = _format_of(path, 'read')
    published.require_weights_file(path)
    return file_format


def require_writable(path: str | os.PathLike[str], *, tensor_names: str = '') -> WeightFormat:
    """Return the format of a file to write. Raises UserError if its ending, its folder or the names do not do."""
    file_format = _format_of(path, 'write')
    if tensor_names and not file_format.takes_names:
        able = [ending for ending, each in FORMATS.items() if each.takes_names]
        raise UserError(f'{path}: tensors are named as those of {tensor_names} in {", ".join(able)} only.')
    if not os.path.isdir(folder := os.path.dirname(os.path.abspath(path))):
        raise UserError(f'{path} cannot be written: there is no folder {folder}. Make it, or choose another path.')
    return file_format


def _format_of(path: str | os.PathLike[str], direction: str) -> WeightFormat:
    """Return the format of a file's ending, the longest one that fits. Raises UserError if none does."""
    name = os.fspath(path).lower()
    able = [ending for ending, each in FORMATS.items() if getattr(each, direction)]
    if fitting := [ending for ending in able if name.endswith(ending)]:
        return FORMATS[max(fitting, key=len)]
    verb = 'read' if direction == 'read' else 'written'
    if not name or name == '.':
        raise UserError('No file of weights was named; set --config.weights.path=FILE.')
    raise UserError(f'{path} has no ending of a file of weights that can be {verb}: {", ".join(able)}.')
