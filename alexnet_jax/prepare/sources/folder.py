"""A folder of class folders, with or without splits."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import wordnet
from alexnet_jax.prepare.sources import advice
from alexnet_jax.prepare.sources.base import Source, SourceOptions, SourceSpec, is_hidden, source_from_paths
from alexnet_jax.prepare.sources.tiny_imagenet import VALIDATION_LIST
from alexnet_jax.prepare.splits import Item

# Kaggle's, Caffe's and ImageNet's lists of synonyms.
SYNONYM_LISTS = ('LOC_synset_mapping.txt', 'synset_words.txt', 'words.txt')


@dataclasses.dataclass(frozen=True)
class FolderReader:
    """Reads files: `location` begins with a path within the root."""

    root: str

    @property
    def identity(self) -> str:
        return f'InFolder(root={self.root!r})'

    def __call__(self, item: Item) -> bytes:
        with open(os.path.join(self.root, item.location[0]), 'rb') as file:
            return file.read(image_io.MAX_FILE_BYTES + 1)  # one more than the decoder accepts: it raises


def open_folder(root: Path, options: SourceOptions) -> Source:
    """Open split/class/image or class/image, in any depth below the class; links are followed."""
    found, skipped = list_images(root, also=VALIDATION_LIST)
    reader = FolderReader(str(root))
    return source_from_paths(root, found, skipped, options, reader, synonyms=read_synonyms(root))


def list_images(root: Path, also: str = '') -> tuple[dict[str, tuple], list[str]]:
    """Return the images under a folder and files named `also` (path -> location), and the paths of other files."""
    if not root.is_dir():
        raise UserError(f'{root} is no folder; {advice.advise_on_file(root)}.')
    found, skipped = {}, []
    try:
        for path, entry in iter_files(root, ()):
            if path.lower().endswith(image_io.IMAGE_EXTENSIONS) or entry.name == also:
                if not entry.is_file():
                    raise UserError(
                        f'{root} holds {path!r}, which is not a regular file but a device, a pipe or a broken link; '
                        'remove it.'
                    )
                status = entry.stat()
                # Size and time show if the file has changed when an interrupted preparation continues.
                found[path] = (path, status.st_size, status.st_mtime_ns)
            else:
                skipped.append(path)
    except OSError as error:
        raise UserError(f'{root} cannot be read ({error}); repair it or leave it out.') from error
    return found, skipped


def read_synonyms(folder: Path) -> dict[str, str]:
    """Return WordNet id -> synonyms from the lists in a folder (SYNONYM_LISTS, the first ones win)."""
    lists = [(folder / name).read_text(errors='replace') for name in SYNONYM_LISTS if (folder / name).is_file()]
    return {wnid: names for text in reversed(lists) for wnid, names in wordnet.parse_synonyms(text).items()}


def iter_files(
    folder: Path, parents: tuple[str, ...], on_error: Callable[[OSError], None] | None = None
) -> Iterator[tuple[str, os.DirEntry]]:
    """Yield every file under a folder that is not hidden, with its path from the first folder; links are followed.

    `on_error` gets the OSError of each folder that cannot be listed; without it the error is raised.
    """
    parents = (*parents, os.path.realpath(folder))
    try:
        with os.scandir(folder) as listed:
            entries = [entry for entry in listed if not is_hidden(entry.name)]
    except OSError as error:
        if on_error is None:
            raise
        on_error(error)
        return
    for entry in entries:
        if not entry.is_dir():
            yield entry.name, entry
        # A link to a parent would never end.
        elif os.path.realpath(entry.path) not in parents:
            for path, inner in iter_files(Path(entry.path), parents, on_error):
                yield f'{entry.name}/{path}', inner


SPEC = SourceSpec('folder', 'a folder that contains one folder for each class', open_folder)
