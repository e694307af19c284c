"""Options of the auto-encoder; imports no torch."""

from typing import Literal

from pydantic import Field

from pgen.models import Optimizer
from pgen.plugins.specs import ModelConfig


class AeConfig(ModelConfig):
    """Options of ``pgen train ae``."""

    arch: Literal["conv", "map", "mlp"] = Field(
        "conv",
        description="Architecture: conv (convolutional, one latent vector per image), map (fully convolutional, the latent code is a small "
        "map) or mlp (fully connected).",
    )
    l_dim: int | None = Field(None, ge=1, le=2**20, description="Latent dimension; channels of a latent map. [default: 40, or 4]")
    depth: int = Field(
        16, ge=1, le=2**16, description="Channels of the first convolution, doubled at each layer; an mlp has 32 times this width."
    )
    n_layers: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Convolutions, each of which halves rows and columns; hidden layers of an mlp. [default: 4, or 3 for map]",
    )
    loss_fn: Literal["charge", "mse", "bce"] = Field(
        "charge", description="Loss: charge (which pixels are above threshold, and their charge), or mse or bce of each pixel."
    )
    charge_weight: float = Field(
        100.0,
        gt=0,
        description="With --loss-fn charge: weight of the charge loss relative to the loss of which pixels are above threshold.",
    )
    code_noise: float = Field(
        0.15, ge=0, description="Noise added to latent codes in training, in units of their standard deviation, so that decoding is smooth."
    )
    kl_weight: float = Field(
        0.0, ge=0, description="Above 0, a variational auto-encoder: weight of the KL divergence; replaces --code-noise."
    )
    label_weight: float = Field(
        30.0, gt=0, description="With --condition: weight of a linear regression of the labels on the latent codes, relative to the images."
    )
    p: float = Field(0.0, ge=0, lt=1, description="Dropout probability in the encoder, before the latent code.")
    ae_lr: float = Field(2e-3, gt=0, description="Learning rate.")
    ae_opt: Optimizer = Field("adam", description="Optimiser.")
    beta: float = Field(0.9, ge=0, lt=1, description="Adam's beta1, or the momentum of other optimisers.")
