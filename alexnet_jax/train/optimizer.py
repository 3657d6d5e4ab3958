"""The paper's update rule as an optax chain (section 5).

    v <- momentum * v - decay * rate * w - rate * gradient
    w <- w + v

The rate stands inside the momentum buffer and multiplies the decay, so a drop of the rate leaves past velocity as it
was. Rates come in with each update, one for the weights and one for the biases of every layer.
"""

from __future__ import annotations

import jax
import optax


def scale_by_layer_rates(layers: tuple[str, ...]) -> optax.GradientTransformationExtraArgs:
    """Updates times minus the layer's rate: `update(..., rates=array (layers, 2))`, weights then biases."""

    def update(updates, state, params=None, *, rates, **extra):
        del params, extra
        scaled = {
            name: {
                'kernel': -rates[i, 0] * updates[name]['kernel'],
                'bias': -rates[i, 1] * updates[name]['bias'],
            }
            for i, name in enumerate(layers)
        }
        return scaled, state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def paper_sgd(
    layers: tuple[str, ...], *, momentum: float, decay: float, decay_biases: bool = True
) -> optax.GradientTransformationExtraArgs:
    """The rule above for parameters {layer: {'kernel', 'bias'}}; its state is one trace, the velocity v.

    The paper's rule speaks of weights and is taken for all parameters; without `decay_biases` as the 2012 source does.
    """
    decayed = {name: {'kernel': True, 'bias': decay_biases} for name in layers}
    return optax.chain(
        optax.add_decayed_weights(decay, decayed), scale_by_layer_rates(layers), optax.trace(decay=momentum)
    )


def velocity(state: optax.OptState) -> dict[str, dict[str, jax.Array]]:
    """The momentum buffer v inside the chain's state."""
    return optax.tree.get(state, 'trace')


def with_velocity(state: optax.OptState, trace: dict[str, dict[str, jax.Array]]) -> optax.OptState:
    """The chain's state with another momentum buffer."""
    return optax.tree.set(state, trace=trace)
