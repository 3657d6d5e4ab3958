"""--mode=import: begins a run with the weights in a file, as a checkpoint of step 0 on which every other mode works."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax import weights as weight_files
from alexnet_jax.checkpoint.manager import CheckpointManager
from alexnet_jax.commands import factories, run_dir
from alexnet_jax.config import build, validate
from alexnet_jax.data.dataset_info import DatasetInfo
from alexnet_jax.errors import UserError
from alexnet_jax.models.alexnet import with_parameters
from alexnet_jax.models.presets import find_preset
from alexnet_jax.runtime.atomic_io import file_checksum
from alexnet_jax.train.loop import MetricAccumulator
from alexnet_jax.weights.model_weights import ModelWeights

log = logging.getLogger(__name__)


def import_weights(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Read config.weights.path and leave a run at step 0 in `workdir`; return its preset and number of classes.

    The network, its mean and its image size come from the file; all else is as `config` has it. Raises UserError if the
    file does not fit or `workdir` has a run.
    """
    path = Path(config.weights.path).expanduser()
    weight_files.require_readable(path)
    if run_dir.read_run(workdir) is not None:
        raise UserError(f'{workdir} holds a run already; choose another --workdir for the weights in {path}.')
    weights = weight_files.read_weights(path, preset=config.weights.preset, partial=config.weights.partial)
    config = imported_config(config, weights)
    info = imported_dataset_info(path, weights)
    with run_dir.lock_run_dir(workdir):
        _save_checkpoint(config, weights, workdir)
        imported = {'file': str(path.absolute()), 'sha256': info.checksum, 'notes': dict(weights.notes)}
        fields = validate.result_fields(config) | {'dataset': info.checksum}
        run_dir.write_run_files(workdir, config, info, fields, imported=imported)
    for name, note in weights.notes.items():
        log.info('%s: %s.', name, note.rstrip('.'))
    log.info(
        '%s holds %s with %s classes at step 0: predict by --mode=predict --workdir=%s --images=..., or evaluate by '
        '--mode=evaluate --workdir=%s --config.data.directory=DATASET.',
        workdir,
        config.model.preset,
        f'{weights.arch.num_classes:,}',
        workdir,
        workdir,
    )
    return {'preset': config.model.preset, 'classes': weights.arch.num_classes}


def imported_config(config: ConfigDict, weights: ModelWeights) -> ConfigDict:
    """Return the config with the network, the mean and the image size of the weights.

    Raises UserError if no preset with overrides is that network.
    """
    preset, overrides = find_preset(weights.arch)
    config = ConfigDict(config.to_dict())
    config.update_from_flattened_dict(
        {
            **build.model_fields(preset, overrides),
            'augment.mean': weights.preprocessing.mean_kind,
            'prepare.image_size': weights.preprocessing.image_size,
        }
    )
    return config


def imported_dataset_info(path: Path, weights: ModelWeights) -> DatasetInfo:
    """Return what a run keeps of its dataset, for weights whose dataset is not here: its checksum is the file's."""
    return DatasetInfo(
        name=path.name,
        class_names=weights.class_names,
        class_descriptions=weights.class_descriptions,
        image_size=weights.preprocessing.image_size,
        mean=weights.preprocessing.mean_image(),
        checksum=file_checksum(path),
        std=weights.preprocessing.std,
    )


def _save_checkpoint(config: ConfigDict, weights: ModelWeights, workdir: str) -> None:
    """Save the weights as the checkpoint of step 0, with an optimizer that has not begun."""
    arch = dataclasses.replace(weights.arch, name=config.model.preset)
    numbers = sum(math.prod(part.shape) for layer in weights.parameters.values() for part in layer.values())
    run_dir.require_checkpoint_space(workdir, numbers=2 * numbers)
    mesh = factories.make_device_mesh(config, arch, for_training=False)
    model = with_parameters(factories.make_model(config, arch), weights.parameters)
    state = factories.init_state(config, model, mesh)
    record = {'tally': MetricAccumulator().state_dict(), 'seen': {'batch': config.train.batch_size, 'examples': 0}}
    with contextlib.closing(CheckpointManager(Path(workdir) / run_dir.CHECKPOINTS_DIR)) as checkpoints:
        # A kill before run.json was written left one.
        checkpoints.save(0, state.state_dict(), record, overwrite=True)
        checkpoints.wait()
