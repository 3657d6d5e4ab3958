"""Caffe's bvlc_alexnet: one column with groups, crops of 227 pixels, and the recipe of its solver.prototxt.

    python main.py --config=configs/caffe.py --workdir=/data/caffe --config.prepare.path=/data/ilsvrc2012

Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset. One difference remains: Caffe resized every image to 256 x 256 pixels;
here the shorter side becomes 256 and the center is kept, as in the paper.

Cost: unknown; on a K40 an image took BVLC's own 5.2 ms, forward and backward, which makes a week for 90 epochs.
Expected: 42.9 % top-1 and 19.8 % top-5 error on the validation images, center view (57.1 % and 80.2 % right, BVLC's
readme). What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Return what models/bvlc_alexnet does differently from the paper."""
    config = default.get_config()
    config.name = 'caffe'
    config.model.preset = 'caffe'
    config.model.num_classes = 1000
    config.model.initialization = 'caffe'  # biases of 0.1, since with ones the loss stayed flat
    config.prepare.source = 'imagenet2012'
    config.prepare.validation_fraction = 0.01  # as in configs/imagenet.py
    config.data.num_threads = 8
    config.augment.lighting = 'none'
    config.train.batch_size = 256
    config.train.milestones = '20,40,60,80'  # every 100,000 of 450,000 iterations
    config.train.decay_biases = False
    config.train.bias_lr_multiplier = 2.0
    config.evaluate.views = 1  # what BVLC reports
    return config
