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
RESULT_FIELDS: Mapping[str, Field] = {
    'seed': _SEED,
    'model.preset': _TEXT,
    'model.num_classes': _whole(0),
    'model.crop_size': _whole(0),
    'model.exchange_layers': _TEXT,
    'model.activation': _TEXT,
    'model.pooling': _TEXT,
    'model.lrn_alpha_over_n': _TEXT,
    'model.dropout': _TEXT,
    'model.dropout_position': _TEXT,
    'model.initialization': _TEXT,
    'model.compute_dtype': Field(str, words=('float32', 'bfloat16')),
    'model.matmul_precision': Field(str, words=('float32', 'tensorfloat32', 'bfloat16')),
    'prepare.source': _TEXT,
    'prepare.path': _TEXT,
    'prepare.image_size': _whole(8, 8192),
    'prepare.encoding': _TEXT,
    'prepare.jpeg_quality': _whole(1, 100),
    'prepare.validation_fraction': _SHARE,
    'prepare.test_fraction': _SHARE,
    'prepare.num_cutouts': _TEXT,
    'prepare.seed': _SEED,
    'augment.horizontal_flip': _YES,
    'augment.mean': _TEXT,
    'augment.lighting': _TEXT,
    'augment.pca_basis': _TEXT,
    'augment.lighting_std': Field(float, 0),
    'train.batch_size': _whole(1, LARGEST_BATCH),
    'train.num_epochs': Field(float, 0, 100_000, above=True),
    'train.learning_rate': Field(float, 0, above=True),
    'train.momentum': _SHARE,
    'train.weight_decay': Field(float, 0),
    'train.schedule': _TEXT,
    'train.milestones': _TEXT,
    'train.patience': _whole(1),
    'train.min_delta': Field(float, 0, 1, below=True),
    'train.decay_biases': _YES,
    'train.bias_lr_multiplier': Field(float, 0),
    'train.warmup_epochs': Field(float, 0),
    'train.layer_lr_multipliers': _TEXT,
    'evaluate.every_epochs': Field(float, 0),
}

# Fields of the machine, of cadence, of logging and of what is asked of a trained network, on which no step of the
# training depends: marked (machine) in configs/default.py, free to change on resuming.
RESUMABLE_FIELDS: Mapping[str, Field] = {
    'name': _TEXT,
    'model.use_reference_ops': _YES,
    'data.directory': _TEXT,
    'data.num_threads': _whole(1, 1024),
    'data.prefetch': _whole(1, 1024),
    'data.device_cache': _YES,
    'prepare.expected_counts': _TEXT,
    'prepare.verify_md5': _YES,
    'prepare.max_unreadable': _whole(0),
    'prepare.num_workers': _whole(1, 1024),
    'train.profile_steps': _TEXT,
    'train.grad_accumulation': _whole(1),
    'train.on_nonfinite': Field(str, words=('stop', 'skip')),
    'evaluate.views': Field(int, words=(1, 10)),
    'evaluate.split': Field(str, words=('train', 'validation', 'test')),
    'evaluate.batch_size': _whole(1, LARGEST_BATCH),
    'evaluate.checkpoint': _TEXT,
    'predict.images': _TEXT,
    'benchmark.steps': _whole(1),
    'benchmark.rounds': _whole(1),
    'checkpoint.every_steps': _whole(0),
    'checkpoint.keep_every_steps': _whole(0),
    'log.every_steps': _whole(1),
    'log.stalled_loss_steps': _whole(0),
    'log.time_breakdown': _YES,
    'log.tensorboard': _YES,
    'mesh': _TEXT,
    'machine.cpu_devices': _whole(1, 1024),
    'machine.join_timeout': _whole(1, 86400),
    'machine.peer_timeout': _whole(2, 86400),
    'machine.stall_timeout': _whole(0, 864000),
    'machine.compilation_cache': _TEXT,
    'machine.keep_memory': _YES,
    'machine.deterministic': _YES,
    'machine.ynnpack_dots_only': _YES,
}
FIELDS: Mapping[str, Field] = {**RESULT_FIELDS, **RESUMABLE_FIELDS}
