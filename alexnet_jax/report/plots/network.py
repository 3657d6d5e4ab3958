"""Figure 2 of the paper for any architecture: columns, maps, kernels, who sees whom, and the numbers that cross."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet_jax.models.architecture import (
    Activation,
    Architecture,
    Convolution,
    Dense,
    Dropout,
    Layer,
    Pooling,
    ResponseNormalization,
    Shape,
)
from alexnet_jax.report.csv_file import write_csv
from alexnet_jax.report.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inches.
MARGIN, TOP, PITCH, LINE = 0.35, 0.9, 1.42, 0.165
IMAGE_SIDE, MAX_BLOCK = 1.15, 1.5
# Of a row, above and below its blocks.
ROW_TEXT = 0.85
# Sides and numbers of maps are drawn to this power, or 13 pixels would be a point beside 224.
POWER = 0.4
# Of the edge that leads into the picture, as a part of the side.
OBLIQUE = (0.32, 0.26)
EXCHANGE = style.SERIES[1]
FACES = ('#dfe8f3', '#c3d4e9', '#a9c1de')
# More are drawn as the first two, dots, and the last.
MAX_ROWS = 4

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One block of each column: the image, or a layer with weights and the operations that follow it.

    `shape` is that of one column's output, `field` the side of what its windows lie on (0: all of it is seen), `kernel`
    and `operations` are lines of text, `exchanged` is numbers per image and direction.
    """

    name: str
    shape: Shape
    layer: Convolution | Dense | None = None
    field: int = 0
    kernel: str = ''
    operations: tuple[str, ...] = ()
    exchanged: int = 0


def list_stages(arch: Architecture) -> list[Stage]:
    """Return the image and every layer with weights, in order, each with the operations up to the next."""
    shapes, inputs, kernels = arch.activation_shapes(), arch.input_shapes(), arch.kernel_shapes()
    exchanged = arch.numbers_exchanged()
    stages = [Stage('image', (arch.crop_size, arch.crop_size, arch.channels))]
    for layer in arch.layers:
        shape = shapes[layer.name]
        if not isinstance(layer, Convolution | Dense):
            operations = (*stages[-1].operations, *_describe_operation(layer, shape))
            stages[-1] = dataclasses.replace(stages[-1], operations=operations)
            continue
        *space, maps = shape
        own = (*space, -(-maps // arch.columns))
        field, kernel = 0, f'{kernels[layer.name][0]:,} inputs'
        if isinstance(layer, Convolution):
            field, kernel = inputs[layer.name][0], '×'.join(map(str, kernels[layer.name][:-1]))
            kernel += f' /{layer.stride}' * (layer.stride > 1) + f', {layer.groups} groups' * (layer.groups > 1)
        stages.append(Stage(layer.name, own, layer, field, kernel, (), exchanged.get(layer.name, 0)))
    stages[-1] = dataclasses.replace(stages[-1], operations=(*stages[-1].operations, 'softmax'))
    return stages


def list_network_rows(arch: Architecture) -> list[dict[str, Any]]:
    """Return a row for every layer with what the drawing shows of it, for a table beside it."""
    shapes, kernels = arch.activation_shapes(), arch.kernel_shapes()
    counts, macs, exchanged = arch.parameter_counts(), arch.macs(), arch.numbers_exchanged()
    return [
        {
            'layer': layer.name,
            'kind': type(layer).__name__,
            'output': 'x'.join(map(str, shapes[layer.name])),
            'columns': arch.columns,
            'kernel_of_a_column': 'x'.join(map(str, kernels.get(layer.name, ()))),
            'window': getattr(layer, 'window', ''),
            'stride': getattr(layer, 'stride', ''),
            'sees': getattr(layer, 'input_from', ''),
            'parameters': counts.get(layer.name, 0),
            'multiply_adds': macs.get(layer.name, 0),
            'exchanged_per_image_and_direction': exchanged.get(layer.name, 0),
        }
        for layer in arch.layers
    ]


def write_network_figure(arch: Architecture, path: style.FilePath) -> list[str]:
    """Draw a network as PATH.svg and PATH.png, with its numbers in PATH.csv; an ending of `path` is left off."""
    stem = Path(path)
    stem = stem.with_suffix('') if stem.suffix.lower() in ('.svg', '.png', '.csv') else stem
    files = [f'{stem}.svg', f'{stem}.png', f'{stem}.csv']
    draw_network(arch, *files[:2])
    write_csv(files[2], list_network_rows(arch))
    return files


def draw_network(arch: Architecture, *files: style.FilePath) -> None:
    """Draw the network into each of the files, PNG or SVG by their ending.

    A row of blocks for each column, drawn by its own maps; what a layer sees of its own column is gray, what it sees of
    the others has the color of the exchange and its numbers. Text for all columns stands below.
    """
    stages = list_stages(arch)
    rows = list(range(arch.columns)) if arch.columns <= MAX_ROWS else [0, 1, arch.columns - 1]
    width = 2 * MARGIN + len(stages) * PITCH
    # The image, half way between the rows, must fit too.
    row_height = max(*(_block_height(stage) + ROW_TEXT for stage in stages[1:]), 2.3 / len(rows))
    lines = max(2 + len(stage.operations) for stage in stages)
    height = TOP + len(rows) * row_height + lines * LINE + 0.55
    figure = style.make_figure(width, height, _format_title(arch), _format_totals(arch))
    axes = style.place_axes(figure, 0, 0, width, height)
    axes.set(xlim=(0, width), ylim=(0, height))
    floors = [height - TOP - (place + 1) * row_height + 0.45 for place in range(len(rows))]
    blocks = [_place_blocks(stage, number, floors, row_height) for number, stage in enumerate(stages)]
    for number in range(1, len(stages)):
        _draw_view(axes, stages[number], blocks[number - 1], blocks[number])
    for stage, column_blocks in zip(stages, blocks, strict=True):
        for block in column_blocks:
            _draw_block(axes, block, stage)
    foot = floors[-1] - 0.5
    for number, stage in enumerate(stages):
        _write_stage(axes, stage, MARGIN + number * PITCH, foot)
    _label_columns(axes, arch, rows, floors, row_height)
    for file in files:
        style.save_figure(figure, file)


@dataclasses.dataclass(frozen=True)
class _Block:
    """A box in oblique projection: lower left corner of its front, extent of the maps, height, and edge into depth."""

    left: float
    bottom: float
    thick: float
    high: float
    depth: Point

    def face_point(self, along: float, up: float) -> Point:
        """Return a point of the right face, which is the maps' plane: both from 0 to 1."""
        x, y = self.depth
        return self.left + self.thick + along * x, self.bottom + up * self.high + along * y


def _front_height(stage: Stage) -> float:
    if len(stage.shape) == 1:
        return min(MAX_BLOCK, 0.055 * stage.shape[0] ** POWER)
    return IMAGE_SIDE * (stage.shape[0] / 224) ** POWER


def _block_height(stage: Stage) -> float:
    return _front_height(stage) * (1 if len(stage.shape) == 1 else 1 + OBLIQUE[1])


def _place_blocks(stage: Stage, number: int, floors: list[float], row_height: float) -> list[_Block]:
    """Return a block for each row of columns; the image has one, half way between them."""
    high = _front_height(stage)
    depth = (0.0, 0.0) if len(stage.shape) == 1 else (OBLIQUE[0] * high, OBLIQUE[1] * high)
    thick = 0.16 if len(stage.shape) == 1 else min(0.7, 0.055 * stage.shape[-1] ** POWER)
    if stage.layer is None:
        floors = [(floors[0] + floors[-1]) / 2]
    middle = (row_height - ROW_TEXT) / 2
    left = MARGIN + number * PITCH + 0.12
    return [_Block(left, floor + middle - (high + depth[1]) / 2, thick, high, depth) for floor in floors]


def _draw_view(axes: Axes, stage: Stage, sources: list[_Block], targets: list[_Block]) -> None:
    """Draw what a stage sees of the stage before it, row by row, and the numbers that cross between rows."""
    layer = stage.layer
    if layer is None:
        return
    for row, target in enumerate(targets):
        for source_row, source in enumerate(sources):
            is_own = len(sources) == 1 or source_row == row
            if is_own or layer.input_from == 'all':
                _draw_cone(axes, stage, source, target, style.MUTED if is_own else EXCHANGE)
    if not stage.exchanged:
        return
    right = max(block.face_point(1, 0)[0] for block in sources)
    for upper, lower in zip(sources, sources[1:], strict=False):
        height = (upper.bottom + lower.bottom + lower.high + lower.depth[1]) / 2
        axes.text(
            (right + targets[0].left) / 2 + 0.02, height, f'{stage.exchanged:,}\neach way', color=EXCHANGE, fontsize=9,
            fontweight='bold', ha='center', va='center', linespacing=1.05, zorder=6,
            bbox={'facecolor': 'white', 'edgecolor': 'none', 'pad': 1.2, 'alpha': 0.9},
        )  # fmt: skip


def _draw_cone(axes: Axes, stage: Stage, source: _Block, target: _Block, color: str) -> None:
    """Draw lines from a window of the source, or from all of it, to the target."""
    from matplotlib.patches import Polygon

    if isinstance(stage.layer, Convolution):
        size = min(1.0, max(0.16, stage.layer.kernel_size / stage.field))
        # A window at the lower right of the face, where the lines hide little of the block.
        left, low = (1 - size) * 0.6, (1 - size) * 0.45
        window = [source.face_point(left + x * size, low + y * size) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
        axes.add_patch(Polygon(window, closed=True, facecolor='white', edgecolor=style.TEXT, linewidth=1, zorder=4))
        ends = [(target.left, target.bottom + target.high * 0.5)] * 2
        starts = [window[1], window[2]]
    else:
        starts = [source.face_point(1, 0), source.face_point(1, 1)]
        ends = [(target.left, target.bottom), (target.left, target.bottom + target.high)]
    cone = [starts[0], ends[0], ends[1], starts[1]]
    axes.add_patch(Polygon(cone, closed=True, facecolor=color, edgecolor='none', alpha=0.12, zorder=1))
    for start, end in zip(starts, ends, strict=True):
        axes.plot(*zip(start, end, strict=True), color=color, linewidth=0.9, alpha=0.85, zorder=5)


def _draw_block(axes: Axes, block: _Block, stage: Stage) -> None:
    """Draw the three visible faces of a block, and its size below it."""
    from matplotlib.patches import Polygon

    x, y, (dx, dy) = block.left, block.bottom, block.depth
    right, top = x + block.thick, y + block.high
    front = [(x, y), (right, y), (right, top), (x, top)]
    roof = [(x, top), (right, top), (right + dx, top + dy), (x + dx, top + dy)]
    side = [(right, y), (right + dx, y + dy), (right + dx, top + dy), (right, top)]
    for face, color in zip((roof, side, front), (FACES[0], FACES[1], FACES[2]), strict=True):
        axes.add_patch(Polygon(face, closed=True, facecolor=color, edgecolor=style.TEXT, linewidth=0.7, zorder=3))
    *space, maps = stage.shape
    what = 'colors' if stage.layer is None else 'maps'
    size = f'{"×".join(map(str, space))}\n{maps:,} {what}' if space else f'{maps:,}'
    axes.text(x, y - 0.05, size, color=style.TEXT, fontsize=9, va='top', linespacing=1.1, zorder=6)


def _write_stage(axes: Axes, stage: Stage, left: float, top: float) -> None:
    """Write name, kernel and operations of a stage, one below the other."""
    looks = [(stage.name, style.TEXT, 'bold', 10.5), (stage.kernel, style.TEXT, 'normal', 9)]
    looks += [(line, style.MUTED, 'normal', 9) for line in stage.operations]
    for number, (text, color, weight, size) in enumerate(looks):
        axes.text(
            left + 0.12, top - number * LINE, text, color=color, fontweight=weight, fontsize=size, va='top', zorder=6
        )


def _label_columns(axes: Axes, arch: Architecture, rows: list[int], floors: list[float], row_height: float) -> None:
    """Write the letters of the columns at the left, and what the colors and the stroke mean at the foot."""
    if arch.columns > 1:
        for row, floor in zip(rows, floors, strict=True):
            name, top = f'column {style.name_column(row)}', floor + row_height - 0.62
            axes.text(MARGIN + PITCH + 0.12, top, name, color=style.TEXT, fontsize=10.5, fontweight='bold')
        if len(rows) < arch.columns:
            axes.text(MARGIN + PITCH + 0.12, floors[-1] + row_height - 0.42, '⋮', color=style.TEXT, fontsize=12)
    legend = [('what a layer sees: a window, or all' + ' of its own column' * (arch.columns > 1), style.MUTED)]
    if arch.numbers_exchanged():
        legend.append(('of another column: numbers that cross per image, and as many gradients back', EXCHANGE))
    left = MARGIN + 0.12
    for text, color in legend:
        axes.plot([left, left + 0.3], [0.22, 0.22], color=color, linewidth=2)
        axes.text(left + 0.38, 0.22, text, color=style.TEXT, fontsize=9, va='center')
        left += 0.7 + 0.071 * len(text)
    axes.text(left, 0.22, '/2: a stride of 2 pixels', color=style.MUTED, fontsize=9, va='center')


def _describe_operation(layer: Layer, shape: Shape) -> tuple[str, ...]:
    """Return the lines that name an operation without weights."""
    if isinstance(layer, Activation):
        return ({'relu': 'ReLU', 'abs_tanh': '|tanh|'}.get(layer.function, layer.function),)
    if isinstance(layer, Pooling):
        pool = f'{layer.kind} pool {layer.window}×{layer.window} /{layer.stride}'
        return (pool, f'   to {shape[0]}×{shape[1]}')
    if isinstance(layer, Dropout):
        return (f'dropout {1 - layer.keep_prob:g}',)
    return ('response norm.' if isinstance(layer, ResponseNormalization) else 'same-map norm.',)


def _format_title(arch: Architecture) -> str:
    columns = 'one column' if arch.columns == 1 else f'{arch.columns} columns'
    return f'{arch.name}: {columns}'


def _format_totals(arch: Architecture) -> str:
    """Return the totals of parameters, multiply-adds and exchanged numbers."""
    parts = [
        f'{sum(arch.parameter_counts().values()):,} parameters',
        f'{sum(arch.macs().values()):,} multiply-adds for an image',
    ]
    if exchanged := sum(arch.numbers_exchanged().values()):
        parts.append(f'{exchanged:,} numbers cross per image and direction')
    return '; '.join(parts)
