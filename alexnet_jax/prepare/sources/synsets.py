"""A tar for each synset, any number of them, as ImageNet's releases ship them: in a folder, or in one large tar."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources import folder, tar
from alexnet_jax.prepare.sources.base import Source, SourceOptions, source_from_paths


def open_synsets(path: Path, wanted: SourceOptions) -> Source:
    """class.tar, or split/class.tar, each with its images; a list of words beside them names the classes."""
    root = path if path.is_dir() else path.parent
    found, others, empty = {}, [], []
    for file, within in _iter_synset_tars(path):
        name = PurePosixPath(within.name if within else os.path.relpath(file, root)).with_suffix('')
        place = os.path.relpath(file, root), tar.file_version(file)
        pictures, rest = tar.image_members(tar.iter_members(file, within), f'{file}, {name}' if within else file)
        others += rest
        if not pictures:
            empty.append(str(name))
        for member in pictures:
            key = f'{name}/{PurePosixPath(member.name).name}'
            if key in found:
                raise UserError(f'{path} holds {key!r} twice; make it again.')
            found[key] = (*place, member.offset, member.size)
    if not found:
        raise UserError(f'{path} holds no tars with images; expected was one for each class: n01440764.tar.')
    others += [f'{name}.tar' for name in empty]
    return source_from_paths(path, found, others, wanted, tar.TarReader(str(root)), words=folder.read_class_words(root))


def _iter_synset_tars(path: Path) -> Iterator[tuple[Path, tar.Member | None]]:
    """The file of each synset's tar, and which of its members it is, where one file holds them all."""
    if not path.is_dir():
        inner = sorted(tar.iter_members(path), key=lambda member: member.name)
        yield from ((path, member) for member in inner if member.name.lower().endswith('.tar'))
        return
    names = sorted(name for name, _ in folder.iter_files(path, ()) if name.lower().endswith('.tar'))
    yield from ((path / name, None) for name in names)
