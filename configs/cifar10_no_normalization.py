"""CIFAR-10 by the network of configs/cifar10_normalization.py without its response normalization.

    python main.py --config=configs/cifar10_no_normalization.py --workdir=/tmp/plain \\
        --config.prepare.path=cifar-10-binary.tar.gz

Both by three seeds, with the table:

    python main.py --mode=ablations --config=configs/cifar10_normalization.py --workdir=/tmp/normalization \\
        --config.prepare.path=cifar-10-binary.tar.gz --config.ablations.seeds=3 \\
        --config.ablations.cards=configs/cifar10_no_normalization.py

Published: 13 % test error, against 11 % with it (paper, section 3.3).

Cost: 2.6e15 operations; 10 epochs by half the maps 5 to 9 minutes beside other work on two cores (EPYC, Zen 4).
Expected: unknown for all epochs; 31.6 % test error after those 10, mean of three seeds.
"""

from ml_collections import ConfigDict

from alexnet_jax.experiments.published import PublishedDifference
from configs import cifar10_normalization

CHANGES = {'model.normalization': 'none'}
PUBLISHED = PublishedDifference('2 / -', 'section 3.3', top1=2.0)


def get_config() -> ConfigDict:
    """Return the recipe of configs/cifar10_normalization.py without response normalization."""
    config = cifar10_normalization.get_config()
    config.name = 'cifar10_no_normalization'
    config.update_from_flattened_dict(CHANGES)
    return config
