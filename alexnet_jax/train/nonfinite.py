"""Names the examples of the last batches when the loss is not finite, and skips them on request."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from alexnet_jax.data import pipeline
from alexnet_jax.distributed.initialize import is_primary
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import atomic_io
from alexnet_jax.train.loop import NonFiniteLoss

EVENTS_FILE = 'exploded.json'
BAD_STEPS = 3  # that are named and skipped: the one at which it was seen, and those whose updates led there
MAX_SKIPPED_RANGES = 5  # of a run; if the loss explodes once more, the batches are not to blame
MAX_NAMED_EXAMPLES = 5  # in the message

log = logging.getLogger(__name__)


def first_bad_step(error: NonFiniteLoss) -> int:
    """Return the number of steps done before the first one that is named."""
    return max(0, error.step - BAD_STEPS + 1)


def bad_range(error: NonFiniteLoss, train_data: pipeline.TrainPipeline) -> tuple[int, int]:
    """Return the positions [first, last) of the examples of its batches in the training data."""
    last = train_data.position(error.step) + len(train_data.example_ids(error.step))
    return train_data.position(first_bad_step(error)), last


def with_examples(error: NonFiniteLoss, train_data: pipeline.TrainPipeline, workdir: str) -> NonFiniteLoss:
    """Return the error with the ids of the examples in its batches, which are also written to EVENTS_FILE."""
    first, last = first_bad_step(error), error.step
    examples = {str(step + 1): train_data.example_ids(step) for step in range(first, last + 1)}
    file = Path(workdir) / EVENTS_FILE
    event = {
        'steps': [first + 1, last + 1],
        'positions': list(bad_range(error, train_data)),
        'rate': error.learning_rate,
        'loss': str(error.loss),
        'gradient_norm': str(error.gradient_norm),
        'examples': examples,
    }
    if is_primary():
        events = [each for each in read_events(workdir) if each['steps'] != event['steps']]
        atomic_io.write_json(file, [*events, event])
    names = [name for batch in examples.values() for name in batch]
    hint = (
        f'The batches of steps {first + 1} to {last + 1} hold {", ".join(names[:MAX_NAMED_EXAMPLES])} and '
        f'{max(len(names) - MAX_NAMED_EXAMPLES, 0)} more examples, all in {file}. Start again with a smaller '
        'train.learning_rate or a longer train.warmup_epochs, or continue without those batches: '
        '--config.train.on_nonfinite=skip.'
    )
    return NonFiniteLoss(error.step, error.loss, error.gradient_norm, error.learning_rate, hint)


def read_events(workdir: str) -> list[dict[str, Any]]:
    """Return the events of a run so far. Raises UserError if their file is damaged."""
    file = Path(workdir) / EVENTS_FILE
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise UserError(f'{file} is damaged ({error}). Remove it.') from error


def ranges_to_skip(error: NonFiniteLoss, train_data: pipeline.TrainPipeline) -> pipeline.SkipRanges:
    """Return the ranges of examples to skip from now on. Raises the error if there are too many."""
    if len(train_data.skipped) >= MAX_SKIPPED_RANGES:
        raise error
    first, last = bad_range(error, train_data)
    kept = [each for each in train_data.skipped if not (first <= each[0] and each[1] <= last)]
    log.warning(
        'The loss at step %d is %s: returning to the last checkpoint before step %d, to continue without the batches '
        'of steps %d to %d.',
        error.step + 1,
        error.loss,
        first_bad_step(error) + 1,
        first_bad_step(error) + 1,
        error.step + 1,
    )
    return tuple(sorted([*kept, (first, last)]))
