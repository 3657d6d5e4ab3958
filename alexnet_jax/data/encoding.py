"""The form in which a dataset stores its images: their size, and JPEG or raw pixels."""

import dataclasses

from alexnet_jax.errors import UserError

JPEG, RAW = 'jpeg', 'raw'
ENCODINGS = (JPEG, RAW)


@dataclasses.dataclass(frozen=True)
class EncodingSpec:
    """Squares of `image_size` pixels, as JPEG of `jpeg_quality` (1 to 100) or as raw uint8 pixels."""

    image_size: int
    encoding: str = JPEG
    jpeg_quality: int = 95

    def __post_init__(self):
        """Raise UserError if a value is out of range."""
        if self.encoding not in ENCODINGS:
            raise UserError(f'Unknown encoding {self.encoding!r}; expected one of: {", ".join(ENCODINGS)}.')
        if self.image_size < 1:
            raise UserError(f'The image size must be at least 1, not {self.image_size}.')
        if not 1 <= self.jpeg_quality <= 100:
            raise UserError(f'The JPEG quality must be 1 to 100, not {self.jpeg_quality}.')

    @property
    def effective_quality(self) -> int:
        """Return the JPEG quality; 0 if pixels are stored raw, where it has no effect."""
        return self.jpeg_quality if self.encoding == JPEG else 0
