"""The cards of an ablation study: what each changes in a network, and the difference that was published."""

from __future__ import annotations

import difflib
import os
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from alexnet_jax.cli import CONFIG_DIR, load_config_or_raise
from alexnet_jax.config import build, schema, validate
from alexnet_jax.errors import UserError
from alexnet_jax.experiments.ablation_table import BASE
from alexnet_jax.experiments.published import PublishedDifference

CARD_DIR = CONFIG_DIR / 'ablations'
# Names of the study's own folders beside those of its networks.
RESERVED = (BASE, 'dataset')


class AblationCard(NamedTuple):
    """A network of the study: the fields that it has otherwise than the base, and what was published of it."""

    name: str
    changes: Mapping[str, object]
    published: PublishedDifference | None


BASE_CARD = AblationCard(BASE, {}, None)


def read_cards(text: str) -> list[AblationCard]:
    """Return the cards that config.ablations.cards names: of configs/ablations, or files of one's own.

    Raises UserError if there is no such card, or it does not say what it changes.
    """
    cards = [_read_card(name) for name in filter(None, map(str.strip, text.split(',')))]
    names = [card.name for card in cards]
    if not names:
        raise UserError(f'config.ablations.cards is empty. Choose among {", ".join(list_cards())}.')
    if unable := [name for name in names if names.count(name) > 1 or name in RESERVED]:
        raise UserError(
            f'config.ablations.cards names {unable[0]} twice, or it is a name of the study itself. Each card needs a '
            'file name of its own.'
        )
    return cards


def _read_card(name: str) -> AblationCard:
    file = Path(os.path.expanduser(name)) if name.endswith('.py') else CARD_DIR / f'{name}.py'
    if not file.is_file():
        known = list_cards()
        near = difflib.get_close_matches(file.stem, known, 1)
        hint = f'did you mean {near[0]}?' if near else f'there are {", ".join(known)}, or files of your own (NAME.py).'
        raise UserError(f'config.ablations.cards names {name!r}, and there is no such card; {hint}')
    # For its message about a file that is no Python or no config.
    load_config_or_raise(str(file))
    content = runpy.run_path(str(file))
    changes = content.get('CHANGES')
    if not isinstance(changes, Mapping) or not changes:
        raise UserError(
            f'{file} does not say what it changes in any network, and so cannot be part of a study. Give it '
            "CHANGES = {'model.normalization': 'none'}, with the fields of the ablation."
        )
    decisive = schema.RESULT_FIELDS - {'seed'}
    if unable := [str(field) for field in changes if field not in decisive or str(field).startswith('prepare.')]:
        raise UserError(
            f'CHANGES of {file} has {", ".join(unable)}; it takes fields that decide the result, but neither the seed '
            'nor the preparation of the images.'
        )
    published = content.get('PUBLISHED')
    if not isinstance(published, PublishedDifference | None):
        raise UserError(
            f'PUBLISHED of {file} is {published!r}; it must be a PublishedDifference of '
            'alexnet_jax.experiments.published, or be left out.'
        )
    return AblationCard(file.stem, dict(changes), published)


def list_cards() -> list[str]:
    """Return the names of the cards that can be part of a study."""
    return sorted(file.stem for file in CARD_DIR.glob('[!_]*.py') if '\nCHANGES = ' in file.read_text())


def apply_card(config: ConfigDict, card: AblationCard) -> ConfigDict:
    """Return the base's config with the card's changes. Raises UserError if it does not take them, or they are none."""
    widths = 'model.feature_multipliers'
    if config.model.feature_multipliers and widths in card.changes:
        raise UserError(
            f'The ablation {card.name} sets config.{widths}, and so does the base, whose own would be lost. Leave it '
            'out of config.ablations.cards.'
        )
    changed = ConfigDict(config.to_dict())
    try:
        changed.update_from_flattened_dict(dict(card.changes))
        validate.validate_config(changed)
    except (UserError, TypeError) as error:
        raise UserError(f'The ablation {card.name} does not fit this base: {error}') from None
    if card is not BASE_CARD and _is_same_network(config, changed):
        raise UserError(
            f'The ablation {card.name} changes nothing in this base, which is already as its CHANGES say. Leave it out '
            'of config.ablations.cards.'
        )
    return changed


def _is_same_network(base: ConfigDict, changed: ConfigDict) -> bool:
    """Return whether two configs differ in nothing, or in fields alone that give the same architecture."""
    one, other = validate.result_fields(base), validate.result_fields(changed)
    different = {field for field in one if one[field] != other[field]}
    of_architecture = set(build.model_fields('', build.model_overrides(base)))
    if not different <= of_architecture:
        return False
    return build.preset_architecture(base) == build.preset_architecture(changed)
