"""A network of this project as a Brain-Score model: its activations by name, for images by path.

    from brainscore_vision import model_registry
    from brainscore_vision.model_helpers.brain_transformation import ModelCommitment
    from brainscore_model import LAYERS, make_activations_model

    model_registry['alexnet_paper'] = lambda: ModelCommitment(
        identifier='alexnet_paper',
        activations_model=make_activations_model('/runs/paper', 'alexnet_paper'),
        layers=LAYERS,
    )

Needs brainscore-vision beside alexnet_jax. docs/features.md says what was tried.
"""

from collections import OrderedDict

import numpy as np
from brainscore_vision.model_helpers.activations.core import ActivationsExtractorHelper

import alexnet_jax

# Where Brain-Score looks for V1, V2, V4 and IT in AlexNets.
LAYERS = ['pool1', 'pool2', 'relu3', 'relu4', 'pool5', 'relu6', 'relu7']


def make_activations_model(source, identifier, batch_size=64):
    """Return the model of a run directory, a checkpoint of one, a file of weights or a preset; '' stores nothing."""
    network = alexnet_jax.load(source, batch_size=batch_size)

    def get_activations(paths, layers):
        """Return layer -> (images, maps, height, width), the order of axes by which Brain-Score names units."""
        features = network.features([str(path) for path in paths], layers)
        return OrderedDict((layer, np.moveaxis(features[layer], -1, 1)) for layer in layers)

    # No preprocessing: the network prepares images as those that it was trained on.
    model = ActivationsExtractorHelper(get_activations, None, identifier=identifier, batch_size=batch_size)
    model.image_size = network.preprocessing.image_size
    return model
