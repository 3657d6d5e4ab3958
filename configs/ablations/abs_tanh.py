"""|tanh| in place of every ReLU.

    python main.py --config=configs/ablations/abs_tanh.py --workdir=/data/abs_tanh \\
        --config.prepare.path=/data/ilsvrc2012

Published: a four-layer network on CIFAR-10 takes six times as many epochs to 25 % training error with tanh (paper,
section 3.1); no figure on ImageNet. The paper gives each its own best learning rate: try --config.train.learning_rate.
Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset.

Cost: unknown
Expected: unknown. What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from configs import source145

# The ablation: get_config makes it in run 145, --mode=ablations in any network.
CHANGES = {'model.activation': 'abs_tanh'}


def get_config() -> ConfigDict:
    """Return run 145 with |tanh|."""
    config = source145.get_config()
    config.name = 'abs_tanh'
    config.update_from_flattened_dict(CHANGES)
    return config
