"""Run 145 of the 2012 source release: the published network as its authors really ran it, on ImageNet of 2012.

    python main.py --config=configs/source145.py --workdir=/data/source145 --config.prepare.path=/data/ilsvrc2012

Uses the images of configs/imagenet.py; to reuse a dataset prepared for it, set
--config.data.directory=/data/alexnet/dataset. Against the paper's text: norm1 and pool1 before relu1, a second
normalization within each map after norm2, alpha divided by n, deviation 0.03 in conv3 to conv5, biases at twice the
rate and without decay, color noise by deviations with the image divided by 1.1, the mean's center for every crop, and
the diary of 2012-09-13. --config.augment.crop_block=32 also shares crops and flips as the source did.
Not as in the source: one in a hundred training images is kept for validation, and the learning rate of biases is twice
that of the weights at any time (the notes have 0.02 at the start; that of 2012 was never lowered, that of 2010 was).

Cost: unknown on today's devices; the paper's two GTX 580 took five to six days.
Expected: 40.7 % top-1 and 18.2 % top-5 error on the validation images, ten views (40.664 and 18.210 in the notes).
What this code reaches: unknown.
"""

from ml_collections import ConfigDict

from configs import imagenet


def get_config() -> ConfigDict:
    """Return the recipe of run 145 on 2012 (layers/layers-145.cfg, layer-params-145.cfg, convdata_jpeg.py)."""
    config = imagenet.get_config()
    config.name = 'source145'
    config.model.preset = 'source145'
    config.model.initialization = 'source2012'
    config.augment.mean = 'center'
    config.augment.lighting = 'deviations'
    config.augment.lighting_rescale = True
    config.train.bias_lr_multiplier = 2.0
    config.train.decay_biases = False
    config.train.num_epochs = 91.0
    config.train.schedule = 'diary'
    config.train.diary = (
        '25: learning_rate=0.001; 51: learning_rate=0.0001; 67: conv1=0.1, lighting=off; 72: conv1=0; '
        '79: learning_rate=1e-05'
    )
    return config
