"""Options of the auto-encoder. No torch here."""

from typing import Literal

from pydantic import Field

from pgen import ModelConfig
from pgen.models.options import Arch, Optimizer


class AeConfig(ModelConfig):
    arch: Arch = Field("conv", description="Layers: convolutions, or a perceptron.")
    l_dim: int = Field(40, ge=1, le=2**20, description="Values in a latent code.")
    depth: int = Field(
        16, ge=1, le=2**16, description="Channels of the first convolution, doubled each layer; a perceptron is 32 x as wide."
    )
    n_layers: int = Field(4, ge=1, le=1000, description="Stages of the encoder, each halving the image; hidden layers of a perceptron.")
    loss_fn: Literal["charge", "mse", "bce"] = Field(
        "charge", description="charge: which pixels are lit, and their charge; mse, bce: pixel by pixel."
    )
    charge_weight: float = Field(100.0, gt=0, description="Weight of the charge of lit pixels against whether they are lit (loss charge).")
    code_noise: float = Field(
        0.15, ge=0, description="Gaussian noise on codes in training, in their standard deviations: a smooth decoder."
    )
    p: float = Field(0.0, ge=0, lt=1, description="Dropout before the code.")
    ae_lr: float = Field(2e-3, gt=0, description="Learning rate.")
    ae_opt: Optimizer = Field("adam", description="Optimiser.")
    beta: float = Field(0.9, ge=0, lt=1, description="Adam's beta1, or the momentum.")
