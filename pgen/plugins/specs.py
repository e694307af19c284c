"""The values that pass between a plug-in and the engine: ModelSpec, ModelConfig, DataInfo, Condition; MetricSpec. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, TypeAdapter

#: Version of what plug-ins import from pgen, and of what pgen asks of them. It rises when an old plug-in would no longer work.
API_VERSION = 1


class ModelConfig(BaseModel):
    """Base of a model's options. Every field becomes an option of ``pgen train NAME``; its description is the help text.

    Fields may be bool, int, float, str, a Literal of strings, or one of these ``| None``; bounds come from ``pydantic.Field``.
    sampling: names of the fields that concern sampling alone, which ``pgen sample`` and ``pgen deploy`` may be given too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    sampling: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class ModelSpec:
    """What a plug-in says of its model, in import strings, so that listing and help import nothing heavy.

    name: the entry point's name. summary: one line for ``pgen models``. config: ``"package.module:ConfigClass"``.
    model: ``"package.module:ModuleClass"``. inputs: ``"images"`` for batches of images, ``"targets"`` for all targets at
    once (images or latent codes). sparse: of all targets at once, whether images that are mostly dark may come as a CSR tensor
    (N, C * H * W) of their lit pixels. best: the metric whose smallest value on held-out data marks the best checkpoint; the newest is
    best where this is None, or without held-out data.
    settings: defaults of the engine's options that suit this model better than the engine's own. api: the version of pgen's plug-in API
    that the plug-in was written for. conditional: whether it takes in labels, as ``--condition`` asks: to make samples
    for them, or codes that tell them.
    """

    name: str
    summary: str
    config: str
    model: str
    inputs: Literal["images", "targets"] = "images"
    sparse: bool = False
    best: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    api: int = 1
    conditional: bool = False


@dataclass(frozen=True)
class MetricSpec:
    """What a plug-in says of a metric.

    name: ``pgen evaluate NAME``. summary: one line. function: ``"package.module:function"``, which takes a
    :class:`pgen.metrics.EvaluationSets` and returns a :class:`pgen.metrics.MetricResult`. api: the version of pgen's plug-in API that it was
    written for.
    """

    name: str
    summary: str
    function: str
    api: int = 1


@dataclass(frozen=True)
class Condition:
    """A label that samples are made for.

    name: as ``--condition`` has it. label: the images' label that it is read from. classes: its values, one a column of zeros and a one;
    none of a number, which is one column, less ``mean`` and over ``std``.
    """

    name: str
    label: str
    classes: tuple[int | str, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    @property
    def size(self) -> int:
        """Columns of it."""
        return len(self.classes) or 1

    @property
    def example(self) -> str:
        """A value of it, as it may be asked for."""
        return str(self.classes[0]) if self.classes else f"{self.mean:.4g}"


@dataclass(frozen=True)
class DataInfo:
    """Facts read from the training data, all that a model may know of them.

    kind: ``"images"`` or ``"codes"``. shape: (channels, rows, columns), or (dimension,) of a latent code. count: how many.
    transform: the fitted charge transform (``ChargeTransform.to_dict``), None for codes; its range is [-1, 1] if :attr:`signed`, otherwise
    [0, 1]. codes: for latent codes their ``mean`` and ``std`` (the model sees them standardised) and ``encoder``, the auto-encoder they
    came from. labels: names of the labels. conditions: those of ``--condition``.
    """

    kind: Literal["images", "codes"]
    shape: tuple[PositiveInt, ...]
    count: PositiveInt
    unit: str = "ADC"
    name: str = ""
    fingerprint: str = ""
    transform: dict[str, Any] | None = None
    codes: dict[str, Any] | None = None
    labels: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @property
    def signed(self) -> bool:
        """Whether the images hold charge of both signs: batches, and what ``sample`` and ``decode`` return, lie in [-1, 1]."""
        return bool((self.transform or {}).get("signed", False))

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Of codes that are maps (channels, rows, columns), how the numbers of one lie, each channel standardised; else ()."""
        shape = tuple((self.codes or {}).get("shape", ()))
        return shape if len(shape) == 3 else ()

    @property
    def size(self) -> int:
        """Number of values in one sample."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size

    @property
    def condition_size(self) -> int:
        """Number of values that stand for the conditions of one sample."""
        return sum(condition.size for condition in self.conditions)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> DataInfo:
        """ValueError for values that are not of these types, or not whole."""
        info = TypeAdapter(cls).validate_python(values)
        if (info.kind == "images" and info.transform is None) or (info.kind == "codes" and info.codes is None):
            raise ValueError(f"its data are {info.kind}, without what turns charge or codes into what the model sees")
        return info
