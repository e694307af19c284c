"""A convolutional GAN (Radford, Metz and Chintala 2015, arXiv:1511.06434) as a plug-in of pgen. No torch here."""

from pydantic import Field

from pgen import ModelConfig, ModelSpec, hookimpl


class DcganConfig(ModelConfig):
    z_dim: int = Field(64, ge=1, description="Dimension of the Gaussian noise.")
    depth: int = Field(16, ge=1, description="Channels next to the image; doubled at each halving of it.")
    n_layers: int = Field(4, ge=1, description="Times the discriminator halves the image, and the generator doubles it.")
    g_lr: float = Field(2e-4, gt=0, description="Learning rate of the generator.")
    d_lr: float = Field(2e-4, gt=0, description="Learning rate of the discriminator.")


@hookimpl
def pgen_model() -> ModelSpec:
    return ModelSpec("dcgan", "Convolutional GAN", "pgen_dcgan:DcganConfig", "pgen_dcgan.model:Dcgan")
