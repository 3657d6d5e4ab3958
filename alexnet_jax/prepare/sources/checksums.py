"""Checks archives against the MD5 sums that their owners publish."""

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
    """Check the archives of KNOWN_MD5 at a path, a folder or one of them. Raises UserError if a sum differs."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    known = [file for file in files if file.name in KNOWN_MD5]
    if not known:
        raise UserError(
            f'{path} has no archive with a known MD5 sum ({", ".join(KNOWN_MD5)}); '
            'set --config.prepare.verify_md5=False.'
        )
    for file in known:
        check_md5(file, KNOWN_MD5[file.name], hint='download it again')


def check_md5(file: Path, expected: str, *, hint: str) -> None:
    """Raise UserError, with a hint what to do, if a file has another MD5 sum."""
    log.info('Computing the MD5 sum of %s, %.1f GB', file, file.stat().st_size / 1e9)
    with open(file, 'rb') as stream:
        actual = hashlib.file_digest(stream, 'md5').hexdigest()
    if actual != expected:
        raise UserError(
            f'{file} has the MD5 sum {actual}, expected {expected}: it is damaged or another edition; {hint}.'
        )
