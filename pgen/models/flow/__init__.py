"""Flow matching: a velocity field that carries noise to codes or images, on the couplings of pgen.ot."""

from pgen import ModelSpec, hookimpl


@hookimpl
def pgen_model() -> ModelSpec:
    return ModelSpec(
        "flow",
        "Flow matching: noise carried to codes or images along a learnt velocity field",
        "pgen.models.flow.config:FlowConfig",
        "pgen.models.flow.model:Flow",
        inputs="targets",
        sparse=True,
        conditional=True,
        settings={"batch_size": 256, "num_epochs": 400, "lr_decay": 0.01, "ema": 0.99, "warm_up": 100},
    )
