"""A network of this project in thingsvision, through the PyTorch module that --mode=export writes beside the weights.

    python main.py --mode=export --workdir=/runs/paper --config.weights.path=/models/paper.safetensors

    from thingsvision_model import make_extractor
    extractor = make_extractor('/models/paper_torch.py', image_size=256)
    features = extractor.extract_features(batches, module_name='fc7', flatten_acts=True)

Needs thingsvision and safetensors; alexnet_jax is not imported. Flattened maps are in the order channel, height, width,
while --mode=features writes height, width, channel.
"""

import runpy

import numpy as np
import torch
from PIL import Image
from thingsvision import get_extractor_from_model


def make_extractor(module_file, *, image_size, device='cpu'):
    """Return thingsvision's extractor of an exported network, whose modules are called conv1, relu1 ... fc8."""
    network = runpy.run_path(module_file)['load_network']()

    def prepare_image(image):
        """Return the input (3, crop, crop) of a PIL image: shorter side resized, center square, mean subtracted."""
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        box = (left, top, left + side, top + side)
        square = image.convert('RGB').resize((image_size, image_size), Image.Resampling.BICUBIC, box=box)
        return network.preprocessing(torch.from_numpy(np.array(square)).permute(2, 0, 1))

    return get_extractor_from_model(model=network, device=device, preprocess=prepare_image, backend='pt')
