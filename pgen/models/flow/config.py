"""Options of the flow; imports no torch."""

from typing import ClassVar, Literal

from pydantic import Field

from pgen.models import Optimizer
from pgen.plugins.specs import ModelConfig


class FlowConfig(ModelConfig):
    """Options of ``pgen train flow``."""

    sampling: ClassVar[tuple[str, ...]] = ("solver", "n_steps", "guidance")

    coupling: Literal["independent", "minibatch", "semidiscrete"] = Field(
        "semidiscrete",
        description="How noise is paired with targets: at random (independent), by optimal transport within a batch (minibatch), or by "
        "optimal transport to all targets (semidiscrete).",
    )
    chi2: float = Field(0.05, gt=0, description="With --coupling semidiscrete: chi2 of the hits of targets at which the solver stops.")
    n_hidden: int | None = Field(
        None,
        ge=1,
        le=2**16,
        description="Width of the hidden layers (codes), or channels of the first level (images, maps). [default: 256, 32, 48]",
    )
    n_layers: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Residual blocks (codes), or levels of the U-Net, each of half the resolution (images, maps). [default: 4, 3, 2]",
    )
    patch: int | None = Field(
        None, ge=1, le=1024, description="Pixels per side of the patches that the U-Net works on (images, maps). [default: 2, 1]"
    )
    match_moments: bool = Field(True, description="With codes: match mean and variance of generated codes to those of the targets.")
    solver: Literal["euler", "heun", "sde"] = Field(
        "heun",
        description="Integrator for sampling: euler, heun (two evaluations of the network per step), or sde (heun with fresh noise in each "
        "step, which corrects earlier errors; requires --coupling independent).",
    )
    n_steps: int | None = Field(None, ge=1, le=1000, description="Integration steps from noise to sample. [default: 16, or 32 for sde]")
    label_weight: float = Field(
        10.0, gt=0, description="With --condition: weight of the distance between labels in the coupling, relative to that of targets."
    )
    p_drop: float = Field(
        0.1, ge=0, lt=1, description="With --condition: probability of dropping the labels in training, which --guidance needs."
    )
    guidance: float = Field(
        1.0,
        ge=0,
        le=100,
        description="With --condition: strength of classifier-free guidance; above 1, samples follow labels more closely but vary less.",
    )
    lr: float = Field(1e-3, gt=0, description="Learning rate.")
    opt: Optimizer = Field("adam", description="Optimiser.")
    beta: float = Field(0.9, ge=0, lt=1, description="Adam's beta1, or the momentum of other optimisers.")
