"""Names of activations as a user gives them."""

from __future__ import annotations

from collections.abc import Iterable

from alexnet_jax.errors import UserError
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.models.presets import TORCHVISION
from alexnet_jax.weights.names import torchvision_points


def resolve_layers(arch: Architecture, names: Iterable[str]) -> list[str]:
    """Return this package's names of activations, each once, in the order given; torchvision's are understood too.

    Raises UserError for a name that the network does not have.
    """
    shapes = arch.activation_shapes()
    by_module = {module: layer for layer, module in torchvision_points(TORCHVISION).items()}
    resolved = {name: by_module.get(name, name) for name in names}
    if unknown := [name for name, layer in resolved.items() if layer not in shapes]:
        raise UserError(
            f'{arch.name} has no {", ".join(unknown)}; its layers are {", ".join(shapes)}. --layers=list shows their '
            "shapes and torchvision's names."
        )
    return list(dict.fromkeys(resolved.values()))
