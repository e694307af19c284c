"""The auto-encoder: compact code vectors of images, and the way back."""

from pgen import ModelSpec, hookimpl


@hookimpl
def pgen_model() -> ModelSpec:
    return ModelSpec(
        "ae",
        "Auto-encoder (convolutional or perceptron); its codes are targets for ewm",
        "pgen.models.ae.config:AeConfig",
        "pgen.models.ae.model:AutoEncoder",
        best="loss",
        conditional=True,
        settings={"batch_size": 32, "num_epochs": 32, "scale": "sqrt", "lr_decay": 0.1},
    )
