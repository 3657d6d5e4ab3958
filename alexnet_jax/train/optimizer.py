"""The paper's update rule (section 5) as an optax chain.

    v <- momentum * v - weight_decay * learning_rate * w - learning_rate * gradient
    w <- w + v

The learning rate stands inside the momentum buffer and multiplies the decay, so a lower rate leaves past velocity as it
was. Learning rates come in with each update, one for the weights and one for the biases of every layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import optax

Params = dict[str, dict[str, jax.Array]]  # {layer: {'kernel', 'bias'}}
OptState = dict[str, Params]


class Optimizer(NamedTuple):
    """An update rule as two pure functions.

    `init(params)` returns the first optimizer state, a dict of trees of the parameters' shapes; a checkpoint keeps each
    under its key. `update(gradients, opt_state, params, learning_rates)` returns the new (params, opt_state), where
    `learning_rates` is float32 (layers, 2), weights then biases.
    """

    init: Callable[[Params], OptState]
    update: Callable[[Params, OptState, Params, jax.Array], tuple[Params, OptState]]


def paper_sgd(layers: tuple[str, ...], *, momentum: float, weight_decay: float, decay_biases: bool = True) -> Optimizer:
    """Return the rule above; its state is the velocity v.

    The paper's rule speaks of weights and is taken for all parameters; without `decay_biases` as the 2012 source does.
    """
    decayed = {name: {'kernel': True, 'bias': decay_biases} for name in layers}
    chain = optax.chain(
        optax.add_decayed_weights(weight_decay, decayed),
        scale_by_layer_learning_rates(layers),
        optax.trace(decay=momentum),
    )
    return from_optax_chain(chain, {'velocity': 'trace'})


def layerwise_adaptive_sgd(
    layers: tuple[str, ...],
    *,
    momentum: float,
    weight_decay: float,
    trust_coefficient: float,
    decay_biases: bool = True,
) -> Optimizer:
    """Return LARS (You, Gitman and Ginsburg 2017) for large batches: the paper's rule with a rate of its own by layer.

    What a weight's update would be, decay included, is first scaled to trust_coefficient times the norm of the weights,
    as optax does it; the publication adds the two norms below. Biases keep their rates.
    """
    decayed = {name: {'kernel': True, 'bias': decay_biases} for name in layers}
    kernels = {name: {'kernel': True, 'bias': False} for name in layers}
    chain = optax.chain(
        optax.add_decayed_weights(weight_decay, decayed),
        optax.masked(optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient), kernels),
        scale_by_layer_learning_rates(layers),
        optax.trace(decay=momentum),
    )
    return from_optax_chain(chain, {'velocity': 'trace'})


def scale_by_layer_learning_rates(layers: tuple[str, ...]) -> optax.GradientTransformationExtraArgs:
    """Return the transformation that multiplies updates by minus the learning rate of their layer."""

    def update(updates, state, params=None, *, learning_rates, **extra):
        del params, extra
        scaled = {
            name: {
                'kernel': -learning_rates[i, 0] * updates[name]['kernel'],
                'bias': -learning_rates[i, 1] * updates[name]['bias'],
            }
            for i, name in enumerate(layers)
        }
        return scaled, state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def from_optax_chain(chain: optax.GradientTransformationExtraArgs, saved: Mapping[str, str]) -> Optimizer:
    """Return the optimizer of an optax chain; `saved` names the fields of its state: {key in a checkpoint: field}."""

    def init(params: Params) -> OptState:
        return saved_fields(chain.init(params))

    def update(gradients, opt_state, params, learning_rates):
        # Under jit the fresh state costs nothing: every field of it that matters is replaced.
        state = optax.tree.set(chain.init(params), **{field: opt_state[key] for key, field in saved.items()})
        updates, state = chain.update(gradients, state, params, learning_rates=learning_rates)
        return optax.apply_updates(params, updates), saved_fields(state)

    def saved_fields(state: optax.OptState) -> OptState:
        return {key: optax.tree.get(state, field) for key, field in saved.items()}

    return Optimizer(init, update)
