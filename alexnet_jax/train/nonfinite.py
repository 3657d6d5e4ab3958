"""What follows when the loss stops being a number: which examples were in those batches, and going on without them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from alexnet_jax.data import pipeline
from alexnet_jax.distributed.mesh import is_primary
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import atomic_io
from alexnet_jax.train import loop

EVENTS_FILE = 'exploded.json'
BAD_STEPS = 3  # that are told and skipped: the one at which it was seen, and those whose updates led there
MAX_SKIPPED_RANGES = 5  # ranges that a run skips; where the loss explodes once more, the batches are not to blame
MAX_NAMED_EXAMPLES = 5  # examples that are named in the sentence

log = logging.getLogger(__name__)


def first_bad_step(end: loop.NonFiniteLoss) -> int:
    """The steps done before the first one that is told."""
    return max(0, end.number - BAD_STEPS + 1)


def bad_range(end: loop.NonFiniteLoss, stream: pipeline.TrainPipeline) -> tuple[int, int]:
    """Where the examples of its batches stand in the stream: [first, last)."""
    return stream.position(first_bad_step(end)), stream.position(end.number) + len(stream.names(end.number))


def with_examples(end: loop.NonFiniteLoss, stream: pipeline.TrainPipeline, workdir: str) -> loop.NonFiniteLoss:
    """The same end with the ids of the examples in its batches, which are also written to FILE."""
    first = first_bad_step(end)
    examples = {str(number + 1): stream.names(number) for number in range(first, end.number + 1)}
    file = Path(workdir) / EVENTS_FILE
    event = {
        'steps': [first + 1, end.number + 1],
        'positions': list(bad_range(end, stream)),
        'rate': end.rate,
        'loss': str(end.loss),
        'gradient_norm': str(end.norm),
        'examples': examples,
    }
    if is_primary():
        atomic_io.write_json(file, [each for each in read_events(workdir) if each['steps'] != event['steps']] + [event])
    names = [name for batch in examples.values() for name in batch]
    return loop.NonFiniteLoss(
        end.number,
        end.loss,
        end.norm,
        end.rate,
        f'the batches of steps {first + 1} to {end.number + 1} hold {", ".join(names[:MAX_NAMED_EXAMPLES])} and '
        f'{max(len(names) - MAX_NAMED_EXAMPLES, 0)} more examples, all in {file}. Begin again with a smaller train.learning_rate or a longer '
        'train.warmup_epochs, or go on without those batches by --config.train.on_nonfinite=skip.',
    )


def read_events(workdir: str) -> list[dict[str, Any]]:
    """What exploded so far in a run."""
    try:
        return json.loads((Path(workdir) / EVENTS_FILE).read_text())
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise UserError(f'{Path(workdir) / EVENTS_FILE} is damaged ({error}); remove it.') from error


def ranges_to_skip(end: loop.NonFiniteLoss, stream: pipeline.TrainPipeline) -> pipeline.SkipRanges:
    """The ranges of examples to skip from now on. Raises the end where they are too many."""
    if len(stream.skipped) >= MAX_SKIPPED_RANGES:
        raise end
    first, last = bad_range(end, stream)
    kept = [each for each in stream.skipped if not (first <= each[0] and each[1] <= last)]
    log.warning(
        'At step %d the loss is %s: going back to the last checkpoint before step %d, to go on without the batches of '
        'steps %d to %d.',
        end.number + 1,
        end.loss,
        first_bad_step(end) + 1,
        first_bad_step(end) + 1,
        end.number + 1,
    )
    return tuple(sorted([*kept, (first, last)]))
