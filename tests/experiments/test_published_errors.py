"""The published errors: each is on the page of results, in the row of its card."""

import re
from pathlib import Path

import pytest

from alexnet_jax.experiments.published_errors import (
    PUBLISHED_AVERAGES,
    PUBLISHED_ERRORS,
    find_published,
    find_published_average,
)

ROOT = Path(__file__).resolve().parents[2]
ROWS = [line for line in (ROOT / 'docs' / 'results.md').read_text().splitlines() if line.startswith('| ')]
CARDS = {path.stem: path.relative_to(ROOT).as_posix() for path in (ROOT / 'configs').rglob('[!_]*.py')}


def errors_in(rows):
    """Every pair 'a / b' of the rows, and single errors, as numbers."""
    text = ' '.join(rows)
    pairs = {(float(a), float(b)) for a, b in re.findall(r'(\d\d(?:\.\d+)?) / (\d\d(?:\.\d+)?)', text)}
    return pairs | {(float(a), None) for a in re.findall(r'\| (\d\d) \(its baseline', text)}


@pytest.mark.parametrize('name', [name for name in PUBLISHED_ERRORS if name != 'paper'])
def test_an_error_stands_in_a_row_of_its_card(name):
    rows = [row for row in ROWS if CARDS[name] in row or (name == 'source145_2010' and 'center view: 39' in row)]
    for figure in PUBLISHED_ERRORS[name]:
        pair = (round(100 * figure.top1, 4), None if figure.top5 is None else round(100 * figure.top5, 4))
        assert pair in errors_in(rows)


@pytest.mark.parametrize(('count', 'label'), [(5, '5 CNNs '), (7, '7 CNNs*')])
def test_the_averages_are_those_of_table_2(count, label):
    figure = PUBLISHED_AVERAGES[count]
    assert (round(100 * figure.top1, 4), round(100 * figure.top5, 4)) in errors_in([r for r in ROWS if label in r])


def test_the_figure_over_the_same_views_is_found_first():
    assert find_published('source145_2010', 1).top1 == pytest.approx(0.39025)
    assert find_published('source145_2010', 'center,0:0').top1 == pytest.approx(0.37473)
    assert find_published('quickstart', 10) is None
    assert find_published('paper', 10) == find_published('imagenet', 10)


def test_an_average_is_compared_with_that_of_the_same_networks_alone():
    five = ['imagenet', 'source145', 'source145', 'source145_longer', 'paper']
    assert find_published_average(five) == PUBLISHED_AVERAGES[5]
    assert find_published_average([*five, 'finetune_fall2011', 'finetune_fall2011']) == PUBLISHED_AVERAGES[7]
    for others in (['torchvision'] * 5, ['no_lrn'] * 5, five[:4], [*five, 'paper', 'paper'], [*five[:4], 'mine'], []):
        assert find_published_average(others) is None
