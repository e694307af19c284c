"""Options of ``pgen train`` that all models share. This module does not import torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pgen.data.transforms.charge_scales import scale_names
from pgen.errors import ConfigError, option, validation_messages
from pgen.utils.paths import expand_text
from pgen.utils.spelling import parse_size

#: Valid values of `device`.
DEVICE = r"^(auto|cpu|cuda(:[0-9]+)?)$"

#: Options that may change when a run is resumed: run length, logging and hardware.
RESUMABLE = frozenset(
    {
        "num_epochs",
        "max_steps",
        "sample_size",
        "checkpoint",
        "keep_checkpoints",
        "log_every",
        "device",
        "gpu",
        "threads",
        "num_workers",
        "patience",
        "log_to",
    }
)


#: Options that name data. When a run is resumed they may change if the data have the same
#: fingerprint.
SOURCES = ("data", "dataset", "targets", "held_out")
MOVABLE = frozenset((*SOURCES, "data_root"))


class TrainConfig(BaseModel):
    """Options of training, each an option of ``pgen train MODEL`` with its default and help."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    data: str | None = Field(
        None, description="Training images: a file, a folder, mnist or simulate. Options follow a colon, as in FILE:limit=100."
    )
    dataset: str | None = Field(None, description="Same as --data; the name in the original code.")
    targets: str | None = Field(
        None, description="For ewm and flow, instead of --data: codes.pt of pgen deploy, a folder of latent codes, or images."
    )
    condition: str | None = Field(
        None, description="Labels to condition the model on, separated by commas, such as type,momentum (type is the particle type)."
    )
    held_out: str | None = Field(None, description="Real images that are not used for training; they select the best checkpoint.")
    best_by: str | None = Field(
        None, description="Metric of pgen evaluate, computed on --held-out, that selects the best checkpoint (physics, fpd, ...)."
    )
    data_root: str | None = Field(None, description="Folder that relative paths of images start from.")
    max_skipped: str | None = Field(
        None, description="Most unusable events to skip: a number, or a fraction such as 0.1 or 10%. [default: 10%]"
    )
    save_root: str = Field("runs", description="Folder for run folders.")
    name: str | None = Field(None, pattern=r"^[\w][\w.+-]*$", description="Name of the run folder. [default: MODEL-1, MODEL-2, ...]")
    overwrite: bool = Field(False, description="Replace an existing run of the same name.")
    seed: int = Field(0, ge=0, description="Seed of all random numbers. The same seed gives the same run.")
    device: str = Field("auto", pattern=DEVICE, description="Device: auto (a GPU if there is one), cpu, cuda, or cuda:i for GPU i.")
    gpu: int | None = Field(None, ge=0, description="GPU number, from 0. Same as --device cuda:i.")
    threads: int | None = Field(None, ge=1, le=4096, description="CPU threads. [default: all cores of the job]")
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32", description="Numerical precision of training. tf32 (GPU only) and bf16 are faster and less accurate than fp32."
    )
    compile: bool = Field(False, description="Compile the model by torch.compile: a slow start, then faster steps.")
    deterministic: bool = Field(False, description="Bitwise reproducible results on a GPU too, at some cost in speed.")
    batch_size: int = Field(64, ge=1, le=2**24, description="Images per training step on all GPUs together (ewm: samples).")
    accumulate: int = Field(1, ge=1, le=2**16, description="Gradient accumulation: micro-batches per step. More need less memory.")
    num_epochs: int = Field(20, ge=1, description="Epochs: passes over the training data (ewm: rounds of solving and fitting).")
    lr_decay: float = Field(
        1.0, gt=0, le=1, description="Cosine decay of the learning rate to this fraction of its initial value. 1: constant."
    )
    warm_up: int = Field(0, ge=0, description="Warm-up: steps in which the learning rate rises linearly from 0.")
    max_grad_norm: float | None = Field(None, gt=0, description="Gradient clipping: largest norm of the gradient. [default: no limit]")
    ema: float = Field(
        0.0, ge=0, lt=1, description="Decay of the exponential moving average (EMA) of the weights, such as 0.999. 0: no averaging."
    )
    patience: int | None = Field(
        None, ge=1, description="Early stopping: stop after this many checkpoints without improvement on --held-out."
    )
    max_steps: int | None = Field(None, ge=1, description="Stop after this many steps, even before --num-epochs.")
    shuffle: bool = Field(True, description="Shuffle the training data in each epoch.")
    drop_last: bool = Field(False, description="Drop the last batch of an epoch if it is smaller.")
    flip: Literal["none", "rows", "columns", "both"] = Field(
        "none", description="Flip training images at random: top to bottom (rows), left to right (columns), or both."
    )
    crop: str | None = Field(None, description="Train on random crops of this size: ROWSxCOLUMNS, or one number for squares.")
    num_workers: int = Field(0, ge=0, le=1024, description="Processes that load images. 0: keep all images in device memory if they fit.")
    threshold: float = Field(0.0, ge=0, description="Zero suppression: set |charge| at or below this to 0, in the unit of the images.")
    clip: float | None = Field(None, gt=0, description="Clip |charge| at this value. [default: the maximum of the training data]")
    scale: str = Field("linear", description="Scale of charge for the model: linear, sqrt, log, asinh, or one of a plug-in.")
    sample_size: int = Field(16, ge=0, le=4096, description="Preview images to draw at each checkpoint. 0: none.")
    checkpoint: int = Field(1000, ge=1, description="Steps between checkpoints.")
    keep_checkpoints: int = Field(3, ge=1, description="Newest checkpoints to keep; the best one is always kept.")
    log_every: int = Field(50, ge=1, description="Steps between lines in metrics.jsonl.")
    log_to: str | None = Field(None, description="Further loggers, separated by commas: tensorboard, or those of plug-ins.")

    @model_validator(mode="after")
    def _check_consistency(self) -> TrainConfig:
        if self.gpu is not None and self.device not in ("auto", "cuda", f"cuda:{self.gpu}"):
            raise ValueError(f"{option('gpu', self.gpu)} and {option('device', self.device)} contradict each other; give one of them")
        if self.patience is not None and self.held_out is None:
            raise ValueError(f"{option('patience', self.patience)} needs held-out images; give {option('held_out')}")
        if self.data and self.dataset:
            raise ValueError(f"{option('data')} and {option('dataset')} are the same option; give one of them")
        return self

    @field_validator("*")
    @classmethod
    def _refuse_null(cls, value: Any) -> Any:
        if isinstance(value, str) and "\0" in value:
            raise ValueError("it has a null character, which file names may not have")
        return value

    @field_validator("data", "dataset", "targets", "held_out", "data_root", "save_root")
    @classmethod
    def _expand(cls, path: str | None) -> str | None:
        """Expand ~, which a shell does not do in --data=~/x.h5."""
        return expand_text(path) if path else path

    @field_validator("scale")
    @classmethod
    def _check_scale(cls, scale: str) -> str:
        if scale not in (names := scale_names()):
            raise ValueError(f"expected one of {', '.join(names)}")
        return scale

    @field_validator("crop")
    @classmethod
    def _check_crop(cls, crop: str | None) -> str | None:
        if crop is not None and not all(parse_size(crop)):
            raise ValueError("expected at least one row and one column")
        return crop

    @property
    def window(self) -> tuple[int, int] | None:
        """The size (rows, columns) of random crops, or None."""
        return None if self.crop is None else parse_size(self.crop)

    @property
    def source(self) -> str | None:
        """The training images, under either name."""
        return self.data or self.dataset


def validate_options(parts: list[tuple[type[BaseModel], dict[str, Any]]], options: dict[str, Any]) -> list[BaseModel]:
    """Build pydantic models from options.

    Args:
        parts: Each model class, and defaults that differ from its own.
        options: The options of all models together.

    Returns:
        The models.

    Raises:
        ConfigError: Options are unknown or invalid. The message lists all of them.
    """
    names = {name for config, _ in parts for name in config.model_fields}
    problems = [f"{option(name)}: no such option" for name in options if name not in names]
    models = []
    for config, defaults in parts:
        own = {name: value for name, value in options.items() if name in config.model_fields}
        try:
            models.append(config.model_validate({**defaults, **own}))
        except ValidationError as error:
            problems += validation_messages(error)
    if problems:
        raise ConfigError("; ".join(problems) + ".")
    return models
