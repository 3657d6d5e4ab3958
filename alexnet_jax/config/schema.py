"""Every field of a config: what it may hold, and whether it decides the result or only concerns the machine.

The words of a choice are not here but in the room that offers them; recipe.py asks for them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

LARGEST = 2**31 - 1
LARGEST_BATCH = 2**17  # images; four times the 32,768 of You et al. (2017)


@dataclasses.dataclass(frozen=True)
class Field:
    """What a field may hold: a kind, and for numbers the range."""

    kind: type
    low: float = -math.inf
    high: float = math.inf
    words: tuple = ()  # where the choice is not a room's
    above: bool = False  # low itself is out
    below: bool = False  # high itself is out

    def admits(self, value) -> bool:
        """Whether the value is of the kind and in the range; a whole number does for a float, True for no number."""
        kinds = (int, float) if self.kind is float else self.kind
        if not isinstance(value, kinds) or (isinstance(value, bool) and self.kind is not bool):
            return False
        if self.words:
            return value in self.words
        if self.kind in (bool, str):
            return True
        return (
            math.isfinite(value)
            and (self.low < value if self.above else self.low <= value)
            and (value < self.high if self.below else value <= self.high)
        )

    def __str__(self) -> str:
        if self.words:
            return 'one of ' + ', '.join(map(str, self.words))
        if self.kind in (bool, str):
            return 'True or False' if self.kind is bool else 'text'
        noun = 'a whole number' if self.kind is int else 'a number'
        low = f'{"above" if self.above else "from"} {self.low:g}'
        high = (
            ''
            if self.high in (math.inf, LARGEST)
            else f' {"and below" if self.below else "and up to" if self.above else "to"} {self.high:.10g}'
        )
        return f'{noun} {low}{high}'


def _whole(low: int, high: int = LARGEST) -> Field:
    return Field(int, low, high)


_TEXT, _YES, _SEED = (
    Field(str),
    Field(bool),
    _whole(0, 2**32 - 1),
)  # seeds: what JAX, NumPy and grain take alike
_SHARE = Field(float, 0, 1, below=True)

# Fields that decide the result: a workdir refuses to go on under other values.
DECIDING: Mapping[str, Field] = {
    'seed': _SEED,
    'network.preset': _TEXT,
    'network.classes': _whole(0),
    'network.crop': _whole(0),
    'network.exchange': _TEXT,
    'network.activation': _TEXT,
    'network.pooling': _TEXT,
    'network.alpha': _TEXT,
    'network.dropout': _TEXT,
    'network.dropout_place': _TEXT,
    'network.initialisation': _TEXT,
    'network.compute': Field(str, words=('float32', 'bfloat16')),
    'network.precision': Field(str, words=('float32', 'tensorfloat32', 'bfloat16')),
    'prepare.source': _TEXT,
    'prepare.path': _TEXT,
    'prepare.side': _whole(8, 8192),
    'prepare.encoding': _TEXT,
    'prepare.quality': _whole(1, 100),
    'prepare.validation_share': _SHARE,
    'prepare.test_share': _SHARE,
    'prepare.counts': _TEXT,
    'prepare.seed': _SEED,
    'augment.mirror': _YES,
    'augment.mean': _TEXT,
    'augment.lighting': _TEXT,
    'augment.colours': _TEXT,
    'augment.lighting_deviation': Field(float, 0),
    'train.batch': _whole(1, LARGEST_BATCH),
    'train.epochs': Field(float, 0, 100_000, above=True),
    'train.rate': Field(float, 0, above=True),
    'train.momentum': _SHARE,
    'train.decay': Field(float, 0),
    'train.schedule': _TEXT,
    'train.drops': _TEXT,
    'train.patience': _whole(1),
    'train.min_delta': Field(float, 0, 1, below=True),
    'train.decay_biases': _YES,
    'train.bias_rate': Field(float, 0),
    'train.warmup_epochs': Field(float, 0),
    'train.layer_rates': _TEXT,
    'evaluate.every_epochs': Field(float, 0),
}

# Fields of the machine, of cadence, of logging and of what is asked of a trained network, on which no step of the
# training depends: marked (machine) in configs/default.py, free to change on resuming.
MACHINE: Mapping[str, Field] = {
    'name': _TEXT,
    'network.plain': _YES,
    'data.directory': _TEXT,
    'data.threads': _whole(1, 1024),
    'data.ahead': _whole(1, 1024),
    'data.device_cache': _YES,
    'prepare.expect': _TEXT,
    'prepare.md5': _YES,
    'prepare.unreadable': _whole(0),
    'prepare.workers': _whole(1, 1024),
    'train.profile': _TEXT,
    'train.accumulate': _whole(1),
    'train.explosion': Field(str, words=('stop', 'skip')),
    'evaluate.views': Field(int, words=(1, 10)),
    'evaluate.split': Field(str, words=('train', 'validation', 'test')),
    'evaluate.batch': _whole(1, LARGEST_BATCH),
    'evaluate.checkpoint': _TEXT,
    'predict.images': _TEXT,
    'benchmark.steps': _whole(1),
    'benchmark.rounds': _whole(1),
    'checkpoint.every_steps': _whole(0),
    'checkpoint.keep_every_steps': _whole(0),
    'log.every_steps': _whole(1),
    'log.standstill_steps': _whole(0),
    'log.shares': _YES,
    'log.tensorboard': _YES,
    'mesh': _TEXT,
    'machine.cpu_devices': _whole(1, 1024),
    'machine.join_seconds': _whole(1, 86400),
    'machine.peer_seconds': _whole(2, 86400),
    'machine.stuck_seconds': _whole(0, 864000),
    'machine.cache': _TEXT,
    'machine.keep_memory': _YES,
    'machine.deterministic': _YES,
    'machine.dots_only': _YES,
}
FIELDS: Mapping[str, Field] = {**DECIDING, **MACHINE}
