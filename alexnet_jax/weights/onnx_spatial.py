"""The normalization within a map as six ONNX nodes, which has no operator of its own: written and recognized.

Mul(x, x), AveragePool whose padding counts, Mul by alpha, Add of k, Pow by -beta, and Mul of x with that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from alexnet_jax.weights.protobuf_wire import Message

_OPERATORS = ('AveragePool', 'Mul', 'Add', 'Pow', 'Mul')


@dataclasses.dataclass
class SpatialNormalizationNodes:
    """The nodes so far behind the square of `source`: the window, then alpha, k and -beta."""

    source: str
    numbers: list[float] = dataclasses.field(default_factory=list)

    def take_node(
        self,
        op: str,
        inputs: Sequence[str],
        current: str,
        constants: Sequence[np.ndarray | None],
        attributes: dict[str, Message],
    ) -> bool:
        """Add the next node, which reads `current`; return whether it belongs to the normalization."""
        count = len(self.numbers)
        if op != _OPERATORS[count] or len(inputs) != (1 if count == 0 else 2):
            return False
        if count == 4:
            return list(inputs) == [self.source, current]
        if inputs[0] != current:
            return False
        if count == 0:
            window = _square_window(attributes)
            self.numbers.append(window)
            return window > 0
        number = constants[1]
        if number is None or number.size != 1:
            return False
        self.numbers.append(float(number.reshape(-1)[0]))
        return True

    def is_complete(self) -> bool:
        """Return whether only the last node is missing."""
        return len(self.numbers) == 4


def _square_window(attributes: dict[str, Message]) -> int:
    """Return n of an average over n x n pixels around each pixel in which zeros past the edge count; else 0."""
    shape, pads, strides = (
        attributes[name].integers(8) if name in attributes else [] for name in ('kernel_shape', 'pads', 'strides')
    )
    if len(shape) != 2 or shape[0] != shape[1] or not 1 <= shape[0] <= 1000:
        return 0
    before, after = shape[0] // 2, (shape[0] - 1) // 2
    counts = attributes['count_include_pad'].integer(3) if 'count_include_pad' in attributes else 0
    fits = pads == [before, before, after, after] and strides in ([], [1, 1]) and counts == 1
    return shape[0] if fits and not {'auto_pad', 'ceil_mode', 'dilations'} & set(attributes) else 0
