"""ILSVRC-2010 from its archives, the development kit, the test labels and the patch images, all in one folder."""

import functools

from alexnet_jax.prepare.sources.base import SourceSpec
from alexnet_jax.prepare.sources.imagenet import Challenge, open_challenge

CHALLENGE = Challenge(
    year=2010,
    train='ILSVRC2010_images_train.tar',
    validation='ILSVRC2010_images_val.tar',
    kit='ILSVRC2010_devkit-1.0.tar.gz',
    test='ILSVRC2010_images_test.tar',
    test_labels='ILSVRC2010_test_ground_truth.txt',
    patches='patch_images.tar',
)
SPEC = SourceSpec('imagenet2010', 'the folder that holds its archives', functools.partial(open_challenge, CHALLENGE))
