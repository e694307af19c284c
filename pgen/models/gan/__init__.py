"""The MLP GAN: the baseline."""

from pgen import ModelSpec, hookimpl


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
