"""Run 145 of the 2012 source release, pushed back to a learning rate of 1e-3 after its end, with the noise back.

    python main.py --config=configs/source145_longer.py --workdir=/data/longer --config.prepare.path=/data/ilsvrc2012

Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset. The first 91 epochs are those of configs/source145.py. The notes do not
say what became of conv1, which was frozen; here it learns again.

Cost: unknown
Expected: 40.3 % top-1 and 18.0 % top-5 error on the validation images, ten views (40.250 and 17.994 in the notes).
What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from configs import source145


def get_config() -> ConfigDict:
    """Return the recipe of configs/source145.py with 44 epochs more."""
    config = source145.get_config()
    config.name = 'source145_longer'
    config.train.num_epochs = 135.0
    config.train.diary += (
        '; 91: learning_rate=0.001, conv1=1, lighting=on; 107: learning_rate=0.0001; 124: learning_rate=1e-05'
    )
    return config
