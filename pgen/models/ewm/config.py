"""Options of EWM. No torch here."""

from typing import Literal

from pydantic import Field

from pgen import ModelConfig
from pgen.models.options import Optimizer


class EwmConfig(ModelConfig):
    cost: Literal["l1", "l2", "sqeuclidean"] = Field(
        "sqeuclidean", description="Distance of samples and targets that is made small; sqeuclidean: the square of l2."
    )
    arch: Literal["mlp", "conv"] = Field("mlp", description="Generator: mlp (fully connected), or conv (convolutions, for images alone).")
    z_dim: int = Field(16, ge=1, le=2**20, description="Random numbers that the generator makes one sample of.")
    n_hidden: int = Field(512, ge=1, le=2**20, description="Width of the hidden layers; channels of the first convolution.")
    n_layers: int = Field(3, ge=1, le=1000, description="Hidden layers; of conv: layers, each of which doubles rows and columns.")
    p: float = Field(0.0, ge=0, lt=1, description="Dropout in the generator: share of values left out at random in training.")
    match_moments: bool = Field(True, description="With codes: hold mean and spread of generated codes at those of the targets.")
    g_lr: float = Field(1e-3, gt=0, description="Learning rate of the generator.")
    g_opt: Optimizer = Field("adam", description="Optimiser of the generator.")
    beta: float = Field(0.5, ge=0, lt=1, description="Momentum of the generator's optimiser: Adam's beta1, or that of the others.")
    psi_lr: float = Field(0.1, gt=0, description="Solving: first learning rate of psi, the price of each target, in units of the cost.")
    psi_slow: float = Field(
        20.0, gt=0, description="Solving: steps over which that rate halves; after t steps it is 1 / (1 + t / this) of the first."
    )
    ots_steps: int = Field(150, ge=3, le=10**7, description="Solving: most steps of a round.")
    chi2: float = Field(0.05, gt=0, description="Solving: a round ends early when targets are hit this evenly; the less, the more evenly.")
    replay: bool = Field(
        True, description="Solving on one GPU: record the work of a step as a CUDA graph and replay it, which saves launching its kernels."
    )
    mem_size: int = Field(65536, ge=1, le=2**31, description="Fitting: pairs of noise and target kept from the solving, the newest.")
    fit_passes: int = Field(4, ge=1, le=10**4, description="Fitting: passes of the generator over the kept pairs.")
    label_weight: float = Field(
        10.0, gt=0, description="With --condition: what a difference of labels costs, against one of targets, in solving."
    )
    tess_var: float = Field(0.0, ge=0, description="Variance of noise added to samples and to targets, in solving and fitting alike.")
