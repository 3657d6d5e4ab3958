import dataclasses

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from alexnet_jax.data import augment
from alexnet_jax.data.image_io import crop_image
from alexnet_jax.data.normalize import normalize_batch
from alexnet_jax.data.statistics import PcaBasis
from alexnet_jax.errors import UserError

# The 2012 source's own figures, in units of 0..255: standard deviations, and eigenvectors as columns.
DEVIATIONS = np.array([19.721, 37.094, 121.780])
EIGENVECTORS = np.array([[0.41796, -0.71258, -0.56351], [-0.81698, -0.02354, -0.57618], [0.39731, 0.70120, -0.59200]])
BASIS = PcaBasis(DEVIATIONS**2, EIGENVECTORS)
PAPER = augment.Augmentation(224, True, 'eigenvalues', 0.1, BASIS)
few = hypothesis.settings(deadline=None, max_examples=25)


def many(count, seed=5, image_size=256, **changes):
    changed = dataclasses.replace(PAPER, **changes)
    epochs, records = np.zeros(count, int), np.arange(count)
    return augment.sample_augmentations(seed, epochs, records, changed, image_size=image_size)


def one(seed, epoch, record, augmentation=PAPER):
    params = augment.sample_augmentations(seed, np.array([epoch]), np.array([record]), augmentation, image_size=256)
    return augment.AugmentParams(*(field[0] for field in params))


@few
@hypothesis.given(
    seed=st.integers(0, 2**64 - 1),
    presentations=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 2**31 - 1)), min_size=1, max_size=9),
    lighting=st.sampled_from(augment.LIGHTING_KINDS),
)
def test_a_draw_in_a_batch_equals_the_draw_alone(seed, presentations, lighting):
    changed = dataclasses.replace(PAPER, lighting=lighting)
    batch = augment.sample_augmentations(seed, *np.array(presentations).T, changed, image_size=256)
    for i, (epoch, record) in enumerate(presentations):
        alone = one(seed, epoch, record, changed)
        assert alone[:3] == (batch.top[i], batch.left[i], batch.mirror[i])
        np.testing.assert_array_equal(alone.lighting, batch.lighting[i])


def test_seed_epoch_and_record_each_change_the_draw():
    places = [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4), (3, 2, 1), (2, 1, 3)]
    assert len({tuple(one(*place).lighting.tolist()) for place in places}) == len(places)


def test_draws_come_from_philox_keyed_by_seed_and_epoch_with_the_record_in_its_counter():
    words = np.random.Philox(key=[7, 11], counter=[0, 13, 0, 0]).random_raw(6).tolist()
    draw = one(7, 11, 13)
    assert draw.top == (words[0] >> 32) * 33 >> 32
    assert draw.left == (words[1] >> 32) * 33 >> 32
    assert draw.mirror == words[2] >> 63


def test_all_33_offsets_come_up_each_way_and_equally_often():
    draws = many(20_000)
    for offsets in (draws.top, draws.left):
        counts = np.bincount(offsets, minlength=33)
        assert len(counts) == 33
        chi_squared = np.sum((counts - 20_000 / 33) ** 2) / (20_000 / 33)
        assert chi_squared < 62.5  # exceeded once in a thousand, for 32 degrees of freedom
    assert abs(np.corrcoef(draws.top, draws.left)[0, 1]) < 0.03


def test_a_crop_as_large_as_the_image_has_one_place():
    draws = many(50, image_size=56, crop_size=56)
    assert not draws.top.any() and not draws.left.any()


def test_half_of_the_images_are_mirrored_and_none_where_it_is_switched_off():
    assert abs(many(20_000).mirror.mean() - 0.5) < 0.015
    assert not many(200, horizontal_flip=False).mirror.any()


def test_switching_the_mirror_or_the_lighting_off_leaves_the_other_draws_as_they_were():
    whole, plain = many(100), many(100, horizontal_flip=False, lighting='none')
    np.testing.assert_array_equal(whole.top, plain.top)
    np.testing.assert_array_equal(whole.left, plain.left)


@pytest.mark.parametrize('lighting, size', [('eigenvalues', 255 * DEVIATIONS**2 / 255**2), ('deviations', DEVIATIONS)])
def test_lighting_has_the_covariance_of_its_formula(lighting, size):
    shifts = many(40_000, lighting=lighting).lighting.astype(np.float64)
    assert shifts.shape == (40_000, 3)
    along = shifts @ EIGENVECTORS
    np.testing.assert_allclose(along.std(axis=0), 0.1 * size, rtol=0.02)
    np.testing.assert_allclose(along.mean(axis=0) / along.std(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(np.corrcoef(along.T), np.eye(3), atol=0.02)
    fourth = np.mean((along / along.std(axis=0)) ** 4, axis=0)
    np.testing.assert_allclose(fourth, 3, atol=0.15)  # as a normal's


def test_along_the_bright_axis_the_paper_shifts_5_8_gray_levels_and_the_source_12_2():
    def bright(lighting):
        return 0.1 * np.linalg.norm(augment.pca_components(lighting, BASIS)[:, 2])

    assert bright('eigenvalues') == pytest.approx(5.8, abs=0.05)
    assert bright('deviations') == pytest.approx(12.18, abs=0.01)


def test_lighting_none_is_no_shift():
    assert not many(20, lighting='none').lighting.any()


def test_the_rarest_words_still_give_finite_normals():
    words = np.array([[0, 2**64 - 1, 2**63]], np.uint64)
    normal = augment._standard_normal(words)[0]
    np.testing.assert_allclose(normal, [-8.2095, 8.2095, 0], atol=1e-3)


def normalized(image, corner, mirror, shift, mean, crop, kind='image'):
    """The network's input for one image."""
    selected, static = augment.select_mean(mean, kind, crop)
    batch = {
        'image': crop_image(image, *corner, crop)[None],
        **dict(zip(('top', 'left'), np.array(corner, np.int32)[:, None], strict=True)),
        'mirror': np.array([mirror]),
        'lighting': shift[None],
    }
    return np.asarray(normalize_batch(batch, selected, static=static))[0]


@few
@hypothesis.given(
    side=st.integers(1, 12),
    cut=st.integers(0, 11),
    mirror=st.booleans(),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_an_example_is_cropped_mirrored_lit_and_freed_of_the_mean_as_numpy_does_it(side, cut, mirror, place):
    crop = max(1, side - cut)
    top, left = (round(x * (side - crop)) for x in place)
    chance = np.random.default_rng(side)
    image = chance.integers(0, 256, (side, side, 3), dtype=np.uint8)
    mean = chance.uniform(0, 255, (side, side, 3)).astype(np.float32)
    shift = chance.normal(size=3).astype(np.float32)
    got = normalized(image, (top, left), mirror, shift, mean, crop)
    expected = np.empty((crop, crop, 3))
    for row in range(crop):
        for column in range(crop):
            y, x = top + row, left + (crop - 1 - column if mirror else column)
            expected[row, column] = image[y, x].astype(float) + shift - mean[y, x]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-4)


@few
@hypothesis.given(side=st.integers(2, 12), cut=st.integers(0, 11), mirror=st.booleans(), top=st.floats(0, 1))
def test_the_means_center_and_its_colors_are_the_same_for_every_crop(side, cut, mirror, top):
    crop = max(1, side - cut)
    draw = (round(top * (side - crop)), 0), mirror, np.zeros(3, np.float32)
    chance = np.random.default_rng(side)
    image = chance.integers(0, 256, (side, side, 3), dtype=np.uint8)
    mean = chance.uniform(0, 255, (side, side, 3)).astype(np.float32)
    pixels = normalized(image, *draw, np.zeros_like(mean), crop)
    center = normalized(image, *draw, mean, crop, 'center')
    edge = (side - crop) // 2
    for row in range(crop):
        for column in range(crop):
            np.testing.assert_allclose(
                center[row, column], pixels[row, column] - mean[edge + row, edge + column], atol=1e-4
            )
    colors = [np.mean([mean[y, x, c] for y in range(side) for x in range(side)]) for c in range(3)]
    freed = normalized(image, *draw, mean, crop, 'channel')
    np.testing.assert_allclose(freed, pixels - np.reshape(colors, (1, 1, 3)), atol=1e-3)


def test_pictures_show_what_the_network_sees_but_for_the_mean():
    params = many(9, image_size=8, crop_size=5)
    image = np.random.default_rng(0).integers(0, 256, (9, 5, 5, 3), dtype=np.uint8)
    seen = normalize_batch({'image': image, **params._asdict()}, np.zeros((5, 5, 3), np.float32), static=True)
    expected = np.clip(np.rint(seen), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(augment.preview_images({'image': image, **params._asdict()}), expected)


def test_a_crop_that_does_not_fit_and_an_unknown_lighting_are_told():
    with pytest.raises(UserError, match='crop of 65 pixels .* 64 pixels'):
        many(1, image_size=64, crop_size=65)
    with pytest.raises(UserError, match="'bright'.*eigenvalues, deviations, none"):
        many(1, lighting='bright')
    with pytest.raises(UserError, match="'golden'.*image, center, channel"):
        augment.select_mean(np.zeros((4, 4, 3)), 'golden', 2)
