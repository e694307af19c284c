"""Flow matching from noise to latent codes or images, with couplings of pgen.ot."""

from pgen.plugins.hookspecs import hookimpl
from pgen.plugins.specs import ModelSpec


@hookimpl
def pgen_model() -> ModelSpec:
    """Describe the model."""
    return ModelSpec(
        name="flow",
        summary="Flow matching: generates latent codes or images by integrating a learnt velocity field",
        config="pgen.models.flow.config:FlowConfig",
        model="pgen.models.flow.model:Flow",
        inputs="targets",
        sparse=True,
        conditional=True,
        settings={"batch_size": 256, "num_epochs": 400, "lr_decay": 0.01, "ema": 0.99, "warm_up": 100},
    )
