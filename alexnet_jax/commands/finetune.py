"""Fine-tuning: what of a trained network a new run begins with, and what it draws by its seed.

The source is a run directory or one of its checkpoints, imported or trained here, or a file of weights.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax import weights as weight_files
from alexnet_jax.commands import evaluate, export, import_weights, run_dir
from alexnet_jax.commands.run_family import RunAddress, parse_address
from alexnet_jax.config import parse, schema, validate
from alexnet_jax.data import dataset, dataset_info
from alexnet_jax.errors import UserError
from alexnet_jax.models.architecture import Architecture, Convolution, Dense
from alexnet_jax.weights.model_weights import ModelWeights, NumpyParameters

# The value of config.finetune.layers that copies what fits and draws the rest.
FITTING = 'fitting'

log = logging.getLogger(__name__)


class CopiedLayers(NamedTuple):
    """Which layers come from the source, which are drawn, and which layers of the source nobody takes."""

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    left_over: tuple[str, ...]


def read_source(path: str, *, checkpoint: str = 'final', preset: str = '', partial: bool = False) -> ModelWeights:
    """Return the network in a run directory, at that checkpoint, in one of its checkpoints, or in a file of weights.

    `preset` and `partial` as weights.read_weights takes them. Raises UserError if there is no such network.
    """
    if Path(path).expanduser().is_dir():
        path = str(Path(path).expanduser())
        address = parse_address(path) or RunAddress(path)
        config = schema.default_config()
        config.evaluate.checkpoint = str(address.step or checkpoint)
        # Read by one device, whatever its mesh was.
        config.mesh = '1,1'
        run_config, info = evaluate.read_trained_run(config, address.run_dir)
        return export.run_weights(evaluate.load_run(run_config, info, address.run_dir), address.run_dir)
    return weight_files.read_weights(Path(path).expanduser(), preset=preset, partial=partial)


def adopt_network(config: ConfigDict, workdir: str) -> ConfigDict:
    """Return the config with the network, the mean and the image size of the weights, if config.finetune.adopt.

    They are read from the source when the run begins, and from the run's own folder later. Raises UserError, before
    anything is prepared, if a run is to begin with weights that cannot be read.
    """
    stored_run = run_dir.read_run(workdir)
    weights = _read(config) if config.finetune.path and stored_run is None else None
    if not (config.finetune.path and config.finetune.adopt):
        return config
    if stored_run:
        fields = {
            name: value
            for name, value in stored_run['deciding'].items()
            if name in schema.FIELDS and (name.startswith('model.') or name in ('augment.mean', 'prepare.image_size'))
        }
        adopted = ConfigDict(config.to_dict())
        adopted.update_from_flattened_dict(fields)
        return adopted
    assert weights is not None
    adopted = import_weights.imported_config(config, weights)
    validate.validate_config(adopted)
    return adopted


def adopt_preprocessing(config: ConfigDict, data: dataset.Dataset, workdir: str) -> dataset.Dataset:
    """Return the dataset with the mean and the deviation that a copied conv1 has seen its images with.

    Raises UserError if its images are of another size than those.
    """
    if not config.finetune.path:
        return data
    if run_dir.read_run(workdir) and (info := dataset_info.read_dataset_info(_info_file(workdir))):
        return dataclasses.replace(data, mean=info.mean, std=info.std)
    weights = _read(config)
    chosen = _chosen_layers(config.finetune.layers)
    if chosen is not None and next(iter(weights.parameters)) not in chosen:
        return data
    preprocessing = weights.preprocessing
    if preprocessing.image_size != data.image_size:
        raise UserError(
            f'The weights in {config.finetune.path} saw images of {preprocessing.image_size} pixels, but '
            f'{data.directory} has images of {data.image_size}. Prepare them again with '
            f'--config.prepare.image_size={preprocessing.image_size}.'
        )
    return dataclasses.replace(data, mean=preprocessing.mean_image(), std=preprocessing.std)


def load_start_weights(config: ConfigDict, arch: Architecture, drawn: NumpyParameters) -> dict[str, Any]:
    """Return the parameters with which a run begins: `drawn`, with the layers of config.finetune.layers copied.

    Logs which were loaded, drawn and left over. Raises UserError if a layer that should be copied does not fit.
    """
    weights = _read(config)
    copied = match_layers(arch, drawn, weights, _chosen_layers(config.finetune.layers), config.finetune.path)
    for verb, names in zip(('loaded', 'fresh', 'left over'), copied, strict=True):
        log.info('%s: %s: %s.', config.finetune.path, verb, ', '.join(names) or 'none')
    if other := differing_operations(arch, weights.arch):
        log.warning('The network does not do what that of the weights does in %s.', ', '.join(other))
    return {name: weights.parameters[name] if name in copied.loaded else drawn[name] for name in drawn}


def match_layers(
    arch: Architecture, drawn: NumpyParameters, weights: ModelWeights, chosen: Sequence[str] | None, source: str
) -> CopiedLayers:
    """Return which layers of `weights` go into a network of `arch` with the parameters `drawn`.

    `chosen` are the layers to copy, all of which must fit; () copies those that fit, and None all, of which none may be
    missing, left over or of another shape. Raises UserError, with every layer that does not fit, from `source`.
    """
    fits = {
        name: name in weights.parameters and _shapes(weights.parameters[name]) == _shapes(drawn[name]) for name in drawn
    }
    wanted = [name for name in drawn if fits[name]] if chosen == () else list(drawn if chosen is None else chosen)
    complaints = [_describe_misfit(name, drawn, weights) for name in wanted if not fits.get(name)]
    left_over = tuple(name for name in weights.parameters if name not in wanted)
    if chosen is None:
        complaints += [f'{name} is left over' for name in left_over]
    if complaints:
        able = ','.join(name for name in drawn if fits[name])
        raise UserError(
            f'The weights in {source} do not fit {arch.name}: {"; ".join(complaints)}. Name the layers to copy by '
            f'--config.finetune.layers={able or "..."}; the others are drawn by the seed.'
        )
    if not wanted:
        raise UserError(f'No layer of the weights in {source} fits {arch.name}. Choose the same --config.model.preset.')
    return CopiedLayers(
        tuple(name for name in drawn if name in wanted), tuple(name for name in drawn if name not in wanted), left_over
    )


def differing_operations(arch: Architecture, source: Architecture) -> list[str]:
    """Return the layers that both networks have and that do other things in them, whatever their number of features."""

    def operations(arch: Architecture) -> dict[str, object]:
        return {
            layer.name: dataclasses.replace(layer, features=0) if isinstance(layer, Convolution | Dense) else layer
            for layer in arch.layers
        }

    ours, theirs = operations(arch), operations(source)
    both = [name for name in ours if name in theirs]
    order = [name for name in theirs if name in ours]
    return [name for name in both if ours[name] != theirs[name]] + ['the order of its layers'] * (both != order)


def _read(config: ConfigDict) -> ModelWeights:
    return read_source(
        config.finetune.path, checkpoint=config.finetune.checkpoint, preset=config.weights.preset, partial=False
    )


def _info_file(workdir: str) -> Path:
    return Path(workdir) / run_dir.DATASET_INFO_FILE


def _chosen_layers(text: str) -> tuple[str, ...] | None:
    names = parse.layer_names(text)
    return () if names == (FITTING,) else names


def _shapes(parts: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
    return tuple(np.shape(parts[part]) for part in ('kernel', 'bias'))


def _describe_misfit(name: str, drawn: NumpyParameters, weights: ModelWeights) -> str:
    if name not in drawn:
        return f'the network has no layer {name}'
    if name not in weights.parameters:
        return f'{name} is missing'
    theirs, ours = (np.shape(parameters[name]['kernel']) for parameters in (weights.parameters, drawn))
    return f'{name} is {theirs} instead of {ours}'
