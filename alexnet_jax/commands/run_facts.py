"""Read what a run directory says of its run without its network: config, metrics, timings, and what was measured."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet_jax.commands import run_dir
from alexnet_jax.commands.run_family import RunAddress
from alexnet_jax.config import migration, schema, validate
from alexnet_jax.data import dataset_info
from alexnet_jax.data.dataset_info import DatasetInfo
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.view_places import Views, describe_views
from alexnet_jax.report import run_result
from alexnet_jax.report.text import format_percent
from alexnet_jax.train import metrics_writer


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Error rates of one checkpoint on one split, and the 95 % interval of the top-1 error; all 0 to 1."""

    top1_error: float
    interval: tuple[float, float]
    top5_error: float
    loss: float | None
    images: int
    split: str
    views: Views
    checkpoint_step: int
    sentence: str
    dataset: str  # its checksum; '' for the run's own


class RunFacts:
    """The files of a run directory, read when they are asked for."""

    def __init__(self, address: RunAddress):
        """Raises UserError if no run began there."""
        self.folder, self.step = Path(address.run_dir), int(address.step) if address.step else None
        stored = run_dir.read_run(address.run_dir)
        if stored is None:
            raise UserError(
                f'{address.run_dir} has no run: there is no {run_dir.RUN_FILE}. Name the --workdir of a training.'
            )
        self.stored: dict[str, Any] = stored

    @functools.cached_property
    def fields(self) -> Mapping[str, object]:
        """The config of the newest training command, its fields under today's names."""
        content = self._read_json(run_dir.CONFIG_FILE) or {}
        return migration.migrate_fields(content) if content else dict(self.stored['deciding'])

    @property
    def name(self) -> str:
        """The config's name, else that of the folder."""
        return run_dir.display_name(str(self.folder))

    @property
    def deciding(self) -> dict[str, object]:
        """The fields that decide the result, those that are newer than the run at their defaults."""
        defaults = validate.result_fields(schema.default_config())
        return defaults | {field: value for field, value in self.stored['deciding'].items() if field in defaults}

    @functools.cached_property
    def info(self) -> DatasetInfo | None:
        """Class names and mean of the dataset; None in runs of old versions."""
        return dataset_info.read_dataset_info(self.folder / run_dir.DATASET_INFO_FILE)

    @functools.cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, up to the step if one was named."""
        return metrics_writer.read_metrics(self.folder, last_step=self.step)

    @functools.cached_property
    def timings(self) -> list[dict[str, Any]]:
        """The rows of timings.jsonl."""
        return metrics_writer.read_timings(self.folder)

    @functools.cached_property
    def result(self) -> dict[str, Any] | None:
        """The content of result.json; None before the end of the training."""
        return self._of_this_step(self._read_json(run_result.RESULT_FILE))

    @functools.cached_property
    def measured(self) -> Measurement | None:
        """The error at the end of the training, else that of --mode=evaluate; None if none was measured."""
        if result := self.result:
            interval = result['interval']['low'], result['interval']['high']
            return _as_measurement(result, interval, run_result.summarize_result(result))
        if found := self._of_this_step(self._read_json(run_result.EVALUATION_FILE)):
            low, high = found['interval']
            note = f' ({found["note"].rstrip(".")})' if found.get('note') else ''
            return _as_measurement(
                found,
                (low, high),
                f'{format_percent(found["top1_error"])} top-1 error on {found["images"]:,} {found["split"]} images '
                f'({describe_views(found["views"])}, 95 % interval {format_percent(low)} to '
                f'{format_percent(high)}) at step {found["checkpoint_step"]:,}{note}.',
            )
        return None

    def last_value(self, key: str) -> float | None:
        """Return the newest value of a key of metrics.jsonl; None if no row has it."""
        return next((row[key] for row in reversed(self.metrics) if key in row), None)

    def _of_this_step(self, found: dict[str, Any] | None) -> dict[str, Any] | None:
        return found if found and self.step in (None, found['checkpoint_step']) else None

    def _read_json(self, name: str) -> dict[str, Any] | None:
        file = self.folder / name
        try:
            return json.loads(file.read_text('utf-8'))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise UserError(f'{file} is damaged ({error}); restore it from a copy, or delete it.') from error


def _as_measurement(content: Mapping[str, Any], interval: tuple[float, float], sentence: str) -> Measurement:
    names = ('top1_error', 'top5_error', 'loss', 'images', 'split', 'views', 'checkpoint_step')
    fields = {name: content[name] for name in names}
    return Measurement(interval=interval, sentence=sentence, dataset=content.get('dataset', ''), **fields)
