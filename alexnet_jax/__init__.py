"""AlexNet (Krizhevsky, Sutskever and Hinton 2012) as its authors built it, in JAX and Flax.

    import jax, alexnet_jax
    network = alexnet_jax.AlexNet(alexnet_jax.get_architecture('paper'), key=jax.random.key(0))
    logits, activations = network(images)  # float32 (batch, 224, 224, 3), the mean subtracted
    activations['conv5'].shape  # (batch, 13, 13, 256)

    data = alexnet_jax.open_dataset('/tmp/alexnet/dataset')
    image, label, name = data.split('test')[0]

Importing this changes no setting of jax and imports nothing heavy: each name is fetched when it is first used.
"""

import importlib
from typing import Any

_LAZY_EXPORTS = {
    'AlexNet': ('alexnet_jax.models.alexnet', 'AlexNet'),
    'Architecture': ('alexnet_jax.models.architecture', 'Architecture'),
    'PRESETS': ('alexnet_jax.models.presets', 'PRESETS'),
    'get_architecture': ('alexnet_jax.models.presets', 'get_architecture'),
    'sample_dropout_masks': ('alexnet_jax.models.alexnet', 'sample_dropout_masks'),
    'UserError': ('alexnet_jax.errors', 'UserError'),
    'open_dataset': ('alexnet_jax.data.dataset', 'open_dataset'),
    'TrainPipeline': ('alexnet_jax.data.pipeline', 'TrainPipeline'),
    'Evaluator': ('alexnet_jax.evaluate.evaluator', 'Evaluator'),
    'ViewOptions': ('alexnet_jax.evaluate.evaluator', 'ViewOptions'),
}
__all__ = sorted(_LAZY_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _LAZY_EXPORTS:
        raise AttributeError(f'alexnet_jax has no {name!r}; it has {", ".join(__all__)}.')
    module, attribute = _LAZY_EXPORTS[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
