"""AlexNet (Krizhevsky, Sutskever and Hinton 2012) as its authors built it, in JAX and Flax.

    import jax, alexnet_jax
    network = alexnet_jax.AlexNet(alexnet_jax.architecture('paper'), key=jax.random.key(0))
    logits, points = network(images)  # float32 (batch, 224, 224, 3), the mean subtracted
    points['conv5'].shape  # (batch, 13, 13, 256)

    data = alexnet_jax.open_dataset('/tmp/alexnet/dataset')
    image, label, name = data.split('test')[0]

Importing this changes no setting of jax and imports nothing heavy: each name is fetched when it is first used.
"""

import importlib
from typing import Any

_PLACES = {
    'AlexNet': ('alexnet_jax.models.alexnet', 'AlexNet'),
    'Architecture': ('alexnet_jax.models.architecture', 'Architecture'),
    'PRESETS': ('alexnet_jax.models.presets', 'PRESETS'),
    'architecture': ('alexnet_jax.models.presets', 'get'),
    'dropout_masks': ('alexnet_jax.models.alexnet', 'dropout_masks'),
    'UserError': ('alexnet_jax.errors', 'UserError'),
    'open_dataset': ('alexnet_jax.data.dataset', 'open_dataset'),
    'Training': ('alexnet_jax.data.pipeline', 'Training'),
    'Evaluator': ('alexnet_jax.evaluate.evaluator', 'Evaluator'),
}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f'alexnet_jax has no {name!r}; it has {", ".join(__all__)}.')
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
