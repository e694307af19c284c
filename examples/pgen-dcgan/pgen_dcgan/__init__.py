"""DCGAN (Radford, Metz and Chintala 2015, arXiv:1511.06434) as a plug-in; imports no torch."""

from pydantic import Field

from pgen import ModelConfig, ModelSpec, hookimpl


class DcganConfig(ModelConfig):
    """Options of `pgen train dcgan`."""

    z_dim: int = Field(64, ge=1, description="Size of the Gaussian noise vector.")
    depth: int = Field(16, ge=1, description="Channels at full resolution, doubled each time the image is halved.")
    n_layers: int = Field(4, ge=1, description="Convolutions; each halves the image in the discriminator, or doubles it in the generator.")
    g_lr: float = Field(2e-4, gt=0, description="Learning rate of the generator.")
    d_lr: float = Field(2e-4, gt=0, description="Learning rate of the discriminator.")


@hookimpl
def pgen_model() -> ModelSpec:
    """Describe the model."""
    return ModelSpec(name="dcgan", summary="Convolutional GAN", config="pgen_dcgan:DcganConfig", model="pgen_dcgan.model:Dcgan")
