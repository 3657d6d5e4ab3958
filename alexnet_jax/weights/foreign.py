"""Fill in what files from elsewhere leave out: their network, how its images are prepared, and the class names."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.models.presets import PRESETS, get_architecture
from alexnet_jax.prepare.wordnet import parse_synonyms
from alexnet_jax.weights import layout, published
from alexnet_jax.weights.model_weights import ModelWeights, Preprocessing, list_some

IMAGENET_CLASSES_FILE = Path(__file__).with_name('imagenet_classes.txt')
# Caffe's mean of ImageNet (imagenet_mean.binaryproto, averaged), in RGB.
CAFFE_MEAN = (122.67891434, 116.66876762, 104.00698793)
# torchvision's (AlexNet_Weights.IMAGENET1K_V1.transforms()), of pixels in 0..1.
TORCHVISION_MEAN = (0.485, 0.456, 0.406)
TORCHVISION_STD = (0.229, 0.224, 0.225)
IMAGE_SIZE = 256


@functools.cache
def imagenet_classes() -> Mapping[str, str]:
    """Return WordNet id -> words of ImageNet's 1,000 classes, in the order of the outputs of published networks."""
    return parse_synonyms(IMAGENET_CLASSES_FILE.read_text(encoding='utf-8'))


def foreign_classes(num_classes: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and descriptions of the outputs of a network from elsewhere: ImageNet's for 1,000, else numbers."""
    if num_classes == len(imagenet_classes()):
        return tuple(imagenet_classes()), tuple(imagenet_classes().values())
    names = tuple(f'class_{number}' for number in range(num_classes))
    return names, names


def foreign_preprocessing(arch: Architecture) -> Preprocessing:
    """Return how images are prepared for a network whose file does not say: as torchvision or as Caffe does it."""
    # As 256 is to 224, for the networks that see less.
    image_size = IMAGE_SIZE if arch.crop_size > IMAGE_SIZE // 2 else round(arch.crop_size * 8 / 7)
    image_size = max(image_size, arch.crop_size)
    if arch.name == 'torchvision':
        return Preprocessing(image_size, scale_to_pixels(TORCHVISION_MEAN), scale_to_pixels(TORCHVISION_STD))
    return Preprocessing(image_size, np.array(CAFFE_MEAN, np.float32), np.ones(3, np.float32))


def scale_to_pixels(values: tuple[float, ...]) -> np.ndarray:
    """Return float32 values of pixels in 0..1 as values of pixels in 0..255."""
    return (255.0 * np.array(values)).astype(np.float32)


def find_architecture(tensors: Mapping[str, np.ndarray], preset: str = '') -> Architecture:
    """Return the preset of that name, else the one whose tensors have these names and shapes, with as many classes.

    Raises UserError if none or several have them: their graphs differ, which shapes do not show.
    """
    last = tensors.get('fc8.weight')
    num_classes = last.shape[0] if last is not None and last.ndim == 2 else None
    if preset:
        return get_architecture(preset, num_classes=num_classes)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    candidates = [get_architecture(name, num_classes=num_classes) for name in PRESETS]
    fitting = [arch for arch in candidates if layout.tensor_shapes(arch) == shapes]
    if len(fitting) == 1:
        return fitting[0]
    names = [arch.name for arch in fitting] or list(PRESETS)
    problem = (
        f'its weights have the shapes of {", ".join(names)}, which are other networks all the same'
        if fitting
        else f'its {len(tensors)} tensors are those of no network here ({list_some(list(tensors)) or "none"})'
    )
    raise UserError(
        f'The file does not say which network it is of: {problem}. Choose one of {", ".join(names)} by '
        '--config.weights.preset.'
    )


def weights_from_tensors(
    tensors: Mapping[str, np.ndarray],
    path: str | os.PathLike[str],
    *,
    arch: Architecture | None = None,
    preset: str = '',
    partial: bool = False,
    preprocessing: Preprocessing | None = None,
) -> ModelWeights:
    """Return the network of a file that holds tensors alone, under this package's names and in PyTorch's layout.

    The network is `arch`, else that of `preset`, of the published file with these bytes, or of these shapes. Raises
    UserError as `find_architecture` and `layout.from_torch_layout` do.
    """
    known = published.identify_published(path)
    arch = arch or find_architecture(tensors, preset or (known.preset if known else ''))
    parameters = layout.from_torch_layout(arch, tensors, partial=partial)
    drawn = layout.unmatched_layers(arch, tensors)
    notes = {'origin': f'{known.file} of {known.publisher}' if known else os.path.basename(path)}
    notes |= {'license': known.license} if known else {}
    notes |= {'drawn': f'{", ".join(drawn)}: not in the file, drawn as in the paper'} if drawn else {}
    names, descriptions = foreign_classes(arch.num_classes)
    return ModelWeights(arch, parameters, preprocessing or foreign_preprocessing(arch), names, descriptions, notes)
