"""Explicit Wasserstein minimisation: a generator without a discriminator."""

from pgen.plugins.hookspecs import hookimpl
from pgen.plugins.specs import ModelSpec


@hookimpl
def pgen_model() -> ModelSpec:
    """Describe the model."""
    return ModelSpec(
        name="ewm",
        summary="Explicit Wasserstein minimisation: a generator of latent codes or images, fitted by optimal transport",
        config="pgen.models.ewm.config:EwmConfig",
        model="pgen.models.ewm.model:Ewm",
        inputs="targets",
        sparse=True,
        conditional=True,
        settings={"batch_size": 512, "num_epochs": 30, "lr_decay": 0.1},
    )
