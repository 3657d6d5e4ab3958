"""A trace of some steps by jax's profiler, for TensorBoard's profile page, XProf or Perfetto."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import jax


class Profiler:
    """A context in which the steps from the first to the last of `steps` (counted from 1) are traced into `folder`.

    Without `steps` it does nothing. A run that resumes behind the first traces nothing; one that ends before the last
    keeps what there is.
    """

    def __init__(self, steps: tuple[int, int] | None = None, folder: Path = Path()):
        self._first, self._last = steps or (0, 0)
        self._folder, self._tracing = folder, False

    def __enter__(self) -> Profiler:
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._tracing:
            self._tracing = False
            jax.profiler.stop_trace()

    def trace_step(self, number: int) -> contextlib.AbstractContextManager:
        """Return the context for the call of step `number`, so that the trace knows it."""
        if number == self._first:
            self._folder.mkdir(parents=True, exist_ok=True)
            jax.profiler.start_trace(str(self._folder))
            self._tracing = True
        return jax.profiler.StepTraceAnnotation('step', step_num=number) if self._tracing else contextlib.nullcontext()

    def after_step(self, number: int, result: Any) -> str:
        """After the last traced step, wait for its `result`, write the trace and return a line about it; else ''."""
        if not (self._tracing and number == self._last):
            return ''
        jax.block_until_ready(result)
        self._stop()
        return f'step {number}  traced steps {self._first} to {number}: tensorboard --logdir={self._folder}'
