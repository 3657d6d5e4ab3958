"""Caffe's bvlc_reference_caffenet: as bvlc_alexnet, but it pools before it normalizes, with initial biases of one.

    python main.py --config=configs/caffenet.py --workdir=/data/caffenet --config.prepare.path=/data/ilsvrc2012

Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset. Caffe's resizing is the difference that remains (configs/caffe.py).

Cost: unknown
Expected: 42.6 % top-1 and 19.6 % top-5 error on the validation images, center view (57.4 % and 80.4 % right, BVLC's
readme). What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from configs import caffe


def get_config() -> ConfigDict:
    """Return the recipe of configs/caffe.py with another network and initialization."""
    config = caffe.get_config()
    config.name = 'caffenet'
    config.model.preset = 'caffenet'
    config.model.initialization = 'caffenet'
    return config
