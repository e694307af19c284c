"""What plug-ins and the engine pass to each other: specs, options and facts. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, TypeAdapter

#: Version of the plug-in API. It rises when older plug-ins would no longer work.
API_VERSION = 1


class ModelConfig(BaseModel):
    """Base of a model's options.

    Every field becomes an option of ``pgen train NAME``; its description is the help text.

    Fields may be bool, int, float, str, a Literal of strings, or one of these ``| None``; bounds
    come from ``pydantic.Field``.

    Attributes:
        sampling: Names of the fields that only concern sampling, which ``pgen sample`` and
            ``pgen deploy`` accept too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    sampling: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class ModelSpec:
    """Describes a model, with import strings, so that lists and help import nothing heavy.

    Attributes:
        name: The entry point's name.
        summary: One line for ``pgen models``.
        config: ``"package.module:ConfigClass"``.
        model: ``"package.module:ModuleClass"``.
        inputs: ``"images"`` for batches of images, ``"targets"`` for all targets at once (images or
            latent codes).
        sparse: For all targets at once: whether images with few nonzero pixels may come as a CSR
            tensor (N, C * H * W).
        best: The held-out metric whose smallest value marks the best checkpoint. The latest is best
            if this is None, or without held-out data.
        settings: Defaults of the engine's options that suit this model better.
        api: The version of the plug-in API that the plug-in was written for.
        conditional: Whether the model can be conditioned on labels (``--condition``).
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
    """Describes a metric.

    Attributes:
        name: As in ``pgen evaluate NAME``.
        summary: One line.
        function: ``"package.module:function"``, which takes a
            :class:`pgen.metrics.inputs.EvaluationSets` and returns a
            :class:`pgen.metrics.results.MetricResult`.
        api: The version of the plug-in API that it was written for.
    """

    name: str
    summary: str
    function: str
    api: int = 1


@dataclass(frozen=True)
class Condition:
    """A label that a model is conditioned on.

    Attributes:
        name: As in ``--condition``.
        label: The images' label that it is read from.
        classes: Values of a categorical label, one-hot encoded. Empty for a numeric label, which is
            standardised by ``mean`` and ``std``.
        mean: Mean of a numeric label.
        std: Standard deviation of a numeric label.
    """

    name: str
    label: str
    classes: tuple[int | str, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    @property
    def size(self) -> int:
        """The number of columns of its encoding."""
        return len(self.classes) or 1

    @property
    def example(self) -> str:
        """A value, as a user may write it."""
        return str(self.classes[0]) if self.classes else f"{self.mean:.4g}"


@dataclass(frozen=True)
class DataInfo:
    """Facts about the training data: all that a model may know of them.

    Attributes:
        kind: ``"images"`` or ``"codes"``.
        shape: (channels, rows, columns) of an image, or (dimension,) of a latent code.
        count: The number of images or codes.
        unit: The unit of charge.
        name: The name of the source.
        fingerprint: A hash of the data.
        transform: The fitted charge transform (``ChargeTransform.to_dict``), None for codes. Its
            range is [-1, 1] if :attr:`signed`, otherwise [0, 1].
        codes: For latent codes their ``mean`` and ``std`` (the model sees them standardised) and
            ``encoder``, the auto-encoder that they came from.
        labels: Names of the labels.
        conditions: The labels that the model is conditioned on (``--condition``).
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
        """Whether images hold charge of both signs.

        Batches, and what ``sample`` and ``decode`` return, are then in [-1, 1].
        """
        return bool((self.transform or {}).get("signed", False))

    @property
    def map_shape(self) -> tuple[int, ...]:
        """The shape (channels, rows, columns) of latent codes that are maps, else ().

        Each channel of a map is standardised.
        """
        shape = tuple((self.codes or {}).get("shape", ()))
        return shape if len(shape) == 3 else ()

    @property
    def size(self) -> int:
        """The number of values in one sample."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size

    @property
    def condition_size(self) -> int:
        """The number of values that encode the conditions of one sample."""
        return sum(condition.size for condition in self.conditions)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, as config.json keeps them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> DataInfo:
        """Restore from plain values.

        Raises:
            ValueError: Values of other types, or missing ones.
        """
        info = TypeAdapter(cls).validate_python(values)
        if (info.kind == "images" and info.transform is None) or (info.kind == "codes" and info.codes is None):
            raise ValueError(f"the data are {info.kind}, but their transform or standardisation is missing")
        return info
