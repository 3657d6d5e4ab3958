"""Declare the config fields about images, by section: the dataset, how it is prepared, augmentation."""

from alexnet_jax.config import parse
from alexnet_jax.config.field import MAX_INT, Field, fraction_field, seed_field

DATA = {
    'directory': Field('', 'prepared dataset; empty: <workdir>/dataset', per_host=True),
    'num_threads': Field(2, 'threads that decode; batches do not depend on it', 1, 1024, per_host=True),
    'prefetch': Field(2, 'batches that wait on the device', 1, 1024, per_host=True),
    'device_cache': Field(False, 'keep all training images as uint8 on every device, if they fit'),
}
# How images become a dataset.
PREPARE = {
    'source': Field('folder', 'form of the images; docs/data.md', choices='alexnet_jax.prepare.sources.SOURCES'),
    'path': Field('', 'folder or archive, or the folder that holds the archives', resumable=True),
    'image_size': Field(256, 'pixels of the shorter side, then center square (paper, section 2)', 8, 8192),
    'encoding': Field(
        'jpeg',
        'jpeg: small; raw: uint8 pixels, faster to read, about eight times larger',
        choices='alexnet_jax.data.encoding.ENCODINGS',
    ),
    'jpeg_quality': Field(95, 'of encoding jpeg', 1, 100),
    'validation_fraction': fraction_field(0.1, 'of the training images, if the source has no such split'),
    'test_fraction': fraction_field(0.1, 'of the training images, if the source has no such split'),
    'num_cutouts': Field(
        '8000,1000,1000',
        'images to make, for source cutouts',
        parse=parse.split_counts,
        expected=f'three whole numbers from 1 to {parse.MAX_CUTOUTS:,} for train, validation and test, '
        'such as 8000,1000,1000',
    ),
    'expected_counts': Field(
        'official',
        'images that ImageNet and CIFAR-10 must have: all of the official ones, those listed, or any',
        choices='alexnet_jax.prepare.sources.COUNT_CHECKS',
        resumable=True,
    ),
    'verify_md5': Field(False, "compare ImageNet's archives with their known MD5; reads all", resumable=True),
    'max_unreadable': Field(0, 'unreadable images that may be left out', 0, MAX_INT, resumable=True),
    'num_workers': Field(1, 'processes; the bytes written do not depend on it', 1, 1024, resumable=True),
    'seed': seed_field('decides random splits and cut-outs'),
}
AUGMENT = {
    'horizontal_flip': Field(True, 'flip with probability one half'),
    'mean': Field(
        'image',
        'image: cropped as the image is; center: unmoved, as in the 2012 source; channel: three numbers',
        choices='alexnet_jax.data.augment.MEAN_KINDS',
    ),
    'lighting': Field(
        'eigenvalues',
        "scale of the color shift: eigenvalues, the paper's formula; deviations, the 2012 source's; none",
        choices='alexnet_jax.data.augment.LIGHTING_KINDS',
    ),
    'pca_basis': Field(
        'dataset',
        'principal colors: of the training split, or published ones of ImageNet',
        choices='alexnet_jax.data.statistics.PCA_BASES',
    ),
    'lighting_std': Field(0.1, 'of the three normal draws of the color shift', 0),
    'lighting_rescale': Field(
        False, 'divide images less the mean by 1 + lighting_std while there is lighting, as in the 2012 source'
    ),
    'crop_block': Field(1, 'images in a row that share one crop and flip; 32 in the 2012 source', 1, MAX_INT),
}
