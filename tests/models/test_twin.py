"""Against PyTorch: the same weights and the same batches give the same losses and the same weights afterwards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.distributed.mesh import make_mesh
from alexnet_jax.models import presets
from alexnet_jax.models.alexnet import AlexNet, get_parameters
from alexnet_jax.models.overrides import ArchitectureOverrides
from alexnet_jax.train import optimizer, schedule, train_step

pytest.importorskip('torch', reason='PyTorch is not there: pip install -r requirements-torch.txt')
import twin

BATCH = 4
MEAN = 125


def photographs(crop, classes, steps):
    """Batches of coarse colored noise in ten of the classes, each with a tint of its own, which can be learned."""
    rng = np.random.default_rng(0)
    tints = rng.uniform(60, 190, (10, 3))
    for _ in range(steps):
        labels = rng.choice(np.arange(0, classes, classes // 10), BATCH).astype(np.int32)
        coarse = rng.normal(0, 40, (BATCH, 8, 8, 3)).repeat(-(-crop // 8), 1).repeat(-(-crop // 8), 2)
        images = (
            coarse[:, :crop, :crop]
            + tints[labels // (classes // 10)][:, None, None]
            + rng.normal(0, 10, (BATCH, crop, crop, 3))
        )
        yield np.clip(images, 0, 255).astype(np.uint8), labels


class Ours:
    """The package's own step of a preset, without dropout, on batches of whole images."""

    def __init__(self, preset, *, initialization, classes, momentum=0.9, decay=5e-4):
        self.arch = presets.get_architecture(
            preset, num_classes=classes, overrides=ArchitectureOverrides(dropout='none')
        )
        self.layers = tuple(self.arch.parameter_counts())
        network = AlexNet(self.arch, key=jax.random.key(0), initialization=initialization)
        mesh = make_mesh((1, 1), columns=self.arch.columns)
        rule = optimizer.paper_sgd(self.layers, momentum=momentum, weight_decay=decay)
        mean = np.full((self.arch.crop_size, self.arch.crop_size, 3), MEAN, np.float32)
        self._step = train_step.make_train_step(network, rule, mesh, mean=mean, key=jax.random.key(1))
        self._state = train_step.init_train_state(network, rule, mesh)
        self.first = self._weights(get_parameters(network))

    def _weights(self, parameters):
        return twin.to_torch_parameters(jax.device_get(parameters), self.arch.activation_shapes()['pool5'][-1])

    def weights(self):
        """As PyTorch names and lays them out."""
        return self._weights(self._state.params)

    def train(self, images, labels, rate, factors, number):
        """One step; the mean loss before it."""
        zeros = {name: np.zeros(BATCH, np.int32) for name in ('id', 'top', 'left')}
        batch = zeros | {
            'image': images,
            'label': labels,
            'mirror': np.zeros(BATCH, bool),
            'lighting': np.zeros((BATCH, 3), np.float32),
            'valid': np.ones(BATCH, bool),
        }
        placed = {name: jnp.asarray(array) for name, array in batch.items()}
        rates = schedule.layer_learning_rates(self.layers, rate, factors)
        self._state, sums = self._step(self._state, placed, rates, np.uint32(number))
        return float(sums['loss']) / BATCH


def both(preset, *, initialization, rate, classes, steps):
    """Losses and final weights of the package's own step and of the twin; the rate falls tenfold on the way."""
    ours = Ours(preset, initialization=initialization, classes=classes)
    other = twin.TWINS[preset](classes)
    twin.load_parameters(other, ours.first)
    rule = twin.PaperSGD(other, momentum=0.9, weight_decay=5e-4)
    factors = {'conv1': 1e-3} if initialization in ('he', 'torch') else {}
    losses = []
    for number, (images, labels) in enumerate(photographs(ours.arch.crop_size, classes, steps)):
        now = rate if number < 0.8 * steps else rate / 10
        found = ours.train(images, labels, now, factors, number)
        expected = twin.train_step(
            other,
            rule,
            images.astype(np.float32) - MEAN,
            labels,
            lambda name, now=now: now * factors.get(name.partition('.')[0], 1.0),
        )
        losses.append((found, expected))
    expected = {name: each.detach().numpy() for name, each in other.named_parameters()}
    return *np.array(losses).T, ours.weights(), expected, ours.first


def furthest(found, expected):
    """Largest difference over the largest absolute entry, of the worst array."""
    differences = {name: np.abs(found[name] - array).max() / np.abs(array).max() for name, array in expected.items()}
    return max(differences.items(), key=lambda pair: pair[1])


def check(preset, **settings):
    ours, theirs, found, expected, first = both(preset, **settings)
    losses = np.abs(ours - theirs) / np.abs(theirs)
    name, weights = furthest(found, expected)
    moved = {each: found[each] - first[each] for each in first}
    changes = furthest(moved, {each: expected[each] - first[each] for each in first})
    print(
        f'{preset}: losses from {ours[0]:.3f} to {ours[-1]:.3f}, apart by {losses.max():.1e}; '
        f'weights apart by {weights:.1e} ({name}), their changes by {changes[1]:.1e} ({changes[0]})'
    )
    assert found.keys() == expected.keys()
    assert losses.max() < 1e-4 and weights < 1e-3
    return ours, changes[1]


def test_ten_steps_of_the_miniature_are_those_of_pytorch():
    losses, changes = check('miniature', initialization='he', rate=0.02, classes=10, steps=10)
    assert changes < 1e-3  # what was learned agrees, not only what it began with


@pytest.mark.slow
@pytest.mark.parametrize('preset', ['paper', 'caffe', 'torchvision'])
def test_the_first_gradients_of_a_whole_network_are_those_of_pytorch_in_float64(preset):
    """Before rounding decides the first maximum or the first ReLU differently, which fifty steps can not avoid."""
    ours = Ours(preset, initialization='torch', classes=1000, momentum=0.0, decay=0.0)
    images, labels = next(photographs(ours.arch.crop_size, 1000, 1))
    rate = 2.0**30  # beside such a step the weights before it vanish: what is left is the gradient
    ours.train(images, labels, rate, {}, 0)
    found = {name: (ours.first[name] - array) / rate for name, array in ours.weights().items()}

    other = twin.TWINS[preset](1000)
    twin.load_parameters(other, ours.first)
    twin.gradients(other.double(), images.astype(np.float64) - MEAN, labels)
    expected = {name: each.grad.numpy() for name, each in other.named_parameters()}
    name, apart = furthest(found, expected)
    print(f'{preset}: gradients apart by {apart:.1e} ({name})')
    assert found.keys() == expected.keys() and apart < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize('preset', ['paper', 'caffe', 'torchvision'])
def test_fifty_steps_of_a_whole_network_are_those_of_pytorch(preset):
    check(preset, initialization='torch', rate=2e-4, classes=1000, steps=50)
