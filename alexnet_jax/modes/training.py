"""Mode train: from a config and a folder to a trained network, its figure and its pictures."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from alexnet_jax import devices, pod, recipe
from alexnet_jax.data import dataset, feed, pipeline
from alexnet_jax.modes import concluding, evaluating, exploding, joining, planning, rooms
from alexnet_jax.modes import workdir as folder
from alexnet_jax.network.alexnet import AlexNet
from alexnet_jax.network.architecture import Architecture
from alexnet_jax.training import agreement, loop, optimizer, schedule, signals, step
from alexnet_jax.training.checkpoints import Checkpoints
from alexnet_jax.training.journal import Journal, read_metrics
from alexnet_jax.training.ledger import Ledger
from alexnet_jax.training.profile import Profile

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
    plateau = planning.plateau_of(config, data.counts)
    plan = planning.plan_of(config, stream, shape.parameters(), plateau)
    evaluating.check_figure(config, data.counts)
    if not (Path(workdir) / folder.CHECKPOINTS).exists():
        evaluating.check_step(config, plan, [])
    with (
        folder.alone(workdir) if devices.writer() else contextlib.nullcontext(),
        signals.Stop(together=pod.many()) as stop,
    ):
        return trained(config, workdir, data, shape, mesh, stream, plateau, plan, stop)


def trained(
    config: ConfigDict,
    workdir: str,
    data: dataset.Dataset,
    shape: Architecture,
    mesh: jax.sharding.Mesh,
    stream: pipeline.Training,
    plateau: schedule.Plateau | None,
    plan: loop.Plan,
    stop: signals.Stop,
) -> dict[str, Any]:
    """The run itself: it continues from its own newest whole checkpoint, else begins from weights drawn by its seed."""
    began = time.perf_counter()
    if devices.writer():
        folder.check_room(workdir, numbers=2 * sum(shape.parameters().values()))
        folder.settle(workdir, config, dataset=data.checksum)
    for line in planning.announcement(config, data, shape, plan, workdir) + rooms.describe(shape, mesh):
        log.info('%s', line)
    run_key = jax.random.key(config.seed)
    with (
        Journal(workdir, tensorboard=config.log.tensorboard, writer=devices.writer()) as journal,
        Profile(recipe.profile(config), Path(workdir) / PROFILE) as profile,
        # However the run ends, a save that was begun becomes whole before the process does.
        contextlib.closing(
            Checkpoints(Path(workdir) / folder.CHECKPOINTS, keep_every=config.checkpoint.keep_every_steps)
        ) as checkpoints,
    ):
        network = rooms.network_of(config, shape)
        with stop.leaving('nothing was done since the last checkpoint; run the same command to go on.'):
            checkpoints.check_fresh(any(row['step'] for row in read_metrics(workdir)))
            start = begin(config, checkpoints, network, mesh, journal, run_key, plateau, workdir)
            if devices.writer() and not (Path(workdir) / concluding.EXAMPLES).exists():
                concluding.draw_examples(stream, data, workdir, mean_kind=config.augment.mean)
        stands = stream.skipping(start.skipped).position(start.done)
        if start.seen != stands:  # some of them were seen in batches of another size
            stream.go_on(start.done, start.seen)
            plan = planning.plan_of(config, stream, shape.parameters(), plateau, start.done)
        ended = start.done >= plan.last or bool(plateau and plateau.over)
        evaluating.check_step(config, plan, checkpoints.steps(), ended=ended)
        ledger = Ledger()
        ledger.add('start', time.perf_counter() - began)
        while start.unvalidated or start.done < plan.last and not (plateau and plateau.over):
            stream = stream.skipping(start.skipped)
            parts = (config, data, stream, network, mesh, plan, journal, checkpoints, start)
            try:
                state, done = go_on(*parts, stop, run_key, plateau, profile, ledger)
                start = start._replace(done=done, state=state)
                break
            except loop.NotFinite as end:
                end = exploding.told(end, stream, workdir)
                if config.train.explosion == 'stop':
                    raise end from None
                skipped = exploding.without(end, stream)
                checkpoints.forget_after(exploding.first_of(end))
                if plateau:
                    vars(plateau).update(vars(planning.plateau_of(config, data.counts)))
                start = begin(config, checkpoints, network, mesh, journal, run_key, plateau, workdir)
                start = start._replace(skipped=skipped)
        with ledger.of('checkpoint'):
            checkpoints.wait()
        journal.no_bar()
        with stop.leaving('the training is done and saved, its figure is not; run the same command for it.'):
            with ledger.of('end'):
                number, parameters = evaluated(config, checkpoints, shape, mesh, start.done, start.state)
                result = concluding.conclude(config, data, network, mesh, workdir, parameters, number, stream)
            journal.timings(start.done, **ledger.take())
            log.info('%s', journal.where_the_time_went())
        return result


class Start(NamedTuple):
    """Where a run stands: steps done, state, sums since the last row, examples seen, ranges that are skipped, and
    whether a signal left the validation of this state.
    """

    done: int
    state: step.State
    tally: loop.Tally
    seen: int = 0
    skipped: pipeline.Skipped = ()
    unvalidated: bool = False


def begin(
    config: ConfigDict,
    checkpoints: Checkpoints,
    network: AlexNet,
    mesh: jax.sharding.Mesh,
    journal: Journal,
    key: jax.Array,
    plateau: schedule.Plateau | None,
    workdir: str,
) -> Start:
    """The newest whole checkpoint's, else a fresh network's. The plateau is put where it was."""
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
        skipped = tuple((first, last) for first, last in record.get('skipped', ()))
        return Start(
            done, state, loop.Tally(**record['tally']), seen, skipped, record.get('unvalidated', False)
        )
    journal.cut_back(0)
    fresh = rooms.network_of(config, network.architecture, key=jax.random.fold_in(key, 0))
    return Start(0, step.first_state(fresh, mesh), loop.Tally())


def go_on(
    config: ConfigDict,
    data: dataset.Dataset,
    stream: pipeline.Training,
    network: AlexNet,
    mesh: jax.sharding.Mesh,
    plan: loop.Plan,
    journal: Journal,
    checkpoints: Checkpoints,
    start: Start,
    stop: signals.Stop,
    key: jax.Array,
    plateau: schedule.Plateau | None,
    profile: Profile,
    ledger: Ledger,
) -> tuple[step.State, int]:
    """The steps from where the run stands to the last one, and its number."""
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

    def save(
        state: step.State,
        done: int,
        tally: loop.Tally,
        top1_error: float | None,
        unvalidated: bool = False,
        again: bool = False,
    ) -> None:
        journal.flush()
        seen = {'batch': config.train.batch, 'examples': stream.position(done)}
        record: dict[str, Any] = {'tally': vars(tally), 'seen': seen}
        record |= {'plateau': plateau.state()} if plateau else {}
        record |= {'skipped': start.skipped} if start.skipped else {}
        record |= {'unvalidated': True} if unvalidated else {}
        checkpoints.save(done, state, record, top1_error=top1_error, again=again)

    cached = stream.without_pixels(held.labels) if held else stream
    batches = cached.batches(start.done, plan.last)
    with feed.feed(batches, devices.batch_sharding(mesh), ahead=config.data.ahead) as fed:
        return loop.run(
            made,
            start.state,
            fed,
            plan,
            journal,
            first=start.done,
            unvalidated=start.unvalidated,
            tally=start.tally,
            evaluate=evaluate,
            save=save,
            stop=agreement.Agreement(stop, mesh) if pod.many() else stop,
            leaving=stop.leaving,
            check=checkpoints.check,
            plateau=plateau,
            standstill=planning.standstill_of(config, len(data.classes)),
            profile=profile,
            skipped=stream.skipped_before,
            ledger=ledger,
            shares=config.log.shares,
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
