"""Run 150: two columns that meet at fc8 alone, wider in conv2 and fc6 to make up for the lost inputs.

    python main.py --config=configs/ablations/no_communication.py --workdir=/data/no_communication \\
        --config.prepare.path=/data/ilsvrc2012

Published in the notes alone: 160 maps in conv2 and 4,096 units in fc6 per column, fc7 on its own half; 60,714,408
parameters. Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset.

Cost: unknown
Expected: 41.828 % top-1 and 19.330 % top-5 error on the validation images of 2012, ten views, against 40.664 and
18.210 of run 145; +1.164 and +1.120. What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from alexnet_jax.experiments.published import PublishedDifference
from configs import source145

# The ablation as --mode=ablations makes it in any network; get_config takes the preset of the recorded run.
CHANGES = {'model.exchange_layers': 'fc8', 'model.feature_multipliers': 'conv2=1.25,fc6=2'}
PUBLISHED = PublishedDifference('1.164 / 1.120', 'run 150', top1=1.164)


def get_config() -> ConfigDict:
    """Return run 145 without exchange, and with the diary of run 150."""
    config = source145.get_config()
    config.name = 'no_communication'
    config.model.preset = 'source150'
    config.train.num_epochs = 92.0
    config.train.diary = (
        '25: learning_rate=0.001; 49: learning_rate=0.0001; 66: conv1=0.1, lighting=off; 72: conv1=0; '
        '79: learning_rate=1e-05'
    )
    return config
