"""Probabilities averaged over views, extracted as features are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from alexnet_jax.analysis.features import FeatureOptions
from alexnet_jax.evaluate.evaluator import Evaluator
from alexnet_jax.models.architecture import Shape

LAYER = 'prob'


class ViewProbabilities:
    """An evaluator as features.Extractor: its one layer is `prob`, averaged over the evaluator's views."""

    def __init__(self, evaluator: Evaluator, *, num_classes: int, image_size: int):
        self._evaluator = evaluator
        self.shapes: Mapping[str, Shape] = {LAYER: (num_classes,)}
        self.options, self.batch_size, self.image_size = FeatureOptions(), evaluator.batch_size, image_size

    def __call__(self, parameters: Any, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return float32 (n, K) of uint8 images (n, image_size, image_size, 3)."""
        return {LAYER: self._evaluator.probabilities(parameters, images)}
