"""Against PyTorch: the same weights and the same batches give the same losses and the same weights afterwards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax import devices
from alexnet_jax.network import presets
from alexnet_jax.network.alexnet import AlexNet, parameters_of
from alexnet_jax.training import optimizer, schedule, step

pytest.importorskip('torch', reason='PyTorch is not there: pip install -r requirements-torch.txt')
import twin

BATCH = 4


def photographs(crop, classes, steps):
    """Batches of coarse coloured noise in ten of the classes, each with a tint of its own, which can be learned."""
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


def both(preset, *, initialisation, rate, classes, steps):
    """Losses and final weights of the package's own step and of the twin; the rate falls tenfold on the way."""
    shape = presets.get(preset, classes=classes, dropout='none')
    network = AlexNet(shape, key=jax.random.key(0), initialisation=initialisation)
    layers = tuple(shape.parameters())
    maps = shape.points()['pool5'][-1]
    other = twin.TWINS[preset](classes)
    twin.load(other, twin.parameters_of(parameters_of(network), maps))
    rule = twin.PaperSGD(other, momentum=0.9, decay=5e-4)

    mesh = devices.mesh((1, 1), columns=shape.columns)
    chain = optimizer.paper_sgd(layers, momentum=0.9, decay=5e-4)
    mean = np.full((shape.crop, shape.crop, 3), 125, np.float32)
    made = step.make(network, chain, mesh, mean=mean, key=jax.random.key(1))
    state = step.first_state(network, mesh)
    factors = {'conv1': 1e-3} if initialisation in ('he', 'torch') else {}
    zeros = {name: np.zeros(BATCH, np.int32) for name in ('id', 'top', 'left')}
    ours, theirs = [], []
    for number, (images, labels) in enumerate(photographs(shape.crop, classes, steps)):
        now = rate if number < 0.8 * steps else rate / 10
        batch = zeros | {
            'image': images,
            'label': labels,
            'mirror': np.zeros(BATCH, bool),
            'lighting': np.zeros((BATCH, 3), np.float32),
            'real': np.ones(BATCH, bool),
        }
        placed = {name: jnp.asarray(array) for name, array in batch.items()}
        state, sums = made(state, placed, schedule.layer_rates(layers, now, factors), np.uint32(number))
        ours.append(float(sums['loss']) / BATCH)
        given = images.astype(np.float32) - mean
        theirs.append(
            twin.train_step(
                other,
                rule,
                given,
                labels,
                lambda name, now=now: now * factors.get(name.partition('.')[0], 1.0),
            )
        )
    found = twin.parameters_of(jax.device_get(state['parameters']), maps)
    expected = {name: each.detach().numpy() for name, each in other.named_parameters()}
    first = twin.parameters_of(parameters_of(network), maps)
    return np.array(ours), np.array(theirs), found, expected, first


def furthest(found, expected):
    """Largest difference over the largest absolute entry, of the worst array."""
    differences = {
        name: np.abs(found[name] - array).max() / np.abs(array).max() for name, array in expected.items()
    }
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
    losses, changes = check('miniature', initialisation='he', rate=0.02, classes=10, steps=10)
    assert changes < 1e-3  # what was learned agrees, not only what it began with


@pytest.mark.slow
@pytest.mark.parametrize(
    ('preset', 'initialisation', 'rate'),
    [('paper', 'torch', 1e-3), ('caffe', 'torch', 1e-3), ('torchvision', 'torch', 1e-3)],
)
def test_fifty_steps_of_a_whole_network_are_those_of_pytorch(preset, initialisation, rate):
    check(preset, initialisation=initialisation, rate=rate, classes=1000, steps=50)
