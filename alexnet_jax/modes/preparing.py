"""Mode prepare: a source of images becomes a prepared dataset."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax import recipe
from alexnet_jax.mistakes import Mistake

log = logging.getLogger(__name__)


def directory(config: ConfigDict, workdir: str) -> Path:
    """Where the prepared dataset of a run lies: data.directory, else `dataset` in the workdir."""
    if config.data.directory:
        return Path(config.data.directory).expanduser()
    if not workdir:
        raise Mistake(
            'Nothing says where the dataset goes; give --config.data.directory=... or --workdir=...'
        )
    return Path(workdir) / 'dataset'


def prepare(config: ConfigDict, workdir: str = '') -> dict[str, Any]:
    """Counts by split, classes and seconds; a dataset that is there already, of the same source, is kept as it is."""
    from alexnet_jax.data import preparation, sources

    wanted = config.prepare
    target = directory(config, workdir)
    source = sources.open_source(
        wanted.source,
        os.path.expanduser(wanted.path),
        side=wanted.side,
        seed=wanted.seed,
        validation_share=wanted.validation_share,
        test_share=wanted.test_share,
        counts=recipe.counts(config),
    )
    log.info('Preparing %s in %s: %s', source.name, target, source.note)
    return preparation.prepare(
        source,
        target,
        side=wanted.side,
        encoding=wanted.encoding,
        quality=wanted.quality,
        workers=wanted.workers,
    )
