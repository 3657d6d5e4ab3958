"""Read PyTorch's .pth and .pt by torch's weights-only loader, which builds tensors and containers and runs nothing.

Needs torch (requirements-torch.txt), imported here alone; nothing else in the package does.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from alexnet_jax.errors import UserError, first_line
from alexnet_jax.weights.model_weights import ModelWeights
from alexnet_jax.weights.own_metadata import weights_from_content

# Where training scripts put the tensors, and what DistributedDataParallel puts before names.
_CONTAINERS = ('state_dict', 'model', 'model_state_dict')
_PREFIX = 'module.'


def read_torch_file(path: str | os.PathLike[str], *, preset: str = '', partial: bool = False) -> ModelWeights:
    """Return the network in a state dict with torchvision's or this package's names.

    Raises UserError if torch is not installed, the file holds more than tensors, or they do not fit.
    """
    try:
        torch = importlib.import_module('torch')
    except ImportError:
        raise UserError(
            f'{path} is a file of PyTorch, which is not installed; run `pip install -r requirements-torch.txt`, or '
            'convert it to safetensors.'
        ) from None
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except (PermissionError, IsADirectoryError):
        raise
    except Exception as error:  # torch's many kinds, for damaged bytes and for objects that it does not build
        reason = first_line(error) or type(error).__name__
        raise UserError(
            f"{path} cannot be read by torch's weights-only loader ({reason}). It is damaged, or holds objects, which "
            'may run code; save the state dict alone, or fetch it again.'
        ) from error
    return weights_from_content(path, {}, _find_tensors(torch, content, path), preset=preset, partial=partial)


def _find_tensors(torch: Any, content: object, path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the tensors of a state dict, or of one inside a checkpoint, as arrays."""
    if isinstance(content, Mapping) and (inner := [each for each in _CONTAINERS if each in content]):
        content = content[inner[0]]
    if not isinstance(content, Mapping) or not content:
        raise UserError(f'{path} holds no state dict but {type(content).__name__}; save model.state_dict().')
    tensors = {}
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            raise UserError(
                f'{path}: {str(name)[:40]!r} is no tensor of floating-point numbers; save model.state_dict().'
            )
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != 'cpu':
            raise UserError(f'{path}: {name[:40]!r} is sparse, quantized or without numbers; save it as plain float32.')
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise UserError(f'{path}: {name[:40]!r} has more numbers than the file; save it by tensor.clone().')
        own_name = name.removeprefix(_PREFIX)
        if own_name in tensors:
            raise UserError(f'{path} has two tensors of the name {own_name[:40]!r}; save model.state_dict() again.')
        tensors[own_name] = tensor.detach().float().contiguous().numpy()
    return tensors
