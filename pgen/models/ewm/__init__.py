"""Explicit Wasserstein minimisation: a generator without adversary."""

from pgen import ModelSpec, hookimpl


@hookimpl
def pgen_model() -> ModelSpec:
    return ModelSpec(
        "ewm",
        "Explicit Wasserstein minimisation: a generator fitted to codes or images by optimal transport",
        "pgen.models.ewm.config:EwmConfig",
        "pgen.models.ewm.model:Ewm",
        inputs="targets",
        sparse=True,
        conditional=True,
        settings={"batch_size": 512, "num_epochs": 30, "lr_decay": 0.1},
    )
