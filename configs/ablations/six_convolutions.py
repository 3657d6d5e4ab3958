"""Run 146 on supplied data alone: a sixth convolution over pool5, from all maps.

    python main.py --config=configs/ablations/six_convolutions.py --workdir=/data/six_convolutions \\
        --config.prepare.path=/data/ilsvrc2012

Published only after pre-training (configs/pretrain_fall2011.py); run 141, the same without, overfitted. 61,555,304
parameters. Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset.

Cost: unknown
Expected: unknown on 2012 alone. What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from configs import source145


def get_config() -> ConfigDict:
    """Return run 145 with conv6."""
    config = source145.get_config()
    config.name = 'six_convolutions'
    config.model.preset = 'source146'
    return config
