"""GAN of two MLPs (Goodfellow et al. 2014, arXiv:1406.2661), with the non-saturating loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgen.models.gan.config import GanConfig
from pgen.models.nn import append_columns, make_optimizer, mlp, output_activation
from pgen.plugins.protocols import Trainer
from pgen.plugins.specs import DataInfo


class Gan(nn.Module):
    """Generator: noise (n, z_dim) to images in model space. Discriminator: images to logits (n, 1).

    Both are conditioned on labels, if there are any (arXiv:1411.1784).
    """

    def __init__(self, config: GanConfig, data: DataInfo) -> None:
        super().__init__()
        self.config, self.shape, self.signed = config, data.shape, data.signed
        hidden = [config.n_hidden] * config.n_layers
        # Without normalisation the generator soon maps all noise to one image.
        self.generator = mlp([config.z_dim + data.condition_size, *hidden, data.size], normalise=True)
        self.activation = output_activation(data)
        self.discriminator = mlp([data.size + data.condition_size, *hidden, 1], p=config.p)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Create the optimisers of generator and discriminator."""
        c = self.config
        return {
            "generator": make_optimizer(c.g_opt, self.generator.parameters(), c.g_lr, c.beta),
            "discriminator": make_optimizer(c.d_opt, self.discriminator.parameters(), c.d_lr, c.beta),
        }

    def noise(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Draw noise (n, z_dim)."""
        return torch.randn(n, self.config.z_dim, generator=generator, device=generator.device)

    def forward(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        """Generate images (n, C, H, W) from noise (n, z_dim) and labels (n, K)."""
        return self.activation(self.generator(append_columns(noise, condition))).unflatten(1, self.shape)

    def sample(self, n: int, *, generator: torch.Generator, condition: Tensor | None = None) -> Tensor:
        """Draw n images."""
        return self(self.noise(n, generator=generator), condition)

    def training_step(self, batch: Tensor, trainer: Trainer) -> dict[str, Tensor]:
        """Update the discriminator, then the generator."""
        condition = trainer.condition
        fake = self(trainer.sample_noise(self.noise), condition)
        real_logit, fake_logit = self._discriminate(batch, condition), self._discriminate(fake.detach(), condition)
        # softplus(-x) = -log sigmoid(x)
        d_loss = F.softplus(-real_logit).mean() + F.softplus(fake_logit).mean()
        trainer.update("discriminator", d_loss)
        g_loss = F.softplus(-self._discriminate(fake, condition)).mean()
        trainer.update("generator", g_loss)
        return {"d_loss": d_loss, "g_loss": g_loss, "d_real": torch.sigmoid(real_logit).mean(), "d_fake": torch.sigmoid(fake_logit).mean()}

    def _discriminate(self, images: Tensor, condition: Tensor | None) -> Tensor:
        flat = images.flatten(1)
        return self.discriminator(append_columns(flat if self.signed else 2 * flat - 1, condition))
