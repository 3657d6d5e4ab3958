"""A tar for each synset, any number of them, as ImageNet's releases have them: in a folder, or in one large tar."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources import advice, compression, folder, tar
from alexnet_jax.prepare.sources.base import Source, SourceOptions, SourceSpec, source_from_paths


def open_synsets(path: Path, options: SourceOptions) -> Source:
    """Open class.tar or split/class.tar, each with its images; a list of synonyms next to them names the classes."""
    root = path if path.is_dir() else path.parent
    found, skipped, empty = {}, [], []
    for file, within in _iter_synset_tars(path):
        compression.check_uncompressed(file)
        name = PurePosixPath(within.name if within else os.path.relpath(file, root)).with_suffix('')
        archive = os.path.relpath(file, root), tar.file_version(file)
        origin = f'{file}, {name}' if within else file
        images, others = tar.image_members(tar.iter_members(file, within), origin)
        skipped += others
        if not images:
            empty.append(str(name))
        for member in images:
            key = f'{name}/{PurePosixPath(member.name).name}'
            if key in found:
                raise UserError(f'{path} holds {key!r} twice; make it again.')
            found[key] = (*archive, member.offset, member.size)
    if not found:
        remedy = 'expected one for each class, such as n01440764.tar'
        if not empty:
            remedy = advice.advise_on_names(_list_names(path), 'synsets') or remedy
        raise UserError(f'{path} holds no tars with images; {remedy}.')
    skipped += [f'{name}.tar' for name in empty]
    synonyms = folder.read_synonyms(root)
    return source_from_paths(path, found, skipped, options, tar.TarReader(str(root)), synonyms=synonyms)


def _iter_synset_tars(path: Path) -> Iterator[tuple[Path, tar.Member | None]]:
    """Yield the file of each synset's tar, and the member that it is if one file holds them all."""
    if not path.is_dir():
        tar.check_archive_kind(path, 'tar')
        inner = sorted(tar.iter_members(path), key=lambda member: member.name)
        yield from ((path, member) for member in inner if member.name.lower().endswith('.tar'))
        return
    names = sorted(name for name, _ in folder.iter_files(path, ()) if name.lower().endswith('.tar'))
    yield from ((path / name, None) for name in names)


def _list_names(path: Path) -> Iterator[str]:
    """Yield the names of files in a folder or tar."""
    if path.is_dir():
        return (name for name, _ in folder.iter_files(path, ()))
    return (member.name for member in tar.iter_members(path))


SPEC = SourceSpec('synsets', 'a folder that holds a tar for each class', open_synsets)
