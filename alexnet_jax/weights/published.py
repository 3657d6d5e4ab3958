"""Published files of weights: what they are, by their sums, and where a missing one comes from."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from alexnet_jax.errors import UserError


class PublishedFile(NamedTuple):
    """A public file of weights: the network in it, one of its sums, and who publishes it under which address."""

    file: str
    preset: str
    algorithm: str
    checksum: str
    publisher: str
    url: str
    license: str


PUBLISHED: tuple[PublishedFile, ...] = (
    PublishedFile(
        'bvlc_alexnet.caffemodel',
        'caffe',
        'sha1',
        '9116a64c0fbe4459d18f4bb6b56d647b63920377',
        'BVLC (models/bvlc_alexnet of github.com/BVLC/caffe)',
        'http://dl.caffe.berkeleyvision.org/bvlc_alexnet.caffemodel',
        'unrestricted use, as its publishers say',
    ),
    PublishedFile(
        'bvlc_reference_caffenet.caffemodel',
        'caffenet',
        'sha1',
        '4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46',
        'BVLC (models/bvlc_reference_caffenet of github.com/BVLC/caffe)',
        'http://dl.caffe.berkeleyvision.org/bvlc_reference_caffenet.caffemodel',
        'unrestricted use, as its publishers say',
    ),
    PublishedFile(
        'imagenet-caffe-alex.mat',
        'caffe',
        'md5',
        'b5152a54bf61100a8ed61827c76e7d08',
        'VLFeat (MatConvNet, pretrained models)',
        'https://www.vlfeat.org/matconvnet/models/imagenet-caffe-alex.mat',
        "unrestricted use, as its publishers say: converted from BVLC's",
    ),
    PublishedFile(
        'alexnet-owt-7be5be79.pth',
        'torchvision',
        'sha256-prefix',
        '7be5be79',
        'PyTorch (torchvision.models.AlexNet_Weights.IMAGENET1K_V1)',
        'https://download.pytorch.org/models/alexnet-owt-7be5be79.pth',
        'BSD-3-Clause, as torchvision',
    ),
)


def identify_published(path: str | os.PathLike[str]) -> PublishedFile | None:
    """Return which published file the bytes at `path` are, whatever it is called; None for any other file."""
    sums: dict[str, str] = {}
    for published in PUBLISHED:
        algorithm = published.algorithm.removesuffix('-prefix')
        if algorithm not in sums:
            with open(path, 'rb') as file:
                sums[algorithm] = hashlib.file_digest(file, algorithm).hexdigest()
        if sums[algorithm].startswith(published.checksum):
            return published
    return None


def require_weights_file(path: str | os.PathLike[str]) -> None:
    """Raise UserError unless `path` is a file; for a name of a published one, say from whom to fetch it."""
    if os.path.isfile(path):
        return
    problem = f'{path} is not a file' if os.path.exists(path) else f'{path} does not exist'
    named = [each for each in PUBLISHED if each.file == Path(path).name]
    near = named or [each for each in PUBLISHED if Path(each.file).suffix == Path(path).suffix.lower()]
    if not near:
        raise UserError(f'{problem}; give the path of a file of weights.')
    fetch = ' or '.join(f'{each.file} of {each.publisher} from {each.url}' for each in near)
    raise UserError(f'{problem}; give the path of a file of weights, or fetch {fetch}.')
