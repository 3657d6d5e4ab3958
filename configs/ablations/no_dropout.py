"""No dropout, for half the epochs: with it training takes about twice the iterations (paper, section 4.2).

    python main.py --config=configs/ablations/no_dropout.py --workdir=/data/no_dropout \\
        --config.prepare.path=/data/ilsvrc2012

Published: without dropout the network overfits substantially (section 4.2), no figure. Compare the training loss in
metrics.jsonl with that of configs/source145.py; where it falls lower, set fewer epochs. Uses the images of
configs/imagenet.py; to reuse a dataset prepared for it, set --config.data.directory=/data/alexnet/dataset.

Cost: unknown
Expected: unknown; worse than 40.664 and 18.210 of run 145. What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from alexnet_jax.experiments.published import PublishedDifference
from configs import source145

# The ablation: get_config makes it in run 145, --mode=ablations in any network.
CHANGES = {'model.dropout': 'none'}
PUBLISHED = PublishedDifference('"substantial overfitting"', 'section 4.2')


def get_config() -> ConfigDict:
    """Return run 145 without dropout, at half the epochs."""
    config = source145.get_config()
    config.name = 'no_dropout'
    config.update_from_flattened_dict(CHANGES)
    config.train.num_epochs = 45.5
    config.train.diary = (
        '12.5: learning_rate=0.001; 25.5: learning_rate=0.0001; 33.5: conv1=0.1, lighting=off; 36: conv1=0; '
        '39.5: learning_rate=1e-05'
    )
    return config
