"""Options of the auto-encoder. No torch here."""

from typing import Literal

from pydantic import Field

from pgen import ModelConfig
from pgen.models.options import Optimizer


class AeConfig(ModelConfig):
    arch: Literal["conv", "map", "mlp"] = Field(
        "conv",
        description="Network: conv (convolutions, and a code of the whole image), map (convolutions alone: a code is a small map, whose "
        "places tell of their surroundings) or mlp (fully connected).",
    )
    l_dim: int | None = Field(
        None, ge=1, le=2**20, description="Numbers in the code that stands for an image; in a map at each place. [default: 40, or 4]"
    )
    depth: int = Field(
        16, ge=1, le=2**16, description="Width: channels of the first convolution, doubled each layer; an mlp is 32 times as wide."
    )
    n_layers: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Convolutions, each of which halves rows and columns; hidden layers of an mlp. [default: 4, or 3 to a map]",
    )
    loss_fn: Literal["charge", "mse", "bce"] = Field(
        "charge", description="What is made small: charge (which pixels are lit, and how much), or mse, bce (pixel by pixel)."
    )
    charge_weight: float = Field(
        100.0, gt=0, description="With --loss-fn charge: what the amount of charge counts, against which pixels are lit."
    )
    code_noise: float = Field(
        0.15, ge=0, description="Noise on codes in training, in their standard deviations, so that near codes give like images."
    )
    kl_weight: float = Field(
        0.0,
        ge=0,
        description="Above 0, a variational auto-encoder: an image is a normal distribution of codes, in place of --code-noise, "
        "whose distance from the standard one counts this much.",
    )
    label_weight: float = Field(
        30.0, gt=0, description="With --condition: what it counts that the labels can be read off a code, against the image."
    )
    p: float = Field(0.0, ge=0, lt=1, description="Dropout before the code: share of values left out at random in training.")
    ae_lr: float = Field(2e-3, gt=0, description="Learning rate.")
    ae_opt: Optimizer = Field("adam", description="Optimiser.")
    beta: float = Field(0.9, ge=0, lt=1, description="Momentum: Adam's beta1, or that of the other optimisers.")
