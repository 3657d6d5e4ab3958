"""Texts that the installed fonts can draw: a second font where one has the characters, else letters that say them."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.text import Text

# Fonts whose characters are boxes, or pictures that matplotlib cannot draw.
_UNUSABLE_FONT = re.compile(r'last ?resort|color', re.IGNORECASE)
_SYLLABLE = re.compile(r'(?:HANGUL SYLLABLE|(?:HIRAGANA|KATAKANA) LETTER(?: SMALL)?) ([A-Z]+)')


def drawable_text(text: str, family: Sequence[str] | None = None) -> str:
    """Return the text with every character that no installed font has spelled in ASCII.

    Korean and Japanese syllables become their sound, other characters their Unicode name in brackets or their number.
    """
    known = _characters_of(_default_font(tuple(family) if family else None))
    return ''.join(
        character
        if character == '\n' or ord(character) in known or find_font(character)
        else spell_character(character)
        for character in unicodedata.normalize('NFC', text)
        # matplotlib joins nothing and has one variant of each.
        if unicodedata.category(character) != 'Cf' and not '\ufe00' <= character <= '\ufe0f'
    )


def spell_character(character: str) -> str:
    """Return ASCII for a character; nothing for control characters and what only changes the one before it."""
    category, name = unicodedata.category(character), unicodedata.name(character, '')
    if category in ('Mn', 'Cc'):
        return ''
    if category == 'Cs':  # a byte of a file name that is not UTF-8
        return f'\\x{ord(character) & 0xFF:02x}'
    if match := _SYLLABLE.fullmatch(name):
        return match[1].lower()
    plain = unicodedata.normalize('NFKD', character).encode('ascii', 'ignore').decode()
    if plain.strip():
        return plain
    return f'[{name.lower()}]' if name and category == 'So' else f'[U+{ord(character):04X}]'


def display_width(text: str) -> int:
    """Return the width in characters; those of East Asian scripts and emoji are twice as wide."""
    return sum(1 + (unicodedata.east_asian_width(character) in 'WF') for character in text)


@functools.cache
def find_font(character: str) -> str | None:
    """Return the family of an installed font that has the character, the first by name; None without one."""
    from matplotlib.font_manager import fontManager

    for name, path in sorted({(font.name, font.fname) for font in fontManager.ttflist}):
        if not _UNUSABLE_FONT.search(name) and ord(character) in _characters_of(path):
            return name
    return None


def use_drawable_text(artist: Text) -> None:
    """Change a text of a figure, and add families to it, where its own font lacks characters."""
    family = artist.get_fontfamily()
    known = _characters_of(_default_font(tuple(family)))
    if all(ord(character) in known or character == '\n' for character in artist.get_text()):
        return
    text = drawable_text(artist.get_text(), family)
    others = {find_font(character) for character in text if ord(character) not in known and character != '\n'}
    artist.set_text(text)
    artist.set_fontfamily([*family, *sorted(other for other in others if other)])


@functools.cache
def _default_font(family: tuple[str, ...] | None) -> str:
    from matplotlib import font_manager

    return font_manager.findfont(font_manager.FontProperties(family=list(family) if family else None))


@functools.cache
def _characters_of(path: str) -> frozenset[int]:
    from matplotlib.font_manager import get_font

    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):  # a font that FreeType cannot open
        return frozenset()
