"""The paper's update rule (section 5).

    v <- momentum * v - weight_decay * learning_rate * w - learning_rate * gradient
    w <- w + v

The learning rate stands inside the momentum buffer and multiplies the decay, so a lower rate leaves past velocity as it
was. Learning rates come in with each update, one for the weights and one for the biases of every layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

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


def paper_sgd(
    layers: tuple[str, ...], *, momentum: float, weight_decay: float, decay_biases: bool = True
) -> Optimizer:
    """Return the rule above; its state is the velocity v.

    The paper's rule speaks of weights and is taken for all parameters; without `decay_biases` as the 2012 source does.
    """

    def init(params: Params) -> OptState:
        return {'velocity': jax.tree.map(lambda w: np.zeros(w.shape, w.dtype), params)}

    def update(gradients, opt_state, params, learning_rates):
        def step(name, part, learning_rate):
            gradient, w = gradients[name][part], params[name][part]
            if part == 'kernel' or decay_biases:
                gradient = gradient + weight_decay * w
            return -learning_rate * gradient + momentum * opt_state['velocity'][name][part]

        velocity = {
            name: {
                'kernel': step(name, 'kernel', learning_rates[i, 0]),
                'bias': step(name, 'bias', learning_rates[i, 1]),
            }
            for i, name in enumerate(layers)
        }
        return jax.tree.map(lambda w, v: w + v, params, velocity), {'velocity': velocity}

    return Optimizer(init, update)
