"""The linear GAN: the baseline."""

from pgen import ModelSpec, hookimpl


@hookimpl
def pgen_model() -> ModelSpec:
    return ModelSpec(
        "gan",
        "Generative adversarial network of two perceptrons (baseline)",
        "pgen.models.gan.config:GanConfig",
        "pgen.models.gan.model:Gan",
        conditional=True,
    )
