"""An auto-encoder whose decoder says of each pixel whether it is lit, and with how much charge.

Detector images are 97-99 % empty. A decoder that predicts one value a pixel, by mean squared error, answers doubt with a dim
smear, which zero suppression then removes: charge is lost. The loss ``charge`` is that of a hurdle model (Mullahy 1986): a
Bernoulli for "lit", and the charge given "lit". Decoding lights as many pixels as the probabilities sum to, and gives their charges
the spectrum of real ones. Of signed charge a pixel is lit by its magnitude; the charge has its sign, the spectrum is that of |charge|.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgen.data.transforms.charge import ChargeTransform
from pgen.errors import PgenError
from pgen.models.ae.charge_spectrum import ChargeSpectrum
from pgen.models.ae.config import AeConfig
from pgen.models.ae.networks import encoder_and_decoder
from pgen.models.nn import make_optimizer, output_activation, standardising_norm
from pgen.plugins.protocols import Trainer
from pgen.plugins.specs import DataInfo

#: Steps from one look at the spectrum of charges to the next: it takes a fifth of the time of a step.
FOLLOW_EVERY = 4


class AutoEncoder(nn.Module):
    """encode: images (n, C, H, W) in model space to codes (n, D) of about unit variance; decode: the way back. With --kl-weight a
    variational one (arXiv:1312.6114), whose codes have a spread. code_shape: how the D numbers lie, of a map (channels, rows, columns).

    With conditions the labels of an image can be read off its code, by a linear layer: codes keep what tells labels apart, and plainly, so
    that a generator for conditions finds it.
    """

    def __init__(self, config: AeConfig, data: DataInfo) -> None:
        super().__init__()
        assert data.transform is not None
        if data.signed and config.loss_fn == "bce":
            raise PgenError(
                "--loss-fn bce: it is for charge of one sign, and the images hold both; pass --loss-fn charge or mse, or add negative=drop "
                "to their source."
            )
        self.config = config
        self.activation = output_activation(data)
        self.transform = ChargeTransform.from_dict(data.transform)
        channels = data.shape[0]
        maps = 2 * channels if config.loss_fn == "charge" else channels
        self.encoder, self.decoder, self.code_shape = encoder_and_decoder(config, data.shape, maps)
        self.latent_size = prod(self.code_shape)
        # Fixes the scale of codes, which gives the noise on them a meaning.
        self.scale = standardising_norm(self.code_shape)
        self.spectrum = ChargeSpectrum()
        self.labels = nn.Linear(self.latent_size, data.condition_size) if data.conditions else None

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        return {"ae": make_optimizer(c.ae_opt, self.parameters(), c.ae_lr, c.beta)}

    def encode(self, images: Tensor) -> Tensor:
        return self.encode_distribution(images)[0]

    def encode_distribution(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Codes (n, D), and their spread as far as there is one."""
        found = self.encoder(images)
        if not self.config.kl_weight:
            return self.scale(found.flatten(1)), None
        mean, log_variance = (part.flatten(1) for part in found.chunk(2, dim=1))
        return mean, (log_variance.clamp(-20, 10) / 2).exp()

    def decode(self, codes: Tensor) -> Tensor:
        maps = self.decoder(codes)
        if self.config.loss_fn != "charge":
            return self.activation(maps)
        lit, value = maps.chunk(2, dim=1)
        value = self.activation(value)
        charge = self.spectrum(self.transform.inverse(value).abs(), expected_mask(torch.sigmoid(lit)))
        # Of what the decoder has below the threshold the spectrum makes charge too: the sign is that of its answer.
        return self.transform.forward(charge * value.sign())

    def training_step(self, batch: Tensor, trainer: Trainer) -> dict[str, Tensor]:
        noisy = self.config.code_noise or self.config.kl_weight
        losses, maps = self._losses(batch, trainer.sample_noise(partial(self._noise, like=batch)) if noisy else None, trainer.condition)
        trainer.update("ae", losses["loss"])
        if self.config.loss_fn == "charge" and trainer.step % FOLLOW_EVERY == 0:
            self._update_charge_spectrum(batch, maps, trainer.gather)
        return losses

    @torch.no_grad()
    def held_out_step(self, batch: Tensor) -> dict[str, Tensor]:
        return self._losses(batch)[0]

    def _noise(self, n: int, *, generator: torch.Generator, like: Tensor) -> Tensor:
        return torch.randn(n, self.latent_size, generator=generator, device=like.device)

    def _losses(self, batch: Tensor, noise: Tensor | None = None, condition: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
        mean, spread = self.encode_distribution(batch)
        codes = mean
        if noise is not None:
            codes = mean + (self.config.code_noise if spread is None else spread) * noise.to(mean.dtype)
        maps = self.decoder(codes)
        losses = self._errors(batch, maps)
        if spread is not None:
            # of the normal distribution of each code from the standard one
            kl = (mean.square() + spread.square() - 1 - 2 * spread.log()).sum() / (2 * len(batch))
            losses = {**losses, "loss": losses["loss"] + self.config.kl_weight * kl, "kl": kl}
        if self.labels is not None and condition is not None:
            misread = (self.labels(codes) - condition).square().sum() / len(batch)
            losses = {**losses, "loss": losses["loss"] + self.config.label_weight * misread, "label_loss": misread}
        return losses, maps

    def _errors(self, batch: Tensor, maps: Tensor) -> dict[str, Tensor]:
        n = len(batch)
        if self.config.loss_fn == "mse":
            loss = (self.activation(maps) - batch).square().sum() / n
            return {"loss": loss}
        if self.config.loss_fn == "bce":
            loss = F.binary_cross_entropy_with_logits(maps, batch, reduction="sum") / n
            return {"loss": loss}
        lit, value = maps.chunk(2, dim=1)
        is_lit = (batch != 0).to(maps.dtype)
        where = F.binary_cross_entropy_with_logits(lit, is_lit, reduction="sum") / n
        charge = ((self.activation(value) - batch).square() * is_lit).sum() / n
        return {"loss": where + self.config.charge_weight * charge, "lit_loss": where, "charge_loss": charge}

    @torch.no_grad()
    def _update_charge_spectrum(self, batch: Tensor, maps: Tensor, gathered: Callable[[Tensor], Tensor]) -> None:
        lit, value = maps.float().chunk(2, dim=1)
        decoded, chosen = self.transform.inverse(self.activation(value)).abs(), expected_mask(torch.sigmoid(lit))
        # Quantiles of a part are not those of the whole batch.
        batch, decoded, chosen = map(gathered, (batch, decoded, chosen.to(batch.dtype)))
        self.spectrum.follow(self.transform.inverse(batch).abs(), batch != 0, decoded, chosen > 0)


def expected_mask(probability: Tensor) -> Tensor:
    """Of each image (n, C, H, W), as many pixels as the probabilities sum to, the most probable ones; True where chosen."""
    flat = probability.flatten(1)
    # A diverged model must reach the check that says so.
    count = flat.sum(dim=1, keepdim=True).nan_to_num().round().long()
    ranked = flat.sort(dim=1, descending=True).values
    cut = ranked.gather(1, (count - 1).clamp_min(0))
    return ((flat >= cut) & (count > 0)).view_as(probability)
