"""The ONNX model zoo's bvlc_alexnet: Caffe's network fed 224 pixels, which makes its maps one row and column smaller.

    python main.py --config=configs/onnx_zoo.py --workdir=/data/onnx_zoo --config.prepare.path=/data/ilsvrc2012

For weights that are imported from the zoo (docs/weights.md); whoever trains Caffe's network takes configs/caffe.py.
Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset.

Cost: unknown
Expected: 45.2 % top-1 and 21.8 % top-5 error on the validation images with the zoo's weights (54.80 % and 78.23 %
right, its readme, opset 12). What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from configs import caffe


def get_config() -> ConfigDict:
    """Return the recipe of configs/caffe.py with another network."""
    config = caffe.get_config()
    config.name = 'onnx_zoo'
    config.model.preset = 'onnx_zoo'
    return config
