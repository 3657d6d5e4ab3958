"""Find the image files that a user names: files, folders, patterns, or a list with a name on each line."""

from __future__ import annotations

import dataclasses
import glob
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

from alexnet_jax.data import image_io
from alexnet_jax.errors import UserError
from alexnet_jax.prepare.sources import base, folder
from alexnet_jax.prepare.splits import skipped_files_note

MAX_NAME_LENGTH = 255  # of a file on most systems
EXAMPLE_FLAG = '--images=cat.jpg,holiday'


@dataclasses.dataclass(frozen=True)
class FoundImages:
    """The images that were named or lie in named folders, and the rest of these folders."""

    files: list[str] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)  # files whose names are not images'
    errors: list[str] = dataclasses.field(default_factory=list)  # for each folder or image that cannot be opened
    notes: list[str] = dataclasses.field(default_factory=list)  # for each folder with results of this program


def split_paths(value: str) -> list[str]:
    """Return the paths in a list with commas; what exists as it stands, with commas and spaces, is one path."""
    paths, parts = [], value.split(',')
    while parts:
        joined = itertools.accumulate((os.path.expanduser(parts[0]), *parts[1:]), '{},{}'.format)
        candidates = enumerate(itertools.takewhile(_is_possible_path, joined), 1)
        existing = [(count, path) for count, path in candidates if os.path.lexists(path)]
        count, path = max(existing, default=(1, parts[0].strip()))
        paths += [path] if path else []
        parts = parts[count:]
    return paths


def _is_possible_path(path: str) -> bool:
    """Return False if neither this path nor any longer one that begins with it can exist."""
    parent, name = os.path.split(path)
    return len(name) <= MAX_NAME_LENGTH and (not parent or os.path.isdir(parent))


def find_image_files(paths: Iterable[str]) -> FoundImages:
    """Return the image files of `paths`: a file is itself, a folder all images in it and below, sorted.

    Pictures that a run or a preparation of this program drew are left out of a folder. ~ and the signs * ? [] mean what
    they do to a shell, which does not expand them in --images=*.jpg. Raises UserError for a URL, a path without a file,
    a folder without images, and if there are no paths.
    """
    found = FoundImages()
    for path in paths:
        for match in _expand_path(path):
            _add_images(Path(match), found)
    if not found.files:
        raise UserError(f'No images were named. Name image files or folders, as in {EXAMPLE_FLAG}.')
    return found


def find_listed_files(text: str) -> FoundImages:
    """Return the images that a list names: a name on each line, or names that end with a NUL, as `find -print0` writes.

    Names are taken as they stand, a folder as all images in it. A file that does not exist stays: reading it says so,
    in its place. Raises UserError if there are no names.
    """
    found = FoundImages()
    for name in text.split('\0') if '\0' in text else (line.rstrip('\r') for line in text.split('\n')):
        # Unlike Path.exists they answer False for a name that no file can have.
        if name and os.path.exists(name) and not os.path.isfile(name):
            try:
                _add_images(Path(name), found)
            except UserError as error:
                found.errors.append(str(error))
        elif name:
            found.files.append(name)
    if not found.files:
        raise UserError(' '.join(['The list on standard input names no image.', *found.errors]))
    return found


def _expand_path(path: str) -> list[str]:
    path = os.path.expanduser(path)
    if '://' in path:
        raise UserError(f'{path} is a URL, which is not downloaded; save the image and name its file.')
    if os.path.lexists(path):
        return [path]
    # The folders that exist as they stand are no pattern, whatever their names.
    folder_path, rest = os.path.split(path)
    while folder_path and not os.path.isdir(folder_path):
        folder_path, name = os.path.split(folder_path)
        rest = os.path.join(name, rest)
    return sorted(glob.glob(os.path.join(glob.escape(folder_path), rest))) or [path]


def _add_images(path: Path, found: FoundImages) -> None:
    """Add a file, or what lies in a folder, to `found`."""
    if not path.is_dir():
        if not path.is_file():
            problem = 'is not a file' if path.exists() else 'does not exist'
            raise UserError(f'{path} {problem}. Name image files or folders, as in {EXAMPLE_FLAG}.')
        found.files.append(str(path))
        return
    files, skipped, errors = {}, [], []

    def add_error(error: OSError) -> None:
        errors.append(f'{error.filename} cannot be read ({error.strerror}).')

    for name, entry in folder.iter_files(path, (), add_error):
        if not name.lower().endswith(image_io.IMAGE_EXTENSIONS):
            skipped.append(name)
        elif entry.is_file():
            files[name] = path / name
        else:
            errors.append(f'{path / name} is not a regular file but a device, a pipe or a broken link.')
    files, skipped, note = base.leave_out_results(files, skipped)
    if not files:
        remedy = f'Names of images end in {", ".join(image_io.IMAGE_EXTENSIONS)}.'
        raise UserError(' '.join([f'{path} has no images.{note}{skipped_files_note(skipped)}', *errors, remedy]))
    found.files.extend(map(str, sorted(files.values())))
    found.notes.extend([note.strip()] if note else [])
    found.skipped.extend(skipped)
    found.errors.extend(errors)
