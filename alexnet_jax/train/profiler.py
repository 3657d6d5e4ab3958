"""Profile: a trace of some steps by jax's profiler, for TensorBoard's profile page, XProf or Perfetto."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import jax


class Profiler:
    """A context in which the steps from the first to the last of `steps` (counted from 1) are traced into `folder`.

    Without `steps` it does nothing. A run that is resumed behind the first traces nothing; one that ends before the
    last keeps what there is.
    """

    def __init__(self, steps: tuple[int, int] | None, folder: Path):
        self._first, self._last = steps or (0, 0)
        self._folder, self._traces = folder, False

    def __enter__(self) -> Profiler:
        return self

    def __exit__(self, *_) -> None:
        if self._traces:
            self._traces = False
            jax.profiler.stop_trace()

    def step(self, number: int) -> contextlib.AbstractContextManager:
        """What the call of step `number` stands in, so that the trace knows it."""
        if number == self._first:
            self._folder.mkdir(parents=True, exist_ok=True)
            jax.profiler.start_trace(str(self._folder))
            self._traces = True
        return (
            jax.profiler.StepTraceAnnotation('step', step_num=number)
            if self._traces
            else contextlib.nullcontext()
        )

    def ended(self, number: int, result: Any) -> str:
        """After that call: when `result` of the last step is there the trace is written; then a line about it."""
        if not (self._traces and number == self._last):
            return ''
        jax.block_until_ready(result)
        self.__exit__()
        return (
            f'step {number}  steps {self._first} to {number} are traced: tensorboard --logdir={self._folder}'
        )
