"""The README of a file of weights as model hubs read it: YAML, then what the network is and how to use it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.runtime import atomic_io
from alexnet_jax.weights.model_weights import ModelWeights

# A card that this package wrote may be written anew; a person's README may not.
MARK = '<!-- written by alexnet_jax -->'

_CARD = """---
library_name: alexnet_jax
pipeline_tag: image-classification
tags:
- image-classification
- alexnet
license: other
license_name: {license}
---
{mark}
# {name}: AlexNet with {columns} column{plural}

{figure}

| what | value |
|---|---|
| weights | `{file}`: {parameters:,} parameters, float32, in PyTorch's layout |
| input | {crop} x {crop} pixels, the center of images whose shorter side is {side} |
| preprocessing | RGB in 0..255, minus the {mean_kind} mean ({mean}), divided by {std} |
| classes | {classes:,}: {class_names} |
| license | {license_text} |
{notes}
In Python, by the package that wrote it:

    import alexnet_jax
    network = alexnet_jax.load('{file}')
    network.predict(['cat.jpg']).classes
    network.features(['cat.jpg'], layers=['{last}'])

The layers in order: {layers}.

Krizhevsky, Sutskever and Hinton: ImageNet Classification with Deep Convolutional Neural Networks. NeurIPS 2012.
"""


def write_model_card(path: str | os.PathLike[str], weights: ModelWeights, weights_file: str) -> None:
    """Write the card of the network in `weights_file`. Raises UserError if a README of another hand is at `path`."""
    if Path(path).exists() and MARK not in Path(path).read_text(errors='replace'):
        raise UserError(
            f'{path} was not written by this package and stays as it is; export into a folder of its own, or without '
            '--config.weights.card.'
        )
    with atomic_io.write_atomic(path) as file:
        file.write(format_model_card(weights, weights_file))


def format_model_card(weights: ModelWeights, weights_file: str) -> str:
    """Return the text of the card."""
    arch, preprocessing, notes = weights.arch, weights.preprocessing, dict(weights.notes)
    license_text = notes.pop('license', 'unknown')
    figure = notes.pop('figure', '')
    names = [name.partition(',')[0] for name in weights.class_descriptions[:5]]
    return _CARD.format(
        mark=MARK,
        license=json.dumps(license_text),
        license_text=_format_cell(license_text),
        name=arch.name,
        columns=arch.columns,
        plural='s' * (arch.columns > 1),
        figure=f'{figure}.' if figure else 'No error was measured of it.',
        file=weights_file,
        parameters=sum(arch.parameter_counts().values()),
        crop=arch.crop_size,
        side=preprocessing.image_size,
        mean_kind=preprocessing.mean_kind,
        mean=', '.join(f'{value:.2f}' for value in preprocessing.mean_image().mean((0, 1), np.float64)),
        std=', '.join(f'{value:g}' for value in preprocessing.std),
        classes=arch.num_classes,
        class_names=_format_cell(', '.join(names) + ', ...' * (arch.num_classes > len(names))),
        notes=''.join(f'| {name} | {_format_cell(text)} |\n' for name, text in notes.items()),
        last=arch.layers[-1].name,
        layers=', '.join(arch.activation_shapes()),
    )


def _format_cell(text: str) -> str:
    return ' '.join(text.split()).replace('|', '\\|')
