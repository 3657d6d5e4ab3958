"""Differences that were published, as the cards of configs/ablations hold them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class PublishedDifference:
    """A published loss by an ablation: positive points of error, so that the sign is always "worse without".

    `text` is how tables show it, top-1 / top-5 in points or the paper's words; `top1` is its top-1 part, None where
    only the sign was published. `source` is a section of the paper or a run of the 2012 source's notes.
    """

    text: str
    source: str
    top1: float | None = None
