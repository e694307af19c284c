"""A residual network that scores images: how much does each look like a generated one?"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import optimize, special
from torch import Tensor, nn
from torch.nn import functional

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Channels at half resolution; channels double twice.
WIDTH = 16
#: What training can afford, in images of 64 x 64 pixels: generated ones, and passes over any.
IMAGES, PASSES, PIXELS = 4000, 40_000, 64 * 64
EPOCHS, FEWEST_EPOCHS, BATCH = 30, 4, 32
PEAK_RATE, WEIGHT_DECAY = 1e-2, 0.05
#: Largest random shift of a batch, as a fraction of the side of an image.
SHIFT = 1 / 16
#: Fraction of the images that choose the epoch and the temperature.
VALIDATION = 0.15
#: Longest side in pixels that the network sees: larger images are pooled.
SIDE = 128
#: Images in one evaluation of the network; points of the path of the saliency.
CHUNK, PATH = 256, 16


class ResidualBlock(nn.Module):
    """Two convolutions added to their input; pre-activation, arXiv:1603.05027."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False))
        self.second = nn.Sequential(nn.BatchNorm2d(outputs), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False))
        shortcut = (nn.AvgPool2d(stride, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False))
        self.shortcut = nn.Identity() if (inputs, stride) == (outputs, 1) else nn.Sequential(*shortcut)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        return self.shortcut(maps) + self.second(self.first(maps))


class ResidualNetwork(nn.Module):
    """Images (n, C, H, W) to scores (n,), the logarithm of p(generated) / p(real).

    Four residual blocks, then mean and maximum over positions.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 5, 2, 2, bias=False)
        self.blocks = nn.Sequential(
            ResidualBlock(width, width, 1),
            ResidualBlock(width, 2 * width, 2),
            ResidualBlock(2 * width, 4 * width, 2),
            ResidualBlock(4 * width, 4 * width, 2),
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
        )
        self.score = nn.Linear(8 * width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Score images (n, C, H, W); return (n,)."""
        if (pooling := _pooling(images.shape)) > 1:
            images = functional.avg_pool2d(images, pooling, ceil_mode=True)
        # On a CPU, convolutions are faster if channels come last, as in the weights.
        maps = self.blocks(self.stem(images).contiguous(memory_format=torch.channels_last))
        return self.score(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1))[:, 0]


@dataclass(frozen=True)
class ImageClassifier:
    """A trained network with its scale of charge.

    Attributes:
        network: In evaluation mode.
        scale: Mean |charge| of a pixel.
        temperature: Divides scores, so that they are calibrated.
        device: Where the network is.
    """

    network: ResidualNetwork
    scale: float
    temperature: float
    device: torch.device

    def score(self, images: npt.NDArray) -> Floats:
        """Return log p(generated) - log p(real) of images (n, C, H, W), for sets of equal size."""
        with torch.no_grad():
            scores = [self.network(roots).cpu().double().numpy() for roots in _batches(images, self.scale, self.device)]
        return np.concatenate([np.zeros(0), *scores]) / self.temperature

    def saliency(self, images: npt.NDArray) -> npt.NDArray[np.float32]:
        """Return how much each pixel adds to the score, (n, C, H, W).

        Integrated gradients (Sundararajan et al., arXiv:1703.01365) along the line from a blank
        image, in square roots of charge. They add up to the score less that of a blank image.
        """
        maps = []
        for roots in _batches(images, self.scale, self.device):
            gradient = torch.zeros_like(roots)
            for step in range(PATH):
                inputs = (roots * ((step + 0.5) / PATH)).requires_grad_()
                gradient += torch.autograd.grad(self.network(inputs).sum(), inputs)[0] / PATH
            maps.append((gradient * roots / self.temperature).cpu().numpy())
        return np.concatenate(maps)


def affordable_images(shape: Sequence[int]) -> int:
    """Return from how many images (C, H, W) of each kind a network should learn at most."""
    return min(IMAGES, IMAGES * PIXELS // _pixels(shape))


def affordable_epochs(n: int, shape: Sequence[int]) -> int:
    """Return how many epochs training with ``n`` images (C, H, W) of each kind may take."""
    return int(np.clip(PASSES * PIXELS // (2 * n * _pixels(shape)), FEWEST_EPOCHS, EPOCHS))


def train_network(generated: npt.NDArray, real: npt.NDArray, scale: float, epochs: int, seed: int, device: torch.device) -> ImageClassifier:
    """Train a network to tell generated from real images.

    AdamW with a one-cycle schedule. An epoch has all generated images and as many real ones, others
    in each epoch as far as there are more. A part of the images is not learnt from: it chooses the
    epoch, by its cross entropy, and the temperature (Guo et al., arXiv:1706.04599).

    Args:
        generated: (n, C, H, W).
        real: (m, C, H, W), m >= n.
        scale: Mean |charge| of a pixel, see :class:`ImageClassifier`.
        epochs: How often to pass over the generated images.
        seed: Same seed, same network (on a CPU).
        device: Where to train.
    """
    rng = np.random.default_rng(seed)
    n = len(generated) - max(1, round(VALIDATION * len(generated)))
    order, real_order = rng.permutation(len(generated)), rng.permutation(len(real))
    held_back = len(generated) - n
    validation = np.concatenate([generated[order[n:]], real[real_order[:held_back]]])
    is_generated = np.repeat([True, False], held_back)
    real_indices = _repeat_shuffled(real_order[held_back:], n, rng)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = ResidualNetwork(generated.shape[1], WIDTH).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in the types of torch
    steps = -(-2 * n // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=epochs * steps, pct_start=0.25)
    least, best = np.inf, None
    for epoch in range(epochs):
        network.train()
        of_epoch = np.concatenate([generated[order[:n]], real[next(real_indices)]])
        for batch in np.array_split(rng.permutation(2 * n), steps):
            labels = torch.from_numpy((batch < n).astype(np.float32)).to(device)
            roots = _roots(of_epoch[batch], scale, device)
            if rng.random() < 1 - epoch / epochs:
                roots = _flip_and_shift(roots, rng)
            loss = functional.binary_cross_entropy_with_logits(network(roots), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        scores = ImageClassifier(network.eval(), scale, 1.0, device).score(validation)
        temperature = _fit_temperature(scores, is_generated)
        entropy = _cross_entropy(scores / temperature, is_generated)
        if best is None or entropy < least:
            least, best = entropy, ImageClassifier(copy.deepcopy(network), scale, temperature, device)
    assert best is not None
    return best


def _repeat_shuffled(indices: Ints, n: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Yield ``n`` indices at a time, all of them before any again."""
    pool = indices[:0]
    while True:
        while len(pool) < n:
            pool = np.concatenate([pool, rng.permutation(indices)])
        yield pool[:n]
        pool = pool[n:]


def _flip_and_shift(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Flip along each axis with probability 1/2, and shift; what leaves comes in opposite."""
    most = [int(SHIFT * side) for side in images.shape[2:]]
    shifts = [int(rng.integers(-largest, largest + 1)) for largest in most]
    return torch.roll(images.flip([axis for axis in (2, 3) if rng.random() < 0.5]), shifts, (2, 3))


def _pooling(shape: Sequence[int]) -> int:
    return -(-max(shape[-2:]) // SIDE)


def _pixels(shape: Sequence[int]) -> int:
    return math.prod(-(-side // _pooling(shape)) for side in shape[-2:])


def _fit_temperature(scores: Floats, is_generated: npt.NDArray) -> float:
    logarithm = optimize.minimize_scalar(lambda t: _cross_entropy(scores / np.exp(t), is_generated), bounds=(-3, 3), method="bounded").x
    return float(np.exp(logarithm))


def _cross_entropy(scores: Floats, is_generated: npt.NDArray) -> float:
    return -float(special.log_expit(np.where(is_generated, scores, -scores)).mean())


def _batches(images: npt.NDArray, scale: float, device: torch.device) -> Iterator[Tensor]:
    for start in range(0, len(images), CHUNK):
        yield _roots(images[start : start + CHUNK], scale, device)


def _roots(images: npt.NDArray, scale: float, device: torch.device) -> Tensor:
    """Take the signed square root of charge, so that faint pixels count.

    The root mean square over all pixels is 1 if ``scale`` is the mean |charge|; zeros stay zero.
    """
    charge = torch.from_numpy(np.ascontiguousarray(images)).to(device) / scale
    return charge.abs().sqrt() * charge.sign()
