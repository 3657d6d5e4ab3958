"""--mode=export: writes the weights of a run to a file that other software reads."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from alexnet_jax import weights as weight_files
from alexnet_jax.commands import evaluate, run_dir
from alexnet_jax.commands.evaluate import LoadedRun
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.view_places import describe_views
from alexnet_jax.report import run_result
from alexnet_jax.report.text import format_percent
from alexnet_jax.weights.model_card import write_model_card
from alexnet_jax.weights.model_weights import ModelWeights, Preprocessing
from alexnet_jax.weights.torch_module import write_torch_module

LICENSE_NOTE = 'not stated by whoever trained it'

log = logging.getLogger(__name__)


def export(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Write the weights at the checkpoint of config.evaluate.checkpoint; return the files and the step.

    Beside a safetensors file stands the network as a PyTorch module, unless torchvision has it, and a card if asked
    for. Raises UserError, before anything is read, for a path without a format.
    """
    path = Path(config.weights.path).expanduser()
    weight_files.require_writable(path, tensor_names=config.weights.tensor_names)
    run_config, info = evaluate.read_trained_run(config, workdir)
    run = evaluate.load_run(run_config, info, workdir)
    weights = run_weights(run, workdir, license=config.weights.license)
    weight_files.write_weights(path, weights, tensor_names=config.weights.tensor_names)
    files = [path]
    if path.suffix == '.safetensors' and not config.weights.tensor_names:
        files.append(path.with_name(f'{path.stem.replace("-", "_").replace(".", "_")}_torch.py'))
        write_torch_module(files[-1], weights, path.name)
    if config.weights.card:
        files.append(path.with_name('README.md'))
        write_model_card(files[-1], weights, path.name)
    log.info('Step %d of the run in %s was written to %s.', run.step, workdir, ', '.join(map(str, files)))
    return {'files': [str(file) for file in files], 'checkpoint_step': run.step}


def run_weights(run: LoadedRun, workdir: str, *, license: str = '') -> ModelWeights:
    """Return the network of a run at its step, with its figure, the command that made it and a note on the license."""
    preprocessing = Preprocessing(run.info.image_size, run.info.mean, run.info.std, run.config.augment.mean)
    stored_run = run_dir.read_run(workdir) or {}
    commands = [command for _, command in stored_run.get('commands', [])]
    imported = stored_run.get(run_dir.IMPORTED) or {}
    notes = dict(imported.get('notes', {}))
    notes |= {
        'license': license or notes.get('license', LICENSE_NOTE),
        'run': run.config.name,
        'checkpoint_step': str(run.step),
        'command': commands[0] if commands else '',
        'figure': _describe_figure(workdir, run.step),
    }
    return ModelWeights(
        run.model.arch,
        jax.device_get(run.params),
        preprocessing,
        run.info.class_names,
        run.info.class_descriptions,
        {name: note for name, note in notes.items() if note},
    )


def _describe_figure(workdir: str, step: int) -> str:
    """Return the error that was measured of the checkpoint of that step; '' if none was."""
    for name in (run_result.EVALUATION_FILE, run_result.RESULT_FILE):
        try:
            result = json.loads((Path(workdir) / name).read_text())
            if result['checkpoint_step'] != step:
                continue
            top1, top5 = (format_percent(result[name], 2) for name in ('top1_error', 'top5_error'))
            images = f'{int(result["images"]):,} {result["split"]} images'
            return f'{top1} top-1 and {top5} top-5 error on {images} ({describe_views(result["views"])})'
        except FileNotFoundError:
            continue
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f'{Path(workdir) / name} is damaged ({error}); remove it, or evaluate again: '
                f'python main.py --mode=evaluate --workdir={workdir}.'
            ) from error
    return ''
