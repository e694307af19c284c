"""The engine's own options of ``pgen train``. No torch here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pgen.data.transforms.charge_scales import scale_names
from pgen.utils.formats import parse_size
from pgen.utils.paths import expand_text

#: What --device may say.
DEVICE = r"^(auto|cpu|cuda(:[0-9]+)?)$"

#: What may change on --resume: how long to run, how often to report, and where.
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


#: What may name the same data elsewhere on --resume, where its fingerprint proves that it is the same.
SOURCES = ("data", "dataset", "targets", "held_out")
MOVABLE = frozenset((*SOURCES, "data_root"))


class TrainConfig(BaseModel):
    """Every engine option, its default and help; each field is an option of ``pgen train MODEL``."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    data: str | None = Field(
        None, description="Training images: a file, a folder, mnist or simulate; options after a colon, as in FILE:limit=100."
    )
    dataset: str | None = Field(None, description="Another name for --data, as in the original code.")
    targets: str | None = Field(
        None, description="In place of --data, for ewm and flow: codes.pt of pgen deploy, a folder of code vectors, or images."
    )
    condition: str | None = Field(
        None, description="Labels to make samples for, with commas between, as type,momentum (type: the particle, by its label pdg)."
    )
    held_out: str | None = Field(
        None, description="Real images kept out of training, by which the best checkpoint (saved state) is chosen."
    )
    best_by: str | None = Field(
        None, description="Choose the best checkpoint by this metric of pgen evaluate (physics, fpd, ...), on --held-out."
    )
    data_root: str | None = Field(None, description="Folder that relative paths of images start from.")
    max_skipped: str | None = Field(
        None, description="Odd events of --data and the like to skip at most: a number, or a fraction as 0.1 or 10%. [default: 10%]"
    )
    save_root: str = Field("runs", description="Folder in which each run gets a folder of its own.")
    name: str | None = Field(None, pattern=r"^[\w][\w.+-]*$", description="Name of the run folder. [default: MODEL-1, MODEL-2, ...]")
    overwrite: bool = Field(False, description="Replace a run of the same name.")
    seed: int = Field(0, ge=0, description="Seed of all random numbers: the same seed gives the same run.")
    device: str = Field(
        "auto", pattern=DEVICE, description="Where to compute: auto (a GPU if there is one), cpu, cuda, or cuda:i for GPU number i."
    )
    gpu: int | None = Field(None, ge=0, description="Number of the GPU, from 0; the same as --device cuda:i.")
    threads: int | None = Field(None, ge=1, le=4096, description="Threads that compute. [default: the cores that this job may use]")
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32", description="Number format of a step: fp32, or faster and coarser: tf32 (GPUs alone), bf16."
    )
    compile: bool = Field(False, description="Translate the model by torch.compile: slow to begin, faster later.")
    deterministic: bool = Field(False, description="The same bytes from the same seed on a GPU too, at some cost in speed.")
    batch_size: int = Field(64, ge=1, le=2**24, description="Images (of ewm: samples) in one training step, on all GPUs together.")
    accumulate: int = Field(1, ge=1, le=2**16, description="Work on each batch in so many pieces, one after the other: less memory.")
    num_epochs: int = Field(20, ge=1, description="Passes over the training data; of ewm, rounds of solving and fitting.")
    lr_decay: float = Field(
        1.0, gt=0, le=1, description="Learning rate at the end, as a fraction of the first; it falls along half a cosine. 1: constant."
    )
    warm_up: int = Field(0, ge=0, description="Steps at the beginning in which learning rates rise from 0.")
    max_grad_norm: float | None = Field(None, gt=0, description="Gradients longer than this are shorten to it. [default: no limit]")
    ema: float = Field(0.0, ge=0, lt=1, description="Use weights averaged over steps with this decay, as 0.999; 0: the weights themselves.")
    patience: int | None = Field(None, ge=1, description="Stop after so many checkpoints without a better one, by --held-out.")
    max_steps: int | None = Field(None, ge=1, description="Stop after so many steps, whatever --num-epochs says.")
    shuffle: bool = Field(True, description="Visit the training data in a new random order each epoch.")
    drop_last: bool = Field(False, description="Leave out the last, smaller batch of an epoch.")
    flip: Literal["none", "rows", "columns", "both"] = Field(
        "none", description="Mirror training images at random, half of them each way: top to bottom (rows), left to right (columns)."
    )
    crop: str | None = Field(None, description="Train on random windows of this size: ROWSxCOLUMNS, or one number for a square.")
    num_workers: int = Field(
        0, ge=0, le=1024, description="Processes that load images. 0: images stay in the device's memory, if they fit."
    )
    threshold: float = Field(0.0, ge=0, description="Zero suppression: |charge| at or below this is set to 0, in the unit of the images.")
    clip: float | None = Field(None, gt=0, description="Largest |charge|: more is set to this. [default: that of the training data]")
    scale: str = Field("linear", description="Curve through which the model sees charge: linear, sqrt, log, asinh, or a plug-in's.")
    sample_size: int = Field(16, ge=0, le=4096, description="Images in the picture that is drawn at each checkpoint; 0: no picture.")
    checkpoint: int = Field(1000, ge=1, description="Steps from one checkpoint (saved state, with pictures) to the next.")
    keep_checkpoints: int = Field(3, ge=1, description="How many of the newest checkpoints are kept, besides the best.")
    log_every: int = Field(50, ge=1, description="Steps from one line of metrics.jsonl to the next.")
    log_to: str | None = Field(None, description="Log to this too: tensorboard, or what a plug-in offers; several with commas between.")

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if self.gpu is not None and self.device not in ("auto", "cuda", f"cuda:{self.gpu}"):
            raise ValueError(f"--gpu {self.gpu} and --device {self.device} contradict each other; give one of them")
        if self.patience is not None and self.held_out is None:
            raise ValueError(f"--patience {self.patience} needs images to judge checkpoints by; name them with --held-out")
        if self.data and self.dataset:
            raise ValueError("--data and --dataset are two names of one option; give one of them")
        return self

    @field_validator("*")
    @classmethod
    def _without_null(cls, value: Any) -> Any:
        if isinstance(value, str) and "\0" in value:
            raise ValueError("it holds a null character, which no name of a file may")
        return value

    @field_validator("data", "dataset", "targets", "held_out", "data_root", "save_root")
    @classmethod
    def _expanded(cls, path: str | None) -> str | None:
        """With the home folder in place of ~, which a shell leaves as it is in --data=~/x.h5."""
        return expand_text(path) if path else path

    @field_validator("scale")
    @classmethod
    def _known(cls, scale: str) -> str:
        if scale not in (known := scale_names()):
            raise ValueError(f"wanted one of {', '.join(known)}")
        return scale

    @field_validator("crop")
    @classmethod
    def _readable(cls, crop: str | None) -> str | None:
        if crop is not None and not all(parse_size(crop)):
            raise ValueError("wanted at least one row and one column")
        return crop

    @property
    def window(self) -> tuple[int, int] | None:
        """(rows, columns) of --crop."""
        return None if self.crop is None else parse_size(self.crop)

    @property
    def source(self) -> str | None:
        """The training images, by either name."""
        return self.data or self.dataset
