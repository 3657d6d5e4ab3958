"""Checkpoints by orbax, with what orbax lacks: checksums of values, a policy of what to keep, and cleanup.

Orbax restores a flipped bit in array data without an error and casts dtypes silently. So every checkpoint holds, beside
the arrays, the shape, dtype and SHA-256 of each parameter column; they are compared before anything is used. Digests
are by column because the column is the one axis along which parameters are ever split: they do not depend on the mesh.
What was saved is read back before an older one may be deleted; from then on a manifest lists its files.
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

from alexnet_jax.checkpoint import checksums, manifest, quarantine, read_errors, unmerged
from alexnet_jax.distributed import sync
from alexnet_jax.distributed.initialize import is_primary
from alexnet_jax.errors import UserError, first_line

log = logging.getLogger(__name__)
_policies = ocp.checkpoint_managers
Tree = Any


class CorruptCheckpoint(Exception):
    """A checkpoint is not what was saved; the message names the part."""


class MissingArrays(CorruptCheckpoint):
    """A checkpoint lacks arrays that orbax would find, although no byte of its files need be wrong."""


def _format_spec(spec: tuple[list[int], str] | None) -> str:
    return f'{spec[1]} {tuple(spec[0])}' if spec else 'missing'


class CheckpointManager:
    """The checkpoints of one run, in `directory`: the two newest, the best, and every `keep_every`-th step.

    `read_only` opens the directory without changing it; a training may be writing there.
    """

    def __init__(self, directory: Path, *, keep_every: int = 0, read_only: bool = False):
        self.directory, self._read_only = Path(directory).absolute(), read_only
        if not read_only:
            self._clean_up()
        kept = [
            _policies.LatestN(2),  # two, so that damage to the newest costs one interval and not the run
            # Of equal errors the latest; BestN keeps the last of an ascending order.
            _policies.BestN(get_metric_fn=lambda m: -m['top1_error'], n=1, keep_checkpoints_without_metrics=False),
        ]
        if keep_every:
            kept.append(_policies.EveryNSteps(keep_every))
        write_options = {
            'preservation_policy': _policies.AnyPreservationPolicy(kept),
            'best_fn': lambda m: m['top1_error'],  # the policy decides; without this orbax writes no metrics
            'best_mode': 'min',
        }
        options = ocp.CheckpointManagerOptions(read_only=read_only, **({} if read_only else write_options))
        self._unverified: tuple[int, Tree] | None = None  # the last save's step, and its abstract arrays
        self._manager = ocp.CheckpointManager(self.directory, options=options, item_names=('state', 'record'))

    def _clean_up(self) -> None:
        """Remove leftovers of killed saves, and quarantine what orbax would fail at."""
        if is_primary():
            quarantine.clean_directory(self.directory)
            for folder in [path for path in self.directory.glob('*') if path.name.isdecimal()]:
                try:
                    self._read_top1_error(int(folder.name))
                except CorruptCheckpoint as damage:
                    log.warning('The checkpoint of step %s is damaged: %s. Renaming it.', folder.name, damage)
                    quarantine.quarantine_checkpoint(folder)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices('checkpoints tidied')

    def _read_top1_error(self, step: int) -> float | None:
        """Return the validation error of a checkpoint, None if it was not validated.

        orbax keeps it without a checksum, so it is written twice ('top1_error' and 'again'): a flipped bit then shows
        and cannot make a checkpoint look like the best. Version 0.1 wrote it once.
        """
        try:
            content = json.loads((self.directory / str(step) / 'metrics' / 'metrics').read_text())
            error = float(content['top1_error'])
            if not content.get('again', error) == error:
                raise ValueError('its two values differ')
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as reason:
            if cause := read_errors.transient_cause(reason):
                raise read_errors.unreadable_error(step, self.directory, cause) from reason
            raise CorruptCheckpoint(f'its metrics cannot be read ({type(reason).__name__}: {reason})') from reason
        return error

    def steps(self) -> list[int]:
        """Return the steps that have a whole checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    def best(self) -> int | None:
        """Return the step with the lowest validation error, the latest of equals; None if none was validated."""
        errors = {}
        for step in self.steps():
            try:
                errors[step] = self._read_top1_error(step)
            except CorruptCheckpoint as damage:
                log.warning('The checkpoint of step %d is damaged: %s. It cannot be the best.', step, damage)
        validated = {step: error for step, error in errors.items() if error is not None}
        return min(validated, key=lambda step: (validated[step], -step)) if validated else None

    def save(
        self,
        step: int,
        state: Tree,
        record: dict[str, Any],
        *,
        top1_error: float | None = None,
        overwrite: bool = False,
    ) -> None:
        """Begin to save `state` (arrays (columns, ...)) and the JSON `record`; raise an earlier save's failure.

        The save before it is read back first, after which the one before that may be deleted. A step that has a
        checkpoint keeps it, unless `overwrite`; then the old one is stashed until the new one was read back.
        """
        self._verify_last_save()
        if step in self._manager.all_steps():
            if not overwrite:
                return
            # Renamed, since a kill must find a whole one, whenever it comes.
            self._relocate(step, quarantine.stash_checkpoint)
        # A copy: orbax writes it in a thread, while the run changes what it gave us.
        content = copy.deepcopy({'record': record, 'leaves': checksums.array_digests(state)})
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            record=ocp.args.JsonSave({**content, 'sha256': checksums.json_digest(content)}),
        )
        metrics = None if top1_error is None else {'top1_error': top1_error, 'again': top1_error}
        # Inside, orbax deletes the older checkpoints that its policy (above) does not preserve.
        if not self._manager.save(step, args=items, metrics=metrics):
            latest = self._manager.latest_step()
            raise RuntimeError(f'orbax declined to save step {step}; its latest step is {latest}.')
        self._unverified = step, jax.tree.map(checksums.abstract_array, state)

    def delete_after(self, step: int) -> None:
        """Delete the checkpoints of later steps."""
        self._verify_last_save()
        if is_primary() and not [each for each in self.steps() if each <= step]:
            # No checkpoint is left, so the run rightly starts at step 0; with this marker it would be refused as one
            # that lost its checkpoints.
            quarantine.marker_file(self.directory).unlink(missing_ok=True)
        for later in [each for each in self.steps() if each > step]:
            self._relocate(later, quarantine.delete_atomically)

    def raise_if_save_failed(self) -> None:
        """Raise the failure of the save in progress, without waiting for it; if it is complete, read it back."""
        if jax.process_count() > 1:
            # They have to read back together, and may not be equally far.
            self._manager.check_for_errors()
        elif self._unverified and not self._manager.is_saving_in_progress():
            self._verify_last_save()

    def _verify_last_save(self) -> None:
        """Read the last save back, once. Raises its failure, and UserError if the disk returns other values."""
        unverified, self._unverified = self._unverified, None
        self._manager.wait_until_finished()
        self._manager.check_for_errors()
        if unverified is None:
            return
        step, like = unverified
        try:
            self._read_and_compare(step, like)
        except CorruptCheckpoint as damage:
            self._relocate(step, quarantine.quarantine_checkpoint)
            cause, remedy = f'the disk of {self.directory} may be faulty', 'Run the same command on another disk.'
            if isinstance(damage, MissingArrays):
                cause, remedy = f'this is due to the path {self.directory}', 'Rename it and run the same command again.'
            earlier = ' Earlier checkpoints are whole.' if self.steps() else ''
            raise UserError(
                f'The checkpoint of step {step} differs from what was written ({damage}): {cause}.{earlier} {remedy}'
            ) from damage
        if is_primary():
            manifest.write_manifest(self.directory / str(step))
            quarantine.marker_file(self.directory).touch()
            quarantine.drop_stash(self.directory)

    def restore(self, like: Tree, step: int | None = None) -> tuple[int, Tree, dict[str, Any]]:
        """Return (step, state, record), laid out as `like`: the newest whole checkpoint, or the one of `step`.

        A damaged one is named and renamed to '<step>.damaged', and the one before it is used; with a `step`, damage is
        a UserError, as is a checkpoint of another network. Raises CheckpointUnreadable if it cannot be read for another
        reason; then it is left unchanged.
        """
        if step is not None and step not in self.steps():
            existing = ', '.join(map(str, self.steps())) or 'none'
            raise UserError(f'{self.directory} has no checkpoint of step {step}; existing steps: {existing}.')
        if not self.steps() and not self._had_checkpoints():
            raise UserError(
                f'{self.directory} has no whole checkpoint yet. Wait until the training has saved one, or run its '
                'command again if it has ended.'
            )
        for candidate in [step] if step is not None else reversed(self.steps()):
            try:
                return candidate, *self._read_and_compare(candidate, like)
            except CorruptCheckpoint as damage:
                if step is not None:
                    raise UserError(
                        f'The checkpoint of step {step} in {self.directory} is damaged: {damage}.'
                    ) from damage
                log.warning('The checkpoint of step %d is damaged: %s. Using the one before it.', candidate, damage)
                if not self._read_only:
                    self._relocate(candidate, quarantine.quarantine_checkpoint)
        raise quarantine.no_valid_checkpoint_error(self.directory)

    def _had_checkpoints(self) -> bool:
        quarantined = quarantine.quarantined_names(self.directory)
        return bool(quarantined) or quarantine.marker_file(self.directory).exists()

    def require_fresh_run(self, has_rows: bool) -> None:
        """Raise UserError if the run, whose log has rows or not, would begin again though it had checkpoints."""
        if not self.steps():
            quarantine.require_fresh_run(self.directory, has_rows)

    def find_problem(self, step: int) -> str:
        """Read a checkpoint of any network completely; return what is wrong with it, '' if nothing."""
        try:
            self._read_top1_error(step)
            self._read_and_compare(step, None)
        except (CorruptCheckpoint, read_errors.CheckpointUnreadable) as problem:
            return str(problem)
        return ''

    def _read_and_compare(self, step: int, like: Tree | None) -> tuple[Tree, dict[str, Any]]:
        content = self._read_item(step, 'record', ocp.args.JsonRestore())
        if not isinstance(content, dict) or not {'record', 'leaves'} <= content.keys():
            raise CorruptCheckpoint('its record lacks the list of arrays')
        # Version 0.1 wrote no digest.
        if (sha256 := content.pop('sha256', None)) is not None and sha256 != checksums.json_digest(content):
            raise CorruptCheckpoint('its record is not what was saved')
        leaves = content['leaves']
        like = checksums.tree_from_spec(leaves) if like is None else like
        expected = checksums.tree_spec(like)
        saved = {name: (leaf.get('shape'), leaf.get('dtype')) for name, leaf in leaves.items()}
        if expected != saved:
            name = min(n for n in expected.keys() | saved.keys() if expected.get(n) != saved.get(n))
            there, here = (_format_spec(spec.get(name)) for spec in (saved, expected))
            raise UserError(
                f'The checkpoint of step {step} in {self.directory} is of another network: {name} is {there} there and '
                f'{here} here. Put the checkpoints of this run back, or choose the --workdir that these come from.'
            )
        state = self._read_item(step, 'state', ocp.args.StandardRestore(jax.tree.map(checksums.abstract_array, like)))
        try:
            digests = checksums.array_digests(state)
        except Exception as error:  # the host may lack the memory for what the device holds
            if cause := read_errors.transient_cause(error):
                raise read_errors.unreadable_error(step, self.directory, cause) from error
            raise
        if changed := checksums.first_difference(leaves, digests):
            raise CorruptCheckpoint(f'the values of {changed} are not those that were saved')
        return state, content['record']

    def _read_item(self, step: int, name: str, arguments: ocp.args.CheckpointArgs) -> Any:
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**{name: arguments}))[name]
        except Exception as error:  # what orbax raises depends on which byte is wrong
            sync.barrier_after_failure()  # only one process may have failed, having read another part
            if cause := read_errors.classify_error(self.directory / str(step), error):
                raise read_errors.unreadable_error(step, self.directory, cause) from error
            if name == 'state' and (reason := unmerged.explain_missing_arrays(self.directory / str(step))):
                raise MissingArrays(reason) from error
            raise CorruptCheckpoint(
                f'its {name} cannot be read ({type(error).__name__}: {first_line(error)})'
            ) from error

    def _relocate(self, step: int, move: Callable[[Path], None]) -> None:
        """Move a checkpoint out of orbax's sight, which would decline to save that step again."""
        if is_primary():
            move(self.directory / str(step))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices('checkpoint moved')
        self._manager.reload()

    def wait(self) -> None:
        """Wait until the save in progress is on disk and was read back. Raises its failure."""
        self._verify_last_save()

    def close(self) -> None:
        """Wait as `wait` does, and end orbax's threads."""
        try:
            self._verify_last_save()
        finally:
            self._manager.close()
