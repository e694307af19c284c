"""Options of the flow. No torch here."""

from typing import ClassVar, Literal

from pydantic import Field

from pgen import ModelConfig
from pgen.models.options import Optimizer


class FlowConfig(ModelConfig):
    sampling: ClassVar[tuple[str, ...]] = ("solver", "n_steps", "guidance")

    coupling: Literal["independent", "minibatch", "semidiscrete"] = Field(
        "semidiscrete",
        description="Which noise goes to which target: any to any (independent), by optimal transport within a batch (minibatch), or "
        "to all targets (semidiscrete).",
    )
    chi2: float = Field(0.05, gt=0, description="With --coupling semidiscrete: how evenly to hit targets; the less, the more evenly.")
    n_hidden: int | None = Field(
        None,
        ge=1,
        le=2**16,
        description="Width: of hidden layers (codes), or channels of the first level (images, maps). [default: 256, 32, 48]",
    )
    n_layers: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Blocks (codes), or levels, between which rows and columns halve (images, maps). [default: 4, 3, 2]",
    )
    patch: int | None = Field(
        None, ge=1, le=1024, description="Squares of this many pixels a side are the network's pixels (images, maps). [default: 2, 1]"
    )
    match_moments: bool = Field(True, description="With codes: hold mean and spread of generated codes at those of the targets.")
    solver: Literal["euler", "heun", "sde"] = Field(
        "heun",
        description="Steps of sampling: euler, or heun, two evaluations of the network each, or sde, heun with fresh noise in each, which "
        "corrects what earlier steps got wrong and takes --coupling independent.",
    )
    n_steps: int | None = Field(None, ge=1, le=1000, description="Steps from noise to a sample. [default: 16, or 32 of sde]")
    label_weight: float = Field(
        10.0, gt=0, description="With --condition: what a difference of labels costs in a coupling, against one of targets."
    )
    p_drop: float = Field(
        0.1, ge=0, lt=1, description="With --condition: how often the network is not told of the labels, which --guidance needs."
    )
    guidance: float = Field(
        1.0, ge=0, le=100, description="With --condition: how far samples keep to their labels; above 1 further, at the cost of variety."
    )
    lr: float = Field(1e-3, gt=0, description="Learning rate.")
    opt: Optimizer = Field("adam", description="Optimiser.")
    beta: float = Field(0.9, ge=0, lt=1, description="Momentum: Adam's beta1, or that of the other optimisers.")
