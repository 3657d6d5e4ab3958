"""docs/results.md: each config that it names is there, cards about ImageNet are named, figures agree with the cards."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / 'docs' / 'results.md').read_text()
NAMED = set(re.findall(r'configs/[\w/]+\.py', PAGE))
ROWS = [line for line in PAGE.splitlines() if line.startswith('| ') and not line.startswith('| model |')]


def test_every_config_that_it_names_is_there():
    assert len(NAMED) > 25 and [name for name in sorted(NAMED) if not (ROOT / name).is_file()] == []


def test_every_card_of_the_paper_and_of_its_notes_is_named():
    cards = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'configs').rglob('[!_]*.py')}
    about_others = {
        'default',
        'quickstart',
        'folder',
        'finetune',
        'cifar10',
        'imagenette',
        'merged',
        'six_convolutions',
    }
    assert {name for name in cards - NAMED if Path(name).stem not in about_others} == set()


def test_the_published_differences_are_those_of_the_cards():
    cards = sorted((ROOT / 'configs' / 'ablations').glob('[!_]*.py'))
    modules = [importlib.import_module(f'configs.ablations.{card.stem}') for card in cards]
    published = {
        f'configs/ablations/{m.__name__.split(".")[-1]}.py': m.PUBLISHED for m in modules if hasattr(m, 'PUBLISHED')
    }
    assert len(published) > 9
    for card, figure in published.items():
        assert any(f'`{card}`' in row and figure.text in row for row in ROWS), card


def test_a_row_has_ours_or_says_that_it_was_not_measured():
    runs = [row for row in ROWS if '`configs/' in row]
    assert len(runs) > 25 and all(re.search(r'(not measured here|\d \[[^]]+\]\([^)]+\)) \|$', row) for row in runs)


@pytest.mark.parametrize(
    'card', ['no_lrn', 'no_overlap', 'one_gpu', 'no_communication', 'half_precision_exchange', 'no_norm2']
)
def test_its_figures_are_those_of_the_cards(card):
    expected = ' '.join(importlib.import_module(f'configs.ablations.{card}').__doc__.split())
    (row, *_) = (row for row in reversed(ROWS) if f'configs/ablations/{card}.py' in row)
    figures = re.findall(r'\d\d\.\d{3}', row)
    assert figures and all(figure in expected for figure in figures)
