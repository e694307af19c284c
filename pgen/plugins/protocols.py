"""Types that a plug-in is given (Trainer, RunInfo) or provides (Model, Generator, Encoder).

A plug-in may annotate its hooks and methods with these. Nothing needs to inherit from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    import torch.distributed as dist
    from torch import Tensor, nn

    from pgen.plugins.specs import DataInfo, ModelConfig


class Draw(Protocol):
    """Draws n random rows from a generator, on the generator's device."""

    def __call__(self, n: int, /, *, generator: torch.Generator) -> Tensor:
        """Return a tensor (n, ...)."""


class Trainer(Protocol):
    """The training loop as ``training_step`` sees it.

    A batch may be shared by several GPUs (ranks), or be processed in micro-batches. A model needs
    to know neither if it draws noise with :meth:`sample_noise` and its losses are means over
    samples.
    """

    @property
    def step(self) -> int:
        """The number of the current training step, from 0."""

    @property
    def seed(self) -> int:
        """The seed of the run."""

    @property
    def device(self) -> torch.device:
        """The device that this rank trains on."""

    @property
    def batch_size(self) -> int:
        """Samples in a batch, counted over all ranks."""

    @property
    def shuffle(self) -> bool:
        """Whether batches are in random order."""

    @property
    def condition(self) -> Tensor | None:
        """Encoded labels (n, K) of the batch, or of all targets; None without ``--condition``."""

    @property
    def group(self) -> dist.ProcessGroup | None:
        """The processes that share the targets of :mod:`pgen.ot`, None for a single one."""

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """The optimisers that the model made, by name."""

    def update(self, name: str, loss: Tensor) -> None:
        """Back-propagate a scalar loss and step one optimiser.

        Args:
            name: The optimiser's name. Parameters of other optimisers get no gradient.
            loss: A scalar, the mean over the samples at hand.
        """

    def generator(self, step: int | None = None, *, common: bool = False) -> torch.Generator:
        """Return a random generator that depends on seed and step only, in its initial state.

        Args:
            step: The step to draw for; None for the current one.
            common: Whether all ranks and micro-batches get the same generator.
        """

    def sample_noise(self, draw: Draw, step: int | None = None) -> Tensor:
        """Draw noise for the whole batch and return the local rows, whatever the number of ranks.

        Args:
            draw: Called with the batch size and a generator.
            step: The step to draw for; None for the current one.
        """

    def local_rows(self, rows: Tensor) -> Tensor:
        """Select this micro-batch's rows from those of the whole batch (B, ...)."""

    def gather(self, rows: Tensor) -> Tensor:
        """Concatenate the rows (n, ...) that all ranks hold, in order of rank."""

    def log(self, text: str) -> None:
        """Write a line to the log and the terminal, from rank 0."""

    def error(self, error: Exception) -> BaseException:
        """Prepare an error that every rank raises, so that only rank 0 reports it."""


class RunInfo(Protocol):
    """A run as the hooks ``train``, ``deploy`` and ``sample`` see it."""

    @property
    def folder(self) -> Any:
        """The run folder; its ``path`` is a :class:`pathlib.Path`."""

    @property
    def config(self) -> ModelConfig:
        """The model's options."""

    @property
    def settings(self) -> Any:
        """The engine's options, such as ``seed`` and ``batch_size``."""

    @property
    def device(self) -> torch.device:
        """The device to work on."""

    @property
    def info(self) -> DataInfo:
        """Facts about the training data."""

    @property
    def data(self) -> Any:
        """The training data; ``data.tensor()`` is all of it, ``data.read(indices)`` a batch."""

    def new_model(self) -> nn.Module:
        """Create the untrained model on the run's device; its weights follow from the seed."""

    def load_model(self, checkpoint: str = "best") -> nn.Module:
        """Load the trained model in evaluation mode.

        Args:
            checkpoint: ``best``, ``last`` or a step.
        """

    def save_weights(self, state: dict[str, Any], step: int, path: Path | None = None) -> None:
        """Write a model's state as a weights file.

        Args:
            state: The model's ``state_dict()``.
            step: Training steps done.
            path: The file; None for the one that :meth:`load_model` reads.
        """

    def image_decoder(self, decoder: str | None = None) -> Any:
        """Return the map from model space to charge, a module on the run's device.

        Args:
            decoder: An auto-encoder run, for a generator of latent codes that has no decoder yet.
        """


class SessionInfo(Protocol):
    """A run while it is trained, as the hook ``train`` sees it."""

    def log(self, text: str) -> None:
        """Write a line to the log and the terminal, from rank 0."""

    def record(self, step: int, values: dict[str, Any]) -> None:
        """Write metrics to metrics.jsonl and to all loggers, from rank 0."""


class Model(Protocol):
    """What every model has, besides being a :class:`torch.nn.Module`.

    It is created as ``Model(config, data)`` from a :class:`pgen.ModelConfig` and a
    :class:`pgen.DataInfo`.
    """

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Create the optimisers, by name."""

    def training_step(self, batch: Tensor, trainer: Trainer) -> dict[str, Tensor]:
        """Train on one batch, calling ``trainer.update`` for each optimiser, and return metrics.

        Args: batch: Images (n, C, H, W) in model space, or all targets
            (:attr:`pgen.ModelSpec.inputs`). trainer: The training loop.

        Returns:
            Scalar tensors by name.
        """


class Generator(Protocol):
    """What a model has that generates samples."""

    def sample(self, n: int, /, *, generator: torch.Generator) -> Tensor:
        """Draw n samples in model space (n, *shape).

        A conditional model also takes ``condition`` (n, K).
        """


class ExportableGenerator(Generator, Protocol):
    """What a generator has that ``pgen deploy`` can export as a program, generator.pt2."""

    def noise(self, n: int, /, *, generator: torch.Generator) -> Tensor:
        """Draw the noise (n, ...) that n samples are made from."""

    def forward(self, noise: Tensor) -> Tensor:
        """Map noise to samples in model space; no random numbers are drawn here."""


class Encoder(Protocol):
    """What a model has that maps images to latent codes and back."""

    def encode(self, images: Tensor) -> Tensor:
        """Map images (n, C, H, W) in model space to latent codes (n, D)."""

    def decode(self, codes: Tensor) -> Tensor:
        """Map latent codes (n, D) to images (n, C, H, W) in model space."""
