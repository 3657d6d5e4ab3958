"""MD5 sums of archives as their owners publish them, ImageNet's among them, and whether a file has its own."""

import hashlib
import logging
from pathlib import Path

from alexnet_jax.errors import UserError

log = logging.getLogger(__name__)

KNOWN_MD5 = {
    'ILSVRC2012_img_train.tar': '1d675b47d978889d74fa0da5fadfb00e',
    'ILSVRC2012_img_train_t3.tar': 'ccaf1013018ac1037801578038d370da',
    'ILSVRC2012_img_val.tar': '29b22e2961454d5413ddabcf34fc5622',
    'ILSVRC2012_img_test_v10102019.tar': 'e1b8681fff3d63731c599df9b4b6fc02',
    'ILSVRC2012_devkit_t12.tar.gz': 'fa75699e90414af021442c21a62c3abf',
}


def check_known_archives(path: Path) -> None:
    """Reads the archives of known sums at a path, a folder or one of them. Raises UserError where one has another sum."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    known = [file for file in files if file.name in KNOWN_MD5]
    if not known:
        raise UserError(
            f'{path} is or holds no archive whose MD5 sum is known ({", ".join(KNOWN_MD5)}); '
            'give --config.prepare.verify_md5=False.'
        )
    for file in known:
        check_md5(file, KNOWN_MD5[file.name], otherwise='fetch it again')


def check_md5(file: Path, expected: str, *, otherwise: str) -> None:
    """Raises UserError where a file has another MD5 sum; `otherwise` says what is to be done then."""
    log.info('Reading %s whole for its MD5 sum, %.1f GB', file, file.stat().st_size / 1e9)
    with open(file, 'rb') as stream:
        found = hashlib.file_digest(stream, 'md5').hexdigest()
    if found != expected:
        raise UserError(
            f'{file} has the MD5 sum {found} instead of {expected}; it is damaged, or another edition: {otherwise}.'
        )
