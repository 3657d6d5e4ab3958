"""Run 167: no normalization after conv2, neither across maps nor within one.

    python main.py --config=configs/ablations/no_norm2.py --workdir=/data/no_norm2 \\
        --config.prepare.path=/data/ilsvrc2012

Published in the notes alone. The run belongs to those of December 2012 and later, whose learning rates fell by a
schedule: four equal steps of the logarithm from 0.01 to 1e-5. The notes of its successors give 95 epochs. Not as in the
source: the rate of biases is twice that of the weights at any time; there it was 0.02 and in the second half 0.002.
Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset.

Cost: unknown
Expected: 40.488 % top-1 and 18.118 % top-5 error on the validation images of 2012, ten views, against 40.664 and
18.210 of run 145, which had another schedule. What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from configs import source145

# The ablation: get_config makes it in run 145, --mode=ablations in any network.
CHANGES = {'model.normalization': 'norm1'}


def get_config() -> ConfigDict:
    """Return run 145 without norm2 and norm2b, and with the rates of run 167."""
    config = source145.get_config()
    config.name = 'no_norm2'
    config.update_from_flattened_dict(CHANGES)
    config.train.num_epochs = 95.0
    config.train.diary = (
        '23.75: learning_rate=0.001; 47.5: learning_rate=0.0001; 63: lighting=off; 71.25: learning_rate=1e-05; '
        '73: conv1=0'
    )
    return config
