"""--mode=neighbors: finds images whose activations are nearest; writes arrays, JSON lines and pictures."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.analysis.feature_files import FeatureFiles, open_features
from alexnet_jax.analysis.image_set import ImageSet
from alexnet_jax.analysis.neighbors import Neighbors, find_neighbors
from alexnet_jax.commands.features import DEFAULT_DIRECTORY, ExtractedFeatures, extract_family
from alexnet_jax.report.plots.neighbor_sheet import Tile, draw_neighbor_sheet
from alexnet_jax.report.text import format_percent
from alexnet_jax.runtime import atomic_io, signals

NEIGHBORS_DIR = 'neighbors'
QUERIES_DIR = 'queries'
# Of the picture.
MAX_QUERIES, MAX_NEIGHBORS = 8, 8

log = logging.getLogger(__name__)


def neighbors(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Write the nearest images of --images to each of the queries, at each of --layers; return folders and counts.

    The queries are those of config.neighbors.queries, else the images themselves. Features that are there already are
    not extracted again.
    """
    extracted = extract_family(config, workdir)
    queries = extract_family(_query_config(config), workdir) if config.neighbors.queries else extracted
    with signals.interrupt_immediately('the features are kept; run the same command again.'):
        for each, asked in zip(extracted, queries, strict=True):
            for layer in each.layers:
                _search_layer(config, layer, each, asked)
    return {
        'directories': [str(each.directory / NEIGHBORS_DIR) for each in extracted],
        'queries': len(open_features(queries[0].directory)),
    }


def _query_config(config: ConfigDict) -> ConfigDict:
    """Return the config for the features of the queries, which lie in a folder of those of the images."""
    changed = ConfigDict(config.to_dict())
    changed.predict.images = config.neighbors.queries
    changed.features.directory = f'{config.features.directory or DEFAULT_DIRECTORY}/{QUERIES_DIR}'
    return changed


def _search_layer(config: ConfigDict, layer: str, extracted: ExtractedFeatures, asked: ExtractedFeatures) -> None:
    """Find the neighbors at one layer and write them."""
    features, queries = open_features(extracted.directory), open_features(asked.directory)
    same_images = asked.directory == extracted.directory
    found = find_neighbors(
        queries[layer],
        features[layer],
        count=config.neighbors.count,
        metric=config.neighbors.metric,
        same_images=same_images,
    )
    folder = extracted.directory / NEIGHBORS_DIR
    folder.mkdir(exist_ok=True)
    for name, array in (('rows', found.rows), ('distances', found.distances)):
        with atomic_io.write_atomic(folder / f'{layer}_{name}.npy', 'wb') as file:
            np.save(file, array)
    with atomic_io.write_atomic(folder / f'{layer}.jsonl') as file:
        file.writelines(json.dumps(row) + '\n' for row in neighbor_rows(queries, features, found))
    draw_neighbors(folder / f'{layer}.png', (queries, asked.images), (features, extracted.images), found)
    log.info(
        'The %d nearest of %s images to each of %s in %s (%s) are in %s.%s',
        config.neighbors.count,
        f'{len(features):,}',
        f'{len(queries):,}',
        layer,
        config.neighbors.metric,
        folder,
        _agreement_note(queries, features, found),
    )


def neighbor_rows(queries: FeatureFiles, features: FeatureFiles, found: Neighbors) -> list[dict[str, Any]]:
    """Return a dict for each query: its id and class, and those of its neighbors with their distances."""
    rows = []
    for query, (numbers, distances) in enumerate(zip(found.rows.tolist(), found.distances.tolist(), strict=True)):
        near = [
            {'id': features.ids[number], 'class': features.class_name(number), 'distance': distance}
            for number, distance in zip(numbers, distances, strict=True)
        ]
        rows.append({'id': queries.ids[query], 'class': queries.class_name(query), 'neighbors': near})
    return rows


def _agreement_note(queries: FeatureFiles, features: FeatureFiles, found: Neighbors) -> str:
    """Return a sentence on how often the nearest image is of the query's class; '' if no class is known."""
    pairs = [
        (queries.class_name(query), features.class_name(row)) for query, row in enumerate(found.rows[:, 0].tolist())
    ]
    known = [own == near for own, near in pairs if own is not None and near is not None]
    if not known:
        return ''
    return f' The nearest is of the same class for {format_percent(sum(known) / len(known))} of {len(known):,}.'


def draw_neighbors(
    file: Path, asked: tuple[FeatureFiles, ImageSet], searched: tuple[FeatureFiles, ImageSet], found: Neighbors
) -> None:
    """Draw some queries, from the first to the last, with their nearest images."""

    def read_tile(side: tuple[FeatureFiles, ImageSet], row: int, caption: str = '', own: str | None = None) -> Tile:
        features, images = side
        name = features.class_name(row)
        same = None if own is None or name is None else name == own
        return Tile(images.find_image(features.ids[row], row), f'{caption}{name or features.ids[row]}', same)

    chosen = np.unique(np.linspace(0, len(found.rows) - 1, MAX_QUERIES).round().astype(int)).tolist()
    rows = []
    for query in chosen:
        own = asked[0].class_name(query)
        near = zip(found.rows[query, :MAX_NEIGHBORS].tolist(), found.distances[query].tolist(), strict=False)
        rows.append([read_tile(asked, query), *(read_tile(searched, row, f'{d:.3g} ', own) for row, d in near)])
    draw_neighbor_sheet(
        rows,
        file,
        title=f'Nearest images in {file.stem}',
        subtitle=f'{len(chosen)} of {len(found.rows):,} queries (left), searched among {len(searched[0]):,} images; '
        'numbers are distances',
    )
