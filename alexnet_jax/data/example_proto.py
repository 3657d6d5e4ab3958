"""Codec of a record: a tf.train.Example of 'id' (bytes), 'image' (bytes) and 'label' (int64).

Encoded here because protobuf serializes maps in no fixed order, and datasets must have the same bytes on every run;
decoded here because TFDS's own way costs several times the reading of the record. dataset.py compares it with TFDS's
whenever it opens a split.

An Example has Features in field 1; Features have map entries in field 1, each a key in field 1 and a Feature in
field 2; a Feature is a BytesList in field 1 or an Int64List in field 3, each with its values in field 1.
"""

# Tags of the fields 1, 2 and 3 that carry a length.
TAG_1, TAG_2, TAG_3 = 1 << 3 | 2, 2 << 3 | 2, 3 << 3 | 2


def encode_example(image: bytes, label: int, name: str) -> bytes:
    """Return the record of an image, its label (0 or more) and its id."""
    entries = (
        (b'id', _encode_field(TAG_1, _encode_field(TAG_1, name.encode()))),
        (b'image', _encode_field(TAG_1, _encode_field(TAG_1, image))),
        (b'label', _encode_field(TAG_3, _encode_field(TAG_1, _encode_varint(label)))),
    )
    features = (
        _encode_field(TAG_1, _encode_field(TAG_1, key) + _encode_field(TAG_2, feature)) for key, feature in entries
    )
    return _encode_field(TAG_1, b''.join(features))


def decode_example(record: bytes) -> tuple[memoryview, int, str]:
    """Return image bytes (a view, not a copy), label and id. Raises ValueError if the record has another form."""
    image = label = name = None
    at, end = _enter_field(record, 0, TAG_1)
    if end != len(record):
        raise ValueError(f'a record of {len(record)} bytes announces {end}')
    while at < end:
        entry, next_entry = _enter_field(record, at, TAG_1)
        key, stop = _enter_field(record, entry, TAG_1)
        feature, at = _enter_field(record, stop, TAG_2)
        if at != next_entry:
            raise ValueError('a record whose lengths contradict each other')
        key = record[key:stop]
        if key == b'image':
            image = memoryview(record)[slice(*_single_value(record, feature, TAG_1, at))]
        elif key == b'id':
            name = str(record[slice(*_single_value(record, feature, TAG_1, at))], 'utf-8')
        elif key == b'label':
            label = _int64_value(record, feature, at)
    if at != end:
        raise ValueError('a record whose lengths contradict each other')
    if image is None or label is None or name is None:
        raise ValueError('a record without image, label or id')
    return image, label, name


def _encode_varint(number: int) -> bytes:
    """Return seven bits a byte, lowest first; the eighth says that more follow."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _encode_field(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + _encode_varint(len(content)) + content


def _enter_field(record: bytes, at: int, tag: int) -> tuple[int, int]:
    """Return start and end of the content of the field at `at`, which must have this tag."""
    try:
        if record[at] != tag:
            raise ValueError(f'tag {record[at]} instead of {tag}')
        length, at = record[at + 1], at + 2
        if length > 127:
            length, shift = length & 127, 7
            while record[at] > 127:
                length |= (record[at] & 127) << shift
                at, shift = at + 1, shift + 7
            length |= record[at] << shift
            at += 1
    except IndexError:
        raise ValueError('a record that ends too early') from None
    return at, at + length


def _single_value(record: bytes, at: int, tag: int, end: int) -> tuple[int, int]:
    """Return start and end of the only value of the list in the feature that spans `at` to `end`."""
    at, stop = _enter_field(record, at, tag)
    at, last = _enter_field(record, at, TAG_1)
    if not last == stop == end:
        raise ValueError('a feature of more than one value')
    return at, last


def _int64_value(record: bytes, at: int, end: int) -> int:
    """Return the only int64 of a feature, packed as every writer does it."""
    at, end = _single_value(record, at, TAG_3, end)
    number = shift = 0
    for byte in record[at:end]:
        number |= (byte & 127) << shift
        shift += 7
    return number
