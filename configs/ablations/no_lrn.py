"""Run 148: no normalization at all, neither across maps nor within one.

    python main.py --config=configs/ablations/no_lrn.py --workdir=/data/no_lrn \\
        --config.prepare.path=/data/ilsvrc2012

Published: without it 1.4 points worse top-1 and 1.2 top-5 (paper, section 3.3). Uses the images of
configs/imagenet.py; to reuse a dataset prepared for it, set --config.data.directory=/data/alexnet/dataset.

Cost: unknown
Expected: 42.034 % top-1 and 19.362 % top-5 error on the validation images of 2012, ten views, against 40.664 and
18.210 of run 145; +1.370 and +1.152. What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from alexnet_jax.experiments.published import PublishedDifference
from configs import source145

# The ablation: get_config makes it in run 145, --mode=ablations in any network.
CHANGES = {'model.normalization': 'none'}
PUBLISHED = PublishedDifference('1.4 / 1.2', 'section 3.3', top1=1.4)


def get_config() -> ConfigDict:
    """Return run 145 without normalization, and with the diary of run 148."""
    config = source145.get_config()
    config.name = 'no_lrn'
    config.update_from_flattened_dict(CHANGES)
    config.train.num_epochs = 97.0
    config.train.diary = (
        '22: learning_rate=0.001; 44: learning_rate=0.0001; 69: conv1=0.1, lighting=off; 73: conv1=0; '
        '86: learning_rate=1e-05'
    )
    return config
