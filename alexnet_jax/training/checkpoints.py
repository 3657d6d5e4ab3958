"""Checkpoints by orbax, with what it lacks: checksums of values, a policy that never drops the newest, tidiness.

Orbax restores a flipped bit in array data without a word and casts dtypes silently. So every checkpoint holds, beside
the arrays, the shape, dtype and SHA-256 of each parameter column; they are compared before anything is used. Digests
are by column because the column is the one axis along which parameters are ever split: they do not depend on the mesh.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from alexnet_jax.mistakes import Mistake

_POLICY = ocp.checkpoint_managers
Tree = Any


class Damaged(Exception):
    """A checkpoint that is not what was saved; the sentence names the part."""


class Checkpoints:
    """The checkpoints of one run, in `directory`: the two newest, the best, and every `keep_every`-th step."""

    def __init__(self, directory: Path, *, keep_every: int = 0):
        self.directory = Path(directory).absolute()
        self._clear_leftovers()
        kept = [
            _POLICY.LatestN(2),  # two, so that damage to the newest costs one interval and not the run
            # Of equal errors the latest; BestN keeps the last of an ascending order.
            _POLICY.BestN(
                get_metric_fn=lambda m: -m['top1_error'], n=1, keep_checkpoints_without_metrics=False
            ),
        ]
        if keep_every:
            kept.append(_POLICY.EveryNSteps(keep_every))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_POLICY.AnyPreservationPolicy(kept),
            best_fn=lambda metrics: metrics[
                'top1_error'
            ],  # the policy decides; without this orbax writes no metrics
            best_mode='min',
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options, item_names=('state', 'record'))

    def _clear_leftovers(self) -> None:
        """Folders of killed saves: never read, and orbax leaves them for ever."""
        if jax.process_index() == 0:
            for leftover in self.directory.glob('*.orbax-checkpoint-tmp*'):
                shutil.rmtree(leftover, ignore_errors=True)

    def steps(self) -> list[int]:
        """Steps that have a whole checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    def best(self) -> int | None:
        """The step with the lowest validation error, the latest of equals; None where nothing was validated."""
        errors = {
            step: metrics['top1_error'] for step in self.steps() if (metrics := self._manager.metrics(step))
        }
        return min(errors, key=lambda step: (errors[step], -step)) if errors else None

    def save(
        self, step: int, state: Tree, record: dict[str, Any], *, top1_error: float | None = None
    ) -> None:
        """Begins to save `state` (arrays (columns, ...)) and the JSON `record`; raises an earlier save's failure."""
        self._manager.check_for_errors()
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            record=ocp.args.JsonSave({'record': record, 'leaves': describe(state)}),
        )
        metrics = None if top1_error is None else {'top1_error': top1_error}
        if not self._manager.save(step, args=items, metrics=metrics):
            raise RuntimeError(
                f'orbax declined to save step {step}; the newest it knows is {self._manager.latest_step()}.'
            )

    def restore(self, like: Tree, step: int | None = None) -> tuple[int, Tree, dict[str, Any]]:
        """(step, state, record), laid out as `like`; the newest whole checkpoint, or the one of `step`.

        A damaged one is named and set aside as '<step>.damaged', and the one before it is used; where one step was
        asked for, damage is a Mistake, as is a checkpoint of another network.
        """
        if step is not None and step not in self.steps():
            have = ', '.join(map(str, self.steps())) or 'none'
            raise Mistake(f'There is no checkpoint of step {step} in {self.directory}; there are: {have}.')
        for candidate in [step] if step is not None else reversed(self.steps()):
            try:
                return candidate, *self._read(candidate, like)
            except Damaged as damage:
                if step is not None:
                    raise Mistake(
                        f'The checkpoint of step {step} in {self.directory} is damaged: {damage}.'
                    ) from damage
                logging.warning(
                    'The checkpoint of step %d is damaged: %s. Using the one before it.', candidate, damage
                )
                self._set_aside(candidate)
        raise Mistake(f'No whole checkpoint is left in {self.directory}; train again in a fresh workdir.')

    def _read(self, step: int, like: Tree) -> tuple[Tree, dict[str, Any]]:
        def item(name: str, arguments: ocp.args.CheckpointArgs) -> Any:
            try:
                return self._manager.restore(step, args=ocp.args.Composite(**{name: arguments}))[name]
            except Exception as error:  # what orbax raises depends on which byte is wrong
                first = (str(error).splitlines() or [''])[0]
                raise Damaged(
                    f'its {name} can not be read ({type(error).__name__}: {first[:200]})'
                ) from error

        held = item('record', ocp.args.JsonRestore())
        if not isinstance(held, dict) or not {'record', 'leaves'} <= held.keys():
            raise Damaged('its record lacks the list of arrays')
        expected = _shapes(like)
        found = {name: (leaf.get('shape'), leaf.get('dtype')) for name, leaf in held['leaves'].items()}
        if expected != found:
            name = min(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
            raise Mistake(
                f'The checkpoint of step {step} in {self.directory} is of another network: {name} is '
                f'{found.get(name, "missing")} there and {expected.get(name, "missing")} here.'
            )
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
        state = item('state', ocp.args.StandardRestore(abstract))
        for name, leaf in describe(state).items():
            if leaf != held['leaves'][name]:
                raise Damaged(f'the values of {name} are not those that were saved')
        return state, held['record']

    def _set_aside(self, step: int) -> None:
        """Out of orbax's sight, for else it would decline to save that step again; kept, not deleted."""
        if jax.process_index() == 0:
            aside = self.directory / f'{step}.damaged'
            shutil.rmtree(aside, ignore_errors=True)
            (self.directory / str(step)).rename(aside)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices('damaged checkpoint set aside')
        self._manager.reload()

    def wait(self) -> None:
        """Until the save under way is whole on disk; its failure is raised here."""
        self._manager.wait_until_finished()
        self._manager.check_for_errors()

    def close(self) -> None:
        """Waits, and ends orbax's threads."""
        self._manager.close()


def _named(tree: Tree) -> list[tuple[str, jax.Array]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [('/'.join(str(key.key) for key in path), leaf) for path, leaf in leaves]


def _shapes(tree: Tree) -> dict[str, tuple[list[int], str]]:
    return {name: (list(leaf.shape), str(leaf.dtype)) for name, leaf in _named(tree)}


def describe(state: Tree) -> dict[str, dict[str, Any]]:
    """{name: {shape, dtype, sha256: [one per column]}} of arrays whose first axis is the column."""
    named = _named(state)
    columns = max(leaf.shape[0] for _, leaf in named)
    digests = np.zeros((len(named), columns, 32), np.uint8)
    for row, (_, leaf) in enumerate(named):
        for shard in leaf.addressable_shards:
            if shard.replica_id == 0 or jax.process_count() > 1:
                first = shard.index[0].start or 0
                for column, values in enumerate(np.asarray(shard.data), first):
                    digest = hashlib.sha256(np.ascontiguousarray(values)).digest()
                    digests[row, column] = np.frombuffer(digest, np.uint8)
    if jax.process_count() > 1:  # a host knows its own columns alone
        digests = np.max(multihost_utils.process_allgather(digests), axis=0)
    return {
        name: {
            'shape': list(leaf.shape),
            'dtype': str(leaf.dtype),
            'sha256': [row[c].tobytes().hex() for c in range(leaf.shape[0])],
        }
        for (name, leaf), row in zip(named, digests, strict=True)
    }
