"""AlexNet (Krizhevsky, Sutskever and Hinton 2012) as its authors built it, in JAX and Flax.

    import alexnet_jax
    network = alexnet_jax.load('/tmp/alexnet')  # a run, a file of weights, or a preset such as 'paper'
    network.predict(['cat.jpg', 'dog.jpg']).classes  # for each image five pairs of class and probability
    network.features(['cat.jpg'], layers=['conv5'])['conv5'].shape  # (1, 6, 6, 64)
    network.save('alexnet.safetensors')

    data = alexnet_jax.open_dataset('/tmp/alexnet/dataset')
    image, label, name = data.split('test')[0]

Importing this changes no setting of jax and imports nothing heavy: each name is fetched when it is first used.
"""

import importlib
from typing import Any

_LAZY_EXPORTS = {
    'load': ('alexnet_jax.network', 'load_network'),
    'Network': ('alexnet_jax.network', 'Network'),
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
