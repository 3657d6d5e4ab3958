"""--mode=figures: draws figures of one run or several, each with its numbers beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from alexnet_jax.commands import image_figures, run_figures
from alexnet_jax.commands.figure_source import FigureSource
from alexnet_jax.commands.run_family import find_runs
from alexnet_jax.config import parse, validate
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import signals

DEFAULT_DIRECTORY = '{workdir}/figures'

log = logging.getLogger(__name__)


class Figure(NamedTuple):
    """A figure: its function, which draws into a folder; if it takes several runs; if it shows images."""

    draw: Callable[[Any, Path], None]
    takes_several: bool = False
    shows_images: bool = False


FIGURES: Mapping[str, Figure] = {
    'architecture': Figure(run_figures.draw_architecture),
    'kernels': Figure(run_figures.draw_kernels),
    'specialization': Figure(run_figures.draw_specialization, takes_several=True),
    'curves': Figure(run_figures.draw_curves, takes_several=True),
    'confusion': Figure(run_figures.draw_confusion),
    'answers': Figure(image_figures.draw_answers, shows_images=True),
    'neighbors': Figure(image_figures.draw_hidden_neighbors, shows_images=True),
    'feature_maps': Figure(image_figures.draw_feature_maps, shows_images=True),
    'saliency': Figure(image_figures.draw_saliency, shows_images=True),
    'excitation': Figure(image_figures.draw_excitation, shows_images=True),
}


def figures(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Draw the figures of config.figures.names for the run, or the runs, that --workdir names; return folder and names.

    Empty names are all that the run has the data for. Several runs are laid over each other. Raises UserError for an
    unknown figure, layer or map, and for a figure that takes a single run where several are named.
    """
    validate.validate_workdir(workdir, needed=True, writes=False)
    names = _check_names(config.figures.names)
    addresses = find_runs(workdir)
    several = len(addresses) > 1
    template = config.figures.directory or DEFAULT_DIRECTORY
    if several and not config.figures.directory:
        raise UserError(
            f'--workdir={workdir} names {len(addresses)} runs; say where their figures go, such as '
            '--config.figures.directory=/tmp/figures.'
        )
    if several and (single := [name for name in names if not FIGURES[name].takes_several]):
        family = [name for name, figure in FIGURES.items() if figure.takes_several]
        raise UserError(
            f'{", ".join(single)} shows one run, and --workdir={workdir} names {len(addresses)}; name one, or draw '
            f'{" and ".join(family)}.'
        )
    sources = [FigureSource(config, address) for address in addresses]
    if not several and (not names or 'excitation' in names):
        image_figures.choose_maps(sources[0])
    names = names or _drawable_names(sources)
    if any(FIGURES[name].shows_images for name in names):
        # Their classes are compared before anything is drawn.
        log.info('Images: %s.', sources[0].images.source)
    if 'neighbors' in names:
        image_figures.check_neighbors(sources[0])
    folder = Path(addresses[0].expand(template, step=addresses[0].step or config.evaluate.checkpoint))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f'{folder} cannot be created ({error.strerror}); choose another --config.figures.directory.'
        ) from error
    with signals.interrupt_immediately('the figures that are drawn are kept; run the same command again.'):
        for name in names:
            FIGURES[name].draw(sources if FIGURES[name].takes_several else sources[0], folder)
            log.info('%s', folder / f'{name}.png')
    return {'directory': str(folder), 'figures': list(names)}


def _check_names(text: str) -> tuple[str, ...]:
    """Return the names in a text. Raises UserError for one that is no figure."""
    names = parse.layer_names(text) or ()
    if unknown := [name for name in names if name not in FIGURES]:
        raise UserError(
            f'There is no figure {", ".join(unknown)}; config.figures.names takes {", ".join(FIGURES)}, or is empty '
            'for all of them.'
        )
    return names


def _drawable_names(sources: Sequence[FigureSource]) -> tuple[str, ...]:
    """Return the figures that these runs have the data for."""
    lacking = set()
    if any(source.arch.columns == 1 for source in sources):
        lacking.add('specialization')
    if not all(source.metric_rows for source in sources):
        lacking.add('curves')
    if len(sources) == 1 and sources[0].dataset is None:
        (source,) = sources
        if source.stored_predictions is None:
            lacking.add('confusion')
        if not source.config.predict.images:
            lacking.update(name for name, figure in FIGURES.items() if figure.shows_images)
        elif len(source.images) <= image_figures.NUM_QUERIES:
            lacking.add('neighbors')
    wanted = [name for name, figure in FIGURES.items() if len(sources) == 1 or figure.takes_several]
    if left_out := [name for name in wanted if name in lacking]:
        log.info('Not drawn, as the run has no data for it: %s.', ', '.join(left_out))
    return tuple(name for name in wanted if name not in lacking)
