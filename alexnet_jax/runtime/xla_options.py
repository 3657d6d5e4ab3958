"""Options that XLA compiles with, where this jaxlib knows them."""

from __future__ import annotations

import functools
import logging
import math

import jax
import jax.numpy as jnp
import jaxlib

from alexnet_jax.errors import first_line

_PRODUCTS_AND_SUMS = {
    'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE'
}

log = logging.getLogger(__name__)


def compiler_options(dots_only: bool, platform: str = '') -> dict[str, str]:
    """Return the argument of jax.jit(compiler_options=...): on CPU, YNNPACK for matrix products
    and sums but not convolutions.

    Empty on other devices (`platform` is the one that is compiled for, '' the one that runs), without `dots_only`, and,
    with a warning, if this jaxlib does not know the option, which is experimental. Rounding may differ, the mathematics
    does not.
    """
    wanted = dots_only and (platform or jax.default_backend()) == 'cpu'
    return dict(_PRODUCTS_AND_SUMS) if wanted and _supports_options(tuple(_PRODUCTS_AND_SUMS.items())) else {}


def stop_cache_writes() -> None:
    """Keep jax from writing programs to its cache on disk from now on; what is there is still read.

    Programs that call oneDNN cannot be written: jaxlib 0.10.2 runs out of memory at it, and 0.12.0 ends the process.
    """
    jax.config.update('jax_persistent_cache_min_compile_time_secs', math.inf)


@functools.cache
def _supports_options(options: tuple[tuple[str, str], ...]) -> bool:
    """Return whether this jaxlib compiles with the options; tried once on a trivial function."""
    try:
        jax.jit(lambda x: x + 1, compiler_options=dict(options)).lower(jnp.zeros(())).compile()
    except (RuntimeError, ValueError) as error:
        log.warning(
            'machine.ynnpack_dots_only: off, jaxlib %s does not support it (%s)', jaxlib.__version__, first_line(error)
        )
        return False
    return True
