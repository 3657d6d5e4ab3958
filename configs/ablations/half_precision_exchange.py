"""Run 170-quant: what columns exchange, and its gradients, in half precision.

    python main.py --config=configs/ablations/half_precision_exchange.py --workdir=/data/half_precision_exchange \\
        --config.prepare.path=/data/ilsvrc2012

Published in the notes alone. Run 170 is run 145 with the learning rate in four equal steps of its logarithm, from 0.01
to 4e-5. In the source a column rounds what it receives; here its own half is rounded too, so that the numbers do not
depend on the devices. Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset.

Cost: unknown
Expected: 40.524 % top-1 and 18.416 % top-5 error on the validation images of 2012, ten views, against 40.528 and
18.048 of run 170. What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from configs import source145

# The ablation: get_config makes it in run 145, --mode=ablations in any network.
CHANGES = {'model.exchange_dtype': 'float16'}


def get_config() -> ConfigDict:
    """Return run 145 with rounded exchanges and the rates of run 170."""
    config = source145.get_config()
    config.name = 'half_precision_exchange'
    config.update_from_flattened_dict(CHANGES)
    config.train.num_epochs = 90.0
    # The notes give the four rates and not their epochs: quarters of the run.
    config.train.diary = '22.5: learning_rate=0.00159; 45: learning_rate=0.000252; 67.5: learning_rate=4e-05'
    return config
