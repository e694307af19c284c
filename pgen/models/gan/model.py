"""A GAN of two multi-layer perceptrons (Goodfellow et al. 2014, arXiv:1406.2661), with the non-saturating generator loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgen.models.gan.config import GanConfig
from pgen.models.layers import make_optimizer, mlp
from pgen.plugins.contract import DataInfo


class Gan(nn.Module):
    """Generator: noise (n, z_dim) to images in [0, 1]. Discriminator: images to a logit, high for real."""

    def __init__(self, config: GanConfig, data: DataInfo) -> None:
        super().__init__()
        self.config, self.shape = config, data.shape
        hidden = [config.n_hidden] * config.n_layers
        # Without normalisation the generator soon answers every noise with one image.
        self.generator = mlp([config.z_dim, *hidden, data.size], normalise=True)
        self.discriminator = mlp([data.size, *hidden, 1], p=config.p)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        return {
            "generator": make_optimizer(c.g_opt, self.generator.parameters(), c.g_lr, c.beta),
            "discriminator": make_optimizer(c.d_opt, self.discriminator.parameters(), c.d_lr, c.beta),
        }

    def noise(self, n: int, *, generator: torch.Generator) -> Tensor:
        return torch.randn(n, self.config.z_dim, generator=generator, device=generator.device)

    def forward(self, noise: Tensor) -> Tensor:
        return torch.sigmoid(self.generator(noise)).unflatten(1, self.shape)

    def sample(self, n: int, *, generator: torch.Generator, labels: Any = None) -> Tensor:
        return self(self.noise(n, generator=generator))

    def training_step(self, batch: Tensor, trainer: Any) -> dict[str, Tensor]:
        fake = self(trainer.drawn(self.noise))
        real_logit, fake_logit = self._judge(batch), self._judge(fake.detach())
        # softplus(-x) = -log sigmoid(x)
        d_loss = F.softplus(-real_logit).mean() + F.softplus(fake_logit).mean()
        trainer.update("discriminator", d_loss)
        g_loss = F.softplus(-self._judge(fake)).mean()
        trainer.update("generator", g_loss)
        return {"d_loss": d_loss, "g_loss": g_loss, "d_real": torch.sigmoid(real_logit).mean(), "d_fake": torch.sigmoid(fake_logit).mean()}

    def _judge(self, images: Tensor) -> Tensor:
        return self.discriminator(2 * images.flatten(1) - 1)
