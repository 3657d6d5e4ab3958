"""Class names, image size and mean image: all that a trained network needs of its dataset, kept in a run's folder."""

import dataclasses
import json
import os

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.runtime import atomic_io


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """The classes, images and mean that a network was trained on. The mean is over the training split, in 0..255."""

    name: str
    class_names: tuple[str, ...]  # by label
    class_descriptions: tuple[str, ...]  # by label: WordNet's words for the class, else its name
    image_size: int  # pixels; images are (image_size, image_size, 3)
    mean: np.ndarray  # float32 (image_size, image_size, 3)
    checksum: str  # the dataset's identity: SHA-256 over what decides a training (dataset.training_checksum)
    # float32 (3,), in 0..255: what red, green and blue are divided by after the mean; ones but for imported weights.
    std: np.ndarray = dataclasses.field(default_factory=lambda: np.ones(3, np.float32), kw_only=True)

    @property
    def rgb_std(self) -> tuple[float, float, float]:
        """Return the standard deviation as numbers."""
        red, green, blue = map(float, self.std)
        return red, green, blue

    @property
    def short_class_names(self) -> tuple[str, ...]:
        """The names that fit on a picture, by label: the first of WordNet's words, else the class's name."""
        pairs = zip(self.class_names, self.class_descriptions, strict=True)
        return tuple(name if name == text else text.partition(',')[0] for name, text in pairs)

    @property
    def readable_class_names(self) -> tuple[str, ...]:
        """The names by label, each with the first of WordNet's words if it has any: 'n01440764 tench'."""
        pairs = zip(self.class_names, self.short_class_names, strict=True)
        return tuple(name if name == short else f'{name} {short}' for name, short in pairs)


# Stored as JSON; the mean is an array.
_JSON_FIELDS = ('name', 'class_names', 'class_descriptions', 'image_size', 'checksum')


def write_dataset_info(path: str | os.PathLike[str], info: DatasetInfo) -> None:
    """Write what `read_dataset_info` reads, atomically. The zip's CRC-32 guards every byte of it."""
    text = json.dumps({field: getattr(info, field) for field in _JSON_FIELDS})
    with atomic_io.write_atomic(path, 'wb') as file:
        np.savez(file, info=np.array(text), mean=info.mean, std=info.std)


def read_dataset_info(path: str | os.PathLike[str]) -> DatasetInfo | None:
    """Return the content of the file; None if it does not exist. Raises UserError if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            fields, mean = json.loads(str(file['info'])), file['mean']
            # Version 0.3 and older ones divided by nothing and wrote none.
            std = file['std'] if 'std' in file else np.ones(3, np.float32)
        info = DatasetInfo(mean=mean, std=std, **{field: fields[field] for field in _JSON_FIELDS})
        if mean.shape != (info.image_size, info.image_size, 3):
            raise ValueError(f'its mean image is {mean.shape}')
    except FileNotFoundError:
        return None
    except PermissionError:
        raise
    except Exception as error:  # zip, NumPy and JSON raise many kinds of exceptions for damaged bytes
        raise UserError(
            f'{path} is damaged ({error}); restore it from a copy, or run the training command again, which writes it.'
        ) from error
    names = {field: tuple(getattr(info, field)) for field in ('class_names', 'class_descriptions')}
    return dataclasses.replace(info, **names)
