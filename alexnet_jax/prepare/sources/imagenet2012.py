"""ILSVRC-2012 from its two archives and the development kit in one folder, or without a path from TFDS."""

from pathlib import Path

from alexnet_jax.prepare.sources import tfds
from alexnet_jax.prepare.sources.base import Source, SourceOptions, SourceSpec
from alexnet_jax.prepare.sources.imagenet import Challenge, open_challenge

CHALLENGE = Challenge(
    year=2012, train='ILSVRC2012_img_train.tar', validation='ILSVRC2012_img_val.tar', kit='ILSVRC2012_devkit_t12.tar.gz'
)


def open_2012(path: Path | None, options: SourceOptions) -> Source:
    """Open the archives in a folder, or imagenet2012 as TFDS has prepared it if there is no path."""
    return open_challenge(CHALLENGE, path, options) if path else tfds.open_local_imagenet(options)


SPEC = SourceSpec(
    'imagenet2012',
    'the folder that holds its archives (no path: the one of TFDS)',
    open_2012,
    needs_path=False,
    lacks_validation=True,
)
