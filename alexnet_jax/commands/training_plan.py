"""Plans: from a config and a dataset to steps, cadences and rates, and the first words about them."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.commands import prepare
from alexnet_jax.config import validate
from alexnet_jax.data import dataset, pipeline
from alexnet_jax.train import loop, schedule
from alexnet_jax.train.stalled_loss import StalledLossDetector


def make_plateau(config: ConfigDict, counts: dict[str, int]) -> schedule.ReduceOnPlateau | None:
    """What steers by the validation error where the config asks for it; refused where nothing is validated."""
    if config.train.schedule != 'plateau':
        return None
    prepare.check_plateau_split(config, counts, 'the dataset')
    return schedule.ReduceOnPlateau(config.train.patience, config.train.min_delta)


def make_stalled_loss_detector(config: ConfigDict, classes: int) -> StalledLossDetector | None:
    """What warns of a loss that stays where guessing leaves it, unless log.stalled_loss_steps is 0."""
    if not config.log.stalled_loss_steps:
        return None
    return StalledLossDetector(classes, config.log.stalled_loss_steps, initialization=config.model.initialization)


def make_loop_schedule(
    config: ConfigDict,
    stream: pipeline.TrainPipeline,
    layers: dict[str, int],
    plateau: schedule.ReduceOnPlateau | None = None,
    done: int = 0,
) -> loop.LoopSchedule:
    """Steps, cadences and rates of the whole run, of which so many steps are done."""
    per_epoch = len(stream.records) / config.train.batch_size
    rates = schedule.LearningRateSchedule(
        config.train.schedule,
        config.train.learning_rate,
        config.train.num_epochs,
        drops=validate.drops(config),
        warmup=config.train.warmup_epochs,
    )
    names, factors = tuple(layers), validate.layer_rates(config)
    evaluates = config.evaluate.every_epochs

    def rate(done: int) -> float:
        return rates.at(stream.epoch(done)) * (plateau.factor if plateau else 1.0)

    return loop.LoopSchedule(
        last=max(1, done + round((config.train.num_epochs - stream.epoch(done)) * per_epoch)),
        log_every=config.log.every_steps,
        evaluate_every=max(1, round(evaluates * per_epoch)) if evaluates else 0,
        save_every=config.checkpoint.every_steps,
        rate=rate,
        rates=lambda n: schedule.layer_learning_rates(names, rate(n), factors, biases=config.train.bias_lr_multiplier),
        epoch=stream.epoch,
    )


def describe_run(
    config: ConfigDict, data: dataset.Dataset, shape: Any, plan: loop.LoopSchedule, workdir: str
) -> list[str]:
    """The first words: what is trained, on what, for how long, and where it goes."""
    parameters = sum(shape.parameters().values())
    most = 'at most ' if config.train.schedule == 'plateau' else ''
    return [
        f'Training {config.name}: the network {shape.name}, {parameters:,} parameters in {shape.columns} column'
        f'{"s" if shape.columns > 1 else ""}, {shape.crop}-pixel crops',
        f'on {data.name}: {data.counts["train"]:,} images of {len(data.classes)} classes ({data.note})',
        f'for {most}{config.train.num_epochs:g} epochs, {plan.last:,} steps of {config.train.batch_size} images; into {workdir}',
    ]
