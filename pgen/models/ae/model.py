"""Auto-encoder whose decoder predicts which pixels are above threshold, and their charge.

Detector images are 97-99 % empty. A decoder that predicts one value per pixel, by mean squared
error, expresses uncertainty as a dim smear, which zero suppression then removes: charge is lost.
The loss ``charge`` is that of a hurdle model (Mullahy 1986): a Bernoulli variable for "above
threshold", and the charge given that. Decoding selects as many pixels as the probabilities sum to,
and calibrates their charges to the spectrum of real ones. For signed charge, a pixel is selected by
its magnitude; the charge keeps its sign, and the spectrum is that of |charge|.
"""

from __future__ import annotations

from functools import partial
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgen.data.transforms.charge import ChargeTransform
from pgen.errors import ConfigError, option
from pgen.models.ae.charge_spectrum import ChargeSpectrum
from pgen.models.ae.config import AeConfig
from pgen.models.ae.networks import make_networks
from pgen.models.nn import make_optimizer, output_activation, standardising_norm
from pgen.plugins.protocols import Trainer
from pgen.plugins.specs import DataInfo

#: Steps between updates of the charge spectrum, which take a fifth of the time of a step.
SPECTRUM_EVERY = 4


class AutoEncoder(nn.Module):
    """Maps images (n, C, H, W) to latent codes (n, D) of about unit variance, and back.

    With ``kl_weight`` it is variational (arXiv:1312.6114), and codes have a spread. With
    conditions, the labels of an image can be read off its code by a linear layer: codes keep what
    distinguishes labels in a form that a conditional generator can use.

    Attributes:
        code_shape: (D,), or (channels, rows, columns) of a map.
        latent_size: D.
    """

    def __init__(self, config: AeConfig, data: DataInfo) -> None:
        super().__init__()
        assert data.transform is not None
        if data.signed and config.loss_fn == "bce":
            raise ConfigError(
                f"{option('loss_fn', 'bce')} is for charge of one sign, but the images hold both; pass {option('loss_fn', 'charge')} or "
                "mse, or add negative=drop to their source."
            )
        self.config = config
        self.activation = output_activation(data)
        self.transform = ChargeTransform.from_dict(data.transform)
        channels = data.shape[0]
        maps = 2 * channels if config.loss_fn == "charge" else channels
        self.encoder, self.decoder, self.code_shape = make_networks(config, data.shape, maps)
        self.latent_size = prod(self.code_shape)
        # Fixes the scale of codes, and so of the noise on them.
        self.scale = standardising_norm(self.code_shape)
        self.spectrum = ChargeSpectrum()
        self.labels = nn.Linear(self.latent_size, data.condition_size) if data.conditions else None

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Create the optimiser of all parameters."""
        c = self.config
        return {"ae": make_optimizer(c.ae_opt, self.parameters(), c.ae_lr, c.beta)}

    def encode(self, images: Tensor) -> Tensor:
        """Map images to latent codes (n, D), their mean if variational."""
        return self.encode_distribution(images)[0]

    def encode_distribution(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map images to latent codes (n, D), and their spread (n, D), None if not variational."""
        output = self.encoder(images)
        if not self.config.kl_weight:
            return self.scale(output.flatten(1)), None
        mean, log_variance = (part.flatten(1) for part in output.chunk(2, dim=1))
        return mean, (log_variance.clamp(-20, 10) / 2).exp()

    def decode(self, codes: Tensor) -> Tensor:
        """Map latent codes (n, D) to images (n, C, H, W) in model space."""
        maps = self.decoder(codes)
        if self.config.loss_fn != "charge":
            return self.activation(maps)
        logit, value = maps.chunk(2, dim=1)
        value = self.activation(value)
        charge = self.spectrum(self.transform.inverse(value).abs(), expected_mask(torch.sigmoid(logit)))
        # The spectrum also gives charge to pixels below threshold: the sign is the decoder's.
        return self.transform.forward(charge * value.sign())

    def training_step(self, batch: Tensor, trainer: Trainer) -> dict[str, Tensor]:
        """Update all parameters, and every few steps the charge spectrum."""
        is_noisy = self.config.code_noise or self.config.kl_weight
        noise = trainer.sample_noise(partial(self._noise, like=batch)) if is_noisy else None
        losses, maps = self._losses(batch, noise, trainer.condition)
        trainer.update("ae", losses["loss"])
        if self.config.loss_fn == "charge" and trainer.step % SPECTRUM_EVERY == 0:
            self._update_charge_spectrum(batch, maps, trainer)
        return losses

    @torch.no_grad()
    def held_out_step(self, batch: Tensor) -> dict[str, Tensor]:
        """Compute the losses of held-out images."""
        return self._losses(batch)[0]

    def _noise(self, n: int, *, generator: torch.Generator, like: Tensor) -> Tensor:
        return torch.randn(n, self.latent_size, generator=generator, device=like.device)

    def _losses(self, batch: Tensor, noise: Tensor | None = None, condition: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
        mean, spread = self.encode_distribution(batch)
        codes = mean
        if noise is not None:
            codes = mean + (self.config.code_noise if spread is None else spread) * noise.to(mean.dtype)
        maps = self.decoder(codes)
        losses = self._reconstruction_losses(batch, maps)
        if spread is not None:
            # KL divergence of the normal distribution of each code from the standard one.
            kl = (mean.square() + spread.square() - 1 - 2 * spread.log()).sum() / (2 * len(batch))
            losses = {**losses, "loss": losses["loss"] + self.config.kl_weight * kl, "kl": kl}
        if self.labels is not None and condition is not None:
            label_loss = (self.labels(codes) - condition).square().sum() / len(batch)
            losses = {**losses, "loss": losses["loss"] + self.config.label_weight * label_loss, "label_loss": label_loss}
        return losses, maps

    def _reconstruction_losses(self, batch: Tensor, maps: Tensor) -> dict[str, Tensor]:
        n = len(batch)
        if self.config.loss_fn == "mse":
            return {"loss": (self.activation(maps) - batch).square().sum() / n}
        if self.config.loss_fn == "bce":
            return {"loss": F.binary_cross_entropy_with_logits(maps, batch, reduction="sum") / n}
        logit, value = maps.chunk(2, dim=1)
        mask = (batch != 0).to(maps.dtype)
        mask_loss = F.binary_cross_entropy_with_logits(logit, mask, reduction="sum") / n
        charge_loss = ((self.activation(value) - batch).square() * mask).sum() / n
        return {"loss": mask_loss + self.config.charge_weight * charge_loss, "lit_loss": mask_loss, "charge_loss": charge_loss}

    @torch.no_grad()
    def _update_charge_spectrum(self, batch: Tensor, maps: Tensor, trainer: Trainer) -> None:
        logit, value = maps.float().chunk(2, dim=1)
        decoded, mask = self.transform.inverse(self.activation(value)).abs(), expected_mask(torch.sigmoid(logit))
        # Quantiles of a part are not those of the whole batch.
        batch, decoded, mask = map(trainer.gather, (batch, decoded, mask.to(batch.dtype)))
        self.spectrum.update(self.transform.inverse(batch).abs(), batch != 0, decoded, mask > 0)


def expected_mask(probability: Tensor) -> Tensor:
    """Select, in each image, as many pixels as the probabilities sum to, the most probable ones.

    Args:
        probability: (n, C, H, W) that a pixel is above threshold.

    Returns:
        (n, C, H, W) True where selected.
    """
    flat = probability.flatten(1)
    # Without NaN: a diverged model must get as far as the check that reports it.
    count = flat.sum(dim=1, keepdim=True).nan_to_num().round().long()
    ranked = flat.sort(dim=1, descending=True).values
    cut = ranked.gather(1, (count - 1).clamp_min(0))
    return ((flat >= cut) & (count > 0)).view_as(probability)
