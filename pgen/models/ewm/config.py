"""Options of EWM. No torch here."""

from typing import Literal

from pydantic import Field

from pgen import ModelConfig
from pgen.models.options import Arch, Optimizer


class EwmConfig(ModelConfig):
    cost: Literal["l1", "l2", "sqeuclidean"] = Field("sqeuclidean", description="Ground cost of the transport.")
    arch: Arch = Field("mlp", description="Generator: perceptron, or convolutions (images only).")
    z_dim: int = Field(16, ge=1, le=2**20, description="Dimension of the Gaussian noise.")
    n_hidden: int = Field(512, ge=1, le=2**20, description="Width of the hidden layers; channels of the first convolution.")
    n_layers: int = Field(3, ge=1, le=1000, description="Hidden layers; doublings of a convolutional generator.")
    p: float = Field(0.0, ge=0, lt=1, description="Dropout in the generator while it is fitted.")
    match_moments: bool = Field(
        True, description="Codes only: hold mean and standard deviation of generated codes at those of the targets."
    )
    g_lr: float = Field(1e-3, gt=0, description="Learning rate of the generator.")
    g_opt: Optimizer = Field("adam", description="Optimiser of the generator.")
    beta: float = Field(0.5, ge=0, lt=1, description="Adam's beta1, or the momentum, of the generator.")
    psi_lr: float = Field(0.1, gt=0, description="First rate of the potential in each solve, in units of the cost (pgen.ot.start).")
    psi_slow: float = Field(20.0, gt=0, description="Steps over which that rate halves; after t steps it is 1 / (1 + t / this) of it.")
    ots_steps: int = Field(150, ge=3, le=10**7, description="Most steps of a transport solve.")
    chi2: float = Field(0.05, gt=0, description="A solve ends early when its certificate is at most this.")
    mem_size: int = Field(65536, ge=1, le=2**31, description="Pairs of noise and target kept from a solve, the newest, for the fit.")
    fit_passes: int = Field(4, ge=1, le=10**4, description="Passes of the generator over the kept pairs.")
    tess_var: float = Field(0.0, ge=0, description="Variance of Gaussian noise added to samples and to targets, in solve and fit alike.")
