"""Checkpoints by orbax, with what it lacks: checksums of values, a policy that never drops the newest, tidiness.

Orbax restores a flipped bit in array data without a word and casts dtypes silently. So every checkpoint holds, beside
the arrays, the shape, dtype and SHA-256 of each parameter column; they are compared before anything is used. Digests
are by column because the column is the one axis along which parameters are ever split: they do not depend on the mesh.
What was saved is read back before it may push an older one out; from then on an inventory lists its files.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from alexnet_jax.checkpoint import checksums, manifest, quarantine, read_errors
from alexnet_jax.distributed import sync
from alexnet_jax.distributed.initialize import is_primary
from alexnet_jax.errors import UserError

log = logging.getLogger(__name__)
_POLICY = ocp.checkpoint_managers
Tree = Any


class CorruptCheckpoint(Exception):
    """A checkpoint that is not what was saved; the sentence names the part."""


class CheckpointManager:
    """The checkpoints of one run, in `directory`: the two newest, the best, and every `keep_every`-th step.

    Who `read_only` changes nothing there, where a training may be writing.
    """

    def __init__(self, directory: Path, *, keep_every: int = 0, read_only: bool = False):
        self.directory, self._read_only = Path(directory).absolute(), read_only
        if not read_only:
            self._clean_up()
        kept = [
            _POLICY.LatestN(2),  # two, so that damage to the newest costs one interval and not the run
            # Of equal errors the latest; BestN keeps the last of an ascending order.
            _POLICY.BestN(
                get_metric_fn=lambda m: -m['top1_error'], n=1, keep_checkpoints_without_metrics=False
            ),
        ]
        if keep_every:
            kept.append(_POLICY.EveryNSteps(keep_every))
        written = {
            'preservation_policy': _POLICY.AnyPreservationPolicy(kept),
            'best_fn': lambda m: m['top1_error'],  # the policy decides; without this orbax writes no metrics
            'best_mode': 'min',
        }
        options = ocp.CheckpointManagerOptions(read_only=read_only, **({} if read_only else written))
        self._unconfirmed: tuple[int, Tree] | None = None  # the last save's step, and its arrays' shapes
        self._manager = ocp.CheckpointManager(self.directory, options=options, item_names=('state', 'record'))

    def _clean_up(self) -> None:
        """Removes folders of killed saves, which orbax leaves for ever; sets aside what orbax would stumble over."""
        if is_primary():
            quarantine.clean_directory(self.directory)
            for folder in [path for path in self.directory.glob('*') if path.name.isdecimal()]:
                try:
                    self._validation_error(int(folder.name))
                except CorruptCheckpoint as damage:
                    log.warning(
                        'The checkpoint of step %s is damaged: %s. Setting it aside.', folder.name, damage
                    )
                    quarantine.quarantine_checkpoint(folder)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices('checkpoints tidied')

    def _validation_error(self, step: int) -> float | None:
        """The validation error of a checkpoint, None where nothing was validated.

        It is written twice as it has no checksum, so that no flipped bit makes a best. Version 0.1 wrote it once.
        """
        try:
            held = json.loads((self.directory / str(step) / 'metrics' / 'metrics').read_text())
            error = float(held['top1_error'])
            if not held.get('again', error) == error:
                raise ValueError('its two figures differ')
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as reason:
            if words := read_errors.transient_cause(reason):
                raise read_errors.unreadable_error(step, self.directory, words) from reason
            raise CorruptCheckpoint(f'its metrics can not be read ({type(reason).__name__}: {reason})') from reason
        return error

    def steps(self) -> list[int]:
        """Steps that have a whole checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    def best(self) -> int | None:
        """The step with the lowest validation error, the latest of equals; None where nothing was validated."""
        errors = {}
        for step in self.steps():
            try:
                errors[step] = self._validation_error(step)
            except CorruptCheckpoint as damage:
                log.warning('The checkpoint of step %d is damaged: %s. It cannot be the best.', step, damage)
        errors = {step: error for step, error in errors.items() if error is not None}
        return min(errors, key=lambda step: (errors[step], -step)) if errors else None

    def save(
        self,
        step: int,
        state: Tree,
        record: dict[str, Any],
        *,
        top1_error: float | None = None,
        overwrite: bool = False,
    ) -> None:
        """Begins to save `state` (arrays (columns, ...)) and the JSON `record`; raises an earlier save's failure.

        The save before it is read back first: from here on the one that is older still may be deleted. A step that has
        a checkpoint keeps it, unless it is saved `again`; then the old one lies aside until the new one was read back.
        """
        self._verify_last_save()
        if step in self._manager.all_steps():
            if not overwrite:
                return
            self._relocate(step, quarantine.stash_checkpoint)  # a kill must find a whole one, whenever it comes
        # A copy: orbax writes it in a thread, while the run goes on with what it gave us.
        held = copy.deepcopy({'record': record, 'leaves': checksums.array_digests(state)})
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            record=ocp.args.JsonSave({**held, 'sha256': checksums.record_digest(held)}),
        )
        metrics = None if top1_error is None else {'top1_error': top1_error, 'again': top1_error}
        if not self._manager.save(step, args=items, metrics=metrics):
            raise RuntimeError(
                f'orbax declined to save step {step}; the newest it knows is {self._manager.latest_step()}.'
            )
        self._unconfirmed = step, jax.tree.map(checksums.abstract_array, state)

    def delete_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps."""
        self._verify_last_save()
        if is_primary() and not [each for each in self.steps() if each <= step]:
            quarantine.marker_file(self.directory).unlink(missing_ok=True)  # the run begins afresh, as it should
        for later in [each for each in self.steps() if each > step]:
            self._relocate(later, quarantine.delete_atomically)

    def raise_if_save_failed(self) -> None:
        """Raises the failure of the save under way, without waiting for it; what is whole by now is read back."""
        if jax.process_count() > 1:  # which have to read back together, and may not be equally far
            self._manager.check_for_errors()
        elif self._unconfirmed and not self._manager.is_saving_in_progress():
            self._verify_last_save()

    def _verify_last_save(self) -> None:
        """Reads the last save back, once. Raises its failure, and UserError where the disk gives other values."""
        unconfirmed, self._unconfirmed = self._unconfirmed, None
        self._manager.wait_until_finished()
        self._manager.check_for_errors()
        if unconfirmed is None:
            return
        step, like = unconfirmed
        try:
            self._read(step, like)
        except CorruptCheckpoint as damage:
            self._relocate(step, quarantine.quarantine_checkpoint)
            raise UserError(
                f'The checkpoint of step {step} was saved and is not the same when read back ({damage}): do not trust '
                f'the disk of {self.directory}. The checkpoints before it are whole; run the same command elsewhere.'
            ) from damage
        if is_primary():
            manifest.write_manifest(self.directory / str(step))
            quarantine.marker_file(self.directory).touch()
            quarantine.drop_stash(self.directory)

    def restore(self, like: Tree, step: int | None = None) -> tuple[int, Tree, dict[str, Any]]:
        """(step, state, record), laid out as `like`; the newest whole checkpoint, or the one of `step`.

        A damaged one is named and set aside as '<step>.damaged', and the one before it is used; where one step was
        asked for, damage is a UserError, as is a checkpoint of another network. One that could not be read for another
        reason is an Unread, and stays where it is.
        """
        if step is not None and step not in self.steps():
            have = ', '.join(map(str, self.steps())) or 'none'
            raise UserError(f'There is no checkpoint of step {step} in {self.directory}; there are: {have}.')
        if not (
            self.steps() or quarantine.quarantined_names(self.directory) or quarantine.marker_file(self.directory).exists()
        ):
            raise UserError(
                f'There is no whole checkpoint in {self.directory} yet; wait until the training has saved one, or run '
                'its command again where it has ended.'
            )
        for candidate in [step] if step is not None else reversed(self.steps()):
            try:
                return candidate, *self._read(candidate, like)
            except CorruptCheckpoint as damage:
                if step is not None:
                    raise UserError(
                        f'The checkpoint of step {step} in {self.directory} is damaged: {damage}.'
                    ) from damage
                log.warning(
                    'The checkpoint of step %d is damaged: %s. Using the one before it.', candidate, damage
                )
                if not self._read_only:
                    self._relocate(candidate, quarantine.quarantine_checkpoint)
        raise quarantine.no_valid_checkpoint_error(self.directory)

    def require_fresh_run(self, rows: bool) -> None:
        """Raises UserError where the run, of which `rows` are written, would begin afresh though it had checkpoints."""
        if not self.steps():
            quarantine.require_fresh_run(self.directory, rows)

    def find_problem(self, step: int) -> str:
        """What is wrong with a checkpoint, read whole, of whatever network it is; empty: nothing is."""
        try:
            self._validation_error(step)
            self._read(step, None)
        except (CorruptCheckpoint, read_errors.CheckpointUnreadable) as damage:
            return str(damage)
        return ''

    def _read(self, step: int, like: Tree | None) -> tuple[Tree, dict[str, Any]]:
        def item(name: str, arguments: ocp.args.CheckpointArgs) -> Any:
            try:
                return self._manager.restore(step, args=ocp.args.Composite(**{name: arguments}))[name]
            except Exception as error:  # what orbax raises depends on which byte is wrong
                sync.barrier_after_failure()  # a host may be alone with it, having read another part
                if words := read_errors.classify_error(self.directory / str(step), error):
                    raise read_errors.unreadable_error(step, self.directory, words) from error
                first = (str(error).splitlines() or [''])[0]
                raise CorruptCheckpoint(
                    f'its {name} can not be read ({type(error).__name__}: {first[:200]})'
                ) from error

        held = item('record', ocp.args.JsonRestore())
        if not isinstance(held, dict) or not {'record', 'leaves'} <= held.keys():
            raise CorruptCheckpoint('its record lacks the list of arrays')
        # Version 0.1 wrote no sum.
        if (sha256 := held.pop('sha256', None)) is not None and sha256 != checksums.record_digest(held):
            raise CorruptCheckpoint('its record is not what was saved')
        like = checksums.tree_from_spec(held['leaves']) if like is None else like
        expected = checksums.tree_spec(like)
        found = {name: (leaf.get('shape'), leaf.get('dtype')) for name, leaf in held['leaves'].items()}
        if expected != found:
            name = min(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
            raise UserError(
                f'The checkpoint of step {step} in {self.directory} is of another network: {name} is '
                f'{found.get(name, "missing")} there and {expected.get(name, "missing")} here.'
            )
        state = item('state', ocp.args.StandardRestore(jax.tree.map(checksums.abstract_array, like)))
        try:
            described = checksums.array_digests(state)
        except Exception as error:  # the host may lack the memory for what the device holds
            if words := read_errors.transient_cause(error):
                raise read_errors.unreadable_error(step, self.directory, words) from error
            raise
        for name, leaf in described.items():
            if leaf != held['leaves'][name]:
                raise CorruptCheckpoint(f'the values of {name} are not those that were saved')
        return state, held['record']

    def _relocate(self, step: int, how: Callable[[Path], None]) -> None:
        """Out of orbax's sight, for else it would decline to save that step again."""
        if is_primary():
            how(self.directory / str(step))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices('checkpoint moved')
        self._manager.reload()

    def wait(self) -> None:
        """Until the save under way is whole on disk and was read back; its failure is raised here."""
        self._verify_last_save()

    def close(self) -> None:
        """As `wait`, and ends orbax's threads."""
        try:
            self._verify_last_save()
        finally:
            self._manager.close()
