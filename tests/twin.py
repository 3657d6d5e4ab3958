"""The same networks in PyTorch, written from the paper, Caffe's prototxt and torchvision's file, not from the package.

Arrays are (images, maps, rows, columns), as PyTorch has them; weights come over from the package's layout by
`to_torch_parameters`. Used by tests/models/test_twin.py and benchmarks/twin_cutouts.py; needs requirements-torch.txt.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Paper(nn.Module):
    """Krizhevsky et al. 2012: two columns as groups, normalized apart. `miniature` is the small one of this project."""

    def __init__(self, num_classes, *, miniature=False):
        super().__init__()
        self.miniature = miniature
        maps, units, side = ((32, 64, 96, 96, 64), 256, 3) if miniature else ((96, 256, 384, 384, 256), 4096, 6)
        kernel, stride = (7, 2) if miniature else (11, 4)
        self.conv1 = nn.Conv2d(3, maps[0], kernel, stride)
        self.conv2 = nn.Conv2d(maps[0], maps[1], 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(maps[1], maps[2], 3, padding=1)
        self.conv4 = nn.Conv2d(maps[2], maps[3], 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(maps[3], maps[4], 3, padding=1, groups=2)
        self.fc6 = nn.Linear(maps[4] * side**2, units)
        self.fc7 = nn.Linear(units, units)
        self.fc8 = nn.Linear(units, num_classes)
        self.keep_prob = 1.0  # of dropout; the paper's scaling: all of it at test, times keep_prob

    def normalize(self, x):
        """PyTorch divides alpha by n, the paper does not."""
        return torch.cat([F.local_response_norm(half, 5, 5e-4, 0.75, 2.0) for half in x.chunk(2, dim=1)], dim=1)

    def drop(self, x):
        if not self.training:
            return x * self.keep_prob
        return x if self.keep_prob == 1 else x * torch.empty_like(x).bernoulli_(self.keep_prob)

    def forward(self, x):
        pad_after = 1 if self.miniature else 3
        ceil = self.miniature
        x = F.relu(self.conv1(F.pad(x, (0, pad_after, 0, pad_after))))
        x = F.max_pool2d(self.normalize(x), 3, 2, ceil_mode=ceil)
        x = F.max_pool2d(self.normalize(F.relu(self.conv2(x))), 3, 2)
        x = F.relu(self.conv5(F.relu(self.conv4(F.relu(self.conv3(x))))))
        x = F.max_pool2d(x, 3, 2, ceil_mode=ceil).flatten(1)
        x = self.drop(F.relu(self.fc6(x)))
        return self.fc8(self.drop(F.relu(self.fc7(x))))


class PaperByHand(Paper):
    """The same with the normalization as shifted sums and without a power: what who knows its cost writes."""

    def normalize(self, x):
        """(2 + 1e-4 s)^-0.75 as the product of two roots."""
        halves = []
        for half in x.chunk(2, dim=1):
            squares = F.pad(half * half, (0, 0, 0, 0, 2, 2))
            total = sum(squares[:, place : place + half.shape[1]] for place in range(5))
            root = torch.rsqrt(total * 1e-4 + 2.0)
            halves.append(half * (root * root.sqrt()))
        return torch.cat(halves, dim=1)


class Caffe(nn.Module):
    """models/bvlc_alexnet/train_val.prototxt without its dropout: k 1, alpha divided by n, over all maps."""

    def __init__(self, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, 4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.fc6, self.fc7, self.fc8 = (nn.Linear(9216, 4096), nn.Linear(4096, 4096), nn.Linear(4096, num_classes))
        self.normalize = nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)

    def forward(self, x):
        x = F.max_pool2d(self.normalize(F.relu(self.conv1(x))), 3, 2)
        x = F.max_pool2d(self.normalize(F.relu(self.conv2(x))), 3, 2)
        x = F.relu(self.conv5(F.relu(self.conv4(F.relu(self.conv3(x))))))
        x = F.max_pool2d(x, 3, 2).flatten(1)
        return self.fc8(F.relu(self.fc7(F.relu(self.fc6(x)))))


class Torchvision(nn.Module):
    """torchvision/models/alexnet.py without its dropout, at 224 pixels, where its adaptive pooling changes nothing."""

    def __init__(self, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 11, 4, padding=2)
        self.conv2 = nn.Conv2d(64, 192, 5, padding=2)
        self.conv3 = nn.Conv2d(192, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 256, 3, padding=1)
        self.conv5 = nn.Conv2d(256, 256, 3, padding=1)
        self.fc6, self.fc7, self.fc8 = (nn.Linear(9216, 4096), nn.Linear(4096, 4096), nn.Linear(4096, num_classes))

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 3, 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 3, 2)
        x = F.relu(self.conv5(F.relu(self.conv4(F.relu(self.conv3(x))))))
        x = F.adaptive_avg_pool2d(F.max_pool2d(x, 3, 2), 6).flatten(1)
        return self.fc8(F.relu(self.fc7(F.relu(self.fc6(x)))))


TWINS = {
    'paper': Paper,
    'miniature': lambda num_classes: Paper(num_classes, miniature=True),
    'caffe': Caffe,
    'torchvision': Torchvision,
}


def to_torch_parameters(parameters, maps):
    """{'conv1.weight': array, ...} in PyTorch's layout from {layer: {'kernel', 'bias'}} with the column first.

    `maps` are those that fc6 sees, over all columns: PyTorch flattens maps before rows and columns.
    """
    found = {}
    for layer, parts in parameters.items():
        kernel, bias = (np.asarray(parts[name]) for name in ('kernel', 'bias'))
        joined = np.concatenate(list(kernel), axis=-1)  # column a's maps first
        if layer == 'fc6':
            side = round((joined.shape[0] / maps) ** 0.5)
            joined = joined.reshape(side, side, maps, -1).transpose(3, 2, 0, 1).reshape(joined.shape[1], -1)
        else:
            joined = joined.transpose(3, 2, 0, 1) if joined.ndim == 4 else joined.T
        found[f'{layer}.weight'], found[f'{layer}.bias'] = np.ascontiguousarray(joined), bias.reshape(-1)
    return found


def load_parameters(network, arrays):
    """Every parameter of the twin from these arrays: none left over, none missing, each of the right shape."""
    network.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()}, strict=True)


class PaperSGD:
    """The paper's rule, section 5: v <- momentum v - decay rate w - rate gradient; w <- w + v."""

    def __init__(self, network, *, momentum, weight_decay):
        self.parameters = dict(network.named_parameters())
        self.velocity = {name: torch.zeros_like(each) for name, each in self.parameters.items()}
        self.momentum, self.weight_decay = momentum, weight_decay

    @torch.no_grad()
    def step(self, rate_of):
        """One update from the gradients that lie in the parameters; `rate_of(name)` is each one's rate."""
        for name, weights in self.parameters.items():
            rate, v = rate_of(name), self.velocity[name]
            v.mul_(self.momentum).add_(weights, alpha=-self.weight_decay * rate).add_(weights.grad, alpha=-rate)
            weights.add_(v)
            weights.grad = None


def gradients(network, images, labels):
    """Mean loss over the batch, its gradients into the parameters; `images` (B, H, W, 3), free of the mean."""
    x = torch.from_numpy(np.ascontiguousarray(np.asarray(images).transpose(0, 3, 1, 2)))
    loss = F.cross_entropy(network(x), torch.from_numpy(np.asarray(labels, np.int64)))
    loss.backward()
    return float(loss.detach())


def train_step(network, rule, images, labels, rate_of):
    """The same, then the update; the loss before it."""
    loss = gradients(network, images, labels)
    rule.step(rate_of)
    return loss
