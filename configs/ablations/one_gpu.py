"""Run 145-half: one column with half the kernels in conv1 to conv4, as one GPU held it, on ImageNet of 2010.

    python main.py --config=configs/ablations/one_gpu.py --workdir=/data/one_gpu \\
        --config.prepare.path=/data/ilsvrc2010

Published: 1.7 points worse top-1 and 1.2 top-5 than two columns (paper, section 3.2). conv5 and the dense layers are
whole: 59,798,312 parameters against 60,965,224. In the order of run 145; configs/one_gpu.py has the paper's order, on
the images of 2012. Uses the images of configs/source145_2010.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/145/dataset.

Cost: unknown
Expected: 39.168 % top-1 and 18.229 % top-5 error on the test images of 2010, ten views, against 37.473 and 16.999 of
run 145; +1.695 and +1.230. What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from alexnet_jax.experiments.published import PublishedDifference
from configs import source145_2010

# The ablation as --mode=ablations makes it in any network; get_config takes the preset of the recorded run.
CHANGES = {'model.columns': 1, 'model.feature_multipliers': 'conv1=0.5,conv2=0.5,conv3=0.5,conv4=0.5'}
PUBLISHED = PublishedDifference('1.7 / 1.2', 'section 3.2', top1=1.7)


def get_config() -> ConfigDict:
    """Return run 145 on 2010 as one column, with the diary of run 145-half."""
    config = source145_2010.get_config()
    config.name = 'one_gpu'
    config.model.preset = 'source145_half'
    config.train.num_epochs = 96.0
    config.train.diary = '20: learning_rate=0.001; 48: learning_rate=0.0001; 66: conv1=0.1, lighting=off; 72: conv1=0'
    return config
