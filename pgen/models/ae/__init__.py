"""Auto-encoder: compact latent codes of images, and the way back."""

from pgen.plugins.hookspecs import hookimpl
from pgen.plugins.specs import ModelSpec


@hookimpl
def pgen_model() -> ModelSpec:
    """Describe the model."""
    return ModelSpec(
        name="ae",
        summary="Auto-encoder (convolutional or MLP), whose latent codes are targets for ewm and flow",
        config="pgen.models.ae.config:AeConfig",
        model="pgen.models.ae.model:AutoEncoder",
        best="loss",
        conditional=True,
        settings={"batch_size": 32, "num_epochs": 32, "scale": "sqrt", "lr_decay": 0.1},
    )
