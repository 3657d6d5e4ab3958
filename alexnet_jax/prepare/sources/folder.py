"""A folder of class folders, with or without splits, as a source."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare import wordnet
from alexnet_jax.prepare.sources.base import Source, SourceOptions, archive_kind, is_hidden, source_from_paths
from alexnet_jax.prepare.splits import Item


@dataclasses.dataclass(frozen=True)
class FolderReader:
    """Reads items whose `location` begins with a path within the root."""

    root: str

    @property
    def identity(self) -> str:
        return f'InFolder(root={self.root!r})'

    def __call__(self, item: Item) -> bytes:
        with open(os.path.join(self.root, item.location[0]), 'rb') as file:
            return file.read(image_io.MAX_FILE_BYTES + 1)  # one more than decode takes: it will say so


CLASS_WORD_LISTS = ('LOC_synset_mapping.txt', 'synset_words.txt', 'words.txt')  # Kaggle's, Caffe's and ImageNet's lists


def open_folder(root: Path, wanted: SourceOptions) -> Source:
    """split/class/image or class/image, however deep within the class; links are followed."""
    found, others = list_images(root)
    return source_from_paths(root, found, others, wanted, FolderReader(str(root)), words=read_class_words(root))


def list_images(root: Path) -> tuple[dict[str, tuple], list[str]]:
    """The images under a folder (path -> where), and the paths of other files."""
    if not root.is_dir():
        kind = archive_kind(root) or 'tar or zip'
        raise UserError(f'{root} is no folder; for an archive choose --config.prepare.source={kind}.')
    found, others = {}, []
    try:
        for path, entry in iter_files(root, ()):
            if path.lower().endswith(image_io.IMAGE_EXTENSIONS):
                if not entry.is_file():
                    raise UserError(
                        f'{root} holds {path!r}, which is no plain file but a device, a pipe, or a link to nothing; '
                        'remove it.'
                    )
                status = entry.stat()
                # Size and time tell whether the file is still the same when a preparation goes on.
                found[path] = (path, status.st_size, status.st_mtime_ns)
            else:
                others.append(path)
    except OSError as error:
        raise UserError(f'{root} cannot be read ({error}); mend it or leave it out.') from error
    return found, others


def read_class_words(folder: Path) -> dict[str, str]:
    """What classes are called, by their WordNet ids, from the lists of WORDS in a folder."""
    lists = [(folder / name).read_text(errors='replace') for name in CLASS_WORD_LISTS if (folder / name).is_file()]
    return {wnid: names for text in reversed(lists) for wnid, names in wordnet.parse_synonyms(text).items()}


def iter_files(folder: Path, above: tuple[str, ...]) -> Iterator[tuple[str, os.DirEntry]]:
    """Every file under a folder, hidden ones apart, with its path from the first folder; links are followed."""
    above = (*above, os.path.realpath(folder))
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if not entry.is_dir():
                yield entry.name, entry
            elif os.path.realpath(entry.path) not in above:  # a link to where we come from would never end
                for path, inner in iter_files(Path(entry.path), above):
                    yield f'{entry.name}/{path}', inner
