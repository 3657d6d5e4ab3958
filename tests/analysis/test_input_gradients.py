"""Gradients with respect to the image against differences in plain NumPy, and an optimum that is known."""

import numpy as np
import small_network as small

from alexnet_jax.analysis.center_view import CenterView
from alexnet_jax.analysis.input_gradients import AscentOptions, class_gradients, optimize_images, saliency_maps


def test_the_gradient_is_that_of_differences():
    """The network is linear between the corners of its ReLUs and poolings, which small steps do not reach."""
    parameters = small.make_parameters()
    inputs = np.random.default_rng(2).normal(size=(3, small.CROP, small.CROP, 3)) * 50
    labels = np.array([0, 6, 3])
    gradients = class_gradients(small.make_model(), parameters, inputs, labels)
    assert gradients.shape == inputs.shape and gradients.dtype == np.float32

    def chosen_logits(images):
        return small.expected_activations(parameters, images)['fc8'][np.arange(3), labels]

    inputs = inputs.astype(np.float32).astype(np.float64)
    chance = np.random.default_rng(0)
    for _ in range(8):
        direction = chance.normal(size=inputs.shape)
        slope = (chosen_logits(inputs + 1e-6 * direction) - chosen_logits(inputs - 1e-6 * direction)) / 2e-6
        np.testing.assert_allclose((gradients * direction).sum(axis=(1, 2, 3)), slope, rtol=1e-3, atol=1e-3)


def test_saliency_is_the_largest_color():
    gradients = np.zeros((1, 2, 2, 3))
    gradients[0, 0, 1] = (0.5, -2, 1)
    np.testing.assert_array_equal(saliency_maps(gradients), [[[0, 2], [0, 0]]])


def test_a_linear_map_is_driven_to_the_corner_of_the_cube_of_images():
    """The mean of a map of conv1 is linear, so that each pixel is best black or white by the sign of its weight."""
    parameters, preprocessing = small.make_parameters(), small.make_preprocessing()
    view, maps = CenterView(preprocessing, small.CROP), [1, 4]
    images, history = optimize_images(
        small.make_model(), parameters, view, 'conv1', maps, AscentOptions(steps=400, smoothness=0.0, max_shift=0)
    )
    assert images.shape == (2, small.CROP, small.CROP, 3) and history.shape == (401, 2)

    def mean_of_map(crops, number):
        activations = small.expected_activations(parameters, crops - view.mean)
        return activations['conv1'][..., number].mean(axis=(1, 2))

    pixels = small.CROP**2 * 3
    unit = np.eye(pixels).reshape(pixels, small.CROP, small.CROP, 3)
    for place, number in enumerate(maps):
        zero = mean_of_map(np.zeros((1, small.CROP, small.CROP, 3)), number)
        weights = mean_of_map(unit, number) - zero
        best = zero + 255 * weights[weights > 0].sum()
        np.testing.assert_allclose(history[-1, place], best, rtol=1e-3)
        np.testing.assert_allclose(history[-1, place], mean_of_map(images[place : place + 1], number), rtol=1e-4)
    assert (history[-1] > history[0]).all()


def test_a_smooth_image_excites_a_hidden_map_too_and_follows_from_the_seed():
    parameters, view = small.make_parameters(), CenterView(small.make_preprocessing(), small.CROP)
    arguments = (small.make_model(), parameters, view, 'conv2', [2])
    (first, history), (again, _) = (optimize_images(*arguments, AscentOptions(steps=40, seed=1)) for _ in range(2))
    other, _ = optimize_images(*arguments, AscentOptions(steps=40, seed=2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert history[-1, 0] > history[0, 0] and first.min() >= 0 and first.max() <= 255
