"""Errors that were published of the networks of the cards (configs/*.py), by the name that a card gives its run.

docs/results.md says where each figure comes from. Errors are fractions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class PublishedError(NamedTuple):
    """Top-1 and top-5 error, None where it was not published, over these views of the images of a challenge."""

    top1: float
    top5: float | None
    views: int
    images: str
    num_images: int


class _Images(NamedTuple):
    images: str
    num_images: int


_VALIDATION_2012 = _Images('validation images of ILSVRC 2012', 50_000)
_TEST_2010 = _Images('test images of ILSVRC 2010', 150_000)
# All these sets have a thousand classes.
NUM_CLASSES = 1000


def _published(top1: float, top5: float | None, views: int = 10, images: _Images = _VALIDATION_2012) -> PublishedError:
    """Return the figure, given in percent."""
    return PublishedError(top1 / 100, None if top5 is None else top5 / 100, views, *images)


PUBLISHED_ERRORS: Mapping[str, Sequence[PublishedError]] = {
    # The paper's tables 1 and 2.
    'paper': (_published(40.7, 18.2),),
    'imagenet': (_published(40.7, 18.2),),
    'finetune_fall2011': (_published(38.990, 16.622),),
    # Runs of the 2012 source.
    'source145': (_published(40.664, 18.210),),
    'source145_2010': (_published(37.473, 16.999, 10, _TEST_2010), _published(39.025, 18.295, 1, _TEST_2010)),
    'source145_longer': (_published(40.250, 17.994),),
    'run137_2010': (_published(37.617, 17.125, 10, _TEST_2010),),
    'one_gpu': (_published(39.168, 18.229, 10, _TEST_2010),),
    'no_overlap': (_published(41.058, 18.510),),
    'no_lrn': (_published(42.034, 19.362),),
    'no_communication': (_published(41.828, 19.330),),
    'half_precision_exchange': (_published(40.524, 18.416),),
    'no_norm2': (_published(40.488, 18.118),),
    # Ports.
    'caffe': (_published(42.9, 19.8, 1),),
    'caffenet': (_published(42.6, 19.6, 1),),
    'onnx_zoo': (_published(45.2, 21.8, 1),),
    'torchvision': (_published(43.478, 20.934, 1),),
    'large_batch': (_published(42.0, None, 1),),
}
# Averages of so many networks: 5 CNNs and 7 CNNs* of table 2.
PUBLISHED_AVERAGES: Mapping[int, PublishedError] = {5: _published(38.1, 16.4), 7: _published(36.7, 15.4)}

# Cards of the network of table 2's averages; two of the 7 CNNs* are of the other card.
_CARDS_OF_5, _PRETRAINED_CARD = {'paper', 'imagenet', 'source145', 'source145_longer'}, 'finetune_fall2011'


def find_published_average(names: Sequence[str]) -> PublishedError | None:
    """Return the published error of the average of runs by these names: 5 CNNs or 7 CNNs*; None for any other."""
    pretrained = sum(name == _PRETRAINED_CARD for name in names)
    plain = sum(name in _CARDS_OF_5 for name in names)
    is_published = pretrained + plain == len(names) and (plain, pretrained) in ((5, 0), (5, 2))
    return PUBLISHED_AVERAGES[len(names)] if is_published else None


def find_published(name: str, views: object) -> PublishedError | None:
    """Return the published error of the run of that name over those views, else over others, else None."""
    figures = PUBLISHED_ERRORS.get(name, ())
    return next((figure for figure in figures if figure.views == views), figures[0] if figures else None)
