"""Options of the GAN; imports no torch."""

from pydantic import Field

from pgen.models import Optimizer
from pgen.plugins.specs import ModelConfig


class GanConfig(ModelConfig):
    """Options of ``pgen train gan``."""

    z_dim: int = Field(100, ge=1, le=2**20, description="Size of the generator's noise vector.")
    n_hidden: int = Field(512, ge=1, le=2**20, description="Width of the hidden layers.")
    n_layers: int = Field(3, ge=1, le=1000, description="Hidden layers of the generator, and of the discriminator.")
    p: float = Field(0.3, ge=0, lt=1, description="Dropout probability in the discriminator.")
    g_lr: float = Field(2e-4, gt=0, description="Learning rate of the generator.")
    d_lr: float = Field(2e-4, gt=0, description="Learning rate of the discriminator.")
    g_opt: Optimizer = Field("adam", description="Optimiser of the generator.")
    d_opt: Optimizer = Field("adam", description="Optimiser of the discriminator.")
    beta: float = Field(0.5, ge=0, lt=1, description="Adam's beta1 of both optimisers, or the momentum of other optimisers.")
