"""One column without groups and without response normalization: what most notes on the paper draw as AlexNet.

    python main.py --config=configs/merged.py --workdir=/data/merged --config.prepare.path=/data/ilsvrc2012

Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset. Every map of conv2, conv4 and conv5 sees all maps before it: 62,378,344
parameters instead of 60,965,224, and 1.6 times the multiply-adds.

Cost: unknown
Expected: unknown. Two columns without any normalization came to 42.0 % top-1 and 19.4 % top-5 error on the validation
images of 2012, ten views (run 148 of the authors' notes), 1.4 and 1.2 points above run 145.
"""

from ml_collections import ConfigDict

from configs import imagenet


def get_config() -> ConfigDict:
    """Return the recipe of configs/imagenet.py with another network."""
    config = imagenet.get_config()
    config.name = 'merged'
    config.model.preset = 'merged'
    return config
