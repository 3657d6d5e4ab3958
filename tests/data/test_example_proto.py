"""Records: the wire form that protobuf reads and writes, whatever is in it; nothing else passes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_datasets.proto import tf_example_pb2

from alexnet_jax.data import example_proto

few = settings(deadline=None, max_examples=60)
RECORD = example_proto.encode_example(bytes(range(200)), 300, 'train/cat/1.jpg')
written = st.builds(
    example_proto.encode_example,
    st.binary(max_size=300),
    st.integers(0, 2**31),
    st.text(st.characters(codec='utf-8'), max_size=200),
)


@few
@given(
    st.binary(max_size=300).map(lambda data: data * 60),
    st.integers(0, 2**62),
    st.text(st.characters(codec='utf-8'), max_size=200),
)
def test_protobuf_reads_what_is_packed_and_unpack_gives_it_back(image, label, name):
    record = example_proto.encode_example(image, label, name)
    features = tf_example_pb2.Example.FromString(record).features.feature
    assert sorted(features) == ['id', 'image', 'label']
    assert features['image'].bytes_list.value == [image]
    assert features['label'].int64_list.value == [label]
    assert features['id'].bytes_list.value == [name.encode()]
    assert example_proto.decode_example(record) == (image, label, name)


@few
@given(written)
def test_the_bytes_are_protobufs_own_in_the_order_of_the_keys(record):
    assert tf_example_pb2.Example.FromString(record).SerializeToString(deterministic=True) == record


@few
@given(written)
def test_the_order_in_which_protobuf_writes_the_keys_does_not_matter(record):
    again = tf_example_pb2.Example.FromString(record).SerializeToString()
    assert example_proto.decode_example(again) == example_proto.decode_example(record)


def test_the_image_is_not_copied():
    image, _, _ = example_proto.decode_example(RECORD)
    assert image.obj is RECORD


@few
@given(st.integers(0, len(RECORD) - 1))
def test_a_record_that_ends_too_early_is_refused(end):
    with pytest.raises(ValueError):
        example_proto.decode_example(RECORD[:end])


@few
@given(st.lists(st.tuples(st.integers(0, len(RECORD) - 1), st.integers(0, 255)), max_size=5))
def test_damage_gives_a_record_or_a_value_error(changes):
    damaged = bytearray(RECORD)
    for place, value in changes:
        damaged[place] = value
    try:
        image, label, name = example_proto.decode_example(bytes(damaged))
    except ValueError:
        return
    assert len(image) + len(name.encode()) < len(RECORD) and label >= 0


def test_records_with_other_features_are_refused():
    example = tf_example_pb2.Example.FromString(RECORD)
    del example.features.feature['label']
    with pytest.raises(ValueError, match='without'):
        example_proto.decode_example(example.SerializeToString())
    example.features.feature['label'].int64_list.value.extend([1])
    example.features.feature['image'].bytes_list.value.extend([b'second'])
    with pytest.raises(ValueError, match='more than one'):
        example_proto.decode_example(example.SerializeToString())
