"""The run directory: its lock, config, versions and commands, and the check that a command continues its run."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.commands import prepare
from alexnet_jax.config import migration, schema, validate
from alexnet_jax.data import dataset, dataset_info, remote_storage
from alexnet_jax.data.dataset_info import DatasetInfo
from alexnet_jax.distributed import consistency, heartbeat, initialize
from alexnet_jax.distributed.peer import Timeouts
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import atomic_io, jax_variables

CONFIG_FILE, RUN_FILE, CHECKPOINTS_DIR, LOCK_FILE = 'config.json', 'run.json', 'checkpoints', '.training'
DATASET_INFO_FILE = 'dataset_info.npz'
# The entry of run.json that says from which file of weights a run began.
IMPORTED = 'imported'
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'tensorflow-datasets', 'numpy')

log = logging.getLogger(__name__)


def ensure_run_dir(workdir: str) -> Path:
    """Return the run directory, created if missing. Raises UserError if that fails."""
    try:
        Path(workdir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{workdir} cannot be created ({error.strerror}); choose another --workdir.') from error
    return Path(workdir)


@contextlib.contextmanager
def lock_run_dir(workdir: str) -> Iterator[None]:
    """Hold the lock that keeps a second training out. Raises UserError if another process trains there."""
    message = f'Another process is training in {workdir}; wait for it to end, or choose another --workdir.'
    with atomic_io.lock_file(ensure_run_dir(workdir) / LOCK_FILE, message):
        yield


def init_or_validate(workdir: str, config: ConfigDict, data: dataset.Dataset) -> None:
    """Begin a run in `workdir`, or check that the one there is the same run and record this command.

    Raises UserError if a field that decides the result, or the dataset, differs; warns if versions of packages do. The
    dataset is the same if its checksum is, wherever it lies and however its images were found.
    """
    folder = ensure_run_dir(workdir)
    atomic_io.clean_temp(folder)
    atomic_io.clean_temp(folder / 'dataset')
    deciding_fields = validate.result_fields(config) | {'dataset': data.checksum}
    versions, variables = _software_versions(), jax_variables.recorded_variables()
    stored_run = read_run(workdir)
    if stored_run is not None:
        # A new batch size is allowed; it is reported when the checkpoint is read.
        deciding_fields['train.batch_size'] = stored_run['deciding'].get('train.batch_size', config.train.batch_size)
        recorded = _fill_new_fields(stored_run['deciding'])
        if recorded.get('dataset') == data.manifest_checksum:
            recorded['dataset'] = data.checksum
        if different := validate.describe_differences(recorded, deciding_fields):
            raise UserError(
                f'{workdir} holds another run: {" ".join(different)} Choose another --workdir, or the same settings.'
            )
        _check_source_images(config, stored_run, data.directory)
        changed = [
            f'{name} {old} is now {versions.get(name)}'
            for name, old in stored_run['versions'].items()
            if versions.get(name) != old
        ]
        if changed:
            log.warning(
                'Versions differ from those that this run began with, so its numbers may differ: %s.',
                ', '.join(changed),
            )
        _warn_of_variables(stored_run.get('environment'), variables)
    write_run_files(workdir, config, data, deciding_fields, stored_run)


def write_run_files(
    workdir: str,
    config: ConfigDict,
    info: DatasetInfo,
    deciding_fields: Mapping[str, object],
    stored_run: Mapping[str, Any] | None = None,
    *,
    imported: Mapping[str, Any] | None = None,
) -> None:
    """Write what a run needs of its dataset, run.json and the config.

    What `stored_run`, the content of an earlier run.json, says of the run's beginning stays; `imported` says from which
    file of weights a new one begins.
    """
    folder = ensure_run_dir(workdir)
    dataset_info.write_dataset_info(folder / DATASET_INFO_FILE, info)
    versions, variables = _software_versions(), jax_variables.recorded_variables()
    commands = (stored_run or {}).get('commands', []) + [[time.strftime('%Y-%m-%d %H:%M:%S'), shlex.join(sys.argv)]]
    atomic_io.write_json(
        folder / RUN_FILE,
        {
            'deciding': dict(deciding_fields),
            'data.directory': _absolute_path(config.data.directory),
            'prepare.path': _full_path(config.prepare.path) or _source_path(stored_run),
            'versions': (stored_run or {}).get('versions', versions),
            # None: of a run of version 0.3 or older, which did not record them.
            'environment': stored_run.get('environment') if stored_run else variables,
            'commands': commands,
            # None: of a run that began with weights drawn by its seed.
            IMPORTED: (stored_run or {}).get(IMPORTED, imported),
        },
    )
    atomic_io.write_json(folder / CONFIG_FILE, validate.flatten_config(config))


def _warn_of_variables(old: Mapping[str, str] | None, new: Mapping[str, str]) -> None:
    """Warn of variables of jax and XLA that differ from those that a run began with; None if it did not record them."""
    changed = [
        f'{name} was {(old or {}).get(name, "not set")} and is {new.get(name, "not set")}'
        for name in sorted({*(old or {}), *new})
        if (old or {}).get(name) != new.get(name)
    ]
    if changed and old is not None:
        log.warning(
            'The environment differs from that which this run began with, so its numbers may differ: %s.',
            '; '.join(changed),
        )


def _fill_new_fields(stored_fields: dict[str, object]) -> dict[str, object]:
    """Return the fields that decided a run, those that are newer than it at their defaults, without resumable ones.

    The default of a new field is what had been the only way.
    """
    defaults = validate.result_fields(schema.default_config())
    return defaults | {
        name: value for name, value in stored_fields.items() if name in defaults or name not in schema.FIELDS
    }


def _absolute_path(directory: str) -> str:
    """Return an absolute path, whatever the working directory of later commands; URLs stay as they are."""
    on_disk = directory and not remote_storage.is_remote_url(directory)
    return str(Path(os.path.expanduser(directory)).absolute()) if on_disk else directory


def _full_path(path: str) -> str:
    """Return the one spelling of a path that exists; anything else, such as the name of a dataset, as it is."""
    expanded = os.path.expanduser(path)
    return os.path.realpath(expanded) if path and os.path.exists(expanded) else path


def _source_path(stored_run: Mapping[str, Any] | None) -> str:
    """Return where the images of a run's dataset were; older versions counted that among the deciding fields."""
    stored_run = stored_run or {}
    return stored_run.get('prepare.path') or stored_run.get('deciding', {}).get('prepare.path', '')


def _check_source_images(config: ConfigDict, stored_run: Mapping[str, Any], dataset_dir: str) -> None:
    """Raise UserError if the images at config.prepare.path, which is another path than before, are other ones."""
    path = _full_path(config.prepare.path)
    if path and path != _full_path(_source_path(stored_run)):
        prepare.check_same_images(config, dataset_dir)


def require_checkpoint_space(workdir: str, *, numbers: int) -> None:
    """Raise UserError unless the disk has space for the checkpoints of a run, each of `numbers` float32 numbers.

    They are four: the two newest, the best, and the one being written; less those that exist already.
    """
    held = sum(path.name.isdecimal() for path in Path(workdir).glob(f'{CHECKPOINTS_DIR}/*'))
    needed = 4 * numbers * max(1, 4 - held)
    atomic_io.require_free_space(
        workdir, needed, subject='Saving checkpoints', hint='choose a --workdir on another disk'
    )


def saved_batch(workdir: str, record: dict[str, Any], done: int) -> tuple[int, int]:
    """Return batch size and number of examples seen of a checkpoint with this record, saved after `done` steps.

    Version 0.1 did not write them: its runs had one batch size, that of their beginning.
    """
    if 'seen' in record:
        return record['seen']['batch'], record['seen']['examples']
    batch = (read_run(workdir) or {'deciding': {}})['deciding']['train.batch_size']
    return batch, batch * done


def read_run(workdir: str) -> dict[str, Any] | None:
    """Return the content of run.json, its fields under today's names; None if no run began.

    Raises UserError if it is damaged.
    """
    file = Path(workdir) / RUN_FILE
    if not file.exists():
        return None
    try:
        run = json.loads(file.read_text())
        return run | {'deciding': migration.migrate_fields(run['deciding'])}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f'{file} is damaged ({error}); restore it from a copy, or choose another --workdir.') from error


def read_name(workdir: str) -> str:
    """Return config.name of the last training command in `workdir`; '' if it is not known."""
    try:
        return str(json.loads((Path(workdir) / CONFIG_FILE).read_text())['name'])
    except (OSError, ValueError, KeyError, TypeError):
        return ''


def display_name(workdir: str) -> str:
    """Return what logs and plots call the run in `workdir`: its config.name, else the name of the folder."""
    return read_name(workdir) or Path(workdir).absolute().name


def restore_config(config: ConfigDict, workdir: str) -> ConfigDict:
    """Return `config` with the fields that decided the run in `workdir`, and with the place of its dataset.

    Resumable fields and the sections `evaluate` and `predict` stay those of `config`. Logs the fields of the network
    that change.
    """
    stored_run = read_run(workdir) or {'deciding': {}}
    values = {
        field: value
        for field, value in stored_run['deciding'].items()
        if field in schema.FIELDS and not field.startswith('evaluate.')
    }
    if not config.data.directory:
        values['data.directory'] = stored_run.get('data.directory', '')
    given = validate.flatten_config(config)
    if other := [f for f in values if f.startswith('model.') and values[f] != given[f]]:
        log.info('As the run in %s was: %s.', workdir, ', '.join(f'{f} {values[f]!r}' for f in other))
    config = ConfigDict(config.to_dict())
    config.update_from_flattened_dict(values)
    return config


def join_processes(config: ConfigDict, workdir: str, coordinator: str, processes: int, process: int) -> None:
    """Make this process one of several if the flags or the cluster say so.

    Raises the same UserError in all of them unless they have the same config, software and folder.
    """
    info = initialize.detect_process(coordinator, processes, process)
    if info is None:
        return
    shared = Path(workdir) if workdir else prepare.locate_dataset(config, workdir)
    timeouts = Timeouts(config.machine.join_timeout, config.machine.peer_timeout, config.machine.stall_timeout)
    heartbeat.start_heartbeat(shared, info.process, info.num_processes, timeouts, initialize.join_advice(info))
    if not initialize.join_processes(info, config.machine.join_timeout):
        heartbeat.stop_heartbeat()
        return
    heartbeat.mark_joined(*initialize.process_index_and_count(), initialize.coordinator_address())
    initialize.check_own_address(heartbeat.peer_hosts())
    heartbeat.set_phase('comparing the configs of all processes')
    consistency.assert_shared_folder(shared, timeouts.peer / 2)
    consistency.assert_equal_across_hosts(_fingerprint(config))
    if config.data.directory and not config.predict.images:  # predict needs no dataset
        dataset_dir = prepare.locate_dataset(config, workdir)
        consistency.assert_dataset_everywhere(dataset_dir, prepare.has_dataset, timeouts.peer / 2)
    heartbeat.set_phase('starting')


def _fingerprint(config: ConfigDict) -> dict[str, Any]:
    """Return what must be equal in all processes: fields, versions and this package's own source."""
    fields = validate.flatten_config(config).items()
    return {
        **{f'config.{name}': value for name, value in fields if name not in schema.PER_HOST_FIELDS},
        **_software_versions(),
        'the source of alexnet_jax (its checksum)': consistency.source_checksum(),
    }


def _software_versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return versions | {'python': platform.python_version()}
