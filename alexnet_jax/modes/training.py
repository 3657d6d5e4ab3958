"""Mode train: from a config and a folder to a trained network, its figure and its pictures."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from alexnet_jax import devices, pod, recipe
from alexnet_jax.data import dataset, feed, pipeline
from alexnet_jax.modes import concluding, evaluating, joining, preparing, rooms
from alexnet_jax.modes import workdir as folder
from alexnet_jax.network.alexnet import AlexNet
from alexnet_jax.network.architecture import Architecture
from alexnet_jax.training import agreement, loop, optimizer, schedule, signals, step
from alexnet_jax.training.checkpoints import Checkpoints
from alexnet_jax.training.journal import Journal
from alexnet_jax.training.profile import Profile
from alexnet_jax.training.standstill import Standstill

PROFILE = 'profile'  # the folder of traces in the workdir

log = logging.getLogger(__name__)


def train(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Goes on with the run in `workdir` or begins it; the content of result.json.

    What does not fit is refused before the folder is made, and so is a folder in which another process trains.
    """
    mesh = rooms.mesh_of(config, rooms.outline(config))  # first: one that cannot be costs no images
    data = rooms.open_dataset(config, workdir)
    shape = rooms.architecture_of(config, data)
    rooms.check_cache(config, data, mesh)
    stream = rooms.training_of(config, data, shape, mesh)
    joining.compare({'the dataset (its checksum)': data.checksum})
    plateau = plateau_of(config, data.counts)
    plan = plan_of(config, stream, shape.parameters(), plateau)
    with folder.alone(workdir) if devices.writer() else contextlib.nullcontext():
        return trained(config, workdir, data, shape, mesh, stream, plateau, plan)


def trained(
    config: ConfigDict,
    workdir: str,
    data: dataset.Dataset,
    shape: Architecture,
    mesh: jax.sharding.Mesh,
    stream: pipeline.Training,
    plateau: schedule.Plateau | None,
    plan: loop.Plan,
) -> dict[str, Any]:
    """The run itself: it continues from its own newest whole checkpoint, else begins from weights drawn by its seed."""
    if devices.writer():
        folder.check_room(workdir, numbers=2 * sum(shape.parameters().values()))
        folder.settle(workdir, config, dataset=data.checksum)
    for line in announcement(config, data, shape, plan, workdir) + rooms.describe(shape, mesh):
        log.info('%s', line)
    run_key = jax.random.key(config.seed)
    with (
        signals.Stop() as stop,
        Journal(workdir, tensorboard=config.log.tensorboard, writer=devices.writer()) as journal,
        Profile(recipe.profile(config), Path(workdir) / PROFILE) as profile,
        # However the run ends, a save that was begun becomes whole before the process does.
        contextlib.closing(
            Checkpoints(Path(workdir) / folder.CHECKPOINTS, keep_every=config.checkpoint.keep_every_steps)
        ) as checkpoints,
    ):
        network = rooms.network_of(config, shape)
        done, state, tally, seen = begin(
            config, checkpoints, network, mesh, journal, run_key, plateau, workdir
        )
        if devices.writer() and not (Path(workdir) / concluding.EXAMPLES).exists():
            concluding.draw_examples(stream, data, workdir, mean_kind=config.augment.mean)
        if seen != stream.position(done):  # some of them were seen in batches of another size
            stream.go_on(done, seen)
            plan = plan_of(config, stream, shape.parameters(), plateau, done)
        if done < plan.last and not (plateau and plateau.over):
            state, done = go_on(
                config,
                data,
                stream,
                network,
                mesh,
                plan,
                journal,
                checkpoints,
                state,
                tally,
                done,
                stop,
                run_key,
                plateau,
                profile,
            )
        checkpoints.wait()
        journal.no_bar()
        step_number, parameters = evaluated(config, checkpoints, shape, mesh, done, state)
        return concluding.conclude(config, data, network, mesh, workdir, parameters, step_number, stream)


def plateau_of(config: ConfigDict, counts: dict[str, int]) -> schedule.Plateau | None:
    """What steers by the validation error where the config asks for it; refused where nothing is validated."""
    if config.train.schedule != 'plateau':
        return None
    preparing.check_steering(config, counts, 'the dataset')
    return schedule.Plateau(config.train.patience, config.train.min_delta)


def standstill_of(config: ConfigDict, classes: int) -> Standstill | None:
    """What warns of a loss that stays where guessing leaves it, unless log.standstill_steps is 0."""
    if not config.log.standstill_steps:
        return None
    return Standstill(classes, config.log.standstill_steps, initialisation=config.network.initialisation)


def plan_of(
    config: ConfigDict,
    stream: pipeline.Training,
    layers: dict[str, int],
    plateau: schedule.Plateau | None = None,
    done: int = 0,
) -> loop.Plan:
    """Steps, cadences and rates of the whole run, of which so many steps are done."""
    per_epoch = len(stream.records) / config.train.batch
    rates = schedule.Schedule(
        config.train.schedule,
        config.train.rate,
        config.train.epochs,
        drops=recipe.drops(config),
        warmup=config.train.warmup_epochs,
    )
    names, factors = tuple(layers), recipe.layer_rates(config)
    evaluates = config.evaluate.every_epochs

    def rate(done: int) -> float:
        return rates.at(stream.epoch(done)) * (plateau.factor if plateau else 1.0)

    return loop.Plan(
        last=max(1, done + round((config.train.epochs - stream.epoch(done)) * per_epoch)),
        log_every=config.log.every_steps,
        evaluate_every=max(1, round(evaluates * per_epoch)) if evaluates else 0,
        save_every=config.checkpoint.every_steps,
        rate=rate,
        rates=lambda n: schedule.layer_rates(names, rate(n), factors, biases=config.train.bias_rate),
        epoch=stream.epoch,
    )


def announcement(
    config: ConfigDict, data: dataset.Dataset, shape: Any, plan: loop.Plan, workdir: str
) -> list[str]:
    """The first words: what is trained, on what, for how long, and where it goes."""
    parameters = sum(shape.parameters().values())
    most = 'at most ' if config.train.schedule == 'plateau' else ''
    return [
        f'Training {config.name}: the network {shape.name}, {parameters:,} parameters in {shape.columns} column'
        f'{"s" if shape.columns > 1 else ""}, {shape.crop}-pixel crops',
        f'on {data.name}: {data.counts["train"]:,} images of {len(data.classes)} classes ({data.note})',
        f'for {most}{config.train.epochs:g} epochs, {plan.last:,} steps of {config.train.batch} images; into {workdir}',
    ]


def begin(
    config: ConfigDict,
    checkpoints: Checkpoints,
    network: AlexNet,
    mesh: jax.sharding.Mesh,
    journal: Journal,
    key: jax.Array,
    plateau: schedule.Plateau | None,
    workdir: str,
) -> tuple[int, step.State, loop.Tally, int]:
    """(steps done, state, sums since the last row, examples seen): of the newest whole checkpoint, else of a fresh
    network.

    The plateau is put where it was.
    """
    if checkpoints.steps():
        done, state, record = checkpoints.restore(rooms.abstract_state(network.architecture, mesh))
        journal.cut_back(done)
        log.info('Going on from the checkpoint of step %d.', done)
        if plateau:
            vars(plateau).update(record['plateau'])
        batch, seen = folder.batch_of(workdir, record, done)
        if batch != config.train.batch:
            log.warning(
                'config.train.batch was %d and is now %d: the run goes on behind the %s examples it has seen, in steps '
                'of the new size; the rate stays what config.train.rate says.',
                batch,
                config.train.batch,
                f'{seen:,}',
            )
        return done, state, loop.Tally(**record['tally']), seen
    journal.cut_back(0)
    fresh = rooms.network_of(config, network.architecture, key=jax.random.fold_in(key, 0))
    return 0, step.first_state(fresh, mesh), loop.Tally(), 0


def go_on(
    config: ConfigDict,
    data: dataset.Dataset,
    stream: pipeline.Training,
    network: AlexNet,
    mesh: jax.sharding.Mesh,
    plan: loop.Plan,
    journal: Journal,
    checkpoints: Checkpoints,
    state: step.State,
    tally: loop.Tally,
    first: int,
    stop: signals.Stop,
    key: jax.Array,
    plateau: schedule.Plateau | None,
    profile: Profile,
) -> tuple[step.State, int]:
    """The steps from `first` to the last one, and its number."""
    layers = tuple(network.architecture.parameters())
    held = rooms.cache_of(config, data, mesh)
    made = step.make(
        network,
        optimizer.paper_sgd(
            layers,
            momentum=config.train.momentum,
            decay=config.train.decay,
            decay_biases=config.train.decay_biases,
        ),
        mesh,
        mean=data.mean,
        mean_kind=config.augment.mean,
        key=jax.random.fold_in(key, 1),
        accumulate=config.train.accumulate,
        images=held.images if held else None,
        compiler_options=devices.compiler_options(config.machine.dots_only),
    )
    centre = rooms.evaluator_of(config, data, network, mesh, views=1) if 'validation' in data.counts else None

    def evaluate(state: step.State, done: int) -> dict[str, float] | None:
        if centre is None:
            return None
        return centre.rates(state['parameters'], rooms.scoring_of(config, data, 'validation', mesh))

    def save(state: step.State, done: int, tally: loop.Tally, top1_error: float | None) -> None:
        journal.flush()
        seen = {'batch': config.train.batch, 'examples': stream.position(done)}
        record = {'tally': vars(tally), 'seen': seen} | ({'plateau': plateau.state()} if plateau else {})
        checkpoints.save(done, state, record, top1_error=top1_error)

    stream = stream.without_pixels(held.labels) if held else stream
    with feed.feed(
        stream.batches(first, plan.last), devices.batch_sharding(mesh), ahead=config.data.ahead
    ) as batches:
        return loop.run(
            made,
            state,
            batches,
            plan,
            journal,
            first=first,
            tally=tally,
            evaluate=evaluate,
            save=save,
            stop=agreement.Agreement(stop, mesh) if pod.many() else stop,
            check=checkpoints.check,
            plateau=plateau,
            standstill=standstill_of(config, len(data.classes)),
            profile=profile,
        )


def evaluated(
    config: ConfigDict,
    checkpoints: Checkpoints,
    shape: Any,
    mesh: jax.sharding.Mesh,
    last: int,
    state: step.State,
) -> tuple[int, step.Parameters]:
    """The step and the parameters that the last figure is of, as evaluate.checkpoint says."""
    wanted = evaluating.step_of(config, checkpoints)
    if wanted in (None, last):
        return last, state['parameters']
    number, restored, _ = checkpoints.restore(rooms.abstract_state(shape, mesh), wanted)
    return number, restored['parameters']
