"""The paper's figure for response normalization on CIFAR-10 (section 3.3): a four-layer network with it.

    python main.py --config=configs/cifar10_normalization.py --workdir=/tmp/normalized \\
        --config.prepare.path=cifar-10-binary.tar.gz

Without it, and both by several seeds: configs/cifar10_no_normalization.py. For the archive see configs/cifar10.py.

Published: 11 % test error with response normalization, 13 % without. The paper leaves the details to the files of
cuda-convnet (layers-conv-local-11pct.cfg), and so does this recipe, but for the third and fourth layer, whose kernels
differ from place to place there, and for the weight decay, which conv1 and conv2 do not have there. Its authors trained
for 300 epochs on four fifths of the images, for 150 on all, and for 10 and 10 more at a tenth and a hundredth of the
rate.

Cost: 2.6e15 operations; 10 epochs by half the maps 5 to 9 minutes beside other work on two cores (EPYC, Zen 4).
Expected: unknown for all epochs; 32.0 % test error after those 10, mean of three seeds.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Return the recipe of cuda-convnet's files, as far as the fields go, with all images from the start."""
    config = default.get_config()
    config.name = 'cifar10_normalization'
    config.model.preset = 'four_layers'
    config.model.initialization = 'cuda_convnet'
    config.prepare.source = 'cifar10'
    config.prepare.image_size = 32  # pixels, of which 24 are seen at a time
    config.prepare.encoding = 'raw'
    config.prepare.validation_fraction = 0.0
    config.prepare.test_fraction = 0.0  # the archive has its own test images
    config.augment.mean = 'center'
    config.augment.lighting = 'none'
    config.train.num_epochs = 470.0
    config.train.learning_rate = 0.001
    config.train.milestones = '450,460'
    config.train.weight_decay = 0.004
    config.train.decay_biases = False
    config.train.bias_lr_multiplier = 2.0
    config.machine.cpu_devices = 2  # each half of a batch
    return config
