"""The second half of 1 CNN* (paper, table 2): the network of configs/pretrain_fall2011.py goes on on ILSVRC 2012.

    python main.py --config=configs/finetune_fall2011.py --workdir=/data/cnn_star \\
        --config.prepare.path=/data/ilsvrc2012 --config.finetune.path=/data/fall2011

Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset. All layers but fc8 are copied. The notes give the result of run
146-2012-2011 and not its schedule; this one begins at a tenth of the first rate.

Cost: unknown
Expected: 39.0 % top-1 and 16.6 % top-5 error on the validation images, ten views (38.990 and 16.622 in the notes).
What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from configs import source145


def get_config() -> ConfigDict:
    """Return the recipe of run 145 from its first drop on, for the network of run 146 with copied layers."""
    config = source145.get_config()
    config.name = 'finetune_fall2011'
    config.model.preset = 'source146'
    config.finetune.layers = 'conv1,conv2,conv3,conv4,conv5,conv6,fc6,fc7'
    config.train.learning_rate = 0.001
    config.train.num_epochs = 66.0
    config.train.diary = '26: learning_rate=0.0001; 42: conv1=0.1, lighting=off; 47: conv1=0; 54: learning_rate=1e-05'
    return config
