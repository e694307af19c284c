"""The MLP GAN: the baseline."""

from pgen.plugins.hookspecs import hookimpl
from pgen.plugins.specs import ModelSpec


@hookimpl
def pgen_model() -> ModelSpec:
    """Describe the model."""
    return ModelSpec(
        name="gan",
        summary="Generative adversarial network of two MLPs (baseline)",
        config="pgen.models.gan.config:GanConfig",
        model="pgen.models.gan.model:Gan",
        conditional=True,
    )
