"""One self-contained HTML page about a run, or about several compared: no network, no script, pictures inside."""

from __future__ import annotations

import base64
import dataclasses
import importlib.util
import io
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.report.class_errors import ClassErrors
from alexnet_jax.report.text import format_percent

TILE_SIDE = 160  # pixels of an image on the page, at most
REQUIREMENTS = 'requirements-report.txt'


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture as a data URI, with a text for whoever cannot see it."""

    uri: str
    width: int
    height: int
    title: str
    alt: str
    caption: str


@dataclasses.dataclass(frozen=True)
class Tile:
    """A small image as a data URI, and lines below it; `is_right` puts a mark before the first."""

    uri: str
    alt: str
    lines: tuple[str, ...]
    is_right: bool | None = None


@dataclasses.dataclass(frozen=True)
class RunPage:
    """All that the page says of a run. What is empty or None is left out."""

    name: str
    verdict: str
    notes: Sequence[str] = ()
    # Label, value, note.
    numbers: Sequence[tuple[str, str, str]] = ()
    curves: Picture | None = None
    class_errors: Sequence[ClassErrors] = ()
    errors_note: str = ''
    confusion: Picture | None = None
    right_tiles: Sequence[Tile] = ()
    wrong_tiles: Sequence[Tile] = ()
    # An image, then its neighbors.
    neighbors: Sequence[Sequence[Tile]] = ()
    neighbors_note: str = ''
    kernels: Picture | None = None
    drawing: Picture | None = None
    # Field, value here, value of the paper, meaning.
    differences: Sequence[tuple[str, str, str, str]] = ()
    fields: Sequence[tuple[str, str]] = ()
    # Name, duration, share.
    phases: Sequence[tuple[str, str, float]] = ()
    time_note: str = ''
    versions: Sequence[tuple[str, str]] = ()
    # When, and what.
    commands: Sequence[tuple[str, str]] = ()


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The part of the page about several runs together, before each of them."""

    verdict: str
    names: tuple[str, ...]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    curves: Picture | None
    differences: Sequence[Sequence[str]]


def require_jinja() -> None:
    """Raise UserError unless jinja2 is installed."""
    if importlib.util.find_spec('jinja2') is None:
        raise UserError(f'The page needs jinja2, which is not installed: pip install -r {REQUIREMENTS}')


def render_page(
    runs: Sequence[RunPage], *, title: str, subtitle: str, footer: str, comparison: Comparison | None = None
) -> str:
    """Return the page as HTML. All texts are escaped."""
    import jinja2

    folder = resources.files(__package__)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=False)
    environment.filters['percent'] = format_percent
    return environment.from_string((folder / 'page.html').read_text('utf-8')).render(
        runs=runs,
        comparison=comparison,
        title=title,
        subtitle=subtitle,
        footer=footer,
        contents=_list_sections,
        # The file of this package, not a text of the run's.
        style=jinja2.utils.markupsafe.Markup((folder / 'page.css').read_text('utf-8')),
    )


def _list_sections(run: RunPage) -> list[tuple[str, str]]:
    """Return the identifiers and names of the sections that a run has."""
    sections = (
        ('result', 'Result', True),
        ('curves', 'Curves', run.curves),
        ('errors', 'Errors by class', run.class_errors),
        ('confusion', 'What is taken for what', run.confusion),
        ('predictions', 'Predictions', run.right_tiles or run.wrong_tiles),
        ('neighbors', 'Nearest images', run.neighbors),
        ('kernels', 'Kernels', run.kernels),
        ('network', 'Network', run.drawing),
        ('config', 'Config', True),
        ('time', 'Time', run.phases),
        ('versions', 'Versions', True),
    )
    return [(name, text) for name, text, shown in sections if shown]


def embed_picture(file: str | os.PathLike[str], *, title: str, alt: str, caption: str) -> Picture:
    """Return a PNG as part of the page."""
    from PIL import Image

    data = Path(file).read_bytes()
    with Image.open(io.BytesIO(data), formats=['PNG']) as picture:
        width, height = picture.size
    return Picture(_data_uri(data, 'png'), width, height, title, alt, caption)


def embed_image(pixels: np.ndarray) -> str:
    """Return an image, uint8 (height, width, 3), as the data URI of a JPEG of at most TILE_SIDE pixels a side."""
    from PIL import Image

    image, data = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((TILE_SIDE, TILE_SIDE))
    image.save(data, 'JPEG', quality=88)
    return _data_uri(data.getvalue(), 'jpeg')


def _data_uri(data: bytes, kind: str) -> str:
    return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
