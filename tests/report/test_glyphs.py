"""Class names in any script are drawn without boxes and warnings."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from alexnet_jax.evaluate.evaluator import Predictions
from alexnet_jax.report.plots import contact_sheet, glyphs, run, style

NAMES = [
    '猫',
    '🐶',
    '고양이',
    'ねこ',
    'ライオン',
    'Ελλάδα',
    'ñandú',
    '\udcff\udcfe',
    '👩‍🌾',
    'क्षत्रिय',
    'a\tb',
    '🦄' * 40,
]


@pytest.fixture
def only_dejavu(monkeypatch):
    """Have no font but matplotlib's own, whatever this machine has installed."""
    from matplotlib import font_manager

    own = [font for font in font_manager.fontManager.ttflist if font.name.startswith('DejaVu Sans')]
    monkeypatch.setattr(font_manager, 'fontManager', SimpleNamespace(ttflist=own))
    find_font = glyphs.find_font
    find_font.cache_clear()
    yield
    find_font.cache_clear()


def test_every_picture_of_a_run_is_drawn_without_a_warning(tmp_path):
    images, labels = np.zeros((len(NAMES), 8, 8, 3), np.uint8), np.arange(len(NAMES))
    predictions = Predictions(labels, labels, labels[::-1], np.ones(len(NAMES)), labels)
    rows = [contact_sheet.ClassRow(name, 3, images[:2]) for name in NAMES]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        run.plot_examples(images, labels, NAMES, tmp_path / 'a.png', title='犬と猫')
        run.plot_predictions(images, predictions, NAMES, tmp_path / 'b.png')
        contact_sheet.draw_contact_sheet(rows, images[0], 3, tmp_path / 'c.png', title='🐱', subtitle='한국어')
    assert all((tmp_path / f'{name}.png').stat().st_size > 1000 for name in 'abc')


@pytest.mark.parametrize(
    'name, drawn',
    [
        ('tabby cat', 'tabby cat'),
        ('Ελλάδα ñandú', 'Ελλάδα ñandú'),
        ('猫', '[U+732B]'),
        ('🦄 1', '[unicorn face] 1'),
        ('고양이', 'goyangi'),
        ('ねこ', 'neko'),
        ('ＡＢ', 'AB'),
        ('🦄\u200d🤖\ufe0f', '[unicorn face][robot face]'),
        ('\udcff', '\\xff'),
    ],
)
def test_what_no_font_has_is_spelled(name, drawn, only_dejavu):
    assert glyphs.drawable_text(name) == drawn


def test_a_font_that_is_installed_draws_the_characters(only_dejavu, monkeypatch):
    from matplotlib.figure import Figure

    monkeypatch.setattr(glyphs, 'find_font', lambda character: 'A CJK Font' if character == '猫' else None)
    text = Figure().text(0, 0, '猫 犬')
    glyphs.use_drawable_text(text)
    assert text.get_text() == '猫 [U+72AC]' and text.get_fontfamily()[-1] == 'A CJK Font'


def test_names_are_cut_by_their_width(only_dejavu, monkeypatch):
    assert style.truncate_name('🦄🦄', 16) == '[unicorn face][…'
    monkeypatch.setattr(glyphs, 'find_font', lambda character: 'A CJK Font')
    assert style.truncate_name('猫' * 8, 16) == '猫' * 8
    assert style.truncate_name('猫' * 9, 16) == '猫' * 7 + '…'
    assert style.truncate_name('abcdefghijklmnopq', 16) == 'abcdefghijklmno…'
