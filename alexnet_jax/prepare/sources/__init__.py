"""Sources of images: one file for each form in which people have them, which registers itself as SPEC.

A source has classes, splits and items in a fixed order, read one by one; it decodes, resizes and writes nothing.
"""

import importlib
import os
import pkgutil
from collections.abc import Mapping
from pathlib import Path

from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources import checksums
from alexnet_jax.prepare.sources.base import COUNT_CHECKS, Source, SourceOptions, SourceSpec
from alexnet_jax.prepare.split_names import SPLITS
from alexnet_jax.prepare.splits import Item

__all__ = ['COUNT_CHECKS', 'SOURCES', 'SPLITS', 'Item', 'Source', 'SourceOptions', 'open_source']

_MODULES = [importlib.import_module(f'{__name__}.{module.name}') for module in pkgutil.iter_modules(__path__)]
# By name: every file of this folder that has a SPEC.
SOURCES: Mapping[str, SourceSpec] = {module.SPEC.name: module.SPEC for module in _MODULES if hasattr(module, 'SPEC')}
_DEFAULTS = SourceOptions()


def open_source(name: str, path: str = '', options: SourceOptions = _DEFAULTS) -> Source:
    """Open the source of a name (SOURCES) at a path. Raises UserError if there is nothing usable."""
    spec = SOURCES.get(name)
    if spec is None:
        raise UserError(f'Unknown config.prepare.source {name!r}; expected one of {", ".join(SOURCES)}.')
    if not path and not spec.needs_path:
        return spec.open(None, options)
    if not path:
        raise UserError(f'The source {name!r} needs a path; set --config.prepare.path to {spec.path_help}.')
    if not spec.path_must_exist:
        return spec.open(path, options)
    if not os.path.exists(path):
        raise UserError(
            f'config.prepare.path {path!r} does not exist; for the source {name!r} set it to {spec.path_help}.'
        )
    if options.verify_md5:
        checksums.check_known_archives(Path(path))
    return spec.open(Path(path).absolute(), options)
