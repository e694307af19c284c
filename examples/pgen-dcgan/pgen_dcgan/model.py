"""DCGAN (arXiv:1511.06434), trained with the non-saturating loss."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import softplus

from pgen import PgenError


class Dcgan(nn.Module):
    """Generator: noise (n, z_dim) to images (n, C, H, W). Discriminator: images to logits (n,)."""

    def __init__(self, config, data):
        super().__init__()
        channels, rows, columns = data.shape
        step = 2**config.n_layers
        if rows % step or columns % step:
            raise PgenError(f"`n_layers={config.n_layers}`: images of {rows}×{columns} cannot be halved that often; use fewer layers.")
        self.config = config
        widths = [config.depth << i for i in range(config.n_layers)]
        smallest = (widths[-1], rows // step, columns // step)
        last = nn.Tanh() if data.signed else nn.Sigmoid()
        self.generator = make_generator(config.z_dim, smallest, [*reversed(widths), channels], last)
        self.discriminator = make_discriminator([channels, *widths], smallest)
        self.apply(initialise)

    def optimizers(self):
        return {
            "generator": torch.optim.Adam(self.generator.parameters(), lr=self.config.g_lr, betas=(0.5, 0.999)),
            "discriminator": torch.optim.Adam(self.discriminator.parameters(), lr=self.config.d_lr, betas=(0.5, 0.999)),
        }

    def noise(self, n, *, generator):
        return torch.randn(n, self.config.z_dim, generator=generator, device=generator.device)

    def forward(self, noise):
        return self.generator(noise)

    def sample(self, n, *, generator):
        return self(self.noise(n, generator=generator))

    def training_step(self, batch, trainer):
        fake = self(trainer.sample_noise(self.noise))
        # softplus(-x) = -log sigmoid(x)
        d_loss = (softplus(-self.discriminator(batch)) + softplus(self.discriminator(fake.detach()))).mean()
        trainer.update("discriminator", d_loss)
        g_loss = softplus(-self.discriminator(fake)).mean()
        trainer.update("generator", g_loss)
        return {"d_loss": d_loss, "g_loss": g_loss}


def make_generator(z_dim, smallest, widths, last):
    """Build the generator: a linear layer, a transposed convolution per doubling, then ``last``."""
    layers = [nn.Linear(z_dim, smallest[0] * smallest[1] * smallest[2]), nn.Unflatten(1, smallest), nn.BatchNorm2d(smallest[0]), nn.ReLU()]
    for before, after in pairwise(widths[:-1]):
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(widths[-2], widths[-1], 4, 2, 1), last)


def make_discriminator(widths, smallest):
    """Build the discriminator: a strided convolution per halving, then a linear layer."""
    layers = []
    for depth, (before, after) in enumerate(pairwise(widths)):
        layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=depth == 0))
        if depth:  # no normalisation at the image itself, as the paper advises
            layers.append(nn.BatchNorm2d(after))
        layers.append(nn.LeakyReLU(0.2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(smallest[0] * smallest[1] * smallest[2], 1), nn.Flatten(0))


def initialise(module):
    """Draw weights with standard deviation 0.02, as in the paper."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
