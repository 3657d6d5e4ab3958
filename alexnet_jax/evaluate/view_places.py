"""Places of the test-time views in an image: the center, the paper's ten, or any list of places.

    1                                 the center
    10                                four corners and the center, and the mirror image of each (paper, section 4.1)
    center,top_left+mirror,0:16       these three; 0:16 are the first row and column of a crop, in pixels

The order of the ten is the 2012 source's: row by row, then the mirror images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from alexnet_jax.errors import UserError

if TYPE_CHECKING:
    import jax

# A number of views that has a meaning of its own, or a list of places.
Views = int | str

MIRROR = '+mirror'
# Rows and columns that a crop leaves above and to the left of it, as a fraction of all that it leaves.
PLACES = {
    'top_left': (0.0, 0.0),
    'top_right': (0.0, 1.0),
    'center': (0.5, 0.5),
    'bottom_left': (1.0, 0.0),
    'bottom_right': (1.0, 1.0),
}
LISTS = {1: 'center', 10: ','.join(f'{place}{mirror}' for mirror in ('', MIRROR) for place in PLACES)}


class View(NamedTuple):
    """One crop: its upper left corner in pixels, and whether it is mirrored; or, as arrays, several of them."""

    top: int | jax.Array
    left: int | jax.Array
    mirror: bool | jax.Array


def parse_view_list(text: str) -> tuple[tuple[str | tuple[int, int], bool], ...]:
    """Parse 'center,0:16+mirror' to (('center', False), ((0, 16), True)); an empty text is ().

    Raises ValueError for another word and for a place that is given twice.
    """
    views = tuple(_parse_view(part.strip()) for part in text.split(',')) if text.strip() else ()
    if len(set(views)) < len(views):
        raise ValueError('a view is given twice')
    return views


def place_views(views: Views, image_size: int, crop_size: int) -> tuple[View, ...]:
    """Return where each of the views begins in images of `image_size` pixels, for crops of `crop_size`.

    Raises UserError for another number of views, a malformed list, and a view that leaves the image.
    """
    text = views if isinstance(views, str) else LISTS.get(views, '')
    try:
        parsed = parse_view_list(text)
    except ValueError as error:
        raise UserError(f'The list of views {text!r} cannot be read: {error}.') from error
    if not parsed:
        raise UserError(
            'The number of views must be 1 (center) or 10 (corners, center, their mirror images), or a list of places '
            f'such as center,top_left{MIRROR},0:16, not {views}.'
        )
    free = image_size - crop_size
    placed = []
    for place, mirror in parsed:
        if isinstance(place, str):
            # Half a pixel goes to the far side, as in the 2012 source.
            top, left = int(free * PLACES[place][0]), int(free * PLACES[place][1])
        else:
            top, left = place
        if max(top, left) > free:
            raise UserError(
                f'The view {top}:{left} leaves the image: crops of {crop_size} pixels in images of {image_size} begin '
                f'at 0 to {free}.'
            )
        placed.append(View(top, left, mirror))
    return tuple(placed)


def count_views(views: Views) -> int:
    """Return how many views those are."""
    return len(parse_view_list(views)) if isinstance(views, str) else views


def describe_views(views: Views) -> str:
    """Return the views as sentences name them: 'center view', 'ten views', '3 views'."""
    count = count_views(views)
    named = {1: 'center view', 10: 'ten views'} if isinstance(views, int) else {1: '1 view'}
    return named.get(count, f'{count} views')


def _parse_view(text: str) -> tuple[str | tuple[int, int], bool]:
    place = text.removesuffix(MIRROR)
    if place in PLACES:
        return place, place != text
    top, colon, left = place.partition(':')
    if not (colon and top.isdecimal() and left.isdecimal()):
        raise ValueError(f'{text!r} is neither one of {", ".join(PLACES)} nor TOP:LEFT in pixels')
    return (int(top), int(left)), place != text
