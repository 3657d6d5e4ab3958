"""torchvision's alexnet: one narrower column without normalization, dropout before fc6 and fc7, its own recipe.

    python main.py --config=configs/torchvision.py --workdir=/data/torchvision --config.prepare.path=/data/ilsvrc2012

Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset. Two differences remain: torchvision trains on crops of random size and
shape and here they are the paper's, 224 of 256 pixels; and it divides pixels by their deviation, for which conv1's
initial weights and learning rate stand here.

Cost: unknown; torchvision's own ran on eight V100, 32 images on each.
Expected: 43.5 % top-1 and 20.9 % top-5 error on the validation images, center view (56.522 % and 79.066 % right, by its
documentation). What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Return what torchvision and its references/classification do differently from the paper."""
    config = default.get_config()
    config.name = 'torchvision'
    config.model.preset = 'torchvision'
    config.model.num_classes = 1000
    config.model.initialization = 'torch'
    config.prepare.source = 'imagenet2012'
    config.prepare.validation_fraction = 0.01  # as in configs/imagenet.py
    config.data.num_threads = 8
    config.augment.mean = 'channel'
    config.augment.lighting = 'none'
    config.train.batch_size = 256  # 32 on each of eight GPUs
    config.train.weight_decay = 0.0001
    config.train.milestones = '30,60'
    config.train.layer_lr_multipliers = 'conv1=0.0003'  # 1 / 60^2: pixels deviate by 60 here and by one there
    config.evaluate.views = 1
    return config
