"""Build the schedule of a training, and its first log lines, from the config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax.commands import prepare
from alexnet_jax.config import parse
from alexnet_jax.data import dataset, pipeline
from alexnet_jax.distributed.sharding import DATA_AXIS
from alexnet_jax.errors import UserError
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.train.diary import Diary
from alexnet_jax.train.loop import LoopSchedule
from alexnet_jax.train.schedule import BATCH_SCALINGS, LearningRateSchedule, ReduceOnPlateau, layer_learning_rates
from alexnet_jax.train.stalled_loss import StalledLossDetector

FEW_STEPS = 100  # a run of fewer is warned of


def make_plateau(config: ConfigDict, splits: Iterable[str]) -> ReduceOnPlateau | None:
    """Return what lowers the learning rate by the validation error, if the config asks for it.

    Raises UserError if there is no validation split.
    """
    if config.train.schedule != 'plateau':
        return None
    prepare.check_plateau_split(config, list(splits), 'the dataset')
    return ReduceOnPlateau(config.train.patience, config.train.min_delta)


def make_stalled_loss_detector(config: ConfigDict, num_classes: int) -> StalledLossDetector | None:
    """Return what warns of a loss that stays at ln(classes); None if log.stalled_loss_steps is 0."""
    if not config.log.stalled_loss_steps:
        return None
    steps, initialization = config.log.stalled_loss_steps, config.model.initialization
    return StalledLossDetector(num_classes, steps, initialization=initialization)


def check_batch_size(
    config: ConfigDict, data: dataset.Dataset, mesh: Mesh, stored_run: Mapping[str, Any] | None
) -> None:
    """Raise UserError if a batch has more images than the training split, unless the run began with that size."""
    batch_size, images = config.train.batch_size, data.counts['train']
    if batch_size <= images or (stored_run and stored_run['deciding'].get('train.batch_size') == batch_size):
        return
    multiple = mesh.shape[DATA_AXIS] * config.train.grad_accumulation
    fitting = images // multiple * multiple
    remedy = f'Set --config.train.batch_size={fitting} or less' if fitting else 'Train on fewer devices'
    raise UserError(
        f'config.train.batch_size is {batch_size}, but {data.directory} has only {images} training images. {remedy}, '
        'or add images.'
    )


def few_steps_warning(num_steps: int) -> str:
    """Return that a run is too short to learn much; '' if it is not."""
    if num_steps >= FEW_STEPS:
        return ''
    return (
        f'The whole run is {num_steps} step{"s" * (num_steps > 1)}, too few to learn much: lower '
        'config.train.batch_size, raise config.train.num_epochs or add images.'
    )


def make_loop_schedule(
    config: ConfigDict,
    train_data: pipeline.TrainPipeline,
    layers: Iterable[str],
    plateau: ReduceOnPlateau | None = None,
    step: int = 0,
) -> LoopSchedule:
    """Return the number of steps, cadences and learning rates of the whole run, of which `step` steps are done."""
    diary = Diary(parse.diary(config.train.diary))
    steps_per_epoch = len(train_data.records) / config.train.batch_size
    epochs_left = config.train.num_epochs - train_data.epoch(step)
    num_steps = max(1, step + round(epochs_left * steps_per_epoch))
    scaling = BATCH_SCALINGS[config.train.batch_scaling](config.train.batch_size / config.train.reference_batch_size)
    base = LearningRateSchedule(
        config.train.schedule,
        config.train.learning_rate * scaling,
        config.train.num_epochs,
        milestones=parse.increasing_epochs(config.train.milestones),
        # An only step would be the first of the warm-up, whose learning rate is 0.
        warmup=config.train.warmup_epochs if num_steps > 1 else 0.0,
        plateau=plateau,
        diary=diary,
    )
    names, multipliers = tuple(layers), parse.layer_multipliers(config.train.layer_lr_multipliers)
    bias_multiplier, evaluate_epochs = config.train.bias_lr_multiplier, config.evaluate.every_epochs

    def learning_rate(step: int) -> float:
        return base.learning_rate(train_data.epoch(step))

    def learning_rates(step: int) -> np.ndarray:
        by_layer = diary.multipliers(train_data.epoch(step), multipliers)
        return layer_learning_rates(names, learning_rate(step), by_layer, bias_multiplier=bias_multiplier)

    def diary_entries(step: int) -> tuple[str, ...]:
        return diary.describe()[: diary.count_before(train_data.epoch(step))]

    return LoopSchedule(
        num_steps=num_steps,
        log_every=config.log.every_steps,
        evaluate_every=max(1, round(evaluate_epochs * steps_per_epoch)) if evaluate_epochs else 0,
        save_every=config.checkpoint.every_steps,
        learning_rate=learning_rate,
        learning_rates=learning_rates,
        epoch=train_data.epoch,
        diary_entries=diary_entries,
    )


def describe_run(
    config: ConfigDict, data: dataset.Dataset, arch: Architecture, num_steps: int, workdir: str
) -> list[str]:
    """Return the first lines: what is trained, on what, for how long, and where it goes."""
    num_parameters = sum(arch.parameter_counts().values())
    at_most = 'at most ' if config.train.schedule == 'plateau' else ''
    return [
        f'Training {config.name}: the network {arch.name}, {num_parameters:,} parameters in {arch.columns} column'
        f'{"s" if arch.columns > 1 else ""}, {arch.crop_size}-pixel crops',
        f'on {data.name}: {data.counts["train"]:,} images of {len(data.class_names)} classes ({data.note})',
        f'for {at_most}{config.train.num_epochs:g} epochs, {num_steps:,} steps of {config.train.batch_size} images; '
        f'into {workdir}',
    ]
