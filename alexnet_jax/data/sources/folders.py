"""A folder of class folders, with or without splits, as a source."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from alexnet_jax.data import images
from alexnet_jax.data.arrangement import Item
from alexnet_jax.data.sources.source import Source, Wanted, arranged, hidden
from alexnet_jax.mistakes import Mistake


@dataclasses.dataclass(frozen=True)
class InFolder:
    """Reads items whose `where` begins with a path within the root."""

    root: str

    def __call__(self, item: Item) -> bytes:
        with open(os.path.join(self.root, item.where[0]), 'rb') as file:
            return file.read(images.LARGEST_FILE + 1)  # one more than decode takes: it will say so


def open_folder(root: Path, wanted: Wanted) -> Source:
    """split/class/image or class/image, however deep within the class; links are followed."""
    if not root.is_dir():
        raise Mistake(f'{root} is no folder; for an archive choose --config.prepare.source=tar.')
    found, others = {}, []
    try:
        entries = list(files(root, ()))
    except OSError as error:
        raise Mistake(f'{root} cannot be read ({error}); mend it or leave it out.') from error
    for path, entry in entries:
        if path.lower().endswith(images.ENDINGS) and entry.is_file():
            status = entry.stat()
            # Size and time tell whether the file is still the same when a preparation goes on.
            found[path] = (path, status.st_size, status.st_mtime_ns)
        else:
            others.append(path)
    found = {path: found[path] for path in sorted(found)}
    return arranged(root, found, others, wanted, InFolder(str(root)), upright=True)


def files(folder: Path, above: tuple[str, ...]) -> Iterator[tuple[str, os.DirEntry]]:
    """Every file under a folder, hidden ones apart, with its path from the first folder; links are followed."""
    above = (*above, os.path.realpath(folder))
    with os.scandir(folder) as entries:
        for entry in entries:
            if hidden(entry.name):
                continue
            if not entry.is_dir():
                yield entry.name, entry
            elif os.path.realpath(entry.path) not in above:  # a link to where we come from would never end
                for path, inner in files(Path(entry.path), above):
                    yield f'{entry.name}/{path}', inner
