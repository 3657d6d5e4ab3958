"""Figures of single images: answers, nearest neighbors, feature maps, saliency, and what excites a map."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alexnet_jax.analysis.activation_names import resolve_layers
from alexnet_jax.analysis.excitation import Excitations, find_most_exciting
from alexnet_jax.analysis.image_set import ImageSet
from alexnet_jax.analysis.input_gradients import AscentOptions, class_gradients, optimize_images, saliency_maps
from alexnet_jax.analysis.neighbors import find_neighbors
from alexnet_jax.analysis.receptive_field import receptive_field
from alexnet_jax.commands.figure_source import FigureSource
from alexnet_jax.config import parse
from alexnet_jax.errors import UserError
from alexnet_jax.evaluate.metrics import TOP_K
from alexnet_jax.models.architecture import Activation
from alexnet_jax.report.csv_file import write_csv
from alexnet_jax.report.plots.image_rows import Tile, color_map_pixels, draw_image_rows
from alexnet_jax.report.plots.neighbor_sheet import draw_neighbor_sheet
from alexnet_jax.report.plots.top_five import plot_top_five
from alexnet_jax.runtime import atomic_io

# As figure 4 of the paper: test images, and the training images nearest to each.
NUM_QUERIES, NUM_NEIGHBORS = 5, 6
MAPS_PER_LAYER, NUM_MAPS, NUM_EXCITING = 8, 8, 6


def draw_answers(source: FigureSource, folder: Path) -> None:
    """Draw figure 4, left: eight images with the probabilities of their five most probable classes."""
    shown, names = source.shown, source.class_names
    probabilities = source.compute_activations(['prob'], shown.pixels)['prob']
    plot_top_five(shown.pixels, shown.labels, probabilities, names, folder / 'answers.png')
    rows = [
        {
            'image': name,
            'class': names[label] if label >= 0 else '',
            'rank': rank + 1,
            'predicted': names[answer],
            'probability': float(row[answer]),
        }
        for name, label, row in zip(shown.ids, shown.labels, probabilities, strict=True)
        for rank, answer in enumerate(np.argsort(-row, kind='stable')[:TOP_K].tolist())
    ]
    write_csv(folder / 'answers.csv', rows)


class HiddenNeighbors(NamedTuple):
    """Images and those nearest to them in the last hidden layer: rows of tiles, the query first, and of a table."""

    tiles: list[list[Tile]]
    table: list[dict[str, Any]]
    layer: str
    description: str


def draw_hidden_neighbors(source: FigureSource, folder: Path) -> None:
    """Draw figure 4, right: the training images whose last hidden activations are nearest, beside five images."""
    found = find_hidden_neighbors(source)
    title = f'Nearest images in the last hidden layer ({found.layer})'
    draw_neighbor_sheet(found.tiles, folder / 'neighbors.png', title=title, subtitle=found.description)
    write_csv(folder / 'neighbors.csv', found.table)


def check_neighbors(source: FigureSource) -> None:
    """Raise UserError unless there are images beside those whose neighbors are drawn."""
    searched = source.training_images or source.images
    if searched.digest == source.images.digest and len(searched) <= NUM_QUERIES:
        raise _too_few_images(searched)


def find_hidden_neighbors(source: FigureSource) -> HiddenNeighbors:
    """Return the nearest training images of five images, by the activations that the last layer sees.

    Without the training images they are searched among the other images. Raises UserError if there are none.
    """
    layer, shown = source.hidden_layer, source.shown
    searched = source.training_images or source.images
    kept: list[int] = []
    batches = source.read_pixels(searched, source.sample_images(searched), kept)
    parts = [part[layer] for part in source.iterate_activations([layer], batches)]
    # An image is not its own neighbor.
    is_same = searched.digest == source.images.digest
    others = [place for place, row in enumerate(kept) if not (is_same and row in shown.rows[:NUM_QUERIES])]
    if not others:
        raise _too_few_images(searched)
    features, kept = np.concatenate(parts)[others], [kept[place] for place in others]
    queries = source.compute_activations([layer], shown.pixels)[layer][:NUM_QUERIES]
    count = min(NUM_NEIGHBORS, len(features))
    found = find_neighbors(queries, features, count=count)
    rows, table = [], []
    for query, (places, distances) in enumerate(zip(found.rows.tolist(), found.distances.tolist(), strict=True)):
        label = shown.labels[query]
        tiles = [Tile(shown.pixels[query], source.class_names[label] if label >= 0 else shown.ids[query])]
        for rank, (place, distance) in enumerate(zip(places, distances, strict=True)):
            pixels, other, name = searched.records[kept[place]]
            other_name = source.class_names[other] if other >= 0 else name
            tiles.append(Tile(pixels, other_name, None if min(label, other) < 0 else other == label))
            table.append(
                {
                    'image': shown.ids[query],
                    'rank': rank + 1,
                    'neighbor': name,
                    'class': other_name,
                    'distance': distance,
                }
            )
        rows.append(tiles)
    kind = '' if is_same else 'training '
    description = (
        f'left: {_describe_shown(source)}; right: the nearest of {len(features):,} {kind}images by Euclidean distance'
    )
    return HiddenNeighbors(rows, table, layer, description)


def draw_feature_maps(source: FigureSource, folder: Path) -> None:
    """Draw the most active maps of one image, a row for each convolution, and write all maps."""
    shapes = source.arch.activation_shapes()
    layers = [each.name for each in source.arch.layers if isinstance(each, Activation) and len(shapes[each.name]) == 3]
    layers = layers or [source.chosen_layer]
    pixels, columns = source.shown.pixels[:1], source.arch.columns
    maps = {layer: values[0] for layer, values in source.compute_activations(layers, pixels).items()}
    label = source.shown.labels[0]
    rows = [[Tile(source.view.crop(pixels)[0], source.class_names[label] if label >= 0 else source.shown.ids[0])]]
    names = ['image\nas it is seen']
    for layer, values in maps.items():
        rows.append(_map_tiles(values, columns))
        names.append(f'{layer}\n{values.shape[0]}×{values.shape[1]},\n{values.shape[2]} maps')
    draw_image_rows(
        rows,
        folder / 'feature_maps.png',
        title='What each layer makes of an image',
        subtitle=f'the {MAPS_PER_LAYER} most active maps{", half of each column (a, b)" * (columns == 2)}, each from '
        'zero (black) to its largest number (bright)',
        names=names,
    )
    with atomic_io.write_atomic(folder / 'feature_maps.npz', 'wb') as file:
        np.savez_compressed(file, image=pixels[0], **maps)


def draw_saliency(source: FigureSource, folder: Path) -> None:
    """Draw the gradient of the logit of the most probable class with respect to each of eight images."""
    shown = source.shown
    inputs = np.asarray(source.view.prepare(shown.pixels))
    answers = source.compute_activations(['prob'], shown.pixels)['prob'].argmax(axis=1)
    gradients = class_gradients(source.run.model, source.parameters, inputs, answers)
    maps = saliency_maps(gradients)
    # Single pixels are often far above all others.
    bright = [color_map_pixels(each, highest=float(np.quantile(each, 0.995))) for each in maps]
    crops = source.view.crop(shown.pixels)
    marked = [
        Tile(crop, source.class_names[answer], None if label < 0 else label == answer)
        for crop, answer, label in zip(crops, answers.tolist(), shown.labels, strict=True)
    ]
    draw_image_rows(
        [marked, [Tile(each) for each in bright]],
        folder / 'saliency.png',
        title='Where a changed pixel changes the answer most',
        subtitle='below: the largest absolute gradient over the colors, of the logit of the predicted class (above)',
        names=['image and\npredicted class', 'gradient'],
    )
    with atomic_io.write_atomic(folder / 'saliency.npz', 'wb') as file:
        np.savez_compressed(file, ids=np.array(shown.ids), predicted=answers, images=crops, gradients=gradients)


def draw_excitation(source: FigureSource, folder: Path) -> None:
    """Draw for some maps an image that was optimized to excite it, and the images that excite it most."""
    layer, maps = choose_maps(source)
    kept: list[int] = []
    batches = source.read_pixels(source.images, source.sample_images(source.images), kept)
    parts = (part[layer] for part in source.iterate_activations([layer], batches))
    found = find_most_exciting(parts, maps, count=NUM_EXCITING)
    ascent = AscentOptions(source.config.figures.steps)
    optimized, history = optimize_images(source.run.model, source.parameters, source.view, layer, maps, ascent)
    size = receptive_field(source.arch, layer).size
    sees = f'frames: the {size} pixels that the place sees' if size < source.arch.crop_size else 'a place sees all'
    draw_image_rows(
        [_exciting_tiles(source, layer, number, optimized[number], found, kept) for number in range(len(maps))],
        folder / 'excitation.png',
        title=f'What excites maps of {layer}',
        subtitle=f'left: an image optimized for the map; right: of {len(kept):,} images those with its largest '
        f'activations; {sees}',
        names=[f'{layer}\nmap {number}{_column_note(source, layer, number)}' for number in maps],
        is_first_apart=True,
    )
    with atomic_io.write_atomic(folder / 'excitation.npz', 'wb') as file:
        np.savez_compressed(file, maps=np.array(maps), optimized=optimized, activation_by_step=history)
    write_csv(folder / 'excitation.csv', _excitation_rows(source.images, maps, found, kept))


def _too_few_images(searched: ImageSet) -> UserError:
    return UserError(
        f'The figure neighbors shows the images nearest to {NUM_QUERIES} others, and {searched.source} has no more '
        'than these that can be read. Name more by --images, or leave out neighbors.'
    )


def _map_tiles(values: np.ndarray, columns: int) -> list[Tile]:
    """Return the most active maps of (height, width, maps), as many of each of two columns, by falling mean."""
    halves = columns if columns == 2 else 1
    size = values.shape[-1] // halves
    tiles = []
    for column in range(halves):
        part = values[..., column * size : (column + 1) * size]
        best = np.argsort(-part.mean(axis=(0, 1)), kind='stable')[: MAPS_PER_LAYER // halves]
        letter = f'{"ab"[column]} ' if halves == 2 else ''
        tiles += [Tile(color_map_pixels(part[..., number]), f'{letter}{number}') for number in best.tolist()]
    return tiles


def choose_maps(source: FigureSource) -> tuple[str, list[int]]:
    """Return the layer of config.figures.layer and the maps of config.figures.maps, else eight maps at even steps.

    Raises UserError for a layer or a map that is not there.
    """
    (layer,) = resolve_layers(source.arch, [source.chosen_layer])
    count = source.arch.activation_shapes()[layer][-1]
    maps = parse.map_numbers(source.config.figures.maps)
    if wrong := [number for number in maps if number >= count]:
        raise UserError(
            f'{layer} has the maps 0 to {count - 1}, so there is no map {wrong[0]}; set config.figures.maps.'
        )
    return layer, list(maps) or np.unique(np.linspace(0, count - 1, NUM_MAPS).round().astype(int)).tolist()


def _exciting_tiles(
    source: FigureSource, layer: str, number: int, optimized: np.ndarray, found: Excitations, kept: list[int]
) -> list[Tile]:
    """Return the optimized image of a map and its most exciting images, each with what the place sees in a frame."""
    field, size = receptive_field(source.arch, layer), source.arch.crop_size
    has_places = len(source.arch.activation_shapes()[layer]) == 3 and field.size < size
    tiles = [Tile(np.clip(np.rint(optimized), 0, 255).astype(np.uint8), 'optimized')]
    for place, value, (row, column) in zip(
        found.rows[number].tolist(), found.values[number].tolist(), found.places[number].tolist(), strict=True
    ):
        pixels, label, name = source.images.records[kept[place]]
        (top, bottom), (left, right) = field.clip(row, size), field.clip(column, size)
        caption = f'{value:.3g} {source.class_names[label] if label >= 0 else name}'
        crop = source.view.crop(pixels[None])[0]
        tiles.append(Tile(crop, caption, box=(top, left, bottom, right) if has_places else None))
    return tiles


def _excitation_rows(images: ImageSet, maps: list[int], found: Excitations, kept: list[int]) -> list[dict]:
    return [
        {
            'map': number,
            'rank': rank + 1,
            'image': images.records[kept[row]][2],
            'activation': float(found.values[place, rank]),
            'row': int(found.places[place, rank, 0]),
            'column': int(found.places[place, rank, 1]),
        }
        for place, number in enumerate(maps)
        for rank, row in enumerate(found.rows[place].tolist())
    ]


def _column_note(source: FigureSource, layer: str, number: int) -> str:
    """Return which column a map belongs to."""
    count, columns = source.arch.activation_shapes()[layer][-1], source.arch.columns
    if columns != 2:
        return ''
    return f'\ncolumn {"ab"[number * columns // count]}'


def _describe_shown(source: FigureSource) -> str:
    return 'images given' if source.config.predict.images else f'{source.images.split} images'
