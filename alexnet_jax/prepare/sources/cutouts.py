"""The embedded cut-outs as a source: images that are made when they are asked for, and no files."""

import dataclasses

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources.base import Source
from alexnet_jax.prepare.splits import SPLITS, Item


@dataclasses.dataclass(frozen=True)
class _Drawn:
    seed: int
    side: int

    @property
    def identity(self) -> str:
        return f'_Drawn(seed={self.seed}, side={self.side})'

    def __call__(self, item: Item) -> np.ndarray:
        from alexnet_jax.prepare import cutouts  # scikit-image, which no other source needs

        split, number = item.location
        return cutouts.make_cutout(split, number, self.seed, self.side)[0]


def open_cutouts(side: int, seed: int, counts: tuple[int, int, int]) -> Source:
    """So many cut-outs of `side` pixels for train, validation and test."""
    from alexnet_jax.prepare import cutouts

    if len(counts) != len(SPLITS) or counts[0] < 1 or min(counts) < 0:
        raise UserError(
            f'The counts of cut-outs must be three, none negative and the first not 0, not {counts}.'
        )
    splits = {
        split: tuple(
            Item(f'{split}/{number:06d}', number % len(cutouts.CLASSES), (split, number))
            for number in range(count)
        )
        for split, count in zip(SPLITS, counts, strict=True)
        if count
    }
    note = f'Cut-outs made from seed {seed}; each split from photographs of its own.'
    return Source('cutouts', cutouts.CLASSES, splits, note, seed, _Drawn(seed, side))
