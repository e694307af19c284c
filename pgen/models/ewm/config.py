"""Options of EWM; imports no torch."""

from typing import Literal

from pydantic import Field

from pgen.models import Optimizer
from pgen.plugins.specs import ModelConfig


class EwmConfig(ModelConfig):
    """Options of ``pgen train ewm``."""

    cost: Literal["l1", "l2", "sqeuclidean"] = Field(
        "sqeuclidean", description="Distance between samples and targets to minimise; sqeuclidean is the square of l2."
    )
    arch: Literal["mlp", "conv"] = Field("mlp", description="Generator architecture: mlp, or conv (convolutional, images only).")
    z_dim: int = Field(16, ge=1, le=2**20, description="Size of the generator's noise vector.")
    n_hidden: int = Field(512, ge=1, le=2**20, description="Width of the hidden layers; for conv, channels of the first convolution.")
    n_layers: int = Field(3, ge=1, le=1000, description="Hidden layers; for conv, layers that each double rows and columns.")
    p: float = Field(0.0, ge=0, lt=1, description="Dropout probability in the generator.")
    match_moments: bool = Field(True, description="With codes: match mean and variance of generated codes to those of the targets.")
    g_lr: float = Field(1e-3, gt=0, description="Learning rate of the generator.")
    g_opt: Optimizer = Field("adam", description="Optimiser of the generator.")
    beta: float = Field(0.5, ge=0, lt=1, description="Adam's beta1 of the generator's optimiser, or the momentum of other optimisers.")
    psi_lr: float = Field(
        0.1, gt=0, description="Solving: initial learning rate of the potential psi of the targets, in units of the cost."
    )
    psi_slow: float = Field(20.0, gt=0, description="Solving: step t has the learning rate --psi-lr / (1 + t / --psi-slow).")
    ots_steps: int = Field(150, ge=3, le=10**7, description="Solving: largest number of steps per outer iteration.")
    chi2: float = Field(0.05, gt=0, description="Solving: chi2 of the hits of targets at which solving stops early.")
    replay: bool = Field(True, description="Solving on a single GPU: replay steps as a CUDA graph, which saves launching kernels.")
    mem_size: int = Field(65536, ge=1, le=2**31, description="Fitting: pairs of noise and target kept from solving, the latest.")
    fit_passes: int = Field(4, ge=1, le=10**4, description="Fitting: passes of the generator over the kept pairs.")
    label_weight: float = Field(
        10.0, gt=0, description="With --condition: weight of the distance between labels in solving, relative to that of targets."
    )
    tess_var: float = Field(0.0, ge=0, description="Variance of noise added to samples and targets, in solving and fitting.")
