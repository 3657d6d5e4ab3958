"""Test-time views: the center and each of the ten against slices written by hand."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_jax.errors import UserError
from alexnet_jax.evaluate import ten_crop
from alexnet_jax.evaluate.view_places import View, count_views, describe_views, parse_view_list


def expected_views(image, crop):
    """The paper's ten views of one image, in the 2012 source's order: TL, TR, center, BL, BR, then mirrored."""
    side = image.shape[0]
    far, middle = side - crop, (side - crop) // 2
    five = [
        image[:crop, :crop],
        image[:crop, far:],
        image[middle : middle + crop, middle : middle + crop],
        image[far:, :crop],
        image[far:, far:],
    ]
    return five + [np.fliplr(view) for view in five]


@settings(max_examples=15, deadline=None)
@given(side=st.integers(2, 9), less=st.integers(0, 4), dtype=st.sampled_from([np.uint8, np.float32]))
def test_each_of_ten_views_is_the_slice_written_by_hand(side, less, dtype):
    crop = max(1, side - less)
    images = np.random.default_rng(side).integers(0, 256, (3, side, side, 3)).astype(dtype)
    expected = [expected_views(image, crop) for image in images]
    ten = ten_crop.make_views(10, side, crop)
    assert len(ten) == 10
    for number, view in enumerate(ten):
        found = ten_crop.crop_view(images, view, crop)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, np.stack([each[number] for each in expected]))


def test_the_one_view_is_the_center_unmirrored():
    images = np.random.default_rng(0).integers(0, 256, (2, 10, 10, 3), np.uint8)
    (view,) = ten_crop.make_views(1, 10, 7)
    np.testing.assert_array_equal(ten_crop.crop_view(images, view, 7), images[:, 1:8, 1:8])


def test_places_of_the_paper():
    ten = ten_crop.make_views(10, 256, 224)
    assert [(view.top, view.left) for view in ten[:5]] == [(0, 0), (0, 32), (16, 16), (32, 0), (32, 32)]
    assert [view.mirror for view in ten] == [False] * 5 + [True] * 5
    assert ten_crop.make_views(1, 256, 224) == (View(16, 16, False),)


def test_a_traced_view_is_the_same_view():
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), np.uint8)
    view = View(1, 2, True)
    traced = jax.jit(lambda view: ten_crop.crop_view(images, view, 4))(view)
    np.testing.assert_array_equal(traced, images[:, 1:5, 2:6][:, :, ::-1])


@pytest.mark.parametrize('number', [0, 2, 5, 20])
def test_other_numbers_of_views_are_refused(number):
    with pytest.raises(UserError, match=f'not {number}'):
        ten_crop.make_views(number, 8, 6)


def test_a_crop_larger_than_the_image_is_refused_with_both_numbers():
    with pytest.raises(UserError, match=r'227 pixels .* 224 pixels'):
        ten_crop.make_views(10, 224, 227)


def test_a_list_of_places_gives_the_slices_that_it_names():
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3), np.uint8)
    views = ten_crop.make_views('center, top_right+mirror,3:0 ,0:1+mirror', 9, 6)
    expected = [images[:, 1:7, 1:7], images[:, :6, 3:][:, :, ::-1], images[:, 3:, :6], images[:, :6, 1:7][:, :, ::-1]]
    for view, pixels in zip(views, expected, strict=True):
        np.testing.assert_array_equal(ten_crop.crop_view(images, view, 6), pixels)


def test_views_are_counted_and_named():
    assert [count_views(views) for views in (1, 10, 'center', '0:0,0:0+mirror')] == [1, 10, 1, 2]
    assert [describe_views(views) for views in (1, 10, 'center', '0:0,center')] == [
        'center view', 'ten views', '1 view', '2 views',
    ]  # fmt: skip


@pytest.mark.parametrize('text', ['middle', 'center,', '3', '1:', '-1:0', 'center,center', '0:0+mirrored'])
def test_a_malformed_list_is_no_list(text):
    with pytest.raises(ValueError):
        parse_view_list(text)


def test_a_view_that_leaves_the_image_is_refused_with_what_fits():
    with pytest.raises(UserError, match=r'The view 0:4 leaves the image: crops of 6 .* of 9 begin at 0 to 3'):
        ten_crop.make_views('center,0:4', 9, 6)
