"""Figure 1 of the paper: a four-layer network without regularization on CIFAR-10, with ReLUs; its training error.

    python main.py --config=configs/figure1.py --workdir=/tmp/relu --config.prepare.path=cifar-10-binary.tar.gz

With tanh: --config.model.activation=tanh. The whole figure, in which each has its own best learning rate:
python benchmarks/figure1.py. For the archive see configs/cifar10.py.

Published: with ReLUs the training error comes down to 25 % in a sixth of the epochs that tanh takes (section 3.1). The
paper does not say which network; this is the one of section 3.3 with half the maps and without normalization.

Cost: 4 to 5 minutes on a busy core (EPYC, Zen 4) to 25 % training error on 5,000 images, batches of 32; on all unknown.
Expected: on 5,000 images 25 % training error after 15 to 19 epochs with ReLUs, 27 to 30 with tanh, three seeds each; on
all of them unknown.
"""

from ml_collections import ConfigDict

from configs import cifar10_normalization


def get_config() -> ConfigDict:
    """Return the recipe of configs/cifar10_normalization.py without normalization, decay, crops and flips."""
    config = cifar10_normalization.get_config()
    config.name = 'figure1'
    config.model.crop_size = 32
    config.model.feature_multipliers = 'conv1=0.5,conv2=0.5,conv3=0.5,conv4=0.5'  # for two cores
    config.model.normalization = 'none'
    config.augment.horizontal_flip = False
    config.train.num_epochs = 100.0  # at most
    config.train.milestones = ''
    config.train.weight_decay = 0.0
    config.evaluate.every_epochs = 0.0
    config.evaluate.views = 1
    return config
